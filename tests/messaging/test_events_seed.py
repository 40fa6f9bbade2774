"""What the README of PyDistributed promises of its event source, row by row, and what was wrong with it: SEEDS 2D."""

from __future__ import annotations

import inspect
import os
import shutil
import struct
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from coopy import DamagedJournal, UsageError, init_system
from coopy.messaging import (
    CouldNotFindOffset,
    Event,
    EventSource,
    LogSizeExceeded,
    NewEvent,
    OffsetMissingInIndex,
    Removed,
    events_opened,
)
from coopy.messaging.events_files import OriginalLog
from coopy.messaging.events_log import EventLog

GOLDEN = Path(__file__).parents[1] / "golden" / "eventsource-original"


def payload(number: int) -> bytes:
    """What the original has written as its events."""
    return b"event %d " % number + bytes([number % 256]) * (number % 60)


class Record(NamedTuple):
    offset: int
    timestamp: int
    payload: bytes


def read_by_the_table_alone(folder: Path) -> list[Record]:
    """Reads files by nothing but the rows "Files" of SEEDS 2D: names, native structs ``QQI`` and ``II``; and by the index, as the original means to."""
    found = []
    for log in sorted(folder.glob("*.log")):
        assert len(log.stem) == 20 and log.stem.isdecimal()
        data, index = log.read_bytes(), log.with_suffix(".index").read_bytes()
        entries = [struct.unpack_from("II", index, at) for at in range(0, len(index), struct.calcsize("II"))]
        assert entries[0] == (0, 0)
        at, places = 0, {}
        while at < len(data):
            offset, timestamp, size = struct.unpack_from("QQI", data, at)
            places[at] = offset
            at += struct.calcsize("QQI")
            found.append(Record(offset, timestamp, data[at : at + size]))
            at += size
        assert at == len(data)
        assert all(places[position] == int(log.stem) + relative for relative, position in entries)
        assert int(log.stem) == places[0]
    return found


@pytest.fixture
def original(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN, tmp_path / "logs"))


# -- EventSource, Event, exceptions


def test_row_event_source_has_the_documented_arguments() -> None:
    parameters = inspect.signature(EventSource).parameters
    defaults = {name: each.default for name, each in parameters.items() if name != "options"}
    assert defaults == {"log_store_path": "logs", "max_log_size": 1 << 32, "index_interval": 1 << 12}


def test_row_event_source_writes_and_gets(tmp_path: Path) -> None:
    before = time.time_ns()
    with EventSource(str(tmp_path / "logs")) as source:
        for number in range(50):
            assert source.write(payload(number)) is None  # type: ignore[func-returns-value]
        assert [source.get(number).data for number in range(50)] == [payload(number) for number in range(50)]
        assert [each.offset for each in source.get_batch(10, 5)] == [10, 11, 12, 13, 14]
        found = source.get(7)
        assert (found.offset, found.message_size, found.data) == (7, len(payload(7)), payload(7))
        assert before <= found.timestamp <= time.time_ns()


def test_row_event_has_the_documented_fields_first() -> None:
    event = Event(3, 99, 5, b"hello")
    assert (event.offset, event.timestamp, event.message_size, event.data) == (3, 99, 5, b"hello")
    assert list(inspect.signature(Event).parameters)[:4] == ["offset", "timestamp", "message_size", "data"]


def test_row_exceptions_say_what_can_not_be_had(tmp_path: Path) -> None:
    with EventSource(tmp_path, max_log_size=100) as source:
        source.write(b"one")
        with pytest.raises(CouldNotFindOffset) as error:
            source.get(1)
        assert (error.value.offset, error.value.end) == (1, 1)
        with pytest.raises(OffsetMissingInIndex):
            source.get(-1)
        with pytest.raises(OffsetMissingInIndex):
            source.get_batch(-1, 5)
        with pytest.raises(CouldNotFindOffset):
            source.get_batch(2, 5)
        with pytest.raises(LogSizeExceeded):
            source.write(bytes(81))
        source.write(bytes(80))
        assert source.get_batch(2, 5) == []


@pytest.mark.parametrize("offset", ["3", 1.0, None, True])
def test_row_exceptions_what_is_no_offset_is_refused(tmp_path: Path, offset: Any) -> None:
    with EventSource(tmp_path) as source:
        source.write(b"one")
        for call in (lambda: source.get(offset), lambda: source.get_batch(offset, 1)):
            with pytest.raises(UsageError, match="whole number"):
                call()
        assert source.get_batch(0, 0) == source.get_batch(0, -1) == []


