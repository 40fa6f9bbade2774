"""A bus over nats-server: one connection, one thread that reads, and what is published gathered while a send is on its way.

A message that comes alone goes to the socket at once, in the thread that publishes it. One that comes right after another is gathered, and
the thread that reads sends what has gathered: so a loop that publishes makes one system call for hundreds of messages.

When the connection is lost another is tried every RETRY_S, until the bus is closed. On it all subscriptions are made again at once. What was
published meanwhile, up to OUTAGE_BYTES_MAX of it, is sent HOLD_S later, when the others have come back, too. What had been given to the
socket may be lost, and is not sent twice; subscribers notice by the numbers.
"""

from __future__ import annotations

import itertools
import os
import ssl
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from coopy import AuthenticationFailed, CoopyError, SystemClosed, Unavailable
from coopy.messaging.bus_local import Put, refuse_too_long
from coopy.network.limits import Sparing
from coopy.network.server.configuration import PAYLOAD_BYTES_MAX
from coopy.network.wire import Bell, Delivered, NoTLS, Wire

Dial = Callable[[Bell], Wire]
"""Makes a connection. Raises OSError for what may do later, `CoopyError` for what will not."""

RETRY_S = 0.1
"""A server that is started again takes connections after some tenths of a second, and all are to be back within two seconds."""
APART_S = 0.0001
"""A message that comes later than that after the one before is sent at once: a send takes a tenth of it."""
GATHERED_BYTES_MAX = 256 * 1024
"""Beyond that whoever publishes sends what has gathered, and waits for the socket."""
UNSENT_BYTES_MAX = 1 << 20
"""What the socket has not taken: beyond that whoever publishes waits."""
OUTAGE_BYTES_MAX = 8 << 20
"""What is kept while there is no connection. Beyond that `publish` raises."""
HOLD_S = 0.3
"""By then whoever lost the same server has tried again three times."""
CLOSE_S = 2.0
"""`close` gives a server that takes nothing so long."""
QUIET_S = 1.0
"""How often it is looked whether this member has gone quiet."""
_LOOK_S = 0.5
"""The thread that reads looks so often whether the server is silent."""

_links: weakref.WeakSet[ServerLink] = weakref.WeakSet()


