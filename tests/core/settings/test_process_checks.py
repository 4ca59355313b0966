"""Application processes in the settings: what is accepted, what an error says, which variables they give."""

from __future__ import annotations

from pathlib import Path

import pytest

from testgrove.core.model import WorktreeId
from testgrove.core.readiness import CommandReady, HttpReady, LogReady, TcpReady, base_url, parse_ready
from testgrove.core.settings.parse import parse
from testgrove.core.settings.types import Settings
from testgrove.core.worktrees.variables import variables
from testgrove.errors import UsageError

SOURCE = Path("/p/testgrove.toml")
API = '[processes.api]\ncommand = "serve ${API_PORT}"\nready = "http://127.0.0.1:${API_PORT}/health?deep=1"\n'
WEB = '[suites.web]\ncommand = "x"\n'


def parse_table(text: str) -> Settings:
    return parse(text, SOURCE, table=False)


def test_the_four_forms_of_readiness():
    assert parse_ready("http://127.0.0.1:8002/health?deep=1") == HttpReady("127.0.0.1", 8002, "/health?deep=1")
    assert parse_ready("http://[::1]:8002") == HttpReady("::1", 8002, "/")
    assert parse_ready("tcp://localhost:5672") == TcpReady("localhost", 5672)
    log = parse_ready("log:^ready: \\d+$")
    assert isinstance(log, LogReady)
    assert log.pattern.search("first\nready: 12\nlast")
    assert parse_ready("command: test -S run/api.sock") == CommandReady("test -S run/api.sock")


@pytest.mark.parametrize(
    "text",
    [
        *("", "api", "log:", "command: ", "log:(", "https://h:1/", "http://h/", "http://:1/", "http://h:0/", "tcp://h"),
        *("http://u:p@h:1/", "http://h:99999/", "http://h:x/", "tcp://h:1/path", "file:/x", "http:h:1"),
    ],
)
def test_readiness_that_means_nothing_is_refused(text):
    with pytest.raises(ValueError, match=r"expected|regular expression"):
        parse_ready(text)


def test_a_suite_names_its_processes():
    settings = parse_table(API + '[suites.web]\ncommand = "x"\nports = true\nprocesses = ["api"]\nexclusive = true\n')
    assert settings.suites["web"].processes == ("api",)
    assert settings.suites["web"].exclusive


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ('[processes.api]\ncommand = "x"', ["processes.api.ready", "missing"]),
        ('[processes.api]\nready = "log:x"', ["processes.api.command", "missing"]),
        ('[processes.api]\ncommand = " "\nready = "log:x"', ["processes.api.command"]),
        ('[processes.api]\ncommand = "x"\nready = "soon"', ["processes.api.ready", "'soon'", "tcp://"]),
        ('[processes.api]\ncommand = "x"\nready = "log:["', ["processes.api.ready", "regular expression"]),
        ('[processes.api]\ncommand = "x"\nready = "tcp://h:${APT_PORT}"', ["APT_PORT", "API_PORT"]),
        ('[processes.api]\ncommand = "x"\nready = "log:x"\ntimeout = 0', ["processes.api.timeout", "0"]),
        ('[processes.api]\ncommand = "x"\nready = "log:x"\nwait = 1', ["processes.api.wait"]),
        ('[processes."A B"]\ncommand = "x"\nready = "log:x"', ["A B"]),
        ('[processes.database]\ncommand = "x"\nready = "log:x"', ["DATABASE_URL", "testgrove itself"]),
        (
            '[processes.my-api]\ncommand = "x"\nready = "log:x"\n[processes.my_api]\ncommand = "x"\nready = "log:x"',
            ["processes.my_api", "MY_API_URL", "'my-api'"],
        ),
        (
            API + '[suites.web]\ncommand = "x"\nports = true\nprocesses = ["ap"]',
            ["suites.web.processes", "'ap'", "api"],
        ),
        (
            API + '[suites.web]\ncommand = "x"\nprocesses = ["api"]',
            ["suites.web.processes", "API_PORT", "ports = true"],
        ),
        (API + '[suites.web]\ncommand = "x"\nports = true\nprocesses = ["api", "api"]', ["duplicate process 'api'"]),
    ],
)
def test_an_error_names_the_key_and_what_was_expected(text, parts):
    with pytest.raises(UsageError) as caught:
        parse_table(text)
    for part in [str(SOURCE), *parts]:
        assert part in caught.value.message


def test_a_process_with_an_address_has_a_variable_and_others_may_refer_to_it():
    worker = '[processes.worker]\ncommand = "x"\nready = "log:x"\n'
    settings = parse_table(f'[env]\nMOCK = "${{API_URL}}/mock"\n{API}{worker}')
    values = variables(WorktreeId("p", "i"), ports={"api": 8002}, databases={}, settings=settings)
    assert values["API_URL"] == "http://127.0.0.1:8002"
    assert values["MOCK"] == "http://127.0.0.1:8002/mock"
    assert "WORKER_URL" not in values
    without = variables(WorktreeId("p", "i"), ports={}, databases={}, settings=settings)
    assert without.keys().isdisjoint({"API_URL", "MOCK"})


def test_the_projects_own_value_comes_before_a_processs():
    settings = parse_table(f'[env]\nAPI_URL = "http://proxy"\n{API}')
    assert (
        variables(WorktreeId("p", "i"), ports={"api": 1}, databases={}, settings=settings)["API_URL"] == "http://proxy"
    )


def test_a_variable_of_a_process_without_an_address_refers_to_nothing():
    with pytest.raises(UsageError, match="WORKER_URL"):
        parse_table('[env]\nA = "${WORKER_URL}"\n[processes.worker]\ncommand = "x"\nready = "log:x"\n')


@pytest.mark.parametrize(
    ("text", "url"), [("http://h:1/a?b#c", "http://h:1"), ("tcp://h:${P}", "tcp://h:${P}"), ("log:x", "")]
)
def test_base_url(text, url):
    assert base_url(text) == url
