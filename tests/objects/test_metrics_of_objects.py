"""What many objects tell of themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from objects.lives import Lives
from objects.rooms import Room

import coopy
import coopy.metrics
from coopy import UsageError

prometheus = pytest.importorskip("prometheus_client", reason="the extra [metrics] is not installed")


def shown(registry: Any) -> dict[str, float]:
    """What Prometheus reads, without the label of the directory."""
    text = prometheus.generate_latest(registry).decode()
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {
        ",".join(part for part in name.replace("}", "").replace("{", ",").split(",") if "system=" not in part): float(value)
        for name, _, value in lines
    }


def test_objects_show_how_many_there_are_and_what_is_called(tmp_path: Path) -> None:
    registry = prometheus.CollectorRegistry()
    with coopy.objects(Room, tmp_path) as rooms:
        rooms["before"].say("ann")
        collector = coopy.metrics.register(rooms, registry)
        for key in "abb":
            rooms[key].say("ann")
        rooms["a"].draw()
        rooms["a"].last()
        rooms.passivate()
        rooms["a"].last()
        found = shown(registry)
        assert found['coopy_calls_total,method="say"'] == 3 and found['coopy_calls_total,method="draw"'] == 1
        assert (found["coopy_objects"], found["coopy_objects_active"], found["coopy_objects_passive"]) == (3, 1, 2)
        assert (found["coopy_objects_activated_total"], found["coopy_objects_passivated_total"]) == (1, 3)
        assert found["coopy_actions_total"] == found["coopy_durable_actions_total"] == rooms.status()["last"]
        assert found["coopy_objects_memory_bytes"] > 0 and found["coopy_objects_index_bytes"] > 0
        with pytest.raises(UsageError, match="registered already"):
            coopy.metrics.register(rooms, registry)
        collector.close()
        collector.close()
        assert shown(registry) == {}
        assert {name: value for name, _, _, value in coopy.metrics.figures(rooms)}["coopy_objects"] == 3


def test_objects_are_not_well_while_one_is_quarantined(in_memory: Path) -> None:
    lives = Lives(in_memory / "data")
    with lives.open() as mortals:
        assert coopy.metrics.health(mortals) == {"ok": True, "problems": [], "index": 0}
    lives.live("mortals['bad'].die('exit')", "mortals['bad'].die('exit')")
    with lives.open() as mortals:
        said = coopy.metrics.health(mortals)
        assert not said["ok"] and "'bad' is quarantined" in said["problems"][0]
