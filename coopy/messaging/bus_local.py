"""A bus in one process, without a server: the second way to fill a `Link`, which must do what the first does.

Each message is put into the queues of those who hear it by the thread that publishes, under one lock: so all of them get it in the
same order.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from coopy import UsageError
from coopy.messaging import bus_subjects
from coopy.network.server.configuration import PAYLOAD_BYTES_MAX
from coopy.network.wire import Delivered

Put = Callable[[Sequence[Delivered]], None]
NOBODY = b"NATS/1.0 503\r\n\r\n"
"""What is sent to who has asked, if nobody hears the question: as a server says it."""
_REMEMBERED = 10_000
"""Subjects of which it is known who hears them."""


class Link(Protocol):
    """The way from one member of a bus to the others. At most once: what can't be delivered is gone."""

    lock: threading.RLock
    """Held by who calls `publish`, so that a number is given and sent at once."""

    loses: bool
    """Whether something may be lost on the way."""

    def start(
        self, resumed: Callable[[], None], failed: Callable[[], None], quiet: Callable[[], None], timeout_s: float | None
    ) -> None:
        """Connects, within so many seconds; None: it does so by and by.

        ``resumed`` is called whenever it has connected again, ``failed`` when it gives up the first time, and `check` says why; ``quiet``
        now and then.
        """
        ...

    def check(self) -> None:
        """Raises why nothing can be sent any more."""
        ...

    def subscribe(self, number: int, pattern: bytes, group: bytes, put: Put) -> None:
        """Has ``put`` called with what comes, in a thread that it must not keep."""
        ...

    def unsubscribe(self, number: int) -> None:
        """Asks for nothing more; what is on its way still comes, until `forget`."""
        ...

    def forget(self, number: int) -> None:
        """Has nothing called any more."""
        ...

    def publish(self, subject: bytes, reply: bytes, headers: bytes, data: bytes) -> None:
        """Sends a message; with the lock held. Does not wait. Raises `Unavailable`, `SystemClosed`, `UsageError`."""
        ...

    @property
    def crowded(self) -> bool:
        """Whether what is published waits: `make_room` has to be called first."""
        ...

    def make_room(self, timeout_s: float) -> None:
        """Waits until what was published has gone. Raises `Unavailable`."""
        ...

    @property
    def connected(self) -> bool: ...

    @property
    def where(self) -> str:
        """Where it leads to, for people."""
        ...

    def close(self) -> None: ...


class _Heard:
    """A subscription of one of the members."""

    __slots__ = ("group", "number", "owner", "pattern", "put")

    def __init__(self, owner: LocalLink, number: int, pattern: str, group: bytes, put: Put) -> None:
        self.owner = owner
        self.number = number
        self.pattern = pattern
        self.group = group
        self.put = put


class Hub:
    """What the members of a bus in one process have in common."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._heard: list[_Heard] = []
        self._of: dict[bytes, list[_Heard]] = {}
        """Who hears a subject, of those that were published to."""
        self._chance = random.Random()

    def add(self, heard: _Heard) -> None:
        with self.lock:
            self._heard.append(heard)
            self._of.clear()

    def remove(self, owner: LocalLink, number: int | None) -> None:
        """Takes out one subscription of a member, or all of them."""
        with self.lock:
            self._heard = [each for each in self._heard if each.owner is not owner or number not in (None, each.number)]
            self._of.clear()

    def pass_on(self, subject: bytes, reply: bytes, headers: bytes, data: bytes) -> None:
        """Gives a message to all who hear it, and to one of each group."""
        found = self._of.get(subject)
        if found is None:
            if len(self._of) >= _REMEMBERED:
                self._of.clear()
            text = subject.decode()
            found = self._of[subject] = [each for each in self._heard if bus_subjects.matches(each.pattern, text)]
        if not found and reply:
            self.pass_on(reply, b"", NOBODY, b"")
            return
        groups: dict[bytes, list[_Heard]] = {}
        for each in found:
            if each.group:
                groups.setdefault(each.group, []).append(each)
            else:
                each.put((Delivered(each.number, subject, headers, data, reply),))
        for members in groups.values():
            one = self._chance.choice(members)
            one.put((Delivered(one.number, subject, headers, data, reply),))


class LocalLink:
    """One member's way to a `Hub`. A `Link`."""

    connected = True
    loses = False
    crowded = False
    where = "this process"

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.lock = hub.lock

    def start(
        self, resumed: Callable[[], None], failed: Callable[[], None], quiet: Callable[[], None], timeout_s: float | None
    ) -> None:
        pass

    def check(self) -> None:
        pass

    def subscribe(self, number: int, pattern: bytes, group: bytes, put: Put) -> None:
        self.hub.add(_Heard(self, number, pattern.decode(), group, put))

    def unsubscribe(self, number: int) -> None:
        self.hub.remove(self, number)

    def forget(self, number: int) -> None:
        pass

    def publish(self, subject: bytes, reply: bytes, headers: bytes, data: bytes) -> None:
        refuse_too_long(subject, len(headers) + len(data), PAYLOAD_BYTES_MAX)
        self.hub.pass_on(subject, reply, headers, data)

    def make_room(self, timeout_s: float) -> None:
        pass

    def close(self) -> None:
        self.hub.remove(self, None)


def refuse_too_long(subject: bytes, size: int, most: int) -> None:
    """Raises `UsageError` for a message that has too many bytes."""
    if size > most:
        raise UsageError(
            f"{subject.decode()}: a message of {size} bytes, headers and all; {most} are the most. Nothing was sent. Send it in pieces, or a "
            f"name for it."
        )
