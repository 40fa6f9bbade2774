"""As test_withdrawal.py, on real servers and directories: a master and its replica."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from network.servers import until
from program import free_port

from coopy import control, init_system, readonly
from coopy.ground import batch
from coopy.replication import follower
from coopy.tools.verify import verify

SMALL: set[str] = set()
"""Names, or the beginnings of names, of threads that have little memory."""


class Grid:
    def __init__(self) -> None:
        self.cells: list[int] = []

    def resize(self, size: int) -> None:
        self.cells = [0] * size

    def swell(self, size: int) -> int:
        self.cells += [1] * size
        if threading.current_thread().name.startswith(tuple(SMALL)):
            raise MemoryError
        return len(self.cells)

    @readonly
    def size(self) -> int:
        return len(self.cells)


class Pair:
    def __init__(self, path: Path) -> None:
        self.path, self.port = path, free_port()
        self.open: list[Any] = []

    def opened(self, name: str, **options: Any) -> Any:
        role = {"replication": True} if name.startswith("replica") else {"master": True}
        found = init_system(
            Grid, self.path / name, port=self.port, password="secret", timeout=15, validation="off", **role, **options
        )
        self.open.append(found)
        return found

    def close(self, system: Any) -> None:
        self.open.remove(system)
        control(system).close()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    SMALL.clear()
    found = Pair(tmp_path)
    yield found
    SMALL.clear()
    for each in reversed(found.open):
        control(each).close()


def thread_of(system: Any) -> str:
    """The name of the thread that applies what comes, which runs no method when a node is opened."""
    return str(control(system)._system.engine._thread.name)


def agree(*systems: Any) -> None:
    for each in systems:
        control(each).sync()
    assert len({control(each).state_digest() for each in systems}) == 1


def test_one_call_that_nobody_has_memory_for_stops_no_node(pair: Pair) -> None:
    master, replica = pair.opened("master"), pair.opened("replica")
    master.resize(3)
    with pytest.raises(MemoryError):
        master.resize(10**15)
    assert master.size() == 3
    master.resize(4)
    agree(master, replica)
    assert (master.size(), replica.size()) == (4, 4)
    pair.close(replica)
    pair.close(master)
    master, replica = pair.opened("master"), pair.opened("replica")
    assert (master.size(), replica.size()) == (4, 4)
    agree(master, replica)


def test_a_replica_that_has_applied_what_the_master_can_not_goes_back(pair: Pair) -> None:
    master, replica = pair.opened("master"), pair.opened("replica")
    master.resize(3)
    SMALL.add(thread_of(master))
    with pytest.raises(MemoryError):
        master.swell(5)
    SMALL.clear()
    assert master.swell(1) == 4
    agree(master, replica)
    assert replica.size() == 4
    assert len(list((pair.path / "replica").glob("aside-*"))) == 1
    assert control(replica).status()["state"] == "ready"
    index = control(replica).index
    pair.close(replica)
    assert verify(str(pair.path / "replica"), Grid).problems == []
    replica = pair.opened("replica")
    assert (replica.size(), control(replica).index) == (4, index)
    agree(master, replica)


def test_a_replica_that_can_not_apply_it_waits_and_is_read_as_before(pair: Pair) -> None:
    master, replica = pair.opened("master"), pair.opened("replica")
    master.resize(3)
    control(replica).sync()
    SMALL.add(thread_of(replica))
    assert master.swell(5) == 8
    until(lambda: control(replica).status()["state"] == "stalled")
    assert "swell(), can't be applied here (MemoryError())" in control(replica).status()["problem"]
    assert replica.size() == 3
    pair.close(replica)
    SMALL.add("MainThread")
    SMALL.add("coopy follower")
    replica = pair.opened("replica")
    assert replica.size() == 3, "it opens, and waits on"
    until(lambda: control(replica).status()["state"] == "stalled")
    engine = control(replica)._system.engine
    SMALL.clear()
    message = batch.withdrawal("z", engine.machine.batches.sequence, engine.unapplied.action)
    control(master)._system.servers.line.send(message, "withdrawal")
    until(lambda: control(replica).status()["state"] == "ready")
    agree(master, replica)
    assert (master.size(), replica.size()) == (3, 3)


def test_a_replica_that_is_far_behind_with_it_takes_a_snapshot(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "FAR", 3)
    master, replica = pair.opened("master"), pair.opened("replica")
    SMALL.add(thread_of(replica))
    assert [master.swell(1) for _ in range(6)] == [1, 2, 3, 4, 5, 6]
    until(lambda: replica.size() == 6)
    SMALL.clear()
    master.resize(2)
    agree(master, replica)
    assert len(list((pair.path / "replica").glob("aside-*"))) == 1


def test_a_directory_that_ends_with_it_begins_a_system_of_its_own(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    master = pair.opened("master")
    master.resize(3)
    engine = control(master)._system.engine
    monkeypatch.setattr(
        engine.line, "send", lambda data, name, send=engine.line.send: None if "withdrawal" in name else send(data, name)
    )
    SMALL.update(("coopy follower", "MainThread"))
    caller = threading.Thread(target=lambda: pytest.raises(MemoryError, master.swell, 5))
    caller.start()
    until(lambda: engine.unapplied is not None)
    shutil.copytree(pair.path / "master", pair.path / "other", ignore=shutil.ignore_patterns("server", "lock"))
    SMALL.clear()
    message = batch.withdrawal("z", engine.machine.batches.sequence, engine.unapplied.action)
    monkeypatch.undo()
    engine.line.send(message, "again")
    caller.join()
    pair.port = free_port()
    SMALL.add("MainThread")
    other = pair.opened("other")
    SMALL.clear()
    assert other.size() == 3
    other.resize(1)
    replica = pair.opened("replica")
    agree(other, replica)
    assert master.size() == 3
