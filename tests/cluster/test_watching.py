"""What a node does by itself: it looks after its server, the length of the line, and whose turn a snapshot is; and it tells.

Three nodes in this process, each with its own server, so that a test can look inside. They go on from test to test.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cluster.bank import Bank
from network.servers import lives, until
from program import free_port

from coopy import control, init_system
from coopy.errors import Diverged
from coopy.network.stream import State
from coopy.replication import watching
from coopy.replication.node import ReplicatedSystem
from coopy.replication.role import Elsewhere


class Trio:
    """Three nodes, by number; ``directories``: where they are."""

    def __init__(self, *directories: Path) -> None:
        port = free_port(3)
        self.directories = directories
        self.addresses = [f"127.0.0.1:{port + number}" for number in range(3)]
        self.banks: dict[int, Any] = {}

    def open(self, *numbers: int) -> None:
        with ThreadPoolExecutor(3) as together:
            found = [together.submit(self._opened, number) for number in numbers]
        for number, each in zip(numbers, found, strict=True):
            self.banks[number] = each.result()

    def _opened(self, number: int) -> Any:
        return init_system(
            Bank,
            self.directories[number],
            cluster=self.addresses,
            node=self.addresses[number],
            password="secret",
            validation="off",
            timeout=20,
            segment_bytes=1024 * 1024,
        )

    def close(self, *numbers: int) -> None:
        with ThreadPoolExecutor(3) as together:
            for each in [together.submit(control(self.banks.pop(number)).close) for number in numbers]:
                each.result()

    def systems(self) -> list[ReplicatedSystem]:
        return [self.system(number) for number in self.banks]

    def system(self, number: int) -> ReplicatedSystem:
        return control(self.banks[number])._system  # type: ignore[no-any-return]

    def leader(self) -> int:
        """The number of the node that leads, once all that run know it."""
        said: set[str | None] = set()

        def agreed() -> bool:
            said.clear()
            said.update(system.outlook.leader for system in self.systems())
            return len(said) == 1 and None not in said

        until(agreed)
        return self.addresses.index(str(said.pop()))

    def lead(self, number: int) -> None:
        """Has that node lead; the servers may choose another all the same, and are asked again then."""
        while self.leader() != number:
            system = self.system(number)
            system.servers.members.transfer(self.addresses[number])
            until(lambda: system.outlook.look(20).leader)
            with contextlib.suppress(pytest.fail.Exception):
                until(lambda: self.leader() == number, 3)

    def impatient(self, number: int, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        """Has a node start its server again so soon, and the others not at all: they need their time to agree on who leads."""
        monkeypatch.setattr(watching, "LAGGING_S", seconds)
        for other in self.banks:
            if other != number:
                monkeypatch.setattr(self.system(other).watching, "_look_after_server", lambda *said: None)

    def first(self) -> int:
        """The sequence with which the line begins."""
        return min(system.outlook.look(20).first for system in self.systems())

    def are_equal(self) -> bool:
        for bank in self.banks.values():
            control(bank).sync()
        return len({str(control(bank).state_digest()) for bank in self.banks.values()}) == 1


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    path = tmp_path_factory.mktemp("trio")
    found = Trio(*[path / f"node{number}" for number in range(3)])
    found.open(0, 1, 2)
    yield found
    found.close(*found.banks)


# -- its server


def lagging(system: ReplicatedSystem) -> Callable[[], Any]:
    """What the leader says of the stream, but that the copy of this node's server does not catch up."""
    state = system.servers.state

    def said(timeout_s: float) -> State:
        found = state(timeout_s)
        return found._replace(peers=((system.name, False, False, 5000),))

    return said


