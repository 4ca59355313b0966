"""Puts the pytest plugin where a tested environment finds it, without installing anything there."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from testgrove.errors import PreconditionError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PLUGIN = "pytest_testgrove"
SESSION = "TESTGROVE_SESSION"  # marks a process and its descendants as part of a cell


def place_plugin(cache_dir: Path) -> Path:
    """Copy the plugin into a folder that contains nothing else; return the folder, for PYTHONPATH.

    The folder is named after the plugin's content, gets its name when it is complete, and is reused.
    Raises PreconditionError (``plugin-missing``) when pytest-testgrove is not installed with testgrove.
    """
    files = _source()
    digest = hashlib.sha256()
    for name, content in files.items():
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    folder = cache_dir / "plugin" / digest.hexdigest()[:16]
    if not _is_whole(folder, files):
        _write(folder, files)
    return folder


def injected_environment(
    env: Mapping[str, str], folder: Path, session_dir: Path, tree: Path, foreign: Sequence[Path]
) -> dict[str, str]:
    """The suite's environment with the plugin in it.

    folder: from place_plugin(). session_dir: an existing folder that pytest can write to, one for each
    attempt. foreign: the other checkouts of the repository. A configured PYTHONPATH and PYTEST_PLUGINS stay.

    PYTEST_PLUGINS rather than ``-p`` in PYTEST_ADDOPTS: the options stay the project's own, it holds with
    PYTEST_DISABLE_PLUGIN_AUTOLOAD, and entry points are loaded before it, so that an installed plugin of the
    same name is met and not doubled.
    """
    plugins = [name for name in env.get("PYTEST_PLUGINS", "").split(",") if name and name != PLUGIN]
    path = env.get("PYTHONPATH", "")
    return {
        **env,
        "PYTHONPATH": f"{folder}{os.pathsep}{path}" if path else str(folder),
        "PYTEST_PLUGINS": ",".join([*plugins, PLUGIN]),
        SESSION: str(session_dir),
        "TESTGROVE_TREE": str(tree),
        "TESTGROVE_FOREIGN": json.dumps([str(path) for path in foreign]),
    }


def _source() -> dict[str, bytes]:
    spec = importlib.util.find_spec(PLUGIN)
    if spec is None or spec.origin is None:
        raise PreconditionError(
            "plugin-missing",
            "the pytest plugin (pytest-testgrove) is not installed with testgrove",
            hint="install testgrove again, with its dependencies",
        )
    paths = sorted(Path(spec.origin).parent.iterdir())
    return {path.name: path.read_bytes() for path in paths if path.suffix in (".py", ".typed")}


def _is_whole(folder: Path, files: Mapping[str, bytes]) -> bool:
    try:
        return all((folder / PLUGIN / name).read_bytes() == content for name, content in files.items())
    except OSError:
        return False


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
    try:
        fresh.chmod(0o755)
        (fresh / PLUGIN).mkdir()
        for name, content in files.items():
            (fresh / PLUGIN / name).write_bytes(content)
        _publish(fresh, folder, files)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _publish(fresh: Path, folder: Path, files: Mapping[str, bytes]) -> None:
    try:
        fresh.rename(folder)
    except OSError:
        if _is_whole(folder, files):
            return  # another command has placed it
        damaged = Path(tempfile.mkdtemp(prefix=".old-", dir=folder.parent))  # for example by a cleaner of old files
        with suppress(FileNotFoundError):
            folder.rename(damaged)
        fresh.rename(folder)
        shutil.rmtree(damaged, ignore_errors=True)
