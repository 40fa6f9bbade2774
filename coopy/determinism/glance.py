"""What a glance at the byte code of a class settles: methods of which reading their source would surely say nothing. It has more than 500
lines because all that is asked of a method is asked of what was seen of its whole class.

Most methods of most classes use their own object, their arguments and a few builtins. To see that takes a small part of what it takes to
parse and read them, and loads no module that does. In doubt a method is not settled here, and `coopy.determinism.check` reads it: every
answer is "surely nothing" or "look". tests/determinism/test_glance.py compares the findings with and without.

What is asked of the instructions are names, of globals and of attributes, and what stands beside what; a value that came a long way
round is in doubt.
"""

from __future__ import annotations

import builtins
import linecache
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    ModuleType,
)
from typing import TYPE_CHECKING, Any

from coopy.decorators import ACTION, OUTSIDE, READONLY, READS
from coopy.determinism.instructions import (
    ATTRIBUTE,
    CALL,
    CONSTANT,
    CONTAINER,
    DELETE_ATTRIBUTE,
    GLOBAL,
    IN,
    ITEM,
    LOCAL,
    MAKES_SET,
    METHOD,
    RETURN,
    SET_ATTRIBUTE,
    SET_ITEM,
    SHUFFLE,
    STORE,
    USE,
    VALUE,
    Instructions,
    Step,
    instructions,
)
from coopy.determinism.modules import Home, is_of_stdlib, package_of, read_classes

if TYPE_CHECKING:
    from coopy.determinism.texts import Text

_NOT_PLAIN = frozenset(
    "__build_class__ __import__ breakpoint compile delattr eval exec exit frozenset globals hash help id input iter locals map filter "
    "next open print quit set setattr super type vars".split()
)
_BUILTINS = {name: value for name, value in vars(builtins).items() if name not in _NOT_PLAIN}
"""Builtins of which nothing is ever said, whatever they are given but a set."""
MODULES = frozenset(
    "bisect collections copy dataclasses decimal enum fractions heapq json math operator re statistics string textwrap "
    "_bisect _heapq _json _operator".split()
)
"""Modules of which nothing is ever said."""
OPENERS = frozenset({"connect", "init_system", "memory_system", "objects", "open", "open_system"})
"""Functions of coopy that open a system."""
_OF_DATETIME = frozenset({"timedelta", "timezone"})
_PLAIN = (int, float, complex, str, bytes, type(None), tuple, frozenset, range)
_CHANGED = (list, dict)
_GENERATED = frozenset(
    "__init__ __repr__ __eq__ __lt__ __le__ __gt__ __ge__ __hash__ __setattr__ __delattr__ __replace__".split()
)
_CONSTRUCTORS = ("__new__", "__init__", "__post_init__", "__attrs_post_init__")
CHANGERS = frozenset(
    "__delattr__ __delitem__ __iadd__ __ior__ __setattr__ __setitem__ add append appendleft clear difference_update discard extend "
    "extendleft insert intersection_update move_to_end pop popitem popleft remove reverse rotate setdefault sort subtract "
    "symmetric_difference_update update".split()
)
"""Methods that change a container."""
_VIEWS = frozenset({"items", "values"})
_SPECIAL = ("__getitem__", "__contains__", "__iter__", "__missing__", "__getattr__", "__getattribute__")
_KEPT_NOWHERE = frozenset({LOCAL, CONSTANT, ATTRIBUTE, ITEM, VALUE, IN})
"""Words of a value that makes no container."""
_USED_UP = frozenset({METHOD, ATTRIBUTE, ITEM, USE, VALUE, IN, LOCAL, CONSTANT, GLOBAL, CONTAINER, CALL, SET_ITEM})
"""Words after which the value before is neither returned nor given a name."""
_NO_PART = frozenset({CONSTANT, VALUE, IN, CONTAINER})
"""Words of a value that is no part of the object."""
_INSIDE = frozenset({"<listcomp>", "<dictcomp>", "<setcomp>", "<genexpr>"})
_OF_CLASSES = frozenset(
    "__module__ __doc__ __dict__ __weakref__ __annotations__ __slots__ __qualname__ __firstlineno__ __static_attributes__ __hash__ "
    "__orig_bases__ __parameters__ __match_args__ __dataclass_fields__ __dataclass_params__ __abstractmethods__ _abc_impl "
    "__annotate__ __annotate_func__ __annotations_cache__".split()
)
_LITERAL = re.compile(r"""=\s*(?:None|True|False|-?[\d._]+|"[^"\\]*"|'[^'\\]*'|\(\)|\[\]|\{\})\s*(?=[,)])""")
_WORD = re.compile(r"\w+")
_OTHERS_MAX = 500
"""With more functions and classes than these the source is read."""
_NO_OPERATORS = frozenset(
    "__init__ __new__ __post_init__ __attrs_post_init__ __del__ __init_subclass__ __set_name__ __class_getitem__ __prepare__ __repr__ "
    "__str__ __format__ __reduce__ __reduce_ex__ __getstate__ __setstate__ __copy__ __deepcopy__ __sizeof__ __dir__".split()
)
"""Methods that are not called by an operator; those that make an object are looked at where it is made."""
_HEADER_LINES_MAX = 40
"""A function whose first line is longer, with its decorators, is in doubt."""
_NONE: Step = ("", None)
_bases_of: Any = type.__dict__["__mro__"].__get__


