"""An action that replay can't get past is withdrawn by hand: only that one, wherever it lies, and it can be taken back."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import handed
import pytest
from crash.disk_model import nothing, some
from faults import open_with
from tools.steps import Crash, Crashing, Journaling, Noting, Quick, put

import coopy
from coopy import DirectoryInUse, ReplayDiverged, UsageError, control
from coopy.disk import frame
from coopy.disk.segment import BLOCK, HEADER
from coopy.errors import (
    ChangedSignature,
    FailedUpgrade,
    InterruptedReplay,
    MissingMethod,
    NewerVersion,
    ReplayError,
    UndecodableAction,
)
from coopy.migration import Call, Migration
from coopy.tools import repair, withdrawing
from coopy.tools.contents import contents
from coopy.tools.verify import verify


class Note:
    def __init__(self, text: str) -> None:
        self.text = text


class Book:
    def __init__(self) -> None:
        self.lines: list[Any] = []

    def write(self, number: int, filler: str = "") -> None:
        if number in refused:
            raise ValueError(number)
        self.lines.append(number)

    def refuse(self, number: int) -> None:
        if number not in accepted:
            raise ValueError(number)
        self.lines.append(number)

    def pin(self, note: Note, *, on: str = "the wall") -> None:
        self.lines.append(len(note.text))
        if note.text in refused:
            raise ValueError(note.text)

    def draw(self, number: int) -> None:
        self.lines.append(coopy.env.random())
        if number in refused:
            raise ValueError(number)

    def count(self) -> int:
        self.lines.append(len(self.lines))
        return len(self.lines)

    def mail(self, text: str) -> None:
        coopy.on_commit(sent.append, text)
        if text in refused:
            raise ValueError(text)


class Called(handed.Called):
    domain = Book


refused: set[object] = set()
"""What `write` and others raise for: today, not when they were recorded."""
accepted: set[object] = set()
sent: list[str] = []


@pytest.fixture(autouse=True)
def as_recorded() -> Iterator[None]:
    refused.clear()
    accepted.clear()
    sent.clear()
    yield
    refused.clear()


def opened(directory: Path) -> Any:
    return open_with(Quick(), Book, directory)


def together(book: Any, numbers: range, size: int = 10) -> None:
    engine = book._coopy_engine
    engine.settle(engine.begin_all([Called("write", number, "x" * size) for number in numbers]))


def withdraw(directory: Path, index: int, **options: Any) -> withdrawing.Done:
    return withdrawing.carry_out(withdrawing.plan(str(directory), index), calls=Quick(), **options)


def reinstate(directory: Path, index: int) -> withdrawing.Done:
    return withdrawing.carry_out(withdrawing.plan_back(str(directory), index), calls=Quick())


def refusal(directory: Path, index: int) -> str:
    before = files(directory)
    with pytest.raises(UsageError) as refused:
        withdrawing.plan(str(directory), index)
    assert files(directory) == before
    assert "Nothing was changed" in str(refused.value)
    return str(refused.value)


def files(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and path.name != "lock"
    }


def lines(directory: Path) -> list[Any]:
    with opened(directory) as book:
        return list(book.lines)


def stuck_at(directory: Path) -> int:
    with pytest.raises(ReplayError) as stop:
        opened(directory)
    assert f"`coopy repair {directory} --withdraw {stop.value.index}`" in str(stop.value)
    return stop.value.index


def segments(directory: Path) -> list[int]:
    return sorted(int(path.stem.split("_")[1]) for path in directory.glob("transaction_*.log"))


def frames_of(directory: Path) -> list[frame.Frame]:
    """The frames of the journal, in order."""
    found = []
    for first in segments(directory):
        data = (directory / f"transaction_{first:015d}.log").read_bytes()
        found += [each for each, _ in repair.frames(data, HEADER.size, len(data))]
    return found


def killed(directory: Path, target: Path) -> Path:
    """The directory as a process that is killed now leaves it."""
    return Path(shutil.copytree(directory, target))


# -- wherever the action lies


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three segments of 200 actions: alone, 64 in a frame, longer than a block, in frames that a block ends; closed and opened between."""
    directory = tmp_path_factory.mktemp("library") / "book"
    book = opened(directory)
    for number in range(1, 11):
        book.write(number)
    together(book, range(11, 141))
    book.write(141, "x" * 2 * BLOCK)
    book.close()
    book = opened(directory)
    together(book, range(142, 160), 9000)
    for number in range(160, 163):
        book.write(number, "x" * 400_000)
    together(book, range(163, 200))
    book.write(200)
    book.close()
    assert len(segments(directory)) == 2
    several = [(each.first, each.index) for each in frames_of(directory) if each.index > each.first]
    assert several[:3] == [(11, 74), (75, 138), (139, 140)]
    return directory


