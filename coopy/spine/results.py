"""What a caller is given of the state: the live object, a copy, or a view that refuses to be changed.

`giving` puts itself in front of an engine, and is asked by a proxy as an engine is; with ``results="recorded"`` and ``"live"`` there is nothing in front, so that
nothing is slower. What an action hands out inside of the system, to a method that calls another, is live in any case.

* A **copy** shares nothing with the state. It is made with the lock held: of a read in the same hold, of an action right after it.
* A **view** costs the same for a large list as for a small one. It looks like what it shows (`isinstance`, ``==``, ``repr``), shows
  what the state has now, and what is read from it is a view, too. A method that is written in Python runs with the view in the place of its object, so that
  one that only reads works, and one that assigns is refused.

docs/design/028-results.md says what they cost, and why the default is what it is.
"""

from __future__ import annotations

import copy
import datetime
import decimal
import enum
import fractions
import operator
import pickle
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from types import FunctionType, GeneratorType, ModuleType
from typing import Any, NoReturn

from coopy.errors import EncodingError, UsageError
from coopy.ground.interruption import note
from coopy.ground.raised import or_none, told_as
from coopy.ground.running import current
from coopy.ground.words import shown
from coopy.spine.attributes import PART, Bound
from coopy.spine.calling import Call, Calling, answering
from coopy.spine.methods import LIBRARY_READS, Function, Method, is_proxy, raw_of

__coopy_inside__ = True  # See `coopy.spine.calling`.
_COPIES = "copy"
_SCALARS: set[Any] = set(
    {
        *(str, bytes, int, float, complex, bool, type(None), type(Ellipsis), type(NotImplemented), range, slice),
        *(datetime.datetime, datetime.date, datetime.time, datetime.timedelta, datetime.timezone),
        *(decimal.Decimal, fractions.Fraction),
    }
)
_NAMED = (type, FunctionType, ModuleType, enum.Enum, Bound, BaseException, type(len))
"""What is the same object for everybody."""
_ITERATORS = frozenset({"builtins", "itertools", "collections", "_collections_abc"})
_VIEWS: tuple[type, type, type] = (type({}.keys()), type({}.values()), type({}.items()))
_OF_C = (list, dict, set, deque, bytearray, OrderedDict, defaultdict, Counter)
_PROTOCOL = 5  # Of pickle: the fastest.
_READS = LIBRARY_READS | frozenset(
    "decode hex join startswith endswith find split strip upper lower tobytes tolist isoformat".split()
)
"""Methods of C that change nothing."""

Give = Callable[[Any], Any]


def giving(engine: Any, results: str, cls: type, are_copies: bool = False) -> Any:
    """Returns what a proxy asks in the place of an engine: one that gives out copies, or views. Of one with ``are_copies`` each result is a copy."""
    # It comes with no module that `import coopy` loads.
    from uuid import UUID

    _SCALARS.add(UUID)
    kind = Given if are_copies else Giving
    return kind(engine, _copied if results == _COPIES else _Freezing(cls.__qualname__))


