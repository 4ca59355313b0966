"""Fixtures that engines declare: testgrove describes them (core.engines.fixtures), and the plugin makes them.

In a run the descriptions are in a variable. Elsewhere the broker sends them, when a test uses an unknown fixture.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from functools import reduce
from types import ModuleType
from typing import Any, Callable, Dict, Iterator, List, Set

import pytest

from pytest_testgrove.databases import LeaseClient, chosen_isolation, explained
from pytest_testgrove.fixtures import url_of_worktree
from pytest_testgrove.names import KNOWN, PREFIX, both_names

VARIABLE = "TESTGROVE_FIXTURES"
_ASKING = "_testgrove_declared"  # the fixture that asks the broker


class Declared:
    """Those of one session. engines: descriptions, by name. missing: names that tests use and no plugin defines."""

    def __init__(self, engines: "Dict[str, Any]") -> None:
        self.engines = engines
        self.missing: Set[str] = set()
        self.held: "Dict[str, Held]" = {}  # by engine


_DECLARED = pytest.StashKey[Declared]()


def register(config: pytest.Config) -> None:
    """Define the fixtures that are known before a session starts, except short names that another plugin has."""
    declared = config.stash[_DECLARED] = Declared({**KNOWN, **json.loads(os.environ.get(VARIABLE) or "{}")})
    plugins = config.pluginmanager.get_plugins()
    others = [each for each in plugins if not str(getattr(each, "__file__", "")).endswith("conftest.py")]
    taken = {name for each in others for name in dir(each)}
    _define(config, declared.engines, lambda name: name not in taken)


def _define(config: pytest.Config, engines: "Dict[str, Any]", is_free: Callable[[str], bool]) -> None:
    name = "-".join(("testgrove-fixtures", *engines))
    plugin = ModuleType(name)
    for engine, described in engines.items():
        for fixture, made in _made(engine, described):
            if "testgrove_" in fixture or is_free(fixture):
                setattr(plugin, fixture, made)
    config.pluginmanager.register(plugin, name)


def ask_for_missing(config: pytest.Config, items: "List[pytest.Item]") -> None:
    """Let tests that use an unknown fixture ask the broker. If it does not know it either, pytest says so."""
    for item in items:
        names: "List[str]" = getattr(item, "fixturenames", [])
        known = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", names)
        missing = {name for name in names if name not in known} - {"request", _ASKING}
        if missing and _ASKING not in names:
            names.insert(0, _ASKING)
        config.stash[_DECLARED].missing |= missing


@pytest.fixture(scope="session")
def _testgrove_declared(pytestconfig: pytest.Config, _testgrove_lease_client: LeaseClient) -> None:
    from pytest_testgrove.broker import BrokerError  # noqa: PLC0415 - only needed on request

    declared = pytestconfig.stash[_DECLARED]
    with suppress(BrokerError):
        sent = _testgrove_lease_client.hello().get("fixtures", {})
        further = {engine: described for engine, described in sent.items() if engine not in declared.engines}
        _define(pytestconfig, further, declared.missing.__contains__)


def empty_before(item: pytest.Item) -> None:
    """Empty what this process holds, before a test is set up."""
    declared = item.config.stash.get(_DECLARED, None)
    for held in list(declared.held.values()) if declared else ():
        held.empty(item)


def _made(engine: str, described: "Dict[str, Any]") -> "Iterator[tuple[str, Any]]":
    """The fixtures of an engine by their names. Those with the same scope are about the same database."""
    first: "Dict[Any, str]" = {}  # by scope
    for each in described["fixtures"]:
        name, scope = each["name"], each.get("scope", "session")
        first.setdefault(scope, name)
        function = _fixture(each, f"_testgrove_{engine}_{scope}", first[scope], described["title"])
        short, long = both_names(function, name, scope)
        yield from ((name, short), (PREFIX + name, long))
    for scope, name in first.items():
        lease = f"_testgrove_{engine}_{scope}"
        yield lease, pytest.fixture(scope=scope, name=lease)(_lease(engine, described, name, scope))


def _lease(engine: str, described: "Dict[str, Any]", fixture: str, scope: str) -> "Callable[..., Any]":
    """The fixture that has an engine's database. fixture: the one to name in messages."""

    def lease(request: pytest.FixtureRequest, _testgrove_lease_client: LeaseClient) -> "Iterator[Dict[str, Any]]":
        client, isolation = _testgrove_lease_client, described["isolations"][0]
        if scope == "function":
            chosen = chosen_isolation(fixture, request.node)
            isolation = chosen if chosen in described["isolations"] else isolation
        with explained(fixture):
            lends = client.lends(engine)
            found = client.lease(engine=engine, isolation=isolation) if lends else {}
        if not lends and (scope == "function" or described.get("lacking")):  # never what others use, or the user's
            why = f"this suite has no {described['title']} for its tests"
            hint = f'`services = ["{engine}"]` in the suite\'s table'
            pytest.fail(f"fixture '{fixture}': {why} ({hint})", pytrace=False)
        if not lends:  # on an external server without databases for tests: those of a suite share the worktree's
            yield _parts(url_of_worktree(request.config, fixture, described["variable"], engine))
        elif scope == "function":
            yield found
            with explained(fixture):
                client.give_back_from(request, found["name"])
        else:
            held = request.config.stash[_DECLARED].held
            if described["emptied"]:
                held[engine] = Held(client, found["name"], described)
            yield found
            held.pop(engine, None)  # it goes with the client's connection

    return lease


