"""A batch: the actions that a node sends together over the line that nodes share, and which of them were applied.

    offset  size  field
         0     4  checksum     CRC-32 of all that follows; little-endian, like every field
         4     1  kind         ACTIONS, BARRIER or WITHDRAWAL
         5     8  incarnation  of the node: how often it has begun to send; of a withdrawal, the place in the line of the batch with the action
        13     8  number       of the batch in this incarnation, from 1; of a barrier, any; of a withdrawal, the index of the action
        21     4  count        c, of the actions; 0 for the others
        25     1  length       n
        26     4  size         m, of what follows behind the name once it is inflated, in bytes; 0 for the others
        30     n  node         the name of the node that sends
      30+n   4*c  sizes        of the records
         +        records      joined, each as `coopy.ground.storage.Log` yields it

Sizes and records are deflated (RFC 1951) if there are many bytes of them and that makes them fewer: actions are much
alike, and three servers write each byte twice. docs/design/011-deflated-batches.md has the figures.

A record's header holds the instant and the offset of the node that sends. The outcome of the
action before it is not known there: it says that it returned, as nearly all do, and whoever applies the
record puts it right.

A batch may be sent again, by a node that does not know whether it arrived, and so arrive twice;
or it arrives although the one before it did not. Each node applies a batch only if its number is
the next of its node, and so all apply the same ones, once. The table that knows is part of the
state, and an action of its own, BATCH, begins each batch in the journal of a node: a restart
finds out from it where in the line, and where in a batch, it is.

A node that can't apply an action, for lack of memory, withdraws it for all of them by a message. Each node leaves the action
out then, as if it had never been called; one that had applied it goes back. docs/design/015-withdrawn-by-the-line.md says how.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from collections.abc import Sequence
from typing import NamedTuple

from coopy.errors import DamagedLine
from coopy.ground.record import joined, listed, sizes_of

ACTIONS, BARRIER, WITHDRAWAL = 1, 2, 3

NEW, REST, OLD, PASSED, FOLLOWED = range(5)
"""What a batch that is met in the line is to a state: the next of its node; the one that was begun last, of which some actions may not be
applied yet; one that was applied before; one before which another is missing; and one of a process that another has followed as the same
node. Only the actions of the first two are applied."""

BATCH = "<batch>"
"""Name of the action that begins a batch in a journal."""

WITHDRAWN = "<withdrawn>"
"""Name of the action that says in a journal that a withdrawal was met in the line."""

WITHDRAWN_MAX = 1000
"""So many withdrawn actions are remembered, the newest ones: a message that withdraws one of them once more does nothing."""

DEFLATED_MIN = 4096
"""Fewer bytes are sent as they are: what is saved at the servers is less than it takes."""
SAMPLED_MIN = 64 * 1024
"""Of more bytes a part is deflated first."""
SAMPLE = 4096
"""Bytes of that part: enough for deflate to find what repeats, and done in a tenth of a millisecond."""
LEVEL = 1
"""The fastest one. Level 2 came to the same time and the same size (docs/design/011-deflated-batches.md)."""

_HEAD = struct.Struct("<IBQQIBI")
_KIND_AT = 4  # The offset of the kind, which is looked at without unpacking the rest.
assert _HEAD.size == 30, "the table above is what is packed"


class Batch(NamedTuple):
    """A batch as it arrives."""

    kind: int
    node: str
    incarnation: int
    number: int
    actions: int
    sizes: array[int]
    records: bytes


def pack(kind: int, node: str, incarnation: int, number: int, records: Sequence[bytes] = ()) -> bytes:
    """The bytes of a batch of records, each a header and a call."""
    name = node.encode()
    records_joined, sizes = joined(records)
    body = listed(sizes) + records_joined
    head = _HEAD.pack(0, kind, incarnation, number, len(records), len(name), len(body))
    rest = b"".join((head[4:], name, _fewest(body)))
    return zlib.crc32(rest).to_bytes(4, "little") + rest


def _fewest(body: bytes) -> bytes:
    """The bytes, deflated if that is worth it."""
    if len(body) < DEFLATED_MIN:
        return body
    if len(body) >= SAMPLED_MIN:
        # From the middle: the sizes in front are alike, whatever the records are.
        start = len(body) // 2
        if len(_deflated(memoryview(body)[start : start + SAMPLE])) > 0.9 * SAMPLE:
            return body
    found = _deflated(body)
    return found if len(found) < len(body) else body


def _deflated(data: bytes | memoryview) -> bytes:
    deflate = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflate.compress(data) + deflate.flush()


def unpack(data: bytes, sequence: int) -> Batch:
    """The batch in the bytes of a message. Raises `DamagedLine` if they are not what was sent."""
    if len(data) < _HEAD.size or zlib.crc32(memoryview(data)[4:]) != int.from_bytes(data[:4], "little"):
        raise damaged(sequence, "its checksum does not match")
    _, kind, incarnation, number, count, length, size = _HEAD.unpack_from(data)
    names = _HEAD.size + length
    body = data[names:]
    if len(body) != size:
        try:
            inflate = zlib.decompressobj(-zlib.MAX_WBITS)
            body = inflate.decompress(body, size + 1)
        except zlib.error as error:
            raise damaged(sequence, f"it can't be inflated ({error})") from error
        if len(body) != size or not inflate.eof:
            raise damaged(sequence, "it does not hold as many bytes as it says")
    if size < 4 * count:
        raise damaged(sequence, "it does not hold as many actions as it says")
    node, sizes = data[_HEAD.size : names].decode(), sizes_of(body[: 4 * count])
    return Batch(kind, node, incarnation, number, count, sizes, body[4 * count :])


def withdrawal(node: str, sequence: int, index: int) -> bytes:
    """The message that withdraws an action, of the batch at that place in the line."""
    return pack(WITHDRAWAL, node, sequence, index)


def withdraws(data: bytes, sequence: int, index: int) -> bool:
    """Whether a message, which need not be looked at otherwise, withdraws an action."""
    if len(data) < _HEAD.size or data[_KIND_AT] != WITHDRAWAL:
        return False
    found = unpack(data, 0)
    return (found.incarnation, found.number) == (sequence, index)


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
    withdrawn: tuple[int, ...] = ()
    """Indexes of the actions that messages of the line have withdrawn, and which the state is without."""

    def begun(self, first: int, sequence: int, node: str, incarnation: int, number: int, count: int) -> Batches:
        """The same, with a batch more."""
        return Batches(sequence, first, count, {**self.writers, node: (incarnation, number)}, self.withdrawn)

    def without(self, *indexes: int) -> Batches:
        """The same, of a state without some actions."""
        return self._replace(withdrawn=tuple(sorted({*self.withdrawn, *indexes}))[-WITHDRAWN_MAX:])

    def met(self, first: int, sequence: int, index: int) -> Batches:
        """The same, with a withdrawal more that was met in the line; ``first`` is the index of what comes next."""
        return Batches(sequence, first, 0, self.writers, self.withdrawn).without(index)

    def step(self, sequence: int, batch: Batch) -> int:
        """Returns what a batch at a place in the line is to this state: NEW, REST, OLD, PASSED or FOLLOWED."""
        if sequence <= self.sequence:
            return REST if sequence == self.sequence else OLD
        incarnation, number = self.writers.get(batch.node, (0, 0))
        if batch.incarnation < incarnation:
            return FOLLOWED
        if batch.incarnation > incarnation:
            number = 0  # The node has begun anew.
        if batch.number <= number:
            return OLD
        return NEW if batch.number == number + 1 else PASSED

    def done(self, applied: int) -> int:
        """How many actions of the batch that was begun last have been applied."""
        return self.actions - self.left(applied)

    def left(self, applied: int) -> int:
        """How many actions of the batch that was begun last are still to be applied."""
        return max(0, self.first + self.actions - 1 - applied)
