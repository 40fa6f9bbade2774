"""The servers of a cluster in the memory of one process: for tests of nodes, and for the simulation. Servers without a server. It has
more than 500 lines because the twins of five parts (the line, the room, shipped snapshots, members, servers) share one lock and one log.

A `MemoryCluster` has one log of *commands* (a message for the line, a fact, a snapshot), which counts once a majority of the
machines could be reached, and a server on each machine, which has come to some command of it. So it keeps what Raft promises,
and everything that Raft leaves open may happen, if the `Links` between the machines let it:

* what was sent is lost, comes late, comes twice; of what was taken the answer is lost;
* a server is behind, and answers reads with what was;
* one that led was cut off, and still takes itself for the one that leads: it answers for the line as it was, and takes
  messages that come to nothing, or, if another has them, to something later;
* a message comes twice outside of the time in which its name is remembered, and stands in the line twice.

`Links` as they are lose nothing and take no time: then a call has its answer when it returns. `tick` is called a few times a
second by whoever cuts links: it has another server lead, and brings up to date those that are behind.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

from coopy.errors import (
    ClusterError,
    DamagedSnapshot,
    MissingActions,
    OutcomeUnknown,
    SystemClosed,
    Unavailable,
    UsageError,
)
from coopy.ground.line import Message
from coopy.ground.storage import StateWriter, Trial
from coopy.network.address import Address
from coopy.network.desk import Answers, answered
from coopy.network.limits import Sparing
from coopy.network.room import ALIVE_S, NOBODY_S, Facts, Turn
from coopy.network.stream import State
from coopy.network.subjects import Names
from coopy.replication.role import Role
from coopy.replication.servers import OPEN_S

SEND_S = 1.5
"""Of what has no answer by then the outcome is not known."""
REQUEST_S = 5.0
"""Servers agree on a new leader in less. What is asked meanwhile is lost, so it is better asked again."""
RETRY_S = 0.2
"""The servers may be agreeing on a leader."""
DUPLICATES_S = 120.0
"""So long a message's name is remembered."""
ELECTION_S = 0.3, 3.0
"""A leader that is lost is replaced after a time between these."""
LEADERLESS_S = 4.0
"""Who has not heard of a leader for so long knows of none."""
LOST_QUORUM_S = 10.0
"""A leader without a majority takes itself for one for so long."""
MESSAGES_MAX = 500
"""Those of a busy second are received in a few parts, as from the servers."""

Command = tuple[str, Any]
Reply = Callable[[Any], None]


class Links:
    """How messages go from one machine to another. These lose nothing and take no time."""

    at_once = True
    """Whether `later` does everything at once."""

    def copies(self, one: str, other: str) -> Sequence[float]:
        """Returns the seconds after which a message arrives, for each time that it does."""
        return (0.0,)

    def reaches(self, one: str, other: str) -> bool:
        """Returns whether two machines can talk at all now."""
        return True

    def later(self, delay_s: float, function: Callable[[], object]) -> None:
        """Calls a function after a time."""
        function()


