"""What the state of a queue decides: which task is next, and what becomes of one whose worker ends, raises or is silent."""

from __future__ import annotations

import pickle
import random
from typing import Any

import pytest

from coopy import UsageError, control
from coopy.messaging import Tasks
from coopy.messaging.task_records import Claim, Options
from coopy.testing import Clock, memory_system

LEASE_S = 30.0
S = 1_000_000_000


class Hand:
    """A queue whose clock stands, with one worker "w"."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.freeze()
        self.tasks: Any = memory_system(Tasks, clock=self.clock, validation="off")
        self.tasks.begin("w", LEASE_S)

    def put(self, name: str = "t", **options: Any) -> int:
        return int(self.tasks.put([(name, b"", Options(**options))])[0])

    def take(self, number: int = 1, *said: tuple[Any, ...], session: str = "w", lanes: list[str] | None = None) -> list[Claim]:
        return list(self.tasks.swap(session, lanes, number, said)[0])

    def numbers(self, number: int = 100, *said: tuple[Any, ...]) -> list[int]:
        return [claim.id for claim in self.take(number, *said)]

    def done(self, claim: Claim) -> None:
        self.take(0, (claim.id, claim.token, "finished"))

    def state(self, number: int) -> str:
        return str(self.tasks.look(number).state)


@pytest.fixture
def hand() -> Hand:
    return Hand()


# -- which is next


def test_tasks_come_in_the_order_in_which_they_were_sent_and_those_of_a_higher_priority_first(hand: Hand) -> None:
    one, two, three = hand.put(), hand.put(priority=1), hand.put(priority=1)
    assert hand.numbers() == [two, three, one]


def test_a_worker_takes_those_of_its_lanes_only_and_the_most_urgent_of_all_of_them(hand: Hand) -> None:
    a, b, c = hand.put(lane="a"), hand.put(lane="b", priority=1), hand.put(lane="c", priority=2)
    assert [each.id for each in hand.take(5, lanes=["a", "b"])] == [b, a]
    assert hand.tasks.due_in(["a", "b"]) is None and hand.tasks.due_in(["c"]) == 0.0
    assert hand.numbers() == [c]


def test_a_task_that_is_delayed_runs_when_its_time_has_come_and_not_before(hand: Hand) -> None:
    number = hand.put(delay=60)
    at = hand.put(at=hand.clock.time_ns() / S + 30)
    hand.clock.move(29.9)
    assert hand.numbers() == [] and hand.state(number) == hand.state(at) == "later"
    assert 0 < hand.tasks.due_in() < 30
    hand.clock.move(0.2)
    assert hand.numbers() == [at]
    hand.clock.move(30)
    assert hand.numbers() == [number]


@pytest.mark.parametrize("limit", [1, 2])
def test_as_many_tasks_of_a_key_run_at_once_as_are_allowed_and_others_go_on(hand: Hand, limit: int) -> None:
    kept = [hand.put(key="ann", limit=limit) for _ in range(4)]
    other = hand.put(key="bob")
    claims = hand.take(10)
    assert [each.id for each in claims] == [*kept[:limit], other]
    assert hand.state(kept[3]) == "blocked" and hand.tasks.due_in() is None
    hand.done(claims[0])
    assert hand.numbers() == [kept[limit]]


@pytest.mark.parametrize("how", ["finished", "failed", "crashed", "back", "stopped", "ends", "is silent", "cancelled before"])
def test_a_key_is_free_again_however_the_task_has_ended(hand: Hand, how: str) -> None:
    """solid_queue#546: the slot of a task whose worker died was never freed."""
    one, two = hand.put(key="ann", deliveries=1), hand.put(key="ann")
    if how == "cancelled before":
        assert hand.tasks.cancel(one)
    else:
        (claim,) = hand.take()
        assert claim.id == one and hand.numbers() == []
        if how == "ends":
            hand.tasks.end("w", True)
        elif how == "is silent":
            be_silent(hand)
        else:
            hand.take(0, (one, claim.token, how))
    hand.tasks.begin("v", LEASE_S)
    found = [each.id for each in hand.take(5, session="v")]
    assert found == ([one] if how == "back" else [two])


