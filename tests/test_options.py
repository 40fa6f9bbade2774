"""The options of a system: one table, from which come signatures, types, checks, `help()` and the page of the guide."""

from __future__ import annotations

import inspect
import pydoc
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import coopy.aio
import coopy.testing
from coopy import UsageError, init_system
from coopy.place.options import (
    DEVELOPMENT,
    GROUPS,
    REPLICATED,
    TABLE,
    THIS_MACHINE,
    AllOptions,
    InDirectory,
    InMemory,
    OfDirectories,
    OfNodes,
    Option,
    Options,
    Positional,
    Settings,
    checked,
    show,
)

ROOT = Path(__file__).resolve().parents[1]
GENERATOR = ROOT / "docs" / "internals" / "generate_options.py"


class Wiki:
    def __init__(self) -> None:
        self.pages: list[str] = []

    def create_page(self, name: str) -> None:
        self.pages.append(name)


def typed(options: Any) -> dict[str, str]:
    """The names and types of a TypedDict, as they are written."""
    return {name: kind.__forward_arg__ for name, kind in options.__annotations__.items()}


# -- one table


def test_what_a_type_checker_sees_has_the_names_and_types_of_the_table() -> None:
    assert typed(AllOptions) == Settings.__annotations__
    assert set(Settings.__annotations__) == set(TABLE)


def test_the_typed_parts_are_the_parts_of_the_table() -> None:
    assert set(typed(Positional)) == {name for name, option in TABLE.items() if option.is_positional}
    assert set(typed(OfDirectories)) == {name for name, option in TABLE.items() if option.is_of_directories}
    nodes = {name for name, option in TABLE.items() if option.group == REPLICATED}
    assert set(typed(OfNodes)) == nodes - set(typed(Positional))
    assert set(typed(Options)) == set(TABLE) - set(typed(Positional))
    assert set(typed(InDirectory)) == set(TABLE) - nodes
    assert set(typed(InMemory)) == set(TABLE) - nodes - set(typed(OfDirectories))


def test_each_option_has_a_group_a_sentence_and_a_default_that_its_check_takes() -> None:
    for name, option in TABLE.items():
        assert option.group in GROUPS, name
        assert option.words.endswith("."), name
        option.check(name, option.default)


def test_one_more_line_of_the_table_is_enough_for_signature_help_and_check(monkeypatch: pytest.MonkeyPatch) -> None:
    def positive(name: str, value: Any) -> Any:
        if value < 1:
            raise UsageError(f"{name}={value}: must be positive")
        return value

    more = Option(THIS_MACHINE, 5, "How much colour the log has.", positive, False, False)
    more.__set_name__(Settings, "colour")
    monkeypatch.setitem(TABLE, "colour", more)
    monkeypatch.setitem(Settings.__annotations__, "colour", "int")

    def opens(obj: object, **options: Any) -> Settings:
        """Opens.

        Args:
            obj: what to open.
            {options}
        """
        return Settings.of("opens", options)

    show(opens, TABLE)
    assert inspect.signature(opens).parameters["colour"].default == 5
    assert "    colour: How much colour the log has." in inspect.cleandoc(opens.__doc__ or "")
    assert vars(opens(Wiki))["colour"] == 5
    with pytest.raises(UsageError, match="colour=0: must be positive"):
        opens(Wiki, colour=0)


