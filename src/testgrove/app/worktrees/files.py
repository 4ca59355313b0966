"""The files in a worktree for users and other programs: its env file and its metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from testgrove.app.project import Project
from testgrove.app.worktrees import records
from testgrove.app.worktrees.ownership import manifest_of
from testgrove.app.worktrees.user_commands import variables_of
from testgrove.core.engines.registry import main_database
from testgrove.core.envfile import parse, render, revised
from testgrove.core.model import DatabaseAccess, WorktreeId
from testgrove.core.naming import FIXED_VARIABLES, port_variable
from testgrove.core.settings.service_variables import service_variables
from testgrove.core.worktrees.ownership import Manifest
from testgrove.core.worktrees.record import WorktreeRecord
from testgrove.core.worktrees.variables import configured, variables
from testgrove.errors import TestgroveError
from testgrove.system import git
from testgrove.system.files import (
    atomic_write,
    entries,
    explained,
    has_unfinished_write,
    read_env_file,
    remove_unfinished_write,
)
from testgrove.system.store import Store

if TYPE_CHECKING:
    from testgrove.core.documents.commands import Database, Metadata

METADATA = ".worktree-metadata.json"


def values_of(
    project: Project,
    worktree: WorktreeId,
    ports: Mapping[str, int],
    databases: Mapping[str, DatabaseAccess],
    *,
    plain: str = "",
) -> dict[str, str]:
    """The variables of a worktree's env file. plain: see variables()."""
    return variables(worktree, ports=ports, databases=databases, settings=project.settings, plain=plain)


class Written(NamedTuple):
    """The result of writing. worktree: the current record. kept: names of values in the env file that the user edited,
    and that testgrove would change."""

    worktree: WorktreeRecord
    kept: list[str]


def write_files(project: Project, worktree: WorktreeRecord, databases: Mapping[str, DatabaseAccess]) -> Written:
    """Write both files from the record and the databases, and store the databases' addresses.

    The user's edits of the env file are kept.
    """
    declared = [*project.settings.services, *databases]  # which is ready first differs from time to time
    shown = {
        name: {"engine": access.engine, "name": access.name, "url": access.url(redacted=True)}
        for name, access in sorted(databases.items(), key=lambda each: declared.index(each[0]))
    }
    worktree = records.update(project.store, worktree, databases=shown)
    return _write(project, worktree, values_of(project, worktree.id, worktree.ports, databases))


def rewrite_ports(project: Project, worktree: WorktreeRecord) -> Written:
    """Rewrite both files for the recorded ports. Database addresses and the user's edits are kept.

    Raises PreconditionError (``no-env-file``) if the env file cannot be read.
    """
    known = variables_of(worktree)
    written = _written(worktree, known)
    return _write(project, worktree, _values_now(project, worktree, known if written is None else written))


def _values_now(project: Project, worktree: WorktreeRecord, known: Mapping[str, str]) -> dict[str, str]:
    """Return testgrove's values of the env file, with the database addresses of the known variables."""
    ours = service_variables(project.settings.services)
    return variables(
        worktree.id,
        ports=worktree.ports,
        databases={},
        settings=project.settings,
        reached={name: value for name, value in known.items() if name in ours},
    )


def _users_own(project: Project, known: Mapping[str, str]) -> dict[str, str]:
    ports = {port_variable(name) for name in project.settings.ports.names}
    ours = {*service_variables(project.settings.services), *FIXED_VARIABLES, *ports, *configured(project.settings)}
    return {name: value for name, value in known.items() if name not in ours}


def refresh(project: Project, worktree: WorktreeRecord) -> WorktreeRecord | None:
    """Rewrite both files if anything has changed; return the current record.

    None if the env file could not be written, because its user has edited it.
    """
    manifest = manifest_of(worktree)
    ours: WorktreeRecord | None = None
    if manifest is not None:
        is_ours = manifest.holds(*entries(worktree.path, [worktree.env_file]))
        ours = worktree if is_ours else _adopt(project, worktree, manifest)
    if ours is not None:
        return rewrite_ports(project, ours).worktree
    _write_metadata(worktree)
    return None


def _adopt(project: Project, worktree: WorktreeRecord, manifest: Manifest) -> WorktreeRecord | None:
    """Count an env file with exactly the expected content as testgrove's: a command was killed before it could
    record the file. Return the current record; None if the file is the user's."""
    path = worktree.path / worktree.env_file
    if not path.is_file():
        return None
    known = variables_of(worktree)
    if _users_own(project, known) or path.read_bytes() != render(_values_now(project, worktree, known)).encode():
        return None
    return _remember(project, worktree, manifest)


