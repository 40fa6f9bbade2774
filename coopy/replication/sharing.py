"""Snapshots that nodes give each other: shipped to the servers by the node that has one, and fetched by the node that needs one.

A node that needs a snapshot asks for one that reaches to a certain message at least. Whichever node is asked names the one that was
shipped last if that will do, or begins to make a newer one and says "ask again". How many are made is bounded, whoever asks.
"""

from __future__ import annotations

import threading
from typing import Any, Protocol

from coopy.errors import ClusterError, Unavailable
from coopy.ground import action
from coopy.ground.log import Bar
from coopy.ground.raised import last_resort
from coopy.ground.storage import Stored
from coopy.network.limits import TokenBucket
from coopy.network.room import Facts
from coopy.replication import states
from coopy.replication.outlook import Outlook
from coopy.replication.servers import OPEN_S, Servers
from coopy.replication.states import Life
from coopy.spine.machine import Machine

SHIP_S = 900.0
"""A state of some gigabytes is written, shipped and read within that; a node that can get none by then gives up."""
RETRY_S = 0.2
"""The servers may be agreeing on a leader, or another node may just be shipping."""
AGAIN_S = 1.0
"""A snapshot that is being made is there after some seconds."""
NEEDED_RATE = 0.1, 2.0
"""Snapshots a second, and at once, for nodes that can't go on without: each such costs a fork and the whole state on the way."""
WANTED_RATE = 1 / 300, 3.0
"""The same for newer ones than the line asks for: only a node whose own state is wrong needs that, and may do so three times."""
PIECE_BYTES = 1024 * 1024
"""A snapshot is handed on in pieces of that size: smaller ones cost calls, larger ones memory."""
KEPT = 2
"""Snapshots on the servers: the newest, and the one before it for a node that is just fetching that."""


class Giver(Protocol):
    """What is asked of a node that gives a snapshot."""

    @property
    def position(self) -> int:
        """The last message of the line that it has applied."""
        ...

    def take_snapshot(self) -> int: ...

    def newest_snapshot(self) -> tuple[int, Stored]:
        """The index and the bytes of the newest one."""
        ...


class Sharing:
    """One node's part in it. ``ended``: set once the node is being closed."""

    def __init__(self, node: Giver, outlook: Outlook, life: Life, servers: Servers, ended: threading.Event) -> None:
        self._node = node
        self._outlook = outlook
        self._life = life
        self._servers = servers
        self._ended = ended
        self._clock = servers.clock
        self._making = threading.Lock()
        """Held while a snapshot is made for others."""
        self._needed = TokenBucket(*NEEDED_RATE, self._clock.now)
        self._wanted = TokenBucket(*WANTED_RATE, self._clock.now)

    # -- giving

    def ship(self) -> Facts:
        """Ships this node's newest snapshot. Returns what the others are told of it. Raises `ClusterError`."""
        index, data = self._node.newest_snapshot()
        sequence = sequence_of(data)
        room, bucket = self._servers.room, self._servers.shipped
        shipped, revision = room.get("shipped")
        if shipped is None or shipped["index"] < index:
            bucket.write(index, lambda file: in_pieces(file, data))
            room.put("shipped", {"index": index, "sequence": sequence}, revision)
            for old in bucket.indexes()[:-KEPT]:
                bucket.forget(old + 1)
        return {"index": index, "sequence": sequence}

    def answer(self, asked: list[Facts]) -> list[Facts]:
        """Answers nodes that need a snapshot which reaches to a message at least: with one, or that it is being made."""
        shipped = self._servers.room.get("shipped")[0]
        return [self._answer(each.get("sequence"), shipped) for each in asked]

    def _answer(self, sequence: object, shipped: Facts | None) -> Facts:
        name, state = self._outlook.name, self._life.state
        if not isinstance(sequence, int) or sequence < 0:
            return {"error": "which message the snapshot must reach to is not said"}
        if state != states.READY:
            return {"error": f"{name} is {state}, and gives nobody a snapshot", "retry_s": AGAIN_S}
        if sequence > self._node.position:
            return {"error": f"{name} is at message {self._node.position} itself", "retry_s": AGAIN_S}
        if shipped is not None and shipped["sequence"] >= sequence:
            return shipped
        # One from which the line goes on is needed, and then not again before the line has forgotten more. One that is newer
        # than that is asked for by a node whose state is wrong, or by whoever wants to keep this one busy.
        line = self._outlook.line
        is_needed = shipped is None or line is None or shipped["sequence"] < line.first - 1
        if self._making.acquire(blocking=False):
            if not (self._needed if is_needed else self._wanted).take():
                self._making.release()
            else:
                self._clock.start(self._make, f"coopy ship {name}")
        return {"error": "a snapshot is being made, or was just before", "retry_s": AGAIN_S}

    def _make(self) -> None:
        try:
            # Nobody waits for this thread, and whoever asked asks again.
            with last_resort(self._not_shipped):
                self._node.take_snapshot()
                self.ship()
        finally:
            self._making.release()

    def _not_shipped(self, error: Exception) -> None:
        self._servers.sparing.warn("not shipped", "%s: no snapshot was given to the others: %s", self._outlook.name, error)

    # -- taking

    def fetch(self, least: int = 0) -> tuple[int, Stored]:
        """Returns index and bytes of a shipped snapshot from which the line goes on, of the state after message ``least`` or a later one.

        Raises `ClusterError` after `SHIP_S`, or once the node is being closed.
        """
        least = max(least, self._outlook.look(OPEN_S).first - 1)
        deadline = self._clock.now() + SHIP_S
        while True:
            try:
                shipped, _ = self._servers.room.get("shipped")
                if shipped is None or shipped["sequence"] < least:
                    self._servers.sparing.warn("asks", "%s: asks the other nodes for a snapshot", self._outlook.name)
                    left_s = max(0.1, deadline - self._clock.now())
                    shipped = self._servers.room.ask("snapshot", {"sequence": least}, left_s)
                found = self._fetched(shipped["index"])
                if found is not None:
                    return found
                problem: ClusterError = Unavailable(
                    f"the snapshot of action {shipped['index']} is not there; start this node again"
                )
            except ClusterError as error:
                problem = error  # Any node may have been asked, this one too.
            if self._clock.now() > deadline or self._clock.wait(self._ended, RETRY_S):
                raise problem

    def _fetched(self, index: int) -> tuple[int, Stored] | None:
        """The snapshot of that index. None if another has taken its place, or the server that answers is behind."""
        bar = Bar(f"fetching the snapshot of action {index}")
        self._servers.shipped.progress = bar.loading
        try:
            found = self._servers.shipped.latest(index)
        finally:
            bar.finish()
        # An older one would be taken again and again: what the node did wrong it would do again.
        return found if found is not None and found[0] == index else None


def sequence_of(state: Stored) -> int:
    """Returns the message of the line after which a state was so."""
    header, version, size = action.HEAD.unpack(state[: action.HEAD.size])
    machine = Machine(_Nothing(), 0, header, b"", version, state[action.HEAD.size : action.HEAD.size + size])
    return machine.batches.sequence


def in_pieces(file: Any, data: Stored) -> None:
    """Writes bytes that may be many."""
    for start in range(0, len(data), PIECE_BYTES):
        file.write(bytes(data[start : start + PIECE_BYTES]))


class _Nothing:
    """A domain for a machine that is only looked at."""
