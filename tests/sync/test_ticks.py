"""Counted time: what ticks and claims do, and a small world in which everything that may happen to them does."""

from __future__ import annotations

import doctest
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from coopy.sync import ticks as ticks_module
from coopy.sync.ticks import Ticks
from coopy.testing import memory_system

S = 1_000_000_000
HOUR = 3600 * S


def counting(*leases: tuple[str, int]) -> Ticks:
    """Returns ticks with leases, kept by "me"."""
    ticks = Ticks()
    for key, ttl_ns in leases:
        ticks.begin(key, ttl_ns)
    ticks.claim("me", ticks.beat)
    return ticks


def pass_time(ticks: Ticks, ns: int) -> list[str]:
    """Ticks as a timekeeper does that is never late, and returns what has ended."""
    ended = []
    while ns > 0 and len(ticks):
        step = min(ns, ticks.interval_ns)
        ended += ticks.tick(ticks.timekeeper, ticks.beat, step)
        ns -= step
    return ended


def test_the_example_shows_what_happens() -> None:
    assert not doctest.testmod(ticks_module).failed


def test_a_tick_counts_one_interval_at_most_and_time_never_goes_back() -> None:
    ticks = counting(("a", 8 * S))
    ticks.tick("me", ticks.beat, HOUR)
    assert ticks.now == S
    ticks.tick("me", ticks.beat, -HOUR)
    assert ticks.now == S


@pytest.mark.parametrize(
    ("timekeeper", "behind"),
    [("another", 0), ("me", 1), ("me", -1), ("", 0)],
    ids=["another", "old beat", "beat to come", "nobody"],
)
def test_a_tick_of_another_timekeeper_or_of_another_beat_does_nothing(timekeeper: str, behind: int) -> None:
    ticks = counting(("a", 8 * S))
    before = ticks.count()
    assert ticks.tick(timekeeper, ticks.beat - behind, S) == []
    assert ticks.count() == before and ticks.now == 0


def test_a_tick_that_comes_twice_counts_once() -> None:
    ticks = counting(("a", 8 * S))
    beat = ticks.beat
    ticks.tick("me", beat, S)
    ticks.tick("me", beat, S)
    assert ticks.now == S


def test_no_time_is_counted_without_leases() -> None:
    ticks = counting()
    assert ticks.count()[3:] == (0, 0)
    assert ticks.tick("me", ticks.beat, S) == [] and ticks.now == 0


def test_a_tick_measured_for_leases_that_are_gone_does_not_count_for_the_next() -> None:
    ticks = counting(("a", 8 * S))
    beat = ticks.beat
    ticks.end("a")
    ticks.begin("b", 8 * S)
    assert ticks.tick("me", beat, S) == [] and ticks.left_ns("b") == 8 * S


def test_a_claim_is_refused_if_time_was_counted_since_and_made_once() -> None:
    ticks = counting(("a", 8 * S))
    beat = ticks.beat
    ticks.tick("me", beat, S)
    assert not ticks.claim("another", beat)
    beat = ticks.beat
    assert ticks.claim("another", beat) and not ticks.claim("third", beat)
    assert (ticks.timekeeper, ticks.epoch) == ("another", 2)


def test_a_claim_gives_every_lease_its_full_time_again() -> None:
    ticks = counting(("a", 8 * S), ("b", 16 * S))
    pass_time(ticks, 7 * S)
    ticks.claim("another", ticks.beat)
    assert (ticks.left_ns("a"), ticks.left_ns("b")) == (8 * S, 16 * S)
    assert ticks.tick("me", ticks.beat, S) == []
    assert pass_time(ticks, 16 * S) == ["a", "b"]


def test_a_lease_that_begins_while_time_is_counted_is_longer_by_a_tick() -> None:
    ticks = counting(("a", 8 * S))
    ticks.begin("b", 16 * S)
    assert (ticks.left_ns("a"), ticks.left_ns("b")) == (8 * S, 18 * S)
    assert ticks.renew("a") and ticks.left_ns("a") == 9 * S


