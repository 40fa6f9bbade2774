"""Which machine is running an action in this thread.

The machine sets it around every action; the clock and the env ask it. Threads
that a domain method starts are outside the action, and so outside this.
"""

from __future__ import annotations

import threading
from typing import Protocol

MACHINE = "__coopy_machine__"
"""The global of the module whose frames run domain methods. Who looks at the stack for the frames of an action ends at it."""


class Moment(Protocol):
    """What the clock and the env may know of a running action."""

    header: bytes
    index: int
    secret: bytes
    draws: object | None
    deterministic: bool
    chance: object | None
    replaying: bool

    def ask(self, effect: bytes) -> None:
        """Takes an effect that the running action asks for."""
        ...


class _Current(threading.local):
    machine: Moment | None = None


current = _Current()


def replaying() -> bool:
    """Whether the method that asks runs as a part of a replay: by a start, a look at the past, or a rebuilding.

    What it prints or logs was printed or logged when the action was recorded. On a node of a cluster an action of another node is
    no replay the first time.

    See docs/guides/limits.md.
    """
    machine = current.machine
    return machine is not None and machine.replaying


def action_index() -> int:
    """Returns the index of the action that runs; 0 outside of one, as in a read, or in a test of a plain object.

    It is the same on all nodes and in every replay, and larger in each action than in all before: what an action gives out can be
    numbered by it. Two questions in one action agree. See docs/guides/locks.md.

    >>> class Orders:
    ...     def __init__(self):
    ...         self.orders = {}
    ...     def order(self, article):
    ...         self.orders[action_index()] = article  # A number that no other order has.
    >>> orders = init_system(Orders, "numbered")
    >>> orders.order("tea")
    >>> orders.order("milk")
    >>> orders.orders
    {1: 'tea', 2: 'milk'}
    """
    machine = current.machine
    return 0 if machine is None else machine.index
