"""Run integration test scenarios across worktrees: run_coordinator.py [OPTIONS]. It hands over to testgrove coordinate.

Written by `testgrove init --scripts`. Python 3.9 or later, the standard library alone.
"""

from __future__ import annotations

import argparse
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "scripts"))
from testgrove_scripts import hand_over, main_checkout


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--base-path", metavar="PATH", help="folder of the worktrees; default: the configured root")
    found.add_argument("--main-repo", metavar="PATH", help="the repository; default: this one")
    found.add_argument(
        "--scenarios", metavar="FILE", help="default: scenarios.json here, else the one beside this script"
    )
    found.add_argument("--setup-worktrees", action="store_true", help="create missing worktrees, repair the others")
    found.add_argument("--pull-coordinator", action="store_true", help="merge the main checkout's branch into each")
    found.add_argument("--parallel", action=argparse.BooleanOptionalAction, default=True, help="default: parallel")
    found.add_argument("--workers", type=int, default=4, metavar="N", help="scenarios at once (default: 4)")
    found.add_argument("--filter-tag", action="append", default=[], metavar="TAG", help="any of them; repeatable")
    found.add_argument("--filter-worktree", action="append", default=[], metavar="WT", help="any of them; repeatable")
    found.add_argument("--report", default="integration_report.json", metavar="FILE", help="default: %(default)s")
    found.add_argument("--cleanup", action="store_true", help="remove the worktrees that this run has created")
    found.add_argument("--dry-run", action="store_true", help="show what would run, and run nothing")
    return found


def words(given: argparse.Namespace) -> list[str]:
    """The words for testgrove, which runs in another folder: all paths absolute."""
    found = ["--project", absolute(given.main_repo) if given.main_repo else main_checkout()]
    found += ["--base-path", absolute(given.base_path)] if given.base_path else []
    found += ["--workers", str(given.workers if given.parallel else 1), "--report", absolute(given.report)]
    for option, values in (("--filter-tag", given.filter_tag), ("--filter-worktree", given.filter_worktree)):
        found += [f"{option}={value}" for value in values]
    flags = ("setup_worktrees", "pull_coordinator", "cleanup", "dry_run")
    return found + ["--" + flag.replace("_", "-") for flag in flags if getattr(given, flag)]


def scenarios(given: argparse.Namespace) -> str:
    if given.scenarios:
        return absolute(given.scenarios)
    beside = os.path.join(HERE, "scenarios.json")
    return absolute("scenarios.json") if os.path.exists("scenarios.json") or not os.path.exists(beside) else beside


def absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


if __name__ == "__main__":
    options = parser().parse_args()
    hand_over("coordinate", scenarios(options), *words(options))
