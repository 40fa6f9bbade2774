"""Group commit: whoever waits is woken once its index is durable, whatever happens to the others."""

from __future__ import annotations

import inspect
import random
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest

from coopy.disk import commit
from coopy.disk.commit import GroupCommit


class Store:
    """Indexes are handed out by `append`; a sync makes all of them durable, after a while."""

    def __init__(self, seconds: float = 0.0005) -> None:
        self.last = 0
        self.syncs = 0
        self.failing = False
        self._seconds = seconds
        self._lock = threading.Lock()
        self.commit = GroupCommit(self._sync, 0)

    def append(self) -> int:
        with self._lock:
            self.last += 1
            return self.last

    def _sync(self) -> int:
        upto = self.last
        time.sleep(self._seconds)
        if self.failing:
            raise OSError(5, "Input/output error")
        self.syncs += 1
        return upto


def run_all(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads), "somebody was never woken"


def test_every_caller_is_woken_when_its_index_is_durable_and_many_share_a_sync() -> None:
    store, early = Store(), []

    def work() -> None:
        for _ in range(50):
            index = store.append()
            store.commit.wait(index)
            if store.commit.durable < index:
                early.append(index)

    run_all([threading.Thread(target=work, daemon=True) for _ in range(24)])
    assert not early
    assert store.commit.durable == 24 * 50
    assert store.syncs < 24 * 50 / 4


def test_a_sync_that_fails_is_raised_in_everyone_who_waits() -> None:
    store, raised = Store(0.02), []
    store.failing = True

    def work() -> None:
        try:
            store.commit.wait(store.append())
        except OSError as error:
            raised.append(error.errno)

    run_all([threading.Thread(target=work, daemon=True) for _ in range(16)])
    assert raised == [5] * 16


class Held(Store):
    """A sync takes until it is let go."""

    def __init__(self) -> None:
        super().__init__(0)
        self.begun, self.let_go = threading.Event(), threading.Event()

    def _sync(self) -> int:
        upto = super()._sync()
        self.begun.set()
        assert self.let_go.wait(20)
        return upto

    def wait(self, index: int) -> threading.Thread:
        thread = threading.Thread(target=self.commit.wait, args=(index,), daemon=True)
        thread.start()
        return thread


@pytest.mark.parametrize("late", [1, 3, 8])
def test_whoever_waits_is_woken_although_others_were_tired_of_waiting_before(
    late: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Held()
    with monkeypatch.context() as impatient:
        impatient.setattr(commit, "PATIENCE_S", 0.001)
        index = store.append()
        threads = [store.wait(index) for _ in range(late + 1)]
        while len(store.commit._waiters) < 20 * late:
            time.sleep(0.001)
        store.let_go.set()
        for thread in threads:
            thread.join(20)
    monkeypatch.setattr(commit, "PATIENCE_S", 60.0)
    for each in (store.begun, store.let_go):
        each.clear()
    index = store.append()
    threads = [store.wait(index)]
    assert store.begun.wait(20)
    threads.append(store.wait(index))
    while not is_asleep(threads[-1]):
        time.sleep(0.001)
    store.let_go.set()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads), "it sleeps for as long as its patience lasts"


def sleeping_line() -> int:
    lines, first = inspect.getsourcelines(GroupCommit._sleep)
    return first + next(number for number, line in enumerate(lines) if "turn.acquire(" in line)


def is_asleep(thread: threading.Thread) -> bool:
    """Whether a caller sleeps until it is woken."""
    assert thread.ident is not None
    frame = sys._current_frames().get(thread.ident)
    return frame is not None and frame.f_code is GroupCommit._sleep.__code__ and frame.f_lineno == sleeping_line()


class Interrupted(Exception):
    pass


@contextmanager
def interrupts(within: float, seed: int) -> Iterator[None]:
    """The main thread is interrupted at random moments of its sleep."""
    chance = random.Random(seed)
    asleep = sleeping_line()
    over = False

    def raise_it(_: int, frame: FrameType | None) -> None:
        if over:
            return
        signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0001, within))
        if frame is not None and frame.f_code is GroupCommit._sleep.__code__ and frame.f_lineno == asleep:
            raise Interrupted

    before = signal.signal(signal.SIGALRM, raise_it)
    limit, _ = signal.getitimer(signal.ITIMER_REAL)  # The time-out of the test, which is told by the same signal.
    try:
        signal.setitimer(signal.ITIMER_REAL, within)
        yield
    finally:
        over = True  # A signal that was on its way does not set the timer again, for a handler that is not ours.
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, limit)


@pytest.mark.parametrize("seed", range(3))
def test_a_caller_that_is_interrupted_in_its_sleep_leaves_nobody_asleep(seed: int) -> None:
    store, stop = Store(), threading.Event()

    def work() -> None:
        while not stop.is_set():
            store.commit.wait(store.append())

    threads = [threading.Thread(target=work, daemon=True) for _ in range(6)]
    for thread in threads:
        thread.start()
    interrupted = 0
    until = time.monotonic() + 1.0
    try:
        with interrupts(0.003, seed):
            while time.monotonic() < until:
                try:
                    while time.monotonic() < until:
                        store.commit.wait(store.append())
                except Interrupted:
                    interrupted += 1
    except Interrupted:
        pass
    stop.set()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads), "somebody was never woken"
    assert interrupted > 20


class AtTheEndOfTheStack(deque[Any]):
    """Nothing can be called any more, not even in C."""

    turns = 0

    def popleft(self) -> Any:
        self.turns += 1
        if self.turns > 3:
            pytest.fail("it tries again and again")
        raise RecursionError


@pytest.mark.parametrize("what", ["_hand_over", "_wake_next"])
def test_where_there_is_no_room_to_wake_anybody_nothing_is_tried_again_and_again(what: str) -> None:
    commit = GroupCommit(lambda: 1, 0)
    commit._waiters = AtTheEndOfTheStack(["one"])
    commit._covered = AtTheEndOfTheStack(["one"])
    with pytest.raises(RecursionError):
        getattr(commit, what)()
