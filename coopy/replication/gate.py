"""The side of `coopy serve`: lets in who has the key, or is this user, and hands on what they send to whoever writes in the directory.

Each connection gets one of its own to the socket of the directory, and bytes go to and fro as they are: what they mean is known at both
ends, and here nothing is decoded. So it does not matter which process writes, and when another comes to write, the connections end and
are made again.

Whoever has not shown the key within `SHOW_S` is let go, and there are at most `STRANGERS_MAX` such connections: the oldest has to go first. A peer
that takes nothing for `TAKE_S`, and one that gives no sign of life, is let go, too.

A client sends a call again when its connection has ended, and it must not be recorded twice. So nobody who comes again is let in before all
that came over the connection before has been taken: that one is read no further, and its end at the directory's socket is waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import resource
import socket
import ssl
import stat
from collections import deque
from collections.abc import Iterator
from typing import Any, cast

from websockets.asyncio.server import Server, ServerConnection, serve, unix_serve
from websockets.exceptions import ConnectionClosed

from coopy.errors import AuthenticationFailed, UsageError
from coopy.ground import log
from coopy.ground.raised import on_failure
from coopy.replication import keys, local
from coopy.replication.keys import Where
from coopy.replication.link import ALIVE_S, REFUSED

SHOW_S = 10.0
"""A handshake takes as long as a few round trips."""
STRANGERS_MAX = 256
"""So many connections at most have not shown the key yet, and no more than an eighth of the files that the process may open."""
TAKE_S = 60.0
"""A peer that takes nothing for so long is let go."""
QUEUE_MAX = 4
"""So many messages of a peer are kept while the directory's socket is full."""
CLOSE_S = 1.0
"""A connection that is closed waits so long for the other side to say that it has understood."""
AGAIN = 1013
"""With this a connection is closed while nobody writes (registered with IANA: try again later)."""
_BACKLOG = 128
"""So many may connect before they are accepted."""
_FORGOTTEN = 1001
"""The server goes away (RFC 6455)."""
_log = logging.getLogger("coopy.websockets")


