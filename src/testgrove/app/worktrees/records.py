"""Worktrees on record: finding and claiming them, and the registry view for people and scripts."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from testgrove.app.project import Project
from testgrove.core.model import WorktreeId, WorktreeSpec, WorktreeStatus
from testgrove.core.text import some
from testgrove.core.worktrees.record import Changes, WorktreeRecord
from testgrove.errors import PreconditionError
from testgrove.system.files import atomic_write, remove_unfinished_write
from testgrove.system.locks import LockFile
from testgrove.system.store import Store, StoredLeases
from testgrove.system.store.commands import CommandRecord

if TYPE_CHECKING:
    from testgrove.app.holder import Holder  # and its threads, which `list` does without
    from testgrove.core.documents.commands import Registry, RegistryEntry

REGISTRY = "worktrees_registry.json"


def all_of(project: Project) -> list[WorktreeRecord]:
    """The project's worktrees, oldest first."""
    return project.store.worktrees.of_project(project.id)


def named(project: Project, text: str, *, whole: bool = False) -> WorktreeRecord:
    """The worktree of an id, an identifier or a branch, or of the beginning of one if only one begins so.

    whole: a beginning does not count: `remove review-1`, typed twice, must not remove review-10.
    "." is the worktree that the command was started in. Raises PreconditionError.
    """
    known = all_of(project)
    if text == ".":
        return _standing_in(project, known)
    for matches in (_is_id, _is_identifier, _is_branch, *[_begins_so] * (not whole)):
        found = [each for each in known if matches(each, text)]
        if len(found) > 1:
            raise _ambiguous(text, found)
        if found:
            return found[0]
    raise _missing(text, [str(each.id) for each in known])


def with_id(project: Project, text: str) -> WorktreeRecord:
    """The worktree of an id, in full. Raises PreconditionError, also where another one begins so."""
    known = all_of(project)
    found = next((each for each in known if _is_id(each, text)), None)
    if found is None:
        raise _missing(text, [str(each.id) for each in known])
    return found


def _is_id(worktree: WorktreeRecord, text: str) -> bool:
    return str(worktree.id) == text


def _is_identifier(worktree: WorktreeRecord, text: str) -> bool:
    return worktree.id.identifier == text


def _is_branch(worktree: WorktreeRecord, text: str) -> bool:
    return bool(text) and worktree.branch == text


def _begins_so(worktree: WorktreeRecord, text: str) -> bool:
    names = (str(worktree.id), worktree.id.identifier, worktree.branch)
    return bool(text) and any(name.startswith(text) for name in names)


def _standing_in(project: Project, known: list[WorktreeRecord]) -> WorktreeRecord:
    top = project.repository.toplevel
    for each in known:
        if each.path == top:
            return each
    raise PreconditionError(
        "not-in-a-worktree", f"{top} is not a testgrove worktree", hint="name one; to see them: testgrove list"
    )


def _ambiguous(text: str, found: list[WorktreeRecord]) -> PreconditionError:
    ids = some((str(each.id) for each in found), between=" and ", whole="testgrove list")
    return PreconditionError("ambiguous-worktree", f"'{text}' is ambiguous: {ids}", hint="use the full id")


