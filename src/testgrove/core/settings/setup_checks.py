"""Problems in the settings about a worktree's set-up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def setup_problems(copy: Sequence[str], setup: Sequence[str], teardown: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Key and problem of each setting that cannot be."""
    for key, commands in (("setup", setup), ("teardown", teardown)):
        if not all(command.strip() for command in commands):
            yield key, "expected commands, found an empty string"
    for pattern in copy:
        if problem := _copy_problem(pattern):
            yield "copy", f"{problem}, found '{pattern}'"


def _copy_problem(pattern: str) -> str:
    parts = pattern.split("/")
    if not pattern.strip("/") or pattern.startswith(("/", "~", ":")) or ".." in parts or "\0" in pattern:
        return "expected a path or glob in the main checkout, relative to its top"
    if parts[0] in (".git", ".venv", "."):
        return "expected a file that can be copied: each worktree has its own .git and .venv"
    return ""
