"""How soon the next who waits has a lock after it was released, on disk: from one thread to another, and from one task to another.

    python -m benchmarks.locks [--rounds N] [--dir DIR] [--check]

Counted from before ``release()`` is called to the return of ``acquire()``. So it has the action of the release, its sync if the system is "sync", and what tells the one who waits.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

from coopy import aio, init_system
from coopy.sync import Lock, Locks

GOAL_S = 0.010


def until_two(locks: Any) -> bool:
    """Returns whether one holds the lock and another waits."""
    return len(locks.contenders("stock")) == 2


def of_threads(directory: str, durability: Any, rounds: int) -> list[float]:
    """Returns how many seconds each round took, between two threads."""
    took = []
    locks: Any = init_system(Locks, directory, durability=durability)
    with locks:
        first, second = Lock("stock", system=locks), Lock("stock", system=locks)
        got: list[float] = []

        def wait() -> None:
            second.acquire()
            got.append(time.perf_counter())
            second.release()

        for _ in range(rounds):
            first.acquire()
            thread = threading.Thread(target=wait)
            thread.start()
            while not until_two(locks):
                time.sleep(0.001)
            time.sleep(0.002)  # It is asleep by then.
            began = time.perf_counter()
            first.release()
            thread.join()
            took.append(got.pop() - began)
    return took


def of_tasks(directory: str, durability: Any, rounds: int) -> list[float]:
    """Returns how many seconds each round took, between two tasks."""

    async def run() -> list[float]:
        took = []
        async with aio.open(Locks, directory, durability=durability) as opened:
            locks = aio.system_of(opened)
            first, second = aio.Lock("stock", system=opened), aio.Lock("stock", system=opened)

            async def wait() -> float:
                async with second:
                    return time.perf_counter()

            for _ in range(rounds):
                await first.acquire()
                task = asyncio.ensure_future(wait())
                while not until_two(locks):
                    await asyncio.sleep(0.001)
                await asyncio.sleep(0.002)
                began = time.perf_counter()
                await first.release()
                took.append(await task - began)
        return took

    return asyncio.run(run())


def main() -> int:
    """Prints the table. Returns 1 if the goal was not met and ``--check`` was given."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.locks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--dir", default=None)
    parser.add_argument("--check", action="store_true", help="fail if a median is over the goal")
    options = parser.parse_args()
    kinds: list[tuple[str, Callable[[str, Any, int], list[float]]]] = [("threads", of_threads), ("tasks", of_tasks)]
    failed = False
    print(f"{'release to acquire':24} {'median':>10} {'95 of 100':>10} {'worst':>10}   goal for the median {GOAL_S * 1e3:g} ms")
    for durability in ("buffered", "sync"):
        for name, measure in kinds:
            with tempfile.TemporaryDirectory(prefix="coopy-bench-", dir=options.dir) as directory:
                took = sorted(measure(directory, durability, options.rounds))
            median = statistics.median(took)
            failed = failed or median > GOAL_S
            figures = (median, took[len(took) * 95 // 100], took[-1])
            print(f"{durability + ', ' + name:24} " + " ".join(f"{each * 1e3:7.2f} ms" for each in figures))
    return 1 if failed and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
