"""`SyncObj` of PySyncObj, method by method, on a node alone and on three."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import pytest
from compat.clusters import TRIO, Cluster, Told
from network.servers import until

import coopy
from coopy import UsageError, control
from coopy.compat.pysyncobj import (
    _RAFT_STATE,
    FAIL_REASON,
    Node,
    ReplCounter,
    ReplDict,
    SyncObj,
    SyncObjConf,
    SyncObjConsumer,
    SyncObjException,
    TCPNode,
    TransportNotReadyError,
    replicated,
)
from coopy.errors import ServerError, Unavailable


class Counter(SyncObj):
    def __init__(self, own: Any, others: Any, conf: SyncObjConf | None = None, **given: Any) -> None:
        self.label = str(own)
        super().__init__(own, others, conf, **given)
        self.__counter = 0
        self.__log: list[str] = []

    @replicated
    def add(self, value: int) -> int:
        self.__counter += value
        return self.__counter

    @replicated
    def fail(self) -> None:
        self.__log.append("failed")
        raise ValueError("no")

    @replicated
    def add_twice(self, value: int) -> Any:
        return self.add(value), self.add(value)

    @replicated
    def itself(self) -> str:
        return self.label

    def get(self) -> int:
        return self.__counter

    def log(self) -> list[str]:
        return list(self.__log)


# -- the constructor, and what is state


def test_what_a_replicated_method_changes_is_there_on_all_nodes(cluster: Cluster) -> None:
    one, other, third = cluster.trio(Counter)
    assert one.add(5) is None
    assert other.add(10, sync=True) == 15
    until(lambda: [each.get() for each in (one, other, third)] == [15, 15, 15])


def test_attributes_from_before_the_constructor_of_SyncObj_are_of_each_node_and_the_others_of_all(cluster: Cluster) -> None:
    nodes = cluster.trio(Counter)
    assert [each.label for each in nodes] == TRIO
    assert nodes[1].itself(sync=True) == TRIO[1]
    nodes[1].later = "mine alone"
    assert nodes[1].add(1, sync=True) == 1 and nodes[1].later == "mine alone"
    assert not hasattr(nodes[0], "later")


def test_a_SyncObj_alone_keeps_its_state_in_a_directory_beside_its_file(cluster: Cluster) -> None:
    conf = SyncObjConf(journalFile=str(cluster.path / "journal"))
    one = cluster.alone(Counter, conf)
    assert one.isReady() and one.add(3, sync=True) == 3
    cluster.destroy(one)
    assert (cluster.path / "journal.coopy").is_dir() and one.get() == 3
    again = cluster.alone(Counter, conf)
    assert again.get() == 3 and again.label == "localhost:4321"


@pytest.mark.parametrize("name", ["fullDumpFile", "journalFile"])
def test_a_file_that_is_named_is_where_the_state_is_found_again_whatever_else_is_named_then(
    cluster: Cluster, name: str
) -> None:
    one = cluster.alone(Counter, SyncObjConf(**{name: str(cluster.path / name)}))
    one.add(2, sync=True)
    cluster.destroy(one)
    both = {each: str(cluster.path / each) for each in ("fullDumpFile", "journalFile")}
    assert cluster.alone(Counter, SyncObjConf(**both)).get() == 2


def test_a_state_without_a_file_goes_with_the_object(cluster: Cluster) -> None:
    one = cluster.alone(Counter)
    one.add(1, sync=True)
    directory = Path(control(one._coopy_begun()._proxy).basedir)
    assert directory.is_dir()
    cluster.destroy(one)
    assert not directory.exists() and cluster.alone(Counter).get() == 0


def test_a_node_that_was_away_takes_the_state_of_the_others(cluster: Cluster) -> None:
    one, other, third = cluster.trio(Counter)
    cluster.destroy(third)
    assert one.add(4, sync=True) == 4
    back = cluster.node(Counter, 2)
    cluster.wait_for(back)
    assert back.get() == 4 and back.label == TRIO[2]
    assert back.add(1, sync=True) == 5
    until(lambda: other.get() == 5)


def test_a_node_that_begins_anew_with_a_state_of_another_shows_that(cluster: Cluster) -> None:
    from coopy.ground.line import MemoryLine

    conf = [SyncObjConf(journalFile=str(cluster.path / f"j{number}")) for number in range(3)]
    nodes = [cluster.node(Counter, number, conf=conf[number]) for number in range(3)]
    for each in nodes:
        cluster.wait_for(each)
    assert nodes[0].add(1, sync=True) == 1
    cluster.destroy(nodes[2])
    for _ in range(5):
        nodes[0].add(1, sync=True)
    nodes[0].forceLogCompaction()
    until(lambda: nodes[0].getStatus()["last_applied"] == cluster.together.line.last)
    MemoryLine(cluster.together.line).forget(cluster.together.line.last)
    back = cluster.node(Counter, 2, conf=conf[2])
    cluster.wait_for(back)
    assert back.get() == 6 and back.add(1, sync=True) == 7 and back.get() == 7


def test_what_can_not_be_kept_is_of_this_process_and_said(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    class Locked(Counter):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            self.lock = threading.Lock()
            self.itself_too = self
            self.consumers = [self]

    locked = cluster.alone(Locked)
    with locked.lock:
        assert locked.add(1, sync=True) == 1
    assert locked.itself_too is locked
    assert "Locked.lock belongs to this process, and is not kept" in caplog.text


def test_what_a_constructor_sets_after_it_has_waited_is_state_too(cluster: Cluster) -> None:
    class Late(SyncObj):
        def __init__(self, own: str, others: list[str], conf: SyncObjConf | None = None) -> None:
            super().__init__(own, others, conf)
            self.before = [1]
            self.waitReady()
            assert self.isReady()
            self.after = [2]

        @replicated
        def append(self, value: int) -> None:
            self.after.append(value)

    conf = SyncObjConf(journalFile=str(cluster.path / "journal"))
    late = cluster.alone(Late, conf)
    late.append(3, sync=True)
    cluster.destroy(late)
    again = cluster.alone(Late, conf)
    assert (again.before, again.after) == ([1], [2, 3])


def test_an_attribute_that_a_later_release_adds_begins_as_its_constructor_says(cluster: Cluster) -> None:
    class Counter2(Counter):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            self.new: dict[str, int] = {}

        @replicated
        def put(self, key: str) -> None:
            self.new[key] = self.get()

    Counter2.__name__ = Counter2.__qualname__ = "Counter"
    conf = SyncObjConf(journalFile=str(cluster.path / "journal"))
    one = cluster.alone(Counter, conf)
    one.add(2, sync=True)
    cluster.destroy(one)
    for expected in ({}, {"a": 2}):
        again = cluster.alone(Counter2, conf)
        assert again.new == expected and again.get() == 2
        again.put("a", sync=True)
        cluster.destroy(again)


def test_a_class_may_have_other_bases(cluster: Cluster) -> None:
    from abc import ABC, abstractmethod

    class Shape(ABC):
        @abstractmethod
        def area(self) -> int: ...

    class Square(SyncObj, Shape):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            self.side = 1

        @replicated
        def resize(self, side: int) -> None:
            self.side = side

        def area(self) -> int:
            return self.side**2

    square = cluster.alone(Square)
    square.resize(3, sync=True)
    assert square.area() == 9 and isinstance(square, Shape)


def test_selfNode_and_otherNodes_are_addresses_or_nodes(cluster: Cluster) -> None:
    conf = SyncObjConf(password="secret")
    one = cluster.node(lambda own, others, conf: Counter(TCPNode(own), map(TCPNode, others), conf))
    other = cluster.node(lambda own, others, conf: Counter(own, [own, *others], conf), 1)
    assert one.selfNode == TCPNode(TRIO[0]) and other.selfNode.address == TRIO[1]
    assert one.otherNodes == {TCPNode(each) for each in TRIO[1:]} and len(other.otherNodes) == 2
    assert conf.password == "secret"


def test_nodeClass_makes_the_nodes(cluster: Cluster) -> None:
    class Mine(TCPNode):
        pass

    nodes = cluster.trio(Counter, nodeClass=Mine)
    assert {type(each) for each in (nodes[0].selfNode, *nodes[0].otherNodes, nodes[2]._getLeader())} == {Mine}


def test_consumers_are_parts_of_the_state(cluster: Cluster) -> None:
    given = [(ReplCounter(), ReplDict()) for _ in range(3)]
    nodes = [cluster.node(SyncObj, number, consumers=list(given[number])) for number in range(3)]
    for each in nodes:
        cluster.wait_for(each)
    assert given[0][0].inc(sync=True) == 1
    given[1][1].set("a", [1], sync=True)
    until(lambda: [counter.get() for counter, _ in given] == [1, 1, 1] and [d.get("a") for _, d in given] == [[1]] * 3)
    assert given[2][0]._syncObj is nodes[2]


@pytest.mark.parametrize("wrong", [object(), "text", 3, dict])
def test_what_is_no_consumer_is_refused(wrong: Any) -> None:
    with pytest.raises(SyncObjException, match="Consumers must be inherited from SyncObjConsumer"):
        SyncObj("localhost:4321", [], consumers=[wrong])


def test_a_consumer_that_no_SyncObj_has_can_not_be_changed() -> None:
    with pytest.raises(SyncObjException, match="not among the consumers"):
        ReplCounter().inc()


@pytest.mark.parametrize("address", ["localhost", "localhost:port", ""])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ValueError):
        SyncObj(address, [])


def test_nodes_that_others_can_reach_need_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COOPY_PASSWORD", raising=False)
    with pytest.raises(UsageError, match="can be reached from other machines"):
        SyncObj("a.example:4321", ["b.example:4321"])


def test_a_password_may_come_from_the_environment(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COOPY_PASSWORD", "of all")
    cluster.nodes.append(one := Counter("n0:4321", ["n1:4321"]))
    cluster.nodes.append(other := Counter("n1:4321", ["n0:4321"]))
    cluster.wait_for(one)
    cluster.wait_for(other)
    assert other.add(1, sync=True) == 1


def test_a_class_that_does_not_call_the_constructor_is_told() -> None:
    class Forgetful(SyncObj):
        def __init__(self) -> None:
            pass

    with pytest.raises(SyncObjException, match="has not called that of SyncObj"):
        Forgetful().isReady()


# -- readiness, binding, ending


def test_isReady_is_true_once_a_majority_is_there(cluster: Cluster) -> None:
    ready = Told()
    one = cluster.node(Counter, 0, conf=SyncObjConf(onReady=ready))
    two = cluster.node(Counter, 1)
    assert not one.isReady() and not two._isReady() and ready.all == []
    three = cluster.node(Counter, 2)
    for each in (one, two, three):
        cluster.wait_for(each)
    assert one._isReady() and ready.only() == ()


class Refusing:
    """Does not open the first node, as often as it is told."""

    def __init__(self, times: int, error: Exception) -> None:
        self.left, self.error = times, error
        self.opened: Any = None

    def __call__(self, *args: Any, **options: Any) -> Any:
        if options.get("node") == TRIO[0]:
            self.left -= 1
            if self.left >= 0:
                raise self.error
        return self.opened(*args, **options)


def refuses(monkeypatch: pytest.MonkeyPatch, cluster: Cluster, times: int, error: Exception) -> Refusing:
    from coopy.compat import pysyncobj_opening

    found = Refusing(times, error)
    found.opened = cluster.opens
    monkeypatch.setattr(pysyncobj_opening, "open_system", found)
    return found


def test_a_port_that_is_taken_is_tried_again_every_bindRetryTime(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    refusing = refuses(monkeypatch, cluster, 3, ServerError("port taken"))
    one = cluster.node(Counter, conf=SyncObjConf(bindRetryTime=0.01))
    for number in (1, 2):
        cluster.node(Counter, number)
    one.waitBinded()
    one.waitReady()
    assert refusing.left == -1 and one.isReady()


def test_waitBinded_and_waitReady_raise_after_maxBindRetries(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    refusing = refuses(monkeypatch, cluster, 100, ServerError("port taken"))
    one = cluster.node(Counter, conf=SyncObjConf(bindRetryTime=0.01, maxBindRetries=2))
    with pytest.raises(SyncObjException) as raised:
        one.waitBinded()
    assert raised.value.errorCode == "BindError" and refusing.left == 98
    with pytest.raises(TransportNotReadyError, match="port taken"):
        one.waitReady()
    told = Told()
    one.add(1, callback=told)
    assert told.only() == (None, FAIL_REASON.REQUEST_DENIED) and not one.isReady()


def test_a_node_whose_others_are_not_there_tries_for_ever(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    refuses(monkeypatch, cluster, 5, Unavailable("nobody is there."))
    one = cluster.node(Counter, conf=SyncObjConf(bindRetryTime=0.01, maxBindRetries=1))
    for number in (1, 2):
        cluster.node(Counter, number)
    assert one.add(7, sync=True) == 7, "what was called before is sent then"


def test_destroy_ends_the_thread_and_what_comes_later_is_discarded(cluster: Cluster) -> None:
    one = cluster.alone(Counter, consumers=[counter := ReplCounter()])
    assert one.tick_thread_alive()
    one.destroy()
    until(lambda: not one.tick_thread_alive())
    with pytest.raises(SyncObjException) as raised:
        one.add(1, sync=True)
    assert raised.value.errorCode == FAIL_REASON.DISCARDED and counter._syncObj is None
    one.destroy()
    one._destroy()


def test_destroy_synchronous_returns_when_all_is_closed(cluster: Cluster) -> None:
    one = cluster.trio(Counter)[0]
    one.add(2, sync=True)
    cluster.nodes.remove(one)
    one.destroy_synchronous()
    assert not one.tick_thread_alive() and one._coopy_begun().control.closed and one.get() == 2  # type: ignore[union-attr]


# -- ticks


def test_doTick_calls_back_and_nothing_else_does_without_autoTick(cluster: Cluster) -> None:
    one = cluster.alone(Counter, SyncObjConf(autoTick=False))
    told, ticked = Told(), Told()
    one.addOnTickCallback(ticked)
    one.add(1, callback=told)
    assert not one.tick_thread_alive() and (one.get(), told.all, ticked.all) == (0, [], [])
    one.doTick()
    one.doTick(0.01)
    assert (one.get(), told.all, len(ticked.all)) == (1, [(1, FAIL_REASON.SUCCESS)], 2)
    one.removeOnTickCallback(ticked)
    one.removeOnTickCallback(ticked)
    one.doTick()
    assert len(ticked.all) == 2


def test_doTick_is_not_for_autoTick(cluster: Cluster) -> None:
    with pytest.raises(AssertionError, match="autoTick=False"):
        cluster.alone(Counter).doTick()


def test_three_nodes_that_tick_by_hand_agree(cluster: Cluster) -> None:
    nodes = cluster.trio(Counter, conf=lambda: SyncObjConf(autoTick=False))
    told = Told()
    nodes[0].add(150, callback=told)
    nodes[1].add(200)

    def have_agreed() -> bool:
        for each in nodes:
            each.doTick(0.01)
        return [each.get() for each in nodes] == [350] * 3 and bool(told.all)

    until(have_agreed)


def test_addOnTickCallback_calls_every_autoTickPeriod(cluster: Cluster) -> None:
    one = cluster.alone(Counter, SyncObjConf(autoTickPeriod=0.001))
    told = Told()
    one.addOnTickCallback(told)
    until(lambda: len(told.all) > 3)
    one.removeOnTickCallback(told)


def test_a_callback_that_raises_is_logged_and_stops_nothing(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    one = cluster.alone(Counter)
    one.add(1, callback=lambda result, reason: 1 / 0)
    told = Told()
    one.add(1, callback=told)
    assert told.only() == (2, FAIL_REASON.SUCCESS) and "ZeroDivisionError" in caplog.text


def test_a_callback_may_call_and_wait(cluster: Cluster) -> None:
    one = cluster.trio(Counter)[0]
    told = Told()
    one.add(1, callback=lambda result, reason: told(one.add(10, sync=True)))
    assert told.only() == (11,)


# -- leaders and members


def test_the_leader_is_known_to_all_and_onStateChanged_says_who_becomes_it(cluster: Cluster) -> None:
    changes = [Told() for _ in range(3)]
    nodes = [cluster.node(Counter, number, conf=SyncObjConf(onStateChanged=changes[number])) for number in range(3)]
    cluster.agree(*nodes)
    assert [each._isLeader() for each in nodes] == [True, False, False]
    assert {each._getLeader() for each in nodes} == {TCPNode(TRIO[0])}
    ends = [(_RAFT_STATE.FOLLOWER, _RAFT_STATE.CANDIDATE), (_RAFT_STATE.CANDIDATE, _RAFT_STATE.LEADER)]
    until(lambda: changes[0].all[-2:] == ends)
    assert all(before == after for (_, before), (after, _) in zip(changes[1].all, changes[1].all[1:], strict=False))
    assert all(each.raftCurrentTerm == each._getTerm() >= 1 for each in nodes)


def test_transferLeadership_has_another_node_lead(cluster: Cluster) -> None:
    nodes = cluster.trio(Counter)
    told = Told()
    nodes[0].transferLeadership(TRIO[2], callback=told)
    assert told.only() == (None, FAIL_REASON.SUCCESS)
    until(lambda: nodes[2]._isLeader() and not nodes[0]._isLeader())
    told = Told()
    nodes[2].transferLeadership(callback=told)
    told.only()
    until(lambda: not nodes[2]._isLeader())


@pytest.mark.parametrize(
    ("asked", "node", "reason"),
    [(1, None, FAIL_REASON.NOT_LEADER), (0, TRIO[0], FAIL_REASON.REQUEST_DENIED)],
    ids=["not by another", "not to itself"],
)
def test_transferLeadership_is_denied(cluster: Cluster, asked: int, node: str | None, reason: int) -> None:
    told = Told()
    cluster.trio(Counter)[asked].transferLeadership(node, callback=told)
    assert told.only() == (None, reason)


def test_addNodeToCluster_lets_a_node_join_that_is_started_then(cluster: Cluster) -> None:
    conf = {"conf": lambda: SyncObjConf(dynamicMembershipChange=True)}
    nodes = cluster.trio(Counter, **conf)
    nodes[0].add(6, sync=True)
    told = Told()
    nodes[0].addNodeToCluster("n3:4321", callback=told)
    assert told.only() == (None, FAIL_REASON.SUCCESS)
    fourth = cluster.node(Counter, 3, of=4)
    cluster.wait_for(fourth)
    assert fourth.get() == 6 and fourth.add(1, sync=True) == 7
    until(lambda: TCPNode("n3:4321") in nodes[1].otherNodes and nodes[1].isNodeConnected(TCPNode("n3:4321")))
    told = Told()
    nodes[0].addNodeToCluster(TCPNode("n3:4321"), callback=told)
    assert told.only() == (None, FAIL_REASON.REQUEST_DENIED), "it is a member already"


def test_removeNodeFromCluster_takes_a_node_out(cluster: Cluster) -> None:
    nodes = cluster.trio(Counter, conf=lambda: SyncObjConf(dynamicMembershipChange=True))
    told = Told()
    nodes[0].removeNodeFromCluster(TRIO[2], callback=told)
    assert told.only() == (None, FAIL_REASON.SUCCESS)
    until(lambda: nodes[0].otherNodes == {TCPNode(TRIO[1])})
    for which in (TRIO[0], "n9:4321"):
        told = Told()
        nodes[0].removeNodeFromCluster(which, callback=told)
        assert told.only() == (None, FAIL_REASON.REQUEST_DENIED)


@pytest.mark.parametrize("name", ["addNodeToCluster", "removeNodeFromCluster"])
def test_members_are_changed_with_dynamicMembershipChange_alone(cluster: Cluster, name: str) -> None:
    with pytest.raises(Exception, match="dynamicMembershipChange is disabled"):
        getattr(cluster.alone(Counter), name)("n3:4321")


def test_members_of_a_system_alone_are_denied(cluster: Cluster) -> None:
    told = Told()
    cluster.alone(Counter, SyncObjConf(dynamicMembershipChange=True)).addNodeToCluster("n3:4321", told)
    assert told.only() == (None, FAIL_REASON.REQUEST_DENIED)


def test_a_node_without_an_address_only_reads(cluster: Cluster) -> None:
    nodes = cluster.trio(Counter)
    nodes[0].add(3, sync=True)
    cluster.nodes.append(reader := Counter(None, TRIO, SyncObjConf(password="secret")))
    until(lambda: reader.isReady() and reader.get() == 3)
    assert reader.selfNode is None and not reader._isLeader()
    told = Told()
    reader.add(1, callback=told)
    assert told.only() == (None, FAIL_REASON.NOT_LEADER)
    with pytest.raises(SyncObjException) as raised:
        reader.add(1, sync=True)
    assert raised.value.errorCode == FAIL_REASON.NOT_LEADER


# -- status


PLAIN_KEYS = """
    version revision self state leader has_quorum partner_nodes_count readonly_nodes_count log_len last_applied commit_idx raft_term
    next_node_idx_count match_idx_count leader_commit_idx uptime self_code_version enabled_code_version
