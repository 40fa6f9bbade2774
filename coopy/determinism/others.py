"""The methods of other objects that an action uses: which of them are read.

What a name that is looked up on an object means is known when the method runs. But the objects of a state are of few classes, which
the methods of the domain class make, or name in annotations. So a method of such a class is read if an action looks up its name on
an object that is not known to be of another class; those that all containers have, ``get`` or ``append``, where the object is known.
What is done by an operator, a ``with`` or a loop is read with the class.
"""

from __future__ import annotations

import ast
import datetime
import decimal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FunctionType
from typing import Any

from coopy.determinism.modules import Home, is_of_stdlib, package_of, read_classes
from coopy.determinism.names import Member, statically
from coopy.determinism.texts import CONSTRUCTORS, Text, texts_of

_OF_ALL: frozenset[str] = frozenset(
    name
    for kind in (list, dict, set, frozenset, str, bytes, bytearray, int, float, deque, datetime.datetime, decimal.Decimal)
    for name in dir(kind)
    if not name.startswith("__")
)
"""Names of methods that tell nothing of the object they are looked up on."""
_NOT_BY_OPERATORS = frozenset(
    (*CONSTRUCTORS, "__del__", "__init_subclass__", "__set_name__", "__class_getitem__", "__prepare__", "__repr__", "__str__")
) | frozenset("__format__ __reduce__ __reduce_ex__ __getstate__ __setstate__ __copy__ __deepcopy__ __sizeof__ __dir__".split())

Follow = Callable[[Text, str, str], None]


class Others:
    """The classes of other objects that the actions of one domain class meet, and the names they look up on them."""

    def __init__(self, cls: type, modules: Home, follow: Follow) -> None:
        self._cls = cls
        self._modules = modules
        self._follow = follow
        self._met: dict[type, tuple[str, str]] = {}
        self._used: dict[str, tuple[str, str]] = {}
        self._used_of_arguments: dict[str, tuple[str, str]] = {}
        module = sys.modules.get(cls.__module__)
        found = [] if module is None else [*vars(module).values()]
        self._neighbours = [each for each in found if isinstance(each, type) and each.__module__ == cls.__module__]
        """The classes of the module that the domain class is in: an argument may be of one of these."""

    def met(self, cls: Any, method: str, trail: str) -> None:
        """Notes a class that a method makes objects of, or names."""
        if isinstance(cls, type) and cls not in self._met and self._is_read(cls):
            self._met[cls] = method, trail

    def _is_read(self, cls: type) -> bool:
        """Whether the methods of a class are read. Those of coopy, its clock and its engines, are for themselves."""
        return cls is not self._cls and cls.__module__ in self._modules and package_of(cls.__module__) != "coopy"

    def used(self, name: str, receivers: Iterable[type], method: str, trail: str, of_argument: bool = False) -> None:
        """Notes a name that is looked up on an object: one of the receivers, if they are known."""
        known = [cls for cls in receivers if not is_of_stdlib(cls.__module__)]
        for cls in filter(self._is_read, known):
            self._read(cls, name, method, trail)
        if not known and name not in _OF_ALL and not name.startswith("__"):
            self._used.setdefault(name, (method, trail))
            if of_argument:
                self._used_of_arguments.setdefault(name, (method, trail))

    def read_all(self) -> None:
        """Reads what was noted, and what is noted thereby."""
        done: set[tuple[type, str]] = set()
        while True:
            todo = [
                (cls, name, place)
                for cls, met in [*self._met.items()]
                for name, place in [*((each, met) for each in _operators_of(cls)), *self._used.items()]
                if (cls, name) not in done
            ]
            todo += [each for each in self._of_neighbours() if each[:2] not in done]
            if not todo:
                return
            for cls, name, (method, trail) in todo:
                done.add((cls, name))
                self._read(cls, name, method, trail)

    def _of_neighbours(self) -> Iterator[tuple[type, str, tuple[str, str]]]:
        """What is used of arguments, where no class that was met has that name and one class of the module has it."""
        for name, place in self._used_of_arguments.items():
            if not any(statically(cls, name) for cls in self._met):
                found = [cls for cls in self._neighbours if cls is not self._cls and statically(cls, name) is not None]
                if len(found) == 1:
                    yield found[0], name, place

    def _read(self, cls: type, name: str, method: str, trail: str) -> None:
        member = statically(cls, name)
        if member is not None and member.owner.__module__ in self._modules:
            for text in texts_of(member, self._modules):
                self._follow(text, method, trail)


def _operators_of(cls: type) -> list[str]:
    """The methods of a class that are called by no name."""
    return [
        name
        for owner in read_classes(cls)
        for name, raw in vars(owner).items()
        if name.startswith("__") and name.endswith("__") and name not in _NOT_BY_OPERATORS and isinstance(raw, FunctionType)
    ]


def annotated(function: FunctionType, module: Mapping[str, Any]) -> Iterator[type]:
    """The classes that the annotations of the parameters of a function name."""
    for name, annotation in function.__annotations__.items():
        if name != "return":
            yield from named_in(annotation, module)


def named_in(annotation: object, module: Mapping[str, Any]) -> Iterator[type]:
    """The classes that an annotation names, with no code run."""
    if isinstance(annotation, str):
        try:
            tree = ast.parse(annotation, mode="eval")
        except (SyntaxError, ValueError):
            return
        found = [module.get(each.id) for each in ast.walk(tree) if isinstance(each, ast.Name)]
        yield from (each for each in found if isinstance(each, type))
    elif isinstance(annotation, type) and not getattr(annotation, "__args__", ()):
        yield annotation
    else:
        for each in getattr(annotation, "__args__", ()):
            yield from named_in(each, module)


def descriptors_of(cls: type, modules: Home) -> Iterator[type]:
    """The classes of the user's own descriptors that are attributes of a class."""
    for owner in read_classes(cls):
        for raw in vars(owner).values():
            kind = type(raw)
            if kind.__module__ in modules and (hasattr(kind, "__get__") or hasattr(kind, "__set__")):
                yield kind


def made_by(cls: type) -> Iterator[Member]:
    """What calling a class runs besides its constructors: ``__call__`` of its own metaclass."""
    member = statically(type(cls), "__call__")
    if member is not None and isinstance(member.raw, FunctionType):
        yield member
