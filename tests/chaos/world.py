"""A user's machine in small: projects that share a state folder, and in one everything a user can have.

The state folder, the repository and the folder of the worktrees are file systems of their own where that is possible:
they can become full, run out of inodes, or turn read-only, for git as well.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from auditor import Auditor, git
from chaos.actors import Actor, start
from chaos.effects import Effects
from chaos.faults import Fault
from grove import Grove, new_base, plant, uproot
from situations.judge import Looks, looks_of, protected
from testgrove.app.composition import open_project
from testgrove.app.worktrees import operations, records
from testgrove.cli.main import main
from testgrove.core.model import WorktreeId, WorktreeSpec, WorktreeStatus

CONFIG = 'copy = [".env.local"]\n[suites.tests]\ncommand = "true"\n'
FILES = {"README.md": "A project.\n", "src/code.py": "VALUE = 1\n", ".gitignore": "*.local\n"}
AWAY = "away"
OURS = (".env.local", ".env.test", ".worktree-metadata.json", records.REGISTRY)
USERS = (
    "review-mine",
    "test-unit-theirs",
    "test-unit-commit",
    "test-unit-file",
)  # worktrees that nothing may take away
MEGABYTES = 96


@dataclass
class World:
    """grove: the project that faults happen in; other: one that must not notice; served: one with a database."""

    grove: Grove
    other: Grove
    served: Grove
    mounts: dict[str, Path] = field(default_factory=dict)
    patch: Callable[[], None] | None = None  # a seeded bug
    looks: Looks = field(default_factory=dict)
    objects: frozenset[str] = frozenset()
    refs: str = ""
    count: int = 0

    @property
    def base(self) -> Path:
        return self.grove.base

    @property
    def tree(self) -> Path:
        """The worktree that commands are about."""
        return self.grove.root / "test-unit-x"

    def begin(
        self,
        *words: str,
        faults: Sequence[Fault] = (),
        before: Callable[[], None] | None = None,
        where: Grove | None = None,
        run: Callable[[list[str]], None] = main,
    ) -> Actor:
        """Start a command. before: called in its process first."""
        self.count += 1
        grove = where or self.grove
        actor = Actor(words, grove.repo, self.base / "out" / str(self.count))

        def prepared(arguments: list[str]) -> None:
            if self.patch is not None:
                self.patch()
            Effects(self.base, self.log(actor), faults).install()
            if before is not None:
                before()
            run(arguments)

        start(actor, grove.env, prepared)
        grove.commands.append(Command(actor))
        return actor

    def run(self, *words: str, where: Grove | None = None, **options: object) -> Actor:
        """A command without a fault, to its end."""
        actor = self.begin(*words, where=where, **options)
        actor.wait()
        return actor

    def must(self, *words: str, where: Grove | None = None) -> Actor:
        """A command that must succeed."""
        actor = self.run(*words, where=where)
        assert actor.returncode == 0, actor.said()
        return actor

    @staticmethod
    def log(actor: Actor) -> Path:
        """Where a command's effects are logged."""
        return actor.output.with_suffix(".log")

    def stage(self, name: str, *, parked: bool = False) -> None:
        """Make a worktree ready, or parked as a run leaves it."""

        def stage(_words: list[str]) -> None:
            project = open_project(Path.cwd(), lambda *_: ())
            with project.holding("staging") as holder:
                spec = WorktreeSpec(WorktreeId("test-unit", name), "main", environment=False)
                operations.create(project, holder, spec, operations.target_of(project, "main"))
                if parked:
                    worktree = records.take(project, holder, records.named(project, str(spec.id)), WorktreeStatus.READY)
                    operations.park(project, holder, worktree, collect_into=project.artifacts / "staging")

        actor = self.run("stage", name, run=stage)
        assert actor.returncode == 0, actor.said()

    @contextlib.contextmanager
    def limited(self, place: str, what: str, left: int) -> Iterator[None]:
        """A file system with so many kilobytes or inodes left, or read-only."""
        path = self.mounts[place]
        now = os.statvfs(path)
        used = (now.f_blocks - now.f_bfree) * now.f_frsize // 1024, now.f_files - now.f_ffree
        option = {"space": f"size={used[0] + left}k", "inodes": f"nr_inodes={used[1] + left}", "read-only": "ro"}[what]
        _mount("-o", f"remount,{option}", str(path))
        try:
            yield
        finally:
            _mount("-o", f"remount,rw,size={MEGABYTES}m,nr_inodes=20000", str(path))

    def remember(self) -> None:
        """What is here now is the user's."""
        self.looks, self.objects, self.refs = self.users(), frozenset(protected(self.base)), self.all_refs()

    def users(self) -> Looks:
        """What the user's files look like."""
        found: Looks = {}
        for name in (*USERS, "../own", "../disk", "../project"):
            found |= looks_of(Path(os.path.normpath(self.grove.root / name)))
        for name in list(found):
            top = name == str(self.grove.repo)  # files of ours come and go in it
            if top or Path(name).name in OURS or name.startswith(str(self.grove.artifacts)):
                del found[name]
        return found

    def all_refs(self) -> str:
        """Every branch, tag and stash, and where it is."""
        return self.grove.git("for-each-ref", "--format=%(refname) %(objectname)")

    def auditor(self, *, finished: bool = False) -> WorldAuditor:
        """An auditor of the projects. finished: nothing is left for the next command to do."""
        auditor = WorldAuditor(**vars(self.grove.auditor(self.other, self.served)))
        auditor.finished = finished
        return auditor

    def close(self) -> None:
        """Take it all away."""
        for path in self.mounts.values():
            subprocess.run(["umount", "--lazy", path], check=False, capture_output=True)
        uproot(self.base)


