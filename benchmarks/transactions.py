"""Measures what a raising @transactional call costs, and one that returns, with and without parts; prints a table.

python -m benchmarks.transactions [--objects N ...] [--rounds N] [--dir DIR]
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
from typing import Any

from benchmarks.workload import seconds_of
from coopy import control, init_system, transactional
from coopy.values.digest import digest


class Account:
    def __init__(self, number: int) -> None:
        self.number = number
        self.owner = f"owner {number}"
        self.balance = 100


class Bank:
    def __init__(self, count: int) -> None:
        self.accounts = {number: Account(number) for number in range(count)}
        self.log: list[int] = []

    def plain(self, number: int) -> None:
        self.log.append(number)

    @transactional
    def whole(self, number: int) -> None:
        self.log.append(number)
        if number < 0:
            raise ValueError(number)

    @transactional(parts=("log",))
    def small_part(self, number: int) -> None:
        self.log.append(number)
        if number < 0:
            raise ValueError(number)

    @transactional(parts=("accounts",))
    def large_part(self, number: int) -> None:
        self.accounts[0].balance += number
        if number < 0:
            raise ValueError(number)


def attempt(method: Any, number: int) -> None:
    with contextlib.suppress(ValueError):
        method(number)


def measure(count: int, rounds: int, folder: str) -> None:
    bank = init_system(Bank(count), tempfile.mkdtemp(dir=folder), validation="off", durability="buffered")
    state = control(bank)._system.engine
    print(f"{count:>12,} objects             call that returns    call that raises")
    for name in ("plain", "whole", "small_part", "large_part"):
        method = getattr(bank, name)
        returning = [seconds_of(lambda: method(0)) for _ in range(rounds)]
        raising = []
        if name != "plain":
            for _ in range(rounds):
                before = digest(state.machine.domain)
                raising.append(seconds_of(lambda: attempt(method, -1)))
                assert digest(state.machine.domain) == before, "a raising call left a trace"
        told = f"{statistics.median(raising) * 1e3:>13,.3f} ms" if raising else " " * 16
        print(f"{name:>32} {statistics.median(returning) * 1e3:>16,.3f} ms {told}")
    control(bank).close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--objects", type=int, nargs="*", default=[1_000, 100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dir")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.dir) as folder:
        for count in arguments.objects:
            measure(count, arguments.rounds, folder)


if __name__ == "__main__":
    main()
