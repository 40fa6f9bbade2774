"""The same system from asyncio: recorded calls go to a thread, and thousands of tasks share one sync.

    async with coopy.aio.open(Wiki, "data") as wiki:
        await wiki.create_page("Home", "text")

The thread takes all calls that wait, applies them in order, writes and waits for the disk
once and tells the loop once (`Engine.begin_all`); meanwhile another applies what has come since. So the
loop is never held up by the disk, nor by an action that takes long. Reads are answered in the loop, at once, unless there
is something to wait for; then they queue up behind the calls.

A call is on its way from the moment its task waits for it: a task of another
loop is refused by asyncio before that. A call whose task is cancelled before the
thread has begun with it is not applied; afterwards it is, and its answer dropped.

What a task waits on is not an asyncio.Future but the call itself, which has what
a task asks of a future: it wakes its task without another turn of the loop.
"""

from __future__ import annotations

import asyncio
import errno
import linecache
import os
import threading
import types
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from contextvars import Context
from types import FunctionType, GeneratorType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, TypedDict, TypeVar, cast, overload

import coopy
from coopy.errors import CoopyError, JournalError, SystemClosed, UsageError, copy_of
from coopy.ground import looking
from coopy.ground.words import shown
from coopy.spine import proxy
from coopy.spine.calling import INSIDE, without_catching_frame
from coopy.spine.engine import Engine, Method

if TYPE_CHECKING:
    from datetime import timedelta

    from typing_extensions import Unpack

    from coopy.network.server.configuration import TLS

__coopy_inside__ = True  # See `coopy.spine.calling`.
A = TypeVar("A")
D = TypeVar("D")
D_co = TypeVar("D_co", covariant=True)
P = ParamSpec("P")
R = TypeVar("R")


OVERLAPPED_MIN = 16
"""So many calls at once are worth waking a second thread, that applies the next while the first waits for the disk.
With 50 tasks that is three times the calls."""


class Options(TypedDict, total=False):
    """The options of `coopy.init_system`."""

    snapshot_time: float
    master: bool
    replication: bool
    port: int
    host: str
    password: str
    durability: str
    validation: str
    check: bool
    keep: int | None
    keep_for: float | timedelta | None
    snapshot_growth: int
    snapshot_replay: float
    fork: bool | None
    progress: Callable[[int, int], object] | None
    segment_bytes: int
    deterministic: bool | None
    create: bool
    wait: float
    on_divergence: str | Callable[[dict[str, Any]], object]
    self_check: bool
    cluster: Sequence[str]
    node: str | None
    replica_password: str | None
    tls: TLS | None
    server: str | None
    timeout: float


class System(Protocol[D_co]):
    """A system of a domain class, used from asyncio. What `coopy stub` writes is a protocol of this kind."""

    @property
    def _coopy_domain(self) -> type[D_co]: ...


class Untyped(System[D_co], Protocol[D_co]):
    """The same, where a type checker knows nothing of the methods; `call` knows them all the same."""

    def __getattr__(self, name: str) -> Any: ...


@overload
def open(
    obj: object,
    basedir: str | os.PathLike[str] | None = None,
    *,
    protocol: Callable[..., A],
    **options: Unpack[Options],
) -> Opening[A]: ...


@overload
def open(
    obj: type[D],
    basedir: str | os.PathLike[str] | None = None,
    **options: Unpack[Options],
) -> Opening[Untyped[D]]: ...


@overload
def open(
    obj: D,
    basedir: str | os.PathLike[str] | None = None,
    **options: Unpack[Options],
) -> Opening[Untyped[D]]: ...


def open(obj: Any, basedir: Any = None, *, protocol: Any = None, **options: Any) -> Opening[Any]:
    """Opens a system to be used from the running loop: ``async with open(...) as system``, or ``await open(...)``.

    In the system, methods and controls are coroutine functions, and attributes and properties are
    awaitable (``await wiki.pages``). Who opened it with ``await`` closes it with `close`.

    Args:
        obj: the domain class, an instance of it, or a system that is open already, which is then
            closed with this one.
        basedir, options: as for `coopy.init_system`; ``progress`` is called in the loop.
        protocol: a class that says to a type checker what the system's methods are: what
            `coopy stub` writes. Its methods must be there.

    Raises, when it is awaited:
        UsageError: there is a method in ``protocol`` that the class does not have.
        Whatever `coopy.init_system` raises.
    """
    return Opening(obj, basedir, protocol, options)


