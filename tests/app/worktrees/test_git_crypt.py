"""A repository with git-crypt: its filters find the key from a worktree."""

from __future__ import annotations

import sys

from auditor import git

# What git-crypt does as far as the key is concerned, with rot13 as the cipher: no package has the real one everywhere.
FILTER = """
import codecs, pathlib, subprocess, sys
found = subprocess.run(["git", "rev-parse", "--git-dir"], capture_output=True, text=True, check=True)
pathlib.Path(found.stdout.strip(), "git-crypt/keys/default").read_text()
sys.stdout.write(codecs.encode(sys.stdin.read(), "rot13"))
"""


def test_encrypted_files_are_checked_out_in_a_worktree(grove):
    project = grove()
    script = project.base / "filter.py"
    script.write_text(FILTER)
    key = project.repo / ".git/git-crypt/keys/default"
    key.parent.mkdir(parents=True)
    key.write_text("a key")
    for name, value in {"clean": script, "smudge": script}.items():
        project.git("config", f"filter.git-crypt.{name}", f"{sys.executable} {value}")
    project.git("config", "filter.git-crypt.required", "true")
    project.write({".gitattributes": "*.secret filter=git-crypt\n", "a.secret": "hello\n"}, commit="A secret")
    assert project.git("show", "HEAD:a.secret") == "uryyb\n"
    project.create("review", "a")
    tree = project.root / "review-a"
    assert (tree / "a.secret").read_text() == "hello\n"
    assert git(tree, "status", "--porcelain") == ""
    project.run("remove", "a")
    assert key.read_text() == "a key"
    project.auditor().assert_no_leftovers()