class Held:
    """A database that this process has until its session ends."""

    def __init__(self, client: LeaseClient, name: str, described: "Dict[str, Any]") -> None:
        self._client, self._name, self._described = client, name, described

    def empty(self, item: pytest.Item) -> None:
        """Empty it of data that earlier tests left."""
        from pytest_testgrove.broker import BrokerError  # noqa: PLC0415 - only needed on request

        try:
            self._client.empty(self._name)
        except BrokerError as error:
            ours = [each["name"] for each in self._described["fixtures"]]
            used = {name.removeprefix(PREFIX) for name in getattr(item, "fixturenames", ())}
            if used.intersection(ours):
                title = self._described["title"]
                pytest.fail(f"fixture '{ours[0]}': this session's {title} is not available: {error}", pytrace=False)


def _parts(url: str) -> "Dict[str, Any]":
    from urllib.parse import unquote, urlsplit  # noqa: PLC0415 - only needed on request

    at = urlsplit(url)
    user, password = unquote(at.username or ""), unquote(at.password or "")
    return {"url": url, "name": at.path[1:], "host": at.hostname, "port": at.port, "user": user, "password": password}


def _fixture(declared: "Dict[str, Any]", lease: str, first: str, title: str) -> "Callable[..., Any]":
    """One fixture: a text with parts of the database in it, or what a callable of the tests' environment returns."""
    name, make, close = declared["name"], declared.get("make"), declared.get("close")

    def fixture(request: pytest.FixtureRequest) -> "Iterator[Any]":
        values = {"socket": "", **request.getfixturevalue(lease)}
        value = _filled(declared.get("value", "{url}"), values)
        if not value:
            why = f"this {title} is on another machine or belongs to another user"
            pytest.fail(f"fixture '{name}': {why}; use {first}", pytrace=False)
        if make:
            value = _imported(name, make)(value, **_filled(declared.get("keywords", {}), values))
        yield value
        if close:
            getattr(value, close)()

    fixture.__doc__ = declared.get("doc")
    return fixture


def _filled(what: Any, values: "Dict[str, Any]") -> Any:
    if isinstance(what, str):
        return what.format(**values)
    if isinstance(what, dict):
        return {name: _filled(each, values) for name, each in what.items()}
    return tuple(_filled(each, values) for each in what) if isinstance(what, list) else what


def _imported(fixture: str, where: str) -> "Callable[..., Any]":
    from importlib import import_module  # noqa: PLC0415 - only needed on request

    module, _, name = where.partition(":")
    try:
        return reduce(getattr, name.split("."), import_module(module))  # type: ignore[return-value] # checked when called
    except (ImportError, AttributeError) as error:
        text = f"fixture '{fixture}' requires {where}, which the environment of the tests does not have: {error}"
        raise pytest.fail.Exception(text, pytrace=False) from None
