"""The host ``embedded``: servers that are processes of this machine, from binaries on it."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import time
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Protocol

from testgrove.core.frozen import frozen
from testgrove.errors import PreconditionError, TestgroveError, UnavailableError
from testgrove.system.trusted_paths import make_private

if TYPE_CHECKING:
    from collections.abc import Sequence

    from testgrove.services.base import Launcher, Program, RunningProcess

# The user's environment is not passed to servers: a time zone or a PGDATA would change what they do.
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C", "TZ": "UTC"}
SOCKET_PATH_LIMIT = 107  # bytes, without the closing zero of sockaddr_un.sun_path
_PAUSE = 0.001  # seconds between two looks at a server that starts
_TAIL = 15  # lines of a log that an error shows
LOG = "server.log"
_TAKEN = ("Address already in use", "Address in use")


@frozen
class Identity:
    """As whom server programs run. prefix: a command that they are run through; user: uid and gid."""

    name: str
    prefix: tuple[str, ...] = ()
    user: tuple[int, int] | None = None


CURRENT_USER = Identity("itself")


def other_user(name: str) -> Identity | None:
    """The identity of a user of this machine, None where there is no such user."""
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        return None
    return Identity(f"user {name}", user=(found.pw_uid, found.pw_gid))


def namespace() -> Identity:
    """Root, seen as another user: the files stay root's. unshare(1) executes, so the process id is the server's."""
    # initdb looks its user up, so it must be one that this machine knows.
    known = (found.user for name in ("postgres", "daemon", "bin", "nobody") if (found := other_user(name)))
    uid = next((user[0] for user in known if user), 1000)
    return Identity("a user namespace", prefix=("unshare", "--user", f"--map-user={uid}", "--"))


def is_permitted(identity: Identity, launcher: Launcher) -> bool:
    """Return whether programs can be run this way, as a user other than root."""
    argv = (*identity.prefix, "id", "-u")
    try:
        return launcher.run(argv, cwd=Path("/"), env=ENVIRONMENT, timeout=10, user=identity.user).strip() != "0"
    except TestgroveError:
        return False


def choose_identity(launcher: Launcher) -> Identity:
    """Return the user that runs PostgreSQL, which refuses root: this user, a user namespace, postgres or nobody.

    Raises PreconditionError (``no-ordinary-user``).
    """
    if os.geteuid() != 0:
        return CURRENT_USER
    choices = (namespace(), other_user("postgres"), other_user("nobody"))
    for identity in choices:
        if identity and is_permitted(identity, launcher):
            return identity
    raise PreconditionError(
        "no-ordinary-user",
        "PostgreSQL refuses to run as root: no user namespaces, and no user postgres or nobody",
        hint="run testgrove as an ordinary user, or: useradd --system postgres",
    )


class Programs(Protocol):
    """A folder of programs. top: what holds all that they need; libraries: further ones, which need not exist; build:
    tells builds apart; main: one whose ``--version`` shows that it can be executed."""

    @property
    def bindir(self) -> Path:
        """The folder of the programs."""

    @property
    def top(self) -> Path:
        """The folder that is copied."""

    @property
    def libraries(self) -> Path:
        """Further folders that are copied."""

    @property
    def build(self) -> str:
        """Another one's copy is of no use."""

    @property
    def main(self) -> str:
        """The program's name."""


