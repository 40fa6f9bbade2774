"""What event stores get wrong, by the reports of their users, and what is true here: SECOND-HALF.md F, row by row."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import program
import pytest
from messaging.events_total import Total
from services import PATIENCE_S
from shared.children import in_a_child

import coopy
from coopy import LockLost, UsageError, control, init_system
from coopy.disk.fs import Calls
from coopy.messaging import (
    AlreadyAppended,
    Appended,
    EventSource,
    ForeignPosition,
    NewEvent,
    OffsetTooOld,
    Removed,
    Retained,
)

pytestmark = pytest.mark.slow  # Many of them need other processes.
WRITER = """
    import sys
    from coopy.messaging import EventSource
    with EventSource(sys.argv[1], shared=True, durability="buffered") as source:
        print("open", flush=True)
        for number in range(int(sys.argv[3])):
            source.append(sys.argv[2], b"%d" % number)
        print("done", flush=True)
        sys.stdin.read()
"""
FOLLOWER = """
    import sys
    from coopy.messaging import EventSource
    with EventSource(sys.argv[1], shared=True, durability="buffered") as source, source.follow("mail", lease=5) as mail:
        print("follows", flush=True)
        for event in mail:
            mail.ack(event)
            print(event.offset, flush=True)
"""
PROJECTOR = """
    import sys
    from coopy import init_system
    from coopy.messaging import EventSource, Projection, events_projection
    sys.path.insert(0, sys.argv[3])
    from messaging.events_total import Total
    events_projection.TAKEN = 7
    with EventSource(sys.argv[1], shared=True) as source, init_system(Total, sys.argv[2]) as total:
        plain = source.events
        def told(begin, end):
            print(begin, flush=True)
            return plain(begin, end)
        source.events = told
        source.project(total).catch_up()
        print("done", flush=True)
