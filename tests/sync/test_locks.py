"""Locks as a state: who holds what, in the order of the log and by counted time."""

from __future__ import annotations

import doctest
import importlib
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from program import environment, write

from coopy import UsageError, action_index, close_all, control, init_system, readonly
from coopy.determinism.check import validate
from coopy.errors import LockLost
from coopy.sync import Lock
from coopy.sync.locks import Locks
from coopy.testing import memory_system

S = 1_000_000_000


def pass_time(locks: Any, seconds: float) -> list[str]:
    """Ticks as a timekeeper that is never late. Returns the sessions that have ended."""
    count, ended, left = locks.count(), [], round(seconds * S)
    if count.timekeeper != "test":
        locks.claim("test", count.beat)
    while left > 0 and locks.count().interval_ns:
        count = locks.count()
        step = min(left, count.interval_ns)
        ended += locks.tick("test", count.beat, step)
        left -= step
    return ended


@pytest.mark.parametrize("name", ["ticks", "locks", "lock", "election", "fenced", "gates", "party"])
def test_the_examples_of_a_module_show_what_happens(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        failed, tried = doctest.testmod(importlib.import_module(f"coopy.sync.{name}"), optionflags=doctest.ELLIPSIS)
    finally:
        close_all()
    assert tried and not failed


# -- one holder, in order, with larger and larger tokens


def test_a_lock_has_one_holder_and_goes_to_the_next_who_waits_in_the_same_action() -> None:
    locks = memory_system(Locks)
    first = locks.acquire("stock", "a")
    assert (locks.acquire("stock", "b", wait=True), locks.acquire("stock", "c", wait=True)) == (0, 0)
    before = control(locks).index
    assert locks.release("stock", first)
    assert control(locks).index == before + 1
    assert locks.held() == {"stock": {"b": before + 1}} and locks.contenders("stock") == ["b", "c"]


def test_a_token_is_the_index_of_the_action_that_gives_the_lock() -> None:
    locks = memory_system(Locks)
    tokens = []
    for owner in "abc":
        tokens.append(locks.acquire("stock", owner))
        assert tokens[-1] == control(locks).index
        locks.release("stock", tokens[-1])
    assert tokens == [1, 3, 5]


def test_tokens_that_one_action_gives_differ_and_later_ones_are_larger() -> None:
    locks = memory_system(Locks)
    for name in ("x", "y"):
        locks.acquire(name, f"{name}1", session="dead", ttl=1)
        locks.acquire(name, f"{name}2", ttl=100, wait=True)
    assert pass_time(locks, 2) == ["dead"]
    found = [locks.token(name, f"{name}2") for name in ("x", "y")]
    assert found[0] < found[1] and found[0] <= control(locks).index
    assert locks.acquire("z", "z1") > found[1]


def test_an_action_index_is_that_of_the_action_and_none_in_a_read() -> None:
    class Asks:
        def __init__(self) -> None:
            self.seen: list[int] = []

        def ask(self) -> int:
            self.seen.append(action_index())
            return action_index()

        @readonly
        def look(self) -> int:
            return action_index()

    system = memory_system(Asks)
    assert [system.ask(), system.ask(), system.look(), action_index()] == [1, 2, 0, 0]
    assert control(system).replay(1).seen == [1]


def test_who_asks_again_keeps_what_it_has() -> None:
    locks = memory_system(Locks)
    token = locks.acquire("stock", "a")
    assert locks.acquire("stock", "a") == token
    locks.acquire("stock", "b", wait=True)
    locks.acquire("stock", "c", wait=True)
    assert locks.acquire("stock", "b", wait=True) == 0 and locks.contenders("stock") == ["a", "b", "c"]


def test_one_who_does_not_wait_leaves_nothing_behind() -> None:
    locks = memory_system(Locks)
    locks.acquire("stock", "a", ttl=15)
    assert locks.acquire("stock", "b", ttl=1) == 0
    assert locks.place("b") == -1 and locks.count().interval_ns == 15 * S // 8
    assert locks.contenders("stock") == ["a"] and locks.contenders("nothing") == []


def test_a_release_with_an_old_token_does_nothing_and_says_so() -> None:
    locks = memory_system(Locks)
    first = locks.acquire("stock", "a")
    assert locks.release("stock", first) is True
    second = locks.acquire("stock", "b")
    for token in (first, 0, -1, second + 1):
        assert locks.release("stock", token) is False
    assert locks.release("nothing", second) is False and locks.token("stock", "b") == second


def test_who_leaves_loses_the_place_and_who_got_the_lock_meanwhile_is_told() -> None:
    locks = memory_system(Locks)
    first = locks.acquire("stock", "a")
    for owner in "bc":
        locks.acquire("stock", owner, wait=True)
    assert locks.leave("b") == 0 and locks.leave("b") == -1
    locks.release("stock", first)
    token = locks.token("stock", "c")
    assert locks.leave("c") == token > first and locks.token("stock", "c") == token
    assert locks.drop("c") and not locks.drop("c") and locks.held() == {}


def test_several_may_hold_a_lock_that_says_so() -> None:
    locks = memory_system(Locks)
    tokens = [locks.acquire("seats", owner, wait=True, limit=2) for owner in "abcd"]
    assert [bool(token) for token in tokens] == [True, True, False, False]
    locks.release("seats", tokens[1])
    assert list(locks.held()["seats"]) == ["a", "c"]
    with pytest.raises(UsageError, match="2 at once, and not by 1"):
        locks.acquire("seats", "e")


def test_the_owner_of_a_method_is_fenced_in_its_own_action() -> None:
    locks = memory_system(Locks)
    first = locks.acquire("stock", "a")
    locks.fence("stock", first)
    locks.release("stock", first)
    second = locks.acquire("stock", "b")
    for name, token in (("stock", first), ("nothing", second), ("stock", 0)):
        with pytest.raises(LockLost) as told:
            locks.fence(name, token)
        assert (told.value.name, told.value.token) == (name, token)


# -- sessions and time


def test_a_lock_is_not_free_before_its_time_and_is_after_one_tick_more() -> None:
    locks = memory_system(Locks)
    locks.acquire("other", "x", ttl=800)
    locks.claim("test", locks.count().beat)
    locks.acquire("stock", "a", ttl=8)
    locks.acquire("stock", "b", ttl=800, wait=True)
    assert pass_time(locks, 8.9) == []
    assert pass_time(locks, 0.1) == ["a"] and locks.token("stock", "b")


def test_renewing_keeps_a_session_and_all_that_it_holds() -> None:
    locks = memory_system(Locks)
    tokens = {owner: locks.acquire(owner, owner, "process", ttl=8) for owner in "xy"}
    locks.acquire("x", "w", "process", ttl=8, wait=True)
    for _ in range(5):
        assert pass_time(locks, 6) == []
        assert locks.renew("process") == {**tokens, "w": 0}
    assert pass_time(locks, 9) == ["process"]
    assert locks.renew("process") is None and locks.held() == {} and locks.count().interval_ns == 0


def test_renewing_takes_out_whom_nobody_knows_any_more() -> None:
    locks = memory_system(Locks)
    locks.acquire("stock", "lost", "process")
    locks.acquire("stock", "b", "other", wait=True)
    locks.acquire("shop", "known", "process")
    assert list(locks.renew("process", ["lost", "b", "nobody"])) == ["known"], "another session's are not its own"
    assert locks.token("stock", "b")
    assert locks.renew("process", ["known"]) is None and locks.count().interval_ns, "the other session goes on"


def test_the_next_is_one_who_lives() -> None:
    locks = memory_system(Locks)
    locks.acquire("stock", "a", "dead", ttl=1)
    locks.acquire("stock", "b", "dead", ttl=1, wait=True)
    locks.acquire("stock", "c", "dead too", ttl=1, wait=True)
    locks.acquire("stock", "d", "lives", ttl=100, wait=True)
    assert pass_time(locks, 1.2) == ["dead", "dead too"]
    assert list(locks.held()["stock"]) == ["d"]


def test_a_session_that_ends_gives_everything_on() -> None:
    locks = memory_system(Locks)
    for name in "xyz":
        locks.acquire(name, f"{name}1", "process")
        locks.acquire(name, f"{name}2", "other", wait=True)
    assert locks.end("process") and not locks.end("process")
    assert locks.held() == {name: {f"{name}2": locks.token(name, f"{name}2")} for name in "xyz"}


def test_a_session_goes_with_its_last_owner_and_no_time_is_counted_any_more() -> None:
    locks = memory_system(Locks)
    token = locks.acquire("stock", "a", "process")
    assert locks.count().interval_ns
    locks.release("stock", token)
    assert not locks.count().interval_ns and locks.renew("process") is None
    assert repr(locks) == "<Locks: 0 held or waited for, by 0 sessions>"


def test_a_new_timekeeper_gives_everyone_the_full_time() -> None:
    locks = memory_system(Locks)
    locks.acquire("stock", "a", ttl=8)
    assert pass_time(locks, 7.9) == []
    assert locks.claim("another", locks.count().beat)
    assert pass_time(locks, 7.9) == [] and pass_time(locks, 0.2) == ["a"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"ttl": 0}, {"ttl": -1}, {"ttl": float("nan")}, {"ttl": float("inf")}, {"limit": 0}, {"name": ""}, {"owner": ""}, {"session": ""},
        {"name": None}, {"owner": 3}, {"owner": "a", "name": "shop"}, {"owner": "a", "session": "b"},
    ],
    ids=str,
)  # fmt: skip
def test_what_makes_no_sense_is_refused_and_changes_nothing(wrong: dict[str, Any]) -> None:
    locks = memory_system(Locks)
    locks.acquire("stock", "a")
    before = control(locks).state_digest()
    with pytest.raises(UsageError, match="Nothing has changed"):
        locks.acquire(**{"name": "stock", "owner": "new", **wrong})
    assert control(locks).state_digest()[1] == before[1]
    for call in (locks.change_locks, locks.see_locks):
        with pytest.raises(UsageError, match="must be one of"):
            call("__init__")


