"""Segments that are missing, foreign, damaged or too small, and what the journal does with them."""

from __future__ import annotations

import logging
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from faults import open_with

import coopy
from coopy import (
    DamagedJournal,
    DamagedManifest,
    DamagedSnapshot,
    DirectoryInUse,
    ForeignDirectory,
    MissingActions,
    PrunedPast,
    SnapshotError,
    StorageError,
    UnsupportedFormat,
    control,
    init_system,
)
from coopy.disk import child, manifest
from coopy.disk.fs import Calls
from coopy.disk.journal import Journal
from coopy.disk.segment import BLOCK
from coopy.past.reading import Reading


class Pile:
    def __init__(self) -> None:
        self.sizes: list[int] = []

    def add(self, data: str) -> None:
        self.sizes.append(len(data))


def fill(directory: Path, *sizes: int, durability: str = "sync", close: bool = True) -> Any:
    pile = init_system(Pile, directory, durability=durability, segment_bytes=1 << 20, validation="off")
    for size in sizes:
        pile.add("x" * size)
    if close:
        control(pile).close()
    return pile


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("transaction_*.log"))


def opened(directory: Path) -> list[int]:
    with init_system(Pile, directory, segment_bytes=1 << 20, validation="off") as pile:
        return list(pile.sizes)


SIZES = [100_000] * 40


def test_the_journal_rolls_over_by_size_and_all_segments_are_replayed(tmp_path: Path) -> None:
    fill(tmp_path, *SIZES)
    assert len(segments(tmp_path)) >= 4
    assert opened(tmp_path) == SIZES
    assert all(path.stat().st_size <= (1 << 20) + BLOCK for path in segments(tmp_path)), "a block more for an amendment"


def test_frames_longer_than_a_block_or_a_segment_find_room(tmp_path: Path) -> None:
    sizes = [10, BLOCK + 1, 10, 5 * BLOCK, 10, 3 << 20, 10, BLOCK - 100, 10]
    fill(tmp_path, *sizes)
    assert opened(tmp_path) == sizes
    assert coopy.replay(Pile, tmp_path, until=6).sizes == sizes[:6]
    assert opened(tmp_path) == sizes


@pytest.mark.parametrize("place", [0, 1, -2], ids=["first", "second", "last but one"])
def test_a_missing_segment_is_named_with_its_actions(tmp_path: Path, place: int) -> None:
    fill(tmp_path, *SIZES)
    gone = segments(tmp_path)[place]
    first = int(gone.stem.split("_")[1])
    gone.unlink()
    for use in (lambda: opened(tmp_path), lambda: coopy.replay(Pile, tmp_path)):
        with pytest.raises(MissingActions, match="missing") as refusal:
            use()
        assert refusal.value.first == first


def test_a_segment_of_another_system_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "a", 1, 2)
    fill(tmp_path / "b", 3, 4)
    shutil.copy(segments(tmp_path / "b")[0], segments(tmp_path / "a")[0])
    with pytest.raises(ForeignDirectory, match="belongs to system"):
        opened(tmp_path / "a")


def test_swapped_segments_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, *SIZES)
    one, two = segments(tmp_path)[:2]
    kept = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(kept)
    with pytest.raises(DamagedJournal, match="its first action is"):
        opened(tmp_path)


@pytest.mark.parametrize("data", [b"", b"short", b"\0" * 1000], ids=["empty", "short", "zeros"])
def test_a_file_that_is_no_segment_is_refused(tmp_path: Path, data: bytes) -> None:
    fill(tmp_path, 1)
    segments(tmp_path)[0].write_bytes(data)
    with pytest.raises((DamagedJournal, ForeignDirectory), match="transaction_"):
        opened(tmp_path)


def resealed(data: bytearray, at: int, value: bytes, end: int) -> bytes:
    """Header bytes with a field changed and the checksum made right again."""
    import zlib

    data[at : at + len(value)] = value
    data[end : end + 4] = zlib.crc32(data[:end]).to_bytes(4, "little")
    return bytes(data)


