"""Which of a project's declarations brings a module that its environment lacks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from testgrove.core.environments.candidates import Candidate, RejectedSource, all_candidates
from testgrove.core.environments.declared import Declared, normal, read_declared
from testgrove.core.environments.requirement_files import closure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# Distributions that are often asked for, where the module has another name.
_DISTRIBUTIONS = {
    "attr": "attrs", "bs4": "beautifulsoup4", "cv2": "opencv-python", "dateutil": "python-dateutil",
    "dotenv": "python-dotenv", "environ": "django-environ", "git": "gitpython", "jose": "python-jose", "jwt": "pyjwt",
    "mysqldb": "mysqlclient", "pil": "pillow", "pkg-resources": "setuptools", "psycopg2": "psycopg2-binary",
    "rest-framework": "djangorestframework", "sklearn": "scikit-learn", "yaml": "pyyaml",
}  # fmt: skip
_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")


def declared_elsewhere(module: str, files: Mapping[str, bytes], passed_over: Sequence[RejectedSource]) -> str:
    """Which of the passed-over declarations brings a module, with the reason why it was passed over; empty for none."""
    names = {normal(module), _DISTRIBUTIONS.get(normal(module), ""), f"pytest-{normal(module)}"}
    declared = read_declared(files)
    reasons = {each.source: each.reason for each in passed_over}
    for candidate in all_candidates(files, declared):
        if candidate.source in reasons and names & set(_names(candidate, files, declared)):
            return f"{candidate.source} declares it and was passed over ({reasons[candidate.source]})"
    return ""


def _names(candidate: Candidate, files: Mapping[str, bytes], declared: Declared) -> Iterator[str]:
    asked = candidate.asked
    lines = [*asked.requirements, *declared.members(asked.extras, asked.groups)]
    lines += [line for name in asked.files for text in closure(name, files).values() for line in text.splitlines()]
    yield from (normal(match[1]) for line in lines if (match := _NAME.match(line)))
