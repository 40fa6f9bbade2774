"""Writes until it is killed, and says on its standard output what was acknowledged.

    writer.py BASEDIR THREADS DURABILITY SEGMENT_BYTES SNAPSHOT_GROWTH FILLER_BYTES TOGETHER

Lines are LINE bytes each, written by one call each, so that a reader never sees
a part of one:  "open  0 <entries>" after opening, then "ack <thread> <number>"
after each call that returned. A thread makes TOGETHER calls at once.
"""

from __future__ import annotations

import os
import sys
import threading

import handed
from crash.ledger import Ledger

from coopy import init_system

LINE = 32


def say(word: str, thread: int, number: int) -> None:
    os.write(1, f"{word:<4} {thread:>3} {number:>22}\n".encode("ascii"))


class Called(handed.Called):
    domain = Ledger


def main(
    basedir: str, threads: int, durability: str, segment_bytes: int, snapshot_growth: int, filler_bytes: int, together: int
) -> None:
    ledger = init_system(
        Ledger,
        basedir,
        durability=durability,
        segment_bytes=segment_bytes,
        snapshot_growth=snapshot_growth,
    )
    say("open", 0, len(ledger.entries))
    filler = bytes(filler_bytes)
    engine = ledger._coopy_engine

    def write(thread: int) -> None:
        number = ledger.written.get(thread, 0)
        while together == 1:
            number += 1
            say("ack", thread, ledger.add(thread, number, filler))
        while True:
            batch = [Called("add", thread, number + each, filler) for each in range(1, together + 1)]
            number += together
            for part in engine.settled(engine.begin_all(batch), batch):
                for call in part:
                    assert call.error is None, call.error
                    say("ack", thread, call.value)

    writers = [threading.Thread(target=write, args=(thread,)) for thread in range(threads)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], *map(int, sys.argv[4:]))