def test_a_key_in_a_lane_that_nobody_works_for_does_not_hold_up_the_others(hand: Hand) -> None:
    (first,) = [hand.put(key="ann"), *hand.take()][1:]
    hand.put(key="ann", lane="nobody")
    mine = hand.put(key="ann", lane="mine")
    assert hand.take(5, lanes=["mine", "nobody"]) == []
    hand.done(first)
    assert [each.id for each in hand.take(5, lanes=["mine"])] == [mine]


def test_tasks_of_a_rate_begin_evenly(hand: Hand) -> None:
    numbers = [hand.put(rate="mail", every=2.0) for _ in range(4)]
    other = hand.put()
    assert hand.numbers() == [numbers[0], other]
    begun = []
    for _ in range(70):
        hand.clock.move(0.1)
        begun += hand.numbers()
    assert begun == numbers[1:]


def test_a_rate_is_not_stuck_by_a_task_of_it_that_waits_for_a_key(hand: Hand) -> None:
    (blocker,) = [hand.put(key="k"), *hand.take()][1:]
    first = hand.put(rate="r", every=1.0)
    assert hand.numbers() == [first]
    held, free = hand.put(rate="r", every=1.0, key="k"), hand.put(rate="r", every=1.0)
    assert hand.numbers() == []
    hand.clock.move(1.1)
    assert hand.numbers() == [free]
    hand.done(blocker)
    hand.clock.move(1.1)
    assert hand.numbers() == [held]


def test_a_key_is_not_stuck_by_a_task_of_it_that_waits_for_a_rate(hand: Hand) -> None:
    (blocker,) = [hand.put(key="k"), *hand.take()][1:]
    rated, free = hand.put(rate="r", every=60.0, key="k"), hand.put(key="k")
    used = hand.put(rate="r", every=60.0)
    assert hand.numbers() == [used]
    hand.done(blocker)
    assert hand.numbers() == [free] and hand.state(rated) == "blocked"


def test_of_a_unique_task_there_is_one_until_it_is_over(hand: Hand) -> None:
    number = hand.put(unique="x")
    assert hand.put(unique="x") == -number and hand.put(unique="y") > 0
    (claim, _) = hand.take(2)
    assert hand.put(unique="x") == -number
    hand.done(claim)
    assert hand.put(unique="x") > number


@pytest.mark.parametrize("how", ["dead", "cancelled", "done"])
def test_a_unique_task_that_is_over_in_whatever_way_is_there_no_more(hand: Hand, how: str) -> None:
    number = hand.put(unique="x")
    if how == "cancelled":
        hand.tasks.cancel(number)
    else:
        (claim,) = hand.take()
        hand.take(
            0, (number, claim.token, "failed" if how == "dead" else "finished", ("E", "", "", None) if how == "dead" else None)
        )
    assert hand.state(number) == how
    again = hand.put(unique="x")
    assert again > number
    assert not hand.tasks.retry(number), "the new one is in its place"


# -- who has it


def test_what_is_said_with_an_old_token_is_dropped(hand: Hand) -> None:
    """rq#2424: a task that was finished by one worker was marked as failed by another."""
    number = hand.put()
    (old,) = hand.take()
    hand.tasks.end("w", True)
    hand.tasks.begin("v", LEASE_S)
    (new,) = hand.take(session="v")
    for kind in ("finished", "failed", "back", "crashed", "stopped"):
        hand.tasks.swap("w", None, 0, [(number, old.token, kind)])
        assert hand.state(number) == "running"
    assert not hand.tasks.finish(old) and not hand.tasks.report(number, old.token, 1)
    hand.take(0, (number, new.token, "finished", b"new"))
    hand.take(0, (number, old.token, "failed", ("E", "", "", None)))
    assert hand.tasks.outcome(number) == ("done", b"new", None)


