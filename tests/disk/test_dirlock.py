"""The lock of a directory: one process at a time, whatever becomes of the file `lock` and of the directory's name."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from crash.power import SEGMENT_BYTES, small_segments
from faults import open_with
from interrupted import trace_instructions
from program import run, start, write

from coopy import DirectoryInUse, JournalError, SnapshotError, control, init_system
from coopy.disk import dirlock
from coopy.disk.dirlock import DirectoryLock, boot_id, earlier_boot, holder
from coopy.disk.fs import Calls

OPENING = """
    import sys
    from coopy import DirectoryInUse
    from coopy.disk.dirlock import DirectoryLock
    try:
        lock = DirectoryLock(sys.argv[1])
    except DirectoryInUse as error:
        print("in use by", error.pid)
    else:
        print("open", flush=True)
        sys.stdin.readline()
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.mkdir()
    return path


@pytest.fixture
def lock(place: Path) -> Iterator[DirectoryLock]:
    found = DirectoryLock(str(place))
    yield found
    found.release()


def opened_elsewhere(path: Path) -> str:
    """What another process says that tries to open a directory."""
    return run(write(path.parent / "opening.py", OPENING), path)


def is_free(path: Path) -> bool:
    try:
        DirectoryLock(str(path)).release()
    except DirectoryInUse:
        return False
    return True


def open_files() -> set[str]:
    return set(os.listdir("/dev/fd"))


# -- what may be done to it while it is open


def test_a_directory_whose_lock_file_was_removed_is_still_locked(place: Path, lock: DirectoryLock) -> None:
    (place / "lock").unlink()
    assert opened_elsewhere(place) == f"in use by {os.getpid()}"
    assert holder(str(place)) == os.getpid()
    lock.check()
    lock.release()
    assert opened_elsewhere(place) == "open"


def test_a_renamed_directory_is_still_locked_and_who_holds_it_can_know(place: Path, lock: DirectoryLock) -> None:
    lock.check()
    place.rename(place.parent / "moved")
    assert opened_elsewhere(place.parent / "moved") == f"in use by {os.getpid()}"
    with pytest.raises(JournalError, match="moved or removed while it was open") as refusal:
        lock.check()
    assert (refusal.value.errno, refusal.value.filename) == (errno.ENOENT, str(place))
    (place.parent / "moved").rename(place)
    lock.check()


def test_a_copy_in_the_place_of_a_directory_is_another(place: Path, lock: DirectoryLock) -> None:
    lock.mark()
    shutil.copytree(place, place.parent / "copy")
    place.rename(place.parent / "first")
    (place.parent / "copy").rename(place)
    with pytest.raises(JournalError, match="replaced by another while it was open") as refusal:
        lock.check()
    assert refusal.value.errno == errno.ESTALE
    other = DirectoryLock(str(place))
    assert other.earlier_boot is None, "what was written last may be missing in a copy"
    other.check()
    other.release()
    assert opened_elsewhere(place.parent / "first") == f"in use by {os.getpid()}"


def test_a_directory_that_can_be_reached_in_two_ways_is_one(place: Path, lock: DirectoryLock) -> None:
    (place.parent / "link").symlink_to(place)
    assert opened_elsewhere(place.parent / "link") == f"in use by {os.getpid()}"


def test_a_link_that_leads_elsewhere_meanwhile_is_noticed(place: Path) -> None:
    link = place.parent / "link"
    link.symlink_to(place)
    lock = DirectoryLock(str(link))
    lock.check()
    link.unlink()
    link.symlink_to(place.parent)
    with pytest.raises(JournalError, match="replaced"):
        lock.check()
    lock.release()


def test_a_system_of_which_somebody_removed_the_lock_keeps_a_second_process_out(tmp_path: Path) -> None:
    class Pile:
        def __init__(self) -> None:
            self.items: list[int] = []

        def put(self, item: int) -> None:
            self.items.append(item)

    with init_system(Pile, tmp_path / "pile", validation="off") as pile:
        pile.put(1)
        (tmp_path / "pile" / "lock").unlink()
        with pytest.raises(DirectoryInUse):
            init_system(Pile, tmp_path / "pile", validation="off")
        pile.put(2)
    with init_system(Pile, tmp_path / "pile", validation="off") as pile:
        assert pile.items == [1, 2]


