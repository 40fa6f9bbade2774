"""How much one other side may take: so many things a second, and one line in the log for each cause and minute.

Who may ask for what is decided elsewhere; this bounds what it costs when somebody asks without end. A bound must not be
something that can be filled: buckets of peers and causes of lines are bounded in number, too, and what is beyond
that number shares one.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from coopy.ground import log

T = TypeVar("T")

LINE_S = 60.0
"""A person reads a line a minute; what comes meanwhile is counted."""
CAUSES_MAX = 50
"""Of ours there are some twenty; what is beyond comes from words that the other side chooses."""
PEERS_MAX = 1000
"""Buckets take some hundred bytes each, and honest peers are a handful."""
WAIT_S_MIN = 0.001
"""Whoever waits for less would wait again: rounded, a token may still lack its last digit."""


class TokenBucket:
    """Lets ``rate`` things pass in a second, and up to ``burst`` at once after a quiet time. Any thread may take."""

    __slots__ = ("rate", "burst", "_clock", "_tokens", "_at", "_lock")

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate = rate
        self.burst = burst
        self._clock = clock
        self._tokens = float(burst)
        self._at = clock()
        self._lock = threading.Lock()

    def take(self, number: float = 1.0) -> bool:
        """Whether so many may pass now; then they are taken."""
        with self._lock:
            self._fill()
            if self._tokens < number:
                return False
            self._tokens -= number
            return True

    def wait_s(self, number: float = 1.0) -> float:
        """How long it takes until so many may pass, if nobody else takes any."""
        with self._lock:
            self._fill()
            lacking = number - self._tokens
            return 0.0 if lacking <= 0 else max(lacking / self.rate, WAIT_S_MIN)

    @property
    def is_full(self) -> bool:
        """Whether it has been left alone long enough to be as good as new."""
        with self._lock:
            self._fill()
            return self._tokens >= self.burst

    def _fill(self) -> None:
        now = self._clock()
        self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate)
        self._at = now


class Buckets:
    """A bucket for each peer. Beyond ``peers_max`` of them those heard of least lately share one."""

    def __init__(
        self, rate: float, burst: float, peers_max: int = PEERS_MAX, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._peers_max = peers_max
        self._clock = clock
        self._of: OrderedDict[Hashable, TokenBucket] = OrderedDict()
        self._others = TokenBucket(rate, burst, clock)

    def __len__(self) -> int:
        return len(self._of)

    def take(self, peer: Hashable, number: float = 1.0) -> bool:
        """Whether so many of a peer's may pass now; then they are taken."""
        found = self._of.get(peer)
        if found is None:
            if len(self._of) >= self._peers_max and not self._forget_one():
                return self._others.take(number)
            found = self._of[peer] = TokenBucket(self._rate, self._burst, self._clock)
        self._of.move_to_end(peer)
        return found.take(number)

    def _forget_one(self) -> bool:
        """Forgets the peer that was heard of least lately, if it loses nothing by that."""
        peer, bucket = next(iter(self._of.items()))
        if not bucket.is_full:
            return False
        del self._of[peer]
        return True


class Together(Generic[T]):
    """Work that is done once for all who asked for it before it began. Any thread may ask.

    ``work`` is given how many seconds it may take, and does one thing at a time.
    """

    def __init__(self, work: Callable[[float], T], clock: Callable[[], float] = time.monotonic) -> None:
        self._work = work
        self._clock = clock
        self._changed = threading.Condition()
        self._begun = 0
        self._done: tuple[int, T] | None = None
        """The newest that came to something, and what it came to."""
        self._runs = False

    def __call__(self, timeout_s: float) -> T:
        """Returns what work came to that began after this was called. Raises what it raises, TimeoutError if it was not begun."""
        deadline = self._clock() + timeout_s
        with self._changed:
            least = self._begun + 1
            while self._done is None or self._done[0] < least:
                if not self._runs:
                    self._runs = True
                    self._begun = number = self._begun + 1
                    break
                left_s = deadline - self._clock()
                if left_s <= 0:
                    raise TimeoutError(f"not done within {timeout_s:g} s")
                self._changed.wait(left_s)
            else:
                return self._done[1]
        # Not for those who wait: what this one raises may be for want of time that they have.
        try:
            found = self._work(deadline - self._clock())
            with self._changed:
                self._done = number, found
        finally:
            with self._changed:
                self._runs = False
                self._changed.notify_all()
        return found


class Sparing:
    """Says one line for each cause and minute, with how many were left out. Any thread may say something.

    ``cause`` must not hold what the other side chooses freely. Should it do so all the same, causes beyond
    ``causes_max`` in a minute count as one.
    """

    def __init__(
        self,
        logger: str = "coopy",
        *,
        clock: Callable[[], float] = time.monotonic,
        line_s: float = LINE_S,
        causes_max: int = CAUSES_MAX,
    ) -> None:
        self._logger = logger
        self._clock = clock
        self._line_s = line_s
        self._causes_max = causes_max
        self._lock = threading.Lock()
        self._said: dict[str, _Said] = {}

    def warn(self, cause: str, message: str, *values: object) -> bool:
        """Something was wrong and was dealt with. Returns whether it was said."""
        return self.say(log.WARNING, cause, message, *values)

    def error(self, cause: str, message: str, *values: object) -> bool:
        """Something that was asked for was not done. Returns whether it was said."""
        return self.say(log.ERROR, cause, message, *values)

    def say(self, level: int, cause: str, message: str, *values: object) -> bool:
        """Says it, unless its cause had a line within the minute. Returns whether it was said."""
        now = self._clock()
        lines: list[_Line] = []
        with self._lock:
            found = self._said.get(cause)
            if found is None and len(self._said) >= self._causes_max:
                lines = self._over(now)
                if len(self._said) >= self._causes_max:
                    cause = _ANY
                    found = self._said.get(cause)
            if found is not None and now - found.at < self._line_s:
                found.left_out += 1
                found.last = level, message, values
            else:
                lines.append((level, message, values, 0 if found is None else found.left_out))
                self._said[cause] = _Said(now)
                found = None
        self._write(lines)
        return found is None

    def tick(self) -> None:
        """Says how many were left out, for each cause whose minute is over. To be called now and then."""
        if self._said:
            with self._lock:
                lines = self._over(self._clock())
            self._write(lines)

    def close(self) -> None:
        """Says how many were left out."""
        with self._lock:
            lines = [(*each.last, each.left_out - 1) for each in self._said.values() if each.last is not None]
            self._said.clear()
        self._write(lines)

    def _over(self, now: float) -> list[_Line]:
        """Drops the causes whose minute is over, and returns what is to be said of those that had more. With the lock held."""
        lines: list[_Line] = []
        for cause, found in list(self._said.items()):
            if now - found.at < self._line_s:
                continue
            del self._said[cause]
            if found.last is not None:
                lines.append((*found.last, found.left_out - 1))
                self._said[cause] = _Said(now)
        return lines

    def _write(self, lines: list[_Line]) -> None:
        for level, message, values, left_out in lines:
            if left_out:
                message, values = f"{message} [%d more of this kind were left out]", (*values, left_out)
            log.say(self._logger, level, message, *values)


_Line = tuple[int, str, tuple[object, ...], int]
"""Level, message, values, and how many of its kind were left out."""
_ANY = ""
"""The cause of what comes when there are too many causes."""


class _Said:
    """Of one cause: when it had its line, how many came since, and the last of those."""

    __slots__ = ("at", "left_out", "last")

    def __init__(self, at: float) -> None:
        self.at = at
        self.left_out = 0
        self.last: tuple[int, str, tuple[object, ...]] | None = None
