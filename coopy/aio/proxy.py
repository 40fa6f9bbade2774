"""Builds the class whose methods are coroutine functions, and the systems of it.

Calls go to the thread of `coopy.aio.worker`; reads are answered here, in the loop, where there is nothing to wait for.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Generator
from types import FunctionType, GeneratorType
from typing import Any, NoReturn

from coopy import control
from coopy.aio import coroutines
from coopy.aio.worker import Call, Worker, answered
from coopy.decorators import OUTSIDE
from coopy.errors import ReadOnlyNode, UsageError
from coopy.ground.raised import as_awaited
from coopy.ground.words import shown
from coopy.spine import attributes, methods, parts
from coopy.spine.calling import Calling, without_catching_frame
from coopy.spine.proxy import refuse_block

__coopy_inside__ = True  # See `coopy.spine.calling`.


class Proxy:
    """What the class of every system that is used from asyncio has."""

    __slots__ = ("_coopy_engine", "_coopy_system", "_coopy_worker", "__weakref__")

    _coopy_engine: Calling
    _coopy_system: Any
    _coopy_worker: Worker

    def __getattr__(self, name: str) -> Awaitable[Any]:
        if name.startswith("_"):
            raise AttributeError(
                f"{type(self).__qualname__} has no {name!r}: private attributes are read by methods of the class, "
                f"and special methods are called with coopy.aio.call(system, cls.{name})"
            )
        return _Later(self, name)

    def __setattr__(self, name: str, value: object) -> None:
        raise TypeError(
            f"an attribute can't be set without waiting: call a method that sets it, or "
            f"await coopy.aio.call(system, cls.__setattr__, {name!r}, value). Nothing has changed."
        )

    def __delattr__(self, name: str) -> None:
        raise TypeError(
            f"an attribute can't be deleted without waiting: call a method that deletes it, or "
            f"await coopy.aio.call(system, cls.__delattr__, {name!r}). Nothing has changed."
        )

    def __repr__(self) -> str:
        return f"<{type(self).__qualname__} in {self._coopy_worker.basedir}>"

    def __reduce_ex__(self, protocol: object) -> Any:
        raise TypeError(f"{self!r} can be neither copied nor pickled: it is one directory's state")


class _Methods(dict[str, Callable[..., Coroutine[Any, Any, Any]]]):
    """The coroutine functions of a class by name."""

    def __init__(self, cls: type) -> None:
        super().__init__()
        self._cls = cls
        for name, function in methods.functions_of(cls).items():
            self._add(name, function, methods.kind_of(cls, name, function))
        self._add("__setattr__", cls.__setattr__, "action", ("name", "value"))
        self._add("__delattr__", cls.__delattr__, "action", ("name",))
        self._add("__getattribute__", cls.__getattribute__, "read")
        if cls.__init__ is not object.__init__:  # type: ignore[misc]
            self._add("__init__", cls.__init__, "action")  # type: ignore[misc]

    def of(self, function: Callable[..., Any]) -> Callable[..., Coroutine[Any, Any, Any]]:
        """The coroutine function for a function of the class. Raises `UsageError`."""
        name = getattr(function, "__name__", "")
        if getattr(function, OUTSIDE, False):
            raise UsageError(f"{name}() is marked @outside: call it on the system, without await. Nothing was called.")
        if name in self and any(getattr(base, name, None) is function for base in self._cls.__mro__):
            return self[name]
        cls = self._cls.__qualname__
        raise UsageError(f"call() takes a method of {cls}, such as {cls}.method, not {shown(function)}. Nothing was called.")

    def _add(self, name: str, function: Any, kind: str, parameters: tuple[str, ...] = ()) -> None:
        if kind in ("outside", "refused"):
            self[name] = (_outside if kind == "outside" else _refused)(function)
            return
        is_action = kind == "action"
        what = coroutines.what_of(name, function, is_action, parameters)
        self[name] = coroutines.made(
            self._cls, name, function, what, _ACTION if is_action else _READ, _coopy_answer=_ANSWERS[kind]
        )


_ACTION = coroutines.Source(
    coroutines.QUEUED.format(args="{args}", result="_coopy_result if _coopy_result is not _coopy_worker.system else {self}"),
    "coopy.aio",
)
_READ = coroutines.Source(
    """
async def {name}({signature}):{bind}
    return await _coopy_answer({self}, _coopy_what, {args}, {kwargs})
