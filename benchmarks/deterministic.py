"""What deterministic=True costs: calls that use none of it, code outside any action, and what it answers.

    python -m benchmarks.deterministic [--rounds N] [--check]

What is replaced stays so for the process: each round is three processes in turn, one without it, one
with it and one that watches as well. The call that uses none of it is measured in one process: before
anything is replaced, and after, in a system with it and one without in turn. Buffered, in a temporary
directory. The least of many short runs, as the machine may be shared; medians over the rounds.
"""

from __future__ import annotations

import argparse
import datetime as dt
import gc
import json
import os
import random
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
import uuid
from collections.abc import Callable
from typing import Any

import coopy
from benchmarks.workload import Bank
from coopy import clock, env

GOAL_US = 0.3
WAYS = ("without", "with", "watched")

_now: Callable[[], float] = time.perf_counter


class Asking(Bank):
    """Actions that ask a number of times for what they are told to ask for."""

    ask: Callable[[], object] = staticmethod(lambda: None)  # type: ignore[assignment]

    def asks(self, times: int) -> None:
        ask = type(self).ask
        for _ in range(times):
            ask()


ASKED: dict[str, Callable[[], object]] = {
    "nothing": lambda: None,
    "time.time()": lambda: time.time(),
    "time.perf_counter()": lambda: time.perf_counter(),
    "datetime.now()": lambda: dt.datetime.now(),
    "datetime.now(UTC)": lambda: dt.datetime.now(dt.timezone.utc),
    "random.random()": lambda: random.random(),
    "random.randint(1, 6)": lambda: random.randint(1, 6),
    "uuid.uuid4()": lambda: uuid.uuid4(),
    "os.urandom(16)": lambda: os.urandom(16),
    "secrets.token_hex(16)": lambda: secrets.token_hex(16),
    "random.Random()": lambda: random.Random(),
    "open(os.devnull)": lambda: open(os.devnull).close(),
    "coopy.clock.now()": lambda: clock.now(),
    "coopy.env.random()": lambda: env.random(),
}


PLAIN = "a call that uses none of it"


def best(function: Callable[[], object], times: int = 100, runs: int = 100) -> float:
    """Microseconds of one call."""
    return min(timeit.Timer(function, timer=_now).repeat(runs, times)) / times * 1e6


def opened(directory: str, deterministic: bool) -> Any:
    return coopy.init_system(Asking, directory, durability="buffered", validation="off", deterministic=deterministic)


def plain_calls(*systems: Any) -> list[float]:
    """Microseconds of a call to each of some systems, measured in turn."""
    found = [float("inf")] * len(systems)
    for _ in range(20):
        for place, system in enumerate(systems):
            found[place] = min(found[place], best(lambda: system.deposit("account01", 1), runs=20))
    return found


def measured(way: str) -> dict[str, float]:
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as directory:
        system = opened(directory, False)
        gc.disable()
        found[f"{PLAIN}, before"] = plain_calls(system)[0]
        coopy.control(system).close()
    if way != "without":
        from coopy.determinism import install

        began = _now()
        install.install()
        found["install, ms"] = (_now() - began) * 1e3
        if way == "watched":
            install.watch(lambda use: None)
    with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryDirectory() as other:
        system, off = opened(directory, way != "without"), opened(other, False)
        found[PLAIN], found[f"{PLAIN}, system without"] = plain_calls(system, off)
        for name, ask in ASKED.items():
            found[f"outside: {name}"] = best(ask)
            Asking.ask = staticmethod(ask)  # type: ignore[assignment]
            found[f"in an action: {name}"] = best(lambda: system.asks(100), 1) / 100
            found[f"once in an action: {name}"] = best(lambda: system.asks(1), 20)
        for each in (system, off):
            coopy.control(each).close()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--check", action="store_true", help="fail if the goal is not met")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(measured(options.way)))
        return 0
    rounds: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(options.rounds):
        for way in WAYS:
            command = [sys.executable, "-m", "benchmarks.deterministic", "--way", way]
            rounds[way].append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    print(f"{'microseconds':<46}{'without':>10}{'with':>10}{'watched':>10}{'more':>10}")
    for name in rounds["with"][0]:
        values = [[found[name] for found in rounds[way] if name in found] for way in WAYS]
        medians = [statistics.median(each) if each else float("nan") for each in values]
        print(f"{name:<46}{medians[0]:>10.3f}{medians[1]:>10.3f}{medians[2]:>10.3f}{medians[1] - medians[0]:>10.3f}")
    more = statistics.median(found[PLAIN] - found[f"{PLAIN}, before"] for found in rounds["with"])
    print(f"\na call that uses none of it takes {more:+.3f} µs more; goal: under {GOAL_US}")
    return int(options.check and more >= GOAL_US)


if __name__ == "__main__":
    sys.exit(main())