def may_open_a_block(function: FunctionType) -> bool:
    """Whether a method may return what opens the block of a ``with``: it knows a class whose objects do. Most know none."""
    found = function.__globals__
    if found.get("__name__") == "contextlib":
        return True
    names = function.__code__.co_names
    known = [found.get(name) for name in names]
    known += [vars(each).get(name) for each in known if isinstance(each, ModuleType) for name in names]
    known += [_content(cell) for cell in function.__closure__ or ()]
    # Looked up by hand: a metaclass may answer what it likes.
    bases = {base for each in known if isinstance(each, type) for base in _bases_of(each)}
    return any("__exit__" in vars(base) or "__aexit__" in vars(base) for base in bases)


def _content(cell: Any) -> object:
    try:
        return cell.cell_contents
    except ValueError:
        return None  # It has none yet.


class Glance:
    """What is settled of one domain class."""

    def __init__(self, cls: type) -> None:
        self._cls = cls
        self._bases = read_classes(cls)
        self._bodies: dict[tuple[FunctionType, type | None], bool] = {}
        self._files: dict[str, bool] = {}
        self._is_in_coopy = any(package_of(base.__module__) == "coopy" for base in self._bases)
        own = {name: raw for base in reversed(self._bases) for name, raw in vars(base).items()}
        self._members = {name: raw for name, raw in own.items() if name not in _OF_CLASSES}
        functions = [function for raw in self._members.values() for function in functions_in(raw)]
        self._codes = {function: _with_inner(function.__code__) for function in functions}
        self._sets = self._set_attributes()
        self._containers, self._nested = self._parts()
        self._makes = any(
            isinstance(value, type) and vars(builtins).get(name) is not value
            for function in functions
            for name, value in _globals_of(function, self._codes[function])
        )
        self._has_special = any(name in self._members for name in _SPECIAL) or any(
            base not in self._bases and base is not object for base in cls.__mro__
        )
        self._in_doubt: frozenset[str] | None = frozenset()
        """Methods of other objects that are not plain, by name; None: each may be one."""
        self._in_doubt = self._others_in_doubt(functions)
        self._bodies.clear()

    def is_settled(self) -> bool:
        """Whether reading the class would surely say nothing, whole."""
        seen: set[str] = set()
        for base in self._cls.__mro__:
            for name, raw in vars(base).items() if base in self._bases else ():
                if name not in seen and name not in _OF_CLASSES and not self._is_settled(name, raw):
                    return False
            seen.update(vars(base))
        return all(_is_plain_of_fields(base) for base in self._bases)

    def _is_settled(self, name: str, raw: Any) -> bool:
        functions = functions_in(raw)
        if not functions:
            return isinstance(raw, (*_PLAIN, *_CHANGED, set, type, GetSetDescriptorType, MemberDescriptorType))
        return all(self.settles(name, raw, each, is_getter=getattr(raw, "fget", None) is each) for each in functions)

    def settles_text(self, text: Text) -> bool:
        """As `settles`, of a function as `coopy.determinism.check` has it."""
        member = text.member
        if member is None or text.function not in functions_in(member.raw):
            return False
        is_getter = getattr(member.raw, "fget", None) is text.function
        return self.settles(member.name, member.raw, text.function, is_getter)

    def settles(self, name: str, raw: Any, function: FunctionType, is_getter: bool = False) -> bool:
        """Whether reading one function of a member would surely say nothing."""
        if self._in_doubt is None:
            return False
        if (
            self._is_generated(name, function, _static(self._cls, name)[0])
            or getattr(function, OUTSIDE, False)
            or getattr(raw, OUTSIDE, False)
        ):
            return True
        is_marked = getattr(function, READONLY, False) or getattr(raw, READONLY, False)
        is_read = is_marked or ((is_getter or name in READS) and not getattr(function, ACTION, False))
        if is_read and not self.read(function):
            return False
        return (is_marked or self.body(function, raw)) and self.later(name, raw, function)

    # -- what a method does

    def body(self, function: Any, raw: Any = None) -> bool:
        """Whether surely nothing is to be said of what a method does when it is recorded."""
        if isinstance(raw, classmethod):
            if self._names(function, SET_ATTRIBUTE) or not CHANGERS.isdisjoint(self._names(function, METHOD, ATTRIBUTE)):
                return False
        return self._does_nothing(function, self._cls)

    def read(self, function: Any) -> bool:
        """Whether surely nothing is to be said of a method that is not recorded: it changes nothing."""
        if not self._is_readable(function) or self._makes or self._has_special:
            return False
        for found in self._codes_of(function):
            words = {word for word, _ in found.steps}
            if found.is_odd or SET_ITEM in words or found.names[SET_ATTRIBUTE] or found.names[DELETE_ATTRIBUTE]:
                return False
            used = found.names[ATTRIBUTE] | found.names[METHOD]
            if not CHANGERS.isdisjoint(used) or not used.isdisjoint(self._members):
                return False
        names = _globals_of(function, self._codes_of(function))
        return all(_BUILTINS.get(name) is value or isinstance(value, _PLAIN) for name, value in names)

    def _does_nothing(self, function: Any, cls: type | None) -> bool:
        key = function, cls
        if key not in self._bodies:
            self._bodies[key] = True  # Until the contrary is seen: functions that call each other are read once.
            self._bodies[key] = self._is_readable(function) and self._is_plain_body(function, cls)
        return self._bodies[key]

    def _is_plain_body(self, function: FunctionType, cls: type | None) -> bool:
        members = self._members if cls is self._cls else {} if cls is None else _members_of(cls)
        for found in self._codes_of(function):
            if found.is_odd or not self._is_without_sets(found):
                return False
            used = found.names[ATTRIBUTE] | found.names[METHOD]
            if self._in_doubt is None or not self._in_doubt.isdisjoint(used | found.names[SET_ATTRIBUTE]):
                return False
            if not used.isdisjoint(self._sets) or any(name.startswith("__") for name in used | found.names[SET_ATTRIBUTE]):
                return False
            if not all(self._is_plain_member(name, members[name], cls) for name in used if name in members):
                return False
            is_change = any(word == SET_ITEM for word, _ in found.steps) or not CHANGERS.isdisjoint(used)
            for place, (word, name) in enumerate(found.steps):
                after = found.steps[place + 1] if place + 1 < len(found.steps) else _NONE
                if word == GLOBAL and not self._is_plain_global(function, name, after, is_change):
                    return False
        return True

    @staticmethod
    def _is_without_sets(found: Instructions) -> bool:
        """Whether no set is made, of which the order may be seen. One that is only looked into has none."""
        for place, (word, value) in enumerate(found.steps):
            if word == MAKES_SET or (word == METHOD and value == "keys"):
                return False
            if word == CONSTANT and isinstance(value, frozenset):
                if place + 1 == len(found.steps) or found.steps[place + 1][0] != IN:
                    return False
        return True

    def _is_plain_member(self, name: str, raw: Any, cls: type | None) -> bool:
        """Whether nothing is to be said of a method for using this attribute of its class, besides what is said of that itself."""
        if isinstance(raw, property):
            return type(raw) is property and self._does_nothing(raw.fget, cls)
        if isinstance(raw, FunctionType) and (getattr(raw, OUTSIDE, False) or cls is self._cls):
            # It is looked at as a method, unless it is marked.
            return not getattr(raw, READONLY, False) or self._does_nothing(raw, cls)
        functions = functions_in(raw)
        return bool(functions) and all(self._does_nothing(each, cls) for each in functions)

    def _is_plain_global(self, function: FunctionType, name: str, after: Step, is_change: bool) -> bool:
        if name not in function.__globals__:
            return name not in vars(builtins) or name in _BUILTINS
        value = function.__globals__[name]
        if isinstance(value, ModuleType):
            return self._is_plain_module(value, after)
        if after[0] in (ATTRIBUTE, METHOD) and isinstance(value, type):
            return value.__module__ in MODULES
        if isinstance(value, (*_PLAIN, *_CHANGED)):
            held = [*value.values()] if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
            is_left = type(value) in _PLAIN or (type(value) in _CHANGED and not is_change)
            return is_left and not any(callable(each) for each in held)
        # A name that stands for it, or an attribute that it is given, is in doubt.
        if after[0] in ("", STORE, SET_ATTRIBUTE, DELETE_ATTRIBUTE):
            return False
        return self._is_plain_class(value) if isinstance(value, type) else self._is_plain_function(value)

    @staticmethod
    def _is_plain_module(module: ModuleType, after: Step) -> bool:
        name = module.__name__
        if after[0] not in (ATTRIBUTE, METHOD) or not (name in MODULES or name == "coopy"):
            return False
        return not isinstance(vars(module).get(after[1], module), ModuleType) and after[1] not in OPENERS

    def _is_plain_function(self, value: Any) -> bool:
        if isinstance(value, BuiltinFunctionType):
            return value.__module__ in MODULES
        if isinstance(value, FunctionType):
            module = value.__globals__.get("__name__", "")
            is_coopys = self._is_coopys(module) and value.__name__ not in OPENERS
            return module in MODULES or is_coopys or (not self._is_coopys(module) and self._does_nothing(value, None))
        return self._is_coopys(type(value).__module__)  # Its clock and its env.

    def _is_plain_class(self, cls: type) -> bool:
        """Whether nothing is to be said of what making an object of a class runs."""
        if cls.__module__ in MODULES or cls.__module__ == "builtins":
            return True
        if is_of_stdlib(cls.__module__):
            return cls.__module__ == "datetime" and cls.__name__ in _OF_DATETIME
        if self._is_coopys(cls.__module__):
            return True
        made = {name: _static(cls, name) for name in _CONSTRUCTORS}
        return (
            type(cls) is type
            and all(_is_plain_of_fields(base) for base in read_classes(cls))
            and all(
                owner is None
                or is_of_stdlib(owner.__module__)
                or self._is_generated(name, raw, owner)
                or (isinstance(raw, FunctionType) and self._does_nothing(raw, cls))
                for name, (owner, raw) in made.items()
            )
        )

    # -- what other objects do

    def _others_in_doubt(self, functions: list[FunctionType]) -> frozenset[str] | None:
        """The names of methods of other objects that may not be plain; None if an operator of one is not, or there are too many."""
        home = Home(self._cls)
        met: dict[type, dict[str, Any]] = {}
        methods: dict[str, list[FunctionType]] = {}
        doubtful: set[str] = set()
        used = self._used_by(functions)
        done: set[Any] = {self._cls}
        pending: list[Any] = [*self._named_by_fields(), *functions]
        while pending:
            while pending:
                value = pending.pop()
                if isinstance(value, FunctionType) and value not in done and value.__globals__.get("__name__") in home:
                    done.add(value)
                    used |= self._used_by([value])
                    pending += self._met_in(value)
                elif isinstance(value, type) and value not in met and value.__module__ in home and self._is_read(value):
                    met[value] = _members_of(value)
            if len(done) + len(met) > _OTHERS_MAX:
                return None
            for cls, members in [*met.items(), *self._neighbours(met)]:
                by_operator = [name for name in members if name.startswith("__")] if cls in met else []
                for name in [*by_operator, *(members.keys() & used)]:
                    if (cls, name) not in done:
                        done.add((cls, name))
                        pending += self._look_at(cls, name, members[name], methods, doubtful)
        return self._spread(doubtful, methods)

    def _is_read(self, cls: type) -> bool:
        return cls is not self._cls and package_of(cls.__module__) != "coopy"

    def _used_by(self, functions: list[FunctionType]) -> set[str]:
        return {name for each in functions for name in self._names(each, ATTRIBUTE, METHOD, SET_ATTRIBUTE)}

    def _neighbours(self, met: dict[type, dict[str, Any]]) -> Iterator[tuple[type, dict[str, Any]]]:
        """The other classes of the module: an argument may be of one of these, and its methods are used by name."""
        module = sys.modules.get(self._cls.__module__)
        for cls in [] if module is None else [*vars(module).values()]:
            if isinstance(cls, type) and cls.__module__ == self._cls.__module__ and cls not in met and self._is_read(cls):
                yield cls, {name: raw for name, raw in vars(cls).items() if not name.startswith("__")}

    def _look_at(
        self, cls: type, name: str, raw: Any, methods: dict[str, list[FunctionType]], doubtful: set[str]
    ) -> list[FunctionType]:
        """Notes whether a method of another object is in doubt. Returns its functions."""
        found = [each for each in functions_in(raw) if not self._is_generated(name, each, cls)]
        is_value = isinstance(raw, (*_PLAIN, *_CHANGED, set, type, GetSetDescriptorType, MemberDescriptorType))
        if (not functions_in(raw) and not is_value) or any(not self._does_nothing(each, cls) for each in found):
            doubtful.add(name)
        methods.setdefault(name, []).extend(found)
        return found

    def _spread(self, doubtful: set[str], methods: dict[str, list[FunctionType]]) -> frozenset[str] | None:
        """With what is in doubt because it uses what is."""
        count = -1
        while count != len(doubtful):
            count = len(doubtful)
            for name, found in methods.items():
                doubtful |= set() if doubtful.isdisjoint(self._used_by(found)) else {name}
        is_by_operator = any(name.startswith("__") and name not in _NO_OPERATORS for name in doubtful)
        return None if is_by_operator else frozenset(doubtful)

    def _met_in(self, function: FunctionType) -> Iterator[Any]:
        """The classes and functions that a function names, also in the modules it names, and in its annotations."""
        codes = self._codes_of(function)
        names = {name for found in codes for name in found.names[ATTRIBUTE] | found.names[METHOD]}
        for _, value in _globals_of(function, codes):
            yield value
            if isinstance(value, ModuleType):
                yield from (vars(value)[name] for name in names if name in vars(value))
        for annotation in function.__annotations__.values():
            yield from _classes_in(annotation, function.__globals__)

    def _named_by_fields(self) -> Iterator[Any]:
        for base in self._bases:
            module = sys.modules.get(base.__module__)
            for annotation in vars(base).get("__annotations__", {}).values():
                yield from _classes_in(annotation, {} if module is None else vars(module))

    # -- what it hands out

    def later(self, name: str, raw: Any, function: Any) -> bool:
        """Whether a method surely hands out nothing that changes the object later."""
        if name in _CONSTRUCTORS or isinstance(raw, (staticmethod, classmethod)):
            return True
        if not self._is_readable(function):
            return False
        steps = self._codes_of(function)[0].steps
        before = [steps[place - 1][0] for place, (word, _) in enumerate(steps) if word == RETURN]
        if all(word in _NO_PART for word in before):
            return True
        codes = self._codes_of(function)
        if (
            codes[0].has_blocks
            or any(each.co_name not in _INSIDE for found in codes for each in found.inner)
            or self._knows_class(function, codes)
        ):
            return False
        return not may_open_a_block(function) and not self._gives(steps)

    @staticmethod
    def _knows_class(function: FunctionType, codes: list[Instructions]) -> bool:
        """Whether a function uses a class that is given something and may keep it."""
        for name, value in _globals_of(function, codes):
            if isinstance(value, ModuleType) or callable(value):
                is_error = isinstance(value, type) and issubclass(value, BaseException)
                if _BUILTINS.get(name) is not value and not is_error and not isinstance(value, BuiltinFunctionType):
                    return True
        return False

    def _gives(self, steps: list[Step]) -> bool:
        """Whether a part of the object, or one of its methods, may be returned, or be given a name, as it is."""
        parts = self._containers | self._nested
        for place, (word, name) in enumerate(steps):
            is_kept = place + 1 == len(steps) or steps[place + 1][0] not in _USED_UP
            if word == ATTRIBUTE and (isinstance(self._members.get(name), FunctionType) or (is_kept and name in parts)):
                return True
            if word == ITEM and is_kept and self._is_nested(steps, place):
                return True
            if word == METHOD and name in _VIEWS and steps[place - 1][0] == ATTRIBUTE and steps[place - 1][1] in self._nested:
                after = steps[place + 2][0] if place + 2 < len(steps) else ""
                if steps[place + 1][0] != CALL or after not in _USED_UP:
                    return True
        return False

    def _is_nested(self, steps: list[Step], place: int) -> bool:
        """Whether the container that an item is taken from may be one of containers."""
        key, owner = steps[place - 1][0], steps[place - 2]
        if key not in (LOCAL, CONSTANT) or owner[0] not in (ATTRIBUTE, LOCAL):
            return any(word == ATTRIBUTE and name in self._nested for word, name in steps)
        return owner[0] == ATTRIBUTE and owner[1] in self._nested

    # -- what the methods make attributes of the object; more rather than less

    def _parts(self) -> tuple[set[str], set[str]]:
        containers: set[str] = set()
        nested: set[str] = set()
        for function, codes in self._codes.items():
            is_default = any(value is defaultdict for _, value in _globals_of(function, codes))
            for found in codes:
                is_default = is_default or "defaultdict" in found.names[ATTRIBUTE] | found.names[METHOD]
            for found in codes:
                nested |= found.names[SET_ATTRIBUTE] if is_default else set()
                self._note_parts(found, containers, nested)
        return containers, nested

    @staticmethod
    def _note_parts(found: Instructions, containers: set[str], nested: set[str]) -> None:
        steps = found.steps
        for place, (word, name) in enumerate(steps):
            if word == SET_ATTRIBUTE:
                if steps[place - 1][0] != LOCAL or steps[place - 2][0] not in _KEPT_NOWHERE:
                    containers.add(name)
            elif word == SET_ITEM and steps[place - 1][0] != SHUFFLE:
                # value, object, attribute, key: of anything else each attribute may be meant.
                owner = steps[place - 2]
                if owner[0] == ATTRIBUTE and steps[place - 1][0] in (LOCAL, CONSTANT):
                    is_made = steps[place - 3][0] != LOCAL or steps[place - 4][0] not in _KEPT_NOWHERE
                    nested.update({owner[1]} if is_made else ())
                elif owner[0] != LOCAL or steps[place - 1][0] not in (LOCAL, CONSTANT):
                    nested |= found.names[ATTRIBUTE]
            elif word == METHOD and name == "setdefault":
                owner = steps[place - 1]
                nested |= {owner[1]} if owner[0] == ATTRIBUTE else set() if owner[0] == LOCAL else found.names[ATTRIBUTE]

    def _set_attributes(self) -> frozenset[str]:
        """Attributes that may be made sets."""
        found: set[str] = set()
        for base in self._bases:
            for name, field in vars(base).get("__dataclass_fields__", {}).items():
                found.update({name} if getattr(field, "default_factory", None) in (set, frozenset) else ())
        count = -1
        while count != len(found):
            count = len(found)
            for function, codes in self._codes.items():
                names = {name for each in codes for name in each.names[GLOBAL] if name in function.__globals__}
                makes = any(not self._is_without_sets(each) for each in codes) or bool(names & {"set", "frozenset"})
                makes = makes or any({"set", "frozenset"} & each.names[GLOBAL] for each in codes)
                makes = makes or any(found & (each.names[ATTRIBUTE] | each.names[METHOD]) for each in codes)
                found |= {name for each in codes for name in each.names[SET_ATTRIBUTE]} if makes else set()
        return frozenset(found)

    # -- what can be looked at

    def _names(self, function: Any, *words: str) -> set[str]:
        return {name for found in self._codes_of(function) for word in words for name in found.names[word]}

    def _codes_of(self, function: FunctionType) -> list[Instructions]:
        if function not in self._codes:
            self._codes[function] = _with_inner(function.__code__)
        return self._codes[function]

    def _is_coopys(self, module: object) -> bool:
        """Whether a module is of coopy, which is read only for a class of its own."""
        return package_of(module) == "coopy" and not self._is_in_coopy

    def _is_readable(self, function: Any) -> bool:
        """Whether all that a function does is in its own code, and its source is at hand, with defaults that are written out."""
        if not isinstance(function, FunctionType) or function.__closure__ or hasattr(function, "__wrapped__"):
            return False
        has_defaults = bool(function.__defaults__ or function.__kwdefaults__)
        if any(isinstance(each, (list, dict, set, bytearray)) for each in _defaults_of(function)):
            return False  # One for all calls.
        is_at_hand = self._has_lines(function.__code__.co_filename, function.__globals__)
        return is_at_hand and (not has_defaults or _are_literals(function))

    def _has_lines(self, file: str, module: dict[str, Any]) -> bool:
        if file not in self._files:
            linecache.checkcache(file)
            self._files[file] = not file.startswith("<") and bool(linecache.getlines(file, module))
        return self._files[file]

    def _is_generated(self, name: str, raw: Any, owner: type | None) -> bool:
        """Whether a method was written by `dataclasses`, for a class whose source is at hand."""
        is_named = name in _GENERATED and owner is not None and "__dataclass_fields__" in vars(owner)
        if not is_named or owner is None or not isinstance(raw, FunctionType):
            return False
        if raw.__globals__.get("__name__") in ("dataclasses", "reprlib"):  # What keeps __repr__ from going round in a circle.
            raw = getattr(raw, "__wrapped__", raw)
        if raw.__code__.co_filename != "<string>":
            return False
        module = sys.modules.get(owner.__module__)
        file = getattr(module, "__file__", None)
        if module is None or file is None or not self._has_lines(file, vars(module)):
            return False
        return _is_written_once(owner.__name__, linecache.getlines(file))


