"""Each command given something wrong: it says in a paragraph what, ends with 2 or 1, and changes nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("click", reason="the extra [cli] is not installed")

Coopy = Callable[[str], tuple[int, str, str]]
WRONG = {
    "inspect": ("inspect shops_of_the_tests.py", "is not a directory"),
    "show": ("show data --at yesterday", "--at 'yesterday': must be the index of an action, or a time"),
    "log": ("log data --since 99 --until soon", "--until 'soon': must be the index of an action, or a time"),
    "diff": ("diff data 1 2099-01-01T", "B '2099-01-01T': must be the index"),
    "stats": ("stats data --since x", "--since 'x': must be the index"),
    "blame": ("blame data .nowhere", "there is no .nowhere in the state, which is a Shop"),
    "bisect": ("bisect data state.sold[", "'state.sold[' is no expression of Python"),
    "shell": ("shell data --at x", "--at 'x': must be the index"),
    "keys": ("keys data", "does not hold many objects with keys"),
    "ps": ("ps nowhere", "there is no such directory"),
    "top": ("top data --every 0", "0.0 is not in the range x>=0.1"),
    "web": ("web data --port 70000", "70000 is not in the range 0<=x<=65535"),
    "verify": ("verify data --class shops_of_the_tests:Fewer", "holds a system of Shop, not of Fewer"),
    "check": ("check shops_of_the_tests", "a class is named as module:Class"),
    "rehearse": ("rehearse data shops_of_the_tests:Missing", "has no class of the name Missing"),
    "snapshot": ("snapshot data --class nowhere:Shop", "the module nowhere cannot be imported"),
    "backup": ("backup data data", "is there, and is not an empty directory. Nothing was copied"),
    "restore": ("restore data copy", "--at is missing"),
    "export": ("export data --jsonl a --sqlite b", "one of --sqlite FILE, --jsonl FILE, --parquet FILE"),
    "prune": ("prune data --keep-for month", "--keep-for 'month': must be a number and a unit"),
    "repair": ("repair data --release", "give --key KEY. Nothing was changed"),
    "import": ("import data new -c shops_of_the_tests:Shop", "is not a data directory of coopy 0.4 or 0.7"),
    "call": ("call data steal", "Shop has no method of the name steal. Nothing was called. It has sell."),
    "serve": ("serve shops_of_the_tests:Shop data --listen ftp://here", "'ftp://here': must be unix:PATH or tcp://HOST:PORT"),
    "tasks": ("tasks data burn", "'burn': must be one of counts, list"),
    "stub": ("stub shops_of_the_tests:Shop --name 1st", "--name '1st': must be a name that a class can have"),
    "cluster status": ("cluster status a:-1", "'-1' is not a port"),
    "cluster add": ("cluster add a", "the password of the nodes is needed. Nothing was done"),
    "cluster remove": ("cluster remove :5466", "address ':5466': has no host"),
    "cluster transfer": ("cluster transfer a:b", "'b' is not a port"),
    "cluster step-down": ("cluster step-down --at a:0", "'0' is not a port"),
    "cluster set-version": ("cluster set-version a:5466 new", "'new' is not a valid integer"),
    "cluster init": ("cluster init out --nodes a:b", "'b' is not a port"),
    "elector": ("elector --directory data --node a:1", "--node and --tls are for one of a --cluster"),
}
"""Of each command a line, and what is said of it."""
NEEDS = {"serve": "websockets", "elector": "uvicorn"}
"""What a command has to import before it looks at its line."""


def commands() -> list[str]:
    from coopy.cli.app import app

    nowhere: Any = None
    found = []
    for name in app.list_commands(nowhere):
        command = app.get_command(nowhere, name)
        below = command.list_commands(nowhere) if hasattr(command, "list_commands") else ()
        found += [f"{name} {each}" for each in below] or [name]
    return found


def everything(here: Path) -> dict[str, str]:
    """What lies there, but for what Python keeps of a module, and the lock."""
    return {
        str(path.relative_to(here)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(here.rglob("*"))
        if "__pycache__" not in path.parts and path.name != "lock"  # It says who has had the directory.
    }


def test_of_each_command_there_is_a_wrong_line() -> None:
    assert list(WRONG) == commands()


@pytest.mark.parametrize("command", WRONG)
def test_a_wrong_line_is_told_and_changes_nothing(coopy: Coopy, tmp_path: Path, command: str) -> None:
    if command in NEEDS:
        pytest.importorskip(NEEDS[command])
    line, said = WRONG[command]
    before = everything(tmp_path)
    code, out, err = coopy(line)
    assert code in (1, 2), err
    assert said in " ".join(err.split())
    assert "Traceback" not in err and out == ""
    assert any(each.startswith(("coopy: ", "Error: ")) for each in err.splitlines()), err
    assert everything(tmp_path) == before
