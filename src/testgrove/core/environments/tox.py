"""Installs and test commands of tox, read from its settings. Nothing is run."""

from __future__ import annotations

import configparser
import re
import shlex
from typing import TYPE_CHECKING, Any

from testgrove.core.environments.declared import read_toml
from testgrove.core.environments.install_words import InstallTargets, asked
from testgrove.core.frozen import frozen
from testgrove.core.lazy_pattern import lazy_pattern

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_NAMES = ("test", "tests", "testing", "unit", "py", "pytest", "dev")
_FACTOR = lazy_pattern(r"(!?)([A-Za-z0-9_.{},!-]+):\s+(.+)")
_HERE = ("{toxinidir}", "{tox_root}", "{tox_ini_dir}")
_NESTED = 20  # substitutions in substitutions: more is a circle


@frozen
class ToxEnvironment:
    """The environment that the tests run in. file: where it is described; commands: those of it that can be read."""

    file: str
    name: str
    asked: InstallTargets
    commands: tuple[str, ...] = ()


def read_tox(files: Mapping[str, bytes], own: str = "") -> tuple[ToxEnvironment, ...]:
    """The base of all environments, then those that are named after tests. own: the name of the project itself."""
    if "tox.ini" in files:
        return tuple(_from_ini("tox.ini", files["tox.ini"].decode("utf-8", "replace"), own))
    tables = read_toml("tox.toml", files.get("tox.toml", b""))
    if not tables:
        tables = read_toml("pyproject.toml", files.get("pyproject.toml", b"")).get("tool", {}).get("tox", {})
    if "legacy_tox_ini" in tables:
        return tuple(_from_ini("pyproject.toml", str(tables["legacy_tox_ini"]), own))
    if tables:
        return tuple(_from_toml("tox.toml" if "tox.toml" in files else "pyproject.toml", tables, own))
    return tuple(_from_ini("setup.cfg", files.get("setup.cfg", b"").decode("utf-8", "replace"), own))


def _from_ini(file: str, text: str, own: str) -> Iterator[ToxEnvironment]:
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(text)
    except configparser.Error:
        return
    for section in ("testenv", *(f"testenv:{name}" for name in _NAMES)):
        if not parser.has_section(section):
            continue
        bases = [section] if section == "testenv" else [section, "testenv"]

        def lines(key: str, bases: list[str] = bases) -> list[str]:
            found = next((parser.get(base, key) for base in bases if parser.has_option(base, key)), "")
            return [line for raw in found.splitlines() for line in _resolved(raw, parser)]

        extras = [word for line in lines("extras") for word in re.split(r"[,\s]+", line)]
        groups = [word for line in lines("dependency_groups") for word in re.split(r"[,\s]+", line)]
        words = _words(lines("deps"))
        for option, names in (("--extra", extras), ("--group", groups)):
            words += [word for name in names for word in (option, name)]
        yield ToxEnvironment(file, section, asked(words, own), tuple(lines("commands")))


def _from_toml(file: str, tables: Mapping[str, Any], own: str) -> Iterator[ToxEnvironment]:
    base = tables.get("env_run_base", {})
    for name, table in (("env_run_base", base), *tables.get("env", {}).items()):
        if name not in (*_NAMES, "env_run_base"):
            continue
        whole = {**base, **table}
        words = _words(line for line in map(str, whole.get("deps", ())) if "{" not in line)
        words += [word for extra in whole.get("extras", ()) for word in ("--extra", str(extra))]
        words += [word for group in whole.get("dependency_groups", ()) for word in ("--group", str(group))]
        commands = (shlex.join(map(str, line)) for line in whole.get("commands", ()) if isinstance(line, list))
        yield ToxEnvironment(file, name, asked(words, own), tuple(commands))


def _words(lines: Iterable[str]) -> list[str]:
    """Each line as words: an option and its value, or one requirement with its spaces."""
    words: list[str] = []
    for line in lines:
        words += line.split() if line.startswith("-") else [line]
    return words


def _resolved(raw: str, parser: configparser.RawConfigParser, depth: int = 0) -> Iterator[str]:
    """The lines that a line of the file stands for; none where only tox itself knows."""
    line = re.sub(r"(^|\s)#.*", "", raw).strip()
    if match := _FACTOR.fullmatch(line):
        line = match[3] if match[1] else ""  # for some environments only
    for here in _HERE:
        line = line.replace(f"{here}/", "").replace(here, ".")
    line = re.sub(r"\{(?:posargs|env:\w+)(?::([^{}]*))?\}", lambda match: match[1] or "", line).strip()
    reference = re.search(r"\{\[([^\]]+)\](\w+)\}", line)
    if reference and depth < _NESTED and parser.has_option(reference[1], reference[2]):
        for each in parser.get(reference[1], reference[2]).splitlines():
            yield from _resolved(line.replace(reference[0], each.strip()), parser, depth + 1)
    elif line and not re.search(r"\{[^}]*\}", line):
        yield line
