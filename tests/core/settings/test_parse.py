"""Settings: what is accepted, and what an error says."""

from __future__ import annotations

from pathlib import Path

import pytest

from testgrove.core.engines.registry import default_services
from testgrove.core.settings.parse import expand_env, parse, port_range
from testgrove.core.settings.types import Settings, json_schema
from testgrove.errors import UsageError

SOURCE = Path("/p/pyproject.toml")


def parse_table(text: str) -> Settings:
    return parse(text, SOURCE, table=True)


def test_no_table_means_defaults():
    assert parse_table("[project]\nname = 'x'\n") == Settings()


def test_the_documented_table_is_understood():
    settings = parse_table(
        """
        [tool.testgrove]
        root = "../trees"
        pythons = ["3.11", "3.12"]
        [tool.testgrove.env]
        PAYMENT_API_URL = "http://127.0.0.1:${API_PORT}/mock"
        [tool.testgrove.services.postgres]
        host = "embedded"
        migrate = "alembic upgrade head"
        inputs = ["migrations/**"]
        [tool.testgrove.services.redis]
        [tool.testgrove.suites.integration]
        command = "pytest tests/integration"
        services = ["postgres", "redis"]
        ports = true
        timeout = 600
        """
    )
    assert settings.suites["integration"].timeout == 600
    assert list(settings.services) == ["postgres", "redis"]


@pytest.mark.parametrize(
    ("text", "code", "parts"),
    [
        ("[tool.testgrove]\nparc = 1", "config-unknown-key", ["tool.testgrove.parc"]),
        ("[tool.testgrove.suites.unit]\ncommand='x'\ntimout=1", "config-unknown-key", ["timout", "suites"]),
        ("[tool.testgrove]\npark = 'many'", "config-wrong-type", ["tool.testgrove.park", "a whole number", '"many"']),
        ("[tool.testgrove]\npythons = 3.11", "config-wrong-type", ["tool.testgrove.pythons"]),
        ("[tool]\ntestgrove = 3", "config-wrong-type", ["tool.testgrove"]),
        ("tool = 3", "config-wrong-type", ["tool"]),
        ("[tool.testgrove.ports]\nrange = '1-2'", "config-invalid", ["ports.range", "1-2"]),
        ("[tool.testgrove.ports]\nnames = ['a', 'a']", "config-invalid", ["ports.names"]),
        ("[tool.testgrove]\npark = -1", "config-invalid", ["park", "-1"]),
        ("[tool.testgrove]\nallow_connections = ['db']", "config-invalid", ["allow_connections", "host:port", "'db'"]),
        (
            "[tool.testgrove.suites.unit]\ncommand='x'\nservices=['mongo']",
            "config-invalid",
            ["mongo", "none"],
        ),
        ("[tool.testgrove.suites.unit]\ncommand=' '", "config-invalid", ["suites.unit.command"]),
        ("[tool.testgrove.suites.unit]\ncommand='x'\ntimeout=-1", "config-invalid", ["timeout", "-1"]),
        ("[tool.testgrove.suites.'a b']\ncommand='x'", "config-invalid", ["a b"]),
        ("[tool.testgrove.env]\nA='${B}'\nB='${A}'", "config-cycle", ["A -> B -> A"]),
        (
            "[tool.testgrove.services.postgres]\nhost='moon'",
            "config-invalid",
            ["services.postgres.host", "moon"],
        ),
        ("[tool.testgrove\n", "config-syntax", ["line 1"]),
        ("[tool.testgrove.services.postgres]\nversion=[]", "config-invalid", ["services.postgres.version"]),
        ("[tool.testgrove.services.postgres]\nversion=['15','new']", "config-invalid", ["version", "new"]),
        ("[tool.testgrove.services.postgres]\nversion=15", "config-wrong-type", ["services.postgres.version"]),
        ("[tool.testgrove.dependencies]\nx={}", "config-invalid", ["dependencies.x", "resolution", "with", "file"]),
        ("[tool.testgrove.dependencies]\n'A b'={file='x'}", "config-invalid", ["dependencies.A b", "name"]),
        ("[tool.testgrove.dependencies]\nx={resolution='old'}", "config-wrong-type", ["dependencies.x.resolution"]),
        ("[tool.testgrove.dependencies]\nx={with=['-r y']}", "config-invalid", ["dependencies.x.with", "-r y"]),
        ("[tool.testgrove.dependencies]\nx={file='../y'}", "config-invalid", ["dependencies.x.file", "../y"]),
        ("[tool.testgrove]\ndependencies_default='x'", "config-invalid", ["dependencies_default", "lowest", "'x'"]),
        ("[tool.testgrove.dependencies]\nx={wth=['y']}", "config-unknown-key", ["dependencies.x.wth"]),
    ],
)
def test_an_error_names_the_file_the_key_and_what_was_found(text, code, parts):
    with pytest.raises(UsageError) as caught:
        parse_table(text)
    assert caught.value.code == code
    assert caught.value.exit_status == 2
    for part in [str(SOURCE), *parts]:
        assert part in caught.value.message


