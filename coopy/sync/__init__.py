"""Locks, elections and what else processes need to take turns: on one machine, or on the nodes of a cluster.

The guide docs/guides/locks.md says what is promised, and which of them is for what.
"""

from __future__ import annotations

from coopy import LockLost, NotHeld
from coopy.sync.election import Election, Term
from coopy.sync.fenced import Fenced
from coopy.sync.gates import Barrier, Condition, Event, Semaphore
from coopy.sync.lock import Lock, RLock
from coopy.sync.locks import Locks
from coopy.sync.party import Party
from coopy.sync.ticks import Count, Ticks

__all__ = [
    "Barrier",
    "Condition",
    "Count",
    "Election",
    "Event",
    "Fenced",
    "Lock",
    "LockLost",
    "Locks",
    "NotHeld",
    "Party",
    "RLock",
    "Semaphore",
    "Term",
    "Ticks",
]