""",
    "coopy.aio",
)


def _outside(function: Callable[..., Any]) -> Callable[..., Any]:
    """A plain method: it is given the system as a program without a loop sees it."""

    def method(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        return function(self._coopy_system, *args, **kwargs)

    return methods.dressed(method, function)  # type: ignore[arg-type]


def _refused(function: Callable[..., Any]) -> Callable[..., Any]:
    """A block that would change the object after the action."""

    def method(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        refuse_block(self._coopy_system, function.__name__)

    return methods.dressed(method, function)  # type: ignore[arg-type]


async def _attribute(self: Any, name: str) -> Any:
    care = attributes.care_of(self._coopy_domain)
    how = care[name] if name in care else ""
    if how == attributes.RECORDED:
        return _shown(self, await _called(self, attributes.READ, (name,), {}))
    try:
        return _shown(self, await _answer(self, attributes.READERS[how], (name,), {}))
    except attributes.Unrecorded:
        pass
    try:
        return _shown(self, await _called(self, attributes.READ, (name,), {}))
    except ReadOnlyNode:
        return _shown(self, await _answer(self, attributes.peeked_attribute, (name,), {}))


def _shown(self: Any, value: Any) -> Any:
    """What a caller is given for an attribute: of a callable that reaches the state, a coroutine function."""
    if type(value) is not attributes.Bound:
        return value
    if value.kind == attributes.PART:
        return value.value
    if value.kind == "outside":
        return parts.shown(self._coopy_system, value)
    what = attributes.method_by_name(value.name)

    async def call(*args: Any, **kwargs: Any) -> Any:
        if value.kind == "read":
            return await _answer(self, attributes.call_attribute, (value.name, *args), kwargs)
        return await _called(self, what, args, kwargs)

    return call


class _Later(Coroutine[Any, Any, Any]):
    """What an attribute is before it is awaited: its value, or, called, what a call of it comes to."""

    __slots__ = ("_system", "_name", "_begun")

    def __init__(self, system: Any, name: str) -> None:
        self._system = system
        self._name = name
        self._begun: Coroutine[Any, Any, Any] | None = None

    def _begin(self) -> Coroutine[Any, Any, Any]:
        if self._begun is None:
            self._begun = _attribute(self._system, self._name)
        return self._begun

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._begin().__await__()

    def send(self, value: Any) -> Any:
        return self._begin().send(value)

    def throw(self, *error: Any) -> Any:
        return self._begin().throw(*error)

    def close(self) -> None:
        if self._begun is not None:
            self._begun.close()

    def __bool__(self) -> NoReturn:
        raise TypeError(f"the attribute {self._name!r} is not known before it is awaited: if await system.{self._name}: ...")

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        raise TypeError(f"the attribute {self._name!r} is not known before it is awaited: await system.{self._name} == ...")

    __hash__ = Coroutine.__hash__

    async def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        found = (await self)(*args, **kwargs)
        return await found if isinstance(found, Coroutine) else found


class _Hidden:
    """A coroutine function of the class that an attribute of the object may hide."""

    def __init__(self, name: str, member: Any) -> None:
        self._name = name
        self._member = member

    def __get__(self, system: Any, cls: type) -> Any:
        if system is not None:
            engine = system._coopy_engine
            # To ask would hold up the loop.
            if attributes.must_be_asked(engine) or self._name in attributes.own_names(engine.machine.domain):
                return _Later(system, self._name)
        return self._member.__get__(system, cls)


async def _called(self: Any, what: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a call comes to that the class has no coroutine function for."""
    worker = self._coopy_worker
    if worker.refusal is not None:
        raise worker.refuse()
    call = Call(worker)
    call.what, call.args, call.kwargs = what, args, kwargs
    await answered(call)
    if call.error is not None:
        raise call.take_error()
    return call.value if call.value is not self._coopy_system else self


