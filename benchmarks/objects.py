"""Many objects on one log: `coopy.objects` beside the raw limit of the same work, in turn.

    python -m benchmarks.objects [--calls N] [--keys N] [--passive N] [--alarms N] [--rounds N] [--dir DIR] [--only TEXT]

Raw is a group commit without a library around it (`benchmarks.raw`, `benchmarks.aio`): it knows one object. Of each row the rate, the ratio to
raw in the same round, and the processor time of a call are told; on a machine that is not quiet only the ratio and the processor mean much.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import coopy
import coopy.aio
from benchmarks.aio import Queued
from benchmarks.raw import Synced
from benchmarks.workload import NAMES
from coopy.objects import alarm

TASKS = 1000  # So many callers at once.
SET_S = 8.0  # In this time all alarms are set, before the first is due.


class Account:
    """A small object."""

    def __init__(self) -> None:
        self.balance = 0

    def deposit(self, who: str, amount: int) -> int:
        self.balance += amount
        return self.balance

    @coopy.readonly
    def get(self) -> int:
        return self.balance


class Clocked:
    """An object that is woken at a time."""

    late: list[float] = []

    def wake_at(self, at: float) -> None:
        alarm("woken", at, at=at)

    def woken(self, at: float) -> None:
        if not coopy.replaying():
            self.late.append(time.time() - at)  # coopy: ignore[CPY101, CPY212]


class Measured:
    """Seconds of the clock and of the processor, for some calls."""

    def __init__(self, function: Callable[[], object], calls: int) -> None:
        wall, processor = time.perf_counter(), time.process_time()
        function()
        self.rate = calls / (time.perf_counter() - wall)
        self.processor_us = (time.process_time() - processor) / calls * 1e6


def one_caller(folder: Path, given: argparse.Namespace) -> tuple[Measured, Measured]:
    calls = max(given.calls // 10, 1)
    raw = Synced(str(folder / "raw"))
    bare = Measured(lambda: [raw.deposit(NAMES[0], 1) for _ in range(calls)], calls)
    with coopy.objects(Account, folder / "objects") as accounts:
        account = accounts["one"]
        account.deposit("", 0)
        ours = Measured(lambda: [account.deposit(NAMES[0], 1) for _ in range(calls)], calls)
    return ours, bare


def many_tasks(folder: Path, given: argparse.Namespace, keys: int) -> tuple[Measured, Measured]:
    each = max(given.calls // TASKS, 1)
    calls = each * TASKS

    async def all_of(deposit: Callable[[int, int], Any]) -> None:
        async def work(task: int) -> None:
            for number in range(each):
                await deposit(task, number)

        await asyncio.gather(*map(work, range(TASKS)))

    async def bare() -> Measured:
        raw = Queued(str(folder / "raw"))
        began = time.perf_counter(), time.process_time()
        await all_of(lambda task, number: raw.deposit(NAMES[task % 100], number))
        return _since(began, calls)

    async def ours() -> Measured:
        async with coopy.aio.objects(Account, folder / "objects") as accounts:
            names = [f"account {number}" for number in range(keys)]
            began = time.perf_counter(), time.process_time()
            await all_of(lambda task, number: accounts[names[(task * 31 + number * 997) % keys]].deposit("who", number))
            return _since(began, calls)

    return asyncio.run(ours()), asyncio.run(bare())


def _since(began: tuple[float, float], calls: int) -> Measured:
    found = Measured(lambda: None, 1)
    found.rate = calls / (time.perf_counter() - began[0])
    found.processor_us = (time.process_time() - began[1]) / calls * 1e6
    return found


def sqlite_for_all(folder: Path, given: argparse.Namespace) -> tuple[Measured, Measured]:
    """One database, a row for each key, one transaction a call: what a caller by itself gets."""
    calls = max(given.calls // 10, 1)
    database = sqlite3.connect(folder / "all.db", isolation_level=None)
    database.execute("pragma journal_mode=wal")
    database.execute("pragma synchronous=full")
    database.execute("create table accounts (key text primary key, balance integer)")
    add = "insert into accounts values (?, ?) on conflict (key) do update set balance = balance + excluded.balance"
    found = Measured(lambda: [database.execute(add, (f"account {number % 1000}", 1)) for number in range(calls)], calls)
    database.close()
    raw = Synced(str(folder / "raw"))
    return found, Measured(lambda: [raw.deposit(NAMES[0], 1) for _ in range(calls)], calls)


def cold(folder: Path, given: argparse.Namespace) -> str:
    """The first call of an object that was dropped."""
    with coopy.objects(Account, folder / "objects", durability="buffered") as accounts:
        for number in range(given.keys):
            for _ in range(3):
                accounts[f"account {number}"].deposit("who", 1)
        accounts.passivate()
        took, processor = [], []
        for number in range(0, given.keys, 7):
            account = accounts[f"account {number}"]
            began, busy = time.perf_counter(), time.thread_time()
            assert account.get() == 3
            processor.append(time.thread_time() - busy)
            took.append(time.perf_counter() - began)
    said = ("of the clock", took), ("of the processor", processor)
    parts = [
        f"median {times[len(times) // 2] * 1e3:.3f} ms, 99% {times[len(times) * 99 // 100] * 1e3:.3f} ms {what}"
        for what, times in ((what, sorted(times)) for what, times in said)
    ]
    return f"{'; '.join(parts)}; of {len(took)}"


_START = """
import sys, time, resource
import coopy
from benchmarks.objects import Account
began = time.perf_counter()
accounts = coopy.objects(Account, sys.argv[1])
took = time.perf_counter() - began
accounts["account 5"].get()
for line in open("/proc/self/status"):
    if line.startswith("VmRSS"):
        print(len(accounts), took, int(line.split()[1]) / 1024)
