"""A directory of shops, and the commands called as `coopy` calls them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from coopy import init_system

SHOPS = """
from coopy.migration import Migration, migrated

class Base:
    pass

class Shop(Base):
    def __init__(self):
        self.sold = []
    def sell(self, name):
        self.sold.append(name)

class Like:
    def __init__(self):
        self.sold = []
    def sell(self, name):
        self.sold.append(name)

class Fewer:
    def __init__(self):
        self.other = 0

class Larger(Shop):
    pass

class Words(dict):
    def add(self, word):
        self[word] = 1

upgrades = Migration(version=2)
upgrades.renamed("shops_of_the_tests:Shop", "shops_of_the_tests:Kiosk")

@migrated(upgrades)
class Kiosk:
    def sell(self, name):
        self.sold.append(name)
"""
Coopy = Callable[[str], tuple[int, str, str]]


@pytest.fixture
def coopy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Coopy]:
    (tmp_path / "shops_of_the_tests.py").write_text(SHOPS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    import shops_of_the_tests as shops  # type: ignore[import-not-found]

    with init_system(shops.Shop, "data") as shop:
        for name in ("tea", "milk", "bread"):
            shop.sell(name)

    def run(words: str) -> tuple[int, str, str]:
        from coopy.cli.app import app

        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            app(words.split(), prog_name="coopy")
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, said.out, said.err

    yield run
    sys.modules.pop("shops_of_the_tests", None)
