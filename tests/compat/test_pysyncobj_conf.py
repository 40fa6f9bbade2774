"""`SyncObjConf` of PySyncObj, option by option, its rules, and its numbers."""

from __future__ import annotations

import doctest
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from compat.clusters import Cluster, Told
from network.servers import until

import coopy
from coopy.compat import pysyncobj_conf, pysyncobj_node, pysyncobj_opening
from coopy.compat.pysyncobj import (
    _RAFT_STATE,
    FAIL_REASON,
    SERIALIZER_STATE,
    Node,
    NoEffect,
    SyncObj,
    SyncObjConf,
    SyncObjException,
    TCPNode,
    replicated,
)

DEFAULTS = {
    "password": None,
    "autoTick": True,
    "autoTickPeriod": 0.05,
    "commandsQueueSize": 100000,
    "raftMinTimeout": 0.4,
    "raftMaxTimeout": 1.4,
    "appendEntriesPeriod": 0.1,
    "connectionTimeout": 3.5,
    "connectionRetryTime": 5.0,
    "leaderFallbackTimeout": 30.0,
    "appendEntriesUseBatch": True,
    "appendEntriesBatchSizeBytes": 65536,
    "bindAddress": None,
    "preferredAddrType": "ipv4",
    "sendBufferSize": 65536,
    "recvBufferSize": 65536,
    "dnsCacheTime": 600,
    "dnsFailCacheTime": 30,
    "logCompactionMinEntries": 5000,
    "logCompactionMinTime": 300,
    "logCompactionSplit": False,
    "logCompactionBatchSize": 65536,
    "commandsWaitLeader": True,
    "fullDumpFile": None,
    "journalFile": None,
    "bindRetryTime": 1.0,
    "maxBindRetries": 0,
    "onReady": None,
    "onStateChanged": None,
    "onCodeVersionChanged": None,
    "dynamicMembershipChange": False,
    "pollerType": "auto",
    "useFork": True,
    "serializer": None,
    "deserializer": None,
    "serializeChecker": None,
    "tcp_keepalive": (16, 3, 5),
}
MEANINGLESS = {
    "raftMinTimeout": 0.5,
    "raftMaxTimeout": 1.5,
    "appendEntriesPeriod": 0.05,
    "leaderFallbackTimeout": 20.0,
    "connectionTimeout": 4.0,
    "connectionRetryTime": 1.0,
    "appendEntriesUseBatch": False,
    "appendEntriesBatchSizeBytes": 1024,
    "bindAddress": "0.0.0.0:4321",
    "preferredAddrType": "ipv6",
    "sendBufferSize": 1024,
    "recvBufferSize": 1024,
    "dnsCacheTime": 1,
    "dnsFailCacheTime": 1,
    "logCompactionBatchSize": 1024,
    "pollerType": "select",
    "tcp_keepalive": None,
}


class Counter(SyncObj):
    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.value = 0

    @replicated
    def add(self, value: int) -> int:
        self.value += value
        return self.value


@pytest.fixture(autouse=True)
def told_of_nothing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(pysyncobj_conf, "_told", set())
    yield


@pytest.mark.parametrize("name", DEFAULTS)
def test_an_option_has_its_default_and_takes_another_value(name: str) -> None:
    assert getattr(SyncObjConf(), name) == DEFAULTS[name]
    assert getattr(SyncObjConf(**{name: "another"}), name) == "another"


def test_there_are_no_other_options() -> None:
    assert vars(SyncObjConf(unknown=1)) == DEFAULTS
    with pytest.raises(AttributeError, match="no option 'unknown'"):
        SyncObjConf().unknown  # noqa: B018


