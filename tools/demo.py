"""The demo: copy the example project into a git repository of its own and run the main job on it.

The first time everything is made; the second time the parked worktrees are recycled.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
EXAMPLE = HERE / "examples/shop"
PLACE = HERE / "build/demo/shop"
IDENTITY = (
    "-c",
    "user.name=testgrove demo",
    "-c",
    "user.email=demo@example.invalid",
    "-c",
    "commit.gpgsign=false",
    "-c",
    "core.hooksPath=/dev/null",
)


def git(*words: str) -> str:
    """Git in the demo's repository, whatever the caller's environment points at."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(
        ("git", "-C", PLACE, *IDENTITY, *words), check=True, text=True, capture_output=True, env=environ
    ).stdout


def copy_example() -> None:
    """Make the repository's files the example's, and commit them where they differ."""
    PLACE.mkdir(parents=True, exist_ok=True)
    if not (PLACE / ".git").exists():
        git("init", "--quiet", "--initial-branch=main")
    for name in git("ls-files", "-z").split("\0")[:-1]:
        (PLACE / name).unlink(missing_ok=True)
    ignored = shutil.ignore_patterns(".venv", "__pycache__", ".*_cache", "*.egg-info", "test-artifacts")
    shutil.copytree(EXAMPLE, PLACE, dirs_exist_ok=True, ignore=ignored)
    git("add", "--all")
    if git("status", "--porcelain"):
        git("commit", "--quiet", "--message", "The example project")


def main() -> int:
    """Run `testgrove test` there; the exit status is its own."""
    copy_example()
    command = [str(Path(sys.executable).with_name("testgrove")), "test", *sys.argv[1:]]
    print(f"$ cd {PLACE.relative_to(HERE)} && testgrove test", flush=True)
    status = subprocess.run(command, cwd=PLACE, check=False).returncode
    print("\nThe worktrees are parked, to be recycled by the next run: `testgrove list` shows them, and")
    print("`testgrove cleanup --max-age 0 --yes` removes them (both in that folder, with .venv/bin on your PATH).")
    return status


if __name__ == "__main__":
    sys.exit(main())
