"""Real nodes: a master and its replicas in this process, and a cluster of three processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster.bank import Bank
from network.servers import until
from program import free_port, start, write

from coopy import (
    AuthenticationFailed,
    ForeignDirectory,
    ReadOnlyNode,
    SystemClosed,
    Unavailable,
    UsageError,
    control,
    init_system,
)
from coopy.disk import directory
from coopy.network.server import binary

THREE = ["127.0.0.1:7001", "127.0.0.1:7002", "127.0.0.1:7003"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"master": True, "replication": True}, "master and replication: a node has one role"),
        ({"master": True, "cluster": THREE, "node": THREE[0]}, "master and cluster: a node has one role"),
        ({"cluster": "127.0.0.1:7001", "node": "127.0.0.1:7001"}, "must be a list of addresses"),
        ({"cluster": [f"127.0.0.1:{7000 + number}" for number in range(12)], "node": THREE[0]}, "12 nodes; .* are the most"),
        ({"cluster": [THREE[0], THREE[1], THREE[0]], "node": THREE[0]}, "names a node twice"),
        ({"cluster": THREE}, "which of 127.0.0.1:7001, 127.0.0.1:7002, 127.0.0.1:7003 this one is must be said"),
        ({"cluster": THREE, "node": "127.0.0.1:7004"}, "'127.0.0.1:7004': is not among the nodes"),
        ({"cluster": ["127.0.0.1:port"], "node": "127.0.0.1:port"}, "port"),
        ({"cluster": THREE, "node": THREE[0], "password": ""}, "must be text, and not empty"),
        ({"master": True, "timeout": 0}, "timeout=0: must be seconds, more than 0"),
        ({"master": True, "timeout": "1"}, "timeout='1': must be seconds"),
        ({"master": True, "server": "ws://127.0.0.1:4222"}, "server: must be a URL that begins with nats:// or tls://"),
        ({"master": True, "port": 0}, "port"),
        ({"master": True, "port": 70000}, "port"),
        ({"master": True, "check": True}, "check=True: looks after a system on one machine"),
        *[
            ({"master": True, "host": host}, r"can be reached from other machines, and the documented password")
            for host in ("0.0.0.0", "10.1.2.3", "example.org", "::")
        ],
        ({"replication": True, "host": "10.1.2.3"}, "Give a password= of your own"),
        (
            {"cluster": ["a:1"], "node": "a:1", "password": "x", "replica_password": "copynet"},
            "Give a replica_password= of your own",
        ),
        ({"cluster": ["a:5466", "b:5466", "c:5466"], "node": "a:5466"}, "a:5466, b:5466, c:5466 can be reached"),
        ({"node": THREE[0]}, "node"),
    ],
    ids=str,
)
def test_arguments_that_make_no_node_are_refused_before_anything_is_made(
    tmp_path: Path, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        init_system(Bank, tmp_path / "bank", validation="off", **options)
    assert list(tmp_path.iterdir()) == []


# -- a master and its replicas


class Pair:
    """A port at which a master is, and those who follow it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.port = free_port()
        self.open: list[Any] = []

    def master(self, name: str = "master", **options: Any) -> Any:
        return self._opened(name, master=True, **options)

    def replica(self, name: str = "replica", **options: Any) -> Any:
        return self._opened(name, replication=True, **options)

    def _opened(self, name: str, **options: Any) -> Any:
        options = {"port": self.port, "password": "secret", "timeout": 15, "validation": "off", **options}
        self.open.append(init_system(Bank, self.path / name, **options))
        return self.open[-1]

    def close(self, *systems: Any) -> None:
        for each in systems or [*reversed(self.open)]:
            self.open.remove(each)
            control(each).close()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    found = Pair(tmp_path)
    yield found
    found.close()


def states(system: Any) -> list[str]:
    """The states that a node goes through from now on."""
    found: list[str] = []
    control(system).on_state_changed(lambda before, after: found.append(after))
    return found


def forget_the_line(master: Any) -> None:
    """All but the newest message."""
    system = control(master)._system
    system.servers.line.forget(system.engine.position - 1)


def test_a_replica_follows_and_refuses_to_write(pair: Pair) -> None:
    master = pair.master()
    assert [master.deposit("x"), master.deposit("x", 4)] == [1, 5]
    replica = pair.replica()
    assert replica.balance("x") == 5
    assert master.deposit("x") == 6
    control(replica).sync()
    assert replica.balance("x") == 6
    with pytest.raises(ReadOnlyNode, match="This is a slave/read-only instance"):
        replica.deposit("x")
    with pytest.raises(ValueError, match="no"):
        master.fail()
    control(replica).sync()
    assert control(replica).state_digest() == control(master).state_digest()
    assert control(replica).status()["role"] == "replica"


def test_the_documented_password_is_fine_on_this_machine(pair: Pair) -> None:
    master = pair.master(password="copynet")
    master.deposit("x")
    assert pair.replica(password="copynet").balance("x") == 1


