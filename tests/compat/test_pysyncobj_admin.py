"""The admin tool of PySyncObj and `TcpUtility`, and `coopy cluster` beside them: at three nodes with servers of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest
from network.servers import until
from program import environment, free_port

from coopy import UsageError
from coopy.compat import pysyncobj_admin
from coopy.compat.pysyncobj import (
    FAIL_REASON,
    SyncObj,
    SyncObjConf,
    SyncObjException,
    TCPNode,
    TcpUtility,
    UtilityException,
    replicated,
)
from coopy.compat.pysyncobj_admin import executeAdminCommand
from coopy.tools import cluster as tools

pytest.importorskip("nats", reason="the extra [cluster] is not installed")
PASSWORD = "of the nodes"


class Counter(SyncObj):
    def __init__(self, own: str, others: list[str], conf: SyncObjConf) -> None:
        super().__init__(own, others, conf)
        self.value = 0

    @replicated
    def add(self, value: int) -> int:
        self.value += value
        return self.value

    @replicated(ver=1)  # type: ignore[no-redef]
    def add(self, value: int) -> int:
        self.value += 10 * value
        return self.value


class Three:
    def __init__(self) -> None:
        port = free_port(4)
        self.addresses = [f"127.0.0.1:{port + number}" for number in range(4)]
        self.nodes = [self.node(number, self.addresses[:3]) for number in range(3)]
        for each in self.nodes:
            until(lambda each=each: each.isReady() and each._getLeader() is not None, 60)  # type: ignore[misc]

    def node(self, number: int, addresses: list[str]) -> Counter:
        conf = SyncObjConf(password=PASSWORD, dynamicMembershipChange=True)
        return Counter(addresses[number], [each for each in addresses if each != addresses[number]], conf)

    @property
    def leader(self) -> int:
        """Which node leads, once all agree."""
        until(lambda: len({each._getLeader() for each in self.nodes}) == 1 and self.nodes[0]._getLeader() is not None, 60)
        return self.addresses.index(str(self.nodes[0]._getLeader()))


@pytest.fixture(scope="module", autouse=True)
def in_a_folder_that_goes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("nodes")))
        yield


@pytest.fixture(scope="module")
def three(in_a_folder_that_goes: None) -> Iterator[Three]:
    found = Three()
    yield found
    for each in found.nodes:
        each.destroy()
    for each in found.nodes:
        each.destroy_synchronous()


def ask(at: str, *command: Any, password: str | None = PASSWORD) -> Any:
    return TcpUtility(password, timeout=60.0).executeCommand(at, list(command))


def admin(at: str, *words: str) -> str:
    return executeAdminCommand(["-conn", at, "-pass", PASSWORD, *words])


def coopy(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "coopy", "cluster", *words],
        env=environment(COOPY_PASSWORD=PASSWORD),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_node_listens_before_the_others_are_there_and_a_taken_port_is_said() -> None:
    port = free_port(2)
    addresses = [f"127.0.0.1:{port + number}" for number in range(2)]
    one = Counter(addresses[0], addresses[1:], SyncObjConf(password=PASSWORD))
    one.waitBinded()
    one.waitReady()
    assert not one.isReady()
    conf = SyncObjConf(password=PASSWORD, maxBindRetries=1)
    again = Counter(addresses[0], addresses[1:], conf)
    try:
        if not again._coopy_begun().opened.wait(60):
            pytest.fail("nobody said that the port is taken")
        with pytest.raises(SyncObjException) as raised:
            again.waitBinded()
        assert raised.value.errorCode == "BindError"
        # With the other one it is open; until then nothing could be closed.
        other = Counter(addresses[1], addresses[:1], SyncObjConf(password=PASSWORD))
        until(lambda: one.isReady() and other.isReady(), 60)
        other.destroy()
    finally:
        again.destroy()
        one.destroy()


def test_calls_go_through_on_real_servers(three: Three) -> None:
    before = three.nodes[0].value
    assert [each.add(1, sync=True, timeout=30) for each in three.nodes] == [before + 1, before + 2, before + 3]
    until(lambda: {each.value for each in three.nodes} == {before + 3})


def test_status_is_a_dict_with_the_keys_of_getStatus(three: Three) -> None:
    number = three.leader
    at = three.addresses[number]
    status = ask(at, "status")
    own = three.nodes[number].getStatus()
    assert set(own) - set(status) <= {key for key in own if key.startswith(("next_node_idx_server", "match_idx_server"))}
    for key in ("self", "leader"):
        assert str(own[key]) == status[key] == at
    same = "has_quorum partner_nodes_count readonly_nodes_count state self_code_version enabled_code_version revision version".split()
    assert {key: own[key] for key in same} == {key: status[key] for key in same}
    printed = admin(at, "-status").splitlines()
    assert printed == sorted(printed) and f"self: {at}" in printed and "partner_nodes_count: 2" in printed
    plain = coopy("status", at, "--plain").stdout.splitlines()
    assert plain == sorted(plain) and f"self: {at}" in plain and "partner_nodes_count: 2" in plain


def test_the_leader_is_another_after_transfer(three: Three) -> None:
    number = three.leader
    target = three.addresses[(number + 1) % 3]
    assert admin(three.addresses[number], "-transfer", target) == f"SUCCESS TRANSFER {target}"
    until(lambda: three.addresses[three.leader] == target)
    assert admin(target, "-transfer").rstrip() == "SUCCESS TRANSFER"
    until(lambda: three.addresses[three.leader] != target)
    done = coopy("transfer", target, "--at", target)
    assert (done.returncode, done.stdout) == (0, f"{target} leads.\n"), done.stderr
    assert ask(target, "transfer", "127.0.0.1:1") == "FAIL TRANSFER 127.0.0.1:1"


def test_a_node_is_added_and_removed(three: Three) -> None:
    at, new = three.addresses[three.leader], three.addresses[3]
    assert ask(at, "add", new) == f"SUCCESS ADD {new}"
    assert admin(at, "-add", new) == f"FAIL ADD {new}", "it is a member already"
    assert admin(at, "-remove", at) == f"FAIL REMOVE {at}", "the node that is asked stays"
    assert admin(at, "-remove", new) == f"SUCCESS REMOVE {new}"
    assert ask(at, "remove", new) == f"FAIL REMOVE {new}"
    done = coopy("add", new, "--at", at, "--json")
    assert done.returncode == 0 and new in json.loads(done.stdout)["members"], done.stderr
    done = coopy("remove", new, "--at", at, "--json")
    assert done.returncode == 0 and sorted(json.loads(done.stdout)["members"]) == sorted(three.addresses[:3]), done.stderr


def test_a_version_is_set(three: Three) -> None:
    at = three.addresses[0]
    assert admin(at, "-set_version", "5") == "FAIL SET_VERSION 5"
    until(lambda: [len(each.otherNodes) for each in three.nodes] == [2, 2, 2], 60)
    assert ask(at, "set_version", 1) == "SUCCESS SET_VERSION 1"
    until(lambda: [each.getCodeVersion() for each in three.nodes] == [1, 1, 1])
    before = three.nodes[1].value
    assert three.nodes[1].add(1, sync=True, timeout=30) == before + 10
    done = coopy("set-version", at, "1")
    assert (done.returncode, done.stdout) == (0, "Code version 1 is enabled.\n"), done.stderr


def test_a_node_takes_a_TCPNode_and_the_password_may_come_from_the_environment(
    three: Three, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COOPY_PASSWORD", PASSWORD)
    assert ask(TCPNode(three.addresses[0]), "status", password=None)["partner_nodes_count"] == 2  # type: ignore[arg-type]


def test_another_password_is_refused(three: Three, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COOPY_PASSWORD", raising=False)
    for password in ("guessed", None):
        with pytest.raises(UtilityException, match="^can't connected$"):
            ask(three.addresses[0], "status", password=password)


# -- without a node


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-conn", "nowhere", "-status"], "invalid address to connect"),
        (["-conn", "a:99999", "-status"], "invalid address to connect"),
        (["-status"], "invalid address to connect"),
        (["-conn", "a:1"], "invalid command"),
        (["-conn", "a:1", "-add", "b"], "invalid address to command add"),
        (["-conn", "a:1", "-remove", "b:x"], "invalid address to command remove"),
        (["-conn", "127.0.0.1:1", "-pass", "x", "-status"], "can't connected"),
    ],
    ids=str,
)
def test_the_admin_tool_says_what_is_wrong(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["syncobj_admin", *words])
    monkeypatch.setattr(tools, "OPEN_S", 0.1)
    pysyncobj_admin.main()
    assert capsys.readouterr().out == f"{says}\n"


@pytest.mark.parametrize(
    ("node", "command", "says"),
    [("a:b", ["status"], "invalid address to connect"), ("a:1", ["dance"], "invalid command")],
)
def test_TcpUtility_raises_UtilityException(node: str, command: list[str], says: str) -> None:
    with pytest.raises(UtilityException, match=f"^{says}$"):
        TcpUtility().executeCommand(node, command)


def test_an_address_that_can_not_be_one_is_no_member(three: Three) -> None:
    assert ask(three.addresses[0], "add", "a:b") == "FAIL ADD a:b"
    with pytest.raises(UsageError):
        three.nodes[0].addNodeToCluster(TCPNode("a b:1"))
    assert FAIL_REASON.SUCCESS == 0 and os.environ
