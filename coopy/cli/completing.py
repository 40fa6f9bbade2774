"""What a shell may make of the beginning of a word: points of the past, and methods that were called.

A tab must neither run code nor be late: what is recorded is looked at without loading it, and only its end. Where nothing can be
said, nothing is, as there is no place for it on the line that is being typed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from coopy import CoopyError

ACTIONS = 1000
"""So many of the newest are looked at for their methods: some hundredths of a second."""


def points(known: Mapping[str, Any], beginning: str) -> list[str]:
    """Returns the indexes of the snapshots of the directory and that of its last action, and some times."""
    found: list[str] = []
    with suppress(CoopyError, OSError), _reading(known) as reading:
        found = [str(index) for index in sorted({*reading.snapshots.indexes(), reading.log.last}, reverse=True)]
    return [*found, "1h", "1d", "1w"]


def methods(known: Mapping[str, Any], beginning: str) -> list[str]:
    """Returns the methods of the newest actions of the directory."""
    from coopy.tools.unloaded import methods_in

    found: set[str] = set()
    with suppress(CoopyError, OSError), _reading(known) as reading:
        after = max(reading.log.oldest - 1, reading.log.last - ACTIONS)
        found = {name for _, records in reading.log.read(after) for name in methods_in(records)}
    # What coopy records itself, in angle brackets, nobody has called.
    return sorted(name for name in found if name.isidentifier())


def _reading(known: Mapping[str, Any]) -> Any:
    from coopy.ground import paths
    from coopy.past.reading import Reading

    return Reading(paths.absolute(os.path.expanduser(str(known["directory"])), "DIR"))
