"""What the docstrings of coopy.migration show is what happens."""

from __future__ import annotations

import doctest

from coopy import migration


def test_the_examples_of_the_module_show_what_happens() -> None:
    found = doctest.testmod(migration)
    assert found.attempted >= len(migration.__all__) and not found.failed


def test_every_public_name_of_it_has_an_example() -> None:
    assert [name for name in migration.__all__ if ">>> " not in (getattr(migration, name).__doc__ or "")] == []
