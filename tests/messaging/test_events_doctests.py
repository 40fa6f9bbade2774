"""What the docstrings of the event source show is what happens; and it holds under check=True."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import coopy
from coopy import init_system
from coopy.messaging import EventSource, NewEvent, Projection, Retained

pytestmark = pytest.mark.slow  # One of them waits a second for an event that does not come.
MODULES = ("events", "events_aio", "events_follow", "events_group", "events_kinds", "events_projection")


class Totals(Projection):
    def __init__(self) -> None:
        self.total = 0

    def when(self, event: object) -> None:
        self.total += 1


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_show_what_happens(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(f"coopy.messaging.{name}")
    source = EventSource("others")
    source.append("order-8", NewEvent("Placed", {"article": "tea"}))
    source.append("a", [b"1", b"2"], id="web-4711-")
    totals = init_system(Totals, "their-totals")
    names = {"source": source, "totals": totals, "NewEvent": NewEvent, "Retained": Retained, "init_system": init_system}
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    examples = 0
    try:
        for each in finder.find(module, extraglobs=names):
            if each.name.endswith("EventSource.append"):
                each.globs["source"] = EventSource("appended")
            examples += len(each.examples)
            runner.run(each)
    finally:
        coopy.close_all()
    assert examples and not runner.failures


def test_replay_in_another_process_gives_the_same_state_and_no_read_changes_it(tmp_path: Path) -> None:
    with EventSource(tmp_path, check=True) as source:
        for number in range(12):
            source.append(f"s{number % 3}", [NewEvent("t", number, key=str(number % 4)), b"x"], id=str(number))
        assert not source.append("s0", b"1", expected=0)
        with source.follow("mail") as mail:
            events = mail.batch(5, timeout=0)
            mail.ack(events[1])
            mail.park(events[2], "why")
            source.retry("mail")
            assert len(mail.batch(50, timeout=0)) == 20
        source.compact(move=True)
        source.retain(count=10, held_by=True, bound=Retained(count=20))
        assert source.trim(5) == 5 and source.forget("mail")
        assert len(list(source.read())) == len(source)
