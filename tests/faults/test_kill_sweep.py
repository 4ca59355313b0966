"""kill -9 at every step, and at random moments: the next command leaves a whole worktree or none.

Each case says what is there before, which command is killed, and what may be there afterwards. What the auditor
finds is judged after each kill; see sweeping.Site. The steps are found while they happen: none is missed when plans
change.
"""

from __future__ import annotations

import itertools
import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest

from faults.sweeping import LIST, OUTPUT, Site, duration_of, random_source
from grove import Grove
from testgrove.core.model import LeaseKind, WorktreeId, WorktreeSpec
from testgrove.core.worktrees import lifecycle

Make = Callable[..., Grove]
ALL = "KILLING_ALL"  # set it to leave no step out
CREATE = ("create", "--purpose", "test-unit", "--identifier", "x", "--branch", "fresh", "--new-branch", "--ports")


class Named(type):
    def __str__(cls) -> str:
        return cls.__name__


class Case(metaclass=Named):
    """A command that is killed again and again. command: it; next: the commands that may follow, in turn."""

    config = ""  # the project's
    command: tuple[str, ...] = (*CREATE, "--no-env")
    next: tuple[tuple[str, ...], ...] = (LIST,)
    after: tuple[int, ...] = (0,)  # the exit statuses that these may have

    def __init__(self, site: Site) -> None:
        self.site, self.grove = site, site.grove

    def prepare(self) -> None:
        """Make what the command needs."""

    def check(self, there: dict) -> None:
        """Judge what is there, and take it away."""
        assert set(there) <= {"test-unit-x"}
        self.check_branch(there)
        if there:
            self.remove("test-unit-x")

    def check_branch(self, there: dict) -> None:
        """The branch came with the worktree, or not at all; the ports are the first ones again."""
        assert ("fresh" in self.grove.git("branch", "--format=%(refname:short)").split()) == bool(there)
        if there:
            assert there["test-unit-x"]["ports"]["app"] == self.grove.ports[0], "ports have leaked"

    def remove(self, name: str) -> None:
        self.grove.run("remove", name)
        if name == "test-unit-x":
            self.grove.git("branch", "-D", "fresh")

    def judge(self, number: int) -> None:
        command = self.next[number % len(self.next)]
        self.check(self.site.judge(command, self.after))


class Create(Case):
    next = (LIST, (*CREATE, "--no-env"))
    after = (0, 3)  # 3: it was whole already

    def judge(self, number: int) -> None:
        command = self.next[number % len(self.next)]
        there = self.site.judge(command, self.after)
        assert command == LIST or there, "a second create must succeed, or the first one has"
        self.check(there)


class FailingCreate(Case):
    """A create that cannot succeed, killed on its way there and while it undoes itself."""

    command = (
        *("create", "--purpose", "test-unit", "--identifier", "x", "--branch", "fresh", "--new-branch"),
        *("--base", "broken", "--ports", "--no-env"),
    )

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.grove.git("checkout", "--quiet", "-b", "broken")
        self.grove.write({".gitattributes": "*.txt filter=broken\n", "a.txt": "a\n"}, commit="Not to be checked out")
        self.grove.git("checkout", "--quiet", "main")
        for key, value in (("smudge", "false"), ("required", "true")):
            self.grove.git("config", f"filter.broken.{key}", value)

    def check(self, there: dict) -> None:
        assert there == {}
        self.check_branch(there)


class Remove(Case):
    command = ("remove", "test-unit-x")
    next = (LIST, ("remove", "test-unit-x"))
    after = (0, 3)  # 3: it was gone already

    def prepare(self) -> None:
        if "test-unit-x" not in self.grove.worktrees():
            self.grove.run(*CREATE, "--no-env")
            (self.grove.root / "test-unit-x/junit.xml").write_text(OUTPUT)

    def check(self, there: dict) -> None:
        """Outputs are in the worktree, or kept; never lost."""
        assert set(there) <= {"test-unit-x"}
        kept = [*self.grove.root.glob("test-unit-x/junit.xml"), *self.grove.artifacts.glob("test-unit-x/junit*.xml")]
        assert [path.read_text() for path in kept] == [OUTPUT]
        if not there:
            kept[0].unlink()
            self.grove.git("branch", "-D", "fresh")


