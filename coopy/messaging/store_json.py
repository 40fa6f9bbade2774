"""The JSON file of PyDistributed's key-value store, which is that of PickleDB: one object, whose members are the keys.

It is read as it is, and never changed unless it is written on purpose (`write`). Values that PickleDB keeps as lists and dicts come as such.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from typing import Any

from coopy import UsageError
from coopy.batteries import thawed


def read(path: str) -> dict[str, Any]:
    """Returns the keys and values of a file. Raises `UsageError` if it is none of these files, OSError if it can't be read."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    try:
        found = json.loads(text) if text.strip() else {}
    except ValueError as error:
        raise UsageError(
            f"{path}: is no JSON ({error}), and so no file of PickleDB. Nothing was taken over, and nothing was opened."
        ) from error
    if not isinstance(found, dict):
        raise UsageError(
            f"{path}: has a {type(found).__name__} where PickleDB has an object of keys. Nothing was taken over, and nothing was opened."
        )
    return found


def write(path: str, values: Mapping[str, Any]) -> None:
    """Writes a file, in the place of one that is there, whole or not at all. Raises `UsageError` for a value that JSON has not, OSError."""
    try:
        text = json.dumps({key: thawed(value) for key, value in values.items()})
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"{path}: {error}. JSON has texts, numbers, lists, dicts, True, False and None. Nothing was written."
        ) from error
    fresh = f"{path}.{secrets.token_hex(4)}"
    try:
        with open(fresh, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    finally:
        if os.path.exists(fresh):
            os.unlink(fresh)
