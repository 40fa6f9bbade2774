"""Values in a few words, whatever they are; and errors of ours that say which value was wrong, however large it is."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import coopy
from coopy import UsageError, code_version, control, entity, init_system, transactional
from coopy.ground.words import number, shown, whole
from coopy.migration import Call, Migration
from coopy.network.address import parse
from coopy.past.retention import retention
from coopy.testing import Clock, memory_system
from coopy.tools import tree
from coopy.tools.verify import verify
from coopy.values import digest

HUGE = 10**5000
HEX = hex(HUGE)


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class Count(int):
    pass


class Pile:
    def __init__(self) -> None:
        self.items: dict[Any, Any] = {}

    def put(self, key: Any, value: Any) -> None:
        self.items[key] = value


def test_an_int_is_written_in_decimal_up_to_some_thousand_digits_and_exactly_beyond() -> None:
    assert [number(each) for each in (0, -7, 10**4000)] == ["0", "-7", "1" + "0" * 4000]
    assert (number(HUGE), number(-HUGE)) == (HEX, f"-{HEX}")
    assert int(number(-HUGE), 16) == -HUGE


@pytest.mark.skipif(not hasattr(sys, "set_int_max_str_digits"), reason="this Python writes any int")
def test_a_limit_that_was_set_lower_is_kept() -> None:
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        assert number(10**1000) == hex(10**1000)
    finally:
        sys.set_int_max_str_digits(before)


def test_a_value_is_shown_whatever_its_repr_does() -> None:
    assert shown([1, "a"]) == "[1, 'a']"
    assert shown(HUGE, 20) == HEX[:19] + "…"
    assert shown("x" * 300) == "'" + "x" * 198 + "…"
    assert shown(Broken()) == "<Broken, whose repr raises RuntimeError>"
    assert whole(Count(HUGE)) == f"Count({HEX})"
    assert whole([HUGE]) == "<list, whose repr raises ValueError>"


@pytest.mark.parametrize(
    "value", [HUGE, -HUGE, Count(-HUGE), [HUGE], Broken()], ids=["huge", "negative", "counted", "list", "broken"]
)
def test_wrong_use_is_told_whatever_the_value(tmp_path: Path, value: Any) -> None:
    def opened(**options: Any) -> Callable[[], object]:
        return lambda: init_system(Pile, tmp_path / "pile", validation="off", **options)

    with init_system(Pile, tmp_path / "other", validation="off") as pile:
        wrong: list[Callable[[], object]] = [
            opened(durability=value),
            opened(segment_bytes=-HUGE),
            opened(snapshot_time=-HUGE),
            opened(keep=-HUGE),
            opened(keep_for=value),
            opened(master=True, port=value),
            opened(master=True, timeout=value),
            opened(cluster=[value], node="a:1"),
            opened(cluster=["a:1"], node=value),
            opened(node=value),
            lambda: init_system(Pile, value),
            lambda: coopy.replay(Pile, tmp_path / "other", until=value),
            lambda: control(pile).replay(value),
            lambda: control(pile).set_code_version(value),
            lambda: retention(value if value != HUGE else -HUGE, None),
            lambda: code_version(value)(str),
            lambda: transactional(parts=value),
            lambda: entity("items", key="name")(value),
            lambda: Migration(value if value != HUGE else 0),
            lambda: parse(value),
            lambda: Clock().set(value),
            lambda: memory_system(Pile, seed=[value]),  # type: ignore[arg-type]
            lambda: coopy.on_commit([value]),  # type: ignore[arg-type]
        ]
        for number, use in enumerate(wrong):
            try:
                use()
            except Exception as error:
                assert isinstance(error, UsageError), f"{number}: an error of Python: {error!r}"
                assert len(str(error)) < 1000
            else:
                raise AssertionError(f"{number} was not refused")


def test_a_call_of_a_migration_is_shown_whatever_its_arguments() -> None:
    assert repr(Call("put", Broken(), key=HUGE)).startswith("put(<Broken, whose repr raises RuntimeError>, key=0x")


# -- for people who look at a state


def test_a_state_with_huge_numbers_is_drawn_compared_and_found_in() -> None:
    state = {"huge": HUGE, HUGE: "key", "list": [HUGE, Count(HUGE)], "set": {HUGE, 1}, "other": {Broken(), Count(5)}}
    drawn = "\n".join(tree.tree(state, items=50))
    assert drawn.count("0x") == 5 and "whose repr raises ValueError" not in drawn
    assert tree.shown([HUGE, 1], 40).startswith("[0x")
    assert tree.at(state, f"[{HEX}]") == "key"
    assert [each.path for each in tree.differences(state, {**state, "huge": HUGE + 1, "set": {HUGE + 1, 1}})] == [
        "['huge']",
        "['set']{…}",
        "['set']{…}",
    ]


@pytest.mark.parametrize("path", [f"[{HEX}0]", f"[{'9' * 5000}]", f"[({HEX}, 1)]", "[" * 3000, "a" * 5000])
def test_a_path_that_leads_nowhere_is_wrong_use_whatever_is_in_it(path: str) -> None:
    with pytest.raises(UsageError, match=r"there is no|must be attributes and items") as refusal:
        tree.at({"a": 1}, path)
    assert len(str(refusal.value)) < 10_000


def test_json_has_huge_numbers_as_texts_that_are_exact() -> None:
    said = tree.as_json({"a": [HUGE, -HUGE, 10**4000, True], "b": Count(HUGE)})
    assert said == {"a": [HEX, f"-{HEX}", 10**4000, True], "b": f"Count({HEX})"}
    assert tree.as_json({HUGE: 1}) == {HEX: 1}


def test_states_with_huge_numbers_have_digests_and_places(tmp_path: Path) -> None:
    with init_system(Pile, tmp_path, validation="off", check=True) as pile:
        pile.put(HUGE, -HUGE)
        pile.put((HUGE, 1), [HUGE])
        assert control(pile).state_digest()[1]
        places = digest.digests({HUGE: [1], (HUGE, 1): [2], 5: [3]})
        assert f"[{HEX}]" in places and "[<key 1>]" in places and "[5]" in places
        control(pile).take_snapshot()
    assert verify(tmp_path, Pile).problems == []


@pytest.mark.parametrize("option", ["snapshot_time", "snapshot_growth", "snapshot_replay", "wait"])
def test_an_interval_longer_than_any_thread_can_wait_is_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    failed: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", failed.append)
    before = set(threading.enumerate())
    with init_system(Pile, tmp_path, validation="off", **{option: HUGE}) as pile:
        pile.put(1, 2)
        threads = set(threading.enumerate()) - before
    for thread in threads:
        thread.join(30)
    assert failed == []
