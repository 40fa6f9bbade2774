"""The ports of an elector, and who may be at them for how long.

`serve` opens the ports first and the system after them: programs that start at the same time as the elector find somebody who
answers as soon as it can, in place of a refused connection, after which clients in JavaScript end their process. HTTP is uvicorn's and h11's
(docs/design/022-elector.md says why).

Whoever can reach a port is a stranger. He has `REQUEST_S` for a request, which is of a few kilobytes; a connection is kept for `IDLE_S`; and if
there are `CONNECTIONS_MAX`, the one that has been idle for the longest time makes room. A request that comes from a web page is refused:
a browser sends it to this machine whatever page it shows.
"""

from __future__ import annotations

import asyncio
import errno
import json
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from coopy.ground.raised import on_failure
from coopy.sync.elector_protocol import Reply, Request, Sidecar
from coopy.sync.elector_system import OpenElector

PATIENCE_S = 15.0
"""A request waits so long for an elector that has not opened yet, or for a majority: longer than one node takes to lead after another."""
REQUEST_S = 10.0
"""Within this time a request must have come, and its answer must have been read."""
IDLE_S = 75.0
"""A connection without a request is closed after it: clients ask each 10 s, or come anew."""
CONNECTIONS_MAX = 512
"""Each takes one of the 1,024 files that a process may have open by default."""
BODY_BYTES_MAX = 65_536
"""A lock in JSON takes less than one of these 64 kilobytes."""
HEADER_BYTES_MAX = 16_384
"""The request line and all headers."""
GOODBYE_S = 3
"""Requests on their way have this time to end, when the elector does."""
SWEEP_S = 0.1
"""Between two looks at what is late."""

_ENDED = Reply(503, {"message": "the elector ends. It is not known whether this was recorded. Ask again"})

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Peer = tuple[str, int]


# -- ports


def listen(host: str, port: int) -> list[socket.socket]:
    """Returns sockets that listen at a port of all addresses of a host; of ``localhost`` those that this machine has, IPv4 and IPv6.

    Raises OSError, which says what to do.
    """
    addresses = ["127.0.0.1", "::1"] if host == "localhost" else [host]
    found: list[socket.socket] = []
    for address in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            found.append(socket.create_server((address, port), family=family))
        except OSError as error:
            if found and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                continue  # This machine has no IPv6.
            for each in found:
                each.close()
            raise _refused(address, port, error) from None
    return found


def _refused(address: str, port: int, error: OSError) -> OSError:
    if error.errno == errno.EADDRINUSE:
        return OSError(
            error.errno,
            f"port {port} of {address} is taken. Perhaps another elector runs already: see http://{address}:{port}/healthz, or "
            f"`ss -ltnp` for the program that has it. Nothing was opened. End that program, or give another --port to this elector and "
            f"to its clients.",
        )
    return OSError(
        error.errno, f"port {port} of {address} can't be listened at: {error.strerror or error}. Nothing was opened."
    )


# -- who is there


class _Visitor:
    """One connection."""

    def __init__(self, transport: asyncio.Transport, until: float) -> None:
        self.transport = transport
        self.until: float | None = until
        """When it is closed if nothing comes; None while a request is answered."""
        self.is_idle = True
        """Whether no part of a request has come since the last one was answered."""


class Visitors:
    """The connections, and their time."""

    def __init__(self) -> None:
        self._visitors: dict[Peer, _Visitor] = {}

    def came(self, peer: Peer, transport: asyncio.Transport, now: float) -> None:
        """Lets a connection in. If there are too many, the one that must go first anyway is closed, and if all are busy this one."""
        visitor = _Visitor(transport, now + REQUEST_S)
        if len(self._visitors) >= CONNECTIONS_MAX:
            waiting = [each for each in self._visitors.values() if each.until is not None]
            (min(waiting, key=lambda each: each.until or 0) if waiting else visitor).transport.abort()
        self._visitors[peer] = visitor

    def left(self, peer: Peer) -> None:
        """Forgets a connection that is closed."""
        self._visitors.pop(peer, None)

    def spoke(self, peer: Peer, now: float) -> None:
        """Begins the time of a request with its first bytes."""
        visitor = self._visitors.get(peer)
        if visitor is not None and visitor.is_idle and visitor.until is not None:
            visitor.is_idle, visitor.until = False, now + REQUEST_S

    def begun(self, peer: Peer) -> None:
        """Stops the time of a connection whose request is answered."""
        if peer in self._visitors:
            self._visitors[peer].until = None

    def ended(self, peer: Peer, now: float) -> None:
        """Begins the time of a connection whose request has been answered."""
        visitor = self._visitors.get(peer)
        if visitor is not None:
            visitor.is_idle, visitor.until = True, now + IDLE_S

    def drop(self, peer: Peer) -> None:
        """Closes a connection at once."""
        if peer in self._visitors:
            self._visitors[peer].transport.abort()

    def sweep(self, now: float) -> None:
        """Closes the connections whose time is over."""
        for visitor in [each for each in self._visitors.values() if each.until is not None and each.until < now]:
            visitor.transport.abort()