# -- conditions


def test_who_sleeps_has_put_the_lock_down_and_waits_again_when_woken() -> None:
    locks = memory_system(Locks)
    tokens = {}
    for owner in "ab":
        tokens[owner] = locks.acquire("stock", owner)
        assert locks.sleep("stock", tokens[owner], "news") and not locks.sleep("stock", tokens[owner], "news")
    c = locks.acquire("stock", "c")
    assert c and [locks.place(owner) for owner in "ab"] == [0, 0]
    assert (locks.wake("stock", "other", 9), locks.wake("stock", "news", 1), locks.wake("nothing", "news", 1)) == (0, 1, 0)
    assert locks.contenders("stock") == ["c", "a"]
    assert locks.rouse("b") and not locks.rouse("b") and not locks.rouse("nobody")
    locks.release("stock", c)
    assert locks.token("stock", "a") > c and locks.place("b") == 0


def test_one_who_sleeps_is_gone_with_its_session() -> None:
    locks = memory_system(Locks)
    locks.sleep("stock", locks.acquire("stock", "a", ttl=1), "news")
    assert pass_time(locks, 2) == ["a"] and locks.place("a") == -1 and locks.wake("stock", "news", 1) == 0


# -- as an attribute, on the disk, with any hash


# -- lock_delay


