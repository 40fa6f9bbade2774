"""The bus of PyDistributed by its own names, on this bus.

    Publisher -> port 5559 -> MessageBusBroker (a nats-server) -> port 5560 -> Subscriber

A topic is any text, and a subscription hears all topics that begin with it, as in ZeroMQ. Values are pickled, and signed with the password:
that of this user for brokers on this machine, so programs find one another without being told; for others give all the same
``password=``. ``context`` is taken and not needed: there is no ZeroMQ in this.

A topic as a subject: `zmq`, then a word for each of its first bytes, in hexadecimal, then `z`; so the server picks out what begins
with a prefix. The whole topic stands in a header.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote

from coopy import ServerError, SystemClosed, UsageError
from coopy.messaging.bus import Bus
from coopy.messaging.bus_callbacks import Registered
from coopy.messaging.bus_link import ServerLink
from coopy.messaging.bus_message import Message
from coopy.messaging.bus_payload import Payloads, key_of
from coopy.messaging.bus_server import Station
from coopy.messaging.bus_signpost import Signpost, Signposted
from coopy.messaging.bus_subscription import WAITING_BYTES_MAX, WAITING_MESSAGES_MAX, Subscription, guarded
from coopy.network.address import Address, parse
from coopy.network.limits import Sparing
from coopy.network.server import loopback

PRODUCERS, CONSUMERS = 5559, 5560
"""The ports of the original."""
TIMEOUT_S = 10.0
"""For a place when the broker takes less than is sent, and for the broker to have a subscription."""
_TOKENS = 16
"""Bytes of a topic that are words of its subject; what longer prefixes say is looked at by who receives."""
_TOPIC = "Topic"


def _address(host: str, port: int | str) -> Address:
    return parse(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")


def _password(address: Address, password: str | None) -> str:
    """The password for a broker. Raises `UsageError`."""
    if password is not None:
        return password
    if not address.is_loopback:
        raise UsageError(
            f"{address}: is another machine, or can be reached from others, and needs the password= that its broker has. Nothing was opened."
        )
    return loopback.for_user(loopback.find_or_make(), "bus")


def _station(listen: Address, password: str, tls: str | os.PathLike[str] | None) -> Station:
    """The server at an address, kept in a folder of this user's. Raises `ServerError` if another process has it."""
    place = os.path.join(os.path.dirname(loopback.path()), f"bus-{listen.port}")
    os.makedirs(os.path.dirname(place), 0o700, exist_ok=True)
    station = Station(place, listen, password, tls)
    if not station.serve():
        raise ServerError(
            f"a broker of this user listens at port {listen.port} already. Nothing was started. Close it, or give another port."
        )
    return station


def _subject(topic: bytes) -> str:
    return ".".join(("zmq", *(f"{byte:02x}" for byte in topic[:_TOKENS]), "z"))


def _pattern(prefix: bytes) -> str:
    return ".".join(("zmq", *(f"{byte:02x}" for byte in prefix[:_TOKENS]), ">" if len(prefix) <= _TOKENS else "z"))


class _End:
    """A publisher or a subscriber: connected to a broker, or with one of its own if it binds."""

    def __init__(
        self,
        host: str,
        port: int | str,
        context: Any,
        bind: bool,
        password: str | None,
        tls: str | os.PathLike[str] | bool | None,
    ) -> None:
        address = _address(host, port)
        known = _password(address, password)
        self._context = context
        self._station: Station | None = None
        leave: Callable[[], None] = lambda: None  # noqa: E731
        if bind:
            station = self._station = _station(address, known, tls if isinstance(tls, (str, os.PathLike)) else None)
            leave = station.leave
        # As in the original, the broker may come later than those who use it.
        dial = self._station or Signposted(address, known, tls)
        link = ServerLink(dial, str(address), Sparing("coopy.bus"), leave)
        self._bus = Bus.over(link, Payloads("pickle", lambda: key_of(known)), TIMEOUT_S, None)

    def shutdown(self) -> None:
        """Closes it, and terminates the context that it was given, as the original does. Doing it twice is fine."""
        self._bus.close()
        context, self._context = self._context, None
        if hasattr(context, "term"):
            context.term()


