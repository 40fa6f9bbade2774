"""The servers of a node, its room and its time, as a test wants them. No network, no thread, no waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from types import SimpleNamespace
from typing import Any, cast

from coopy.network.address import Address, parse
from coopy.network.limits import Sparing
from coopy.network.room import Facts, Room
from coopy.network.stream import State
from coopy.place.options import Settings
from coopy.replication.outlook import Outlook
from coopy.replication.role import Role, role


class Clock:
    """Time that passes when somebody waits, or when a test says so. What is started runs at once, unless ``runs`` is False."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.runs = True
        self.started: list[str] = []
        self.passing: Callable[[], object] = lambda: None
        """What happens while somebody waits."""

    def __call__(self) -> float:
        return self.time

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        self.passing()

    def wait(self, ended: threading.Event, seconds: float) -> bool:
        self.sleep(seconds)
        return ended.is_set()

    def start(self, function: Callable[[], None], name: str) -> None:
        self.started.append(name)
        if self.runs:
            function()


class Bucket:
    """The bucket that all nodes see."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[Facts, int]] = {}
        self.revision = 0

    def room(self, node: str) -> Room:
        return cast(Room, OneRoom(self, node))


class OneRoom:
    """``there``: what the other nodes say of themselves."""

    def __init__(self, facts: Bucket, node: str) -> None:
        self._facts = facts
        self.node = node
        self.there: dict[str, Facts] = {}
        self.told: list[Facts] = []
        self.asks: Callable[[str, Facts], Facts] = lambda what, facts: {}

    def get(self, key: str) -> tuple[Facts | None, int]:
        return self._facts.kept.get(key, (None, 0))

    def put(self, key: str, facts: Facts, revision: int) -> bool:
        if self.get(key)[1] != revision:
            return False
        self._facts.revision += 1
        self._facts.kept[key] = facts, self._facts.revision
        return True

    def alive(self, within_s: float = 10.0) -> dict[str, Facts]:
        return dict(self.there)

    def said(self, node: str) -> Facts:
        return self.there.get(node, {})

    def say(self, facts: Facts) -> None:
        self.told.append(facts)

    def ask(self, what: str, facts: Facts, timeout_s: float) -> Facts:
        return self.asks(what, facts)


class Turn:
    """A turn that is whose `Turns` says."""

    def __init__(self, turns: dict[str, str], key: str, node: str) -> None:
        self._turns, self._key, self._node = turns, key, node

    def take(self) -> bool:
        return self._turns.setdefault(self._key, self._node) == self._node

    def is_anothers(self) -> bool:
        return self._turns.get(self._key, self._node) != self._node

    def renew(self) -> bool:
        return self._turns.get(self._key) == self._node

    def give_back(self) -> None:
        if self.renew():
            del self._turns[self._key]

    def keep(self, ended: threading.Event) -> None:
        pass


class OwnServer:
    """``refuses``: what starting it again raises."""

    def __init__(self) -> None:
        self.pid: int | None = 1
        self.running = True
        self.restarts = 0
        self.stopped = False
        self.refuses: Exception | None = None

    def restart(self) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.restarts += 1

    def stop(self) -> None:
        self.stopped = True


class Servers:
    """``said``: what the line's leader says, or the error that there is none; ``forgotten``: up to where the line was let forget."""

    def __init__(self, node: str, bucket: Bucket | None = None, clock: Clock | None = None) -> None:
        self.bucket = bucket or Bucket()
        self.clock = clock or Clock()
        self.room: Any = self.bucket.room(node)
        self.turns: dict[str, str] = {}
        self.said: State | Exception = State(1, 1, 0, 3, node, ())
        self.there: set[int] = set()
        self.own: Any = None
        self.url: str | None = "here"
        self.sparing = Sparing()
        self.made: list[int] = []
        self.lines: list[tuple[int, int]] = []
        self.forgotten: list[int] = []
        self.line: Any = SimpleNamespace(forget=self.forgotten.append)
        self.shipped: Any = None
        self.grown: list[set[str]] = []
        self.members: Any = SimpleNamespace(nodes=self._members, grow=self.grown.append)
        self.remembered: list[list[str]] = []

    def _members(self) -> list[str]:
        return list((self.room.get("members")[0] or {}).get("nodes", []))

    def make(self, replicas: int) -> None:
        self.made.append(replicas)

    def make_line(self, replicas: int, first: int) -> None:
        self.lines.append((replicas, first))

    def state(self, timeout_s: float) -> State:
        if isinstance(self.said, Exception):
            raise self.said
        return self.said

    def is_there(self, sequence: int, timeout_s: float) -> bool:
        return sequence in self.there

    def turn(self, key: str, limit_s: float) -> Turn:
        return Turn(self.turns, key, self.room.node)

    def remember(self, nodes: Sequence[Address]) -> None:
        self.remembered.append([str(each) for each in nodes])

    def leading(self, state: State, nodes: Sequence[Address], there: Iterable[str]) -> str | None:
        return state.leader


def member(number: int, of: int = 3) -> Role:
    """The role of one of several equal nodes."""
    nodes = [f"n{each}:1" for each in range(of)]
    return of_arguments(cluster=nodes, node=nodes[number])


def replica() -> Role:
    return of_arguments(replication=True, password="a password")


def of_arguments(**given: Any) -> Role:
    defaults = {"host": "127.0.0.1", "port": 7001, "password": "a password", "replica_password": None, "timeout": 1.0}
    return role(Settings.of("init_system", {**defaults, **given}), "")


def outlook(servers: Servers, own: Role, *nodes: str) -> Outlook:
    """What a node knows of the others."""
    found = Outlook(own, cast(Any, servers), lambda function, *args: function(*args), lambda: None)
    if nodes:
        found.nodes = tuple(map(parse, nodes))
    return found
