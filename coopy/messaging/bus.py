"""The message bus: publish and subscribe, questions and answers, services; in one process, on one machine, and over many.

    bus = Bus()                                                   in this process: no server, no files
    bus = Bus("run/bus")                                          all processes of this user that give the same directory
    bus = Bus("run/bus", listen="0.0.0.0:5559", password=...)     and for other machines, which give:
    bus = Bus(at="a.example.com:5559", password=...)
    bus = Bus(server="nats://user:password@nats.example.com")     your own nats-server

Subjects and patterns are those of NATS, and so is the server: coopy has no broker of its own. What is sent is delivered at most once, and
what is lost is told: see `Missed`, and docs/guides/bus.md.
"""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, TypeVar, overload

from coopy import Unavailable, UsageError
from coopy.messaging import bus_service
from coopy.messaging.bus_core import Core, positive
from coopy.messaging.bus_discovery import Announcement, Finding, checked
from coopy.messaging.bus_link import ServerLink
from coopy.messaging.bus_local import Hub, Link, LocalLink
from coopy.messaging.bus_message import Message, Missed
from coopy.messaging.bus_payload import Payloads, key_of
from coopy.messaging.bus_server import ANY_PORT, Station, There, coopys, users_own
from coopy.messaging.bus_service import Service
from coopy.messaging.bus_subscription import WAITING_BYTES_MAX, WAITING_MESSAGES_MAX, Subscription
from coopy.network.address import Address, parse
from coopy.network.limits import Sparing
from coopy.network.wire import Delivered

__all__ = ["Bus", "Message", "Missed", "Service", "Subscription"]

T = TypeVar("T")

TIMEOUT_S = 10.0
"""A server that is started takes a tenth of a second, on a busy machine seconds."""
REQUEST_S = 5.0
"""How long an answer is waited for, if nothing else is said."""
LOGGER = "coopy.bus"


