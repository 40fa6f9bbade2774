"""Puts the table of a node's states into docs/guides/replication.md, from the table that the node goes by.

python docs/internals/generate_states.py           writes it
python docs/internals/generate_states.py --check   exits with 1 if it is not what would be written
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from coopy.replication import states

TARGET = ROOT / "docs" / "guides" / "replication.md"
TABLE = re.compile(r"^\| state \| the node \|.*\n(?:\|.*\n)+", re.MULTILINE)


def page(text: str) -> str:
    """Returns the guide with the table of today's code. Raises LookupError if it has no such table, or several."""
    found, number = TABLE.subn(lambda _: "\n".join(states.as_markdown()) + "\n", text)
    if number != 1:
        raise LookupError(f"{TARGET} has {number} tables of states")
    return found


def main() -> int:
    before = TARGET.read_text(encoding="utf-8")
    after = page(before)
    if "--check" in sys.argv[1:]:
        return int(before != after)
    TARGET.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