""".split()


def test_getStatus_on_the_leader_of_three(cluster: Cluster) -> None:
    nodes = cluster.trio(Counter)
    nodes[0].add(1, sync=True)
    of_others = [f"{key}_server_{each}" for each in TRIO[1:] for key in ("partner_node_status", "next_node_idx", "match_idx")]
    last = cluster.together.line.last
    until(lambda: all(nodes[0].getStatus().get(f"match_idx_server_{each}") == last for each in TRIO[1:]))
    status = nodes[0].getStatus()
    assert set(status) == {*PLAIN_KEYS, *of_others}
    assert (status["self"], status["leader"], status["state"]) == (TCPNode(TRIO[0]), TCPNode(TRIO[0]), _RAFT_STATE.LEADER)
    assert status["has_quorum"] and nodes[0].hasQuorum and status["partner_nodes_count"] == 2
    assert status[f"partner_node_status_server_{TRIO[1]}"] == 2 and nodes[0].isNodeConnected(TCPNode(TRIO[1]))
    assert status["last_applied"] == status["commit_idx"] == status["leader_commit_idx"] == last
    assert (nodes[0].raftLastApplied, nodes[0].raftCommitIndex) == (last, last)
    assert status[f"next_node_idx_server_{TRIO[2]}"] == last + 1
    assert (status["self_code_version"], status["enabled_code_version"], status["revision"]) == (0, 0, "deprecated")
    assert status["uptime"] >= 0
    until(lambda: nodes[0]._getRaftLogSize() == nodes[0].getStatus()["log_len"] > 0)


def test_getStatus_on_another_of_three(cluster: Cluster) -> None:
    status = cluster.trio(Counter)[1].getStatus()
    assert status["state"] == _RAFT_STATE.FOLLOWER and status["leader"] == TCPNode(TRIO[0])
    assert status["next_node_idx_count"] == status["match_idx_count"] == 0


def test_getStatus_before_the_others_are_there(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    refuses(monkeypatch, cluster, 10**6, Unavailable("nobody is there."))
    one = cluster.node(Counter)
    status = one.getStatus()
    assert set(status) >= set(PLAIN_KEYS) and status["leader"] is None is one._getLeader() and not status["has_quorum"]
    assert status["partner_nodes_count"] == 2 and not one.isNodeConnected(TCPNode(TRIO[1])) and one.getCodeVersion() == 0


def test_getStatus_of_a_system_alone(cluster: Cluster) -> None:
    one = cluster.alone(Counter)
    one.add(1, sync=True)
    status = one.getStatus()
    assert set(status) == set(PLAIN_KEYS) and status["has_quorum"] and one.otherNodes == set() and one._isLeader()
    assert status["log_len"] == status["last_applied"] == 1


def test_readonlyNodes_are_numbered(cluster: Cluster) -> None:
    nodes = cluster.trio(Counter)
    assert nodes[0].readonlyNodes == set()
    running = nodes[0]._coopy_begun()
    said = running.control.status()  # type: ignore[union-attr]
    running.control.status = lambda: {**said, "readonly_nodes_count": 2}  # type: ignore[method-assign,union-attr]
    assert nodes[0].readonlyNodes == {Node("0"), Node("1")}
    assert nodes[0].getStatus()["readonly_node_status_server_1"] == 2


def test_printStatus_logs_each_key(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    one = cluster.alone(Counter)
    with caplog.at_level(logging.INFO, "coopy.compat.pysyncobj"):
        one.printStatus()
        one._printStatus()
    assert caplog.text.count("partner_nodes_count: 0") == 2


def test_conf_is_what_was_given(cluster: Cluster) -> None:
    conf = SyncObjConf()
    one = cluster.alone(Counter, conf)
    assert one.conf is one._getConf() is conf


# -- errors of methods


def test_a_method_that_raises_raises_for_who_waits_and_stops_no_node(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    one, other, _ = cluster.trio(Counter)
    with pytest.raises(ValueError, match="no"):
        one.fail(sync=True)
    told = Told()
    other.fail(callback=told)
    assert told.only() == (None, FAIL_REASON.REQUEST_DENIED) and "fail has raised" in caplog.text
    until(lambda: one.log() == other.log() == ["failed", "failed"])
    assert one.add(1, sync=True) == 1


def test_a_call_that_is_interrupted_leaves_the_attributes_as_before_it(cluster: Cluster) -> None:
    class Interrupted(Counter):
        @replicated
        def add_and_end(self) -> None:
            self.add(100)
            if not coopy.replaying():
                raise KeyboardInterrupt

    one = cluster.alone(Interrupted, SyncObjConf(autoTick=False, commandsQueueSize=1))
    assert one.add(1, sync=True) == 1
    with pytest.raises(KeyboardInterrupt):
        one.add_and_end(sync=True)
    assert one.add(1, sync=True) == 2 == one.get(), "and it is no command that waits any more"


def test_a_replicated_method_that_another_calls_is_a_part_of_that_call(cluster: Cluster) -> None:
    one, other, _ = cluster.trio(Counter)
    assert one.add_twice(2, sync=True) == (2, 4)
    until(lambda: other.get() == 4)


def test_a_consumer_of_ones_own_is_kept_and_found_again(cluster: Cluster) -> None:
    class Stock(SyncObjConsumer):
        def __init__(self) -> None:
            self.name = "of this process"
            super().__init__()
            self.articles: dict[str, int] = {}

        @replicated
        def put(self, article: str, number: int) -> None:
            self.articles[article] = number

    conf = SyncObjConf(fullDumpFile=str(cluster.path / "dump"))
    one = cluster.alone(SyncObj, conf, consumers=[stock := Stock()])
    stock.put("tea", 3, sync=True)
    stock.put(article="ink", number=2, sync=True)
    cluster.destroy(one)
    cluster.alone(SyncObj, conf, consumers=[again := Stock()])
    assert again.articles == {"tea": 3, "ink": 2} and again.name == "of this process"
