"""NaN is equal to nothing, not to itself, and is found in a dict as the same object alone: live calls and replay agree on which it is."""

from __future__ import annotations

import asyncio
import decimal
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import coopy.aio
from coopy import control, init_system
from coopy.values.codec import Codec, is_plain

NAN = float("nan")


class Rates:
    def __init__(self) -> None:
        self.known: dict[Any, int] = {}
        self.told: list[Any] = []

    def put(self, key: Any, value: int = 0) -> None:
        self.told.append(key in self.known)
        self.known[key] = value

    def put_all(self, keys: list[Any]) -> None:
        for key in keys:
            self.put(key)

    def put_two(self, one: Any, other: Any) -> None:
        self.told.append(one is other)
        self.put(one)
        self.put(other)

    def compare(self, first: Any, *rest: Any, **more: Any) -> None:
        self.told.append([first is each for each in (*rest, *more.values())])

    def __setitem__(self, key: Any, value: int) -> None:
        self.put(key, value)


@pytest.fixture
def rates(tmp_path: Path) -> Iterator[Any]:
    with init_system(Rates, tmp_path / "rates", durability="buffered") as system:
        yield system


def replayed(system: Any) -> list[Any]:
    found: list[Any] = control(system).replay().told
    return found


CALLS = {
    "a key": lambda rates: [rates.put(NAN), rates.put(NAN), rates.put(math.nan), rates.put(math.nan)],
    "a key by keyword": lambda rates: [rates.put(key=NAN), rates.put(key=NAN, value=1)],
    "an item": lambda rates: [rates.__setitem__(NAN, 1), rates.__setitem__(NAN, 2)],
    "a part of a tuple": lambda rates: [rates.put((NAN, 1)), rates.put((NAN, 1)), rates.put(((NAN,), "x"))],
    "an element of a list": lambda rates: [rates.put_all([NAN, NAN]), rates.put_all([NAN])],
    "twice in a call": lambda rates: [rates.put_two(NAN, NAN), rates.compare(NAN, NAN, NAN, more=NAN)],
    "another one": lambda rates: [rates.put(-NAN), rates.put(float("-nan")), rates.put(math.inf - math.inf)],
    "of decimal": lambda rates: [rates.put(decimal.Decimal("nan")), rates.put(decimal.Decimal("nan"))],
    "complex": lambda rates: [rates.put(complex(NAN, 1)), rates.put(complex(NAN, 1))],
    "beside others": lambda rates: [rates.put_two(1.5, NAN), rates.put_two("nan", NAN), rates.put_two(None, NAN)],
}


@pytest.mark.parametrize("calls", CALLS.values(), ids=list(CALLS))
def test_a_live_call_finds_what_replay_finds(rates: Any, calls: Any) -> None:
    calls(rates)
    assert rates.told == replayed(rates)
    assert not any(each for each in rates.told if isinstance(each, bool))


def test_calls_at_once_find_what_replay_finds(tmp_path: Path) -> None:
    async def put() -> list[Any]:
        async with coopy.aio.open(Rates, tmp_path / "many", durability="buffered") as rates:
            await asyncio.gather(*(rates.put(NAN, number) for number in range(100)), *(rates.put(1.5) for _ in range(100)))
            return list(await rates.told)

    told = asyncio.run(put())
    assert told == [False] * 101 + [True] * 99
    assert coopy.replay(Rates, tmp_path / "many").told == told


def test_other_floats_are_as_cheap_as_before() -> None:
    codec = Codec(Rates)
    for value in (0.0, -0.0, 1.5, math.inf, -math.inf):
        data, args, _ = codec.encode_call("put", (value,), {})
        assert args[0] is value and not data.startswith(b"N")
        assert is_plain((value, (value,)))
    assert codec.encode_plain(["put"], [(1.5,)]) is not None
    assert codec.encode_plain(["put"], [(NAN,)]) is None
    assert not is_plain((1.5, (NAN,)))
    assert not is_plain(NAN)
