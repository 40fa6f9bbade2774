"""The side of a client: one connection to a served system, over which all threads of a process ask, and which is made again when it ends.

The framing, TLS and the signs of life are those of the `websockets` library (an extra); what goes over it are the parcels of
coopy/replication/parcels.py, and what becomes of a question when a connection ends is told in coopy/replication/caller.py.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any, cast

from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import ClientConnection, connect, unix_connect

from coopy.errors import AuthenticationFailed, UsageError
from coopy.ground.raised import on_failure
from coopy.replication import keys, local, parcels
from coopy.replication.caller import FRESH_S, Caller, Lost, Question
from coopy.replication.keys import Introduced, Where
from coopy.replication.parcels import Garbage, Parcel, Splitter, pack

ALIVE_S = 20.0
"""After so long a sign of life is asked for, and after as long again the connection is given up."""
AGAIN_S = 0.05
"""A server that could not be reached is tried again after so long."""
CLOSE_S = 1.0
"""A connection that is closed waits so long for the other side to say that it has understood."""
_PING = b"NN"
Answers = queue.SimpleQueue["Parcel | None"]
"""Where a thread gets its answers from; None once no more will come."""


class Link:
    """One connection. Raises `Lost`, and while it is made also `AuthenticationFailed`, `UsageError`."""

    def __init__(
        self,
        where: Where,
        key: bytes,
        tls: ssl.SSLContext | None,
        process: bytes,
        greet: Callable[[Introduced], bytes],
        timeout_s: float,
    ) -> None:
        """``greet`` says what the HELLO says, to a server that has shown that it has the key."""
        self._process = process
        self._waiting: dict[int, Answers] = {}
        # Guards what is waiting, and why nobody is to wait any more.
        self._lock = threading.Lock()
        self._ended = ""
        self._heard_at = 0.0
        # Held while a parcel is sent: its pieces must not have those of another between them.
        self._sending = threading.Lock()
        self._socket = _opened(where, tls, timeout_s)
        with on_failure(self.close):
            introduced = self._introduced(key, timeout_s)
            self._send(pack(parcels.HELLO, 0, 0, greet(introduced), process))
            self.position = self._welcomed(timeout_s).position
        threading.Thread(target=self._read, name=f"coopy answers {where}", daemon=True).start()

    def _introduced(self, key: bytes, timeout_s: float) -> Introduced:
        try:
            own = keys.nonce()
            text, theirs = keys.response(key, self._socket.recv(timeout_s), own, self._process)
            self._socket.send(text)
            return keys.introduced(key, self._socket.recv(timeout_s), own, theirs)
        except ConnectionClosed as error:
            if error.rcvd is not None and error.rcvd.code == REFUSED:
                raise AuthenticationFailed(
                    f"the server has refused the key: {error.rcvd.reason}. Nothing was opened. Give key= the file that `coopy serve` has made."
                ) from None
            raise Lost(str(error)) from error
        except TimeoutError as error:
            raise Lost(f"no answer for {timeout_s:g} s", was_silent=True) from error

    def _welcomed(self, timeout_s: float) -> Parcel:
        splitter = Splitter()
        try:
            while not (found := splitter.split(_bytes(self._socket.recv(timeout_s)))):
                pass
        except TimeoutError as error:
            raise Lost(f"no answer for {timeout_s:g} s", was_silent=True) from error
        except (ConnectionClosed, Garbage) as error:
            raise Lost(str(error)) from error
        if found[0].kind != parcels.WELCOME:
            raise UsageError("the server is of another release of coopy, and does not understand this one. Nothing was opened.")
        return found[0]

    @property
    def has_ended(self) -> bool:
        return bool(self._ended)

    def ask(self, questions: Sequence[Question], ping: Question, timeout_s: float) -> None:
        """Sends what has not been answered, and waits for all answers. ``ping`` goes first if nothing was heard for a while."""
        if time.monotonic() > self._heard_at + FRESH_S:
            self._exchange([ping], timeout_s)
        self._exchange([each for each in questions if each.answer is None], timeout_s)

    def _exchange(self, questions: Sequence[Question], timeout_s: float) -> None:
        answers: Answers = queue.SimpleQueue()
        missing = {each.number: each for each in questions}
        with self._lock:
            if self._ended:
                raise Lost(self._ended)
            self._waiting.update(dict.fromkeys(missing, answers))
        try:
            sent = []
            for each in questions:
                kind = parcels.AGAIN if each.was_sent and each.kind == parcels.CALL else each.kind
                sent.append(pack(kind, each.number, each.since, each.call, self._process))
                each.was_sent = True
            self._send(b"".join(sent))
            until = time.monotonic() + timeout_s
            while missing:
                try:
                    answer = answers.get(timeout=max(0.0, until - time.monotonic()))
                except queue.Empty:
                    raise Lost(f"no answer for {timeout_s:g} s", was_silent=True) from None
                if answer is None:
                    raise Lost(self._ended)
                missing.pop(answer.number).answer = answer
        finally:
            with self._lock:
                for each in questions:
                    self._waiting.pop(each.number, None)

    def _send(self, data: bytes) -> None:
        try:
            with self._sending:
                for start in range(0, len(data), keys.PIECE_BYTES):
                    self._socket.send(data[start : start + keys.PIECE_BYTES])
        except (ConnectionClosed, OSError) as error:
            raise Lost(str(error)) from error

    def _read(self) -> None:
        splitter, why = Splitter(), "the connection was closed"
        try:
            while True:
                found = splitter.split(_bytes(self._socket.recv()))
                if not found:
                    continue
                self._heard_at = time.monotonic()
                for parcel in found:
                    with self._lock:
                        answers = self._waiting.pop(parcel.number, None)
                    if answers is not None:
                        answers.put(parcel)
        except (ConnectionClosed, Garbage, OSError) as error:
            why = str(error)
        finally:
            with self._lock:
                self._ended = why
                for answers in self._waiting.values():
                    answers.put(None)
            self.close()

    def close(self) -> None:
        """Sends no more; who waits for an answer is told that there will be none."""
        with self._lock:
            self._ended = self._ended or "the connection was closed"
        with contextlib.suppress(OSError, WebSocketException):
            self._socket.close()

    def drop(self) -> None:
        """Closes the copy that a forked child has."""
        with contextlib.suppress(OSError):
            os.close(self._socket.socket.detach())


REFUSED = 1008
"""With this a server closes a connection whose other side has not shown that it has the key (RFC 6455: a policy is violated)."""


class Served(Caller):
    """What asks a system that is served elsewhere: a `Caller` with one connection for all threads."""

    def __init__(
        self, where: Where, key: bytes, tls: ssl.SSLContext | None, greet: Callable[[Introduced], bytes], timeout_s: float
    ) -> None:
        super().__init__(str(where), lambda purpose: b"", timeout_s)
        self._where = where
        self._key = key
        self._tls = tls
        self._introduce = greet
        self._links: list[Link] = []
        """The one that is used, if there is one."""
        self._connecting = threading.Lock()
        self._pid = os.getpid()
        weakref.finalize(self, _close_all, self._links).atexit = False

    def _ask(self, questions: Sequence[Question], timeout_s: float) -> None:
        ping = self.question(parcels.PING, _PING, 0)
        self._link(timeout_s).ask(questions, ping, timeout_s)

    def _link(self, timeout_s: float) -> Link:
        if self._pid != os.getpid():
            self._begin_again()
        links = self._links
        if links and not links[0].has_ended:
            return links[0]
        if not self._connecting.acquire(timeout=timeout_s):
            raise Lost(f"no connection for {timeout_s:g} s", was_silent=True)
        try:
            if links and not links[0].has_ended:
                return links[0]
            links.clear()
            with on_failure(time.sleep, AGAIN_S):
                links.append(Link(self._where, self._key, self._tls, self.process, self._introduce, timeout_s))
            return links[0]
        finally:
            self._connecting.release()

    def _begin_again(self) -> None:
        """In a forked child: the connection is the parent's, and so are the numbers of its calls."""
        self._pid = os.getpid()
        self._connecting = threading.Lock()
        self.process = os.urandom(len(self.process))
        links, self._links = self._links, []
        for each in links:
            each.drop()

    def _who(self) -> str:
        return str(self._where)

    def drop(self) -> None:
        _close_all(self._links)


