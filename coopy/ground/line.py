"""The seam between nodes: a line, in which the messages of all of them stand in one order.

The line sees bytes and sequences, never an action. What it promises is that of a log
that a majority keeps: who was told that a message stands in the line will find it
there, every node sees the same messages under the same sequences, and none is missing.
`coopy.network.stream` is one on servers; `MemoryLine` is one in this process, for any
number of nodes of it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Protocol

from coopy.errors import MissingActions, SystemClosed, Unavailable

DUPLICATES_S = 120
"""Seconds for which a line knows the names of messages: whoever sends a message again, for want of an answer, does so within seconds."""
Message = tuple[int, bytes]
"""A sequence, from 1 without gaps, and what was sent."""


class Line(Protocol):
    """One node's end of a line. Any number of threads may send; one follows."""

    def send(self, data: bytes, name: str) -> Future[int]:
        """Puts a message at the end of the line; the future is its sequence, once a majority has it on disk.

        The future is answered while somebody receives, and by that thread. Of messages of the same name that are sent
        within `DUPLICATES_S`, one stands in the line. The future raises
        `Unavailable` if the message surely does not stand in the line, and `OutcomeUnknown` if that can't be said.
        """
        ...

    def last(self) -> int:
        """The sequence of the newest message, as far as this end has seen."""
        ...

    def follow(self, after: int) -> None:
        """Says where `receive` begins."""
        ...

    def receive(self, timeout_s: float) -> list[Message]:
        """The next messages, in order; none if none came in time, or if it was woken by something else.

        Raises `MissingActions` if the next is no longer there, `DamagedLine` if the line has a hole, and
        `SystemClosed` once it is closed.
        """
        ...

    def forget(self, upto: int) -> None:
        """No node needs the messages up to ``upto`` any more."""
        ...

    def close(self) -> None:
        """Receives no more. What was sent and not answered yet fails with `OutcomeUnknown`."""
        ...


class MemoryServer:
    """What keeps a line in memory."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.messages: list[bytes] = []
        self.first = 1
        self.names: dict[str, int] = {}
        self.available = True

    @property
    def last(self) -> int:
        return self.first + len(self.messages) - 1

    def ends(self, number: int) -> list[MemoryLine]:
        """So many ends of this line."""
        return [MemoryLine(self) for _ in range(number)]


class MemoryLine:
    """One node's end of a line in memory."""

    def __init__(self, server: MemoryServer) -> None:
        self._server = server
        self._after = 0
        self._closed = False

    def send(self, data: bytes, name: str) -> Future[int]:
        sent: Future[int] = Future()
        server = self._server
        with server.changed:
            if self._closed:
                sent.set_exception(SystemClosed("the line is closed"))
                return sent
            if not server.available:
                sent.set_exception(Unavailable("the line takes no messages now"))
                return sent
            if name not in server.names:
                server.messages.append(data)
                server.names[name] = server.last
                server.changed.notify_all()
        sent.set_result(server.names[name])
        return sent

    def last(self) -> int:
        return self._server.last

    def follow(self, after: int) -> None:
        self._after = after

    def receive(self, timeout_s: float) -> list[Message]:
        server = self._server
        with server.changed:
            server.changed.wait_for(lambda: self._closed or server.last > self._after, timeout_s)
            if self._closed:
                raise SystemClosed("the line is closed")
            if self._after + 1 < server.first:
                raise MissingActions("memory", self._after + 1, server.first - 1, "They were forgotten.")
            found = list(self._from(self._after + 1))
        self._after += len(found)
        return found

    def _from(self, sequence: int) -> Iterator[Message]:
        server = self._server
        return enumerate(server.messages[sequence - server.first :], sequence)

    def forget(self, upto: int) -> None:
        server = self._server
        with server.changed:
            upto = min(upto, server.last)
            if upto >= server.first:
                del server.messages[: upto + 1 - server.first]
                server.first = upto + 1

    def close(self) -> None:
        with self._server.changed:
            self._closed = True
            self._server.changed.notify_all()