def test_tasks_of_a_worker_that_has_ended_run_again_at_once_and_first(hand: Hand) -> None:
    numbers = [hand.put() for _ in range(3)]
    assert [each.id for each in hand.take(1)] == numbers[:1]
    assert hand.tasks.end("w", True) and not hand.tasks.end("w", True)
    hand.tasks.begin("v", LEASE_S)
    (claim,) = hand.take(session="v")
    assert claim.id == numbers[0] and claim.delivery == 2 and hand.tasks.look(claim.id).crashes == 1


def be_silent(hand: Hand, seconds: float = LEASE_S * 9 / 8 + 1) -> None:
    """Counts time in ticks, as a timekeeper does, while the worker says nothing."""
    if hand.tasks.count().timekeeper != "k":
        hand.tasks.claim("k", hand.tasks.count().beat)
    for _ in range(1000):
        count = hand.tasks.count()
        if seconds <= 0 or not count.interval_ns:
            return
        hand.tasks.tick("k", count.beat, count.interval_ns)
        seconds -= count.interval_ns / S


def test_a_worker_that_is_silent_has_its_tasks_for_all_of_its_lease_and_not_for_longer(hand: Hand) -> None:
    number = hand.put()
    hand.take()
    be_silent(hand, LEASE_S * 7 / 8)
    assert hand.state(number) == "running"
    be_silent(hand)
    assert hand.state(number) == "waiting" and not hand.tasks.renew("w")
    assert hand.tasks.swap("w")[1] == -1, "it is told that its session has ended"


def test_a_worker_that_renews_keeps_a_slow_task_for_as_long_as_it_likes(hand: Hand) -> None:
    """celery#6236, #9663: a task that took longer than a time limit of the broker was given to another worker each hour."""
    number = hand.put()
    (claim,) = hand.take()
    for _ in range(200):
        be_silent(hand, LEASE_S / 3)
        assert hand.tasks.renew("w")
    hand.clock.move(100 * 3600)
    assert hand.numbers() == [] and hand.state(number) == "running"
    hand.done(claim)
    assert hand.tasks.look(number).deliveries == 1


def test_a_delayed_task_is_with_nobody_before_its_time(hand: Hand) -> None:
    """celery#9663, #3501: a worker that had it was taken for silent, or was killed, and it ran again and again, or never."""
    number = hand.put(delay=10 * 3600)
    assert hand.numbers() == []
    hand.tasks.end("w", True)
    hand.clock.move(10 * 3600)
    hand.tasks.begin("v", LEASE_S)
    assert [each.delivery for each in hand.take(5, session="v")] == [1] and hand.tasks.look(number).crashes == 0


def test_a_task_that_has_crashed_its_worker_as_often_as_it_may_is_dead(hand: Hand) -> None:
    number, other = hand.put(deliveries=3), 0
    for life in range(3):
        hand.tasks.begin(f"life {life}", LEASE_S)
        assert [each.id for each in hand.take(5, session=f"life {life}")] == [number]
        hand.tasks.end(f"life {life}", True)
    assert hand.state(number) == "dead" and hand.numbers() == []
    state, _, error = hand.tasks.outcome(number)
    assert state == "dead" and error[0] == "TaskCrashed" and "3 times" in error[1]
    other = hand.put()
    assert hand.numbers() == [other]


def test_a_task_that_has_crashed_its_worker_is_given_alone(hand: Hand) -> None:
    numbers = [hand.put() for _ in range(3)]
    hand.take(3)
    hand.tasks.end("w", True)
    hand.tasks.begin("v", LEASE_S)
    well = hand.put()
    assert [[each.id for each in hand.take(3, session="v")] for _ in numbers] == [[each] for each in numbers]
    assert [each.id for each in hand.take(3, session="v")] == [well]


def test_exceptions_and_crashes_are_counted_apart(hand: Hand) -> None:
    number = hand.put(deliveries=2)
    for life in range(4):
        (claim,) = hand.take()
        assert claim.failures == life
        hand.take(0, (number, claim.token, "failed", ("E", "", "", None), 0.0))
    (claim,) = hand.take()
    hand.take(0, (number, claim.token, "crashed", "the child has ended"))
    found = hand.tasks.look(number)
    assert (found.state, found.failures, found.crashes) == ("waiting", 4, 1)


