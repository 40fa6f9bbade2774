"""What `coopy.replication.servers` promises, over servers in memory and over nats-server; and a node, opened over those in memory.

The line has a suite of its own, `cluster/test_line.py`.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster.bank import Bank
from network.servers import until
from program import free_port

from coopy import MissingActions, SystemClosed, Unavailable, control
from coopy.errors import ClusterError
from coopy.network.address import Address, parse
from coopy.network.server import binary
from coopy.network.subjects import Names
from coopy.place.options import Settings
from coopy.replication.jetstream import JetStream
from coopy.replication.memory import Links, MemoryCluster
from coopy.replication.node import ReplicatedSystem
from coopy.replication.role import Elsewhere, Here, Member
from coopy.replication.servers import Servers

NODES = ("a:1", "b:1", "c:1")
TIMEOUT_S = 10.0
Make = Callable[[str], Servers]


def role_of(node: str, server: str | None = None) -> Member:
    return Member(
        node=parse(node),
        nodes=tuple(map(parse, NODES)),
        where=Here() if server is None else Elsewhere(server),
        password="a password",
        replica_password=None,
        tls=None,
        timeout_s=TIMEOUT_S,
        advice="",
    )


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    command = [binary.find(), "-js", "-sd", str(tmp_path_factory.mktemp("store")), "-a", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
        try:
            yield f"nats://127.0.0.1:{port}"
        finally:
            server.terminate()


NUMBERS = iter(range(1, 1000))


@pytest.fixture(params=["memory", "nats"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Makes one more node's way to the same servers, of one cluster for each test."""
    made: list[Servers] = []
    names = Names(f"contract{next(NUMBERS)}")
    cluster = MemoryCluster(NODES)

    def one(node: str = NODES[0]) -> Servers:
        if request.param == "memory":
            found: Servers = cluster.of(role_of(node), names, str(tmp_path))
        else:
            found = JetStream(role_of(node, request.getfixturevalue("nats")), names, str(tmp_path))
        made.append(found)
        found.open()
        return found

    if request.param == "memory":
        for name in NODES:
            cluster.start(name)
    yield one
    for each in made:
        each.close()


@pytest.fixture
def two(make: Make) -> tuple[Servers, Servers]:
    """Two nodes, with all made that a system needs."""
    one, other = make(NODES[0]), make(NODES[1])
    one.make(1)
    one.make_line(1, 1)
    return one, other


# -- facts


def test_a_fact_is_written_by_who_has_read_it_and_read_by_all(two: tuple[Servers, Servers]) -> None:
    one, other = (each.room for each in two)
    assert one.get("members") == (None, 0)
    assert one.put("members", {"nodes": ["a"]}, 0)
    facts, revision = other.get("members")
    assert facts == {"nodes": ["a"]} and revision > 0
    assert not other.put("members", {"nodes": ["b"]}, 0)
    assert not other.put("members", {"nodes": ["b"]}, revision + 1)
    assert other.put("members", {"nodes": ["b"]}, revision)
    assert one.get("members")[0] == {"nodes": ["b"]} and one.get("members")[1] > revision
    assert not one.put("members", {"nodes": ["c"]}, revision)


def test_facts_have_revisions_of_their_own_that_never_go_back(two: tuple[Servers, Servers]) -> None:
    room = two[0].room
    assert room.put("one", {"x": 1}, 0) and room.put("other", {"x": 2}, 0)
    one, other = room.get("one")[1], room.get("other")[1]
    assert room.put("one", {"x": 3}, one)
    assert room.get("one")[1] > one and room.get("other") == ({"x": 2}, other)


def test_what_a_reader_does_to_a_fact_changes_nothing_for_others(two: tuple[Servers, Servers]) -> None:
    one, other = (each.room for each in two)
    said = {"nodes": ["a"]}
    assert one.put("members", said, 0)
    said["nodes"].append("b")
    facts, _ = other.get("members")
    assert facts is not None
    facts["nodes"] = []
    assert one.get("members")[0] == {"nodes": ["a"]}


def test_things_are_made_once(two: tuple[Servers, Servers]) -> None:
    one, other = two
    assert one.room.put("genesis", {"system": "x"}, 0)
    other.make(1)
    other.make_line(1, 100)
    assert other.room.get("genesis")[0] == {"system": "x"}
    assert other.state(TIMEOUT_S).last == 0


def test_a_turn_is_one_nodes_until_it_gives_it_back(two: tuple[Servers, Servers]) -> None:
    one, other = (each.turn("founder", 100.0) for each in two)
    assert one.take() and one.renew() and not other.take() and other.is_anothers() and not one.is_anothers()
    one.give_back()
    assert other.take() and not one.take() and not one.renew()


