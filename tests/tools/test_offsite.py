"""A backup in a store of objects: only what is new is sent, what is there stays whole whatever happens, and it comes back as it was."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import s3
from faults import open_with

from coopy import PrunedPast, StorageError, UsageError, control
from coopy.disk.fs import Calls
from coopy.tools import catalog, offsite
from coopy.tools.contents import contents
from coopy.tools.fetching import fetch
from coopy.tools.objectstore import Objects, OutOfReach
from coopy.tools.offsite import Offsite, Sent

pytest.importorskip("obstore", reason="the extra [s3] is not installed")


class Book:
    def __init__(self) -> None:
        self.lines: list[int] = []

    def write(self, number: int, filler: str = "") -> None:
        self.lines.append(number)


class Quick(Calls):
    """Nobody cuts the power here, so nothing waits for the disk."""

    def sync_data(self, fd: int) -> None:
        pass

    def sync_directory(self, path: str) -> None:
        pass


def opened(directory: Path, **settings: Any) -> Any:
    return open_with(Quick(), Book, directory, **{"durability": "buffered", **settings})


def write(book: Any, upto: int, filler: int = 10) -> None:
    for number in range(len(book.lines) + 1, upto + 1):
        book.write(number, "x" * filler)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3.Server]:
    with s3.server(tmp_path_factory.mktemp("s3")) as served, pytest.MonkeyPatch.context() as patch:
        for name, value in served.environment.items():
            patch.setenv(name, value)
        yield served


@pytest.fixture(params=["s3", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "file":
        return f"file://{tmp_path}/store"
    request.getfixturevalue("server")
    return f"s3://{s3.BUCKET}/{tmp_path.name}"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three segments (actions 1 to 6, 7 to 12, 13 to 17) and the snapshots 0, 10 and 17; closed."""
    directory = tmp_path / "data"
    with opened(directory) as book:
        for upto in (10, 17):
            write(book, upto, 140_000)
            book.take_snapshot()
    return directory


def update(directory: Path, url: str) -> Sent:
    return Offsite(str(directory), url, calls=Quick()).update()


def back(url: str, dest: Path, until: Any = None) -> list[int]:
    """What a directory that is fetched has, after it was looked at whole."""
    done = fetch(url, str(dest), until=until, calls=Quick())
    found = contents(str(dest))
    assert (found.damages, found.others, found.last) == ([], [], done.index)
    with opened(dest) as book:
        lines = list(book.lines)
        book.write(-1)
    shutil.rmtree(dest)
    return lines


def objects(url: str) -> list[str]:
    return Objects(url).names()


def newest(url: str) -> catalog.Catalog:
    found, _ = catalog.newest(Objects(url))
    assert found is not None
    return found


# -- what is sent, and what comes back


def test_what_was_sent_comes_back_with_all_of_its_past(data: Path, url: str, tmp_path: Path) -> None:
    sent = update(data, url)
    assert (sent.index, sent.is_new, sent.is_another) == (17, True, False)
    assert back(url, tmp_path / "back") == list(range(1, 18))
    for until in (0, 1, 6, 7, 12, 13, 16):
        assert back(url, tmp_path / "back", until) == list(range(1, until + 1))
    fetch(url, str(tmp_path / "copy"))
    for name in ("coopy.json", *(path.name for path in data.glob("*_*"))):
        mine, theirs = (data / name).read_bytes(), (tmp_path / "copy" / name).read_bytes()
        assert mine.rstrip(b"\0") == theirs.rstrip(b"\0"), name


def test_only_what_is_new_is_sent(data: Path, url: str, tmp_path: Path) -> None:
    first = update(data, url)
    assert update(data, url) == Sent(first.basedir, first.url, 17, first.files, first.total, 0, False, False)
    before = objects(url)
    with opened(data) as book:
        write(book, 18)
        sent = update(data, url)
        assert (sent.index, sent.is_new) == (18, True) and sent.bytes < 1000
        assert {each for each in before if each.startswith("pieces/")} <= set(objects(url))
        write(book, 30, 140_000)
        sent = update(data, url)
        assert 12 * 140_000 < sent.bytes < 14 * 140_000, "the last one before is sent anew with what follows it"
    assert back(url, tmp_path / "back") == list(range(1, 31))


