"""A slice of `make sim`: lives that are always the same, for FRESH_S seconds lives that nobody has lived before, and what they have found.

COOPY_SIM_SEED takes the fresh ones back.
"""

from __future__ import annotations

import errno
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sim import world as worlds
from sim.campaign import Tally, live, place
from sim.life import LACKING, MODULES, Life, quiet

from coopy.errors import MissingActions
from coopy.replication import follower, memory, outbox
from coopy.replication.follower import Superseded

FIXED_SEED, FIXED_LIVES = 20, 12
FRESH_S = 4.0
SEED = int(os.environ.get("COOPY_SIM_SEED", random.SystemRandom().randrange(1 << 32)))


def test_whatever_befalls_a_cluster_what_was_answered_is_there_once_on_all_nodes(capsys: pytest.CaptureFixture[str]) -> None:
    tally, fresh = Tally(), Tally()
    # A hang is shown on the standard error of the process.
    with capsys.disabled(), quiet(), place() as folder:
        print(f"\nsim: COOPY_SIM_SEED={SEED}")
        for number in range(FIXED_LIVES):
            live(FIXED_SEED, number, folder, tally)
            if tally.violations:
                break
        until, number = time.monotonic() + FRESH_S, 0
        while time.monotonic() < until and not tally.violations:
            live(SEED, number, folder, fresh)
            number += 1
    for seed, found in ((FIXED_SEED, tally), (SEED, fresh)):
        assert not found.violations, "\n".join(
            f"python tests/sim/campaign.py --seed {seed} --life {number}: {text}" for number, text in found.violations
        )
    assert tally.counts["answered"] > 50 * tally.lives, "the callers are answered"


@pytest.mark.parametrize("number", [0, 5])
def test_a_seed_makes_the_same_life_again(tmp_path: Path, number: int) -> None:
    with quiet():
        one, again, other = [
            live(seed, number, tmp_path / name, Tally(), keep_lines=True) for name, seed in zip("abc", (3, 3, 4), strict=True)
        ]
    assert one.digest == again.digest != other.digest
    assert one.lines == again.lines and one.history == again.history


class Told(Life):
    """A life in which that happens which is told, once all nodes are ready."""

    def __init__(self, folder: Path, happens: Callable[[Told], object], seed: str = "told") -> None:
        super().__init__(seed, folder, keep_lines=True)
        self.happens = happens

    def _live(self, chance: random.Random) -> None:
        for machine in self.machines:
            machine.start()
        assert self._wait(lambda: all(machine.ready for machine in self.machines), 60.0)
        self.world.block(2.0)
        self.happens(self)
        self._heal(chance)
        self._end()


def told(folder: Path, happens: Callable[[Told], object]) -> Told:
    life = Told(folder / "life", happens)
    with quiet():
        life.run()
    assert life.violations == []
    return life


def test_what_stands_in_the_line_twice_counts_once(tmp_path: Path) -> None:
    def happens(life: Told) -> None:
        memory.DUPLICATES_S = 0.0  # As if each came later than its name is remembered.
        life.net.doubled = 0.5
        life.world.block(10.0)
        machine = life.machines[0]
        assert machine.system is not None
        sequence, applied = machine.system.engine.position, len(machine.system.engine.machine.batches.writers)
        assert sequence > 40 and applied == 3

    told(tmp_path, happens)


@pytest.mark.parametrize(
    "failing",
    [
        {"sync": errno.EIO},
        {"write": errno.ENOSPC},
        {"write": errno.EIO, "sync": errno.EIO},
        {"write": errno.EDQUOT, "rename": errno.EDQUOT},
    ],
    ids=str,
)
def test_a_node_whose_disk_fails_for_some_seconds_waits_and_goes_on(tmp_path: Path, failing: dict[str, int]) -> None:
    states: list[str] = []

    def happens(life: Told) -> None:
        life.machines[1].disk.failing = failing
        life.world.block(12.0)
        system = life.machines[1].system
        assert system is not None
        states.append(system.status()["state"])

    told(tmp_path, happens)
    assert states == ["stalled"]


@pytest.mark.parametrize("failing", [{"sync": errno.EIO}, {"write": errno.ENOSPC}, {"rename": errno.EIO}], ids=str)
@pytest.mark.parametrize("begins", ["with a snapshot of another", "with a shorter journal"])
def test_a_node_that_has_to_begin_anew_while_its_disk_fails_waits_and_does_so(
    tmp_path: Path, begins: str, failing: dict[str, int]
) -> None:
    states: list[str] = []

    def happens(life: Told) -> None:
        life.machines[1].disk.failing = failing
        system = life.machines[1].system
        assert system is not None
        engine = system.engine
        if begins == "with a snapshot of another":
            engine.trouble = MissingActions("the line", 1, 1, "They were forgotten.")
        else:
            engine.trouble = Superseded(engine.machine.applied, engine.position)
        life.world.block(12.0)
        states.append(system.status()["state"])

    told(tmp_path, happens)
    assert states == ["stalled"]


@pytest.mark.parametrize("failing", [{"sync": errno.EIO}, {"write": errno.ENOSPC}], ids=str)
def test_a_node_that_has_to_read_again_what_it_has_no_memory_for_waits_and_goes_on(
    tmp_path: Path, failing: dict[str, int]
) -> None:
    def happens(life: Told) -> None:
        machine = life.machines[1]
        life.world.thread(lambda: machine.proxy.heavy("told"), "a caller", machine.host)
        life.world.block(3.0)
        LACKING.add(machine.name)
        machine.disk.failing = failing
        life.world.block(7.0)
        machine.disk.failing = {}
        life.world.block(5.0)

    told(tmp_path, happens)


def test_threads_that_are_none_of_a_world_go_on_with_what_is_real() -> None:
    met: list[object] = []
    go, done = threading.Event(), threading.Event()

    def work() -> None:
        go.wait(30)
        made = [follower.threading.Lock(), follower.threading.RLock(), follower.threading.Condition(), outbox.Lock()]
        met.extend(type(each).__module__ for each in [*made, follower.threading.Event()])
        before = time.monotonic()
        follower.time.sleep(0.01)
        met.append(before < follower.time.monotonic() < before + 30)
        met.append(follower.threading.current_thread() is threading.current_thread())
        done.set()

    threading.Thread(target=work, daemon=True).start()
    with worlds.inside("any", MODULES) as place:
        assert type(outbox.Lock()) is worlds.Lock
        place.block(1.0)
        go.set()
        assert done.wait(30)
        place.block(1.0)
    assert met[:5] == ["_thread", "_thread", "threading", "_thread", "threading"] and met[5:] == [True, True]
