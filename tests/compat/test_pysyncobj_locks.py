"""ReplLockManager of PySyncObj, member by member."""

from __future__ import annotations

import os
import socket
import threading
from typing import Any

import pytest
from compat.clusters import Cluster, Told
from network.servers import until

from coopy.compat import pysyncobj_locks
from coopy.compat.pysyncobj import FAIL_REASON, ReplCounter, ReplLockManager, SyncObj, SyncObjConf, SyncObjException
from coopy.compat.pysyncobj_locks import LockManager


def three(cluster: Cluster, time_s: float = 60.0) -> list[ReplLockManager]:
    """A manager on each of three nodes."""
    found = [ReplLockManager(time_s) for _ in range(3)]
    nodes = [cluster.node(SyncObj, number, consumers=[found[number]]) for number in range(3)]
    cluster.agree(*nodes)
    return found


def alone(cluster: Cluster, *managers: Any, **given: Any) -> Any:
    return cluster.alone(SyncObj, consumers=list(managers), **given)


def test_tryAcquire_and_release_on_three_nodes(cluster: Cluster) -> None:
    one, other, third = three(cluster)
    assert one.tryAcquire("door", sync=True) is True
    assert one.tryAcquire("door", sync=True) is True, "by the same client it succeeds again"
    assert other.tryAcquire("door", sync=True) is False
    assert (one.isAcquired("door"), other.isAcquired("door"), third.isAcquired("door")) == (True, False, False)
    assert other.tryAcquire("window", sync=True) is True
    other.release("door", sync=True)  # type: ignore[func-returns-value]
    assert one.isAcquired("door"), "one does not give back what another has"
    one.release("door", sync=True)
    assert not one.isAcquired("door") and third.tryAcquire("door", sync=True) is True
    for each in (one, other, third):
        each.destroy()


def test_callback_is_told_the_result_and_a_reason(cluster: Cluster) -> None:
    one, other = ReplLockManager(autoUnlockTime=60), ReplLockManager(timeout=60)
    alone(cluster, one)
    told = [Told() for _ in range(2)]
    assert one.tryAcquire("door", callback=told[0]) is None
    assert one.release("door", callback=told[1]) is None  # type: ignore[func-returns-value]
    assert [each.only() for each in told] == [(True, FAIL_REASON.SUCCESS), (None, FAIL_REASON.SUCCESS)]
    assert not one.isAcquired("door")
    refused = Told()
    other.tryAcquire("door", callback=refused)
    assert refused.only() == (None, FAIL_REASON.REQUEST_DENIED), "it is no consumer of anything"


def test_what_is_asked_for_before_the_node_is_ready_waits(cluster: Cluster) -> None:
    managers = [ReplLockManager(60) for _ in range(3)]
    nodes = [cluster.node(SyncObj, 0, consumers=[managers[0]])]
    told = Told()
    managers[0].tryAcquire("door", callback=told)
    with pytest.raises(SyncObjException) as raised:
        managers[0].tryAcquire("window", sync=True, timeout=0.01)
    assert raised.value.errorCode == "Timeout"
    nodes += [cluster.node(SyncObj, number, consumers=[managers[number]]) for number in (1, 2)]
    assert told.only() == (True, FAIL_REASON.SUCCESS)
    assert managers[1].tryAcquire("window", sync=True) is True, "what nobody waited for any more is free"


def test_a_lock_whose_acquisition_took_too_long_is_given_back(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = ReplLockManager(60)
    alone(cluster, manager)
    times = iter([0.0, 31.0])
    monkeypatch.setattr(pysyncobj_locks, "_now", lambda: next(times))
    assert manager.tryAcquire("door", sync=True) is False
    monkeypatch.undo()
    assert not manager.isAcquired("door")


def test_a_holder_that_is_gone_frees_its_lock_and_one_that_is_there_keeps_it(cluster: Cluster) -> None:
    one, other, _ = three(cluster, 3)
    assert one.tryAcquire("door", sync=True) is True and one.tryAcquire("window", sync=True) is True
    until(lambda: other.tryAcquire("door", sync=True) is False and one.isAcquired("door"))
    one.destroy()
    until(lambda: other.tryAcquire("door", sync=True) is True)
    with pytest.raises(SyncObjException, match="destroyed"):
        ReplLockManager(60).tryAcquire("door", sync=True)


def test_two_managers_of_one_object_do_not_share_their_names(cluster: Cluster) -> None:
    one, other = ReplLockManager(60), ReplLockManager(60)
    alone(cluster, ReplCounter(), one, other)
    assert one.tryAcquire("door", sync=True) is True and other.tryAcquire("door", sync=True) is True


def test_locks_beside_other_consumers_are_found_again(cluster: Cluster) -> None:
    conf = SyncObjConf(journalFile=str(cluster.path / "journal"))
    counter, manager = ReplCounter(), ReplLockManager(60)
    system = alone(cluster, counter, manager, conf=conf)
    assert counter.inc(sync=True) == 1 and manager.tryAcquire("door", sync=True) is True
    system.forceLogCompaction()
    until(lambda: system.getStatus()["log_len"] == 0)
    cluster.destroy(system)
    counter, manager = ReplCounter(), ReplLockManager(60)
    alone(cluster, counter, manager, conf=conf)
    assert counter.get() == 1 and manager.tryAcquire("door", sync=True) is True, (
        "it was given back when the object was destroyed"
    )


def test_selfID_is_host_process_and_id_unless_it_is_given() -> None:
    manager = ReplLockManager(75)
    assert manager.selfID == f"{socket.gethostname()}:{os.getpid()}:{id(manager)}"
    assert ReplLockManager(75, "me").selfID == ReplLockManager(75, selfID="me").selfID == "me"


def test_the_time_is_needed_under_one_of_its_names() -> None:
    assert ReplLockManager(timeout=75)._time_s == ReplLockManager(autoUnlockTime=75)._time_s == 75
    with pytest.raises(TypeError, match="autoUnlockTime"):
        ReplLockManager()


def test_many_threads_of_many_nodes_never_hold_one_lock_at_once(cluster: Cluster) -> None:
    managers, inside, most = three(cluster), [0], [0]

    def work(manager: ReplLockManager) -> None:
        done = 0
        while done < 3:
            if manager.tryAcquire("door", sync=True):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                inside[0] -= 1
                manager.release("door", sync=True)
                done += 1

    threads = [threading.Thread(target=work, args=(each,)) for each in managers]
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)
    assert most == [1] and issubclass(LockManager, object)