"""


@pytest.fixture
def source(tmp_path: Path) -> Iterator[EventSource]:
    with EventSource(tmp_path / "events", durability="buffered") as source:
        yield source


def filled(source: EventSource, count: int = 10) -> EventSource:
    source.append("a", [b"%d" % number for number in range(count)])
    return source


def offsets(events: Any) -> list[int]:
    return [each.offset for each in events]


def line_of(process: Any) -> str:
    line: str = process.stdout.readline().strip()
    return line


def ended(process: Any) -> None:
    process.stdin.close()
    process.wait(PATIENCE_S)
    process.stdout.close()


# -- a checkpoint passes an event that commits later: silent hole at zero lag (protean#1088, eventuous#222, KurrentDB#4970)


def test_whoever_sees_an_event_has_seen_all_before_it(source: EventSource) -> None:
    def append(stream: str) -> None:
        for number in range(150):
            source.append(stream, [b"%d" % number] * (number % 3 + 1))

    threads = [threading.Thread(target=append, args=(stream,)) for stream in "abcd"]
    with source.follow("mail") as mail:
        for each in threads:
            each.start()
        seen: list[Any] = []
        while len(seen) < 4 * 300:
            event = mail.next(PATIENCE_S)
            assert event is not None
            # A hole would be here: at the moment at which the position passes it.
            assert event.offset == len(seen) == source.get(event.offset).offset
            seen.append(event)
        for each in threads:
            each.join()
        assert mail.next(0) is None
    for stream in "abcd":
        assert [each.version for each in seen if each.stream == stream] == list(range(1, 301))


def test_whoever_sees_an_event_of_another_process_has_seen_all_before_it(tmp_path: Path) -> None:
    script = program.write(tmp_path / "writer.py", WRITER)
    with EventSource(tmp_path / "events", shared=True, durability="buffered") as source, source.follow("mail") as mail:
        writers = [program.start(script, tmp_path / "events", stream, 100) for stream in "ab"]
        seen = []
        while len(seen) < 200:
            event = mail.next(PATIENCE_S)
            assert event is not None
            seen.append(event.offset)
            mail.ack(event)
        for each in writers:
            assert (line_of(each), line_of(each)) == ("open", "done")
            ended(each)
        assert seen == list(range(200)) and mail.next(0) is None


# -- gaps (deleted, compacted) stop or loop consumers (kafka-python#1390, brod#263, eventstore#238, storm#2104)


def test_gaps_neither_stop_a_consumer_nor_make_it_loop(source: EventSource) -> None:
    source.append("a", [NewEvent("t", number, key="one") for number in range(2000)])
    source.append("a", NewEvent("end", None))
    with source.follow("mail") as mail:
        mail.ack(mail.next(0))
        assert source.compact() == 1999
        with pytest.raises(Removed) as error:
            source.get(5)
        assert error.value.first_available == 1999
    with source.follow("mail") as mail:
        found = mail.batch(10, timeout=0)
        assert [(each.offset, each.gap) for each in found] == [(1999, 1998), (2000, 0)]
        mail.ack()
        assert mail.position == 2001 and mail.next(0) is None


def test_a_log_of_which_all_was_removed_is_no_end(source: EventSource) -> None:
    source.append("a", [NewEvent("t", None, key="one"), NewEvent("t", None, key="two")])
    assert source.compact(tombstones_for=0) == 2
    with source.follow("mail") as mail:
        assert mail.next(0) is None and list(source.read()) == [] and source.get_batch(0, 5) == []
        source.append("a", b"x")
        event = mail.next(0)
        assert event is not None and (event.offset, event.gap) == (2, 2)


# -- retention removes what a consumer has not read: silent jump to latest (hono#2903, librdkafka#1442, #3745)


def test_a_consumer_whose_events_were_removed_is_told_before_it_goes_on(source: EventSource) -> None:
    filled(source)
    with source.follow("mail") as mail:
        mail.ack(mail.batch(3, timeout=0)[-1])
    source.trim(7)
    with source.follow("mail") as mail:
        for _ in range(2):
            with pytest.raises(OffsetTooOld, match="4 were not seen") as error:
                mail.next(0)
            assert (error.value.name, error.value.offset, error.value.first_available) == ("mail", 3, 7)
    with source.follow("mail", on_gap="earliest") as mail:
        found = mail.batch(10, timeout=0)
        assert [(each.offset, each.gap) for each in found] == [(7, 4), (8, 0), (9, 0)]
        assert mail.position == 7
    with source.follow("mail") as mail:  # The jump was recorded.
        assert offsets(mail.batch(10, timeout=0)) == [7, 8, 9]


def test_a_consumer_that_reads_while_retention_comes_is_told_too(source: EventSource) -> None:
    for _ in range(8):
        filled(source, 100)
    with source.follow("mail") as mail, source.follow("lazy", on_gap="earliest") as lazy:
        assert mail.next(0) is not None and lazy.next(0) is not None
        source.trim(700)
        with pytest.raises(OffsetTooOld):
            while mail.next(0) is not None:
                pass
        found = list(iter(lambda: lazy.next(0), None))
        assert found[-1].offset == 799 and [each.gap for each in found if each.offset == 700] == [700 - found[-101].offset - 1]


@pytest.mark.parametrize("stream", [None, "a"])
def test_a_read_that_retention_overtakes_has_no_hole(source: EventSource, stream: str | None) -> None:
    for _ in range(8):
        filled(source, 100)
    told, lazy = source.read(stream), source.read(stream, on_gap="earliest")
    before = [offsets([next(told) for _ in range(10)]), offsets([next(lazy) for _ in range(10)])]
    assert before == [list(range(10))] * 2
    source.trim(700)
    with pytest.raises(OffsetTooOld) as error:
        for number, event in enumerate(told, 10):
            assert event.offset == number
    assert error.value.first_available == (700 if stream is None else 701)  # A version.
    found = offsets(lazy)
    assert found == [*range(10, found.index(700) + 10), *range(700, 800)]


@pytest.mark.parametrize("use", ["read", "get", "follow", "project"])
def test_retention_that_comes_between_two_steps_of_a_reader_is_told(
    source: EventSource, use: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(source, 100)
    plain = type(source.log).runs

    def runs(self: Any, begin: int, end: int) -> Any:
        if source.span()[0] == 0:
            source.log.trim(50)  # After it was looked at which are there, and before it is asked where they lie.
        return plain(self, begin, end)

    total = init_system(Total, str(tmp_path / "total"))
    mail = source.follow("mail")
    mail.acquire()
    monkeypatch.setattr(type(source.log), "runs", runs)
    if use == "get":
        with pytest.raises(Removed) as removed:
            source.get(7)
        assert removed.value.first_available == 50
    else:
        uses = {"read": lambda: list(source.read()), "follow": lambda: mail.next(0), "project": source.project(total).catch_up}
        with pytest.raises(OffsetTooOld):
            uses[use]()
    assert total.count == 0
    control(total).close()
    mail.close()


def test_retention_waits_for_consumers_that_are_named_up_to_a_bound(source: EventSource) -> None:
    filled(source)
    with source.follow("mail") as mail, source.follow("other") as other:
        mail.ack(mail.batch(4, timeout=0)[-1])
        other.ack(other.batch(1, timeout=0)[-1])
        source.retain(count=2, held_by=["mail"], bound=Retained(count=1000))
        assert source.trim() == 4
        source.retain(count=2, held_by=True, bound=Retained(count=9))
        filled(source, 1)
        assert source.trim() == 4  # It does not come back.
        mail.park(mail.next(0) or filled(source).get(0))
        mail.ack(mail.batch(3, timeout=0)[-1])
        source.retain(count=2, held_by=["mail"], bound=Retained(count=1000))
        assert source.trim() == 4  # What is parked may be tried again.
        source.unpark("mail")
        assert source.trim() == 8
        source.retain(count=2, held_by=["mail", "not yet there"], bound=Retained(count=1000))
        mail.ack(mail.batch(30, timeout=0)[-1])
        assert source.trim() == 8
        source.retain(count=1, held_by=["not yet there"], bound=Retained(count=2))
        assert source.trim() == 9


# -- two processes with one checkpoint (eventuous#165)


def test_of_two_processes_one_follows_and_the_other_goes_on_when_it_dies(tmp_path: Path) -> None:
    script = program.write(tmp_path / "follower.py", FOLLOWER)
    with EventSource(tmp_path / "events", shared=True, durability="buffered") as source:
        filled(source, 3)
        first = program.start(script, tmp_path / "events")
        assert [line_of(first) for _ in range(4)] == ["follows", "0", "1", "2"]
        mail = source.follow("mail")
        assert not mail.acquire(timeout=0.2)
        first.kill()
        first.wait(PATIENCE_S)
        first.stdout.close()  # type: ignore[union-attr]
        first.stdin.close()  # type: ignore[union-attr]
        filled(source, 1)
        assert offsets([mail.next(PATIENCE_S)]) == [3]
        mail.close()


def test_a_checkpoint_of_one_that_has_lost_the_name_is_refused_in_the_action(source: EventSource) -> None:
    filled(source)
    with source.follow("mail") as mail:
        event = mail.next(0)
        assert event is not None
        with pytest.raises(LockLost):
            source.log.ack("mail", mail._token() - 1, 5, False)
        for call in (source.log.park, source.log.seek):
            with pytest.raises(LockLost):
                call("mail", 10**6, 5, *(("", 1) if call == source.log.park else ()))
        mail.ack(event)
        assert source.kept()["consumers"] == {"mail": 1} and source.parked("mail") == []


# -- checkpoint and projection not in one transaction: double (Hands-On-DDD#17)


def test_a_projection_whose_process_is_killed_has_taken_each_event_once(tmp_path: Path) -> None:
    script = program.write(tmp_path / "projector.py", PROJECTOR)
    count = 210
    with EventSource(tmp_path / "events", shared=True) as source:
        filled(source, count)
        kills = 0
        for killed_at in (3, 6, 9, 10**9):
            process = program.start(script, tmp_path / "events", tmp_path / "total", Path(__file__).parents[1])
            lines = 0
            while (line := line_of(process)) and line != "done" and lines < killed_at:
                lines += 1
            kills += line != "done"
            process.kill()
            process.wait(PATIENCE_S)
            process.stdout.close()  # type: ignore[union-attr]
            process.stdin.close()  # type: ignore[union-attr]
        assert kills == 3
    total = coopy.replay(Total, str(tmp_path / "total"))
    assert (total.count, total.total) == (count, sum(range(count)))


# -- offset ahead of the end after a restore (litefs#159, confluentinc/kafka#101)


def test_a_position_from_before_a_restore_is_refused(tmp_path: Path) -> None:
    path, backup = tmp_path / "events", tmp_path / "backup"
    with EventSource(path) as source:
        filled(source, 5)
        early = source.position(4)
    shutil.copytree(path, backup)
    with EventSource(path) as source, source.follow("mail") as mail:
        filled(source, 5)
        late = source.position(8)
        mail.ack(mail.batch(8, timeout=0)[-1])
        with init_system(Total, str(tmp_path / "total")) as total:
            source.project(total).catch_up()
    shutil.rmtree(path)
    shutil.copytree(backup, path)
    with EventSource(path) as source:
        assert offsets(source.read(from_=early)) == [4]
        with pytest.raises(ForeignPosition, match="there were events up to 7"):
            source.read(from_=late)
        # When it has as many events again, they are others.
        filled(source, 7)
        with pytest.raises(ForeignPosition, match="the event before it was appended at"):
            source.read(from_=late)
        with pytest.raises(ForeignPosition):
            source.follow("x", from_=late)
        with init_system(Total, str(tmp_path / "total")) as total, pytest.raises(ForeignPosition):
            source.project(total).catch_up()
        with source.follow("mail") as mail:  # It is in the same log, and came back with it.
            assert offsets(mail.batch(100, timeout=0)) == list(range(12))


# -- the tail of a live file: only what is durable is shown, and never a torn record


def test_what_is_not_on_the_disk_yet_is_shown_to_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with EventSource(tmp_path / "events", durability="sync") as source, source.follow("mail") as mail:
        filled(source, 1)
        assert offsets(mail.batch(5, timeout=0)) == [0]
        reached, goes_on, plain = threading.Event(), threading.Event(), Calls.sync_data

        def slow(self: Calls, descriptor: int) -> None:
            reached.set()
            goes_on.wait(PATIENCE_S)
            plain(self, descriptor)

        monkeypatch.setattr(Calls, "sync_data", slow)
        seen: list[Any] = []
        threads = [
            threading.Thread(target=source.append, args=("a", b"new")),
            threading.Thread(target=lambda: seen.append(mail.next(PATIENCE_S))),
        ]
        threads[0].start()
        assert reached.wait(PATIENCE_S)
        threads[1].start()
        threads[1].join(0.2)
        assert seen == []
        goes_on.set()
        for each in threads:
            each.join()
        assert offsets(seen) == [1]


def test_a_torn_end_is_never_shown_and_what_was_acknowledged_is_there(tmp_path: Path) -> None:
    script = program.write(tmp_path / "writer.py", WRITER)
    writer = program.start(script, tmp_path / "events", "a", 50)
    assert (line_of(writer), line_of(writer)) == ("open", "done")
    with EventSource(tmp_path / "events", shared=True, durability="buffered") as source:
        before = list(source.read())
        writer.kill()
        writer.wait(PATIENCE_S)
        assert len(before) == 50 and list(source.read()) == before
        assert source.append("a", b"x").check().first == 50
        assert offsets(source.read(from_=48)) == [48, 49, 50]
    writer.stdout.close()  # type: ignore[union-attr]
    writer.stdin.close()  # type: ignore[union-attr]


# -- idempotence only "for a while" (KurrentDB's documentation; two minutes in JetStream)


def test_an_id_is_known_for_as_long_as_its_events_are_kept(tmp_path: Path) -> None:
    with EventSource(tmp_path, durability="buffered") as source:
        first = source.append("a", b"first", id="web-1")
        for number in range(3000):
            source.append("b", b"x", id=f"other-{number}")
        control(source.log).take_snapshot()
    with EventSource(tmp_path) as source:
        again = source.append("a", b"first", id="web-1")
        assert isinstance(again, AlreadyAppended) and (again.first, again.version) == (0, 1) == (first.check().first, 1)
        assert source.kept()["ids"] == 3001
        source.trim(1)
        assert type(source.append("a", b"first", id="web-1")) is Appended
        assert isinstance(source.append("b", b"x", id="other-0"), AlreadyAppended)
        source.trim(3001)
        assert source.kept()["ids"] == 1


# -- shared: what a process that follows the journal does


def test_a_process_that_does_not_write_appends_follows_and_reads(tmp_path: Path) -> None:
    script = program.write(tmp_path / "writer.py", WRITER)
    writer = program.start(script, tmp_path / "events", "a", 20)
    assert (line_of(writer), line_of(writer)) == ("open", "done")
    with EventSource(tmp_path / "events", shared=True, durability="buffered") as source:
        assert control(source.log).status()["role"] == "follower"
        assert source.append("b", [b"1", b"2"], id="x").check().first == 20
        assert isinstance(source.append("b", [b"1", b"2"], id="x"), AlreadyAppended)
        with source.follow("mail") as mail:
            mail.ack(mail.batch(21, timeout=PATIENCE_S)[-1])
            assert offsets(mail.batch(5, timeout=0)) == [21]
        assert source.trim(10) == 10 and source.compact() == 0 and offsets(source.read())[0] == 10
        with source.group("g", shards=2) as group:
            assert group.next(PATIENCE_S) is not None
        ended(writer)
        assert source.append("b", b"3").check().first == 22 and source.kept()["consumers"]["mail"] == 21


def test_a_forked_child_appends_and_reads_and_owns_nothing_that_its_parent_follows(tmp_path: Path) -> None:
    with EventSource(tmp_path / "events", shared=True, durability="buffered") as source, source.follow("mail") as mail:
        filled(source, 3)
        assert offsets([mail.next(0)]) == [0]  # It has read on.

        def work() -> Any:
            lost = ""
            try:
                mail.next(0)
            except LockLost:
                lost = "lost"
            first = source.append("b", b"3").check().first
            with source.follow("other") as other:
                return lost, first, source.get(first).data, offsets(other.batch(10, timeout=PATIENCE_S))

        assert in_a_child(work) == ("lost", 3, b"3", [0, 1, 2, 3])
        assert offsets([mail.next(PATIENCE_S) for _ in range(3)]) == [1, 2, 3]


def test_a_process_without_a_copy_appends_and_reads_and_is_told_that_it_can_not_follow(tmp_path: Path) -> None:
    with EventSource(tmp_path / "events", shared=True, durability="buffered") as source:
        filled(source, 3)

        def work() -> Any:
            with EventSource(tmp_path / "events", shared=True, copy=False) as other:
                other.append("b", b"3")
                try:
                    other.follow("mail").next(0)
                except UsageError as error:
                    return [each.data for each in other.read()], "keeps no copy" in str(error)

        assert in_a_child(work) == ([b"0", b"1", b"2", b"3"], True)