async def _answer(self: Any, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The answer of a function that changes nothing: at once, or when its turn comes."""
    try:
        value = _at_once(self._coopy_engine, function, args, kwargs)
    except Exception as error:
        raise without_catching_frame(error)
    if value is _LATER:
        return await _called(self, function, args, kwargs)
    return value if value is not self._coopy_system else self


async def _answer_in_a_thread(self: Any, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The answer of a function that changes nothing and takes no lock: it may take long."""
    loop = asyncio.get_running_loop()
    try:
        value = await loop.run_in_executor(None, as_awaited, self._coopy_engine.read_unlocked, function, args, kwargs)
    except Exception as error:
        raise without_catching_frame(error)
    return value if value is not self._coopy_system else self


_ANSWERS = {"action": None, "read": _answer, "free": _answer_in_a_thread}
_LATER = object()


def _at_once(engine: Calling, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The answer, if nobody holds the lock and all that could be seen is settled."""
    # The lock is taken by hand, as in the methods of a proxy: see `Calling.unwind`.
    _coopy_engine, _coopy_holds = engine, False
    try:
        try:
            if engine.looks_at_reads or not engine.acquire(False):
                return _LATER
            _coopy_holds = True
            machine = engine.machine
            if machine.applied == engine.log.settled:
                value = function(machine.domain, *args, **kwargs)
                if type(value) is GeneratorType:
                    value = iter(list(value))
            else:
                value = _LATER
            _coopy_holds = False
            engine.release()
        except BaseException:
            _coopy_engine.unwind()
            _coopy_holds = False
            raise
    except RecursionError:
        if _coopy_holds:
            _coopy_engine.release()
        raise
    except BaseException:
        _coopy_engine.unwind()
        raise
    return value if value is not machine.domain else engine.proxy


def _control(name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
    async def controlled(self: Any) -> Any:
        if name in ("close", "shutdown"):
            return await self._coopy_worker.close()
        function = getattr(control(self._coopy_system), name)
        return await asyncio.get_running_loop().run_in_executor(None, function)

    controlled.__name__ = name
    controlled.__doc__ = f"As ``coopy.control(system).{name}()``, without holding up the loop."
    return controlled


_built: dict[tuple[type, frozenset[str], frozenset[str]], type[Proxy]] = {}


def _build(cls: type, taken: frozenset[str], hidden: frozenset[str]) -> type[Proxy]:
    found = _Methods(cls)
    members: dict[str, Any] = {
        "__slots__": (),
        "__module__": cls.__module__,
        "__qualname__": f"Async{cls.__qualname__}",
        "__doc__": cls.__doc__,
        "_coopy_domain": cls,
        "_coopy_methods": found,
        # len(system) or system[key] can't wait; a special method is called by name.
        **{name: method for name, method in found.items() if not name.startswith("__")},
        **{name: member for name, member in methods.statics_of(cls).items() if not name.startswith("__")},
        **{name: _control(name) for name in methods.CONTROLS if name not in taken},
    }
    if "__bool__" in found or "__len__" in found:
        members["__bool__"] = _not_without_waiting
    for name in hidden | attributes.hideable(cls):
        members[name] = _Hidden(name, members[name])
    return type(f"Async{cls.__name__}", (Proxy,), members)


def _not_without_waiting(self: Proxy) -> NoReturn:
    """Whether an object is true that says so itself. Without a `__bool__` Python takes any object for true."""
    name = "__bool__" if "__bool__" in vars(type(self))["_coopy_methods"] else "__len__"
    raise TypeError(
        f"whether {self!r} is true can't be told without waiting: await coopy.aio.call(system, cls.{name}); or, whether it is there, "
        f"system is not None"
    )


def attach(system: Any, worker: Worker) -> Proxy:
    """The system as a loop sees it."""
    engine = system._coopy_engine
    domain = engine.machine.domain
    cls = system.__class__
    taken = frozenset(name for name in methods.CONTROLS if methods.has(cls, domain, name))
    hidden = attributes.methods_of(cls) & frozenset(attributes.own_names(domain))
    made = cls, taken, hidden
    if made not in _built:
        _built[made] = _build(*made)
    found = object.__new__(_built[made])
    object.__setattr__(found, "_coopy_engine", engine)
    object.__setattr__(found, "_coopy_system", system)
    object.__setattr__(found, "_coopy_worker", worker)
    worker.system = system
    # A system that is forgotten is closed, as its thread would keep it otherwise.
    weakref.finalize(found, worker.stop).atexit = False
    return found


def refuse_missing(system: Proxy, protocol: Any) -> None:
    """Refuses a protocol that names methods which the system does not have."""
    members = vars(protocol) if protocol is not None else {}
    named = (name for name, member in members.items() if isinstance(member, FunctionType) and not name.startswith("_"))
    missing = [f"{name}()" for name in sorted(named) if not hasattr(type(system), name)]
    if missing:
        cls = system._coopy_system.__class__.__qualname__
        raise UsageError(
            f"{protocol.__qualname__} names {', '.join(missing)}, which {cls} does not have. Write the protocol again, "
            f"with coopy stub. The system was closed again."
        )
