"""What users hold of an object: its key, and the methods of its class. It has no state, and is equal to every other handle of the same object.

The methods are those that every proxy has (`coopy.spine.proxy`), so wrong arguments fail at the call, and a debugger steps through.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from coopy.errors import SystemClosed
from coopy.objects.engine import Engine
from coopy.objects.kind import Kind
from coopy.spine import proxy
from coopy.spine.calling import Call, begin_each
from coopy.spine.methods import Function, Method, is_proxy

__coopy_inside__ = True  # See `coopy.spine.calling`.


class Plain:
    """The state of an object, as a proxy reads it: where it has to look at the object itself, which is seldom."""

    __slots__ = ("domain", "code")

    applied = -1

    def __init__(self, domain: Any, code: int) -> None:
        self.domain = domain
        self.code = code


class ByKey:
    """Takes the calls of one object. A `coopy.spine.calling.Calling`."""

    __slots__ = ("kind", "key", "_engine")

    looks_at_reads = True

    def __init__(self, engine: Engine, kind: Kind, key: bytes) -> None:
        self.kind = kind
        self.key = key
        self._engine = engine

    @property
    def proxy(self) -> Any:
        return self.kind.handle(self.key)

    @property
    def machine(self) -> Plain:
        return Plain(self._engine.read(self.kind, self.key, _itself, (), {})[0], self.kind.code)

    @property
    def log(self) -> Any:
        return self._engine.store

    @property
    def acquire(self) -> Callable[..., bool]:
        return self._engine.acquire

    @property
    def release(self) -> Callable[[], None]:
        return self._engine.release

    def unwind(self) -> None:
        """Gives back what the caller has of the lock; see `Engine.unwind`."""
        self._engine.unwind()

    gives_parts = False
    """An object has no attributes outside: who has a handle calls its methods."""

    def call(self, method: Method, args: tuple[Any, ...], kwargs: dict[str, Any], wait: bool = True) -> Any:
        """Runs a method as an action of the object; see `Engine.call`."""
        return self._engine.call(self.kind, self.key, method, args, kwargs)

    def read(self, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any], wait: bool = True) -> Any:
        """Runs a function of the object that changes nothing; see `Engine.read`."""
        return self._engine.read(self.kind, self.key, function, args, kwargs)

    read_unlocked = read
    """Many objects have one lock, which is held for microseconds: nothing is gained by going without it."""

    def begin_all(self, calls: Sequence[Call]) -> Any:
        """Takes calls in order; see `coopy.spine.calling.Calling.begin_all`."""
        begin_each(self, calls)

    def settled(self, begun: Any, calls: Sequence[Call]) -> Iterator[Sequence[Call]]:
        """Yields the calls that `begin_all` has begun: each was waited for."""
        yield calls


class _Handle:
    """Whose methods a handle has of its own, whatever the class of the object says."""

    __slots__ = ()

    _coopy_engine: ByKey

    def __eq__(self, other: object) -> bool:
        mine, theirs = self._coopy_engine, _calling_of(other)
        if theirs is None:
            return NotImplemented
        return mine.key == theirs.key and mine.kind is theirs.kind

    def __ne__(self, other: object) -> bool:
        found = self.__eq__(other)
        return found if found is NotImplemented else not found

    def __hash__(self) -> int:
        return hash(self._coopy_engine.key)

    def __repr__(self) -> str:
        found = self._coopy_engine
        return f"<{found.kind.cls.__qualname__} {found.kind.text(found.key)!r}>"

    def __str__(self) -> str:
        return repr(self)

    def __reduce_ex__(self, protocol: object) -> Any:
        found = self._coopy_engine
        return handle_of, (found.kind.system, found.kind.cls, found.kind.text(found.key))

    def __reduce__(self) -> Any:
        return self.__reduce_ex__(2)

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: object) -> Any:
        return self


_OWN = (
    "__eq__ __ne__ __hash__ __repr__ __str__ __reduce_ex__ __reduce__ __copy__ __deepcopy__ __enter__ __exit__ "
    "__bool__ __dir__ close shutdown take_snapshot basedir_abspath"
).split()


def _calling_of(value: object) -> ByKey | None:
    """What takes the calls of a handle; None of anything else."""
    if not is_proxy(value):
        return None
    found = value._coopy_engine  # type: ignore[attr-defined]
    return found if isinstance(found, ByKey) else None


def class_of(cls: type) -> type:
    """Returns the class of the handles of a class. Raises `PrevalentError` for what can't be recorded."""
    built = proxy.build(cls, frozenset(("close", "shutdown", "take_snapshot", "basedir_abspath")), checked=True)
    members = {name: member for name, member in vars(_Handle).items() if name in _OWN}
    members |= {"__slots__": (), "_coopy_domain_class": cls, "__module__": cls.__module__, "__qualname__": cls.__qualname__}
    members["__class__"] = property(lambda self: cls)
    members["__doc__"] = cls.__doc__
    return type(built)(cls.__name__, (built,), members)


def _itself(domain: Any) -> Any:
    return (domain,)  # The object alone would be given out as its handle.


# -- pickled handles

opened: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
"""What is open in this process, by the id of its system: each has a method ``of`` that gives the objects of a class."""


def handle_of(system: str, cls: type, key: str) -> Any:
    """Returns the handle of an object, where it was unpickled. One of a system that is not open here is refused when it is called."""
    found = opened.get(system)
    return Absent(system, cls, key) if found is None else found.of(cls)[key]


class Absent:
    """A handle of an object that is not open in this process."""

    def __init__(self, system: str, cls: type, key: str) -> None:
        self._system, self._cls, self._key = system, cls, key

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise SystemClosed(
            f"{self!r} is an object of a directory that is not open in this process. Open it with coopy.objects(), and take the object "
            f"by its key."
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Absent) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((self._system, self._key))

    def __repr__(self) -> str:
        return f"<{self._cls.__qualname__} {self._key!r}, not open>"

    def __reduce__(self) -> Any:
        return handle_of, (self._system, self._cls, self._key)