def test_a_lock_that_was_lost_is_given_to_nobody_for_its_delay_and_then_to_the_next_who_waits() -> None:
    locks = memory_system(Locks)
    first = locks.acquire("stock", "dies", ttl=8, lock_delay=4)
    assert locks.acquire("stock", "waits", ttl=100, wait=True) == 0
    assert pass_time(locks, 7.9) == [] and pass_time(locks, 0.1) == ["dies"]
    assert locks.held() == {} and locks.contenders("stock") == ["waits"] and locks.acquire("stock", "tries", ttl=100) == 0
    with pytest.raises(LockLost):
        locks.fence("stock", first)
    pass_time(locks, 4)
    assert locks.token("stock", "waits") == 0
    pass_time(locks, 0.5)
    assert locks.token("stock", "waits") > first and locks._withheld == {}


@pytest.mark.parametrize("end", ["release", "end", "drop", "renew without it"])
def test_a_lock_that_is_given_back_is_free_at_once_whatever_its_delay(end: str) -> None:
    locks = Locks()
    token = locks.acquire("stock", "a", "session", lock_delay=60)
    calls = {
        "release": lambda: locks.release("stock", token),
        "end": lambda: locks.end("session"),
        "drop": lambda: locks.drop("a"),
        "renew without it": lambda: locks.renew("session", ["a"]),
    }
    calls[end]()
    assert locks.acquire("stock", "b") > token and locks._withheld == {}


