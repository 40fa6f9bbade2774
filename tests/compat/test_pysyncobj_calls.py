"""`replicated`, `replicated_sync`, and their arguments; versions of methods; how commands end."""

from __future__ import annotations

import contextlib
import datetime
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from compat.clusters import TRIO, Cluster, Told, said_within
from network.servers import until

from coopy import EncodingError
from coopy.compat import pysyncobj_opening, pysyncobj_running
from coopy.compat.pysyncobj import (
    FAIL_REASON,
    ReplList,
    SyncObj,
    SyncObjConf,
    SyncObjConsumer,
    SyncObjException,
    replicated,
    replicated_sync,
)
from coopy.errors import (
    ClusterError,
    JournalError,
    OutcomeUnknown,
    ReadOnlyNode,
    SystemClosed,
    Unavailable,
    UsageError,
)
from coopy.errors import (
    EncodingError as Encoding,
)


class Store(SyncObj):
    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.__data: dict[str, Any] = {}

    @replicated
    def put(self, key: str, value: Any, times: int = 1) -> int:
        """Puts a value in."""
        self.__data[key] = value
        return times

    @replicated_sync
    def put_and_wait(self, key: str, value: Any) -> str:
        self.__data[key] = value
        return key

    @replicated_sync(timeout=0.05)
    def put_within(self, key: str, value: Any) -> str:
        self.__data[key] = value
        return key

    @replicated
    def mark(self) -> Any:
        self.__data["mark"] = "version 0"

    @replicated(ver=1)  # type: ignore[no-redef]
    def mark(self, by: str = "nobody") -> Any:
        self.__data["mark"] = f"version 1 by {by}"

    @replicated(ver=2)
    def new(self) -> str:
        return "new"

    @replicated
    def __secret(self) -> str:
        self.__data["secret"] = 1
        return "secret"

    def secret(self) -> Any:
        return self.__secret(sync=True)

    @replicated
    def ask(self) -> list[Any]:
        self.__data["asked"] = [time.time(), datetime.datetime.now(), random.random()]
        return list(self.__data["asked"])

    def get(self, key: str) -> Any:
        return self.__data.get(key)


def test_replicated_returns_None_at_once_and_keeps_what_it_is_called(cluster: Cluster) -> None:
    one = cluster.alone(Store)
    assert one.put("a", 1) is None
    until(lambda: one.get("a") == 1)
    assert Store.put.__name__ == "put" and Store.put.__doc__ == "Puts a value in."
    assert (Store.mark.replicated, Store.mark.ver, Store.mark.origName) == (True, 1, "mark")


def test_callback_gets_the_result_and_a_reason(cluster: Cluster) -> None:
    told = Told()
    cluster.trio(Store)[2].put("a", 1, 7, callback=told)
    assert told.only() == (7, FAIL_REASON.SUCCESS)


def test_sync_returns_the_result(cluster: Cluster) -> None:
    one = cluster.trio(Store)[1]
    assert one.put("a", [1], times=3, sync=True) == 3 and one.get("a") == [1]


def test_sync_is_ignored_with_a_callback(cluster: Cluster) -> None:
    told = Told()
    assert cluster.alone(Store).put("a", 1, sync=True, callback=told) is None
    assert told.only() == (1, FAIL_REASON.SUCCESS)


def test_timeout_raises_Timeout_and_the_command_is_carried_out_later(cluster: Cluster) -> None:
    first = cluster.node(Store, 0)
    for call in (lambda: first.put("a", 1, sync=True, timeout=0.01), lambda: first.put_within("b", 1)):
        with pytest.raises(SyncObjException) as raised:
            call()
        assert raised.value.errorCode == "Timeout"
    others = [cluster.node(Store, number) for number in (1, 2)]
    cluster.agree(first, *others)
    until(lambda: others[0].get("a") == others[1].get("b") == 1)


