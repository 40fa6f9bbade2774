"""A backup is a consistent copy with all that was acknowledged, whatever an open system does meanwhile; or there is none."""

from __future__ import annotations

import importlib
import os
import stat
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import handed
import program
import pytest
from faults import open_with

import coopy
from coopy import DamagedJournal, DirectoryInUse, ForeignDirectory, StorageError, UsageError, control, init_system
from coopy.disk.dirlock import DirectoryLock
from coopy.disk.fs import Calls
from coopy.past.reading import Reading
from coopy.tools import backup as module
from coopy.tools.backup import backup
from coopy.tools.contents import contents

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


class Book:
    def __init__(self) -> None:
        self.lines: list[int] = []

    def write(self, number: int, filler: str = "") -> None:
        self.lines.append(number)


class Called(handed.Called):
    domain = Book


class Quick(Calls):
    """Nobody cuts the power here, so nothing waits for the disk."""

    def sync_data(self, fd: int) -> None:
        pass

    def sync_directory(self, path: str) -> None:
        pass


def opened(directory: Path, **settings: Any) -> Any:
    return open_with(Quick(), Book, directory, **settings)


def write(book: Any, upto: int) -> None:
    for number in range(len(book.lines) + 1, upto + 1):
        book.write(number, "x" * 140_000)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three segments (actions 1 to 6, 7 to 12, 13 to 17) and the snapshots 0, 10 and 17; closed."""
    directory = tmp_path / "data"
    with opened(directory) as book:
        for upto in (10, 17):
            write(book, upto)
            book.take_snapshot()
    return directory


def segment(first: int) -> str:
    return f"transaction_{first:015d}.log"


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def holds(dest: Path, last: int) -> None:
    """It opens, has exactly the actions up to ``last``, and goes on."""
    found = contents(str(dest))
    assert (found.damages, found.others, found.last) == ([], [], last)
    with opened(dest) as book:
        assert book.lines == list(range(1, last + 1))
        book.write(last + 1)
    with opened(dest) as book:
        assert book.lines == list(range(1, last + 2))


def test_the_copy_of_a_closed_directory_has_everything(data: Path, tmp_path: Path) -> None:
    dest = tmp_path / "copy"
    done = backup(str(data), str(dest))
    assert (done.basedir, done.dest, done.index) == (str(data), str(dest), 17)
    assert names(dest) == [name for name in names(data) if name != "lock"]
    assert done.files == len(names(dest))
    assert done.bytes == sum(path.stat().st_size for path in dest.iterdir())
    assert contents(str(dest)).system == contents(str(data)).system
    for until in range(18):
        assert coopy.replay(Book, dest, until=until).lines == list(range(1, until + 1))
    holds(dest, 17)


def test_who_may_not_read_the_secret_may_not_read_it_in_the_copy(data: Path, tmp_path: Path) -> None:
    backup(str(data), str(tmp_path / "copy"))
    for path in (tmp_path / "copy").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_empty_directory_is_filled_and_missing_ones_are_made(data: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    backup(str(data), str(tmp_path / "empty"))
    backup(str(data), str(tmp_path / "a" / "b" / "c"))
    assert names(tmp_path / "empty") == names(tmp_path / "a" / "b" / "c")
    assert names(tmp_path) == ["a", "data", "empty"]


def test_an_open_system_is_not_disturbed_and_the_copy_is_held_by_nobody(data: Path, tmp_path: Path) -> None:
    with opened(data) as book:
        write(book, 19)
        assert backup(str(data), str(tmp_path / "copy")).index == 19
        assert contents(str(tmp_path / "copy")).holder is None
        assert contents(str(data)).holder == os.getpid()
        write(book, 20)
    holds(tmp_path / "copy", 19)


def test_a_torn_end_is_left_out(data: Path, tmp_path: Path) -> None:
    (data / "snapshot_000000000000017.dat").unlink()
    path = data / segment(13)
    os.truncate(path, 4 * 163_840 + 1000)
    assert backup(str(data), str(tmp_path / "copy")).index == 16
    assert [each.state for each in contents(str(tmp_path / "copy")).segments] == ["whole"] * 3
    holds(tmp_path / "copy", 16)


def test_progress_is_told_in_bytes_up_to_all_of_them(data: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    done = backup(str(data), str(tmp_path / "copy"), lambda *progress: told.append(progress))
    assert told == sorted(told)
    assert told[-1] == (done.bytes, done.bytes)


@pytest.fixture
def crowd(tmp_path: Path) -> Path:
    """Actions 1 to 50, in frames of 20, 20 and 10, and the snapshots 0 and 20; it was not closed."""
    directory = tmp_path / "crowd"
    book = opened(directory)
    for numbers in (range(1, 21), range(21, 41), range(41, 51)):
        engine = book._coopy_engine
        engine.settle(engine.begin_all([Called("write", number, "x" * 100) for number in numbers]))
        if numbers[-1] == 20:
            book.take_snapshot()
    control(book)._system.abandon()
    return directory


def test_a_torn_frame_of_several_is_left_out_with_all_of_its_actions(crowd: Path, tmp_path: Path) -> None:
    whole = (crowd / segment(1)).read_bytes()
    offset = place_of(crowd, 45)
    end = len(whole.rstrip(b"\0"))
    assert offset == place_of(crowd, 41)
    for number, size in enumerate((1, 20, 33, 60, end - offset - 1)):
        (crowd / segment(1)).write_bytes(whole[: offset + size].ljust(len(whole), b"\0"))
        dest = tmp_path / f"copy{number}"
        assert backup(str(crowd), str(dest)).index == 40
        assert (dest / segment(1)).stat().st_size == offset
        holds(dest, 40)


def test_to_any_action_of_a_frame_of_several_one_can_go_back_also_in_the_copy(crowd: Path, tmp_path: Path) -> None:
    backup(str(crowd), str(tmp_path / "copy"))
    for directory in (crowd, tmp_path / "copy"):
        for until in range(51):
            assert coopy.replay(Book, directory, until=until).lines == list(range(1, until + 1))
    place = place_of(crowd, 30)
    flip(crowd / segment(1), place + 500)
    for until in (0, 10, 19, 20):
        assert coopy.replay(Book, crowd, until=until).lines == list(range(1, until + 1)), "what lies behind need not be whole"
    with pytest.raises(DamagedJournal) as refused:
        coopy.replay(Book, crowd)
    assert (refused.value.index, refused.value.offset) == (21, place)


def place_of(directory: Path, index: int) -> int:
    """The offset of an action's frame."""
    with Reading(str(directory)) as reading:
        return int(reading.log.where(index).rpartition(", byte ")[2])


