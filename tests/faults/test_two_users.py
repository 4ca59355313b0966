"""Two users of the machine at once: creating, testing and removing in three projects each, with the same ports in their
settings. Nothing fails but for a documented reason, no program meets another user's, nothing is left.

TESTGROVE_TWO_USERS_SECONDS: how long (240 with 32 processes is the long run). TESTGROVE_TWO_USERS_SEED: of a run to
repeat; it is printed.
"""

from __future__ import annotations

import json
import logging
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import needs
from grove import new_base, plant, uproot
from second_user import two_users

log = logging.getLogger(__name__)
pytestmark = [pytest.mark.slow, pytest.mark.redis, pytest.mark.timeout(1200)]
SECONDS = float(os.environ.get("TESTGROVE_TWO_USERS_SECONDS", "15"))
SEED = int(os.environ.get("TESTGROVE_TWO_USERS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
EACH = 16 if SECONDS > 60 else 3  # processes of each user
PROJECTS = 3
_NETWORK = re.compile(
    r"(UV|PIP)_(DEFAULT_)?(EXTRA_)?INDEX(_URL)?$|UV_(NATIVE_TLS|SYSTEM_CERTS)$|SSL_CERT|.*_PROXY$", re.IGNORECASE
)
# What a command may say when another one is at the same worktree, or was faster.
EXPECTED = {
    "worktree-exists", "worktree-held", "held", "no-such-worktree", "path-exists", "worktrees-held", "ports-exhausted",
}  # fmt: skip
SERVER = """
import os, socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    client, _ = server.accept()
    with client:
        client.sendall(f"HTTP/1.0 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\n{os.getuid():05}".encode())
"""
CHECK = """
import os, socket, urllib.request
from urllib.parse import urlsplit
mine = f"{os.getuid():05}"
answer = urllib.request.urlopen(os.environ["WEB_URL"]).read().decode()
assert answer == mine, f"the API of user {answer}"
at = urlsplit(os.environ["REDIS_URL"])
with socket.create_connection((at.hostname, at.port)) as client, client.makefile("rb") as lines:
    client.sendall(f"AUTH {at.password}\\r\\nSET user {mine}\\r\\nGET user\\r\\n".encode())
    found = [lines.readline() for _ in range(4)]
assert found[0] == b"+OK\\r\\n" and found[3].strip() == mine.encode(), found
"""
CONFIG = """
[services.redis]
[processes.web]
command = "python3 server.py ${API_PORT}"
ready = "http://127.0.0.1:${API_PORT}/"
[suites.unit]
command = "python3 check.py"
ports = true
services = ["redis"]
processes = ["web"]
"""
FILES = {"README.md": "A project.\n", "server.py": SERVER, "check.py": CHECK}


@dataclass
class User:
    """One of the two, and three repositories of its own."""

    number: int
    home: Path
    python: str
    repositories: list[Path] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        own = {"HOME": str(self.home), "PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
        # How packages are reached from here; caches and the like are each user's own.
        own |= {name: value for name, value in os.environ.items() if _NETWORK.match(name)}
        paths = [path for path in sys.path if path.endswith(("site-packages", "src"))]
        return own | {"PYTHONPATH": ":".join(paths), "TESTGROVE_KEEPER_IDLE": "60"}

    def run(self, repository: Path, *words: str) -> tuple[int, dict]:
        """A command's exit status, and its document."""
        done = subprocess.run(
            [self.python, "-m", "testgrove", *words, "--json"],
            cwd=repository, env=self.env, capture_output=True, text=True, timeout=300, check=False,
            user=self.number, group=self.number, extra_groups=[],
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        lines = done.stdout.strip()
        return done.returncode, json.loads(lines) if lines.startswith("{") else {"said": done.stdout + done.stderr}


def python_for(user: int) -> str:
    """An interpreter that this user can run testgrove with."""
    paths = ":".join(path for path in sys.path if path.endswith(("site-packages", "src")))
    minor = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (os.path.realpath(sys.executable), f"/usr/bin/{minor}", f"/usr/local/bin/{minor}"):
        words = [python, "-c", "import click, msgspec, rich, testgrove.cli.main"]
        try:
            done = subprocess.run(
                words,
                env={"PYTHONPATH": paths},
                user=user,
                group=user,
                extra_groups=[],
                capture_output=True,
                check=False,
            )
            if done.returncode == 0:
                return python
        except OSError:
            continue
    return needs.missing("second-user", "no interpreter here can be used by another user")


@pytest.fixture
def users() -> Iterator[list[User]]:
    numbers = two_users()
    base = new_base()
    found = []
    for number in numbers:
        user = User(number, base / f"home-{number}", python_for(number))
        user.home.mkdir()
        for name in ("one", "two", "three")[:PROJECTS]:
            grove = plant(
                user.home, name, files=FILES, config=CONFIG, ports=range(8001, 8400), servers=range(15001, 15400)
            )
            user.repositories.append(grove.repo)
        for path in (user.home, *user.home.rglob("*")):
            os.lchown(path, number, number)
        found.append(user)
    yield found
    for user in found:
        for path in (f"/tmp/testgrove-{user.number}", f"/dev/shm/testgrove-{user.number}"):
            shutil.rmtree(path, ignore_errors=True)
    uproot(base)


def work(user: User, number: int, until: float) -> Counter[str]:
    """What one process after another does; how often each command ended how."""
    chance, outcomes = random.Random(f"{SEED} {user.number % 2} {number}"), Counter[str]()
    while time.monotonic() < until:
        repository, name = chance.choice(user.repositories), f"w{chance.randrange(6)}"
        match chance.choice(["create", "create", "test", "remove", "list"]):
            case "create":
                named = ["--purpose", "review", "--identifier", name, "--branch", "main"]
                words = ["create", *named, "--ports", "--no-env"]
            case "test":
                words = ["test", "unit", "-j", "1"]
            case "remove":
                words = ["remove", f"review-{name}"]
            case _:
                words = ["list"]
        status, document = user.run(repository, *words)
        code = document.get("error", {}).get("code", "") if status else ""
        outcomes[f"{words[0]} {status} {code}".strip()] += 1
        reasons = [cell.get("reason") for cell in document.get("cells", [])]
        assert status == 0 or code in EXPECTED, (SEED, words, status, reasons or document)
    return outcomes


def processes_of(user: int) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if path.stat().st_uid == user:
                found.append((path / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:150])
        except OSError:
            continue
    return [line for line in found if line]


def test_two_users_at_once(users: list[User]) -> None:
    log.warning("TESTGROVE_TWO_USERS_SEED=%s TESTGROVE_TWO_USERS_SECONDS=%g", SEED, SECONDS)
    until = time.monotonic() + SECONDS
    with ThreadPoolExecutor(2 * EACH) as pool:
        jobs = [pool.submit(work, user, number, until) for number in range(EACH) for user in users]
        outcomes = sum((job.result() for job in jobs), Counter[str]())
    log.warning("%s", dict(outcomes))
    assert outcomes["create 0"]
    assert outcomes["test 0"]
    for user in users:
        for repository in user.repositories:
            user.run(repository, "cleanup", "--max-age", "0", "--yes")
            listed = user.run(repository, "list")[1]["worktrees"]
            for entry in listed:
                assert user.run(repository, "remove", entry["id"])[0] == 0, entry
            assert [path.name for path in (repository / ".git").glob("worktrees/*")] == []
            assert [path.name for path in repository.parent.glob(f"{repository.name}-worktrees/*")] == []
        deadline = time.monotonic() + 10
        while (left := processes_of(user.number)) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not left
        for folder in (f"/tmp/testgrove-{user.number}", f"/dev/shm/testgrove-{user.number}"):
            assert not [path for path in Path(folder).rglob("*") if Path(folder).exists()]
