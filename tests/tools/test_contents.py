"""What is in a directory is told of a whole one, an open one and a damaged one, and nothing is unpickled for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import program
import pytest

from coopy import ForeignDirectory, UsageError, control, init_system
from coopy.disk import dirlock, frame
from coopy.disk.dirlock import forget_boot
from coopy.disk.fs import Calls
from coopy.disk.journal import Journal
from coopy.disk.segment import BLOCK, Segment
from coopy.ground import action
from coopy.ground.record import joined
from coopy.tools.contents import Contents, contents, look

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


FRAME = 5 * BLOCK
"""What each action of the fixture takes: more than four blocks, so the next one begins behind the fifth."""


class Shop:
    def __init__(self) -> None:
        self.sold: list[str] = []

    def sell(self, what: str) -> None:
        self.sold.append(what)


def opened(directory: Path, **settings: Any) -> Any:
    return init_system(Shop, directory, segment_bytes=1 << 20, validation="off", **settings)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Three segments (actions 1 to 6, 7 to 12, 13 to 17) and the snapshots 0, 10 and 17."""
    directory = tmp_path / "shop"
    with opened(directory) as system:
        for number in range(1, 18):
            system.sell(f"{number}" + "x" * 140_000)
            if number in (10, 17):
                system.take_snapshot()
    return directory


def segment(first: int) -> str:
    return f"transaction_{first:015d}.log"


def snapshot(index: int) -> str:
    return f"snapshot_{index:015d}.dat"


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x10
    path.write_bytes(data)


def test_a_whole_directory_is_described_from_its_headers(shop: Path) -> None:
    found = contents(str(shop))
    assert (found.basedir, found.format, found.holder) == (str(shop), 1, None)
    assert found.domain.endswith(":Shop")
    assert len(found.system) == 32
    assert (found.first, found.last, found.damages, found.others) == (1, 17, [], [])
    assert [(each.name, each.first, each.last, each.actions, each.state) for each in found.segments] == [
        (segment(1), 1, 6, 6, "whole"),
        (segment(7), 7, 12, 6, "whole"),
        (segment(13), 13, 17, 5, "whole"),
    ]
    assert [(each.name, each.index, each.state) for each in found.snapshots] == [
        (snapshot(0), 0, "whole"),
        (snapshot(10), 10, "whole"),
        (snapshot(17), 17, "whole"),
    ]
    assert found.size == sum(path.stat().st_size for path in shop.iterdir())


def test_the_times_are_those_of_the_actions(tmp_path: Path) -> None:
    before = datetime.now(timezone.utc)
    with opened(tmp_path) as system:
        system.sell("tea")
        between = datetime.now(timezone.utc)
        system.sell("milk")
        system.take_snapshot()
        after = datetime.now(timezone.utc)
    found = contents(str(tmp_path))
    assert found.begins is not None and before <= found.begins <= between
    assert found.ends is not None and between <= found.ends <= after, "not that of the amendment which closing writes"
    assert found.snapshots[-1].time == found.ends
    assert (found.segments[0].begins, found.segments[0].ends) == (found.begins, found.ends)


def test_what_as_dict_gives_is_what_json_gives_back(shop: Path) -> None:
    flip(shop / segment(7), 70_000)
    (shop / "notes.txt").write_text("ours?")
    members = contents(str(shop)).as_dict()
    assert json.loads(json.dumps(members)) == members
    assert members["others"] == [{"name": "notes.txt", "size": 5}]
    assert members["damages"][0]["name"] == segment(7)
    assert datetime.fromisoformat(members["begins"]).tzinfo is not None


