"""A slice of `make faults`, always the same: one case in EVERY, of each operation in one setting."""

from __future__ import annotations

import gc
import random
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash.power import small_segments
from failing.calls import Failing
from failing.campaign import CUT_SHARE, PLACES, Row, cases, chosen, counts, jobs, one
from failing.operations import OPERATIONS

EVERY = 1000


@pytest.fixture
def root() -> Iterator[Path]:
    # Syncs take no time here, but on a disk all the rest does.
    with tempfile.TemporaryDirectory(prefix="coopy-failing-", dir=PLACES if PLACES.is_dir() else None) as path:
        yield Path(path)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_failing_call_is_told_truly_and_loses_nothing(name: str, root: Path) -> None:
    settings = [setting for _, setting in jobs([name])]
    setting = settings[list(OPERATIONS).index(name) % len(settings)]
    assert threading.current_thread() is threading.main_thread(), "a hang is noticed by a signal"
    gc.collect()  # What other tests have left is not to be told of here.
    row = Row()
    with small_segments(), Failing().installed() as failing:
        found = list(cases(counts(failing, root, name, setting), name, setting))
        for case in chosen(found, EVERY, []) or found[:1]:
            one(failing, root, case, row, random.Random(f"{case} cut").random() < CUT_SHARE)
    assert not row.violations, "\n".join(f"{case}\n    {text}" for case, text in row.violations)
