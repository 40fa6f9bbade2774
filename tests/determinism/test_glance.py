"""What a glance settles, reading the source would say nothing of; and most of what is plain is settled."""

from __future__ import annotations

import importlib
import itertools
import linecache
import sys
import textwrap
from pathlib import Path

import pytest
from determinism import domains

from coopy.determinism.check import findings
from coopy.determinism.glance import CHANGERS, MODULES, Glance
from coopy.determinism.instructions import ATTRIBUTE, GLOBAL, METHOD, OTHERWISE, SET_ATTRIBUTE, instructions
from coopy.determinism.reader import CHANGERS as CHANGERS_OF_READER
from coopy.determinism.rules import RULES

_numbers = itertools.count()
_CORPUS = [
    "batteries.mappings",
    "batteries.queues",
    "batteries.sequences",
    "messaging.task_state",
    "messaging.store_state",
    "messaging.bus",
    "sync.elector_system",
]


@pytest.fixture
def written(tmp_path):
    """Makes the classes of a source, in a module of its own."""

    def load(source: str) -> type:
        path = tmp_path / f"glanced{next(_numbers)}.py"
        path.write_text(textwrap.dedent(source))
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None and spec.loader is not None
        module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        loaded.append(path.stem)
        return module.Wiki

    loaded: list[str] = []
    yield load
    for name in loaded:
        del sys.modules[name]


def with_method(method: str, before: str = "", rest: str = "") -> str:
    indented = textwrap.indent(textwrap.dedent(method), "    ")
    return f"{before}\nclass Wiki:\n    def __init__(self):\n        self.pages = {{}}\n        self.order = []\n{rest}\n{indented}\n"


def classes_of(*names: str) -> list[type]:
    modules = [importlib.import_module(name) for name in names]
    return [
        each
        for module in modules
        for each in vars(module).values()
        if isinstance(each, type) and each.__module__ == module.__name__
    ]


@pytest.mark.parametrize(
    "cls", classes_of(domains.__name__, *(f"coopy.{name}" for name in _CORPUS)), ids=lambda cls: cls.__name__
)
def test_what_is_found_is_the_same_with_a_glance_and_without(cls):
    glance, everything = Glance(cls), findings(cls)
    assert findings(cls, glance) == everything
    assert not (glance.is_settled() and everything)


@pytest.mark.parametrize(
    ("method", "before"),
    [
        ("def add(self, name): self.order.append(name)", ""),
        ("def add(self, name, text='', *, tags=(), n=-1.5):\n    self.pages[name] = text", ""),
        ("def count(self): return len(self.order) + sum(1 for each in self.order if each)", ""),
        ("def find(self, word): return sorted(name for name, text in self.pages.items() if word in text)", ""),
        ("def drop(self, name):\n    if name not in self.pages: raise KeyError(name)\n    del self.pages[name]", ""),
        ("def drop(self, name):\n    if name not in self.pages: raise NotThere(name)", "class NotThere(Exception): pass"),
        ("def move(self, x): self.order.append(math.floor(x) + LIMIT)", "import math\nLIMIT = 7"),
        ("def stamp(self, name): self.pages[name] = clock.now(), self._clock.now()", "from coopy import clock"),
        ("def add(self, name): self.pages[name] = Page(name)", "class Page:\n    def __init__(self, name): self.name = name"),
        ("def add(self, name): help_out(self.order, name)", "def help_out(order, name): order.append(name)"),
        ("def is_kind(self, kind): return kind in {'a', 'b'}", ""),
        ("@property\ndef size(self): return len(self.order)", ""),
        ("@staticmethod\ndef shown(name): return name.upper()", ""),
        ("@readonly\ndef shown(self): return len(self.order)", "from coopy import readonly"),
    ],
)
def test_plain_methods_are_settled(written, method, before):
    cls = written(with_method(method, before))
    assert findings(cls) == []
    assert Glance(cls).is_settled()