def _peer_of(transport: asyncio.BaseTransport) -> Peer:
    host, port, *_ = transport.get_extra_info("peername") or ("", 0)
    return host, port


def _protocol(visitors: Visitors) -> type[H11Protocol]:
    """Returns uvicorn's protocol of a connection, which tells of what comes and goes."""

    class Watched(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            # asyncio does so for sockets that it made itself. Without it a kept connection waits 40 ms for each answer.
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            visitors.came(_peer_of(transport), transport, asyncio.get_running_loop().time())

        def data_received(self, data: bytes) -> None:
            visitors.spoke(_peer_of(self.transport), asyncio.get_running_loop().time())
            super().data_received(data)

        def connection_lost(self, exc: Exception | None) -> None:
            visitors.left(_peer_of(self.transport))
            super().connection_lost(exc)

        def send_400_response(self, msg: str) -> None:
            # As uvicorn has it, but the body is JSON like all the others, and its length is said.
            body = json.dumps({"message": msg}).encode()
            head = f"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            self.transport.write(head.encode() + body)
            self.transport.close()

    return Watched


# -- requests


class Application:
    """Reads a request, has it answered, and sends the answer: as ASGI has it."""

    def __init__(self, visitors: Visitors, owner: str, ttl_ns: int, probes: frozenset[int]) -> None:
        self._visitors = visitors
        self._owner = owner
        self._ttl_ns = ttl_ns
        self._probes = probes
        """The ports at which only the probes are answered."""
        self._opened: asyncio.Future[tuple[OpenElector, Sidecar]] = asyncio.get_running_loop().create_future()
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def opened(self, elector: OpenElector) -> None:
        """Answers by this elector from now on."""
        self._opened.set_result((elector, Sidecar(elector, self._owner, self._ttl_ns)))

    def end(self) -> None:
        """Waits for no answer any more."""
        self._ended.set_result(None)

    def failed(self) -> None:
        """Answers that there will be no elector."""
        if not self._opened.done():
            self._opened.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        peer: Peer = tuple(scope["client"] or ("", 0))
        self._visitors.begun(peer)
        try:
            body = await asyncio.wait_for(_body(receive), REQUEST_S)
            if body is None:
                return
            answering = asyncio.ensure_future(self._answer(scope, body))
            leaving = asyncio.ensure_future(receive())
            try:
                ends: set[asyncio.Future[Any]] = {answering, leaving, self._ended}
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                # If it is the client that has gone, no lock is taken for him, unless that is on its way already.
                if answering.done() or self._ended.done():
                    reply = answering.result() if answering.done() else _ENDED
                    await asyncio.wait_for(_send(send, reply), REQUEST_S)
            finally:
                answering.cancel()
                leaving.cancel()
        except asyncio.TimeoutError:
            self._visitors.drop(peer)
        finally:
            self._visitors.ended(peer, asyncio.get_running_loop().time())

    async def _answer(self, scope: Scope, body: bytes) -> Reply:
        if len(body) > BODY_BYTES_MAX:
            return Reply(413, {"message": f"the body has more than {BODY_BYTES_MAX} bytes"}, (("connection", "close"),))
        path, port = scope["path"], scope["server"][1]
        if path in ("/healthz", "/readyz") and scope["method"] in ("GET", "HEAD"):
            return await self._probe(path)
        if port in self._probes:
            return Reply(404, {"message": f"Unknown path: {path}"})
        if any(name == b"origin" for name, _ in scope["headers"]):
            return Reply(403, {"message": "web pages may not ask for locks"})
        try:
            _, sidecar = await asyncio.wait_for(asyncio.shield(self._opened), PATIENCE_S)
        except asyncio.TimeoutError:
            return Reply(503, {"message": "the elector has not opened yet. Nothing was recorded. Ask again"})
        except asyncio.CancelledError:
            if not self._opened.cancelled():
                raise
            return Reply(503, {"message": "the elector could not be opened, or ends. Nothing was recorded"})
        return await sidecar.answer(Request(scope["method"], path, scope["query_string"].decode("latin-1"), body))

    async def _probe(self, path: str) -> Reply:
        if not self._opened.done() or self._opened.cancelled():
            return Reply(200 if path == "/healthz" else 503, {"message": "opening"})
        elector, _ = self._opened.result()
        # In another thread: a disk that hangs must not hold up those who ask for nothing of it.
        return await asyncio.get_running_loop().run_in_executor(None, _alive if path == "/healthz" else _ready, elector)


def _alive(elector: OpenElector) -> Reply:
    why = elector.stopped()
    return Reply(503, {"message": why}) if why else Reply(200, {"message": "ok"})


def _ready(elector: OpenElector) -> Reply:
    why = elector.problem()
    return Reply(503, {"message": why}) if why else Reply(200, {"message": "ok", "leads": elector.leads()})


async def _body(receive: Receive) -> bytes | None:
    """Returns the body, or more of it than may be; None if the connection was closed."""
    body, more = b"", True
    while more and len(body) <= BODY_BYTES_MAX:
        event = await receive()
        if event["type"] != "http.request":
            return None
        body += event.get("body", b"")
        more = event.get("more_body", False)
    return body


async def _send(send: Send, reply: Reply) -> None:
    body = json.dumps(reply.body).encode()
    headers = [("content-type", "application/json"), ("content-length", str(len(body))), *reply.headers]
    encoded = [(name.encode(), value.encode()) for name, value in headers]
    await send({"type": "http.response.start", "status": reply.status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})


# -- all of it


class Opened(NamedTuple):
    """A system of an `Elector`: for the loop, as `coopy.aio.open` gives it; the same for threads; and how to close it."""

    calls: Any
    system: Any
    close: Callable[[], Awaitable[None]]


async def serve(
    opening: Callable[[], Awaitable[Opened]],
    sockets: list[socket.socket],
    *,
    owner: str,
    ttl_ns: int,
    probes: list[socket.socket] | None = None,
    on_open: Callable[[], object] = lambda: None,
    is_over: Callable[[], bool] = lambda: False,
) -> None:
    """Serves until SIGTERM or SIGINT, or until ``is_over``, which is asked often; then closes the system.

    Raises what ``opening`` raises. The locks stay as they are: their owners may come back to the next elector.
    """
    visitors = Visitors()
    ports = frozenset(each.getsockname()[1] for each in probes or ())
    application = Application(visitors, owner, ttl_ns, ports)
    server = uvicorn.Server(
        uvicorn.Config(
            application,
            http=_protocol(visitors),
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=int(IDLE_S),
            timeout_graceful_shutdown=GOODBYE_S,
            h11_max_incomplete_event_size=HEADER_BYTES_MAX,
        )
    )
    life = asyncio.ensure_future(_life(opening, application, server, on_open))
    watch = asyncio.ensure_future(_watch(server, visitors, is_over))
    try:
        await server.serve([*sockets, *(probes or ())])
    finally:
        watch.cancel()
        server.should_exit = True
        await life


async def _life(
    opening: Callable[[], Awaitable[Opened]], application: Application, server: uvicorn.Server, on_open: Callable[[], object]
) -> None:
    """Opens the system, and closes it when the server is to end."""
    opened = asyncio.ensure_future(opening())
    with on_failure(setattr, server, "should_exit", True), on_failure(application.failed):
        while not opened.done() and not server.should_exit:
            await asyncio.wait({opened}, timeout=SWEEP_S)
        if not opened.done():
            opened.cancel()
            application.failed()
            return
        calls, system, close = await opened
    elector = OpenElector(calls, system)
    try:
        application.opened(elector)
        on_open()
        while not server.should_exit:
            await asyncio.sleep(SWEEP_S)
        elector.let_go()
        patient_until = asyncio.get_running_loop().time() + GOODBYE_S - 1
        while server.server_state.tasks and asyncio.get_running_loop().time() < patient_until:
            await asyncio.sleep(SWEEP_S)
        application.end()
    finally:
        elector.let_go()
        # It waits for the lock of the system, which a call may have for long, and those who are told of the end must be told.
        await asyncio.get_running_loop().run_in_executor(None, elector.close)
        await close()


async def _watch(server: uvicorn.Server, visitors: Visitors, is_over: Callable[[], bool]) -> None:
    while True:
        visitors.sweep(asyncio.get_running_loop().time())
        server.should_exit = server.should_exit or is_over()
        await asyncio.sleep(SWEEP_S)
