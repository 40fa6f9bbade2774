"""Every name that PySyncObj gives to something is in the guide for those who come from it."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import coopy
from coopy.network.membership import Membership
from coopy.replication.control import ClusterControl

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "from-pysyncobj.md").read_text()

CONSTRUCTOR = "SyncObj selfNode otherNodes conf consumers nodeClass transport transportClass"
METHODS = """
    addNodeToCluster removeNodeFromCluster destroy doTick forceLogCompaction getStatus printStatus isReady setCodeVersion
    waitBinded waitReady destroy_synchronous tick_thread_alive addOnTickCallback removeOnTickCallback isNodeConnected
    readonlyNodes hasQuorum raftLastApplied raftCommitIndex raftCurrentTerm getCodeVersion _isLeader _getLeader
    transferLeadership
"""
STATUS = """
    version revision self state leader has_quorum partner_nodes_count partner_node_status_server_X readonly_nodes_count
    log_len last_applied commit_idx raft_term next_node_idx_* match_idx_* leader_commit_idx uptime self_code_version
    enabled_code_version
"""
CALLS = "@replicated @replicated(ver=N) @replicated_sync callback= sync= timeout= SyncObjException errorCode SyncObjConsumer"
FAIL_REASON = """
    SUCCESS QUEUE_FULL MISSING_LEADER DISCARDED NOT_LEADER LEADER_CHANGED REQUEST_DENIED UNKNOWN_OUTCOME
"""
SERIALIZER_STATE = "NOT_SERIALIZING SERIALIZING SUCCESS FAILED"
OPTIONS = """
    password autoTick autoTickPeriod commandsQueueSize raftMinTimeout raftMaxTimeout appendEntriesPeriod connectionTimeout
    connectionRetryTime leaderFallbackTimeout appendEntriesUseBatch appendEntriesBatchSizeBytes bindAddress preferredAddrType
    sendBufferSize recvBufferSize dnsCacheTime dnsFailCacheTime logCompactionMinEntries logCompactionMinTime
    logCompactionSplit logCompactionBatchSize commandsWaitLeader fullDumpFile journalFile bindRetryTime maxBindRetries
    onReady onStateChanged onCodeVersionChanged dynamicMembershipChange pollerType useFork serializer deserializer
    serializeChecker tcp_keepalive validate
"""
ADMIN = "-conn -pass -status -add -remove -set_version -transfer TcpUtility executeCommand"
BATTERIES = "ReplCounter ReplList ReplDict ReplSet ReplQueue ReplPriorityQueue ReplLockManager"
SAID = ["'invalid address to connect'", "'invalid command'", '"can\'t connected"', "'connection lost'"]
NAMES = [
    *f"{CONSTRUCTOR} {METHODS} {STATUS} {CALLS} {OPTIONS} {ADMIN} {BATTERIES}".split(),
    *(f"FAIL_REASON.{name}" for name in FAIL_REASON.split()),
    *(f"SERIALIZER_STATE.{name}" for name in SERIALIZER_STATE.split()),
    *SAID,
]
HEADS = {"PySyncObj", "---"}


def rows() -> list[tuple[list[str], str]]:
    """The names in the first column of each row, and what the second says."""
    cells = [re.split(r" \| ", line.strip("| \n")) for line in TEXT.splitlines() if line.startswith("|")]
    return [(re.findall(r"`([^`]+)`", first), second) for first, second in cells if first.strip() not in HEADS]


@pytest.mark.parametrize("name", sorted(set(NAMES)))
def test_a_name_of_pysyncobj_has_a_row_that_says_what_it_is_here(name: str) -> None:
    found = [second for names, second in rows() if name in names]
    assert len(found) == 1, f"{name} has {len(found)} rows"
    assert found[0].strip()


def test_every_row_is_of_a_name_that_is_listed_here() -> None:
    assert {name for names, _ in rows() for name in names} == set(NAMES)


def controls() -> list[str]:
    return sorted(set(re.findall(r"control\(p\)\.((?:cluster\.)?[a-z_]+)", TEXT)))


@pytest.mark.parametrize("name", controls())
def test_a_control_that_a_row_names_is_there(name: str) -> None:
    holder: type = ClusterControl
    for part in name.split("."):
        assert hasattr(holder, part), name
        holder = Membership


def test_an_argument_that_a_row_names_is_there() -> None:
    known = set(inspect.signature(coopy.init_system).parameters)
    said = {name for _, second in rows() for name in re.findall(r"`([a-z_]+)=[^`(]*`", second)}
    assert said and said <= known


def test_an_exception_that_a_row_names_is_there() -> None:
    said = {name for _, second in rows() for name in re.findall(r"`([A-Z][A-Za-z]+)`", second)}
    errors = {name for name in said if name != "TransportNotReadyError"}
    assert errors and all(issubclass(getattr(coopy.errors, name), coopy.CoopyError) for name in errors)
