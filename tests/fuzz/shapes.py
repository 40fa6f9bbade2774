"""Classes made up of the shapes that people write, each used side by side as plain object, live system, reopened system and asyncio system.

    python tests/fuzz/shapes.py [--runs N] [--seed S]

A class has a base and some shapes of `SHAPES`: methods of containers that write when they are read, attributes that keep what they return,
callables of the object, attributes that hide methods, generators, operators, properties, parts of other classes, exceptions. Whatever is done to
one is done to all, with arguments of its own for each: the answers are equal, and after each step so are the digests of the four states. Hypothesis makes
up class and history, and shrinks what fails.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import linecache
import operator
import random
import shutil
import sys
import tempfile
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

if __name__ == "__main__":
    sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != Path(__file__).resolve().parent]
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

import coopy.aio
from coopy import control, init_system
from coopy.testing import memory_system
from coopy.values.digest import digest

STEPS = 20
SHAPES_MAX = 5
_PLACES = Path("/dev/shm")

KEYS = st.sampled_from(["a", "b", "c", 1, (1, "a")])
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 300), st.sampled_from(["", "ab", "ä"]), st.sampled_from([0.5, -0.0])
)
VALUES = st.one_of(
    SCALARS, st.lists(SCALARS, max_size=3), st.dictionaries(KEYS, SCALARS, max_size=2), st.sets(st.integers(0, 9), max_size=3)
)
NUMBERS = st.integers(-3, 9)
Given = tuple["st.SearchStrategy[Any]", ...]


class Use(NamedTuple):
    """One thing that can be done to an object."""

    how: str
    """"call", "get", "set", "del" or "special"."""
    name: str
    given: Given = ()


class Shape(NamedTuple):
    """A part of a class: what is in its body, what its constructor does, and how it is used."""

    body: str
    init: str
    uses: tuple[Use, ...]
    needs: str = ""
    """Of the base: "dict", "list", "any" for one that has a __dict__; empty for all."""


BASES = {
    "object": "",
    "dict": "(dict)",
    "list": "(list)",
    "UserDict": "(UserDict)",
    "OrderedDict": "(OrderedDict)",
    "MutableMapping": "(MutableMapping)",
    "defaultdict": "(defaultdict)",
}
HEAD = """
from collections import OrderedDict, UserDict, defaultdict, deque
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial, partialmethod, total_ordering
from contextlib import contextmanager
from coopy import abort_exception, action, clock, env, outside, readonly, transactional

class Refusal(Exception):
    pass

class Page:
    def __init__(self, name):
        self.name, self.links = name, []
    def rename(self, name):
        self.name = name
    def __eq__(self, other):
        return type(other) is Page and (self.name, self.links) == (other.name, other.links)
    __hash__ = None

@dataclass
class Line:
    text: str = ""
    marks: list = field(default_factory=list)

class Counting:
    def __init__(self):
        self.count = 0
    def hit(self):
        self.count += 1
        return self.count

class Kept:
    def __init__(self, function):
        self.function = function
    def __set_name__(self, owner, name):
        self.name = name
    def __get__(self, instance, owner):
        if instance is None:
            return self
        value = instance.__dict__[self.name] = self.function(instance)
        return value
