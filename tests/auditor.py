"""The auditor: looks at git, processes, ports, databases and files, never at testgrove's store or code.

Every fault test is judged by it. `Auditor.commits()` before, and `assert_commits_kept()` after, say whether a commit
was lost. What belongs to testgrove is known by what the kernel and git say of it: the mark in a process's resource
limits, a working directory or a command line inside the places a test gave to testgrove, a port of the leased ranges,
a record in a repository's git directory.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

KEEPER = "testgrove.app.keeper"  # the process that may outlive every command
SNAPSHOT = "\0testgrove@localhost"  # the committer of the commits that testgrove makes of a working tree
MARK_PREFIX = 0x74  # the top bits of a resource limit of every process that testgrove's supervisors started


@dataclass
class Audit:
    """What exists that belongs to testgrove, each thing as a line for people."""

    records: list[str] = field(default_factory=list)
    processes: list[str] = field(default_factory=list)
    ports: list[str] = field(default_factory=list)
    databases: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return any(vars(self).values())

    def __str__(self) -> str:
        return "\n".join(f"{kind}: {line}" for kind, lines in vars(self).items() for line in lines) or "nothing"


@dataclass
class Auditor:
    """places: every folder that the test lets testgrove write to outside of repositories (scratch, memory, roots).

    is_maker: whether the test started a testgrove command that had that pid at that time, which is what the marks that
    it gave say. Pids are used again.
    """

    repositories: list[Path]
    places: list[Path]
    ports: tuple[range, ...] = ()
    ignore_pids: frozenset[int] = frozenset()
    is_maker: Callable[[int, float], bool] = lambda _pid, _when: False

    def audit(self) -> Audit:
        """Everything, parked and ready worktrees included."""
        processes = self._processes()
        return Audit(
            records=[line for repository in self.repositories for line in git_records(repository)],
            processes=[f"{process.pid} {' '.join(_cmdline(process))[:200]}" for process in processes],
            ports=self._listeners(processes),
            databases=self._databases(),
            files=self._files(),
        )

    def broken(self) -> list[str]:
        """What is neither a whole worktree nor none: half made checkouts, dead records, trash, strays."""
        found = []
        for repository in self.repositories:
            found += half_made(repository) + debris(repository)
        for place in self.places:
            found += [f"trash: {entry}" for entry in place.glob(".trash/*")]
        return found

    def leftovers(self) -> Audit:
        """What must never be there between commands: processes, ports, databases, scratch files, half worktrees."""
        found = self.audit()
        found.records = []
        known = {path for repository in self.repositories for path in checkouts(repository)}
        found.files = [line for line in found.files if not any(inside(Path(line), path) for path in known)]
        found.broken = self.broken()
        return found

    def assert_no_leftovers(self, within: float = 0.0) -> None:
        """Nothing but whole worktrees is there; within: seconds it may take."""
        self._settle(self.leftovers, within)

    def assert_nothing(self, within: float = 0.0) -> None:
        """Nothing at all is there."""

        def look() -> Audit:
            found = self.audit()
            found.broken = self.broken()
            return found

        self._settle(look, within)

    def commits(self) -> dict[str, str]:
        """Every commit that a ref, a HEAD or a reflog holds now, submodules and nested repositories included; what each
        says and where it is, by its name. testgrove's own snapshots are left out: they may go."""
        found: dict[str, str] = {}
        for git_dir in self._git_dirs():
            for line in _held_commits(git_dir):
                name, _, says = line.partition(" ")
                if not says.endswith(SNAPSHOT):
                    found.setdefault(name, f"{says.partition(chr(0))[0]} (in {git_dir})")
        return found

    def lost_commits(self, before: Mapping[str, str]) -> list[str]:
        """Those of the commits of an earlier commits() that nothing holds any more, a line for each."""
        now = self.commits()
        return [f"{name} {says}" for name, says in before.items() if name not in now]

    def assert_commits_kept(self, before: Mapping[str, str]) -> None:
        """Every commit of an earlier commits() is still held by a ref, a HEAD or a reflog."""
        lost = self.lost_commits(before)
        assert not lost, "commits are lost:\n" + "\n".join(lost)

    def _git_dirs(self) -> Iterator[Path]:
        """The git directories of the repositories, their worktrees, their submodules, and repositories in worktrees."""
        for repository in self.repositories:
            common = Path(git(repository, "rev-parse", "--path-format=absolute", "--git-common-dir").rstrip("\n"))
            yield common
            records = sorted(entry for entry in (common / "worktrees").glob("*") if (entry / "HEAD").exists())
            yield from records
            for folder in (common / "modules", *(record / "modules" for record in records)):
                yield from (head.parent for head in folder.rglob("HEAD") if (head.parent / "objects").is_dir())
            for tree in (repository, *checkouts(repository)):
                nested = tree.rglob(".git") if tree.is_dir() else ()
                yield from (path for path in nested if path.parent != tree and (path / "objects").is_dir())

    @staticmethod
    def _settle(look, within: float) -> None:
        def look_again() -> Audit:
            try:
                return look()
            except FileNotFoundError as error:  # it is being deleted just now
                return Audit(files=[f"{error.filename}, which vanished under the eyes"])

        deadline = time.monotonic() + within
        found = look_again()
        while found and time.monotonic() < deadline:
            time.sleep(0.02)
            found = look_again()
        assert not found, f"the auditor found:\n{found}"

    def _processes(self) -> list[psutil.Process]:
        ignored = {os.getpid(), *self.ignore_pids}
        found = []
        for pid in psutil.pids():
            with suppress(psutil.Error):
                if pid not in ignored and self._may_belong(pid) and self._belongs(process := psutil.Process(pid)):
                    found.append(process)
        return found

    def _may_belong(self, pid: int) -> bool:
        """Whether a process names a place anywhere, or is marked: a fifth of what the judgement takes, for all those
        that have nothing to do with us."""
        texts = [os.fsencode(place) for place in self.places]
        with suppress(OSError):
            folder = os.fsencode(os.readlink(f"/proc/{pid}/cwd"))  # noqa: PTH115 - a Path costs more than the call
            if any(text in folder for text in texts):
                return True
        for name in ("cmdline", "environ"):
            with suppress(OSError), open(f"/proc/{pid}/{name}", "rb") as file:  # noqa: PTH123 - as above
                content = file.read()
                if any(text in content for text in texts):
                    return True
        return is_marked(pid)

    def _belongs(self, process: psutil.Process) -> bool:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            if any(inside(Path(process.cwd()), place) for place in self.places) or self._was_marked_here(process.pid):
                return True
            words = [*_cmdline(process), *(f"{k}={v}" for k, v in process.environ().items() if k != "PATH")]
        except (psutil.Error, OSError):
            return False
        if not any(str(place) in word for place in self.places for word in words):
            return False
        if KEEPER in words:
            return True
        return is_marked(process.pid) or any(str(place) in word for place in self.places for word in _cmdline(process))

    def _was_marked_here(self, pid: int) -> bool:
        """Whether one of the test's own commands marked it: that is all there is to see of a daemon that cleared its
        environment and went to another folder."""
        return any(self.is_maker(maker, when) for maker, when in marks(pid))

    def _listeners(self, processes: list[psutil.Process]) -> list[str]:
        pids = {process.pid for process in processes}
        found: list[str] = []
        if not pids and not self._is_listened_on():
            return found  # whose the sockets are takes longest
        for connection in psutil.net_connections("inet"):
            if connection.status != psutil.CONN_LISTEN:
                continue
            port = connection.laddr.port
            nobodys = connection.pid is None and any(port in span for span in self.ports)
            if connection.pid in pids or nobodys:
                found.append(f"{connection.laddr.ip}:{port} pid {connection.pid}")
        return found

    def _is_listened_on(self) -> bool:
        """Whether there is a listener on one of our ports."""
        for table in filter(os.path.exists, ("/proc/net/tcp", "/proc/net/tcp6")):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and any(int(fields[1].rpartition(":")[2], 16) in span for span in self.ports):
                    return True
        return False

    def _databases(self) -> list[str]:
        sockets = [path for place in self.places if place.exists() for path in place.rglob(".s.PGSQL.*")]
        return [f"a PostgreSQL server answers at {path}" for path in sockets if answers(path)]

    def _files(self) -> list[str]:
        found: list[str] = []
        for place in self.places:
            if place.exists():
                found += [str(path) for path in place.iterdir()]
        return sorted(found)


