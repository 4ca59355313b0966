"""List the worktrees, one to a line: worktree_list.py [--purpose PURPOSE] [--ports] [--json]."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from testgrove_scripts import hand_over

if __name__ == "__main__":
    hand_over("list", *sys.argv[1:])
