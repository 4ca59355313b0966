"""Submodules of a checkout."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from testgrove.system.git.call import CONFIG, LONGEST, RunCommand, call, environment, require, run_long
from testgrove.system.locks import exclusive


def update_submodules(path: Path, run: RunCommand) -> None:
    """Check out a checkout's submodules, at any depth; does nothing if it has none.

    Objects are taken from the main checkout if possible: that needs no network, and finds commits that were not
    pushed. Raises UnavailableError (``submodules-failed``) and ExhaustedError (``disk-full``).
    """
    if not (path / ".gitmodules").exists():
        return
    question = ("rev-parse", "--path-format=absolute", "--git-common-dir")
    answer = require(call(path, *question), f"read {path}").out
    common_dir = Path(os.fsdecode(answer.removesuffix(b"\n")))
    # It writes to the repository's only configuration file, and fails when another process does so at the same
    # time.
    with exclusive(common_dir / "testgrove.lock", what=f"the git lock of {common_dir.parent}"):
        require(
            call(path, "submodule", "--quiet", "init"),
            f"read .gitmodules in {path}",
            code="submodules-failed",
        )
    for name, folder in _declared(path):
        store = common_dir / "modules" / name
        if (store / "HEAD").exists():
            _take_from(store, name, folder, path, run)
    words = ("submodule", "--quiet", "update", "--init", "--recursive", "--force")
    hint = f"git -C {shlex.quote(str(common_dir.parent))} submodule update --init --recursive"
    run_long(run, path, "check out the submodules of", *words, code="submodules-failed", hint=hint)


def _take_from(store: Path, name: str, folder: str, path: Path, run: RunCommand) -> None:
    """Take one submodule, or its new commits, from the main checkout's copy. Where that fails, its own URL is next."""
    url = os.fsdecode(call(path, "config", "-z", f"submodule.{name}.url").out.rstrip(b"\0"))
    if url:
        settings = ("-c", "protocol.file.allow=always", "-c", f"url.{store}.insteadOf={url}")
        words = (*settings, "submodule", "--quiet", "update", "--force", "--", folder)
        run(["git", *CONFIG, *words], cwd=path, env=environment(), timeout=LONGEST, check=False)


def _declared(path: Path) -> list[tuple[str, str]]:
    """The names and paths in .gitmodules."""
    answer = call(path, "config", "-z", "--file", ".gitmodules", "--get-regexp", r"^submodule\..*\.path$")
    pairs = (field.partition("\n") for field in answer.fields())
    return [(key.removeprefix("submodule.").removesuffix(".path"), folder) for key, _, folder in pairs]
