"""The command line: `coopy`, or `python -m coopy`.

Here is only the door. What stands behind it needs the extra `[cli]`, which this
says where it is missing.
"""

from __future__ import annotations

import sys

NEEDED = ("click",)


def main() -> None:
    """Runs the command that ``sys.argv`` names, and ends the process with its exit code."""
    try:
        from coopy.cli import app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in NEEDED:
            raise
        print("coopy: the command line needs: pip install 'coopy[cli]'", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    app.run()
