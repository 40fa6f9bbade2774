"""The classes of the golden directory of many objects. What they are called, and have, stays: its pickles name it."""

from __future__ import annotations

from typing import Any

from coopy import clock, env, transactional
from coopy.objects import alarm, tell


class Room:
    def __init__(self, key: str) -> None:
        self.key = key
        self.said: list[Any] = []

    def say(self, what: Any) -> int:
        self.said.append(what)
        return len(self.said)

    def draw(self) -> None:
        self.said.append((env.token_hex(4), clock.now().isoformat()))

    def fail(self, what: str) -> None:
        self.said.append(what)
        raise LookupError(what)

    @transactional
    def undo(self, what: str) -> None:
        self.said.append("never")
        raise LookupError(what)

    def close_later(self, seconds: float) -> None:
        alarm("say", "closed", after=seconds, name="close")

    def greet(self, who: str) -> None:
        tell(Guest, who).greeted(self.key)


class Guest:
    def __init__(self) -> None:
        self.rooms: list[str] = []

    def greeted(self, room: str) -> None:
        self.rooms.append(room)


def state(rooms: Any) -> dict[str, Any]:
    """What the objects are, without a look at what is due."""
    guests = rooms.of(Guest)
    found: dict[str, Any] = {"rooms": {key: [repr(each) for each in rooms[key].said] for key in rooms.keys()}}
    found["guests"] = {key: list(guests[key].rooms) for key in guests.keys()}
    return found
