"""Opens and closes a node of a replicated system: a directory as any system has, and a place in the line of all.

A node that starts takes its directory; reaches the servers (`coopy.replication.servers`), and starts its own if it is to have one; finds
out how the system began, or begins it (`founding`); restores from its own snapshots and journal; and follows the line from where these
end. If the line does not reach back so far, it takes a shipped snapshot first (`sharing`). From then on one thread looks after it
(`watching`), and the one that follows the line mends what can be mended (`mending`). What state it is in is in `states`.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from coopy.disk.fs import Calls
from coopy.disk.journal import Journal
from coopy.disk.manifest import Manifest
from coopy.errors import ClusterError, DamagedLine, ReadOnlyNode, SystemClosed, Unavailable, UsageError
from coopy.ground import log
from coopy.ground.log import Bar
from coopy.ground.raised import on_failure
from coopy.ground.storage import Log, SnapshotStore, Stored
from coopy.ground.words import shown
from coopy.migration import MARK
from coopy.network.limits import Together
from coopy.network.room import Facts
from coopy.network.subjects import Names
from coopy.place.directory import DirectoryPlace
from coopy.place.options import Settings
from coopy.replication import states
from coopy.replication.answering import Answering
from coopy.replication.comparing import Comparing
from coopy.replication.control import ClusterControl
from coopy.replication.files import Files
from coopy.replication.follower import Replicated
from coopy.replication.founding import Founding
from coopy.replication.jetstream import JetStream
from coopy.replication.mending import Mending
from coopy.replication.outbox import Group
from coopy.replication.outlook import Outlook
from coopy.replication.role import Role
from coopy.replication.sender import Answered
from coopy.replication.servers import OPEN_S, Servers
from coopy.replication.sharing import SHIP_S, Sharing
from coopy.replication.states import Life
from coopy.replication.watching import BACKWARDS_S, Watching
from coopy.spine import methods, versions
from coopy.spine.engine import Engine
from coopy.spine.methods import Method
from coopy.spine.replay import Progress
from coopy.system import System
from coopy.values.codec import Codec

RETRY_S = 0.2
"""The servers may have a new leader then."""
LOOK_S = 1.0
"""While a node catches up, it is looked that often how far it has come."""
SAID_S = 5.0
"""Each node says twice a second which code version it has."""
DIGESTS_SAID = 200
"""A node says what so many of its newest batches came to: those of a second, and of some more in which it was not heard. More would
make what it says twice a second longer than some kilobytes."""


class ReplicatedSystem(System):
    """A node. ``servers`` makes its way to the servers, of its role, the names on the servers, and its directory."""

    engine: Replicated
    place: NodePlace

    def __init__(
        self,
        obj: Any,
        basedir: str,
        settings: Settings,
        *,
        role: Role,
        servers: Callable[[Role, Names, str], Servers] = JetStream,
        calls: Calls | None = None,
    ) -> None:
        if settings.check:
            raise UsageError("check=True: looks after a system on one machine. Nothing was opened. Leave it out here.")
        cls = obj if isinstance(obj, type) else type(obj)
        self._role = role
        self._has_left = False
        self._submitted: dict[str, Method] = {}
        self._ended = threading.Event()
        self.servers = servers(role, Names.of_class(cls), basedir)
        self.life = Life(self._tell)
        self.outlook = Outlook(role, self.servers, self._tell, self._is_led)
        self.comparing = Comparing(self.outlook, has_vote=role.writes)
        self.sharing = Sharing(self, self.outlook, self.life, self.servers, self._ended)
        self._asks = Together(lambda limit_s: int(self.servers.room.ask("sync", {}, limit_s)["sequence"]))
        # What a power cut takes from this journal stands in the line.
        place = NodePlace(self, basedir, cls, settings.but(durability="buffered"), calls)
        super().__init__(obj, place, settings, self._engine, ClusterControl)
        if not role.writes:
            self.engine.asked = lambda name: None

    @property
    def name(self) -> str:
        """The name of this node."""
        return self._role.id

    @property
    def _journal(self) -> Journal:
        return self.place.log

    def _tell(self, function: Callable[..., object], *args: object) -> None:
        log.call_back(self.basedir, function, *args)

    # -- taking the directory

    def begun(self, calls: Calls) -> Manifest:
        """Returns the manifest of the system that all nodes are of; begins it if there is none."""
        servers, self._files = self.servers, Files(calls, self.basedir, self._cls)
        self.outlook.nodes = servers.open()
        self._snapshotting = servers.turn("snapshotting", SHIP_S)
        self.founding = Founding(self._role.writes, self.outlook, servers, self._files)
        self.mending = Mending(self.name, self, self.life, self.sharing.fetch, servers.clock, servers.sparing)
        return self.founding.agreed()

    def install_if_empty(self, system: bytes) -> None:
        """Gives a directory that has no state yet a snapshot of another node, unless this one begins the system."""
        if not self.founding.founds and self._files.is_empty:
            self._files.install(system, *self.sharing.fetch())

    def _engine(self, journal: Log, snapshots: SnapshotStore, codec: Codec, secret: bytes) -> Engine:
        engine = Replicated(
            journal,
            snapshots,
            codec,
            secret,
            self.servers.line,
            self.name,
            timeout_s=self._role.timeout_s,
            only_reads=not self._role.writes,
            behind=self.mending.mend,
            furthest=self._furthest,
        )
        self.watching = Watching(
            self, engine, self.outlook, self.life, self.comparing, self.servers, self._ended, self._role.joins_others
        )
        return engine

    def _furthest(self) -> int:
        return max((int(facts.get("position", 0)) for facts in self.servers.room.alive().values()), default=0)

    # -- joining the others

    def start(self, progress: Progress | None) -> None:
        super().start(progress)
        bar = Bar(f"following {os.path.basename(self.basedir)}")
        try:
            with on_failure(self.abandon):
                self._join(progress or bar)
        finally:
            bar.finish()

    def _join(self, progress: Progress) -> None:
        engine, servers, outlook = self.engine, self.servers, self.outlook
        if self.founding.founds:
            self._found()
        servers.room.enter()
        deadline = servers.clock.now() + BACKWARDS_S
        while (line := outlook.look(OPEN_S)).last < engine.position and servers.clock.now() < deadline:
            servers.clock.sleep(RETRY_S)  # A leader that was cut off may still take itself for one.
        if line.last < engine.position:
            raise DamagedLine(
                f"the servers have {line.last} messages, and this node has applied {engine.position}: they have lost what "
                f"was acknowledged. Nothing was applied. This node's directory, {self.basedir}, is whole; see "
                f"docs/guides/replication.md, 'When the servers have lost what a node has'."
            )
        outlook.is_led(line)
        # Before the line is followed: what keeps the node from that is said after it.
        self.life.becomes(states.CATCHING_UP)
        engine.follow()
        servers.room.heard = self.comparing.hear
        if self._role.writes:
            Answering(self.name, engine, servers, self._ended).begin(self.sharing.answer, self.set_code_version)
        servers.clock.start(self.watching.keep, f"coopy node {self.name}")
        self._catch_up(line.last, progress)
        if self._role.writes:
            engine.begin()
        self._begin_version()
        self.life.becomes(states.READY)

    def _catch_up(self, last: int, progress: Progress) -> None:
        """Waits until this node has applied a message. Raises `Unavailable` if it comes no further."""
        engine, clock = self.engine, self.servers.clock
        moved_at, position = clock.now(), engine.position
        while not engine.reach(last, LOOK_S, progress):
            if engine.position > position:
                moved_at, position = clock.now(), engine.position
            if engine.unapplied is not None and not self._role.writes:
                return  # It is read as before the action, until another node has withdrawn that.
            if clock.now() - moved_at > OPEN_S:
                raise Unavailable(
                    f"{self.name} has come to message {engine.position} of {last}, and no further within {OPEN_S:g} s. What "
                    f"it has is kept. Start it again when the other nodes can be reached."
                )

    def _begin_version(self) -> None:
        machine = self.engine.machine
        if self._role.writes and machine.version < machine.migration.version:
            self.engine.record(MARK, (machine.migration.version,), machine.begin_version)

    def _found(self) -> None:
        """Begins the line where this node's own state ends."""
        engine = self.engine
        if engine.unapplied is not None:
            engine.leave_unapplied_out(engine.position)  # The others begin with the state of this node.
        if engine.machine.applied not in self.place.snapshots.indexes():
            self.take_snapshot()
        # A directory that has followed another line before goes on counting.
        first = engine.machine.batches.sequence + 1
        # What was left of a batch that was begun was answered to nobody, and is in no line any more.
        engine.position = first - 1
        self.founding.found(self.place.manifest, engine.deterministic, first, self.sharing.ship)

    # -- what is asked of it by those that share snapshots, mend and watch

    @property
    def position(self) -> int:
        return self.engine.position

    @property
    def is_closing(self) -> bool:
        return self._closing

    def newest_snapshot(self) -> tuple[int, Stored]:
        found = self.place.snapshots.latest()
        assert found is not None, "a system has a snapshot as soon as it is open"
        return found

    @property
    def is_unsure(self) -> bool:
        return self._journal.settled < 0

    def follow_again(self) -> None:
        self.engine.line.follow(self.engine.position)

    def read_again(self) -> None:
        def read() -> None:
            self._journal.abandon()
            self._go_on()

        self.engine.run(read)

    def cut(self, index: int) -> None:
        def cut() -> None:
            amendment = self.engine.amendment_before(index)
            self._journal.close()
            self._files.cut(self.place.manifest.system, index)
            self._go_on(amendment)

        self.engine.run(cut)

    def begin_anew(self, index: int, data: Stored) -> None:
        def begin() -> None:
            try:
                self._journal.close()
            except OSError:
                self._journal.abandon()  # It is put aside, whatever the disk has of it.
            self._proof.forget()
            self._files.set_aside()
            self._files.install(self.place.manifest.system, index, data)
            self._go_on()

        self.engine.run(begin)

    def _go_on(self, amendment: bytes | None = None) -> None:
        """Restores the state from the files there are now."""
        self.place.open_again()
        if amendment is not None:
            self._journal.amend(amendment)
        self.engine.replace(self._journal, self.place.snapshots)

    def forget_differences(self) -> None:
        self.comparing.forget(self.engine)

    def look_at_code(self) -> None:
        self._code_is(self.engine.machine.code)

    def flush(self) -> None:
        self._journal.flush()

    def facts(self) -> Facts:
        engine = self.engine
        facts: Facts = {"position": engine.position, "index": engine.machine.reached, "state": self.life.state}
        if not self._role.writes:
            return facts  # Nobody compares a replica's state with its own, and a replica may say little at once.
        return {
            **facts,
            "safe": self.watching.safe,
            "code": engine.machine.own_code,
            "enabled": engine.machine.code,
            "uptime": int(time.monotonic() - self._opened_at),
            "digests": {str(sequence): value for sequence, value in engine.newest_digests(DIGESTS_SAID)},
        }

    # -- what any system does, done as a node

    def _is_led(self) -> None:
        if self.delivers():
            self._delivery.look()

    def delivers(self) -> bool:
        """Returns whether this node carries out what actions ask for: the one that leads does."""
        return self._role.writes and self.outlook.leads

    def snapshot_if_due(self, timed: bool) -> None:
        """As any system does, but one node at a time."""
        try:
            if not self._role.writes:
                # It can't say that it takes one.
                if not self._snapshotting.is_anothers():
                    super().snapshot_if_due(timed)
            elif self._snapshotting.take():
                super().snapshot_if_due(timed)
                self._snapshotting.give_back()
        except (ClusterError, SystemClosed) as error:
            self.servers.sparing.warn("no snapshot", "%s: no snapshot was taken: %s", self.name, error)

    def enable_code(self, version: int) -> None:
        if not self._role.writes:
            raise ReadOnlyNode("This is a slave/read-only instance. The code version is set on a node that writes.")
        clock = self.servers.clock
        deadline = clock.now() + SAID_S
        while None in (said := {each: self.servers.room.said(each).get("code") for each in self.outlook.others}).values():
            if clock.now() > deadline:
                break
            clock.sleep(RETRY_S)  # One that has just come says it a moment later; and one that was taken out is no member then.
        versions.refuse_if_behind(version, said)
        engine = self.engine
        engine.record(versions.CODE, (version,), engine.machine.methods[versions.CODE])

    # -- what controls ask for

    def sync(self, timeout_s: float | None) -> None:
        """Returns when this node has applied all that was acknowledged anywhere. Raises `Unavailable`."""
        if self._role.writes:
            self.engine.sync(timeout_s)
            return
        limit = self._role.timeout_s if timeout_s is None else timeout_s
        try:
            sequence = self._asks(limit)
        except TimeoutError as error:
            raise Unavailable(f"no node answers the question for sync: {error}") from error
        if not self.engine.reach(sequence, limit):
            raise Unavailable(f"{self.name} has come to message {self.engine.position} of {sequence} within {limit:g} s")

    def status(self) -> dict[str, Any]:
        """See `ClusterControl.status`."""
        engine, outlook, servers = self.engine, self.outlook, self.servers
        line, machine, alive = outlook.line, engine.machine, servers.room.alive()
        problem = engine.failure or self.life.problem or self.watching.unserved or engine.outbox.problem
        return {
            "self": self.name,
            "state": self.life.state,
            "role": self._role.word,
            "leader": outlook.leader,
            "has_quorum": outlook.leader is not None and outlook.most_are_there(),
            "partner_nodes_count": len(outlook.others),
            "readonly_nodes_count": sum(bool(facts.get("replica")) for facts in alive.values()),
            "log_len": 0 if line is None else line.last - line.first + 1,
            "log_bytes": 0 if line is None else line.bytes,
            "last_applied": machine.reached,
            "commit_idx": 0 if line is None else line.last,
            "position": engine.position,
            "uptime": int(time.monotonic() - self._opened_at),
            "incarnation": engine.outbox.incarnation,
            "problem": str(problem or "") or None,
            "self_code_version": machine.own_code,
            "enabled_code_version": machine.code,
            "server_pid": None if servers.own is None else servers.own.pid,
            "connected_to": servers.url,
            "digest": engine.newest_digests(1),
            **servers.elections(),
            **self._proofs(),
            **{f"partner_node_status_server_{name}": 2 if name in alive else 0 for name in outlook.others},
            **{f"position_{name}": int(alive[name]["position"]) for name in outlook.others if name in alive},
        }

    def submit(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        """Sends a call and does not wait."""
        method = self._submitted.get(name) or self._to_submit(name)
        answer, found = Answered(), Future[Any]()
        found.set_running_or_notify_cancel()  # It was sent, so it can't be cancelled.

        def then(group: Group) -> None:
            if answer.error is not None:
                found.set_exception(answer.error)
            else:
                found.set_result(answer.value)

        self.engine.submit([self.engine.encode(method, args, kwargs)], [answer], then)
        return found

    def _to_submit(self, name: str) -> Method:
        """Returns a recorded method of the class, and keeps it: finding out what it is takes longer than sending a call."""
        function = methods.functions_of(self._cls).get(name)
        if function is None or methods.kind_of(self._cls, name, function) != "action":
            raise UsageError(f"submit({shown(name)}): {self._cls.__qualname__} has no method of that name that is recorded")
        method = self._submitted[name] = methods.method_for(name, function, ())
        return method

    # -- closing

    def close(self) -> None:
        if not self._closed:
            self.life.becomes(states.CLOSING)
        super().close()

    def leave(self) -> None:
        """Lets go of the connection and of the server."""
        self._ended.set()
        founding, engine = getattr(self, "founding", None), getattr(self, "engine", None)
        if founding is not None:
            founding.ended.set()
        if engine is not None and not self._has_left:
            self._has_left = True
            engine.outbox.close(SystemClosed(f"the system in {self.basedir} is closed"))
        self.servers.close()


class NodePlace(DirectoryPlace):
    """The directory of a node. What is in it is agreed with the others, and given back with the connection to them."""

    is_alone = False

    def __init__(self, node: ReplicatedSystem, basedir: str, cls: type, settings: Settings, calls: Calls | None = None) -> None:
        super().__init__(basedir, cls, settings, calls=calls)
        self._node = node
        self._pid = os.getpid()

    def take(self, grown: Callable[[int], None] | None = None) -> None:
        with on_failure(self._node.leave):
            super().take(grown)

    def begun(self) -> Manifest:
        return self._node.begun(self.calls)

    def open_files(self) -> None:
        self._node.install_if_empty(self.manifest.system)
        super().open_files()

    def open_again(self) -> None:
        """Opens the log and the snapshots of a node that was mended."""
        super().open_files()

    def accept(self, header: bytes, sequence: int) -> None:
        pass

    def delivers(self) -> bool:
        return self._node.delivers()

    def abandon(self) -> None:
        if os.getpid() == self._pid:
            self._node.leave()
        elif hasattr(self._node, "engine"):
            self._node.engine.failure = SystemClosed(
                f"the system in {self.name} belongs to the process that this one was forked from"
            )
        super().abandon()

    def release(self) -> None:
        try:
            if os.getpid() == self._pid:
                self._node.leave()
        finally:
            super().release()
