"""MultiDict, Deque, Leaderboard, Ids, Semaphore, Latch and Barrier, and what else Dict and Set can do."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from threading import BrokenBarrierError

import pytest
from batteries.opened import memory_system

from coopy import control, init_system
from coopy.batteries import (
    Barrier,
    Counter,
    Deque,
    Dict,
    Ids,
    Latch,
    Leaderboard,
    List,
    MultiDict,
    Semaphore,
    Set,
    handle,
    ranks,
)
from coopy.testing import assert_replays


def test_a_dict_compares_before_it_sets() -> None:
    found = memory_system(Dict)
    assert (found.put_if_absent("a", 1), found.put_if_absent("a", 2), found["a"]) == (True, False, 1)
    assert (found.replace_if_same("a", 2, 3), found.replace_if_same("x", None, 3), found.replace_if_same("a", 1, 3)) == (
        False,
        False,
        True,
    )
    assert (found.compare_and_set("a", 3, [4]), found.remove_if_same("a", 3), found.remove_if_same("a", [4]), len(found)) == (
        True,
        False,
        True,
        0,
    )
    found.update(a=1, b=2)
    assert found.get_all(["b", "x", "a"]) == {"b": 2, "a": 1} and found.popitem() == ("b", 2)


def test_a_counter_compares_before_it_sets() -> None:
    counter = memory_system(Counter(5))
    assert (counter.compare_and_set(4, 1), counter.compare_and_set(5, 1), counter.get()) == (False, True, 1)


def test_what_raises_changes_nothing() -> None:
    for system, call in (
        (memory_system(Dict(a=1)), lambda found: found.update([("b", 2), ([], 3)])),
        (memory_system(Set("a")), lambda found: found.update(["b", []])),
        (memory_system(MultiDict([("a", 1)])), lambda found: found.extend([("b", 2), ([], 3)])),
        (memory_system(List([3, 1])), lambda found: (found.extend([2, "a"]), found.sort())),
        (memory_system(Deque([1], maxlen=1)), lambda found: found.insert(0, 2)),
    ):
        with pytest.raises((TypeError, IndexError)):
            call(system)
        assert_replays(system)
        assert len(system) == 1 or list(system) == [3, 1, 2, "a"]


def test_the_order_of_a_plain_set_that_is_passed_in_does_not_count() -> None:
    words = {"tea", "ink", "pen"}
    assert list(Set(words)) == list(List(words)) == list(Deque(words)) == ["ink", "pen", "tea"]
    assert list(Set(["tea"]) | words) == ["tea", "ink", "pen"]


def test_operators_of_a_system_give_plain_structures() -> None:
    found = memory_system(Set("ab"))
    before = control(found).index
    assert found | {"c"} == {"a", "b", "c"} and found & {"a"} == {"a"} and found - {"a"} == {"b"} and found ^ {"a"} == {"b"}
    assert (
        {"c"} | found == {"a", "b", "c"} and found < {"a", "b", "c"} and found == {"a", "b"} and control(found).index == before
    )
    found |= {"c"}
    assert list(found) == ["a", "b", "c"] and control(found).index == before + 1


def test_a_deque_turns_and_keeps_its_length(tmp_path: Path) -> None:
    with init_system(Deque([1, 2, 3], maxlen=3), tmp_path) as found:
        found.rotate()
        found.append(4)
        found.appendleft(0)
        assert (list(found), found.maxlen, found.peek(), found.peekleft()) == ([0, 1, 2], 3, 2, 0)
        found.resize(2)
        found.extend(found)
        assert list(found) == [1, 2]
        found.resize(None)
        found.extend("ab")
    with init_system(Deque, tmp_path) as found:
        assert list(found) == [1, 2, "a", "b"]


def test_a_multidict_has_several_values_for_a_key() -> None:
    found = memory_system(MultiDict([("a", 1), ("b", 2), ("a", 3)]))
    assert (found["a"], found.getone("a"), found.get("x"), found.getall("x"), len(found), found.count("a")) == (
        [1, 3],
        1,
        None,
        [],
        3,
        2,
    )
    assert (found.keys(), found.values(), found.contains("a", 3)) == (["a", "b"], [1, 3, 2], True)
    assert found.popone("a") == 1 and found.remove("a", 9) is False and found.remove("a", 3) and "a" not in found
    found.set("c", [4, 5])
    found.set("b", [])
    assert found.rawData() == {"c": [4, 5]} and found.popall("c") == [4, 5] and len(found) == 0
    with pytest.raises(KeyError):
        found.popone("c")


def test_members_of_a_leaderboard_with_equal_scores_stand_in_the_order_in_which_they_had_them() -> None:
    board = memory_system(Leaderboard)
    for name, score in (("ann", 5), ("bob", 7), ("eve", 5), ("ann", 5), ("dan", 5)):
        board.set(name, score)
    assert [name for name, _ in board.top()] == ["bob", "ann", "eve", "dan"] == list(board)
    board.add("eve", 1)
    board.add("eve", -1)
    assert (board.rank("eve"), board.score("eve"), board.score("x"), board.between(2, 3)) == (
        4,
        5,
        None,
        [("ann", 5), ("dan", 5)],
    )
    assert board.around("bob", 1) == [(1, "bob", 7), (2, "ann", 5)] and board.remove("bob") == 7 and len(board) == 3
    board.discard("bob")
    with pytest.raises(KeyError):
        board.rank("bob")
    with pytest.raises(ValueError):
        board.set("ann", float("nan"))
    with pytest.raises(TypeError):
        board.set("ann", "many")
    assert_replays(board)


def test_without_sortedcontainers_a_leaderboard_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "SortedDict", None)
    with pytest.raises(ImportError, match=r"coopy\[batteries\]"):
        Leaderboard()


def test_a_thousand_ids_are_one_action(tmp_path: Path) -> None:
    with init_system(Ids, tmp_path) as ids:
        numbers = handle(ids)
        found: list[int] = []
        threads = [threading.Thread(target=lambda: found.extend(numbers.new() for _ in range(250))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(found) == list(range(1, 1001)) and control(ids).index == 1
        assert next(iter(handle(ids))) == 1001
    with init_system(Ids, tmp_path) as ids:
        assert (ids.new(), ids.reserve(2), ids.last()) == (2001, range(2002, 2004), 2003)


def test_permits_belong_to_their_owner() -> None:
    seats = memory_system(Semaphore(3))
    assert seats.acquire("ann", 2) and not seats.acquire("bob", 2) and seats.acquire("bob") and seats.available() == 0
    with pytest.raises(ValueError, match="holds 1 permits"):
        seats.release("bob", 2)
    with pytest.raises(ValueError):
        seats.release("eve")
    assert (seats.held("ann"), seats.release_all("ann"), seats.release_all("ann"), seats.holders()) == (2, 2, 0, {"bob": 1})
    seats.resize(1)
    assert not seats.acquire("ann") and seats.release("bob") == 1


def test_a_handle_waits_for_a_permit() -> None:
    seats = memory_system(Semaphore(1))
    with handle(seats).permit("ann"):
        assert not handle(seats).acquire("bob", timeout=0.01)
        with pytest.raises(TimeoutError), handle(seats).permit("bob", timeout=0):
            pass
        waiting = threading.Thread(target=lambda: handle(seats).acquire("bob", timeout=30))
        waiting.start()
    waiting.join()
    assert seats.holders() == {"bob": 1}


def test_a_latch_opens_once() -> None:
    latch = memory_system(Latch(2))
    assert not handle(latch).wait(timeout=0)
    waiting = threading.Thread(target=lambda: handle(latch).wait(timeout=30))
    waiting.start()
    assert latch.count_down() == 1 and latch.count_down(5) == 0
    waiting.join()
    assert latch.is_open() and latch.count() == 0 and latch.reset(1) and not latch.reset(2) and not latch.is_open()


def test_the_last_to_arrive_lets_all_go_on() -> None:
    barrier = memory_system(Barrier(3))
    places: list[int] = []
    threads = [threading.Thread(target=lambda: places.append(handle(barrier).wait(timeout=30))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(places) == [0, 0, 1, 1, 2, 2] and barrier.n_waiting == 0 and not barrier.broken


def test_who_does_not_wait_breaks_the_barrier_for_the_others() -> None:
    barrier = memory_system(Barrier(2))
    with pytest.raises(BrokenBarrierError):
        handle(barrier).wait(timeout=0.01)
    assert barrier.broken
    with pytest.raises(BrokenBarrierError):
        handle(barrier).wait()
    barrier.reset()
    round, place = barrier.arrive("ann")
    assert (place, barrier.waiting(), barrier.state_of(round)) == (0, ["ann"], "waiting")
    barrier.reset()
    assert (barrier.state_of(round), barrier.broken, barrier.leave(round, place)) == ("broken", False, False)
    first, second = barrier.arrive(), barrier.arrive()
    assert barrier.state_of(first[0]) == barrier.state_of(second[0]) == "passed" and not barrier.leave(*first)


def test_a_structure_that_was_restored_goes_on_where_it_was(tmp_path: Path) -> None:
    with init_system(Barrier(2), tmp_path) as barrier:
        arrived = barrier.arrive("ann")
        control(barrier).take_snapshot()
    with init_system(Barrier, tmp_path) as barrier:
        barrier.arrive("bob")
        assert barrier.state_of(arrived[0]) == "passed"


# What waits and what listens stands on the tap, and on nothing else that is not public.
ON_THE_TAP = {"waiters.py": {"coopy.ground.bell"}}
ON_THE_TAP["waiting.py"] = {"coopy.control", "coopy.ground.bell"}
ON_THE_TAP["watching.py"] = {
    "coopy.control",
    "coopy.errors",
    "coopy.ground.bell",
    "coopy.ground.log",
    "coopy.ground.raised",
    "coopy.spine.facts",
}
ON_THE_TAP["locks.py"] = {"coopy.sync"}  # It is public.


def test_nothing_of_the_package_is_private_to_the_structures() -> None:
    for path in Path(sys.modules["coopy.batteries"].__file__ or "").parent.glob("*.py"):
        imported = {line.split()[1] for line in path.read_text().splitlines() if line.startswith("from coopy")}
        private = {name for name in imported if not name.startswith("coopy.batteries")} - {"coopy"}
        assert private <= ON_THE_TAP.get(path.name, set()), path.name