def ends_a_segment(library: Path) -> int:
    return segments(library)[1] - 1


PLACES = {
    "the first": 1,
    "alone": 5,
    "before a frame of 64": 10,
    "first of a frame of 64": 11,
    "in a frame of 64": 40,
    "next to last of a frame of 64": 73,
    "last of a frame of 64": 74,
    "longer than a block, and amended": 141,
    "after an amendment": 142,
    "in a block with few": 150,
    "last of a segment": 0,
    "first of a segment": -1,
    "next to last": 199,
    "the last, amended": 200,
}


def index_of(library: Path, place: str) -> int:
    found = PLACES[place]
    return found if found > 0 else segments(library)[1] - 1 - found


@pytest.mark.parametrize("place", PLACES)
def test_an_action_is_left_out_wherever_it_lies_and_comes_back(library: Path, tmp_path: Path, place: str) -> None:
    index = index_of(library, place)
    directory = Path(shutil.copytree(library, tmp_path / "book"))
    before = files(directory)
    refused.add(index)
    assert stuck_at(directory) == index
    done = withdraw(directory, index)
    rest = [number for number in range(1, 201) if number != index]
    changed = [name for name, data in files(directory).items() if before.get(name, data) != data]
    assert changed == list(done.files) and len(changed) == 1
    assert Path(done.aside).name.startswith("withdrawn-")
    assert (Path(done.aside) / changed[0]).read_bytes() == before[changed[0]]
    assert (Path(done.aside) / "coopy.json").read_bytes() == before["coopy.json"]
    assert contents(str(directory)).damages == []
    assert coopy.replay(Book, directory).lines == rest
    refused.clear()
    assert verify(str(directory), Book).problems == []
    reinstate(directory, index)
    assert files(directory)[changed[0]] == before[changed[0]]
    assert lines(directory) == list(range(1, 201))
    withdraw(directory, index)
    refused.add(index)
    with opened(directory) as book:
        assert book.lines == rest
        book.write(201)
    assert lines(directory) == [*rest, 201]


def test_the_last_action_of_a_killed_process_gets_an_amendment(tmp_path: Path) -> None:
    book = opened(tmp_path / "book")
    together(book, range(1, 6))
    directory = killed(tmp_path / "book", tmp_path / "killed")
    refused.add(5)
    plan = withdrawing.plan(str(directory), 5)
    assert (plan.outcome, plan.offset) == ("unknown", None)
    withdraw(directory, 5)
    refused.clear()
    assert frames_of(directory)[-1].is_amendment
    assert lines(directory) == [1, 2, 3, 4]


def test_a_last_action_that_is_reinstated_is_as_it_was_before_and_may_be_interrupted_again(tmp_path: Path) -> None:
    book = opened(tmp_path / "book")
    for number in range(1, 4):
        book.write(number)
    directory = killed(tmp_path / "book", tmp_path / "killed")
    before = {name: data for name, data in files(directory).items() if name != "digests.dat"}
    withdraw(directory, 3)
    assert {name: data for name, data in files(directory).items() if name in before} != before
    reinstate(directory, 3)
    assert {name: data for name, data in files(directory).items() if name in before} == before
    with opened(directory) as again:
        assert again.lines == [1, 2, 3]


def roll_over_without_an_action(directory: Path, last: int) -> None:
    from coopy.disk import manifest
    from coopy.disk.fs import Calls
    from coopy.disk.segment import Segment

    found = manifest.read(Calls(), str(directory))
    assert found is not None
    Segment.create(Calls(), str(directory / f"transaction_{last + 1:015d}.log"), found.system, last + 1, 1 << 20).close()


