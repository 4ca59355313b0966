"""URLs of servers: what is understood, what is refused, and that no password is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from testgrove.core.model import DatabaseAccess
from testgrove.core.secret import Secret
from testgrove.core.server_url import parse_server_url, without_password
from testgrove.core.settings.parse import parse
from testgrove.errors import UsageError

SECRET = "s3cret"


@pytest.mark.parametrize(
    ("text", "place", "other"),
    [
        (
            "postgresql://ci:s3cret@db.example/postgres?sslmode=require",
            "postgres at db.example:5432",
            "postgresql://ci:s3cret@db.example/x?sslmode=require",
        ),
        ("postgres://ci@db:6000", "postgres at db:6000", "postgresql://ci:s3cret@db:6000/x"),
        (
            "postgresql:///shop?host=/run/postgresql&password=s3cret",
            "postgres at /run/postgresql:5432",
            "postgresql://ci:s3cret@/x?host=/run/postgresql",
        ),
        ("postgresql://[::1]/a", "postgres at ::1:5432", "postgresql://ci:s3cret@[::1]/x"),
    ],
)
def test_a_url_of_another_database_there_is_complete(text, place, other):
    url = parse_server_url("postgres", text)
    assert url.location == place
    assert url.with_database("x", "ci", Secret(SECRET)).reveal() == other
    assert SECRET not in repr(url) + without_password(text)


def test_a_password_with_special_characters_survives():
    url = parse_server_url("postgres", "postgresql://a%40b:p%2Fw%3A@h/d")
    assert (url.user, url.password.reveal()) == ("a@b", "p/w:")
    assert url.with_database("d", url.user, url.password).reveal() == "postgresql://a%40b:p%2Fw%3A@h/d"


def test_an_access_by_url_shows_no_password():
    url = parse_server_url("redis", "redis://:s3cret@h:1/5")
    access = DatabaseAccess("redis", "5", "h", 1, "", url.password, external_url=url.text)
    assert access.url() == "redis://:s3cret@h:1/5"
    assert access.url(redacted=True) == "redis://h:1/5"


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('[services.postgres]\nhost = "posgresql://ci:s3cret@h/d"', "a URL that starts with postgresql://"),
        ('[services.postgres]\nhost = "postgresql://ci:s3cret@h:port/d"', "invalid host or port"),
        ('[services.postgres]\nhost = "postgresql://ci:s3/cret@h/d"', "invalid host or port"),
        ('[services.postgres]\nhost = "postgresql://ci:s3cret@a,b/d"', "expected one host"),
        ('[services.postgres]\nhost = "postgresql://ci:s3cret#@h/d"', "invalid host or port"),
        ('[services.redis]\nhost = "postgresql://ci:s3cret@h/d"', "a URL that starts with redis://"),
        ('[services.postgres]\nhost = "postgresql://ci:s3cret@h"\nisolation = "none"', "must name the database"),
        ('[services.postgres]\nisolation = "none"', "isolation 'none' requires a URL as 'host'"),
        ('[services.postgres]\nisolation = "some"', "services.postgres.isolation"),
        ('[services.postgres]\nhost = "postgresql://ci@h/d"\n[services.postgres.settings]\nfsync = "off"', "settings"),
        ('[services.sqlite]\npath = "../elsewhere"', "services.sqlite.path"),
        ('[services.sqlite]\npath = "/tmp/a"', "services.sqlite.path"),
        ('[services.sqlite]\nhost = "embedded"', "services.sqlite.host"),
    ],
)
def test_what_cannot_be_is_an_error_without_a_password(table, words):
    with pytest.raises(UsageError) as caught:
        parse(table, Path("/p/testgrove.toml"), table=False)
    assert words in caught.value.message
    assert "s3" not in f"{caught.value.message} {caught.value.hint} {caught.value.details}"
