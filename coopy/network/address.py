"""Where a node is reached: a host and a port. Nothing is looked up and nothing is connected here.

A node's address is its name too: all nodes are told the same list, and each finds itself in it. So two ways
to write one address must come out equal: hosts in lower case, IPv6 in its short form and in brackets.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

from coopy.errors import UsageError
from coopy.ground.words import shown

PORT = 5466
"""The documented one."""
ROUTE_OFFSET = 1000
"""The servers of a cluster talk to one another on the node's port plus this."""
PORT_MAX = 65535
"""A port has 16 bits."""

_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?")
_HOST_LENGTH_MAX = 253
"""What a name may have in DNS."""


class Address(NamedTuple):
    host: str
    port: int

    def __str__(self) -> str:
        """ "host:port", as `parse` takes it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Nobody outside this machine can reach it: 127/8, ::1, localhost. Other names are not looked up."""
        if self.host == "localhost":
            return True
        try:
            ip = ipaddress.ip_address(self.host)
        except ValueError:
            return False
        mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
        return (mapped or ip).is_loopback

    @property
    def route(self) -> Address:
        """Where the servers of a cluster talk to this node's. Raises `UsageError` if there is no such port."""
        if self.port + ROUTE_OFFSET > PORT_MAX:
            raise UsageError(
                f"{self}: the servers of a cluster talk on the node's port + {ROUTE_OFFSET}, and there is no port "
                f"{self.port + ROUTE_OFFSET}. Give the node a port up to {PORT_MAX - ROUTE_OFFSET}."
            )
        return Address(self.host, self.port + ROUTE_OFFSET)


def parse(text: str, default_port: int = PORT) -> Address:
    """ "host", "host:port", "[v6]" or "[v6]:port". Raises `UsageError` with what was wrong."""
    if not isinstance(text, str):
        raise UsageError(f"address {shown(text)}: must be a string, 'host' or 'host:port'")
    if "/" in text or "@" in text:
        raise UsageError(f"address {_without_password(text)!r}: give host and port alone, as in 'a.example.com:{default_port}'")
    bracketed = re.fullmatch(r"\[([^\[\]]*)\](?::(.*))?", text, re.DOTALL)
    if bracketed:
        host, port = bracketed[1], bracketed[2]
    elif text.count(":") > 1:
        host, port = text, None
    else:
        host, colon, rest = text.partition(":")
        port = rest if colon else None
    return Address(_host(text, host, bracketed is not None), default_port if port is None else _port(text, port))


def _host(text: str, host: str, bracketed: bool) -> str:
    if not host:
        raise UsageError(f"address {shown(text)}: has no host")
    if bracketed or ":" in host:
        try:
            return str(ipaddress.IPv6Address(host))
        except ValueError as error:
            raise UsageError(
                f"address {shown(text)}: {error}. An IPv6 address with a port is written '[::1]:{PORT}'."
            ) from None
    host = host.lower()
    if len(host) > _HOST_LENGTH_MAX or not _HOST.fullmatch(host):
        raise UsageError(f"address {shown(text)}: {shown(host)} is not the name or the IP address of a host")
    return host


def _port(text: str, port: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= PORT_MAX:
        raise UsageError(f"address {shown(text)}: {shown(port)} is not a port; it must be a number from 1 to {PORT_MAX}")
    return int(port)


def _without_password(text: str) -> str:
    return re.sub(r"//[^@]*@", "//…@", text) if "//" in text else re.sub(r".*@", "…@", text, flags=re.DOTALL)
