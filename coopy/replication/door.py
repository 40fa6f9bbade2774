"""The door of a directory: connections of this user's processes, and one thread that takes what they send.

Whoever is another user, says nothing, sends what is no parcel, or does not read its answers is let go, and the others are served. Which
parcels there are is nobody's here: they are given to `Serving`.
"""

from __future__ import annotations

import contextlib
import resource
import select
import socket
import threading
import weakref
from collections import deque
from collections.abc import Callable, Collection
from typing import Any

from coopy.errors import CoopyError
from coopy.ground.log import error as log_error
from coopy.ground.raised import last_resort
from coopy.ground.weakly import weakly
from coopy.replication.guests import Guests
from coopy.replication.local import Listening, is_ours, pid_of
from coopy.replication.parcels import NOBODY, Garbage, Parcel, Splitter
from coopy.replication.serving import Serving
from coopy.replication.waiting import Waiting

READ_BYTES = 64 * 1024
"""What is read of one connection before the others have their turn. Room for four times as much is mapped and unmapped each time: 15 µs."""
UNREAD_BYTES_MAX = 64 * 1024 * 1024
"""A peer that leaves more of its answers unread is let go."""
PEERS_MAX = 4096
"""So many connections there are at most, and no more than half of the files that the process may open."""
ACCEPTED_AT_ONCE = 64
"""So many are accepted before those that are there have their turn."""


