"""What processes that share a directory send to each other: frames of a journal, whose bodies are calls.

    index    of the frame: the number of the request, the same in its answer; of what answers nothing, 0
    synced   of the frame: a position in the journal. Of a request, the index that its sender knows; of an answer, the one that the next
             read of its caller must see
    prefix   of the record: kind (1 byte), the id of the caller's process (8 bytes), 4 bytes of zeros
    call     of the record: what is said. Of a CALL it is what will lie in the journal, of all else a call whose name says nothing

A call that was forwarded lies in the journal with its id: behind its two objects stand opcodes that leave nothing,

    SHORT_BINBYTES 16 <process, 8 bytes> <number, 8 bytes, little-endian> POP

Bytes in, bytes out: no socket is known here, and nothing is decoded but by `decoded`.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from coopy.disk import frame
from coopy.ground.record import AMENDMENT_BYTES, PREFIX_BYTES
from coopy.values import entities
from coopy.values.alone import decoded_by
from coopy.values.codec import RECORD_BYTES_MAX, Codec
from coopy.values.copies import SCALARS

FORMAT = 1
"""Of what is sent. Processes of different formats don't understand each other."""
HELLO, CALL, AGAIN, READ, WHERE, CONTROL, PING = range(1, 8)
"""What a follower sends: who it is; a call; one that it has sent before; a read for a process without a copy; a question for the newest index;
what a control asks for; and whether anybody is there."""
WELCOME, VALUE, RAISED, REFUSED, NEWS = range(0x41, 0x46)
"""What the writer sends: that a follower may begin; what a call has returned, or has raised; that a call was surely not recorded; how far
all is settled."""

_PREFIX = struct.Struct("<B8s4x")
assert _PREFIX.size == PREFIX_BYTES, "a prefix is what a journal expects"
_NUMBER = struct.Struct("<Q")
_ID_HEAD, _POP = b"C\x10", b"0"
_ID = struct.Struct("<2s8sQc")  # The bytes of a process are drawn; then its number of the call.
ID_PART = _ID.size
"""So many bytes a record is longer that has an id."""
NOBODY = bytes(8)
_PLACES = tuple(f"value {place}" for place in range(8))
_FIELDS = struct.Struct(frame.HEAD.format + _PREFIX.format[1:])
"""All that stands before the call."""
_FIELDS_BYTES = _FIELDS.size
_FIRST, _SECOND = frame.HEAD_FIRST
_BININT, _END = frame.BININT, frame.TAIL.pack
_OVERHEAD, _END_BYTES, _SEED, _crc32 = frame.OVERHEAD, frame.END_BYTES, frame.SEED, zlib.crc32


_NO_PARCEL = "this is no parcel"


class Garbage(Exception):
    """Bytes are not those of a parcel."""


class Parcel(NamedTuple):
    """What was sent at once: not decoded yet."""

    kind: int
    process: bytes
    number: int
    position: int
    call: bytes


_parcel = tuple.__new__


def pack(kind: int, number: int, position: int, call: bytes, process: bytes = NOBODY) -> bytes:
    """Returns the bytes of a parcel."""
    # As `frame.pack`, without the call: each forwarded call comes here twice.
    data = _FIELDS.pack(_FIRST, _SECOND, PREFIX_BYTES + len(call), number, position, kind, process) + call + _BININT
    return data + _END(_crc32(data, _SEED), frame.POP)


assert pack(1, 2, 3, b"NN") == frame.pack(_PREFIX.pack(1, NOBODY) + b"NN", 2, 3), "a parcel is a frame"


class Said(bytes):
    """A value that is encoded already."""


def said(codec: Codec, *what: Any) -> bytes:
    """Returns values as the call of a parcel. Raises `EncodingError`, which names a value by its place."""
    return codec.encode_call("", what, {}, _PLACES)[0]


