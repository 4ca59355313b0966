"""A second user of the machine makes our folders first, exchanges them, or puts things into them. None of it works.

The victim is an ordinary user without a home folder: cron, or a unit of the system. Judged from outside: by what the
second user can do to the folders that the victim uses then.
"""

from __future__ import annotations

import os
import shutil
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from second_user import as_user, end, require_root, start_as, two_users
from services.launcher import LocalLauncher
from testgrove.app import keeper
from testgrove.errors import PreconditionError, TestgroveError
from testgrove.services.engines.postgres.binaries import PostgresBinaries
from testgrove.services.hosts.embedded import EmbeddedHost, Identity
from testgrove.system import trusted_paths
from testgrove.system.locations import locate
from testgrove.system.store import Store
from testgrove.system.trusted_paths import make_private

SECRET = "the victim's password"


@dataclass
class World:
    """Two users, and a folder of root's that both can pass through."""

    victim: int
    attacker: int
    base: Path

    @property
    def places(self) -> dict[str, Path]:
        """What the victim uses by default."""
        user = self.victim
        return {
            "state": Path(f"/var/tmp/testgrove-{user}"),
            "cache": Path(f"/var/tmp/testgrove-{user}-cache"),
            "scratch": Path(f"/tmp/testgrove-{user}"),
            "memory": Path(f"/dev/shm/testgrove-{user}"),
        }

    def use(self, environ: dict[str, str] | None = None) -> list[Path]:
        """The folders that the victim uses, with a secret in each. Raises PreconditionError."""
        return as_user(self.victim, work, environ or {})

    def assert_harmless(self, folders: list[Path]) -> None:
        """The second user can do nothing to them."""
        for folder in folders:
            assert folder.lstat().st_uid == self.victim
            as_user(self.attacker, attack, folder)
            assert (folder / "secret").read_text() == SECRET
            assert folder.is_dir()
            assert not folder.is_symlink()


def work(environ: dict[str, str]) -> list[Path]:
    """What the victim does."""
    found = locate(environ)
    store = Store(found.store)
    store.close()
    folders = list(dict.fromkeys([found.state, found.cache, found.scratch, found.memory]))
    for folder in folders:
        (folder / "secret").write_text(SECRET)
    return folders


def attack(folder: Path) -> None:
    """What the second user tries."""
    attempts: list[Callable[[], object]] = [
        lambda: folder.rename(folder.with_name(folder.name + "-taken")),
        folder.rmdir,
        (folder / "planted").touch,
        (folder / "secret").read_text,
        (folder / "secret").unlink,
        (folder / "state.db").read_bytes,
        lambda: list(folder.iterdir()),
        lambda: folder.chmod(0o777),
        lambda: Path(f"/tmp/move-{os.getuid()}").replace(folder),
    ]
    assert not [number for number, attempt in enumerate(attempts) if succeeds(attempt)]


def succeeds(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except OSError:
        return False
    return True


@pytest.fixture
def world() -> Iterator[World]:
    victim, attacker = two_users()
    base = Path(f"/tmp/tg-two-{victim}")
    base.mkdir(mode=0o711)
    made = World(victim, attacker, base)
    yield made
    for folder in (base, *made.places.values()):
        if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder)
        else:
            folder.unlink(missing_ok=True)


def plant(kind: str, place: Path, elsewhere: Path) -> None:
    """What the second user puts at a place that the victim has not used yet."""
    match kind:
        case "folder":
            place.mkdir(mode=0o777)
        case "link to a folder of theirs":
            elsewhere.mkdir(mode=0o777)
            place.symlink_to(elsewhere)
        case "dangling link":
            place.symlink_to(elsewhere / "missing")
        case "file":
            place.touch()
        case "pipe":
            os.mkfifo(place)
        case "socket":
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(str(place))


KINDS = ["folder", "link to a folder of theirs", "dangling link", "file", "pipe", "socket"]


def test_without_tricks_a_user_without_a_home_has_safe_folders(world: World) -> None:
    folders = world.use()
    assert set(folders) <= set(world.places.values())
    world.assert_harmless(folders)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", ["state", "cache", "scratch", "memory"])