# -- signs of life


def test_what_a_node_says_of_itself_is_heard_by_the_others_and_not_by_itself(two: tuple[Servers, Servers]) -> None:
    one, other = (each.room for each in two)
    heard: list[Any] = []
    other.heard = lambda node, facts: heard.append((node, facts))
    assert one.said(NODES[1]) == {} and one.alive() == {}
    one.enter(), other.enter()

    def says() -> bool:
        one.say({"position": 7, "digests": {"1": 2}})
        return bool(heard)

    until(says)
    assert heard[0] == (NODES[0], {"position": 7, "digests": {"1": 2}})
    assert other.said(NODES[0])["position"] == 7 and list(other.alive()) == [NODES[0]]
    assert one.alive() == {} and one.said(NODES[0]) == {}
    assert other.alive(within_s=0.0) == {}


# -- questions


def test_a_question_is_answered_by_a_node_that_does_so(two: tuple[Servers, Servers]) -> None:
    one, other = (each.room for each in two)
    other.answer("double", lambda asked: [{"is": 2 * each["of"]} for each in asked], 100.0, 100.0)
    one.enter(), other.enter()
    assert one.ask("double", {"of": 21}, TIMEOUT_S) == {"is": 42}
    assert other.ask("double", {"of": 4}, TIMEOUT_S) == {"is": 8}


def test_who_is_told_to_ask_again_does_so_and_who_is_refused_is_told_why(two: tuple[Servers, Servers]) -> None:
    one, other = (each.room for each in two)
    answers: list[dict[str, Any]] = [{"error": "too many ask", "retry_s": 0.01}, {"error": "too many ask", "retry_s": 0.01}, {}]
    other.answer("sync", lambda asked: [answers.pop(0) for _ in asked], 1000.0, 1000.0)
    other.answer("no", lambda asked: [{"error": "never"} for _ in asked], 1000.0, 1000.0)
    one.enter(), other.enter()
    assert one.ask("sync", {}, TIMEOUT_S) == {} and not answers
    with pytest.raises(ClusterError, match="no: never"):
        one.ask("no", {}, TIMEOUT_S)


def test_a_question_that_nobody_answers_fails_in_time(two: tuple[Servers, Servers]) -> None:
    one = two[0].room
    one.enter()
    with pytest.raises(Unavailable):
        one.ask("nothing", {}, 0.5)


# -- what the servers say of themselves


def test_the_state_says_where_the_line_begins_and_ends(two: tuple[Servers, Servers]) -> None:
    one, other = two
    line = one.line
    line.follow(0)
    until(lambda: not isinstance(_sent(line, "a"), BaseException))
    for name in "bcd":
        assert isinstance(_sent(line, name), int)
    state = other.state(TIMEOUT_S)
    assert (state.first, state.last) == (1, 4) and state.bytes >= 4
    assert [other.is_there(sequence, TIMEOUT_S) for sequence in (1, 4, 5)] == [True, True, False]
    line.forget(2)
    assert (other.state(TIMEOUT_S).first, other.is_there(2, TIMEOUT_S)) == (3, False)


def _sent(line: Any, name: str) -> Any:
    line.receive(0.02)  # A stream connects where it receives.
    sent = line.send(name.encode(), name)
    for _ in range(100):
        if sent.done():
            break
        line.receive(0.02)
    return sent.exception() or sent.result()


def test_a_line_begins_with_the_sequence_that_is_said(make: Make) -> None:
    one = make(NODES[0])
    one.make(1)
    one.make_line(1, 71)
    one.line.follow(70)
    until(lambda: _sent(one.line, "a") == 71)
    one.line.follow(5)
    with pytest.raises(MissingActions):
        for _ in range(200):
            one.line.receive(0.02)


# -- snapshots


def test_a_shipped_snapshot_is_fetched_by_another_node(two: tuple[Servers, Servers]) -> None:
    one, other = (each.shipped for each in two)
    assert other.latest() is None and other.indexes() == []
    for index, data in ((5, b"five"), (70, b"seventy" * 1000)):
        one.write(index, lambda file, data=data: file.write(data) and None)  # type: ignore[misc]
    told: list[tuple[int, int]] = []
    other.progress = lambda done, total: told.append((done, total))
    found = other.latest()
    assert found is not None and (found[0], bytes(found[1])) == (70, b"seventy" * 1000)
    assert told[-1] == (7000, 7000)
    older = other.latest(69)
    assert older is not None and (older[0], bytes(older[1])) == (5, b"five")
    assert other.indexes() == [5, 70] and other.head(70, 7)[:7] == b"seventy"
    other.forget(70)
    assert one.indexes() == [70]