class _Store:
    """What a server has of the log of commands: the same for all that have come to the same one."""

    def __init__(self) -> None:
        self.places = self.made = False
        self.first = 1
        self.messages: list[bytes] = []
        self.bytes = 0
        self.names: dict[str, tuple[int, float]] = {}
        self.facts: dict[str, tuple[Facts, int]] = {}
        self.revision = 0
        self.objects: dict[int, bytes] = {}

    @property
    def last(self) -> int:
        return self.first + len(self.messages) - 1

    def apply(self, command: Command) -> Any:
        name, args = command
        return self._KINDS[name](self, *args)

    def _send(self, data: bytes, name: str, at: float) -> Any:
        if not self.made:
            return Unavailable("there is no line yet")
        sequence, since = self.names.get(name, (0, 0.0))
        if not sequence or at - since > DUPLICATES_S:
            self.messages.append(data)
            self.bytes += len(data)
            sequence = self.last
            self.names[name] = sequence, at
        return sequence

    def _put(self, key: str, text: str, revision: int) -> Any:
        if not self.places:
            return Unavailable("there is no place for facts yet")
        if self.facts.get(key, (None, 0))[1] != revision:
            return False
        self.revision += 1
        self.facts[key] = json.loads(text), self.revision
        return True

    def _forget(self, upto: int) -> None:
        upto = min(upto, self.last)
        if upto >= self.first:
            gone = self.messages[: upto + 1 - self.first]
            self.bytes -= sum(map(len, gone))
            del self.messages[: len(gone)]
            self.first = upto + 1

    def _ship(self, index: int, data: bytes) -> None:
        self.objects[index] = data

    def _drop(self, upto: int) -> None:
        for index in [index for index in self.objects if index < upto]:
            del self.objects[index]

    def _forget_names(self) -> None:
        self.names.clear()

    def _make(self) -> None:
        self.places = True

    def _make_line(self, first: int) -> None:
        if not self.made:
            self.made, self.first = True, first

    _KINDS: dict[str, Callable[..., Any]] = {
        "send": _send,
        "put": _put,
        "forget": _forget,
        "ship": _ship,
        "drop": _drop,
        "forget_names": _forget_names,
        "make": _make,
        "make_line": _make_line,
    }


class _Proposal(NamedTuple):
    node: str
    command: Command
    reply: Reply


