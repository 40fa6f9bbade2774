"""What the operating system refuses in the midst of things: each step happens whole or not at all, and what is said of it is true.

The campaign in tests/failing goes through all of it; here is what it has found.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from crash.power import SEGMENT_BYTES, small_segments
from faults import open_with

import coopy
from coopy import JournalError, SnapshotError, Unreadable, UsageError, control, init_system, readonly
from coopy.disk import directory, dirlock, manifest
from coopy.disk.fs import Calls, File
from coopy.disk.segment import BLOCK
from coopy.ground import paths
from coopy.past import trail
from coopy.past.reading import Reading
from coopy.past.retention import Retention
from coopy.tools import pruning, verify
from coopy.tools.backup import backup
from coopy.tools.contents import contents
from coopy.tools.pruning import prune


class Shop:
    def __init__(self) -> None:
        self.sold: list[str] = []

    def sell(self, what: str) -> int:
        self.sold.append(what)
        return len(self.sold)

    @readonly
    def found(self) -> list[str]:
        return list(self.sold)


class Refusing(Calls):
    """Refuses the calls that are named, so often. ``done`` are those that are carried out all the same."""

    def __init__(self, code: int = errno.EIO) -> None:
        self.code = code
        self.refused: dict[str, int] = {}
        self.done: set[str] = set()
        self.made: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        if name not in vars(Calls):
            return super().__getattribute__(name)
        real = super().__getattribute__(name)

        def call(*args: Any) -> Any:
            self.made.append(name)
            if not self.refused.get(name):
                return real(*args)
            self.refused[name] -= 1
            if name in self.done:
                real(*args)
            raise OSError(self.code, os.strerror(self.code))

        return call


ALWAYS = 1 << 30


def refusing_stat(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """It can't be seen what lies there."""
    for name in ("stat", "lstat"):

        def call(asked: Any, *args: Any, real: Callable[..., Any] = getattr(os, name), **kwargs: Any) -> Any:
            if asked == str(path):
                raise OSError(errno.EIO, os.strerror(errno.EIO), asked)
            return real(asked, *args, **kwargs)

        monkeypatch.setattr(os, name, call)


@contextmanager
def unseen(path: Path) -> Iterator[None]:
    """What lies there can't be seen for a while."""
    with pytest.MonkeyPatch.context() as patched:
        refusing_stat(patched, path)
        yield


@contextmanager
def no_failure() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise AssertionError("this must not fail") from error


def open_files(root: Path) -> list[str]:
    links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    return [path for path in (os.path.realpath(link) for link in links) if path.startswith(str(root))]


# -- files


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="there is no /proc")
def test_a_file_whose_size_can_not_be_asked_for_is_closed(tmp_path: Path) -> None:
    calls = Refusing()
    calls.refused["size"] = 1
    kept = []
    try:
        File(calls, str(tmp_path / "file"), write=True, create=True)
    except OSError as error:
        kept.append(error)  # With its traceback, which has the file.
    assert kept and not open_files(tmp_path)


def test_a_close_that_fails_is_no_failure_as_the_number_is_free(tmp_path: Path) -> None:
    calls = Refusing()
    calls.done.add("close")
    file = File(calls, str(tmp_path / "file"), write=True, create=True)
    calls.refused["close"] = 1
    with no_failure():
        file.close()
    again = File(Calls(), str(tmp_path / "file"), write=True)
    again.close()
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        again._file._held[:] = [1 << 20]
        again.close()


def test_space_that_can_not_be_given_back_does_not_hide_why_it_was_not_taken(tmp_path: Path) -> None:
    class Full(Calls):
        def allocate(self, fd: int, offset: int, size: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def truncate(self, fd: int, size: int) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    calls = Full()
    file = File(calls, str(tmp_path / "file"), write=True, create=True)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        file.allocate(100)
    file.close()


@pytest.mark.parametrize("failing", ["mappable", "map"])
def test_a_file_that_can_not_be_mapped_is_written_as_others_are(tmp_path: Path, failing: str) -> None:
    calls = Refusing()
    file = File(calls, str(tmp_path / "file"), write=True, create=True)
    file.allocate(1000)
    file.map()
    calls.refused[failing] = 1
    with no_failure():
        file.allocate(2000)
    assert file.area() is None
    file.write(1500, b"behind the end of the old map")
    assert file.read(1500, 6) == b"behind"
    file.close()


# -- the directory, and coopy.json


def test_making_a_directory_ends_where_not_even_the_root_is_to_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Any, *args: Any, **kwargs: Any) -> Any:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", refuse)
        with pytest.raises(FileNotFoundError):
            directory.make(Calls(), str(tmp_path / "a" / "b"))


