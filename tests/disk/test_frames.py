"""Frames of one record and of several: what they say, what is none, and where they lie in a journal."""

from __future__ import annotations

import random
import struct
import sys
import zlib
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from coopy import DamagedJournal
from coopy.disk import directory, frame
from coopy.disk.fs import Calls
from coopy.disk.journal import Journal
from coopy.disk.segment import BLOCK, frames_upto, records_behind
from coopy.ground.action import WITHDRAWN, amendment, header
from coopy.ground.record import WRAP, joined
from coopy.values.codec import Codec, decode_joined

SYSTEM = bytes(16)
encode = Codec(dict).encode_call


def record(number: int, text: str = "") -> bytes:
    """Of an action at the instant ``number``."""
    return header(number, 0, 0) + encode("put", (text,), {})[0]


def sized(number: int, size: int) -> bytes:
    """A record of so many bytes."""
    found = record(number, "x" * (2 * size - len(record(number, "x" * size))))
    assert len(found) == size
    return found


def small(count: int, first: int = 1) -> list[bytes]:
    return [record(number, "x" * (number % 5)) for number in range(first, first + count)]


AMENDMENT = amendment(1, 0, WITHDRAWN)


def together(records: list[bytes], index: int = 7, synced: int = 3) -> bytes:
    data, sizes = joined(records)
    return frame.pack_together(data[len(WRAP) :], sizes, index, synced)


# -- one frame


def test_a_record_that_comes_alone_has_a_frame_of_its_own() -> None:
    assert together([record(1)]) == frame.pack(record(1), 7, 3)


def test_records_that_come_together_lie_as_the_table_says() -> None:
    one, two, three = record(1, "a"), record(2, "longer"), record(3)
    data = together([one, two, three], index=0x0102030405060708, synced=0x1112131415161718)
    body = one + b"\x43\x0d" + two + b"\x43\x0d" + three
    assert data[0] == 0x42
    assert data[1:5] == struct.pack("<I", 28 + 3 * 4 + 13)
    assert data[5:9] == b"\xf7\x43\x6f\xf7"
    assert data[9:13] == struct.pack("<I", len(body))
    assert data[13:29] == bytes([8, 7, 6, 5, 4, 3, 2, 1, 0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11])
    assert data[29:45] == struct.pack("<4I", 3, len(one) + 2, len(two) + 2, len(three) + 2)
    assert data[45:-6] == body
    assert data[-6:] == b"\x4a" + struct.pack("<I", zlib.crc32(data[:-5], frame.SEED)) + b"\x30"


@pytest.mark.parametrize("count", [1, 2, 3, 64])
def test_a_frame_says_what_it_holds_and_gives_it_back(count: int) -> None:
    records = small(count)
    data = together(records)
    behind = b"before" + data + b"behind"
    found = frame.whole(behind, 6)
    assert found is not None
    assert (found.first, found.index, found.synced) == (7, 6 + count, 3)
    assert found.length == len(data) == frame.length_together(count, len(joined(records)[0]))
    assert found.begin + found.size + frame.END_BYTES == found.length
    assert found.records(behind, 6) == records
    assert found.follows(6) and not found.follows(7) and not found.follows(6 + count) and not found.is_amendment
    assert frame.intact(data) and frame.whole(memoryview(data), 0) is not None


def test_an_amendment_comes_behind_the_last_record_of_those_together() -> None:
    of_the_last, of_another = frame.pack(AMENDMENT, 9, 3), frame.pack(AMENDMENT, 8, 3)
    data = together(small(3), index=7)
    assert frames_upto(data + of_the_last, None) == (len(data + of_the_last), 9)
    assert frames_upto(data + of_another, None) == (len(data), 9)


def test_records_together_are_no_amendment_however_few_bytes_they_have() -> None:
    """No writer of ours has records that short."""
    data = together([bytes(13), b""], index=7)
    found = frame.whole(data, 0)
    assert found is not None and found.size == len(AMENDMENT)
    assert not found.is_amendment and found.follows(6) and not found.follows(7)


