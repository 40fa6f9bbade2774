"""What belongs to a process and so can be neither an argument nor part of a state: told, found inside a value, and
refused. It has more than 500 lines because the kinds, where they hide, and the search for one are one table and one
walk.

An open file, a thread, a socket mean nothing to the process that replays. pickle refuses most of them; what it writes all
the same (a logger by its name, a connection by the number of its file) is refused here. Encoding and recording are not the work of
this module, and what is not a matter of the process is left to pickle.

Locks are the exception: a class often makes one in its ``__init__``. In a state each is made anew, open, when the state is
restored, and what shared it shares the new one; as an argument a lock is refused, as the caller would go on with another one.

Kinds are told by the names of classes and their bases, so that nothing is imported to ask. A subclass that a program
defines with a ``__reduce__`` or a ``__getstate__`` of its own says what is to be kept of it, and is not refused.
"""

from __future__ import annotations

import copyreg
import functools
import operator
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from types import BuiltinFunctionType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any, NamedTuple

from coopy.ground import words
from coopy.ground.raised import attempted, or_none

Reducer = Callable[[Any], Any]

PROTOCOL = 5  # That of pickle in which arguments and states are kept; reducers answer differently in older ones.
_STATE = 2  # The place of the attributes in what a reducer returns.
_OF_STDLIB = frozenset({"builtins", "collections", "datetime", "decimal", "fractions", "uuid"})
_plainly: Reducer = operator.methodcaller("__reduce_ex__", PROTOCOL)


class Kind(NamedTuple):
    """What something is to its reader, and what is to be passed or kept in its place."""

    what: str
    instead: str
    in_state: str = ""
    """The same for a state, if that is something else."""
    is_lock: bool = False


class BelongsToProcess(Exception):
    """A value holds what belongs to the process."""

    def __init__(self, kind: Kind, cls: object) -> None:
        super().__init__(f"{_name_of(cls)} is {kind.what}, which belongs to this process")
        self.kind = kind


_ASK_OUTSIDE = "Do that outside the system, and pass what came of it."
_FILE = Kind("an open file", "Pass what is in it: file.read().", "Keep what is in it, or its name.")
_ARCHIVE = Kind("an open archive", "Pass what was read from it, or its name.", "Keep what was read from it, or its name.")
_LISTING = Kind("part of the listing of a folder", "Pass the path: entry.path.", "Keep the path: entry.path.")
_FOLDER = Kind("a temporary folder", "Pass its name: folder.name.", "Keep its name.")
_MAPPED = Kind("a file mapped into memory", "Pass bytes of it: bytes(mapped).", "Keep bytes of it: bytes(mapped).")
_SHARED = Kind(
    "memory shared between processes", "Pass a copy of what is in it: bytes, or a list.", "Keep a copy of what is in it."
)
_CONNECTION = Kind("an open connection", "Pass what was received, or the address.", "Keep the address.")
_DATABASE = Kind("an open database", "Pass the rows: cursor.fetchall().", "Keep the rows, or the name of the database.")
_TLS = Kind(
    "a TLS context", "Pass the names of the files that it was made of.", "Keep the names of the files that it was made of."
)
_SELECTOR = Kind("a selector", _ASK_OUTSIDE, "Keep it outside the system.")
_THREAD = Kind("a thread", _ASK_OUTSIDE, "Keep it outside the system.")
_LOCAL = Kind("data of a thread", "Pass the values themselves.", "Keep the values themselves.")
_PROCESS = Kind("a process", "Pass its output, or its pid.", "Keep its pid.")
_EXECUTOR = Kind("an executor", _ASK_OUTSIDE, "Keep it outside the system.")
_FUTURE = Kind("a future", "Pass its result: future.result().", "Keep its result: future.result().")
_LOOP = Kind("part of an event loop", _ASK_OUTSIDE, "Keep it outside the system.")
_LOCK = Kind("a lock", "Make it where it is used, in the domain's __init__ say.", is_lock=True)
_LOCK_OF_LOOP = Kind("a lock of an event loop", _ASK_OUTSIDE, "Keep it outside the system.")
_LOCK_OF_PROCESSES = Kind("a lock of several processes", _ASK_OUTSIDE, "Keep it outside the system.")
_QUEUE = Kind("a queue", "Pass a list of what is in it.", "Keep what waits in a list or a collections.deque.")
_LOGGER = Kind(
    "a logger",
    "Make it a global of the module: log = logging.getLogger(__name__).",
    "Make it a global of the module: log = logging.getLogger(__name__).",
)
_HANDLER = Kind("a handler of the log", "Set the log up where the program begins.", "Set the log up where the program begins.")
_GENERATOR = Kind("a generator", "Pass what it yields: list(generator).", "Keep what it yields: list(generator).")
_COROUTINE = Kind("a coroutine", "Await it, and pass what it returns.", "Await it, and keep what it returns.")
_MODULE = Kind("a module", "Import it where it is used, or pass its name.", "Import it where it is used, or keep its name.")
_ENVIRON = Kind(
    "the environment of the process",
    "Pass the variables that are needed, or dict(os.environ).",
    "Keep the variables that are needed.",
)
_FRAME = Kind(
    "a call that runs", "Pass what is needed of it as a text: traceback.format_exc().", "Keep what is needed of it as a text."
)
_CONTEXT = Kind("a context of the process", "Pass the value: variable.get().", "Keep the value: variable.get().")
_WEAK = Kind("a weak reference", "Pass the object, or its key.", "Keep the object, or its key.")
_LIBRARY = Kind(
    "memory or code outside Python", "Pass its value as bytes or as a number.", "Keep its value as bytes or as a number."
)
_TIMER = Kind("a scheduler", _ASK_OUTSIDE, "Keep it outside the system.")

