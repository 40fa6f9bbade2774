"""A type checker knows what a task takes and what its handle gives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from program import environment

pytest.importorskip("mypy", reason="mypy is not installed")

SNIPPET = """
from coopy.messaging import TaskQueue

queue = TaskQueue()

@queue.task
def add(a: int, b: int = 2) -> int:
    return a + b

@queue.task(retries=3, cron="0 3 * * *")
def report() -> str:
    return ""

@queue.task(priority=2)
async def fetch(url: str) -> bytes:
    return b""

add.send("x")  # E
add.send(1, c=2)  # E
fetch.options(delay=3).send(4)  # E
queue.enqueue(divmod)  # E
reveal_type(add.send(1, b=2).result(timeout=1))  # N: "int"
reveal_type(report.send().result())  # N: "str"
reveal_type(fetch.send("x").result())  # N: "bytes"
reveal_type(queue.enqueue(add.function, 1))  # N: "coopy.messaging.tasks.TaskHandle[Any]"

async def main() -> None:
    reveal_type(await (await add.asend(1)))  # N: "int"
    reveal_type(await fetch.send("x"))  # N: "bytes"
"""


@pytest.mark.slow
def test_arguments_and_results_have_the_types_of_the_function(tmp_path: Path) -> None:
    (tmp_path / "snippet.py").write_text(SNIPPET)
    found = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "snippet.py"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    ).stdout.splitlines()
    expected = {number: line.partition("  # ")[2] for number, line in enumerate(SNIPPET.splitlines(), 1) if "  # " in line}
    notes = ("Revealed type", "error:")
    said = {int(line.split(":")[1]): line for line in found if any(each in line for each in notes)}
    assert said.keys() == expected.keys(), "\n".join(found)
    for number, what in expected.items():
        assert "error" in said[number] if what == "E" else what[3:] in said[number], said[number]
