"""The twins of coopy.aio pass the tests that CPython has of the locks of asyncio, as far as these make sense here.

Not run are those that look at private attributes (``_waiters``, ``_value``, ``_lock``, ``_loop``) or at the text of a lock; those of the parameter ``loop``; those with a
semaphore without permits, or of one that releases what it does not hold; those in which tasks that ask in the same turn of the loop come in the order of their creation, as it is
threads that ask for them; those that want the lock again after a cancelled `Condition.wait`; and those of how asyncio.Barrier drains.

In asyncio `release`, `set`, `notify` and questions are answered at once. Here they are calls of the system, and awaited; so that the tests can be run as
they are, they are made by the handle of threads in the loop, which stands still meanwhile. And ``await asyncio.sleep(0)`` waits here until no
thread has anything to do, as what asyncio does in one turn of the loop is done by threads.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import types
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from cpython import outcomes

from coopy import aio, control, sync
from coopy.sync import Lock, Locks
from coopy.sync.presence import Presence
from coopy.testing import memory_system

RUN: dict[str, set[str]] = {
    "LockTests": {
        "test_context_manager",
        "test_lock_by_with_statement",
        "test_release_no_waiters",
        "test_release_not_acquired",
    },
    "EventTests": {"test_clear", "test_wait_on_set"},
    "ConditionTests": {
        "test_context_manager",
        "test_notify_all_unacquired",
        "test_notify_unacquired",
        "test_wait_cancel_after_notify",
        "test_wait_for",
        "test_wait_for_unacquired",
        "test_wait_unacquired",
    },
    "SemaphoreTests": {"test_release_no_waiters", "test_release_not_acquired", "test_semaphore_value"},
    "BarrierTests": {
        "test_blocking_tasks_while_draining",
        "test_context_manager",
        "test_filling_one_task",
        "test_filling_tasks_check_return_value",
        "test_filling_tasks_wait_twice",
    },
}


class Counting(ThreadPoolExecutor):
    """Threads that are counted while they do something."""

    def __init__(self) -> None:
        super().__init__(8)
        self.busy = 0

    def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:
        self.busy += 1
        found = super().submit(*args, **kwargs)
        found.add_done_callback(self._is_done)
        return found

    def _is_done(self, _: object) -> None:
        self.busy -= 1


class World:
    """A system of locks, and asyncio as a test of CPython sees it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.locks: Any = memory_system(Locks)
        self.keeps = Lock("keeps", system=self.locks)
        self.telling = 0
        self._names = map(str, itertools.count())
        self._executors: dict[int, Counting] = {}
        told = Presence._told

        def tell(presence: Presence, *args: Any) -> None:
            self.telling += 1
            try:
                told(presence, *args)
            finally:
                self.telling -= 1

        monkeypatch.setattr(Presence, "_told", tell)
        self.asyncio = types.SimpleNamespace(**vars(asyncio))
        self.asyncio.sleep = self.sleep
        for kind in (AtOnceLock, AtOnceCondition, AtOnceEvent, AtOnceSemaphore, AtOnceBarrier):
            setattr(self.asyncio, kind.__base__.__name__, self._maker(kind))  # type: ignore[union-attr]
        self.asyncio.BoundedSemaphore = self.asyncio.Semaphore

    def _maker(self, kind: Any) -> Any:
        def make(*args: Any, **kwargs: Any) -> Any:
            return kind(next(self._names), *args, system=self.locks, **kwargs)

        return make

    def threads(self) -> Counting:
        """Returns the executor of the loop."""
        loop = asyncio.get_running_loop()
        if id(loop) not in self._executors:
            self._executors[id(loop)] = Counting()
            loop.set_default_executor(self._executors[id(loop)])
        return self._executors[id(loop)]

    async def sleep(self, seconds: float) -> None:
        """Waits so many seconds, and until no thread has anything to do."""
        threads = self.threads()
        await asyncio.sleep(seconds)
        for _ in range(3):
            while threads.busy or self.telling or self.keeps._presence._changes != self.locks.changes:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0)


class AtOnceLock(aio.Lock):
    def release(self) -> Any:
        self._used().release_by(asyncio.current_task())

    def locked(self) -> bool:
        return self._handle is not None and self._handle.locked()


class AtOnceCondition(aio.Condition):
    def __init__(self, name: str, lock: Any = None, *, system: Any) -> None:
        super().__init__(name, AtOnceLock(name, system=system) if lock is None else lock)

    def release(self) -> Any:
        self.lock.release()

    def locked(self) -> Any:
        return self.lock.locked()  # type: ignore[attr-defined]

    def notify(self, n: int = 1) -> Any:
        self.lock._used().notify(self.name, n)

    def notify_all(self) -> Any:
        self.notify(sync.gates.ALL)


class AtOnceEvent(aio.Event):
    def __init__(self, name: str, *, system: Any) -> None:
        super().__init__(name, system=system)
        self._there = sync.Event(name, system=system)

    def set(self) -> Any:
        self._there.set()

    def clear(self) -> Any:
        self._there.clear()

    def is_set(self) -> Any:
        return self._there.is_set()


class AtOnceSemaphore(aio.Semaphore):
    def __init__(self, name: str, value: int = 1, *, system: Any) -> None:
        super().__init__(name, value, system=system)
        self._there, self._of = value, system

    def release(self, n: int = 1) -> Any:
        self._used().release(n)

    def locked(self) -> bool:
        return len(self._of.held().get(self.name, ())) == self._there


class AtOnceBarrier(aio.Barrier):
    def __init__(self, name: str, parties: int, *, system: Any) -> None:
        super().__init__(name, parties, system=system)
        self._there = sync.Barrier(name, parties, system=system)

    @property
    def n_waiting(self) -> Any:
        return self._there.n_waiting

    @property
    def broken(self) -> Any:
        return self._there.broken


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    found = World(monkeypatch)
    yield found
    found.keeps.close()
    control(found.locks).close()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="those of Python 3.10 count the turns of the loop, and have no barrier")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", RUN)
def test_a_twin_passes_tests_of_the_lock_of_asyncio_that_it_is_named_after(name: str, world: World) -> None:
    said = outcomes("test.test_asyncio.test_locks", name, {}, {"asyncio": world.asyncio}, only=RUN[name])
    assert said
    for test, text in said.items():
        assert not text, f"{test}: {text}"
