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
    "call, sync": 95,
    "call, buffered": 95,
    "call at growth, sync": 239,
    "call at roll-over, sync": 159,
    "call at roll-over, buffered": 111,
    "call that raises, sync": 143,
    "call that is undone, sync": 335,
    "call that is watched": 143,
    "call after an interrupted one, sync": 335,
    "call beside others": 335,
    "read, sync": 31,
    "read after an interrupted call, sync": 495,
    "snapshot": 335,
    "snapshot by a child": 911,
    "prune": 335,
    "close, sync": 1695,
    "replay by its control": 1215,
    "opening of a new directory": 1215,
    "opening, sync": 1599,
    "opening of a torn end": 1599,
}
"""Of each operation every so many moments."""
PAIRS = {"call, sync": 5, "call at roll-over, sync": 5, "close, sync": 2}
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
