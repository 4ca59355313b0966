"""Finds the owner of a container by its creation time and mounts: the engine does not record it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from testgrove.core.frozen import frozen

REAPER = "testcontainers/ryuk"  # goes by itself, seconds after its client, and takes the session's containers along
_SESSIONS = ("org.testcontainers.session-id", "org.testcontainers.sessionId")
# The folder that a tool started it for.
_HOMES = ("com.docker.compose.project.working_dir", "devcontainer.local_folder")


@frozen
class Container:
    """As its engine has it. created: seconds, by testgrove's own clock; None where the engine's cannot be compared.
    mounts: what it sees of the machine's folders."""

    id: str
    name: str
    image: str
    created: float | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Path, ...] = ()

    @property
    def home(self) -> Path | None:
        """Return the folder that it was started for, if a label or mount shows it."""
        return next((Path(self.labels[name]) for name in _HOMES if self.labels.get(name)), None)


@dataclass(eq=False)
class AttemptInterval:
    """The time of an attempt, in seconds; ended is None while it goes on. folders: the worktree, and the one for
    temporary files."""

    cell: str
    attempt: int
    folders: tuple[Path, ...]
    began: float
    ended: float | None = None

    def holds(self, path: Path) -> bool:
        """Return whether a path is in its folders."""
        return any(path.is_relative_to(folder) for folder in self.folders)


def suspects(container: Container, intervals: Iterable[AttemptInterval], slack: float) -> list[AttemptInterval]:
    """Return the attempts that may have started a container; empty if it is unrelated.

    slack: maximum difference between the clocks, in seconds."""
    during = [interval for interval in intervals if _within(container.created, interval, slack)]
    if (home := container.home) is not None:
        return [interval for interval in during if interval.holds(home)]
    return [interval for interval in during if any(interval.holds(path) for path in container.mounts)] or during


def goes_by_itself(container: Container, others: Iterable[Container]) -> bool:
    """Return whether it is a reaper of testcontainers, or one of those that are there will take it away."""
    if REAPER in container.image:
        return True
    sessions = [container.labels[name] for name in _SESSIONS if container.labels.get(name)]
    return any(REAPER in other.image and session in other.name for other in others for session in sessions)


def told_as(container: Container, who: Sequence[AttemptInterval]) -> tuple[str, str]:
    """Return the name and detail of a leaked container, reported for the first attempt that may have started it."""
    others = sorted({interval.cell for interval in who} - {who[0].cell})
    return (
        f"{container.name} ({container.image})",
        f"or left by {', '.join(others)} running at the same time" if others else "",
    )


def _within(moment: float | None, interval: AttemptInterval, slack: float) -> bool:
    if moment is None:
        return True
    return interval.began - slack <= moment and (interval.ended is None or moment <= interval.ended + slack)