def test_files_of_a_newer_format_are_refused_as_such(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    for path in (segments(tmp_path)[0], tmp_path / "snapshot_000000000000000.dat"):
        kept = path.read_bytes()
        path.write_bytes(resealed(bytearray(kept), 8, (2).to_bytes(4, "little"), 60))
        with pytest.raises(UnsupportedFormat, match="has format 2; this coopy reads 1"):
            opened(tmp_path)
        path.write_bytes(kept)
    assert opened(tmp_path) == [1]


@pytest.mark.parametrize("durability", ["sync", "buffered"])
@pytest.mark.parametrize("what", ["zeros", "a copy of another block"])
@pytest.mark.parametrize("place", [0, -1], ids=["first segment", "last segment"])
def test_a_whole_block_that_is_not_what_was_written_is_damage(tmp_path: Path, durability: str, what: str, place: int) -> None:
    fill(tmp_path, *[10_000] * 230, durability=durability)
    assert len(segments(tmp_path)) >= 3
    path = segments(tmp_path)[place]
    data = bytearray(path.read_bytes())
    assert data[2 * BLOCK : 2 * BLOCK + 2] == b"C!", "there is a third block"
    data[BLOCK : 2 * BLOCK] = bytes(BLOCK) if what == "zeros" else data[2 * BLOCK : 3 * BLOCK]
    path.write_bytes(data)
    for use in (lambda: opened(tmp_path), lambda: coopy.replay(Pile, tmp_path)):
        with pytest.raises(StorageError):
            use()
    assert path.read_bytes() == bytes(data)


def test_garbage_in_the_padding_between_blocks_is_damage(tmp_path: Path) -> None:
    fill(tmp_path, *[10_000] * 12)
    path = segments(tmp_path)[0]
    data = bytearray(path.read_bytes())
    assert data[BLOCK - 1] == 0
    data[BLOCK - 1] = 1
    path.write_bytes(data)
    with pytest.raises(DamagedJournal):
        opened(tmp_path)


@pytest.mark.parametrize("durability", ["sync", "buffered"])
def test_a_frame_torn_by_a_power_cut_is_cut_off_with_what_was_not_synced_behind_it(
    tmp_path: Path, durability: str, caplog: pytest.LogCaptureFixture
) -> None:
    pile = fill(tmp_path / "a", 1, 2, 3, durability="buffered", close=False)
    journal = control(pile)._system._journal
    tail = journal._tail
    pile.add("torn")
    torn_end = journal._tail
    pile.add("later, and whole")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    control(pile).close()
    path = segments(tmp_path / "b")[0]
    data = bytearray(path.read_bytes())
    data[tail + 30 : torn_end] = bytes(torn_end - tail - 30)
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING, "coopy"):
        with init_system(Pile, tmp_path / "b", durability=durability, validation="off") as again:
            assert again.sizes == [1, 2, 3]
            again.add("four")
    assert "torn" in caplog.text
    assert opened(tmp_path / "b") == [1, 2, 3, 4]


def test_a_journal_that_ends_before_the_newest_snapshot_goes_on_behind_it(tmp_path: Path) -> None:
    pile = fill(tmp_path, 1, 2, close=False)
    kept = segments(tmp_path)[0].read_bytes()
    pile.add("333")
    pile.take_snapshot()
    control(pile).close()
    segments(tmp_path)[0].write_bytes(kept)  # As a power cut may leave a buffered journal.
    with init_system(Pile, tmp_path, validation="off") as again:
        assert (again.sizes, control(again).index) == ([1, 2, 3], 3)
        again.add("4444")
    for _ in range(2):
        assert opened(tmp_path) == [1, 2, 3, 4]
    assert coopy.replay(Pile, tmp_path, until=2).sizes == [1, 2]


def test_all_snapshots_damaged_is_an_error_that_names_the_newest(tmp_path: Path) -> None:
    pile = fill(tmp_path, 1, close=False)
    pile.take_snapshot()
    control(pile).close()
    for path in tmp_path.glob("snapshot_*"):
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedSnapshot, match="snapshot_000000000000001.dat") as refusal:
        opened(tmp_path)
    assert refusal.value.index == 1


