"""Structures whose every change is recorded: plain classes to be opened with `coopy.init_system`, or to be attributes of your own class.

What is read out of a structure never changes it: lists, dicts and sets come out frozen, and objects of other classes as copies; see
`coopy.batteries.frozen`. The guide docs/guides/batteries.md says which structure is for what.

The names with ``Repl`` are those of PySyncObj.
"""

from __future__ import annotations

from coopy.batteries.battery import Edit, EditConflict, watch
from coopy.batteries.caches import LRUCache, SessionStore, TTLCache
from coopy.batteries.changes import ALL, NOT_TOLD, Change
from coopy.batteries.counter import Counter
from coopy.batteries.frozen import Frozen, thawed
from coopy.batteries.ids import Ids
from coopy.batteries.limits import Barrier, Latch, RateLimiter, Semaphore
from coopy.batteries.locks import LockManager
from coopy.batteries.mappings import Dict, MultiDict, ReplDict
from coopy.batteries.queues import PriorityQueue, Queue
from coopy.batteries.ranks import Leaderboard
from coopy.batteries.sequences import Deque, List
from coopy.batteries.sets import Set
from coopy.batteries.waiting import async_handle, handle, until
from coopy.batteries.watching import Watch

ReplCounter = Counter
ReplList = List
ReplSet = Set
ReplQueue = Queue
ReplPriorityQueue = PriorityQueue
ReplLockManager = LockManager

__all__ = [
    "ALL",
    "NOT_TOLD",
    "Barrier",
    "Change",
    "Counter",
    "Deque",
    "Dict",
    "Edit",
    "EditConflict",
    "Frozen",
    "Ids",
    "LRUCache",
    "Latch",
    "Leaderboard",
    "List",
    "LockManager",
    "MultiDict",
    "PriorityQueue",
    "Queue",
    "RateLimiter",
    "ReplCounter",
    "ReplDict",
    "ReplList",
    "ReplLockManager",
    "ReplPriorityQueue",
    "ReplQueue",
    "ReplSet",
    "Semaphore",
    "SessionStore",
    "Set",
    "TTLCache",
    "Watch",
    "async_handle",
    "handle",
    "thawed",
    "until",
    "watch",
]
