"""Objects that are spread over processes: what is true of those of one process is true of them, whichever process has which."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from objects.mortals import Mortal, Other
from objects.rooms import Device, Echo, Ledger, Room, Site
from objects.spread import OPTIONS, is_alive, keys_of, kill, opened, pids, until

import coopy
from coopy import CallInsideAction, DirectoryInUse, Quarantined, SystemClosed, Unavailable, UsageError, aio
from coopy.disk import journal, manifest
from coopy.disk.fs import Calls
from coopy.disk.segment import BLOCK
from coopy.errors import NotRepeatable
from coopy.objects import slots
from coopy.replication.serving import Serving


@pytest.fixture
def rooms(tmp_path: Path) -> Iterator[Any]:
    with opened(Room, tmp_path / "data") as rooms:
        yield rooms


KEYS = keys_of(0, 3) + keys_of(1, 3)


def test_every_key_is_served_by_the_process_that_has_its_slot(rooms: Any) -> None:
    for key in KEYS:
        assert (rooms[key].say("ann"), rooms[key].say("bob", text="hi")) == (1, 2)
    assert rooms.keys() == sorted(KEYS) == list(rooms) and len(rooms) == 6
    assert [rooms[key].last(1) for key in KEYS] == [[("bob", "hi")]] * 6
    assert [each["keys"] for each in rooms.status()["processes"]] == [3, 3]
    assert len({os.getpid(), *pids(rooms)}) == 3


def test_slots_are_the_same_everywhere_and_for_ever() -> None:
    assert [slots.slot_of(key) for key in (b"42", b"module:Class\x0042", b"ann")] == [1111, 1111, 2701]
    assert [slots.shard_of(b"42", count) for count in (1, 2, 3, 64)] == [0, 0, 0, 17]


def test_a_key_is_there_from_its_first_action_until_it_is_deleted(rooms: Any) -> None:
    key = KEYS[-1]
    assert rooms[key].last() == [] and key not in rooms
    rooms[key].say("ann")
    assert key in rooms and rooms.keys("key") == [key] and rooms.keys("x") == []
    del rooms[key]
    assert key not in rooms and rooms[key].last() == []
    with pytest.raises(KeyError):
        del rooms[key]


def test_what_a_method_raises_is_raised_where_it_was_called(rooms: Any) -> None:
    for key in (KEYS[0], KEYS[-1]):
        with pytest.raises(ValueError, match="ouch"):
            rooms[key].fail("ouch")
        with pytest.raises(ValueError, match="never"):
            rooms[key].undo("never")
        with pytest.raises(TypeError):
            rooms[key].say()
        assert rooms[key].last() == ["ouch"]


def test_properties_generators_and_results_that_are_the_object_itself_come_over(rooms: Any) -> None:
    room = rooms[KEYS[-1]]
    room.say("ann")
    assert room.name == f"room {KEYS[-1]}" and list(room.numbers()) == [0]
    assert room.itself() == room
    assert pickle.loads(pickle.dumps(room)) == room and hash(room) == hash(rooms[KEYS[-1]])
    room.keep(rooms[KEYS[0]])
    assert room.last(1) == [rooms[KEYS[0]]]


def test_many_threads_call_and_each_key_has_its_calls_in_one_order(rooms: Any) -> None:
    told: dict[str, list[int]] = {key: [] for key in KEYS}

    def work() -> None:
        for _ in range(20):
            for key in KEYS:
                told[key].append(rooms[key].say("x"))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(sorted(told[key]) == list(range(1, 161)) for key in KEYS)


def test_a_loop_calls_objects_of_all_processes(tmp_path: Path) -> None:
    async def scene() -> None:
        async with aio.objects(Room, tmp_path / "data", processes=2, **OPTIONS) as rooms:

            async def speak(task: int) -> None:
                for number in range(5):
                    await rooms[KEYS[task % 6]].say(f"{task}", str(number))

            await asyncio.gather(*map(speak, range(60)))
            assert (await rooms.count(), await rooms.keys()) == (6, sorted(KEYS))
            for place, key in enumerate(KEYS):
                said = await rooms[key].last(1000)
                for task in range(place, 60, 6):
                    assert [text for who, text in said if who == str(task)] == list("01234")
            found = await asyncio.gather(
                rooms[KEYS[0]].fail("x"), rooms[KEYS[-1]].fail("y"), rooms["new"].last(), return_exceptions=True
            )
            assert [str(each) for each in found] == ["x", "y", "[]"]
            assert await rooms[KEYS[-1]].itself() == rooms[KEYS[-1]] != rooms[KEYS[0]]
            await rooms.delete(KEYS[0])
            assert not await rooms.has(KEYS[0])
        with pytest.raises(SystemClosed):
            await rooms[KEYS[0]].say("ann")

    asyncio.run(scene())


def test_calls_of_a_loop_of_one_key_come_in_the_order_in_which_they_were_begun(tmp_path: Path) -> None:
    async def scene() -> None:
        async with aio.objects(Room, tmp_path / "data", processes=2, **OPTIONS) as rooms:
            for _ in range(3):
                await asyncio.gather(*(rooms[KEYS[-1]].say(str(number)) for number in range(50)))
            assert [who for who, _ in await rooms[KEYS[-1]].last(150)] == [str(number) for number in range(50)] * 3

    asyncio.run(scene())


def test_what_objects_tell_across_processes_is_done_once_and_in_order(tmp_path: Path) -> None:
    devices, sites = keys_of(0, 2) + keys_of(1, 2), keys_of(0, 1, prefix="site ") + keys_of(1, 1, prefix="site ")
    with opened(Device, tmp_path / "data") as objects:
        for number in range(30):
            for device in devices:
                objects[device].report_to_all(sites, str(number))
        objects.catch_up()
        for site in sites:
            said = objects.of(Site).replay(site, objects.of(Site).history(site)[-1].action).reports
            for device in devices:
                assert [what for who, what in said if who == device] == [str(number) for number in range(30)]
        assert len(objects.of(Site)) == 2 and len(objects) == 4


def test_an_answer_to_what_was_told_comes_back_from_the_other_process(tmp_path: Path) -> None:
    (device,), (site,) = keys_of(0, 1), keys_of(1, 1)
    with opened(Device, tmp_path / "data") as objects:
        objects.of(Site)[site].answer(device, "ping")
        until(lambda: objects[device].all_seen() == ["ping heard"])


def test_alarms_go_off_in_the_process_that_has_the_object(tmp_path: Path) -> None:
    with opened(Device, tmp_path / "data") as devices:
        for key in KEYS:
            devices[key].wake_in(0.01, "late")
        until(lambda: all(len(devices[key].all_seen()) == 1 for key in KEYS))
        devices[KEYS[0]].wake_in(3600, "never")
        devices[KEYS[0]].sleep("woken")


def test_what_waits_for_another_object_inside_an_action_is_refused(tmp_path: Path) -> None:
    with opened(Asking, tmp_path / "data") as objects:
        for mine, other in ((KEYS[0], KEYS[1]), (KEYS[0], KEYS[-1])):
            with pytest.raises(CallInsideAction):
                objects[mine].ask(objects[other])


class Asking:
    def ask(self, other: Any) -> None:
        other.ask(self)


def test_effects_run_in_the_process_of_the_object_and_reach_all_keys(tmp_path: Path) -> None:
    with opened(Effective, tmp_path / "data") as objects:
        objects[KEYS[0]].do(objects[KEYS[-1]], objects[KEYS[1]])
        until(lambda: objects[KEYS[-1]].done() and objects[KEYS[1]].done())
        assert objects[KEYS[-1]].done() == objects[KEYS[1]].done() == [pids(objects)[0]]


class Effective:
    def __init__(self) -> None:
        self.pids: list[int] = []

    def do(self, *others: Any) -> None:
        coopy.on_commit(_mark_all, others)

    def mark(self, pid: int) -> None:
        self.pids.append(pid)

    @coopy.readonly
    def done(self) -> list[int]:
        return list(self.pids)


def _mark_all(others: Any) -> None:
    for each in others:
        each.mark(os.getpid())  # coopy: ignore[CPY101]


def test_history_and_the_past_are_asked_of_the_process_that_has_the_object(rooms: Any) -> None:
    key = KEYS[-1]
    for who in ("ann", "bob", "cid"):
        rooms[key].say(who)
    calls = rooms.history(key)
    assert [(call.method, call.args[0], call.outcome) for call in calls][:2] == [
        ("say", "ann", "returned"),
        ("say", "bob", "returned"),
    ]
    assert rooms.replay(key, calls[1].action).said == [("ann", ""), ("bob", "")]
    with pytest.raises(KeyError):
        rooms.replay("nobody", 1)


def test_objects_are_dropped_counted_and_compacted_in_all_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "FIRST_BYTES", 3 * BLOCK)
    with opened(Room, tmp_path / "data", segment_bytes=3 * BLOCK) as rooms:
        for _ in range(300):
            for key in (KEYS[0], KEYS[-1]):
                rooms[key].say("who", "x" * 500)
        rooms.passivate()
        assert rooms.status()["active"] == 0
        assert rooms.compact() > 0
        figures = {name: value for name, _, _, value in rooms.figures()}
        assert (figures["coopy_objects"], figures["coopy_objects_active"]) == (2, 0)
        assert [rooms[key].count() for key in (KEYS[0], KEYS[-1])] == [300, 300]


def test_another_opening_is_refused_and_the_same_number_finds_all_again(tmp_path: Path) -> None:
    with opened(Room, tmp_path / "data") as rooms:
        rooms[KEYS[0]].say("ann")
        rooms[KEYS[-1]].say("bob")
        with pytest.raises(DirectoryInUse):
            opened(Room, tmp_path / "data")
    with pytest.raises(UsageError, match="many objects"):
        coopy.init_system(Room, tmp_path / "data")
    for processes in (2, None):
        with opened(Room, tmp_path / "data", processes) as rooms:
            assert [rooms[key].last() for key in (KEYS[0], KEYS[-1])] == [[("ann", "")], [("bob", "")]]
            assert len(rooms.status()["processes"]) == 2
    with pytest.raises(SystemClosed):
        rooms[KEYS[0]].say("ann")
    rooms.close()


@pytest.mark.parametrize("processes", [0, -1, 65, True, "2", 1.5])
def test_what_is_no_number_of_processes_is_refused(tmp_path: Path, processes: Any) -> None:
    with pytest.raises(UsageError, match="processes="):
        opened(Room, tmp_path / "data", processes)
    assert not (tmp_path / "data").exists()


def test_one_process_is_the_layout_of_always(tmp_path: Path) -> None:
    with opened(Room, tmp_path / "data", 1) as rooms:
        rooms[KEYS[0]].say("ann")
        assert "processes" not in rooms.status()
    assert not [each for each in os.listdir(tmp_path / "data") if each.startswith("shard")]


def test_a_worker_that_is_killed_is_replaced_and_nothing_that_was_acknowledged_is_lost(rooms: Any) -> None:
    for number in range(3):
        for key in KEYS:
            assert rooms[key].say("x") == number + 1
        kill(pids(rooms)[number % 2])
    assert [rooms[key].count() for key in KEYS] == [3] * 6


def test_the_process_that_forks_is_replaced_as_well(rooms: Any) -> None:
    rooms[KEYS[0]].say("ann")
    before = pids(rooms)
    kill(rooms._directory.workers._pid)
    until(lambda: not any(map(is_alive, before)))
    assert [rooms[key].say("bob") for key in (KEYS[0], KEYS[-1])] == [2, 1]
    assert not set(pids(rooms)) & set(before)


def test_workers_end_with_their_opener_and_leave_nothing_locked(tmp_path: Path) -> None:
    ours, theirs = multiprocessing.Pipe()
    opener = multiprocessing.get_context("fork").Process(target=_open_and_wait, args=(tmp_path / "data", theirs))
    opener.start()
    workers = ours.recv()
    assert opener.pid is not None
    kill(opener.pid)
    opener.join()
    until(lambda: not any(map(is_alive, workers)))
    with opened(Room, tmp_path / "data") as rooms:
        assert [rooms[key].last() for key in (KEYS[0], KEYS[-1])] == [[("ann", "")]] * 2


def _open_and_wait(path: Path, connection: Any) -> None:
    rooms = opened(Room, path)
    rooms[KEYS[0]].say("ann")
    rooms[KEYS[-1]].say("ann")
    connection.send([*pids(rooms), rooms._directory.workers._pid])
    threading.Event().wait()


def test_workers_end_when_the_objects_are_closed_or_forgotten(tmp_path: Path) -> None:
    rooms = opened(Room, tmp_path / "data")
    workers = [*pids(rooms), rooms._directory.workers._pid]
    rooms.close()
    assert not any(map(is_alive, workers))
    rooms = opened(Room, tmp_path / "data")
    rooms[KEYS[0]].say("ann")
    workers = pids(rooms)
    del rooms
    import gc

    gc.collect()
    until(lambda: not any(map(is_alive, workers)))
    with opened(Room, tmp_path / "data") as rooms:
        assert rooms[KEYS[0]].last() == [("ann", "")]


def test_a_forked_child_calls_the_objects_of_its_parent_and_ends_nothing(rooms: Any) -> None:
    rooms[KEYS[0]].say("ann")
    child = os.fork()
    if not child:
        try:
            rooms[KEYS[0]].say("child")
            rooms[KEYS[-1]].say("child")
            rooms.close()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert rooms[KEYS[0]].last() == [("ann", ""), ("child", "")]
    assert rooms[KEYS[-1]].last() == [("child", "")]


def test_a_call_that_ends_its_process_is_not_run_again_and_the_second_time_its_object_is_quarantined(tmp_path: Path) -> None:
    with opened(Mortal, tmp_path / "data") as mortals:
        bad, good = KEYS[-1], KEYS[-2]
        mortals[good].do("x")
        for _ in range(2):
            with pytest.raises(Unavailable, match="ended while it ran die"):
                mortals[bad].die("kill")
        assert list(mortals.quarantined()) == [bad] and not mortals.of(Other).quarantined()
        with pytest.raises(Quarantined, match="has ended the process twice"):
            mortals[bad].do("x")
        assert mortals[good].do("y") == 2
        mortals.release(bad)
        assert mortals[bad].do("x") == 1
        with pytest.raises(KeyError):
            mortals.release(bad)


class _Dying:
    """Has the process end that has recorded a call, before it answers: once."""

    def __init__(self, flag: Path) -> None:
        self.flag = flag
        self.answer = Serving._answer_when_settled

    def __call__(self, serving: Any, index: int, calls: Any) -> None:
        if self.flag.exists():
            self.flag.unlink()
            serving._engine.settle(index)
            os.kill(os.getpid(), signal.SIGKILL)
        self.answer(serving, index, calls)


@pytest.fixture
def flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """While there is this file, the next process that has recorded something ends before it answers."""
    dying = _Dying(tmp_path / "flag")
    monkeypatch.setattr(Serving, "_answer_when_settled", lambda *args: dying(*args))
    return dying.flag


@pytest.mark.parametrize("is_new", [True, False])
def test_a_call_whose_process_ended_before_it_answered_is_answered_by_the_next(
    tmp_path: Path, flag: Path, is_new: bool
) -> None:
    with opened(Room, tmp_path / "data") as rooms:
        for key, ask in (
            (KEYS[0], lambda room: room.say("bob")),
            (KEYS[-1], lambda room: room.draw()),
            (KEYS[1], lambda room: room.itself()),
            (KEYS[2], lambda room: room.numbers()),
        ):
            if not is_new:
                rooms[key].say("ann")
                rooms[key].draw()
            before = pids(rooms)
            flag.touch()
            found = ask(rooms[key])
            assert not flag.exists() and pids(rooms) != before
            assert len(rooms.history(key)) == 1 + 2 * (not is_new), "it is there once"
            if key == KEYS[0]:
                assert found == 1 + 2 * (not is_new)
            elif key == KEYS[-1]:
                assert rooms[key].last(1) == [found]
            elif key == KEYS[1]:
                assert found == rooms[key]
            else:
                assert list(found) == list(range(2 * (not is_new)))


def test_what_a_call_raised_or_deleted_before_its_process_ended_is_told_by_the_next(tmp_path: Path, flag: Path) -> None:
    with opened(Room, tmp_path / "data") as rooms:
        rooms[KEYS[-1]].say("ann")
        flag.touch()
        with pytest.raises(ValueError, match="ouch"):
            rooms[KEYS[-1]].fail("ouch")
        assert [call.method for call in rooms.history(KEYS[-1])] == ["say", "fail"]
        flag.touch()
        with pytest.raises(ValueError, match="never"):
            rooms[KEYS[-1]].undo("never")
        assert rooms[KEYS[-1]].last() == [("ann", ""), "ouch"]
        flag.touch()
        del rooms[KEYS[-1]]
        assert not flag.exists() and KEYS[-1] not in rooms


def test_calls_of_a_loop_whose_process_ended_before_it_answered_are_answered_by_the_next(tmp_path: Path, flag: Path) -> None:
    async def scene() -> None:
        async with aio.objects(Room, tmp_path / "data", processes=2, **OPTIONS) as rooms:
            await asyncio.gather(*(rooms[key].say("ann") for key in KEYS))
            flag.touch()
            assert await asyncio.gather(*(rooms[key].say("bob") for key in KEYS)) == [2] * 6
            assert not flag.exists()
            assert await asyncio.gather(*(rooms[key].count() for key in KEYS)) == [2] * 6

    asyncio.run(scene())


def test_an_action_that_told_something_before_its_process_ended_has_told_it_once(tmp_path: Path, flag: Path) -> None:
    with opened(Device, tmp_path / "data") as devices:
        flag.touch()
        devices[KEYS[0]].report(KEYS[-1], "a", "b")
        assert not flag.exists()
        devices.catch_up()
        sites = devices.of(Site)
        assert sites.replay(KEYS[-1], sites.history(KEYS[-1])[-1].action).reports == [(KEYS[0], "a"), (KEYS[0], "b")]


def test_check_looks_in_all_processes(tmp_path: Path) -> None:
    with opened(Unrepeatable, tmp_path / "data", check=True) as objects:
        for key in (KEYS[0], KEYS[-1]):
            objects[key].fine()
            with pytest.raises(NotRepeatable):
                objects[key].draw()


class Unrepeatable:
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def fine(self) -> None:
        self.seen.append(1)

    def draw(self) -> None:
        self.seen.append(os.urandom(8))  # coopy: ignore[CPY101]


def test_a_shard_that_can_not_be_opened_is_said_where_the_objects_are(tmp_path: Path) -> None:
    with opened(Room, tmp_path / "data") as rooms:
        rooms[KEYS[-1]].say("ann")
    found = manifest.read(Calls(), str(tmp_path / "data"), with_objects=True)
    assert found is not None and found.shards == (1, 2)
    (tmp_path / "data" / "shard-1-1" / "coopy.json").write_text("{}")
    with pytest.raises(coopy.StorageError, match="shard-1-1"):
        opened(Room, tmp_path / "data")


def test_ledgers_of_all_processes_tell_their_echoes(tmp_path: Path) -> None:
    with opened(Ledger, tmp_path / "data") as ledgers:
        for key in KEYS:
            ledgers[key].add("1", "")
        ledgers.catch_up()
        assert ledgers.of(Echo).keys() == sorted(KEYS)
