"""Runs in a process of its own, calls objects and says what returned, until it is killed.

    python ledgers.py DIRECTORY KEYS THREADS|tasks CALLERS DURABILITY MEMORY SEED

It prints a line before each call, "?" with the key and the token, and one after it, "!" with the key, the token and what the call has
returned: how many tokens the object has then.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import threading
from typing import Any

from objects.rooms import Ledger

import coopy
import coopy.aio
from coopy.disk import journal
from coopy.objects import opening


def say(line: str) -> None:
    os.write(1, line.encode() + b"\n")  # One write: lines of threads do not mix.


def work(ledgers: Any, keys: int, name: str, chance: random.Random) -> None:
    number = 0
    while True:
        number += 1
        key, token = f"key-{chance.randrange(keys)}", f"{name}.{number}"
        say(f"? {key} {token}")
        if chance.random() < 0.1:
            try:
                ledgers[key].undo(token)
            except ValueError:
                continue
        say(f"! {key} {token} {ledgers[key].add(token, 'x' * chance.choice((1, 30, 3000)))}")


async def work_in_a_loop(ledgers: Any, keys: int, name: str, chance: random.Random) -> None:
    number = 0
    while True:
        number += 1
        key, token = f"key-{chance.randrange(keys)}", f"{name}.{number}"
        say(f"? {key} {token}")
        say(f"! {key} {token} {await ledgers[key].add(token, 'x' * chance.choice((1, 30, 3000)))}")


async def in_a_loop(directory: str, keys: int, callers: int, options: Any, seed: int) -> None:
    async with coopy.aio.objects(Ledger, directory, **options) as ledgers:
        say("open")
        chances = [random.Random(f"{seed}.{caller}") for caller in range(callers)]
        await asyncio.gather(*(work_in_a_loop(ledgers, keys, f"{seed}.{n}", chance) for n, chance in enumerate(chances)))


def main() -> None:
    directory, keys, how, callers, durability, memory, seed = sys.argv[1:]
    opening.MEMORY_BYTES_MIN = 1
    journal.FIRST_BYTES = 1 << 18
    options: Any = {"durability": durability, "memory": int(memory), "segment_bytes": 1 << 18, "idle": 0.2}
    if how == "tasks":
        asyncio.run(in_a_loop(directory, int(keys), int(callers), options, int(seed)))
        return
    ledgers: Any = coopy.objects(Ledger, directory, **options)
    say("open")
    for caller in range(int(callers)):
        chance = random.Random(f"{seed}.{caller}")
        threading.Thread(target=work, args=(ledgers, int(keys), f"{seed}.{caller}", chance), daemon=True).start()
    threading.Event().wait()


if __name__ == "__main__":
    main()
