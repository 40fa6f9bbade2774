"""A subscription: a bounded queue between the thread that reads and whoever takes, which knows what is missing in it.

The thread that reads never waits: what finds no room is counted, and told of as soon as what came before it was taken. So who is slow
loses messages of its own, hears how many, and holds up nobody. What is missing is seen where messages arrive: each has a number of its
publisher and subject, and a gap in those is told of in its place among the messages.

In a queue group nobody gets all messages of a publisher, so there numbers say nothing, and only what found no room is told of.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from coopy import SystemClosed, UsageError
from coopy.ground.raised import last_resort
from coopy.messaging import bus_subjects
from coopy.messaging.bus_message import Member, Message, Missed, numbers
from coopy.network.wire import Delivered

T = TypeVar("T")
V = TypeVar("V")

WAITING_MESSAGES_MAX = 65_536
"""A second or two of what one process can take."""
WAITING_BYTES_MAX = 64 << 20
"""As much as a server keeps for a connection that does not read."""
KNOWN_MAX = 100_000
"""Publishers, each with a subject, of which the last number is known: about 20 MB."""
_AT_ONCE = 128
"""What the callback's thread takes from the queue at once: taking one by one takes its lock each time."""
_END_S = 5.0
"""`close` waits so long for a callback that runs."""
_log = logging.getLogger("coopy.bus")

MissedCallback = Callable[[Missed], object]
_Key = tuple[bytes, bytes]
"""Publisher and subject."""


