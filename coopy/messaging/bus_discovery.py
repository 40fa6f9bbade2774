"""Where a bus is, told on the local network (DNS-SD over multicast DNS, by `zeroconf`): addresses, and never whom to trust.

Anybody on the network can announce anything. So what is found is only tried: a member tells the password to a server that has shown it has
it, and passes over all others. Each announcement has a name that nobody else has, since two of one name are not noticed once both are
there (python-zeroconf#1356), and is forgotten within TTL_S of a machine that lost its power (#1063).
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

from coopy import UsageError
from coopy.messaging.bus_server import There
from coopy.network.address import Address
from coopy.network.wire import Bell, Wire

TYPE = "_coopy-bus._tcp.local."
TTL_S = 60
"""What a machine that lost its power has announced is believed for so long."""
INTERFACES: Sequence[str] | None = None
"""Addresses of this machine at which is announced and listened; None: all."""
NAME_BYTES_MAX = 40
"""DNS takes 63 bytes for a label, in which what makes the name unique stands as well."""


def library() -> Any:
    """The module `zeroconf`. Raises `UsageError` if it is not there."""
    try:
        import zeroconf
    except ImportError as error:
        raise UsageError(
            f"discovery needs the extra [discovery]: {error}. Install it with `pip install 'coopy[discovery]'`."
        ) from error
    return zeroconf


def checked(name: str) -> str:
    """Returns a name under which a bus can be announced. Raises `UsageError`."""
    if (
        not isinstance(name, str)
        or not 0 < len(name.encode("utf-8", "replace")) <= NAME_BYTES_MAX
        or "." in name
        or not name.isprintable()
    ):
        raise UsageError(
            f"{name!r}: a bus is announced under 1 to {NAME_BYTES_MAX} bytes of text without dots. Nothing was opened."
        )
    return name


class Announcement:
    """Says where a bus is, until it is closed."""

    def __init__(self, name: str, listen: Address) -> None:
        """Raises `UsageError`, OSError."""
        zeroconf = library()
        self._zeroconf = _started(zeroconf, listen)
        unique = secrets.token_hex(8)
        self._said = zeroconf.ServiceInfo(
            TYPE,
            f"{checked(name)} {unique}.{TYPE}",
            port=listen.port,
            parsed_addresses=_addresses(listen),
            properties={"name": name},
            server=f"coopy-{unique}.local.",
            host_ttl=TTL_S,
            other_ttl=TTL_S,
        )
        self._zeroconf.register_service(self._said)

    def close(self) -> None:
        """Takes it back."""
        self._zeroconf.unregister_service(self._said)
        self._zeroconf.close()


class Finding:
    """The way to whichever server is announced under a name and has the password. Called, it makes a connection."""

    def __init__(self, name: str, way: Callable[[Address], There]) -> None:
        """``way``: to a server at an address. Raises `UsageError`, OSError."""
        self._zeroconf_module = library()
        self._name = checked(name)
        self._way = way
        self._zeroconf = _started(self._zeroconf_module, None)
        self._lock = threading.Lock()
        self._there: dict[str, list[Address]] = {}
        self._browser = self._zeroconf_module.ServiceBrowser(self._zeroconf, TYPE, handlers=[self._changed])

    def _changed(self, zeroconf: Any, service_type: str, name: str, state_change: Any) -> None:
        if state_change is self._zeroconf_module.ServiceStateChange.Removed:
            with self._lock:
                self._there.pop(name, None)
            return
        # Asked in another thread: this one is that of zeroconf, which would have to answer.
        threading.Thread(target=self._look, args=(zeroconf, service_type, name), name="coopy bus found", daemon=True).start()

    def _look(self, zeroconf: Any, service_type: str, name: str) -> None:
        found = zeroconf.get_service_info(service_type, name, timeout=3000)
        if found is None or (found.properties or {}).get(b"name") != self._name.encode() or not found.port:
            return
        with self._lock:
            self._there[name] = [Address(str(each), found.port) for each in found.parsed_addresses()]

    def __call__(self, bell: Bell) -> Wire:
        """Raises OSError."""
        with self._lock:
            addresses = list(dict.fromkeys(address for found in self._there.values() for address in found))
        refused = []
        for address in addresses:
            try:
                return self._way(address)(bell)
            except OSError as error:
                # Whoever announces there may be anybody: others may have the password.
                refused.append(f"{address}: {error}")
        found = (
            f"{len(addresses)} addresses were found, and none has this password ({'; '.join(refused)})"
            if refused
            else "none was found"
        )
        raise OSError(f"of buses that are announced as {self._name!r}, {found}")

    def close(self) -> None:
        """Listens no more."""
        self._zeroconf.close()


def _started(zeroconf: Any, listen: Address | None) -> Any:
    interfaces = (
        list(INTERFACES) if INTERFACES is not None else ["127.0.0.1"] if listen is not None and listen.is_loopback else None
    )
    return zeroconf.Zeroconf() if interfaces is None else zeroconf.Zeroconf(interfaces=interfaces)


def _addresses(listen: Address) -> list[str]:
    """The addresses of this machine at which others reach a server."""
    if listen.host in ("0.0.0.0", "::"):
        import ifaddr

        found = [ip.ip for adapter in ifaddr.get_adapters() for ip in adapter.ips if isinstance(ip.ip, str)]
        return [each for each in found if not ipaddress.ip_address(each).is_loopback] or found
    return [socket.gethostbyname(listen.host)] if not listen.host.count(":") else [listen.host]
