"""Frozen dataclasses whose classes are quick to create."""

from __future__ import annotations

from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field, fields, make_dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar, dataclass_transform

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[T]) -> type[T]:
    """Make a class what `dataclass(frozen=True)` makes it, in a tenth of the time.

    `dataclass` compiles the source of six methods for each class: 50 ms of the start of `testgrove test`. Here nothing
    is compiled; all classes share the methods. A method that the class itself defines is kept.
    """
    dataclass(init=False, eq=False, repr=False)(cls)
    compared = [each.name for each in fields(cls) if each.compare]  # type: ignore[arg-type] # it is a dataclass now
    values = attrgetter(*compared) if compared else type

    def equal(self: Any, other: object) -> bool:
        return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

    def hashed(self: Any) -> int:
        return hash(values(self))

    shared = {
        "__init__": _initializer(cls),
        "__eq__": equal,
        "__hash__": hashed,
        "__repr__": _shown,
        "__setattr__": _refuse_change,
        "__delattr__": _refuse_deletion,
    }
    for name in shared.keys() - cls.__dict__.keys():
        setattr(cls, name, shared[name])
    return cls


def _initializer(cls: type) -> Callable[..., None]:
    """Return the `__init__` of a class, which assigns the fields and calls `__post_init__`."""
    own: tuple[Field[Any], ...] = fields(cls)
    names = {each.name for each in own}
    positional = tuple(each.name for each in own if not each.kw_only)
    defaults = {each.name: each.default for each in own if each.default is not MISSING}
    factories = [(each.name, each.default_factory) for each in own if each.default_factory is not MISSING]
    most = len(positional)
    finish = getattr(cls, "__post_init__", None)

    def initialize(self: Any, *args: Any, **kwargs: Any) -> None:
        values = self.__dict__
        if defaults:
            values.update(defaults)
        values.update(zip(positional, args))  # noqa: B905 - checked below; `strict` would cost as much as the rest
        if kwargs:
            values.update(kwargs)
        for name, make in factories:
            if name not in values:
                values[name] = make()
        if (
            values.keys() != names
            or len(args) > most
            or (args and kwargs and not kwargs.keys().isdisjoint(positional[: len(args)]))
        ):
            values.clear()
            _refuse_arguments(cls, own, args, kwargs)
        if finish is not None:
            finish(self)

    return initialize


def _refuse_arguments(
    cls: type, own: tuple[Field[Any], ...], args: tuple[object, ...], kwargs: dict[str, object]
) -> None:
    """Raise the TypeError that the compiled `__init__` of an ordinary dataclass raises."""
    like = [
        (each.name, object, field(default=each.default, default_factory=each.default_factory, kw_only=each.kw_only))
        for each in own
    ]
    ordinary = make_dataclass(cls.__name__, like)
    ordinary.__init__.__qualname__ = f"{cls.__qualname__}.__init__"  # type: ignore[misc] # which no subclass sees
    ordinary(*args, **kwargs)


def _shown(self: Any) -> str:
    values = (f"{each.name}={getattr(self, each.name)!r}" for each in fields(self) if each.repr)
    return f"{type(self).__qualname__}({', '.join(values)})"


def _refuse_change(_self: Any, name: str, _value: object) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_deletion(_self: Any, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")
