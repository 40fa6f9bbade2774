"""What is replicated of a program for PySyncObj: a `SyncObj`, its consumers, and the methods that are marked `replicated`.

Each of these objects is a member: its ``__dict__`` *is* the state that the system keeps (`coopy.compat.pysyncobj_domain`), so a method reads
and changes its attributes as those of any object. What an object had before PySyncObj's own constructor was called belongs to this process
and is not kept, as there; so does what gets its first value later than in the constructor and outside a replicated method.

How a call is sent and answered is the work of `coopy.compat.pysyncobj_running`.
"""

from __future__ import annotations

import functools
import pickle
import sys
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any, Protocol, overload

from coopy.batteries.frozen import UNPICKLABLE
from coopy.compat.pysyncobj_conf import FAIL_REASON, SyncObjException
from coopy.ground import log
from coopy.ground.running import current
from coopy.spine import methods
from coopy.spine.methods import Function

__coopy_inside__ = True  # See `coopy.spine.calling`.
Callback = Callable[[Any, Any], object]
Bodies = dict[int, FunctionType]
"""The bodies of a method by code version."""


class Sends(Protocol):
    """What a call is sent by."""

    @property
    def code(self) -> int | None:
        """The code version that is enabled; None while that is not known."""
        ...

    def send(
        self,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        callback: Callback | None,
        sync: bool,
        timeout: float | None,
    ) -> Any:
        """Sends a call; returns its result if ``sync``, else None. Raises `SyncObjException`."""
        ...


class Member:
    """An object whose attributes are the state, or a part of it."""

    __slots__ = ("_coopy_number", "_coopy_own", "_coopy_is_made", "_coopy_sends", "__dict__", "__weakref__")

    _coopy_number: int
    """0 is the `SyncObj`, the others are its consumers in order."""
    _coopy_own: set[str]
    """The attributes that belong to this process, and are not kept."""
    _coopy_is_made: bool
    """Whether its constructor, and that of its `SyncObj`, is over."""
    _coopy_sends: Sends | None
    """What sends its calls. None while it is part of no `SyncObj`, and for a state of the past."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return bare(cls, 0)

    def __setattr__(self, name: str, value: Any) -> None:
        if self._coopy_is_made:
            if current.machine is None:
                if name not in self.__dict__:
                    self._coopy_own.add(name)
            elif name in self._coopy_own:
                self._coopy_own.discard(name)
        elif (
            self._coopy_sends is not None and current.machine is None and name in self.__dict__ and name not in self._coopy_own
        ):
            return  # What a constructor that has waited for its system begins with is of a system that is new.
        object.__setattr__(self, name, value)

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError(f"a {type(self).__name__} belongs to this process; its attributes are what is kept")


def bare(cls: type, number: int) -> Any:
    """Returns a member that has no attributes yet, made without its constructor."""
    made: Any = object.__new__(cls)
    begins = {"_coopy_number": number, "_coopy_own": set(), "_coopy_is_made": False}
    for base in cls.__mro__:
        for name in vars(base).get("__slots__", ()):
            if name.startswith("_coopy_"):
                object.__setattr__(made, name, begins.get(name))
    return made


def copied(member: Any) -> Any:
    """Returns a member for a state that is not the running program's: with what belongs to this process, and no other attributes."""
    made = bare(type(member), member._coopy_number)
    for base in type(member).__mro__:
        for name in vars(base).get("__slots__", ()):
            if name.startswith("_coopy_") and name != "_coopy_sends":
                object.__setattr__(made, name, getattr(member, name))
    made.__dict__.update(_own(member))
    return made


def adopt(member: Any, state: dict[str, Any]) -> None:
    """Makes a state the attributes of a member, beside those that belong to this process."""
    state.update(_own(member))
    object.__setattr__(member, "__dict__", state)


def _own(member: Any) -> dict[str, Any]:
    attributes = member.__dict__
    return {name: attributes[name] for name in list(member._coopy_own) if name in attributes}


def kept(member: Any) -> dict[str, Any]:
    """Returns the attributes of a member that are kept."""
    own = member._coopy_own
    return {name: value for name, value in member.__dict__.items() if name not in own}


def leave_out_what_can_not_be_kept(member: Any) -> None:
    """Has attributes that can't be pickled belong to this process, and says so."""
    for name, value in kept(member).items():
        try:
            pickle.dumps(value)
        except UNPICKLABLE as error:
            member._coopy_own.add(name)
            log.warn("%s.%s belongs to this process, and is not kept: %s", type(member).__name__, name, error)


# -- the methods that are replicated


@overload
def replicated(function: Function, /) -> Function: ...


@overload
def replicated(*, ver: int = 0) -> Callable[[Function], Function]: ...


