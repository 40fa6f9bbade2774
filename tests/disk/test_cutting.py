"""A journal is cut before any action: what is before it stays and opens, what went is kept, wherever a crash comes."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import Any

import handed
import pytest
from crash.disk_model import nothing, some
from faults import open_with
from tools.steps import Crash, Crashing, Journaling, Noting, Quick, put

from coopy.disk import cutting, manifest
from coopy.disk.fs import Calls
from coopy.disk.segment import BLOCK
from coopy.tools.contents import contents


class Book:
    def __init__(self) -> None:
        self.lines: list[int] = []

    def write(self, number: int, filler: str = "") -> None:
        self.lines.append(number)


class Called(handed.Called):
    domain = Book


def together(book: Any, numbers: range, size: int = 10) -> None:
    engine = book._coopy_engine
    engine.settle(engine.begin_all([Called("write", number, "x" * size) for number in numbers]))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three segments of 110 actions: alone, 64 in a frame, longer than a block; closed and opened between; snapshots at 0, 76 and 90."""
    directory = tmp_path_factory.mktemp("library") / "book"
    book = open_with(Quick(), Book, directory)
    for number in range(1, 6):
        book.write(number)
    together(book, range(6, 76))
    book.write(76, "x" * 2 * BLOCK)
    book.take_snapshot()
    book.close()
    book = open_with(Quick(), Book, directory)
    together(book, range(77, 91), 9000)
    book.take_snapshot()
    for number in range(91, 95):
        book.write(number, "x" * 400_000)
    together(book, range(95, 111))
    book.close()
    assert len(list(directory.glob("transaction_*"))) == 3
    return directory


def cut(calls: Calls, directory: Path, index: int, aside: str = "aside") -> Path:
    found = manifest.read(calls, str(directory))
    assert found is not None
    (directory / aside).mkdir(exist_ok=True)
    cutting.cut(calls, str(directory), found.system, index, str(directory / aside))
    return directory / aside


def goes_on(directory: Path, last: int) -> None:
    assert contents(str(directory)).damages == []
    with open_with(Quick(), Book, directory) as book:
        assert book.lines == list(range(1, last + 1))
        book.write(last + 1)
    with open_with(Quick(), Book, directory) as book:
        assert book.lines == list(range(1, last + 2))


def last_segment_of(directory: Path) -> int:
    """The action that the last segment begins with."""
    return max(int(path.stem.partition("_")[2]) for path in directory.glob("transaction_*"))


PLACES = [
    1,
    2,
    5,
    6,
    7,
    40,
    69,
    70,
    71,
    75,
    76,
    77,
    78,
    85,
    90,
    91,
    93,
    94,
    95,
    96,
    109,
    110,
    111,
    "first of the last",
    "second of the last",
]


@pytest.mark.parametrize("place", PLACES)
def test_a_journal_is_cut_before_an_action_wherever_it_lies(library: Path, tmp_path: Path, place: int | str) -> None:
    index = place if isinstance(place, int) else last_segment_of(library) + (place != "first of the last")
    directory = Path(shutil.copytree(library, tmp_path / "book"))
    before = {path.name: path.read_bytes() for path in directory.iterdir() if path.name != "lock"}
    aside = cut(Quick(), directory, index)
    kept = {path.name: path.read_bytes() for path in (*directory.iterdir(), *aside.iterdir()) if path.is_file()}
    for path in aside.glob("*.from-*"):
        name, _, offset = path.name.partition(".from-")
        kept[name] = (kept[name][: int(offset)] + kept[path.name]).ljust(len(kept[name]), b"\0")
    assert all(data == kept[name] for name, data in before.items())
    goes_on(directory, index - 1)


@pytest.mark.parametrize("index", [40, 77, 95])
def test_a_crash_at_any_step_leaves_what_opens_and_can_be_cut_again(library: Path, tmp_path: Path, index: int) -> None:
    for step in range(1, 100):
        directory = Path(shutil.copytree(library, tmp_path / f"{step}"))
        try:
            cut(Crashing(step), directory, index)
            break
        except Crash:
            with open_with(Quick(), Book, directory) as book:
                assert book.lines == list(range(1, len(book.lines) + 1))
                assert len(book.lines) >= index - 1
            cut(Quick(), directory, index, "again")
            goes_on(directory, index - 1)
            shutil.rmtree(directory)
    assert step > 8
    goes_on(directory, index - 1)


class InOrder(Quick):
    """Notes what is moved, and which directory is synced."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def rename(self, old: str, new: str) -> None:
        super().rename(old, new)
        is_of_the_journal = os.path.basename(old).startswith(("snapshot_", "transaction_"))
        self.notes.append("moved" if is_of_the_journal and os.path.dirname(old) != os.path.dirname(new) else "named")

    def sync_directory(self, path: str) -> None:
        super().sync_directory(path)
        self.notes.append(os.path.basename(path))


def test_what_is_moved_aside_is_durable_there_before_the_next_is_moved(library: Path, tmp_path: Path) -> None:
    """A disk may make the second of two moves durable and the first not: then a journal would have a gap."""
    directory = Path(shutil.copytree(library, tmp_path / "book"))
    disk = InOrder()
    cut(disk, directory, 40)
    moved = [place for place, note in enumerate(disk.notes) if note == "moved"]
    assert len(moved) >= 3
    assert all(disk.notes[place + 1 : place + 3] == ["aside", "book"] for place in moved)


@pytest.mark.parametrize("index", [40, 77, 95])
def test_a_power_cut_at_any_moment_leaves_what_can_be_cut_again(library: Path, tmp_path: Path, index: int) -> None:
    directory = Path(shutil.copytree(library, tmp_path / "book", ignore=shutil.ignore_patterns("lock")))
    recorder = Noting()
    disk = Journaling(str(directory), {path.name: path.read_bytes() for path in directory.iterdir()}, recorder)
    aside = directory / "aside"
    recorder.make_directory(str(aside))
    recorder.sync_directory(str(directory))
    cut(recorder, directory, index)
    chance = random.Random(index)
    for number, note in enumerate(recorder.notes):
        disk.follow(note)
        left = tmp_path / f"{number}"
        put(disk.left(chance.choice((nothing, some(chance, 0.5)))), left)
        with open_with(Quick(), Book, left) as book:
            assert len(book.lines) >= index - 1
        cut(Quick(), left, index, "again")
        goes_on(left, index - 1)
        shutil.rmtree(left)
