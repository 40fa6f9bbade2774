"""Whether what the garbage collector has frozen may be thawed: not if somebody else has frozen it."""

from __future__ import annotations

import gc

# Python 3.12 starts with a few hundred objects of its own frozen.
_AT_START_MAX = 1000
_at_start = gc.get_freeze_count()


def is_free() -> bool:
    """Whether nothing is frozen but what the interpreter froze at its start."""
    frozen = gc.get_freeze_count()
    return frozen == 0 or (frozen == _at_start and frozen <= _AT_START_MAX)
