"""Finds what attempts leave behind: fast checks as soon as one has ended, slow ones in the background.

In the slot: surviving processes and their ports (reported by the supervisor), the worktree's own ports, what pytest had
open at its exit, the folder for temporary files. In a thread: files in the checkout, databases, containers. A checkout
is not reused before its checks are complete.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from testgrove.app.runs.container_leaks import ContainerWatch, interval_of
from testgrove.app.worktrees.ownership import CheckoutContents
from testgrove.core.frozen import frozen
from testgrove.core.runs.events import AnyEvent, LeakFound
from testgrove.core.runs.leaks import LeakChecks, TrackedResource, leaks
from testgrove.core.worktrees.ownership import Manifest
from testgrove.errors import TestgroveError
from testgrove.system.files import temporary_entries
from testgrove.system.listeners import listeners, listening_among
from testgrove.system.processes.marks import Mark, marks_of
from testgrove.system.processes.process import scrubbed
from testgrove.system.processes.supervision import JobResult

Look = Callable[[], Iterable[TrackedResource]]


@frozen
class AttemptContext:
    """The surroundings of an attempt.

    ports: the worktree's own. temporary: its TMPDIR. checkout: lists unexpected files, compared to the state before;
    None if this is not checked. manifest: the state before the first attempt, if known. databases: lists those that its
    tests created. environ: its environment, which selects the engine of its containers. mark: of its processes."""

    cell: str
    attempt: int
    tree: Path
    temporary: Path
    ports: Sequence[int] = ()
    checkout: Callable[[Manifest], tuple[list[TrackedResource], CheckoutContents]] | None = None
    manifest: Manifest | None = None
    databases: Look | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    mark: Mark | None = None


@dataclass
class WatchedAttempt:
    """A running attempt. ports: those of its ports that had a listener before."""

    context: AttemptContext
    ports: set[int]


class LeakWatch:
    """Watches the attempts of one run, from all slots. emit: called for each leak. checks: how much is checked."""

    def __init__(self, emit: Callable[[AnyEvent], None], checks: LeakChecks = "all") -> None:
        self._emit, self._checks = emit, checks
        self._guard = threading.Lock()
        self._active: dict[tuple[str, int], WatchedAttempt] = {}
        self._manifests: dict[Path, Manifest] = {}
        self._seen: dict[Path, CheckoutContents] = {}  # after the last attempt in each checkout
        self._known: dict[Path, tuple[TrackedResource, ...]] = {}  # databases, by worktree
        self._looking = threading.Lock()
        self._slow = ThreadPoolExecutor(1, thread_name_prefix="leaks")
        self._pending: dict[Path, Future[None]] = {}
        self._containers = ContainerWatch()
        if checks == "all":
            self._slow.submit(self._containers.engine_of, scrubbed())  # of most attempts, so that none waits for it

    @contextmanager
    def watching(self, context: AttemptContext) -> Iterator[WatchedAttempt]:
        """An attempt goes on in the block. It starts once the last look at its checkout is over."""
        self.settle(context.tree)
        self._seen.pop(context.tree, None)
        interval = interval_of(context.cell, context.attempt, (context.tree, context.temporary))
        if self._checks == "all":
            self._look_first(context)
            self._containers.enter(interval, context.environ)
        ports = listening_among(context.ports) if self._checks != "off" else set()
        watched = WatchedAttempt(context, ports)
        key = (context.cell, context.attempt)
        with self._guard:
            self._active[key] = watched
        try:
            yield watched
        finally:
            interval.ended = time.time()
            with self._guard:
                del self._active[key]

    def report(self, watched: WatchedAttempt, result: JobResult, at_exit: Sequence[TrackedResource]) -> list[str]:
        """Report what an attempt left behind after its end. at_exit: what its processes had open.

        Returns notes about listeners on its ports that it did not start.
        """
        context = watched.context
        if self._checks == "off":
            return []
        ports, taken = self._new_ports(watched)
        self._tell(context, leaks((), [*_of_processes(result), *ports, *at_exit, *_temporary(context)]))
        if self._checks == "all":
            self._pending[context.tree] = self._slow.submit(self._look_slowly, watched)
        return taken

    def settle(self, tree: Path) -> CheckoutContents | None:
        """Return when a checkout has been looked at, so that it may be changed; what was there after the last attempt,
        if that is known."""
        if pending := self._pending.get(tree):  # it stays there: several cells may share the checkout
            pending.result()
        return self._seen.get(tree)

    def close(self) -> None:
        """Return when all checks are complete."""
        if self._checks == "all":
            self._slow.submit(self._look_at_containers)
        self._slow.shutdown(wait=True)
        for pending in self._pending.values():
            pending.result()

    def _tell(self, context: AttemptContext, found: Iterable[TrackedResource]) -> None:
        for resource in found:
            self._say(context.cell, context.attempt, resource)

    def _say(self, cell: str, attempt: int, resource: TrackedResource) -> None:
        self._emit(
            LeakFound(
                t=time.time(),
                cell=cell,
                attempt=attempt,
                kind=resource.kind,
                name=resource.name,
                detail=resource.detail,
            )
        )

    def _new_ports(self, watched: WatchedAttempt) -> tuple[list[TrackedResource], list[str]]:
        """The worktree's ports on which the attempt's processes listen now, and notes on those that others have."""
        ours, taken = [], []
        for port in sorted(listening_among(watched.context.ports) - watched.ports):
            found = listeners(port)
            who = ", ".join(map(str, found))
            if any(each.pid is not None and watched.context.mark in marks_of(each.pid) for each in found):
                ours.append(TrackedResource("port", str(port), who))
            elif found:
                taken.append(f"port {port} is in use by {who}, which was not started by a test")
        return ours, taken

    def _look_slowly(self, watched: WatchedAttempt) -> None:
        context = watched.context
        for look in (self._look_at_checkout, self._look_at_databases):
            try:
                self._tell(context, look(watched))
            except (TestgroveError, OSError):
                continue  # what cannot be checked is not reported as a leak
        self._look_at_containers()

    def _look_first(self, context: AttemptContext) -> None:
        """Record what is in a checkout before its first attempt."""
        with self._looking:
            if context.checkout is not None and context.tree not in self._manifests:
                self._manifests[context.tree] = context.manifest or context.checkout(Manifest())[1].manifest(
                    context.tree
                )

    def _look_at_checkout(self, watched: WatchedAttempt) -> Iterable[TrackedResource]:
        context = watched.context
        if context.checkout is None:
            return ()
        found, now = context.checkout(self._manifests[context.tree])
        self._manifests[context.tree], self._seen[context.tree] = now.manifest(context.tree), now
        with self._guard:
            also = {other.context.cell for other in self._active.values() if other.context.tree == context.tree}
        detail = sorted(also - {context.cell})
        return [resource._replace(detail=_or_of(resource.detail, detail)) for resource in leaks((), found)]

    def _look_at_databases(self, watched: WatchedAttempt) -> Iterable[TrackedResource]:
        context = watched.context
        if context.databases is None:
            return ()
        now = tuple(context.databases())
        before, self._known[context.tree] = self._known.get(context.tree, ()), now
        return leaks(before, now)

    def _look_at_containers(self) -> None:
        for who, name, detail in self._containers.look():
            self._say(who.cell, who.attempt, TrackedResource("container", name, detail))


def _of_processes(result: JobResult) -> Iterator[TrackedResource]:
    """Return the processes that outlived the command's own end; those that were ended with it have left nothing."""
    for survivor in result.survivors:
        yield TrackedResource("process", survivor)
    for port, who in result.ports:
        yield TrackedResource("port", str(port), f"pid {who}")


def _temporary(context: AttemptContext) -> Iterator[TrackedResource]:
    for name in temporary_entries(context.temporary):
        yield TrackedResource("temporary", name)


def _or_of(detail: str, others: Sequence[str]) -> str:
    return "; ".join(
        filter(None, [detail, f"or left by {', '.join(others)} running at the same time" if others else ""])
    )
