"""What PySyncObj calls a node: its address, as an object that is equal to any other of the same id."""

from __future__ import annotations

import socket
from typing import Any


class Node:
    """A node, known by its id.

    >>> Node("a") == Node("a"), str(Node("a"))
    (True, 'a')
    """

    def __init__(self, id: Any, **kwargs: Any) -> None:
        self._id = id
        self.__dict__.update(kwargs)

    @property
    def id(self) -> Any:
        """What tells it from other nodes."""
        return self._id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Node) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __str__(self) -> str:
        return str(self.id)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r})"


class TCPNode(Node):
    """A node whose id is its address, 'host:port'. Raises ValueError for anything else.

    >>> node = TCPNode("a.example:4321")
    >>> node.address, node.host, node.port
    ('a.example:4321', 'a.example', 4321)
    """

    def __init__(self, address: str, **kwargs: Any) -> None:
        super().__init__(address, **kwargs)
        host, _, port = address.rpartition(":")
        self._host, self._port = host, int(port)

    @property
    def address(self) -> str:
        """'host:port'."""
        return str(self.id)

    @property
    def host(self) -> str:
        """The name or the IP address of its machine."""
        return self._host

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._port

    @property
    def ip(self) -> str:
        """The IP address of its machine, looked up now. Raises OSError."""
        return str(socket.getaddrinfo(self._host.strip("[]"), self._port, type=socket.SOCK_STREAM)[0][4][0])
