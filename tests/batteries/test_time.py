"""Caches and limits count the time of the log: the instants of actions, and nobody's clock."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from batteries.opened import memory_system

from coopy import control, init_system
from coopy.batteries import LRUCache, RateLimiter, SessionStore, TTLCache, handle
from coopy.testing import Clock, assert_replays


@pytest.fixture
def clock() -> Clock:
    found = Clock()
    found.freeze()
    return found


def test_an_entry_expires_by_an_action_and_not_by_a_clock(clock: Clock) -> None:
    cache = memory_system(TTLCache(ttl=60), clock=clock)
    cache["tea"] = 1
    clock.move(timedelta(days=1))
    assert cache["tea"] == 1 and len(cache) == 1, "no action has come since"
    assert cache.expire() == ["tea"] and "tea" not in cache
    assert cache.expired() == [(1, "tea")] and cache.expired(after=1) == []
    assert_replays(cache)


@pytest.mark.parametrize(
    "call",
    [
        lambda cache: cache.set("ink", 1),
        lambda cache: cache.__setitem__("ink", 1),
        lambda cache: cache.put_if_absent("tea", 2),
        lambda cache: cache.touch("tea"),
        lambda cache: cache.pop("tea"),
        lambda cache: cache.expire(),
    ],
)
def test_every_action_takes_out_what_has_expired_by_then(clock: Clock, call: Any) -> None:
    cache = memory_system(TTLCache(ttl=60), clock=clock)
    cache["tea"] = 1
    clock.move(60)
    call(cache)
    assert cache.get("tea") != 1 and cache.expired() == [(1, "tea")]


def test_an_entry_that_is_set_or_touched_gets_its_full_time_again(clock: Clock) -> None:
    cache = memory_system(TTLCache(ttl=60), clock=clock)
    cache["a"] = cache["b"] = cache["c"] = 1
    cache.set("d", 1, ttl=1000)
    clock.move(59)
    cache["a"] = 2
    assert cache.touch("b") and not cache.touch("x")
    clock.move(1)
    assert cache.expire() == ["c"] and cache.keys() == ["d", "a", "b"]
    assert cache.expires_at("a") == cache.next_expiry() == pytest.approx(clock.time() + 59)
    clock.move(59)
    assert cache.expire() == ["a", "b"] and cache.pop("d") == 1 and cache.next_expiry() is None


def test_entries_without_an_end_stay_and_the_oldest_goes_when_there_are_too_many(clock: Clock) -> None:
    cache = memory_system(TTLCache(ttl=None, maxsize=2), clock=clock)
    cache["a"], cache["b"] = 1, 2
    cache["a"] = 3
    cache["c"] = 4
    clock.move(1e9)
    assert cache.expire() == [] and cache.items() == [("a", 3), ("c", 4)]


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf")])
def test_a_time_that_is_none_is_refused(ttl: float) -> None:
    with pytest.raises(ValueError):
        TTLCache(ttl=ttl)
    with pytest.raises(ValueError):
        memory_system(TTLCache()).set("a", 1, ttl)


def test_ends_of_entries_that_were_set_again_do_not_pile_up() -> None:
    cache: TTLCache[int, int] = TTLCache()
    for number in range(5000):
        cache[number % 10] = number
    assert len(cache._ends) < 50


def test_a_handle_expires_what_is_due_while_no_calls_come(tmp_path: Path) -> None:
    with init_system(TTLCache(ttl=0.01), tmp_path) as cache:
        cache["a"] = 1
        before = control(cache).index
        with handle(cache).expiring(every=0.001):
            while cache.get("a"):
                pass
        assert control(cache).index == before + 1
        assert handle(cache).sweep() == []


def test_the_entry_that_was_used_least_recently_goes() -> None:
    cache = memory_system(LRUCache(maxsize=2))
    assert cache.set("a", 1) == cache.set("b", 2) == []
    assert cache.get("a") == 1 and cache["b"] == 2 and cache.peek("b") == 2
    assert cache.set("c", 3) == ["b"] and cache.resize(1) == ["a"] and cache.items() == [("c", 3)]
    assert (cache.get("x"), cache.get("x", 0), cache.pop("c"), cache.pop("c")) == (None, 0, 3, None)
    with pytest.raises(ValueError):
        LRUCache(0)


def test_sessions_end_when_they_are_not_used(clock: Clock) -> None:
    sessions = memory_system(SessionStore(ttl=60), clock=clock)
    ann, bob = sessions.create({"user": "ann"}), sessions.create()
    assert ann != bob and len(ann) == 43
    clock.move(59)
    assert sessions.update(ann, seen=1) and sessions.get(ann) == {"user": "ann", "seen": 1}
    clock.move(1)
    assert sessions.expire() == [bob] and not sessions.update(bob, seen=1)
    fresh = sessions.renew(ann)
    assert fresh != ann and sessions.get(ann) is None and sessions.get(fresh)["user"] == "ann"
    assert sessions.renew(ann) is None and sessions.delete(fresh) and not sessions.delete(fresh)
    assert_replays(sessions)


@pytest.mark.parametrize(
    ("rate", "per", "burst"), [(5, 1, 5), (1, 1, 1), (3, 7, 2), (0.5, 1, 4), (1000, 3600, 10), (7, 0.3, 7)]
)
def test_a_call_after_exactly_the_seconds_it_was_told_is_admitted_and_none_before(
    clock: Clock, rate: float, per: float, burst: int
) -> None:
    limit = memory_system(RateLimiter(rate, per, burst), clock=clock)
    for _ in range(40):
        wait = limit.acquire("ann")
        if wait:
            microseconds = round(wait * 1e6)
            clock.move(timedelta(microseconds=microseconds - 1))
            assert limit.acquire("ann") == 1e-6
            clock.move(timedelta(microseconds=1))
            assert limit.acquire("ann") == 0.0
    assert_replays(limit)


def test_no_window_of_time_lets_more_through_than_the_burst_and_the_rate(clock: Clock) -> None:
    limit = memory_system(RateLimiter(rate=10, per=60, burst=10), clock=clock)
    admitted = []
    for _ in range(1200):
        if limit.allow():
            admitted.append(clock.time())
        clock.move(0.5)
    for first, start in enumerate(admitted):
        assert len([at for at in admitted[first:] if at < start + 60]) <= 20
    assert len(admitted) == pytest.approx(10 + 100, abs=1)


def test_keys_have_buckets_of_their_own_and_full_ones_take_no_room(clock: Clock) -> None:
    limit = memory_system(RateLimiter(rate=1, burst=2), clock=clock)
    for number in range(1000):
        assert limit.acquire(number, tokens=2) == 0.0
        clock.move(2)
    assert len(limit) <= 64
    limit.acquire("ann", 2)
    limit.reset("ann")
    assert limit.allow("ann", 2)


@pytest.mark.parametrize("tokens", [0, -1, 3])
def test_tokens_that_are_never_there_are_refused(tokens: int) -> None:
    with pytest.raises(ValueError, match="burst=2"):
        memory_system(RateLimiter(rate=1, burst=2)).acquire("ann", tokens)


@pytest.mark.parametrize(
    "options", [{"rate": 0}, {"rate": -1}, {"rate": 1, "per": 0}, {"rate": 1, "burst": 0}, {"rate": float("inf")}]
)
def test_limits_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        RateLimiter(**options)
