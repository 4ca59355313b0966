"""git: repositories, refs, snapshots, checkouts and their state, by porcelain output and exit codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from testgrove.system.git.checkout_status import (
        CheckoutStatus,
        Differences,
        differences,
        environment_clones,
        status,
    )
    from testgrove.system.git.fast_forwarding import fast_forward, head_of, is_ancestor, merge, upstream_of
    from testgrove.system.git.history import (
        Commit,
        foreign_commits,
        foreign_objects,
        not_in_reflogs,
        operation,
        staged_files,
        tips,
    )
    from testgrove.system.git.lfs import fetch_lfs
    from testgrove.system.git.own_checkouts import (
        add_checkout,
        checkout_paths,
        checkout_records,
        detach,
        is_barely_made,
        is_checkout,
        lock_reason,
        populate,
        remove_checkout,
        repair_checkouts,
        retarget,
    )
    from testgrove.system.git.own_settings import take_own_settings
    from testgrove.system.git.repository import (
        LOCK_REASON,
        CheckoutRecord,
        Repository,
        Resolved,
        checkouts,
        create_branch,
        delete_branch_if_at,
        discover,
        exclude,
        git_dir_of,
        has_branch,
        listed_files,
        main_commits,
        resolve,
        tracked_at,
        tree_of,
        unexclude,
    )
    from testgrove.system.git.rescued_commits import Rescued, drop_rescued, rescue, rescued
    from testgrove.system.git.snapshots import Snapshot, snapshot
    from testgrove.system.git.submodule_history import unpublished, unpublished_in_submodules
    from testgrove.system.git.submodules import update_submodules
    from testgrove.system.git.untracked import ignored_among, tracked_among, tracked_files, untracked_files
    from testgrove.system.git.version import VersionSource, version_source

__all__ = [
    "LOCK_REASON",
    "CheckoutRecord",
    "CheckoutStatus",
    "Commit",
    "Differences",
    "Repository",
    "Rescued",
    "Resolved",
    "Snapshot",
    "VersionSource",
    "add_checkout",
    "checkout_paths",
    "checkout_records",
    "checkouts",
    "create_branch",
    "delete_branch_if_at",
    "detach",
    "differences",
    "discover",
    "drop_rescued",
    "environment_clones",
    "exclude",
    "fast_forward",
    "fetch_lfs",
    "foreign_commits",
    "foreign_objects",
    "git_dir_of",
    "has_branch",
    "head_of",
    "ignored_among",
    "is_ancestor",
    "is_barely_made",
    "is_checkout",
    "listed_files",
    "lock_reason",
    "main_commits",
    "merge",
    "not_in_reflogs",
    "operation",
    "populate",
    "remove_checkout",
    "repair_checkouts",
    "rescue",
    "rescued",
    "resolve",
    "retarget",
    "snapshot",
    "staged_files",
    "status",
    "take_own_settings",
    "tips",
    "tracked_among",
    "tracked_at",
    "tracked_files",
    "tree_of",
    "unexclude",
    "unpublished",
    "unpublished_in_submodules",
    "untracked_files",
    "update_submodules",
    "upstream_of",
    "version_source",
]

# Each is imported when it is asked for: most commands need few of them. No module may have the name of one of them.
_HOMES = {
    "CheckoutRecord": "repository",
    "CheckoutStatus": "checkout_status",
    "Commit": "history",
    "Differences": "checkout_status",
    "LOCK_REASON": "repository",
    "Repository": "repository",
    "Rescued": "rescued_commits",
    "Resolved": "repository",
    "Snapshot": "snapshots",
    "VersionSource": "version",
    "add_checkout": "own_checkouts",
    "checkout_paths": "own_checkouts",
    "checkout_records": "own_checkouts",
    "checkouts": "repository",
    "create_branch": "repository",
    "delete_branch_if_at": "repository",
    "detach": "own_checkouts",
    "differences": "checkout_status",
    "discover": "repository",
    "drop_rescued": "rescued_commits",
    "environment_clones": "checkout_status",
    "exclude": "repository",
    "fast_forward": "fast_forwarding",
    "fetch_lfs": "lfs",
    "foreign_commits": "history",
    "foreign_objects": "history",
    "git_dir_of": "repository",
    "has_branch": "repository",
    "head_of": "fast_forwarding",
    "ignored_among": "untracked",
    "is_ancestor": "fast_forwarding",
    "is_barely_made": "own_checkouts",
    "is_checkout": "own_checkouts",
    "listed_files": "repository",
    "lock_reason": "own_checkouts",
    "main_commits": "repository",
    "merge": "fast_forwarding",
    "not_in_reflogs": "history",
    "operation": "history",
    "populate": "own_checkouts",
    "remove_checkout": "own_checkouts",
    "repair_checkouts": "own_checkouts",
    "rescue": "rescued_commits",
    "rescued": "rescued_commits",
    "resolve": "repository",
    "retarget": "own_checkouts",
    "snapshot": "snapshots",
    "staged_files": "history",
    "status": "checkout_status",
    "take_own_settings": "own_settings",
    "tips": "history",
    "tracked_among": "untracked",
    "tracked_at": "repository",
    "tracked_files": "untracked",
    "tree_of": "repository",
    "unexclude": "repository",
    "unpublished": "submodule_history",
    "unpublished_in_submodules": "submodule_history",
    "untracked_files": "untracked",
    "update_submodules": "submodules",
    "upstream_of": "fast_forwarding",
    "version_source": "version",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'testgrove.system.git' has no attribute {name!r}")
    import importlib  # noqa: PLC0415 - as above

    value = globals()[name] = getattr(importlib.import_module(f"testgrove.system.git.{_HOMES[name]}"), name)
    return value
