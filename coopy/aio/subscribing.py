"""Asynchronous iterators over the actions of a system, as they may be told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any

from coopy import Control, control
from coopy.aio.opening import system_of
from coopy.past.history import Action

READ_MAX = 1000
"""How many actions are decoded at a time: a loop that is slow must not keep all of them in memory."""


def subscribe(system: object, after: int | None = None) -> AsyncGenerator[tuple[int, int], None]:
    """Iterates over ranges of actions, ``(first, last)``, as they may be told; see `control(system).subscribe`.

    In order and without gaps, from the action after ``after`` on; None: from the next action. Whoever is slow gets a longer range.
    Ends when the system is closed. Raises `UsageError`, `SystemClosed`.

    >>> async def main():
    ...     async with open(Wiki, "ranges") as wiki:
    ...         await asyncio.gather(*(wiki.create_page(name) for name in ("Home", "News", "Help")))
    ...         last = 0
    ...         async for first, last in subscribe(wiki, after=0):
    ...             if last == 3:
    ...                 return last
    >>> asyncio.run(main())
    3
    """
    found = system_of(system)
    return _ranges(found, found._coopy_engine.machine.reached if after is None else after)


async def actions(system: object, after: int | None = None) -> AsyncGenerator[Action, None]:
    """Iterates over actions, decoded, as they may be told; as `subscribe` otherwise. The journal is read in another thread.

    >>> async def main():
    ...     async with open(Wiki, "told") as wiki:
    ...         await wiki.create_page("Home", "Welcome")
    ...         async for each in actions(wiki, after=0):
    ...             return each.index, each.method, each.args
    >>> asyncio.run(main())
    (1, 'create_page', ('Home', 'Welcome'))
    """
    found = control(system_of(system))
    loop = asyncio.get_running_loop()
    async for first, last in subscribe(system, after):
        while first <= last:
            read = partial(_some, found, first, min(last, first + READ_MAX - 1))
            for each in await loop.run_in_executor(None, read):
                yield each
            first += READ_MAX


def _some(found: Control, first: int, last: int) -> list[Action]:
    return list(found.actions(first, last))


async def _ranges(found: Any, after: int) -> AsyncGenerator[tuple[int, int], None]:
    loop = asyncio.get_running_loop()
    news = asyncio.Event()
    newest, is_over = after, False

    def tell(last: int | None) -> None:
        nonlocal newest, is_over
        newest, is_over = (newest, True) if last is None else (last, is_over)
        news.set()

    def soon(last: int | None) -> None:
        try:
            loop.call_soon_threadsafe(tell, last)
        except RuntimeError:
            pass  # The loop is closed: nobody waits any more.

    begin = partial(control(found).subscribe, lambda _, last: soon(last), after, lambda: soon(None))
    # It takes the lock, which an action may have for long.
    subscription = await loop.run_in_executor(None, begin)
    try:
        while True:
            if newest > after:
                first, after = after + 1, newest
                yield first, after
            elif is_over:
                return
            else:
                await news.wait()
                news.clear()
    finally:
        await loop.run_in_executor(None, subscription.close)
