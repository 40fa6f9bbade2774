"""Arbitrary bytes, and files that were valid and are not any more, given to every reader of a data directory.

Whatever lies there, a reader returns what had been written or raises an error of
coopy's, and takes no more memory than a few times what the file holds. The same
examples each time; ``COOPY_FUZZ_EXAMPLES=5000`` draws so many new ones for each test.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import handed
import pytest
from faults import open_with
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import coopy
from coopy import CoopyError, StorageError
from coopy.disk import frame, manifest
from coopy.disk.fs import Calls
from coopy.disk.journal import Journal
from coopy.disk.segment import BLOCK, HEADER, MAGIC, NotWhole, Segment, frames_upto
from coopy.disk.snapshots import DiskSnapshots
from coopy.ground.action import header
from coopy.ground.record import WRAP, joined
from coopy.values.codec import Codec, decode_joined

T = TypeVar("T")

SEGMENT = "transaction_000000000000001.log"
SNAPSHOT = "snapshot_000000000000003.dat"

EXAMPLES = int(os.environ.get("COOPY_FUZZ_EXAMPLES", "0"))
fuzzed = settings(
    max_examples=EXAMPLES or 50,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class Diary:
    def __init__(self) -> None:
        self.lines: list[object] = []

    def add(self, line: object) -> None:
        self.lines.append(line)


class Called(handed.Called):
    domain = Diary


LINES: list[object] = [
    *(f"day {number} " + "x" * (number % 40) for number in range(900)),
    "y" * 40_000,
    ["opaque"],
    *range(300),
]


class Unsynced(Calls):
    """Waits for no disk: what is written is the same."""

    def sync_data(self, fd: int) -> None:
        pass


class Written(NamedTuple):
    """A valid directory, and the system and the bytes of its files."""

    directory: Path
    manifest: bytes
    segment: bytes
    snapshot: bytes
    system: bytes

    def __repr__(self) -> str:
        return f"<written in {self.directory}>"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    directory = tmp_path_factory.mktemp("written") / "data"
    with open_with(Unsynced(), Diary, directory) as diary:
        for line in LINES[:3]:
            diary.add(line)
        diary.take_snapshot()
        engine = diary._coopy_engine
        for start in range(3, len(LINES), 200):
            # By turns one by one and together.
            for line in LINES[start : start + 50]:
                diary.add(line)
            batch = [Called("add", line) for line in LINES[start + 50 : start + 200]]
            list(engine.settled(engine.begin_all(batch), batch))
        assert diary.lines == LINES
    (directory / "snapshot_000000000000000.dat").unlink()
    segment = (directory / SEGMENT).read_bytes()
    # Most of a segment are the zeros that space was taken with: two blocks of them do.
    segment = segment[: -(-len(segment.rstrip(b"\0")) // BLOCK) * BLOCK + 2 * BLOCK]
    (directory / SEGMENT).write_bytes(segment)
    found = manifest.read(Calls(), str(directory))
    assert found is not None and len(segment) > 5 * BLOCK
    assert segment.count(frame.MANY_MARK) > 10 and segment.count(frame.MARK) > 300, "frames of either kind"
    snapshot = (directory / SNAPSHOT).read_bytes()
    return Written(directory, (directory / manifest.NAME).read_bytes(), segment, snapshot, found.system)


@pytest.fixture
def directory(written: Written, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written.directory, tmp_path / "data"))


@contextmanager
def little_memory(size: int) -> Iterator[None]:
    """A reader of ``size`` bytes takes a few times as much at most."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 4 * size + (2 << 20)
    finally:
        tracemalloc.stop()


# -- what is drawn

