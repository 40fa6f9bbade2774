"""The resource that real locks guard: it records who acted upon it with which token, and by that says what was wrong.

Clients tell it, each over a connection of its own to a socket of the file system, in lines of JSON; all times are CLOCK_BOOTTIME in nanoseconds, which all
processes of a machine share, whatever clock their locks go by. What a client says of holding a lock has two times: between them it was told so, by a
call that it began after the first one and that had returned before the second one.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

S = 1_000_000_000


def now_ns() -> int:
    """The clock of all that is said to a record."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic_ns()


@dataclass
class Holding:
    """One token: who had the lock with it, and what was said of that."""

    lock: str
    token: int
    who: str
    asked_ns: int
    told: list[tuple[int, int]] = field(default_factory=list)
    """From when to when its holder was told that it has the lock, for each time that it asked."""
    until_ns: int = 0
    """The latest deadline of its own that the holder has seen."""
    released_ns: int = 0
    """When it was given back; 0 if it was not."""
    lost_ns: int = 0
    """When its holder knew of the loss; 0 if it never did."""

    @property
    def got_ns(self) -> int:
        """The holder had it by then."""
        return self.told[0][1]


class Record:
    """All that was said. Guarded by ``lock``."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.holdings: dict[str, dict[int, Holding]] = {}
        """By lock and token."""
        self.waiting: dict[str, dict[str, int]] = {}
        """By lock: who has asked for it, and when."""
        self.beats: dict[str, list[tuple[int, int]]] = {}
        """By node: from when to when each of its actions took, one after another."""
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._highest: dict[str, int] = {}

    def take(self, said: dict[str, Any]) -> None:
        """Takes one line."""
        with self.lock:
            self.counts[said["what"]] += 1
            getattr(self, f"_{said.pop('what')}")(**said)

    def _asks(self, lock: str, who: str, at_ns: int) -> None:
        self.waiting.setdefault(lock, {})[who] = at_ns

    def _fails(self, lock: str, who: str, why: str) -> None:
        self.waiting.get(lock, {}).pop(who, None)
        self.counts[f"not acquired: {why}"] += 1

    def _got(self, lock: str, who: str, token: int, first_ns: int, last_ns: int, until_ns: int) -> None:
        asked_ns = self.waiting.get(lock, {}).pop(who, 0)
        holdings = self.holdings.setdefault(lock, {})
        if token not in holdings:
            holdings[token] = Holding(lock, token, who, asked_ns)
        elif holdings[token].who == who:
            # It asked an elector again, which had kept the lock for it.
            holdings[token].released_ns = holdings[token].lost_ns = 0
        else:
            self.wrong.append(f"{lock}: {holdings[token].who} and {who} both got it with token {token}")
        self._acts(lock, who, token, first_ns, last_ns, until_ns)

    def _acts(self, lock: str, who: str, token: int, first_ns: int, last_ns: int, until_ns: int) -> None:
        holding = self.holdings.get(lock, {}).get(token)
        if holding is None or holding.who != who:
            self.wrong.append(f"{lock}: {who} acts with token {token}, which is not its own")
            return
        holding.told.append((first_ns, last_ns))
        holding.until_ns = max(holding.until_ns, until_ns)
        if token < self._highest.get(lock, 0):
            self.counts["refused for its token"] += 1
        self._highest[lock] = max(token, self._highest.get(lock, 0))

    def _releases(self, lock: str, who: str, token: int, at_ns: int) -> None:
        self.holdings[lock][token].released_ns = at_ns

    def _lost(self, lock: str, who: str, token: int, at_ns: int) -> None:
        self.holdings[lock][token].lost_ns = at_ns

    def _beat(self, who: str, first_ns: int, last_ns: int) -> None:
        self.beats.setdefault(who, []).append((first_ns, last_ns))

    # -- what is asked while things go on

    def held(self) -> list[Holding]:
        """What is held now, as far as is known here."""
        with self.lock:
            newest = [holdings[max(holdings)] for holdings in self.holdings.values() if holdings]
            return [each for each in newest if not each.released_ns and not each.lost_ns]

    def waits(self, lock: str) -> list[str]:
        """Who waits for a lock."""
        with self.lock:
            return list(self.waiting.get(lock, {}))

    def gone(self, process: str) -> None:
        """A process was killed, and nobody in it waits any more."""
        with self.lock:
            for waiting in self.waiting.values():
                for who in [each for each in waiting if of(each) == process]:
                    del waiting[who]

    def next(self, holding: Holding) -> Holding | None:
        """Who had the lock after a holding."""
        with self.lock:
            later = [token for token in self.holdings[holding.lock] if token > holding.token]
            return self.holdings[holding.lock][min(later)] if later else None

    def served_again_ns(self, after_ns: int, without: str) -> int:
        """When the first action ended that had begun after a moment on any node, but one that is left out; 0 if none has."""
        with self.lock:
            beats = [beat for who, each in self.beats.items() if who not in (without, "alone") for beat in each[-1000:]]
        return min((last for first, last in beats if first > after_ns), default=0)


def of(who: str) -> str:
    """The process of a client: ``node0/3`` is one of ``node0``."""
    return who.partition("/")[0]


def judge(record: Record, ttl_s: dict[str, float], cut_off: dict[str, list[tuple[int, int]]]) -> list[str]:
    """Says what was wrong, of all that is on record.

    Args:
        ttl_s: by the first word of the name of a lock: how long it lasts.
        cut_off: by process: from when to when it could do nothing, because it was stopped, killed, or cut off from the others.
    """
    found = list(record.wrong)
    for lock, holdings in record.holdings.items():
        ordered = [holdings[token] for token in sorted(holdings)]
        for one, other in zip(ordered, ordered[1:], strict=False):
            for first_ns, _ in one.told:
                if first_ns > other.got_ns:
                    late_s = (first_ns - other.got_ns) / S
                    found.append(
                        f"{lock}: {one.who} was told that it holds it with token {one.token} {late_s:.6f} s after {other.who} had it with {other.token}"
                    )
                    break
            # It stopped at two thirds of the time; what it could not give back itself lasts for all of it.
            could_not = any(since <= other.got_ns <= upto for since, upto in cut_off.get(of(one.who), ()))
            if could_not and not (0 < one.released_ns <= other.got_ns) and one.until_ns:
                ends_ns = one.until_ns + round(ttl_s[lock.partition(" ")[0]] * S / 3)
                if other.got_ns < ends_ns:
                    found.append(
                        f"{lock}: {other.who} had it {(ends_ns - other.got_ns) / S:.6f} s before the time of {one.who} was over (token {one.token})"
                    )
    return found


class Resource:
    """Where clients tell a record, over a socket at a path."""

    def __init__(self, record: Record, path: Path) -> None:
        self._record = record
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen(128)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            try:
                for line in lines:
                    if line.endswith(b"\n"):
                        self._record.take(json.loads(line))
            except ConnectionError:
                pass  # Its process was killed.

    def close(self) -> None:
        self._socket.close()


class Teller:
    """How a client tells the record."""

    def __init__(self, path: str, who: str) -> None:
        self._who = who
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)

    def say(self, what: str, **said: Any) -> None:
        """Says something of this client."""
        self._socket.sendall(json.dumps({"what": what, "who": self._who, **said}).encode() + b"\n")

    def close(self) -> None:
        self._socket.close()
