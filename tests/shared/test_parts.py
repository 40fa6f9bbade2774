"""Parts of the state in the hands of a process that follows: a part that a call has answered with is one of its own copy."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

import coopy
from coopy import control, init_system


@pytest.fixture(autouse=True)
def nothing_is_left_open() -> Iterator[None]:
    yield
    coopy.close_all()


class Lists(defaultdict[str, list[Any]]):
    pass


class Recent(OrderedDict[str, Any]):
    def __getitem__(self, key: str) -> Any:
        value = super().__getitem__(key)
        self.move_to_end(key)
        return value


class Desk:
    def __init__(self) -> None:
        self.pages: dict[str, Any] = {"a": []}
        self.lists: defaultdict[str, list[Any]] = defaultdict(list)
        self.recent = Recent(a=[])
        self.items: list[Any] = [1]

    @property
    def made(self) -> list[Any]:
        if "_made" not in self.__dict__:
            self._made: list[Any] = []
        return self._made

    @cached_property
    def kept(self) -> list[Any]:
        return []


def pair(directory: Path, cls: Any) -> tuple[Any, Any]:
    options: dict[str, Any] = {"shared": True, "durability": "buffered", "validation": "off", "results": "recorded"}
    return init_system(cls, directory, **options), init_system(cls, directory, **options)


USES: list[tuple[Any, Callable[[Any], object], Callable[[Any], object], object]] = [
    (lambda: Lists(list), lambda system: system["new"].append(1), dict, {"new": [1]}),
    (Lists, lambda system: system.setdefault("a", []).append(1), dict, {"a": [1]}),
    (lambda: Recent(a=[]), lambda system: system["a"].append(1), dict, {"a": [1]}),
    (Desk, lambda desk: desk.pages.setdefault("b", []).append(1), lambda desk: dict(desk.pages), {"a": [], "b": [1]}),
    (Desk, lambda desk: desk.pages.setdefault("b", {}).setdefault("c", []).append(1), lambda desk: desk.pages["b"], {"c": [1]}),
    (Desk, lambda desk: desk.lists["new"].append(1), lambda desk: dict(desk.lists), {"new": [1]}),
    (Desk, lambda desk: desk.recent["a"].append(1), lambda desk: dict(desk.recent), {"a": [1]}),
    (Desk, lambda desk: desk.made.append(1), lambda desk: desk.made, [1]),
    (Desk, lambda desk: desk.kept.append(1), lambda desk: desk.kept, [1]),
]


@pytest.mark.parametrize(("make", "use", "see", "expected"), USES)
def test_what_a_call_answers_with_is_changed_in_the_state(
    tmp_path: Path, make: Any, use: Callable[[Any], object], see: Callable[[Any], object], expected: object
) -> None:
    writer, follower = pair(tmp_path / "data", make())
    use(follower)
    assert control(follower).state_digest() == control(writer).state_digest()
    assert see(follower) == see(writer) == expected


def test_an_operator_in_place_is_one_action(tmp_path: Path) -> None:
    writer, follower = pair(tmp_path / "data", Desk)
    follower.items += [2]
    assert (list(writer.items), control(writer).index) == ([1, 2], 1)


def test_a_part_is_the_same_however_it_was_come_by(tmp_path: Path) -> None:
    _, follower = pair(tmp_path / "data", Desk)
    made = follower.pages.setdefault("b", [])
    assert made is follower.pages["b"] is follower.pages.get("b")


def test_an_answer_is_kept_only_until_its_caller_has_it(tmp_path: Path) -> None:
    writer, follower = pair(tmp_path / "data", Desk)
    follower.pages.setdefault("b", [])
    with pytest.raises(KeyError):
        follower.pages.pop("missing")
    assert not follower._coopy_engine._wanted and dict(writer.pages) == {"a": [], "b": []}
