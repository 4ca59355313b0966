"""A plan is stored before it is carried out, and a sync or a parking that was killed continues exactly that plan."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from faults.sweeping import Site
from grove import git, said

NAME = "test-unit-x"
COUNTED = 'setup = ["test ! -e ../../fail", "echo x >> ../../setups"]\ncopy = [".env.local"]\n'


def planned(site: Site, name: str) -> tuple[str, list[str]]:
    """A worktree's status and the plan on record."""
    with closing(sqlite3.connect(site.grove.state / "state.db")) as store:
        status, plan = store.execute("SELECT status, plan FROM worktrees WHERE id = ?", (name,)).fetchone()
    return status, json.loads(plan)


def folder_of(site: Site, name: str) -> Path:
    with closing(sqlite3.connect(site.grove.state / "state.db")) as store:
        return Path(store.execute("SELECT path FROM worktrees WHERE id = ?", (name,)).fetchone()[0])


def setups(site: Site) -> int:
    path = site.grove.base / "setups"
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_a_sync_that_was_killed_or_failed_continues_its_plan(grove):
    site = Site(grove(config=COUNTED))
    project = site.grove
    project.create("test-unit", "x", "--no-env")
    made = setups(site)
    whole = ["fast-forward", "copy files", "run setup", "write files"]
    for number, (at, left) in enumerate(
        [
            ("before sync: fast-forward", whole),
            ("after sync: fast-forward", whole),
            ("before sync: run setup", whole[2:]),
        ]
    ):
        project.write({"README.md": f"{number}\n"}, commit="newer")
        assert site.kill_at(at, "sync", NAME)
        assert planned(site, NAME) == ("ready", left), at
        ran = setups(site)
        assert NAME in site.judge(), "it is whole, and no command but sync continues"
        assert (planned(site, NAME), setups(site)) == (("ready", left), ran)
        assert f"sync stopped before '{left[0]}': testgrove sync {NAME}" in project.run("list").stdout
        if number == 0:
            assert "its last sync is not finished" in said(project.run("doctor", check=False))
        project.run("sync", NAME)
        assert (planned(site, NAME), setups(site)) == (("ready", []), ran + 1), at
        assert (project.root / NAME / "README.md").read_text() == f"{number}\n"
        assert "sync stopped" not in project.run("list").stdout
    assert setups(site) == made + 3

    (project.base / "fail").touch()
    project.write({"README.md": "last\n"}, commit="newer")
    assert project.run("sync", NAME, check=False).returncode != 0
    assert planned(site, NAME)[1] == whole[2:]
    (project.base / "fail").unlink()
    again = project.run("sync", NAME)
    assert "setup: run again" in said(again), "the commit is taken already, but its set-up has not run"
    assert project.run("sync", NAME).stdout.count("setup") == 0


def test_a_sync_that_continues_discards_nothing_in_submodules(grove):
    site = Site(grove())
    project = site.grove
    library = project.sibling("library", files={"lib.py": "VALUE = 1\n"})
    allow = ("-c", "protocol.file.allow=always")
    project.git(*allow, "submodule", "add", "--quiet", str(library.repo), "lib")
    project.git("commit", "--quiet", "--message", "a submodule")
    project.create("review", "a")
    library.write({"lib.py": "VALUE = 2\n"}, commit="two")
    git(project.repo / "lib", "pull", "--quiet")
    project.git("commit", "--quiet", "--all", "--message", "newer")
    assert site.kill_at("before job git", "sync", "review-a"), "the commit is taken, and the submodule is the old one"
    file = project.root / "review-a/lib/lib.py"
    file.write_text("VALUE = 'the user'\n")
    refused = project.run("sync", "review-a", check=False)
    assert refused.returncode == 3
    assert "lib/lib.py is modified" in refused.stderr
    assert file.read_text() == "VALUE = 'the user'\n"
    git(file.parent, "checkout", "--quiet", "lib.py")
    project.run("sync", "review-a")
    assert file.read_text() == "VALUE = 2\n"


def test_scenarios_do_not_run_where_a_sync_is_not_finished(grove):
    site = Site(grove(config=COUNTED, files={"tests/test_a.py": "def test_a(): pass\n"}))
    project = site.grove
    scenario = {"name": "a", "worktree": NAME, "test_file": "tests/test_a.py"}
    (project.repo / "s.json").write_text(json.dumps({"scenarios": [scenario]}))
    project.create("test-unit", "x", "--no-env")
    project.write({"README.md": "newer\n"}, commit="newer")
    assert site.kill_at("before sync: run setup", "sync", NAME)
    ran = setups(site)
    refused = project.run("coordinate", "s.json", check=False)
    assert refused.returncode == 3
    assert f"worktree '{NAME}': its sync is not finished" in refused.stderr
    (project.base / "fail").touch()
    project.run("coordinate", "s.json", "--setup-worktrees", check=False)
    assert planned(site, NAME) == ("ready", ["run setup", "write files"])
    assert "sync stopped before 'run setup'" in project.run("list").stdout
    (project.base / "fail").unlink()
    project.run("coordinate", "s.json", "--setup-worktrees", check=False)
    assert (planned(site, NAME), setups(site)) == (("ready", []), ran + 1)


def test_a_parking_that_was_killed_continues_its_plan(grove):
    site = Site(grove())
    assert site.kill_at("before detach head", "test")
    name = "test-tests-tree"
    assert planned(site, name) == ("running", ["detach head", "release ports"])
    (folder_of(site, name) / "notes.txt").write_text("the user's\n")
    there = site.judge()
    assert there[name]["status"] == "parked"
    assert planned(site, name) == ("parked", [])
    refused = site.grove.run("remove", name, check=False)
    assert "notes.txt" in refused.stderr, "a manifest that was taken is not taken again"
