"""Gets a project's source, as a git repository."""

from __future__ import annotations

import shutil
import sys
import tarfile
from pathlib import Path

from real_projects.commands import IDENTITY, clean_environment, must
from real_projects.project import Project


def available(project: Project, sources: Path | None) -> bool:
    """Whether its source can be had: from the package index, or from a clone."""
    return bool(project.sdist) or (sources is not None and (sources / project.name).is_dir())


def checkout(project: Project, sources: Path | None, target: Path) -> None:
    """Put the source into an empty folder, as a repository with a commit. Raises RuntimeError if there is no source."""
    if project.sdist:
        _unpack(project.sdist, target)
        _commit(target)
    elif sources and available(project, sources):
        must(
            ("git", "clone", "--quiet", str((sources / project.name).resolve()), str(target)),
            sources,
            clean_environment(),
        )
        if project.ref:
            must(("git", "checkout", "--quiet", "--detach", project.ref), target, clean_environment())
    else:
        raise RuntimeError(
            f"{project.name} is only in git: clone it into a folder and run it with SOURCES=<that folder>"
        )


def _unpack(requirement: str, target: Path) -> None:
    name = requirement.partition("==")[0]
    folder = target.with_name("sdist")
    if not folder.is_dir():
        argv = (
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--no-binary",
            name,
            "--dest",
            str(folder),
        )
        must((*_pip(argv), requirement), target.parent, clean_environment())
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        archive.extractall(target, filter="data")
    (top,) = target.iterdir()
    for path in list(top.iterdir()):
        path.rename(target / path.name)
    top.rmdir()
    for built in [*target.glob("*.egg-info"), *target.glob("src/*.egg-info")]:
        shutil.rmtree(built)  # a repository has none


def _pip(argv: tuple[str, ...]) -> tuple[str, ...]:
    """uv's environments have no pip: that of a temporary one."""
    uv = str(Path(sys.executable).with_name("uv"))
    return (uv, "tool", "run", "--quiet", "pip", *argv[3:])


def _commit(path: Path) -> None:
    for words in (
        ("init", "--quiet", "--initial-branch=main"),
        ("add", "--all"),
        ("commit", "--quiet", "-m", "as it came"),
    ):
        must(("git", *IDENTITY, *words), path, clean_environment())
