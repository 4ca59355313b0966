"""Signals such as Ctrl-C are deferred while a process starts: until its pid is known, it cannot be ended."""

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
            found = {number: signal.getsignal(number) for number in _NUMBERS}
            # Of one that is not callable, nothing of Python's runs then.
            self._handlers = {number: handler for number, handler in found.items() if callable(handler)}
            try:
                for number in self._handlers:
                    signal.signal(number, self._wait)
            except BaseException:  # from the handler of a signal that does not wait yet
                self._restore()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        self.deliver()

    def _wait(self, number: int, frame: FrameType | None) -> None:
        self._waiting.append((number, frame))

    def deliver(self) -> None:
        """Give the handlers what has waited. They may raise, as KeyboardInterrupt."""
        self._restore()
        while self._waiting:
            number, frame = self._waiting.pop(0)
            handler = signal.getsignal(number)
            if callable(handler):
                handler(number, frame)

    def _restore(self) -> None:
        """Put the handlers back. One that is back may raise before the others are: they follow first."""
        try:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)  # type: ignore[arg-type] # it came from there
        except BaseException:
            self._restore()
            raise
        self._handlers = {}
