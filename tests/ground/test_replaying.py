"""A method can tell whether it runs again, and a logger can be kept from saying things twice."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import coopy
from coopy import control, init_system, readonly, replaying, transactional
from coopy.ground.log import LiveOnly

told: list[tuple[str, bool]] = []
logger = logging.getLogger("tests.replaying")


class Shop:
    def __init__(self) -> None:
        self.sold: list[str] = []
        told.append(("init", replaying()))

    def sell(self, article: str) -> None:
        told.append((article, replaying()))
        logger.info("sold %s", article)
        self.sold.append(article)

    def sell_list(self, articles: list[str]) -> list[str]:
        for article in articles:
            self.sell(article)
        return self.sold

    def each(self, article: str) -> Iterator[str]:
        told.append((article, replaying()))
        yield article

    @transactional
    def fail(self) -> None:
        raise LookupError

    @readonly
    def is_replaying(self) -> bool:
        return replaying()


@pytest.fixture(autouse=True)
def forget() -> None:
    told.clear()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Any]:
    with init_system(Shop, tmp_path / "shop", validation="off") as opened:
        yield opened


def reopened(shop: Any) -> Any:
    directory = control(shop).basedir
    control(shop).close()
    return init_system(Shop, directory, validation="off")


@pytest.mark.parametrize("call", [("sell", "tea"), ("sell_list", ["tea"]), ("each", "tea")])
def test_a_call_is_live_and_a_start_replays_it(shop: Any, call: tuple[str, Any]) -> None:
    getattr(shop, call[0])(call[1])
    assert told == [("init", False), ("tea", False)]
    with reopened(shop):
        assert told == [("init", False), ("tea", False), ("tea", True)]


def test_after_a_start_calls_are_live_again(shop: Any) -> None:
    shop.sell("tea")
    with reopened(shop) as again:
        again.sell("milk")
        assert told[-2:] == [("tea", True), ("milk", False)]
        assert again.is_replaying() is False
        assert replaying() is False


def test_what_a_snapshot_holds_is_not_run_again(shop: Any) -> None:
    shop.sell("tea")
    control(shop).take_snapshot()
    with reopened(shop):
        assert told == [("init", False), ("tea", False)]


def test_looks_at_the_past_and_rebuilding_are_replays(shop: Any) -> None:
    shop.sell("tea")
    control(shop).replay(1)
    coopy.replay(Shop, control(shop).basedir)
    with pytest.raises(LookupError):
        shop.fail()
    assert told[1:] == [("tea", False), *[("tea", True)] * 3]


def test_a_method_that_raises_at_replay_leaves_nothing_behind(shop: Any) -> None:
    with pytest.raises(TypeError):
        shop.sell_list(1)
    with reopened(shop) as again:
        assert replaying() is False
        again.sell("tea")
        assert told[-1] == ("tea", False)


def test_another_thread_is_not_told_that_this_one_replays(tmp_path: Path) -> None:
    answers: list[bool] = []

    class Asking(Shop):
        def sell(self, article: str) -> None:
            asking = threading.Thread(target=lambda: answers.append(replaying()))
            asking.start()
            asking.join()
            answers.append(replaying())

    with init_system(Asking, tmp_path / "asking", validation="off") as shop:
        shop.sell("tea")
    coopy.replay(Asking, tmp_path / "asking")
    assert answers == [False, False, False, True]


@pytest.mark.parametrize("place", ["logger", "handler"])
def test_a_filter_lets_through_what_is_logged_live(shop: Any, caplog: pytest.LogCaptureFixture, place: str) -> None:
    filtered = LiveOnly()
    owner: Any = logger if place == "logger" else caplog.handler
    owner.addFilter(filtered)
    try:
        with caplog.at_level(logging.INFO, "tests.replaying"):
            shop.sell("tea")
            with reopened(shop) as again:
                again.sell("milk")
                logger.info("closing")
        assert [each.getMessage() for each in caplog.records] == ["sold tea", "sold milk", "closing"]
    finally:
        owner.removeFilter(filtered)


def test_a_filter_with_a_name_filters_by_that_too() -> None:
    assert LiveOnly("wiki")(logging.LogRecord("shop", 20, "", 1, "", (), None)) is False
    assert LiveOnly("wiki")(logging.LogRecord("wiki.pages", 20, "", 1, "", (), None)) is True
