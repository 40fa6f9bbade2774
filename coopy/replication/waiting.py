"""Waiting for what the other side of a connection is about to send: looked for during a short call, and only then slept for.

To wake a thread on another processor takes longer than the call that it waits for. Who looks again and again instead has its answer at
once, if the other side runs meanwhile. Where nothing has come in time, as both share a processor or the call waits for a disk, it looks more
and more rarely: once in 128 times. It gives the processor to nobody while it looks: under load it would have it back after milliseconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

LOOK_S = 0.00005
"""What a thread looks for before it sleeps: two short calls."""
SKIPPED_MAX = 127
"""So often, at most, it sleeps at once before it looks again."""
_now = time.perf_counter


class Waiting:
    """What one thread waits with; ``poller`` is a `select.poll` or a `select.epoll`."""

    __slots__ = ("_poll", "_failed", "_skipped")

    def __init__(self, poller: Any) -> None:
        self._poll: Callable[[int | None], list[tuple[int, int]]] = poller.poll
        self._failed = 0
        self._skipped = 0

    def wait(self, timeout: int | None = None) -> list[tuple[int, int]]:
        """Returns what the poller finds; nothing after a timeout, in its unit. None is for ever."""
        if self._skipped:
            self._skipped -= 1
            return self._poll(timeout)
        until = _now() + LOOK_S
        while not (found := self._poll(0)):
            if _now() > until:
                self._failed = self._skipped = min(2 * self._failed + 1, SKIPPED_MAX)
                return self._poll(timeout)
        self._failed = 0
        return found