# -- closing


def test_who_has_closed_is_told_so_and_the_others_go_on(two: tuple[Servers, Servers]) -> None:
    one, other = two
    one.close()
    one.close()
    with pytest.raises((SystemClosed, Unavailable)):
        one.state(1.0)
    assert other.room.put("members", {"nodes": []}, 0)
    other.line.follow(0)
    until(lambda: isinstance(_sent(other.line, "a"), int))


# -- nodes over servers in memory


def opened(cluster: MemoryCluster, node: str, folder: Path) -> Any:
    system = ReplicatedSystem(
        Bank,
        str(folder / node.partition(":")[0]),
        Settings.of("init_system", {"fork": False, "segment_bytes": 1 << 20}),
        role=role_of(node),
        servers=cluster.of,
    )
    system.start(None)
    return system.proxy


def test_three_nodes_in_one_process_agree_and_one_that_ends_comes_back(tmp_path: Path) -> None:
    cluster = MemoryCluster(NODES)
    banks: dict[str, Any] = {}

    def start(node: str) -> None:
        banks[node] = opened(cluster, node, tmp_path)

    threads = [threading.Thread(target=start, args=(node,)) for node in NODES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(banks) == list(NODES)
    assert [bank.deposit("x") for bank in banks.values()] == [1, 2, 3]
    control(banks.pop("b:1")).close()
    assert [bank.deposit("x") for bank in banks.values()] == [4, 5]
    start("b:1")
    assert [bank.deposit("x") for bank in banks.values()] == [6, 7, 8]
    for bank in banks.values():
        control(bank).sync()
    assert len({control(bank).state_digest() for bank in banks.values()}) == 1
    for bank in banks.values():
        control(bank).close()


# -- what may go wrong with servers in memory


class Cut(Links):
    """Links of which some are cut; what is sent over the others arrives at once."""

    def __init__(self) -> None:
        self.away: set[str] = set()

    def reaches(self, one: str, other: str) -> bool:
        return not {one, other} & self.away


def cut(*away: str) -> tuple[MemoryCluster, dict[str, Servers], Cut]:
    links = Cut()
    cluster = MemoryCluster(NODES, links)
    servers: dict[str, Servers] = {node: cluster.of(role_of(node), Names("x"), "") for node in NODES}
    for each in servers.values():
        each.open()
    cluster.elect(NODES[0])
    servers[NODES[0]].make(3)
    servers[NODES[0]].make_line(3, 1)
    links.away.update(away)
    return cluster, servers, links


def test_one_that_led_and_is_cut_off_answers_with_what_was_and_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster, servers, links = cut()
    led, others = servers["a:1"], [servers["b:1"], servers["c:1"]]
    assert _sent(led.line, "before") == 1
    links.away.add("a:1")
    cluster.elect("b:1")
    assert _sent(others[0].line, "after") == 2
    assert led.state(1.0).leader == "a:1" and led.state(1.0).last == 1
    assert others[1].state(1.0).leader == "b:1" and others[1].state(1.0).last == 2
    lost = led.line.send(b"lost", "lost")
    assert led.line.receive(0.01) == [] and not lost.done()
    links.away.clear()
    cluster.tick()
    led.line.receive(0.01)
    assert type(lost.exception(0)).__name__ == "OutcomeUnknown"
    assert led.state(1.0).last == 2


def test_what_no_majority_has_is_taken_when_there_is_one_again() -> None:
    cluster, servers, links = cut()
    links.away.update(NODES)
    sent = servers["a:1"].line.send(b"later", "later")
    servers["a:1"].line.receive(0.01)
    assert not sent.done()
    links.away.clear()
    cluster.tick()
    servers["a:1"].line.receive(0.01)
    assert sent.result(0) == 1


def test_a_server_that_is_behind_answers_with_what_was() -> None:
    cluster, servers, links = cut()
    links.away.add("c:1")
    assert servers["a:1"].room.put("members", {"nodes": []}, 0)
    assert servers["b:1"].room.get("members")[0] == {"nodes": []} and servers["c:1"].room.get("members") == (None, 0)
    links.away.clear()
    cluster.tick()
    assert servers["c:1"].room.get("members")[0] == {"nodes": []}


def test_addresses_are_those_of_the_role() -> None:
    servers = MemoryCluster(NODES).of(role_of("b:1"), Names("x"), "")
    assert servers.open() == (Address("a", 1), Address("b", 1), Address("c", 1))
    servers.close()
