"""What a node asks of the servers that keep its line, and of the time that passes: protocols, and nothing else.

`coopy.replication.jetstream` fills them with nats-server, and a node is opened with whatever fills them: the class, or a function,
that makes `Servers` is an argument of `coopy.replication.node.ReplicatedSystem`. A node reaches the other nodes by nothing else: what
it sends into the line, what it writes and says in the room, and the snapshots that it ships.

Errors are those of `coopy.errors`: `Unavailable` for what may be answered a little later, `SystemClosed` once `Servers.close` was
called. Whatever waits gives up after the seconds that it was given.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from coopy.control import Cluster
from coopy.ground.line import Line
from coopy.ground.storage import SnapshotStore
from coopy.network.address import Address
from coopy.network.desk import Answers
from coopy.network.limits import Sparing
from coopy.network.room import Facts
from coopy.network.stream import State

OPEN_S = 120.0
"""Machines that are started together, and have a leader to agree on, come up within that. A node that comes no further for so long gives
up: what it lacks, or the servers, must be looked at by a person."""

Heard = Callable[[str, Facts], None]


class Room(Protocol):
    """What the nodes tell one another outside the line; see `coopy.network.room`."""

    @property
    def node(self) -> str:
        """The name by which the others know this node."""
        ...

    heard: Heard
    """Called with a node and what it says of itself, in a thread of the room."""

    def get(self, key: str) -> tuple[Facts | None, int]:
        """Returns a fact and its revision; None and 0 if there is none. Raises `Unavailable`.

        A server that is behind may answer: the fact may be older than one that was written since.
        """
        ...

    def put(self, key: str, facts: Facts, revision: int) -> bool:
        """Replaces a fact if it has this revision, 0 for none. Returns whether it had. Raises `Unavailable`: then it may be replaced."""
        ...

    def alive(self, within_s: float = ...) -> dict[str, Facts]:
        """Returns what each other node last said of itself; only those heard within the last seconds."""
        ...

    def said(self, node: str) -> Facts:
        """Returns what a node last said of itself, however long ago; nothing if it was not heard since `enter`."""
        ...

    def say(self, facts: Facts) -> None:
        """Tells all nodes how this node is. May be lost; returns at once."""
        ...

    def enter(self) -> None:
        """Listens to the others, and answers questions, from now on."""
        ...

    def answer(self, what: str, answers: Answers, rate: float, burst: float) -> None:
        """Lets this node be one of those that answer a question; see `coopy.network.desk.Desk.answer`."""
        ...

    def ask(self, what: str, facts: Facts, timeout_s: float) -> Facts:
        """Returns what one of the nodes answers. Raises `Unavailable`, `ClusterError`."""
        ...


class Turn(Protocol):
    """Whose turn something is; see `coopy.network.room.Turn`."""

    def take(self) -> bool: ...

    def is_anothers(self) -> bool: ...

    def renew(self) -> bool: ...

    def give_back(self) -> None: ...

    def keep(self, ended: threading.Event) -> None: ...


class Shipped(SnapshotStore, Protocol):
    """The snapshots that lie on the servers for all nodes; see `coopy.network.shipping`."""

    progress: Callable[[int, int], None] | None
    """Called with the bytes read and the bytes in all."""


class Members(Cluster, Protocol):
    """Who belongs to the cluster; see `coopy.network.membership`."""

    def grow(self, there: set[str]) -> None:
        """Has as many servers keep the streams as there are members for, once these are there. Raises `Unavailable`."""
        ...


class OwnServer(Protocol):
    """The server that this node has started; see `coopy.network.server.supervisor`."""

    @property
    def pid(self) -> int | None: ...

    @property
    def running(self) -> bool: ...

    def restart(self) -> None:
        """Starts it again. Raises `ServerError`, OSError."""
        ...

    def stop(self) -> None:
        """Ends it. Stopping twice is fine."""
        ...


class Clock(Protocol):
    """The time that passes for a node, and the threads in which it does what takes time."""

    def now(self) -> float:
        """Returns seconds from any beginning; they never go back."""
        ...

    def wait(self, ended: threading.Event, seconds: float) -> bool:
        """Waits for an event, or so long. Returns whether it came."""
        ...

    def sleep(self, seconds: float) -> None: ...

    def start(self, function: Callable[[], None], name: str) -> None:
        """Runs a function in a thread of its own that nobody waits for."""
        ...


class Servers(Protocol):
    """One node's way to the servers. `open` it before anything else is asked of it; only `own` and `close` may be asked before."""

    def open(self) -> tuple[Address, ...]:
        """Starts this node's server, if it has one, and connects to it or to another.

        Returns the addresses of the members, as the other nodes, or this one, know them.

        Raises:
            NotAMember: this node was taken out of the cluster.
            AuthenticationFailed, Unavailable, ServerError: it can't connect, or its server can't be started.
        """
        ...

    @property
    def line(self) -> Line: ...

    @property
    def room(self) -> Room: ...

    @property
    def shipped(self) -> Shipped: ...

    @property
    def members(self) -> Members: ...

    @property
    def own(self) -> OwnServer | None:
        """The server that this node has started."""
        ...

    @property
    def url(self) -> str | None:
        """Which server this node is connected to, for people."""
        ...

    @property
    def clock(self) -> Clock: ...

    @property
    def sparing(self) -> Sparing:
        """What is said of the servers and the other nodes again and again."""
        ...

    def make(self, replicas: int) -> None:
        """Makes the room's facts and the place for snapshots, unless they are there. Raises `ClusterError`."""
        ...

    def make_line(self, replicas: int, first: int) -> None:
        """Makes the line, unless it is there; its first message will have the sequence ``first``. Raises `Unavailable`."""
        ...

    def state(self, timeout_s: float) -> State:
        """Returns what the line's leader says of it. Raises `ClusterError`."""
        ...

    def is_there(self, sequence: int, timeout_s: float) -> bool:
        """Whether the line's leader has a message. Raises `ClusterError`."""
        ...

    def turn(self, key: str, limit_s: float) -> Turn:
        """Returns a turn that is taken over from a node which has not renewed it for ``limit_s``."""
        ...

    def remember(self, nodes: Sequence[Address]) -> None:
        """Keeps who the members are, for the next start. Raises OSError."""
        ...

    def leading(self, state: State, nodes: Sequence[Address], there: Iterable[str]) -> str | None:
        """Returns the name of the node that leads; None while the servers don't agree on one. ``there``: the nodes that are heard."""
        ...

    def elections(self) -> dict[str, Any]:
        """Returns what this node does for another leader to be elected soon, as `status` says it; nothing if there is no such thing."""
        ...

    def close(self) -> None:
        """Lets everything go, and ends this node's server. Closing twice is fine, also after an `open` that failed."""
        ...
