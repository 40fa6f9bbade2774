"""Carries out the effects of one open system, in a thread that lives while there are some to carry out."""

from __future__ import annotations

import pickle
import threading
import time
from collections import deque
from collections.abc import Callable

from coopy import log
from coopy.effects import carried
from coopy.engine import Engine
from coopy.errors import CoopyError

RETRY_S = 1.0
RETRY_S_MAX = 60.0
TURN_S = 0.2


class Delivery:
    """One effect after another, in the order they were asked for; what fails is tried again later, and the rest goes on."""

    def __init__(
        self,
        engine: Engine,
        name: str,
        system: str,
        retry_s: float = RETRY_S,
        is_ours: Callable[[], bool] = lambda: True,
    ) -> None:
        self._engine = engine
        self._is_ours = is_ours
        self._name = name
        self._system = system
        self._retry_s = retry_s
        self._changed = threading.Condition()
        self._new: deque[str] = deque()
        self._later: list[tuple[float, float, str]] = []
        self._known: set[str] = set()
        self._closing = False
        self._thread: threading.Thread | None = None

    def asked(self, name: str) -> None:
        """Takes an effect. Called with the lock of the engine held, so nothing is waited for."""
        with self._changed:
            if name in self._known or self._closing:
                return
            self._known.add(name)
            self._new.append(name)
            self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=f"coopy effects of {self._name}", daemon=True)
                self._thread.start()

    def finish(self) -> None:
        """Waits for what has not been tried yet, and takes no more. What failed stays for the next opening."""
        with self._changed:
            self._closing = True
            self._changed.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        while (name := self._next()) is not None:
            try:
                effect = self._engine.effect(name)
                # Of the nodes of a replicated system one carries out; the others see that it was done.
                while effect is not None and not self._is_ours() and not self._closing:
                    time.sleep(TURN_S)
                    effect = self._engine.effect(name)
                if effect is not None and self._is_ours():
                    self._carry_out(name, effect)
                    self._engine.carried_out(name)
            except CoopyError as error:
                # The system takes no more calls: what is left is carried out at the next opening.
                log.error("%s: the effect %s waits for the next opening: %s", self._name, name, error)
            except _Failed:
                continue
            self._known.discard(name)

    def _next(self) -> str | None:
        """The next that is due, waited for; None when there is nothing to wait for."""
        with self._changed:
            while not self._new:
                if not self._later or self._closing:
                    self._thread = None
                    return None
                due = min(self._later)
                wait_s = due[0] - time.monotonic()
                if wait_s <= 0:
                    self._later.remove(due)
                    self._delay_s = min(due[1] * 2, RETRY_S_MAX)
                    return due[2]
                self._changed.wait(wait_s)
            self._delay_s = self._retry_s
            return self._new.popleft()

    def _carry_out(self, name: str, effect: bytes) -> None:
        carried.name = f"{self._system}-{name}"
        what: Callable[..., object] | str = "it"
        try:
            what, args, kwargs = pickle.loads(effect)
            what(*args, **kwargs)  # type: ignore[operator]
        except BaseException as error:
            log.error(
                "%s: the effect %s, %s, raised %s: %s. It is tried again in %g s, and at the next opening.",
                self._name, name, getattr(what, "__qualname__", what), type(error).__name__, error, self._delay_s,
            )  # fmt: skip
            with self._changed:
                self._later.append((time.monotonic() + self._delay_s, self._delay_s, name))
            raise _Failed from error
        finally:
            carried.name = None


class _Failed(Exception):
    pass
