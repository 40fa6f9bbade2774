"""Keeps the time of a store: writes ticks while keys have an end, from one process of all that have the state.

Reads `Keys.count_time` and calls `Keys.tick`; who of several processes counts is settled in the log, see `coopy.sync.timekeeper`.
"""

from __future__ import annotations

import os
import socket
import threading
from typing import Any

import coopy
from coopy.messaging.store_state import Keys
from coopy.sync.ticks import Count
from coopy.sync.timekeeper import Timekeeper

LOOK_S = 0.05
"""After an action one looks for a key that ends, and then not for so long: how much later the first key may end."""


class _Counting:
    """A store, as a timekeeper sees it. A `coopy.sync.timekeeper.Counting`."""

    def __init__(self, system: Keys) -> None:
        self._system = system

    def count(self) -> Count:
        return self._system.count_time()

    def tick(self, timekeeper: str, beat: int, elapsed_ns: int) -> object:
        return self._system.tick(timekeeper, beat, elapsed_ns)

    def claim(self, timekeeper: str, beat: int, anew: bool) -> object:
        return self._system.claim_time(timekeeper, beat)

    def leads(self) -> bool:
        status = coopy.control(self._system).status()
        return "leader" not in status or bool(status["leader"] == status["self"])


class TimeKept:
    """That this process keeps the time of a store, until it is closed or the store is."""

    def __init__(self, system: Keys) -> None:
        self._stopped = threading.Event()
        self._timekeeper = Timekeeper(f"{socket.gethostname()}:{os.getpid()}:{os.urandom(6).hex()}", _Counting(system))
        self._subscription: Any = coopy.control(system).subscribe(self._told, ended=self._end)
        self._timekeeper.start()

    def _told(self, first: int, last: int) -> None:
        self._timekeeper.wake()
        # It is told of all that came meanwhile at once: a busy store is not looked at more often.
        self._stopped.wait(LOOK_S)

    def _end(self) -> None:
        self._stopped.set()
        self._timekeeper.close()

    def close(self) -> None:
        """Counts no more. Closing twice is fine."""
        self._end()
        self._subscription.close()