class _Server:
    """The server of one machine. It keeps what it has whatever happens to the machine."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.up = False
        self.store = _Store()
        self.applied = 0
        self.term = 0
        self.leader: str | None = None
        """Who leads, as far as it knows."""
        self.heard_at = 0.0
        self.alone_since: float | None = None
        """While it takes itself for the one that leads, and has no majority."""
        self.tail: list[_Proposal] = []
        """What it was given to put into the log, and has no majority for yet."""


class MemoryCluster:
    """The servers of all machines. Guarded by ``lock``, like all that hangs on it."""

    def __init__(self, nodes: Sequence[str], links: Links | None = None, chance: random.Random | None = None) -> None:
        self.nodes = list(nodes)
        self.links = links or Links()
        self.chance = chance or random.Random(0)
        self.lock = threading.RLock()
        self.log: list[Command] = []
        self.servers = {name: _Server(name) for name in nodes}
        self.rooms: dict[str, MemoryRoom] = {}
        self.lines: dict[str, MemoryEnd] = {}
        self.leader: str | None = None
        self.term = 0
        self.forgets = 0.0
        """How often a new leader has forgotten the name of a message."""
        self._until: float | None = None
        """When another is to lead, while none does."""

    def of(self, role: Role, names: Names, directory: str) -> MemoryServers:
        """One node's way to the servers: for `ReplicatedSystem(servers=)`."""
        return MemoryServers(self, role)

    # -- who can be reached

    def reaches(self, one: str, other: str) -> bool:
        return self.servers[other].up and (one == other or self.links.reaches(one, other))

    def has_majority(self, name: str) -> bool:
        there = sum(self.reaches(name, each) and self.reaches(each, name) for each in self.nodes)
        return self.servers[name].up and 2 * there > len(self.nodes)

    def server_of(self, node: str) -> _Server | None:
        """The server that a node is connected to: its own, or one of the others."""
        for name in [node, *self.nodes]:
            if name in self.servers and self.servers[name].up and (name == node or self.links.reaches(node, name)):
                return self.servers[name]
        return None

    def start(self, name: str) -> None:
        """The server of a machine runs from now on."""
        with self.lock:
            server = self.servers[name]
            if server.up:
                return
            server.up, server.heard_at = True, time.monotonic()
            server.leader = None
            self._elect_at_once()

    def stop(self, name: str) -> None:
        with self.lock:
            self.servers[name].up = False
            self.servers[name].tail.clear()
            self._elect_at_once()

    def _elect_at_once(self) -> None:
        """Has a server lead if none does, where all is done at once; elsewhere `tick` does that, after a while."""
        if self.links.at_once and self._is_led():
            self.lead()
        elif self.links.at_once:
            can = [name for name in self.nodes if self.has_majority(name)]
            if can:
                self.elect(can[0])

    def _is_led(self) -> bool:
        name = self.leader
        return name is not None and self.has_majority(name) and self.servers[name].leader == name

    # -- the log of commands

    def propose(self, node: str, command: Command, reply: Reply) -> bool:
        """Has a command put into the log. Returns whether it was sent to anybody; the reply may never come."""
        server = self.server_of(node)
        if server is None or server.leader is None:
            return False
        leader, proposal = server.leader, _Proposal(node, command, reply)
        if self.can_go(node, leader):
            for delay_s in self.links.copies(node, leader):
                self.links.later(delay_s, lambda: self._arrived(leader, proposal))
        return True

    def can_go(self, one: str, other: str) -> bool:
        return one == other or self.links.reaches(one, other)

    def _arrived(self, name: str, proposal: _Proposal) -> None:
        server = self.servers[name]
        if not server.up or server.leader != name:
            return  # It was one that led.
        server.tail.append(proposal)
        term = self.term
        # As long as the way to another and back.
        for delay_s in self.links.copies(name, name):
            self.links.later(2 * delay_s, lambda: self._commit(name, term))

    def _commit(self, name: str, term: int) -> None:
        """Puts into the log what a server was given, if it leads and has a majority."""
        server = self.servers[name]
        if self.leader != name or self.term != term or not self.has_majority(name):
            return
        tail, server.tail = server.tail, []
        for node, command, reply in tail:
            result = self._add(server, command)
            if self.can_go(name, node):
                for delay_s in self.links.copies(name, node):
                    self.links.later(delay_s, lambda reply=reply, result=result: reply(result))  # type: ignore[misc]
        if tail:
            self._publish(server)

    def _add(self, server: _Server, command: Command) -> Any:
        assert server.applied == len(self.log), "who leads has the whole log"
        if command[0] == "send":
            command = "send", (*command[1], time.monotonic())
        self.log.append(command)
        server.applied += 1
        found = server.store.apply(command)
        self._tell(server.name)
        return found

    def _publish(self, server: _Server) -> None:
        upto = len(self.log)
        for name in self.nodes:
            if name != server.name and self.reaches(server.name, name):
                for delay_s in self.links.copies(server.name, name):
                    self.links.later(delay_s, lambda name=name: self._learn(name, upto))  # type: ignore[misc]

    def _learn(self, name: str, upto: int) -> None:
        server = self.servers[name]
        if not server.up or server.applied >= upto:
            return
        for command in self.log[server.applied : upto]:
            server.store.apply(command)
        server.applied = upto
        self._tell(name)

    def _tell(self, name: str) -> None:
        """Wakes the nodes that are connected to a server: it has something new."""
        for node, line in self.lines.items():
            if (node == name or not self.servers[node].up) and not line.closed:
                line.changed.notify_all()

    # -- who leads

    def elect(self, name: str) -> None:
        """Has a server lead that has a majority."""
        with self.lock:
            self.term += 1
            before, self.leader, self._until = self.leader, name, None
            server = self.servers[name]
            self._learn(name, len(self.log))
            server.leader, server.term, server.alone_since = name, self.term, None
            if before is not None and before != name:
                # What the one before had passed on counts; who sent it is told nothing.
                tail = self.servers[before].tail
                for proposal in tail[: self.chance.randint(0, len(tail))]:
                    self._add(server, proposal.command)
            if self.chance.random() < self.forgets:
                self.log.append(("forget_names", ()))
                server.applied += 1
                server.store.apply(self.log[-1])
            self.lead()

    def lead(self) -> None:
        """Has who leads tell the others so, and what they lack."""
        name = self.leader
        assert name is not None, "somebody leads"
        term = self.term
        for other in self.nodes:
            if other == name:
                self._heard(other, term, name)
            elif self.reaches(name, other):
                for delay_s in self.links.copies(name, other):
                    self.links.later(delay_s, lambda other=other: self._heard(other, term, name))  # type: ignore[misc]
        self._publish(self.servers[name])

    def _heard(self, name: str, term: int, leader: str) -> None:
        server = self.servers[name]
        if not server.up or term < server.term:
            return
        is_new = server.leader != leader
        server.term, server.leader, server.heard_at = term, leader, time.monotonic()
        if leader != name:
            server.tail.clear()
            server.alone_since = None
        if is_new:
            for node, line in self.lines.items():
                if self.server_of(node) is server:
                    line.hears_of_another()

    def tick(self) -> None:
        """Looks who leads. To be called a few times a second where links may be cut."""
        with self.lock:
            now = time.monotonic()
            if self.leader is not None and self._is_led():
                self._until = None
                self.lead()
                if self.servers[self.leader].tail:
                    self._commit(self.leader, self.term)
            elif self._until is None:
                self._until = now + self.chance.uniform(*ELECTION_S)
            elif now >= self._until:
                can = [name for name in self.nodes if self.has_majority(name)]
                if can:
                    self.elect(self.chance.choice(can))
            for server in self.servers.values():
                self._look_at(server, now)

    def _look_at(self, server: _Server, now: float) -> None:
        """Has a server forget a leader that is not heard any more, were it itself."""
        if server.leader == server.name:
            if self.has_majority(server.name):
                server.alone_since = None
            elif server.alone_since is None:
                server.alone_since = now
            elif now - server.alone_since > LOST_QUORUM_S:
                server.leader = None
        elif now - server.heard_at > LEADERLESS_S:
            server.leader = None