def test_leases_end_in_the_order_of_their_deadlines_and_of_their_beginnings() -> None:
    ticks = counting(("late", 9 * S), ("second", 8 * S), ("third", 8 * S))
    ticks.end("third")
    ticks.begin("zero", 1 * S)
    ticks.begin("third", 7 * S + S // 8)
    assert pass_time(ticks, 20 * S) == ["zero", "second", "third", "late"]
    assert len(ticks) == 0 and ticks.interval_ns == 0


def test_what_has_ended_is_not_renewed() -> None:
    ticks = counting(("a", 8 * S))
    pass_time(ticks, 8 * S)
    assert not ticks.renew("a") and not ticks.end("a") and "a" not in ticks and ticks.left_ns("a") == 0


@pytest.mark.parametrize("ttl_ns", [0, -1, 1.5, True, None, float("inf")])
def test_a_lease_of_no_length_is_refused_and_changes_nothing(ttl_ns: int) -> None:
    ticks = Ticks()
    with pytest.raises(ValueError, match="Nothing has changed"):
        ticks.begin("a", ttl_ns)
    assert len(ticks) == 0 and ticks.count() == (("", 0, 0, 0, 0))


def test_with_more_ticks_a_lease_is_longer_than_it_must_be_by_less() -> None:
    for per_lease in (2, 8, 32):
        ticks = Ticks(per_lease)
        ticks.begin("a", 32 * S)
        ticks.begin("b", 32 * S)
        assert ticks.interval_ns == 32 * S // per_lease
        assert ticks.left_ns("b") == 32 * S + ticks.interval_ns


def test_the_interval_is_an_eighth_of_the_shortest_lease_that_is_there() -> None:
    ticks = counting(("a", 80), ("b", 160), ("c", 80))
    ticks.end("a")
    assert ticks.interval_ns == 10
    ticks.end("c")
    assert ticks.interval_ns == 20
    ticks.begin("b", 8)
    assert ticks.interval_ns == 1
    ticks.begin("b", 3)
    assert ticks.interval_ns == 1, "a tick counts something, or nothing would ever end"


def test_ticks_are_a_system_of_their_own_if_need_be() -> None:
    ticks = memory_system(Ticks)
    ticks.begin("a", 8)
    ticks.claim("me", ticks.beat)
    assert [ticks.tick("me", ticks.beat, 1) for _ in range(8)][-1] == ["a"]


# -- the small world


ANEW, GOES_ON = CLAIMS = -1, -2
"""In place of what was measured: a claim that gives leases their full time, and one that does not."""


class Seen(NamedTuple):
    """What a process knows: whether it has seen the newest beat, and how long ago it saw it."""

    newest: bool
    ago: int


class World(NamedTuple):
    """All that matters for what may come. Beats are told apart only by whether they are the newest one."""

    leases: tuple[tuple[str, int, int, int], ...]
    """By key: length, what is left of it, and the real time since it began or was renewed."""
    timekeeper: str
    processes: tuple[tuple[str, Seen], ...]
    flying: tuple[tuple[str, int], ...]
    """Who has sent a tick of the newest beat, and how much it measured; or a claim. They come in any order, or never, or twice."""


class Small:
    """A world in which a tick is a unit of time, half of the shortest lease."""

    def __init__(self, kind: type[Ticks], lengths: dict[str, int], processes: str, flying_max: int) -> None:
        self.kind, self.lengths, self.flying_max = kind, lengths, flying_max
        self.ago_max = max(lengths.values()) // ticks_module.TICKS_PER_LEASE + 1
        self.first = World((), "", tuple((name, Seen(False, 0)) for name in processes), ())

    def ticks_of(self, world: World) -> Ticks:
        ticks = self.kind()
        ticks.timekeeper = world.timekeeper
        for key, ttl, left, _ in world.leases:
            ticks._count_length(key, ttl)
            ticks._leases[key] = ttl, left
        return ticks

    def after(self, world: World, ticks: Ticks, ages: dict[str, int]) -> World:
        """The world after an action, if its ticks were those."""
        leases = tuple((key, ttl, deadline - ticks.now, ages[key]) for key, (ttl, deadline) in ticks._leases.items())
        newest = ticks.beat == 0
        processes = world.processes if newest else tuple((name, Seen(False, 0)) for name, _ in world.processes)
        return World(leases, ticks.timekeeper, processes, world.flying if newest else ())

    def steps(self, world: World) -> Iterator[World]:
        ages = {key: age for key, _, _, age in world.leases}
        aged = tuple((key, ttl, left, min(age + 1, ttl)) for key, ttl, left, age in world.leases)
        later = tuple((name, Seen(seen.newest, min(seen.ago + seen.newest, self.ago_max))) for name, seen in world.processes)
        yield world._replace(leases=aged, processes=later)
        for place, (name, seen) in enumerate(world.processes):
            others = world.processes[:place], world.processes[place + 1 :]
            yield world._replace(processes=(*others[0], (name, Seen(True, 0)), *others[1]))
            if seen.newest and len(world.flying) < self.flying_max:
                for measured in (seen.ago, *CLAIMS):
                    yield world._replace(flying=tuple(sorted({*world.flying, (name, measured)})))
        for name, measured in world.flying:
            ticks = self.ticks_of(world)
            if measured in CLAIMS:
                ticks.claim(name, 0, measured == ANEW)
            else:
                for key in ticks.tick(name, 0, measured):
                    assert ages[key] >= self.lengths[key], f"{key} has ended after {ages[key]} of {self.lengths[key]}: {world}"
            yield self.after(world, ticks, ages)
        for key, ttl in self.lengths.items():
            ticks = self.ticks_of(world)
            ticks.begin(key, ttl)
            yield self.after(world, ticks, {**ages, key: 0})
            if key in ages:
                ticks = self.ticks_of(world)
                ticks.end(key)
                yield self.after(world, ticks, ages)

    def explore(self) -> tuple[int, int]:
        """Goes everywhere. Returns how many worlds there are, and in how many a lease has just ended by a tick."""
        known, todo, ended = {self.first}, [self.first], 0
        while todo:
            world = todo.pop()
            for following in self.steps(world):
                ended += len(following.leases) < len(world.leases) and following.timekeeper != ""
                if following not in known:
                    known.add(following)
                    todo.append(following)
        return len(known), ended


@pytest.fixture
def two_ticks_a_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few ticks make a world small enough to go everywhere in it."""
    monkeypatch.setattr(ticks_module, "TICKS_PER_LEASE", 2)


WORLDS: list[tuple[dict[str, int], str, int]] = [({"a": 4}, "xy", 1), ({"a": 2, "b": 4}, "x", 1)]
LARGE: list[tuple[dict[str, int], str, int]] = [({"a": 4}, "xy", 2)]


@pytest.mark.usefixtures("two_ticks_a_lease")
@pytest.mark.parametrize(
    ("lengths", "processes", "flying_max"), [*WORLDS, *(pytest.param(*each, marks=pytest.mark.slow) for each in LARGE)]
)
def test_whatever_happens_no_lease_ends_before_its_time(lengths: dict[str, int], processes: str, flying_max: int) -> None:
    worlds, ended = Small(Ticks, lengths, processes, flying_max).explore()
    assert worlds > 500 and ended > 50, "the world is large enough to mean something"


class NoSlack(Ticks):
    """A lease is not longer by a tick."""

    def begin(self, key: str, ttl_ns: int) -> None:
        super().begin(key, ttl_ns)
        self._leases[key] = ttl_ns, self.now + ttl_ns


class NoBound(Ticks):
    """A tick counts all that was measured."""

    @property
    def interval_ns(self) -> int:
        return 10**9


class AnyBeat(Ticks):
    """A tick counts from whatever beat it was measured."""

    def begin(self, key: str, ttl_ns: int) -> None:
        before = self.beat
        super().begin(key, ttl_ns)
        self.beat = before  # As if the first lease were no beat: what was measured for those before it counts.


class KeepsTime(Ticks):
    """A claim does not give leases their time again, and takes the slack from them that a tick before it may have needed."""

    def claim(self, timekeeper: str, beat: int, anew: bool = True) -> bool:
        slack = {key: ttl // ticks_module.TICKS_PER_LEASE for key, (ttl, _) in self._leases.items()}
        before = {key: (ttl, max(self.now, deadline - slack[key])) for key, (ttl, deadline) in self._leases.items()}
        claimed = super().claim(timekeeper, beat)
        if claimed:
            self._leases = before
        return claimed


@pytest.mark.usefixtures("two_ticks_a_lease")
@pytest.mark.parametrize("kind", [NoSlack, NoBound, AnyBeat, KeepsTime])
def test_the_small_world_notices_each_rule_that_is_left_out(kind: type[Ticks]) -> None:
    with pytest.raises(AssertionError, match="has ended after"):
        Small(kind, *WORLDS[0]).explore()
