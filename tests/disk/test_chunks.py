"""A state in a file in chunks: written without a copy of it, and read so."""

from __future__ import annotations

import pickle
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import pytest
from faults import Faulty

from coopy import DamagedSnapshot, Unreadable, control, init_system
from coopy.disk import snapshots
from coopy.disk.chunks import CHUNK, Chunks, Writer
from coopy.disk.fs import Calls, File
from coopy.disk.snapshots import DiskSnapshots
from coopy.ground import action
from coopy.values import codec

SYSTEM = b"0123456789abcdef"
START = 64


class Vector:
    """Gives pickle its buffer, as arrays of numpy do."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Vector, (pickle.PickleBuffer(self.data),)


class Vectors:
    def __init__(self) -> None:
        self.held: list[Any] = []

    def add(self, size: int) -> None:
        self.held.append(Vector(bytearray(range(256)) * (size // 256)))


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(Calls(), str(tmp_path / "file"), write=True, create=True)


def told(place: int) -> Exception:
    return LookupError(place)


def of(file: File, writer: Writer) -> Chunks:
    return Chunks(file, START, writer.size, writer.checksums, told)


SIZES = [0, 1, 100, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK - 5, 10, 2 * CHUNK, 7]


@pytest.mark.parametrize("sizes", [SIZES, SIZES[::-1], [CHUNK, CHUNK], [5 * CHUNK + 1], [0], []])
def test_what_is_written_in_pieces_of_any_size_is_read_in_parts_of_any_size(file: File, sizes: list[int]) -> None:
    writer = Writer(file, START)
    whole = b""
    for number, size in enumerate(sizes):
        piece = bytes([number + 1]) * size
        assert writer.write((piece, bytearray(piece), pickle.PickleBuffer(piece))[number % 3]) == size
        whole += piece
    writer.finish()
    found = of(file, writer)
    assert (len(found), writer.size, len(writer.checksums)) == (len(whole), len(whole), -(-len(whole) // CHUNK))
    assert bytes(found[:]) == whole
    ends = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 4 * CHUNK + 9, len(whole) - 1, len(whole), len(whole) + 9]
    for start in ends:
        for end in ends:
            assert bytes(found[start:end]) == whole[start:end], (start, end)


def test_what_was_written_before_a_restart_is_gone(file: File) -> None:
    writer = Writer(file, START)
    writer.write(b"a" * (2 * CHUNK + 7))
    writer.restart()
    writer.write(b"b" * 5)
    writer.finish()
    assert bytes(of(file, writer)[:]) == b"bbbbb"
    assert file.calls.size(file._fd) == START + 5


def test_a_buffer_of_any_number_of_dimensions_is_written_as_it_lies(file: File) -> None:
    cells = memoryview(bytearray(range(240))).cast("B", (2, 3, 40))
    writer = Writer(file, START)
    assert writer.write(pickle.PickleBuffer(cells)) == 240
    writer.finish()
    assert bytes(of(file, writer)[:]) == bytes(range(240))


def test_no_part_of_a_chunk_is_given_whose_checksum_does_not_match(file: File) -> None:
    writer = Writer(file, START)
    writer.write(bytes(3 * CHUNK + 5))
    writer.finish()
    for place in (0, CHUNK, 3 * CHUNK + 4):
        file.write(START + place, b"\1")
        found = of(file, writer)
        with pytest.raises(LookupError, match=str(place // CHUNK * CHUNK)):
            found[place : place + 1]
        with pytest.raises(LookupError):
            found.check()
        file.write(START + place, b"\0")
    of(file, writer).check()
    file.cut(START + 3 * CHUNK + 4)
    with pytest.raises(LookupError, match=str(3 * CHUNK)):
        of(file, writer).check()


def test_a_large_buffer_is_written_and_read_without_a_copy_of_it(file: File) -> None:
    data = bytearray(range(256)) * (32 * CHUNK // 256)
    writer = Writer(file, START)
    tracemalloc.start()
    try:
        pickle.Pickler(writer, 5).dump(Vector(data))
        writer.finish()
        assert tracemalloc.get_traced_memory()[1] < 5 * CHUNK
        reader: Any = codec._Reader(of(file, writer), 0, writer.size, None)
        tracemalloc.reset_peak()
        found = pickle.load(reader)
        assert tracemalloc.get_traced_memory()[1] < len(data) + 5 * CHUNK
    finally:
        tracemalloc.stop()
    assert found.data == data


def test_texts_and_objects_across_the_ends_of_chunks_are_read_as_they_were_written(file: File) -> None:
    value = ["x" * (3 * CHUNK), b"y" * (2 * CHUNK + 1), list(range(200_000)), bytearray(CHUNK), "é" * 40_000]
    writer = Writer(file, START)
    pickle.Pickler(writer, 5).dump(value)
    pickle._Pickler(writer, 0).dump("a\nb")  # type: ignore[attr-defined]
    writer.finish()
    told: list[tuple[int, int]] = []
    reader: Any = codec._Reader(of(file, writer), 0, writer.size, lambda *done: told.append(done))
    assert [pickle.load(reader), pickle.load(reader)] == [value, "a\nb"]
    assert told[-1] == (writer.size, writer.size) and told == sorted(told)


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory whose snapshot is of a state that is read while it is loaded."""
    monkeypatch.setattr(snapshots, "IN_MEMORY_BYTES", 2 * CHUNK)
    monkeypatch.setattr(codec, "_LARGE_BYTES", 2 * CHUNK)
    with init_system(Vectors, tmp_path / "data", fork=False, validation="off") as vectors:
        for size in (200_000, 3 * CHUNK, 70_000):
            vectors.add(size)
        control(vectors).take_snapshot()
        vectors.add(512)
    return tmp_path / "data"


