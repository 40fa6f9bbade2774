"""Promises that a planted fault could break unnoticed, until these tests were there. See mutants.py."""

from __future__ import annotations

import errno
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import handed
import pytest
from crash.disk_model import Disk, Recorder, put
from crash.power import SEGMENT_BYTES, small_segments
from faults import Faulty, open_with

import coopy
from coopy import DamagedJournal, JournalError, ReplayDiverged, StorageError, abort_exception, control
from coopy.disk import directory, dirlock, frame, manifest
from coopy.disk.fs import Calls
from coopy.disk.journal import Journal
from coopy.disk.segment import BLOCK

PATIENCE_S = 30
SYSTEM = bytes(16)
RECORD = bytes(10_000)


class Diary:
    def __init__(self) -> None:
        self.numbers: list[int] = []

    def add(self, number: int, filler: str = "") -> int:
        self.numbers.append(number)
        return len(self.numbers)

    def add_interrupted(self, number: int) -> None:
        self.numbers.append(number)
        if armed:
            raise armed.pop()
        self.numbers.append(number)

    @abort_exception
    def refuse(self, number: int) -> None:
        raise KeyError(number)


class Called(handed.Called):
    domain = Diary


def add_together(diary: Any, *calls: tuple[int, str]) -> None:
    batch = [Called("add", *call) for call in calls]
    list(diary._coopy_engine.settled(diary._coopy_engine.begin_all(batch), batch))


armed: list[BaseException] = []


@pytest.fixture(autouse=True)
def segments_of_a_few_blocks() -> Iterator[None]:
    with small_segments():
        yield


def segments(basedir: Path) -> list[int]:
    return directory.segments([path.name for path in basedir.iterdir()])


def snapshots(basedir: Path) -> list[int]:
    return directory.snapshots([path.name for path in basedir.iterdir()])


def journal_of_two_segments(basedir: Path, calls: Calls | None = None, durability: str = "sync") -> Journal:
    """Nobody has waited for any of it. The second segment holds one record."""
    journal = Journal(calls or Calls(), str(basedir), SYSTEM, durability=durability, segment_bytes=SEGMENT_BYTES)
    while len(segments(basedir)) == 1:
        journal.append(RECORD)
    assert segments(basedir) == [1, journal.last]
    return journal


