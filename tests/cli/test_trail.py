"""Actions from one point to another, and those that are written while somebody follows."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import handed
import pytest

from coopy import DamagedJournal, MissingActions, StorageError, Unreadable, abort_exception, control, init_system
from coopy.disk import frame
from coopy.ground import paths
from coopy.past import trail
from coopy.past.history import Action
from coopy.past.reading import Reading
from coopy.values.codec import decode_joined


class Log:
    def __init__(self) -> None:
        self.words: list[str] = []

    def add(self, word: str) -> None:
        self.words.append(word)

    def fail(self) -> None:
        raise ValueError

    @abort_exception
    def withdraw(self) -> None:
        raise ValueError


class Called(handed.Called):
    domain = Log


LARGE = "x" * 350_000


def opened(directory: Path, **settings: Any) -> Any:
    return init_system(Log, directory, segment_bytes=1 << 20, validation="off", **settings)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trail, "INTERVAL_S", 0)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twelve actions in several segments."""
    with opened(tmp_path / "data") as system:
        for _ in range(12):
            system.add(LARGE)
    assert len(list((tmp_path / "data").glob("transaction_*"))) > 3
    return tmp_path / "data"


def indexes(found: Iterator[Action]) -> list[int]:
    return [each.index for each in found]


def news(following: Iterator[Action | None]) -> list[tuple[int, str | None, int]]:
    """What has come, up to where there is nothing for now."""
    found = []
    for each in following:
        if each is None:
            break
        found.append((each.index, each.method, each.outcome))
    return found


def add_together(system: Any, *words: str) -> None:
    take(system, *(Called("add", word) for word in words))


def take(system: Any, *calls: Called) -> None:
    """Their records are appended together."""
    engine = system._coopy_engine
    engine.settle(engine.begin_all(calls))


# -- from one point to another


def test_every_time_is_found_as_the_index_of_its_action_is(data: Path) -> None:
    with Reading(str(data)) as reading:
        every = list(reading.actions())
        for each in every:
            assert indexes(trail.actions(reading, each.index)) == list(range(each.index, 13))
            # A datetime has microseconds, so what happened within it is in.
            assert indexes(trail.actions(reading, each.time)) == [e.index for e in every if e.time >= each.time]
            assert indexes(trail.actions(reading, until=each.time)) == [e.index for e in every if e.time <= each.time]
            assert indexes(trail.actions(reading, each.index, each.index)) == [each.index]
        assert indexes(trail.actions(reading, every[-1].time + timedelta(seconds=1))) == []
        assert indexes(trail.actions(reading, until=every[0].time - timedelta(seconds=1))) == []


def test_a_time_begins_in_the_segment_in_which_it_lies(data: Path) -> None:
    with Reading(str(data)) as reading:
        every = list(reading.actions())
        firsts = sorted(int(path.stem.split("_")[1]) for path in data.glob("transaction_*"))
        assert trail.before_since(reading, every[-1].time) >= firsts[-2] - 1
        assert trail.before_since(reading, every[0].time) == 0


def test_what_was_pruned_is_passed_over(data: Path) -> None:
    with opened(data, keep=1) as system:
        system.take_snapshot()
        system.add("x")
    with Reading(str(data)) as reading:
        oldest = reading.log.oldest
        assert oldest > 1
        assert indexes(trail.actions(reading)) == list(range(oldest, 14))
        assert indexes(trail.actions(reading, 2)) == list(range(oldest, 14))


def test_the_first_action_is_there_before_the_rest_is_read(data: Path) -> None:
    second = sorted(data.glob("transaction_*"))[1]
    whole = bytearray(second.read_bytes())
    whole[400_000] ^= 1
    second.write_bytes(whole)
    with Reading(str(data)) as reading:
        found = trail.actions(reading)
        assert next(found).index == 1
        with pytest.raises(DamagedJournal):
            list(found)


def test_damage_that_need_not_be_read_is_not_met(data: Path) -> None:
    with Reading(str(data)) as reading:
        last = list(reading.actions())[-1]
    second = sorted(data.glob("transaction_*"))[1]
    second.write_bytes(b"?" * second.stat().st_size)
    with Reading(str(data)) as reading:
        assert indexes(trail.actions(reading, last.time))[-1] == 12
        assert indexes(trail.actions(reading, until=1)) == [1]