def test_frames_of_one_record_and_of_several_chain() -> None:
    data = [together(small(2), 1), frame.pack(record(3), 3, 1), together(small(64, 4), 4), together(small(3, 68), 68)]
    assert frame.intact(b"".join(data))
    assert frames_upto(b"".join(data), None) == (sum(map(len, data)), 70)
    assert frames_upto(b"".join(data), 3) == (len(data[0] + data[1]), 3)
    assert frames_upto(b"".join(data), 66) == (len(data[0] + data[1]), 3), "a frame that holds later actions, too"
    assert frames_upto(data[0] + data[2], None) == (len(data[0]), 2), "an index is left out"


def test_frames_that_touch_are_to_pickle_records_that_are_joined() -> None:
    records = [*small(5), AMENDMENT, *small(3, 6)]
    data = together(records[:4], 1) + frame.pack(records[4], 5, 0) + frame.pack(AMENDMENT, 5, 0) + together(records[6:], 6)
    headers, names, arguments = decode_joined(data)
    assert [each[-13:] for each in headers] == [each[:13] for each in records]
    assert (names, arguments) == decode_joined(joined(records)[0])[1:]


def test_the_records_behind_an_index_are_those_of_its_frame_and_of_all_that_follow() -> None:
    records = small(9)
    frames = [together(records[:2], 1), together(records[2:6], 3), frame.pack(AMENDMENT, 6, 0), together(records[6:], 7)]
    data = b"".join(frames)
    assert records_behind(data, 2) == b"".join(frames[1:])
    assert records_behind(data, 4) == joined(records[4:6])[0] + frames[2] + frames[3]
    assert records_behind(data, 5) == joined(records[5:6])[0] + frames[2] + frames[3]
    assert records_behind(data, 6) == frames[3], "an amendment belongs to its action"
    assert records_behind(data, 9) == b""


def test_any_bit_of_a_frame_of_several_flipped_is_known_alone_and_between_whole_ones() -> None:
    before, data, behind = frame.pack(record(1), 1, 0), together(small(3, 2), 2), together(small(2, 5), 5)
    assert frame.intact(before + data + behind)
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        assert frame.whole(changed, 0) is None, bit
        for neighbours in (changed, changed + behind, before + changed, before + changed + behind):
            assert not frame.intact(bytes(neighbours)), bit


def test_a_frame_of_several_that_is_cut_anywhere_is_not_whole() -> None:
    data = together(small(3))
    for size in range(len(data)):
        assert frame.whole(data[:size], 0) is None
        assert frame.whole(data[:size].ljust(2 * len(data), b"\0"), 0) is None
        assert not frame.intact(data[:size])
        assert (frame.head(data[:size], 0) is None) == (size < frame.MANY_HEAD.size)
        assert frame.head(data, len(data) + size) is None


def resealed(data: bytes, changes: dict[int, bytes]) -> bytes:
    """A frame with other bytes at some places, and the checksum that it has then."""
    changed = bytearray(data)
    for at, value in changes.items():
        changed[at : at + len(value)] = value
    changed[-5:-1] = zlib.crc32(changed[:-5], frame.SEED).to_bytes(4, "little")
    return bytes(changed)


def number(value: int) -> bytes:
    return struct.pack("<I", value)


