"""Groups of commands: a near match is named for one that is not there."""

from __future__ import annotations

import click


class NearMatches(click.Group):
    """A group that names near matches."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name near matches for a command that is not there."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            near = difflib.get_close_matches(args[0], self.list_commands(ctx), 2)
            advice = f" Did you mean {' or '.join(near)}?" if near else ""
            raise click.UsageError(error.message + advice, ctx) from None
