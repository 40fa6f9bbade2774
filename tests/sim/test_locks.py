"""A slice of `make locks`: seconds of a life that is always the same, unless COOPY_SIM_SEED says which one, and what a life must notice."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from crash.mutants import ROOT, mutated
from sim.life import quiet
from sim.locks import PLANTED, last, live, told
from sim.turns import TICK_S, TTL_S, Truth, Turns

from coopy.sync import Fenced, presence
from coopy.sync.ticks import Ticks

SEED, SLICE_MINUTES = int(os.environ.get("COOPY_SIM_SEED", 7)), 0.1


def test_whatever_befalls_them_a_lock_has_one_holder_and_its_time() -> None:
    life = live(SEED, SLICE_MINUTES)
    assert not life.violations, f"python tests/sim/locks.py --minutes {SLICE_MINUTES} --seed {SEED}: {told(life)}"
    assert life.counts["acts"] > 100 and life.counts["cluster: locks given"] > 50


class Told(Turns):
    """A life in which that happens which is told, once all have begun."""

    def __init__(self, folder: Path, happens: Callable[[Told], object]) -> None:
        super().__init__("told", folder, 0.0)
        self.happens = happens

    def _heal(self, chance: random.Random) -> None:
        if self.happens is not None:
            happens, self.happens = self.happens, None  # type: ignore[assignment]
            happens(self)
        super()._heal(chance)


def told_life(folder: Path, happens: Callable[[Told], object]) -> Told:
    life = Told(folder / "life", happens)
    with quiet():
        life.run()
    return life


def test_a_life_notices_a_holder_that_goes_on_for_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "HELD", 2 * presence.HELD_OF)

    def happens(life: Told) -> None:
        for machine in life.machines:
            assert machine.host is not None
            life.world.pause(machine.host)
            life.world.block(2 * TTL_S)

    assert any("was given with token" in each or "acts with token" in each for each in told_life(tmp_path, happens).violations)


def test_a_life_notices_a_resource_that_takes_any_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fenced, "check", lambda self, resource, token: self._highest.__setitem__(resource, token))

    def happens(life: Told) -> None:
        truth = life.truths["cluster"]
        truth.acts_late("stock", 7, "one")
        truth.acts_late("stock", 9, "another")
        truth.acts_late("stock", 8, "the one before")

    assert told_life(tmp_path, happens).violations == ["cluster: the resource took token 8 of the one before after a later one"]


def test_a_life_notices_leases_that_end_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tick = Ticks.tick

    def twice(self: Ticks, timekeeper: str, beat: int, elapsed_ns: int) -> Any:
        return tick(self, timekeeper, beat, elapsed_ns) + tick(self, timekeeper, self.beat, elapsed_ns)

    monkeypatch.setattr(Ticks, "tick", twice)

    def happens(life: Told) -> None:
        machine = life.machines[0]
        machine.kill()
        life.world.block(TTL_S + 2 * TICK_S)

    assert any("before its time" in each for each in told_life(tmp_path, happens).violations)


def test_a_life_notices_a_lock_that_nobody_gets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim.turns.SERVED_S", 0.0)
    monkeypatch.setattr("sim.life.READY_S", 10.0)

    def happens(life: Told) -> None:
        monkeypatch.setattr(Truth, "acts", lambda *args: life.world.block(1e6))

    assert any("these have got no lock" in each for each in told_life(tmp_path, happens).violations)


@pytest.mark.skipif(not os.environ.get("COOPY_LOCKS"), reason="a part of make locks: two lives, each alone in its process")
def test_the_last_seconds_of_a_life_can_be_read_and_reading_them_changes_nothing() -> None:
    found, other = live(SEED, 0.01, keep_lines=True), live(SEED, 0.01)
    assert found.digest == other.digest and not other.lines
    some = last(found.lines, 2.0)
    assert found.lines[-len(some) :] == some and any("has beat" in each and "left: " in each for each in some)
    assert float(some[-1].split()[0]) - float(some[0].split()[0]) <= 2.0
    assert last([], 2.0) == []


@pytest.mark.parametrize("mutant", PLANTED, ids=[mutant.name for mutant in PLANTED])
def test_what_is_planted_is_planted_where_it_says(mutant: Any) -> None:
    source = mutated((ROOT / mutant.file).read_text(encoding="utf-8"), mutant.edits[0], mutant.name)
    compile(source, mutant.file, "exec")
