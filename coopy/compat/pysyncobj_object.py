"""`SyncObj`: the class that a program for PySyncObj derives its own from, or opens with its consumers.

What it is for: a program goes on with its import lines changed, and its classes become plain ones when there is time; see
docs/guides/from-pysyncobj.md. Its constructor opens a coopy system, on this machine if there are no other nodes, else as one of a cluster.
Where the state is kept: in the directory that has the name of ``journalFile`` or ``fullDumpFile`` with ``.coopy`` after it; without these
in a temporary one, which goes with the object, as PySyncObj keeps it in memory then.

The names, and what they do, are PySyncObj's, 0.3.2 to 0.3.17.
"""

from __future__ import annotations

import logging
import time
from abc import ABCMeta
from collections.abc import Callable, Iterable
from typing import Any

import coopy
from coopy.compat.pysyncobj_conf import (
    _RAFT_STATE,
    FAIL_REASON,
    SyncObjConf,
    SyncObjException,
    TransportNotReadyError,
    tell_of_no_effect,
)
from coopy.compat.pysyncobj_domain import late
from coopy.compat.pysyncobj_member import Callback, Member, SyncObjConsumer, leave_out_what_can_not_be_kept
from coopy.compat.pysyncobj_node import Node, TCPNode
from coopy.compat.pysyncobj_opening import Given, address_of, started
from coopy.compat.pysyncobj_running import Running
from coopy.spine import versions

LOOK_S = 0.05
"""How often it is looked whether the node listens."""
LOGGER = "coopy.compat.pysyncobj"


