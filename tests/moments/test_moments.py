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
    "call, sync": 11,
    "call, buffered": 11,
    "call at growth, sync": 29,
    "call at roll-over, sync": 19,
    "call at roll-over, buffered": 13,
    "call that raises, sync": 17,
    "call that is undone, sync": 41,
    "call that is watched": 17,
    "call after an interrupted one, sync": 41,
    "call beside others": 41,
    "read, sync": 3,
    "read after an interrupted call, sync": 61,
    "snapshot": 41,
    "snapshot by a child": 113,
    "prune": 41,
    "close, sync": 211,
    "replay by its control": 151,
    "opening of a new directory": 151,
    "opening, sync": 199,
    "opening of a torn end": 199,
}
"""Of each operation every so many moments."""
PAIRS = {"call, sync": 20, "call at roll-over, sync": 20, "close, sync": 8}
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
