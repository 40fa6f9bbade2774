"""Consumer groups: the members share out the events of one name by their keys.

The keys fall to shards by a hash, and the shards to the members by a `coopy.sync.Party`: each has one leader, by a lease. A shard is a consumer of its own, with its
own position, so the events of one key come in order, to one member at a time, whoever comes and goes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING
from zlib import crc32

from coopy import LockLost, SystemClosed, UsageError
from coopy.messaging.events_follow import LEASE_S, RAISE, Filter, Following
from coopy.messaging.events_kinds import Event, Position
from coopy.messaging.events_opened import Opened
from coopy.messaging.events_payload import Kind
from coopy.messaging.events_reading import Choose
from coopy.sync import Party, Term

if TYPE_CHECKING:
    from typing_extensions import Self

SHARDS = 8
"""At most so many members have work at once; each member reads the log once for each shard that it leads."""


class Group:
    """One member of a group; what `EventSource.group` returns. It joins with ``with``, or with `join`.

    >>> with source.group("labels", shards=2) as member:
    ...     member.wait_until_led(timeout=60), member.shards()
    (True, [0, 1])
    """

    def __init__(
        self,
        source: Opened,
        name: str,
        shards: int = SHARDS,
        from_: int | Position | None = None,
        filter: Filter = None,
        on_gap: str = RAISE,
        lease: float = LEASE_S,
    ) -> None:
        if isinstance(shards, bool) or not isinstance(shards, int) or shards < 1:
            raise UsageError(
                f"shards={shards!r}: must be a whole number, at least 1, and the same for all members. Nothing was changed."
            )
        self.name = name
        self._source = source
        self._shards = shards
        self._arguments = (from_, filter, on_gap)
        self._led: dict[int, Following] = {}
        """What this member follows, by shard. Guarded by `_lock`."""
        self._lock = threading.Condition()
        self._turn = 0
        self._closed = False
        self._party = Party(name, [str(each) for each in range(shards)], self._work, system=source.log, ttl=lease)

    def join(self) -> None:
        """Joins the others. Raises `UsageError` if the number of shards is not that of the group."""
        known = self._source.log.register_group(self.name, self._shards)
        if known != self._shards:
            raise UsageError(
                f"shards={self._shards}: the group {self.name!r} has {known}, by which its positions are kept. Nothing was changed. Say shards={known}."
            )
        self._party.join()

    def shards(self) -> list[int]:
        """Returns the shards that this member has now."""
        with self._lock:
            return sorted(self._led)

    def wait_until_led(self, timeout: float | None = None) -> bool:
        """Waits until this member has all shards that fall to it. Returns False if that was not in so many seconds."""
        until = None if timeout is None else time.monotonic() + timeout
        if not self._party.wait_until_led(timeout):
            return False
        with self._lock:
            left = None if until is None else max(until - time.monotonic(), 0)
            return self._lock.wait_for(lambda: sorted(map(int, self._party.leads())) == sorted(self._led), left)

    def next(self, timeout: float | None = None) -> Event | None:
        """Returns an event of one of the shards that this member has; None if there is none in so many seconds, or if it is closed."""
        until = None if timeout is None else time.monotonic() + timeout
        while not self._closed:
            try:
                news = self._source.news()
                seen = news.count
                event = self._one()
                left = None if until is None else max(until - time.monotonic(), 0)
                if event is not None or left == 0:
                    return event
                if not (self._closed or news.wait(seen, left)):
                    return None
            except SystemClosed:
                break
        return None

    def _one(self) -> Event | None:
        """Returns an event that is there, of the shards in turn."""
        with self._lock:
            led = list(self._led.values())
        for number in range(len(led)):
            following = led[(self._turn + number) % len(led)]
            try:
                event = following.pop()
                if event is None and following.fill():
                    event = following.pop()
            except LockLost:
                continue  # It falls to another member now.
            if event is not None:
                self._turn += number + 1
                return event
        return None

    def ack(self, event: Event) -> bool:
        """Says that an event, and all before it of its shard, are dealt with. Returns False if the shard fell to another member meanwhile, who is
        given them again."""
        following = self._of(event)
        if following is None:
            return False
        try:
            following.ack(event)
        except LockLost:
            return False
        return True

    def park(self, event: Event, why: object = "") -> bool:
        """Puts an event aside; see `Following.park`. Its consumer is called ``name/shard``. Returns False as `ack` does."""
        following = self._of(event)
        if following is None:
            return False
        try:
            following.park(event, why)
        except LockLost:
            return False
        return True

    def shard_of(self, event: Event) -> int:
        """Returns which shard an event belongs to."""
        return shard_of(event.stream, event.key, self._shards)

    def _of(self, event: Event) -> Following | None:
        with self._lock:
            return self._led.get(self.shard_of(event))

    def _work(self, shard: str, term: Term) -> None:
        """Follows a shard for as long as this member leads it."""
        number = int(shard)
        from_, filter, on_gap = self._arguments
        following = Following(
            self._source, f"{self.name}/{shard}", from_, filter, on_gap, lease=term, choose=_chooser(number, self._shards)
        )
        following.acquire()
        with self._lock:
            self._led[number] = following
            self._lock.notify_all()
        self._source.news().ring()
        term.stop.wait()
        with self._lock:
            del self._led[number]
            self._lock.notify_all()

    def __iter__(self) -> Iterator[Event]:
        while (event := self.next()) is not None:
            yield event

    def close(self) -> None:
        """Leaves: its shards fall to the others at once, and so do events that were not acknowledged."""
        self._closed = True
        self._party.close()
        self._source.news().ring()

    def __enter__(self) -> Self:
        self.join()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Group {self.name!r}: {len(self.shards())} of {self._shards} shards>"


def shard_of(stream: str, key: str | None, shards: int) -> int:
    """Returns the shard of a key, or of a stream if there is no key: the same in every process and release."""
    return crc32((stream if key is None else key).encode()) % shards


def _chooser(shard: int, shards: int) -> Choose:
    """Returns what chooses the events of one shard before anything of them is decoded."""

    def choose(stream: str, kind: Kind) -> bool:
        return shard_of(stream, kind[2], shards) == shard

    return choose
