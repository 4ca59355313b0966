"""Write the JSON Schemas that the package publishes."""

from __future__ import annotations

import json
from pathlib import Path

from testgrove.core.documents.schema_files import schema_files

FOLDER = Path(__file__).resolve().parent.parent / "src/testgrove/schemas"

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, schema in schema_files().items():
        (FOLDER / name).write_text(json.dumps(schema, indent=2) + "\n")
