"""The JSON documents about worktrees, as types.

Their JSON Schemas are in the package: schema_files.py names them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from msgspec import Meta

from testgrove.core.model import WorktreeStatus

_SECOND = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"
Version = Annotated[Literal[1], Meta(description="Within a version, keys are only added.")]
Legacy = Annotated[Literal[1], Meta(description="The former name of `schema_version`.")]
UtcTime = Annotated[str, Meta(description="ISO 8601, in UTC", pattern=rf"{_SECOND}(\.\d+)?(Z|\+00:00)$")]
LocalTime = Annotated[str, Meta(description="ISO 8601, in local time without a zone", pattern=f"{_SECOND}$")]
Ports = dict[str, int]


class Database(TypedDict):
    """How a worktree's database is reached, without a password. `engine` is missing in worktrees of older versions."""

    engine: NotRequired[str]
    name: str
    url: str


class WorktreeDocument(TypedDict):
    """A worktree. `branch` is empty where HEAD is detached."""

    id: str
    purpose: str
    identifier: str
    status: WorktreeStatus
    path: str
    branch: str
    commit: str
    created: UtcTime
    ports: Ports
    databases: dict[str, Database]
    python: str
    env_file: str
    note: str


class ListDocument(TypedDict):
    """What `list --json` prints."""

    schema_version: Version
    worktrees: list[WorktreeDocument]


class ShowDocument(TypedDict):
    """What `show --json` and `create --json` print."""

    schema_version: Version
    worktree: WorktreeDocument


class ErrorFields(TypedDict):
    """What failed. `details` depends on `code`."""

    code: str
    message: str
    hint: str
    notes: list[str]
    details: dict[str, Any]
    exit_status: int


class ErrorDocument(TypedDict):
    """What every command with --json prints when it fails."""

    schema_version: Version
    error: ErrorFields


class Metadata(TypedDict):
    """`.worktree-metadata.json`. Without ports, databases or a sub-project those keys are left out.

    directory: where its commands run, relative to its top.
    """

    schema: Legacy
    schema_version: Version
    id: str
    purpose: str
    identifier: str
    branch: str
    commit: str
    created: UtcTime
    ports: NotRequired[Ports]
    database: NotRequired[str]
    databases: NotRequired[dict[str, Database]]
    env_file: str
    python: str
    directory: NotRequired[str]


class RegistryEntry(TypedDict):
    """A worktree in the registry. Without ports or a PostgreSQL database those keys are left out."""

    purpose: str
    identifier: str
    branch: str
    path: str
    created: LocalTime
    created_utc: UtcTime
    status: WorktreeStatus
    ports: NotRequired[Ports]
    database: NotRequired[str]


class Registry(TypedDict):
    """`worktrees_registry.json`."""

    schema: Legacy
    schema_version: Version
    worktrees: dict[str, RegistryEntry]
    allocated_ports: list[int]
