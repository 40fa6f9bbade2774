"""How things are written and read on the command line: times, sizes, actions, colours, progress."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from coopy import UsageError
from coopy.ground.action import OUTCOMES, RAISED, RETURNED, UNKNOWN, WITHDRAWN
from coopy.ground.log import Bar
from coopy.ground.words import shown
from coopy.past.history import Action
from coopy.tools import tree

if TYPE_CHECKING:
    from coopy.determinism.rules import Finding

_COLOURS = {"name": "36", "type": "33", "value": "", "note": "2", "good": "32", "bad": "31", "odd": "33", "strong": "1"}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])\Z")


# -- reading


def point(text: str, name: str) -> int | datetime:
    """An index or a time, of what an option ``name`` was given. Raises `UsageError`.

    A time is ISO 8601, local if it has no offset; a date alone is its midnight, a time alone is of today; ``2h`` is
    two hours ago.
    """
    text = text.strip()
    ago = _DURATION.match(text)
    try:
        if text.isascii() and text.isdigit():
            return int(text)
        if ago is not None:
            return datetime.now().astimezone() - timedelta(seconds=float(ago[1]) * _UNITS[ago[2]])
        if re.match(r"\d?\d:\d\d", text):
            return datetime.combine(date.today(), time.fromisoformat(text.zfill(5) if len(text) < 6 else text))
        return datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith(("Z", "z")) else text)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{name} {shown(text)}: must be the index of an action, or a time: 2026-01-31, 2026-01-31T08:15:00, 08:15, "
            f"2h (two hours ago)"
        ) from None


def duration(text: str, name: str) -> timedelta:
    """How long: ``90s``, ``15m``, ``12h``, ``30d``, ``2w``. Raises `UsageError`."""
    found = _DURATION.match(text.strip())
    try:
        if found is not None:
            return timedelta(seconds=float(found[1]) * _UNITS[found[2]])
    except OverflowError:
        pass
    raise UsageError(f"{name} {shown(text)}: must be a number and a unit, as in 90s, 15m, 12h, 30d, 2w")


# -- writing

is_quiet = False
"""Whether only results and errors are written; see `tell`."""


def tell(line: str) -> None:
    """Writes a line about the work to stderr: whose directory is loaded, what goes on; not with --quiet."""
    if not is_quiet:
        print(line, file=sys.stderr, flush=True)


class Painter:
    """Colours for one stream: those of a terminal, or none."""

    def __init__(self, stream: Any = None) -> None:
        stream = sys.stdout if stream is None else stream
        self.on = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def __call__(self, kind: str, text: str) -> str:
        code = _COLOURS[kind]
        return f"\x1b[{code}m{text}\x1b[0m" if self.on and code and text else text


def width() -> int:
    """Columns that a line may have."""
    return max(shutil.get_terminal_size((120, 24)).columns, 40)


def size(number: int) -> str:
    """Bytes, in the unit that suits them."""
    if number < 1024:
        return f"{number} B"
    amount, units = number / 1024, ["KiB", "MiB", "GiB", "TiB"]
    while amount >= 1024 and len(units) > 1:
        amount /= 1024
        del units[0]
    return f"{amount:,.1f} {units[0]}"


def count(number: int, one: str, more: str = "") -> str:
    """How many of something: ``1 action``, ``2,000 actions``."""
    return f"{number:,} {one if number == 1 else more or one + 's'}"


def moment(when: datetime, timespec: str = "milliseconds") -> str:
    """A time in the local time of whoever reads it."""
    return when.astimezone().replace(tzinfo=None).isoformat(" ", timespec)


def action_line(each: Action, columns: int, digits: int, paint: Painter) -> str:
    """One action on one line."""
    head = f"{each.index:>{digits}}  "
    when = moment(each.time)
    outcome = "" if each.outcome in (RETURNED, UNKNOWN) else OUTCOMES[each.outcome]
    room = columns - len(head) - len(when) - 2 - (len(outcome) + 2 if outcome else 0)
    if each.method is None:
        # Of what to do about it, the first line; it is not cut, as it ends with what matters.
        return f"{head}{paint('note', when)}  {paint('bad', each.problem.partition(chr(10))[0])}"
    line = f"{head}{paint('note', when)}  {paint('name', each.method)}{_arguments(each, room - len(each.method))}"
    if outcome:
        line += "  " + paint({RAISED: "odd", WITHDRAWN: "bad"}[each.outcome], outcome)
    return line


def _arguments(each: Action, room: int) -> str:
    """The arguments in brackets, cut so that they fit."""
    room = max(room, 20)
    parts = []
    left = room - 2
    for name, value in [*((None, value) for value in each.args), *each.kwargs.items()]:
        if left < 3:
            parts.append("…")
            break
        text = tree.shown(value, max(left, 20))
        parts.append(text if name is None else f"{name}={text}")
        left -= len(parts[-1]) + 2
    text = f"({', '.join(parts)})"
    return text if len(text) <= room else text[: room - 2] + "…)"


def action_json(each: Action) -> str:
    """One action as one line of JSON, nothing of it cut."""
    return json.dumps(tree.action_as_json(each))


def finding_line(each: Finding, paint: Painter) -> str:
    """One finding of the static check, as linters write theirs; no part of it is cut."""
    place = f"{paint('strong', f'{from_here(each.file)}:{each.line}:{each.column}')}:"
    colour = "bad" if each.severity == "error" else "odd"
    use = f"; use {each.instead}" if each.instead else ""
    return f"{place} {paint(colour, each.code)} {each.message}{use}"


def finding_json(each: Finding) -> dict[str, object]:
    """The same in the types of JSON."""
    return {
        "path": from_here(each.file),
        "line": each.line,
        "column": each.column,
        "code": each.code,
        "severity": each.severity,
        "message": each.message,
        "replacement": each.instead,
    }


def from_here(path: str) -> str:
    """A path as it is written in the current directory; whole, if it is not below."""
    here = os.path.join(os.getcwd(), "")
    return path[len(here) :] if path.startswith(here) else path


def print_json(said: object) -> None:
    """One JSON document, on lines of their own."""
    print(json.dumps(said, indent=2, default=str))


def table(rows: list[tuple[str, ...]], right: frozenset[int] = frozenset()) -> list[str]:
    """Rows as lines of columns; those of ``right`` end at their right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(wide) if place in right else cell.ljust(wide)
            for place, (cell, wide) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


class Meter(Bar):
    """A bar that says what it counts."""

    def phase(self, phase: str, done: int, total: int) -> None:
        self._draw(done, total, f"{phase}: {done:,} of {total:,}")

    def bytes(self, done: int, total: int) -> None:
        self._draw(done, total, f"{size(done)} of {size(total)}")
