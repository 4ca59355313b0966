"""Bring a worktree's environment and env file up to date: setup_test_env.py [FOLDER OF THE WORKTREE]."""

import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from testgrove_scripts import call, hand_over


def setup_test_environment(worktree_path):
    """Make the worktree's .venv what its files ask for; whether that worked."""
    return call("sync", worktree_at(worktree_path))


def worktree_at(path):
    try:
        with open(os.path.join(path, ".worktree-metadata.json"), encoding="utf-8") as file:
            return json.load(file)["id"]
    except OSError as error:
        raise SystemExit(f"{os.path.abspath(path)} is not one of testgrove's worktrees: {error.strerror}")


if __name__ == "__main__":
    hand_over("sync", worktree_at(sys.argv[1] if len(sys.argv) > 1 else "."))
