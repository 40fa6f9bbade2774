"""The journal for people who look through it: which methods were called when, how calls ended, and each call with its arguments.

Of every action a few bytes are kept in memory (its instant, its method, how it ended: 11 bytes), so that a million can be filtered at once; arguments
are decoded when they are shown or searched. It reads beside whoever writes.

As a program it is a process of its own, as decoding arguments loads code of the domain; `Records` is how it is asked.
"""

from __future__ import annotations

import json
import re
import select
import socket
import subprocess
import sys
import threading
import time
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from datetime import datetime
from typing import Any, cast

from coopy.errors import CoopyError, StorageError, UsageError
from coopy.ground import action
from coopy.ground.raised import last_resort, or_none
from coopy.ground.storage import Log
from coopy.past import history
from coopy.past.history import Action
from coopy.past.lookup import Lookup
from coopy.past.reading import Reading
from coopy.past.trail import Pages, Tail
from coopy.tools import tree
from coopy.tools.domain import domain_class, found
from coopy.tools.web_replay import receive, send, stay_quiet

LIMIT = 100  # A page that a person scrolls through.
BUDGET_S = 0.4
"""A search in arguments ends after so many seconds with a place to go on from: pages come at once."""
STEP_S = 0.2  # So long it reads on before it looks whether somebody asks.
BUCKETS = 120  # Bars of a picture as wide as a screen.
ARGUMENT_CHARS = 200  # A line of a large screen.
METHODS_MAX = 65_535
"""A number of two bytes stands for a method."""
ASK_S = 30.0  # Longer than any answer takes, unless the machine hardly runs.
_NS = 1_000_000_000  # How many nanoseconds a second has.
_OTHER = "(not decoded)"
PROGRAM = "from coopy.tools.web_journal import main; main()"


