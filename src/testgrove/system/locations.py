"""Where testgrove keeps its things outside of projects: state, cache, and the short-lived files of a command."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from testgrove.errors import PreconditionError

# A file lock or SQLite's WAL is not to be trusted on these.
_NETWORK_FILE_SYSTEMS = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "fuse.sshfs",
    "9p",
    "afs",
    "ceph",
    "glusterfs",
    "lustre",
}
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
_ROOM_IN_MEMORY = 512 * 1024**2


@dataclass(frozen=True)
class Locations:
    """state: the store and its locks. cache: what can be made again. scratch: short paths, gone with their command.
    memory: like scratch, in memory where there is room, else scratch."""

    state: Path
    cache: Path
    scratch: Path
    memory: Path

    @property
    def store(self) -> Path:
        """The store's database file."""
        return self.state / "state.db"

    @property
    def locks(self) -> Path:
        """The file that holders lock."""
        return self.state / "holders.lock"

    @property
    def turns(self) -> Path:
        """The file in which cells lock that they run; see system.turns."""
        return self.state / "turns.lock"

    @property
    def binaries(self) -> Path:
        """Like cache, but where every user can pass through: for programs that a server's own user executes."""
        if all(parent.stat().st_mode & stat.S_IXOTH for parent in self.cache.parents):
            return self.cache / "binaries"
        return Path(f"/var/tmp/testgrove-{os.getuid()}-binaries")  # noqa: S108 - its owner is checked where it is used

    @property
    def port_start(self) -> float:
        """Where in a range of ports leasing begins, from 0.0 up to 1.0: another place for each user and state
        folder, so that they seldom meet at a port that one has leased and does not listen on yet."""
        digest = blake2b(f"{os.getuid()} {self.state}".encode(errors="surrogateescape"), digest_size=4).digest()
        return int.from_bytes(digest) / 2**32

    @property
    def servers(self) -> Path:
        """The data of servers that outlive a command."""
        return self.state / "servers"

    @property
    def open_servers(self) -> Path:
        """Like servers, but where every user can pass through."""
        return Path(f"/var/tmp/testgrove-{os.getuid()}-servers")  # noqa: S108 - its owner is checked where it is used


def locate(environ: Mapping[str, str]) -> Locations:
    """Find, and make, the folders. Raises PreconditionError when one cannot be had."""
    state = _chosen(environ, "TESTGROVE_STATE_DIR", "XDG_STATE_HOME", ".local/state")
    if "TESTGROVE_STATE_DIR" not in environ and _file_system_of(state) in _NETWORK_FILE_SYSTEMS:
        state = Path(f"/var/tmp/testgrove-{os.getuid()}")  # noqa: S108 - checked to be ours alone by _private()
    cache = _chosen(environ, "TESTGROVE_CACHE_DIR", "XDG_CACHE_HOME", ".cache")
    # Not $TMPDIR: Unix sockets live here, and their paths end at 107 bytes.
    scratch = Path(environ.get("TESTGROVE_SCRATCH_DIR") or f"/tmp/testgrove-{os.getuid()}")  # noqa: S108 - see _private()
    for folder in (state, cache, scratch):
        _private(folder)
    return Locations(state, cache, scratch, _in_memory(scratch))


def _in_memory(scratch: Path) -> Path:
    """A folder of scratch's name in memory; scratch itself where there is no room, or another user has that name."""
    memory = _SHARED_MEMORY / scratch.name
    if not _room(_SHARED_MEMORY):
        return scratch
    try:
        _private(memory)
    except PreconditionError:
        return scratch
    return memory


def _chosen(environ: Mapping[str, str], variable: str, xdg: str, default: str) -> Path:
    if chosen := environ.get(variable):
        return Path(chosen).absolute()
    base = environ.get(xdg, "")
    if not base.startswith("/"):
        home = environ.get("HOME", "")
        base = (
            f"{home}/{default}"
            if home.startswith("/")
            else f"{Path(tempfile.gettempdir())}/testgrove-{os.getuid()}-home"
        )
    return Path(base) / "testgrove"


def _private(folder: Path) -> None:
    """Make the folder, for this user alone; refuse one that somebody else made first."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = folder.stat(follow_symlinks=False)
    except OSError as error:
        raise PreconditionError(
            "folder-unusable",
            f"{folder} cannot be used: {error.strerror}",
            hint="set TESTGROVE_STATE_DIR, TESTGROVE_CACHE_DIR or TESTGROVE_SCRATCH_DIR to folders you can write to",
        ) from error
    if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode):
        raise PreconditionError(
            "folder-unusable",
            f"{folder} is not a folder of user {os.getuid()}",
            hint=f"see who made it: ls -ld {folder}",
        )


def _room(folder: Path) -> bool:
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK) and found.f_bavail * found.f_frsize >= _ROOM_IN_MEMORY


def _file_system_of(path: Path) -> str:
    """The type of the file system that path is, or would be, on."""
    best, kind = "", ""
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
    for line in mounts.splitlines():
        _, mount, found, *_ = line.split(" ")
        mount = mount.replace("\\040", " ")
        if len(mount) >= len(best) and path.is_relative_to(mount):
            best, kind = mount, found
    return kind
