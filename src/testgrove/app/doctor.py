"""The doctor: checks everything that a worktree or a run depends on, reports problems, and fixes what it can."""

from __future__ import annotations

import json
import shlex
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from testgrove.app.context import run_context
from testgrove.app.holder import Holder, left_only_trash
from testgrove.app.left_databases import left_databases
from testgrove.app.moved_repository import adopt, former_locations, why_not_adopted
from testgrove.app.project import Project
from testgrove.app.worktrees import client_programs, nested_root, ports, records, removal
from testgrove.app.worktrees.creation import FREE_BYTES
from testgrove.app.worktrees.ownership import examine_records
from testgrove.app.worktrees.shared_git import shared_changes
from testgrove.app.worktrees.user_commands import require_environment, variables_of
from testgrove.core.frozen import frozen
from testgrove.core.model import Worktree, WorktreeStatus
from testgrove.core.settings.parse import port_range
from testgrove.core.settings.types import Settings
from testgrove.core.worktrees.record import WorktreeRecord
from testgrove.errors import TestgroveError
from testgrove.services.provisioning.choose import provider_of
from testgrove.system.environment import interpreters
from testgrove.system.environment.uv import find_uv, uv_version
from testgrove.system.files import explained, has_unfinished_write, require_free
from testgrove.system.listeners import listening_among
from testgrove.system.locks import LockFile
from testgrove.system.outputs import free_name
from testgrove.system.processes import process
from testgrove.system.undeletable import CODE as UNDELETABLE

_BARE = "its .venv was made again by hand: programs in it do not get the variables of the env file"


@frozen
class Finding:
    """The result of one check.

    problem: empty if there is none. hint: the next command, or what to change. mend: the action of --fix; None if only
    the user can fix it."""

    area: str
    subject: str
    problem: str = ""
    hint: str = ""
    mend: Callable[[], object] | None = None


def died(project: Project) -> dict[str, str]:
    """Return the commands with leftovers, which the next command cleans up, and the message for afterwards.

    A command that could not empty its trash was not necessarily killed.
    """
    is_held, said = LockFile(project.locations.locks).is_held, {}
    for dead in records.dead_commands(project.store, is_held):
        command, trash = dead.command, left_only_trash(project.store, dead.mark)
        killed = f"cleaned up after `{command}`, which was killed"
        said[command] = f"emptied the trash of `{command}`" if trash else killed
    return said


def examine(project: Project, holder: Holder) -> Iterator[Finding]:
    """Look at everything, one thing after the other."""
    yield from _unfinished(holder)
    yield from _tools(project)
    try:
        settings = project.settings
        yield Finding("settings", "read")
    except TestgroveError as error:
        yield _failed("settings", "read", error)
        return
    yield from _guarded("root", _root(project))
    yield from _guarded("interpreters", _interpreters(settings))
    yield from _guarded("services", _services(project, holder))
    yield from _guarded("databases", _left_databases(project))
    for worktree in records.all_of(project):
        yield from _guarded("worktrees", _worktree(project, holder, worktree))
    yield from _guarded("repository", _moved(project, holder))
    yield from _guarded("git", _shared_git(project))
    yield from _guarded("ports", _ports(project))
    yield from _guarded("registry", _registry(project, holder))


