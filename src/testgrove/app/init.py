"""`testgrove init`: settings that fit a project, and the documented scripts. What is there is never overwritten."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from testgrove.app.project import Project
from testgrove.core.discovery.project import find, is_read
from testgrove.core.discovery.table import table as table_of
from testgrove.core.discovery.table import with_root
from testgrove.core.frozen import frozen
from testgrove.core.settings.parse import parse
from testgrove.errors import PreconditionError, UsageError
from testgrove.system import git
from testgrove.system.files import atomic_write, explained, make_folder

ROOT = "worktrees"
_LARGEST = 1_000_000  # bytes of a file that is read
_MOST = 50_000_000  # characters of all of them
_PREFIX = "tool.testgrove"


@frozen
class InitResult:
    """settings: the file and the text that was added to it, empty where nothing was. scripts: their paths."""

    settings: Path
    text: str
    scripts: tuple[Path, ...] = ()


def init(project: Project, *, scripts: bool) -> InitResult:
    """Write the settings of the sub-project that the user stands in, or of the checkout.

    With scripts, those of the checkout, the scripts, and ``root = "worktrees"``.

    Raises PreconditionError (``exists``) before anything is written, if this would overwrite something.
    """
    top = project.repository.toplevel
    if not scripts:
        top /= project.directory
    file, whole, added = _with_root(top) if scripts and _settings_file(top) else _anew(top, ROOT if scripts else "")
    if added and file.is_symlink():
        raise PreconditionError("exists", f"{file} is a link; refusing to replace it", hint="edit it by hand")
    chosen = _scripts_to_write(top) if scripts else {}
    for path, content in chosen.items():
        make_folder(path.parent)
        atomic_write(path, content, mode=0o755 if path.suffix == ".sh" else 0o644)
    if added:
        atomic_write(file, whole, mode=file.stat().st_mode & 0o777 if file.exists() else 0o644)
    return InitResult(file, added, tuple(chosen))


def _settings_file(top: Path) -> Path | None:
    """The file that has this checkout's settings; None where there are none."""
    if (top / "testgrove.toml").exists():
        return top / "testgrove.toml"
    pyproject = top / "pyproject.toml"
    try:
        has_table = "testgrove" in tomllib.loads(_settings_text(pyproject)).get("tool", {})
    except tomllib.TOMLDecodeError as error:
        raise PreconditionError(
            "not-toml", f"{pyproject} is not valid TOML: {error}", hint="fix the file, then retry"
        ) from error
    return pyproject if has_table else None


def _anew(top: Path, root: str) -> tuple[Path, str, str]:
    """The file, its new text as a whole, and what is new in it."""
    if there := _settings_file(top):
        table = " already has a [tool.testgrove] table" if there.name == "pyproject.toml" else ""
        raise PreconditionError(
            "exists",
            f"{there}{table or ' already exists'}; refusing to overwrite it",
            hint="`testgrove init --scripts` adds `root` and the documented scripts" if not root else "edit it by hand",
        )
    pyproject = top / "pyproject.toml"
    file = pyproject if pyproject.exists() else top / "testgrove.toml"
    files = git.listed_files(top)
    prefix = _PREFIX if file == pyproject else ""
    added = table_of(find(files, _texts(top, files)), prefix=prefix, root=root)
    before = _settings_text(file)
    whole = f"{before.rstrip()}\n\n{added}" if before.strip() else added
    parse(whole, file, table=bool(prefix))
    return file, whole, added


def _with_root(top: Path) -> tuple[Path, str, str]:
    file = _settings_file(top)
    assert file is not None
    before, prefix = _settings_text(file), _PREFIX if file.name == "pyproject.toml" else ""
    set_already = parse(before, file, table=bool(prefix)).root
    if set_already == ROOT:
        return file, before, ""
    line = f'root = "{ROOT}"'
    if set_already:
        raise PreconditionError(
            "exists",
            f'{file} sets root = "{set_already}", but the documented scripts require {ROOT}/',
            hint=f"set it by hand: {line}",
        )
    whole = with_root(before, ROOT, prefix=prefix)
    try:
        fits = parse(whole, file, table=bool(prefix)).root == ROOT
    except UsageError:
        fits = False
    if not fits:
        raise PreconditionError("exists", f"cannot add `root` to {file}", hint=f"set it by hand: {line}")
    return file, whole, f"{line}\n"


def _scripts_to_write(top: Path) -> dict[Path, bytes]:
    """Return the files that do not exist yet, with their content."""
    folder = resources.files("testgrove") / "documented"
    locations = {top / "scripts": folder, top / "tests" / "integration": folder / "integration"}
    ours = {
        location / each.name: each.read_bytes()
        for location, from_ in locations.items()
        for each in from_.iterdir()
        if each.is_file()
    }
    missing = {path: content for path, content in sorted(ours.items()) if not path.exists()}
    others = [path for path, content in ours.items() if path not in missing and path.read_bytes() != content]
    if others:
        names = ", ".join(sorted(str(path.relative_to(top)) for path in others))
        raise PreconditionError(
            "exists", f"refusing to overwrite existing files: {names}", hint="move them away, then retry"
        )
    return missing


def _settings_text(path: Path) -> str:
    """The whole text of a file that is to be added to, with its line ends; empty where there is none."""
    with explained("read", path):
        content = path.read_bytes() if path.is_file() else b""
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        message = f"{path} is not valid UTF-8 at byte {error.start}"
        raise PreconditionError("not-toml", message, hint="fix the file, then retry") from error


def _texts(top: Path, files: Iterable[str]) -> dict[str, str]:
    """The texts of the files that tell about the project; of too many, those nearest to the top."""
    texts, size = {}, 0
    for name in sorted(filter(is_read, files), key=lambda name: name.count("/")):
        texts[name] = _read(top / name)
        size += len(texts[name])
        if size > _MOST:
            break
    return texts


def _read(path: Path) -> str:
    """The text of a file; empty where there is none, or it is too large to be a configuration."""
    with explained("read", path):
        if not path.is_file() or path.stat().st_size > _LARGEST:
            return ""
        return path.read_text(encoding="utf-8", errors="replace")