def test_one_who_says_that_it_has_lost_the_lock_by_its_own_clock_has_it_withheld() -> None:
    locks = Locks()
    locks.acquire("stock", "a", "session", lock_delay=4)
    locks.acquire("other", "b", "session", lock_delay=4)
    locks.renew("session", ["a", "b"], ["a"])
    assert locks.acquire("other", "c", ttl=100) and not locks.acquire("stock", "d", ttl=100)
    pass_time(locks, 3.9)
    assert not locks.acquire("stock", "e", ttl=100)
    pass_time(locks, 0.7)
    assert locks.acquire("stock", "f")


def test_one_who_waits_or_sleeps_and_is_gone_withholds_nothing_and_a_permit_only_itself() -> None:
    locks = Locks()
    locks.acquire("stock", "holds", ttl=100)
    locks.acquire("stock", "waits", "dead", ttl=1, wait=True, lock_delay=50)
    locks.sleep("news", locks.acquire("news", "sleeps", "dead", ttl=1, lock_delay=50), "news")
    locks.acquire("seats", "one", "dead", ttl=1, limit=2, lock_delay=50)
    assert pass_time(locks, 1.3) == ["dead"]
    assert locks.contenders("stock") == ["holds"] and locks.acquire("news", "a", ttl=100)
    assert locks.acquire("seats", "b", ttl=100, limit=2) and not locks.acquire("seats", "c", ttl=100, limit=2)


def test_a_claim_gives_a_delay_its_full_time_again_and_no_jump_of_a_clock_ends_it() -> None:
    locks = Locks()
    locks.acquire("stock", "a", ttl=1, lock_delay=8)
    pass_time(locks, 5)
    locks.claim("another", locks.count().beat)
    for _ in range(7):
        locks.tick("another", locks.count().beat, 3600 * S)
        assert not locks.acquire("stock", "b", ttl=100)
    for _ in range(3):
        locks.tick("another", locks.count().beat, 3600 * S)
    assert locks.acquire("stock", "b", ttl=100)


@pytest.mark.parametrize("delay", [-1, float("inf"), float("nan")])
def test_a_delay_that_is_none_is_refused(delay: float) -> None:
    locks = memory_system(Locks)
    for make in (lambda: locks.acquire("stock", "a", lock_delay=delay), lambda: Lock("stock", system=locks, lock_delay=delay)):
        with pytest.raises(UsageError, match="lock_delay"):
            make()
    with pytest.raises(UsageError, match="must not begin"):
        locks.acquire("stock", "a", "lock_delay after b")


class Shop:
    """A class of a user, with locks inside."""

    def __init__(self) -> None:
        self.locks = Locks()
        self.stock = 0

    def change_locks(self, *change: Any) -> Any:
        return self.locks.change_locks(*change)

    @readonly
    def see_locks(self, *question: Any) -> Any:
        return self.locks.see_locks(*question)

    def fill(self, token: int) -> int:
        self.locks.fence("stock", token)
        self.stock += 1
        return self.stock


def test_locks_may_be_an_attribute_of_another_class(tmp_path: Path) -> None:
    with init_system(Shop, tmp_path / "shop", validation="strict", check=True) as shop:
        token = shop.change_locks("acquire", "stock", "a")
        assert shop.fill(token) == 1
        with pytest.raises(LockLost):
            shop.fill(token + 1)
        assert shop.see_locks("contenders", "stock") == ["a"]
        shop.change_locks("release", "stock", token)
        with pytest.raises(LockLost):
            shop.fill(token)


def test_strict_validation_finds_nothing_in_locks() -> None:
    validate(Locks, "strict")