def test_what_the_second_user_has_made_first_is_not_used(world: World, place: str, kind: str) -> None:
    elsewhere = Path(f"/tmp/tg-theirs-{world.attacker}")
    try:
        as_user(world.attacker, plant, kind, world.places[place], elsewhere)
        began = time.monotonic()
        if place == "memory":  # there is another place for that
            folders = world.use()
            assert world.places["memory"] not in folders
            world.assert_harmless(folders)
        else:
            with pytest.raises(PreconditionError) as caught:
                world.use()
            assert caught.value.code == "folder-unusable"
        assert time.monotonic() - began < 10, "a pipe was waited for"
        assert not elsewhere.is_dir() or not any(elsewhere.iterdir())
    finally:
        shutil.rmtree(elsewhere, ignore_errors=True)


def use_programs(_world: World, place: Path) -> None:
    """What root does that lets `nobody` execute binaries which that user cannot reach."""
    host = EmbeddedHost(LocalLauncher(), ours=(), copies=place, identity=Identity("nobody", user=(65534, 65534)))
    nowhere = Path("/nowhere")
    host.reachable(PostgresBinaries(nowhere / "bin", nowhere, nowhere, "15.18", 15, "machine", "x"))


def use_servers(world: World, place: Path) -> None:
    """What root does before a keeper starts there."""
    keeper._make_folders(keeper.KeeperLocation("p", place / "p", world.base / "run"))


@pytest.mark.parametrize("kind", ["folder", "link to a folder of theirs"])
@pytest.mark.parametrize("use", [use_programs, use_servers], ids=lambda use: use.__name__)
def test_places_for_other_users_in_var_tmp_are_not_used_either(
    world: World, use: Callable[[World, Path], None], kind: str
) -> None:
    place, elsewhere = Path(f"/var/tmp/tg-{use.__name__}-{world.victim}"), Path(f"/var/tmp/tg-theirs-{world.attacker}")
    try:
        as_user(world.attacker, plant, kind, place, elsewhere)
        with pytest.raises(PreconditionError) as caught:
            use(world, place)
        assert caught.value.code == "folder-unusable"
        assert not any(place.iterdir())
    finally:
        for path in (place, elsewhere):
            path.unlink() if path.is_symlink() else shutil.rmtree(path, ignore_errors=True)


@pytest.mark.parametrize("kind", ["folder", "link to a folder of theirs", "dangling link", "writable folder"])
def test_the_folder_of_worktrees_made_by_another_user_is_refused(grove, tmp_path, kind):
    """A repository in /tmp: the name of the folder beside it can be had first. Who owns it could replace a worktree."""
    require_root()
    project = grove()
    if kind == "writable folder":
        project.root.mkdir()
        project.root.chmod(0o777)
    else:
        plant(kind, project.root, tmp_path / "theirs")
        for path in (project.root, tmp_path / "theirs"):
            if os.path.lexists(path):
                os.chown(path, 65534, 65534, follow_symlinks=False)
    done = project.create("review", "a", check=False)
    assert done.returncode == 3, done
    assert str(project.root) in done.stderr
    assert ("writable by all" if kind == "writable folder" else "belongs to user 65534") in done.stderr
    assert not project.worktrees()
    assert not (tmp_path / "theirs/review-a").exists()


