"""The settings that a checkout has for itself: ``config.worktree`` and the patterns of a sparse checkout."""

from __future__ import annotations

from pathlib import Path

from testgrove.system.files import atomic_write, explained
from testgrove.system.git.call import call, require
from testgrove.system.git.repository import Repository, git_dir_of

_FILES = ("config.worktree", "info/sparse-checkout")


def take_own_settings(repository: Repository, path: Path) -> None:
    """Give a checkout the settings of the current one, as ``git worktree add`` does for a new checkout.

    The next ``git checkout --force`` fills the folder accordingly. The caller has checked that nothing there is the
    user's. Raises PreconditionError and UnavailableError.
    """
    source, target = git_dir_of(repository.toplevel), git_dir_of(path)
    if source.resolve() == target.resolve():
        return
    with explained("take over the settings of", source):
        changed = [name for name in _FILES if _replace(source / name, target / name)]
    settings = target / "config.worktree"
    if settings.exists():
        _unset(path, settings, "core.worktree")  # the other checkout's folder
        _unset(path, settings, "core.bare", "^true$")
    if changed and call(path, "config", "--type=bool", "core.sparseCheckout").out.strip() != b"true":
        (target / "index").unlink(missing_ok=True)  # it records which files were skipped


def _replace(source: Path, target: Path) -> bool:
    """Make target what source is; whether it was not."""
    wanted = source.read_bytes() if source.exists() else None
    if wanted == (target.read_bytes() if target.exists() else None):
        return False
    if wanted is None:
        target.unlink()
    else:
        target.parent.mkdir(exist_ok=True)
        atomic_write(target, wanted)
    return True


def _unset(path: Path, settings: Path, *words: str) -> None:
    if call(path, "config", "--file", str(settings), "--get-all", *words).status == 0:
        answer = call(path, "config", "--file", str(settings), "--unset-all", *words)
        require(answer, f"set the configuration of {path}")