def test_row_exceptions_a_payload_over_65536_bytes_is_a_value_error(tmp_path: Path) -> None:
    with EventSource(tmp_path) as source:
        source.write(bytes(65_536))
        with pytest.raises(ValueError, match="65537"):
            source.write(bytes(65_537))
        with pytest.raises(TypeError):
            source.write("text")  # type: ignore[arg-type]
        assert source.span() == (0, 1)


# -- what was wrong with the original


def test_defect_every_event_of_a_single_file_is_read(tmp_path: Path) -> None:
    with EventSource(tmp_path / "from") as source:
        for number in range(20):
            source.write(payload(number))
        source.export(tmp_path / "logs")
    assert len(list((tmp_path / "logs").glob("*.log"))) == 1
    with EventSource(tmp_path / "logs") as source:
        assert [source.get(number).data for number in range(20)] == [payload(number) for number in range(20)]


def test_defect_the_newest_file_is_read(original: Path) -> None:
    with EventSource(original) as source:
        assert [source.get(number).data for number in range(1000)] == [payload(number) for number in range(1000)]
        assert source.span() == (0, 1000)


def test_defect_a_batch_over_an_index_with_one_entry_ends(tmp_path: Path) -> None:
    with EventSource(tmp_path / "from") as source:
        source.write(b"only")
        source.export(tmp_path / "logs")
    assert (tmp_path / "logs" / f"{0:020}.index").stat().st_size == 8
    with EventSource(tmp_path / "logs") as source:
        assert [each.data for each in source.get_batch(0, 100)] == [b"only"]


def test_defect_a_missing_directory_is_made(tmp_path: Path) -> None:
    with EventSource(tmp_path / "not" / "there") as source:
        source.write(b"one")
    assert (tmp_path / "not" / "there").is_dir()


# -- files


def test_row_files_the_originals_are_read_as_they_are(original: Path) -> None:
    before = {each.name: each.read_bytes() for each in original.iterdir()}
    with EventSource(original) as source:
        batch = source.get_batch(0, 5000)
        assert [each.data for each in batch] == [payload(number) for number in range(1000)]
        assert [each.offset for each in source.read()] == list(range(1000))
        assert [each.offset for each in source.read(backwards=True)] == list(range(999, -1, -1))
        assert [each.offset for each in source.read(from_=990)] == list(range(990, 1000))
        assert [(each.offset, each.timestamp, each.data) for each in batch] == read_by_the_table_alone(GOLDEN)
        with pytest.raises(CouldNotFindOffset):
            source.get(1000)
    assert {each.name: each.read_bytes() for each in original.iterdir()} == before


def test_row_files_the_originals_are_imported_at_the_first_write(original: Path) -> None:
    with EventSource(original) as source:
        before = source.get_batch(0, 1000)
        source.write(b"new")
        assert source.get_batch(0, 1000) == before
        assert source.get(1000).data == b"new" and source.version("") == 1001
    for each in original.glob(f"{0:015}*"):
        each.unlink()  # They are not needed any more.
    with EventSource(original) as source:
        assert source.get_batch(0, 1000) == before and source.get(1000).data == b"new"


