"""How the nodes of a system agree on one beginning: which state the line begins from, and what the system is called.

One node founds: it ships the state that all begin with, and then writes the fact "genesis". All others read that fact, and make an empty
directory the system's. Who founds:

* A node that has a state goes before those that have none. So each says in a fact of its own, "state.<number>", whether it has one, and
  a node without one founds only after all members have said that they have none.
* Of those that may, the one that has the turn "founder". It keeps the turn until it has founded, and checks that once more when the
  line is made; another that came first is noticed at the latest when "genesis" is there already.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from coopy.disk.manifest import Manifest
from coopy.errors import ClusterError, ForeignDirectory, Unavailable
from coopy.ground.log import Bar
from coopy.network.membership import replicas
from coopy.network.room import Facts
from coopy.replication.outlook import Outlook
from coopy.replication.servers import OPEN_S, Servers

TURN_S = 10.0
"""By so much later each member makes the things on the servers, if nobody before it in the list has: servers that are asked for the
same thing at once may come to make it twice."""
FOUNDER_S = 15.0
"""A node that has not renewed its turn for so long has ended, and another may found. While it lives it
renews it five times in that, see `coopy.network.room.Turn.keep`."""
TELL_S = 10.0
"""Nodes that are started together have agreed before; after that it is said for whom one waits, once a minute."""
RETRY_S = 0.2
"""What the others write is looked at that often."""


class Directory(Protocol):
    """What is asked of the node's own directory."""

    def manifest(self) -> Manifest | None:
        """Returns the manifest; None if the directory is no system's yet."""
        ...

    def begin(self) -> Manifest:
        """Makes the directory that of a new system, and returns its manifest."""
        ...

    def join(self, system: bytes, secret: bytes, deterministic: bool) -> Manifest:
        """Makes the directory that of a system which others began. Raises `ForeignDirectory` if it holds files of another."""
        ...

    @property
    def path(self) -> str: ...


class Founding:
    """One node's part in it. ``may_found``: whether this node may be the one that founds."""

    def __init__(self, may_found: bool, outlook: Outlook, servers: Servers, directory: Directory) -> None:
        self._may_found = may_found
        self._outlook = outlook
        self._servers = servers
        self._directory = directory
        self._clock = servers.clock
        self._turn = servers.turn("founder", FOUNDER_S)
        self.ended = threading.Event()
        """Set once the system has begun, or this node is being closed."""
        self.founds = False
        """Whether it is this node that begins the system: `found` has to be called once it has its state."""

    # -- finding out

    def agreed(self) -> Manifest:
        """Returns the manifest of the system that all nodes are of. Makes its things on the servers if they are not there.

        Raises:
            Unavailable: the nodes did not agree within `OPEN_S`.
            ForeignDirectory: this node's directory holds another system.
        """
        names = ", ".join(self._outlook.names)
        whom = f"{'a majority of ' if len(self._outlook.nodes) > 1 else ''}{names}"
        bar = Bar(f"waiting for {whom}")
        began = self._clock.now()
        deadline = began + OPEN_S
        turn = began + TURN_S * self._number if self._may_found else deadline
        problem: BaseException | None = None
        try:
            while True:
                try:
                    if self._clock.now() >= turn:
                        self._servers.make(replicas(len(self._outlook.nodes)))
                    found = self.genesis()
                    if found is not None:
                        return found
                except ClusterError as error:
                    # Right after a start there is no leader yet; or a majority of the nodes is not there. Anything else will
                    # not pass by waiting.
                    problem = error
                if self._clock.now() > deadline:
                    raise Unavailable(
                        f"the nodes {names} did not come to an agreement within {OPEN_S:g} s ({problem or 'nobody began the system'}). "
                        f"Nothing was changed. See that a majority of them runs; to begin a system takes all."
                    ) from problem
                if self._clock.now() > began + TELL_S:
                    waited = self._clock.now() - began
                    said = "%s: waiting for %s to agree, %.0f s of %.0f so far"
                    self._servers.sparing.warn("agreement", said, self._outlook.name, whom, waited, OPEN_S)
                self._clock.sleep(RETRY_S)
                bar(0, 1)
        finally:
            bar.finish()

    @property
    def _number(self) -> int:
        """Which of the members this node is."""
        return self._outlook.names.index(self._outlook.name)

    def genesis(self) -> Manifest | None:
        """Returns the manifest, once it is known how the system began; None while somebody else is about to begin it."""
        local = self._directory.manifest()
        facts, _ = self._servers.room.get("genesis")
        if facts is None:
            if not self._may_found or self._stands_back(local is not None) or not self._turn.take():
                return None
            self._turn.keep(self.ended)
            self.founds = True
            return local or self._directory.begin()
        system = bytes.fromhex(facts["system"])
        if local is None:
            return self._directory.join(system, bytes.fromhex(facts["secret"]), bool(facts["deterministic"]))
        if local.system != system:
            raise ForeignDirectory(
                f"{self._directory.path} holds the system {local.system.hex()}, and the nodes run {system.hex()}. Nothing was "
                f"changed. Choose another directory, or nodes of their own for this system."
            )
        return local

    def _stands_back(self, has_state: bool) -> bool:
        """Whether another node has, or may have, a state to begin with, and this one has none."""
        room = self._servers.room
        said = {f"state.{number}": room.get(f"state.{number}") for number in range(len(self._outlook.nodes))}
        own = f"state.{self._number}"
        if (said[own][0] or {}).get("has") is not has_state:
            room.put(own, {"has": has_state}, said[own][1])
        return not has_state and any(facts is None or facts["has"] for key, (facts, _) in said.items() if key != own)

    # -- founding

    def found(self, manifest: Manifest, deterministic: bool, first: int, ship: Callable[[], object]) -> None:
        """Gives the others what they begin with, and then says that the system has begun.

        ``first``: the sequence of the line's first message. ``ship``: ships this node's newest snapshot. Raises `ClusterError`.
        """
        room = self._servers.room
        self._servers.make_line(replicas(len(self._outlook.nodes)), first)
        if not self._turn.renew():
            raise self._not_the_founder()
        ship()
        room.put("members", {"nodes": self._outlook.names}, room.get("members")[1])
        facts: Facts = {"system": manifest.system.hex(), "secret": manifest.secret.hex(), "deterministic": deterministic}
        # That it is there may be by this node's own hand: the answer may have been lost on the way.
        if not room.put("genesis", facts, 0) and (room.get("genesis")[0] or {}).get("system") != facts["system"]:
            raise self._not_the_founder()
        self.ended.set()

    def _not_the_founder(self) -> ClusterError:
        return ClusterError(
            f"another node began the system meanwhile. {self._directory.path} holds one that nobody uses: remove it and start "
            f"this node again."
        )
