"""kill -9 of the processes that have the objects, at random: nothing acknowledged is lost, nothing counts twice, and what is told arrives once, in order.

Threads call objects of all processes, and each action tells an object of another one. Meanwhile a worker is killed, or the process that forks them, or the
one that has opened the directory, with all that belongs to it. COOPY_SHARDS_KILLS is the number of kills, COOPY_SHARDS_SEED the seed.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from objects.spread import OPTIONS, kill, opened, pids

import coopy
from coopy import OutcomeUnknown, Unavailable, env
from coopy.objects import tell

KILLS = int(os.environ.get("COOPY_SHARDS_KILLS", "5"))
SEED = int(os.environ.get("COOPY_SHARDS_SEED", random.SystemRandom().randrange(1 << 32)))
KEYS = [f"key {number}" for number in range(12)]


class Chain:
    """Each action leaves its token, and tells another object of it."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.tokens: list[str] = []
        self.drawn: list[str] = []
        self.heard_of: list[tuple[str, str]] = []

    def add(self, token: str, other: str) -> int:
        self.tokens.append(token)
        self.drawn.append(env.token_hex(2))
        tell(Chain, other).heard(self.key, token)
        return len(self.tokens)

    def heard(self, sender: str, token: str) -> None:
        self.heard_of.append((sender, token))

    @coopy.readonly
    def all(self) -> tuple[list[str], list[tuple[str, str]], list[str]]:
        return list(self.tokens), list(self.heard_of), list(self.drawn)


class Said:
    """What was called, and what was answered."""

    def __init__(self) -> None:
        self.asked: dict[str, dict[str, str]] = {key: {} for key in KEYS}
        """By key and token: whom the action tells."""
        self.places: dict[str, dict[str, int]] = {key: {} for key in KEYS}
        self.refused: set[str] = set()
        self.lock = threading.Lock()

    def call(self, chains: Any, key: str, token: str, other: str) -> None:
        with self.lock:
            self.asked[key][token] = other
        try:
            place = chains[key].add(token, other)
        except Unavailable:
            with self.lock:
                self.refused.add(token)
            return
        except OutcomeUnknown:
            return
        with self.lock:
            self.places[key][token] = place

    def hold_to(self, chains: Any) -> int:
        """Holds the objects to what was said. Returns how many calls counts that nobody was told of."""
        chains.catch_up()
        found = {key: chains[key].all() for key in KEYS}
        untold = 0
        for key, (tokens, _, _) in found.items():
            assert len(set(tokens)) == len(tokens), f"a call of {key} counts twice"
            assert not self.refused & set(tokens), "what was not recorded is not there"
            assert set(tokens) <= self.asked[key].keys()
            for token, place in self.places[key].items():
                assert tokens[place - 1] == token, f"{token} of {key} was acknowledged, and is not there"
            untold += len(tokens) - len(self.places[key])
        for key, (_, heard_of, _) in found.items():
            for sender, (tokens, _, _) in found.items():
                told = [token for token in tokens if self.asked[sender][token] == key]
                assert [token for who, token in heard_of if who == sender] == told, f"{key} hears {sender} once, in order"
        return untold


def run(chains: Any, said: Said, name: str, kills: Callable[[], None]) -> None:
    """Calls by eight threads until all is killed that is to be."""
    ended = threading.Event()

    def work(caller: int) -> None:
        chance, number = random.Random(f"{SEED}.{name}.{caller}"), 0
        while not ended.is_set():
            number += 1
            said.call(chains, chance.choice(KEYS), f"{name}.{caller}.{number}", chance.choice(KEYS))

    threads = [threading.Thread(target=work, args=(caller,), daemon=True) for caller in range(8)]
    for thread in threads:
        thread.start()
    kills()
    ended.set()
    for thread in threads:
        thread.join()


@pytest.mark.timeout(20 * KILLS + 60)
@pytest.mark.parametrize("durability", ["sync", "buffered"])
def test_nothing_is_lost_or_done_twice_by_the_end_of_workers(
    in_memory: Path, capsys: pytest.CaptureFixture[str], durability: str
) -> None:
    chance, said = random.Random(SEED), Said()

    def kills() -> None:
        for _ in range(KILLS):
            time.sleep(chance.uniform(0.05, 0.4))
            workers = [*pids(chains), chains._directory.workers._pid]
            kill(chance.choice(workers))
        time.sleep(0.2)

    with opened(Chain, in_memory / "data", 3, durability=durability) as chains:
        run(chains, said, "a", kills)
        untold = said.hold_to(chains)
        drawn = {key: chains[key].all() for key in KEYS}
    # What is replayed is what was done.
    for number in (3, 2):
        with opened(Chain, in_memory / "data", number) as chains:
            assert {key: chains[key].all() for key in KEYS} == drawn
    with capsys.disabled():
        acks = sum(map(len, said.places.values()))
        print(
            f"\nshards: COOPY_SHARDS_SEED={SEED}: {KILLS} kills, {acks} calls acknowledged, {untold} untold, {len(said.refused)} refused"
        )
    assert acks


def _open_and_call(path: Path, name: str, connection: Any) -> None:
    """Opens, and calls until it is killed; says of each call what it is about to do, and what came of it."""
    chains = coopy.objects(Chain, path, processes=2, **OPTIONS)
    lock = threading.Lock()

    class Telling(Said):
        def call(self, chains: Any, key: str, token: str, other: str) -> None:
            with lock:
                connection.send((key, token, other, 0))
            place = chains[key].add(token, other)
            with lock:
                connection.send((key, token, other, place))

    run(chains, Telling(), name, threading.Event().wait)


@pytest.mark.timeout(20 * KILLS + 60)
def test_nothing_is_lost_or_done_twice_by_the_end_of_the_process_that_has_opened(in_memory: Path) -> None:
    chance, said = random.Random(SEED), Said()
    for number in range(KILLS):
        ours, theirs = multiprocessing.Pipe()
        opener = multiprocessing.get_context("fork").Process(
            target=_open_and_call, args=(in_memory / "data", str(number), theirs)
        )
        opener.start()
        theirs.close()
        wanted = chance.choice((1, 20, 300))
        acks = 0
        while True:
            try:
                key, token, other, place = ours.recv()
            except EOFError:
                break
            said.asked[key][token] = other
            if place:
                acks += 1
                said.places[key][token] = place
                if acks == wanted and opener.pid is not None:
                    kill(opener.pid)
        opener.join()
        with opened(Chain, in_memory / "data", chance.choice((2, 3))) as chains:
            said.hold_to(chains)
