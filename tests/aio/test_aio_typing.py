"""What a type checker sees of a system that is used from asyncio, and the protocols that are written for it."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aio.running import going
from aio.wiki import Wiki
from program import ROOT, environment

import coopy.aio
from coopy import UsageError
from coopy.tools.protocols import protocol_of

DOMAIN = """
from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional

from coopy import abort_exception, readonly, transactional, unlocked

if TYPE_CHECKING:
    from decimal import Decimal


@dataclass
class Page:
    name: str
    text: str = ""


class Base:
    def older(self, than: dt.datetime) -> list[Page]:
        return []


class Wiki(Base):
    title: str = "Wiki"
    _secret: int = 0

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self._hidden: int = 0

    @transactional
    def create_page(self, name: str, /, text: str = "", *, draft: bool = False) -> Page:
        return Page(name, text)

    @readonly
    @unlocked
    def page(self, name: str) -> Optional[Page]:
        return self.pages.get(name)

    @abort_exception
    def charge(self, amount: Decimal, *rest: int, **more: str) -> None: ...

    def untyped(self, a, b=1): ...  # type: ignore[no-untyped-def]

    @property
    def first(self) -> Page:
        return next(iter(self.pages.values()))

    @staticmethod
    def slug(name: str) -> str:
        return name

    def walk(self) -> Iterator[Page]:
        yield from self.pages.values()

    def shutdown(self) -> bytes:
        return b""

    def _private(self) -> None: ...

    def __len__(self) -> int:
        return len(self.pages)


class Shop:
    def buy(self, amount: int) -> None: ...
"""

PROTOCOL = '''"""domain.Wiki from asyncio, for type checkers. Written by coopy stub."""

from __future__ import annotations

import coopy.aio
import datetime as dt
from collections.abc import Awaitable, Iterator
from decimal import Decimal
from domain import Page, Wiki
from typing import Any, Optional, Protocol


class AsyncWiki(coopy.aio.System[Wiki], Protocol):
    """Its methods, to be awaited."""

    async def older(self, than: dt.datetime) -> list[Page]: ...
    async def create_page(self, name: str, /, text: str = ..., *, draft: bool = ...) -> Page: ...
    async def page(self, name: str) -> Optional[Page]: ...
    async def charge(self, amount: Decimal, *rest: int, **more: str) -> None: ...
    async def untyped(self, a: Any, b: Any = ...) -> Any: ...
    @property
    def first(self) -> Awaitable[Page]: ...
    @staticmethod
    def slug(name: str) -> str: ...
    async def walk(self) -> Iterator[Page]: ...
    async def shutdown(self) -> bytes: ...
    @property
    def title(self) -> Awaitable[str]: ...
    @property
    def pages(self) -> Awaitable[dict[str, Page]]: ...
    async def take_snapshot(self) -> int: ...
    async def close(self) -> None: ...
    async def basedir_abspath(self) -> list[str]: ...
'''

SNIPPET = """
import coopy.aio
from coopy.aio import call
from domain import Shop, Wiki
from protocol import AsyncWiki

async def main() -> None:
    async with coopy.aio.open(Wiki, "data", durability="buffered", keep=3) as wiki:
        reveal_type(await call(wiki, Wiki.create_page, "Home", text="text", draft=True))  # N: domain.Page
        reveal_type(await call(wiki, Wiki.page, "Home"))  # N: Union[domain.Page, None]
        reveal_type(await call(wiki, Wiki.older, "Home"))  # E: [arg-type]
        reveal_type(await call(wiki, Wiki.__len__))  # N: int
        await call(wiki, Wiki.__setattr__, "title", "Ours")
        await call(wiki, Wiki.create_page, 5)  # E: [arg-type]
        await call(wiki, Wiki.create_page)  # E: [call-arg]
        await call(wiki, Shop.buy, 5)  # E: [misc]
        reveal_type(await wiki.page("Home"))  # N: Any
    async with coopy.aio.open(Wiki, "data", protocol=AsyncWiki, fork=False) as typed:
        reveal_type(typed)  # N: protocol.AsyncWiki
        reveal_type(await typed.create_page("Home", draft=True))  # N: domain.Page
        reveal_type(await typed.pages)  # N: dict[str, domain.Page]
        reveal_type(await typed.first)  # N: domain.Page
        reveal_type(await typed.take_snapshot())  # N: int
        reveal_type(await typed.shutdown())  # N: bytes
        reveal_type(typed.slug("Home"))  # N: str
        reveal_type(await call(typed, Wiki.page, "Home"))  # N: Union[domain.Page, None]
        await typed.create_page(5)  # E: [arg-type]
        await typed.nothing()  # E: [attr-defined]
        await call(typed, Shop.buy, 5)  # E: [misc]
        await coopy.aio.close(typed)
    reveal_type(await coopy.aio.open(Wiki(), "data", protocol=AsyncWiki))  # N: protocol.AsyncWiki
    reveal_type(await coopy.aio.open(Wiki(), "data"))  # N: Untyped[domain.Wiki]
    coopy.aio.open(Wiki, "data", durabilty="sync")  # E: [call-overload]
    coopy.aio.open(Wiki, "data", keep="three")  # E: [call-overload]
