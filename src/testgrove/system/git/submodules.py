"""Submodules of a checkout."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from testgrove.errors import PreconditionError, UnavailableError
from testgrove.system.files import children
from testgrove.system.git.call import CONFIG, LONGEST, RunCommand, call, environment, require, run_long
from testgrove.system.git.in_the_way import away, in_the_way
from testgrove.system.git.repository import git_dir_of
from testgrove.system.locks import exclusive

_UPDATE = ("submodule", "--quiet", "update", "--init")
# As `submodule update` does it, but no file is overwritten that the submodule does not track, ignored or not.
_KEEPING = "!git checkout --quiet --no-overwrite-ignore --no-recurse-submodules --detach"


def update_submodules(path: Path, run: RunCommand, *, keep_files: bool = False) -> None:
    """Check out a checkout's submodules, at any depth; does nothing if it has none.

    Objects are taken from the main checkout if possible: that needs no network, and finds commits that were not
    pushed. keep_files: it is a user's checkout; refuse where a file of the user's would be overwritten. Raises
    UnavailableError (``submodules-failed``), ExhaustedError (``disk-full``) and PreconditionError (``worktree-dirty``).
    """
    if not (path / ".gitmodules").exists():
        return
    question = ("rev-parse", "--path-format=absolute", "--git-common-dir")
    answer = require(call(path, *question), f"read {path}").out
    common_dir = Path(os.fsdecode(answer.removesuffix(b"\n")))
    # It writes to the repository's only configuration file, and fails when another process does so at the same
    # time.
    with exclusive(common_dir / "testgrove.lock", what=f"the git lock of {common_dir.parent}"):
        _init(path)
    hint = f"git -C {shlex.quote(str(common_dir.parent))} submodule update --init --recursive"
    if keep_files:
        _update_keeping(path, common_dir / "modules", run, hint)
        return
    for name, folder in _declared(path):
        _take_from(common_dir / "modules" / name, name, ("--force", "--", folder), path, run)
    words = (*_UPDATE, "--recursive", "--force")
    run_long(run, path, "check out the submodules of", *words, code="submodules-failed", hint=hint)


def _update_keeping(path: Path, stores: Path, run: RunCommand, hint: str) -> None:
    """Update the submodules of a user's checkout one by one. stores: where the main checkout keeps their objects."""
    for name, folder in _declared(path):
        if not (pinned := _pinned(path, folder)):
            continue
        settings, options = _careful(path, name, folder)
        words = (*options, "--", folder)
        _take_from(stores / name, name, words, path, run, settings)
        try:
            what = "check out the submodules of"
            run_long(run, path, what, *settings, *_UPDATE, *words, code="submodules-failed", hint=hint)
        except UnavailableError as error:
            if call(path / folder, "cat-file", "-e", pinned).status == 0:
                for file in in_the_way(path / folder, pinned):
                    raise _refused(path, f"{folder}/{file}") from error
            raise
        if (path / folder / ".gitmodules").exists():
            _init(path / folder)
            _update_keeping(path / folder, stores / name / "modules", run, hint)


def _careful(path: Path, name: str, folder: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The settings and options with which `submodule update` keeps a user's files.

    What was never checked out has no index: git fills it by force, or takes it for complete.
    """
    module = path / folder
    there = [child for child in children(module) if child.name != ".git"] if module.is_dir() else []
    cloned = (module / ".git").exists()
    if cloned and (git_dir_of(module) / "index").exists():
        strategy = call(path, "config", f"submodule.{name}.update").out.decode().strip()
        return (("-c", f"submodule.{name}.update={_KEEPING}") if strategy in ("", "checkout") else (), ())
    if there:
        raise _refused(path, f"{folder}/{there[0].name}")
    return (), ("--force",) * cloned


def _refused(path: Path, name: str) -> PreconditionError:
    return PreconditionError(
        "worktree-dirty",
        f"cannot update the submodules of {path}: {name} is not tracked, and would be overwritten",
        hint=f"{away(path, name)}   then retry",
    )


def _init(path: Path) -> None:
    answer = call(path, "submodule", "--quiet", "init")
    require(answer, f"read .gitmodules in {path}", code="submodules-failed")


def _take_from(
    store: Path, name: str, words: tuple[str, ...], path: Path, run: RunCommand, settings: tuple[str, ...] = ()
) -> None:
    """Take one submodule, or its new commits, from the main checkout's copy, if it has one. Where that fails, its own
    URL is next."""
    if not (store / "HEAD").exists():
        return
    url = os.fsdecode(call(path, "config", "-z", f"submodule.{name}.url").out.rstrip(b"\0"))
    if url:
        settings = ("-c", "protocol.file.allow=always", "-c", f"url.{store}.insteadOf={url}", *settings)
        argv = ["git", *CONFIG, *settings, "submodule", "--quiet", "update", *words]
        run(argv, cwd=path, env=environment(), timeout=LONGEST, check=False)


def _declared(path: Path) -> list[tuple[str, str]]:
    """The names and paths in .gitmodules."""
    answer = call(path, "config", "-z", "--file", ".gitmodules", "--get-regexp", r"^submodule\..*\.path$")
    pairs = (field.partition("\n") for field in answer.fields())
    return [(key.removeprefix("submodule.").removesuffix(".path"), folder) for key, _, folder in pairs]


def _pinned(path: Path, folder: str) -> str:
    """The commit at which a checkout's index has a submodule; empty where it has none there."""
    fields = call(path, "ls-files", "-z", "--stage", "--", folder).fields()
    modes = [field.split()[:2] for field in fields if field.endswith(f"\t{folder}")]
    return modes[0][1] if modes and modes[0][0] == "160000" else ""
