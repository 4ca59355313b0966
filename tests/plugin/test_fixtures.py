"""The fixtures say what testgrove gave this worktree, and outside testgrove what to do."""

from __future__ import annotations

import json

import pytest

from pytest_testgrove.names import KNOWN
from testgrove.core.engines.fixtures import described_fixtures

METADATA = {"schema": 1, "id": "test-unit-here", "ports": {"app": 8001, "api": 8002}}


@pytest.fixture
def plain(suite):
    """A suite outside testgrove, where pytest-testgrove is installed."""
    suite.inject = False
    return suite


def uses(name, statement="..."):
    return {"test_a": f"def test_a({name}):\n    {statement}\n"}


def test_the_worktree(suite):
    suite.env = {"WORKTREE_ID": "test-unit-here"}
    (suite.tree / ".worktree-metadata.json").write_text(json.dumps(METADATA))
    check = f"assert (worktree.id, str(worktree.path)) == ('test-unit-here', {str(suite.tree)!r})"
    assert suite.run(**uses("worktree", check)).status == 0
    assert suite.run(**uses("worktree", "assert worktree.metadata['schema'] == 1")).status == 0


def test_the_metadata_is_read_only_when_it_is_asked_for(suite):
    suite.env = {"WORKTREE_ID": "test-unit-here"}
    (suite.tree / ".worktree-metadata.json").write_text("no JSON")
    assert suite.run(**uses("worktree", "assert worktree.id == 'test-unit-here'")).status == 0
    assert suite.run(**uses("worktree", "worktree.metadata")).status == 1


def test_a_worktree_is_found_by_its_metadata_in_a_plain_run(plain):
    (plain.tree / ".worktree-metadata.json").write_text(json.dumps(METADATA))
    assert plain.run(**uses("worktree", "assert worktree.id == 'test-unit-here'")).status == 0


def test_ports_from_the_environment(suite):
    suite.env = {"TESTGROVE_PORTS": "app,api", "APP_PORT": "8001", "API_PORT": "8002", "OTHER_PORT": "1"}
    assert suite.run(**uses("ports", "assert ports == {'app': 8001, 'api': 8002}")).status == 0


def test_ports_from_the_metadata(plain):
    (plain.tree / ".worktree-metadata.json").write_text(json.dumps(METADATA))
    assert plain.run(**uses("ports", "assert ports['api'] == 8002")).status == 0


def test_a_port_that_is_named_but_not_set_is_said(suite):
    suite.env = {"TESTGROVE_PORTS": "app"}
    assert "APP_PORT is 'not set'" in suite.run(**uses("ports")).output


def test_the_urls_of_processes(suite):
    suite.env = {
        "TESTGROVE_PROCESSES": "api,web-app,worker",
        "API_URL": "http://127.0.0.1:1",
        "WEB_APP_URL": "http://127.0.0.1:2",
        "OTHER_URL": "http://somebody",
    }
    check = "assert process_urls == {'api': 'http://127.0.0.1:1', 'web-app': 'http://127.0.0.1:2'}"
    assert suite.run(**uses("process_urls", check)).status == 0
    result = suite.run(**uses("process_urls", "process_urls['worker']"))
    assert "process 'worker' with an address not found" in result.output
    assert "available: api, web-app" in result.output


@pytest.mark.parametrize(("fixture", "variable"), [("database_url", "DATABASE_URL"), ("redis_url", "REDIS_URL")])
def test_urls(suite, fixture, variable):
    suite.env = {"WORKTREE_ID": "test-unit-here", variable: "scheme://here"}
    assert suite.run(**uses(fixture, f"assert {fixture} == 'scheme://here'")).status == 0
    del suite.env[variable]
    result = suite.run(**uses(fixture))
    assert result.outcomes() == {"test_a": "error"}
    assert f"{variable} is not set" in result.output


@pytest.mark.parametrize(
    ("fixture", "variable"),
    [("worktree", "TESTGROVE_TREE"), ("ports", "TESTGROVE_PORTS"), ("database_url", "DATABASE_URL"),
     ("process_urls", "TESTGROVE_PROCESSES")],
)  # fmt: skip
def test_outside_testgrove_each_names_the_variable_and_the_command(plain, fixture, variable):
    plain.env = {"DATABASE_URL": "postgresql://somebody/real", "REDIS_URL": "redis://somebody"}
    result = plain.run(**uses(fixture))
    assert result.status == 1
    assert f"fixture '{fixture}'" in result.output
    assert variable in result.output
    assert "`testgrove test`" in result.output
    assert "somebody" not in result.output


@pytest.mark.parametrize("fixture", ["redis_url", "redis_socket", "sqlite_path", "database", "migrations"])
def test_outside_testgrove_what_a_broker_lends_needs_the_command(plain, fixture):
    plain.env = {"REDIS_URL": "redis://somebody", "TESTGROVE": str(plain.tree / "none")}
    result = plain.run(**uses(fixture))
    assert result.status == 1
    assert f"fixture '{fixture.replace('socket', 'url')}'" in result.output
    assert "pip install 'testgrove[embedded]'" in result.output
    assert "somebody" not in result.output


