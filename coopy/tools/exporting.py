"""The actions and the state of a directory, written for other programs: SQLite for questions, JSON lines for pipes, Parquet for tables.

What is written is JSON where it has parts: `coopy.tools.tree.as_json` says how values become that. It can't be read back into a state;
`coopy.tools.backup` is for that.
"""

from __future__ import annotations

import importlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TextIO

from coopy import UsageError
from coopy.disk.directory import TEMPORARY
from coopy.ground.action import instant_of
from coopy.ground.raised import on_failure
from coopy.past import trail
from coopy.past.history import Action
from coopy.past.reading import Reading
from coopy.past.trail import Point
from coopy.tools import tree
from coopy.tools.tree import action_as_json

JOURNAL = "_actions"
"""The table of the actions; the others are named by attributes of the state."""
PROPERTIES = "_state"
"""The table of the attributes that are no collections."""
STEP = 1_000
"""So many rows are written between two reports of progress."""

Progress = Callable[[int, int], object]
"""Given the actions that are written, and those in all."""


def to_lines(
    reading: Reading, file: TextIO, since: Point | None = None, until: Point | None = None, progress: Progress | None = None
) -> int:
    """Writes the actions as JSON, one object on a line. Returns how many. Raises a `StorageError` on reaching damage, OSError."""
    number = 0
    for each in _told_of(reading, since, until, progress):
        file.write(json.dumps(action_as_json(each)) + "\n")
        number += 1
    return number


def to_new_file(
    reading: Reading, path: str, since: Point | None = None, until: Point | None = None, progress: Progress | None = None
) -> int:
    """Writes a new file as `to_lines` does; it appears when it is whole. Returns how many actions. Raises `UsageError` if something is there."""
    _refuse_taken(path)
    temporary = path + TEMPORARY
    with on_failure(_remove, temporary):
        with open(temporary, "w", encoding="utf-8") as file:
            number = to_lines(reading, file, since, until, progress)
        os.rename(temporary, path)
    return number


def to_sqlite(
    reading: Reading,
    path: str,
    since: Point | None = None,
    until: Point | None = None,
    progress: Progress | None = None,
) -> dict[str, int]:
    """Writes a new SQLite file: the actions, and the state after the last of them. Returns how many rows each table has.

    ``_actions`` has a row for each action, with arguments in JSON. Each attribute of the state that is a dict, a list, a tuple or a set is a
    table of its name with the columns ``key`` and ``value``; ``_state`` has the other attributes. A state that is itself such a collection is the
    table ``_items``. What has parts is JSON, which SQLite's ``json_extract`` looks into.

    The file appears when it is whole. Raises `UsageError` if something is there, and what reading raises.
    """
    _refuse_taken(path)
    temporary = path + TEMPORARY
    _remove(temporary)
    with on_failure(_remove, temporary):
        with closing(sqlite3.connect(temporary, isolation_level=None)) as base:
            base.execute("PRAGMA journal_mode = OFF")
            base.execute("BEGIN")
            rows = {JOURNAL: _actions_to(base, reading, since, until, progress)}
            for name, pairs in _collections(reading.machine(until).domain):
                rows[name] = _table_to(base, name, pairs)
            base.execute("COMMIT")
        os.rename(temporary, path)
    return rows


def to_parquet(
    reading: Reading,
    path: str,
    since: Point | None = None,
    until: Point | None = None,
    progress: Progress | None = None,
) -> int:
    """Writes the actions as a new Parquet file, with arguments in JSON. Returns how many.

    Needs the package pyarrow. Raises `UsageError` without it, or if something is there, and what reading raises.
    """
    try:
        pyarrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise UsageError(
            "Parquet needs the package pyarrow, which is not installed: pip install pyarrow. Nothing was written."
        ) from None
    _refuse_taken(path)
    temporary = path + TEMPORARY
    schema = pyarrow.schema(
        [
            ("index", pyarrow.int64()),
            ("time", pyarrow.timestamp("us", "UTC")),
            ("method", pyarrow.string()),
            ("args", pyarrow.string()),
            ("kwargs", pyarrow.string()),
            ("outcome", pyarrow.string()),
        ]
    )
    number = 0
    with on_failure(_remove, temporary):
        with parquet.ParquetWriter(temporary, schema) as writer:
            for rows in _chunks(_told_of(reading, since, until, progress)):
                columns = zip(*map(_row, rows), strict=True)
                writer.write_table(
                    pyarrow.Table.from_arrays(
                        [pyarrow.array(each, kind.type) for each, kind in zip(columns, schema, strict=True)], schema=schema
                    )
                )
                number += len(rows)
        os.rename(temporary, path)
    return number


