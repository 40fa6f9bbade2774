"""A plain connection to the Raft server, for what has to be quick: the messages of the line, out and in.

Any thread may publish, and one reads: no event loop stands between a call and the socket, nor between the
socket and the thread that applies. What is not in such a hurry goes over `coopy.network.connection`.

What is spoken is the client protocol of the server (docs.nats.io, "Client Protocol"): text lines that end in CRLF,
some with so many bytes behind them. Nobody waits for the network in `publish`: what the socket does not take
at once is sent by who reads.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from coopy.ground.raised import on_failure

CONNECT_S = 1.0
"""On a network of one house a connection takes milliseconds; another server may be tried after that."""
PING_S = 2.0
"""A server that is silent for so long is asked whether it is there."""
PONG_S = 3.0
"""And given up after that: with `PING_S` five seconds, as long as servers take to choose another leader."""
LINE_BYTES_MAX = 64 * 1024
"""A line of the protocol: INFO of a large cluster has some kilobytes."""
MESSAGE_BYTES_MAX = 64 * 1024 * 1024
"""More than any server of coopy's own delivers: beyond that it is no such server, and must not fill the memory."""
_READ_BYTES = 64 * 1024
"""The memory for more than 128 KB would be mapped anew for each read, which takes 13 µs; the rest of a read, 3."""


class NoTLS(OSError):
    """The other side speaks no TLS, and was to. Of a kind that nats-py takes for a refusal."""


class Delivered(NamedTuple):
    """A message of a subscription."""

    subscription: int
    """Its number: 1 for the first subject that was subscribed to."""
    subject: bytes
    headers: bytes
    """As they came; empty if there are none."""
    data: bytes
    reply: bytes = b""
    """The subject to which the answer goes; empty if none is wanted."""


def header(headers: bytes, name: bytes) -> bytes | None:
    """The value of a header, None if it is not there."""
    start = headers.find(b"\r\n" + name + b":")
    if start < 0:
        return None
    start += len(name) + 3
    end = headers.find(b"\r\n", start)
    return headers[start : end if end >= 0 else None].strip()


def status(headers: bytes) -> bytes:
    """What the first line of headers says besides the version: b"503" if nobody listens to what was published."""
    return headers[8 : headers.find(b"\r\n")].strip()


class Bell:
    """Wakes who waits in `Wire.wait`. Any thread may ring."""

    def __init__(self) -> None:
        self._in, self._out = socket.socketpair()
        self._in.setblocking(False)
        self._out.setblocking(False)
        # Held while it is rung or closed: a moment after it was closed its descriptor may be that of a file.
        self._lock = threading.Lock()

    def fileno(self) -> int:
        return self._in.fileno()

    def ring(self) -> None:
        with self._lock:
            # Full: it rings. Closed: nobody waits any more.
            with contextlib.suppress(OSError):
                self._out.send(b"!")

    def wait(self, timeout_s: float) -> None:
        """Returns when it rings, or the time is over."""
        poll = select.poll()
        poll.register(self._in, select.POLLIN)
        if poll.poll(timeout_s * 1000):
            self.rang()

    def rang(self) -> None:
        """From now on it has to ring anew."""
        try:
            while self._in.recv(4096):
                pass
        except OSError:
            pass

    def close(self) -> None:
        with self._lock:
            self._in.close()
            self._out.close()


