"""`coopy check` and `coopy stub`, called as `coopy` calls them."""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("click", reason="the extra [cli] is not installed")

SHOP = """\
import random
import time

LUCK = random.Random(7)


class Shop:
    def __init__(self):
        self.goods = set()
        self.sold = []

    def sell(self, name: str, at=None) -> list[str]:
        self.sold.append((name, time.time()))
        return list(self.goods)


class Lottery:
    def draw(self, at=time.time()):
        return LUCK.choice("abc"), random.random()


class Calm:
    def sell(self, name):
        self.sold = self._clock.now(), name


class Untidy:
    def list(self, path):
        return open(path)

    def rest(self):
        pass  # coopy: ignore[CPY101]


class Silent:
    def list(self, path):
        return open(path)  # coopy: ignore[CPY201] read once, by hand
"""
MODULE = "shop_of_the_check"

Run = tuple[int, str, str]
Coopy = Callable[..., Run]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory, with the module of the classes in it."""
    (tmp_path / f"{MODULE}.py").write_text(SHOP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop(MODULE, None)


@pytest.fixture
def coopy(here: Path, capsys: pytest.CaptureFixture[str]) -> Coopy:
    def run(*arguments: str) -> Run:
        from coopy.cli.app import app

        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            app([each.replace("shop:", f"{MODULE}:") for each in arguments], prog_name="coopy")
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


def codes(out: str) -> list[str]:
    """The codes of the lines that are findings."""
    return [line.split()[1] for line in out.splitlines() if line.startswith(f"{MODULE}.py:")]


# -- check


def test_findings_are_lines_as_linters_write_them_and_then_counted(coopy: Coopy) -> None:
    assert coopy("check", "shop:Shop") == (
        1,
        f"{MODULE}.py:13:33: CPY101 Shop.sell calls time.time(); use self._clock.time()\n"
        f"{MODULE}.py:14:21: CPY206 Shop.sell iterates over self.goods, a set; use sorted(self.goods)\n"
        "1 error, 1 warning\n",
        "",
    )


def test_a_class_in_which_nothing_is_found_is_told_so(coopy: Coopy) -> None:
    assert coopy("check", "shop:Calm") == (0, "nothing found\n", "")


@pytest.mark.parametrize(
    ("classes", "options", "code", "found"),
    [
        (("Untidy",), (), 0, ["CPY201", "CPY302"]),
        (("Untidy",), ("--strict",), 1, ["CPY201", "CPY302"]),
        (("Silent",), ("--strict",), 0, []),
        (("Calm",), ("--strict",), 0, []),
        (("Lottery",), (), 1, ["CPY104", "CPY105", "CPY102"]),
        (("Lottery",), ("--deterministic",), 1, ["CPY104", "CPY105"]),
        (("Shop",), ("--deterministic",), 0, ["CPY206"]),
        (("Shop",), ("--deterministic", "--strict"), 1, ["CPY206"]),
        (("Untidy", "Calm", "Shop"), (), 1, ["CPY101", "CPY206", "CPY201", "CPY302"]),
        (("Shop", "Shop"), (), 1, ["CPY101", "CPY206"]),
    ],
)
def test_errors_make_the_exit_code_and_with_strict_warnings_do(
    coopy: Coopy, classes: tuple[str, ...], options: tuple[str, ...], code: int, found: list[str]
) -> None:
    specs = [f"shop:{name}" for name in classes]
    ended, out, err = coopy("check", *specs, *options)
    assert (ended, codes(out), err) == (code, found, "")
    ended, out, err = coopy("check", *specs, *options, "--json")
    assert (ended, [each["code"] for each in json.loads(out)], err) == (code, found, "")


def test_json_has_each_fact_of_a_finding(coopy: Coopy) -> None:
    _, out, _ = coopy("check", "shop:Shop", "--json")
    assert json.loads(out)[1] == {
        "path": f"{MODULE}.py",
        "line": 14,
        "column": 21,
        "code": "CPY206",
        "severity": "warning",
        "message": "Shop.sell iterates over self.goods, a set",
        "replacement": "sorted(self.goods)",
    }


def test_a_file_that_is_elsewhere_has_its_whole_path(coopy: Coopy, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside = here.parent / f"{here.name}-beside"
    beside.mkdir()
    (here / f"{MODULE}.py").rename(beside / f"{MODULE}.py")
    monkeypatch.syspath_prepend(beside)
    _, out, _ = coopy("check", "shop:Shop")
    assert out.startswith(f"{beside / MODULE}.py:13:33: CPY101 ")


def test_the_module_of_the_current_directory_comes_first(coopy: Coopy, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside = here / "beside"
    beside.mkdir()
    (beside / f"{MODULE}.py").write_text("class Shop: pass\n")
    monkeypatch.syspath_prepend(beside)
    assert coopy("check", "shop:Shop")[0] == 1


@pytest.mark.parametrize(("terminal", "coloured"), [(True, True), (False, False)])
def test_colours_are_for_a_terminal_only(coopy: Coopy, monkeypatch: pytest.MonkeyPatch, terminal: bool, coloured: bool) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    for name, shown in (
        ("Shop", ["\x1b[31mCPY101\x1b[0m", "\x1b[33mCPY206\x1b[0m"]),
        ("Calm", ["\x1b[32mnothing found\x1b[0m"]),
    ):
        _, out, _ = coopy("check", f"shop:{name}")
        assert ("\x1b" in out) == coloured
        assert all((each in out) == coloured for each in shown)


@pytest.mark.parametrize("command", ["check", "stub"])
@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("shop:Nothing", "has no class of the name Nothing"),
        ("shop:LUCK", "not a class"),
        ("shop_of_nobody_at_all:Shop", "cannot be imported"),
        ("shop", "module:Class"),
    ],
)
def test_a_class_that_cannot_be_had_is_wrong_use(coopy: Coopy, command: str, spec: str, says: str) -> None:
    code, out, err = coopy(command, spec)
    assert (code, out) == (2, "")
    assert err.startswith("coopy: ")
    assert says in err


def test_one_class_of_several_that_cannot_be_had_is_wrong_use_and_nothing_is_checked(coopy: Coopy) -> None:
    code, out, err = coopy("check", "shop:Shop", "shop:Nothing")
    assert (code, out) == (2, "")
    assert "Nothing" in err


@pytest.mark.parametrize("command", ["check", "stub"])
def test_no_class_is_wrong_use(coopy: Coopy, command: str) -> None:
    code, out, err = coopy(command)
    assert (code, out) == (2, "")
    assert "MODULE:CLASS" in err


@pytest.mark.parametrize(("command", "options"), [("check", ["--strict", "--deterministic", "--json"]), ("stub", ["--name"])])
def test_the_help_shows_examples_and_every_option(coopy: Coopy, command: str, options: list[str]) -> None:
    code, out, _ = coopy(command, "--help")
    assert code == 0
    assert f"\n    coopy {command} wiki:Wiki" in out
    assert all(f"  {option} " in out for option in options)


# -- stub


def names(source: str) -> dict[str, Any]:
    """The classes of a source, with the names of their methods."""
    classes = [each for each in ast.parse(source).body if isinstance(each, ast.ClassDef)]
    return {each.name: [item.name for item in each.body if isinstance(item, ast.AsyncFunctionDef)] for each in classes}


@pytest.mark.parametrize(("options", "name"), [((), "AsyncShop"), (("--name", "Kiosk"), "Kiosk")])
def test_a_stub_is_the_source_of_a_protocol_and_nothing_else(coopy: Coopy, options: tuple[str, ...], name: str) -> None:
    from coopy.tools.protocols import protocol_of

    code, out, err = coopy("stub", "shop:Shop", *options)
    assert (code, err) == (0, "")
    assert out == protocol_of(sys.modules[MODULE].Shop, name)
    assert names(out)[name][0] == "sell"
    assert "async def sell(self, name: str, at: Any = ...) -> list[str]: ..." in out


@pytest.mark.parametrize("name", ["1st", "a b", "", "class", "x.y"])
def test_what_no_class_can_be_called_is_wrong_use(coopy: Coopy, name: str) -> None:
    code, out, err = coopy("stub", "shop:Shop", "--name", name)
    assert (code, out) == (2, "")
    assert f"--name {name!r}" in err