def told_out(codec: Codec, domain: object, value: Any) -> bytes:
    """Returns a value of a system as the call of a parcel, and which entities in it are the system's. Raises `EncodingError`."""
    if not entities.known.any or type(value) in SCALARS:
        return said(codec, value)
    showing = entities.Showing(domain)
    return codec.encode_call("", (value, showing.found), {}, _PLACES, showing)[0]


def taken_in(codec: Codec, call: bytes) -> tuple[Any, bool]:
    """Returns the value that `told_out`, or `said`, has made a call of, and whether entities of the system are in it. These go back as references."""
    value, *others = decoded_by(codec, call)[1]
    for each in others[0] if others else ():
        codec.received = codec.received or entities.Received()
        codec.received.note(each)
    return value, any(others)


def with_own(codec: Codec, domain: object, value: Any) -> Any:
    """Returns a value with the entities of a domain object in the place of those that were received. Raises `EncodingError`, `DecodingError`."""
    return decoded_by(codec, said(codec, value), domain)[1][0]


class Splitter:
    """Makes parcels of bytes as they come in."""

    __slots__ = ("_rest", "_needed")

    def __init__(self) -> None:
        self._rest = bytearray()
        self._needed = 0
        """So many bytes there must be before the next parcel can be whole."""

    def split(self, data: bytes) -> list[Parcel]:
        """Returns the parcels that are whole by now. Raises `Garbage`."""
        if self._rest:
            self._rest += data
            if len(self._rest) < self._needed:
                return []
            data = bytes(self._rest)
            self._rest, self._needed = bytearray(), 0
        found: list[Parcel] = []
        offset, size = 0, len(data)
        while size - offset >= _FIELDS_BYTES:
            first, second, record, number, position, kind, process = _FIELDS.unpack_from(data, offset)
            if first != _FIRST or second != _SECOND or not AMENDMENT_BYTES <= record <= RECORD_BYTES_MAX:
                raise Garbage(_NO_PARCEL)
            end = offset + record + _OVERHEAD
            if end > size:
                self._needed = end - offset
                break
            call = data[offset + _FIELDS_BYTES : end - _END_BYTES]
            found.append(_parcel(Parcel, (kind, process, number, position, call)))
            offset = end
        if offset < size:
            self._rest, data = bytearray(data[offset:]), data[:offset]
            if len(self._rest) >= frame.HEAD.size:
                # What will never be a parcel is not waited for.
                first, second, record, _, _ = frame.HEAD.unpack_from(self._rest)
                if (first, second) != frame.HEAD_FIRST or not AMENDMENT_BYTES <= record <= RECORD_BYTES_MAX:
                    raise Garbage(_NO_PARCEL)
        if found and _crc32(data, _SEED) != _SEED:
            raise Garbage("a checksum does not match")
        return found


# -- the id of a call


def id_of(process: bytes, number: int) -> bytes:
    """Returns the id of a call: which process has forwarded it, and as which."""
    return process + _NUMBER.pack(number)


def with_id(call: bytes, process: bytes, number: int) -> bytes:
    """Returns a call as it lies in a journal if it was forwarded."""
    return call + _ID.pack(_ID_HEAD, process, number, _POP)


def id_in(record: bytes) -> bytes | None:
    """Returns the id of the call in a record; None if it has none."""
    if record[-1:] == _POP and record[-ID_PART : -ID_PART + len(_ID_HEAD)] == _ID_HEAD:
        return record[-ID_PART + len(_ID_HEAD) : -1]
    return None


def ids_in(frames: bytes) -> Iterator[tuple[bytes, int]]:
    """Yields the ids of the calls in frames that touch, each with the index of its action. They are whole."""
    offset = 0
    while (found := frame.head(frames, offset)) is not None:
        if not found.is_amendment:
            for index, record in enumerate(found.records(frames, offset), found.first):
                one = id_in(record)
                if one is not None:
                    yield one, index
        offset += found.length