def test_a_task_that_was_not_begun_is_given_back_without_being_counted(hand: Hand) -> None:
    number = hand.put(deliveries=1)
    for _ in range(5):
        (claim,) = hand.take()
        assert claim.delivery == 1
        hand.take(0, (number, claim.token, "back"))
    hand.take()
    hand.tasks.end("w")
    assert hand.tasks.look(number).crashes == 0 and hand.state(number) == "waiting"


def test_tasks_of_an_answer_that_was_not_heard_are_taken_back_by_the_next_call(hand: Hand) -> None:
    """procrastinate#307, #1408: tasks of which no worker knew were "doing" for ever."""
    numbers = [hand.put() for _ in range(5)]
    known = hand.tasks.swap("w", None, 1, (), 7)[0]
    hand.tasks.swap("w", None, 2, (), 7)
    other = hand.tasks.swap("w", None, 1, (), 8)[0]
    found = hand.tasks.swap("w", None, 2, (), 7, 0, [known[0].id])[0]
    assert [each.id for each in found] == numbers[1:3] and other[0].id == numbers[3]
    assert hand.tasks.sessions()[0][2] == [numbers[0], numbers[3], numbers[1], numbers[2]]


# -- slots that wait


def wait(hand: Hand, slot: int, session: str = "w", lanes: list[str] | None = None, number: int = 1) -> None:
    assert hand.tasks.swap(session, lanes, number, (), slot, number)[0] == []


def dealt(hand: Hand, slot: int, session: str = "w", has: tuple[int, ...] = ()) -> list[int] | None:
    found = hand.tasks.dealt(session, slot, has)
    return None if found is None else [each.id for each in found]


def test_a_slot_that_waits_is_given_the_next_task_in_the_action_that_brings_it_and_the_one_first_that_has_waited_longest(
    hand: Hand,
) -> None:
    for slot in (2, 1):
        wait(hand, slot)
    number = hand.put()
    assert (dealt(hand, 2), dealt(hand, 1)) == ([number], []) and hand.state(number) == "running"
    assert dealt(hand, 2, has=(number,)) == []
    other, third = hand.put(), hand.put()
    assert dealt(hand, 1) == [other] and hand.state(third) == "waiting"
    assert dealt(hand, 1, "nobody") is None
    (claim,) = hand.tasks.dealt("w", 1)
    hand.done(claim)
    assert hand.state(other) == "done"


def test_a_slot_that_waits_for_several_tasks_is_given_so_many(hand: Hand) -> None:
    wait(hand, 0, number=3)
    numbers = [hand.put() for _ in range(5)]
    assert dealt(hand, 0) == numbers[:3] and hand.state(numbers[3]) == "waiting"


@pytest.mark.parametrize("how", ["key", "timer", "retry", "end", "back", "cancel", "schedule", "finish"])
def test_whatever_has_a_task_run_gives_it_to_a_slot_that_waits(hand: Hand, how: str) -> None:
    now = hand.clock.time_ns() // S
    held, number = hand.put(key="k"), 0
    (claim,) = hand.take()
    if how in ("key", "finish"):
        number = hand.put(key="k")
    elif how == "timer":
        number = hand.put(delay=1)
    elif how == "retry":
        number = hand.put(deadline=1)
        hand.clock.move(2)
        hand.take()
    elif how == "cancel":
        number = hand.put(key="k")
        assert hand.take() == []
    hand.tasks.begin("v", LEASE_S)
    wait(hand, 0, "v")
    assert dealt(hand, 0, "v") == []
    if how == "key":
        hand.done(claim)
    elif how == "finish":
        assert hand.tasks.finish(claim)
    elif how == "timer":
        assert hand.tasks.timer_in() > 0 and not hand.tasks.wake()
        hand.clock.move(1)
        assert hand.tasks.timer_in() == 0.0 and hand.tasks.wake()
    elif how == "retry":
        assert hand.tasks.retry(number)
    elif how == "end":
        number = held
        hand.tasks.end("w", True)
    elif how == "back":
        number = held
        hand.take(0, (held, claim.token, "back"))
    elif how == "cancel":
        hand.tasks.cancel(held)
        hand.take(0, (held, claim.token, "stopped"))
    elif how == "schedule":
        hand.tasks.plan("nightly", "* * * * *", "", now, b"", ())
        (number,) = hand.tasks.fire("nightly", now, now + 60)
    assert dealt(hand, 0, "v") == [number]