def test_every_action_of_a_frame_of_several_is_a_point_to_begin_and_to_end_at(tmp_path: Path) -> None:
    with opened(tmp_path) as system:
        system.add("alone")
        for _ in range(3):
            add_together(system, *"abcde")
    with Reading(str(tmp_path)) as reading:
        assert reading.log.where(2) == reading.log.where(6), "they lie in one frame"
        every = list(reading.actions())
        assert [each.args[0] for each in every] == ["alone", *"abcde" * 3]
        for since in every:
            assert indexes(trail.actions(reading, since.time)) == [each.index for each in every if each.time >= since.time]
            assert indexes(trail.actions(reading, until=since.time)) == [e.index for e in every if e.time <= since.time]
            for until in range(since.index, 17):
                assert indexes(trail.actions(reading, since.index, until)) == list(range(since.index, until + 1))


# -- following


def test_who_follows_is_given_what_is_there_and_then_what_comes(tmp_path: Path) -> None:
    with opened(tmp_path) as system, Reading(str(tmp_path)) as reading:
        following = trail.follow(reading)
        assert news(following) == []
        system.add("a")
        assert news(following) == [(1, "add", 0)]
        assert news(following) == []
        system.add("b")
        system.add("c")
        assert news(following) == [(2, "add", 1), (3, "add", 0)]
        system.add("d")
        assert news(following) == [(4, "add", 0)]


def test_who_follows_survives_roll_over_and_records_longer_than_a_block(tmp_path: Path) -> None:
    with opened(tmp_path) as system, Reading(str(tmp_path)) as reading:
        following = trail.follow(reading)
        found: list[int] = []
        for round_ in range(6):
            for word in ("small", LARGE, "small", "y" * 40_000):
                system.add(word)
            found += [index for index, _, _ in news(following)]
            assert found == list(range(1, len(found) + 1))
            assert len(found) == 4 * (round_ + 1)
        assert len(list(tmp_path.glob("transaction_*"))) > 2


def test_many_roll_overs_between_two_looks_are_followed_one_by_one(tmp_path: Path) -> None:
    with opened(tmp_path) as system, Reading(str(tmp_path)) as reading:
        following = trail.follow(reading)
        assert news(following) == []
        for _ in range(12):
            system.add(LARGE)
        assert [index for index, _, _ in news(following)] == list(range(1, 13))


def test_an_action_that_turns_out_otherwise_is_given_again(tmp_path: Path) -> None:
    with opened(tmp_path) as system, Reading(str(tmp_path)) as reading:
        following = trail.follow(reading)
        with pytest.raises(ValueError):
            system.fail()
        assert news(following) == [(1, "fail", 0)]
        system.add("a")
        assert news(following) == [(1, "fail", 2), (2, "add", 0)]
        with pytest.raises(ValueError):
            system.withdraw()
        assert news(following) == [(3, "withdraw", 3)], "what withdraws it is written at once"
        system.add("b")
        assert news(following) == [(4, "add", 0)]


def test_who_follows_goes_on_when_the_system_is_closed_and_opened_again(tmp_path: Path) -> None:
    opened(tmp_path).close()
    with Reading(str(tmp_path)) as reading:
        following = trail.follow(reading)
        for number in range(3):
            with opened(tmp_path) as system:
                system.add("a")
                system.add("b")
            assert [index for index, _, _ in news(following)] == [2 * number + 1, 2 * number + 2]


def test_who_follows_begins_at_the_point_asked_for_even_if_it_is_yet_to_come(tmp_path: Path) -> None:
    with opened(tmp_path) as system, Reading(str(tmp_path)) as reading:
        system.add("a")
        following = trail.follow(reading, 3)
        assert news(following) == []
        for word in "bcd":
            system.add(word)
        assert [index for index, _, _ in news(following)] == [3, 4]


def test_a_frame_that_is_being_written_is_given_when_it_is_whole(tmp_path: Path) -> None:
    with opened(tmp_path) as system:
        system.add("a")
        segment = next(tmp_path.glob("transaction_*"))
        before = segment.read_bytes()
        system.add("b")
        after = segment.read_bytes()
        place = next(place for place in range(len(after)) if after[place] != before[place])
    with Reading(str(tmp_path)) as reading:
        segment.write_bytes(before)
        tail = trail.Tail(str(tmp_path), reading.manifest.system, 1)
        for size in (0, 1, 10, 30):
            segment.write_bytes(after[: place + size] + before[place + size :])
            assert tail.news() == []
        segment.write_bytes(after)
        assert [index for index, _ in tail.news()] == [2]
        tail.close()


