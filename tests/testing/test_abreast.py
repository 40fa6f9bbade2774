"""Tests run in several processes, a file at a time, and nothing of them is lost: see tests/abreast.py."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import abreast
import pytest
from program import environment
from slow import FILES, LONGEST

CONFTEST = """
import os
from pathlib import Path
import pytest

@pytest.fixture(autouse=True, scope="session")
def begun():
    with open("begun", "a") as file:
        file.write(f"{os.getpid()}\\n")
    yield
    assert not os.environ.get("BAD_END")

@pytest.fixture
def tea():
    return "tea"
"""
TWO = """
import pytest

def test_one(tea): assert tea == "tea"
def test_two(tea): assert tea == {drink!r}
@pytest.mark.skip
def test_three(): pass
"""


def run(here: Path, *words: str, code: int) -> str:
    program = [sys.executable, abreast.__file__, *words]
    done = subprocess.run(program, cwd=here, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def write(here: Path, **sources: str) -> None:
    for name, source in {"conftest": CONFTEST, **sources}.items():
        path = here / "tests" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(source, encoding="utf-8")


def test_every_file_has_what_its_conftest_gives_and_each_failure_is_told(tmp_path: Path) -> None:
    write(tmp_path, test_a=TWO.format(drink="tea"), test_b=TWO.format(drink="milk"), test_c="import nothing_of_this_name")
    output = run(tmp_path, "-n", "1", code=1)
    assert "FAILED tests/test_b.py::test_two\n" in output and "assert 'tea' == 'milk'" in output
    assert "FAILED tests/test_c.py\n" in output and "No module named 'nothing_of_this_name'" in output
    assert "\n1 failed, 1 error, 3 passed, 2 skipped in " in output
    assert len((tmp_path / "begun").read_text().split()) == 1
    assert json.loads((tmp_path / abreast.FAILED).read_text()) == {"tests/test_b.py::test_two": True, "tests/test_c.py": True}


def test_a_process_that_has_become_large_makes_way_for_another(tmp_path: Path) -> None:
    write(tmp_path, test_a=TWO.format(drink="tea"), test_b=TWO.format(drink="tea"))
    assert "\n4 passed, 2 skipped in " in run(tmp_path, "-n", "1", "--megabytes", "1", code=0)
    assert len(set((tmp_path / "begun").read_text().split())) == 2


def test_a_process_that_dies_is_told_with_its_test_and_the_others_go_on(tmp_path: Path) -> None:
    death = "import os\ndef test_alive(): pass\ndef test_dies(): os.kill(os.getpid(), 9)\n"
    write(tmp_path, test_a=death, test_b=TWO.format(drink="tea"))
    output = run(tmp_path, "-n", "1", code=2)
    assert "A PROCESS ENDED WITH -9 in tests/test_a.py: tests/test_a.py::test_dies\n" in output
    assert "\n2 passed, 1 skipped in " in output


def test_a_process_that_cannot_begin_ends_the_run(tmp_path: Path) -> None:
    write(tmp_path, conftest="import nothing_of_this_name", test_a=TWO.format(drink="tea"))
    output = run(tmp_path, code=2)
    assert "A PROCESS ENDED WITH 4 in no file" in output and "No module named 'nothing_of_this_name'" in output


def test_what_a_session_raises_at_its_end_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAD_END", "1")
    write(tmp_path, test_a=TWO.format(drink="tea"))
    assert "A PROCESS ENDED WITH 1 in no file: tests/test_a.py::test_three\n" in run(tmp_path, code=2)


def test_the_longest_come_first_and_what_is_slow_is_none_of_the_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(abreast.HERE.parent)
    everything, quick = abreast.files_of(["tests"], False), abreast.files_of(["tests"], True)
    assert everything[: len(LONGEST)] == [f"tests/{name}" for name in LONGEST]
    assert set(everything) - set(quick) == {f"tests/{name}" for name in FILES}
    assert abreast.files_of(["tests/ground", "tests/ground/test_words.py"], False) == [
        each for each in everything if each.startswith("tests/ground/")
    ]
