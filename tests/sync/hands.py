"""A clock to set, and timekeepers that a test steps by hand."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from coopy.errors import Unavailable
from coopy.sync import boot
from coopy.sync.presence import Presence
from coopy.sync.ticks import Count
from coopy.sync.timekeeper import Timekeeper

S = 1_000_000_000
HOUR = 3600 * S


class Hand:
    """The clock of `coopy.sync.boot`, for all processes of a test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns = 1_000 * S
        monkeypatch.setattr(boot, "now_ns", lambda: self.now_ns)

    def go(self, seconds: float) -> None:
        self.now_ns += round(seconds * S)

    def go_until(self, question: Callable[[], Any], *presences: Presence, step: float = 0.1) -> None:
        """Has time pass, slowly enough for the threads of all processes, until an answer is true."""
        for _ in range(100_000):
            if question():
                return
            self.go(step)
            for each in presences:
                each.timekeeper.wake()
                each._renew_bell.set()
                each._watch_bell.set()
            time.sleep(0.001)
        raise AssertionError("it did not come about")


class Node:
    """What a timekeeper asks of a system: its locks, as this node has them."""

    def __init__(self, name: str, ticks: Any, leads: bool = True) -> None:
        self.ticks, self.led, self.cut_off = ticks, leads, False
        self.written: list[str] = []
        self.keeper = Timekeeper(name, self)

    def count(self) -> Count:
        found: Count = self.ticks.count()
        return found

    def leads(self) -> bool:
        return self.led

    def tick(self, timekeeper: str, beat: int, elapsed_ns: int) -> object:
        return self._write("tick", timekeeper, beat, elapsed_ns)

    def claim(self, timekeeper: str, beat: int, anew: bool) -> object:
        return self._write("claim", timekeeper, beat, anew)

    def _write(self, what: str, *args: Any) -> object:
        if self.cut_off:
            raise Unavailable("no majority")
        self.written.append(what)
        return getattr(self.ticks, what)(*args)

    def steps(self) -> int | None:
        """Steps until there is nothing to write now. Returns what the last step said."""
        while True:
            found = self.keeper.step()
            if found != 0:
                return found
