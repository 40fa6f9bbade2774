"""Events to bytes and back, and what events of earlier versions of a program are today.

Bytes are kept as they are; everything else is pickled, once, by whoever appends. The log carries those bytes, so neither a replay nor another process
needs the classes: only a read decodes. Upcasts are the upgrades of `coopy.migration`: what version 1 of a type has written is passed
through all steps up to today's version when it is read, and stays in the log as it was.
"""

from __future__ import annotations

import io
import pickle
import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import Any, TypeVar

from coopy import DecodingError, EncodingError, UsageError
from coopy.messaging.events_kinds import NewEvent
from coopy.migration import FIRST, Call, Migration, Removed

Kind = tuple[str, int, "str | None", "bytes | None", int]
"""Of an event: type, version of the type, key, encoded meta, and how the data are encoded."""
Kinds = tuple[Kind, ...] | bytes
"""One kind for all events of an action; or that of each, pickled."""
Upcast = TypeVar("Upcast", bound=Callable[[Any], Any])
RAW, PICKLED, TOMBSTONE = range(3)
"""How the data of an event are encoded: not at all, by pickle, or there are none."""
_PROTOCOL = 5  # Of pickle: the one that the journal has, too.
BYTES = ("bytes", FIRST, None, None, RAW)
"""The kind of plain bytes."""
_SIZE_BYTES = 4  # Of a number of array("I"), everywhere where Python runs; little-endian.
assert array("I").itemsize == _SIZE_BYTES, "sizes of data are kept in so many bytes each"
_DIGEST_BYTES = 16
"""So many of a hash keep two different appends with one id apart."""


class Upcasts:
    """What became of types and classes of events since they were written."""

    def __init__(self) -> None:
        self._steps: dict[str, dict[int, Callable[[Any], Any]]] = {}
        self._migrations: dict[str, Migration] = {}
        self._names = Migration(FIRST)
        self._renames = False

    def step(self, type: str, from_version: int) -> Callable[[Upcast], Upcast]:
        """Marks what makes of the data of one version of a type those of the next. Raises `UsageError`."""

        def register(function: Upcast) -> Upcast:
            steps = self._steps.setdefault(type, {})
            if from_version in steps:
                raise UsageError(f"events of type {type!r} have two upcasts from version {from_version}")
            migration = Migration(max([from_version, *steps]) + 1)
            every: dict[int, Callable[[Any], Any]] = {**steps, from_version: function}
            for version, each in every.items():
                migration.action(type, version=version)(_as_call(type, each))
            migration.check()
            steps[from_version] = function
            self._migrations[type] = migration
            return function

        return register

    def renamed(self, old: str, new: str | None) -> None:
        """Says what a class ``module:Name`` of stored data is called today. Raises `UsageError`."""
        self._names.renamed(old, new)
        self._renames = True

    def version(self, type: str) -> int:
        """Returns the version of a type that is written today."""
        found = self._migrations.get(type)
        return FIRST if found is None else found.version

    def today(self, type: str, version: int, data: Any) -> tuple[str, Any] | None:
        """Returns type and data of an event as they are today; None if it is none any more."""
        found = self._migrations.get(type)
        if found is None or version >= found.version:
            return type, data
        call = found.upgraded(version, Call(type, data))
        return None if call is None else (call.method, call.args[0])

    def load(self, blob: bytes) -> Any:
        """Returns what was pickled. Raises `DecodingError`."""
        try:
            if self._renames:
                return _Renaming(io.BytesIO(blob), self._names).load()
            return pickle.loads(blob)
        except (AttributeError, ImportError) as error:
            raise DecodingError(
                f"the data of an event can't be decoded: {error}. Nothing was changed. If a class has another name now, say so: "
                f'source.renamed("module:Old", "module:New"), or None for the new name if it is gone.'
            ) from error


class _Renaming(pickle.Unpickler):
    """Finds classes by the names they have today."""

    def __init__(self, file: io.BytesIO, names: Migration) -> None:
        super().__init__(file)
        self._names = names

    def find_class(self, module: str, name: str) -> Any:
        found = self._names.todays_name(module, name)
        if found is None:
            return type(name.rpartition(".")[2], (Removed,), {"__module__": module, "__qualname__": name})
        return super().find_class(*found)