def test_a_system_that_is_open_is_followed_without_many_objects(tmp_path: Path, url: str) -> None:
    with opened(tmp_path / "data") as book:
        kept = Offsite(str(tmp_path / "data"), url)
        for upto in range(1, 80):
            write(book, upto)
            assert kept.update().index == upto
        # Small pieces were sent anew with later ones, and what no catalog names is gone.
        assert len(newest(url).files["transaction_000000000000001.log"].pieces) < 12
        assert len([each for each in objects(url) if each.startswith("pieces/")]) < 30
        assert len([each for each in objects(url) if each.startswith("catalogs/")]) == 2
    assert back(url, tmp_path / "back") == list(range(1, 80))


def test_a_long_file_is_sent_in_pieces(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offsite, "PIECE_BYTES", 64 * 1024)
    with opened(tmp_path / "data") as book:
        kept = Offsite(str(tmp_path / "data"), url)
        for upto in (1, 20, 21, 60):
            write(book, upto, 10_000)
            kept.update()
        book.take_snapshot()
        kept.update()
    for name, each in newest(url).files.items():
        assert all(piece.size <= 64 * 1024 for piece in each.pieces), name
    assert back(url, tmp_path / "back") == list(range(1, 61))


def test_what_is_pruned_stays_in_the_backup_but_for_snapshots_in_between(data: Path, url: str, tmp_path: Path) -> None:
    update(data, url)
    with opened(data) as book:
        write(book, 20)
        book.take_snapshot()
        control(book).prune(keep=1)
        sent = update(data, url)
        assert (sent.index, sent.is_another) == (20, False)
    assert sorted(name for name in newest(url).files if name.startswith("snapshot")) == [
        "snapshot_000000000000000.dat",
        "snapshot_000000000000020.dat",
    ]
    for until in (0, 3, 11, 19, 20):
        assert back(url, tmp_path / "back", until) == list(range(1, until + 1))


def test_a_moment_is_a_time_too(data: Path, url: str, tmp_path: Path) -> None:
    update(data, url)
    from coopy.past.reading import Reading

    with Reading(str(data), Book) as reading:
        moments = [each.time for each in reading.actions()]
    assert back(url, tmp_path / "back", moments[4]) == list(range(1, 6))


# -- what is not ours, and what is another history


def test_another_system_is_refused_and_what_is_there_stays(data: Path, url: str, tmp_path: Path) -> None:
    update(data, url)
    before = objects(url)
    with opened(tmp_path / "other") as book:
        write(book, 3)
    with pytest.raises(UsageError, match="holds the backup of the system"):
        update(tmp_path / "other", url)
    assert objects(url) == before


def test_a_place_in_which_something_else_lies_is_refused(data: Path, url: str) -> None:
    Objects(url).write("holiday/photo.jpg", b"smile")
    with pytest.raises(UsageError, match=r"holds holiday/photo.jpg.*/NAME"):
        update(data, url)
    assert objects(url) == ["holiday/photo.jpg"]
    assert update(data, f"{url}/NAME").index == 17


def test_what_lies_beside_a_backup_is_never_removed(data: Path, url: str) -> None:
    update(data, url)
    Objects(url).write("notes.txt", b"mine")
    with opened(data) as book:
        kept = Offsite(str(data), url)
        for upto in range(18, 24):
            write(book, upto)
            kept.update()
    assert Objects(url).read("notes.txt") == b"mine"


def test_an_older_copy_that_goes_on_is_another_history_and_the_old_one_stays(data: Path, url: str, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "older")
    with opened(data) as book:
        write(book, 25)
        update(data, url)
    with opened(tmp_path / "older") as book:
        for number in range(100, 104):
            book.write(number)
        sent = update(tmp_path / "older", url)
        assert (sent.index, sent.is_another) == (21, True)
        for number in range(104, 106):
            book.write(number)
            sent = update(tmp_path / "older", url)
            assert not sent.is_another
    assert back(url, tmp_path / "back") == [*range(1, 18), *range(100, 106)]
    [earlier] = newest(url).earlier
    old = catalog.read(Objects(url), earlier)
    assert old is not None and old.index == 25 and old.objects <= set(objects(url))


def test_an_older_copy_as_it_was_is_another_history_too(data: Path, url: str, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "older")
    with opened(data) as book:
        write(book, 25)
        update(data, url)
    sent = update(tmp_path / "older", url)
    assert (sent.index, sent.is_another) == (17, True)
    assert back(url, tmp_path / "back") == list(range(1, 18))


def test_a_past_that_the_directory_lost_before_it_was_sent_begins_another_history(data: Path, url: str, tmp_path: Path) -> None:
    update(data, url)
    with opened(data) as book:
        write(book, 40, 140_000)
        book.take_snapshot()
        write(book, 45, 140_000)
        control(book).prune(keep=1)
        sent = update(data, url)
        assert (sent.index, sent.is_another) == (45, True)
    assert back(url, tmp_path / "back", 45) == list(range(1, 46))
    assert back(url, tmp_path / "back", 12) == list(range(1, 13)), "out of the history before"
    with pytest.raises(PrunedPast):
        fetch(url, str(tmp_path / "back"), until=30)


