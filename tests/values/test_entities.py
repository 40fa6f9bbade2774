"""Objects of a system that are passed back in arrive as themselves, live and at every replay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import coopy
from coopy import DecodingError, UsageError, control, entity, init_system
from coopy.errors import ReplayError
from coopy.past.reading import Reading


@entity("pages", key="title")
class Page:
    def __init__(self, title: str) -> None:
        self.title = title
        self.links: list[Page] = []


@entity(find=lambda wiki, key: wiki.shelves[key[0]][key[1]], key_of=lambda book: (book.shelf, book.number))
class Book:
    def __init__(self, shelf: str, number: int) -> None:
        self.shelf = shelf
        self.number = number


class Plain:
    def __init__(self, title: str) -> None:
        self.title = title


class Wiki:
    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.shelves: dict[str, list[Book]] = {"a": []}
        self.kept: list[Any] = []

    def create(self, title: str) -> Page:
        return self.pages.setdefault(title, Page(title))

    def add(self, page: Page) -> None:
        self.pages[page.title] = page

    def link(self, source: Page, target: Page) -> bool:
        source.links.append(target)
        return source is self.pages.get(source.title) and target is self.pages.get(target.title)

    def link_many(self, source: Page, *, targets: list[Page], call: Any = None) -> None:
        source.links.extend(targets)

    def delete(self, page: Page) -> Page:
        return self.pages.pop(page.title)

    def rename(self, page: Page, title: str) -> None:
        self.pages[title] = self.pages.pop(page.title)
        page.title = title

    def book(self) -> Book:
        self.shelves["a"].append(Book("a", len(self.shelves["a"])))
        return self.shelves["a"][-1]

    def keep(self, value: Any) -> bool:
        self.kept.append(value)
        return any(value is book for book in self.shelves["a"])


def shape(wiki: Wiki) -> Any:
    """The pages, and of each link whether it leads to the page of that title or to another one."""
    return {
        title: [(link.title, link is wiki.pages.get(link.title)) for link in page.links] for title, page in wiki.pages.items()
    }


def restored(tmp_path: Path, wiki: Any) -> Wiki:
    """The state as replay of every action gives it, which is that of the live system."""
    found = coopy.replay(Wiki, tmp_path / "data")
    assert shape(found) == shape(control(wiki)._system.engine.machine.domain)
    return found


@pytest.fixture
def wiki(tmp_path: Path) -> Any:
    system = init_system(Wiki, tmp_path / "data", validation="off")
    yield system
    control(system).close()


def test_an_object_of_the_system_arrives_as_itself(wiki: Any, tmp_path: Path) -> None:
    a, b = wiki.create("A"), wiki.create("B")
    assert wiki.link(a, b) and wiki.pages["A"].links[0] is wiki.pages["B"]
    found = restored(tmp_path, wiki)
    assert found.pages["A"].links[0] is found.pages["B"]


def test_objects_inside_of_arguments_arrive_as_themselves(wiki: Any, tmp_path: Path) -> None:
    pages = [wiki.create(title) for title in "ABC"]
    wiki.link_many(pages[0], targets=pages[1:])
    found = restored(tmp_path, wiki)
    assert [page.title for page in found.pages["A"].links] == ["B", "C"]
    assert found.pages["A"].links[1] is found.pages["C"]


def test_what_pickle_cannot_encode_does_not_stand_in_the_way(wiki: Any, tmp_path: Path) -> None:
    a, b = wiki.create("A"), wiki.create("B")
    wiki.link_many(a, targets=[b], call=lambda: None)
    assert wiki.pages["A"].links[0] is wiki.pages["B"]
    restored(tmp_path, wiki)


def test_a_new_object_is_copied_and_is_an_entity_from_then_on(wiki: Any, tmp_path: Path) -> None:
    page = Page("new")
    wiki.add(page)
    page.title = "changed outside"
    assert wiki.pages["new"] is not page and wiki.link(wiki.pages["new"], wiki.pages["new"])
    restored(tmp_path, wiki)


def test_an_object_that_the_system_has_no_more_is_copied(wiki: Any, tmp_path: Path) -> None:
    a, b = wiki.create("A"), wiki.create("B")
    gone = wiki.delete(b)
    assert wiki.link(a, gone) is False and wiki.pages["A"].links[0] is not gone
    other = wiki.create("B")
    assert wiki.link(a, gone) is False, "another object with its key is not it"
    assert wiki.link(a, other)
    restored(tmp_path, wiki)


def test_a_key_may_change_inside_an_action(wiki: Any, tmp_path: Path) -> None:
    page = wiki.create("A")
    wiki.rename(page, "Z")
    assert wiki.link(page, page)
    assert list(restored(tmp_path, wiki).pages) == ["Z"]


def test_functions_may_say_what_the_key_is_and_where_it_leads(wiki: Any, tmp_path: Path) -> None:
    book = wiki.book()
    assert wiki.keep(book)
    found = restored(tmp_path, wiki)
    assert found.kept[0] is found.shelves["a"][0]


def test_a_class_of_another_module_can_be_registered(wiki: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Plain, "__coopy_entity__", None, raising=False)
    entity("pages", key="title")(Plain)
    wiki.add(Plain("A"))
    assert wiki.link(Page("x"), wiki.pages["A"]) is False
    assert wiki.pages["A"] == wiki.delete(wiki.pages["A"])


def test_a_snapshot_holds_the_objects_themselves(wiki: Any, tmp_path: Path) -> None:
    a, b = wiki.create("A"), wiki.create("B")
    wiki.link(a, b)
    control(wiki).take_snapshot()
    wiki.link(wiki.pages["B"], wiki.pages["A"])
    found = restored(tmp_path, wiki)
    assert found.pages["B"].links[0] is found.pages["A"] and found.pages["A"].links[0] is found.pages["B"]


def test_who_only_looks_at_an_action_sees_a_reference(wiki: Any, tmp_path: Path) -> None:
    wiki.link(wiki.create("A"), wiki.create("B"))
    with Reading(str(tmp_path / "data"), Wiki) as reading:
        assert [repr(each.args) for each in reading.actions()][-1] == "(<Page 'A'>, <Page 'B'>)"


@pytest.mark.parametrize("change", ["unmarked", "elsewhere"])
def test_a_reference_that_leads_nowhere_stops_replay(
    wiki: Any, tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wiki.link(wiki.create("A"), wiki.create("B"))
    if change == "unmarked":
        monkeypatch.delattr(Page, "__coopy_entity__")
    else:
        monkeypatch.setattr(Page, "__coopy_entity__", Book.__coopy_entity__)  # type: ignore[attr-defined]
    with pytest.raises(ReplayError, match="action 3 .*(not marked as an @entity any more|the state has no Page 'A')") as caught:
        coopy.replay(Wiki, tmp_path / "data")
    assert isinstance(caught.value, DecodingError)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"where": "pages"},
        {"key": "title"},
        {"where": "pages", "find": min, "key": "x"},
        {"key": "a", "key_of": min, "find": min},
    ],
    ids=str,
)
def test_an_entity_needs_one_way_to_its_key_and_one_to_the_object(options: Any) -> None:
    with pytest.raises(UsageError, match="where its objects are and what their key is"):
        entity(**options)


def test_only_a_class_can_be_marked() -> None:
    with pytest.raises(UsageError, match="marks a class"):
        entity("pages", key="title")(Page("A"))  # type: ignore[type-var]
