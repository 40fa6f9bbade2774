"""One node of the simulation: a process that has a system open and does what it is asked to.

    node.py        (told what to open by the first line of its standard input)

Requests come as lines of JSON on standard input, and each is answered, in a thread of its own, by a
line on standard output. When standard input ends, because who started the node closed it or
is no more, the node closes its system and ends; a stopped one is killed by the kernel.

What opens the system is a module with init_system and control: "coopy", or a stand-in.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import sys
import threading
import time
import traceback
from typing import Any

CLOSING_S = 20
_PR_SET_PDEATHSIG = 1
_offset_ns = 0
_time_ns = time.time_ns


def time_ns() -> int:
    """What this process takes for the time: `clock` sets it wrong."""
    return _time_ns() + _offset_ns


# Before coopy is imported: it may keep the functions that it finds.
time.time_ns = time_ns
time.time = lambda: time_ns() / 1e9


class Node:
    """The open system, and the ways to ask it."""

    def __init__(self, settings: dict[str, Any], answers: int) -> None:
        self._answers = answers
        self._writing = threading.Lock()
        self._closing = False
        self.backend = importlib.import_module(settings.pop("backend"))
        threading.Thread(target=self._listen, daemon=True).start()
        self.system = self.backend.init_system(self.domain(), settings.pop("directory"), **settings)
        self.control = self.backend.control(self.system)
        self._say({"id": 0, "value": None})

    def domain(self) -> type:
        """The class whose system this node has."""
        from simulation.domain import Bank

        return Bank

    def _say(self, line: dict[str, Any]) -> None:
        data = json.dumps(line, default=str).encode() + b"\n"
        with self._writing:
            while data:
                data = data[os.write(self._answers, data) :]

    def _listen(self) -> None:
        for line in sys.stdin.buffer:
            threading.Thread(target=self._answer, args=(json.loads(line),), daemon=True).start()
        self.close()

    def _answer(self, request: dict[str, Any]) -> None:
        try:
            value = getattr(self, "do_" + request["do"])(*request["args"])
            answer = {"id": request["id"], "value": value}
        except BaseException as error:
            if type(error).__name__ != "OutcomeUnknown":
                traceback.print_exc()
            answer = {"id": request["id"], "error": f"{type(error).__name__}: {error}"}
        self._say(answer)

    def do_call(self, method: str, *args: Any) -> Any:
        """A write, or a read of what this node has."""
        return getattr(self.system, method)(*args)

    def do_latest(self, method: str, *args: Any) -> Any:
        """A linearizable read."""
        with self.control.latest():
            return getattr(self.system, method)(*args)

    def do_sync(self, method: str, *args: Any) -> Any:
        """The other way to a linearizable read."""
        self.control.sync()
        return getattr(self.system, method)(*args)

    def do_status(self) -> Any:
        return self.control.status()

    def do_digest(self) -> Any:
        return self.control.state_digest()

    def do_step_down(self) -> None:
        self.control.cluster.step_down()

    def do_clock(self, offset_s: float) -> None:
        """Sets this process's wall clock wrong by so many seconds. The server's stays right."""
        global _offset_ns
        _offset_ns = int(offset_s * 1e9)

    def close(self) -> None:
        """Closes the system and ends the process, at the latest after CLOSING_S."""
        too_long = threading.Timer(CLOSING_S, os._exit, (1,))
        too_long.daemon = True
        too_long.start()
        if hasattr(self, "control"):
            self.control.close()
        os._exit(0)


def main(kind: type[Node] = Node) -> None:
    """Runs the process of a node."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # What others print must not get among the answers: these have a descriptor that no child inherits.
    answers = os.dup(1)
    os.dup2(2, 1)
    settings = json.loads(sys.stdin.buffer.readline())
    try:
        kind(settings, answers)
    except BaseException:
        # Not by way of the interpreter's end: a thread reads standard input, and would be in the way.
        traceback.print_exc()
        os._exit(1)
    threading.Event().wait()


if __name__ == "__main__":
    main()
