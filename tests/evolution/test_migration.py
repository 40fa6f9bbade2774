"""Code that has moved on opens what earlier code wrote, or says what to write so that it does."""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import coopy
from coopy import control, init_system
from coopy.errors import (
    ChangedSignature,
    DecodingError,
    FailedUpgrade,
    MissingMethod,
    NewerVersion,
    ReplayDiverged,
    UndecodableAction,
    UsageError,
)
from coopy.migration import Call, Migration
from coopy.past.reading import Reading

Code = Callable[..., ModuleType]

HEAD = """
    from coopy.migration import Call, Migration, migrated
"""
FIRST = """
    class Page:
        def __init__(self, text):
            self.text = text

    class Wiki:
        def __init__(self):
            self.pages = {}
            self.born = self._clock.now()

        def create(self, name, text):
            if name in self.pages:
                raise KeyError(name)
            self.pages[name] = Page(text)
            return len(self.pages)

        def put(self, name, page):
            self.pages[name] = page

        def drop(self, name):
            del self.pages[name]
"""


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Code]:
    """Gives a module ``wiki`` new code, as an edit and a restart do."""
    folder = tmp_path / "code"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(source: str, name: str = "wiki", **others: str) -> ModuleType:
        for each, text in {name: source, **others}.items():
            (folder / f"{each}.py").write_text(textwrap.dedent(text))
            sys.modules.pop(each, None)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    yield write
    for name in ("wiki", "pages"):
        sys.modules.pop(name, None)


def opened(module: ModuleType, tmp_path: Path, **options: Any) -> Any:
    return init_system(module.Wiki, tmp_path / "data", validation="off", **options)


def written(code: Code, tmp_path: Path, *steps: Callable[[Any, ModuleType], object], snapshot: bool = False) -> None:
    """A directory that the first code wrote."""
    module = code(FIRST)
    wiki = opened(module, tmp_path)
    for step in steps:
        with contextlib.suppress(KeyError):
            step(wiki, module)
    if snapshot:
        control(wiki).take_snapshot()
    control(wiki).close()


def create(name: str = "Home", text: str = "hello") -> Callable[[Any, ModuleType], object]:
    return lambda wiki, module: wiki.create(name, text)


def put(name: str = "Home", text: str = "hello") -> Callable[[Any, ModuleType], object]:
    return lambda wiki, module: wiki.put(name, module.Page(text))


def with_a_migration(version: int, upgrades: str, source: str = FIRST) -> str:
    made = f"\n    upgrades = Migration(version={version})\n" + textwrap.indent(textwrap.dedent(upgrades), "    ")
    return HEAD + made + source.replace("    class Wiki:", "    @migrated(upgrades)\n    class Wiki:")


RENAMED = FIRST.replace("def create", "def create_page")
RENAMING = """
@upgrades.action("create", version=1)
def create(name, text):
    return Call("create_page", name, text)
"""


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != "lock"}


# -- actions


def test_an_upgraded_action_calls_the_method_that_does_it_today(code: Code, tmp_path: Path) -> None:
    written(code, tmp_path, create("A"), create("B"))
    module = code(with_a_migration(2, RENAMING, RENAMED))
    wiki = opened(module, tmp_path)
    assert list(wiki.pages) == ["A", "B"]
    assert wiki.create_page("C", "new") == 3
    control(wiki).close()
    again = opened(module, tmp_path)
    assert list(again.pages) == ["A", "B", "C"]
    control(again).close()


def test_the_first_opening_with_a_higher_version_is_recorded_once(code: Code, tmp_path: Path) -> None:
    written(code, tmp_path, create())
    module = code(with_a_migration(2, RENAMING, RENAMED))
    for _ in range(3):
        wiki = opened(module, tmp_path)
        assert control(wiki).index == 2
        control(wiki).close()


def test_what_a_newer_version_recorded_is_not_upgraded(code: Code, tmp_path: Path) -> None:
    # A later version has a method of the old name again, which means another thing.
    written(code, tmp_path, create("A"))
    module = code(with_a_migration(2, RENAMING, RENAMED + "\n        def create(self, what):\n            self.made = what\n"))
    wiki = opened(module, tmp_path)
    wiki.create("something else")
    wiki.create_page("B", "")
    control(wiki).close()
    again = opened(module, tmp_path)
    assert (again.made, list(again.pages)) == ("something else", ["A", "B"])
    control(again).close()


