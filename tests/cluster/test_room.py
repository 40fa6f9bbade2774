"""What nodes agree on outside the line: turns, and how the beginning of a node ends that can't come about."""

from __future__ import annotations

import asyncio
import json
import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest
from cluster.bank import Bank
from network.servers import until

from coopy.errors import SystemClosed, Unavailable
from coopy.network import room as rooms
from coopy.network.desk import QUESTION_BYTES_MAX
from coopy.network.limits import TokenBucket
from coopy.network.room import Facts, Room, Turn
from coopy.network.server.configuration import REPLICA_PAYLOAD_BYTES_MAX
from coopy.network.stream import Names, State, Stream
from coopy.replication import node as nodes
from coopy.replication import role as roles


class Bucket:
    """The bucket that all nodes see."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[Facts, int]] = {}
        self.revision = 0

    def room(self, node: str) -> Room:
        return cast(Room, OneRoom(self, node))


class OneRoom:
    def __init__(self, facts: Bucket, node: str) -> None:
        self._facts = facts
        self.node = node

    def get(self, key: str) -> tuple[Facts | None, int]:
        return self._facts.kept.get(key, (None, 0))

    def put(self, key: str, facts: Facts, revision: int) -> bool:
        if self.get(key)[1] != revision:
            return False
        self._facts.revision += 1
        self._facts.kept[key] = facts, self._facts.revision
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def facts() -> Bucket:
    return Bucket()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.mark.parametrize("ahead_s", [-1e6, 0.0, 1e6])
def test_a_turn_is_taken_over_after_its_time_by_who_waits_however_the_clocks_differ(
    facts: Bucket, clock: Clock, monkeypatch: pytest.MonkeyPatch, ahead_s: float
) -> None:
    one = Turn(facts.room("one"), "founder", 15.0, clock)
    other = Turn(facts.room("other"), "founder", 15.0, clock)
    now = rooms.time.time
    monkeypatch.setattr(rooms.time, "time", lambda: now() + ahead_s)
    assert one.take()
    monkeypatch.setattr(rooms.time, "time", now)
    assert not other.take()
    clock.now += 14.9
    assert not other.take()
    clock.now += 0.1
    assert other.take()
    assert not one.renew() and not one.take()


def test_a_turn_that_is_renewed_is_not_taken_over(facts: Bucket, clock: Clock) -> None:
    one = Turn(facts.room("one"), "founder", 15.0, clock)
    other = Turn(facts.room("other"), "founder", 15.0, clock)
    assert one.take()
    for _ in range(5):
        assert not other.take()
        clock.now += 10
        assert one.renew()
    assert not other.take()


def test_a_turn_that_was_given_back_is_anybodys(facts: Bucket, clock: Clock) -> None:
    one = Turn(facts.room("one"), "snapshotting", 900.0, clock)
    other = Turn(facts.room("other"), "snapshotting", 900.0, clock)
    assert one.take() and other.is_anothers() and not one.is_anothers()
    one.give_back()
    assert not other.is_anothers() and other.take()
    one.give_back()
    assert one.is_anothers(), "only who has it can give it back"


def test_a_turn_that_a_server_which_is_behind_calls_free_is_asked_for_again(facts: Bucket, clock: Clock) -> None:
    one = Turn(facts.room("one"), "snapshotting", 900.0, clock)
    assert one.take()
    one.give_back()
    old, room = facts.kept["snapshotting"], facts.room("other")
    assert one.take()
    one.give_back()
    get, answers = room.get, [old, old]
    room.get = lambda key: answers.pop() if answers else get(key)  # type: ignore[method-assign]
    assert Turn(room, "snapshotting", 900.0, clock).take() and one.is_anothers()


def test_a_turn_is_kept_until_it_is_over(facts: Bucket) -> None:
    one = Turn(facts.room("one"), "founder", 0.05)
    assert one.take()
    ended = threading.Event()
    one.keep(ended)
    until(lambda: facts.revision > 3)
    ended.set()
    until(lambda: not any(each.name == "coopy founder" for each in threading.enumerate()))


@pytest.mark.parametrize("error", [KeyError("a bug"), OSError(28, "No space left on device")], ids=repr)
def test_what_is_wrong_in_a_node_that_begins_is_raised_at_once_and_not_taken_for_disagreement(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    node = beginning(monkeypatch)

    def fail(calls: Any) -> Any:
        raise error

    monkeypatch.setattr(node, "_genesis", fail)
    with pytest.raises(type(error)) as raised:
        node._agreed(cast(Any, None))
    assert raised.value is error


def test_servers_that_do_not_answer_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    node, errors = beginning(monkeypatch), [Unavailable("no leader yet")] * 2

    def genesis(calls: Any) -> Any:
        if errors:
            raise errors.pop()
        return "the manifest"

    monkeypatch.setattr(node, "_genesis", genesis)
    assert cast(Any, node._agreed(cast(Any, None))) == "the manifest"


def beginning(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A node that has come as far as to ask how the system began."""
    monkeypatch.setattr(nodes, "OPEN_S", 1.0)
    node = nodes.ReplicatedSystem.__new__(nodes.ReplicatedSystem)
    node._cls = Bank
    node._role = roles.role(
        master=False,
        replication=True,
        cluster=(),
        node=None,
        host="127.0.0.1",
        port=7001,
        password="a password",
        replica_password=None,
        tls=False,
        server=None,
        timeout=1.0,
        basedir="",
    )
    node._nodes = node._role.nodes
    node._servers = cast(Any, SimpleNamespace())
    return node