class WorldAuditor(Auditor):
    """Knows that a user has worktrees which testgrove did not make, and one on a disk that is not mounted."""

    finished = False

    def broken(self) -> list[str]:
        """See Auditor."""
        theirs = (f"{self.places[0].parent}/own:", f"/worktrees/{AWAY}: its worktree")
        # An output whose copying to another file system was killed; the next collection replaces it.
        again = () if self.finished else ("test-artifacts/test-unit-x/.junit",)
        return [line for line in super().broken() if not any(words in line for words in (*theirs, *again))]


@dataclass
class Command:
    """An actor as the auditor knows commands."""

    actor: Actor

    def ran_as(self, pid: int, when: float) -> bool:
        """Whether it was the process of that pid at that time."""
        return pid == self.actor.pid and self.actor.started - 1 <= when <= (self.actor.ended or float("inf")) + 1


def make(patch: Callable[[], None] | None = None) -> World:
    """A world as its user has made it. patch: called in every command's process, to break testgrove."""
    base = new_base()
    grove = plant(base, files=FILES, config=CONFIG)
    world = World(grove, grove.sibling("other"), grove.sibling("served", config="[services.redis]\n"), patch=patch)
    (base / "out").mkdir()
    world.mounts = _mounted({"state": grove.state, "root": grove.root, "repository": grove.repo})
    _furnish(world)
    world.remember()
    return world


def _mounted(places: dict[str, Path]) -> dict[str, Path]:
    """Small file systems in these places, with what is there; none where this process may not mount."""
    for path in places.values():
        path.mkdir(exist_ok=True)
    mounts = {}
    for name, path in places.items():
        aside = path.with_name(f"{path.name}.aside")
        path.rename(aside)
        path.mkdir()
        if _mount("-t", "tmpfs", "-o", f"size={MEGABYTES}m,nr_inodes=20000,mode=755", "none", str(path)):
            mounts[name] = path
        shutil.copytree(aside, path, symlinks=True, dirs_exist_ok=True)
        shutil.rmtree(aside)
    return mounts


def _mount(*words: str) -> bool:
    return subprocess.run(["mount", *words], check=False, capture_output=True).returncode == 0


def _furnish(world: World) -> None:
    """What a user has: worktrees with work in them, own ones, one on a disk that is not mounted, stashes, branches."""
    grove = world.grove
    grove.git("branch", "topic")
    (grove.repo / ".env.local").write_text("KEY=1\n")
    given = ("--purpose", "review", "--identifier", "mine", "--branch", "mine", "--new-branch", "--no-env")
    world.must("create", *given)
    for name in USERS[1:]:
        world.stage(name.removeprefix("test-unit-"))
    mine, theirs, commit, file = (grove.root / name for name in USERS)
    git(commit, "commit", "--quiet", "--allow-empty", "--message", "on no branch")
    for tree in (mine, file):
        (tree / "notes.txt").write_text("mine\n")
    (mine / "README.md").write_text("mine\n")
    for tree, branch in ((theirs, ""), (world.base / "own", "own"), (world.base / "away", "away")):
        if branch:
            grove.git("worktree", "add", "--quiet", "--detach", str(tree))
        (tree / "README.md").write_text(f"{tree.name}\n")
        git(tree, "commit", "--quiet", "--all", "--message", f"only in {tree.name}")
        (tree / "staged.txt").write_text(f"staged in {tree.name}\n")
        git(tree, "add", "staged.txt")
    (world.base / "disk").mkdir()
    (world.base / "away").rename(world.base / "disk/away")
    (grove.repo / "README.md").write_text("stashed\n")
    grove.git("stash", "--quiet")
    (grove.repo / "notes.txt").write_text("mine\n")
