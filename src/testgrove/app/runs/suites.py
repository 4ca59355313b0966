"""The suites of a checkout: as configured, or found in its files, with those of its sub-projects."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import field
from pathlib import Path, PurePosixPath

import msgspec

from testgrove.app.project import Project
from testgrove.app.subprojects import reader
from testgrove.core.folders import below, is_inside, joined, outside
from testgrove.core.frozen import frozen
from testgrove.core.runs.default_suites import find_suites
from testgrove.core.runs.narrowing import looks_like_a_path, narrow
from testgrove.core.runs.plan import purpose_of, select
from testgrove.core.runs.pytest_settings import READ
from testgrove.core.runs.subprojects import find_subprojects, has_settings, without_subprojects
from testgrove.core.settings.types import Settings, Suite
from testgrove.errors import UsageError
from testgrove.system import git


@frozen
class Suites:
    """All suites of a checkout. whole: by name, each with its folder from the top. subprojects: whose settings count,
    by the suite's name. files: of the checkout."""

    whole: Mapping[str, Suite]
    subprojects: Mapping[str, str]
    files: Sequence[str] = field(repr=False)


def suites_of(project: Project) -> Suites:
    """The suites of the project: at its top those of all sub-projects, in a sub-project those that run in it.

    Empty where there are no tests. Files that cannot be read say nothing about tests.
    """
    files = git.listed_files(project.repository.toplevel)
    found = _all_suites(project.at(""), files)
    if not project.directory:
        return found
    names = [name for name, suite in found.whole.items() if is_inside(suite.directory, project.directory)]
    if not names:
        own = _of_subproject(project, files)
        return Suites(own, dict.fromkeys(own, project.directory), files)
    return Suites({name: found.whole[name] for name in names}, {name: found.subprojects[name] for name in names}, files)


def _all_suites(project: Project, files: Sequence[str]) -> Suites:
    settings = project.settings
    folders = _subprojects(project, files)
    found = {
        name: msgspec.structs.replace(suite, directory=joined(suite.directory))
        for name, suite in _at_top(project, settings, folders, files).items()
    }
    owners = dict.fromkeys(found, "")
    for folder in folders:
        suites = _of_subproject(project.at(folder), files, found)
        found |= suites
        owners |= dict.fromkeys(suites, folder)
    return Suites(found, owners, files)


def _subprojects(project: Project, files: Sequence[str]) -> list[str]:
    """The sub-projects that run from the top: where it configures suites, only those with settings of their own."""
    top = project.repository.toplevel
    folders = find_subprojects(files, reader(top))
    configured = bool(project.settings.suites)
    return [each for each in folders if not configured or has_settings(below(each, files), reader(top / each))]


def _at_top(project: Project, settings: Settings, folders: Collection[str], files: Sequence[str]) -> dict[str, Suite]:
    if settings.suites:
        return dict(settings.suites)
    own = outside(folders, files)
    texts = _texts(project.repository.toplevel, own)
    return without_subprojects(find_suites(settings, own, texts), folders, texts)


def _of_subproject(project: Project, files: Sequence[str], taken: Collection[str] = ()) -> dict[str, Suite]:
    """The suites of a sub-project, by their names in the whole checkout. taken: the names of the top's own suites."""
    directory, settings = project.directory, project.settings
    own = settings.suites if project.settings_folder == directory else {}
    found = own
    if not own:
        inside = below(directory, files)
        bare = msgspec.structs.replace(settings, suites={})
        found = find_suites(bare, inside, _texts(project.repository.toplevel / directory, inside))
    whole = {}
    for name, suite in found.items():
        alone = not own and len(found) == 1 and directory not in taken
        whole[directory if alone else f"{directory}/{name}"] = msgspec.structs.replace(
            suite, purpose=purpose_of(name, suite), directory=joined(directory, suite.directory)
        )
    return whole


def _texts(folder: Path, files: Sequence[str]) -> dict[str, str]:
    read = reader(folder)
    return {name: read(name) for name in READ if name in files}


def selected(project: Project, words: Sequence[str], *, there: bool) -> Suites:
    """The suites that the words name, whole, or with the tests in them that the words name.

    A word is a suite's name, a folder with suites, else a path or a node id, from where the user stands or from the
    top. there: its file must exist now; otherwise it may exist at another ref. Raises UsageError (``no-suites``,
    ``unknown-suite``, ``unknown-test``).
    """
    suites = suites_of(project)
    top, names, tests = project.repository.toplevel, list[str](), list[str]()
    for word in words:
        named = _named(word, suites.whole, project)
        if named:
            names += named
        elif looks_like_a_path(word) or (top / word).exists() or (top / project.directory / word).exists():
            tests.append(_from_top(word, top, project.directory, there=there))
        else:
            names.append(word)
    chosen = select(suites.whole, names, project.table("suites.unit"))
    if tests:
        chosen = _narrowed(chosen, tests, suites.files)
    return Suites(chosen, {name: suites.subprojects[name] for name in chosen}, suites.files)


def _named(word: str, suites: Mapping[str, Suite], project: Project) -> list[str]:
    """The suites that a word means: by its name, by its name in each sub-project, or by the folder they run in."""
    for name in (word, f"{project.directory}/{word}"):
        if name in suites:
            return [name]
    if own := [name for name in suites if name.rpartition("/")[2] == word]:
        return own
    if "::" in word:
        return []
    top = os.path.realpath(project.repository.toplevel)
    folder = os.path.relpath(os.path.realpath(word), top)
    if folder == "." or folder.startswith(".."):
        return []
    return [name for name, suite in suites.items() if is_inside(suite.directory, folder)]


def _narrowed(suites: Mapping[str, Suite], tests: Sequence[str], files: Sequence[str]) -> dict[str, Suite]:
    """The suites that run these tests: those of the nearest folder that has suites."""
    chosen: dict[str, Suite] = {}
    of_folder: dict[str, list[str]] = {}
    for test in tests:
        path = test.partition("::")[0]
        folders = [suite.directory for suite in suites.values() if is_inside(path, suite.directory)]
        of_folder.setdefault(max(folders, key=len, default=""), []).append(test)
    for folder, inside in of_folder.items():
        there = {name: suite for name, suite in suites.items() if suite.directory == folder}
        own = below(folder, files)
        paths = {*own, *(str(parent) for path in own for parent in PurePosixPath(path).parents)} - {"."}
        chosen |= narrow(there, [test[len(folder) :].lstrip("/") if folder else test for test in inside], paths)
    return chosen


def _from_top(test: str, top: Path, directory: str, *, there: bool) -> str:
    """A test as it is called at the top of the checkout. directory: the sub-project that the user stands in."""
    path, mark, name = test.partition("::")
    here = Path(os.path.normpath(Path.cwd() / path))
    if here.exists() and here.is_relative_to(top):
        return str(here.relative_to(top)) + mark + name
    if (top / path).exists():
        return test
    if there and not (top / directory / path).exists():
        import difflib  # noqa: PLC0415 - for a mistake only

        near = difflib.get_close_matches(path, git.listed_files(top), 1)
        hint = f"testgrove test {shlex.quote(near[0])}" if near else f"give a path from {top}, or a suite"
        raise UsageError("unknown-test", f"'{path}' not found", hint=hint, name=test)
    return joined(directory, path) + mark + name