def acl_for(user: int) -> bytes:
    """An access control list: a user may write, and so the mask, which is shown as the group's permissions."""
    none = 0xFFFFFFFF
    entries = [(1, 7, none), (2, 7, user), (4, 0, none), (16, 7, none), (32, 0, none)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def other_users_folder(world: World, parent: Path) -> None:
    parent.mkdir(mode=0o755)
    os.chown(parent, world.attacker, world.attacker)


def everybody_writes(world: World, parent: Path) -> None:
    parent.mkdir()
    os.chown(parent, world.victim, world.victim)
    parent.chmod(0o777)


def a_shared_group_writes(world: World, parent: Path) -> None:
    parent.mkdir()
    os.chown(parent, world.victim, world.attacker)
    parent.chmod(0o775)


def a_list_lets_them_write(world: World, parent: Path) -> None:
    parent.mkdir()
    os.chown(parent, world.victim, world.victim)
    parent.chmod(0o770)
    try:
        os.setxattr(parent, "system.posix_acl_access", acl_for(world.attacker))
    except OSError as error:
        pytest.skip(f"no access control lists here: {error}")


def their_sticky_folder(world: World, parent: Path) -> None:
    parent.mkdir()
    os.chown(parent, world.attacker, world.attacker)
    parent.chmod(0o1777)


def a_link_of_theirs(world: World, parent: Path) -> None:
    real = parent.with_name("real")
    real.mkdir(mode=0o755)
    os.chown(real, world.victim, world.victim)
    parent.symlink_to(real)
    os.lchown(parent, world.attacker, world.attacker)


def a_link_into_their_folder(world: World, parent: Path) -> None:
    theirs = parent.with_name("theirs")
    other_users_folder(world, theirs)
    (theirs / "ours").mkdir()
    os.chown(theirs / "ours", world.victim, world.victim)
    parent.symlink_to("theirs/ours")


def a_way_back_out_of_their_folder(world: World, parent: Path) -> None:
    theirs, ours = parent.with_name("theirs"), parent.with_name("ours")
    other_users_folder(world, theirs)
    ours.mkdir()
    os.chown(ours, world.victim, world.victim)
    parent.symlink_to("theirs/../ours")


def a_chain_of_links(world: World, parent: Path) -> None:
    a_link_into_their_folder(world, parent.with_name("second"))
    parent.symlink_to(parent.with_name("second"))


def links_without_end(_world: World, parent: Path) -> None:
    parent.symlink_to(parent.with_name("b"))
    parent.with_name("b").symlink_to(parent)


PARENTS = [
    other_users_folder, everybody_writes, a_shared_group_writes, a_list_lets_them_write, their_sticky_folder,
    a_link_of_theirs, a_link_into_their_folder, a_way_back_out_of_their_folder, a_chain_of_links, links_without_end,
]  # fmt: skip


@pytest.mark.parametrize("parent", PARENTS, ids=lambda parent: parent.__name__)
@pytest.mark.parametrize("there", [True, False], ids=["used before", "new"])
def test_a_way_that_the_second_user_could_change_is_refused(
    world: World, parent: Callable[[World, Path], None], *, there: bool
) -> None:
    way = world.base / "way"
    parent(world, way)
    with suppress(OSError):
        if there:
            (way / "state").mkdir(mode=0o700)
            os.chown(way / "state", world.victim, world.victim)
    with pytest.raises(PreconditionError) as caught:
        world.use({"TESTGROVE_STATE_DIR": str(way / "state")})
    assert caught.value.code == "folder-unusable"
    assert len(caught.value.message.splitlines()) == 1


def test_a_home_that_another_user_could_change_is_not_used(world: World) -> None:
    home = world.base / "home"
    other_users_folder(world, home)
    folders = world.use({"HOME": str(home)})
    assert set(folders) <= set(world.places.values())
    assert not any(home.iterdir())


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_without_any_safe_place_there_is_a_sentence(world: World, kind: str) -> None:
    home = world.base / "home"
    other_users_folder(world, home)
    as_user(world.attacker, plant, kind, world.places["state"], home / "unused")
    with pytest.raises(PreconditionError) as caught:
        world.use({"HOME": str(home)})
    assert f"{home} belongs to user {world.attacker}, who could replace files below it" in caught.value.message


def ordinary(world: World, mode: int, group: int | None = None) -> Path:
    home = world.base / "home"
    home.mkdir()
    os.chown(home, world.victim, world.victim if group is None else group)
    home.chmod(mode)
    return home


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o775, 0o2775, 0o1777], ids=oct)
def test_ordinary_homes_work(world: World, mode: int) -> None:
    """Also those of a umask of 002, writable by a group that only their user is in."""
    home = ordinary(world, mode)
    folders = world.use({"HOME": str(home)})
    assert home / ".local/state/testgrove" in folders
    world.assert_harmless([folder for folder in folders if home in folder.parents])


def test_a_link_of_our_own_to_a_larger_disk_works(world: World) -> None:
    home = ordinary(world, 0o755)
    disk = world.base / "disk"
    disk.mkdir()
    os.chown(disk, world.victim, world.victim)
    as_user(world.victim, os.symlink, disk, home / ".cache")
    assert disk / "testgrove" in world.use({"HOME": str(home)})


# Files in a folder that everybody could write to once


def planted_store(kind: str, path: Path, victims: Path) -> None:
    match kind:
        case "file" | "log":
            path.touch(mode=0o666)
        case "link":
            path.symlink_to(victims)
        case "hard link":
            path.hardlink_to(victims)
        case _:
            plant(kind, path, victims)