class _Kind(ABCMeta):
    """Opens the system of a `SyncObj` once its constructor, to that of the last subclass, is over: its attributes are the first state."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        made = super().__call__(*args, **kwargs)
        if isinstance(made, SyncObj) and made._coopy_given is not None:
            made._coopy_end_of_constructor()
        return made


class SyncObj(Member, metaclass=_Kind):
    """An object whose attributes are the same on all nodes: `replicated` methods change them, others read them.

        class Counter(SyncObj):
            def __init__(self):
                super().__init__("a:4321", ["b:4321", "c:4321"])
                self.value = 0

            @replicated
            def add(self, number):
                self.value += number
                return self.value

    Args:
        selfNode: the address of this node, 'host:port', or a `TCPNode`; None for one that only reads.
        otherNodes: those of the others; without any, the system is on this machine alone.
        conf: the options.
        consumers: objects that are parts of the state; on all nodes of the same classes, in the same order.
        nodeClass: makes the nodes that `otherNodes` and others return, of an address.
        transport, transportClass: have no effect.

    Raises AssertionError for options that don't fit together, ValueError and `coopy.UsageError` for addresses that can't be used.
    """

    __slots__ = ("_coopy_given", "_coopy_running")

    _coopy_given: Given | None
    """What its constructor was given; None before."""
    _coopy_running: Running | None
    """What runs under it; None before it is begun."""

    def __init__(
        self,
        selfNode: Any,
        otherNodes: Iterable[Any],
        conf: SyncObjConf | None = None,
        consumers: Iterable[Any] | None = None,
        nodeClass: Callable[[str], Any] = TCPNode,
        transport: Any = None,
        transportClass: Any = None,
    ) -> None:
        conf = SyncObjConf() if conf is None else conf
        conf.validate()
        conf.tell_of_no_effect()
        for name, value in (("transport", transport), ("transportClass", transportClass)):
            if value is not None:
                tell_of_no_effect(name, value)
        own = selfNode if selfNode is None or isinstance(selfNode, Node) else nodeClass(selfNode)
        others = tuple(each if isinstance(each, Node) else nodeClass(each) for each in otherNodes if each != selfNode)
        self._coopy_own.update(self.__dict__)
        object.__setattr__(self, "_coopy_given", Given(conf, list(map(_consumer, consumers or ())), own, others, nodeClass))

    # -- opening

    def _coopy_end_of_constructor(self) -> None:
        began_before = self._coopy_running is not None
        running = self._coopy_begun()
        if began_before:
            # What the constructor has set since is a part of the first state all the same.
            leave_out_what_can_not_be_kept(self)
            for number, attributes in enumerate(late(running.domain, running.members)):
                if attributes:
                    running.send("begin_with", (number, attributes), {}, None, False, None)
        for member in running.members:
            object.__setattr__(member, "_coopy_is_made", True)

    def _coopy_begun(self) -> Running:
        """Returns what runs under this object; begins it if nothing does."""
        if self._coopy_running is None:
            given = self._coopy_its()
            running = started(self, given)
            object.__setattr__(self, "_coopy_running", running)
            for member in running.members:
                object.__setattr__(member, "_coopy_sends", running)
            for consumer in given.consumers:
                object.__setattr__(consumer, "_syncObj", self)
            running.begin()
        assert self._coopy_running is not None, "it was begun just now"
        return self._coopy_running

    def _coopy_its(self) -> Given:
        """Returns what the constructor was given. Raises `SyncObjException` if it was not called."""
        if self._coopy_given is None:
            raise SyncObjException(f"the constructor of {type(self).__name__} has not called that of SyncObj")
        return self._coopy_given

    def destroy(self) -> None:
        """Closes it: the thread that ticks ends, the node leaves, and what was recorded is safe. Returns at once."""
        running = self._coopy_begun()
        running.close()
        for consumer in self._coopy_its().consumers:
            consumer._destroy()
        if not self._coopy_its().conf.autoTick:
            running.join()

    def destroy_synchronous(self) -> None:
        """Closes it, and returns when all is done."""
        self.destroy()
        self._coopy_begun().join()

    def _destroy(self) -> None:
        self.destroy()

    def waitReady(self) -> None:
        """Waits until this node listens. Raises `TransportNotReadyError` if it can't, as often as ``maxBindRetries`` has it try."""
        running = self._coopy_begun()
        while not running.opened.wait(LOOK_S):
            if self._coopy_its().listens():
                return
        if running.bind_problem is not None:
            raise TransportNotReadyError(str(running.bind_problem)) from running.bind_problem

    def waitBinded(self) -> None:
        """Waits until this node listens. Raises `SyncObjException` ('BindError') if it can't, as often as ``maxBindRetries`` has it try."""
        try:
            self.waitReady()
        except TransportNotReadyError as error:
            raise SyncObjException("BindError") from error

    # -- ticks

    def doTick(self, timeToWait: float = 0.0) -> None:
        """Calls what is to be called back; waits up to so many seconds for something. Only with ``autoTick=False``."""
        if self._coopy_its().conf.autoTick:
            raise AssertionError("doTick() is for autoTick=False; with autoTick a thread ticks")
        self._coopy_begun().tick(timeToWait)

    def tick_thread_alive(self) -> bool:
        """Whether the thread that ticks runs."""
        ticks = self._coopy_begun().ticks
        return ticks is not None and ticks.is_alive()

    def addOnTickCallback(self, callback: Callable[[], object]) -> None:
        """Has a function called at each tick: every ``autoTickPeriod``, or by `doTick`."""
        self._coopy_begun().add_on_tick(callback)

    def removeOnTickCallback(self, callback: Callable[[], object]) -> None:
        """Has a function called no more; one that is not called is no error."""
        self._coopy_begun().remove_on_tick(callback)

    # -- members

    def addNodeToCluster(self, node: Any, callback: Callback | None = None) -> None:
        """Lets a node join; it is started afterwards. Returns at once; ``callback(None, reason)`` when it is done.

        One change at a time, in the order in which they are asked for. Raises Exception without ``dynamicMembershipChange``.
        """
        name, running = self._coopy_other(node), self._coopy_begun()

        def add() -> None:
            if name in running.cluster().nodes():
                raise coopy.UsageError(f"{name} is a member already")
            running.cluster().add(name)

        running.run_errand(f"adding {name}", add, callback)

    def removeNodeFromCluster(self, node: Any, callback: Callback | None = None) -> None:
        """Takes a node out, whether it runs or not; not this one. Returns at once; ``callback(None, reason)`` when it is done.

        Raises Exception without ``dynamicMembershipChange``.
        """
        name, running = self._coopy_other(node), self._coopy_begun()

        def remove() -> None:
            if name == self._coopy_its().address:
                raise coopy.UsageError("a node does not take itself out: ask another one")
            running.cluster().remove(name)

        running.run_errand(f"removing {name}", remove, callback)

    def _coopy_other(self, node: Any) -> str:
        if not self._coopy_its().conf.dynamicMembershipChange:
            raise Exception("dynamicMembershipChange is disabled")
        return address_of(node if isinstance(node, Node) else self._coopy_its().make_node(node))

    def transferLeadership(self, node: Any = None, callback: Callback | None = None) -> None:
        """Has another node lead; that one, if one is named. Only on the node that leads. Returns at once; ``callback(None, reason)``."""
        running = self._coopy_begun()
        name = None if node is None else address_of(node if isinstance(node, Node) else self._coopy_its().make_node(node))
        reason = None
        if not self._isLeader():
            reason = FAIL_REASON.NOT_LEADER
        elif name == self._coopy_its().address or self._coopy_its().is_alone:
            reason = FAIL_REASON.REQUEST_DENIED
        if reason is not None:
            if callback is not None:
                callback(None, reason)
            return
        running.run_errand("handing over", lambda: running.cluster().transfer(name), callback)

    def isNodeConnected(self, node: Any) -> bool:
        """Whether another node was heard of in the last ten seconds."""
        return self._coopy_status().get(f"partner_node_status_server_{address_of(node)}") == 2

    @property
    def selfNode(self) -> Any:
        """This node; None for one that only reads."""
        return self._coopy_its().node

    @property
    def otherNodes(self) -> set[Any]:
        """The other members."""
        prefix = "partner_node_status_server_"
        names = [key[len(prefix) :] for key in self._coopy_status() if key.startswith(prefix)]
        return (
            set(map(self._coopy_its().make_node, names))
            if self._coopy_begun().control is not None
            else set(self._coopy_its().others)
        )

    @property
    def readonlyNodes(self) -> set[Node]:
        """Those that only read, numbered."""
        return {Node(str(number)) for number in range(self._coopy_status().get("readonly_nodes_count", 0))}

    # -- the versions of the code

    def setCodeVersion(self, newVersion: int, callback: Callback | None = None) -> None:
        """Has all nodes run the methods of a version from now on. Returns at once; ``callback(None, reason)`` when it is done.

        Denied while a node does not have that version, or has not said so for five seconds. Raises AssertionError for no whole
        number, Exception for a version that this node does not have, or that is before the one that is enabled.
        """
        if not isinstance(newVersion, int):
            raise AssertionError(f"setCodeVersion({newVersion!r}): must be a whole number")
        status = self.getStatus()
        for limit, is_wrong in (
            ("self", newVersion > status["self_code_version"]),
            ("enabled", newVersion < status["enabled_code_version"]),
        ):
            if is_wrong:
                version = status[f"{limit}_code_version"]
                raise Exception(f"wrong version, {limit} version is {version}, requested version is {newVersion}")
        running = self._coopy_begun()
        running.run_errand("setting the code version", lambda: running.set_code_version(newVersion), callback)

    def getCodeVersion(self) -> int:
        """The code version that is enabled."""
        return self._coopy_begun().code or 0

    # -- how it is

    def isReady(self) -> bool:
        """Whether this node has come to the state of the others once."""
        return self._coopy_begun().is_ready

    def _isReady(self) -> bool:
        return self.isReady()

    def _isLeader(self) -> bool:
        """Whether this node leads."""
        return self._coopy_begun().raft_state == _RAFT_STATE.LEADER

    def _getLeader(self) -> Any:
        """The node that leads, as far as this one knows; None if none does."""
        leader = self._coopy_begun().leader
        if leader is None:
            return None
        return self._coopy_its().node if leader == self._coopy_its().address else self._coopy_its().make_node(leader)

    def _getTerm(self) -> int:
        return self.raftCurrentTerm

    def _getRaftLogSize(self) -> int:
        return int(self.getStatus()["log_len"])

    @property
    def hasQuorum(self) -> bool:
        """Whether a majority of the nodes is there."""
        return bool(self.getStatus()["has_quorum"])

    @property
    def raftLastApplied(self) -> int:
        """The last entry of the log that this node has applied."""
        return int(self.getStatus()["last_applied"])

    @property
    def raftCommitIndex(self) -> int:
        """The last entry of the log that a majority has."""
        return int(self.getStatus()["commit_idx"])

    @property
    def raftCurrentTerm(self) -> int:
        """How many leaders this node has seen since its start. The servers count their terms themselves."""
        return self._coopy_begun().leaders_seen

    def _coopy_status(self) -> dict[str, Any]:
        found = self._coopy_begun().control
        return {} if found is None else found.status()

    def getStatus(self) -> dict[str, Any]:
        """How this node is, by PySyncObj's names; docs/guides/from-pysyncobj.md says what each is here."""
        running, said = self._coopy_begun(), self._coopy_status()
        others = sorted(self.otherNodes, key=str)
        last = said.get("position", said.get("last_applied", 0))
        commit = max(said.get("commit_idx", 0), last)
        status = {
            "version": coopy.__version__,
            "revision": "deprecated",
            "self": self._coopy_its().node,
            "state": running.raft_state,
            "leader": self._getLeader(),
            "has_quorum": said.get("has_quorum", running.is_ready and self._coopy_its().is_alone),
            "partner_nodes_count": len(others),
            **{f"partner_node_status_server_{each}": 2 if self.isNodeConnected(each) else 0 for each in others},
            "readonly_nodes_count": said.get("readonly_nodes_count", 0),
            **{f"readonly_node_status_server_{each}": 2 for each in sorted(self.readonlyNodes, key=str)},
            "log_len": said.get("log_len", last - (said["snapshot"]["index"] if said else 0)),
            "last_applied": last,
            "commit_idx": commit,
            "raft_term": running.leaders_seen,
        }
        positions = {each: said.get(f"position_{each}") for each in others} if self._isLeader() else {}
        known = {each: position for each, position in positions.items() if position is not None}
        status |= {"next_node_idx_count": len(known), **{f"next_node_idx_server_{each}": at + 1 for each, at in known.items()}}
        status |= {"match_idx_count": len(known), **{f"match_idx_server_{each}": at for each, at in known.items()}}
        return status | {
            "leader_commit_idx": commit if said else None,
            "uptime": int(time.monotonic() - running.began),
            "self_code_version": said.get("self_code_version", versions.own(self._coopy_begun().domain)),
            "enabled_code_version": said.get("enabled_code_version", 0),
        }

    def printStatus(self) -> None:
        """Logs `getStatus`, at the level INFO, to the logger "coopy.compat.pysyncobj"."""
        for key, value in self.getStatus().items():
            logging.getLogger(LOGGER).info("%s: %s", key, value)

    def _printStatus(self) -> None:
        self.printStatus()

    def forceLogCompaction(self) -> None:
        """Has a snapshot taken at the next tick, due or not."""
        self._coopy_begun().forced = True

    def _forceLogCompaction(self) -> None:
        self.forceLogCompaction()

    @property
    def conf(self) -> SyncObjConf:
        """The options."""
        found: SyncObjConf = self._coopy_its().conf
        return found

    def _getConf(self) -> SyncObjConf:
        return self.conf


def _consumer(given: Any) -> SyncObjConsumer:
    """Returns the consumer that an object is, or has."""
    found = given if isinstance(given, SyncObjConsumer) or not hasattr(given, "_consumer") else given._consumer()
    if not isinstance(found, SyncObjConsumer):
        raise SyncObjException("Consumers must be inherited from SyncObjConsumer")
    return found
