"""What the directories of coopy 0.8 in this folder are of. Their pickles name this module, and what is in it: it never changes.

A later format has a domain of its own, or this one once more.
"""

from __future__ import annotations

import threading
import types
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import coopy
from coopy.ground import action
from coopy import clock, effect_id, env, on_commit
from coopy.migration import Call, Migration, migrated
from coopy.past.reading import Reading

sent: list[tuple[str | None, str, str]] = []
"""What was sent by this process: the id of the effect, the address and the text."""
is_shut = False


def send(address: str, text: str) -> None:
    """The effect: sends a mail, unless the post office is shut."""
    if is_shut:
        raise ConnectionError("the post office is shut")
    sent.append((effect_id(), address, text))


@coopy.entity("articles", key="name")
class Article:
    def __init__(self, name: str, price: int) -> None:
        self.name = name
        self.price = price
        self.stock = 0


class _Counter:
    """What both versions of the shop do."""

    def __init__(self) -> None:
        self.articles: dict[str, Article] = {}
        self.sold: list[tuple[str, int, str, str]] = []
        self.notes: list[str] = []

    def take_in(self, name: str, price: int, stock: int = 0) -> Article:
        article = self.articles[name] = Article(name, price)
        article.stock = stock
        return article

    def sell(self, article: Article, amount: int = 1) -> int:
        assert article is self.articles[article.name], "an entity arrives as itself"
        self.notes.append(f"{article.name}?")
        if article.stock < amount:
            raise LookupError(f"{article.stock} {article.name} left")
        article.stock -= amount
        self.sold.append((article.name, amount, clock.now().isoformat(), str(env.uuid4())))
        return article.stock

    def note(self, text: str) -> None:
        self.notes.append(text if len(text) < 100 else f"{text[:10]}... {len(text)}")

    def note_all(self, notes: Mapping[str, str]) -> None:
        self.notes.extend(f"{name}: {text}" for name, text in notes.items())

    @coopy.abort_exception
    def reserve(self, article: Article, amount: int) -> None:
        if article.stock < amount:
            raise LookupError(f"{article.stock} {article.name} left")
        article.stock -= amount

    @coopy.transactional
    def sell_all(self, articles: list[Article]) -> None:
        for article in articles:
            self.sell(article)

    @coopy.readonly
    def stock(self) -> dict[str, int]:
        return {name: article.stock for name, article in self.articles.items()}


class First(_Counter):
    """Version 1 of the class."""

    def raise_prices(self, percent: int) -> None:
        for article in self.articles.values():
            article.price += article.price * percent // 100


upgrades = Migration(version=2)
upgrades.renamed(f"{__name__}:First", f"{__name__}:Shop")


@upgrades.action("raise_prices", version=1)
def _(percent: int) -> Call:
    return Call("change_prices", percent=percent)


@upgrades.state(f"{__name__}:First", version=1)
def _(attributes: dict[str, Any]) -> dict[str, Any]:
    return {**attributes, "mails": 0}


@migrated(upgrades)
class Shop(_Counter):
    """Version 2 of the class."""

    def __init__(self) -> None:
        super().__init__()
        self.mails = 0

    def change_prices(self, percent: int) -> None:
        for article in self.articles.values():
            article.price += article.price * percent // 100

    def order(self, article: Article, address: str) -> int:
        left = self.sell(article)
        self.mails += 1
        on_commit(send, address, text=f"{article.name}, {self.mails}")
        return left

    def guard(self) -> None:
        self.lock = threading.RLock()
        self.guarded = threading.Condition(self.lock)
        self.counted = threading.Lock()

    def discount(self, percent: int) -> None:
        self.notes.append(f"{percent}% off")

    @coopy.code_version(1)
    def discount(self, percent: int) -> None:  # type: ignore[no-redef]
        self.notes.append(f"{percent}% off, today only")
        self.change_prices(-percent)


def frozen(**notes: str) -> Mapping[str, str]:
    """An argument that pickle can't encode and dill can, without bytecode in it: any Python reads it. In dev1; refused today."""
    return types.MappingProxyType(notes)


def local(**notes: str) -> Mapping[str, str]:
    """The same from dev2 on."""

    class Notes(dict[str, str]):
        pass

    return Notes(notes)


def state(shop: _Counter) -> dict[str, Any]:
    """A state as the expected.json files have it."""
    return {
        "articles": {name: [article.price, article.stock] for name, article in shop.articles.items()},
        "sold": [list(each) for each in shop.sold],
        "notes": shop.notes,
        "mails": getattr(shop, "mails", None),
    }


def ends(directory: Path) -> dict[str, int]:
    """How many calls of each method a journal has, by how they ended."""
    with Reading(str(directory), Shop) as reading:
        return dict(Counter(f"{each.method} {action.OUTCOMES[each.outcome]}" for each in reading.actions()))
