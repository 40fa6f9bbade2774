"""The pytest plugin: a fixture ``coopy`` with the systems of one test, a clock and faults.

    def test_a_page_survives(coopy):
        wiki = coopy.open(Wiki)
        wiki.create_page("Home")
        wiki = coopy.crash(wiki)
        assert wiki.pages == ["Home"]

pytest loads this module wherever coopy is installed, so it imports nothing of its own before the fixture is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from coopy.testing import Systems


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds ``--coopy-check`` and the ini option ``coopy_check``."""
    told = "open the systems of the fixture coopy with check=True"
    parser.getgroup("coopy").addoption("--coopy-check", action="store_true", help=told)
    parser.addini("coopy_check", told, type="bool", default=False)


@pytest.fixture
def coopy(tmp_path: Path, pytestconfig: pytest.Config) -> Iterator[Systems]:
    """Systems to test with; see `coopy.testing.Systems`. Those still open in the end must replay, and are closed."""
    from coopy.testing import Systems

    systems = Systems(tmp_path, check=pytestconfig.getoption("coopy_check") or bool(pytestconfig.getini("coopy_check")))
    yield systems
    systems.close()


@pytest.fixture
def coopy_systems(coopy: Systems) -> Systems:
    """The fixture ``coopy`` by another name, for a test that uses the module coopy as well."""
    return coopy
