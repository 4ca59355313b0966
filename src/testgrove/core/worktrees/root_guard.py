"""The files in a root inside the repository that make tools started above it skip it.

With a root next to the repository, none of them is written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

IGNORE_ALL = "*\n"
_CONFTEST = '''"""Written by testgrove: a pytest that is started above this folder passes its worktrees by."""

import os

_HERE = os.path.dirname(os.path.realpath(__file__)) + os.sep


def pytest_ignore_collect(config):
    """Ignore everything, unless a worktree is where pytest was started or what it was given."""
    start = str(config.invocation_params.dir)
    given = (os.path.realpath(os.path.join(start, str(word).split("::")[0])) for word in config.args)
    return None if any(path.startswith(_HERE) for path in given) else True
'''
_PYTEST_INI = """# Written by testgrove: a worktree that has no configuration does not take that of the checkout above.
[pytest]
"""
# By name, with their contents.
FILES: Mapping[str, str] = {".gitignore": IGNORE_ALL, "conftest.py": _CONFTEST, "pytest.ini": _PYTEST_INI}
# What a pytest started in the root may leave next to them.
CACHES = ("__pycache__", ".pytest_cache")

_ALWAYS = ("pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml")
_SECTIONS = {"pyproject.toml": r"^\s*\[tool\.pytest\b", "tox.ini": r"^\[pytest\]", "setup.cfg": r"^\[tool:pytest\]"}
CONFIGURATION_FILES = (*_ALWAYS, *_SECTIONS)


def configures_pytest(texts: Mapping[str, str]) -> bool:
    """Return whether a folder's files (CONFIGURATION_FILES by name, those that are there) make it pytest's root."""
    tables = (re.search(pattern, texts.get(name, ""), re.MULTILINE) for name, pattern in _SECTIONS.items())
    return any(name in texts for name in _ALWAYS) or any(tables)