def test_what_is_several_versions_old_passes_each_upgrade_in_turn(code: Code, tmp_path: Path) -> None:
    written(code, tmp_path, create("A"))
    second = code(with_a_migration(2, RENAMING, RENAMED))
    wiki = opened(second, tmp_path)
    wiki.create_page("B", "b")
    control(wiki).close()
    upgrades = (
        RENAMING
        + """
@upgrades.action("create_page", version=2)
def create_page(name, text):
    return Call("write", name=name, text=text, tags=["old"])
"""
    )
    source = FIRST.replace("def create(self, name, text)", "def write(self, *, name, text, tags)")
    third = opened(code(with_a_migration(3, upgrades, source)), tmp_path)
    assert list(third.pages) == ["A", "B"]
    control(third).close()


def test_an_action_that_is_nothing_any_more_is_left_out_however_it_ended(code: Code, tmp_path: Path) -> None:
    written(code, tmp_path, create("A"), create("A"), put("B"), create("C"))
    source = FIRST.replace("def create(", "def create_page(")
    upgrades = "@upgrades.action('create', version=1)\ndef create(name, text):\n    return None\n"
    wiki = opened(code(with_a_migration(2, upgrades, source)), tmp_path)
    assert list(wiki.pages) == ["B"]
    wiki.put("D", 1)
    control(wiki).close()
    again = opened(code(with_a_migration(2, upgrades, source)), tmp_path)
    assert list(again.pages) == ["B", "D"]
    control(again).close()


def test_an_upgraded_action_that_ends_otherwise_than_it_did_is_noticed(code: Code, tmp_path: Path) -> None:
    written(code, tmp_path, create("A"), create("B"))
    upgrades = "@upgrades.action('create', version=1)\ndef create(name, text):\n    return Call('create', 'A', text)\n"
    with pytest.raises(ReplayDiverged, match=r"action 2 .*create\(\): recorded as 'returned', but replay 'raised'"):
        opened(code(with_a_migration(2, upgrades)), tmp_path)


def test_an_upgrade_that_raises_is_named_with_its_action_and_its_version(code: Code, tmp_path: Path) -> None:
    written(code, tmp_path, create("A"))
    upgrades = "@upgrades.action('create', version=1)\ndef create(name):\n    return None\n"
    with pytest.raises(FailedUpgrade, match=r"action 1 .*create\(\) from version 1, raised TypeError"):
        opened(code(with_a_migration(2, upgrades)), tmp_path)


def test_an_upgrade_must_return_a_call(code: Code, tmp_path: Path) -> None:
    written(code, tmp_path, create("A"))
    upgrades = "@upgrades.action('create', version=1)\ndef create(name, text):\n    return 'create'\n"
    with pytest.raises(FailedUpgrade, match="must return a coopy.migration.Call, or None"):
        opened(code(with_a_migration(2, upgrades)), tmp_path)


# -- states


TAGS = "@upgrades.state('wiki:Page', version=1)\ndef page(attributes):\n    return {**attributes, 'tags': [1]}\n"


@pytest.mark.parametrize("snapshot", [True, False], ids=["in a snapshot", "in an argument"])
def test_a_new_attribute_is_given_to_what_was_kept_without_it(code: Code, tmp_path: Path, snapshot: bool) -> None:
    written(code, tmp_path, put(), snapshot=snapshot)
    source = FIRST.replace("self.text = text", "self.text = text; self.tags = [2]")
    module = code(with_a_migration(2, TAGS, source))
    for _ in range(2):
        wiki = opened(module, tmp_path)
        page = wiki.pages["Home"]
        assert (type(page), page.text, page.tags) == (module.Page, "hello", [1])
        wiki.put("New", module.Page("new"))
        assert wiki.pages["New"].tags == [2]
        control(wiki).take_snapshot()
        control(wiki).close()


def test_the_domain_object_itself_is_upgraded(code: Code, tmp_path: Path) -> None:
    written(code, tmp_path, create(), snapshot=True)
    upgrades = "@upgrades.state('wiki:Wiki', version=1)\ndef wiki(a):\n    return {**a, 'count': len(a['pages'])}\n"
    wiki = opened(code(with_a_migration(2, upgrades)), tmp_path)
    assert (wiki.count, list(wiki.pages)) == (1, ["Home"])
    control(wiki).close()