def marks(pid: int) -> list[tuple[int, float]]:
    """The marks of testgrove's in a process's resource limits: who made each (a pid), and when."""
    try:
        text = Path(f"/proc/{pid}/limits").read_text(encoding="ascii")
    except OSError:
        return []
    found = re.findall(r"^Max (?:realtime timeout|file locks)\s+(\S+)\s+(\S+)", text, re.MULTILINE)
    values = [int(word) for pair in found for word in pair if word.isdigit()]
    mine = [value & (1 << 56) - 1 for value in values if value >> 56 == MARK_PREFIX]
    return [(value & (1 << 22) - 1, ((1 << 34) - 1 - (value >> 22)) / 4) for value in mine]


def is_marked(pid: int) -> bool:
    """Whether a process carries a mark of testgrove's in its resource limits."""
    return bool(marks(pid))


def marked_processes() -> list[str]:
    """Every process on this machine that carries a mark (tests that run at the same time have some, too)."""
    return [
        f"{process.pid} {' '.join(_cmdline(process))[:200]}"
        for process in psutil.process_iter()
        if is_marked(process.pid) and process.status() != psutil.STATUS_ZOMBIE
    ]


def answers(path: Path) -> bool:
    """Whether somebody accepts connections at a Unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def git(repository: Path, *words: str) -> str:
    """Plain git, by its own command."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(
        ["git", "-C", repository, *words], check=True, text=True, capture_output=True, env=clean
    ).stdout


