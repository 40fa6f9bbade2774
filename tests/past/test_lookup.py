"""Recorded actions are found by their indexes, without reading those before them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from coopy import MissingActions, UsageError, control, init_system
from coopy.disk.fs import File
from coopy.past import lookup
from coopy.past.lookup import Lookup, instant_of


class Notes:
    def __init__(self) -> None:
        self.count = 0

    def add(self, number: int, text: bytes) -> None:
        self.count += 1


def noted(path: Path, numbers: range, sizes: Any = lambda number: number % 300, **options: Any) -> Any:
    notes = init_system(Notes, str(path), durability="buffered", segment_bytes=1, **options)
    for number in numbers:
        notes.add(number, bytes(sizes(number)))
    return notes


def of(found: Any) -> list[tuple[int, int, int]]:
    return [(each.index, each.args[0], len(each.args[1])) for each in found]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few files and blocks are kept, so that others are thrown out."""
    monkeypatch.setattr(lookup, "FILES_MAX", 2)
    monkeypatch.setattr(lookup, "BLOCKS_MAX", 3)


def test_an_action_is_found_wherever_it_lies(tmp_path: Path, few: None) -> None:
    sizes = lambda number: 70_000 if number % 97 == 0 else number % 900  # noqa: E731  (longer than a block, now and then)
    notes = noted(tmp_path, range(1, 6001), sizes)
    assert len(list(tmp_path.glob("transaction_*"))) > 3
    found = Lookup(str(tmp_path))
    chance = random.Random(5)
    for index in [*(chance.randrange(1, 6001) for _ in range(300)), 1, 6000]:
        assert of([found.action(index)]) == [(index, index, sizes(index))]
    assert of(found.actions(1, 6000)) == [(each, each, sizes(each)) for each in range(1, 6001)]
    assert of(found.actions(2990, 3020)) == [(each, each, sizes(each)) for each in range(2990, 3021)]
    assert instant_of(found.action(7)) == round(instant_of(next(control(notes).actions(7, 7))))
    found.close()
    notes.close()


def test_what_is_recorded_later_is_found_too(tmp_path: Path) -> None:
    notes = noted(tmp_path, range(1, 2))
    found = Lookup(str(tmp_path))
    for number in range(2, 9000):
        notes.add(number, bytes(number % 300))
        if number % 7 == 0:
            assert of(found.actions(number - 3, number)) == [(each, each, each % 300) for each in range(number - 3, number + 1)]
    found.close()
    notes.close()


@pytest.mark.parametrize("size", [10, 20_000, 32_000, 32_700, 70_000])
def test_actions_of_several_lives_are_found(tmp_path: Path, size: int) -> None:
    count = 0
    for life in range(6):  # Each ends with an amendment, which may begin a block of its own.
        notes = noted(tmp_path, range(count + 1, count + 4), lambda number: size if number % 3 == 0 else number)
        count += 3
        found = Lookup(str(tmp_path))
        for index in [*range(1, count + 1), *range(count, 0, -1)]:
            assert of([found.action(index)]) == [(index, index, index if index % 3 else size)]
        assert of(found.actions(1, count)) == [(each, each, each if each % 3 else size) for each in range(1, count + 1)]
        found.close()
        notes.close()
        if life == 3:
            noted(tmp_path, range(0)).close()


def test_an_action_costs_a_block_to_read_and_not_the_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = noted(tmp_path, range(1, 3001))
    found = Lookup(str(tmp_path))
    found.action(3000)
    read, plain = [], File.read

    def counted(self: File, offset: int, size: int) -> bytes:
        read.append(size)
        return plain(self, offset, size)

    monkeypatch.setattr(File, "read", counted)
    found.action(1500)
    notes.add(3001, b"")
    found.action(3001)
    assert sum(read) <= 5 * 32 * 1024
    found.close()
    notes.close()


def test_what_was_pruned_is_said_to_be_missing(tmp_path: Path, few: None) -> None:
    notes = noted(tmp_path, range(1, 9001))
    found = Lookup(str(tmp_path))
    for index in (1, 4000, 9000):
        found.action(index)
    control(notes).take_snapshot()
    control(notes).prune(keep=1)
    anew = Lookup(str(tmp_path))
    with pytest.raises(MissingActions):
        anew.action(1)
    found.close()  # What is open may still be read.
    with pytest.raises(MissingActions):
        for index in range(1, 9000, 100):
            found.action(index)
    for reader in (found, anew):
        assert of([reader.action(9000)]) == [(9000, 9000, 0)]
        reader.close()
    notes.close()


def test_a_directory_without_a_system_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no coopy.json"):
        Lookup(str(tmp_path))
