"""doctor: shows problems and their fixes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from testgrove.cli.context import project_in
from testgrove.cli.output import common, echo, example, print_json, say

if TYPE_CHECKING:
    from testgrove.app.doctor import Finding


@click.command("doctor")
@click.option("--fix", is_flag=True, help="Fix what can be fixed automatically.")
@common
@example("testgrove doctor", "testgrove doctor --fix")
def doctor_command(*, fix: bool, directory: Path, as_json: bool, quiet: bool) -> int:
    """Check tools, settings, servers, worktrees and their environments, ports and the registry file.

    If the worktrees are inside the repository, it also checks for tools that break there (build backends, mypy). Like
    every command, it cleans up after commands that were killed. --fix removes the records of worktrees whose folder is
    missing, completes removals, and rewrites the registry file. The exit status is 3 while there are problems.
    """
    from testgrove.app.doctor import died, examine

    project = project_in(directory)
    dead = died(project)
    wrong, documents = 0, []
    with project.holding("testgrove doctor") as holder:
        unfinished = {command for command, _ in holder.unfinished}
        for command, done in dead.items():
            if command not in unfinished:
                say(done, quiet=quiet)
        for finding in examine(project, holder):
            mended = bool(fix and finding.problem and finding.mend)
            if mended and finding.mend:
                finding.mend()
            wrong += bool(finding.problem) and not mended
            documents.append(_document(finding, mended=mended))
            if not as_json and (finding.problem or not quiet):
                _show(finding, mended=mended)
    if as_json:
        print_json(findings=documents)
    elif not wrong:
        say("no problems found", quiet=quiet)
    return 3 if wrong else 0


def _show(finding: Finding, *, mended: bool) -> None:
    state = "fixed" if mended else "wrong" if finding.problem else "ok"
    echo(f"{state:6}  {finding.area:12}  {finding.subject}{': ' if finding.problem else ''}{finding.problem}")
    if finding.hint and not mended:
        again = "   or: testgrove doctor --fix" if finding.mend and "--fix" not in finding.hint else ""
        echo(f"        hint: {finding.hint}{again}")


def _document(finding: Finding, *, mended: bool) -> dict[str, object]:
    return {
        "area": finding.area,
        "subject": finding.subject,
        "ok": not finding.problem,
        "problem": finding.problem,
        "hint": finding.hint,
        "fixable": finding.mend is not None,
        "mended": mended,
    }
