"""Make a worktree: worktree_create.py --purpose PURPOSE --identifier NAME --branch BRANCH [--ports]."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from testgrove_scripts import hand_over

if __name__ == "__main__":
    # The worktree gets this script's interpreter, unless --python, its identifier or requires-python wants another.
    hand_over("create", "--script-python", sys.executable, *sys.argv[1:])
