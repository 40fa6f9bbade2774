"""A slice of `make faults`, always the same. Called test_slice.py it is one of the default tests."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest
from crash.power import small_segments
from failing.calls import Failing
from failing.campaign import Row, cases, chosen, counts, one
from failing.operations import OPERATIONS
from failing.world import Setting

EVERY = 60


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_failing_call_is_told_truly_and_loses_nothing(name: str, tmp_path: Path) -> None:
    operation = OPERATIONS[name]
    assert threading.current_thread() is threading.main_thread(), "a hang is noticed by a signal"
    row = Row()
    with small_segments(), Failing().installed() as failing:
        setting = Setting(operation.durabilities[-1], operation.ways[-1])
        found = list(cases(counts(failing, tmp_path, name, setting), name, setting))
        for case in chosen(found, EVERY, []) or found[:1]:
            one(failing, tmp_path, case, row, random.Random(f"{case} cut").random() < 0.1)
    assert not row.violations, "\n".join(f"{case}\n    {text}" for case, text in row.violations)
