"""uv's argument lists for installing the contents of an environment."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from testgrove.core.environments.declared import normal
from testgrove.core.lazy_pattern import lazy_pattern

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from testgrove.core.environments.dependency_sets import Lowest
    from testgrove.core.environments.plan import Contents

_OLDEST = (7, 4)  # the pytest that the plugin works with
OLDEST_PYTEST = f"pytest>={_OLDEST[0]}.{_OLDEST[1]}"
_PINNED = lazy_pattern(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)


def install_arguments(contents: Contents) -> tuple[str, ...]:
    """Return uv's arguments for installing the contents; empty when there is only pytest.

    Local distributions are always rebuilt: uv's cache identifies a tree by the times of a few files, and would return
    a build whose compiled parts no longer exist in a recycled checkout.
    """
    names = contents.names
    anew = ("--reinstall",) if names is None else _repeated("--reinstall-package", names)
    extras, groups = _repeated("--extra", contents.extras or ()), _repeated("--group", contents.groups)
    if contents.kind == "uv-lock":
        if contents.extras is None:
            extras = ("--all-extras", *_repeated("--no-extra", contents.without))
        defaults = () if contents.default_groups else ("--no-default-groups",)
        members = ("--all-packages",) if contents.workspace else ()
        # Without --inexact some versions of uv remove what the lock does not name: the seeded pip.
        return ("sync", "--frozen", "--inexact", *members, *extras, *defaults, *groups, *anew)
    if contents.kind == "pylock":
        extras = ("--all-extras",) if contents.extras is None else extras
        return ("pip", "install", "-r", *contents.requirements, *extras, *groups)
    words = _repeated("-r", contents.requirements)
    if contents.project == "editable":
        words += ("-e", _project(contents))
    elif contents.project == "dependencies":
        words += ("-r", "pyproject.toml", *extras)
    words += contents.more
    chosen = ("--resolution", contents.resolution) if contents.resolution else ()
    return ("pip", "install", *words, *groups, *chosen, *anew) if words or groups else ()


def _project(contents: Contents) -> str:
    return f".[{','.join(contents.extras)}]" if contents.extras else "."


def direct_requirements(contents: Contents) -> str:
    """The requirements that `uv pip compile` takes in a file only."""
    return _lines(*_editable(contents, _project(contents)), *contents.more)


def highest_arguments(contents: Contents, direct: Path) -> tuple[str, ...]:
    """Return uv's arguments for listing the newest versions of the contents, one ``name==version`` a line.

    direct: a file with direct_requirements(contents).
    """
    extras = _repeated("--extra", contents.extras or ()) if contents.project == "dependencies" else ()
    return (*_compile(contents, direct), *extras, *_repeated("--group", contents.groups), "--resolution", "highest")


def bounded_requirements(contents: Contents, lowest: Lowest) -> str:
    """As direct_requirements(), without the tests' requirements that have no lower bound."""
    more = (line for line in contents.more if line != "pytest")
    return _lines(*_editable(contents, "."), *more, *lowest.tests)


def lowest_arguments(contents: Contents, bounded: Path, bounds: Path) -> tuple[str, ...]:
    """Return uv's arguments for listing the lowest versions of the contents.

    bounded: a file with bounded_requirements(contents). bounds: a file with lower_bounds().
    """
    return (*_compile(contents, bounded), "--resolution", contents.resolution, "--constraints", str(bounds))


def lower_bounds(lowest: Lowest, highest: str) -> str:
    """Constraints that keep old versions in bounds: what has no lower bound of its own stays at its newest version.

    The oldest version of such a package is years old and often cannot even be built. With these constraints there is
    a solution wherever there is one for the newest versions. highest: what uv answered to highest_arguments().
    """
    found = _versions(highest)
    return _lines(*(f"{name}>={found[name]}" for name in lowest.unbounded if name in found), OLDEST_PYTEST)


def exact_versions(lowest: Lowest, answer: str) -> str:
    """Constraints that hold the lowest versions. answer: what uv answered to lowest_arguments()."""
    found = _versions(answer)
    return _lines(*(f"{name}=={found[name]}" for name in lowest.bounded if name in found), OLDEST_PYTEST)


def _versions(pins: str) -> dict[str, str]:
    return {normal(match[1]): match[2] for match in _PINNED.finditer(pins)}


def _compile(contents: Contents, requirements: Path) -> tuple[str, ...]:
    project = ("pyproject.toml",) if contents.project == "dependencies" else ()
    return ("pip", "compile", str(requirements), *contents.requirements, *project, "--no-header", "--no-annotate")


def _editable(contents: Contents, project: str) -> tuple[str, ...]:
    return (f"-e {project}",) if contents.project == "editable" else ()


def note_on_pytest(version: str, command: str = "testgrove test --deps highest") -> tuple[str, ...]:
    """Return a note on an installed pytest that is too old. version: empty where there is none. command:
    what runs a newer one."""
    numbers = tuple(map(int, re.findall(r"\d+", version)[:2]))
    if not version or numbers >= _OLDEST:
        return ()
    return (f"pytest {version} is too old for testgrove, which needs 7.4 or later: {command}",)


def _lines(*lines: str) -> str:
    return "".join(f"{line}\n" for line in lines)


def _repeated(option: str, values: Iterable[str]) -> tuple[str, ...]:
    return tuple(word for value in values for word in (option, value))