class Wire:
    """A connection. Any number of threads may `publish`; one waits and reads."""

    def __init__(
        self,
        url: str,
        user: str | None,
        password: str | None,
        *,
        subscribe: Sequence[bytes],
        bell: Bell,
        name: str = "coopy",
        tls: ssl.SSLContext | None = None,
        tls_name: str | None = None,
        timeout_s: float = CONNECT_S,
    ) -> None:
        """Connects to a server, and subscribes.

        ``url`` as "nats://host:port" or "tls://host:port", with user and password in it if they are not given. ``tls_name``: what
        the server's certificate must be for, if not for its host.
        Raises OSError if that can't be, TimeoutError among them.
        """
        parts = urlsplit(url if "://" in url else f"nats://{url}")
        if user is None and parts.username is not None:
            user, password = unquote(parts.username), unquote(parts.password or "")
        self.host, port = parts.hostname or "", parts.port or 4222
        self._bell = bell
        self._lock = threading.Lock()
        self._unsent = bytearray()
        self._sends_on = select.POLLOUT
        """What the socket has to be ready for before it takes what is unsent."""
        self._broken = ""
        """Why nothing more can be sent."""
        self._buffer = bytearray()
        self._delivered: list[Delivered] = []
        self._pong = False
        self.payload_bytes_max = 0
        """What the server takes for one message, headers and all, as it says itself."""
        self.version = self.server_id = ""
        """The server's release, and the id that it has for as long as it runs."""
        self._asked: float | None = None
        """When it was asked whether anybody is there, and has not answered. Later if it took something since."""
        self._socket: socket.socket = socket.create_connection((self.host, port), timeout_s)
        # From now on: a host may have addresses at which nobody answers, and each takes its time.
        self._alive_at = time.monotonic()
        with on_failure(self.close):
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._greet(user, password, subscribe, name, tls, tls_name, parts.scheme == "tls", self._alive_at + timeout_s)
        self._socket.setblocking(False)

    def _greet(
        self,
        user: str | None,
        password: str | None,
        subscribe: Sequence[bytes],
        name: str,
        tls: ssl.SSLContext | None,
        tls_name: str | None,
        insists: bool,
        deadline: float,
    ) -> None:
        said = b""
        # Byte by byte: what follows the line may be TLS.
        while not said.endswith(b"\r\n"):
            self._wait_until(deadline)
            byte = self._socket.recv(1)
            if not byte or len(said) > LINE_BYTES_MAX:
                raise ConnectionError("the other side is no such server")
            said += byte
        if not said.startswith(b"INFO "):
            raise ConnectionError(f"the other side is no such server: it says {said[:40]!r}")
        try:
            about_it = json.loads(said[5:])
            requires, self.payload_bytes_max = bool(about_it.get("tls_required")), int(about_it.get("max_payload") or 0)
            self.version, self.server_id = str(about_it.get("version") or ""), str(about_it.get("server_id") or "")
        except (ValueError, AttributeError, TypeError, OverflowError, RecursionError):
            raise ConnectionError(f"the other side is no such server: it says {said[:40]!r}") from None
        if (tls is not None or insists) and not requires:
            raise NoTLS("it speaks no TLS")
        if requires:
            context = tls or ssl.create_default_context()
            self._wait_until(deadline)
            self._socket = context.wrap_socket(self._socket, server_hostname=tls_name or self.host)
        about: dict[str, object] = {
            "verbose": False,
            "pedantic": False,
            "lang": "python",
            "version": "1",
            "protocol": 1,
            "name": name,
            "headers": True,
            "no_responders": True,
            "tls_required": requires,
        }
        if user is not None:
            about |= {"user": user, "pass": password} if password else {"auth_token": user}
        subscriptions = b"".join(b"SUB %s %d\r\n" % (subject, number) for number, subject in enumerate(subscribe, 1))
        self._socket.sendall(b"CONNECT " + json.dumps(about).encode() + b"\r\n" + subscriptions + b"PING\r\n")
        size = 0
        while not self._pong:
            self._wait_until(deadline)
            data = self._socket.recv(_READ_BYTES)
            self._fed(data)
            size += len(data)
            if size > MESSAGE_BYTES_MAX:
                raise ConnectionError(f"{self.host} sent {size} bytes, and no answer to what it was asked")

    def _wait_until(self, deadline: float) -> None:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError(f"{self.host} did not greet in time")
        self._socket.settimeout(left_s)

    # -- out

    def publish(self, subject: bytes, answer_to: bytes, headers: bytes, data: bytes) -> None:
        """Sends a message; the answer is delivered to the subject ``answer_to``. Raises OSError if the connection is broken."""
        head = b"HPUB %s %s %d %d\r\n" % (subject, answer_to, len(headers), len(headers) + len(data))
        self._send(b"".join((head, headers, data, b"\r\n")))

    def say(self, data: bytes) -> None:
        """Sends what is protocol already, to its last CRLF. Raises OSError if the connection is broken."""
        self._send(data)

    def _send(self, data: bytes) -> None:
        with self._lock:
            if self._broken:
                raise ConnectionError(f"the connection is broken: {self._broken}")
            try:
                if self._unsent:
                    self._unsent += data
                else:
                    sent = self._sent(data)
                    if sent == len(data):
                        return
                    self._unsent += memoryview(data)[sent:]
            except BaseException as error:
                # Also if it is a KeyboardInterrupt: nobody knows where in the message it stopped, so nothing may follow.
                self._broken = repr(error)
                self._bell.ring()
                raise
        self._bell.ring()

    def _sent(self, data: bytes | bytearray) -> int:
        """How many bytes the socket has taken."""
        try:
            return self._socket.send(data)
        except (BlockingIOError, ssl.SSLWantWriteError):
            self._sends_on = select.POLLOUT
        except ssl.SSLWantReadError:
            # It could take bytes all the time: to wait for that would be no waiting.
            self._sends_on = select.POLLIN
        return 0

    @property
    def unsent(self) -> int:
        """How many bytes were published that the socket has not taken; they are sent by who waits and reads."""
        return len(self._unsent)

    # -- in

    def wait(self, timeout_s: float) -> None:
        """Returns when there is something to read, or the bell rings, or the time is over. Raises OSError if nobody is there."""
        if self._delivered or self._holds():
            return
        poll = select.poll()
        try:
            poll.register(self._bell, select.POLLIN)
            poll.register(self._socket, select.POLLIN | (self._sends_on if self._unsent else 0))
        except ValueError:
            raise ConnectionError("the connection was closed") from None
        found = dict(poll.poll(timeout_s * 1000))
        if self._bell.fileno() in found:
            self._bell.rang()
        ready, now = found.get(self._socket.fileno(), 0), time.monotonic()
        if self._unsent and ready & self._sends_on:
            self._send_on(now)
        if ready & ~select.POLLOUT:
            return  # Also if it is broken: answers may have come before.
        if self._broken:
            raise ConnectionError(f"the connection is broken: {self._broken}")
        if self._asked is not None:
            if now > self._asked + PONG_S:
                raise ConnectionError(f"{self.host} gave no sign of life for {now - self._alive_at:.0f} s")
        elif now > self._alive_at + PING_S:
            self._asked = now
            self._send(b"PING\r\n")

    def _send_on(self, now: float) -> None:
        with self._lock:
            try:
                del self._unsent[: self._sent(self._unsent)]
            except OSError as error:
                self._broken = repr(error)
        # Who takes something is there, and can't answer before it has all that was sent before the question.
        self._alive_at = now
        if self._asked is not None:
            self._asked = now

    def _holds(self) -> bool:
        """Whether OpenSSL holds bytes that the socket does not show any more."""
        if not isinstance(self._socket, ssl.SSLSocket):
            return False
        with self._lock:
            return self._socket.pending() > 0

    def has_more(self) -> bool:
        """Whether something has come that was not read."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return self._holds() or bool(poll.poll(0))

    def read(self) -> list[Delivered]:
        """Of what has come, as much as is read at once. Does not wait. Raises OSError if the connection is broken."""
        try:
            if isinstance(self._socket, ssl.SSLSocket):
                with self._lock:  # One connection of OpenSSL is not for two threads at once.
                    data = self._socket.recv(_READ_BYTES)
            else:
                data = self._socket.recv(_READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass  # What came with the greeting may be there all the same.
        else:
            self._fed(data)
        found, self._delivered = self._delivered, []
        return found

    def _fed(self, data: bytes) -> None:
        if not data:
            raise ConnectionError(f"{self.host} closed the connection")
        self._asked, self._alive_at = None, time.monotonic()
        buffer = self._buffer
        buffer += data
        at = 0
        while (end := buffer.find(b"\r\n", at)) >= 0:
            word = bytes(buffer[at : at + 4])
            if word not in (b"HMSG", b"MSG "):
                self._said(bytes(buffer[at:end]))
                at = end + 2
                continue
            line, start = bytes(buffer[at:end]), end + 2
            try:
                _, subject, number, *rest = line.split()
                subscription, size = int(number), int(rest[-1])
                split = int(rest[-2]) if word == b"HMSG" else 0
                reply = rest[0] if len(rest) > 1 + (word == b"HMSG") else b""
            except (ValueError, IndexError):
                raise self._nonsense(line) from None
            if not 0 <= split <= size <= MESSAGE_BYTES_MAX:
                raise self._nonsense(line)
            if len(buffer) < start + size + 2:
                break
            with memoryview(buffer) as view:
                headers, body = bytes(view[start : start + split]), bytes(view[start + split : start + size])
            at = start + size + 2
            if buffer[at - 2 : at] != b"\r\n":
                raise self._nonsense(line)
            self._delivered.append(Delivered(subscription, subject, headers, body, reply))
        else:
            if len(buffer) - at > LINE_BYTES_MAX:
                raise ConnectionError(f"{self.host} sent a line without an end")
        del buffer[:at]

    def _said(self, line: bytes) -> None:
        if line == b"PING":
            self._send(b"PONG\r\n")
        elif line == b"PONG":
            self._pong = True
        elif line.startswith(b"-ERR"):
            if b"Permissions Violation" not in line:
                raise ConnectionError(f"{self.host}: {line[4:].decode(errors='replace').strip(' ' + chr(39))}")
        elif not line.startswith((b"INFO ", b"+OK")):
            raise self._nonsense(line)

    def _nonsense(self, line: bytes) -> ConnectionError:
        return ConnectionError(f"{self.host} sent what it should not: {line[:80]!r}")

    def forget(self) -> None:
        """In a forked child: lets go of what is the parent's, which goes on with it."""
        self._socket.close()

    def close(self) -> None:
        """Closing twice is fine. To be called by who reads, or when nobody does."""
        with self._lock:  # A moment after, the descriptor may be that of a file: nobody may be about to send to it.
            with contextlib.suppress(OSError):
                # A forked child may have the socket, too; for the other side it ends now.
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
