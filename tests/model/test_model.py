"""A system beside a plain object of the same class: whatever is done to both, they agree.

Hypothesis makes up the history: calls of every kind, calls that raise, snapshots, closing and
reopening, crashes, pruning, time travel. The plain object is the model; what the engine promises
beyond running its methods (withdrawal, copies of arguments, instants) is spelled out in the
rules below.

A crash is a copy of the directory as it is while the system is open, which is what kill -9 leaves.
Time is the test's own, so that actions share an instant and the machine's clock goes back now and then.

COOPY_MODEL_EXAMPLES is the number of histories. With it they are random, and COOPY_MODEL_SEED is
the seed of all of them; without it every run has the same few.
"""

from __future__ import annotations

import copy
import os
import random
import shutil
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

import coopy
import coopy.spine.engine
from coopy import EncodingError, PrunedPast, SystemClosed, abort_exception, control, init_system, readonly, transactional
from coopy.disk import child, directory, journal
from coopy.disk.segment import BLOCK

EXAMPLES = int(os.environ.get("COOPY_MODEL_EXAMPLES", "0"))
SEED = int(os.environ.get("COOPY_MODEL_SEED", random.SystemRandom().randrange(1 << 32)))
FIRST_EXAMPLES = 15
STEPS = 35
SEGMENT_BYTES = 3 * BLOCK
PASSING_NS = (0, 1000, 1, 3_000_000_000, -1_000_000, 999, 0, 2_000_000)
MOMENT_NS = 4_102_444_800 * 10**9  # 2100: later than the machine's own time, which dates the first snapshot.
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Refused(Exception):
    pass


class Tag:
    """An argument of a class of our own, which is its own key."""

    def __init__(self, name: str, weight: int) -> None:
        self.name = name
        self.weight = weight

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tag) and (self.name, self.weight) == (other.name, other.weight)

    def __hash__(self) -> int:
        return hash((self.name, self.weight))

    def __repr__(self) -> str:
        return f"Tag({self.name!r}, {self.weight})"


class Depot:
    """One method of every kind. Outside a system its clock and env are given to it."""

    _clock: Any
    _env: Any

    def __init__(self) -> None:
        self.shelves: dict[str, list[Any]] = {}
        self.taken: list[Any] = []
        self.stamps: list[tuple[Any, ...]] = []
        self.colours: dict[str, Any] = {}
        self.mood: Any = None

    def put(self, shelf: str, thing: Any) -> int:
        self.shelves.setdefault(shelf, []).append(thing)
        return len(self.shelves[shelf])

    def put_and_refuse(self, shelf: str, thing: Any) -> None:
        self.put(shelf, thing)
        raise Refused(shelf)

    def move(self, one: str, other: str) -> int:
        """Calls its own methods, marked ones too."""
        return self.put(other, self.drop(one))

    @abort_exception
    def drop(self, shelf: str) -> Any:
        """Raises before it changes anything, if it raises."""
        if not self.shelves.get(shelf):
            raise Refused(shelf)
        return self.shelves[shelf].pop()

    @transactional
    def put_all(self, shelf: str, things: list[Any], refuse: bool) -> list[int]:
        places = [self.put(shelf, thing) for thing in things]
        if refuse:
            self.taken.clear()
            raise Refused(shelf)
        return places

    def take(self, things: list[Any]) -> int:
        """Keeps and changes what it is given, in two places that are one object."""
        things.append("taken")
        self.taken = things
        self.shelves["taken"] = things
        return len(things)

    def grow(self, thing: Any) -> int:
        self.taken.append(thing)
        return len(self.taken)

    def stamp(self, note: str) -> tuple[Any, ...]:
        self.stamps.append(
            (
                note,
                self._clock.now(),
                self._clock.now(timezone.utc),
                self._clock.time(),
                self._env.random(),
                self._env.getrandbits(70),
                self._env.choice(range(1000)),
            )
        )
        return self.stamps[-1]

    def paint(self, shelf: str, colour: str = "grey", *more: Any, **coats: Any) -> int:
        self.colours[shelf] = (colour, more, coats)
        return len(self.colours)

    def weigh(self, tags: set[Tag], first: Tag, of: dict[Tag, Any] | None = None) -> int:
        self.shelves["weighed"] = sorted(tags, key=repr) + [first, first in tags, of]
        return sum(tag.weight for tag in tags)

    def load(self, shelf: str, data: bytes) -> int:
        return self.put(shelf, (len(data), zlib.crc32(data)))

    def count_down(self, number: int) -> Iterator[int]:
        for left in range(number, 0, -1):
            self.put("counted", left)
            yield left

    def interrupted(self, shelf: str, thing: Any) -> int:
        self.put(shelf, thing)
        if armed:
            raise armed.pop()
        return self.put(shelf, thing)

    def __setitem__(self, shelf: str, things: list[Any]) -> None:
        self.shelves[shelf] = things

    @readonly
    def look(self, shelf: str) -> list[Any]:
        if shelf not in self.shelves:
            raise Refused(shelf)
        return list(self.shelves[shelf])

    @readonly
    def picture(self) -> str:
        """All of the state; what compares equal but is not the same, such as 1 and True, differs in it."""
        return repr((self.shelves, self.taken, self.stamps, self.colours, self.mood))


