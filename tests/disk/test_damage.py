"""Every field of every file changed, files missing, swapped, foreign or no files at all: refused by name, or no loss.

One table for each kind of damage. A row says what is done to a directory and what
has to come of it: the class of the refusal and the file that its message names,
or (None) nothing, because all that was there is still read. Reader and writer must
agree, and whatever is refused leaves every file as it lies there (``lock`` aside,
which belongs to who opens). What single bits and cuts do is in test_every_byte.

"Resealed" is a field changed and the checksums over it made right again: what a
bug, or somebody with an editor, would leave, not a disk.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import struct
import threading
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from faults import open_with

import coopy
from coopy import (
    CoopyError,
    DamagedJournal,
    DamagedManifest,
    DamagedSnapshot,
    DirectoryInUse,
    ForeignDirectory,
    JournalError,
    MissingActions,
    StorageError,
    UnsupportedFormat,
    UsageError,
    control,
    init_system,
)
from coopy.disk import frame, manifest
from coopy.disk.chunks import CHUNK
from coopy.disk.fs import Calls
from coopy.disk.segment import BLOCK
from coopy.ground.action import HEAD

GOLDEN = Path(__file__).parents[1] / "golden"
MANIFEST = manifest.NAME
SEGMENT = "transaction_000000000000001.log"
SNAPSHOT_0 = "snapshot_000000000000000.dat"
SNAPSHOT_4 = "snapshot_000000000000004.dat"

Change = Callable[[Path], None]
Refusal = type[CoopyError] | None


class Book:
    def __init__(self) -> None:
        self.lines: list[object] = []

    def add(self, line: object) -> None:
        self.lines.append(line)


SHORT: list[object] = ["a", 7, ["opaque"], "a longer line of text", None, "f", "g", "h"]
SMALL = [f"line {number}" for number in range(700)]
LONG: list[object] = [*SMALL, "x" * 40_000, *SMALL[:100], *["y" * 400_000] * 5, *SMALL[:3]]


class Unsynced(Calls):
    """Waits for no disk: what is written is the same."""

    def sync_data(self, fd: int) -> None:
        pass


def write(directory: Path, lines: list[object], snapshot_after: int) -> None:
    with open_with(Unsynced(), Book, directory) as book:
        for number, line in enumerate(lines, 1):
            book.add(line)
            if number == snapshot_after:
                book.take_snapshot()


class Originals(NamedTuple):
    """One segment and two snapshots; several segments and the first snapshot only; another system like the first."""

    short: Path
    long: Path
    other: Path


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Originals:
    made = Originals(*(tmp_path_factory.mktemp("originals") / name for name in Originals._fields))
    write(made.short, SHORT, 4)
    write(made.long, LONG, 0)
    write(made.other, SHORT, 4)
    return made


@pytest.fixture
def short(originals: Originals, tmp_path: Path) -> Path:
    return Path(shutil.copytree(originals.short, tmp_path / "data"))


@pytest.fixture
def long(originals: Originals, tmp_path: Path) -> Path:
    return Path(shutil.copytree(originals.long, tmp_path / "data"))


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("transaction_*.log"))


def contents(directory: Path) -> dict[str, object]:
    """Whatever lies in a directory, byte for byte; the lock aside. Of a file, size and digest."""
    found: dict[str, object] = {}
    for path in directory.rglob("*"):
        name = str(path.relative_to(directory))
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_file() and path.name != "lock":
            data = path.read_bytes()
            found[name] = len(data), hashlib.blake2b(data).hexdigest()
        elif path.name != "lock":
            found[name] = None
    return found


def opened(directory: Path) -> list[object]:
    with init_system(Book, directory, fork=False, validation="off") as book:
        return list(book.lines)


def replayed(directory: Path) -> list[object]:
    return list(coopy.replay(Book, directory).lines)


def refused(directory: Path, refusal: type[CoopyError], named: str) -> list[CoopyError]:
    """What a reader and a writer raise, having left everything as it was."""
    before = contents(directory)
    raised = []
    for use in (replayed, opened):
        try:
            use(directory)
        except CoopyError as problem:
            # Its traceback holds all that was being restored.
            raised.append(problem.with_traceback(None))
        else:
            pytest.fail(f"{use.__name__} has not refused it")
        assert type(raised[-1]) is refusal, (use.__name__, raised[-1])
        assert named in str(raised[-1]), (use.__name__, raised[-1])
        assert "Nothing was changed" in str(raised[-1])
        assert contents(directory) == before, f"{use.__name__} has changed a file"
    return raised


def kept(directory: Path, lines: list[object]) -> None:
    """Reader and writer find all lines, and what is written then is there the next time."""
    before = contents(directory)
    assert replayed(directory) == lines
    assert contents(directory) == before, "looking has changed a file"
    with init_system(Book, directory, fork=False, validation="off") as book:
        assert book.lines == lines
        assert control(book).index == len(lines)
        book.add("afterwards")
    assert opened(directory) == replayed(directory) == [*lines, "afterwards"]


def judge(directory: Path, lines: list[object], refusal: Refusal, named: str) -> None:
    if refusal is None:
        kept(directory, lines)
    else:
        refused(directory, refusal, named)


def test_the_directories_that_are_damaged_here_are_whole(short: Path, originals: Originals) -> None:
    kept(short, SHORT)
    assert replayed(originals.long) == LONG
    assert len(segments(originals.long)) >= 3


# -- the manifest


def manifest_bytes(path: Path, changes: dict[str, object], removed: tuple[str, ...], *, resealed: bool) -> bytes:
    members = {**json.loads(path.read_bytes()), **changes}
    for name in removed:
        del members[name]
    if resealed:
        rest = {name: value for name, value in members.items() if name != "checksum"}
        text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
        members["checksum"] = f"{zlib.crc32(text.encode('ascii')):08x}"
    return json.dumps(members).encode("ascii")


WRONG_IDS: list[object] = [5, None, [], {}, True, "", "zz", "ab", "00" * 15, "00" * 33, "é" * 32]

RESEALED_MEMBERS: list[tuple[str, object, Refusal, str]] = [
    *[("system", value, DamagedManifest, MANIFEST) for value in WRONG_IDS],
    *[("secret", value, DamagedManifest, MANIFEST) for value in [*WRONG_IDS, "00" * 16]],
    ("system", "00" * 16, ForeignDirectory, SEGMENT),
    *[("format", value, UnsupportedFormat, MANIFEST) for value in ["x", "1", 2, 0, -1, None, [1], 1e999]],
    *[("serializer", value, UnsupportedFormat, MANIFEST) for value in ["pickle6", "", 5, None, []]],
    *[("created", value, None, "") for value in ["yesterday", 5, None]],
    ("note", "a member of somebody else's", None, ""),
]


@pytest.mark.parametrize(("member", "value", "refusal", "named"), RESEALED_MEMBERS)
def test_a_member_of_the_manifest_changed_and_resealed(
    short: Path, member: str, value: object, refusal: Refusal, named: str
) -> None:
    path = short / MANIFEST
    path.write_bytes(manifest_bytes(path, {member: value}, (), resealed=True))
    judge(short, SHORT, refusal, named)


@pytest.mark.parametrize(("member", "value"), [row[:2] for row in RESEALED_MEMBERS])
def test_a_member_of_the_manifest_changed_is_damage(short: Path, member: str, value: object) -> None:
    path = short / MANIFEST
    path.write_bytes(manifest_bytes(path, {member: value}, (), resealed=False))
    refused(short, DamagedManifest, MANIFEST)


@pytest.mark.parametrize(
    ("removed", "resealed", "refusal"),
    [
        ("format", True, UnsupportedFormat),
        ("system", True, DamagedManifest),
        ("secret", True, DamagedManifest),
        ("serializer", True, UnsupportedFormat),
        ("created", True, None),
        ("format", False, DamagedManifest),
        ("system", False, DamagedManifest),
        ("secret", False, DamagedManifest),
        ("serializer", False, DamagedManifest),
        ("created", False, DamagedManifest),
        ("checksum", False, DamagedManifest),
    ],
)
def test_a_member_of_the_manifest_removed(short: Path, removed: str, resealed: bool, refusal: Refusal) -> None:
    path = short / MANIFEST
    path.write_bytes(manifest_bytes(path, {}, (removed,), resealed=resealed))
    judge(short, SHORT, refusal, MANIFEST)


@pytest.mark.parametrize("value", ["00000000", "", 5, None, []], ids=repr)
def test_a_checksum_of_the_manifest_that_is_another_is_damage(short: Path, value: object) -> None:
    path = short / MANIFEST
    path.write_bytes(manifest_bytes(path, {"checksum": value}, (), resealed=False))
    refused(short, DamagedManifest, MANIFEST)


@pytest.mark.parametrize(
    ("data", "refusal"),
    [
        (b"", DamagedManifest),
        (b"\0" * 235, DamagedManifest),
        (b"\xff\xfe\xfd", DamagedManifest),
        (b"{", DamagedManifest),
        (b"9" * 5000, DamagedManifest),
        (b"[" * 100_000, DamagedManifest),
        (b'{"system":' * 100_000, DamagedManifest),
        (b'{"system": "\\ud800"}', DamagedManifest),
        (b'{"system": NaN}', DamagedManifest),
        (b"[]", ForeignDirectory),
        (b"null", ForeignDirectory),
        (b'"system"', ForeignDirectory),
        (b'{"name": "of a web page"}', ForeignDirectory),
    ],
    ids=lambda value: value[:12] if isinstance(value, bytes) else None,
)
def test_a_manifest_that_is_something_else(short: Path, data: bytes, refusal: Refusal) -> None:
    (short / MANIFEST).write_bytes(data)
    judge(short, SHORT, refusal, MANIFEST)


# -- the lock


@pytest.mark.parametrize("data", [b"", b"\0" * 100, b"-1\n", b"1\n", b"\xff\xfe", b"9" * 5000], ids=lambda data: data[:5])
def test_what_lies_in_the_lock_file_means_nothing(short: Path, data: bytes) -> None:
    (short / "lock").write_bytes(data)
    kept(short, SHORT)


@pytest.mark.parametrize("data", [b"", b"-1\n", b"garbage", b"9" * 5000], ids=lambda data: data[:5])
def test_a_holder_that_the_lock_file_does_not_name_is_refused_all_the_same(short: Path, data: bytes) -> None:
    with init_system(Book, short, fork=False, validation="off"):
        (short / "lock").write_bytes(data)
        with pytest.raises(DirectoryInUse, match="Nothing was changed"):
            opened(short)


# -- headers of segments and of snapshots have the same fields

HEADER_FIELDS = {
    "magic": (0, 8),
    "version": (8, 4),
    "system": (12, 16),
    "first": (28, 8),
    "zeros": (36, 24),
    "checksum": (60, 4),
}


def with_header(data: bytes, field: str, *, resealed: bool) -> bytes:
    at, size = HEADER_FIELDS[field]
    changed = bytearray(data)
    changed[at : at + size] = bytes(byte ^ 0x51 for byte in changed[at : at + size])
    if resealed:
        changed[60:64] = zlib.crc32(changed[:60]).to_bytes(4, "little")
    return bytes(changed)


@pytest.mark.parametrize("place", [0, 1, -1], ids=["first segment", "second segment", "last segment"])
@pytest.mark.parametrize(
    ("field", "resealed", "refusal"),
    [
        ("magic", False, ForeignDirectory),
        ("version", False, DamagedJournal),
        ("system", False, DamagedJournal),
        ("first", False, DamagedJournal),
        ("zeros", False, DamagedJournal),
        ("checksum", False, DamagedJournal),
        ("magic", True, ForeignDirectory),
        ("version", True, UnsupportedFormat),
        ("system", True, ForeignDirectory),
        ("first", True, DamagedJournal),
    ],
)
def test_a_field_of_the_header_of_a_segment(
    long: Path, place: int, field: str, resealed: bool, refusal: type[CoopyError]
) -> None:
    path = segments(long)[place]
    path.write_bytes(with_header(path.read_bytes(), field, resealed=resealed))
    refused(long, refusal, path.name)


def test_the_zeros_in_the_header_of_a_segment_are_kept_for_later_releases(short: Path) -> None:
    path = short / SEGMENT
    path.write_bytes(with_header(path.read_bytes(), "zeros", resealed=True))
    kept(short, SHORT)


# -- frames


class Placed(NamedTuple):
    start: int
    end: int
    index: int


def blocks(data: bytes) -> list[list[Placed]]:
    """The frames of a segment, by block, as the table in coopy/disk/frame.py has them."""
    found: list[list[Placed]] = []
    start = 64
    while data[start : start + 2] == frame.MARK:
        found.append([])
        while data[start : start + 2] == frame.MARK:
            size, index = struct.unpack_from("<IQ", data, start + 2)
            found[-1].append(Placed(start, start + 28 + size, index))
            start += 28 + size
            if start % BLOCK > BLOCK - 28 or start // BLOCK > found[-1][0].start // BLOCK:
                break
        start = -(-start // BLOCK) * BLOCK
    return found


def rechained(data: bytearray, frames: list[Placed]) -> None:
    """Makes the checksums of a block right, such that one pass over the block finds nothing."""
    running = frame.SEED
    for start, end, _ in frames:
        data[end - 5 : end - 1] = zlib.crc32(data[start : end - 5], running).to_bytes(4, "little")
        running = zlib.crc32(data[start:end], running)


FRAME_FIELDS: dict[str, Callable[[Placed], tuple[int, int]]] = {
    "first constant": lambda at: (at.start, 1),
    "second constant": lambda at: (at.start + 1, 1),
    "size": lambda at: (at.start + 2, 4),
    "index": lambda at: (at.start + 6, 8),
    "synced": lambda at: (at.start + 14, 8),
    "record": lambda at: (at.start + 22, at.end - at.start - 28),
    "BININT": lambda at: (at.end - 6, 1),
    "checksum": lambda at: (at.end - 5, 4),
    "POP": lambda at: (at.end - 1, 1),
}


def framed(directory: Path, place: str) -> tuple[Path, list[Placed], Placed]:
    """A segment, a block of it, and a frame in the middle of that."""
    number = {"last block of the last segment": -1, "block of the last segment": -1}.get(place, 0)
    path = segments(directory)[number]
    found = blocks(path.read_bytes())
    if place == "longer than a block":
        block = next(each for each in found if each[0].end - each[0].start > BLOCK)
    elif place == "first block of the first segment":
        block = found[0]
    else:
        block = found[-1]
    return path, block, block[len(block) // 2]


PLACES = ["first block of the first segment", "longer than a block", "last block of the last segment"]


@pytest.mark.parametrize("value", [0x00, 0xFF], ids=hex)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("field", FRAME_FIELDS)
def test_a_field_of_a_frame_is_damage_and_the_action_is_named(long: Path, place: str, field: str, value: int) -> None:
    path, _, at = framed(long, place)
    data = bytearray(path.read_bytes())
    offset, size = FRAME_FIELDS[field](at)
    if place == "last block of the last segment":
        assert struct.unpack_from("<Q", data, at.end + 14)[0] >= at.index, "a frame behind says that it had been synced"
    for byte in range(offset, offset + size, max(1, size // 8)):
        data[byte] = value if data[byte] != value else value ^ 0x11
        path.write_bytes(data)
    for problem in refused(long, DamagedJournal, path.name):
        assert isinstance(problem, DamagedJournal)
        assert (problem.index, problem.offset) == (at.index, at.start)
    assert coopy.replay(Book, long, until=at.index - 1).lines == LONG[: at.index - 1], "as the message says"


@pytest.mark.parametrize("field", FRAME_FIELDS)
def test_a_field_of_the_only_frame_of_a_last_segment_is_damage_if_it_was_synced(tmp_path: Path, field: str) -> None:
    write(tmp_path, ["one"], 0)
    path = tmp_path / SEGMENT
    data = bytearray(path.read_bytes())
    offset, size = FRAME_FIELDS[field](blocks(bytes(data))[0][0])
    data[offset : offset + size] = bytes(byte ^ 0x81 for byte in data[offset : offset + size])
    path.write_bytes(data)
    # Closing has left an amendment behind it, which says so.
    refused(tmp_path, DamagedJournal, SEGMENT)


IGNORED = {"size", "index", "synced"}
"""Of a frame that is not the last block's: its place among the others says what it needs to."""


