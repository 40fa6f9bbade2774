"""What the record of the real campaign with locks (`sync.campaign`) finds wrong, and what not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from network.servers import until
from sync.record import Record, Resource, S, Teller, judge

LASTS_S = {"stock": 3.0}


class Said:
    """A record to which things are told in seconds."""

    def __init__(self) -> None:
        self.record = Record()

    def asks(self, who: str, at: float = 0.0) -> None:
        self._say("asks", who, at_ns=round(at * S))

    def got(self, who: str, token: int, first: float, last: float, upto: float = 0.0, word: str = "got") -> None:
        self._say(
            word, who, token=token, first_ns=round(first * S), last_ns=round(last * S), until_ns=round((upto or last + 2) * S)
        )

    def ended(self, word: str, who: str, token: int, at: float) -> None:
        self._say(word, who, token=token, at_ns=round(at * S))

    def _say(self, what: str, who: str, **said: Any) -> None:
        self.record.take({"what": what, "lock": "stock 1", "who": who, **said})

    def wrong(self, **cut_off: tuple[float, float]) -> list[str]:
        times = {who: [(round(since * S), round(upto * S))] for who, (since, upto) in cut_off.items()}
        return judge(self.record, LASTS_S, times)


@pytest.fixture
def said() -> Said:
    return Said()


def test_those_who_take_turns_are_passed_over(said: Said) -> None:
    said.asks("a/1", 0)
    said.got("a/1", 5, 1, 1.1)
    said.got("a/1", 5, 2, 2.1, word="acts")
    said.asks("b/1", 1)
    said.ended("releases", "a/1", 5, 2.2)
    assert said.record.held() == []
    said.got("b/1", 7, 2.3, 2.4)
    assert said.wrong() == [] and [each.token for each in said.record.held()] == [7]
    assert said.record.waits("stock 1") == []


@pytest.mark.parametrize("word", ["got", "acts"])
def test_who_is_told_that_it_holds_a_lock_after_another_had_it_is_found(said: Said, word: str) -> None:
    said.got("a/1", 5, 1, 1.1)
    if word == "got":
        said.record.holdings.clear()
    said.got("b/1", 7, 2.0, 2.5)
    said.got("a/1", 5, 2.6, 2.7, word=word)
    assert ["a/1 was told that it holds it with token 5 0.100000 s after b/1 had it" in each for each in said.wrong()] == [True]


def test_what_overlaps_may_have_come_in_order(said: Said) -> None:
    said.got("a/1", 5, 1, 1.1)
    said.got("a/1", 5, 2.4, 9.0, word="acts")
    said.got("b/1", 7, 2.0, 2.5)
    assert said.wrong() == []


def test_two_with_one_token_are_found_and_one_that_asks_again_is_not(said: Said) -> None:
    said.got("a/1", 5, 1, 1.1)
    said.got("a/1", 5, 2, 2.1)
    assert said.wrong() == []
    said.got("b/1", 5, 3, 3.1)
    assert any("a/1 and b/1 both got it with token 5" in each for each in said.wrong())


def test_who_acts_with_a_token_that_is_not_its_own_is_found(said: Said) -> None:
    said.got("a/1", 5, 1, 1.1)
    said.got("b/1", 5, 2, 2.1, word="acts")
    said.got("b/1", 6, 2, 2.1, word="acts")
    assert len(said.wrong()) == 2


@pytest.mark.parametrize(("got_s", "is_wrong"), [(3.0, True), (3.9, True), (4.1, False)])
def test_a_lock_of_one_that_could_do_nothing_lasts_for_all_of_its_time(said: Said, got_s: float, is_wrong: bool) -> None:
    said.got("a/1", 5, 1, 1.1, upto=3.0)
    said.got("b/1", 7, got_s - 0.1, got_s)
    assert bool(said.wrong(a=(1.2, 10.0))) is is_wrong
    assert said.wrong(a=(1.2, 1.3)) == [], "it may have given it back"


def test_a_lock_that_was_released_before_is_had_at_once(said: Said) -> None:
    said.got("a/1", 5, 1, 1.1, upto=3.0)
    said.ended("releases", "a/1", 5, 1.15)
    said.got("b/1", 7, 1.2, 1.3)
    assert said.wrong(a=(1.18, 10.0)) == []


def test_a_late_act_with_an_old_token_is_refused_and_counted(said: Said) -> None:
    said.got("a/1", 5, 1, 1.1)
    said.got("b/1", 7, 2.0, 2.5)
    said.got("a/1", 5, 1.2, 2.6, word="acts")
    assert said.wrong() == [] and said.record.counts["refused for its token"] == 1


def test_those_of_a_process_that_is_gone_wait_no_more(said: Said) -> None:
    for who in ("a/1", "a/2", "b/1"):
        said.asks(who)
    said.record.gone("a")
    assert said.record.waits("stock 1") == ["b/1"]


def test_actions_are_taken_again_with_the_first_one_that_began_after(said: Said) -> None:
    for who, first, last in (("a", 1, 2), ("b", 2, 9), ("b", 10, 11), ("c", 4, 6), ("alone", 3, 4)):
        said.record.take({"what": "beat", "who": who, "first_ns": first, "last_ns": last})
    assert said.record.served_again_ns(3, "c") == 11 and said.record.served_again_ns(3, "x") == 6
    assert said.record.served_again_ns(20, "x") == 0


def test_clients_tell_it_over_a_socket(tmp_path: Path) -> None:
    record = Record()
    resource = Resource(record, tmp_path / "socket")
    teller = Teller(str(tmp_path / "socket"), "a/1")
    teller.say("asks", lock="stock 1", at_ns=3)
    until(lambda: record.waits("stock 1") == ["a/1"])
    teller.close()
    resource.close()
