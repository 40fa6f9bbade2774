"""What is changed through a result or an attribute, and by no method, is noticed: by check mode, and by the digest of a close."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coopy import StateChanged, control, init_system
from coopy.testing import memory_system


class Shop:
    def __init__(self) -> None:
        self.items = ["tea"]
        self.prices = {"tea": {"EUR": 2}}
        self.friends: list[Any] = []

    def add(self, item: str) -> None:
        self.items.append(item)

    def all(self) -> list[str]:
        return self.items

    def pair(self) -> Any:
        return self.items, 1

    def values(self) -> Any:
        return self.prices.values()

    def adder(self) -> Any:
        return self.items.append

    def befriend(self, other: Any) -> None:
        self.friends.append(other)


def _own(shop: Any) -> None:
    shop.befriend(shop)
    shop.friends[0].add("x")


WAYS: list[tuple[Callable[[Any], object], str, str]] = [
    (lambda shop: shop.items.append("x"), "the attribute items", ".items"),
    (lambda shop: shop.prices["tea"].update(EUR=3), "the attribute prices", ".prices"),
    (lambda shop: [each.clear() for each in shop.prices.values()], "the attribute prices", ".prices"),
    (lambda shop: vars(shop)["items"].append("x"), "the attribute __dict__", ".items"),
    (lambda shop: shop.all().append("x"), r"what all\(\) returned", ".items"),
    (lambda shop: shop.pair()[0].append("x"), r"what pair\(\) returned", ".items"),
    (lambda shop: next(iter(shop.values())).clear(), r"what values\(\) returned", ".prices"),
    (lambda shop: shop.adder()("x"), r"what adder\(\) returned", ".items"),
    (_own, "the attribute friends", ".items"),
]


@pytest.mark.parametrize(("change", "way", "place"), WAYS)
def test_check_mode_names_what_was_given_and_the_place_and_puts_the_state_back(
    change: Callable[[Any], object], way: str, place: str
) -> None:
    shop = memory_system(Shop, check=True, validation="off")
    change(shop)
    with pytest.raises(StateChanged, match=rf"outside any action, at .*{place}.*through.*{way}"):
        shop.add("milk")
    assert shop.items == ["tea"] and shop.prices == {"tea": {"EUR": 2}}
    control(shop).close()


@pytest.mark.parametrize(("change", "way", "place"), WAYS)
def test_check_mode_finds_the_last_change_when_the_system_is_closed(
    change: Callable[[Any], object], way: str, place: str
) -> None:
    shop = memory_system(Shop, check=True, validation="off")
    change(shop)
    with pytest.raises(StateChanged, match=f"{place}.*{way}"):
        control(shop).close()
    assert control(shop).closed
    control(shop).close()


def test_what_a_block_raises_goes_on_and_is_told_of_the_change(tmp_path: Path) -> None:
    for open_one in (lambda: init_system(Shop, tmp_path / "a", check=True), lambda: memory_system(Shop, check=True)):
        with pytest.raises(KeyError) as found, open_one() as shop:
            shop.items.append("x")
            raise KeyError("of the block")
        assert any("outside any action" in each for each in getattr(found.value, "__notes__", ["outside any action"]))
        with pytest.raises(StateChanged), control(memory_system(Shop, check=True)) as controls:
            controls._system.proxy.items.append("x")


@pytest.mark.parametrize(("change", "place"), [(change, place) for change, _, place in WAYS])
def test_by_default_the_next_start_tells_of_the_place_that_was_changed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, change: Callable[[Any], object], place: str
) -> None:
    shop = init_system(Shop, tmp_path, validation="off")
    shop.add("milk")
    change(shop)
    control(shop).close()
    with caplog.at_level(logging.WARNING):
        shop = init_system(Shop, tmp_path, validation="off")
    assert f"state{place}" in caplog.text and "outside any action" in caplog.text
    assert shop.items == ["tea", "milk"]
    control(shop).close()
