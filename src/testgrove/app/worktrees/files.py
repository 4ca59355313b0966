"""The files that a worktree carries for people and other programs: its env file and its metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from testgrove.app.project import Project
from testgrove.app.worktrees import records
from testgrove.app.worktrees.inside import variables_of
from testgrove.app.worktrees.ownership import manifest_of
from testgrove.core.envfile import parse, render, revised
from testgrove.core.model import DatabaseAccess, WorktreeId
from testgrove.core.naming import DATABASE_VARIABLES, FIXED_VARIABLES, port_variable
from testgrove.core.worktrees.ownership import Manifest
from testgrove.core.worktrees.variables import configured, variables
from testgrove.system import git
from testgrove.system.files import atomic_write, entries, explained, read_env_file
from testgrove.system.store import Row

if TYPE_CHECKING:
    from testgrove.core.documents.commands import Metadata

METADATA = ".worktree-metadata.json"


def values_of(
    project: Project, worktree: WorktreeId, ports: Mapping[str, int], databases: Mapping[str, DatabaseAccess]
) -> dict[str, str]:
    """The variables of a worktree's env file."""
    return variables(worktree, ports=ports, databases=databases, settings=project.settings)


def write_files(project: Project, row: Row, databases: Mapping[str, DatabaseAccess]) -> list[str]:
    """Write both, as the row and the databases say, and keep in the row how the databases are reached.

    What the user has edited in the env file stays; the names of such values that would be others now are returned.
    """
    shown = {engine: {"name": access.name, "url": access.url(redacted=True)} for engine, access in databases.items()}
    records.update(project.store, row, databases=shown)
    worktree = WorktreeId(row["purpose"], row["identifier"])
    return _write(project, row, values_of(project, worktree, row["ports"], databases))


def rewrite_ports(project: Project, row: Row) -> list[str]:
    """Write both anew for the row's ports: how databases are reached stays, and so does what the user has edited.

    Returns what write_files() does. Raises PreconditionError (``no-env-file``) where the env file cannot be read.
    """
    known = variables_of(records.to_worktree(row))
    written = _written(row, known)
    return _write(project, row, _values_now(project, row, known if written is None else written))


def _values_now(project: Project, row: Row, known: Mapping[str, str]) -> dict[str, str]:
    """What the env file says of ours, when the databases are reached as the known variables say."""
    return variables(
        WorktreeId(row["purpose"], row["identifier"]),
        ports=row["ports"],
        databases={},
        settings=project.settings,
        reached={name: value for name, value in known.items() if name in DATABASE_VARIABLES},
    )


def _users_own(project: Project, known: Mapping[str, str]) -> dict[str, str]:
    ports = {port_variable(name) for name in project.settings.ports.names}
    ours = {*DATABASE_VARIABLES, *FIXED_VARIABLES, *ports, *configured(project.settings)}
    return {name: value for name, value in known.items() if name not in ours}


def refresh(project: Project, row: Row) -> bool:
    """Write both anew, where there is anything new; whether the env file could be: not one that its user has edited."""
    tree, manifest = Path(row["path"]), manifest_of(row)
    if manifest is not None and (manifest.holds(*entries(tree, [row["env_file"]])) or _adopt(project, row, manifest)):
        rewrite_ports(project, row)
        return True
    _write_metadata(row)
    return False


def _adopt(project: Project, row: Row, manifest: Manifest) -> bool:
    """Count the env file as ours if it says, to the letter, what we would write: a command was killed before it could
    remember that it had written it."""
    path = Path(row["path"]) / row["env_file"]
    if not path.is_file():
        return False
    known = variables_of(records.to_worktree(row))
    if _users_own(project, known) or path.read_bytes() != render(_values_now(project, row, known)).encode():
        return False
    _remember(project, row, manifest)
    return True


def _remember(project: Project, row: Row, manifest: Manifest) -> None:
    fresh = Manifest.of(entries(Path(row["path"]), [row["env_file"]])).entries
    records.update(project.store, row, manifest=Manifest({**manifest.entries, **fresh}).dump())


def _write(project: Project, row: Row, values: Mapping[str, str]) -> list[str]:
    tree, name = Path(row["path"]), row["env_file"]
    manifest = manifest_of(row)
    # One that its user has changed stays the user's, with the changes in it.
    was_ours = manifest is not None and manifest.holds(*entries(tree, [name]))
    text, kept = _merged(project, row, values)
    last, begun = _copies(row)
    _replace(begun, render(values).encode(), mode=0o600)  # ahead: a killed command's values are not the user's
    _replace(tree / name, text.encode(errors="surrogateescape"), mode=0o600)
    with explained("write", last):
        begun.replace(last)
    if manifest is not None and was_ours:
        _remember(project, row, manifest)
    _write_metadata(row)
    return kept


def _merged(project: Project, row: Row, values: Mapping[str, str]) -> tuple[str, list[str]]:
    """The env file's new text; and the names of values that stay as the user has edited them."""
    path = Path(row["path"]) / row["env_file"]
    if not path.exists():
        return render(values), []
    text = read_env_file(path)
    written = _written(row, parse(text))
    if written is None:
        return render({**values, **_users_own(project, parse(text))}), []
    return (render(values), []) if text == render(written) else revised(text, written, values)


def _written(row: Row, known: Mapping[str, str]) -> dict[str, str] | None:
    """The values in the env file that we wrote last; None for a worktree of a version that did not keep them.

    known: the file's values, which tell how far a killed command came.
    """
    last, begun = (_values_in(path) for path in _copies(row))
    if last is None and begun is None:
        return None
    return (last or {}) | {name: value for name, value in (begun or {}).items() if known.get(name) == value}


def _copies(row: Row) -> tuple[Path, Path]:
    """Where the values are kept as they were written last, and as a command is just writing them: this tells what the
    user has edited. They go with the worktree."""
    folder = git.git_dir_of(Path(row["path"]))
    return folder / "testgrove-env", folder / "testgrove-env.begun"


def _values_in(path: Path) -> dict[str, str] | None:
    return parse(read_env_file(path)) if path.exists() else None


def _write_metadata(row: Row) -> None:
    content = json.dumps(_metadata(row), indent=2) + "\n"
    _replace(Path(row["path"]) / METADATA, content.encode(), mode=0o644)


def _replace(path: Path, content: bytes, *, mode: int) -> None:
    """Write a file, unless it is what it should be: its times tell whether it was touched."""
    if not (path.is_file() and path.read_bytes() == content):
        atomic_write(path, content, mode=mode)


def _metadata(row: Row) -> Metadata:
    created = datetime.fromisoformat(row["created"]).strftime("%Y-%m-%dT%H:%M:%SZ")
    postgres = row["databases"].get("postgres")
    metadata: Metadata = {
        "schema": 1,
        "schema_version": 1,
        "id": row["id"],
        "purpose": row["purpose"],
        "identifier": row["identifier"],
        "branch": row["branch"],
        "commit": row["commit_id"],
        "created": created,
        "ports": row["ports"],
        "database": postgres["name"] if postgres else "",
        "databases": row["databases"],
        "env_file": row["env_file"],
        "python": row["python"],
    }
    if not row["ports"]:
        del metadata["ports"]
    if not postgres:
        del metadata["database"]
    if not row["databases"]:
        del metadata["databases"]
    return metadata
