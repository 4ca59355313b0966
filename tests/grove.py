"""A small project of a test's own, and testgrove run in it as its user runs it: by its command line.

State, cache, scratch and ports are the test's own, so that tests that run at the same time never meet.
"""

from __future__ import annotations

import atexit
import json
import math
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import psutil

import forked
from auditor import KEEPER, Auditor, git
from testgrove.system.locations import Locations

TESTGROVE = (sys.executable, "-m", "testgrove")
MAKE_A_TABLE = f"{sys.executable} {Path(__file__).with_name('make_a_table.py')}"
FILES = {"README.md": "A project.\n", "src/code.py": "VALUE = 1\n", "tests/test_code.py": "def test_it(): pass\n"}
_SPAN, _BLOCKS = 200, 150  # ports for each grove, and how many of them are for blocks
_claims: dict[Path, list[socket.socket]] = {}


@dataclass
class Command:
    """A command that was started here. Its pid is another process's once somebody has waited for it."""

    process: subprocess.Popen[Any] | forked.Forked
    began: float = field(default_factory=time.time)
    ended: float = math.inf

    def ran_as(self, pid: int, when: float) -> bool:
        """Whether it was the process of that pid at that time (since the epoch, give or take a second)."""
        if self.process.returncode is not None:
            self.ended = min(self.ended, time.time())
        return pid == self.process.pid and self.began - 1 <= when <= self.ended + 1


