"""What random operations have led to is the same in processes with other hash seeds and time zones."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from batteries.operations import STRUCTURES

import coopy.batteries
from coopy.batteries import battery

PROGRAM = Path(__file__).parent / "operations.py"
ROOT = Path(__file__).resolve().parents[2]
COUNT = int(os.environ.get("COOPY_BATTERIES_OPERATIONS", "200"))
SEED = os.environ.get("COOPY_BATTERIES_SEED", "1")
PROCESSES = [("1", "Asia/Kathmandu"), ("42", "America/New_York")]


def run(hash_seed: str, zone: str, *arguments: object) -> list[str]:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "TZ": zone, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(PROGRAM), *map(str, arguments)]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


def test_processes_with_other_hash_seeds_and_zones_come_to_the_same_states(in_memory: Path) -> None:
    recorded = run("0", "UTC", "record", SEED, COUNT, in_memory / "recorded")
    assert len(recorded) == len(STRUCTURES)
    for number, (hash_seed, zone) in enumerate(PROCESSES):
        copy = in_memory / f"copy {number}"
        shutil.copytree(in_memory / "recorded", copy)
        assert run(hash_seed, zone, "replay", copy) == recorded, f"COOPY_BATTERIES_SEED={SEED}"


def test_every_structure_has_operations() -> None:
    found = vars(coopy.batteries).values()
    names = {each.__name__ for each in found if isinstance(each, type) and issubclass(each, battery.Battery)}
    assert names == {*STRUCTURES, "ReplDict"}