def test_who_begins_inside_of_a_frame_of_several_is_given_the_rest_of_it(tmp_path: Path) -> None:
    with opened(tmp_path) as system, Reading(str(tmp_path)) as reading:
        system.add("1")
        add_together(system, *"2345")
        add_together(system, *"678")
        system.add("9")
        for after in range(9):
            tail = trail.Tail(str(tmp_path), reading.manifest.system, after)
            pages = tail.news()
            assert pages[0][0] == after + 1
            words = [args[0] for _, data in pages for args in decode_joined(data)[2]]
            assert words == [str(number) for number in range(after + 1, 10)]
            assert tail.news() == []
            tail.close()


def test_who_follows_is_given_what_is_appended_together_once_and_in_order(tmp_path: Path) -> None:
    with opened(tmp_path) as system, Reading(str(tmp_path)) as reading:
        following, later = trail.follow(reading), trail.follow(reading, 70)
        found, behind = [], []
        for number in range(6):
            add_together(system, *["y" * 1000] * 45)
            system.add("alone")
            if number % 2:
                add_together(system, "small", LARGE, "small", "y" * 40_000, "small")
            found += [index for index, _, _ in news(following)]
            behind += [index for index, _, _ in news(later)]
            assert found == list(range(1, reading_last(tmp_path) + 1))
            assert behind == found[69:]
        assert len(list(tmp_path.glob("transaction_*"))) > 1


def reading_last(directory: Path) -> int:
    with Reading(str(directory)) as reading:
        return reading.log.last


def test_of_actions_in_one_frame_each_is_told_by_the_next_and_the_last_by_what_comes(tmp_path: Path) -> None:
    with opened(tmp_path) as system, Reading(str(tmp_path)) as reading:
        following = trail.follow(reading)
        take(system, Called("fail"), Called("add", "a"), Called("fail"))
        assert news(following) == [(1, "fail", 2), (2, "add", 1), (3, "fail", 0)]
        take(system, Called("add", "b"), Called("add", "c"))
        assert news(following) == [(3, "fail", 2), (4, "add", 1), (5, "add", 0)]
        take(system, Called("add", "d"), Called("withdraw"))
        assert news(following) == [(6, "add", 1), (7, "withdraw", 3)]
        add_together(system, "e", "f")
        assert news(following) == [(8, "add", 1), (9, "add", 0)]


def test_a_frame_of_several_that_is_being_written_is_given_when_it_is_whole(tmp_path: Path) -> None:
    with opened(tmp_path) as system:
        system.add("a")
        segment = next(tmp_path.glob("transaction_*"))
        before = segment.read_bytes()
        place = len(before.rstrip(b"\0"))
        add_together(system, *"bcd")
        after = segment.read_bytes()
    found = frame.whole(after, place)
    assert found is not None and (found.first, found.index) == (2, 4)
    with Reading(str(tmp_path)) as reading:
        segment.write_bytes(before)
        tail = trail.Tail(str(tmp_path), reading.manifest.system, 1)
        for size in range(found.length):
            segment.write_bytes(after[: place + size] + before[place + size :])
            assert tail.news() == []
        segment.write_bytes(after)
        [(first, data)] = tail.news()
        assert (first, [args[0] for args in decode_joined(data)[2] if args]) == (2, [*"bcd"])
        tail.close()


def test_who_is_left_behind_by_pruning_is_told(tmp_path: Path) -> None:
    with opened(tmp_path) as system, Reading(str(tmp_path)) as reading:
        system.add("a")
        tail = trail.Tail(str(tmp_path), reading.manifest.system, 1)
        for _ in range(8):
            system.add(LARGE)
        system.take_snapshot()
        control(system).prune(keep=1)
        with pytest.raises(MissingActions):
            tail.news()


# -- a directory that goes while it is followed


def moved(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))


def removed(path: Path) -> None:
    moved(path)
    shutil.rmtree(path.with_name("elsewhere"))


def replaced_by_a_file(path: Path) -> None:
    moved(path)
    path.write_text("no directory")