@pytest.mark.parametrize(
    ("method", "before"),
    [
        ("def all(self): return self.pages", ""),
        ("def all(self):\n    found = self.order\n    return found", ""),
        ("def all(self):\n    me = self\n    return me.order", ""),
        ("def all(self):\n    try: return self.order\n    finally: len('a')", ""),
        ("def add(self, n):\n    self.pages[n] = {}\ndef page(self, n): return self.pages[n]", ""),
        (
            "def add(self, n):\n    self.pages.setdefault(n, [])\ndef page(self, n):\n    page = self.pages[n]\n    return page",
            "",
        ),
        ("def add(self, n): self.pages[n] = []\ndef all(self): return self.pages.values()", ""),
        ("def adder(self): return self.add\ndef add(self, n): self.order.append(n)", ""),
        ("def adder(self): return lambda n: self.order.append(n)", ""),
        ("def adder(self):\n    def add(n): self.order.append(n)\n    return add", ""),
        ("def cursor(self): return Cursor(self)", "class Cursor:\n    def __init__(self, wiki): self.wiki = wiki"),
        ("def add(self, n=random.random()): self.order.append(n)", "import random"),
        ("def add(self, n=int(random.random())): self.order.append(n)", "import random"),
        ("def add(self): self.order.append(ask())", "import random\ndef ask(): return random.random()"),
        (
            "def add(self): self.order.append(Page())",
            "import time\nclass Page:\n    def __init__(self): self.made = time.time()",
        ),
        ("def add(self):\n    import time\n    self.order.append(time.time())", ""),
        ("def add(self): global N; N = 1", "N = 0"),
        ("def add(self): SEEN.append(1)", "SEEN = []"),
        ("def add(self):\n    for tag in {'a', 'b'}: self.order.append(tag)", ""),
        ("def add(self):\n    self.tags = set()\ndef all(self):\n    for tag in self.tags: self.order.append(tag)", ""),
        ("def add(self): self.n += 1\nn = 0\n@classmethod\ndef count(cls): cls.n += 1", ""),
        ("@readonly\ndef look(self): self.order.append(1)", "from coopy import readonly"),
        ("def __len__(self): self.pages['n'] = 1; return 1", ""),
        ("def at(self): return id(self)", ""),
        ("def at(self): now = datetime.now; self.order.append(now())", "from datetime import datetime"),
        ("made = time.time()\ndef at(self): self.order.append(self.made)", "import time"),
    ],
)
def test_what_may_be_told_of_is_not_settled(written, method, before):
    cls = written(with_method(method, before))
    glance, everything = Glance(cls), findings(cls)
    assert everything and findings(cls, glance) == everything
    assert not glance.is_settled()


def test_a_default_of_a_field_is_looked_at(written):
    source = "import dataclasses, time\n@dataclasses.dataclass\nclass Wiki:\n    n: float = {}\n    def add(self): self.n = 1\n"
    assert not Glance(written(source.format("time.time()"))).is_settled()
    assert not Glance(written(source.format("dataclasses.field(default_factory=time.time)"))).is_settled()
    assert Glance(written(source.format("dataclasses.field(default_factory=list)"))).is_settled()


def test_a_class_without_source_is_not_settled(written):
    cls = written(with_method("def add(self, n): self.order.append(n)"))
    path = cls.add.__code__.co_filename
    assert Glance(cls).is_settled()
    Path(path).unlink()
    linecache.checkcache(path)
    assert not Glance(cls).is_settled()
    assert [each.code for each in findings(cls, Glance(cls))] == ["CPY211"]


def test_no_module_of_which_nothing_is_said_has_a_rule():
    assert not {dotted.rpartition(".")[0] for dotted in RULES} & MODULES
    assert CHANGERS_OF_READER <= CHANGERS


def test_instructions_are_told_by_what_they_do():
    def some(self, name, *more, flag=False):
        self.a.b = len(name)
        self.c.d(name)
        import os

        return os

    found = instructions(some.__code__)
    assert found.names[GLOBAL] == {"len"}
    assert found.names[SET_ATTRIBUTE] == {"b"}
    assert {"a", "c"} <= found.names[ATTRIBUTE] and "d" in found.names[METHOD]
    assert found.is_odd and (OTHERWISE, None) in found.steps