def test_nothing_is_unpickled(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("unpickled")

    for name in ("pickle.loads", "pickle.load", "pickle.Unpickler", "coopy.values.codec.decode_joined"):
        monkeypatch.setattr(name, refuse)
    assert contents(str(shop)).last == 17


def damaged_frame(shop: Path) -> None:
    flip(shop / segment(1), 300_000)


def damaged_header(shop: Path) -> None:
    flip(shop / segment(7), 40)


def foreign_segment(shop: Path, tmp: str = "other") -> None:
    with opened(shop.parent / tmp) as system:
        system.sell("tea")
    os.replace(shop.parent / tmp / segment(1), shop / segment(1))


def missing_segment(shop: Path) -> None:
    (shop / segment(7)).unlink()


def missing_first_segment(shop: Path) -> None:
    (shop / segment(1)).unlink()


def missing_segments(shop: Path) -> None:
    for path in shop.glob("transaction_*"):
        path.unlink()


def missing_snapshots(shop: Path) -> None:
    for path in shop.glob("snapshot_*"):
        path.unlink()


def damaged_state(shop: Path) -> None:
    flip(shop / snapshot(10), 500)


def short_snapshot(shop: Path) -> None:
    (shop / snapshot(17)).write_bytes(b"COOPYSNP")


def overlap(shop: Path) -> None:
    """A segment says by its name that it begins where the one before it still goes on."""
    data = bytearray((shop / segment(13)).read_bytes()[:64])
    data[28:36] = (5).to_bytes(8, "little")
    data[60:] = zlib.crc32(data[:60]).to_bytes(4, "little")
    (shop / segment(5)).write_bytes(bytes(data))


def damaged_manifest(shop: Path) -> None:
    flip(shop / "coopy.json", 30)


def directory_for_segment(shop: Path) -> None:
    (shop / segment(7)).unlink()
    (shop / segment(7)).mkdir()


@pytest.mark.parametrize(
    ("plant", "kind", "name"),
    [
        (damaged_frame, "frame", segment(1)),
        (damaged_header, "header", segment(7)),
        (foreign_segment, "foreign", segment(1)),
        (missing_segment, "missing", segment(13)),
        (missing_first_segment, "missing", segment(7)),
        (missing_segments, "missing", "segments"),
        (missing_snapshots, "missing", "snapshots"),
        (damaged_state, "snapshot", snapshot(10)),
        (short_snapshot, "snapshot", snapshot(17)),
        (overlap, "overlap", segment(5)),
        (damaged_manifest, "manifest", "coopy.json"),
        (directory_for_segment, "header", segment(7)),
    ],
)
def test_a_damaged_directory_is_described_and_the_damage_named(
    shop: Path, plant: Callable[[Path], None], kind: str, name: str
) -> None:
    plant(shop)
    found = contents(str(shop))
    assert (kind, name) in [(each.kind, each.name) for each in found.damages], found.damages
    states = {each.name: each.state for each in (*found.segments, *found.snapshots)}
    if kind in ("frame", "header", "foreign", "snapshot"):
        assert states[name] == "damaged"
    json.dumps(found.as_dict())


def test_the_place_of_the_damage_is_told(shop: Path) -> None:
    damaged_frame(shop)
    found = contents(str(shop)).segments[0]
    assert (found.offset, found.last, found.actions) == (FRAME, 1, 1)
    assert found.problem == "this is not the whole frame of action 2"


def test_a_damaged_manifest_leaves_the_id_to_the_other_files(shop: Path) -> None:
    system = contents(str(shop)).system
    damaged_manifest(shop)
    found = contents(str(shop))
    assert (found.system, found.format, found.domain) == (system, None, "")


def test_a_torn_end_is_no_damage(shop: Path) -> None:
    path = shop / segment(13)
    path.write_bytes(path.read_bytes()[: 4 * FRAME + 1000] + b"?" * 57)
    found = contents(str(shop))
    assert found.damages == []
    torn = found.segments[-1]
    assert (torn.state, torn.last, torn.offset) == ("torn", 16, 4 * FRAME)
    assert found.last == 17, "the snapshot has it"


def test_segments_behind_a_torn_end_are_torn_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The calls come faster than the sync of the segment that is full.
    monkeypatch.setattr("coopy.proof.proving.Proving.look", lambda self, machine: False)
    system = opened(tmp_path, durability="buffered")
    for _ in range(8):
        system.sell("x" * 140_000)
    copy = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    control(system)._system.abandon()
    for name, data in copy.items():
        (tmp_path / name).write_bytes(data)
    # A power cut: the last sectors of the first segment are not there, and nothing says that it was synced.
    path = tmp_path / segment(1)
    data = path.read_bytes().rstrip(b"\0")
    path.write_bytes(data[:-200])
    forget_boot(str(tmp_path))
    found = contents(str(tmp_path))
    assert [(each.first, each.last, each.state) for each in found.segments] == [(1, 5, "torn"), (7, 6 + 2, "torn")]
    assert found.damages == []
    with opened(tmp_path) as again:
        assert len(again.sold) == 5


def test_what_is_left_over_is_listed(shop: Path) -> None:
    (shop / "aside-20240101T000000.000000Z").mkdir()
    (shop / "aside-20240101T000000.000000Z" / segment(13)).write_bytes(b"x" * 10)
    (shop / (snapshot(17) + ".77.tmp")).write_bytes(b"x" * 11)
    (shop / "damaged-20240101T000000Z").mkdir()
    (shop / "damaged-20240101T000000Z" / segment(7)).write_bytes(b"x" * 12)
    assert {each.name: each.size for each in contents(str(shop)).others} == {
        "aside-20240101T000000.000000Z": 10,
        snapshot(17) + ".77.tmp": 11,
        "damaged-20240101T000000Z": 12,
    }


@pytest.mark.parametrize("name", ["nothing", "a file", "an empty directory", "no manifest", "something else"])
def test_where_there_is_no_system_it_is_said(shop: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "a file":
        path.write_text("x")
    elif name != "nothing":
        path.mkdir()
    if name == "no manifest":
        (shop / "coopy.json").unlink()
        path = shop
    if name == "something else":
        (path / "coopy.json").write_text('{"name": "a package of somebody"}')
    with pytest.raises((UsageError, ForeignDirectory), match=str(path)):
        contents(str(path))


@pytest.mark.parametrize("release", ["0.4.6", "0.7.0"])
def test_a_directory_of_an_old_release_is_called_so(release: str) -> None:
    with pytest.raises(ForeignDirectory, match=rf"coopy {release}.*coopy import"):
        contents(str(GOLDEN / f"coopy-{release}"))


# -- in use

HOLDING = """
    import sys
    from coopy import init_system
    class Shop:
        def sell(self, what):
            pass
    system = init_system(Shop, sys.argv[1], validation="off")
    system.sell("tea")
    print("open", flush=True)
    sys.stdin.readline()
    system.close()
    print("closed", flush=True)
    sys.stdin.readline()
"""


def test_the_holder_is_named_while_there_is_one_and_keeps_its_lock(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with program.start(program.write(tmp_path / "holding.py", HOLDING), data) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == "open\n"
        assert contents(str(data)).holder == process.pid
        assert contents(str(data)).last == 1
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "closed\n", "it was not disturbed"
        assert (data / "lock").read_text().splitlines()[0] == str(process.pid), "the file stays and says nothing"
        assert contents(str(data)).holder is None
        process.stdin.close()


def test_asking_for_the_holder_takes_the_lock_from_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lock").write_text(f"{os.getpid()}\n")
    monkeypatch.setattr("fcntl.flock", None)
    assert dirlock.holder(str(tmp_path)) is None


def test_where_the_kernel_does_not_tell_a_living_process_is_taken_for_the_holder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()

    def opened_elsewhere(path: Any, *arguments: Any, **settings: Any) -> Any:
        if path == "/proc/locks":
            raise FileNotFoundError(path)
        return open(path, *arguments, **settings)

    monkeypatch.setattr(dirlock, "open", opened_elsewhere, raising=False)
    for text, holder in ((f"{os.getpid()}\n", os.getpid()), (f"{ended.pid}\n", None), ("", None), ("x", None)):
        (tmp_path / "lock").write_text(text)
        assert dirlock.holder(str(tmp_path)) == holder


class Busy(Calls):
    """Another process appends whenever something is read: the n-th time, what ``work`` does then."""

    def __init__(self, work: Callable[[int], None]) -> None:
        self.reads = 0
        self.work = work

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        data = super().pread(fd, size, offset)
        self.reads += 1
        self.work(self.reads)
        return data


@pytest.mark.parametrize("moments", [range(2, 3), range(2, 60, 7), range(1, 1000)])
def test_what_is_appended_while_it_is_read_is_not_taken_for_damage(tmp_path: Path, moments: range) -> None:
    with opened(tmp_path) as system:
        system.sell("tea")
        journal = control(system)._system._journal

        def work(reads: int) -> None:
            # A block is filled just after it was read, and the next is begun with an index that does not follow.
            if reads in moments:
                for _ in range(7):
                    system.sell("x" * 10_000)

        owner = bytes.fromhex(contents(str(tmp_path)).system)
        read = Segment.open(Busy(work), str(tmp_path / segment(1)), owner, 1, write=False)
        found = look(read, segment(1))
        read.close()
        assert (found.damage, found.stop, found.proven) == (None, None, False)
        assert 1 <= found.last <= journal.last


def test_what_is_pruned_while_it_is_read_is_not_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path) as system:
        for _ in range(20):
            system.sell("x" * 140_000)
        system.take_snapshot()
        real, pruned = Segment.open, []

        def prune_then_open(*arguments: Any, **settings: Any) -> Segment:
            if not pruned:
                pruned.append(control(system).prune(keep=1))
            return real(*arguments, **settings)

        monkeypatch.setattr("coopy.disk.segment.Segment.open", prune_then_open)
        found: Contents = contents(str(tmp_path))
    assert pruned == [[0]]
    assert (found.damages, found.first, found.last) == ([], 19, 20)


# -- actions that were appended together


MINUTE = 60 * 10**9
"""In nanoseconds; so far apart are the actions of `crowd`, of which the first is one after the epoch."""


@pytest.fixture
def crowd(tmp_path: Path) -> Path:
    """Actions 1 to 300, in frames of up to 64, two of which go into a block."""
    directory = tmp_path / "crowd"
    opened(directory).close()
    append(directory, range(1, 101))
    append(directory, range(101, 301))
    return directory


def append(directory: Path, indexes: range) -> None:
    journal = Journal(Calls(), str(directory), bytes.fromhex(contents(str(directory)).system))
    journal.append_all(*joined([action.header(index * MINUTE, 0, action.RETURNED) + b"x" * 220 for index in indexes]))
    journal.flush()
    journal.close()


def frames(directory: Path) -> list[tuple[int, int, int, int]]:
    """Of each frame of the first segment the first and the last action, where it begins and where it ends."""
    found, segment_ = (
        [],
        Segment.open(Calls(), str(directory / segment(1)), bytes.fromhex(contents(str(directory)).system), 1, write=False),
    )
    for block in segment_.blocks():
        offset = 0
        while (each := frame.head(block.frames, offset)) is not None:
            place = block.offset + offset
            found.append((each.first, each.index, place, place + each.length))
            offset += each.length
    segment_.close()
    return found


def minute(index: int) -> datetime:
    return datetime.fromtimestamp(index * 60, timezone.utc)


def test_of_frames_of_several_the_first_and_the_last_action_are_told_with_their_times(crowd: Path) -> None:
    (first, last, *_), *_, final = frames(crowd)
    assert (first, last) == (1, 64) and final[0] < final[1] == 300
    found = contents(str(crowd))
    assert (found.first, found.last, found.damages) == (1, 300, [])
    assert (found.begins, found.ends) == (minute(1), minute(300))
    [only] = found.segments
    assert (only.first, only.last, only.actions, only.state) == (1, 300, 300, "whole")
    assert (only.begins, only.ends) == (minute(1), minute(300))


@pytest.mark.parametrize("place", range(5))
def test_a_damaged_frame_of_several_is_told_by_its_place_and_by_its_first_action(crowd: Path, place: int) -> None:
    first, last, offset, end = frames(crowd)[place]
    assert last > first
    # The journal goes on behind it, so it is damage and no torn end.
    append(crowd, range(301, 311))
    behind = frames(crowd)[place - 1][3] if place else 64
    flip(crowd / segment(1), (offset + end) // 2)
    found = contents(str(crowd))
    [only] = found.segments
    assert (only.state, only.problem) == ("damaged", f"this is not the whole frame of action {first}")
    assert only.offset in (behind, offset)
    assert (only.last, only.actions) == (first - 1 or None, first - 1)
    assert [(each.kind, each.offset, each.index) for each in found.damages] == [("frame", only.offset, first)]
    if place:
        assert (found.begins, found.ends) == (minute(1), minute(first - 1))


def test_a_torn_frame_of_several_is_no_damage_and_none_of_its_actions_is_counted(crowd: Path) -> None:
    first, last, offset, end = frames(crowd)[-1]
    whole = (crowd / segment(1)).read_bytes()
    for size in (0, 1, 10, 33, 40, (end - offset) // 2, end - offset - 1):
        (crowd / segment(1)).write_bytes(whole[: offset + size].ljust(len(whole), b"\0"))
        found = contents(str(crowd))
        [only] = found.segments
        assert (found.last, found.damages, found.ends) == (first - 1, [], minute(first - 1))
        assert (only.state, only.actions) == ("torn" if size else "whole", first - 1)
