"""A process that is forked while it has a shared system: its child shares the directory, too, and goes on from the state of its parent."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shared.children import begun_in_a_child, in_a_child
from shared.domain import Process, opened

import coopy
from coopy import control


@pytest.fixture(autouse=True)
def nothing_is_left_open() -> Iterator[None]:
    yield
    coopy.close_all()


def role(system: Any) -> Any:
    return control(system).status()["role"]


def test_the_child_of_a_writer_follows_it(tmp_path: Path) -> None:
    wiki = opened(tmp_path / "data")
    wiki.add("before")
    assert in_a_child(lambda: (wiki.all(), role(wiki), wiki.add("in the child"), wiki.count())) == (
        ["before"],
        "follower",
        2,
        2,
    )
    assert role(wiki) == "writer" and wiki.all() == ["before", "in the child"]


def test_the_child_of_a_follower_follows_as_well(tmp_path: Path) -> None:
    writer, follower = opened(tmp_path / "data"), opened(tmp_path / "data")
    follower.add("before")
    assert in_a_child(lambda: (follower.add("in the child"), follower.all(), role(follower))) == (
        2,
        ["before", "in the child"],
        "follower",
    )
    control(follower).sync()
    assert follower.count() == writer.count() == 2


def test_the_child_does_not_load_the_state_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wiki = opened(tmp_path / "data")
    wiki.add("before")

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("the state was loaded again")

    monkeypatch.setattr("coopy.spine.engine.restore", refused)
    assert in_a_child(lambda: (wiki.add("in the child"), wiki.count())) == (2, 2)


def test_a_child_forked_while_an_action_runs_too_long_loads_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coopy.replication.shared.FORK_S", 0.01)
    wiki = opened(tmp_path / "data")
    runs, ends = threading.Event(), threading.Event()
    engine = wiki._coopy_engine

    def hold() -> None:
        def wait() -> None:
            runs.set()
            ends.wait()

        engine.run(wait)

    thread = threading.Thread(target=hold)
    thread.start()
    assert runs.wait(60)
    answer = begun_in_a_child(lambda: (wiki.add("in the child"), wiki.all()))
    ends.set()
    thread.join()
    assert answer() == (1, ["in the child"])


def test_a_child_that_has_called_nothing_may_end_and_close(tmp_path: Path) -> None:
    wiki = opened(tmp_path / "data")
    assert in_a_child(lambda: 7) == 7
    assert in_a_child(lambda: control(wiki).close()) is None
    assert wiki.add(1) == 1


def test_a_child_outlives_its_parent_and_writes(tmp_path: Path) -> None:
    with Process(tmp_path / "data") as parent:
        parent.do("wiki.add('before')")
        child = parent.do("os.fork() or [time.sleep(0.05), wiki.add('child'), os._exit(0)]")
        assert child
        parent.kill()
        with opened(tmp_path / "data") as wiki:
            while wiki.count() < 2:
                control(wiki).sync()
            assert wiki.all() == ["before", "child"]


def test_a_child_that_sleeps_keeps_nobody_from_writing(tmp_path: Path) -> None:
    with Process(tmp_path / "data") as parent, opened(tmp_path / "data") as wiki:
        first = control(wiki).status()["writer"]
        assert first == parent.pid
        child = parent.do("os.fork() or [signal.pause(), os._exit(0)]")
        parent.kill()
        try:
            assert wiki.add("after") == 1
            assert role(wiki) == "writer"
        finally:
            os.kill(child, signal.SIGKILL)


def test_children_and_their_children_share(tmp_path: Path) -> None:
    wiki = opened(tmp_path / "data")

    def child() -> Any:
        wiki.add("child")
        return in_a_child(lambda: (wiki.add("grandchild"), wiki.all()))

    assert in_a_child(child) == (2, ["child", "grandchild"])


def test_a_snapshot_is_taken_in_a_child_as_ever(tmp_path: Path) -> None:
    wiki = opened(tmp_path / "data", fork=True)
    wiki.add(1)
    assert control(wiki).take_snapshot() == 1
    assert wiki.add(2) == 2


def test_threads_of_parent_and_child_call_at_once(tmp_path: Path) -> None:
    wiki = opened(tmp_path / "data", durability="buffered")

    def work(who: str) -> None:
        threads = [threading.Thread(target=lambda n=n: [wiki.add((who, n, k)) for k in range(20)]) for n in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()

    children = []
    thread = threading.Thread(target=work, args=("parent",))
    thread.start()
    for number in range(3):
        children.append(begun_in_a_child(lambda number=number: work(f"child {number}")))
    assert [each() for each in children] == [None] * 3
    thread.join()
    found = wiki.all()
    assert len(found) == len(set(found)) == 4 * 4 * 20
