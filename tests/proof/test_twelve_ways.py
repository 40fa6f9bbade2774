"""What replay can't repeat is told at the first restart, with action and path; what it can is not accused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

TOLD = {
    "SetAfterSnapshot": "state.taken",
    "SetOfTexts": "state.drawn",
    "Addresses": "state.seen",
    "SetOfObjects": "state.order",
    "WeakOrder": "state.order",
    "WeakCache": "state.made",
    "Cache": "state.misses",
    "GlobalVariable": "state.last",
    "ClassCounter": "state.orders",
    "Context": "state.by",
    "ThreadLocal": "state.by",
    "Locale": "state.labels",
    "Environment": "state.shops",
    "ReadsFile": "state.rates",
    "Dice": "state.rolled",
    "TimeZone": "state.hours",
    "ChangedByReading": "state.asked",
    "HoldsCode": "state.kept",
}


def run(how: str, folder: Path, which: str, **environment: str) -> Any:
    found = subprocess.run(
        [sys.executable, str(HERE / "domains.py"), how, str(folder), which],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}", "FOLDER": str(folder), **environment},
    )
    return json.loads(found.stdout) if how == "again" else None


def restarted(folder: Path, how: str, which: str) -> Any:
    (folder / "rate").write_text("1.5")
    run(how, folder, which, SHOP="north", PYTHONHASHSEED="1", TZ="UTC")
    (folder / "rate").write_text("1.6")
    return run("again", folder, which, SHOP="south", PYTHONHASHSEED="2", TZ="<+05>-5")


@pytest.mark.parametrize("how", ["live", "killed"])
def test_what_replay_cannot_repeat_is_told_at_the_first_restart(tmp_path: Path, how: str) -> None:
    found = restarted(tmp_path, how, "unrepeatable")
    if how == "killed":
        # Code of the domain does not run between two calls, so the last digest is that of the snapshot.
        assert found.pop("HoldsCode") is None
    assert found.keys() == TOLD.keys() - ({"HoldsCode"} if how == "killed" else set())
    assert [name for name, each in found.items() if each is None] == []
    for name, each in found.items():
        assert TOLD[name] in each["path"], (name, each)
        assert each["method"] == "act", (name, each)
        assert each["index"] <= 4 or how == "live" and name == "HoldsCode", (name, each)


@pytest.mark.parametrize("how", ["live", "killed"])
def test_what_replay_can_repeat_is_not_accused(tmp_path: Path, how: str) -> None:
    found = restarted(tmp_path, how, "repeatable")
    assert len(found) >= 12
    assert {name: each for name, each in found.items() if each is not None} == {}


def test_what_was_told_once_is_not_told_again(tmp_path: Path) -> None:
    restarted(tmp_path, "live", "unrepeatable")
    found = run("again", tmp_path, "unrepeatable", SHOP="south", PYTHONHASHSEED="2", TZ="<+05>-5")
    repeated = {name for name, each in found.items() if each is not None}
    # Of these every replay comes to something else.
    assert repeated <= {"Addresses", "Dice", "SetOfObjects", "WeakOrder", "HoldsCode"}