def test_the_last_action_before_a_segment_without_any_gets_an_amendment(tmp_path: Path) -> None:
    with opened(tmp_path / "book") as book:
        book.write(1)
    killed_at = killed(tmp_path / "book", tmp_path / "killed")
    with opened(killed_at) as book:
        book.write(2)
        directory = killed(killed_at, tmp_path / "again")
    roll_over_without_an_action(directory, 2)
    assert segments(directory) == [1, 3]
    plan = withdrawing.plan(str(directory), 2)
    assert plan.moves == ("transaction_000000000000003.log",)
    done = withdraw(directory, 2)
    assert (Path(done.aside) / plan.moves[0]).exists()
    with opened(directory) as book:
        assert book.lines == [1]
        book.write(3)
    assert lines(directory) == [1, 3]


def test_the_last_whole_action_before_a_torn_end_is_withdrawn(tmp_path: Path) -> None:
    book = opened(tmp_path / "book")
    for number in range(1, 4):
        book.write(number)
    directory = killed(tmp_path / "book", tmp_path / "killed")
    (directory / "lock").unlink()  # After a power cut: of a killed process nothing is torn.
    path = directory / "transaction_000000000000001.log"
    path.write_bytes(path.read_bytes().rstrip(b"\0")[:-4])
    assert contents(str(directory)).last == 2
    assert "there is no action 3" in refusal(directory, 3)
    withdraw(directory, 2)
    assert lines(directory) == [1]


def test_an_action_that_raised_and_returns_today(tmp_path: Path) -> None:
    with opened(tmp_path / "book") as book:
        for number in (1, 2, 3):
            with pytest.raises(ValueError):
                book.refuse(number)
            book.write(number)
    accepted.add(2)
    assert stuck_at(tmp_path / "book") == 3
    withdraw(tmp_path / "book", 3)
    assert lines(tmp_path / "book") == [1, 2, 3]
    accepted.clear()
    reinstate(tmp_path / "book", 3)
    assert lines(tmp_path / "book") == [1, 2, 3]


def test_arguments_of_classes_of_ones_own_and_of_dill_are_no_hindrance(tmp_path: Path) -> None:
    with opened(tmp_path / "book") as book:
        book.pin(Note("abc"))
        book.pin(Note("ab"), on="the door")
        book.write(3, filler=lambda: None)
    refused.add("ab")
    assert stuck_at(tmp_path / "book") == 2
    plan = withdrawing.plan(str(tmp_path / "book"), 2)
    assert plan.method == "pin"
    assert plan.call == "pin(Note({'text': 'ab'}), on='the door')"
    assert withdrawing.plan(str(tmp_path / "book"), 3).method == "write"
    withdraw(tmp_path / "book", 2)
    assert lines(tmp_path / "book") == [3, 3]


def test_what_later_actions_draw_stays_and_an_effect_of_the_action_goes(tmp_path: Path) -> None:
    with opened(tmp_path / "book") as book:
        for number in range(4):
            book.draw(number)
        drawn = list(book.lines)
    withdraw(tmp_path / "book", 2)
    assert lines(tmp_path / "book") == [drawn[0], *drawn[2:]]


def test_one_later_action_after_the_other_is_withdrawn_and_each_comes_back(tmp_path: Path) -> None:
    directory = tmp_path / "book"
    with opened(directory) as book:
        together(book, range(1, 71))
    refused.update((3, 4, 70))
    for index in (3, 4, 70):
        assert stuck_at(directory) == index
        withdraw(directory, index)
    assert lines(directory) == [1, 2, *range(5, 70)]
    assert len(list(directory.glob("withdrawn-*"))) == 3
    refused.clear()
    for index in (4, 70, 3):
        reinstate(directory, index)
    assert lines(directory) == list(range(1, 71))


# -- whatever it is that stops there


upgrades = Migration(version=2)


@upgrades.action("write", version=1)
def write(number: int, filler: str = "") -> Call:
    if number == 2:
        raise KeyError(number)
    return Call("write", number, filler)


