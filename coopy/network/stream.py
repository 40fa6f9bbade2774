"""A line kept by the servers: a JetStream stream, each message of which a majority has synced. A `coopy.line.Line`.

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
import threading
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NamedTuple

from coopy import log
from coopy.errors import ClusterError, DamagedLine, MissingActions, OutcomeUnknown, SystemClosed, Unavailable
from coopy.line import Message
from coopy.network.connection import Connection

if TYPE_CHECKING:
    from nats.aio.msg import Msg

POLL_S = 1.0
ANSWER_S = 3.0
SEND_S = 1.5
"""Then it is sent again: to a leader that is gone it was sent to nobody."""
FETCH_MESSAGES = 500
FETCH_BYTES = 8 * 1024 * 1024
HELD_BYTES_MAX = 64 * 1024 * 1024
"""So much may wait to be received; what comes beyond is asked for later."""
MESSAGE_BYTES_MAX = 8 * 1024 * 1024 - 4096
DUPLICATES_S = 120


class Names(NamedTuple):
    """What things of one system are called on the server."""

    id: str

    @property
    def stream(self) -> str:
        return f"COOPY_{self.id}"

    @property
    def subject(self) -> str:
        """What every subject of the system begins with."""
        return f"coopy.{self.id}"

    @property
    def line(self) -> str:
        return f"{self.subject}.line"

    @property
    def out(self) -> str:
        return f"{self.subject}.out"


class Stream:
    """A node's end of the stream. `start` after the stream was made."""

    def __init__(self, connection: Connection, names: Names) -> None:
        self._connection = connection
        self._names = names
        self._arrived: deque[Message] = deque()
        self._arrived_bytes = 0
        self._changed = threading.Condition(threading.Lock())
        self._next = 1
        self._newest = 0
        self._early: dict[int, bytes] = {}
        self._early_bytes = 0
        self._filling: asyncio.Task[None] | None = None
        self._problem: ClusterError | MissingActions | SystemClosed | None = None
        self._sending: set[asyncio.Task[None]] = set()
        self._subscription: Any = None
        self._poller: asyncio.Task[None] | None = None

    # -- sending

    def send(self, data: bytes, name: str) -> Future[int]:
        sent: Future[int] = Future()
        self._connection.soon(self._send, data, name, sent)
        return sent

    def _send(self, data: bytes, name: str, sent: Future[int]) -> None:
        if self._problem is not None:
            sent.set_exception(SystemClosed("the line is closed"))
            return
        task = self._connection.loop.create_task(self._sent(data, name, sent))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _sent(self, data: bytes, name: str, sent: Future[int]) -> None:
        from nats.errors import Error, NoRespondersError, OutboundBufferLimitError
        from nats.js.errors import APIError, NoStreamResponseError

        found: BaseException
        try:
            headers = {"Nats-Msg-Id": name, "Nats-Expected-Stream": self._names.stream}
            answer = await self._connection.stream_api.publish(self._names.line, data, SEND_S, headers=headers)
        except (NoStreamResponseError, NoRespondersError, OutboundBufferLimitError) as error:
            found = Unavailable(f"no majority takes messages now ({error or type(error).__name__})")
        except APIError as error:
            found = Unavailable(f"the server refused a message: {error.description} ({error.err_code})")
        except (Error, OSError, asyncio.TimeoutError) as error:
            found = OutcomeUnknown(f"no acknowledgement within {SEND_S:g} s ({error})")
        except asyncio.CancelledError:
            sent.set_exception(OutcomeUnknown("the connection was closed before the acknowledgement came"))
            raise
        else:
            self._newest = max(self._newest, answer.seq)
            sent.set_result(answer.seq)
            return
        sent.set_exception(found)

    # -- receiving

    def last(self) -> int:
        return self._newest

    def follow(self, after: int) -> None:
        self._connection.run(self._follow(after), 2 * ANSWER_S)

    async def _follow(self, after: int) -> None:
        with self._changed:
            self._arrived.clear()
            self._arrived_bytes = 0
            if isinstance(self._problem, (MissingActions, DamagedLine)):
                self._problem = None
        self._early.clear()
        self._next = after + 1
        if self._subscription is None:
            # As large as a queue may get: what comes is taken at once.
            self._subscription = await self._connection.client.subscribe(
                self._names.out, cb=self._published, pending_bytes_limit=2 * HELD_BYTES_MAX
            )
            self._poller = self._connection.loop.create_task(self._poll())
        self._fill()

    def receive(self, timeout_s: float) -> list[Message]:
        with self._changed:
            if not self._arrived:
                self._changed.wait_for(lambda: self._arrived or self._problem, timeout_s)
            found = list(self._arrived)
            self._arrived.clear()
            self._arrived_bytes = 0
            if not found and self._problem is not None:
                raise self._problem
        return found

    async def _published(self, message: Msg) -> None:
        headers = message.headers or {}
        self._take(int(headers.get("Nats-Sequence", 0)), message.data)

    def _take(self, sequence: int, data: bytes) -> None:
        self._newest = max(self._newest, sequence)
        if sequence < self._next:
            return
        if sequence > self._next:
            if self._early_bytes < HELD_BYTES_MAX:
                if sequence not in self._early:
                    self._early_bytes += len(data)
                self._early[sequence] = data
            self._fill()
            return
        if self._arrived_bytes > HELD_BYTES_MAX:
            return  # It is asked for when there is room.
        found = [(sequence, data)]
        while (following := self._early.pop(sequence + 1, None)) is not None:
            sequence += 1
            self._early_bytes -= len(following)
            found.append((sequence, following))
        if not self._early:
            self._early_bytes = 0
        self._next = sequence + 1
        with self._changed:
            self._arrived.extend(found)
            self._arrived_bytes += sum(len(each) for _, each in found)
            self._changed.notify()

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
        except (Error, OSError, asyncio.TimeoutError, Unavailable) as error:
            if self._next <= self._newest:
                log.warn("%s: what comes after message %d could not be fetched: %s", self._names.stream, self._next - 1, error)

    async def _fetch(self, sequence: int) -> None:
        first: list[int] = []

        def take(headers: Any, data: bytes) -> None:
            found = int(headers["Nats-Sequence"])
            if not first:
                first.append(found)
            if first[0] == sequence:
                self._take(found, data)

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
        if await self._is_there(sequence):
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

    async def _is_there(self, sequence: int) -> bool:
        from nats.js.errors import NotFoundError

        try:
            await self._connection.stream_api.get_msg(self._names.stream, sequence)
        except NotFoundError:
            return False
        return True

    async def state(self) -> State:
        """What the stream's leader says. Raises `nats.errors.Error`."""
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
        with self._changed:
            if self._problem is None or isinstance(problem, SystemClosed):
                self._problem = problem
            self._changed.notify_all()

    # -- the rest

    def forget(self, upto: int) -> None:
        self._connection.run(self._forget(upto), 2 * ANSWER_S)

    async def _forget(self, upto: int) -> None:
        await self._connection.stream_api.purge_stream(self._names.stream, seq=upto + 1)

    def close(self) -> None:
        self._stop(SystemClosed("the line is closed"))
        try:
            self._connection.run(self._end(), ANSWER_S)
        except (ClusterError, SystemClosed):
            pass

    async def _end(self) -> None:
        for task in [self._poller, self._filling, *self._sending]:
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
