"""Reading of the stacks that Python's faulthandler writes: a thread's frames, the innermost first."""

from __future__ import annotations

import re
from collections.abc import Iterable

_FRAME = re.compile(r'  File "(.*)", line (\d+) in (.*)')
_RUNNER = ("/_pytest/", "/pluggy/", "/xdist/", "/execnet/", "/pytest/", "/runpy.py", "<frozen runpy>")
LIMIT = 40_000  # characters of all stacks of an attempt


def innermost(stacks: str, tree: str) -> str:
    """Return where the project's own code was, as ``tests/test_a.py:5 in test_hang``; empty where none of it ran.

    tree: the worktree. A main thread counts before others, and a process before those that it has forked.
    """
    blocks = _threads(stacks)
    for block in sorted(blocks, key=lambda block: not block.startswith("Current")):
        for frame in filter(None, map(_FRAME.fullmatch, block.splitlines())):
            if _is_own(frame[1], tree):
                return f"{frame[1].removeprefix(tree).lstrip('/')}:{frame[2]} in {frame[3]}"
    return ""


def of_test(stacks: Iterable[str], nodeid: str) -> str:
    """Return the stacks of the process that ran a test: the one with a frame of its function, else all."""
    texts = list(stacks)
    function = f" in {nodeid.rpartition('::')[2].partition('[')[0]}\n"
    return "\n".join([text for text in texts if function in f"{text}\n"] or texts)


def without_runner(stacks: str) -> str:
    """Leave out the frames of pytest itself, which are the same for every test."""
    return "".join(line for line in stacks.splitlines(keepends=True) if not any(each in line for each in _RUNNER))


def _threads(stacks: str) -> list[str]:
    return re.split(r"^(?=(?:Current t|T)hread 0x)", stacks, flags=re.MULTILINE)


def _is_own(path: str, tree: str) -> bool:
    return path.startswith(f"{tree}/") and "/site-packages/" not in path and "/lib/python" not in path
