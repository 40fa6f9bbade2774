"""Runs once more, alone, what failed in the run before, if that is three tests at most.

    python tests/again.py RESULTS

`make test` runs groups of tests, and each has left the names of what failed in a directory of its own below RESULTS. A file `broken`
there tells of a group that ended in another way than with tests that failed.
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
AT_MOST = 3  # More than a stall of the machine has ever failed at once.


def main(results: Path) -> int:
    """Returns 0 if everything that failed passes now."""
    failed = [
        name for path in sorted(results.glob("*/v/cache/lastfailed")) for name in json.loads(path.read_text(encoding="utf-8"))
    ]
    if (results / "broken").exists() or not 0 < len(failed) <= AT_MOST:
        return 1
    print(f"\nonce more, alone: {', '.join(failed)}\n", flush=True)
    code = subprocess.run([sys.executable, "-m", "pytest", *failed], cwd=ROOT).returncode
    if code == 0:
        print(f"PASSED ONLY THE SECOND TIME: {', '.join(failed)}")
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
