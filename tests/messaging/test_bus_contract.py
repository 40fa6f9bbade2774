"""What a bus promises, on every medium and with every face: the bus in one process is a second implementation of what the server does."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from decimal import Decimal
from enum import Enum
from queue import Queue
from typing import Any
from uuid import UUID

import pytest
from messaging.bus_media import PATIENCE_S

from coopy import DecodingError, EncodingError, OutcomeUnknown, RemoteError, SystemClosed, Unavailable, UsageError
from coopy.messaging import AsyncBus, Bus, Message, Missed

Make = Callable[[], Any]


@pytest.mark.parametrize(
    ("pattern", "heard", "not_heard"),
    [
        ("orders.new", ["orders.new"], ["orders", "orders.old", "orders.new.eu"]),
        ("orders.*", ["orders.new", "orders.old"], ["orders", "orders.new.eu", "Orders.new"]),
        ("*.new", ["orders.new", "users.new"], ["new", "a.b.new"]),
        ("orders.>", ["orders.new", "orders.new.eu"], ["orders", "order.new"]),
        ("*.*.eu", ["orders.new.eu"], ["orders.eu", "orders.new.us"]),
        (">", ["orders", "a.b.c"], []),
        ("büro.*", ["büro.größe"], ["buro.x"]),
    ],
)
def test_a_pattern_hears_its_subjects_and_no_others(member: Make, pattern: str, heard: list[str], not_heard: list[str]) -> None:
    one, other = member(), member()
    with other.subscribe(pattern) as subscription:
        for subject in [*not_heard, *heard]:
            one.publish(subject, subject)
        assert [subscription.get(PATIENCE_S).value for _ in heard] == heard


@pytest.mark.parametrize(
    "subject", ["", ".", "a.", ".a", "a..b", "a b", "a\n", "a.*", ">", "a\0", "x" * 1025, "\ud800", 7, None]
)
def test_a_subject_that_is_none_is_refused(member: Make, subject: Any) -> None:
    with pytest.raises(UsageError):
        member().publish(subject, 1)


@pytest.mark.parametrize("pattern", ["", "a.>.b", "a*", "a.b>", "a.**", ">.a", " ", None])
def test_a_pattern_that_is_none_is_refused(member: Make, pattern: Any) -> None:
    with pytest.raises(UsageError):
        member().subscribe(pattern)


def test_what_is_published_right_after_subscribe_has_returned_is_heard(member: Make) -> None:
    one, other = member(), member()
    for number in range(50):
        with other.subscribe("first.messages") as subscription:
            one.publish("first.messages", number)
            assert subscription.get(PATIENCE_S).value == number


def test_after_close_nothing_is_heard_and_what_had_come_can_be_taken(member: Make) -> None:
    one = member()
    subscription = one.subscribe("orders.new")
    one.publish("orders.new", 1)
    one.flush()
    subscription.close()
    one.publish("orders.new", 2)
    one.flush()
    assert [each.value for each in subscription] == [1]
    with pytest.raises(SystemClosed):
        subscription.get(PATIENCE_S)


def test_a_message_has_its_headers_its_publisher_and_its_number(member: Make) -> None:
    one, other = member(), member()
    with other.subscribe("orders.*") as subscription:
        one.publish("orders.new", 1, {"Trace": "4711", "X-Ünlogged".replace("Ü", "U"): "größer"})
        one.publish("orders.old", 1)
        one.publish("orders.new", 2)
        found = [subscription.get(PATIENCE_S) for _ in range(3)]
    assert found[0].headers == {"Trace": "4711", "X-Unlogged": "größer"} and found[1].headers == {}
    assert {each.publisher for each in found} == {one.bus.publisher} != {other.bus.publisher}
    assert [(each.subject, each.number) for each in found] == [("orders.new", 1), ("orders.old", 1), ("orders.new", 2)]


@pytest.mark.parametrize(
    "headers", [{"a b": "c"}, {"": "c"}, {"a": "b\r\nc: d"}, {"a": 7}, {"Coopy": "x 1 p"}, {"coopy": "x"}, {"a:": "b"}]
)
def test_a_header_that_is_none_is_refused_and_leaves_no_gap(member: Make, headers: Any) -> None:
    one, other = member(), member()
    with other.subscribe("orders.new") as subscription:
        one.publish("orders.new", 1)
        with pytest.raises(UsageError):
            one.publish("orders.new", 2, headers)
        one.publish("orders.new", 3)
        assert [subscription.get(PATIENCE_S).value for _ in range(2)] == [1, 3] and subscription.missed == 0


@pytest.mark.parametrize(
    "value", [None, True, 0, -1.5, "größer", [1, [2]], {"a": {"b": None}}, b"\x00\xff", b"", "", "\r\n", "x" * 100_000, 10**30]
)
def test_a_plain_value_comes_as_it_was_sent(member: Make, value: object) -> None:
    one = member()
    with one.subscribe("values") as subscription:
        one.publish("values", value)
        found = subscription.get(PATIENCE_S).value
        assert found == value and type(found) is type(value)


@pytest.mark.parametrize("value", [object(), lambda: 0, {"a": {1j}}, [1, Bus], {(1, 2): 3}])
def test_a_value_that_has_no_form_is_refused_and_leaves_no_gap(member: Make, value: object) -> None:
    one = member()
    with one.subscribe("values") as subscription:
        one.publish("values", 1)
        with pytest.raises(EncodingError):
            one.publish("values", value)
        one.publish("values", 2)
        assert [subscription.get(PATIENCE_S).value for _ in range(2)] == [1, 2] and subscription.missed == 0


def test_a_message_that_is_too_long_is_refused_and_the_bus_goes_on(member: Make) -> None:
    one = member()
    with one.subscribe("values") as subscription:
        with pytest.raises(UsageError, match="most"):
            one.publish("values", b"x" * (8 << 20))
        one.publish("values", b"x" * (4 << 20))
        assert len(subscription.get(PATIENCE_S).data) == 4 << 20


class Colour(Enum):
    RED = "red"


@dataclass
class Line:
    article: str
    price: Decimal


@dataclass
class Order:
    number: int
    lines: list[Line]
    at: datetime
    id: UUID
    colour: Colour | None = None
    seal: bytes = b""
    words: set[str] = field(default_factory=set)
    pair: tuple[int, str] = (0, "")
    share: float = 0.0


def test_a_dataclass_comes_as_one_if_the_subscription_says_so(member: Make) -> None:
    order = Order(
        7,
        [Line("tea", Decimal("1.50"))],
        datetime(2026, 11, 30, 12, tzinfo=timezone.utc),
        UUID(int=5),
        Colour.RED,
        b"\x00\xff",
        {"a", "b"},
        (1, "x"),
        2,
    )
    one = member()
    with (
        one.subscribe("orders", type=Order) as typed,
        one.subscribe("orders") as plain,
        one.subscribe("lists", type=list[Decimal]) as lists,
    ):
        one.publish("orders", order)
        one.publish("lists", [Decimal(1), Decimal("2.5")])
        assert typed.get(PATIENCE_S).value == order
        assert plain.get(PATIENCE_S).value["lines"] == [{"article": "tea", "price": "1.50"}]
        assert lists.get(PATIENCE_S).value == [Decimal(1), Decimal("2.5")]


@pytest.mark.parametrize(
    "value",
    [
        {"article": "tea"},
        {"article": 7, "price": "1"},
        {"article": "tea", "price": "x"},
        [],
        None,
        {"article": "a", "price": "1", "b": 2},
    ],
)
def test_what_is_not_of_the_type_is_told_and_its_bytes_can_be_had(member: Make, value: object) -> None:
    one = member()
    with one.subscribe("orders", type=Line) as subscription:
        one.publish("orders", value)
        message = subscription.get(PATIENCE_S)
        with pytest.raises(DecodingError):
            _ = message.value
        assert message.data


def test_each_message_goes_to_one_of_a_group_and_to_everybody_else(member: Make) -> None:
    one, other = member(), member()
    got: Counter[str] = Counter()
    numbers: list[int] = []
    done = threading.Semaphore(0)

    def take(who: str) -> Callable[[Message[Any]], None]:
        def called(message: Message[Any]) -> None:
            got[who] += 1
            if who in "ab":
                numbers.append(message.value)
            done.release()

        return called

    for who, where, group in (("a", one, "workers"), ("b", other, "workers"), ("c", other, "others"), ("d", one, "")):
        where.subscribe("tasks", take(who), group=group)
    for number in range(100):
        one.publish("tasks", number)
    for _ in range(300):
        assert done.acquire(timeout=PATIENCE_S)
    assert sorted(numbers) == list(range(100)) and got["c"] == got["d"] == 100 and got["a"] and got["b"]


def test_a_question_is_answered_by_who_subscribes(member: Make) -> None:
    one, other = member(), member()
    with other.subscribe("sums", lambda message: message.respond(sum(message.value), {"By": "other"})):
        answer = one.request("sums", [1, 2, 3], timeout=PATIENCE_S)
        assert answer.value == 6 and answer.headers["By"] == "other"
        assert one.call("sums", [4], timeout=PATIENCE_S) == 4


def test_who_asks_where_nobody_listens_is_told_at_once(member: Make) -> None:
    one = member()
    for subject in ("nobody", "nobody.here", "sums.add"):
        with pytest.raises(Unavailable, match="nobody listens"):
            one.request(subject, 1, timeout=PATIENCE_S * 10)


def test_who_is_not_answered_in_time_does_not_know_whether_it_was_done(member: Make) -> None:
    one = member()
    with one.subscribe("silent"), pytest.raises(OutcomeUnknown, match="within 0.05 s"):
        one.request("silent", 1, timeout=0.05)


def test_a_message_that_is_no_question_can_not_be_answered(member: Make) -> None:
    one = member()
    with one.subscribe("orders") as subscription:
        one.publish("orders", 1)
        with pytest.raises(UsageError, match="wants no answer"):
            subscription.get(PATIENCE_S).respond(2)


def test_a_service_answers_and_what_it_raises_is_raised_by_who_asked(member: Make) -> None:
    one, other = member(), member()

    def add(numbers: Any) -> Any:
        return sum(numbers)

    with other.serving("sums.add", add):
        assert one.call("sums.add", [1, 2], timeout=PATIENCE_S) == 3
        with pytest.raises(RemoteError, match="TypeError: 'int' object is not iterable"):
            one.call("sums.add", 7, timeout=PATIENCE_S)
        assert one.call("sums.add", [3], timeout=PATIENCE_S) == 3
        [said] = one.bus.services("sums", timeout=0.2)
        assert said["version"] == "1.2.3" and [each["subject"] for each in said["endpoints"]] == ["sums.add"]
    with pytest.raises(Unavailable):
        one.call("sums.add", [1], timeout=PATIENCE_S)


def test_who_is_too_slow_is_told_what_it_lost_and_harms_nobody(member: Make) -> None:
    one, other = member(), member()
    gaps: list[Missed] = []
    with other.subscribe("ticks.*", waiting=10, missed=gaps.append) as slow, one.subscribe("ticks.*") as quick:
        for number in range(1, 501):
            one.publish("ticks.a", number)
            one.publish("ticks.b", number)
        assert [quick.get(PATIENCE_S).number for _ in range(1000)] == [number for number in range(1, 501) for _ in "ab"]
        other.flush()
        got: dict[str, list[int]] = {"ticks.a": [], "ticks.b": []}
        one.publish("ticks.a", 501)
        one.publish("ticks.b", 501)
        other.flush()
        deadline = time.monotonic() + PATIENCE_S
        while sum(map(len, got.values())) + sum(gap.lost for gap in gaps) < 1002 and time.monotonic() < deadline:
            try:
                message = slow.get(0.2)
            except TimeoutError:
                continue
            got[message.subject].append(message.number)
        assert quick.missed == 0 and slow.missed == sum(gap.lost for gap in gaps) > 900
    for subject, numbers in got.items():
        told = [number for gap in gaps if gap.subject == subject for number in range(gap.first, gap.first + gap.lost)]
        assert sorted([*numbers, *told]) == list(range(1, 502)), "each is there once, or was told of"
    assert {gap.publisher for gap in gaps} == {one.bus.publisher}


def test_what_is_lost_is_told_between_the_messages_where_it_is_missing(first: Bus) -> None:
    told: list[Any] = []
    with first.subscribe("ticks", waiting=2, missed=told.append) as subscription:
        for number in range(5):
            first.publish("ticks", number)
        first.flush()
        told.append(subscription.get(PATIENCE_S).value)
        first.publish("ticks", 5)
        first.flush()
        told.append(subscription.get(PATIENCE_S).value)
        told.append(subscription.get(PATIENCE_S).value)
    assert told == [0, 1, Missed(first.publisher, "ticks", 3, 3), 5]


def test_a_long_message_takes_the_room_of_many(first: Bus) -> None:
    gaps: list[Missed] = []
    with first.subscribe("long", waiting_bytes=1000, missed=gaps.append) as subscription:
        for _ in range(3):
            first.publish("long", b"x" * 600)
        first.publish("long", b"x" * 100)
        first.flush()
        assert [len(subscription.get(PATIENCE_S).data) for _ in range(2)] == [600, 100]
        # One that is longer than the room is taken if nothing else waits: it would never come otherwise.
        first.publish("long", b"x" * 5000)
        assert len(subscription.get(PATIENCE_S).data) == 5000
    assert [gap.lost for gap in gaps] == [2]


def test_a_group_that_is_too_slow_is_told_how_many_it_lost(first: Bus) -> None:
    gaps: list[Missed] = []
    with first.subscribe("tasks", group="g", waiting=1, missed=gaps.append) as subscription:
        for number in range(5):
            first.publish("tasks", number)
        first.flush()
        assert subscription.get(PATIENCE_S).value == 0
        first.publish("tasks", 5)
        assert subscription.get(PATIENCE_S).value == 5
    assert gaps == [Missed("", "tasks", 0, 4)]


def test_the_messages_of_a_publisher_come_in_the_order_of_its_calls(member: Make) -> None:
    one, other = member(), member()
    with other.subscribe("numbers") as subscription:
        for number in range(2000):
            one.publish("numbers", number)
        assert [subscription.get(PATIENCE_S).value for _ in range(2000)] == list(range(2000))


def test_threads_that_publish_through_one_member_lose_nothing_and_no_number_is_given_twice(first: Bus) -> None:
    with first.subscribe("numbers") as subscription:

        def publish(who: int) -> None:
            for number in range(300):
                first.publish("numbers", [who, number])

        threads = [threading.Thread(target=publish, args=(who,)) for who in range(4)]
        for thread in threads:
            thread.start()
        found = [subscription.get(PATIENCE_S) for _ in range(1200)]
        for thread in threads:
            thread.join()
    assert [each.number for each in found] == list(range(1, 1201))
    for who in range(4):
        assert [each.value[1] for each in found if each.value[0] == who] == list(range(300))


def test_a_callback_that_raises_is_called_with_the_next_message(member: Make, caplog: pytest.LogCaptureFixture) -> None:
    one = member()
    got: list[int] = []
    done = threading.Event()

    def take(message: Message[Any]) -> None:
        got.append(message.value)
        if message.value == 3:
            done.set()
        raise KeyError(message.value)

    one.subscribe("orders", take)
    for number in (1, 2, 3):
        one.publish("orders", number)
    assert done.wait(PATIENCE_S) and got == [1, 2, 3]


@pytest.mark.parametrize(
    "raised", [SystemExit(3), asyncio.CancelledError(), StopIteration()], ids=lambda each: type(each).__name__
)
def test_a_callback_that_ends_its_thread_hears_the_next_message_all_the_same(first: Bus, raised: BaseException) -> None:
    heard: Queue[int] = Queue()

    def take(message: Message[Any]) -> None:
        heard.put(message.value)
        raise raised

    with first.subscribe("orders", take), first.service("sums") as sums:

        @sums.endpoint()
        def add(numbers: list[int]) -> int:
            if not numbers:
                raise raised
            return sum(numbers)

        for number in (1, 2):
            first.publish("orders", number)
            assert heard.get(timeout=PATIENCE_S) == number
            with pytest.raises(RemoteError, match=type(raised).__name__):
                first.call("sums.add", [], timeout=PATIENCE_S)
        assert first.call("sums.add", [1, 2], timeout=PATIENCE_S) == 3


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 does not say whose end a cancelling is")
def test_a_callback_that_awaits_what_was_cancelled_hears_the_next_message(first: Bus) -> None:
    async def main() -> None:
        heard: asyncio.Queue[int] = asyncio.Queue()

        async def take(message: Message[Any]) -> None:
            heard.put_nowait(message.value)
            gone = asyncio.ensure_future(asyncio.sleep(PATIENCE_S))
            gone.cancel()
            await gone

        async with AsyncBus(first) as bus:
            await bus.subscribe("orders", take)
            for number in (1, 2):
                await bus.publish("orders", number)
                assert await asyncio.wait_for(heard.get(), PATIENCE_S) == number

    asyncio.run(main())


def test_an_endpoint_without_brackets_is_refused_and_not_deaf(first: Bus) -> None:
    with first.service("sums") as sums, pytest.raises(UsageError, match=r"endpoint\(\)"):

        @sums.endpoint  # type: ignore[arg-type]
        def add(numbers: list[int]) -> int:
            return sum(numbers)


def test_a_time_limit_that_is_no_number_is_refused(first: Bus) -> None:
    with first.subscribe("orders") as orders, pytest.raises(UsageError, match="timeout=nan"):
        orders.get(timeout=float("nan"))


def test_a_callback_may_publish_ask_and_end_its_subscription(first: Bus) -> None:
    done = threading.Event()

    def take(message: Message[Any]) -> None:
        first.publish("echo", first.call("sums", [message.value, 1], timeout=PATIENCE_S))
        subscription.close()
        done.set()

    with first.subscribe("echo") as echo, first.subscribe("sums", lambda message: message.respond(sum(message.value))):
        subscription = first.subscribe("orders", take)
        first.publish("orders", 1)
        assert echo.get(PATIENCE_S).value == 2 and done.wait(PATIENCE_S)


def test_a_publisher_waits_until_somebody_hears_it(member: Make) -> None:
    one, other = member(), member()
    with pytest.raises(Unavailable, match="0 of 1"):
        one.wait_for_subscribers("orders.new", timeout=0.01)
    with other.subscribe("orders.*"), other.subscribe("orders.new"), one.subscribe("users.*"):
        one.wait_for_subscribers("orders.new", 2, timeout=PATIENCE_S)
        with pytest.raises(Unavailable, match="2 of 3"):
            one.wait_for_subscribers("orders.new", 3, timeout=0.3)


def test_who_subscribes_to_everything_hears_nothing_of_the_bus_itself(member: Make) -> None:
    one, other = member(), member()
    with other.subscribe(">") as everything, other.subscribe("*.*") as pairs:
        with other.subscribe("sums", lambda message: message.respond(1)):
            one.wait_for_subscribers("sums", 2, timeout=PATIENCE_S)
            one.call("sums", timeout=PATIENCE_S)
            one.bus.services(timeout=0.05)
            one.flush()
        one.publish("a.b", 1)
        assert [everything.get(PATIENCE_S).subject for _ in range(2)] == ["sums", "a.b"]
        assert pairs.get(PATIENCE_S).subject == "a.b"


def test_a_closed_bus_says_so(member: Make) -> None:
    one = member()
    subscription = one.subscribe("orders")
    one.bus.close()
    one.bus.close()
    for use in (lambda: one.publish("orders", 1), lambda: one.subscribe("orders"), lambda: one.call("orders"), one.flush):
        with pytest.raises(SystemClosed):
            use()
    assert list(subscription) == []


def test_no_message_in_time_is_a_timeout(member: Make) -> None:
    with member().subscribe("silent") as subscription, pytest.raises(TimeoutError):
        subscription.get(0.01)
