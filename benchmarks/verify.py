"""Measures a digest against a pickle of the same state, and `verify` against a plain replay; prints two tables.

    python -m benchmarks.verify [--actions N] [--rounds N] [--dir DIR]

Goals: a digest in 3 times the time of `pickle.dumps`, protocol 5, for states as they usually are; verify,
without ``twice``, in 3 times that of a replay.
"""

from __future__ import annotations

import argparse
import os
import pickle
import statistics
import tempfile
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import coopy
from benchmarks.workload import Bank, Store, deposits, seconds_of
from coopy.tools.verify import verify
from coopy.values.digest import digest

GOAL = 3.0


class Slotted:
    __slots__ = ("name", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.name = f"name {number}"


class Order:
    """What an application keeps: a few attributes of several kinds."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.at = datetime(2020, 1, 1) + timedelta(minutes=number)
        self.total = Decimal(number) / 100
        self.lines = [(number, f"article {number}", 1.5)]
        self.marks = {"new", f"of {number % 10}"}
        self.address = {"street": f"Street {number}", "city": "Oslo"}


def accounts(count: int) -> Bank:
    bank = Bank()
    bank.accounts = {f"account{number}": number for number in range(count)}
    return bank


STATES: dict[str, Callable[[], Any]] = {
    "a dict of 300,000 numbers": lambda: accounts(300_000),
    "200,000 objects of three attributes": lambda: Store(200_000),
    "100,000 objects with slots": lambda: [Slotted(number) for number in range(100_000)],
    "30,000 orders with lists, dicts, sets, dates": lambda: [Order(number) for number in range(30_000)],
    "100,000 dicts, as of JSON": lambda: [{"id": n, "name": f"n{n}", "price": n * 1.5} for n in range(100_000)],
    "100,000 tuples": lambda: [(number, f"x{number}") for number in range(100_000)],
    "100,000 lists of two numbers": lambda: [[number, number + 1] for number in range(100_000)],
    "a set of 200,000 texts": lambda: {f"word {number}" for number in range(200_000)},
}


def row(what: str, ours: list[float], raw: list[float]) -> None:
    ratio = statistics.median(mine / limit for mine, limit in zip(ours, raw, strict=True))
    verdict = "holds" if ratio <= GOAL else "falls short"
    print(f"{what:<46} {statistics.median(ours):>9.3f} {statistics.median(raw):>9.3f} s {ratio:>6.2f}  <= {GOAL:g} {verdict}")


def digests(rounds: int) -> None:
    print(f"{'':<46} {'digest':>9} {'pickle':>9}    ratio")
    for what, make in STATES.items():
        state = make()
        ours, raw = [], []
        for _ in range(rounds):
            raw.append(seconds_of(lambda: pickle.dumps(state, 5)))
            ours.append(seconds_of(lambda: digest(state)))
        row(what, ours, raw)


def verifying(directory: str, actions: int, rounds: int) -> None:
    path = os.path.join(directory, "bank")
    bank = coopy.init_system(Bank, path, durability="buffered", validation="off")
    deposits(bank.deposit, actions)
    coopy.control(bank).close()
    print(f"\n{'':<46} {'verify':>9} {'replay':>9}    ratio")
    ours, raw = [], []
    for _ in range(rounds):
        raw.append(seconds_of(lambda: coopy.replay(Bank, path)))
        ours.append(seconds_of(lambda: verified(path)))
    row(f"{actions:,} actions", ours, raw)
    row(f"{actions:,} actions, twice", [seconds_of(lambda: verified(path, twice=True))], raw[:1])


def verified(path: str, twice: bool = False) -> None:
    found = verify(path, Bank, twice=twice)
    assert not found.problems, found.problems


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--actions", type=int, default=1_000_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--dir", default=None, help="where to write; by default a temporary directory")
    asked = options.parse_args()
    digests(asked.rounds)
    with tempfile.TemporaryDirectory(dir=asked.dir) as directory:
        verifying(directory, asked.actions, asked.rounds)


if __name__ == "__main__":
    main()