@pytest.mark.parametrize("field", [name for name in FRAME_FIELDS if name != "checksum"])
@pytest.mark.parametrize("place", ["first block of the first segment", "last block of the last segment"])
def test_a_field_of_a_frame_changed_and_resealed_is_damage_or_nothing_that_is_needed(
    long: Path, place: str, field: str
) -> None:
    path, block, at = framed(long, place)
    data = bytearray(path.read_bytes())
    offset, size = FRAME_FIELDS[field](at)
    if field == "record":
        offset += 13  # The opcodes of the call, behind its instant and outcome.
        size = 1
    data[offset : offset + size] = bytes(byte ^ 0x15 for byte in data[offset : offset + size])
    rechained(data, block)
    assert frame.intact(bytes(data[block[0].start : block[-1].end])) or field == "POP", "one pass over the block finds nothing"
    path.write_bytes(data)
    if field == "synced" or (field in IGNORED and place != "last block of the last segment"):
        kept(long, LONG)
        return
    before = contents(long)
    for use in (replayed, opened):
        with pytest.raises((StorageError, coopy.DecodingError, coopy.ReplayError)):
            use(long)
        assert contents(long) == before


@pytest.mark.parametrize(
    ("place", "what"),
    [
        ("first block of the first segment", "taken out"),
        ("first block of the first segment", "there twice"),
        ("last block of the last segment", "taken out"),
        ("last block of the last segment", "there twice"),
        ("last block of the last segment", "exchanged with the next"),
    ],
)
def test_whole_frames_in_another_order_are_damage(long: Path, place: str, what: str) -> None:
    path, block, at = framed(long, place)
    data = path.read_bytes()
    following = block[block.index(at) + 1]
    one, next_one = data[at.start : at.end], data[following.start : following.end]
    middle = {"taken out": next_one, "there twice": one + one + next_one, "exchanged with the next": next_one + one}[what]
    end = block[0].start // BLOCK * BLOCK + BLOCK
    moved = (data[: at.start] + middle + data[following.end : block[-1].end])[: end - 1].ljust(end, b"\0")
    path.write_bytes(moved + data[end:])
    before = contents(long)
    for use in (replayed, opened):
        with pytest.raises((DamagedJournal, MissingActions)) as refusal:
            use(long)
        assert path.name in str(refusal.value)
        assert contents(long) == before


