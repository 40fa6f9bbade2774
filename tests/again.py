"""Runs once more, alone, what failed in the run before, if that is three tests at most.

    python tests/again.py

Real processes, servers and disks stand in these tests, and a machine that stalls for seconds can fail one of them. A test
that fails twice, or a fourth test that fails, is a failure. A test that only passes the second time is named in the last
line of the output: it depends on the machine, and that is a mistake in the test.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FAILED = ROOT / ".pytest_cache" / "v" / "cache" / "lastfailed"
AT_MOST = 3  # More than a stall of the machine has ever failed at once.


def main() -> int:
    """Returns 0 if everything that failed passes now."""
    failed = list(json.loads(FAILED.read_text(encoding="utf-8"))) if FAILED.exists() else []
    if not 0 < len(failed) <= AT_MOST:
        return 1
    print(f"\nonce more, alone: {', '.join(failed)}\n", flush=True)
    code = subprocess.run(
        [sys.executable, "-m", "pytest", "--last-failed", "--last-failed-no-failures", "none"], cwd=ROOT
    ).returncode
    if code == 0:
        print(f"PASSED ONLY THE SECOND TIME: {', '.join(failed)}")
    return code


if __name__ == "__main__":
    sys.exit(main())
