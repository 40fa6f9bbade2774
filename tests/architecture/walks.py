"""Three walks through the house, as a person takes them who reads the code: one call, one restart, one clustered call.

    python tests/architecture/walks.py

A walk is a tree of modules, in the order in which their pages are read. What a module calls is below it, further in; when that has been
read, the page above is still open, so going back to it is no move. A step is checked: the module above imports the one below, or both
know the seam that lies between them: they import it, or say in their first line which of its interfaces they fill. A *move* is a step
into another room. A *climb* is a step to a room of a higher row, which means that somebody below calls somebody above; or a walk that
goes on at the top, in another thread, when the first one has ended further down.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from architecture.layers import MODULES, imports, name_of, room_of, row_of

# Modules whose interfaces are written down, so that one side need not know the other.
SEAMS = ("coopy.ground.storage", "coopy.ground.line", "coopy.ground.record", "coopy.spine.calling")

WALKS = {
    "one call": """
        spine.proxy             the method that was generated for the class
          spine.engine          the lock, the instant, and the order of all that follows
            values.codec        the arguments become bytes
              ground.action     with the head of a record before them
            disk.journal        the record is appended
              disk.segment
                disk.frame
              disk.commit       and the disk is waited for, together with others
            spine.machine       the method runs
        """,
    "one restart": """
        past.reading            a directory is opened
          spine.replay          snapshot and log become a machine
            disk.snapshots      the newest state that is whole
            disk.journal        the records after it
              disk.segment      block by block
                disk.frame
            values.codec        decoded, a block at a time
            spine.machine       and run again
        """,
    "one clustered call": """
        replication.sender      the call is encoded and handed over
          values.codec
          replication.outbox    gathered into a batch
            ground.batch
            network.stream      and sent into the line
              network.wire
        replication.follower    another thread follows the line
          network.stream        a batch arrives
          ground.batch          its records are taken apart
          replication.outbox    whose answers they are
          replication.applier   whose part of the work begins here
            values.codec        the arguments of all of them at once
            spine.machine       the methods run
            disk.journal        and the records are this node's, too
        """,
}
CLIMBS_MAX = {"one call": 0, "one restart": 0, "one clustered call": 3}


class Step(NamedTuple):
    """A module on a walk, and the one whose page sends there: None where a walk begins."""

    above: str | None
    module: str


def steps(walk: str) -> list[Step]:
    """Returns the steps of a walk, in order."""
    found: list[Step] = []
    way: list[tuple[int, str]] = []
    for line in textwrap.dedent(WALKS[walk]).strip().splitlines():
        depth, module = len(line) - len(line.lstrip()), f"coopy.{line.split()[0]}"
        while way and way[-1][0] >= depth:
            way.pop()
        found.append(Step(way[-1][1] if way else None, module))
        way.append((depth, module))
    return found


def _fills(path: Path) -> list[str]:
    """The seams that a module names in its first line."""
    line = path.read_text(encoding="utf-8").partition("\n")[0]
    return [seam for seam in SEAMS if f"`{seam}." in line]


def unknown_steps(walk: str) -> list[Step]:
    """Returns the steps that the imports do not bear out."""
    known = {name_of(path): {*imports(path), *_fills(path)} for path in MODULES}

    def leads(above: str, module: str) -> bool:
        if above not in known or module not in known:
            return False
        return module in known[above] or any(
            {above, module} <= {each for each in known if seam in known[each]} for seam in SEAMS
        )

    there = [step for step in steps(walk) if step.module not in known]
    return there + [step for step in steps(walk) if step.above is not None and not leads(step.above, step.module)]


def rooms(walk: str) -> set[str]:
    """Returns the rooms that a walk enters."""
    return {room_of(step.module) for step in steps(walk)}


def moves(walk: str) -> int:
    """Returns how often a walk goes from a room into another."""
    return sum(step.above is not None and room_of(step.above) != room_of(step.module) for step in steps(walk))


def climbs(walk: str) -> int:
    """Returns how often a walk goes up."""
    count, last = 0, ""
    for step in steps(walk):
        before = step.above if step.above is not None else last
        count += bool(before) and row_of(room_of(step.module)) < row_of(room_of(before))
        last = step.module
    return count


def report() -> Iterator[str]:
    """Yields the figures of each walk, a line each."""
    for walk in WALKS:
        yield f"{walk}: {len(steps(walk))} stops, {len(rooms(walk))} rooms, {moves(walk)} moves, {climbs(walk)} climbs"


if __name__ == "__main__":
    print("\n".join(report()))