def without_it(today: pytest.MonkeyPatch) -> None:
    today.delattr(Book, "write")


def with_less(today: pytest.MonkeyPatch) -> None:
    today.setattr(Book, "write", lambda self, number: None)


def with_no_memory(today: pytest.MonkeyPatch) -> None:
    def write(self: Book, number: int, filler: str) -> None:
        raise MemoryError

    today.setattr(Book, "write", write)


def with_no_room_to_recurse(today: pytest.MonkeyPatch) -> None:
    def write(self: Book, number: int, filler: str) -> None:
        write(self, number, filler)

    today.setattr(Book, "write", write)


def upgraded(today: pytest.MonkeyPatch) -> None:
    today.setattr(Book, "__coopy_migration__", upgrades, raising=False)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (without_it, MissingMethod),
        (with_less, ChangedSignature),
        (with_no_memory, InterruptedReplay),
        (with_no_room_to_recurse, InterruptedReplay),
        (upgraded, FailedUpgrade),
    ],
)
def test_every_error_that_stops_replay_names_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[pytest.MonkeyPatch], None], error: type[ReplayError]
) -> None:
    directory = tmp_path / "a book"
    with opened(directory) as book:
        book.write(2, "two")
        book.count()
    change(monkeypatch)
    with pytest.raises(error) as stop:
        opened(directory)
    assert stop.value.index == 1
    assert f"`coopy repair '{directory}' --withdraw 1`" in str(stop.value)
    withdraw(directory, 1)
    assert lines(directory) == [0]


def test_an_action_whose_arguments_are_gone_names_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "book"
    with opened(directory) as book:
        book.pin(Note("abc"))
        book.count()
    monkeypatch.delattr(sys.modules[__name__], "Note")
    with pytest.raises(UndecodableAction, match="--withdraw 1`"):
        opened(directory)
    withdraw(directory, 1)
    assert lines(directory) == [0]


def test_what_newer_code_recorded_names_no_way_out_by_hand() -> None:
    assert "--withdraw" not in str(NewerVersion(3, "<version>", "/data/transaction_000000000000001.log, byte 64", "Book", 3, 2))


def test_where_there_is_no_directory_none_is_named() -> None:
    assert "--withdraw" not in str(ReplayDiverged(3, "write", "in memory", "returned", "raised"))


# -- what is refused


def test_an_index_that_is_not_there_is_refused(library: Path) -> None:
    assert "there is no action 201; the system has actions 1 to 200" in refusal(library, 201)
    for index in (0, -1):
        assert f"there is no action {index}" in refusal(library, index)


def test_a_system_without_an_action_is_told_so(tmp_path: Path) -> None:
    opened(tmp_path / "book").close()
    assert "the system has no action yet" in refusal(tmp_path / "book", 1)


def test_what_was_pruned_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path / "book") as book:
        for number in (1, 2, 3):
            book.write(number, "x" * 600_000)
        book.take_snapshot()
        book.write(4)
        control(book).prune(keep=1)
    assert "action 1 was pruned; the journal begins with action" in refusal(tmp_path / "book", 1)


def test_what_a_snapshot_has_is_refused_with_the_way_to_an_older_one(tmp_path: Path) -> None:
    directory = tmp_path / "book"
    with opened(directory) as book:
        book.write(1)
        book.write(2)
        book.take_snapshot()
        book.write(3)
        book.take_snapshot()
        book.write(4)
    for index in (1, 2):
        said = refusal(directory, index)
        assert "what action 1 did".replace("1", str(index)) in said
        assert "move snapshot_000000000000002.dat, snapshot_000000000000003.dat out" in said
        assert "begins with the snapshot of action 0" in said
    assert "move snapshot_000000000000003.dat out" in refusal(directory, 3)
    for index in (2, 3):
        (directory / f"snapshot_{index:015d}.dat").rename(tmp_path / f"{index}")
    withdraw(directory, 2)
    assert lines(directory) == [1, 3, 4]