def test_a_restart_has_the_same_holders_and_tokens(tmp_path: Path) -> None:
    with init_system(Locks, tmp_path / "locks") as locks:
        locks.acquire("stock", "a", ttl=8)
        locks.acquire("stock", "b", ttl=8, wait=True)
        pass_time(locks, 3)
        before = locks.held(), locks.contenders("stock"), locks.count()
        control(locks).take_snapshot()
        locks.acquire("stock", "c", wait=True)
    with init_system(Locks, tmp_path / "locks") as locks:
        assert (locks.held(), locks.contenders("stock")[:2], locks.count()) == before
        assert locks.contenders("stock")[2:] == ["c"]


def operate(locks: Any, chance: random.Random, number: int, first: int = 0) -> list[Any]:
    """Does so many things by chance. Returns what each returned."""
    found: list[Any] = []
    for each in range(first, first + number):
        name, owner, session = (f"{kind}{chance.randrange(4)}" for kind in ("lock", "owner", "session"))
        token = locks.token(name, owner)
        calls = [
            lambda: locks.acquire(
                name,
                f"{session} {each}",
                session,
                chance.choice([1, 2, 8]),
                chance.random() < 0.7,
                1,
                chance.choice([0, 0, 0.5]),
            ),
            lambda: [locks.release(name, held) for held in list(locks.held().get(name, {}).values())],
            lambda: locks.renew(session),
            lambda: pass_time(locks, chance.random()),
            lambda: locks.end(session),
            lambda: [locks.leave(one) for one in locks.contenders(name)[1:2]],
            lambda: locks.sleep(name, next(iter(locks.held().get(name, {"": token}).values())), "news"),
            lambda: locks.wake(name, "news", 1),
            lambda: locks.arrive(name, f"{session} {each}", session, chance.choice([1, 2, 8]), chance.random() < 0.9, 3),
            lambda: [locks.drop(one) for one in locks.barrier(name)[0][1:2]],
            lambda: locks.abort(name, 3),
            lambda: locks.reset(name),
        ]
        found.append(chance.choices(calls, [8, 3, 3, 3, 1, 1, 1, 1, 6, 1, 1, 4])[0]())
    return found


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_done_a_lock_has_one_holder_and_no_lock_is_free_while_somebody_waits(seed: int) -> None:
    locks, chance = Locks(), random.Random(seed)
    largest = 0
    waited: dict[str, list[str]] = {}
    for number in range(300):
        operate(locks, chance, 1, number)
        for name, queue in locks._queues.items():
            assert len(queue.holders) + len(queue.withheld) <= 1 and (queue.holders or queue.withheld or not queue.waiting)
            assert queue.is_wanted, "what nobody wants is forgotten"
            for owner, token in queue.holders.items():
                before = waited.get(name, [])
                assert (
                    owner not in before
                    or before.index(owner) == 0
                    or all(locks.place(each) < 0 for each in before[: before.index(owner)])
                )
                assert token > 0
        tokens = [token for held in locks.held().values() for token in held.values()]
        assert len(set(tokens)) == len(tokens) and locks._last_token >= largest
        largest = max([largest, *tokens])
        waited = {name: list(queue.waiting) for name, queue in locks._queues.items()}
        for barrier in locks._barriers.values():
            assert barrier.is_wanted and len(barrier.waiting) < 3 and not (barrier.broken and barrier.waiting)
        assert {*locks._sessions, *locks._withheld} == set(locks.ticks._leases), "a session is a lease"
        assert sorted(locks._session_of) == sorted(owner for owners in locks._sessions.values() for owner in owners)


def test_nothing_depends_on_the_order_of_a_hash(tmp_path: Path) -> None:
    script = write(
        tmp_path / "hashes.py",
        """
        import random, sys
        from coopy.sync.locks import Locks
        from sync.test_locks import operate
        locks = Locks()
        print(operate(locks, random.Random(7), 2000), locks.held(), locks.count(), locks.renew("session1"))
        """,
    )
    path = os.pathsep.join((str(Path(__file__).parents[1]), environment()["PYTHONPATH"]))
    found = {
        subprocess.run(
            [sys.executable, str(script)],
            env=environment(PYTHONHASHSEED=seed, PYTHONPATH=path, TZ=zone),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        for seed, zone in (("1", "UTC"), ("2", "Asia/Tokyo"))
    }
    assert len(found) == 1 and found.pop()