RECORDS = small(3)
SIZES = [len(each) + len(WRAP) for each in RECORDS]
SIZE = sum(SIZES) - len(WRAP)
NO_HEADS = {
    "count 0": {29: number(0)},
    "count 0, and fields that fit it": {1: number(41), 29: number(0)},
    "count 1": {29: number(1)},
    "count 1, and fields that fit it": {1: number(45), 29: number(1)},
    "count 2 and fields of 3": {29: number(2)},
    "count 4 and fields of 3": {29: number(4)},
    "fields of 4 and count 3": {1: number(57)},
    "fields one less": {1: number(52)},
    "a count for which there are no fields": {29: number((1 << 32) - 1)},
    "a count of which the fields would wrap": {1: number(53), 29: number(3 + (1 << 30))},
    "another mark": {5: b"\xf7Co\xf6"},
}
NOT_WHOLE = {
    "sizes of more": {33: number(SIZES[0] + 1)},
    "sizes of less": {41: number(SIZES[2] - 1)},
    "sizes of nothing": {33: bytes(12)},
    "sizes that would wrap": {33: number(SIZES[0] + (1 << 31)), 37: number(SIZES[1] + (1 << 31))},
    "a size of more": {9: number(SIZE + 1)},
    "a size of less": {9: number(SIZE - 1)},
    "a size of nothing": {9: number(0)},
    "a huge size": {9: number((1 << 32) - 1)},
    "a huge count, and fields that fit it": {1: number(41 + (4 << 29)), 29: number(1 << 29)},
    "a count and fields that take a part of the first record": {1: number(57), 29: number(4)},
    "a count and fields that take the last size for a record": {1: number(49), 29: number(2), 9: number(SIZE + 4)},
}


@pytest.mark.parametrize("changes", NO_HEADS.values(), ids=NO_HEADS)
def test_what_no_writer_writes_is_no_head_whatever_the_checksum_says(changes: dict[int, bytes]) -> None:
    data = resealed(together(RECORDS), changes)
    assert frame.head(data, 0) is None
    assert frame.whole(data, 0) is None
    assert not frame.intact(data)


@pytest.mark.parametrize("changes", NOT_WHOLE.values(), ids=NOT_WHOLE)
def test_fields_that_do_not_fit_each_other_are_not_whole_whatever_the_checksum_says(changes: dict[int, bytes]) -> None:
    for behind in (b"", together(small(64, 20), 10), bytes(1000)):
        assert frame.whole(resealed(together(RECORDS), changes) + behind, 0) is None


def test_a_machine_that_puts_the_high_byte_first_writes_and_reads_the_same_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    records = small(3)
    data, sizes = joined(records)
    here = together(records)
    there = "big" if sys.byteorder == "little" else "little"
    as_there = array("I", sizes)
    as_there.byteswap()
    monkeypatch.setattr(sys, "byteorder", there)
    assert frame.pack_together(data[len(WRAP) :], as_there, 7, 3) == here, "the low byte first, whatever has written it"
    as_before = sizes.tobytes()
    mirrored = frame.pack_together(data[len(WRAP) :], sizes, 7, 3)
    assert mirrored[33:45] == b"".join(number(size)[::-1] for size in sizes)
    found = frame.whole(mirrored, 0)
    assert found is not None and found.records(mirrored, 0) == records
    assert sizes.tobytes() == as_before, "they are the caller's"


# -- frames among other bytes


def places_one_by_one(data: bytes) -> list[int]:
    return [
        at
        for at in range(len(data))
        if data[at : at + 2] == frame.MARK or data[at + frame.MANY_MARK_AT :][: len(frame.MANY_MARK)] == frame.MANY_MARK
    ]


def in_order(places: Iterator[int]) -> list[int]:
    found = list(places)
    assert found == sorted(found)
    return sorted(set(found))


def backwards(places: Iterator[int]) -> list[int]:
    found = list(places)
    assert found == sorted(found, reverse=True)
    return sorted(set(found))