def test_a_slot_waits_no_more_after_its_next_call_and_none_after_the_end_of_its_session(hand: Hand) -> None:
    hand.tasks.begin("v", LEASE_S)
    for session, slot in (("v", 0), ("w", 0), ("w", 1)):
        wait(hand, slot, session)
    hand.tasks.end("v")
    hand.tasks.swap("w", None, 0, (), 0, 0, [])
    number = hand.put()
    assert (dealt(hand, 0), dealt(hand, 1)) == ([], [number])
    hand.tasks.swap("w", None, 0, (), 1, 0, [])
    assert hand.state(number) == "waiting" and hand.tasks.look(number).deliveries == 0, "what was given in between goes back"


def test_a_slot_waits_for_its_lanes_and_does_not_hold_up_the_others(hand: Hand) -> None:
    wait(hand, 0, lanes=["a"])
    wait(hand, 1, lanes=["b"])
    unserved, number = hand.put(lane="c"), hand.put(lane="b")
    assert (dealt(hand, 0), dealt(hand, 1), hand.state(unserved)) == ([], [number], "waiting")


# -- what comes of it


def test_a_task_that_has_raised_runs_again_after_its_time_and_is_dead_at_last(hand: Hand) -> None:
    number = hand.put()
    (claim,) = hand.take()
    hand.take(0, (number, claim.token, "failed", ("E", "one", "", None), 10.0))
    assert hand.state(number) == "later" and hand.tasks.look(number).error[1] == "one"
    hand.clock.move(10)
    (claim,) = hand.take()
    hand.take(0, (number, claim.token, "failed", ("E", "two", "", None), -1.0))
    assert [each.id for each in hand.tasks.listed("dead")] == [number]


@pytest.mark.parametrize("state", ["dead", "cancelled", "later", "done", "running", "waiting"])
def test_a_task_can_be_sent_again_if_it_is_dead_or_cancelled_or_waits_for_a_time(hand: Hand, state: str) -> None:
    number = hand.put(delay=60.0 if state == "later" else 0.0)
    if state == "cancelled":
        hand.tasks.cancel(number)
    elif state in ("dead", "done", "running"):
        (claim,) = hand.take()
        if state != "running":
            hand.take(0, (number, claim.token, "failed" if state == "dead" else "finished", ("E", "", "", None)))
    assert hand.state(number) == state
    is_sent = state in ("dead", "cancelled", "later")
    assert hand.tasks.retry(number) == is_sent
    if is_sent:
        assert hand.numbers() == [number] and hand.tasks.listed("dead") == []
        hand.clock.move(3600)
        assert hand.numbers() == [], "once"


def test_a_task_whose_time_is_over_never_runs(hand: Hand) -> None:
    in_time, late, later = hand.put(deadline=60), hand.put(deadline=10), hand.put(deadline=10, delay=3600)
    blocked = [hand.put(key="k", deadline=600.0 - 590 * each) for each in range(2)]
    assert hand.numbers(1) == [in_time]
    hand.clock.move(10)
    assert hand.numbers() == [blocked[0]]
    assert [hand.state(each) for each in (late, later, blocked[1])] == ["dead"] * 3
    assert hand.tasks.outcome(late)[2][0] == "DeadlinePassed"
    hand.clock.move(600)
    hand.numbers()
    assert hand.state(in_time) == "running", "its worker ends it"
    hand.tasks.end("w", True)
    assert hand.state(in_time) == "dead"


def test_a_task_that_raises_after_its_time_is_over_does_not_run_again(hand: Hand) -> None:
    number = hand.put(deadline=10)
    (claim,) = hand.take()
    hand.clock.move(10)
    hand.tasks.wake()
    hand.take(0, (number, claim.token, "failed", ("E", "too slow", "", None), 5.0))
    assert hand.state(number) == "dead"
    kind, why, *_ = hand.tasks.outcome(number)[2]
    assert kind == "DeadlinePassed" and "too slow" in why
    hand.clock.move(3600)
    assert hand.numbers() == []