def test_a_directory_whose_name_may_not_last_is_not_left(tmp_path: Path) -> None:
    calls = Refusing()
    calls.refused["sync_directory"] = 1
    with pytest.raises(JournalError, match="Nothing was opened or changed"):
        open_with(calls, Shop, tmp_path / "shop")
    assert not (tmp_path / "shop").exists()
    control(open_with(calls, Shop, tmp_path / "shop")).close()


def test_the_name_of_a_directory_that_was_there_is_made_to_last_as_a_system_is_begun(tmp_path: Path) -> None:
    synced: list[str] = []

    class Noting(Calls):
        def sync_directory(self, path: str) -> None:
            synced.append(path)
            super().sync_directory(path)

    (tmp_path / "shop").mkdir()
    control(open_with(Noting(), Shop, tmp_path / "shop")).close()
    assert str(tmp_path) in synced
    synced.clear()
    control(open_with(Noting(), Shop, tmp_path / "shop")).close()
    assert synced == [str(tmp_path / "shop")], "what a process before may not have come to"


@pytest.mark.parametrize("call", ["rename", "sync_directory"])
def test_a_system_that_was_not_begun_has_no_manifest(tmp_path: Path, call: str) -> None:
    (tmp_path / "shop").mkdir()
    calls = Refusing()
    calls.done.add("rename")
    calls.refused[call] = ALWAYS
    with pytest.raises(OSError):
        manifest.create(calls, str(tmp_path / "shop"), "shop:Shop")
    assert not list((tmp_path / "shop").iterdir())


def test_a_manifest_that_can_not_be_seen_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with init_system(Shop, tmp_path / "shop") as shop:
        shop.sell("tea")
    before = (tmp_path / "shop" / "coopy.json").read_bytes()
    with monkeypatch.context() as patch:
        refusing_stat(patch, tmp_path / "shop" / "coopy.json")
        with pytest.raises(JournalError, match="was not opened"):
            init_system(Shop, tmp_path / "shop")
    with pytest.raises(FileExistsError):
        manifest.create(Calls(), str(tmp_path / "shop"), "shop:Shop")
    assert (tmp_path / "shop" / "coopy.json").read_bytes() == before


# -- snapshots and pruning


@pytest.mark.parametrize("call", ["rename", "sync_directory"])
def test_a_snapshot_that_was_not_taken_is_not_there(tmp_path: Path, call: str) -> None:
    calls = Refusing()
    calls.done.add("rename")
    shop = open_with(calls, Shop, tmp_path / "shop")
    shop.sell("tea")
    calls.refused[call] = 1
    with pytest.raises(SnapshotError, match="was not written"):
        control(shop).take_snapshot()
    assert len(list((tmp_path / "shop").glob("snapshot_*"))) == 1, "the first"
    control(shop).take_snapshot()
    control(shop).close()
    # Of an index that is there already a second one is written only by another process.
    again = open_with(calls, Shop, tmp_path / "shop")
    calls.refused[call] = 1
    with pytest.raises(SnapshotError):
        control(again).take_snapshot()
    assert len(list((tmp_path / "shop").glob("snapshot_*.dat"))) == 2, "what was there stays"
    control(again).close()


def test_a_snapshot_that_can_not_be_seen_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = open_with(Calls(), Shop, tmp_path / "shop")
    shop.sell("tea")
    control(shop).take_snapshot()
    with monkeypatch.context() as patch:
        refusing_stat(patch, tmp_path / "shop" / "snapshot_000000000000001.dat")
        for look in (
            lambda: coopy.replay(Shop, tmp_path / "shop"),
            lambda: contents(str(tmp_path / "shop")),
            lambda: verify.verify(tmp_path / "shop", Shop),
            lambda: backup(str(tmp_path / "shop"), str(tmp_path / "copy")),
        ):
            with pytest.raises((Unreadable, JournalError), match="(?i)nothing was changed|no copy"):
                look()
    control(shop).close()


