"""The disk as a picture: what the files of a directory hold, where they are damaged, and what pruning would free. Loads nothing."""

from __future__ import annotations

from typing import Any

from coopy.errors import CoopyError
from coopy.past.retention import retention
from coopy.tools import pruning
from coopy.tools.contents import DAMAGED, WHOLE, Contents, contents

KEEP = 3
"""What `coopy prune --keep 3` would free is shown: two snapshots to fall back to."""
WIDE = 1000  # Units of a bar from left to right.


def disk(basedir: str) -> dict[str, Any]:
    """What lies on the disk, with the places of bars. Raises what `contents` raises."""
    found = contents(basedir)
    said = found.as_dict()
    try:
        pruned = pruning.prune(basedir, retention(KEEP, None), dry_run=True)
        said["prune"] = {**pruned._asdict(), "keep": KEEP, "problem": None}
    except (CoopyError, OSError) as error:
        said["prune"] = {"snapshots": [], "files": [], "bytes": 0, "oldest": None, "keep": KEEP, "problem": str(error)}
    said["bars"] = _bars(found, frozenset(said["prune"]["files"]))
    return said


def _bars(found: Contents, going: frozenset[str]) -> list[dict[str, Any]]:
    """A bar for each file: from which action to which, on a line that has all of them."""
    last = max(found.last, 1)
    bars: list[dict[str, Any]] = []
    ends = [each.first - 1 for each in found.segments[1:]] + [last]
    for each, reaches in zip(found.segments, ends, strict=True):
        end = each.last if each.last is not None else each.first - 1
        begin, wide = _place(each.first - 1, end, last)
        wounded = each.state != WHOLE
        lost = round(max(WIDE * (reaches - end) / last, 0), 1) if wounded else 0
        bars.append({"kind": "segment", "name": each.name, "x": begin, "width": wide, "state": each.state, "lost": lost})
        bars[-1]["damage"] = begin + wide if each.state == DAMAGED else None
    for copy in found.snapshots:
        begin, _ = _place(copy.index, copy.index, last)
        bars.append(
            {"kind": "snapshot", "name": copy.name, "x": begin, "width": 0, "state": copy.state, "lost": 0, "damage": None}
        )
    for bar in bars:
        bar["goes"] = bar["name"] in going
    return bars


def _place(first: int, end: int, last: int) -> tuple[float, float]:
    begin = WIDE * first / last
    return round(begin, 1), round(max(WIDE * (end - first) / last, 2), 1)
