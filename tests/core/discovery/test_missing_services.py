"""What a failed command's output says about a service that the settings lack."""

from __future__ import annotations

import pytest

from testgrove.core.discovery.missing_services import missing_service

REFUSED = "redis.exceptions.ConnectionError: Error 111 connecting to localhost:6379. Connection refused."
PYDANTIC = "1 validation error for Settings\nE   POSTGRES_SERVER\nE     Field required [type=missing]\n"


def said(output, *declared):
    return missing_service(output, declared, "[{}]".format)


@pytest.mark.parametrize(
    ("output", "engine"),
    [
        (REFUSED, "redis"),
        ("port 5432 failed: Connection refused", "postgres"),
        ('connection on socket "/run/.s.PGSQL.5432" failed: No such file\n\tIs the server running', "postgres"),
        ("Error -3 connecting to cache:6379. Temporary failure in name resolution.", "redis"),
    ],
)  # fmt: skip
def test_a_server_that_is_not_there(output, engine):
    cause = "the host of Redis is unknown" if "resolution" in output else "nothing listens on port "
    assert said(output).startswith(cause)
    assert said(output).endswith(f": run `testgrove init`, or declare [services.{engine}]")
    assert said(output, engine) == ""


@pytest.mark.parametrize(
    ("output", "variable"),
    [
        ("E   KeyError: 'DATABASE_URL'", "DATABASE_URL"),
        ("django.core.exceptions.ImproperlyConfigured: Set the DB_HOST environment variable", "DB_HOST"),
        ("decouple.UndefinedValueError: REDIS_HOST not found. Declare it as envvar", "REDIS_HOST"),
        (PYDANTIC, "POSTGRES_SERVER"),
        (PYDANTIC.replace("E   ", ""), "POSTGRES_SERVER"),
    ],
)  # fmt: skip
def test_a_variable_that_is_not_set(output, variable):
    assert said(output).startswith(f"{variable} is not set: run `testgrove init`, or declare [services.")


def test_a_variable_of_a_declared_service_needs_its_line_only():
    assert said(PYDANTIC, "postgres") == 'POSTGRES_SERVER is not set: add POSTGRES_SERVER = "${PGHOST}" to [env]'


def test_a_password_that_is_not_given():
    output = "redis.exceptions.AuthenticationError: Authentication required."
    assert 'set settings = { requirepass = "" } in [services.redis]' in said(output, "redis")
    assert said(output) == ""


@pytest.mark.parametrize("output", ["localhost:6379 is open", "port 9999: Connection refused", "KeyError: 'SMTP_HOST'"])
def test_anything_else_is_no_service(output):
    assert said(output) == ""
