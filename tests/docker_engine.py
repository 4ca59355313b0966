"""A docker engine of the tests' own: in a folder of its own, on a socket of its own, gone with the process that
started it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

import needs

IMAGE = "testgrove-tests"
_PROGRAMS = ("dockerd", "docker", "containerd", "runc", "busybox", "setpriv", "umount")
_PATIENCE = 60.0  # seconds


class DockerEngine:
    """One that answers. folder: all that is its own; path: a PATH whose `docker` understands it."""

    def __init__(self, folder: Path, path: str) -> None:
        self.folder = folder
        self.env = {"DOCKER_HOST": f"unix://{folder}/socket", "PATH": path, "DOCKER_CONFIG": str(folder / "config")}

    def docker(self, *words: str, check: bool = True) -> str:
        """What `docker` says."""
        done = subprocess.run(
            ["docker", *words], env=os.environ | self.env, capture_output=True, text=True, check=False
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout.strip()

    def run(self, name: str, *options: str) -> None:
        """Start a container that lasts."""
        self.docker("run", "--detach", "--network", "none", "--name", name, *options, IMAGE, "/busybox", "sleep", "900")


@contextmanager
def docker_engine() -> Iterator[DockerEngine]:
    """An engine with one image. Skips the test where there can be none."""
    if os.geteuid() != 0:
        needs.missing("docker", "only root can start dockerd")
    if absent := [name for name in _PROGRAMS if not shutil.which(name)]:
        needs.missing("docker", f"there is no {', '.join(absent)}")
    folder = Path(tempfile.mkdtemp(prefix="tg-d-", dir="/tmp"))
    process = None
    try:
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(_daemon(folder), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        engine = DockerEngine(folder, _path(folder))
        _await(engine, process)
        _load_image(engine)
        yield engine
        if ids := engine.docker("ps", "--all", "--quiet").split():
            engine.docker("rm", "--force", *ids)
    finally:
        if process is not None:
            _end(process)
        _sweep(folder)


def _daemon(folder: Path) -> list[str]:
    (folder / "daemon.json").write_text("{}")
    (folder / "config").mkdir()
    return [
        "setpriv", "--pdeathsig", "TERM", "dockerd", f"--config-file={folder}/daemon.json",
        f"--data-root={folder}/data", f"--exec-root={folder}/exec", f"--pidfile={folder}/pid",
        f"--host=unix://{folder}/socket", "--bridge=none", "--iptables=false", "--ip6tables=false",
        "--ip-forward=false",
    ]  # fmt: skip


def _path(folder: Path) -> str:
    """The `docker` that was installed with the daemon comes first: another one may be too new for it."""
    daemon = shutil.which("dockerd")
    assert daemon is not None
    (folder / "bin").mkdir()
    beside = Path(daemon).resolve().parents[1] / "bin/docker"
    (folder / "bin/docker").symlink_to(beside if beside.exists() else str(shutil.which("docker")))
    return f"{folder}/bin{os.pathsep}{os.environ['PATH']}"


def _await(engine: DockerEngine, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        if engine.docker("version", "--format", "{{.Server.Version}}", check=False):
            return
        time.sleep(0.1)
    needs.missing("docker", "dockerd does not start: " + (engine.folder / "log").read_text(errors="replace")[-2000:])


def _load_image(engine: DockerEngine) -> None:
    archive = engine.folder / "image.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(str(Path(str(shutil.which("busybox"))).resolve()), "busybox")
    engine.docker("import", str(archive), IMAGE)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        for child in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.kill()
        process.kill()
        process.wait()


def _sweep(folder: Path) -> None:
    """What has outlived the daemon: containers' own processes, mounts."""
    for each in psutil.process_iter(["cmdline"]):
        if any(str(folder) in word for word in each.info["cmdline"] or ()) and "shim" in str(each.info["cmdline"][0]):
            for process in (*each.children(recursive=True), each):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in reversed([mount for mount in mounts if mount.startswith(f"{folder}/")]):
        subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True)
    shutil.rmtree(folder, ignore_errors=True)
