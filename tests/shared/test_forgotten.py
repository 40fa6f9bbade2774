"""Systems of shared directories that nobody has closed, and nobody has any more."""

from __future__ import annotations

import gc
import os
import threading
import warnings
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from network.servers import until
from shared.domain import opened

import coopy
from coopy import control


@pytest.fixture(autouse=True)
def nothing_is_left_open() -> Iterator[None]:
    yield
    coopy.close_all()


def held() -> tuple[int, int]:
    """How many files and threads this process has."""
    return len(os.listdir("/dev/fd")), threading.active_count()


def forget(systems: list[Any]) -> None:
    """Drops the only system that is there, without closing it."""
    known = weakref.ref(control(systems[0])._system)
    systems.clear()

    def is_gone() -> bool:
        gc.collect()  # A thread of it may be in the middle of a round.
        return known() is None

    until(is_gone)


@pytest.mark.parametrize(
    ("is_alone", "options"),
    [(True, {}), (False, {}), (False, {"copy": False})],
    ids=["one that writes", "one that follows", "one without a copy"],
)
def test_what_it_holds_is_gone_with_it(tmp_path: Path, is_alone: bool, options: dict[str, Any]) -> None:
    others = [] if is_alone else [opened(tmp_path / "data", durability="buffered")]
    gc.collect()  # What other tests have left does not go meanwhile.
    before = held()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Of sockets that nobody has closed.
        for _ in range(3):
            systems = [opened(tmp_path / "data", durability="buffered", **options)]
            assert systems[0].add(1) == systems[0].count()
            forget(systems)
            until(lambda: held() == before)
    for each in others:
        assert each.count() == 3


def test_another_writes_once_the_one_that_writes_is_forgotten(tmp_path: Path) -> None:
    writer, follower = (opened(tmp_path / "data", durability="buffered") for _ in range(2))
    systems = [writer]
    del writer
    assert follower.add(1) == 1
    forget(systems)
    assert follower.add(2) == 2 and control(follower).status()["role"] == "writer"


def test_one_that_is_not_forgotten_serves_on(tmp_path: Path) -> None:
    writer, follower = (opened(tmp_path / "data", durability="buffered") for _ in range(2))
    for number in range(3):
        gc.collect()
        assert follower.add(number) == number + 1
    assert control(writer).status()["role"] == "writer"
