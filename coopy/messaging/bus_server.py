"""Where the server of a bus is, and how one comes to it: one that is started here, one of coopy's elsewhere, or the user's own.

A directory that a bus on this machine is kept in. Whoever opens it first starts a nats-server, and the others connect to that; when the
process that has started it ends, one of the others starts the next, at the same port.

    <directory>/            0700
        owner               locked by the process that runs the server
        password            what its members say to the server, made by the first one. 0600
        address             "127.0.0.1:40123", where the server listens
        server/             the server's own, see `coopy.network.server.supervisor`

The server shows a certificate that only the password makes, so a member tells the password to nobody else; see
`coopy.network.server.proof`. With certificates of your own, in a folder as `coopy cluster init` makes it, those are shown instead.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import ssl
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field

from coopy import ServerError, UsageError
from coopy.network.address import Address, parse
from coopy.network.server import folder, proof
from coopy.network.server.configuration import TLS, Settings, tls_of
from coopy.network.server.supervisor import Supervisor
from coopy.network.subjects import NODE
from coopy.network.wire import Bell, Wire

ANY_PORT = 0
"""The directory's own choice, made once."""
BACKOFF_S = (0.1, 0.5)
"""A server that keeps nothing starts within a tenth of a second, however often it was killed before; all are to be back within two."""
_TRIES = 5
"""A port that was free a moment ago may be taken; not so often in a row."""
_SUBJECT = "coopy.bus"
"""A server's configuration names a system; no stream of that name is ever made."""

_stations: weakref.WeakSet[Station] = weakref.WeakSet()


@dataclass(frozen=True)
class There:
    """A server that is reached by its address. Called, it makes a connection."""

    url: str
    user: str | None
    password: str | None = field(repr=False)
    tls: ssl.SSLContext | None = None
    tls_name: str | None = None

    def __call__(self, bell: Bell) -> Wire:
        """Raises OSError."""
        return Wire(
            self.url, self.user, self.password, subscribe=(), bell=bell, name="coopy bus", tls=self.tls, tls_name=self.tls_name
        )


class OneOf:
    """The way to the first of several servers that answers. Called, it makes a connection."""

    def __init__(self, ways: Sequence[There]) -> None:
        self.ways = list(ways)

    def __call__(self, bell: Bell) -> Wire:
        """Raises OSError, of the one that was tried last."""
        for number, way in enumerate(self.ways):
            try:
                found = way(bell)
            except OSError:
                if number == len(self.ways) - 1:
                    raise
            else:
                # The next time it is this one that is tried last: it is more likely to be gone than the others.
                self.ways = self.ways[number + 1 :] + self.ways[: number + 1]
                return found
        raise AssertionError("there is one at least")


def coopys(address: Address, password: str, tls: str | os.PathLike[str] | bool | None) -> There:
    """Returns the way to a server that coopy has started at an address. Raises `UsageError`."""
    if tls:
        return There(f"tls://{address}", NODE, password, context(tls))
    return There(f"nats://{address}", NODE, password, proof.context(NODE, password), proof.name(NODE))


def users_own(urls: str | Sequence[str], tls: str | os.PathLike[str] | bool | None) -> OneOf:
    """Returns the way to a server of the user's, or to one of several: as whom is in its URL. Raises `UsageError`."""
    given = [urls] if isinstance(urls, str) else list(urls)
    if not given or any(not isinstance(url, str) or url.partition("://")[0] not in ("nats", "tls") for url in given):
        raise UsageError("server: must be a URL that begins with nats:// or tls://, or a list of such. Nothing was opened.")
    return OneOf([There(url, None, None, context(tls) if tls else None) for url in given])


def context(tls: str | os.PathLike[str] | bool) -> ssl.SSLContext:
    """Returns what a connection is made with. ``tls``: True for the authorities of this machine, a PEM file of one, or a folder.

    Raises `UsageError`.
    """
    if tls is True:
        return ssl.create_default_context()
    path = os.fspath(tls)  # type: ignore[arg-type]
    files = tls_of(path, serves=False) if os.path.isdir(path) else TLS("", "", path)
    try:
        found = ssl.create_default_context(cafile=files.authority)
        if files.certificate:
            found.load_cert_chain(files.certificate, files.key)
    except OSError as error:
        raise UsageError(
            f"tls: {path}: {error.strerror or error}. Nothing was opened. It must be a PEM file, or a folder of such."
        ) from error
    return found


