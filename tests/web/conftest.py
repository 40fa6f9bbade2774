"""Directories that are inspected, and browsers that were let in."""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from web.shops import QUOTE, SCRIPT, Shop

from coopy import init_system
from coopy.tools.web_app import application
from coopy.tools.web_guard import Guard
from coopy.tools.web_pages import Page

with warnings.catch_warnings():
    # It asks for another release of httpx, which is the same to us.
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient

TESTS = Path(__file__).resolve().parents[1]
PORT = 8123
HERE = f"http://127.0.0.1:{PORT}"
SPEC = "web.shops:Shop"
LAST = 14


def fill(basedir: Path) -> None:
    """Makes a shop of 14 actions, two of which raise."""
    with init_system(Shop, str(basedir)) as shop:
        shop.put("tea", 3)  # 1
        shop.put("milk", 2)
        shop.sell("tea")  # 3
        shop.put(SCRIPT, 1)
        shop.note(QUOTE)  # 5
        with contextlib.suppress(ValueError):
            shop.fail()  # 6
        with contextlib.suppress(ValueError):
            shop.refuse()  # 7
        shop.oddity("mirror")
        shop.note("<b>" + "x" * 500)
        shop.sell("tea")  # 10
        shop.put("bread", 9)
        shop.forget("bread")
        shop.put("tea", 0)
        shop.note("last")  # 14


@contextlib.contextmanager
def inspected(basedir: Path, *, spec: str | None = SPEC, write: bool = False) -> Iterator[tuple[Page, Guard]]:
    """Gives the pages of a directory, when all replays have come to their end."""
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(TESTS), before)))
    page = Page(str(basedir), spec, write=write)
    try:
        until = time.monotonic() + 60
        while not page.states.is_complete and time.monotonic() < until:
            time.sleep(0.02)
        yield page, application(page, PORT)
    finally:
        page.close()
        os.environ["PYTHONPATH"] = before


def browser(guard: Guard, *, enters: bool = True) -> TestClient:
    """Returns a browser, which has followed the link."""
    found = TestClient(guard, base_url=HERE, follow_redirects=False)
    if enters:
        assert found.get(guard.link()).status_code == 200
    return found


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Page, Guard]]:
    """The pages of a shop that nobody has open; nothing of it changes."""
    basedir = tmp_path_factory.mktemp("shop") / "data"
    fill(basedir)
    with inspected(basedir) as found:
        yield found


@pytest.fixture
def pages(shop: tuple[Page, Guard]) -> TestClient:
    return browser(shop[1])