class MemoryEnd:
    """A node's end of the line. A `coopy.ground.line.Line`; answers are given while somebody receives."""

    def __init__(self, cluster: MemoryCluster, node: str) -> None:
        self._cluster = cluster
        self._node = node
        self.changed = threading.Condition(cluster.lock)
        self.closed = False
        self._next = 1
        self._newest = 0
        self._unanswered: dict[int, tuple[Future[int], float]] = {}
        self._token = 0
        self._answers: list[tuple[Future[int], Any]] = []
        cluster.lines[node] = self

    def send(self, data: bytes, name: str) -> Future[int]:
        sent: Future[int] = Future()
        with self._cluster.lock:
            problem: BaseException | None = None
            if self.closed:
                problem = SystemClosed("the line is closed")
            else:
                self._token += 1
                token = self._token
                self._unanswered[token] = sent, time.monotonic() + SEND_S
                if not self._cluster.propose(self._node, ("send", (data, name)), lambda found: self._answered(token, found)):
                    del self._unanswered[token]
                    problem = Unavailable("no majority takes messages now")
        if problem is not None:
            sent.set_exception(problem)
        return sent

    def _answered(self, token: int, found: Any) -> None:
        sent, _ = self._unanswered.pop(token, (None, 0.0))
        if sent is not None:
            self._answers.append((sent, found))
            self.changed.notify_all()
        if isinstance(found, int):
            self._newest = max(self._newest, found)

    def hears_of_another(self) -> None:
        """Another server leads: the one that led may have taken messages with it."""
        self._no_answers(float("inf"), "another server leads the line now")

    def _no_answers(self, until: float, why: str) -> None:
        for token in [token for token, (_, deadline) in self._unanswered.items() if deadline <= until]:
            self._answers.append((self._unanswered.pop(token)[0], OutcomeUnknown(why)))
            self.changed.notify_all()

    def last(self) -> int:
        server = self._cluster.server_of(self._node)
        return max(self._newest, server.store.last if server is not None and server.store.made else 0)

    def follow(self, after: int) -> None:
        with self._cluster.lock:
            self._next = after + 1

    def receive(self, timeout_s: float) -> list[Message]:
        deadline = time.monotonic() + timeout_s
        with self._cluster.lock:
            while True:
                now = time.monotonic()
                self._no_answers(now, f"no acknowledgement within {SEND_S:g} s")
                found, problem = self._messages()
                if found or problem or self._answers or now >= deadline:
                    break
                until = min([deadline, *(due for _, due in list(self._unanswered.values())[:1])])
                self.changed.wait(max(0.0, until - now))
            answers, self._answers = self._answers, []
        for sent, answer in answers:
            if isinstance(answer, BaseException):
                sent.set_exception(answer)
            else:
                sent.set_result(answer)
        if problem is not None:
            raise problem
        return found

    def _messages(self) -> tuple[list[Message], BaseException | None]:
        if self.closed:
            return [], SystemClosed("the line is closed")
        server = self._cluster.server_of(self._node)
        if server is None or not server.store.made:
            return [], None
        store = server.store
        if self._next < store.first:
            return [], MissingActions("memory", self._next, store.first - 1, "The other nodes have forgotten them.")
        start = self._next - store.first
        found = list(enumerate(store.messages[start : start + MESSAGES_MAX], self._next))
        self._next += len(found)
        return found, None

    def forget(self, upto: int) -> None:
        _ask(self._cluster, self._node, ("forget", (upto,)), REQUEST_S)

    def close(self) -> None:
        with self._cluster.lock:
            self.closed = True
            self._no_answers(float("inf"), "the connection was closed before the acknowledgement came")
            answers, self._answers = self._answers, []
            self.changed.notify_all()
        for sent, answer in answers:
            if isinstance(answer, BaseException):
                sent.set_exception(answer)
            else:
                sent.set_result(answer)


