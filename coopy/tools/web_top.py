"""What `coopy top` shows of a system that runs: how fast it is called, by which methods, and what was called last."""

from __future__ import annotations

import os
import time
from collections import Counter
from typing import Any, NamedTuple

from coopy.disk import directory, dirlock
from coopy.tools.web_journal import BUDGET_S, Journal

WINDOW_S = 10.0
"""Rates are those of the last ten seconds: a shorter span jumps, a longer one is late."""
NEWEST = 12  # Lines of the newest calls; with the methods they fill a screen of 40.


class Glance(NamedTuple):
    """A system at a moment. Rates are in calls a second."""

    last: int
    holder: int | None
    rate: float
    methods: list[tuple[str, int, float]]
    """Name, calls in all, and its rate; the busiest first."""
    newest: list[dict[str, Any]]
    segments: int
    snapshots: int
    snapshot: int | None
    """Index of the newest snapshot."""
    bytes: int
    read: int
    """Index of the last action that was read; less than ``last`` while the journal is read for the first time."""
    problem: str | None


class Watch:
    """Looks at a directory again and again. For one thread."""

    def __init__(self, basedir: str, spec: str | None) -> None:
        self._basedir = basedir
        self._journal = Journal(basedir, spec)
        self._seen: list[tuple[float, Counter[str]]] = []

    def glance(self) -> Glance:
        """Returns how it is now. Raises OSError if the directory is gone."""
        journal = self._journal
        journal.look()
        journal.scan(BUDGET_S)
        counts = journal.counts()
        now = time.monotonic()
        # While it is read for the first time, nothing is known of rates.
        self._seen = [each for each in self._seen if now - each[0] <= WINDOW_S] if journal.is_complete else []
        since, before = self._seen[0] if self._seen else (now, counts)
        self._seen.append((now, counts))
        span = max(now - since, 1.0)
        rates = {name: (number - before[name]) / span for name, number in counts.items()}
        names = os.listdir(self._basedir)
        indexes = directory.snapshots(names)
        return Glance(
            last=journal.last,
            holder=dirlock.holder(self._basedir),
            rate=sum(rates.values()),
            methods=sorted(
                ((name, number, rates[name]) for name, number in counts.items()), key=lambda each: (-each[2], -each[1])
            ),
            newest=journal.rows(limit=NEWEST, internal=True)["rows"],
            segments=len(directory.segments(names)),
            snapshots=len(indexes),
            snapshot=indexes[-1] if indexes else None,
            bytes=sum(_size(os.path.join(self._basedir, name)) for name in names),
            read=journal.done,
            problem=journal.problem,
        )

    def close(self) -> None:
        """Closes the files."""
        self._journal.close()


def _size(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except FileNotFoundError:
        return 0  # It went meanwhile.
