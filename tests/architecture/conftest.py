from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from architecture import trees


@pytest.fixture(autouse=True, scope="package")
def what_was_parsed_is_let_go() -> Iterator[None]:
    """When the last test of this folder has run. Until then the collector is off: it would look at all of it, and find nothing."""
    gc.disable()
    yield
    trees.let_go()
    gc.enable()
