"""A suite's command that uses a service's variable needs that service."""

from __future__ import annotations

from pathlib import Path

import pytest

from testgrove.core.settings.parse import parse
from testgrove.errors import UsageError

SERVICES = '[services.postgres]\n[services.analytics]\nengine = "postgres"\n[services.redis]\n'


def read(suite, *, services=SERVICES):
    return parse(f"{services}[suites.db]\n{suite}\n", Path("testgrove.toml"), table=False)


@pytest.mark.parametrize(
    ("suite", "service"),
    [
        ("command = 'psql $DATABASE_URL -f x.sql'", "postgres"),
        ("command = 'psql -h ${PGHOST}'", "postgres"),
        ("command = 'psql $ANALYTICS_URL'\nservices = ['postgres']", "analytics"),
        ("command = 'redis-cli -u $REDIS_URL'\nservices = ['postgres']", "redis"),
    ],
)
def test_a_variable_of_a_service_that_the_suite_does_not_have(suite, service):
    with pytest.raises(UsageError) as caught:
        read(suite)
    assert caught.value.code == "config-invalid"
    assert "'suites.db.services'" in str(caught.value)
    assert f'add services = ["{service}"]' in str(caught.value)


def test_a_variable_of_a_service_that_is_not_declared():
    with pytest.raises(UsageError, match=r"uses \$DATABASE_URL.*declare the service in \[services"):
        read("command = 'psql $DATABASE_URL'", services="")


@pytest.mark.parametrize(
    "suite",
    [
        "command = 'psql $DATABASE_URL'\nservices = ['postgres']",
        "command = 'test ${DATABASE_URL:-none}'",
        "command = 'DATABASE_URL=x; psql $DATABASE_URL'",
        "command = 'psql $DATABASE_URL'\nenv = { DATABASE_URL = 'x' }",
        "command = 'echo $HOME $$DATABASE_URLS'",
    ],
)
def test_a_variable_that_has_a_value(suite):
    assert read(suite).suites["db"].command


def test_a_file_gives_the_url_too():
    assert read("command = 'cat $DATABASE_URL'\nservices = ['sqlite']", services="[services.sqlite]\n")
