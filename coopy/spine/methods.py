"""The methods of a domain class: which there are, of which kind each is, its marks and its parameters.

Proxies are built from this, and engines record by it. It calls no method, and knows no engine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, ItemsView, Iterable, KeysView, Sequence, ValuesView
from types import ClassMethodDescriptorType, CodeType, FunctionType
from typing import Any, cast

from coopy.decorators import ABORT_EXCEPTION, ACTION, OUTSIDE, READONLY, READS, TRANSACTIONAL, UNLOCKED
from coopy.errors import PrevalentError
from coopy.spine import versions

__coopy_inside__ = True  # See `coopy.spine.calling`.
Function = Callable[..., Any]

CONTROLS = ("take_snapshot", "close", "shutdown", "basedir_abspath")
"""Documented controls, on the proxy unless the class has something of that name."""

# What `object` does itself, or what Python asks of a type and not of an object.
_NEVER = frozenset(
    "__new__ __init__ __init_subclass__ __class_getitem__ __subclasshook__ __getattribute__ __getattr__ "
    "__setattr__ __delattr__ __del__ __reduce__ __reduce_ex__ __getstate__ __setstate__ __getnewargs__ "
    "__getnewargs_ex__ __copy__ __deepcopy__ __sizeof__ __dir__ __class__ __post_init__ __set_name__ "
    "__attrs_init__ __attrs_pre_init__ __attrs_post_init__ __prepare__ __mro_entries__ __instancecheck__ "
    "__subclasscheck__ __replace__ __annotate__ __annotate_func__".split()
)
# Methods of containers that change nothing: they carry no mark of ours.
LIBRARY_READS = frozenset(
    "get keys values items copy count index union intersection difference symmetric_difference issubset "
    "issuperset isdisjoint most_common elements total fromkeys".split()
)
_LOOKING_UP = frozenset({"__getitem__", "__getattr__", "__missing__"})
_LIBRARIES = frozenset({"builtins", "collections", "collections.abc", "_collections_abc", "typing"})
_OF_CLASS = (staticmethod, classmethod, ClassMethodDescriptorType)
"""What belongs to the class and not to an object. The last are those of C, such as `dict.fromkeys`."""
_ASYNC = 0x0080 | 0x0100 | 0x0200  # CO_COROUTINE, CO_ITERABLE_COROUTINE, CO_ASYNC_GENERATOR
ANY_SIGNATURE = ("self", "self, /, *args, **kwargs", "args", "kwargs", "*args, **kwargs")


class Method:
    """A method of the domain that is recorded when it is called."""

    __slots__ = ("name", "function", "parameters", "abort", "transactional", "parts", "bodies")

    def __init__(
        self,
        name: str,
        function: Function,
        parameters: tuple[str, ...] = (),
        abort: bool = False,
        transactional: bool = False,
        parts: tuple[str, ...] = (),
        bodies: Sequence[tuple[int, Method]] = (),
    ) -> None:
        self.name = name
        self.function = function
        self.parameters = parameters
        self.abort = abort
        self.transactional = transactional
        self.parts = parts
        self.bodies = bodies
        """By code version, newest first, if it has any; ``parts`` are those of all of them."""

    def of(self, version: int) -> Method:
        """The method as a code version has it."""
        return next((method for first, method in self.bodies if first <= version), self)


# -- which methods there are, and of which kind


def functions_of(cls: type) -> dict[str, Any]:
    """The functions of a class, by name, as the method resolution order gives them."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if base is object:
            continue
        for name, member in vars(base).items():
            found.pop(name, None)
            if name not in _NEVER:
                function = method_of(cls, name, member)
                if function is not None:
                    found[name] = function
    return found


def statics_of(cls: type) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        for name, member in vars(base).items():
            if isinstance(member, _OF_CLASS) and name not in _NEVER:
                found[name] = staticmethod(getattr(cls, name))
            else:
                found.pop(name, None)
    return found


