"""The parts of a node, each without servers: founding, sharing, answering, comparing, mending, watching, and its states."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from cluster.fakes import Bucket, Clock, OwnServer, Servers, member, of_arguments, outlook, replica

from coopy.disk.manifest import Manifest
from coopy.errors import (
    ClusterError,
    CoopyError,
    DamagedLine,
    DamagedSnapshot,
    Diverged,
    ForeignDirectory,
    InterruptedReplay,
    JournalError,
    MissingActions,
    NotAMember,
    ServerError,
    SystemClosed,
    Unavailable,
    UsageError,
)
from coopy.network.address import parse
from coopy.network.desk import QUESTION_BYTES_MAX
from coopy.network.room import Facts
from coopy.network.server.configuration import REPLICA_PAYLOAD_BYTES_MAX
from coopy.network.stream import State, Stream
from coopy.network.subjects import Names
from coopy.replication import founding, mending, node, states, watching
from coopy.replication.answering import Answering
from coopy.replication.applier import Came, Unapplied
from coopy.replication.comparing import KEPT_MAX, Comparing
from coopy.replication.control import ClusterControl
from coopy.replication.follower import Passed, Superseded
from coopy.replication.founding import Founding
from coopy.replication.jetstream import JetStream
from coopy.replication.mending import Mending
from coopy.replication.role import Elsewhere, Here, There, Where
from coopy.replication.servers import OPEN_S
from coopy.replication.sharing import Sharing
from coopy.replication.states import BEHIND, CLOSING, QUARANTINED, READY, STALLED, STARTING, STOPPED, TABLE, Life
from coopy.replication.watching import Watching


@pytest.fixture
def clock() -> Clock:
    return Clock()


def life(*passed: str) -> Life:
    """A node that has come through some states."""
    found = Life(lambda function, *args: function(*args))
    for state in passed:
        assert found.becomes(state)
    return found


FOLLOWING = (states.CATCHING_UP, READY)


# -- the states


def test_the_guide_has_the_table_of_states_that_a_node_goes_by() -> None:
    path = Path(__file__).resolve().parents[2] / "docs" / "internals" / "generate_states.py"
    spec = importlib.util.spec_from_file_location("generate_states", path)
    assert spec is not None and spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    try:
        spec.loader.exec_module(generator)
    finally:
        sys.path[:] = before
    text = generator.TARGET.read_text(encoding="utf-8")
    assert generator.page(text) == text, "run `python docs/internals/generate_states.py`"
    assert generator.page(text.replace("| ready | follows |", "| ready | sleeps |")) == text
    with pytest.raises(LookupError):
        generator.page(text.replace("| state | the node |", "| state |"))


def test_what_may_follow_a_state_is_a_state_and_each_ends_in_closing() -> None:
    for name, row in TABLE.items():
        assert row.name == name and set(row.follow) <= set(TABLE) and name not in row.follow
        assert (CLOSING in row.follow) is (name != CLOSING)
        assert STARTING not in row.follow, "nothing starts twice"


def test_the_controls_name_each_state() -> None:
    assert f"({', '.join(TABLE)};" in str(ClusterControl.status.__doc__)


@pytest.mark.parametrize(
    ("passed", "late"),
    [
        ((*FOLLOWING, STOPPED), READY),
        ((*FOLLOWING, STOPPED), STALLED),
        ((*FOLLOWING, CLOSING), READY),
        ((*FOLLOWING, CLOSING), STOPPED),
        ((*FOLLOWING, BEHIND, READY), states.CATCHING_UP),
        ((), READY),
    ],
    ids=str,
)
def test_a_state_that_is_said_too_late_changes_nothing_and_tells_nobody(passed: tuple[str, ...], late: str) -> None:
    found, told = life(*passed), list[Any]()
    found.on_state_changed = lambda before, after: told.append((before, after))
    found.on_ready = lambda: told.append("ready")
    before = found.state
    assert not found.becomes(late)
    assert (found.state, told) == (before, [])


def test_each_change_is_told_once_and_ready_to_whoever_waits_for_it() -> None:
    found, told = life(), list[Any]()
    found.on_state_changed = lambda before, after: told.append((before, after))
    found.on_ready = lambda: told.append("ready")
    for state in (states.CATCHING_UP, states.CATCHING_UP, READY, READY, BEHIND, READY):
        assert found.becomes(state)
    assert told == [
        (STARTING, states.CATCHING_UP),
        (states.CATCHING_UP, READY),
        "ready",
        (READY, BEHIND),
        (BEHIND, READY),
    ]


def test_why_a_node_is_stalled_is_said_while_it_is() -> None:
    found = life(*FOLLOWING)
    found.stalls("the disk is full", 7)
    assert (found.state, found.problem, found.stalled_at) == (STALLED, "the disk is full", 7)
    found.becomes(READY)
    assert found.problem is None


# -- the roles


SERVER = {"server": "nats://there:4222"}


@pytest.mark.parametrize(
    ("given", "word", "writes", "joins", "where"),
    [
        ({"master": True}, "master", True, False, Here()),
        ({"cluster": ["a:1", "b:1"], "node": "a:1"}, "node", True, True, Here()),
        ({"replication": True}, "replica", False, False, There()),
        ({"master": True, **SERVER}, "master", True, False, Elsewhere("nats://there:4222")),
        ({"cluster": ["a:1"], "node": "a:1", **SERVER}, "node", True, True, Elsewhere("nats://there:4222")),
        ({"replication": True, **SERVER}, "replica", False, False, Elsewhere("nats://there:4222")),
    ],
    ids=str,
)
def test_a_role_is_chosen_once_and_says_what_follows_from_it(
    given: dict[str, Any], word: str, writes: bool, joins: bool, where: Where
) -> None:
    found = of_arguments(**given)
    assert (found.word, found.writes, found.joins_others, found.where) == (word, writes, joins, where)
    assert "a password" not in repr(found)


def test_a_master_s_password_is_that_of_replicas_and_members_have_their_own() -> None:
    made = of_arguments(master=True).server_passwords(lambda: "made")
    assert made == ("made", "a password")
    given = of_arguments(cluster=["a:1"], node="a:1", replica_password="theirs").server_passwords(lambda: "made")
    assert given == ("a password", "theirs")


def test_a_member_has_elections_begun_unless_it_is_told_not_to() -> None:
    given = {"cluster": ["a:1", "b:1", "c:1"], "node": "a:1"}
    assert of_arguments(**given).begins_elections and not of_arguments(**given, quick_elections=False).begins_elections


@pytest.mark.parametrize("value", [None, 1, "off", 0])
def test_whether_elections_are_begun_is_true_or_false(value: object) -> None:
    with pytest.raises(UsageError, match="quick_elections=.*must be True or False. Nothing was opened"):
        of_arguments(cluster=["a:1"], node="a:1", quick_elections=value)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"cluster": ["a:1", "b:1", "c:1"], "node": "a:1", "quick_elections": False}, "quick_elections=False"),
        ({"master": True}, "no server of this node's joins others"),
        ({"replication": True}, "no server of this node's joins others"),
        ({"cluster": ["a:1"], "node": "a:1", **SERVER}, "no server of this node's joins others"),
    ],
    ids=str,
)
def test_a_node_that_has_no_elections_begun_says_why(given: dict[str, Any], why: str) -> None:
    found = JetStream(of_arguments(**given), Names("shop"), "nowhere").elections()
    assert found == {"elections_off": why, "election_probes": 0, "election_kicks": 0}


@pytest.mark.parametrize(
    ("given", "user", "urls", "asks"),
    [
        ({"master": True}, "node", ["tls://a:1", "tls://b:1"], True),
        ({"replication": True}, "replica", ["tls://a:1", "tls://b:1"], False),
        ({"replication": True, **SERVER}, None, ["nats://there:4222"], True),
        ({"master": True, **SERVER}, None, ["nats://there:4222"], True),
    ],
    ids=str,
)
def test_where_the_servers_are_says_as_whom_a_node_goes_to_them(
    given: dict[str, Any], user: str | None, urls: list[str], asks: bool
) -> None:
    where = of_arguments(**given).where
    assert (where.user, where.urls("tls", [parse("a:1"), parse("b:1")]), where.asks_leader) == (user, urls, asks)


# -- founding


class Directory:
    """``local``: the system that it holds."""

    path = "/data"

    def __init__(self, local: bytes | None = None) -> None:
        self.local = local
        self.joined: list[bytes] = []

    def manifest(self) -> Manifest | None:
        return None if self.local is None else manifest(self.local)

    def begin(self) -> Manifest:
        self.local = b"new"
        return manifest(b"new")

    def join(self, system: bytes, secret: bytes, deterministic: bool) -> Manifest:
        self.joined.append(system)
        self.local = system
        return manifest(system, secret, deterministic)


def manifest(system: bytes, secret: bytes = b"secret", deterministic: bool = False) -> Manifest:
    return cast(Manifest, SimpleNamespace(system=system, secret=secret, deterministic=deterministic))


class Founders:
    """Several nodes that begin, over the same facts."""

    def __init__(self, *locals_: bytes | None) -> None:
        self.bucket, self.turns = Bucket(), dict[str, str]()
        self.nodes: list[Founding] = []
        for number, local in enumerate(locals_):
            servers = Servers(f"n{number}:1", self.bucket)
            servers.turns = self.turns
            own = member(number, len(locals_))
            self.nodes.append(Founding(True, outlook(servers, own), cast(Any, servers), Directory(local)))

    def rounds(self, number: int = 3) -> list[bytes | None]:
        """What each has agreed to after some looks in turn."""
        found: list[bytes | None] = [None] * len(self.nodes)
        for _ in range(number):
            for which, each in enumerate(self.nodes):
                if found[which] is None and (said := each.genesis()) is not None:
                    found[which] = said.system
        return found

    def found(self) -> None:
        founder = next(each for each in self.nodes if each.founds)
        directory = cast(Directory, founder._directory)
        assert directory.local is not None
        founder.found(manifest(directory.local), False, 1, lambda: None)


def test_of_nodes_without_a_state_one_founds_and_the_others_join_it() -> None:
    nodes = Founders(None, None, None)
    assert nodes.rounds().count(b"new") == 1
    assert [each.founds for each in nodes.nodes].count(True) == 1
    nodes.found()
    assert nodes.rounds() == [b"new"] * 3
    assert nodes.bucket.kept["members"][0] == {"nodes": ["n0:1", "n1:1", "n2:1"]}


@pytest.mark.parametrize("which", range(3))
def test_a_node_that_has_a_state_founds_and_those_that_have_none_stand_back(which: int) -> None:
    nodes = Founders(*[b"old" if number == which else None for number in range(3)])
    nodes.rounds()
    assert [each.founds for each in nodes.nodes] == [number == which for number in range(3)]
    nodes.found()
    assert nodes.rounds() == [b"old"] * 3


def test_nobody_founds_while_a_node_that_may_have_a_state_has_said_nothing() -> None:
    nodes = Founders(None, None, None)
    nodes.nodes.pop()
    assert nodes.rounds(5) == [None, None]


def test_a_node_with_another_system_is_refused() -> None:
    nodes = Founders(b"one", b"two")
    nodes.rounds(1)
    nodes.found()
    with pytest.raises(ForeignDirectory, match="Choose another directory"):
        nodes.rounds(1)


def test_a_founder_whose_turn_was_taken_while_it_made_its_state_begins_nothing() -> None:
    nodes = Founders(b"one", b"two")
    nodes.nodes[0].genesis()
    nodes.turns["founder"] = "n1:1"
    with pytest.raises(ClusterError, match="another node began the system meanwhile"):
        nodes.found()
    assert "genesis" not in nodes.bucket.kept


def test_a_founder_whose_word_was_taken_though_no_answer_came_has_founded() -> None:
    nodes = Founders(b"one")
    nodes.nodes[0].genesis()
    nodes.found()
    nodes.found()
    nodes.bucket.kept["genesis"] = {"system": b"other".hex()}, 99
    with pytest.raises(ClusterError, match="another node began"):
        nodes.found()


def test_a_replica_waits_and_joins_what_others_have_begun(clock: Clock) -> None:
    servers = Servers("replica", clock=clock)
    own, directory = replica(), Directory()
    found = Founding(False, outlook(servers, own), cast(Any, servers), directory)
    assert found.genesis() is None and not found.founds

    def begun() -> None:
        facts = {"system": b"one".hex(), "secret": b"s".hex(), "deterministic": True}
        if clock.time > 1005:
            servers.room.put("genesis", facts, 0)

    clock.passing = begun
    said = found.agreed()
    assert (said.system, said.secret, said.deterministic, directory.joined) == (b"one", b"s", True, [b"one"])
    assert servers.made == [], "what is on the servers is made by who may write"


def test_nodes_that_never_agree_give_up_and_say_who_is_missing(clock: Clock) -> None:
    servers = Servers("n1:1", clock=clock)
    found = Founding(True, outlook(servers, member(1)), cast(Any, servers), Directory())
    with pytest.raises(Unavailable, match=r"n0:1, n1:1, n2:1 did not come to an agreement within 120 s \(nobody began"):
        found.agreed()
    assert clock.time >= 1000 + OPEN_S
    assert servers.made[0] == 3 and len(servers.made) < (OPEN_S - founding.TURN_S) / founding.RETRY_S + 3


def test_who_waits_for_others_says_so_once_it_takes_long(clock: Clock) -> None:
    servers = Servers("n1:1", clock=clock)
    said: list[tuple[float, str]] = []

    def warn(cause: str, text: str, *values: object) -> bool:
        said.append((clock.time, text % values))
        return True

    servers.sparing.warn = warn  # type: ignore[method-assign]
    found = Founding(True, outlook(servers, member(1)), cast(Any, servers), Directory())
    with pytest.raises(Unavailable):
        found.agreed()
    when, first = said[0]
    assert 0 < when - 1000 - founding.TELL_S < 1, "nodes that are started together say nothing"
    assert first == "n1:1: waiting for a majority of n0:1, n1:1, n2:1 to agree, 10 s of 120 so far"


@pytest.mark.parametrize("error", [KeyError("a bug"), OSError(28, "No space left on device")], ids=repr)
def test_what_is_wrong_in_a_node_that_begins_is_raised_at_once_and_not_taken_for_disagreement(error: Exception) -> None:
    servers, directory = Servers("n0:1"), Directory()

    def fail() -> Any:
        raise error

    directory.manifest = fail  # type: ignore[method-assign]
    found = Founding(True, outlook(servers, member(0)), cast(Any, servers), directory)
    with pytest.raises(type(error)) as raised:
        found.agreed()
    assert raised.value is error


def test_servers_that_do_not_answer_are_waited_for(clock: Clock) -> None:
    servers, errors = Servers("n0:1", clock=clock), [Unavailable("no leader yet")] * 2
    get = servers.room.get

    def asked(key: str) -> Any:
        if errors:
            raise errors.pop()
        return get(key)

    servers.room.get = asked
    found = Founding(True, outlook(servers, member(0, 1)), cast(Any, servers), Directory(b"one"))
    assert found.agreed().system == b"one" and clock.time > 1000


# -- what nodes give one another


class Giver:
    position = 100

    def __init__(self) -> None:
        self.made = 0

    def take_snapshot(self) -> int:
        self.made += 1
        raise Unavailable("it need not be shipped here")

    def newest_snapshot(self) -> tuple[int, memoryview]:
        raise AssertionError


def sharing(clock: Clock, first: int = 1, *passed: str) -> tuple[Sharing, Giver, Servers]:
    """A node that is at message 100 of a line that begins with ``first``."""
    servers, giver = Servers("n0:1", clock=clock), Giver()
    seen = outlook(servers, member(0))
    seen.line = State(first, 100, 0, 1, None, ())
    return Sharing(giver, seen, life(*(passed or FOLLOWING)), cast(Any, servers), threading.Event()), giver, servers


@pytest.mark.parametrize("sequence", [10**18, 101, -1, None, "5", 1.5, [], {}], ids=repr)
def test_a_bogus_question_for_a_snapshot_makes_none(clock: Clock, sequence: object) -> None:
    found, giver, _ = sharing(clock, 90)
    assert "error" in found.answer([{"sequence": sequence}])[0] and not giver.made


@pytest.mark.parametrize("state", [BEHIND, QUARANTINED, STALLED, STOPPED, CLOSING])
def test_a_node_that_is_not_ready_gives_nobody_a_snapshot(clock: Clock, state: str) -> None:
    found, giver, _ = sharing(clock, 90, *FOLLOWING, state)
    assert f"n0:1 is {state}" in found.answer([{"sequence": 100}])[0]["error"] and not giver.made


@pytest.mark.parametrize(("first", "most"), [(1, 3), (90, 2)], ids=["the line reaches back", "the line has forgotten"])
def test_whoever_asks_for_snapshots_without_end_has_few_made(clock: Clock, first: int, most: int) -> None:
    found, giver, servers = sharing(clock, first)
    servers.room.put("shipped", {"index": 70, "sequence": 60}, 0)
    for _ in range(200):
        assert found.answer([{"sequence": 100}])[0]["retry_s"] > 0
    assert giver.made == most
    assert found.answer([{"sequence": 60}, {"sequence": 59}]) == [{"index": 70, "sequence": 60}] * 2, "it is there"
    clock.time += 10
    found.answer([{"sequence": 100}])
    assert giver.made == most + (first == 90), "without one from which the line goes on nobody can begin"


def test_while_one_snapshot_is_made_no_other_is(clock: Clock) -> None:
    found, giver, _ = sharing(clock, 90)
    clock.runs = False
    for _ in range(3):
        found.answer([{"sequence": 100}])
    assert clock.started == ["coopy ship n0:1"] and not giver.made


def test_a_server_that_is_behind_gives_no_older_snapshot_for_the_one_that_was_asked_for(clock: Clock) -> None:
    found, _, servers = sharing(clock)
    shipped = [(7, memoryview(b"new")), (0, memoryview(b"old")), None]
    servers.said = State(1, 5, 0, 1, None, ())
    servers.room.put("shipped", {"index": 7, "sequence": 5}, 0)
    servers.shipped = SimpleNamespace(latest=lambda upto: shipped.pop(), progress=None)
    assert found.fetch(5) == (7, b"new")


def test_a_node_that_needs_a_newer_snapshot_asks_for_it_until_there_is_one(clock: Clock) -> None:
    found, _, servers = sharing(clock)
    servers.said = State(50, 90, 0, 1, None, ())
    asked: list[Facts] = []

    def asks(what: str, facts: Facts) -> Facts:
        asked.append(facts)
        if len(asked) < 3:
            raise Unavailable("one is being made")
        return {"index": 9, "sequence": 70}

    servers.room.asks = asks
    servers.shipped = SimpleNamespace(latest=lambda upto: (9, memoryview(b"state")), progress=None)
    assert found.fetch() == (9, b"state")
    assert asked == [{"sequence": 49}] * 3, "the line must go on from it"
    assert found.fetch(60) == (9, b"state") and asked[-1] == {"sequence": 60}


def test_a_node_that_gets_no_snapshot_gives_up_and_one_that_is_closed_at_once(clock: Clock) -> None:
    found, _, servers = sharing(clock)

    def asks(what: str, facts: Facts) -> Facts:
        raise Unavailable("nobody is there")

    servers.room.asks = asks
    with pytest.raises(Unavailable, match="nobody is there"):
        found.fetch()
    waited, found._ended = clock.time, threading.Event()
    assert waited > 1900
    found._ended.set()
    with pytest.raises(Unavailable, match="nobody is there"):
        found.fetch()
    assert clock.time < waited + 1


# -- what replicas ask


def answering(clock: Clock) -> tuple[Answering, list[int], Servers]:
    servers, synced = Servers("n0:1", clock=clock), list[int]()
    engine = SimpleNamespace(position=7, sync=lambda: synced.append(1))
    return Answering("n0:1", engine, cast(Any, servers), threading.Event()), synced, servers


def test_whoever_asks_how_far_the_line_goes_without_end_makes_it_grow_slowly(clock: Clock) -> None:
    found, synced, _ = answering(clock)
    began = clock.time
    for _ in range(500):
        assert found.sync([{}] * 500) == [{"sequence": 7}] * 500
    assert len(synced) == 500 and clock.time - began > (500 - 200) / 100 * 0.99
    found._ended.set()
    with pytest.raises(SystemClosed):
        for _ in range(500):
            found.sync([{}])


def test_what_a_replica_asks_the_nodes_of_the_line_is_what_its_leader_says(clock: Clock) -> None:
    found, _, servers = answering(clock)
    servers.said = State(5, 9, 100, 3, "a:1", (("b:1", True, False, 0),))
    servers.there = set(range(5, 10))

    async def asks(what: str, facts: Facts, timeout_s: float) -> Facts:
        return cast(Facts, json.loads(json.dumps(found.line([facts])))[0])

    line = Stream(cast(Any, SimpleNamespace(inbox="a")), Names("shop"), writes=False, asks=asks)
    assert asyncio.run(line.state()) == servers.said
    assert [asyncio.run(line.is_there(number)) for number in (4, 5, 9, 10)] == [False, True, True, False]
    line._bell.close()


def test_whoever_asks_of_the_line_without_end_has_the_leader_asked_seldom(clock: Clock) -> None:
    found, _, servers = answering(clock)
    looks: list[object] = []
    servers.state = lambda timeout_s: looks.append(1) or State(5, 9, 100, 3, "a:1", ())  # type: ignore[func-returns-value]
    servers.is_there = lambda sequence, timeout_s: bool(looks.append(1)) or True  # type: ignore[func-returns-value]
    said = [each for _ in range(1000) for each in found.line([{}, {"sequence": 7}, {"sequence": 10**30}, {"sequence": "x"}])]
    assert len(looks) == 100 and len(said) == 4000
    assert sum("retry_s" in each for each in said) > 3000


def test_what_a_replica_says_of_itself_is_short_however_much_it_has_applied() -> None:
    found = node.ReplicatedSystem.__new__(node.ReplicatedSystem)
    found.life, found._role = life(*FOLLOWING), replica()
    found.watching = cast(Any, SimpleNamespace(safe=10**12))
    digests = [(10**12 + number, 2**32 - 1) for number in range(node.DIGESTS_SAID)]
    machine = SimpleNamespace(applied=10**12, reached=10**12, own_code=1, code=0)
    found.engine = cast(Any, SimpleNamespace(position=10**12, machine=machine, newest_digests=lambda number: digests))
    found._opened_at = 0.0
    said = len(json.dumps({"node": "n" * 255, **found.facts()}))
    assert said < min(QUESTION_BYTES_MAX, REPLICA_PAYLOAD_BYTES_MAX) / 2
    found._role = of_arguments(master=True)
    assert len(found.facts()["digests"]) == node.DIGESTS_SAID


# -- comparing


class Engine:
    """The engine of a node that has come to message 10, where three actions came to 1."""

    def __init__(self) -> None:
        self.position = 10
        self.trouble: BaseException | None = None
        self.digests = {10: Came(1, 21, 3)}
        self.failure: BaseException | None = None
        self.unapplied: object | None = None
        self.outbox: Any = SimpleNamespace(problem=None)

    def fail(self, error: BaseException) -> None:
        self.failure = error


def compared(number: int, own: Any = None, leads: bool = False, state: str = READY, **said: int) -> tuple[Engine, Comparing]:
    """What a node thinks after others have said what message 10 came to."""
    role = own or member(0, number)
    servers, engine = Servers("n0:1"), Engine()
    seen = outlook(servers, role, *[f"n{each}:1" for each in range(number)])
    seen.leader = seen.name if leads else None
    found = Comparing(seen, role.writes)
    for name, value in said.items():
        found.hear(f"{name}:1", {"state": state, "digests": {"10": value}})
    found.compare(engine)
    return engine, found


@pytest.mark.parametrize(
    ("case", "is_wrong"),
    [
        (compared(3, n1=2, n2=2), True),
        (compared(3, n1=2, n2=1), False),
        (compared(3, n1=2), False),
        (compared(3, n1=2, n2=3), True),
        (compared(3, leads=True, n1=2, n2=3), False),
        (compared(5, n1=2, n2=2), False),
        (compared(5, n1=2, n2=2, n3=2), True),
        (compared(2, n1=2), True),
        (compared(2, leads=True, n1=2), False),
        (compared(3, replica(), n1=2), True),
        (compared(3, replica(), n1=1), False),
        (compared(3, stranger=2, another=2), False),
        (compared(3, state=QUARANTINED, n1=2, n2=2), False),
        (compared(3, state=STALLED, n1=2, n2=2), False),
        (compared(3, state=states.CATCHING_UP, n1=2, n2=2), True),
    ],
    ids=range(15),
)
def test_it_is_this_node_that_is_wrong_if_a_majority_or_all_others_came_to_something_else(
    case: tuple[Engine, Comparing], is_wrong: bool
) -> None:
    engine, _ = case
    assert isinstance(engine.trouble, Diverged) is is_wrong
    if is_wrong:
        assert str(engine.trouble).startswith(
            "one of the actions 21 to 23 (message 10 of the line) came to something else here"
        )


def test_what_was_said_of_a_state_that_is_put_aside_is_forgotten() -> None:
    engine, found = compared(3, n1=2)
    found.forget(engine)
    found.hear("n2:1", {"state": READY, "digests": {"10": 2}})
    found.compare(engine)
    assert engine.trouble is None


def test_what_is_said_of_messages_that_this_node_will_never_meet_takes_no_memory_without_end() -> None:
    engine, found = compared(3)
    found.hear("n1:1", {"state": READY, "digests": {str(number): 1 for number in range(100, 100 + 2 * KEPT_MAX)}})
    found.compare(engine)
    assert len(found._theirs) == KEPT_MAX


# -- mending


class Patient:
    """``steps``: what it was asked to do; ``fails``: what doing the first of a name raises."""

    def __init__(self) -> None:
        self.steps: list[tuple[Any, ...]] = []
        self.fails: dict[str, Exception] = {}
        self.is_closing = self.is_unsure = False
        self.position = 40

    def __getattr__(self, name: str) -> Any:
        def step(*args: Any) -> None:
            self.steps.append((name, *args))
            if name in self.fails:
                raise self.fails.pop(name)

        return step


def patient(clock: Clock, *passed: str) -> tuple[Mending, Any, Life]:
    found, lives = Patient(), life(*(passed or FOLLOWING))

    def fetch(least: int) -> tuple[int, memoryview]:
        found.steps.append(("fetch", least))
        return 30, memoryview(b"state")

    servers = Servers("n0:1", clock=clock)
    return Mending("n0:1", cast(Any, found), lives, fetch, clock, servers.sparing), found, lives


ANEW = ("begin_anew", 30, memoryview(b"state"))
FORGET = ("forget_differences",)
INTERRUPTED = InterruptedReplay(5, "deposit", "segment 1", "returned", MemoryError())
UNAPPLIED = Unapplied(41, "deposit", "MemoryError")


@pytest.mark.parametrize(
    ("error", "states_", "steps"),
    [
        (MissingActions("line", 1, 2, ""), [BEHIND, READY], [("fetch", 0), ANEW, FORGET]),
        (Passed(UNAPPLIED, 77), [BEHIND, READY], [("fetch", 77), ANEW, FORGET]),
        (Diverged("a method looked at the weather", 1), [QUARANTINED, READY], [("fetch", 40), ANEW, FORGET]),
        (Superseded(12, 55), [BEHIND, READY], [("cut", 12), FORGET]),
        (JournalError(28, "No space left on device", "/data"), [STALLED], [("follow_again",)]),
        (INTERRUPTED, [STALLED], [("follow_again",)]),
    ],
    ids=lambda each: type(each).__name__,
)
def test_what_a_node_does_that_can_not_go_on(
    clock: Clock, error: Exception, states_: list[str], steps: list[tuple[Any, ...]]
) -> None:
    found, node_, lives = patient(clock)
    told: list[str] = []
    lives.on_state_changed = lambda before, after: told.append(after)
    found.mend(error)
    assert (told, node_.steps) == (states_, steps)


@pytest.mark.parametrize(
    "error", [DamagedLine("a hole"), KeyError("a bug"), NotAMember("gone"), SystemClosed("closed")], ids=repr
)
def test_what_can_not_be_mended_is_raised_and_nothing_is_done(clock: Clock, error: Exception) -> None:
    found, node_, lives = patient(clock)
    with pytest.raises(type(error)) as raised:
        found.mend(error)
    assert raised.value is error and node_.steps == [] and lives.state == READY


def test_a_node_that_is_being_closed_mends_nothing(clock: Clock) -> None:
    found, node_, _ = patient(clock)
    node_.is_closing = True
    for error in (MissingActions("line", 1, 2, ""), JournalError(28, "No space left on device", "/data"), Superseded(1, 2)):
        with pytest.raises(type(error)):
            found.mend(error)
    assert node_.steps == []


def test_a_node_that_begins_anew_again_and_again_stops_and_after_an_hour_it_may(clock: Clock) -> None:
    found, _, _ = patient(clock)
    for _ in range(mending.MENDS_MAX):
        found.mend(Diverged("again", 1))
        clock.time += 60
    with pytest.raises(Diverged):
        found.mend(Diverged("again", 1))
    clock.time += mending.MENDS_S
    found.mend(Diverged("again", 1))


@pytest.mark.parametrize("error", [DamagedSnapshot("here", 3, "torn"), INTERRUPTED], ids=lambda each: type(each).__name__)
def test_a_node_whose_own_journal_does_not_lead_back_takes_a_snapshot_of_another(clock: Clock, error: CoopyError) -> None:
    found, node_, lives = patient(clock)
    node_.fails["cut"] = error
    found.mend(Superseded(12, 55))
    assert node_.steps == [("cut", 12), ("fetch", 55), ANEW, FORGET] and lives.state == READY


def test_a_node_that_went_back_while_it_caught_up_goes_on_catching_up(clock: Clock) -> None:
    found, _, lives = patient(clock, states.CATCHING_UP)
    found.mend(Superseded(12, 55))
    assert lives.state == states.CATCHING_UP


def test_a_node_that_can_not_write_waits_a_second_each_time_and_says_why(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    found, node_, lives = patient(clock)
    with caplog.at_level(logging.ERROR, "coopy"):
        for _ in range(5):
            found.mend(JournalError(28, "No space left on device", "/data"))
    assert clock.time == 1005 and lives.stalled_at == 40 and "No space left" in str(lives.problem)
    assert caplog.text.count("can't write its journal, and waits") == 1
    node_.is_unsure = True
    found.mend(JournalError(5, "Input/output error", "/data"))
    assert node_.steps[-1] == ("read_again",), "after a sync that failed nobody knows what is there"


# -- watching


class Watch:
    """A node that is looked after, in the state ready, with a server of its own; ``look`` lets seconds pass."""

    def __init__(self, number: int = 3, looks_after_members: bool = True) -> None:
        self.clock = Clock()
        self.servers = Servers("n0:1", clock=self.clock)
        self.own = self.servers.own = OwnServer()
        self.engine = Engine()
        self.outlook = outlook(self.servers, member(0, number))
        self.life = life(*FOLLOWING)
        self.ended = threading.Event()
        self.flushes: list[object] = []
        self.fails: Exception | None = None
        node_ = SimpleNamespace(facts=lambda: {"position": 10}, look_at_code=lambda: None, flush=self._flush)
        comparing = Comparing(self.outlook, True)
        self.watching = Watching(
            cast(Any, node_),
            self.engine,
            self.outlook,
            self.life,
            comparing,
            cast(Any, self.servers),
            self.ended,
            looks_after_members,
        )
        self.servers.said = State(1, 10, 0, 3, "n0:1", ())
        self.servers.room.put("members", {"nodes": self.outlook.names}, 0)
        self.servers.room.there = {each: {"safe": 10} for each in self.outlook.others}

    def _flush(self) -> None:
        if self.fails is not None:
            raise self.fails
        self.flushes.append(1)

    def look(self, seconds: float = 1.0) -> None:
        self.clock.time += seconds
        self.watching.look(self.clock.time)


def test_a_node_says_how_it_is_each_time_and_asks_the_leader_once_a_second() -> None:
    found = Watch()
    asked: list[float] = []
    said = found.servers.said
    found.servers.state = lambda timeout_s: asked.append(found.clock.time) or said  # type: ignore[func-returns-value]
    for _ in range(10):
        found.look(0.5)
    assert len(found.servers.room.told) == 10 and len(asked) == 5
    assert found.outlook.leads and len(found.flushes) == 1


def test_a_journal_is_made_durable_though_the_servers_do_not_answer() -> None:
    found = Watch()
    found.servers.said = Unavailable("no leader")
    found.look()
    assert found.watching.safe == 10 and found.outlook.leader is None


def test_a_server_that_hangs_is_started_again_after_a_minute_and_one_that_goes_on_is_not() -> None:
    found = Watch()
    behind = found.servers.said = cast(State, found.servers.said)._replace(leader="n1:1", peers=(("n0:1", False, False, 5000),))
    for _ in range(61):
        found.look()
    assert found.own.restarts == 0
    found.servers.said = behind._replace(peers=(("n0:1", True, False, 5),))
    found.look()
    found.servers.said = behind
    for _ in range(61):
        found.look()
    assert found.own.restarts == 0, "it had caught up in between"
    found.look()
    assert found.own.restarts == 1


@pytest.mark.parametrize(
    ("away", "problem", "moves", "lags"),
    [
        (0, None, False, False),
        (0, Unavailable("full"), False, True),
        (0, Unavailable("full"), True, False),
        (2, Unavailable("full"), False, False),
    ],
    ids=["it takes calls", "nothing moves", "others take calls", "too few are there"],
)
def test_a_server_lags_if_nothing_is_taken_though_a_majority_is_there(
    away: int, problem: Exception | None, moves: bool, lags: bool
) -> None:
    found = Watch()
    found.engine.outbox.problem = problem
    for name in found.outlook.others[:away]:
        del found.servers.room.there[name]
    for number in range(70):
        if moves:
            found.servers.said = State(1, 10 + number, 0, 3, "n0:1", ())
        found.look()
    assert (found.own.restarts > 0) is lags


@pytest.mark.parametrize("error", [ServerError("no program"), OSError(28, "No space left")], ids=repr)
def test_a_server_that_can_not_be_started_is_tried_again_after_a_minute(error: Exception) -> None:
    found = Watch()
    found.own.running, found.own.refuses = False, error
    for _ in range(62):
        found.look()
    assert found.watching.unserved is error and found.engine.failure is None
    found.own.refuses = None
    for _ in range(60):
        found.look()
    assert found.own.restarts == 0
    found.look()
    assert found.own.restarts == 1 and found.watching.unserved is None


def test_a_server_that_was_started_while_the_node_was_closed_is_ended() -> None:
    found = Watch()
    found.own.running = False
    found.look()
    found.ended.set()
    found.look(watching.LAGGING_S + 1)
    assert found.own.stopped


def test_a_line_that_stays_shorter_than_what_was_applied_stops_the_node_and_a_stale_leader_does_not() -> None:
    found = Watch()
    whole, short = cast(State, found.servers.said), State(1, 9, 0, 3, "n1:1", ())
    for said in (short, whole, short):
        found.servers.said = said
        for _ in range(20):
            found.look()
    assert found.engine.failure is None
    found.look()
    found.look()
    assert isinstance(found.engine.failure, DamagedLine)
    found.look()
    assert found.life.state == STOPPED


LONG = State(1, 1001, watching.KEPT_BYTES, 3, "n0:1", ())


@pytest.mark.parametrize(
    ("said", "safe", "forgets"),
    [
        (LONG, {"n1:1": 1001, "n2:1": 1001}, [751]),
        (LONG._replace(bytes=watching.KEPT_BYTES - 1), {"n1:1": 1001, "n2:1": 1001}, []),
        (LONG, {"n1:1": 600, "n2:1": 1001}, [350]),
        (LONG, {"n1:1": 200, "n2:1": 1001}, []),
        (LONG, {"n1:1": 1001}, []),
        (LONG._replace(leader="n1:1"), {"n1:1": 1001, "n2:1": 1001}, []),
        (LONG._replace(bytes=watching.LINE_BYTES_MAX + 1), {"n1:1": 1001}, [251]),
    ],
    ids=["all have it", "it is short", "one is behind", "one is far behind", "one is away", "another leads", "it is too long"],
)
def test_the_line_forgets_what_all_have_and_what_is_too_much(said: State, safe: dict[str, int], forgets: list[int]) -> None:
    found = Watch()
    found.engine.position = 1001
    found.servers.said = said
    found.servers.room.there = {name: {"safe": value} for name, value in safe.items()}
    found.look()
    assert found.servers.forgotten == forgets


def test_of_a_journal_that_can_not_be_synced_nothing_is_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    found = Watch()
    found.engine.position, found.servers.said = 1001, LONG
    found.fails = JournalError(5, "Input/output error", "/data")
    with caplog.at_level(logging.ERROR, "coopy"):
        found.look()
    assert found.watching.safe == 0 and found.servers.forgotten == [] and "could not be synced" in caplog.text


def test_a_node_that_was_removed_stops_with_its_server() -> None:
    found = Watch()
    found.servers.room.put("members", {"nodes": ["n1:1", "n2:1"]}, found.servers.room.get("members")[1])
    found.look()
    assert isinstance(found.engine.failure, NotAMember) and found.life.state == STOPPED
    assert found.ended.is_set() and found.own.stopped
    assert found.servers.remembered == [["n1:1", "n2:1"]]


def test_the_line_is_kept_by_as_many_servers_as_there_are_members_for() -> None:
    found = Watch()
    found.servers.said = State(1, 10, 0, 1, "n0:1", ())
    found.look()
    assert found.servers.grown == [{"n0:1", "n1:1", "n2:1"}]
    found.servers.said = State(1, 10, 0, 1, "n1:1", ())
    found.look()
    assert len(found.servers.grown) == 1, "the node that leads sees to it"


def test_a_node_whose_members_can_not_change_does_not_look_for_them() -> None:
    found = Watch(looks_after_members=False)
    found.servers.room.put("members", {"nodes": ["n1:1"]}, found.servers.room.get("members")[1])
    found.look()
    assert found.engine.failure is None


def test_a_node_is_stalled_while_it_has_an_action_that_it_can_not_apply() -> None:
    found = Watch()
    found.engine.unapplied = UNAPPLIED
    found.look()
    assert found.life.state == STALLED and "can't be applied here" in str(found.life.problem)
    found.look()
    assert found.life.state == STALLED
    found.engine.unapplied, found.engine.position = None, 11
    found.look()
    assert found.life.state == READY


def test_what_goes_wrong_in_looking_stops_the_node() -> None:
    found = Watch()
    bug = KeyError("a bug")

    def fail() -> None:
        raise bug

    found.clock.passing = fail
    found.watching.keep()
    assert found.engine.failure is bug and found.life.state == STOPPED
