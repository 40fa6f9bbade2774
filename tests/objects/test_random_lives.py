"""Random lives of many objects, held to plain objects of the same class: whatever comes in between, each is what its own calls made of it.

Calls of all kinds, alone and many together, with a memory that holds only a few objects, closed, crashed and passivated in between. A failure
names its seed.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from handed import Called
from objects.rooms import Room, reopened

import coopy
from coopy.disk import journal
from coopy.disk.segment import BLOCK
from coopy.objects import opening

KEYS = [f"room {number}" for number in range(12)]


class OfRoom(Called):
    domain = Room


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments and memories that are soon full."""
    monkeypatch.setattr(journal, "FIRST_BYTES", 3 * BLOCK)
    monkeypatch.setattr(opening, "MEMORY_BYTES_MIN", 1)


def plain(expected: dict[str, Room], key: str, name: str, args: tuple[Any, ...]) -> Any:
    """What a call comes to on a plain object."""
    room = expected.get(key) or Room(key)
    said = list(room.said)
    try:
        return getattr(room, name)(*args)
    except ValueError as error:
        if name in ("undo", "refuse", "undo_if"):
            room.said[:] = said
            if key not in expected:
                return repr(error)  # There is no object then.
        expected[key] = room
        return repr(error)
    finally:
        if name not in ("undo", "refuse", "undo_if", "last"):
            expected[key] = room


def a_call(chance: random.Random) -> tuple[str, str, tuple[Any, ...]]:
    key, text = chance.choice(KEYS), "x" * chance.choice((1, 10, 300, 40_000 if chance.random() < 0.05 else 3))
    name, args = chance.choice(
        [
            ("say", (text,)),
            ("say", (text, "again")),
            ("keep", ([text, 1.5],)),
            ("keep", (None,)),
            ("fail", (text,)),
            ("refuse", (text,)),
            ("undo", (text,)),
            ("last", (3,)),
        ]
    )
    return key, name, args


@pytest.mark.parametrize("seed", range(12))
def test_each_object_is_what_its_own_calls_made_of_it(in_memory: Path, seed: int) -> None:
    chance = random.Random(seed)
    options = {"memory": chance.choice((1, 5_000, 20_000, 1 << 28)), "durability": "buffered", "segment_bytes": 3 * BLOCK}
    rooms: Any = coopy.objects(Room, in_memory / "rooms", **options)
    expected: dict[str, Room] = {}
    for _ in range(150):
        what = chance.choices(
            ("call", "together", "passivate", "close", "crash", "delete", "table", "compact"), (60, 12, 3, 2, 4, 4, 2, 3)
        )[0]
        if what == "call":
            key, name, args = a_call(chance)
            found: Any
            try:
                found = getattr(rooms[key], name)(*args)
            except ValueError as error:
                found = repr(error)
            assert found == plain(expected, key, name, args)
        elif what == "together":
            planned = [a_call(chance) for _ in range(chance.choice((2, 10, 150)))]
            batch = [OfRoom(name, rooms.kind, rooms.stored(key), *args) for key, name, args in planned]
            engine = rooms._engine
            list(engine.settled(engine.begin_all(batch), batch))
            for call, (key, name, args) in zip(batch, planned, strict=True):
                outcome = call.value if call.error is None else repr(call.error)
                assert outcome == plain(expected, key, name, args)
        elif what == "passivate":
            rooms.passivate()
        elif what == "delete":
            key = chance.choice(KEYS)
            assert (key in rooms) == (key in expected)
            if expected.pop(key, None) is not None:
                del rooms[key]
        elif what == "compact":
            rooms.compact()
        elif what == "table":
            rooms._engine.keep_table()
        else:
            rooms = reopened(rooms, crash=what == "crash", **options)
            assert rooms.keys() == sorted(expected)
    rooms = reopened(rooms, **options)
    assert rooms.keys() == sorted(expected)
    for key, room in expected.items():
        assert rooms[key].said == room.said
    (in_memory / "rooms" / "keys.dat").unlink(missing_ok=True)
    rooms = reopened(rooms, **options)
    assert {key: rooms[key].said for key in rooms} == {key: room.said for key, room in expected.items()}
    rooms.close()
