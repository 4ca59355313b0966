from __future__ import annotations

from pathlib import Path

from testgrove.core.runs.container_owner import AttemptInterval, Container, goes_by_itself, suspects, told_as

A = AttemptInterval("a", 1, (Path("/w/one"), Path("/s/a")), began=100.0, ended=110.0)
B = AttemptInterval("b", 1, (Path("/w/two"),), began=105.0)
COMPOSE = "com.docker.compose.project.working_dir"


def made(created: float | None, **more) -> Container:
    return Container("id", "db", "postgres:18", created, **more)


def who(container: Container, slack: float = 0.0) -> list[AttemptInterval]:
    return suspects(container, [A, B], slack)


def test_only_those_that_ran_when_it_was_made_are_suspected():
    assert who(made(99.0)) == []
    assert who(made(101.0)) == [A]
    assert who(made(107.0)) == [A, B]
    assert who(made(111.0)) == [B]


def test_clocks_may_differ_or_not_be_comparable():
    assert who(made(99.5), slack=1.0) == [A]
    assert who(made(110.5), slack=1.0) == [A, B]
    assert who(made(None)) == [A, B]


def test_what_it_was_started_for_tells_whose_it_is():
    assert who(made(107.0, labels={COMPOSE: "/w/one/deploy"})) == [A]
    assert who(made(107.0, labels={COMPOSE: "/w/oneself"})) == []
    assert who(made(107.0, labels={"devcontainer.local_folder": "/home/me/shop"})) == []
    assert who(made(107.0, mounts=(Path("/w/two/sql"), Path("/var/run/docker.sock")))) == [B]
    assert who(made(107.0, mounts=(Path("/var/run/docker.sock"),))) == [A, B]
    assert who(made(99.0, mounts=(Path("/w/one"),))) == []


def test_what_a_reaper_takes_away_is_no_leak_while_the_reaper_is_there():
    reaper = Container("r", "testcontainers-ryuk-5f", "testcontainers/ryuk:0.8.1")
    mine = made(1.0, labels={"org.testcontainers.session-id": "5f"})
    other = made(1.0, labels={"org.testcontainers.sessionId": "77"})
    assert goes_by_itself(reaper, [reaper])
    assert goes_by_itself(mine, [reaper, mine])
    assert not goes_by_itself(mine, [mine])
    assert not goes_by_itself(other, [reaper, other])
    assert not goes_by_itself(made(1.0), [reaper])


def test_others_that_may_have_left_it_are_named():
    assert told_as(made(1.0), [A]) == ("db (postgres:18)", "")
    assert told_as(made(1.0), [A, B, AttemptInterval("a", 2, (), 0.0)]) == (
        "db (postgres:18)",
        "or left by b running at the same time",
    )