def _as_call(type: str, function: Callable[[Any], Any]) -> Callable[[Any], Call | None]:
    """Returns an upgrade of `coopy.migration` for an upcast, which may say that itself: a `Call` is another type, None is nothing any more."""

    def upgrade(data: Any) -> Call | None:
        found = function(data)
        return found if found is None or isinstance(found, Call) else Call(type, found)

    return upgrade


def as_list(events: Any) -> list[Any]:
    """Returns events that may be one alone. Raises `UsageError` if there are none."""
    if isinstance(events, NewEvent) or not (isinstance(events, (list, tuple)) or hasattr(events, "__next__")):
        return [events]
    found = list(events)
    if not found:
        raise UsageError("there are no events to append. Nothing was appended.")
    return found


def encoded(events: list[Any], upcasts: Upcasts) -> tuple[Kinds, bytes, bytes]:
    """Returns events as one action records them: their kinds, the sizes of their data, and the data one after another. Raises `EncodingError`."""
    if set(map(type, events)) == {bytes}:
        return (BYTES,), *joined(events)
    kinds, blobs = zip(*[_encoded(each, upcasts) for each in events], strict=True)
    if kinds.count(kinds[0]) == len(kinds):
        return kinds[:1], *joined(blobs)
    return pickle.dumps(kinds, _PROTOCOL), *joined(blobs)


def joined(blobs: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Returns the sizes of data as bytes, and the data one after another. Of one alone no size is needed."""
    if len(blobs) == 1:
        return b"", blobs[0]
    sizes = array("I", map(len, blobs))
    if sys.byteorder == "big":
        sizes.byteswap()
    return sizes.tobytes(), b"".join(blobs)


def count_of(sizes: bytes) -> int:
    """Returns how many events an action has recorded."""
    return len(sizes) // _SIZE_BYTES or 1


def parted(sizes: bytes, data: bytes, first: int, number: int) -> Iterator[bytes]:
    """Yields the data of so many events of an action, from one on."""
    if not sizes:
        yield data
        return
    found = array("I", sizes)
    if sys.byteorder == "big":
        found.byteswap()
    begin = sum(found[:first])
    for size in found[first : first + number]:
        yield data[begin : begin + size]
        begin += size


def kinds_of(kinds: Kinds) -> Sequence[Kind]:
    """Returns the kinds of the events of an action: one for all, or one for each."""
    found: Sequence[Kind] = pickle.loads(kinds) if isinstance(kinds, bytes) else kinds
    return found


def _encoded(event: Any, upcasts: Upcasts) -> tuple[Kind, bytes]:
    if isinstance(event, (bytes, bytearray, memoryview)):
        return BYTES, bytes(event)
    if isinstance(event, NewEvent):
        name, data, key, meta = event
        if not isinstance(name, str) or not isinstance(key, (str, type(None))):
            raise UsageError(f"{event!r}: its type must be a text, and its key a text or None. Nothing was appended.")
    else:
        name, data, key, meta = type(event).__qualname__, event, None, None
    said = None if meta is None else _dumped(meta)
    if data is None and key is not None:
        return (name, upcasts.version(name), key, said, TOMBSTONE), b""
    if isinstance(data, (bytes, bytearray, memoryview)):
        return (name, upcasts.version(name), key, said, RAW), bytes(data)
    return (name, upcasts.version(name), key, said, PICKLED), _dumped(data)


def _dumped(value: Any) -> bytes:
    try:
        return pickle.dumps(value, _PROTOCOL)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise EncodingError(
            f"an event can't be pickled: {error}. Nothing was appended. Append plain values, or bytes."
        ) from error


def digest_of(stream: str, kinds: Kinds, sizes: bytes, data: bytes) -> bytes:
    """Returns what is the same for the same events, and for no others."""
    found = blake2b(repr((stream, kinds, sizes)).encode(), digest_size=_DIGEST_BYTES)
    found.update(data)
    return found.digest()