"""


@pytest.fixture
def domain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of a domain, in a directory of its own, with its protocol beside it."""
    (tmp_path / "domain.py").write_text(DOMAIN, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("domain", "protocol"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    module = importlib.import_module("domain")
    (tmp_path / "protocol.py").write_text(protocol_of(module.Wiki), encoding="utf-8")
    yield module
    for name in ("domain", "protocol"):
        sys.modules.pop(name, None)


def test_a_protocol_has_the_methods_attributes_and_controls_of_a_class(domain: Any) -> None:
    assert protocol_of(domain.Wiki) == PROTOCOL


def test_a_protocol_can_have_another_name(domain: Any) -> None:
    assert "class Pages(coopy.aio.System[Wiki], Protocol):" in protocol_of(domain.Wiki, "Pages")


def test_annotations_that_are_objects_are_written_with_the_modules_they_come_from(domain: Any) -> None:
    def method(self: Any, when: Any, other: Any, odd: Any) -> None: ...

    import datetime

    method.__annotations__ = {"when": datetime.date, "other": dict[str, datetime.date], "odd": object(), "return": None}
    domain.Shop.method = method
    source = protocol_of(domain.Shop)
    assert "async def method(self, when: datetime.date, other: dict[str, datetime.date], odd: Any) -> None: ..." in source
    assert "import datetime\n" in source


@pytest.mark.parametrize("wrong", [Wiki(), "Wiki"])
def test_only_a_class_that_can_be_imported_has_a_protocol(wrong: Any) -> None:
    class Local:
        pass

    with pytest.raises(UsageError, match="takes a domain class"):
        protocol_of(wrong)
    with pytest.raises(UsageError, match="defined in a function"):
        protocol_of(Local)


def test_a_system_fits_the_protocol_of_its_class(domain: Any, tmp_path: Path) -> None:
    async_wiki = importlib.import_module("protocol").AsyncWiki

    async def main() -> None:
        async with coopy.aio.open(domain.Wiki, tmp_path / "data", protocol=async_wiki) as wiki:
            assert (await wiki.create_page("Home", "text")).text == "text"
            assert await wiki.title == "Wiki"

    going(main)


def test_parameters_and_results_are_known_by_call_and_by_protocol(domain: Any, tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="mypy is not installed")
    (tmp_path / "snippet.py").write_text(SNIPPET, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "snippet.py", "protocol.py"],
        cwd=tmp_path,
        env=environment(MYPYPATH=ROOT, MYPY_CACHE_DIR=str(tmp_path / "mypy-cache")),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    found: dict[int, str] = {}
    for line in done.stdout.splitlines():
        place, _, text = line.partition(": ")
        file, _, number = place.partition(":")
        if file in ("snippet.py", "protocol.py") and ("Revealed type" in text or text.startswith("error")):
            found[int(number)] = found.get(int(number), "") + text
    for number, source in enumerate(SNIPPET.splitlines(), start=1):
        _, _, expected = source.partition("  # ")
        said = found.pop(number, "nothing").replace("builtins.", "") if expected else ""
        assert expected[3:] in said or expected[3:] == "Union[domain.Page, None]" and "domain.Page | None" in said, source
    assert not found, f"and nothing else is wrong: {found}"