class Run(Case):
    """`testgrove test`, with a worktree to be made and one to be recycled in turn."""

    command = ("test",)

    def check(self, there: dict) -> None:
        assert set(there) <= {"test-tests-tree"}
        assert {entry["status"] for entry in there.values()} <= {"parked"}
        self.count = getattr(self, "count", 0) + 1
        if there and self.count % 2:
            self.remove("test-tests-tree")


class RunWithServers(Run):
    """A run with a PostgreSQL and a Redis of its own."""

    config = """
[services.postgres]
[services.redis]
[suites.tests]
command = "pytest tests"
services = ["postgres", "redis"]
"""


class Recycle(Run):
    """A worktree that a run has parked, recycled by the next run."""

    def prepare(self) -> None:
        there = self.grove.worktrees()
        if there.get("test-tests-tree", {}).get("status") != "parked":
            if "test-tests-tree" in there:
                self.remove("test-tests-tree")
            self.grove.run("test")

    def check(self, there: dict) -> None:
        assert set(there) <= {"test-tests-tree"}


class TakeOver(Recycle):
    """The same by `create`, which wants it in another folder and so makes it anew."""

    command = ("create", "--purpose", "test-tests", "--identifier", "tree", "--branch", "main", "--ports", "--no-env")


SETUP = """
copy = [".env.local"]
setup = ["touch ../../$WORKTREE_ID.resource made"]
teardown = ["rm -f ../../$WORKTREE_ID.resource"]
"""


class SetUp(Case):
    """A create that copies a file, and makes something outside of the worktree that teardown takes away."""

    config = SETUP

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        exclude = self.grove.repo / ".git/info/exclude"
        exclude.write_text(exclude.read_text() + "/.env.local\n/made\n")
        self.grove.write({".env.local": "KEY=1\n"})

    def check(self, there: dict) -> None:
        resource = self.grove.base / "test-unit-x.resource"
        assert there or not resource.exists(), "nothing has torn it down"
        super().check(there)
        assert not resource.exists()


class RemoveTornDown(SetUp):
    """A worktree that a teardown precedes the end of."""

    command, next, after = ("remove", "test-unit-x"), (LIST, ("remove", "test-unit-x")), (0, 3)

    def prepare(self) -> None:
        if "test-unit-x" not in self.grove.worktrees():
            self.grove.run(*CREATE, "--no-env")

    def check(self, there: dict) -> None:
        assert there or not (self.grove.base / "test-unit-x.resource").exists(), "nothing has torn it down"
        if not there:
            self.grove.git("branch", "-D", "fresh")


class Sync(SetUp):
    """A worktree that somebody lives in, with a newer commit and a newer file to copy."""

    command, next, after = ("sync", "test-unit-x"), (LIST, ("sync", "test-unit-x")), (0,)

    def prepare(self) -> None:
        self.number = getattr(self, "number", 0) + 1
        if "test-unit-x" not in self.grove.worktrees():
            self.grove.create("test-unit", "x", "--ports", "--no-env")
        self.grove.write({".env.local": "KEY=" + "1" * self.number})
        self.grove.write({"README.md": f"Number {self.number}\n"}, commit="newer")

    def check(self, there: dict) -> None:
        """What it was killed in the middle of can be done again, and then nothing in the worktree is anybody's."""
        assert set(there) == {"test-unit-x"}
        self.grove.run("sync", "test-unit-x")
        tree = self.grove.root / "test-unit-x"
        for name in (".env.local", "README.md"):
            assert (tree / name).read_text() == (self.grove.repo / name).read_text()
        if self.number % 3 == 0:
            self.grove.run("remove", "test-unit-x")
            assert not (self.grove.base / "test-unit-x.resource").exists()


class Recovery(Case):
    """The command that finishes what a killed one left, killed itself. dead: the command; at: where it died."""

    command = LIST
    dead: tuple[str, ...] = (*CREATE, "--no-env")
    at = "after take manifest"

    def prepare(self) -> None:
        assert self.site.kill_at(self.at, *self.dead)


