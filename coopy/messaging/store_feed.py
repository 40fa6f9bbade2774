"""Feed: the changes of a store that another process has, for a callback, a ``for`` loop or an ``async for`` loop.

Where the state is, `coopy.batteries.Watch` tells of changes as they come. Elsewhere they are asked for, by a read that is not recorded: at once
after there was one, and then less often, up to twenty times a second. The store keeps the last thousand changes for it (``Keys(changes=...)``); who
has missed more is told so by a change of the kind ``"missed"``, and hears of all that are left.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime, timezone
from types import TracebackType
from typing import TYPE_CHECKING

from coopy import SystemClosed, UsageError
from coopy.batteries import ALL, Change
from coopy.messaging.store_state import Keys

if TYPE_CHECKING:
    from typing_extensions import Self

PAUSE_S_MIN, PAUSE_S_MAX = 0.001, 0.05
Told = Callable[[Change], object]


class Feed:
    """The changes of one key, or of all that begin so, from the next one on, or from the one after ``after``.

    To be read by one thread or one task. It ends when it is closed, when the store is, or when no change comes for ``timeout`` seconds.

    >>> with store.subscribe("colour", timeout=5) as feed:
    ...     done = store.set("colour", "red")
    ...     change = next(feed)
    >>> change.after
    'red'
    """

    def __init__(self, ask: Callable[[], Keys], key: str | None, prefix: str, after: int | None, timeout: float | None) -> None:
        self.key, self.prefix = key, prefix
        self._ask = ask
        self._after = ask().revision() if after is None else after
        self._timeout = timeout
        self._queue: deque[Change] = deque()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def last(self) -> int:
        """Revision of the last action all of whose changes were handed out: go on with ``after=`` that after a restart."""
        return self._queue[0].index - 1 if self._queue else self._after

    def close(self) -> None:
        """Ends it. A callback that runs now is waited for, unless it is the one that calls this. Closing twice is fine."""
        self._closed.set()
        joined = None
        # One whose callback has raised begins another before it ends.
        while self._thread is not joined and self._thread is not threading.current_thread():
            joined = self._thread
            if joined is not None:
                joined.join()

    def _next(self) -> Change | None:
        """Returns the next change, which is asked for if none waits here."""
        if not self._queue and not self._closed.is_set():
            found, upto, is_whole = self._ask().changes(self._after, self.prefix, self.key)
            if not is_whole:
                first = found[0].index - 1 if found else upto
                self._queue.append(Change(first, datetime.now(timezone.utc), "missed", ALL, None, None))
            self._queue.extend(found)
            self._after = upto
        return self._queue.popleft() if self._queue and not self._closed.is_set() else None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Change:
        end, pause_s = self._end(), PAUSE_S_MIN
        while True:
            try:
                change = self._next()
            except SystemClosed:
                raise StopIteration from None
            if change is not None:
                return change
            if self._closed.wait(min(pause_s, end - time.monotonic())) or time.monotonic() >= end:
                raise StopIteration
            pause_s = min(2 * pause_s, PAUSE_S_MAX)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        loop, end, pause_s = asyncio.get_running_loop(), self._end(), PAUSE_S_MIN
        while True:
            try:
                change = await loop.run_in_executor(None, self._next)
            except SystemClosed:
                raise StopAsyncIteration from None
            if change is not None:
                return change
            if self._closed.is_set() or time.monotonic() >= end:
                raise StopAsyncIteration
            await asyncio.sleep(max(0.0, min(pause_s, end - time.monotonic())))
            pause_s = min(2 * pause_s, PAUSE_S_MAX)

    def _end(self) -> float:
        return time.monotonic() + (threading.TIMEOUT_MAX if self._timeout is None else self._timeout)

    def __call__(self, callback: Told) -> Self:
        """Calls a function with each change, in a thread of its own. What it raises is shown, and it is told of the next all the same. Returns the feed, to be closed."""
        if not callable(callback) or self._thread is not None:
            raise UsageError(f"subscribe(callback={callback!r}): must be callable with a change, and one for each subscription")
        self._begin(callback)
        return self

    def _begin(self, callback: Told) -> None:
        thread = threading.Thread(target=self._call, args=(callback,), name="coopy feed", daemon=True)
        thread.start()
        self._thread = thread  # Not before: who closes joins it.

    def _call(self, callback: Told) -> None:
        for change in self:
            is_told = False
            try:
                callback(change)
                is_told = True
            finally:
                # What it has raised is shown, as of every thread, and another thread tells of the next change.
                if not is_told:
                    self._begin(callback)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<feed of {self.key if self.key is not None else self.prefix + '*'!r}, told up to revision {self.last}>"
