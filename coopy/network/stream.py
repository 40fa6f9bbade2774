"""A line kept by the servers: a JetStream stream, each message of which a majority has synced. A `coopy.ground.line.Line`.

The stream's leader publishes each message again, on the subject ``out``, once it stands in the
stream. Nodes listen there: that takes no consumer, and so none that could stand still. What
is published so may be lost, or come twice or late; but each says its sequence. Whatever is
missing is asked for by sequence, many at once, and once a second each node asks for what comes
next whether or not it misses anything: a node falls behind by a second at most, whatever was lost.

Facts of the server that this stands on: a publication of a stream with ``republish`` carries the
headers Nats-Sequence and Nats-Last-Sequence (docs.nats.io, "Subject mapping and republish");
``$JS.API.DIRECT.GET.<stream>`` answers ``{"seq", "batch", "max_bytes"}`` with the messages from
that sequence on and then status 204, or with 404 if there is none (ADR-31).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from itertools import islice
from typing import Any, NamedTuple

from coopy.errors import ClusterError, DamagedLine, MissingActions, OutcomeUnknown, SystemClosed, Unavailable, copy_of
from coopy.ground.line import DUPLICATES_S, Message
from coopy.network.connection import RECONNECT_S, Connection
from coopy.network.subjects import Names
from coopy.network.wire import Bell, Delivered, Wire, header, status

POLL_S = 1.0
"""A node falls behind by a second at most, whatever was lost; and each question costs the server next to nothing."""
ANSWER_S = 3.0
"""Closing and following wait for no more than a few of these."""
SEND_S = 1.5
"""Then it is sent again: to a leader that is gone it was sent to nobody."""
FETCH_MESSAGES = 500
"""Those of a busy second are fetched in a few questions; an answer is taken before the next question."""
FETCH_BYTES = 8 * 1024 * 1024
"""An answer of that size takes less than a second on a slow network of 100 Mbit/s."""
HELD_BYTES_MAX = 64 * 1024 * 1024
"""So much may wait to be received; what comes beyond is asked for later."""
MESSAGE_BYTES_MAX = 8 * 1024 * 1024 - 4096
"""What the servers take in one message, less what their headers and names need."""
HEADERS = b"NATS/1.0\r\nNats-Msg-Id: %s\r\nNats-Expected-Stream: %s\r\n\r\n"
_OUT, _ANSWERS = 1, 2
"""Numbers of the subscriptions: to what is published again, and to answers. What has another number is news of who leads."""


Asks = Callable[[str, dict[str, Any], float], Coroutine[Any, Any, dict[str, Any]]]


class Stream:
    """A node's end of the stream. To be used after the stream was made; what was sent is answered while `receive` runs.

    ``asks``: answers what only the stream's leader knows, for a replica, which may not ask that one. As `coopy.network.room.Room.asked`.
    """

    def __init__(self, connection: Connection, names: Names, *, writes: bool = True, asks: Asks | None = None) -> None:
        self._connection = connection
        self._names = names
        self._writes = writes
        self._asks = asks
        self._lock = threading.Lock()
        self._arrived: deque[Message] = deque()
        self._arrived_bytes = 0
        self._next = 1
        self._newest = 0
        self._early: dict[int, bytes] = {}
        self._early_bytes = 0
        self._filling: asyncio.Task[None] | None = None
        self._problem: ClusterError | MissingActions | SystemClosed | None = None
        self._poller: asyncio.Task[None] | None = None
        self._bell = Bell()
        self._wire: Wire | None = None
        self._tried_at = float("-inf")
        self._away: OSError | None = None
        """Why there was no connection when one was tried last."""
        self._reading = threading.Lock()
        self._inbox = b"%s.%s" % (connection.inbox.encode(), secrets.token_hex(8).encode())
        self._token = 0
        self._unanswered: dict[bytes, tuple[Future[int], float]] = {}
        """By token, in order, what was sent, and when that is too long ago."""

    # -- sending

    def send(self, data: bytes, name: str) -> Future[int]:
        sent: Future[int] = Future()
        found: BaseException | None = None
        with self._lock:
            if isinstance(self._problem, SystemClosed):
                found = SystemClosed("the line is closed")
            elif self._wire is None:
                found = Unavailable(f"there is no connection to a server ({self._away or 'yet'})")
            else:
                self._token += 1
                token = b"%d" % self._token
                self._unanswered[token] = sent, time.monotonic() + SEND_S
                headers = HEADERS % (name.encode(), self._names.stream.encode())
                # Who reads finds out, too, and says so to all that were not answered.
                with contextlib.suppress(OSError):
                    self._wire.publish(self._names.line.encode(), b"%s.%s" % (self._inbox, token), headers, data)
        if found is not None:
            sent.set_exception(found)
        return sent

    def _answered(self, message: Delivered) -> None:
        sent, _ = self._unanswered.pop(message.subject.rpartition(b".")[2], (None, 0.0))
        if sent is None:
            return
        if status(message.headers) == b"503":
            sent.set_exception(Unavailable("no majority takes messages now"))
            return
        try:
            said = json.loads(message.data)
            if "error" in said:
                about = said["error"]
                why = f"the server refused a message: {about['description']} ({about.get('err_code')})"
                # It refuses what is wrong with the message before others hear of it. What goes wrong in the server may come after.
                sent.set_exception(Unavailable(why) if 400 <= int(about["code"]) < 500 else OutcomeUnknown(why))
                return
            sequence = int(said["seq"])
        except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError):
            sent.set_exception(OutcomeUnknown(f"what the server said of a message can't be read: {message.data[:80]!r}"))
            return
        with self._lock:
            self._newest = max(self._newest, sequence)
        sent.set_result(sequence)

    def _no_answers(self, until: float, why: str) -> None:
        """Says so of what was sent and not answered, and had time until then."""
        with self._lock:
            tokens = [token for token, (_, deadline) in self._unanswered.items() if deadline <= until]
            left = [self._unanswered.pop(token)[0] for token in tokens]
        for sent in left:
            sent.set_exception(OutcomeUnknown(why))

    # -- receiving

    def last(self) -> int:
        return self._newest

    def follow(self, after: int) -> None:
        self._connection.run(self._follow(after), 2 * ANSWER_S)

    async def _follow(self, after: int) -> None:
        with self._lock:
            self._arrived.clear()
            self._arrived_bytes = 0
            if isinstance(self._problem, (MissingActions, DamagedLine)):
                self._problem = None
            self._early.clear()
            self._early_bytes = 0
            self._next = after + 1
        if self._poller is None:
            self._poller = self._connection.loop.create_task(self._poll())
        self._fill()

    def receive(self, timeout_s: float) -> list[Message]:
        with self._reading:
            if not isinstance(self._problem, SystemClosed):
                self._read(0.0 if self._arrived or self._problem is not None else timeout_s)
        with self._lock:
            found = list(self._arrived)
            self._arrived.clear()
            self._arrived_bytes = 0
            if self._problem is not None and (not found or isinstance(self._problem, SystemClosed)):
                raise copy_of(self._problem)
        return found

    def _read(self, timeout_s: float) -> None:
        wire = self._wire or self._connect()
        if wire is None:
            self._bell.wait(min(timeout_s, RECONNECT_S))
            return
        try:
            wire.wait(timeout_s)
            delivered = wire.read()
        except OSError as error:
            self._lost(wire, error)
            return
        elected = False
        for message in delivered:
            if message.subscription == _OUT:
                self._published(message)
            elif message.subscription == _ANSWERS:
                self._answered(message)
            else:
                elected = True
        if elected:
            # The one that led may have taken messages with it, and says nothing. What it passed on is known by its name.
            self._no_answers(float("inf"), "another server leads the line now")
        now = time.monotonic()
        # Until all that came was read, the answer may be among it: it is this end that was busy.
        if self._is_overdue(now) and not wire.has_more():
            self._no_answers(now, f"no acknowledgement within {SEND_S:g} s")

    def _is_overdue(self, now: float) -> bool:
        with self._lock:
            return any(deadline <= now for _, deadline in islice(self._unanswered.values(), 1))

    def _connect(self) -> Wire | None:
        now = time.monotonic()
        if now < self._tried_at + RECONNECT_S:
            return None
        self._tried_at = now
        # A replica's account hears of messages alone.
        news = [self._names.elected.encode()] if self._writes else []
        try:
            wire = self._connection.wire([self._names.out.encode(), self._inbox + b".*", *news], self._bell)
        except OSError as error:
            self._away = error
            return None
        with self._lock:
            self._wire = wire
        self._connection.soon(self._fill)  # For what was said before.
        return wire

    def _lost(self, wire: Wire, error: OSError) -> None:
        with self._lock:
            self._wire, self._away = None, error
        wire.close()
        self._connection.sparing.warn(
            "line lost", "%s: the connection to the server is lost (%s); trying again", self._names.stream, error
        )
        self._no_answers(float("inf"), f"the connection was lost before the acknowledgement came ({error})")

    def _published(self, message: Delivered) -> None:
        sequence = header(message.headers, b"Nats-Sequence") or b""
        if sequence.isdigit() and len(sequence) < 20:
            self._take(int(sequence), message.data)

    def _take(self, sequence: int, data: bytes) -> None:
        with self._lock:
            self._newest = max(self._newest, sequence)
            if sequence < self._next or self._arrived_bytes > HELD_BYTES_MAX:
                return  # What there is no room for is asked for when there is.
            if sequence > self._next:
                if self._early_bytes < HELD_BYTES_MAX and sequence not in self._early:
                    self._early_bytes += len(data)
                    self._early[sequence] = data
            else:
                self._arrive(sequence, data)
                return
        self._connection.soon(self._fill)

    def _arrive(self, sequence: int, data: bytes | None) -> None:
        """With the lock held: the next message, and those behind it that came before it."""
        while data is not None:
            self._arrived.append((sequence, data))
            self._arrived_bytes += len(data)
            sequence += 1
            data = self._early.pop(sequence, None)
            if data is not None:
                self._early_bytes -= len(data)
        self._next = sequence

    # -- what was missed

    def _fill(self) -> None:
        if self._filling is None or self._filling.done():
            self._filling = self._connection.loop.create_task(self._filled())

    async def _poll(self) -> None:
        while self._problem is None or not isinstance(self._problem, SystemClosed):
            before = self._next
            await asyncio.sleep(POLL_S)
            if self._next == before and self._problem is None:
                self._fill()

    async def _filled(self) -> None:
        """Asks for what comes next until there is no more."""
        from nats.errors import Error

        try:
            while self._problem is None and self._arrived_bytes <= HELD_BYTES_MAX:
                before = self._next
                await self._fetch(before)
                if self._next == before:
                    return
        except (Error, OSError, asyncio.TimeoutError, ClusterError) as error:
            if self._next <= self._newest:
                self._connection.sparing.warn(
                    "not fetched",
                    "%s: what comes after message %d could not be fetched: %s",
                    self._names.stream,
                    self._next - 1,
                    error,
                )

    async def _fetch(self, sequence: int) -> None:
        first: list[int] = []

        def take(headers: Any, data: bytes) -> None:
            found = int(headers["Nats-Sequence"])
            if not first:
                first.append(found)
            if first[0] == sequence:
                self._take(found, data)
                self._bell.ring()

        asked = {"seq": sequence, "batch": FETCH_MESSAGES, "max_bytes": FETCH_BYTES}
        await self._connection.fetch(self._names.stream, asked, take)
        if first and first[0] > sequence:
            await self._missing(sequence, first[0])
        elif not first and self._next == sequence:
            await self._forgotten(sequence)

    async def _missing(self, sequence: int, found: int) -> None:
        """The server that answered has no message of that sequence, and has later ones."""
        if await self._forgotten(sequence):
            return
        if await self.is_there(sequence):
            await asyncio.sleep(POLL_S)  # One server is behind; the leader is not.
        else:
            self._stop(
                DamagedLine(
                    f"{self._names.stream} has no message {sequence}, but has {found}: something was lost on the servers. "
                    f"This node has stopped before it; what it has is whole."
                )
            )

    async def _forgotten(self, sequence: int) -> bool:
        """Whether the line does not reach back to a message any more; if so, all ends here."""
        state = await self.state()
        if state.first <= sequence:
            return False
        self._stop(
            MissingActions(
                self._names.stream, sequence, state.first - 1, "The other nodes have forgotten them. A snapshot is needed."
            )
        )
        return True

    async def is_there(self, sequence: int) -> bool:
        """Whether the stream's leader has a message. Raises `nats.errors.Error`, `ClusterError`."""
        from nats.js.errors import NotFoundError

        if self._asks is not None:
            return bool((await self._asks("line", {"sequence": sequence}, ANSWER_S))["there"])
        try:
            await self._connection.stream_api.get_msg(self._names.stream, sequence)
        except NotFoundError:
            return False
        return True

    async def state(self) -> State:
        """What the stream's leader says. Raises `nats.errors.Error`, `ClusterError`."""
        if self._asks is not None:
            return State.of((await self._asks("line", {}, ANSWER_S))["state"])
        found = await self._connection.stream_api.stream_info(self._names.stream)
        state, cluster = found.state, found.cluster
        leader, others = (None, []) if cluster is None else (cluster.leader, cluster.replicas or [])
        return State(
            state.first_seq,
            state.last_seq,
            state.bytes,
            found.config.num_replicas or 1,
            leader,
            tuple((each.name or "", bool(each.current), bool(each.offline), each.lag or 0) for each in others),
        )

    def _stop(self, problem: ClusterError | MissingActions | SystemClosed) -> None:
        with self._lock:
            if self._problem is None or isinstance(problem, SystemClosed):
                self._problem = problem
        self._bell.ring()

    # -- the rest

    def forget(self, upto: int) -> None:
        self._connection.run(self._forget(upto), 2 * ANSWER_S)

    async def _forget(self, upto: int) -> None:
        await self._connection.stream_api.purge_stream(self._names.stream, seq=upto + 1)

    def close(self) -> None:
        self._stop(SystemClosed("the line is closed"))
        with self._reading:
            wire, self._wire = self._wire, None
            if wire is not None:
                wire.close()
            self._bell.close()
        self._no_answers(float("inf"), "the connection was closed before the acknowledgement came")
        with contextlib.suppress(ClusterError, SystemClosed):
            self._connection.run(self._end(), ANSWER_S)

    async def _end(self) -> None:
        for task in [self._poller, self._filling]:
            if task is not None:
                task.cancel()


