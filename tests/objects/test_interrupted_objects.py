"""A call of an object that is interrupted at any moment has happened, or has not; the object, the others and the log agree on it.

An interrupt is raised at a line of coopy while a call, a first call, a call that is undone, a loading, a batch or a passivation is under way.
Then the live object is what opening the directory again gives, and later calls work.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from handed import Called
from objects.rooms import Room, reopened

import coopy
from coopy.errors import DecodingError
from coopy.ground import keyed
from coopy.objects import opening

PACKAGE = str(Path(coopy.__file__).parent)
ROOMS = str(Path(__file__).with_name("rooms.py"))
STEP = int(os.environ.get("COOPY_OBJECTS_STEP", "13"))  # Every so many moments; 1 sees all.


class Interrupt(KeyboardInterrupt):
    pass


class OfRoom(Called):
    domain = Room


class Tracer:
    """Raises at the n-th line of coopy, or of the rooms, from now on; and once more in the handling of that if ``second`` lines follow."""

    def __init__(self, moment: int, second: int = 0) -> None:
        self.left, self.second = moment, second
        self.raised = 0

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        path = frame.f_code.co_filename
        if event == "line" and (path.startswith(PACKAGE) or path == ROOMS or path.startswith("<coopy")):
            self.left -= 1
            if self.left == 0:
                self.raised += 1
                self.left = self.second
                self.second = 0
                raise Interrupt
        return self

    def run(self, function: Callable[[], object]) -> bool:
        """Returns whether the interrupt came."""
        before = sys.gettrace()
        sys.settrace(self)
        try:
            function()
        except Interrupt:
            pass
        except ValueError:
            pass
        finally:
            sys.settrace(before)
        return self.raised > 0


def say(rooms: Any) -> None:
    rooms["a"].say("new")


def first(rooms: Any) -> None:
    rooms["c"].say("new")


def undo(rooms: Any) -> None:
    rooms["a"].undo("new")


def load(rooms: Any) -> None:
    rooms["a"].last()


def delete(rooms: Any) -> None:
    del rooms["a"]


def passivate(rooms: Any) -> None:
    rooms._engine.passivate_all()


def table(rooms: Any) -> None:
    rooms._engine.keep_table()


def together(rooms: Any) -> None:
    batch = [
        OfRoom(name, rooms.kind, rooms.stored(key), "new")
        for name, key in (("say", "a"), ("say", "c"), ("fail", "a"), ("say", "b"))
    ]
    list(rooms._engine.settled(rooms._engine.begin_all(batch), batch))


OPERATIONS = {"say": (say, False), "first": (first, False), "undo": (undo, False), "delete": (delete, False)}
OPERATIONS |= {"load and say": (say, True), "load": (load, True), "passivate": (passivate, False), "table": (table, False)}
OPERATIONS |= {"together": (together, False)}


def state(rooms: Any) -> dict[str, Any]:
    return {key: rooms[key].said for key in rooms.keys()}


def interrupted_everywhere(tmp_path: Path, operation: Callable[[Any], None], passive: bool, second: int) -> int:
    """Interrupts an operation at each moment. Returns at how many."""
    moment, count = 1 + second % STEP, 0
    while True:
        rooms: Any = coopy.objects(Room, tmp_path / str(moment), durability="buffered")
        rooms["a"].say("one")
        rooms["b"].say("two")
        rooms["a"].say("three")
        if passive:
            rooms.passivate()
        came = Tracer(moment, second).run(lambda: operation(rooms))
        found = state(rooms)
        assert found["b"][:1] == [("two", "")], f"at moment {moment} another object was changed"
        for key in ("a", "b", "c"):
            assert rooms._engine.has(rooms.kind, rooms.stored(key)) > 0 or key not in found
        rooms["a"].say("after")
        rooms["d"].say("after")
        found = state(rooms)
        assert len(rooms) == len(found)
        rooms = reopened(rooms, durability="buffered")
        assert state(rooms) == found, f"at moment {moment} of {operation.__name__} memory and log did not agree"
        rooms.close()
        if not came:
            return count
        count += 1
        moment += STEP


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "MEMORY_BYTES_MIN", 1)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_interrupt_leaves_memory_and_log_agreed(in_memory: Path, name: str) -> None:
    operation, passive = OPERATIONS[name]
    assert interrupted_everywhere(in_memory, operation, passive, 0) > 2


@pytest.mark.slow
@pytest.mark.parametrize("second", [1, 5, 23])
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_second_interrupt_in_the_handling_of_the_first_leaves_them_agreed(in_memory: Path, name: str, second: int) -> None:
    operation, passive = OPERATIONS[name]
    assert interrupted_everywhere(in_memory, operation, passive, second) > 2


class InterruptedGroup(list[Any]):
    """Interrupts whoever adds a record to it, before it is added or after."""

    def __init__(self, comes: str) -> None:
        super().__init__()
        self.comes = comes

    def append(self, record: Any) -> None:
        if self.comes == "after":
            super().append(record)
        raise Interrupt


@pytest.mark.parametrize("comes", ["before", "after"])
def test_an_interrupt_where_a_record_is_added_leaves_each_record_with_the_one_before_it(in_memory: Path, comes: str) -> None:
    """One that had itself for the one before could not be loaded any more: who tried never came to an end."""
    rooms: Any = coopy.objects(Room, in_memory / "data", durability="buffered")
    rooms["a"].say("one")
    rooms["b"].say("two")
    engine = rooms._engine
    with engine.lock:
        engine._group = InterruptedGroup(comes)
        with pytest.raises(Interrupt):
            engine._passivate(2)
        engine._group = list(engine._group)
    rooms["a"].say("three")
    found = state(rooms)
    assert [text for text, _ in found["a"]] == ["one", "three"]
    rooms = reopened(rooms, durability="buffered")
    assert state(rooms) == found
    rooms.close()


def test_a_record_whose_record_before_is_none_before_it_is_damage(in_memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rooms: Any = coopy.objects(Room, in_memory / "data", durability="buffered")
    rooms["a"].say("one")
    (index,) = {rooms._engine.place_of(rooms.stored("a"))[0]}
    rooms._engine._drop(rooms.stored("a"))
    parts = keyed.parts
    monkeypatch.setattr(keyed, "parts", lambda record: parts(record)._replace(before=index))
    with pytest.raises(DecodingError, match="it is damaged"):
        rooms["a"].last()
    monkeypatch.undo()
    assert rooms["a"].said == [("one", "")]
    rooms.close()
