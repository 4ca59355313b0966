"""Mount points in folders: found by the kernel's list and by the identity of open folders, never deleted through."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import needs

PRELUDE = """
import os, sys
from pathlib import Path
from testgrove.errors import PreconditionError
from testgrove.system import deletion, mounts

base = Path(sys.argv[1])
tree, precious = base / "tree", base / "precious"

def code(call):
    try:
        call()
    except PreconditionError as error:
        return error.code
"""


def in_namespace(base: Path, mount: str, program: str) -> None:
    """Run a program in a process where a shell command has mounted something."""
    words = (*needs.mount_namespace(), "sh", "-c", f'set -e; cd "$1"; {mount}; exec "$2" -c "$3" "$1"', "sh")
    done = subprocess.run(
        [*words, base, sys.executable, PRELUDE + program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Folders ``tree`` and ``precious``, with a file in each."""
    for name in ("tree", "precious"):
        (tmp_path / name / "inner").mkdir(parents=True)
        (tmp_path / name / "inner" / "file").write_text("keep")
    return tmp_path


@pytest.mark.parametrize("name", ["plain", "with blank", "tab\tand\nline", "back\\slash", "ümlaut", "a/b/c"])
def test_a_mount_point_is_found_whatever_its_name_is(base: Path, name: str) -> None:
    (base / "tree" / name).mkdir(parents=True)
    program = f"""
(found,) = mounts.mounts_in(tree)
assert found.path == tree / {name!r}, found
assert code(lambda: deletion.delete_tree(tree, within=base)) == "mounted-inside"
assert code(lambda: deletion.move_to_trash(tree, base / "trash")) == "mounted-inside"
assert mounts.mounts_in(tree / "inner") == []
"""
    in_namespace(base, f"mount --bind precious 'tree/{name}'", program)
    assert (base / "precious/inner/file").exists()
    assert (base / "tree/inner/file").exists()


def test_other_kinds_of_mounts_are_found_and_told_how_to_end(base: Path) -> None:
    (base / "tree/top/below").mkdir(parents=True)
    program = """
found = {mount.path.relative_to(base).as_posix(): mount.ending for mount in mounts.mounts_in(base / "link")}
assert found == {"tree": f"umount {tree}", "tree/inner/file": f"umount {tree}/inner/file"}, found
assert mounts.Mount(Path("/a"), "fuse.sshfs").ending == "fusermount -u /a"
"""
    mount = "mount --rbind tree tree; mount --bind precious/inner/file tree/inner/file; ln -s tree link"
    in_namespace(base, mount, program.replace('base / "link"', 'base / "link" / ".." / "tree"'))


@pytest.mark.parametrize("kind", ["--bind precious", "-t tmpfs none"])
def test_what_is_mounted_while_a_tree_is_deleted_is_not_entered(base: Path, kind: str) -> None:
    program = """
deletion.mounts.require_none = lambda *_: None  # the look came before the mount
assert code(lambda: deletion.delete_tree(tree, within=base)) == "mounted-inside"
assert [mount.path for mount in mounts.mounts_in(tree)] == [tree / "inner"]
"""
    in_namespace(base, f"mount {kind} tree/inner", program)
    assert (base / "precious/inner/file").exists()
    assert (base / "tree/inner/file").exists()


def test_without_a_mount_everything_goes_and_what_was_mounted_stays(base: Path) -> None:
    in_namespace(base, "mount --bind precious tree/inner; umount tree/inner", "deletion.delete_tree(tree, within=base)")
    assert not (base / "tree").exists()
    assert (base / "precious/inner/file").exists()
