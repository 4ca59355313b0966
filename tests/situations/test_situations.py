"""Everything that a user may have in a worktree, through every command that could take it away.

Each situation is made in a worktree of its own, and what it changed is the user's: bytes of files, git's state of the
worktree, objects that git keeps. All of it is there after the command, or where docs/safety.md says. The commands are
given many worktrees at once.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

import needs
from grove import TESTGROVE, Grove, said
from situations import (  # noqa: F401 - they fill the table
    commits,
    databases,
    files,
    mounts,
    places,
    projects,
    repositories,
)
from situations.judge import Looks, Property, looks_of, protected, record_of, state_of
from situations.table import SITUATIONS, Place, Situation, of_batch

STAGING = (sys.executable, str(Path(__file__).with_name("staging.py")))
FILES = {"README.md": "A project.\n", "src/code.py": "VALUE = 1\n", ".gitignore": "*.local\nbuild/\n"}
CONFIG = 'copy = [".env.local"]\npark = 1\n[suites.other]\ncommand = "true"\n'
BATCHES = ("files", "commits", "repositories", "places", "mounts")


@dataclass
class Staged:
    """A situation that was made. made: the objects that only it has brought."""

    situation: Situation
    tree: Path
    theirs: Property
    made: dict[str, str]

    @property
    def id(self) -> str:
        return self.tree.name


Operation = Callable[[Grove, list[str]], None]


def run(grove: Grove, *words: str, statuses: Iterable[int] = (0, 3)) -> None:
    program = (*needs.ordinary_user(), *TESTGROVE)
    if (grove.base / mounts.LIST).exists():
        program = mounts.program(grove, needs.mount_namespace(), TESTGROVE)
    done = grove.run(*words, check=False, program=program)
    assert done.returncode in statuses, said(done)
    assert "Traceback" not in done.stderr, said(done)


def remove(grove: Grove, names: list[str]) -> None:
    run(grove, "remove", *names, statuses=(0, 3, 5))


def cleanup(grove: Grove, names: list[str]) -> None:
    run(grove, "cleanup", "--max-age", "0", "--yes")


def doctor(grove: Grove, names: list[str]) -> None:
    run(grove, "doctor", "--fix")


def sync(grove: Grove, names: list[str]) -> None:
    for name in names:
        run(grove, "sync", name, statuses=(0, 3, 5))


def park(grove: Grove, names: list[str]) -> None:
    """A run parks its own worktree, and removes parked ones over the number in the settings."""
    run(grove, "test")


def recycle(grove: Grove, names: list[str]) -> None:
    for name in names:
        words = ("--purpose", "test-unit", "--identifier", name.removeprefix("test-unit-"), "--branch", "main")
        run(grove, "create", *words, "--no-env", statuses=(0, 3, 5))


READY: tuple[Operation, ...] = (remove, cleanup, sync, doctor)
PARKED: tuple[Operation, ...] = (park, recycle)


def stage(grove: Grove, batch: str, *, parked: bool) -> list[Staged]:
    """Make the situations of a batch, each in a worktree of its own."""
    (grove.repo / ".env.local").write_text("KEY=1\n")
    if batch == "repositories":
        repositories.prepare(grove)
    return stage_all(grove, of_batch(batch), parked=parked)


def stage_all(grove: Grove, chosen: list[Situation], *, parked: bool) -> list[Staged]:
    names = [each.name for each in chosen]
    grove.run("parked" if parked else "ready", *names, program=(*needs.ordinary_user(), *STAGING))
    known, staged = protected(grove.base), []
    for situation in chosen:
        tree, outside = grove.root / f"test-unit-{situation.name}", grove.base / "outside" / situation.name
        outside.mkdir(parents=True)
        before = everything(grove, tree, outside, alone=len(chosen) == 1)
        state = state_of(record_of(tree, grove.repo / ".git"))
        situation.make(Place(grove, tree, outside))
        now = state_of(record_of(tree, grove.repo / ".git"))
        kept = protected(grove.base)
        made = {name: where for name, where in kept.items() if name not in known}
        theirs = Property.since(before, everything(grove, tree, outside, alone=len(chosen) == 1), (state, now))
        assert theirs.looks or theirs.state or made or situation.name == "folder-deleted-clean", situation
        staged.append(Staged(situation, tree, theirs, made))
        known |= kept
    return staged


def everything(grove: Grove, tree: Path, outside: Path, *, alone: bool) -> Looks:
    found = looks_of(tree) | looks_of(outside) | looks_of(grove.repo) | looks_of(grove.repo / ".git/hooks")
    found |= looks_of(grove.repo / ".git/info")
    if alone:  # submodules of other situations are registered there
        found |= looks_of(grove.repo / ".git/config")
    found.pop(str(grove.repo / "worktrees_registry.json"), None)  # a view of ours
    return found


def violations(grove: Grove, staged: list[Staged]) -> dict[str, list[str]]:
    """What each situation has lost."""
    kept, found = protected(grove.base), {}
    for each in staged:
        gone = each.tree if each.situation.outcome.startswith("Removes the worktree") else None
        lines = each.theirs.losses(grove.artifacts / each.id, besides=gone)
        lines += [f"{name} of {where} is not kept any more" for name, where in each.made.items() if name not in kept]
        if each.situation.stays and each.situation.batch != "places":
            lines += each.theirs.changes(record_of(each.tree, grove.repo / ".git"))
        if lines:
            found[each.situation.name] = lines
    return found


@pytest.mark.slow
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("operation", READY + PARKED, ids=lambda each: each.__name__)
def test_nothing_of_the_users_is_changed_or_lost(grove, operation, batch):
    project: Grove = grove(files=FILES, config=CONFIG)
    staged = stage(project, batch, parked=operation in PARKED)
    judge(project, operation, staged)


@pytest.mark.slow
@pytest.mark.parametrize("operation", [remove, cleanup, recycle], ids=lambda each: each.__name__)
def test_no_commit_is_lost_in_a_repository_with_reftables(grove, monkeypatch, operation):
    monkeypatch.setenv("PATH", f"{needs.git_with_reftables()}:{os.environ['PATH']}")
    project: Grove = grove(files=FILES, config=CONFIG)
    shutil.rmtree(project.repo / ".git/logs")  # git 2.47 cannot convert them
    project.git("refs", "migrate", "--ref-format=reftable")
    staged = stage(project, "commits", parked=operation in PARKED)
    judge(project, operation, staged)


@pytest.mark.slow
@pytest.mark.parametrize("situation", of_batch("projects"), ids=lambda each: each.name)
@pytest.mark.parametrize("operation", READY + PARKED, ids=lambda each: each.__name__)
def test_nothing_beside_worktrees_is_changed_or_lost(grove, operation, situation):
    project: Grove = grove(files=FILES, config=CONFIG)
    (project.repo / ".env.local").write_text("KEY=1\n")
    judge(project, operation, stage_all(project, [situation], parked=operation in PARKED))


def judge(grove: Grove, operation: Operation, staged: list[Staged]) -> None:
    """Run the operation; what it must not have done is an error."""
    operation(grove, [each.id for each in staged])
    found = violations(grove, staged)
    if operation is remove:
        there = grove.worktrees()
        for each in staged:
            if each.situation.stays != (each.id in there) and "not find" not in each.situation.outcome:
                words = f"the worktree {'is there' if each.id in there else 'is gone'}"
                found.setdefault(each.situation.name, []).append(f"{words}; the page: {each.situation.outcome}")
    expected = {each.situation.name for each in staged if each.situation.waiting}
    assert not found.keys() - expected, report(found)


def test_the_page_has_a_row_for_each_situation():
    page = (Path(__file__).parents[2] / "docs/safety.md").read_text()
    missing = [row for row in map(row_of, SITUATIONS) if row not in page.splitlines()]
    assert not missing, "docs/safety.md lacks these rows:\n" + "\n".join(missing)
    assert len(SITUATIONS) >= 60
    assert len({each.name for each in SITUATIONS}) == len(SITUATIONS)


def row_of(situation: Situation) -> str:
    return f"| {situation.title} | {situation.outcome} |"


def report(found: dict[str, list[str]]) -> str:
    return "\n".join(f"{name}: {line}" for name, lines in found.items() for line in lines)
