"""Finds the problems of worktrees inside the repository, from the project's files. Runs nothing."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from testgrove.core.environments.declared import parse_toml
from testgrove.core.frozen import frozen
from testgrove.core.lazy_pattern import lazy_pattern

# Names that setuptools' automatic discovery passes by in a flat layout.
_PASSED_BY = lazy_pattern(
    r"[._].*|ci|bin|debian|docs?|documentation|manpages|news|newsfragments|changelog|tests?|unit_tests?|examples?|"
    r"scripts|tools|utils?|python|build|dist|venv|env|requirements|tasks|fabfile|site_scons|benchmarks?|exercises?|htmlcov"
)


@frozen
class RootProblem:
    """message: what does not work, and why. fix: what to write where."""

    message: str
    fix: str


def find_problems(root: str, texts: Mapping[str, str], names: Collection[str], *, tracked: bool) -> list[RootProblem]:
    """Return the known problems.

    root: the worktrees' folder, relative to the top. texts: the top's configuration files by name. names: the entries
    of the top. tracked: the project tracks files in root."""
    tables = _tables(texts.get("pyproject.toml", ""))
    found = [*_setuptools(root, texts, tables, names), *_hatchling(root, texts, tables), *_mypy(root, texts, tables)]
    if tracked:
        message = f"the project tracks files in {root}/, so git also shows the worktrees there"
        found.append(RootProblem(message, "set another folder: [tool.testgrove] root"))
    return found


def _tables(text: str) -> Mapping[str, Any]:
    try:
        return parse_toml(text.encode())
    except ValueError:
        return {}  # nothing can be built from it anyhow


def _backend(texts: Mapping[str, str], tables: Mapping[str, Any]) -> str:
    system = tables.get("build-system", {})
    builds = "setup.py" in texts or "[metadata]" in texts.get("setup.cfg", "") or bool(system)
    return str(system.get("build-backend", "setuptools.build_meta" if builds else ""))


def _setuptools(
    root: str, texts: Mapping[str, str], tables: Mapping[str, Any], names: Collection[str]
) -> Iterator[RootProblem]:
    folder = root.partition("/")[0]
    if not _backend(texts, tables).startswith("setuptools") or not folder.isidentifier():
        return
    settings = tables.get("tool", {}).get("setuptools", {})
    chosen = settings.get("packages")
    if isinstance(chosen, dict) and _finds(folder, chosen.get("find", {})):
        message = f"setuptools includes {folder}/ in its builds: [tool.setuptools.packages.find] matches it"
        yield RootProblem(message, f'exclude = ["{folder}*"]   under [tool.setuptools.packages.find]')
    explicit = {"packages", "py-modules", "package-dir"} & settings.keys() or _lists_packages(texts)
    if not explicit and "src" not in names and not _PASSED_BY.fullmatch(folder):
        message = f"setuptools cannot build here: it takes {folder}/ for a second package"
        yield RootProblem(message, '[tool.setuptools] packages = ["<your package>"]   in pyproject.toml')


def _lists_packages(texts: Mapping[str, str]) -> bool:
    """Return whether setup.cfg or setup.py name what is packed; then nothing is looked for."""
    both = texts.get("setup.cfg", "") + "\n" + re.sub(r"[(,]", "\n", texts.get("setup.py", ""))
    return bool(re.search(r"^\s*(packages|py_modules|package_dir|ext_modules)\s*=", both, re.MULTILINE))


def _finds(folder: str, find: Mapping[str, Any]) -> bool:
    if find.get("where", ["."]) != ["."] or find.get("namespaces") is False:
        return False
    included = any(fnmatchcase(folder, pattern) for pattern in find.get("include", ["*"]))
    return included and not any(fnmatchcase(folder, pattern) for pattern in find.get("exclude", []))


def _hatchling(root: str, texts: Mapping[str, str], tables: Mapping[str, Any]) -> Iterator[RootProblem]:
    if not _backend(texts, tables).startswith("hatchling"):
        return  # of all .gitignore files it reads the one at the top
    build = tables.get("tool", {}).get("hatch", {}).get("build", {})
    sdist = {**build, **build.get("targets", {}).get("sdist", {})}
    patterns = [*sdist.get("exclude", []), *texts.get(".gitignore", "").splitlines()]
    folder = root.partition("/")[0]
    chosen = [*sdist.get("include", []), *sdist.get("only-include", []), *sdist.get("packages", [])]
    reached = not chosen or any(str(each).strip("/").partition("/")[0] in (folder, "*", "**") for each in chosen)
    if reached and not any(str(pattern).strip().strip("/") in (folder, root, f"{folder}/*") for pattern in patterns):
        message = f"hatchling includes {root}/ in its sdist, with env files and their passwords"
        fix = rf"printf '/{root}/\n/test-artifacts/\n/worktrees_registry.json\n' >> .gitignore"
        yield RootProblem(message, fix)


def _mypy(root: str, texts: Mapping[str, str], tables: Mapping[str, Any]) -> Iterator[RootProblem]:
    if not any(re.search(r"\bmypy\b", text) for text in (*texts.values(), *(texts.keys() & {"mypy.ini", ".mypy.ini"}))):
        return
    settings = _mypy_settings(texts, tables)
    if str(settings.get("exclude_gitignore", "")).lower() == "true":
        message = f"mypy with exclude_gitignore checks nothing inside a worktree, because git ignores {root}/"
        yield RootProblem(message, f'exclude = ["^{root}/"]   instead of exclude_gitignore, in mypy\'s configuration')
        return
    exclude = settings.get("exclude", [])
    patterns = exclude if isinstance(exclude, list) else [str(exclude).strip()]
    if not any(_matches(str(pattern), f"{root}/") for pattern in patterns):
        message = f"`mypy .` fails: it finds every module again in {root}/"
        yield RootProblem(message, f'exclude = ["^{root}/"]   in mypy\'s configuration')


def _mypy_settings(texts: Mapping[str, str], tables: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings of the file that mypy reads: the first of these."""
    for name in ("mypy.ini", ".mypy.ini"):
        if name in texts:
            return _section(texts[name], "mypy")
    if "mypy" in tables.get("tool", {}):
        table: Mapping[str, Any] = tables["tool"]["mypy"]
        return table
    return _section(texts.get("setup.cfg", ""), "mypy")


def _section(text: str, name: str) -> Mapping[str, Any]:
    import configparser  # noqa: PLC0415 - few projects have such a file

    parser = configparser.RawConfigParser()
    try:
        parser.read_string(text)
    except configparser.Error:
        return {}
    return dict(parser.items(name)) if parser.has_section(name) else {}


def _matches(pattern: str, path: str) -> bool:
    try:
        return bool(pattern) and re.search(pattern, path) is not None
    except re.error:
        return False