armed: list[BaseException] = []


class Answers:
    """The clock and the env of the model: they answer what they are told to."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)

    def answer(self, *_: Any) -> Any:
        return self._answers.pop(0)

    now = time = random = getrandbits = choice = answer


def outcome_of(function: Callable[[], Any]) -> tuple[str, str]:
    """How a call ended, to be compared."""
    try:
        result = function()
        return "returned", repr(list(result) if isinstance(result, Iterator) else result)
    except Exception as error:
        return "raised", repr(error)


def moment_of(instant: int) -> datetime:
    return EPOCH + timedelta(microseconds=instant // 1000)


class Time:
    """What the engine takes for the machine's time."""

    def __init__(self) -> None:
        self.ns = MOMENT_NS

    def __call__(self) -> int:
        return self.ns


shelf_names = st.sampled_from(["a", "b", "shelf " + "c" * 300])
scalars = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([1 << 31, -(1 << 70), -0.0, float("nan"), True, None, "", "\ud800", b"\0" * 300, "a", "taken"]),
)
things = st.one_of(
    scalars,
    st.tuples(scalars, scalars),
    st.lists(scalars, max_size=3),
    st.dictionaries(st.sampled_from("xyz"), scalars, max_size=2),
    st.builds(lambda make: make(), st.sampled_from([lambda: Tag("heavy", 9), lambda: {"only"}, lambda: datetime(2001, 2, 3)])),
)
tags = st.builds(Tag, st.sampled_from("xyz"), st.integers(0, 9))
sizes = st.sampled_from([10, 20_000, 32_700, 40_000, 90_000, 200_000])
options = st.fixed_dictionaries(
    {
        "durability": st.sampled_from(["sync", "buffered"]),
        "fork": st.booleans() if child.AVAILABLE else st.just(False),
        "keep": st.sampled_from([None, 1, 2]),
    }
)


