"""The event source beside the `eventsourcing` package on SQLite, in one run and in turn: `make bench-events`.

    python -m benchmarks.events [--events N] [--rounds N] [--dir DIR] [--json FILE] [--check]

Both keep 100 bytes an event, and both are durable: coopy syncs its journal, SQLite its WAL at each commit, as the package comes. Each measurement is a process of its
own; the package runs in a venv of its own (`.bench-venvs/events`, made on the first run). Of the package the recorder is called, its lowest layer,
which takes bytes; in the row "as users call it" an application saves aggregates with ten events each, beside appends of ten events that are dataclasses.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

VENV = os.path.abspath(os.path.join(".bench-venvs", "events"))
PACKAGE = "eventsourcing==9.5.6"
GOAL = 10.0
BATCH, TOGETHER, THREADS = 1000, 10, 16
LARGE = {"append, batches of 1,000": 1, "append, batches of 10,000": 10}
PAYLOADS = [b"%0100d" % number for number in range(BATCH)]
"""Different ones: of equal ones pickle keeps one."""
ROWS = (
    "append, batches of 1,000",
    "append, one alone",
    "append, one alone, 16 threads",
    "read all",
    "read a stream of 100",
    "as users call it",
)
FEWER = {ROWS[1]: 500, ROWS[2]: 100, ROWS[3]: 2, ROWS[4]: 5, ROWS[5]: 50}
"""Of these rows one event in so many is measured: they take that much longer."""


def shared_out(count: int, call: Callable[[int], object]) -> None:
    """Has 16 threads make calls, each with a number of its own."""

    def run(number: int) -> None:
        for each in range(number, count, THREADS):
            call(each)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


def timed(count: int, work: Callable[[], object]) -> tuple[float, float]:
    """Returns events a second, by the clock and by the processor's time of this process."""
    began, used = time.perf_counter(), time.process_time()
    work()
    return count / (time.perf_counter() - began), count / (time.process_time() - used)


@dataclass
class Happened:
    number: int
    text: str