class Opening(Generic[A]):
    """What `open` returns: to be awaited, or entered with ``async with``, once."""

    def __init__(self, obj: Any, basedir: Any, protocol: Any, options: dict[str, Any]) -> None:
        self._obj = obj
        self._basedir = basedir
        self._protocol = protocol
        self._options = options
        self._system: Any = None

    def __await__(self) -> Generator[Any, None, A]:
        return self._open().__await__()

    async def __aenter__(self) -> A:
        self._system = await self._open()
        return cast(A, self._system)

    async def __aexit__(self, *_: object) -> None:
        await close(self._system)
        self._system = None

    async def _open(self) -> A:
        looking.refuse("coopy.aio.open")  # Here, where the caller is known, before the thread.
        loop = asyncio.get_running_loop()
        try:
            worker = _Worker(loop, self._opened)
        except RuntimeError as error:
            raise JournalError(
                errno.EAGAIN, f"{error}. Nothing was opened, and what is on the disk is as it was.", str(self._basedir or "")
            ) from error
        # Twice: stopping the worker may be interrupted as well.
        try:
            try:
                system = _attach(await worker.opened, worker)
                _refuse_missing(system, self._protocol)
                del worker.opened
                return cast(A, system)
            except BaseException:
                worker.stop()
                raise
        except BaseException:
            worker.stop()
            worker.__dict__.pop("opened", None)  # What it raises has this frame in its traceback.
            raise

    def _opened(self, loop: asyncio.AbstractEventLoop) -> Any:
        if proxy.is_proxy(self._obj) and self._basedir is None and not self._options:
            return self._obj
        options = dict(self._options)
        progress = options.get("progress")
        if callable(progress):
            # Restoring goes on in the thread meanwhile.
            options["progress"] = lambda done, total: loop.call_soon_threadsafe(progress, done, total)
        return coopy.init_system(self._obj, self._basedir, **options)


def call(
    system: System[D], function: Callable[Concatenate[D, P], R], /, *args: P.args, **kwargs: P.kwargs
) -> Coroutine[Any, Any, R]:
    """Calls a method, as ``system.method(...)`` does: ``await call(wiki, Wiki.create_page, "Home", "text")``.

    A type checker knows its parameters and its result. Special methods are called like any other:
    ``await call(wiki, Wiki.__len__)``, ``await call(wiki, Wiki.__setattr__, "title", "Ours")``.

    Raises `UsageError` if the class has no such method.
    """
    methods = type(_ours(system))._coopy_methods
    return cast("Coroutine[Any, Any, R]", methods.of(function)(system, *args, **kwargs))


async def close(system: object) -> None:
    """Waits for the calls that wait, makes everything durable and lets the directory go. Closing twice is fine.

    If the task is cancelled meanwhile, closing goes on all the same. Raises `JournalError`.
    """
    await _ours(system)._coopy_worker.close()


def system_of(system: object) -> Any:
    """The system itself, as `coopy.init_system` returns it: for threads, and for `coopy.control`."""
    return _ours(system)._coopy_system


def _ours(system: object) -> Any:
    if not isinstance(system, _Proxy):
        raise UsageError(f"coopy.aio takes what coopy.aio.open() gave, not {type(system).__qualname__}")
    return system


# -- one call


class _Call:
    """A call on its way, and what its task waits on. One that has been answered is used again."""

    __slots__ = (
        "_asyncio_future_blocking",
        "_loop",
        "_callback",
        "_context",
        "_worker",
        "cancelled",
        "what",
        "args",
        "kwargs",
        "value",
        "error",
    )

    _callback: Any
    _context: Any
    what: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    value: Any

    def __init__(self, worker: _Worker) -> None:
        self._asyncio_future_blocking = True
        self._loop = worker.loop
        self._worker = worker
        self.cancelled: asyncio.CancelledError | None = None
        self.error: BaseException | None = None

    # -- what a task asks of a future

    def add_done_callback(self, callback: Callable[[_Call], object], *, context: Context) -> None:
        self._callback = callback
        self._context = context
        # As `_Worker.put`, without the call: this is the hot path.
        worker = self._worker
        worker.queue.append(self)
        if worker.asleep:
            worker.wake()

    def result(self) -> None:
        if self.cancelled is not None:
            raise self.cancelled

    def cancel(self, msg: object = None) -> bool:
        if self.cancelled is None:
            self.cancelled = asyncio.CancelledError() if msg is None else asyncio.CancelledError(msg)
            # If its turn has not come, there is nothing to call any more.
            self.what = None
            self._loop.call_soon(self._callback, self, context=self._context)
        return True

    def take_error(self) -> BaseException:
        """What was raised; the call is not used again."""
        error, self.error = self.error, None
        assert error is not None
        return without_catching_frame(error)

    def __repr__(self) -> str:
        name = self.what.name if isinstance(self.what, Method) else getattr(self.what, "__name__", "read")
        return f"<a call of {name}(), on a system that was opened in an event loop of its own>"