def test_a_server_whose_copy_does_not_catch_up_is_started_again_and_the_node_goes_on(
    trio: Trio, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    number = (trio.leader() + 1) % 3
    system, bank = trio.system(number), trio.banks[number]
    before = control(bank).status()["server_pid"]
    with monkeypatch.context() as patched, caplog.at_level(logging.ERROR, "coopy"):
        trio.impatient(number, patched, 0)
        patched.setattr(system.servers, "state", lagging(system))
        until(lambda: "its server has not caught up or taken anything for 0 s, and is started again" in caplog.text)
    until(lambda: control(bank).status()["server_pid"] not in (None, before))
    assert not lives(before)
    balance = bank.balance("x")
    assert [each.deposit("x") for each in trio.banks.values()] == [balance + 1, balance + 2, balance + 3]
    assert control(bank).status()["state"] == "ready"
    assert trio.are_equal()


def test_a_server_that_can_not_be_started_again_is_tried_again_and_the_node_goes_on(
    trio: Trio, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    number = (trio.leader() + 1) % 3
    system, bank = trio.system(number), trio.banks[number]
    supervisor: Any = system.servers.own
    assert supervisor is not None
    before = supervisor.pid
    with monkeypatch.context() as patched, caplog.at_level(logging.ERROR, "coopy"):
        trio.impatient(number, patched, 0)
        patched.setattr(system.servers, "state", lagging(system))
        patched.setattr(supervisor, "_binary", "/nowhere/nats-server")
        until(lambda: "could not be started" in caplog.text)
        assert supervisor.pid is None
        assert "/nowhere/nats-server" in control(bank).status()["problem"]
        assert bank.deposit("tried") == 1, "there are the servers of the others"
        patched.setattr(supervisor, "_binary", None)
        until(lambda: supervisor.pid not in (None, before))
    assert bank.deposit("tried") == 2
    until(lambda: control(bank).status()["problem"] is None)
    assert trio.are_equal()


# -- who leads


def test_where_the_servers_are_the_user_s_one_node_leads_and_all_say_the_same(
    trio: Trio, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = State(1, 1, 0, 3, "a server", (("another server", True, False, 0), ("a third", True, False, 0)))
    for system in trio.systems():
        until(lambda: len(system.servers.room.alive()) == 2)
        monkeypatch.setattr(system.servers, "_role", replace(system._role, where=Elsewhere("nats://there")))
    assert {system.servers.leading(said, system.outlook.nodes, system.outlook.there) for system in trio.systems()} == {
        trio.addresses[0]
    }


def test_no_node_takes_itself_for_the_leading_one_while_the_servers_have_none(
    trio: Trio, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader = trio.leader()
    system, bank = trio.system(leader), trio.banks[leader]
    until(lambda: control(bank).status()["has_quorum"] and system.delivers())
    state = system.servers.state

    def said(timeout_s: float) -> State:
        found = state(timeout_s)
        return found._replace(leader=None, peers=((system.name, False, False, 0), *found.peers))

    with monkeypatch.context() as patched:
        patched.setattr(system.servers, "state", said)
        until(lambda: control(bank).status()["leader"] is None)
        assert not control(bank).status()["has_quorum"] and not system.delivers()
    trio.leader()


# -- comparing


def test_what_another_node_says_while_this_one_compares_is_taken_afterwards(trio: Trio) -> None:
    system = trio.system(0)
    said = {"state": "ready", "digests": {str(number): 1 for number in range(10**9, 10**9 + 10)}}

    class Disturbed(dict[int, dict[str, int]]):
        """Another node is heard each time that somebody begins to look through it."""

        def __iter__(self) -> Iterator[int]:
            found = super().__iter__()
            thread = threading.Thread(target=system.comparing.hear, args=("another", said))
            thread.start()
            thread.join(0.3)
            return found

    theirs = Disturbed({10**8 + number: {"another": 1} for number in range(5002)})
    comparing = system.comparing
    with comparing._comparing:
        comparing._theirs, before = theirs, comparing._theirs
    try:
        comparing.compare(system.engine)
        until(lambda: 10**9 in theirs)
    finally:
        with comparing._comparing:
            comparing._theirs = before
    assert system.engine.failure is None


# -- the length of the line


def all_is_safe(trio: Trio) -> bool:
    """Whether each node has heard of each other that its journal is synced to the end."""
    systems = trio.systems()
    last = max(system.engine.position for system in systems)
    return all(
        system.watching.safe == last
        and all(system.servers.room.said(other.name).get("safe") == last for other in systems if other is not system)
        for system in systems
    )


def flush(trio: Trio) -> int:
    """Has all nodes flush, on what the servers say now; with which message the line begins then."""
    for system in trio.systems():
        system.outlook.look(20)
        system.watching.flush()
    return trio.first()


def test_a_line_that_grows_forgets_what_all_have_and_in_the_end_what_one_lacks(
    trio: Trio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "FLUSH_S", 0)
    leader = trio.leader()
    away = (leader + 1) % 3
    bank = trio.banks[leader]
    for _ in range(20):
        bank.deposit("line")
    until(lambda: all_is_safe(trio))
    assert flush(trio) == 1, "it is short yet"

    monkeypatch.setattr(watching, "KEPT_BYTES", 0)
    position = trio.system(leader).engine.position
    until(lambda: flush(trio) > 1)
    assert trio.first() <= position, "some is left for those who were away for a while"

    trio.close(away)
    for _ in range(40):
        bank.deposit("line")
    until(lambda: all_is_safe(trio))
    assert flush(trio) <= position + 1, "one that is not heard lacks the rest"

    monkeypatch.setattr(watching, "LINE_BYTES_MAX", 0)
    until(lambda: flush(trio) > position + 1)
    monkeypatch.undo()
    trio.open(away)
    assert trio.banks[away].balance("line") == 60
    assert len(list(trio.directories[away].glob("aside-*"))) == 1, "it began again with a snapshot of another"
    assert trio.banks[away].deposit("line") == 61
    assert trio.are_equal()


# -- whose turn a snapshot is


class Held:
    """A node's snapshots, each of which waits until it is let go."""

    def __init__(self, system: ReplicatedSystem, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        self._take = system.take_snapshot
        monkeypatch.setattr(system, "take_snapshot", self._held)
        self._thread = threading.Thread(target=system.snapshot_if_due, args=(True,))
        self._thread.start()
        assert self.begun.wait(20)

    def _held(self) -> int:
        self.begun.set()
        assert self.go.wait(20)
        return self._take()

    def end(self) -> None:
        self.go.set()
        self._thread.join()


@pytest.fixture
def hold(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[ReplicatedSystem], Held]]:
    found: list[Held] = []

    def held(system: ReplicatedSystem) -> Held:
        found.append(Held(system, monkeypatch))
        return found[-1]

    yield held
    for each in found:
        each.end()


def has_newest(system: ReplicatedSystem) -> bool:
    return system._journal.last in system._snapshots.indexes()


def test_while_one_node_takes_a_snapshot_no_other_does(trio: Trio, hold: Callable[[ReplicatedSystem], Held]) -> None:
    one, another, _ = trio.systems()
    trio.banks[0].deposit("snapshot")
    assert trio.are_equal()
    held = hold(one)
    another.snapshot_if_due(True)
    assert not has_newest(another)
    held.end()
    assert has_newest(one)
    another.snapshot_if_due(True)
    assert has_newest(another)


def test_a_turn_that_nobody_gave_back_is_taken_over_and_is_not_given_back_by_who_had_it(
    trio: Trio, hold: Callable[[ReplicatedSystem], Held], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, another, third = trio.systems()
    trio.banks[0].deposit("snapshot")
    assert trio.are_equal()
    late = hold(one)
    with monkeypatch.context() as patched:
        patched.setattr(another._snapshotting, "_limit_s", 0)
        newer = hold(another)
    late.end()
    third.snapshot_if_due(True)
    assert not has_newest(third), "it is the other's turn"
    newer.end()
    third.snapshot_if_due(True)
    assert has_newest(third)


# -- what it tells


def raising(told: list[Any]) -> Callable[..., None]:
    """Takes note of what it is told, and raises."""

    def function(*said: Any) -> None:
        told.append(said)
        raise ValueError(f"told {said}")

    return function


@contextlib.contextmanager
def telling(system: ReplicatedSystem) -> Iterator[None]:
    """Undoes what was asked to be told."""
    life, outlook = system.life, system.outlook
    before = life.on_ready, life.on_state_changed, outlook.on_leader_changed
    try:
        yield
    finally:
        life.on_ready, life.on_state_changed, outlook.on_leader_changed = before


def test_who_leads_is_told_to_a_function_that_raises_and_told_again(trio: Trio, caplog: pytest.LogCaptureFixture) -> None:
    told: list[tuple[str | None, str | None]] = []
    leader = trio.leader()
    bank = trio.banks[(leader + 1) % 3]
    with telling(control(bank)._system), caplog.at_level(logging.ERROR, "coopy"):
        control(bank).on_leader_changed(raising(told))
        for number in ((leader + 1) % 3, leader):
            trio.lead(number)
    assert {after for _, after in told} >= {trio.addresses[leader], trio.addresses[(leader + 1) % 3]}
    assert told[0][0] == trio.addresses[leader]
    assert [after for _, after in told[:-1]] == [before for before, _ in told[1:]]
    assert f"raised ValueError: told {told[-1]}" in caplog.text
    before = bank.balance("told")
    assert bank.deposit("told") == before + 1


def test_states_are_told_to_functions_that_raise_and_the_node_goes_on(trio: Trio, caplog: pytest.LogCaptureFixture) -> None:
    ready: list[tuple[()]] = []
    states: list[tuple[str, str]] = []
    number = (trio.leader() + 1) % 3
    bank, system = trio.banks[number], trio.system(number)
    with telling(system), caplog.at_level(logging.ERROR, "coopy"):
        control(bank).on_ready(raising(ready))
        assert ready == [()], "it is ready already"
        control(bank).on_state_changed(raising(states))
        system.life.on_ready = raising(ready)
        system.engine.trouble = Diverged("a method looked at the weather", 1)
        until(lambda: len(states) == 2 and len(ready) == 2)
    assert states == [("ready", "quarantined"), ("quarantined", "ready")]
    for said in [(), *states]:
        assert f"raised ValueError: told {said}" in caplog.text
    assert bank.deposit("states") == 1
    assert trio.are_equal()
