"""A slice of the campaign: some of the moments at which Python looks for signals, in each kind of operation.

Which moments they are follows from MOMENTS_OFFSET, 0 by default; `make moments` takes them all. See campaign.py.
"""

from __future__ import annotations

import os
import shutil

import pytest
from moments.campaign import Choice, interrupt, known_moments, place
from moments.operations import OPERATIONS, Operation

OFFSET = int(os.environ.get("MOMENTS_OFFSET", "0"))
STEPS = {
    "call, sync": 23,
    "call, buffered": 23,
    "call at growth, sync": 59,
    "call at roll-over, sync": 39,
    "call at roll-over, buffered": 27,
    "call that raises, sync": 35,
    "call that is undone, sync": 83,
    "call that is watched": 35,
    "call after an interrupted one, sync": 83,
    "call beside others": 83,
    "read, sync": 7,
    "read after an interrupted call, sync": 123,
    "snapshot": 83,
    "snapshot by a child": 227,
    "prune": 83,
    "close, sync": 423,
    "replay by its control": 303,
    "opening of a new directory": 303,
    "opening, sync": 399,
    "opening of a torn end": 399,
}
"""Of each operation every so many moments."""
PAIRS = {"call, sync": 10, "call at roll-over, sync": 10, "close, sync": 4}
CHOSEN = [each for each in OPERATIONS if each.name in STEPS]
assert len(CHOSEN) == len(STEPS), "each operation that is named here is one of the campaign"


@pytest.mark.parametrize("operation", CHOSEN, ids=lambda operation: operation.name)
def test_an_interrupt_loses_nothing_and_nothing_hangs(operation: Operation) -> None:
    step = STEPS[operation.name]
    choice = Choice(pairs=PAIRS.get(operation.name, 0), step=step, offset=OFFSET % step, signals=True, workers=1)
    folder = place()
    try:
        tally = interrupt(operation, folder, choice, known_moments())
    finally:
        shutil.rmtree(folder)
    assert tally.moments, "there are moments"
    assert not tally.fatal, "\n".join(
        f"{each.kind}: {' then '.join(map(str, each.raised))}: {each.what}; again with tests/moments/campaign.py --exactly "
        f"--only {operation.name!r} --at {' '.join(map(str, each.task))}"
        for each in tally.fatal
    )
