"""Test settings of a project: pytest's configuration, Django, tox and nox. Nothing is run."""

from __future__ import annotations

import configparser
import re
import shlex
from collections.abc import Collection, Iterator, Mapping

from testgrove.core.environments.declared import parse_toml
from testgrove.core.environments.nox import read_nox
from testgrove.core.environments.tox import read_tox
from testgrove.core.frozen import frozen
from testgrove.errors import PreconditionError

# The files whose text is read, in pytest's order of precedence, then those that are asked for a command line.
CONFIGS = ("pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")
READ = (*CONFIGS, "tox.toml", "noxfile.py", "manage.py")
_SECTIONS = {"pytest.ini": "pytest", ".pytest.ini": "pytest", "tox.ini": "pytest", "setup.cfg": "tool:pytest"}
DEFAULT_FILES = ("test_*.py", "*_test.py")
_WITH_VALUE = ("--ignore", "--ignore-glob", "--deselect", "--import-mode", "-m", "-k")
_ALONE = ("--doctest-modules", "--pyargs")
# Their value may be the name of a folder, and chooses no tests: `pytest --cov shop`.
_IGNORED_WITH_VALUE = {
    "--basetemp", "--confcutdir", "--cov", "--cov-config", "--cov-report", "--cov-context", "--dist", "--ds",
    "--durations", "--junit-xml", "--junitxml", "--maxfail", "--numprocesses", "--override-ini", "--rootdir", "--tb",
    "--timeout", "-c", "-n", "-o", "-p", "-W",
}  # fmt: skip


@frozen
class PytestSettings:
    """testpaths, python_files: as configured; empty where they are not. django: pytest-django knows the settings."""

    testpaths: tuple[str, ...] = ()
    python_files: tuple[str, ...] = ()
    django: bool = False


def read_settings(texts: Mapping[str, str]) -> PytestSettings:
    """The configuration that pytest takes at the top of a checkout. texts: of the files in READ, by name."""
    table = configured(texts)
    return PytestSettings(
        tuple(_words(table.get("testpaths"))),
        tuple(_words(table.get("python_files"))),
        "DJANGO_SETTINGS_MODULE" in table or "--ds" in str(table.get("addopts", "")),
    )


def configured(texts: Mapping[str, str]) -> Mapping[str, object]:
    """The keys and values of that configuration; empty where there is none."""
    return next((found for name in CONFIGS if (found := _table(name, texts.get(name)))), {})


def configuration_file(texts: Mapping[str, str]) -> str:
    """The file that pytest is configured in, or would be. texts: of those in CONFIGS that there are, by name."""
    alone = next((name for name in ("pytest.ini", ".pytest.ini") if name in texts), "")  # counts also when it is empty
    return alone or next((name for name in CONFIGS if _table(name, texts.get(name))), "pyproject.toml")


class _CaseSensitiveParser(configparser.RawConfigParser):
    """One that leaves the case of keys alone."""

    def optionxform(self, optionstr: str) -> str:
        return optionstr


def _table(name: str, text: str | None) -> Mapping[str, object]:
    if text is None:
        return {}
    if name == "pyproject.toml":
        try:
            tool = parse_toml(text.encode()).get("tool", {})
        except ValueError:  # creating the environment says so
            return {}
        table: Mapping[str, object] = tool.get("pytest", {}).get("ini_options", {})
        return table
    parser = _CaseSensitiveParser(strict=False)
    try:
        parser.read_string(text)
    except configparser.Error:
        return {}
    section = _SECTIONS[name]
    return dict(parser.items(section)) | {"": name} if parser.has_section(section) else {}


def _words(value: object) -> list[str]:
    if isinstance(value, list):
        return [str(each) for each in value]
    return re.split(r"[\s,]+", str(value).strip()) if value else []


def arguments_elsewhere(texts: Mapping[str, str], paths: Collection[str]) -> tuple[str, ...]:
    """Return pytest's arguments in tox or nox about which tests run: paths that are there, and options that choose.

    paths: the files and folders of the checkout. Empty where several command lines differ.
    """
    found = {tuple(_choosing(words, paths)) for words in _command_lines(texts)}
    return found.pop() if len(found) == 1 else ()


def _command_lines(texts: Mapping[str, str]) -> Iterator[list[str]]:
    """The words after ``pytest`` of each command line."""
    files = {name: text.encode() for name, text in texts.items()}
    try:
        environments = read_tox(files)[:1]
    except PreconditionError:  # creating the environment says so
        environments = ()
    commands = [command for one in environments for command in one.commands]
    sessions = read_nox(files.get("noxfile.py", b""))
    commands += [command for one in sessions if "test" in one.name for command in one.commands]
    for command in commands:
        words = _split(command)
        for at, word in enumerate(words):
            if word in ("pytest", "py.test"):
                yield words[at + 1 :]
                break


def _split(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return []


def _choosing(words: list[str], paths: Collection[str]) -> Iterator[str]:
    todo = list(words)
    while todo:
        word = todo.pop(0)
        if word in _WITH_VALUE and todo:
            yield from (word, todo.pop(0))
        elif word in _IGNORED_WITH_VALUE and todo and not todo[0].startswith("-"):
            todo.pop(0)
        elif word in _ALONE or word.partition("=")[0] in _WITH_VALUE or word.partition("::")[0].rstrip("/") in paths:
            yield word