_KINDS: dict[str, Kind] = {
    name: kind
    for kind, names in (
        (
            _FILE,
            "_io:_IOBase tempfile:_TemporaryFileWrapper tempfile:_TemporaryFileCloser tempfile:SpooledTemporaryFile os:_wrap_close "
            "codecs:StreamReaderWriter codecs:StreamRecoder codecs:StreamReader codecs:StreamWriter "
            "fileinput:FileInput _csv:reader _csv:writer csv:DictReader csv:DictWriter wave:Wave_read wave:Wave_write "
            "urllib.response:addbase",
        ),
        (_ARCHIVE, "zipfile:ZipFile zipfile:Path zipfile._path:Path tarfile:TarFile"),
        (_LISTING, "posix:ScandirIterator posix:DirEntry nt:ScandirIterator nt:DirEntry"),
        (_FOLDER, "tempfile:TemporaryDirectory"),
        (_MAPPED, "mmap:mmap"),
        (
            _SHARED,
            "multiprocessing.shared_memory:SharedMemory multiprocessing.shared_memory:ShareableList "
            "multiprocessing.sharedctypes:SynchronizedBase multiprocessing.managers:BaseProxy multiprocessing.managers:BaseManager",
        ),
        (
            _CONNECTION,
            "_socket:socket multiprocessing.connection:_ConnectionBase multiprocessing.connection:Listener "
            "multiprocessing.connection:SocketListener socketserver:BaseServer _ssl:_SSLSocket ssl:SSLObject "
            "http.client:HTTPConnection smtplib:SMTP ftplib:FTP imaplib:IMAP4 poplib:POP3",
        ),
        (
            _DATABASE,
            "sqlite3:Connection sqlite3:Cursor sqlite3:Blob shelve:Shelf dbm.dumb:_Database _dbm:dbm _gdbm:gdbm dbm.sqlite3:_Database",
        ),
        (_TLS, "_ssl:_SSLContext _ssl:MemoryBIO _ssl:SSLSession"),
        (_SELECTOR, "selectors:BaseSelector select:epoll select:poll select:kqueue select:devpoll"),
        (_THREAD, "threading:Thread _thread:_ThreadHandle"),
        (_LOCAL, "_thread:_local _threading_local:local"),
        (_PROCESS, "subprocess:Popen multiprocessing.process:BaseProcess asyncio.subprocess:Process"),
        (_EXECUTOR, "concurrent.futures._base:Executor multiprocessing.pool:Pool"),
        (_FUTURE, "concurrent.futures._base:Future multiprocessing.pool:ApplyResult"),
        (
            _LOOP,
            "_asyncio:Future asyncio.futures:Future asyncio.events:AbstractEventLoop asyncio.events:Handle "
            "asyncio.transports:BaseTransport asyncio.streams:StreamReader asyncio.streams:StreamWriter "
            "asyncio.runners:Runner asyncio.taskgroups:TaskGroup asyncio.timeouts:Timeout asyncio.events:AbstractServer",
        ),
        (
            _LOCK,
            "_thread:lock _thread:RLock threading:_RLock threading:Condition threading:Event threading:Semaphore threading:Barrier",
        ),
        (
            _LOCK_OF_LOOP,
            "asyncio.mixins:_LoopBoundMixin asyncio.locks:Lock asyncio.locks:Event asyncio.locks:Condition asyncio.locks:Semaphore",
        ),
        (
            _LOCK_OF_PROCESSES,
            "_multiprocessing:SemLock multiprocessing.synchronize:SemLock multiprocessing.synchronize:Event "
            "multiprocessing.synchronize:Condition multiprocessing.synchronize:Barrier",
        ),
        (
            _QUEUE,
            "queue:Queue _queue:SimpleQueue queue:_PySimpleQueue multiprocessing.queues:Queue multiprocessing.queues:SimpleQueue "
            "asyncio.queues:Queue",
        ),
        (_LOGGER, "logging:Logger logging:LoggerAdapter logging:Manager logging:PlaceHolder"),
        (_HANDLER, "logging:Handler logging.handlers:QueueListener"),
        (_GENERATOR, "builtins:generator contextlib:_GeneratorContextManagerBase"),
        (
            _COROUTINE,
            "builtins:coroutine builtins:async_generator builtins:coroutine_wrapper builtins:async_generator_asend "
            "builtins:async_generator_athrow builtins:anext_awaitable",
        ),
        (_MODULE, "builtins:module"),
        (_ENVIRON, "os:_Environ"),
        (_FRAME, "builtins:frame builtins:traceback builtins:FrameLocalsProxy"),
        (_CONTEXT, "_contextvars:ContextVar _contextvars:Context _contextvars:Token"),
        (
            _WEAK,
            "weakref:ReferenceType weakref:ProxyType weakref:CallableProxyType weakref:WeakValueDictionary weakref:WeakKeyDictionary "
            "_weakrefset:WeakSet weakref:finalize weakref:WeakMethod",
        ),
        (_LIBRARY, "ctypes:CDLL _ctypes:_Pointer _ctypes:CFuncPtr builtins:PyCapsule"),
        (_TIMER, "sched:scheduler"),
    )
    for name in names.split()
}
_VALUES = frozenset({"_io:BytesIO", "_io:StringIO", "_pyio:BytesIO", "_pyio:StringIO"})
"""Files in memory alone, which are what is in them."""

