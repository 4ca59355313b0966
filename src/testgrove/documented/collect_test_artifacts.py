"""Copy what tests left in worktrees: collect_test_artifacts.py [WORKTREE...] [--output DIR].

DIR/<worktree>/ gets coverage/, logs/ and the JUnit files. Without a name, every worktree is looked at.
"""

import argparse
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from testgrove_scripts import call, hand_over


def collect_artifacts(worktree_id, output_dir="test-artifacts"):
    """Copy a worktree's coverage, logs and JUnit files to output_dir/<worktree_id>/; whether that worked."""
    return call("artifacts", "collect", worktree_id, "--output", os.path.abspath(output_dir))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("worktrees", nargs="*")
    parser.add_argument("--output", "--output-dir")
    given = parser.parse_args()
    output = ["--output", os.path.abspath(given.output)] if given.output else []
    hand_over("artifacts", "collect", *given.worktrees, *output)