class State(NamedTuple):
    """What a leader says of its stream."""

    first: int
    last: int
    bytes: int
    replicas: int
    leader: str | None
    peers: tuple[tuple[str, bool, bool, int], ...]
    """The other servers that keep it: name, whether it is up to date, whether it is away, and by how much it lags."""

    @classmethod
    def of(cls, said: Sequence[Any]) -> State:
        """What was one before it became JSON."""
        first, last, size, replicas, leader, peers = said
        return cls(int(first), int(last), int(size), int(replicas), leader, tuple(tuple(each) for each in peers))


async def make(connection: Connection, names: Names, replicas: int, first: int = 1) -> None:
    """Makes the stream, unless it is there; its first message will have the sequence ``first``. Raises `nats.errors.Error`.

    It has no bound of its own: the servers would reserve as much, and those with less room would not take it.
    """
    from nats.js.api import RePublish, StorageType, StreamConfig
    from nats.js.errors import NotFoundError

    api = connection.stream_api
    try:
        await api.stream_info(names.stream)
        return
    except NotFoundError:
        pass
    await api.add_stream(
        StreamConfig(
            name=names.stream,
            subjects=[names.line],
            storage=StorageType.FILE,
            num_replicas=replicas,
            allow_direct=True,
            republish=RePublish(src=names.line, dest=names.out),
            duplicate_window=DUPLICATES_S,
            deny_delete=True,
            first_seq=first,
        )
    )