ACTS: dict[str, tuple[Callable[[Any], object], type[Exception]]] = {
    "take_snapshot": (lambda pile: control(pile).take_snapshot(), SnapshotError),
    "prune(keep=1)": (lambda pile: control(pile).prune(keep=1), JournalError),
    "prune(keep_for=0)": (lambda pile: control(pile).prune(keep_for=0), JournalError),
}


@pytest.mark.parametrize("fork", [False, True])
@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("with_copy", [False, True], ids=["moved", "replaced by a copy"])
def test_a_system_puts_no_file_into_another_directory_and_takes_none_away(
    tmp_path: Path, with_copy: bool, act: str, fork: bool
) -> None:
    class Pile:
        def __init__(self) -> None:
            self.items: list[int] = []

        def put(self, item: int) -> None:
            self.items.append(item)

    def names() -> list[str]:
        return sorted(os.listdir(tmp_path / "pile")) if with_copy else []

    do, kind = ACTS[act]
    pile = init_system(Pile, tmp_path / "pile", validation="off", fork=fork)
    pile.put(1)
    control(pile).take_snapshot()
    if with_copy:
        shutil.copytree(tmp_path / "pile", tmp_path / "copy")
    pile.put(2)
    (tmp_path / "pile").rename(tmp_path / "moved")
    if with_copy:
        (tmp_path / "copy").rename(tmp_path / "pile")
    before = names()
    with pytest.raises(kind, match="not the directory any more that is locked"):
        do(pile)
    assert names() == before
    if with_copy:
        (tmp_path / "pile").rename(tmp_path / "copy")
    (tmp_path / "moved").rename(tmp_path / "pile")
    do(pile)
    pile.put(3)
    control(pile).close()
    with init_system(Pile, tmp_path / "pile", validation="off") as pile:
        assert pile.items == [1, 2, 3]


def test_a_directory_that_is_moved_while_it_is_pruned_is_pruned_once_it_is_back(tmp_path: Path) -> None:
    class Pile:
        def __init__(self) -> None:
            self.items: list[str] = []

        def put(self, item: str) -> None:
            self.items.append(item)

    class Moving(Calls):
        def remove(self, path: str) -> None:
            if path.endswith(".log"):
                (tmp_path / "pile").rename(tmp_path / "moved")
            super().remove(path)

    calls = Moving()
    with small_segments():
        pile = open_with(calls, Pile, tmp_path / "pile", segment_bytes=SEGMENT_BYTES)
        for _ in range(7):
            pile.put("x" * 20_000)
        control(pile).take_snapshot()
        with pytest.raises(JournalError, match="moved or removed while it was open"):
            control(pile).prune(keep=1)
        (tmp_path / "moved").rename(tmp_path / "pile")
        calls.__class__ = Calls  # type: ignore[assignment]
        control(pile).prune(keep=1)
        assert len(list((tmp_path / "pile").glob("transaction_*.log"))) == 1
        control(pile).close()


RACING = """
    import os, sys
    from coopy import DirectoryInUse
    from coopy.disk.dirlock import DirectoryLock
    path = sys.argv[1]
    held = 0
    while held < 50:
        try:
            lock = DirectoryLock(path)
        except DirectoryInUse:
            continue
        os.close(os.open(path + "/inside", os.O_CREAT | os.O_EXCL))
        if held % 3:
            try:
                os.unlink(path + "/lock")
            except FileNotFoundError:
                pass
        os.sched_yield()
        os.unlink(path + "/inside")
        lock.release()
        held += 1
    print(held)
"""