class ServerLink:
    """One member's connection. A `coopy.messaging.bus_local.Link`."""

    def __init__(self, dial: Dial, where: str, sparing: Sparing, leave: Callable[[], None] = lambda: None) -> None:
        """``leave`` is called when nothing is needed of the server any more."""
        self.lock = threading.RLock()
        self.where = where
        self._dial = dial
        self._sparing = sparing
        self._leave = leave
        self._bell = Bell()
        # Guarded by the lock.
        self._wire: Wire | None = None
        self._out = bytearray()
        self._sent_at = 0.0
        self._handlers: dict[int, Put] = {}
        self._asked: dict[int, bytes] = {}
        """What each subscription is to the server."""
        self._closed = ""
        """Why nothing more can be sent."""
        self._close_by = 0.0
        self._holding = False
        """Whether there is a connection again, and others may not have theirs yet."""
        self._hold_until = 0.0
        self._failed: CoopyError | None = None
        """Why there was never a connection, and will be none."""
        self._room = threading.Condition(self.lock)
        self._came = threading.Event()
        """Set once there was a connection, or will be none."""
        self._resumed: Callable[[], None] = lambda: None
        self._gave_up: Callable[[], None] = lambda: None
        self._quiet: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._run, name="coopy bus", daemon=True)
        _links.add(self)

    loses = True

    def start(
        self, resumed: Callable[[], None], failed: Callable[[], None], quiet: Callable[[], None], timeout_s: float | None
    ) -> None:
        """Raises `AuthenticationFailed`, `ServerError`, `UsageError`, and `Unavailable` after the time-out."""
        self._resumed, self._gave_up, self._quiet = resumed, failed, quiet
        self._thread.start()
        if timeout_s is None:
            return
        there = self._came.wait(timeout_s)
        if self._failed is not None:
            self.close()
            raise self._failed
        if not there:
            self.close()
            raise Unavailable(
                f"nobody answers at {self.where}: {self._why or 'no answer in time'}. Nothing was opened. See that the other side runs, and "
                f"that its port can be reached."
            )

    # -- what may be asked from any thread

    @property
    def connected(self) -> bool:
        """Whether there is a server at the other end now."""
        return self._wire is not None

    @property
    def crowded(self) -> bool:
        """Whether the server takes less than is published."""
        wire = self._wire
        if wire is None or self._holding:
            return False  # `publish` knows how much may wait.
        return len(self._out) > GATHERED_BYTES_MAX or wire.unsent > UNSENT_BYTES_MAX

    def subscribe(self, number: int, pattern: bytes, group: bytes, put: Put) -> None:
        """Raises `SystemClosed`."""
        asked = b" ".join(filter(None, (b"SUB", pattern, group, b"%d\r\n" % number)))
        with self.lock:
            self.check()
            self._handlers[number] = put
            self._asked[number] = asked
            self._enqueue(asked)

    def unsubscribe(self, number: int) -> None:
        with self.lock:
            if self._asked.pop(number, None) is not None and not self._closed:
                self._enqueue(b"UNSUB %d\r\n" % number)

    def forget(self, number: int) -> None:
        with self.lock:
            self._handlers.pop(number, None)

    def publish(self, subject: bytes, reply: bytes, headers: bytes, data: bytes) -> None:
        """Raises `SystemClosed`, `Unavailable`, `UsageError`."""
        self.check()
        wire, size = self._wire, len(headers) + len(data)
        if size > PAYLOAD_BYTES_MAX or (wire is not None and size > (wire.payload_bytes_max or size)):
            refuse_too_long(subject, size, min(PAYLOAD_BYTES_MAX, wire.payload_bytes_max) if wire else PAYLOAD_BYTES_MAX)
        if (wire is None or self._holding) and len(self._out) + size > OUTAGE_BYTES_MAX:
            raise Unavailable(
                f"the connection to {self.where} is lost ({self._why}), and {len(self._out)} bytes wait for another. This message was not "
                f"sent. Those that wait are sent when the server is back."
            )
        if reply:
            head = b"HPUB %s %s %d %d\r\n" % (subject, reply, len(headers), size)
        else:
            head = b"HPUB %s %d %d\r\n" % (subject, len(headers), size)
        self._enqueue(b"".join((head, headers, data, b"\r\n")))

    def make_room(self, timeout_s: float) -> None:
        """Raises `Unavailable`."""
        deadline = time.monotonic() + timeout_s
        with self.lock:
            while self.crowded and not self._closed:
                wire = self._wire
                if wire is None:
                    return
                if self._out:
                    self._send_gathered(wire)
                    continue
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise Unavailable(
                        f"{self.where} has taken nothing for {timeout_s:g} s, and {wire.unsent} bytes wait. This message was not sent."
                    )
                self._room.wait(left_s)

    def close(self) -> None:
        """Sends what has gathered, and ends the connection. Closing twice is fine."""
        with self.lock:
            if self._closed:
                return
            self._closed, self._close_by = "it was closed", time.monotonic() + CLOSE_S
            wire = self._wire
            self._room.notify_all()
        self._bell.ring()
        if threading.current_thread() is not self._thread and self._thread.ident is not None:
            self._thread.join()
        if wire is not None:
            wire.close()
        self._bell.close()
        self._leave()

    def check(self) -> None:
        """Raises why nothing can be sent."""
        if self._closed:
            raise SystemClosed(f"the bus at {self.where} is closed: {self._closed}")
        if self._failed is not None:
            raise self._failed

    def _enqueue(self, protocol: bytes) -> None:
        """With the lock held."""
        if self._out:
            self._out += protocol
            return
        wire = self._wire
        if wire is not None and not self._holding:
            now = time.perf_counter()
            if now - self._sent_at > APART_S:
                self._sent_at = now
                try:
                    wire.say(protocol)
                except OSError:
                    # Some of it may have been sent: it counts as lost. Who reads notices that the connection is.
                    self._bell.ring()
                return
        self._out += protocol
        self._bell.ring()

    def _send_gathered(self, wire: Wire) -> None:
        """With the lock held."""
        out, self._out = self._out, bytearray()
        try:
            wire.say(bytes(out))
        except OSError:
            self._bell.ring()
        self._sent_at = time.perf_counter()

    # -- the thread

    _why = ""
    """What was wrong when it last tried to connect."""

    def _run(self) -> None:
        while not self._closed:
            wire = self._connect()
            if wire is None:
                return
            try:
                self._serve(wire)
            except OSError as error:
                self._lost(wire, error)

    def _connect(self) -> Wire | None:
        """Returns a connection on which all subscriptions are made; None if there will be none."""
        while not self._closed:
            try:
                wire = self._dial(self._bell)
            except NoTLS as error:
                if self._fail(AuthenticationFailed(f"{self.where}: {error}. The password was not sent.")):
                    return None
            except OSError as error:
                refusal = _refusal(error, self.where)
                if refusal is not None and self._fail(refusal):
                    return None
                self._why = str(error) or type(error).__name__
            except CoopyError as error:
                if self._fail(error):
                    return None
                self._why = str(error)
            else:
                if self._begun(wire):
                    return wire
            self._bell.wait(RETRY_S)
        return None

    def _fail(self, error: CoopyError) -> bool:
        """Whether that is the end: it is, if there was never a connection and somebody waits for the first one."""
        self._why = str(error)
        if self._came.is_set():
            # It was the right one before; a server that is started again may not be ready yet.
            self._sparing.warn("refused", "%s", error)
            return False
        self._failed = error
        self._came.set()
        self._gave_up()
        return True

    def _begun(self, wire: Wire) -> bool:
        """Whether all subscriptions are made on a connection."""
        with self.lock:
            if self._closed:
                wire.close()
                return False
            again = self._came.is_set()
            try:
                wire.say(b"".join(self._asked.values()))
            except OSError as error:
                self._lost(wire, error)
                return False
            self._wire = wire
            self._holding, self._hold_until = again, time.monotonic() + HOLD_S
            self._came.set()
            self._bell.ring()  # Something may have gathered.
        if again:
            self._sparing.say(20, "again", "the bus at %s is connected again", self.where)
            self._resumed()
        return True

    def _serve(self, wire: Wire) -> None:
        looked = time.monotonic()
        while True:
            now = time.monotonic()
            if now - looked > QUIET_S:
                looked = now
                self._quiet()
            wire.wait(HOLD_S / 3 if self._holding else _LOOK_S)
            batch = wire.read()
            if batch:
                self._pass_on(batch)
            with self.lock:
                if self._holding and (self._closed or time.monotonic() > self._hold_until):
                    self._holding = False
                if self._out and not self._holding:
                    self._send_gathered(wire)
                if not self.crowded:
                    self._room.notify_all()
                if self._closed and (not wire.unsent or time.monotonic() > self._close_by):
                    return

    def _pass_on(self, batch: list[Delivered]) -> None:
        first = batch[0].subscription
        if all(each.subscription == first for each in batch):
            put = self._handlers.get(first)
            if put is not None:
                put(batch)
            return
        # In the order in which they came, also between subscriptions: what says how many messages were sent comes after them.
        for put, run in itertools.groupby(batch, lambda each: self._handlers.get(each.subscription)):
            if put is not None:
                put(list(run))

    def _lost(self, wire: Wire, error: Exception) -> None:
        with self.lock:
            self._wire = None
            self._why = str(error) or type(error).__name__
            self._room.notify_all()
            wire.close()
        if not self._closed:
            self._sparing.warn("lost", "the connection to the bus at %s is lost (%s); trying again", self.where, self._why)

    def forked(self) -> None:
        """In a forked child: it is the parent's, and goes on there."""
        self._closed = f"it belongs to the process that this one, {os.getpid()}, was forked from; open another here"
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.forget()


def _refusal(error: OSError, where: str) -> CoopyError | None:
    """What a server that does not want us has said; None if it may be another time."""
    said: Any = getattr(error, "verify_message", "") or str(error)
    lowered = said.lower()
    if type(error) is ConnectionError and (
        "authorization" in lowered or ("authentication" in lowered and "timeout" not in lowered)
    ):
        return AuthenticationFailed(
            f"{where} refused the password. Nothing was opened. Give the password= that the other side was opened with."
        )
    if isinstance(error, ssl.SSLError) and "certificate" in lowered:
        return AuthenticationFailed(
            f"{where} shows no certificate that this password makes, or that tls= knows ({said}). Nothing was opened, and the password was not "
            f"sent. Give the password= and the tls= that the other side was opened with."
        )
    return None


def _forked() -> None:
    for link in list(_links):
        link.lock = threading.RLock()  # Another thread of the parent may have held it.
        link.forked()


os.register_at_fork(after_in_child=_forked)
