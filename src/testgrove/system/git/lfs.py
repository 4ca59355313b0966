"""The files of Git LFS, which are fetched only if asked: git's own check-outs leave the pointers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testgrove.errors import PreconditionError
from testgrove.system.git.call import call, run_long

if TYPE_CHECKING:
    from pathlib import Path

    from testgrove.system.git.call import RunCommand


def fetch_lfs(path: Path, run: RunCommand) -> None:
    """Put the content of a checkout's LFS files in the place of their pointers.

    Raises PreconditionError (``lfs-missing``, ``lfs-not-set-up``) and UnavailableError (``lfs-failed``).
    """
    if call(path, "lfs", "version").status != 0:
        raise PreconditionError(
            "lfs-missing",
            "lfs = true, but git-lfs was not found (searched: PATH)",
            hint="install git-lfs and run `git lfs install`, or remove `lfs` from the settings",
        )
    if call(path, "config", "--get-regexp", r"^filter\.lfs\.(clean|process)$").status != 0:
        # Else git would take the content for a change of the pointer.
        raise PreconditionError(
            "lfs-not-set-up", "lfs = true, but the git-lfs filters are not configured", hint="git lfs install"
        )
    run_long(run, path, "fetch the LFS files of", "lfs", "pull", code="lfs-failed")
