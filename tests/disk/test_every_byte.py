"""Cut a journal at every byte, flip every bit of every file: it opens with what is whole, or says what is wrong."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import handed
import pytest

import coopy
from coopy import StorageError, control, init_system
from coopy.disk import frame
from coopy.disk.fs import Calls
from coopy.disk.journal import Journal
from coopy.ground.action import header
from coopy.ground.record import joined

SEGMENT = "transaction_000000000000001.log"


CUTS: dict[str, Callable[[bytes, int], bytes]] = {
    "short": lambda data, at: data[:at],
    "zeros": lambda data, at: data[:at].ljust(len(data), b"\0"),
}


@pytest.fixture
def tmp_path(in_memory: Path) -> Path:
    return in_memory


class Ledger:
    def __init__(self) -> None:
        self.lines: list[object] = []

    def add(self, line: object) -> None:
        self.lines.append(line)

    def refuse(self, line: object) -> None:
        self.lines.append(line)
        raise ValueError(line)


class Called(handed.Called):
    domain = Ledger


def write(directory: Path, durability: str, closed: bool, together: bool = False) -> list[list[object]]:
    """A small ledger, left closed or as a killed process would. Returns its lines after each action.

    ``together``: the last actions come in one batch.
    """
    writing = directory.with_name(directory.name + "-open")
    ledger = init_system(Ledger, writing, durability=durability, validation="off")
    after: list[list[object]] = [[]]
    for line in ("a", 7, ["opaque"], "a longer line of text", None):
        ledger.add(line)
        after.append(list(ledger.lines))
    with pytest.raises(ValueError):
        ledger.refuse("kept all the same")
    after.append(list(ledger.lines))
    if together:
        batch = [Called("add", line) for line in ("b", 8, ["opaque"], "c", None, 9, "last")]
        engine = ledger._coopy_engine
        list(engine.settled(engine.begin_all(batch), batch))
        after += [[*after[-1], *(call.args[0] for call in batch[: count + 1])] for count in range(len(batch))]
        assert ledger.lines == after[-1]
    else:
        ledger.add("last")
        after.append(list(ledger.lines))
    if closed:
        ledger.close()
        shutil.copytree(writing, directory)
    else:
        shutil.copytree(writing, directory)
        ledger.close()
    return after


def frames_of(data: bytes) -> list[tuple[int, int, frame.Frame]]:
    """Start, end and head of each frame of a segment's first block."""
    found, offset = [], 64
    while True:
        one = frame.whole(data, offset)
        if one is None:
            return found
        found.append((offset, offset + one.length, one))
        offset = found[-1][1]


STEP = 1 if os.environ.get("COOPY_EVERY_BIT") else 7
"""One bit in so many is flipped, all of them in `make crash`; 7 and 8 have no divisor in common, so each bit of a byte has its turn."""
NEAR = 2


def offsets(frames: list[tuple[int, int, frame.Frame]]) -> list[int]:
    """Where to cut: at every byte in `make crash`; else at each byte near the ends of frames, and at some in between."""
    ends = {start for start, _, _ in frames} | {end for _, end, _ in frames}
    every = range(min(ends), max(ends) + 1)
    return [at for at in every if at % min(STEP, 4) == 0 or any(abs(at - end) <= NEAR for end in ends)]


