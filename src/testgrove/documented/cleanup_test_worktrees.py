"""Remove old test worktrees: cleanup_test_worktrees.py [--max-age HOURS].

Does not ask. What is in use, or has files or commits of yours, is skipped.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from testgrove_scripts import call, hand_over


def cleanup_old_test_worktrees(max_age_hours=24):
    """Remove the test worktrees that are older; whether that worked."""
    return call("cleanup", "--yes", "--max-age", str(max_age_hours))


if __name__ == "__main__":
    hand_over("cleanup", "--yes", *sys.argv[1:])