_MAKERS: dict[tuple[str, str], Kind] = {
    ("logging", "getLogger"): _LOGGER,
    ("multiprocessing.managers", "RebuildProxy"): _SHARED,
    ("multiprocessing.managers", "AutoProxy"): _SHARED,
}
"""By module and name, the functions by which pickle restores what belongs to a process."""

_OPENERS: dict[tuple[str, str], Kind] = {
    ("dill._dill", "_create_filehandle"): _FILE,
    ("dill._dill", "_create_capsule"): _LIBRARY,
}
"""The functions by which dill did, before it was kept to functions and classes: a file was opened again, and emptied."""

_HOOKS = ("__reduce__", "__reduce_ex__", "__getstate__")


@functools.lru_cache(maxsize=4096)
def kind_of(cls: Any) -> Kind | None:
    """What objects of a class are, if they belong to a process."""
    for base in cls.__mro__:
        name = _name_of(base)
        if name in _VALUES:
            return None
        kind = _KINDS.get(name)
        if kind is not None:
            return kind
        if str(base.__module__).partition(".")[0] not in sys.stdlib_module_names and any(hook in vars(base) for hook in _HOOKS):
            return None  # It says itself what is to be kept of it.
    return None


def refuse(found: Any, module: str, name: str) -> None:
    """Raises `BelongsToProcess` if a pickle restores by this class or function what belongs to a process, or names just the class."""
    kind = kind_of(found) if isinstance(found, type) else _MAKERS.get((module, name))
    if kind is not None:
        raise BelongsToProcess(kind, found)


def refuse_to_open(module: str, name: str) -> None:
    """Raises `BelongsToProcess` for the functions of dill that would open a file again."""
    kind = _OPENERS.get((module, name))
    if kind is not None:
        raise BelongsToProcess(kind, object)


