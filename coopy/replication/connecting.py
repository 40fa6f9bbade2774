"""A system that another process has, as a proxy in this one: each call and each read is sent there, and nothing of the state is kept here.

Every value is a copy, made there between two actions. How what is sent gets there is the business of a `Caller`: over a socket of the
directory, or over a connection to `coopy serve`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn, cast

from coopy.control import Control
from coopy.disk import manifest
from coopy.disk.fs import Calls
from coopy.errors import SystemClosed, UsageError
from coopy.ground import log
from coopy.ground.raised import on_failure
from coopy.ground.words import shown
from coopy.replication import asking, keys, parcels
from coopy.replication.caller import Caller, Question
from coopy.replication.keys import Introduced
from coopy.replication.parcels import Parcel, said, taken_in
from coopy.replication.serving import CALLS
from coopy.replication.telling import raised
from coopy.spine import methods, proxy
from coopy.spine.attributes import hidden_methods
from coopy.spine.calling import Call
from coopy.spine.methods import Function, Method
from coopy.values.codec import Codec

__coopy_inside__ = True  # See `coopy.spine.calling`.
TIMEOUT_S_MAX = 1e9
"""More than thirty years; what the clock of a socket can hold."""
STATUS = "status"
"""What a process without a copy asks for besides calls and reads."""


class _Heard:
    """How far the journal is known to go. A `coopy.spine.calling.Settled`."""

    last = 0
    settled = 0

    @property
    def synced(self) -> int:
        """What was answered is as durable as asked for."""
        return self.last


class _Elsewhere:
    """A state that is not here. A `coopy.spine.calling.State`, as far as one can be."""

    applied = -1  # No read is answered from it.

    def __init__(self, domain: type, ask: Callable[[], dict[str, Any]]) -> None:
        self.domain = domain
        """The class: there is no object."""
        self._ask = ask

    @property
    def code(self) -> int:
        return int(self._ask()["enabled_code_version"])

    @property
    def own_code(self) -> int:
        """The highest code version that the class has there."""
        return int(self._ask()["self_code_version"])

    @property
    def effects(self) -> NoReturn:
        raise _not_here("the effects that wait")


class Remote(asking.Unguarded):
    """A `coopy.spine.calling.Calling` that asks for everything."""

    looks_at_reads = True
    gives_parts = False
    is_elsewhere = True
    """Whether there is no state here to compare with that of another system."""
    doorbell = None
    proxy: Any = None

    def __init__(self, cls: type, codec: Codec, caller: Caller) -> None:
        self.caller = caller
        self.log = _Heard()
        self.machine = _Elsewhere(cls, self.status)
        self._codec = codec
        self._reads = asking.Reads(cls, codec)

    def call(self, method: Method, args: tuple[Any, ...], kwargs: dict[str, Any], wait: bool = True) -> Any:
        """Sends a call, and returns what it has returned.

        Raises what the method raises; `EncodingError` and `Unavailable` if nothing was recorded; and `OutcomeUnknown` if that can't be known in time.
        """
        return self._asked(self._called(method, args, kwargs))

    def read(self, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any], wait: bool = True) -> Any:
        if self._reads.is_here(function, args):
            return self._reads.of_class(*args)
        return self._asked(self._to_read(function, args, kwargs))

    def read_unlocked(self, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._asked(self._to_read(function, args, kwargs))

    def control(self, name: str, *args: Any) -> Any:
        """Has a control do something in the process that writes, and returns what that has returned."""
        return self._asked(self._question(parcels.CONTROL, said(self._codec, name, args)))

    def status(self) -> dict[str, Any]:
        """See `coopy.Control.status`."""
        return cast("dict[str, Any]", self.control(STATUS))

    def sync(self) -> None:
        """Hears how far the journal goes."""
        question = self._question(parcels.WHERE, b"NN")
        self.caller.ask((question,))
        self.log.last = max(self.log.last, cast(Parcel, question.answer).position)

    def _called(self, method: Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Question:
        return self._question(parcels.CALL, self._codec.encode_call(method.name, args, kwargs, method.parameters)[0])

    def _to_read(self, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Question:
        return self._question(parcels.READ, self._reads.said(function, args, kwargs))

    def _question(self, kind: int, call: bytes) -> Question:
        if self.log.settled < 0:
            raise SystemClosed(f"the connection to {self.caller.directory} is closed. Connect again to use it.")
        return self.caller.question(kind, call, self.log.last)

    def _asked(self, question: Question) -> Any:
        self.caller.ask((question,))
        return self._answer(cast(Parcel, question.answer))

    def _answer(self, answer: Parcel) -> Any:
        self.log.last = max(self.log.last, answer.position)
        value, _ = taken_in(self._codec, answer.call)
        if answer.kind == parcels.VALUE:
            return value
        raise raised(self._codec, value)

    def begin_all(self, calls: Sequence[Call]) -> Any:
        return asking.begin_all(calls, self._question_for)

    def _question_for(self, call: Call) -> Question | None:
        if isinstance(call.what, Method):
            return self._called(call.what, call.args, call.kwargs)
        return None if call.what is None else self._to_read(call.what, call.args, call.kwargs)

    def settled(self, begun: Any, calls: Sequence[Call]) -> Iterator[Sequence[Call]]:
        asking.end_all(self.caller, begun, self._answer, asking.never_here)
        yield calls

    # -- what is done where the state is

    def subscribe(self, *_: object) -> NoReturn:
        raise _not_here("subscribe")

    def run(self, *_: object) -> NoReturn:
        raise _not_here("on_restored")

    def examine(self, *_: object) -> NoReturn:
        raise _not_here("state_digest")


class RemoteSystem:
    """A connection as something that can be controlled. A `coopy.control.Controlled`."""

    def __init__(self, cls: type, codec: Codec, caller: Caller) -> None:
        self.basedir = caller.directory
        self.on_code_version_changed: Callable[[int, int], object] = lambda before, after: None
        self.before_closing: list[Callable[[], object]] = []
        self.engine: Any = Remote(cls, codec, caller)
        taken = frozenset(name for name in methods.CONTROLS if methods.has(cls, cls, name))
        built = proxy.build(cls, taken, True)
        self.proxy: Any = proxy.attach(built, self.engine, RemoteControl(self))
        self.engine.proxy = codec.proxy = self.proxy

    def take_snapshot(self) -> int:
        return int(self.engine.control("take_snapshot"))

    def set_code_version(self, version: int) -> None:
        self.engine.control("set_code_version", version)

    def status(self) -> dict[str, Any]:
        return cast("dict[str, Any]", self.engine.status())

    def prune(self, rule: object) -> NoReturn:
        raise _not_here("prune")

    def past(self, until: object, after: object = None) -> NoReturn:
        raise _not_here("replay")

    def recorded(self, first: int, last: int | None) -> NoReturn:
        raise _not_here("actions")

    def tell_of_divergences(self, function: object) -> NoReturn:
        raise _not_here("on_diverged")

    def close(self) -> None:
        if self.engine.log.settled < 0:
            return
        while self.before_closing:
            log.call_back(self.basedir, self.before_closing.pop(0))
        self.engine.log.settled = -1
        self.engine.caller.close(SystemClosed(f"the connection to {self.basedir} is closed. Connect again to use it."))


class RemoteControl(Control):
    """What can be done over a connection besides calling methods: snapshots, code versions, `status`, `sync`, `close`.

    What needs the state or the journal raises `UsageError`: it is done where the directory is.
    """

    _system: RemoteSystem

    def __init__(self, system: RemoteSystem) -> None:
        super().__init__(system)

    @property
    def basedir(self) -> str:
        """Where the connection leads to."""
        return self._system.basedir

    def sync(self, timeout: float | None = None) -> None:
        """Hears how far the journal goes. Each read over a connection sees every call that was answered anywhere before, without it."""
        self._system.engine.sync()


def _not_here(what: str) -> UsageError:
    return UsageError(
        f"{what}: this is a connection, which has neither the state nor the journal. Ask in a process that has the directory open, or use "
        f"the command line beside it."
    )


def opened(cls: type, codec: Codec, caller: Caller) -> Any:
    """Returns the proxy of a system that answers, as `coopy.connect` does. Raises `Unavailable`, and whatever ``caller`` does."""
    system = RemoteSystem(cls, codec, caller)
    with on_failure(system.close):
        system.engine.sync()
        proxy.hide(system.proxy, system.engine.read(hidden_methods, (), {}))
    return system.proxy


def beside(cls: type, basedir: str, timeout_s: float) -> Any:
    """Returns the proxy of a system that another process of this machine has open as shared. Raises `Unavailable`."""
    codec, found = Codec(cls), manifest.read(Calls(), basedir)
    assert found is not None, "who writes has begun a system"
    said_first = greeting(codec, found.system)
    return opened(cls, codec, Caller(basedir, lambda purpose: said_first, timeout_s))


def greeting(codec: Codec, system: bytes) -> bytes:
    """Returns what a HELLO says for calls of a system."""
    return said(codec, parcels.FORMAT, system, CALLS)


def connected(url: str, cls: Any, key: Any, tls: Any, timeout_s: Any) -> Any:
    """See `coopy.connect`."""
    where = keys.parse(url)
    if not isinstance(cls, type) or methods.is_proxy(cls) or cls.__module__ == "builtins":
        raise UsageError(f"connect() takes the domain class, not {shown(cls)}. Nothing was opened.")
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, (int, float)) or not 0 < timeout_s < TIMEOUT_S_MAX:
        raise UsageError(f"timeout={shown(timeout_s)}: must be a number of seconds, more than 0. Nothing was opened.")
    if where.host is None and (key is not None or tls):
        raise UsageError(
            f"{where}: key and tls are for tcp. At a Unix socket the kernel says whose process it is. Nothing was opened."
        )
    if where.host is not None and key is None:
        raise UsageError(f"{where}: give key= the file that `coopy serve` has made; it has said where. Nothing was opened.")
    keys.refuse_without_tls(where, tls)
    codec = Codec(cls)

    def greet(server: Introduced) -> bytes:
        if server.cls != cls.__qualname__:
            raise UsageError(f"{where} serves a system of {server.cls}, not of {cls.__qualname__}. Nothing was opened.")
        return greeting(codec, server.system)

    # The extra [serve] may not be there.
    from coopy.replication.link import Served

    secret = b"" if key is None else keys.key_of(key)
    return opened(cls, codec, Served(where, secret, keys.client_context(tls), greet, float(timeout_s)))
