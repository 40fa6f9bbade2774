"""A clock that is set and moved by a test, and the systems that it stamps."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from testing.diary import Diary, sent

import coopy
from coopy import UsageError, control, init_system, readonly
from coopy.testing import Clock, assert_replays, crash, memory_system, open_system

MOMENT = datetime(2030, 1, 1, 12, 30, 15, 123456)
PAST = datetime(2001, 2, 3, 4, 5, 6)
Opener = Callable[..., Any]


@pytest.fixture(params=["memory", "directory", "memory, checked"])
def opening(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    if request.param == "directory":
        return lambda **options: open_system(Diary, tmp_path / "diary", **options)
    return lambda **options: memory_system(Diary, check="checked" in request.param, **options)


# -- the clock itself


def test_a_clock_goes_as_the_machines_does_until_it_is_told_otherwise() -> None:
    clock = Clock()
    before = time.time_ns()
    assert before <= clock.time_ns() <= time.time_ns()
    assert "goes" in repr(clock)


def test_a_clock_that_is_set_stands_there() -> None:
    clock = Clock()
    clock.set(MOMENT)
    assert clock.now() == clock.now() == MOMENT
    assert clock.today() == MOMENT.date()
    assert clock.time() == pytest.approx(MOMENT.timestamp(), abs=1e-6)
    aware = MOMENT.astimezone(timezone.utc)
    assert clock.utcnow() == aware.replace(tzinfo=None)
    assert clock.now(timezone.utc) == aware
    clock.set(aware + timedelta(hours=1))
    assert clock.now() == MOMENT + timedelta(hours=1)
    assert repr(clock) == "<clock stands at 2030-01-01 13:30:15.123456>"


@pytest.mark.parametrize("by", [timedelta(days=2, seconds=3, microseconds=4), 90, 1.5])
def test_a_standing_clock_is_moved_by_a_timedelta_or_by_seconds(by: Any) -> None:
    clock = Clock()
    clock.set(MOMENT)
    clock.move(by)
    assert clock.now() == MOMENT + (by if isinstance(by, timedelta) else timedelta(seconds=by))


def test_a_going_clock_is_moved_and_goes_on() -> None:
    clock = Clock()
    clock.move(timedelta(days=1000))
    day = 86_400 * 10**9
    assert time.time_ns() <= clock.time_ns() - 1000 * day + 10**9
    clock.freeze()
    stood = clock.time_ns()
    assert clock.time_ns() == stood
    clock.go()
    assert clock.time_ns() >= stood


@pytest.mark.parametrize(
    "use, said",
    [
        (lambda clock: clock.set(MOMENT.date()), "must be a datetime"),
        (lambda clock: clock.move("1 day"), "must be a timedelta, or seconds"),
        (lambda clock: clock.move(True), "must be a timedelta, or seconds"),
    ],
)
def test_what_is_no_time_is_refused(use: Callable[[Clock], None], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        use(Clock())


# -- and systems


@pytest.mark.parametrize("moment", [MOMENT, PAST], ids=["later than today", "long ago"])
def test_actions_are_stamped_by_the_clock_and_replay_so(opening: Opener, moment: datetime) -> None:
    clock = Clock()
    clock.set(moment)
    diary = opening(clock=clock)
    diary.write("one")
    clock.move(timedelta(hours=1))
    diary.write("two")
    diary.write("three")
    hour = timedelta(hours=1)
    assert diary.began == moment
    assert diary.times == [moment, moment + hour, moment + hour]
    assert_replays(diary)
    assert control(diary).replay(moment).lines == ["one"], "an instant looked back to is that of the clock"
    again = crash(diary)
    clock.move(1)
    again.write("four")
    assert again.times == [moment, moment + hour, moment + hour, moment + hour + timedelta(seconds=1)]
    control(again).close()


@pytest.mark.parametrize("read", ["asked", "asked_without_lock", "asked_by_property"])
def test_reads_are_answered_by_the_clock_of_their_own_system(opening: Opener, read: str) -> None:
    clock = Clock()
    clock.set(MOMENT)
    diary, other = opening(clock=clock), memory_system(Diary)

    def ask(system: Any) -> Any:
        found = getattr(system, read)
        return found() if callable(found) else found

    assert ask(diary) == (MOMENT, MOMENT)
    assert ask(other)[0].year < 2030
    clock.move(5)
    assert ask(diary) == (MOMENT + timedelta(seconds=5),) * 2
    assert coopy.clock.now().year < 2030, "outside of it the time is the machine's"
    assert list(diary.ask_one_by_one()) == [MOMENT + timedelta(seconds=5)]
    control(diary).close()


def test_chance_and_effects_of_a_read_are_as_outside_an_action() -> None:
    diary = memory_system(Diary, clock=Clock(), seed=1)
    assert diary.drawn() != diary.drawn()
    sent.clear()
    diary.tell_at_once("now")
    assert sent == ["now"]
    assert control(diary).effects == []


def test_another_system_keeps_the_machines_time(tmp_path: Path) -> None:
    clock = Clock()
    clock.set(MOMENT)
    with init_system(Diary, tmp_path) as other:
        memory_system(Diary, clock=clock).write("one")
        other.write("two")
        assert other.times[0].year < 2030


def test_the_clock_does_not_go_back_behind_what_is_recorded(opening: Opener) -> None:
    clock = Clock()
    clock.set(PAST)
    clock.set(MOMENT)
    clock.set(MOMENT - timedelta(days=1))
    diary = opening(clock=clock)
    diary.write("one")
    for back in (lambda: clock.set(PAST), lambda: clock.move(-90_000)):
        with pytest.raises(UsageError, match="can't go back to .* a system has recorded 2029-12-31 12:30:15.123456"):
            back()
    assert clock.now() == MOMENT - timedelta(days=1)
    diary.write("two")
    assert diary.times == [MOMENT - timedelta(days=1)] * 2
    control(diary).close()


def test_a_directory_with_later_actions_is_not_opened_with_an_earlier_clock(tmp_path: Path) -> None:
    clock, later = Clock(), Clock()
    later.set(MOMENT)
    with open_system(Diary, tmp_path, clock=later) as diary:
        diary.write("one")
    clock.set(PAST)
    with pytest.raises(UsageError, match="the clock says 2001-02-03 04:05:06, and .* has recorded 2030-01-01"):
        open_system(Diary, tmp_path, clock=clock)
    clock.set(MOMENT)
    with open_system(Diary, tmp_path, clock=clock) as diary:
        with pytest.raises(UsageError, match="can't go back"):
            clock.set(PAST)
        diary.write("two")
        assert diary.times == [MOMENT, MOMENT]


def test_what_is_kept_for_a_time_goes_when_the_clock_says_so(opening: Opener) -> None:
    clock = Clock()
    clock.set(MOMENT)
    diary = opening(clock=clock, keep_for=timedelta(days=7))
    kept = []
    for line in ("one", "two", "three"):
        diary.write(line)
        control(diary).take_snapshot()
        kept.append(control(diary)._system._snapshots.indexes())
        clock.move(timedelta(days=5))
    assert kept == [[0, 1], [0, 1, 2], [1, 2, 3]]
    control(diary).close()


class Own:
    """Reads through its own proxy inside an action."""

    _clock: Any

    def __init__(self) -> None:
        self.me: Any = None
        self.times: list[datetime] = []

    def attach(self, me: Any) -> None:
        self.me = me

    @readonly
    def now(self) -> datetime:
        found: datetime = self._clock.now()
        return found

    def stamp(self) -> None:
        self.times.append(self.me.now())


def test_a_read_inside_an_action_has_the_time_of_the_action_also_when_it_replays() -> None:
    clock = Clock()
    clock.set(MOMENT)
    own = memory_system(Own, clock=clock)
    own.attach(own)
    own.stamp()
    clock.move(60)
    assert_replays(own)
    own = crash(own)
    assert own.times == [MOMENT]
    assert own.now() == MOMENT + timedelta(minutes=1)


class Stamped:
    """Asks the standard library."""

    def __init__(self) -> None:
        self.times: list[datetime] = []

    def stamp(self) -> None:
        self.times.append(datetime.now())

    @readonly
    def asked(self) -> datetime:
        return datetime.now()


def test_what_asks_the_standard_library_is_answered_by_the_clock_if_the_system_is_deterministic(tmp_path: Path) -> None:
    clock = Clock()
    clock.set(MOMENT)
    for open_one in (memory_system, lambda obj, **options: open_system(obj, tmp_path, **options)):
        system = open_one(Stamped, clock=clock, deterministic=True)
        system.stamp()
        assert (system.times, system.asked()) == ([MOMENT], MOMENT)
        system = crash(system)
        system.stamp()
        assert system.times == [MOMENT, MOMENT]
        assert_replays(system)
        control(system).close()
    plain = memory_system(Stamped, clock=clock, validation="off")
    plain.stamp()
    assert plain.times[0].year < 2030 and plain.asked().year < 2030
