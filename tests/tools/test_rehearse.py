"""`rehearse` reports all that does not fit, where opening stops at the first."""

from __future__ import annotations

from pathlib import Path

import pytest

from coopy import control, init_system
from coopy.tools.rehearse import rehearse


class Store:
    def __init__(self) -> None:
        self.items: list[object] = []

    def add(self, item: object) -> None:
        self.items.append(item)

    def rename(self, old: object, new: object) -> None:
        self.items[self.items.index(old)] = new

    def clear(self) -> None:
        self.items.clear()


@pytest.fixture
def basedir(tmp_path: Path) -> str:
    store = init_system(Store, tmp_path / "data", validation="off")
    store.add(1)
    store.rename(1, 2)
    store.add({3})
    store.clear()
    control(store).close()
    return str(tmp_path / "data")


def test_code_that_fits_has_no_misfits(basedir: str) -> None:
    told: list[tuple[int, int]] = []
    assert rehearse(basedir, Store, lambda done, total: told.append((done, total))) == []
    assert told[-1] == (4, 4)


def test_each_action_that_does_not_fit_is_reported_with_its_kind(basedir: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Store, "clear")
    monkeypatch.setattr(Store, "rename", lambda self, old: None)
    before = {path.name: path.read_bytes() for path in Path(basedir).iterdir()}
    found = rehearse(basedir, Store)
    assert [each[:3] for each in found] == [(2, "rename", "ChangedSignature"), (4, "clear", "MissingMethod")]
    assert all("@upgrades.action" in each.text and each.where.endswith(tuple("0123456789")) for each in found)
    assert found[0].as_dict()["action"] == 2
    assert {path.name: path.read_bytes() for path in Path(basedir).iterdir()} == before


def test_what_fails_because_of_a_misfit_before_it_is_reported_as_well(basedir: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "add", lambda self: None)
    assert [(each.action, each.kind) for each in rehearse(basedir, Store)] == [
        (1, "ChangedSignature"),
        (2, "ReplayDiverged"),
        (3, "ChangedSignature"),
    ]
