"""A slice of `make suites-shared`: suites that know nothing of it, over systems whose calls are sent."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import program
import pytest

TESTS = Path(__file__).parents[1]
SLICE = {
    "follower": ["proxy/test_outside.py", "sync/test_party.py"],
    "reader": ["proxy/test_outside.py"],
    "connected": ["proxy/test_outside.py"],
}


@pytest.mark.parametrize("how", SLICE)
def test_a_suite_of_one_process_holds_where_calls_are_sent(how: str) -> None:
    arguments = ["-q", "-p", "no:cacheprovider", "-p", "shared.apart", "--apart", how, "--show-capture=no"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments, *(f"tests/{each}" for each in SLICE[how])],
        cwd=TESTS.parent,
        env={**program.environment(), "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0 and f"| over {how} |" in done.stdout, done.stdout + done.stderr
