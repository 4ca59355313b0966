"""Shared files in a repository's common directory that name paths: hooks, settings, lists."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from testgrove.core.path_mentions import mentions
from testgrove.system.files import children, explained
from testgrove.system.git.call import call_common, require
from testgrove.system.git.repository import Repository

_LISTS = ("info/attributes", "objects/info/alternates")
_LARGEST = 1 << 20  # maximum bytes of a hook that are read
_PUT_AWAY = ".testgrove-off"


class SharedPath(NamedTuple):
    """A file of the common directory that names a path. key: of the setting that does; empty for other files."""

    file: Path
    path: str
    key: str = ""

    @property
    def is_hook(self) -> bool:
        """Whether git runs the file."""
        return not self.key and self.file.parent.name == "hooks"


def shared_paths(repository: Repository, folders: Collection[str]) -> list[SharedPath]:
    """Return the shared files that name paths in these folders. Unreadable ones are left out."""
    common = repository.common_dir
    found = [SharedPath(hook, path) for hook in _hooks(common) for path in _named_by(hook, folders)[:1]]
    for name in ("config", "config.worktree"):
        if _named_by(common / name, folders):
            found += _settings(common, common / name, folders)
    return found + [SharedPath(common / name, path) for name in _LISTS for path in _named_by(common / name, folders)]


def _hooks(common: Path) -> Iterator[Path]:
    for hook in children(common / "hooks"):
        if not hook.name.endswith((".sample", _PUT_AWAY)) and (hook.is_symlink() or hook.is_file()):
            yield hook


def _named_by(file: Path, folders: Collection[str]) -> list[str]:
    try:
        if file.is_symlink():
            target = os.path.normpath(file.parent.resolve() / file.readlink())
            return mentions(target, folders) or _text(file, folders)
        return _text(file, folders)
    except OSError:
        return []


def _text(file: Path, folders: Collection[str]) -> list[str]:
    if not file.is_file() or file.stat().st_size > _LARGEST:
        return []
    return mentions(os.fsdecode(file.read_bytes()), folders)


def _settings(common: Path, file: Path, folders: Collection[str]) -> list[SharedPath]:
    answer = call_common(common, "config", "--file", str(file), "--null", "--list")
    pairs = (field.partition("\n") for field in answer.fields())
    return [SharedPath(file, path, key) for key, _, value in pairs for path in mentions(value, folders)[:1]]


def put_hook_away(hook: Path) -> Path:
    """Rename a hook so that git does not run it; return the new name. Restores the hook that its installer saved as
    ``.legacy`` (pre-commit does that)."""
    number, target = 0, hook.with_name(hook.name + _PUT_AWAY)
    while os.path.lexists(target):
        number += 1
        target = hook.with_name(f"{hook.name}.{number}{_PUT_AWAY}")
    legacy = hook.with_name(f"{hook.name}.legacy")
    with explained("put away the hook", hook):
        hook.rename(target)
        if legacy.exists() and not os.path.lexists(hook):
            legacy.rename(hook)
    return target


def unset_shared(repository: Repository, setting: SharedPath) -> None:
    """Remove the values of a shared setting that name its path. Raises UnavailableError."""
    words = ("config", "--file", str(setting.file), "--unset-all", setting.key, _literal(setting.path))
    require(call_common(repository.common_dir, *words), f"change {setting.file}")


def _literal(text: str) -> str:
    """An extended regular expression for a text."""
    return "".join(f"[{char}]" if char not in "^\\" else f"\\{char}" for char in text)