def flipped(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def frames(path: Path, block: int = 0) -> list[int]:
    """Where the frames of a block begin, and where the last one ends."""
    data = path.read_bytes()
    found = [max(64, block * BLOCK)]
    while (one := frame.whole(data, found[-1])) is not None:
        found.append(found[-1] + one.length)
    return found


# -- what is acknowledged, and when


class OneByOne(Calls):
    """Each sync waits until it is let through."""

    def __init__(self) -> None:
        self.held = False
        self.begun = threading.Semaphore(0)
        self.let_through = threading.Semaphore(0)

    def sync_data(self, fd: int) -> None:
        if self.held:
            self.begun.release()
            assert self.let_through.acquire(timeout=PATIENCE_S)
        super().sync_data(fd)


def test_nobody_is_told_of_an_action_while_its_sync_is_under_way(tmp_path: Path) -> None:
    disk = OneByOne()
    diary = open_with(disk, Diary, tmp_path)
    disk.held = True
    writer = threading.Thread(target=diary.add, args=(1,))
    writer.start()
    assert disk.begun.acquire(timeout=PATIENCE_S)
    journal = control(diary)._system._journal
    during = journal.last, journal.settled, journal.synced
    disk.held = False
    disk.let_through.release()
    writer.join(PATIENCE_S)
    assert during == (1, 0, 0)
    assert (journal.last, journal.settled, journal.synced) == (1, 1, 1)
    diary.close()


def test_a_reader_waits_for_what_it_has_seen(tmp_path: Path) -> None:
    disk = OneByOne()
    diary = open_with(disk, Diary, tmp_path)
    disk.held = True
    told: list[bool] = []
    writer = threading.Thread(target=diary.add, args=(1,))
    reader = threading.Thread(target=lambda: told.append(len(diary.numbers) == 1 and disk.held))
    writer.start()
    assert disk.begun.acquire(timeout=PATIENCE_S)
    reader.start()
    while reader.is_alive() and not control(diary)._system._journal._commit._waiters:
        threading.Event().wait(0.001)
    disk.held = False
    disk.let_through.release()
    for thread in (writer, reader):
        thread.join(PATIENCE_S)
    assert told == [False], "a power cut could still have taken it back"
    diary.close()


def test_a_sync_covers_nothing_that_was_written_after_it_began(tmp_path: Path) -> None:
    disk = OneByOne()
    diary = open_with(disk, Diary, tmp_path)
    disk.held = True
    first, second = (threading.Thread(target=diary.add, args=(number,)) for number in (1, 2))
    first.start()
    assert disk.begun.acquire(timeout=PATIENCE_S)
    second.start()
    while control(diary).index < 2:
        threading.Event().wait(0.001)
    disk.let_through.release()
    first.join(PATIENCE_S)
    durable = control(diary).durable
    disk.held = False
    disk.let_through.release()
    second.join(PATIENCE_S)
    assert durable == 1, "the second was written while the sync of the first was under way"
    assert control(diary).durable == 2
    diary.close()


@pytest.mark.parametrize("failing", ["pwrite", "allocate"])
def test_a_call_for_which_there_is_no_room_is_refused_and_has_changed_nothing(tmp_path: Path, failing: str) -> None:
    disk = Faulty()
    diary = open_with(disk, Diary, tmp_path, segment_bytes=1 << 20)
    diary.add(1)
    disk.failing = failing
    with pytest.raises(JournalError) as refusal:
        for number in range(2, 100):
            diary.add(number, "x" * 20_000)
    assert refusal.value.errno == errno.ENOSPC
    # Not through the system, which asks the journal first whether it may be believed.
    held = control(diary)._system.engine.machine.domain.numbers
    assert held == coopy.replay(Diary, tmp_path).numbers
    control(diary)._system.abandon()


class Half(Calls):
    """Has room for the half of what is asked for."""

    full = False

    def allocate(self, fd: int, offset: int, size: int) -> None:
        super().allocate(fd, offset, size // 2 if self.full else size)
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")


def test_room_that_was_only_partly_there_is_given_back(tmp_path: Path) -> None:
    disk = Half()
    diary = open_with(disk, Diary, tmp_path, segment_bytes=1 << 20)
    path = tmp_path / "transaction_000000000000001.log"
    before = path.stat().st_size
    disk.full = True
    with pytest.raises(JournalError):
        for number in range(1, 100):
            diary.add(number, "x" * 20_000)
    assert path.stat().st_size == before
    disk.full = False
    diary.add(100)
    diary.close()


def test_an_action_right_behind_an_interrupted_one_finds_the_state_that_replay_will_give_it(tmp_path: Path) -> None:
    diary = open_with(Calls(), Diary, tmp_path)
    armed.append(MemoryError())
    with pytest.raises(MemoryError):
        diary.add_interrupted(1)
    assert diary.add(2) == 1
    diary.close()
    assert coopy.replay(Diary, tmp_path).numbers == [2]


def test_a_withdrawn_call_does_not_come_back_when_its_code_does_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    diary = open_with(Calls(), Diary, tmp_path / "open")
    with pytest.raises(KeyError):
        diary.refuse(1)
    shutil.copytree(tmp_path / "open", tmp_path / "killed")
    diary.close()
    monkeypatch.setattr(Diary, "refuse", Diary.add)
    for each in ("open", "killed"):
        assert coopy.replay(Diary, tmp_path / each).numbers == []


def test_the_outcome_of_the_action_before_a_snapshot_is_not_forgotten_by_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    diary = open_with(Calls(), Diary, tmp_path)
    diary.add(1)
    diary.take_snapshot()
    control(diary)._system.abandon()
    diary = open_with(Calls(), Diary, tmp_path)
    diary.add_interrupted(2)
    diary.close()
    Path(directory.snapshot_path(str(tmp_path), 1)).unlink()
    monkeypatch.setattr(Diary, "add", Diary.refuse)
    with pytest.raises(ReplayDiverged) as stop:
        coopy.replay(Diary, tmp_path)
    assert (stop.value.index, stop.value.recorded) == (1, "returned")


def test_opening_and_closing_writes_nothing_new(tmp_path: Path) -> None:
    diary = open_with(Calls(), Diary, tmp_path)
    diary.add(1)
    diary.close()
    path = tmp_path / "transaction_000000000000001.log"
    before = path.read_bytes()
    for _ in range(2):
        open_with(Calls(), Diary, tmp_path).close()
        assert path.read_bytes() == before


@pytest.mark.parametrize("end", [BLOCK - 1, BLOCK, BLOCK + 1, BLOCK + 64])
def test_what_is_acknowledged_behind_a_frame_that_fills_the_first_block_is_there(tmp_path: Path, end: int) -> None:
    """The process is killed between the two."""
    journal = Journal(Calls(), str(tmp_path), SYSTEM)
    journal.append(bytes(end - 64 - frame.OVERHEAD))
    assert journal._tail == end
    journal.abandon()
    for last in (2, 3):
        journal = Journal(Calls(), str(tmp_path), SYSTEM)
        assert journal.append(RECORD) == last
        journal.wait(last)
        journal.abandon()
        assert Journal(Calls(), str(tmp_path), SYSTEM, write=False).last == last


# -- what is damage, and what a torn end


def test_every_action_but_the_last_is_known_to_have_been_synced(tmp_path: Path) -> None:
    """By the frame behind it, also if that is the only one."""
    diary = open_with(Calls(), Diary, tmp_path / "open")
    for number in range(1, 6):
        diary.add(number)
        left = tmp_path / str(number)
        shutil.copytree(tmp_path / "open", left)
        path = left / "transaction_000000000000001.log"
        starts = frames(path)[:-1]
        assert len(starts) == number
        if number > 1:
            flipped(path, starts[-2] + frame.HEAD.size)
            with pytest.raises(DamagedJournal) as refusal:
                open_with(Calls(), Diary, left)
            assert (refusal.value.offset, refusal.value.index) == (starts[-2], number - 1)
    diary.close()


@pytest.mark.parametrize("durability", ["sync", "buffered"])
def test_every_action_of_a_closed_journal_is_known_to_have_been_synced(
    tmp_path: Path, durability: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last one too, by its amendment, though the machine was started anew since."""
    monkeypatch.setattr(dirlock, "is_this_boot", lambda boot: False)
    diary = open_with(Calls(), Diary, tmp_path, durability=durability)
    for number in range(1, 4):
        diary.add(number)
    diary.close()
    path = tmp_path / "transaction_000000000000001.log"
    starts = frames(path)[:-1]
    assert len(starts) == 4
    for index, start in enumerate(starts[:-1], 1):
        flipped(path, start + frame.HEAD.size)
        with pytest.raises(DamagedJournal) as refusal:
            open_with(Calls(), Diary, tmp_path)
        assert (refusal.value.offset, refusal.value.index) == (start, index)
        flipped(path, start + frame.HEAD.size)


@pytest.mark.parametrize("field", [0, 1, 2, 6, 14, frame.HEAD.size], ids=["mark", "size", "bytes", "index", "synced", "record"])
@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "second", "last"])
def test_a_frame_that_was_changed_is_named_wherever_in_a_block_it_lies(tmp_path: Path, field: int, place: int) -> None:
    diary = open_with(Calls(), Diary, tmp_path)
    for number in range(1, 7):
        diary.add(number, "x" * 10_000)
    diary.close()
    path = tmp_path / "transaction_000000000000001.log"
    starts = frames(path)[:-1]
    assert len(starts) == 3 and len(frames(path, 1)) > 3, "there is a second block"
    flipped(path, starts[place] + field)
    with pytest.raises(DamagedJournal) as refusal:
        coopy.replay(Diary, tmp_path)
    assert (refusal.value.offset, refusal.value.index) == (starts[place], place + 1)


FIELDS_OF_MANY = {
    "opcode": 0,
    "fields": 1,
    "mark": 5,
    "bytes": 9,
    "index": 13,
    "synced": 21,
    "count": 29,
    "sizes": 37,
    "records": 45,
}


@pytest.mark.parametrize("field", FIELDS_OF_MANY.values(), ids=FIELDS_OF_MANY)
@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "second", "last"])
def test_a_frame_of_several_that_was_changed_is_named_wherever_in_a_block_it_lies(
    tmp_path: Path, field: int, place: int
) -> None:
    diary = open_with(Calls(), Diary, tmp_path)
    for number in range(1, 18, 3):
        add_together(diary, *((number + each, "x" * 3300) for each in range(3)))
    diary.close()
    path = tmp_path / "transaction_000000000000001.log"
    starts = frames(path)[:-1]
    assert len(starts) == 3 and len(frames(path, 1)) > 3, "there is a second block"
    assert {path.read_bytes()[start] for start in starts} == {0x42}
    flipped(path, starts[place] + field)
    with pytest.raises(DamagedJournal) as refusal:
        coopy.replay(Diary, tmp_path)
    first = 3 * place + 1
    assert (refusal.value.offset, refusal.value.index) == (starts[place], first)
    if place:
        assert coopy.replay(Diary, tmp_path, until=first - 1).numbers == list(range(1, first))


@pytest.mark.parametrize("durability", ["sync", "buffered"])
def test_every_action_of_a_batch_in_a_closed_journal_is_known_to_have_been_synced(tmp_path: Path, durability: str) -> None:
    diary = open_with(Calls(), Diary, tmp_path, durability=durability)
    add_together(diary, *((number, "") for number in range(1, 131)))
    diary.close()
    path = tmp_path / "transaction_000000000000001.log"
    starts = frames(path)[:-1]
    assert len(starts) == 4, "64, 64, 2, and the amendment"
    for index, start in zip((1, 65, 129), starts, strict=False):
        flipped(path, start + frame.MANY_HEAD.size)
        with pytest.raises(DamagedJournal) as refusal:
            open_with(Calls(), Diary, tmp_path)
        assert (refusal.value.offset, refusal.value.index) == (start, index)
        flipped(path, start + frame.MANY_HEAD.size)
    assert coopy.replay(Diary, tmp_path).numbers == list(range(1, 131))


def test_how_the_last_action_of_a_batch_ended_is_recorded_by_who_closes_first_and_by_nobody_else(tmp_path: Path) -> None:
    diary = open_with(Calls(), Diary, tmp_path)
    add_together(diary, (1, ""), (2, ""))
    control(diary)._system.abandon()
    path = tmp_path / "transaction_000000000000001.log"
    assert len(frames(path)[:-1]) == 1
    open_with(Calls(), Diary, tmp_path).close()
    assert len(frames(path)[:-1]) == 2
    before = path.read_bytes()
    open_with(Calls(), Diary, tmp_path).close()
    assert path.read_bytes() == before


def test_a_block_that_is_not_the_next_one_is_damage_and_the_actions_before_it_are_intact(tmp_path: Path) -> None:
    diary = open_with(Calls(), Diary, tmp_path, segment_bytes=1 << 20)
    for number in range(1, 16):
        diary.add(number, "x" * 10_000)
    diary.close()
    path = tmp_path / "transaction_000000000000001.log"
    data = path.read_bytes()
    end = frames(path)[-1]
    path.write_bytes(data[:BLOCK] + data[2 * BLOCK :] + bytes(BLOCK))
    with pytest.raises(DamagedJournal) as refusal:
        coopy.replay(Diary, tmp_path)
    assert (refusal.value.offset, refusal.value.index) == (end, 4)
    assert coopy.replay(Diary, tmp_path, until=3).numbers == [1, 2, 3]


def test_the_end_of_a_full_segment_is_damage_as_soon_as_there_is_an_action_behind_it(tmp_path: Path) -> None:
    journal = journal_of_two_segments(tmp_path)
    last = journal.last
    journal.abandon()
    path = Path(directory.segment_path(str(tmp_path), 1))
    data = path.read_bytes()
    used = len(data.rstrip(b"\0"))
    damaged = (data[: used - 20_000]).ljust(len(data), b"\0")
    path.write_bytes(damaged)
    with pytest.raises(StorageError):
        list(Journal(Calls(), str(tmp_path), SYSTEM).read(0))
    assert path.read_bytes() == damaged
    assert segments(tmp_path) == [1, last], "it was begun behind a whole one, and is no torn end itself"


def test_a_torn_end_is_gone_for_good_before_anything_is_written_in_its_place(tmp_path: Path) -> None:
    """Or what lay behind it would follow what was written, after a second power cut."""
    diary = open_with(Calls(), Diary, tmp_path / "open", durability="buffered")
    for number in range(1, 6):
        diary.add(number)
    torn = tmp_path / "torn"
    shutil.copytree(tmp_path / "open", torn)
    diary.close()
    path = torn / "transaction_000000000000001.log"
    flipped(path, frames(path)[3] + frame.HEAD.size)
    calls = Recorder()
    disk = Disk(str(torn), {each.name: each.read_bytes() for each in torn.iterdir()}, calls)
    again = open_with(calls, Diary, torn, durability="buffered")
    assert again.numbers == [1, 2, 3]
    again.add(44)
    control(again)._system.abandon()
    assert coopy.replay(Diary, torn).numbers == [1, 2, 3, 44]
    for note in calls.notes:
        disk.follow(note)
    kept = iter([0])  # No change of a size that was not synced, and every write.
    found = disk.found(lambda changes: next(kept, changes))
    assert found is not None
    put(found, tmp_path / "after")
    assert coopy.replay(Diary, tmp_path / "after").numbers in ([1, 2, 3], [1, 2, 3, 44])


def test_a_full_segment_of_a_buffered_journal_is_synced_behind_its_back(tmp_path: Path) -> None:
    diary = open_with(Calls(), Diary, tmp_path, durability="buffered", segment_bytes=SEGMENT_BYTES)
    before = set(threading.enumerate())
    while len(segments(tmp_path)) == 1:
        diary.add(control(diary).index + 1, "x" * 10_000)
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE_S)
    assert control(diary).durable == control(diary).index - 1
    diary.close()


# -- what goes


class Behind(Calls):
    """Holds back what is synced in the background."""

    def __init__(self) -> None:
        self.gate = threading.Event()

    def sync_data(self, fd: int) -> None:
        if threading.current_thread() is not threading.main_thread():
            assert self.gate.wait(PATIENCE_S)
        super().sync_data(fd)


class Noting(Calls):
    """Notes what was synced, and what got its name, in order."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, str]] = []
        self._paths: dict[int, str] = {}

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        fd = super().open(path, flags, mode)
        self._paths[fd] = path
        return fd

    def sync_data(self, fd: int) -> None:
        super().sync_data(fd)
        self.notes.append(("sync", self._paths[fd]))

    def rename(self, old: str, new: str) -> None:
        super().rename(old, new)
        self.notes.append(("rename", old))

    def sync_directory(self, path: str) -> None:
        super().sync_directory(path)
        self.notes.append(("sync directory", path))


def test_whatever_gets_a_name_is_synced_before_and_its_name_after(tmp_path: Path) -> None:
    disk = Noting()
    diary = open_with(disk, Diary, tmp_path, segment_bytes=SEGMENT_BYTES)
    while len(segments(tmp_path)) == 1:
        diary.add(1, "x" * 10_000)
    diary.take_snapshot()
    diary.close()
    named = [(number, path) for number, (what, path) in enumerate(disk.notes) if what == "rename"]
    assert len(named) == 5, "the manifest, two segments, two snapshots"
    for number, path in named:
        assert disk.notes[number - 1] == ("sync", path)
        assert disk.notes[number + 1] == ("sync directory", str(tmp_path))


def test_a_manifest_that_is_written_anew_is_synced_before_it_gets_its_name_and_its_name_after(tmp_path: Path) -> None:
    open_with(Calls(), Diary, tmp_path).close()
    disk = Noting()
    found = manifest.read(disk, str(tmp_path))
    assert found is not None
    manifest.put_clock_back(disk, str(tmp_path), found, 1, 5)
    path = str(tmp_path / "coopy.json.tmp")
    assert disk.notes == [("sync", path), ("rename", path), ("sync directory", str(tmp_path))]


def test_what_a_killed_process_left_is_synced_before_it_counts_as_durable(tmp_path: Path) -> None:
    disk = Behind()
    (tmp_path / "open").mkdir()
    journal = journal_of_two_segments(tmp_path / "open", disk, "buffered")
    shutil.copytree(tmp_path / "open", tmp_path / "killed")
    journal.abandon()
    found = Noting()
    again = Journal(found, str(tmp_path / "killed"), SYSTEM)
    disk.gate.set()
    assert again.synced == again.last == journal.last
    synced = {path for what, path in found.notes if what == "sync"}
    assert synced == {directory.segment_path(str(tmp_path / "killed"), first) for first in (1, again.last)}
    again.close()


def test_a_segment_goes_when_none_of_its_actions_is_needed_and_not_before(tmp_path: Path) -> None:
    journal = journal_of_two_segments(tmp_path)
    second = segments(tmp_path)[1]
    journal.forget(second - 2)
    assert segments(tmp_path) == [1, second]
    assert [index for index, _ in journal.read(second - 2)] == [second - 1, second]
    journal.forget(second - 1)
    assert segments(tmp_path) == [second]
    journal.close()


def test_an_action_larger_than_a_segment_does_not_make_an_empty_one_begin_anew(tmp_path: Path) -> None:
    journal = Journal(Calls(), str(tmp_path), SYSTEM, segment_bytes=SEGMENT_BYTES)
    try:
        journal.append(bytes(2 * SEGMENT_BYTES))
    except IndexError as error:
        pytest.fail(f"it went into a segment that has no room for it: {error}")
    journal.append(RECORD)
    journal.forget(0)
    assert segments(tmp_path) == [1, 2]
    assert [index for index, _ in journal.read(0)] == [1, 2]
    journal.close()


class Stuck(Calls):
    """Can't delete any more after a while."""

    def __init__(self, removals: int) -> None:
        self.removals = removals

    def remove(self, path: str) -> None:
        if not self.removals:
            raise OSError(5, "stuck", path)
        self.removals -= 1
        super().remove(path)


@pytest.mark.parametrize("removals", range(7))
def test_a_crash_while_pruning_leaves_no_snapshot_without_its_journal(tmp_path: Path, removals: int) -> None:
    disk = Stuck(1 << 30)
    diary: Any = open_with(disk, Diary, tmp_path, segment_bytes=SEGMENT_BYTES)
    number = 0
    for _ in range(4):
        for _ in range(7):
            number += 1
            diary.add(number, "x" * 10_000)
        diary.take_snapshot()
    assert (snapshots(tmp_path), segments(tmp_path)) == ([0, 7, 14, 21, 28], [1, 10, 19, 28])
    disk.removals = removals
    with pytest.raises(OSError, match="stuck"):
        control(diary).prune(keep=1)
    control(diary)._system.abandon()
    for index in range(snapshots(tmp_path)[0], number + 1):
        assert coopy.replay(Diary, tmp_path, until=index).numbers == list(range(1, index + 1))
