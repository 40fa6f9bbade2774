"""Decimals are calculated alike live and at replay, whatever the context of the thread is that calls, or starts."""

from __future__ import annotations

import contextlib
import copy
import decimal
import importlib
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import coopy
from coopy import abort_exception, control, init_system, readonly, transactional
from coopy.ground import decimals

THIRD = Decimal("0.3333333333333333333333333333")


class Books:
    def __init__(self) -> None:
        self.shares: list[Any] = [Decimal(1) / 3]
        self.context: Any = None

    def share(self, total: Any, people: int) -> Any:
        self.shares.append(Decimal(total) / people)
        return self.shares[-1]

    def share_shortly(self, digits: int) -> None:
        decimal.getcontext().prec = digits
        self.shares.append(Decimal(1) / 3)

    def share_within(self, digits: int) -> None:
        with decimal.localcontext() as context:
            context.prec = digits
            self.shares.append(Decimal(1) / 3)
        self.shares.append(Decimal(1) / 3)

    def round_down(self) -> None:
        decimal.getcontext().rounding = decimal.ROUND_DOWN
        self.shares.append(Decimal("2.5").quantize(Decimal(1)))

    def round_half(self) -> None:
        self.shares.append(Decimal("2.5").quantize(Decimal(1)))

    def trap(self) -> None:
        decimal.getcontext().traps[decimal.DivisionByZero] = False
        self.shares.append(Decimal(1) / 0)

    def divide(self) -> None:
        self.shares.append(Decimal(1) / 0)

    def replace(self) -> None:
        decimal.setcontext(decimal.Context(prec=3))
        self.shares.append(Decimal(1) / 3)

    def flags(self) -> None:
        self.shares.append(bool(decimal.getcontext().flags[decimal.Inexact]))
        self.shares.append(Decimal(1) / 3)

    def keep_context(self) -> None:
        self.context = decimal.getcontext()

    @abort_exception
    def fail(self) -> None:
        decimal.getcontext().prec = 2
        raise LookupError

    @transactional
    def fail_whole(self) -> None:
        raise LookupError

    def each(self) -> Iterator[Any]:
        for _ in range(2):
            yield Decimal(1) / 3

    @readonly
    def third(self) -> Any:
        return Decimal(1) / 3


@pytest.fixture(params=[{"prec": 6}, {"rounding": decimal.ROUND_UP, "prec": 30}, {"prec": 28}])
def around(request: pytest.FixtureRequest) -> Iterator[decimal.Context]:
    """The context of the thread of the test."""
    before = decimal.getcontext()
    mine = decimal.Context(**request.param)
    decimal.setcontext(mine)
    yield mine
    decimal.setcontext(before)


@pytest.fixture
def books(tmp_path: Path, around: decimal.Context) -> Iterator[Any]:
    with init_system(Books, tmp_path / "books", validation="off") as system:
        yield system


def in_a_thread(function: Any, *args: Any) -> None:
    thread = threading.Thread(target=function, args=args)
    thread.start()
    thread.join()


def test_an_action_is_calculated_alike_in_every_thread(books: Any) -> None:
    assert books.share("1", 3) == THIRD
    in_a_thread(books.share, "1", 3)
    assert books.shares == [THIRD] * 3


CALLS = [
    ("share", "100", 7),
    ("share_shortly", 4),
    ("share", "1", 3),
    ("share_within", 5),
    ("round_half",),
    ("round_down",),
    ("round_half",),
    ("flags",),
    ("flags",),
    ("trap",),
    ("divide",),
    ("replace",),
    ("share", "1", 3),
    ("fail",),
    ("share", "1", 3),
    ("fail_whole",),
    ("each",),
    ("keep_context",),
    ("share", "1", 3),
]


def test_replay_calculates_what_was_calculated_live(books: Any, around: decimal.Context) -> None:
    for name, *args in CALLS:
        with contextlib.suppress(ArithmeticError, LookupError):
            getattr(books, name)(*args)
        assert decimal.getcontext() is around, name
    live = list(books.shares)
    assert control(books).replay().shares == live
    assert decimal.getcontext() is around
    decimal.setcontext(decimal.Context(prec=9))
    assert coopy.replay(Books, control(books).basedir).shares == live
    directory = control(books).basedir
    control(books).close()
    with init_system(Books, directory, validation="off") as again:
        assert again.shares == live


def test_what_an_action_sets_ends_with_it(books: Any) -> None:
    books.share_shortly(4)
    books.share("1", 3)
    books.trap()
    with pytest.raises(decimal.DivisionByZero):
        books.divide()
    books.replace()
    books.share("1", 3)
    assert [len(str(each)) for each in books.shares] == [30, 6, 30, 8, 5, 30]


