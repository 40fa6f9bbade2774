"""The outbox of a node, over a line whose answers the test gives."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any, cast

import pytest

from coopy import EncodingError, OutcomeUnknown, SystemClosed, Unavailable
from coopy.ground import batch
from coopy.ground.record import WRAP
from coopy.replication import outbox
from coopy.replication.outbox import Group, Outbox

REFUSED, SWALLOWED = Unavailable("refused"), OutcomeUnknown("swallowed")


class Answer:
    value: Any = None
    error: BaseException | None = None


class Scripted:
    """A line: what was sent waits for its answer."""

    def __init__(self) -> None:
        self.sent: list[tuple[batch.Batch, str, Future[int]]] = []
        self.asked: list[tuple[int, list[str]]] = []

    def send(self, data: bytes, name: str) -> Future[int]:
        future: Future[int] = Future()
        found = batch.unpack(data, 0)
        self.sent.append((found, name, future))
        kind = -1 if found.kind == batch.BARRIER else 1
        self.asked.append((kind * found.number, texts(found)))
        return future

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)

    def answer(self, place: int, error: BaseException | None = None) -> None:
        future = self.sent[place][2]
        if error is None:
            future.set_result(place + 1)
        else:
            future.set_exception(error)

    def name(self, place: int) -> str:
        return self.sent[place][1]


def texts(found: batch.Batch) -> list[str]:
    data = bytes(found.records)
    return [piece.decode() for piece in data.split(WRAP)[1:]]


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    monkeypatch.setattr(outbox, "RETRY_S", 0.0)
    return Scripted()


@pytest.fixture
def box(line: Scripted) -> Outbox:
    found = Outbox(line, "a")
    found.begin(3)
    return found


def group(*records: str) -> Group:
    return Group([record.encode() for record in records], [Answer() for _ in records])


def put(box: Outbox, *records: str) -> Group:
    found = group(*records)
    box.put(found)
    return found


def is_done(group: Group) -> bool:
    return group.done.acquire(False)


def test_nothing_is_sent_before_the_node_may(line: Scripted) -> None:
    box = Outbox(line, "a")
    put(box, "x")
    assert line.asked == []
    box.begin(1)
    assert line.asked == [(1, ["x"])]


def test_a_batch_grows_while_two_are_on_their_way(box: Outbox, line: Scripted) -> None:
    for text in "abcde":
        put(box, text)
    assert line.asked == [(1, ["a"]), (2, ["b"])]
    line.answer(0)
    assert line.asked[2:] == [(3, ["c", "d", "e"])]


def test_a_group_is_not_torn_and_a_batch_has_bounds(box: Outbox, line: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "BATCH_BYTES_MAX", 10)
    monkeypatch.setattr(outbox, "BATCH_ACTIONS_MAX", 3)
    put(box, "first")
    put(box, "second")
    for records in (("a", "b"), ("c", "d"), ("e",), ("123456", "789012"), ("z",), ("123456789",), ("12",)):
        put(box, *records)
    for place in range(6):
        line.answer(place)
    assert [records for _, records in line.asked[2:]] == [
        ["a", "b", "c", "d"],
        ["e"],
        ["123456", "789012"],
        ["z", "123456789"],
        ["12"],
    ]


def test_a_batch_that_is_seen_brings_its_groups_until_it_was_applied(box: Outbox, line: Scripted) -> None:
    first = put(box, "a")
    assert [box.seen(1), box.seen(1)] == [[first], [first]]
    assert box.seen(77) == []
    assert not box.is_empty()
    box.applied(1)
    assert box.seen(1) == []
    assert box.is_empty()


def test_with_a_batch_those_before_it_were_applied(box: Outbox, line: Scripted) -> None:
    put(box, "a")
    put(box, "b")
    box.applied(2)
    assert box.is_empty()


@pytest.mark.parametrize("error", [REFUSED, SWALLOWED])
def test_a_batch_that_was_met_although_nobody_said_that_it_was_taken_holds_up_nothing(
    box: Outbox, line: Scripted, error: Exception
) -> None:
    put(box, "a")
    line.answer(0, error)
    box.seen(1)
    box.applied(1)
    put(box, "b")
    box.tick()
    assert line.asked[1:] == [(2, ["b"])]


@pytest.mark.parametrize("error", [REFUSED, SWALLOWED])
def test_what_was_not_answered_is_sent_again_with_the_same_name(box: Outbox, line: Scripted, error: Exception) -> None:
    put(box, "a")
    line.answer(0, error)
    assert box.problem is error
    box.tick()
    assert line.asked == [(1, ["a"])] * 2
    assert line.name(0) == line.name(1)
    line.answer(1)
    assert box.problem is None
    box.tick()
    assert len(line.sent) == 2


def test_while_there_is_a_problem_calls_wait(box: Outbox, line: Scripted) -> None:
    put(box, "a")
    line.answer(0, REFUSED)
    put(box, "b")
    put(box, "c")
    assert len(line.sent) == 1
    box.tick()
    line.answer(1)
    assert line.asked[1:] == [(1, ["a"]), (2, ["b", "c"])]


def test_what_was_lost_is_sent_in_order_and_after_the_last_answer(box: Outbox, line: Scripted) -> None:
    put(box, "a")
    put(box, "b")
    line.answer(0, REFUSED)
    box.tick()
    assert len(line.sent) == 2
    line.answer(1, SWALLOWED)
    box.tick()
    assert line.asked[2:] == [(1, ["a"]), (2, ["b"])]


def test_a_batch_that_was_passed_over_gets_another_name(box: Outbox, line: Scripted) -> None:
    put(box, "a")
    put(box, "b")
    line.answer(0, REFUSED)
    line.answer(1)
    box.passed_over(2)
    box.tick()
    assert line.asked[2:] == [(1, ["a"]), (2, ["b"])]
    assert line.name(2) == line.name(0)
    assert line.name(3) != line.name(1)


@pytest.mark.parametrize("late", ["the answer", "the message"])
def test_a_lost_batch_is_sent_again_although_the_one_behind_it_was_taken(box: Outbox, line: Scripted, late: str) -> None:
    """A server tells everybody of a message before it answers who sent it, as often as not."""
    put(box, "a")
    put(box, "b")
    line.answer(0, REFUSED)
    if late == "the answer":
        box.passed_over(2)
        line.answer(1)
    else:
        line.answer(1)
        box.passed_over(2)
    box.tick()
    assert [number for number, _ in line.asked[2:]] == [1, 2]


@pytest.mark.parametrize("error", [REFUSED, SWALLOWED])
def test_a_barrier_that_is_taken_does_not_hide_a_batch_that_was_not(box: Outbox, line: Scripted, error: Exception) -> None:
    put(box, "a")
    line.answer(0, error)
    box.barrier(Group((), ()))
    line.answer(1)
    box.tick()
    assert line.asked[2:] == [(1, ["a"])]


def test_a_batch_that_is_taken_does_not_hide_a_barrier_that_was_not(box: Outbox, line: Scripted) -> None:
    box.barrier(Group((), ()))
    put(box, "a")
    line.answer(0, REFUSED)
    line.answer(1)
    box.tick()
    assert line.asked[2:] == [(-1, [])]


def test_after_a_barrier_that_was_given_up_calls_are_taken_again(box: Outbox, line: Scripted) -> None:
    waiting = Group((), ())
    box.barrier(waiting)
    line.answer(0, REFUSED)
    assert isinstance(box.give_up(waiting, 1.0), Unavailable)
    box.tick()
    put(box, "a")
    box.tick()
    assert (1, ["a"]) in line.asked


def test_a_barrier_ends_when_it_is_met(box: Outbox, line: Scripted) -> None:
    waiting = Group((), ())
    box.barrier(waiting)
    line.answer(0)
    assert not is_done(waiting)
    box.seen_barrier(1)
    assert is_done(waiting)
    box.seen_barrier(1)


def test_no_two_messages_share_a_name(box: Outbox, line: Scripted) -> None:
    for _ in range(3):
        box.barrier(Group((), ()))
        put(box, "a")
        line.answer(len(line.sent) - 1)
    other = Outbox(line, "b")
    other.begin(3)
    put(other, "a")
    newer = Outbox(line, "a")
    newer.begin(4)
    put(newer, "a")
    names = [name for _, name, _ in line.sent]
    assert len(names) == len(set(names))


# -- how it ends for who does not wait any longer


def test_who_gives_up_before_the_call_was_sent_may_call_again(box: Outbox, line: Scripted) -> None:
    put(box, "a"), put(box, "b")
    waiting = put(box, "c")
    found = box.give_up(waiting, 1.0)
    assert isinstance(found, Unavailable)
    assert "Nothing was recorded; call again" in str(found)
    line.answer(0)
    line.answer(1)
    assert len(line.sent) == 2


def test_who_gives_up_after_it_was_refused_may_call_again_and_it_is_not_sent(box: Outbox, line: Scripted) -> None:
    first = put(box, "a")
    line.answer(0, REFUSED)
    put(box, "b")
    found = box.give_up(first, 1.5)
    assert isinstance(found, Unavailable)
    assert "within 1.5 s (refused)" in str(found)
    box.tick()
    line.answer(1)
    assert line.asked[1:] == [(1, []), (2, ["b"])]


def test_who_gives_up_after_an_answer_was_lost_learns_that_it_is_not_known(box: Outbox, line: Scripted) -> None:
    first = put(box, "a")
    line.answer(0, SWALLOWED)
    assert isinstance(box.give_up(first, 1.0), OutcomeUnknown)
    box.tick()
    line.answer(1, REFUSED)
    assert isinstance(box.give_up(first, 1.0), OutcomeUnknown)
    box.tick()
    assert line.asked[2] == (1, ["a"])


@pytest.mark.parametrize("before", [False, True])
def test_who_gives_up_while_a_batch_is_on_its_way_learns_that_it_is_not_known(
    box: Outbox, line: Scripted, before: bool
) -> None:
    first = put(box, "a")
    if before:
        line.answer(0, REFUSED)
        box.tick()
    assert isinstance(box.give_up(first, 1.0), OutcomeUnknown)


def test_who_gives_up_while_the_call_is_applied_learns_that_it_is_not_known(box: Outbox, line: Scripted) -> None:
    first = put(box, "a")
    line.answer(0)
    assert box.seen(1) == [first]
    assert isinstance(box.give_up(first, 1.0), OutcomeUnknown)


def test_a_batch_that_may_be_in_the_line_is_sent_as_it_was(box: Outbox, line: Scripted) -> None:
    """Nodes apply whichever comes first; they must not differ."""
    put(box, "first"), put(box, "second")
    left, stays = put(box, "a"), put(box, "b")
    line.answer(0)
    line.answer(1)
    box.applied(2)
    line.answer(2, SWALLOWED)
    box.give_up(left, 1.0)
    box.tick()
    line.answer(3, REFUSED)
    box.tick()
    assert line.asked[2:] == [(3, ["a", "b"])] * 3
    assert box.seen(3) == [left, stays]


def test_too_many_waiting_are_refused(box: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "WAITING_MAX", 3)
    put(box, "a"), put(box, "b")
    put(box, "c", "d", "e")
    with pytest.raises(Unavailable, match="3 calls wait to be sent already. Nothing was recorded"):
        put(box, "f")


def test_closed_it_says_of_each_call_what_is_known(box: Outbox, line: Scripted) -> None:
    groups = [put(box, "unanswered")]
    line.answer(0, SWALLOWED)
    groups += [put(box, "unsent")]
    barrier = Group((), ())
    box.barrier(barrier)
    box.close(SystemClosed("closed"))
    assert [type(each.answers[0].error) for each in groups] == [OutcomeUnknown, SystemClosed]
    assert all(map(is_done, [*groups, barrier]))
    with pytest.raises(SystemClosed):
        put(box, "late")
    with pytest.raises(SystemClosed):
        box.barrier(Group((), ()))


def test_closed_it_does_not_say_that_what_is_on_its_way_was_not_recorded(box: Outbox, line: Scripted) -> None:
    first = put(box, "a")
    box.close(SystemClosed("closed"))
    assert isinstance(first.answers[0].error, OutcomeUnknown)


def test_what_finishes_is_told_in_the_thread_that_finishes(box: Outbox) -> None:
    told: list[Group] = []
    found = Group([b"x"], [Answer()], told.append)
    found.finish()
    assert told == [found]


def test_a_record_that_no_message_takes_is_refused() -> None:
    outbox.check_size("put", b"x" * outbox.RECORD_BYTES_MAX)
    with pytest.raises(EncodingError, match=r"put\(\) take 8000001 bytes.*Nothing was recorded"):
        outbox.check_size("put", b"x" * (outbox.RECORD_BYTES_MAX + 1))


def test_the_largest_batch_fits_a_message() -> None:
    from coopy.network.server.configuration import PAYLOAD_BYTES_MAX

    largest = batch.pack(batch.ACTIONS, "n" * 255, 1, 1, [b"x" * outbox.RECORD_BYTES_MAX])
    assert len(largest) + 4096 < PAYLOAD_BYTES_MAX


def test_who_is_interrupted_while_sending_keeps_nobody_from_it(
    line: Scripted, box: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(line, "send", lambda data, name: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            put(box, "a")
    second = put(box, "b")
    assert line.asked == []
    box.tick()
    assert line.asked == [(1, ["a"])]
    line.answer(0)
    assert line.asked[1:] == [(2, ["b"])]
    assert not is_done(second)


@pytest.mark.parametrize(("has", "again"), [(0, [1, 2]), (1, [2]), (2, [])])
def test_what_another_state_may_have_skipped_is_sent_again_under_another_name(
    line: Scripted, has: int, again: list[int]
) -> None:
    out = Outbox(cast(Any, line), "a")
    out.begin(1)
    for text in ("x", "y"):
        out.put(Group([text.encode()], [Answer()]))
    line.answer(0), line.answer(1)
    out.skipped(has)
    out.tick()
    names = [name for _, name, _ in line.sent[2:]]
    assert [number for number in (1, 2) if f"a.1.{batch.ACTIONS}.{number}.1" in names] == again