BLOCKS = st.integers(0, 8).map(lambda block: block * BLOCK)
PLACES = st.one_of(st.integers(0, 300), st.integers(0, 1 << 20), BLOCKS, st.integers(-300, -1))
SIZES = st.one_of(st.integers(1, 40), st.sampled_from([512, 4096, BLOCK]), st.integers(1, BLOCK))
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("flip"), PLACES, st.integers(0, 7)),
        st.tuples(st.just("put"), PLACES, st.binary(min_size=1, max_size=30)),
        st.tuples(st.just("insert"), PLACES, st.binary(min_size=1, max_size=30)),
        st.tuples(st.just("delete"), PLACES, SIZES),
        st.tuples(st.just("zeros"), PLACES, SIZES),
        st.tuples(st.just("repeat"), PLACES, SIZES),
        st.tuples(st.just("splice"), PLACES, st.tuples(PLACES, SIZES)),
        st.tuples(st.just("truncate"), PLACES, st.none()),
        st.tuples(st.just("garbage behind"), PLACES, st.binary(max_size=50)),
    ),
    min_size=1,
    max_size=3,
)


def changed(data: bytes, changes: list[tuple[str, int, Any]]) -> bytes:
    for kind, place, what in changes:
        at = place % (len(data) or 1)
        if kind == "flip" and data:
            data = data[:at] + bytes([data[at] ^ 1 << what]) + data[at + 1 :]
        elif kind == "put":
            data = data[:at] + what + data[at + len(what) :]
        elif kind == "insert":
            data = data[:at] + what + data[at:]
        elif kind == "delete":
            data = data[:at] + data[at + what :]
        elif kind == "zeros":
            data = data[:at] + bytes(len(data[at : at + what])) + data[at + what :]
        elif kind == "repeat":
            data = data[: at + what] + data[at:]
        elif kind == "splice":
            source = what[0] % (len(data) or 1)
            part = data[source : source + what[1]]
            data = data[:at] + part + data[at + len(part) :]
        elif kind == "truncate":
            data = data[:at]
        elif kind == "garbage behind":
            data += what
    return data


def together(records: list[bytes], index: int, synced: int) -> bytes:
    data, sizes = joined(records)
    return frame.pack_together(data[len(WRAP) :], sizes, index, synced)


NUMBERS = st.one_of(st.integers(0, 70), st.sampled_from([(1 << 31) - 1, 1 << 31, (1 << 32) - 1]))
INDEXES = st.one_of(st.integers(0, 5), st.sampled_from([1 << 32, 1 << 63, (1 << 64) - 1]))
FRAMELIKE = st.one_of(
    st.binary(max_size=60),
    st.builds(bytes, st.integers(0, 600)),
    st.builds(lambda size, index, synced: frame.HEAD.pack(*frame.HEAD_FIRST, size, index, synced), NUMBERS, INDEXES, INDEXES),
    st.builds(lambda record, index, synced: frame.pack(record, index, synced), st.binary(max_size=60), INDEXES, INDEXES),
    st.builds(
        lambda fields, size, index, synced, count: frame.MANY_HEAD.pack(
            0x42, (fields if fields is not None else 41 + 4 * count) % (1 << 32), frame.MANY_MARK, size, index, synced, count
        ),
        st.one_of(st.none(), NUMBERS),
        NUMBERS,
        INDEXES,
        INDEXES,
        NUMBERS,
    ),
    st.builds(together, st.lists(st.binary(max_size=30), min_size=2, max_size=4), INDEXES, INDEXES),
)
BYTES = st.one_of(st.binary(max_size=300), st.lists(FRAMELIKE, max_size=8).map(b"".join))
"""Arbitrary bytes, more of them like frames than chance would have."""


def segment_header(system: bytes, first: int = 1) -> bytes:
    head = HEADER.pack(MAGIC, 1, system, first, b"", 0)[:-4]
    return head + zlib.crc32(head).to_bytes(4, "little")


def outcome(read: Callable[[], T]) -> T | None:
    """What a reader returns; None if it refuses, in words of coopy's."""
    try:
        return read()
    except CoopyError as error:
        assert str(error)
        return None


# -- frames and segments


def looks_like_one(data: bytes, at: int) -> bool:
    return data.startswith(frame.MARK, at) or data.startswith(frame.MANY_MARK, at + frame.MANY_MARK_AT)


