"""An action that a node can't apply is withdrawn by a message of the line: on every node, in whatever order things happen."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from cluster.memory_nodes import GATES, Bank, Node, packed, until
from handed import Called

import coopy
from coopy import Unavailable, abort_exception, transactional
from coopy.errors import InterruptedReplay
from coopy.ground import action, batch
from coopy.ground.line import MemoryLine, MemoryServer
from coopy.ground.record import AMENDMENT_BYTES, WRAP
from coopy.past.history import actions
from coopy.replication import applier, follower, sender


class Cellar(Bank):
    """A bank whose `swell` asks for more memory than some nodes have."""

    small = False

    def swell(self, text: str) -> int:
        self.history.append(text)
        self._asks_for_memory()
        return len(self.history)

    def swell_opaquely(self, *, text: str) -> int:
        return self.swell(text)

    @transactional
    def swell_together(self, text: str) -> int:
        return self.swell(text)

    @transactional(parts=("history",))
    def swell_in_part(self, text: str) -> int:
        return self.swell(text)

    @abort_exception
    def swell_carefully(self, text: str) -> int:
        return self.swell(text)

    def swell_and_fail(self, text: str) -> None:
        self.swell(text)
        raise ValueError(text)

    def swell_by_parts(self, upto: int) -> Any:
        for number in range(upto):
            yield self.swell(f"{number}")

    def swell_and_notify(self, text: str) -> None:
        coopy.on_commit(print, text)
        self.swell(text)

    def need(self, text: str) -> int:
        """Ends otherwise without what came before it."""
        return self.history.index(text)

    def _asks_for_memory(self) -> None:
        if type(self).small:
            raise MemoryError


class Shaft(Cellar):
    """The same of room to recurse."""

    def _asks_for_memory(self) -> None:
        if type(self).small:
            self._asks_for_memory()


CALLS = [
    ("swell", ("x",), {}),
    ("swell_opaquely", (), {"text": "x"}),
    ("swell_together", ("x",), {}),
    ("swell_in_part", ("x",), {}),
    ("swell_carefully", ("x",), {}),
    ("swell_and_fail", ("x",), {}),
    ("swell_by_parts", (3,), {}),
    ("swell_and_notify", ("x",), {}),
]


class End(MemoryLine):
    """An end of a line whose withdrawals can be kept back."""

    held = False

    def send(self, data: bytes, name: str) -> Future[int]:
        if self.held and name.startswith("withdrawal"):
            return Future()
        return super().send(data, name)


@pytest.fixture
def server() -> MemoryServer:
    return MemoryServer()


Start = Callable[..., Node]


@pytest.fixture
def start(server: MemoryServer) -> Iterator[Start]:
    """Starts a node, small or not, of which the class is its own."""
    found: list[Node] = []

    def begin(
        name: str, *, small: bool = False, cls: type = Cellar, of: Node | None = None, held: bool = False, **options: Any
    ) -> Node:
        line = End(server)
        line.held = held
        own = type(cls.__name__, (cls,), {"small": small, "__module__": cls.__module__, "__qualname__": cls.__qualname__})
        node = Node(line, name, cls=own, **options) if of is None else of.copy(line, name=name, cls=own, **options)
        found.append(node)
        return node

    yield begin
    for node in found:
        node.line.close()


def close(node: Node) -> None:
    """As a process that is killed: nothing more of it comes."""
    node.line.close()
    assert node.engine._thread is not None
    node.engine._thread.join(10)


def agree(server: MemoryServer, *nodes: Node) -> None:
    """All have come to the same, and a restart of each comes to it, too."""
    for each in nodes:
        assert each.engine.reach(server.last, 10)
    after = max(node.log._first for node in nodes) - 1
    for each in nodes:
        assert each.engine.failure is None
        assert each.state == nodes[0].state
        assert recorded(each, after) == recorded(nodes[0], after)
        assert each.engine.machine.besides() == nodes[0].engine.machine.besides()
        again = each.copy(MemoryLine(server), cls=each.cls, follows=False)
        assert again.state == nodes[0].state
        assert again.engine.position == server.last or again.engine.position <= each.engine.position


def recorded(node: Node, after: int) -> list[Any]:
    """What the journal of a node says behind an action, however it says how one has ended."""
    found = actions(node.log, node.engine._codec, after)
    return [(each.index, each.time, each.method, each.args, each.kwargs, each.outcome) for each in found]


def history(node: Node) -> Any:
    return node.state[1]


def withdrawals(server: MemoryServer) -> int:
    return sum(batch.unpack(data, 1).kind == batch.WITHDRAWAL for data in server.messages)


# -- who fails


@pytest.mark.parametrize("cls", [Cellar, Shaft])
def test_what_every_node_fails_at_is_withdrawn_and_all_go_on(server: MemoryServer, start: Start, cls: type) -> None:
    nodes = [start(name, small=True, cls=cls) for name in "abc"]
    nodes[0].bank.log(what="before")
    with pytest.raises((MemoryError, RecursionError)) as told:
        nodes[0].bank.swell("x")
    assert "is withdrawn on all nodes" in "".join(told.value.__notes__)
    for node in nodes:
        node.bank.log(what="after", by=node.name)
    agree(server, *nodes)
    assert [what for what, _ in history(nodes[0])] == ["before", "after", "after", "after"]
    assert withdrawals(server) == 1
    assert [node.went_back for node in nodes] == [[], [], []]


@pytest.mark.parametrize(("name", "args", "kwargs"), CALLS, ids=lambda each: each if isinstance(each, str) else "")
@pytest.mark.parametrize("caller", [0, 1])
def test_what_one_node_fails_at_is_withdrawn_on_all(
    server: MemoryServer, start: Start, name: str, args: Any, kwargs: Any, caller: int
) -> None:
    nodes = [start("a", small=True), start("b"), start("c")]
    nodes[1].bank.log(what="before")
    with contextlib.suppress(MemoryError, ValueError):
        getattr(nodes[caller].bank, name)(*args, **kwargs)
    nodes[2].bank.log(what="after")
    agree(server, *nodes)
    assert [what for what, _ in history(nodes[0])] == ["before", "after"]
    assert nodes[0].went_back == []
    undone = name in ("swell_together", "swell_in_part", "swell_carefully")
    assert all(bool(node.went_back) for node in nodes[1:]) or undone
    nodes[0].bank.log(what="more")
    agree(server, *nodes)


def test_where_others_have_withdrawn_it_themselves_nobody_goes_back(server: MemoryServer, start: Start) -> None:
    class Failing(Cellar):
        @transactional
        def swell(self, text: str) -> int:
            self._asks_for_memory()
            raise ValueError(text)

    nodes = [start("a", small=True, cls=Failing), start("b", cls=Failing)]
    with pytest.raises(ValueError):
        nodes[1].bank.swell("x")
    nodes[1].bank.log(what="after")
    agree(server, *nodes)
    assert nodes[1].went_back == []


def test_an_action_in_the_middle_of_a_batch_is_withdrawn_alone(server: MemoryServer, start: Start) -> None:
    nodes = [start("a", small=True), start("b"), start("c", small=True)]
    calls = [("log", "1"), ("swell", "x"), ("deposit", "2"), ("fail", "3"), ("swell_opaquely", "y"), ("deposit", "4")]

    class Handed(Called):
        domain = Cellar

    for node in nodes:
        engine = node.engine
        records = [
            node.encode(name, **{"what" if name == "log" else "text": text})
            if name in ("log", "swell_opaquely")
            else node.encode(name, text)
            for name, text in calls
        ]
        answers = [Handed(None) for _ in records]
        engine._wait(engine.submit(records, answers), 10)
        small = node.cls.small
        told = [type(each.error).__name__ for each in answers]
        assert told == [
            "NoneType",
            *(["MemoryError"] if small else ["NoneType"]),
            "NoneType",
            "ValueError",
            told[1],
            "NoneType",
        ]
        agree(server, *nodes)
    assert len(history(nodes[0])) == 3 * 2
    assert withdrawals(server) == 6


def test_the_first_and_the_last_action_of_a_batch_are_withdrawn(server: MemoryServer, start: Start) -> None:
    nodes = [start("a", small=True), start("b")]
    swell, log = nodes[1].encode("swell", "x"), nodes[1].encode("log", what="y")
    for number, records in enumerate([[swell, log], [log, swell], [swell, swell], [swell]], 1):
        server.ends(1)[0].send(packed("z", 1, number, *records), f"{number}")
        nodes[0].bank.log(what="between")
        agree(server, *nodes)
    assert [what for what, _ in history(nodes[0])].count("y") == 2
    assert "x" not in history(nodes[0])


# -- what was answered in between


def test_what_came_after_it_is_applied_without_it(server: MemoryServer, start: Start) -> None:
    small, roomy, other = start("a", small=True, held=True), start("b"), start("c")
    assert roomy.bank.swell("x") == 1
    assert roomy.bank.need("x") == 0, "who called in between was answered so"
    roomy.bank.log(what="between")
    until(lambda: small.engine.unapplied is not None)
    assert history(small) == [], "a node that waits is read as before the action"
    with pytest.raises(Unavailable, match=r"swell\(\), can't be applied here .* No snapshot was taken"):
        small.engine.take_snapshot(lambda save: save)
    server.ends(1)[0].send(batch.withdrawal("z", 1, 2), "withdrawal")
    agree(server, small, roomy, other)
    assert history(small) == [("between", "nobody")]
    with pytest.raises(ValueError):
        roomy.bank.need("x")
    agree(server, small, roomy, other)


def test_a_snapshot_that_has_it_is_left_behind(server: MemoryServer, start: Start) -> None:
    small, roomy = start("a", small=True, held=True), start("b")
    roomy.bank.log(what="before")
    roomy.engine.save(roomy.engine.machine)
    roomy.bank.swell("x")
    roomy.bank.log(what="between")
    roomy.engine.save(roomy.engine.machine)
    index = roomy.log.last - 2
    small.line.held = False  # type: ignore[attr-defined]
    server.ends(1)[0].send(batch.withdrawal("z", 2, index), "withdrawal")
    agree(server, small, roomy)
    assert roomy.went_back == [index]
    assert [what for what, _ in history(roomy)] == ["before", "between"]


def test_what_is_told_of_results_before_it_is_not_compared_with_those_after(server: MemoryServer, start: Start) -> None:
    small, roomy = start("a", small=True, held=True), start("b")
    roomy.bank.swell("x")
    roomy.bank.need("x")
    small.line.held = False  # type: ignore[attr-defined]
    server.ends(1)[0].send(batch.withdrawal("z", 1, 2), "withdrawal")
    agree(server, small, roomy)
    assert small.engine.digests.keys() == roomy.engine.digests.keys() == set()
    roomy.bank.log(what="after")
    agree(server, small, roomy)
    assert small.engine.newest_digests(9) == roomy.engine.newest_digests(9) != []


class Lean(Cellar):
    """Once something was interrupted there is no memory for what went well before, for a while."""

    lacking = 0

    def swell(self, text: str) -> int:
        if type(self).lacking:
            type(self).lacking -= 1
            raise MemoryError
        self.history.append(text)
        return len(self.history)

    def interrupt(self, times: int) -> int:
        if "interrupted" not in GATES:
            GATES["interrupted"] = threading.Event()
            type(self).lacking = times
            raise MemoryError
        self.history.append("came to its end")
        return len(self.history)


@pytest.mark.parametrize("alone", [True, False])
def test_a_node_that_lacks_memory_for_what_comes_before_waits_and_goes_on(
    server: MemoryServer, start: Start, alone: bool
) -> None:
    GATES.pop("interrupted", None)
    node = start("a", cls=Lean, mends=(InterruptedReplay,))
    node.bank.swell("x")
    records = [node.encode("interrupt", 3), *([] if alone else [node.encode("swell", "y")])]
    answers = [sender.Answered() for _ in records]
    node.engine._wait(node.engine.submit(records, answers), 10)
    assert isinstance(answers[0].error, MemoryError)
    assert "lacks memory even for action 2, swell()" in "".join(answers[0].error.__notes__)
    assert [each.value for each in answers[1:]] == ([] if alone else [3])
    assert node.bank.log(what="after") == ("after", "nobody")
    assert history(node)[:2] == ["x", "came to its end"]
    agree(server, node)
    assert withdrawals(server) == 0


# -- messages that come twice, late, or for nothing


def test_more_messages_of_the_same_are_passed_over(server: MemoryServer, start: Start) -> None:
    nodes = [start("a", small=True), start("b"), start("c", small=True)]
    nodes[1].bank.swell("x")
    agree(server, *nodes)
    found = next(data for data in server.messages if batch.unpack(data, 1).kind == batch.WITHDRAWAL)
    for number in range(3):
        server.ends(1)[0].send(found, f"again {number}")
        nodes[0].bank.log(what="after")
    agree(server, *nodes)
    assert nodes[1].went_back == [2]
    assert len(history(nodes[1])) == 3


def test_a_message_of_an_action_that_is_not_there_is_passed_over(server: MemoryServer, start: Start) -> None:
    nodes = [start("a"), start("b")]
    nodes[0].bank.log(what="before")
    server.ends(1)[0].send(batch.withdrawal("z", 1, 1000), "withdrawal")
    nodes[0].bank.log(what="after")
    agree(server, *nodes)
    assert len(history(nodes[0])) == 2


@pytest.mark.parametrize("later_first", [False, True])
def test_two_nodes_fail_at_two_actions(server: MemoryServer, start: Start, later_first: bool) -> None:
    class Other(Cellar):
        def swell(self, text: str) -> int:
            if type(self).small == text:
                raise MemoryError
            self.history.append(text)
            return len(self.history)

    nodes = [start("a", small="x", cls=Other, held=True), start("b", small="y", cls=Other, held=True), start("c", cls=Other)]  # type: ignore[arg-type]
    nodes[2].others = nodes[:2]
    for text in "xyz":
        nodes[2].bank.swell(text)
    until(lambda: all(node.engine.unapplied for node in nodes[:2]))
    for node in reversed(nodes[:2]) if later_first else nodes[:2]:
        node.line.held = False  # type: ignore[attr-defined]
        found = node.engine.unapplied
        assert found is not None
        data = batch.withdrawal(node.name, node.engine.machine.batches.sequence, found.action)
        server.ends(1)[0].send(data, node.name)
    agree(server, *nodes)
    assert history(nodes[0]) == ["z"]


def test_a_snapshot_of_a_node_that_has_left_it_out_says_so(server: MemoryServer, start: Start) -> None:
    small = start("a", small=True, follows=False)
    with pytest.raises(applier.NotApplied):
        small.take(packed("z", 1, 1, small.encode("log", what="x"), small.encode("swell", "y"), small.encode("log", what="z")))
    small.engine.leave_unapplied_out(2)
    index = small.log.last
    small.engine.save(small.engine.machine)
    data = small.snapshots._snapshots[index]
    new = start("b", follows=False)
    new._begin_anew(index, memoryview(data))
    new.engine.timeout_s = 5
    new.take(packed("z", 1, 1, *[small.encode("log", what=each) for each in "xyz"]), batch.withdrawal("a", 1, index))
    assert history(new) == [("x", "nobody"), ("z", "nobody")]


# -- processes that end


def test_a_node_that_is_killed_before_its_message_arrived_asks_again(server: MemoryServer, start: Start) -> None:
    small, roomy = start("a", small=True, held=True), start("b")
    roomy.bank.swell("x")
    until(lambda: small.engine.unapplied is not None)
    close(small)
    assert roomy.bank.need("x") == 0, "nobody has withdrawn it"
    again = start("a", small=True, of=small)
    agree(server, again, roomy)
    assert history(roomy) == []
    assert roomy.went_back == [2]


def test_a_node_that_is_killed_before_its_message_arrived_may_come_back_with_more_memory(
    server: MemoryServer, start: Start
) -> None:
    small, roomy = start("a", small=True, held=True), start("b")
    roomy.bank.swell("x")
    until(lambda: small.engine.unapplied is not None)
    close(small)
    again = start("a", of=small)
    agree(server, again, roomy)
    assert history(again) == ["x"]
    assert withdrawals(server) == 0


@pytest.mark.parametrize("roomier", [False, True])
def test_a_node_that_is_killed_after_its_message_arrived_follows_it(server: MemoryServer, start: Start, roomier: bool) -> None:
    small, roomy = start("a", small=True, held=True), start("b")
    roomy.bank.swell("x")
    until(lambda: small.engine.unapplied is not None)
    close(small)
    server.ends(1)[0].send(batch.withdrawal("a", 1, 2), "withdrawal")
    roomy.bank.log(what="after")
    again = start("a", small=not roomier, of=small)
    agree(server, again, roomy)
    assert history(again) == [("after", "nobody")]
    assert again.went_back == ([2] if roomier else [])
    assert withdrawals(server) == 1


def test_all_nodes_are_killed_while_they_wait_and_come_back(server: MemoryServer, start: Start) -> None:
    nodes = [start(name, small=True, held=True) for name in "abc"]
    nodes[0].engine.timeout_s = 0.2
    with pytest.raises(coopy.ClusterError):
        nodes[0].bank.swell("x")
    until(lambda: all(node.engine.unapplied for node in nodes))
    for node in nodes:
        close(node)
        assert node.engine.machine.outcome == action.WITHDRAWN
    again = [start(node.name, small=True, of=node) for node in nodes]
    again[1].bank.log(what="after")
    agree(server, *again)
    assert history(again[0]) == [("after", "nobody")]


def test_a_node_that_is_closed_while_it_waits_says_nothing_of_the_action(server: MemoryServer, start: Start) -> None:
    small, roomy = start("a", small=True, held=True), start("b")
    roomy.bank.swell("x")
    until(lambda: small.engine.unapplied is not None)
    small.engine.close()
    again = start("a", of=small)
    agree(server, again, roomy)
    assert history(again) == ["x"]


@pytest.mark.parametrize(("records", "amended"), [(0, True), (1, False), *[(number, True) for number in range(1, 7)]])
def test_a_node_that_is_killed_while_it_goes_back_comes_to_the_same(
    server: MemoryServer, start: Start, records: int, amended: bool
) -> None:
    small, roomy = start("a", small=True, held=True), start("b")
    roomy.bank.log(what="before")
    small.engine.reach(server.last, 10)
    roomy.bank.swell("x")
    roomy.bank.log(what="between")
    server.ends(1)[0].send(batch.withdrawal("z", 2, 4), "withdrawal")
    roomy.bank.log(what="after")
    agree(server, small, roomy)
    # The action, two of "between", that of the message, two of "after".
    assert roomy.log.last == 9
    close(roomy)
    if not amended:
        roomy.records[3] = roomy.records[3][: -len(WRAP) - AMENDMENT_BYTES]
    again = start("b", of=roomy, records=3 + records)
    agree(server, small, again)
    assert [what for what, _ in history(again)] == ["before", "between", "after"]
    assert again.went_back == ([] if amended and records else [4])


# -- nodes that only read


def test_a_reader_waits_for_the_message_of_another(server: MemoryServer, start: Start) -> None:
    reader, writer = start("r", small=True, only_reads=True), start("b")
    writer.bank.log(what="before")
    writer.bank.swell("x")
    writer.bank.log(what="between")
    until(lambda: reader.engine.unapplied is not None)
    assert "swell(), can't be applied here (MemoryError()" in str(reader.engine.unapplied)
    assert history(reader) == [("before", "nobody")]
    assert withdrawals(server) == 0
    small = start("c", small=True)
    agree(server, reader, writer, small)
    assert history(reader) == [("before", "nobody"), ("between", "nobody")]


def test_a_reader_goes_on_with_a_writer_that_fails_as_well(server: MemoryServer, start: Start) -> None:
    reader, writer = start("r", small=True, only_reads=True), start("b", small=True)
    with pytest.raises(MemoryError):
        writer.bank.swell("x")
    writer.bank.log(what="after")
    agree(server, reader, writer)


def test_a_reader_that_has_applied_it_goes_back(server: MemoryServer, start: Start) -> None:
    reader, writer = start("r", only_reads=True), start("b", small=True)
    with pytest.raises(MemoryError):
        writer.bank.swell("x")
    writer.bank.log(what="after")
    agree(server, reader, writer)
    assert reader.went_back == [2]


@pytest.mark.parametrize("only_reads", [False, True])
def test_what_others_are_far_past_counts_and_the_node_takes_the_state_of_another(
    server: MemoryServer, start: Start, monkeypatch: pytest.MonkeyPatch, only_reads: bool
) -> None:
    monkeypatch.setattr(follower, "FAR", 3)
    roomy = start("b")
    roomy.bank.swell("x")
    for number in range(4):
        roomy.bank.log(what=f"{number}")
    late = start("a", small=True, only_reads=only_reads, follows=False)
    late.others = [roomy]
    late.engine.furthest = lambda: roomy.engine.position
    late.engine.follow()
    agree(server, late, roomy)
    assert history(late)[0] == "x"
    assert withdrawals(server) == 0


# -- effects


def test_an_effect_that_it_has_asked_for_is_dropped(server: MemoryServer, start: Start) -> None:
    nodes = [start("a", small=True), start("b")]
    nodes[1].bank.swell_and_notify("x")
    nodes[1].bank.notify("y")
    agree(server, *nodes)
    assert len(nodes[1].engine.machine.effects) == 1


# -- at random


class Odd(Cellar):
    """Some numbers ask for more than a node has, and others than another."""

    lacking: set[int] = set()

    def swell(self, number: int) -> int:  # type: ignore[override]
        self.history.append(number)
        if number % 7 in type(self).lacking:
            raise MemoryError
        return len(self.history)

    def need(self, number: int) -> int:  # type: ignore[override]
        return self.history.index(number)


class Life:
    """Three nodes that are called, killed and begun again at random. A node that is begun again may have more memory, and less of its journal."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.server = MemoryServer()
        self.nodes: dict[str, Node] = {}
        self.calls = 0
        for name in "abc":
            self.begin(name, set(self.chance.sample(range(7), self.chance.choice([0, 1, 2, 3]))))

    def begin(self, name: str, lacking: set[int], of: Node | None = None, records: int | None = None) -> None:
        cls = type("Odd", (Odd,), {"lacking": lacking, "__module__": Odd.__module__, "__qualname__": "Odd"})
        line = MemoryLine(self.server)
        if of is None:
            node = Node(line, name, cls=cls, follows=False)
        else:
            node = of.copy(line, records, name=name, cls=cls, follows=False)
        node.engine.furthest = lambda: max(each.engine.position for each in self.nodes.values() if each is not node)
        node.engine.timeout_s = 30
        self.nodes[name] = node
        for each in self.nodes.values():
            each.others = [other for other in self.nodes.values() if other is not each]
        node.engine.follow()
        node.engine.begin()

    def step(self) -> None:
        node = self.nodes[self.chance.choice("abc")]
        what = self.chance.random()
        if what < 0.75:
            with contextlib.suppress(MemoryError, ValueError):
                self.call(node)
        elif what < 0.85:
            node.engine.run(lambda: self.save(node.engine))
        else:
            close(node)
            lacking = {each for each in node.cls.lacking if self.chance.random() < 0.7}  # type: ignore[attr-defined]
            records = self.chance.randrange(len(node.records) + 1) if self.chance.random() < 0.5 else None
            self.begin(node.name, lacking, node, records)

    def call(self, node: Node) -> None:
        self.calls += 1
        kind = self.chance.choice(["swell", "swell", "need", "log", "several"])
        if kind == "swell":
            node.bank.swell(self.calls)
        elif kind == "need":
            node.bank.need(self.chance.randrange(self.calls))
        elif kind == "log":
            node.bank.log(what=f"{self.calls}")
        else:
            records = []
            for _ in range(self.chance.randrange(1, 6)):
                self.calls += 1
                records.append(node.encode("swell", self.calls) if self.chance.random() < 0.6 else node.encode("deposit", "x"))
            node.engine._wait(node.engine.submit(records, [sender.Answered() for _ in records]), 30)

    def save(self, engine: Any) -> None:
        if engine.machine.applied == engine.log.last and engine.unapplied is None:
            engine.save(engine.machine)

    def is_settled(self) -> bool:
        return all(each.engine.position == self.server.last and each.engine.unapplied is None for each in self.nodes.values())


@pytest.mark.parametrize("seed", range(12))
def test_nodes_that_lack_memory_for_different_actions_come_to_the_same(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Seeded, but for the order in which threads run."""
    monkeypatch.setattr(follower, "FAR", (1000, 1000, 5)[seed % 3])
    life = Life(seed)
    for _ in range(life.chance.randrange(5, 40)):
        life.step()
    until(life.is_settled)
    agree(life.server, *life.nodes.values())
    for node in life.nodes.values():
        close(node)