def _classes_in(annotation: Any, module: dict[str, Any]) -> Iterator[Any]:
    """The classes that an annotation names; of a text, whatever has one of its words for a name."""
    if isinstance(annotation, str):
        yield from (module[word] for word in _WORD.findall(annotation) if word in module)
    elif isinstance(annotation, type) and not getattr(annotation, "__args__", ()):
        yield annotation
    else:
        for each in getattr(annotation, "__args__", ()):
            yield from _classes_in(each, module)


def functions_in(raw: Any) -> list[FunctionType]:
    """The functions of a member whose code is all that it does."""
    if type(raw) is property:
        raws = [raw.fget, raw.fset, raw.fdel]
    else:
        raws = [raw.__func__ if isinstance(raw, (staticmethod, classmethod)) else raw]
    return [each for each in raws if isinstance(each, FunctionType)]


def _with_inner(code: CodeType) -> list[Instructions]:
    found = [instructions(code)]
    for each in found:
        found += [instructions(inner) for inner in each.inner]
    return found


def _globals_of(function: FunctionType, codes: list[Instructions]) -> Iterator[tuple[str, Any]]:
    """The globals and builtins that a function uses, as far as they are there."""
    for found in codes:
        for name in found.names[GLOBAL]:
            if name in function.__globals__:
                yield name, function.__globals__[name]
            elif name in vars(builtins):
                yield name, vars(builtins)[name]