def replicated(*given: Any, **options: Any) -> Any:
    """Marks a method that changes attributes: a call of it is run on every node, in the same order.

    A call returns None at once. Three more keyword arguments are taken from it, and are not the method's:

        callback: called as ``callback(result, reason)`` when this node has applied the call; ``reason`` is a `FAIL_REASON`, and ``result``
            None if it is not SUCCESS.
        sync: True waits, and returns what the method returns, or raises what it raises. Ignored if a callback is given.
        timeout: the seconds that ``sync`` waits before it raises `SyncObjException` ('Timeout'); by default it waits for ever.

    Two methods of one name with different versions, ``@replicated`` and ``@replicated(ver=1)``, are two bodies of one method, of which all
    nodes run the one that `SyncObj.setCodeVersion` has enabled.

        class Counter(SyncObj):
            @replicated
            def add(self, value):
                self.value += value
                return self.value
    """
    return _marking(given, options, sync=False, around=sys._getframe(1).f_locals)


def replicated_sync(*given: Any, **options: Any) -> Any:
    """Marks a method as `replicated` does; a call of it waits by default, for ``timeout`` seconds if the mark says so.

    class Counter(SyncObj):
        @replicated_sync(timeout=5)
        def add(self, value): ...
    """
    return _marking(given, options, sync=True, around=sys._getframe(1).f_locals)


def _marking(given: tuple[Any, ...], options: dict[str, Any], sync: bool, around: Mapping[str, Any]) -> Any:
    version, timeout = int(options.get("ver", 0)), options.get("timeout")
    if len(given) == 1 and not options and callable(given[0]):
        return _marked(given[0], version, sync, timeout, around)
    return lambda function: _marked(function, version, sync, timeout, sys._getframe(1).f_locals)


def _marked(function: Any, version: int, sync: bool, timeout: float | None, around: Mapping[str, Any]) -> Any:
    name = _name_in_class(function)
    bodies: Bodies = {**getattr(around.get(name), "_coopy_bodies", {}), version: function}
    binders = {each: methods.binder(body) for each, body in bodies.items()}

    @functools.wraps(function)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        callback, waits, limit = kwargs.pop("callback", None), kwargs.pop("sync", sync), kwargs.pop("timeout", timeout)
        machine: Any = current.machine
        if machine is not None:
            # A part of the action that calls it, as any call of a method.
            found = enabled(bodies, machine.code)(self, *args, **kwargs)
            if callback is not None and not machine.replaying:
                log.call_back(name, callback, found, FAIL_REASON.SUCCESS)
            return found
        sends = _sends_of(self)
        code = sends.code
        if code is not None:
            enabled(binders, code)(self, *args, **kwargs)  # Wrong arguments are the caller's, and are recorded nowhere.
        return sends.send(action_of(self._coopy_number, name), args, kwargs, callback, bool(waits) and callback is None, limit)

    for attribute, value in (
        ("replicated", True),
        ("ver", version),
        ("origName", function.__name__),
        ("_coopy_bodies", bodies),
    ):
        setattr(call, attribute, value)
    return call


def _name_in_class(function: Any) -> str:
    """The name that a function has among the attributes of its class."""
    name: str = function.__name__
    holder = function.__qualname__.rpartition(".")[0].rpartition(".")[2].lstrip("_")
    return f"_{holder}{name}" if name.startswith("__") and not name.endswith("__") else name


def _sends_of(member: Any) -> Sends:
    if not isinstance(member, Member):
        raise SyncObjException("Class should be inherited from SyncObj or SyncObjConsumer")
    found = member._coopy_sends
    if found is None:
        raise SyncObjException(f"this {type(member).__name__} is not among the consumers of a SyncObj that is there")
    return found


def enabled(bodies: Mapping[int, Any], code: int) -> Any:
    """Returns the body of a method that runs in a code version. Raises `SyncObjException` if there is none yet."""
    found = [version for version in bodies if version <= code]
    if not found:
        raise SyncObjException(
            f"this method is of code version {min(bodies)}, and {code} is enabled: call setCodeVersion first"
        )
    return bodies[max(found)]


def action_of(number: int, name: str) -> str:
    """Returns what a call of a member's method is recorded as."""
    return f"on_{number}_{name}" if number else f"do_{name}"


def bodies_of(cls: type) -> dict[str, Bodies]:
    """Returns the bodies of all methods of a class that are replicated, those of its bases too."""
    found: dict[str, Bodies] = {}
    for base in reversed(cls.__mro__):
        for value in vars(base).values():
            bodies = getattr(value, "_coopy_bodies", None)
            if isinstance(value, FunctionType) and bodies:
                name = _name_in_class(bodies[max(bodies)])
                found[name] = {**found.get(name, {}), **bodies}
    return found


class SyncObjConsumer(Member):
    """A part of the state that is an object of its own. Call its constructor before you give it attributes.

    class Stock(SyncObjConsumer):
        def __init__(self):
            super().__init__()
            self.articles = {}

        @replicated
        def put(self, article, number):
            self.articles[article] = number

    stock = Stock()
    system = SyncObj("a:4321", ["b:4321", "c:4321"], consumers=[stock])
    """

    _syncObj: Any = None
    """The `SyncObj` that it is a consumer of, while that is open."""

    def __init__(self) -> None:
        self._coopy_own.update(self.__dict__, ["_syncObj"])

    def _destroy(self) -> None:
        object.__setattr__(self, "_syncObj", None)
