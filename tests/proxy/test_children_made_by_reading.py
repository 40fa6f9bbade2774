"""Objects that make their children when they are read: what is written to a child is in the live state, and in the replayed one, too."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import FunctionType, MethodType
from typing import Any

import pytest

from coopy import control
from coopy.spine.methods import kind_of, what_is_written
from coopy.testing import assert_replays, crash
from coopy.testing import memory_system as in_memory

memory_system = partial(in_memory, results="recorded", validation="off")


class Tree(dict[str, Any]):
    """A child is stored as soon as it is read."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __getitem__(self, name: str) -> Any:
        if name not in self:
            super().__setitem__(name, type(self)())
        return super().__getitem__(name)

    def __reduce__(self) -> Any:
        return type(self), (dict(self),)


class Lazy(dict[str, Any]):
    """A child is stored as soon as something is written to it."""

    def __init__(self, *args: Any, above: Any = None) -> None:
        super().__init__(*args)
        object.__setattr__(self, "above", above)

    def attach(self) -> None:
        above = object.__getattribute__(self, "above")
        object.__setattr__(self, "above", None)
        if above is not None:
            owner, name = above
            owner.attach()
            dict.setdefault(owner, name, self)

    def __getitem__(self, name: str) -> Any:
        return super().__getitem__(name) if name in self else type(self)(above=(self, name))

    def __setitem__(self, name: str, value: Any) -> None:
        self.attach()
        super().__setitem__(name, value)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __reduce__(self) -> Any:
        return type(self), (dict(self),)


class Compiled:
    """A function as Cython makes them: it has a code object, and no byte code in it."""

    def __init__(self, function: FunctionType) -> None:
        self._function = function
        self.__name__ = function.__name__
        self.__code__ = (lambda self, *args: None).__code__

    def __get__(self, owner: Any, cls: type) -> Any:
        return self if owner is None else MethodType(self, owner)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)


def compiled(cls: type) -> Any:
    made = type(f"Compiled{cls.__name__}", (cls,), {"__module__": __name__})
    for name, each in vars(cls).items():
        if isinstance(each, FunctionType):
            setattr(made, name, Compiled(each))
    globals()[made.__name__] = made
    return made


CompiledTree, CompiledLazy = compiled(Tree), compiled(Lazy)


def _chain(tree: Any) -> Any:
    tree.a.b.c = 1
    return tree.a.b.c, tree["a"]["b"]


def _items(tree: Any) -> Any:
    tree["a"]["b"] = 1
    tree["a"]["c"]["d"] = 2
    return tree["a"]


def _looked(tree: Any) -> Any:
    return tree.a.b, tree == {}


def _held(tree: Any) -> Any:
    child = tree.a
    child.x = 1
    child.y.z = 2
    child.x += 1
    return tree


def _two(tree: Any) -> Any:
    tree.a.x = 1
    tree.b.x.y = 2
    tree.b.x.z.w = 3
    tree.a.y = 4
    return tree


def _read_between(tree: Any) -> Any:
    child = tree.a
    assert child.b == {}
    child.x = 1
    return tree


def _deleted(tree: Any) -> Any:
    tree.a.x = 1
    child = tree.a
    del tree["a"]
    child.y = 2
    return child, tree


def _replaced(tree: Any) -> Any:
    tree.a.x = 1
    child = tree.a
    tree["a"] = 5
    child.y = 2
    return tree


@pytest.mark.parametrize("cls", [Tree, Lazy, CompiledTree, CompiledLazy])
@pytest.mark.parametrize("use", [_chain, _items, _looked, _held, _two, _read_between, _replaced])
def test_what_is_written_to_a_child_is_written_live_and_at_replay(cls: Any, use: Callable[[Any], Any]) -> None:
    plain = cls()
    wanted = use(plain)
    system = memory_system(cls)
    assert use(system) == wanted and system == plain
    assert_replays(system)
    assert crash(system) == plain


@pytest.mark.parametrize("cls", [Lazy, CompiledLazy])
def test_a_child_that_was_deleted_stays_detached(cls: Any) -> None:
    system = memory_system(cls)
    assert _deleted(system) == _deleted(cls())
    assert_replays(system)


def test_a_lookup_that_is_compiled_is_recorded_in_doubt_and_other_reads_are_not() -> None:
    assert what_is_written(CompiledTree, "__getitem__", vars(CompiledTree)["__getitem__"])
    assert kind_of(CompiledTree, "__getitem__", vars(CompiledTree)["__getitem__"]) == "action"
    assert kind_of(dict, "__getitem__", dict.__getitem__) == "read"
    system = memory_system(CompiledTree)
    before = control(system).index
    assert len(system) == 0 and "a" not in system and list(system) == []
    assert control(system).index == before


class Asked(dict[str, Any]):
    """Makes what is missing, and counts it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self.setdefault(name, len(self))


@pytest.mark.parametrize("cls", [Asked, Tree, CompiledTree])
def test_opening_a_system_asks_the_object_for_nothing_that_it_would_make(cls: Any) -> None:
    plain = cls()
    system = memory_system(plain)
    assert plain == {} and system == {} and control(system).index == 0