# -- snapshots


@pytest.mark.parametrize("alone", [True, False], ids=["the only one", "with one before it"])
@pytest.mark.parametrize(
    ("field", "resealed", "refusal"),
    [
        *[(field, False, DamagedSnapshot) for field in HEADER_FIELDS],
        ("magic", True, DamagedSnapshot),
        ("version", True, UnsupportedFormat),
        ("system", True, ForeignDirectory),
        ("first", True, DamagedSnapshot),
        ("zeros", True, None),
    ],
)
def test_a_field_of_the_header_of_a_snapshot(short: Path, field: str, resealed: bool, refusal: Refusal, alone: bool) -> None:
    path = short / SNAPSHOT_4
    path.write_bytes(with_header(path.read_bytes(), field, resealed=resealed))
    if alone:
        (short / SNAPSHOT_0).unlink()
    # A damaged one is passed over if there is another.
    judge(short, SHORT, None if refusal is DamagedSnapshot and not alone else refusal, SNAPSHOT_4)


def resealed_end(data: bytes, size: int, chunks: int) -> bytes:
    table = data[-20:-16]
    end = table + struct.pack("<QI", size, chunks)
    return data[:-20] + end + zlib.crc32(end).to_bytes(4, "little")


@pytest.mark.parametrize("alone", [True, False], ids=["the only one", "with one before it"])
@pytest.mark.parametrize("size", [0, 1, -1, 1 << 20, 1 << 40, (1 << 64) - 1], ids=lambda size: f"size {size}")
@pytest.mark.parametrize("chunks", [0, 1, 2, 1 << 20, (1 << 32) - 1], ids=lambda chunks: f"{chunks} chunks")
def test_the_end_of_a_snapshot_changed_and_resealed_is_damage_and_takes_no_memory(
    short: Path, size: int, chunks: int, alone: bool
) -> None:
    path = short / SNAPSHOT_4
    data = path.read_bytes()
    true = len(data) - 64 - 20
    path.write_bytes(resealed_end(data, true + size if abs(size) == 1 else size, chunks))
    if alone:
        (short / SNAPSHOT_0).unlink()
    tracemalloc.start()
    try:
        judge(short, SHORT, DamagedSnapshot if alone else None, SNAPSHOT_4)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20, "two segments of 1 MiB, and little more"
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("at", [64, 76, 90, -21, -20, -17, -16, -9, -8, -5, -4, -1])
def test_a_byte_of_the_state_or_of_the_end_of_a_snapshot_is_damage(short: Path, at: int) -> None:
    path = short / SNAPSHOT_4
    data = bytearray(path.read_bytes())
    data[at] ^= 0x40
    path.write_bytes(data)
    shutil.copytree(short, short.with_name("with one before it"))
    kept(short.with_name("with one before it"), SHORT)
    (short / SNAPSHOT_0).unlink()
    refused(short, DamagedSnapshot, SNAPSHOT_4)


