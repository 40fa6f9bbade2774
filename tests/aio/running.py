"""Loops for tests: a coroutine function is run to its end, and hangs no longer than a test may."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

R = TypeVar("R")
WAIT_S = 30


def going(function: Callable[[], Coroutine[Any, Any, R]]) -> R:
    """Runs a coroutine function in a loop of its own."""
    return asyncio.run(asyncio.wait_for(function(), WAIT_S))


async def until(event: threading.Event) -> None:
    """Waits for a thread without holding up the loop."""
    assert await asyncio.to_thread(event.wait, WAIT_S)


async def turns(condition: Callable[[], bool]) -> None:
    """Lets the loop go round until something holds."""
    while not condition():
        await asyncio.sleep(0)


async def begun(coroutine: Coroutine[Any, Any, R]) -> asyncio.Task[R]:
    """A task that has come to where it waits."""
    task = asyncio.ensure_future(coroutine)
    await asyncio.sleep(0)
    return task
