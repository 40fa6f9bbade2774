"""Keeps the garbage collector from looking at a whole state again and again, and has it look when there may be garbage.

All that a restore makes is young, and the next collections would look at each object of it three times. Frozen and
thawed it counts as old, which costs nothing; but CPython looks at old objects only when it has seen a
quarter as many grow old, and those it has not seen. Garbage in cycles would stay for ever where a
program does little but restore: looks at the past, calls that raise and are undone. So what has been hidden from the
collector is answered for here: it is told to look at everything once the process has grown by a quarter since it was told last.
A state that was loaded first is never looked at for that; a state that takes the place of another is not, either.

The measure is the blocks that Python has allocated: to count them takes half a millisecond where there are
millions. To let the collector see a new state, and count it, took 17 to 25% of the time it took to load (Python 3.10 to 3.13).
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

GROWTH = 1.25
"""A quarter more objects than at the last look: looks are rare while a state grows, and what is dropped is found soon."""
BLOCKS_MIN = 100_000
"""Growth by fewer blocks is nothing: they are some ten megabytes."""

# Python 3.12 starts with a few hundred objects of its own frozen.
_AT_START_MAX = 1000
_at_start = gc.get_freeze_count()
_known = 0
"""How many blocks there were when all was known. Of two threads, either may set it."""


def is_free() -> bool:
    """Whether nothing is frozen but what the interpreter froze at its start: what others have frozen is not thawed."""
    frozen = gc.get_freeze_count()
    return frozen == 0 or (frozen == _at_start and frozen <= _AT_START_MAX)


@contextmanager
def off() -> Iterator[None]:
    """Keeps the collector off while a state is made, and does not let it look at that state afterwards."""
    enabled, hidden = gc.isenabled(), False
    try:
        try:
            try:
                gc.disable()
                yield
            finally:
                if enabled:
                    hidden = is_free()
                    if hidden:
                        gc.freeze()
                        gc.unfreeze()
                        hidden = False
                        look_if_grown()
                    gc.enable()
        finally:
            # An interrupt may have come in between.
            if hidden:
                gc.unfreeze()
            if enabled:
                gc.enable()
    finally:
        # And another meanwhile.
        if hidden:
            gc.unfreeze()
        if enabled:
            gc.enable()


def count_the_young() -> None:
    """Has the collector look at what it has not looked at yet, and count it, before that is frozen."""
    if gc.isenabled():
        gc.collect(1)


def look_if_grown() -> None:
    """Collects all garbage, if what there is has grown by a quarter since it was known. Called after something was hidden."""
    global _known
    blocks = sys.getallocatedblocks()
    if _known and blocks > GROWTH * _known + BLOCKS_MIN:
        gc.collect()
        blocks = sys.getallocatedblocks()
        _known = blocks
    else:
        _known = min(_known, blocks) or blocks