def test_replicated_sync_waits_unless_it_is_told_not_to(cluster: Cluster) -> None:
    one = cluster.trio(Store)[0]
    assert one.put_and_wait("a", 1) == "a" and one.put_within("a", 2) == "a" and one.get("a") == 2
    assert one.put_and_wait("a", 3, sync=False) is None
    told = Told()
    assert one.put_and_wait("a", 4, callback=told) is None
    assert told.only() == ("a", FAIL_REASON.SUCCESS)


def test_calls_of_one_thread_are_applied_in_order(cluster: Cluster) -> None:
    nodes = cluster.trio(Store)
    for number in range(200):
        nodes[0].put("a", number)
    assert nodes[0].put("b", 1, sync=True) == 1 and nodes[0].get("a") == 199


def test_what_was_called_before_the_node_was_ready_is_sent_in_order_with_what_it_was_called_with(cluster: Cluster) -> None:
    first = cluster.node(Store, 0)
    value = [1]
    told = Told()
    first.put("a", value)
    value.append(2)
    first.put("b", value, callback=told)
    nodes = [first, *(cluster.node(Store, number) for number in (1, 2))]
    assert told.only() == (1, FAIL_REASON.SUCCESS)
    until(lambda: [(each.get("a"), each.get("b")) for each in nodes] == [([1], [1, 2])] * 3)


@pytest.mark.parametrize(("args", "kwargs"), [((), {}), (("a",), {}), (("a", 1, 2, 3), {}), (("a", 1), {"other": 1})], ids=str)
def test_wrong_arguments_are_the_callers_and_are_not_recorded(cluster: Cluster, args: Any, kwargs: Any) -> None:
    one = cluster.alone(Store)
    with pytest.raises(TypeError):
        one.put(*args, **kwargs)
    assert one.raftLastApplied == 0


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "of three"])
def test_arguments_that_can_not_be_sent_are_the_callers(cluster: Cluster, alone: bool) -> None:
    one = cluster.alone(Store) if alone else cluster.trio(Store)[0]
    with pytest.raises((EncodingError, SyncObjException)):
        one.put("a", threading.Lock(), sync=True)
    assert one.put("a", 1, sync=True) == 1


def test_a_private_method_may_be_replicated(cluster: Cluster) -> None:
    one, other, _ = cluster.trio(Store)
    assert one.secret() == "secret"
    until(lambda: other.get("secret") == 1)


def test_the_time_and_chance_that_a_method_asks_for_are_the_same_on_all_nodes(cluster: Cluster) -> None:
    nodes = cluster.trio(Store)
    asked = nodes[0].ask(sync=True)
    until(lambda: [each.get("asked") for each in nodes] == [asked] * 3)
    assert abs(asked[0] - time.time()) < 100


def test_a_method_that_a_subclass_overrides_and_extends(cluster: Cluster) -> None:
    class Counting(Store):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            self.calls = 0

        @replicated
        def put(self, key: str, value: Any, times: int = 1) -> int:
            self.calls += 1
            return super().put(key, value, times) + 100  # type: ignore[operator]

    one = cluster.alone(Counting)
    assert one.put("a", 1, sync=True) == 101 and one.get("a") == 1 and one.calls == 1


def test_replicated_is_for_members_alone() -> None:
    class Plain:
        @replicated
        def put(self) -> None: ...

    with pytest.raises(SyncObjException, match="should be inherited from SyncObj or SyncObjConsumer"):
        Plain().put()


# -- versions


def test_a_new_system_runs_version_0_until_another_is_enabled_for_all(cluster: Cluster) -> None:
    changed = Told()
    nodes = [cluster.node(Store, number, conf=SyncObjConf(onCodeVersionChanged=changed)) for number in range(3)]
    cluster.agree(*nodes)
    nodes[0].mark(sync=True)
    assert nodes[0].get("mark") == "version 0" and nodes[1].getCodeVersion() == 0
    told = Told()
    nodes[1].setCodeVersion(1, callback=told)
    assert told.only() == (None, FAIL_REASON.SUCCESS)
    until(lambda: [each.getCodeVersion() for each in nodes] == [1, 1, 1] and changed.all == [(0, 1)] * 3)
    nodes[2].mark("me", sync=True)
    assert nodes[2].get("mark") == "version 1 by me"
    assert nodes[2].getStatus()["enabled_code_version"] == 1 and nodes[2].getStatus()["self_code_version"] == 2


