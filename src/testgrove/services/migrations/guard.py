"""Keeps migrations off foreign databases: checks the project's files before a command, and the result after it."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from testgrove.core.connections import named_databases as named
from testgrove.core.connections.permitted import PermittedConnections, how_to_permit, permitted_for, variable_leads
from testgrove.core.engines.registry import engine_of
from testgrove.errors import PreconditionError
from testgrove.services.migrations.inputs import files_below
from testgrove.services.migrations.schemas import schemas_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from testgrove.core.connections.named_databases import NamedDatabase
    from testgrove.core.model import DatabaseAccess
    from testgrove.core.settings.types import Settings

OTHER = "other-database"
_DJANGO = re.compile(r"manage\.py|django")
_NOT_ALEMBIC = re.compile(r"manage\.py|django|\b(?:psql|sqlite3|dbmate|flyway|goose|atlas)\b")
_NOT_DJANGO = re.compile(r"alembic|flask|\b(?:psql|sqlite3|dbmate|flyway|goose|atlas)\b")
_LOADING = re.compile(
    r"[^/]+\.py|(?:.*/)?(?:__init__|__main__|env|settings[^/]*|conf[^/]*|db[^/]*|database[^/]*)\.py|.*/settings/.*\.py"
)
_ENV_FILES = (".env", ".env.local", ".flaskenv")
_DEPTH = 5  # of settings that import settings


def refuse_other_databases(
    command: str,
    *,
    tree: Path,
    env: Mapping[str, str],
    permitted: PermittedConnections,
) -> None:
    """Check that no file that a migration command reads names another server than the migration's own.

    Checks ``alembic.ini`` (unless env.py gets the URL from elsewhere), Django's settings and ``.env`` files.
    Raises PreconditionError (``other-database``).
    """
    for found in _Files(command, tree, env).named():
        foreign = next((address for address in found.leads_to if not permitted.permits(address)), None)
        if foreign is not None:
            raise PreconditionError(
                OTHER,
                f"{found.file}:{found.line}: {found.key} names {foreign}, which is not the migration's own"
                f" database; refusing to run `{shortened(command)}`",
                hint=f"make it read $DATABASE_URL; or, {how_to_permit(foreign)}",
                file=found.file,
                line=found.line,
                key=found.key,
                address=str(foreign),
            )


def permitted_for_migration(
    databases: Mapping[str, DatabaseAccess], settings: Settings, tree: Path, env: Mapping[str, str]
) -> PermittedConnections:
    """Return the servers that a migration may use: its databases and those of the settings. env: its variables."""
    permitted = permitted_for(databases, (tree, tree.resolve()), settings.allow_connections, env)
    configured = [address for name in settings.env for address in variable_leads(name, env)]
    return replace(permitted, external=(*permitted.external, *configured))


def require_objects(command: str, access: DatabaseAccess, *, refused: str = "") -> None:
    """Check that a migration created something in its database. Raises PreconditionError (``other-database``).

    refused: what is not done because of it.
    """
    if not schemas_of(access).is_untouched(access):
        return
    variable = engine_of(access.engine).read_from
    raise PreconditionError(
        OTHER,
        f"`{shortened(command)}` left its database empty; it seems to use another one, or does not commit"
        + (f"; refusing to {refused}" if refused else ""),
        hint=f"make the migration tool's configuration read {variable} from the environment",
    )


class _Files:
    """The files of a checkout that decide where a command connects to."""

    def __init__(self, command: str, tree: Path, env: Mapping[str, str]) -> None:
        self._command, self._tree, self._env = command, tree, env
        below = [tree / folder.strip("\"'") for folder in re.findall(r"\bcd\s+([^\s;&|]+)", command)]
        self._folders = list(dict.fromkeys([tree, *filter(Path.is_dir, below)]))
        self._env_files = self._find_env_files()
        texts = [named.read_env(self._text(path)) for path in reversed(self._env_files)]
        from_files = {key: value for variables in texts for key, (value, _) in variables.items()}
        self._known = {**from_files, **env}  # as settings see it that load the files

    def named(self) -> Iterator[NamedDatabase]:
        """Return the databases that they name."""
        yield from chain(
            self._alembic() if not _NOT_ALEMBIC.search(self._command) else (),
            self._django() if not _NOT_DJANGO.search(self._command) else (),
        )
        wins = bool(self._env_files) and any(map(named.lets_env_file_win, self._code()))
        for path in self._env_files:
            yield from named.in_env_file(self._name(path), self._text(path), self._env, comes_first=wins)

    def _find_env_files(self) -> list[Path]:
        """Yield the env files of the folders; without a ``.env`` there, the one that python-dotenv finds above."""
        found = [folder / name for folder in self._folders for name in _ENV_FILES if (folder / name).is_file()]
        if not any(path.name == ".env" for path in found):
            above = (folder / ".env" for folder in self._tree.parents)
            found += [path for path in above if path.is_file() and any("dotenv" in text for text in self._code())][:1]
        return found

    def _code(self) -> Iterator[str]:
        """Code that may load a ``.env`` file."""
        return (self._text(self._tree / name) for name in files_below(self._tree) if _LOADING.fullmatch(name))

    def _alembic(self) -> Iterator[NamedDatabase]:
        chosen = re.findall(r"(?:\s-c|\s--config|\bALEMBIC_CONFIG)[= ]\s*([^\s;&|]+)", self._command)
        names = [name.strip("\"'") for name in (*chosen, self._env.get("ALEMBIC_CONFIG", "")) if name]
        for current, name in [(folder, name) for folder in self._folders for name in (*names, "alembic.ini")]:
            path = current / name
            text = self._text(path)
            if text and not named.overrides_url(self._env_py(current, path.parent, text)):
                yield from named.in_alembic_ini(self._name(path), text, str(path.parent), self._env)

    def _env_py(self, current: Path, here: Path, ini: str) -> str:
        """The text of Alembic's env.py. Its folder is relative to the current one, a package's to one of sys.path."""
        location = named.script_location(ini, str(here))
        folders = (current, here, *self._folders, *(folder / "src" for folder in self._folders))
        return next(filter(None, (self._text(folder / location / "env.py") for folder in folders)), "")

    def _django(self) -> Iterator[NamedDatabase]:
        for folder in self._folders:
            manage = self._text(folder / "manage.py")
            module = named.settings_module(self._command, manage, self._env)
            if module and (manage or _DJANGO.search(self._command)):
                alias = re.search(r"--database[= ](\w+)", self._command)
                yield from self._settings(folder, module, alias[1] if alias else "default", _DEPTH)

    def _settings(self, folder: Path, module: str, alias: str, depth: int) -> Sequence[NamedDatabase]:
        for top in (folder, folder / "src"):
            place = top.joinpath(*module.split("."))
            path = next((one for one in (place.with_suffix(".py"), place / "__init__.py") if one.is_file()), None)
            if path is None:
                continue
            found = named.in_django_settings(self._name(path), self._text(path), alias, self._known)
            if found is not None or depth == 0:
                return found or ()
            package = module if path.name == "__init__.py" else module.rpartition(".")[0]
            for imported in reversed(named.star_imports(self._text(path))):
                if further := self._settings(top, _absolute(imported, package), alias, depth - 1):
                    return further
        return ()

    def _text(self, path: Path) -> str:
        try:
            return path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self._tree) if path.is_relative_to(self._tree) else path)


def _absolute(imported: str, package: str) -> str:
    """A module as it is imported from a package: ``.base``, ``..base``, ``project.base``."""
    name = imported.lstrip(".")
    level = len(imported) - len(name)
    if not level:
        return name
    parents = package.split(".")
    return ".".join(filter(None, [*parents[: len(parents) - level + 1], name]))


def shortened(command: str) -> str:
    """Return a command's first line, for a message."""
    first, *more = command.strip().splitlines()
    return first + (" …" if more else "")
