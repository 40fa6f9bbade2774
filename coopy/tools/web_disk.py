"""The disk as a picture: what the files of a directory hold, where they are damaged, and what pruning would free. Loads nothing."""

from __future__ import annotations

from typing import Any

from coopy.errors import CoopyError
from coopy.past.retention import retention
from coopy.tools import pruning
from coopy.tools.contents import Contents, contents

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
    bars = []
    for each in found.segments:
        end = each.last if each.last is not None else each.first
        begin, wide = _place(each.first - 1, end, last)
        place = None if each.offset is None or not each.size else begin + wide * min(each.offset / each.size, 1)
        bars.append({"kind": "segment", "name": each.name, "x": begin, "width": wide, "state": each.state, "damage": place})
    for copy in found.snapshots:
        begin, _ = _place(copy.index, copy.index, last)
        bars.append({"kind": "snapshot", "name": copy.name, "x": begin, "width": 0, "state": copy.state, "damage": None})
    for bar in bars:
        bar["goes"] = bar["name"] in going
    return bars


def _place(first: int, end: int, last: int) -> tuple[float, float]:
    begin = WIDE * first / last
    return round(begin, 1), round(max(WIDE * (end - first) / last, 2), 1)