@pytest.fixture(params=["sync", "buffered"])
def durability(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[True, False], ids=["closed", "killed"])
def closed(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(params=[False, True], ids=["one by one", "together"])
def together(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Frames of several records are of three at most: two of them, and one of a single record, for a batch of seven."""
    monkeypatch.setattr(frame, "TOGETHER_MAX", 3)
    return bool(request.param)


def reopened(directory: Path) -> list[object]:
    """The lines as a writer finds them, after it has also written and been opened once more."""
    with init_system(Ledger, directory, validation="off") as ledger:
        lines = list(ledger.lines)
        ledger.add("afterwards")
    with init_system(Ledger, directory, validation="off") as ledger:
        assert ledger.lines == [*lines, "afterwards"]
    return lines


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_cut_at_every_byte_of_the_last_three_frames_it_opens_with_the_whole_ones(
    tmp_path: Path, durability: str, closed: bool, together: bool, cut: Callable[[bytes, int], bytes]
) -> None:
    after = write(tmp_path / "whole", durability, closed, together)
    segment = tmp_path / "whole" / SEGMENT
    data = segment.read_bytes()
    frames = frames_of(data)
    assert [head.index - head.first + 1 for _, _, head in frames] == 6 * [1] + ([3, 3, 1] if together else [1]) + closed * [1]
    data = data[: frames[-1][1] + 4096]
    for at in offsets(frames[-3:]):
        whole = [head.index for _, end, head in frames if end <= at]
        segment.write_bytes(cut(data, at))
        assert coopy.replay(Ledger, tmp_path / "whole").lines == after[whole[-1]]
        if at % 8 == 0:
            shutil.copytree(tmp_path / "whole", tmp_path / "copy")
            assert reopened(tmp_path / "copy") == after[whole[-1]]
            shutil.rmtree(tmp_path / "copy")


def lines(count: int) -> list[bytes]:
    return [header(number, 0, 0) + b"\x8c\x03addK\x05\x85" for number in range(1, count + 1)]


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_cut_at_every_byte_of_a_batch_a_journal_ends_with_the_last_whole_frame(
    tmp_path: Path, cut: Callable[[bytes, int], bytes]
) -> None:
    """Of as many records as a frame takes, and a writer goes on there."""
    journal = Journal(Calls(), str(tmp_path), bytes(16))
    journal.append(lines(1)[0])
    journal.append_all(*joined(lines(130)[1:]))
    journal.abandon()
    segment = tmp_path / SEGMENT
    data = segment.read_bytes()
    frames = frames_of(data)
    assert [(head.first, head.index) for _, _, head in frames] == [(1, 1), (2, 65), (66, 129), (130, 130)]
    data = data[: frames[-1][1] + 4096]
    for at in offsets(frames[1:]):
        last = [head.index for _, end, head in frames if end <= at][-1]
        segment.write_bytes(cut(data, at))
        journal = Journal(Calls(), str(tmp_path), bytes(16), write=False)
        assert journal.last == last, at
        journal.close()
        if at % 61 == 0 or at == frames[-1][1]:
            journal = Journal(Calls(), str(tmp_path), bytes(16))
            journal.append_all(*joined(lines(70)))
            assert journal.last == last + 70
            journal.abandon()
            journal = Journal(Calls(), str(tmp_path), bytes(16), write=False)
            records = list(journal.read(0))
            assert (journal.last, len(records)) == (last + 70, 1)
            assert records[0][1].startswith(data[64 : max(end for _, end, _ in frames if end <= at)])
            journal.close()


def bits(size: int, every: int) -> Iterator[tuple[int, int]]:
    for bit in range(0, size * 8, every):
        yield bit // 8, 1 << bit % 8


def test_any_bit_of_a_segment_flipped_is_refused_or_a_torn_end(
    tmp_path: Path, durability: str, closed: bool, together: bool
) -> None:
    after = write(tmp_path / "data", durability, closed, together)
    segment = tmp_path / "data" / SEGMENT
    data = segment.read_bytes()
    frames = frames_of(data)
    used = frames[-1][1]
    data = data[: used + 64]
    every = STEP if durability == "sync" and closed else 3 * STEP
    # What lies in front of a batch is flipped where nothing comes together.
    begin = frames[6][0] * 8 // every * every if together else 0
    refused = torn = 0
    for byte, bit in bits(len(data), every):
        if byte * 8 < begin:
            continue
        changed = bytearray(data)
        changed[byte] ^= bit
        segment.write_bytes(changed)
        # No later frame may say that what is missing had been synced, nor be what is missing.
        intact = [head.index for start, end, head in frames if end <= byte]
        behind = [head for start, _, head in frames if start > byte]
        reached = intact[-1] if intact else 0
        try:
            lines = coopy.replay(Ledger, tmp_path / "data").lines
        except StorageError as error:
            assert SEGMENT in str(error) and "Nothing was changed" in str(error)
            refused += 1
        else:
            torn += 1
            assert byte >= 64, "the header of a segment is never torn"
            assert lines == after[reached], (byte, bit)
            assert all(head.synced <= reached for head in behind), "what was synced is not thrown away"
        assert segment.read_bytes() == bytes(changed), "looking changes nothing"
    assert together or refused > 64 * 8 // every - 1
    assert torn > 0
    if durability == "sync" and closed:
        assert refused >= (frames[-2][0] * 8 - begin) // every, "only the last action's frame and its amendment can be torn"


def test_a_writer_refuses_and_accepts_exactly_what_a_reader_does(tmp_path: Path, together: bool) -> None:
    write(tmp_path / "data", "sync", True, together)
    segment = tmp_path / "data" / SEGMENT
    data = segment.read_bytes()
    data = data[: frames_of(data)[-1][1] + 64]
    for byte, bit in bits(len(data), 61):
        changed = bytearray(data)
        changed[byte] ^= bit
        segment.write_bytes(changed)
        expected: object
        try:
            expected = coopy.replay(Ledger, tmp_path / "data").lines
        except StorageError as error:
            expected = type(error)
        shutil.copytree(tmp_path / "data", tmp_path / "copy")
        if isinstance(expected, type):
            with pytest.raises(expected):
                init_system(Ledger, tmp_path / "copy", validation="off")
            assert (tmp_path / "copy" / SEGMENT).read_bytes() == bytes(changed)
        else:
            assert reopened(tmp_path / "copy") == expected
        shutil.rmtree(tmp_path / "copy")


def test_a_bit_flipped_far_behind_the_end_is_a_torn_end(tmp_path: Path) -> None:
    after = write(tmp_path / "data", "sync", True)
    segment = tmp_path / "data" / SEGMENT
    data = segment.read_bytes()
    for byte in (len(data) - 1, len(data) // 2, 256 * 1024, 256 * 1024 - 1):
        changed = bytearray(data)
        changed[byte] ^= 0x10
        segment.write_bytes(changed)
        assert coopy.replay(Ledger, tmp_path / "data").lines == after[-1]


def test_any_bit_of_a_lone_snapshot_flipped_is_refused(tmp_path: Path) -> None:
    with init_system(Ledger, tmp_path, validation="off") as ledger:
        ledger.add("x")
        ledger.take_snapshot()
    (tmp_path / "snapshot_000000000000000.dat").unlink()
    snapshot = tmp_path / "snapshot_000000000000001.dat"
    data = snapshot.read_bytes()
    for byte, bit in bits(len(data), STEP):
        changed = bytearray(data)
        changed[byte] ^= bit
        snapshot.write_bytes(changed)
        with pytest.raises(StorageError) as refusal:
            coopy.replay(Ledger, tmp_path)
        assert snapshot.name in str(refusal.value) or "system" in str(refusal.value)


def test_any_bit_of_the_newest_snapshot_flipped_falls_back_to_the_one_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with init_system(Ledger, tmp_path, validation="off") as ledger:
        ledger.add("x")
        ledger.take_snapshot()
        ledger.add("y")
    snapshot = tmp_path / "snapshot_000000000000001.dat"
    data = snapshot.read_bytes()
    for byte, bit in bits(len(data), 3 * STEP):
        changed = bytearray(data)
        changed[byte] ^= bit
        snapshot.write_bytes(changed)
        caplog.clear()
        try:
            assert coopy.replay(Ledger, tmp_path).lines == ["x", "y"]
        except StorageError as error:
            assert "belongs to system" in str(error) or "has format" in str(error)
        else:
            assert "going back to the snapshot of action 0" in caplog.text


def test_any_bit_of_the_manifest_flipped_is_refused(tmp_path: Path) -> None:
    with init_system(Ledger, tmp_path, validation="off") as ledger:
        ledger.add("x")
    manifest = tmp_path / "coopy.json"
    data = manifest.read_bytes()
    kept = 0
    for byte, bit in bits(len(data), 1):
        changed = bytearray(data)
        changed[byte] ^= bit
        manifest.write_bytes(changed)
        try:
            lines = coopy.replay(Ledger, tmp_path).lines
        except StorageError as error:
            assert "coopy.json" in str(error)
        else:
            # White space between the members, or the case of a digit of the checksum's own text.
            kept += 1
            assert lines == ["x"]
    assert kept < len(data), "hardly any"


def test_the_index_of_the_last_action_is_known_after_damage_is_put_right(tmp_path: Path) -> None:
    write(tmp_path / "data", "sync", True)
    segment = tmp_path / "data" / SEGMENT
    data = segment.read_bytes()
    segment.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
    with pytest.raises(coopy.DamagedJournal) as refusal:
        init_system(Ledger, tmp_path / "data", validation="off")
    assert (refusal.value.index, refusal.value.offset) == (1, 64)
    segment.write_bytes(data)
    with init_system(Ledger, tmp_path / "data", validation="off") as ledger:
        assert control(ledger).index == 7