def sizes(vectors: Any) -> list[int]:
    assert all(bytes(each.data) == bytes(range(256)) * (len(each.data) // 256) for each in vectors.held)
    return [len(each.data) for each in vectors.held]


def test_a_state_of_buffers_is_kept_by_pickle_itself(large: Path) -> None:
    data = (large / "snapshot_000000000000003.dat").read_bytes()
    assert data[64:].find(b"P\x80\x05") in range(action.HEAD.size, 400)


def test_a_large_state_is_loaded_while_it_is_read(large: Path) -> None:
    found = DiskSnapshots(Calls(), str(large), system_of(large)).latest()
    assert found is not None and isinstance(found[1], Chunks)
    with init_system(Vectors, large, validation="off") as vectors:
        assert sizes(vectors) == [199_936, 3 * CHUNK, 69_888, 512]


def test_a_damaged_large_state_is_passed_over_before_any_of_it_is_loaded(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = large / "snapshot_000000000000003.dat"
    data = bytearray(path.read_bytes())
    data[-2 * CHUNK] ^= 1
    path.write_bytes(data)
    loaded: list[int] = []
    monkeypatch.setattr(codec, "_Reader", lambda *arguments: loaded.append(1))
    with init_system(Vectors, large, validation="off") as vectors:
        assert sizes(vectors) == [199_936, 3 * CHUNK, 69_888, 512]
    assert not loaded


class SaysSomethingElse(Calls):
    """A disk that gives other bytes, or none, when it is asked again."""

    def __init__(self, at: int, problem: bool) -> None:
        self._at = at
        self._problem = problem
        self._seen = 0

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        data = super().pread(fd, size, offset)
        if offset <= self._at < offset + size and len(data) > CHUNK // 2:
            self._seen += 1
            if self._seen > 1:
                if self._problem:
                    raise OSError(5, "Input/output error")
                return data[:-1] + b"?"
        return data


@pytest.mark.parametrize("problem", [False, True])
def test_a_disk_that_says_something_else_when_the_state_is_loaded_is_told(large: Path, problem: bool) -> None:
    found = DiskSnapshots(SaysSomethingElse(64 + CHUNK, problem), str(large), system_of(large)).latest()
    assert found is not None
    with pytest.raises(Unreadable if problem else DamagedSnapshot, match="snapshot_000000000000003"):
        codec.Codec(Vectors).load_state(found[1], start=action.HEAD.size)


def test_a_state_that_the_disk_does_not_give_back_is_not_kept(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with init_system(Vectors, large, fork=False, validation="off") as vectors:
        vectors.add(3 * CHUNK)
        monkeypatch.setattr(Writer, "_put", _put_wrongly)
        with pytest.raises(DamagedSnapshot):
            control(vectors).take_snapshot()
        monkeypatch.undo()
        assert not list(large.glob("*.tmp*")) and not (large / "snapshot_000000000000005.dat").exists()
        assert sizes(vectors)[-1] == 3 * CHUNK


def _put_wrongly(writer: Writer, chunk: bytes) -> None:
    writer._file.write(writer._start + writer.size, chunk[:-1] + b"?")
    writer.checksums.append(zlib.crc32(chunk))
    writer.size += len(chunk)


def test_a_disk_that_refuses_in_the_middle_leaves_no_snapshot(tmp_path: Path) -> None:
    disk = Faulty()
    store = DiskSnapshots(disk, str(tmp_path), SYSTEM)

    def save(file: Any) -> None:
        file.write(bytes(3 * CHUNK))
        disk.failing = "pwrite"
        file.write(bytes(CHUNK))

    with pytest.raises(OSError):
        store.write(1, save)
    assert list(tmp_path.iterdir()) == []


def system_of(directory: Path) -> bytes:
    return (directory / "snapshot_000000000000000.dat").read_bytes()[12:28]
