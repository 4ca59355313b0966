"""An engine's implementation out of parts that are imported when they are first used: drivers are heavy."""

from __future__ import annotations

from typing import Any

from testgrove.core.engines.registry import load


class LazyMethod:
    """A method that stands elsewhere, without `self`. where: ``package.module:function``."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        found = load(self._where)
        if owner is not None:
            setattr(owner, self._name, staticmethod(found))
        return found
