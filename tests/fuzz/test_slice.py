"""A slice of `make fuzz`: some runs that are always the same, and for FRESH_S seconds runs that nobody has made before.

COOPY_FUZZ_SEED takes the fresh ones back.
"""

from __future__ import annotations

import gc
import os
import random
import time

import pytest
from fuzz.campaign import Tally, place, quiet, run

FIXED_SEED, FIXED_RUNS = 13, 12
FRESH_S = 2.0
SEED = int(os.environ.get("COOPY_FUZZ_SEED", random.SystemRandom().randrange(1 << 32)))


def test_whatever_is_called_and_whatever_comes_in_between_the_directory_opens_with_what_counts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    gc.collect()  # What other tests have left has finalizers of its own.
    tally, fresh = Tally(), Tally()
    # A hang is shown on the standard error of the process.
    with capsys.disabled(), quiet(), place() as folder:
        print(f"\nfuzz: COOPY_FUZZ_SEED={SEED}")
        for number in range(FIXED_RUNS):
            run(FIXED_SEED, number, folder, tally)
        until, number = time.monotonic() + FRESH_S, 0
        while time.monotonic() < until:
            run(SEED, number, folder, fresh)
            number += 1
    for seed, found in ((FIXED_SEED, tally), (SEED, fresh)):
        assert not found.violations, "\n".join(
            f"python tests/fuzz/campaign.py --seed {seed} --run {number}: {text}" for number, text in found.violations
        )
    assert 2 * tally.enough >= tally.runs, "most of the runs are long enough"
