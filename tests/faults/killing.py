"""testgrove, with a SIGKILL of itself at a chosen step. `python killing.py ARGUMENT…` is `testgrove ARGUMENT…`.

The steps are found by wrapping, from outside, what carries out a plan (actions) and what touches the machine
(effects): nothing in testgrove knows of this. Each is logged with its number, so a run without a kill counts them all.

KILLING_LOG: the file that the steps are appended to. KILLING_AT: ``action:7``, ``effect:31``, the words of a step (the
first such one counts), or empty. KILLING_BASE: the folder below which file operations count. KILLING_SIGNAL: the
number of another signal. KILLING_ERRNO: at that step no signal comes; it and all later changes of files fail with this.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import types
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

LOG, AT, BASE = (os.environ.get(f"KILLING_{name}", "") for name in ("LOG", "AT", "BASE"))
SIGNAL = int(os.environ.get("KILLING_SIGNAL", signal.SIGKILL))
ERRNO = int(os.environ.get("KILLING_ERRNO", "0"))
CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.utime", "shutil.move"}
TRASH = 0.1  # seconds by which deletions come later, as those of bigger trees do
READING = {
    "version", "rev-parse", "for-each-ref", "ls-tree", "status", "ls-files", "rev-list", "cat-file", "check-ref-format",
    "show-ref", "config", "diff-index", "hash-object", "log",
}  # fmt: skip
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_numbers: Counter[str] = Counter()
_changed = {"action": True, "effect": True}
_lock = threading.Lock()


def step(kind: str, what: str, *, changes: bool = False) -> None:
    """Count a step, and die if it is the one. changes: something is changed right after it.

    A step with no change since the last one has no number: to die there is to die at the other.
    """
    with _lock:
        if _changed[kind]:
            _numbers[kind] += 1
        here = f"{kind}:{_numbers[kind]}" if _changed[kind] else "same"
        _changed[kind] = False
        if changes:
            changed()
        log = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(log, f"{here} {what}\n".encode())
        os.close(log)
        if AT in (here, what) and not _numbers["killed"]:
            _numbers["killed"] += 1
            if not ERRNO:
                os.kill(os.getpid(), SIGNAL)


def changed() -> None:
    """Give the next step of each kind a number."""
    _changed.update(action=True, effect=True)


def around(owner: object, name: str, kind: str, describe) -> None:
    """Replace a function by itself with a step before and a step after; neither where describe() says nothing."""
    inner = getattr(owner, name)
    call = inner.__func__ if isinstance(inner, types.MethodType) else inner

    def stepping(*positional, **named):
        what = describe(*positional, **named)
        if not what:
            return call(*positional, **named)
        step(kind, f"before {what}", changes=kind == "effect")
        result = call(*positional, **named)
        step(kind, f"after {what}")
        return result

    setattr(owner, name, classmethod(stepping) if call is not inner else stepping)


def wrap_actions() -> None:
    """What a plan or a recovery is made of."""
    from testgrove.app import recovery
    from testgrove.app.runs import attempts, run
    from testgrove.app.worktrees import creation, operations, removal, sync, undo
    from testgrove.system.store import StoredLeases

    around(creation.Creation, "perform", "action", lambda _self, action: action)
    around(undo, "_undo_one", "action", lambda _holder, _leases, lease: f"undo {lease.kind}")
    around(recovery, "_mend_worktree", "action", lambda _holder, worktree: f"mend {worktree.status}")
    around(recovery, "_finish_run", "action", lambda *_: "finish run")
    around(StoredLeases, "record", "action", lambda _self, *leases: f"record {leases[0].kind}")
    around(StoredLeases, "choose", "action", lambda _self, kind, _choose: f"record {kind}")
    around(StoredLeases, "forget", "action", lambda _self, *leases: f"forget {leases[0].kind}" if leases else "")
    around(sync.Syncing, "perform", "action", lambda _self, action: f"sync: {action}")
    around(removal.Removal, "perform", "action", lambda _self, action: action)
    around(operations, "collect_outputs", "action", lambda *_, **__: "collect outputs")
    around(operations, "examine", "action", lambda *_: "examine")
    around(operations, "_claim", "action", lambda *_, **__: "claim")
    around(operations.git, "detach", "action", lambda *_: "detach head")
    around(operations.records, "set_parked", "action", lambda *_: "set parked")
    around(operations.records, "delete", "action", lambda *_: "forget")
    around(operations.records, "write_registry", "action", lambda *_: "write registry")
    around(attempts.Attempt, "work", "action", lambda *_: "attempt")
    around(run, "write_reports", "action", lambda *_: "write reports")


def wrap_effects() -> None:
    """Every change of the store, every process that is started, every change of files."""
    from testgrove.app import holder
    from testgrove.system import store
    from testgrove.system.processes import process, supervision

    around(process, "_popen", "effect", _spawned)
    around(supervision.Supervisor, "start", "effect", lambda *_: "supervisor")
    around(supervision.Supervisor, "start_job", "effect", lambda _self, job: f"job {job.argv[0]}")
    around(supervision.Supervisor, "close", "effect", lambda *_: "end supervisor")
    transaction = store.Store.transaction

    @contextmanager
    def stepping(self):
        with self._mutex:
            if self._db.in_transaction:  # it joins the outer one, whose COMMIT is what counts
                with transaction(self) as database:
                    yield database
                return
            step("effect", "before transaction")  # to die in it, before the COMMIT, is the same
            with transaction(self) as database:
                yield database
            changed()
            step("effect", "after transaction")

    store.Store.transaction = stepping
    around(holder, "delete_trash", "effect", lambda _place: time.sleep(TRASH) or "delete trash")
    sys.addaudithook(_file_operation)


def _spawned(call, *_) -> str:
    """git's commands that change something; what only reads is no step."""
    words = list(call.words[1:])
    while words[:1] and words[0] in ("-c", "-C", "--git-dir"):
        del words[:2]
    changes = Path(call.words[0]).name == "git" and words[0] not in READING and words[:2] != ["worktree", "list"]
    return f"spawn git {' '.join(words[:2])}" if changes else ""


def _file_operation(event: str, arguments: tuple) -> None:
    """What changes files below BASE, or in memory; of a tree that is deleted the first file, and all folders."""
    if event == "open":
        path, _, flags = arguments
        if not isinstance(path, str) or not flags & WRITING or path == LOG:
            return
    elif event not in CHANGES:
        return
    path = os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes | os.PathLike) else ""
    if event == "os.remove" and not path.startswith("/"):
        _numbers["files"] += 1
        if _numbers["files"] > 1:
            return
    if not path.startswith("/") or path.startswith((BASE, f"/dev/shm/{Path(BASE).name}")):
        step("effect", f"before {event} {path.removeprefix(BASE)}", changes=True)
        if ERRNO and _numbers["killed"]:
            raise OSError(ERRNO, os.strerror(ERRNO), path)


if __name__ == "__main__":
    from testgrove.cli.main import main

    if LOG:
        wrap_actions()
        wrap_effects()
    main()
