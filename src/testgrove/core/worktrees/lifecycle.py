"""Plans for a worktree: (what is asked, what is observed) → actions. Pure; execution only obeys."""

from __future__ import annotations

from collections.abc import Sequence

from testgrove.core.model import WorktreeSpec, WorktreeStatus
from testgrove.core.runs.plan import Action

_LAST = (Action.MAKE_DATABASES, Action.WRITE_FILES)  # the files name the databases


def create(
    spec: WorktreeSpec,
    *,
    recycled: bool,
    databases: bool = False,
    copy: bool = False,
    setup: bool = False,
    setup_first: bool = False,
) -> tuple[Action, ...]:
    """The actions that make a worktree ready, from nothing or from a parked one of the same id.

    databases, copy, setup: there are some to be made, copied, run. setup_first: migrations need what it makes.
    """
    actions = [Action.LEASE_PORTS] if spec.ports else []
    actions += [Action.RETARGET_CHECKOUT] if recycled else [Action.ADD_CHECKOUT, Action.CHECK_OUT_FILES]
    actions += [Action.COPY_FILES] * copy
    preflight = [Action.PREFLIGHT] * spec.environment
    actions += [Action.BUILD_ENVIRONMENT] * spec.environment
    if not setup:
        actions += preflight  # while the databases are made
    if setup and setup_first and databases:
        return (*actions, Action.WRITE_FILES, Action.RUN_SETUP, *_LAST, *preflight, Action.TAKE_MANIFEST)
    if databases:
        actions.append(Action.MAKE_DATABASES)  # begun with the environment; here they are waited for
    actions.append(Action.WRITE_FILES)
    if setup:
        actions += [Action.RUN_SETUP, *preflight]  # it may install what is checked
    return (*actions, Action.TAKE_MANIFEST)


def sync(*, forward: bool, copy: bool, environment: bool, setup: bool) -> tuple[Action, ...]:
    """The actions that bring a user's worktree up to date.

    forward: there is a newer commit. copy, environment: there are files to copy, an environment to check. setup: the
    commands run again; with_setup() adds them later if the environment has to be rebuilt.
    """
    actions = [Action.FAST_FORWARD] * forward + [Action.COPY_FILES] * copy + [Action.BUILD_ENVIRONMENT] * environment
    return (*actions, *[Action.RUN_SETUP] * setup, Action.WRITE_FILES, *[Action.PREFLIGHT] * environment)


def merging(plan: Sequence[str]) -> tuple[Action, ...]:
    """Return the plan while a commit is merged in: what belongs to a newer commit is still to come."""
    return (Action.FAST_FORWARD, *(action for action in map(Action, plan) if action != Action.FAST_FORWARD))


def with_setup(plan: Sequence[str]) -> tuple[Action, ...]:
    """Return the rest of a sync's plan, with the set-up commands in it."""
    left = tuple(map(Action, plan))
    if Action.RUN_SETUP in left:
        return left
    at = left.index(Action.WRITE_FILES)
    return (*left[:at], Action.RUN_SETUP, *left[at:])


def after(plan: Sequence[str], action: Action) -> tuple[Action, ...]:
    """Return the rest of a plan once an action is done; all of it if the plan no longer has that action."""
    left = tuple(map(Action, plan))
    return left[left.index(action) + 1 :] if action in left else left


def park() -> tuple[Action, ...]:
    """The actions that turn a worktree a run is done with into one that waits to be recycled."""
    return (Action.COLLECT_OUTPUTS, Action.TAKE_MANIFEST, Action.DETACH_HEAD, Action.RELEASE_PORTS)


def keep() -> tuple[Action, ...]:
    """The actions that leave a worktree in which a suite has failed to people, as evidence."""
    return (Action.COLLECT_OUTPUTS, Action.WRITE_FILES, Action.TAKE_MANIFEST)


def remove(*, teardown: bool) -> tuple[Action, ...]:
    """The actions that take a worktree away. It is decided that it goes when those of undo() begin.

    teardown: there are commands, which may write outputs, and during which the user may have committed.
    """
    actions = [Action.EXAMINE, Action.RUN_TEARDOWN]
    actions += [Action.EXAMINE_AGAIN] * teardown
    return (*actions, Action.COLLECT_OUTPUTS, Action.KEEP_COMMITS, *undo())


def undo() -> tuple[Action, ...]:
    """The actions once it is decided that a worktree goes: of a removal, a failed creation and their recovery."""
    return (Action.UNDO_LEASES, Action.FORGET)


def recover(status: WorktreeStatus, plan: Sequence[str], *, whole: bool) -> tuple[Action, ...]:
    """The actions for a worktree whose holder died. plan: what is on record as still to come.

    whole: its set-up had finished. What was half made or half removed goes; what was whole stays. A parking continues,
    but for the outputs: a test may have been writing them, so the next run that takes the worktree moves them. A
    worktree that was about to be kept for its failures is parked. A sync continues with the next `sync`: it installs
    packages and runs the project's commands, which no other command may do.
    """
    match status:
        case WorktreeStatus.CREATING | WorktreeStatus.REMOVING:
            return undo()
        case WorktreeStatus.RUNNING if whole:
            left = map(Action, plan) if Action.RELEASE_PORTS in plan else park()
            return tuple(action for action in left if action != Action.COLLECT_OUTPUTS)
        case WorktreeStatus.RUNNING:
            return undo()
        case _:
            return ()
