"""Nodes with other hash seeds and time zones, each a process, come to the same state of every structure, and hear of the same changes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from batteries.operations import STRUCTURES
from batteries.test_same_everywhere import PROCESSES, PROGRAM, ROOT

from examples.cluster_demo import free_ports

pytest.importorskip("nats", reason="the extra [cluster] is not installed")

COUNT = int(os.environ.get("COOPY_BATTERIES_NODE_OPERATIONS", "20"))
SEED = os.environ.get("COOPY_BATTERIES_SEED", "1")
ANSWER_S = float(os.environ.get("COOPY_BATTERIES_ANSWER_S", "60"))


class Process:
    """A node."""

    def __init__(self, number: int, directory: Path, nodes: list[str]) -> None:
        hash_seed, zone = [("0", "UTC"), *PROCESSES][number]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "TZ": zone, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, str(PROGRAM), "node", f"{SEED} {number}", str(COUNT)]
        self._process = subprocess.Popen(
            [*command, str(directory / str(number)), nodes[number], *nodes],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def says(self) -> str:
        assert self._process.stdout is not None
        timer = threading.Timer(ANSWER_S, self._process.kill)
        timer.start()
        try:
            return self._process.stdout.readline().strip()
        finally:
            timer.cancel()

    def go_on(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()


@pytest.mark.timeout(3600)
def test_nodes_with_other_hash_seeds_and_zones_come_to_the_same_state_and_hear_the_same(tmp_path: Path) -> None:
    nodes = [f"127.0.0.1:{port}" for port in free_ports(3)]
    processes = [Process(number, tmp_path, nodes) for number in range(3)]
    try:
        assert [each.says() for each in processes] == ["ready"] * 3
        for each in processes:
            each.go_on()
        assert [each.says() for each in processes] == ["made"] * 3
        for each in processes:
            each.go_on()
        said = [[each.says() for _ in range(1 + len(STRUCTURES))] for each in processes]
        assert said[0] == said[1] == said[2], f"COOPY_BATTERIES_SEED={SEED}"
        assert {line.split()[0] for line in said[0][1:]} == {*STRUCTURES} and all(
            line.split()[1] != "0" for line in said[0][1:]
        )
        for each in processes:
            each.go_on()
    finally:
        for each in processes:
            each.end()