class Giving:
    """In front of an engine: gives what a caller is to have of a result. Everything else is the engine's."""

    gives_parts = False
    looks_at_reads = True
    """A read is a call of `read`, which gives what the caller is to have with the lock held."""

    def __init__(self, engine: Calling, give: Give) -> None:
        self._engine = engine
        self._give = give

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def _is_inside(self) -> bool:
        running: Any = current.machine
        return running is not None and running is self._engine.machine

    def _given(self, value: Any) -> Any:
        if type(value) is Bound and value.kind == PART:
            value = value.value  # An attribute that was read.
        return value if type(value) in _SCALARS or value is self._engine.proxy else _each(value, self._give)

    def call(self, method: Method, args: tuple[Any, ...], kwargs: dict[str, Any], wait: bool = True) -> Any:
        """See `Calling.call`."""
        if self._is_inside():
            return self._engine.call(method, args, kwargs, wait)
        args, kwargs = _without_views(args, kwargs)
        return self._after(method.name, self._engine.call(method, args, kwargs, wait))

    def _after(self, name: str, value: Any) -> Any:
        """What the caller of an action is to have."""
        if type(value) in _SCALARS:
            return value
        try:
            return self._engine.read(lambda domain: self._given(value), (), {}, False)
        except EncodingError as error:
            note(error, f"{name}() is recorded, and counts.")
            raise

    def read(self, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any], wait: bool = True) -> Any:
        """See `Calling.read`."""
        if self._is_inside():
            return self._engine.read(function, args, kwargs, wait)
        return self._engine.read(_Look(function, self), *_without_views(args, kwargs), wait)

    def read_unlocked(self, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """See `Calling.read_unlocked`."""
        if self._is_inside():
            return self._engine.read_unlocked(function, args, kwargs)
        return self._engine.read_unlocked(_Look(function, self), *_without_views(args, kwargs))

    def begin_all(self, calls: Sequence[Call]) -> Any:
        """See `Calling.begin_all`."""
        for each in calls:
            each.args, each.kwargs = _without_views(each.args, each.kwargs)
        return self._engine.begin_all(calls)

    def settled(self, begun: Any, calls: Sequence[Call]) -> Iterator[Sequence[Call]]:
        """See `Calling.settled`."""
        for part in self._engine.settled(begun, calls):
            for each in part:
                if each.what is not None and each.error is None:
                    with answering(each):
                        each.value = self._after(getattr(each.what, "name", "the method"), each.value)
            yield part


class Given(Giving):
    """In front of an engine whose state is in another process: what comes from there shares nothing with the state."""

    def _after(self, name: str, value: Any) -> Any:
        return value if type(value) in _SCALARS else self._given(value)

    def read(self, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any], wait: bool = True) -> Any:
        return self._after("", self._engine.read(function, *_without_views(args, kwargs), wait))

    def read_unlocked(self, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._after("", self._engine.read_unlocked(function, *_without_views(args, kwargs)))


class _Look:
    """A function that looks at the object, and gives what the caller is to have."""

    __slots__ = ("_function", "_giving", "__wrapped__")

    def __init__(self, function: Function, given: Giving) -> None:
        self._function = self.__wrapped__ = function
        self._giving = given

    def __call__(self, domain: Any, /, *args: Any, **kwargs: Any) -> Any:
        value = self._function(domain, *args, **kwargs)
        return value if value is domain else self._giving._given(value)


def _each(value: Any, give: Give) -> Any:
    """What a caller is to have of a value; an iterator is gone through, and a view of a dict is one of what it has now."""
    kind = type(value)
    if kind is GeneratorType or (kind.__module__ in _ITERATORS and isinstance(value, Iterator)):
        return iter([give(each) for each in value])
    if kind in _VIEWS:
        return _view_of(value, [give(each) for each in value])
    return give(value)


def _view_of(view: Any, items: list[Any]) -> Any:
    if type(view) is _VIEWS[2]:
        return dict(items).items()
    return dict.fromkeys(items).keys() if type(view) is _VIEWS[0] else dict(enumerate(items)).values()


# -- copies


def _copied(value: Any) -> Any:
    """A copy that shares nothing which can be changed. Raises `EncodingError`."""
    kind = type(value)
    if kind in _SCALARS or isinstance(value, _NAMED) or is_proxy(value):
        return value
    if kind in (list, set, frozenset, tuple) and _SCALARS.issuperset(map(type, value)):
        return value.copy() if kind in (list, set) else value
    if kind is dict and _SCALARS.issuperset(map(type, value.values())) and _SCALARS.issuperset(map(type, value)):
        return value.copy()
    found = or_none(_pickled, value)
    if found is None:
        with told_as(_uncopied, kind):
            found = copy.deepcopy(value)
    return found


def _pickled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value, _PROTOCOL))


def _uncopied(error: BaseException, kind: type) -> EncodingError:
    return EncodingError(
        f"a result of the class {kind.__qualname__} can't be copied, as results='copy' asks for: {type(error).__name__}: {error}. Return "
        f"what can be (a name, a number, a plain list), or open the system with results='live' or 'frozen'."
    )


# -- views


class _Freezing:
    """Gives views of what belongs to a system of this class."""

    __slots__ = ("_cls",)

    def __init__(self, cls: str) -> None:
        self._cls = cls

    def __call__(self, value: Any) -> Any:
        kind = type(value)
        if kind in _SCALARS or isinstance(value, _NAMED) or is_proxy(value) or kind is View:
            return value
        if kind in (tuple, frozenset):
            return value if _SCALARS.issuperset(map(type, value)) else kind(map(self, value))
        return _view(value, self)

    def refusal(self, value: Any, what: str) -> UsageError:
        return UsageError(
            f"{what} can't be done to this {type(value).__qualname__}: it is a part of the state of {self._cls}, which was opened with "
            f"results='frozen', and nothing would be recorded. Nothing has changed. Write a method of {self._cls} that does it, and call that; "
            f"or change a copy, copy.deepcopy(...)."
        )


def _view(value: Any, freeze: _Freezing) -> View:
    found: View = object.__new__(View)
    object.__setattr__(found, "_coopy_shown", value)
    object.__setattr__(found, "_coopy_freeze", freeze)
    return found


def plain(value: Any) -> Any:
    """What a view shows, live; anything else as it is."""
    return object.__getattribute__(value, "_coopy_shown") if type(value) is View else value