class Publisher(_End):
    """Sends messages to a broker.

    ``bind``: it is the broker itself, and subscribers connect to its port. ``password``, ``tls``: as in `coopy.messaging.Bus`.

    >>> publisher = Publisher()
    >>> publisher.send("pings", {"number": 1})
    """

    def __init__(
        self,
        host: str = "localhost",
        port: int | str = PRODUCERS,
        context: Any = None,
        bind: bool = False,
        *,
        password: str | None = None,
        tls: str | os.PathLike[str] | bool | None = None,
    ) -> None:
        super().__init__(host, port, context, bind, password, tls)

    def send(self, topic: str, messagedata: object) -> None:
        """Sends a message. What is sent before there is a broker waits for it, up to 8 MB.

        Raises `EncodingError`, `Unavailable`, `AuthenticationFailed`, `SystemClosed`.
        """
        if not isinstance(topic, str):
            raise UsageError(f"topic {topic!r}: must be text. Nothing was sent.")
        self._bus.publish(
            _subject(topic.encode("utf-8", "surrogatepass")), messagedata, {_TOPIC: quote(topic, errors="surrogatepass")}
        )


class Subscriber(_End):
    """Receives the messages whose topics begin with what it has subscribed to.

    >>> subscriber = Subscriber()
    >>> subscriber.subscribe("ping")
    >>> subscriber.receive()
    ['pings', {'number': 1}]
    """

    def __init__(
        self,
        host: str = "localhost",
        port: int | str = CONSUMERS,
        context: Any = None,
        bind: bool = False,
        *,
        password: str | None = None,
        tls: str | os.PathLike[str] | bool | None = None,
    ) -> None:
        super().__init__(host, port, context, bind, password, tls)
        core = self._bus.core
        # Guards what follows.
        self._lock = threading.RLock()
        self._prefixes: dict[bytes, int] = {}
        """How often each was subscribed to: ZeroMQ counts that."""
        self._heard: dict[str, int] = {}
        """The patterns that the broker was asked for, and their numbers."""
        # One queue for all prefixes, so that messages come in the order in which they were sent. No topic is a subject of two words.
        self._messages: Subscription[Any] = core.subscribe("zmq.none", "", None, None, WAITING_MESSAGES_MAX, WAITING_BYTES_MAX)

    @property
    def missed(self) -> int:
        """How many messages are known to be lost to this subscriber so far."""
        return self._messages.missed

    def subscribe(self, topic: str) -> None:
        """Hears all topics that begin with this one, from now on: the broker has it when this returns, if there is a broker."""
        with self._lock:
            prefix = _encoded(topic)
            self._prefixes[prefix] = self._prefixes.get(prefix, 0) + 1
            self._ask()
        self._wait()

    def unsubscribe(self, topic: str) -> None:
        """Takes one `subscribe` of this topic back; others stay, also of topics that begin the same."""
        with self._lock:
            prefix = _encoded(topic)
            left = self._prefixes.pop(prefix, 0) - 1
            if left > 0:
                self._prefixes[prefix] = left
            self._ask()
        self._wait()

    def subscribe_all(self) -> None:
        """Hears all topics; what was subscribed to before is dropped."""
        with self._lock:
            self._prefixes = {b"": 1}
            self._ask()
        self._wait()

    def unsubscribe_all(self) -> None:
        """Hears nothing more."""
        with self._lock:
            self._prefixes = {}
            self._ask()
        self._wait()

    def receive(self) -> list[Any]:
        """Returns the next topic and message, in a list; waits for it.

        Raises `SystemClosed` after `shutdown`, `AuthenticationFailed` if the broker, or who has sent the message, has another password.
        """
        while True:
            try:
                found = self._messages.get()
            except SystemClosed:
                self._bus.core.link.check()
                raise
            topic = self._topic(found)
            if topic is not None:
                return [topic, found.value]

    def serve(self, callback: Callable[[str, Message[Any]], None]) -> None:
        """Calls ``callback`` with each topic and message, until `shutdown`."""

        def called(message: Message[Any]) -> None:
            topic = self._topic(message)
            if topic is not None:
                callback(topic, message)

        self._messages.serve(called)

    def _topic(self, message: Message[Any]) -> str | None:
        """The topic of a message; None if nobody here listens to it any more."""
        topic = unquote(message.headers.get(_TOPIC, ""), errors="surrogatepass")
        with self._lock:
            return topic if any(_encoded(topic).startswith(prefix) for prefix in self._prefixes) else None

    def _ask(self) -> None:
        """Has the broker send what is subscribed to, each topic by one pattern."""
        core = self._bus.core
        least = [
            each for each in self._prefixes if not any(each != other and each.startswith(other) for other in self._prefixes)
        ]
        wanted = {_pattern(each) for each in least}
        gone = [self._heard.pop(each) for each in list(self._heard) if each not in wanted]
        # First the new ones: what two patterns hear for a moment is known by its number, and taken once.
        for each in sorted(wanted - self._heard.keys()):
            self._heard[each] = core.hear_also(self._messages, each)
        for number in gone:
            core.hear_no_more(number)
        if gone:
            self._messages.forget_numbers()

    def _wait(self) -> None:
        if self._bus.connected:
            self._bus.flush()


