"""What a node knows of the others: who the members are, how the line stood when it was looked at last, who leads, who is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from coopy.errors import ClusterError, Unavailable
from coopy.network.address import Address
from coopy.network.room import Facts
from coopy.network.stream import State
from coopy.replication.role import Role
from coopy.replication.servers import Servers

LEADER_S = 5.0
"""The leader is asked so long at a time; a server that has just been cut off from it never answers."""
RETRY_S = 0.2
"""A new leader is agreed on within seconds."""


class Outlook:
    """One node's view. ``call_back`` calls a function of the user's; ``led`` is told that another node leads, before the user is."""

    def __init__(self, role: Role, servers: Servers, call_back: Callable[..., None], led: Callable[[], None]) -> None:
        self._role = role
        self._servers = servers
        self._call_back = call_back
        self._led = led
        self.nodes: tuple[Address, ...] = role.nodes
        """The members, as far as this node knows."""
        self.line: State | None = None
        """What the line's leader said last."""
        self.leader: str | None = None
        """The name of the node that leads; None while there is none, or none is known."""
        self.on_leader_changed: Callable[[str | None, str | None], object] = lambda before, after: None

    @property
    def name(self) -> str:
        """The name of this node."""
        return self._role.id

    @property
    def names(self) -> list[str]:
        """The names of the members."""
        return [str(each) for each in self.nodes]

    @property
    def others(self) -> list[str]:
        """The names of the members but this node."""
        return [each for each in self.names if each != self.name]

    @property
    def leads(self) -> bool:
        """Whether this node leads."""
        return self.leader == self.name

    @property
    def there(self) -> set[str]:
        """The nodes that were heard of late, and this one."""
        return {self.name, *self._servers.room.alive()}

    def most_are_there(self) -> bool:
        """Whether a majority of the members can be heard."""
        there = self.there
        return sum(each in there for each in self.names) > len(self.nodes) // 2

    def said(self, node: str) -> Facts:
        """Returns what a node said of itself of late; nothing if it was not heard."""
        return self._servers.room.alive().get(node, {})

    def look(self, timeout_s: float) -> State:
        """Asks the line's leader how the line stands. Raises `Unavailable`."""
        clock = self._servers.clock
        deadline = clock.now() + timeout_s
        while True:
            try:
                self.line = self._servers.state(LEADER_S)
                return self.line
            except ClusterError as error:
                if clock.now() > deadline:
                    raise Unavailable(f"the servers do not say what they have: {error}") from error
                clock.sleep(RETRY_S)

    def is_led(self, state: State | None) -> None:
        """Takes note of who leads, as the line's leader said; None: nobody said anything."""
        before, self.leader = self.leader, None if state is None else self._servers.leading(state, self.nodes, self.there)
        if before != self.leader:
            self._led()
            self._call_back(self.on_leader_changed, before, self.leader)

    def are_members(self, nodes: Sequence[Address]) -> None:
        """Takes note of who the members are, also for the next start. Raises OSError."""
        if tuple(nodes) != self.nodes:
            self.nodes = tuple(nodes)
            self._servers.remember(self.nodes)
