"""The object that a system keeps has nothing in it that its class did not put there."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

import coopy
from coopy import control, init_system
from coopy.testing import memory_system


class Plain:
    def __init__(self) -> None:
        self.items: list[str] = []

    def add(self, item: str) -> datetime:
        self.items.append(item)
        when: datetime = self._clock.now()  # type: ignore[attr-defined]
        return when

    def own(self) -> dict[str, Any]:
        return dict(vars(self))

    def as_json(self) -> str:
        return json.dumps(self.__dict__)


@dataclass
class Record:
    items: list[str] = field(default_factory=list)

    def add(self, item: str) -> Any:
        self.items.append(item)
        return self._env.token_hex(4)  # type: ignore[attr-defined]

    def own(self) -> dict[str, Any]:
        assert self == Record(list(self.items)) and repr(self) == f"Record(items={self.items!r})"
        return asdict(self)


@dataclass
class Slotted:
    __slots__ = ("items",)
    items: list[str]

    def __init__(self) -> None:
        self.items = []

    def add(self, item: str) -> Any:
        self.items.append(item)
        return self._clock.now()  # type: ignore[attr-defined]

    def own(self) -> dict[str, Any]:
        return asdict(self)


class WithASlot:
    __slots__ = ("_clock", "items")
    _clock: Any

    def __init__(self) -> None:
        self.items: list[str] = []

    def add(self, item: str) -> Any:
        self.items.append(item)
        return self._clock.now()

    def own(self) -> dict[str, Any]:
        return {"items": self.items}


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    items: list[str] = []

    def add(self, item: str) -> Any:
        self.items.append(item)
        return self._clock.now(), self._env.random()

    def own(self) -> dict[str, Any]:
        return self.model_validate(self.model_dump()).model_dump()


@pytest.mark.filterwarnings("ignore::coopy.determinism.rules.DeterminismWarning")  # pydantic has methods that warn.
@pytest.mark.parametrize("cls", [Plain, Record, Slotted, WithASlot, Strict], ids=lambda cls: cls.__name__)
def test_the_object_has_what_its_class_has_and_still_a_clock_and_an_env(cls: Any, tmp_path: Path) -> None:
    with init_system(cls, tmp_path) as system:
        told = system.add("tea")
        assert system.own() == {"items": ["tea"]}
        control(system).take_snapshot()
        assert system.add("ink") != told
    with init_system(cls, tmp_path) as system:
        assert system.own() == {"items": ["tea", "ink"]}
    assert coopy.replay(cls, tmp_path, until=1).own() == {"items": ["tea"]}


def test_the_attributes_of_an_object_are_json_if_they_were() -> None:
    system = memory_system(Plain)
    system.add("tea")
    assert json.loads(system.as_json()) == {"items": ["tea"]}


class Machinist:
    """One whose own attributes have the names."""

    def __init__(self) -> None:
        self._clock = "of the tower"
        self._env = {"PATH": "/bin"}

    def set(self, name: str, value: str) -> None:
        self._env[name] = value
        self._clock += "!"

    def own(self) -> tuple[str, dict[str, str]]:
        return self._clock, dict(self._env)


def test_what_is_the_objects_own_stays_whatever_its_name_is(tmp_path: Path) -> None:
    with init_system(Machinist, tmp_path) as system:
        system.set("HOME", "/root")
        expected = ("of the tower!", {"PATH": "/bin", "HOME": "/root"})
        assert system.own() == expected
        control(system).take_snapshot()
    with init_system(Machinist, tmp_path) as system:
        assert system.own() == expected
        assert control(system).replay().own() == expected


class OfTheClass:
    _clock = "of the class"

    def own(self) -> str:
        return self._clock


def test_what_is_the_classes_own_stays(tmp_path: Path) -> None:
    with init_system(OfTheClass, tmp_path) as system:
        assert system.own() == "of the class"
