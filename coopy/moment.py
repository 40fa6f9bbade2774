"""Which machine is running an action in this thread.

The machine sets it around every action; the clock and the env ask it. Threads
that a domain method starts are outside the action, and so outside this.
"""

from __future__ import annotations

import threading
from typing import Protocol


class Moment(Protocol):
    """What the clock and the env may know of a running action."""

    header: bytes
    index: int
    secret: bytes
    draws: object | None
    deterministic: bool
    chance: object | None

    def ask(self, effect: bytes) -> None:
        """Takes an effect that the running action asks for."""
        ...


class _Current(threading.local):
    machine: Moment | None = None


current = _Current()
