"""Turns of those who call the engine of a process that writes: the threads of that process, and the one that calls for other processes."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

from coopy.ground import holding
from coopy.spine.engine import Engine

TURN_S = 0.0001
"""The callers of the process that writes have so long for their own calls, some dozens, before those of others come next."""


class Guests:
    """Has the calls of other processes come in between those of this one.

    The threads of the process that writes need microseconds for a call, and take the lock, and the interpreter, again before the thread that calls for others
    is awake: without turns it waits for seconds. While it has the turn the others sleep at the door of the engine.
    """

    __slots__ = ("have_the_turn", "_turn", "_engine", "_let_pass")

    def __init__(self, engine: Engine) -> None:
        self.have_the_turn = False
        self._turn = threading.RLock()
        self._engine = weakref.ref(engine)
        self._let_pass = False

    def let_pass(self) -> None:
        """Waits until the guests have had their turn. Not inside an action, which they would wait for."""
        engine = self._engine()
        if engine is not None and not engine.lock._is_owned():  # type: ignore[attr-defined]
            self._let_pass = True
            holding.run_with(self._turn, _nothing)

    def take_turn(self, function: Callable[..., object], *args: Any) -> None:
        """Runs a function while the callers of this process wait; if they have waited the last time, once these have had their turn."""
        if self._let_pass:
            self._let_pass = False
            time.sleep(TURN_S)
        try:
            self.have_the_turn = True
            holding.run_with(self._turn, partial(function, *args))
        finally:
            self.have_the_turn = False


def _nothing() -> None:
    pass
