"""Writes data directories as coopy 0.4 and 0.7 did, for what no golden directory shows."""

from __future__ import annotations

import json
import pickle
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

NOON = datetime(2015, 6, 1, 12, 0, 0, 1)


def _old_class(module: str, name: str) -> type:
    return type(name, (), {"__module__": module, "__qualname__": name})


_MODULES = {
    "coopy.foundation": ("Action", "RecordClock", "RestoreClock", "VersionedState"),
    "coopy.environment": ("CallEnv",),
    "gone": ("Ghost",),
}
_CLASSES = {(module, name): _old_class(module, name) for module, names in _MODULES.items() for name in names}


@contextmanager
def _old_modules() -> Iterator[None]:
    """Lets pickle see the classes by their old names."""
    for module, names in _MODULES.items():
        made = types.ModuleType(module)
        for name in names:
            setattr(made, name, _CLASSES[module, name])
        sys.modules[module] = made
    try:
        yield
    finally:
        for module in _MODULES:
            del sys.modules[module]


def old(module: str, name: str, **members: Any) -> Any:
    """An object of a class that only old programs have."""
    made = _CLASSES[module, name]()
    vars(made).update(members)
    return made


def call(name: str, *args: Any, told: list[Any] | None = None, **more: Any) -> Any:
    """An Action."""
    members = {"caller_id": 1, "action": name, "args": args, "kwargs": {}, "results": told or [], "timestamp": NOON}
    return old("coopy.foundation", "Action", **{**members, **more})


class OldDirectory:
    """A directory, and the pickler of the program that has it open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()

    def manifest(self, **members: Any) -> OldDirectory:
        """Makes it one of 0.7."""
        told = {"coopy_version": "0.7.0", "format_version": 2, "serializer": "pickle", "signed": False, **members}
        (self.path / "coopy.json").write_text(json.dumps(told))
        return self

    def snapshot(self, number: int, state: object) -> Path:
        path = self.path / f"snapshot_{number:015d}.dat"
        with _old_modules():
            path.write_bytes(pickle.dumps(state, pickle.HIGHEST_PROTOCOL))
        return path

    def log(self, number: int, *actions: Any, protocol: int = 5) -> Path:
        """Begins a log, or (of a number that is there) starts the program again, and writes to it."""
        path = self.path / f"transaction_{number:015d}.log"
        with _old_modules(), path.open("ab") as file:
            pickler = pickle.Pickler(file, protocol)
            for each in actions:
                pickler.dump(each)
        return path

    def contents(self) -> dict[str, tuple[bytes, int]]:
        """Every file: its bytes, and when it was written."""
        return contents(self.path)


def contents(path: Path) -> dict[str, tuple[bytes, int]]:
    return {each.name: (each.read_bytes(), each.stat().st_mtime_ns) for each in sorted(path.iterdir())}
