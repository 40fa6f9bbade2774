"""Who belongs to a cluster, and the changes of that: one at a time, and only while all is well.

The list of members lies in the system's bucket of facts. A node that is not in it does not start its server. How many
servers keep the streams follows from their number. A removed node's server is taken out of the servers' own list
as well, by the user "system", after the node has stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Coroutine
from typing import Any

from coopy.errors import ClusterError, Unavailable, UsageError
from coopy.network.address import parse
from coopy.network.connection import Connection
from coopy.network.room import Facts, Room
from coopy.network.subjects import SERVER_REMOVE, Names, peer_remove, step_down

CHANGE_S = 60.0
"""A server that comes to keep a stream copies it first, which takes seconds for some hundred megabytes."""
REQUEST_S = 5.0
"""As `coopy.network.connection.REQUEST_S`."""
MOVE_S = 3.0
"""It need not succeed, and the leader does it by itself a little later: it is not worth more waiting."""
WELL_S = 5.0
"""Who is well is heard of twice a second."""
NODES_MAX = 5
"""Five keep the streams; a sixth would only read, and a replica does that as well."""

Health = dict[str, Any]


def replicas(nodes: int) -> int:
    """How many servers keep the streams of so many nodes: an odd number, as one more would only cost."""
    return 5 if nodes >= 5 else 3 if nodes >= 3 else 1


class Membership:
    """The members of one system. ``system`` opens a connection as the user "system"."""

    def __init__(self, connection: Connection, names: Names, room: Room, system: Callable[[], Connection]) -> None:
        self._connection = connection
        self._names = names
        self._room = room
        self._system = system

    def nodes(self) -> list[str]:
        """The addresses of the members. Raises `Unavailable`."""
        return self._read()[0]

    def _read(self) -> tuple[list[str], int]:
        facts, revision = self._room.get("members")
        return (list(facts["nodes"]) if facts is not None else []), revision

    def health(self) -> list[Health]:
        """For each stream: its leader, and of each server that keeps it whether it is up to date. Raises `Unavailable`."""
        return self._connection.insist(self._health, CHANGE_S)

    async def _health(self) -> list[Health]:
        found = []
        for name in self._names.streams:
            state = await self._connection.stream_api.stream_info(name)
            cluster = state.cluster
            peers = [] if cluster is None else cluster.replicas or []
            found.append(
                {
                    "stream": name,
                    "leader": None if cluster is None else cluster.leader,
                    "replicas": state.config.num_replicas or 1,
                    "messages": state.state.messages,
                    "bytes": state.state.bytes,
                    "peers": [
                        {"node": peer.name, "current": bool(peer.current), "offline": bool(peer.offline), "lag": peer.lag or 0}
                        for peer in peers
                    ],
                }
            )
        return found

    def add(self, node: str) -> list[str]:
        """Lets a node join; it is started afterwards. Returns the members. Raises `UsageError`, `ClusterError`."""
        node = str(parse(node))
        nodes, revision = self._read()
        if node in nodes:
            return nodes
        if len(nodes) >= NODES_MAX:
            raise UsageError(f"{node}: a cluster has {NODES_MAX} nodes at most, and these are {', '.join(nodes)}")
        if len(nodes) == 1:
            raise UsageError(
                f"{node}: a node alone can't be joined while it runs. Stop {nodes[0]} and start it, with its directory, as one "
                f"of three: cluster=[{nodes[0]!r}, {node!r}, …]. It keeps all that it has."
            )
        self._refuse_unhealthy(nodes, None)
        return self._change([*nodes, node], revision)

    def remove(self, node: str) -> list[str]:
        """Takes a node out, whether it runs or not. Returns the members. Raises `UsageError`, `ClusterError`."""
        node = str(parse(node))
        nodes, revision = self._read()
        if node not in nodes:
            raise UsageError(f"{node} is not a member; these are: {', '.join(nodes)}")
        left = [each for each in nodes if each != node]
        if not left:
            raise UsageError(f"{node} is the last member. Stop it, if the system is not needed any more.")
        self._refuse_unhealthy(left, node)
        # A node that hears that it is removed stops its server: by then nothing may be on that one alone.
        for name in self._names.streams:
            self._insist(lambda name=name: self._hand_over(name, left))  # type: ignore[misc]
        if len(left) == 1:
            # Of two servers both must agree to that.
            self._forget_server(node)
            return self._change(left, revision)
        found = self._change(left, revision)
        for name in self._names.streams:
            # A server that is off the list is replaced by those that lead.
            with contextlib.suppress(Unavailable):
                self._connection.insist(lambda name=name: self._move_away(name, node), MOVE_S)  # type: ignore[misc]
        self._forget_server(node)
        return found

    def grow(self, there: set[str]) -> None:
        """Has as many servers keep the streams as there are members for, once these are there. Raises `Unavailable`."""
        nodes = self.nodes()
        if there.issuperset(nodes):
            self._resize(nodes)

    def transfer(self, node: str | None = None) -> None:
        """Has another node lead; that one, if one is named. Raises `UsageError`, `ClusterError`."""
        if node is not None:
            node = str(parse(node))
            nodes = self.nodes()
            if node not in nodes:
                raise UsageError(f"{node} is not a member; these are: {', '.join(nodes)}")
        self._connection.insist(lambda: self._transfer(node), CHANGE_S)

    async def _transfer(self, node: str | None) -> None:
        name = self._names.stream
        body = b""
        if node is not None:
            cluster = (await self._connection.stream_api.stream_info(name)).cluster
            if cluster is not None and cluster.leader == node:
                return
            body = json.dumps({"placement": {"preferred": node}}).encode()
        await self._request(step_down(name), body)

    def step_down(self) -> None:
        """Has another node lead; calls wait for less than a second. Raises `ClusterError`."""
        self.transfer()

    # -- how it is done

    def _change(self, nodes: list[str], revision: int) -> list[str]:
        if not self._room.put("members", {"nodes": nodes, "at": time.time()}, revision):
            raise ClusterError("somebody else changed the members meanwhile. Nothing was changed; look, and try again.")
        return nodes

    def _refuse_unhealthy(self, needed: list[str], but: str | None) -> None:
        began = time.monotonic()
        # One that has just come is up to date a moment later; and one that has just died was heard before, and seems to be.
        while (problem := self._problem(needed, but, time.monotonic() - began)) is not None:
            if time.monotonic() > began + WELL_S:
                raise ClusterError(
                    f"{problem}. Nothing was changed: members are changed only while all the others are well. Try again then."
                )
            time.sleep(0.2)

    def _problem(self, needed: list[str], but: str | None, within_s: float) -> str | None:
        alive = {self._room.node, *self._room.alive(within_s)}
        away = [each for each in needed if each not in alive]
        if away:
            return f"{', '.join(away)} can't be heard"
        for stream in self.health():
            peers = [peer for peer in stream["peers"] if peer["node"] != but]
            behind = [peer["node"] for peer in peers if peer["offline"] or not peer["current"]]
            if stream["leader"] is None or behind:
                return f"{stream['stream']}: {', '.join(behind) or 'no leader'} is not up to date"
        return None

    def _resize(self, nodes: list[str]) -> None:
        wanted = replicas(len(nodes))
        for name in self._names.streams:
            self._insist(lambda name=name: self._set_replicas(name, wanted))  # type: ignore[misc]

    async def _set_replicas(self, name: str, wanted: int) -> None:
        api = self._connection.stream_api
        found = await api.stream_info(name)
        if found.config.num_replicas != wanted:
            found.config.num_replicas = wanted
            await api.update_stream(found.config)

    async def _hand_over(self, name: str, left: list[str]) -> None:
        """Has one of those that stay lead a stream, and then no more servers keep it than they are for. To be repeated."""
        api = self._connection.stream_api
        found = await api.stream_info(name)
        cluster = found.cluster
        if cluster is not None and cluster.leader in left:
            await self._set_replicas(name, min(found.config.num_replicas or 1, replicas(len(left))))
            return
        staying = [peer.name for peer in (cluster.replicas if cluster is not None else None) or [] if peer.name in left]
        current = [
            peer.name
            for peer in (cluster.replicas if cluster is not None else None) or []
            if peer.name in left and peer.current
        ]
        if current:
            await self._request(step_down(name), json.dumps({"placement": {"preferred": current[0]}}).encode())
        elif not staying:
            await self._set_replicas(name, 2)
        raise Unavailable(f"{name}: {', '.join(left)} did not come to lead")

    async def _move_away(self, name: str, node: str) -> None:
        """Takes a server out of those that keep a stream; another takes its place, if there is one."""
        found = await self._connection.stream_api.stream_info(name)
        cluster = found.cluster
        if cluster is None or node not in {cluster.leader, *(peer.name for peer in cluster.replicas or [])}:
            return
        await self._request(peer_remove(name), json.dumps({"peer": node}).encode())
        await asyncio.sleep(0.5)

    def _forget_server(self, node: str) -> None:
        """Takes a server out of the list of servers; it must have stopped. Raises `ClusterError` if it does not."""
        system = self._system()
        system.open(REQUEST_S)
        try:

            async def ask() -> Facts:
                answer = await system.client.request(SERVER_REMOVE, json.dumps({"peer": node}).encode(), timeout=REQUEST_S)
                found: Facts = json.loads(answer.data)
                return found

            deadline = time.monotonic() + CHANGE_S
            while True:
                found = system.run(ask(), 2 * REQUEST_S)
                error = found.get("error")
                if error is None or error.get("err_code") in NOT_A_PEER:
                    return
                if time.monotonic() > deadline:
                    raise ClusterError(
                        f"{node} is no member any more, but its server is still on the servers' list: {error.get('description')}. "
                        f"Stop it, and remove it again."
                    )
                time.sleep(0.5)
        finally:
            system.close()

    async def _request(self, subject: str, body: bytes) -> None:
        answer = await self._connection.client.request(subject, body, timeout=REQUEST_S)
        error = json.loads(answer.data).get("error")
        if error is not None:
            raise Unavailable(f"{subject}: {error.get('description')}")

    def _insist(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._connection.insist(work, CHANGE_S)


NOT_A_PEER = frozenset({10040, 10044})
"""The server's numbers of the errors that the node is on no list: any more, or as one that was never started (JSClusterPeerNotMemberErr,
JSClusterServerNotMemberErr)."""