def _close_all(links: list[Link]) -> None:
    for each in links:
        each.close()


def _opened(where: Where, tls: ssl.SSLContext | None, timeout_s: float) -> ClientConnection:
    """Returns a connection whose other side has not been asked for anything yet."""
    host = where.host
    try:
        if host is None:
            found = local.connected(os.path.dirname(where.path), os.path.basename(where.path))
        else:
            found = socket.create_connection(host, timeout_s)
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except PermissionError as error:
        raise AuthenticationFailed(f"{where}: {error.strerror}. Nothing was sent, and nothing was read.") from error
    except OSError as error:
        raise Lost(f"nobody answers at {where}: {error.strerror or error}") from error
    with on_failure(found.close):
        # A server that takes nothing must not hold a thread for ever.
        local.wait_at_most(found, timeout_s, socket.SO_SNDTIMEO)
        try:
            options: dict[str, Any] = {
                "sock": found,
                "compression": None,
                "user_agent_header": None,
                "open_timeout": timeout_s,
                "ping_interval": ALIVE_S,
                "ping_timeout": ALIVE_S,
                "close_timeout": CLOSE_S,
                "max_size": keys.PIECE_BYTES,
            }
            # Entered, as later releases want it; who has it closes it.
            if host is None:
                opening: Any = unix_connect(uri="ws://localhost/", **options)
            elif tls is None:
                opening = connect(f"ws://{host}/", proxy=None, **options)
            else:
                opening = connect(f"wss://{host}/", proxy=None, ssl=tls, server_hostname=host.host, **options)
            return cast(ClientConnection, opening.__enter__())
        except ssl.SSLCertVerificationError as error:
            raise AuthenticationFailed(
                f"{where}: its certificate is not accepted: {error.verify_message}. Nothing was sent. Give tls= the PEM file of the authority that signed it."
            ) from error
        except (OSError, WebSocketException, EOFError) as error:
            raise Lost(f"{where}: {error}") from error


def _bytes(message: str | bytes) -> bytes:
    if isinstance(message, str):
        raise Garbage("this is no parcel")
    return message