def test_without_any_snapshot_nothing_is_replayed_onto_nothing(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    (tmp_path / "snapshot_000000000000000.dat").unlink()
    with pytest.raises(MissingActions, match="no snapshot"):
        opened(tmp_path)


def test_a_manifest_that_does_not_read_is_named(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    (tmp_path / "coopy.json").write_text("{")
    with pytest.raises(DamagedManifest, match="is not JSON"):
        opened(tmp_path)


class Recording(Calls):
    """Notes what is made durable, in order."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, str]] = []
        self._paths: dict[int, str] = {}

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        fd = super().open(path, flags, mode)
        self._paths[fd] = os.path.basename(path).removesuffix(".tmp")
        return fd

    def sync_data(self, fd: int) -> None:
        self.notes.append(("sync", self._paths[fd]))
        super().sync_data(fd)

    def rename(self, old: str, new: str) -> None:
        self.notes.append(("rename", os.path.basename(new)))
        super().rename(old, new)

    def sync_directory(self, path: str) -> None:
        self.notes.append(("sync directory", ""))
        super().sync_directory(path)


def test_a_new_segment_is_durable_by_name_before_it_is_used_and_the_old_one_before_that(tmp_path: Path) -> None:
    calls = Recording()
    pile = open_with(calls, Pile, tmp_path)
    for _ in range(8):
        pile.add("x" * 100_000)
    calls.notes.clear()
    while len(segments(tmp_path)) == 1:
        pile.add("x" * 100_000)
    new = segments(tmp_path)[1].name
    notes = calls.notes
    rolled = notes.index(("sync", new))
    assert notes[rolled - 1 : rolled + 3] == [
        ("sync", segments(tmp_path)[0].name),
        ("sync", new),
        ("rename", new),
        ("sync directory", ""),
    ]
    assert notes[rolled + 3][0] == "sync", "the first wait in the new segment"


def test_a_snapshot_is_synced_before_it_has_its_name_and_its_name_before_it_counts(tmp_path: Path) -> None:
    calls = Recording()
    pile = open_with(calls, Pile, tmp_path)
    pile.add("x")
    calls.notes.clear()
    pile.take_snapshot()
    kinds = [kind for kind, _ in calls.notes]
    assert kinds == ["sync", "rename", "sync directory"]


def test_what_an_earlier_process_left_half_written_is_swept_away(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    for name in ("transaction_000000000000002.log.tmp", "snapshot_000000000000001.dat.77.tmp", "coopy.json.tmp"):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / "mine.tmp").write_bytes(b"the user's own")
    assert opened(tmp_path) == [1]
    assert [path.name for path in tmp_path.glob("*.tmp")] == ["mine.tmp"]


def test_keeping_two_snapshots_deletes_what_only_older_ones_need(tmp_path: Path) -> None:
    with init_system(Pile, tmp_path, keep=2, segment_bytes=1 << 20, validation="off") as pile:
        for _ in range(4):
            for _ in range(15):
                pile.add("x" * 100_000)
            pile.take_snapshot()
        assert sorted(int(path.stem.split("_")[1]) for path in tmp_path.glob("snapshot_*")) == [45, 60]
        firsts = [int(path.stem.split("_")[1]) for path in segments(tmp_path)]
        assert 1 not in firsts and firsts[0] <= 46
    assert opened(tmp_path) == [100_000] * 60
    assert coopy.replay(Pile, tmp_path, until=50).sizes == [100_000] * 50
    with pytest.raises(PrunedPast):
        coopy.replay(Pile, tmp_path, until=10)


# -- children


def test_a_child_that_fails_says_why(tmp_path: Path) -> None:
    def fail() -> None:
        raise ValueError("the reason")

    with pytest.raises(SnapshotError, match="ValueError: the reason"):
        child.start(fail)()


def test_a_child_that_is_killed_is_noticed() -> None:
    with pytest.raises(SnapshotError, match="was ended by SIGKILL"):
        child.start(lambda: os.kill(os.getpid(), signal.SIGKILL))()


def test_a_child_that_cannot_be_forked_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", fork)
    with pytest.raises(SnapshotError, match="no child could be forked"):
        child.start(lambda: None)


def test_the_lock_names_its_holder_and_a_left_file_means_nothing(tmp_path: Path) -> None:
    pile = fill(tmp_path, 1, close=False)
    with pytest.raises(DirectoryInUse, match=f"this process \\({os.getpid()}\\)") as refusal:
        opened(tmp_path)
    assert refusal.value.pid == os.getpid()
    control(pile).close()
    (tmp_path / "lock").write_text("99999999\n")
    assert opened(tmp_path) == [1]


def test_the_state_before_damage_can_be_looked_at_as_the_error_says(tmp_path: Path) -> None:
    fill(tmp_path, *range(1, 8))
    path = segments(tmp_path)[0]
    data = bytearray(path.read_bytes())
    data[300] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedJournal, match="until=") as refusal:
        opened(tmp_path)
    index = refusal.value.index
    assert 1 < index < 7
    assert coopy.replay(Pile, tmp_path, until=index - 1).sizes == list(range(1, index))
    with pytest.raises(DamagedJournal):
        coopy.replay(Pile, tmp_path)


def test_the_state_of_a_snapshot_can_be_looked_at_although_what_follows_it_is_damaged(tmp_path: Path) -> None:
    pile = fill(tmp_path, 1, 2, 3, close=False)
    pile.take_snapshot()
    for size in (4, 5, 6):
        pile.add("x" * size)
    control(pile).close()
    path = segments(tmp_path)[0]
    data = bytearray(path.read_bytes())
    data[data.index(b"xxxx")] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedJournal, match="until=3"):
        opened(tmp_path)
    assert coopy.replay(Pile, tmp_path, until=3).sizes == [1, 2, 3]
    with pytest.raises(DamagedJournal):
        coopy.replay(Pile, tmp_path)


def test_what_is_appended_while_a_journal_is_opened_to_be_read_is_no_damage(tmp_path: Path) -> None:
    pile = fill(tmp_path, 1, close=False)

    class Busy(Calls):
        reads = 0

        def pread(self, fd: int, size: int, offset: int) -> bytes:
            data = super().pread(fd, size, offset)
            self.reads += 1
            if self.reads == 2:
                for _ in range(7):
                    pile.add("x" * 10_000)
            return data

    system = manifest.read(Calls(), str(tmp_path))
    assert system is not None
    journal = Journal(Busy(), str(tmp_path), system.system, write=False, floor=0)
    assert journal.last == 8
    journal.close()
    control(pile).close()


def test_what_was_pruned_after_a_journal_was_opened_to_be_read_is_said_to_be_missing(tmp_path: Path) -> None:
    pile = open_with(Calls(), Pile, tmp_path)
    pile.add("x" * (1 << 20))
    pile.add("y")
    with Reading(str(tmp_path), Pile) as reading:
        control(pile).take_snapshot()
        pile.add("x" * (1 << 20))
        control(pile).prune(keep=1)
        with pytest.raises(MissingActions, match="pruned meanwhile"):
            list(reading.actions())
    control(pile).close()
