"""Queue and PriorityQueue.

Nothing waits inside an action: other calls would wait with it, and a node that replays would wait again. So `put` and `get` answer
at once, and `coopy.batteries.handle` gives an object of the same methods that waits, outside of any action.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from queue import Empty, Full
from typing import Any, Generic, TypeVar, overload

from coopy import UsageError, abort_exception, listeners, readonly
from coopy.batteries.battery import Battery
from coopy.batteries.changes import ALL, tell_change
from coopy.batteries.frozen import copied, in_order

T = TypeVar("T")
D = TypeVar("D")


class _AnyQueue(Battery, Generic[T]):
    """What both queues have. They say how an item is added, taken and looked at, and in which order all come."""

    def __init__(self, maxsize: int = 0) -> None:
        self.maxsize = maxsize
        self._unfinished = 0

    # -- actions

    @abort_exception
    def put(self, item: T, block: bool | None = None, timeout: float | None = None) -> bool:
        """Adds an item. Returns whether there was room for it; with ``block=False`` no room raises `queue.Full` instead."""
        _refuse_to_wait("put", block, timeout)
        if not self.full():
            self._add(item)
            self._unfinished += 1
            return True
        if block is None:
            return False
        raise Full

    @abort_exception
    def put_nowait(self, item: T) -> None:
        """Adds an item. Raises `queue.Full` if there is no room for it."""
        if self.full():
            raise Full
        self._add(item)
        self._unfinished += 1

    @abort_exception
    def put_many(self, items: Iterable[T]) -> int:
        """Adds items as long as there is room. Returns how many were added."""
        found = list(in_order(items))
        if 0 < self.maxsize:
            found = found[: max(0, self.maxsize - self.qsize())]
        self._add_many(found)
        self._unfinished += len(found)
        return len(found)

    @overload
    def get(self, default: None = None, block: bool | None = None, timeout: float | None = None) -> T | None: ...

    @overload
    def get(self, default: D, block: bool | None = None, timeout: float | None = None) -> T | D: ...

    @abort_exception
    def get(self, default: Any = None, block: bool | None = None, timeout: float | None = None) -> Any:
        """Takes the next item out, and returns it, or the default if there is none; with ``block=False`` that raises `queue.Empty`."""
        _refuse_to_wait("get", block, timeout)
        if self.qsize():
            return self._take()
        if block is None:
            return default
        raise Empty

    @abort_exception
    def get_nowait(self) -> T:
        """Takes the next item out, and returns it. Raises `queue.Empty` if there is none."""
        if not self.qsize():
            raise Empty
        return self._take()

    def drain(self, limit: int | None = None) -> list[T]:
        """Takes all items out, or at most ``limit``, and returns them in the order of `get`."""
        count = self.qsize() if limit is None else max(0, min(limit, self.qsize()))
        return [self._take() for _ in range(count)]

    @abort_exception
    def task_done(self) -> None:
        """Says that an item that was taken out is dealt with. Raises ValueError if there is none."""
        if self._unfinished <= 0:
            raise ValueError("task_done() called too many times")
        self._unfinished -= 1

    @abort_exception
    def take_out(self) -> Any:
        """Takes the next item out, as `get` does, and returns what `give_back` needs to put it where it was; None if there is none. For handles."""
        return self._take_entry() if self.qsize() else None

    @abort_exception
    def give_back(self, entry: Any) -> None:
        """Puts an item back that `take_out` has returned: it is the next one again, of those of its priority."""
        self._give_back(entry)

    def clear(self) -> int:
        """Takes all items out, and counts them as dealt with. Returns how many there were."""
        return len(self._clear())

    def _clear(self) -> list[T]:
        found = self.drain()
        self._unfinished -= len(found)
        return found

    # -- reads

    @readonly
    def peek(self, default: Any = None) -> Any:
        """Returns a copy of the next item, or the default if there is none. It stays."""
        return copied(self._first()) if self.qsize() else default

    @readonly
    def qsize(self) -> int:
        """Returns how many items wait."""
        raise NotImplementedError

    @readonly
    def empty(self) -> bool:
        """Whether no item waits."""
        return not self.qsize()

    @readonly
    def full(self) -> bool:
        """Whether there is no room."""
        return 0 < self.maxsize <= self.qsize()

    @readonly
    def remaining_capacity(self) -> int | None:
        """Returns how many items there is room for; None for any number."""
        return max(0, self.maxsize - self.qsize()) if self.maxsize > 0 else None

    @readonly
    def unfinished(self) -> int:
        """Returns how many items were put in and are not dealt with, as `task_done` says."""
        return self._unfinished

    @readonly
    def rawData(self) -> list[T]:
        """Returns copies of all items in a plain list, in the order of `get`."""
        return list(map(copied, self._in_turn()))

    def __len__(self) -> int:
        return self.qsize()

    def __bool__(self) -> bool:
        return True  # As Python's queues, an empty one too.

    def __iter__(self) -> Iterator[T]:
        return map(copied, self._in_turn())

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.qsize()} items>"

    # -- what they say

    @readonly
    def _in_turn(self) -> list[Any]:
        raise NotImplementedError

    @readonly
    def _first(self) -> T:
        raise NotImplementedError

    def _add(self, item: Any) -> None:
        raise NotImplementedError

    def _add_many(self, items: list[Any]) -> None:
        for item in items:
            self._add(item)

    def _take(self) -> T:
        found: T = self._take_entry()[-1]
        return found

    def _take_entry(self) -> tuple[Any, ...]:
        """Takes the next item out. Returns what is known of it, the item last."""
        raise NotImplementedError

    def _give_back(self, entry: tuple[Any, ...]) -> None:
        raise NotImplementedError


def _refuse_to_wait(name: str, block: bool | None, timeout: float | None) -> None:
    if block or (timeout is not None and block is not False):
        raise UsageError(
            f"{name}(block={block!r}, timeout={timeout!r}): nothing waits inside an action, because all other calls would wait with "
            f"it. Call coopy.batteries.handle(queue).{name}(timeout=...), which waits outside. Nothing has changed."
        )


class Queue(_AnyQueue[T]):
    """First in, first out. ``maxsize`` refuses what is too much; ``maxlen`` lets the oldest fall out instead.

    >>> from coopy import init_system
    >>> jobs = init_system(Queue(maxsize=3), "jobs")
    >>> jobs.put("wash"), jobs.put_many(["dry", "iron", "fold"]), jobs.put("mend")
    (True, 2, False)
    >>> jobs.peek(), jobs.get(), jobs.drain(), jobs.get(), jobs.get(default="nothing")
    ('wash', 'wash', ['dry', 'iron'], None, 'nothing')
    """

    def __init__(self, maxsize: int = 0, maxlen: int | None = None) -> None:
        super().__init__(maxsize)
        self._items: deque[Any] = deque((), maxlen)

    @property
    def maxlen(self) -> int | None:
        """How many items may wait before the oldest falls out; None for any number."""
        return self._items.maxlen

    @readonly
    def qsize(self) -> int:
        """Returns how many items wait."""
        return len(self._items)

    @readonly
    def _first(self) -> T:
        found: T = self._items[0]
        return found

    @readonly
    def _in_turn(self) -> list[Any]:
        return list(self._items)

    def _add(self, item: Any) -> None:
        if len(self._items) == self._items.maxlen:
            self._unfinished -= 1  # The one that falls out is nobody's any more.
            if listeners and self._items:
                tell_change(self, "evicted", ALL, self._items[0])
        self._items.append(item)
        if listeners and self._items:
            tell_change(self, "added", ALL, None, item)

    def _take_entry(self) -> tuple[Any, ...]:
        found = self._items.popleft()
        if listeners:
            tell_change(self, "removed", ALL, found)
        return (found,)

    def _give_back(self, entry: tuple[Any, ...]) -> None:
        (item,) = entry
        if listeners:
            tell_change(self, "added", ALL, None, item)
        if len(self._items) == self._items.maxlen:
            self._unfinished -= 1  # It is the oldest, and others have come meanwhile.
            if listeners:
                tell_change(self, "evicted", ALL, item)
        else:
            self._items.appendleft(item)


class PriorityQueue(_AnyQueue[T]):
    """The smallest priority first; of equal ones the first that was put in.

    The priority of an item is that which `put` is given; otherwise the item itself, and for a tuple all of it but the last, so that
    ``(2, job)`` has the priority 2 and ``job`` needs no order. What can't be compared with the others is refused.

    >>> from coopy import init_system
    >>> jobs = init_system(PriorityQueue, "jobs-by-priority")
    >>> jobs.put((2, {"do": "dry"})), jobs.put((1, {"do": "wash"})), jobs.put((2, {"do": "iron"})), jobs.put({"do": "call"}, priority=0)
    (True, True, True, True)
    >>> jobs.drain()
    [{'do': 'call'}, (1, {'do': 'wash'}), (2, {'do': 'dry'}), (2, {'do': 'iron'})]
    """

    def __init__(self, maxsize: int = 0) -> None:
        super().__init__(maxsize)
        self._entries: list[tuple[Any, Any]] = []
        """Priorities and items in order, the next one last. Not a heap, which compares two priorities only when it takes one out: there it
        is too late to refuse what has no order."""

    @abort_exception
    def put(self, item: T, block: bool | None = None, timeout: float | None = None, *, priority: Any = None) -> bool:
        """Adds an item. Returns whether there was room; with ``block=False`` no room raises `queue.Full`. Raises TypeError, ValueError."""
        _refuse_to_wait("put", block, timeout)
        if not self.full():
            self._enter(item, priority_of(item) if priority is None else priority)
            self._unfinished += 1
            return True
        if block is None:
            return False
        raise Full

    @readonly
    def qsize(self) -> int:
        """Returns how many items wait."""
        return len(self._entries)

    @readonly
    def _first(self) -> T:
        found: T = self._entries[-1][1]
        return found

    @readonly
    def _in_turn(self) -> list[Any]:
        return [item for _, item in reversed(self._entries)]

    def _add(self, item: Any) -> None:
        self._enter(item, priority_of(item))

    def _add_many(self, items: list[Any]) -> None:
        before = list(self._entries)
        is_done = False
        try:
            for item in items:
                self._add(item)
            is_done = True
        finally:
            # What was added before one that has no order is not to stay.
            if not is_done:
                self._entries = before

    def _enter(self, item: Any, priority: Any) -> None:
        for each in (priority, *(priority if type(priority) is tuple else ())):
            if each != each:
                raise ValueError(f"{each!r} can't be a priority: it is not equal to itself. Nothing was put in.")
        entries = self._entries
        if not entries:
            _ = priority < priority  # Raises for what has no order.
        first, end = 0, len(entries)
        while first < end:
            middle = (first + end) // 2
            if priority < entries[middle][0]:
                first = middle + 1
            else:
                end = middle
        entries.insert(first, (priority, item))
        if listeners:
            tell_change(self, "added", ALL, None, item)

    def _take_entry(self) -> tuple[Any, ...]:
        entry = self._entries.pop()
        if listeners:
            tell_change(self, "removed", ALL, entry[1])
        return entry

    def _give_back(self, entry: tuple[Any, ...]) -> None:
        priority, item = entry
        entries = self._entries
        first, end = 0, len(entries)
        while first < end:
            middle = (first + end) // 2
            if entries[middle][0] < priority:
                end = middle
            else:
                first = middle + 1
        entries.insert(first, (priority, item))
        if listeners:
            tell_change(self, "added", ALL, None, item)


def priority_of(item: Any) -> Any:
    """Returns the priority of an item that is put in without one."""
    if type(item) is tuple and len(item) > 1:
        return item[0] if len(item) == 2 else item[:-1]
    return item