class RecoveryOfSetUp(Recovery, SetUp):
    """The command that tears down for a killed create, killed itself."""

    at = "after run setup"
    check = SetUp.check


class RecoveryOfRemove(Recovery):
    dead = ("remove", "test-unit-x")
    at = "before spawn git worktree remove"
    check = Remove.check

    def prepare(self) -> None:
        Remove.prepare(self)
        super().prepare()


class RecoveryOfRun(Recovery):
    dead = ("test",)
    at = "after job pytest"
    check = Run.check


CASES = (
    Create, FailingCreate, SetUp, Sync, Remove, RemoveTornDown, Run, Recycle, TakeOver, Recovery,
    RecoveryOfSetUp, RecoveryOfRemove, RecoveryOfRun,
)  # fmt: skip


def begin(grove: Make, kind: type[Case]) -> Case:
    """A case in a project of its own."""
    return kind(Site(grove(config=kind.config)))


def kill_and_judge(case: Case, kind: str, number: int) -> bool:
    """Kill at a step, and judge what the next command leaves; whether the command came that far."""
    case.prepare()
    killed = case.site.kill_at(f"{kind}:{number}", *case.command)
    case.judge(number)
    return killed


def sweep(case: Case, kind: str) -> int:
    """Kill at one step after the other until the command gets through; the number of kills."""
    return next(kills for kills in itertools.count() if not kill_and_judge(case, kind, kills + 1))


def sweep_some(case: Case, kind: str, kills: int) -> int:
    """Kill at so many steps, chosen at random: many calls meet them all. Returns the number of kills."""
    if os.environ.get(ALL):
        return sweep(case, kind)
    source, words = random_source(type(case), kind)
    case.prepare()
    case.site.kill_at("", *case.command)
    numbers = range(1, case.site.last_number(kind) + 1)
    case.judge(0)
    try:
        return sum(kill_and_judge(case, kind, number) for number in sorted(source.sample(numbers, kills)))
    except AssertionError as error:
        error.add_note(words)
        raise


def test_the_steps_that_are_killed_at_are_all_planned_actions_and_kinds_of_leases(grove):
    site = Site(grove())
    seen: set[str] = set()
    for kind in (Create, Remove, Run, Recycle, Recovery):
        case = kind(site)
        case.prepare()
        site.kill_at("", *case.command)
        seen.update(site.steps())
        if kind is Remove:
            site.grove.git("branch", "-D", "fresh")
        site.judge()
    for kind in (SetUp, RemoveTornDown, RecoveryOfSetUp):
        case = begin(grove, kind)
        case.prepare()
        case.site.kill_at("", *case.command)
        seen.update(case.site.steps())
    # They need servers to be met.
    of_servers = {LeaseKind.KEEPER, LeaseKind.SERVICE, LeaseKind.PERSISTENT_DATABASE, LeaseKind.DATABASE}
    of_servers.add(LeaseKind.LEFT_DATABASE)
    for kind in set(LeaseKind) - of_servers:
        assert {f"{when} {what} {kind}" for when in ("before", "after") for what in ("record", "forget")} <= seen
    taken_away_otherwise = {LeaseKind.TRASH, LeaseKind.BRANCH}
    assert {f"before undo {kind}" for kind in set(LeaseKind) - taken_away_otherwise - of_servers} <= seen
    spec = WorktreeSpec(WorktreeId("test-unit", "x"), None, ports=("app",))
    planned = {*lifecycle.create(spec, recycled=False, copy=True, setup=True), *lifecycle.create(spec, recycled=True)}
    planned |= {*lifecycle.remove(teardown=True)}
    assert {f"{when} {action}" for when in ("before", "after") for action in planned} <= seen


def test_the_plan_on_record_is_the_one_that_is_carried_out(grove):
    """With the databases, and until the end: what is killed tells how far it came."""
    site = Site(grove(config="[services.sqlite]\n"))
    assert site.kill_at("before take manifest", *CREATE)
    with closing(sqlite3.connect(site.grove.state / "state.db")) as store:
        planned = json.loads(store.execute("SELECT plan FROM worktrees WHERE status = 'creating'").fetchone()[0])
    assert "make databases" in planned
    done = [step.removeprefix("after ") for step in site.steps() if step.removeprefix("after ") in planned]
    assert [*done, "take manifest"] == planned
    assert site.judge() == {}


