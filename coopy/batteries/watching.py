"""Watch: what hears of the changes of a structure, for a callback, a ``for`` loop or an ``async for`` loop.

It is filled by the thread in which the system's facts are told (`coopy.spine.facts`), and emptied by whoever reads it. Who reads slowly holds up
nobody: at most `CHANGES_MAX` changes wait, and what comes after them is fetched from the journal when its turn has come, by running the recorded
actions again on a copy. What was long ago (``after=``) is fetched in the same way.
"""

from __future__ import annotations

import asyncio
import operator
import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any

from coopy import Control, CoopyError, MissingActions, PrunedPast, SystemClosed, UsageError, control
from coopy.batteries.changes import ALL, Change
from coopy.batteries.waiters import WaiterInLoop
from coopy.ground.bell import Bell, Waiter
from coopy.ground.log import error as log_error
from coopy.ground.raised import last_resort, on_failure, or_none
from coopy.spine.facts import Again, Fact, Facts, Wants

if TYPE_CHECKING:
    from typing_extensions import Self

CHANGES_MAX = 10_000
"""So many changes wait for a slow reader: some megabytes."""

Told = Callable[[Change], object]


class Watch:
    """The changes of a structure, or of one key of it, from the next action on, or from the one after ``after``. Returned by ``d.watch()``.

    To be read by one thread or one task: with ``for change in watch``, which ends when the system is closed or no change comes for
    ``timeout`` seconds; with ``async for``, which does so while the loop goes on; or by calling it with a callback, ``watch(callback)``,
    which is called in a thread of its own. As a context manager it is closed at the end.

    >>> from coopy import init_system
    >>> from coopy.batteries import Dict
    >>> stock = init_system(Dict, "looked-at-stock")
    >>> with stock.watch(timeout=5) as changes:
    ...     stock["tea"] = 3
    ...     change = next(iter(changes))
    >>> change.kind, change.key
    ('added', 'tea')
    """

    def __init__(
        self, system: Any, key: Any, of: str | Callable[[Any], object] | None, after: int | None, timeout: float | None
    ) -> None:
        if timeout is not None and not timeout >= 0:
            raise ValueError(f"timeout={timeout!r}: must be a non-negative number of seconds, or None for ever")
        controls = control(system)
        self.wants: Wants = _wants(key, operator.attrgetter(of) if isinstance(of, str) else of)
        self._timeout = timeout
        self._control: weakref.ref[Control] = weakref.ref(controls)
        self._facts = Facts.of(system._coopy_engine)
        self._lock = threading.Lock()
        """Guards what follows."""
        self._queue: deque[Change] = deque()
        self._gap: tuple[int, int] | None = None
        """The actions after what is in the queue whose changes are to be fetched: after the first index, up to the second."""
        self._fetching: int | None = None
        """The index after which changes are just being fetched."""
        self._told = 0
        """Index of the last action that was told of."""
        self._ended = False
        self._closed = False
        self._news = Bell()
        self._thread: threading.Thread | None = None
        self._is_to_settle = False
        with self._lock:  # Nothing is heard before it is known from where on.
            newest = self._told = self._listen()
            if after is not None and after != newest:
                self._gap = after, newest
        if after is not None and (isinstance(after, bool) or not isinstance(after, int) or not 0 <= after <= newest):
            self.close()
            raise UsageError(f"after={after!r}: must be the index of an action, 0 to {newest}, or None for the newest one")

    def _listen(self) -> int:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return self._facts.listen(self)
        found = self._facts.listen_soon(self)
        self._is_to_settle = True
        loop.run_in_executor(None, self._settle_if_open)
        return found

    def _settle_if_open(self) -> None:
        with suppress(SystemClosed):  # Whoever reads is told.
            self._facts.settle()

    @property
    def last(self) -> int:
        """Index of the last action all of whose changes were handed out: go on with ``after=`` that after a restart."""
        with self._lock:
            if self._fetching is not None:
                return self._fetching
            if self._queue:
                return self._queue[0].index - 1
            return self._gap[0] if self._gap is not None else self._told

    # -- what it hears

    def hear(self, facts: list[Fact], last: int, is_sure: bool) -> None:
        """Takes what the actions up to ``last`` have said; see `coopy.spine.facts.Ear`."""
        with self._lock:
            if last <= self._told:
                return
            if self._gap is not None:
                self._gap = self._gap[0], last
            elif not is_sure or len(self._queue) + len(facts) > CHANGES_MAX:
                self._gap = self._told, last
            else:
                self._queue.extend(_change_of(fact) for fact in facts if fact.index > self._told)
            self._told = last
            is_news = bool(self._queue) or self._gap is not None
        if is_news:
            self._news.ring()

    def end(self) -> None:
        """Takes that nothing comes any more."""
        self._ended = True
        self._news.ring()

    def close(self) -> None:
        """Ends it: loops over it end. A callback that runs now is waited for, unless it is the one that calls this. Closing twice is fine."""
        self._closed = True
        self.end()
        self._facts.leave(self)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    # -- what is read

    def _next(self) -> Change | None:
        """Returns the next change, if it is there."""
        with self._lock:
            return self._queue.popleft() if self._queue and not self._closed else None

    def _fetch(self) -> None:
        """Puts in front what the journal has of the actions that are missing."""
        with self._lock:
            assert self._gap is not None, "asked before"
            (after, upto), self._gap = self._gap, None
            self._fetching = after
        with on_failure(self._not_fetched, after):
            found = self._changes_again(after, upto)
        with self._lock:
            self._queue.extendleft(reversed(found))
            self._fetching = None

    def _not_fetched(self, after: int) -> None:
        with self._lock:
            self._gap = after, self._told
            self._queue.clear()
            self._fetching = None

    def _changes_again(self, after: int, upto: int) -> list[Change]:
        controls = self._control()
        if controls is None:
            raise SystemClosed("the system was forgotten by the program, and so it is closed")
        with Again(after, self.wants) as again:
            try:
                controls.replay(upto, after)
            except (MissingActions, PrunedPast):
                # Pruned, or a node that went on with the state of another.
                return [Change(upto, datetime.now().astimezone(), "missed", ALL, None, None)]
        return [_change_of(fact) for fact in again.facts]

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Change:
        waiter = Waiter()
        while True:
            self._news.register(waiter)
            try:
                change = self._next_or_fetched()
                if change is not None:
                    return change
                if self._ended or not waiter.wait(self._timeout):
                    raise StopIteration
                self._news.pass_on(waiter)
            finally:
                self._news.leave(waiter)

    def _next_or_fetched(self) -> Change | None:
        change = self._next()
        try:
            if self._is_to_settle:
                self._facts.settle()
                self._is_to_settle = False
            while change is None and self._gap is not None and not self._closed:
                self._fetch()
                change = self._next()
        except SystemClosed:
            self._ended = self._ended or self._is_to_settle
        return change

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        loop = asyncio.get_running_loop()
        waiter = WaiterInLoop()
        while True:
            self._news.register(waiter)
            try:
                change = self._next()
                if change is None and (self._is_to_settle or self._gap is not None):
                    change = await loop.run_in_executor(None, self._next_or_fetched)
                if change is not None:
                    return change
                if self._ended or not await waiter.wait_in_loop(self._timeout):
                    raise StopAsyncIteration
                self._news.pass_on(waiter)
            finally:
                self._news.leave(waiter)

    def __call__(self, callback: Told) -> Self:
        """Calls a function with each change, in a thread of its own; what it raises is logged. Returns the watch, to be closed."""
        if not callable(callback):
            raise UsageError(f"watch({callback!r}): must be callable with a change")
        if self._thread is not None:
            raise UsageError("this watch has a callback already. Call d.watch() once more for another.")
        self._thread = threading.Thread(target=self._call, args=(callback,), name="coopy watch", daemon=True)
        self._thread.start()
        return self

    def _call(self, callback: Told) -> None:
        try:
            for change in self:
                # It is the user's code: it is told of the next change all the same. `sys.exit` would end this thread alone, without a word.
                with last_resort(_callback_raised, callback, change, of=(Exception, SystemExit, asyncio.CancelledError)):
                    callback(change)
        except CoopyError as error:
            log_error("the callback of a watch, %r, is told of nothing after action %d: %s", callback, self.last, error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<watch, told up to action {self.last}{', ended' if self._ended else ''}>"


def _callback_raised(error: BaseException, callback: Told, change: Change) -> None:
    log_error("the callback of a watch, %r, raised %r when it was told of %s", callback, error, change)


def _change_of(fact: Fact) -> Change:
    kind, key, before, after = fact.said
    return Change(fact.index, fact.time, kind, key, before, after)


def _wants(key: Any, of: Callable[[Any], object] | None) -> Wants:
    """Returns what says of each fact whether it is a change of that key of a structure: the system itself, or what ``of`` finds in it."""

    def is_change(domain: Any, source: object, said: tuple[Any, ...]) -> bool:
        return source is (domain if of is None else of(domain)) and (key is ALL or said[1] is ALL or bool(said[1] == key))

    def wants(domain: Any, source: object, said: tuple[Any, ...]) -> bool:
        # What it asks is the user's: an attribute that is not there, a key that can't be compared. The action goes on.
        return bool(or_none(is_change, domain, source, said))

    return wants
