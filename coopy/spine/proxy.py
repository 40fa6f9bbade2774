"""Builds, for a domain class, the class whose methods are calls into the engine. The module has more than 500 lines because every use that
a program makes of an object is answered here, and by what a proxy is made of.

Every function that the domain class has becomes a real method with the same
signature; its source is generated once for the class and registered in
linecache, so a debugger can step through it. What is not a function (values,
properties, slots) is read through ``__getattr__``, under the lock.

The proxy is not an instance of a subclass: a proxy of a dict that C code takes
for a dict would show it an empty one. ``__class__`` answers as the domain
does, so `isinstance` holds.
"""

from __future__ import annotations

import linecache
import operator
import sys
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from time import perf_counter
from types import CodeType, FunctionType, GeneratorType
from typing import Any, NamedTuple, NoReturn, cast

from coopy.errors import CheckFailed, CoopyError, EncodingError, PrevalentError, UsageError
from coopy.ground.interruption import note
from coopy.ground.running import current
from coopy.ground.storage import MemoryWriter
from coopy.spine import versions
from coopy.spine.attributes import (
    VALUES,
    Bound,
    Hidden,
    care_of,
    hidden_methods,
    hideable,
    methods_of,
    read_attribute,
)
from coopy.spine.calling import INSIDE, Calling, without_our_frames
from coopy.spine.methods import (
    ANY_SIGNATURE,
    CONTROLS,
    OF_TWO,
    Method,
    binder,
    binder_of_enabled,
    dressed,
    exact_signature,
    functions_of,
    is_proxy,
    kind_of,
    method_for,
    parameters_of,
    reader_of,
    refuse_async,
    signature_of,
    statics_of,
    with_domain,
)
from coopy.spine.parts import CHANGE, OF_PARTS, StandIn, ask, given_by, is_where_it_was, read_with_care, shown
from coopy.values.codec import Codec

__coopy_inside__ = True  # See `coopy.spine.calling`.


def build(
    cls: type,
    taken: frozenset[str] = frozenset(),
    checked: bool = False,
    hidden: frozenset[str] = frozenset(),
    measure: Measure | None = None,
) -> type:
    """The proxy class of a domain class; ``taken`` are names of controls that it must leave alone.

    With ``checked``, every read is a call into the engine. Attributes of the object may hide the methods ``hidden``, besides those of
    which the class itself tells that. With ``measure``, calls of methods are counted. Raises `PrevalentError` for an ``async def`` method.
    """
    made = _Make(cls, taken, checked, hidden, measure)
    known = _built.get(made)
    if known is None:
        known = _built[made] = _build(*made)
        _makes[known] = made
    return known


def look_for_hidden(system: Any) -> None:
    """Has a proxy call the attributes of its object, as that is now, that hide methods of the class."""
    hide(system, hidden_methods(system._coopy_engine.machine.domain))


def keep_looking_for_hidden(engine: Any) -> None:
    """As `look_for_hidden`, now and whenever an action sets an attribute, which may be the call of another process. For each machine anew."""
    if engine.proxy is None:
        return  # Nobody asks it for a method.
    proxy = weakref.ref(engine.proxy)

    def hid(name: str) -> None:
        system = proxy()
        if system is not None:
            hide(system, frozenset({name}))

    look_for_hidden(engine.proxy)
    engine.machine.methods.hid = hid


def hide(system: Any, names: frozenset[str]) -> None:
    """Has a proxy look, whenever one of some methods is asked for, whether an attribute of its object hides it."""
    made = _makes[type(system)]
    if not names <= made.hidden:
        # The proxy's own ``__class__`` says which class the object is of.
        _give_class(system, made._replace(hidden=made.hidden | names))


def measure(system: Any, how: Measure) -> None:
    """Has the calls that are made by way of one proxy counted, and some of them timed."""
    _give_class(system, _makes[type(system)]._replace(measure=how))


def _give_class(system: Any, made: _Make) -> None:
    object.__dict__["__class__"].__set__(system, build(*made))


def attach(proxy_class: type, engine: Calling, control: object) -> Any:
    """Returns a proxy whose methods are calls of an engine."""
    proxy: Any = object.__new__(proxy_class)
    object.__setattr__(proxy, "_coopy_engine", engine)
    object.__setattr__(proxy, "_coopy_control", control)
    return proxy


