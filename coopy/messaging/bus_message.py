"""A message, what was missed of them, and the header by which both are known.

    Coopy: <publisher> <number> <kind>

``publisher``: eleven characters that nobody else has. ``number``: how many messages it has sent to this subject, with this one; 0 if it does
not count them, as in answers. ``kind``: of the payload, see `coopy.messaging.bus_payload`. A message without the header is of a program that
is not coopy; it has no number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, cast

from coopy import UsageError
from coopy.messaging.bus_payload import Payloads
from coopy.messaging.bus_types import typed
from coopy.network.limits import Sparing
from coopy.network.wire import Delivered, header

T = TypeVar("T", covariant=True)

NAME = b"Coopy"
VERSION = b"NATS/1.0\r\n"
"""The first line of all headers."""
_OURS_FIRST = VERSION + NAME + b": "
_OURS_AT = len(_OURS_FIRST)
_NUMBER_MAX = 1 << 63
"""More than a publisher can send; a larger one is not ours."""
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
ERROR, ERROR_CODE = b"Nats-Service-Error", b"Nats-Service-Error-Code"
"""What an answer has that is an error (ADR-32)."""


class Member(Protocol):
    """What messages and subscriptions ask of the member of a bus that they came to; see `coopy.messaging.bus_core.Core`."""

    payloads: Payloads
    sparing: Sparing

    def answer(self, reply: bytes, value: object, headers: Mapping[str, str] | None = ...) -> None: ...

    def unsubscribe(self, number: int) -> None: ...


class Missed(NamedTuple):
    """Messages of one publisher that a subscription has not got and will not get.

    >>> with bus.subscribe("prices.>", show, missed=lambda gap: print(f"{gap.lost} of {gap.publisher} on {gap.subject} are lost")):
    ...     run()
    """

    publisher: str
    """Its name, as `Message.publisher`; "" for messages without numbers."""
    subject: str
    """The subject on which they were sent."""
    first: int
    """The number of the first that is missing; 0 if they have none."""
    lost: int
    """How many are missing, in a row."""


def compose(publisher: bytes, number: int, kind: bytes, more: Mapping[str, str] | None) -> bytes:
    """Returns the headers of a message, to their last empty line. Raises `UsageError`."""
    if not more:
        return b"NATS/1.0\r\nCoopy: %s %d %s\r\n\r\n" % (publisher, number, kind)
    lines = [b"NATS/1.0\r\nCoopy: %s %d %s\r\n" % (publisher, number, kind)]
    for name, value in more.items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name) or name.lower() == "coopy":
            raise UsageError(f"headers: {name!r} can't be the name of one: letters, digits and `-`. Nothing was sent.")
        if not isinstance(value, str) or "\r" in value or "\n" in value:
            raise UsageError(f"headers: {name}: {value!r} must be text of one line. Nothing was sent.")
        lines.append(f"{name}: {value}\r\n".encode("utf-8", "replace"))
    return b"".join((*lines, b"\r\n"))


def numbers(headers: bytes) -> tuple[bytes, int, bytes]:
    """Returns publisher, number and kind, as the headers of a message say; empty and 0 if they don't."""
    if headers.startswith(_OURS_FIRST):
        line = headers[_OURS_AT : headers.find(b"\r\n", _OURS_AT)]
    elif not headers:
        return b"", 0, b""
    else:
        line = header(headers, NAME) or b""
    try:
        publisher, number, kind = line.split(b" ")
        found = int(number)
    except ValueError:
        return b"", 0, b""
    return (publisher, found, kind) if 0 <= found < _NUMBER_MAX else (b"", 0, b"")


class Message(Generic[T]):
    """A message as a subscription gives it.

    >>> with bus.subscribe("orders.*") as orders:
    ...     message = orders.get(timeout=5)
    ...     print(message.subject, message.value, message.headers.get("Trace"))
    """

    __slots__ = ("_bus", "_delivered", "_kind", "_made", "_number", "_publisher", "_type")

    def __init__(self, bus: Member, delivered: Delivered, publisher: bytes, number: int, kind: bytes, of: Any) -> None:
        self._bus = bus
        self._delivered = delivered
        self._publisher = publisher
        self._number = number
        self._kind = kind
        self._type = of
        self._made: Any = _UNMADE

    @property
    def subject(self) -> str:
        """The subject to which it was published."""
        return self._delivered.subject.decode(errors="replace")

    @property
    def data(self) -> bytes:
        """The payload as it was sent."""
        return self._delivered.data

    @property
    def value(self) -> T:
        """The payload, decoded, and made what ``type=`` of the subscription says.

        Raises `DecodingError` if it is not that, `AuthenticationFailed` if it is a pickle of somebody who has not the password.
        """
        if self._made is _UNMADE:
            found = self._bus.payloads.decode(self._kind, self._delivered.subject, self._delivered.data)
            self._made = found if self._type is None else typed(self._type, found)
        return cast(T, self._made)

    @property
    def headers(self) -> dict[str, str]:
        """The headers that the publisher gave; of several with one name the first."""
        found: dict[str, str] = {}
        for line in self._delivered.headers.split(b"\r\n")[1:]:
            name, colon, value = line.partition(b":")
            if colon and name != NAME:
                found.setdefault(name.decode(errors="replace"), value.strip().decode(errors="replace"))
        return found

    @property
    def publisher(self) -> str:
        """The name of the `Bus` that has sent it: another one for each; "" if it was no coopy."""
        return self._publisher.decode(errors="replace")

    @property
    def number(self) -> int:
        """How many messages its publisher has sent to this subject, with this one; 0 if it does not count them."""
        return self._number

    @property
    def wants_answer(self) -> bool:
        """Whether `respond` has somebody to go to."""
        return bool(self._delivered.reply)

    @property
    def reply(self) -> bytes:
        """The subject to which the answer goes; empty if none is wanted."""
        return self._delivered.reply

    @property
    def error(self) -> str:
        """What a service has raised in place of an answer; "" for all other messages."""
        return (header(self._delivered.headers, ERROR) or b"").decode(errors="replace")

    def respond(self, value: object, headers: Mapping[str, str] | None = None) -> None:
        """Answers whoever asked with `Bus.request`. Raises `UsageError` if nobody did, `EncodingError`, `Unavailable`."""
        reply = self._delivered.reply
        if not reply:
            raise UsageError(
                f"a message on {self.subject} wants no answer: it was published, and not a request. Nothing was sent."
            )
        self._bus.answer(reply, value, headers)

    def __repr__(self) -> str:
        return f"<Message on {self.subject}, {len(self.data)} bytes>"


_UNMADE: Any = object()
"""In place of the value before somebody has asked for it."""
