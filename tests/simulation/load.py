"""Callers who use the nodes as long as told, and write down what they saw.

Each caller is a thread that stays with its node and does one operation after another: deposits, reads of
totals, and reads, writes and swaps of registers; it does what it does by a seed. It records an
operation before it learns whether the node is still there, so that nothing asked for is missing.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from simulation.checker import Operation
from simulation.cluster import Cluster, Node, Unanswered

CALLERS_A_NODE = 3
REGISTERS = 4
COUNTERS = 2
PAUSE_S = 0.04
WRITES = ("add", "write", "compare_and_set")


class Load:
    """What all callers of a run did. Process p calls node p modulo the number of nodes."""

    def __init__(self, cluster: Cluster, run: str, seed: str) -> None:
        self.history: list[Operation] = []
        self._cluster = cluster
        self._run = run
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._call, args=(process, random.Random(f"{seed} {process}")), daemon=True)
            for process in range(CALLERS_A_NODE * len(cluster.nodes))
        ]

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Callers call until the end of the block; when it is left, every operation has its end."""
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._ended.set()
            for thread in self._threads:
                thread.join()

    def _call(self, process: int, chance: random.Random) -> None:
        node = self._cluster.nodes[process % len(self._cluster.nodes)]
        known: dict[str, Any] = {}
        number = 0
        while not self._ended.wait(chance.uniform(0, PAUSE_S)):
            if not node.ready:
                self._ended.wait(0.05)
                continue
            number += 1
            op, args = self._choose(chance, known, process, number)
            do = "call" if op in WRITES else chance.choice(("latest", "sync"))
            invoke_ns = time.monotonic_ns()
            try:
                value, at_ns = node.ask(do, op, *args, timeout_s=self._cluster.timeout_s + 2)
            except Unanswered:
                self.history.append(Operation(process, op, args, invoke_ns, None))
                self._ended.wait(0.1)  # A node that refuses everything must not fill the history.
                continue
            self.history.append(Operation(process, op, args, invoke_ns, at_ns, value))
            if op == "read":
                known[args[0]] = value

    def _choose(self, chance: random.Random, known: dict[str, Any], process: int, number: int) -> tuple[str, tuple[Any, ...]]:
        op = chance.choices(("add", "get", "read", "write", "compare_and_set"), (25, 15, 25, 15, 20))[0]
        if op in ("add", "get"):
            key = f"{self._run}/counter{chance.randrange(COUNTERS)}"
            return op, (key,) if op == "get" else (key, chance.randrange(1, 10), f"{self._run}/{process}/{number}")
        key = f"{self._run}/register{chance.randrange(REGISTERS)}"
        # Nobody else ever writes this value.
        value = process * 1_000_000 + number
        if op == "compare_and_set":
            return op, (key, known.get(key), value)
        return op, (key,) if op == "read" else (key, value)

    def wrote_since(self, node: Node, since_ns: int) -> bool:
        """Whether the node has served a write that was asked for after this instant."""
        # Copied: callers go on adding to it.
        for each in reversed(self.history[:]):
            if each.response_ns is not None and each.response_ns < since_ns:
                return False
            if each.op in WRITES and each.response_ns and each.invoke_ns >= since_ns:
                if each.process % len(self._cluster.nodes) == node.number:
                    return True
        return False


def longest_silence_s(history: Iterable[Operation], nodes: int, victims: Collection[int]) -> float:
    """The longest stretch without a write that succeeded on a node that was not struck, in seconds.

    Where every node was struck, all count. The stretch may begin or end with the history.
    """
    history = list(history)
    spared = set(range(nodes)) - set(victims) or set(range(nodes))
    times = [each.response_ns for each in history if each.op in WRITES and each.response_ns and each.process % nodes in spared]
    ends = [each.invoke_ns for each in history] + [each.response_ns for each in history if each.response_ns]
    times = sorted([min(ends), *times, max(ends)])
    return max(later - earlier for earlier, later in zip(times, times[1:], strict=False)) / 1e9


def keep(path: Path, history: Iterable[Operation], **about: Any) -> None:
    """Writes a history: a line of what it is about, then a line for each operation."""
    with open(path, "w", encoding="utf-8") as file:
        for line in (about, *(operation._asdict() for operation in history)):
            file.write(json.dumps(line) + "\n")


def kept(path: Path) -> list[Operation]:
    """Reads what `keep` wrote."""
    with open(path, encoding="utf-8") as file:
        next(file)
        return [Operation(**{**line, "args": tuple(line["args"])}) for line in map(json.loads, file)]
