"""Nodes that join and leave while the others go on: one becomes three, five, three and one again, and loses nothing.

One cluster for all of it: each test goes on where the one before ended. Five servers and five nodes need a machine
for themselves, so `make simulate` runs it, and the default run does not.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.test_nodes import NODE, Process
from network.servers import until
from program import free_port, write

pytestmark = pytest.mark.skipif("COOPY_MEMBERS" not in os.environ, reason="run by make simulate")


class Nodes:
    """The nodes that run, by number, and what was acknowledged."""

    def __init__(self, path: Path) -> None:
        port = free_port(5)
        self.addresses = [f"127.0.0.1:{port + number}" for number in range(5)]
        self.deposits = 0
        self.running: dict[int, Process] = {}
        self._script = write(path / "node.py", NODE.format(tests=str(Path(__file__).resolve().parents[1])))

    def start(self, *numbers: int, of: int) -> None:
        """Starts nodes, told of the first so many addresses."""
        for number in numbers:
            self.running[number] = Process(self._script, number, self.addresses[:of])
            self.running[number].start()
        for number in numbers:
            self.running[number].ready()
        until(self._hear_one_another)

    def _hear_one_another(self) -> bool:
        said = [
            self.at(number, "[value for key, value in control.status().items() if 'partner_node_status' in key]")
            for number in self.running
        ]
        return said == [[2] * (len(self.running) - 1)] * len(self.running)

    def at(self, number: int, what: str) -> object:
        return self.running[number].do(what)

    def deposit(self) -> None:
        """On each node that runs, once."""
        for number in sorted(self.running):
            self.deposits += 1
            assert self.at(number, "bank.deposit('all')") == self.deposits

    def stop(self, number: int) -> None:
        self.at(number, "control.close()")
        self.running.pop(number).end()

    def are_equal(self) -> bool:
        found = [self.at(number, "(control.sync(), bank.balance('all'), control.state_digest())") for number in self.running]
        return {json.dumps(each) for each in found} == {json.dumps([None, self.deposits, found[0][2]])}  # type: ignore[index]

    def are_kept_by(self, servers: int) -> bool:
        """Whether so many servers keep each of the streams, and all are up to date."""
        found = self.at(min(self.running), "control.cluster.health()")
        return all(
            stream["leader"]
            and len(stream["peers"]) == servers - 1 == stream["replicas"] - 1
            and all(peer["current"] for peer in stream["peers"])
            for stream in found  # type: ignore[attr-defined]
        )

    def lead(self, number: int) -> None:
        """Has a node lead; one that has just joined may decline at first."""

        def leads() -> bool:
            if self.at(0, "control.cluster.health()[0]['leader']") == self.addresses[number]:
                return True
            assert self.at(0, f"control.cluster.transfer({self.addresses[number]!r})") is None
            return False

        until(leads)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    found = Nodes(tmp_path_factory.mktemp("membership"))
    try:
        yield found
    finally:
        for each in found.running.values():
            each.end()


def test_one_alone_becomes_three_and_keeps_what_it_has(nodes: Nodes) -> None:
    nodes.start(0, of=1)
    nodes.deposit()
    assert "is the last member" in str(nodes.at(0, f"control.cluster.remove({nodes.addresses[0]!r})"))
    assert "a node alone can't be joined while it runs" in str(nodes.at(0, f"control.cluster.add({nodes.addresses[1]!r})"))
    nodes.stop(0)
    nodes.start(0, 1, 2, of=3)
    nodes.deposit()
    assert nodes.are_equal()
    assert nodes.at(1, "control.cluster.nodes()") == nodes.addresses[:3]


def test_two_more_join_and_then_five_servers_keep_the_line(nodes: Nodes) -> None:
    for number in (3, 4):
        assert nodes.at(number - 3, f"control.cluster.add({nodes.addresses[number]!r})") == nodes.addresses[: number + 1]
        nodes.start(number, of=number + 1)
        nodes.deposit()
    until(lambda: nodes.are_kept_by(5), 40)
    assert "5 nodes at most" in str(nodes.at(0, "control.cluster.add('127.0.0.1:1')"))
    assert nodes.are_equal()


def test_a_node_that_leads_is_removed_while_it_runs_and_does_not_come_back_by_itself(nodes: Nodes) -> None:
    nodes.lead(3)
    nodes.deposit()
    left = [nodes.addresses[number] for number in (0, 1, 2, 4)]
    assert nodes.at(0, f"control.cluster.remove({nodes.addresses[3]!r})") == left
    until(lambda: str(nodes.at(3, "control.sync()")).startswith("NotAMember: "))
    removed = nodes.running.pop(3)
    nodes.deposit()
    removed.end()
    removed.start()
    with pytest.raises(AssertionError, match="has ended"):
        removed.heard()
    until(lambda: nodes.are_kept_by(3))
    nodes.deposit()
    assert nodes.are_equal()


def test_members_are_not_changed_while_one_is_away_but_that_one_can_be_removed(nodes: Nodes) -> None:
    line = nodes.at(0, "control.cluster.health()[0]")
    away, other = (1, 2) if nodes.addresses[1] in json.dumps(line) else (2, 1)
    nodes.running.pop(away).kill()
    until(lambda: not nodes.are_kept_by(3))
    for change in (f"add({nodes.addresses[3]!r})", f"remove({nodes.addresses[other]!r})"):
        assert "Nothing was changed" in str(nodes.at(0, f"control.cluster.{change}"))
    nodes.deposit()
    left = [nodes.addresses[number] for number in (0, other, 4)]
    assert nodes.at(4, f"control.cluster.remove({nodes.addresses[away]!r})") == left
    until(lambda: nodes.are_kept_by(3))
    nodes.deposit()
    assert nodes.are_equal()


def test_three_become_one_and_it_has_all_though_the_others_led(nodes: Nodes) -> None:
    nodes.lead(4)
    for number in (4, *sorted(nodes.running)[1:2]):
        left = [nodes.addresses[other] for other in sorted(nodes.running) if other != number]
        nodes.deposit()
        assert nodes.at(0, f"control.cluster.remove({nodes.addresses[number]!r})") == left
        nodes.running.pop(number).end()
        nodes.deposit()
    until(lambda: nodes.at(0, "control.status()['partner_nodes_count']") == 0)
    nodes.stop(0)
    nodes.start(0, of=1)
    nodes.deposit()
    assert nodes.at(0, "control.cluster.nodes()") == nodes.addresses[:1]
