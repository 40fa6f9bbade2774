"""``with``, ``__init__`` called again, and ``==``: as with the object itself."""

from __future__ import annotations

import functools
import threading
from collections import Counter, OrderedDict, UserDict, UserList, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import attrs
import pytest
from alike import alike

from coopy import SystemClosed, control
from coopy.testing import memory_system

# -- a class with its own __exit__


class Session:
    def __init__(self) -> None:
        self.seen: list[str] = []
        self.suppresses = False

    def __enter__(self) -> Session:
        self.seen.append("enter")
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> bool:
        self.seen.append(f"{kind and kind.__name__}: {error}")
        return self.suppresses


class SessionOfStars(Session):
    def __exit__(self, *args: Any) -> bool:
        self.seen.append(f"{args[0] and args[0].__name__}: {args[1]}")
        return self.suppresses


class Unwritable(Exception):
    """Holds what no codec takes."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.lock = threading.Lock()

    def __reduce__(self) -> Any:
        raise TypeError("not to be pickled")


def _raising(error: BaseException) -> Any:
    def go(obj: Any) -> Any:
        with obj as entered:
            assert entered is obj
            raise error

    return go


@pytest.mark.parametrize("cls", [Session, SessionOfStars])
@pytest.mark.parametrize("error", [ValueError("wrong"), KeyError("k"), UnicodeDecodeError("utf-8", b"x", 0, 1, "bad")])
def test_the_exception_of_the_block_reaches_the_user_and_the_object(tmp_path: Path, cls: Any, error: Exception) -> None:
    assert alike(tmp_path, cls, _raising(error), lambda c: c.seen) == 2
    system: Any = memory_system(cls)
    with pytest.raises(type(error)) as caught, system:
        raise error
    assert caught.value is error


def test_one_that_is_suppressed_is_suppressed(tmp_path: Path) -> None:
    def suppress(obj: Any) -> None:
        obj.suppresses = True

    alike(tmp_path, Session, suppress, _raising(ValueError("w")), lambda c: c.seen, lambda c: c.__exit__(None, None, None))


@pytest.mark.parametrize("cls", [Session, SessionOfStars])
def test_one_that_can_not_be_recorded_reaches_the_user_and_a_stand_in_the_object(cls: Any) -> None:
    system: Any = memory_system(cls)
    with pytest.raises(Unwritable, match="lock"), system:
        raise Unwritable("lock")
    assert system.seen[-1] == "Exception: Unwritable: lock"
    assert control(system).replay().seen == system.seen


def test_one_that_closes_the_system_is_not_hidden_by_that() -> None:
    system: Any = memory_system(Session)
    with pytest.raises(ValueError, match="wrong") as caught, system:
        control(system).close()
        raise ValueError("wrong")
    assert any("__exit__() was not called" in each for each in getattr(caught.value, "__notes__", []))
    with pytest.raises(SystemClosed):
        system.__exit__(None, None, None)


# -- __init__ called again


class Resettable:
    def __init__(self, first: int = 1, *, second: int = 2) -> None:
        self.values = [first, second]

    def add(self, value: int) -> None:
        self.values.append(value)

    def reset(self) -> None:
        self.__init__()  # type: ignore[misc]


@dataclass
class ResettableData:
    values: list[int] = field(default_factory=list)

    def add(self, value: int) -> None:
        self.values.append(value)


@attrs.define
class ResettableAttrs:
    values: list[int] = attrs.field(factory=list)

    def add(self, value: int) -> None:
        self.values.append(value)


class ResettableList(list):  # type: ignore[type-arg]
    def add(self, value: int) -> None:
        self.append(value)


@pytest.mark.parametrize("cls", [Resettable, ResettableData, ResettableAttrs, ResettableList])
def test_init_called_again_is_recorded(tmp_path: Path, cls: Any) -> None:
    assert alike(tmp_path, cls, lambda c: c.add(5), lambda c: c.__init__(), lambda c: c.add(6)) == 3


def test_init_called_again_takes_arguments_as_the_class_does(tmp_path: Path) -> None:
    alike(tmp_path, Resettable, lambda c: c.__init__(7, second=8), lambda c: c.__init__(1, 2), lambda c: c.reset())


def test_init_of_a_class_without_one_does_nothing() -> None:
    class Nothing:
        pass

    system: Any = memory_system(Nothing)
    system.__init__()
    assert control(system).index == 0


# -- == in both directions


class Dict(dict):  # type: ignore[type-arg]
    pass


class List(list):  # type: ignore[type-arg]
    pass


class Set(set):  # type: ignore[type-arg]
    pass


class Ordered(OrderedDict):  # type: ignore[type-arg]
    pass


class Counted(Counter):  # type: ignore[type-arg]
    pass


class Deque(deque):  # type: ignore[type-arg]
    pass


class OfUser(UserDict):  # type: ignore[type-arg]
    pass


class ListOfUser(UserList):  # type: ignore[type-arg]
    pass


class Bytes(bytearray):
    pass


@dataclass
class Data:
    value: int = 3


@dataclass(order=True)
class OrderedData:
    value: int = 3


@attrs.define
class WithAttrs:
    value: int = 3


@functools.total_ordering
class Own:
    def __init__(self) -> None:
        self.value = 3

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Own) and other.value == self.value

    def __lt__(self, other: Any) -> bool:
        return bool(self.value < other.value)

    __hash__ = None  # type: ignore[assignment]


class OwnByType(Own):
    def __eq__(self, other: object) -> Any:
        if type(other) is not type(self):
            return NotImplemented
        return other.value == self.value  # type: ignore[attr-defined]

    __hash__ = None  # type: ignore[assignment]


MAKERS: list[Any] = [
    *(lambda: Dict(a=1), lambda: List([1]), lambda: Set([1]), lambda: Ordered(a=1), lambda: Counted("a"), lambda: Deque([1])),
    *(lambda: OfUser(a=1), lambda: ListOfUser([1]), lambda: Bytes(b"a"), Data, OrderedData, WithAttrs, Own, OwnByType),
]


@pytest.mark.parametrize("make", MAKERS)
def test_a_system_is_equal_to_a_plain_object_with_its_state(make: Any) -> None:
    system, other, plain = memory_system(make()), memory_system(make()), make()
    assert system == plain and plain == system and not (system != plain) and not (plain != system)
    assert system == other and not (system != other) and system == system
    assert [plain] == [system] and {"a": system} == {"a": plain}
    different = make()
    if hasattr(different, "value"):
        different.value = 4
    else:
        different.clear()
    assert system != different and different != system
