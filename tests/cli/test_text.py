"""How points, durations, sizes, times and colours are read and written."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from typing import Any

import pytest

from coopy.cli.text import Meter, Painter, action_line, count, duration, moment, point, size, table
from coopy.errors import UsageError
from coopy.ground import action
from coopy.past.history import Action


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0", 0),
        ("1200", 1200),
        (" 7 ", 7),
        ("2026-01-31", datetime(2026, 1, 31)),
        ("2026-01-31T08:15", datetime(2026, 1, 31, 8, 15)),
        ("2026-01-31 08:15:09.250", datetime(2026, 1, 31, 8, 15, 9, 250_000)),
        ("2026-01-31T08:15:00+02:00", datetime(2026, 1, 31, 6, 15, tzinfo=timezone.utc)),
        ("2026-01-31T08:15:00Z", datetime(2026, 1, 31, 8, 15, tzinfo=timezone.utc)),
    ],
)
def test_a_point_is_an_index_or_a_time(text: str, found: object) -> None:
    assert point(text, "--at") == found


@pytest.mark.parametrize(("text", "hour"), [("08:15", 8), ("8:15", 8), ("08:15:30", 8), ("23:59", 23)])
def test_a_time_alone_is_of_today(text: str, hour: int) -> None:
    found = point(text, "--at")
    assert isinstance(found, datetime)
    assert (found.date(), found.hour) == (date.today(), hour)


@pytest.mark.parametrize(("text", "ago"), [("90s", 90), ("1.5m", 90), ("2h", 7200), ("1 d", 86_400), ("1w", 604_800)])
def test_a_duration_is_so_long_ago(text: str, ago: int) -> None:
    found = point(text, "--at")
    assert isinstance(found, datetime)
    assert abs(time.time() - ago - found.timestamp()) < 60
    assert duration(text, "--keep-for") == timedelta(seconds=ago)


@pytest.mark.parametrize("text", ["", "soon", "-1", "2026-13-01", "25:00", "1x", "9" * 400 + "w", "²"])
def test_what_is_neither_is_refused_with_examples(text: str) -> None:
    with pytest.raises(UsageError, match="--at .*2026-01-31T08:15:00"):
        point(text, "--at")


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "1y", "9" * 400 + "w"])
def test_a_duration_needs_a_unit(text: str) -> None:
    with pytest.raises(UsageError, match="--keep-for .*30d"):
        duration(text, "--keep-for")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (64 << 20, "64.0 MiB"),
        (5 << 40, "5.0 TiB"),
        (5000 << 40, "5,000.0 TiB"),
    ],
)
def test_sizes_have_the_unit_that_suits_them(number: int, text: str) -> None:
    assert size(number) == text


def test_one_of_something_is_not_some() -> None:
    assert (count(1, "action"), count(2000, "action"), count(2, "entry", "entries")) == (
        "1 action",
        "2,000 actions",
        "2 entries",
    )


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert table([("a", "1", "x"), ("bbb", "22", "")], frozenset({1})) == ["a     1  x", "bbb  22"]


@pytest.fixture
def in_auckland(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_times_are_those_of_the_reader(in_auckland: None) -> None:
    assert moment(datetime(2026, 1, 31, 12, 0, 0, 5000, tzinfo=timezone.utc)) == "2026-02-01 01:00:00.005"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert Painter(Terminal())("bad", "x") == "\x1b[31mx\x1b[0m"
    assert Painter(Terminal())("value", "x") == "x"
    assert Painter(io.StringIO())("bad", "x") == "x"
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        monkeypatch.setenv(name, value)
        assert Painter(Terminal())("bad", "x") == "x"


@pytest.mark.parametrize(
    ("outcome", "end"),
    [(action.UNKNOWN, ")"), (action.RETURNED, ")"), (action.RAISED, "  raised"), (action.WITHDRAWN, "  withdrawn")],
)
@pytest.mark.parametrize("args", [(), ("x" * 300,), tuple(range(500)), ({"a": ["b" * 70]},)], ids="abcd")
def test_a_line_fits_with_its_outcome(args: tuple[Any, ...], outcome: int, end: str) -> None:
    each = Action(7, action.header(1_700_000_000_123_456_789, 3600, action.UNKNOWN), "create", args, {"more": "y" * 90})
    each.outcome = outcome
    line = action_line(each, 90, 5, Painter(io.StringIO()))
    assert len(line) <= 90
    assert line.startswith("    7  2023-11-")
    assert line.endswith(end)


def test_what_takes_long_draws_a_bar_on_a_terminal_alone() -> None:
    now = 0.0
    for stream, drawn in ((Terminal(), True), (io.StringIO(), False)):
        meter = Meter("verifying data", stream, lambda: now)
        meter.phase("replay", 1, 4)
        assert stream.getvalue() == "", "not in the first two seconds"
        now += 3
        meter.phase("replay", 2, 4)
        now += 1
        meter.bytes(1 << 20, 1 << 21)
        assert ("verifying data" in stream.getvalue()) is drawn
        assert ("replay: 2 of 4" in stream.getvalue()) is drawn
        assert ("1.0 MiB of 2.0 MiB" in stream.getvalue()) is drawn
