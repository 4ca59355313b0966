"""git: repositories, refs, snapshots, checkouts and their state, by porcelain output and exit codes."""

from testgrove.system.git_checkouts import (
    add_checkout,
    checkout_paths,
    checkout_records,
    detach,
    is_checkout,
    lock_reason,
    populate,
    remove_checkout,
    retarget,
)
from testgrove.system.git_forward import fast_forward, head_of, is_ancestor, merge, upstream_of
from testgrove.system.git_history import Commit, foreign_commits, not_in_reflogs, operation, staged_files, tips
from testgrove.system.git_lfs import fetch_lfs
from testgrove.system.git_modules import unpublished, unpublished_in_submodules
from testgrove.system.git_own_settings import take_own_settings
from testgrove.system.git_repository import (
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
    tracks,
    tree_of,
    unexclude,
)
from testgrove.system.git_rescued import Rescued, drop_rescued, rescue, rescued
from testgrove.system.git_snapshot import Snapshot, snapshot
from testgrove.system.git_status import CheckoutStatus, environment_clones, status
from testgrove.system.git_submodules import update_submodules
from testgrove.system.git_untracked import ignored_among, tracked_among, tracked_files, untracked_files
from testgrove.system.git_version import VersionSource, version_source

__all__ = [
    "LOCK_REASON",
    "CheckoutRecord",
    "CheckoutStatus",
    "Commit",
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
    "discover",
    "drop_rescued",
    "environment_clones",
    "exclude",
    "fast_forward",
    "fetch_lfs",
    "foreign_commits",
    "git_dir_of",
    "has_branch",
    "head_of",
    "ignored_among",
    "is_ancestor",
    "is_checkout",
    "listed_files",
    "lock_reason",
    "main_commits",
    "merge",
    "not_in_reflogs",
    "operation",
    "populate",
    "remove_checkout",
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
    "tracked_files",
    "tracks",
    "tree_of",
    "unexclude",
    "unpublished",
    "unpublished_in_submodules",
    "untracked_files",
    "update_submodules",
    "upstream_of",
    "version_source",
]
