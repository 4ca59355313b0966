"""git: repositories, refs, snapshots, checkouts and their state, by porcelain output and exit codes."""

from testgrove.system.git_checkouts import (
    add_checkout,
    checkout_paths,
    detach,
    is_checkout,
    populate,
    remove_checkout,
    retarget,
)
from testgrove.system.git_repository import (
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
    resolve,
    tracks,
    tree_of,
)
from testgrove.system.git_snapshot import Snapshot, snapshot
from testgrove.system.git_status import CheckoutStatus, Commit, foreign_commits, status

__all__ = [
    "CheckoutRecord",
    "CheckoutStatus",
    "Commit",
    "Repository",
    "Resolved",
    "Snapshot",
    "add_checkout",
    "checkout_paths",
    "checkouts",
    "create_branch",
    "delete_branch_if_at",
    "detach",
    "discover",
    "exclude",
    "foreign_commits",
    "git_dir_of",
    "has_branch",
    "is_checkout",
    "listed_files",
    "populate",
    "remove_checkout",
    "resolve",
    "retarget",
    "snapshot",
    "status",
    "tracks",
    "tree_of",
]
