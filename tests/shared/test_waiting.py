"""How a thread waits for an answer: it looks for a short while before it sleeps, and rarely where that brings nothing."""

from __future__ import annotations

import itertools

import pytest

from coopy.replication import waiting
from coopy.replication.waiting import SKIPPED_MAX, Waiting


class Poller:
    """Finds something when it is asked the n-th time without sleeping, and always when it sleeps."""

    def __init__(self) -> None:
        self.found_after: int | None = None
        self.looked = self.slept = 0

    def poll(self, timeout: int | None) -> list[tuple[int, int]]:
        if timeout != 0:
            self.slept += 1
            return [(1, 1)]
        self.looked += 1
        return [(1, 1)] if self.found_after is not None and self.looked > self.found_after else []


@pytest.fixture
def poller(monkeypatch: pytest.MonkeyPatch) -> Poller:
    # Each look takes a fifth of the time that is looked for.
    monkeypatch.setattr(waiting, "_now", lambda ticks=itertools.count(): next(ticks) * waiting.LOOK_S / 5)
    return Poller()


def test_what_comes_while_it_is_looked_for_is_not_slept_for(poller: Poller) -> None:
    poller.found_after = 3
    assert Waiting(poller).wait() == [(1, 1)]
    assert (poller.looked, poller.slept) == (4, 0)


def test_what_does_not_come_is_slept_for_and_then_looked_for_rarely(poller: Poller) -> None:
    waits = Waiting(poller)
    looked = []
    for _ in range(1000):
        before = poller.looked
        assert waits.wait(5) == [(1, 1)]
        looked.append(poller.looked > before)
    assert poller.slept == 1000
    # 1, 3, 7, ... waits in between, and no more than SKIPPED_MAX.
    assert [place for place, each in enumerate(looked) if each][:5] == [0, 2, 6, 14, 30]
    assert sum(looked[-SKIPPED_MAX - 1 :]) == 1


def test_where_it_comes_again_it_is_looked_for_each_time(poller: Poller) -> None:
    waits = Waiting(poller)
    for _ in range(4):
        waits.wait()
    poller.found_after = 0
    while poller.slept:
        poller.slept = 0
        waits.wait()
    for _ in range(10):
        waits.wait()
    assert poller.slept == 0


def test_nothing_is_what_comes_of_a_wait_that_was_too_long() -> None:
    class Empty:
        def poll(self, timeout: int | None) -> list[tuple[int, int]]:
            return []

    assert Waiting(Empty()).wait(1) == []
