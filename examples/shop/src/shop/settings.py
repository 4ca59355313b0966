"""What the environment says, read once and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import URL, make_url


class MissingSettingError(Exception):
    """An environment variable that the shop needs is not set."""


@dataclass(frozen=True)
class Settings:
    """database_url hides its password when printed; worktree: the one the shop runs in, or empty."""

    database_url: URL
    redis_url: str
    public_url: str
    worktree: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Raise MissingSettingError when DATABASE_URL or REDIS_URL is not set."""
        return cls(
            database_url=database_url(environment),
            redis_url=_required(environment, "REDIS_URL"),
            public_url=environment.get("SHOP_PUBLIC_URL") or _local_url(environment),
            worktree=environment.get("WORKTREE_ID", ""),
        )


def database_url(environment: Mapping[str, str]) -> URL:
    """DATABASE_URL, to be opened with psycopg 3. Raise MissingSettingError when it is not set."""
    return make_url(_required(environment, "DATABASE_URL")).set(drivername="postgresql+psycopg")


def _local_url(environment: Mapping[str, str]) -> str:
    return f"http://127.0.0.1:{environment.get('API_PORT', '8000')}"


def _required(environment: Mapping[str, str], name: str) -> str:
    if value := environment.get(name):
        return value
    raise MissingSettingError(f"{name} is not set: see `.env.test` in a worktree, or README.md")
