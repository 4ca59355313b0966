import shutil
import socket
import tempfile
from pathlib import Path

import pytest

from services.cases import Kit
from services.launcher import LocalLauncher


@pytest.fixture
def launcher():
    """Starts real processes; what a test leaves running is ended."""
    launcher = LocalLauncher()
    yield launcher
    launcher.end()


@pytest.fixture
def port():
    """A port that is free now. Tests that run side by side get different ones from the kernel."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def memory():
    """A folder with a short path, in memory where that can be had."""
    shared = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="tg-", dir=shared if shared.is_dir() else "/tmp"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def kit(require_postgres, memory, launcher, port):
    """A cache, a host and what else a server needs."""
    return Kit(require_postgres, memory, launcher, port)


@pytest.fixture(scope="session")
def shop(require_postgres, tmp_path_factory):
    """A template with tables, a view, a sequence and settings, built once for the session; never changed."""
    launcher = LocalLauncher()
    folder = Path(tempfile.mkdtemp(prefix="tg-", dir="/tmp"))
    folder.chmod(0o711)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    kit = Kit(require_postgres, folder, launcher, port)
    template = kit.template("5" * 32)
    yield template
    launcher.end()
    shutil.rmtree(folder)