class KeepingSegments(Calls):
    """Removes no segment while ``keeps`` is set."""

    keeps = True

    def remove(self, path: str) -> None:
        if self.keeps and path.endswith(".log"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        super().remove(path)


@pytest.mark.parametrize("again", ["control", "tool"])
def test_what_a_pruning_that_failed_has_left_of_the_journal_goes_with_the_next(tmp_path: Path, again: str) -> None:
    path = tmp_path / "shop"
    calls = KeepingSegments()
    shop = open_with(calls, Shop, path)
    for _ in range(12):
        shop.sell("x" * 200_000)
    control(shop).take_snapshot()
    shop.sell("tea")
    with pytest.raises(JournalError, match="All that is to stay is there"):
        control(shop).prune(keep=1)
    assert len(list(path.glob("snapshot_*"))) == 1 and len(list(path.glob("*.log"))) > 2
    calls.keeps = False
    if again == "control":
        control(shop).prune(keep=1)
        control(shop).close()
    else:
        control(shop).close()
        assert [name[:4] for name in prune(str(path), Retention(1)).files] == ["tran"] * 2
    assert len(list(path.glob("*.log"))) == 1
    with init_system(Shop, path) as shop:
        assert len(shop.found()) == 13


# -- what can't be seen


def test_a_lock_that_can_not_be_seen_is_not_called_something_else(tmp_path: Path) -> None:
    with init_system(Shop, tmp_path / "shop") as shop:
        shop.sell("tea")
    with (
        unseen(tmp_path / "shop" / "lock"),
        pytest.raises(JournalError, match="could not be locked, .* nothing in it was changed"),
    ):
        init_system(Shop, tmp_path / "shop")
    with init_system(Shop, tmp_path / "shop") as shop:
        assert shop.found() == ["tea"]


def test_a_file_that_is_made_while_it_is_looked_for_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.stat

    def too_early(path: Any, *args: Any, **kwargs: Any) -> Any:
        if path == str(tmp_path / "file"):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return real(path, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", too_early)
        with pytest.raises(FileNotFoundError):
            paths.is_file(str(tmp_path / "file"))
        (tmp_path / "file").touch()
        assert paths.is_file(str(tmp_path / "file"))
        (tmp_path / "file").unlink()
        (tmp_path / "file").symlink_to("nowhere")
        assert not paths.is_file(str(tmp_path / "file"))


@pytest.mark.parametrize("durability", ["sync", "buffered"])
def test_a_segment_that_got_its_name_and_can_not_be_seen_is_gone_on_in_once_it_can(tmp_path: Path, durability: str) -> None:
    calls, much = Refusing(errno.ENOMEM), "x" * 20_000
    new = tmp_path / "shop" / "transaction_000000000000004.log"
    with small_segments():
        shop = open_with(calls, Shop, tmp_path / "shop", durability=durability, segment_bytes=SEGMENT_BYTES)
        for _ in range(3):
            shop.sell(much)
        calls.refused["sync_directory"] = 1
        with pytest.raises(JournalError, match="nothing has changed"):
            shop.sell(much)
        assert new.exists()
        with unseen(new), pytest.raises(JournalError, match="nothing has changed"):
            shop.sell("tea")
        shop.sell("milk")
        control(shop).close()
    assert coopy.replay(Shop, tmp_path / "shop").sold == [much] * 3 + ["milk"]


def test_a_segment_that_is_to_be_set_aside_and_can_not_be_seen_is_set_aside_once_it_can(tmp_path: Path) -> None:
    with small_segments():
        synced = threading.Event()

        class Slow(Calls):
            """A disk on which no sync ends before the last call: nothing says later that one has."""

            def sync_data(self, fd: int) -> None:
                synced.wait(0.2)
                super().sync_data(fd)

        calls = Slow()
        synced.set()
        shop = open_with(calls, Shop, tmp_path / "shop", durability="buffered", segment_bytes=SEGMENT_BYTES)
        synced.clear()
        for number in range(5):
            shop.sell(f"{number}" * 20_000)
        synced.set()
        control(shop)._system.abandon()
        # A power cut has taken the end of the first segment, which nothing says was synced.
        dirlock.forget_boot(str(tmp_path / "shop"))
        with open(tmp_path / "shop" / "transaction_000000000000001.log", "r+b") as file:
            file.seek(2 * BLOCK)
            file.write(bytes(BLOCK))
        shop = open_with(Calls(), Shop, tmp_path / "shop", durability="buffered", segment_bytes=SEGMENT_BYTES)
        before = shop.found()
        assert len(before) == 2
        with (
            unseen(tmp_path / "shop" / "transaction_000000000000004.log"),
            pytest.raises(JournalError, match="nothing has changed"),
        ):
            shop.sell("tea")
        shop.sell("milk")
        control(shop).close()
    assert coopy.replay(Shop, tmp_path / "shop").sold == [*before, "milk"]
    assert [path.name for path in (tmp_path / "shop").glob("aside-*/transaction_*4.log")] == ["transaction_000000000000004.log"]


def test_a_pruning_that_is_only_tried_has_changed_nothing_where_something_can_not_be_seen(tmp_path: Path) -> None:
    with init_system(Shop, tmp_path / "shop") as shop:
        shop.sell("tea")
        control(shop).take_snapshot()
    oldest = tmp_path / "shop" / "snapshot_000000000000000.dat"

    class Refusing:
        """Nothing can be asked of a file any more, once it is known which are to go."""

        def __getattr__(self, name: str) -> Any:
            return refuse if name == "stat" else getattr(os, name)

    def refuse(path: str) -> Any:
        raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    with pytest.MonkeyPatch.context() as patched, pytest.raises(Unreadable, match="nothing was changed"):
        patched.setattr(pruning, "os", Refusing())
        prune(str(tmp_path / "shop"), Retention(1), dry_run=True)
    assert prune(str(tmp_path / "shop"), Retention(1), dry_run=True).files == [oldest.name] and oldest.exists()


def test_a_log_that_can_not_be_looked_for_is_not_read_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with init_system(Shop, tmp_path / "shop") as shop:
        shop.sell("tea")

    def refuse(path: str) -> list[str]:
        raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    with Reading(str(tmp_path / "shop"), Shop) as reading:
        monkeypatch.setattr(os, "listdir", refuse)
        with pytest.raises(Unreadable, match="nothing was changed"):
            list(trail.actions(reading, datetime(2000, 1, 1, tzinfo=timezone.utc)))


def test_a_log_that_is_followed_does_not_stand_still_where_the_next_segment_can_not_be_seen(tmp_path: Path) -> None:
    with small_segments():
        shop = open_with(Calls(), Shop, tmp_path / "shop", segment_bytes=SEGMENT_BYTES)
        shop.sell("tea")
        with Reading(str(tmp_path / "shop"), Shop) as reading:
            followed = trail.follow(reading)
            assert next(followed) is not None and next(followed) is None
            for _ in range(4):
                shop.sell("x" * 20_000)
            new = sorted((tmp_path / "shop").glob("transaction_*.log"))[1]
            with unseen(new), pytest.raises(Unreadable):
                while next(followed) is not None:
                    pass
        control(shop).close()


# -- backups


@pytest.mark.parametrize("call", ["rename", "sync_directory"])
def test_a_backup_that_may_not_last_is_taken_back(tmp_path: Path, call: str) -> None:
    with init_system(Shop, tmp_path / "shop") as shop:
        shop.sell("tea")
    calls = Refusing()
    calls.done.add("rename")
    backup(str(tmp_path / "shop"), str(tmp_path / "first"), calls=calls)
    last = calls.made.count(call)
    calls.made.clear()

    class Last(Refusing):
        def __getattribute__(self, name: str) -> Any:
            if name == call and self.made.count(call) == last - 1:
                self.refused[call] = 1
            return super().__getattribute__(name)

    calls = Last()
    calls.done.add("rename")
    with pytest.raises(JournalError, match="There is no copy"):
        backup(str(tmp_path / "shop"), str(tmp_path / "copy"), calls=calls)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "shop"]
    calls.refused.clear()
    backup(str(tmp_path / "shop"), str(tmp_path / "copy"))
    assert coopy.replay(Shop, tmp_path / "copy").sold == ["tea"]


def test_a_place_for_a_backup_that_can_not_be_seen_is_not_said_to_be_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with init_system(Shop, tmp_path / "shop") as shop:
        shop.sell("tea")
    (tmp_path / "copy").mkdir()
    refusing_stat(monkeypatch, tmp_path / "copy")
    made: list[str] = []
    calls = Calls()
    monkeypatch.setattr(calls, "make_directory", made.append)
    with pytest.raises((JournalError, UsageError)) as refusal:
        backup(str(tmp_path / "shop"), str(tmp_path / "copy"), calls=calls)
    assert isinstance(refusal.value, JournalError) and not made
