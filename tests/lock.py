"""Writes tests/constraints.txt: what the tests were last run with, as this environment has it.

    python tests/lock.py

A version that an older Python can't have is held only from the Python on that it takes; there pip takes the newest that fits. What only some
systems need (a wheel of Linux or macOS) is held too: a constraint of a package that nobody asks for does nothing.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

PLACE = Path(__file__).resolve().with_name("constraints.txt")
OLDEST = (3, 10)
_TOOLS = {"pip", "setuptools", "wheel", "coopy"}
"""Pip itself, what builds (a fresh build takes the newest anyway), and coopy."""


def lines() -> Iterator[str]:
    """Returns a line for each package that is installed here."""
    found = {re.sub(r"[-_.]+", "-", each.name).lower(): each for each in metadata.distributions()}
    for name, each in sorted(found.items()):
        if name in _TOOLS:
            continue
        least = re.search(r">=\s*3\.(\d+)", each.metadata.get("Requires-Python") or "")
        newer = least is not None and (3, int(least[1])) > OLDEST
        yield f"{name}=={each.version}" + (f' ; python_version >= "3.{least[1]}"' if newer and least is not None else "")


def main() -> None:
    """Writes the file."""
    head = [
        "# What the tests were last run with: tests/lock.py has written it, under Python "
        + ".".join(map(str, sys.version_info[:2]))
        + ".",
        "# requirements.txt takes it; without it, each run would have the versions of its day.",
    ]
    PLACE.write_text("\n".join([*head, *lines()]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
