"""The package is tidy: `tidy.py` finds nothing in it."""

from __future__ import annotations

import ast
import doctest
import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from architecture import tidy

import coopy

# What catches everything, of that the `except` clauses, and what may go on without raising. docs/internals/handlers.md has each with its
# reason. Where one of the names fits that the page tells of, none has to be added.
BROAD_HANDLERS_MAX = 72
BROAD_CLAUSES_MAX = 60
SWALLOWING_HANDLERS_MAX = 28


@pytest.fixture(autouse=True, scope="module")
def what_was_parsed_is_let_go() -> Iterator[None]:
    yield
    for kept in (tidy.comments_of, tidy.words_used):
        kept.cache_clear()


@pytest.mark.parametrize("check", tidy.CHECKS, ids=lambda check: check.__name__)
def test_a_module_is_tidy(check: Callable[[Path], Iterator[str]]) -> None:
    assert [each for path in tidy.modules() for each in check(path)] == []


def test_few_handlers_catch_everything_and_fewer_of_them_go_on() -> None:
    broad, swallowing = (
        [each for path in tidy.modules() for each in of(path)] for of in (tidy.broad_handlers, tidy.swallowing_handlers)
    )
    clauses = [each for each in broad if isinstance(each, ast.ExceptHandler)]
    assert len(clauses) <= BROAD_CLAUSES_MAX
    assert len(broad) <= BROAD_HANDLERS_MAX and len(swallowing) <= SWALLOWING_HANDLERS_MAX


def test_the_groups_of_handlers_have_as_many_as_their_page_says() -> None:
    there: Counter[str] = Counter()
    for number, group in tidy.handlers_listed().values():
        there[group] += number
    said = re.findall(r"^\| (\w[\w ]*) \| (\d+) \|", tidy.HANDLERS.read_text(), re.M)
    assert dict(there) == {group: int(number) for group, number in said}


def test_no_row_is_of_a_module_that_is_gone() -> None:
    modules = {path.relative_to(tidy.ROOT).as_posix() for path in tidy.modules()}
    assert {at.partition(" ")[0] for at in tidy.handlers_listed()} <= modules


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("try: f()\nexcept: g()\n", 1),
        ("try: f()\nexcept (OSError, Exception): g()\n", 1),
        ("try: f()\nexcept builtins.BaseException: g()\n", 1),
        ("with suppress(Exception): f()\n", 1),
        ("with contextlib.suppress(OSError, BaseException): f()\n", 1),
        ("with contextlib.suppress(OSError): f()\n", 0),
        ("class C:\n def __exit__(self, kind, error, traceback): return isinstance(error, Exception)\n", 1),
        ("class C:\n def __exit__(self, kind, *_):\n  if kind is not None: self.undo()\n", 1),
        ("class C:\n async def __aexit__(self, kind, error, traceback): self.error = error\n", 1),
        ("class C:\n def __exit__(self, kind, error, traceback):\n  if kind is None: self.save()\n", 0),
        ("class C:\n def __exit__(self, *_): self.close()\n", 0),
        ("try: f()\nfinally: g()\n", 0),
    ],
)
def test_what_catches_everything_is_counted_in_whatever_way_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, number: int
) -> None:
    assert len(list(tidy.broad_handlers(module(tmp_path, monkeypatch, text)))) == number


def test_a_handler_stands_in_the_innermost_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "class C:\n def f(self):\n  def g():\n   try: h()\n   except: raise\n  def i(): pass\n"
    path = module(tmp_path, monkeypatch, text)
    assert [tidy.place_of(path, each) for each in tidy.broad_handlers(path)] == ["looked_at.py C.f.g"]


def test_a_row_without_its_handler_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = module(tmp_path, monkeypatch, "def f():\n    try: g()\n    except: raise\n")
    monkeypatch.setattr(tidy, "handlers_listed", lambda: {"looked_at.py f": (1, "undo"), "looked_at.py gone": (2, "undo")})
    assert list(tidy.handlers_without_a_group(path)) == [
        "looked_at.py gone: 0 handlers catch everything, and handlers.md lists 2"
    ]


def test_every_public_name_says_how_it_is_used_or_where_that_is_told() -> None:
    for name in coopy.__all__:
        thing = getattr(coopy, name)
        if not (inspect.isfunction(thing) or inspect.isclass(thing)):
            continue
        said = inspect.getdoc(thing) or ""
        pages = re.findall(r"docs/[\w/-]+\.md", said)
        assert ">>>" in said or pages, f"coopy.{name} has neither an example nor a link to one"
        assert all((tidy.ROOT / page).is_file() for page in pages), name


def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> Path:
    """Writes a module that is looked at as if it were one of the package."""
    monkeypatch.setattr(tidy, "ROOT", tmp_path)
    path = tmp_path / "looked_at.py"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("check", "text", "said"),
    [
        (tidy.long_functions, "def f():\n" + "    pass\n" * 70, "f has 71 lines"),
        (tidy.long_modules, '"""Does much."""\n' + "\n" * 500, "501 lines"),
        (tidy.handlers_without_a_reason, "try:\n    f()\nexcept Exception:\n    pass\n", "does not say why"),
        (tidy.handlers_without_a_reason, "try:\n    f()\nexcept:\n    g()\n", "does not say why"),
        (tidy.handlers_without_a_reason, "try:\n    f()\nexcept (OSError, BaseException):\n    g()\n", "does not say why"),
        (tidy.handlers_without_a_reason, "with suppress(Exception):\n    g()\n", "does not say why"),
        (tidy.handlers_without_a_group, "def f():\n    try: g()\n    except: raise\n", "f: 1 handlers catch everything, and"),
        (tidy.numbers_without_a_reason, "WAIT_S = 2 * 60.0\n", "WAIT_S has no reason"),
        (tidy.numbers_without_a_reason, "A = 1  # Why it is one.\n\nB: int = -1\n", "B has no reason"),
        (tidy.numbers_without_a_reason, "A = 1  # seconds\n", "A has no reason"),
        (tidy.unused_names, "def nobody_calls_this_" + "function(): pass\n", "is not used"),
        (tidy.unused_names, "class Exception_:\n    def nobody_calls_this_" + "method(self): pass\n", "is not used"),
        (tidy.unused_names, "nobody_reads_" + "this: int = 4\n", "is not used"),
    ],
)
def test_what_is_untidy_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check: Callable[[Path], Iterator[str]], text: str, said: str
) -> None:
    assert any(said in each for each in check(module(tmp_path, monkeypatch, text)))


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (tidy.long_modules, '"""Does one thing.\nIt has more than 500 lines because it is a table.\n"""\n' + "\n" * 500),
        (tidy.handlers_without_a_reason, "try:\n    f()\nexcept BaseException:\n    undo()\n    raise\n"),
        (
            tidy.handlers_without_a_reason,
            "try:\n    f()\nexcept Exception:  # Methods of the domain raise anything.\n    pass\n",
        ),
        (tidy.numbers_without_a_reason, '# A page of memory.\nSIZE = 4096\nHALF = 2048\nLAST = 5\n"""The last of all."""\n'),
    ],
)
def test_what_is_tidy_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check: Callable[[Path], Iterator[str]], text: str
) -> None:
    assert list(check(module(tmp_path, monkeypatch, text))) == []


def test_an_example_is_code_that_parses() -> None:
    for name in coopy.__all__:
        for example in doctest.DocTestParser().get_examples(inspect.getdoc(getattr(coopy, name)) or ""):
            ast.parse(example.source)
