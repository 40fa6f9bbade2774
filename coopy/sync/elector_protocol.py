"""What an elector is asked, and what it answers: the HTTP protocol of Metaparticle/Sync, without HTTP.

    request                          condition                                 status  body

    GET /locks/<name>                there never was one of that name             404  {"message": "Not found."}
                                     there is one, held or free                   200  the lock
    PUT /locks/<name>                there never was one, or it is free           200  the lock, which is the caller's now
                                     the caller's, less than half its time left   200  the lock, with its full time again
                                     the caller's, at least half its time left    200  the lock; nothing has changed
                                     another owner's                              409  the lock, which says whose it is
    POST /locks/<name>, POST /locks  there never was one of that name             200  the lock, which is the caller's now
                                     there is one, held or free                   409  {"message": "Conflict"}
    any path not below /locks                                                     404  {"message": "Unknown path: ..."}
    more than three parts                                                         429  {"message": "Bad path: ..."}

That much is of overview.md and the clients of github.com/metaparticle-io/sync, and of LockServer.java of
github.com/metaparticle-io/container-lib. ``POST /locks`` has the lock in its body, which names itself in ``metadata.name``; of any other body nothing
is read. Ours are, and no client of theirs asks for them:

    DELETE /locks/<name>             the caller's, or free                        200  the lock, which is free now
                                     another owner's, or ?token= is an older one  409  the lock
                                     there never was one of that name             404  {"message": "Not found."}
    any other method                 the original never answers                   405  {"message": "..."}
    what is no request to obey                                                    400, 403, 413
    too many locks                                                                507  {"message": "..."}
    no majority answers in time, or it is not known whether one did               503  {"message": "..."}
    what is kept can't be written, or the system is closed                        500  {"message": "..."}

``?owner=`` makes a caller an owner of its own: without it, all who ask one elector are one. It is put after the elector's own name, so it can't
be taken for the owner at another elector. ``?wait=SECONDS`` has a PUT wait for a lock that is another owner's. In the lock, ``spec.token`` is the
fencing token, ``spec.ttl`` the time to live, ``spec.remaining`` for how long the lock surely stays as it is, and ``spec.waited`` how much of the request was over when the
lock was asked for the last time, all in milliseconds: what is promised counts from after that.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any, NamedTuple, Protocol
from urllib.parse import parse_qs

from coopy import CoopyError, OutcomeUnknown, Unavailable
from coopy.sync.elector import LOCKS_MAX, NoRoom, Seen

NAME_LENGTH_MAX = 253
"""The longest name that an object of Kubernetes has; the original's locks are such objects."""
WAIT_S_MAX = 25
"""Less than the 30 s after which many clients and proxies give up."""
TOKEN_MAX = 2**63
"""More than any elector gives."""
METHODS = ("GET", "PUT", "POST", "DELETE")
ALLOWED_OF_TTL = Fraction(1, 8)
"""By so much of its time to live a lock may end otherwise than it was said to, before something else is said."""
_NS_IN_MS = 1_000_000  # Nanoseconds in a millisecond.
_MS_IN_S = 1_000  # Milliseconds in a second.
_NS_IN_US = 1_000  # Nanoseconds in a microsecond.


class Reply(NamedTuple):
    """A status, the JSON of the body, and headers besides."""

    status: int
    body: Mapping[str, Any]
    headers: tuple[tuple[str, str], ...] = ()


class Request(NamedTuple):
    """What was asked. ``path`` is decoded, and the body as it came."""

    method: str
    path: str
    query: str
    body: bytes


class Calls(Protocol):
    """The methods of `Elector`, to be awaited; and how to wait for one to come free."""

    async def get(self, name: str) -> Seen | None: ...

    async def take(self, name: str, owner: str, ttl_ns: int) -> tuple[bool, Seen]: ...

    async def create(self, name: str, owner: str, ttl_ns: int) -> Seen | None: ...

    async def free(self, name: str, owner: str, token: int | None) -> tuple[bool, Seen | None]: ...

    async def until_free(self, name: str, ends: float) -> bool:
        """Waits until a lock may be free, or the clock of the loop is at ``ends``. Returns False if it is not, or nobody may wait."""
        ...


