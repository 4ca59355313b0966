"""A distribution that an environment lacks: which declaration brings it, and how it is declared."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from testgrove.core.environments.candidates import Candidate, all_candidates
from testgrove.core.environments.declared import Declared, normal, read_declared
from testgrove.core.environments.requirement_files import closure
from testgrove.core.frozen import frozen
from testgrove.core.lazy_pattern import lazy_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from testgrove.core.environments.install_words import InstallTargets
    from testgrove.core.environments.plan import Contents

# Distributions that are often asked for, where the module has another name.
_DISTRIBUTIONS = {
    "attr": "attrs", "bs4": "beautifulsoup4", "cv2": "opencv-python", "dateutil": "python-dateutil",
    "distutils": "setuptools", "dotenv": "python-dotenv", "environ": "django-environ", "git": "gitpython",
    "jose": "python-jose", "jwt": "pyjwt",
    "mysqldb": "mysqlclient", "pil": "pillow", "pkg-resources": "setuptools", "psycopg2": "psycopg2-binary",
    "rest-framework": "djangorestframework", "sklearn": "scikit-learn", "yaml": "pyyaml",
}  # fmt: skip
# Names that a distribution of another author has, or could have: namespaces, what Python no longer brings, and names
# that projects give to modules of their own.
_OF_OTHERS = frozenset({
    "asynchat", "asyncore", "azure", "google", "imp", "jaraco", "ruamel", "smtpd", "sphinxcontrib", "zope",
    "api", "app", "apps", "common", "config", "conftest", "core", "helpers", "lib", "main", "manage", "models",
    "project", "scripts", "server", "settings", "src", "test", "testing", "tests", "util", "utils",
})  # fmt: skip
_NAME = lazy_pattern(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
_OF_LOCK = {
    "poetry.lock": "poetry add --group dev {0}", "pdm.lock": "pdm add --dev {0}",
    "Pipfile.lock": "pipenv install --dev {0}",
}  # fmt: skip


@frozen
class Elsewhere:
    """A declaration that was passed over. settings: the lines that choose it instead, each with its table (of the
    settings, empty for the top); none where no setting can."""

    source: str
    reason: str
    settings: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return f"{self.source} declares it and was passed over ({self.reason})"


def distribution_of(module: str) -> str:
    """The distribution that brings a module, as far as its name tells; empty where another one could have that name."""
    if known := _DISTRIBUTIONS.get(normal(module)):
        return known
    other = module in _OF_OTHERS or module in sys.stdlib_module_names or module.startswith("_")
    return "" if other else module


def declared_elsewhere(name: str, files: Mapping[str, bytes], contents: Contents) -> Elsewhere | None:
    """Return which of the passed-over declarations brings a module or a distribution."""
    names = {normal(name), normal(distribution_of(name)), f"pytest-{normal(name)}"}
    declared = read_declared(files)
    reasons = {each.source: each.reason for each in contents.passed_over}
    for candidate in all_candidates(files, declared):
        if candidate.source in reasons and names & set(_names(candidate, files, declared)):
            settings = _settings(candidate.asked, contents)
            return Elsewhere(candidate.source, reasons[candidate.source], settings)
    return None


def _settings(asked: InstallTargets, contents: Contents) -> tuple[tuple[str, str], ...]:
    """Return the settings that make a declaration the one that is installed."""
    if asked.files:
        words = re.split(r"[^a-z0-9]+", PurePosixPath(asked.files[0]).stem.lower())
        name = next((word for word in reversed(words) if word and word != "requirements"), "other")
        file = f"file = {json.dumps(asked.files[0])}"
        return ((f"dependencies.{name}", file), ("", f'dependencies_default = "{name}"'))
    both = (("groups", contents.groups, asked.groups), ("extras", contents.extras, asked.extras))
    return tuple(("", f"{key} = {json.dumps([*(chosen or ()), *more])}") for key, chosen, more in both if more)


def how_to_add(distribution: str, contents: Contents, files: Mapping[str, bytes], uv: str) -> str:
    """The command that declares a distribution where the tests' others are declared; empty where none is known."""
    export = contents.export.lock if contents.export else ""
    if export:
        return _OF_LOCK[export].format(distribution) if export in _OF_LOCK else ""
    if contents.kind == "uv-lock":
        return f"{uv} add --dev {distribution}"
    if contents.requirements:
        return _append(distribution, contents.requirements[0], files)
    if contents.more or contents.source.startswith(("tox", "noxfile", "Hatch", "setup.cfg")):
        return ""
    if contents.kind == "bare":
        return f"printf '%s\\n' pytest {shlex.quote(distribution)} >> requirements-test.txt"
    return f"{uv} add --frozen {_place(contents)} {distribution}" if "pyproject.toml" in files else ""


def _append(distribution: str, file: str, files: Mapping[str, bytes]) -> str:
    line = "" if files.get(file, b"\n").endswith(b"\n") else "\\n"
    return f"printf '{line}%s\\n' {shlex.quote(distribution)} >> {shlex.quote(file)}"


def _place(contents: Contents) -> str:
    """The group or the extra that is installed already; else a new group."""
    if contents.groups:
        return f"--group {contents.groups[0]}"
    return f"--optional {contents.extras[0]}" if contents.extras else "--group test"


def _names(candidate: Candidate, files: Mapping[str, bytes], declared: Declared) -> Iterator[str]:
    asked = candidate.asked
    lines = [*asked.requirements, *declared.members(asked.extras, asked.groups)]
    lines += [line for name in asked.files for text in closure(name, files).values() for line in text.splitlines()]
    yield from (normal(match[1]) for line in lines if (match := _NAME.match(line)))