def _missing(id_text: str, known: list[str]) -> PreconditionError:
    """The error for an id that names no worktree, with near matches."""
    import difflib  # noqa: PLC0415 - only on this path

    near = difflib.get_close_matches(id_text, known, 3, 0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else "testgrove list"
    return PreconditionError("no-such-worktree", f"worktree '{id_text}' not found in this project", hint=hint)


def dead_commands(store: Store, is_held: Callable[[str], bool]) -> list[CommandRecord]:
    """The commands that ended without letting go."""
    return [command for command in store.commands.all() if not is_held(command.mark)]


def leases_of(store: Store, worktree: WorktreeRecord) -> StoredLeases:
    """The leases of a worktree."""
    return store.leases(_owner(worktree.project, str(worktree.id)))


def worktree_leases(project: Project, worktree: WorktreeId) -> StoredLeases:
    """The leases of one of the project's worktrees."""
    return project.store.leases(_owner(project.id, str(worktree)))


def _owner(project_id: str, worktree: str) -> str:
    return f"worktree:{project_id}/{worktree}"


def location_of(project: Project, spec: WorktreeSpec) -> Path:
    """The folder that a worktree is made in."""
    return spec.path or project.root / str(spec.id)


def insert(
    project: Project, holder: Holder, spec: WorktreeSpec, *, run: str | None, plan: Sequence[str]
) -> WorktreeRecord:
    """Record a worktree that is about to be made. Raises PreconditionError when its id or place is taken."""
    path = location_of(project, spec)
    if path.is_symlink() or (path.exists() and any(path.iterdir() if path.is_dir() else [path])):
        raise _path_exists(project, path)
    record = WorktreeRecord(
        id=spec.id,
        path=path,
        status=WorktreeStatus.CREATING,
        branch="",
        commit="",
        created=datetime.now(UTC),
        env_file=project.settings.env_file,
        holder=holder.key,
        project=project.id,
        run=run,
        plan=tuple(plan),
        directory=spec.directory,
    )
    if not project.store.worktrees.add(record):
        raise PreconditionError(
            "held",
            _others(project, path) or f"another command is creating worktree {spec.id}",
            hint="testgrove list",
        )
    return record


def _path_exists(project: Project, path: Path) -> PreconditionError:
    hint = f"move it away, or choose another identifier (see: ls -la {path})"
    if others := _others(project, path):
        hint = f"choose another identifier, or another `root` in [tool.testgrove]: ls -la {path}"
    return PreconditionError(
        "path-exists", others or f"{path} already exists and is not a testgrove worktree", hint=hint
    )


def _others(project: Project, path: Path) -> str:
    """Return which other project's worktree is in a place, as a sentence; empty where none is. Two may have the same
    root."""
    found = project.store.worktrees.at(path)
    if found is None or found.project == project.id:
        return ""
    main = next(each.main for each in project.store.projects.all() if each.id == found.project)
    return f"{path} is worktree {found.id} of another project, {main}"


def take(project: Project, holder: Holder, worktree: WorktreeRecord, *statuses: WorktreeStatus) -> WorktreeRecord:
    """Become the holder of a worktree in one of these statuses. Raises PreconditionError (``held``)."""
    with project.store.transaction():
        fresh = project.store.worktrees.find(project.id, worktree.id)
        if fresh is None:
            raise _missing(str(worktree.id), [])
        if fresh.holder is not None or fresh.status not in statuses:
            raise held(project.store, fresh)
        return update(project.store, fresh, holder=holder.key)


def take_to_remove(project: Project, holder: Holder, worktree: WorktreeRecord) -> WorktreeRecord:
    """take() for a worktree that may go. It is not `removing` before that is decided: a recovery would finish it."""
    resting = (WorktreeStatus.READY, WorktreeStatus.PARKED, WorktreeStatus.BROKEN)
    with project.store.transaction():
        taken = take(project, holder, worktree, *resting, WorktreeStatus.REMOVING)
        if taken.status == WorktreeStatus.REMOVING:  # a command of an older version has abandoned it
            taken = update(project.store, taken, status=WorktreeStatus.BROKEN)
    return taken


def held(store: Store, worktree: WorktreeRecord) -> PreconditionError:
    """The error for a worktree that another command holds, or that is broken."""
    if worktree.status == WorktreeStatus.BROKEN and worktree.holder is None:
        message = f"worktree {worktree.id} is broken: {worktree.note}"
        hint = f"testgrove remove {worktree.id}"
        return PreconditionError("worktree-held", message, hint=hint, worktree=str(worktree.id))
    who = store.commands.find(worktree.holder) if worktree.holder else None
    by = f" by `{who.command}` (pid {who.pid})" if who else ""
    return PreconditionError(
        "worktree-held",
        f"worktree {worktree.id} is {worktree.status}, held{by}",
        hint="wait until that command ends, or stop it",
        worktree=str(worktree.id),
    )


def update(store: Store, worktree: WorktreeRecord, **changes: Unpack[Changes]) -> WorktreeRecord:
    """Change a worktree's record; the record with the changes."""
    return store.worktrees.update(worktree, **changes)


def release(store: Store, worktree: WorktreeRecord) -> WorktreeRecord:
    """Let go of a worktree. If the plan on record is not finished, a note says so: the next `sync` continues."""
    now = store.worktrees.find(worktree.project, worktree.id) or worktree
    if not now.plan:
        return update(store, worktree, holder=None)
    note = f"sync stopped before '{now.plan[0]}': testgrove sync {worktree.id}"
    return update(store, worktree, holder=None, note=note)


def set_parked(store: Store, worktree: WorktreeRecord) -> WorktreeRecord:
    """Record that a worktree waits to be recycled."""
    return update(
        store,
        worktree,
        status=WorktreeStatus.PARKED,
        parked=time.time(),
        holder=None,
        run=None,
        ports={},
        databases={},
        branch="",
        attempt_from=None,
        note="",
        plan=(),
    )


def set_kept(store: Store, worktree: WorktreeRecord, note: str) -> WorktreeRecord:
    """Record that a run has left a worktree to people; the run's id stays with it."""
    status = WorktreeStatus.READY
    parked = time.time()
    return update(store, worktree, status=status, parked=parked, holder=None, attempt_from=None, note=note, plan=())


def is_kept(worktree: WorktreeRecord) -> bool:
    """Return whether a run has left this worktree to people."""
    return worktree.status == WorktreeStatus.READY and worktree.run is not None


def delete(store: Store, worktree: WorktreeRecord) -> None:
    """Delete the record of a removed worktree."""
    store.worktrees.delete(worktree)


def is_our_registry(path: Path) -> bool:
    """Return whether a file is the registry view, or would be: what testgrove has not written is its user's, and
    stays."""
    try:
        view = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False
    return isinstance(view, dict) and {"schema", "worktrees", "allocated_ports"} <= view.keys()


def publish(project: Project, holder: Holder) -> None:
    """Bring the registry view up to date."""
    write_registry(project.store, holder.locks, project.id, project.main)


def write_registry(store: Store, locks: LockFile, project_id: str, main: Path) -> None:
    """Rewrite the registry file in the main checkout. Written under a lock, so that an older state never comes last.

    A user's file of that name is left alone; `doctor` reports it, and --fix moves it aside.
    """
    if not os.access(main, os.X_OK):  # gone, or closed to us
        return
    with locks.hold(f"registry:{project_id}", what=f"the registry of {main}", timeout=60.0):
        known = sorted(store.worktrees.of_project(project_id), key=lambda each: str(each.id))
        allocated = sorted(port for each in known for port in each.ports.values())
        view: Registry = {
            "schema": 1,
            "schema_version": 1,
            "worktrees": {str(each.id): _entry(each) for each in known},
            "allocated_ports": allocated,
        }
        target = main / REGISTRY
        remove_unfinished_write(target)
        if (known or target.exists()) and is_our_registry(target):
            atomic_write(target, (json.dumps(view, indent=2) + "\n").encode())


def _entry(worktree: WorktreeRecord) -> RegistryEntry:
    entry: RegistryEntry = {
        "purpose": worktree.id.purpose,
        "identifier": worktree.id.identifier,
        "branch": worktree.branch,
        "path": str(worktree.path),
        # Local and without a zone: the documented scripts compare it with datetime.now().
        "created": worktree.created.astimezone().replace(tzinfo=None).isoformat(timespec="seconds"),
        "created_utc": worktree.created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "status": worktree.status,
    }
    if worktree.ports:
        entry["ports"] = worktree.ports
    if worktree.databases:
        from testgrove.core.engines.registry import main_database  # noqa: PLC0415 - `list` does without

        if name := main_database(worktree.databases):
            entry["database"] = name
    return entry
