"""Services: functions that are called over the bus, and that say of themselves what they are.

As in NATS ADR-32 ("Service API", github.com/nats-io/nats-architecture-and-design), so that `nats micro ls` of the standard tool, and other
clients of NATS, see them: a service answers on `$SRV.PING`, `$SRV.INFO` and `$SRV.STATS`, each also with `.<name>` and `.<name>.<id>`; its
endpoints listen in the queue group "q", so one of several instances gets a request; errors come in two headers.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any, TypeVar

from coopy import CoopyError, UsageError
from coopy.ground.raised import last_resort
from coopy.messaging import bus_subjects
from coopy.messaging.bus_core import Core
from coopy.messaging.bus_message import Message
from coopy.messaging.bus_subscription import WAITING_BYTES_MAX, WAITING_MESSAGES_MAX, Subscription, of_a_callback

F = TypeVar("F", bound=Callable[[Any], Any])

GROUP = "q"
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")
_TYPE = "io.nats.micro.v1.{}_response"
_log = logging.getLogger("coopy.bus")


class _Endpoint:
    """One function of a service, and how it fares."""

    def __init__(self, name: str, subject: str, function: Callable[[Any], Any], wants_message: bool) -> None:
        self.name = name
        self.subject = subject
        self.function = function
        self.wants_message = wants_message
        self.requests = self.errors = self.took_ns = 0
        self.last_error = ""

    def described(self) -> dict[str, Any]:
        return {"name": self.name, "subject": self.subject, "queue_group": GROUP}


class Service:
    """Functions that answer requests. Made by `Bus.service`; ends with `close`, or a `with`.

    >>> with bus.service("sums", version="1.0.0", description="adds") as sums:
    ...     @sums.endpoint("add")
    ...     def add(numbers):
    ...         return sum(numbers)
    ...     bus.call("sums.add", [1, 2, 3])
    6
    """

    def __init__(self, core: Core, name: str, version: str, description: str, metadata: Mapping[str, str] | None) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise UsageError(f"service {name!r}: a name has letters, digits, `-` and `_`. Nothing was started.")
        if not isinstance(version, str) or not _VERSION.fullmatch(version):
            raise UsageError(
                f"service {name}: version={version!r} must be three numbers, as in '1.0.0' (semver.org). Nothing was started."
            )
        self.name = name
        self.version = version
        self.id = secrets.token_hex(11)
        """Another one for each instance."""
        self._description = description
        self._metadata = dict(metadata or {})
        self._core = core
        self._endpoints: list[_Endpoint] = []
        self._started = datetime.now(timezone.utc)
        # Guards the figures of the endpoints.
        self._lock = threading.Lock()
        self._subscriptions: list[Subscription[Any]] = []
        self._endings: list[Callable[[], None]] = []
        for verb, said in (("PING", self._identity), ("INFO", self._described), ("STATS", self._stats)):
            for of in ("", f".{name}", f".{name}.{self.id}"):
                self._endings.append(core.answer_always(f"$SRV.{verb}{of}", lambda said=said, verb=verb: _told(verb, said())))  # type: ignore[misc]
        core.flushed().result(core.timeout_s)

    def endpoint(self, name: str = "", *, subject: str = "", type: Any = None, message: bool = False) -> Callable[[F], F]:
        """Lets a function answer requests to ``<service>.<name>``, or to another ``subject``. It is called in a thread of its own.

        Args:
            name: of the endpoint; that of the function if it is not given.
            subject: another subject to answer on, which may be a pattern.
            type: what the value is made, as in `Bus.subscribe`.
            message: give the function the whole `Message` in place of its value.

        What the function returns is the answer; what it raises is told to the caller as `RemoteError`, and counted.
        Raises `UsageError`, `SystemClosed`; and `Unavailable` if the server does not have it in time.

        >>> @service.endpoint(type=Order)
        ... def book(order):
        ...     return warehouse.book(order.article, order.count)
        """

        refuse_bare(name)

        def add(function: F) -> F:
            self.add_endpoint(function, name, subject=subject, type=type, message=message)
            self._core.flushed().result(self._core.timeout_s)
            return function

        return add

    def add_endpoint(self, function: Callable[[Any], Any], name: str, *, subject: str, type: Any, message: bool) -> None:
        """Does what `endpoint` does, and does not wait until the server has it."""
        known = name or getattr(function, "__name__", "")
        if not _NAME.fullmatch(known):
            raise UsageError(
                f"service {self.name}: endpoint {known!r}: a name has letters, digits, `-` and `_`. Give it one: endpoint('add')."
            )
        made = _Endpoint(known, subject or f"{self.name}.{known}", function, message)
        requests = self._core.subscribe(made.subject, GROUP, type, None, WAITING_MESSAGES_MAX, WAITING_BYTES_MAX)
        requests.call(lambda asked: self._serve(made, asked))
        self._subscriptions.append(requests)
        self._endpoints.append(made)

    def _serve(self, endpoint: _Endpoint, asked: Message[Any]) -> None:
        began = time.perf_counter_ns()
        with last_resort(self._raised, endpoint, asked, of=of_a_callback()):
            found = endpoint.function(asked if endpoint.wants_message else asked.value)
            if asked.wants_answer:
                asked.respond(found)
        with self._lock:
            endpoint.requests += 1
            endpoint.took_ns += time.perf_counter_ns() - began

    def _raised(self, error: BaseException, endpoint: _Endpoint, asked: Message[Any]) -> None:
        """Tells whoever asked what the function has raised, which is the program's."""
        said = f"{type(error).__name__}: {error}"
        _log.warning("endpoint %s of service %s raised", endpoint.name, self.name, exc_info=error)
        self._refuse(asked, said)
        with self._lock:
            endpoint.errors += 1
            endpoint.last_error = said

    def _refuse(self, asked: Message[Any], error: str) -> None:
        if asked.wants_answer:
            try:
                self._core.answer_error(asked.reply, "500", error)
            except CoopyError as failed:
                _log.warning("who asked on %s can't be told of it: %s", asked.subject, failed)

    # -- what it says of itself

    def _identity(self) -> dict[str, Any]:
        return {"name": self.name, "id": self.id, "version": self.version, "metadata": self._metadata}

    def _described(self) -> dict[str, Any]:
        endpoints = [{**each.described(), "metadata": {}} for each in self._endpoints]
        return {**self._identity(), "description": self._description, "endpoints": endpoints}

    def _stats(self) -> dict[str, Any]:
        with self._lock:
            endpoints = [
                {
                    **each.described(),
                    "num_requests": each.requests,
                    "num_errors": each.errors,
                    "last_error": each.last_error,
                    "processing_time": each.took_ns,
                    "average_processing_time": each.took_ns // max(1, each.requests),
                    "data": None,
                }
                for each in self._endpoints
            ]
        started = self._started.strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z"
        return {**self._identity(), "started": started, "endpoints": endpoints}

    # -- the end

    def close(self) -> None:
        """Takes no more requests; those that have come are answered. Closing twice is fine."""
        endings, self._endings = self._endings, []
        for end in endings:
            end()
        subscriptions, self._subscriptions = self._subscriptions, []
        for each in subscriptions:
            each.close()

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Service {self.name} {self.version}>"


def _told(verb: str, said: dict[str, Any]) -> bytes:
    return json.dumps({"type": _TYPE.format(verb.lower()), **said}).encode()


def found(answers: list[bytes]) -> list[dict[str, Any]]:
    """Returns what services say of themselves, of the answers to `$SRV.INFO`."""
    services = []
    for each in answers:
        try:
            said = json.loads(each)
        except ValueError:
            continue
        if isinstance(said, dict) and said.get("type") == _TYPE.format("info"):
            services.append(said)
    return sorted(services, key=lambda said: (str(said.get("name")), str(said.get("id"))))


def refuse_bare(name: object) -> None:
    """Raises `UsageError` if `Service.endpoint` was given the function itself: it would answer nothing, without a word."""
    if callable(name):
        raise UsageError("@service.endpoint takes arguments: write @service.endpoint(). Nothing was added.")


def subject_of(name: str) -> str:
    """Returns on which subject services of a name, or all, say what they are."""
    return bus_subjects.subject(f"$SRV.INFO.{name}" if name else "$SRV.INFO").decode()
