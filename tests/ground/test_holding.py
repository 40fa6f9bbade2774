"""Locks and alarms that an interrupt leaves as they should be."""

from __future__ import annotations

import sys
import threading

import pytest
from interrupted import interrupted_at_every_instruction

from coopy.ground.holding import Alarm, or_undone


def test_an_alarm_that_was_set_lets_one_go_on_and_is_set_no_more() -> None:
    alarm = Alarm()
    assert not alarm.wait(0)
    alarm.set()
    alarm.set()
    assert alarm.is_set() and alarm.wait(0)
    assert not alarm.is_set() and not alarm.wait(0)


def test_a_thread_that_waits_for_an_alarm_goes_on() -> None:
    alarm = Alarm()
    gone_on: list[bool] = []
    thread = threading.Thread(target=lambda: gone_on.append(alarm.wait(60)))
    thread.start()
    alarm.set()
    thread.join(60)
    assert gone_on == [True]


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="counts instructions")
def test_an_alarm_can_be_set_whenever_setting_it_was_interrupted_before() -> None:
    alarms: list[Alarm] = []

    def ring() -> None:
        alarms.append(Alarm())
        alarms[-1].set()

    moments = interrupted_at_every_instruction(ring, Alarm.set.__code__)
    assert 5 < moments == len(alarms)
    for moment, alarm in enumerate(alarms, 1):
        alarm.set()
        assert alarm.wait(0), f"interrupted at instruction {moment}"


def test_what_was_begun_is_returned_and_not_undone() -> None:
    assert or_undone(lambda: "begun", lambda: pytest.fail("undone")) == "begun"


@pytest.mark.parametrize("error", [ValueError(), MemoryError(), SystemExit(1), KeyboardInterrupt()], ids=repr)
def test_what_was_begun_is_undone_whatever_is_raised(error: BaseException) -> None:
    begun: list[str] = []

    def begin() -> None:
        begun.append("begun")
        raise error

    with pytest.raises(type(error)) as found:
        or_undone(begin, begun.clear)
    assert found.value is error and begun == []


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="counts instructions")
def test_what_was_begun_is_undone_wherever_it_is_interrupted() -> None:
    begun: list[str] = []
    left: list[str] = []

    def begin() -> str:
        begun.append("begun")
        return "done"

    def undo() -> None:
        begun.clear()

    def run() -> None:
        begun.clear()
        try:
            or_undone(begin, undo)
        except KeyboardInterrupt:
            left.extend(begun)
            raise

    assert interrupted_at_every_instruction(run, begin.__code__, undo.__code__) > 3
    assert left == []


def test_what_was_not_undone_as_that_was_interrupted_is_undone_all_the_same() -> None:
    tries: list[str] = []

    def undo() -> None:
        tries.append("undo")
        if len(tries) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        or_undone(lambda: 1 // 0, undo)
    assert tries == ["undo", "undo"]
