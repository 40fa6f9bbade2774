"""Who writes the ticks, and when."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from sync.hands import HOUR, Hand, Node, S

from coopy.errors import CoopyError, OutcomeUnknown, SystemClosed, Unavailable
from coopy.sync import boot
from coopy.sync.ticks import Count, Ticks


@pytest.fixture
def hand(monkeypatch: pytest.MonkeyPatch) -> Hand:
    return Hand(monkeypatch)


def run(hand: Hand, seconds: float, *nodes: Node) -> None:
    """Lets time go on, in hundredths of a second."""
    for _ in range(round(seconds * 100)):
        hand.go(0.01)
        for node in nodes:
            node.steps()


def test_nothing_is_written_while_nothing_waits_for_time(hand: Hand) -> None:
    node = Node("a", Ticks())
    assert node.steps() is None
    run(hand, 10, node)
    assert node.written == []


def test_it_claims_at_once_on_a_node_that_leads_and_then_ticks_once_an_interval(hand: Hand) -> None:
    node = Node("a", Ticks())
    node.ticks.begin("lock", 8 * S)
    assert node.steps() == S and node.written == ["claim"]
    hand.go(0.5)
    assert node.steps() == S // 2
    hand.go(0.5)
    assert node.steps() == S and node.written == ["claim", "tick"] and node.ticks.now == S


def test_the_last_tick_comes_when_the_lease_ends(hand: Hand) -> None:
    node = Node("a", Ticks())
    node.ticks.begin("other", 8 * S)
    node.steps()
    hand.go(0.5)
    node.ticks.begin("lock", 8 * S)
    node.ticks.begin("other", 80 * S)
    run(hand, 8.4, node)
    assert "lock" in node.ticks
    run(hand, 0.1 + 9 * 0.01, node)
    assert "lock" not in node.ticks, "9 seconds, and what was lost between ticks"
    assert 8 * S <= node.ticks.now <= 9 * S


@pytest.mark.parametrize("jump", [60.0, 3600.0, 86400.0])
def test_a_clock_that_jumps_counts_as_one_interval(hand: Hand, jump: float) -> None:
    node = Node("a", Ticks())
    node.ticks.begin("lock", 8 * S)
    node.steps()
    hand.go(jump)
    node.steps()
    assert node.ticks.now == S
    hand.go(-jump)
    assert node.steps() is not None and node.ticks.now == S


def test_another_node_takes_over_when_nothing_was_counted_for_more_than_two_intervals(hand: Hand) -> None:
    ticks = Ticks()
    one, other = Node("a", ticks), Node("b", ticks, leads=False)
    ticks.begin("lock", 8 * S)
    run(hand, 3, one, other)
    assert other.written == []
    run(hand, 1, other)  # The last tick was at 2.01.
    assert other.written == []
    run(hand, 0.03, other)
    assert other.written == ["claim"] and ticks.timekeeper == "b" and ticks.left_ns("lock") == 8 * S


def test_the_node_that_leads_by_now_claims_within_an_interval(hand: Hand) -> None:
    ticks = Ticks()
    one, other = Node("a", ticks), Node("b", ticks, leads=False)
    ticks.begin("lock", 8 * S)
    one.steps()
    other.steps()
    one.led, other.led = False, True
    found = other.keeper.step()
    assert found == 0 and ticks.timekeeper == "b"


@pytest.mark.parametrize("late_s", [0.1, 0.5, 1.0, 1.1])
def test_the_node_that_leads_takes_over_from_one_that_counts_and_gives_no_lease_more_time(hand: Hand, late_s: float) -> None:
    ticks = Ticks()
    one, other = Node("a", ticks, leads=False), Node("b", ticks, leads=False)
    ticks.begin("lock", 8 * S)
    run(hand, 2.5, one)
    assert ticks.timekeeper == "a" and ticks.left_ns("lock") == 8 * S
    run(hand, 3, other, one)
    left_ns = ticks.left_ns("lock")
    assert left_ns < 6 * S
    hand.now_ns = other.keeper._seen_ns + round(late_s * S)
    other.led = True
    other.steps()
    assert ticks.timekeeper == "b" and ticks.left_ns("lock") == left_ns
    run(hand, left_ns / S + 0.2, other)
    assert "lock" not in ticks


@pytest.mark.parametrize("late_s", [1.2, 1.9, 2.1])
def test_the_node_that_leads_after_one_that_counts_no_more_gives_every_lease_its_full_time(hand: Hand, late_s: float) -> None:
    ticks = Ticks()
    one, other = Node("a", ticks), Node("b", ticks, leads=False)
    ticks.begin("lock", 8 * S)
    run(hand, 3, one, other)
    hand.now_ns = other.keeper._seen_ns + round(late_s * S)
    other.led = True
    other.steps()
    assert ticks.timekeeper == "b" and ticks.left_ns("lock") == 8 * S


def test_a_process_that_has_just_begun_to_look_gives_every_lease_its_full_time(hand: Hand) -> None:
    ticks = Ticks()
    one, other = Node("a", ticks), Node("b", ticks)
    ticks.begin("lock", 8 * S)
    run(hand, 3, one)
    other.steps()
    assert ticks.timekeeper == "b" and ticks.left_ns("lock") == 8 * S


def test_a_lease_of_milliseconds_has_its_full_time_after_a_silence(hand: Hand) -> None:
    ticks = Ticks()
    one, other = Node("a", ticks), Node("b", ticks, leads=False)
    ticks.begin("lock", 160_000_000)
    run(hand, 0.1, other, one)
    run(hand, 0.06, other)
    assert ticks.timekeeper == "b" and ticks.left_ns("lock") == 160_000_000


def test_two_that_take_themselves_for_the_one_that_leads_do_not_take_the_role_from_each_other_for_ever(hand: Hand) -> None:
    ticks = Ticks()
    one, other = Node("a", ticks), Node("b", ticks)
    ticks.begin("lock", 8 * S)
    run(hand, 9, one, other)
    assert ticks.epoch == 2 and "lock" not in ticks


def test_who_has_lost_the_role_takes_it_again_when_it_leads_again_or_the_other_is_silent(hand: Hand) -> None:
    ticks = Ticks()
    one, other = Node("a", ticks), Node("b", ticks)
    ticks.begin("lock", 800 * S)
    run(hand, 1, one, other)
    assert ticks.timekeeper == "b"
    one.led = False
    one.steps()
    one.led = True
    one.steps()
    assert ticks.timekeeper == "a"
    run(hand, 0.1, one, other)
    assert ticks.timekeeper == "a"
    run(hand, 201, other)
    assert ticks.timekeeper == "b"


def test_a_node_that_was_cut_off_counts_nothing_and_what_it_says_later_is_ignored(hand: Hand) -> None:
    ticks = Ticks()
    one, other = Node("a", ticks), Node("b", ticks, leads=False)
    ticks.begin("lock", 80 * S)
    one.steps()
    beat = ticks.beat
    one.cut_off = True
    hand.go(10)
    with pytest.raises(Unavailable):
        one.steps()
    run(hand, 21, other)
    assert ticks.timekeeper == "b"
    before = ticks.count()
    assert ticks.tick("a", beat, HOUR) == [] and ticks.count() == before


def test_a_pause_of_the_timekeeper_counts_as_one_interval(hand: Hand) -> None:
    node = Node("a", Ticks())
    node.ticks.begin("lock", 8 * S)
    node.steps()
    run(hand, 2.5, node)
    before = node.ticks.now
    hand.go(HOUR / S)
    node.steps()
    assert node.ticks.now == before + S


class Slow(Node):
    """A node for which each action takes a time."""

    hand: Hand

    def _write(self, what: str, *args: Any) -> object:
        self.hand.go(0.25)
        found = super()._write(what, *args)
        self.hand.go(0.25)
        return found


def test_the_time_that_a_tick_is_on_its_way_is_not_counted(hand: Hand) -> None:
    node = Slow("a", Ticks())
    node.hand = hand
    node.ticks.begin("lock", 8 * S)
    began = hand.now_ns
    while "lock" in node.ticks:
        hand.go(0.01)
        node.steps()
    assert 8 * S <= hand.now_ns - began < 14 * S


class Held(Node):
    """A node for which what it writes is on its way while that happens which is told, and comes to the others after it, or never."""

    def __init__(self, name: str, ticks: Ticks, happens: Callable[[], object], error: CoopyError | None = None) -> None:
        super().__init__(name, ticks, leads=False)
        self.happens, self.error = happens, error
        self.looks = 0

    def count(self) -> Count:
        self.looks += 1
        return super().count()

    def _write(self, what: str, *args: Any) -> object:
        happens, self.happens = self.happens, lambda: None
        happens()
        if happens is not self.happens and self.error is not None:
            error, self.error = self.error, None
            raise error
        return super()._write(what, *args)


@pytest.mark.parametrize(
    "error", [None, Unavailable("no majority"), OutcomeUnknown("no answer")], ids=["refused", "no", "unknown"]
)
def test_a_beat_that_comes_while_a_claim_is_on_its_way_is_seen_then(hand: Hand, error: CoopyError | None) -> None:
    ticks = Ticks()
    one = Node("a", ticks)

    def happens() -> None:
        """Beats come late, the one that keeps the time is lost, and nobody can write for four intervals."""
        run(hand, 1.5, one)
        other.keeper.hear()
        hand.go(4)

    other = Held("b", ticks, happens, error)
    ticks.begin("lock", 80_000_000_000)
    ticks.begin("short", 8 * S)
    run(hand, 2, one)
    other.keeper.step()
    hand.go(2.5)
    if error is None:
        other.steps()
    else:
        with pytest.raises(type(error)):
            other.keeper.step()
        other.steps()
    assert ticks.timekeeper == "b" and ticks.left_ns("short") == 8 * S, "it was silent for long enough"


def test_a_beat_that_has_just_come_while_a_claim_was_on_its_way_is_of_one_that_counts(hand: Hand) -> None:
    ticks = Ticks()
    one = Node("a", ticks)

    def happens() -> None:
        run(hand, 1.5, one)
        other.keeper.hear()
        hand.go(1)

    other = Held("b", ticks, happens)
    ticks.begin("lock", 8 * S)
    run(hand, 2, one)
    other.keeper.step()
    hand.go(2.5)
    assert other.steps() == S and ticks.timekeeper == "a"


def test_the_tick_of_one_that_has_lost_the_role_meanwhile_counts_nothing_and_the_silence_of_the_other_is_heard(
    hand: Hand,
) -> None:
    ticks = Ticks()
    other = Node("b", ticks)

    def happens() -> None:
        other.steps()
        one.keeper.hear()
        hand.go(2.5)

    one = Held("a", ticks, lambda: None)
    ticks.begin("lock", 8 * S)
    one.led = True
    one.steps()
    one.led, one.happens = False, happens
    hand.go(1)
    one.steps()
    assert ticks.timekeeper == "a" and ticks.epoch == 3 and ticks.now == 0


def test_leases_that_have_gone_while_a_claim_was_on_its_way_leave_nothing_to_be_silent_of(hand: Hand) -> None:
    ticks = Ticks()

    def happens() -> None:
        ticks.end("lock")
        other.keeper.hear()
        hand.go(4)
        ticks.begin("lock", 8 * S)

    other = Held("b", ticks, happens)
    ticks.begin("lock", 8 * S)
    other.keeper.step()
    hand.go(2.5)
    assert other.steps() == S and not ticks.timekeeper


def test_who_writes_nothing_does_not_look_at_each_action(hand: Hand) -> None:
    node = Held("a", Ticks(), lambda: None)
    node.ticks.begin("lock", 8 * S)
    node.steps()
    before = node.looks
    for _ in range(3):
        node.keeper.hear()
    assert node.looks == before


def test_a_system_that_is_closed_while_a_claim_is_on_its_way_is_not_looked_at(hand: Hand) -> None:
    def happens() -> None:
        node.count = closed  # type: ignore[method-assign]
        node.keeper.hear()

    def closed() -> Count:
        raise SystemClosed("closed")

    node = Held("a", Ticks(), happens, SystemClosed("closed"))
    node.led = True
    node.ticks.begin("lock", 8 * S)
    with pytest.raises(SystemClosed):
        node.steps()


def test_the_clock_of_this_machine_goes_on() -> None:
    first = boot.now_ns()
    assert 0 <= boot.now_ns() - first < 60 * S
    if hasattr(time, "CLOCK_BOOTTIME"):
        assert abs(boot.now_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)) < 60 * S


@pytest.mark.parametrize(("platform", "name"), [("darwin", "CLOCK_MONOTONIC_RAW"), ("linux", "CLOCK_BOOTTIME")])
def test_the_clock_counts_sleep_on_every_platform(platform: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr(time, name, 77, raising=False)
    assert boot._clock_id() == 77


class Closing(Node):
    def __init__(self) -> None:
        super().__init__("a", Ticks())
        self.ended = threading.Event()
        self.is_closed = False

    def count(self) -> Any:
        if self.is_closed:
            self.ended.set()
            raise SystemClosed("closed")
        return super().count()


def test_its_thread_ends_with_the_system_and_with_close() -> None:
    node = Closing()
    node.keeper.start()
    node.is_closed = True
    node.keeper.wake()
    assert node.ended.wait(10)
    other = Node("b", Ticks())
    other.keeper.start()
    other.keeper.close()
    for each in (node, other):
        assert each.keeper._thread is not None
        each.keeper._thread.join(10)
        assert not each.keeper._thread.is_alive()


def test_its_thread_writes_and_tries_again_what_fails() -> None:
    node = Node("a", Ticks())
    node.cut_off = True
    ended = threading.Event()
    count = node.count
    node.count = lambda: (ended.set() if node.ticks.epoch and not len(node.ticks) else None, count())[1]  # type: ignore[method-assign]
    node.ticks.begin("lock", 8_000_000)
    node.keeper.start()
    while node.keeper.problem is None:
        ended.wait(0.001)
    node.cut_off = False
    assert ended.wait(10)
    node.keeper.close()
