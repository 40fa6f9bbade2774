"""Parts of the state in a caller's hands, and how a change of one is recorded. The module has more than 500 lines because a part answers all
that is asked of any object, and each answer may be a part again.

``system.items.append(1)`` and ``system.edges[1, 2]["w"] = 9`` call no method of the system: they change what an attribute of it holds. A
caller is therefore given a `Part`, which stands for that object. It is of the object's class for ``isinstance``, is equal to the
object, and has its methods. What reads is a read of the system. What may change the object is an action, `CHANGING`, whose arguments are the
steps from the system to the object, and what is called there: a replay goes the same steps.

A part that is not any more where it was read can still be read, as any object that somebody holds. If it is nowhere else in the state either,
it is changed as any other object; else to change it is refused, because no action could say what is meant. Inside an action there are no parts: the methods of a class have the objects themselves.

A callable of the object is a `Trigger`; docs/design/034-parts.md says why it is so, and what it costs.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import islice
from types import FunctionType, GeneratorType, MethodType
from typing import Any, NoReturn, cast
from weakref import WeakValueDictionary

from coopy.errors import ReadOnlyNode, SystemClosed, UsageError
from coopy.ground.raised import or_none
from coopy.ground.running import current
from coopy.spine.attributes import (
    PART,
    READ,
    READERS,
    READING,
    RECORDED,
    STORED,
    VALUES,
    Bound,
    Unrecorded,
    call_attribute,
    care_of,
    does_more_than_be_called,
    is_of_parts,
    kind_of_callable,
    method_by_name,
    peeked_attribute,
)
from coopy.spine.methods import OF_TWO, Method, dressed, functions_of, home_of, is_proxy, kind_of, raw_of, what_is_written

__coopy_inside__ = True  # See `coopy.spine.calling`.
CHANGING = "_coopy_change"
"""Name of the action that calls a method of a part: its steps, the name of the method, its arguments, and those by name if there are any."""
_CLASSES_MAX = 1_000
"""So many classes of parts are kept."""
Step = tuple[Any, ...]
"""How to go on from an object: ``(name,)`` an attribute; ``(name, args)`` or ``(name, args, kwargs)`` what a method answers; ``(number,)``
the object of that number, from 0, when it is iterated over."""


_type: Callable[[Any], Any] = type


def reached(domain: Any, steps: tuple[Step, ...]) -> Any:
    """Returns the object to which steps lead from the domain object. Raises what a step raises."""
    value = domain
    for step in steps:
        what = step[0]
        if type(what) is int:
            value = next(islice(value, what, None))
        elif len(step) == 1:
            value = getattr(value, what)
        else:
            value = getattr(value, what)(*step[1], **(step[2] if len(step) > 2 else {}))
    return value


def change(domain: Any, steps: tuple[Step, ...], name: str, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> Any:
    """What the action `CHANGING` does."""
    value = reached(domain, steps)
    if name == READING:
        return getattr(value, *args)
    # The own system is the object itself, as it is for a method of the system.
    args = tuple([plain(each) if is_proxy(each) else each for each in args])
    return getattr(value, name)(*args, **(kwargs or {}))


CHANGE = Method(CHANGING, change, ("steps", "name", "args"))


class StandIn(type):
    """The class of a class that stands for another one, which answers what is asked of it, such as ``type(p).LIMIT``.

    Called, it makes a plain object of that class. It is equal to no other class: what compares or remembers classes would take one
    for the other, and objects of the two are not alike for C code.
    """

    def __getattr__(cls, name: str) -> Any:
        domain_class = vars(cls).get("_coopy_domain_class")
        if domain_class is None or name == "__abstractmethods__":  # Whether a class is abstract it says of itself.
            raise AttributeError(f"type object {cls.__name__!r} has no attribute {name!r}")
        return getattr(domain_class, name)

    def __setattr__(cls, name: str, value: Any) -> None:
        # A constant that is changed is changed for the methods of the class, too.
        if name in vars(cls) or not hasattr(vars(cls)["_coopy_domain_class"], name):
            super().__setattr__(name, value)
        else:
            setattr(vars(cls)["_coopy_domain_class"], name, value)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return vars(cls)["_coopy_domain_class"](*args, **kwargs)


class Part(metaclass=StandIn):
    """Stands for an object of the state of a system. See the module."""

    __slots__ = (
        "_coopy_system",
        "_coopy_steps",
        "_coopy_value",
        "_coopy_domain",
        "_coopy_is_free",
        "_coopy_is_made",
        "__weakref__",
    )
    _coopy_system: Any
    _coopy_steps: tuple[Step, ...]
    _coopy_value: Any
    _coopy_domain: Any
    _coopy_is_free: bool
    """Whether the object is known to be no part of the state any more, or never was, as a slice of a list: it is changed as any object is."""
    _coopy_is_made: bool
    """Whether the object was no part of the state when that was last looked at, and one like it is made for each reading."""

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._coopy_value)

    def __getattr__(self, name: str) -> Any:
        system = self._coopy_system
        how = _how_read(self._coopy_value, name)
        if how:
            try:
                return _changed(self, READING, (name,), {})
            except ReadOnlyNode:
                if how == RECORDED:
                    raise
        return _handed(self, (name,), _asked(system, _attribute, self, name))

    def __setattr__(self, name: str, value: Any) -> None:
        _changed(self, "__setattr__", (name, _of_part(value)), {})

    def __delattr__(self, name: str) -> None:
        _changed(self, "__delattr__", (name,), {})

    def __eq__(self, other: object) -> Any:
        other = plain(other)
        return _asked(self._coopy_system, lambda _, part: part == other, self)

    def __ne__(self, other: object) -> Any:
        other = plain(other)
        return _asked(self._coopy_system, lambda _, part: part != other, self)

    def __hash__(self) -> int:
        return hash(self._coopy_value)

    def __repr__(self) -> str:
        return cast(str, _asked(self._coopy_system, lambda _, part: repr(part), self))

    def __str__(self) -> str:
        return cast(str, _asked(self._coopy_system, lambda _, part: str(part), self))

    def __format__(self, spec: str) -> str:
        return cast(str, _asked(self._coopy_system, lambda _, part: format(part, spec), self))

    def __dir__(self) -> list[str]:
        return cast("list[str]", _asked(self._coopy_system, lambda _, part: dir(part), self))

    def __copy__(self) -> Any:
        from copy import copy

        return _asked(self._coopy_system, lambda _, part: copy(part), self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        from copy import deepcopy

        return _asked(self._coopy_system, lambda _, part: deepcopy(part, memo), self)

    def __reduce_ex__(self, protocol: Any) -> Any:
        # A pickle has the object itself, and of a view what it shows, as any argument.
        from coopy.values.arguments import REDUCERS

        how = REDUCERS.get(type(self._coopy_value), lambda part: part.__reduce_ex__(protocol))
        return _asked(self._coopy_system, lambda _, part: how(part), self)


type.__delattr__(Part, "__slots__")  # As in `_class_of`.
_known: WeakValueDictionary[tuple[int, int], Part] = WeakValueDictionary()
"""The parts that somebody holds, so that what is read twice is the same object."""


def given(system: Any, steps: tuple[Step, ...], value: Any) -> Any:
    """What a caller is given for an object of the state, to which steps lead."""
    cls: Any = type(value)
    if cls in VALUES or not system._coopy_engine.gives_parts or current.machine is system._coopy_engine.machine:
        return value
    if cls is tuple:
        found = tuple(given(system, (*steps, (number,)), each) for number, each in enumerate(value))
        return value if all(map(operator.is_, found, value)) else found
    return _part(system, steps, value) if is_of_parts(cls) and not is_proxy(value) else value


OF_PARTS = frozenset({"__getitem__", "__missing__", "get", "setdefault", "values", "items", "__iter__", "__reversed__"})
"""Methods of containers that answer with what is in them."""

ANSWERS = OF_PARTS | {CHANGING, READING}
"""Actions whose answer may be given to a caller as a part: it must be the very object of the state."""


def given_by(system: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], value: Any) -> Any:
    """What a caller is given for the answer of one of `OF_PARTS`."""
    if name in ("__iter__", "__reversed__"):
        if not system._coopy_engine.gives_parts:
            return value
        found = list(value)
        if VALUES.issuperset(map(type, found)):
            return iter(found)
        return _each(system, () if name == "__iter__" else ((name, ()),), found)
    if name in ("setdefault", "__missing__"):
        return given(system, (("__getitem__", args[:1]),), value)
    return given(system, ((name, args, kwargs) if kwargs else (name, args),), value)


def _part(system: Any, steps: tuple[Step, ...], value: Any) -> Any:
    domain = system._coopy_engine.machine.domain
    if value is domain:
        return system
    if isinstance(value, Part):
        return value
    key = (id(system), id(value))
    found = _known.get(key)
    if found is None or found._coopy_value is not value:
        found = object.__new__(_class_of(_type(value)))
        put = object.__setattr__
        put(found, "_coopy_system", system)
        put(found, "_coopy_value", value)
        put(found, "_coopy_is_free", False)
        put(found, "_coopy_is_made", False)
        _known[key] = found
    # By the way that was gone last: it leads there now.
    object.__setattr__(found, "_coopy_steps", steps)
    object.__setattr__(found, "_coopy_domain", domain)
    return found


def plain(value: Any) -> Any:
    """The object that a part, or a system, stands for; anything else as it is."""
    if issubclass(type(value), Part):
        return value._coopy_value
    return value._coopy_engine.machine.domain if is_proxy(value) else value


def _of_part(value: Any) -> Any:
    return value._coopy_value if issubclass(type(value), Part) else value


def is_where_it_was(system: Any, name: str, value: Any) -> bool:
    """Whether a value that an attribute of a system is to have is the part that is there: ``p.items += [1]`` has changed it already."""
    if not issubclass(type(value), Part) or value._coopy_system is not system or value._coopy_steps != ((name,),):
        return False
    domain = system._coopy_engine.machine.domain
    cls: Any = type(domain)
    is_plain_attribute = cls.__setattr__ is object.__setattr__ and not hasattr(cls, name)
    return is_plain_attribute and getattr(domain, "__dict__", {}).get(name) is value._coopy_value


# -- what is called


def _asked(system: Any, function: Callable[..., Any], part: Any, *args: Any) -> Any:
    """What a function of the domain and a part's object comes to, as a read."""
    try:
        return system._coopy_ask(part, function, *args)
    except SystemClosed:
        return ask(part._coopy_domain, part, function, *args)  # What somebody holds is there as long as that.


