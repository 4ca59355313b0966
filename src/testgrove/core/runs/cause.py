"""The cause of a command's failure, from its output."""

from __future__ import annotations

import re

from testgrove.core.lazy_pattern import lazy_pattern

_ERROR = r"(?:\w+\.)*\w*(?:Error|Exception|ImproperlyConfigured|UndefinedValueError)"
# From the surest sign to the weakest; of each, the last line counts.
_SIGNS = (
    lazy_pattern(rf"^E\s+({_ERROR}(?:: .+)?)$", re.MULTILINE),
    lazy_pattern(r"^!+ (?:_pytest\.outcomes\.)?Exit: (.+?) !+$", re.MULTILINE),
    lazy_pattern(r"^Exit: (.+)$", re.MULTILINE),
    lazy_pattern(rf"^INTERNALERROR> ({_ERROR}: .+)$", re.MULTILINE),
    lazy_pattern(rf"^({_ERROR}: .+)$", re.MULTILINE),
    lazy_pattern(r"^(?:\S*/)?python[\d.]*: (No module named \S+)$", re.MULTILINE),
    lazy_pattern(r"^(?:\S+: error|ERROR): (?!usage:)(.+)$", re.MULTILINE),
)
_RAN = lazy_pattern(r"= test session starts =|\b\d+ (?:passed|failed|errors?|skipped)\b.* in \d")
_NO_PLUGIN = 'plugin "pytest_testgrove"'
_CONFTEST = lazy_pattern(r"while loading conftest '([^'\n]+)'")
_PLACE = lazy_pattern(r"^(?:E\s+)?File \"([^\"\n]+)\", line (\d+)$", re.MULTILINE)
_SYNTAX = ("SyntaxError", "IndentationError", "TabError")


def cause_of(output: str) -> str:
    """The line of a command's output that names the cause, with its file where that is known; empty where none does."""
    lines = (sign.findall(output) for sign in _SIGNS)
    found = next((str(found[-1]).strip() for found in lines if found), "")
    return f"{found}{_where(output, found)}" if found else ""


def _where(output: str, error: str) -> str:
    """The file that an error without one in its text is about."""
    if error.startswith(_SYNTAX) and (places := _PLACE.findall(output)):
        return " ({}, line {})".format(*places[-1])
    conftest = _CONFTEST.search(output)
    return f" ({conftest[1]})" if conftest and conftest[1] not in error else ""


def start_failure(output: str) -> str:
    """As cause_of(), where a pytest came to no test, and not for want of testgrove's own plugin."""
    return "" if _RAN.search(output) or _NO_PLUGIN in output else cause_of(output)