class Journal:
    """The actions of a directory, as far as they have been read. For one thread."""

    def __init__(self, basedir: str, spec: str | None) -> None:
        said = found(basedir)
        cls = or_none(domain_class, said, spec)
        with Reading(basedir, cls) as reading:
            self._codec = reading.codec
            self.oldest = max(reading.log.oldest, 1)
            self.last = reading.log.last
            self._tail = Tail(basedir, reading.manifest.system, reading.log.last)
            self.problem: str | None = None
            """Why not all can be read."""
            try:
                for _ in reading.log.read(self.last):
                    pass
            except StorageError as error:
                self.problem = str(error)  # What is damaged comes after all that is read here.
        self._lookup = Lookup(basedir)
        self._instants = array("q")
        self._methods = array("H")
        self._outcomes = bytearray()
        self._names: list[str] = []
        self._numbers: dict[str | None, int] = {}
        self._bytes = 0
        self._is_stuck = False
        self._counted: list[int] = []
        self._block: dict[int, tuple[bytes, str | None, Any]] = {}
        """The records of the block that was looked at last, by index."""
        self._counted_upto = 0

    # -- read on

    @property
    def done(self) -> int:
        """Index of the last action that has been read."""
        return self.oldest + len(self._instants) - 1

    @property
    def is_complete(self) -> bool:
        return self.done >= self.last or self._is_stuck

    def look(self) -> int:
        """Looks for what has been written since. Returns the index of the last action."""
        if self.problem is None:
            try:
                self._tail.news()
                self.last = max(self._tail.last, self.last)
            except (StorageError, OSError) as error:
                self.problem = str(error)
        return self.last

    def scan(self, seconds: float) -> bool:
        """Reads on for some time. Returns whether all has been read that is known to be there."""
        until = time.monotonic() + seconds
        while not self.is_complete and time.monotonic() < until:
            try:
                self._take(*self._lookup.page(self.done + 1))
            except StorageError as error:
                self.problem, self._is_stuck = str(error), True
        return self.is_complete

    def _take(self, begins: int, data: bytes) -> None:
        after, outcomes = self.done, self._outcomes
        self._bytes += len(data)
        for index, header, name, args in history.undecoded(cast(Log, Pages([(begins, data)])), begins - 1):
            if args is None:
                if index >= self.oldest and index - self.oldest < len(outcomes):
                    outcomes[index - self.oldest] = header[action.OUTCOME]
                continue
            if index <= after:
                continue
            # An amendment of the one before says the same, or stands between.
            if outcomes and outcomes[-1] == action.UNKNOWN:
                outcomes[-1] = header[action.OUTCOME]
            self._instants.append(action.instant_of(header))
            self._methods.append(self._number(name if name is not None else self._named(index, header, args)))
            outcomes.append(action.UNKNOWN)

    def _named(self, index: int, header: bytes, args: Any) -> str:
        return history.decoded(index, header, None, args, self._codec).method or _OTHER

    def _number(self, name: str) -> int:
        number = self._numbers.get(name)
        if number is None:
            number = self._numbers[name] = min(len(self._names), METHODS_MAX)
            self._names.append(name)
        return number

    # -- asked

    def rows(
        self,
        before: int | None = None,
        after: int | None = None,
        method: str = "",
        outcome: str = "",
        argument: str = "",
        since: int | None = None,
        until: int | None = None,
        internal: bool = False,
        limit: int = LIMIT,
    ) -> dict[str, Any]:
        """Actions, the newest first, from the one before ``before`` on; or those after ``after``, the oldest first.

        ``since`` and ``until`` are instants in nanoseconds. ``internal``: also those that no method was called with.
        """
        self.look()
        self.scan(BUDGET_S)
        end = time.monotonic() + BUDGET_S
        first, last = self._between(since, until)
        if after is None:
            last = last if before is None else min(before - 1, last)
            indexes = range(last, first - 1, -1)
        else:
            indexes = range(max(after + 1, first), last + 1)
        wanted = self._numbers.get(method, -1) if method else None
        ended = action.OUTCOMES.index(outcome) if outcome in action.OUTCOMES else None
        hidden = frozenset() if internal else {n for n, name in enumerate(self._names) if name.startswith("<")}
        text = argument.lower()
        shown: list[dict[str, Any]] = []
        methods, outcomes, oldest = self._methods, self._outcomes, self.oldest
        following: int | None = None
        looked = False
        for index in indexes:
            place = index - oldest
            number = methods[place]
            if number in hidden and wanted is None or wanted is not None and number != wanted:
                continue
            if ended is not None and outcomes[place] != ended:
                continue
            # One at least is looked at, however late it is: whoever goes on from here gets on.
            if len(shown) >= limit or (looked and text and time.monotonic() > end):
                following = index + 1 if after is None else index - 1
                break
            looked = True
            row = self._row(index)
            if not text or text in row["call"].lower():
                shown.append(row)
        return {
            "rows": shown,
            "first": self.oldest,
            "last": self.last,
            "done": self.done,
            "complete": self.is_complete,
            "next": following,
            "searching": following is not None and len(shown) < limit,
            "methods": sorted(name for name in self._names if internal or not name.startswith("<")),
            "problem": self.problem,
        }

    def _between(self, since: int | None, until: int | None) -> tuple[int, int]:
        first, last = self.oldest, self.done
        if since is not None:
            first = self.oldest + bisect_left(self._instants, since)
        if until is not None:
            last = self.oldest + bisect_right(self._instants, until) - 1
        return first, last

    def _row(self, index: int) -> dict[str, Any]:
        each = self._lookup_action(index)
        call = each.problem if each.method is None else _call(each)
        return {
            "index": index,
            "time": each.time.isoformat(),
            "method": each.method,
            "call": call,
            "outcome": action.OUTCOMES[self._outcomes[index - self.oldest]],
        }

    def _lookup_action(self, index: int) -> Action:
        # Whoever looks through arguments is mostly in the block of the last time.
        if index not in self._block:
            begins, data = self._lookup.page(index)
            records = history.undecoded(cast(Log, Pages([(begins, data)])), begins - 1)
            self._block = {number: (header, name, args) for number, header, name, args in records if args is not None}
        return history.decoded(index, *self._block[index], self._codec)

    def one(self, index: int) -> dict[str, Any]:
        """One action, nothing of it cut."""
        self.look()
        while not self.scan(BUDGET_S):
            if self.done >= index:
                break
        if not self.oldest <= index <= self.done:
            raise UsageError(
                f"action {index:,} is not in the journal, which has {self.oldest:,} to {self.done:,}."
                + (f" {self.problem}" if self.problem else "")
            )
        each = self._lookup_action(index)
        row = self._row(index)
        return {
            **row,
            "problem": each.problem,
            "args": [{"text": tree.shown(value, 4000), "value": tree.as_json(value)} for value in each.args],
            "kwargs": {
                name: {"text": tree.shown(value, 4000), "value": tree.as_json(value)} for name, value in each.kwargs.items()
            },
            "first": self.oldest,
            "last": self.last,
        }

    def moments(self) -> dict[str, Any]:
        """From when to when the actions are."""
        self.look()
        self.scan(BUDGET_S)
        times = self._instants
        return {
            "first": self.oldest,
            "last": self.last,
            "done": self.done,
            "begins": times[0] if times else None,
            "ends": times[-1] if times else None,
            "complete": self.is_complete,
            "problem": self.problem,
        }

    def at_time(self, instant: int) -> int:
        """Index of the last action that was not later than an instant, as far as they are in order of time."""
        self.scan(BUDGET_S)
        return self.oldest + bisect_right(self._instants, instant) - 1

    def counts(self) -> Counter[str]:
        """Returns how often each method was called, as far as the journal has been read."""
        while len(self._counted) < len(self._names):
            self._counted.append(0)
        for number in self._methods[self._counted_upto :]:
            self._counted[number] += 1
        self._counted_upto = len(self._methods)
        return Counter(dict(zip(self._names, self._counted, strict=True)))

    def rates(self) -> dict[str, Any]:
        """How often each method was called, and when: in so many spans of equal length as a picture has bars."""
        self.look()
        self.scan(BUDGET_S)
        times, methods, outcomes = self._instants, self._methods, self._outcomes
        totals = [[0, 0, 0] for _ in self._names]
        for number, outcome in zip(methods, outcomes, strict=True):
            each = totals[number]
            each[0] += 1
            if outcome >= action.RAISED:
                each[outcome - 1] += 1
        begin, end = (times[0], times[-1]) if times else (0, 0)
        span = max(end - begin, 1)
        edges = [bisect_left(times, begin + span * number // BUCKETS) for number in range(BUCKETS)] + [len(times)]
        calls = [max(upper - lower, 0) for lower, upper in zip(edges, edges[1:], strict=False)]
        last_minute = len(times) - bisect_left(times, end - 60 * _NS)
        named = [
            {"method": name, "calls": calls_, "raised": raised, "withdrawn": withdrawn}
            for name, (calls_, raised, withdrawn) in zip(self._names, totals, strict=True)
        ]
        return {
            **self.moments(),
            "methods": sorted(named, key=lambda each: -cast(int, each["calls"])),
            "buckets": calls,
            "seconds": span / _NS,
            "actions": len(times),
            "bytes": self._bytes,
            "last_minute": last_minute,
            "busiest": max(calls, default=0) / max(span / _NS / BUCKETS, 1e-9) if times else 0,
        }

    def close(self) -> None:
        """Closes the files."""
        self._tail.close()
        self._lookup.close()


def _call(each: Action) -> str:
    parts = [tree.shown(value, ARGUMENT_CHARS) for value in each.args]
    parts += [f"{name}={tree.shown(value, ARGUMENT_CHARS)}" for name, value in each.kwargs.items()]
    text = f"{each.method}({', '.join(parts)})"
    return text if len(text) <= 2 * ARGUMENT_CHARS else text[: 2 * ARGUMENT_CHARS] + "…"


QUESTIONS = ("rows", "one", "moments", "at_time", "rates")


def main() -> None:
    """Answers until whoever has started this process is gone."""
    job = json.loads(sys.argv[1])
    control = socket.socket(fileno=job["socket"])
    stay_quiet(job["tool"])
    try:
        journal = Journal(job["basedir"], job["class"])
    except (CoopyError, OSError) as error:
        send(control, {"error": str(error)})
        return
    send(control, {"answer": None})
    while True:
        # What is written meanwhile is read while nobody asks.
        if not journal.is_complete and not select.select([control], [], [], 0)[0]:
            journal.scan(STEP_S)
            continue
        heard = receive(control)
        if heard is None:
            return
        send(control, _answered(journal, heard[0]))


def _answered(journal: Journal, asked: dict[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {}

    def failed(error: Exception) -> None:
        said["error"] = str(error) if isinstance(error, CoopyError) else f"{type(error).__name__}: {error}"

    # Arguments are of any class, and their code may raise anything when they are shown.
    with last_resort(failed):
        assert asked["question"] in QUESTIONS, "only these are asked"
        said["answer"] = getattr(journal, asked["question"])(**asked["about"])
    return said


class Records:
    """The process that reads the journal, asked by several threads, one after the other."""

    def __init__(self, basedir: str, spec: str | None, tool: str = "`coopy web`") -> None:
        self._lock = threading.Lock()
        ours, theirs = socket.socketpair()
        job = {"basedir": basedir, "class": spec, "tool": tool, "socket": theirs.fileno()}
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, json.dumps(job)], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
        )
        theirs.close()
        self._socket = ours
        ours.settimeout(ASK_S)
        self._begun = False

    def ask(self, question: str, **about: Any) -> Any:
        """Asks `Journal` a question. Returns the answer in the types of JSON. Raises `UsageError`."""
        with self._lock:
            if not self._begun:
                self._heard()
                self._begun = True
            try:
                send(self._socket, {"question": question, "about": about})
            except OSError:
                raise UsageError("the process that reads the journal has ended. Start `coopy web` again.") from None
            return self._heard()

    def _heard(self) -> Any:
        heard = receive(self._socket)
        if heard is None:
            raise UsageError("the process that reads the journal has ended, or does not answer. Start `coopy web` again.")
        if "error" in heard[0]:
            raise UsageError(heard[0]["error"])
        return heard[0]["answer"]

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._socket.close()
        self._process.wait()


def nanoseconds(text: str) -> int | None:
    """The first nanosecond that an ISO 8601 text names, in local time if it has no offset; None if it names none."""
    try:
        # A "+" in an address that was typed is a space when it arrives.
        text = re.sub(r" (\d\d:\d\d)$", r"+\1", text.strip()) if "T" in text else text.strip()
        return action.nanoseconds(datetime.fromisoformat(text.replace("Z", "+00:00")))
    except (ValueError, OverflowError):
        return None