def test_a_running_task_that_is_cancelled_is_asked_to_stop_and_is_cancelled_however_it_ends(hand: Hand) -> None:
    for how in ("stopped", "failed", "crashed", "back", "ends"):
        number = hand.put()
        (claim,) = hand.take()
        before = hand.tasks.version()
        assert hand.tasks.cancel(number) and hand.tasks.stopping([number]) == [number] and hand.tasks.version() > before
        assert not hand.tasks.report(number, claim.token, 0.5)
        if how == "ends":
            hand.tasks.end("w", True)
        else:
            hand.take(0, (number, claim.token, how, ("E", "", "", None), 0.0))
        assert hand.state(number) == "cancelled", how
    number = hand.put()
    hand.tasks.begin("v", LEASE_S)
    (claim,) = hand.take(session="v")
    hand.tasks.cancel(number)
    hand.done(claim)
    assert hand.state(number) == "done", "it has ended before it was told"


def test_a_result_is_kept_for_a_day_or_an_hour_after_it_was_read_or_as_long_as_was_said(hand: Hand) -> None:
    unread, read, short, never, dead = hand.put(), hand.put(), hand.put(keep=10.0), hand.put(keep=0.0), hand.put()
    for claim in hand.take(4):
        hand.done(claim)
    hand.take(0, *[(each.id, each.token, "failed", ("E", "", "", None)) for each in hand.take()])

    def there() -> list[int]:
        hand.tasks.read([])
        return [each for each in (unread, read, short, never, dead) if hand.tasks.look(each)]

    assert there() == [unread, read, short, dead]
    hand.tasks.read([read, unread + 1000])
    hand.clock.move(11)
    assert there() == [unread, read, dead]
    hand.clock.move(3600)
    assert there() == [unread, dead]
    hand.clock.move(86_400)
    assert there() == [dead]
    assert hand.tasks.forget([dead, 17]) == 1 and there() == []