def _remember(project: Project, worktree: WorktreeRecord, manifest: Manifest) -> WorktreeRecord:
    fresh = Manifest.of(entries(worktree.path, [worktree.env_file])).entries
    manifest = Manifest({**manifest.entries, **fresh})
    return records.update(project.store, worktree, manifest=manifest.dump())


def _write(project: Project, worktree: WorktreeRecord, values: Mapping[str, str]) -> Written:
    tree, name = worktree.path, worktree.env_file
    manifest = manifest_of(worktree)
    # One that its user has changed stays the user's, with the changes in it.
    was_ours = manifest is not None and manifest.holds(*entries(tree, [name]))
    text, kept = _merged(project, worktree, values)
    last, begun = _copies(worktree)
    _replace(begun, render(values).encode(), mode=0o600)  # ahead: a killed command's values are not the user's
    _replace(tree / name, text.encode(errors="surrogateescape"), mode=0o600)
    with explained("write", last):
        begun.replace(last)
    if manifest is not None and was_ours:
        worktree = _remember(project, worktree, manifest)
    _write_metadata(worktree)
    return Written(worktree, kept)


def _merged(project: Project, worktree: WorktreeRecord, values: Mapping[str, str]) -> tuple[str, list[str]]:
    """The env file's new text; and the names of values that stay as the user has edited them."""
    path = worktree.path / worktree.env_file
    if not path.exists():
        return render(values), []
    text = read_env_file(path)
    written = _written(worktree, parse(text))
    if written is None:
        return render({**values, **_users_own(project, parse(text))}), []
    return (render(values), []) if text == render(written) else revised(text, written, values)


def _written(worktree: WorktreeRecord, known: Mapping[str, str]) -> dict[str, str] | None:
    """Return the values of the env file that testgrove wrote last; None for a worktree of an older version.

    known: the file's values, which show how far a killed command came.
    """
    last, begun = (_values_in(path) for path in _copies(worktree))
    if last is None and begun is None:
        return None
    return (last or {}) | {name: value for name, value in (begun or {}).items() if known.get(name) == value}


def _copies(worktree: WorktreeRecord) -> tuple[Path, Path]:
    """The files with the last written values, and those being written: they show what the user edited. They are removed
    with the worktree."""
    folder = git.git_dir_of(worktree.path)
    return folder / "testgrove-env", folder / "testgrove-env.begun"


def _written_files(worktree: WorktreeRecord) -> tuple[Path, ...]:
    return (worktree.path / worktree.env_file, worktree.path / METADATA, *_copies(worktree))


def remove_unfinished_writes(worktree: WorktreeRecord) -> None:
    """Remove temporary files of a command that was killed while it wrote a worktree's files."""
    for path in _written_files(worktree):
        remove_unfinished_write(path)


def let_go(store: Store, worktree: WorktreeRecord) -> None:
    """Let go of a worktree whose files this command may have written.

    If a write failed and its temporary file could not be removed either, the worktree stays held: the recovery of the
    next command removes that file.
    """
    try:
        unfinished = any(has_unfinished_write(path) for path in _written_files(worktree))
    except (TestgroveError, OSError):
        unfinished = worktree.path.is_dir()
    if not unfinished:
        records.release(store, worktree)


def _values_in(path: Path) -> dict[str, str] | None:
    return parse(read_env_file(path)) if path.exists() else None


def _write_metadata(worktree: WorktreeRecord) -> None:
    content = json.dumps(_metadata(worktree), indent=2) + "\n"
    _replace(worktree.path / METADATA, content.encode(), mode=0o644)


def _replace(path: Path, content: bytes, *, mode: int) -> None:
    """Write a file unless its content is already correct: its times show whether it was changed."""
    if not (path.is_file() and path.read_bytes() == content):
        atomic_write(path, content, mode=mode)


def _metadata(worktree: WorktreeRecord) -> Metadata:
    created = worktree.created.strftime("%Y-%m-%dT%H:%M:%SZ")
    database = main_database(worktree.databases)
    metadata: Metadata = {
        "schema": 1,
        "schema_version": 1,
        "id": str(worktree.id),
        "purpose": worktree.id.purpose,
        "identifier": worktree.id.identifier,
        "branch": worktree.branch,
        "commit": worktree.commit,
        "created": created,
        "ports": worktree.ports,
        "database": database,
        "databases": cast("dict[str, Database]", worktree.databases),
        "env_file": worktree.env_file,
        "python": worktree.python,
        "directory": worktree.directory,
    }
    if not worktree.directory:
        del metadata["directory"]
    if not worktree.ports:
        del metadata["ports"]
    if not database:
        del metadata["database"]
    if not worktree.databases:
        del metadata["databases"]
    return metadata
