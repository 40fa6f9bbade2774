"""Events appended and followed while processes are killed: `make events`.

    python tests/messaging/events_campaign.py --events 1000000 --consumers 4 --every 1

One process appends, in batches with ids; others follow, each by a name of its own, and acknowledge batch by batch. All share the directory. One of the
consumers is killed with -9 every so many seconds, each third time the one that appends, and begun again at once: a killed one may be the one that
writes the journal, too. Each says in a file of its own what it has seen, and what was acknowledged to it, before it goes on; so a kill loses none of it.

At the end: every event is there once and in order, whatever was repeated; and each consumer has seen every event, in order and without a gap, none of them again that it
had acknowledged, and after a kill goes on exactly where it had acknowledged.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from coopy import LockLost
from coopy.messaging import EventSource

BATCH = 200
LEASE_S = 3.0
"""So long nobody follows by the name of a consumer that was killed."""
PATIENCE_S = 60.0
PAUSE_S = 0.01
"""Between two appends, so that there is something to come for as long as consumers follow."""


def said(path: Path) -> list[tuple[str, int, int]]:
    """Returns what a process has said: whole lines alone."""
    if not path.exists():
        return []
    lines = path.read_text().rpartition("\n")[0].splitlines()
    return [(what, int(first), int(last)) for what, first, last in (line.split() for line in lines)]


def begins(path: Path) -> int:
    """Returns how often a consumer has begun."""
    return sum(what == "begins" for what, _, _ in said(path))


class Sayer:
    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def __call__(self, what: str, first: int, last: int) -> None:
        os.write(self._file, f"{what} {first} {last}\n".encode())


# -- what a process does


def append(folder: Path, events: int, durability: str) -> None:
    done = [first for what, first, _ in said(folder / "append") if what == "appended"]
    say = Sayer(folder / "append")
    with EventSource(folder / "events", shared=True, durability=durability) as source:
        for first in range(done[-1] + BATCH if done else 0, events, BATCH):
            numbers = range(first, min(first + BATCH, events))
            outcome = source.append("all", [b"%d" % number for number in numbers], id=f"batch {first}").check()
            assert (outcome.first, outcome.last) == (numbers[0], numbers[-1]), outcome
            say("appended", first, outcome.last)
            time.sleep(PAUSE_S)


def follow(folder: Path, name: str, events: int, durability: str) -> None:
    say = Sayer(folder / name)
    with EventSource(folder / "events", shared=True, durability=durability) as source:
        while not has_come_to_the_end(source, say, name, events):
            pass  # On a machine that is too busy a lease is lost. It goes on where it has acknowledged, as any other would.


def has_come_to_the_end(source: EventSource, say: Sayer, name: str, events: int) -> bool:
    with suppress(LockLost), source.follow(name, lease=LEASE_S) as following:
        say("begins", following.position, 0)
        while following.position < events:
            found = following.batch(BATCH, timeout=PATIENCE_S)
            if not found:
                raise SystemExit(f"{name}: nothing came for {PATIENCE_S} s at {following.position}")
            for number, event in enumerate(found, found[0].offset):
                assert event.offset == number and event.data == b"%d" % number and event.gap == 0, event
            say("seen", found[0].offset, found[-1].offset)
            following.ack(found[-1])
            say("acked", found[0].offset, found[-1].offset)
        return True
    return False


# -- the campaign


def start(folder: Path, what: str, name: str, events: int, durability: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, __file__, what, str(folder), name, "--events", str(events), "--durability", durability]
    )


def judged(folder: Path, names: list[str], events: int) -> list[str]:
    """Returns what is wrong."""
    found = []
    for name in names:
        acked = seen = -1
        for what, first, last in said(folder / name):
            if what == "begins":
                # An acknowledgement counts from when it is recorded, which may not have been said yet.
                if first - 1 not in (acked, seen):
                    found.append(f"{name} begins at {first}, and had acknowledged {acked} and seen {seen}")
                acked = seen = first - 1
            elif what == "seen":
                if first != seen + 1:
                    found.append(f"{name} has seen {first} after {seen}")
                seen = last
            elif what == "acked":
                acked = last
        if acked != events - 1:
            found.append(f"{name} has come to {acked} of {events}")
    return found


def campaign(folder: Path, events: int, consumers: int, every: float, durability: str, seed: int) -> list[str]:
    chance = random.Random(seed)
    names = [f"consumer-{number}" for number in range(consumers)]
    kinds = dict.fromkeys(names, "follow") | {"append": "append"}
    processes = {name: start(folder, kind, name, events, durability) for name, kind in kinds.items()}
    kills, starts = {"follow": 0, "append": 0}, dict.fromkeys(names, 1)
    """Of each consumer, which beginning is to come: one that has not begun again is not killed."""
    began, wrong = time.monotonic(), []
    while processes:
        time.sleep(every)
        for name in [name for name, each in processes.items() if each.poll() is not None]:
            code = processes.pop(name).returncode
            if code:
                wrong.append(f"{name} ended with {code}")
        living = [name for name in processes if kinds[name] == "follow" and begins(folder / name) >= starts[name]]
        name = "append" if "append" in processes and sum(kills.values()) % 3 == 2 else chance.choice(living) if living else ""
        if name:
            processes[name].send_signal(signal.SIGKILL)
            processes[name].wait()
            kills[kinds[name]] += 1
            starts[name] = begins(folder / name) + 1
            processes[name] = start(folder, kinds[name], name, events, durability)
    took = time.monotonic() - began
    with EventSource(folder / "events") as source:
        number = -1
        for number, event in enumerate(source.read()):
            if event.offset != number or event.data != b"%d" % number or event.version != number + 1:
                wrong.append(f"event {number} is {event}")
                break
        if number != events - 1:
            wrong.append(f"{number + 1} events are there")
    wrong += judged(folder, names, events)
    begun = sum(begins(folder / name) for name in names)
    print(
        f"{events} events, {consumers} consumers, {durability}, seed {seed}: {kills['follow']} consumers and {kills['append']} that append killed in "
        f"{took:.0f} s, {begun} times a consumer went on; {len(wrong)} things wrong"
    )
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["append", "follow"])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("name", nargs="?", default="")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--consumers", type=int, default=4)
    parser.add_argument("--every", type=float, default=1.0)
    parser.add_argument("--durability", default="buffered")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    given: Any = parser.parse_args()
    if given.what == "append":
        append(given.folder, given.events, given.durability)
    elif given.what == "follow":
        follow(given.folder, given.name, given.events, given.durability)
    else:
        folder = Path(tempfile.mkdtemp(prefix="coopy-events-"))
        wrong = campaign(folder, given.events, given.consumers, given.every, given.durability, given.seed)
        print("\n".join(wrong[:20]), end="\n" if wrong else "")
        if wrong:
            sys.exit(f"what was left is in {folder}")
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
