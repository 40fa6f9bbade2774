"""kill -9 at random moments: of each object nothing acknowledged is missing, and its history is that of calls one after the other.

A process calls objects by many threads, or by many tasks, and says what it is about to call and what returned. It is killed, and
each object is held to what was said: every token that was acknowledged is there once, at the place that its caller was told; what else
is there was on its way. COOPY_OBJECTS_RUNS is the number of kills, COOPY_OBJECTS_SEED the seed.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from objects.rooms import Echo, Ledger
from program import environment

import coopy

RUNS = int(os.environ.get("COOPY_OBJECTS_RUNS", "4"))
SEED = int(os.environ.get("COOPY_OBJECTS_SEED", random.SystemRandom().randrange(1 << 32)))
PATIENCE_S = 60
WRITER = Path(__file__).with_name("ledgers.py")


class Said:
    """What writers have said so far."""

    def __init__(self) -> None:
        self.places: dict[str, dict[str, int]] = {}
        """By key and token: the place that the caller was told."""
        self.asked: dict[str, set[str]] = {}
        """By key: the tokens of calls that were made."""

    def take(self, line: str) -> None:
        word, key, token, *rest = line.split()
        if word == "?":
            self.asked.setdefault(key, set()).add(token)
        else:
            places = self.places.setdefault(key, {})
            assert int(rest[0]) not in places.values(), f"two calls of {key} were told the same place"
            places[token] = int(rest[0])

    def hold_to(self, ledgers: Any) -> int:
        """Holds the objects to what was said. Returns how many calls counts that nobody was told of."""
        untold = 0
        while not ledgers._engine.do_what_is_due():
            pass
        echoes = ledgers.of(Echo)
        for key in self.asked.keys() | set(ledgers.keys()):
            tokens = ledgers[key].all() if key in ledgers else []
            places = self.places.setdefault(key, {})
            assert len(set(tokens)) == len(tokens), f"a call of {key} counts twice"
            assert "never" not in tokens, "what was undone is not there"
            assert echoes[key].heard_of == tokens, f"each call of {key} has told its echo once, in order"
            assert set(tokens) <= self.asked.get(key, set()), f"{key} has what nobody has called"
            for token, place in places.items():
                assert tokens[place - 1 : place] == [token], (
                    f"{token} of {key} was acknowledged as number {place}, and is not there"
                )
            untold += len(tokens) - len(places)
            places.update({token: place for place, token in enumerate(tokens, 1)})
        return untold


def kill_a_writer(directory: Path, chance: random.Random, said: Said, number: int) -> int:
    """Runs a writer and kills it. Returns how many calls it has acknowledged."""
    arguments = (
        chance.choice((1, 7, 300)),
        chance.choice(("threads", "tasks")),
        chance.choice((1, 8, 64)),
        ("sync", "buffered")[number % 2],
        chance.choice((1, 200_000, 1 << 28)),
        number,
    )
    here = environment()
    writer = subprocess.Popen(
        [sys.executable, str(WRITER), str(directory), *map(str, arguments)],
        env={**here, "PYTHONPATH": os.pathsep.join((str(WRITER.parents[1]), here["PYTHONPATH"]))},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout is not None
    too_long = threading.Timer(PATIENCE_S, writer.kill)
    too_long.start()
    acks, wanted = 0, chance.choice((0, 1, 50, 2000))
    for line in writer.stdout:
        if not line.endswith("\n"):
            break  # Half of a line was written.
        if line == "open\n":
            if not wanted:
                writer.kill()
            continue
        said.take(line)
        acks += line[0] == "!"
        if acks == wanted:
            writer.kill()
    writer.wait()
    too_long.cancel()
    assert writer.returncode == -signal.SIGKILL, f"the writer ended by itself; {arguments}"
    return acks


@pytest.mark.timeout(60 * RUNS + 60)
def test_nothing_that_was_acknowledged_is_lost_by_a_kill(in_memory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chance, said = random.Random(SEED), Said()
    acks = untold = 0
    with capsys.disabled():
        print(f"\nobjects: COOPY_OBJECTS_SEED={SEED} COOPY_OBJECTS_RUNS={RUNS}")
    for number in range(RUNS):
        acks += kill_a_writer(in_memory / "data", chance, said, number)
        if chance.random() < 0.3:
            (in_memory / "data" / "keys.dat").unlink(missing_ok=True)
        ledgers = coopy.objects(Ledger, in_memory / "data")
        untold += said.hold_to(ledgers)
        ledgers.close()
    with capsys.disabled():
        print(f"objects: {RUNS} kills, {acks} calls acknowledged, {untold} on their way were kept")
    assert acks
