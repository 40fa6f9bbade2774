"""A live system says what state it is in, and replay is compared with that."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import coopy
from coopy import StateDiverged, UsageError, control, init_system
from coopy.disk.digests import NAME, Digests
from coopy.disk.fs import Calls
from coopy.ground.storage import ENTRIES_MAX, Entry, MemoryEntries
from coopy.migration import Migration
from coopy.proof import beside, proving
from coopy.tools import withdrawing

outside = [1]
"""What the actions depend on and nobody records."""


class Till:
    def __init__(self) -> None:
        self.values: list[Any] = []
        self.other = {"a": [0]}

    def add(self, value: int) -> None:
        self.values.append(value)

    def take_outside(self) -> None:
        self.other["a"].append(outside[0])


class Held:
    """Its __getstate__ waits for a lock, if there is one."""

    lock: threading.Lock | None = None
    asked = 0

    def __init__(self) -> None:
        self.value = 1

    def __getstate__(self) -> dict[str, Any]:
        Held.asked += 1
        if Held.lock is not None:
            Held.lock.acquire()
        return {"value": self.value}


class Holder(Till):
    def __init__(self) -> None:
        super().__init__()
        self.held = Held()


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    outside[:] = [1]
    yield
    outside[:] = [1]
    Held.lock = None


def opened(path: Path, cls: type[Any] = Till, **options: Any) -> Any:
    return init_system(cls, path / "data", durability="buffered", validation="off", **options)


def used(path: Path, cls: type[Any] = Till, **options: Any) -> None:
    """A directory whose last action but one replay does otherwise, if it is asked now."""
    with control(opened(path, cls, **options)) as here:
        till = here.system
        till.add(1)
        till.take_outside()
        till.add(3)
    outside[:] = [2]


def entries(path: Path) -> list[Entry]:
    return Digests(Calls(), str(path / "data")).read()


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR and each.name == "coopy"]


def eventually(condition: Callable[[], object]) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until, "it has not come about"
        time.sleep(0.005)


# -- told


def test_an_action_that_replay_does_otherwise_is_told_with_its_index_and_the_place(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    used(tmp_path)
    with control(opened(tmp_path)) as here:
        found = here.status()["divergence"]
        assert (found["after"], found["index"], found["method"], found["path"]) == (1, 2, "take_outside", "state.other")
        assert found["found_by"] == "opening"
        assert here.system.other == {"a": [0, 2]}, "it goes on with what replay gives"
    said = errors(caplog)
    assert len(said) == 1 and "action 2, take_outside()" in said[0] and "state.other" in said[0] and str(tmp_path) in said[0]


def test_what_is_the_same_is_not_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    used(tmp_path)
    outside[:] = [1]
    for _ in range(3):
        with control(opened(tmp_path)) as here:
            assert here.status()["divergence"] is None
            here.system.take_outside()
    assert errors(caplog) == []


def test_what_is_changed_in_place_and_then_assigned_is_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with init_system(Till, tmp_path) as till:
        till.add(1)
        till.values += [2]
        till.other |= {"b": [1]}
        live = [*till.values], dict(till.other)
    with init_system(Till, tmp_path, on_divergence="refuse") as till:
        assert (till.values, till.other) == live == ([1, 2], {"a": [0], "b": [1]})
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]


def test_it_is_refused_where_that_is_asked_for_and_nothing_changes(tmp_path: Path) -> None:
    used(tmp_path)
    before = {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir() if path.name != "lock"}
    for options in ({"on_divergence": "refuse"}, {"check": True}):
        with pytest.raises(StateDiverged, match="state.other") as raised:
            opened(tmp_path, **options)
        found = raised.value
        assert (found.after, found.index, found.method, found.path) == (1, 2, "take_outside", "state.other")
        assert "on_divergence" in str(found) and "Nothing was changed" in str(found)
        del raised
        assert before == {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir() if path.name != "lock"}
    opened(tmp_path).close()
    with control(opened(tmp_path, on_divergence="refuse")) as here:
        assert here.status()["divergence"] is None, "it went on from there"


@pytest.mark.parametrize("told", ["at the opening", "afterwards"])
def test_a_function_is_called_with_what_was_found(tmp_path: Path, told: str) -> None:
    used(tmp_path)
    heard: list[Any] = []
    with control(opened(tmp_path, **({"on_divergence": heard.append} if told == "at the opening" else {}))) as here:
        if told == "afterwards":
            here.on_diverged(heard.append)
        assert heard == [here.status()["divergence"]]


def test_a_function_that_raises_keeps_nothing_from_opening(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    used(tmp_path)

    def fail(found: Any) -> None:
        raise LookupError("no pager")

    opened(tmp_path, on_divergence=fail).close()
    assert "no pager" in errors(caplog)[-1]


@pytest.mark.parametrize("wrong", ["raise", 1, None])
def test_what_is_none_of_the_choices_is_refused(tmp_path: Path, wrong: Any) -> None:
    with pytest.raises(UsageError, match="on_divergence"):
        opened(tmp_path, on_divergence=wrong)
    assert not (tmp_path / "data").exists()


def test_after_a_kill_it_is_told_up_to_the_last_digest(tmp_path: Path) -> None:
    till = opened(tmp_path)
    till.take_outside()
    till.add(2)
    shutil.copytree(tmp_path / "data", tmp_path / "left" / "data", ignore=shutil.ignore_patterns("lock"))
    till.close()
    outside[:] = [2]
    with control(opened(tmp_path / "left")) as here:
        found = here.status()["divergence"]
        assert (found["index"], found["method"]) == (1, "take_outside")


def test_a_state_that_the_snapshot_does_not_bring_back_is_told(tmp_path: Path) -> None:
    class Loses:
        def __init__(self) -> None:
            self.kept, self.lost = 1, 2

        def touch(self) -> None:
            self.lost = 7

        def __setstate__(self, state: dict[str, Any]) -> None:
            self.__dict__.update(state)
            self.lost = 0

    loses = init_system(Loses, tmp_path / "data", durability="buffered", validation="off")
    loses.touch()
    loses.take_snapshot()
    loses.close()
    with control(init_system(Loses, tmp_path / "data", durability="buffered", validation="off")) as here:
        found = here.status()["divergence"]
        assert found is not None and found["method"] is None and "snapshot" in found["text"]


def test_a_state_whose_objects_have_code_of_their_own_is_compared_in_a_child(tmp_path: Path) -> None:
    used(tmp_path, Holder)
    with control(opened(tmp_path, Holder)) as here:
        found = here.status()["divergence"]
        assert (found["index"], found["path"]) == (3, "state.other")


def test_where_nothing_can_be_forked_it_is_said_and_compared_as_well(tmp_path: Path) -> None:
    used(tmp_path, fork=False)
    with control(opened(tmp_path, fork=False)) as here:
        assert here.status()["divergence"]["index"] == 2


def test_a_large_state_is_compared_after_the_opening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used(tmp_path)
    monkeypatch.setattr(proving, "INLINE_S", 0.0)
    with control(opened(tmp_path)) as here:
        heard: list[Any] = []
        here.on_diverged(heard.append)
        eventually(lambda: heard)
        assert heard[0]["index"] == 3 and heard[0]["path"] == "state.other"


# -- not told


def test_a_directory_without_digests_opens_as_ever(tmp_path: Path) -> None:
    used(tmp_path)
    (tmp_path / "data" / NAME).unlink()
    with control(opened(tmp_path, on_divergence="refuse")) as here:
        assert here.status()["divergence"] is None


def test_what_is_torn_or_garbled_is_passed_over(tmp_path: Path) -> None:
    used(tmp_path)
    path = tmp_path / "data" / NAME
    data, there = path.read_bytes(), entries(tmp_path)
    assert len(there) >= 3
    for size in range(0, len(data), 3):
        path.write_bytes(data[:size])
        found = entries(tmp_path)
        assert found == there[: len(found)]
    for place in range(0, len(data), 3):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        found = entries(tmp_path)
        assert len(there) - 2 <= len(found) < len(there) and set(found) <= set(there)
    path.write_bytes(data[:-10])
    Digests(Calls(), str(tmp_path / "data")).add(Entry(9, "{}"))
    assert entries(tmp_path) == [*there[:-1], Entry(9, "{}")], "a torn one does not spoil the next"


@pytest.mark.parametrize(
    "text", ["{}", "no JSON", '{"took_us":"x"}', "[" * 5000, '{"digest":"00","took_us":1,"at":1,"code":"other"}']
)
def test_an_entry_of_another_release_is_passed_over(tmp_path: Path, text: str) -> None:
    used(tmp_path)
    outside[:] = [1]
    Digests(Calls(), str(tmp_path / "data")).add(Entry(3, text))
    opened(tmp_path, on_divergence="refuse").close()


def test_what_another_version_of_the_class_said_is_not_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used(tmp_path)
    monkeypatch.setattr(Till, "__coopy_migration__", Migration(version=2), raising=False)
    with control(opened(tmp_path)) as here:
        assert here.status()["divergence"] is None


def test_of_actions_that_are_lost_nothing_is_said(tmp_path: Path) -> None:
    with control(opened(tmp_path)) as here:
        here.system.add(1)
    shutil.copytree(tmp_path / "data", tmp_path / "lost" / "data", ignore=shutil.ignore_patterns("lock"))
    with control(opened(tmp_path)) as here:
        for number in range(5):
            here.system.add(number)
    shutil.copy(tmp_path / "data" / NAME, tmp_path / "lost" / "data" / NAME)
    with control(opened(tmp_path / "lost", on_divergence="refuse")) as here:
        here.system.add(7)
        here.system.add(8)
        assert max(each.action for each in entries(tmp_path / "lost")) <= 3
    opened(tmp_path / "lost", on_divergence="refuse").close()


def test_what_was_said_goes_with_an_action_that_is_withdrawn_by_hand(tmp_path: Path) -> None:
    used(tmp_path)
    outside[:] = [1]
    data = str(tmp_path / "data")
    withdrawing.carry_out(withdrawing.plan(data, 2))
    assert entries(tmp_path) == []
    with control(opened(tmp_path, on_divergence="refuse")) as here:
        assert here.system.other == {"a": [0]}


# -- bounded


def test_a_close_does_not_wait_for_a_digest_that_takes_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proving, "LOOK_S", -1.0)
    monkeypatch.setattr(proving, "CLOSE_S", -1.0)
    monkeypatch.setattr(proving, "SOON", 0)
    used(tmp_path)
    assert [each.action for each in entries(tmp_path) if '"digest"' in each.text] == []
    with control(opened(tmp_path)) as here:
        assert here.status()["divergence"] is None, "nothing is known"


def test_a_close_does_not_hang_with_code_of_the_domain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "APART_S", 0.1)
    holder = opened(tmp_path, Holder)
    holder.add(1)
    Held.lock = threading.Lock()
    Held.lock.acquire()
    holder.close()
    Held.lock = None
    opened(tmp_path, Holder, on_divergence="refuse").close()


def test_no_code_of_the_domain_runs_between_two_calls(tmp_path: Path) -> None:
    holder = opened(tmp_path, Holder)
    before = Held.asked
    for number in range(20):
        holder.add(number)
    holder.close()
    assert Held.asked == before, "nor in a process that closes"


def test_a_disk_that_refuses_what_is_said_refuses_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Calls, path: str, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(Calls, "add", refuse)
    used(tmp_path)
    assert entries(tmp_path) == []
    outside[:] = [1]
    opened(tmp_path).close()


def test_there_are_never_many_entries(tmp_path: Path) -> None:
    kept: list[Any] = [MemoryEntries(), Digests(Calls(), str(tmp_path))]
    for store in kept:
        for number in range(3 * ENTRIES_MAX):
            store.add(Entry(number, "{}"))
        store.keep(10, 3 * ENTRIES_MAX - 10)
        found = [each.action for each in store.read()]
        assert len(found) <= ENTRIES_MAX and found == sorted(set(found))
        assert found[0] == 10 and found[-1] == 3 * ENTRIES_MAX - 10
    assert kept[0].read() == kept[1].read()


def test_what_was_said_is_pruned_with_the_journal(tmp_path: Path) -> None:
    with control(opened(tmp_path, keep=1)) as here:
        for number in range(5):
            here.system.add(number)
        here.take_snapshot()
        assert [each.action for each in entries(tmp_path)] == [5]


def test_while_calls_come_it_is_said_seldom(tmp_path: Path) -> None:
    with control(opened(tmp_path)) as here:
        for number in range(2000):
            here.system.add(number)
        assert len(entries(tmp_path)) <= proving.SOON + 10


# -- while the system runs


def test_a_running_system_checks_itself_and_tells(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    heard: list[Any] = []
    with control(opened(tmp_path, on_divergence=heard.append)) as here:
        here.system.add(1)
        here.system.take_outside()
        here.system.add(3)
        outside[:] = [2]
        here.take_snapshot()
        eventually(lambda: here.status()["self_check"])
        assert here.status()["self_check"]["problem"] is None
        eventually(lambda: heard)
        found = here.status()["divergence"]
        assert heard == [found]
        assert (found["found_by"], found["after"], found["index"], found["method"]) == ("self-check", 1, 2, "take_outside")
        assert found["path"] == "state.other['a'][1]"
        assert here.system.other == {"a": [0, 1]}, "the live state is as it was"
    assert "self" not in errors(caplog)[0] and "live state goes on" in errors(caplog)[0]


@pytest.mark.parametrize("cls", [Till, Holder])
def test_a_system_that_is_repeatable_checks_itself_and_tells_nothing(
    tmp_path: Path, cls: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with control(opened(tmp_path, cls)) as here:
        for number in range(5):
            here.system.add(number)
        here.take_snapshot()
        eventually(lambda: here.status()["self_check"])
        assert here.status()["self_check"]["last"] == 5 and here.status()["self_check"]["problem"] is None
        assert here.status()["divergence"] is None
    assert errors(caplog) == []


def test_a_snapshot_is_taken_also_if_the_ones_before_it_cannot_be_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with control(opened(tmp_path)) as here:
        here.system.add(1)
        names, here_alone = Calls.names, os.getpid()

        def not_here(self: Calls, path: str) -> list[str]:
            if os.getpid() == here_alone:  # The child that writes the snapshot lists them, too.
                raise OSError(errno.EDQUOT, "Disk quota exceeded")
            return names(self, path)

        with monkeypatch.context() as patch:
            patch.setattr(Calls, "names", not_here)
            assert here.take_snapshot() == 1
        assert "the state is not compared with what replay gives" in caplog.text
        here.system.add(2)
        assert here.take_snapshot() == 2


def test_a_system_that_is_not_to_check_itself_does_not(tmp_path: Path) -> None:
    with control(opened(tmp_path, self_check=False)) as here:
        here.system.add(1)
        here.take_snapshot()
        assert not any("proof" in thread.name for thread in threading.enumerate()) and here.status()["self_check"] is None


def test_a_self_check_ends_with_the_system(tmp_path: Path) -> None:
    class Slow(Till):
        def wait(self) -> None:
            if coopy.replaying():
                time.sleep(60)

    slow = opened(tmp_path, Slow)
    slow.wait()
    slow.take_snapshot()
    assert any("proof" in thread.name for thread in threading.enumerate())
    slow.close()
    assert not any("proof" in thread.name for thread in threading.enumerate())


# -- status


def test_the_status_of_a_system_on_one_machine(tmp_path: Path) -> None:
    with control(opened(tmp_path)) as here:
        here.system.add(1)
        found = here.status()
        assert (
            found["last_applied"] == 1 and found["uptime"] >= 0 and found["divergence"] is None and found["self_check"] is None
        )
        assert found["snapshot"]["index"] == 0 and found["snapshot"]["bytes"] > 0 and found["snapshot"]["when"] is not None
        here.take_snapshot()
        newest = here.status()["snapshot"]
        assert newest["index"] == 1 and newest["bytes"] == (tmp_path / "data" / "snapshot_000000000000001.dat").stat().st_size
        assert newest["seconds"] >= 0 and newest["problem"] is None
    with control(opened(tmp_path)) as here:
        again = here.status()["snapshot"]
        assert (again["index"], again["bytes"], again["seconds"]) == (1, newest["bytes"], None)


def test_the_status_says_why_no_snapshot_was_taken(tmp_path: Path) -> None:
    class Odd(Till):
        def keep(self) -> None:
            self.values.append(iter([]) if False else (number for number in ()))

        def drop(self) -> None:
            self.values.clear()

    with control(opened(tmp_path, Odd)) as here:
        here.system.keep()
        with pytest.raises(Exception, match="generator"):
            here.take_snapshot()
        assert "generator" in here.status()["snapshot"]["problem"] and here.status()["snapshot"]["index"] == 0
        here.system.drop()
        here.take_snapshot()
        assert here.status()["snapshot"]["problem"] is None


class Cancelled:
    def __reduce__(self) -> Any:
        raise asyncio.CancelledError


class Keeper(Till):
    def keep(self) -> None:
        self.kept = Cancelled()


def test_what_an_object_raises_as_it_is_looked_at_does_not_keep_the_system_from_closing(tmp_path: Path) -> None:
    keeper = opened(tmp_path, Keeper, fork=False)
    keeper.keep()
    control(keeper).close()
    assert control(keeper).closed