SLOTS = FIRST.replace("    class Page:", "    class Page:\n        __slots__ = ('text', 'tags')")
FROZEN = "\n    from dataclasses import dataclass\n" + FIRST.replace(
    "    class Page:\n        def __init__(self, text):\n            self.text = text",
    "    @dataclass(frozen=True)\n    class Page:\n        text: str\n        tags: list = None",
)
OWN = FIRST.replace(
    "    class Wiki:",
    "        def __getstate__(self):\n            return {'text': self.text}\n\n"
    "        def __setstate__(self, state):\n            self.__dict__.update(state)\n\n    class Wiki:",
)
SUBCLASS = FIRST.replace("class Page:", "class Page(dict):")


@pytest.mark.parametrize("source", [SLOTS, FROZEN, OWN, SUBCLASS], ids=["slots", "frozen dataclass", "__setstate__", "dict"])
def test_objects_of_every_kind_are_upgraded(code: Code, tmp_path: Path, source: str) -> None:
    module = code(source)
    wiki = opened(module, tmp_path)
    wiki.put("Home", module.Page("hello"))
    control(wiki).take_snapshot()
    control(wiki).close()
    module = code(with_a_migration(2, TAGS, source))
    again = opened(module, tmp_path)
    page = again.pages["Home"]
    assert (type(page), page.text, page.tags) == (module.Page, "hello", [1])
    control(again).close()


def test_an_object_of_which_only_its_class_was_kept_is_upgraded_too(code: Code, tmp_path: Path) -> None:
    bare = FIRST.replace("def __init__(self, text):\n            self.text = text", "pass")
    module = code(bare)
    wiki = opened(module, tmp_path)
    wiki.put("Home", module.Page())
    control(wiki).close()
    again = opened(code(with_a_migration(2, TAGS, bare)), tmp_path)
    assert vars(again.pages["Home"]) == {"tags": [1]}
    control(again).close()


def test_objects_that_know_each_other_still_do(code: Code, tmp_path: Path) -> None:
    module = code(FIRST)
    wiki = opened(module, tmp_path)
    first, second = module.Page("1"), module.Page("2")
    first.text, second.text = second, first
    wiki.put("first", first)
    control(wiki).take_snapshot()
    control(wiki).close()
    again = opened(code(with_a_migration(2, TAGS)), tmp_path)
    page = again.pages["first"]
    assert page.text.text is page and (page.tags, page.text.tags) == ([1], [1])
    control(again).close()


def test_an_upgrade_of_a_state_that_raises_is_named(code: Code, tmp_path: Path) -> None:
    written(code, tmp_path, create(), snapshot=True)
    upgrades = "@upgrades.state('wiki:Page', version=1)\ndef page(a):\n    return a['color']\n"
    with pytest.raises(DecodingError, match="an upgrade of the states of wiki:Page raised KeyError: 'color'"):
        opened(code(with_a_migration(2, upgrades)), tmp_path)


# -- names


@pytest.mark.parametrize("snapshot", [True, False], ids=["in a snapshot", "in an argument"])
def test_a_class_that_moved_is_found_where_it_is_now(code: Code, tmp_path: Path, snapshot: bool) -> None:
    written(code, tmp_path, put(), snapshot=snapshot)
    moved = FIRST.replace(
        "    class Page:\n        def __init__(self, text):\n            self.text = text\n", "    from pages import Leaf\n"
    )
    source = with_a_migration(2, "upgrades.renamed('wiki:Page', 'pages:Leaf')\n" + TAGS, moved)
    module = code(source, pages="class Leaf:\n    pass\n")
    wiki = opened(module, tmp_path)
    page = wiki.pages["Home"]
    assert (type(page), page.text, page.tags) == (module.Leaf, "hello", [1])
    control(wiki).take_snapshot()
    control(wiki).close()
    again = opened(module, tmp_path)
    assert again.pages["Home"].tags == [1]
    control(again).close()


def test_what_is_left_of_a_class_that_is_gone_can_be_looked_at(code: Code, tmp_path: Path) -> None:
    written(code, tmp_path, put(), snapshot=True)
    gone = FIRST.replace("class Page", "class Leaf").replace("Page(text)", "Leaf(text)")
    upgrades = """
        upgrades.renamed('wiki:Page', None)
        @upgrades.state('wiki:Wiki', version=1)
        def wiki(attributes):
            return {**attributes, 'pages': {n: Leaf(p.state['text']) for n, p in attributes['pages'].items()}}
    """
    module = code(with_a_migration(2, upgrades, gone))
    wiki = opened(module, tmp_path)
    assert (type(wiki.pages["Home"]), wiki.pages["Home"].text) == (module.Leaf, "hello")
    control(wiki).close()


