"""Effects on nodes: who carries them out, and what happens if that can't be recorded."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cluster.memory_nodes import Bank, Node
from network.servers import until

from coopy import on_commit
from coopy.errors import Unavailable
from coopy.ground.line import MemoryServer
from coopy.spine.delivery import Delivery

called: list[str] = []
meanwhile: list[Callable[[], object]] = []


def send(text: str) -> None:
    called.append(text)
    while meanwhile:
        meanwhile.pop()()


class Post(Bank):
    def order(self, text: str) -> None:
        on_commit(send, text)


@pytest.fixture(autouse=True)
def world() -> Iterator[None]:
    called.clear()
    meanwhile.clear()
    yield


@pytest.fixture
def server() -> MemoryServer:
    return MemoryServer()


def delivered(node: Node, **options: Any) -> Delivery:
    """The delivery of a node, as a system has one."""
    found = Delivery(node.engine, "post", "id", **options)
    node.engine.asked = found.asked
    return found


def effects(node: Node) -> list[str]:
    return list(node.engine.machine.effects)


def goes_away(server: MemoryServer) -> None:
    server.available = False


def test_an_effect_that_could_not_be_recorded_is_recorded_when_the_majority_is_back_and_not_carried_out_again(
    server: MemoryServer, caplog: pytest.LogCaptureFixture
) -> None:
    node = Node(*server.ends(1), cls=Post, timeout_s=0.1)
    delivery = delivered(node, retry_s=0.01)
    meanwhile.append(lambda: goes_away(server))
    node.bank.order("ink")
    until(lambda: "was carried out, which could not be recorded" in caplog.text)
    assert (called, effects(node)) == (["ink"], ["2.0"])
    server.available = True
    until(lambda: not effects(node))
    node.bank.order("pen")
    delivery.finish()
    assert called == ["ink", "pen"]


def test_what_was_carried_out_and_not_recorded_is_recorded_when_the_system_is_closed(server: MemoryServer) -> None:
    node = Node(*server.ends(1), cls=Post, timeout_s=0.1)
    delivery = delivered(node, retry_s=3600.0)
    meanwhile.append(lambda: goes_away(server))
    node.bank.order("ink")
    until(lambda: delivery._later)
    server.available = True
    until(lambda: node.engine.outbox.problem is None)
    delivery.finish()
    assert (called, effects(node)) == (["ink"], [])


def test_what_still_can_not_be_recorded_when_the_system_is_closed_is_said(
    server: MemoryServer, caplog: pytest.LogCaptureFixture
) -> None:
    node = Node(*server.ends(1), cls=Post, timeout_s=0.1)
    delivery = delivered(node, retry_s=3600.0)
    meanwhile.append(lambda: goes_away(server))
    node.bank.order("ink")
    until(lambda: delivery._later)
    delivery.finish()
    assert (called, effects(node)) == (["ink"], ["2.0"])
    assert "it is carried out again at the next opening, with the same effect_id()" in caplog.text


@pytest.mark.parametrize("error", [Unavailable("no majority"), MemoryError()], ids=repr)
def test_whatever_keeps_an_effect_from_being_recorded_the_function_is_called_once(
    server: MemoryServer, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    node = Node(*server.ends(1), cls=Post)
    delivery, errors = delivered(node, retry_s=0.01), [error]
    record = node.engine.carried_out

    def carried_out(name: str) -> None:
        if errors:
            raise errors.pop()
        record(name)

    monkeypatch.setattr(type(node.engine), "carried_out", lambda self, name: carried_out(name))
    node.bank.order("ink")
    node.bank.order("pen")
    until(lambda: not effects(node))
    delivery.finish()
    assert called == ["ink", "pen"]


def test_a_node_that_does_not_lead_keeps_nothing_and_runs_nothing_until_it_does(
    server: MemoryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(*server.ends(1), cls=Post)
    leads: list[bool] = []
    delivery = delivered(node, is_ours=lambda: bool(leads))
    with monkeypatch.context() as patched:
        begun: list[Any] = []
        patched.setattr(threading, "Thread", lambda **options: begun.append(options))
        node.bank.order("ink")
    assert (begun, delivery._known, effects(node)) == ([], set(), ["2.0"])
    leads.append(True)
    delivery.look()
    until(lambda: not effects(node))
    delivery.finish()
    assert called == ["ink"]


def test_an_effect_that_is_another_nodes_by_the_time_it_is_due_is_left_to_that_one(server: MemoryServer) -> None:
    node = Node(*server.ends(1), cls=Post)
    leads, proceed, reached = [True], threading.Event(), threading.Event()
    delivery = delivered(node, is_ours=lambda: bool(leads))

    def another_leads() -> None:
        leads.clear()
        reached.set()
        proceed.wait(60)

    meanwhile.append(another_leads)
    node.bank.order("ink")
    assert reached.wait(60)
    leads.append(True)
    node.bank.order("pen")
    leads.clear()
    proceed.set()
    until(lambda: delivery._thread is None)
    assert (called, len(effects(node))) == (["ink"], 1)
    leads.append(True)
    delivery.look()
    until(lambda: not effects(node))
    delivery.finish()
    assert called == ["ink", "pen"]
