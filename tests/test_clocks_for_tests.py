"""`coopy.tests.utils`: clocks for plain domain objects, outside any system."""

from __future__ import annotations

import copy
import pickle
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from coopy import UsageError, init_system
from coopy.tests.utils import MockedClock, TestSystemMixin


class Diary:
    _clock: Any

    def __init__(self) -> None:
        self.days: list[Any] = []

    def write(self) -> None:
        self.days.append(self._clock.now())


class Slotted:
    __slots__ = ("days",)

    def write(self) -> None:
        self.days = [self._clock.today()]  # type: ignore[attr-defined]


MOMENT = datetime(2012, 3, 4, 5, 6, 7)
tests = TestSystemMixin()


def test_a_mocked_clock_stands_still_whatever_it_is_asked() -> None:
    clock = MockedClock(MOMENT)
    assert [clock.now(), clock.now(), clock.utcnow()] == [MOMENT] * 3
    assert clock.today() == date(2012, 3, 4)
    assert clock.time() == clock.monotonic() == MOMENT.timestamp()
    tz = timezone(timedelta(hours=9))
    assert clock.now(tz) == MOMENT.astimezone(tz)


def test_a_mocked_date_is_returned_as_it_was_given() -> None:
    day = date(2012, 3, 4)
    clock = MockedClock(day)
    assert clock.now() == clock.utcnow() == clock.today() == day
    assert clock.time() == datetime(2012, 3, 4, tzinfo=timezone.utc).timestamp()


def test_a_domain_with_a_mocked_clock_can_be_copied_and_pickled() -> None:
    diary = Diary()
    tests.mock_clock(diary, MOMENT)
    for other in (copy.deepcopy(diary), pickle.loads(pickle.dumps(diary))):
        other.write()
        assert other.days == [MOMENT]


def test_a_domain_with_slots_gets_a_clock_too_and_other_instances_do_not() -> None:
    mocked, other = Slotted(), Slotted()
    tests.mock_clock(mocked, MOMENT)
    mocked.write()
    assert mocked.days == [MOMENT.date()]
    assert isinstance(mocked, Slotted)
    with pytest.raises(AttributeError):
        other.write()


def test_a_real_clock_replaces_a_mocked_one() -> None:
    diary = Diary()
    tests.mock_clock(diary, MOMENT)
    tests.enable_clock(diary)
    before = datetime.now()
    diary.write()
    assert before <= diary.days[0] <= datetime.now()


def test_a_system_keeps_its_own_clock(tmp_path: Path) -> None:
    with init_system(Diary, tmp_path) as diary:
        for inject in (lambda: tests.mock_clock(diary, MOMENT), lambda: tests.enable_clock(diary)):
            with pytest.raises(UsageError, match="its own clock"):
                inject()


def test_a_mocked_clock_does_not_enter_a_system(tmp_path: Path) -> None:
    diary = Diary()
    tests.mock_clock(diary, MOMENT)
    with init_system(diary, tmp_path) as system:
        system.write()
        assert system.days[0] != MOMENT


def test_the_mixin_is_not_collected_as_a_test() -> None:
    assert TestSystemMixin.__test__ is False
