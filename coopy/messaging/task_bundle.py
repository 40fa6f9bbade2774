"""The tasks that a slot of a worker has taken together, so that one that takes long holds up none of the others."""

from __future__ import annotations

import threading
import time
from collections import deque

from coopy.messaging.task_records import BACK, Claim
from coopy.messaging.task_running import Said

HELD_UP_S = 0.1
"""A task that runs for so long holds up no others that were taken together with it: they go back, or are said to have ended, within a second."""


class Bundle:
    """The tasks that a slot has taken together: one of them runs, some have ended, some were not begun. Two threads look at it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rest: deque[Claim] = deque()
        self._said: list[Said] = []
        self._runs: Claim | None = None
        self._began_at = 0.0

    def takes(self, claims: list[Claim]) -> None:
        """Takes tasks that are to be run."""
        with self._lock:
            self._rest.extend(claims)

    def next(self, is_stopping: bool) -> Claim | None:
        """Returns the next one to run, if there is one; if the worker is to end, all but the first go back."""
        with self._lock:
            if is_stopping and self._said:
                self._give_back()
            self._runs = self._rest.popleft() if self._rest else None
            self._began_at = time.monotonic()
            return self._runs

    def ends(self, outcome: Said) -> None:
        """Takes what came of the one that ran."""
        with self._lock:
            self._said.append(outcome)

    def said(self) -> list[Said]:
        """Takes out what came of those that have ended."""
        with self._lock:
            found, self._said = self._said, []
            return found

    def held_up(self) -> tuple[list[Said], list[int]]:
        """Takes out what is held up by the one that runs, if that takes long, and returns the number of that."""
        with self._lock:
            if self._runs is None or not (self._rest or self._said) or time.monotonic() < self._began_at + HELD_UP_S:
                return [], []
            self._give_back()
            found, self._said = self._said, []
            return found, [self._runs.id]

    def _give_back(self) -> None:
        self._said += [(each.id, each.token, BACK) for each in self._rest]
        self._rest.clear()
