"""What becomes of locks when processes end, are killed, or fork; and when nodes of a cluster go."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cluster.fakes import of_arguments
from program import run, start, write
from sync.hands import Hand, S
from sync.test_lock import PATIENCE_S, die, until

from coopy import SystemClosed, control, init_system
from coopy.errors import LockLost
from coopy.place.options import Settings
from coopy.replication.memory import MemoryCluster
from coopy.replication.node import ReplicatedSystem
from coopy.sync import Lock, Locks

TTL_S = 15

HOLDER = """
    import sys, time
    from coopy import init_system
    from coopy.sync import Lock, Locks
    locks = init_system(Locks, sys.argv[1])
    lock = Lock("stock", system=locks, ttl=float(sys.argv[2]))
    lock.acquire()
    print(lock.token, flush=True)
    """


def test_a_process_that_ends_gives_its_locks_back(tmp_path: Path) -> None:
    for ending in ("", "sys.exit(0)", "locks.close()", "raise SystemExit"):
        script = write(tmp_path / "holder.py", HOLDER + ending + "\n")
        token = int(run(script, tmp_path / "data", 15))
        with init_system(Locks, tmp_path / "data") as locks:
            assert locks.held() == {} and control(locks).index >= token


def test_a_process_that_is_killed_holds_its_lock_for_its_time_and_no_longer_than_a_tick_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = start(write(tmp_path / "holder.py", HOLDER + "time.sleep(60)\n"), tmp_path / "data", TTL_S)
    assert holder.stdout is not None
    token = int(holder.stdout.readline())
    holder.send_signal(signal.SIGKILL)
    holder.wait(PATIENCE_S)
    holder.communicate()
    hand = Hand(monkeypatch)
    with init_system(Locks, tmp_path / "data") as locks:
        assert list(locks.held()["stock"].values()) == [token]
        opened = hand.now_ns
        lock = Lock("stock", system=locks, ttl=600)
        with ThreadPoolExecutor(1) as pool:
            waits = pool.submit(lock.acquire)
            until(lambda: len(lock.contenders()) == 2)
            hand.go_until(waits.done, lock._presence)
            # The new timekeeper gives it its time again, and so it is counted from there.
            assert waits.result() and hand.now_ns - opened >= TTL_S * S and lock.token > token
        lock.release()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_owns_nothing_and_gives_nothing_back(tmp_path: Path) -> None:
    with init_system(Locks, tmp_path / "data") as locks:
        lock = Lock("stock", system=locks)
        lock.acquire()
        token = lock.token
        child = os.fork()
        if not child:
            os._exit(_in_child(lock, locks))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert lock.held and lock.token == token and locks.held() == {"stock": {locks.contenders("stock")[0]: token}}
        lock.release()


def _in_child(lock: Lock, locks: Any) -> int:
    """Returns how many things are wrong."""
    wrong = lock.held
    for use in (lock.release, lock.check, lock.acquire, lambda: lock.token):
        if use == lock.release:
            lock_claim = lock._claim
            try:
                lock.release()
                wrong += 1
            except LockLost:
                lock._claim = lock_claim
            continue
        try:
            use()
            wrong += 1
        except LockLost:
            pass
    lock.cancel()
    lock.close()
    try:
        Lock("stock", system=locks).acquire()
        wrong += 1
    except SystemClosed:
        pass
    return int(wrong)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_that_ends_inside_the_block_is_told_and_the_parent_holds_on(tmp_path: Path) -> None:
    with init_system(Locks, tmp_path / "data") as locks:
        lock = Lock("stock", system=locks)
        try:
            with lock:
                child = os.fork()
        except LockLost:
            os._exit(7)
        except BaseException:
            os._exit(8)
        if not child:
            os._exit(9)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


# -- nodes

NODES = ("a:1", "b:1", "c:1")


class Nodes:
    """Three nodes in this process, whose servers are in memory."""

    def __init__(self, path: Path) -> None:
        self.cluster = MemoryCluster(NODES)
        self._path = path
        self.systems: dict[str, Any] = {}
        threads = [threading.Thread(target=self._open, args=(node,)) for node in NODES]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sorted(self.systems) == list(NODES)

    def _open(self, node: str) -> None:
        system = ReplicatedSystem(
            Locks,
            str(self._path / node[0]),
            Settings.of("init_system", {"fork": False, "segment_bytes": 1 << 20}),
            role=of_arguments(cluster=list(NODES), node=node, timeout=10.0),
            servers=self.cluster.of,
        )
        system.start(None)
        self.systems[node] = system.proxy

    def leader(self) -> str:
        found: str = until(lambda: control(next(iter(self.systems.values()))).status()["leader"])
        return found

    def close(self) -> None:
        for each in self.systems.values():
            control(each).close()


def test_all_nodes_take_turns_and_agree_who_has_the_lock(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path)
    tokens: list[int] = []
    locks = [Lock("stock", system=system) for system in nodes.systems.values()]

    def take(lock: Lock) -> None:
        for _ in range(5):
            with lock:
                tokens.append(lock.token)

    threads = [threading.Thread(target=take, args=(lock,)) for lock in locks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(tokens) == 15 and tokens == sorted(set(tokens))
    for system in nodes.systems.values():
        control(system).sync()
    assert len({control(system).state_digest() for system in nodes.systems.values()}) == 1
    nodes.close()


def test_where_the_leading_node_goes_with_the_lock_another_has_it_after_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes, hand = Nodes(tmp_path), Hand(monkeypatch)
    leader = nodes.leader()
    other = next(node for node in NODES if node != leader)
    held = Lock("stock", system=nodes.systems[leader], ttl=TTL_S)
    waits = Lock("stock", system=nodes.systems[other], ttl=600)
    held.acquire()
    with ThreadPoolExecutor(1) as pool:
        got = pool.submit(waits.acquire)
        until(lambda: len(waits.contenders()) == 2)
        until(lambda: nodes.systems[other].count().timekeeper == held.here)
        renewed = held._claim.session.sent_ns
        die(held._presence)
        control(nodes.systems.pop(leader)).close()
        hand.go_until(got.done, waits._presence)
        assert got.result() and hand.now_ns - renewed >= TTL_S * S, "not before its time"
    assert nodes.systems[other].held() == {"stock": {waits._claim.owner: waits.token}} and waits.held
    assert nodes.systems[other].count().timekeeper != held.here
    waits.release()
    nodes.close()


def test_a_node_that_is_closed_gives_its_locks_back_at_once(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path)
    one, other = NODES[1:]
    held = Lock("stock", system=nodes.systems[one], ttl=600)
    waits = Lock("stock", system=nodes.systems[other], ttl=600)
    held.acquire()
    thread = threading.Thread(target=waits.acquire)
    thread.start()
    until(lambda: len(waits.contenders()) == 2)
    control(nodes.systems.pop(one)).close()
    thread.join(PATIENCE_S)
    assert waits.held and not held.held
    waits.release()
    nodes.close()


def test_a_node_without_a_majority_knows_that_it_has_lost_before_another_gets_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes, hand = Nodes(tmp_path), Hand(monkeypatch)
    leader = nodes.leader()
    node, other = (each for each in NODES if each != leader)
    lost: list[int] = []
    held = Lock("stock", lock_lost_callback=lambda: lost.append(hand.now_ns), system=nodes.systems[node], ttl=TTL_S)
    waits = Lock("stock", system=nodes.systems[other], ttl=600)
    held.acquire()
    with ThreadPoolExecutor(1) as pool:
        got = pool.submit(waits.acquire)
        until(lambda: len(waits.contenders()) == 2)
        cut = threading.Event()
        change = held._presence.change
        held._presence.change = lambda *args: (cut.wait(PATIENCE_S), change(*args))[1]  # type: ignore[method-assign]
        hand.go_until(lambda: lost, held._presence, waits._presence)
        assert not got.done() and not held.held
        hand.go_until(got.done, waits._presence)
        assert got.result() and waits.held
    cut.set()
    with pytest.raises(LockLost):
        held.release()
    waits.release()
    nodes.close()
