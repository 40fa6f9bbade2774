"""Many asyncio tasks that write, on disk: coopy.aio and the raw limit of the same work, in turn.

    python -m benchmarks.aio [--tasks N] [--calls N] [--rounds N] [--dir DIR] [--check]

The raw limit is a group commit without a library around it: calls are queued to a thread,
which encodes, writes and makes all that wait, syncs once, and tells the loop once. The designs
differ in what is written how, in what the tasks wait on, and in which thread encodes and calls.
The one with the best median is the limit.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import Context
from queue import SimpleQueue
from typing import Any, cast

import coopy.aio
from benchmarks.raw import PREALLOCATED, _preallocated, _record
from benchmarks.workload import NAMES, Bank

GOAL = 0.75
Deposit = Callable[[str, int], Awaitable[int]]


class Queued:
    """A thread that takes all that waits: encodes, one pwrite, calls, fdatasync, one word to the loop."""

    appends = False

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600) if self.appends else _preallocated(path)
        self._offset = 0
        self._bank = Bank()
        self._loop = asyncio.get_running_loop()
        self._queue: list[Any] = []
        self._asleep = False
        self._bell = threading.Lock()
        self._bell.acquire()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    async def deposit(self, who: str, amount: int) -> int:
        future: asyncio.Future[int] = self._loop.create_future()
        self._put([who, amount, future, 0])
        return await future

    def _put(self, slot: Any) -> None:
        self._queue.append(slot)
        if self._asleep:
            self._asleep = False
            self._bell.release()

    def _take(self) -> list[Any]:
        while not self._queue:
            self._asleep = True
            if not self._queue:
                self._bell.acquire()
            self._asleep = False
            self._bell.acquire(False)
        count = len(self._queue)
        batch = self._queue[:count]
        del self._queue[:count]
        return batch

    def _work(self) -> None:
        while True:
            batch = self._take()
            if batch[-1] is None:
                return
            self._write([_record(slot[0], slot[1]) for slot in batch])
            deposit = self._bank.deposit
            for slot in batch:
                slot[3] = deposit(slot[0], slot[1])
            os.fdatasync(self._fd)
            self._loop.call_soon_threadsafe(self._deliver, batch)

    def _write(self, records: list[bytes]) -> None:
        data = b"".join(records)
        if self.appends:
            os.write(self._fd, data)
        else:
            os.pwrite(self._fd, data, self._offset)
            self._offset += len(data)
        assert self._offset < PREALLOCATED

    def _deliver(self, batch: list[Any]) -> None:
        for slot in batch:
            slot[2].set_result(slot[3])

    def close(self) -> None:
        self._put(None)
        self._thread.join()
        os.close(self._fd)


class Appended(Queued):
    """The same, into a file that grows."""

    appends = True


class Direct(Queued):
    """The same; a task waits on something smaller than a future, and is woken without a turn of the loop."""

    async def deposit(self, who: str, amount: int) -> int:
        waiter = _Waiter(self._loop, who, amount)
        self._put(waiter)
        await waiter
        return waiter.value

    def _work(self) -> None:
        while True:
            batch = self._take()
            if batch[-1] is None:
                return
            self._write([_record(waiter.who, waiter.amount) for waiter in batch])
            deposit = self._bank.deposit
            for waiter in batch:
                waiter.value = deposit(waiter.who, waiter.amount)
            os.fdatasync(self._fd)
            self._loop.call_soon_threadsafe(self._deliver, batch)

    def _deliver(self, batch: list[Any]) -> None:
        for waiter in batch:
            waiter.context.run(waiter.callback, waiter)


class _Waiter:
    __slots__ = ("_asyncio_future_blocking", "_loop", "who", "amount", "value", "callback", "context")

    callback: Callable[[Any], object]
    context: Context
    value: int

    def __init__(self, loop: asyncio.AbstractEventLoop, who: str, amount: int) -> None:
        self._asyncio_future_blocking = True
        self._loop = loop
        self.who = who
        self.amount = amount

    def __await__(self) -> Generator[Any, None, None]:
        return cast("Generator[Any, None, None]", iter((self,)))

    def add_done_callback(self, callback: Callable[[Any], object], *, context: Context) -> None:
        self.callback = callback
        self.context = context

    def result(self) -> None:
        return None


class InTheLoop(Queued):
    """The loop encodes and calls; the thread writes and syncs."""

    async def deposit(self, who: str, amount: int) -> int:
        waiter = _Waiter(self._loop, who, amount)
        self._put((_record(who, amount), waiter))
        waiter.value = self._bank.deposit(who, amount)
        await waiter
        return waiter.value

    def _work(self) -> None:
        while True:
            batch = self._take()
            if batch[-1] is None:
                return
            self._write([record for record, _ in batch])
            os.fdatasync(self._fd)
            self._loop.call_soon_threadsafe(self._deliver, batch)

    def _deliver(self, batch: list[Any]) -> None:
        for _, waiter in batch:
            waiter.context.run(waiter.callback, waiter)


class Shared(Queued):
    """One future for all whose records go to disk together."""

    def __init__(self, path: str) -> None:
        self._gathering: asyncio.Future[None] | None = None
        super().__init__(path)

    async def deposit(self, who: str, amount: int) -> int:
        slot = [who, amount, 0]
        if self._gathering is None:
            self._gathering = self._loop.create_future()
            self._slots: list[Any] = []
            # What comes in this turn of the loop goes together.
            self._loop.call_soon(self._send)
        self._slots.append(slot)
        await self._gathering
        return cast(int, slot[2])

    def _send(self) -> None:
        self._put((self._gathering, self._slots))
        self._gathering = None

    def _work(self) -> None:
        while True:
            batches = self._take()
            if batches[-1] is None:
                return
            self._write([_record(slot[0], slot[1]) for _, slots in batches for slot in slots])
            deposit = self._bank.deposit
            for _, slots in batches:
                for slot in slots:
                    slot[2] = deposit(slot[0], slot[1])
            os.fdatasync(self._fd)
            self._loop.call_soon_threadsafe(self._deliver, batches)

    def _deliver(self, batch: list[Any]) -> None:
        for future, _ in batch:
            future.set_result(None)


class Overlapped(Direct):
    """A second thread syncs, while the first writes and calls what has come meanwhile."""

    def __init__(self, path: str) -> None:
        self._written: SimpleQueue[Any] = SimpleQueue()
        self._syncer = threading.Thread(target=self._sync)
        super().__init__(path)
        self._syncer.start()

    def _work(self) -> None:
        while True:
            batch = self._take()
            if batch[-1] is None:
                self._written.put(None)
                return
            self._write([_record(waiter.who, waiter.amount) for waiter in batch])
            deposit = self._bank.deposit
            for waiter in batch:
                waiter.value = deposit(waiter.who, waiter.amount)
            self._written.put(batch)

    def _sync(self) -> None:
        while True:
            batches = [self._written.get()]
            for _ in range(self._written.qsize()):
                batches.append(self._written.get())
            if batches[-1] is None:
                return
            os.fdatasync(self._fd)
            self._loop.call_soon_threadsafe(self._deliver_all, batches)

    def _deliver_all(self, batches: list[list[Any]]) -> None:
        for batch in batches:
            self._deliver(batch)

    def close(self) -> None:
        super().close()
        self._syncer.join()


DESIGNS = (Queued, Appended, Direct, InTheLoop, Shared, Overlapped)


async def rate(deposit: Deposit, tasks: int, calls: int) -> float:
    """Thousands of calls a second of so many tasks, each making its share of the calls."""
    share = calls // tasks

    async def work(who: str) -> None:
        for number in range(share):
            await deposit(who, number)

    gc.collect()
    began = time.perf_counter()
    await asyncio.gather(*(work(NAMES[number % 100]) for number in range(tasks)))
    return share * tasks / (time.perf_counter() - began) / 1000


async def raw_rate(design: type[Queued], path: str, tasks: int, calls: int) -> float:
    limit = design(path)
    try:
        return await rate(limit.deposit, tasks, calls)
    finally:
        limit.close()


async def our_rate(path: str, tasks: int, calls: int) -> float:
    async with coopy.aio.open(Bank, path, validation="off") as bank:
        return await rate(bank.deposit, tasks, calls)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.aio", description=__doc__)
    parser.add_argument("--tasks", type=int, default=1000, help="tasks at once (1000)")
    parser.add_argument("--calls", type=int, default=200_000, help="calls of each measurement (200000)")
    parser.add_argument("--rounds", type=int, default=20, help="rounds (20)")
    parser.add_argument("--dir", default=".", help="where to make the data; a real disk, not a memory one")
    parser.add_argument("--check", action="store_true", help="exit with 1 if the goal is not met")
    options = parser.parse_args()
    directory = tempfile.mkdtemp(prefix=".bench-data-", dir=os.path.abspath(options.dir))
    measures: list[tuple[str, Callable[[str], Coroutine[Any, Any, float]]]] = [("coopy.aio", _ours(options))]
    measures += [(f"raw {design.__name__}", _raw(design, options)) for design in DESIGNS]
    rates: dict[str, list[float]] = {name: [] for name, _ in measures}
    try:
        for number in range(options.rounds):
            # Each begins a round once, so that none has always the same one before it.
            for name, measure in measures[number % len(measures) :] + measures[: number % len(measures)]:
                path = os.path.join(directory, "data")
                rates[name].append(asyncio.run(measure(path)))
                (shutil.rmtree if os.path.isdir(path) else os.remove)(path)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    medians = {name: statistics.median(found) for name, found in rates.items()}
    ours = medians["coopy.aio"]
    print(f"{'':<16} {'median':>8} {'best':>8} k/s   coopy.aio to it")
    for name, median in medians.items():
        print(f"{name:<16} {median:>8.1f} {max(rates[name]):>8.1f} {ours / median:>14.2f}")
    ratio = ours / max(median for name, median in medians.items() if name != "coopy.aio")
    print(f"to the best median {ratio:.2f}, >= {GOAL} {'holds' if ratio >= GOAL else 'falls short'}")
    print(f"{options.rounds} rounds, {options.tasks} tasks, Python {sys.version.split()[0]}, {os.cpu_count()} cores")
    return int(options.check and ratio < GOAL)


def _ours(options: argparse.Namespace) -> Callable[[str], Coroutine[Any, Any, float]]:
    return lambda path: our_rate(path, options.tasks, options.calls)


def _raw(design: type[Queued], options: argparse.Namespace) -> Callable[[str], Coroutine[Any, Any, float]]:
    return lambda path: raw_rate(design, path, options.tasks, options.calls)


if __name__ == "__main__":
    sys.exit(main())