def coopy(row: str, count: int, folder: str) -> tuple[float, float]:
    """Returns events a second; see `timed`."""
    from coopy.messaging import EventSource

    with EventSource(os.path.join(folder, "events")) as source:
        if row in LARGE:
            payloads = PAYLOADS * LARGE[row]
            return timed(count, lambda: [source.append("all", payloads) for _ in range(count // len(payloads))])
        if row == ROWS[1]:
            return timed(count, lambda: [source.append("all", PAYLOADS[number % BATCH]) for number in range(count)])
        if row == ROWS[2]:
            return timed(
                count,
                lambda: shared_out(count, lambda number: source.append(f"stream {number % THREADS}", PAYLOADS[number % BATCH])),
            )
        if row == ROWS[5]:

            def save() -> None:
                for number in range(count // TOGETHER):
                    source.append(f"one {number}", [Happened(each, "text") for each in range(TOGETHER)], expected=0).check()

            return timed(count, save)
        streams = max(count // 100, 1)
        for number in range(streams):
            source.append(f"stream {number}", PAYLOADS[:100])
        if row == ROWS[3]:
            return timed(count, lambda: sum(len(event.data) for event in source.read()))
        return timed(count, lambda: [list(source.read(f"stream {number * 7919 % streams}")) for number in range(streams)])


def package(row: str, count: int, folder: str) -> tuple[float, float]:
    """Returns the same of the `eventsourcing` package."""
    from uuid import UUID, uuid4

    from eventsourcing.persistence import StoredEvent  # type: ignore[import-not-found]
    from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore  # type: ignore[import-not-found]

    path = os.path.join(folder, "events.db")
    if row == ROWS[5]:
        return users(count, path)
    recorder = SQLiteApplicationRecorder(SQLiteDatastore(path))
    recorder.create_table()

    def stored(of: UUID, first: int, number: int) -> list[Any]:
        return [StoredEvent(of, each, "topic", PAYLOADS[each % BATCH]) for each in range(first, first + number)]

    one = uuid4()
    if row in LARGE:
        number = BATCH * LARGE[row]
        return timed(count, lambda: [recorder.insert_events(stored(one, first, number)) for first in range(0, count, number)])
    if row == ROWS[1]:
        return timed(count, lambda: [recorder.insert_events(stored(one, first, 1)) for first in range(count)])
    if row == ROWS[2]:
        ids = [uuid4() for _ in range(THREADS)]
        return timed(
            count, lambda: shared_out(count, lambda number: recorder.insert_events(stored(ids[number % THREADS], number, 1)))
        )
    ids = [uuid4() for _ in range(max(count // 100, 1))]
    for each in ids:
        recorder.insert_events(stored(each, 0, 100))
    if row == ROWS[3]:

        def read() -> None:
            start: int | None = None
            while found := recorder.select_notifications(start=start, limit=BATCH, inclusive_of_start=False):
                start = sum(len(each.state) for each in found) and found[-1].id

        return timed(count, read)
    return timed(count, lambda: [recorder.select_events(ids[number * 7919 % len(ids)]) for number in range(len(ids))])


def users(count: int, path: str) -> tuple[float, float]:
    from eventsourcing.application import Application  # type: ignore[import-not-found]
    from eventsourcing.domain import Aggregate, event  # type: ignore[import-not-found]

    class Thing(Aggregate):  # type: ignore[misc]
        @event("Happened")  # type: ignore[untyped-decorator]
        def happen(self, number: int, text: str) -> None:
            pass

    application = Application(env={"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": path})

    def save() -> None:
        for _ in range(count // TOGETHER):
            thing = Thing()
            for number in range(TOGETHER - 1):  # Its beginning is an event, too.
                thing.happen(number, "text")
            application.save(thing)

    return timed(count, save)


def python_of_the_package() -> str:
    """Returns the interpreter of the venv that holds the package; made on the first call."""
    python = os.path.join(VENV, "bin", "python")
    if not os.path.exists(python):
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", PACKAGE], check=True)
    return python


def measured(python: str, what: str, row: str, count: int, folder: str | None) -> list[float]:
    with tempfile.TemporaryDirectory(prefix="bench-events-", dir=folder) as place:
        ran = subprocess.run(
            [python, os.path.abspath(__file__), "--one", what, row, str(count), place],
            env={**os.environ, "PYTHONPATH": os.getcwd() if what == "coopy" else ""},
            capture_output=True,
            text=True,
            check=False,
        )
    if ran.returncode:
        raise SystemExit(f"{what}, {row}:\n{ran.stderr}")
    return list(map(float, ran.stdout.split()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dir")
    parser.add_argument("--json")
    parser.add_argument("--check", action="store_true", help="fails if a goal is not met")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        what, row, count, folder = given.one
        print(*{"coopy": coopy, "package": package}[what](row, int(count), folder))
        return
    python, found = python_of_the_package(), {}
    print(
        f"events a second, medians of {given.rounds}; and the ratio of what a second of the processor does, for a machine that is busy"
    )
    print(f"{'':32}{'coopy':>12}{PACKAGE:>24}{'ratio':>8}{'processor':>12}")
    for row in ROWS:
        count = max(given.events // FEWER.get(row, 1), BATCH)
        pairs = [
            (measured(sys.executable, "coopy", row, count, given.dir), measured(python, "package", row, count, given.dir))
            for _ in range(given.rounds)
        ]
        ours, theirs = (statistics.median(each[0] for each in side) for side in zip(*pairs, strict=True))
        ratio, processor = (statistics.median(one[kind] / other[kind] for one, other in pairs) for kind in (0, 1))
        found[row] = {"coopy": ours, "package": theirs, "ratio": ratio, "processor": processor}
        print(f"{row:32}{ours:12,.0f}{theirs:24,.0f}{ratio:8.1f}{processor:12.1f}", flush=True)
    if given.json:
        with open(given.json, "w", encoding="utf-8") as file:
            json.dump(found, file, indent=1)
    if given.check and found[ROWS[0]]["ratio"] < GOAL:
        sys.exit(f"{ROWS[0]}: the goal is {GOAL} times the package")


if __name__ == "__main__":
    main()