def test_a_wrong_password_is_refused_at_the_door(pair: Pair) -> None:
    master = pair.master()
    with pytest.raises(AuthenticationFailed, match="refused the password. Nothing was opened"):
        pair.replica(password="guessed")
    assert not list((pair.path / "replica").glob("coopy*"))
    assert master.deposit("x") == 1


def test_a_replica_without_a_master_is_told_that_nobody_answers(pair: Pair) -> None:
    with pytest.raises(Unavailable, match="nobody answers at .* Nothing was opened"):
        pair.replica(timeout=0.5)


def test_a_replica_goes_on_from_its_own_directory(pair: Pair) -> None:
    master, replica = pair.master(), pair.replica()
    for _ in range(3):
        master.deposit("x")
    control(replica).sync()
    pair.close(replica)
    shipped = control(master)._system.servers.shipped.indexes()
    control(master)._system.servers.shipped.forget(shipped[-1] + 1)
    master.deposit("x")
    replica = pair.replica()
    assert replica.balance("x") == 4
    assert control(replica).state_digest() == control(master).state_digest()


def test_a_replica_begins_with_a_snapshot_if_the_line_does_not_reach_back(pair: Pair) -> None:
    master = pair.master()
    for _ in range(5):
        master.deposit("x")
    forget_the_line(master)
    replica = pair.replica()
    assert replica.balance("x") == 5
    assert master.deposit("x") == 6
    control(replica).sync()
    assert control(replica).state_digest() == control(master).state_digest()
    assert directory.snapshots(os.listdir(pair.path / "replica"))[0] >= 5


def test_a_replica_that_is_too_far_behind_puts_its_own_aside_and_takes_a_snapshot(pair: Pair) -> None:
    master, replica = pair.master(), pair.replica()
    master.deposit("x")
    control(replica).sync()
    pair.close(replica)
    for _ in range(5):
        master.deposit("x")
    forget_the_line(master)
    replica = pair.replica()
    assert replica.balance("x") == 6
    assert len(list((pair.path / "replica").glob("aside-*"))) == 1
    master.deposit("x")
    control(replica).sync()
    assert control(replica).state_digest() == control(master).state_digest()


def test_a_master_begins_again_and_its_replicas_go_on(pair: Pair) -> None:
    master, replica = pair.master(), pair.replica()
    master.deposit("x")
    control(replica).sync()
    pair.close(master)
    assert replica.balance("x") == 1
    master = pair.master()
    assert master.deposit("x") == 2
    until(lambda: replica.balance("x") == 2)


def test_a_master_that_only_read_can_be_opened_again_and_synced(pair: Pair) -> None:
    for _ in range(2):
        master = pair.master()
        control(master).sync(5)
        pair.close(master)


def test_another_system_at_the_same_place_is_refused(pair: Pair) -> None:
    pair.close(pair.master("other", port=free_port()))
    master = pair.master()
    with pytest.raises(ForeignDirectory, match="Nothing was changed"):
        pair.replica("other")
    assert master.deposit("x") == 1


def test_what_is_submitted_is_told_by_its_future(pair: Pair) -> None:
    master = pair.master()
    futures = [control(master).submit("deposit", "x") for _ in range(20)]
    assert [each.result(10) for each in futures] == list(range(1, 21))
    with pytest.raises(ValueError, match="no"):
        control(master).submit("fail").result(10)
    with pytest.raises(UsageError, match="balance"):
        control(master).submit("balance", "x")


def test_a_future_that_was_cancelled_harms_nobody(pair: Pair) -> None:
    master = pair.master()
    system = control(master)._system
    with system.engine.lock:
        control(master).submit("deposit", "x").cancel()
    assert master.deposit("x") == 2
    assert control(master).status()["problem"] is None


def test_a_closed_node_says_so(pair: Pair) -> None:
    master = pair.master()
    pair.close(master)
    with pytest.raises(SystemClosed):
        master.deposit("x")


# -- a cluster of three processes

NODE = """
    import json, logging, sys
    sys.path.insert(0, {tests!r})
    from cluster.bank import Bank
    from coopy import control, init_system

    basedir, node, *cluster = sys.argv[1:]
    logging.basicConfig(filename=basedir + ".log", format="%(asctime)s %(message)s")
    bank = init_system(Bank, basedir, cluster=cluster, node=node, validation="off", timeout=20)
    control = control(bank)
    states = []
    control.on_state_changed(lambda before, after: states.append(after))
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        try:
            found = eval(line)
        except Exception as error:
            found = f"{{type(error).__name__}}: {{error}}"
        print(json.dumps(found), flush=True)
"""


