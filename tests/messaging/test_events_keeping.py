"""What of an event source goes, what stays, and what the disk has of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import coopy
from coopy import UsageError, control
from coopy.messaging import AlreadyAppended, EventSource, NewEvent, OffsetTooOld, Removed, Retained, events_keeping
from coopy.messaging.events_index import MARKS_MAX, Appends, Marks, Ranges, Stream


@pytest.fixture(autouse=True)
def without_slack(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is older than this much more than it need be goes, and a test is no minute long."""
    monkeypatch.setattr(events_keeping, "SLACK_S", 0.001)


@pytest.fixture
def source(tmp_path: Path) -> Iterator[EventSource]:
    with EventSource(tmp_path / "events", durability="buffered", segment_bytes=1) as source:
        yield source


def filled(source: EventSource, count: int = 10, size: int = 1) -> EventSource:
    for number in range(count):
        source.append("a", b"%d" % number + bytes(size))
    return source


def offsets(events: Any) -> list[int]:
    return [each.offset for each in events]


# -- retention


def test_an_append_with_an_id_is_done_once_while_one_of_its_events_is_kept(tmp_path: Path) -> None:
    with EventSource(tmp_path / "events", durability="buffered") as source:
        source.append("a", [b"0", b"1", b"2"], id="web-1")
        source.append("a", [b"3"], id="web-2")
        for first in (1, 2):
            source.trim(first)
            again = source.append("a", [b"0", b"1", b"2"], id="web-1")
            assert (type(again), again.first, again.last) == (AlreadyAppended, 0, 2)
        source.trim(3)
        assert source.kept()["ids"] == 1 and source.append("a", [b"0", b"1", b"2"], id="web-1").first == 4
        assert isinstance(source.append("a", [b"3"], id="web-2"), AlreadyAppended)


@pytest.mark.parametrize(
    ("limits", "first"),
    [({"count": 4}, 6), ({"count": 0}, 10), ({"count": 10}, 0), ({"count": 99}, 0), ({"size": 35}, 7), ({"size": 0}, 10), ({"size": 1000}, 0),
     ({"age": 0}, 10), ({"age": 1e6}, 0), ({"count": 4, "size": 15, "age": 1e6}, 9), ({"count": 2, "size": 1000}, 8)],
)  # fmt: skip
def test_what_is_beyond_any_limit_goes(source: EventSource, limits: Any, first: int) -> None:
    filled(source, 10, 10)  # Each has 11 bytes.
    source.retain(**limits)
    assert source.trim() == first
    assert offsets(source.read()) == list(range(first, 10)) and source.span() == (first, 10)
    assert source.append("a", b"more").check().first == 10 and source.version("a") == 11


def test_without_a_limit_all_stays(source: EventSource) -> None:
    filled(source)
    assert source.trim() == 0
    source.retain(count=3)
    source.retain()
    assert source.trim() == 0


def test_what_is_old_goes_by_the_time_at_which_it_was_appended(source: EventSource) -> None:
    filled(source, 3)
    time.sleep(0.02)
    middle = time.time()
    time.sleep(0.02)
    filled(source, 3)
    source.retain(age=time.time() - middle)
    assert source.trim() == 3


@pytest.mark.parametrize(
    "arguments", [{"count": -1}, {"size": -5}, {"age": -0.1}, {"held_by": ["mail"]}, {"held_by": True, "bound": Retained()}]
)
def test_a_retention_that_can_not_be_is_refused(source: EventSource, arguments: Any) -> None:
    with pytest.raises(UsageError):
        source.retain(**arguments)


