"""sync: a worktree brought up to date."""

from __future__ import annotations

from pathlib import Path

import click

from testgrove.cli.arguments import one_worktree
from testgrove.cli.context import project_in
from testgrove.cli.output import common, echo, example, print_json, progress, say, stream
from testgrove.cli.worktrees import find, servers_of


@click.command("sync")
@one_worktree
@common
@example("testgrove sync test-integration-api")
def sync_command(*, worktree: str, directory: Path, as_json: bool, quiet: bool) -> None:
    """Update a worktree: copied files, the newest commit, the environment.

    Fast-forwards to the newest commit of its branch's upstream, or of the ref that it was created from. Run `git fetch`
    first. If no fast-forward is possible or files are modified, the commit stays and the exit status is 3. Your edits
    are kept.
    """
    from testgrove.app.worktrees.hooks import unseen
    from testgrove.app.worktrees.sync import sync

    project = project_in(directory)
    hidden = quiet or as_json
    there = find(project, worktree)
    with servers_of(project, there), project.holding(f"testgrove sync {there.id}") as holder:
        found = sync(
            project, holder, str(there.id), on_phase=progress(quiet=hidden), on_output=unseen if hidden else stream
        )
    for note in found.notes:
        say(f"note: {note}", quiet=quiet)
    if as_json:
        print_json(worktree=str(found.worktree.id), done=found.done, notes=found.notes)
    else:
        echo("\n".join(found.done) or f"{found.worktree.id} is up to date")
