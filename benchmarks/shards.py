"""Objects over several processes: `coopy.objects(..., processes=N)` beside one process, in turn.

    python -m benchmarks.shards [--calls N] [--keys N] [--rounds N] [--kills N] [--durability sync|buffered] [--dir DIR] [--only TEXT]

"Callers in the workers" are tasks in each of the processes that have the objects, which call the keys of their own process (an effect starts them). "One
outside client" is a loop in the process that has opened the directory. Each row is measured with one process and with two, in turn; the ratio is that of
a round, and the median of all rounds is told. On a machine that is not quiet only the ratio, and the processor time of a call in all processes, mean much.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import shutil
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import coopy
import coopy.aio
from benchmarks import objects
from coopy.objects import handles, slots

loops: Any = importlib.import_module("coopy.aio.objects")  # The package has a function of that name.

TASKS = 1000  # So many callers at once, in all processes together.
WAIT_S = 0.5  # All begin so long after they were asked to.


class Account(objects.Account):
    """A small object; one of each process has its callers begin."""

    def drive(self, system: str, own: list[str], calls: int, tasks: int, at: float, said: str) -> None:
        coopy.on_commit(_drive, system, own, calls, tasks, at, said)


class _Worker(loops._Worker):  # type: ignore[misc]
    """What takes the calls of a loop in a process that has the directory open already."""

    def parts_of(self, system: Any) -> tuple[str, Any, Callable[[], object]]:
        return system.name, system.engine, lambda: None


def _drive(system: str, own: list[str], calls: int, tasks: int, at: float, said: str) -> None:
    """Calls some keys by many tasks, and writes down when that began and ended."""

    async def run() -> tuple[float, float]:
        found = handles.opened[system]
        worker = _Worker(asyncio.get_running_loop(), lambda loop: found)
        accounts: Any = loops.Objects(await worker.opened, found.of(Account), worker)
        each = calls // tasks

        async def work(task: int) -> None:
            for number in range(each):
                await accounts[own[(task * 31 + number * 997) % len(own)]].deposit("who", number)

        await asyncio.sleep(max(0.0, at - time.time()))
        began = time.time()
        await asyncio.gather(*map(work, range(tasks)))
        return began, time.time()

    found = asyncio.run(run())
    Path(f"{said}.tmp").write_text(json.dumps(found), encoding="ascii")
    os.replace(f"{said}.tmp", said)


def opened(folder: Path, processes: int, given: argparse.Namespace) -> Any:
    return coopy.objects(
        Account, folder / "objects", processes=processes, durability=given.durability, validation="off", memory=1 << 30
    )


class Busy:
    """Says how long the processors were busy with this process and with those that have the objects; Linux."""

    def __init__(self, workers: list[int]) -> None:
        self._workers = workers
        self._before = self._now()

    def _now(self) -> float:
        found = time.process_time()
        for pid in self._workers:
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
            found += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return found

    def us(self, calls: int) -> float:
        """Returns the time of a call, in microseconds."""
        return (self._now() - self._before) / calls * 1e6


def pids(status: Any) -> list[int]:
    return [each["pid"] for each in status.get("processes", ())]


def in_the_workers(folder: Path, processes: int, given: argparse.Namespace) -> tuple[float, float]:
    """Returns calls a second of tasks in the processes that have the objects, and the processor time of a call."""
    names = [f"account {number}" for number in range(given.keys)]
    shards = [[each for each in names if slots.shard_of(each.encode(), processes) == shard] for shard in range(processes)]
    with opened(folder, processes, given) as accounts:
        files = [folder / f"said {shard}" for shard in range(processes)]
        busy, at = Busy(pids(accounts.status())), time.time() + WAIT_S
        for own, file in zip(shards, files, strict=True):
            share = given.calls // processes, TASKS // processes
            accounts[own[0]].drive(accounts.kind.system, own, *share, at, str(file))
        while not all(map(Path.exists, files)):
            time.sleep(0.01)
        took_us = busy.us(given.calls)
        times = [json.loads(file.read_text(encoding="ascii")) for file in files]
    return given.calls / (max(end for _, end in times) - min(begin for begin, _ in times)), took_us


def outside(folder: Path, processes: int, given: argparse.Namespace) -> tuple[float, float]:
    """Returns the same of tasks in one loop, in the process that has opened the directory."""
    each = given.calls // TASKS

    async def run() -> tuple[float, float]:
        async with coopy.aio.objects(
            Account, folder / "objects", processes=processes, durability=given.durability, validation="off", memory=1 << 30
        ) as accounts:

            async def work(task: int) -> None:
                for number in range(each):
                    await accounts[f"account {(task * 31 + number * 997) % given.keys}"].deposit("who", number)

            busy, began = Busy(pids(await asyncio.to_thread(accounts.status))), time.perf_counter()
            await asyncio.gather(*map(work, range(TASKS)))
            return each * TASKS / (time.perf_counter() - began), busy.us(each * TASKS)

    return asyncio.run(run())


def one_caller(folder: Path, processes: int, given: argparse.Namespace) -> tuple[float, float]:
    """Returns the same of one thread on one key."""
    calls = max(given.calls // 50, 1)
    with opened(folder, processes, given) as accounts:
        account = accounts["one"]
        account.deposit("who", 1)
        busy, began = Busy(pids(accounts.status())), time.perf_counter()
        for number in range(calls):
            account.deposit("who", number)
        return calls / (time.perf_counter() - began), busy.us(calls)


def kills(folder: Path, given: argparse.Namespace) -> str:
    """How long keys of a process that is killed are not served: the longest call of one caller that calls without a pause."""
    names = [f"account {number}" for number in range(given.keys)]
    with opened(folder, 2, given) as accounts:
        for name in names:
            accounts[name].deposit("who", 1)
        mine = [each for each in names if slots.shard_of(each.encode(), 2) == 1]
        took, ended = [0.0], threading.Event()

        def call() -> None:
            number = 0
            while not ended.is_set():
                began = time.perf_counter()
                accounts[mine[number % len(mine)]].deposit("who", 1)
                took.append(time.perf_counter() - began)
                number += 1

        thread = threading.Thread(target=call)
        thread.start()
        longest = []
        for _ in range(given.kills):
            time.sleep(0.5)
            pid = accounts.status()["processes"][1]["pid"]
            took.clear()
            os.kill(pid, signal.SIGKILL)
            time.sleep(1.5)
            while not took:
                time.sleep(0.1)
            longest.append(max(took))
        ended.set()
        thread.join()
    longest.sort()
    return (
        f"{len(longest)} kills of a process with {len(mine)} keys: the longest call after each, median {statistics.median(longest) * 1e3:.0f} ms, "
        f"95% {longest[int(len(longest) * 0.95)] * 1e3:.0f} ms, longest {longest[-1] * 1e3:.0f} ms"
    )


def moves(folder: Path, given: argparse.Namespace) -> str:
    """How long it takes to spread objects over another number of processes."""
    with opened(folder, 2, given) as accounts:
        found = accounts.status()
        for number in range(given.keys):
            for _ in range(3):
                accounts[f"account {number}"].deposit("who", 1)
        found = accounts.status()
    began = time.perf_counter()
    with opened(folder, 3, given) as accounts:
        took = time.perf_counter() - began
        assert len(accounts) == given.keys
    return f"{given.keys} keys, {found['last']} records, from 2 processes to 3: {took:.2f} s"


ROWS = (
    (f"{TASKS} tasks, callers in the workers", in_the_workers),
    (f"{TASKS} tasks, one outside client", outside),
    ("one caller, one key", one_caller),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("calls", 100_000), ("keys", 10_000), ("rounds", 5), ("kills", 20)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--durability", default="sync")
    parser.add_argument("--dir")
    parser.add_argument("--only", default="")
    given = parser.parse_args()

    def in_a_folder(measure: Callable[..., Any], *args: Any) -> Any:
        folder = Path(tempfile.mkdtemp(dir=given.dir))
        try:
            return measure(folder, *args, given)
        finally:
            shutil.rmtree(folder)

    for name, measure in ROWS:
        if given.only in name:
            found = [[in_a_folder(measure, processes) for processes in (1, 2)] for _ in range(given.rounds)]
            medians = [[statistics.median(each[n][which] for each in found) for which in (0, 1)] for n in (0, 1)]
            ratio = statistics.median(each[1][0] / each[0][0] for each in found)
            told = (f"{rate:,.0f}/s, processor {busy_us:.1f} us a call" for rate, busy_us in medians)
            print(f"{name}, {given.durability}: 1 process {'; 2 processes '.join(told)}; ratio {ratio:.2f}", flush=True)
    for name, tell in (("kills", kills), ("moves", moves)):
        if given.only in name:
            print(f"{name}: {in_a_folder(tell)}", flush=True)


if __name__ == "__main__":
    main()
