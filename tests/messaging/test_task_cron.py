"""Tasks that are sent by themselves: at the times of cron, once for each time, whatever becomes of the workers and of the clocks."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from coopy import UsageError, control
from coopy.messaging import TaskQueue, task_cron
from coopy.messaging.task_cron import Cron

pytest.importorskip("cronsim", reason="the extra [tasks] is not installed")

SOON_S = 60.0
VIENNA = ZoneInfo("Europe/Vienna")


def wait_until(question: Callable[[], object]) -> None:
    end = time.monotonic() + SOON_S
    while not question():
        assert time.monotonic() < end
        time.sleep(0.005)


def times(cron: Cron, begin: datetime, number: int) -> list[str]:
    """Returns the next times, in UTC."""
    moment, found = begin.timestamp(), []
    for _ in range(number):
        moment = cron.next_after(moment)
        found.append(datetime.fromtimestamp(moment, timezone.utc).strftime("%d %H:%M"))
    return found


def test_a_time_that_is_skipped_as_clocks_go_forward_comes_right_after() -> None:
    night = datetime(2026, 3, 28, 0, 0, tzinfo=VIENNA)
    assert times(Cron("30 2 * * *", "Europe/Vienna"), night, 3) == ["28 01:30", "29 01:00", "30 00:30"]


def test_a_time_that_comes_twice_as_clocks_go_back_counts_once() -> None:
    night = datetime(2026, 10, 24, 0, 0, tzinfo=VIENNA)
    assert times(Cron("30 2 * * *", "Europe/Vienna"), night, 3) == ["24 00:30", "25 00:30", "26 01:30"]


def test_each_hour_is_each_hour_whatever_clocks_do() -> None:
    night = datetime(2026, 10, 25, 0, 30, tzinfo=VIENNA)
    assert times(Cron("0 * * * *", "Europe/Vienna"), night, 4) == ["24 23:00", "25 00:00", "25 01:00", "25 02:00"]


def test_without_a_zone_times_are_utc_and_the_zone_of_the_process_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """django-celery-beat#798: after a restart in another zone nothing was sent for an hour."""
    begin = datetime(2026, 6, 1, tzinfo=timezone.utc)
    found = []
    for zone in ("UTC", "Asia/Tokyo", "America/New_York"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        found.append(times(Cron("0 3 * * *"), begin, 2))
    monkeypatch.undo()
    time.tzset()
    assert found == [["01 03:00", "02 03:00"]] * 3


@pytest.mark.parametrize("missed", ["once", "skip", "all"])
def test_of_times_at_which_no_worker_ran_one_is_made_up_for_or_none_or_all(missed: str) -> None:
    """django-celery-beat#459: all of them at once, and nothing else could be had."""
    cron = Cron("* * * * *", missed=missed)
    assert [cron.due(60.0, now) for now in (60.0, 90.0, 60.0 + 600, 60.0 + 10**7)] == {
        "once": [1, 1, 1, 1],
        "skip": [1, 1, 0, 0],
        "all": [1, 1, 11, task_cron.ALL_MAX],
    }[missed]


@pytest.mark.parametrize(
    "wrong",
    [
        ("61 * * * *",),
        ("* * *",),
        ("",),
        ("* * * * *", "Europe/Nowhere"),
        ("* * * * *", "../x"),
        ("* * * * *", "", "never"),
        ("0 0 30 2 *",),
    ],
    ids=str,
)
def test_what_is_no_time_is_refused_where_it_is_defined(wrong: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        Cron(*wrong)


def test_a_task_that_needs_arguments_can_not_be_sent_by_itself() -> None:
    with pytest.raises(TypeError):
        TaskQueue().task(cron="* * * * *")(divmod)


def test_without_the_package_a_schedule_is_refused_and_all_else_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cronsim", None)
    with TaskQueue() as queue:
        with pytest.raises(UsageError, match=r"coopy\[tasks\]"):
            queue.task(cron="* * * * *")(time.time)
        handle = queue.enqueue(divmod, 7, 2)
        queue.drain()
        assert handle.result(timeout=SOON_S) == (3, 1)


@pytest.mark.slow
def test_each_second_a_task_is_sent_once_however_many_workers_there_are(tmp_path: Path) -> None:
    """arq#196, celery#4041: as many as there were workers, and in a burst after a restart."""
    with TaskQueue(tmp_path / "tasks", durability="buffered") as queue:
        ran = []

        @queue.task(cron="* * * * * *")
        def note() -> None:
            ran.append(1)

        with queue.worker(), queue.worker(), queue.worker():
            wait_until(lambda: len(ran) >= 2)
        found = queue.listed(name=note.name)
        moments = [int(each.sent) for each in found]
        assert len(set(moments)) == len(moments)
        assert [name for name, *_ in queue.see("schedules")] == [note.name]


def test_a_schedule_is_kept_over_restarts_and_one_that_was_missed_is_made_up_for_once(tmp_path: Path) -> None:
    ran: list[str] = []

    def opened(expression: str) -> TaskQueue:
        queue = TaskQueue(tmp_path / "tasks", durability="buffered")
        if expression:
            queue.task(cron=expression, name="report")(lambda: ran.append(expression))
        else:
            queue.task(name="report")(lambda: None)
        return queue

    queue = opened("0 0 1 1 *")
    queue.drain()
    ((_, expression, _, planned),) = queue.see("schedules")
    assert expression == "0 0 1 1 *" and planned > time.time() and not ran
    # As it stands if nobody worked for two hours.
    queue.change("plan", "report", "0 * * * *", "", time.time() // 3600 * 3600 - 7200, b"\x80\x04)}\x86.", ())
    queue.close()
    queue = opened("0 * * * *")
    with queue.worker():
        wait_until(lambda: ran)
    queue.close()
    assert ran == ["0 * * * *"]
    queue = opened("")
    queue.drain()
    assert queue.see("schedules") == [], "the function has no schedule any more"
    index = control(queue.system).index
    assert index > 0
    queue.close()


def test_a_schedule_has_the_options_of_the_program_that_has_begun_last(tmp_path: Path) -> None:
    def opened(lane: str) -> TaskQueue:
        queue = TaskQueue(tmp_path / "tasks", durability="buffered")
        queue.task(cron="* * * * *", name="report", lane=lane)(lambda: None)
        return queue

    with opened("slow") as queue:
        # As it stands if nobody worked for two minutes.
        slow = queue.defined["report"].options_for((), {})
        queue.change("plan", "report", "* * * * *", "", time.time() - 120, b"\x80\x04)}\x86.", slow)
    with opened("quick") as queue, queue.worker(lanes=["none"]):
        wait_until(queue.listed)
        assert {each.lane for each in queue.listed()} == {"quick"}
