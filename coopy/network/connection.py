"""A connection to the Raft server: an event loop in a thread of its own, and the way into it.

All that talks to the server runs in that loop. Other threads hand it coroutines with `run` and
functions with `soon`. The connection mends itself: where the server it talks to is gone it goes
on with another of the cluster.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import json
import ssl
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from coopy.errors import AuthenticationFailed, ClusterError, SystemClosed, Unavailable, UsageError
from coopy.ground.raised import last_resort, on_failure, or_none
from coopy.network.limits import Sparing
from coopy.network.subjects import API, INBOX, direct_get
from coopy.network.wire import Bell, NoTLS, Wire

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.js.client import JetStreamContext

T = TypeVar("T")

TELL_S = 5.0
"""Who begins and finds nobody is told so after that, and then once a minute."""
RECONNECT_S = 0.2
"""A server that is started again takes connections after some tenths of a second; on loopback a refusal costs nothing."""
REQUEST_S = 5.0
"""Servers agree on a new leader within four to nine seconds. What is asked meanwhile is lost, so it is better asked again."""
RETRY_S = 0.2
"""As long as `RECONNECT_S`: what is not there yet comes within seconds."""


def library() -> Any:
    """The module `nats`. Raises `UsageError` if it is not there."""
    try:
        import nats
        import nats.js
    except ImportError as error:
        raise UsageError(
            f"a replicated system needs the extra [cluster]: {error}. Nothing was opened. Install it with "
            f"`pip install 'coopy[cluster]'`."
        ) from error
    return nats


class Connection:
    """A connection as a user of the server. Opened by `open`.

    ``changed`` is told "connected" or "disconnected", in the loop. ``tls_name``: what the server's certificate must be for, if not
    for its host; as in `coopy.network.server.proof`. ``advice``: what to do when the other side has another password.
    """

    client: Client
    stream_api: JetStreamContext

    def __init__(
        self,
        urls: Sequence[str],
        user: str | None,
        password: str | None,
        *,
        name: str = "coopy",
        inbox: str = INBOX,
        api: str = API,
        tls: ssl.SSLContext | None = None,
        tls_name: str | None = None,
        advice: str = "Give the password= that the other side was opened with.",
        changed: Callable[[str], None] = lambda state: None,
    ) -> None:
        self._nats = library()
        self._urls = list(urls)
        self._options: dict[str, Any] = {"name": name, "inbox_prefix": inbox, "tls": tls, "tls_hostname": tls_name}
        self._advice = advice
        if user is not None:
            self._options |= {"user": user, "password": password}
        self.inbox = inbox
        """What the subjects begin with to which answers may be sent."""
        self._api = api
        self._changed = changed
        self.sparing = Sparing()
        """What is said of the other sides, by all that use this connection."""
        self._passed = 0
        """How many servers in turn did not answer to `wire`."""
        self._closing = False
        self._leaving = False
        self._seen = ""
        self._failed: asyncio.Future[Exception] | None = None
        """While the first connection is made: what is wrong."""
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="coopy network", daemon=True)

    @property
    def connected(self) -> bool:
        """Whether there is a server at the other end now."""
        return not self._closing and self.client.is_connected

    @property
    def url(self) -> str:
        """The server at the other end, or the last one."""
        found = self.client.connected_url
        return found.netloc.rpartition("@")[2] if found is not None else ""

    def open(self, timeout_s: float) -> None:
        """Connects. Raises `AuthenticationFailed`, `Unavailable`."""
        self._thread.start()
        with on_failure(self._stop):
            self.run(self._open(timeout_s), timeout_s + 5)

    async def _open(self, timeout_s: float) -> None:
        began = self.loop.time()
        deadline = began + timeout_s
        while True:
            self._seen = ""
            self._failed = self.loop.create_future()
            client = self._client()
            connecting = self.loop.create_task(
                client.connect(
                    servers=self._urls,
                    allow_reconnect=True,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=RECONNECT_S,
                    connect_timeout=2,
                    ping_interval=3,
                    max_outstanding_pings=2,
                    dont_randomize=True,
                    pending_size=64 * 1024 * 1024,
                    disconnected_cb=self._disconnected,
                    reconnected_cb=self._reconnected,
                    error_cb=self._noticed,
                    **self._options,
                )
            )
            try:
                # The library tries for ever, and says only on the side what is wrong.
                await asyncio.wait({connecting, self._failed}, return_when=asyncio.FIRST_COMPLETED)
                if not connecting.done():
                    connecting.cancel()
                    raise self._failed.result()
                connecting.result()
                self.client = client
                self._failed = None
                break
            except Exception as error:
                # Whoever listens there chooses what the library stumbles over: what is no JSON, or JSON of another shape, comes out
                # as whatever it is in the library. And what a server refuses is a text in there, of which the type says nothing.
                problem = f"{self._seen} {error}"
                # On a busy machine the server may have to wait for the password longer than it does: that says nothing of it.
                refusal = problem.lower().replace("authentication timeout", "")
                if "authorization" in refusal or "authentication" in refusal:
                    raise AuthenticationFailed(
                        f"{', '.join(self._urls)} refused the password. Nothing was opened. {self._advice}"
                    ) from error
                if isinstance(error, (ssl.SSLError, NoTLS)) or "certificate" in problem.lower():
                    raise self._not_the_right_one(error) from error
                if self.loop.time() > deadline:
                    raise Unavailable(
                        f"nobody answers at {', '.join(self._urls)}: {str(error) or type(error).__name__}. Nothing was "
                        f"opened. See that the other side runs, and that the port can be reached."
                    ) from error
                if self.loop.time() > began + TELL_S:
                    said = "%s: nobody answers at %s (%s); trying for %.0f s more"
                    why, left_s = str(error) or type(error).__name__, deadline - self.loop.time()
                    self.sparing.warn("opening", said, self._options["name"], ", ".join(self._urls), why, left_s)
                await asyncio.sleep(RECONNECT_S)
        self.stream_api = self.client.jetstream(prefix=self._api, timeout=REQUEST_S)

    def _not_the_right_one(self, error: Exception) -> AuthenticationFailed:
        """The other side has no certificate that it should have."""
        # What OpenSSL adds to it is a line of its own source.
        why = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else str(error)
        where = ", ".join(self._urls)
        if self._options["tls_hostname"] is None:
            return AuthenticationFailed(
                f"{where}: {why or error}. Nothing was opened. All nodes need tls=, and certificates of one authority; `coopy "
                f"cluster init` makes them."
            )
        if isinstance(error, NoTLS):
            return AuthenticationFailed(
                f"{where}: {why}, so it is no node of this release of coopy. Nothing was opened, and the password was not sent. See "
                f"what listens there, and as which user."
            )
        return AuthenticationFailed(
            f"{where} refused the password. Nothing was opened: it shows no certificate that this password makes ({why or error}), "
            f"so the password was not sent. {self._advice} If the other side was opened with tls=, give certificates here, too; "
            f"`coopy cluster init` makes them."
        )

    def _client(self) -> Any:
        from nats.aio.client import Client

        if self._options["tls"] is None:
            return Client()
        if not hasattr(Client, "_process_info"):
            raise ClusterError("this release of nats-py is not known to coopy: it can't be told to insist on TLS")

        class Insisting(Client):
            # The library leaves it to the server whether TLS is spoken: who stands in between would only have to say no,
            # and be told the password.
            async def _process_info(self, said: dict[str, Any], initial_connection: bool = False) -> None:
                if initial_connection and not said.get("tls_required"):
                    raise NoTLS("it speaks no TLS")
                await super()._process_info(said, initial_connection)

            # Said first of all over TLS. The library doesn't tell asyncio's stream what it goes over, and at the end of each
            # connection it would say in the log what it can't do then.
            def _connect_command(self) -> bytes:
                writer = getattr(self._transport, "_io_writer", None)
                if writer is not None:
                    writer.transport.get_protocol()._over_ssl = True
                return super()._connect_command()

        return Insisting()

    async def fetch(self, stream: str, asked: dict[str, Any], take: Callable[[Any, bytes], None]) -> None:
        """Has a server read messages of a stream: gives ``take`` the headers and the bytes of each.

        Any server that keeps the stream answers, also one that is behind. ``asked`` as in ADR-31. In the loop.
        Raises `nats.errors.Error`, TimeoutError.
        """
        ended: asyncio.Future[None] = self.loop.create_future()

        def fail(error: Exception) -> None:
            if not ended.done():
                ended.set_exception(error)

        async def answer(message: Msg) -> None:
            headers = message.headers or {}
            if "Nats-Sequence" in headers:
                # The library would drop what is raised, and who asked would be told that no server answers.
                with last_resort(fail):
                    take(headers, message.data)
            status = headers.get("Status")
            if ended.done() or (status is None and "batch" in asked):
                return
            if status in (None, "204", "404"):
                ended.set_result(None)
            else:
                # 503: none of the servers that keep the stream can be reached.
                ended.set_exception(Unavailable(f"the servers refuse to read {stream}: {status}"))

        subscription = await self.client.subscribe(self.client.new_inbox(), cb=answer, pending_bytes_limit=128 << 20)
        try:
            subject = direct_get(stream, self._api)
            await self.client.publish(subject, json.dumps(asked).encode(), reply=subscription.subject)
            await asyncio.wait_for(ended, REQUEST_S)
        finally:
            await subscription.unsubscribe()

    def wire(self, subscribe: Sequence[bytes], bell: Bell) -> Wire:
        """One more connection as the same user: to the same server; if that does not answer, the next call tries the next.

        Raises OSError.
        """
        current = self.client.connected_url
        urls = list(dict.fromkeys(([current.geturl()] if current is not None else []) + self._urls))
        url = urls[self._passed % len(urls)]
        given = self._options
        try:
            found = Wire(
                url,
                given.get("user"),
                given.get("password"),
                subscribe=subscribe,
                bell=bell,
                name=given["name"],
                tls=given["tls"],
                tls_name=given["tls_hostname"],
            )
        except OSError:
            self._passed += 1
            raise
        self._passed = 0
        return found

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
        """What a coroutine returns. Raises what it raises, `Unavailable` after the time-out."""
        if self._closing:
            work.close()
            raise SystemClosed("the connection is closed")
        waiting = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return waiting.result(timeout_s)
        except (concurrent.futures.TimeoutError, asyncio.TimeoutError) as error:
            waiting.cancel()
            raise Unavailable(f"{', '.join(self._urls)}: no answer in time ({error or f'within {timeout_s} s'})") from error
        except (self._nats.errors.Error, OSError) as error:
            raise Unavailable(f"{', '.join(self._urls)}: {error or type(error).__name__}") from error

    def insist(self, work: Callable[[], Coroutine[Any, Any, T]], timeout_s: float) -> T:
        """What a coroutine returns that may be run more than once: until the servers answer, or the time is over.

        They do not for some seconds while they agree on a leader. Raises `Unavailable`.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                return self.run(work(), max(0.1, deadline - time.monotonic()))
            except Unavailable:
                if time.monotonic() > deadline - RETRY_S:
                    raise
                time.sleep(RETRY_S)

    def soon(self, function: Callable[..., object], *args: Any) -> None:
        """Calls a function in the loop."""
        # Closed: nobody waits any more.
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(function, *args)

    def close(self) -> None:
        """Ends the connection and its thread. Closing twice is fine."""
        if self._closing:
            return
        self._leaving = True
        self.sparing.close()
        # A connection over TLS that was lost just now is written to once more, and has nothing left to write with
        # (an AttributeError in asyncio.sslproto). Whatever it is, nothing more is said here.
        or_none(self._close_client)
        self._stop()

    def _close_client(self) -> None:
        self.run(asyncio.wait_for(self.client.close(), 2), 3)

    def _stop(self) -> None:
        self._closing = True
        self.loop.call_soon_threadsafe(self.loop.stop)
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()

    async def _disconnected(self) -> None:
        if not self._leaving:
            self.sparing.warn("lost", "%s: the connection to the server is lost; trying again", self._options["name"])
            self._changed("disconnected")

    async def _reconnected(self) -> None:
        self._changed("connected")

    async def _noticed(self, error: Exception) -> None:
        self._seen = f"{self._seen} {error}"[-500:]
        if self._failed is not None and not self._failed.done():
            self._failed.set_result(error)
