"""A damaged directory is planned for, mended and opens again; nothing is thrown away, wherever a crash comes."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import handed
import pytest
from crash.disk_model import nothing, some
from faults import open_with
from tools.steps import Crash, Crashing, Journaling, Noting, Quick, put

import coopy
from coopy import DirectoryInUse, UsageError, init_system
from coopy.disk import frame
from coopy.disk.fs import Calls
from coopy.disk.segment import BLOCK
from coopy.ground import action
from coopy.ground.record import AMENDMENT_BYTES
from coopy.past.reading import Reading
from coopy.spine.engine import _AfterHead
from coopy.tools import repair
from coopy.tools.contents import contents

LAST = 1200
SNAPSHOTS = (0, 300, 700, 1150)
REOPENED = 600
LONG = (100, 500, 1100)
ONE_BY_ONE, TOGETHER = 1, 40  # So many actions are appended together at most; a block ends what lies in one frame sooner.


class Book:
    def __init__(self) -> None:
        self.lines: list[int] = []

    def write(self, number: int, filler: str) -> None:
        self.lines.append(number)


class Called(handed.Called):
    domain = Book


def opened(directory: Path) -> Any:
    return open_with(Quick(), Book, directory)


def fill(
    directory: Path, last: int, snapshots: tuple[int, ...], size: Callable[[int], int], reopened: int, at_once: int = ONE_BY_ONE
) -> None:
    book = opened(directory)
    batch: list[int] = []
    for number in range(1, last + 1):
        batch.append(number)
        if len(batch) < at_once and number not in (*snapshots, reopened, last):
            continue
        write(book, batch, size)
        batch.clear()
        if number in snapshots:
            book.take_snapshot()
        if number == reopened:
            book.close()
            book = opened(directory)
    book.close()


def write(book: Any, numbers: list[int], size: Callable[[int], int]) -> None:
    if len(numbers) == 1:
        book.write(numbers[0], "x" * size(numbers[0]))
    else:
        engine = book._coopy_engine
        engine.settle(engine.begin_all([Called("write", number, "x" * size(number)) for number in numbers]))


@pytest.fixture(scope="module", params=[ONE_BY_ONE, TOGETHER], ids=["one by one", "together"])
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three segments of 1,200 actions, some of them longer than a block, with snapshots along the way."""
    directory = tmp_path_factory.mktemp("library") / "book"
    fill(directory, LAST, SNAPSHOTS, lambda number: 70_000 if number in LONG else 2000 + number // 4, REOPENED, request.param)
    assert [place // 100 for place in segments(directory)] == [0, 4, 8]
    assert (request.param == TOGETHER) == (frame_of(directory, 200).index > frame_of(directory, 200).first)
    return directory


@pytest.fixture
def book(library: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(library, tmp_path / "book"))


def segment(first: int) -> str:
    return f"transaction_{first:015d}.log"


def snapshot(index: int) -> str:
    return f"snapshot_{index:015d}.dat"


def segments(directory: Path) -> list[int]:
    return sorted(int(path.stem.split("_")[1]) for path in directory.glob("transaction_*.log"))


def with_snapshots(directory: Path, *kept: int) -> Path:
    for path in directory.glob("snapshot_*.dat"):
        if int(path.stem.split("_")[1]) not in kept:
            path.unlink()
    return directory


def place_of(directory: Path, index: int) -> tuple[Path, int]:
    """The segment and the offset of an action's frame."""
    with Reading(str(directory)) as reading:
        path, _, offset = reading.log.where(index).rpartition(", byte ")
    return Path(path), int(offset)


def frame_of(directory: Path, index: int) -> frame.Frame:
    path, offset = place_of(directory, index)
    found = frame.whole(path.read_bytes(), offset)
    assert found is not None
    return found


def last_before(directory: Path, index: int) -> int:
    """The last action that is left if the frame of this one is damaged."""
    return frame_of(directory, index).first - 1


def put_snapshot(directory: Path, index: int) -> None:
    """One of any action; none is taken between two that are appended together."""
    with Reading(str(directory), Book) as reading:
        machine = reading.machine(index)
        head = action.head(machine.header, machine.outcome, machine.version, machine.besides())
        reading.snapshots.write(index, lambda file: reading.codec.dump_state(machine.domain, _AfterHead(file, head)))


def spoil(path: Path, offset: int, data: bytes | None = None) -> None:
    """Turns a byte over, or writes something else there."""
    content = bytearray(path.read_bytes())
    content[offset : offset + (1 if data is None else len(data))] = bytes([content[offset] ^ 0x20]) if data is None else data
    path.write_bytes(content)


def spoil_action(directory: Path, index: int, at: int = 500, data: bytes | None = None) -> None:
    path, offset = place_of(directory, index)
    spoil(path, offset + at, data)


def mended(directory: Path, last: int) -> None:
    """It opens with exactly the actions up to ``last``, goes on, and nothing is damaged any more."""
    assert repair.plan(str(directory)) is None
    with opened(directory) as book:
        assert book.lines == list(range(1, last + 1))
        assert coopy.control(book).index == last
        book.write(last + 1, "and on")
    with opened(directory) as book:
        assert book.lines == list(range(1, last + 2))
    assert contents(str(directory)).damages == []


def planned(directory: Path) -> repair.Plan:
    plan = repair.plan(str(directory))
    assert plan is not None
    json.dumps(plan.as_dict())
    return plan


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file() and path.name != "lock"}


def nothing_thrown_away(before: dict[str, bytes], directory: Path) -> None:
    """What lay there lies there still, or in one of the directories for what went."""
    now: dict[str, list[bytes]] = {}
    for path in directory.rglob("*"):
        if path.is_file():
            now.setdefault(path.name, []).append(path.read_bytes())
    for name, data in before.items():
        assert data in now.get(name, []), f"{name} is gone"


# -- nothing to repair


def whole(directory: Path) -> None:
    pass


def torn_end(directory: Path) -> None:
    path = directory / segment(segments(directory)[-1])
    path.write_bytes(path.read_bytes().rstrip(b"\0")[:-60])


def snapshot_further_than_the_journal(directory: Path) -> None:
    """What a power cut can leave; and then it goes on behind the snapshot."""
    path, offset = place_of(directory, 1140)
    os.truncate(path, offset)


def gone_on_behind_a_snapshot(directory: Path) -> None:
    snapshot_further_than_the_journal(directory)
    with opened(directory) as book:
        book.write(1151, "x")


def old_records_before_the_first_snapshot(directory: Path) -> None:
    with_snapshots(directory, 300, 700, 1150)


def just_made(directory: Path) -> None:
    shutil.rmtree(directory)
    opened(directory).close()


@pytest.mark.parametrize(
    "left",
    [
        whole,
        torn_end,
        snapshot_further_than_the_journal,
        gone_on_behind_a_snapshot,
        old_records_before_the_first_snapshot,
        just_made,
    ],
)
def test_what_opening_deals_with_is_no_damage(book: Path, left: Callable[[Path], None]) -> None:
    left(book)
    before = files(book)
    assert repair.plan(str(book)) is None
    assert files(book) == before
    opened(book).close()


# -- kinds of damage


def test_damage_is_cut_off_behind_the_last_intact_action(book: Path) -> None:
    with_snapshots(book, 0)
    path, offset = place_of(book, 200)
    end = len(path.read_bytes()[:offset].rstrip(b"\0"))
    last = last_before(book, 200)
    spoil_action(book, 200)
    before = files(book)
    plan = planned(book)
    assert (plan.possible, plan.last_index, plan.lost_least, plan.snapshot) == (True, last, LAST - last, 0)
    assert [(cut.name, cut.offset) for cut in plan.cuts] == [(path.name, end)]
    assert plan.moves == tuple(segment(first) for first in segments(book)[1:])
    assert f"at least {LAST - last:,}" in plan.text()
    assert f"Then the directory opens, with all actions up to {last}." in plan.text()
    assert files(book) == before, "planning changes nothing"
    done = repair.carry_out(plan)
    assert done.last_index == last
    assert set(done.files) == {path.name, *plan.moves}
    nothing_thrown_away(before, book)
    mended(book, last)


def test_a_newer_snapshot_makes_up_for_damage_in_the_same_segment(book: Path) -> None:
    with_snapshots(book, 0, 300)
    intact = last_before(book, 200)
    spoil_action(book, 200)
    before = files(book)
    plan = planned(book)
    assert (plan.last_index, plan.lost_least, plan.lost_probably, plan.snapshot) == (LAST, 0, 0, 300)
    assert [(each.first, each.new) for each in plan.rewrites] == [(301, segment(301))]
    assert set(plan.moves) == {segment(1), snapshot(0)}
    assert "No action is lost for the present state" in plan.text()
    assert f"up to action {intact} can be read" in plan.text()
    done = repair.carry_out(plan)
    nothing_thrown_away(before, book)
    for until in (0, 150, intact):
        assert coopy.replay(Book, done.aside, until=until).lines == list(range(1, until + 1)), "the past is aside"
    for until in (300, 301, 555, 700, LAST):
        assert coopy.replay(Book, book, until=until).lines == list(range(1, until + 1))
    mended(book, LAST)


def garble_segments_id(directory: Path) -> None:
    spoil(directory / segment(segments(directory)[1]), 12, b"?" * 40)


def remove_second(directory: Path) -> None:
    (directory / segment(segments(directory)[1])).unlink()


def remove_first(directory: Path) -> None:
    (directory / segment(segments(directory)[0])).unlink()


def remove_all_segments(directory: Path) -> None:
    for first in segments(directory):
        (directory / segment(first)).unlink()


def actions(*indexes: int, at: int = 500, data: bytes | None = None) -> Callable[[Path], None]:
    def spoil_them(directory: Path) -> None:
        places = [place_of(directory, index) for index in indexes]
        for path, offset in places:
            spoil(path, offset + at, data)

    return spoil_them


def first_of(place: int) -> Callable[[Path], None]:
    def spoil_first(directory: Path) -> None:
        spoil_action(directory, segments(directory)[place])

    return spoil_first


def header(place: int) -> Callable[[Path], None]:
    def spoil_header(directory: Path) -> None:
        spoil(directory / segment(segments(directory)[place]), 45)

    return spoil_header


def state_of(*indexes: int) -> Callable[[Path], None]:
    def spoil_states(directory: Path) -> None:
        for index in indexes:
            spoil(directory / snapshot(index), 90)

    return spoil_states


def together(*several: Callable[[Path], None]) -> Callable[[Path], None]:
    def plant(directory: Path) -> None:
        for each in several:
            each(directory)

    return plant


def amendment(directory: Path) -> None:
    """That of the action behind which the system was closed and opened again."""
    path, offset = place_of(directory, REOPENED)
    size = frame_of(directory, REOPENED).length
    assert path.read_bytes()[offset + size + 2] == 15, "an amendment has 15 bytes"
    spoil(path, offset + size + 25)


def junk_that_looks_like_a_file(directory: Path) -> None:
    first = segments(directory)[1]
    (directory / segment(first)).unlink()
    (directory / segment(first)).mkdir()


SECOND, THIRD = -2, -3  # In place of an index: the action before the second and before the third segment.

CASES = {
    "a frame in the last segment": ((0, 700), actions(1000), 999),
    "a frame in the last segment, a snapshot behind it": ((0, 700, 1150), actions(1000), LAST),
    "a frame in the second segment": ((0, 300), actions(500), 499),
    "a frame in the second segment, a snapshot behind it": ((0, 300, 700), actions(550), LAST),
    "a frame whose head is garbled": ((0, 300), actions(200, at=0, data=b"?" * 30), LAST),
    "a frame that is zeros": ((0, 300), actions(200, at=0, data=bytes(2000)), LAST),
    "a frame longer than a block": ((0, 300), actions(100, at=30_000), LAST),
    "the head of a frame longer than a block": ((0, 300), actions(100, at=0, data=b"?" * 30), LAST),
    "a frame longer than a block, in the last segment": ((0,), actions(1100, at=30_000), 1099),
    "several frames": ((0, 300), actions(200, 1000), 999),
    "several frames, a snapshot behind each": ((0, 300, 1150), actions(200, 1000), LAST),
    "the frame behind a snapshot": ((0, 300), actions(301), 300),
    "the frame of a snapshot's action": ((0, 300), actions(300), LAST),
    "the first frame of all": ((0,), actions(1), 0),
    "the first frame of a segment": ((0,), first_of(1), SECOND),
    "the first frame of the last segment": ((0, 300), first_of(2), THIRD),
    "an amendment": ((0,), amendment, LAST),
    "the header of the first segment": ((0,), header(0), LAST),
    "the header of the second segment": ((0,), header(1), LAST),
    "the header of the last segment": ((0,), header(2), LAST),
    "a header, and a frame behind it": ((0,), together(actions(800), header(1)), 799),
    "a header that does not even say whose it is": ((0,), garble_segments_id, SECOND),
    "a header that does not even say whose it is, a snapshot behind": ((0, 1150), garble_segments_id, LAST),
    "a missing segment": ((0, 300), remove_second, SECOND),
    "a missing segment, a snapshot behind it": ((0, 300, 1150), remove_second, LAST),
    "a directory in its place": ((0, 300), junk_that_looks_like_a_file, SECOND),
    "the missing first segment": ((0,), remove_first, 0),
    "the missing first segment, a snapshot behind it": ((0, 700), remove_first, LAST),
    "no segment at all": (SNAPSHOTS, remove_all_segments, 1150),
    "the newest snapshot": (SNAPSHOTS, state_of(1150), LAST),
    "the oldest snapshot": (SNAPSHOTS, state_of(0), LAST),
    "all snapshots but one": (SNAPSHOTS, state_of(0, 300, 1150), LAST),
    "the newest snapshot and a frame before it": ((0, 700, 1150), together(actions(1000), state_of(1150)), 999),
}


@pytest.mark.parametrize("name", CASES)
def test_what_was_damaged_opens_again_with_all_that_can_be_had(book: Path, name: str) -> None:
    kept, plant, last = CASES[name]
    firsts = segments(book)
    with_snapshots(book, *kept)
    last = {SECOND: firsts[1] - 1, THIRD: firsts[2] - 1}.get(last, last)
    if last < LAST:
        last = last_before(book, last + 1)
    plant(book)
    before = files(book)
    plan = planned(book)
    assert (plan.possible, plan.last_index) == (True, last), plan.text()
    if not plan.lost_unknown:
        assert plan.lost_least == plan.lost_probably == LAST - last, plan.text()
    done = repair.carry_out(plan)
    assert os.path.dirname(done.aside) == str(book)
    nothing_thrown_away(before, book)
    mended(book, last)


@pytest.mark.parametrize("left", [snapshot_further_than_the_journal, gone_on_behind_a_snapshot])
def test_a_gap_that_a_snapshot_has_filled_costs_nothing_when_something_else_is_repaired(
    book: Path, left: Callable[[Path], None]
) -> None:
    left(book)
    last = contents(str(book)).last
    spoil(book / snapshot(700), 90)
    plan = planned(book)
    assert (plan.moves, plan.cuts, plan.rewrites, plan.empty) == ((snapshot(700),), (), (), None)
    repair.carry_out(plan)
    assert coopy.replay(Book, book, until=1000).lines == list(range(1, 1001)), "the past is still there"
    mended(book, last)


def test_behind_the_last_whole_frame_it_is_estimated_how_many_there_were(book: Path) -> None:
    with_snapshots(book, 0)
    path, offset = place_of(book, 1000)
    last = last_before(book, 1000)
    end = len(path.read_bytes().rstrip(b"\0"))
    spoil(path, offset, os.urandom(end - offset - 3500))
    plan = planned(book)
    assert plan.last_index == last
    assert 1 <= plan.lost_least <= 201
    assert 150 <= plan.lost_probably <= 260


def test_behind_damage_at_the_head_of_a_block_the_rest_of_the_block_is_used(book: Path) -> None:
    heads = (frame_of(book, index) for index in range(150, 250) if place_of(book, index)[1] % BLOCK == 0)
    damaged = next(each for each in heads if place_of(book, each.index + 1)[1] % BLOCK)
    put_snapshot(book, damaged.index)
    with_snapshots(book, 0, damaged.index)
    spoil_action(book, damaged.first)
    plan = planned(book)
    assert (plan.last_index, plan.snapshot) == (LAST, damaged.index)
    assert [(each.first, each.new) for each in plan.rewrites] == [(damaged.index + 1, segment(damaged.index + 1))]
    repair.carry_out(plan)
    mended(book, LAST)


def test_behind_a_rest_of_a_block_that_is_zeros_the_whole_next_block_is_used(book: Path) -> None:
    heads = (frame_of(book, index) for index in range(150, 250) if place_of(book, index)[1] % BLOCK == 0)
    following = next(each for each in heads if place_of(book, each.first - 1)[1] % BLOCK)
    path, offset = place_of(book, following.first - 1)
    intact = last_before(book, following.first - 1)
    put_snapshot(book, following.first - 1)
    with_snapshots(book, 0, following.first - 1)
    spoil(path, offset, bytes(BLOCK - offset % BLOCK))
    plan = planned(book)
    assert (plan.last_index, plan.intact_index) == (LAST, intact)
    assert [each.first for each in plan.rewrites] == [following.first]
    repair.carry_out(plan)
    mended(book, LAST)


def test_what_the_last_frame_holds_counts_as_lost_even_if_nothing_says_that_it_was_synced(book: Path) -> None:
    path = book / segment(segments(book)[-1])
    data = path.read_bytes()
    # As if it had not been closed.
    path.write_bytes(data.rstrip(b"\0")[: -frame.OVERHEAD - AMENDMENT_BYTES].ljust(len(data), b"\0"))
    assert frame_of(book, LAST).synced < frame_of(book, LAST).first
    with_snapshots(book, 0)
    last = last_before(book, 1000)
    spoil_action(book, 1000)
    assert planned(book).lost_least == LAST - last


only_together = pytest.mark.parametrize("library", [TOGETHER], ids=["together"], indirect=True)


def amid(directory: Path, index: int) -> frame.Frame:
    """The next frame behind that of an action which is of more than two."""
    found = frame_of(directory, index)
    while True:
        found = frame_of(directory, found.index + 1)
        if found.index - found.first > 1:
            return found


@only_together
@pytest.mark.parametrize("near", [200, 700, 1000], ids=["the first", "the second", "the last"])
def test_a_segment_that_begins_behind_damage_begins_where_the_frame_of_the_snapshot_does(book: Path, near: int) -> None:
    with_snapshots(book, 0)
    around = amid(book, near + 40)
    index = around.first + 1
    put_snapshot(book, index)
    intact = last_before(book, near)
    spoil_action(book, near)
    before = files(book)
    plan = planned(book)
    assert (plan.last_index, plan.lost_least, plan.snapshot, plan.intact_index) == (LAST, 0, index, intact)
    [rewrite] = plan.rewrites
    assert (rewrite.first, rewrite.new) == (around.first, segment(around.first)), "no frame is split"
    assert rewrite.new not in before
    done = repair.carry_out(plan)
    nothing_thrown_away(before, book)
    assert done.last_index == LAST
    assert contents(str(book)).first == around.first
    with Reading(str(book)) as reading:
        assert [each.index for each in reading.actions()] == list(range(around.first, LAST + 1))
    for until in (index, index + 1, around.index, LAST):
        assert coopy.replay(Book, book, until=until).lines == list(range(1, until + 1))
    mended(book, LAST)


@only_together
def test_of_a_damaged_frame_what_the_snapshot_inside_of_it_does_not_have_is_lost(book: Path) -> None:
    with_snapshots(book, 0)
    around = amid(book, 200)
    put_snapshot(book, around.first + 1)
    spoil_action(book, around.first)
    plan = planned(book)
    last = around.first + 1
    assert (plan.last_index, plan.lost_least, plan.lost_probably) == (last, LAST - last, LAST - last)
    assert (plan.snapshot, plan.empty, plan.intact_index) == (last, last + 1, around.first - 1)
    repair.carry_out(plan)
    mended(book, last)


@only_together
def test_between_two_damages_a_snapshot_inside_of_a_frame_leads_to_the_second(book: Path) -> None:
    with_snapshots(book, 0)
    around = amid(book, 240)
    put_snapshot(book, around.first + 1)
    last = last_before(book, 350)
    spoil_action(book, 350)
    spoil_action(book, 200)
    plan = planned(book)
    assert (plan.last_index, plan.lost_least, plan.snapshot) == (last, LAST - last, around.first + 1)
    assert [(each.first, each.last) for each in plan.rewrites] == [(around.first, last)]
    repair.carry_out(plan)
    mended(book, last)


@only_together
def test_with_the_last_action_of_a_segment_in_a_snapshot_nothing_of_it_is_written_anew(book: Path) -> None:
    second = segments(book)[1]
    put_snapshot(book, second - 1)
    with_snapshots(book, 0, second - 1)
    spoil_action(book, 200)
    plan = planned(book)
    assert (plan.last_index, plan.rewrites, plan.empty) == (LAST, (), None)
    assert set(plan.moves) == {snapshot(0), segment(1)}
    repair.carry_out(plan)
    mended(book, LAST)


@only_together
@pytest.mark.parametrize("at", [1, 5, 9, 13, 21, 29, 40, 200, -6, -5, -1], ids=lambda at: f"byte {at}")
def test_wherever_a_frame_of_several_is_damaged_all_before_it_is_kept(book: Path, at: int) -> None:
    with_snapshots(book, 0, 1150)
    damaged = amid(book, 200)
    path, offset = place_of(book, damaged.first)
    spoil(path, offset + (at if at > 0 else damaged.length + at))
    put = planned(book)
    assert (put.last_index, put.intact_index, put.lost_least) == (LAST, damaged.first - 1, 0)
    (book / snapshot(1150)).unlink()
    plan = planned(book)
    assert (plan.last_index, plan.lost_least, plan.lost_probably) == (damaged.first - 1, *[LAST - damaged.first + 1] * 2)
    repair.carry_out(plan)
    mended(book, damaged.first - 1)


def test_where_no_segment_is_left_nobody_says_how_many_actions_are_lost(book: Path) -> None:
    remove_all_segments(book)
    plan = planned(book)
    assert plan.lost_unknown and plan.empty == 1151
    assert "nothing that is left tells" in plan.text()


def test_what_only_looks_like_a_frame_is_not_taken_for_one(tmp_path: Path) -> None:
    """An argument may hold the bytes of a segment; only where a frame can begin is one looked for."""

    class Store:
        def __init__(self) -> None:
            self.count = 0

        def put(self, data: bytes) -> None:
            self.count += 1

    with init_system(Store, tmp_path / "other", validation="off") as other:
        for _ in range(9):
            other.put(b"forged")
    forged = (tmp_path / "other" / segment(1)).read_bytes()[64:].rstrip(b"\0")
    with init_system(Store, tmp_path / "data", validation="off") as store:
        store.put(b"one")
        store.put(b"x" * 100 + forged)
        store.put(b"three")
    path, offset = tmp_path / "data" / segment(1), (tmp_path / "data" / segment(1)).read_bytes().index(b"x" * 100)
    spoil(path, offset)
    plan = planned(tmp_path / "data")
    assert (plan.last_index, plan.lost_least) == (1, 2)


# -- not possible


def newer_format(directory: Path) -> None:
    path = directory / segment(segments(directory)[1])
    head = bytearray(path.read_bytes()[:64])
    head[8:12] = (9).to_bytes(4, "little")
    head[60:] = zlib.crc32(head[:60]).to_bytes(4, "little")
    spoil(path, 0, bytes(head))


def manifest_damaged(directory: Path) -> None:
    spoil(directory / "coopy.json", 20)


def manifest_missing(directory: Path) -> None:
    (directory / "coopy.json").unlink()


def another_story(directory: Path) -> None:
    """A segment of the same system, as another copy of it went on."""
    first = segments(directory)[2]
    copy = directory.parent / "twin"
    shutil.copytree(directory, copy)
    (copy / segment(first)).unlink()
    with_snapshots(copy, 0, 300, 700)
    with opened(copy) as twin:
        for number in range(first, first + 200):
            twin.write(number, "something else")
    path = max(copy.glob("transaction_*"), key=lambda path: path.stem)
    data = bytearray((copy / path.name).read_bytes())
    where, offset = place_of(copy, first + 5)
    header = bytearray(data[:64])
    header[28:36] = (first + 5).to_bytes(8, "little")
    header[60:] = zlib.crc32(header[:60]).to_bytes(4, "little")
    body = where.read_bytes()[offset : offset // BLOCK * BLOCK + BLOCK].rstrip(b"\0")
    (directory / segment(first + 5)).write_bytes(bytes(header) + body)


@only_together
def test_of_two_stories_the_first_action_that_both_have_is_named(book: Path) -> None:
    first = segments(book)[2]
    assert frame_of(book, first).index > first + 5
    another_story(book)
    assert f"both have action {first + 5}, and not the same one" in planned(book).reason


@pytest.mark.parametrize(
    ("plant", "reason"),
    [
        (manifest_damaged, "is damaged.*secret.*backup"),
        (manifest_missing, "is not there.*secret.*backup"),
        (state_of(*SNAPSHOTS), "no snapshot is whole"),
        (newer_format, "the release that wrote it"),
        (another_story, "not the same one"),
    ],
)
def test_what_cannot_be_repaired_is_left_as_it_is_and_said_why(book: Path, plant: Callable[[Path], None], reason: str) -> None:
    plant(book)
    before = files(book)
    plan = planned(book)
    assert not plan.possible
    assert re.search(reason, plan.text(), re.S), plan.text()
    with pytest.raises(UsageError, match="cannot be repaired"):
        repair.carry_out(plan)
    assert files(book) == before


def test_an_open_directory_is_not_repaired(book: Path) -> None:
    with opened(book):
        spoil(book / snapshot(300), 90)
        plan = planned(book)
        with pytest.raises(DirectoryInUse):
            repair.carry_out(plan)
    assert repair.carry_out(plan).last_index == LAST


def test_a_plan_of_yesterday_is_not_carried_out(book: Path) -> None:
    spoil(book / snapshot(300), 90)
    plan = planned(book)
    with opened(book) as system:
        system.write(LAST + 1, "since")
    before = files(book)
    with pytest.raises(UsageError, match="not as it was"):
        repair.carry_out(plan)
    assert files(book) == before


@pytest.mark.parametrize("name", ["nothing", "empty"])
def test_where_there_is_no_system_nothing_is_planned(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=name):
        repair.plan(str(tmp_path / name))


def test_progress_is_told_of_what_is_copied(book: Path) -> None:
    with_snapshots(book, 0)
    spoil_action(book, 200)
    told: list[tuple[int, int]] = []
    repair.carry_out(planned(book), lambda done, total: told.append((done, total)))
    assert told and told[-1][0] == told[-1][1] > 1 << 20
    assert told == sorted(told)


def test_two_repairs_in_the_same_second_have_two_directories(book: Path) -> None:
    asides = set()
    for index in (0, 300, 700):
        spoil(book / snapshot(index), 90)
        asides.add(repair.carry_out(planned(book)).aside)
    assert len(asides) == 3


# -- crashes


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `library`, of few long actions: 1 to 6, 7 to 12, 13 to 17."""
    directory = tmp_path_factory.mktemp("shelf") / "book"
    fill(directory, 17, (0, 3, 8, 15), lambda number: 140_000, 9)
    assert segments(directory) == [1, 7, 13]
    return directory


@pytest.mark.parametrize(
    ("kept", "plant", "last"),
    [
        ((0,), actions(2), 1),
        ((0,), actions(8), 7),
        ((0, 3), actions(2), 17),
        ((0, 15), actions(14), 17),
        ((0,), header(1), 17),
        ((0, 3), together(actions(2), header(1)), 17),
        ((0, 8, 15), remove_second, 17),
        ((0,), remove_first, 0),
        ((0, 3, 8, 15), state_of(0, 15), 17),
    ],
    ids=[
        "cut",
        "cut in the second",
        "rewritten",
        "the last rewritten",
        "header",
        "two rewritten",
        "missing",
        "none left",
        "states",
    ],
)
def test_a_crash_at_any_step_leaves_what_a_new_plan_mends(
    shelf: Path, tmp_path: Path, kept: tuple[int, ...], plant: Callable[[Path], None], last: int
) -> None:
    damaged = Path(shutil.copytree(shelf, tmp_path / "damaged"))
    with_snapshots(damaged, *kept)
    plant(damaged)
    mended_at_any_step(damaged, tmp_path, last)


STEPS = 1 if os.environ.get("COOPY_EVERY_BIT") else 2
"""A crash comes at each step in `make crash`, else at every second one."""


def mended_at_any_step(damaged: Path, tmp_path: Path, last: int) -> None:
    before = files(damaged)
    plan = planned(damaged)
    for step in range(1, 1000, STEPS):
        directory = Path(shutil.copytree(damaged, tmp_path / f"{step}"))
        try:
            repair.carry_out(replace(plan, basedir=str(directory)), calls=Crashing(step))
            break
        except Crash:
            found_again(before, directory, last, f"after step {step}")
    assert step > 5
    mended(directory, last)


@pytest.fixture(scope="module")
def crate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `shelf`, of actions that are appended five at a time, and of which three go into a block: some lie in a frame alone."""
    directory = tmp_path_factory.mktemp("crate") / "book"
    fill(directory, 230, (0, 30), lambda number: 10_000, 150, 5)
    assert segments(directory) == [1, 97, 193]
    frames = [frame_of(directory, index) for index in (12, 23, 104, 207, 209)]
    assert [(each.first, each.index) for each in frames] == [(11, 12), (22, 24), (103, 105), (206, 207), (208, 210)]
    return directory


def states_at(*indexes: int) -> Callable[[Path], None]:
    def put_them(directory: Path) -> None:
        for index in indexes:
            put_snapshot(directory, index)

    return put_them


@pytest.mark.parametrize(
    ("plant", "last"),
    [
        (actions(12), 10),
        (actions(104), 102),
        (together(states_at(23), actions(12)), 230),
        (together(states_at(209), actions(207)), 230),
        (together(states_at(23), actions(23)), 23),
        (together(states_at(23), actions(12, 104)), 102),
        (together(states_at(23), actions(12), header(1)), 230),
    ],
    ids=["cut", "cut in the second", "rewritten", "the last rewritten", "a state alone", "two damages", "two rewritten"],
)
def test_a_crash_at_any_step_leaves_what_a_new_plan_mends_of_frames_of_several(
    crate: Path, tmp_path: Path, plant: Callable[[Path], None], last: int
) -> None:
    damaged = Path(shutil.copytree(crate, tmp_path / "damaged"))
    with_snapshots(damaged, 0)
    plant(damaged)
    mended_at_any_step(damaged, tmp_path, last)


def found_again(before: dict[str, bytes], directory: Path, last: int, when: str) -> None:
    """A crash has left the directory so: nothing is gone, and a new plan, if one is needed, comes to the same end."""
    nothing_thrown_away(before, directory)
    plan = repair.plan(str(directory))
    if plan is not None:
        assert plan.last_index == last, f"{when}: {plan.text()}"
        repair.carry_out(plan, calls=Quick())
        nothing_thrown_away(before, directory)
        assert repair.plan(str(directory)) is None
    with opened(directory) as book:
        assert book.lines == list(range(1, last + 1)), when
    shutil.rmtree(directory)


@pytest.mark.parametrize(
    ("kept", "plant", "last"),
    [((0,), actions(8), 7), ((0, 3), together(actions(2), header(1)), 17), ((0, 15), actions(14), 17)],
    ids=["cut", "two rewritten", "the last rewritten"],
)
@pytest.mark.parametrize("seed", range(2))
def test_a_power_cut_at_any_moment_leaves_what_a_new_plan_mends(
    shelf: Path, tmp_path: Path, kept: tuple[int, ...], plant: Callable[[Path], None], last: int, seed: int
) -> None:
    """Of what was not synced all is there, or nothing, or any part: see `crash.disk_model`. Seeded, so always the same."""
    directory = Path(shutil.copytree(shelf, tmp_path / "data"))
    with_snapshots(directory, *kept)
    plant(directory)
    before = files(directory)
    recorder = Noting()
    disk = Journaling(str(directory), before, recorder)
    repair.carry_out(planned(directory), calls=recorder)
    mended(directory, last)
    chance = random.Random(seed)
    for number, note in enumerate(recorder.notes):
        disk.follow(note)
        left = tmp_path / f"{number}"
        put(disk.left(chance.choice((nothing, some(chance, 0.5)))), left)
        found_again(before, left, last, f"seed {seed}, after note {number} ({type(note).__name__})")
    left = tmp_path / "at the end"
    put(disk.left(nothing), left)
    assert repair.plan(str(left)) is None, "what was carried out stays so"


def test_a_disk_that_refuses_leaves_the_directory_as_it_was(book: Path) -> None:
    class Full(Calls):
        def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> int:
            raise OSError(28, "No space left on device")

    with_snapshots(book, 0)
    last = last_before(book, 200)
    spoil_action(book, 200)
    before = files(book)
    plan = planned(book)
    with pytest.raises(OSError, match="No space"):
        repair.carry_out(plan, calls=Full())
    assert files(book) == before
    assert repair.carry_out(planned(book)).last_index == last