def test_what_the_only_snapshot_has_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path / "book") as book:
        book.write(1)
        book.take_snapshot()
    (tmp_path / "book" / "snapshot_000000000000000.dat").unlink()
    assert "No older snapshot leads to it" in refusal(tmp_path / "book", 1)


def test_a_second_time_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path / "book") as book:
        book.write(1)
    withdraw(tmp_path / "book", 1)
    assert "is withdrawn already" in refusal(tmp_path / "book", 1)


def test_only_what_was_withdrawn_by_hand_is_reinstated(tmp_path: Path) -> None:
    directory = tmp_path / "book"
    with opened(directory) as book:
        book.write(1)
        book.write(2)
    with pytest.raises(UsageError, match="was not withdrawn by"):
        withdrawing.plan_back(str(directory), 1)
    withdraw(directory, 1)
    reinstate(directory, 1)
    with pytest.raises(UsageError, match="action 1 is not withdrawn"):
        withdrawing.plan_back(str(directory), 1)


def test_what_the_system_recorded_itself_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path / "book") as book:
        book.write(1)
    upgraded(monkeypatch)
    with opened(tmp_path / "book") as book:
        book.write(3)
    assert "action 2 is no call" in refusal(tmp_path / "book", 2)


def test_an_open_directory_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path / "book") as book:
        book.write(1)
        plan = withdrawing.plan(str(tmp_path / "book"), 1)
        with pytest.raises(DirectoryInUse):
            withdrawing.carry_out(plan)
        assert book.lines == [1]


def test_a_directory_that_was_written_to_since_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path / "book") as book:
        book.write(1)
    plan = withdrawing.plan(str(tmp_path / "book"), 1)
    with opened(tmp_path / "book") as book:
        book.write(2)
    with pytest.raises(UsageError, match="not as it was"):
        withdrawing.carry_out(plan)
    assert lines(tmp_path / "book") == [1, 2]


def test_a_damaged_directory_is_refused(library: Path, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(library, tmp_path / "book"))
    path = directory / "transaction_000000000000001.log"
    data = bytearray(path.read_bytes())
    data[500] ^= 1
    path.write_bytes(data)
    assert "is damaged (transaction_000000000000001.log, byte" in refusal(directory, 199)


def test_the_directory_of_a_node_is_refused_unless_all_are_changed(tmp_path: Path) -> None:
    directory = Path(shutil.copytree(Path(__file__).parents[1] / "golden" / "coopy-0.8.0.dev1-node", tmp_path / "node"))
    last = contents(str(directory)).last
    snapshots = sorted(directory.glob("snapshot_*"))[1:]
    assert "is the directory of a node" in refusal(directory, last)
    shutil.rmtree(directory / "server")
    assert "is the directory of a node" in refusal(directory, last), "its newest snapshot knows batches of the line"
    for path in snapshots:
        path.unlink()
    assert "is the directory of a node" in refusal(directory, last), "its journal has batches of the line"
    plan = withdrawing.plan(str(directory), last, on_every_node=True)
    withdrawing.carry_out(plan, on_every_node=True)
    assert "is withdrawn already" in refusal(directory, last)


# -- what is not run


HOSTILE = """
    import os, sys
    from coopy import init_system, control

    class Trap:
        def __reduce__(self):
            return os.mkdir, ({mark!r},)

        def __deepcopy__(self, memo):
            return self

    class Book:
        def __init__(self):
            self.notes = 0

        def pin(self, note, text):
            self.notes += 1

    if __name__ == "__main__":
        import book
        system = init_system(book.Book, "data", validation="off")
        system.pin(book.Trap(), "text")
        control(system).close()
"""


