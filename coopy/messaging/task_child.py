"""A child process that runs tasks, one at a time, for a slot of a worker.

The worker has the session and talks to the queue; the child knows neither. So a task that crashes its process, or holds the interpreter for
minutes, harms no other, and one that does not stop can be ended by force. A child ends as soon as the worker has. It is spawned and not
forked, so that it has nothing of the worker: no threads, no locks, no descriptors.

What goes to it: a claim with the name of its function, or STOP. What comes from it: how far a task is, and what came of it.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import connection
from typing import Any

from coopy import EncodingError
from coopy.messaging.task_calls import attempted, packed, packed_call, unpacked
from coopy.messaging.task_records import Claim
from coopy.messaging.task_run import TaskRun
from coopy.messaging.task_running import Said, crashed, ended, failed

STOP = "stop"
PROGRESS, ENDED = "progress", "ended"
GRACE_S = 5.0
"""A task that was asked to stop, and does not, is ended by force so much later."""
LOOK_S = 0.5
"""So often a slot looks whether that time is over."""
EXIT_S = 2.0
"""A child that has nothing to do ends within that; if not, it is killed."""
_SPAWN = multiprocessing.get_context("spawn")


class Child:
    """The child of one slot. Used by the thread of the slot, but for `stop`."""

    def __init__(self) -> None:
        self._process: Any = None
        self._connection: Any = None
        self._lock = threading.Lock()
        """Guards what is sent: two threads do."""

    def run(self, claim: Claim, name: str, run: TaskRun, report: Callable[[int, int, Any], object]) -> Said:
        """Has a task run, and returns what came of it."""
        if not isinstance(
            claim.payload, bytes
        ):  # An action has put the arguments there as they are; not all can go through a pipe.
            payload, problem = attempted(packed_call, claim.name, *claim.payload)
            if problem is not None:
                return failed(claim, run, problem)
            claim = claim._replace(payload=payload)
        self._begin()
        with suppress(OSError):
            self._send((claim, name))
        kill_at = float("inf")
        while True:
            connection.wait([self._connection, self._process.sentinel], LOOK_S)
            with suppress(EOFError, OSError):
                while self._connection.poll():
                    kind, value = self._connection.recv()
                    if kind == ENDED:
                        return tuple(value)
                    value, problem = attempted(unpacked, value)
                    if problem is None:  # What can't be had here is not told.
                        report(claim.id, claim.token, value)
            if not self._process.is_alive():
                self._process.join()
                why = f"the child process that ran it ended with exit code {self._process.exitcode}"
                self._drop()
                return crashed(claim, run, why)
            if run.cancelled:
                kill_at = min(kill_at, time.monotonic() + GRACE_S)
                if time.monotonic() >= kill_at:
                    self._process.kill()

    def stop(self) -> None:
        """Asks the task to stop."""
        with suppress(OSError, AttributeError):
            self._send(STOP)

    def close(self) -> None:
        """Ends the child, which runs no task."""
        if self._process is None:
            return
        self._connection.close()
        self._process.join(EXIT_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._drop()

    def _begin(self) -> None:
        if self._process is not None and self._process.is_alive():
            return
        self._drop()
        self._connection, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=serve, args=(theirs,), name="coopy task child", daemon=True)
        self._process.start()
        theirs.close()

    def _drop(self) -> None:
        if self._process is not None:
            self._connection.close()
            self._process = self._connection = None

    def _send(self, what: Any) -> None:
        with self._lock:
            self._connection.send(what)


def serve(worker: Any) -> None:
    """What a child does: runs what the worker sends, until that is gone."""
    # A Ctrl-C at a terminal reaches all: the worker says what is to be done.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    claims: queue.SimpleQueue[tuple[Claim, str]] = queue.SimpleQueue()
    runs: list[TaskRun] = []
    threading.Thread(target=_hear, args=(worker, claims, runs), name="coopy task child hears", daemon=True).start()
    while True:
        claim, name = claims.get()
        run = TaskRun(claim, lambda number, token, value: _tell(worker, value))
        runs[:] = [run]
        outcome = ended(claim, run, {}, name)
        runs.clear()
        worker.send((ENDED, outcome))


def _tell(worker: Any, progress: Any) -> None:
    """Says how far a task is. What can't be told is dropped, as in a thread: the task goes on all the same."""
    with suppress(EncodingError):
        worker.send((PROGRESS, packed(progress)))


def _hear(worker: Any, claims: queue.SimpleQueue[tuple[Claim, str]], runs: list[TaskRun]) -> None:
    try:
        while True:
            what = worker.recv()
            if what == STOP:
                for run in list(runs):
                    run.ask_to_stop()
            else:
                claims.put(what)
    except (EOFError, OSError):
        # The worker has ended, and its tasks are others' by now: what this process does counts no more.
        os._exit(0)
