"""What a person is told that no exception tells: the logger "coopy", a bar for what takes long, and what is not logged again.

`logging` is imported when there is something to say, not with the package.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from coopy.ground.raised import last_resort
from coopy.ground.running import replaying

if TYPE_CHECKING:
    import logging

WARNING, ERROR = 30, 40
"""As in `logging`."""

DELAY_S = 2.0
"""A bar is drawn for what has taken this long: up to here nobody asks whether it goes on."""

INTERVAL_S = 0.1
"""Ten times a second looks steady and costs nothing."""

WIDTH = 40
"""Columns of the bar; with the words beside it, a terminal of 80 has room."""


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
        if now < self._next:
            return
        self._next = now + INTERVAL_S
        full = WIDTH * done // max(total, 1)
        bar = "#" * full + "-" * (WIDTH - full)
        self._drawn = self._write(f"\r{self._what} [{bar}] {words}\x1b[K")

    def finish(self) -> None:
        """Clears the line."""
        if self._drawn:
            self._write("\r\x1b[K")

    def _write(self, text: str) -> bool:
        """Returns whether there is a terminal that shows it. A program without a console has no stream at all."""
        try:
            if self._stream is None or not self._stream.isatty():
                return False
            self._stream.write(text)
            self._stream.flush()
        except (
            OSError,
            ValueError,
        ):  # The terminal has gone, or the program has closed the stream. What is waited for goes on.
            self._stream = None
        return self._stream is not None


def warn(message: str, *values: object) -> None:
    """Something was wrong, was dealt with, and may have a cause worth looking for."""
    say("coopy", WARNING, message, *values)


def error(message: str, *values: object) -> None:
    """Something that was asked for was not done; the system goes on."""
    say("coopy", ERROR, message, *values)


def say(logger: str, level: int, message: str, *values: object) -> None:
    """Says it under the name of a logger, at a level."""
    import logging

    logging.getLogger(logger).log(level, message, *values)


class LiveOnly:
    """A filter for loggers: keeps what a method logs from being logged again by every start.

    >>> import logging
    >>> from coopy import LiveOnly
    >>> logging.getLogger("wiki").addFilter(LiveOnly())

    Lets a record through unless the method that logs it is being replayed. A filter of a logger is asked for what is logged by
    that logger itself, one of a handler for all that the handler gets. With a ``name`` only records of that logger, and of those
    below it, are let through, as `logging.Filter` does.
    """

    def __init__(self, name: str = "") -> None:
        self._name = name

    def __call__(self, record: logging.LogRecord) -> bool:
        """Returns whether the record is to be logged."""
        return not replaying() and (not self._name or f"{record.name}.".startswith(f"{self._name}."))


def call_back(name: str, function: Callable[..., object], *args: object) -> None:
    """Calls what a user wants to be called about the system ``name``; what it raises is logged."""
    # It is the user's code, and nobody waits for what it raises.
    with last_resort(_callback_raised, name, function):
        function(*args)


def _callback_raised(problem: Exception, name: str, function: Callable[..., object]) -> None:
    error("%s: %r raised %s: %s", name, function, type(problem).__name__, problem)
