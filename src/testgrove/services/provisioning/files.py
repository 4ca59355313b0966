"""Databases that are files: a migrated one for each template, and a copy of it for each worktree and each test."""

from __future__ import annotations

import secrets
import shutil
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from testgrove.services.allocation import BaseAllocation
from testgrove.services.provider import Allocator, Provider, ProvisionedDatabase
from testgrove.system.files import explained

if TYPE_CHECKING:
    from testgrove.core.model import DatabaseAccess
    from testgrove.core.settings.types import Service
    from testgrove.services.engines.protocols import FileEngine
    from testgrove.services.provider import Context, DatabaseRequest, TemplateSpec, Traits

    Copy = Callable[[Path], DatabaseAccess]


class FileProvider(Provider):
    """The provider of an engine whose databases are files. name: the service's."""

    def __init__(self, engine: FileEngine, context: Context, name: str, service: Service) -> None:
        self._engine, self._context, self._name, self._service = engine, context, name, service
        self._templates = engine.templates(context.cache, context.locks, fresh=context.fresh)

    def traits(self) -> Traits:
        """Implement Provider."""
        return self._engine.traits()

    def make(self, request: DatabaseRequest) -> ProvisionedDatabase:
        """Implement Provider."""
        if request.template_spec is None:
            # Unlike a copy, it is not deleted with a folder.
            return ProvisionedDatabase(self._engine.create(request.file), partial(self._engine.remove, request.file))
        copy = partial(
            self._templates.copy_to, fingerprint=request.template_spec.fingerprint, build=request.template_spec.build
        )
        return ProvisionedDatabase(copy(request.file, on_wait=request.say))

    def allocator(self, template_spec: Callable[[], TemplateSpec], owner: str) -> Allocator:  # noqa: ARG002 - files have no marks
        """Implement Provider. The migration's inputs are read once."""
        guard, found = threading.Lock(), list[Any]()

        def copy(path: Path) -> DatabaseAccess:
            with guard:
                if not found:
                    found.append(template_spec())
            return self._templates.copy_to(path, found[0].fingerprint, found[0].build)

        folder = self._context.folder / f"{self._name}-{token_hex(3)}"
        opened = partial(FileAllocation, copy, folder, Path(self._service.path).name)
        return Allocator(opened, partial(shutil.rmtree, folder, ignore_errors=True))


class FileAllocation(BaseAllocation[Path]):
    """One client's files (services.allocation). copy: copies the migrated file to a path."""

    def __init__(self, copy: Copy, folder: Path, name: str) -> None:
        super().__init__()
        self._copy, self._folder, self._name = copy, folder, name

    def make(self) -> tuple[DatabaseAccess, Path]:
        """Return a migrated file in a new folder. Raises TestgroveError."""
        folder = self._folder / secrets.token_hex(4)
        try:
            with explained("create the folder", folder):
                folder.mkdir(parents=True, mode=0o700)
            return self._copy(folder / self._name), folder
        except BaseException:
            self.discard(folder)
            raise

    def discard(self, thing: Path) -> None:
        """Remove the folder."""
        shutil.rmtree(thing, ignore_errors=True)