# -- refused


def test_what_is_there_is_not_written_over(data: Path, tmp_path: Path) -> None:
    taken, file, link = tmp_path / "taken", tmp_path / "file", tmp_path / "link"
    taken.mkdir()
    (taken / "mine").write_text("x")
    file.write_text("x")
    link.symlink_to(tmp_path / "nowhere")
    before = names(tmp_path)
    for dest in (taken, file, link, data, data / "inside"):
        with pytest.raises(UsageError, match=str(dest)):
            backup(str(data), str(dest))
    assert names(tmp_path) == before


@pytest.mark.parametrize("name", ["nothing", "empty", "0.4.6", "0.7.0"])
def test_what_is_no_system_is_not_copied(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    path = GOLDEN / f"coopy-{name}" if name.startswith("0") else tmp_path / name
    with pytest.raises((UsageError, ForeignDirectory), match="coopy import|no such|no coopy.json"):
        backup(str(path), str(tmp_path / "copy"))
    assert names(tmp_path) == ["empty"]


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 0x20
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "offset"),
    [
        (segment(1), 300_000),
        (segment(13), 300_000),
        (segment(7), 40),
        (segment(13), 40),
        ("snapshot_000000000000010.dat", 90),
        ("coopy.json", 40),
    ],
)
def test_a_damaged_directory_has_no_copy_that_looks_like_a_good_one(data: Path, tmp_path: Path, name: str, offset: int) -> None:
    flip(data / name, offset)
    with pytest.raises(StorageError, match=name):
        backup(str(data), str(tmp_path / "copy"))
    assert names(tmp_path) == ["data"]


def test_a_missing_segment_is_no_pruned_one(data: Path, tmp_path: Path) -> None:
    (data / segment(7)).unlink()
    with pytest.raises(StorageError, match="actions 7 to 12"):
        backup(str(data), str(tmp_path / "copy"))
    assert names(tmp_path) == ["data"]


# -- interrupted


