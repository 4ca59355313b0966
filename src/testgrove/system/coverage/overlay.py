"""Coverage of the suites' Python processes, without anything being installed into the environments under test."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from testgrove.core.frozen import frozen
from testgrove.errors import UnavailableError
from testgrove.system.environment import build
from testgrove.system.environment.record import FOLDER, has_distribution
from testgrove.system.environment.uv import ToolRun, Uv, find_uv
from testgrove.system.files import explained
from testgrove.system.processes.process import scrubbed

_HERE = Path(__file__).parent
_REQUIREMENT = "coverage[toml]>=7.4"
_MERGE_TIMEOUT = 900.0  # seconds


def place_start(folder: Path) -> Path:
    """Copy what starts coverage into a new folder that holds nothing else, for PYTHONPATH."""
    with explained("make", folder):
        folder.mkdir(mode=0o755)
        shutil.copyfile(_HERE / "start.py", folder / "sitecustomize.py")
    return folder


def overlay_for(
    tree: Path,
    python: str,
    *,
    cache: Path,
    run: ToolRun,
    temporary: Path,
    offline: bool,
    on_wait: Callable[[str], None],
) -> str:
    """Return a folder with coverage for the tree's environment; empty if the environment has its own.

    python: its version. cache: where overlays are kept, one for each interpreter. on_wait: called with a reason while
    it waits. Raises the errors of uv.
    """
    if has_distribution(tree, "coverage"):
        return ""
    version = ".".join(python.split(".")[:2])
    folder = cache / "coverage" / f"{version}-{os.uname().machine}"
    if not folder.is_dir():
        on_wait(f"coverage for Python {version}")
        with explained("make", folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
            temporary.mkdir(parents=True, exist_ok=True)
        try:
            tool = Uv(find_uv(), run, tree, temporary, offline, None)
            interpreter = str(build.python_of(tree))
            tool("pip", "install", _REQUIREMENT, "--target", str(fresh), "--python", interpreter)
            with suppress(OSError):  # another command was faster
                fresh.rename(folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
            shutil.rmtree(temporary, ignore_errors=True)
    return str(folder)


def measured_environment(
    env: Mapping[str, str], *, start: Path, data: Path, tree: Path, overlay: str
) -> dict[str, str]:
    """The suite's environment with coverage started in each Python process of the tree's environment.

    data: a new folder for the data files, those of a pytest-cov or a `coverage run` of the project's own among them.
    """
    for folder in (data / "ours", data / "theirs"):
        folder.mkdir(parents=True)
    prefix = os.path.realpath(tree / FOLDER)
    told = {"data": f"{data}/ours/.coverage", "tree": os.path.realpath(tree), "prefix": prefix, "overlay": overlay}
    path = env.get("PYTHONPATH", "")
    return {
        **env,
        "PYTHONPATH": f"{start}{os.pathsep}{path}" if path else str(start),
        "TESTGROVE_COVERAGE": json.dumps(told),
        "COVERAGE_FILE": f"{data}/theirs/.coverage",
    }


@frozen
class MeasuredEnvironment:
    """The measurements of one attempt. python: its version."""

    data: Path
    tree: Path
    python: str
    overlay: str

    def files(self) -> list[str]:
        """The data files."""
        return sorted(str(path) for kind in ("ours", "theirs") for path in (self.data / kind).glob(".coverage*"))


def merge(measured: Sequence[MeasuredEnvironment], *, main: Path, out: Path, run: ToolRun) -> float | None:
    """Merge what attempts have measured into out: ``.coverage``, ``coverage.xml``, ``html``; the total in per cent.

    None where nothing was measured. Raises UnavailableError (``coverage-failed``).
    """
    found = [one for one in measured if one.files()]
    if not found:
        return None
    # The newest Python understands every syntax, and the environment has the plugins that the settings name.
    newest = max(found, key=lambda one: tuple(int(part) for part in one.python.split(".")[:2]))
    trees = dict.fromkeys(os.path.realpath(one.tree) for one in (newest, *found))
    out.mkdir(parents=True, exist_ok=True)
    task = {
        "files": [file for one in found for file in one.files()],
        "trees": list(trees),
        "main": str(main),
        "out": str(out),
        "overlay": newest.overlay,
    }
    request = out / "request.json"
    request.write_text(json.dumps(task), encoding="utf-8")
    # Isolated mode: next to the script are modules with the names of those that it imports.
    argv = [str(build.python_of(newest.tree)), "-I", str(_HERE / "merge.py"), str(request)]
    done = run(argv, cwd=newest.tree, env=scrubbed(), timeout=_MERGE_TIMEOUT, log=None, check=False)
    request.unlink()
    answer = out / "total.json"
    if done.returncode != 0 or not answer.exists():
        reason = next((line for line in reversed(done.stdout.splitlines()) if line.strip()), "no output")
        raise UnavailableError("coverage-failed", f"cannot merge the coverage data: {reason.strip()}")
    total = json.loads(answer.read_text(encoding="utf-8"))["total"]
    answer.unlink()
    for left in out.glob(".lines*"):
        left.unlink()
    return float(total)
