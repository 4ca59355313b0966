"""Mount points. What is mounted inside a folder is not the folder's: nothing behind it may be moved or deleted.

A bind mount of the same file system has the same device number as the folder around it, so device numbers alone do not
show it; the kernel's list of mounts, and the mount id of an open file, do.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from testgrove.core.frozen import frozen
from testgrove.core.lazy_pattern import lazy_pattern
from testgrove.errors import PreconditionError
from testgrove.system.files import explained

_LIST = Path("/proc/self/mountinfo")
_MOUNT_ID = lazy_pattern(rb"^mnt_id:\s*(\d+)$", re.MULTILINE)


@frozen
class Mount:
    """A mount point. kind: the type of its file system (``tmpfs``, ``fuse.sshfs``)."""

    path: Path
    kind: str

    @property
    def ending(self) -> str:
        """The command that unmounts it."""
        return f"{'fusermount -u' if self.kind.startswith('fuse') else 'umount'} {self.path}"


def mounts_in(folder: Path) -> list[Mount]:
    """The mount points in a folder, at any depth, the folder itself included. Links in its path are followed."""
    resolved = folder.parent.resolve() / folder.name
    return [mount for mount in _all_mounts() if mount.path == resolved or resolved in mount.path.parents]


def mount_point_of(path: Path) -> Path:
    """The mount point of the file system that a path is on; the path itself may be missing."""
    resolved = path.parent.resolve() / path.name
    around = [mount.path for mount in _all_mounts() if mount.path == resolved or mount.path in resolved.parents]
    return max(around, key=lambda point: len(point.parts), default=Path("/"))


def require_none(folder: Path, refused: str) -> None:
    """Raise PreconditionError (``mounted-inside``) if anything is mounted in a folder.

    refused: what cannot be done, as a clause (``/a/b cannot be deleted``).
    """
    if found := mounts_in(folder):
        raise mounted_inside(found[0], refused)


def mounted_inside(mount: Mount, refused: str) -> PreconditionError:
    """The error for a mount point that stops something."""
    return PreconditionError(
        "mounted-inside",
        f"{refused}: {mount.path} is a mount point; refusing to touch what is mounted there",
        hint=f"{mount.ending}   then retry",
        mount=str(mount.path),
    )


def identity(descriptor: int) -> str:
    """The mount that an open file is on: two files with the same identity have no mount point between them."""
    try:
        info = os.open(f"/proc/self/fdinfo/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            found = _MOUNT_ID.search(os.read(info, 4096))
        finally:
            os.close(info)
    except OSError:
        found = None
    return found[1].decode() if found else f"device {os.fstat(descriptor).st_dev}"


def _all_mounts() -> list[Mount]:
    # Where it cannot be read (no descriptors are left), nothing may be taken for free of mounts.
    with explained("read the mount points from", _LIST):
        return [_parse(line) for line in _LIST.read_bytes().splitlines()]


def _parse(line: bytes) -> Mount:
    """One line of mountinfo. Blanks, line breaks and backslashes in a mount point are octal escapes there."""
    fields, _, source = line.partition(b" - ")
    point = re.sub(rb"\\([0-7]{3})", lambda m: bytes([int(m[1], 8)]), fields.split(b" ")[4])
    return Mount(Path(os.fsdecode(point)), os.fsdecode(source.split(b" ")[0]))
