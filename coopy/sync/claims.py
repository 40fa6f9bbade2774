"""What this process knows of each try to get a lock, and of the leases that these share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol

from coopy.sync import boot
from coopy.sync.queues import WAITS

ASKS, HOLDS, LOST, OVER = "asks", "holds", "lost", "over"

_thread = threading.local()


def this_thread() -> object:
    """Returns what no other thread has, not even one that gets the number of this one after its end."""
    found: object = _thread.__dict__.setdefault("itself", object())
    return found


class Moved(Protocol):
    """What is set when there is something to look at again. Of any thread."""

    def set(self) -> None: ...

    def clear(self) -> None: ...


class Asker:
    """The thread that asks, by default this one; or, with other values, a task. Only the one who waits knows of what kind ``moved`` is."""

    def __init__(self, itself: object = None, moved: Moved | None = None, kind: str = "thread") -> None:
        self.itself = this_thread() if itself is None else itself
        self.moved: Any = threading.Event() if moved is None else moved
        self.kind = kind


class Claim:
    """One try of a handle to get a lock, from before it asks until it is over."""

    def __init__(self, name: str, owner: str, session: Session, on_lost: Callable[[Claim], object], asker: Asker) -> None:
        self.name = name
        self.owner = owner
        self.session = session
        self.state = ASKS
        self.token = 0
        self.place = WAITS
        """What was heard of it last: a token, `WAITS` or `GONE`."""
        self.past_token = 0
        """The token with which it held the lock before it slept: what is heard of that is old."""
        self.is_known = False
        """Whether the system has answered that it has it."""
        self.is_leaving = False
        """Whether it has given up waiting: then it is no loss that the system has it no more."""
        self.why = ""
        """Why it was lost."""
        self.on_lost = on_lost
        self.asked_by(asker)

    def asked_by(self, asker: Asker) -> None:
        """Says who waits for it from now on."""
        self.asker = asker.itself
        """The thread, or the task, that asks."""
        self.moved = asker.moved
        """Set when `place` or `state` may be another one."""


class Session:
    """The lease that all claims of one length share."""

    def __init__(self, id: str, ttl: float) -> None:
        self.id = id
        self.ttl = ttl
        self.ttl_ns = round(ttl * boot.NS)
        self.until_ns = 0
        """The holder's own deadline."""
        self.claims: dict[str, Claim] = {}
        """By owner."""
        self.sent_ns = 0
        """When it was renewed last, or that was tried."""
        self.lost: set[str] = set()
        """Owners that have lost what they held by the holder's own deadline, until the system was told."""
        self.gone: set[str] = set()
        """Owners that are not known here any more, and whom the system may have."""
