"""What can be done with a node besides calling its methods: the controls of a system, and those that take a cluster.

How each is done is the node's. What the controls of every system ask of it, a node answers as any system does.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol, cast

from coopy.control import Cluster, Control
from coopy.replication.outlook import Outlook
from coopy.replication.servers import Servers
from coopy.replication.states import Life


class Controlled(Protocol):
    """What the controls ask of a node beside what they ask of any system."""

    @property
    def servers(self) -> Servers: ...

    @property
    def life(self) -> Life: ...

    @property
    def outlook(self) -> Outlook: ...

    def sync(self, timeout_s: float | None) -> None: ...

    def submit(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]: ...

    def status(self) -> dict[str, Any]: ...


class ClusterControl(Control):
    """What can be done with a node besides calling its methods."""

    @property
    def _node(self) -> Controlled:
        return cast(Controlled, self._system)

    @property
    def cluster(self) -> Cluster:
        """The nodes, and what can be done with them."""
        return self._node.servers.members

    def sync(self, timeout: float | None = None) -> None:
        """Returns when this node has applied every call that was answered anywhere before.

        ``timeout`` in seconds; by default that of the system. Raises `Unavailable`.
        """
        self._node.sync(timeout)

    def submit(self, method: str, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Sends a call and does not wait; see `coopy.Control`."""
        return self._node.submit(method, args, kwargs)

    def status(self) -> dict[str, Any]:
        """How this node is, and what it knows of the others.

        ``self``, ``state`` (starting, catching up, ready, behind, quarantined, stalled, stopped, closing; ``problem`` says why), ``role``,
        ``leader``, ``has_quorum``, ``partner_nodes_count``, ``partner_node_status_server_X`` (2: heard of in the last ten
        seconds; 0: not), ``readonly_nodes_count``, ``log_len`` and ``log_bytes`` (messages that the servers keep),
        ``last_applied`` (index of the last action), ``commit_idx`` and ``position`` (the last message of the line, and the last
        that was applied here), ``position_X`` (of another node, if it was heard of), ``uptime`` (s), ``incarnation``, ``problem``, ``server_pid``, ``connected_to``, ``digest``;
        ``elections_off`` (why this node has no elections begun, None if it has), ``election_probes`` (how often it has asked servers whether
        they live) and ``election_kicks`` (how many elections it has begun);
        ``snapshot``, ``divergence`` and ``self_check`` as on one machine, see `coopy.Control.status`.
        """
        return self._node.status()

    def on_ready(self, function: Callable[[], object]) -> None:
        """Calls a function once, when the node is ready; at once if it is. What it raises is logged."""
        self._node.life.on_ready = function
        self._node.life.tell_if_ready()

    def on_state_changed(self, function: Callable[[str, str], object]) -> None:
        """Calls a function with the state before and the state after."""
        self._node.life.on_state_changed = function

    def on_leader_changed(self, function: Callable[[str | None, str | None], object]) -> None:
        """Calls a function with the name of the leading node before and after; None: none."""
        self._node.outlook.on_leader_changed = function