@fuzzed
@given(BYTES, st.integers(0, 80))
def test_frames_in_arbitrary_bytes_lie_in_them(data: bytes, offset: int) -> None:
    found = frame.whole(data, offset)
    assert found is None or offset + found.length <= len(data)
    if found is not None:
        assert len(found.records(data, offset)) == found.index - found.first + 1
    places = set(frame.places(data))
    assert places == set(frame.places_backwards(data)) == {at for at in range(len(data)) if looks_like_one(data, at)}
    assert all(at in places for at in range(len(data)) if frame.head(data, at) is not None)
    size, last = frames_upto(data, None)
    assert 0 <= size <= len(data) and (size > 0) == (last >= 0)
    frame.head(data, offset)
    frame.intact(data)


def look_through(path: Path, system: bytes, size: int) -> None:
    with little_memory(size):
        segment = Segment.open(Calls(), str(path), system, 1, write=False)
        end, following = HEADER.size, 1
        try:
            for block in segment.blocks():
                assert block.offset >= end and frame.intact(block.frames)
                end = block.offset + len(block.frames)
                following = max(following, frames_upto(block.frames, None)[1] + 1)
        except NotWhole as problem:
            assert HEADER.size <= problem.offset <= size
            assert problem.index <= following, "no action is skipped"
            segment.proves(problem.offset, problem.index, True)
        finally:
            segment.close()


@fuzzed
@given(BYTES)
def test_a_segment_of_arbitrary_bytes_is_not_whole_where_it_is_not(tmp_path: Path, written: Written, data: bytes) -> None:
    (tmp_path / SEGMENT).write_bytes(segment_header(written.system) + data)
    look_through(tmp_path / SEGMENT, written.system, HEADER.size + len(data))


@fuzzed
@given(CHANGES)
def test_a_segment_that_was_changed_is_not_whole_where_it_is_not(tmp_path: Path, written: Written, changes: Any) -> None:
    data = changed(written.segment[64:], changes)
    (tmp_path / SEGMENT).write_bytes(written.segment[:64] + data)
    look_through(tmp_path / SEGMENT, written.system, HEADER.size + len(data))


@fuzzed
@given(BYTES)
def test_a_file_of_arbitrary_bytes_is_no_segment(tmp_path: Path, written: Written, data: bytes) -> None:
    (tmp_path / SEGMENT).write_bytes(data)
    with pytest.raises(StorageError, match=SEGMENT):
        Segment.open(Calls(), str(tmp_path / SEGMENT), written.system, 1, write=False)


# -- the journal


