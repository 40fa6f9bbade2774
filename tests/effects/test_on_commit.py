"""Effects: after the action is durable, at least once, with one id, and never by replay."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faults import Held, open_with

import coopy
from coopy import EncodingError, UsageError, abort_exception, control, effect_id, init_system, on_commit, transactional
from coopy.spine import delivery
from coopy.spine.machine import NOTHING_FOLLOWS, Machine

sent: list[tuple[Any, ...]] = []
failing: list[Exception] = []
proceed = threading.Event()


def send(to: str, *, text: str = "") -> None:
    if failing:
        raise failing.pop()
    sent.append((to, text, effect_id()))


def wait_and_send(to: str) -> None:
    proceed.wait(60)
    send(to)


class Shop:
    def __init__(self) -> None:
        self.orders: list[str] = []

    def order(self, article: str) -> int:
        self.orders.append(article)
        on_commit(send, "customer", text=article)
        on_commit(send, "store", text=article)
        return len(self.orders)

    def order_slowly(self, article: str) -> None:
        self.orders.append(article)
        on_commit(wait_and_send, article)

    def fail(self, article: str) -> None:
        self.orders.append(article)
        on_commit(send, "nobody", text=article)
        raise KeyError(article)

    @transactional
    def fail_without_a_trace(self, article: str) -> None:
        self.fail(article)

    @abort_exception
    def refuse(self, article: str) -> None:
        on_commit(send, "nobody", text=article)
        raise KeyError(article)

    def list_passed_on(self, words: list[str]) -> None:
        on_commit(send, "customer", text=words)
        words.append("later")

    def local_function(self) -> None:
        on_commit(lambda: None)

    def no_function(self) -> None:
        on_commit("send")  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def world() -> Iterator[None]:
    sent.clear()
    failing.clear()
    proceed.clear()
    yield
    proceed.set()


def opened(tmp_path: Path, cls: type = Shop, **options: Any) -> Any:
    return init_system(cls, tmp_path / "data", validation="off", **options)


def copied(tmp_path: Path, name: str = "copy") -> Path:
    """The directory as a kill would leave it now."""
    import shutil

    shutil.copytree(tmp_path / "data", tmp_path / name, ignore=shutil.ignore_patterns("lock"))
    return tmp_path / name


@pytest.mark.parametrize("durability", ["sync", "buffered"])
def test_what_an_action_asked_for_is_carried_out_in_order_and_once(tmp_path: Path, durability: str) -> None:
    shop = opened(tmp_path, durability=durability)
    assert [shop.order("ink"), shop.order("pen")] == [1, 2]
    control(shop).close()
    assert [each[:2] for each in sent] == [("customer", "ink"), ("store", "ink"), ("customer", "pen"), ("store", "pen")]
    assert len({each[2] for each in sent}) == 4
    again = opened(tmp_path)
    assert (control(again).effects, again.orders) == ([], ["ink", "pen"])
    control(again).close()
    assert len(sent) == 4


def test_an_effect_is_carried_out_only_after_its_action_is_durable(tmp_path: Path) -> None:
    calls = Held()
    calls.gate.set()
    shop = open_with(calls, Shop, tmp_path / "data")
    calls.gate.clear()
    calls.waiting.clear()
    caller = threading.Thread(target=shop.order, args=("ink",))
    caller.start()
    assert calls.waiting.wait(60)
    # Applied, and on its way to the disk: the thread of the effects waits for it as the caller does.
    deadline = time.monotonic() + 60
    while control(shop)._system.engine.machine.running:  # type: ignore[attr-defined]
        assert time.monotonic() < deadline, "the action ends"
    assert control(shop).effects == ["1.0", "1.1"] and sent == []
    calls.gate.set()
    caller.join()
    control(shop).close()
    assert len(sent) == 2


def test_what_was_not_carried_out_when_the_process_ended_is_carried_out_at_the_next_opening(tmp_path: Path) -> None:
    shop = opened(tmp_path)
    shop.order_slowly("ink")
    assert control(shop).effects == ["1.0"]
    killed = copied(tmp_path)
    proceed.set()
    control(shop).close()
    first = sent.pop()
    again = init_system(Shop, killed, validation="off")
    control(again).close()
    assert sent == [first], "with the same id"


def test_a_snapshot_keeps_what_is_waiting(tmp_path: Path) -> None:
    shop = opened(tmp_path)
    shop.order_slowly("ink")
    control(shop).take_snapshot()
    killed = copied(tmp_path)
    proceed.set()
    control(shop).close()
    sent.clear()
    again = init_system(Shop, killed, validation="off")
    control(again).close()
    assert [each[0] for each in sent] == ["ink"]


def test_replay_and_time_travel_carry_out_nothing(tmp_path: Path) -> None:
    shop = opened(tmp_path)
    shop.order_slowly("ink")
    assert control(shop).replay().orders == ["ink"]
    assert coopy.replay(Shop, tmp_path / "data").orders == ["ink"]
    assert sent == []
    proceed.set()
    control(shop).close()
    assert len(sent) == 1


@pytest.mark.parametrize("method", ["fail", "fail_without_a_trace", "refuse"])
def test_what_a_raising_action_asked_for_is_dropped(tmp_path: Path, method: str) -> None:
    shop = opened(tmp_path)
    with pytest.raises(KeyError):
        getattr(shop, method)("ink")
    assert control(shop).effects == []
    killed = copied(tmp_path)
    again = init_system(Shop, killed, validation="off")
    assert control(again).effects == []
    control(again).close()
    control(shop).close()
    assert sent == []


def test_an_effect_that_fails_is_tried_again_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(delivery, "RETRY_S", 0.01)
    shop = opened(tmp_path)
    control(shop)._system._delivery._retry_s = 0.01
    failing.append(OSError("no network"))
    shop.order("ink")
    while control(shop).effects:
        threading.Event().wait(0.005)
    control(shop).close()
    assert [each[0] for each in sent] == ["store", "customer"]
    assert "the effect 1.0, send, raised OSError: no network. It is tried again in 0.01 s" in caplog.text


def test_an_effect_that_fails_is_tried_again_at_the_next_opening(tmp_path: Path) -> None:
    shop = opened(tmp_path)
    failing.append(OSError("no network"))
    shop.order("ink")
    control(shop).close()
    assert [each[0] for each in sent] == ["store"]
    again = opened(tmp_path)
    control(again).close()
    assert [each[0] for each in sent] == ["store", "customer"]


def test_an_effect_is_outside_any_action_and_may_call_the_system(tmp_path: Path) -> None:
    shop = opened(tmp_path)
    systems.append(shop)
    other = init_system(Caller, tmp_path / "other", validation="off")
    other.ask()
    control(other).close()
    assert shop.orders == ["from an effect"]
    control(shop).close()


systems: list[Any] = []


def call_back() -> None:
    systems[-1].order("from an effect")


class Caller:
    def ask(self) -> None:
        on_commit(call_back)


def test_arguments_are_kept_as_they_are_when_the_effect_is_asked_for(tmp_path: Path) -> None:
    shop = opened(tmp_path)
    shop.list_passed_on(["now"])
    control(shop).close()
    assert sent[0][1] == ["now"]


def test_outside_a_system_an_effect_happens_at_once() -> None:
    assert Shop().order("ink") == 1
    assert [each[0] for each in sent] == ["customer", "store"] and sent[0][2] is None


def test_a_function_without_a_name_is_refused_inside_the_action(tmp_path: Path) -> None:
    shop = opened(tmp_path)
    with pytest.raises(EncodingError, match=r"the effect .*<lambda>\(\) cannot be kept"):
        shop.local_function()
    with pytest.raises(UsageError, match="must be something to call"):
        shop.no_function()
    control(shop).close()


class Counted(dict[str, bytes]):
    """Counts how often a name is looked for."""

    looks = 0

    def __contains__(self, name: object) -> bool:
        self.looks += 1
        return super().__contains__(name)


def test_an_effect_is_numbered_without_a_look_at_those_before_it() -> None:
    machine = Machine(Shop(), 6, NOTHING_FOLLOWS, b"secret")
    found = machine.effects = Counted()
    machine.index = 7
    for _ in range(100):
        machine.ask(b"")
    assert list(found) == [f"7.{number}" for number in range(100)]
    assert found.looks <= 100
    machine.drop_effects()
    machine.index = 8
    machine.ask(b"")
    assert list(found) == ["8.0"]


class Eager:
    def __init__(self) -> None:
        on_commit(send, "nobody")


def test_the_first_state_can_ask_for_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="__init__ asks for an effect"):
        opened(tmp_path, Eager)


PROGRAM = """
    import os, sys, time
    import coopy

    def note(name):
        with open("notes", "a") as file:
            file.write(f"{name} {coopy.effect_id()}\\n")
        if name == "kill":
            os.kill(os.getpid(), 9)

    class Notes:
        def note(self, name):
            coopy.on_commit(note, name)

    notes = coopy.init_system(Notes, "data")
    for name in sys.argv[1:]:
        notes.note(name)
    coopy.control(notes).close()
"""


def test_an_effect_during_which_the_process_is_killed_is_carried_out_again_with_its_id(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(textwrap.dedent(PROGRAM))
    root = str(Path(coopy.__file__).parents[1])

    def run(*names: str) -> int:
        command = [sys.executable, "program.py", *names]
        return subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": root}, timeout=60).returncode

    assert run("a", "kill", "b") == -9
    text = (tmp_path / "program.py").read_text().replace('== "kill"', '== "never"')
    (tmp_path / "program.py").write_text(text)
    assert run() == 0
    lines = [line.split() for line in (tmp_path / "notes").read_text().splitlines()]
    assert lines[1] == lines[2] and [line[0] for line in lines[:3]] == ["a", "kill", "kill"]
    assert len({line[1] for line in lines}) == len(lines) - 1