# -- without an upgrade


def refused(code: Code, tmp_path: Path, source: str, kind: type[Exception]) -> str:
    before = bytes_of(tmp_path / "data")
    with pytest.raises(kind) as caught:
        opened(code(source), tmp_path)
    assert bytes_of(tmp_path / "data") == before
    return str(caught.value)


def stub_in(message: str) -> str:
    return textwrap.dedent(message[message.index("\n\n") :])


def test_a_missing_method_stops_replay_and_prints_the_upgrade_to_write(code: Code, tmp_path: Path) -> None:
    written(code, tmp_path, create("A"), create("B"))
    message = refused(code, tmp_path, RENAMED, MissingMethod)
    assert "action 1" in message and "calls create(), which Wiki does not have" in message
    stub = stub_in(message).replace("'new_name'", "'create_page'").replace("class Wiki: ...", "class Wiki: pass\n")
    # What is printed is code, and with the new name filled in it does what it should.
    source = textwrap.indent(stub.replace("class Wiki: pass\n", ""), "    ").replace("    @migrated(upgrades)\n", "")
    wiki = opened(code(source + RENAMED.replace("class Wiki:", "@migrated(upgrades)\n    class Wiki:")), tmp_path)
    assert list(wiki.pages) == ["A", "B"]
    control(wiki).close()


def test_a_changed_signature_stops_replay_and_prints_the_upgrade_to_write(code: Code, tmp_path: Path) -> None:
    written(code, tmp_path, create("A"), lambda wiki, module: wiki.create(name="B", text="b"))
    source = FIRST.replace("def create(self, name, text)", "def create(self, name, text, tags)")
    message = refused(code, tmp_path, source, ChangedSignature)
    assert "action 1" in message and "missing 1 required positional argument: 'tags'" in message
    assert "@upgrades.action('create', version=1)\n    def create(argument1, argument2):" in message


def test_the_arguments_of_a_call_by_keywords_are_in_the_stub(code: Code, tmp_path: Path) -> None:
    wiki = opened(code(FIRST.replace("self, name, text)", "self, name, *, text)")), tmp_path)
    wiki.create("B", text="b")
    control(wiki).close()
    message = refused(code, tmp_path, FIRST.replace("self, name, text)", "self, name)"), ChangedSignature)
    assert "def create(argument1, text):\n        return Call('create', argument1, text=text)" in message


def test_a_type_error_from_inside_a_method_is_no_changed_signature(code: Code, tmp_path: Path) -> None:
    written(code, tmp_path, create("A"))
    refused(code, tmp_path, FIRST.replace("return len(self.pages)", "return len(None)"), ReplayDiverged)


@pytest.mark.parametrize(("snapshot", "kind"), [(True, DecodingError), (False, UndecodableAction)])
def test_a_missing_class_stops_replay_and_prints_what_to_write(
    code: Code, tmp_path: Path, snapshot: bool, kind: type[Exception]
) -> None:
    written(code, tmp_path, put(), snapshot=snapshot)
    gone = FIRST.replace("class Page", "class Leaf").replace("Page(text)", "Leaf(text)")
    message = refused(code, tmp_path, gone, kind)
    assert "upgrades.renamed('wiki:Page', 'module:NewName')" in message
    assert ("action 1" in message) is not snapshot


def test_a_stub_begins_where_the_migration_that_is_there_ends(code: Code, tmp_path: Path) -> None:
    written(code, tmp_path, create("A"))
    upgrades = RENAMING.replace("create_page", "write")
    message = refused(code, tmp_path, with_a_migration(2, upgrades, RENAMED), MissingMethod)
    assert "calls write()" in message and "Migration(version=3)" in message and "action('write', version=2)" in message


@pytest.mark.parametrize("snapshot", [True, False])
def test_code_that_is_older_than_the_directory_is_refused(code: Code, tmp_path: Path, snapshot: bool) -> None:
    written(code, tmp_path, create("A"))
    wiki = opened(code(with_a_migration(3, RENAMING, RENAMED)), tmp_path)
    if snapshot:
        control(wiki).take_snapshot()
    control(wiki).close()
    for source in (FIRST, with_a_migration(2, RENAMING, RENAMED)):
        message = refused(code, tmp_path, source, DecodingError if snapshot else NewerVersion)
        assert re.search("version 3 .*this code has version [12]", message, re.S)


