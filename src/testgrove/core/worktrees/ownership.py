"""Decides which files in a checkout are the user's, from a listing and a manifest.

testgrove's files are those that set-up or an attempt wrote and that are unchanged since (according to the manifest),
and files that any tool can recreate. Outputs are known test outputs, saved before a checkout is removed. All other
files are the user's.
"""

from __future__ import annotations

import json
import re
from dataclasses import field
from typing import TYPE_CHECKING, NamedTuple

from testgrove.core.frozen import frozen
from testgrove.core.lazy_pattern import lazy_pattern

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

METADATA = ".worktree-metadata.json"

_MADE_AGAIN = lazy_pattern(
    r"""(?:^|/)(?:
        (?:\.venv|__pycache__|\.pytest_cache|\.mypy_cache|\.ruff_cache|\.hypothesis|\.tox|\.nox|\.eggs|[^/]*\.egg-info)
        /
        | [^/]*\.py[co]$
        | \.coverage[^/]*(?:-journal|-wal|-shm|\.lock)$
    )""",
    re.VERBOSE | re.DOTALL,
)
# `.coveragerc` is a configuration file, and `logs` and `prof` are outputs at the top only: `src/app/logs/` is a
# package. The last two lines are profilers': pytest-profiling, cProfile, line_profiler, pytest-benchmark, Memray,
# memory_profiler, Valgrind and what writes its formats.
_OUTPUT = lazy_pattern(
    r"""^(?:(?:logs|prof|\.benchmarks)(?:/|$))
        | (?:^|/)(?: \.coverage(?:\.[^/]*)?$ | coverage\.(?:xml|json|lcov)$ | lcov\.info$ | htmlcov(?:/|$)
                   | junit[^/]*\.xml$
                   | [^/]+\.(?:prof|lprof|pstats)$ | memray-[^/]+\.(?:bin|html)$ | mprofile_\d+\.dat$
                   | (?:callgrind|cachegrind|massif)\.out(?:\.[^/]*)?$ )""",
    re.VERBOSE | re.DOTALL,
)


class ManifestEntry(NamedTuple):
    """A path in a checkout, relative to its top, with the values that show changes: size in bytes, mtime in
    nanoseconds, inode. A missing file has size -1; a nested repository's path ends in "/"."""

    path: str
    size: int
    mtime_ns: int
    inode: int


@frozen
class Manifest:
    """The files that set-up and attempts wrote, as they were when these ended: path → (size, mtime_ns, inode)."""

    entries: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, entries: Iterable[ManifestEntry], *, theirs: Collection[str] = ()) -> Manifest:
        """A manifest of entries. theirs: paths that were the user's before the attempt, and still are."""
        kept = set(theirs)
        return cls({e.path: (e.size, e.mtime_ns, e.inode) for e in entries if e.path not in kept})

    def holds(self, entry: ManifestEntry) -> bool:
        """Return whether testgrove wrote this entry and it is unchanged since."""
        return self.entries.get(entry.path) == (entry.size, entry.mtime_ns, entry.inode)

    def dump(self) -> str:
        """As compact JSON. Names that are not UTF-8 survive (as escapes of the bytes)."""
        return json.dumps({"schema": 1, "entries": self.entries}, separators=(",", ":"))

    @classmethod
    def load(cls, text: str) -> Manifest:
        """The manifest that dump() wrote. Raises ValueError for anything else."""
        data = json.loads(text)
        try:
            if data["schema"] != 1:
                raise ValueError(f"unknown manifest schema {data['schema']}")
            return cls({path: (size, mtime, inode) for path, (size, mtime, inode) in data["entries"].items()})
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError("not a manifest") from error


@frozen
class Ownership:
    """ours: may be removed. outputs: are first moved to the artifacts. theirs: (path, why) of the user's files."""

    ours: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    theirs: tuple[tuple[str, str], ...] = ()


def classify(
    listing: Iterable[ManifestEntry],
    *,
    modified: Iterable[ManifestEntry] = (),
    staged: Iterable[str] = (),
    unmerged: Iterable[str] = (),
    manifest: Manifest | None = None,
    collect: Iterable[str] = (),
) -> Ownership:
    """Say what is whose.

    listing: everything git does not track, nested repositories included (their paths end in "/"). modified:
    tracked files that differ from the index, deleted ones included. staged, unmerged: paths. manifest: None
    where the worktree never became ready. collect: globs of further outputs, from the top of the checkout;
    a folder's name means what is in it.
    """
    known = manifest or Manifest()
    theirs = dict.fromkeys(unmerged, "unmerged")
    theirs |= dict.fromkeys(staged, "staged")
    ours: list[str] = []
    outputs: list[str] = []
    for entry in modified:
        if entry.path in theirs:
            continue
        if known.holds(entry):
            ours.append(entry.path)
        else:
            theirs[entry.path] = "deleted" if entry.size < 0 else "modified"
    wanted = _globs(collect)
    for entry in listing:
        path = entry.path
        if path == METADATA or _MADE_AGAIN.search(path):
            ours.append(path)
        elif not path.endswith("/") and (_OUTPUT.search(path) or wanted.match(path)):
            outputs.append(path)
        elif known.holds(entry):
            ours.append(path)
        elif entry.size >= 0:  # else it went away between the listing and the look at it
            theirs[path] = _why(path, known)
    return Ownership(tuple(ours), tuple(outputs), tuple(theirs.items()))


def is_made_again(path: str) -> bool:
    """Return whether tools make a file of this name again whenever they need it, such as byte code."""
    return _MADE_AGAIN.search(path) is not None


def _why(path: str, manifest: Manifest) -> str:
    if path.endswith("/"):
        return "a nested repository"
    return "changed since a test or set-up wrote it" if path in manifest.entries else "not written by set-up or a test"


def _globs(patterns: Iterable[str]) -> re.Pattern[str]:
    """One expression for globs that are anchored at the top; each also matches everything below what it
    names."""
    parts = [f"{_translate(p.strip('/'))}(?:/.*)?" for p in patterns if p.strip("/")]
    return re.compile("|".join(f"(?:{part})\\Z" for part in parts) or r"(?!)", re.DOTALL)


def _translate(glob: str) -> str:
    tokens = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.sub(r"\*\*/|\*\*|\*|\?|[^*?]+", lambda m: tokens.get(m[0]) or re.escape(m[0]), glob.removeprefix("./"))
