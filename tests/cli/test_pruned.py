"""The past that was pruned is called pruned, and not missing or damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

import coopy as package
from coopy import control, init_system
from coopy.errors import PrunedPast

pytest.importorskip("click", reason="the extra [cli] is not installed")

Coopy = Callable[[str], tuple[int, str, str]]


@pytest.fixture
def data(coopy: Coopy) -> str:
    """A directory whose actions 1 and 2 are in no segment any more; the oldest state is that after action 4."""
    import shops_of_the_tests as shops  # type: ignore[import-not-found]

    with init_system(shops.Shop, "pruned", segment_bytes=1 << 20) as shop:
        for number in range(4):
            shop.sell(str(number) * 700_000)
        shop.take_snapshot()
        shop.sell("milk")
        control(shop).prune(keep=1)
    return "pruned"


@pytest.mark.parametrize(
    "command", ["show {} --at 0", "show {} --at 3", "diff {} 2 4", "show {} --at 2020-01-01", "diff {} 0001-01-01 4"]
)
def test_a_state_that_was_pruned_is_refused_as_such(coopy: Coopy, data: str, command: str) -> None:
    code, out, err = coopy(command.format(data))
    assert (code, out, "before action 4 was pruned" in err) == (2, "", True), err
    assert "damage" not in err and "missing" not in err


def test_a_program_is_told_the_same_and_which_state_is_the_oldest(coopy: Coopy, data: str) -> None:
    import shops_of_the_tests as shops

    for until in (0, 3, datetime.now() - timedelta(days=1), datetime.min.replace(year=2)):
        with pytest.raises(PrunedPast, match="not there any more") as refusal:
            package.replay(shops.Shop, data, until)
        assert refusal.value.oldest == 4
        with init_system(shops.Shop, data) as shop, pytest.raises(PrunedPast, match="was pruned"):
            control(shop).replay(until)
    assert len(package.replay(shops.Shop, data, 4).sold) == 4


@pytest.mark.parametrize("options", ["", "--since 1", "--until 2", "--since 2020-01-01 --json", "--since 2"])
def test_log_says_that_what_came_before_was_pruned(coopy: Coopy, data: str, options: str) -> None:
    code, out, err = coopy(f"log {data} {options}")
    first = int(out.split()[0]) if "--until" not in options and "--json" not in options else 0
    assert (code, "they were pruned" in err) == (0, True), err
    assert first in (0, 3, 4)


def test_log_is_silent_where_nothing_is_left_out(coopy: Coopy, data: str) -> None:
    for options in ("--since 5", "--since 5 --until 5", f"--since {datetime.now() + timedelta(days=1):%Y-%m-%d}"):
        assert "pruned" not in coopy(f"log {data} {options}")[2].replace(f"{data}:", "")
    assert "they were pruned" not in coopy("log data")[2]


def test_inspect_says_where_the_past_begins(coopy: Coopy, data: str) -> None:
    assert "the past begins with the state after action 4; what was before it was pruned" in coopy(f"inspect {data}")[1]
    assert json.loads(coopy(f"inspect {data} --json")[1])["oldest"] == 4
    assert json.loads(coopy("inspect data --json")[1])["oldest"] == 0
    assert "the past begins" not in coopy("inspect data")[1]


def test_a_snapshot_that_is_lost_and_not_pruned_is_missing(coopy: Coopy, data: str) -> None:
    for path in Path(data).glob("snapshot_*"):
        path.unlink()
    code, _, err = coopy(f"show {data} --at 3")
    assert (code, "There is no snapshot" in err or "missing" in err) == (1, True), err