def test_reads_and_what_is_around_keep_the_context_of_the_thread(books: Any, around: decimal.Context) -> None:
    assert books.third() == Decimal(1) / 3
    with pytest.raises(LookupError):
        books.fail()
    assert decimal.getcontext() is around
    assert around.prec in (6, 30, 28)


def test_a_context_that_is_kept_is_a_plain_one_afterwards(books: Any) -> None:
    books.keep_context()
    for found in (pickle.loads(pickle.dumps(books.context)), copy.copy(books.context), control(books).replay().context):
        assert found.prec == 28
    assert type(pickle.loads(pickle.dumps(books.context))) is decimal.Context


PLAIN = """
class Plain:
    def __init__(self): self.found = []
    def divide(self, one, other): self.found.append(one / other)
    def put_all(self, values): self.found.append(sum(values) / 3)
    def third(self): self.found.append(self.found[0] / 3)
"""
PROGRAM = """
import decimal, sys, threading
from coopy import control, init_system
from coopy.ground import decimals
from plain import Plain
decimal.getcontext().prec = int(sys.argv[3])
with init_system(Plain, "data", validation="off") as plain:
    if not plain.found:
        assert not decimals.used.here
        plain.put_all([decimal.Decimal(1)])
        thread = threading.Thread(target=plain.divide, args=(decimal.Decimal(1), 3))
        thread.start(); thread.join()
        if sys.argv[1] == "snapshot": control(plain).take_snapshot()
    plain.third()
    assert decimal.getcontext().prec == int(sys.argv[3])
    print(*plain.found)
"""


@pytest.mark.parametrize("way", ["snapshot", "journal"])
def test_a_domain_that_does_not_name_decimal_is_given_decimals(tmp_path: Path, way: str) -> None:
    (tmp_path / "plain.py").write_text(PLAIN)
    (tmp_path / "program.py").write_text(PROGRAM)
    said = ""
    for digits in ("6", "4"):
        ran = subprocess.run(
            [sys.executable, "program.py", way, "data", digits],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        said = ran.stdout
    ninth = "0.1111111111111111111111111111"
    assert said.split() == [str(THIRD), str(THIRD), ninth, ninth]


# -- who may use decimals

MODULES = {
    "names it": "from decimal import Decimal\nclass Wiki:\n    def put(self): pass\n",
    "names the module": "import decimal as d\nclass Wiki:\n    def put(self): pass\n",
    "imports it in a method": "class Wiki:\n    def put(self):\n        import decimal\n",
    "imports it in a function in a helper": "def help():\n    return [(lambda: __import__ and decimal.x)]\nclass Wiki:\n    def put(self): help()\n",
    "has a helper that names it": "import acme_money\nclass Wiki:\n    def put(self): pass\n",
    "has a class of one that names it": "from acme_money import Money\nclass Wiki:\n    def put(self): pass\n",
    "inherits from one that names it": "import acme_money\nBase = acme_money.Money\ndel acme_money\nclass Wiki(Base):\n    pass\n",
}
OTHERS = {
    "does not name it": "class Wiki:\n    def put(self): pass\n",
    "names what names it in the standard library": "import statistics, fractions\nclass Wiki:\n    def put(self): pass\n",
    "names coopy": "import coopy, coopy.ground.decimals\nclass Wiki:\n    def put(self): pass\n",
}


@pytest.mark.parametrize(
    "source, uses", [*((each, True) for each in MODULES.values()), *((each, False) for each in OTHERS.values())]
)
def test_a_class_uses_decimals_if_its_modules_name_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, uses: bool
) -> None:
    (tmp_path / "acme_money.py").write_text("import decimal\nclass Money: pass\n")
    (tmp_path / "acme_wiki.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    wiki = importlib.import_module("acme_wiki")
    try:
        monkeypatch.setattr(decimals.used, "here", False)
        decimals.look_at(wiki.Wiki)
        assert decimals.used.here is uses
    finally:
        for name in ("acme_wiki", "acme_money"):
            sys.modules.pop(name, None)


def test_looking_for_decimals_asks_no_object_for_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Shy:
        def __getattribute__(self, name: str) -> Any:
            raise AssertionError(name)

    closed: Any = init_system(Books, tmp_path / "books", validation="off")
    control(closed).close()
    module = type(sys)("acme_shy")
    vars(module).update(shy=Shy(), closed=closed)
    monkeypatch.setitem(sys.modules, "acme_shy", module)
    monkeypatch.setattr(decimals.used, "here", False)
    decimals.look_at(type("Wiki", (), {"__module__": "acme_shy", "shy": Shy()}))
