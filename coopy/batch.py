"""A batch: the actions that a node sends together over the line that nodes share, and which of them were applied.

    offset  size  field
         0     4  checksum     CRC-32 of all that follows; little-endian, like every field
         4     1  kind         ACTIONS or BARRIER
         5     8  incarnation  of the node: how often it has begun to send
        13     8  number       of the batch in this incarnation, from 1; of a barrier, any
        21     4  count        c, of the actions; 0 for a barrier
        25     1  length       n
        26     n  node         the name of the node that sends
      26+n   4*c  sizes        of the records
         +     m  records      joined, each as `coopy.storage.Log` yields it

A record's header holds the instant and the offset of the node that sends. The outcome of the
action before it is not known there: whoever applies the record writes it.

A batch may be sent again, by a node that does not know whether it arrived, and so arrive twice;
or it arrives although the one before it did not. Each node applies a batch only if its number is
the next of its node, and so all apply the same ones, once. The table that knows is part of the
state, and an action of its own, BATCH, begins each batch in the journal of a node: a restart
finds out from it where in the line, and where in a batch, it is.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from collections.abc import Sequence
from typing import NamedTuple

from coopy.errors import DamagedLine
from coopy.storage import WRAP

ACTIONS, BARRIER = 1, 2

BATCH = "<batch>"
"""Name of the action that begins a batch in a journal."""

_HEAD = struct.Struct("<IBQQIB")
assert _HEAD.size == 26, "the table above is what is packed"


class Batch(NamedTuple):
    """A batch as it arrives."""

    kind: int
    node: str
    incarnation: int
    number: int
    actions: int
    sizes: array[int]
    records: memoryview


def pack(kind: int, node: str, incarnation: int, number: int, records: Sequence[bytes] = ()) -> bytes:
    """The bytes of a batch of records, each a header and a call."""
    name = node.encode()
    sizes = array("I", [len(record) + len(WRAP) for record in records])
    joined = WRAP + WRAP.join(records) if records else b""
    rest = _HEAD.pack(0, kind, incarnation, number, len(records), len(name))[4:] + name + sizes.tobytes() + joined
    return zlib.crc32(rest).to_bytes(4, "little") + rest


def unpack(data: bytes, sequence: int) -> Batch:
    """The batch in the bytes of a message. Raises `DamagedLine` if they are not what was sent."""
    if len(data) < _HEAD.size or zlib.crc32(memoryview(data)[4:]) != int.from_bytes(data[:4], "little"):
        raise damaged(sequence, "its checksum does not match")
    _, kind, incarnation, number, count, length = _HEAD.unpack_from(data)
    names = _HEAD.size + length
    sizes = array("I")
    sizes.frombytes(data[names : names + 4 * count])
    return Batch(
        kind, data[_HEAD.size : names].decode(), incarnation, number, count, sizes, memoryview(data)[names + 4 * count :]
    )


def damaged(sequence: int, why: str) -> DamagedLine:
    """What to raise for a message that is not what was sent."""
    return DamagedLine(
        f"message {sequence} of the line is not what was sent: {why}. This node has stopped before it; what it has is whole."
    )


class Batches(NamedTuple):
    """Which batches were applied: what a state knows of the line."""

    sequence: int = 0
    """Place in the line of the batch that was begun last; 0 before the first."""
    first: int = 1
    """Index of its first action."""
    actions: int = 0
    """Of its actions."""
    writers: dict[str, tuple[int, int]] = {}
    """The newest incarnation of each node that has sent, and the number of its newest batch."""

    def begun(self, first: int, sequence: int, node: str, incarnation: int, number: int, count: int) -> Batches:
        """The same, with a batch more."""
        return Batches(sequence, first, count, {**self.writers, node: (incarnation, number)})

    def is_next(self, batch: Batch) -> bool:
        """Whether a batch is to be applied. If not, it has been, or its turn has not come, or its node has begun anew."""
        incarnation, number = self.writers.get(batch.node, (0, 0))
        if batch.incarnation == incarnation:
            return batch.number == number + 1
        return batch.incarnation > incarnation and batch.number == 1

    def left(self, applied: int) -> int:
        """How many actions of the batch that was begun last are still to be applied."""
        return max(0, self.first + self.actions - 1 - applied)