@pytest.mark.parametrize("kind", ["file", "log", "link", "hard link", "pipe", "socket"])
def test_a_store_that_is_not_ours_is_refused(world: World, kind: str) -> None:
    folder = ordinary(world, 0o700)
    victims = folder / "notes"
    victims.write_text(SECRET)
    os.chown(victims, world.victim, world.victim)
    path = folder / ("state.db-wal" if kind == "log" else "state.db")
    planted_store(kind, path, victims)
    if kind != "hard link":
        os.lchown(path, world.attacker, world.attacker)
    with pytest.raises(PreconditionError) as caught:
        as_user(world.victim, lambda: Store(folder / "state.db").close())
    assert caught.value.code == "not-ours"
    assert victims.read_text() == SECRET


def test_a_folder_of_ours_that_everybody_can_write_to_is_refused(world: World) -> None:
    folder = ordinary(world, 0o777)
    with pytest.raises(PreconditionError, match="is writable by all users"):
        as_user(world.victim, make_private, folder)


# Races: the window between a look and what follows it is as wide as the second user wants it


def widened(world: World, step: str, between: Callable[[], object]) -> Callable[[], list[Path]]:
    """What the victim does, with the second user at work before one step of it."""

    def victim() -> list[Path]:
        real = getattr(trusted_paths, step)

        def slow(*arguments: object) -> object:
            # The other user acts through a helper that waits for this file.
            (world.base / "go").touch()
            while (world.base / "go").exists():
                time.sleep(0.001)
            return real(*arguments)

        setattr(trusted_paths, step, slow)
        return work({})

    def helper() -> None:
        while True:
            if (world.base / "go").exists():
                with suppress(OSError):
                    between()
                (world.base / "done").touch()
                while (world.base / "done").exists():
                    time.sleep(0.001)
            time.sleep(0.001)

    def run() -> list[Path]:
        world.base.chmod(0o777)
        child = start_as(world.attacker, helper)
        clerk = start_as(0, _clerk, world.base)
        try:
            return as_user(world.victim, victim)
        finally:
            end(child)
            end(clerk)

    return run


def _clerk(base: Path) -> None:
    """Lets the victim go on when the other user has done what it wanted."""
    while True:
        if (base / "done").exists():
            (base / "go").unlink(missing_ok=True)
            (base / "done").unlink(missing_ok=True)
        time.sleep(0.001)


def exchanges(world: World) -> dict[str, Callable[[], object]]:
    place, theirs = world.places["state"], Path(f"/var/tmp/testgrove-{world.attacker}-theirs")

    def folder() -> None:
        place.mkdir(mode=0o777)

    def link() -> None:
        theirs.mkdir(mode=0o777, exist_ok=True)
        place.symlink_to(theirs)

    def away() -> None:
        place.rename(theirs)
        place.mkdir(mode=0o777)

    return {"folder": folder, "link": link, "away": away}


@pytest.mark.parametrize("step", ["_own_folder", "_why_writable", "_require_trusted_owner"])
@pytest.mark.parametrize("what", ["folder", "link", "away"])
def test_a_window_that_is_wide_open_helps_nobody(world: World, step: str, what: str) -> None:
    theirs = Path(f"/var/tmp/testgrove-{world.attacker}-theirs")
    try:
        world.assert_harmless(unless_refused(widened(world, step, exchanges(world)[what])))
        assert not theirs.exists() or not any(theirs.iterdir())
    finally:
        shutil.rmtree(theirs, ignore_errors=True)


def unless_refused(action: Callable[[], list[Path]]) -> list[Path]:
    """The folders; none where they were refused."""
    try:
        return action()
    except TestgroveError as error:
        if error.code != "folder-unusable":
            raise
        return []


def hammer(places: list[Path]) -> None:
    theirs = Path(f"/tmp/tg-theirs-{os.getuid()}")
    theirs.mkdir(mode=0o777, exist_ok=True)
    while True:
        for place in places:
            for action in (place.mkdir, place.rmdir, lambda p=place: p.symlink_to(theirs), place.unlink):
                with suppress(OSError):
                    action()


@pytest.mark.slow
def test_a_second_user_who_never_stops_gets_nothing(world: World) -> None:
    theirs = Path(f"/tmp/tg-theirs-{world.attacker}")
    child = start_as(world.attacker, hammer, list(world.places.values()))
    try:
        for _ in range(150):
            folders = unless_refused(world.use)
            assert all(folder.lstat().st_uid == world.victim for folder in folders)
            for place in world.places.values():
                with suppress(OSError):
                    if place.lstat().st_uid == world.victim:
                        shutil.rmtree(place)
        assert not any(theirs.iterdir())
    finally:
        end(child)
        shutil.rmtree(theirs, ignore_errors=True)