# -- what nodes give one another


def ready(monkeypatch: pytest.MonkeyPatch, bucket: Bucket, clock: Clock, *, position: int, first: int) -> tuple[Any, list[int]]:
    """A node that is ready, and the snapshots that it makes for others."""
    made: list[int] = []
    node = beginning(monkeypatch)
    node._state = "ready"
    node._room = bucket.room("one")
    node.engine = SimpleNamespace(position=position)
    node._line_state = State(first, position, 0, 1, None, ())
    node._shipping = threading.Lock()
    node._needed = TokenBucket(*nodes.NEEDED_RATE, clock)
    node._wanted = TokenBucket(*nodes.WANTED_RATE, clock)
    monkeypatch.setattr(node, "_ship_one", lambda: (made.append(1), node._shipping.release()))
    return node, made


def asked_for(node: Any, *sequences: object) -> list[Facts]:
    found: list[Facts] = node._snapshots_for([{"sequence": each} for each in sequences])
    until(lambda: not node._shipping.locked())
    return found


@pytest.mark.parametrize("sequence", [10**18, 101, -1, None, "5", 1.5, [], {}], ids=repr)
def test_a_bogus_question_for_a_snapshot_makes_none(
    monkeypatch: pytest.MonkeyPatch, facts: Bucket, clock: Clock, sequence: object
) -> None:
    node, made = ready(monkeypatch, facts, clock, position=100, first=90)
    assert "error" in asked_for(node, sequence)[0] and not made


@pytest.mark.parametrize(("first", "most"), [(1, 3), (90, 2)], ids=["the line reaches back", "the line has forgotten"])
def test_whoever_asks_for_snapshots_without_end_has_few_made(
    monkeypatch: pytest.MonkeyPatch, facts: Bucket, clock: Clock, first: int, most: int
) -> None:
    node, made = ready(monkeypatch, facts, clock, position=100, first=first)
    node._room.put("shipped", {"index": 70, "sequence": 60}, 0)
    for _ in range(200):
        found = asked_for(node, 100)[0]
        assert found["retry_s"] > 0
    assert len(made) == most
    assert asked_for(node, 60, 59) == [{"index": 70, "sequence": 60}] * 2, "who needs what is there gets it"
    clock.now += 10
    asked_for(node, 100)
    assert len(made) == most + (first == 90), "without one from which the line goes on nobody can begin"


