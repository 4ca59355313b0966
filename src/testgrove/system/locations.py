"""The folders of testgrove outside of projects: state, cache, and the short-lived files of a command."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from testgrove.core.frozen import frozen
from testgrove.errors import PreconditionError
from testgrove.system.trusted_paths import make_private

# File locks and SQLite's WAL are not reliable on these.
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
_PERSISTENT = Path("/var/tmp")  # noqa: S108 - as above
_ROOM_IN_MEMORY = 512 * 1024**2


@frozen
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
        return self.state / "holders.lock"  # the store knows this name, too

    @property
    def exclusive_lock(self) -> Path:
        """The file in which cells lock that they run; see system.fair_lock."""
        return self.state / "turns.lock"

    @property
    def binaries(self) -> Path:
        """Like cache, but where every user can pass through: for programs that a server's own user executes."""
        if all(parent.stat().st_mode & stat.S_IXOTH for parent in self.cache.parents):
            return self.cache / "binaries"
        return _PERSISTENT / f"testgrove-{os.getuid()}-binaries"  # checked where it is made

    @property
    def port_start(self) -> float:
        """The place in a range of ports where leasing begins, from 0.0 up to 1.0: another for each user and state
        folder, so that they seldom meet at a port that one has leased and does not listen on yet."""
        from hashlib import blake2b  # noqa: PLC0415 - 2 ms; `list` does without

        digest = blake2b(f"{os.getuid()} {self.state}".encode(errors="surrogateescape"), digest_size=4).digest()
        return int.from_bytes(digest) / 2**32

    @property
    def servers(self) -> Path:
        """The data of servers that outlive a command."""
        return self.state / "servers"

    @property
    def open_servers(self) -> Path:
        """Like servers, but where every user can pass through."""
        return _PERSISTENT / f"testgrove-{os.getuid()}-servers"  # checked where it is made


def locate(environ: Mapping[str, str]) -> Locations:
    """Find, and make, the folders; each path has its links resolved. Raises PreconditionError (``folder-unusable``)
    where there is none that other users cannot exchange."""
    state = _chosen(environ, "TESTGROVE_STATE_DIR", "XDG_STATE_HOME", ".local/state")
    cache = _chosen(environ, "TESTGROVE_CACHE_DIR", "XDG_CACHE_HOME", ".cache")
    # Not $TMPDIR: Unix sockets live here, and their paths end at 107 bytes.
    scratch = make_private(Path(environ.get("TESTGROVE_SCRATCH_DIR") or f"/tmp/testgrove-{os.getuid()}"))  # noqa: S108 - checked to be private
    return Locations(state, cache, scratch, _in_memory(scratch))


def _in_memory(scratch: Path) -> Path:
    """A folder of scratch's name in memory; scratch itself where there is no room, or another user has that name."""
    if not _room(_SHARED_MEMORY):
        return scratch
    try:
        return make_private(_SHARED_MEMORY / scratch.name)
    except PreconditionError:
        return scratch


def _chosen(environ: Mapping[str, str], variable: str, xdg: str, default: str) -> Path:
    """The folder that a variable names, else the first safe one of: $XDG_…_HOME; below $HOME; below the user's home as
    the system knows it; in /var/tmp. A home can be another user's: `sudo` keeps $HOME, a container job mounts one."""
    if chosen := environ.get(variable):
        return make_private(Path(chosen))
    if (base := environ.get(xdg, "")).startswith("/"):
        return make_private(Path(base) / "testgrove")
    first: PreconditionError | None = None
    for home in _homes(environ):
        folder = home / default / "testgrove"
        if default.endswith("state") and _file_system_of(folder) in _NETWORK_FILE_SYSTEMS:
            continue
        try:
            return make_private(folder)
        except PreconditionError as error:
            first = first or error
    try:
        return make_private(_PERSISTENT / f"testgrove-{os.getuid()}{'' if default.endswith('state') else '-cache'}")
    except PreconditionError as error:
        raise first or error from None


def _homes(environ: Mapping[str, str]) -> Iterator[Path]:
    home = environ.get("HOME", "")
    if home.startswith("/"):
        yield Path(home)
    import pwd  # noqa: PLC0415 - only where there is no safe place below $HOME

    with suppress(KeyError):
        yield Path(pwd.getpwuid(os.geteuid()).pw_dir)


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
