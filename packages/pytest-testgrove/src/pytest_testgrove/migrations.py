"""The fixture `migrations`: an empty database of the test's own, taken forward and back through the migrations.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, Mapping, Optional

import pytest

from pytest_testgrove.databases import Database, LeaseClient, explained
from pytest_testgrove.names import POSTGRES, SQLITE, both_names

_SUFFIX = "-migrations"  # of the broker's engines
_ENGINES = (POSTGRES, SQLITE)  # in this order, before others
_OF_THE_MIGRATION = ("migration-failed", "irreversible", "unknown-revision")


class MigrationError(Exception):
    """A migration failed, is irreversible or does not exist.

    The text is the output of its tool. code: ``migration-failed``, ``irreversible``, ``unknown-revision``."""

    def __init__(self, text: str, code: str) -> None:
        super().__init__(text)
        self.code = code


class Schema(Mapping[str, str]):
    """The schema of a database, without rows: ``"table public.orders"`` → its definition, which may be empty.

    Equal if the databases have the same schema. diff() returns the differences; str() lists everything, one per line.
    """

    def __init__(self, things: Mapping[str, str]) -> None:
        self._things = dict(sorted(things.items()))

    def __getitem__(self, name: str) -> str:
        return self._things[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._things)

    def __len__(self) -> int:
        return len(self._things)

    def __eq__(self, other: object) -> bool:
        return self._things == other._things if isinstance(other, Schema) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self._things.items()))

    def lines(self) -> "List[str]":
        """One text for each thing."""
        return [f"{name}: {definition}" if definition else name for name, definition in self._things.items()]

    def diff(self, other: "Schema") -> str:
        """Return how another schema differs: lines that begin with ``-`` (not there) or ``+`` (only there)."""
        ours, theirs = set(self.lines()), set(other.lines())
        changed = [(line, "-") for line in ours - theirs] + [(line, "+") for line in theirs - ours]
        changed.sort(key=lambda each: (each[0].partition(":")[0], each[1] == "+"))
        return "\n".join(f"{sign} {line}" for line, sign in changed)

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def __repr__(self) -> str:
        return f"Schema({len(self)} things)"


class Migrations:
    """A database with nothing in it, and the project's migrations. url, name, host, port, user, password: of the
    database; engine: ``postgres`` or ``sqlite``, whose name is the file's path."""

    def __init__(self, client: LeaseClient, values: "Dict[str, Any]") -> None:
        self._client = client
        self._listing: Optional[Dict[str, Any]] = None
        self.engine: str = values["engine"]
        self.database = Database(values)
        self.url, self.name = self.database.url, self.database.name
        self.host, self.port = self.database.host, self.database.port
        self.user, self.password = self.database.user, self.database.password

    def __repr__(self) -> str:
        return f"Migrations({self.engine}, {self.name!r})"

    @property
    def revisions(self) -> "List[str]":
        """The project's migrations, the oldest first."""
        return list(self._listed()["revisions"])

    @property
    def conflicts(self) -> str:
        """The newest migrations, where there is not one; else empty."""
        return str(self._listed()["conflicts"])

    def _listed(self) -> "Dict[str, Any]":
        if self._listing is None:
            self._listing = self._ask("revisions")
        return self._listing

    def upgrade(self, revision: str = "head", *, keep_data: bool = True) -> None:
        """Take the database forward. keep_data: False empties every table before.

        Raises MigrationError.
        """
        self._ask("migrate", way="up", revision=revision, keep_data=keep_data)

    def downgrade(self, revision: str, *, keep_data: bool = True) -> None:
        """Take the database back to a revision, ``base`` for nothing at all (Django: ``app.zero``). Otherwise as
        upgrade()."""
        self._ask("migrate", way="down", revision=revision, keep_data=keep_data)

    def schema(self) -> Schema:
        """Return the schema of the database now."""
        return Schema(self._ask("schema")["schema"])

    def _ask(self, do: str, **values: Any) -> "Dict[str, Any]":
        from pytest_testgrove.broker import BrokerError  # noqa: PLC0415 - only needed on request

        with explained("migrations"):
            try:
                return self._client.ask(do, name=self.name, **values)
            except BrokerError as error:
                if error.code in _OF_THE_MIGRATION:
                    raise MigrationError(str(error), error.code) from None
                raise


def _migrations(request: pytest.FixtureRequest, _testgrove_lease_client: LeaseClient) -> Iterator[Migrations]:
    """An empty database of this test's own, to take through the migrations. Parameter: an engine or a service."""
    with explained("migrations"):
        engine = _engine(request, _testgrove_lease_client)
        found = Migrations(_testgrove_lease_client, _testgrove_lease_client.lease(engine=engine + _SUFFIX))
    yield found
    with explained("migrations"):
        _testgrove_lease_client.give_back(found.name)


migrations, testgrove_migrations = both_names(_migrations, "migrations")


def _engine(request: pytest.FixtureRequest, client: LeaseClient) -> str:
    """The one that the test names, else the first of which there are migrations."""
    from pytest_testgrove import broker  # noqa: PLC0415 - only needed on request

    chosen = getattr(request, "param", None)
    found = [each[: -len(_SUFFIX)] for each in client.hello()["engines"] if each.endswith(_SUFFIX)]
    there = [*(each for each in _ENGINES if each in found), *(each for each in found if each not in _ENGINES)]
    if chosen is not None and chosen not in {*_ENGINES, *there}:
        known = ", ".join(dict.fromkeys((*_ENGINES, *there)))
        pytest.fail(f"fixture 'migrations': invalid parameter {chosen!r} (supported: {known})", pytrace=False)
    wanted = str(chosen) if chosen is not None else next(iter(there), _ENGINES[0])
    if wanted not in there:
        table = f"[tool.testgrove.services.{wanted}]"
        hint = f'migrate = "alembic upgrade head" in {table}'
        if broker.in_a_run():
            hint += f', and services = ["{wanted}"] in the suite\'s table'
        raise broker.BrokerError(f"no migrations of {wanted} found\n  hint: {hint}")
    return wanted


def explain_difference(op: str, left: object, right: object) -> "Optional[List[str]]":
    """Return pytest's explanation where two schemas were to be equal."""
    if op != "==" or not isinstance(left, Schema) or not isinstance(right, Schema):
        return None
    return ["the schemas differ (- only on the left, + only on the right):", *left.diff(right).splitlines()]