def test_the_defaults_are_valid() -> None:
    SyncObjConf().validate()


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"autoTickPeriod": 0}, "autoTickPeriod"),
        ({"commandsQueueSize": -1}, "commandsQueueSize"),
        ({"raftMinTimeout": 0.3}, "raftMinTimeout must be more than three times appendEntriesPeriod"),
        ({"raftMaxTimeout": 0.4}, "raftMaxTimeout must be more than raftMinTimeout"),
        ({"appendEntriesPeriod": 0}, "appendEntriesPeriod"),
        ({"leaderFallbackTimeout": 0.1}, "leaderFallbackTimeout must be more than appendEntriesPeriod"),
        ({"connectionTimeout": 1.3}, "connectionTimeout must be at least raftMaxTimeout"),
        ({"connectionRetryTime": -1}, "connectionRetryTime"),
        ({"appendEntriesBatchSizeBytes": 0}, "appendEntriesBatchSizeBytes"),
        ({"sendBufferSize": 0}, "sendBufferSize"),
        ({"recvBufferSize": 0}, "recvBufferSize"),
        ({"dnsCacheTime": -1}, "dnsCacheTime"),
        ({"dnsFailCacheTime": -1}, "dnsFailCacheTime"),
        ({"logCompactionMinEntries": 1}, "logCompactionMinEntries"),
        ({"logCompactionMinTime": 0}, "logCompactionMinTime"),
        ({"logCompactionBatchSize": 0}, "logCompactionBatchSize"),
        ({"bindRetryTime": 0}, "bindRetryTime"),
        ({"serializer": print, "fullDumpFile": "dump"}, "serializer and deserializer must both be given"),
        ({"deserializer": print}, "serializer and deserializer must both be given"),
        ({"serializer": print, "deserializer": print}, "a serializer needs a fullDumpFile"),
        ({"preferredAddrType": "ipx"}, "preferredAddrType"),
        ({"tcp_keepalive": [16, 3, 5]}, "tcp_keepalive"),
        ({"tcp_keepalive": (16, 3)}, "tcp_keepalive"),
        ({"tcp_keepalive": (16, 3, 0)}, "tcp_keepalive"),
        ({"tcp_keepalive": (16, 3, 5.0)}, "tcp_keepalive"),
    ],
    ids=str,
)
def test_options_that_do_not_fit_together_are_refused(given: dict[str, Any], rule: str) -> None:
    with pytest.raises(AssertionError, match=rule):
        SyncObjConf(**given).validate()
    with pytest.raises(AssertionError, match=rule):
        SyncObj("localhost:4321", [], SyncObjConf(**given))


@pytest.mark.parametrize(
    "given",
    [
        {"raftMinTimeout": 0.31},
        {"connectionTimeout": 1.4},
        {"commandsQueueSize": 0},
        {"serializer": print, "deserializer": print, "fullDumpFile": "dump"},
        {"preferredAddrType": None},
        {"tcp_keepalive": None},
        {"logCompactionMinEntries": 2},
    ],
    ids=str,
)
def test_options_at_the_border_are_valid(given: dict[str, Any]) -> None:
    SyncObjConf(**given).validate()


# -- what means nothing here