class EmbeddedHost:
    """Runs servers from binaries on this machine.

    ours: folders that testgrove owns; they contain every directory passed to this host. If servers run as another
    user, these folders and those between may get search permission (``o+x``). copies: a folder that this user can
    reach, for copies of binaries that it could not reach; on a file system that allows execution.
    """

    def __init__(
        self, launcher: Launcher, *, ours: Sequence[Path], copies: Path, identity: Identity | None = None
    ) -> None:
        self._launcher = launcher
        self._ours = (*ours, copies)
        self._copies = copies
        self._identity = identity

    @cached_property
    def identity(self) -> Identity:
        """As whom programs run; found out once. Raises PreconditionError (``no-ordinary-user``)."""
        return self._identity or choose_identity(self._launcher)

    def start(self, program: Program, *, directory: Path, timeout: float = 60.0) -> RunningProcess:
        """Start a server and wait until it answers. Its log is ``server.log`` in directory.

        Raises PreconditionError (``port-taken``), UnavailableError (``server-died``, ``server-not-ready``).
        """
        log = directory / LOG
        deadline = time.monotonic() + timeout
        process = self._launcher.start(
            (*self.identity.prefix, *program.argv()),
            cwd=directory,
            env=ENVIRONMENT,
            log=log,
            user=self.identity.user,
        )
        try:
            while not program.is_ready(process.pid):
                status = process.poll()
                if status is not None:
                    raise _died(program, status, log)
                if time.monotonic() > deadline:
                    raise UnavailableError(
                        "server-not-ready",
                        f"{program.what} timed out: no answer within {timeout:g} s:\n{_tail(log)}",
                        hint=f"less {log}",
                    )
                time.sleep(_PAUSE)
        except BaseException:
            process.stop(signal=signal.SIGKILL, timeout=5)
            raise
        return process

    def tool(self, argv: Sequence[str], *, directory: Path, timeout: float = 120.0) -> str:
        """Run one of the server's tools as the server would run; return its output. Raises UnavailableError."""
        return self._launcher.run(
            (*self.identity.prefix, *argv),
            cwd=directory,
            env=ENVIRONMENT,
            timeout=timeout,
            user=self.identity.user,
        )

    def give(self, path: Path) -> None:
        """Make a file or folder the server's user's."""
        if self.identity.user is not None:
            os.chown(path, *self.identity.user)

    def grant(self, directory: Path) -> None:
        """Let the server's programs create files in a directory. They cannot rename or remove testgrove's files there.

        Raises PreconditionError (``unreachable``).
        """
        if self.identity.user is not None:
            (directory / LOG).touch(mode=0o600)  # so that no other file can take its place
            os.chown(directory, -1, self.identity.user[1])
            directory.chmod(0o1731)
            self._open_parents(directory)

    def _open_parents(self, directory: Path) -> None:
        for parent in directory.absolute().parents:
            mode = stat.S_IMODE(parent.stat().st_mode)
            if mode & stat.S_IXOTH:
                continue
            if not any(parent == ours or ours in parent.parents for ours in self._ours):
                raise PreconditionError(
                    "unreachable",
                    f"user {self.identity.name} cannot reach {directory}: no permission for {parent}",
                    hint="set TESTGROVE_SCRATCH_DIR to a folder that all users can reach",
                )
            parent.chmod(mode | stat.S_IXOTH)

    def reachable(self, binaries: Programs) -> Path:
        """Return the binaries' folder if the server's user can execute them, else a copy that is created once."""
        if self.identity.user is None or self._executes(binaries.bindir / binaries.main):
            return binaries.bindir
        make_private(self._copies, 0o755)
        top = binaries.top
        mark = f"{top}\n{binaries.build}\n{top.stat().st_mtime_ns}"
        home = self._copies / f"binaries-{blake2b(mark.encode(), digest_size=6).hexdigest()}"
        if not home.exists():
            self._copy(home, top, binaries.libraries)
        copied = home / top.parent.name / binaries.bindir.relative_to(top.parent)
        if not self._executes(copied / binaries.main):
            raise PreconditionError(
                "unreachable",
                f"user {self.identity.name} can execute neither {binaries.bindir} nor its copy {copied}",
                hint=f"chmod -R a+rX {top}",
            )
        return copied

    def _executes(self, program: Path) -> bool:
        try:
            self._launcher.run(
                (str(program), "--version"),
                cwd=Path("/"),
                env=ENVIRONMENT,
                timeout=30,
                user=self.identity.user,
            )
        except TestgroveError:
            return False
        return True

    def _copy(self, home: Path, top: Path, libraries: Path) -> None:
        temporary = home.with_name(f"{home.name}.{token_hex(4)}.tmp")
        temporary.mkdir(parents=True, mode=0o755)
        try:
            unused = shutil.ignore_patterns("include", "doc")
            shutil.copytree(top, temporary / top.parent.name / top.name, ignore=unused)
            if libraries.is_dir():
                shutil.copytree(libraries, temporary / libraries.name)
            for folder, _, names in os.walk(temporary):
                for path in (Path(folder), *(Path(folder, name) for name in names)):
                    path.chmod(stat.S_IMODE(path.stat().st_mode) | 0o555)
            self._open_parents(temporary)
            temporary.rename(home)
        except OSError:
            if not home.exists():  # else another command was faster
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def check_socket(path: Path) -> None:
    """Raise PreconditionError (``socket-path-too-long``) when a Unix socket cannot have this path."""
    length = len(os.fsencode(path))
    if length > SOCKET_PATH_LIMIT:
        raise PreconditionError(
            "socket-path-too-long",
            f"the socket path {path} is too long: {length} bytes, the limit is {SOCKET_PATH_LIMIT}",
            hint="set TESTGROVE_SCRATCH_DIR to a shorter folder",
        )


def _died(program: Program, status: int, log: Path) -> TestgroveError:
    tail = _tail(log)
    if any(sign in tail for sign in _TAKEN):
        return PreconditionError(
            "port-taken",
            f"{program.what} cannot use port {program.port}: another process listens on it",
            hint=f"ss -ltnp 'sport = :{program.port}'",
            port=program.port,
        )
    return UnavailableError("server-died", f"{program.what} exited with status {status} during start:\n{tail}")


def _tail(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return "(it wrote nothing)"
    return "\n".join(lines[-_TAIL:]) or "(it wrote nothing)"
