"""A build backend whose wheel contains only another project's metadata, which it gets from that project's backend.

Runs in uv's build environment: stdlib only, Python 3.9 and later. `project.json` next to it names that project.
"""

# ruff: noqa: PTH100, PTH118, PTH120, PTH123
from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
import zipfile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _backend() -> Any:
    """The project's own backend, to be called in the project's folder."""
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "project.json"), encoding="utf-8") as file:
        project = json.load(file)
    os.chdir(project["folder"])
    sys.path[:0] = [os.path.join(project["folder"], path) for path in project["path"]]
    module, _, attributes = project["backend"].partition(":")
    found: Any = importlib.import_module(module)
    for name in filter(None, attributes.split(".")):
        found = getattr(found, name)
    return found


def _hook(name: str) -> Any:
    backend = _backend()
    return getattr(backend, f"{name}_editable", None) or getattr(backend, f"{name}_wheel", None)


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    """Return the requirements of the project's backend."""
    hook = _hook("get_requires_for_build")
    return list(hook(config_settings)) if hook else []


def build_wheel(wheel_directory: str, config_settings: Any = None, metadata_directory: Any = None) -> str:  # noqa: ARG001
    """Pack the metadata alone; nothing is compiled."""
    hook = _hook("prepare_metadata_for_build")
    if hook is None:
        raise SystemExit("this build backend has no prepare_metadata_for_build_editable")
    with tempfile.TemporaryDirectory() as folder:
        info = hook(folder, config_settings)
        wheel = f"{info[: -len('.dist-info')]}-py3-none-any.whl"
        with zipfile.ZipFile(os.path.join(wheel_directory, wheel), "w") as archive:
            archive.write(os.path.join(folder, info, "METADATA"), f"{info}/METADATA")
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", f"{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return wheel
