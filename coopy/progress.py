"""A bar on a terminal for what takes longer than two seconds; nothing in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

DELAY_S = 2.0
INTERVAL_S = 0.1
WIDTH = 40


class Bar:
    """Called with how much is done and how much there is. `finish` takes the bar away."""

    def __init__(self, what: str, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._what = what
        self._stream: TextIO | None = sys.stderr if stream is None else stream
        self._clock = clock
        self._next = clock() + DELAY_S
        self._drawn = False

    def __call__(self, done: int, total: int) -> None:
        """Actions done, and in all."""
        self._draw(done, total, f"{done:,} of {total:,} actions")

    def loading(self, done: int, total: int) -> None:
        """Bytes of the snapshot that are loaded, and in all."""
        self._draw(done, total, f"{done >> 20:,} of {total >> 20:,} MiB of the snapshot")

    def _draw(self, done: int, total: int, words: str) -> None:
        now = self._clock()
        # A program without a console has no stream at all.
        if now < self._next or self._stream is None or not self._stream.isatty():
            return
        self._next = now + INTERVAL_S
        self._drawn = True
        full = WIDTH * done // max(total, 1)
        bar = "#" * full + "-" * (WIDTH - full)
        self._stream.write(f"\r{self._what} [{bar}] {words}\x1b[K")
        self._stream.flush()

    def finish(self) -> None:
        """Clears the line."""
        if self._drawn and self._stream is not None:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