def test_frames_of_both_kinds_are_found_from_either_end() -> None:
    frames = [frame.pack(record(1), 1, 0), together(small(2, 2), 2), together(small(64, 4), 4), frame.pack(record(68), 68, 0)]
    data = b"garbage" + b"".join(frames)
    starts = {7 + sum(map(len, frames[:place])) for place in range(4)}
    assert starts <= set(frame.places(data))
    assert starts <= set(frame.places_backwards(data))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"C",
        b"C!",
        b"C!!C!C",
        frame.MANY_MARK,
        b"1234" + frame.MANY_MARK,
        b"12345" + frame.MANY_MARK,
        b"12345\xf7Co",
        b"C!345" + frame.MANY_MARK,
        b"12345\xf7Co\xf7Co\xf7",
        b"12345\xf7Co\xf7C!",
        b"12345" + 3 * frame.MANY_MARK + b"C!",
    ],
)
def test_every_place_where_a_frame_may_begin_is_found_and_no_other(data: bytes) -> None:
    assert in_order(frame.places(data)) == backwards(frame.places_backwards(data)) == places_one_by_one(data)


def test_every_place_is_found_in_bytes_that_are_full_of_marks() -> None:
    chance = random.Random(1)
    for _ in range(300):
        data = b"".join(chance.choice((frame.MARK, frame.MANY_MARK, b"C", b"\xf7", b"\xf7Co", b"12345")) for _ in range(20))
        assert in_order(frame.places(data)) == backwards(frame.places_backwards(data)) == places_one_by_one(data)


# -- frames in a journal


class Lies(NamedTuple):
    """A frame, and where it does."""

    path: str
    start: int
    end: int
    said: frame.Frame


def opened(basedir: Path, *, write: bool = True, durability: str = "sync") -> Journal:
    return Journal(Calls(), str(basedir), SYSTEM, write=write, durability=durability, segment_bytes=1)


