"""Bounds: buckets of tokens, and one line for each cause and minute; all by a clock of the test's."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from network.servers import until

from coopy.network.limits import Buckets, Sparing, Together, TokenBucket


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


# -- buckets


def test_a_bucket_lets_its_burst_pass_at_once_and_then_its_rate(clock: Clock) -> None:
    bucket = TokenBucket(4, 10, clock)
    assert [bucket.take() for _ in range(12)] == [True] * 10 + [False] * 2
    assert bucket.wait_s() == 0.25
    clock.now += 0.25
    assert [bucket.take() for _ in range(2)] == [True, False]
    clock.now += 3600
    assert [bucket.take() for _ in range(12)] == [True] * 10 + [False] * 2


@pytest.mark.parametrize("rate", [3.0, 7.0, 100.0])
def test_whoever_waits_as_long_as_is_said_has_waited_long_enough(clock: Clock, rate: float) -> None:
    bucket = TokenBucket(rate, 1, clock)
    for _ in range(1000):
        waits = 0
        while not bucket.take():
            before, clock.now = clock.now, clock.now + bucket.wait_s()
            assert clock.now > before, "time passes"
            waits += 1
        assert waits <= 2


def test_what_is_refused_costs_nothing(clock: Clock) -> None:
    bucket = TokenBucket(1, 5, clock)
    assert not bucket.take(6) and bucket.take(5)
    for _ in range(100):
        assert not bucket.take()
    clock.now += 1
    assert bucket.take()


def test_a_peer_that_asks_without_end_takes_nothing_from_another(clock: Clock) -> None:
    buckets = Buckets(1, 2, clock=clock)
    assert sum(buckets.take("loud") for _ in range(1000)) == 2
    assert buckets.take("quiet")


def test_peers_without_end_take_no_memory_without_end_and_share_one_bucket(clock: Clock) -> None:
    buckets = Buckets(1, 2, peers_max=10, clock=clock)
    assert sum(buckets.take(peer) for peer in range(1000)) == 10 + 2
    assert len(buckets) == 10
    clock.now += 2
    assert buckets.take("new") and len(buckets) == 10


def test_the_peers_that_are_forgotten_are_those_of_which_nothing_was_heard_for_long(clock: Clock) -> None:
    buckets = Buckets(1, 2, peers_max=2, clock=clock)
    buckets.take("a")
    clock.now += 10
    buckets.take("b")
    buckets.take("b")
    buckets.take("c")
    assert not buckets.take("b"), "what it has taken is not forgotten"


# -- lines


@pytest.fixture
def sparing(clock: Clock) -> Sparing:
    return Sparing("coopy.network", clock=clock, causes_max=3)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return found


def test_each_cause_has_one_line_a_minute_and_the_next_says_how_many_were_left_out(
    sparing: Sparing, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    assert [sparing.warn("refused", "refused %d", number) for number in range(1000)] == [True] + [False] * 999
    assert sparing.error("lost", "lost")
    assert lines(caplog) == ["refused 0", "lost"]
    clock.now += 60
    assert sparing.warn("refused", "refused %d", 1000)
    assert lines(caplog) == ["refused 1000 [999 more of this kind were left out]"]
    clock.now += 60
    sparing.tick()
    assert sparing.warn("refused", "refused %d", 1001)
    assert lines(caplog) == ["refused 1001"]


def test_what_was_left_out_is_said_when_the_minute_is_over_though_nothing_comes_any_more(
    sparing: Sparing, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(10):
        sparing.error("refused", "refused %d", number)
    clock.now += 59
    sparing.tick()
    assert lines(caplog) == ["refused 0"]
    clock.now += 1
    sparing.tick()
    sparing.error("refused", "refused %d", 10)
    assert lines(caplog) == ["refused 9 [8 more of this kind were left out]"], "that is the line of the next minute"
    sparing.close()
    assert lines(caplog) == ["refused 10"]


def test_causes_without_end_have_no_more_lines_than_there_is_room_for_and_take_no_memory(
    sparing: Sparing, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for minute in range(3):
        for number in range(1000):
            sparing.warn(f"cause {minute} {number}", "it was %d", number)
        said = lines(caplog)
        assert len(said) <= 2 * 4 and len(sparing._said) <= 4
        clock.now += 60


def test_a_line_has_the_level_and_the_logger_that_were_asked_for(sparing: Sparing, caplog: pytest.LogCaptureFixture) -> None:
    sparing.warn("a", "a")
    sparing.error("b", "b")
    assert [(each.name, each.levelname) for each in caplog.records] == [
        ("coopy.network", "WARNING"),
        ("coopy.network", "ERROR"),
    ]


# -- together


def test_work_that_is_asked_for_while_it_is_done_is_done_once_more_for_all_who_asked() -> None:
    begun, proceed, rounds = threading.Semaphore(0), threading.Semaphore(0), list[int]()

    def work(limit_s: float) -> int:
        begun.release()
        proceed.acquire(timeout=30)
        rounds.append(len(rounds) + 1)
        return len(rounds)

    together, found = Together(work), list[int]()
    first = threading.Thread(target=lambda: found.append(together(30)))
    first.start()
    assert begun.acquire(timeout=30)
    others = [threading.Thread(target=lambda: found.append(together(30))) for _ in range(10)]
    for each in others:
        each.start()
    until(lambda: len(together._changed._waiters) == 10)  # type: ignore[attr-defined]
    proceed.release(2)
    for each in [first, *others]:
        each.join()
    assert sorted(found) == [1] + [2] * 10, "what was begun before they asked is not for them"


def test_who_waits_does_not_fail_because_another_had_too_little_time() -> None:
    begun, proceed, limits = threading.Event(), threading.Event(), list[float]()

    def work(limit_s: float) -> str:
        limits.append(limit_s)
        begun.set()
        proceed.wait(30)
        if limit_s < 10:
            raise TimeoutError("too little time")
        return "done"

    together, found = Together(work), list[Any]()

    def hasty() -> None:
        with pytest.raises(TimeoutError, match="too little time"):
            together(5)

    first = threading.Thread(target=hasty)
    first.start()
    assert begun.wait(30)
    other = threading.Thread(target=lambda: found.append(together(30)))
    other.start()
    until(lambda: len(together._changed._waiters) == 1)  # type: ignore[attr-defined]
    with pytest.raises(TimeoutError, match="not done within 0 s"):
        together(0)
    proceed.set()
    first.join()
    other.join()
    assert found == ["done"] and len(limits) == 2