def _without_views(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments with what views show in their place: they are copied as any object of the state is, or found by their keys."""
    if View in map(type, args):
        args = tuple(map(plain, args))
    return args, {name: plain(value) for name, value in kwargs.items()} if kwargs else kwargs


def _looked(name: str) -> Callable[..., Any]:
    """A special method that changes nothing."""

    def special(self: View, *args: Any) -> Any:
        value, freeze = _parts(self)
        raw = raw_of(type(value), name)
        if isinstance(raw, FunctionType):
            return raw(self, *args)
        if name == "__getitem__" and isinstance(value, defaultdict) and args[0] not in value:
            raise freeze.refusal(value, "Looking up what is missing, which adds it,")
        function = _BUILTINS.get(name) or vars(operator).get(name)
        return _each(function(value, *map(plain, args)) if function else getattr(value, name)(*map(plain, args)), freeze)

    special.__name__ = name
    return special


def _refused(name: str) -> Callable[..., NoReturn]:
    """A special method that changes the object."""

    def special(self: View, *args: Any) -> NoReturn:
        value, freeze = _parts(self)
        raise freeze.refusal(value, _said(name, args))

    special.__name__ = name
    return special


def _said(name: str, args: tuple[Any, ...]) -> str:
    key = shown(args[0]) if args else ""
    said = {
        "__setitem__": f"[{key}] = ...",
        "__delitem__": f"del [{key}]",
        "__setattr__": f".{key[1:-1]} = ...",
        "__delattr__": f"del .{key[1:-1]}",
    }
    return said.get(name, f"{name.strip('_')[1:]}= ...")


def _parts(view: View) -> tuple[Any, _Freezing]:
    return object.__getattribute__(view, "_coopy_shown"), object.__getattribute__(view, "_coopy_freeze")


_BUILTINS: dict[str, Callable[..., Any]] = {
    "__len__": len,
    "__iter__": iter,
    "__reversed__": reversed,
    "__hash__": hash,
    "__str__": str,
    "__format__": format,
    "__int__": int,
    "__float__": float,
    "__bytes__": bytes,
}
_LOOKS = (
    "__len__ __getitem__ __iter__ __reversed__ __contains__ __eq__ __ne__ __lt__ __le__ __gt__ __ge__ __hash__ __str__ __format__ "
    "__int__ __float__ __bytes__ __index__ __add__ __sub__ __mul__ __and__ __or__ __xor__ __neg__ __pos__ __abs__ __invert__ __call__"
).split()
_CHANGES = (
    "__setitem__ __delitem__ __setattr__ __delattr__ __iadd__ __isub__ __imul__ __iand__ __ior__ __ixor__ __itruediv__ "
    "__ifloordiv__ __imod__ __ipow__ __imatmul__ __ilshift__ __irshift__"
).split()


class View:
    """Looks like an object of the state, and refuses to be changed. What is read from it is a view, too."""

    __slots__ = ("_coopy_shown", "_coopy_freeze", "__weakref__")

    def __getattribute__(self, name: str) -> Any:
        value, freeze = _parts(self)
        if name == "__class__":
            return type(value)
        raw = raw_of(type(value), name)
        if isinstance(raw, FunctionType):
            return raw.__get__(self, type(value))
        if type(raw) is property and isinstance(raw.fget, FunctionType):
            return freeze(raw.fget(self))
        if name in ("__copy__", "__deepcopy__", "__reduce_ex__", "__reduce__"):
            return object.__getattribute__(self, name)
        found = getattr(value, name)
        if getattr(found, "__self__", None) is value:
            return _bound(value, name, found, freeze)
        return freeze(found)

    def __bool__(self) -> bool:
        value, _ = _parts(self)
        return bool(value)

    def __repr__(self) -> str:
        return repr(plain(self))

    def __dir__(self) -> list[str]:
        return dir(plain(self))

    def __copy__(self) -> Any:
        return copy.copy(plain(self))

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return copy.deepcopy(plain(self), memo)

    def __reduce_ex__(self, protocol: Any) -> Any:
        # Of the standard library: what is pickled names nothing of this module.
        return copy.copy, (plain(self),)


for _name in _LOOKS:
    setattr(View, _name, _looked(_name))
for _name in _CHANGES:
    setattr(View, _name, _refused(_name))


def _bound(value: Any, name: str, method: Callable[..., Any], freeze: _Freezing) -> Callable[..., Any]:
    """A method of C."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if name not in _READS and isinstance(value, _OF_C):
            raise freeze.refusal(value, f"{name}()")
        return _each(method(*map(plain, args), **kwargs), freeze)

    call.__name__ = name
    return call
