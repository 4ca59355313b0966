"""Files: atomic writes, manifests, folders, free space, copies."""

from __future__ import annotations

import errno
import os
import shlex
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from testgrove.errors import ExhaustedError, PreconditionError, TestgroveError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from testgrove.core.worktrees.ownership import (  # and its expressions, which `list` does without
        Manifest,
        ManifestEntry,
    )

_MISSING = (-1, 0, 0)
_TRIES = 100


@contextmanager
def explained(what: str, path: Path | str) -> Iterator[None]:
    """Turn an OSError into an expected error. what: a verb and its object (``write the environment
    file``)."""
    try:
        yield
    except OSError as error:
        raise explain(what, path, error) from error


def explain(what: str, path: Path | str, error: OSError) -> TestgroveError:
    """An OSError as an expected error. what: see explained()."""
    message = f"cannot {what} {path}: {(error.strerror or str(error)).lower()}"
    if error.errno in (errno.ENOTDIR, errno.EEXIST) and (file := _file_on_the_way(error.filename or path)):
        message = f"cannot {what} {path}: {file} is not a folder"
        return PreconditionError(
            "path-unusable", message, hint=f"mv {shlex.quote(str(file))} {shlex.quote(f'{file}.old')}", path=str(path)
        )
    shown = shlex.quote(str(path))
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return ExhaustedError("disk-full", message, hint=f"df -h {shown}", path=str(path))
        case errno.EACCES | errno.EPERM:
            return PreconditionError("not-permitted", message, hint=f"ls -ld {shown}", path=str(path))
        case errno.EROFS:
            return PreconditionError("read-only", message, hint=f"findmnt -T {shown}", path=str(path))
        case errno.ENOENT | errno.ENOTDIR | errno.EEXIST | errno.EISDIR | errno.ENAMETOOLONG | errno.ELOOP:
            return PreconditionError("path-unusable", message, hint=f"ls -ld {shown}", path=str(path))
    return UnavailableError("file-system", message, hint=f"ls -ld {shown}", path=str(path))


def _file_on_the_way(path: Path | str | int) -> Path | None:
    """Return the file on a path where a folder has to be."""
    if isinstance(path, int):
        return None
    way = (Path(path), *Path(path).parents)
    return next((each for each in way if os.path.lexists(each) and not each.is_dir()), None)


def is_of_the_machine(error: OSError) -> bool:
    """Return whether an OSError is caused by the machine's state, so that any call can raise it: a full, broken or
    read-only disk, an unreadable file, no memory, processes or descriptors left."""
    return error.errno in {
        errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.EACCES, errno.EPERM, errno.ENOMEM,
        errno.EAGAIN, errno.EMFILE, errno.ENFILE,
    }  # fmt: skip


def atomic_write(path: Path, data: str | bytes, mode: int = 0o644) -> None:
    """Replace a file atomically: a reader sees the old one or the new one.

    mode: exact, independent of the umask. One writer at a time: the temporary file of a killed writer is replaced."""
    content = data.encode() if isinstance(data, str) else data
    temporary = _temporary(path)
    with explained("write", path):
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                os.fchmod(file.fileno(), mode)
            temporary.replace(path)
        except BaseException:  # a Ctrl-C as well
            temporary.unlink(missing_ok=True)
            raise


def has_unfinished_write(path: Path) -> bool:
    """Return whether an atomic_write() that could not end has left something beside a file."""
    return os.path.lexists(_temporary(path))


def remove_unfinished_write(path: Path) -> None:
    """Remove the temporary file that a killed atomic_write() left next to a file."""
    with explained("clean up next to", path):
        _temporary(path).unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    return path.parent / f".{path.name[:200]}.tmp"


def read_if_there(path: Path) -> bytes | None:
    """A file's bytes; None where there is no file. One that cannot be read is an error, and does not count as
    missing."""
    with explained("read", path):
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None


def read_env_file(path: Path) -> str:
    """An env file's text. Bytes that are not UTF-8 become surrogates, so that variables and a file that is written
    again have the same bytes. Raises OSError."""
    return path.read_text(encoding="utf-8", errors="surrogateescape")


def entries(tree: Path, paths: Iterable[str]) -> list[ManifestEntry]:
    """Read the state of paths in a checkout. A folder (a nested repository, a submodule) is read with its content."""
    from testgrove.core.worktrees.ownership import ManifestEntry  # noqa: PLC0415 - as above

    top = f"{tree}/"
    with explained("inspect the files of", tree):
        return [ManifestEntry(path, *_look(top + path)) for path in paths]


