"""What the docstrings of task queues show is what happens."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from coopy import close_all
from coopy.messaging import Backoff, TaskQueue, Tasks, task_policy
from coopy.messaging.task_cron import Cron


@pytest.mark.parametrize(
    "thing", [Tasks, TaskQueue, Backoff, Cron, task_policy.written, task_policy._every], ids=lambda thing: thing.__name__
)
def test_an_example_shows_what_happens(thing: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if thing is Cron:
        pytest.importorskip("cronsim", reason="the extra [tasks] is not installed")
    monkeypatch.chdir(tmp_path)
    (found,) = doctest.DocTestFinder(recurse=False).find(
        thing, globs={**vars(task_policy), **vars(__import__("datetime")), "Cron": Cron, "Tasks": Tasks}
    )
    try:
        assert found.examples and not doctest.DocTestRunner().run(found).failed
    finally:
        close_all()
