"""The JSON Schemas in the package: ``testgrove/schemas/<name>.schema.json``. `make schema` writes them."""

from __future__ import annotations

from typing import Any

import msgspec

from testgrove.core.documents import commands, reports
from testgrove.core.scenarios.file import ScenarioFile
from testgrove.core.settings.types import Settings

DIALECT = "https://json-schema.org/draft/2020-12/schema"
TYPES: dict[str, type] = {
    "settings": Settings,
    "scenarios": ScenarioFile,
    "report": reports.Report,
    "integration_report": reports.IntegrationReport,
    "list": commands.ListDocument,
    "show": commands.ShowDocument,
    "error": commands.ErrorDocument,
    "worktree-metadata": commands.Metadata,
    "worktrees_registry": commands.Registry,
}


def schema_files() -> dict[str, dict[str, Any]]:
    """Every JSON Schema that the package publishes, by its file's name."""
    return {f"{name}.schema.json": {"$schema": DIALECT, **msgspec.json.schema(kind)} for name, kind in TYPES.items()}