class Entrance(socket.socket):
    """A socket that listens, and knows who has come and has not shown the key yet. Lets no other user in at a Unix socket."""

    def prepare(self) -> None:
        """Is called once, before it listens."""
        self.strangers: deque[socket.socket] = deque()
        self._strangers_max = min(STRANGERS_MAX, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 8)
        self.setblocking(False)

    def accept(self) -> tuple[socket.socket, Any]:
        connection, address = super().accept()
        if self.family == socket.AF_UNIX and not local.is_ours(connection):
            connection.close()
            raise ConnectionAbortedError(errno.ECONNABORTED, "the peer is another user's")
        self.strangers.append(connection)
        if len(self.strangers) > self._strangers_max:
            # Those that have been closed have no number.
            self.strangers = deque(each for each in self.strangers if each.fileno() >= 0)
            while len(self.strangers) > self._strangers_max:
                self._let_go(self.strangers.popleft())
        return connection, address

    def admit(self, connection: Any) -> None:
        """Counts a connection no more. ``connection`` is what a transport gives as its socket."""
        number = connection.fileno()
        self.strangers = deque(each for each in self.strangers if each.fileno() not in (number, -1))

    @staticmethod
    def _let_go(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


class _Session:
    """What goes to and fro for one client."""

    def __init__(self, peer: ServerConnection) -> None:
        self.peer = peer
        self.leaving = asyncio.Event()
        """Set to have no more be taken from the peer."""
        self.gone = asyncio.Event()
        """Set once all that came from the peer has been taken by the process that writes."""


class Gate:
    """Serves the directory of a shared system at some addresses. Everything happens in one event loop."""

    def __init__(self, directory: str, system: bytes, cls: str, key: bytes, tls: ssl.SSLContext | None) -> None:
        """``system`` is the id of the system, ``cls`` the name of its class, ``key`` what is asked for over TCP."""
        self._directory = directory
        self._system = system
        self._cls = cls
        self._key = key
        self._tls = tls
        self._servers: list[Server] = []
        self._sockets: list[tuple[str, int]] = []
        """The Unix sockets that were made here, with their inodes."""
        self._sessions: dict[bytes, _Session] = {}
        """Those of the clients that are in."""

    async def open(self, where: Where) -> Where:
        """Listens at an address. Returns where that is. Raises `UsageError`, OSError."""
        entrance = _listening_at(where)
        with on_failure(entrance.close):
            entrance.prepare()
            if where.host is None:
                self._sockets.append((where.path, os.stat(where.path).st_ino))
            options: dict[str, Any] = {
                "compression": None,
                "server_header": None,
                "open_timeout": SHOW_S,
                "ping_interval": ALIVE_S,
                "ping_timeout": ALIVE_S,
                "close_timeout": CLOSE_S,
                "max_size": keys.PIECE_BYTES,
                "max_queue": QUEUE_MAX,
                "logger": _log,
            }

            async def handle(peer: ServerConnection) -> None:
                await self._handle(peer, entrance, b"" if where.host is None else self._key)

            if where.host is None:
                self._servers.append(await unix_serve(handle, sock=entrance, **options))
            else:
                self._servers.append(await serve(handle, sock=entrance, ssl=self._tls, **options))
        return where if where.host is None else Where("", where.host._replace(port=entrance.getsockname()[1]))

    async def close(self) -> None:
        """Lets nobody in any more, has all be answered that was taken, and lets everybody go."""
        for each in self._servers:
            each.close(close_connections=False)
        for session in list(self._sessions.values()):
            session.leaving.set()
            await session.gone.wait()
        for each in self._servers:
            each.close()
            await each.wait_closed()
        for path, inode in self._sockets:
            with contextlib.suppress(OSError):
                # Another process may have put its own in this place.
                if os.stat(path).st_ino == inode:
                    os.unlink(path)

    # -- one connection

    async def _handle(self, peer: ServerConnection, entrance: Entrance, key: bytes) -> None:
        try:
            process = await asyncio.wait_for(self._shown(peer, key), SHOW_S)
        except (AuthenticationFailed, asyncio.TimeoutError):
            await peer.close(REFUSED, "the key was not shown")
            return
        except ConnectionClosed:
            return
        entrance.admit(peer.transport.get_extra_info("socket"))
        while (before := self._sessions.get(process)) is not None:
            before.peer.transport.abort()
            if not await _either(before.gone, peer):
                return
        session = self._sessions[process] = _Session(peer)
        try:
            await self._hand_on(session)
        except ConnectionClosed:
            pass
        finally:
            del self._sessions[process]
            session.gone.set()

    async def _shown(self, peer: ServerConnection, key: bytes) -> bytes:
        """Returns the process of a client that has shown the key, and shows it to that one."""
        own = keys.nonce()
        await peer.send(keys.challenge(own))
        theirs, process = keys.admitted(key, await peer.recv(), own)
        await peer.send(keys.introduction(key, own, theirs, self._system, self._cls))
        return process

    async def _hand_on(self, session: _Session) -> None:
        """Hands on what comes from both sides, until one ends; then waits until all that was handed on has been taken."""
        peer = session.peer
        try:
            reader, writer = await self._writer()
        except OSError:
            await peer.close(AGAIN, "nobody writes just now")
            return
        try:
            up, down, leaving = map(asyncio.ensure_future, (_up(peer, writer), _down(reader, peer), session.leaving.wait()))
            await asyncio.wait([up, down, leaving], return_when=asyncio.FIRST_COMPLETED)
            for each in (up, leaving):
                each.cancel()
            with contextlib.suppress(OSError):
                writer.write_eof()
            # What was taken is answered, if the peer is still there; its side of the directory's socket ends after that.
            await asyncio.wait([up, down, leaving])
            with contextlib.suppress(OSError):
                while await reader.read(keys.PIECE_BYTES):
                    pass
            if not up.cancelled():
                up.exception()  # That a side has ended is all that is of interest.
            if down.exception() is not None:
                peer.transport.abort()  # It does not take so much as that it is let go.
        finally:
            writer.close()
            await peer.close(_FORGOTTEN)

    async def _writer(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Returns a connection to whoever writes. Raises OSError."""
        found = local.published(self._directory)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, "nobody has said that it writes", self._directory)
        loop = asyncio.get_running_loop()
        connection = await loop.run_in_executor(None, local.connected, self._directory, found.name)
        with on_failure(connection.close):
            connection.setblocking(False)
            return await asyncio.open_unix_connection(sock=connection)


async def _up(peer: ServerConnection, writer: asyncio.StreamWriter) -> None:
    async for message in peer:
        if not isinstance(message, bytes):
            return
        writer.write(message)
        await writer.drain()


async def _down(reader: asyncio.StreamReader, peer: ServerConnection) -> None:
    while data := await reader.read(keys.PIECE_BYTES):
        await asyncio.wait_for(peer.send(data), TAKE_S)


async def _either(gone: asyncio.Event, peer: ServerConnection) -> bool:
    """Waits until a session is gone, and returns True, or until a peer has ended, and returns False."""
    tasks = [asyncio.ensure_future(gone.wait()), asyncio.ensure_future(peer.wait_closed())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return gone.is_set()
    finally:
        for each in tasks:
            each.cancel()


def _listening_at(where: Where) -> Entrance:
    """Returns a socket that is bound. Raises `UsageError`, OSError."""
    if where.host is not None:
        return _bound_to_host(where)
    path = where.path
    if len(os.fsencode(path)) > local.PATH_BYTES_MAX:
        raise UsageError(
            f"{where}: a path of a socket has at most {local.PATH_BYTES_MAX} bytes. Nothing was opened. Choose a shorter one."
        )
    found = Entrance(socket.AF_UNIX, socket.SOCK_STREAM)
    with on_failure(found.close):
        try:
            found.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise UsageError(f"{where}: {error.strerror}. Nothing was opened.") from error
            _remove_if_left(where)
            found.bind(path)
        # Before it listens: until then nobody can connect, whatever mode it was made with.
        os.chmod(path, stat.S_IRUSR | stat.S_IWUSR)
        found.listen(_BACKLOG)
    return found


def _bound_to_host(where: Where) -> Entrance:
    host = where.host
    assert host is not None, "it is not a path"
    for family, kind, protocol, _, address in _looked_up(where):
        found = Entrance(family, kind, protocol)
        with on_failure(found.close):
            # A server that is started again gets the port of the one before.
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                found.bind(address)
            except OSError as error:
                raise UsageError(f"{where}: {error.strerror}. Nothing was opened.") from error
            found.listen(_BACKLOG)
        return found
    raise UsageError(f"{where}: this is no address of this machine. Nothing was opened.")


def _looked_up(where: Where) -> Iterator[Any]:
    host = cast(Any, where.host)
    try:
        yield from socket.getaddrinfo(host.host, host.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise UsageError(f"{where}: {error.strerror}. Nothing was opened.") from error


def _remove_if_left(where: Where) -> None:
    """Removes a socket at which nobody listens any more. Raises `UsageError` if somebody does, or if it is none."""
    if not stat.S_ISSOCK(os.stat(where.path).st_mode):
        raise UsageError(f"{where}: there is a file, and it is no socket. Nothing was opened, and nothing was changed.")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        try:
            other.connect(where.path)
        except ConnectionRefusedError:
            os.unlink(where.path)
            log.warn("%s: a socket that another process had left was removed", where)
            return
        except OSError as error:
            raise UsageError(f"{where}: {error.strerror}. Nothing was opened.") from error
    raise UsageError(f"{where}: another process listens there. Nothing was opened.")