def _guarded(area: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    """The findings of one check; where it fails, that is a finding, and the other checks go on."""
    try:
        yield from findings
    except TestgroveError as error:
        yield _failed(area, "check", error)


def _unfinished(holder: Holder) -> Iterator[Finding]:
    for command, error in holder.unfinished:
        if error.code == UNDELETABLE:
            yield _failed("trash", f"of `{command}`", error)
            continue
        yield _failed("recovery", f"leftovers of `{command}`, which was killed", error)


def _tools(project: Project) -> Iterator[Finding]:
    try:
        yield Finding("tools", f"uv {uv_version(find_uv(), process.run)}")
    except TestgroveError as error:
        yield _failed("tools", "uv", error)
    try:
        require_free(project.root, FREE_BYTES)
        yield Finding("tools", f"space for worktrees in {project.root.parent}")
    except TestgroveError as error:
        yield _failed("tools", "space for worktrees", error)


def _root(project: Project) -> Iterator[Finding]:
    subject = f"root {project.root}"
    found = nested_root.problems(project)
    if not found:
        yield Finding("root", subject)
    for problem in found:
        yield Finding("root", subject, problem.message, problem.fix)


def _interpreters(settings: Settings) -> Iterator[Finding]:
    for wanted in settings.pythons:
        try:
            found = interpreters.find(wanted, requires=None, pinned=None, run=process.run)
            yield Finding("interpreters", f"Python {found.version}")
        except TestgroveError as error:
            yield _failed("interpreters", f"Python {wanted}", error)


def _services(project: Project, holder: Holder) -> Iterator[Finding]:
    services = project.settings.services
    context = run_context(project, holder, holder.leases, project.locations.memory, threading.Event())
    for name, service in services.items():
        try:
            found = provider_of(context, name, service)
            found.find()
            found.close()
            yield Finding("services", f"{name} is available")
        except TestgroveError as error:
            yield _failed("services", name, error)


def _left_databases(project: Project) -> Iterator[Finding]:
    found: list[str] = []
    with suppress(TestgroveError):  # a server that does not answer is named already
        found = list(left_databases(project))
    for sentence in found:
        problem, _, command = sentence.partition("; to drop it: ")
        yield Finding("services", "a database that tests recreated", problem, command)


def _worktree(project: Project, holder: Holder, worktree: WorktreeRecord) -> Iterator[Finding]:
    name = str(worktree.id)
    held = worktree.holder is not None
    if held:
        yield Finding("worktrees", f"{name} is in use")
        return
    remove = partial(removal.remove, project, holder, name)
    if worktree.status is WorktreeStatus.BROKEN:
        hint = f"testgrove remove {name}"
        yield Finding("worktrees", name, worktree.note or "its removal is incomplete", hint, remove)
        return
    if not worktree.path.is_dir():
        yield _without_folder(project, worktree, remove)
        return
    try:
        if worktree.status is WorktreeStatus.READY:  # a parked one is rebuilt when it is reused
            require_environment(worktree)
            variables_of(worktree)
            if worktree.plan:
                yield Finding("worktrees", name, "its last sync is not finished", f"testgrove sync {name}")
                return
            if worktree.python and client_programs.missing(worktree):
                yield Finding("worktrees", name, _BARE, f"testgrove sync {name}", partial(_provide, worktree))
                return
        yield Finding("worktrees", name)
    except TestgroveError as error:
        yield _failed("worktrees", name, error)


def _provide(worktree: WorktreeRecord) -> None:
    client_programs.provide(worktree)


def _moved(project: Project, holder: Holder) -> Iterator[Finding]:
    for former in former_locations(project):
        ids = ", ".join(str(worktree.id) for worktree in former.worktrees)
        problem = f"this repository was moved from {former.main}; worktrees created there: {ids}"
        if why := why_not_adopted(project, former):
            hint = f"move it back to {former.main} and remove them there; or git worktree repair PATH…   to keep them"
            yield Finding("worktrees", f"of {former.main}", f"{problem} ({why})", hint)
        else:
            mend = partial(adopt, project, holder, former)
            yield Finding("worktrees", f"of {former.main}", problem, "testgrove doctor --fix", mend)


def _shared_git(project: Project) -> Iterator[Finding]:
    found = shared_changes(project)
    if not found:
        yield Finding("git", "no shared git configuration points into a worktree")
    for change in found:
        yield Finding("git", change.subject, change.problem, change.fix, change.mend)


def _without_folder(project: Project, worktree: Worktree, remove: Callable[[], object]) -> Finding:
    """Its record goes with --fix, unless something of the user's is in that, or a disk is merely not mounted."""
    name, gone = str(worktree.id), f"its folder {worktree.path} is missing"
    findings = examine_records(project, records.named(project, name))
    if findings.lines:
        problem = f"{gone}; git's record of it {findings.summary()}"
        return Finding("worktrees", name, problem, f"testgrove remove {name}")
    problem = f"{gone}; its ports and databases are still reserved"
    return Finding("worktrees", name, problem, f"testgrove remove {name}", remove)


def _ports(project: Project) -> Iterator[Finding]:
    for checked in ports.check(project, ()):
        for listener in checked.foreign_listeners:
            problem = f"{listener}, outside the worktree, listens on it"
            yield Finding("ports", f"{checked.port} of {_owner(checked)}", problem, listener.ending)
    span = port_range(project.settings.ports.range)
    leased = {held.port for held in ports.held_ports(project)}
    free = len(set(span) - leased - listening_among(span))
    needed = len(project.settings.ports.names)
    problem = f"only {free} of {len(span)} ports are free; a block needs {needed}" if free < needed else ""
    hint = (
        "testgrove ports list   shows who holds them; or set a wider range in [tool.testgrove.ports]" if problem else ""
    )
    yield Finding("ports", f"{span.start}-{span.stop - 1}: {free} free", problem, hint)


def _owner(checked: ports.CheckedPort) -> str:
    return str(checked.worktree.id) if checked.worktree else "nobody"


def _registry(project: Project, holder: Holder) -> Iterator[Finding]:
    path, known = project.main / records.REGISTRY, {str(each.id) for each in records.all_of(project)}
    shown: set[str] | None = None if path.exists() else set()
    if path.exists():
        with suppress(OSError, ValueError, KeyError, TypeError):
            shown = set(json.loads(path.read_text(encoding="utf-8"))["worktrees"])
    problem = "" if shown == known and not has_unfinished_write(path) else f"{path} is out of date"
    mend = partial(records.publish, project, holder) if problem else None
    if not records.is_our_registry(path):
        aside = free_name(path.with_name(f"{path.name}.before-testgrove"))
        problem = f"{path} was not written by testgrove; refusing to overwrite it"
        hint = f"mv {shlex.quote(str(path))} {shlex.quote(str(aside))}"
        yield Finding("registry", records.REGISTRY, problem, hint, partial(_replace_registry, project, holder, aside))
        return
    yield Finding("registry", records.REGISTRY, problem, "testgrove doctor --fix" if problem else "", mend)


def _failed(area: str, subject: str, error: TestgroveError) -> Finding:
    return Finding(area, subject, error.message, error.hint)


def _replace_registry(project: Project, holder: Holder, aside: Path) -> None:
    """Move the user's file aside, and write the view."""
    with explained("move aside", path := project.main / records.REGISTRY):
        path.rename(aside)
    records.publish(project, holder)
