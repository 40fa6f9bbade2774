"""A slice of `make fuzz`: classes made up of shapes, as plain object, live system, reopened system and asyncio system side by side.

COOPY_SHAPES_SEED takes the fresh runs back.
"""

from __future__ import annotations

import os
import random

import pytest
from fuzz import shapes

FIXED_SEED, FIXED_RUNS = 7, 15
FRESH_RUNS = 10
STEPS = 12
SEED = int(os.environ.get("COOPY_SHAPES_SEED", random.SystemRandom().randrange(1 << 32)))


def test_plain_live_reopened_and_asyncio_give_the_same_answers_and_have_the_same_digests(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with capsys.disabled():
        print(f"\nshapes: COOPY_SHAPES_SEED={SEED}")
    shapes.run(FIXED_SEED, FIXED_RUNS, STEPS, shrinks=False)
    shapes.run(SEED, FRESH_RUNS, STEPS, shrinks=False)


@pytest.mark.parametrize("base", shapes.BASES)
def test_each_shape_makes_a_class_by_itself(base: str) -> None:
    for name in shapes.shapes_for(base):
        cls, source = shapes.made(base, [name])
        try:
            assert isinstance(cls(), cls), source
        finally:
            shapes.forget(cls)
