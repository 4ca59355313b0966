"""The table of situations: what a user may have in a worktree, and what testgrove does about it.

A situation is a function that makes it in a worktree of its own. docs/safety.md has one row for each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from auditor import git
from grove import Grove

REFUSES = "Refuses"
ARTIFACTS = "Moves it to `test-artifacts/<id>`"


@dataclass
class Place:
    """Where a situation is made. tree: the worktree; outside: a folder of the user's that is in no repository."""

    grove: Grove
    tree: Path
    outside: Path

    @property
    def name(self) -> str:
        """The worktree's identifier, which names of branches can begin with."""
        return self.tree.name.removeprefix("test-unit-")

    def git(self, *words: str) -> str:
        """Plain git in the worktree."""
        return git(self.tree, *words)

    def write(self, name: str, text: str = "mine\n") -> Path:
        """Write a file in the worktree."""
        path = self.tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def commit(self, message: str, *more: str) -> str:
        """Commit in the worktree, even where there is nothing to commit; the new commit."""
        self.git("commit", "--quiet", "--allow-empty", "--message", message, *more)
        return self.git("rev-parse", "HEAD").strip()


Make = Callable[[Place], None]


@dataclass(frozen=True)
class Situation:
    """batch: the situations that share a repository; outcome: what `remove` does, as docs/safety.md has it.

    waiting: what has to be fixed first; the situation is expected to fail until then.
    """

    name: str
    title: str
    batch: str
    make: Make
    outcome: str
    waiting: str = ""

    @property
    def stays(self) -> bool:
        """Whether nothing without ``--force`` takes the worktree away."""
        return not self.outcome.startswith(("Removes", "Moves", "Does not find"))


SITUATIONS: list[Situation] = []


class Batch:
    """Registers the situations of one batch."""

    def __init__(self, name: str) -> None:
        self.name = name

    def situation(self, title: str, outcome: str = REFUSES, *, waiting: str = "") -> Callable[[Make], Make]:
        """Register a function as a situation. title: as the page names it."""

        def register(make: Make) -> Make:
            name = make.__name__.replace("_", "-")
            SITUATIONS.append(Situation(name, title, self.name, make, outcome, waiting))
            return make

        return register


def of_batch(name: str) -> list[Situation]:
    """The situations of one batch, in the order of their definition."""
    return [each for each in SITUATIONS if each.batch == name]