@pytest.mark.parametrize("name", MEANINGLESS)
def test_an_option_without_effect_is_told_of_once_and_why(cluster: Cluster, name: str) -> None:
    with pytest.warns(NoEffect, match=f"^{name}=.* has no effect in coopy: .{{20}}"):
        cluster.alone(Counter, SyncObjConf(**{name: MEANINGLESS[name]}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cluster.alone(Counter, SyncObjConf(**{name: MEANINGLESS[name]})).add(1, sync=True) == 1


@pytest.mark.parametrize("name", ["transport", "transportClass"])
def test_a_transport_of_ones_own_is_told_of_once(cluster: Cluster, name: str) -> None:
    with pytest.warns(NoEffect, match=f"^{name}=.* nats-server"):
        cluster.alone(Counter, **{name: object})


def test_every_option_means_something_or_is_said_not_to() -> None:
    quiet = set(DEFAULTS) - set(pysyncobj_conf.WITHOUT_EFFECT)
    assert set(MEANINGLESS) | {"deserializer"} == set(pysyncobj_conf.WITHOUT_EFFECT) - {"transport", "transportClass"}
    assert quiet == TESTED_HERE | TESTED_WITH_THE_OBJECT


TESTED_WITH_THE_OBJECT = set(
    """
    password autoTick autoTickPeriod bindRetryTime maxBindRetries onReady onStateChanged dynamicMembershipChange journalFile
    """.split()
)
TESTED_HERE = set(
    """
    commandsQueueSize commandsWaitLeader logCompactionMinEntries logCompactionMinTime logCompactionSplit fullDumpFile useFork serializer
    serializeChecker onCodeVersionChanged
    """.split()
)


def test_options_that_are_left_alone_warn_of_nothing(cluster: Cluster) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cluster.alone(Counter)


# -- what the others do


def test_commandsQueueSize_is_how_many_commands_may_wait(cluster: Cluster) -> None:
    one = cluster.alone(Counter, SyncObjConf(commandsQueueSize=2, autoTick=False))
    told = [Told() for _ in range(3)]
    for each in told:
        one.add(1, callback=each)
    one.doTick()
    assert [each.all for each in told] == [
        [(1, FAIL_REASON.SUCCESS)],
        [(2, FAIL_REASON.SUCCESS)],
        [(None, FAIL_REASON.QUEUE_FULL)],
    ]
    one.add(1)
    one.doTick()
    assert one.value == 3


def test_no_command_fits_into_a_queue_of_none(cluster: Cluster) -> None:
    one = cluster.alone(Counter, SyncObjConf(commandsQueueSize=0))
    with pytest.raises(SyncObjException) as raised:
        one.add(1, sync=True)
    assert raised.value.errorCode == FAIL_REASON.QUEUE_FULL


@pytest.mark.parametrize("waits", [True, False])
def test_commandsWaitLeader_says_whether_a_command_waits_for_a_leader(cluster: Cluster, waits: bool) -> None:
    told = Told()
    first = cluster.node(Counter, 0, conf=SyncObjConf(commandsWaitLeader=waits))
    first.add(1, callback=told)
    others = [cluster.node(Counter, number) for number in (1, 2)]
    cluster.agree(first, *others)
    assert told.only() == ((1, FAIL_REASON.SUCCESS) if waits else (None, FAIL_REASON.MISSING_LEADER))
    assert first.add(1, sync=True) == (2 if waits else 1)


def given_to_coopy(monkeypatch: pytest.MonkeyPatch, cluster: Cluster, conf: SyncObjConf) -> dict[str, Any]:
    """The options of `coopy.init_system` that options of PySyncObj come to."""
    given: dict[str, Any] = {}

    def opens(obj: Any, directory: str, **options: Any) -> Any:
        given.update(options, directory=directory)
        return cluster.local(obj, directory, **options)

    monkeypatch.setattr(pysyncobj_opening, "open_system", opens)
    cluster.alone(Counter, conf)
    return given


def test_logCompactionMinTime_and_useFork_are_options_of_coopy(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    given = given_to_coopy(monkeypatch, cluster, SyncObjConf(logCompactionMinTime=7, useFork=False, logCompactionSplit=True))
    assert (given["snapshot_time"], given["fork"]) == (7, False)
    assert given_to_coopy(monkeypatch, cluster, SyncObjConf())["fork"] is None


def test_logCompactionMinEntries_is_after_how_many_a_snapshot_is_taken(cluster: Cluster) -> None:
    one = cluster.alone(Counter, SyncObjConf(logCompactionMinEntries=2, autoTick=False))
    for _ in range(2):
        one.add(1, sync=True)
    one.doTick()
    assert one.getStatus()["log_len"] == 2
    one.add(1, sync=True)
    one._coopy_begun()._next_look = 0
    one.doTick()
    until(lambda: one.getStatus()["log_len"] == 0)


@pytest.mark.parametrize("name", ["forceLogCompaction", "_forceLogCompaction"])
def test_forceLogCompaction_has_a_snapshot_taken_at_the_next_tick(cluster: Cluster, name: str) -> None:
    one = cluster.alone(Counter, SyncObjConf(fullDumpFile=str(cluster.path / "dump")))
    one.add(1, sync=True)
    getattr(one, name)()
    until(lambda: one.getStatus()["log_len"] == 0)


class Serializer:
    """A serializer of a program's own; the file is written when it is told to be."""

    def __init__(self) -> None:
        self.state = SERIALIZER_STATE.SERIALIZING
        self.written: list[str] = []

    def write(self, name: str, data: Any) -> None:
        assert isinstance(data, tuple)
        Path(name).write_text("mine")
        self.written.append(name)

    def check(self) -> int:
        found, before = self.state, self.state
        if before in (SERIALIZER_STATE.SUCCESS, SERIALIZER_STATE.FAILED):
            self.state = SERIALIZER_STATE.NOT_SERIALIZING
        return found


def serializing(cluster: Cluster, **more: Any) -> tuple[Counter, Path]:
    path = cluster.path / "dump"
    conf = SyncObjConf(fullDumpFile=str(path), deserializer=print, autoTick=False, **more)
    with pytest.warns(NoEffect, match="deserializer"):
        one = cluster.alone(Counter, conf)
    one.add(1, sync=True)
    return one, path


def compacted(one: Counter) -> None:
    one.forceLogCompaction()
    one.doTick()
    errand = one._coopy_begun()._errand
    assert isinstance(errand, threading.Thread)
    errand.join()


def test_a_serializer_writes_its_file_when_the_log_is_compacted(cluster: Cluster) -> None:
    serializer = Serializer()
    one, path = serializing(cluster, serializer=serializer.write)
    compacted(one)
    assert path.read_text() == "mine" and serializer.written == [f"{path}.tmp"]


@pytest.mark.parametrize(
    ("state", "is_there", "said"),
    [
        (SERIALIZER_STATE.SUCCESS, True, ""),
        (SERIALIZER_STATE.FAILED, False, "the serializer could not write"),
        (SERIALIZER_STATE.SERIALIZING, False, ""),
        (SERIALIZER_STATE.NOT_SERIALIZING, False, ""),
    ],
)
def test_a_serializeChecker_says_when_the_file_is_written(
    cluster: Cluster, caplog: pytest.LogCaptureFixture, state: int, is_there: bool, said: str
) -> None:
    serializer = Serializer()
    one, path = serializing(cluster, serializer=serializer.write, serializeChecker=serializer.check)
    compacted(one)
    assert not path.exists()
    serializer.state = state
    for _ in range(2):
        one._coopy_begun()._next_look = 0
        one.doTick()
    assert path.exists() is is_there and (said in caplog.text)
    assert caplog.text.count("could not write") == bool(said)


def test_a_serializer_that_raises_is_logged(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    one, path = serializing(cluster, serializer=lambda name, data: 1 / 0)
    compacted(one)
    assert not path.exists() and "ZeroDivisionError" in caplog.text and one.add(1, sync=True) == 2


def test_a_password_is_that_of_the_nodes_and_replicas_have_another(monkeypatch: pytest.MonkeyPatch) -> None:
    def options(conf: SyncObjConf, own: Any = "a:1") -> dict[str, Any]:
        node = None if own is None else TCPNode(own)
        return pysyncobj_opening.Given(conf, [], node, (TCPNode("b:1"),), TCPNode).options()

    monkeypatch.delenv("COOPY_PASSWORD", raising=False)
    given = options(SyncObjConf(password="secret"))
    assert given["password"] == "secret" != given["replica_password"]
    assert options(SyncObjConf(password="secret"), None)["password"] == given["replica_password"]
    assert options(SyncObjConf())["password"] == options(SyncObjConf())["replica_password"] == "copynet"
    assert options(SyncObjConf(), None) == options(SyncObjConf(), None) | {"replication": True, "host": "b", "port": 1}


# -- numbers


def test_FAIL_REASON_has_the_numbers_of_PySyncObj() -> None:
    names = "SUCCESS QUEUE_FULL MISSING_LEADER DISCARDED NOT_LEADER LEADER_CHANGED REQUEST_DENIED UNKNOWN_OUTCOME".split()
    assert [getattr(FAIL_REASON, name) for name in names] == list(range(8))


def test_SERIALIZER_STATE_has_the_numbers_of_PySyncObj() -> None:
    assert [getattr(SERIALIZER_STATE, name) for name in "NOT_SERIALIZING SERIALIZING SUCCESS FAILED".split()] == [0, 1, 2, 3]
    assert [getattr(_RAFT_STATE, name) for name in "FOLLOWER CANDIDATE LEADER".split()] == [0, 1, 2]


@pytest.mark.parametrize("code", ["Timeout", "BindError", 3])
def test_SyncObjException_carries_an_errorCode(code: Any) -> None:
    error = SyncObjException(code)
    assert error.errorCode == code and error.args == (code,)


def test_nodes_are_equal_by_their_id() -> None:
    assert Node("a", weight=3).weight == 3 and Node(1) != 1  # type: ignore[attr-defined]
    assert TCPNode("localhost:1") == Node("localhost:1") and len({TCPNode("a:1"), TCPNode("a:1"), TCPNode("a:2")}) == 2
    assert TCPNode("localhost:80").ip in ("127.0.0.1", "::1")


@pytest.mark.parametrize("module", [pysyncobj_conf, pysyncobj_node], ids=lambda module: module.__name__)
def test_the_examples_run(module: Any) -> None:
    assert doctest.testmod(module, optionflags=doctest.ELLIPSIS).failed == 0
    assert coopy.__version__