class Visitor:
    """A connection. A `coopy.replication.serving.Peer`."""

    def __init__(self, door: Door, connection: socket.socket) -> None:
        self.process = NOBODY
        self.socket = connection
        self.is_open = True
        self._door = door
        self._splitter = Splitter()
        # Guards what was not sent yet: two threads send.
        self._lock = threading.Lock()
        self._unsent: deque[bytes] = deque()
        self._unsent_bytes = 0

    def read(self) -> list[Parcel]:
        """Returns what has come; nothing from one that has gone, or sends garbage."""
        try:
            data = self.socket.recv(READ_BYTES)
            if data:
                return self._splitter.split(data)
        except BlockingIOError:
            return []
        except (OSError, Garbage):
            pass
        self._door.forget(self)
        return []

    def send(self, data: bytes) -> None:
        with self._lock:
            if not self.is_open:
                return
            if not self._unsent:
                try:
                    sent = self.socket.send(data)
                except BlockingIOError:
                    sent = 0
                except OSError:
                    return  # The thread that takes finds out.
                if sent == len(data):
                    return
                data = data[sent:]
            self._unsent.append(data)
            self._unsent_bytes += len(data)
            if self._unsent_bytes > UNREAD_BYTES_MAX:
                self._unsent.clear()
                with contextlib.suppress(OSError):
                    self.socket.shutdown(socket.SHUT_RDWR)
                return
        self._door.has_unsent(self)

    def flush(self) -> bool:
        """Sends what was not sent yet. Returns whether nothing is left."""
        with self._lock:
            while self._unsent:
                data = self._unsent[0]
                try:
                    sent = self.socket.send(data)
                except BlockingIOError:
                    return False
                except OSError:
                    self._unsent.clear()
                    return True
                self._unsent_bytes -= sent
                if sent < len(data):
                    self._unsent[0] = data[sent:]
                    return False
                self._unsent.popleft()
            return True

    def end(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with self._lock:
            self.is_open = False
            self._unsent.clear()
            self.socket.close()


class Door:
    """Lets others in."""

    def __init__(self, listening: Listening, serving: Serving, guests: Guests) -> None:
        self._listening = listening
        self._serving = serving
        self._guests = guests
        self._visitors: dict[int, Visitor] = {}
        """By the numbers of their sockets."""
        self._unsent: deque[Visitor] = deque()
        self._ending = False
        self._bell, self._ringer = socket.socketpair()
        self._bell.setblocking(False)
        self._ringer.setblocking(False)
        # Without `selectors`, which makes two objects of each event: 1 µs of a call.
        self._poller: Any = select.epoll() if hasattr(select, "epoll") else select.poll()
        self._poller.register(listening.socket, select.POLLIN)
        self._poller.register(self._bell, select.POLLIN)
        self._events = Waiting(self._poller)
        self._peers_max = min(PEERS_MAX, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
        self._sockets = {listening.socket, self._bell, self._ringer}
        """All that are open. The thread closes them if the system is forgotten."""
        known = weakref.ref(self), self._events, weakly(self._not_served), self._poller, self._sockets
        self._thread = threading.Thread(target=_serve, args=known, name="coopy door", daemon=True)
        weakref.finalize(self, _ring, self._ringer).atexit = False

    def open(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def close(self) -> None:
        """Takes nothing any more. What was taken is dealt with. To be followed by `let_go`."""
        self._ending = True
        self._ring()
        if self._thread.is_alive():
            self._thread.join()
        self._listening.close()

    def let_go(self) -> None:
        """Closes the connections."""
        for visitor in list(self._visitors.values()):
            visitor.flush()
            visitor.close()
        self._visitors.clear()
        self.drop()

    def drop(self) -> None:
        """Closes what this process has of it: also in a forked child, where it is the parent's."""
        if hasattr(self._poller, "close"):
            self._poller.close()
        self._listening.socket.close()
        for each in (self._bell, self._ringer, *(visitor.socket for visitor in list(self._visitors.values()))):
            each.close()

    def positions(self) -> dict[int, int | None]:
        """Returns the processes that are connected, each with the action that it has been told of, or None if it follows nothing."""
        found: dict[int, int | None] = {}
        for visitor in list(self._visitors.values()):
            # It may be closed meanwhile.
            with contextlib.suppress(OSError):
                if visitor.process != NOBODY:
                    pid, position = pid_of(visitor.socket), self._serving.position_of(visitor)
                    found[pid] = found.get(pid) if position is None else position
        return found

    def _ring(self) -> None:
        _ring(self._ringer)

    def has_unsent(self, visitor: Visitor) -> None:
        """Sends the rest as soon as there is room."""
        self._unsent.append(visitor)
        self._ring()

    def _not_served(self, error: Exception) -> None:
        if not self._ending:
            log_error("a call of another process could not be served: %r", error)

    def _deal_with(self, ready: list[tuple[int, int]]) -> None:
        asked: list[tuple[Visitor, Parcel]] = []
        for number, events in ready:
            visitor = self._visitors.get(number)
            if visitor is None:
                self._ring_or_knock(number)
                continue
            if events & ~select.POLLIN and visitor.flush():
                self._watch(visitor, select.POLLIN)
            if events & ~select.POLLOUT:
                asked += [(visitor, parcel) for parcel in visitor.read()]
        while self._unsent:
            visitor = self._unsent.popleft()
            if visitor.is_open:
                self._watch(visitor, select.POLLIN | select.POLLOUT)
        if asked:
            self._serving.take(asked)

    def _ring_or_knock(self, number: int) -> None:
        """Deals with what is no visitor: somebody who comes in, or the bell. One that has gone in this very round is neither."""
        if number == self._listening.socket.fileno():
            self._accept()
        elif number == self._bell.fileno():
            with contextlib.suppress(OSError):
                self._bell.recv(READ_BYTES)

    def _watch(self, visitor: Visitor, events: int) -> None:
        with contextlib.suppress(KeyError, ValueError, OSError):
            self._poller.modify(visitor.socket, events)

    def _accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                connection, _address = self._listening.socket.accept()
            except OSError:
                return  # There is none; or no file for one more, and the others go on.
            try:
                connection.setblocking(False)
                is_ours_ = is_ours(connection)
            except OSError:
                is_ours_ = False
            if not is_ours_:
                connection.close()
                continue
            if len(self._visitors) >= self._peers_max and not self._made_room():
                connection.close()
                continue
            visitor = Visitor(self, connection)
            self._visitors[connection.fileno()] = visitor
            self._sockets.add(connection)
            self._poller.register(connection, select.POLLIN)

    def _made_room(self) -> bool:
        """Lets the oldest go of those that have not said who they are. Returns whether there was one."""
        for visitor in self._visitors.values():
            if visitor.process == NOBODY:
                self.forget(visitor)
                return True
        return False

    def forget(self, visitor: Visitor) -> None:
        """Closes a connection. In the thread that takes."""
        if self._visitors.pop(visitor.socket.fileno(), None) is not None:
            with contextlib.suppress(KeyError, ValueError, OSError):
                self._poller.unregister(visitor.socket)
        visitor.close()
        self._sockets.discard(visitor.socket)
        with contextlib.suppress(CoopyError):
            self._serving.leave(visitor)


def _ring(ringer: socket.socket) -> None:
    """Has the thread of a door look up."""
    with contextlib.suppress(OSError):
        ringer.send(b"\0")


def _serve(
    myself: weakref.ref[Door],
    events: Waiting,
    not_served: Callable[[Exception], object],
    poller: Any,
    sockets: Collection[socket.socket],
) -> None:
    """What the thread of a door does. What waits does not keep the door, and so not the system, which its user may have forgotten."""
    door: Door | None = None
    while True:
        # Whatever is raised in one round, the others are served.
        with last_resort(not_served):
            while True:
                ready = events.wait()
                door = myself()
                if door is None:
                    _let_all_go(poller, sockets)
                    return
                if not door._ending:
                    door._guests.take_turn(door._deal_with, ready)
                if door._ending:
                    return
                door = None
        door = None


def _let_all_go(poller: Any, sockets: Collection[socket.socket]) -> None:
    """Closes what is left of a door that is gone: the others find another process that writes."""
    if hasattr(poller, "close"):
        poller.close()
    for each in sockets:
        each.close()