def _held_commits(git_dir: Path) -> list[str]:
    """`<name> <subject>\\0<committer>` of every commit that one git directory holds.

    A linked worktree's own refs are seen from its own directory alone.
    """
    words = ("rev-list", "--all", "--reflog", "--single-worktree", "--no-commit-header", "--format=%H %s%x00%ce")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    clean["GIT_WORK_TREE"] = str(git_dir)  # a submodule's own may be missing, and git would go there
    command = ["git", "--git-dir", git_dir, *words]
    done = subprocess.run(command, check=True, capture_output=True, env=clean, cwd=git_dir)
    return done.stdout.decode(errors="replace").splitlines()


def checkouts(repository: Path) -> list[Path]:
    """The linked worktrees' folders, as git lists them."""
    fields = git(repository, "worktree", "list", "--porcelain", "-z").split("\0")
    return [Path(each.removeprefix("worktree ")) for each in fields if each.startswith("worktree ")][1:]


def git_records(repository: Path) -> list[str]:
    """The records of linked worktrees in the git directory, whole or not."""
    folder = repository / ".git/worktrees"
    return sorted(str(entry) for entry in folder.iterdir()) if folder.is_dir() else []


def half_made(repository: Path) -> list[str]:
    """What git knows of a worktree that is not there, or is there in part."""
    found = []
    for record in git_records(repository):
        pointer = Path(record) / "gitdir"
        if not pointer.is_file():
            found.append(f"{record}: no gitdir file")
        elif not Path(pointer.read_text().strip()).is_file():
            found.append(f"{record}: its worktree {pointer.read_text().strip()} is gone")
    for path in checkouts(repository):
        if path.exists():
            found += [f"{path}: {problem}" for problem in problems(path)]
    return found


def debris(repository: Path) -> list[str]:
    """What a killed command leaves of files that it was writing: git's locks, temporary files."""
    folder = repository / ".git"
    locks = [path for path in folder.rglob("*.lock") if path.name != "testgrove.lock" and "objects" not in path.parts]
    temporary = [*repository.glob(".*.tmp"), *folder.rglob(".*.tmp"), *repository.glob("test-artifacts/**/.*.tmp")]
    return [f"left of a write: {path}" for path in (*locks, *temporary)]


def problems(path: Path) -> list[str]:
    """Why a worktree is not whole; empty for one that is."""
    found = []
    try:
        git(path, "rev-parse", "--verify", "HEAD^{commit}")
        missing = git(path, "ls-files", "--deleted", "-z").split("\0")[:-1]
    except subprocess.CalledProcessError as error:
        return [f"git cannot read it: {error.stderr.strip()}"]
    if missing:
        found.append(f"{len(missing)} files are missing, such as {missing[0]}")
    metadata = path / ".worktree-metadata.json"
    if not metadata.is_file():
        return [*found, "no metadata"]
    document = json.loads(metadata.read_text())
    env_file = path / document["env_file"]
    if not env_file.is_file():
        found.append("no environment file")
    elif env_file.stat().st_mode & 0o077:
        found.append("the environment file can be read by others")
    if document["python"] and not os.access(path / ".venv/bin/python", os.X_OK):
        found.append("no interpreter in .venv")
    return found


def inside(path: Path, folder: Path) -> bool:
    """Whether path is folder or lies in it."""
    return path == folder or folder in path.parents


def _cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