@pytest.mark.parametrize("call", ["open", "pwrite", "sync_data", "sync_directory", "rename"])
def test_where_the_disk_refuses_there_is_no_copy(data: Path, tmp_path: Path, call: str) -> None:
    class Failing(Calls):
        left = 3 if call != "rename" else 1

    def refuse(self: Failing, *arguments: Any) -> Any:
        if call == "open" and not arguments[1] & os.O_CREAT:
            return Calls.open(*arguments)
        Failing.left -= 1
        if Failing.left <= 0:
            raise OSError(28, "No space left on device")
        return Calls.open(*arguments) if call == "open" else getattr(Calls, call)(self, *arguments)

    setattr(Failing, call, refuse)
    with pytest.raises(OSError, match="No space"):
        backup(str(data), str(tmp_path / "copy"), calls=Failing())
    if call != "sync_directory":
        assert not (tmp_path / "copy").exists()
    if (tmp_path / "copy").exists():
        holds(tmp_path / "copy", 17)


def test_what_an_interrupted_backup_left_is_written_over(data: Path, tmp_path: Path) -> None:
    left = tmp_path / "copy.tmp"
    left.mkdir()
    for name in ("coopy.json", segment(1), segment(500), "snapshot_000000000000400.dat", "lock"):
        (left / name).write_text("half of it")
    backup(str(data), str(tmp_path / "copy"))
    assert names(tmp_path) == ["copy", "data"]
    holds(tmp_path / "copy", 17)


def test_what_is_somebodys_is_not_taken_for_an_interrupted_backup(data: Path, tmp_path: Path) -> None:
    (tmp_path / "copy.tmp").mkdir()
    (tmp_path / "copy.tmp" / "thesis.txt").write_text("x")
    with pytest.raises(UsageError, match="thesis.txt"):
        backup(str(data), str(tmp_path / "copy"))
    assert names(tmp_path / "copy.tmp") == ["thesis.txt"]


def test_two_backups_to_one_place_do_not_mix(data: Path, tmp_path: Path) -> None:
    (tmp_path / "copy.tmp").mkdir()
    lock = DirectoryLock(str(tmp_path / "copy.tmp"))
    with pytest.raises(DirectoryInUse):
        backup(str(data), str(tmp_path / "copy"))
    lock.release()
    backup(str(data), str(tmp_path / "copy"))


# -- meanwhile


class Meanwhile(Calls):
    """Does something behind each call of a name, as another process does."""

    def __init__(self, call: str, work: Callable[[int], None]) -> None:
        self.call = call
        self.work = work
        self.count = 0

    def _done(self, call: str) -> None:
        if call == self.call:
            self.call = ""
            self.count += 1
            self.work(self.count)
            self.call = call

    def names(self, path: str) -> list[str]:
        found = super().names(path)
        self._done("names")
        return found

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        fd = super().open(path, flags, mode)
        self._done("open")
        return fd

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        found = super().pread(fd, size, offset)
        self._done("pread")
        return found


@pytest.mark.parametrize("held", [256, 1])
@pytest.mark.parametrize("call", ["names", "open", "pread"])
@pytest.mark.parametrize("busy", [5, 10**9])
def test_what_is_written_rolled_over_and_pruned_meanwhile_makes_no_gap(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, busy: int, held: int
) -> None:
    monkeypatch.setattr(module, "_HELD", held)
    monkeypatch.setattr(module, "_TRIES", 5)
    with opened(data) as book:
        acknowledged = len(book.lines)

        def work(count: int) -> None:
            if count <= busy and count % 3 == 0:
                write(book, len(book.lines) + 4)
            if count <= busy and count % 7 == 0:
                book.take_snapshot()
                control(book).prune(keep=1)

        dest = tmp_path / "copy"
        try:
            done = backup(str(data), str(dest), calls=Meanwhile(call, work))
        except StorageError as error:
            # With one file held open and a system that never rests it may be hopeless. Then it says so.
            assert (held, busy) == (1, 10**9) and "pruned" in str(error)
            assert names(tmp_path) == ["data"]
            return
        assert done.index >= acknowledged
    holds(dest, done.index)