def records_of(frames: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset < len(frames):
        found = frame.head(frames, offset)
        assert found is not None
        yield from enumerate(found.records(frames, offset), found.first)
        offset += found.length


def read_all(journal: Journal) -> list[tuple[int, bytes]]:
    return [record for _, frames in journal.read(0) for record in records_of(frames)]


@fuzzed
@given(CHANGES)
def test_a_reader_of_a_journal_that_was_changed_finds_what_was_written_or_refuses(
    directory: Path, written: Written, changes: Any
) -> None:
    (directory / SEGMENT).write_bytes(written.segment)
    journal = Journal(Calls(), str(directory), written.system, write=False)
    whole = read_all(journal)
    journal.close()
    data = changed(written.segment, changes)
    (directory / SEGMENT).write_bytes(data)

    def read() -> list[tuple[int, bytes]]:
        opened = Journal(Calls(), str(directory), written.system, write=False)
        try:
            return read_all(opened)
        finally:
            opened.close()

    with little_memory(len(data)):
        found = outcome(read)
    assert found is None or found == whole[: len(found)]
    assert (directory / SEGMENT).read_bytes() == data


@fuzzed
@given(CHANGES)
def test_a_writer_goes_on_behind_what_was_written_or_refuses_and_changes_nothing(
    directory: Path, written: Written, changes: Any
) -> None:
    data = changed(written.segment, changes)
    (directory / SEGMENT).write_bytes(data)
    with little_memory(len(data)):
        journal = outcome(lambda: Journal(Calls(), str(directory), written.system))
    if journal is None:
        assert (directory / SEGMENT).read_bytes() == data
        return
    last = journal.last
    assert 0 <= last <= len(LINES)
    record = header(0, 0, 0) + b"NB\x01\x00\x00\x00P"
    assert journal.append(record) == last + 1
    assert outcome(lambda: read_all(journal)[-1]) in ((last + 1, record), None)
    journal.close()


@fuzzed
@given(BYTES)
def test_a_journal_of_arbitrary_frames_is_opened_or_refused(directory: Path, written: Written, data: bytes) -> None:
    data = segment_header(written.system) + data
    for write in (False, True):
        (directory / SEGMENT).write_bytes(data)
        with little_memory(len(data)):
            journal = outcome(lambda: Journal(Calls(), str(directory), written.system, write=write))
            if journal is not None:
                outcome(lambda: read_all(journal))
                journal.close()


# -- snapshots


@fuzzed
@given(st.one_of(CHANGES, BYTES))
def test_a_snapshot_that_was_changed_is_read_as_written_or_refused(tmp_path: Path, written: Written, changes: Any) -> None:
    data = changes if isinstance(changes, bytes) else changed(written.snapshot, changes)
    (tmp_path / SNAPSHOT).write_bytes(data)
    with little_memory(len(data)):
        found = outcome(lambda: DiskSnapshots(Calls(), str(tmp_path), written.system).latest())
    if found is not None:
        assert (found[0], bytes(found[1])) == (3, written.snapshot[64:-20])


# -- the manifest


JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=70), st.text("0123456789abcdef", max_size=70)
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=5,
)
MEMBERS = st.sampled_from(["format", "system", "secret", "serializer", "created", "checksum", "else"])


@fuzzed
@given(st.one_of(CHANGES, st.binary(max_size=100), JSON.map(lambda value: json.dumps(value).encode())))
def test_a_manifest_that_was_changed_is_read_as_written_or_refused(directory: Path, written: Written, changes: Any) -> None:
    data = changes if isinstance(changes, bytes) else changed(written.manifest, changes)
    (directory / manifest.NAME).write_bytes(written.manifest)
    true = manifest.read(Calls(), str(directory))
    (directory / manifest.NAME).write_bytes(data)
    with little_memory(len(data)):
        found = outcome(lambda: manifest.read(Calls(), str(directory)))
    assert found in (true, None)


@fuzzed
@given(st.dictionaries(MEMBERS, JSON, max_size=3), st.sets(MEMBERS, max_size=2))
def test_a_manifest_that_was_changed_and_resealed_has_an_id_and_a_secret(
    directory: Path, written: Written, members: dict[str, object], removed: set[str]
) -> None:
    members = {name: value for name, value in {**json.loads(written.manifest), **members}.items() if name not in removed}
    members.pop("checksum", None)
    text = json.dumps(members, sort_keys=True, separators=(",", ":"))
    members["checksum"] = f"{zlib.crc32(text.encode('ascii')):08x}"
    (directory / manifest.NAME).write_text(json.dumps(members))
    found = outcome(lambda: manifest.read(Calls(), str(directory)))
    assert found is None or (len(found.system), len(found.secret)) == (16, 32)


# -- a whole directory


@fuzzed
@given(st.sampled_from([manifest.NAME, SEGMENT, SNAPSHOT]), CHANGES)
def test_a_directory_with_a_changed_file_has_a_state_that_was_or_is_refused(
    directory: Path, written: Written, name: str, changes: Any
) -> None:
    files = {manifest.NAME: written.manifest, SEGMENT: written.segment, SNAPSHOT: written.snapshot}
    files[name] = changed(files[name], changes)
    for each, data in files.items():
        (directory / each).write_bytes(data)
    with little_memory(sum(map(len, files.values()))):
        found = outcome(lambda: coopy.replay(Diary, directory).lines)
    if found is not None:
        assert len(found) >= 3 and found == LINES[: len(found)]
    for each, data in files.items():
        assert (directory / each).read_bytes() == data