def test_a_read_of_what_retention_has_removed_is_told(source: EventSource) -> None:
    filled(source)
    source.append("b", b"x")
    source.trim(4)
    assert offsets(source.read()) == list(range(4, 11)) and offsets(source.read("a")) == list(range(4, 10))
    with pytest.raises(OffsetTooOld) as error:
        list(source.read(from_=2))
    assert (error.value.offset, error.value.first_available) == (2, 4)
    with pytest.raises(OffsetTooOld) as error:
        list(source.read("a", from_=1))
    assert error.value.first_available == 5  # A version.
    assert offsets(source.read(from_=2, on_gap="earliest")) == list(range(4, 11))
    assert offsets(source.read("a", from_=1, on_gap="earliest")) == list(range(4, 10))
    assert offsets(source.read(backwards=True)) == list(range(10, 3, -1)) and offsets(source.read("a", backwards=True)) == list(
        range(9, 3, -1)
    )
    assert offsets(source.read("b", from_=1)) == [10]
    with pytest.raises(Removed) as removed:
        source.get(2)
    assert removed.value.first_available == 4
    assert offsets(source.get_batch(2, 3)) == [4, 5, 6]
    with pytest.raises(UsageError, match="on_gap"):
        source.read(on_gap="latest")


def test_a_stream_of_which_nothing_is_left_has_its_version(source: EventSource) -> None:
    filled(source, 3)
    source.append("b", b"x")
    source.trim(3)
    assert list(source.read("a")) == [] and source.version("a") == 3
    with pytest.raises(OffsetTooOld):
        list(source.read("a", from_=3))
    assert not source.append("a", b"x", expected=0) and source.append("a", b"4", expected=3)
    assert [(each.offset, each.version) for each in source.read("a")] == [(4, 4)]


# -- the disk


def used(source: EventSource) -> int:
    return sum(each.stat().st_size for each in Path(control(source.log).basedir).glob("transaction_*"))


@pytest.mark.slow
def test_the_journal_of_what_was_removed_goes_and_what_is_kept_is_read(tmp_path: Path) -> None:
    with EventSource(tmp_path, durability="buffered", segment_bytes=1) as source:
        for number in range(600):
            source.append("a", b"%d" % number + bytes(10_000))
            if number % 100 == 99:
                first = source.trim(number - 50)
                assert [each.data[:3].rstrip(b"\0") for each in source.read()] == [
                    b"%d" % each for each in range(first, number + 1)
                ]
        # Of 6 MB, 50 events are kept, what was appended since the snapshot before them, and whole files.
        assert used(source) <= 3 << 20
        source.trim(550)
        assert control(source.log).replay().span() == (550, 600)
    with EventSource(tmp_path) as source:
        assert offsets(source.read()) == list(range(550, 600)) and source.get(599).data.startswith(b"599")
        assert source.append("a", b"x").check().version == 601
    assert coopy.replay(type(source_log(tmp_path)), str(tmp_path)).span() == (550, 601)


def source_log(path: Path) -> Any:
    with EventSource(path) as source:
        return control(source.log).replay()


