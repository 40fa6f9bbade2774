"""A node that is started again is compared with what it had, as any system is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from program import free_port

from coopy import StateDiverged, control, init_system

outside = [1]


class Till:
    def __init__(self) -> None:
        self.values: list[int] = []

    def add(self) -> None:
        self.values.append(outside[0])


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    outside[:] = [1]
    yield
    outside[:] = [1]


def test_a_node_whose_replay_gives_another_state_says_so_or_does_not_start(tmp_path: Path) -> None:
    options: dict[str, Any] = {"master": True, "port": free_port(), "validation": "off"}
    with control(init_system(Till, tmp_path / "node", **options)) as node:
        node.system.add()
        found = node.status()
        assert found["divergence"] is None and found["snapshot"]["index"] == 0 and found["state"] == "ready"
    outside[:] = [2]
    with pytest.raises(StateDiverged, match=r"add\(\), .*state.values|state.values.*add\(\)"):
        init_system(Till, tmp_path / "node", on_divergence="refuse", **options)
    with control(init_system(Till, tmp_path / "node", **options)) as node:
        found = node.status()["divergence"]
        assert (found["method"], found["path"]) == ("add", "state.values")
        assert node.system.values == [2]
        node.system.add()
    with control(init_system(Till, tmp_path / "node", on_divergence="refuse", **options)) as node:
        assert node.system.values == [2, 2]