def _ask(cluster: MemoryCluster, node: str, command: Command, timeout_s: float) -> Any:
    """Has a command put into the log, and waits. Returns what it came to. Raises `Unavailable`: then that is not known."""
    answers: list[Any] = []
    answered = threading.Condition(cluster.lock)

    def reply(found: Any) -> None:
        answers.append(found)
        answered.notify_all()

    with cluster.lock:
        if not cluster.propose(node, command, reply):
            raise Unavailable("no server leads")
        if not answered.wait_for(lambda: answers, timeout_s):
            raise Unavailable(f"no answer within {timeout_s:g} s")
    if isinstance(answers[0], BaseException):
        raise answers[0]
    return answers[0]


class MemoryRoom:
    """A node's end of the room. A `coopy.replication.servers.Room`."""

    def __init__(self, cluster: MemoryCluster, node: str) -> None:
        self.node = node
        self.heard: Callable[[str, Facts], None] = lambda node, facts: None
        self._cluster = cluster
        self._heard: dict[str, tuple[float, Facts]] = {}
        self.kinds: dict[str, Answers] = {}
        self._signs: list[tuple[str, Facts]] = []
        self._questions: list[tuple[str, Facts, Reply]] = []
        self._came = threading.Condition(cluster.lock)
        self._asked = threading.Condition(cluster.lock)
        self.entered = self.closed = False

    def get(self, key: str) -> tuple[Facts | None, int]:
        with self._cluster.lock:
            server = self._cluster.server_of(self.node)
            if server is None:
                raise Unavailable("no server can be reached")
            if key not in server.store.facts:
                return None, 0
            facts, revision = server.store.facts[key]
            return dict(facts), revision

    def put(self, key: str, facts: Facts, revision: int) -> bool:
        return bool(_ask(self._cluster, self.node, ("put", (key, json.dumps(facts), revision)), REQUEST_S))

    def alive(self, within_s: float = ALIVE_S) -> dict[str, Facts]:
        since = time.monotonic() - within_s
        return {node: facts for node, (at, facts) in list(self._heard.items()) if at > since}

    def said(self, node: str) -> Facts:
        return self._heard.get(node, (0.0, {}))[1]

    def say(self, facts: Facts) -> None:
        said: Facts = json.loads(json.dumps(facts))
        with self._cluster.lock:
            for other, room in list(self._cluster.rooms.items()):
                if other != self.node and self._cluster.can_go(self.node, other):
                    for delay_s in self._cluster.links.copies(self.node, other):
                        self._cluster.links.later(delay_s, lambda room=room: room.hears(self.node, said))  # type: ignore[misc]

    def hears(self, node: str, facts: Facts) -> None:
        if self.entered and not self.closed:
            self._signs.append((node, facts))
            self._came.notify_all()

    def enter(self) -> None:
        with self._cluster.lock:
            self._cluster.rooms[self.node] = self
            self.entered = True
        for work in (self._listen, self._serve):
            threading.Thread(target=work, name=f"coopy room {self.node}", daemon=True).start()

    def _listen(self) -> None:
        while True:
            with self._cluster.lock:
                self._came.wait_for(lambda: self._signs or self.closed)
                if self.closed:
                    return
                signs, self._signs = self._signs, []
            for node, facts in signs:
                self._heard[node] = time.monotonic(), facts
                self.heard(node, facts)

    def _serve(self) -> None:
        while True:
            with self._cluster.lock:
                self._asked.wait_for(lambda: self._questions or self.closed)
                if self.closed:
                    return
                what, facts, reply = self._questions.pop(0)
            found = answered(self.kinds[what], [facts], lambda error: None)
            said = json.loads(json.dumps(found[0]))
            with self._cluster.lock:
                reply(said)

    def answer(self, what: str, answers: Answers, rate: float, burst: float) -> None:
        self.kinds[what] = answers

    def ask(self, what: str, facts: Facts, timeout_s: float) -> Facts:
        began = time.monotonic()
        deadline = began + timeout_s
        while True:
            problem: ClusterError
            try:
                found = self._ask_once(what, facts, min(max(0.1, deadline - time.monotonic()), REQUEST_S))
                if "error" not in found:
                    return found
                problem = ClusterError(f"{what}: {found['error']}")
                wait_s = found.get("retry_s")
                if wait_s is None:
                    raise problem
            except Unavailable as error:
                problem, wait_s = error, RETRY_S
                if not self._cluster.rooms and time.monotonic() > began + NOBODY_S:
                    raise
            if time.monotonic() + wait_s > deadline:
                raise problem
            time.sleep(wait_s)

    def _ask_once(self, what: str, facts: Facts, timeout_s: float) -> Facts:
        cluster, answers = self._cluster, list[Facts]()
        answered = threading.Condition(cluster.lock)
        with cluster.lock:
            there = [
                room
                for room in cluster.rooms.values()
                if what in room.kinds and not room.closed and cluster.can_go(self.node, room.node)
            ]
            if not there:
                raise Unavailable(f"no node answers the question for {what}")
            one = cluster.chance.choice(there)

            def back(found: Facts) -> None:
                answers.append(found)
                answered.notify_all()

            def reply(found: Facts) -> None:
                if cluster.can_go(one.node, self.node):
                    for delay_s in cluster.links.copies(one.node, self.node):
                        cluster.links.later(delay_s, lambda: back(found))

            def arrive() -> None:
                if not one.closed:
                    one._questions.append((what, facts, reply))
                    one._asked.notify_all()

            for delay_s in cluster.links.copies(self.node, one.node):
                cluster.links.later(delay_s, arrive)
            if not answered.wait_for(lambda: answers, timeout_s):
                raise Unavailable(f"no node answers the question for {what} within {timeout_s:g} s")
        return answers[0]

    def close(self) -> None:
        with self._cluster.lock:
            self.closed = True
            if self._cluster.rooms.get(self.node) is self:
                del self._cluster.rooms[self.node]
            self._came.notify_all()
            self._asked.notify_all()