class Subscription(Generic[T]):
    """Messages of a pattern, as they come. Made by `Bus.subscribe`; ends with `close`, or a `with`.

    >>> with bus.subscribe("orders.*", type=Order) as orders:
    ...     for message in orders:
    ...         print(message.value.number)
    """

    def __init__(
        self,
        bus: Member,
        pattern: str,
        group: str,
        of: Any,
        missed: MissedCallback | None,
        waiting: int,
        waiting_bytes: int,
    ) -> None:
        if waiting < 1 or waiting_bytes < 1:
            raise UsageError(
                f"waiting={waiting}, waiting_bytes={waiting_bytes}: must be at least 1. Nothing was subscribed to."
            )
        self.pattern = pattern
        self.group = group
        self.number = self.marks = 0
        """By which the link knows it, and what is said of how many messages were sent."""
        self._bus = bus
        self._type = of
        self._missed_callback = missed
        self._waiting_max = waiting
        self._bytes_max = waiting_bytes
        self._numbered = not group
        # `>` hears what is between the members of a bus as well; that is not for the program.
        self._hides_own = pattern[:1] in (bus_subjects.ANY, bus_subjects.REST)
        # Guards all that follows. Whoever holds it calls nothing of the program's.
        self._changed = threading.Condition(threading.Lock())
        self._queue: deque[Message[T] | Missed] = deque()
        self._bytes = 0
        self._last: dict[_Key, int] = {}
        self._lost: dict[_Key, list[int]] = {}
        """What is to be told of: the first that is missing, and how many are."""
        self._missed = 0
        self._closed = False
        self._thread: threading.Thread | None = None
        self.woken: Callable[[], None] | None = None
        """Called, in a thread of the bus, when there is something to take; for who can't wait in `get`."""

    # -- in: the thread that reads

    def put(self, batch: Sequence[Delivered]) -> None:
        """Takes in what has come. Never waits."""
        with self._changed:
            if self._closed:
                return
            for each in batch:
                publisher, number, kind = numbers(each.headers)
                if self._hides_own and each.subject[:1] in (b"_", b"$"):
                    continue
                if number and self._numbered:
                    key = (publisher, each.subject)
                    last = self._last.get(key)
                    if last is None:
                        self._begin(key)
                    elif number > last + 1:
                        self._lose(key, last + 1, number - last - 1)
                    elif number <= last:
                        continue  # Two patterns of this subscription heard it.
                    self._last[key] = number
                else:
                    key = (b"", each.subject)
                size = len(each.data)
                if len(self._queue) >= self._waiting_max or (self._bytes + size > self._bytes_max and self._queue):
                    self._lose(key, number if key[0] else 0, 1)
                    continue
                if self._lost:
                    self._tell()
                self._bytes += size
                self._queue.append(Message(self._bus, each, publisher, number, kind, self._type))
            self._changed.notify()
        if self.woken is not None:
            self.woken()

    def told_last(self, publisher: bytes, last: dict[str, int]) -> None:
        """Takes in how many messages a publisher has sent to each subject: after a connection was lost, nothing else would say it."""
        with self._changed:
            if self._closed or not self._numbered:
                return
            for subject, number in last.items():
                if bus_subjects.matches(self.pattern, subject):
                    key = (publisher, subject.encode())
                    known = self._last.get(key)
                    if known is None:
                        self._begin(key)
                    elif number > known:
                        self._lose(key, known + 1, number - known)
                    self._last[key] = max(number, known or 0)
            self._changed.notify()
        if self.woken is not None:
            self.woken()

    def _begin(self, key: _Key) -> None:
        """Makes room for one more publisher, at the cost of those that came first."""
        if len(self._last) >= KNOWN_MAX:
            for each in list(self._last)[: KNOWN_MAX // 4]:
                del self._last[each]

    def _lose(self, key: _Key, first: int, count: int) -> None:
        self._missed += count
        found = self._lost.get(key)
        if found is None:
            self._lost[key] = [first, count]
        else:
            found[1] += count

    def _tell(self) -> None:
        """Puts what is missing into the queue, before what comes next."""
        for (publisher, subject), (first, count) in self._lost.items():
            self._queue.append(Missed(publisher.decode(errors="replace"), subject.decode(errors="replace"), first, count))
        self._lost.clear()

    # -- out: whoever takes

    @property
    def missed(self) -> int:
        """How many messages are known to be lost to this subscription so far."""
        with self._changed:
            return self._missed

    @property
    def waiting(self) -> int:
        """How many messages have come that were not taken."""
        with self._changed:
            return len(self._queue)

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        return self._closed

    def take(self, most: int) -> list[Message[T] | Missed]:
        """Returns what is there, up to so many; nothing if nothing is. Does not wait."""
        with self._changed:
            if not self._queue and self._lost:
                self._tell()
            queue = self._queue
            found = [queue.popleft() for _ in range(min(most, len(queue)))]
            if not queue:
                self._bytes = 0
            else:
                self._bytes -= sum(len(each.data) for each in found if isinstance(each, Message))
            return found

    def get(self, timeout: float | None = None) -> Message[T]:
        """Returns the next message; waits for it, up to ``timeout`` seconds.

        What is missing before it is told to ``missed=`` first, or logged. Raises TimeoutError, and `SystemClosed` when the subscription
        has ended and all that came was taken.
        """
        if self._thread is not None:
            raise UsageError(f"the subscription to {self.pattern} has a callback, which gets all messages")
        deadline = None if timeout is None else time.monotonic() + timeout
        if deadline is not None and math.isnan(deadline):
            raise UsageError(f"timeout={timeout!r}: must be seconds, or None for no end")
        while True:
            found = self.take(1)
            if not found:
                self._wait(deadline)
            elif isinstance(found[0], Missed):
                self.tell(found[0])
            else:
                return found[0]

    def _wait(self, deadline: float | None) -> None:
        """Returns when there may be something. Raises TimeoutError, `SystemClosed`."""
        with self._changed:
            while not self._queue and not self._lost:
                if self._closed:
                    raise SystemClosed(f"the subscription to {self.pattern} has ended, and all that came was taken")
                left_s = None if deadline is None else deadline - time.monotonic()
                if left_s is not None and left_s <= 0:
                    raise TimeoutError(f"no message on {self.pattern} came in time")
                self._changed.wait(left_s)

    def tell(self, gap: Missed) -> None:
        """Tells the program what is missing; without ``missed=`` the log."""
        if self._missed_callback is not None:
            self._missed_callback(gap)
        else:
            self._bus.sparing.warn(
                f"missed {self.pattern}",
                "%d messages on %s are lost to a subscription to %s: it is too slow, or a connection was lost. Give subscribe() a missed= "
                "to be told in the program.",
                gap.lost,
                gap.subject,
                self.pattern,
            )

    def __iter__(self) -> Iterator[Message[T]]:
        while True:
            try:
                yield self.get()
            except SystemClosed:
                return

    # -- a callback

    def call(self, callback: Callable[[Message[T]], object]) -> None:
        """Has a thread call ``callback`` with each message, one after the other."""
        self._thread = threading.Thread(target=self.serve, args=(callback,), name=f"coopy bus {self.pattern}", daemon=True)
        self._thread.start()

    def serve(self, callback: Callable[[Message[T]], object]) -> None:
        """Calls ``callback`` with each message, one after the other, in this thread, until the subscription has ended."""
        while True:
            found = self.take(_AT_ONCE)
            if not found:
                try:
                    self._wait(None)
                except SystemClosed:
                    return
            for each in found:
                if isinstance(each, Missed):
                    guarded(self.tell, each, self.pattern)
                else:
                    guarded(callback, each, self.pattern)

    def forget_numbers(self) -> None:
        """Takes the next message of each publisher for its first: what was unsubscribed from meanwhile is not missing."""
        with self._changed:
            self._last.clear()

    # -- the end

    def end(self) -> None:
        """Nothing comes any more; what has come can be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self.woken is not None:
            self.woken()

    def close(self) -> None:
        """Ends the subscription. What has come can still be taken, and a callback is still called with it. Closing twice is fine."""
        self._bus.unsubscribe(self.number)
        self.end()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(_END_S)

    def __enter__(self) -> Subscription[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Subscription to {self.pattern}{f' in {self.group}' if self.group else ''}>"


def guarded(callback: Callable[[V], object], value: V, pattern: str) -> None:
    """Calls a callback of the program's; what it raises goes to the log."""
    with last_resort(callback_raised, pattern, of=of_a_callback()):
        callback(value)


def of_a_callback() -> tuple[type[BaseException], ...]:
    """Returns what a callback may raise, and be called with the next message. In a thread of the bus `sys.exit` would end that alone, without a word,
    and nobody would hear what comes; in the main thread it ends the program, as it is meant to.
    """
    is_main = threading.current_thread() is threading.main_thread()
    return (Exception,) if is_main else (Exception, SystemExit, asyncio.CancelledError)


def callback_raised(error: BaseException, pattern: str) -> None:
    """Says that a callback of the program's has raised. The messages after the one that it was called with are for it all the same."""
    _log.error("a callback of the subscription to %s raised; it goes on with the next message", pattern, exc_info=error)
