"""Modules, classes and functions that took hold of a function before it was replaced, and are given the new one.

It looks where a program usually keeps a function, outside the standard library, and no further: an object that keeps one in an
attribute of its own is not seen.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from datetime import date, datetime
from types import BuiltinMethodType, CellType, FunctionType, MethodType, ModuleType
from typing import Any

from coopy.determinism.asking import is_module_of_theirs

_METHODS_OF_DATES = ("now", "utcnow", "today")


class Holders:
    """Those who took hold of a function before it was replaced.

    Looked at are the modules that are loaded, outside the standard library: their names, the
    attributes of their classes, default arguments, closures and ``default_factory`` there, and lists
    and dicts that are such a name or attribute.
    """

    def __init__(self, replaced: dict[int, tuple[Any, Any]]) -> None:
        self._replaced = replaced
        self._seen: set[int] = set()

    def rebind(self) -> None:
        for name, module in list(sys.modules.items()):
            if issubclass(type(module), ModuleType) and is_module_of_theirs(name):
                self._names(_names_of(module))

    def _names(self, names: dict[Any, Any]) -> None:
        if self._begins(names):
            for name, value in list(names.items()):
                new = self._look_at(value)
                if new is not value:
                    names[name] = new

    def _begins(self, holder: object) -> bool:
        new = id(holder) not in self._seen
        self._seen.add(id(holder))
        return new

    def _new(self, value: Any) -> Any:
        """What is to be held instead of a value; itself, if it may stay."""
        found = self._replaced.get(id(value))
        if found is not None:
            return found[1]
        kind = type(value)
        if kind is BuiltinMethodType:
            # Each look at datetime.now gave another object.
            cls, name = value.__self__, value.__name__
            if isinstance(cls, type) and issubclass(cls, date) and name in _METHODS_OF_DATES:
                owner = datetime if name != "today" else date
                return vars(owner)[name].__get__(None, cls)
        elif kind is MethodType and id(value.__func__) in self._replaced:
            return MethodType(self._replaced[id(value.__func__)][1], value.__self__)
        elif kind is functools.partial and self._new(value.func) is not value.func:
            return functools.partial(self._new(value.func), *value.args, **value.keywords)
        elif kind is staticmethod and self._new(value.__func__) is not value.__func__:
            return staticmethod(self._new(value.__func__))
        return value

    def _look_at(self, value: Any) -> Any:
        """As `_new`, and looks at what the value holds in turn."""
        new = self._new(value)
        if new is value:
            # Of the type: an object may say that it is of another class, or raise if it is asked.
            kind = type(value)
            if issubclass(kind, type):
                self._class(value)
            elif kind is dict:
                self._items(value, list(value.items()))
            elif kind is list:
                self._items(value, list(enumerate(value)))
            else:
                self._functions(value)
        return new

    def _items(self, holder: Any, items: list[tuple[Any, Any]]) -> None:
        for key, value in items:
            new = self._new(value)
            if new is not value:
                holder[key] = new

    def _class(self, cls: type) -> None:
        if not is_module_of_theirs(cls.__module__) or not self._begins(cls):
            return
        members = dict(vars(cls))
        for name, value in members.items():
            new = self._look_at(value)
            if new is not value:
                # A class of C.
                with contextlib.suppress(TypeError):
                    type.__setattr__(cls, name, new)
        fields = [*members.get("__dataclass_fields__", {}).values()]
        fields += [getattr(each, "default", None) for each in members.get("__attrs_attrs__", ())]
        for field in fields:
            for name in ("default_factory", "factory"):
                factory = getattr(field, name, None)
                if self._new(factory) is not factory:
                    setattr(field, name, self._new(factory))

    def _functions(self, value: Any) -> None:
        """Follows functions, and what is wrapped around them."""
        kind = type(value)
        if kind is FunctionType:
            self._function(value)
        elif kind in (staticmethod, classmethod, MethodType):
            self._functions(value.__func__)
        elif kind is property:
            for each in (value.fget, value.fset, value.fdel):
                self._functions(each)
        elif kind in (functools.cached_property, functools.partial, functools.partialmethod):
            self._functions(value.func)
        elif kind is functools._lru_cache_wrapper:
            self._functions(value.__wrapped__)

    def _function(self, function: FunctionType) -> None:
        if not is_module_of_theirs(function.__globals__.get("__name__")) or not self._begins(function):
            return
        if function.__defaults__:
            defaults = tuple(map(self._new, function.__defaults__))
            if any(new is not old for new, old in zip(defaults, function.__defaults__, strict=True)):
                function.__defaults__ = defaults
        if function.__kwdefaults__:
            self._items(function.__kwdefaults__, list(function.__kwdefaults__.items()))
        for cell in function.__closure__ or ():
            self._cell(cell)
        if function.__globals__ is not _names_of(sys.modules.get(function.__module__)):
            # Generated code may have names of its own; that of attrs has.
            self._names(function.__globals__)

    def _cell(self, cell: CellType) -> None:
        try:
            value = cell.cell_contents
        except ValueError:
            return  # Empty still.
        new = self._new(value)
        if new is not value:
            cell.cell_contents = new
        else:
            self._functions(value)


def _names_of(module: object) -> dict[str, Any]:
    # Asked in any other way, a module that loads itself late does so.
    names: dict[str, Any] = object.__getattribute__(module, "__dict__") if issubclass(type(module), ModuleType) else {}
    return names
