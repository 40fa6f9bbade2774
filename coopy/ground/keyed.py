"""The key of a record, where one log has many objects: `coopy.objects`.

Such a record has 16 added to the outcome in its header, and this directly after the header:

    offset  size  field
         0     1  0x42     pickle opcode BINBYTES
         1     4  size     of the fields that follow up to the last; little-endian, like every field
         5     8  before   index of the record before it of the same key; 0 if there is none
        13     4  offset   where the frame of that record begins in its segment; 0 if it is the frame of this record, or there is none
        17     4  version  of the domain class that recorded it, see `coopy.migration`
        21     4  code     only if 48 is added to the outcome, not 16: the code version that was enabled, see `coopy.code_version`
        21     k  key      UTF-8; of an object of another class than that of the manifest, the class (module:Class) and a zero in front
      21+k     1  0x30     pickle opcode POP

To pickle it leaves nothing, so the record is three objects like any other. The outcome is that of the newest action *of the same key*
before it, and what an action draws comes from the secret, the key and the number of the action. The number of the first action of a
key is its index in the log, and each later action of the key has one more: so none comes twice, also where a key was deleted
and begun again. So all that an object was can be found from its newest record, without a look at the records of others.

Records of several keys, or several of one, that must be there together or not at all stand in one frame. Four names are those of records that
call no method, and have no number:

| name | arguments |
| --- | --- |
| `<state>` | the state of the object after the action before: a head, as that of a snapshot, and a state. What came before it is not needed to load the object. Of the dict in the head ``number`` is the number of that action; 0 if there was none, and then ``first``, if it is there, is one less than that of the next |
| `<ended>` | none; how the action before has ended, which its header says: written where it was withdrawn |
| `<told>` | bytes: a call as it stands in a record, which an action of another object has told this one, in the frame of that action. It waits in the object |
| `<deleted>` | none; from here on there is no object of the key |

Four are those of actions that coopy itself calls: `<take>` runs the first call that waits; `<alarm>`, with a name and an instant, runs the call
of the alarm that was set so; `<passed>`, with the same or with nothing, drops it without running it, as it was undone; `<done>`,
with the name of an effect and None, says that it was carried out. In the dict of a state ``inbox`` is the list of calls that wait, ``alarms`` a dict of
instants and calls by name, and ``effects`` a dict of pickles by name, as that of a system has it; the name is the number of the action, and which of its
effects it is.

Where the objects are spread over several logs (`coopy.objects.slots`), a key that begins with a zero is no object's: `\\0to\\0N` is that of what objects
of this log have told objects of log N, and `\\0from\\0N` of what they were told from there. Their records call no method either:

| name | arguments |
| --- | --- |
| `<sent>` | bytes: the size of a key (2 bytes), the key, and a call: what an action has told an object of the other log, in the frame of that action |
| `<heard>` | bytes: an index (8 bytes). All that the other log has sent up to its record of that index is told here, the newest of it in this frame |

A record without a key in such a log is damage. Today's systems have no key, and not one byte more.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from coopy.errors import DecodingError
from coopy.ground import action

STATE = "<state>"
ENDED = "<ended>"
DELETED = "<deleted>"
TOLD = "<told>"
TAKE = "<take>"
ALARM = "<alarm>"
PASSED = "<passed>"
SENT = "<sent>"
HEARD = "<heard>"

FIELDS = struct.Struct("<BIQII")
FIXED_BYTES = FIELDS.size - 5  # What the size counts besides the key.
KEY_AT = action.HEADER.size + FIELDS.size
_OUTCOME_AT = action.HEADER.size - 1
CODED = 0x20
"""Added to the outcome of a record with a key that has a code version as well."""
CODE_BYTES = 4  # As many as a version of the class has.
_BINBYTES, _POP = 0x42, b"0"
assert FIELDS.size == 21, "the table above is what is packed"

pack_fields = FIELDS.pack


class Keyed(NamedTuple):
    """What a record says of its key, and its parts. ``outcome`` is that of the action before of the same key."""

    outcome: int
    before: int
    offset: int
    version: int
    key: bytes
    header: bytes
    call: bytes
    code: int


def fields(before: int, offset: int, version: int, key: bytes, code: int = 0) -> bytes:
    """Returns what stands between the header and the call."""
    if code:
        key = code.to_bytes(CODE_BYTES, "little") + key
    return pack_fields(_BINBYTES, FIXED_BYTES + len(key), before, offset, version) + key + _POP


def outcome(of_before: int, code: int = 0) -> int:
    """Returns the outcome in the header of a record with a key."""
    return action.RESERVED | of_before | (CODED if code else 0)


def with_code(header: bytes) -> bytes:
    """Returns the header of a record that has a code version."""
    return header[:_OUTCOME_AT] + bytes([header[_OUTCOME_AT] | CODED])


def has_key(record: bytes) -> bool:
    """Returns whether a record has a key."""
    return record[_OUTCOME_AT] >= action.RESERVED


def parts(record: bytes) -> Keyed:
    """Returns the parts of a record. Raises `DecodingError` if it has no key."""
    flags = record[_OUTCOME_AT] & 0xF0 if len(record) >= KEY_AT else 0
    if flags not in (action.RESERVED, action.RESERVED | CODED):
        raise DecodingError("the record there has no key, and stands among those of many objects: it is damaged")
    _, size, before, offset, version = FIELDS.unpack_from(record, action.HEADER.size)
    end = KEY_AT + size - FIXED_BYTES
    header, begins, code = record[:_OUTCOME_AT], KEY_AT, 0
    if flags & CODED:
        begins += CODE_BYTES
        code = int.from_bytes(record[KEY_AT:begins], "little")
    return Keyed(record[_OUTCOME_AT] & 0x0F, before, offset, version, record[begins:end], header, record[end + 1 :], code)


def key_of(record: bytes) -> bytes:
    """Returns the key of a record, which has one."""
    begins = KEY_AT + CODE_BYTES if record[_OUTCOME_AT] & CODED else KEY_AT
    return record[begins : KEY_AT + int.from_bytes(record[14:18], "little") - FIXED_BYTES]
