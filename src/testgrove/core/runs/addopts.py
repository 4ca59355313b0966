"""A comment in the value of pytest's `addopts`: pytest takes its words for arguments."""

from __future__ import annotations

import re
from collections.abc import Mapping

from testgrove.core.frozen import frozen
from testgrove.core.runs.pytest_settings import configuration_file, configured

_BEGINS = re.compile(r"(?:^|\s)(#.*)$", re.MULTILINE)
_WRONG = re.compile(r"^(?:ERROR: )?(?:usage: |file or directory not found: )|No closing quotation", re.MULTILINE)


@frozen
class CommentInAddopts:
    """file, line: where it is. text: the comment."""

    file: str
    line: int
    text: str


def comment_in_addopts(texts: Mapping[str, str]) -> CommentInAddopts | None:
    """Return the first such comment in the configuration that pytest takes. texts: of the files in READ, by name."""
    value = configured(texts).get("addopts", "")
    found = _BEGINS.search(value) if isinstance(value, str) else None
    if found is None:
        return None
    file, text = configuration_file(texts), found[1].strip()
    lines = texts[file].splitlines()
    begin = next((at for at, line in enumerate(lines) if re.match(r"\s*addopts\s*=", line)), 0)
    number = next((at for at, line in enumerate(lines) if at >= begin and text in line), begin)
    return CommentInAddopts(file, number + 1, text)


def refuses_arguments(output: str) -> bool:
    """Return whether a pytest's output says that it cannot use its arguments."""
    return bool(_WRONG.search(output))