def test_neither_the_class_nor_what_a_pickle_asks_for_is_loaded(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    (tmp_path / "book.py").write_text(textwrap.dedent(HOSTILE).format(mark=str(mark)))
    subprocess.run([sys.executable, "book.py"], cwd=tmp_path, check=True, timeout=60)
    mark.rmdir()
    (tmp_path / "book.py").unlink()
    plan = withdrawing.plan(str(tmp_path / "data"), 1)
    assert plan.call.startswith("pin(mkdir(")
    withdraw(tmp_path / "data", 1)
    assert "book" not in sys.modules
    assert not mark.exists()


def test_what_the_plan_says_is_for_people_and_for_programs(tmp_path: Path) -> None:
    directory = tmp_path / "book"
    with opened(directory) as book:
        for number in (1, 2, 3):
            book.write(number, "x" * 100)
    plan = withdrawing.plan(str(directory), 2)
    said = plan.text()
    for part in (
        "Action 2 of 3",
        "write(2, 'xxx",
        "recorded as 'returned'",
        "action 3 is run without it",
        "--reinstate 2",
        plan.time,
    ):
        assert part in said
    assert json.loads(json.dumps(plan.as_dict()))["index"] == 2
    withdraw(directory, 2)
    assert (
        "opening runs it again, and it has to end as recorded before ('returned')"
        in withdrawing.plan_back(str(directory), 2).text()
    )


# -- crashes


def in_the_middle(directory: Path) -> int:
    with opened(directory) as book:
        together(book, range(1, 71))
    return 40


def last_of_a_segment(directory: Path) -> int:
    with opened(directory) as book:
        for number in range(1, 6):
            book.write(number, "x" * 400_000)
    return segments(directory)[1] - 1


def last_without_amendment(directory: Path) -> int:
    book = opened(directory.with_name("first"))
    book.write(1)
    book.write(2)
    killed(directory.with_name("first"), directory)
    return 2


def last_before_a_segment_without_any(directory: Path) -> int:
    index = last_without_amendment(directory)
    roll_over_without_an_action(directory, index)
    return index


MAKERS = [in_the_middle, last_of_a_segment, last_without_amendment, last_before_a_segment_without_any]


def come_to_the_end(before: dict[str, bytes], directory: Path, index: int, numbers: list[int], when: str) -> None:
    """The same command comes to the same end, and what lay there lies there still."""
    kept = list(files(directory).values())
    for name, data in before.items():
        assert data in kept, f"{when}: {name} is gone"
    try:
        withdraw(directory, index)
    except UsageError as done:
        assert "is withdrawn already" in str(done), when
    assert lines(directory) == numbers, when
    reinstate(directory, index)
    assert lines(directory) == sorted([*numbers, index]), when
    shutil.rmtree(directory)


@pytest.mark.parametrize("make", MAKERS)
def test_a_crash_at_any_step_leaves_what_the_same_command_finishes(tmp_path: Path, make: Callable[[Path], int]) -> None:
    origin = tmp_path / "book"
    index = make(origin)
    before = files(origin)
    plan = withdrawing.plan(str(origin), index)
    numbers = [number for number in range(1, plan.last_index + 1) if number != index]
    for step in range(1, 100):
        directory = Path(shutil.copytree(origin, tmp_path / f"{step}"))
        try:
            withdrawing.carry_out(replace(plan, basedir=str(directory)), calls=Crashing(step))
            break
        except Crash:
            come_to_the_end(before, directory, index, numbers, f"after step {step}")
    assert step > 8
    assert lines(directory) == numbers


@pytest.mark.parametrize("make", MAKERS)
def test_a_power_cut_at_any_moment_leaves_what_the_same_command_finishes(tmp_path: Path, make: Callable[[Path], int]) -> None:
    directory = tmp_path / "book"
    index = make(directory)
    (directory / "lock").unlink(missing_ok=True)
    before = files(directory)
    recorder = Noting()
    disk = Journaling(str(directory), before, recorder)
    plan = withdrawing.plan(str(directory), index)
    numbers = [number for number in range(1, plan.last_index + 1) if number != index]
    withdrawing.carry_out(plan, calls=recorder)
    chance = random.Random(index)
    for number, note in enumerate(recorder.notes):
        disk.follow(note)
        left = tmp_path / f"{number}"
        put(disk.left(chance.choice((nothing, some(chance, 0.5)))), left)
        come_to_the_end(before, left, index, numbers, f"after note {number} ({type(note).__name__})")
    left = tmp_path / "at the end"
    put(disk.left(nothing), left)
    with pytest.raises(UsageError, match="is withdrawn already"):
        withdrawing.plan(str(left), index)
