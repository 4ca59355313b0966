"""Release the ports of worktrees that nobody listens on: release_ports.py WORKTREE..."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from testgrove_scripts import call, hand_over


def release_ports(worktree_id):
    """Release a worktree's ports; whether all of them are free for others now."""
    return call("ports", "release", worktree_id)


if __name__ == "__main__":
    hand_over("ports", "release", *sys.argv[1:])