def test_the_past_before_an_upgrade_is_seen_with_todays_code(code: Code, tmp_path: Path) -> None:
    written(code, tmp_path, create("A"), create("B"))
    module = code(with_a_migration(2, RENAMING, RENAMED))
    wiki = opened(module, tmp_path)
    wiki.create_page("C", "")
    control(wiki).take_snapshot()
    states = [list(control(wiki).replay(until).pages) for until in range(5)]
    assert states == [[], ["A"], ["A", "B"], ["A", "B"], ["A", "B", "C"]]
    control(wiki).close()
    assert list(coopy.replay(module.Wiki, tmp_path / "data", until=1).pages) == ["A"]


# -- a migration that can't be meant


@pytest.mark.parametrize("version", [0, -1, True, "2", 1.5, 1 << 32])
def test_a_version_is_a_whole_number_from_one_on(version: Any) -> None:
    with pytest.raises(UsageError, match="version="):
        Migration(version)


@pytest.mark.parametrize("version", [0, 2, 3])
def test_an_upgrade_that_can_never_be_used_is_refused_at_opening(code: Code, tmp_path: Path, version: int) -> None:
    upgrades = f"@upgrades.action('create', version={version})\ndef create(*args):\n    pass\n"
    with pytest.raises(UsageError, match=rf"the upgrade of create is from version {version}, and the migration leads to"):
        opened(code(with_a_migration(2, upgrades)), tmp_path)
    assert not (tmp_path / "data").exists()


def test_two_upgrades_of_one_method_from_one_version_are_refused() -> None:
    upgrades = Migration(3)
    upgrades.action("create", version=1)(lambda: None)
    upgrades.action("create", version=2)(lambda: None)
    with pytest.raises(UsageError, match="create has two upgrades from version 1"):
        upgrades.action("create", version=1)(lambda: None)


@pytest.mark.parametrize("new", ["wiki:Leaf", "nowhere:Page"])
def test_a_new_name_that_is_not_there_is_refused_at_opening(code: Code, tmp_path: Path, new: str) -> None:
    module = code(with_a_migration(2, f"upgrades.renamed('wiki:Page', '{new}')\n"))
    with pytest.raises(UsageError, match=f"wiki:Page is {new} now, which is not there"):
        opened(module, tmp_path)


def test_names_that_go_round_in_a_circle_are_refused_at_opening(code: Code, tmp_path: Path) -> None:
    module = code(with_a_migration(2, "upgrades.renamed('a:A', 'b:B')\nupgrades.renamed('b:B', 'a:A')\n"))
    with pytest.raises(UsageError, match="in a circle"):
        opened(module, tmp_path)


@pytest.mark.parametrize("name", ["Page", "wiki:", ":Page", ""])
def test_a_class_name_has_a_module(name: str) -> None:
    with pytest.raises(UsageError, match="module:QualifiedName"):
        Migration(2).renamed(name, None)


# -- looking on


def test_every_action_that_does_not_fit_is_told_and_the_others_run(code: Code, tmp_path: Path) -> None:
    written(code, tmp_path, create("A"), put("B"), lambda wiki, module: wiki.drop("A"), put("C"), create("D"))
    module = code(FIRST.replace("def drop", "def remove").replace("def create(self, name, text)", "def create(self, name)"))
    misfits: list[Any] = []
    with Reading(str(tmp_path / "data"), module.Wiki) as reading:
        machine = reading.machine(misfit=misfits.append)
    assert [(each.index, each.method, type(each)) for each in misfits] == [
        (1, "create", ChangedSignature),
        (3, "drop", MissingMethod),
        (5, "create", ChangedSignature),
    ]
    assert list(machine.domain.pages) == ["B", "C"]


def test_a_call_reads_as_it_is_written() -> None:
    assert repr(Call("create", "A", text="b")) == "create('A', text='b')"


# -- stops on the way


def test_the_machine_can_be_visited_on_its_way(code: Code, tmp_path: Path) -> None:
    written(code, tmp_path, *(create(str(number % 7)) for number in range(20)))
    module = code(FIRST)
    stops = [0, 1, 2, 7, 19, 20]
    visited: list[tuple[int, int]] = []
    with Reading(str(tmp_path / "data"), module.Wiki) as reading:
        reading.machine(stops=stops, visit=lambda machine: visited.append((machine.applied, len(machine.domain.pages))))
        alone = [(stop, len(reading.machine(stop).domain.pages)) for stop in stops]
    assert visited == alone and [index for index, _ in visited] == stops
