"""Writes docs/guides/options.md from the table in coopy/place/options.py.

python docs/internals/generate_options.py           writes it
python docs/internals/generate_options.py --check   fails if it is not what the table says
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from coopy.place.options import tables  # noqa: E402

PAGE = ROOT / "docs" / "guides" / "options.md"
HEAD = """# Options

What `init_system`, `coopy.aio.open` and, less those of replicated systems, `coopy.testing.open_system` take by name. Written by
`python docs/internals/generate_options.py` from the table in `coopy/place/options.py`; `help(coopy.init_system)` says the same.

"""


def main(arguments: list[str]) -> int:
    """Writes the page, or compares it. Returns the exit code."""
    text = HEAD + "\n".join(tables()).rstrip() + "\n"
    if "--check" not in arguments:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    print(f"{PAGE} is stale: run python docs/internals/generate_options.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
