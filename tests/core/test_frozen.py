"""@frozen, compared with what dataclass(frozen=True) makes of the same class."""

from __future__ import annotations

import copy
from dataclasses import FrozenInstanceError, asdict, dataclass, field, fields, replace

import pytest

from testgrove.core.frozen import frozen


@frozen
class Point:
    x: int
    y: int = 0
    seen: list[int] = field(default_factory=list, compare=False, repr=False)


@frozen
class Point3(Point):
    z: int = 0

    def __post_init__(self) -> None:
        if self.z < 0:
            raise ValueError(self.z)


@dataclass(frozen=True)
class Ordinary:
    x: int
    y: int = 0
    seen: list[int] = field(default_factory=list, compare=False, repr=False)


def test_it_is_a_dataclass():
    point = Point(1, y=2)
    assert [each.name for each in fields(Point)] == ["x", "y", "seen"]
    assert asdict(replace(point, x=3)) == {"x": 3, "y": 2, "seen": []}
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        Point()  # type: ignore[call-arg]


def test_values_are_equal_by_class_and_compared_fields():
    assert Point(1, 2, [3]) == Point(1, 2, [4]) != Point(1, 3)
    assert Point(1) != Ordinary(1)
    assert Point(1) != Point3(1)
    assert Point3(1, z=2) == Point3(1, z=2)
    assert hash(Point(1, 2, [3])) == hash(Point(1, 2)) == hash(Ordinary(1, 2))
    assert len({Point(1), Point(1), Point(2)}) == 2


def test_fields_cannot_change():
    for point in (Point3(1), Ordinary(1)):
        for name in ("x", "seen", "other"):
            with pytest.raises(FrozenInstanceError, match=f"cannot assign to field '{name}'"):
                setattr(point, name, 5)
        with pytest.raises(FrozenInstanceError, match="cannot delete field 'x'"):
            del point.x  # type: ignore[misc]
        assert point.x == 1


def test_copies_and_what_a_class_defines_itself():
    point = Point3(1, 2, [3], 4)
    assert copy.deepcopy(point) == copy.copy(point) == point
    with pytest.raises(ValueError, match="-1"):
        replace(point, z=-1)

    @frozen
    class Hidden:
        value: str

        def __repr__(self) -> str:
            return "hidden"

    assert repr(Hidden("x")) == "hidden"
    assert repr(point) == "Point3(x=1, y=2, z=4)"
    assert repr(Ordinary(1)) == "Ordinary(x=1, y=0)"


@frozen
class Empty:
    pass


def test_a_class_without_fields():
    assert Empty() == Empty() != Point(1)
    assert hash(Empty()) == hash(Empty())


@frozen
class Named:
    x: int
    y: int = field(default=0, kw_only=True)


@dataclass(frozen=True)
class OrdinaryNamed:
    x: int
    y: int = field(default=0, kw_only=True)


@pytest.mark.parametrize(
    "arguments",
    [
        ((), {}),
        ((1, 2), {}),
        ((1,), {"x": 2}),
        ((1,), {"z": 2}),
        ((), {"z": 2}),
        ((), {"y": 1}),
        ((1, 2, 3, 4), {"y": 1}),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused_in_the_words_of_a_dataclass(arguments):
    args, kwargs = arguments
    with pytest.raises(TypeError) as ordinary:
        OrdinaryNamed(*args, **kwargs)
    with pytest.raises(TypeError) as ours:
        Named(*args, **kwargs)
    assert str(ours.value) == str(ordinary.value).replace("OrdinaryNamed", "Named")
    assert Named(1, y=2) == Named(x=1, y=2) != Named(1)


def test_every_value_has_a_default_of_its_own():
    assert Point(1).seen == []
    assert Point(1).seen is not Point(1).seen
    assert vars(Point(1, seen=[2])) == {"x": 1, "y": 0, "seen": [2]}