def control_of(proxy: object) -> Any:
    """What `attach` was given. Raises AttributeError for anything but a proxy."""
    return type(proxy)._coopy_control.__get__(proxy)  # type: ignore[attr-defined]


class Measure:
    """How the calls of one system are counted and timed, by whoever asked for it.

    ``count`` is given the name of a method and returns an iterator, of which a number is taken for each call; where that has none of the bits
    of ``mask``, ``took`` gets the name and how long the call took, in seconds.
    """

    def __init__(self, count: Callable[[str], Iterator[int]], mask: int, took: deque[tuple[str, float]]) -> None:
        self.count = count
        self.mask = mask
        self._took = took

    def timed(self, system: Any, method: Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Calls an action as the proxy does, and tells how long it took."""
        began = perf_counter()
        try:
            try:
                return system._coopy_engine.call(method, args, kwargs)
            except EncodingError as error:
                given = with_copies(system, error, args, kwargs)
            return system._coopy_engine.call(method, *given)
        finally:
            self._took.append((method.name, perf_counter() - began))


class _Make(NamedTuple):
    """What a proxy class is made of."""

    cls: type
    taken: frozenset[str]
    checked: bool
    hidden: frozenset[str]
    measure: Measure | None


_built: dict[_Make, type] = {}
_makes: dict[type, _Make] = {}


def _build(cls: type, taken: frozenset[str], checked: bool, hidden: frozenset[str], measure: Measure | None) -> type:
    names = functions_of(cls)
    source, of_two = _Source(cls, measure), {}
    versions.check(cls)
    for name, function in names.items():
        _refuse_unwritable(cls, name)
        for each in (function, *(body.function for body in versions.bodies(function))):
            refuse_async(cls, name, each)
        if name in _OF_ATTRIBUTES:
            continue
        kind = kind_of(cls, name, function)
        if name in OF_TWO and kind == "read":
            of_two[name] = _of_two(_COMPARED.get(name, function), function)
            continue
        source.add(name, function, "checked" if checked and kind == "read" else kind)
    for name, parameters in _OF_ATTRIBUTES.items():
        source.add_action(Method(name, getattr(cls, name), parameters))
    source.add_parts()
    if cls.__init__ is not object.__init__:  # type: ignore[misc]
        # Called again on an object that is there, it changes it as any other method does.
        source.add("__init__", cls.__init__, "action")  # type: ignore[misc]
    source.add_attributes(checked)
    members = source.compile()
    for name, member in statics_of(cls).items():
        members[name] = member
    members |= of_two
    if "__exit__" in names:
        members["__exit__"] = _leaving(members["__exit__"])
    members |= _common(cls, names, taken)
    for name in hidden | hideable(cls):
        members[name] = Hidden(name, members[name])
    return StandIn(cls.__name__, (_Slots,), members)


class _Slots:
    """What every proxy holds. All proxies have this base, so that one can get another class: see `look_for_hidden`."""

    __slots__ = ("_coopy_engine", "_coopy_control", "__weakref__")


def _refuse_unwritable(cls: type, name: str) -> None:
    """Refuses a method whose name is no identifier. Names of the system's own records are such."""
    if not name.isidentifier():
        raise PrevalentError(
            f"{cls.__qualname__} has a method of the name {name!r}, which is no identifier of Python: a call of it can't be written, and so "
            f"not defined in the proxy. Give it a name that can stand after a dot. Nothing was opened."
        )


# -- the generated source

DEPTH_MAX = 20
"""So deep in lists, tuples, sets and dicts the systems among arguments are found."""
_NO_KEYWORDS: dict[str, Any] = {}
_HERE = "_coopy_here"
"""Stands for the name of the method in what is compiled for all that are alike."""
_SHAPES_MAX = 500
"""So many shapes of methods are kept: kinds and numbers of parameters."""
_OF_ATTRIBUTES = {"__setattr__": ("name", "value"), "__delattr__": ("name",)}
"""Methods that are actions of every system, with their parameters."""

_ACTION = """
def {name}({signature}):{bind}
    try:
        try:
            return {self}._coopy_engine.call(_coopy_method_{name}, {args}, {kwargs})
        except _coopy_unkept as _coopy_error:
            _coopy_given = _coopy_with_copies({self}, _coopy_error, {args}, {kwargs})
        return {self}._coopy_engine.call(_coopy_method_{name}, *_coopy_given)
    except BaseException as _coopy_error:
        raise _coopy_without_our_frames(_coopy_error)
"""
_MEASURED = _ACTION.replace(
    "    try:\n        try:",
    "    try:\n        if not _coopy_next(_coopy_count_{name}) & _coopy_mask:\n"
    "            return _coopy_timed({self}, _coopy_method_{name}, {args}, {kwargs})\n        try:",
)
# What a reader sees is settled as long as these two indexes agree; the lock is held for the
# comparison. It is taken by hand because `with` takes twice as long, and has a gap: see `Calling.unwind`,
# which is told that it is held by the variable `_coopy_holds`; here that is the machine.
_READ = """
def {name}({signature}):{bind}
    _coopy_engine = {self}._coopy_engine
    _coopy_holds = False
    try:
        try:
            _coopy_engine.acquire()
            _coopy_holds = _coopy_engine.machine
            if _coopy_holds.applied == _coopy_engine.log.settled:
                _coopy_domain = _coopy_holds.domain
                _coopy_result = _coopy_function_{name}(_coopy_domain, {call})
                if _coopy_type(_coopy_result) is _coopy_generator:
                    _coopy_result = iter(list(_coopy_result))
                _coopy_engine.release()
                return _coopy_result if _coopy_result is not _coopy_domain else {self}
            _coopy_holds = False
            _coopy_engine.release()
        except BaseException:
            _coopy_engine.unwind()
            _coopy_holds = False
            raise
    except _coopy_no_room:
        if _coopy_holds:
            _coopy_engine.release()
        raise
    except BaseException:
        _coopy_engine.unwind()
        raise
    try:
        return _coopy_engine.read(_coopy_function_{name}, {args}, {kwargs})
    except BaseException as _coopy_error:
        raise _coopy_without_our_frames(_coopy_error)
"""
_FREE = """
def {name}({signature}):{bind}
    try:
        return {self}._coopy_engine.read_unlocked(_coopy_function_{name}, {args}, {kwargs})
    except BaseException as _coopy_error:
        raise _coopy_without_our_frames(_coopy_error)
"""
_CHECKED = _FREE.replace("read_unlocked", "read")
_OUTSIDE = """
def {name}({signature}):{bind}
    _coopy_refuse_inside({self}, "{name}")
    return _coopy_function_{name}({self}, {call})
"""
# Of each attribute that is not in the proxy's class: read as a method that is a read is called.
_RETURN = "return _coopy_result if _coopy_result is not _coopy_domain else {self}"
_SHOWN = "return _coopy_result if _coopy_type(_coopy_result) is not _coopy_bound else _coopy_shown({self}, _coopy_result)"
_CARE = """
    if name in _coopy_care:
        return _coopy_read_with_care({self}, name)"""
_SETTING = """
def __setattr__(self, name, value):
    if _coopy_type(_coopy_type(value)) is _coopy_stand_in and _coopy_is_where_it_was(self, name, value):
        return
    try:
        self._coopy_engine.call(_coopy_method___setattr__, (name, value), _coopy_none)
    except BaseException as _coopy_error:
        raise _coopy_without_our_frames(_coopy_error)
    if name in _coopy_hideable:
        _coopy_hide(self, frozenset({{name}}))
"""
_REFUSED = """
def {name}({signature}):{bind}
    _coopy_refuse_block({self}, "{name}")
"""
_TEMPLATES = {
    "refused": _REFUSED,
    "action": _ACTION,
    "measured": _MEASURED,
    "read": _READ,
    "free": _FREE,
    "checked": _CHECKED,
    "outside": _OUTSIDE,
}


def _giving_parts(template: str) -> str:
    """The template of a method that answers with a part of the object: a caller is given it as such."""
    lines = template.split("\n")
    for number, line in enumerate(lines):
        before, is_one, value = line.partition("return ")
        if not is_one:
            continue
        if _RETURN in line:
            lines[number] = f"{before}if _coopy_type(_coopy_result) in _coopy_values:\n{before}    return _coopy_result"
            value = value[len("_coopy_result if _coopy_result is not _coopy_domain else ") :]
            lines[number] += f"\n{before}if _coopy_result is _coopy_domain:\n{before}    return {value}"
            value = "_coopy_result"
        given = f'{before}return _coopy_given_by({{self}}, "{{name}}", {{args}}, {{kwargs}}, {value})'
        lines[number] = f"{lines[number]}\n{given}" if _RETURN in line else given
    return "\n".join(lines)


class _Source:
    """The source of the methods of one proxy class, and the names it uses."""

    def __init__(self, cls: type, measure: Measure | None) -> None:
        self._cls = cls
        self._measure = measure
        self._parts: list[str] = []
        self._lines = 0
        self._codes: dict[str, CodeType] = {}
        self._filename = f"<coopy proxy of {cls.__module__}.{cls.__qualname__} {id(cls):x}>"
        self._functions: dict[str, Any] = {}
        self._actions: list[str] = []
        self._names: dict[str, Any] = {
            "_coopy_without_our_frames": without_our_frames,
            "_coopy_unkept": EncodingError,
            "_coopy_with_copies": with_copies,
            "_coopy_refuse_inside": refuse_inside,
            "_coopy_refuse_block": refuse_block,
            "_coopy_generator": GeneratorType,
            "_coopy_no_room": RecursionError,
            "_coopy_type": type,
            "_coopy_stand_in": StandIn,
            "_coopy_values": VALUES,
            "_coopy_given_by": given_by,
            "_coopy_is_where_it_was": is_where_it_was,
            "_coopy_none": _NO_KEYWORDS,
            "__name__": __name__,
            INSIDE: True,
        }
        if measure is not None:
            self._names |= {"_coopy_next": next, "_coopy_mask": measure.mask, "_coopy_timed": measure.timed}

    def add(self, name: str, function: Any, kind: str) -> None:
        """A method that calls ``function`` as an action, a read, or a read without the lock."""
        self._functions[name] = function
        plain = isinstance(function, FunctionType) and not hasattr(function, "__wrapped__")
        exact = exact_signature(function) if plain else None
        myself, signature, args, kwargs, call = exact or ANY_SIGNATURE
        bind = ""
        if plain and exact is None:
            self._names[f"_coopy_bind_{name}"] = binder(function)
            bind = f"\n    _coopy_bind_{name}(self, *args, **kwargs)"
        elif kind == "action" and versions.bodies(function):
            self._names[f"_coopy_bind_{name}"] = binder_of_enabled(name, function)
            bind = f"\n    _coopy_bind_{name}(self, *args, **kwargs)"
        self._names[f"_coopy_method_{name}"] = method_for(name, function, parameters_of(function) if plain else ())
        if kind == "action" and self._measure is not None:
            kind, self._names[f"_coopy_count_{name}"] = "measured", self._measure.count(name)
        self._names[f"_coopy_function_{name}"] = reader_of(name, function)
        parameters = function.__code__.co_varnames[: function.__code__.co_argcount] if exact else ()
        given = {"self": myself, "signature": signature, "args": args, "kwargs": kwargs, "call": call}
        template = _TEMPLATES[kind]
        is_of_a_container = name.startswith("__") or hasattr(self._cls, "__getitem__")
        if name in OF_PARTS and is_of_a_container and kind in ("read", "action", "measured"):
            template = _giving_parts(template)
        self._define(name, template, bind, given, parameters, function.__code__.co_posonlyargcount if exact else 0)

    def _define(
        self,
        name: str,
        template: str,
        bind: str,
        given: dict[str, str],
        parameters: tuple[str, ...] = (),
        only_positional: int = 0,
    ) -> None:
        """Adds a function. Compiled is one of its shape, once for all classes, with other names in it."""
        alike = tuple(f"_coopy_parameter_{place}" for place in range(len(parameters)))
        shape = given
        if parameters:
            shape = dict(
                zip(("self", "signature", "args", "kwargs", "call"), signature_of(alike, only_positional), strict=True)
            )
        code = _compiled(template.format(name=_HERE, bind=bind.replace(f"_bind_{name}(", f"_bind_{_HERE}("), **shape))
        names = dict(zip(alike, parameters, strict=True))
        if sys.version_info >= (3, 11):
            code = code.replace(co_qualname=name)
        self._codes[name] = code.replace(
            co_name=name,
            co_filename=self._filename,
            co_firstlineno=code.co_firstlineno + self._lines,
            co_names=tuple(each.replace(_HERE, name) for each in code.co_names),
            co_consts=tuple(each.replace(_HERE, name) if isinstance(each, str) else each for each in code.co_consts),
            co_varnames=tuple(names.get(each, each) for each in code.co_varnames),
        )
        source = template.format(name=name, bind=bind, **given)
        self._parts.append(source)
        self._lines += source.count("\n")

    def add_action(self, method: Method) -> None:
        """A method that calls an action which the domain class need not have written."""
        name, given = method.name, ", ".join(method.parameters)
        self._actions.append(name)
        self._names[f"_coopy_method_{name}"] = method
        template = _SETTING if name == "__setattr__" else _ACTION
        self._define(
            name, template, "", {"self": "self", "signature": f"self, {given}", "args": f"({given},)", "kwargs": "_coopy_none"}
        )

    def add_parts(self) -> None:
        """What changes a part of the state, and what reads one."""
        given = {"self": "self", "signature": "self, *_coopy_args", "args": "_coopy_args", "kwargs": "_coopy_none"}
        self._actions += [CHANGE.name, "_coopy_ask"]
        self._names[f"_coopy_method_{CHANGE.name}"] = CHANGE
        self._define(CHANGE.name, _ACTION, "", given)
        self._names["_coopy_function__coopy_ask"] = ask
        self._define("_coopy_ask", _CHECKED, "", given)

    def add_attributes(self, checked: bool) -> None:
        """What reads the attributes that are not in the class of the proxy."""
        template = _CHECKED if checked else _READ
        template = template.replace(
            _RETURN, f"{_RETURN[len('return ') :]}".join(("_coopy_result = ", f"\n                {_SHOWN}"))
        )
        template = template.replace("        return _coopy_engine.read(", "        _coopy_result = _coopy_engine.read(")
        template = template.replace(
            "        return {self}._coopy_engine.read(", "        _coopy_result = {self}._coopy_engine.read("
        )
        self._names |= {
            "_coopy_care": care_of(self._cls),
            "_coopy_read_with_care": read_with_care,
            "_coopy_bound": Bound,
            "_coopy_shown": shown,
            "_coopy_function___getattr__": read_attribute,
            "_coopy_hideable": methods_of(self._cls),
            "_coopy_hide": hide,
        }
        self._actions.append("__getattr__")
        given = {"self": "self", "signature": "self, name", "args": "(name,)", "kwargs": "_coopy_none", "call": "name"}
        self._define("__getattr__", f"{template}    {_SHOWN}\n", _CARE.format(self="self"), given)

    def compile(self) -> dict[str, Any]:
        """The methods, by name."""
        source = "".join(self._parts)
        linecache.cache[self._filename] = (len(source), None, source.splitlines(keepends=True), self._filename)
        made = {name: FunctionType(code, self._names) for name, code in self._codes.items()}
        found = {name: dressed(made[name], function) for name, function in self._functions.items()}
        return found | {name: made[name] for name in self._actions}


@lru_cache(_SHAPES_MAX)
def _compiled(source: str) -> CodeType:
    """The code of a function from its source."""
    module = compile(source, "<coopy proxy>", "exec")
    return next(each for each in module.co_consts if isinstance(each, CodeType))


def with_copies(system: Any, error: EncodingError, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """Returns arguments that could not be kept, with the states of other systems in the place of their proxies.

    They are copied here, where no lock is held: two systems that are given to each other at the same time would wait for each other.
    Raises the error if no system is among the arguments, nor in the lists, tuples, sets and dicts of them.
    """
    found: dict[int, Any] = {}
    if not any(hasattr(type(each), "__next__") for each in (*args, *kwargs.values())):  # Those have been run to their end.
        given = tuple(_with_states(each, system._coopy_engine, found) for each in args)
        named = {name: _with_states(each, system._coopy_engine, found) for name, each in kwargs.items()}
        if found:
            return given, named
    raise error


def _with_states(value: Any, own: Calling, found: dict[int, Any], depth: int = DEPTH_MAX) -> Any:
    """A value with copies of the states of systems but the own; one that holds none is returned as it is. What lies deeper stays."""
    if is_proxy(value):
        if value._coopy_engine is own:
            return value
        if id(value) not in found:
            found[id(value)] = copied(value, {})
        return found[id(value)]
    kind, below = type(value), depth - 1
    if below < 0:
        return value
    if kind in (list, tuple, set, frozenset):
        parts = [_with_states(each, own, found, below) for each in value]
        return kind(parts) if any(map(operator.is_not, parts, value)) else value
    if kind is dict:
        pairs = {_with_states(key, own, found, below): _with_states(each, own, found, below) for key, each in value.items()}
        return pairs if any(each is not pairs.get(key) for key, each in value.items()) else value
    return value


def refuse_inside(system: Any, name: str) -> None:
    """Refuses a call of an `outside` method inside an action of its system, where whatever it waits for would never come."""
    machine = system._coopy_engine.machine
    if current.machine is machine:
        raise UsageError(
            f"{name}() is marked @outside and was called inside an action of its own system, which must not wait and can't be repeated "
            f"with it. Call it on the system, outside of the methods of the class."
        )


def refuse_block(system: Any, name: str) -> NoReturn:
    """Refuses a call of a method whose ``with`` block would change the object after the action."""
    raise UsageError(
        f"{name}() of {system.__class__.__qualname__} opens a block that changes the object, and what it changes after the call has "
        f"returned is no part of the action, so it would not be recorded. Nothing has changed. Mark the method @outside, and let it "
        f"change the object by calling methods, each of which is recorded; or @readonly, if it changes nothing."
    )


# -- what every proxy class has


def _common(cls: type, names: Iterable[str], taken: frozenset[str]) -> dict[str, Any]:
    def __dir__(self: Any) -> list[str]:
        return sorted({*self._coopy_engine.read(dir, (), _NO_KEYWORDS), *offered})

    def __enter__(self: Any) -> Any:
        return self

    def __exit__(self: Any, kind: Any = None, error: Any = None, traceback: Any = None, /) -> None:
        close_after(error, self._coopy_control.close)

    # By their own names, and in a line each: help() of a system begins with them.
    def __copy__(self: Any) -> Any:
        """Returns a plain copy of the object."""
        return copied(self)

    def __deepcopy__(self: Any, memo: dict[int, Any]) -> Any:
        """Returns a plain copy of the object."""
        return copied(self, memo)

    def __reduce_ex__(self: Any, protocol: Any = None) -> NoReturn:
        """Raises TypeError: a system is one directory's state."""
        _not_to_be_pickled(self)

    def __reduce__(self: Any) -> NoReturn:
        """Raises TypeError: a system is one directory's state."""
        _not_to_be_pickled(self)

    offered = [name for name in CONTROLS if name not in taken]
    members: dict[str, Any] = {
        "__slots__": (),
        "_coopy_domain_class": cls,
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__doc__": cls.__doc__,
        "__class__": property(lambda self: cls),
        "__dir__": __dir__,
        "__copy__": __copy__,
        "__deepcopy__": __deepcopy__,
        "__reduce__": __reduce__,
        "__reduce_ex__": __reduce_ex__,
        **{name: _control(name) for name in offered},
    }
    if "__enter__" not in names and "__exit__" not in names:
        members |= {"__enter__": __enter__, "__exit__": __exit__}
    if cls.__hash__ is None:
        members["__hash__"] = None
    return members


def close_after(error: BaseException | None, close: Callable[[], object]) -> None:
    """Closes a system at the end of a block. What the block has raised goes on, and is told what ``check=True`` finds."""
    try:
        close()
    except CheckFailed as found:
        found_after(error, found)


def found_after(error: BaseException | None, found: CheckFailed) -> None:
    """Tells what a block has raised, ``error``, what ``check=True`` has found at its end. Raises that, if the block has raised nothing."""
    if error is None:
        raise found
    note(error, str(found))


def _leaving(leave: Callable[..., Any]) -> Callable[..., Any]:
    """The ``__exit__`` of the class itself. What the user's block raises goes on, also where it can't be recorded."""

    def __exit__(self: Any, kind: Any = None, error: Any = None, traceback: Any = None, /) -> Any:
        if error is None:
            return leave(self, kind, error, None)
        try:
            try:
                return leave(self, kind, error, None)
            except EncodingError:
                stand_in = _stand_in(error)
                return leave(self, type(stand_in), stand_in, None)
        except CoopyError as ours:
            note(error, f"__exit__() was not called: {ours}")
            return False

    return dressed(cast(FunctionType, __exit__), leave.__wrapped__)  # type: ignore[attr-defined]


def _stand_in(error: BaseException) -> BaseException:
    """An exception of Python's own that says what another one does, which can't be recorded."""
    kind = next(base for base in type(error).__mro__ if base.__module__ == "builtins" and issubclass(base, BaseException))
    said = f"{type(error).__qualname__}: {error}"
    try:
        return kind(said)
    except TypeError:
        return Exception(said)  # Some take more than a text.


def _control(name: str) -> Callable[[Any], Any]:
    def control(self: Any) -> Any:
        return getattr(self._coopy_control, name)()

    control.__name__ = name
    control.__doc__ = f"As ``coopy.control(system).{name}()``."
    return control


def copied(self: Any, memo: dict[int, Any] | None = None) -> Any:
    """Returns the state of a system as a plain object that shares nothing with it, as a snapshot would keep it.

    It is what `copy.copy` and `copy.deepcopy` return of a system: a shallow copy would have the live parts of the state, and who changed them
    would change the system without a record. If the class says itself how it is copied, it is asked for a copy of that object.

    Raises `EncodingError`, what a read raises, and what the class raises.
    """
    cls = type(self)._coopy_domain_class
    codec = Codec(cls)
    codec.proxy = self
    plain = codec.load_state(memoryview(self._coopy_engine.read(_dumped, (codec,), _NO_KEYWORDS)))
    how = getattr(cls, "__copy__" if memo is None else "__deepcopy__", None)
    return plain if how is None else how(plain) if memo is None else how(plain, memo)


def _dumped(domain: object, codec: Codec) -> bytes:
    file = MemoryWriter()
    codec.dump_state(domain, file)
    return file.value()


def _not_to_be_pickled(self: Any) -> NoReturn:
    raise TypeError(
        f"a system of {self.__class__.__qualname__} cannot be pickled: it is one directory's state. Pickle what a "
        f"method returns, or open the directory where it is needed."
    )


_COMPARED: dict[str, Callable[..., Any]] = {
    f"__{name}__": getattr(operator, name) for name in ("eq", "ne", "lt", "le", "gt", "ge")
}
"""Comparisons are those of Python and not of the class alone: a Counter leaves it to the dict whether the two are equal."""


def _of_two(function: Callable[..., Any], own: Callable[..., Any]) -> Callable[..., Any]:
    """The method of a proxy for an operator of two: both systems are locked, and both are settled. ``own`` is that of the class."""

    def operator(self: Any, other: Any, *rest: Any) -> Any:
        mine = self._coopy_engine
        theirs = other._coopy_engine if is_proxy(other) else mine
        try:
            if theirs is mine:
                return mine.read(with_domain(function), (other, *rest), _NO_KEYWORDS)
            if any(getattr(each, "is_elsewhere", False) for each in (mine, theirs)):
                # A system can't be sent: what it is compared with comes here.
                return function(copied(self), copied(other), *rest)
            # In one order, whichever of the two is asked: two threads must not wait for each other.
            if id(mine) < id(theirs):
                return mine.read(lambda domain: theirs.read(lambda two: function(domain, two, *rest), (), {}), (), _NO_KEYWORDS)
            return theirs.read(lambda two: mine.read(lambda domain: function(domain, two, *rest), (), {}), (), _NO_KEYWORDS)
        except BaseException as error:
            raise without_our_frames(error)

    return dressed(cast(FunctionType, operator), own)