class _Bytes:
    """A `coopy.ground.storage.StateWriter`."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes, /) -> object:
        self.data += data
        return None

    def restart(self) -> None:
        self.data.clear()


class MemoryShipped:
    """The snapshots that nodes give each other. A `coopy.replication.servers.Shipped`."""

    def __init__(self, cluster: MemoryCluster, node: str) -> None:
        self._cluster = cluster
        self._node = node
        self.progress: Callable[[int, int], None] | None = None

    def _objects(self) -> dict[int, bytes]:
        with self._cluster.lock:
            server = self._cluster.server_of(self._node)
            if server is None:
                raise Unavailable("no server can be reached")
            return dict(server.store.objects)

    def write(self, index: int, save: Callable[[StateWriter], None], tries: Trial | None = None) -> None:
        file = _Bytes()
        save(file)
        _ask(self._cluster, self._node, ("ship", (index, bytes(file.data))), REQUEST_S)

    def indexes(self) -> list[int]:
        return sorted(self._objects())

    def loaded(self, index: int) -> None:
        pass

    @property
    def newest_loaded(self) -> int:
        return max(self.indexes(), default=-1)

    def latest(self, upto: int | None = None) -> tuple[int, memoryview] | None:
        objects = self._objects()
        found = max((index for index in objects if upto is None or index <= upto), default=None)
        if found is None:
            return None
        if self.progress is not None:
            self.progress(len(objects[found]), len(objects[found]))
        return found, memoryview(objects[found])

    def head(self, index: int, size: int) -> bytes:
        data = self._objects()[index]
        if len(data) < size:
            raise DamagedSnapshot("memory", index, "it is too short")
        return data[:size]

    def forget(self, upto: int) -> None:
        _ask(self._cluster, self._node, ("drop", (upto,)), REQUEST_S)


class MemoryMembers:
    """Who belongs to the cluster. It can't be changed. A `coopy.replication.servers.Members`."""

    def __init__(self, cluster: MemoryCluster, room: MemoryRoom) -> None:
        self._cluster = cluster
        self._room = room

    def nodes(self) -> list[str]:
        return list((self._room.get("members")[0] or {"nodes": []})["nodes"])

    def add(self, node: str) -> list[str]:
        raise UsageError(f"{node}: the members of a cluster in memory are those it was made with")

    remove = add

    def health(self) -> list[dict[str, Any]]:
        with self._cluster.lock:
            ahead = len(self._cluster.log)
            peers = [
                {"node": each.name, "current": each.applied == ahead, "offline": not each.up, "lag": ahead - each.applied}
                for each in self._cluster.servers.values()
                if each.name != self._cluster.leader
            ]
            return [{"stream": "memory", "leader": self._cluster.leader, "replicas": len(self._cluster.nodes), "peers": peers}]

    def transfer(self, node: str | None = None) -> None:
        with self._cluster.lock:
            can = [each for each in self._cluster.nodes if each != self._cluster.leader and self._cluster.has_majority(each)]
            can = [each for each in can if node in (None, each)]
            if not can:
                raise ClusterError("no other server can lead")
            self._cluster.elect(self._cluster.chance.choice(can))

    def step_down(self) -> None:
        self.transfer()

    def grow(self, there: set[str]) -> None:
        pass