def ask(domain: Any, part: Any, function: Callable[..., Any], *args: Any) -> Any:
    """Calls a function of the domain and a part's object: what `_coopy_ask` of a system runs as a read."""
    if part._coopy_domain is not domain:
        # The machine was built anew, and so were all objects.
        object.__setattr__(part, "_coopy_value", reached(domain, part._coopy_steps))
        object.__setattr__(part, "_coopy_domain", domain)
    found = function(domain, part._coopy_value, *args)
    return _Run(list(found)) if type(found) is GeneratorType else found


class _Run:
    """What an iterator has yielded that was run to its end."""

    __slots__ = ("found",)

    def __init__(self, found: list[Any]) -> None:
        self.found = found


def _handed(part: Any, step: Step, found: Any) -> Any:
    """What a caller is given for what a read of a part has found."""
    system = part._coopy_system
    if found is part._coopy_value:
        return part
    if type(found) is _Run:
        return _each(system, (*part._coopy_steps, step), found.found)
    if type(found) is Bound:
        return Trigger(system, found, part)
    return given(system, (*part._coopy_steps, step), found)


def _each(system: Any, steps: tuple[Step, ...], found: list[Any]) -> Iterator[Any]:
    return iter([given(system, (*steps, (number,)), each) for number, each in enumerate(found)])


