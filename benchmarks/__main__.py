"""Measures, in one run and in turn, coopy and the raw limit of the same work, and prints a table.

python -m benchmarks [--peers] [--quick] [--rounds N] [--only WORD] [--json FILE] [--dir DIR] [--check]
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import coopy
from benchmarks import peers, raw, rich
from benchmarks.workload import Bank, Store, deposits, gets, rate_of_threads, seconds_of
from coopy.proof.comparing import Comparing
from coopy.proof.proving import Proving


class Row:
    """One line of the table: medians, their ratio, and the goal."""

    def __init__(self, what: str, unit: str, ours: list[float], raw: list[float], goal: float, *, rate: bool = False) -> None:
        self.what = what
        self.unit = unit
        self.ours = statistics.median(ours)
        self.raw = statistics.median(raw)
        # Round by round: the machine's speed drifts, a pair measured in turn drifts with it.
        self.ratio = statistics.median(mine / limit for mine, limit in zip(ours, raw, strict=True))
        self.goal = goal
        self.holds = self.ratio >= goal if rate else self.ratio <= goal
        self.rate = rate

    def __str__(self) -> str:
        sign = ">=" if self.rate else "<="
        verdict = "holds" if self.holds else "falls short"
        return (
            f"{self.what:<46} {self.ours:>12,.3f} {self.raw:>12,.3f} {self.unit:<5} {self.ratio:>6.2f}"
            f"  {sign} {self.goal:<5g} {verdict}"
        )


class Run:
    """The settings of a run, and a directory that is new for each measurement."""

    def __init__(self, directory: str, rounds: int, quick: bool) -> None:
        self.directory = directory
        self.rounds = rounds
        self.scale = 50 if quick else 1
        self._number = 0

    def path(self, name: str = "data") -> str:
        self._number += 1
        path = os.path.join(self.directory, f"{self._number}-{name}")
        return path

    def pairs(self, ours: Callable[[], float], raw: Callable[[], float]) -> tuple[list[float], list[float]]:
        mine, limits = [], []
        for number in range(self.rounds):
            if sys.stderr.isatty():
                sys.stderr.write(f"\r\x1b[Kround {number + 1} of {self.rounds}")
            limits.append(raw())
            mine.append(ours())
        if sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K")
        return mine, limits


def bank(run: Run, durability: str) -> Any:
    return coopy.init_system(Bank, run.path("bank"), durability=durability, validation="off")


def buffered(run: Run, with_peers: bool) -> Iterator[Row]:
    count = 200_000 // run.scale
    system = bank(run, "buffered")
    deposits(system.deposit, count)
    path = run.path("raw")
    ours, limits = run.pairs(
        lambda: seconds_of(lambda: deposits(system.deposit, count)) / count * 1e6,
        lambda: seconds_of(raw.append(path, count)) / count * 1e6,
    )
    yield Row("buffered write, one thread", "us", ours, limits, 1.8)
    if with_peers:
        few = count // 10
        theirs = [peers.coopy_070(run.path("coopy070"), few) / few * 1e6 for _ in range(run.rounds)]
        yield Row("  rate against coopy 0.7.0, buffered", "1/us", *_rates(ours, theirs), 8, rate=True)
        theirs = [seconds_of(peers.sqlite(run.path("sqlite"), few)) / few * 1e6 for _ in range(run.rounds)]
        yield Row("  rate against sqlite3, WAL, synchronous=OFF", "1/us", *_rates(ours, theirs), 2, rate=True)
    system.close()


def _rates(ours: list[float], theirs: list[float]) -> tuple[list[float], list[float]]:
    return [1 / each for each in ours], [1 / each for each in theirs]


def synced(run: Run) -> Iterator[Row]:
    count = 2_000 // run.scale
    system = bank(run, "sync")
    limit = raw.Synced(run.path("raw"))
    deposits(system.deposit, count)
    deposits(limit.deposit, count)
    ours, limits = run.pairs(
        lambda: seconds_of(lambda: deposits(system.deposit, count)) / count * 1e6,
        lambda: seconds_of(lambda: deposits(limit.deposit, count)) / count * 1e6,
    )
    yield Row("sync write, one thread", "us", ours, limits, 1.25)
    system.close()
    limit.close()
    for threads in (16, 64):
        calls = 1_000 * threads // run.scale

        def best() -> float:
            found = []
            for design in raw.GROUP_COMMITS:
                limit = design(run.path("raw"))
                share = calls // (4 if design is raw.Gate else 1)
                found.append(rate_of_threads(limit.deposit, threads, max(share, threads)) / 1000)
                limit.close()
            return max(found)

        def mine() -> float:
            system = bank(run, "sync")
            rate = rate_of_threads(system.deposit, threads, calls) / 1000
            system.close()
            return rate

        yield Row(f"sync write, {threads} threads, thousands a second", "k/s", *run.pairs(mine, best), 0.8, rate=True)


def read(run: Run) -> Iterator[Row]:
    count = 1_000_000 // run.scale
    system = bank(run, "sync")
    plain = Bank()
    for deposit in (system.deposit, plain.deposit):
        deposits(deposit, 100)
    ours, limits = run.pairs(
        lambda: seconds_of(lambda: gets(system.get, count)) / count * 1e6,
        lambda: seconds_of(lambda: gets(plain.get, count)) / count * 1e6,
    )
    yield Row("@readonly call, against the bare call", "us", ours, limits, 5)
    yield Row("  the same, against 1 us", "us", ours, [1.0] * len(ours), 1)
    system.close()


def _in_a_process(*arguments: str) -> float:
    # With compiled modules, as an installed package has them.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.once", *arguments],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    return float(ran.stdout.split()[-1])


def restoring(run: Run) -> Iterator[Row]:
    count = 1_000_000 // run.scale
    directory, batches = run.path("million"), run.path("batches")
    system = coopy.init_system(Bank, directory, durability="buffered", validation="off")
    deposits(system.deposit, count)
    system.close()
    raw.write_batches(batches, count)
    ours, limits = run.pairs(lambda: _in_a_process("open", "Bank", directory), lambda: _in_a_process("batches", batches))
    yield Row(f"replay of {count:,} actions", "s", ours, limits, 2)

    directory, pickled = run.path("objects"), run.path("pickle")
    _in_a_process("make-store", directory, pickled, str(count))
    ours, limits = run.pairs(lambda: _in_a_process("open", "Store", directory), lambda: _in_a_process("unpickle", pickled))
    yield Row(f"load of a snapshot of {count:,} objects", "s", ours, limits, 1.2)


def arguments(run: Run, with_peers: bool) -> Iterator[Row]:
    """Calls with what real programs pass, in processor time: see `benchmarks.rich`."""
    count = 100_000 // run.scale
    for kind, figures in rich.table(run.path, list(rich.KINDS), count, run.rounds):
        is_plain = kind.name == "str, int"
        most = rich.COPY_AT_MOST if kind.is_mutable else rich.WRITE_AT_MOST
        yield Row(f"write: {kind.name}", "us", figures.write, figures.raw_write, most)
        most = rich.PLAIN_REPLAY_AT_MOST if is_plain else rich.REPLAY_AT_MOST
        yield Row(f"  replay: {kind.name}", "us", figures.replay, figures.raw_replay, most)
        if with_peers and kind.name in rich.ISSUE:
            for name, took in rich.others(run.path, kind, count // 10).items():
                yield Row(f"  write, in times what {name} takes", "us", figures.write, [took] * run.rounds, 1)


def pause(run: Run) -> Iterator[Row]:
    count = 1_000_000 // run.scale
    system = coopy.init_system(Store(count), run.path("store"), durability="buffered", validation="off")
    gc.collect()
    worst = []
    for _ in range(run.rounds):
        system.touch(0)
        done = threading.Event()

        def snapshot() -> None:
            coopy.control(system).take_snapshot()
            done.set()

        thread = threading.Thread(target=snapshot)
        longest, number = 0.0, 0
        thread.start()
        while not done.is_set():
            began = time.perf_counter()
            system.touch(number * 7919 % count)
            longest = max(longest, time.perf_counter() - began)
            number += 1
        thread.join()
        worst.append(longest * 1000)
    yield Row(f"longest call during a snapshot of {count:,}", "ms", worst, [50.0] * len(worst), 1)
    yield Row("  the longest of all rounds", "ms", [max(worst)], [50.0], 1)
    system.close()


@contextmanager
def no_proof() -> Iterator[None]:
    """Systems that are opened meanwhile say nothing of their state, and compare nothing."""
    before = {name: getattr(Proving, name) for name in ("look", "last_look", "with_snapshot", "begin")}
    checks = Comparing.check_itself
    Proving.look = lambda self, machine: False  # type: ignore[method-assign]
    Proving.last_look = Proving.with_snapshot = lambda self, machine: None  # type: ignore[method-assign, assignment]
    Proving.begin = lambda self, start, last: before["begin"](self, start, -1)  # type: ignore[method-assign]
    Comparing.check_itself = lambda self, newest: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(Proving, name, function)
        Comparing.check_itself = checks  # type: ignore[method-assign]


def proof(run: Run) -> Iterator[Row]:
    """What it costs by default that replay proves itself: the same without, in turn."""

    def without(measure: Callable[[], float]) -> Callable[[], float]:
        def measured() -> float:
            with no_proof():
                return measure()

        return measured

    count = 200_000 // run.scale

    def calls() -> float:
        system = bank(run, "buffered")
        began = time.thread_time()
        deposits(system.deposit, count)
        took = time.thread_time() - began
        system.close()
        return took / count * 1e6

    yield Row("buffered write, first calls and all", "us", *run.pairs(calls, without(calls)), 1.03)
    for size in (1_000, 10_000, 100_000, 1_000_000):
        objects = max(size // run.scale, 100)

        def store() -> Any:
            return coopy.init_system(Store(objects), run.path("store"), durability="buffered", validation="off")

        def closing() -> float:
            system = store()
            system.touch(0)
            return seconds_of(system.close) * 1000

        def snapshot() -> float:
            system = store()
            system.touch(0)
            took = seconds_of(system.take_snapshot) * 1000
            system.close()
            return took

        closed: dict[bool, str] = {}
        for is_on in (True, False):
            with nullcontext() if is_on else no_proof():
                system = store()
                system.touch(0)
                closed[is_on] = coopy.control(system).basedir
                system.close()

        def opening(is_on: bool) -> Callable[[], float]:
            def measure() -> float:
                began = time.perf_counter()
                system = coopy.init_system(Store, closed[is_on], durability="buffered", validation="off")
                took = time.perf_counter() - began
                system.close()
                return took * 1000

            return measure

        yield Row(f"closing a state of {objects:,} objects", "ms", *run.pairs(closing, without(closing)), math.inf)
        yield Row(f"a snapshot of {objects:,} objects", "ms", *run.pairs(snapshot, without(snapshot)), math.inf)
        yield Row(f"opening a state of {objects:,} objects", "ms", *run.pairs(opening(True), opening(False)), math.inf)


def importing(run: Run) -> Iterator[Row]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = run.path("pycache")

    def used() -> float:
        of_children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return of_children.ru_utime + of_children.ru_stime

    def start(program: str) -> float:
        began = used()
        subprocess.run([sys.executable, "-c", program], check=True, env=environment)
        return (used() - began) * 1000

    start("from coopy import init_system; import sqlite3, json")
    rounds = max(20, run.rounds) if run.scale == 1 else 3
    took, opens, limits = [], [], []
    for _ in range(rounds):
        bare = start("pass")
        limits.append(start("import sqlite3, json, threading, pickle") - bare + 10)
        took.append(start("import coopy, sys; assert 'dill' not in sys.modules") - bare)
        opens.append(start("from coopy import init_system") - bare)
    # Medians each: the start of a process may take twice as long as that of the one before.
    yield Row("import coopy", "ms", [statistics.median(took)], [statistics.median(limits)], 1)
    yield Row("  from coopy import init_system", "ms", [statistics.median(opens)], [statistics.median(limits)], math.inf)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each measurement (5)")
    parser.add_argument("--quick", action="store_true", help="a fiftieth of the work, to see that it runs")
    parser.add_argument("--peers", action="store_true", help="with coopy 0.7.0 (its own venv) and sqlite3")
    parser.add_argument("--only", default="", help="only the groups whose name holds this word")
    parser.add_argument("--json", help="also write the figures to this file")
    parser.add_argument("--dir", default=".", help="where to make the data; a real disk, not a memory one")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a goal is not met")
    options = parser.parse_args()
    groups: dict[str, Callable[[Run], Iterator[Row]]] = {
        "buffered": lambda run: buffered(run, options.peers),
        "sync": synced,
        "read": read,
        "restore": restoring,
        "arguments": lambda run: arguments(run, options.peers),
        "pause": pause,
        "proof": proof,
        "import": importing,
    }
    directory = tempfile.mkdtemp(prefix=".bench-data-", dir=os.path.abspath(options.dir))
    rows = []
    print(f"{'':<46} {'coopy':>12} {'raw':>12} {'':<5} {'ratio':>6}  goal")
    try:
        run = Run(directory, 2 if options.quick else options.rounds, options.quick)
        for name, group in groups.items():
            if options.only in name:
                for row in group(run):
                    rows.append(row)
                    print(row, flush=True)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print(f"medians of {run.rounds} rounds, Python {sys.version.split()[0]}, {os.cpu_count()} cores")
    if options.json:
        with open(options.json, "w") as file:
            json.dump([vars(row) for row in rows], file, indent=1)
    return int(options.check and not all(row.holds for row in rows))


if __name__ == "__main__":
    sys.exit(main())
