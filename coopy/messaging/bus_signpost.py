"""A second port that leads to a server: who connects there is told the port of the server, and nothing else.

PyDistributed has publishers connect to one port and subscribers to another; nats-server has one for both. What is said at the other is one
line, which begins as a server's own does:

    INFO {"coopy_bus": 5559}

It is believed by nobody: whoever follows it tells the password only to a server that has it.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import weakref
from dataclasses import dataclass, field

from coopy import ServerError
from coopy.messaging.bus_server import coopys
from coopy.network.address import PORT_MAX, Address
from coopy.network.server.supervisor import said_at
from coopy.network.wire import Bell, Wire

_KEY = "coopy_bus"
_ANSWER_S = 2.0
"""A server says its first line as soon as one connects."""

_signposts: weakref.WeakSet[Signpost] = weakref.WeakSet()


class Signpost:
    """Listens at an address, and tells the port of a server."""

    def __init__(self, listen: Address, port: int) -> None:
        """Raises `ServerError` if the address is taken."""
        self._line = f"INFO {json.dumps({_KEY: port})}\r\n".encode()
        try:
            self._socket = socket.create_server(listen, family=socket.AF_INET6 if ":" in listen.host else socket.AF_INET)
        except OSError as error:
            raise ServerError(
                f"port {listen.port} of {listen.host}, at which subscribers are to find the broker, can't be had: {error.strerror or error}. "
                f"Stop what listens there (`ss -ltnp 'sport = :{listen.port}'` names it), or give another backend_port."
            ) from error
        _signposts.add(self)
        threading.Thread(target=self._serve, name="coopy bus signpost", daemon=True).start()

    def _serve(self) -> None:
        # Closed: that is the end.
        with contextlib.suppress(OSError, ValueError):
            while True:
                connection, _ = self._socket.accept()
                with connection, contextlib.suppress(OSError):
                    connection.setblocking(False)
                    connection.send(self._line)

    def close(self) -> None:
        """Closing twice is fine."""
        with contextlib.suppress(OSError):
            # It wakes the thread that accepts; closing alone does not.
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def forked(self) -> None:
        """In a forked child: the port is the parent's, and free when that ends."""
        self._socket.close()


@dataclass(frozen=True)
class Signposted:
    """The way to a server by an address of its own or of its signpost. Called, it makes a connection."""

    address: Address
    password: str = field(repr=False)
    tls: str | os.PathLike[str] | bool | None = None

    def __call__(self, bell: Bell) -> Wire:
        """Raises OSError, `UsageError`."""
        port = said_at(self.address.host, self.address.port, _ANSWER_S).get(_KEY)
        address = self.address
        if isinstance(port, int) and 0 < port <= PORT_MAX:
            address = address._replace(port=port)
        return coopys(address, self.password, self.tls)(bell)


def _forked() -> None:
    for signpost in list(_signposts):
        signpost.forked()


os.register_at_fork(after_in_child=_forked)