def test_of_results_that_nobody_reads_the_newest_are_kept(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coopy.messaging.task_state.KEPT_MAX", 10)
    for _ in range(50):
        hand.put()
        hand.done(hand.take()[0])
    assert [each.id for each in hand.tasks.listed()] == list(range(41, 51))


# -- schedules


def test_a_schedule_sends_one_task_for_a_time_however_many_workers_say_so(hand: Hand) -> None:
    """arq#196, celery#4041, #1604: each worker, or each restart, sent the task of a time again."""
    now = hand.clock.time_ns() // S
    assert hand.tasks.plan("nightly", "* * * * *", "", now + 60, b"", ())
    assert not hand.tasks.plan("nightly", "* * * * *", "", now + 30, b"", ())
    assert hand.tasks.fire("nightly", now + 60, now + 120) == [], "a worker whose clock is ahead"
    hand.clock.move(61)
    assert [hand.tasks.fire("nightly", now + 60, now + 120) for _ in range(3)] == [[1], [], []]
    assert hand.tasks.schedules() == [("nightly", "* * * * *", "", now + 120)]
    assert hand.tasks.fire("nightly", now + 120, now + 120) == [] == hand.tasks.fire("other", now, now + 1)
    hand.clock.move(600)
    assert [hand.tasks.fire("nightly", now + 120, now + 180) for _ in range(3)] == [[2], [], []], "the next is over as well"
    assert hand.tasks.plan("nightly", "0 * * * *", "", now + 3600, b"", ()) and hand.tasks.plan("nightly", "", "", 0, b"", ())
    assert hand.tasks.schedules() == []


# -- the whole


@pytest.mark.parametrize(
    "wrong",
    [
        {"delay": -1.0},
        {"delay": 1e300},
        {"at": float("inf")},
        {"at": float("nan")},
        {"keep": float("inf")},
        {"deadline": float("nan")},
        {"every": float("inf")},
        {"limit": 0},
        {"deliveries": 0},
    ],
    ids=str,
)
def test_options_that_can_not_be_are_refused_and_nothing_is_sent(hand: Hand, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        hand.tasks.put([("t", b"", ()), ("t", b"", Options(**wrong))])
    assert hand.tasks.counts().get("sent") is None


@pytest.mark.parametrize("retry", [float("inf"), float("nan"), 1e300])
def test_what_a_worker_says_that_can_not_be_is_refused_and_nothing_is_heard(hand: Hand, retry: float) -> None:
    one, other = hand.put(), hand.put()
    mine, late = hand.take(2)
    with pytest.raises(UsageError, match="retry="):
        hand.take(0, (one, mine.token, "finished"), (other, late.token, "failed", ("E", "", "", None), retry))
    assert hand.state(one) == hand.state(other) == "running"


def test_only_methods_that_are_named_can_be_called_from_afar(hand: Hand) -> None:
    for ask in (hand.tasks.change_tasks, hand.tasks.see_tasks):
        for name in ("_end", "__init__", "change_tasks", "nothing"):
            with pytest.raises(UsageError):
                ask(name)
    with pytest.raises(UsageError):
        hand.tasks.see_tasks("put", [])


@pytest.mark.parametrize("seed", range(4))
def test_every_task_is_in_one_place_and_none_is_lost_whatever_happens(seed: int) -> None:
    """Many random calls; then everything that can run runs, and all that was sent is over."""
    hand, chance = Hand(), random.Random(seed)
    claims: list[Claim] = []
    sessions = {"w"}
    for step in range(1500):
        what = chance.random()
        if what < 0.35:
            options: dict[str, Any] = {"priority": chance.randrange(3), "lane": chance.choice("ab")}
            if chance.random() < 0.3:
                options |= {"key": chance.choice("xyz"), "limit": chance.randrange(1, 3)}
            if chance.random() < 0.2:
                options |= {"rate": chance.choice("rs"), "every": 0.5}
            if chance.random() < 0.2:
                options["delay"] = chance.random() * 5
            if chance.random() < 0.1:
                options["unique"] = chance.choice("uv")
            if chance.random() < 0.1:
                options["deadline"] = 1 + chance.random() * 20
            hand.put(**options)
        elif what < 0.6:
            session, most, slot = chance.choice([*sorted(sessions), "gone"]), chance.randrange(4), chance.randrange(2)
            lanes = chance.choice([None, ["a"], ["b", "a"]])
            claims += hand.tasks.swap(session, lanes, most, (), slot, chance.choice([0, most]))[0]
            claims += hand.tasks.dealt(session, slot, [each.id for each in claims]) or []
        elif what < 0.8 and claims:
            claim = claims.pop(chance.randrange(len(claims)))
            kind = chance.choice(["finished", "finished", "failed", "back", "crashed", "stopped"])
            hand.tasks.swap("w", None, 0, [(claim.id, claim.token, kind, ("E", "", "", None), chance.choice([-1.0, 0.0, 1.0]))])
        elif what < 0.85:
            hand.tasks.cancel(chance.randrange(1, 400))
        elif what < 0.88:
            hand.tasks.retry(chance.randrange(1, 400))
        elif what < 0.92:
            hand.clock.move(chance.random())
        elif what < 0.95:
            session = f"s{step}"
            hand.tasks.begin(session, LEASE_S)
            sessions.add(session)
        elif len(sessions) > 1:
            session = chance.choice(sorted(sessions))
            hand.tasks.end(session, chance.random() < 0.5)
            sessions.discard(session)
    hand.tasks.begin("last", LEASE_S)
    for session in sorted(sessions):
        hand.tasks.end(session)
    for _ in range(3000):
        for claim in hand.take(10, session="last"):
            hand.done(claim)
        hand.clock.move(0.3)
    counts = hand.tasks.counts()
    assert [counts[state] for state in ("waiting", "later", "blocked", "running")] == [0, 0, 0, 0], counts
    domain = control(hand.tasks).replay()
    assert (
        not domain._ready
        and not domain._keys
        and not domain._unique
        and not any(gate.parked for gate in domain._rates.values())
    )
    assert len(pickle.dumps(domain)) > 0
