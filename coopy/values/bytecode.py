"""Functions and classes that no module has, kept whole by dill: lambdas, closures, local classes and what they are made of.

dill keeps much more: it opens files again by their name, gives out locks that are held, copies modules. Here it keeps functions, classes
and their parts, and of anything else no more than pickle does. A module that a function refers to is imported again.

What it writes of a function is byte code, which only the Python that wrote it can read: another one may raise, or crash.
So the name of that Python comes first, see `coopy.values.codec`, and byte code of another is refused before it is read.

dill takes some 50 ms to import and is asked where pickle gives up, so everything here imports it late.
"""

from __future__ import annotations

import functools
import importlib
import pickle
import sys
from collections.abc import Callable
from types import FunctionType, MappingProxyType, ModuleType
from typing import Any

from coopy.values import bound, deep

PYTHON = f"{sys.implementation.name} {sys.version_info[0]}.{sys.version_info[1]}"
"""What writes and reads byte code here."""

CODE = ("dill._dill", "_create_code")
"""The function by which what dill wrote makes byte code."""

Save = Callable[[Any, Any], None]

_PARTS = (
    "FunctionType CodeType CellType TypeType MethodType MemberDescriptorType GetSetDescriptorType MethodDescriptorType "
    "WrapperDescriptorType ClassMethodDescriptorType LRUCacheType"
).split()


_OF_DILL = frozenset({"dill", "dill._dill", "dill._shims"})
"""Modules that dill refers to in what it writes of functions."""


@functools.cache
def parts() -> frozenset[type]:
    """The types of what functions and classes are made of, which dill keeps."""
    import abc
    import dataclasses

    import dill  # type: ignore[import-untyped, unused-ignore]
    from dill import _dill

    found = {property, staticmethod, classmethod, abc.abstractproperty, abc.abstractstaticmethod, abc.abstractclassmethod}
    found.update(getattr(_dill, name) for name in _PARTS if hasattr(_dill, name))
    found.update(cls for cls in dill.Pickler.dispatch if cls.__module__ == dataclasses.__name__)
    return frozenset(found)


class _Dispatch(dict[type, Save]):
    """By class, what saves its objects. Classes of a metaclass are classes."""

    def __missing__(self, cls: type) -> Save:
        if issubclass(cls, type):
            return self[type]
        raise KeyError(cls)

    def get(self, cls: type, default: Any = None) -> Any:
        try:
            return self[cls]
        except KeyError:
            return default


@functools.cache
def pickler() -> Any:
    """The class of dill's picklers, kept to functions and classes."""
    import dill  # type: ignore[import-untyped, unused-ignore]

    class Pickler(dill.Pickler):  # type: ignore[misc]
        __module__ = dill.Pickler.__module__  # By which dill knows its own.

        dispatch = _Dispatch(
            {
                **{cls: save for cls, save in dill.Pickler.dispatch.items() if cls in parts() or cls is dict},
                **{cls: save for cls, save in deep.DISPATCH.items() if cls not in (FunctionType, type, dict)},
            }
        )

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._coopy_imports: set[int] = set()
            self._coopy_inside = 0

    def inside(save: Save) -> Save:
        def run(pickler: Any, value: Any) -> None:
            pickler._coopy_inside += 1
            try:
                save(pickler, value)
            finally:
                pickler._coopy_inside -= 1

        return run

    def save_proxy(pickler: Any, proxy: Any) -> None:
        if not pickler._coopy_inside:
            raise pickle.PicklingError("cannot pickle a mappingproxy")
        dill.Pickler.dispatch[MappingProxyType](pickler, proxy)

    def save_function(pickler: Any, function: FunctionType) -> None:
        module = bound.module_of_globals(function)
        held = [cell.cell_contents for cell in function.__closure__ or () if _is_bound(cell)]
        if module is None:
            held.extend(function.__globals__.values())
        pickler._coopy_imports.update(id(each) for each in held if type(each) is ModuleType)
        save = dill.Pickler.dispatch[FunctionType]
        said = function.__module__
        if module is None or module == said:
            save(pickler, function)
            return
        # What a decorator made, a dataclass's __repr__ say, says that it is of the module that uses it. dill takes it by its word
        # and copies all globals of the module that it is of.
        function.__module__ = module
        try:
            save(pickler, function)
        finally:
            function.__module__ = said

    Pickler.dispatch[FunctionType] = inside(save_function)
    Pickler.dispatch[type] = inside(dill.Pickler.dispatch[type])
    # A class may hold one, as each field of a dataclass does.
    Pickler.dispatch[MappingProxyType] = save_proxy
    Pickler.dispatch[functools.cached_property] = _save_cached_property
    Pickler.dispatch[ModuleType] = _save_module
    return Pickler


@functools.cache
def deep_pickler() -> Any:
    """The same at any depth. Functions and classes that are kept whole, one in another, are as deep as dill goes."""
    base = pickler()

    class DeepPickler(deep.Deep, base):  # type: ignore[misc, valid-type]
        __module__ = base.__module__

        def _begin(self, obj: Any, persistent: bool = True) -> deep.Saving | None:
            kind = type(obj)
            if kind in deep.CONTAINERS:
                plain = kind is not dict or "__name__" not in obj  # What may be the names of a module dill looks at.
            else:
                plain = kind not in self.dispatch and not issubclass(kind, type) and not _is_of_numpy(kind)
            if plain:
                return super()._begin(obj, persistent)
            base.save(self, obj, persistent)
            return None

    return DeepPickler


def _is_of_numpy(kind: type) -> bool:
    return "numpy" in sys.modules and any(base.__module__.partition(".")[0] == "numpy" for base in kind.__mro__)


def _save_module(pickler: Any, module: ModuleType) -> None:
    if module.__name__ in _OF_DILL:
        sys.modules["dill"].Pickler.dispatch[ModuleType](pickler, module)
        return
    if id(module) not in pickler._coopy_imports or sys.modules.get(module.__name__) is not module:
        raise pickle.PicklingError(f"cannot pickle the module {module.__name__}")
    pickler.save_reduce(importlib.import_module, (module.__name__,), obj=module)


def _save_cached_property(pickler: Any, value: Any) -> None:
    # Up to Python 3.11 it has a lock of its own.
    state = {name: each for name, each in vars(value).items() if name not in ("func", "lock")}
    pickler.save_reduce(functools.cached_property, (value.func,), state, obj=value)


def _is_bound(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - an empty cell raises
    except ValueError:
        return False
    return True


def of_another(python: str | None) -> str | None:
    """Why byte code that ``python`` wrote can't be read here; None if it can."""
    if python == PYTHON:
        return None
    wrote = "a Python that is not named" if python is None else _written(python)
    back = "that Python" if python is None else wrote
    return (
        f"what is stored holds byte code (a lambda, a local function or a local class) that {wrote} wrote, and this is {_written(PYTHON)}: byte code "
        f"means the same to no other. Nothing was changed. Open the directory with {back}. To move on from there, let the state hold functions "
        f"and classes of modules alone and take a snapshot: what comes before a snapshot is not read again."
    )


def _written(python: str) -> str:
    name, _, version = python.rpartition(" ")
    return f"Python {version}" if name == sys.implementation.name else f"Python {version} ({name})"
