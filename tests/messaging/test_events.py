"""Events are appended and read: streams, versions, ids, positions, and what events of the past are today."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import coopy
import coopy.migration
from coopy import DecodingError, EncodingError, MissingActions, SystemClosed, UsageError
from coopy.determinism.check import validate
from coopy.messaging import (
    ANY,
    NONE,
    AlreadyAppended,
    AppendConflict,
    Appended,
    CouldNotFindOffset,
    EventSource,
    ForeignPosition,
    NewEvent,
    NotAppended,
    Position,
    Removed,
)
from coopy.messaging.events_log import EventLog


@pytest.fixture
def source(tmp_path: Path) -> Any:
    with EventSource(tmp_path / "events", durability="buffered") as source:
        yield source


def data(events: Any) -> list[Any]:
    return [each.data for each in events]


def test_strict_validation_finds_nothing_in_the_state_of_an_event_source() -> None:
    validate(EventLog, "strict")


@pytest.mark.parametrize("begin", [-1, -5, 1.5, "1", b"1"], ids=repr)
@pytest.mark.parametrize("stream", [None, "a"])
def test_what_is_no_place_to_begin_at_is_refused(source: EventSource, stream: str | None, begin: Any) -> None:
    source.append("a", [b"1", b"2"])
    with pytest.raises(UsageError, match="must be an offset, 0 or more"):
        source.read(stream, begin)


# -- appending


def test_events_of_all_streams_have_one_order_and_each_stream_has_its_versions(source: EventSource) -> None:
    assert source.append("a", [b"1", b"2"]) == Appended("a", 0, 1, 2)
    assert source.append("b", b"3") == Appended("b", 2, 2, 1)
    assert source.append("a", b"4") == Appended("a", 3, 3, 3)
    assert [(each.offset, each.stream, each.version, each.data) for each in source.read()] == [
        (0, "a", 1, b"1"),
        (1, "a", 2, b"2"),
        (2, "b", 1, b"3"),
        (3, "a", 3, b"4"),
    ]
    assert data(source.read("a")) == [b"1", b"2", b"4"] and data(source.read("b")) == [b"3"] and data(source.read("c")) == []
    assert (source.version("a"), source.version("c"), source.streams(), len(source)) == (3, 0, ["a", "b"], 4)


def test_an_append_that_expects_another_version_appends_nothing(source: EventSource) -> None:
    assert source.append("a", b"1", expected=NONE)
    assert source.append("a", b"2", expected=1) and source.append("a", b"3", expected=ANY)
    for expected in (NONE, 1, 2, 4):
        found = source.append("a", b"never", expected=expected)
        assert found == NotAppended("a", expected, 3, "version") and not found
        with pytest.raises(AppendConflict, match="has version 3") as error:
            found.check()
        assert error.value.conflict == found
    assert data(source.read()) == [b"1", b"2", b"3"]


def test_of_threads_that_expect_the_same_version_one_appends(source: EventSource) -> None:
    won = []

    def run(number: int) -> None:
        for expected in range(50):
            if source.append("a", b"%d" % number, expected=expected):
                won.append(expected)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(won) == list(range(50)) and source.version("a") == 50


def test_an_append_with_an_id_is_done_once(source: EventSource) -> None:
    assert source.append("a", [b"1", b"2"], id="x") == Appended("a", 0, 1, 2)
    source.append("a", b"3")
    found = source.append("a", [b"1", b"2"], id="x")
    assert found == AlreadyAppended("a", 0, 1, 2) and found
    # What was expected then need not be so now: it is the same append.
    assert source.append("a", [b"1", b"2"], expected=0, id="x") == AlreadyAppended("a", 0, 1, 2)
    assert data(source.read()) == [b"1", b"2", b"3"]


@pytest.mark.parametrize(
    ("stream", "events"),
    [("a", [b"1"]), ("a", [b"1", b"2", b"3"]), ("b", [b"1", b"2"]), ("a", [b"12", b""]), ("a", [b"1", NewEvent("t", b"2")])],
)
def test_an_id_that_stands_for_other_events_is_refused(source: EventSource, stream: str, events: Any) -> None:
    source.append("a", [b"1", b"2"], id="x")
    found = source.append(stream, events, id="x")
    assert isinstance(found, NotAppended) and found.why == "id"
    with pytest.raises(AppendConflict, match="given to other events"):
        found.check()


def test_one_event_need_not_be_a_list(source: EventSource) -> None:
    for one in (b"1", bytearray(b"1"), NewEvent("t", 5), {"a": 1}, "text", 7):
        assert source.append("a", one).check().first == source.span()[1] - 1
    source.append("a", (each for each in [b"2", b"3"]))
    assert data(source.read()) == [b"1", b"1", 5, {"a": 1}, "text", 7, b"2", b"3"]


@dataclass
class Placed:
    article: str


def test_an_event_is_any_value_with_a_type_a_key_and_what_is_carried_along(source: EventSource) -> None:
    source.append(
        "a", [Placed("tea"), NewEvent("Paid", {"amount": 5}, key="ann", meta={"by": "web"}), NewEvent("Gone", None, "ann")]
    )
    placed, paid, gone = source.read()
    assert (placed.type, placed.data, placed.key, placed.meta) == ("Placed", Placed("tea"), None, None)
    assert (paid.type, paid.data, paid.key, paid.meta) == ("Paid", {"amount": 5}, "ann", {"by": "web"})
    assert gone.is_tombstone and not paid.is_tombstone and gone.data is None


@pytest.mark.parametrize("events", [[], (), iter(())])
def test_no_events_are_refused(source: EventSource, events: Any) -> None:
    with pytest.raises(UsageError, match="no events"):
        source.append("a", events)


def test_what_can_not_be_appended_changes_nothing(source: EventSource) -> None:
    with pytest.raises(EncodingError, match="can't be pickled"):
        source.append("a", [b"1", lambda: 0])
    with pytest.raises(UsageError, match="must be a text"):
        source.append(7, b"1")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="must be a text"):
        source.append("a", NewEvent(5, b""))  # type: ignore[arg-type]
    for expected in (-2, True, "1"):
        with pytest.raises(UsageError, match="expected="):
            source.append("a", b"1", expected=expected)  # type: ignore[arg-type]
    assert source.span() == (0, 0)


# -- reading


@pytest.mark.slow
def test_what_is_read_is_what_was_appended_whatever_came_together(tmp_path: Path) -> None:
    chance = random.Random(7)
    for life in range(2):
        with EventSource(tmp_path, durability="buffered", segment_bytes=1) as source:
            written = data(source.read())
            for number in range(150):
                some = [
                    b"%d/%d/" % (number, each) + bytes(chance.choice((0, 10, 3000)))
                    for each in range(chance.choice((1, 1, 3, 40)))
                ]
                source.append(chance.choice("abc"), some)
                written += some
            if life == 0:
                coopy.control(source.log).take_snapshot()
            assert data(source.read()) == written
            assert data(source.read(backwards=True)) == written[::-1]
            end = len(written)
            for _ in range(20):
                at = chance.randrange(end)
                assert source.get(at).data == written[at] and data(source.get_batch(at, 7)) == written[at : at + 7]
            at = chance.randrange(end)
            assert (
                data(source.read(from_=at)) == written[at:] and data(source.read(from_=at, backwards=True)) == written[at::-1]
            )
            for stream in "abc":
                events = [each for each in source.read() if each.stream == stream]
                assert [each.version for each in events] == list(range(1, len(events) + 1))
                assert list(source.read(stream)) == events and list(source.read(stream, backwards=True)) == events[::-1]
                assert list(source.read(stream, from_=30)) == events[29:]
                assert list(source.read(stream, from_=30, backwards=True)) == events[29::-1]


def test_a_read_has_what_was_there_when_it_began(source: EventSource) -> None:
    source.append("a", [b"1", b"2", b"3"])
    for events in (source.read(), source.read("a")):
        found = [next(events)]
        source.append("a", b"late")
        found += events
        assert b"late" not in data(found)[3:]
    assert data(source.read(from_=100)) == [] and data(source.read("a", from_=100)) == []


def test_a_closed_source_says_so(tmp_path: Path) -> None:
    source = EventSource(tmp_path)
    source.append("a", b"1")
    source.close()
    source.close()
    for call in (
        lambda: source.append("a", b"1"),
        lambda: source.get(0),
        lambda: source.follow("x"),
        lambda: list(source.read()),
    ):
        with pytest.raises(SystemClosed):
            call()


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ({"master": True}, "journal of one directory"),
        ({"replication": True}, "journal of one directory"),
        ({"cluster": ["a:1"]}, "journal of one directory"),
        ({"keep": 2}, "would delete the journal"),
        ({"keep_for": 60}, "would delete the journal"),
    ],
)
def test_options_under_which_events_would_be_lost_or_numbered_otherwise_are_refused(
    tmp_path: Path, option: Any, why: str
) -> None:
    with pytest.raises(UsageError, match=why):
        EventSource(tmp_path / "events", **option)
    assert not (tmp_path / "events").exists()


def test_events_that_were_pruned_by_hand_are_said_to_be_missing(tmp_path: Path) -> None:
    with EventSource(tmp_path, durability="buffered", segment_bytes=1) as source:
        for number in range(300):
            source.append("a", b"%d" % number + bytes(10_000))
        coopy.control(source.log).take_snapshot()
        coopy.control(source.log).prune(keep=1)
    with EventSource(tmp_path) as source:
        for read in (lambda: source.get(0), lambda: list(source.read()), lambda: list(source.read("a"))):
            with pytest.raises(MissingActions):
                read()
        assert source.get(299).data.startswith(b"299")


# -- positions


def test_a_position_is_kept_as_text_and_goes_on_where_it_was(source: EventSource) -> None:
    source.append("a", [b"1", b"2", b"3"])
    text = str(source.position(2))
    source.append("a", b"4")
    assert data(source.read(from_=Position.of(text))) == [b"3", b"4"]
    assert source.position(0).mark == 0 and data(source.read(from_=source.position(4))) == []
    with pytest.raises(CouldNotFindOffset):
        source.position(5)


@pytest.mark.parametrize("text", ["", "7", "a:b:c", "a:1", "a:1:2:3", "a:-1:2"])
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no position"):
        Position.of(text)


@pytest.mark.parametrize("from_", [-1, True, "3", 2.0])
def test_what_is_no_offset_is_refused(source: EventSource, from_: Any) -> None:
    with pytest.raises(UsageError):
        list(source.read(from_=from_))
    with pytest.raises(UsageError):
        source.follow("x", from_=from_)


def test_a_position_of_another_source_is_refused(source: EventSource, tmp_path: Path) -> None:
    source.append("a", b"1")
    with EventSource(tmp_path / "other") as other:
        other.append("a", b"1")
        for use in (lambda at: list(other.read(from_=at)), lambda at: other.follow("x", from_=at)):
            with pytest.raises(ForeignPosition, match="belongs to the event source"):
                use(source.position(1))


# -- what events of the past are today


def test_events_of_an_earlier_version_are_what_upcasts_make_of_them(tmp_path: Path) -> None:
    with EventSource(tmp_path) as source:
        source.append("a", NewEvent("Placed", {"article": "tea"}))
    with EventSource(tmp_path) as source:

        @source.upcast("Placed", from_version=1)
        def placed(data: Any) -> Any:
            return {**data, "count": 1}

        source.append("a", NewEvent("Placed", {"article": "milk", "count": 2}))
    with EventSource(tmp_path) as source:
        source.upcast("Placed", from_version=1)(placed)

        @source.upcast("Placed", from_version=2)
        def counted(data: Any) -> Any:
            return {**data, "count": str(data["count"])}

        source.append("a", [NewEvent("Placed", {"count": "x"}), NewEvent("Other", {"count": 5})])
        assert data(source.read()) == [
            {"article": "tea", "count": "1"},
            {"article": "milk", "count": "2"},
            {"count": "x"},
            {"count": 5},
        ]
        assert source.get(0).data["count"] == "1" and data(source.read("a"))[0]["count"] == "1"


def test_an_upcast_may_say_another_type_or_that_there_is_no_event_any_more(source: EventSource) -> None:
    source.append("a", [NewEvent("Old", 1), NewEvent("Odd", 2), NewEvent("Other", 3)])
    source.upcast("Old", 1)(lambda data: coopy.migration.Call("New", data + 10))
    source.upcast("Odd", 1)(lambda data: None)
    assert [(each.offset, each.type, each.data) for each in source.read()] == [(0, "New", 11), (2, "Other", 3)]
    with pytest.raises(Removed):
        source.get(1)


def test_upcasts_that_can_never_be_used_are_refused(source: EventSource) -> None:
    source.upcast("Old", 1)(lambda data: data)
    with pytest.raises(UsageError, match="two upcasts"):
        source.upcast("Old", 1)(lambda data: data)
    with pytest.raises(UsageError):
        source.upcast("Old", 0)(lambda data: data)


def test_a_class_that_has_another_name_today_is_found(source: EventSource, monkeypatch: pytest.MonkeyPatch) -> None:
    source.append("a", Placed("tea"))
    source.append("a", NewEvent("raw", b"1", meta=Placed("meta")))
    today = Placed
    with monkeypatch.context() as gone:
        gone.delitem(globals(), "Placed")
        with pytest.raises(DecodingError, match="source.renamed"):
            source.get(0)
        gone.setitem(globals(), "Ordered", today)
        source.renamed(f"{__name__}:Placed", f"{__name__}:Ordered")
        assert source.get(0).data.article == "tea" and source.get(1).meta.article == "meta"


def test_the_data_of_a_class_that_is_gone_are_what_was_kept_of_them(source: EventSource) -> None:
    source.append("a", Placed("tea"))
    source.renamed(f"{__name__}:Placed", None)
    source.upcast("Placed", 1)(lambda data: data.state["article"])
    assert source.get(0).data == "tea"


def test_neither_a_replay_nor_the_state_needs_the_classes_of_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with EventSource(tmp_path) as source:
        source.append("a", [Placed("tea"), b"1"])
    monkeypatch.delitem(globals(), "Placed")
    with EventSource(tmp_path) as source:
        assert source.get(1).data == b"1"
