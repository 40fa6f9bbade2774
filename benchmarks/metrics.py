"""What figures and spans cost a call: `coopy.metrics` on and off, in turn.

    python -m benchmarks.metrics

Each figure is a median of ROUNDS, of processor time of the thread, so that what else the machine does counts less.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import coopy.metrics
from coopy import init_system

CALLS = 40_000
ROUNDS = 9


class Counter:
    def __init__(self) -> None:
        self.number = 0

    def add(self, by: int) -> int:
        self.number += by
        return self.number


def call_us(system: Any) -> float:
    """Microseconds a call."""
    add = system.add
    began = time.thread_time()
    for _ in range(CALLS):
        add(1)
    return (time.thread_time() - began) / CALLS * 1e6


def main() -> None:
    from prometheus_client import CollectorRegistry

    with tempfile.TemporaryDirectory() as folder:
        plain = init_system(Counter, Path(folder) / "plain", durability="buffered")
        measured = init_system(Counter, Path(folder) / "measured", durability="buffered")
        coopy.metrics.register(measured, CollectorRegistry())
        rounds: dict[str, list[float]] = {"off": [], "on": []}
        for _ in range(ROUNDS):
            rounds["off"].append(call_us(plain))
            rounds["on"].append(call_us(measured))
        off, on = (statistics.median(rounds[each]) for each in ("off", "on"))
        pairs = statistics.median(one / other for one, other in zip(rounds["on"], rounds["off"], strict=True))
        print(
            f"buffered write: {off:.2f} us without figures, {on:.2f} us with them: {on / off - 1:+.1%} (median of pairs {pairs - 1:+.1%})"
        )
        for each in (plain, measured):
            each.close()


if __name__ == "__main__":
    main()
