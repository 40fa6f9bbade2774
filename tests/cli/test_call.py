"""`coopy call` and `coopy ps`, and the other commands, beside a directory that is shared, held, or not open."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("click", reason="the extra [cli] is not installed")

from shared.domain import Process, Wiki

import coopy
from coopy import control, init_system
from coopy.errors import UsageError
from coopy.tools.calling import arguments

Run = tuple[int, str, str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Run]]:
    from coopy.cli.app import app

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: object) -> Run:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            app([*map(str, words)], prog_name="coopy")
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    yield run
    coopy.close_all()


@pytest.fixture(params=["closed", "shared here", "shared elsewhere"])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A directory, however it is open."""
    path = tmp_path / "data"
    if request.param == "shared elsewhere":
        with Process(path, durability="buffered"):
            yield "data"
        return
    wiki = init_system(Wiki, path, validation="off", shared=request.param == "shared here", durability="buffered")
    if request.param == "closed":
        control(wiki).close()
    yield "data"


def test_a_call_is_recorded_and_its_result_printed(run: Callable[..., Run], data: str) -> None:
    assert run("call", data, "put", "Home", "Welcome")[:2] == (0, "1\n")
    assert run("call", data, "put", "name=Two", "text=[1, {'a': 2.5}]")[:2] == (0, "2\n")
    assert run("call", data, "page", "Home")[:2] == (0, "'Welcome'\n")
    assert run("call", data, "pages")[:2] == (0, "{'Home': 'Welcome', 'Two': [1, {'a': 2.5}]}\n")
    assert json.loads(run("call", data, "page", "Two", "--json")[1]) == [1, {"a": 2.5}]
    assert run("call", data, "add", "-1")[:2] == (0, "1\n")
    assert run("call", data, "each")[:2] == (0, "[-1]\n")
    assert run("call", data, "__len__")[:2] == (0, "2\n")
    assert run("call", data, "itself")[:2] == (0, "None\n")


def test_what_a_method_raises_is_printed_and_makes_the_exit_code_1(run: Callable[..., Run], data: str) -> None:
    code, out, said = run("call", data, "fail", "x")
    assert (code, out, said.splitlines()[-1]) == (1, "", "KeyError: 'x'")
    assert run("call", data, "count")[:2] == (0, "1\n")
    code, _, said = run("call", data, "put")
    assert code == 1 and said.splitlines()[-1].startswith("TypeError: ")
    code, _, said = run("call", data, "fail", "x", "--json")
    assert (code, json.loads(said.splitlines()[-1])) == (1, {"error": "KeyError", "message": "'x'"})


def test_a_method_that_is_not_there_is_refused_with_those_that_are(run: Callable[..., Run], data: str) -> None:
    for words in (("nothing_of_the_kind",), ("nothing_of_the_kind", "1")):
        code, out, said = run("call", data, *words)
        assert (code, out) == (2, "")
        assert "Wiki has no method of the name nothing_of_the_kind. Nothing was called. It has aborted, add, " in said


def test_what_can_not_be_read_is_refused_and_nothing_is_called(run: Callable[..., Run], data: str) -> None:
    for word in ("[1, 2", "'open", "{1: }", "b'x", "text=[", "--jsn"):
        code, _, said = run("call", data, "put", "Home", word)
        assert code == 2 and "Nothing was called" in said, word
    code, _, said = run("call", data, "put", "name=1", "name=2")
    assert code == 2 and "given twice" in said
    assert run("call", data, "pages")[:2] == (0, "{}\n")


def test_whose_directory_is_opened_is_said_before_it_is_loaded(run: Callable[..., Run], data: str, tmp_path: Path) -> None:
    is_open = run("ps", data)[0] == 0
    said = run("call", data, "count")[2]
    assert said == "" if is_open else said.startswith(f"{tmp_path}/data: ")


def test_words_are_literals_or_the_text_that_they_are() -> None:
    assert arguments(
        ["1", "-2.5", "None", "True", "'a b'", "(1,)", "b'x'", "Home", "two words", "2026-01-31", "a==b", "x/y=1"]
    ) == (
        [1, -2.5, None, True, "a b", (1,), b"x", "Home", "two words", "2026-01-31", "a==b", "x/y=1"],
        {},
    )
    assert arguments(["a=1", "b_2=Home", "c='x=y'", "d="]) == ([], {"a": 1, "b_2": "Home", "c": "x=y", "d": ""})
    with pytest.raises(UsageError):
        arguments(["(" * 10_000])


