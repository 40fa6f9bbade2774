"""Nodes over a line in memory: one order, one outcome, each batch once, and what happens when something is wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from cluster.memory_nodes import GATES, Bank, Engine, FailingLog, Node, packed, until

import coopy
from coopy import (
    ClusterError,
    DamagedLine,
    DecodingError,
    EncodingError,
    JournalError,
    MissingMethod,
    NotAMember,
    OutcomeUnknown,
    ReadOnlyNode,
    SystemClosed,
    Unavailable,
)
from coopy.ground import action
from coopy.ground.line import MemoryLine, MemoryServer
from coopy.ground.record import WRAP
from coopy.replication import applier, outbox
from coopy.replication.outbox import Group
from coopy.replication.sender import Answered

HOUR_NS = 3600 * 10**9


@pytest.fixture
def server() -> MemoryServer:
    return MemoryServer()


@pytest.fixture
def nodes(server: MemoryServer) -> Iterator[list[Node]]:
    found = [Node(line, name) for line, name in zip(server.ends(3), "abc", strict=True)]
    yield found
    for each in found:
        each.line.close()


def standing(server: MemoryServer, name: str = "a", **options: Any) -> Node:
    """A node that takes what it is given by hand."""
    return Node(server.ends(1)[0], name, follows=False, **options)


def agree(nodes: list[Node]) -> None:
    """All have come to the same, by the same records."""
    for each in nodes:
        each.engine.sync()
    for each in nodes[1:]:
        assert each.state == nodes[0].state
        assert each.records == nodes[0].records
        common = each.engine.digests.keys() & nodes[0].engine.digests.keys()
        assert [each.engine.digests[key] for key in common] == [nodes[0].engine.digests[key] for key in common]
        assert each.engine.machine.besides() == nodes[0].engine.machine.besides()


# -- one order


def test_calls_of_all_nodes_are_applied_in_one_order_on_each(nodes: list[Node]) -> None:
    def work(node: Node, key: str) -> None:
        answers = [node.bank.log(what=f"{key}{number}", by=node.name) for number in range(100)]
        assert answers == [(f"{key}{number}", node.name) for number in range(100)]

    threads = [threading.Thread(target=work, args=(node, key)) for node in nodes for key in "xyz"]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    agree(nodes)
    history = nodes[0].state[1]
    assert len(history) == len(set(history)) == 900
    for node in nodes:
        for key in "xyz":
            own = [what for what, by in history if by == node.name and what.startswith(key)]
            assert own == [f"{key}{number}" for number in range(100)]


def test_who_called_sees_its_call_and_after_a_sync_those_of_all(nodes: list[Node]) -> None:
    one, other, _ = nodes
    assert one.bank.deposit("x", 5) == 5
    assert one.bank.balance("x") == 5
    other.engine.sync()
    assert other.bank.balance("x") == 5
    assert other.bank.deposit("x", 2) == 7


# -- what a call may do


@pytest.mark.parametrize("method", ["fail", "refuse", "transfer", "book"])
def test_an_exception_reaches_the_caller_and_is_an_outcome_everywhere(
    nodes: list[Node], server: MemoryServer, method: str
) -> None:
    nodes[0].bank.log(what="before")
    with pytest.raises(ValueError, match="no"):
        getattr(nodes[1].bank, method)("no")
    nodes[2].bank.log(what="after")
    agree(nodes)
    kept = ["no"] if method == "fail" else []
    assert nodes[0].state[1] == [("before", "nobody"), *kept, ("after", "nobody")]
    again = nodes[0].copy(server.ends(1)[0], name="d")
    assert again.state == nodes[0].state
    again.line.close()


@pytest.mark.parametrize("method", ["refuse", "transfer", "book"])
def test_a_withdrawn_call_at_the_end_of_a_batch_is_withdrawn_after_a_restart(server: MemoryServer, method: str) -> None:
    node = standing(server)
    calls = [node.encode("log", what="one"), node.encode(method, "no")]
    node.take(packed("b", 1, 1, *calls))
    assert node.state[1] == [("one", "nobody")]
    again = node.copy(server.ends(1)[0], follows=False)
    assert again.state == node.state
    following = packed("b", 1, 2, node.encode("log", what="two"))
    for each in (node, again):
        each.take(following, after=1)
    assert again.records == node.records
    assert again.state == node.state


def test_what_a_generator_yields_is_returned_and_is_done_everywhere(nodes: list[Node]) -> None:
    assert list(nodes[0].bank.count(3)) == [0, 1, 2]
    agree(nodes)
    assert nodes[2].state[1] == [0, 1, 2]


def test_keyword_arguments_and_the_domain_itself_come_back(nodes: list[Node]) -> None:
    assert nodes[0].bank.log(by="me", what="x") == ("x", "me")
    assert nodes[1].bank.itself() is nodes[1].bank
    agree(nodes)


def test_an_entity_is_that_of_each_node(nodes: list[Node]) -> None:
    for owner in "xy":
        nodes[0].bank.deposit(owner)
    nodes[1].engine.sync()
    accounts = nodes[1].bank.accounts
    assert nodes[1].bank.befriend(accounts["x"], accounts["y"]) == "y"
    agree(nodes)
    for each in nodes:
        domain = each.engine.machine.domain
        assert domain.accounts["x"].friends[0] is domain.accounts["y"]


def test_what_an_action_asks_for_is_asked_for_on_each_node_until_one_has_done_it(nodes: list[Node]) -> None:
    asked: list[str] = []
    for each in nodes:
        each.engine.machine.asked = each.engine.asked = asked.append
    nodes[0].bank.notify("hello")
    agree(nodes)
    assert len(asked) == 3
    assert len(set(asked)) == 1
    nodes[1].engine.carried_out(asked[0])
    agree(nodes)
    assert [each.engine.machine.effects for each in nodes] == [{}, {}, {}]


def test_what_can_not_be_encoded_has_changed_nothing(nodes: list[Node], server: MemoryServer) -> None:
    with pytest.raises(EncodingError):
        nodes[0].bank.log(what=threading.Lock())
    with pytest.raises(EncodingError, match="Nothing was recorded"):
        nodes[0].bank.log(what=b"x" * (outbox.RECORD_BYTES_MAX + 1))
    assert server.last == 0
    assert nodes[0].bank.deposit("x") == 1


def test_a_node_that_only_reads_follows_and_refuses_calls(nodes: list[Node], server: MemoryServer) -> None:
    reader = Node(server.ends(1)[0], "r", only_reads=True)
    nodes[0].bank.deposit("x")
    assert reader.engine.reach(server.last, 10)
    assert reader.bank.balance("x") == 1
    with pytest.raises(ReadOnlyNode, match="This is a slave/read-only instance"):
        reader.bank.deposit("x")
    assert server.last == 1
    reader.line.close()


# -- each batch once


def test_a_batch_that_comes_twice_is_applied_once(server: MemoryServer) -> None:
    node = standing(server)
    message = packed("b", 1, 1, node.encode("deposit", "x"))
    node.take(message, message)
    assert node.bank.balance("x") == 1
    node.take(message, after=0)
    assert node.bank.balance("x") == 1
    assert len(node.records) == 2


def test_a_batch_sent_again_after_the_servers_forgot_its_name_is_applied_once(nodes: list[Node], server: MemoryServer) -> None:
    assert nodes[0].bank.deposit("x") == 1
    server.names.clear()
    nodes[0].line.send(server.messages[0], "again")
    assert nodes[0].bank.deposit("x") == 2
    agree(nodes)


class Losing(MemoryLine):
    """Refuses, or does not answer, the messages whose numbers are in ``refused`` and ``swallowed``."""

    def __init__(self, server: MemoryServer, refused: tuple[int, ...] = (), swallowed: tuple[int, ...] = ()) -> None:
        super().__init__(server)
        self.refused, self.swallowed = refused, swallowed
        self.sent = 0

    def send(self, data: bytes, name: str) -> Future[int]:
        self.sent += 1
        future: Future[int] = Future()
        if self.sent in self.refused:
            future.set_exception(Unavailable("refused"))
            return future
        found = super().send(data, name)
        if self.sent in self.swallowed:
            future.set_exception(OutcomeUnknown("swallowed"))
            return future
        return found


@pytest.mark.parametrize("lost", ["refused", "swallowed"])
def test_what_is_lost_on_the_way_is_sent_again_in_its_turn(
    server: MemoryServer, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    monkeypatch.setattr(outbox, "RETRY_S", 0.001)
    line = Losing(server, **{lost: (1, 3, 4)})
    one, other = Node(line, "a"), Node(server.ends(1)[0], "b")
    groups = [one.engine.submit([one.encode("log", what=str(number))], [Answered()]) for number in range(20)]
    for each in groups:
        assert each.done.acquire(timeout=10)
        assert each.answers[0].error is None
    agree([one, other])
    assert [what for what, _ in one.state[1]] == [str(number) for number in range(20)]
    line.close()
    other.line.close()


def test_a_batch_out_of_turn_is_passed_over_by_all_and_applied_in_its_turn(server: MemoryServer) -> None:
    nodes = [standing(server, name) for name in "ab"]
    first, second, third = [packed("c", 1, number, nodes[0].encode("log", what=str(number))) for number in (1, 2, 3)]
    for each in nodes:
        each.take(second, third, first, third, second, second, third)
        assert [what for what, _ in each.state[1]] == ["1", "2", "3"]
    assert nodes[0].records == nodes[1].records


def test_a_batch_of_a_node_that_has_begun_anew_is_sent_again_if_the_one_before_it_was_lost(server: MemoryServer) -> None:
    node = standing(server)
    node.take(*(packed("a", 1, number, node.encode("deposit", "x")) for number in (1, 2, 3)))
    outbox = node.engine.outbox
    outbox.begin(5)
    answers = [Answered(), Answered()]
    for answer in answers:
        node.engine.submit([node.encode("deposit", "x")], [answer])
    first, second = server.messages
    node.take(second)
    assert outbox.problem is not None, "nobody would send it again, and its caller would wait in vain"
    outbox.tick()
    again = server.messages[2:]
    assert again == [second]
    node.take(first, *again)
    assert [each.value for each in answers] == [4, 5]


@pytest.mark.parametrize("records", range(8))
def test_a_node_killed_anywhere_in_a_batch_goes_on_where_it_was(server: MemoryServer, records: int) -> None:
    node = standing(server, "whole")
    line = server.ends(1)[0]
    calls = [node.encode("log", what="0"), node.encode("refuse", "no")]
    calls += [node.encode("log", what=str(number)) for number in (2, 3)]
    for number, part in enumerate((calls, [node.encode("deposit", "x")]), 1):
        line.send(packed("b", 1, number, *part), str(number))
    node.take(*server.messages)
    assert len(node.records) == 7
    again = node.copy(server.ends(1)[0], records)
    assert again.engine.reach(server.last, 10)
    assert again.state == node.state
    # How a withdrawn call ended was not recorded by who was killed in it; the record after it says so.
    assert [each[: len(other)] for each, other in zip(node.records, again.records, strict=False)] == again.records
    again.line.close()


def test_a_snapshot_and_a_restart_keep_what_was_applied(nodes: list[Node], server: MemoryServer) -> None:
    node = nodes[0]
    for _ in range(5):
        node.bank.deposit("x")
    node.engine.take_snapshot(lambda save: lambda: save())
    node.line.close()
    node.log.forget(node.log.last)
    again = node.copy(server.ends(1)[0])
    assert nodes[1].engine.reach(server.last, 10)
    assert again.engine.position == nodes[1].engine.position == server.last
    assert again.engine.machine.batches == nodes[1].engine.machine.batches
    server.names.clear()
    for message in list(server.messages):
        again.line.send(message, f"again {len(server.messages)}")
    assert again.bank.deposit("x") == 6
    nodes[1].engine.sync()
    assert nodes[1].state == again.state
    again.line.close()


# -- actions that are applied and written together


PLAIN = [("deposit", "x"), ("tick",), ("notify", "hello"), ("count", 3), ("itself",), ("deposit", "x", 5)]


@pytest.mark.parametrize("special", [None, "fail", "refuse", "transfer", "book", "notify_and_fail", "fail_once", "log"])
@pytest.mark.parametrize("place", [0, 3, 6])
def test_what_is_applied_together_is_what_is_applied_one_by_one(
    server: MemoryServer, monkeypatch: pytest.MonkeyPatch, special: str | None, place: int
) -> None:
    monkeypatch.setattr(applier, "PART", 4)
    node = standing(server)
    calls = [node.encode(*each) for each in PLAIN]
    node.engine.ahead_ns = HOUR_NS
    calls.insert(2, node.encode("tick"))  # The clocks of those behind it are back.
    node.engine.ahead_ns = 0
    if special == "log":
        calls.insert(place, node.encode("log", what="opaque"))
    elif special is not None:
        calls.insert(place, node.encode(special, "no"))
    messages = [packed("c", 1, 1, *calls), packed("c", 1, 2, *calls)]
    found = []
    for together in (True, False):
        GATES["no"] = threading.Event()
        if not together:
            monkeypatch.setattr(Engine, "_plain_methods", lambda self, names: None)
        each, asked = standing(MemoryServer(), "c"), []
        each.engine.asked = asked.append
        each.engine.outbox.begin(1)
        answers = [Answered() for _ in calls]
        each.engine.submit(calls, answers)
        each.take(*messages)
        values = [one.value for one in answers]
        told = [list(value) if hasattr(value, "__next__") else value if value is not each.bank else "bank" for value in values]
        errors = [repr(one.error) for one in answers]
        engine = each.engine
        found.append((each.records, each.state, engine.digests, engine.machine.besides(), engine.instant, asked, told, errors))
    assert found[0] == found[1]
    assert len(found[0][0]) == 2 * len(calls) + 2


def test_actions_are_applied_and_written_together(server: MemoryServer, monkeypatch: pytest.MonkeyPatch) -> None:
    node = standing(server)
    written: list[int] = []
    take = node.log.append_all
    monkeypatch.setattr(node.log, "append_all", lambda joined, sizes: (written.append(len(sizes)), take(joined, sizes)))
    calls = [node.encode("deposit", "x")] * 5
    node.take(packed("b", 1, 1, *calls), packed("b", 1, 2, *calls, node.encode("fail", "no"), *calls))
    node.take(packed("b", 1, 3, *calls, node.encode("book", "no")))
    assert written == [5, 6]
    assert node.bank.balance("x") == 20


@pytest.mark.parametrize("left", [0, 1, 2, 3])
def test_what_the_journal_does_not_take_is_neither_done_nor_asked_for_yet(server: MemoryServer, left: int) -> None:
    log = FailingLog()
    node, asked = standing(server, log=log), []
    node.engine.asked = lambda name: asked.append((name, log.last))
    message = packed("b", 1, 1, node.encode("tick"), node.encode("notify", "x"), node.encode("tick"))
    log.left = left
    with pytest.raises(JournalError):
        node.take(message)
    assert all(int(name.partition(".")[0]) <= last for name, last in asked)
    written = [action.instant_of(each[2:15]) for each in node.records]
    assert node.engine.instant == (max(written[1:], default=0) or 1)
    node.take(message)
    assert {name for name, _ in asked} == {"3.0"}
    assert len(node.records) == 4
    assert len(instants(node)) == 2


class Open(Bank):
    @coopy.readonly
    @coopy.unlocked
    def deposited(self) -> list[Any]:
        return list(self.history)


def test_an_action_that_an_unlocked_read_can_see_is_in_the_journal_before_it_runs(server: MemoryServer) -> None:
    node = standing(server, cls=Open)
    seen: list[int] = []
    node.engine.machine.methods["tick"] = lambda: seen.append(node.log.last)
    node.take(packed("b", 1, 1, *[node.encode("tick")] * 3))
    assert seen == [2, 3, 4]


def test_why_a_node_has_stopped_is_told_many_times_and_does_not_grow(nodes: list[Node]) -> None:
    nodes[0].engine.fail(ClusterError("it has stopped"))
    for ask in (lambda: nodes[0].bank.deposit("x"), nodes[0].engine.sync, lambda: nodes[0].engine.reach(99, 1)) * 10:
        with pytest.raises(ClusterError, match="it has stopped") as caught:
            ask()
        assert caught.value is not nodes[0].engine.failure
    assert nodes[0].engine.failure.__traceback__ is None


# -- who is who


def test_a_node_that_begins_anew_is_another_incarnation_and_goes_on(nodes: list[Node], server: MemoryServer) -> None:
    nodes[0].bank.deposit("x")
    nodes[0].line.close()
    again = nodes[0].copy(server.ends(1)[0])
    assert again.engine.outbox.incarnation > nodes[0].engine.outbox.incarnation
    assert again.bank.deposit("x") == 2
    for each in (again, nodes[1]):
        each.engine.sync()
    assert [again.state] * 2 == [each.state for each in (again, nodes[1])]
    again.line.close()


def test_a_node_that_sent_nothing_and_begins_anew_is_another_incarnation(server: MemoryServer) -> None:
    for _ in range(2):
        node = Node(server.ends(1)[0], "a")
        node.engine.sync(5)
        node.line.close()


def test_a_batch_of_a_process_that_is_gone_is_not_taken_for_one_of_the_next(server: MemoryServer) -> None:
    gone = Node(server.ends(1)[0], "a")
    late: list[tuple[bytes, str]] = []
    gone.line.send = lambda data, name: late.append((data, name)) or Future()  # type: ignore[func-returns-value,method-assign]
    gone.engine.submit([gone.encode("log", what="of the first")], [Answered()])
    gone.line.close()
    node = Node(server.ends(1)[0], "a")
    server.ends(1)[0].send(*late[0])
    assert node.bank.log(what="of the second") == ("of the second", "nobody")
    node.line.close()


def test_a_process_that_another_has_followed_is_refused_and_told(server: MemoryServer) -> None:
    first, watching = [Node(line, name) for line, name in zip(server.ends(2), "ab", strict=True)]
    first.bank.deposit("x")
    second = first.copy(server.ends(1)[0])
    second.bank.deposit("x")
    with pytest.raises(ClusterError):
        first.bank.deposit("x", 1000)
    assert first.ended.wait(10)
    until(lambda: first.engine.failure)
    assert isinstance(first.engine.failure, NotAMember)
    assert "another process runs as the node a" in str(first.engine.failure)
    with pytest.raises(NotAMember):
        first.bank.deposit("x")
    agree([second, watching])
    assert watching.bank.balance("x") == 2
    for each in (second, watching):
        each.line.close()


@pytest.mark.parametrize(
    "calls", [("fail_once",), ("log", "fail_once"), ("fail_once", "log"), ("log", "fail_once", "log")], ids=str
)
def test_an_action_that_was_interrupted_and_applied_again_is_not_said_to_have_come_to_something_else(
    calls: tuple[str, ...],
) -> None:
    one, other = [Node(MemoryServer().ends(1)[0], name, follows=False) for name in "ab"]
    records = [one.encode("fail_once", "x") if each == "fail_once" else one.encode("log", what="y") for each in calls]
    before, message = packed("c", 1, 1, one.encode("log", what="z")), packed("c", 1, 2, *records)
    GATES["x"] = threading.Event()
    one.take(before, message)
    other.take(before, message)
    assert one.state == other.state and "x" not in GATES
    assert one.engine.digests[1] == other.engine.digests[1]
    assert one.engine.digests.get(2) in (None, other.engine.digests[2])


@pytest.mark.parametrize(
    ("incarnation", "number", "is_told"),
    [(2, 2, True), (2, 3, True), (2, 4, True), (1, 5, True), (1, 3, False), (1, 2, False)],
)
def test_who_sent_a_batch_is_told_that_it_was_passed_over_whatever_an_older_incarnation_has_sent(
    monkeypatch: pytest.MonkeyPatch, incarnation: int, number: int, is_told: bool
) -> None:
    node = Node(MemoryServer().ends(1)[0], follows=False)
    record = node.encode("deposit", "x")
    node.take(*[packed("a", 1, each, record) for each in (1, 2, 3)])
    node.engine.outbox.begin(incarnation)
    told: list[int] = []
    monkeypatch.setattr(node.engine.outbox, "passed_over", told.append)
    node.take(packed("a", incarnation, number, record))
    assert told == [number] * is_told


# -- what stops a node


class Poorer:
    """A bank without some of its methods."""

    def __init__(self) -> None:
        self.history: list[Any] = []

    def log(self, *, what: str, by: str = "nobody") -> None:
        self.history.append((what, by))


class Gone:
    pass


def garbled(node: Node) -> bytes:
    message = bytearray(packed("b", 1, 1, node.encode("deposit", "x")))
    message[-1] ^= 1
    return bytes(message)


def too_many(node: Node) -> bytes:
    record = node.encode("deposit", "x")
    return packed("b", 1, 1, record + WRAP + record)


def of_a_missing_class(node: Node) -> bytes:
    return packed("b", 1, 1, node.encode("log", what=Gone()).replace(b"Gone", b"Lost"))


@pytest.mark.parametrize(
    ("message", "error"), [(garbled, DamagedLine), (too_many, DamagedLine), (of_a_missing_class, DecodingError)]
)
def test_what_can_not_be_read_stops_a_node_before_it_is_applied(
    server: MemoryServer, message: Callable[[Node], bytes], error: type[Exception]
) -> None:
    node = Node(server.ends(1)[0], "a")
    assert node.bank.deposit("x") == 1
    node.line.send(message(node), "wrong")
    assert node.ended.wait(10)
    until(lambda: node.engine.failure)
    assert isinstance(node.engine.failure, error)
    assert node.bank.balance("x") == 1
    with pytest.raises(error):
        node.bank.deposit("x")
    applied = node.engine.machine.applied
    assert node.log.last - applied in (0, 1)
    assert (node.engine.position, node.state[0]) == (1, [("x", 1, [])])


def test_a_method_that_is_not_here_stops_a_node_and_it_goes_on_when_it_is(server: MemoryServer) -> None:
    rich = Node(server.ends(1)[0], "b")
    poor = Node(server.ends(1)[0], "a", cls=Poorer)
    rich.bank.log(what="1")
    answers = [Answered() for _ in range(3)]
    calls = [rich.encode("log", what="2"), rich.encode("deposit", "x"), rich.encode("log", what="3")]
    assert rich.engine.submit(calls, answers).done.acquire(timeout=10)
    assert poor.ended.wait(10)
    until(lambda: poor.engine.failure)
    assert isinstance(poor.engine.failure, MissingMethod)
    assert "deposit" in str(poor.engine.failure)
    assert [what for what, _ in poor.engine.machine.domain.history] == ["1", "2"]
    cured = poor.copy(server.ends(1)[0], cls=type("Poorer", (Bank,), {"__module__": __name__}), follows=False)
    assert cured.engine.machine.applied == poor.engine.machine.applied
    rich.line.close()


def test_a_hole_in_the_line_stops_a_node_before_what_is_behind_it(server: MemoryServer) -> None:
    node = standing(server)
    first, second = [packed(name, 1, 1, node.encode("log", what=name)) for name in "bc"]
    node.take(first)
    with pytest.raises(DamagedLine):
        node.engine.take(3, second)
    assert node.state[1] == [("b", "nobody")]


def test_an_error_that_nobody_mends_stops_the_node(server: MemoryServer) -> None:
    node = standing(server)
    engine = Engine(node.log, node.snapshots, node.engine._codec, b"", server.ends(1)[0], "b")
    engine.start()
    engine.follow()
    engine.line.send(garbled(node), "wrong")
    until(lambda: engine.failure)
    assert isinstance(engine.failure, DamagedLine)


# -- a disk that is full for a while


@pytest.mark.parametrize("left", [0, 1, 2])
def test_callers_are_answered_although_the_journal_failed_for_a_while(server: MemoryServer, left: int) -> None:
    log = FailingLog()
    node, other = Node(server.ends(1)[0], "a", log=log, mends=(JournalError,)), Node(server.ends(1)[0], "b")
    node.bank.deposit("x")
    log.left = left
    answers = [Answered() for _ in range(3)]
    assert node.engine.submit([node.encode("deposit", "x") for _ in range(3)], answers).done.acquire(timeout=5)
    assert [each.error for each in answers] == [None] * 3
    assert [each.value for each in answers] == [2, 3, 4]
    node.engine.sync(), other.engine.sync()
    assert node.records == other.records
    for each in (node, other):
        each.line.close()


# -- time


def instants(node: Node) -> list[Any]:
    return [each for each in node.state[1] if not isinstance(each, (tuple, str))]


def test_instants_never_go_back_although_a_clock_does(nodes: list[Node]) -> None:
    nodes[1].engine.ahead_ns = HOUR_NS
    nodes[2].engine.ahead_ns = -HOUR_NS
    for each in [*nodes, *nodes]:
        each.bank.tick()
    nodes[1].engine.ahead_ns = 0
    for each in nodes:
        each.bank.tick()
    agree(nodes)
    found = instants(nodes[0])
    assert found == sorted(found)
    assert len(found) == 9


@pytest.mark.parametrize("method", ["log", "refuse", "transfer", "book"])
@pytest.mark.parametrize("snapshot", [False, True])
def test_a_node_that_was_restarted_gives_actions_the_same_instants(server: MemoryServer, method: str, snapshot: bool) -> None:
    """Whatever happened to the last action, which had a clock that was ahead."""
    node = standing(server)
    node.engine.ahead_ns = HOUR_NS
    ahead = node.encode("log", what="x") if method == "log" else node.encode(method, "no")
    node.engine.ahead_ns = 0
    node.take(packed("b", 1, 1, node.encode("tick"), ahead))
    if snapshot:
        node.engine.take_snapshot(lambda save: lambda: save())
    again = node.copy(server.ends(1)[0], follows=False)
    following = packed("b", 1, 2, node.encode("tick"))
    for each in (node, again):
        each.take(following, after=1)
    assert again.state == node.state
    assert again.records == node.records


# -- what a caller is told


def test_who_is_not_heard_may_call_again(server: MemoryServer, monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(server.ends(1)[0], "a", timeout_s=0.05)
    server.available = False
    for _ in range(2):
        with pytest.raises(Unavailable, match="Nothing was recorded; call again"):
            node.bank.deposit("x", 100)
    with pytest.raises(Unavailable):
        node.engine.sync()
    server.available = True
    node.engine.timeout_s = 10
    assert node.bank.deposit("x") == 1
    node.line.close()


def test_after_an_outage_in_which_only_a_read_was_tried_calls_are_taken(server: MemoryServer) -> None:
    node = Node(server.ends(1)[0], "a", timeout_s=0.05)
    server.available = False
    with pytest.raises(Unavailable):
        node.engine.sync()
    server.available = True
    node.engine.timeout_s = 5
    assert node.bank.deposit("x") == 1
    node.line.close()


class Silent(MemoryLine):
    """Takes messages and never says so; and brings none while ``silent``."""

    silent = True

    def send(self, data: bytes, name: str) -> Future[int]:
        found = super().send(data, name)
        return Future() if self.silent else found

    def receive(self, timeout_s: float) -> Any:
        return [] if self.silent and not threading.Event().wait(0.005) else super().receive(timeout_s)


def test_who_hears_nothing_learns_that_it_is_not_known(server: MemoryServer) -> None:
    line = Silent(server)
    node = Node(line, "a", timeout_s=0.05)
    with pytest.raises(OutcomeUnknown, match="applied once or never"):
        node.bank.deposit("x")
    line.silent = False
    assert node.engine.reach(server.last, 10)
    assert node.bank.balance("x") == 1
    line.close()


def test_who_does_not_wait_for_a_long_call_is_not_told_that_it_was_not_recorded(server: MemoryServer) -> None:
    node = Node(server.ends(1)[0], "a", timeout_s=0.05)
    gate = GATES["long"] = threading.Event()
    with pytest.raises(OutcomeUnknown):
        node.bank.held("long")
    gate.set()
    node.engine.sync(10)
    assert len(node.records) == 2
    node.line.close()


def test_a_closed_node_takes_no_calls(server: MemoryServer) -> None:
    node = Node(server.ends(1)[0], "a")
    node.bank.deposit("x")
    node.engine.close()
    with pytest.raises(SystemClosed):
        node.bank.deposit("x")


# -- the rest


def test_what_is_submitted_is_applied_in_that_order_and_told(nodes: list[Node]) -> None:
    told: list[int] = []
    answers = [Answered() for _ in range(50)]
    record = nodes[0].encode("deposit", "x")

    def then(number: int) -> Callable[[Group], None]:
        return lambda _: told.append(number)

    groups = [nodes[0].engine.submit([record], [answer], then(number)) for number, answer in enumerate(answers)]
    assert all(each.done.acquire(timeout=10) for each in groups)
    until(lambda: len(told) == 50)
    assert told == list(range(50))
    assert [each.value for each in answers] == list(range(1, 51))
    agree(nodes)


def test_large_batches_are_applied_whole(nodes: list[Node]) -> None:
    count = 1500
    answers = [Answered() for _ in range(count)]
    record = nodes[0].encode("deposit", "x")
    assert nodes[0].engine.submit([record] * count, answers).done.acquire(timeout=10)
    assert [each.value for each in answers] == list(range(1, count + 1))
    agree(nodes)


def test_a_barrier_is_behind_all_that_was_answered_before(nodes: list[Node]) -> None:
    for number in range(1, 50):
        assert nodes[number % 3].bank.deposit("x") == number
        reader = nodes[(number + 1) % 3]
        reader.engine.sync()
        assert reader.bank.balance("x") == number


def test_a_node_that_comes_to_something_else_has_another_digest(nodes: list[Node]) -> None:
    nodes[0].bank.deposit("x")
    nodes[0].bank.where()
    nodes[0].bank.deposit("x")
    for each in nodes:
        each.engine.sync()
    one, other, _ = (each.engine for each in nodes)
    differing = [sequence for sequence in one.digests if one.digests[sequence] != other.digests[sequence]]
    assert len(differing) == 1


def test_a_node_goes_on_with_what_another_has(nodes: list[Node], server: MemoryServer) -> None:
    source = nodes[0].copy(MemoryServer().ends(1)[0], follows=False)
    nodes[0].bank.deposit("x")
    for each in nodes:
        each.engine.sync()
    behind = nodes[2]
    behind.engine.replace(source.log, source.snapshots)
    behind.log = source.log
    assert behind.engine.reach(server.last, 10)
    nodes[0].bank.deposit("x")
    behind.engine.sync()
    assert behind.records == nodes[0].records
    assert behind.bank.deposit("x") == 3
