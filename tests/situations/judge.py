"""What the user has, seen from outside: bytes of files, git's state of a worktree, objects that git keeps.

Taken before and after a command; what was there before must be there afterwards.
"""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

Looks = dict[str, str]  # path → what is there, as text
# git rewrites these by looking; what the index holds is read through git.
_NOT_COMPARED = {"index"}


def looks_of(top: Path) -> Looks:
    """Everything below a folder, git's own folders left out: kind, permissions, and content."""
    found: Looks = {}
    _look(top, str(top), found)
    return found


def _look(path: Path, shown: str, found: Looks) -> None:
    try:
        state = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    mode = stat.S_IMODE(state.st_mode)
    if stat.S_ISLNK(state.st_mode):
        found[shown] = f"a link to {os.readlink(path)}"  # noqa: PTH115 - bytes that are not UTF-8
    elif stat.S_ISREG(state.st_mode):
        found[shown] = f"a file {mode:o} {hashlib.sha256(path.read_bytes()).hexdigest()}"
    elif not stat.S_ISDIR(state.st_mode):
        found[shown] = f"something else {stat.S_IFMT(state.st_mode):o}"
    elif len(shown) > 2000:
        found[shown] = "a deep folder"
    else:
        found[shown] = f"a folder {mode:o}"
        _look_inside(path, shown, mode, found)


def _look_inside(path: Path, shown: str, mode: int, found: Looks) -> None:
    opened = mode & stat.S_IRWXU != stat.S_IRWXU and os.geteuid() != 0
    if opened:
        path.chmod(stat.S_IRWXU)
    for name in sorted(os.listdir(path)):  # noqa: PTH208 - names are what is asked for
        if name != ".git":
            _look(path / name, f"{shown}/{name}", found)
    if opened:
        path.chmod(mode)


def record_of(tree: Path, common_dir: Path) -> Path | None:
    """The folder of git's record of a worktree, found from the repository."""
    for record in (common_dir / "worktrees").glob("*"):
        pointer = record / "gitdir"
        if pointer.is_file() and Path(pointer.read_text().strip()).parent == tree:
            return record
    return None


def state_of(record: Path | None) -> Looks:
    """git's state of a worktree: what it is in the middle of, where HEAD is and was, and what is staged."""
    if record is None or not record.is_dir():
        return {}
    found = {name: look for name, look in looks_of(record).items() if Path(name).name not in _NOT_COMPARED}
    found.pop(str(record))
    kept = {name: look for name, look in found.items() if "/modules" not in name}
    listing = _git(record, "ls-files", "--stage", "-v")
    return kept | {f"{record}/index": f"an index {hashlib.sha256(listing).hexdigest()}"}


def protected(base: Path) -> dict[str, str]:
    """Every object that a repository below base keeps through a ref, a reflog or an index; where it was found."""
    found: dict[str, str] = {}
    for git_dir in git_dirs(base):
        words = ("rev-list", "--objects", "--no-object-names", "--all", "--reflog", "--ignore-missing")
        listing = _git(git_dir, *words, "--indexed-objects", *_own_refs(git_dir))
        if not listing:  # an index of one of the worktrees is damaged
            listing = _git(git_dir, *words, *_own_refs(git_dir))
            records = [record for record in git_dir.glob("worktrees/*") if (record / "HEAD").exists()]
            listing += b"".join(_git(each, *words, "--indexed-objects", "--single-worktree") for each in records)
        found.update(dict.fromkeys(listing.decode().split(), str(git_dir)))
    return found


def _own_refs(git_dir: Path) -> Iterator[str]:
    """What the refs of linked worktrees point to: ``--all`` leaves these out."""
    for ref in git_dir.glob("worktrees/*/refs/**/*"):
        if ref.is_file():
            yield ref.read_text().strip()


def git_dirs(base: Path) -> list[Path]:
    """The repositories below a folder, bare and nested ones and those of submodules included."""
    found = []
    for folder, folders, files in os.walk(base):
        if "HEAD" in files and {"objects", "refs"} <= set(folders):
            found.append(Path(folder))
            folders[:] = [name for name in folders if name in ("modules", "worktrees")]
        else:
            folders[:] = [name for name in folders if len(folder) < 2000 and name not in ("cache", "state")]
    return found


def _git(git_dir: Path, *words: str) -> bytes:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(["git", "--git-dir", git_dir, *words], capture_output=True, check=False, env=clean).stdout


@dataclass
class Property:
    """What one situation has made the user's. looks: each path as it must stay, or empty for one that is not there."""

    looks: Mapping[str, str] = field(default_factory=dict)
    state: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def since(cls, before: Looks, after: Looks, state: tuple[Looks, Looks]) -> Property:
        """What is different now."""
        return cls(_differences(before, after), _differences(*state))

    def losses(self, kept_in: Path, *, besides: Path | None = None) -> list[str]:
        """What is not as it was, one line each. kept_in: the folder that test outputs are moved to; besides: a folder
        that may be gone."""
        kept = {_content(look) for look in looks_of(kept_in).values()} - {""}
        found = []
        for name, look in self.looks.items():
            if besides is not None and Path(name).is_relative_to(besides):
                continue
            now: Looks = {}
            _look(Path(name), name, now)
            moved = _content(look) in kept or (look.startswith("a folder") and bool(kept) and not now)
            if now.get(name, "") != look and not moved:
                found.append(f"{name} was {look or 'not there'}, and is {now.get(name, 'not there')}")
        return found

    def changes(self, record: Path | None) -> list[str]:
        """How git's state of the worktree differs."""
        now = state_of(record)
        lines = [(name, look, now.get(name, "")) for name, look in self.state.items()]
        return [
            f"{name} was {was or 'not there'}, and is {look or 'not there'}" for name, was, look in lines if was != look
        ]


def _content(look: str) -> str:
    """A file without its permissions, or a link; empty for anything else."""
    return look.rsplit(maxsplit=1)[-1] if look.startswith(("a file", "a link")) else ""


def _differences(before: Looks, after: Looks) -> Looks:
    """The paths that look different now, as they look now; of a folder that is gone, the folder."""
    different = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    gone = {name for name in different if name not in after}
    return {name: after.get(name, "") for name in different if name not in gone or _parent(name) in _folders(after)}


def _folders(looks: Looks) -> set[str]:
    return {name for name, look in looks.items() if look.startswith("a folder")}


def _parent(name: str) -> str:
    return name.rpartition("/")[0]