def test_of_two_processes_that_race_for_a_directory_and_remove_its_lock_one_is_inside(place: Path) -> None:
    script = write(place.parent / "racing.py", RACING)
    racing = [start(script, place) for _ in range(2)]
    assert [process.communicate(timeout=60)[0] for process in racing] == ["50\n", "50\n"]


# -- who holds it


def test_a_process_that_locks_the_file_alone_is_kept_out_and_keeps_out(place: Path) -> None:
    """As a coopy of before does."""
    with (place / "lock").open("ab+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(DirectoryInUse):
            DirectoryLock(str(place))
        fcntl.flock(file, fcntl.LOCK_UN)
        lock = DirectoryLock(str(place))
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        lock.release()
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("code", [errno.EBADF, errno.EINVAL, errno.ENOTSUP])
def test_where_directories_cannot_be_locked_the_file_is_the_lock(
    place: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    real = fcntl.flock

    def flock(file: Any, what: int) -> None:
        fd = file if isinstance(file, int) else file.fileno()
        if os.path.isdir(f"/dev/fd/{fd}"):
            raise OSError(code, os.strerror(code))
        real(file, what)

    monkeypatch.setattr(fcntl, "flock", flock)
    lock = DirectoryLock(str(place))
    with pytest.raises(DirectoryInUse) as refusal:
        DirectoryLock(str(place))
    assert refusal.value.pid == os.getpid()
    lock.check()
    (place / "lock").rename(place / "away")
    with pytest.raises(JournalError, match="the file lock in it was removed"):
        lock.check()
    (place / "lock").touch()
    with pytest.raises(JournalError, match="the file lock in it was removed"):
        lock.check()
    lock.release()
    assert is_free(place)


def test_where_nothing_can_be_locked_nothing_is_opened(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(file: Any, what: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    before = open_files()
    with pytest.raises(JournalError, match="this file system has no locks"):
        DirectoryLock(str(place))
    assert open_files() == before


def test_a_forked_child_lets_go_of_its_copy_only(place: Path) -> None:
    lock = DirectoryLock(str(place))
    child = os.fork()
    if child == 0:
        try:
            lock.release()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert not is_free(place)
    lock.release()
    assert is_free(place)


def test_a_lock_is_let_go_while_a_child_still_has_its_copy(place: Path) -> None:
    lock = DirectoryLock(str(place))
    ends, goes_on = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(goes_on)
        os.read(ends, 1)
        os._exit(0)
    lock.release()
    assert is_free(place)
    os.close(goes_on)
    os.close(ends)
    os.waitpid(child, 0)


def test_the_process_that_ended_holds_nothing(place: Path) -> None:
    with start(write(place.parent / "opening.py", OPENING), place) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        assert holder(str(place)) == process.pid
        process.kill()
    assert holder(str(place)) is None
    assert is_free(place)


# -- what the file says


def test_the_file_is_for_its_owner_alone_also_if_it_was_not_before(place: Path) -> None:
    before = os.umask(0)
    try:
        DirectoryLock(str(place)).release()
    finally:
        os.umask(before)
    assert (place / "lock").stat().st_mode & 0o777 == 0o600
    (place / "lock").chmod(0o644)
    DirectoryLock(str(place)).release()
    assert (place / "lock").stat().st_mode & 0o777 == 0o600


def test_the_boot_is_said_once_the_end_of_the_journal_is_known_to_be_whole_and_kept(place: Path, lock: DirectoryLock) -> None:
    assert boot_id()
    assert (place / "lock").read_text() == f"{os.getpid()}\n"
    assert (lock.earlier_boot, earlier_boot(str(place))) == (None, None)
    lock.mark()
    lock.release()
    first, second = (place / "lock").read_text().splitlines()
    status = place.stat()
    boot, instant, named = second.split(" ")
    assert (first, boot, named) == (str(os.getpid()), boot_id(), f"{status.st_dev}:{status.st_ino}")
    assert int(instant) > 1_700_000_000 * 10**9
    # Who opens it, and does not come to know, leaves it as it was said.
    for _ in range(2):
        again = DirectoryLock(str(place))
        assert (again.earlier_boot, earlier_boot(str(place))) == (boot_id(), boot_id())
        again.release()
    assert (place / "lock").read_text().splitlines()[1] == second


@pytest.mark.parametrize(
    "says",
    [
        b"",
        b"12",
        b"12\n",
        b"12\n\n",
        b"\0" * 90,
        b"12\n11111111-1111 5",
        b"12\n11111111-1111 5 1:1\n",
        b"12\n 5 {place}\n",
        b"12\n11111111-1111 x {place}\n",
        b"12\n\xff\xfe 5 {place}\n",
        b"x" * 5000,
    ],
)
def test_what_names_no_boot_of_this_directory_is_none(place: Path, says: bytes) -> None:
    status = place.stat()
    (place / "lock").write_bytes(says.replace(b"{place}", f"{status.st_dev}:{status.st_ino}".encode()))
    assert earlier_boot(str(place)) is None
    lock = DirectoryLock(str(place))
    assert lock.earlier_boot is None
    lock.mark()
    lock.release()
    assert earlier_boot(str(place)) == boot_id()
    dirlock.forget_boot(str(place))
    assert (earlier_boot(str(place)), (place / "lock").read_text()) == (None, f"{os.getpid()}\n")


def test_a_machine_that_does_not_say_which_boot_it_is_in_says_none(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dirlock, "boot_id", lambda: "")
    lock = DirectoryLock(str(place))
    lock.mark()
    lock.release()
    assert earlier_boot(str(place)) is None


class Pile:
    def __init__(self) -> None:
        self.items: list[int] = []

    def put(self, item: int) -> None:
        self.items.append(item)


def test_an_end_that_is_torn_is_not_said_to_be_whole(tmp_path: Path) -> None:
    """It was torn in an earlier boot, and is so in this one until something is appended."""
    with init_system(Pile, tmp_path, validation="off") as pile:
        pile.put(1)
    assert earlier_boot(str(tmp_path)) == boot_id()
    dirlock.forget_boot(str(tmp_path))
    path = tmp_path / "transaction_000000000000001.log"
    data = path.read_bytes()
    end = len(data.rstrip(b"\0"))
    path.write_bytes(data[: end + 3] + b"torn" + data[end + 7 :])
    for _ in range(2):
        with init_system(Pile, tmp_path, validation="off"):
            assert earlier_boot(str(tmp_path)) is None


def test_a_power_cut_in_a_test_leaves_no_boot(tmp_path: Path) -> None:
    from coopy.testing import crash, open_system

    said: list[str | None] = []

    class Watched(Pile):
        pass

    pile = open_system(Watched, tmp_path, validation="off", durability="buffered")
    real = control(pile)._system.again

    def again(left: Any) -> Any:
        said.append(earlier_boot(str(tmp_path)))
        return real(left)

    control(pile)._system.again = again
    pile = crash(pile, power=True)
    control(pile)._system.again = again
    crash(pile).close()
    assert said == [None, boot_id()]


# -- what fails, at any moment


def failing(module: Any, name: str, code: int, when: Callable[..., bool]) -> Callable[[pytest.MonkeyPatch], None]:
    real = getattr(module, name)

    def fail(*args: Any) -> Any:
        if when(*args):
            raise OSError(code, os.strerror(code))
        return real(*args)

    return lambda monkeypatch: monkeypatch.setattr(module, name, fail)


def of_the_file(path: Any, *_: Any) -> bool:
    return str(path).endswith("lock")


def of_the_directory(path: Any, *_: Any) -> bool:
    return not of_the_file(path)


def always(*_: Any) -> bool:
    return True


@pytest.mark.parametrize(
    "what",
    [
        *[
            failing(Calls, "open", code, when)
            for code in (errno.EMFILE, errno.EACCES)
            for when in (of_the_directory, of_the_file)
        ],
        failing(Calls, "open", errno.EROFS, of_the_file),
        failing(Calls, "open", errno.ENOSPC, of_the_file),
        failing(fcntl, "flock", errno.EIO, always),
        failing(os, "pread", errno.EIO, always),
        failing(os, "pwrite", errno.ENOSPC, always),
        failing(os, "ftruncate", errno.EIO, always),
        failing(os, "fstat", errno.EIO, always),
        failing(os, "fchmod", errno.EIO, always),
    ],
)
def test_a_call_that_fails_is_our_error_and_keeps_no_lock(
    place: Path, monkeypatch: pytest.MonkeyPatch, what: Callable[[pytest.MonkeyPatch], None]
) -> None:
    (place / "lock").touch(0o644)
    before = open_files()
    what(monkeypatch)
    with pytest.raises(JournalError, match="could not be locked, so it was not opened; nothing in it was changed") as refusal:
        DirectoryLock(str(place))
    monkeypatch.undo()
    assert refusal.value.errno and refusal.value.filename == str(place)
    assert open_files() == before
    assert is_free(place)


def test_a_short_write_of_the_pid_is_a_full_disk(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: len(data) - 1)
    with pytest.raises(JournalError) as refusal:
        DirectoryLock(str(place))
    assert refusal.value.errno == errno.ENOSPC


class Interrupt(BaseException):
    pass


def interrupted_at(moment: int, function: Callable[[], object], again: int = -1) -> bool:
    """Runs a function and raises before its n-th operation inside of the module. Whether it has so many.

    ``again``: and once more, so many operations later.
    """
    left, seconds = moment, [again]

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename != dirlock.__file__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            left -= 1
            if left == 0:
                left = seconds.pop() if seconds else -1
                raise Interrupt
        return trace

    trace_instructions(trace)
    try:
        function()
    except Interrupt:
        pass
    finally:
        sys.settrace(None)
    return left < 0 or not seconds


ignored = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # In what Python calls by itself.


@ignored
def test_an_interrupt_at_any_moment_of_taking_it_keeps_nothing(place: Path) -> None:
    before = open_files()
    moment = 1
    while interrupted_at(moment, lambda: DirectoryLock(str(place)).release()):
        assert open_files() == before, f"moment {moment}"
        assert is_free(place), f"moment {moment}"
        moment += 1
    assert moment > 300


@ignored
def test_a_second_interrupt_while_the_first_is_seen_to_keeps_nothing(place: Path) -> None:
    before = open_files()
    for moment in range(1, 300, 23):
        for again in range(1, 60, 4):
            assert interrupted_at(moment, lambda: DirectoryLock(str(place)), again)
            assert open_files() == before, f"moment {moment}, and {again} later"
            assert is_free(place), f"moment {moment}, and {again} later"


@ignored
def test_an_interrupt_at_any_moment_of_letting_go_leaves_what_the_next_one_lets_go(place: Path) -> None:
    before = open_files()
    moment = 1
    while True:
        lock = DirectoryLock(str(place))
        if not interrupted_at(moment, lock.release):
            break
        lock.release()
        assert open_files() == before, f"moment {moment}"
        assert is_free(place), f"moment {moment}"
        moment += 1
    assert moment > 50


@pytest.mark.parametrize("where", ["check", "_take_file", "_lock"])
def test_a_taking_that_is_interrupted_twice_leaves_the_directory_to_others(
    place: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, interrupts = DirectoryLock.release, [KeyboardInterrupt()]
    taken = getattr(DirectoryLock, where)

    def interrupted(self: DirectoryLock, *given: Any) -> None:
        taken(self, *given)
        raise KeyboardInterrupt

    def interrupted_release(self: DirectoryLock) -> None:
        if interrupts:
            raise interrupts.pop()
        release(self)

    monkeypatch.setattr(DirectoryLock, where, interrupted)
    monkeypatch.setattr(DirectoryLock, "release", interrupted_release)
    # The exception is kept, and so is all that its traceback holds.
    with pytest.raises(KeyboardInterrupt) as kept:
        DirectoryLock(str(place))
    monkeypatch.undo()
    DirectoryLock(str(place)).release()
    assert kept.tb is not None
