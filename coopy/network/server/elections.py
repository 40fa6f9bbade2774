"""Has a new leader elected as soon as the nodes find the one there was silent, in place of the 4 to 9 s that nats-server waits for.

A thread of each node with a server of its own asks that server, as the user "system", what its Raft groups know; through it the members of
the groups; and the other nodes. What is made of the answers is decided in `coopy.network.server.vigil`, and what is said on the vote
subject is in `coopy.network.server.votes`. The servers go on as they would without: where the release of this node's server is not known,
or nobody answers, or too few nodes agree, no election is begun, and theirs comes later.

A node's own time counts only while it looks: one that was stopped for ten seconds has seen nothing of them.
"""

from __future__ import annotations

import contextlib
import errno
import json
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from coopy.errors import ClusterError, UsageError
from coopy.ground import log
from coopy.ground.raised import last_resort
from coopy.network.address import parse
from coopy.network.server import votes
from coopy.network.server.vigil import DOUBT_S, PROBE_S, Group, Vigil
from coopy.network.subjects import Names, groups
from coopy.network.wire import Bell, Delivered, Wire

LOOK_S = 1.0
"""This node's own server is asked that often who leads, and in doubt in each round."""
LOOKED_S_MAX = 0.2
"""So much of the time between two looks counts at most: a node looks ten times a second."""
assert LOOKED_S_MAX > DOUBT_S, "a node that does nothing else has seen all of its time"
AGAIN_S = 0.05
"""A node that is asked by another asks by itself, unless it has just done so."""
CONNECT_S = 0.05
"""Where nothing listens the kernel of a machine that is there says so within a round trip."""
RECONNECT_S = 0.5
"""This node's own server comes back within some tenths of a second after it was started again."""
ACCOUNTS = ("COOPY", "SYS")
"""Of the streams, and of the list of streams; as in `coopy.network.server.configuration`."""
_ASKS = 2
"""The number of the subscription to what other nodes ask; the other one is to answers."""
_SEEN, _VOTE, _VIEW = b"s", b"v", b"n"
"""Whose answer it is, in the subject to which it is sent: this server's, a member's, a node's."""


