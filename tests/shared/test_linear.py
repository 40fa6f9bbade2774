"""A few runs of `shared/linear.py`: 200 are `make shared`."""

from __future__ import annotations

from pathlib import Path

import pytest
from shared import linear
from simulation.checker import Operation, linearizable


@pytest.mark.parametrize("seed", ["one", "two", "three"])
def test_what_processes_saw_that_were_killed_has_an_order(seed: str, tmp_path: Path) -> None:
    answered, wrong = linear.run(tmp_path, seed, 0.5)
    assert wrong == [] and answered >= 0


def test_a_history_is_read_with_what_was_not_answered(tmp_path: Path) -> None:
    path = tmp_path / "data"
    (tmp_path / "data.0").write_text(
        '[1, [0, "write", ["r", 7], 10]]\n[1, 0, 20, null]\n[2, [0, "read", ["r"], 30]]\n[2, 0, 40, 7]\n'
        '[3, [0, "add", ["c", 1, "x"], 50]]\n[3, 0, "Unavailable()"]\n[4, [0, "rea'
    )
    seen, raised = linear.history(str(path), 2)
    assert seen == [
        Operation(0, "write", ("r", 7), 10, 20, None),
        Operation(0, "read", ("r",), 30, 40, 7),
        Operation(0, "add", ("c", 1, "x"), 50, None, None),
    ]
    assert raised == ["Unavailable()"] and linearizable(seen) == []