@pytest.mark.slow
def test_nothing_that_is_kept_goes_with_the_journal_even_if_the_clock_was_put_back(
    source: EventSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(source, 300, 10_000)
    source.trim(100)
    filled(source, 300, 10_000)
    # What is deleted is decided by two rules, and stays if either says so.
    monkeypatch.setattr(type(source), "instant", lambda self, action: 2**62)
    source.trim(110)
    monkeypatch.setattr(type(source), "instant", lambda self, action: 0)
    source.trim(200)
    assert offsets(source.read()) == list(range(200, 600))


def test_retention_is_looked_after_by_itself_while_events_are_appended(
    source: EventSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_keeping, "TRIM_BYTES", 1000)
    source.retain(count=5)
    filled(source, 20, 200)
    source.keeper.close()
    first, end = source.span()
    assert 0 < first <= 15 and end == 20
    assert source.kept()["problem"] is None and source.kept()["retention"].limits == Retained(count=5)


def test_a_removal_by_itself_that_failed_is_told(source: EventSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_keeping, "TRIM_BYTES", 100)
    source.retain(count=1)

    def fails(self: Any) -> None:
        raise OSError("no room")

    monkeypatch.setattr(events_keeping.Keeper, "_free", fails)
    filled(source, 3, 200)
    source.keeper.close()
    assert source.kept()["problem"] == "OSError('no room')"


# -- compaction


def keyed(source: EventSource) -> EventSource:
    """Three keys in turns, ten times; and events without a key."""
    for number in range(30):
        source.append("a" if number % 2 else "b", [NewEvent("t", number, key=f"k{number % 3}"), b"plain"])
    return source


def test_of_the_events_of_a_key_the_newest_stays_in_each_stream(source: EventSource) -> None:
    keyed(source)
    before = list(source.read())
    newest = {(each.stream, each.key): each for each in before if each.key}
    assert source.compact() == 30 - 6
    left = list(source.read())
    assert [each.offset for each in left if each.key] == sorted(each.offset for each in newest.values())
    assert [each.offset for each in left if not each.key] == [each.offset for each in before if not each.key]
    assert [each.gap for each in left][:4] == [1, 1, 1, 1] and left[0].offset == 1
    for event in before:
        if event in left or not event.key:
            continue
        if event.offset not in offsets(left):
            with pytest.raises(Removed) as error:
                source.get(event.offset)
            assert error.value.first_available == next(each for each in offsets(left) if each > event.offset)
    assert source.compact() == 0 and source.kept()["removed"] == 24 and len(source) == 36


def test_one_stream_is_compacted_alone(source: EventSource) -> None:
    keyed(source)
    assert source.compact("a") == 12 and source.compact("none") == 0
    assert len(list(source.read("a"))) == 3 + 15 and len(list(source.read("b"))) == 30
    versions = [each.version for each in source.read("a")]
    assert versions == sorted(versions) and versions[-1] == 30
    assert [each.version for each in source.read("a", backwards=True)] == versions[::-1]


def test_a_tombstone_stays_for_a_time(source: EventSource) -> None:
    source.append("a", [NewEvent("t", 1, "x"), NewEvent("t", 2, "y"), NewEvent("gone", None, "x")])
    assert source.compact() == 1
    assert [(each.offset, each.is_tombstone) for each in source.read()] == [(1, False), (2, True)]
    assert source.compact(tombstones_for=0) == 1
    assert offsets(source.read()) == [1]
    source.append("a", NewEvent("t", 3, "x"))
    assert offsets(source.read()) == [1, 3]


@pytest.mark.slow
def test_what_a_compaction_has_left_of_an_old_file_is_recorded_again_and_the_file_goes(tmp_path: Path) -> None:
    with EventSource(tmp_path, durability="buffered", segment_bytes=1) as source:
        source.append("a", [NewEvent("t", "old", key="old", meta=5), b"plain"])
        for number in range(400):
            source.append("a" if number % 2 else "b", NewEvent("t", bytes(10_000) + b"%d" % number, key=str(number % 5)))
        before, kept = used(source), [source.get(0), source.get(1), *list(source.read())[-10:]]
        source.compact(move=True)
        assert used(source) > before / 2  # The newest snapshots stay, and what comes after the older of them.
        source.append("a", NewEvent("t", b"a little", key="5"))
        source.compact(move=True)
        assert used(source) < before / 2 and source.kept()["moved"] > 0
        assert [each.gap for each in source.read()][2] == 390
        assert [(each.offset, each.timestamp, each.data, each.version, each.key, each.meta) for each in source.read()] == [
            (each.offset, each.timestamp, each.data, each.version, each.key, each.meta) for each in [*kept, source.get(402)]
        ]
    with EventSource(tmp_path) as source:
        assert source.get(0).data == "old" and source.get(401).data == kept[-1].data
        assert offsets(source.read("a", backwards=True))[-2:] == [1, 0]
        assert source.compact() == 0
        source.append("a", NewEvent("t", "new", key="old"))
        assert source.compact() == 1
        source.trim(395)
        assert offsets(source.read())[0] >= 395 and source.kept()["moved"] <= 8


def test_a_compaction_and_a_retention_do_not_remove_the_same_twice(source: EventSource) -> None:
    keyed(source)
    source.compact()
    source.trim(20)
    assert source.kept()["events"] == len(list(source.read())) == len(source)
    assert source.compact() == 0
    source.trim(60)
    assert (source.kept()["removed"], len(source), list(source.read())) == (0, 0, [])


def test_a_consumer_sees_where_events_are_missing(source: EventSource) -> None:
    keyed(source)
    with source.follow("mail") as mail, source.follow("keys", filter="t") as keys:
        mail.ack(mail.next(timeout=0))
        source.compact()
        found = mail.batch(1000, timeout=0)  # It has read on before.
        assert offsets(found) == list(range(1, 60))
        given = keys.batch(1000, timeout=0)
        assert sum(each.gap for each in given) == 24 and [each.gap for each in given][0] == 24
    with source.follow("mail") as mail:
        found = mail.batch(1000, timeout=0)
        assert offsets(found) == [each for each in offsets(source.read()) if each > 0]
        assert sum(each.gap for each in found) == 23


def test_a_parked_event_that_was_removed_is_told_and_not_tried_again(source: EventSource) -> None:
    keyed(source)
    with source.follow("mail") as mail:
        event = mail.next(timeout=0)
        assert event is not None
        mail.park(event, "x")
        source.compact()
        assert source.parked("mail") == [(None, "x", 1)]
        source.retry("mail")
        assert mail.next(timeout=0) is not None
        assert source.log.state_of("mail")[2] == {} or offsets(mail.batch(1000, timeout=0))
    with source.follow("mail") as mail:
        assert mail.next(timeout=0) is not None and source.log.state_of("mail")[2] == {}


# -- the index


def test_numbers_are_kept_as_ranges() -> None:
    import random

    chance = random.Random(3)
    for _ in range(200):
        ranges, plain = Ranges(), set()
        for _ in range(chance.randrange(1, 6)):
            some = []
            for _ in range(chance.randrange(1, 5)):
                begin = chance.randrange(40)
                some.append((begin, begin + chance.randrange(0, 6)))
            new = {number for begin, end in some for number in range(begin, end)} - plain
            assert ranges.add(some) == len(new)
            plain |= new
        assert ranges.count() == len(plain)
        for number in range(50):
            assert ranges.after(number) == next(each for each in range(number, 99) if each not in plain)
        begin, end = sorted((chance.randrange(50), chance.randrange(50)))
        assert [each for first, last in ranges.gaps(begin, end) for each in range(first, last)] == [
            each for each in range(begin, end) if each not in plain
        ]
        ranges.forget(20)
        assert [ranges.after(number) for number in range(20, 50)] == [
            next(each for each in range(number, 99) if each not in plain) for number in range(20, 50)
        ]


def test_events_that_lie_side_by_side_take_few_numbers() -> None:
    stream, appends = Stream(), Appends()
    offset = 0
    for number in range(1000):
        stream.add(offset, 2)
        appends.add(offset, number + 1 + (number >= 500), 2)  # Another action came in between.
        offset += 2
    assert (len(stream.firsts), len(appends.firsts)) == (1, 2)
    assert list(stream.runs(5, 7)) == [(4, 3, 5)] and stream.version_of(7) == 8
    assert [appends.place(each) for each in (0, 1, 999, 1000, 1999)] == [
        (1, 0, 2),
        (1, 1, 1),
        (500, 1, 1),
        (502, 0, 2),
        (1001, 1, 1),
    ]
    stream.add(5000, 5)
    appends.add(5000, 1002, 5)
    assert list(stream.runs(1999, 2002)) == [(1998, 2, 1999), (5000, 2, 2001)] and list(stream.runs(3000, 3001)) == []
    assert appends.place(5003) == (1002, 3, 2)
    appends.forget(1500)
    assert appends.place(1500) == (752, 0, 2) and len(appends.firsts) == 2


def test_marks_become_fewer_with_more_appends_and_are_exact_to_a_two_thousandth() -> None:
    marks, count = Marks(), 50_000
    for number in range(count):
        marks.add(number, 10, float(number))
        assert len(marks.offsets) <= MARKS_MAX
    for kept in (100, 10_000, 49_000):
        for found in (marks.of_size(kept * 10, count), marks.since(float(count - kept), count)):
            assert count - kept <= found <= count - kept + count // 2000
        assert abs(marks.bytes_since(count - kept) - kept * 10) <= count * 10 // 2000
    assert marks.of_size(count * 10, count) == 0 and marks.of_size(0, count) == count
    marks.forget(49_990)
    for number in range(count, count + 2000):
        marks.add(number, 10, float(number))
        marks.forget(number - 100)
    assert marks.spacing == 1  # It is exact again, as little is kept.