def test_whoever_asks_how_far_the_line_goes_without_end_makes_it_grow_slowly(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    synced: list[int] = []
    node = beginning(monkeypatch)
    node.engine = SimpleNamespace(position=7, sync=lambda: synced.append(1))
    node._rounds = TokenBucket(1, 3, clock)
    node._ended = threading.Event()
    for _ in range(3):
        assert node._sync_for([{}] * 500) == [{"sequence": 7}] * 500
    node._ended.set()
    with pytest.raises(SystemClosed):
        node._sync_for([{}])
    assert len(synced) == 3


def test_a_server_that_is_behind_gives_no_older_snapshot_for_the_one_that_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, facts: Bucket
) -> None:
    node = beginning(monkeypatch)
    shipped = [(7, memoryview(b"new")), (0, memoryview(b"old")), None]
    node._room = facts.room("one")
    node._room.put("shipped", {"index": 7, "sequence": 5}, 0)
    node._ended = threading.Event()
    node._servers.shipped = SimpleNamespace(latest=lambda upto: shipped.pop(), progress=None)
    monkeypatch.setattr(nodes, "RETRY_S", 0.001)
    monkeypatch.setattr(node, "_look", lambda timeout_s: State(1, 5, 0, 1, None, ()))
    assert node._fetch_snapshot(5) == (7, b"new")


def test_replicas_that_are_gone_make_room_for_others(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setattr(rooms.time, "monotonic", clock)
    room = Room(cast(Any, None), Names("shop"), "node", writes=False)
    room._heard["another node"] = clock.now, {}
    for number in range(2 * rooms.HEARD_MAX):
        room._replica_said({"node": f"forged {number}", "position": 1, "index": 1})
    assert len(room._heard) == rooms.HEARD_MAX
    clock.now += rooms.ALIVE_S + 1
    room._replica_said({"node": "honest", "position": 1, "index": 1})
    assert list(room._heard) == ["another node", "replica honest"]


def test_what_a_replica_says_of_itself_is_short_however_much_it_has_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    node = beginning(monkeypatch)
    node._state = "ready"
    node._safe = 10**12
    digests = [(10**12 + number, 2**32 - 1) for number in range(nodes.DIGESTS_SAID)]
    machine = SimpleNamespace(applied=10**12, reached=10**12, own_code=1)
    node.engine = SimpleNamespace(position=10**12, machine=machine, newest_digests=lambda number: digests)
    said = len(json.dumps({"node": "n" * 255, **node._facts()}))
    assert said < min(QUESTION_BYTES_MAX, REPLICA_PAYLOAD_BYTES_MAX) / 2
    node._role = node._role._replace(kind=roles.MASTER)
    assert len(node._facts()["digests"]) == nodes.DIGESTS_SAID


class Leader:
    """The servers of a stream, whose leader says what it has, and is asked through the nodes."""

    def __init__(self) -> None:
        self.state_, self.looks = State(5, 9, 100, 3, "a:1", (("b:1", True, False, 0),)), 0

    def state(self, timeout_s: float) -> State:
        self.looks += 1
        return self.state_

    def is_there(self, sequence: int, timeout_s: float) -> bool:
        self.looks += 1
        return 5 <= sequence <= 9


def asked_of(leader: Leader, node: Any, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    node._servers = leader
    node._looks = TokenBucket(10, 10, clock)


def test_what_a_replica_asks_the_nodes_of_the_line_is_what_its_leader_says(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    node, leader = beginning(monkeypatch), Leader()
    asked_of(leader, node, monkeypatch, clock)

    async def asks(what: str, facts: Facts, timeout_s: float) -> Facts:
        said = json.dumps(await asyncio.to_thread(node._line_for, [facts]))
        return cast(Facts, json.loads(said)[0])

    line = Stream(cast(Any, SimpleNamespace(inbox="a")), Names("shop"), writes=False, asks=asks)
    assert asyncio.run(line.state()) == leader.state_
    assert [asyncio.run(line.is_there(number)) for number in (4, 5, 9, 10)] == [False, True, True, False]
    line._bell.close()


def test_whoever_asks_of_the_line_without_end_has_the_leader_asked_seldom(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    node, leader = beginning(monkeypatch), Leader()
    asked_of(leader, node, monkeypatch, clock)
    found = [
        each for _ in range(100) for each in node._line_for([{}, {"sequence": 7}, {"sequence": 10**30}, {"sequence": "x"}])
    ]
    assert leader.looks == 10 and len(found) == 400
    assert sum("retry_s" in each for each in found) > 300
