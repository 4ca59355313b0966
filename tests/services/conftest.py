import random
import shutil
import socket
import tempfile
from contextlib import suppress
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


def free_port():
    """A port that is free now, below those that the kernel gives to clients."""
    while True:
        port = random.randrange(17000, 32000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@pytest.fixture
def port():
    return free_port()


@pytest.fixture
def other_port():
    return free_port()


@pytest.fixture
def memory():
    """A folder with a short path, in memory where that can be had."""
    shared = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="tg-", dir=shared if shared.is_dir() else "/tmp"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def new_kit(require_postgres, memory, launcher, port):
    """A cache, a host and what else a server needs."""
    return Kit(require_postgres, memory, launcher, port)


@pytest.fixture
def kit(new_kit, common_kit):
    """A Kit with the cluster of initdb in its cache."""
    new_kit.directory.mkdir(mode=0o700)
    shutil.copy2(common_kit.cache().base().path, new_kit.directory)
    return new_kit


@pytest.fixture(scope="session")
def common_kit(require_postgres):
    """A Kit for what is made once for the session and never changed."""
    launcher = LocalLauncher()
    folder = Path(tempfile.mkdtemp(prefix="tg-", dir="/tmp"))
    folder.chmod(0o711)
    yield Kit(require_postgres, folder, launcher, free_port())
    launcher.end()
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def shop(common_kit):
    """A template with tables, a view, a sequence and settings."""
    return common_kit.template("5" * 32)