# -- states


class Reducers(dict[type, Reducer]):
    """What a pickler of a state asks: locks are made anew, what belongs to a process is refused, the rest is as ever.

    A class is looked at once, when the first of its objects is met. An ordinary class is entered too: for one that is
    missing the pickler makes and drops a KeyError, for each of its objects.
    """

    def __init__(self) -> None:
        super().__init__(copyreg.dispatch_table)

    def __missing__(self, cls: Any) -> Reducer:
        if issubclass(cls, type):
            raise KeyError(cls)  # It is a class, which is kept by its name.
        kind = kind_of(cls)
        plainly = _with_attributes if _drops_attributes(cls) else _plainly
        found = self[cls] = plainly if kind is None else (lock_reducer(cls) or plainly) if kind.is_lock else _refused
        return found

    def get(self, cls: type, default: Any = None) -> Any:
        try:
            return self[cls]
        except KeyError:
            return default


def _drops_attributes(cls: Any) -> bool:
    """Whether what pickles the objects of a class is that of a base in the standard library, which may know of no attributes."""
    if not getattr(cls, "__dictoffset__", 0) or cls.__module__ == "builtins":
        return False
    owner = next(base for base in cls.__mro__ if "__reduce__" in vars(base) or "__reduce_ex__" in vars(base))
    return owner is not object and owner is not cls and owner.__module__ in _OF_STDLIB


def _with_attributes(value: Any) -> Any:
    """How an object is made again; with its attributes, if its class's base leaves them out, as those of `defaultdict` and `Counter` do."""
    made = _plainly(value)
    held = getattr(value, "__dict__", None)
    if not held or isinstance(made, str) or (len(made) > _STATE and made[_STATE] is not None):
        return made
    return (*made[:_STATE], held, *made[_STATE + 1 :])


def lock_reducer(cls: Any) -> Reducer | None:
    """What pickles the locks of a class in a state; None if nothing but their class is needed for it."""
    kind = kind_of(cls)
    if kind is None or not kind.is_lock:
        return None
    return next((_LOCKS[base] for base in cls.__mro__ if base in _LOCKS), None)


def new_lock() -> Any:
    """Makes a lock that is open; the snapshots that hold one name this function."""
    return threading.Lock()


def new_condition(cls: type[threading.Condition], lock: Any) -> threading.Condition:
    """Makes a condition that nobody waits for; the snapshots that hold one name this function."""
    condition = cls.__new__(cls)
    threading.Condition.__init__(condition, lock)
    return condition


def _reduced_lock(lock: Any) -> Any:
    return new_lock, ()


def _reduced_rlock(lock: Any) -> Any:
    cls = type(lock)
    if cls is _RLOCK:
        return threading.RLock, ()
    return _made(cls, _without(lock, ()))


def _reduced_rlock_in_python(lock: Any) -> Any:
    return _made(type(lock), {**vars(lock), **vars(_RLOCK_IN_PYTHON())})


def _reduced_condition(condition: Any) -> Any:
    return new_condition, (type(condition), condition._lock), _without(condition, _OF_CONDITIONS)


def _reduced_semaphore(semaphore: Any) -> Any:
    # A caller beside the system may hold it: with none left the restored one would be waited for for ever.
    value = getattr(semaphore, "_initial_value", max(1, semaphore._value))
    return _made(type(semaphore), {**vars(semaphore), "_value": value})


def _reduced_barrier(barrier: Any) -> Any:
    return _made(type(barrier), {**vars(barrier), "_state": 0, "_count": 0})


def _made(cls: type, state: dict[str, Any] | None) -> Any:
    return copyreg.__newobj__, (cls,), state  # type: ignore[attr-defined]


def _without(value: Any, names: Iterable[str]) -> dict[str, Any] | None:
    found = {name: each for name, each in getattr(value, "__dict__", {}).items() if name not in names}
    return found or None


_RLOCK: type = type(threading.RLock())
_RLOCK_IN_PYTHON: Any = threading._RLock
_OF_CONDITIONS = frozenset(vars(threading.Condition()))
_LOCKS: dict[type, Reducer] = {
    type(threading.Lock()): _reduced_lock,
    _RLOCK: _reduced_rlock,
    _RLOCK_IN_PYTHON: _reduced_rlock_in_python,
    threading.Condition: _reduced_condition,
    threading.Semaphore: _reduced_semaphore,
    threading.Barrier: _reduced_barrier,
}


