"""Deleting: trees without ever leaving them, the trash that they are moved to first, folders that are empty."""

from __future__ import annotations

import errno
import os
import secrets
import stat
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from testgrove.core.worktrees import root_guard
from testgrove.errors import PreconditionError, TestgroveError
from testgrove.system import mounts
from testgrove.system.files import explained, make_folder
from testgrove.system.undeletable import explain_deletion

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


TRASH = ".trash"  # in the folder of the worktrees
_TRIES = 100
_DEEPEST = 100  # one descriptor for each level while a tree is deleted


_PATIENCE = 10.0  # seconds for files that appear while a tree is deleted


def trash_location(path: Path, trash: Path) -> Path:
    """A name in the trash folder that nothing has, for a lease to name before the move."""
    return trash / f"{path.name[:200]}.{secrets.token_hex(6)}"


def move_to_trash(path: Path, trash: Path, *, location: Path | None = None) -> Path:
    """Rename path into the trash folder of its file system; return where it is now.

    location: from trash_location(). Raises PreconditionError when it is missing, busy, on another file system, or has
    something mounted in it (``mounted-inside``): a mount would move with it.
    """
    mounts.require_none(path, f"cannot move {path} to the trash")
    target = location or trash_location(path, trash)
    with explained("move to the trash", path):
        try:
            _rename_into(path, target)
        except PermissionError:
            # An ordinary user cannot move a folder that is read-only: its ".." changes.
            if not path.is_symlink():
                path.chmod(stat.S_IMODE(path.stat().st_mode) | stat.S_IRWXU)
            _rename_into(path, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            raise PreconditionError(
                "trash-elsewhere",
                f"{path} and the trash folder {trash} are on different file systems",
                hint=f"df {path} {trash}",
            ) from error
    return target


def _rename_into(path: Path, target: Path) -> None:
    """Rename, and make the folder that target is in."""
    for left in reversed(range(_TRIES)):
        make_folder(target.parent, 0o700)
        try:
            path.rename(target)
        except FileNotFoundError:
            if not left or not os.path.lexists(path):
                raise
        else:
            return


def delete_trash(location: Path) -> None:
    """Delete what is in the trash, then the trash and the worktrees' folder that it is in, while they are empty."""
    delete_tree(location, within=location.parent)
    if location.parent.name == TRASH:
        remove_empty(location.parent, location.parent.parent)
    else:  # it was renamed next to the trash folder, because no inode was left for a new one
        remove_empty(location.parent)


def remove_empty(*folders: Path) -> None:
    """Remove folders that are empty or contain only files of write_guard() and links to siblings; keep the others."""
    for folder in folders:
        with suppress(OSError, TestgroveError):
            found = {entry.name: entry for entry in folder.iterdir()}
            if not all(_is_guard(entry) for entry in found.values()):
                continue
            for name in root_guard.CACHES & found.keys():
                delete_tree(found[name], within=folder)
            for link in filter(is_sibling_link, found.values()):
                link.unlink()
            guards = [name for name in root_guard.FILES if name in found]
            for name in guards:
                found[name].unlink()
            try:
                folder.rmdir()
            except FileNotFoundError:
                continue  # another command was faster; the guard would make the folder again
            except OSError:  # another process has just created a file in it
                write_guard(folder, guards)


def _is_guard(entry: Path) -> bool:
    if entry.name in root_guard.CACHES:
        return entry.is_dir() and not entry.is_symlink()
    if is_sibling_link(entry):
        return True
    return entry.name in root_guard.FILES and entry.read_bytes() in (b"", root_guard.FILES[entry.name].encode())


def sibling_target(main: Path, name: str) -> Path:
    """Return the contents of a link to one of a project's `siblings`. Its ".." tells it from links that users make."""
    return main / ".." / name


def is_sibling_link(entry: Path) -> bool:
    """Return whether it is a link that was made for one of a project's `siblings`."""
    if not entry.is_symlink():
        return False
    target = entry.readlink()
    return target.is_absolute() and target.parts[-2:] == ("..", entry.name)


def write_guard(folder: Path, names: Iterable[str] = (".gitignore",)) -> None:
    """Create a folder with these files of root_guard.FILES; by default only the one that makes git ignore its content.

    Safe when several commands do it at once: a missing or empty file is written; a user's own file is kept.
    """
    with explained("create the folder", folder):
        make_folder(folder)
        for name in names:
            file = folder / name
            if not file.exists() or not file.stat().st_size:
                file.write_text(root_guard.FILES[name])


def delete_tree(path: Path, *, within: Path | None = None) -> None:
    """Delete a folder and its content; does nothing if it does not exist.

    within: the folder that must contain it; other paths are refused (PreconditionError ``outside``), and also a tree
    with a mount in it (``mounted-inside``), a relative path, a top-level folder, and the user's home. Links are
    removed, never followed; read-only folders and files that appear during the deletion are deleted, too. Files that
    this user cannot delete are named in an error (``undeletable``); the files deleted before are lost.
    """
    location = path.parent.resolve() / path.name
    inside = within is None or within.resolve() in location.parents
    top = len(location.parts) < 3 or location in (Path.home(), *Path.home().parents)
    if not path.is_absolute() or path.name in ("", "..") or top or not inside:
        where = within or "a folder of testgrove"
        raise PreconditionError("outside", f"{path} is not in {where}; refusing to delete it", hint=f"ls -ld {path}")
    mounts.require_none(path, f"cannot delete {path}")
    with explained("delete", path):
        try:
            parent = os.open(location.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        deletion = _Deletion(parent)
        try:
            deletion.remove(location.name)
        except OSError as error:
            raise explain_deletion(deletion.at or location, location, error) from error
        finally:
            os.close(parent)


class _Deletion:
    """Deletes relative to open folders, so that replacing a folder by a link during the deletion has no effect.

    A folder on another mount than its parent is never entered: something may be mounted during the deletion.
    """

    def __init__(self, parent: int) -> None:
        self._parent = parent
        self._mount = mounts.identity(parent)
        self._waiting: list[str] = []
        self.at: Path | None = None  # what could not be deleted

    def remove(self, name: str) -> None:
        self._waiting.append(name)
        while self._waiting:
            self._remove(self._waiting.pop(), self._parent, 0)

    def _remove(self, name: str, parent: int, depth: int) -> None:
        with suppress(FileNotFoundError), self._noting(name, parent):
            if not stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
                os.unlink(name, dir_fd=parent)
            elif depth >= _DEEPEST:
                self._lift(name, parent)
            else:
                self._remove_folder(name, parent, depth)

    @contextmanager
    def _noting(self, name: str, parent: int) -> Iterator[None]:
        """Remember the innermost file that an error is about: by then, its folder is still open."""
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError:
            self.at = self.at or Path(f"/proc/self/fd/{parent}").readlink() / name
            raise

    def _remove_folder(self, name: str, parent: int, depth: int) -> None:
        folder = self._open(name, parent)
        deadline = 0.0
        try:
            while True:
                for inner in os.listdir(folder):  # noqa: PTH208 - it is a descriptor
                    self._remove(inner, folder, depth + 1)
                try:
                    os.rmdir(name, dir_fd=parent)
                except OSError as error:
                    deadline = deadline or time.monotonic() + _PATIENCE
                    if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or time.monotonic() > deadline:
                        raise
                    time.sleep(0.002)
                else:
                    return
        finally:
            os.close(folder)

    def _lift(self, name: str, parent: int) -> None:
        """Move a folder that is nested too deep to the top, to be deleted from there."""
        os.close(self._open(name, parent))
        lifted = f".testgrove-deep.{secrets.token_hex(6)}"
        os.rename(name, lifted, src_dir_fd=parent, dst_dir_fd=self._parent)
        self._waiting.append(lifted)

    def _open(self, name: str, parent: int) -> int:
        """Open a folder for deletion, made writable where its owner had made it read-only."""
        flags = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(name, flags | os.O_PATH, dir_fd=parent)
        try:
            self._require_same_mount(handle)
            location = f"/proc/self/fd/{handle}"
            mode = stat.S_IMODE(os.fstat(handle).st_mode)
            if mode & stat.S_IRWXU != stat.S_IRWXU:
                Path(location).chmod(mode | stat.S_IRWXU)
            # By the handle: under its name there may be a mount by now.
            return os.open(location, os.O_DIRECTORY | os.O_CLOEXEC | os.O_RDONLY)
        finally:
            os.close(handle)

    def _require_same_mount(self, folder: int) -> None:
        if mounts.identity(folder) != self._mount:
            location = Path(f"/proc/self/fd/{folder}").readlink()
            raise mounts.mounted_inside(mounts.Mount(location, ""), f"cannot delete {location.parent}")
