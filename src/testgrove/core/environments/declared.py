"""Dependencies that a project's own files declare. Nothing of the project is run."""

from __future__ import annotations

import configparser
import functools
import re
import tomllib
from dataclasses import field
from typing import TYPE_CHECKING, Any

from testgrove.core.environments.foreign_groups import pdm_groups, poetry_groups, requirements
from testgrove.core.environments.setup_script import setup_keywords
from testgrove.core.environments.shape import WrongShapeError, check_shape
from testgrove.core.frozen import frozen
from testgrove.errors import PreconditionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


@frozen
class Declared:
    """A project's declarations.

    name: empty where only running a setup.py would tell. installable: whether building it makes sense.
    uv: the ``[tool.uv]`` table. has_dependencies: whether it says what it needs at run time, perhaps in a computed way.
    poetry_groups, pdm_groups: those that uv does not read. loose: what a Poetry project that is no package needs at
    run time.
    """

    name: str = ""
    installable: bool = False
    has_project_table: bool = False
    requires_python: str | None = None
    dependencies: tuple[str, ...] = ()
    extras: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    groups: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    uv: Mapping[str, Any] = field(default_factory=dict)
    has_dependencies: bool = False
    poetry_groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    pdm_groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    loose: tuple[str, ...] = ()

    def brings_pytest(self, *, extras: Iterable[str] = (), groups: Iterable[str] = ()) -> bool:
        """Return whether these extras and groups name pytest, or one of its plugins, directly or through others."""
        return any(map(is_pytest, self.members(extras, groups)))

    def members(self, extras: Iterable[str], groups: Iterable[str]) -> Iterator[str]:
        """The requirements that these extras and groups name, directly or through others."""
        todo = [("extra", name) for name in extras] + [("group", name) for name in groups]
        seen = set(todo)
        while todo:
            kind, name = todo.pop()
            for member in (self.extras if kind == "extra" else self.groups).get(name, ()):
                references = set(self._references(member))
                todo += references - seen
                seen |= references
                if not references:
                    yield str(member)

    def _references(self, member: object) -> Iterator[tuple[str, str]]:
        if isinstance(member, dict):
            yield "group", str(member.get("include-group", ""))
            return
        match = re.match(r"([A-Za-z0-9._-]+)\s*\[([^\]]*)\]", str(member))
        if match and normal(match[1]) == normal(self.name):
            yield from (("extra", part.strip()) for part in match[2].split(","))


def is_pytest(requirement: object) -> bool:
    """Return whether a requirement brings pytest: itself, or one of its plugins."""
    return isinstance(requirement, str) and bool(re.match(r"pytest(?![A-Za-z0-9])", requirement))


def normal(name: str) -> str:
    """A distribution's name in its normal form."""
    return re.sub(r"[-_.]+", "-", name).lower()


@functools.lru_cache(maxsize=16)  # half a dozen questions are asked of each pyproject.toml
def parse_toml(content: bytes) -> dict[str, Any]:
    """Parse TOML; callers must not change the result. Raises ValueError if it is invalid or has a wrong shape."""
    tables = tomllib.loads(content.decode())
    check_shape(tables)
    return tables


def read_toml(path: str, content: bytes) -> dict[str, Any]:
    """Raises PreconditionError (``environment-failed``) for what is not TOML, or not of the expected shape."""
    try:
        return parse_toml(content)
    except WrongShapeError as error:
        raise PreconditionError("environment-failed", f"{path}: {error}", file=path) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        message = f"{path} is not valid TOML: {error}"
        raise PreconditionError("environment-failed", message, file=path) from error


def read_declared(files: Mapping[str, bytes]) -> Declared:
    """Read pyproject.toml, setup.cfg and setup.py. Raises PreconditionError (``environment-failed``)."""
    pyproject = read_toml("pyproject.toml", files.get("pyproject.toml", b""))
    cfg = _setup_cfg(files.get("setup.cfg", b""))
    keywords = setup_keywords(files.get("setup.py", b""))
    project, tool = pyproject.get("project", {}), pyproject.get("tool", {})
    uv, poetry, pdm = (tool.get(name, {}) for name in ("uv", "poetry", "pdm"))
    packaged = poetry.get("package-mode", True) and pdm.get("distribution", True)
    builds = "build-system" in pyproject or "setup.py" in files or cfg.has_option("metadata", "name")
    names = (project.get("name"), poetry.get("name"), cfg.get("metadata", "name", fallback=""))
    pythons = (project.get("requires-python"), cfg.get("options", "python_requires", fallback=None))
    dynamic = tool.get("setuptools", {}).get("dynamic", {}).get("optional-dependencies", {})
    extras = {
        **dict.fromkeys(dynamic, ()),
        **_extras_of_cfg(cfg),
        **_extras_of_setup(keywords.get("extras_require")),
        **_lists(poetry.get("extras")),
        **_lists(project.get("optional-dependencies")),
    }
    return Declared(
        name=str(next(filter(None, (*names, keywords.get("name"))), "")),
        installable=bool(uv.get("package", builds and packaged)),
        has_project_table="project" in pyproject,
        requires_python=next(filter(None, (*pythons, keywords.get("python_requires"))), None),
        dependencies=tuple(map(str, [*project.get("dependencies", ()), *uv.get("dev-dependencies", ())])),
        extras=extras,
        groups=_lists(pyproject.get("dependency-groups")),
        uv=uv,
        has_dependencies=_has_dependencies(project, poetry, cfg, keywords),
        poetry_groups=poetry_groups(poetry),
        pdm_groups=pdm_groups(pdm),
        loose=()
        if "project" in pyproject or poetry.get("package-mode", True)
        else requirements(poetry.get("dependencies", {})),
    )


def _has_dependencies(
    project: Mapping[str, Any],
    poetry: Mapping[str, Any],
    cfg: configparser.RawConfigParser,
    keywords: Mapping[str, Any],
) -> bool:
    return (
        bool(project.get("dependencies"))
        or "dependencies" in project.get("dynamic", ())
        or not {"python"}.issuperset(poetry.get("dependencies", ()))
        or "install_requires" in keywords
        or cfg.has_option("options", "install_requires")
    )


def _setup_cfg(content: bytes) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(content.decode("utf-8", "replace"))
    except configparser.Error as error:
        message = f"cannot read setup.cfg: {str(error).splitlines()[0]}"
        raise PreconditionError("environment-failed", message, file="setup.cfg") from error
    return parser


def _extras_of_cfg(cfg: configparser.RawConfigParser) -> dict[str, tuple[str, ...]]:
    section = "options.extras_require"
    pairs = cfg.items(section) if cfg.has_section(section) else []
    return {name: tuple(filter(None, map(str.strip, text.splitlines()))) for name, text in pairs}


def _lists(table: object) -> dict[str, tuple[Any, ...]]:
    pairs = table.items() if isinstance(table, dict) else ()
    return {str(key): tuple(value) for key, value in pairs if isinstance(value, (list, tuple))}


def _extras_of_setup(table: object) -> dict[str, tuple[Any, ...]]:
    """Extras of a setup.py; those that are computed are there, and empty."""
    unknown = [str(key) for key, value in table.items() if value is None] if isinstance(table, dict) else []
    return {**dict.fromkeys(unknown, ()), **_lists(table)}
