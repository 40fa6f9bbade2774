"""Values of classes as plain ones, and back: what JSON and MessagePack lack, and the dataclasses of programs.

`plain` is asked only for what an encoder does not know. `typed` makes of plain values what an annotation says, for subscriptions with
``type=``: dataclasses, enumerations, dates, decimals, UUIDs, bytes, and lists, tuples, sets, dicts and unions of these.
"""

from __future__ import annotations

import base64
import dataclasses
import enum
import types
import typing
import uuid
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from functools import lru_cache
from typing import Any

from coopy import DecodingError


def plain(value: object) -> Any:
    """Returns what stands for a value of a class. Raises TypeError if nothing does.

    >>> plain(Decimal("1.50"))
    '1.50'
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, (Decimal, uuid.UUID)):
        return str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, (set, frozenset)):
        return list(value)
    raise TypeError(f"a {type(value).__qualname__} has no form in it")


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else base64.b64decode(value, validate=True)


_FROM_TEXT: dict[Any, Callable[[Any], Any]] = {
    datetime: datetime.fromisoformat,
    date: date.fromisoformat,
    time: time.fromisoformat,
    Decimal: Decimal,
    uuid.UUID: uuid.UUID,
    bytes: _bytes,
    float: float,
}


def typed(kind: Any, value: Any) -> Any:
    """Returns a plain value as one of a kind: a class or an annotation. Raises `DecodingError`.

    >>> typed(list[Decimal], ["1.50"])
    [Decimal('1.50')]
    """
    try:
        return _made(kind, value)
    except (TypeError, ValueError, KeyError, ArithmeticError, AttributeError) as error:
        name = getattr(kind, "__qualname__", kind)
        raise DecodingError(
            f"a message holds no {name}: {type(error).__name__}: {error}. It was not given to the callback. See who publishes it, and "
            f"what type= the subscription has; `message.data` has its bytes."
        ) from error


def _made(kind: Any, value: Any) -> Any:
    origin, given = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any or kind is object:
        return value
    if origin in (typing.Union, types.UnionType):
        return _one_of(given, value)
    if origin is not None:
        return _container(origin, given, value)
    if kind is None or kind is type(None):
        if value is not None:
            raise ValueError("must be nothing")
        return None
    if _is_dataclass(kind):
        known = _fields(kind)
        if not isinstance(value, dict):
            raise ValueError(f"must be fields and their values, and is {type(value).__name__}")
        return kind(**{name: _made(known[name], each) for name, each in value.items()})
    if kind in _FROM_TEXT and not isinstance(value, bool):
        return value if isinstance(value, kind) else _FROM_TEXT[kind](value)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind(value)
    if kind in (tuple, set, frozenset) and isinstance(value, list):
        return kind(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
        raise ValueError(f"must be {kind.__qualname__}, and is {type(value).__name__}")
    return value


def _one_of(kinds: tuple[Any, ...], value: Any) -> Any:
    why = ""
    for kind in kinds:
        try:
            return _made(kind, value)
        except (TypeError, ValueError, KeyError, ArithmeticError, AttributeError) as error:
            why = why or str(error)
    raise ValueError(why)


def _container(origin: Any, given: tuple[Any, ...], value: Any) -> Any:
    if origin is typing.Literal:
        if value not in given:
            raise ValueError(f"must be one of {given}")
        return value
    if origin is dict:
        return {_made(given[0], key): _made(given[1], each) for key, each in value.items()}
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"must be a list, and is {type(value).__name__}")
    if origin is tuple and given[-1] is not Ellipsis:
        if len(value) != len(given):
            raise ValueError(f"must have {len(given)} parts, and has {len(value)}")
        return tuple(_made(kind, each) for kind, each in zip(given, value, strict=True))
    return origin(_made(given[0], each) for each in value)


def _is_dataclass(kind: Any) -> bool:
    return dataclasses.is_dataclass(kind)


@lru_cache(maxsize=256)
def _fields(kind: Any) -> dict[str, Any]:
    """The annotations of the fields of a dataclass, those in quotes as what they name."""
    return typing.get_type_hints(kind)