def test_a_directory_that_another_process_holds_for_itself_is_refused(run: Callable[..., Run], tmp_path: Path) -> None:
    with init_system(Wiki, tmp_path / "data", validation="off"):
        code, _, said = run("call", "data", "add", "1")
        assert code == 1 and "data" in said
        code, out, _ = run("ps", "data", "--json")
        (holder,) = json.loads(out)
        assert code == 0 and (holder["pid"], holder["role"], holder["position"]) == (os.getpid(), "holder", 0)
    assert run("ps", "data")[:2] == (1, "nobody has it open\n")
    assert run("ps", "data", "--json")[:2] == (1, "[]\n")


def test_effects_of_a_call_wait_for_the_program_if_nobody_has_it_open(run: Callable[..., Run], tmp_path: Path) -> None:
    init_system(Wiki, tmp_path / "data", validation="off").close()
    told = tmp_path / "told"
    assert run("call", "data", "ask", repr(str(told)))[0] == 0
    assert not told.exists()
    with init_system(Wiki, tmp_path / "data", validation="off") as wiki:
        assert control(wiki).index >= 1
    assert told.read_text() == f"{os.getpid()}\n"


def test_ps_names_who_writes_and_who_follows(run: Callable[..., Run], tmp_path: Path) -> None:
    with Process(tmp_path / "data", durability="buffered") as writer, Process(tmp_path / "data") as follower:
        assert follower.do("wiki.add(1)") == 1
        code, out, _ = run("ps", "data", "--json")
        found = {each["pid"]: each for each in json.loads(out)}
        assert code == 0 and {pid: each["role"] for pid, each in found.items()} == {
            writer.pid: "writer",
            follower.pid: "follower",
        }
        for each in found.values():
            assert (
                each["position"] in (0, 1)
                and each["bytes"] > 1_000_000
                and each["since"]
                and "shared.domain" in each["command"]
            )
        assert found[writer.pid]["position"] == 1
        code, out, _ = run("ps", "data")
        assert code == 0 and [line.split()[:2] for line in out.splitlines()] == [
            ["PID", "ROLE"],
            [str(writer.pid), "writer"],
            [str(follower.pid), "follower"],
        ]


def test_the_other_commands_look_while_it_is_shared(run: Callable[..., Run], tmp_path: Path) -> None:
    with Process(tmp_path / "data", durability="buffered") as writer:
        writer.do("wiki.put('Home', 'Welcome')")
        writer.do("control(wiki).take_snapshot()")
        for words in (["inspect"], ["log"], ["show"], ["verify"], ["diff", 0, 1], ["backup", "copy"]):
            code, out, said = run(words[0], "data", *words[1:])
            assert code == 0 and out, (words, said)
        assert "put" in run("log", "data")[1] and "Welcome" in run("show", "data")[1]
        assert writer.do("wiki.put('Two', 2)") == 2
        for words in (["snapshot"], ["prune", "--keep", 1]):
            code, _, said = run(words[0], "data", *words[1:])
            assert code == 1 and str(writer.pid) in said, words


def test_a_directory_that_is_no_system_is_refused(run: Callable[..., Run], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for words in (["call", "empty", "x"], ["ps", "empty"], ["ps", "none"], ["call", "none", "x"]):
        assert run(*words)[0] == 2
    assert not any((tmp_path / "empty").iterdir())


def test_the_domain_of_the_call_may_be_named(run: Callable[..., Run], tmp_path: Path, data: str) -> None:
    assert run("call", data, "add", "1", "--class", "shared.domain:Wiki")[:2] == (0, "1\n")
    code, _, said = run("call", data, "add", "1", "--class", "shared.domain:Odd")
    assert code in (1, 2) and said
    code, _, said = run("call", data, "nothing_of_the_kind", "1")
    assert code == 2 and "no method of the name nothing_of_the_kind" in said
    assert run("call", data, "count")[:2] == (0, "1\n")


def test_processes_that_can_not_be_looked_at_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    from coopy.tools import processes

    found: Any = processes._looked_up(2**22 + 1, "writer", 7)
    assert found.as_dict() == {"pid": 2**22 + 1, "role": "writer", "position": 7, "command": None, "since": None, "bytes": None}
