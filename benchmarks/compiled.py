"""The second run of a project with compiled code, compared with plain pytest in an environment of its own.

The project is msgpack's source distribution: a Cython extension, and tests of a second or two. Without the rule that
build products are kept, each run would compile it again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from benchmarks.grove import Grove
from benchmarks.overhead import activated
from benchmarks.projects import BASE_PYTHON, PORTS, UV, commit_all, download, environment
from benchmarks.timing import Sample, timed

PLAIN, SECOND = "plain pytest", "testgrove test, again"
SLOWER = 1.3  # at most
_PROJECT = "msgpack==1.2.4"


def candidates(work: Path, grove: Grove) -> dict[str, Callable[[], Sample]]:
    """The two, ready to be measured: both have compiled the extension."""
    project = work / "compiled"
    download(work, _PROJECT).rename(project)
    (project / "testgrove.toml").write_text(PORTS.format(prefix=""))
    commit_all(project)
    plain = Path(shutil.copytree(project, work / "plain"))
    for words in (("venv", "-q", "--python", BASE_PYTHON), ("pip", "install", "-q", "pytest", "-e", ".")):
        env = environment(VIRTUAL_ENV=str(plain / ".venv"))
        subprocess.run([os.fspath(UV), *words], cwd=plain, env=env, check=True)
    timed([grove.program, "test"], cwd=project, env=grove.env)
    return {
        SECOND: lambda: timed([grove.program, "test"], cwd=project, env=grove.env),
        PLAIN: lambda: timed(["pytest", "-q"], cwd=plain, env=activated(plain)),
    }
