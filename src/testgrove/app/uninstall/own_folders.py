"""The folders of testgrove's own outside of projects, and what of them goes with an uninstall.

A folder that a variable names (``TESTGROVE_CACHE_DIR``) can hold other things, and folders for temporary files serve
all state folders of the user. So only what testgrove puts there by name is deleted, and a folder only once it is empty.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from testgrove.app.isolation import isolated
from testgrove.core.engines.registry import BUILT_IN
from testgrove.core.frozen import frozen
from testgrove.errors import TestgroveError
from testgrove.system.deletion import delete_tree
from testgrove.system.locations import Locations
from testgrove.system.store.salvage import FOLDERS

_CACHES = (*BUILT_IN, "binaries", "coverage", "plugin", "reports", "templates")  # engines of files have one each
_LOCKS = ("holders.lock", "turns.lock", "state.lock")


@frozen
class KeptFolder:
    """A folder that stays. why: the reason. how: the command that removes it."""

    what: str
    why: str
    how: str


def folders(locations: Locations) -> list[Path]:
    """Return the folders that exist."""
    found = (
        locations.cache,
        locations.binaries,
        locations.scratch,
        locations.memory,
        locations.open_servers,
        locations.state,
    )
    return [folder for folder in dict.fromkeys(found) if folder.is_dir()]


def delete_all_but_state(locations: Locations) -> tuple[list[str], list[KeptFolder]]:
    """Delete caches and empty folders; return what was deleted and what is left.

    The content of the folders for temporary files and servers was removed with its owners.
    """
    left: list[KeptFolder] = []
    _delete(locations.cache, [locations.cache / name for name in _CACHES], left)
    if locations.binaries.parent != locations.cache and locations.binaries.is_dir():
        _delete(locations.binaries.parent, [locations.binaries], left)
    others = (locations.cache, locations.scratch, locations.memory, locations.open_servers)
    return _remove(dict.fromkeys(others), left)


def delete_state(locations: Locations) -> tuple[list[str], list[KeptFolder]]:
    """Delete the state folder's content, after the store; return what was deleted and what is left."""
    left: list[KeptFolder] = []
    state = locations.state
    _delete(state, state.glob(FOLDERS), left)
    for name in _LOCKS:
        (state / name).unlink(missing_ok=True)
    return _remove([locations.servers, state], left)


def _delete(folder: Path, entries: Iterable[Path], left: list[KeptFolder]) -> None:
    for entry in entries:
        with isolated(f"delete {entry}", partial(_stays, entry, left)):
            delete_tree(entry, within=folder)


def _stays(entry: Path, left: list[KeptFolder], error: TestgroveError) -> None:
    left.append(KeptFolder(str(entry), error.message, error.hint or f"rm -r {shlex.quote(str(entry))}"))


def _remove(chosen: Iterable[Path], left: list[KeptFolder]) -> tuple[list[str], list[KeptFolder]]:
    gone = []
    for folder in chosen:
        try:
            folder.rmdir()
            gone.append(str(folder))
        except FileNotFoundError:
            continue
        except OSError as error:
            there = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
            why = f"it contains unknown files: {', '.join(there[:3])}" if there else str(error.strerror)
            if not any(entry.what.startswith(str(folder)) for entry in left):
                left.append(KeptFolder(str(folder), why, f"ls -la {folder}"))
    return gone, left
