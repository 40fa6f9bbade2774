"""A command that is given another class than that of the directory refuses, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("click", reason="the extra [cli] is not installed")

COMMANDS = {
    "log": "log {} -c {}",
    "log, a part": "log {} --since 2 --json -c {}",
    "verify": "verify {} -c {}",
    "show": "show {} -c {}",
    "show the past": "show {} --at 0 -c {}",
    "diff": "diff {} 0 1 -c {}",
    "snapshot": "snapshot {} -c {}",
    "rehearse": "rehearse {} {}",
}
OTHERS = {
    "Like": "holds a system of Shop, not of Like",
    "Fewer": "holds a system of Shop, not of Fewer",
    "Larger": "holds a system of Shop, not of Larger",
    "Words": "holds a system of Shop, not of Words",
}

Coopy = Callable[[str], tuple[int, str, str]]


def files(directory: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in directory.iterdir() if each.name != "lock"}


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("command", COMMANDS)
def test_another_class_is_refused_by_every_command_with_both_names(coopy: Coopy, command: str, other: str) -> None:
    before = files(Path("data"))
    code, out, err = coopy(COMMANDS[command].format("data", f"shops_of_the_tests:{other}"))
    assert (code != 0, OTHERS[other] in out + err) == (True, True), out + err
    assert files(Path("data")) == before


@pytest.mark.parametrize("command", COMMANDS)
def test_a_class_of_python_itself_is_none_of_a_domain(coopy: Coopy, command: str) -> None:
    code, out, err = coopy(COMMANDS[command].format("data", "builtins:object"))
    assert (code, out, "no state is of the class object itself" in err) == (2, "", True), err


@pytest.mark.parametrize("command", COMMANDS)
def test_a_class_that_has_another_name_now_is_taken(coopy: Coopy, command: str) -> None:
    code, out, err = coopy(COMMANDS[command].format("data", "shops_of_the_tests:Kiosk"))
    assert code == 0, out + err


@pytest.mark.parametrize("command", COMMANDS)
def test_a_class_that_the_one_of_the_state_is_derived_from_is_taken(coopy: Coopy, command: str) -> None:
    """A method may have given the state a class derived from its own; the methods that run are those of the state."""
    code, out, err = coopy(COMMANDS[command].format("data", "shops_of_the_tests:Base"))
    assert code == 0, out + err
