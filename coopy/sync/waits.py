"""How one waits for what `coopy.sync` gives: each wait is written once, as a generator, for threads and for tasks.

A step of a `Wait` looks how things stand. It yields after how many nanoseconds to look again, or earlier if ``moved`` of the `Asker`
is set; and `TAKE` once there is something to take, which the next step does without a call of the system. A wait that is closed before its end gives up what it
has asked for. So a thread takes all steps itself (`in_thread`), and `coopy.aio` has them taken by a thread each while the loop goes on.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import closing
from typing import TypeVar

from coopy.sync import boot

T = TypeVar("T")
Wait = Generator[int, None, T]

TAKE = 0
"""What a wait yields when it has got what it waits for, and will take it with the next step."""
FOREVER_NS = 2**62
"""Longer than any machine runs."""


def in_thread(wait: Wait[T], moved: threading.Event) -> T:
    """Waits in this thread. Returns what the wait returns, and raises what it raises."""
    with closing(wait):
        try:
            while True:
                left_ns = next(wait)
                if left_ns != TAKE:
                    moved.wait(min(left_ns / boot.NS, threading.TIMEOUT_MAX))
        except StopIteration as end:
            found: T = end.value
            return found