def test_a_test_without_a_database_of_its_own_gets_no_other(suite):
    suite.env = {"WORKTREE_ID": "x", "SQLITE_URL": "sqlite:////home/somebody/real.db"}
    result = suite.run(**uses("sqlite_path"))
    assert result.outcomes() == {"test_a": "error"}
    assert "fixture 'sqlite_path': this suite has no SQLite for its tests" in result.output
    assert "somebody" not in result.output


@pytest.mark.parametrize("fixture", ["worktree", "ports", "database_url", "redis_url", "migrations"])
def test_a_projects_own_fixture_wins(suite, fixture):
    conftest = f"import pytest\n@pytest.fixture\ndef {fixture}():\n    return 'mine'\n"
    assert suite.run(conftest=conftest, **uses(fixture, f"assert {fixture} == 'mine'")).status == 0


def test_they_are_made_once_for_a_session(suite):
    suite.env = {
        "WORKTREE_ID": "x",
        "DATABASE_URL": "a://b",
        "REDIS_URL": "c://d",
        "TESTGROVE_PORTS": "app",
        "APP_PORT": "1",
    }
    conftest = (
        "import pytest\n@pytest.fixture(scope='session')\ndef all(worktree, ports, database_url, redis_url): ...\n"
    )
    assert suite.run(conftest=conftest, **uses("all")).status == 0


DECLARED = {
    "graph": {
        "title": "Graph", "variable": "GRAPH_URL", "isolations": ["reset"], "emptied": True,
        "fixtures": [
            {"name": "graph_url"},
            {"name": "graph_socket", "value": "{socket}"},
            {"name": "graph_driver", "make": "driver:Driver.to", "close": "close",
             "keywords": {"auth": ["{user}", "{password}"], "fast": True}},
            {"name": "graph_lost", "make": "driver:Driver.nowhere"},
            {"name": "other", "doc": "Not the plugin's."},
        ],
    }
}  # fmt: skip
DRIVER = """
class Driver:
    @classmethod
    def to(cls, *url, **options):
        cls.got = url, options
        return cls()

    def close(self):
        print("closed the driver")
"""
PLUGIN = "import pytest\n@pytest.fixture\ndef other():\n    return 'theirs'\n"


@pytest.fixture
def declared(suite):
    """A suite with an external server of an engine that nothing here knows."""
    url = "graph://me:s%40crt@somewhere:7/main"
    suite.env = {"TESTGROVE_FIXTURES": json.dumps(DECLARED), "WORKTREE_ID": "x", "GRAPH_URL": url}
    suite.write(driver=DRIVER, their_plugin=PLUGIN)
    return suite


def test_a_suite_without_an_engines_service_does_not_get_what_the_users_variable_names(declared):
    lacking = {"graph": {**DECLARED["graph"], "lacking": True}}
    declared.env["TESTGROVE_FIXTURES"] = json.dumps(lacking)
    result = declared.run(**uses("graph_url"))
    assert result.outcomes() == {"test_a": "error"}
    assert "fixture 'graph_url': this suite has no Graph for its tests (`services = [\"graph\"]`" in result.output
    assert "somewhere" not in result.output


def test_an_engine_declares_fixtures(declared):
    got = "(('graph://me:s%40crt@somewhere:7/main',), {'auth': ('me', 's@crt'), 'fast': True})"
    result = declared.run(
        "-s", **uses("graph_driver, graph_url, testgrove_graph_url", f"assert graph_driver.got == {got}")
    )
    assert result.status == 0, result.output
    assert result.output.count("closed the driver") == 1


@pytest.mark.parametrize(
    ("fixture", "message"),
    [
        ("graph_lost", "requires driver:Driver.nowhere, which the environment of the tests does not have"),
        ("graph_socket", "this Graph is on another machine or belongs to another user; use graph_url"),
    ],
)
def test_a_declared_fixture_that_cannot_be_made_says_why(declared, fixture, message):
    result = declared.run(**uses(fixture))
    assert result.outcomes() == {"test_a": "error"}
    assert f"fixture '{fixture}'" in result.output
    assert message in result.output


def test_a_declared_fixture_does_not_replace_that_of_another_plugin(declared):
    check = "assert (other, testgrove_other) == ('theirs', testgrove_graph_url)"
    assert declared.run("-p", "their_plugin", **uses("other, testgrove_other, testgrove_graph_url", check)).status == 0
    assert declared.run(**uses("other, testgrove_other", "assert other == testgrove_other")).status == 0


def test_the_fixtures_that_plain_pytest_knows_are_those_that_the_engines_declare():
    assert described_fixtures(KNOWN) == KNOWN