class Elections:
    """One node's. ``connect`` connects to this node's own server as the user "system", with subscriptions; raises OSError."""

    def __init__(self, name: str, names: Names, connect: Callable[[Sequence[bytes], Bell], Wire]) -> None:
        self._name = name
        self._asks = names.leaderless.encode()
        self._connect = connect
        self._inbox = b"_INBOX.%s" % secrets.token_hex(8).encode()
        self._bell = Bell()
        self._ended = threading.Event()
        self._time = WatchedTime()
        self._own = ""
        self.probes = 0
        """How often the members of a group were asked."""
        self.kicks = 0
        """How many elections this node has begun."""
        self.off: str | None = "not connected to this node's server yet"
        """Why no election would be begun now; None: it would."""

    def keep(self) -> None:
        """Watches until `close`. In a thread of its own, which nothing ends before."""
        try:
            while not self._ended.is_set():
                with last_resort(self._failed), contextlib.suppress(OSError):
                    self._serve()
                self._ended.wait(RECONNECT_S)
        finally:
            self._bell.close()

    def close(self) -> None:
        """Begins no more elections. Closing twice is fine."""
        self._ended.set()
        self._bell.ring()

    def _failed(self, error: Exception) -> None:
        self.off = f"failed: {error!r}"
        log.error("%s: no elections are begun for %g s: %r", self._name, RECONNECT_S, error)

    def _serve(self) -> None:
        """Goes on for as long as one connection lasts. Raises OSError."""
        wire = self._connect([self._inbox + b".>", self._asks], self._bell)
        try:
            if votes.is_known(wire.version):
                self.off = None
                self._watch(wire)
            else:
                self.off = f"nats-server {wire.version} is not known to do what it takes"
                log.warn("%s: %s: after a leader was lost the servers elect another by themselves", self._name, self.off)
                while not self._ended.is_set():
                    wire.wait(LOOK_S)
                    wire.read()
        finally:
            if self.off is None:
                self.off = "not connected to this node's server"
            wire.close()

    def _watch(self, wire: Wire) -> None:
        vigil, clock = Vigil(), self._time
        looked_at = begun_at = float("-inf")
        while not self._ended.is_set():
            in_doubt = vigil.is_in_doubt(clock.now)
            wire.wait(DOUBT_S / 5 if in_doubt else DOUBT_S)
            # All that has come is taken before anything is judged: the answer that is missed may be the last.
            messages = list(_delivered(wire))
            now = clock.look()
            for message in messages:
                if message.subscription != _ASKS:
                    self._answered(vigil, message, now)
                elif self._asked(wire, vigil, message, now) and not in_doubt and now - begun_at >= AGAIN_S:
                    begun_at = float("-inf")
            if clock.was_away:
                continue  # Stopped after all was taken, perhaps: more may have come.
            for group, term in vigil.elections(now):
                self._kick(wire, group, term, vigil.silent_s(group, now))
            in_doubt = vigil.is_in_doubt(now)
            if now - looked_at >= (DOUBT_S if in_doubt else LOOK_S):
                looked_at = now
                self._look(wire)
            if now - begun_at >= (DOUBT_S if in_doubt else PROBE_S):
                begun_at = now
                self._begin(wire, vigil, now)

    # -- what is sent

    def _look(self, wire: Wire) -> None:
        for account in ACCOUNTS:
            _publish(wire, groups(wire.server_id).encode(), b"%s.%s.0" % (self._inbox, _SEEN), _json({"account": account}))

    def _begin(self, wire: Wire, vigil: Vigil, now: float) -> None:
        for leader, name in vigil.addresses(now).items():
            if _is_gone(name):
                vigil.gone(leader)
        now = self._time.look()  # A machine that is cut off says nothing, and it is waited for that.
        number, asked = vigil.begin(now)
        for group in asked:
            self.probes += 1
            answer_to = b"%s.%s.%d.%s" % (self._inbox, _VOTE, number, group.name.encode())
            _publish(wire, votes.subject(group.name).encode(), answer_to, votes.question(group.own))
        if not vigil.is_in_doubt(now):
            return
        view = vigil.view(now)
        if view:
            _publish(wire, self._asks, b"%s.%s.%d" % (self._inbox, _VIEW, number), self._said(view))

    def _said(self, view: Any) -> bytes:
        return _json({"server": self._own, "lacks": view})

    def _kick(self, wire: Wire, group: Group, term: int, silent_s: float) -> None:
        self.kicks += 1
        about = f"{group.names.get(group.leader, group.leader)} gives no sign" if group.leader else "no server leads"
        log.warn("%s: %s: %s, for %.1f s, as most nodes see it: an election is begun", self._name, group.name, about, silent_s)
        answer_to = b"%s.%s.0.%s" % (self._inbox, _VOTE, group.name.encode())
        _publish(wire, votes.subject(group.name).encode(), answer_to, votes.request(term, group.own))

    # -- what comes

    def _asked(self, wire: Wire, vigil: Vigil, message: Delivered, now: float) -> bool:
        """Another node knows of no leader that lives: tells it what this one sees. Returns whether it is another."""
        member, view = _view(message.data)
        if not member or member == self._own:
            return False  # One's own question is delivered to oneself, too.
        vigil.told(member, view, now)
        if message.reply:
            _publish(wire, message.reply, b"", self._said(vigil.view(now)))
        return True

    def _answered(self, vigil: Vigil, message: Delivered, now: float) -> None:
        kind, number, *group = message.subject[len(self._inbox) + 1 :].split(b".", 2)
        if kind == _SEEN:
            self._seen(vigil, message.data, now)
        elif kind == _VIEW:
            vigil.agreed(int(number), *_view(message.data), now)
        elif group:
            # 503, with headers: nobody listens.
            with contextlib.suppress(ClusterError):
                term, member = votes.answer(message.data)
                vigil.answered(int(number), group[0].decode(), term, member, now)

    def _seen(self, vigil: Vigil, data: bytes, now: float) -> None:
        with contextlib.suppress(LookupError, TypeError, ValueError, AttributeError):
            for account, said in json.loads(data)["data"].items():
                found = [Group.of(name, about) for name, about in said.items()]
                vigil.seen(account, found, now)
                self._own = found[0].own if found else self._own


class WatchedTime:
    """A clock that counts only while it is looked at: at most `LOOKED_S_MAX` between two looks."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at = clock()
        self.now = 0.0
        """Seconds, as they were at the last look."""
        self.was_away = False
        """Whether there was no look for longer than counts, before the last one."""

    def look(self) -> float:
        """Returns seconds."""
        before, self._at = self._at, self._clock()
        passed = self._at - before
        self.was_away = passed > LOOKED_S_MAX
        self.now += min(passed, LOOKED_S_MAX)
        return self.now


def _delivered(wire: Wire) -> Iterator[Delivered]:
    """All that has come."""
    while True:
        yield from wire.read()
        if not wire.has_more():
            return


def _publish(wire: Wire, subject: bytes, answer_to: bytes, data: bytes) -> None:
    # Without headers: a member of a group takes whatever stands before the bytes for bytes.
    wire.say(b"PUB %s %s %d\r\n%s\r\n" % (subject, answer_to, len(data), data))


def _json(facts: Any) -> bytes:
    return json.dumps(facts).encode()


def _view(data: bytes) -> tuple[str, dict[str, int]]:
    """What a node sees, and the id of its server; nothing if it can't be read."""
    try:
        said = json.loads(data)
        return str(said["server"]), {str(name): int(term) for name, term in said["lacks"].items()}
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
        return "", {}


def _is_gone(name: str) -> bool:
    """Whether the machine that a server is named after says that nothing listens there."""
    try:
        socket.create_connection(parse(name), CONNECT_S).close()
    except UsageError:
        return False
    except OSError as error:
        return error.errno == errno.ECONNREFUSED
    return False