def _encoded(topic: str) -> bytes:
    if not isinstance(topic, str):
        raise UsageError(f"topic {topic!r}: must be text")
    return topic.encode("utf-8", "surrogatepass")


class Proxy(threading.Thread):
    """A broker: a nats-server at ``frontend_port``, and at ``backend_port`` what leads to it, so publishers and subscribers find it at either.

    It runs when `start` returns, and `join` waits for its end. On this machine alone, unless it has a ``password``: then also for
    others, at all addresses or at ``host``.

    >>> broker = MessageBusBroker()
    >>> broker.start()
    >>> broker.shutdown()
    """

    def __init__(
        self,
        context: Any = None,
        frontend_port: int = PRODUCERS,
        backend_port: int = CONSUMERS,
        *,
        host: str | None = None,
        password: str | None = None,
        tls: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(name="coopy bus broker")
        self._frontend = _address(host or ("127.0.0.1" if password is None else "0.0.0.0"), frontend_port)
        self._backend = self._frontend._replace(port=parse(f"x:{backend_port}").port)
        self._password = _password(self._frontend, password)
        self._tls = tls
        self._station: Station | None = None
        self._signpost: Signpost | None = None
        self._ended = threading.Event()

    def start(self) -> None:
        """Starts the server. Raises `ServerError` if a port is taken, or nats-server is not there; `UsageError`."""
        station = _station(self._frontend, self._password, self._tls)
        try:
            if self._backend != self._frontend:
                self._signpost = Signpost(self._backend, self._frontend.port)
        except ServerError:
            station.leave()
            raise
        self._station = station
        super().start()

    def run(self) -> None:
        """Waits for the end."""
        self._ended.wait()

    def shutdown(self) -> None:
        """Ends the server. Doing it twice is fine."""
        self._ended.set()
        if self._signpost is not None:
            self._signpost.close()
        if self._station is not None:
            self._station.leave()


class MessageBusBroker(Proxy):
    """The broker of the bus: a `Proxy` by its other name.

    >>> broker = MessageBusBroker()
    >>> broker.start()
    >>> broker.shutdown()
    """


class Hub:
    """One that hears what its clients send, and that they hear: ``frontend`` is a `Subscriber`, ``backend`` a `Publisher`.

    Clients do not hear one another.

    >>> hub = Hub()
    >>> hub.backend.send("news", {"number": 1})
    """

    def __init__(
        self,
        context: Any = None,
        frontend_port: int = PRODUCERS,
        backend_port: int = CONSUMERS,
        *,
        host: str | None = None,
        password: str | None = None,
        tls: str | os.PathLike[str] | None = None,
    ) -> None:
        where = host or ("127.0.0.1" if password is None else "0.0.0.0")
        self.frontend = Subscriber(where, frontend_port, bind=True, password=password, tls=tls)
        try:
            self.backend = Publisher(where, backend_port, context, bind=True, password=password, tls=tls)
        except (ServerError, UsageError):
            self.frontend.shutdown()
            raise

    def shutdown(self) -> None:
        """Closes both."""
        self.frontend.shutdown()
        self.backend.shutdown()


class HubClient:
    """A client of a `Hub`: what ``publisher`` sends the hub hears, and ``subscriber`` hears what the hub sends.

    >>> client = HubClient()
    >>> client.publisher.send("wishes", {"number": 1})
    """

    def __init__(
        self,
        context: Any = None,
        keyvalue_host: str = "localhost",
        publisher_port: int = PRODUCERS,
        subscriber_port: int = CONSUMERS,
        *,
        password: str | None = None,
        tls: str | os.PathLike[str] | bool | None = None,
    ) -> None:
        self.publisher = Publisher(keyvalue_host, publisher_port, password=password, tls=tls)
        self.subscriber = Subscriber(keyvalue_host, subscriber_port, context, password=password, tls=tls)

    def shutdown(self) -> None:
        """Closes both."""
        self.publisher.shutdown()
        self.subscriber.shutdown()


class MessageBusClient(threading.Thread):
    """Publishes and receives. `start` has it call the registered callbacks, in its thread, until `shutdown`.

    >>> client = MessageBusClient()
    >>> unregister = client.register_callback("pings", lambda message, topic: print(topic, message))
    >>> client.start()
    """

    def __init__(
        self,
        *,
        host: str = "localhost",
        publisher_port: int = PRODUCERS,
        subscriber_port: int = CONSUMERS,
        password: str | None = None,
        tls: str | os.PathLike[str] | bool | None = None,
    ) -> None:
        super().__init__(name="coopy bus client")
        self._publisher = Publisher(host, publisher_port, password=password, tls=tls)
        self._subscriber = Subscriber(host, subscriber_port, password=password, tls=tls)
        self._callbacks: list[Registered] = []
        self._ended = threading.Event()

    def publish(self, topic: str, message: object) -> None:
        """Sends a message; see `Publisher.send`."""
        self._publisher.send(topic, message)

    def publisher(self, topic: str) -> Callable[[object], None]:
        """Returns a function that sends messages to one topic."""
        return lambda message: self.publish(topic, message)

    def receive(self) -> list[Any]:
        """Returns the next topic and message; see `Subscriber.receive`."""
        return self._subscriber.receive()

    def subscribe(self, topic: str) -> None:
        """Hears all topics that begin with this one; see `Subscriber.subscribe`."""
        self._subscriber.subscribe(topic)

    def unsubscribe(self, topic: str) -> None:
        """Takes one `subscribe` back."""
        self._subscriber.unsubscribe(topic)

    def subscribe_all(self) -> None:
        """Hears all topics; what was subscribed to before is dropped."""
        self._subscriber.subscribe_all()

    def unsubscribe_all(self) -> None:
        """Hears nothing more."""
        self._subscriber.unsubscribe_all()

    @property
    def missed(self) -> int:
        """How many messages are known to be lost to this client so far."""
        return self._subscriber.missed

    def register_callback(self, topic: str, callback: Callable[..., object]) -> Callable[[], None]:
        """Has a function called with each message of topics that begin with this one, once `start` was called.

        It takes the message; the message and the topic; or message, topic and this client. What it raises is logged, and it is called with
        the next. Returns a function that takes it back. Raises TypeError if it is no function, or takes other arguments.
        """
        entry = Registered(topic, callback)
        self.subscribe(topic)
        self._callbacks.append(entry)

        def unregister() -> None:
            with contextlib.suppress(ValueError):
                self._callbacks.remove(entry)
                self.unsubscribe(topic)

        return unregister

    def run(self) -> None:
        """Calls the callbacks, until `shutdown`."""

        def called(topic: str, message: Message[Any]) -> None:
            value = message.value
            for entry in list(self._callbacks):
                if topic.startswith(entry.topic):
                    guarded(lambda one: one.call(value, topic, self), entry, topic)

        self._subscriber.serve(called)

    def wait(self) -> None:
        """Returns after `shutdown`."""
        self._ended.wait()

    def shutdown(self) -> None:
        """Closes it. Doing it twice is fine."""
        self._publisher.shutdown()
        self._subscriber.shutdown()
        self._ended.set()
