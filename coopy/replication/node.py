"""Opens and closes a node of a replicated system: a directory as any system has, and a place in the line of all.

A node that starts takes its directory; starts the Raft server, if it is to have one; finds out how the system
began, or begins it; restores from its own snapshots and journal; and follows the line from where these end. If the line
does not reach back so far, it takes a shipped snapshot first. What happens to a node that can't go on is in `_mend`.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from coopy import log, versions
from coopy.disk import cutting, directory, manifest
from coopy.disk.fs import Calls
from coopy.disk.journal import Journal
from coopy.disk.manifest import Manifest
from coopy.disk.segment import Segment
from coopy.disk.snapshots import DiskSnapshots
from coopy.errors import (
    ClusterError,
    CoopyError,
    DamagedLine,
    Diverged,
    ForeignDirectory,
    InterruptedReplay,
    JournalError,
    MissingActions,
    NotAMember,
    ReadOnlyNode,
    ReplayError,
    StorageError,
    SystemClosed,
    Unavailable,
    UsageError,
)
from coopy.ground import action
from coopy.ground.storage import SnapshotStore
from coopy.ground.words import shown
from coopy.log import Bar
from coopy.network.address import parse
from coopy.network.limits import Together, TokenBucket
from coopy.network.membership import replicas
from coopy.network.room import Facts
from coopy.network.stream import Names, State
from coopy.replication.control import ClusterControl
from coopy.replication.follower import Answered, Came, Passed, Replicated, Superseded
from coopy.replication.jetstream import JetStream
from coopy.replication.outbox import Group
from coopy.replication.role import CLUSTER, Role
from coopy.replication.servers import Members, OwnServer, Servers
from coopy.spine import methods
from coopy.spine.engine import Engine
from coopy.spine.machine import Machine
from coopy.spine.replay import Progress
from coopy.system import System, begin
from coopy.values.codec import Codec

OPEN_S = 120.0
ASK_S = 2.0
LEADER_S = 5.0
SAY_S = 0.5
LOOK_S = 1.0
FLUSH_S = 5.0
FOUNDER_S = 15.0
TURN_S = 10.0
SHIP_S = 900.0
LAGGING_S = 60.0
KEPT_BYTES = 256 * 1024 * 1024
"""So much of the line is kept although every node has it: a node that was away for a while needs no snapshot."""
LINE_BYTES_MAX = 1024 * 1024 * 1024
"""Beyond that the oldest quarter goes although some node lacks it, and has to take a snapshot."""
DIGESTS_SAID = 200
MENDS_MAX = 3
MENDS_S = 3600.0
STALL_S = 1.0
BACKWARDS_S = 20.0
RETRY_S = 0.2
SYNC_RATE = 50.0, 100.0
SNAPSHOT_RATE = 4.0, 10.0
LINE_RATE = 10.0, 20.0
"""So often, and so often at once, one connection may ask; see `coopy.network.limits.TokenBucket`."""
ROUND_RATE = 100.0, 200.0
"""So many messages are put into the line for replicas that ask how far it goes, however many ask."""
LOOK_RATE = 50.0, 100.0
"""So many questions are put to a stream's leader for replicas."""
NEEDED_RATE = 0.1, 2.0
WANTED_RATE = 1 / 300, 3.0
"""So many snapshots are made for others: such without which they can't go on, and newer ones."""
FIRST_BYTES = 1024 * 1024


