"""How git is called: bytes out, no hooks, no questions, no helpers that stay; judged by exit status alone."""

from __future__ import annotations

import os
import re
import shlex
from functools import cache
from time import sleep
from typing import TYPE_CHECKING, NamedTuple, Protocol

from testgrove.core.lazy_pattern import lazy_pattern
from testgrove.errors import ExhaustedError, PreconditionError, UnavailableError
from testgrove.system.files import free_bytes
from testgrove.system.processes import process

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

OLDEST = (2, 38)
_INSTALL = f"install git {OLDEST[0]}.{OLDEST[1]} or later"
_TRACED = lazy_pattern(r'^\{"event":"version",.*"exe":"([^"]+)"', re.MULTILINE)
LONGEST = 1800.0  # seconds, for what reads or writes all files
_FATAL = 128  # git's exit status when it gives up
_ATTEMPTS = 10

# A file system monitor would be started for every checkout, and stay. Hooks are made for people's commands:
# one that fails, or that expects to run in the main checkout, is no reason for a worktree not to exist.
# A user may configure git to compare less; a change that keeps size and mtime is still a change.
CONFIG = (
    "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "advice.detachedHead=false",
    "-c", "core.splitIndex=false", "-c", "core.safecrlf=false",
    "-c", "core.checkStat=default", "-c", "core.trustctime=true",
)  # fmt: skip
# LFS files are fetched only if asked; `git status` must not take a lock that a person's git may need.
ENVIRONMENT = {"GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1", "GIT_OPTIONAL_LOCKS": "0"}


class RunCommand(Protocol):
    """How a long command is run: process.run(), or the same under a supervisor."""

    def __call__(
        self, argv: list[str], /, *, cwd: Path, env: Mapping[str, str], timeout: float, check: bool
    ) -> process.Completed:
        """Run it; its status is judged here (check is False)."""


class Answer(NamedTuple):
    """git's answer. status: its exit status. out: raw, because paths need not be UTF-8. error: for users."""

    status: int
    out: bytes
    error: str

    @property
    def last_line(self) -> str:
        """git's last words, to show and not to judge by."""
        text = re.sub(r":\n\t", ": ", self.error)  # a list of one, such as the extension that git does not know
        lines = [line for line in text.splitlines() if line.strip()]
        return re.sub(r"^\w+: ", "", lines[-1]) if lines else f"exit status {self.status}"

    def fields(self) -> list[str]:
        """Output that was asked for with -z."""
        return [os.fsdecode(part) for part in self.out.split(b"\0") if part]


def call(
    where: Path,
    *arguments: str,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 60.0,
    inherit: tuple[int, ...] = (),
) -> Answer:
    """Run git in a checkout. timeout: seconds. inherit: descriptors that git keeps open."""
    return _call(["git", "-C", str(where), *CONFIG, *arguments], None, stdin, env, timeout, inherit)


def call_common(
    common_dir: Path,
    *arguments: str,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 60.0,
    inherit: tuple[int, ...] = (),
) -> Answer:
    """Run git on a repository itself, whether or not any checkout of it is there."""
    argv = ["git", "--git-dir", str(common_dir), *CONFIG, *arguments]
    return _call(argv, common_dir, stdin, env, timeout, inherit)


def _call(
    argv: list[str],
    cwd: Path | None,
    stdin: bytes | None,
    env: Mapping[str, str] | None,
    timeout: float,
    inherit: tuple[int, ...] = (),
) -> Answer:
    environ = environment(env)
    for attempt in range(_ATTEMPTS):
        done = process.run_bytes(argv, cwd=cwd, env=environ, input=stdin, timeout=timeout, check=False, inherit=inherit)
        # Most commands read the record of every checkout, and give up on one that `git worktree add` is writing at
        # that moment: its `commondir` is there, and still empty. They have done nothing then.
        if done.returncode != _FATAL or "/commondir: " not in done.stderr:
            break
        sleep(0.01 * attempt)
    return Answer(done.returncode, done.stdout, done.stderr)


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return git's environment, without variables that point it at another repository."""
    return process.scrubbed() | ENVIRONMENT | dict(more or {})


def require(answer: Answer, what: str, *, code: str = "git-failed", hint: str = "") -> Answer:
    """The answer, when git succeeded; else UnavailableError. what: the thing that could not be done."""
    if answer.status != 0:
        raise UnavailableError(code, f"cannot {what}: {answer.last_line}", hint=hint)
    return answer


def run_long(
    run: RunCommand, path: Path, what: str, *words: str, code: str = "checkout-failed", hint: str = ""
) -> None:
    """Run git in a checkout by run. Raises UnavailableError with this code and hint, or ExhaustedError
    (``disk-full``)."""
    done = run(["git", *CONFIG, *words], cwd=path, env=environment(), timeout=LONGEST, check=False)
    if done.returncode != 0:
        raise_if_full(path)
        lines = (done.stderr or done.stdout).strip().splitlines() or [f"exit status {done.returncode}"]
        fatal = [line.removeprefix("fatal: ") for line in lines if line.startswith("fatal: ")] or lines[-1:]
        reason = ": ".join(dict.fromkeys((fatal[-1], fatal[0])))  # the first is the cause, the last says of what
        raise UnavailableError(code, f"cannot {what} {path}: {reason}", hint=hint, output="\n".join(lines[-20:]))


def raise_if_full(path: Path, needed: int = 1 << 20) -> None:
    """Raise ExhaustedError when that is why a command failed at path. needed: bytes that it had to write."""
    if free_bytes(path) < needed:
        raise ExhaustedError(
            "disk-full", f"{path}: no disk space left", hint=f"df -h {shlex.quote(str(path.parent))}", path=str(path)
        )


def call_known(where: Path, *arguments: str) -> Answer:
    """call(), and make sure that git is new enough. Its own trace names its version: no process is started to ask.

    Raises PreconditionError as require_git() does.
    """
    try:
        answer = call(where, *arguments, env={"GIT_TRACE2_EVENT": "2"})
    except PreconditionError:
        require_git()  # it is missing
        raise
    if version := _TRACED.search(answer.error):
        _require_version(version[1])
    else:
        require_git()
    words = "\n".join(line for line in answer.error.splitlines() if not line.startswith('{"event":'))
    return answer._replace(error=words)


@cache
def require_git() -> None:
    """Raise PreconditionError when git is missing or too old."""
    try:
        text = process.run(["git", "version"], env=environment(), check=False).stdout
    except PreconditionError as error:
        raise PreconditionError("no-git", "git not found (searched: PATH)", hint=_INSTALL) from error
    _require_version(text)


def _require_version(text: str) -> None:
    match = re.search(r"(\d+)\.(\d+)\S*", text)
    if match and (int(match[1]), int(match[2])) < OLDEST:
        raise PreconditionError("git-too-old", f"unsupported git version {match[0]}", hint=_INSTALL, found=match[0])