class Process:
    """A node that is a process of its own, told what to do."""

    def __init__(self, script: Path, number: int, cluster: list[str]) -> None:
        self.directory = script.parent / f"node{number}"
        self.arguments = (script, self.directory, cluster[number], *cluster)
        self.process: subprocess.Popen[str] | None = None
        self.server = 0

    def start(self, **environment: str) -> None:
        self.process = start(*self.arguments, **environment)

    def ready(self) -> None:
        assert self.heard() == "ready"
        self.server = self.do("control.status()")["server_pid"]

    def say(self, what: str) -> None:
        assert self.process is not None and self.process.stdin is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()

    def heard(self) -> Any:
        assert self.process is not None and self.process.stdout is not None
        line = self.process.stdout.readline()
        log = self.directory.parent / f"{self.directory.name}.log"
        assert line, f"{self.directory.name} has ended: {log.read_text() if log.exists() else ''}"
        return json.loads(line)

    def do(self, what: str) -> Any:
        self.say(what)
        return self.heard()

    def kill(self) -> None:
        """With its server, at once."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        os.kill(self.server, signal.SIGKILL)
        self.process.communicate()

    def log(self) -> str:
        return (self.directory.parent / f"{self.directory.name}.log").read_text()

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Process]]:
    tests = str(Path(__file__).resolve().parents[1])
    script = write(tmp_path_factory.mktemp("cluster") / "node.py", NODE.format(tests=tests))
    port = free_port(3)
    addresses = [f"127.0.0.1:{port + number}" for number in range(3)]
    nodes = [Process(script, number, addresses) for number in range(3)]
    try:
        for each in nodes:
            each.start()
        for each in nodes:
            each.ready()
        yield nodes
    finally:
        for each in nodes:
            each.end()


def digests(nodes: list[Process]) -> set[str]:
    for each in nodes:
        assert each.do("control.sync()") is None
    return {json.dumps(each.do("control.state_digest()")) for each in nodes}


def test_each_node_writes_and_all_see_it(cluster: list[Process]) -> None:
    for number, node in enumerate(cluster * 3, 1):
        assert node.do("bank.deposit('all')") == number
    assert [node.do("(control.sync(), bank.balance('all'))")[1] for node in cluster] == [9] * 3
    assert cluster[0].do("bank.fail()") == "ValueError: no"
    assert len(digests(cluster)) == 1


def test_each_node_watches_the_servers_that_lead(cluster: list[Process]) -> None:
    until(lambda: all(node.do("control.status()")["elections_off"] is None for node in cluster))
    # One node's server may lead everything, and then it watches nobody.
    until(lambda: sum(node.do("control.status()")["election_probes"] > 0 for node in cluster) >= 2)


@pytest.mark.parametrize("which", ["leader", "another"])
def test_a_node_that_is_killed_is_not_missed_and_comes_back(cluster: list[Process], which: str) -> None:
    until(lambda: cluster[0].do("control.status()")["leader"])
    leader = cluster[0].do("control.status()")["leader"]
    killed = next(node for node in cluster if (node.arguments[2] == leader) == (which == "leader"))
    others = [node for node in cluster if node is not killed]
    before = others[0].do("bank.deposit('kill')")
    killed.kill()
    assert others[0].do("bank.deposit('kill')") == before + 1
    assert others[1].do("bank.deposit('kill')") == before + 2
    killed.start()
    killed.ready()
    assert killed.do("bank.deposit('kill')") == before + 3
    assert len(digests(cluster)) == 1


def test_all_nodes_are_killed_at_once_and_nothing_is_lost(cluster: list[Process]) -> None:
    before = [node.do(f"[bank.deposit('three{number}') for _ in range(20)]")[-1] for number, node in enumerate(cluster)]
    for each in cluster:
        each.kill()
    for each in cluster:
        each.start()
    for each in cluster:
        each.ready()
    assert [cluster[0].do(f"(control.sync(), bank.balance('three{number}'))")[1] for number in range(3)] == before
    assert cluster[1].do("bank.deposit('three0')") == before[0] + 1
    assert len(digests(cluster)) == 1


def test_a_node_that_comes_to_something_else_takes_what_the_others_have(cluster: list[Process]) -> None:
    wrong, right = cluster[2], cluster[0]
    assert wrong.do("control.close()") is None
    wrong.end()
    wrong.start(WEATHER="rain")
    wrong.ready()
    assert right.do("bank.look_outside()") == "sun"
    until(lambda: wrong.do("states")[-1:] == ["ready"])
    assert wrong.do("states") == ["quarantined", "ready"]
    assert wrong.do("bank.weather()") == ["sun"]
    assert [node.do("bank.weather()") for node in cluster[:2]] == [["sun"]] * 2
    assert right.do("bank.deposit('after')") == 1
    assert "came to something else here than on the other nodes" in wrong.log()
    assert len(list(wrong.directory.glob("aside-*"))) == 1
    assert len(digests(cluster)) == 1
    assert right.do("states") == []


def test_a_server_of_the_user_s_own_keeps_the_line(tmp_path: Path) -> None:
    port = free_port()
    command = [binary.find(), "-js", "-sd", str(tmp_path / "store"), "-a", "127.0.0.1", "-p", str(port)]
    options: dict[str, Any] = {"master": True, "server": f"nats://127.0.0.1:{port}", "validation": "off", "timeout": 10}
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
        try:
            for balance in (1, 2):
                bank = init_system(Bank, tmp_path / "bank", **options)
                assert bank.deposit("x") == balance
                assert control(bank).status()["server_pid"] is None
                control(bank).close()
        finally:
            server.terminate()