def test_arguments_are_those_of_the_version_that_is_enabled(cluster: Cluster) -> None:
    one = cluster.alone(Store)
    with pytest.raises(TypeError):
        one.mark("me")
    with pytest.raises(SyncObjException, match="of code version 2, and 0 is enabled"):
        one.new()
    told = Told()
    one.setCodeVersion(2, told)
    told.only()
    one.mark("me", sync=True)
    assert one.new(sync=True) == "new" and one.get("mark") == "version 1 by me"


@pytest.mark.parametrize(
    ("version", "error", "says"),
    [
        (3, Exception, "wrong version, self version is 2"),
        (0, Exception, "wrong version, enabled version is 1"),
        ("1", AssertionError, "whole"),
    ],
)
def test_a_version_that_can_not_be_is_refused_at_once(
    cluster: Cluster, version: Any, error: type[Exception], says: str
) -> None:
    one = cluster.alone(Store)
    told = Told()
    one.setCodeVersion(1, told)
    told.only()
    with pytest.raises(error, match=says):
        one.setCodeVersion(version)


def test_a_version_is_denied_while_another_node_does_not_have_it(cluster: Cluster) -> None:
    class Old(SyncObj):
        @replicated
        def mark(self) -> Any: ...

    Old.__name__ = Old.__qualname__ = "Store"
    nodes = [cluster.node(Store, 0), cluster.node(Store, 1), cluster.node(Old, 2)]
    cluster.agree(*nodes)
    told = Told()
    nodes[0].setCodeVersion(1, told)
    assert told.only() == (None, FAIL_REASON.REQUEST_DENIED) and nodes[1].getCodeVersion() == 0


def test_a_deploy_without_a_pause(cluster: Cluster) -> None:
    """Zero-downtime deploy, as PySyncObj's wiki has it: nodes are upgraded one by one, while calls go on; then the version is enabled."""

    class Old(SyncObj):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            self.words: list[str] = []

        @replicated
        def add(self, word: str) -> int:
            self.words.append(word)
            return len(self.words)

    class New(SyncObj):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            self.words: list[str] = []
            self.loud = 0

        @replicated
        def add(self, word: str) -> int:
            self.words.append(word)
            return len(self.words)

        @replicated(ver=1)  # type: ignore[no-redef]
        def add(self, word: str) -> int:
            self.words.append(word.upper())
            self.loud += 1
            return len(self.words)

    for each in (Old, New):
        each.__name__ = each.__qualname__ = "Words"
    nodes: list[Any] = cluster.trio(Old)
    assert nodes[0].add("a", sync=True) == 1
    for number in (2, 1, 0):
        cluster.destroy(nodes[number])
        nodes[number] = cluster.node(New, number)
        cluster.wait_for(nodes[number])
        assert nodes[number].add("b", sync=True) > 1

    def enabled() -> bool:  # It is denied until the node that is asked has heard of the others' new class.
        told = Told()
        nodes[1].setCodeVersion(1, callback=told)
        return told.only() == (None, FAIL_REASON.SUCCESS)

    until(enabled)
    assert nodes[1].add("c", sync=True) == 5
    until(
        lambda: [each.words for each in nodes] == [["a", "b", "b", "b", "C"]] * 3 and [each.loud for each in nodes] == [1] * 3
    )


def test_an_item_of_a_list_is_set_in_version_0_and_in_version_1(cluster: Cluster) -> None:
    one = cluster.alone(SyncObj, consumers=[found := ReplList()])
    found.append(1, sync=True)
    found[0] = 2
    until(lambda: found[0] == 2)
    assert one.getStatus()["self_code_version"] == 1
    told = Told()
    one.setCodeVersion(1, told)
    told.only()
    found[0] = 3
    until(lambda: found[0] == 3)