def test_env_values_may_refer_to_each_other_and_to_what_the_worktree_has():
    values = expand_env({"A": "${B}/x", "B": "http://h:${API_PORT}"}, {"API_PORT": "8002"}, source="s")
    assert values == {"A": "http://h:8002/x", "B": "http://h:8002"}


def test_an_env_value_that_refers_to_nothing_is_an_error_with_the_known_names():
    with pytest.raises(UsageError, match="NOPE") as caught:
        expand_env({"A": "${NOPE}"}, {"API_PORT": "1"}, source="s")
    assert "API_PORT" in caught.value.hint


def test_a_value_that_refers_to_itself_is_a_cycle():
    with pytest.raises(UsageError, match="A -> A"):
        expand_env({"A": "${A}"}, {}, source="s", partial=True)


@pytest.mark.parametrize("text", ["", "8001", "9-8", "8001-70000", "0-1", "a-b", "8001 - 8999"])
def test_port_range_refuses(text):
    with pytest.raises(ValueError, match="expected"):
        port_range(text)


def test_port_range_includes_both_ends():
    assert list(port_range("8001-8003")) == [8001, 8002, 8003]


def test_the_schema_knows_every_key():
    properties = json_schema()["$defs"]["Settings"]["properties"]
    assert set(properties) == set(Settings.__struct_fields__)


def test_the_schema_says_what_every_key_means():
    for name, table in json_schema()["$defs"].items():
        for key, there in table["properties"].items():
            inner = there.get("additionalProperties", there)
            assert "description" in there or "$ref" in str(inner), f"{name}.{key}"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[services.analytics]\nmigrate='x'", ["services.analytics", "unknown key"]),
        ("[services.analytics]\nengine='oracle'", ["services.analytics.engine", "'oracle' not found"]),
        ("[services.sqlite]\nextensions=['x']", ["services.sqlite.extensions", "unknown key"]),
        ("[services.'A b']\nengine='redis'", ["services.A b", "name"]),
        ("[services]\nredis=1", ["services.redis", "expected a table"]),
        (
            "[services.a]\nengine='redis'\ndefault=true\n[services.b]\nengine='redis'\ndefault=true",
            ["services.b.default", "'a' is the default"],
        ),
        ("[services.redis]\nsuperuser=true", ["services.redis.superuser", "unknown key"]),
        ("[services.postgres]\nroles=['pg_monitor']", ["services.postgres.roles", "'pg_monitor'"]),
        ("[services.postgres]\nroles=['public']", ["services.postgres.roles", "found 'public'"]),
        (
            "[services.postgres]\nhost='postgresql://u@h/d'\nsuperuser=true",
            ["services.postgres.superuser", "requires host = 'embedded'"],
        ),
        ("[services.sqlite]\n[services.b]\nengine='sqlite'", ["services.b.path", "of service 'sqlite'"]),
        ("[services.a-b]\nengine='redis'\n[services.a_b]\nengine='redis'", ["services.a_b", "A_B_URL"]),
        ("[services.api]\nengine='redis'\n[processes.api]\ncommand='x'\nready='log:x'", ["processes.api", "API_URL"]),
    ],
)
def test_what_a_service_cannot_be(text, parts):
    with pytest.raises(UsageError) as caught:
        parse(text, SOURCE, table=False)
    assert caught.value.exit_status == 2
    for part in parts:
        assert part in caught.value.message


def test_the_default_service_of_an_engine():
    settings = parse(
        "[services.a]\nengine='redis'\n[services.b]\nengine='redis'\n[services.postgres]\n"
        "[services.c]\nengine='postgres'\n[services.only]\nengine='sqlite'\n",
        SOURCE,
        table=False,
    )
    assert default_services(settings.services) == {"postgres": "postgres", "sqlite": "only"}


def test_files_of_one_name_in_two_folders_are_two_files():
    text = "[services.sqlite]\n[services.b]\nengine='sqlite'\ndirectory='b'\n"
    assert set(parse(text, SOURCE, table=False).services) == {"sqlite", "b"}
