"""A recorded call in words, with no code loaded or run: for people who decide about an action that their code can't decode.

What a pickle would make of classes and functions is a stand-in here, which has their name and shows what it was given.
Some classes of the standard library that do nothing when they are made are themselves.
"""

from __future__ import annotations

import datetime
import decimal
import fractions
import io
import pickle
import uuid
from collections import OrderedDict
from collections.abc import Iterable
from reprlib import recursive_repr
from typing import Any

from coopy.ground.action import HEADER
from coopy.ground.raised import attempted
from coopy.ground.words import shown
from coopy.values.codec import pickle_of

WIDTH = 60  # Each argument is a part of one line.
_HEAD, _TAIL = b"\x80\x05(", b"l."
"""What makes the two objects of a call a pickle of a list."""

_HARMLESS: dict[tuple[str, str], Any] = {
    (each.__module__, each.__qualname__): each
    for each in (
        datetime.date,
        datetime.datetime,
        datetime.time,
        datetime.timedelta,
        datetime.timezone,
        decimal.Decimal,
        fractions.Fraction,
        uuid.UUID,
        OrderedDict,
        complex,
    )
}


def call_of(record: bytes) -> tuple[str | None, str]:
    """The method that a record calls, and the call in words. The method is None if it can't be known without its code."""
    found, error = attempted(_call_of, record)
    if found is None:
        return None, f"a call that can't be shown without the code it was recorded with ({type(error).__name__}: {error})"
    return found


def _call_of(record: bytes) -> tuple[str, str]:
    """As `call_of`. Nothing is unpickled whole, and bytes of any kind may come, so it may raise anything."""
    name, args = _loaded(_HEAD + record[HEADER.size :] + _TAIL)
    kwargs: dict[str, Any] = {}
    if name is None:
        name, args, *rest = _opaque(args)
        kwargs = rest[0] if rest else {}
    if not isinstance(name, str):
        raise ValueError("it names no method")
    values = [shown(each, WIDTH) for each in args] + [f"{key}={shown(each, WIDTH)}" for key, each in kwargs.items()]
    return name, f"{name}({', '.join(values)})"


def _opaque(args: Any) -> Any:
    """Name, arguments and perhaps keywords of a call that stands in a record as a whole."""
    return args if type(args) is tuple else _loaded(pickle_of(args))


def methods_in(records: bytes) -> set[str]:
    """The methods that joined records call; those that can't be known without their code are left out."""
    objects, _ = attempted(_loaded, _HEAD + records + _TAIL)
    found = set()
    for name, args in zip((objects or ())[1::3], (objects or ())[2::3], strict=True):
        if name is None and args is not None:
            opaque, _ = attempted(_opaque, args)
            name = opaque[0] if opaque else None
        if isinstance(name, str):
            found.add(name)
    return found


def value_of(data: bytes) -> Any:
    """The value of a pickle that holds plain values alone. Raises what unpickling raises."""
    return _loaded(data)


def _loaded(data: bytes) -> Any:
    return _Unpickler(io.BytesIO(data)).load()


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("copyreg", "_reconstructor"):
            return _reconstructed
        found = _HARMLESS.get((module, name))
        return _Kind(name, (_StandIn,), {}) if found is None else found

    def persistent_load(self, pid: Any) -> Any:
        if isinstance(pid, tuple) and pid[0] == "entity":
            return _Kind(str(pid[2]), (_StandIn,), {})(pid[3])
        return _Kind(str(pid[1] if isinstance(pid, tuple) else pid), (_StandIn,), {})


class _Kind(type):
    """The class of what stands in for a class or a function."""

    def __repr__(cls) -> str:
        return cls.__name__


class _StandIn(metaclass=_Kind):
    """What stands in for an object."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        made = object.__new__(cls)
        made.__dict__["given"] = [*args, *kwargs.values()]
        return made

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.__dict__["given"].append(state)

    def append(self, value: Any) -> None:
        self.__dict__["given"].append(value)

    def extend(self, values: Iterable[Any]) -> None:
        self.__dict__["given"] += values

    def add(self, value: Any) -> None:
        self.__dict__["given"].append(value)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.__dict__["given"].append({key: value})

    @recursive_repr()
    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.__dict__['given']))})"


def _reconstructed(cls: Any, base: Any, state: Any) -> Any:
    return cls() if state is None else cls(state)
