"""A directory that several processes share, against what it stands on: `python -m benchmarks.shared`.

Prints medians, and the ratio to the raw figure measured in the same run. The rates are of 64 threads: in one process, and 16 in each of four, one of which
writes. sqlite3 (WAL, one upsert a call, a connection a thread) and diskcache, if it is installed, do the same with four processes.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import shutil
import socket
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from coopy import init_system, readonly

CALLS = 2000
ROUNDS = 5
PROCESSES, THREADS = 4, 16
SPAWN = multiprocessing.get_context("spawn")


class Bank:
    def __init__(self) -> None:
        self.balances: dict[int, int] = {}

    def pay(self, account: int, amount: int) -> int:
        found = self.balances[account] = self.balances.get(account, 0) + amount
        return found

    @readonly
    def balance(self, account: int) -> int:
        return self.balances.get(account, 0)


def median_us(function: Callable[[], object], calls: int = CALLS) -> float:
    taken = []
    for _ in range(calls):
        began = time.perf_counter()
        function()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1e6


# -- other processes


def echo(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        connection, _ = listening.accept()
        while data := connection.recv(65536):
            connection.sendall(data)


def write(path: str, durability: str, ready: Any, ends: Any) -> None:
    with init_system(Bank, path, shared=True, durability=durability):
        ready.set()
        ends.wait()


def load(kind: str, path: str, durability: str, threads: int, seconds: float, barrier: Any, done: Any) -> None:
    call, close = OPENED[kind](path, durability)
    barrier.wait()
    began_s, until, counts = time.process_time(), time.monotonic() + seconds, [0] * threads

    def run(number: int) -> None:
        pay = call()
        while time.monotonic() < until:
            pay(number)
            counts[number] += 1

    running = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for each in running:
        each.start()
    for each in running:
        each.join()
    done.put((sum(counts), time.process_time() - began_s))
    barrier.wait()
    close()


def of_coopy(path: str, durability: str, shared: bool = True) -> Any:
    bank: Any = init_system(Bank, path, shared=shared, durability=durability)
    return lambda: lambda account: bank.pay(account, 1), bank.close


def of_one_process(path: str, durability: str) -> Any:
    return of_coopy(path, durability, False)


def of_sqlite(path: str, durability: str) -> Any:
    def connected() -> Any:
        database = sqlite3.connect(path, timeout=60, isolation_level=None)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute(f"PRAGMA synchronous={'FULL' if durability == 'sync' else 'NORMAL'}")
        upsert = "INSERT INTO b VALUES (?, 1) ON CONFLICT (a) DO UPDATE SET n = n + 1"
        return lambda account: database.execute(upsert, (account,))

    with contextlib.suppress(sqlite3.OperationalError):
        sqlite3.connect(path, timeout=60).execute(
            "CREATE TABLE IF NOT EXISTS b (a INTEGER PRIMARY KEY, n INTEGER)"
        ).connection.commit()
    return connected, lambda: None


def of_diskcache(path: str, durability: str) -> Any:
    import diskcache

    cache = diskcache.Cache(path)
    return lambda: lambda account: cache.incr(account, 1, default=0), cache.close


OPENED = {"shared": of_coopy, "one process": of_one_process, "sqlite3": of_sqlite, "diskcache": of_diskcache}


def rate(kind: str, path: str, durability: str, processes: int, threads: int, seconds: float) -> tuple[float, float]:
    """Returns calls a second, and microseconds of processor time that each has taken in all processes."""
    barrier, done = SPAWN.Barrier(processes), SPAWN.Queue()
    arguments = (kind, path, durability, threads, seconds, barrier, done)
    running = [SPAWN.Process(target=load, args=arguments) for _ in range(processes)]
    for each in running:
        each.start()
    counted, spent_s = map(sum, zip(*(done.get() for _ in running), strict=True))
    for each in running:
        each.join()
    return counted / seconds, spent_s / counted * 1e6


# -- the rows


def calls(folder: Path) -> None:
    path, ready, ends = str(folder / "calls"), SPAWN.Event(), SPAWN.Event()
    other = SPAWN.Process(target=echo, args=(str(folder / "echo"),))
    other.start()
    while not (folder / "echo").exists():
        time.sleep(0.01)
    time.sleep(0.1)
    raw = socket.socket(socket.AF_UNIX)
    raw.connect(str(folder / "echo"))
    data = bytes(86)  # So many bytes a call of Bank.pay has on its way.
    writer = SPAWN.Process(target=write, args=(path, "buffered", ready, ends))
    writer.start()
    ready.wait()
    follower: Any = init_system(Bank, path, shared=True)
    alone: Any = init_system(Bank, folder / "alone", durability="buffered")
    rows: dict[str, list[float]] = {}

    def there_and_back() -> None:
        raw.sendall(data)
        raw.recv(65536)

    def both() -> None:
        follower.pay(1, 1)
        follower.balance(1)

    for _ in range(ROUNDS):
        for name, function in {
            "bare AF_UNIX round trip": there_and_back,
            "forwarded write, buffered": lambda: follower.pay(1, 1),
            "forwarded write and the read of it": both,
            "write in one process, buffered": lambda: alone.pay(1, 1),
            "read in one process": lambda: alone.balance(1),
            "read in a follower": lambda: follower.balance(1),
        }.items():
            rows.setdefault(name, []).append(median_us(function))
    found = {name: statistics.median(each) for name, each in rows.items()}
    for name, each in found.items():
        print(f"{name:40} {each:10.2f} us")
    write_, bare = found["forwarded write, buffered"], found["bare AF_UNIX round trip"]
    print(f"{'forwarded write / bare round trip':40} {write_ / bare:10.2f} x (goal 3)")
    print(
        f"{'read in a follower / in one process':40} {found['read in a follower'] / found['read in one process']:10.2f} x (goal 1.3)"
    )
    raw.close()
    follower.close()
    alone.close()
    ends.set()
    for process in (other, writer):
        process.join()


def rates(folder: Path, seconds: float) -> None:
    for durability in ("sync", "buffered"):
        found: dict[str, list[tuple[float, float]]] = {}
        for number in range(3):
            for kind, processes, threads in (
                ("one process", 1, PROCESSES * THREADS),
                ("shared", PROCESSES, THREADS),
                ("sqlite3", PROCESSES, THREADS),
                ("diskcache", PROCESSES, THREADS),
            ):
                path = str(folder / f"{kind.replace(' ', '')}{durability}{number}")
                with contextlib.suppress(ImportError):
                    if kind == "diskcache":
                        import diskcache  # noqa: F401
                    found.setdefault(kind, []).append(rate(kind, path, durability, processes, threads, seconds))
                shutil.rmtree(path, ignore_errors=True)
        for kind, each in found.items():
            middle, spent_us = (statistics.median(column) for column in zip(*each, strict=True))
            # Of rounds beside each other: the load changes.
            share = statistics.median(one[0] / other[0] for one, other in zip(each, found["one process"], strict=True))
            print(
                f"64 threads, {durability}: {kind:27} {middle:10.0f} /s  {share:6.0%} of one process  {spent_us:6.1f} us of processor a call"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", default=None, help="where to write: a real disk")
    parser.add_argument("--seconds", type=float, default=3.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.dir, ignore_cleanup_errors=True) as folder:
        print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
        calls(Path(folder))
        rates(Path(folder), given.seconds)


if __name__ == "__main__":
    main()