def _refused(value: Any) -> Any:
    cls: Any = type(value)
    kind = kind_of(cls)
    assert kind is not None, "only what has a kind is in the table"
    raise BelongsToProcess(kind, cls)


# -- where it is


class Found(NamedTuple):
    """What can't be kept, and where it is."""

    path: str
    value: Any
    kind: Kind | None
    """None for what does not belong to the process but can't be pickled all the same."""
    error: Exception | None

    def __str__(self) -> str:
        cls = type(self.value)
        name = cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
        if self.kind is not None:
            return f"{self.path} is {self.kind.what} ({name}), which belongs to this process"
        return f"{self.path} is of the type {name}, which cannot be pickled ({_first_line(self.error)})"


def find(
    value: Any, path: str, is_known: Callable[[Any], bool], whole: frozenset[type], in_state: bool = False
) -> Found | None:
    """What can't be kept of a value that is called ``path``, the least deep first; None if all of it can.

    ``is_known`` says of what is kept by a name of the system's that it is; objects of a class in ``whole`` are
    looked at no further. In a state locks can be kept.
    """
    walk = _Search(is_known, whole, in_state)
    return walk.run(value, path)


def parts(value: Any, whole: frozenset[type]) -> list[tuple[str, Any]]:
    """What is kept with a value of a state, each with the step that leads to it; nothing if that can't be told."""
    # Methods of the value may raise anything.
    found = or_none(_listed, _Search(lambda _: False, whole, in_state=True).parts, value)
    return [] if found is None else found


def _listed(parts: Callable[[Any], Iterator[tuple[str, Any]]], value: Any) -> list[tuple[str, Any]]:
    return list(parts(value))


class _Search:
    def __init__(self, is_known: Callable[[Any], bool], whole: frozenset[type], in_state: bool) -> None:
        self._is_known = is_known
        self._whole = whole
        self._in_state = in_state
        self._queue: list[tuple[Any, int, str]] = []
        self._seen: set[int] = set()
        # What was made for us: an id means its object only as long as that lives.
        self._kept: list[Any] = []

    def run(self, value: Any, path: str) -> Found | None:
        self._queue.append((value, -1, path))
        for number, (each, _, _) in enumerate(self._queue):
            if type(each) in _SCALARS or id(each) in self._seen:
                continue
            self._seen.add(id(each))
            if self._is_known(each):
                continue
            cls: Any = type(each)
            kind = kind_of(cls)
            if kind is not None and not (self._in_state and kind.is_lock):
                return Found(self._path(number), each, kind, None)
            is_inside = type(each) is MappingProxyType and self._is_inside(number)
            parts, error = attempted(_listed, _items_of_mapping if is_inside else self.parts, each)
            if parts is None:
                return Found(self._path(number), each, None, error)
            self._kept.append(parts)
            self._queue.extend((part, number, step) for step, part in parts)
        return None

    def _is_inside(self, number: int) -> bool:
        """Whether something is part of a function or of a class."""
        while number >= 0:
            value, number, _ = self._queue[number]
            if isinstance(value, (type, FunctionType)):
                return True
        return False

    def _path(self, number: int) -> str:
        steps = []
        while number >= 0:
            _, number, step = self._queue[number]
            steps.append(step)
        return "".join(reversed(steps))

    def parts(self, value: Any) -> Iterator[tuple[str, Any]]:
        """What is kept with a value, each with the step that leads to it. Raises if it can't be pickled."""
        cls = type(value)
        if cls is dict:
            yield from _items_of(value.items())
        elif cls is list or cls is tuple:
            yield from ((f"[{place}]", each) for place, each in enumerate(value))
        elif isinstance(value, tuple) and hasattr(cls, "_fields"):
            yield from ((f".{name}", each) for name, each in zip(cls._fields, value, strict=False))
            yield "", cls
        elif cls is functools.partial:
            yield ".func", value.func
            yield from ((f".args[{place}]", each) for place, each in enumerate(value.args))
            yield from ((f".keywords[{name!r}]", each) for name, each in value.keywords.items())
        elif cls is set or cls is frozenset:
            yield from (("{...}", each) for each in value)
        elif cls is FunctionType:
            if not _is_of_module(value):
                yield from _parts_of_function(value)
        elif cls is MethodType:
            yield from ((".__self__", value.__self__), (".__func__", value.__func__))
        elif isinstance(value, type):
            if not _is_of_module(value):
                yield from _parts_of_class(value)
        elif cls.__name__ == "_lru_cache_wrapper":
            if not _is_of_module(value):
                yield (".__wrapped__", value.__wrapped__)
        elif cls is BuiltinFunctionType:
            if not isinstance(value.__self__, (ModuleType, type(None))):
                yield (".__self__", value.__self__)
        elif cls not in self._whole:
            yield from self._reduced(value, cls)

    def _reduced(self, value: Any, cls: type) -> Iterator[tuple[str, Any]]:
        reducer = (lock_reducer(cls) if self._in_state else None) or copyreg.dispatch_table.get(cls)
        found: Any = reducer(value) if reducer is not None else value.__reduce_ex__(PROTOCOL)
        if isinstance(found, str):
            return
        make, args, state, items, pairs, setter = (*found, None, None, None, None)[:6]
        if getattr(make, "__name__", "") not in ("__newobj__", "__newobj_ex__"):
            yield "", make
        places = ".args" if isinstance(value, BaseException) else ".<argument>"
        yield from (("" if each is cls else f"{places}[{place}]", each) for place, each in enumerate(args))
        fields = getattr(cls, "__dataclass_fields__", ())
        if isinstance(state, list) and len(state) == len(fields):
            state = dict(zip(fields, state, strict=False))  # As frozen ones with slots keep them.
        # Slots come beside the attributes.
        states = state if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], dict) else (state,)
        for each in states:
            if isinstance(each, dict) and all(isinstance(name, str) for name in each):
                yield from ((f".{name}", part) for name, part in each.items())
            else:
                yield ".<state>", each
        yield from ((f"[{place}]", each) for place, each in enumerate(items or ()))
        yield from _items_of(pairs or ())
        yield "", setter


