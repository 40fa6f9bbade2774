"""Children that compare states beside a running system, and what waits for them.

What a child finds is a dict of JSON types. Nothing here decides when states are compared, or what becomes of a difference:
see `coopy.proof.proving`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from coopy.disk import child
from coopy.errors import CoopyError, SnapshotError
from coopy.past.reading import Reading
from coopy.proof import proving
from coopy.spine import agreement
from coopy.spine.agreement import Comparison
from coopy.spine.machine import Machine

APART_S = 2.0
"""What has to be known before the system is open, or closed, may take so long in a child, and is not known if it takes longer."""
CHECK_S = 60.0
"""A self-check may take so long."""
PATH_CHARS = 1000  # A path is for people, and it must pass through a pipe in one piece.


class Beside:
    """A child that compares states, and the thread that waits for it."""

    def __init__(
        self, waiting: child.Waiting, then: Callable[[dict[str, Any]], object], done: Callable[[], object], basedir: str
    ) -> None:
        self._waiting = waiting
        self._then = then
        self._done = done
        self._thread = threading.Thread(target=self._wait, name=f"coopy proof of {basedir}", daemon=True)
        self._is_given_up = False

    def start(self) -> None:
        self._thread.start()

    def _wait(self) -> None:
        import json

        try:
            found = self._waiting()
            if found and not self._is_given_up:
                self._then(json.loads(found))
        except (CoopyError, ValueError):
            pass  # Nothing is known; the next one may come to an end.
        finally:
            self._done()

    def end(self) -> None:
        """Ends both."""
        self._is_given_up = True
        self._waiting.give_up()
        if self._thread is not threading.current_thread() and self._thread.ident is not None:
            self._thread.join()


def apart(function: Callable[[], bytes | None]) -> bytes | None:
    """Runs a function in a child, and returns what it returns; None if nothing came of it."""

    def run() -> bytes | None:
        with child.within(APART_S, "comparing states"):
            return function()

    try:
        return child.start(run, what="the state was not compared")()
    except SnapshotError:
        return None


def here(function: Callable[[], bytes | None]) -> bytes | None:
    """Runs a function in this process, where there is no child."""
    return function()


def said_by_child(function: Callable[[Machine], dict[str, Any]], machine: Machine) -> bytes:
    import json

    proving.quietly()
    with child.within(CHECK_S, "comparing states"):
        return json.dumps(function(machine)).encode()


def compared(machine: Machine, said: agreement.Said) -> dict[str, Any]:
    """In a child: where a state is not what was said of it, if anywhere."""
    comparison = Comparison([said])
    if machine.applied == said.action:
        comparison.visit(machine)
    found = comparison.difference
    return {"index": said.action, "path": found.path[:PATH_CHARS] if found is not None else None}


def checked(machine: Machine, basedir: str, cls: type, base: int) -> dict[str, Any]:
    """In a child: replays from a snapshot to where a machine is, and compares."""
    began = time.monotonic()
    found: dict[str, Any] = {"base": base, "index": machine.applied, "after": -1, "path": None, "problem": None}
    try:
        with Reading(basedir, cls) as reading:
            said = [each for each in (agreement.understood(*entry) for entry in reading.entries.read()) if each is not None]
            comparison = Comparison(agreement.chosen(said, base + 1, machine.applied - 1, CHECK_S / 10))
            again = reading.machine_from(base, machine.applied, comparison.stops, comparison.visit)
            from coopy.values import digest

            if digest.digest(again.domain) != digest.digest(machine.domain):
                if comparison.difference is not None:
                    found["index"] = comparison.difference.action
                found["after"] = comparison.same
                found["path"] = agreement.path_between(machine.domain, again.domain, proving.PATH_S)[:PATH_CHARS]
    except CoopyError as error:
        found["problem"] = f"{type(error).__name__}: {error}"[:PATH_CHARS]
    found["seconds"] = round(time.monotonic() - began, 3)
    return found
