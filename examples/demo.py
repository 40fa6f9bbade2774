"""The main job, before your eyes: write, kill -9 while writing, open again, find everything.

python examples/demo.py [number of calls before the kill]
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from datetime import datetime

import coopy
from coopy import control, init_system, readonly

COLOURED = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
BOLD, GREEN, RED, PLAIN = ("\x1b[1m", "\x1b[32m", "\x1b[31m", "\x1b[0m") if COLOURED else ("",) * 4


class Wiki:
    """A plain class: no base class, no schema, no session."""

    def __init__(self) -> None:
        self.pages: dict[str, list[tuple[str, datetime]]] = {}

    def edit(self, name: str, text: str) -> int:
        """Adds a revision to a page, and returns how many it has now."""
        revisions = self.pages.setdefault(name, [])
        revisions.append((text, self._clock.now()))  # type: ignore[attr-defined]
        return len(revisions)

    @readonly
    def count(self) -> int:
        """How many revisions there are in all."""
        return sum(map(len, self.pages.values()))


def write_for_ever(directory: str) -> None:
    """The process that will be killed: says on its standard output what has been acknowledged."""
    wiki = init_system(Wiki, directory)
    number = wiki.count()
    while True:
        number += 1
        wiki.edit(f"page {number % 7}", f"text {number}")
        # Only now is the call acknowledged: it is on the disk, and the caller may tell others.
        os.write(1, b"%d\n" % number)


def write_and_kill(directory: str, calls: int) -> int:
    """Runs a writer, kills it in the middle of writing, and returns the last call it had acknowledged."""
    writer = subprocess.Popen([sys.executable, __file__, "--write", directory], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    acknowledged = 0
    for line in writer.stdout:
        acknowledged = int(line)
        if acknowledged % calls == 0:
            # It goes on writing until the signal arrives; what it still says is in the pipe, and counts.
            writer.send_signal(signal.SIGKILL)
    if writer.wait() != -signal.SIGKILL:
        sys.exit(f"the writer ended by itself, with exit code {writer.returncode}")
    return acknowledged


def opened(directory: str) -> tuple[Wiki, float]:
    """The system, and how many milliseconds it took to open it."""
    began = time.perf_counter()
    wiki = init_system(Wiki, directory)
    return wiki, (time.perf_counter() - began) * 1000


def newest(wiki: Wiki) -> str:
    """The newest revisions, newest last, as a line."""
    texts = [text for page in wiki.pages.values() for text, _ in page]
    return ", ".join(sorted(texts, key=lambda text: int(text.split()[1]))[-5:])


def main(calls: int) -> int:
    with tempfile.TemporaryDirectory(prefix="coopy-demo-") as place:
        directory = os.path.join(place, "wiki")
        print(f"{BOLD}1. A process writes to {directory}, each call on the disk before it returns{PLAIN}")
        for round_number in (1, 2):
            acknowledged = write_and_kill(directory, calls * round_number)
            print(f"   round {round_number}: killed with -9 after it had acknowledged call {acknowledged}")

        print(f"{BOLD}2. Open it again{PLAIN}")
        wiki, took_ms = opened(directory)
        kept = wiki.count()
        print(f"   {kept} calls are there, restored in {took_ms:.0f} ms; {acknowledged} were acknowledged")
        texts = sorted(int(text.split()[1]) for page in wiki.pages.values() for text, _ in page)
        complete = texts == list(range(1, kept + 1)) and kept >= acknowledged
        if complete:
            print(f"   {GREEN}every acknowledged call is there{PLAIN}", end="")
            print(f", and {kept - acknowledged} that was under way when the kill came" if kept > acknowledged else "")
        else:
            print(f"   {RED}calls are missing: {sorted(set(range(1, acknowledged + 1)) - set(texts))}{PLAIN}")

        print(f"{BOLD}3. The state as it was three calls ago{PLAIN}")
        index = control(wiki).index
        past = coopy.replay(Wiki, directory, until=index - 3)
        expected = [(f"page {number % 7}", f"text {number}") for number in range(1, kept - 2)]
        as_expected = sorted(expected) == sorted((page, text) for page in past.pages for text, _ in past.pages[page])
        print(f"   then {past.count():>5} revisions, ending in {newest(past)}")
        print(f"   now  {kept:>5} revisions, ending in {newest(wiki)}")
        if not as_expected:
            print(f"   {RED}that is not the state of three calls ago{PLAIN}")

        print(f"{BOLD}4. A snapshot keeps the next start short{PLAIN}")
        control(wiki).take_snapshot()
        control(wiki).close()
        wiki, took_ms = opened(directory)
        same = wiki.count() == kept
        control(wiki).close()
        if not same:
            print(f"   {RED}the snapshot has another state{PLAIN}")
        print(f"   opened again in {took_ms:.0f} ms: no call had to be run again")
        for name in sorted(os.listdir(directory)):
            print(f"   {os.path.getsize(os.path.join(directory, name)):>9,} bytes  {name}")
        return 0 if complete and as_expected and same else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--write"]:
        write_for_ever(sys.argv[2])
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else random.randint(300, 900)))
