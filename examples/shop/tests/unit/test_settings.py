"""The environment is read once, and a password never shows."""

from __future__ import annotations

import pytest

from shop.settings import MissingSettingError, Settings

ENVIRONMENT = {
    "DATABASE_URL": "postgresql://shop:s3cret@127.0.0.1:5432/shop",
    "REDIS_URL": "redis://127.0.0.1:6379/0",
    "SHOP_PUBLIC_URL": "http://127.0.0.1:8002",
    "WORKTREE_ID": "test-unit-main",
}
SERVICES = {name: ENVIRONMENT[name] for name in ("DATABASE_URL", "REDIS_URL")}


def test_a_plain_postgresql_url_is_opened_with_psycopg_3() -> None:
    url = Settings.from_environment(ENVIRONMENT).database_url
    assert (url.drivername, url.host, url.port, url.database) == (
        "postgresql+psycopg",
        "127.0.0.1",
        5432,
        "shop",
    )


def test_the_password_is_kept_but_not_shown() -> None:
    settings = Settings.from_environment(ENVIRONMENT)
    assert settings.database_url.password == "s3cret"
    assert "s3cret" not in f"{settings} {settings!r}"


def test_outside_of_a_worktree_the_defaults_hold() -> None:
    settings = Settings.from_environment(SERVICES)
    assert (settings.public_url, settings.worktree) == ("http://127.0.0.1:8000", "")


def test_without_a_public_url_links_lead_to_the_api_port() -> None:
    assert Settings.from_environment(SERVICES | {"API_PORT": "8005"}).public_url == "http://127.0.0.1:8005"


@pytest.mark.parametrize("name", ["DATABASE_URL", "REDIS_URL"])
@pytest.mark.parametrize("value", [None, ""])
def test_what_is_missing_is_named(name: str, value: str | None) -> None:
    environment = {key: text for key, text in ENVIRONMENT.items() if key != name}
    if value is not None:
        environment[name] = value
    with pytest.raises(MissingSettingError, match=f"{name} is not set"):
        Settings.from_environment(environment)