def _attribute(domain: Any, owner: Any, name: str) -> Any:
    value = getattr(owner, name)
    if not callable(value) or type(value) in VALUES or value is domain:
        return value
    if is_of_parts(_type(value)):
        return value
    kind = kind_of_callable(value, owner) or kind_of_callable(value, domain)
    return Bound(name, kind, value) if kind else value


def _how_read(value: Any, name: str) -> str:
    """How an attribute of a part is read, if it would write now; empty if it would not."""
    care = care_of(_type(value))
    if name not in care or (care[name] == STORED and name in getattr(value, "__dict__", ())):
        return ""
    return care[name]


def _changed(part: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Calls a method of a part as an action."""
    system = part._coopy_system
    if current.machine is system._coopy_engine.machine:
        return change(part._coopy_value, (), name, args, kwargs)
    if part._coopy_is_free:
        return _changed_freely(part, name, args, kwargs)
    where = _place_of(part)
    if where == _ELSEWHERE:
        raise UsageError(
            f"{_shown(part._coopy_steps)} of the system is another object by now than the {type(part._coopy_value).__qualname__} that was "
            f"read there, which is elsewhere in the state, so {name}() can't be recorded. Nothing has changed. Read it again from where it is."
        )
    if where == _NOWHERE:
        object.__setattr__(part, "_coopy_is_free", True)
        return _changed_freely(part, name, args, kwargs)
    before = _asked(system, _digest, part) if where == _MADE else b""
    result = getattr(system, CHANGING)(part._coopy_steps, name, tuple(map(_of_part, args)), *([kwargs] if kwargs else []))
    if where == _MADE:
        if _asked(system, _digest, part) == before:
            # A slice, or a copy: what was made once more has been changed, and is gone. An object of a class of its own may still put
            # itself into the state when it is changed.
            object.__setattr__(part, "_coopy_is_free", name != READING and _is_of_c(type(part._coopy_value), name))
            return _changed_freely(part, name, args, kwargs)
        object.__setattr__(part, "_coopy_value", _asked(system, lambda domain, _: reached(domain, part._coopy_steps), part))
    return part if result is part._coopy_value else _answered(part, name, args, result)


def _answered(part: Any, name: str, args: tuple[Any, ...], result: Any) -> Any:
    """What a caller is given for the answer of a method that was called as an action."""
    step: Step
    if name == "setdefault" and args:
        step = ("__getitem__", args[:1])
    elif name in ("__getitem__", "get"):
        step = (name, args)
    elif name == READING:
        step = args
    else:
        return result
    return given(part._coopy_system, (*part._coopy_steps, step), result)


def _changed_freely(part: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    result = change(part._coopy_value, (), name, tuple(map(_of_part, args)), kwargs)
    return part if result is part._coopy_value else _answered(part, name, args, result)


def _is_of_c(cls: type, name: str) -> bool:
    """Whether a method of a class is of a container of Python's own, and changes nothing else."""
    return home_of(cls, name).__module__ in ("builtins", "collections", "array")


_THERE, _MADE, _ELSEWHERE, _NOWHERE, _UNKNOWN = "there", "made", "elsewhere", "nowhere", "unknown"
"""Where the object of a part is: where it was read; nowhere, and it is made for each reading; elsewhere in the state; nowhere at all; or to
look for it may write."""


def _place_of(part: Any) -> str:
    """Where the object of a part is. What may write while it is read is read once more as an action."""
    system, steps = part._coopy_system, part._coopy_steps
    where = cast(str, _asked(system, _where, part, steps))
    if where == _UNKNOWN:
        last = max(place for place, step in enumerate(steps) if type(step[0]) is not int)
        name, *rest = steps[last]
        found = or_none(getattr(system, CHANGING), steps[:last], *((name, *rest) if rest else (READING, (name,))))
        found = or_none(reached, plain(found), steps[last + 1 :])
        where = cast(str, _asked(system, _where_if, part, found))
        if where == _NOWHERE and part._coopy_is_made and type(found) is type(part._coopy_value):
            # It was made when it was read, and something that was reached through it has put another one there since.
            object.__setattr__(part, "_coopy_value", found)
            where = _THERE
    object.__setattr__(part, "_coopy_is_made", where == _MADE)
    return where


def _where(domain: Any, value: Any, steps: tuple[Step, ...]) -> str:
    found = domain
    for step in steps:
        if _is_recorded(found, step):
            return _UNKNOWN
        found = or_none(reached, found, (step,))
    return _where_if(domain, value, found)


def _is_recorded(value: Any, step: Step) -> bool:
    """Whether to go on from an object may write to it."""
    name, cls = step[0], _type(value)
    if type(name) is int or value is None:
        return False
    if len(step) == 1:
        return bool(_how_read(value, name))
    if getattr(cls, "__getitem__", None) is dict.__getitem__ and name == "__getitem__" and step[1][0] in value:
        return False  # It is missing nothing.
    return _is_lookup_recorded(cls, name)


@lru_cache(_CLASSES_MAX)
def _is_lookup_recorded(cls: Any, name: str) -> bool:
    function = functions_of(cls).get(name) if name in ("__getitem__", "get") else None
    return function is not None and kind_of(cls, name, function) == "action"


def _where_if(domain: Any, value: Any, found: Any) -> str:
    """Where an object is, if steps lead to what was found."""
    if found is value or _is_view(found, value):
        return _THERE
    # It goes through the whole state. Few parts are not where they were.
    from coopy.values.digest import digest, survey

    objects = set(map(id, survey(domain)[1]))
    if id(value) in objects:
        return _ELSEWHERE
    is_made = type(found) is type(value) and id(found) not in objects
    # What was made, and is not in the state any more, was changed since.
    return _MADE if is_made and digest(found) == digest(value) else _NOWHERE


def _digest(domain: Any, _: Any) -> bytes:
    from coopy.values.digest import digest

    return digest(domain)


def _is_view(found: Any, value: Any) -> bool:
    """Whether two objects are made for each reading, of one class: a view of the state, which holds what it changes."""
    return type(found) is type(value) and not is_container(value) and _holds_the_same(found, value)


def is_container(value: Any) -> bool:
    return isinstance(value, (list, dict, set, bytearray))


def _holds_the_same(one: Any, other: Any) -> bool:
    held = [[getattr(each, "__dict__", {}).get(name, _slot(each, name)) for name in _names_of(each)] for each in (one, other)]
    return bool(held[0]) and len(held[0]) == len(held[1]) and all(map(_is_alike, *held))


def _is_alike(one: Any, other: Any) -> bool:
    return one is other or (type(one) in VALUES and one == other) or _same_method(one, other)


def _same_method(one: Any, other: Any) -> bool:
    return isinstance(one, MethodType) and isinstance(other, MethodType) and one == other


def _names_of(value: Any) -> list[str]:
    slots = (name for base in type(value).__mro__ for name in _slots_of(base))
    return sorted({*getattr(value, "__dict__", ()), *slots})


def _slots_of(cls: type) -> tuple[str, ...]:
    found = vars(cls).get("__slots__", ())
    return (found,) if isinstance(found, str) else tuple(found)


def _slot(value: Any, name: str) -> Any:
    return getattr(value, name, None)


def _shown(steps: tuple[Step, ...]) -> str:
    """Steps as they stand in a program."""
    text = ""
    for step in steps:
        if type(step[0]) is int:
            text = f"{text}[{step[0]}]"
        elif len(step) == 1:
            text = f"{text}.{step[0]}"
        elif step[0] == "__getitem__":
            text = f"{text}[{', '.join(map(repr, step[1]))}]"
        else:
            text = f"{text}.{step[0]}({', '.join(map(repr, step[1]))})"
    return text


# -- the classes of parts

_NOT_OF_PARTS = frozenset(
    {"__buffer__", "__release_buffer__", "__eq__", "__ne__", "__hash__", "__repr__", "__str__", "__format__", "__init__"}
)


@lru_cache(_CLASSES_MAX)
def _class_of(cls: Any) -> Any:
    members: dict[str, Any] = {
        "__slots__": (),
        "_coopy_domain_class": cls,
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__doc__": cls.__doc__,
    }
    for name, function in functions_of(cls).items():
        if name not in _NOT_OF_PARTS:
            members[name] = dressed(_method(cls, name, function), function)
    if cls.__hash__ is None:
        members["__hash__"] = None
    if cls.__dictoffset__:
        members["__dict__"] = property(lambda part: Part.__getattr__(part, "__dict__"))  # For `vars`.
    made = StandIn(cls.__name__, (Part,), members)
    type.__delattr__(made, "__slots__")  # The object's own are asked for, if any.
    return made


def _method(cls: type, name: str, function: Any) -> FunctionType:
    kind = kind_of(cls, name, function)
    if kind == "outside":
        return cast(FunctionType, lambda self, /, *args, **kwargs: function(self, *args, **kwargs))
    if kind == "refused":
        return _refused(cls, name)
    if kind in ("read", "free"):
        return _iterating(name, function) if name in ("__iter__", "__reversed__") else _reading(name, function)
    return _calling() if name == "__call__" else _writing(cls, name, function)


def _reading(name: str, function: Any) -> FunctionType:
    def read(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        if name in OF_TWO:
            args = tuple(map(_of_part, args))
        step = (name, args, kwargs) if kwargs else (name, args)
        return _handed(self, step, _asked(self._coopy_system, lambda _, part: function(part, *args, **kwargs), self))

    return cast(FunctionType, read)


def _iterating(name: str, function: Any) -> FunctionType:
    def each(self: Any) -> Iterator[Any]:
        steps = self._coopy_steps if name == "__iter__" else (*self._coopy_steps, (name, ()))
        return _each(self._coopy_system, steps, _asked(self._coopy_system, lambda _, part: list(function(part)), self))

    return cast(FunctionType, each)


def _writing(cls: type, name: str, function: Any) -> FunctionType:
    raw = raw_of(cls, name)

    def write(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        try:
            return _changed(self, name, args, kwargs)
        except ReadOnlyNode:
            # In doubt it was taken for an action. Here it can only look.
            if not isinstance(raw, FunctionType) or what_is_written(cls, name, raw):
                raise
        return _asked(self._coopy_system, lambda _, part: function(part, *args, **kwargs), self)

    return cast(FunctionType, write)


def _calling() -> FunctionType:
    def call(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        if len(self._coopy_steps) == 1 and len(self._coopy_steps[0]) == 1:
            # By the name of the attribute, as any callable of the system.
            return self._coopy_system._coopy_engine.call(method_by_name(self._coopy_steps[0][0]), args, kwargs)
        return _changed(self, "__call__", args, kwargs)

    return cast(FunctionType, call)


def _refused(cls: type, name: str) -> FunctionType:
    def refused(self: Any, /, *args: Any, **kwargs: Any) -> NoReturn:
        raise UsageError(
            f"{name}() of {cls.__qualname__} opens a block that changes the object, and what it changes after the call has returned is no part "
            f"of the action, so it would not be recorded. Nothing has changed. Call it in a method of the system."
        )

    return cast(FunctionType, refused)


# -- callables, and attributes of the system itself


class Trigger:
    """A callable of a system, or of a part: a call of it is a call of the system. It looks like the callable, and is equal to it."""

    __slots__ = ("_coopy_system", "_coopy_held", "_coopy_part", "__weakref__")

    def __init__(self, system: Any, bound: Bound, part: Any = None) -> None:
        self._coopy_system = system
        self._coopy_held = bound
        self._coopy_part = part

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        system, bound, part = self._coopy_system, self._coopy_held, self._coopy_part
        if part is not None:
            if bound.kind == "read":
                return _asked(system, lambda _, value: getattr(value, bound.name)(*args, **kwargs), part)
            return _changed(part, bound.name, args, kwargs)
        if bound.kind == "read":
            return shown(system, system._coopy_engine.read(call_attribute, (bound.name, *args), kwargs))
        return system._coopy_engine.call(method_by_name(bound.name), args, kwargs)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Trigger):
            mine, theirs = self._coopy_held, other._coopy_held
            is_one = self._coopy_system is other._coopy_system and self._coopy_part is other._coopy_part
            return is_one and (mine.name == theirs.name or mine.value == theirs.value)
        return bool(self._coopy_held.value == other)

    def __hash__(self) -> int:
        return hash(self._coopy_held.value)

    def __repr__(self) -> str:
        return repr(self._coopy_held.value) if self._coopy_held.value is not None else f"<{self._coopy_held.name} of a system>"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._coopy_held.value, name)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._coopy_held.value)

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (self._coopy_part if self._coopy_part is not None else self._coopy_system, self._coopy_held.name)


def shown(system: Any, value: Any) -> Any:
    """What a caller is given for an attribute that was read."""
    if type(value) is not Bound:
        return value
    if value.kind == PART or (does_more_than_be_called(_type(value.value)) and system._coopy_engine.gives_parts):
        return given(system, ((value.name,),), value.value)
    if value.kind == "outside":
        # Of what came over a connection only the name is here.
        return MethodType(getattr(system.__class__, value.name) if value.value is None else value.value.__func__, system)
    return Trigger(system, value)


def read_with_care(system: Any, name: str) -> Any:
    """Reads an attribute that may write: as an action if it does. On a node that only reads it is put back."""
    engine, how = system._coopy_engine, care_of(system.__class__)[name]
    if how != RECORDED:
        try:
            return shown(system, engine.read(READERS[how], (name,), {}))
        except Unrecorded:
            pass
    try:
        found = engine.call(READ, (name,), {})
        return shown(system, found) if type(found) is Bound else given(system, ((name,),), found)
    except ReadOnlyNode:
        if how == RECORDED:
            raise
    return shown(system, engine.read(peeked_attribute, (name,), {}))
