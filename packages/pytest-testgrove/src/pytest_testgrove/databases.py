"""The fixture `database`: a fresh, migrated database for every test.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Iterator, Optional

import pytest

from pytest_testgrove.failures import has_failed
from pytest_testgrove.names import POSTGRES, both_names

if TYPE_CHECKING:
    from pytest_testgrove.broker import Client

ISOLATIONS = ("clone", "reset", "transaction")
MARKER = "testgrove_database"
SETTING = "testgrove_database_isolation"
CONTROLLER = "testgrove_controller"  # key in xdist's worker input: the controller's pid


def declare(parser: pytest.Parser) -> None:
    """Our setting."""
    text = f"how tests get their fixture 'database': {', '.join(ISOLATIONS)} (clone)"
    parser.addini(SETTING, text, default="")


def register(config: pytest.Config) -> None:
    """Our marker."""
    text = f"{MARKER}(isolation): how this test gets its fixture 'database': {', '.join(ISOLATIONS)}"
    config.addinivalue_line("markers", text)


def tell_worker(node: Any) -> None:
    """Tell a worker of xdist's who starts it, if that is on this machine."""
    if node.gateway.spec.popen:
        node.workerinput[CONTROLLER] = os.getpid()


class Database:
    """One test's own database. url: for drivers; host, port, user, password, name: its parts."""

    def __init__(self, values: "dict[str, Any]") -> None:
        self.url: str = values["url"]
        self.name: str = values["name"]
        self.host: str = values["host"]
        self.port: int = values["port"]
        self.user: str = values["user"]
        self.password: str = values["password"]
        self.isolation: str = values["isolation"]

    def __repr__(self) -> str:
        return f"Database({self.name!r} at {self.host}:{self.port}, {self.isolation})"


class LeaseClient:
    """Gets databases from the session's broker, which the first request starts."""

    def __init__(self, config: pytest.Config, factory: pytest.TempPathFactory) -> None:
        self._config = config
        self._factory = factory
        self._client: Optional[Client] = None
        self._failure: Optional[Exception] = None
        self._next: Optional[pytest.Item] = None
        self._ahead: "dict[str, str]" = {}  # what the next test is expected to ask for, and was asked for already

    @pytest.hookimpl(tryfirst=True)  # before any fixture of the test
    def pytest_runtest_teardown(self, nextitem: Optional[pytest.Item]) -> None:
        """Take back what this test was expected to ask for, and did not; see who is next."""
        ahead, self._next, self._ahead = self._ahead, nextitem, {}
        if not ahead or self._client is None or not self._client.is_ahead("get", **ahead):
            return
        from pytest_testgrove.broker import BrokerError  # noqa: PLC0415 - only needed on request

        with suppress(BrokerError):  # there is none
            self.give_back(self._client.ask("get", **ahead)["name"])

    def get(self, isolation: str) -> Database:
        """A database that is as the migration left it."""
        return Database(self.lease(**_wanted(isolation)))

    def put(self, database: Database) -> None:
        """The test is over."""
        self.give_back(database.name)

    def expect(self) -> None:
        """Ask for the next test's database: the broker has it ready while pytest is on its way there."""
        from pytest_testgrove.broker import BrokerLostError  # noqa: PLC0415 - only needed on request

        isolation = (isolation_of(self._next) or ISOLATIONS[0]) if self._next is not None else ""
        if (
            isolation in ISOLATIONS
            and {"database", "testgrove_database"} & set(getattr(self._next, "fixturenames", ()))
            and self._client
        ):
            self._ahead = _wanted(isolation)
            with suppress(BrokerLostError):  # the next test finds that out
                self._client.ask_ahead("get", **self._ahead)

    def lease(self, **wanted: str) -> "dict[str, Any]":
        """Return the broker's answer to a request for something of an engine's."""
        from pytest_testgrove.broker import BrokerLostError  # noqa: PLC0415 - only needed on request

        if self._client is not None:
            try:
                return self._client.ask("get", **wanted)
            except BrokerLostError:
                self.close()  # it was killed; there may be another by now
        self._client = self._connected()
        return self._client.ask("get", **wanted)

    def give_back(self, name: str) -> None:
        """Release what was leased under that name."""
        from pytest_testgrove.broker import BrokerLostError  # noqa: PLC0415 - as above

        if self._client is not None:
            with suppress(BrokerLostError):  # then it is released, too
                self._client.tell("put", name=name)

    def give_back_from(self, request: pytest.FixtureRequest, name: str) -> None:
        """A test is over; where it failed, and that was asked for, what is in its database is kept."""
        from pytest_testgrove.broker import BrokerError  # noqa: PLC0415 - as above

        if not has_failed(request.node):
            return self.give_back(name)
        try:
            kept = self.ask("keep", name=name, label=request.node.nodeid)["kept"]
            print(f"its database is kept: testgrove db shell {kept}")  # noqa: T201 - pytest shows it with the failure
        except BrokerError as error:
            print(f"cannot keep its database: {error}")  # noqa: T201 - as above
            self.give_back(name)
        return None

    def ask(self, do: str, **values: Any) -> "dict[str, Any]":
        """Return the broker's answer to a request about something that was leased. Raises BrokerError."""
        from pytest_testgrove.broker import BrokerLostError  # noqa: PLC0415 - as above

        if self._client is None:
            raise BrokerLostError("the broker has stopped")
        return self._client.ask(do, **values)

    def empty(self, name: str) -> None:
        """Make what was leased under that name as new. Raises BrokerError."""
        self.ask("empty", name=name)

    def hello(self) -> "dict[str, Any]":
        """What the broker has: ``engines``, and ``fixtures`` of other engines than our own. Raises BrokerError."""
        self._client = self._client or self._connected()
        return self._client.ask("hello")

    def lends(self, name: str) -> bool:
        """Whether tests get their own from an engine or a service: a run may have no broker, or one for others only."""
        from pytest_testgrove import broker  # noqa: PLC0415 - as above

        if not broker.in_a_run():
            return True  # the broker says what it lacks
        return bool(os.environ.get(broker.SOCKET_VARIABLE)) and name in self.hello()["engines"]

    def close(self) -> None:
        """Leave the broker."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _connected(self) -> Client:
        from pytest_testgrove.broker import BrokerError  # noqa: PLC0415 - as above

        if self._failure is not None:
            raise self._failure  # what could not be started is not tried again for every test
        try:
            return self._connect()
        except BrokerError as error:
            self._failure = error
            raise

    def _connect(self) -> Client:
        from pytest_testgrove import broker  # noqa: PLC0415 - as above

        path = os.environ.get(broker.SOCKET_VARIABLE)
        if path:
            return broker.Client.connect(path)
        if broker.in_a_run():  # `database` and `migrations` ask without lends()
            raise broker.BrokerError(
                "this suite has no PostgreSQL of its own "
                f'(`services = ["{POSTGRES}"]` in the suite\'s table, and host = "embedded")'
            )
        base = self._factory.getbasetemp()
        told = getattr(self._config, "workerinput", None)
        if told is None:
            return broker.SharedBroker(base, os.getpid(), self._config.rootpath).client()
        # An xdist worker: the controller's folder is above its own. If the controller was killed, its parent
        # is another process, with which no broker would ever end.
        return broker.SharedBroker(base.parent, told.get(CONTROLLER, os.getppid()), self._config.rootpath).client()


@pytest.fixture(scope="session")
def _testgrove_lease_client(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LeaseClient]:
    client = LeaseClient(pytestconfig, tmp_path_factory)
    pytestconfig.pluginmanager.register(client)  # for its hooks: only where a test asks for something
    yield client
    client.close()


def _database(request: pytest.FixtureRequest, _testgrove_lease_client: LeaseClient) -> Iterator[Database]:
    """A database of this test's own, as the migration left it: url, name, host, port, user, password."""
    isolation = chosen_isolation("database", request.node) or ISOLATIONS[0]
    with explained("database"):
        found = _testgrove_lease_client.get(isolation)
    yield found
    with explained("database"):
        _testgrove_lease_client.give_back_from(request, found.name)
        _testgrove_lease_client.expect()


