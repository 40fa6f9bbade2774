"""A small real file system, filled to its last byte while a system writes, snapshots, rolls over and opens.

What is acknowledged is there afterwards; what is refused has changed nothing; and once there is
room again the same process goes on.

The file systems are mounted, which takes root. Elsewhere COOPY_SMALL_DISK may name
a directory of a small mounted file system, with 4 to 64 MiB free, that nothing else writes to.
"""

from __future__ import annotations

import errno
import gc
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from program import start, write

import coopy
from coopy import JournalError, SnapshotError, abort_exception, control, init_system, readonly, transactional
from coopy.disk import child, frame
from coopy.disk.fs import Calls
from coopy.ground import action

SMALL_DISK = os.environ.get("COOPY_SMALL_DISK", "")
ROOM_BYTES_MAX = 64 << 20
ROLLING, GROWING = 1 << 20, 64 << 20
RECORD = 10_000
AMENDMENT = frame.OVERHEAD + len(action.amendment(0, 0, action.UNKNOWN))


class Disk:
    """A file system with a ballast file on it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._ballast = root / "ballast"

    def fill(self, leaving: int = 0) -> None:
        """Takes all the room there is, but for about ``leaving`` bytes."""
        fd = os.open(self._ballast, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        try:
            size = 1 << 20
            while size >= 256:
                try:
                    whole = os.write(fd, bytes(size)) == size
                except OSError as error:
                    assert error.errno == errno.ENOSPC
                    whole = False
                if not whole:
                    size //= 2
            os.fsync(fd)
            if leaving:
                os.ftruncate(fd, max(0, os.fstat(fd).st_size - leaving))
                os.fsync(fd)
        finally:
            os.close(fd)

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)


def mounted(place: Path, *command: str) -> None:
    place.mkdir()
    done = subprocess.run(["mount", *command, str(place)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this process may not mount a file system: {done.stderr.strip()}")


def unmounted(place: Path) -> None:
    """Whatever still holds a file on it: a failed test must not leave a mount behind."""
    gc.collect()
    if subprocess.run(["umount", str(place)], capture_output=True, check=False).returncode:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture(scope="module", params=["tmpfs", "ext4", *(["COOPY_SMALL_DISK"] if SMALL_DISK else [])])
def file_system(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if request.param == "COOPY_SMALL_DISK":
        room = shutil.disk_usage(SMALL_DISK).free
        assert room <= ROOM_BYTES_MAX, f"COOPY_SMALL_DISK={SMALL_DISK} has {room} bytes free, which is not small"
        yield Path(SMALL_DISK)
        return
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting a small file system takes root on Linux; or set COOPY_SMALL_DISK")
    place = tmp_path_factory.mktemp(request.param) / "mounted"
    if request.param == "tmpfs":
        mounted(place, "-t", "tmpfs", "-o", "size=6m", "tmpfs")
    else:
        if not shutil.which("mkfs.ext4"):
            pytest.skip("there is no mkfs.ext4")
        # In memory where possible: what a real disk would take for its syncs is no part of this.
        with tempfile.NamedTemporaryFile(dir="/dev/shm" if os.path.isdir("/dev/shm") else place.parent) as image:
            image.truncate(16 << 20)
            subprocess.run(["mkfs.ext4", "-q", "-F", image.name], check=True)
            # What is mounted keeps the image, though it has no name any more.
            mounted(place, "-o", "loop", image.name)
    try:
        yield place
    finally:
        unmounted(place)


@pytest.fixture
def disk(file_system: Path) -> Iterator[Disk]:
    root = file_system / "coopy-test"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    yield Disk(root)
    shutil.rmtree(root)


class Written(Calls):
    """As on a file system where writing through a map could fail."""

    def mappable(self, fd: int) -> bool:
        return False


WAYS: dict[str, type[Calls]] = {"mapped": Calls, "written": Written}


class Ledger:
    def __init__(self) -> None:
        self.entries: list[tuple[int, int]] = []
        self.filler = b""

    def add(self, number: int, filler: bytes) -> int:
        self.entries.append((number, len(filler)))
        return number

    def keep(self, filler: bytes) -> None:
        """Makes the state that large."""
        self.filler = filler

    @transactional
    def add_and_refuse(self, filler: bytes) -> None:
        self.entries.append((-1, len(filler)))
        raise ValueError(len(filler))

    @abort_exception
    def refuse(self, filler: bytes) -> None:
        raise ValueError(len(filler))

    @readonly
    def seen(self) -> list[tuple[int, int]]:
        return list(self.entries)


class Clerk:
    """Writes into one directory, and knows what was acknowledged."""

    def __init__(
        self,
        basedir: Path,
        *,
        durability: str = "sync",
        way: str = "mapped",
        segment_bytes: int = ROLLING,
        fork: bool = False,
        keep: int | None = None,
    ) -> None:
        self.basedir = basedir
        self.acknowledged: list[tuple[int, int]] = []
        self._way = way
        self._how: dict[str, Any] = {"durability": durability, "segment_bytes": segment_bytes, "fork": fork, "keep": keep}
        self.open()

    def open(self) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("coopy.place.directory.Calls", WAYS[self._way])
            self.ledger = init_system(Ledger, self.basedir, validation="off", **self._how)
        self.control = control(self.ledger)
        self.system = self.control._system

    def add(self, size: int = RECORD) -> None:
        number = len(self.acknowledged) + 1
        assert self.ledger.add(number, bytes(size)) == number
        self.acknowledged.append((number, size))

    def until_refused(self, size: int = RECORD) -> JournalError:
        """Adds until there is no room."""
        while True:
            try:
                self.add(size)
            except JournalError as refusal:
                return refusal

    def room(self) -> int:
        """Bytes left in the last block of the last segment."""
        journal = self.system._journal
        return journal._limit - journal._tail

    def use_up(self) -> None:
        """Adds until the last block of what was allocated is begun."""
        while self.system._journal._limit < self.system._journal._segment.file.size:
            self.add()

    def leave(self, room: int, after: int) -> None:
        """Adds one more, so that ``room`` bytes are left in the last block after an action of ``after`` bytes."""
        before = self.room()
        self.add(300)
        self.add(self.room() - (before - self.room() - 300) - after - room)
        assert self.room() == after + room

    def agrees(self) -> None:
        """Memory and disk hold what was acknowledged, each action once and in its place."""
        assert self.ledger.seen() == self.acknowledged
        assert self.stored() == self.acknowledged
        assert not list(self.basedir.glob("*.tmp"))

    def stored(self) -> list[tuple[int, int]]:
        return coopy.replay(Ledger, self.basedir).seen()

    def close_and_reopen(self) -> None:
        self.ledger.close()
        self.open()
        self.agrees()
        self.add()
        self.ledger.close()


@pytest.fixture(params=["sync", "buffered"])
def durability(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("segment_bytes", [ROLLING, GROWING], ids=["rolling over", "growing"])
def test_calls_that_find_no_room_are_refused_whole_and_the_same_process_goes_on_when_there_is_some(
    disk: Disk, durability: str, way: str, segment_bytes: int
) -> None:
    clerk = Clerk(disk.root / "data", durability=durability, way=way, segment_bytes=segment_bytes)
    assert SMALL_DISK or (clerk.system._journal._area is not None) == (way == "mapped")
    clerk.add()
    disk.fill(leaving=5000)
    files = os.listdir(clerk.basedir)
    refusal = clerk.until_refused()
    assert len(clerk.acknowledged) > 50, "the room that was taken beforehand is used"
    for _ in range(3):
        assert refusal.errno == errno.ENOSPC
        assert str(refusal.filename).startswith(str(clerk.basedir))
        assert "Nothing was recorded and nothing has changed; free the cause and call again." in str(refusal)
        clerk.agrees()
        assert clerk.control.index == clerk.control.durable == len(clerk.acknowledged) or durability == "buffered"
        assert sorted(os.listdir(clerk.basedir)) == sorted(files), "no segment was begun"
        # A smaller one may still fit, until nothing does.
        refusal = clerk.until_refused(1)
    disk.free()
    for _ in range(150):
        clerk.add()
    assert (len(os.listdir(clerk.basedir)) > len(files)) == (segment_bytes == ROLLING)
    clerk.agrees()
    clerk.close_and_reopen()


@pytest.mark.parametrize("fork", [False, pytest.param(True, marks=pytest.mark.skipif(not child.AVAILABLE, reason="no fork"))])
def test_a_snapshot_that_finds_no_room_leaves_nothing_and_the_system_goes_on(
    disk: Disk, fork: bool, caplog: pytest.LogCaptureFixture
) -> None:
    clerk = Clerk(disk.root / "data", fork=fork, keep=1)
    clerk.ledger.keep(bytes(20_000))
    clerk.add()
    clerk.control.take_snapshot()
    taken, refused = 0, 0
    # More and more room, so that every step of writing one is the first to fail.
    for leaving in range(0, 40_000, 2000):
        clerk.add(10)
        disk.fill(leaving)
        before = sorted(os.listdir(clerk.basedir))
        try:
            clerk.control.take_snapshot()
            taken += 1
        except SnapshotError as refusal:
            refused += 1
            assert "No space left on device" in str(refusal)
            assert "The system goes on; its journal holds every action." in str(refusal)
            assert sorted(os.listdir(clerk.basedir)) == before, "the older snapshot is still there"
        clerk.add(10)
        clerk.agrees()
        disk.free()
    assert taken and refused
    clerk.control.take_snapshot()
    assert len(list(clerk.basedir.glob("snapshot_*"))) == 1
    assert not caplog.records, "no snapshot was passed over"
    clerk.close_and_reopen()


def test_a_snapshot_by_itself_that_finds_no_room_is_logged_and_tried_again(
    disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    clerk = Clerk(disk.root / "data")
    clerk.ledger.keep(bytes(20_000))
    disk.fill()
    clerk.system.snapshot_if_due(True)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "no snapshot was taken" in caplog.text and "No space left on device" in caplog.text
    clerk.add()
    disk.free()
    clerk.system.snapshot_if_due(True)
    assert (clerk.basedir / f"snapshot_{2 + len(clerk.acknowledged) - 1:015}.dat").exists()
    clerk.close_and_reopen()


WRITER = """
    import sys
    import coopy.place.directory
    from coopy import JournalError, init_system
    from coopy.disk.fs import Calls

    class Written(Calls):
        def mappable(self, fd):
            return False

    class Ledger:
        def __init__(self):
            self.entries = []

        def add(self, number, filler):
            self.entries.append((number, len(filler)))

    basedir, durability, way, segment_bytes = sys.argv[1:]
    coopy.place.directory.Calls = {"mapped": Calls, "written": Written}[way]
    ledger = init_system(Ledger, basedir, durability=durability, segment_bytes=int(segment_bytes))
    print("open", flush=True)
    sys.stdin.readline()
    number = 1
    while True:
        try:
            ledger.add(number, bytes(10_000))
        except JournalError as refusal:
            print("refused", refusal.errno, flush=True)
        else:
            print("acknowledged", number, flush=True)
            number += 1