def _told_of(reading: Reading, since: Point | None, until: Point | None, progress: Progress | None) -> Iterator[Action]:
    total = reading.log.last
    for number, each in enumerate(trail.actions(reading, since, until)):
        yield each
        if progress is not None and number % STEP == 0:
            progress(each.index, total)


def _chunks(actions: Iterator[Action]) -> Iterator[list[Action]]:
    chunk: list[Action] = []
    for each in actions:
        chunk.append(each)
        if len(chunk) == STEP:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _row(each: Action) -> tuple[int, int, str | None, str | None, str | None, str]:
    said = action_as_json(each)
    parts = [json.dumps(said[name]) if name in said else None for name in ("args", "kwargs")]
    return each.index, instant_of(each.header) // 1_000, each.method, parts[0], parts[1], said["outcome"]


def _actions_to(
    base: sqlite3.Connection, reading: Reading, since: Point | None, until: Point | None, progress: Progress | None
) -> int:
    base.execute(
        f'CREATE TABLE "{JOURNAL}" ("index" INTEGER PRIMARY KEY, time TEXT, method TEXT, args TEXT, kwargs TEXT, outcome TEXT, problem TEXT)'
    )
    number = 0
    for each in _told_of(reading, since, until, progress):
        _, _, *rest = _row(each)
        base.execute(
            f'INSERT INTO "{JOURNAL}" VALUES (?, ?, ?, ?, ?, ?, ?)',
            (each.index, each.time.isoformat(), *rest, each.problem or None),
        )
        number += 1
    return number


def _collections(domain: object) -> Iterator[tuple[str, list[tuple[object, object]]]]:
    """Yields the tables of a state: their names and rows."""
    single: list[tuple[object, object]] = []
    own = _pairs(domain)
    if own is not None:
        yield "_items", own
    for name, value in tree.attributes(domain).items():
        pairs = _pairs(value)
        if pairs is None:
            single.append((name, value))
        else:
            yield name, pairs
    yield PROPERTIES, single


def _pairs(value: object) -> list[tuple[object, object]] | None:
    """Returns the keys and values of a collection; None for what is none."""
    if isinstance(value, dict):
        return list(dict.items(value))
    if isinstance(value, (list, tuple)):
        return list(enumerate(value))
    if isinstance(value, (set, frozenset)):
        return [(each, True) for each in value]
    return None


def _table_to(base: sqlite3.Connection, name: str, pairs: list[tuple[object, object]]) -> int:
    quoted = '"' + name.replace('"', '""') + '"'
    base.execute(f"CREATE TABLE {quoted} (key, value)")
    base.executemany(f"INSERT INTO {quoted} VALUES (?, ?)", ((_cell(key), _cell(value)) for key, value in pairs))
    return len(pairs)


def _cell(value: object) -> str | int | float | bytes | None:
    """Returns a value as SQLite keeps it: what has parts, and an int of more than 64 bits, is JSON."""
    if value is None or type(value) in (str, float, bytes) or (type(value) is int and -(1 << 63) <= value < 1 << 63):
        return value  # type: ignore[return-value]
    if type(value) is bool:
        return int(value)
    said = tree.as_json(value)
    return said if type(said) is str else json.dumps(said)


def _refuse_taken(path: str) -> None:
    if os.path.lexists(path):
        raise UsageError(f"{path} is there already. Nothing was written. Choose another name, or remove it.")


def _remove(path: str) -> None:
    if os.path.exists(path):
        os.remove(path)