@pytest.mark.parametrize("at", [0, CHUNK - 1, CHUNK, 2 * CHUNK, -1])
def test_damage_of_a_long_snapshot_is_named_with_its_chunk(tmp_path: Path, at: int) -> None:
    write(tmp_path, ["x" * CHUNK, "y" * CHUNK, "z" * 100], 3)
    (tmp_path / SNAPSHOT_0).unlink()
    path = tmp_path / "snapshot_000000000000003.dat"
    data = bytearray(path.read_bytes())
    size = struct.unpack_from("<Q", data, len(data) - 16)[0]
    assert size > 2 * CHUNK
    place = at % size
    data[64 + place] ^= 1
    path.write_bytes(data)
    for problem in refused(tmp_path, DamagedSnapshot, path.name):
        assert f"its bytes from {64 + place // CHUNK * CHUNK}" in str(problem)


def resealed_state(data: bytes, state: bytes) -> bytes:
    end = struct.pack("<IQI", zlib.crc32(state), len(state), 1) if state else struct.pack("<QI", 0, 0)
    return data[:64] + state + end + zlib.crc32(end).to_bytes(4, "little")


STATES: dict[str, Callable[[bytes], bytes]] = {
    "none": lambda state: b"",
    "half a head": lambda state: state[:5],
    "a head only": lambda state: state[: HEAD.size],
    "a head and an encoding": lambda state: state[: HEAD.size + 1],
    "an unknown encoding": lambda state: state[: HEAD.size] + b"?" + state[HEAD.size + 1 :],
    "half": lambda state: state[: len(state) // 2],
    "garbage": lambda state: state[: HEAD.size + 1] + b"\xff" * 50,
    "a class that is not there": lambda state: state.replace(b"Book", b"Bock"),
    "a stack that is empty": lambda state: state[: HEAD.size + 1] + b"\x80\x05.",
    "a wrong memo": lambda state: state[: HEAD.size + 1] + b"\x80\x05h\x63.",
    "more than there is": lambda state: state[: HEAD.size + 1] + b"\x80\x05B\xff\xff\xff\x7f.",
}


@pytest.mark.parametrize("what", STATES)
def test_a_state_that_is_sealed_but_no_state_is_passed_over_or_else_refused(
    short: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = short / SNAPSHOT_4
    data = path.read_bytes()
    path.write_bytes(resealed_state(data, STATES[what](data[64:-20])))
    assert replayed(short) == SHORT
    assert "a newer snapshot cannot be loaded, going back to the one of action 0, and the journal" in caplog.text
    (short / SNAPSHOT_0).unlink()
    before = contents(short)
    for use in (replayed, opened):
        with pytest.raises((coopy.DecodingError, DamagedSnapshot)):
            use(short)
        assert contents(short) == before


# -- files that are missing, of another place, or no files


def copied(name: str, to: str) -> Change:
    return lambda directory: shutil.copy(directory / name, directory / to) and None


def swapped(one: str, other: str) -> Change:
    def change(directory: Path) -> None:
        (directory / one).rename(directory / "between")
        (directory / other).rename(directory / one)
        (directory / "between").rename(directory / other)

    return change


def holding(name: str, data: bytes) -> Change:
    return lambda directory: (directory / name).write_bytes(data) and None


def without(*names: str) -> Change:
    def change(directory: Path) -> None:
        for name in names:
            (directory / name).unlink()

    return change


def directory_named(name: str) -> Change:
    def change(directory: Path) -> None:
        (directory / name).unlink(missing_ok=True)
        (directory / name).mkdir()

    return change


def link_to_nowhere(name: str) -> Change:
    def change(directory: Path) -> None:
        (directory / name).unlink(missing_ok=True)
        (directory / name).symlink_to(directory / "no such directory" / "no such file")

    return change


def pipe_named(name: str) -> Change:
    def change(directory: Path) -> None:
        (directory / name).unlink(missing_ok=True)
        os.mkfifo(directory / name)

    return change


def link_to_a_copy(name: str) -> Change:
    def change(directory: Path) -> None:
        elsewhere = directory.with_name("elsewhere")
        elsewhere.mkdir()
        (directory / name).rename(elsewhere / name)
        (directory / name).symlink_to(elsewhere / name)

    return change


def sized(name: str, size: int, fill: bytes = b"\0") -> Change:
    def change(directory: Path) -> None:
        data = (directory / name).read_bytes()
        (directory / name).write_bytes(data[:size] if size < len(data) else data + fill * (size - len(data)))

    return change


def both(*changes: Change) -> Change:
    def change(directory: Path) -> None:
        for each in changes:
            each(directory)

    return change


NEXT = "transaction_000000000000009.log"
BETWEEN = "transaction_000000000000005.log"
LATER = "snapshot_000000000000006.dat"
AHEAD = "snapshot_000000000000900.dat"
MIB = 1 << 20

FILES: list[tuple[str, Change, Refusal, str]] = [
    # The file of a name is not there.
    ("the older snapshot is missing", without(SNAPSHOT_0), None, ""),
    ("the newer snapshot is missing", without(SNAPSHOT_4), None, ""),
    ("all snapshots are missing", without(SNAPSHOT_0, SNAPSHOT_4), MissingActions, "snapshot"),
    ("the lock is missing", without("lock"), None, ""),
    # It is of another place.
    ("a segment under a later name, too", copied(SEGMENT, BETWEEN), DamagedJournal, BETWEEN),
    ("a segment under the next name, too", copied(SEGMENT, NEXT), DamagedJournal, NEXT),
    ("a segment under a later name only", both(copied(SEGMENT, NEXT), without(SEGMENT)), DamagedJournal, NEXT),
    ("a snapshot under a later name, too", copied(SNAPSHOT_4, LATER), None, ""),
    ("a snapshot under an earlier name, too", copied(SNAPSHOT_4, "snapshot_000000000000002.dat"), None, ""),
    ("a snapshot under a later name only", both(copied(SNAPSHOT_4, LATER), without(SNAPSHOT_4)), None, ""),
    ("snapshots exchanged", swapped(SNAPSHOT_0, SNAPSHOT_4), DamagedSnapshot, SNAPSHOT_4),
    ("a snapshot in place of a segment", copied(SNAPSHOT_4, SEGMENT), ForeignDirectory, SEGMENT),
    ("a segment in place of a snapshot", copied(SEGMENT, SNAPSHOT_4), None, ""),
    ("segments for snapshots", both(copied(SEGMENT, SNAPSHOT_4), copied(SEGMENT, SNAPSHOT_0)), DamagedSnapshot, SNAPSHOT_4),
    ("a segment in place of the manifest", copied(SEGMENT, MANIFEST), DamagedManifest, MANIFEST),
    # It is not as long as it was.
    ("an empty segment", sized(SEGMENT, 0), DamagedJournal, SEGMENT),
    ("a segment without all of its header", sized(SEGMENT, 63), DamagedJournal, SEGMENT),
    ("an empty segment behind the last", holding(NEXT, b""), DamagedJournal, NEXT),
    ("a segment of zeros behind the last", holding(NEXT, bytes(MIB)), ForeignDirectory, NEXT),
    ("a segment cut behind its last frame", sized(SEGMENT, 4096), None, ""),
    ("a segment with zeros behind it", sized(SEGMENT, MIB + 5000), None, ""),
    ("a segment with garbage behind it", sized(SEGMENT, MIB + 5000, b"\xa5"), None, ""),
    ("an empty snapshot", sized(SNAPSHOT_4, 0), None, ""),
    ("a snapshot cut short", sized(SNAPSHOT_4, 100), None, ""),
    ("a snapshot with zeros behind it", sized(SNAPSHOT_4, 1000), None, ""),
    (
        "only snapshots of a wrong size",
        both(sized(SNAPSHOT_4, 1000, b"\xa5"), sized(SNAPSHOT_0, 0)),
        DamagedSnapshot,
        SNAPSHOT_4,
    ),
    ("an empty manifest", sized(MANIFEST, 0), DamagedManifest, MANIFEST),
    ("a manifest cut short", sized(MANIFEST, 100), DamagedManifest, MANIFEST),
    ("a manifest with garbage behind it", sized(MANIFEST, 300, b"\xa5"), DamagedManifest, MANIFEST),
    # It is not a file.
    ("a directory for a manifest", directory_named(MANIFEST), DamagedManifest, MANIFEST),
    ("a directory for a segment", directory_named(SEGMENT), DamagedJournal, SEGMENT),
    ("a directory for the next segment", directory_named(NEXT), DamagedJournal, NEXT),
    ("a directory for a snapshot", directory_named(SNAPSHOT_4), None, ""),
    ("directories for snapshots", both(directory_named(SNAPSHOT_4), directory_named(SNAPSHOT_0)), DamagedSnapshot, SNAPSHOT_4),
    ("a link to nowhere for a manifest", link_to_nowhere(MANIFEST), DamagedManifest, MANIFEST),
    ("a link to nowhere for a segment", link_to_nowhere(SEGMENT), DamagedJournal, SEGMENT),
    ("a link to nowhere for the next segment", link_to_nowhere(NEXT), DamagedJournal, NEXT),
    ("a link to nowhere for a snapshot", link_to_nowhere(SNAPSHOT_4), None, ""),
    ("a link to itself for a segment", lambda directory: (directory / NEXT).symlink_to(NEXT), DamagedJournal, NEXT),
    ("a pipe for a manifest", pipe_named(MANIFEST), DamagedManifest, MANIFEST),
    ("a pipe for a segment", pipe_named(SEGMENT), DamagedJournal, SEGMENT),
    ("a pipe for a snapshot", pipe_named(SNAPSHOT_4), None, ""),
    ("a link to the segment", link_to_a_copy(SEGMENT), None, ""),
    ("a link to the snapshot", link_to_a_copy(SNAPSHOT_4), None, ""),
    ("a link to the manifest", link_to_a_copy(MANIFEST), None, ""),
    # Its name is not one that is ever written.
    *[
        (f"a file named {name:.40}", holding(name, b"somebody's own"), None, "")
        for name in (
            "transaction_x.log",
            "transaction_.log",
            "transaction_9.log",
            "transaction_0000000000000009.log",
            "transaction_٠٠٠٠٠٠٠٠٠٠٠٠٠٠٩.log",
            "transaction_00000000000009.log",
            "transaction_000000000000009.log~",
            "transaction_-00000000000009.log",
            f"transaction_{10**30}.log",
            f"transaction_{'9' * 230}.log",
            "snapshot_x.dat",
            "snapshot_9.dat",
            "snapshot_0000000000000900.dat",
            "snapshot_٠٠٠٠٠٠٠٠٠٠٠٠٩٠٠.dat",
            f"snapshot_{1 << 64}.dat",
            f"snapshot_{'9' * 230}.dat",
            "notes.txt",
        )
    ],
    ("a directory named like a note", directory_named("notes"), None, ""),
]


@pytest.mark.parametrize(("change", "refusal", "named"), [pytest.param(*row[1:], id=row[0]) for row in FILES])
def test_a_file_is_not_what_it_was(short: Path, change: Change, refusal: Refusal, named: str) -> None:
    change(short)
    judge(short, SHORT, refusal, named)


# -- several segments


@pytest.mark.parametrize("place", [0, 1], ids=["first", "second"])
@pytest.mark.parametrize(
    "how", ["missing", "empty", "a directory", "a link to nowhere", "cut in half", "cut at its last frame", "of zeros"]
)
def test_a_segment_that_is_not_the_last_is_needed(long: Path, place: int, how: str) -> None:
    path = segments(long)[place]
    first = int(path.stem.split("_")[1])
    final = blocks(path.read_bytes())[-1][-1]
    change, refusal, named = {
        "missing": (without(path.name), MissingActions, ""),
        "empty": (sized(path.name, 0), DamagedJournal, path.name),
        "a directory": (directory_named(path.name), DamagedJournal, path.name),
        "a link to nowhere": (link_to_nowhere(path.name), DamagedJournal, path.name),
        "cut in half": (sized(path.name, path.stat().st_size // 2), DamagedJournal, path.name),
        "cut at its last frame": (sized(path.name, final.start), MissingActions, segments(long)[place + 1].name),
        "of zeros": (holding(path.name, bytes(MIB)), ForeignDirectory, path.name),
    }[how]
    change(long)
    for problem in refused(long, refusal, named):
        if isinstance(problem, MissingActions):
            assert problem.first == (first if how == "missing" else final.index)
        if isinstance(problem, DamagedJournal) and how != "cut in half":
            assert problem.index == first


def test_what_overlaps_is_damage_by_its_name(long: Path) -> None:
    one, two, *_ = segments(long)
    between = long / f"transaction_{int(two.stem.split('_')[1]) - 1:015d}.log"
    data = bytearray(one.read_bytes())
    shutil.copy(one, between)
    refused(long, DamagedJournal, between.name)
    data[28:36] = int(between.stem.split("_")[1]).to_bytes(8, "little")
    data[60:64] = zlib.crc32(data[:60]).to_bytes(4, "little")
    between.write_bytes(data)
    refused(long, DamagedJournal, between.name)


def test_a_segment_of_another_system_is_refused_wherever_it_lies(long: Path, originals: Originals) -> None:
    theirs = (originals.other / SEGMENT).read_bytes()
    for name in (segments(long)[0].name, segments(long)[1].name, segments(long)[-1].name, "transaction_000000000009999.log"):
        before = (long / name).read_bytes() if (long / name).exists() else None
        (long / name).write_bytes(theirs)
        refused(long, ForeignDirectory, name)
        (long / name).unlink()
        if before is not None:
            (long / name).write_bytes(before)
    assert replayed(long) == LONG


@pytest.mark.parametrize("name", [SNAPSHOT_4, "snapshot_000000000000007.dat"])
def test_a_snapshot_of_another_system_is_refused(short: Path, originals: Originals, name: str) -> None:
    shutil.copy(originals.other / SNAPSHOT_4, short / name)
    refused(short, ForeignDirectory, name)


def test_the_manifest_of_another_system_is_refused(short: Path, originals: Originals) -> None:
    shutil.copy(originals.other / MANIFEST, short / MANIFEST)
    refused(short, ForeignDirectory, SEGMENT)


# -- directories that are copied in part


def test_without_its_manifest_a_directory_is_not_begun_anew(short: Path) -> None:
    (short / MANIFEST).unlink()
    before = contents(short)
    with pytest.raises(ForeignDirectory, match="Nothing was changed") as refusal:
        opened(short)
    assert MANIFEST in str(refusal.value)
    with pytest.raises(UsageError, match="Nothing was changed"):
        replayed(short)
    assert contents(short) == before


@pytest.mark.parametrize("left", [SEGMENT, SNAPSHOT_0, SNAPSHOT_4])
def test_any_one_file_of_a_system_keeps_a_directory_from_being_begun_anew(short: Path, left: str) -> None:
    for path in short.iterdir():
        if path.name != left:
            path.unlink()
    before = contents(short)
    with pytest.raises(ForeignDirectory, match="Nothing was changed"):
        opened(short)
    assert contents(short) == before and not (short / "lock").exists()


def test_a_copy_that_was_not_finished_is_refused_unless_it_is_whole_or_empty(short: Path) -> None:
    names = sorted(path.name for path in short.iterdir() if path.name not in ("lock", "digests.dat"))
    assert names == [MANIFEST, SNAPSHOT_0, SNAPSHOT_4, SEGMENT]
    for reached in (1, 2, 3):
        part = short.with_name(f"the first {reached}")
        part.mkdir()
        for name in names[:reached]:
            shutil.copy(short / name, part / name)
        if reached == 1:
            assert opened(part) == [], "what a crash leaves of a system that was never used"
        else:
            refused(part, MissingActions, "segment")
    for reached in (1, 2, 3):
        # In another order: a copy may begin with the segments.
        part = short.with_name(f"the last {reached}")
        part.mkdir()
        for name in names[-reached:]:
            shutil.copy(short / name, part / name)
        before = contents(part)
        with pytest.raises(ForeignDirectory, match=MANIFEST):
            opened(part)
        assert contents(part) == before


@pytest.mark.parametrize("what", [directory_named, link_to_nowhere, pipe_named], ids=["directory", "link", "pipe"])
def test_without_a_manifest_what_is_no_file_is_not_looked_into(short: Path, what: Callable[[str], Change]) -> None:
    (short / MANIFEST).unlink()
    what(SEGMENT)(short)
    before = contents(short)
    with pytest.raises(ForeignDirectory, match="Nothing was changed"):
        opened(short)
    assert contents(short) == before


@pytest.mark.parametrize("release", ["0.4.6", "0.7.0"])
def test_the_directory_of_an_older_release_is_refused_with_the_way_to_bring_it_over(tmp_path: Path, release: str) -> None:
    old = Path(shutil.copytree(GOLDEN / f"coopy-{release}", tmp_path / "data"))
    before = contents(old)
    with pytest.raises(ForeignDirectory, match="Nothing was changed") as refusal:
        opened(old)
    assert f"coopy {release}" in str(refusal.value)
    assert f"`coopy import {old} NEW --class module:Class`" in str(
        refusal.value
    ) and "coopy.tools.importing.import_directory" in str(refusal.value)
    assert contents(old) == before and not (old / "lock").exists()


def test_a_manifest_alone_is_a_system_that_was_never_used(short: Path) -> None:
    # So a crash leaves a directory that was just begun.
    for path in short.iterdir():
        if path.name != MANIFEST:
            path.unlink()
    kept_from_the_start = contents(short)
    assert opened(short) == []
    assert contents(short)[MANIFEST] == kept_from_the_start[MANIFEST]


def test_last_segments_that_were_not_copied_leave_the_state_of_that_time(long: Path) -> None:
    # Nothing in the others can tell of them: this is what a copy from earlier looks like.
    paths = segments(long)
    for number in range(len(paths) - 1, 0, -1):
        first = int(paths[number].stem.split("_")[1])
        paths[number].unlink()
        assert replayed(long) == LONG[: first - 1]
    kept(long, LONG[: int(paths[1].stem.split("_")[1]) - 1])


# -- a refusal comes before any change


def torn(directory: Path, *, at: int, number: int = -1) -> None:
    """A segment, the last one, ends in the middle of a frame, as a killed machine leaves it."""
    path = segments(directory)[number]
    data = bytearray(path.read_bytes())
    final = blocks(bytes(data))[-1][at]
    data[final.end - 8 :] = bytes(len(data) - final.end + 8)
    path.write_bytes(data)


def shortened(directory: Path, behind: int) -> None:
    """The last segment is so many bytes longer than its frames."""
    path = segments(directory)[-1]
    os.truncate(path, blocks(path.read_bytes())[-1][-1].end + behind)


def torn_before(directory: Path) -> None:
    """What a power cut can leave if nothing is synced: the last segment but one ends before the last begins."""
    before, last = segments(directory)[-2:]
    torn(directory, at=-1, number=-2)
    data = bytearray(last.read_bytes())
    for block in blocks(bytes(data)):
        for at in block:
            data[at.start + 14 : at.start + 22] = bytes(8)
        rechained(data, block)
    last.write_bytes(data)


MENDED: dict[str, Change] = {
    "torn": lambda directory: torn(directory, at=-1),
    "cut inside its last frame": lambda directory: shortened(directory, -8),
    "cut behind its last frame": lambda directory: shortened(directory, 0),
    "torn before the last segment": torn_before,
}


@pytest.mark.parametrize("how", MENDED)
@pytest.mark.parametrize("damage", ["snapshot", "segment", "missing"])
def test_a_torn_end_is_not_mended_where_something_else_is_damaged(long: Path, damage: str, how: str) -> None:
    MENDED[how](long)
    first = segments(long)[0]
    if damage == "snapshot":
        (long / SNAPSHOT_0).write_bytes((long / SNAPSHOT_0).read_bytes()[:-1])
        refused(long, DamagedSnapshot, SNAPSHOT_0)
    elif damage == "segment":
        data = bytearray(first.read_bytes())
        data[5000] ^= 1
        first.write_bytes(data)
        refused(long, DamagedJournal, first.name)
    else:
        # The first: of the others a power cut can take the end, and with that all behind it, if nothing was synced.
        first.unlink()
        refused(long, MissingActions, "")


class Slow(Calls):
    """Notes which files are synced; those that roll over are so only when they may."""

    def __init__(self) -> None:
        self.paths: dict[int, str] = {}
        self.synced: list[str] = []
        self.may = threading.Event()

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        fd = super().open(path, flags, mode)
        self.paths[fd] = os.path.basename(path).removesuffix(".tmp")
        return fd

    def sync_data(self, fd: int) -> None:
        path = self.paths[fd]
        if threading.current_thread().daemon:
            self.may.wait(60)
        super().sync_data(fd)
        self.synced.append(path)


def rolled_over(calls: Calls, directory: Path, durability: str) -> tuple[Book, list[str]]:
    """A system of four segments, still open."""
    book: Book = open_with(calls, Book, directory, durability=durability)
    while len(segments(directory)) < 4:
        book.add("z" * 400_000)
    return book, [path.name for path in segments(directory)]


def test_a_buffered_system_is_closed_when_all_its_segments_are_synced(tmp_path: Path) -> None:
    calls = Slow()
    book, names = rolled_over(calls, tmp_path, "buffered")
    calls.synced.clear()
    closing = threading.Thread(target=control(book).close)
    closing.start()
    closing.join(0.1)
    assert closing.is_alive() and control(book).durable == 0, "nothing that rolled over is on the disk"
    calls.may.set()
    closing.join(60)
    assert not closing.is_alive() and control(book).durable == control(book).index
    assert list(dict.fromkeys(calls.synced)) == names, "one that is synced says so of all before it"


@pytest.mark.parametrize("durability", ["sync", "buffered"])
def test_what_a_killed_process_had_not_synced_is_synced_by_who_opens(tmp_path: Path, durability: str) -> None:
    left = Slow()
    book, names = rolled_over(left, tmp_path / "data", "buffered")
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    left.may.set()
    control(book).close()
    calls = Slow()
    again = open_with(calls, Book, tmp_path / "copy", durability=durability)
    assert [name for name in calls.synced if name in names] == names
    assert again.lines == replayed(tmp_path / "data")
    again.close()


@pytest.mark.parametrize("torn_one", [-4, -3, -2])
def test_behind_the_first_torn_segment_all_is_set_aside(tmp_path: Path, torn_one: int) -> None:
    left = Slow()
    book, names = rolled_over(left, tmp_path / "data", "buffered")
    directory = Path(shutil.copytree(tmp_path / "data", tmp_path / "copy"))
    left.may.set()
    control(book).close()
    torn(directory, at=-1, number=torn_one)
    count = int(names[torn_one + 1].split("_")[1].split(".")[0]) - 2
    kept(directory, ["z" * 400_000] * count)
    tail, *moved = sorted(path.name for path in directory.glob("aside-*/*"))
    assert tail.startswith(f"{names[torn_one]}.from-")
    assert moved == names[torn_one + 1 :]


def test_a_torn_end_is_kept_aside_before_it_is_cut_off(long: Path) -> None:
    torn(long, at=-1)
    path = segments(long)[-1]
    end = blocks(path.read_bytes())[-1][-1].start
    left = path.read_bytes()[end:].rstrip(b"\0")
    kept(long, replayed(long))
    assert [(aside.name, aside.read_bytes()) for aside in long.glob("aside-*/*")] == [(f"{path.name}.from-{end}", left)]


@pytest.mark.parametrize("how", MENDED)
def test_an_end_is_mended_by_the_first_action_and_not_by_looking(long: Path, how: str) -> None:
    MENDED[how](long)
    before = contents(long)
    lines = replayed(long)
    assert lines == LONG[: len(lines)] and len(lines) >= len(LONG) - 5
    for _ in range(2):
        with init_system(Book, long, fork=False, validation="off") as book:
            assert book.lines == lines
            control(book)._system.abandon()  # type: ignore[attr-defined]
        assert contents(long) == before
    kept(long, lines)
    assert contents(long) != before


class NoRoom(Calls):
    """A disk that is full for a while."""

    full = False

    def allocate(self, fd: int, offset: int, size: int) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().allocate(fd, offset, size)


@pytest.mark.parametrize("how", ["cut inside its last frame", "cut behind its last frame"])
def test_an_end_that_finds_no_room_to_be_mended_is_mended_when_there_is_some(long: Path, how: str) -> None:
    MENDED[how](long)
    lines = replayed(long)
    calls = NoRoom()
    calls.full = True
    book = open_with(calls, Book, long)
    for _ in range(2):
        with pytest.raises(JournalError, match="Nothing was recorded"):
            book.add("refused")
        assert book.lines == lines
    calls.full = False
    book.add("afterwards")
    book.close()
    assert opened(long) == replayed(long) == [*lines, "afterwards"]


@pytest.mark.parametrize("data", [b"", b"garbage" * 100, None], ids=["empty", "garbage", "a directory"])
def test_a_damaged_snapshot_behind_the_end_of_the_journal_has_nothing_to_stand_in_for_it(
    short: Path, data: bytes | None
) -> None:
    # Its name says that there were 900 actions; the journal knows of 8.
    if data is None:
        (short / AHEAD).mkdir()
    else:
        (short / AHEAD).write_bytes(data)
    for problem in refused(short, MissingActions, AHEAD):
        assert isinstance(problem, MissingActions)
        assert (problem.first, problem.last) == (9, 900)


def test_a_time_between_the_end_of_the_journal_and_a_snapshot_that_was_ahead_of_it_is_not_made_up(short: Path) -> None:
    # A power cut may take the end of a journal that was not synced, and leave the snapshot, which was.
    (short / SNAPSHOT_4).rename(short / AHEAD)
    (short / AHEAD).write_bytes(reindexed((short / AHEAD).read_bytes(), 900))
    assert replayed(short) == SHORT[:4], "the state that this snapshot has"
    for until in (9, 899):
        with pytest.raises(MissingActions, match=AHEAD):
            coopy.replay(Book, short, until=until)
    assert coopy.replay(Book, short, until=8).lines == SHORT
    with init_system(Book, short, fork=False, validation="off") as book:
        book.add("afterwards")
        assert control(book).index == 901
        with pytest.raises(MissingActions) as refusal:
            control(book).replay(until=900 - 1)
        assert (refusal.value.first, refusal.value.last) == (9, 900)
    assert opened(short) == replayed(short) == [*SHORT[:4], "afterwards"]


def reindexed(snapshot: bytes, index: int) -> bytes:
    head = snapshot[:28] + index.to_bytes(8, "little") + snapshot[36:60]
    return head + zlib.crc32(head).to_bytes(4, "little") + snapshot[64:]


def test_snapshots_without_any_segment_are_refused_as_a_copy_that_was_not_finished(short: Path) -> None:
    # The first segment is durable before the first snapshot, and the last is never deleted.
    (short / SEGMENT).unlink()
    refused(short, MissingActions, "segment")


@pytest.mark.parametrize("what", [directory_named, link_to_nowhere, pipe_named], ids=["directory", "link", "pipe"])
def test_a_lock_that_is_no_file_is_named(short: Path, what: Callable[[str], Change]) -> None:
    what("lock")(short)
    assert replayed(short) == SHORT, "a reader takes no lock"
    before = contents(short)
    with pytest.raises(StorageError, match="Nothing was changed") as refusal:
        opened(short)
    assert "lock" in str(refusal.value)
    assert contents(short) == before


def test_bytes_of_the_lock_that_are_no_text_name_no_holder(short: Path) -> None:
    with init_system(Book, short, fork=False, validation="off"):
        (short / "lock").write_bytes(b"\xff\xfe\xfd")
        with pytest.raises(DirectoryInUse) as refusal:
            opened(short)
    assert refusal.value.pid in (None, os.getpid()), "the kernel may know it"


@pytest.mark.parametrize(
    "name", ["transaction_000000000000009.log.tmp", "snapshot_000000000000009.dat.77.tmp", "coopy.json.tmp"]
)
def test_a_directory_with_the_name_of_something_half_written_is_left_alone(short: Path, name: str) -> None:
    (short / name).mkdir()
    kept(short, SHORT)
    assert (short / name).is_dir()


@pytest.mark.parametrize("kind", ["file", "link to nowhere"])
def test_a_base_directory_that_is_no_directory_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "data"
    if kind == "file":
        path.write_bytes(b"somebody's own")
    else:
        path.symlink_to(tmp_path / "nowhere" / "else")
    before = contents(tmp_path)
    with pytest.raises((StorageError, UsageError), match="Nothing was changed"):
        opened(path)
    with pytest.raises((StorageError, UsageError), match="Nothing was changed"):
        replayed(path)
    assert contents(tmp_path) == before