_SCALARS = frozenset({int, float, bool, str, bytes, type(None)})


def _items_of_mapping(mapping: Any) -> Iterator[tuple[str, Any]]:
    return _items_of(mapping.items())


def _items_of(pairs: Iterable[tuple[Any, Any]]) -> Iterator[tuple[str, Any]]:
    for key, value in pairs:
        yield f"[{words.shown(key, 60)}]", value
        yield ".<key>", key


def _parts_of_function(function: FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        try:
            held = cell.cell_contents
        except ValueError:
            continue  # Not bound yet.
        if type(held) is not ModuleType:
            yield f".<closure>.{name}", held
    for place, default in enumerate(function.__defaults__ or ()):
        yield f".__defaults__[{place}]", default
    for name, default in (function.__kwdefaults__ or {}).items():
        yield f".__kwdefaults__[{name!r}]", default
    yield from ((f".{name}", each) for name, each in vars(function).items())
    if module_of_globals(function) is None:
        for name, each in function.__globals__.items():
            if name != "__builtins__" and type(each) is not ModuleType:
                yield f".__globals__[{name!r}]", each


def module_of_globals(function: FunctionType) -> str | None:
    """The name of the module that a function has its globals of; None if they are those of no module that is imported."""
    name = function.__globals__.get("__name__")
    found = sys.modules.get(name) if isinstance(name, str) else None
    return name if found is not None and function.__globals__ is vars(found) else None


def _parts_of_class(cls: type) -> Iterator[tuple[str, Any]]:
    for name, each in vars(cls).items():
        if isinstance(each, (staticmethod, classmethod)):
            yield f".{name}", each.__func__
        elif isinstance(each, functools.cached_property):
            yield f".{name}", each.func
        elif isinstance(each, property):
            yield from ((f".{name}.{part}", getattr(each, part)) for part in ("fget", "fset", "fdel"))
        elif name not in ("__dict__", "__weakref__", "__doc__", "_abc_impl"):
            yield f".{name}", each
    yield from ((".__bases__", base) for base in cls.__bases__)


def _is_of_module(value: Any) -> bool:
    """Whether a function or a class is found by its name, so that no more than that is kept."""
    found: Any = sys.modules.get(getattr(value, "__module__", None) or "")
    for name in value.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is value


def _name_of(cls: Any) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def _first_line(error: Exception | None) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
