"""What is true after each death: the rows of docs/design/024-shared.md."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shared.domain import Process, opened

import coopy
from coopy import control
from coopy.proof.proving import Proving
from coopy.spine.machine import Machine

# What is said to the writer, so that it dies at one point of the next call that another process sends.
POINTS = {
    "before it is appended": "setattr(sys.modules['coopy.replication.copying'].Shared, 'take', lambda *_: os._exit(9))",
    "after it is appended": "setattr(sys.modules['coopy.replication.door'].Visitor, 'send', lambda *_: os._exit(9))",
    "in the middle of an append": """setattr(sys.modules['coopy.disk.journal'].Journal, 'append', lambda self, record: (
        self._segment.file.write(self._tail, sys.modules['coopy.disk.frame'].pack(record, self.last + 1, 0)[:-9]), os._exit(9)))""",
}


@pytest.fixture(autouse=True)
def nothing_is_left_open() -> Iterator[None]:
    yield
    coopy.close_all()


@pytest.fixture(params=["buffered", "sync"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Process, Any]]:
    """A process that writes, and a system of this one that follows."""
    with Process(tmp_path / "data", durability=request.param) as writer, opened(tmp_path / "data") as follower:
        yield writer, follower


def dies(writer: Process, how: str) -> None:
    writer.do(" ".join(how.split()))


@pytest.mark.parametrize("point", POINTS)
def test_a_call_whose_writer_dies_is_recorded_once_and_has_its_value(pair: tuple[Process, Any], point: str) -> None:
    writer, follower = pair
    assert follower.add("a") == 1
    dies(writer, POINTS[point])
    assert follower.add("b") == 2
    assert control(follower).status()["role"] == "writer"
    assert follower.all() == ["a", "b"]


@pytest.mark.parametrize("point", POINTS)
def test_a_call_whose_writer_dies_raises_what_it_raises(pair: tuple[Process, Any], point: str) -> None:
    writer, follower = pair
    follower.add("a")
    dies(writer, POINTS[point])
    with pytest.raises(KeyError, match="b"):
        follower.fail("b")
    assert follower.all() == ["a", "b"]


@pytest.mark.parametrize("point", POINTS)
def test_a_call_of_a_third_is_answered_by_the_next_writer(pair: tuple[Process, Any], point: str, tmp_path: Path) -> None:
    writer, follower = pair
    with Process(tmp_path / "data") as third:
        third.do("wiki.add('a')")
        dies(writer, POINTS[point])
        third.begin("wiki.add('b')")
        assert third.answer() == 2
        control(follower).sync()
        assert follower.all() == ["a", "b"] == third.do("wiki.all()")


def test_what_the_writer_did_itself_and_nobody_was_told_of_is_there(pair: tuple[Process, Any]) -> None:
    writer, follower = pair
    dies(writer, POINTS["after it is appended"])
    writer.begin("wiki.add('own')")  # It dies as it tells the news.
    writer.wait()
    assert follower.add("b") == 2
    assert follower.all() == ["own", "b"]


def test_a_caller_that_dies_has_its_call_recorded_once(pair: tuple[Process, Any], tmp_path: Path) -> None:
    writer, follower = pair
    with Process(tmp_path / "data") as third:
        third.do("setattr(sys, 'channel', sys.modules['coopy.replication.caller'].Channel)")
        dies = "self._socket.sendall(data) or b'add' in data and os._exit(9)"
        third.begin(f"setattr(sys.channel, '_send', lambda self, data: {dies}) or wiki.add('a')")
        with pytest.raises(AssertionError, match="has ended with 9"):
            third.answer()
    while control(follower).sync() or not follower.count():
        pass
    assert follower.all() == ["a"] == writer.do("wiki.all()")


def test_what_a_call_came_to_is_known_to_the_next_writer_without_running_it_once_more(
    pair: tuple[Process, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, follower = pair
    follower.add("a")
    monkeypatch.delattr("coopy.replication.copying.Shared.outcome_of")
    dies(writer, POINTS["after it is appended"])
    assert follower.add("b") == 2
    assert follower.all() == ["a", "b"]


@pytest.mark.parametrize("method", ["undone", "aborted", "each", "itself"])
def test_calls_of_all_kinds_are_answered_after_a_takeover(pair: tuple[Process, Any], method: str) -> None:
    writer, follower = pair
    follower.add("a")
    dies(writer, POINTS["after it is appended"])
    if method in ("undone", "aborted"):
        with pytest.raises(KeyError, match="b"):
            getattr(follower, method)("b")
        assert follower.all() == ["a"]
    elif method == "each":
        assert list(follower.each()) == ["a"]
    else:
        assert follower.itself() is follower
    assert follower.add("c") == 2


def test_another_may_write_before_the_state_of_a_writer_that_closes_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def look(_: Proving, machine: Machine) -> None:
        assert other.do("wiki.add('b')") == 2
        seen.append(machine.domain.calls)

    monkeypatch.setattr(Proving, "last_look", look)
    with opened(tmp_path / "data") as writer, Process(tmp_path / "data") as other:
        writer.add("a")
        control(writer).close()
        assert seen == [["a"]]
        assert other.do("control(wiki).status()['role']") == "writer"
