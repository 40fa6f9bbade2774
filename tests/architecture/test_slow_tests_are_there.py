"""What is said to be slow is there: a test that is named otherwise by now would be run by `make quick` again."""

from __future__ import annotations

import re
from pathlib import Path

from slow import FILES, TESTS

HERE = Path(__file__).resolve().parents[1]


def test_every_file_and_every_test_that_is_said_to_be_slow_is_there() -> None:
    assert [name for name in FILES if not (HERE / name).is_file()] == []
    for name, tests in TESTS.items():
        there = set(re.findall(r"^ *def (test_\w+)", (HERE / name).read_text(encoding="utf-8"), re.M))
        assert tests <= there, f"{name}: {sorted(tests - there)}"
    assert not FILES & TESTS.keys()