def method_of(cls: type, name: str, member: Any) -> Function | None:
    """What calls a member of a class on an object, or None if the member is not a method."""
    if isinstance(member, FunctionType):
        return member
    if isinstance(member, (*_OF_CLASS, type)) or not hasattr(type(member), "__get__"):
        return None
    if callable(member):
        return cast(Function, member)  # Of C, or of a decorator.
    if hasattr(type(member), "__set__") or not callable(getattr(cls, name, None)):
        return None  # A property, a slot, a cached property.

    def method(domain: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(domain, name)(*args, **kwargs)  # functools.partialmethod and its like.

    return method


def kind_of(cls: type, name: str, function: Any) -> str:
    """Returns what a call of a method is: "action", "read", "free" (a read without the lock), "outside" (neither: see `coopy.outside`),
    or "refused" (a block that would change the object after the action)."""
    if getattr(function, OUTSIDE, False):
        return "outside"
    if getattr(function, ACTION, False):
        return "action"
    if getattr(function, READONLY, False):
        return "free" if getattr(function, UNLOCKED, False) else "read"
    missing = next((base for base in cls.__mro__ if "__missing__" in vars(base)), Counter)
    if name in ("__getitem__", "__missing__") and missing is not Counter:
        return "action"  # Looking up may add: a defaultdict. A Counter answers 0, and adds nothing.
    home = home_of(cls, name)
    if name in READS or (home.__module__ in _LIBRARIES and name in LIBRARY_READS):
        return "action" if what_is_written(cls, name, vars(home).get(name)) else "read"
    return _kind_of_block(cls, name, function)


def _kind_of_block(cls: type, name: str, function: Any) -> str:
    """What a call of a method is that may open a block: its generator is the state of that block, and no part of an action."""
    if not isinstance(function, FunctionType) or name.startswith("__"):
        return "action"
    # It reads byte code, which takes modules that `import coopy` does without; and the second one trees, which few classes need.
    from coopy.determinism.glance import may_open_a_block

    if not may_open_a_block(function):
        return "action"
    from coopy.determinism.later import opens_a_block

    if opens_a_block(cls, name, function):
        return "refused"
    return "read" if function.__globals__.get("__name__") == "contextlib" else "action"


def what_is_written(cls: type, name: str, raw: Any) -> str:
    """Returns what a method writes to its object, in words, as far as its byte code tells; empty if it tells of nothing.

    What is compiled tells nothing of itself: if it looks something up, it may make what is missing, as a defaultdict does.
    """
    if name in _LOOKING_UP and is_compiled(cls, name, raw):
        return f"{name}(), which is compiled"
    if not isinstance(getattr(raw, "__wrapped__", raw), FunctionType):
        return ""
    # It reads byte code, which takes modules that `import coopy` does without.
    from coopy.determinism.writes import written_by

    return written_by(cls, name, raw)


def is_compiled(cls: type, name: str, raw: Any) -> bool:
    """Whether a method of a class was written in Python and compiled to machine code, as by Cython or mypyc: its byte code is not there."""
    if isinstance(raw, FunctionType):
        return False
    return isinstance(getattr(raw, "__code__", None), CodeType) or (
        raw is not None and "__mypyc_attrs__" in vars(home_of(cls, name))
    )


def home_of(cls: type, name: str) -> type:
    """Returns the class of the method resolution order whose body has a name; ``cls`` if none has."""
    return next((base for base in cls.__mro__ if name in vars(base)), cls)


def raw_of(cls: type, name: str) -> Any:
    """Returns what a name stands for in the body of the class that has it, with no descriptor run; None if none has."""
    return vars(home_of(cls, name)).get(name)


def has_unlocked_reads(cls: type) -> bool:
    """Whether a class has methods that run beside any other call."""
    found = (method_of(cls, name, member) for base in cls.__mro__ for name, member in vars(base).items())
    return any(getattr(each, READONLY, False) and getattr(each, UNLOCKED, False) for each in found)


def is_proxy(value: object) -> bool:
    """Whether a value is a proxy of ours."""
    return hasattr(type(value), "_coopy_engine")


def has(cls: type, domain: object, name: str) -> bool:
    """Whether a domain has something of that name, or says that it will.

    A class whose ``__getattr__`` may make what is missing is not asked by it: it would have made it.
    """
    asked: Any = cls if what_is_written(cls, "__getattr__", raw_of(cls, "__getattr__")) else domain
    return (
        hasattr(asked, name)
        or name in getattr(domain, "__dict__", ())
        or any(name in vars(base).get("__annotations__", {}) for base in cls.__mro__)
    )


def refuse_async(cls: type, name: str, function: Any) -> None:
    code = getattr(function, "__code__", None)
    if isinstance(code, CodeType) and code.co_flags & _ASYNC:
        raise PrevalentError(
            f"{code.co_filename}:{code.co_firstlineno}: {cls.__qualname__}.{name} is an async method; an action "
            f"runs from start to end without waiting, so that replay can repeat it. Make it a plain method, await "
            f"what it needs before you call it, and pass the result in. Nothing was opened."
        )


# -- their marks


def method_for(name: str, function: Any, parameters: tuple[str, ...] = ()) -> Method:
    """What the engine is told of a function when it is called as an action."""
    marked = getattr(function, TRANSACTIONAL, False)
    parts = marked if isinstance(marked, tuple) else ()
    found = [(version, method_for(name, body)) for version, body in versions.bodies(function)]
    parts += tuple(dict.fromkeys(part for _, method in found for part in method.parts if part not in parts))
    return Method(
        name, whole(name, function), parameters, getattr(function, ABORT_EXCEPTION, False), bool(marked), parts, found
    )


def is_withdrawing(function: object) -> bool:
    """Whether a raising call of the function is withdrawn."""
    return bool(getattr(function, ABORT_EXCEPTION, False) or getattr(function, TRANSACTIONAL, False))


def is_undone(method: Method, error: BaseException) -> bool:
    """Whether a call that raised is to leave no trace in the log."""
    # A PrevalentError is a refusal by coopy.determinism.install in this process; another would not refuse.
    return method.transactional or method.abort or isinstance(error, PrevalentError)


# -- their parameters


def exact_signature(function: FunctionType) -> tuple[str, str, str, str, str] | None:
    """Own name, signature, and arguments as source, for a function whose parameters are all required.

    Wrong arguments then fail at the call, as they would without us, before anything is recorded.
    """
    code = function.__code__
    count = code.co_argcount
    positional = code.co_varnames[:count]
    if (
        count == 0
        or function.__defaults__
        or code.co_kwonlyargcount
        or code.co_flags & 0x0C  # CO_VARARGS, CO_VARKEYWORDS
        or any(name.startswith("_coopy") or not name.isidentifier() for name in positional)
    ):
        return None
    return signature_of(positional, code.co_posonlyargcount)


def signature_of(positional: Sequence[str], only_positional: int) -> tuple[str, str, str, str, str]:
    """As `exact_signature`, of parameters with these names."""
    parts = list(positional)
    if only_positional:
        parts.insert(only_positional, "/")
    arguments = ", ".join(positional[1:])
    return positional[0], ", ".join(parts), f"({arguments},)" if arguments else "()", "_coopy_none", arguments


def parameters_of(function: FunctionType) -> tuple[str, ...]:
    return function.__code__.co_varnames[1 : function.__code__.co_argcount]


def binder(function: FunctionType) -> FunctionType:
    """A function with the same parameters that does nothing: calling it checks the arguments."""
    code = function.__code__
    empty = (lambda: None).__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 4) + bool(code.co_flags & 8)]
    checked = empty.replace(
        co_argcount=code.co_argcount,
        co_posonlyargcount=code.co_posonlyargcount,
        co_kwonlyargcount=code.co_kwonlyargcount,
        co_varnames=names,
        co_nlocals=len(names),
        co_flags=(empty.co_flags & ~0x0C) | (code.co_flags & 0x0C),
        co_name=code.co_name,
    )
    binder = FunctionType(checked, {}, code.co_name, function.__defaults__)
    binder.__kwdefaults__ = function.__kwdefaults__
    binder.__qualname__ = function.__qualname__
    return binder