class Refused(Exception):
    """A request that is answered without a look at any lock."""

    def __init__(self, status: int, why: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        self.reply = Reply(status, {"message": why}, headers)
        super().__init__(why)


class Sidecar:
    """Answers requests about the locks of one elector, whose clients are all one owner unless they say otherwise."""

    def __init__(
        self, calls: Calls, owner: str, ttl_ns: int, now: Callable[[], datetime] = lambda: datetime.now().astimezone()
    ) -> None:
        self._calls = calls
        self._owner = owner
        self._ttl_ns = ttl_ns
        self._calendar = Calendar(now)

    async def answer(self, request: Request) -> Reply:
        """Answers a request. Raises nothing but what ends the task."""
        try:
            name = _name(request)
            query = parse_qs(request.query, keep_blank_values=True)
            owner = self._owner if "owner" not in query else f"{self._owner}/{_named('owner', query['owner'][-1])}"
            answer = {"GET": self._get, "PUT": self._put, "POST": self._post, "DELETE": self._delete}[request.method]
            return await answer(name, owner, query)
        except Refused as refused:
            return refused.reply
        except NoRoom as error:
            return Reply(507, {"message": str(error)})
        except (Unavailable, OutcomeUnknown) as error:
            return Reply(503, {"message": str(error)})
        except CoopyError as error:
            return Reply(500, {"message": str(error)})

    async def _get(self, name: str, owner: str, query: Mapping[str, list[str]]) -> Reply:
        seen = await self._calls.get(name)
        return Reply(404, {"message": "Not found."}) if seen is None else self._shown(200, seen)

    async def _put(self, name: str, owner: str, query: Mapping[str, list[str]]) -> Reply:
        wait_s = _number("wait", query, WAIT_S_MAX) or 0
        now_s = asyncio.get_running_loop().time
        began_s = taking_s = now_s()
        is_own, seen = await self._calls.take(name, owner, self._ttl_ns)
        # Once more for each time that it came free and another was quicker.
        while not is_own and wait_s and await self._calls.until_free(name, began_s + wait_s):
            taking_s = now_s()
            is_own, seen = await self._calls.take(name, owner, self._ttl_ns)
        return self._shown(200 if is_own else 409, seen, waited_s=taking_s - began_s)

    async def _post(self, name: str, owner: str, query: Mapping[str, list[str]]) -> Reply:
        seen = await self._calls.create(name, owner, self._ttl_ns)
        return Reply(409, {"message": "Conflict"}) if seen is None else self._shown(200, seen)

    async def _delete(self, name: str, owner: str, query: Mapping[str, list[str]]) -> Reply:
        token = _number("token", query, TOKEN_MAX)
        is_free, seen = await self._calls.free(name, owner, token)
        if seen is None:
            return Reply(404, {"message": "Not found."})
        return self._shown(200 if is_free else 409, seen)

    def _shown(self, status: int, seen: Seen, waited_s: float = 0) -> Reply:
        spec = {
            "owner": seen.owner,
            "expiry": self._calendar.expiry(seen).isoformat(timespec="milliseconds"),
            "token": seen.token,
            "ttl": seen.ttl_ns // _NS_IN_MS,
            "remaining": seen.sure_ns // _NS_IN_MS,
            "waited": int(waited_s * _MS_IN_S),
        }
        metadata = {"name": seen.name, "namespace": "default", "resourceVersion": str(seen.version)}
        return Reply(status, {"metadata": metadata, "kind": "Lock", "apiVersion": "metaparticle.io/v1", "spec": spec})


def _name(request: Request) -> str:
    """Returns the name of the lock that a request is about. Raises `Refused`."""
    parts = request.path.rstrip("/").split("/")
    if parts[:2] != ["", "locks"]:
        raise Refused(404, f"Unknown path: {request.path}")
    if len(parts) > 3:  # The empty one before the first slash is one of them.
        raise Refused(429, f"Bad path: {request.path}")
    if request.method not in METHODS:
        raise Refused(405, f"{request.method}: must be {', '.join(METHODS)}", (("allow", ", ".join(METHODS)),))
    return _named("the name of the lock", parts[2] if len(parts) == 3 else _name_in(request.body))


def _name_in(body: bytes) -> str:
    try:
        name = json.loads(body)["metadata"]["name"]
    except (ValueError, LookupError, TypeError, RecursionError):
        name = None
    if not isinstance(name, str):
        raise Refused(400, 'no lock is named: ask for /locks/<name>, or send {"metadata": {"name": "<name>"}}')
    return name


def is_name(name: str) -> bool:
    """Whether a lock, or an owner, may be called so."""
    return 0 < len(name) <= NAME_LENGTH_MAX and name.isprintable() and "/" not in name


def _named(what: str, name: str) -> str:
    if not is_name(name):
        raise Refused(400, f"{what}: must be 1 to {NAME_LENGTH_MAX} characters that can be printed, and no slash")
    return name


def _number(name: str, query: Mapping[str, list[str]], most: int) -> int | None:
    if name not in query:
        return None
    text = query[name][-1]
    if not (text.isascii() and text.isdigit() and len(text) < len(str(TOKEN_MAX)) and int(text) <= most):
        raise Refused(400, f"{name}: must be a whole number, at most {most}")
    return int(text)


class Calendar:
    """Says at what time of day a lock ends, to those who read it. Nothing is decided by it.

    How much time is left is known in ticks, so each look comes to another moment. What was said of a lock is said again, unless it is wrong
    by more than a tick or so: after the clock was set, or when counting stood still while no majority was there.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._said: dict[str, tuple[int, datetime]] = {}
        """By name: the version of the lock, and when it ends."""

    def expiry(self, seen: Seen) -> datetime:
        """Returns when a lock ends, or has ended."""
        now = self._now()
        version, said = self._said.get(seen.name, (0, now))
        if version == seen.version and self._holds(seen, said, now):
            return said
        found = now + timedelta(microseconds=seen.left_ns // _NS_IN_US)
        if len(self._said) >= LOCKS_MAX:
            self._said.clear()
        self._said[seen.name] = seen.version, found
        return found

    @staticmethod
    def _holds(seen: Seen, said: datetime, now: datetime) -> bool:
        if not seen.left_ns:
            return said <= now
        allowed = timedelta(microseconds=seen.ttl_ns * ALLOWED_OF_TTL // _NS_IN_US)
        return said > now and abs(said - now - timedelta(microseconds=seen.left_ns // _NS_IN_US)) <= allowed
