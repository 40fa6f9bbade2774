"""Consumers go on where they were, one at a time by a name; groups share events out; projections take each once; and all that from asyncio."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coopy import LockLost, NotHeld, UsageError, control, init_system
from coopy.messaging import (
    AsyncEventSource,
    CouldNotFindOffset,
    EventSource,
    ForeignPosition,
    NewEvent,
    OffsetTooOld,
    Projection,
    Retained,
)
from coopy.messaging.events_follow import Following

PATIENCE_S = 60.0


@pytest.fixture
def source(tmp_path: Path) -> Iterator[EventSource]:
    with EventSource(tmp_path / "events", durability="buffered") as source:
        yield source


def filled(source: EventSource, count: int = 10) -> EventSource:
    source.append("a", [b"%d" % number for number in range(count)])
    return source


def offsets(events: Any) -> list[int]:
    return [each.offset for each in events]


# -- where a consumer goes on


def test_a_consumer_goes_on_after_what_it_has_acknowledged(source: EventSource) -> None:
    filled(source)
    with source.follow("mail") as mail:
        events = mail.batch(5, timeout=0)
        mail.ack(events[2])
        assert (offsets(events), mail.position) == ([0, 1, 2, 3, 4], 3)
    with source.follow("mail") as mail, source.follow("other", from_=8) as other:
        assert offsets(mail.batch(100, timeout=0)) == [3, 4, 5, 6, 7, 8, 9]
        assert offsets(other.batch(100, timeout=0)) == [8, 9]
        mail.ack()  # The last that was given.
    with source.follow("mail", from_=0) as mail:  # It is known: where it is counts.
        assert mail.next(timeout=0) is None
    assert source.kept()["consumers"] == {"mail": 10, "other": 8}


def test_a_position_is_there_after_a_restart(tmp_path: Path) -> None:
    for life in range(3):
        with EventSource(tmp_path) as source:
            filled(source, 2)
            with source.follow("mail") as mail:
                event = mail.next(timeout=0)
                assert event is not None and event.offset == life
                mail.ack(event)


def test_a_consumer_waits_for_what_comes(source: EventSource) -> None:
    with source.follow("mail") as mail:
        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.append(mail.next(timeout=PATIENCE_S)))
        thread.start()
        source.append("a", b"late")
        thread.join()
        assert offsets(found) == [0]


@pytest.mark.parametrize("close", ["following", "source"])
def test_who_waits_is_told_of_the_end(source: EventSource, close: str) -> None:
    filled(source, 2)
    mail = source.follow("mail")
    assert len(mail.batch(2, timeout=0)) == 2
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.extend(mail))
    thread.start()
    (mail if close == "following" else source).close()
    thread.join(PATIENCE_S)
    assert not thread.is_alive() and found == []
    assert mail.next() is None


def test_acknowledging_what_is_acknowledged_records_nothing(source: EventSource) -> None:
    filled(source)
    with source.follow("mail") as mail:
        first, second = mail.batch(2, timeout=0)
        mail.ack(second)
        index = control(source.log).index
        mail.ack(first)
        mail.ack(second)
        mail.ack()
        assert control(source.log).index == index and mail.position == 2


def test_an_event_of_the_future_can_not_be_acknowledged(source: EventSource) -> None:
    filled(source, 1)
    with source.follow("mail") as mail:
        event = mail.next(timeout=0)
        assert event is not None
        event.offset = 5
        with pytest.raises(UsageError, match="can't be acknowledged"):
            mail.ack(event)


@pytest.mark.parametrize(
    ("filter", "found"),
    [
        ("even", [0, 2, 4]),
        (["even", "odd"], [0, 1, 2, 3, 4]),
        ({"none"}, []),
        (lambda event: event.offset > 2, [3, 4]),
        (None, [0, 1, 2, 3, 4]),
    ],
)
def test_a_filter_chooses(source: EventSource, filter: Any, found: list[int]) -> None:
    source.append("a", [NewEvent("odd" if number % 2 else "even", number) for number in range(5)])
    with source.follow("mail", filter=filter) as mail:
        assert offsets(mail.batch(100, timeout=0)) == found


def test_a_filter_that_raises_has_no_event_given_twice_and_none_be_lost(source: EventSource) -> None:
    refuses = {3, 7}

    def choose(event: Any) -> bool:
        if event.offset in refuses:
            raise ValueError(f"at {event.offset}")
        return bool(event.offset != 5)

    filled(source)
    found = []
    with source.follow("mail", filter=choose) as mail:
        for stop in (3, 7):
            while True:
                try:
                    event = mail.next(timeout=0)
                except ValueError as error:
                    assert str(error) == f"at {stop}" and found[-1] == stop - 1
                    with pytest.raises(ValueError, match=f"at {stop}"):  # As often as it is asked for.
                        mail.next(timeout=0)
                    refuses.remove(stop)
                    break
                assert event is not None
                found.append(event.offset)
        assert found + offsets(mail.batch(100, timeout=0)) == [0, 1, 2, 3, 4, 6, 7, 8, 9]


def test_a_gap_before_an_event_at_which_a_filter_raises_is_told_once(source: EventSource) -> None:
    raises = [ValueError("at once")]

    def choose(event: Any) -> bool:
        if raises:
            raise raises.pop()
        return True

    source.append("a", [NewEvent("T", b"%d" % number, "key") for number in range(4)])
    source.compact("a")
    with source.follow("mail", filter=choose) as mail:
        with pytest.raises(ValueError):
            mail.next(timeout=0)
        (event,) = mail.batch(10, timeout=0)
        assert (event.offset, event.gap) == (3, 3)


@pytest.mark.parametrize("number", [0, -1])
def test_a_batch_of_no_events_is_none_and_does_not_wait(source: EventSource, number: int) -> None:
    filled(source)
    with source.follow("mail") as mail:
        assert mail.batch(number) == []
        assert offsets(mail.batch(2)) == [0, 1]


def test_what_a_filter_passes_over_is_not_passed_over_again(source: EventSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coopy.messaging.events_follow.SKIPPED_MAX", 2000)
    for _ in range(5):
        filled(source, 1000)
    with source.follow("mail", filter="never") as mail:
        assert mail.next(timeout=0) is None
    with source.follow("mail") as mail:
        event = mail.next(timeout=0)
        assert event is not None and event.offset > 2000
    with source.follow("other", filter=lambda event: event.offset == 1) as other:
        given = other.next(timeout=0)
        assert other.next(timeout=0) is None  # It passes over the rest, but the first is not acknowledged.
        assert given is not None
    with source.follow("other") as other:
        again = other.next(timeout=0)
        assert again is not None and again.offset <= 1


@pytest.mark.parametrize("arguments", [{"name": ""}, {"name": 5}, {"name": "x", "on_gap": "latest"}, {"name": "x", "lease": 0}])
def test_a_consumer_that_can_not_be_is_refused(source: EventSource, arguments: Any) -> None:
    with pytest.raises(UsageError):
        source.follow(**arguments)


def test_a_consumer_can_not_begin_after_the_end(source: EventSource) -> None:
    filled(source, 3)
    with pytest.raises(CouldNotFindOffset):
        source.follow("mail", from_=4)
    assert source.kept()["consumers"] == {}
    with source.follow("mail", from_=3) as mail:
        filled(source, 1)
        assert offsets(mail.batch(5, timeout=0)) == [3]


# -- one at a time


def test_two_do_not_follow_by_one_name_and_the_second_goes_on_when_the_first_ends(source: EventSource) -> None:
    filled(source)
    first, second = source.follow("mail"), source.follow("mail")
    first.ack(first.next(timeout=0))
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(second.next(timeout=PATIENCE_S)))
    thread.start()
    thread.join(0.1)
    assert found == []
    first.close()
    thread.join()
    assert offsets(found) == [1]
    second.close()


def test_whoever_has_lost_the_name_is_refused_by_the_action_itself(source: EventSource) -> None:
    filled(source)
    slow = source.follow("mail")
    event = slow.next(timeout=0)
    assert event is not None
    slow.check()
    # As if its lease had run out while it stood still: it does not know, and still has its token.
    token = slow._token()
    source.log.change_locks("release", "mail", token)
    other = source.follow("mail")
    assert other.acquire(timeout=PATIENCE_S)
    with other:
        other.ack(other.batch(5, timeout=0)[-1])
        for call in (lambda: slow.ack(event), lambda: slow.park(event)):
            with pytest.raises(LockLost):
                call()
        assert source.kept()["consumers"] == {"mail": 5} and source.parked("mail") == []
    slow.close()


def test_nothing_is_acknowledged_before_the_name_is_held(source: EventSource) -> None:
    filled(source)
    mail = source.follow("mail")
    with pytest.raises(NotHeld, match="nothing follows"):
        mail.ack(source.get(0))
    mail.close()


def test_a_consumer_is_forgotten_when_nobody_follows(source: EventSource) -> None:
    filled(source)
    with source.follow("mail") as mail:
        mail.ack(mail.next(timeout=0))
        with pytest.raises(UsageError, match="is in use"):
            source.forget("mail")
    assert source.forget("mail") and not source.forget("mail")
    with source.follow("mail") as mail:
        assert offsets(mail.batch(1, timeout=0)) == [0]


# -- what can't be dealt with


def test_an_event_is_given_once_more_before_those_that_come_after(source: EventSource) -> None:
    filled(source, 3)
    with source.follow("mail") as mail:
        event = mail.next(timeout=0)
        assert event is not None
        mail.retry(event)
        found = mail.batch(5, timeout=0)
        assert [(each.offset, each.attempt) for each in found] == [(0, 2), (1, 1), (2, 1)]


def test_a_parked_event_waits_until_it_is_tried_again(source: EventSource) -> None:
    filled(source, 4)
    with source.follow("mail") as mail:
        zero, one, two = mail.batch(3, timeout=0)
        mail.park(one, "no such address")
        mail.park(zero, KeyError("x"))
        assert mail.position == 2
        assert [(event and event.offset, why, tried) for event, why, tried in source.parked("mail")] == [
            (0, "'x'", 1),
            (1, "no such address", 1),
        ]
        mail.ack(two)
        assert source.retry("mail", 1, 77) == 1
        again, three = mail.batch(5, timeout=0)
        assert [(again.offset, again.attempt), (three.offset, three.attempt)] in ([(1, 2), (3, 1)], [(3, 1), (1, 2)])
        one, three = sorted([again, three], key=lambda event: event.offset)
        mail.ack(three)
        mail.park(one, "still")
        assert [(why, tried) for _, why, tried in source.parked("mail")] == [("'x'", 1), ("still", 2)]
        assert source.retry("mail") == 2
        for event in mail.batch(5, timeout=0):
            mail.ack(event)
        assert (source.parked("mail"), mail.position) == ([], 4)
        assert mail.next(timeout=0) is None
    with source.follow("mail") as mail:
        assert mail.next(timeout=0) is None


def test_what_was_to_be_tried_again_is_given_again_after_a_crash(tmp_path: Path) -> None:
    with EventSource(tmp_path) as source:
        filled(source, 3)
        with source.follow("mail") as mail:
            for event in mail.batch(3, timeout=0):
                mail.park(event, "x")
        source.retry("mail", 1, 2)
        source.unpark("mail")
    with EventSource(tmp_path) as source, source.follow("mail") as mail:
        one, two = mail.batch(5, timeout=0)
        assert offsets([one, two]) == [1, 2] and source.parked("mail") == []
        mail.ack(two)
    with EventSource(tmp_path) as source, source.follow("mail") as mail:
        assert offsets(mail.batch(5, timeout=0)) == [1]


def test_a_consumer_can_not_park_without_end(source: EventSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coopy.messaging.events_log.PARKED_MAX", 2)
    filled(source, 3)
    with source.follow("mail") as mail:
        zero, one, two = mail.batch(3, timeout=0)
        mail.park(zero)
        mail.park(one)
        with pytest.raises(UsageError, match="2 parked events"):
            mail.park(two)
        assert source.unpark("mail", 0) == 1
        mail.park(two)


# -- groups


def test_the_events_of_a_key_go_to_one_member_in_order(source: EventSource) -> None:
    source.append("a", [NewEvent("t", number, key=f"k{number % 7}") for number in range(70)])
    with source.group("mail", shards=4) as one:
        assert one.wait_until_led(PATIENCE_S)
        found = []
        while len(found) < 70:
            event = one.next(PATIENCE_S)
            assert event is not None and one.ack(event)
            found.append(event)
        assert sorted(offsets(found)) == list(range(70)) and one.shards() == [0, 1, 2, 3]
        for key in {each.key for each in found}:
            assert sorted(offsets(of := [each for each in found if each.key == key])) == offsets(of)
        assert one.next(0) is None


def test_members_share_the_shards_and_what_one_leaves_another_goes_on_with(source: EventSource) -> None:
    events = [NewEvent("t", number, key=f"k{number % 31}") for number in range(200)]
    source.append("a", events)
    one, two = source.group("mail", shards=4), source.group("mail", shards=4)
    with one:
        assert one.wait_until_led(PATIENCE_S) and one.shards() == [0, 1, 2, 3]
        seen = []
        for _ in range(50):
            event = one.next(PATIENCE_S)
            assert event is not None and one.ack(event)
            seen.append(event.offset)
        taken = one.next(PATIENCE_S)
        assert taken is not None
    assert not one.ack(taken)  # It has left.
    with two:
        while len(seen) < 200:
            event = two.next(PATIENCE_S)
            assert event is not None and two.ack(event)
            seen.append(event.offset)
    assert sorted(seen) == list(range(200))


def test_a_member_parks_what_it_can_not_deal_with(source: EventSource) -> None:
    source.append("s", [b"1", b"2"])
    with source.group("mail", shards=2) as member:
        event = member.next(PATIENCE_S)
        assert event is not None and member.park(event, "why")
        shard = member.shard_of(event)
        assert [why for _, why, _ in source.parked(f"mail/{shard}")] == ["why"]


def test_members_say_the_same_number_of_shards(source: EventSource) -> None:
    with source.group("mail", shards=2), pytest.raises(UsageError, match="has 2"):
        source.group("mail", shards=3).join()
    for shards in (0, True, "2"):
        with pytest.raises(UsageError, match="shards="):
            source.group("mail", shards=shards)  # type: ignore[arg-type]


# -- projections


class Totals(Projection):
    def __init__(self) -> None:
        self.total = 0
        self.seen: list[int] = []

    def when(self, event: Any) -> None:
        if event.data == b"bad":
            raise ValueError("bad")
        self.total += int(event.data)
        self.seen.append(event.offset)


def test_a_projection_takes_each_event_once_whoever_feeds_it(source: EventSource, tmp_path: Path) -> None:
    filled(source, 1000)
    with init_system(Totals, str(tmp_path / "totals")) as totals:
        threads = [threading.Thread(target=source.project(totals).catch_up) for _ in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert totals.seen == list(range(1000)) and totals.total == sum(range(1000))
        filled(source, 5)
        assert source.project(totals).catch_up() == 1005
    with init_system(Totals, str(tmp_path / "totals")) as totals:
        assert source.project(totals).catch_up() == 1005
        assert totals.seen == list(range(1005))


def test_a_projection_goes_on_as_events_come(source: EventSource, tmp_path: Path) -> None:
    with init_system(Totals, str(tmp_path / "totals")) as totals:
        projector = source.project(totals)
        told = threading.Event()
        subscription = control(totals).subscribe(lambda first, last: totals.total == 6 and told.set())
        thread = threading.Thread(target=projector.run)
        thread.start()
        for number in (1, 2, 3):
            source.append("a", b"%d" % number)
        assert told.wait(PATIENCE_S)
        projector.close()
        thread.join()
        subscription.close()


def test_a_projection_that_raises_has_taken_nothing_of_what_came_together(source: EventSource, tmp_path: Path) -> None:
    source.append("a", [b"1", b"2", b"bad", b"3"])
    with init_system(Totals, str(tmp_path / "totals")) as totals:
        with pytest.raises(ValueError, match="bad"):
            source.project(totals).catch_up()
        assert (totals.total, totals.seen, totals.events_position()) == (0, [], None)
        assert source.project(totals, filter=lambda event: event.data != b"bad").catch_up() == 4
        assert totals.total == 6


def test_a_projection_of_another_history_is_refused(source: EventSource, tmp_path: Path) -> None:
    filled(source)
    with init_system(Totals, str(tmp_path / "totals")) as totals, EventSource(tmp_path / "other") as other:
        source.project(totals).catch_up()
        filled(other)
        with pytest.raises(ForeignPosition):
            other.project(totals).catch_up()
        assert totals.total == 45


def test_a_projection_that_would_miss_events_is_told(source: EventSource, tmp_path: Path) -> None:
    filled(source)
    with init_system(Totals, str(tmp_path / "totals")) as totals:
        source.project(totals).catch_up()
        filled(source)
        source.trim(15)
        with pytest.raises(OffsetTooOld):
            source.project(totals).catch_up()


def test_what_is_no_projection_is_refused(source: EventSource) -> None:
    with pytest.raises(UsageError, match="derives from Projection"):
        source.project(source.log)
    with pytest.raises(NotImplementedError, match="must have a method when"):
        Projection().when(None)  # type: ignore[arg-type]


# -- from asyncio


def test_events_are_appended_and_followed_from_asyncio(tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncEventSource(str(tmp_path), durability="buffered") as source:
            await asyncio.gather(*[source.append("a", b"%d" % number, id=str(number)) for number in range(20)])
            assert [each.offset async for each in source.read()] == list(range(20))
            assert (await source.get(3)).offset == 3
            async with source.follow("mail") as mail:
                found = []
                async for event in mail:
                    found.append(event.offset)
                    if event.offset == 18:
                        await mail.park(event, "x")
                    else:
                        await mail.ack(event)
                    if len(found) == 20:
                        break
                assert found == list(range(20)) and mail.position == 20
                waiting = asyncio.ensure_future(mail.next())
                await asyncio.sleep(0)
                await source.append("a", b"late")
                event = await waiting
                assert event is not None and event.offset == 20
                mail.retry(event)
                again = await mail.next()
                assert again is not None and (again.offset, again.attempt) == (20, 2)

    asyncio.run(main())


def test_a_task_that_is_cancelled_while_it_waits_has_lost_no_event(tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncEventSource(str(tmp_path), durability="buffered") as source, source.follow("mail") as mail:
            found = []
            for number in range(30):
                waiting = asyncio.ensure_future(mail.next())
                for _ in range(number % 4):
                    await asyncio.sleep(0)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                await source.append("a", b"%d" % number)
                event = await mail.next()
                assert event is not None
                found.append(event.offset)
            assert found == list(range(30))

    asyncio.run(main())


def test_a_task_that_waits_is_told_of_the_end(tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncEventSource(str(tmp_path), durability="buffered") as source:
            mail = source.follow("mail")
            waiting = asyncio.ensure_future(mail.next())
            await asyncio.sleep(0.05)
            await source.close()
            assert await asyncio.wait_for(waiting, PATIENCE_S) is None

    asyncio.run(main())


def test_a_task_that_waits_for_a_name_is_told_if_it_is_closed_and_never_has_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncEventSource(str(tmp_path), durability="buffered") as source:
            await source.append("a", b"one")
            with source.source.follow("mail") as first:
                assert first.next(timeout=0) is not None
                second = source.follow("mail")
                waiting = asyncio.ensure_future(second.next())
                while len(source.source.log.locks.contenders("mail")) < 2:
                    await asyncio.sleep(0.001)
                await second.close()
                assert await asyncio.wait_for(waiting, PATIENCE_S) is None
            assert source.source.log.locks.contenders("mail") == []

    asyncio.run(main())


def test_a_consumer_that_was_closed_does_not_take_the_name_again(source: EventSource) -> None:
    mail = source.follow("mail")
    mail.close()
    assert not mail.acquire(timeout=0) and mail.next(timeout=0) is None
    with source.follow("mail") as other:
        other.check()


def test_a_filter_that_raises_stop_iteration_is_told_to_a_task(tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncEventSource(str(tmp_path), durability="buffered") as source:
            await source.append("a", b"one")
            async with source.follow("mail", filter=lambda event: next(iter([]))) as mail:
                with pytest.raises(RuntimeError, match="StopIteration"):
                    await mail.next()

    asyncio.run(main())


def test_a_following_says_where_it_is(source: EventSource) -> None:
    filled(source)
    source.retain(count=5, held_by=True, bound=Retained(count=8))
    with source.follow("mail") as mail:
        mail.ack(mail.next(timeout=0))
        assert repr(mail) == "<Following 'mail' at 1>" and isinstance(mail, Following)
    assert repr(source).startswith("<EventSource in ") and "8 shards" in repr(source.group("g"))
