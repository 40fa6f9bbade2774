"""Measures what an index costs in a domain: a dict, a sorted list kept with bisect, and a SortedDict of sortedcontainers.

    python -m benchmarks.queries [--keys N] [--rounds N] [--dir DIR]

Prints a table, the medians of the rounds. An action that inserts is a call of a system with durability="buffered", a
snapshot is written by the process itself, and a restart loads it. sortedcontainers comes with `pip install .[test]`.
"""

from __future__ import annotations

import argparse
import bisect
import pickle
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

from sortedcontainers import SortedDict  # type: ignore[import-untyped]

from benchmarks.workload import seconds_of
from coopy import control, init_system, readonly

RANGE = 100
CALLS = 2_000


class Plain:
    """A dict alone: a range is a look at every key."""

    def __init__(self, keys: list[int]) -> None:
        self.index = dict.fromkeys(keys)

    def insert(self, key: int) -> None:
        self.index[key] = None

    def find(self, key: int) -> bool:
        return key in self.index

    @readonly
    def range(self, low: int, high: int) -> list[int]:
        return sorted(key for key in self.index if low <= key < high)


class Bisected:
    """A dict and a sorted list of its keys."""

    def __init__(self, keys: list[int]) -> None:
        self.index = dict.fromkeys(keys)
        self.keys = sorted(self.index)

    def insert(self, key: int) -> None:
        if key not in self.index:
            bisect.insort(self.keys, key)
        self.index[key] = None

    def find(self, key: int) -> bool:
        return key in self.index

    @readonly
    def range(self, low: int, high: int) -> list[int]:
        return self.keys[bisect.bisect_left(self.keys, low) : bisect.bisect_left(self.keys, high)]


class Sorted:
    """A SortedDict."""

    def __init__(self, keys: list[int]) -> None:
        self.index: Any = SortedDict(dict.fromkeys(keys))

    def insert(self, key: int) -> None:
        self.index[key] = None

    def find(self, key: int) -> bool:
        return key in self.index

    @readonly
    def range(self, low: int, high: int) -> list[int]:
        return list(self.index.irange(low, high, (True, False)))


KINDS: dict[str, Callable[[list[int]], Any]] = {"dict": Plain, "dict + bisect": Bisected, "SortedDict": Sorted}


def each(method: Callable[..., object], arguments: list[tuple[int, ...]]) -> float:
    """Microseconds of one call."""

    def run() -> None:
        for each in arguments:
            method(*each)

    return seconds_of(run) / len(arguments) * 1e6


def measured(kind: str, count: int, folder: str, seed: int) -> dict[str, float]:
    """What one round comes to, by what was measured."""
    chance = random.Random(seed)
    keys = chance.sample(range(0, 2 * count, 2), count)
    new = [key + 1 for key in chance.sample(keys, 2 * CALLS)]
    found = {}
    began = time.perf_counter()
    domain = KINDS[kind](keys)
    found["build, s"] = time.perf_counter() - began
    found["insert, us"] = each(domain.insert, [(key,) for key in new[:CALLS]])
    found["lookup, us"] = each(domain.find, [(key,) for key in chance.sample(keys, CALLS)])
    lows = chance.sample(keys, 3 if kind == "dict" else CALLS)
    found[f"range of {RANGE}, us"] = each(domain.range, [(low, low + 2 * RANGE) for low in lows])
    began = time.perf_counter()
    size = len(pickle.dumps(domain, 5))
    found["pickle, s"] = time.perf_counter() - began
    found["pickle, MB"] = size / 1e6
    directory = tempfile.mkdtemp(dir=folder)
    with init_system(domain, directory, validation="off", durability="buffered", fork=False) as system:
        found["action that inserts, us"] = each(system.insert, [(key,) for key in new[CALLS:]])
        found["snapshot, s"] = seconds_of(control(system).take_snapshot)
    del domain, system
    found["restart, s"] = seconds_of(lambda: control(init_system(KINDS[kind], directory, validation="off")).close())
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dir", default=None)
    options = parser.parse_args()
    table: dict[str, dict[str, float]] = {}
    for kind in KINDS:
        with tempfile.TemporaryDirectory(dir=options.dir) as folder:
            rounds = [measured(kind, options.keys, folder, number) for number in range(options.rounds)]
        table[kind] = {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
    print(f"{f'{options.keys:,} keys':>24}" + "".join(f"{kind:>16}" for kind in table))
    for name in table["dict"]:
        print(f"{name:>24}" + "".join(f"{found[name]:>16,.2f}" for found in table.values()))


if __name__ == "__main__":
    main()
