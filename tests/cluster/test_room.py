"""What nodes agree on outside the line: turns, and how the beginning of a node ends that can't come about."""

from __future__ import annotations

from typing import Any, cast

import pytest
from cluster.bank import Bank
from network.servers import until

from coopy import replicated
from coopy.errors import Unavailable
from coopy.network import room as rooms
from coopy.network.room import Facts, Room, Turn


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


def test_a_turn_is_kept_until_it_is_over(facts: Bucket) -> None:
    import threading

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
    monkeypatch.setattr(replicated, "OPEN_S", 1.0)
    node = replicated.ReplicatedSystem.__new__(replicated.ReplicatedSystem)
    node._cls = Bank
    node._role = replicated.role(
        master=False, replication=True, cluster=(), node=None, host="127.0.0.1", port=7001, password="a password",
        replica_password=None, tls=False, server=None, timeout=1.0, basedir="",
    )  # fmt: skip
    node._nodes = node._role.nodes
    node._connection = cast(Any, object())
    return node