def test_a_file_that_was_only_touched_or_copied_is_the_same(data: Path, url: str, tmp_path: Path) -> None:
    update(data, url)
    for path in data.iterdir():
        os.utime(path)
    sent = update(data, url)
    assert (sent.is_new, sent.is_another, sent.bytes) == (False, False, 0)
    shutil.copytree(data, tmp_path / "moved")
    with opened(tmp_path / "moved") as book:
        write(book, 19)
    sent = update(tmp_path / "moved", url)
    assert (sent.index, sent.is_another) == (19, False) and sent.bytes < 10_000


# -- what is damaged


def flip(path: Path, offset: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0xFF
    path.chmod(0o600)
    path.write_bytes(data)


def test_a_damaged_directory_makes_no_backup_and_leaves_the_one_there(data: Path, url: str, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "damaged")
    flip(tmp_path / "damaged" / "transaction_000000000000007.log", 1000)
    with pytest.raises(StorageError, match="this is not the whole frame of action 7"):
        update(tmp_path / "damaged", url)
    assert catalog.newest(Objects(url)) == (None, 0)
    update(data, url)
    flip(tmp_path / "damaged" / "transaction_000000000000007.log", 1000)
    flip(tmp_path / "damaged" / "snapshot_000000000000010.dat")
    os.utime(tmp_path / "damaged" / "snapshot_000000000000010.dat")
    with pytest.raises(StorageError, match="There is no new backup"):
        update(tmp_path / "damaged", url)
    assert back(url, tmp_path / "back") == list(range(1, 18))


@pytest.mark.parametrize("which", ["transaction_000000000000007.log", "snapshot_000000000000010.dat", "coopy.json"])
def test_a_piece_that_is_not_what_was_sent_is_named_and_nothing_is_made(
    data: Path, server: s3.Server, tmp_path: Path, which: str
) -> None:
    url = f"s3://{s3.BUCKET}/{tmp_path.name}"
    update(data, url)
    piece = newest(url).files[which].pieces[0].name
    flip(server.objects()[f"{tmp_path.name}/{piece}"])
    with pytest.raises(StorageError, match=f"{piece}: its checksum"):
        fetch(url, str(tmp_path / "back"))
    server.objects()[f"{tmp_path.name}/{piece}"].unlink()
    with pytest.raises(StorageError, match=f"{piece} is not there any more"):
        fetch(url, str(tmp_path / "back"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_a_catalog_that_was_cut_off_leaves_the_backup_before_it(
    data: Path, server: s3.Server, tmp_path: Path, cut: int, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"s3://{s3.BUCKET}/{tmp_path.name}"
    update(data, url)
    with opened(data) as book:
        write(book, 18)
    update(data, url)
    path = server.objects()[f"{tmp_path.name}/catalogs/000000002.json"]
    path.write_bytes(path.read_bytes()[:cut])
    assert back(url, tmp_path / "back") == list(range(1, 18))
    assert "catalogs/000000002.json: this is not what was written" in caplog.text
    with opened(data) as book:
        write(book, 19)
    assert update(data, url).index == 19
    assert back(url, tmp_path / "back") == list(range(1, 20))
    with opened(data) as book:
        write(book, 20)
    assert update(data, url).index == 20
    assert back(url, tmp_path / "back") == list(range(1, 21))


def test_a_backup_of_which_no_catalog_reads_is_refused(data: Path, server: s3.Server, tmp_path: Path) -> None:
    url = f"s3://{s3.BUCKET}/{tmp_path.name}"
    update(data, url)
    flip(server.objects()[f"{tmp_path.name}/catalogs/000000001.json"])
    with pytest.raises(StorageError, match="this is not what was written"):
        update(data, url)
    with pytest.raises(StorageError, match="this is not what was written"):
        fetch(url, str(tmp_path / "back"))


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "lock", "other.dat"])
def test_a_catalog_names_no_file_but_those_of_a_directory(data: Path, url: str, tmp_path: Path, name: str) -> None:
    update(data, url)
    good = newest(url)
    made = catalog.Catalog(2, good.system, good.index, {name: good.files["coopy.json"]})
    Objects(url).write(made.name, made.packed())
    with pytest.raises(StorageError, match="which no backup has"):
        fetch(url, str(tmp_path / "back"))


# -- what happens meanwhile


class Stopping(Objects):
    """A store that can't be reached any more after so many requests."""

    left = 10**9

    def write(self, name: str, data: bytes) -> bool:
        if not self.left:
            raise OutOfReach(self.url, "gone")
        self.left -= 1
        return super().write(name, data)


def test_a_backup_that_is_cut_off_at_any_moment_leaves_the_one_before(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"file://{tmp_path}/store"
    update(data, url)
    with opened(data) as book:
        write(book, 30, 140_000)
        book.take_snapshot()
    monkeypatch.setattr(offsite, "Objects", Stopping)
    for left in range(100):
        kept = Offsite(str(data), url)
        kept._store.left = left  # type: ignore[attr-defined]
        try:
            kept.update()
            break
        except OutOfReach:
            assert back(url, tmp_path / "back") == list(range(1, 18))
    assert left > 4
    assert back(url, tmp_path / "back") == list(range(1, 31))


def test_two_that_make_backups_of_one_directory_do_not_harm_each_other(data: Path, url: str, tmp_path: Path) -> None:
    one, two = Offsite(str(data), url), Offsite(str(data), url)
    with opened(data) as book:
        for upto in range(18, 28):
            write(book, upto)
            (one if upto % 3 else two).update()
    found = newest(url)
    assert found.index == 27 and found.objects <= set(objects(url))
    assert back(url, tmp_path / "back") == list(range(1, 28))


def test_an_answer_that_was_lost_is_no_conflict(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgetful(Objects):
        def write(self, name: str, data: bytes) -> bool:
            super().write(name, data)
            return super().write(name, data)

    monkeypatch.setattr(offsite, "Objects", Forgetful)
    assert update(data, f"file://{tmp_path}/store").index == 17
    assert [each for each in objects(f"file://{tmp_path}/store") if each.startswith("catalogs/")] == ["catalogs/000000001.json"]


def test_a_backup_that_is_fetched_while_newer_ones_are_made_is_whole(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from coopy.tools import fetching

    url = f"file://{tmp_path}/store"
    update(data, url)

    class Busy(Objects):
        left = 3

        def read(self, name: str) -> bytes | None:
            if name.startswith("pieces/") and Busy.left:
                Busy.left -= 1
                with opened(data) as book:
                    for _ in range(3):
                        write(book, len(book.lines) + 1)
                        update(data, url)
            return super().read(name)

    monkeypatch.setattr(fetching, "Objects", Busy)
    assert back(url, tmp_path / "back") == list(range(1, 27))


def test_a_store_that_is_out_of_reach_is_told_once_and_tried_again(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"file://{tmp_path}/store"
    monkeypatch.setattr(offsite, "Objects", Stopping)
    kept = Offsite(str(data), url)
    said: list[Any] = []
    steps = iter([lambda: None, *[lambda: fail(0)] * 3, lambda: fail(10**9)])

    def fail(left: int) -> None:
        kept._store.left = left  # type: ignore[attr-defined]

    class End(Exception):
        pass

    def sleep(_: float) -> None:
        with opened(data) as book:
            write(book, len(book.lines) + 1)
        step = next(steps, None)
        if step is None:
            raise End
        step()

    monkeypatch.setattr(offsite.time, "sleep", sleep)
    with pytest.raises(End):
        kept.follow(0, said.append)
    assert [type(each).__name__ for each in said] == ["Sent", "Sent", "OutOfReach", "Sent"]
    assert said[-1].index == 22


def test_a_place_that_is_none_or_can_not_be_reached_is_refused_with_what_it_must_be(
    data: Path, server: s3.Server, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="must be the URL of a bucket"):
        update(data, "ftp://host/wiki")
    with pytest.raises(OutOfReach, match="s3://no-bucket"):
        update(data, "s3://no-bucket/wiki")
    with pytest.raises(UsageError, match="there is no backup"):
        fetch(f"s3://{s3.BUCKET}/nothing-here", str(tmp_path / "back"))


def test_without_obstore_it_is_said_what_to_install(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    monkeypatch.setitem(sys.modules, "obstore.exceptions", None)
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(UsageError, match=r"pip install 'coopy\[s3\]'"):
        update(data, "s3://bucket/wiki")


# -- processes that are killed


def test_kills_of_writer_backup_and_store_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    from s3_campaign import Campaign

    for name in ("AWS_ENDPOINT_URL", "AWS_ALLOW_HTTP", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.setenv(name, "")
    campaign = Campaign(tmp_path, seed=11)
    try:
        for _ in range(5):
            campaign.round(0.6)
        assert len(campaign.finish(3)) == 3
    finally:
        campaign.close()