def test_files_that_are_pruned_between_the_list_and_the_copy_are_not_missed(data: Path, tmp_path: Path) -> None:
    with opened(data) as book:
        write(book, 20)
        pruned: list[list[int]] = []

        def work(count: int) -> None:
            if not pruned:
                pruned.append(control(book).prune(keep=1))

        done = backup(str(data), str(tmp_path / "copy"), calls=Meanwhile("names", work))
    assert pruned == [[0, 10]]
    assert done.index == 20
    assert [each.index for each in contents(str(tmp_path / "copy")).snapshots] in ([17], [0, 10, 17])


def test_a_list_of_names_made_in_the_midst_of_a_change_is_made_again(data: Path, tmp_path: Path) -> None:
    class Halfway(Calls):
        lists = 0

        def names(self, path: str) -> list[str]:
            found = super().names(path)
            if path == str(data):
                self.lists += 1
            # The old snapshots are not there any more, the new one is not yet: no one moment was so.
            return [name for name in found if self.lists > 1 or not name.startswith("snapshot_")]

    calls = Halfway()
    backup(str(data), str(tmp_path / "copy"), calls=calls)
    assert calls.lists > 2
    holds(tmp_path / "copy", 17)


def test_who_prunes_faster_than_one_can_copy_is_told(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TRIES", 3)
    with opened(data) as book:

        def work(count: int) -> None:
            write(book, len(book.lines) + 1)
            book.take_snapshot()
            control(book).prune(keep=1)

        with pytest.raises(StorageError, match="3 attempts.*There is no copy"):
            backup(str(data), str(tmp_path / "copy"), calls=Meanwhile("names", work))
    assert names(tmp_path) == ["data"]


COUNTING = """
    import zlib

    class Counting:
        def __init__(self):
            self.count = 0
            self.chain = 0

        def add(self, number, filler):
            assert number == self.count + 1
            self.count = number
            self.chain = zlib.crc32(b"%d" % number, self.chain)
            return number

    def chain(count):
        value = 0
        for number in range(1, count + 1):
            value = zlib.crc32(b"%d" % number, value)
        return value
"""
WRITING = """
    import os, struct, sys
    from coopy import init_system
    from counting_of_backups import Counting

    basedir, ledger, durability = sys.argv[1:]
    system = init_system(
        Counting, basedir, durability=durability, segment_bytes=1 << 20, snapshot_growth=3 << 20, keep=1, fork=False,
        validation="off",
    )
    fd = os.open(ledger, os.O_RDWR | os.O_CREAT)
    acknowledged = 0
    while os.getppid() == int(os.environ["TESTED_BY"]):
        acknowledged = system.add(acknowledged + 1, b"x" * (acknowledged % 900))
        os.pwrite(fd, struct.pack("<Q", acknowledged), 0)
        if acknowledged == 1:
            print("begun", flush=True)
"""


@pytest.mark.parametrize("durability", ["sync", "buffered"])
def test_every_backup_of_a_busy_system_opens_and_has_what_was_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durability: str
) -> None:
    program.write(tmp_path / "counting_of_backups.py", COUNTING)
    script = program.write(tmp_path / "writing.py", WRITING)
    monkeypatch.syspath_prepend(str(tmp_path))
    domain = importlib.import_module("counting_of_backups")
    monkeypatch.delitem(sys.modules, "counting_of_backups")
    monkeypatch.setitem(sys.modules, "counting_of_backups", domain)
    basedir, ledger = tmp_path / "data", tmp_path / "ledger"
    process = program.start(script, basedir, ledger, durability, TESTED_BY=str(os.getpid()))
    try:
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        last = 0
        snapshots: set[int] = set()
        for number in range(40):
            (acknowledged,) = struct.unpack("<Q", ledger.read_bytes())
            dest = tmp_path / f"copy{number}"
            done = backup(str(basedir), str(dest))
            assert done.index >= max(acknowledged, last), "what was in one backup is in the next, acknowledged or not"
            copy = coopy.replay(domain.Counting, dest)
            assert (copy.count, copy.chain) == (done.index, domain.chain(done.index))
            snapshots.add(contents(str(dest)).snapshots[-1].index)
            last = done.index
            if number >= 4 and len(snapshots) >= 3:
                break  # It has rolled over and pruned meanwhile.
    finally:
        process.kill()
        process.communicate()
    done = backup(str(basedir), str(tmp_path / "of the killed"))
    assert done.index >= struct.unpack("<Q", ledger.read_bytes())[0]
    with init_system(domain.Counting, tmp_path / "of the killed", validation="off") as system:
        assert system.chain == domain.chain(done.index)