@dataclass
class Grove:
    """A repository `.repo` and what belongs to it under `.base`. commands: every testgrove command started here.

    variables: of its commands, beside those of this process.
    """

    base: Path
    repo: Path
    ports: range
    servers: range
    commands: list[Command] = field(default_factory=list)
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """The folder of the worktrees."""
        return self.repo.parent / f"{self.repo.name}-worktrees"

    @property
    def state(self) -> Path:
        return self.base / "state"

    @property
    def cache(self) -> Path:
        return self.base / "cache"

    @property
    def scratch(self) -> Path:
        return self.base / f"{self.base.name}-s"

    @property
    def memory(self) -> Path:
        return Path("/dev/shm") / self.scratch.name

    @property
    def servers_folder(self) -> Path:
        """Where servers that outlive a command keep their data."""
        return self.state / "servers"

    @property
    def artifacts(self) -> Path:
        return self.repo / "test-artifacts"

    @property
    def env(self) -> dict[str, str]:
        """This process's environment, with folders of our own and nothing of pytest's."""
        dropped = re.compile(r"GIT_|TESTGROVE_|PYTEST_|COV_|COVERAGE_|KILLING_|CI$")
        kept = {name: value for name, value in os.environ.items() if not dropped.match(name)}
        return kept | {
            "TESTGROVE_STATE_DIR": str(self.state),
            "TESTGROVE_CACHE_DIR": str(self.cache),
            "TESTGROVE_SCRATCH_DIR": str(self.scratch),
            **self.variables,
        }

    def start(
        self,
        *arguments: str,
        program: Sequence[str] = TESTGROVE,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        output: int = subprocess.PIPE,
    ) -> subprocess.Popen[str]:
        """Start a testgrove command in a session of its own, as a terminal would, and do not wait for it.

        It is a new process, whatever run() does.
        """
        process = subprocess.Popen(
            [*program, *arguments],
            cwd=cwd or self.repo,
            env=self.env | dict(env or {}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            text=True,
            start_new_session=True,
        )
        self.commands.append(Command(process))
        return process

    def run(
        self,
        *arguments: str,
        check: bool = True,
        timeout: float = 120.0,
        program: Sequence[str] = TESTGROVE,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a testgrove command to its end. check: fail, with what it said, unless its exit status is 0.

        It runs in a fork of a process that has imported it (see forked.py), where that makes no difference.
        """
        with self._forked([*program, *arguments], cwd, env) or self.start(
            *arguments, program=program, cwd=cwd, env=env
        ) as process:
            try:
                out, err = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        done = subprocess.CompletedProcess(arguments, process.returncode, out, err)
        assert not check or done.returncode == 0, said(done)
        return done

    def _forked(self, argv: list[str], cwd: Path | None, env: Mapping[str, str] | None) -> forked.Forked | None:
        process = forked.start(argv, cwd=cwd or self.repo, env=self.env | dict(env or {}))
        if process:
            self.commands.append(Command(process))
        return process

    def json(self, *arguments: str, **options: Any) -> dict[str, Any]:
        """The document that a command prints with --json."""
        document: dict[str, Any] = json.loads(self.run(*arguments, "--json", **options).stdout)
        return document

    def create(self, purpose: str, identifier: str, *more: str, branch: str = "main", **options: Any) -> Any:
        """`testgrove create`, without an environment unless `more` is given."""
        words = ("--purpose", purpose, "--identifier", identifier, "--branch", branch, *(more or ("--no-env",)))
        return self.run("create", *words, **options)

    def worktrees(self) -> dict[str, dict[str, Any]]:
        """What `testgrove list` says, by id."""
        return {entry["id"]: entry for entry in self.json("list")["worktrees"]}

    def tree(self, worktree: str) -> Path:
        """A worktree's folder, by its id."""
        return Path(self.worktrees()[worktree]["path"])

    def registry(self) -> dict[str, Any]:
        """The registry view in the main checkout."""
        document: dict[str, Any] = json.loads((self.repo / "worktrees_registry.json").read_text())
        return document

    def runs(self) -> list[Path]:
        """The folders of the runs, oldest first."""
        logs = [path for path in self.artifacts.glob("*/events.jsonl") if path.parent.name != "latest"]
        return [log.parent for log in sorted(logs, key=lambda log: (log.parent.name[:15], _began(log)))]

    def git(self, *words: str) -> str:
        """Plain git in the repository."""
        return git(self.repo, *words)

    def write(self, files: Mapping[str, str], *, commit: str = "") -> None:
        """Write files into the repository; with a message, commit them."""
        for name, text in files.items():
            path = self.repo / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        if commit:
            self.git("add", "--all")
            self.git("commit", "--quiet", "--message", commit)

    def auditor(self, *others: Grove) -> Auditor:
        """An auditor of this grove, and of others that share its folders."""
        groves = (self, *others)
        return Auditor(
            repositories=[grove.repo for grove in groves],
            places=list(
                dict.fromkeys(place for g in groves for place in (g.scratch, g.memory, g.root, g.servers_folder))
            ),
            ports=tuple(span for grove in groves for span in (grove.ports, grove.servers)),
            is_maker=lambda pid, when: any(one.ran_as(pid, when) for grove in groves for one in grove.commands),
        )

    def sibling(self, name: str, **options: Any) -> Grove:
        """Another project of the same user."""
        return plant(self.base, name, ports=self.ports, servers=self.servers, **options)


def _began(log: Path) -> float:
    """The moment of a run's first event: ids tell seconds apart, and no more."""
    with log.open() as file:
        line = file.readline()
    return float(json.loads(line)["t"]) if line.endswith("\n") else 0.0


def said(done: subprocess.CompletedProcess[str]) -> str:
    """A command's exit status and words, for an assertion's message."""
    return f"{' '.join(done.args)}: exit status {done.returncode}\n{done.stdout}\n{done.stderr}"


def plant(
    base: Path,
    name: str = "project",
    *,
    files: Mapping[str, str] = FILES,
    config: str = "",
    ports: range | None = None,
    servers: range | None = None,
    variables: Mapping[str, str] | None = None,
) -> Grove:
    """Make a repository with one commit, on branch main. config: the text of its testgrove.toml, without ports.

    variables: of its commands; local_packages.settings() makes environments with pytest cheap.
    """
    claimed = ports or _claim_ports(base)
    grove = Grove(
        base, base / name, ports or claimed[:_BLOCKS], servers or claimed[_BLOCKS:], variables=variables or {}
    )
    shutil.copytree(_prepared(), grove.repo)
    spans = {"range": grove.ports, "servers": grove.servers}
    table = "\n[ports]\n" + "".join(f'{key} = "{s.start}-{s.stop - 1}"\n' for key, s in spans.items())
    grove.write({**files, "testgrove.toml": config + table}, commit="A project")
    return grove


@cache
def _prepared() -> Path:
    """A repository without a commit, to be copied; deleted when this process ends."""
    folder = new_base()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    repo = folder / "prepared"
    git(folder, "init", "--quiet", "--initial-branch=main", str(repo))
    for key, value in (("user.name", "A Tester"), ("user.email", "tester@example.invalid"), ("gc.auto", "0")):
        git(repo, "config", key, value)
    for sample in (repo / ".git/hooks").glob("*.sample"):
        sample.unlink()
    return repo


def _claim_ports(base: Path) -> range:
    """Ports below the ephemeral ones that no other test of any user has, in this pytest or another, until uproot()."""
    for low in reversed(range(20000, 32000, _SPAN)):
        claim = socket.socket(socket.AF_UNIX)
        with suppress(OSError):
            claim.bind(f"\0testgrove-tests-{low}")  # its abstract name goes with the process
            _claims.setdefault(base, []).append(claim)
            return range(low, low + _SPAN)
        claim.close()
    raise RuntimeError("too many groves at once")


def new_base() -> Path:
    """A folder with a short path (Unix sockets) that every user can pass through, for a grove or several.

    Its name is one for whose state folder ports are leased from the lower end of a grove's ranges, so that tests can
    name them.
    """
    folder = Path("/tmp").resolve()
    while True:
        base = Path("/tmp", f"tg-{secrets.token_hex(4)}")
        if Locations(folder / base.name / "state", base, base, base).port_start < 1 / _SPAN and not base.exists():
            base.mkdir()
            base.chmod(0o711)
            return base


def lend_caches(base: Path) -> None:
    """Give a base the caches that earlier ones have left."""
    if (caches := _caches()).exists():
        shutil.copytree(caches, base / "cache", copy_function=os.link)


def keep_caches(base: Path) -> None:
    """Keep the caches of a base that are the same for all: the cluster of initdb, the compiled reports, and the placed
    plugin with its byte code. Making them takes longer than most tests."""
    caches, found = _caches(), base / "cache"
    for name, proof in (("templates", "base-*.tar"), ("reports", "*"), ("plugin", "*/*/__pycache__/*.pyc")):
        if not (caches / name).exists() and any((found / name).glob(proof)):
            caches.mkdir(mode=0o700, exist_ok=True)
            shutil.copytree(found / name, caches / name, copy_function=os.link, ignore=_project_templates)


def _project_templates(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if folder.endswith("/templates") and not name.startswith("base-")]


@cache
def _caches() -> Path:
    """Where keep_caches() puts them, once there is something; deleted when this process ends."""
    folder = new_base()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder / "caches"


def uproot(base: Path) -> None:
    """End what still runs for a base; delete it, and what it has in memory; let its ports go."""
    running = processes_of(base)
    for process in running:
        with suppress(psutil.NoSuchProcess):
            if KEEPER in process.cmdline():
                process.terminate()
                process.wait(20)
    for command in running and processes_of(base):  # of a test that failed: the next one would meet its servers
        with suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
            command.kill()
            command.wait(5)
    for claim in _claims.pop(base, []):
        claim.close()
    shutil.rmtree(base, ignore_errors=True)
    shutil.rmtree(Path("/dev/shm") / f"{base.name}-s", ignore_errors=True)


def keepers(base: Path) -> list[psutil.Process]:
    """The keepers of a base's projects."""
    found = []
    for process in processes_of(base):
        with suppress(psutil.Error):
            if KEEPER in process.cmdline():
                found.append(process)
    return found


def processes_of(base: Path) -> list[psutil.Process]:
    """The testgrove commands of a base that still run."""
    found = []
    variable = re.compile(rb"(^|\0)TESTGROVE_STATE_DIR=" + re.escape(os.fsencode(base)) + rb"(/|\0|$)")
    for pid in psutil.pids():
        with suppress(OSError, psutil.Error):
            # psutil would make a dictionary of each environment
            if variable.search(Path(f"/proc/{pid}/environ").read_bytes()):
                process = psutil.Process(pid)
                found += [process] if process.status() != psutil.STATUS_ZOMBIE else []
    return found


def make_wheel(folder: Path, name: str, version: str, *, requires: Sequence[str] = ()) -> None:
    """A distribution with one empty module, in a folder that uv takes as an index (``UV_FIND_LINKS``)."""
    info = f"{name}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {requirement}\n" for requirement in requires)
    files = {
        f"{name}.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in (*files, f"{info}/RECORD"))
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(path, text)