class ReplicatedSystem(System):
    """A node."""

    engine: Replicated
    _journal: Journal

    def __init__(
        self,
        *parts: Any,
        role: Role,
        servers: Callable[[Role, Names, str], Servers] = JetStream,
        **options: Any,
    ) -> None:
        if options.get("check"):
            raise UsageError("check=True: looks after a system on one machine. Nothing was opened. Leave it out here.")
        self._role = role
        self._nodes = role.nodes
        self._control = ClusterControl
        self._pid = os.getpid()
        self._left = False
        self._founding = False
        self._founded = threading.Event()
        self._mends: list[float] = []
        self._leader: str | None = None
        self._line_state: State | None = None
        self._safe = 0
        self._stalled_at = 0
        self._stalled: object = None
        self._unserved: BaseException | None = None
        self._state = "starting"
        self._theirs: dict[int, dict[str, int]] = {}
        """For each of the newest batches, what it came to on other nodes."""
        self._comparing = threading.Lock()
        self._ended = threading.Event()
        self._shipping = threading.Lock()
        """Held while a snapshot is made for others."""
        self._needed, self._wanted = TokenBucket(*NEEDED_RATE), TokenBucket(*WANTED_RATE)
        self._rounds = TokenBucket(*ROUND_RATE)
        self._looks = TokenBucket(*LOOK_RATE)
        self._asks = Together(lambda limit_s: int(self._room.ask("sync", {}, limit_s)["sequence"]))
        self.on_state_changed: Callable[[str, str], object] = lambda before, after: None
        self.on_leader_changed: Callable[[str | None, str | None], object] = lambda before, after: None
        self.on_ready: Callable[[], object] = _nothing
        cls = parts[0] if isinstance(parts[0], type) else type(parts[0])
        self._names = Names(re.sub(r"[^A-Za-z0-9_-]", "_", cls.__name__.lower())[:64])
        self._servers = servers(role, self._names, parts[1])
        super().__init__(*parts, **options)

        if not self._role.writes:
            self.engine.asked = lambda name: None

    # -- taking the directory

    def _hold(self, calls: Calls, durability: str, segment_bytes: int) -> Manifest:
        try:
            return super()._hold(calls, durability, segment_bytes)
        except BaseException:
            self._leave()
            raise

    def _begun(self, calls: Calls) -> Manifest:
        servers = self._servers
        self._nodes = servers.open()
        self._room, self._line, self._sparing = servers.room, servers.line, servers.sparing
        self._founder = servers.turn("founder", FOUNDER_S)
        self._snapshotting = servers.turn("snapshotting", SHIP_S)
        return self._agreed(calls)

    @property
    def membership(self) -> Members:
        return self._servers.members

    @property
    def _id(self) -> str:
        """The name of this node."""
        return self._role.id

    def _agreed(self, calls: Calls) -> Manifest:
        """The manifest of the system that all nodes are of. Makes its things on the servers if they are not there."""
        bar = Bar(f"waiting for {'a majority of ' if len(self._nodes) > 1 else ''}{', '.join(map(str, self._nodes))}")
        began = time.monotonic()
        deadline = began + OPEN_S
        # One after the other: servers that are asked for the same thing at once may come to make it twice.
        turn = began + TURN_S * self._nodes.index(self._role.node) if self._role.writes else deadline
        problem: BaseException | None = None
        try:
            while True:
                try:
                    if time.monotonic() >= turn:
                        self._servers.make(replicas(len(self._nodes)))
                    found = self._genesis(calls)
                    if found is not None:
                        return found
                except ClusterError as error:
                    # Right after a start there is no leader yet; or a majority of the nodes is not there. Anything else will
                    # not pass by waiting.
                    problem = error
                if time.monotonic() > deadline:
                    raise Unavailable(
                        f"the nodes {', '.join(map(str, self._nodes))} did not come to an agreement within {OPEN_S:g} s "
                        f"({problem or 'nobody began the system'}). Nothing was changed. See that a majority of them runs; to "
                        f"begin a system takes all."
                    ) from problem
                time.sleep(0.2)
                bar(0, 1)
        finally:
            bar.finish()

    def _genesis(self, calls: Calls) -> Manifest | None:
        """The manifest, once it is known how the system began; None while somebody else is about to begin it."""
        local = manifest.read(calls, self.basedir)
        facts, _ = self._room.get("genesis")
        if facts is None:
            if not self._role.writes or self._stands_back(local is not None) or not self._may_found():
                return None
            self._founding = True
            return local or begin(calls, self.basedir, self._cls)
        system = bytes.fromhex(facts["system"])
        if local is not None:
            if local.system != system:
                raise ForeignDirectory(
                    f"{self.basedir} holds the system {local.system.hex()}, and the nodes run {system.hex()}. Nothing was "
                    f"changed. Choose another directory, or nodes of their own for this system."
                )
            return local
        self._refuse_files(calls)
        return begin(calls, self.basedir, self._cls, bytes.fromhex(facts["secret"]), system, bool(facts["deterministic"]))

    def _refuse_files(self, calls: Calls) -> None:
        names = calls.names(self.basedir)
        if directory.segments(names) or directory.snapshots(names):
            raise ForeignDirectory(f"{self.basedir} holds files of a system and no coopy.json. Nothing was changed.")

    def _stands_back(self, has_state: bool) -> bool:
        """Whether another node has, or may have, a state to begin with, and this one has none."""
        said = {f"state.{number}": self._room.get(f"state.{number}") for number in range(len(self._nodes))}
        own = f"state.{self._nodes.index(self._role.node)}"
        if (said[own][0] or {}).get("has") is not has_state:
            self._room.put(own, {"has": has_state}, said[own][1])
        return not has_state and any(facts is None or facts["has"] for key, (facts, _) in said.items() if key != own)

    def _may_found(self) -> bool:
        """Whether it is this node that begins the system; it then keeps the others from it until it has."""
        if not self._founder.take():
            return False
        self._founder.keep(self._founded)
        return True

    def _open_files(self, calls: Calls, system: bytes, durability: str, segment_bytes: int) -> None:
        self._segment_bytes = segment_bytes
        names = calls.names(self.basedir)
        if not self._founding and not directory.snapshots(names) and not directory.segments(names):
            self._install(calls, system, *self._fetch_snapshot())
        # What a power cut takes from this journal stands in the line.
        super()._open_files(calls, system, "buffered", segment_bytes)

    def _engine(self, snapshots: SnapshotStore, codec: Codec, secret: bytes) -> Engine:
        return Replicated(
            self._journal,
            snapshots,
            codec,
            secret,
            self._line,
            self._id,
            timeout_s=self._role.timeout_s,
            only_reads=not self._role.writes,
            behind=self._mend,
            furthest=self._furthest,
        )

    def _furthest(self) -> int:
        return max((int(facts.get("position", 0)) for facts in self._room.alive().values()), default=0)

    def _refuse_node(self) -> None:
        pass

    def _says_between_calls(self) -> bool:
        return False

    # -- joining the others

    def start(self, progress: Progress | None) -> None:
        super().start(progress)
        bar = Bar(f"following {os.path.basename(self.basedir)}")
        try:
            self._join(progress or bar)
        except BaseException:
            self.abandon()
            raise
        finally:
            bar.finish()

    def _join(self, progress: Progress) -> None:
        engine, room = self.engine, self._room
        if self._founding:
            self._found()
        self._room.enter()
        deadline = time.monotonic() + BACKWARDS_S
        while (state := self._look(OPEN_S)).last < engine.position and time.monotonic() < deadline:
            time.sleep(RETRY_S)  # A leader that was cut off may still take itself for one.
        if state.last < engine.position:
            raise DamagedLine(
                f"the servers have {state.last} messages, and this node has applied {engine.position}: they have lost what "
                f"was acknowledged. Nothing was applied. This node's directory, {self.basedir}, is whole; see "
                f"docs/guides/replication.md, 'When the servers have lost what a node has'."
            )
        self._lead_is(self._leading(state))
        engine.follow()
        room.heard = self._heard_from
        if self._role.writes:
            room.answer("snapshot", self._snapshots_for, *SNAPSHOT_RATE)
            room.answer("sync", self._sync_for, *SYNC_RATE)
            room.answer("line", self._line_for, *LINE_RATE)
        self._set_state("catching up")
        threading.Thread(target=self._watch, name=f"coopy node {self._id}", daemon=True).start()
        moved_at, position = time.monotonic(), engine.position
        while not engine.reach(state.last, LOOK_S, progress):
            if engine.position > position:
                moved_at, position = time.monotonic(), engine.position
            if engine.unapplied is not None and not self._role.writes:
                break  # It is read as before the action, until another node has withdrawn that.
            if time.monotonic() - moved_at > OPEN_S:
                raise Unavailable(
                    f"{self._id} has come to message {engine.position} of {state.last}, and no further within {OPEN_S:g} s. What "
                    f"it has is kept. Start it again when the other nodes can be reached."
                )
        if self._role.writes:
            engine.begin()
        self._begin_version()
        self._set_state("ready")

    def _begin_version(self) -> None:
        machine = self.engine.machine
        if self._role.writes and machine.version < machine.migration.version:
            from coopy.migration import MARK

            self.engine.record(MARK, (machine.migration.version,), machine.begin_version)

    def _found(self) -> None:
        """Gives the others what they begin with, and then says that the system has begun."""
        engine = self.engine
        if engine.unapplied is not None:
            engine.leave_unapplied_out(engine.position)  # The others begin with the state of this node.
        if engine.machine.applied not in self._snapshots.indexes():
            self.take_snapshot()
        # A directory that has followed another line before goes on counting.
        first = engine.machine.batches.sequence + 1
        # What was left of a batch that was begun was answered to nobody, and is in no line any more.
        engine.position = first - 1
        self._servers.make_line(replicas(len(self._nodes)), first)
        if not self._founder.renew():
            raise self._not_the_founder()
        self._ship()
        nodes = [str(each) for each in self._nodes]
        self._room.put("members", {"nodes": nodes}, self._room.get("members")[1])
        found = self._manifest
        facts = {"system": found.system.hex(), "secret": found.secret.hex(), "deterministic": engine.deterministic}
        if not self._room.put("genesis", facts, 0) and (self._room.get("genesis")[0] or {}).get("system") != facts["system"]:
            raise self._not_the_founder()
        self._founded.set()

    def _not_the_founder(self) -> ClusterError:
        return ClusterError(
            f"another node began the system meanwhile. {self.basedir} holds one that nobody uses: remove it and start "
            f"this node again."
        )

    def _look(self, timeout_s: float) -> State:
        """What the leader says of the stream. Raises `Unavailable`."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                self._line_state = self._servers.state(LEADER_S)
                return self._line_state
            except ClusterError as error:
                if time.monotonic() > deadline:
                    raise Unavailable(f"the servers do not say what they have: {error}") from error
                time.sleep(0.2)

    # -- snapshots that nodes give each other

    def _ship(self) -> Facts:
        """Ships this node's newest snapshot."""
        found = self._snapshots.latest()
        assert found is not None
        index, data = found
        sequence = _sequence_of(data)
        shipped, revision = self._room.get("shipped")
        if shipped is None or shipped["index"] < index:
            self._servers.shipped.write(index, lambda file: _in_pieces(file, data))
            self._room.put("shipped", {"index": index, "sequence": sequence}, revision)
            for old in self._servers.shipped.indexes()[:-2]:
                self._servers.shipped.forget(old + 1)
        return {"index": index, "sequence": sequence}

    def _snapshots_for(self, asked: list[Facts]) -> list[Facts]:
        """Answers nodes that need a snapshot that reaches to a message at least: with one, or that it is being made."""
        shipped = self._room.get("shipped")[0]
        return [self._snapshot_for(each.get("sequence"), shipped) for each in asked]

    def _snapshot_for(self, sequence: object, shipped: Facts | None) -> Facts:
        if not isinstance(sequence, int) or sequence < 0:
            return {"error": "which message the snapshot must reach to is not said"}
        if self._state != "ready":
            return {"error": f"{self._id} is {self._state}, and gives nobody a snapshot", "retry_s": 1.0}
        if sequence > self.engine.position:
            return {"error": f"{self._id} is at message {self.engine.position} itself", "retry_s": 1.0}
        if shipped is not None and shipped["sequence"] >= sequence:
            return shipped
        # One from which the line goes on is needed, and then not again before the line has forgotten more. One that is newer
        # than that is asked for by a node whose state is wrong, or by whoever wants to keep this one busy.
        state = self._line_state
        needed = shipped is None or state is None or shipped["sequence"] < state.first - 1
        if self._shipping.acquire(blocking=False):
            if not (self._needed if needed else self._wanted).take():
                self._shipping.release()
            else:
                threading.Thread(target=self._ship_one, name=f"coopy ship {self._id}", daemon=True).start()
        return {"error": "a snapshot is being made, or was just before", "retry_s": 1.0}

    def _ship_one(self) -> None:
        try:
            self.take_snapshot()
            self._ship()
        except Exception as error:
            self._sparing.warn("not shipped", "%s: no snapshot was given to the others: %s", self._id, error)
        finally:
            self._shipping.release()

    def _fetch_snapshot(self, least: int = 0) -> tuple[int, memoryview]:
        """A shipped snapshot from which the line goes on, of the state after message ``least`` or a later one."""
        least = max(least, self._look(OPEN_S).first - 1)
        deadline = time.monotonic() + SHIP_S
        while True:
            try:
                shipped, _ = self._room.get("shipped")
                if shipped is None or shipped["sequence"] < least:
                    self._sparing.warn("asks", "%s: asks the other nodes for a snapshot", self._id)
                    shipped = self._room.ask("snapshot", {"sequence": least}, max(0.1, deadline - time.monotonic()))
                found = self._fetched(shipped["index"])
                if found is not None:
                    return found
                problem: ClusterError = Unavailable(
                    f"the snapshot of action {shipped['index']} is not there; start this node again"
                )
            except ClusterError as error:
                problem = error  # Any node may have been asked, this one too.
            if time.monotonic() > deadline or self._ended.wait(RETRY_S):
                raise problem

    def _fetched(self, index: int) -> tuple[int, memoryview] | None:
        """The snapshot of that index. None if another has taken its place, or the server that answers is behind."""
        bar = Bar(f"fetching the snapshot of action {index}")
        self._servers.shipped.progress = bar.loading
        try:
            found = self._servers.shipped.latest(index)
        finally:
            bar.finish()
        # An older one would be taken again and again: what the node did wrong it would do again.
        return found if found is not None and found[0] == index else None

    def _install(self, calls: Calls, system: bytes, index: int, data: memoryview) -> None:
        """Makes a shipped snapshot the beginning of an empty directory."""
        Segment.create(calls, directory.segment_path(self.basedir, index + 1), system, index + 1, FIRST_BYTES).close()
        DiskSnapshots(calls, self.basedir, system).write(index, lambda file: _in_pieces(file, data))

    def _mend(self, error: BaseException) -> None:
        """Deals with what keeps this node from following. Raises what can't be mended."""
        if self._closing:
            raise error
        if isinstance(error, (JournalError, InterruptedReplay)):
            # The line has what this node can't write, or can't hold; it goes on where it was when there is room.
            lacks = "can't write its journal" if isinstance(error, JournalError) else "can't restore its state"
            if self._state != "stalled":
                self._sparing.error("stalled", "%s: this node %s, and waits: %s", self._id, lacks, error)
            self._stalled = str(error)  # An exception holds what was being done, which may be a whole state.
            self._stalled_at = self.engine.position
            self._set_state("stalled")
            time.sleep(STALL_S)
            if self._journal.settled < 0:
                # A sync failed: what the journal holds has to be read again.
                self.engine.run(self._read_again)
            else:
                self.engine.line.follow(self.engine.position)
            return
        if isinstance(error, Superseded):
            self._go_back(error)
            return
        now = time.monotonic()
        self._mends = [at for at in self._mends if now - at < MENDS_S]
        if not isinstance(error, (MissingActions, Diverged, Passed)) or len(self._mends) >= MENDS_MAX:
            raise error
        self._mends.append(now)
        self._set_state("quarantined" if isinstance(error, Diverged) else "behind")
        log.error("%s: %s. It begins again with a snapshot of another node.", self._id, error)
        # What this node did wrong, or can't do, it would come to again.
        least = self.engine.position if isinstance(error, Diverged) else error.sequence if isinstance(error, Passed) else 0
        found = self._fetch_snapshot(least)
        self.engine.run(lambda: self._begin_anew(*found))
        with self._comparing:
            # What was said of the state that was put aside, while the snapshot was fetched, says nothing of this one.
            self._theirs.clear()
            self.engine.trouble = None
        self._set_state("ready")

    def _go_back(self, error: Superseded) -> None:
        """Goes on without an action that was withdrawn: from the end of a shorter journal, or with a snapshot of a node that has it withdrawn."""
        before = self._state
        self._set_state("behind")
        log.error(
            "%s: %s. It is applied no more: this node goes back to the state before it, and on from there.", self._id, error
        )
        try:
            self.engine.run(lambda: self._cut(error.index))
        except (StorageError, ReplayError) as problem:
            log.error(
                "%s: its own journal does not lead back (%s). It begins again with a snapshot of another node.",
                self._id,
                problem,
            )
            found = self._fetch_snapshot(error.sequence)
            self.engine.run(lambda: self._begin_anew(*found))
        with self._comparing:
            self._theirs.clear()
            self.engine.trouble = None
        self._set_state(before)

    def _cut(self, index: int) -> None:
        """Goes on with a journal that ends before an action. Raises a `StorageError` with all as it was if nothing leads to its end."""
        amendment = self.engine.amendment_before(index)
        self._journal.close()
        aside = self._new_aside()
        cutting.cut(self._calls, self.basedir, self._manifest.system, index, aside)
        super()._open_files(self._calls, self._manifest.system, "buffered", self._segment_bytes)
        self._journal.amend(amendment)
        self.engine.replace(self._journal, self._snapshots)

    def _read_again(self) -> None:
        self._journal.abandon()
        super()._open_files(self._calls, self._manifest.system, "buffered", self._segment_bytes)
        self.engine.replace(self._journal, self._snapshots)

    def _begin_anew(self, *snapshot: Any) -> None:
        self._journal.close()
        self._proving.forget()
        self._set_aside()
        self._install(self._calls, self._manifest.system, *snapshot)
        super()._open_files(self._calls, self._manifest.system, "buffered", self._segment_bytes)
        self.engine.replace(self._journal, self._snapshots)

    def _set_aside(self) -> None:
        """Puts the journal and the snapshots where nobody takes them for the system's, and nothing is lost."""
        aside = self._new_aside()
        for name in self._calls.names(self.basedir):
            if directory.segments([name]) or directory.snapshots([name]):
                self._calls.rename(os.path.join(self.basedir, name), os.path.join(aside, name))
        self._calls.sync_directory(self.basedir)

    def _new_aside(self) -> str:
        aside = os.path.join(self.basedir, f"aside-{time.time_ns()}")
        self._calls.make_directory(aside)
        return aside

    # -- looking after the node

    def _set_state(self, state: str) -> None:
        before, self._state = self._state, state
        if before != state:
            self._call_back(self.on_state_changed, before, state)
            self.tell_if_ready()

    def tell_if_ready(self) -> None:
        """Calls what waits for the node to be ready, if it is. Once."""
        if self._state == "ready":
            with self._telling:
                function, self.on_ready = self.on_ready, _nothing
            self._call_back(function)

    def _watch(self) -> None:
        try:
            self._keep_watching()
        except BaseException as error:
            self.engine.fail(error)

    def _keep_watching(self) -> None:
        looked = flushed = 0.0
        lagging: float | None = None
        backwards: float | None = None
        while not self._ended.wait(SAY_S):
            now = time.monotonic()
            engine = self.engine
            if engine.failure is not None and self._state != "stopped":
                self._set_state("stopped")
            self._code_is(engine.machine.code)
            if self._state == "stalled" and engine.position > self._stalled_at:
                self._set_state("ready")
            elif self._state == "ready" and engine.unapplied is not None:
                self._stalled, self._stalled_at = engine.unapplied, engine.position
                self._set_state("stalled")
            self._room.say(self._facts())
            self._sparing.tick()
            if now - looked >= LOOK_S:
                looked = now
                position, before = engine.position, self._line_state
                try:
                    state = self._look(0)
                except (ClusterError, SystemClosed):
                    self._lead_is(None)
                    lagging = self._look_after_server(None, False, lagging, now)
                    continue
                self._lead_is(self._leading(state))
                lagging = self._look_after_server(state, before is None or state.last > before.last, lagging, now)
                if state.last >= position:
                    backwards = None
                elif backwards is None:
                    backwards = now
                elif now - backwards > BACKWARDS_S and engine.failure is None:
                    engine.fail(
                        DamagedLine(
                            f"the servers have {state.last} messages now, and this node has applied {position}: they "
                            f"have lost what was acknowledged. This node has stopped; its directory is whole"
                        )
                    )
                self._look_after_members(state)
            if now - flushed >= FLUSH_S:
                flushed = now
                self._flush()
            self._compare()

    def _flush(self) -> None:
        """Makes the journal durable, and lets the line forget what every node has."""
        position = self.engine.position
        try:
            self._journal.flush()
        except (OSError, CoopyError) as error:
            self._sparing.error("not synced", "%s: the journal could not be synced: %s", self._id, error)
            return
        self._safe = position
        state = self._line_state
        if state is None or self._leader != self._id or state.bytes < KEPT_BYTES:
            return
        quarter = (state.last - state.first) // 4
        heard = self._room.alive()
        others = [str(each) for each in self._nodes if str(each) != self._id]
        everybody = min([self._safe, *(int(heard.get(each, {}).get("safe", 0)) for each in others)]) - quarter
        upto = min(self._safe, state.first + quarter) if state.bytes > LINE_BYTES_MAX else everybody
        if upto > state.first:
            try:
                self._servers.line.forget(upto)
            except (ClusterError, SystemClosed) as error:
                self._sparing.warn("not forgotten", "%s: the line keeps what all nodes have: %s", self._id, error)

    def _look_after_server(self, state: State | None, moves: bool, lagging: float | None, now: float) -> float | None:
        """Restarts this node's server if its copy of the stream does not catch up, or no server takes anything.

        ``state``: what the stream's leader said, None if there is none. ``moves``: whether anything came since it was asked last.
        """
        supervisor = self._servers.own
        if supervisor is None or not self._lags(supervisor, state, moves):
            return None
        if lagging is None:
            return now
        if now - lagging <= LAGGING_S:
            return lagging
        log.error("%s: its server has not caught up or taken anything for %g s, and is started again", self._id, LAGGING_S)
        try:
            supervisor.restart()
            self._unserved = None
        except (CoopyError, OSError) as error:
            # Others may keep the line meanwhile, and this node follows them.
            log.error("%s: its server could not be started, which is tried again in %g s: %s", self._id, LAGGING_S, error)
            self._unserved = error
            return time.monotonic()
        if self._ended.is_set():
            supervisor.stop()  # The node was closed just before.
        return None

    def _lags(self, supervisor: OwnServer, state: State | None, moves: bool) -> bool:
        if not supervisor.running:
            return True
        if state is None or (self.engine.outbox.problem is not None and not moves):
            # A server that could not write once takes nothing any more. Where too few nodes are there it is not that.
            there = {self._id, *self._room.alive()}
            return sum(str(each) in there for each in self._nodes) > len(self._nodes) // 2
        mine = next((peer for peer in state.peers if peer[0] == self._id), None)
        return mine is not None and not (mine[1] and mine[3] < 1000)

    def _look_after_members(self, state: State) -> None:
        """Stops a node that was removed; has as many servers keep the line as there are members for."""
        if self._role.kind != CLUSTER:
            return
        try:
            nodes = tuple(parse(each) for each in self.membership.nodes()) or self._nodes
        except ClusterError:
            return
        if nodes != self._nodes:
            self._nodes = nodes
            self._servers.remember(nodes)
        if self._role.node not in nodes:
            self.engine.fail(
                NotAMember(f"{self._id} was removed from the cluster; what it has is whole. It follows the others no more")
            )
            self._set_state("stopped")
            self._ended.set()
            if self._servers.own is not None:
                self._servers.own.stop()
        elif self._servers.own is not None and state.replicas < replicas(len(nodes)) and self._leader == self._id:
            try:
                self.membership.grow({self._id, *self._room.alive()})
            except (ClusterError, SystemClosed) as error:
                self._sparing.warn("not grown", "%s: the line is kept by %d servers only: %s", self._id, state.replicas, error)

    def _leading(self, state: State) -> str | None:
        """The name of the node that leads; None while the servers don't agree on one."""
        return self._servers.leading(state, self._nodes, {self._id, *self._room.alive()})

    def _lead_is(self, leader: str | None) -> None:
        before, self._leader = self._leader, leader
        if before != leader:
            if self._delivers():
                self._delivery.look()
            self._call_back(self.on_leader_changed, before, leader)

    def _facts(self) -> Facts:
        engine = self.engine
        facts: Facts = {"position": engine.position, "index": engine.machine.reached, "state": self._state}
        if not self._role.writes:
            return facts  # Nobody compares a replica's state with its own, and a replica may say little at once.
        return {
            **facts,
            "safe": self._safe,
            "code": engine.machine.own_code,
            "digests": {str(sequence): value for sequence, value in engine.newest_digests(DIGESTS_SAID)},
        }

    def _heard_from(self, node: str, facts: Facts) -> None:
        if facts.get("state") in ("ready", "catching up"):
            with self._comparing:
                for sequence, value in facts.get("digests", {}).items():
                    self._theirs.setdefault(int(sequence), {})[node] = int(value)

    def _compare(self) -> None:
        """Looks whether the others came to what this node came to; if most did not, it is this node that is wrong."""
        with self._comparing:
            self._look_for_difference()

    def _look_for_difference(self) -> None:
        engine = self.engine
        for sequence in sorted(self._theirs):
            theirs = self._theirs[sequence]
            came = engine.digests.get(sequence)
            if came is None:
                if sequence <= engine.position:
                    self._theirs.pop(sequence, None)
                continue
            mine = came.digest
            nodes = {str(each) for each in self._nodes}
            votes = [value for node, value in theirs.items() if node in nodes]
            wrong = [value for value in votes if value != mine]
            if wrong and (
                max(wrong.count(value) for value in wrong) > len(nodes) // 2
                or not self._role.writes
                or (len(votes) == len(nodes) - 1 and votes.count(mine) == 0 and self._leader != self._id)
            ):
                self._theirs.clear()
                engine.trouble = Diverged(self._difference(sequence, came), came.first)
                return
            if len(votes) >= len(nodes) - 1:
                self._theirs.pop(sequence, None)
        while len(self._theirs) > 5000:
            self._theirs.pop(next(iter(self._theirs)))

    def _difference(self, sequence: int, came: Came) -> str:
        which = (
            f"action {came.first}"
            if came.actions == 1
            else f"one of the actions {came.first} to {came.first + came.actions - 1}"
        )
        return f"{which} (message {sequence} of the line) came to something else here than on the other nodes: a method does what is not the same everywhere, or this machine's memory is not what it was"

    def _delivers(self) -> bool:
        return self._role.writes and self._leader == self._id

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
            self._sparing.warn("no snapshot", "%s: no snapshot was taken: %s", self._id, error)

    # -- what controls ask for

    def _enable_code(self, version: int) -> None:
        if not self._role.writes:
            raise ReadOnlyNode("This is a slave/read-only instance. The code version is set on a node that writes.")
        others = [str(each) for each in self._nodes if str(each) != self._id]
        versions.refuse_if_behind(version, {each: self._room.said(each).get("code") for each in others})
        engine = self.engine
        engine.record(versions.CODE, (version,), engine.machine.methods[versions.CODE])

    def _sync_for(self, asked: list[Facts]) -> list[Facts]:
        """Answers replicas: to which message they must have come to have seen all that was acknowledged."""
        # Each round is a message of the line, for however many who wait.
        while not self._rounds.take():
            if self._ended.wait(self._rounds.wait_s()):
                raise SystemClosed(f"{self._id} is being closed")
        self.engine.sync()
        return [{"sequence": self.engine.position}] * len(asked)

    def _line_for(self, asked: list[Facts]) -> list[Facts]:
        """Answers replicas: what the stream's leader says of it, and whether it has a message."""
        state = self._servers.state(ASK_S) if self._looks.take() else None
        found = []
        for each in asked:
            sequence = each.get("sequence")
            answer: Facts = {"state": state}
            if isinstance(sequence, int) and 0 < sequence < 1 << 63 and state is not None and self._looks.take():
                answer["there"] = self._servers.is_there(sequence, ASK_S)
            unanswered = state is None or sequence is not None and "there" not in answer
            found.append({"error": "too many ask", "retry_s": 0.2} if unanswered else answer)
        return found

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
            raise Unavailable(f"{self._id} has come to message {self.engine.position} of {sequence} within {limit:g} s")

    def status(self) -> dict[str, Any]:
        """See `ClusterControl.status`."""
        engine, state = self.engine, self._line_state
        stalled = self._stalled if self._state == "stalled" else None
        alive = self._room.alive()
        nodes = [str(each) for each in self._nodes]
        there = {self._id, *alive}
        up = sum(each in there for each in nodes)
        found: dict[str, Any] = {
            "self": self._id,
            "state": self._state,
            "role": self._role.kind,
            "leader": self._leader,
            "has_quorum": self._leader is not None and up > len(nodes) // 2,
            "partner_nodes_count": len(nodes) - (self._id in nodes),
            "readonly_nodes_count": sum(bool(facts.get("replica")) for facts in alive.values()),
            "log_len": 0 if state is None else state.last - state.first + 1,
            "log_bytes": 0 if state is None else state.bytes,
            "last_applied": engine.machine.reached,
            "commit_idx": 0 if state is None else state.last,
            "position": engine.position,
            "uptime": int(time.monotonic() - self._opened_at),
            "incarnation": engine.outbox.incarnation,
            "problem": str(engine.failure or stalled or self._unserved or engine.outbox.problem or "") or None,
            "self_code_version": engine.machine.own_code,
            "enabled_code_version": engine.machine.code,
            "server_pid": None if self._servers.own is None else self._servers.own.pid,
            "connected_to": self._servers.url,
            "digest": engine.newest_digests(1),
            **self._proofs(),
        }
        for name in nodes:
            if name != self._id:
                found[f"partner_node_status_server_{name}"] = 2 if name in alive else 0
        return found

    def submit(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        """Sends a call and does not wait."""
        function = methods.functions_of(self._cls).get(name)
        if function is None or methods.kind_of(self._cls, name, function) != "action":
            raise UsageError(f"submit({shown(name)}): {self._cls.__qualname__} has no method of that name that is recorded")
        answer, found = Answered(), Future[Any]()
        found.set_running_or_notify_cancel()  # It was sent, so it can't be cancelled.

        def then(group: Group) -> None:
            if answer.error is not None:
                found.set_exception(answer.error)
            else:
                found.set_result(answer.value)

        method = methods.method_for(name, function, ())
        self.engine.submit([self.engine.encode(method, args, kwargs)], [answer], then)
        return found

    # -- closing

    def abandon(self) -> None:
        if os.getpid() == self._pid:
            self._leave()
        super().abandon()

    def disown(self) -> None:
        self.engine.failure = SystemClosed(f"the system in {self.basedir} belongs to the process that this one was forked from")
        super().disown()

    def close(self) -> None:
        if not self._closed:
            self._set_state("closing")
        super().close()

    def _let_go(self) -> None:
        try:
            if os.getpid() == self._pid:
                self._leave()
        finally:
            super()._let_go()

    def _leave(self) -> None:
        self._ended.set()
        self._founded.set()
        engine = getattr(self, "engine", None)
        if engine is not None and not self._left:
            self._left = True
            engine.outbox.close(SystemClosed(f"the system in {self.basedir} is closed"))
        self._servers.close()


def _sequence_of(state: memoryview) -> int:
    """The message of the line after which a state was so."""
    header, version, size = action.HEAD.unpack_from(state)
    machine = Machine(_Nothing(), 0, header, b"", version, state[action.HEAD.size : action.HEAD.size + size])
    return machine.batches.sequence


def _nothing() -> None:
    pass


class _Nothing:
    """A domain for a machine that is only looked at."""


def _in_pieces(file: Any, data: memoryview) -> None:
    for start in range(0, len(data), FIRST_BYTES):
        file.write(bytes(data[start : start + FIRST_BYTES]))