def layout(basedir: Path) -> list[Lies]:
    """The frames of a journal as they lie in its files: those that are whole, up to the first that is not, in each block."""
    found = []
    for first in directory.segments([path.name for path in basedir.iterdir()]):
        path = directory.segment_path(str(basedir), first)
        data = Path(path).read_bytes()
        start = 64
        while start < len(data):
            offset = start
            while (one := frame.whole(data, offset)) is not None:
                found.append(Lies(path, offset, offset + one.length, one))
                offset += one.length
            start = -(-max(offset, start + 1) // BLOCK) * BLOCK
    return found


def read(journal: Journal, after: int = 0) -> list[tuple[int, bytes, object, object]]:
    """Index, header, name and arguments of each record; an amendment has the index of its action."""
    found = []
    for first, data in journal.read(after):
        headers, names, arguments = decode_joined(data)
        index = first - (arguments[0] is not None)
        for head, name, args in zip(headers, names, arguments, strict=True):
            index += args is not None
            found.append((index, head[-13:], name, args))
    return found


def proven(basedir: Path, journal: Journal, records: list[bytes]) -> list[Lies]:
    """The journal holds these records, is read from each of them on, and says where each lies. Its frames."""
    lying = layout(basedir)
    assert [each for one in lying for each in one.said.records(Path(one.path).read_bytes(), one.start)] == records
    assert all(one.said.index - one.said.first < frame.TOGETHER_MAX for one in lying)
    assert all(one.start // BLOCK == (one.end - 1) // BLOCK or one.start % BLOCK == 0 or one.start == 64 for one in lying)
    again = opened(basedir, write=False)
    for each in (journal, again):
        everything = read(each)
        assert [head for _, head, _, _ in everything] == [record[:13] for record in records]
        assert [index for index, _, _, args in everything if args is not None] == list(range(1, each.last + 1))
        for after in range(each.last + 1):
            assert read(each, after) == [item for item in everything if item[0] > after], after
        for one in lying:
            if not one.said.is_amendment:
                for index in range(one.said.first, one.said.index + 1):
                    assert each.where(index) == f"{one.path}, byte {one.start}", index
    assert again.last == journal.last
    again.close()
    return lying


def counts(lying: list[Lies]) -> list[int]:
    return [one.said.index - one.said.first + 1 for one in lying]


@pytest.fixture
def segments_of_three_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coopy.disk.journal.FIRST_BYTES", 3 * BLOCK)


def test_records_that_are_appended_together_lie_in_as_few_frames_as_may_be(tmp_path: Path) -> None:
    records = small(140)
    journal = opened(tmp_path)
    journal.append(records[0])
    journal.append_all(*joined(records[1:130]))
    journal.append_all(*joined(records[130:132]))
    journal.append_all(*joined(records[132:133]))
    journal.append_all(*joined(records[133:]))
    assert counts(proven(tmp_path, journal, records)) == [1, 64, 64, 1, 2, 1, 7]
    journal.close()


ROOM = BLOCK - 64
"""Bytes for frames in the first block of a segment."""


def with_room_left(room: int) -> list[bytes]:
    """Three records of which the frame leaves so much of the first block."""
    records = small(2)
    size = sum(len(each) + len(WRAP) for each in records)
    records.append(sized(3, ROOM - room - (frame.length_together(3, size + len(WRAP)))))
    return records


SINGLE = frame.OVERHEAD + len(record(4))


@pytest.mark.parametrize("room", [0, 1, frame.OVERHEAD - 1, frame.OVERHEAD, SINGLE - 1, SINGLE, SINGLE + 1])
@pytest.mark.parametrize("killed", [False, True], ids=["running", "killed"])
def test_what_follows_a_frame_that_leaves_little_room_finds_its_place(tmp_path: Path, room: int, killed: bool) -> None:
    records = [*with_room_left(room), record(4), *small(3, 5)]
    journal = opened(tmp_path)
    journal.append_all(*joined(records[:3]))
    assert layout(tmp_path)[0].end == BLOCK - room
    if killed:
        journal.abandon()
        journal = opened(tmp_path)
    journal.append(records[3])
    journal.append_all(*joined(records[4:]))
    lying = proven(tmp_path, journal, records)
    assert lying[1].start == (BLOCK if room < SINGLE else BLOCK - room)
    assert counts(lying) == [3, 1, 3]
    journal.close()


def test_as_many_records_as_fit_into_the_rest_of_a_block_lie_there_together(tmp_path: Path) -> None:
    rest = small(6, 4)
    room = frame.length_together(3, sum(len(each) + len(WRAP) for each in rest[:3]))
    for left in (room - 1, room, room + 1):
        (tmp_path / str(left)).mkdir()
        journal = opened(tmp_path / str(left))
        journal.append_all(*joined(with_room_left(left)))
        journal.append_all(*joined(rest))
        lying = proven(tmp_path / str(left), journal, with_room_left(left) + rest)
        assert counts(lying) == ([3, 2, 4] if left < room else [3, 3, 3])
        assert lying[2].start == BLOCK
        journal.close()


AMENDED = frame.OVERHEAD + len(AMENDMENT)


@pytest.mark.parametrize("room", [0, 27, AMENDED - 1, AMENDED, AMENDED + 1])
def test_an_amendment_behind_records_together_is_the_last_of_its_block_or_the_first_of_the_next(
    tmp_path: Path, room: int
) -> None:
    records = with_room_left(room)
    journal = opened(tmp_path)
    journal.append_all(*joined(records))
    journal.amend(AMENDMENT)
    lying = proven(tmp_path, journal, [*records, AMENDMENT])
    assert (lying[1].said.index, lying[1].start) == (3, BLOCK if room < AMENDED else BLOCK - room)
    journal.amend(AMENDMENT)
    journal.abandon()
    journal = opened(tmp_path)
    journal.amend(AMENDMENT)
    assert counts(layout(tmp_path)) == [3, 1], "an action has one amendment, whoever has opened the journal meanwhile"
    more = small(70, 4)
    journal.append_all(*joined(more))
    journal.amend(AMENDMENT)
    assert counts(proven(tmp_path, journal, [*records, AMENDMENT, *more, AMENDMENT])) == [3, 1, 64, 6, 1]
    journal.close()


def test_a_record_longer_than_a_block_lies_alone_among_small_ones_that_lie_together(tmp_path: Path) -> None:
    records = [*small(3), sized(4, BLOCK), sized(5, 3 * BLOCK), *small(3, 6), sized(9, BLOCK - frame.OVERHEAD), *small(2, 10)]
    journal = opened(tmp_path)
    journal.append_all(*joined(records))
    lying = proven(tmp_path, journal, records)
    assert counts(lying) == [3, 1, 1, 3, 1, 2]
    assert [one.start // BLOCK for one in lying] == [0, 1, 3, 7, 8, 9]
    journal.close()
    records.append(record(12))
    journal = opened(tmp_path)
    journal.append_all(*joined(records[-1:]))
    assert counts(proven(tmp_path, journal, records)) == [3, 1, 1, 3, 1, 2, 1]
    journal.close()


@pytest.mark.usefixtures("segments_of_three_blocks")
@pytest.mark.parametrize("durability", ["sync", "buffered"])
def test_records_that_are_appended_together_go_on_in_the_next_segment(tmp_path: Path, durability: str) -> None:
    records = [record(number, "x" * 1200) for number in range(1, 301)]
    journal = opened(tmp_path, durability=durability)
    journal.append_all(*joined(records))
    lying = proven(tmp_path, journal, records)
    firsts = [one.said for one in lying if one.start == 64]
    assert len(firsts) > 3 and max(counts(lying)) > 20
    if durability == "sync":
        assert [said.synced for said in firsts] == [said.first - 1 for said in firsts], "the segment before is on disk"
    journal.forget(firsts[1].first - 1)
    assert read(journal, firsts[1].first + 4)[0][0] == firsts[1].first + 5
    journal.close()


def test_what_lies_in_records_like_a_frame_is_none(tmp_path: Path) -> None:
    inner = [frame.pack(record(1), 90, 0), together(small(3), 90), frame.MARK, frame.MANY_MARK, together(small(2), 1)[:-1]]
    records = [header(index, 0, 0) + encode("put", (data,), {})[0] for index, data in enumerate(inner, 1)]
    journal = opened(tmp_path)
    for _ in range(2):
        journal.append_all(*joined(records))
        journal.abandon()
        journal = opened(tmp_path)
    assert journal.last == 2 * len(inner)
    assert counts(proven(tmp_path, journal, 2 * records)) == [len(inner)] * 2
    journal.close()


def flipped(one: Lies) -> None:
    data = bytearray(Path(one.path).read_bytes())
    data[one.start + one.said.begin] ^= 1
    Path(one.path).write_bytes(data)


def test_records_together_say_of_those_before_that_they_were_synced(tmp_path: Path) -> None:
    """Also if no frame of a single record does."""
    journal = opened(tmp_path)
    for first in (1, 4, 7):
        journal.append_all(*joined(small(3, first)))
        journal.wait(journal.last)
    journal.abandon()
    for one in layout(tmp_path)[:2]:
        flipped(one)
        with pytest.raises(DamagedJournal) as refusal:
            opened(tmp_path)
        assert (refusal.value.path, refusal.value.offset, refusal.value.index) == (one.path, one.start, one.said.first)
        flipped(one)
    assert opened(tmp_path, write=False).last == 9


def test_records_together_of_which_nothing_was_synced_are_a_torn_end_from_the_first_that_is_not_whole_on(
    tmp_path: Path,
) -> None:
    journal = opened(tmp_path)
    journal.append_all(*joined(small(130)))
    journal.abandon()
    flipped(layout(tmp_path)[1])
    journal = opened(tmp_path)
    assert journal.last == 64
    more = small(3, 1000)
    journal.append_all(*joined(more))
    assert counts(proven(tmp_path, journal, small(64) + more)) == [64, 3]
    journal.close()
