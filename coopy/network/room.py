"""What the nodes of a system tell one another outside the line: how it began, who belongs to it, who is alive.

Facts that must outlive everybody lie in a key-value bucket: its keys are written by the nodes only if they are what
the writer has read. That a node is alive is said twice a second, to whoever listens, and kept by nobody. Questions go to
one node of all; replicas may ask, too, see `coopy.network.desk`. All of it is JSON: nothing that comes from another is run.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from coopy.errors import ClusterError, SystemClosed, Unavailable
from coopy.network.connection import Connection
from coopy.network.desk import Answers, Desk
from coopy.network.subjects import Names

if TYPE_CHECKING:
    from nats.aio.msg import Msg

ALIVE_S = 10.0
"""Twenty times as long as a node takes to say so again: one that is only slow is not taken for dead."""
ALIVE_RATE = 4.0
"""Twice as often as a replica says it."""
HEARD_MAX = 1000
"""Replicas choose their own names; an honest system has a handful, and each takes some hundred bytes."""
REQUEST_S = 10.0
"""Twice what servers take to agree on a leader at most."""
ANSWER_S = 5.0
"""Then the question, or its answer, is taken for lost, and asked again."""
NOBODY_S = 5.0
"""A node that answers is known to the server a moment after it has connected; while it is flooded the server says so, too."""
BUSY_S = 0.02
"""Longer than a message takes from one server to the others."""
READS = 5
"""One for each node that may write at the same time."""
Facts = dict[str, Any]


class Room:
    """The facts of a system, the nodes that are alive, and the questions they answer."""

    def __init__(self, connection: Connection, names: Names, node: str, *, writes: bool) -> None:
        self._connection = connection
        self._names = names
        self.node = node
        self._writes = writes
        self._stream = names.facts
        self._heard: dict[str, tuple[float, Facts]] = {}
        self._desk = Desk(connection, names, node) if writes else None
        self.heard: Callable[[str, Facts], None] = lambda node, facts: None
        """Told, in the loop, what a node says of itself."""

    # -- facts

    def get(self, key: str) -> tuple[Facts | None, int]:
        """A fact, and the revision by which it is replaced; 0 if there is none. Raises `Unavailable`."""
        return self._connection.insist(lambda: self._get(key), REQUEST_S)

    async def read(self, key: str) -> Facts | None:
        """A fact, asked for once. In the loop. Raises `nats.errors.Error`, `Unavailable`."""
        return (await self._get(key))[0]

    async def _get(self, key: str) -> tuple[Facts | None, int]:
        found: list[tuple[Facts | None, int]] = []

        def take(headers: Any, data: bytes) -> None:
            removed = "KV-Operation" in headers
            found.append((None if removed else json.loads(data), int(headers["Nats-Sequence"])))

        await self._connection.fetch(self._stream, {"last_by_subj": self._names.fact(key)}, take)
        return found[-1] if found else (None, 0)

    def put(self, key: str, facts: Facts, revision: int) -> bool:
        """Replaces a fact if it has this revision, 0 for none; whether it had. Raises `Unavailable`."""
        return self._connection.run(self._put(key, facts, revision), REQUEST_S)

    async def _put(self, key: str, facts: Facts, revision: int) -> bool:
        from nats.js.errors import APIError

        expected = {"Nats-Expected-Last-Subject-Sequence": str(revision)}
        subject = self._names.fact(key)
        try:
            await self._connection.stream_api.publish(subject, json.dumps(facts).encode(), headers=expected)
        except APIError as error:
            if error.err_code == WRONG_LAST_SEQUENCE:
                return False
            raise Unavailable(f"{key} could not be written: {error.description}") from error
        return True

    # -- who is alive

    def alive(self, within_s: float = ALIVE_S) -> dict[str, Facts]:
        """What each node last said of itself; only those heard of lately."""
        since = time.monotonic() - within_s
        return {node: facts for node, (at, facts) in list(self._heard.items()) if at > since}

    def said(self, node: str) -> Facts:
        """What a node last said of itself, however long ago; nothing if it was not heard since this node entered."""
        return self._heard.get(node, (0.0, {}))[1]

    def say(self, facts: Facts) -> None:
        """Tells everybody how this node is."""
        data = json.dumps({"node": self.node, **facts}).encode()
        subject = self._names.alive if self._writes else self._names.ask("alive")
        self._connection.soon(lambda: self._connection.loop.create_task(self._said(subject, data)))

    async def _said(self, subject: str, data: bytes) -> None:
        from nats.errors import Error

        # It is said again.
        with contextlib.suppress(Error, OSError):
            await self._connection.client.publish(subject, data)

    def enter(self) -> None:
        """Listens to the others from now on."""
        self._connection.run(self._enter(), REQUEST_S)
        if self._desk is not None:
            self._desk.hear("alive", self._replica_said, ALIVE_RATE, 2 * ALIVE_RATE)
            self._desk.open()

    async def _enter(self) -> None:
        await self._connection.client.subscribe(self._names.alive, cb=self._listen)

    async def _listen(self, message: Msg) -> None:
        try:
            facts = json.loads(message.data)
            node = str(facts.pop("node"))
        except (ValueError, KeyError, AttributeError, RecursionError):
            return
        if node != self.node:
            self._heard[node] = (time.monotonic(), facts)
            self.heard(node, facts)

    def _replica_said(self, said: Facts) -> None:
        """What a replica says of itself; it may say anything, so it is looked at and no more."""
        try:
            node = f"replica {str(said['node'])[:100]}"
            kept = {"position": int(said["position"]), "index": int(said["index"]), "replica": True}
        except (ValueError, KeyError, TypeError, OverflowError):
            return
        now = time.monotonic()
        if len(self._heard) >= HEARD_MAX and node not in self._heard:
            for each, (at, facts) in list(self._heard.items()):
                if facts.get("replica") and at < now - ALIVE_S:
                    del self._heard[each]
        if len(self._heard) < HEARD_MAX or node in self._heard:
            self._heard[node] = (now, kept)

    # -- questions

    def answer(self, what: str, answers: Answers, rate: float, burst: float) -> None:
        """Lets one node of those that do so answer a question; see `coopy.network.desk.Desk.answer`."""
        assert self._desk is not None, "a node that only reads answers nothing"
        self._desk.answer(what, answers, rate, burst)

    def close(self) -> None:
        """Answers no more."""
        if self._desk is not None:
            self._desk.close()

    def ask(self, what: str, facts: Facts, timeout_s: float) -> Facts:
        """What one of the nodes answers. Asks again while they are busy. Raises `Unavailable`, `ClusterError`."""
        return self._connection.run(self.asked(what, facts, timeout_s), timeout_s + 1)

    async def asked(self, what: str, facts: Facts, timeout_s: float) -> Facts:
        """The same, in the loop."""
        began = time.monotonic()
        deadline = began + timeout_s
        while True:
            left_s = max(0.1, deadline - time.monotonic())
            try:
                found = await self._asked_once(what, facts, min(left_s, ANSWER_S))
                if "error" not in found:
                    return found
                problem: ClusterError = ClusterError(f"{what}: {found['error']}")
                wait_s = found.get("retry_s")
                if wait_s is None:
                    raise problem
            except Unavailable as error:
                # While others ask more than the nodes take the server says that nobody is there, too.
                problem, wait_s = error, BUSY_S
                if isinstance(error, _Nobody) and time.monotonic() > began + NOBODY_S:
                    raise
            # Not all who were refused at the same time are to come back at the same time.
            wait_s = float(wait_s) * (0.5 + random.random())
            if time.monotonic() + wait_s > deadline:
                raise problem
            await asyncio.sleep(wait_s)

    async def _asked_once(self, what: str, facts: Facts, timeout_s: float) -> Facts:
        from nats.errors import Error, NoRespondersError

        try:
            answer = await self._connection.client.request(self._names.ask(what), json.dumps(facts).encode(), timeout=timeout_s)
        except NoRespondersError as error:
            raise _Nobody(f"no node answers the question for {what}: {error}") from error
        except Error as error:
            raise Unavailable(f"no node answers the question for {what}: {error or type(error).__name__}") from error
        found: Facts = json.loads(answer.data)
        return found


class _Nobody(Unavailable):
    """The server says so."""


class Board(Protocol):
    """Where facts are read and written: a `Room`, or what stands for one."""

    @property
    def node(self) -> str: ...

    def get(self, key: str) -> tuple[Facts | None, int]: ...

    def put(self, key: str, facts: Facts, revision: int) -> bool: ...


class Turn:
    """Whose turn something is: a fact that names a node, and is written anew while that node keeps its turn.

    Another node takes the turn after it has seen the same revision of the fact for ``limit_s``, by its own clock. What two
    machines take for the time is never compared, and may differ by any amount.
    """

    def __init__(self, room: Board, key: str, limit_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._room = room
        self._key = key
        self._limit_s = limit_s
        self._clock = clock
        self._seen = (-1, 0.0)
        """The revision by which another node had its turn, and since when this node has seen that."""

    def take(self) -> bool:
        """Takes the turn, or keeps it. Returns False while it is another node's. Raises `Unavailable`."""
        for _ in range(READS):
            facts, revision = self._room.get(self._key)
            if self._is_anothers(facts, revision):
                return False
            if self._write(time.time(), revision):
                return True
            time.sleep(BUSY_S)  # Another was quicker; or the server that answered is behind, and what it said is old.
        return False

    def is_anothers(self) -> bool:
        """Whether it is another node's turn now. Raises `Unavailable`."""
        return self._is_anothers(*self._room.get(self._key))

    def _is_anothers(self, facts: Facts | None, revision: int) -> bool:
        if facts is None or facts["node"] == self._room.node or not facts["at"]:
            return False
        now = self._clock()
        if self._seen[0] != revision:
            self._seen = revision, now
        return now - self._seen[1] < self._limit_s

    def renew(self) -> bool:
        """Keeps the turn for another ``limit_s``. Returns False if another node has taken it. Raises `Unavailable`."""
        facts, revision = self._room.get(self._key)
        return facts is not None and facts["node"] == self._room.node and self._write(time.time(), revision)

    def give_back(self) -> None:
        """Lets any node take the turn at once, unless one has taken it already. Raises `Unavailable`."""
        facts, revision = self._room.get(self._key)
        if facts is not None and facts["node"] == self._room.node:
            self._write(0, revision)

    def keep(self, ended: threading.Event) -> None:
        """Keeps the turn, in a thread of its own, until ``ended`` or until another node has taken it."""
        threading.Thread(target=self._kept, args=(ended,), name=f"coopy {self._key}", daemon=True).start()

    def _kept(self, ended: threading.Event) -> None:
        while not ended.wait(self._limit_s / 5):
            try:
                if not self.renew():
                    return
            except ClusterError:
                pass  # No majority is there now; another node can't take the turn either.
            except SystemClosed:
                return

    def _write(self, at: float, revision: int) -> bool:
        # The time is for people, and for releases that compared it; 0: the turn is anybody's.
        return self._room.put(self._key, {"node": self._room.node, "at": at}, revision)


WRONG_LAST_SEQUENCE = 10071
"""The server's number of the error that a fact has another revision (JSStreamWrongLastSequenceErrF)."""


async def make(connection: Connection, names: Names, replicas: int) -> None:
    """Makes the bucket, unless it is there. Raises `nats.errors.Error`."""
    from nats.js.api import KeyValueConfig
    from nats.js.errors import NotFoundError

    api = connection.stream_api
    try:
        await api.stream_info(names.facts)
    except NotFoundError:
        await api.create_key_value(KeyValueConfig(bucket=names.bucket, replicas=replicas, direct=True))
