"""The JSON Schemas in the package: ``testgrove/schemas/<name>.schema.json``. `make schema` writes them."""

from __future__ import annotations

from typing import Any

import msgspec

from testgrove.core import documents, report_documents
from testgrove.core.scenario_file import ScenarioFile
from testgrove.core.settings import Settings

DIALECT = "https://json-schema.org/draft/2020-12/schema"
TYPES: dict[str, type] = {
    "settings": Settings,
    "scenarios": ScenarioFile,
    "report": report_documents.Report,
    "integration_report": report_documents.IntegrationReport,
    "list": documents.ListDocument,
    "show": documents.ShowDocument,
    "error": documents.ErrorDocument,
    "worktree-metadata": documents.Metadata,
    "worktrees_registry": documents.Registry,
}


def schema_files() -> dict[str, dict[str, Any]]:
    """Every JSON Schema that the package publishes, by its file's name."""
    return {f"{name}.schema.json": {"$schema": DIALECT, **msgspec.json.schema(kind)} for name, kind in TYPES.items()}