@types.coroutine
def _answered(call: _Call) -> Generator[_Call, None, None]:
    """Gives a call to the task, which waits on it; what the task throws is raised here."""
    yield call


class _Worker:
    """What calls are queued to: a thread, or two that take turns, and the way back to the loop."""

    basedir = ""
    system: Any = None
    refusal: BaseException | None = None
    """Set in the loop, once no more calls are taken."""

    def __init__(self, loop: asyncio.AbstractEventLoop, opens: Callable[[asyncio.AbstractEventLoop], Any]) -> None:
        self.loop = loop
        self.opened: asyncio.Future[Any] = loop.create_future()
        self._ended: asyncio.Future[None] = loop.create_future()
        self.queue: list[_Call | None] = []
        """Calls that wait; None to be noticed."""
        self.asleep = False
        """Whether a thread waits for the queue to be filled, and is to be woken."""
        self.pool: list[_Call] = []
        self._bell = threading.Lock()
        self._bell.acquire()
        self._turn = threading.Lock()
        self._second: threading.Thread | None = None
        self._ending = False
        threading.Thread(target=self._work, args=(opens, self.opened), name="coopy calls", daemon=True).start()

    # -- in the loop

    async def close(self) -> None:
        if asyncio.get_running_loop() is not self.loop:
            raise UsageError(
                f"the system in {self.basedir} was opened in another event loop. Close it there; it is still open."
            )
        self.stop()
        await asyncio.shield(self._ended)
        self.pool.clear()

    def stop(self) -> None:
        """Takes no more calls. Lets the thread close the system, once it has done what waits."""
        if self.refusal is None:
            self.refusal = SystemClosed(f"the system in {self.basedir} is closed. Open it again to use it.")
        self.put(None)

    def put(self, call: _Call | None) -> None:
        self.queue.append(call)
        if self.asleep:
            self.wake()

    def wake(self) -> None:
        """Wakes the thread that waits for the queue to be filled."""
        self.asleep = False
        try:
            self._bell.release()
        except RuntimeError:
            pass  # Somebody else has just woken it.

    def refuse(self) -> BaseException:
        """What to raise for a call that comes too late."""
        assert self.refusal is not None
        return copy_of(self.refusal)

    def _fail(self, cause: BaseException) -> None:
        if self.refusal is None:
            self.refusal = SystemClosed(f"the system in {self.basedir} takes no more calls: {cause}")
            self.refusal.__cause__ = cause

    def _deliver(self, batch: list[_Call]) -> None:
        calls = iter(batch)
        try:
            for call in calls:
                if call.cancelled is None:
                    callback, context = call._callback, call._context
                    # A call that is used again must not keep the task and what it knows.
                    call._callback = call._context = None
                    context.run(callback, call)
        finally:
            # A task that ends the loop (SystemExit) keeps the others waiting until it runs again.
            rest = list(calls)
            if rest:
                self.loop.call_soon(self._deliver, rest)

    # -- in the threads

    def _work(self, opens: Callable[[asyncio.AbstractEventLoop], Any], opened: asyncio.Future[Any]) -> None:
        try:
            system = opens(self.loop)
        except BaseException as error:
            self._tell(_settle, opened, None, error)
            del opens, opened  # This frame is in its traceback.
            return
        control = coopy.control(system)
        self.basedir = control.basedir
        self._tell(_settle, opened, system, None)
        del opens, opened
        engine = system._coopy_engine
        del system
        self._take_turns(engine)
        if self._second is not None:
            self._second.join()
        try:
            control.close()
        except BaseException as error:
            self._tell(_settle, self._ended, None, error)
        else:
            self._tell(_settle, self._ended, None, None)

    def _take_turns(self, engine: Engine) -> None:
        """Applies what waits and waits for the disk; while one thread waits, the other applies what has come since."""
        while True:
            with self._turn:
                if self._ending:
                    return
                batch = self._take()
                begun = engine.begin_all(batch)
                shared = len(batch) >= OVERLAPPED_MIN or bool(self.queue)
                if not shared:
                    # Waking the other would cost more than it gains.
                    self._finish(engine, begun, batch)
                elif self._second is None:
                    second = threading.Thread(target=self._take_turns, args=(engine,), name="coopy calls", daemon=True)
                    try:
                        second.start()
                    except RuntimeError:
                        pass  # One thread does the work of two, and asks again with the next batch.
                    else:
                        self._second = second
            if shared:
                self._finish(engine, begun, batch)
            # What was answered must not be kept while there is nothing to do.
            del batch, begun

    def _take(self) -> list[_Call]:
        """The calls that wait; waits for one."""
        queue = self.queue
        while not queue:
            self.asleep = True
            # Whoever fills it now sees that somebody sleeps, and whoever did before is seen here.
            if not queue:
                self._bell.acquire()
            self.asleep = False
        batch = queue[:]
        del queue[: len(batch)]
        if self.refusal is not None and None in batch:
            # All that was put before it was stopped is in front of that.
            self._ending = True
            return [call for call in batch if call is not None]
        return cast("list[_Call]", batch)

    def _finish(self, engine: Engine, begun: Any, batch: list[_Call]) -> None:
        """Waits for the disk, and says so. If it fails, so does every call that could have been answered."""
        try:
            for settled in engine.settled(begun, batch):
                self._tell(self._deliver, settled)
            return
        except Exception as failure:
            for call in batch:
                if not isinstance(call.error, CoopyError):
                    call.error = copy_of(failure)
            self._tell(self._fail, failure)
        self._tell(self._deliver, batch)

    def _tell(self, function: Callable[..., object], *args: Any) -> None:
        try:
            self.loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            pass  # The loop is closed: nobody waits any more.