# -- frames that are whole, from somebody who knows how

RECORDS = st.one_of(
    st.binary(min_size=13, max_size=60),
    st.binary(max_size=60).map(lambda rest: header(0, 0, 0) + rest),
    st.builds(
        lambda call, place, value: header(0, 0, 0) + call[: place % (len(call) + 1)] + value,
        st.sampled_from(
            [
                Codec(Diary).encode_call("add", ("x",), {})[0],
                Codec(Diary).encode_call("add", (["x"],), {})[0],
                Codec(Diary).encode_call("nothing", (), {})[0],
                b"NN",
                b"NNN",
                b"N",
                b"",
                b"K\x01K\x02",
                b"K\x01)",
                b"](",
                b"N)",
                b"\x8c\x03add]",
                b"]]",
                b"\x8c\x03addK\x05",
                b"\x8c\x03addC\x01P",
                b"NC\x00",
                b"NC\x01P",
                b"NC\x03P\x80\x05",
                b"NC\x01D",
                b"NC\x04P)..",
                b"NC\x03PN.",
                b"NC\x05PK\x05.",
                b"B\xff\xff\xff\x7f",
                b"0000",
                b"h\x05h\x06",
            ]
        ),
        st.integers(0, 99),
        st.binary(max_size=5),
    ),
)


# LONG_BINPUT has pickle take as much memory as the number behind it says, and READONLY_BUFFER has it tell of an
# error of its own. No record of ours has them, and whoever seals pickles can have anything done, not only that.
TAME_RECORDS = RECORDS.filter(lambda record: pickle.LONG_BINPUT not in record and pickle.READONLY_BUFFER not in record)


def are_calls(headers: list[bytes], names: list[Any], arguments: list[Any]) -> bool:
    """Whether what was decoded has the kinds that a call has."""
    return all(
        type(args) is tuple if type(name) is str else name is None and type(args) in (bytes, type(None))
        for name, args in zip(names, arguments, strict=True)
    )


def frames_of(groups: list[list[bytes]], moved: int) -> bytes:
    """The frames of groups of records, of which each may begin some bytes away from where its frame says."""
    frames, index = [], 1
    for records in groups:
        data, sizes = joined(records)
        if len(records) > 1 and 0 <= sizes[0] + moved < 1 << 32 and 0 <= sizes[1] - moved < 1 << 32:
            sizes[0] += moved
            sizes[1] -= moved
        frames.append(frame.pack_together(data[len(WRAP) :], sizes, index, 0))
        index += len(records)
    return b"".join(frames)


@fuzzed
@given(
    st.lists(st.lists(TAME_RECORDS, min_size=1, max_size=4), min_size=1, max_size=4),
    st.one_of(st.just(0), st.integers(-80, 80)),
    st.integers(3, 8),
)
def test_whole_frames_of_a_hostile_writer_are_refused_in_words_of_coopys(
    directory: Path, written: Written, groups: list[list[bytes]], moved: int, after: int
) -> None:
    data = segment_header(written.system) + frames_of(groups, moved)
    data = data.ljust(2 * BLOCK, b"\0")
    (directory / SEGMENT).write_bytes(data)
    (directory / SNAPSHOT).unlink(missing_ok=True)
    shutil.copy(written.directory / SNAPSHOT, directory / SNAPSHOT)
    journal = Journal(Calls(), str(directory), written.system, write=False, floor=3)
    outcome(lambda: [decode_joined(frames) for _, frames in journal.read(after)])
    decoded = outcome(lambda: [decode_joined(frames) for _, frames in journal.read(3)])
    journal.close()
    if decoded is None or all(are_calls(*batch) for batch in decoded):
        outcome(lambda: coopy.replay(Diary, directory).lines)
    else:
        # Three objects of other kinds are looked at when they are called; no promise is made of what that raises.
        with suppress(Exception):
            coopy.replay(Diary, directory)
    assert (directory / SEGMENT).read_bytes() == data