class Station:
    """One process of those that share a directory. Called, it makes a connection; it starts the server before, if nobody runs it."""

    def __init__(self, directory: str, listen: Address, password: str | None, tls: str | os.PathLike[str] | None) -> None:
        """``listen``: with port 0, a port of the directory's own choice. Raises `UsageError`, OSError."""
        proof.library()
        self.directory = os.path.abspath(directory)
        self._listen = listen
        self._tls = tls_of(os.fspath(tls)) if tls else None
        self._context = context(tls) if tls else None
        self._lock_fd: int | None = None
        self._lock = threading.Lock()
        self._left = False
        self.server: Supervisor | None = None
        """The server, if it is this process that runs it."""
        os.makedirs(self.directory, 0o700, exist_ok=True)
        self.password = password or self._own_password()
        _stations.add(self)

    def __call__(self, bell: Bell) -> Wire:
        """Raises OSError, `ServerError`, `UsageError`."""
        self.serve()
        address = _reachable(self.address)
        way = coopys(address, self.password, None)
        if self._context is not None:
            way = There(f"tls://{address}", NODE, self.password, self._context)
        return way(bell)

    @property
    def address(self) -> Address:
        """Where the server listens, whichever process runs it. Raises OSError if none has started one yet."""
        found = folder.read(self._path("address"))
        if found is None:
            raise ConnectionError(f"the process that has {self.directory} has not started its server yet")
        return self.server.settings.listen if self.server is not None else parse(found)

    def serve(self) -> bool:
        """Starts the server, unless another process runs it. Returns whether it is this process that does. Raises OSError, `ServerError`."""
        with self._lock:
            if not self._left and self.server is None and self._take():
                self._start()
            return self.server is not None

    def _path(self, name: str) -> str:
        return os.path.join(self.directory, name)

    def _own_password(self) -> str:
        """The password in the directory; made by who comes first."""
        fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            about = os.fstat(fd)
            if about.st_uid != os.geteuid() or about.st_mode & 0o022:
                raise UsageError(
                    f"{self.directory}: is to hold the password of a bus, and others than this user (id {os.geteuid()}) can write to it. Nothing "
                    f"was opened. Give a directory of this user's, or chmod 700 it."
                )
            fcntl.flock(fd, fcntl.LOCK_EX)
            return folder.own_password(self.directory)
        finally:
            os.close(fd)

    def _take(self) -> bool:
        """Whether it is now this process that runs the server."""
        fd = os.open(self._path("owner"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        self._lock_fd = fd
        return True

    def _start(self) -> None:
        """Raises `ServerError`."""
        try:
            before = folder.read(self._path("address"))
            for tries in range(_TRIES):
                listen = self._listen
                if listen.port == ANY_PORT:
                    # The members of a server before this one look there first.
                    listen = parse(before) if before and tries == 0 else listen._replace(port=_free_port(listen.host))
                try:
                    self._start_at(listen)
                    return
                except ServerError:
                    if self._listen.port != ANY_PORT or tries == _TRIES - 1:
                        raise
        finally:
            if self.server is None:
                self._give_back()

    def _start_at(self, listen: Address) -> None:
        place = self._path("server")
        os.makedirs(place, 0o700, exist_ok=True)
        server = Supervisor(
            Settings(
                directory=place,
                name=str(listen),
                listen=listen,
                node_password=self.password,
                subject=_SUBJECT,
                tls=self._tls or proof.files(place, NODE, self.password, listen.host),
                keeps=False,
            ),
            backoff_s=BACKOFF_S,
        )
        server.start()
        if folder.read(self._path("address")) != str(listen):
            folder.write(self._path("address"), str(listen))
        self.server = server

    def _give_back(self) -> None:
        fd, self._lock_fd = self._lock_fd, None
        if fd is not None:
            os.close(fd)

    def leave(self) -> None:
        """Ends the server, if it is this process that runs it: another member starts the next. Leaving twice is fine."""
        with self._lock:
            self._left = True
            server, self.server = self.server, None
            if server is not None:
                server.stop()
            self._give_back()

    def forked(self) -> None:
        """In a forked child: the lock and the server are the parent's. The child's copy would hold the lock after the parent has ended."""
        self._left, self.server = True, None
        self._lock = threading.Lock()
        with contextlib.suppress(OSError):
            self._give_back()


def _reachable(address: Address) -> Address:
    return address._replace(host={"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host))


def _free_port(host: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as found:
        found.bind((host, 0))
        return int(found.getsockname()[1])


def _forked() -> None:
    for station in list(_stations):
        station.forked()


os.register_at_fork(after_in_child=_forked)
