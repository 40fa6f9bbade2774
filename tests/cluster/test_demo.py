"""The demo of a cluster does what it says, and says so by its exit code."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from program import ROOT, environment

sys.path.insert(0, f"{ROOT}/examples")
import cluster_demo

sys.path.remove(f"{ROOT}/examples")
DEMO = Path(cluster_demo.__file__)


def test_the_demo_kills_the_leader_and_finds_everything_on_all_three_nodes() -> None:
    done = subprocess.run(
        [sys.executable, str(DEMO), "--seconds", "1", "--clients", "6"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    killed = re.search(r"kill -9 of (\S+), which leads: (\d+) processes", done.stdout)
    assert killed is not None
    assert int(killed[2]) == 3, "the node, its server, and what looks after the server"
    assert len(set(re.findall(r"digest (\w{32})", done.stdout))) == 1
    counted = re.findall(r"(\S+): ([\d,]+) of ([\d,]+) acknowledged calls, 0 lost, 0 applied twice", done.stdout)
    assert len(counted) == 3
    assert killed[1] in [address for address, _, _ in counted]
    assert all(there == acknowledged != "0" for _, there, acknowledged in counted)


class Node:
    def __init__(self, address: str) -> None:
        self.address = address


def findings(**wrong: Any) -> tuple[Any, list[dict[str, Any]]]:
    """Three calls that were acknowledged and one that was under way, on three nodes; the last has what is given."""
    load = cluster_demo.Load(1)
    load.acknowledged, load.lost = {1, 2, 3}, {4}
    right = {"index": 5, "digest": "d" * 64, "receipts": [1, 2, 3], "sum": 6}
    return load, [right, right, {**right, **wrong}]


@pytest.mark.parametrize(
    ("wrong", "exit_code"),
    [
        ({}, 0),
        ({"receipts": [1, 3], "sum": 4}, 1),
        ({"receipts": [1, 2, 2, 3], "sum": 8}, 1),
        ({"receipts": [1, 2, 3, 9], "sum": 15}, 1),
        ({"sum": 7}, 1),
        ({"digest": "e" * 64}, 1),
        ({"index": 6}, 1),
    ],
    ids=["as it should be", "lost", "twice", "never asked for", "another amount", "another state", "another action"],
)
def test_the_demo_fails_if_a_node_has_something_else(wrong: dict[str, Any], exit_code: int) -> None:
    load, finals = findings(**wrong)
    assert cluster_demo.verdict([Node("a"), Node("b"), Node("c")], load, finals) == exit_code


def test_a_call_that_was_under_way_when_its_node_was_killed_may_be_there() -> None:
    load, finals = findings()
    there = [{**each, "receipts": [1, 2, 3, 4], "sum": 10} for each in finals]
    assert cluster_demo.verdict([Node("a"), Node("b"), Node("c")], load, there) == 0


def test_the_processes_beneath_a_process_are_found_to_the_last_generation() -> None:
    program = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; print(1, flush=True); time.sleep(60)'])\n"
        "time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {program!r}])"],
        stdout=subprocess.PIPE,
    )
    try:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"1\n"
        found = cluster_demo._beneath(parent.pid)
        assert len(found) == 2
        assert Counter(found).most_common(1)[0][1] == 1
    finally:
        for pid in [*cluster_demo._beneath(parent.pid), parent.pid]:
            cluster_demo.os.kill(pid, cluster_demo.signal.SIGKILL)
        parent.wait()
