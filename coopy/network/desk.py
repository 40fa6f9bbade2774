"""Where a node answers what others ask: so that who asks without end takes little of the node, and nothing from the others.

A connection of its own, so that what comes here keeps nothing else waiting. Three bounds, from the outside in:

* The server delivers so many questions of a kind as this node has given it credit for, and no more until it gives more
  (a subscription that ends by itself after a number of messages, docs.nats.io, "Client Protocol", UNSUB). The rest it answers
  itself, at once: nobody responds. So however many come, the node spends a bounded part of its time on them.
* Each connection that asks has a bucket of tokens for each kind. The server says, in a header that nobody else can set, which
  connection it is. What is beyond is answered with "ask again".
* What is asked while an answer of the kind is worked out waits, and is answered together.

Who is told to ask again, or that nobody responds, asks again a little later; see `coopy.network.room.Room.ask`.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from coopy.ground.raised import attempted
from coopy.network.connection import RECONNECT_S, Connection
from coopy.network.limits import Buckets, TokenBucket
from coopy.network.subjects import Names
from coopy.network.wire import Bell, Delivered, Wire

CREDIT = 500
"""A twentieth of what may come in a second: fewer would have the server told more often, and more would let a flood in for longer."""
MESSAGES_S = 10_000.0
"""Of each kind, so many are delivered in a second at most."""
WAITING_MAX = 1000
"""What is asked meanwhile is answered together, for some hundred bytes each; beyond that it is a flood."""
QUESTION_BYTES_MAX = 4096
"""A question is an object of JSON with a number or two; the longest that a replica says of itself takes less than half of that."""
WAIT_S = 1.0
"""Nothing is due while nobody asks; a wire pings after two seconds."""
CLOSE_S = 2.0
"""Whatever an answer still waits for, closing does not wait for it for ever: the thread ends with the process."""
_KINDS_MAX = 16
"""The number of a subscription is that of the kind in its last four bits; there are five kinds."""
_ASKED_BY = b'Nats-Request-Info: {"start":'

Facts = dict[str, Any]
Answers = Callable[[list[Facts]], list[Facts]]
AGAIN = json.dumps({"error": "ask again later", "retry_s": 0.2}).encode()


class _Kind:
    def __init__(self, name: str, subject: str, rate: float, burst: float) -> None:
        self.name = name
        self.subject = subject.encode()
        self.peers = Buckets(rate, burst)
        self.rate = rate
        self.credit = TokenBucket(MESSAGES_S, 2 * CREDIT)
        self.number = 0
        """Of its subscription; 0: it has none."""
        self.left = 0
        """How many more the server delivers by that."""
        self.answers: Answers | None = None
        self.hears: Callable[[Facts], None] | None = None
        # Guarded by the lock of the desk.
        self.waiting: list[tuple[bytes, bytes]] = []
        self.works = False


class Desk:
    """The questions that a node answers. ``open`` once there are some."""

    def __init__(self, connection: Connection, names: Names, node: str) -> None:
        self._connection = connection
        self._names = names
        self._node = node
        self._kinds: list[_Kind] = []
        self._numbers = 1
        self._lock = threading.Lock()
        self._bell: Bell | None = None
        self._wire: Wire | None = None
        self._refused: list[bytes] = []
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name=f"coopy desk {node}", daemon=True)

    def answer(self, what: str, answers: Answers, rate: float, burst: float) -> None:
        """Lets one node of those that do so answer questions: with what ``answers`` returns for each of some, or an error.

        It runs in a thread of its own. ``rate`` and ``burst``: for each connection that asks, see `TokenBucket`.
        """
        kind = _Kind(what, f"{self._names.ask(what)} nodes", rate, burst)
        kind.answers = answers
        self._add(kind)

    def hear(self, what: str, hears: Callable[[Facts], None], rate: float, burst: float) -> None:
        """Has this node, and each other, hear what is said; in a thread of this desk."""
        kind = _Kind(what, self._names.ask(what), rate, burst)
        kind.hears = hears
        self._add(kind)

    def _add(self, kind: _Kind) -> None:
        assert len(self._kinds) < _KINDS_MAX, "the number of a subscription says of which kind it is"
        self._kinds.append(kind)
        if self._bell is not None:
            self._bell.ring()

    def open(self) -> None:
        """Answers from now on, as soon as there is a server."""
        self._bell = Bell()
        self._thread.start()

    def close(self) -> None:
        """Answers no more. Closing twice is fine."""
        if self._closed:
            return
        self._closed = True
        if self._bell is not None:
            self._bell.ring()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(CLOSE_S)

    # -- what comes

    def _serve(self) -> None:
        bell = self._bell
        assert bell is not None, "a desk is opened before it serves"
        while not self._closed:
            wire = self._wire or self._connect(bell)
            if wire is None:
                bell.wait(RECONNECT_S)
                continue
            try:
                wire.wait(self._give_credit(wire))
                for message in wire.read():
                    self._came(message)
                if self._refused:
                    refused, self._refused = self._refused, []
                    wire.say(b"".join(refused))
            except OSError as error:
                self._wire = None
                wire.close()
                if not self._closed:
                    self._connection.sparing.warn(
                        "desk lost", "%s: the connection for questions is lost (%s); trying again", self._node, error
                    )
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()
        bell.close()

    def _connect(self, bell: Bell) -> Wire | None:
        try:
            wire = self._connection.wire([], bell)
        except OSError:
            return None
        for kind in self._kinds:
            kind.number = kind.left = 0
        self._wire = wire
        return wire

    def _give_credit(self, wire: Wire) -> float:
        """Lets the server deliver more, as far as it may be. Returns for how long nothing is to be done besides."""
        wait_s = WAIT_S
        for place, kind in enumerate(list(self._kinds)):
            if kind.left > CREDIT // 2:
                continue
            if not kind.credit.take(CREDIT):
                wait_s = min(wait_s, kind.credit.wait_s(CREDIT))
                continue
            old, self._numbers = kind.number, self._numbers + 1
            kind.number, kind.left = self._numbers * _KINDS_MAX + place, CREDIT
            said = b"SUB %s %d\r\nUNSUB %d %d\r\n" % (kind.subject, kind.number, kind.number, CREDIT)
            # The new one first: who asks in between is to find somebody.
            wire.say(said + (b"UNSUB %d\r\n" % old if old else b""))
        return wait_s

    def _came(self, message: Delivered) -> None:
        kind = self._kinds[message.subscription % _KINDS_MAX]
        if message.subscription == kind.number:
            kind.left -= 1
        peer = _peer(message)
        if not kind.peers.take(peer):
            self._refuse(kind, message, peer, f"more often than {kind.rate:g} times a second")
        elif len(message.data) > QUESTION_BYTES_MAX:
            self._refuse(kind, message, peer, f"with more than {QUESTION_BYTES_MAX} bytes")
        elif kind.hears is not None:
            facts = _read(message.data)
            if facts is not None:
                kind.hears(facts)
        elif message.reply:
            with self._lock:
                if len(kind.waiting) < WAITING_MAX:
                    kind.waiting.append((message.reply, message.data))
                    if not kind.works:
                        kind.works = True
                        threading.Thread(target=self._work, args=(kind,), name=f"coopy {kind.name}", daemon=True).start()
                    return
            self._refuse(kind, message, peer, f"while {WAITING_MAX} wait")

    def _refuse(self, kind: _Kind, message: Delivered, peer: bytes, why: str) -> None:
        if message.reply:
            self._refused.append(b"PUB %s %d\r\n%s\r\n" % (message.reply, len(AGAIN), AGAIN))
        self._connection.sparing.warn(
            f"asks {kind.name}",
            "%s: who connected at %s asks for %s %s, and is told to ask again",
            self._node,
            peer.decode(errors="replace"),
            kind.name,
            why,
        )

    # -- what is answered

    def _work(self, kind: _Kind) -> None:
        assert kind.answers is not None
        while True:
            with self._lock:
                asked, kind.waiting = kind.waiting, []
                if not asked or self._closed:
                    kind.works = False
                    return
            read = [(reply, _read(data)) for reply, data in asked]
            questions = [facts for _, facts in read if facts is not None]
            found = iter(answered(kind.answers, questions, partial(self._not_answered, kind.name)))
            nonsense = {"error": f"a question for {kind.name} must be an object of JSON"}
            said = [_publication(reply, nonsense if facts is None else next(found)) for reply, facts in read]
            wire = self._wire
            if wire is not None:
                # They ask again.
                with contextlib.suppress(OSError):
                    wire.say(b"".join(said))

    def _not_answered(self, name: str, error: Exception) -> None:
        self._connection.sparing.warn(
            f"not answered {name} {type(error).__name__}", "%s: a question for %s was not answered: %s", self._node, name, error
        )


def answered(answers: Answers, questions: list[Facts], not_answered: Callable[[Exception], object]) -> list[Facts]:
    """Returns the answer to each question. Those that can't be answered must not end the thread: whoever asked is told why."""
    found, error = attempted(answers, questions) if questions else ([], None)
    if found is not None:
        return found
    assert error is not None, "what is attempted is answered, or raises"
    not_answered(error)
    return [{"error": f"{type(error).__name__}: {error}"[:500]}] * len(questions)


def _peer(message: Delivered) -> bytes:
    """What is the same in all that one connection asks, and in nothing else."""
    # The server puts its header last, so what a client calls by that name comes before it; and in what it quotes of a client
    # there are no such quotation marks.
    at = message.headers.rfind(_ASKED_BY)
    if at < 0:
        return message.reply.rpartition(b".")[0]  # Of a node, or at a server of the user's own.
    # When the connection began, from where, and its number; then come words that its client chooses.
    return message.headers[at + len(_ASKED_BY) : message.headers.find(b',"acc"', at)]


def _read(data: bytes) -> Facts | None:
    try:
        found = json.loads(data or b"{}")
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _publication(subject: bytes, facts: Facts) -> bytes:
    data = json.dumps(facts).encode()
    return b"PUB %s %d\r\n%s\r\n" % (subject, len(data), data)