def binder_of_enabled(name: str, function: Any) -> Callable[..., None]:
    """As `binder`, of a method that has code versions: the body that is enabled where it is called."""
    known: dict[Any, FunctionType] = {}

    def bind(self: Any, /, *args: Any, **kwargs: Any) -> None:
        body = versions.enabled(self._coopy_engine.machine, name, function)
        if not hasattr(body, "__wrapped__"):
            if body not in known:
                known[body] = binder(body)
            known[body](self, *args, **kwargs)

    return bind


_OF_CACHES = ("cache_clear", "cache_info", "cache_parameters")
"""What `functools.lru_cache` gives a function: the cache is that of the class, and no part of the state."""


def dressed(method: FunctionType, function: Any) -> FunctionType:
    """Gives a generated method the name, the documentation and the signature of the domain's, and its functions of a cache."""
    for name in ("__module__", "__name__", "__qualname__", "__doc__", "__annotations__", *_OF_CACHES):
        value = getattr(function, name, None)
        if value is not None:
            setattr(method, name, value)
    method.__wrapped__ = function  # type: ignore[attr-defined]
    return method


# -- what is handed out instead of the live object


def whole(name: str, function: Any) -> Any:
    """A recorded method that goes through the object: such that it is gone through in the action, and not after it."""
    if name in ("__iter__", "__reversed__"):

        def each(domain: Any) -> Any:
            return _gone_through(domain, function(domain))

        return dressed(each, function)  # type: ignore[arg-type]
    if name in ("items", "values", "keys"):

        def view(domain: Any, /, *args: Any, **kwargs: Any) -> Any:
            return _of_copy(function(domain, *args, **kwargs))

        return dressed(view, function)  # type: ignore[arg-type]
    return function


