"""Runs a tool and watches its connections: a connection to a foreign database server stops it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from testgrove.app.connections.watch import AttemptConnections, ConnectionWatch
from testgrove.core.connections.permitted import PermittedConnections, how_to_permit
from testgrove.errors import PreconditionError, UnavailableError
from testgrove.system.processes.supervision import Supervisor


class ConnectedTool:
    """One run of a tool. It is also the flag that ends it. cancel: set when the command is interrupted."""

    def __init__(
        self, permitted: PermittedConnections, env: Mapping[str, str], tree: Path, cancel: threading.Event
    ) -> None:
        self._cancel, self._roots = cancel, list[int]()
        self._connections = AttemptConnections(permitted, (), env, tree, roots=lambda: self._roots)

    def is_set(self) -> bool:
        """Return whether to stop the tool: it was interrupted, or has connected to a foreign server."""
        return self._cancel.is_set() or bool(self._connections.foreign)

    def watching(self, supervisor: Supervisor) -> AbstractContextManager[object]:
        """The tool works below a supervisor in the block."""
        self._roots.append(supervisor.pid)
        return ConnectionWatch().watching(self._connections)

    @contextmanager
    def judged(self, argv: Sequence[str]) -> Iterator[None]:
        """The tool runs in the block. Raises PreconditionError (``other-database``)."""
        try:
            yield
        except UnavailableError as error:
            self._require_none(argv, error)
            raise
        self._require_none(argv, None)

    def _require_none(self, argv: Sequence[str], cause: Exception | None) -> None:
        if not self._connections.foreign:
            return
        foreign = self._connections.foreign[0]
        raise PreconditionError(
            "other-database",
            f"`{argv[-1]}` was stopped: {foreign.what} {foreign.address}, which is not its database",
            hint=how_to_permit(foreign.address),
            address=str(foreign.address),
        ) from cause
