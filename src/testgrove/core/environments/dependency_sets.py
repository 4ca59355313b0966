"""Dependency sets: named choices of what an environment holds instead of the project's own choice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testgrove.core.environments.declared import normal
from testgrove.core.frozen import frozen
from testgrove.core.lazy_pattern import lazy_pattern
from testgrove.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from testgrove.core.settings.types import Settings

_REQUIREMENT = lazy_pattern(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*([^;#]*)")
_LOWER_BOUND = lazy_pattern(r"[>=~]=|>|@")


@frozen
class DependencySet:
    """A set of dependencies to install. name: empty for the project's default.

    resolution: uv's resolution mode; empty keeps the lock file if there is one. requirements: in addition to the
    project's. file: a requirements file that replaces the lock file and the project's own requirement files.
    locked: a lock file is required. directory: of the project to install, relative to the settings file; empty for the
    suite's.
    """

    name: str = ""
    resolution: str = ""
    requirements: tuple[str, ...] = ()
    file: str = ""
    locked: bool = False
    directory: str = ""

    @property
    def is_own(self) -> bool:
        """Whether it is what the project chooses by itself."""
        return not (self.resolution or self.requirements or self.file)

    @property
    def leaves_the_lock(self) -> bool:
        """Whether the lock file counts for nothing."""
        return bool(self.resolution or self.file)

    @property
    def is_lowest(self) -> bool:
        """Whether old versions are wanted."""
        return self.resolution.startswith("lowest")


OWN = DependencySet()
_BUILT_IN = (
    DependencySet("locked", locked=True),
    DependencySet("lowest", "lowest-direct"),
    DependencySet("highest", "highest"),
)
BUILT_IN = tuple(one.name for one in _BUILT_IN)


def find_set(settings: Settings, name: str | None) -> DependencySet:
    """The set of a name; None is the default one of the settings, else the project's own choice. The settings' sets
    come before those that are built in.

    Raises UsageError (``unknown-dependencies``) for a name that is not there.
    """
    name = name or settings.dependencies_default or None
    if name is None:
        return OWN
    sets = {one.name: one for one in _BUILT_IN}
    for key, table in settings.dependencies.items():
        sets[key] = DependencySet(key, table.resolution or "", table.with_, table.file, directory=table.directory)
    if name not in sets:
        import difflib  # noqa: PLC0415 - for a mistake only

        first = "".join(f"--deps {near}   " for near in difflib.get_close_matches(name, sets, 1))
        raise UsageError(
            "unknown-dependencies",
            f"dependency set '{name}' not found",
            hint=f"{first}available: {', '.join(sets)}; define others in [tool.testgrove.dependencies]",
            name=name,
        )
    return sets[name]


@frozen
class Lowest:
    """The packages whose lowest versions are wanted.

    unbounded: names without a lower bound in any direct requirement, so that they have no meaningful lowest version.
    bounded: the other direct ones. tests: requirements of the extras and groups, with a bound."""

    unbounded: tuple[str, ...]
    bounded: tuple[str, ...]
    tests: tuple[str, ...]


def lowest(own: Iterable[str], tests: Iterable[str]) -> Lowest:
    """own: direct requirements of the project and the set; tests: those of extras and groups."""
    tests = tuple(tests)
    bounds: dict[str, bool] = {}
    for requirement in (*own, *tests):
        if match := _REQUIREMENT.match(requirement):
            bounds[normal(match[1])] = bounds.get(normal(match[1]), False) or bool(_LOWER_BOUND.search(match[2]))
    bounded = tuple(name for name, is_bounded in bounds.items() if is_bounded)
    named = [(match, text) for text in tests if (match := _REQUIREMENT.match(text))]
    kept = tuple(text for match, text in named if normal(match[1]) in bounded)
    return Lowest(tuple(name for name in bounds if name not in bounded), bounded, kept)