"""


def test_what_was_acknowledged_survives_a_kill_on_a_full_disk(disk: Disk, tmp_path: Path, durability: str, way: str) -> None:
    basedir = disk.root / "data"
    writer = start(write(tmp_path / "writer.py", WRITER), basedir, durability, way, ROLLING)
    assert writer.stdin is not None and writer.stdout is not None
    acknowledged, refused = 0, 0
    with writer:
        assert writer.stdout.readline() == "open\n"
        disk.fill(leaving=5000)
        writer.stdin.write("go\n")
        writer.stdin.flush()
        for line in writer.stdout:
            word, number = line.split()
            if word == "acknowledged":
                acknowledged = int(number)
            else:
                assert int(number) == errno.ENOSPC
                refused += 1
            if refused == 5:
                writer.kill()
                break
        # What it said before it ended counts.
        acknowledged += writer.stdout.read().count("acknowledged")
    assert acknowledged > 50
    expected = [(number, RECORD) for number in range(1, acknowledged + 1)]
    assert coopy.replay(Ledger, basedir).entries == expected, "it can be read while the disk is full"
    disk.free()
    clerk = Clerk(basedir)
    clerk.acknowledged = expected
    clerk.add()
    clerk.agrees()
    clerk.close_and_reopen()


@pytest.mark.parametrize("ended", ["closed", "killed"])
def test_a_system_opens_on_a_full_disk_and_closes_again(disk: Disk, durability: str, way: str, ended: str) -> None:
    clerk = Clerk(disk.root / "data", durability=durability, way=way)
    for _ in range(3):
        clerk.add()
    disk.fill()
    if ended == "closed":
        clerk.ledger.close()
    else:
        clerk.system.abandon()
    for _ in range(2):
        clerk.open()
        clerk.agrees()
        clerk.add(10)
        clerk.ledger.close()
    disk.free()
    clerk.open()
    clerk.agrees()
    clerk.close_and_reopen()


def test_a_system_whose_last_block_is_used_up_opens_on_a_full_disk_and_is_read(disk: Disk, durability: str, way: str) -> None:
    clerk = Clerk(disk.root / "data", durability=durability, way=way)
    clerk.use_up()
    clerk.leave(room=0, after=0)
    clerk.system.abandon()
    disk.fill()
    for _ in range(2):
        clerk.open()
        clerk.agrees()
        with pytest.raises(JournalError) as refusal:
            clerk.add(1)
        assert refusal.value.errno == errno.ENOSPC
        clerk.agrees()
        clerk.system.abandon()
    clerk.open()
    disk.free()
    clerk.add()
    clerk.agrees()
    clerk.close_and_reopen()


def test_a_system_without_its_lock_file_is_refused_on_a_full_disk_and_opens_when_there_is_room(disk: Disk, way: str) -> None:
    """As it comes out of a backup: the file has to be made."""
    clerk = Clerk(disk.root / "data", way=way)
    clerk.add()
    clerk.ledger.close()
    (clerk.basedir / "lock").unlink()
    disk.fill()
    refusals = []
    for _ in range(2):
        with pytest.raises(OSError) as refusal:
            clerk.open()
        assert refusal.value.errno == errno.ENOSPC
        assert clerk.stored() == clerk.acknowledged
        refusals.append(refusal.value)
    disk.free()
    # Who keeps what was raised does not keep the directory.
    clerk.open()
    clerk.agrees()
    clerk.close_and_reopen()


# How much room there is decides which step of making a directory is the first to fail.
LEAVINGS = [0, 1024, 2048, 4096, 8192, 20_000, 1 << 20, (1 << 20) + 2048, (1 << 20) + 4096, (1 << 20) + 8192]


def test_a_system_that_cannot_be_begun_on_a_full_disk_is_begun_in_the_same_place_when_there_is_room(
    disk: Disk, way: str
) -> None:
    refused = 0
    for leaving in LEAVINGS:
        basedir = disk.root / f"leaving {leaving}"
        disk.fill(leaving)
        try:
            Clerk(basedir, way=way).ledger.close()
        except OSError as refusal:
            refused += 1
            assert refusal.errno == errno.ENOSPC
        disk.free()
        clerk = Clerk(basedir, way=way)
        clerk.add()
        clerk.agrees()
        clerk.close_and_reopen()
        shutil.rmtree(basedir)
    assert refused >= 5


@pytest.mark.parametrize("leaving", [8192, 1 << 20], ids=["no segment", "no snapshot"])
def test_a_refusal_to_begin_names_the_directory(disk: Disk, leaving: int) -> None:
    basedir = disk.root / "data"
    disk.fill(leaving)
    with pytest.raises(JournalError, match="No space left on device") as refusal:
        Clerk(basedir)
    assert str(basedir) in str(refusal.value)


@pytest.mark.parametrize("name", ["add_and_refuse", "refuse"])
@pytest.mark.parametrize("room", [0, 42])
def test_what_raises_is_withdrawn_though_its_withdrawal_finds_no_room(
    disk: Disk, durability: str, room: int, name: str
) -> None:
    clerk = Clerk(disk.root / "data", durability=durability)
    clerk.use_up()
    disk.fill()
    before = clerk.room()
    call = getattr(clerk.ledger, name)
    with pytest.raises(ValueError, match="300"):
        call(bytes(300))
    action_bytes = before - clerk.room() - AMENDMENT
    clerk.leave(room, after=action_bytes)
    with pytest.raises(ValueError, match="300"):
        call(bytes(300))
    assert clerk.room() == room, "the action is there, its withdrawal found no room"
    clerk.agrees()
    disk.free()
    clerk.add()
    clerk.agrees()
    clerk.close_and_reopen()


@pytest.mark.parametrize("room", [0, AMENDMENT - 1, AMENDMENT])
def test_a_system_closes_on_a_full_disk_with_all_that_was_acknowledged(disk: Disk, durability: str, room: int) -> None:
    clerk = Clerk(disk.root / "data", durability=durability)
    clerk.use_up()
    disk.fill()
    clerk.leave(room, after=0)
    clerk.ledger.close()
    assert clerk.stored() == clerk.acknowledged
    disk.free()
    clerk.open()
    clerk.close_and_reopen()
