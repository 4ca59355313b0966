"""How many suites start at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from testgrove.app.runs import start_gate
from testgrove.app.runs.start_gate import StartGate, StartPermit

NEVER = threading.Event()


@pytest.fixture
def long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start counts as one for longer than a test takes."""
    monkeypatch.setattr(start_gate, "_HELD", 3600.0)


def second(gate: StartGate, pool: ThreadPoolExecutor, cancel: threading.Event = NEVER) -> Future[StartPermit]:
    """Somebody else wants to start."""
    asked = pool.submit(gate.enter, cancel)
    with pytest.raises(TimeoutError):
        asked.result(timeout=0.3)
    return asked


GIVEN_BACK: dict[str, Callable[[StartPermit], None]] = {
    "its tests run": lambda start: start.look(running=True),
    "it has ended": lambda start: start.over(),
}


@pytest.mark.usefixtures("long")
@pytest.mark.parametrize("how", GIVEN_BACK)
def test_a_start_waits_for_the_one_before_it(how: str) -> None:
    gate = StartGate(1)
    first = gate.enter(NEVER)
    with ThreadPoolExecutor(1) as pool:
        asked = second(gate, pool)
        first.look(running=False)
        assert first.going_on
        GIVEN_BACK[how](first)
        assert asked.result(timeout=10).going_on
    assert not first.going_on


def test_what_takes_long_is_no_start_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start_gate, "_HELD", 0.0)
    gate = StartGate(1)
    gate.enter(NEVER).look(running=False)
    assert gate.enter(NEVER).going_on


@pytest.mark.usefixtures("long")
def test_a_run_that_is_cancelled_waits_for_no_start() -> None:
    gate, cancel = StartGate(1), threading.Event()
    gate.enter(NEVER)
    with ThreadPoolExecutor(1) as pool:
        asked = second(gate, pool, cancel)
        cancel.set()
        assert not asked.result(timeout=10).going_on


def test_a_place_is_given_back_once() -> None:
    gate = StartGate(1)
    start = gate.enter(NEVER)
    start.over()
    start.over()
    gate.enter(NEVER)
    with ThreadPoolExecutor(1) as pool:
        cancel = threading.Event()
        asked = second(gate, pool, cancel)
        cancel.set()
        assert not asked.result(timeout=10).going_on
