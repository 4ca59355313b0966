"""What a build product was made from: more than the files of a commit."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from grove import git
from testgrove.system.environment.products import made_from, put_back, set_aside
from testgrove.system.environment.record import EnvironmentRecord, signature

RECORD = EnvironmentRecord("", "", "3.12", "", "", "", (), editable=False, built=(), seal="")


def test_a_copied_file_that_the_commit_does_not_have_counts(tmp_path: Path):
    git(tmp_path, "init", "--quiet")
    (tmp_path / "fast.c").write_text("1")
    git(tmp_path, "add", "fast.c")
    git(tmp_path, "commit", "--quiet", "--message", "one")
    header = tmp_path / "local.h"
    header.write_text("#define ANSWER 42")
    copied = {"local.h": header, "fast.c": tmp_path / "fast.c"}
    before = made_from(tmp_path, "HEAD", ("fast.so",), copied)
    os.utime(tmp_path / "fast.c", ns=(1, 1))
    assert made_from(tmp_path, "HEAD", ("fast.so",), copied) == before, "the commit has it"
    header.write_text("#define ANSWER 423")
    assert made_from(tmp_path, "HEAD", ("fast.so",), copied) != before
    assert made_from(tmp_path, "HEAD", ("fast.so",), {}) != before


def test_a_product_has_any_name(tmp_path: Path):
    (tmp_path / "x\udcff.so").touch()
    assert signature(tmp_path, ("x\udcff.so",))


def test_products_are_not_moved_through_a_link(tmp_path: Path):
    tree, elsewhere = tmp_path / "tree", tmp_path / "elsewhere"
    tree.mkdir()
    elsewhere.mkdir()
    (tree / "fast.so").touch()
    (tree / ".venv").symlink_to(elsewhere)
    record = replace(RECORD, built=("fast.so",), products=signature(tree, ["fast.so"]))
    assert not set_aside(tree, record)
    assert (tree / "fast.so").exists()
    (tree / ".venv").unlink()
    (tree / ".venv").mkdir()
    assert set_aside(tree, record)
    assert (tree / ".venv/.testgrove-built/fast.so").exists()


def test_a_tracked_file_that_the_build_rewrote_is_put_back_over_the_commits(tmp_path: Path):
    """A version file that is in the repository, and that every build writes: without it, each run would build again."""
    git(tmp_path, "init", "--quiet")
    written, built = tmp_path / "data.txt", ("data.txt",)
    for name in ("older", "newer"):
        written.write_text(name)
        git(tmp_path, "add", "data.txt")
        git(tmp_path, "commit", "--quiet", "--message", name)
        git(tmp_path, "tag", name)
    (tmp_path / ".venv").mkdir()
    for target, found in (("older", "of the build"), ("newer", "newer")):
        git(tmp_path, "checkout", "--quiet", "--force", "older")
        written.write_text("of the build")
        record = replace(RECORD, built=built, products=signature(tmp_path, built))
        record = replace(record, made_from=made_from(tmp_path, "older", built, {}))
        assert set_aside(tmp_path, record)
        git(tmp_path, "checkout", "--quiet", "--force", target)
        put_back(tmp_path, record, target, {})
        assert written.read_text() == found