database, testgrove_database = both_names(_database, "database")


def _worker_database(_testgrove_lease_client: LeaseClient) -> Iterator[Database]:
    """A database of this process's, or xdist worker's, own for the whole session, as the migration left it."""
    with explained("worker_database"):
        found = _testgrove_lease_client.get("clone")
    yield found
    with explained("worker_database"):
        _testgrove_lease_client.put(found)


worker_database, testgrove_worker_database = both_names(_worker_database, "worker_database", "session")


@contextmanager
def explained(fixture: str) -> Iterator[None]:
    """Fail with a hint instead of a traceback."""
    from pytest_testgrove.broker import BrokerError  # noqa: PLC0415 - only needed on request

    try:
        yield
    except BrokerError as error:
        raise pytest.fail.Exception(f"fixture '{fixture}': {error}", pytrace=False) from None


def chosen_isolation(fixture: str, item: pytest.Item) -> str:
    """Return what isolation_of() returns, which must be one of ours."""
    chosen = isolation_of(item)
    if chosen and chosen not in ISOLATIONS:
        text = f"fixture '{fixture}': invalid isolation {chosen!r} (supported: {', '.join(ISOLATIONS)})"
        pytest.fail(text, pytrace=False)
    return chosen


def isolation_of(item: pytest.Item) -> str:
    """Return how a test wants its database: its parameter, else the nearest marker, else the setting, or empty."""
    marker = item.get_closest_marker(MARKER)
    chosen = item.config.getini(SETTING)
    if marker is not None:
        chosen = marker.kwargs.get("isolation", marker.args[0] if marker.args else chosen)
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    return str(parameters.get("database", parameters.get("testgrove_database", chosen)))


def _wanted(isolation: str) -> "dict[str, str]":
    return {"engine": POSTGRES, "isolation": isolation}