def _of_copy(found: Any) -> Any:
    """The view of a mapping that is written in Python, of what the mapping has now; anything else as it is."""
    if type(found) is ItemsView:
        return dict(found).items()
    if type(found) is KeysView:
        return dict.fromkeys(found).keys()
    return dict(enumerate(found)).values() if type(found) is ValuesView else found


def _gone_through(domain: Any, found: Any) -> Any:
    """An iterator over what another one has. An object that is its own iterator is the system outside, which moves by actions."""
    return found if found is domain else iter(list(found))


def _all_of(function: Callable[..., Iterable[Any]]) -> Callable[..., Any]:
    # What is iterated over later, without the lock, must not be the live object.
    def all_of(domain: Any) -> Any:
        return _gone_through(domain, function(domain))

    all_of.__wrapped__ = function  # type: ignore[attr-defined]
    return all_of


def with_domain(function: Callable[..., Any]) -> Callable[..., Any]:
    # A domain compares itself with its own kind: the other system's domain, not its proxy, and an object of the state, not a part.
    def compare(domain: Any, other: Any, *rest: Any) -> Any:
        if is_proxy(other):
            other = other._coopy_engine.machine.domain
        elif hasattr(type(other), "_coopy_steps"):
            other = other._coopy_value
        return function(domain, other, *rest)

    compare.__wrapped__ = function  # type: ignore[attr-defined]
    return compare


OF_TWO = frozenset(
    ["__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"]
    + [
        f"__{side}{name}__"
        for side in ("", "r")
        for name in "add sub mul matmul truediv floordiv mod divmod pow lshift rshift and xor or".split()
    ]
)
_READERS: dict[str, Callable[[Any], Callable[..., Any]]] = {
    "__iter__": _all_of,
    "__reversed__": _all_of,
    **dict.fromkeys(OF_TWO, with_domain),
}


def reader_of(name: str, function: Function) -> Function:
    """Returns what answers a read by a method: the method, or what also sees to it that nothing live is given out or compared."""
    reader = _READERS.get(name)
    return function if reader is None else reader(function)
