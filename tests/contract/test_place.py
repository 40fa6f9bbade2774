"""What `coopy.place.seam.Place` promises, over a directory, memory, what `coopy.testing` opens, and the directory of a node."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from coopy import DirectoryInUse, SystemClosed, UsageError
from coopy.disk.dirlock import DirectoryLock
from coopy.disk.manifest import Manifest
from coopy.ground import action
from coopy.ground.storage import MemoryEntries, MemorySnapshots
from coopy.place.directory import DirectoryPlace, begin
from coopy.place.memory import MemoryPlace
from coopy.place.options import Settings
from coopy.place.seam import Place
from coopy.replication.node import NodePlace
from coopy.replication.shared import SharedPlace
from coopy.system import System
from coopy.testing.faults import FailingLog
from coopy.testing.systems import _Directory, _Memory
from coopy.values.codec import Codec


class Counter:
    def __init__(self) -> None:
        self.count = 0

    def add(self) -> int:
        self.count += 1
        return self.count


class AloneNode:
    """What the place of a node asks of it, without servers."""

    def __init__(self) -> None:
        self.left = 0
        self.installed = 0
        self.fails = False

    def begun(self, calls: Any) -> Manifest:
        if self.fails:
            raise KeyboardInterrupt
        return begin(calls, self.basedir, Counter)

    basedir = ""

    def install_if_empty(self, system: bytes) -> None:
        self.installed += 1

    def delivers(self) -> bool:
        return True

    def leave(self) -> None:
        self.left += 1


SETTINGS = Settings.of("place", {"fork": False, "segment_bytes": 1 << 20})
NOWHERE = os.path.join(os.devnull, "memory")


def memory(path: Path) -> MemoryPlace:
    manifest = Manifest(bytes(16), bytes(32))
    return MemoryPlace(NOWHERE, manifest, FailingLog({}), MemorySnapshots(), MemoryEntries())


def node(path: Path) -> NodePlace:
    found = AloneNode()
    found.basedir = str(path)
    return NodePlace(cast(Any, found), str(path), Counter, SETTINGS)


DIRECTORIES: dict[str, Callable[[Path], Any]] = {
    "directory": lambda path: DirectoryPlace(str(path), Counter, SETTINGS),
    "directory that is shared": lambda path: SharedPlace(str(path), Counter, SETTINGS),
    "directory of a test": lambda path: _Directory(Counter, str(path), SETTINGS, None, None),
    "node": node,
}
PLACES: dict[str, Callable[[Path], Any]] = {
    **DIRECTORIES,
    "memory": memory,
    "memory of a test": lambda path: _Memory(Counter, NOWHERE, None, 1, None),
}


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    found: Place = PLACES[request.param](tmp_path / "counter")
    return found


def record() -> bytes:
    return action.header(1, 0, action.UNKNOWN) + Codec(Counter).encode_call("add", (), {})[0]


def test_a_place_that_was_taken_gives_all_that_a_system_needs(place: Place) -> None:
    place.take()
    assert place.name and len(place.manifest.system) == 16 and place.manifest.secret
    assert (place.log.last, place.snapshots.indexes(), place.entries.read()) == (0, [], [])
    place.log.append(record())
    assert place.log.last == 1
    assert place.path is None or os.path.isdir(place.path)
    assert abs(place.now() - place.now()) < 60_000_000_000
    assert place.delivers()
    place.check()
    place.log.close()
    place.release()


def test_a_place_is_let_go_at_any_moment_and_again(place: Place) -> None:
    place.release()
    place.release()
    place.take()
    place.abandon()
    place.abandon()
    place.release()
    place.abandon()
    place.release()


def test_a_log_that_was_abandoned_takes_no_more(place: Place) -> None:
    place.take()
    place.log.append(record())
    place.abandon()
    with pytest.raises(SystemClosed):
        place.log.append(record())
    place.release()


def test_what_is_not_there_has_no_size(place: Place) -> None:
    place.take()
    assert place.kept(7) is None
    place.sweep_after(1)
    place.abandon()
    place.release()


def test_a_new_state_is_accepted_everywhere_and_that_of_a_node_where_others_record(place: Place) -> None:
    place.take()
    header = action.header(1, 0, action.UNKNOWN)
    place.accept(header, 0)
    if place.is_alone and place.path is not None:
        with pytest.raises(UsageError, match="is a node of a replicated system"):
            place.accept(header, 5)
    place.abandon()
    place.release()


def test_a_place_may_be_told_to_stay_deterministic_and_again(place: Place) -> None:
    place.take()
    place.stay_deterministic()
    place.stay_deterministic()
    place.abandon()
    place.release()


def test_a_child_may_be_told_of_the_place_at_any_moment(place: Place) -> None:
    place.forked()
    place.take()
    place.abandon()
    place.release()


@pytest.mark.parametrize("kind", [name for name in PLACES if name != "node"])
def test_a_system_lives_in_it(kind: str, tmp_path: Path) -> None:
    system = System(Counter, PLACES[kind](tmp_path / "counter"), SETTINGS)
    system.start(None)
    assert [system.proxy.add(), system.proxy.add()] == [1, 2]
    assert system.take_snapshot() == 2
    assert system.status()["snapshot"]["index"] == 2
    system.close()
    with pytest.raises(SystemClosed):
        system.engine.log.append(record())


# -- directories


@pytest.mark.parametrize("kind", DIRECTORIES)
def test_a_directory_is_one_systems_until_it_is_let_go(kind: str, tmp_path: Path) -> None:
    first, second = (DIRECTORIES[each](tmp_path / "counter") for each in (kind, "directory"))
    first.take()
    system = first.manifest.system
    with pytest.raises(DirectoryInUse):
        second.take()
    first.log.append(record())
    first.abandon()
    with pytest.raises(DirectoryInUse):
        second.take()
    first.release()
    second.take()
    assert second.manifest.system == system and second.log.last == 1
    second.log.close()
    second.release()


@pytest.mark.parametrize("kind", DIRECTORIES)
def test_a_taking_that_is_interrupted_leaves_the_directory_to_others(kind: str, tmp_path: Path) -> None:
    place = DIRECTORIES[kind](tmp_path / "counter")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    place.open_files = interrupted
    with pytest.raises(KeyboardInterrupt):
        place.take()
    other = DIRECTORIES["directory"](tmp_path / "counter")
    other.take()
    other.abandon()
    other.release()


@pytest.mark.parametrize("kind", DIRECTORIES)
def test_a_lock_that_was_taken_and_not_handed_over_is_let_go(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, taken = DIRECTORIES[kind](tmp_path / "counter"), DirectoryLock.__init__

    def interrupted(self: DirectoryLock, *given: Any) -> None:
        taken(self, *given)
        raise KeyboardInterrupt

    monkeypatch.setattr(DirectoryLock, "__init__", interrupted)
    # The exception is kept, and so is all that its traceback holds.
    with pytest.raises(KeyboardInterrupt) as kept:
        place.take()
    monkeypatch.undo()
    place.release()
    other = DIRECTORIES["directory"](tmp_path / "counter")
    other.take()
    other.abandon()
    other.release()
    assert kept.tb is not None


@pytest.mark.parametrize("kind", DIRECTORIES)
def test_what_a_directory_grows_by_is_told(kind: str, tmp_path: Path) -> None:
    told: list[int] = []
    place = DIRECTORIES[kind](tmp_path / "counter")
    place.take(told.append)
    assert told == [0]
    place.abandon()
    place.release()


@pytest.mark.parametrize("kind", DIRECTORIES)
def test_a_directory_stays_deterministic_for_whoever_takes_it_next(kind: str, tmp_path: Path) -> None:
    for expected in (False, True):
        place = DIRECTORIES["directory" if expected else kind](tmp_path / "counter")
        place.take()
        assert place.manifest.deterministic is expected
        place.stay_deterministic()
        place.log.close()
        place.release()


def test_a_directory_waits_for_another_process_no_longer_than_it_was_told(tmp_path: Path) -> None:
    first = DIRECTORIES["directory"](tmp_path / "counter")
    first.take()
    second = DirectoryPlace(str(tmp_path / "counter"), Counter, SETTINGS.but(wait=1e-9))
    found: list[type] = []

    def take() -> None:
        try:
            second.take()
        except DirectoryInUse as error:
            found.append(type(error))

    thread = threading.Thread(target=take)
    thread.start()
    thread.join(60)
    assert found == [DirectoryInUse]
    first.abandon()
    first.release()


# -- a node's


def test_the_directory_of_a_node_is_given_back_with_its_connection(tmp_path: Path) -> None:
    place = node(tmp_path / "counter")
    found = cast(AloneNode, place._node)
    place.take()
    assert (found.installed, found.left) == (1, 0)
    place.open_again()
    assert found.installed == 1
    place.abandon()
    place.release()
    assert found.left == 2


def test_a_node_that_is_interrupted_while_it_agrees_leaves_the_others(tmp_path: Path) -> None:
    place = node(tmp_path / "counter")
    found = cast(AloneNode, place._node)
    found.fails = True
    with pytest.raises(KeyboardInterrupt):
        place.take()
    assert found.left > 0
    DIRECTORIES["directory"](tmp_path / "counter").take()
