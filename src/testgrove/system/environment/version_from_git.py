"""The metadata of local distributions whose version comes from git, brought up to date without building them."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import zipfile
from dataclasses import replace
from email.parser import BytesHeaderParser
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from testgrove.core.environments.dynamic_version import build_system
from testgrove.system.environment.record import FOLDER, local_distributions, seal
from testgrove.system.files import atomic_write, explained
from testgrove.system.git.version import make_version_repository

if TYPE_CHECKING:
    from testgrove.core.environments.plan import EnvironmentPlan
    from testgrove.system.environment.record import EnvironmentRecord
    from testgrove.system.environment.uv import Uv
    from testgrove.system.git.version import VersionSource

_SMALL = 1 << 20


def renew_versions(
    tool: Uv,
    tree: Path,
    plan: EnvironmentPlan,
    record: EnvironmentRecord,
    *,
    source: VersionSource,
    common_dir: Path,
    temporary: Path,
) -> EnvironmentRecord:
    """Give the tree's own distributions the metadata of the source's commit; return the record afterwards.

    Their build backend computes the metadata, in a copy of the project's folder with that commit checked out. Raises
    the errors of Uv if this fails.
    """
    with explained("renew the version in", tree):
        for number, folder in enumerate(plan.versioned):
            scratch = temporary / f"version-{number}"
            copy = scratch / "tree"
            make_version_repository(copy, tree, common_dir, source)
            _mirror(tree, copy, PurePosixPath(folder).parts)
            metadata = _ask(tool, scratch, copy / folder, tree / FOLDER / "bin/python")
            for made in list(local_distributions(tree)):
                if made.folder == os.path.realpath(tree / folder):
                    _replace_metadata(made.info, metadata)
        return replace(record, seal=seal(tree), version_source=source.mark)


def _mirror(source: Path, target: Path, below: tuple[str, ...]) -> None:
    """Show a folder at another scratch: its files are copied, its sub-folders are links, but for those below."""
    target.mkdir(exist_ok=True)
    for entry in os.scandir(source):
        scratch = target / entry.name
        if entry.name in (".git", FOLDER):
            continue
        if below and entry.name == below[0]:
            _mirror(Path(entry.path), scratch, below[1:])
        elif entry.is_file() and entry.stat().st_size < _SMALL:
            shutil.copy2(entry.path, scratch)
        else:
            scratch.symlink_to(entry.path)


def _ask(tool: Uv, scratch: Path, project: Path, python: Path) -> bytes:
    """The METADATA of a project, from its own build backend."""
    pyproject = project / "pyproject.toml"
    system = build_system(pyproject.read_bytes() if pyproject.is_file() else b"")
    asking = scratch / "asking"
    asking.mkdir()
    shutil.copy(Path(__file__).with_name("version_backend.py"), asking)
    (asking / "project.json").write_text(json.dumps({**system, "folder": str(project)}))
    requires = json.dumps(system["requires"])  # a TOML array of strings, too
    ours = f'[build-system]\nrequires = {requires}\nbuild-backend = "version_backend"\nbackend-path = ["."]\n'
    (asking / "pyproject.toml").write_text(ours)
    tool("build", "--wheel", "--out-dir", str(scratch / "answer"), str(asking), "--python", str(python))
    (wheel,) = (scratch / "answer").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith("/METADATA")))


def _replace_metadata(info: Path, metadata: bytes) -> None:
    """Exchange a distribution's METADATA, and its version in the folder's name. Files are replaced, never written
    into: uv links them to its cache."""
    if (info / "METADATA").read_bytes() == metadata:
        return
    version = str(BytesHeaderParser().parsebytes(metadata)["Version"])
    name = f"{info.name.split('-')[0]}-{version.replace('-', '_')}.dist-info"
    digest = base64.urlsafe_b64encode(hashlib.sha256(metadata).digest()).rstrip(b"=").decode()
    lines = []
    for line in (info / "RECORD").read_text(encoding="utf-8").splitlines():
        path = line.removeprefix(f"{info.name}/")
        if path.startswith("METADATA,"):
            path = f"METADATA,sha256={digest},{len(metadata)}"
        lines.append(line if line == path else f"{name}/{path}")
    atomic_write(info / "METADATA", metadata)
    atomic_write(info / "RECORD", ("\n".join(lines) + "\n").encode())
    info.rename(info.with_name(name))
