"""The commit and the tags that a version comes from, and a small repository in which they are all that there is."""

from __future__ import annotations

import hashlib
import shutil
from typing import TYPE_CHECKING, NamedTuple

from testgrove.system.files import explained
from testgrove.system.git.call import call, require
from testgrove.system.git.snapshots import base_of

if TYPE_CHECKING:
    from pathlib import Path


class VersionSource(NamedTuple):
    """The sources of a version from git. commit: of a snapshot, its base. tags: ``<object> <ref>``, those of the
    commit and its ancestors. mark: differs where one of these does."""

    commit: str
    tags: tuple[str, ...]

    @property
    def mark(self) -> str:
        """A hash of both."""
        return hashlib.blake2b("\n".join((self.commit, *self.tags)).encode(), digest_size=16).hexdigest()


def version_source(tree: Path, commit: str) -> VersionSource:
    """Return the sources of the version of a commit, or of a snapshot."""
    base = base_of(tree, commit)
    words = ("for-each-ref", "--format=%(objectname) %(refname)", f"--merged={base}", "refs/tags")
    answer = require(call(tree, *words), "list the tags")
    return VersionSource(base, tuple(answer.out.decode("utf-8", "surrogateescape").splitlines()))


def make_version_repository(folder: Path, tree: Path, common_dir: Path, source: VersionSource) -> None:
    """Make a folder a separate repository in which the source's commit is checked out and nothing is modified.

    It borrows the objects of the tree's repository. No file of the commit is written: git is configured to ignore that.
    """
    what = "prepare the version"
    object_format = require(call(tree, "rev-parse", "--show-object-format"), what).out.decode().strip()
    require(call(tree, "init", "--quiet", "--template=", f"--object-format={object_format}", str(folder)), what)
    with explained("write to", folder):
        info = folder / ".git/objects/info"
        info.mkdir(exist_ok=True)
        (info / "alternates").write_text(f"{common_dir}/objects\n", encoding="utf-8", errors="surrogateescape")
        if (common_dir / "shallow").is_file():
            shutil.copy2(common_dir / "shallow", folder / ".git/shallow")
    refs = "".join(f"create {ref} {name}\n" for name, _, ref in (tag.partition(" ") for tag in source.tags))
    require(call(folder, "update-ref", "--stdin", stdin=refs.encode("utf-8", "surrogateescape")), what)
    require(call(folder, "update-ref", "--no-deref", "HEAD", source.commit), what)
    require(call(folder, "read-tree", "HEAD"), what)
    paths = require(call(folder, "ls-files", "-z"), what).out
    require(call(folder, "update-index", "-z", "--assume-unchanged", "--stdin", stdin=paths), what)
