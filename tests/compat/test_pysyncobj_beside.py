"""One program on PySyncObj 0.3.17 and on coopy sees the same."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from program import free_port, run

PROGRAM = Path(__file__).parent / "programs" / "both.py"


@pytest.mark.skipif(importlib.util.find_spec("pysyncobj") is None, reason="PySyncObj is not installed")
def test_a_program_sees_the_same_of_both() -> None:
    theirs, ours = (json.loads(run(PROGRAM, library, free_port())) for library in ("pysyncobj", "coopy.compat.pysyncobj"))
    assert ours == theirs


def test_a_program_sees_what_it_saw_of_PySyncObj() -> None:
    """What PySyncObj 0.3.17 came to, where that is not installed."""
    found = json.loads(run(PROGRAM, "coopy.compat.pysyncobj", free_port()))
    assert found["calls"] == [None, 6, 18, "answer", None] and found["version 1"] == 10
    assert found["told"] == [
        "ready",
        ["add", 20, 0],
        ["code", 0, 1],
        ["set", None, 0],
        ["remove", None, 6],
        ["transfer", None, 6],
    ]
    assert found["raised"] == ["Exception", "Exception", "AssertionError"]
    assert found["status"]["state"] == "2" and found["node"] == ["TCPNode('localhost:PORT')", "localhost", [], True]
