"""Calls and values as bytes that belong to no system: what a task is given, for one, and what it returns.

They are encoded as the arguments of recorded calls are. What belongs to a process, as an open file does, is refused by name, and byte code says
which Python wrote it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from coopy.values.codec import Codec, decode_one


class _Nothing:
    """The domain class of what has no domain."""


@functools.cache
def _codec() -> Codec:
    return Codec(_Nothing)


def encoded(args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None, names: Sequence[str] = ()) -> bytes:
    """Returns a call as bytes. Raises `EncodingError`, which says by ``names`` what cannot be kept, and why.

    >>> decoded(encoded((1, "a"), {"b": [2]}))
    ((1, 'a'), {'b': [2]})
    """
    return _codec().encode_call("", args, dict(kwargs or {}), names)[0]


def decoded(data: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Returns what was encoded. Raises `DecodingError`."""
    _, args, kwargs = decoded_by(_codec(), data)
    return args, kwargs


def decoded_by(codec: Codec, call: bytes, domain: object = None) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    """Returns the name and the arguments of a call that a codec has encoded. Raises `DecodingError`."""
    name, args = decode_one(call)
    if name is not None:
        return name, args, {}
    name, args, *rest = codec.decode_call(args, None, domain)
    return name, args, rest[0] if rest else {}
