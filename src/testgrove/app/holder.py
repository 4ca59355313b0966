"""A command's hold on what it makes: a lock that dies with it, the supervisors it started, the trash it empties."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from testgrove.app.isolation import isolated, told
from testgrove.core.model import Lease, LeaseKind
from testgrove.errors import TestgroveError
from testgrove.system.deletion import delete_trash
from testgrove.system.locations import Locations
from testgrove.system.locks import LockFile
from testgrove.system.processes.marks import Mark, end_marked
from testgrove.system.processes.supervision import become_subreaper
from testgrove.system.processes.supervisor_pool import SupervisorPool
from testgrove.system.store import Store, StoredLeases
from testgrove.system.store.commands import CommandRecord


class Holder:
    """The resources that a running command holds. Made by holding() only."""

    def __init__(self, store: Store, locks: LockFile, mark: Mark) -> None:
        self.store = store
        self.locks = locks
        self.mark = mark
        self.leases: StoredLeases = store.leases(f"command:{mark}")
        self.supervisors = SupervisorPool(on_start=self._record_processes)
        self._bin = ThreadPoolExecutor(1, thread_name_prefix="trash")
        self._deletions: list[Future[None]] = []
        self._forgiven: list[Future[None]] = []
        self.unfinished: list[tuple[str, TestgroveError]] = []  # commands that died, and what keeps them unrecovered

    @property
    def key(self) -> str:
        """The name under which rows refer to this holder."""
        return str(self.mark)

    def _record_processes(self, mark: Mark) -> None:
        self.leases.record(Lease(LeaseKind.PROCESSES, str(mark)))

    def delete_later(self, leases: StoredLeases, lease: Lease) -> None:
        """Delete a trash directory while the command goes on; close() waits for it."""

        def delete() -> None:
            delete_trash(Path(lease.key))
            leases.forget(lease)

        self._deletions.append(self._bin.submit(delete))

    def note_unfinished(self, command: str, error: TestgroveError) -> None:
        """Remember what could not be finished of a command that died; the next command tries again."""
        self.unfinished.append((command, error))

    def forgive_deletions(self) -> None:
        """Let the deletions so far fail without a word: they are a dead command's. Their leases stay."""
        self._forgiven += self._deletions
        self._deletions = []

    def failed_deletions(self) -> list[TestgroveError]:
        """Wait for the deletions so far; return the errors of those that failed. close() does not raise them again.

        Their leases stay, and the next command tries again.
        """
        failed: list[TestgroveError] = []
        deletions, self._deletions = self._deletions, []
        for deletion in deletions:
            with isolated("empty the trash", failed.append):
                deletion.result()
        return failed

    def close(self) -> None:
        """End every process of this command, empty the trash, and let go.

        Raises what a deletion raised; its lease stays, and the next command tries again.
        """
        ended = self.supervisors.close()
        for lease in self.leases.all():
            if lease.kind == LeaseKind.PROCESSES:
                if (mark := Mark.parse(lease.key)) not in ended:
                    end_marked(mark, exclude=(os.getpid(),))
                self.leases.forget(lease)
        self._bin.shutdown(wait=True)
        if failed := self.failed_deletions():
            raise failed[0]


def has_let_go(store: Store, mark: str) -> bool:
    """Return whether nothing in the store refers to a command."""
    return not store.leases(f"command:{mark}").all() and not store.commands.holds_any(mark)


def left_only_trash(store: Store, mark: str) -> bool:
    """Return whether all that a command has left is trash to be deleted."""
    kinds = {lease.kind for lease in store.leases(f"command:{mark}").all()}
    return kinds == {LeaseKind.TRASH} and not store.commands.holds_any(mark)


@contextmanager
def holding(store: Store, locations: Locations, command: str) -> Iterator[Holder]:
    """Hold the machine for one command. What is still held when the block ends is undone or left to recovery."""
    become_subreaper()
    locks = LockFile(locations.locks)
    mark = Mark.new()
    lock = locks.try_acquire(str(mark))
    if lock is None:
        raise RuntimeError(f"mark {mark} is in use")
    store.commands.add(CommandRecord(str(mark), command[:500], os.getpid()))
    holder = Holder(store, locks, mark)
    try:
        try:
            yield holder
        except BaseException as error:  # the first error is the one the user sees
            for failed in holder.failed_deletions():
                error.add_note(told(failed))
            raise
    finally:
        try:
            holder.close()
            # Else the next command finishes what this one could not.
            if has_let_go(store, str(mark)):
                store.commands.delete(str(mark))
        finally:
            lock.release()