class MemoryServers:
    """One node's way to the servers. A `coopy.replication.servers.Servers`."""

    def __init__(self, cluster: MemoryCluster, role: Role) -> None:
        self._cluster = cluster
        self._role = role
        self._node = role.id
        self._closed = False
        self.sparing = Sparing()
        self.clock = MemoryClock()
        self.room = MemoryRoom(cluster, self._node)
        self.line = MemoryEnd(cluster, self._node)
        self.shipped = MemoryShipped(cluster, self._node)
        self.members = MemoryMembers(cluster, self.room)
        self.own = OwnMemoryServer(cluster, self._node) if self._node in cluster.servers else None

    def open(self) -> tuple[Address, ...]:
        if self.own is not None:
            self.own.restart()
        return self._role.nodes

    def remember(self, nodes: Sequence[Address]) -> None:
        pass  # They are always those that the cluster was made with.

    def make(self, replicas: int) -> None:
        _ask(self._cluster, self._node, ("make", ()), REQUEST_S)

    def make_line(self, replicas: int, first: int) -> None:
        deadline = time.monotonic() + OPEN_S
        while True:
            try:
                _ask(self._cluster, self._node, ("make_line", (first,)), REQUEST_S)
                return
            except Unavailable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(RETRY_S)

    def elections(self) -> dict[str, Any]:
        return {}  # Another server leads at once.

    def state(self, timeout_s: float) -> State:
        found: State = self._of_leader(timeout_s, self._state)
        return found

    def _state(self, server: _Server) -> State | None:
        cluster, store = self._cluster, server.store
        if not store.made:
            return None
        peers = tuple(
            (each.name, each.applied >= server.applied, not each.up, max(0, server.applied - each.applied))
            for each in cluster.servers.values()
            if each is not server
        )
        return State(store.first, store.last, store.bytes, len(cluster.nodes), server.name, peers)

    def is_there(self, sequence: int, timeout_s: float) -> bool:
        found = self._of_leader(timeout_s, lambda server: (server.store.first <= sequence <= server.store.last,))
        return bool(found[0])

    def _of_leader(self, timeout_s: float, look: Callable[[_Server], Any]) -> Any:
        """What the one says that leads, or takes itself for it. Raises `Unavailable`."""
        cluster, answers = self._cluster, list[Any]()
        answered = threading.Condition(cluster.lock)
        with cluster.lock:
            if self._closed:
                raise SystemClosed("the connection is closed")
            server = cluster.server_of(self._node)
            if server is None or server.leader is None:
                raise Unavailable("no server leads")
            leader = cluster.servers[server.leader]

            def answer(found: Any) -> None:
                answers.append(found)
                answered.notify_all()

            def arrive() -> None:
                if leader.up and leader.leader == leader.name and cluster.can_go(leader.name, self._node):
                    found = look(leader)
                    for delay_s in cluster.links.copies(leader.name, self._node):
                        cluster.links.later(delay_s, lambda: answer(found))

            if cluster.can_go(self._node, leader.name):
                for delay_s in cluster.links.copies(self._node, leader.name):
                    cluster.links.later(delay_s, arrive)
            if not answered.wait_for(lambda: answers, timeout_s):
                raise Unavailable(f"no answer within {timeout_s:g} s")
        if answers[0] is None:
            raise Unavailable("there is no line yet")
        return answers[0]

    def turn(self, key: str, limit_s: float) -> Turn:
        return Turn(self.room, key, limit_s)

    def leading(self, state: State, nodes: Sequence[Address], there: Iterable[str]) -> str | None:
        return state.leader

    @property
    def url(self) -> str | None:
        server = self._cluster.server_of(self._node)
        return None if server is None else f"memory://{server.name}"

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.room.close()
            self.line.close()
            if self.own is not None:
                self.own.stop()
                self.own = None


class OwnMemoryServer:
    """The server of a node's machine. A `coopy.replication.servers.OwnServer`."""

    pid = None

    def __init__(self, cluster: MemoryCluster, node: str) -> None:
        self._cluster = cluster
        self._node = node

    @property
    def running(self) -> bool:
        return self._cluster.servers[self._node].up

    def restart(self) -> None:
        self._cluster.start(self._node)

    def stop(self) -> None:
        self._cluster.stop(self._node)


class MemoryClock:
    """The time of this machine. A `coopy.replication.servers.Clock`."""

    def now(self) -> float:
        return time.monotonic()

    def wait(self, ended: threading.Event, seconds: float) -> bool:
        return ended.wait(seconds)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def start(self, function: Callable[[], None], name: str) -> None:
        threading.Thread(target=function, name=name, daemon=True).start()
