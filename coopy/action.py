"""The record of one call: when it happened, how the one before it ended, and what was called.

    offset  size  field
         0     1  0x43      pickle opcode SHORT_BINBYTES
         1     1  13        bytes of the header that follows
         2     8  instant   nanoseconds since 1970-01-01 UTC; little-endian, like every field
        10     4  offset    seconds east of UTC of local time at that instant
        14     1  outcome   how the action *before* this one ended
        15     n  call      pickle opcodes that leave two objects, see `coopy.codec`

A record is written in the words of pickle (protocol 5) so that records can be
joined: any number of them between MARK and LIST are one pickle, and a whole
block of a journal is decoded by one call. Decoding one record at a time took
three times as long; docs/design/001-records-that-join.md has the figures.

A record whose call is twice None is an amendment: it calls nothing and only says how
the action before it ended. It is written when an action is withdrawn and when
a system closes.
"""

from __future__ import annotations

import struct
from datetime import datetime, timedelta, timezone

UNKNOWN, RETURNED, RAISED, WITHDRAWN = range(4)
OUTCOMES = ("unknown", "returned", "raised", "withdrawn")

RECORD = struct.Struct("<BBqiB")
HEADER = struct.Struct("<qiB")
SHORT_BINBYTES = 0x43
OUTCOME = 12  # offset of the outcome in the header
NO_CALL = b"NN"
HEAD = bytes([SHORT_BINBYTES, HEADER.size])
assert RECORD.size == 15 and HEADER.size == 13, "the table above is what is packed"

_EPOCH = datetime(1970, 1, 1)
_NS = 1_000_000_000


def header(instant: int, offset: int, outcome: int) -> bytes:
    """The 13 bytes at the head of a record."""
    return HEADER.pack(instant, offset, outcome)


def amendment(instant: int, offset: int, outcome: int) -> bytes:
    """A record that calls nothing and says how the action before it ended."""
    return RECORD.pack(SHORT_BINBYTES, HEADER.size, instant, offset, outcome) + NO_CALL


def instant_of(record_header: bytes) -> int:
    """Nanoseconds since 1970-01-01 UTC."""
    return int.from_bytes(record_header[:8], "little", signed=True)


def local_time(record_header: bytes) -> datetime:
    """The naive local time of the action, where and when it was recorded."""
    instant, offset, _ = HEADER.unpack(record_header)
    return _EPOCH + timedelta(seconds=offset, microseconds=instant // 1000)


def utc_time(record_header: bytes) -> datetime:
    """The aware UTC time of the action."""
    microseconds = instant_of(record_header) // 1000
    return _EPOCH.replace(tzinfo=timezone.utc) + timedelta(microseconds=microseconds)


def nanoseconds(moment: datetime) -> int:
    """An instant for a datetime; a naive one is taken as local time of this machine."""
    aware = moment if moment.tzinfo is not None else moment.astimezone()
    since = aware - _EPOCH.replace(tzinfo=timezone.utc)
    return (since.days * 86_400 + since.seconds) * _NS + since.microseconds * 1000
