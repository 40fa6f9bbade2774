"""The power is cut at any moment in a life of many objects: all that was acknowledged is there, and each object is a beginning of itself.

The disk is the model of `crash.disk_model`. A failure names the life. COOPY_OBJECTS_LIVES lives are run from COOPY_OBJECTS_SEED on.
"""

from __future__ import annotations

import logging
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crash.disk_model import Disk, Recorder, Said, everything, nothing, put, some
from crash.power import SEGMENT_BYTES, Quick, small_segments
from handed import Called
from objects.rooms import Echo, Ledger, crashed

from coopy.objects import opening

LIVES = int(os.environ.get("COOPY_OBJECTS_LIVES", "2"))
SEED = int(os.environ.get("COOPY_OBJECTS_SEED", "0"))
SHARE = 0.06
STEPS = 30


class OfLedger(Called):
    domain = Ledger


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    logger = logging.getLogger("coopy")
    before = logger.level
    logger.setLevel(logging.ERROR)
    monkeypatch.setattr(opening, "MEMORY_BYTES_MIN", 1)
    yield
    logger.setLevel(before)


def opened(calls: Recorder, directory: Path, durability: str, memory: int = 1 << 28) -> Any:
    options = {"durability": durability, "segment_bytes": SEGMENT_BYTES}
    return opening.opened(Ledger, directory, memory, 60.0, options, calls).of(Ledger)


class Life:
    """What happened, and how it ended."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.chance = chance = random.Random(seed)
        self.durability = chance.choice(("sync", "sync", "buffered"))
        self.calls = Recorder(mapped=chance.random() < 0.5)
        self._memory = chance.choice((1, 10_000, 1 << 28))
        self._filler = chance.choice((10, 300, 9_000))
        self._directory = directory
        self._token = 0
        ledgers = self._opened()
        for _ in range(STEPS):
            what = chance.choices(
                ("add", "undo", "together", "passivate", "table", "compact", "close", "kill"), (20, 3, 4, 2, 2, 3, 2, 3)
            )[0]
            if what == "add":
                key, token, filler = self._call()
                ledgers[key].add(token, filler)
                self._durable(token)
            elif what == "undo":
                key, token, _ = self._call()
                with pytest.raises(ValueError):
                    ledgers[key].undo(token)
            elif what == "together":
                batch = []
                for _ in range(chance.choice((3, 80))):
                    key, token, filler = self._call()
                    batch.append(OfLedger("add", ledgers.kind, ledgers.stored(key), token, filler[:300]))
                engine = ledgers._engine
                for part in engine.settled(engine.begin_all(batch), batch):
                    for each in part:
                        assert each.error is None, each.error
                        self._durable(each.args[2])
            elif what == "passivate":
                ledgers.passivate()
            elif what == "compact":
                ledgers.compact()
            elif what == "table":
                ledgers._engine.keep_table()
            else:
                (crashed if what == "kill" else type(ledgers).close)(ledgers)
                ledgers = self._opened()
        self.final = {key: ledgers[key].all() for key in ledgers}
        ledgers.close()

    def _opened(self) -> Any:
        return opened(self.calls, self._directory, self.durability, self._memory)

    def _call(self) -> tuple[str, str, str]:
        self._token += 1
        token = str(self._token)
        self.calls.say("issued", token)
        return f"key {self.chance.randrange(5)}", token, "x" * self.chance.randrange(self._filler)

    def _durable(self, token: str) -> None:
        if self.durability == "sync":
            self.calls.say("durable", token)

    def hold(self, ledgers: Any, said: list[Said]) -> None:
        """Holds what was found to what happened."""
        issued = {note.what for note in said if note.word == "issued"}
        durable = {note.what for note in said if note.word == "durable"}
        found = {key: ledgers[key].all() for key in ledgers}
        for key, tokens in found.items():
            assert tokens == self.final[key][: len(tokens)], f"{key} is no beginning of itself"
            assert issued.issuperset(tokens), f"{key} has what was not called yet"
            assert len(ledgers[key].drawn) == len(tokens)
        missing = durable.difference(*found.values())
        assert not missing, f"{sorted(missing)} were acknowledged, and are not there"
        while not ledgers._engine.do_what_is_due():
            pass
        for key, tokens in found.items():
            assert ledgers.of(Echo)[key].heard_of == tokens, f"what {key} has told was not done once, in order"
        # They go on.
        ledgers["key 0"].add("after", "")
        ledgers.passivate()
        assert ledgers["key 0"].all() == [*found.get("key 0", []), "after"]


def one_life(root: Path, seed: int) -> int:
    """Cuts a life at a share of its moments. Returns at how many."""
    home = root / "a" / "ledgers"
    home.parent.mkdir(parents=True)
    life = Life(home, seed)
    chance, disk, cuts = random.Random(seed), Disk(str(home)), 0
    for place, note in enumerate(life.calls.notes):
        disk.follow(note)
        if isinstance(note, Said):
            continue
        for keep in (everything, nothing, some(chance, 0.5), some(chance, 0.9)):
            if chance.random() >= SHARE:
                continue
            found = disk.found(keep)
            cuts += 1
            if found is None:
                assert not any(each.word == "durable" for each in disk.said)
                continue
            after = root / "after"
            put(found, after)
            try:
                ledgers = opened(Quick(), after, life.durability)
                life.hold(ledgers, list(disk.said))
                crashed(ledgers)
            except Exception as problem:
                raise AssertionError(f"life {seed} ({life.durability}), cut after note {place}: {problem}") from problem
            shutil.rmtree(after)
    return cuts


@pytest.mark.timeout(60 + 30 * LIVES)
def test_nothing_that_was_acknowledged_is_lost_when_the_power_is_cut(in_memory: Path) -> None:
    with small_segments():
        cuts = sum(one_life(in_memory / str(seed), seed) for seed in range(SEED, SEED + LIVES))
    print(f"\nobjects: {cuts} power cuts in {LIVES} lives")
    assert cuts > 10 * LIVES
