"""`coopy tasks`: a queue that is in use, or not, looked at and changed from outside."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("click", reason="the extra [cli] is not installed")

import coopy
from coopy.messaging import TaskQueue

Run = tuple[int, str, str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Run]]:
    from coopy.cli.app import app

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: object) -> Run:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            app(["tasks", *map(str, words)], prog_name="coopy")
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    yield run
    coopy.close_all()


@pytest.fixture(params=["closed", "shared"])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A queue with a task that is done, one that is dead, one that waits and one that comes later."""
    queue = TaskQueue(tmp_path / "data", durability="buffered")
    queue.enqueue(divmod, 7, 2)
    queue.enqueue(divmod, 1, 0)
    queue.drain()
    queue.enqueue(divmod, 8, 2)
    queue.task(delay=3600)(divmod).send(9, 2)
    if request.param == "closed":
        queue.close()
    yield "data"
    queue.close()


def test_the_tasks_of_a_queue_are_counted_and_listed(run: Callable[..., Run], data: str) -> None:
    code, out, _ = run(data)
    assert code == 0 and [line.split() for line in out.splitlines()][:3] == [["sent", "4"], ["done", "1"], ["dead", "1"]]
    code, out, _ = run(data, "list")
    assert code == 0 and [line.split()[:3] for line in out.splitlines()] == [
        ["1", "done", "builtins:divmod"],
        ["2", "dead", "builtins:divmod"],
        ["3", "waiting", "builtins:divmod"],
        ["4", "later", "builtins:divmod"],
    ]
    assert run(data, "list", "--state", "later", "--most", 1)[1].split()[0] == "4"
    assert run(data, "list", "--name", "nothing")[:2] == (0, "none\n")
    assert run(data, "workers")[:2] == run(data, "schedules")[:2] == (0, "none\n")
    assert json.loads(run(data, "--json")[1])["sent"] == 4
    assert json.loads(run(data, "list", "--json")[1])[1]["error"][0] == "builtins.ZeroDivisionError"


def test_a_dead_letter_is_shown_with_its_traceback_and_sent_again(run: Callable[..., Run], data: str) -> None:
    assert "ZeroDivisionError" in run(data, "dead")[1]
    code, out, _ = run(data, "show", 2, 17)
    assert code == 0 and "exceptions 1" in out and "Traceback" in out and "17  is not there" in out
    assert run(data, "retry", "dead")[1] == "2  runs now\n"
    assert run(data, "dead")[1] == "none\n"
    assert run(data, "retry", 1, 4)[1] == "1  is not dead, cancelled or waiting for a time\n4  runs now\n"


def test_tasks_are_cancelled_and_forgotten(run: Callable[..., Run], data: str) -> None:
    assert run(data, "cancel", 3, 1)[1] == "3  is cancelled, or asked to stop\n1  is over, or not there\n"
    assert run(data, "forget", "dead")[1] == "1 task removed\n"
    assert run(data, "forget", 1, 3, 4)[1] == "2 tasks removed\n"
    assert [line.split()[0] for line in run(data, "list")[1].splitlines()] == ["4"]


@pytest.mark.parametrize(
    "words", [("nothing",), ("retry",), ("retry", "x"), ("list", 3), ("cancel", "dead"), ("show", "dead")], ids=str
)
def test_what_is_asked_wrongly_changes_nothing(run: Callable[..., Run], data: str, words: tuple[object, ...]) -> None:
    code, out, err = run(data, *words)
    assert code == 2 and out == "" and "Nothing was changed" in err


def test_a_system_that_has_no_tasks_is_refused(run: Callable[..., Run], tmp_path: Path) -> None:
    from shared.domain import Wiki

    with coopy.control(coopy.init_system(Wiki, tmp_path / "wiki", validation="off")):
        pass
    code, _, err = run("wiki")
    assert code == 2 and "has no tasks" in err
