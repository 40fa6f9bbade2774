"""The record of one call: when it happened, how the one before it ended, and what was called.

    offset  size  field
         0     8  instant   nanoseconds since 1970-01-01 UTC; little-endian, like every field
         8     4  offset    seconds east of UTC of local time at that instant
        12     1  outcome   how the action *before* this one ended; with 16 added to it in a record that has a key, see `coopy.ground.keyed`
        13     n  call      pickle opcodes that leave two objects, see `coopy.values.codec`

The first 13 bytes are the header. Whoever keeps records puts the header into a
bytes object of pickle's (behind bytes of its own, if it likes), so that records
can be joined: any number of them between MARK and LIST are one pickle, and a
whole block of a journal is decoded by one call. Decoding one record at a time
took three times as long; docs/design/001-records-that-join.md has the figures.
What is decoded is a header again if it is looked at from its end.

A record whose call is twice None is an amendment: it calls nothing and only says how
the action before it ended. It is written when an action is withdrawn and when
a system closes.

A stored state begins with a head: the header of the last action in it, whose outcome
is that of this action itself, the version of the domain class that wrote it, and what
the machine has besides the domain object.

    offset  size  field
         0    13  header    as above
        13     4  version   see `coopy.migration`; unsigned
        17     4  size      of what follows up to the state, in bytes; unsigned
        21     e  besides   a pickle of a dict, see `coopy.spine.machine`; nothing if there is nothing
      21+e     n  state     see `coopy.values.codec`
"""

from __future__ import annotations

import struct
from datetime import datetime, timedelta, timezone

from coopy.ground.record import AMENDMENT_BYTES, PREFIX_BYTES

UNKNOWN, RETURNED, RAISED, WITHDRAWN = range(4)
OUTCOMES = ("unknown", "returned", "raised", "withdrawn")
KNOWN = bytes(range(len(OUTCOMES)))
"""The outcomes that this release writes."""

RESERVED = 0x10
"""Added to the outcome in the header of a record that has a key, of one of many objects: see `coopy.ground.keyed`. Whoever replays a system
refuses such a record, as the outcome is then that of the object's record before."""

HEADER = struct.Struct("<qiB")
HEAD = struct.Struct("<13sII")
CLOCK = "<clock>"
"""Name of the action with which the clock was put back: from it on instants are those of the machine's clock again, though the
action before it has a later one."""
AHEAD_NS = 300_000_000_000
"""An instant that is so much later than the clock is not of a clock that is set right."""
OUTCOME = -1  # place of the outcome in a header
NO_CALL = b"NN"
assert (HEADER.size, HEADER.size + len(NO_CALL)) == (PREFIX_BYTES, AMENDMENT_BYTES), (
    "the table above is what is packed, and what a log expects"
)

_EPOCH = datetime(1970, 1, 1)
_NS = 1_000_000_000  # How many nanoseconds a second has.


def header(instant: int, offset: int, outcome: int) -> bytes:
    """The header of a record."""
    return HEADER.pack(instant, offset, outcome)


def amendment(instant: int, offset: int, outcome: int) -> bytes:
    """A record that calls nothing and says how the action before it ended."""
    return HEADER.pack(instant, offset, outcome) + NO_CALL


def head(record_header: bytes, outcome: int, version: int, besides: bytes) -> bytes:
    """The head of the state after an action that ended so."""
    return HEAD.pack(record_header[-HEADER.size : OUTCOME] + bytes([outcome]), version, len(besides)) + besides


def instant_of(record_header: bytes) -> int:
    """Nanoseconds since 1970-01-01 UTC."""
    return int.from_bytes(record_header[-13:-5], "little", signed=True)


def local_time(record_header: bytes) -> datetime:
    """The naive local time of the action, where and when it was recorded."""
    instant, offset, _ = HEADER.unpack(record_header[-13:])
    return _EPOCH + timedelta(seconds=offset, microseconds=instant // 1000)


def aware_time(record_header: bytes) -> datetime:
    """The same, with the UTC offset it was recorded at."""
    _, offset, _ = HEADER.unpack(record_header[-13:])
    return local_time(record_header).replace(tzinfo=timezone(timedelta(seconds=offset)))


def utc_time(record_header: bytes) -> datetime:
    """The aware UTC time of the action."""
    microseconds = instant_of(record_header) // 1000
    return _EPOCH.replace(tzinfo=timezone.utc) + timedelta(microseconds=microseconds)


def nanoseconds(moment: datetime) -> int:
    """An instant for a datetime; a naive one is taken as local time of this machine."""
    try:
        aware = moment if moment.tzinfo is not None else moment.astimezone()
    except (ValueError, OverflowError):
        # In the first or the last year that there is: which hour of it does not matter.
        aware = moment.replace(tzinfo=timezone.utc)
    since = aware - _EPOCH.replace(tzinfo=timezone.utc)
    return (since.days * 86_400 + since.seconds) * _NS + since.microseconds * 1000