def emptied(path: Path) -> None:
    for each in path.iterdir():
        each.unlink()


def without_its_segment(path: Path) -> None:
    for each in path.glob("transaction_*"):
        each.unlink()


def another_begun(path: Path) -> None:
    moved(path)
    opened(path).close()


def loops(path: Path) -> None:
    moved(path)
    path.symlink_to(path)


GONE = {
    moved: "moved or removed",
    removed: "moved or removed",
    replaced_by_a_file: "moved or removed",
    emptied: "moved or removed",
    without_its_segment: "moved or removed",
    loops: "It was not read",
    another_begun: "another system's directory was put in the place",
}


@pytest.mark.parametrize("when", ["while nothing comes", "after a roll-over"])
@pytest.mark.parametrize("happens", GONE, ids=lambda function: function.__name__)
def test_who_follows_a_directory_that_is_not_there_any_more_is_told(
    tmp_path: Path, happens: Callable[[Path], None], when: str
) -> None:
    data = tmp_path / "data"
    with opened(data) as system, Reading(str(data)) as reading:
        following = trail.follow(reading)
        system.add("a")
        assert news(following) == [(1, "add", 0)]
        if when == "after a roll-over":
            for _ in range(4):
                system.add(LARGE)
        control(system).close()
        happens(data)
        with pytest.raises(StorageError, match=GONE[happens]) as raised:
            while news(following):
                pass
        said = str(raised.value)
        assert "othing was changed" in said and str(data) in said


@pytest.mark.parametrize("error", ["EACCES", "ESTALE", "EIO", "ENOENT"])
def test_who_follows_a_directory_that_can_not_be_looked_at_any_more_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    with opened(tmp_path) as system, Reading(str(tmp_path)) as reading:
        following = trail.follow(reading)
        system.add("a")
        assert news(following) == [(1, "add", 0)]
        number = getattr(errno, error)

        def refused(path: str, **options: Any) -> Any:
            raise OSError(number, os.strerror(number), path)

        with monkeypatch.context() as patch:
            patch.setattr(os, "lstat", refused)
            patch.setattr(os, "stat", refused)
            with pytest.raises(Unreadable, match="othing was changed") as raised:
                news(following)
        assert raised.value.errno == number and str(tmp_path) in str(raised.value.filename)


def test_who_follows_goes_on_in_a_copy_that_was_put_in_the_place_of_the_directory(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with opened(data) as system:
        system.add("a")
    with Reading(str(data)) as reading:
        following = trail.follow(reading)
        assert [index for index, _, _ in news(following)] == [1]
        moved(data)
        shutil.copytree(tmp_path / "elsewhere", data)
        assert news(following) == []
        with opened(data) as system:
            system.add("b")
        assert [index for index, _, _ in news(following)] == [2]


def test_who_follows_is_told_that_an_older_copy_was_put_in_the_place_of_the_directory(tmp_path: Path) -> None:
    data, older = tmp_path / "data", tmp_path / "older"
    with opened(data) as system:
        system.add("a")
    shutil.copytree(data, older)
    with opened(data) as system:
        system.add("b")
        system.add("c")
    with Reading(str(data)) as reading:
        following = trail.follow(reading)
        assert [index for index, _, _ in news(following)] == [1, 2, 3]
        moved(data)
        older.rename(data)
        with pytest.raises(MissingActions, match="was put in the place of this one") as raised:
            news(following)
        assert (raised.value.first, raised.value.last) == (2, 3)


def test_who_follows_is_not_told_of_a_segment_that_was_pruned(tmp_path: Path) -> None:
    with opened(tmp_path) as system, Reading(str(tmp_path)) as reading:
        following = trail.follow(reading)
        system.add("a")
        assert news(following) == [(1, "add", 0)]
        control(system).take_snapshot()
        (first,) = map(str, tmp_path.glob("transaction_*"))
        real = paths.exists
        looked: list[str] = []

        def late(path: str) -> bool:
            """The system goes on just after it was looked for."""
            found = real(path)
            if not looked:
                looked.append(path)
                for _ in range(3):
                    system.add("z" * (1 << 20))
                assert real(path) and not found
                control(system).prune(keep=1)
                assert not real(first)
            return found

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(paths, "exists", late)
            found = news(following) + news(following)
        assert [index for index, _, _ in found] == [2, 3, 4]
