"""Servers in memory that whole nodes are opened over: no nats-server, and no connection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from cluster.fakes import Bucket, Turn

from coopy.errors import Unavailable, UsageError
from coopy.ground.line import MemoryLine, MemoryServer
from coopy.ground.storage import MemorySnapshots
from coopy.network.address import Address
from coopy.network.limits import Sparing
from coopy.network.room import Facts
from coopy.network.stream import State
from coopy.network.subjects import Names
from coopy.replication.jetstream import ThisMachine
from coopy.replication.role import Role


class Shipped(MemorySnapshots):
    progress: Callable[[int, int], None] | None = None


class Together:
    """What all nodes share."""

    def __init__(self) -> None:
        self.line, self.bucket, self.turns = MemoryServer(), Bucket(), dict[str, str]()
        self.shipped = Shipped()
        self.rooms: dict[str, Room] = {}
        self.leader: str | None = None
        """Who leads, while it is there; otherwise the first of those that are."""

    def servers(self, role: Role, names: Names, directory: str) -> Any:
        return Servers(self, role)


class Room:
    """One node's, of those that are there."""

    def __init__(self, together: Together, node: str) -> None:
        self._together, self.node = together, node
        self.heard: Callable[[str, Facts], None] = lambda node, facts: None
        self._said: dict[str, Facts] = {}
        self._answers: dict[str, Callable[[list[Facts]], list[Facts]]] = {}

    def get(self, key: str) -> tuple[Facts | None, int]:
        return self._together.bucket.kept.get(key, (None, 0))

    def put(self, key: str, facts: Facts, revision: int) -> bool:
        return self._together.bucket.room(self.node).put(key, facts, revision)

    def alive(self, within_s: float = 10.0) -> dict[str, Facts]:
        return {node: facts for node, facts in list(self._said.items()) if node in self._together.rooms}

    def said(self, node: str) -> Facts:
        return self._said.get(node, {})

    def say(self, facts: Facts) -> None:
        for room in list(self._together.rooms.values()):
            if room is not self:
                room._said[self.node] = facts
                room.heard(self.node, facts)

    def enter(self) -> None:
        self._together.rooms[self.node] = self

    def answer(self, what: str, answers: Callable[[list[Facts]], list[Facts]], rate: float, burst: float) -> None:
        self._answers[what] = answers

    def ask(self, what: str, facts: Facts, timeout_s: float) -> Facts:
        for room in list(self._together.rooms.values()):
            if what in room._answers:
                found = room._answers[what]([facts])[0]
                if "error" not in found:
                    return found
        raise Unavailable(f"no node answers the question for {what}")


class Servers:
    own = url = None

    def __init__(self, together: Together, role: Role) -> None:
        self._together, self._role = together, role
        self.clock, self.sparing = ThisMachine(), Sparing()
        self.room, self.line = Room(together, role.id), MemoryLine(together.line)
        self.shipped, self.members = together.shipped, self

    def open(self) -> tuple[Address, ...]:
        return self._role.nodes

    def nodes(self) -> list[str]:
        return list((self.room.get("members")[0] or {}).get("nodes", []))

    def add(self, node: str) -> list[str]:
        return self._changed([*self.nodes(), node])

    def remove(self, node: str) -> list[str]:
        if node not in self.nodes():
            raise UsageError(f"{node} is not a member")
        return self._changed([each for each in self.nodes() if each != node])

    def _changed(self, nodes: list[str]) -> list[str]:
        self.room.put("members", {"nodes": nodes}, self.room.get("members")[1])
        return nodes

    def transfer(self, node: str | None = None) -> None:
        self._together.leader = node or next(each for each in self.nodes() if each != self._role.id)

    def make(self, replicas: int) -> None:
        pass

    def make_line(self, replicas: int, first: int) -> None:
        self._together.line.first = first

    def elections(self) -> dict[str, Any]:
        return {}

    def state(self, timeout_s: float) -> State:
        there = sorted(name for name in self._together.rooms if name.startswith("n"))
        leader = self._together.leader if self._together.leader in there else next(iter(there), None)
        return State(self._together.line.first, self._together.line.last, 0, 3, leader, (("x", True, False, 0),))

    def is_there(self, sequence: int, timeout_s: float) -> bool:
        return self._together.line.first <= sequence <= self._together.line.last

    def turn(self, key: str, limit_s: float) -> Turn:
        return Turn(self._together.turns, key, self._role.id)

    def remember(self, nodes: Sequence[Address]) -> None:
        pass

    def leading(self, state: State, nodes: Sequence[Address], there: Iterable[str]) -> str | None:
        return state.leader

    def close(self) -> None:
        self._together.rooms.pop(self._role.id, None)
        self.line.close()