def _static(cls: type, name: str) -> tuple[type | None, Any]:
    return next(((base, vars(base)[name]) for base in cls.__mro__ if name in vars(base)), (None, None))


def _members_of(cls: type) -> dict[str, Any]:
    return {name: raw for base in reversed(read_classes(cls)) for name, raw in vars(base).items() if name not in _OF_CLASSES}


def _is_plain_of_fields(cls: type) -> bool:
    """Whether a class has no fields, or such as are given nothing by default but new containers."""
    if "__attrs_attrs__" in vars(cls):
        return False
    fields = vars(cls).get("__dataclass_fields__", {})
    if not all(_is_made_new(field.default, field.default_factory) for field in fields.values()):
        return False
    # What else the class is given by its body is read with its fields.
    members = vars(cls).items() if fields else ()
    return all(
        name in _OF_CLASSES or raw is None or isinstance(raw, MemberDescriptorType) or functions_in(raw)
        for name, raw in members
    )


def _is_made_new(default: Any, factory: Any) -> bool:
    is_missing = type(factory).__name__ == "_MISSING_TYPE"
    return (default is None or type(default).__name__ == "_MISSING_TYPE") and (is_missing or factory in (list, dict, set))


def _is_written_once(name: str, lines: list[str]) -> bool:
    """Whether one class of that name begins in a file, and in no text of several lines."""
    begins = re.compile(rf"\s*class {name}\b")
    places = [number for number, line in enumerate(lines) if begins.match(line)]
    before = "".join(lines[: places[0]]) if places else ""
    return len(places) == 1 and not any(before.count(quotes) % 2 for quotes in ('"""', "'''"))


def _defaults_of(function: FunctionType) -> list[Any]:
    return [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]


def _are_literals(function: FunctionType) -> bool:
    """Whether the defaults of a function are written out, and not made by a call or by a name."""
    first = function.__code__.co_firstlineno
    text = ""
    for line in range(first, first + _HEADER_LINES_MAX):
        part = linecache.getline(function.__code__.co_filename, line)
        if not text and not part.lstrip().startswith("def "):
            continue  # A decorator.
        text += part
        if part.rstrip().endswith(":"):
            return text.count("=") == len(_LITERAL.findall(text))
    return False
