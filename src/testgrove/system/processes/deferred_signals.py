"""Ctrl-C and its like, put off while a process starts: a child that nobody knows yet could not be ended."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import FrameType

_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class DeferredSignals:
    """In the main thread, where Python runs handlers, signals wait from the start of the block until deliver()."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, FrameType | None]] = []
        self._handlers: dict[int, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _NUMBERS:
                if callable(signal.getsignal(number)):  # else nothing of Python's runs then
                    self._handlers[number] = signal.signal(number, self._wait)
        return self

    def __exit__(self, *_: object) -> None:
        self.deliver()

    def _wait(self, number: int, frame: FrameType | None) -> None:
        self._waiting.append((number, frame))

    def deliver(self) -> None:
        """Give the handlers what has waited. They may raise, as KeyboardInterrupt."""
        while self._handlers:
            number, handler = self._handlers.popitem()
            signal.signal(number, handler)  # type: ignore[arg-type] # it came from there
        while self._waiting:
            number, frame = self._waiting.pop(0)
            handler = signal.getsignal(number)
            if callable(handler):
                handler(number, frame)
