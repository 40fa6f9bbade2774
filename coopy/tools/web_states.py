"""The states of a directory, asked for by whoever serves pages: which replays there are, how far they have come, and who answers what.

Nothing of the system is loaded in this process. The replays are processes of their own (`coopy.tools.web_replay`): one from the newest snapshot
on, so that the state of now is there as soon as after a start, and then those of the past before it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from bisect import bisect_right
from contextlib import suppress
from typing import Any, NamedTuple

from coopy.errors import CoopyError, UsageError
from coopy.past.reading import Reading
from coopy.tools.web_replay import receive, send

WAIT_S = 1.0
"""A question about a state that is not reached yet waits so long; then it is said how far the replay is."""
ASK_S = 70.0  # Longer than whoever answers gives itself.
LOOK_S = 0.01  # A process that is told to end needs no longer.
AT_ONCE = 4
"""So many questions are answered at a time: the others wait, and the machine goes on with its own work."""
MEMORY_MAX = 1 << 30
"""With more bytes in all copies every second one goes: a machine of a few gigabytes has room for that beside the system itself."""
MEASURED = 8
"""The memory of copies is measured when so many have come: it takes milliseconds for each."""
PROGRAM = "from coopy.tools.web_replay import main; main()"


class NotYet(CoopyError):
    """The replay has not come so far yet. ``done`` and ``last`` are indexes."""

    def __init__(self, done: int, last: int) -> None:
        super().__init__(f"the replay has come to action {done:,} of {last:,}; this state will be there in a moment")
        self.done = done
        self.last = last


class NoState(CoopyError):
    """A state that can't be had, and why."""


class Pause(NamedTuple):
    """A copy of a replay, which waits."""

    at: int
    pid: int
    socket: socket.socket


class Lane:
    """One replay: the process, its copies, and how far it is."""

    def __init__(self, basedir: str, spec: str | None, base: int, upto: int | None, tool: str, memory_max: int) -> None:
        self._memory_max = memory_max
        self.base = base
        self.upto = upto
        self.pauses: list[Pause] = []
        self.tip: int | None = None
        """Where the process itself waits; None while it replays."""
        self.last = base
        self.ended = False
        self.problem: str | None = None
        self.reach: int | None = None
        """The last state that can be had, if a problem ends it."""
        self.began = time.monotonic()
        self.ready_s: float | None = None
        self.changed = threading.Condition()
        self.sending = threading.Lock()
        """Held while something is sent to one of its processes: two threads would send into each other."""
        ours, theirs = socket.socketpair()
        job = {"basedir": basedir, "class": spec, "base": base, "upto": upto, "tool": tool, "socket": theirs.fileno()}
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, json.dumps(job)], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
        )
        theirs.close()
        self.control = ours
        threading.Thread(target=self._hear, name="coopy web: a replay", daemon=True).start()

    def _hear(self) -> None:
        while (heard := receive(self.control)) is not None:
            said, sockets = heard
            with self.changed:
                self._take(said, sockets)
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            if self.problem is None and self.tip is None:
                self.problem = f"the process that replays has ended (exit code {self.process.wait()})"
            self.tip = None
            self.changed.notify_all()

    def _take(self, said: dict[str, Any], sockets: list[socket.socket]) -> None:
        if "at" in said:
            if said["thin"]:
                self._thin()
            # A replay that had to begin again passes the same places again.
            self.pauses = [each for each in self.pauses if each.at < said["at"]] + [Pause(said["at"], said["pid"], sockets[0])]
            self.last = max(self.last, said["at"])
            if len(self.pauses) % MEASURED == 0:
                self._look_at_memory()
        elif "tip" in said:
            self.tip = said["tip"]
            self.last = self.reach = said["tip"] if said["ended"] else said["last"]
            if not said["ended"]:
                self.reach = None
            self.ended = said["ended"]
            self.problem = said["problem"]
            if self.ready_s is None:
                self._look_at_memory()
        else:
            self.problem = said["problem"]
            self.reach = said["upto"] if said["upto"] is not None else self.base - 1
        if self.is_ready and self.ready_s is None:
            self.ready_s = time.monotonic() - self.began

    def _thin(self) -> None:
        """Every second copy goes; the first stays, as there is none before it."""
        for each in self.pauses[1::2]:
            each.socket.close()
        self.pauses = self.pauses[::2]

    def _look_at_memory(self) -> None:
        while len(self.pauses) > 1 and (self.memory() or 0) > self._memory_max:
            gone = [each.pid for each in self.pauses[1::2]]
            self._thin()
            until = time.monotonic() + WAIT_S
            while any(_proportional(pid) for pid in gone) and time.monotonic() < until:
                time.sleep(LOOK_S)

    def memory(self) -> int | None:
        """Returns the bytes that the replay and its copies hold, what they share counted once; None where that can't be known."""
        found = [_proportional(each) for each in [self.process.pid, *(pause.pid for pause in self.pauses)]]
        known = [each for each in found if each is not None]
        return sum(known) if known else None

    @property
    def is_ready(self) -> bool:
        """Whether it has come to its end, whatever that is."""
        return self.tip is not None or self.problem is not None

    def place(self, first: int, last: int) -> socket.socket | None:
        """Whom to ask about states from one to another; None if the replay has not come so far."""
        if self.tip is not None and first >= self.tip:
            return self.control
        number = bisect_right(self.pauses, first, key=lambda each: each.at)
        if not number:
            return None
        if number == len(self.pauses) and not self.is_ready:
            return None
        return self.pauses[number - 1].socket

    def news(self) -> None:
        """Says that more may have been written."""
        if self.tip is not None and not self.ended:
            with suppress(OSError), self.sending:
                send(self.control, {"news": True})

    def end(self) -> None:
        """Ends all of its processes."""
        self.process.kill()
        with self.changed:
            for each in self.pauses:
                each.socket.close()
            self.pauses = []
        self.control.close()
        self.process.wait()


