"""An object that ends its process twice is left alone, and nobody else is. The processes are real, and die."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from objects.lives import Lives
from objects.mortals import Mortal, Other

import coopy
from coopy import Quarantined
from coopy.disk import journal
from coopy.disk.segment import BLOCK


@pytest.fixture
def lives(in_memory: Path) -> Lives:
    return Lives(in_memory / "data")


ENDS = {"crash": -signal.SIGSEGV, "exit": 3, "kill": -signal.SIGKILL}


@pytest.mark.parametrize("how", ENDS)
def test_an_object_that_ends_its_process_twice_is_quarantined_alone(lives: Lives, how: str) -> None:
    died, again, third, other = lives.live(
        f"mortals['bad'].die({how!r})",
        f"mortals['bad'].die({how!r})",
        f"mortals['bad'].die({how!r})",
        "mortals['good'].do('well')",
    )
    assert died[0] == again[0] == ENDS[how]
    assert third[:2] == [0, "Quarantined"] and other == [0, "returned", 1]
    assert "'bad' is quarantined" in third[2] and "die()" in third[2] and "all other objects are served" in third[2]
    assert f"coopy repair {lives.path} --key bad --release" in third[2]


def test_the_error_says_key_method_and_action(lives: Lives) -> None:
    lives.live("mortals['bad'].do('first')", "mortals['bad'].die('exit')", "mortals['bad'].die('exit')")
    with lives.open() as mortals:
        with pytest.raises(Quarantined) as caught:
            mortals["bad"].look()
        error = caught.value
        assert (error.key, error.method, error.doing) == ("bad", "die", "call")
        assert error.action == mortals.status()["last"] + 1
        assert list(mortals.quarantined()) == ["bad"]
        assert "bad" in mortals and mortals.keys() == ["bad"]
        assert [call.method for call in mortals.history("bad")] == ["do"]
        assert mortals.replay("bad", 1).done == ["first"]


WAYS = {
    "a read": ("mortals['bad'].look_and_die('exit')", "read", "look_and_die"),
    "a first call": ("mortals['new'].die('exit')", "call", "die"),
    "the making of an object": ("mortals['unborn'].do('x')", "call", "do"),
    "a call in a loop": ("await mortals['bad'].die('exit')", "call", "die"),
    "a call among many": (
        "await gather(*(mortals[str(n)].do('x') for n in range(9)), mortals['bad'].die('exit'))",
        "call",
        "die",
    ),
    "an object of another class": ("others['bad'].die('exit')", "call", "die"),
    "a call that it has told itself": ("mortals['bad'].tell('bad', 'die', 'exit')", "told", "die"),
}


@pytest.mark.parametrize("way", WAYS)
def test_whatever_runs_of_an_object_is_known_when_the_process_dies(lives: Lives, way: str) -> None:
    text, doing, method = WAYS[way]
    first, second, third = lives.live("mortals['bad'].do('well')", text, text)
    assert (first[0], second[0], third[0]) == (0, 3, 3)
    with lives.open() as mortals:
        mortals.catch_up()
        found = (mortals.of(Other) if "others" in text else mortals).quarantined()
        [(key, error)] = found.items()
        assert (error.doing, error.method) == (doing, method)
        assert key in text
        assert mortals["good"].do("well") == 1


def test_an_alarm_that_ends_the_process_does_not_end_every_start(lives: Lives) -> None:
    first, second, third = lives.live(
        "mortals['bad'].die_soon('exit')", "mortals['good'].do('not come to')", "mortals['good'].do('well')"
    )
    assert (first[0], second[0], third) == (3, 3, [0, "returned", 1])
    with lives.open() as mortals:
        assert mortals.quarantined()["bad"].doing == "alarm"
        assert mortals.quarantined()["bad"].method == "die"


def test_a_told_call_that_ends_the_process_does_not_end_every_start(lives: Lives) -> None:
    first, second, third = lives.live(
        "mortals['teller'].tell('bad', 'die', 'kill')", "mortals['good'].do('not come to')", "mortals['good'].do('well')"
    )
    assert (first[0], second[0], third) == (-signal.SIGKILL, -signal.SIGKILL, [0, "returned", 1])
    with lives.open() as mortals:
        assert list(mortals.quarantined()) == ["bad"]
        assert mortals["teller"].look() == ["told"]


def test_an_action_that_ends_the_process_when_it_is_replayed_is_named(lives: Lives, in_memory: Path) -> None:
    flag = in_memory / "flag"
    # The process is killed afterwards, so that no state is written.
    lives.live(
        f"(mortals['bad'].do('a'), mortals['bad'].die_if({str(flag)!r}), mortals['bad'].do('b'), mortals['x'].die('kill'))"
    )
    flag.touch()
    first, second, third, good = lives.live(*["mortals['bad'].look()"] * 3, "mortals['good'].do('well')")
    assert (first[0], second[0]) == (3, 3) and third[:2] == [0, "Quarantined"] and good == [0, "returned", 1]
    assert "replaying action 2" in third[2] and "--withdraw 2" in third[2]
    with lives.open() as mortals:
        assert mortals.quarantined()["bad"].action == 2
        with pytest.raises(Quarantined):
            mortals.replay("bad", 3)
        flag.unlink()
        mortals.release("bad")
        assert mortals["bad"].look() == ["a", "trap", "b"]


def test_a_state_that_ends_the_process_when_it_is_written_is_known(lives: Lives, in_memory: Path) -> None:
    flag = in_memory / "flag"
    lives.live(f"mortals['bad'].die_when_pickled({str(flag)!r})")
    flag.touch()
    one, two, three, four = lives.live(*["mortals['bad'].do('x')"] * 3, "mortals['good'].do('well')")
    assert (one[0], two[0]) == (3, 3) and three[:2] == [0, "Quarantined"] and four == [0, "returned", 1]
    assert "pickling its state" in three[2]


def test_once_may_be_chance(lives: Lives) -> None:
    first, second = lives.live("mortals['a'].die('exit')", "mortals['a'].do('well')")
    assert first[0] == 3 and second == [0, "returned", 1]
    with lives.open() as mortals:
        assert not mortals.quarantined()


def test_what_ends_well_in_between_strikes_out_what_was_before(lives: Lives, in_memory: Path) -> None:
    flag = str(in_memory / "flag")
    die, put, take = f"mortals['a'].die_if({flag!r})", f"os.close(os.open({flag!r}, os.O_CREAT))", f"os.unlink({flag!r})"
    ends = lives.live("mortals['a'].do('x')", put, die, take, die, put, die, take, die)
    assert [end[0] for end in ends] == [0, 0, 3, 0, 0, 0, 3, 0, 0]


def test_good_calls_in_between_strike_out_no_bad_ones(lives: Lives) -> None:
    ends = lives.live(
        "mortals['a'].die('exit')", "mortals['a'].do('well')", "mortals['a'].die('exit')", "mortals['a'].do('well')"
    )
    assert [end[:2] for end in ends] == [[3, ""], [0, "returned"], [3, ""], [0, "Quarantined"]]


def test_two_methods_of_an_object_that_each_end_the_process_once_are_two(lives: Lives) -> None:
    *_, last = lives.live("mortals['a'].die('exit')", "mortals['a'].die_otherwise('kill')", "mortals['a'].do('well')")
    assert last[:2] == [0, "Quarantined"]


def test_one_death_is_counted_once_however_often_the_directory_is_opened(lives: Lives) -> None:
    lives.live("mortals['a'].die('exit')")
    for _ in range(3):
        lives.open().close()
    assert lives.live("mortals['a'].do('well')") == [[0, "returned", 1]]


def test_a_death_that_was_written_down_and_not_wiped_off_is_counted_once(lives: Lives) -> None:
    lives.live("mortals['a'].die('exit')")
    page = (lives.path / "running.dat").read_bytes()
    lives.open().close()
    (lives.path / "running.dat").write_bytes(page)
    with lives.open() as mortals:
        assert not mortals.quarantined()


def test_an_object_that_is_released_is_called_again_and_its_alarm_runs(lives: Lives) -> None:
    lives.live("mortals['bad'].die_soon('exit')", "mortals['good'].do('x')")
    with lives.open() as mortals:
        mortals.catch_up()
        with pytest.raises(KeyError):
            mortals.release("good")
    assert lives.live("(mortals.release('bad'), mortals.catch_up())")[0][0] == 3, "the alarm was kept"


def test_who_tells_an_object_that_is_quarantined_is_served_and_it_hears_of_it_when_it_is_released(lives: Lives) -> None:
    lives.live("mortals['bad'].do('a')", "mortals['bad'].die('exit')", "mortals['bad'].die('exit')")
    with lives.open() as mortals:
        mortals["teller"].tell("bad", "do", "b")
        mortals["teller"].tell("bad", "do", "c")
        mortals["teller"].tell("never", "do", "c")
        mortals.catch_up()
    with lives.open() as mortals:
        mortals["teller"].tell("bad", "do", "d")
        mortals.catch_up()
        assert mortals["never"].look() == ["c"] and list(mortals.quarantined()) == ["bad"]
        mortals.release("bad")
        mortals.catch_up()
        assert mortals["bad"].look() == ["a", "b", "c", "d"]
    with lives.open() as mortals:
        assert mortals["bad"].look() == ["a", "b", "c", "d"]


def test_files_that_are_garbled_are_as_if_they_were_not_there(lives: Lives) -> None:
    lives.live("mortals['bad'].die('exit')", "mortals['bad'].die('exit')")
    (lives.path / "deaths.json").write_text("[{]")
    (lives.path / "running.dat").write_bytes(b"COOPYRUN" + bytes(range(200)))
    with lives.open() as mortals:
        assert not mortals.quarantined()
        assert mortals["bad"].do("well") == 1


def test_compaction_leaves_what_a_quarantined_object_needs(lives: Lives, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "FIRST_BYTES", 3 * BLOCK)
    small: Any = {"validation": "off", "segment_bytes": 3 * BLOCK, "durability": "buffered"}
    with coopy.objects(Mortal, lives.path, **small) as mortals:
        mortals["bad"].do("a")
    lives.live("mortals['bad'].die('exit')", "mortals['bad'].die('exit')")
    with coopy.objects(Mortal, lives.path, **small) as mortals:
        for _ in range(150):
            mortals["good"].do("x" * 3000)
        assert mortals.compact() == 0
        mortals.release("bad")
        assert mortals["bad"].look() == ["a"]
        assert mortals.compact() > 0
        mortals.passivate()
        assert mortals["bad"].look() == ["a"]
