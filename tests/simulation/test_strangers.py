"""A moment of the campaign of strangers; `make strangers` runs it for ten minutes, and measures the service."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from program import environment


def test_two_users_replicas_and_strangers_execute_nothing_and_learn_nothing_at_a_node_that_goes_on() -> None:
    campaign = Path(__file__).parent / "strangers.py"
    done = subprocess.run(
        [sys.executable, str(campaign), "--seconds", "1.5", "--loud", "1", "--unmeasured"],
        capture_output=True,
        text=True,
        timeout=100,
        env=environment(),
    )
    assert done.returncode == 0 and done.stdout.endswith("\n0 violations\n"), done.stdout + done.stderr
