"""The same system from asyncio: recorded calls go to a thread, and thousands of tasks share one sync.

    async with coopy.aio.open(Wiki, "data") as wiki:
        await wiki.create_page("Home", "text")

The thread takes all calls that wait, applies them in order, writes and waits for the disk
once and tells the loop once (`coopy.spine.calling.Calling`); meanwhile another applies what has come since. So the
loop is never held up by the disk, nor by an action that takes long. Reads are answered in the loop, at once, unless there
is something to wait for; then they queue up behind the calls.

A call is on its way from the moment its task waits for it: a task of another
loop is refused by asyncio before that. A call whose task is cancelled before the
thread has begun with it is not applied; afterwards it is, and its answer dropped.

What a task waits on is not an asyncio.Future but the call itself, which has what
a task asks of a future: it wakes its task without another turn of the loop.
"""

from __future__ import annotations

from coopy.aio.election import Election
from coopy.aio.gates import Barrier, Condition, Event, Semaphore
from coopy.aio.locks import Lock, RLock
from coopy.aio.objects import objects
from coopy.aio.opening import Opening, System, Untyped, call, close, connect, open, system_of
from coopy.aio.party import Party
from coopy.aio.subscribing import actions, subscribe
from coopy.place.options import AllOptions as Options

__all__ = [
    "Barrier",
    "Condition",
    "Election",
    "Event",
    "Lock",
    "Opening",
    "Options",
    "Party",
    "RLock",
    "Semaphore",
    "System",
    "Untyped",
    "actions",
    "call",
    "close",
    "connect",
    "objects",
    "open",
    "subscribe",
    "system_of",
]