class States:
    """The states of a directory. May be used by several threads."""

    def __init__(self, basedir: str, spec: str | None, tool: str = "`coopy web`", *, memory_max: int = MEMORY_MAX) -> None:
        self._memory_max = memory_max
        self.basedir = basedir
        self._spec = spec
        self._tool = tool
        with Reading(basedir) as reading:
            self.bases = reading.snapshots.indexes()
            self.last = reading.log.last
        if not self.bases:
            raise UsageError(f"{basedir}: there is no snapshot, so no state to begin with. `coopy inspect` says what is there.")
        self._lanes: list[Lane] = []
        self._asking = threading.Semaphore(AT_ONCE)
        self._closed = False
        self.is_complete = False
        """Whether all replays have come to their end."""
        threading.Thread(target=self._start, name="coopy web: replays", daemon=True).start()

    @property
    def oldest(self) -> int:
        """Index of the oldest state that there may be."""
        return self.bases[0]

    @property
    def lanes(self) -> list[Lane]:
        """The replays, the newest states first."""
        return list(self._lanes)

    def _start(self) -> None:
        """Starts the replay of the newest states, and then those of the past, one after the other."""
        self._start_all()
        self.is_complete = True

    def _start_all(self) -> None:
        above: int | None = None
        for base in reversed(self.bases):
            lane = self._lane(base, None)
            if lane is None:
                return
            if lane.reach is None or lane.reach >= base:
                above = base
                break
        begin = self.bases[0]
        while above is not None and begin < above:
            lane = self._lane(begin, above)
            if lane is None:
                return
            reached = lane.reach if lane.problem is not None and lane.reach is not None else above
            following = [base for base in self.bases if base > max(reached, begin)]
            if reached >= above or not following:
                return
            begin = following[0]

    def _lane(self, base: int, upto: int | None) -> Lane | None:
        """Starts one, and returns it when it has come to its end; None if this is closed."""
        if self._closed:
            return None
        lane = Lane(self.basedir, self._spec, base, upto, self._tool, self._memory_max)
        self._lanes = sorted([*self._lanes, lane], key=lambda each: -each.base)
        with lane.changed:
            lane.changed.wait_for(lambda: lane.is_ready or lane.ended or self._closed)
        return None if self._closed else lane

    def ask(self, name: str, first: int, last: int, /, **about: Any) -> Any:
        """Asks about the states from one index to another. Returns the answer in the types of JSON.

        Raises `NotYet`, `NoState`, and `UsageError` with what the process says that was asked.
        """
        with self._asking:
            lane, whom = self._whom(first, last)
            ours, theirs = socket.socketpair()
            try:
                ours.settimeout(ASK_S)
                try:
                    with lane.sending:
                        send(whom, {"look": name, "about": about, "last": last}, (theirs,))
                except OSError:
                    raise NoState("the process that has this state has ended. Start `coopy web` again.") from None
                finally:
                    theirs.close()
                said: dict[str, Any] = {}
                pid = 0
                while "answer" not in said and "error" not in said:
                    heard = receive(ours)
                    if heard is None:
                        if pid:
                            with suppress(ProcessLookupError):
                                os.kill(pid, signal.SIGKILL)
                        raise NoState(f"the process that was asked for the state after action {last:,} gave no answer")
                    said = heard[0]
                    pid = said.get("pid", pid)
            finally:
                ours.close()
        if "error" in said:
            raise UsageError(said["error"])
        return said["answer"]

    def _whom(self, first: int, last: int) -> tuple[Lane, socket.socket]:
        until = time.monotonic() + WAIT_S
        while True:
            lane = self._lane_of(first)
            if lane is not None:
                with lane.changed:
                    if lane.reach is not None and last > lane.reach and lane.problem is not None:
                        raise NoState(f"the state after action {last:,} can't be shown. {lane.problem}")
                    found = lane.place(first, last)
                    if found is not None:
                        return lane, found
                    if lane.ended:
                        raise NoState(lane.problem or "this state can't be shown")
                    lane.changed.wait(max(until - time.monotonic(), 0))
            elif not self._lanes or not self._is_pruned(first):
                time.sleep(LOOK_S)
            else:
                raise NoState(f"the state after action {first:,} was pruned; the oldest is that after action {self.oldest:,}")
            if time.monotonic() >= until:
                raise NotYet(lane.last if lane is not None else 0, last)

    def _is_pruned(self, index: int) -> bool:
        return index < self.oldest

    def _lane_of(self, index: int) -> Lane | None:
        return next((lane for lane in self._lanes if lane.base <= index), None)

    def pauses(self) -> list[int]:
        """Returns the indexes at which replays have paused, ascending."""
        return sorted({each.at for lane in self._lanes for each in lane.pauses})

    def status(self) -> dict[str, Any]:
        """Returns how far the replays are, and what they take."""
        lanes = [
            {
                "base": lane.base,
                "upto": lane.upto,
                "done": lane.last,
                "ready": lane.is_ready,
                "seconds": lane.ready_s,
                "pauses": len(lane.pauses),
                "problem": lane.problem,
            }
            for lane in self._lanes
        ]
        return {"lanes": lanes, "ready": self.is_complete, "bytes": self.memory()}

    def memory(self) -> int | None:
        """Returns the bytes that all replays and their copies hold, what they share counted once; None where that can't be known."""
        found = [size for lane in self._lanes if (size := lane.memory()) is not None]
        return sum(found) if found else None

    def close(self) -> None:
        """Ends all processes."""
        self._closed = True
        for lane in self._lanes:
            lane.end()
            with lane.changed:
                lane.changed.notify_all()


def _proportional(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            for line in file:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass  # It has ended, or this is no Linux.
    return None
