"""Seeded bugs: each takes something out of testgrove that once had to be fixed, in the processes that call it.

A bug names what it replaces, so that one whose target is gone fails at once and is not "found".
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from testgrove.app.worktrees.ownership import Findings
from testgrove.core.model import LeaseKind
from testgrove.system.git.call import call_common

Replace = Callable[[Any], Any]


@dataclass(frozen=True)
class Bug:
    """targets: what is replaced, as ``module:name`` or ``module:Class.name``. replacement: made from the original."""

    name: str
    targets: tuple[str, ...]
    replacement: Replace

    def checked(self) -> Callable[[], None]:
        """apply(), once it is sure that it can."""
        for target in self.targets:
            resolved(target)
        return self.apply

    def apply(self) -> None:
        """Break this process."""
        for owner, name in map(resolved, self.targets):
            setattr(owner, name, self.replacement(getattr(owner, name)))


BUGS: dict[str, Bug] = {}


def bug(*targets: str) -> Callable[[Replace], Replace]:
    """Register a seeded bug."""

    def register(replacement: Replace) -> Replace:
        name = replacement.__name__.replace("_", "-")
        BUGS[name] = Bug(name, targets, replacement)
        return replacement

    return register


def resolved(target: str) -> tuple[Any, str]:
    """What holds the name, and the name. Raises AttributeError where it is gone."""
    module, _, names = target.partition(":")
    owner: Any = importlib.import_module(module)
    *parents, name = names.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    getattr(owner, name)
    return owner, name


@bug("testgrove.system.store:StoredLeases.record")
def a_checkout_is_not_written_ahead(record: Any) -> Any:
    def recording(self: Any, *leases: Any) -> None:
        record(self, *(lease for lease in leases if lease.kind != LeaseKind.CHECKOUT))

    return recording


@bug("testgrove.app.worktrees.undo:_undo_one")
def a_lease_is_forgotten_before_it_is_undone(undo_one: Any) -> Any:
    def undoing(holder: Any, leases: Any, lease: Any) -> Any:
        leases.forget(lease)
        return undo_one(holder, leases, lease)

    return undoing


@bug("testgrove.app.recovery:isolated")
def one_record_stops_the_recovery_of_others(_isolated: Any) -> Any:
    return lambda *_: nullcontext()


@bug("testgrove.system.git:foreign_commits")
def commits_that_no_ref_holds_are_not_looked_for(_foreign_commits: Any) -> Any:
    return lambda *_positional, **_named: []


@bug(
    "testgrove.app.worktrees.operations:examine",
    "testgrove.app.worktrees.removal:examine",
    "testgrove.app.worktrees.cleanup:examine",
)
def untracked_files_are_not_looked_for(examine: Any) -> Any:
    def examining(*arguments: Any) -> Findings:
        found = examine(*arguments)
        return replace(found, users=tuple(line for line in found.users if "not written by" not in line))

    return examining


@bug("testgrove.system.git:remove_checkout")
def records_are_removed_by_git_worktree_prune(_remove_checkout: Any) -> Any:
    return lambda repository, *_: call_common(repository.common_dir, "worktree", "prune")


@bug("testgrove.app.holder:Holder.delete_later")
def the_trash_is_not_emptied(_delete_later: Any) -> Any:
    return lambda _self, leases, lease: leases.forget(lease)


@bug("testgrove.app.worktrees.undo:_undo_one")
def ports_are_not_given_back(undo_one: Any) -> Any:
    return lambda holder, leases, lease: None if lease.kind == LeaseKind.PORTS else undo_one(holder, leases, lease)


@bug("testgrove.app.worktrees.records:write_registry")
def the_registry_is_written_after_some_changes_only(write_registry: Any) -> Any:
    return lambda store, *more: None if os.getpid() % 2 else write_registry(store, *more)


@bug("testgrove.app.port_leases:lease_block")
def ports_are_given_without_a_lease(_lease_block: Any) -> Any:
    return lambda _leases, ports, names, **_: dict(zip(names, ports, strict=False))


@bug("testgrove.app.worktrees.operations:collect_outputs", "testgrove.app.worktrees.removal:collect_outputs")
def outputs_are_not_kept(_collect_outputs: Any) -> Any:
    return lambda *_positional, **_named: None


@bug("testgrove.app.worktrees.records:atomic_write")
def temporary_files_have_names_of_their_own(_atomic_write: Any) -> Any:
    def writing(path: Path, data: bytes, mode: int = 0o644) -> None:
        temporary = path.parent / f".{path.name}.{os.getpid()}.tmp"
        temporary.write_bytes(data)
        temporary.chmod(mode)
        temporary.replace(path)

    return writing
