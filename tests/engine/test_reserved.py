"""Records of a format that is reserved for later are refused, and not taken for today's."""

from __future__ import annotations

from pathlib import Path

import pytest

import coopy
from coopy import UnsupportedFormat, init_system
from coopy.ground import action
from coopy.past.history import actions
from coopy.past.reading import Reading
from coopy.spine import engine


class Shop:
    def __init__(self) -> None:
        self.sold: list[str] = []

    def sell(self, what: str) -> int:
        self.sold.append(what)
        return len(self.sold)


@pytest.mark.parametrize("outcome", [action.RESERVED, action.RESERVED | action.RAISED, 0x80, 0xFF])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_record_with_a_key_is_refused_by_a_release_that_knows_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcome: int, place: int
) -> None:
    with init_system(Shop, tmp_path / "shop", durability="buffered") as shop:
        for number in range(3):
            with monkeypatch.context() as patched:
                if number == place:
                    patched.setattr(engine, "_pack", lambda instant, offset, _: action.header(instant, offset, outcome))
                shop.sell("tea")
        system = coopy.control(shop)._system
        system.abandon()
    before = sorted((path.name, path.read_bytes()) for path in (tmp_path / "shop").iterdir() if path.suffix == ".log")
    with pytest.raises(UnsupportedFormat, match=r"a later release of coopy wrote it. Nothing was changed") as refused:
        init_system(Shop, tmp_path / "shop")
    assert "transaction_000000000000001.log" in str(refused.value)
    assert before == sorted((path.name, path.read_bytes()) for path in (tmp_path / "shop").iterdir() if path.suffix == ".log")
    with pytest.raises(UnsupportedFormat):
        coopy.replay(Shop, tmp_path / "shop")
    with Reading(str(tmp_path / "shop"), Shop) as reading, pytest.raises(UnsupportedFormat):
        list(actions(reading.log, reading.codec, 0))
