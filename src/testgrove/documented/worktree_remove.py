"""Remove a worktree: worktree_remove.py --identifier NAME. NAME is an identifier or a whole id.

Refuses while something of yours is in it; --force removes that, too. It may be the one you stand in.
"""

import argparse
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from testgrove_scripts import call, hand_over


def remove_worktree(worktree_id, force=False):
    """Remove a worktree by its id or identifier; whether it is gone."""
    return call("remove", worktree_id, *(["--force"] if force else []))


def cleanup_test_database(metadata):
    """Drop the database of the worktree whose .worktree-metadata.json this is; nothing to do where it has none."""
    return "database" not in metadata or call("db", "drop", metadata["id"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--identifier", required=True)
    parser.add_argument("--force", action="store_true")
    given = parser.parse_args()
    hand_over("remove", given.identifier, *(["--force"] if given.force else []))
