"""The package is tidy: `tidy.py` finds nothing in it."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from architecture import tidy

import coopy

# Of all handlers that catch everything, those that may go on without raising.
SWALLOWING_HANDLERS_MAX = 63


@pytest.mark.parametrize("check", tidy.CHECKS, ids=lambda check: check.__name__)
def test_a_module_is_tidy(check: Callable[[Path], Iterator[str]]) -> None:
    assert [each for path in tidy.modules() for each in check(path)] == []


def test_few_handlers_catch_everything_and_go_on() -> None:
    handlers = [each for path in tidy.modules() for each in tidy.swallowing_handlers(path)]
    assert len(handlers) <= SWALLOWING_HANDLERS_MAX


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
        lines = (inspect.getdoc(getattr(coopy, name)) or "").splitlines()
        for line in lines:
            if line.lstrip().startswith(">>> "):
                ast.parse(line.lstrip()[4:])