"""


def _calls(*names: str, given: Given = ()) -> tuple[Use, ...]:
    return tuple(Use("call", name, given) for name in names)


SHAPES: dict[str, Shape] = {
    "a list": Shape(
        "def add(self, x):\n    self.items_.append(x)\n    return len(self.items_)\ndef all_(self):\n    return self.items_",
        "self.items_ = []",
        (*_calls("add", given=(VALUES,)), *_calls("all_"), Use("get", "items_")),
    ),
    "a dict": Shape(
        "def put(self, k, v=None, *more, **names):\n    self.table[k] = [v, more, names]\n    return self.table[k]",
        "self.table = {}",
        (Use("call", "put", (KEYS, VALUES)), Use("call", "put", (KEYS,)), Use("call", "put", ()), Use("get", "table")),
    ),
    "hits that are counted": Shape(
        "def __len__(self):\n    self.hits += 1\n    return self.hits",
        "self.hits = 0",
        (Use("special", "__len__"), Use("get", "hits"), Use("special", "__bool__")),
        "object",
    ),
    "an LRU": Shape(
        "def __getitem__(self, k):\n    value = super().__getitem__(k)\n    self.move_to_end(k)\n    return value",
        "",
        (Use("special", "__getitem__", (KEYS,)), Use("call", "get", (KEYS,)), Use("call", "keys")),
        "OrderedDict",
    ),
    "a dict that counts": Shape(
        "def __getitem__(self, k):\n    self.asked = getattr(self, 'asked', 0) + 1\n    return super().__getitem__(k)",
        "",
        (Use("special", "__getitem__", (KEYS,)), Use("call", "get", (KEYS, SCALARS)), Use("get", "asked")),
        "UserDict",
    ),
    "items of a mapping": Shape(
        "",
        "",
        (
            Use("special", "__setitem__", (KEYS, VALUES)),
            Use("special", "__getitem__", (KEYS,)),
            Use("special", "__delitem__", (KEYS,)),
            Use("special", "__contains__", (KEYS,)),
            Use("special", "__len__"),
            Use("special", "__iter__"),
            Use("call", "get", (KEYS,)),
            Use("call", "pop", (KEYS, SCALARS)),
            Use("call", "setdefault", (KEYS, VALUES)),
            Use("call", "update", (st.dictionaries(KEYS, SCALARS, max_size=2),)),
            Use("call", "items"),
            Use("call", "values"),
            Use("call", "clear"),
        ),
        "mapping",
    ),
    "items of a list": Shape(
        "",
        "",
        (
            Use("call", "append", (VALUES,)),
            Use("call", "pop"),
            Use("call", "extend", (st.lists(SCALARS, max_size=3),)),
            Use("special", "__getitem__", (NUMBERS,)),
            Use("special", "__getitem__", (st.just(slice(0, 2)),)),
            Use("special", "__setitem__", (NUMBERS, VALUES)),
            Use("special", "__delitem__", (NUMBERS,)),
            Use("special", "__iter__"),
            Use("special", "__contains__", (SCALARS,)),
            Use("special", "__iadd__", (st.lists(SCALARS, max_size=2),)),
            Use("call", "reverse"),
            Use("call", "count", (SCALARS,)),
        ),
        "list",
    ),
    "a cached_property": Shape(
        "@cached_property\ndef total(self):\n    return [len(self.sizes)]\ndef grow(self):\n    self.sizes.append(1)",
        "self.sizes = []",
        (Use("get", "total"), Use("del", "total"), *_calls("grow")),
    ),
    "a descriptor that keeps": Shape(
        "@Kept\ndef kept(self):\n    return [1]\ndef change_kept(self):\n    self.kept.append(2)\n    return self.kept",
        "",
        (Use("get", "kept"), *_calls("change_kept"), Use("del", "kept")),
    ),
    "a property that writes": Shape(
        "@property\ndef seen(self):\n    self._seen += 1\n    return self._seen\n@seen.setter\ndef seen(self, n):\n    self._seen = n",
        "self._seen = 0",
        (Use("get", "seen"), Use("set", "seen", (NUMBERS,))),
    ),
    "a property that writes deeper": Shape(
        "@property\ndef logged(self):\n    self.log_.append(1)\n    return len(self.log_)",
        "self.log_ = []",
        (Use("get", "logged"), Use("set", "logged", (NUMBERS,))),
    ),
    "an __getattr__ that makes": Shape(
        "def __getattr__(self, name):\n    if not name.startswith('made'):\n        raise AttributeError(name)\n    self.__dict__[name] = [name]\n"
        "    return self.__dict__[name]",
        "",
        (Use("get", "made1"), Use("get", "made2"), Use("set", "made2", (VALUES,)), Use("get", "absent")),
    ),
    "a partial": Shape(
        "def _move(self, to, by=1):\n    self.moved = [to, by]\n    return by",
        "self.moved = []\nself.counting = Counting()\nself.go = partial(self._move, 'x')\nself.stop = partial(Counting.hit, self.counting)",
        (Use("call", "go", (NUMBERS,)), *_calls("go", "stop"), Use("get", "moved")),
    ),
    "a method of a part": Shape(
        "",
        "self.counter = Counting()\nself.hit = self.counter.hit",
        (*_calls("hit"), Use("get", "counter")),
    ),
    "a hidden method": Shape(
        "def size(self):\n    return 1\ndef hide(self):\n    self.size = partial(self.other, 2)\ndef other(self, n):\n    self.size_ = n\n    return n",
        "self.size_ = 0",
        (*_calls("size", "hide"), Use("del", "size"), Use("get", "size_")),
    ),
    "a function for a method": Shape(
        "def sized(self, x):\n    return 1",
        "self.sized = len",
        (Use("call", "sized", (st.lists(SCALARS, max_size=3),)),),
    ),
    "generators": Shape(
        "def each(self, n):\n    for i in range(n):\n        self.passed += 1\n        yield [i, self.passed]\n@readonly\ndef look(self):\n    yield self.passed",
        "self.passed = 0",
        (Use("call", "each", (st.integers(0, 3),)), *_calls("look")),
    ),
    "exceptions": Shape(
        "def fail(self, n):\n    self.failed += 1\n    raise Refusal(n, self.failed)\n@abort_exception\ndef refuse(self, n):\n    if n > 2:\n        raise Refusal(n)\n"
        "    self.failed = n\n    return n",
        "self.failed = 0",
        (Use("call", "fail", (NUMBERS,)), Use("call", "refuse", (NUMBERS,)), Use("call", "refuse")),
    ),
    "operators": Shape(
        "def __add__(self, n):\n    return self.value + n\n__radd__ = __add__\ndef __iadd__(self, n):\n    self.value += n\n    return self\n"
        "def __lt__(self, n):\n    return self.value < n\ndef __neg__(self):\n    return -self.value\ndef __int__(self):\n    return self.value\n"
        "def __call__(self, n):\n    self.value = n\n    return self",
        "self.value = 0",
        (
            Use("special", "__add__", (NUMBERS,)),
            Use("special", "__iadd__", (NUMBERS,)),
            Use("special", "__lt__", (NUMBERS,)),
            Use("special", "__neg__"),
            Use("special", "__int__"),
            Use("special", "__call__", (NUMBERS,)),
        ),
        "object",
    ),
    "parts": Shape(
        "def page(self, name):\n    self.pages[name] = Page(name)\n    return self.pages[name]\ndef rename(self, name, other):\n    self.pages[name].rename(other)\n"
        "def link(self, name, other):\n    self.pages[name].links.append(self.pages[other])\n    return self.pages[name].links\n"
        "def keep(self, page):\n    self.pages[page.name] = page\n    return page is self.pages[page.name]",
        "self.pages = {}",
        (
            Use("call", "page", (KEYS,)),
            Use("call", "rename", (KEYS, SCALARS)),
            Use("call", "link", (KEYS, KEYS)),
            Use("get", "pages"),
        ),
    ),
    "a dataclass for a part": Shape(
        "def write(self, text):\n    self.line.text += text\n    self.line.marks.append(len(self.line.text))\n    return self.line.text",
        "self.line = Line()",
        (Use("call", "write", (st.sampled_from(["", "x"]),)), Use("get", "line")),
    ),
    "a defaultdict for a part": Shape(
        "def note(self, k, v):\n    self.notes[k].append(v)\ndef look_up(self, k):\n    return self.notes[k]",
        "self.notes = defaultdict(list)",
        (Use("call", "note", (KEYS, SCALARS)), Use("call", "look_up", (KEYS,)), Use("get", "notes")),
    ),
    "itself": Shape(
        "def me(self):\n    return self\ndef chain(self, n):\n    self.chained = n\n    return self.me()\n@readonly\ndef myself(self):\n    return self",
        "self.chained = None",
        (*_calls("me", "myself"), Use("call", "chain", (VALUES,))),
    ),
    "statics": Shape(
        "LIMIT = 3\n@staticmethod\ndef double(n):\n    return 2 * n\n@classmethod\ndef limit(cls):\n    return cls.LIMIT\n"
        "def over(self, n):\n    return n > self.LIMIT",
        "",
        (Use("call", "double", (NUMBERS,)), *_calls("limit"), Use("call", "over", (NUMBERS,)), Use("get", "LIMIT")),
    ),
    "a partialmethod": Shape(
        "def scale(self, n, by):\n    self.scaled = [n, by]\n    return self.scaled\ntwice_ = partialmethod(scale, by=2)",
        "self.scaled = None",
        (Use("call", "scale", (NUMBERS, NUMBERS)), Use("call", "twice_", (NUMBERS,))),
    ),
    "attributes": Shape(
        "",
        "self.free = None",
        (
            Use("set", "free", (VALUES,)),
            Use("get", "free"),
            Use("del", "free"),
            Use("set", "more_", (VALUES,)),
            Use("get", "more_"),
        ),
    ),
    "iterators for arguments": Shape(
        "def take(self, each):\n    self.taken = list(each)\n    return len(self.taken)",
        "self.taken = []",
        (Use("call", "take", (st.lists(SCALARS, max_size=3).map(lambda each: _Stream(each)),)),),
    ),
    "a transaction": Shape(
        "@transactional\ndef pay(self, n):\n    self.paid.append(n)\n    if n > 4:\n        raise Refusal(n)\n    return self.paid",
        "self.paid = []",
        (Use("call", "pay", (st.integers(0, 4),)),),
    ),
    "a deque": Shape(
        "def push(self, x):\n    self.queue.append(x)\n    return list(self.queue)\n@action\ndef peek(self):\n    self.queue.rotate(1)\n    return self.queue[0] if self.queue else None",
        "self.queue = deque(maxlen=3)",
        (Use("call", "push", (SCALARS,)), *_calls("peek"), Use("get", "queue")),
    ),
    "an action inside of an action": Shape(
        "def outer(self, n):\n    return [self.inner(n), self.inner(n + 1)]\ndef inner(self, n):\n    self.inners.append(n)\n    return n\n"
        "@outside\ndef both(self, n):\n    return [self.inner(n), self.inner(n)]",
        "self.inners = []",
        (Use("call", "outer", (NUMBERS,)), Use("call", "inner", (NUMBERS,))),
    ),
    "its own __setattr__": Shape(
        "def __setattr__(self, name, value):\n    super().__setattr__(name, value)\n    super().__setattr__('last', name)",
        "self.first = 1",
        (Use("set", "first", (VALUES,)), Use("get", "last"), Use("set", "second", (VALUES,))),
    ),
    "equality": Shape(
        "def __eq__(self, other):\n    return isinstance(other, int) and other == self.number\n__hash__ = None\ndef number_(self, n):\n    self.number = n",
        "self.number = 0",
        (Use("special", "__eq__", (NUMBERS,)), Use("call", "number_", (NUMBERS,))),
        "object",
    ),
}
_MAPPINGS = frozenset({"dict", "UserDict", "OrderedDict", "MutableMapping", "defaultdict"})
_MAPPING = (
    "def __getitem__(self, k):\n    return self.data_[k]\ndef __setitem__(self, k, v):\n    self.data_[k] = v\n"
    "def __delitem__(self, k):\n    del self.data_[k]\ndef __iter__(self):\n    return iter(self.data_)\ndef __len__(self):\n    return len(self.data_)"
)


class _Stream:
    """What becomes an iterator of its own for each that is given it."""

    def __init__(self, values: list[Any]) -> None:
        self.values = values

    def __deepcopy__(self, memo: Any) -> Iterator[Any]:
        return iter(list(self.values))

    def __repr__(self) -> str:
        return f"iter({self.values!r})"


def shapes_for(base: str) -> list[str]:
    """The shapes that a class with this base can have."""
    fits = {"": True, "mapping": base in _MAPPINGS}
    return [name for name, shape in SHAPES.items() if fits.get(shape.needs, shape.needs == base)]


_made = 0


def made(base: str, names: list[str]) -> tuple[type, str]:
    """A class of a base and of shapes, in a module of its own, and its source."""
    global _made
    _made += 1
    # A defaultdict is made again with its factory.
    lines = [f"class Grown{BASES[base]}:", f"    def __init__(self{', factory=list' if base == 'defaultdict' else ''}):"]
    inits = ["super().__init__(factory)" if base == "defaultdict" else "super().__init__()"]
    inits += ["self.data_ = {}"] if base == "MutableMapping" else []
    bodies = [_MAPPING] if base == "MutableMapping" else []
    for name in names:
        inits += SHAPES[name].init.splitlines()
        bodies.append(SHAPES[name].body)
    lines += [f"        {line}" for line in inits]
    lines += [f"    {line}" for body in bodies for line in body.splitlines()]
    source = HEAD + "\n" + "\n".join(lines) + "\n"
    module = types.ModuleType(f"grown_{_made}")
    file = f"/grown/{module.__name__}.py"
    module.__file__ = file
    sys.modules[module.__name__] = module
    # Without a time it is not looked for on the disk.
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    exec(compile(source, file, "exec"), vars(module))
    return module.Grown, source


def forget(cls: type) -> None:
    """The class is used no more."""
    linecache.cache.pop(f"/grown/{cls.__module__}.py", None)
    sys.modules.pop(cls.__module__, None)


_SPECIAL: dict[str, Callable[..., Any]] = {
    "__len__": len,
    "__bool__": bool,
    "__iter__": iter,
    "__int__": int,
    "__call__": lambda each, *given: each(*given),
    "__eq__": operator.eq,
    "__lt__": operator.lt,
    **{
        name: vars(operator)[name]
        for name in "__getitem__ __setitem__ __delitem__ __contains__ __add__ __iadd__ __neg__".split()
    },
}


def does(subject: Any, use: Use, given: tuple[Any, ...]) -> Any:
    """What a use of an object comes to."""
    if use.how == "call":
        return getattr(subject, use.name)(*given)
    if use.how == "get":
        return getattr(subject, use.name)
    if use.how == "set":
        return setattr(subject, use.name, *given)
    if use.how == "del":
        return delattr(subject, use.name)
    return _SPECIAL[use.name](subject, *given)


async def awaited(subject: Any, cls: type, use: Use, given: tuple[Any, ...]) -> Any:
    """As `does`, of a system that is used from a loop."""
    if use.how == "call":
        found = getattr(subject, use.name)(*given)
        return await found if asyncio.iscoroutine(found) else found
    if use.how == "get":
        return await getattr(subject, use.name)
    if use.how == "set":
        return await coopy.aio.call(subject, cls.__setattr__, use.name, *given)
    if use.how == "del":
        return await coopy.aio.call(subject, cls.__delattr__, use.name)
    if use.name == "__bool__" and not hasattr(cls, "__bool__"):
        return bool(await coopy.aio.call(subject, cls.__len__))
    return await coopy.aio.call(subject, getattr(cls, use.name), *given)


def told(value: Any, subject: Any, depth: int = 6) -> Any:
    """A value such that two of them are equal if callers could not tell one from the other."""
    if value is subject:
        return "itself"
    kind = type(value)
    if depth and kind in (list, tuple):
        return kind.__name__, [told(each, subject, depth - 1) for each in value]
    if isinstance(value, dict) and depth:
        return kind.__name__, [(told(key, subject, 1), told(each, subject, depth - 1)) for key, each in value.items()]
    if kind in (set, frozenset):
        return kind.__name__, sorted(map(repr, value))
    if isinstance(value, BaseException):
        return kind.__name__, told(value.args, subject)
    if isinstance(value, Iterator) or kind.__name__ in (
        "dict_values",
        "dict_items",
        "dict_keys",
        "ItemsView",
        "ValuesView",
        "KeysView",
        "deque",
    ):
        return "each", [told(each, subject, depth - 1) for each in value]
    if hasattr(value, "__dict__") and not callable(value) and depth:
        return kind.__name__, [(name, told(each, subject, depth - 1)) for name, each in sorted(vars(value).items())]
    return kind.__name__, "called" if callable(value) else repr(value)


class Shapes(RuleBasedStateMachine):
    """One class, in four ways."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=_PLACES if _PLACES.is_dir() else None))
        self.loop = asyncio.new_event_loop()
        self.cls: type | None = None
        self.source = ""

    @initialize(data=st.data())
    def opens(self, data: Any) -> None:
        base = data.draw(st.sampled_from(sorted(BASES)), "base")
        names = data.draw(st.lists(st.sampled_from(shapes_for(base)), min_size=1, max_size=SHAPES_MAX, unique=True), "shapes")
        self.base, self.names = base, names
        self.cls, self.source = made(base, names)
        self.uses = [use for name in names for use in SHAPES[name].uses]
        options: dict[str, Any] = {"deterministic": None}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.plain = self.cls()
            self.live = memory_system(self.cls, **options)
            self.reopened = init_system(self.cls, self.folder / "r", durability="buffered", validation="off")
            self.later = self.loop.run_until_complete(self._open_later())

    async def _open_later(self) -> Any:
        return await coopy.aio.open(self.cls, self.folder / "a", durability="buffered", validation="off")

    def domain_of(self, system: Any) -> Any:
        return control(system)._system.engine.machine.domain

    @rule(data=st.data())
    def uses_it(self, data: Any) -> None:
        use = data.draw(st.sampled_from(self.uses), "use")
        given = tuple(data.draw(each, "given") for each in use.given)
        answers = {
            "plain": self._answer(self.plain, lambda args: does(self.plain, use, args), given),
            "live": self._answer(self.live, lambda args: does(self.live, use, args), given),
            "reopened": self._answer(self.reopened, lambda args: does(self.reopened, use, args), given),
            "asyncio": self._answer(
                self.later, lambda args: self.loop.run_until_complete(awaited(self.later, self.cls, use, args)), given
            ),
        }
        for how, answer in answers.items():
            assert answer == answers["plain"], f"{how}: {use} {given}: {answer} and plain {answers['plain']}\n{self._class()}"
        self._agrees(f"after {use.how} {use.name} {given}")

    def _answer(self, subject: Any, ask: Callable[[tuple[Any, ...]], Any], given: tuple[Any, ...]) -> Any:
        try:
            return told(ask(copy.deepcopy(given)), subject)
        except Exception as error:  # What the class raises is an answer.
            return (
                "raises",
                type(error).__name__,
                "" if isinstance(error, (AttributeError, TypeError)) else told(error.args, subject),
            )

    def _states(self) -> dict[str, Any]:
        return {
            "plain": self.plain,
            "live": self.domain_of(self.live),
            "reopened": self.domain_of(self.reopened),
            "asyncio": self.domain_of(coopy.aio.system_of(self.later)),
        }

    def _agrees(self, when: str) -> None:
        states = self._states()
        digests = {how: digest(state) for how, state in states.items()}
        for how, found in digests.items():
            assert found == digests["plain"], (
                f"{how} {when}: {_shown(states[how])} and plain {_shown(self.plain)}\n{self._class()}"
            )

    @rule(with_snapshot=st.booleans())
    def opens_again(self, with_snapshot: bool) -> None:
        if with_snapshot:
            control(self.reopened).take_snapshot()
        control(self.reopened).close()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.reopened = init_system(self.cls, self.folder / "r", durability="buffered", validation="off")
        self._agrees("after it was opened again")

    def _class(self) -> str:
        return f"base {self.base}, shapes {self.names}\n{self.source.partition('class Grown')[2]}"

    def teardown(self) -> None:
        try:
            if hasattr(self, "later"):
                past = control(self.live).replay()
                assert digest(past) == digest(self.plain), (
                    f"a replay: {_shown(past)} and plain {_shown(self.plain)}\n{self._class()}"
                )
        finally:
            self._ends()

    def _ends(self) -> None:
        if hasattr(self, "later"):
            self.loop.run_until_complete(_closed(self.later))
            control(self.live).close()
            control(self.reopened).close()
        if self.cls is not None:
            forget(self.cls)
        self.loop.close()
        shutil.rmtree(self.folder, ignore_errors=True)


async def _closed(system: Any) -> None:
    controls = control(coopy.aio.system_of(system))
    await asyncio.get_running_loop().run_in_executor(None, controls.close)


def _shown(state: Any) -> str:
    return f"{getattr(state, '__dict__', '')} {repr(state) if isinstance(state, (dict, list)) else ''}"


def run(number: int, runs: int, steps: int = STEPS, shrinks: bool = True) -> None:
    """Makes so many runs from a seed. Raises what the first one that fails raises, made small if ``shrinks``."""
    chosen = settings(
        phases=(Phase.generate, *((Phase.shrink,) if shrinks else ())),
        max_examples=runs,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(seed(number)(type("Seeded", (Shapes,), {})), settings=chosen)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    given = parser.parse_args()
    print(f"shapes: {given.runs} runs, --seed {given.seed}", flush=True)
    run(given.seed, given.runs)
    print("shapes: plain, live, reopened and asyncio agree")
    return 0


if __name__ == "__main__":
    sys.exit(main())
