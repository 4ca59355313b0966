"""The recipe for assets that `setup` makes once: the page's own script and settings, in a project's worktrees."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

import needs
from grove import Grove

PAGE = Path(__file__).resolve().parents[2] / "docs/patterns/assets.md"
BUILD = 'echo one >> "$COUNTER"\ncp grammars.lock "$1/parser"\n'


def block(kind: str) -> str:
    found = re.search(rf"^```{kind}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


@pytest.fixture
def project(grove) -> Grove:
    if not shutil.which("flock"):
        needs.missing("flock", "there is no flock")
    files = {
        "scripts/assets.sh": block("sh"),
        "scripts/build_grammars.sh": BUILD,
        "grammars.lock": "a 1\n",
        ".gitignore": "build/\n",
        "tests/test_a.py": "def test_it(): pass\n",
    }
    return grove(files=files, config=block("toml").replace("[tool.testgrove]\n", ""))


def test_assets_are_made_once_for_each_content_and_shared(project):
    counter = project.base / "counter"
    env = {"COUNTER": str(counter)}
    for identifier in "ab":
        project.create("review", identifier, "--no-env", "--quiet", env=env)
    links = [project.root / f"review-{identifier}/build/grammars" for identifier in "ab"]
    assert links[0].resolve() == links[1].resolve()
    assert (links[0] / "parser").read_text() == "a 1\n"
    assert (links[0] / "parser").stat().st_mode & 0o222 == 0
    assert counter.read_text() == "one\n"
    project.write({"grammars.lock": "a 2\n"}, commit="Another grammar")
    project.create("review", "c", "--no-env", "--quiet", env=env)
    assert (project.root / "review-c/build/grammars/parser").read_text() == "a 2\n"
    assert counter.read_text() == "one\none\n"
    for identifier in "abc":
        project.run("remove", identifier)
    assert (project.repo / ".git/assets").is_dir()
    project.auditor().assert_nothing()


def test_a_build_that_fails_is_made_again(project):
    project.write({"scripts/build_grammars.sh": 'touch "$1/half"\nexit 1\n'}, commit="A broken build")
    assert project.create("review", "a", "--no-env", "--quiet", check=False).returncode == 5
    assert [path.suffix for path in (project.repo / ".git/assets").iterdir()] == [".building"]