def test_row_files_an_import_that_was_broken_off_is_gone_on_with(original: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, calls = events_opened._copy, []

    def copy(log: Any, events: Any) -> None:
        calls.append(1)
        if len(calls) == 4:
            raise OSError("the disk is gone")
        plain(log, events)

    monkeypatch.setattr(events_opened, "_COPIED", 100)
    monkeypatch.setattr(events_opened, "_copy", copy)
    with EventSource(original) as source:
        with pytest.raises(OSError, match="the disk is gone"):
            source.write(b"lost")
        assert source.get(999).data == payload(999)
        assert source.log.end == 1000 and len(calls) == 11  # The next call has gone on with it.
    with EventSource(original) as source:
        assert [each.data for each in source.read()] == [payload(number) for number in range(1000)]
        source.write(b"new")
        assert source.get(1000).data == b"new"


def test_row_files_an_import_that_a_crash_broke_off_is_gone_on_with(original: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_opened, "_COPIED", 100)
    with init_system(EventLog, str(original)) as log:  # As far as it had come.
        log.begin_import(1000)
        events_opened._copy(log, list(OriginalLog(str(original)).read(0, 300)))
    with EventSource(original) as source:
        assert [each.data for each in source.read()] == [payload(number) for number in range(1000)]
        assert source.span() == (0, 1000)


def test_row_files_what_export_writes_is_read_by_the_table_alone(tmp_path: Path) -> None:
    with EventSource(tmp_path / "from", max_log_size=4000, index_interval=500) as source:
        for number in range(300):
            source.write(payload(number))
        source.append("other", [NewEvent("Placed", {"article": "tea"})])
        events = list(source.read())
        assert (
            source.export(
                tmp_path / "to", encode=lambda event: repr(event.data).encode() if event.offset == 300 else event.data
            )
            == 301
        )
    found = read_by_the_table_alone(tmp_path / "to")
    assert found[:300] == [(each.offset, each.timestamp, each.data) for each in events[:300]]
    assert found[300].payload == b"{'article': 'tea'}"
    assert all(each.stat().st_size <= 4000 for each in (tmp_path / "to").glob("*.log"))


def test_row_files_what_is_exported_is_what_the_original_had_written(original: Path, tmp_path: Path) -> None:
    with EventSource(original, max_log_size=16_384) as source:
        assert source.export(tmp_path / "first") == 1000
        source.log  # noqa: B018  (which imports)
        assert source.export(tmp_path / "then") == 1000
        with pytest.raises(UsageError, match="there are events already"):
            source.export(tmp_path / "then")
    for folder in ("first", "then"):
        assert {each.name: each.read_bytes() for each in (tmp_path / folder).iterdir()} == {
            each.name: each.read_bytes() for each in GOLDEN.iterdir()
        }


def test_row_files_removed_events_leave_their_offsets_in_the_export(tmp_path: Path) -> None:
    with EventSource(tmp_path / "from") as source:
        source.append("s", [NewEvent("t", b"%d" % number, key=str(number % 2)) for number in range(10)])
        source.append("s", b"end")
        source.trim(1)
        source.compact()
        source.export(tmp_path / "to")
    assert [each.offset for each in read_by_the_table_alone(tmp_path / "to")] == [8, 9, 10]
    with EventSource(tmp_path / "to") as again:
        assert again.get(9).data == b"9"
        with pytest.raises(Removed) as error:
            again.get(3)
        assert error.value.first_available == 8
        again.write(b"new")
        assert [(each.offset, each.data) for each in again.read()] == [(8, b"8"), (9, b"9"), (10, b"end"), (11, b"new")]
        with pytest.raises(Removed):
            again.get(3)


# -- what a crash or a stranger leaves of the original's files


@pytest.mark.parametrize("cut", [1, 19, 21, 60])
def test_a_torn_end_of_the_newest_file_is_left_out(original: Path, cut: int) -> None:
    newest = sorted(original.glob("*.log"))[-1]
    os.truncate(newest, newest.stat().st_size - cut)
    with EventSource(original) as source:
        count = source.span()[1]
        assert count in (998, 999)
        assert [each.data for each in source.read()] == [payload(number) for number in range(count)]
        source.write(b"new")
        assert source.get(count).data == b"new"


def test_what_no_crash_leaves_of_the_originals_files_is_damage(original: Path) -> None:
    first = sorted(original.glob("*.log"))[0]
    os.truncate(first, first.stat().st_size - 3)
    with pytest.raises(DamagedJournal, match="longer than the file"):
        EventSource(original)


@pytest.mark.parametrize(
    ("file", "place", "field"), [(0, 0, "offset"), (1, 0, "offset"), (0, 28, "offset"), (0, 16, "size"), (0, 44, "size")]
)
def test_a_field_that_was_changed_is_damage(original: Path, file: int, place: int, field: str) -> None:
    path = sorted(original.glob("*.log"))[file]
    data = bytearray(path.read_bytes())
    data[place + (1 if field == "offset" else 0)] ^= 0x55
    path.write_bytes(data)
    with pytest.raises(DamagedJournal) as error:
        EventSource(original)
    assert error.value.path == str(path)


def test_neither_an_index_nor_other_files_are_needed(original: Path) -> None:
    for each in original.glob("*.index"):
        each.unlink()
    (original / "notes.txt").write_text("mine")
    (original / "7.log").write_text("not one of them")
    with EventSource(original) as source:
        assert source.get(999).data == payload(999)
        source.write(b"new")
    assert (original / "notes.txt").read_text() == "mine"


def test_empty_files_of_the_original_are_no_events(tmp_path: Path) -> None:
    (tmp_path / f"{0:020}.log").write_bytes(b"")
    with EventSource(tmp_path) as source:
        assert source.span() == (0, 0) and source.get_batch(0, 1) == []
        source.write(b"one")
        assert source.get(0).data == b"one"