"""


def passive(folder: Path, given: argparse.Namespace) -> str:
    """A process that opens many keys and calls one."""

    async def fill() -> None:
        async with coopy.aio.objects(Account, folder / "objects", durability="buffered") as accounts:

            async def work(task: int) -> None:
                for number in range(task, given.passive, TASKS):
                    await accounts[f"account {number}"].deposit("who", 1)

            await asyncio.gather(*map(work, range(TASKS)))

    began = time.perf_counter()
    asyncio.run(fill())
    filled = time.perf_counter() - began
    said = subprocess.run(
        [sys.executable, "-c", _START, str(folder / "objects")], capture_output=True, text=True, check=True, timeout=300
    ).stdout.split()
    return f"{said[0]} keys, made in {filled:.0f} s: start {float(said[1]):.2f} s, {float(said[2]):.0f} MB in all"


def alarms(folder: Path, given: argparse.Namespace) -> str:
    """Many alarms pending, and some of them due in the seconds to come."""
    Clocked.late = []
    with coopy.objects(Clocked, folder / "objects", durability="buffered") as clocks:
        for number in range(given.alarms):
            clocks[f"later {number}"].wake_at(time.time() + 86_400 + number)
        due = 1000
        now = time.time() + SET_S
        for number in range(due):
            clocks[f"soon {number}"].wake_at(now + number / 500)
        while len(Clocked.late) < due and time.time() < now + 60:
            time.sleep(0.05)
    late = sorted(Clocked.late)
    return f"{given.alarms} pending, {len(late)} due in 2 s: median {late[len(late) // 2] * 1e3:.1f} ms late, 99% {late[len(late) * 99 // 100] * 1e3:.1f} ms"


def rows(given: argparse.Namespace) -> Iterator[tuple[str, Callable[[Path], Any]]]:
    """Yields what is measured: each with its name."""
    yield "one caller, one key, sync", lambda folder: one_caller(folder, given)
    yield f"{TASKS} tasks, {given.keys} keys, sync", lambda folder: many_tasks(folder, given, given.keys)
    yield f"{TASKS} tasks, one hot key, sync", lambda folder: many_tasks(folder, given, 1)
    yield "one caller, sqlite3, 1,000 rows", lambda folder: sqlite_for_all(folder, given)
    yield "cold activation", lambda folder: cold(folder, given)
    yield "passive keys", lambda folder: passive(folder, given)
    yield "alarms", lambda folder: alarms(folder, given)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("calls", 20_000), ("keys", 10_000), ("passive", 100_000), ("alarms", 10_000), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--dir")
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    for name, measure in rows(given):
        if given.only not in name:
            continue
        found: list[Any] = []
        for _ in range(given.rounds):
            folder = Path(tempfile.mkdtemp(dir=given.dir))
            found.append(measure(folder))
            shutil.rmtree(folder)
            if isinstance(found[0], str):
                break
        if isinstance(found[0], str):
            print(f"{name}: {found[0]}", flush=True)
            continue
        ours, bare = ([pair[which] for pair in found] for which in (0, 1))
        print(
            f"{name}: {statistics.median(each.rate for each in ours):,.0f}/s, raw {statistics.median(each.rate for each in bare):,.0f}/s, "
            f"ratio {statistics.median(one.rate / other.rate for one, other in found):.2f}, "
            f"processor {statistics.median(each.processor_us for each in ours):.1f} us a call, "
            f"raw {statistics.median(each.processor_us for each in bare):.1f}",
            flush=True,
        )
    os._exit(0)  # The threads of raw wait for ever.


if __name__ == "__main__":
    main()
