"""Whole nodes, with directories of their own, over servers in memory: no nats-server, and no connection."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from cluster.bank import Bank
from cluster.fakes import member, replica
from cluster.in_memory import Servers, Together
from network.servers import until

from coopy import ReadOnlyNode, SystemClosed, control
from coopy.errors import DamagedLine, Unavailable
from coopy.ground.line import MemoryLine
from coopy.network.address import Address
from coopy.opening import open_as
from coopy.place.options import Settings
from coopy.replication import states
from coopy.replication.node import ReplicatedSystem
from coopy.replication.role import Role


class Nodes:
    def __init__(self, path: Path) -> None:
        self._path = path
        self.together = Together()
        self.banks: dict[str, Any] = {}

    def open(self, *roles: Role) -> list[Any]:
        with ThreadPoolExecutor(len(roles)) as together:
            found = list(together.map(self._opened, roles))
        self.banks.update(zip((role.id for role in roles), found, strict=True))
        return found

    def _opened(self, role: Role) -> Any:
        kind = partial(ReplicatedSystem, role=role, servers=self.together.servers)
        directory = self._path / ("replica" if not role.writes else str(role.node.host))
        return open_as(kind, Bank, directory, Settings.of("init_system", {"validation": "off", "segment_bytes": 1 << 20}))

    def close(self, *names: str) -> None:
        for name in names:
            control(self.banks.pop(name)).close()

    def are_equal(self) -> bool:
        for bank in self.banks.values():
            control(bank).sync()
        return len({str(control(bank).state_digest()) for bank in self.banks.values()}) == 1


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    found = Nodes(tmp_path)
    yield found
    with contextlib.ExitStack() as stack:
        for name in list(found.banks):
            stack.callback(found.close, name)


TRIO = [member(number) for number in range(3)]


def test_three_nodes_and_a_replica_agree_and_one_that_was_away_catches_up(nodes: Nodes) -> None:
    banks = nodes.open(*TRIO)
    assert [bank.deposit("x") for bank in banks] == [1, 2, 3]
    (reader,) = nodes.open(replica())
    control(reader).sync()
    assert reader.balance("x") == 3
    with pytest.raises(ReadOnlyNode):
        reader.deposit("x")
    nodes.close(TRIO[1].id)
    assert banks[0].deposit("x") == 4
    (back,) = nodes.open(TRIO[1])
    assert back.balance("x") == 4 and back.deposit("x") == 5
    assert nodes.are_equal()
    until(lambda: control(back).status()["leader"] == TRIO[0].id)
    until(lambda: control(back).status().get(f"position_{TRIO[2].id}") == nodes.together.line.last)
    status = control(back).status()
    assert status["enabled_code_version"] == 0 and f"position_{back}" not in status
    assert (status["state"], status["role"], status["problem"]) == ("ready", "node", None)


def _nothing(owner: str) -> int:
    return 0


def test_an_attribute_that_one_node_gives_to_the_object_hides_a_method_on_all(nodes: Nodes) -> None:
    banks = nodes.open(*TRIO)
    banks[0].deposit("x")
    assert [bank.balance("x") for bank in banks[:1]] == [1]
    banks[0].balance = _nothing
    for bank in banks:
        control(bank).sync()
    assert [bank.balance("x") for bank in banks] == [0, 0, 0]
    assert nodes.are_equal()


def test_a_node_that_lacks_what_the_line_has_forgotten_begins_anew_with_a_snapshot_of_another(nodes: Nodes) -> None:
    banks = nodes.open(*TRIO)
    banks[0].deposit("x")
    nodes.close(TRIO[2].id)
    for _ in range(5):
        banks[0].deposit("x")
    control(banks[0]).take_snapshot()
    until(lambda: control(banks[0]).status()["position"] == nodes.together.line.last)
    MemoryLine(nodes.together.line).forget(nodes.together.line.last)
    (back,) = nodes.open(TRIO[2])
    assert back.balance("x") == 6 and back.deposit("x") == 7
    assert nodes.are_equal()


def test_calls_and_reads_do_in_each_state_what_its_row_says(nodes: Nodes) -> None:
    (bank,) = nodes.open(member(0, 1))
    bank.deposit("x")
    controls: Any = control(bank)
    controls._system.engine.fail(DamagedLine("the line has a hole"))
    until(lambda: control(bank).status()["state"] == states.STOPPED)
    with pytest.raises(DamagedLine, match="the line has a hole"):
        bank.deposit("x")
    assert bank.balance("x") == 1 and "a hole" in control(bank).status()["problem"]
    told: list[tuple[str, str]] = []
    controls.on_state_changed(lambda before, after: told.append((before, after)))
    control(bank).close()
    assert told == [(states.STOPPED, states.CLOSING)]
    with pytest.raises(SystemClosed):
        bank.balance("x")
    (bank,) = nodes.open(member(0, 1))
    control(bank).close()
    for call in (bank.deposit, bank.balance):
        with pytest.raises(SystemClosed):
            call("x")


def test_a_node_whose_servers_can_not_be_reached_lets_its_directory_go(nodes: Nodes, tmp_path: Path) -> None:
    closed = threading.Event()

    class Away(Servers):
        def open(self) -> tuple[Address, ...]:
            raise Unavailable("nobody is there")

        def close(self) -> None:
            closed.set()

    kind = partial(ReplicatedSystem, role=member(0, 1), servers=cast(Any, lambda role, *others: Away(nodes.together, role)))
    with pytest.raises(Unavailable, match="nobody is there"):
        open_as(kind, Bank, tmp_path / "n0", Settings.of("init_system", {"validation": "off"}))
    assert closed.is_set()
    (bank,) = nodes.open(member(0, 1))
    assert bank.deposit("x") == 1