def _settle(future: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(value)
        return
    if isinstance(error, StopIteration):
        # A future can't raise it, nor can a coroutine: it means something to those who wait.
        error, cause = RuntimeError("StopIteration was raised"), error
        error.__cause__ = cause
    future.set_exception(error)
    future.exception()  # Closing is not always waited for.


# -- the class whose methods are coroutine functions


class _Proxy:
    """What the class of every system that is used from asyncio has."""

    __slots__ = ("_coopy_engine", "_coopy_system", "_coopy_worker", "__weakref__")

    _coopy_engine: Engine
    _coopy_system: Any
    _coopy_worker: _Worker

    def __getattr__(self, name: str) -> Awaitable[Any]:
        if name.startswith("_"):
            raise AttributeError(
                f"{type(self).__qualname__} has no {name!r}: private attributes are read by methods of the class, "
                f"and special methods are called with coopy.aio.call(system, cls.{name})"
            )
        return _attribute(self, name)

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
        for name, function in proxy.functions_of(cls).items():
            self._add(name, function, proxy.kind_of(cls, name, function))
        self._add("__setattr__", cls.__setattr__, "action", ("name", "value"))
        self._add("__delattr__", cls.__delattr__, "action", ("name",))
        self._add("__getattribute__", cls.__getattribute__, "read")

    def of(self, function: Callable[..., Any]) -> Callable[..., Coroutine[Any, Any, Any]]:
        """The coroutine function for a function of the class. Raises `UsageError`."""
        name = getattr(function, "__name__", "")
        if name in self and any(getattr(base, name, None) is function for base in self._cls.__mro__):
            return self[name]
        cls = self._cls.__qualname__
        raise UsageError(f"call() takes a method of {cls}, such as {cls}.method, not {shown(function)}. Nothing was called.")

    def _add(self, name: str, function: Any, kind: str, parameters: tuple[str, ...] = ()) -> None:
        plain = isinstance(function, FunctionType) and not hasattr(function, "__wrapped__")
        exact = proxy.exact_signature(function) if plain else None
        myself, signature, args, kwargs, _ = exact or proxy.ANY_SIGNATURE
        bind = ""
        names: dict[str, Any] = {
            "__name__": __name__,
            INSIDE: True,
            "_coopy_none": {},
            "_coopy_new": _Call,
            "_coopy_answered": _answered,
        }
        names["_coopy_answer"] = _ANSWERS[kind]
        if plain and exact is None:
            names["_coopy_bind"] = proxy.binder(function)
            bind = "\n    _coopy_bind(self, *args, **kwargs)"
        if kind == "action":
            names["_coopy_what"] = proxy.recorded(name, function, proxy.parameters_of(function) if plain else parameters)
        else:
            reader = proxy.READERS.get(name)
            names["_coopy_what"] = reader(function) if reader else function
        template = _ACTION if kind == "action" else _READ
        source = template.format(name=name, self=myself, signature=signature, args=args, kwargs=kwargs, bind=bind)
        filename = f"<coopy.aio {self._cls.__module__}.{self._cls.__qualname__}.{name} {id(self._cls):x}>"
        linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
        exec(compile(source, filename, "exec"), names)
        self[name] = proxy.dressed(names[name], function)


# As in the methods of a proxy: wrong arguments fail before anything is recorded, and a debugger can step through.
_ACTION = """
async def {name}({signature}):{bind}
    _coopy_worker = {self}._coopy_worker
    if _coopy_worker.refusal is not None:
        raise _coopy_worker.refuse()
    _coopy_pool = _coopy_worker.pool
    _coopy_call = _coopy_pool.pop() if _coopy_pool else _coopy_new(_coopy_worker)
    _coopy_call.what = _coopy_what
    _coopy_call.args = {args}
    _coopy_call.kwargs = {kwargs}
    await _coopy_answered(_coopy_call)
    if _coopy_call.error is not None:
        raise _coopy_call.take_error()
    _coopy_result = _coopy_call.value
    _coopy_call.value = _coopy_call.args = _coopy_call.kwargs = None
    _coopy_call._asyncio_future_blocking = True
    _coopy_pool.append(_coopy_call)
    return _coopy_result if _coopy_result is not _coopy_worker.system else {self}
"""
_READ = """
async def {name}({signature}):{bind}
    return await _coopy_answer({self}, _coopy_what, {args}, {kwargs})
"""


async def _attribute(self: Any, name: str) -> Any:
    return await _answer(self, getattr, (name,), {})


async def _answer(self: Any, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The answer of a function that changes nothing: at once, or when its turn comes."""
    try:
        value = _at_once(self._coopy_engine, function, args, kwargs)
    except Exception as error:
        raise without_catching_frame(error)
    if value is _LATER:
        worker = self._coopy_worker
        if worker.refusal is not None:
            raise worker.refuse()
        call = _Call(worker)
        call.what, call.args, call.kwargs = function, args, kwargs
        await _answered(call)
        if call.error is not None:
            raise call.take_error()
        value = call.value
    return value if value is not self._coopy_system else self


async def _answer_in_a_thread(self: Any, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The answer of a function that changes nothing and takes no lock: it may take long."""
    loop = asyncio.get_running_loop()
    try:
        value = await loop.run_in_executor(None, self._coopy_engine.read_unlocked, function, args, kwargs)
    except Exception as error:
        raise without_catching_frame(error)
    return value if value is not self._coopy_system else self


_ANSWERS = {"action": None, "read": _answer, "free": _answer_in_a_thread}
_LATER = object()


def _at_once(engine: Engine, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The answer, if nobody holds the lock and all that could be seen is settled."""
    # The lock is taken by hand, as in the methods of a proxy: see `Engine.unwind`.
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
    async def control(self: Any) -> Any:
        if name in ("close", "shutdown"):
            return await self._coopy_worker.close()
        function = getattr(coopy.control(self._coopy_system), name)
        return await asyncio.get_running_loop().run_in_executor(None, function)

    control.__name__ = name
    control.__doc__ = f"As ``coopy.control(system).{name}()``, without holding up the loop."
    return control


_built: dict[tuple[type, frozenset[str]], type[_Proxy]] = {}


def _build(cls: type, taken: frozenset[str]) -> type[_Proxy]:
    methods = _Methods(cls)
    members: dict[str, Any] = {
        "__slots__": (),
        "__module__": cls.__module__,
        "__qualname__": f"Async{cls.__qualname__}",
        "__doc__": cls.__doc__,
        "_coopy_domain": cls,
        "_coopy_methods": methods,
        # len(system) or system[key] can't wait; a special method is called by name.
        **{name: method for name, method in methods.items() if not name.startswith("__")},
        **{name: member for name, member in proxy.statics_of(cls).items() if not name.startswith("__")},
        **{name: _control(name) for name in proxy.CONTROLS if name not in taken},
    }
    return type(f"Async{cls.__name__}", (_Proxy,), members)


def _attach(system: Any, worker: _Worker) -> _Proxy:
    """The system as a loop sees it."""
    engine = system._coopy_engine
    domain = engine.machine.domain
    cls = system.__class__
    taken = frozenset(name for name in proxy.CONTROLS if proxy.has(cls, domain, name))
    if (cls, taken) not in _built:
        _built[cls, taken] = _build(cls, taken)
    found = object.__new__(_built[cls, taken])
    object.__setattr__(found, "_coopy_engine", engine)
    object.__setattr__(found, "_coopy_system", system)
    object.__setattr__(found, "_coopy_worker", worker)
    worker.system = system
    # A system that is forgotten is closed, as its thread would keep it otherwise.
    weakref.finalize(found, worker.stop).atexit = False
    return found


def _refuse_missing(system: _Proxy, protocol: Any) -> None:
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
