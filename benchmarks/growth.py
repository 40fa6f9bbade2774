"""Cost against growth: of the state, of the journal, of threads and of nodes. Writes the figures and a picture of them.

    python -m benchmarks.growth [--only WORD] [--most N] [--dir DIR] [--draw]

Each figure is of a process of its own, and in processor time where what is measured needs no more: of the calls that are measured, or of the process
and the child that writes a snapshot. Threads wait for the disk and nodes for each other: those figures are of the time that goes by, and say how many
calls there were a second. What is measured goes into docs/pictures/growth.json in place of what was there of the same curve and size, so
that the long ones can be measured by themselves; the picture and the table of docs/internals/growth.md are made from that. ``--draw`` measures nothing.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import coopy
from benchmarks.workload import Bank, Store, deposits, rate_of_threads
from coopy import readonly

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "docs" / "pictures" / "growth.json"
PICTURE = ROOT / "docs" / "pictures" / "growth.svg"
PAGE = ROOT / "docs" / "internals" / "growth.md"
TABLE = re.compile(r"^\| curve \|.*\n(?:\|.*\n)+", re.MULTILINE)
"""In the page."""
MOST = 1_000_000
THREADS = (1, 2, 4, 8, 16, 32, 64)
NODES = (1, 3, 5)
CALLS = 20_000

Figures = dict[str, dict[str, float]]


class Panel(NamedTuple):
    """A part of the picture: its curves, each with what it is called there, and the axes."""

    title: str
    across: str
    up: str
    curves: dict[str, str]


PANELS = (
    Panel("A call", "objects of the state", "µs", {"write": "write", "read": "read", "bare": "bare write"}),
    Panel("The whole state", "objects of the state", "s", {"snapshot": "snapshot", "restart": "restart"}),
    Panel("The journal", "actions since the snapshot", "s", {"journal": "write all", "replay": "replay all"}),
    Panel("Threads that wait for the disk", "threads", "calls/s", {"threads": "calls"}),
    Panel("Nodes", "nodes", "ms", {"nodes": "a call"}),
)
ACROSS = {curve: panel.across for panel in PANELS for curve in panel.curves}
UNITS = {curve: panel.up for panel in PANELS for curve in panel.curves}


class Shelf(Store):
    @readonly
    def price(self, number: int) -> float:
        return float(self.items[number].price)


# -- a figure, in a process of its own


def processor_s(function: Callable[[], object]) -> float:
    """Processor time of this process and its children."""

    def used() -> float:
        own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime

    began = used()
    function()
    return used() - began


def each(function: Callable[[int], object], size: int) -> float:
    """Microseconds of processor time of a call, each of another object than the one before; the least of three rounds."""
    numbers = [number * 7919 % size for number in range(CALLS)]

    def round_of_calls() -> float:
        began = time.thread_time()
        for number in numbers:
            function(number)
        return (time.thread_time() - began) / CALLS * 1e6

    return min(round_of_calls() for _ in range(3))


def state(size: int, directory: str) -> dict[str, float]:
    bare = Shelf(size)
    system = coopy.init_system(bare, os.path.join(directory, "state"), durability="buffered", validation="off")
    found = {"bare": each(bare.touch, size), "write": each(system.touch, size), "read": each(system.price, size)}
    del bare
    gc.collect()
    found["snapshot"] = processor_s(coopy.control(system).take_snapshot)
    system.close()
    return found


def restart(size: int, directory: str) -> dict[str, float]:
    return {"restart": _opening(Shelf, os.path.join(directory, "state"))}


def journal(size: int, directory: str) -> dict[str, float]:
    path = os.path.join(directory, "journal")
    system = coopy.init_system(Bank, path, durability="buffered", validation="off")
    began = time.thread_time()
    deposits(system.deposit, size)
    took = time.thread_time() - began
    system.close()
    return {"journal": took}


def replay(size: int, directory: str) -> dict[str, float]:
    return {"replay": _opening(Bank, os.path.join(directory, "journal"))}


def _opening(cls: type, path: str) -> float:
    opens = coopy.init_system  # Loading that is not measured.
    began = time.thread_time()
    system = opens(cls, path, durability="buffered", validation="off")
    took = time.thread_time() - began
    system.close()
    return took


def threads(size: int, directory: str) -> dict[str, float]:
    system = coopy.init_system(Bank, os.path.join(directory, "threads"), validation="off")
    rate_of_threads(system.deposit, size, 10 * size)
    found = max(rate_of_threads(system.deposit, size, 100 * size) for _ in range(5))  # Others use the disk, too.
    system.close()
    return {"threads": found}


def nodes(size: int, directory: str) -> dict[str, float]:
    from benchmarks.cluster import Cluster

    with Cluster("coopy", directory, count=size) as cluster:
        cluster.led.ask("one", 20)
        return {"nodes": min(float(cluster.led.ask("one", 25)) for _ in range(20))}


KINDS: dict[str, Callable[[int, str], dict[str, float]]] = {
    "state": state,
    "restart": restart,
    "journal": journal,
    "replay": replay,
    "threads": threads,
    "nodes": nodes,
}


def measure(kinds: tuple[str, ...], size: int, directory: str, figures: Figures) -> None:
    """Adds some figures, the later ones of what the earlier ones have left."""
    path = tempfile.mkdtemp(prefix=".bench-data-", dir=directory)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    try:
        for kind in kinds:
            command = [sys.executable, "-m", "benchmarks.growth", "--one", kind, str(size), path]
            ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
            for curve, figure in json.loads(ran.stdout.splitlines()[-1]).items():
                figures.setdefault(curve, {})[str(size)] = figure
                print(f"{curve:<10} {size:>12,} {figure:>14.4g} {UNITS[curve]}", flush=True)
    finally:
        shutil.rmtree(path, ignore_errors=True)


# -- what is made of them


def points_of(figures: Figures, curve: str) -> list[tuple[int, float]]:
    return sorted((int(size), figure) for size, figure in figures.get(curve, {}).items())


def slope(points: list[tuple[int, float]]) -> float:
    """The power of growth with which the cost grows, from the last two sizes that lie a factor of ten apart, or more."""
    last, cost = points[-1]
    size, before = next((each for each in reversed(points) if each[0] * 10 <= last), points[0])
    return math.log(cost / before) / math.log(last / size)


def table(figures: Figures) -> str:
    lines = ["| curve | what grows | unit | figures, by size | slope at the end |", "| --- | --- | --- | --- | --: |"]
    for panel in PANELS:
        for curve, name in panel.curves.items():
            points = points_of(figures, curve)
            if points:
                shown = ", ".join(f"{size:,}: {figure:.3g}" for size, figure in points)
                lines.append(f"| {name} | {panel.across} | {panel.up} | {shown} | {slope(points):.2f} |")
    return "\n".join(lines) + "\n"


WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 300, 230, 52, 34, 64, 44
COLOURS = ("#2a6fdb", "#c2570c", "#6b7280")
STYLE = """
  text { font: 11px system-ui, sans-serif; fill: #1f2328 } .title { font-weight: 600; font-size: 13px }
  .grid { stroke: #d0d7de; stroke-width: 1 } .back { fill: #ffffff }
  @media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .grid { stroke: #30363d } .back { fill: #0d1117 } }
"""


def picture(figures: Figures) -> str:
    """An SVG of all panels, on logarithmic axes."""
    shown = [panel for panel in PANELS if any(points_of(figures, curve) for curve in panel.curves)]
    columns = 3
    rows = -(-len(shown) // columns)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {columns * WIDTH} {rows * HEIGHT}" role="img"'
        ' aria-label="Cost against growth">',
        f"<style>{STYLE}</style>",
        f'<rect class="back" width="{columns * WIDTH}" height="{rows * HEIGHT}"/>',
    ]
    for number, panel in enumerate(shown):
        x, y = number % columns * WIDTH, number // columns * HEIGHT
        parts += [f'<g transform="translate({x} {y})">', *_panel(panel, figures), "</g>"]
    return "\n".join([*parts, "</svg>\n"])


def _panel(panel: Panel, figures: Figures) -> list[str]:
    curves = {name: points_of(figures, curve) for curve, name in panel.curves.items() if points_of(figures, curve)}
    every = [point for points in curves.values() for point in points]
    is_small = max(size for size, _ in every) < 100
    sizes = sorted({size for size, _ in every}) if is_small else _powers(every, 0)
    costs = _powers(every, 1)

    def across(size: float) -> float:
        low, high = math.log(sizes[0]), math.log(sizes[-1])
        return LEFT + (math.log(size) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def up(cost: float) -> float:
        low, high = math.log(costs[0]), math.log(costs[-1])
        return HEIGHT - BOTTOM - (math.log(cost) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = [f'<text class="title" x="{LEFT}" y="18">{panel.title}</text>']
    for size in sizes:
        parts.append(f'<text x="{across(size):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{_number(size)}</text>')
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.1f}" y="{HEIGHT - BOTTOM + 33}" text-anchor="middle">{panel.across}</text>'
    )
    for cost in costs:
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{up(cost):.1f}" y2="{up(cost):.1f}"/>'
            f'<text x="{LEFT - 6}" y="{up(cost) + 4:.1f}" text-anchor="end">{_number(cost)}</text>'
        )
    parts.append(f'<text x="{LEFT - 6}" y="{TOP - 6}" text-anchor="end">{panel.up}</text>')
    taken: list[float] = []
    for colour, (name, points) in zip(COLOURS, curves.items(), strict=False):
        line = " ".join(f"{across(size):.1f},{up(cost):.1f}" for size, cost in points)
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{line}"/>')
        parts += [f'<circle fill="{colour}" cx="{across(size):.1f}" cy="{up(cost):.1f}" r="2.5"/>' for size, cost in points]
        place = up(points[-1][1]) + 4
        while any(abs(place - other) < 12 for other in taken):
            place -= 1
        taken.append(place)
        parts.append(f'<text x="{WIDTH - RIGHT + 6}" y="{place:.1f}" style="fill:{colour}">{name}</text>')
    return parts


def _powers(points: list[tuple[int, float]], place: int) -> list[float]:
    """The powers of ten around what points have at a place, two at least."""
    low = math.floor(math.log10(min(point[place] for point in points)) + 1e-9)
    high = math.ceil(math.log10(max(point[place] for point in points)) - 1e-9)
    return [10.0**power for power in range(low, max(high, low + 1) + 1)]


def _number(value: float) -> str:
    if value >= 1_000_000:
        return f"{value / 1_000_000:g}M"
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"


def draw(figures: Figures) -> None:
    PICTURE.write_text(picture(figures), encoding="utf-8")
    if PAGE.exists():
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(TABLE.sub(lambda _: table(figures), page), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--only", default="", help="only what is called so: state, journal, threads or nodes")
    parser.add_argument("--most", type=float, default=MOST, help="the most objects, and the most actions (1e6)")
    parser.add_argument("--least", type=float, default=1000, help="the fewest of them (1e3)")
    parser.add_argument("--dir", default=".", help="where to make the data; a real disk, not a memory one")
    parser.add_argument("--draw", action="store_true", help="make the picture and the table of what was measured before")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        kind, size, directory = options.one
        print(json.dumps(KINDS[kind](int(size), directory)))
        return
    figures: Figures = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else {}
    sizes = [10**power for power in range(3, 9) if options.least <= 10**power <= options.most]
    plan: list[tuple[str, tuple[str, ...], tuple[int, ...] | list[int]]] = [
        ("state", ("state", "restart"), sizes),
        ("journal", ("journal", "replay"), sizes),
        ("threads", ("threads",), THREADS),
        ("nodes", ("nodes",), NODES),
    ]
    if not options.draw:
        for name, kinds, every in plan:
            for size in every if options.only in name else ():
                measure(kinds, size, os.path.abspath(options.dir), figures)
                FIGURES.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    draw(figures)


if __name__ == "__main__":
    main()
