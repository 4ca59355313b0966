"""What a worktree's environment file carries."""

from __future__ import annotations

import pytest

from testgrove.core.model import DatabaseAccess, WorktreeId
from testgrove.core.secret import Secret
from testgrove.core.settings.types import Settings
from testgrove.core.worktrees.variables import variables
from testgrove.errors import UsageError

ID = WorktreeId("test-unit", "a")
PORTS = {"app": 8001, "api": 8002}


def test_ports_and_databases_come_before_the_projects_own():
    postgres = DatabaseAccess("postgres", "testdb_unit_a", "127.0.0.1", 15001, "u", Secret("pw"))
    settings = Settings(env={"PAYMENT_API_URL": "http://127.0.0.1:${API_PORT}/mock"})
    values = variables(ID, ports=PORTS, databases={"postgres": postgres}, settings=settings)
    assert list(values)[:2] == ["DATABASE_URL", "DATABASE_NAME"]
    assert values["PGPASSWORD"] == "pw"
    assert values["API_PORT"] == "8002"
    assert values["PAYMENT_API_URL"] == "http://127.0.0.1:8002/mock"
    assert (values["TEST_MODE"], values["WORKTREE_ID"]) == ("true", "test-unit-a")


def test_a_value_that_needs_a_port_is_left_out_where_there_is_none():
    settings = Settings(env={"A": "${API_PORT}", "B": "${A}/x", "C": "1", "D": "${DATABASE_URL}"})
    values = variables(ID, ports={}, databases={}, settings=settings)
    assert values.keys().isdisjoint({"A", "B", "D"})
    assert values["C"] == "1"


def test_a_value_that_refers_to_nothing_is_an_error_with_or_without_ports():
    settings = Settings(env={"A": "${NOPE}"})
    for ports in ({}, PORTS):
        with pytest.raises(UsageError, match="NOPE"):
            variables(ID, ports=ports, databases={}, settings=settings)
