"""What the output of a failed command says about the cause, and what helps."""

from __future__ import annotations

import re

_ERROR = r"(?:\w+\.)*\w*(?:Error|Exception|ImproperlyConfigured)"
# From the surest sign to the weakest; of each, the last line counts.
_SIGNS = (
    re.compile(rf"^E\s+({_ERROR}(?:: .+)?)$", re.MULTILINE),
    re.compile(rf"^({_ERROR}: .+)$", re.MULTILINE),
    re.compile(r"^(?:\S+: error|ERROR): (?!usage:)(.+)$", re.MULTILINE),
)
_RAN = re.compile(r"= test session starts =|\b\d+ (?:passed|failed|errors?|skipped)\b.* in \d")
_NO_PLUGIN = 'plugin "pytest_testgrove"'
_NO_MODULE = re.compile(r"No module named '?([A-Za-z0-9_]+)")


def cause_of(output: str) -> str:
    """The line of a command's output that names the cause; empty where none does."""
    lines = (sign.findall(output) for sign in _SIGNS)
    return next((str(found[-1]).strip() for found in lines if found), "")


def start_failure(output: str) -> str:
    """As cause_of(), where a pytest came to no test, and not for want of testgrove's own plugin."""
    return "" if _RAN.search(output) or _NO_PLUGIN in output else cause_of(output)


def missing_module(output: str) -> str:
    """The top-level module that was not found; empty where none is named."""
    found = _NO_MODULE.findall(output)
    return str(found[-1]) if found else ""