def test_leases_are_undone_in_reverse(grove):
    case = begin(grove, FailingCreate)
    case.site.kill_at("", *case.command)
    steps = case.site.steps()
    recorded = [step.split()[-1] for step in steps if step.startswith("before record")]
    undone = [step.split()[-1] for step in steps if step.startswith("before undo")]
    assert recorded[:4] == ["ports", "checkout", "branch", "processes"]
    assert undone == ["branch", "checkout", "ports", "ports", "ports"]
    case.judge(0)


def test_an_undo_that_is_killed_is_finished(grove):
    """By a recovery, by the failing create itself, and of a worktree that was being recycled."""
    site = Site(grove(config='setup = ["test ! -e ../../fail"]'))
    (site.grove.base / "fail").touch()
    assert site.kill_at("before spawn git worktree remove", *CREATE, "--no-env")
    assert site.judge() == {}
    (site.grove.base / "fail").unlink()
    assert site.kill_at("after take manifest", *CREATE, "--no-env")
    assert site.kill_at("before spawn git worktree remove", *LIST)
    assert site.judge() == {}
    site.grove.run("test")
    assert site.kill_at("before retarget checkout", "test")
    assert site.kill_at("before undo checkout", *LIST)
    assert site.judge() == {}


def test_a_commit_made_between_two_recoveries_is_kept(grove):
    site = Site(grove())
    assert site.kill_at("after take manifest", *CREATE, "--no-env")
    assert site.kill_at("before undo checkout", *LIST)
    tree = site.grove.root / "test-unit-x"
    site.grove.git("-C", str(tree), "commit", "--quiet", "--allow-empty", "-m", "made meanwhile")
    site.grove.git("-C", str(tree), "checkout", "--quiet", "--detach")
    made = site.grove.git("-C", str(tree), "rev-parse", "HEAD").strip()
    site.grove.git("branch", "-D", "fresh")
    assert site.judge() == {}
    assert site.grove.git("for-each-ref", "--format=%(objectname)", "refs/testgrove/rescued").split() == [made]


@pytest.mark.parametrize(
    ("case", "kills"),
    [(Create, 7), (Remove, 5), (Run, 5)],
    ids=str,
)
def test_killed_before_and_after_some_actions(grove, case, kills):
    assert sweep_some(begin(grove, case), "action", kills) >= 3


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_killed_before_and_after_every_action(grove, case):
    assert sweep(begin(grove, case), "action") >= 8


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_killed_between_changes_of_the_store_files_and_processes(grove, case):
    assert sweep_some(begin(grove, case), "effect", 12) >= 6


def random_kills(grove: Make, kind: type[Case], kills: int, part: int) -> None:
    case = begin(grove, kind)
    source, words = random_source(kind, part)
    for _ in range(2):  # the first time is longer: nothing is cached
        case.prepare()
        longest = duration_of(case.grove, *case.command)
        case.judge(0)
    for number in range(kills):
        case.prepare()
        delay = source.uniform(0.0, longest)
        case.site.kill_after(delay, *case.command)
        try:
            case.judge(number)
        except AssertionError as error:
            error.add_note(f"kill number {number} of {words}: {delay:.4f} of {longest:.4f} s")
            raise


@pytest.mark.parametrize("case", [Create], ids=str)
def test_killed_at_a_few_random_moments(grove, case):
    random_kills(grove, case, 4, 0)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(1, 4))
@pytest.mark.parametrize(
    ("case", "kills"), [(Create, 20), (Remove, 16), (Recovery, 14), (RecoveryOfRun, 7), (Run, 10)], ids=str
)
def test_killed_at_two_hundred_random_moments(grove, case, kills, part):
    random_kills(grove, case, kills, part)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.postgres
@pytest.mark.redis
def test_killed_while_servers_run(grove, require_postgres, require_redis):
    random_kills(grove, RunWithServers, 12, 0)
