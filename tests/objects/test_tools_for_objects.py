"""What the command does with a directory of many objects."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from objects.lives import Lives
from objects.rooms import Device, Room, crashed

import coopy
from coopy import Quarantined

pytest.importorskip("click", reason="the extra [cli] is not installed")

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: object) -> tuple[int, str, str]:
        from coopy.cli.app import app

        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            app([str(each) for each in arguments], prog_name="coopy")
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


@pytest.fixture
def lives(in_memory: Path) -> Lives:
    return Lives(in_memory / "data")


@pytest.fixture
def rooms(tmp_path: Path) -> Path:
    """Rooms with a past; two objects are of another class."""
    with coopy.objects(Room, tmp_path / "data") as rooms:
        rooms["42"].say("ann", "hi")
        rooms["7"].say("bob")
        rooms["42"].say("cid")
        with pytest.raises(ValueError, match="no"):
            rooms["42"].fail("no")
        with pytest.raises(ValueError, match="no"):
            rooms["42"].undo("no")
        rooms.of(Device)["d"].heard("x")
        rooms.of(Device)["e"].heard("y")
        rooms["42"].last()  # It is loaded again after what was undone, if it is not yet, so that closing writes its state.
    return tmp_path / "data"


def test_keys_are_listed(rooms: Path, run: Run) -> None:
    assert run("keys", rooms)[:2] == (0, "42\n7\n")
    assert run("keys", rooms, "4")[1] == "42\n"
    assert "--of objects.rooms:Device" in run("keys", rooms)[2]
    assert run("keys", rooms, "--of", "objects.rooms:Device")[1] == "d\ne\n"
    assert json.loads(run("keys", rooms, "--json")[1]) == {"keys": ["42", "7"], "classes": ["objects.rooms:Device"]}


def test_the_log_has_the_calls_of_one_object_or_of_all(rooms: Path, run: Run) -> None:
    code, out, _ = run("log", rooms, "--key", "42")
    lines = out.splitlines()
    assert code == 0 and len(lines) == 4
    assert "say('ann', 'hi')" in lines[0] and lines[2].endswith("raised") and lines[3].endswith("withdrawn")
    one = [json.loads(line) for line in run("log", rooms, "--key", "42", "--json")[1].splitlines()]
    everything = [json.loads(line) for line in run("log", rooms, "--json")[1].splitlines()]
    assert [each for each in everything if each["key"] == "42"] == one
    assert [each["outcome"] for each in one] == ["returned", "returned", "raised", "withdrawn"]
    assert [each["key"] for each in everything] == [
        "42",
        "7",
        "42",
        "42",
        "42",
        "objects.rooms:Device d",
        "objects.rooms:Device e",
    ]
    assert len(run("log", rooms, "--key", "42", "--method", "say")[1].splitlines()) == 2
    assert len(run("log", rooms, "--key", "42", "--since", one[1]["index"], "--until", one[2]["index"])[1].splitlines()) == 2
    assert "heard('x')" in run("log", rooms, "--key", "d", "--of", "objects.rooms:Device")[1]


def test_an_object_is_shown_as_it_is_and_as_it_was(rooms: Path, run: Run) -> None:
    code, out, _ = run("show", rooms, "--key", "42")
    assert code == 0 and "'no'" in out and "'cid'" in out and out.startswith("'42', action ")
    assert "'cid'" not in run("show", rooms, "--key", "42", "--at", "1")[1]
    said = json.loads(run("show", rooms, "--key", "42", "--path", ".said", "--json", "--at", "1")[1])
    assert (said["key"], said["index"], said["state"]) == ("42", 1, [["ann", "hi"]])
    assert "'x'" in run("show", rooms, "--key", "d", "--of", "objects.rooms:Device")[1]


def test_two_states_of_an_object_are_compared(rooms: Path, run: Run) -> None:
    code, out, _ = run("diff", rooms, "1", "3", "--key", "42")
    assert code == 0 and "+ .said[1]" in out and "'cid'" in out
    assert json.loads(run("diff", rooms, "1", "3", "--key", "42", "--json")[1])["differences"][0]["kind"] == "added"


def test_wrong_uses_say_what_to_do(rooms: Path, run: Run, tmp_path: Path) -> None:
    with coopy.init_system(Room("x"), tmp_path / "one"):
        pass
    for arguments, said in (
        (("show", rooms), "--key KEY"),
        (("show", rooms, "--key", "8"), "there is no object '8'"),
        (("show", rooms, "--key", "7", "--at", "1"), "there was no object '7' then"),
        (("show", tmp_path / "one", "--key", "8"), "Leave out --key"),
        (("log", rooms, "--follow"), "--follow"),
        (("verify", rooms, "--twice"), "--twice"),
        (("repair", rooms, "--release"), "--key KEY"),
        (("repair", rooms, "--key", "42", "--release"), "has not died"),
        (("repair", rooms, "--key", "42", "--withdraw", "2"), "no call of '42'"),
        (("repair", rooms, "--key", "42", "--withdraw", "1"), "is in the state of '42'"),
        (("repair", rooms, "--key", "42", "--reinstate", "1"), "was not withdrawn"),
        (("repair", rooms, "--key", "42", "--withdraw", "1", "--release"), "one of them at a time"),
    ):
        code, _, err = run(*arguments)
        assert code == 2 and said in err, (arguments, err)


def test_each_object_is_verified_against_its_states(rooms: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = run("verify", rooms)
    assert code == 0 and "2 objects, 2 states compared: 0 problems" in out
    assert "not verified: the objects of objects.rooms:Device" in out

    def say(self: Any, who: str, text: str = "") -> int:
        self.said.append(("nobody", text))
        return len(self.said)

    monkeypatch.setattr(Room, "say", say)
    code, out, _ = run("verify", rooms)
    assert code == 1 and "another state than was written" in out and "2 problems" in out
    assert json.loads(run("verify", rooms, "--json")[1])["problems"][0]["key"] == "42"


def test_the_directory_may_be_in_use_and_nothing_is_changed(tmp_path: Path, run: Run) -> None:
    with coopy.objects(Room, tmp_path / "data") as rooms:
        rooms["42"].say("ann")
        before = {path: path.read_bytes() for path in (tmp_path / "data").iterdir()}
        assert "'ann'" in run("show", tmp_path / "data", "--key", "42")[1]
        assert run("log", tmp_path / "data")[0] == run("verify", tmp_path / "data")[0] == 0
        assert {path: path.read_bytes() for path in (tmp_path / "data").iterdir()} == before


# -- repair


def test_an_object_is_released_by_the_command(lives: Lives, run: Run) -> None:
    lives.live("mortals['bad'].die('exit')", "mortals['bad'].die('exit')")
    lives.open().close()
    code, out, _ = run("repair", lives.path, "--key", "bad")
    assert code == 0 and "is quarantined" in out and out.count("die(), a call") == 2
    code, out, err = run("repair", lives.path, "--key", "bad", "--release")
    assert code == 1 and "to be released" in out and "nothing was changed" in err
    code, _, err = run("repair", lives.path, "--key", "bad", "--withdraw", "1")
    assert code == 2 and "nothing to withdraw" in err
    assert run("repair", lives.path, "--key", "bad", "--release", "--yes")[0] == 0
    with lives.open() as mortals:
        assert mortals["bad"].do("well") == 1


@pytest.mark.parametrize("way", ["told", "alarm", "load"])
def test_what_ends_the_process_is_withdrawn_and_taken_back(lives: Lives, run: Run, way: str, in_memory: Path) -> None:
    flag = in_memory / "flag"
    if way == "load":
        lives.live(
            f"(mortals['bad'].do('a'), mortals['bad'].die_if({str(flag)!r}), mortals['bad'].do('b'), mortals['x'].die('kill'))"
        )
        flag.touch()
        lives.live(*["mortals['bad'].look()"] * 2)
    elif way == "told":
        lives.live("mortals['bad'].do('a')", "mortals['teller'].tell('bad', 'die', 'exit')", "mortals.keys()")
    else:
        lives.live("mortals['bad'].do('a')", "mortals['bad'].die_soon('exit')", "mortals.keys()")
    with lives.open() as mortals:
        error = mortals.quarantined()["bad"]
    assert f"--withdraw {error.action}" in str(error)
    code, out, _ = run("repair", lives.path, "--key", "bad", "--withdraw", error.action)
    assert code == 1 and "can be taken back" in out
    code, out, err = run("repair", lives.path, "--key", "bad", "--withdraw", error.action, "--yes")
    assert code == 0, err
    done = {"load": ["a", "b"], "told": ["a"], "alarm": ["a", "soon"]}[way]
    mortals = lives.open()
    mortals.catch_up()
    assert mortals["bad"].look() == done
    assert not mortals.quarantined()
    crashed(mortals)  # No state is written: it can still be taken back.
    code, _, err = run("repair", lives.path, "--key", "bad", "--reinstate", error.action, "--yes")
    assert code == 0, err
    assert lives.live("mortals['bad'].look()")[0][0] == 3, "it is as it was"
    flag.unlink(missing_ok=True)


def test_an_action_that_is_the_last_of_its_object_is_withdrawn_as_well(lives: Lives, run: Run, in_memory: Path) -> None:
    flag = in_memory / "flag"
    lives.live(f"(mortals['bad'].do('a'), mortals['bad'].die_if({str(flag)!r}), mortals['x'].die('kill'))")
    flag.touch()
    lives.live(*["mortals['bad'].look()"] * 2)
    assert run("repair", lives.path, "--key", "bad", "--withdraw", "2", "--yes")[0] == 0
    mortals = lives.open()
    assert mortals["bad"].look() == ["a"]
    assert [call.outcome for call in mortals.history("bad")] == ["returned", "withdrawn"]
    crashed(mortals)
    flag.unlink()
    assert run("repair", lives.path, "--key", "bad", "--reinstate", "2", "--yes")[0] == 0
    with lives.open() as mortals:
        assert mortals["bad"].look() == ["a", "trap"]


def test_an_open_directory_is_not_mended(lives: Lives, run: Run) -> None:
    lives.live("mortals['bad'].die('exit')", "mortals['bad'].die('exit')")
    with lives.open() as mortals:
        code, _, err = run("repair", lives.path, "--key", "bad", "--release", "--yes")
        assert code == 1 and "is open in" in err
        with pytest.raises(Quarantined):
            mortals["bad"].look()


def test_one_of_another_class_is_released(lives: Lives, run: Run) -> None:
    lives.live("others['bad'].die('exit')", "others['bad'].die('exit')")
    lives.open().close()
    of = ("--of", "objects.mortals:Other")
    assert "is quarantined" in run("repair", lives.path, "--key", "bad", *of)[1]
    assert run("repair", lives.path, "--key", "bad", *of, "--release", "--yes")[0] == 0
    with lives.open() as mortals:
        assert not mortals.quarantined()