def children(folder: Path) -> list[Path]:
    """Return a folder's entries, sorted by name; empty if it does not exist. Raises TestgroveError if unreadable."""
    with explained("read", folder):
        try:
            return sorted(folder.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []


def _look(path: str) -> tuple[int, int, int]:
    try:
        found = os.lstat(path.rstrip("/"))
    except (FileNotFoundError, NotADirectoryError):
        return _MISSING
    if stat.S_ISDIR(found.st_mode):
        return _look_inside(path, found)
    return found.st_size, found.st_mtime_ns, found.st_ino


def _look_inside(top: str, found: os.stat_result) -> tuple[int, int, int]:
    """A folder as one entry: how many things it holds, and the newest of them."""
    count, newest = 0, found.st_mtime_ns
    for folder, folders, files in os.walk(top):
        count += len(folders) + len(files)
        for name in (*folders, *files):
            with suppress(FileNotFoundError):
                newest = max(newest, os.lstat(f"{folder}/{name}").st_mtime_ns)
    return count, newest, found.st_ino


def take_manifest(tree: Path, paths: Iterable[str], *, theirs: Collection[str] = ()) -> Manifest:
    """Return the manifest of the current paths. theirs: paths that were the user's before, and still are."""
    from testgrove.core.worktrees.ownership import Manifest  # noqa: PLC0415 - as above

    return Manifest.of(entries(tree, paths), theirs=theirs)


def save_manifest(path: Path, manifest: Manifest) -> None:
    """Write a manifest to a file, atomically."""
    atomic_write(path, manifest.dump(), 0o600)


def load_manifest(path: Path) -> Manifest | None:
    """Return the manifest in a file; None if it is missing or unreadable (then no file counts as testgrove's)."""
    from testgrove.core.worktrees.ownership import Manifest  # noqa: PLC0415 - as above

    try:
        return Manifest.load(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


def make_folder(path: Path, mode: int = 0o777) -> None:
    """Make a folder and its parents. Another command may remove one just then: the trash and the worktrees' folder go
    as soon as they are empty."""
    for left in reversed(range(_TRIES)):
        try:
            path.mkdir(mode, parents=True, exist_ok=True)
        except FileNotFoundError:
            if not left:
                raise
        else:
            return


def free_bytes(path: Path) -> int:
    """Bytes that can be written at path, or at its nearest parent that exists."""
    folder = path
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    with explained("read the free space of", folder):
        found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def require_free(path: Path, amount: int) -> None:
    """Raise ExhaustedError (``disk-full``) when fewer than amount bytes can be written at path.

    Raises PreconditionError (``path-unusable``) where no file can be: in /proc, /sys.
    """
    free = free_bytes(path)
    if path.is_relative_to("/proc") or path.is_relative_to("/sys"):
        message = f"cannot create worktrees in {path}: it is not on a disk"
        raise PreconditionError("path-unusable", message, hint="change `root` in [tool.testgrove]", path=str(path))
    if free < amount:
        raise ExhaustedError(
            "disk-full",
            f"{path}: needs {amount / 1e6:.0f} MB of free disk space, only {free / 1e6:.0f} MB available",
            hint="testgrove cleanup --max-age 24",
            path=str(path),
            free=free,
            needed=amount,
        )


def copy_file(source: Path, target: Path, *, temporary: Path) -> None:
    """Copy a file with its mode and modification time, replacing an existing one.

    temporary: a path on the target's file system; target appears only when complete. A source that is changed during
    the copy is newer than its copy.
    """
    import shutil  # noqa: PLC0415 - with three kinds of compression, for those who copy

    with explained("copy", source):
        make_folder(target.parent)
        make_folder(temporary.parent, 0o700)
        temporary.unlink(missing_ok=True)
        with source.open("rb") as reading:
            found = os.fstat(reading.fileno())
            writing = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(writing, "wb") as file:
                shutil.copyfileobj(reading, file)
                os.fchmod(file.fileno(), stat.S_IMODE(found.st_mode))
        os.utime(temporary, ns=(found.st_atime_ns, found.st_mtime_ns))
        temporary.replace(target)


def temporary_entries(folder: Path) -> list[str]:
    """Return the entries of a folder for temporary files, except the trees that pytest keeps on purpose."""
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 - names are what is asked for
    except FileNotFoundError:
        return []
    return [name for name in names if not name.startswith("pytest-of-")]


def tail(path: Path, size: int = 4000) -> str:
    """The last bytes of a text file; empty where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - size))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""
