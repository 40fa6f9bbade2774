"""Which snapshots stay, and with them the journal: by number, by age, or both.

A snapshot that stays needs every action behind it and none before. So one index
decides: the oldest snapshot that stays. Snapshots are forgotten before records, and
only when the oldest that stays has been read and is whole, and one that stays has been loaded once: whatever a crash
leaves of it, a later start finds a snapshot and all that follows it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from coopy.errors import StorageError, Unreadable
from coopy.ground import action
from coopy.ground.storage import Log, SnapshotStore
from coopy.place.options import checked

_NS = 1_000_000_000  # How many nanoseconds a second has.
PRUNED_IN_PART = "All that is to stay is there; of what was to go some may be gone. Free the cause and prune again."


class Retention(NamedTuple):
    """What is to stay. Where both are given, a snapshot stays if either says so; with neither, all do."""

    keep: int | None = None
    """The newest so many snapshots."""
    keep_for: int | None = None
    """Nanoseconds: whatever it takes to show the state at any time since then."""

    @property
    def keeps_all(self) -> bool:
        return self.keep is None and self.keep_for is None


def retention(keep: int | None, keep_for: float | timedelta | None) -> Retention:
    """Raises `UsageError`. ``keep_for`` in seconds, or a timedelta."""
    newest, seconds = checked("keep", keep), checked("keep_for", keep_for)
    return Retention(newest, None if seconds is None else int(seconds * _NS))


def oldest_that_stays(snapshots: SnapshotStore, rule: Retention, now: int) -> int | None:
    """The index of it; None if nothing is to go. ``now`` in nanoseconds since 1970 UTC. Raises `StorageError`."""
    instants = _instants(snapshots)
    if rule.keeps_all or not instants:
        return None
    indexes = sorted(instants)
    wanted = []
    if rule.keep is not None:
        wanted.append(indexes[-rule.keep] if rule.keep < len(indexes) else indexes[0])
    if rule.keep_for is not None:
        before = [index for index in indexes if instants[index] <= now - rule.keep_for]
        wanted.append(before[-1] if before else indexes[0])
    # What is to be relied on has been loaded once.
    oldest = min(*wanted, max(snapshots.newest_loaded, indexes[0]))
    if oldest == snapshots.indexes()[0]:
        return None
    # Nothing older goes before this one has been read; if it is damaged, the one before it stays as well.
    found = snapshots.latest(oldest)
    return found[0] if found is not None else None


def prune(log: Log, snapshots: SnapshotStore, rule: Retention, now: int) -> list[int]:
    """Forgets what need not stay; returns the indexes of the snapshots that went. Raises `StorageError`, OSError."""
    oldest = oldest_that_stays(snapshots, rule, now)
    if oldest is None:
        # A pruning that failed may have left some of the journal before the oldest snapshot.
        if not rule.keeps_all and (indexes := snapshots.indexes()):
            log.forget(indexes[0])
        return []
    gone = [index for index in snapshots.indexes() if index < oldest]
    snapshots.forget(oldest)
    log.forget(oldest)
    return gone


def _instants(snapshots: SnapshotStore) -> dict[int, int]:
    """When the last action before each snapshot happened; without those of which not even the head can be read."""
    found = {}
    for index in snapshots.indexes():
        try:
            found[index] = action.instant_of(snapshots.head(index, action.HEADER.size))
        except Unreadable:
            raise  # It may be as good as the others: nothing is deleted on a guess.
        except StorageError:
            continue
    return found