# -- how commands end


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Unavailable("no majority"), FAIL_REASON.MISSING_LEADER),
        (OutcomeUnknown("who knows"), FAIL_REASON.UNKNOWN_OUTCOME),
        (ReadOnlyNode("reads"), FAIL_REASON.NOT_LEADER),
        (SystemClosed("closed"), FAIL_REASON.DISCARDED),
        (JournalError(28, "full", "x"), FAIL_REASON.UNKNOWN_OUTCOME),
        (ClusterError("refused"), FAIL_REASON.REQUEST_DENIED),
        (UsageError("wrong"), FAIL_REASON.REQUEST_DENIED),
        (Encoding("too large"), FAIL_REASON.REQUEST_DENIED),
        (ValueError("the method's own"), None),
    ],
    ids=lambda each: type(each).__name__,
)
def test_an_error_of_coopy_is_a_FAIL_REASON(error: BaseException, reason: int | None) -> None:
    assert pysyncobj_running.reason_of(error) == reason


def test_an_outcome_that_nobody_knows_is_told_to_both_kinds_of_callers(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = cluster.trio(Store)[0]

    def submit(*_: Any, **__: Any) -> Future[Any]:
        lost: Future[Any] = Future()
        lost.set_exception(OutcomeUnknown("lost"))
        return lost

    monkeypatch.setattr(one._coopy_begun().control, "submit", submit)
    told = Told()
    one.put("a", 1, callback=told)
    assert told.only() == (None, FAIL_REASON.UNKNOWN_OUTCOME)
    with pytest.raises(SyncObjException) as raised:
        one.put("a", 1, sync=True)
    assert raised.value.errorCode == FAIL_REASON.UNKNOWN_OUTCOME


def test_a_line_that_takes_no_more_is_a_full_queue(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    one = cluster.trio(Store)[0]

    def submit(*_: Any, **__: Any) -> None:
        raise Unavailable("100000 calls wait to be sent already")

    monkeypatch.setattr(one._coopy_begun().control, "submit", submit)
    told = Told()
    one.put("a", 1, callback=told)
    assert told.only() == (None, FAIL_REASON.QUEUE_FULL)


def test_what_waits_when_a_node_is_destroyed_is_discarded(cluster: Cluster) -> None:
    first = cluster.node(Store, 0)
    told = Told()
    first.put("a", 1, callback=told)
    # Before a node has said whether it has a state, the others do not begin.
    until(lambda: "state.0" in cluster.together.bucket.kept)
    first.destroy()
    assert told.only() == (None, FAIL_REASON.DISCARDED)
    others = [cluster.node(Store, number) for number in (1, 2)]
    assert all(each._coopy_begun().opened.wait(20) for each in (first, *others)), "it is closed again as soon as it is open"
    assert first._coopy_begun().problem is None and first._coopy_begun().control.closed


def test_a_directory_that_goes_with_its_object_goes_once_the_node_is_no_longer_being_opened(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = threading.Event()
    opens = pysyncobj_opening.open_system
    monkeypatch.setattr(
        pysyncobj_opening, "open_system", lambda *args, **options: (goes_on.wait(20), opens(*args, **options))[1]
    )
    first = cluster.node(Store, 0)
    (directory,) = cluster.path.glob("coopy-store-*")
    first.destroy_synchronous()
    assert directory.is_dir()
    others = [cluster.node(Store, number) for number in (1, 2)]
    goes_on.set()
    assert all(each._coopy_begun().opened.wait(20) for each in (first, *others))
    until(lambda: not directory.exists())
    assert first._coopy_begun().problem is None


@pytest.fixture
def kept_from_opening(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Nodes that are made are not opened, and can't be once this is called."""
    goes_on, began = threading.Event(), list[threading.Thread]()

    def opens(*args: Any, **options: Any) -> Any:
        began.append(threading.current_thread())
        goes_on.wait(20)
        raise UsageError("wrong")

    monkeypatch.setattr(pysyncobj_opening, "open_system", opens)
    yield goes_on.set
    goes_on.set()
    for each in began:
        each.join(20)


def after_its_ticks_could_have_ended(running: pysyncobj_running.Running) -> None:
    if running.ticks is not None:
        running.ticks.join(10 * running.conf.autoTickPeriod)


@pytest.mark.parametrize("ticks", [True, False], ids=["by a thread", "by the program"])
def test_who_has_called_is_told_however_late_a_command_that_waits_is_refused(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, kept_from_opening: Callable[[], None], ticks: bool
) -> None:
    one, told = cluster.node(Store, 0, conf=SyncObjConf(autoTick=ticks)), Told()
    running = one._coopy_begun()
    refuse = running._refuse_waiting
    monkeypatch.setattr(running, "_refuse_waiting", lambda error: (after_its_ticks_could_have_ended(running), refuse(error)))
    one.put("a", 1, callback=told)
    one.destroy_synchronous()
    if not ticks:
        one.doTick()
    assert told.all == [(None, FAIL_REASON.DISCARDED)]


@pytest.mark.parametrize("ticks", [True, False], ids=["by a thread", "by the program"])
def test_who_has_called_is_told_however_late_a_command_that_was_sent_is_refused(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, ticks: bool
) -> None:
    conf, told, sent = SyncObjConf(autoTick=ticks), Told(), Future[Any]()
    one = cluster.node(Store, 0, conf=conf)
    cluster.agree(one, *(cluster.node(Store, number) for number in (1, 2)))
    running = one._coopy_begun()
    closes = running.control.close

    def close() -> None:
        closes()
        after_its_ticks_could_have_ended(running)
        sent.set_exception(SystemClosed("closed"))

    monkeypatch.setattr(running.control, "submit", lambda *args, **kwargs: sent)
    monkeypatch.setattr(running.control, "close", close)
    one.put("a", 1, callback=told)
    one.destroy_synchronous()
    if not ticks:
        one.doTick()
    assert told.all == [(None, FAIL_REASON.DISCARDED)]


@pytest.mark.parametrize("sync", [True, False], ids=["it waits", "it is called back"])
@pytest.mark.parametrize("meanwhile", ["destroyed", "not opened"])
def test_no_command_is_left_waiting_for_a_node_that_ends_while_it_is_called(
    cluster: Cluster, kept_from_opening: Callable[[], None], meanwhile: str, sync: bool
) -> None:
    one, told = cluster.node(Store, 0), Told()
    running = one._coopy_begun()

    class Meanwhile(contextlib.nullcontext[None]):
        """In the place of a lock that a command takes before it waits."""

        def __enter__(self) -> None:
            running._counting = threading.Lock()
            if meanwhile == "destroyed":
                one.destroy_synchronous()
            else:
                kept_from_opening()
                running.opened.wait(20)

    running._counting = Meanwhile()  # type: ignore[assignment]
    reason = FAIL_REASON.DISCARDED if meanwhile == "destroyed" else FAIL_REASON.REQUEST_DENIED
    if sync:
        with pytest.raises(SyncObjException) as raised:
            one.put("a", 1, sync=True, timeout=20)
        assert raised.value.errorCode == reason
    else:
        one.put("a", 1, callback=told)
        assert told.only() == (None, reason)


def test_no_callback_is_called_in_a_replay(cluster: Cluster) -> None:
    class Echo(SyncObjConsumer):
        @replicated
        def inner(self, told: list[int]) -> int:
            return len(told)

        @replicated
        def outer(self) -> Any:
            return self.inner([1, 2], callback=TOLD)

    TOLD.all.clear()
    conf = SyncObjConf(journalFile=str(cluster.path / "journal"))
    one = cluster.alone(SyncObj, conf, consumers=[echo := Echo()])
    assert echo.outer(sync=True) == 2 and TOLD.only() == (2, FAIL_REASON.SUCCESS)
    cluster.destroy(one)
    cluster.alone(SyncObj, conf, consumers=[Echo()])
    assert not said_within(0.05, lambda: len(TOLD.all) > 1) and TRIO


TOLD = Told()
