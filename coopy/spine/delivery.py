"""Carries out the effects of one open system, in a thread that lives while there are some to carry out.

An effect has two steps: its function is called, and an action records that it was. Either may fail and is then tried again
later; but once the function has returned it is not called again while this system is open, however often the record fails:
on a cluster that fails for as long as no majority is there.

Of the nodes of a replicated system one carries out, the one that leads. The others keep nothing here: the effects stand in
the state, and a node that comes to lead is told to `look` there.
"""

from __future__ import annotations

import pickle
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from coopy.errors import SystemClosed
from coopy.ground import holding, log
from coopy.ground.raised import last_resort, told_as
from coopy.spine.effects import carried

RETRY_S = 1.0
"""So long after it failed an effect is tried again: what it calls may be down for a moment only."""
RETRY_S_MAX = 60.0
"""The wait doubles up to this: what is down for hours is not hammered, and is noticed within a minute once it is up."""
START_S = 0.005
"""A thread that was started comes to say so within that, as a rule; closing looks again that often."""


class Asked(Protocol):
    """What has effects, of which each has a name."""

    @property
    def machine(self) -> Any:
        """What has the ``effects`` that stand in the state, by name."""
        ...

    def effect(self, name: str) -> bytes | None:
        """Returns what an effect is to do, once the action that asked for it is durable; None if it is done, or was dropped."""
        ...

    def carried_out(self, name: str) -> None:
        """Records that an effect has been carried out."""
        ...


class Delivery:
    """One effect after another, in the order they were asked for; what fails is tried again later, and the rest goes on."""

    def __init__(
        self,
        engine: Asked,
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
        # Guards what follows. Callers, which may be interrupted, take it by `coopy.ground.holding`.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._new: deque[str] = deque()
        self._later: list[tuple[float, float, str]] = []
        """When each is tried again, the delay until then, and which."""
        self._known: set[str] = set()
        self._called: set[str] = set()
        """Effects whose function has returned, and of which that is not recorded yet."""
        self._closing = False
        self._thread: threading.Thread | None = None
        """The thread that carries out, from its first step to its last."""

    def asked(self, name: str) -> None:
        """Takes an effect. Called with the lock of the engine held, so nothing is waited for."""

        def take() -> None:
            if name in self._known or self._closing or not self._is_ours():
                return
            # In this order: an interrupt in between makes it be taken twice, and it is carried out once.
            self._new.append(name)
            self._known.add(name)
            self._changed.notify()

        holding.run_with(self._lock, take)
        if not self._start():
            # The action that asks is recorded, and must not fail for it.
            log.error("%s: no thread can be started: the effect %s waits for the next one, or for closing", self._name, name)

    def _start(self) -> bool:
        """Sees to it that there is a thread if there is something to do. Two of them are no harm: the second ends at once.

        Returns False if none can be started.
        """
        if self._new and self._thread is None:
            try:
                threading.Thread(target=self._run, name=f"coopy effects of {self._name}", daemon=True).start()
            except RuntimeError:
                return False
        return True

    def look(self) -> None:
        """Takes the effects that stand in the state: this node has come to be the one that carries out."""
        for name in list(self._engine.machine.effects):
            self.asked(name)

    def finish(self) -> None:
        """Waits for what has not been tried yet, and takes no more. What failed stays for the next opening."""

        def end() -> None:
            self._closing = True
            self._changed.notify()

        holding.run_with(self._lock, end)
        if not self._start():
            self._run()
        while self._new or self._thread is not None:
            thread = self._thread
            if thread is threading.current_thread():
                break
            if thread is None:
                time.sleep(START_S)  # It has been started, and has not come to say so.
            else:
                thread.join()
        self._record_at_last()

    def _run(self) -> None:
        with self._changed:
            if self._thread is not None:
                return
            self._thread = threading.current_thread()
        while (found := self._next()) is not None:
            name, delay_s = found
            try:
                if not self._deal_with(name):
                    continue
            except SystemClosed as error:
                log.error("%s: the effect %s waits for the next opening: %s", self._name, name, error)
            except _Failed as failed:
                what, raised = failed.args
                log.error(
                    "%s: the effect %s, %s, raised %s: %s. It is tried again in %g s, and at the next opening.",
                    self._name,
                    name,
                    what,
                    type(raised).__name__,
                    raised,
                    delay_s,
                )
                self._try_again(name, delay_s)
                continue
            except Exception as error:  # Of whatever kind: the thread goes on with the other effects, and this one is not lost.
                step = "was carried out, which could not be recorded" if name in self._called else "was not carried out"
                log.error("%s: the effect %s %s; it is tried again in %g s: %s", self._name, name, step, delay_s, error)
                self._try_again(name, delay_s)
                continue
            with self._changed:
                self._known.discard(name)
                self._called.discard(name)

    def _deal_with(self, name: str) -> bool:
        """Carries out an effect and records that. Returns False if another node is to do so."""
        effect = self._engine.effect(name)
        if effect is not None and name not in self._called:
            with self._changed:
                # With the lock held: a node that comes to lead again just now looks for this effect after it was given up.
                if not self._is_ours():
                    self._known.discard(name)
                    return False
            self._carry_out(name, effect)
            self._called.add(name)
        if effect is not None:
            self._engine.carried_out(name)
        return True

    def _record_at_last(self) -> None:
        """Records what was carried out and could not be recorded yet; up to the first for which that is still so."""
        errors: list[Exception] = []
        for name in sorted(self._called):
            # The system closes all the same, and what is left is logged.
            with last_resort(errors.append):
                self._engine.carried_out(name)
                self._called.discard(name)
            if errors:
                break
        for name in sorted(self._called):
            log.error(
                "%s: the effect %s was carried out, which could not be recorded; it is carried out again at the next opening, "
                "with the same effect_id(): %s",
                self._name,
                name,
                errors[0] if errors else None,
            )

    def _next(self) -> tuple[str, float] | None:
        """The next that is due, waited for, and when it is tried again if it fails; None when nothing is waited for."""
        with self._changed:
            while not self._new:
                if not self._later or self._closing:
                    self._thread = None
                    return None
                due = min(self._later)
                wait_s = due[0] - time.monotonic()
                if wait_s <= 0:
                    self._later.remove(due)
                    return due[2], min(due[1] * 2, RETRY_S_MAX)
                self._changed.wait(wait_s)
            return self._new.popleft(), self._retry_s

    def _try_again(self, name: str, delay_s: float) -> None:
        with self._changed:
            self._later.append((time.monotonic() + delay_s, delay_s, name))

    def _carry_out(self, name: str, effect: bytes) -> None:
        carried.name = f"{self._system}-{name}"
        what: Callable[..., object] | str = "it"
        try:
            with told_as(lambda error: _Failed(getattr(what, "__qualname__", what), error), of=BaseException):
                what, args, kwargs = pickle.loads(effect)
                what(*args, **kwargs)  # type: ignore[operator]
        finally:
            carried.name = None


class _Failed(Exception):
    """The function of an effect raised: what it is called, and the exception."""