def test_the_page_of_the_guide_is_what_the_table_says_today() -> None:
    ran = subprocess.run([sys.executable, str(GENERATOR), "--check"], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr


# -- what a person sees


def test_each_function_that_opens_shows_the_options_that_it_takes() -> None:
    nodes = {name for name, option in TABLE.items() if option.group == REPLICATED}
    of_directories = {name for name, option in TABLE.items() if option.is_of_directories}
    shown = {
        init_system: set(TABLE),
        coopy.aio.open: set(TABLE),
        coopy.testing.open_system: set(TABLE) - nodes,
        coopy.testing.memory_system: set(TABLE) - nodes - of_directories,
    }
    for function, names in shown.items():
        parameters = inspect.signature(function).parameters
        assert {name for name in parameters if name in TABLE} == names
        assert all(parameters[name].default == TABLE[name].default for name in names)
        assert not any(each.kind is each.VAR_KEYWORD for each in parameters.values())
        text = pydoc.render_doc(function, renderer=pydoc.plaintext)
        for name in names:
            assert re.search(rf"^ +{name}: ", text, re.M), name
        assert "{options}" not in text


def test_the_documentation_has_an_example() -> None:
    assert 'wiki = init_system(Wiki, "data", snapshot_time=3600, keep=3)' in (init_system.__doc__ or "")


def test_a_signature_is_one_to_whoever_looks_at_it() -> None:
    signature: Any = init_system.__signature__  # type: ignore[attr-defined]
    assert isinstance(signature, inspect.Signature)
    assert signature == inspect.signature(init_system)
    assert str(signature) == str(inspect.signature(init_system)) == repr(signature)
    bound = inspect.signature(init_system).bind(Wiki, "data", 60, keep=3)
    assert bound.arguments["snapshot_time"] == 60
    assert hash(signature) == hash(inspect.signature(init_system))


# -- checks


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"durability": "often"}, "durability='often': must be one of 'sync', 'buffered'"),
        ({"durability": ["sync"]}, "must be one of 'sync', 'buffered'"),
        ({"snapshot_time": "often"}, "snapshot_time='often': must be a number, at least 0"),
        ({"snapshot_time": float("nan")}, "must be a number, at least 0"),
        ({"segment_bytes": 0}, "segment_bytes=0: must be a number, at least 1"),
        ({"snapshot_growth": -1}, "snapshot_growth=-1: must be a number, at least 0"),
        ({"snapshot_replay": float("inf")}, "must be a number, at least 0"),
        ({"wait": None}, "wait=None: must be a number, at least 0"),
        ({"keep": 0}, "keep=0: must be a whole number of snapshots"),
        ({"keep": True}, "keep=True: must be a whole number of snapshots"),
        ({"keep_for": "week"}, "keep_for='week': must be seconds"),
        ({"on_divergence": "ignore"}, "on_divergence='ignore': must be 'report', 'refuse', or callable"),
        ({"progress": 5}, "progress=5: must be callable"),
        ({"node": "a:5466"}, "node='a:5466': is for one of a cluster"),
    ],
)
def test_a_wrong_value_is_refused_before_anything_is_opened(given: dict[str, Any], text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=re.escape(text)):
        init_system(Wiki, tmp_path / "data", **given)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("name", "meant"),
    [("durabilty", "durability"), ("snapshot_grow", "snapshot_growth"), ("keepfor", "keep_for"), ("selfcheck", "self_check")],
)
def test_of_a_misspelt_option_it_is_said_which_is_meant(name: str, meant: str, tmp_path: Path) -> None:
    given: dict[str, Any] = {name: 1}
    said = rf"got an unexpected keyword argument '{name}'\. Did you mean '{meant}'\?"
    with pytest.raises(TypeError, match=rf"init_system\(\) {said}"):
        init_system(Wiki, tmp_path / "data", **given)
    with pytest.raises(TypeError, match=rf"open_system\(\) {said}"):
        coopy.testing.open_system(Wiki, tmp_path / "data", **given)
    assert not (tmp_path / "data").exists()


def test_an_option_that_is_like_no_other_is_refused_without_a_guess(tmp_path: Path) -> None:
    given: dict[str, Any] = {"xyzzy": 1}
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'xyzzy'$"):
        init_system(Wiki, tmp_path / "data", **given)


@pytest.mark.parametrize("name", ["cluster", "timeout", "master"])
def test_a_system_for_tests_has_no_options_of_nodes(name: str, tmp_path: Path) -> None:
    given: dict[str, Any] = {name: True}
    with pytest.raises(TypeError, match=rf"memory_system\(\) got an unexpected keyword argument '{name}'"):
        coopy.testing.memory_system(Wiki, **given)
    with pytest.raises(TypeError, match=rf"open_system\(\) got an unexpected keyword argument '{name}'"):
        coopy.testing.open_system(Wiki, tmp_path / "data", **given)


def test_settings_have_every_option_and_say_what_was_given_but_no_password() -> None:
    found = Settings.of("init_system", {"keep": 3, "password": "a secret", "replica_password": "another"})
    assert set(vars(found)) == set(TABLE)
    assert (found.keep, found.durability, found.segment_bytes) == (3, "sync", TABLE["segment_bytes"].default)
    assert "keep=3" in repr(found) and "secret" not in repr(found) and "another" not in repr(found)
    assert found.but(keep=5).keep == 5 and found.keep == 3


def test_a_check_returns_the_value_to_use() -> None:
    assert checked("snapshot_growth", 1.5) == 1
    assert checked("fork", None) in (True, False)
    assert checked("wait", 1e300) < 1e300
    assert TABLE["check"].group == TABLE["validation"].group == DEVELOPMENT
