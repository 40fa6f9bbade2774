"""Objects of the system that another process has been given and passes back: they arrive as themselves."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from shared import apart

import coopy
from coopy import aio, control, entity, init_system, readonly


@pytest.fixture(autouse=True)
def nothing_is_left_open() -> Iterator[None]:
    yield
    coopy.close_all()


@entity("pages", key="title")
class Page:
    def __init__(self, title: str) -> None:
        self.title = title
        self.links: list[Page] = []


class Frame:
    """No entity, and holds one."""

    def __init__(self, page: Page) -> None:
        self.page = page


class Wiki:
    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}

    def create(self, title: str) -> Page:
        self.pages[title] = Page(title)
        return self.pages[title]

    def draft(self, title: str) -> Page:
        return Page(title)

    def put(self, page: Page) -> None:
        self.pages[page.title] = page

    def drop(self, title: str) -> None:
        del self.pages[title]

    def link(self, source: Page, target: Page) -> None:
        source.links.append(target)

    def has(self, page: Page) -> bool:
        return self.pages.get(page.title) is page

    @readonly
    def knows(self, page: Page) -> bool:
        return self.pages.get(page.title) is page

    @readonly
    def page(self, title: str) -> Page:
        return self.pages[title]

    @readonly
    def framed(self) -> list[Frame]:
        return [Frame(page) for page in self.pages.values()]

    @readonly
    def each(self) -> Iterator[Page]:
        yield from self.pages.values()


WAYS: dict[str, Callable[[Any], Any]] = {
    "an action": lambda wiki: wiki.create("A"),
    "a read": lambda wiki: wiki.page("A"),
    "an attribute": lambda wiki: wiki.pages["A"],
    "inside of another object": lambda wiki: wiki.framed()[0].page,
    "a generator": lambda wiki: next(wiki.each()),
}


@pytest.fixture(params=list(apart.HOW))
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, Any]:
    writer = init_system(Wiki, tmp_path / "data", shared=True, durability="buffered", validation="off")
    return writer, apart.HOW[request.param](writer, Wiki, str(tmp_path / "data"), {"validation": "off"})[0]


@pytest.mark.parametrize("way", WAYS)
def test_it_is_the_object_of_the_state(pair: tuple[Any, Any], way: str) -> None:
    writer, wiki = pair
    wiki.create("A")
    page = WAYS[way](wiki)
    assert wiki.has(page) and wiki.knows(page) and wiki.has(page=page)
    wiki.link(page, wiki.create("B"))
    assert writer.pages["A"].links[0] is writer.pages["B"]
    past = control(writer).replay()
    assert past.pages["A"].links[0] is past.pages["B"]


def test_one_that_is_not_in_the_state_is_copied(pair: tuple[Any, Any]) -> None:
    writer, wiki = pair
    made = wiki.draft("A")
    assert not wiki.has(made) and not wiki.knows(made)
    wiki.put(made)
    wiki.create("B")
    wiki.put(Page("B"))
    assert sorted(writer.pages) == ["A", "B"] and not wiki.has(Page("B"))


def test_in_a_container_it_is_the_object_as_well(pair: tuple[Any, Any]) -> None:
    writer, wiki = pair
    one, other = wiki.create("A"), wiki.create("B")
    wiki.notes = {"seen": [one, (other,)]}
    assert writer.notes["seen"][0] is writer.pages["A"] and writer.notes["seen"][1][0] is writer.pages["B"]


@pytest.mark.parametrize("how", ["reader", "connected"])
def test_one_that_has_gone_is_told_of(tmp_path: Path, how: str) -> None:
    writer = init_system(Wiki, tmp_path / "data", shared=True, durability="buffered", validation="off")
    wiki = apart.HOW[how](writer, Wiki, str(tmp_path / "data"), {})[0]
    page = wiki.create("A")
    writer.drop("A")
    for ask in (wiki.has, wiki.knows):
        with pytest.raises(coopy.DecodingError, match="the state has no Page 'A'"):
            ask(page)


def test_one_that_has_gone_is_copied_by_a_process_that_knows_it(tmp_path: Path) -> None:
    options: dict[str, Any] = {"shared": True, "durability": "buffered", "validation": "off"}
    writer, wiki = (init_system(Wiki, tmp_path / "data", **options) for _ in range(2))
    page = wiki.create("A")
    writer.drop("A")
    control(wiki).sync()
    assert not wiki.has(page)


def test_a_process_that_follows_is_given_the_objects_of_its_own_copy(tmp_path: Path) -> None:
    options: dict[str, Any] = {"shared": True, "durability": "buffered", "validation": "off"}
    _, wiki = (init_system(Wiki, tmp_path / "data", **options) for _ in range(2))
    assert wiki.create("A") is wiki.pages["A"] is wiki.page("A")


def test_what_was_received_is_not_kept(pair: tuple[Any, Any]) -> None:
    _, wiki = pair
    page = wiki.create("A")
    received = wiki._coopy_engine._codec.received
    assert received is not None
    del page
    gc.collect()
    assert len(received._held) == 0


@pytest.mark.parametrize("options", [{}, {"copy": False}])
def test_from_asyncio_it_is_the_object_as_well(tmp_path: Path, options: dict[str, Any]) -> None:
    async def main() -> None:
        writer = init_system(Wiki, tmp_path / "data", shared=True, durability="buffered", validation="off")
        async with aio.open(Wiki, tmp_path / "data", shared=True, validation="off", **options) as wiki:
            pages = await asyncio.gather(*(wiki.create(title) for title in "ABCD"))
            assert all(await asyncio.gather(*map(wiki.has, pages), *map(wiki.knows, pages)))
            await asyncio.gather(*(wiki.link(pages[0], each) for each in pages))
            assert [each is writer.pages[each.title] for each in writer.pages["A"].links] == [True] * 4

    asyncio.run(main())