class Both(RuleBasedStateMachine):
    """The live system and its model."""

    room: Path
    time: Time

    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp(dir=self.room))
        self.directories = 0
        self.model = Depot()
        self.pictures = [self.model.picture()]
        self.instants = [0]
        self.time.ns = MOMENT_NS
        self.live: Any = None

    @initialize(how=options)
    def begin(self, how: dict[str, Any]) -> None:
        self.open(how)

    def open(self, how: dict[str, Any]) -> None:
        self.how = how
        self.live = init_system(Depot, self.path, validation="off", segment_bytes=SEGMENT_BYTES, **how)

    @property
    def path(self) -> Path:
        return self.place / str(self.directories)

    @property
    def index(self) -> int:
        return len(self.pictures) - 1

    def recorded(self) -> None:
        """An action was recorded, whatever came of it."""
        self.pictures.append(self.model.picture())
        self.instants.append(max(self.instants[-1], self.time.ns))
        self.time.ns += PASSING_NS[self.index % len(PASSING_NS)]

    def act(self, name: str, *args: Any, **kwargs: Any) -> None:
        """The same call on both: it ends the same way, and the caller's arguments are left alone."""
        ours = copy.deepcopy((args, kwargs))
        before = repr((args, kwargs))
        kept = copy.deepcopy(self.model)
        expected = outcome_of(lambda: getattr(self.model, name)(*ours[0], **ours[1]))
        if expected[0] == "raised" and getattr(getattr(Depot, name), "_coopy_transactional", False):
            self.model = kept
        assert outcome_of(lambda: getattr(self.live, name)(*args, **kwargs)) == expected
        assert repr((args, kwargs)) == before, "an action has arguments of its own"
        self.recorded()

    # -- calls

    @rule(shelf=shelf_names, thing=things)
    def put(self, shelf: str, thing: Any) -> None:
        self.act("put", shelf, thing)

    @rule(shelf=shelf_names, thing=things)
    def put_and_refuse(self, shelf: str, thing: Any) -> None:
        self.act("put_and_refuse", shelf, thing)

    @rule(shelf=shelf_names)
    def drop(self, shelf: str) -> None:
        self.act("drop", shelf)

    @rule(one=shelf_names, other=shelf_names)
    def move(self, one: str, other: str) -> None:
        self.act("move", one, other)

    @rule(shelf=shelf_names, listed=st.lists(things, max_size=3), refuse=st.booleans())
    def put_all(self, shelf: str, listed: list[Any], refuse: bool) -> None:
        self.act("put_all", shelf, listed, refuse)

    @rule(listed=st.lists(things, max_size=3))
    def take(self, listed: list[Any]) -> None:
        self.act("take", listed)

    @rule(thing=things)
    def grow(self, thing: Any) -> None:
        self.act("grow", thing)

    @rule(shelf=shelf_names, thing=things)
    def give_and_change_it_afterwards(self, shelf: str, thing: Any) -> None:
        given = [thing]
        self.act("put", shelf, given)
        given.append("by the caller, later")

    @rule(thing=things)
    def give_one_thing_twice(self, thing: Any) -> None:
        inner = [thing]
        self.act("take", [inner, inner])
        self.act("grow", inner)

    @rule(shelf=shelf_names, colour=st.sampled_from(["red", "blue"]), coats=st.dictionaries(st.sampled_from("kl"), things))
    def paint(self, shelf: str, colour: str, coats: dict[str, Any]) -> None:
        self.act("paint", shelf, **coats)
        self.act("paint", shelf, colour, colour, **coats)
        self.act("paint", colour=colour, shelf=shelf)

    @rule(several=st.sets(tags, max_size=3), first=tags, thing=things)
    def weigh(self, several: set[Tag], first: Tag, thing: Any) -> None:
        self.act("weigh", several, first)
        self.act("weigh", several, first, of={first: thing})

    @rule(shelf=shelf_names, several=st.lists(sizes, min_size=1, max_size=6))
    def load(self, shelf: str, several: list[int]) -> None:
        """Enough to go on in the next block, or in the next segment."""
        for size in several:
            self.act("load", shelf, bytes([size % 251]) * size)

    @rule(number=st.integers(0, 3))
    def count_down(self, number: int) -> None:
        self.act("count_down", number)

    @rule(shelf=shelf_names, listed=st.lists(things, max_size=2))
    def set_item(self, shelf: str, listed: list[Any]) -> None:
        self.act("__setitem__", shelf, listed)

    @rule(mood=things)
    def set_attribute(self, mood: Any) -> None:
        self.live.mood = mood
        self.model.mood = copy.deepcopy(mood)
        self.recorded()

    @rule(note=st.sampled_from(["n", "m"]))
    def stamp(self, note: str) -> None:
        """The instant is known beforehand; what was drawn is taken over."""
        self.live.stamp(note)
        stamp = self.live.stamps[-1]
        instant = max(self.instants[-1], self.time.ns)
        moment = moment_of(instant)
        local = moment.astimezone().replace(tzinfo=None)
        self.model._clock = Answers(local, moment, instant / 1e9)
        self.model._env = Answers(*stamp[4:])
        self.model.stamp(note)
        del self.model._clock, self.model._env
        self.recorded()

    @rule(shelf=shelf_names)
    def look(self, shelf: str) -> None:
        assert outcome_of(lambda: self.live.look(shelf)) == outcome_of(lambda: self.model.look(shelf))

    # -- calls that are not let through, or not to their end

    @rule(shelf=shelf_names)
    def an_argument_that_cannot_be_encoded_changes_nothing(self, shelf: str) -> None:
        with pytest.raises(EncodingError, match="thing"):
            self.live.put(shelf, threading.Lock())

    @rule()
    def a_call_that_does_not_fit_the_method_changes_nothing(self) -> None:
        with pytest.raises(TypeError):
            self.live.put("a")
        with pytest.raises(TypeError):
            self.live.weigh(tags=set())

    @rule(shelf=shelf_names, thing=things, again=st.booleans())
    def an_interrupted_action_is_withdrawn(self, shelf: str, thing: Any, again: bool) -> None:
        armed.append(MemoryError())
        with pytest.raises(MemoryError):
            self.live.interrupted(shelf, thing)
        self.recorded()
        if again:
            # Before anything else has looked at the state.
            self.act("put", shelf, thing)

    # -- time

    @rule(ns=st.sampled_from([1, 999, 1000, 3_000_000_000, -1_000_000]))
    def time_passes(self, ns: int) -> None:
        self.time.ns += ns

    # -- snapshots, ends and beginnings

    def snapshots(self) -> list[int]:
        return directory.snapshots(os.listdir(self.path))

    @rule()
    def take_snapshot(self) -> None:
        before = self.snapshots()
        assert control(self.live).take_snapshot() == self.index
        self.kept(sorted({*before, self.index}), self.how["keep"])
        assert not list(self.path.glob("*.tmp"))

    @rule(keep=st.integers(1, 3))
    def prune(self, keep: int) -> None:
        before = self.snapshots()
        assert control(self.live).prune(keep=keep) == before[:-keep]
        self.kept(before, keep)

    def kept(self, snapshots: list[int], keep: int | None) -> None:
        """The newest of the snapshots are there, and the journal behind the oldest of them."""
        expected = snapshots if keep is None else snapshots[-keep:]
        assert self.snapshots() == expected
        if keep is not None and len(expected) < len(snapshots):
            firsts = directory.segments(os.listdir(self.path))
            assert len(firsts) == 1 or firsts[1] > expected[0] + 1, "what only older snapshots need is deleted"

    @rule(how=options)
    def close_and_reopen(self, how: dict[str, Any]) -> None:
        closed = self.live
        closed.close()
        with pytest.raises(SystemClosed):
            closed.put("a", 1)
        assert coopy.replay(Depot, self.path).picture() == self.pictures[-1]
        self.open(how)
        assert control(self.live).durable == self.index

    @rule(how=options, look=st.booleans())
    def crash(self, how: dict[str, Any], look: bool) -> None:
        left = self.path
        self.directories += 1
        shutil.copytree(left, self.path)
        self.abandon()
        shutil.rmtree(left)
        if look:
            assert coopy.replay(Depot, self.path).picture() == self.pictures[-1]
        self.open(how)

    @rule(how=options, shelf=shelf_names, size=sizes, part=st.sampled_from([0.0, 0.3, 0.6, 0.99]))
    def crash_in_the_middle_of_a_write(self, how: dict[str, Any], shelf: str, size: int, part: float) -> None:
        """The action that was being written is gone, and nothing else."""
        self.crash_during(lambda: self.live.load(shelf, b"\x43" * size), part, how)

    @rule(
        how=options,
        shelf=shelf_names,
        thing=things,
        part=st.sampled_from([0.3, 0.9, 0.95, 0.99]),
        name=st.sampled_from(["put_all", "drop"]),
    )
    def crash_before_a_withdrawal_is_recorded(
        self, how: dict[str, Any], shelf: str, thing: Any, part: float, name: str
    ) -> None:
        """The action is there, or not even that; what it did is not."""

        def refused() -> None:
            with pytest.raises(Refused):
                if name == "put_all":
                    self.live.put_all(shelf, [thing], True)
                else:
                    self.live.drop("a shelf that is not there")

        self.crash_during(refused, part, how)
        if control(self.live).index > self.index:
            self.recorded()

    def crash_during(self, call: Callable[[], Any], part: float, how: dict[str, Any]) -> None:
        """Goes on with what is left of a call of which a part was written."""
        left = self.path
        self.directories += 1
        shutil.copytree(left, self.path)
        journal = control(self.live)._system._journal
        begin = journal._tail
        call()
        end = journal._tail
        self.abandon()
        if sorted(os.listdir(left)) == sorted(os.listdir(self.path)):
            # Otherwise it began a segment, and is killed before it does.
            name = sorted(path.name for path in self.path.glob("transaction_*"))[-1]
            after = (left / name).read_bytes()
            cut = begin + int((end - begin) * part)
            (self.path / name).write_bytes(after[:cut] + bytes(end - cut) + after[end:])
        shutil.rmtree(left)
        self.open(how)

    def abandon(self) -> None:
        control(self.live)._system.abandon()
        self.live = None

    # -- the past

    def past(self, until: Any, index: int, apart: bool) -> None:
        """The state at an index, if a snapshot at or before it is left."""

        def look() -> Any:
            return coopy.replay(Depot, self.path, until=until) if apart else control(self.live).replay(until)

        if index < self.snapshots()[0]:
            with pytest.raises(PrunedPast):
                look()
        else:
            assert look().picture() == self.pictures[index]

    @rule(data=st.data(), apart=st.booleans())
    def replay_until_an_index(self, data: st.DataObject, apart: bool) -> None:
        index = data.draw(st.integers(0, self.index), label="until")
        self.past(index, index, apart)

    @rule(data=st.data(), apart=st.booleans(), more=st.sampled_from([-1, 0, 1]), naive=st.booleans())
    def replay_until_a_moment(self, data: st.DataObject, apart: bool, more: int, naive: bool) -> None:
        index = data.draw(st.integers(0, self.index), label="near action")
        moment = moment_of(self.instants[index] or MOMENT_NS) + timedelta(microseconds=more)
        last = max(i for i, instant in enumerate(self.instants) if moment_of(instant) <= moment)
        until = moment.astimezone().replace(tzinfo=None) if naive else moment
        self.past(until, last, apart)

    # -- what always holds

    @invariant()
    def they_agree(self) -> None:
        if self.live is None:
            return
        assert self.live.picture() == self.model.picture() == self.pictures[-1]
        assert control(self.live).index == self.index
        assert control(self.live).durable <= self.index
        if self.how["durability"] == "sync":
            assert control(self.live).durable == self.index, "who has read knows of nothing that can be lost"

    def teardown(self) -> None:
        armed.clear()
        if self.live is not None:
            self.live.close()
            self.all_of_the_past()
        shutil.rmtree(self.place)

    def all_of_the_past(self) -> None:
        for index in range(self.snapshots()[0], self.index + 1):
            self.past(index, index, apart=True)
        moments = [moment_of(instant) for instant in self.instants]
        for moment in sorted(set(moments[1:])):
            self.past(moment, max(i for i, each in enumerate(moments) if each <= moment), apart=True)


# A history that fails is made small, which takes longer than all that don't.
@pytest.mark.timeout(600 + EXAMPLES)
def test_a_system_and_a_plain_object_agree_whatever_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = type("Both", (Both,), {"room": tmp_path, "time": Time()})
    monkeypatch.setattr(coopy.spine.engine, "_time_ns", machine.time)  # type: ignore[attr-defined]
    monkeypatch.setattr(journal, "FIRST_BYTES", SEGMENT_BYTES)
    if EXAMPLES:
        machine = seed(SEED)(machine)
        with capsys.disabled():
            print(f"\nmodel: COOPY_MODEL_SEED={SEED} COOPY_MODEL_EXAMPLES={EXAMPLES}")
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES or FIRST_EXAMPLES,
            stateful_step_count=STEPS,
            derandomize=not EXAMPLES,
            database=None,
            deadline=None,
            print_blob=False,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