class Bus:
    """A member of a bus. Any thread may use it. Ends with `close`, or a `with`.

    Args:
        directory: where the members on this machine find one another; see `coopy.messaging.bus_server`.
        listen: with ``directory``: the address for other machines, as "0.0.0.0:5559". Whoever is there first listens on it.
        at: address of a bus on another machine, as "a.example.com:5559".
        find: name of a bus that is announced on the local network (the extra [discovery]).
        server: URL of a nats-server of your own, with user and password in it, nats:// or tls://; or a list of them, those of a cluster.
        password: what all members share. Needed with ``at``, ``find``, and a ``listen`` that other machines reach; a directory has its own.
            With ``server`` it is for pickles alone.
        tls: a folder of certificates as `coopy cluster init` makes it; for those who only connect also the PEM file of an authority, or True
            for those of this machine. Without it the server shows a certificate that the password makes.
        encoding: of values that are not bytes: "json" (default), "msgpack" (the extra [msgpack]), or "pickle" among those who share a
            password. What comes is decoded as its header says, whatever this is.
        announce: name under which this bus is announced on the local network, with ``listen`` (the extra [discovery]).
        timeout: seconds for connecting, for a server to have a subscription, and for a place when the server takes less than is published.

    Without ``directory``, ``at``, ``find`` and ``server`` it is a bus in this process, and `another` makes its other members.

    Raises:
        UsageError: the arguments don't go together, or an extra is not installed.
        AuthenticationFailed: the server has another password or certificate; the password was not sent.
        Unavailable: nobody answered in time.
        ServerError: nats-server is not there, or does not start.

    >>> with Bus() as bus, bus.subscribe("orders.*") as orders:
    ...     bus.publish("orders.new", {"article": "tea", "count": 3})
    ...     print(orders.get().value["article"])
    tea
    """

    def __init__(
        self,
        directory: str | os.PathLike[str] | None = None,
        *,
        listen: str | None = None,
        at: str | None = None,
        find: str | None = None,
        server: str | Sequence[str] | None = None,
        password: str | None = None,
        tls: str | os.PathLike[str] | bool | None = None,
        encoding: str = "json",
        announce: str | None = None,
        timeout: float = TIMEOUT_S,
    ) -> None:
        places = {"directory": directory, "at": at, "find": find, "server": server}
        given = [name for name, value in places.items() if value is not None]
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)}: a bus is in one place. Nothing was opened. Leave the others out.")
        for name, value in (("listen", listen), ("announce", announce)):
            if value is not None and directory is None:
                raise UsageError(
                    f"{name}=: is for a bus in a directory, of which this process may run the server. Nothing was opened."
                )
        _check_password(given[0] if given else "", listen, password)
        if announce is not None:
            checked(announce)
        sparing, seconds = Sparing(LOGGER), positive("timeout", timeout)
        link: Link
        key: Callable[[], bytes] | None = (lambda: key_of(password)) if password else None
        self._station: Station | None = None
        finding: Finding | None = None
        if directory is not None:
            path = os.fspath(directory)
            certificates = None if tls in (None, False) else _folder(tls)
            station = self._station = Station(
                path, parse(listen) if listen else Address("127.0.0.1", ANY_PORT), password, certificates
            )
            key = lambda: key_of(station.password)  # noqa: E731
            link = ServerLink(station, path, sparing, station.leave)
        elif at is not None:
            address = parse(at)
            link = ServerLink(coopys(address, str(password), tls), str(address), sparing)
        elif find is not None:
            finding = Finding(find, lambda address: coopys(address, str(password), tls))
            link = ServerLink(finding, f"{find!r} on the local network", sparing, finding.close)
        elif server is not None:
            way = users_own(server, tls)
            link = ServerLink(way, ", ".join(map(_without_password, way.ways)), sparing)
        else:
            link, key = LocalLink(Hub()), lambda: _IN_PROCESS
        self._open(link, Payloads(encoding, key), sparing, seconds, seconds)
        self._again: Callable[[], Bus] = lambda: Bus(
            directory,
            listen=listen,
            at=at,
            find=find,
            server=server,
            password=password,
            tls=tls,
            encoding=encoding,
            timeout=timeout,
        )
        if announce is not None:
            assert self._station is not None, "it is announced where there is a directory"
            self._announce(announce, self._station)

    def _open(self, link: Link, payloads: Payloads, sparing: Sparing, seconds: float, start_s: float | None) -> None:
        self._payloads = payloads
        self._link = link
        self._core = Core(link, payloads, sparing, seconds)
        self._core.start(start_s)

    def _announce(self, name: str, station: Station) -> None:
        """Says where the server is; so does each member that is opened like this, as any of them may run the next."""
        try:
            said = Announcement(name, station.address)
        except (UsageError, OSError):
            self.close()
            raise
        self._core.before_closing(said.close)

    @classmethod
    def over(cls, link: Link, payloads: Payloads, timeout: float, start: float | None) -> Bus:
        """Returns a member over a link of its own. ``start``: as `coopy.messaging.bus_local.Link.start` takes it."""
        found = cls.__new__(cls)
        found._station = None
        found._open(link, payloads, Sparing(LOGGER), timeout, start)
        found._again = lambda: cls.over(link, payloads, timeout, start)
        return found

    def another(self) -> Bus:
        """Returns one more member of this bus: with a name and a connection of its own. Raises what opening raises."""
        if isinstance(self._link, LocalLink):
            return Bus.over(LocalLink(self._link.hub), self._payloads, self._core.timeout_s, None)
        return self._again()

    # -- publish and subscribe

    def publish(self, subject: str, value: object, headers: Mapping[str, str] | None = None) -> None:
        """Sends a message to all who hear the subject. Does not wait for them; only, if the server takes less than is published, for that.

        ``value``: bytes go as they are; text, numbers, lists, dicts, dataclasses and dates as ``encoding=`` says.
        While the connection is lost, messages wait for another, up to 8 MB.

        Raises:
            UsageError: the subject or a header is not written rightly, or the message has more than 8 MB.
            EncodingError: the value can't be encoded; nothing was sent.
            Unavailable: the server is away, or takes nothing; this message was not sent.
            SystemClosed: the bus is closed.

        >>> bus.publish("orders.new", {"article": "tea", "count": 3}, headers={"Trace": "4711"})
        """
        self._core.publish(subject, value, headers)

    @overload
    def subscribe(
        self,
        pattern: str,
        callback: Callable[[Message[Any]], object] | None = ...,
        *,
        group: str = ...,
        missed: Callable[[Missed], object] | None = ...,
        waiting: int = ...,
        waiting_bytes: int = ...,
    ) -> Subscription[Any]: ...

    @overload
    def subscribe(
        self,
        pattern: str,
        callback: Callable[[Message[T]], object] | None = ...,
        *,
        type: type[T],
        group: str = ...,
        missed: Callable[[Missed], object] | None = ...,
        waiting: int = ...,
        waiting_bytes: int = ...,
    ) -> Subscription[T]: ...

    def subscribe(
        self,
        pattern: str,
        callback: Callable[[Message[Any]], object] | None = None,
        *,
        type: Any = None,
        group: str = "",
        missed: Callable[[Missed], object] | None = None,
        waiting: int = WAITING_MESSAGES_MAX,
        waiting_bytes: int = WAITING_BYTES_MAX,
    ) -> Subscription[Any]:
        """Returns messages of a pattern. The server has it when this returns: what is published from now on is heard.

        Args:
            pattern: a subject, with `*` for any word and `>` at the end for any others: "orders.*", "sensors.>".
            callback: called with each `Message`, one after the other, in a thread of the subscription. What it raises is logged, and it is
                called with the next. Without it the messages are taken by `Subscription.get`, or by iterating.
            type: what values are made: a dataclass, or an annotation such as ``list[datetime]``.
            group: of all subscriptions with one group, one gets each message.
            missed: called with a `Missed` where messages are lost: before the next message, by whom that is taken.
            waiting, waiting_bytes: so many messages and bytes that have come wait to be taken. What comes beyond is lost, and told.

        Raises `UsageError`, `SystemClosed`; and `Unavailable` if the server does not have it within ``timeout``.

        >>> subscription = bus.subscribe("orders.*", lambda message: print(message.value), group="billing")
        """
        found = self._core.subscribe(pattern, group, type, missed, waiting, waiting_bytes)
        if callback is not None:
            found.call(callback)
        self.flush()
        return found

    def flush(self, timeout: float | None = None) -> None:
        """Returns when the server has all that this member has sent before. Raises `Unavailable` after ``timeout`` seconds."""
        seconds = self._core.timeout_s if timeout is None else positive("timeout", timeout)
        try:
            self._core.flushed().result(seconds)
        except FutureTimeout:
            raise Unavailable(
                f"the server at {self._link.where} did not answer within {seconds:g} s. What was sent may have arrived, and a subscription is "
                f"made when the server is back."
            ) from None

    def wait_for_subscribers(self, subject: str, count: int = 1, timeout: float = TIMEOUT_S) -> None:
        """Returns when members of this bus have so many subscriptions that hear a subject. Raises `Unavailable` after ``timeout`` seconds.

        >>> bus.wait_for_subscribers("orders.new", 2)
        """
        self._core.wait_for_subscribers(subject, count, positive("timeout", timeout))

    # -- questions and services

    def request(
        self,
        subject: str,
        value: object = None,
        *,
        type: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = REQUEST_S,
    ) -> Message[Any]:
        """Sends a question, and returns the first answer: of a service, or of whoever calls `Message.respond`.

        Raises:
            Unavailable: nobody listens there; told at once.
            OutcomeUnknown: somebody listens, and no answer came within ``timeout`` seconds.
            RemoteError: the service raised.
            and what `publish` raises.

        >>> bus.request("sums.add", [1, 2, 3]).value
        6
        """
        asked = self.request_soon(subject, value, headers, timeout)
        try:
            delivered = asked.result(timeout)
        except FutureTimeout:
            asked.cancel()
            raise self._core.too_late(subject, timeout) from None
        return self._core.message(subject, delivered, type)

    def request_soon(self, subject: str, value: object, headers: Mapping[str, str] | None, timeout: float) -> Future[Delivered]:
        """Sends a question, and returns what its answer will be in."""
        positive("timeout", timeout)
        return self._core.ask(subject, value, headers, timeout)

    def call(self, subject: str, value: object = None, *, type: Any = None, timeout: float = REQUEST_S) -> Any:
        """Returns the value of the answer to `request`. Raises what that raises, and `DecodingError`."""
        return self.request(subject, value, type=type, timeout=timeout).value

    def service(
        self, name: str, version: str = "0.0.1", description: str = "", metadata: Mapping[str, str] | None = None
    ) -> Service:
        """Starts a service, to which `Service.endpoint` adds functions. Raises `UsageError`.

        Args:
            name: letters, digits, `-` and `_`. Several processes may start one of the same name: each request goes to one of them.
            version: three numbers, as in "1.0.0".
            description, metadata: for those who look which services there are.
        """
        found = Service(self._core, name, version, description, metadata)
        self._core.before_closing(found.close)
        return found

    def services(self, name: str = "", timeout: float = 0.5) -> list[dict[str, Any]]:
        """Returns what the services of a name, or all, say of themselves within so many seconds, as ADR-32 has it.

        >>> [each["name"] for each in bus.services()]
        ['sums']
        """
        answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        subject, seconds = bus_service.subject_of(name), positive("timeout", timeout)
        token = self._core.expect(lambda delivered: answers.put(delivered.data))
        try:
            self._core.publish(subject, b"", None, self._core.reply_to(token))
            time.sleep(seconds)
        finally:
            self._core.forget(token)
        return bus_service.found([answers.get_nowait() for _ in range(answers.qsize())])

    # -- itself

    @property
    def publisher(self) -> str:
        """The name of this member, which nobody else has; others see it as `Message.publisher`."""
        return self._core.publisher

    @property
    def connected(self) -> bool:
        """Whether it is connected now. It connects again by itself."""
        return self._link.connected

    @property
    def core(self) -> Core:
        """What the asyncio face stands on."""
        return self._core

    def close(self) -> None:
        """Sends what waits, ends all subscriptions and services, and the server if this process runs it. Closing twice is fine."""
        self._core.close()

    def __enter__(self) -> Bus:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Bus at {self._link.where}>"


_IN_PROCESS = os.urandom(32)
"""What pickles within this process are signed with."""


def _check_password(place: str, listen: str | None, password: str | None) -> None:
    if password is not None and (not isinstance(password, str) or not password):
        raise UsageError("password: must be text, and not empty. Nothing was opened.")
    if place in ("at", "find") and password is None:
        raise UsageError(f"{place}=: needs the password= that the bus was opened with. Nothing was opened.")
    if listen is not None and password is None and not parse(listen).is_loopback:
        raise UsageError(
            f"listen={listen}: can be reached from other machines, and they need a password= that you give to all. Nothing was opened."
        )


def _folder(tls: object) -> str | os.PathLike[str]:
    if not isinstance(tls, (str, os.PathLike)):
        raise UsageError(
            "tls: who may have to run the server needs a folder of certificates, as `coopy cluster init` makes it. Nothing was opened."
        )
    return tls


def _without_password(way: There) -> str:
    scheme, _, rest = way.url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
