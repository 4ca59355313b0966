"""The verdict after a fault: what is the user's is there, nothing of testgrove's is left, the next command works."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing, suppress
from typing import Any

from auditor import checkouts
from chaos.actors import Actor
from chaos.world import USERS, World
from situations.judge import protected

DOCUMENTED = {0, 1, 2, 3, 4, 5, 130, -9, -1, -2, -15}
NOBODYS = {
    "holders": "SELECT * FROM holders",
    "runs": "SELECT * FROM runs",
    "leases": "SELECT * FROM leases l WHERE NOT EXISTS (SELECT * FROM worktrees w "
    "WHERE l.owner = 'worktree:' || w.project || '/' || w.id)",
    "branches": "SELECT * FROM leases WHERE kind = 'branch'",
    "held": "SELECT * FROM worktrees WHERE holder IS NOT NULL",
}


def documented(actors: Iterable[Actor]) -> None:
    """Every command ended as the documentation says; none with a traceback."""
    for actor in actors:
        assert actor.returncode in DOCUMENTED, actor.said()
        assert "Traceback" not in actor.err, actor.said()


def other_goes_on(world: World) -> None:
    """The other project's commands work, whatever is the matter with the first one."""
    world.must(
        "create", "--purpose", "test-unit", "--identifier", "o", "--branch", "main", "--no-env", where=world.other
    )
    world.must("remove", "test-unit-o", where=world.other)


def verdict(world: World, *, failing: bool = False, gone: bool = False) -> dict[str, Any]:
    """Look at everything once commands have recovered. Returns the worktrees that are not the user's.

    failing: calls have failed, so `doctor` may have something to fix. gone: a worktree's folder was deleted before.
    """
    there = worktrees(world)
    if gone and "test-unit-x" in there and not world.tree.exists():
        world.must("remove", "test-unit-x")
        there = worktrees(world)
    if failing:
        world.run("doctor", "--fix")
        there = worktrees(world)
    for name in (name for name, each in there.items() if each["status"] == "broken"):
        # Its recovery has failed as well. Where nobody knows any more what set-up wrote, `remove` asks for --force.
        if world.run("remove", name).returncode != 0:
            world.must("remove", name, "--force")
    there = worktrees(world)
    assert set(USERS) <= set(there), f"a worktree of the user's is gone: {sorted(there)}"
    assert {each["status"] for each in there.values()} <= {"ready", "parked"}, there
    with suppress(OSError):
        if failing:
            (world.grove.root / ".trash").rmdir()  # it goes with the next thing in it, and may have been unreadable
    world.auditor().assert_no_leftovers(within=2.0)
    users_is_there(world)
    assert set(world.grove.registry()["worktrees"]) == set(there), "the registry view is out of date"
    held = sorted(port for each in there.values() for port in (each["ports"] or {}).values())
    assert len(held) == len(set(held)), f"a port has two holders: {held}"
    return {name: each for name, each in there.items() if name not in USERS}


def users_is_there(world: World) -> None:
    """The user's files, commits, staged contents and refs."""
    now, objects = world.users(), protected(world.base)
    different = [name for name, look in world.looks.items() if now.get(name) != look]
    assert not different, f"changed or gone: {different}"
    lost = [name for name in world.objects if name not in objects]
    assert not lost, f"{len(lost)} objects are not kept any more, such as {lost[0]}"
    refs = set(world.refs.splitlines())
    assert refs <= set(world.all_refs().splitlines()), "a ref was changed"


def worktrees(world: World) -> dict[str, Any]:
    """What `testgrove list` says, by id."""
    actor = world.must("list", "--json")
    return {each["id"]: each for each in json.loads(actor.out)["worktrees"]}


def finish(world: World, there: dict[str, Any]) -> None:
    """Remove what is left by plain commands; then nothing is there that the user did not have."""
    for name in there:
        if world.run("remove", name).returncode != 0:  # what a killed sync has written counts as the user's
            world.run("sync", name)
            world.must("remove", name)
    for branch in set(branches(world)) - set(branches(world, world.refs)):
        world.grove.git("branch", "--quiet", "-D", branch)
    left = sorted(worktrees(world))
    assert left == sorted(USERS), f"worktrees: {left}"
    world.auditor(finished=True).assert_no_leftovers(within=2.0)
    own = {world.base / "own", world.base / "away", *(world.grove.root / name for name in USERS)}
    found = set(checkouts(world.grove.repo))
    assert found == own, f"git lists other worktrees: {sorted(map(str, found ^ own))}"
    assert world.all_refs() == world.refs, "a ref is left"
    users_is_there(world)
    nobodys = stored(world)
    assert not nobodys, f"the store holds what nobody owns: {nobodys}"


def branches(world: World, refs: str | None = None) -> list[str]:
    """The names of the branches."""
    lines = (world.all_refs() if refs is None else refs).splitlines()
    return [line.split()[0].removeprefix("refs/heads/") for line in lines if line.startswith("refs/heads/")]


def stored(world: World) -> dict[str, list[Any]]:
    """What the store has of commands and runs that are over, and leases of nothing."""
    with closing(sqlite3.connect(world.grove.state / "state.db")) as store:
        found = {name: store.execute(question).fetchall() for name, question in NOBODYS.items()}
    return {name: rows for name, rows in found.items() if rows}
