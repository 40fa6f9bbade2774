"""Cost against growth: the picture and the table are those of the figures."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET

import pytest

from benchmarks import growth


def figures() -> growth.Figures:
    found: growth.Figures = json.loads(growth.FIGURES.read_text(encoding="utf-8"))
    return found


def test_the_table_and_the_picture_are_what_is_made_of_the_figures() -> None:
    assert growth.table(figures()) in growth.PAGE.read_text(encoding="utf-8")
    assert growth.picture(figures()) == growth.PICTURE.read_text(encoding="utf-8")


def test_every_curve_has_figures_of_three_sizes_and_more() -> None:
    for panel in growth.PANELS:
        for curve in panel.curves:
            assert len(growth.points_of(figures(), curve)) >= 3


def test_the_picture_has_each_point_of_each_curve_inside_its_panel() -> None:
    root = ET.fromstring(growth.picture(figures()))
    name = "{http://www.w3.org/2000/svg}"
    panels = root.findall(f"{name}g")
    assert len(panels) == len(growth.PANELS)
    for panel, drawn in zip(growth.PANELS, panels, strict=True):
        points = drawn.findall(f"{name}circle")
        assert len(points) == sum(len(growth.points_of(figures(), curve)) for curve in panel.curves)
        for point in points:
            assert growth.LEFT <= float(point.attrib["cx"]) <= growth.WIDTH - growth.RIGHT + 0.1
            assert growth.TOP <= float(point.attrib["cy"]) <= growth.HEIGHT - growth.BOTTOM + 0.1


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(1000, 1.0), (10_000, 10.0), (100_000, 100.0)], 1),
        ([(1000, 9.0), (10_000, 2.0), (100_000, 2.0)], 0),
        ([(1, 1.0), (3, 3.0), (5, 5.0)], 1),
        ([(10, 1.0), (1000, 10_000.0)], 2),
    ],
)
def test_the_slope_is_that_of_the_last_factor_of_ten(points: list[tuple[int, float]], expected: float) -> None:
    assert growth.slope(points) == pytest.approx(expected)


def test_a_figure_that_is_not_there_is_not_drawn() -> None:
    found = growth.picture({"threads": {"1": 10.0, "8": 70.0}})
    assert found.count("<circle") == 2 and found.count('class="title"') == 1
    assert re.search(
        r"\| calls \| threads \| calls/s \| 1: 10, 8: 70 \| 0\.94 \|", growth.table({"threads": {"1": 10.0, "8": 70.0}})
    )
