"""Which object ends its process: what runs is written where it outlives the process, and an object that ended it twice is left alone.

`running.dat` is a page of memory that the kernel keeps when the process dies:

    offset  size  field
         0     8  magic   "COOPYRUN"
         8    16  start   what tells this opening of the directory from every other one
        24     1  runs    1 while code of an object runs, else 0
        25     1  doing   1 a call, 2 a read, 3 a call that it was told, 4 an alarm, 5 it is loaded, 6 its state is written
        26     8  index   of what was replayed, if it was loaded; of a call of another process, what tells it from every other one; little-endian
        34   990  method  UTF-8, and 0xFF after it
      1024  3072  key     as records have it, and 0xFF after it

Whoever opens the directory finds in it what the process before has died of, and adds that to `deaths.json`: a list of objects, each with
the names of the fields of `Death`. What ends well strikes out what was said of it, so an object that a kill has met by chance is served as
before. One with `DEATHS_MAX` of them is quarantined: nothing of it is run until somebody releases it.

Nothing else depends on the two files. The page is not synced: a power cut is no death of an object, and leaves one in it now and then,
which the next action strikes out.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any, NamedTuple

from coopy.disk import directory
from coopy.disk.fs import Calls, File
from coopy.errors import Quarantined
from coopy.ground.log import warn

PAGE, DEATHS = "running.dat", "deaths.json"
PAGE_BYTES = 4096  # One page of memory, and more than the longest key and name take.
DEATHS_MAX = 2
"""Once may be chance: somebody else took the memory, or killed the process. Twice, with no good end in between, is the object."""
CALL, READ, TOLD, ALARM, LOAD, STATE = range(1, 7)
_WORDS = {CALL: "call", READ: "read", TOLD: "told", ALARM: "alarm", LOAD: "load", STATE: "state"}
_MAGIC = b"COOPYRUN"
_START_BYTES = 16  # As many as an id of a system has.
_RUNS = len(_MAGIC) + _START_BYTES
_START = slice(len(_MAGIC), _RUNS)
_DOING, _INDEX = _RUNS + 1, slice(_RUNS + 2, _RUNS + 10)
_METHOD = _INDEX.stop
_KEY = 1024  # What is left for the name of a method is more than Python's longest, and for the key with its class, too.
_END = b"\xff"
assert (_RUNS, _METHOD) == (24, 34), "the table above is what is written"


class Death(NamedTuple):
    """What a process has died of."""

    key: str
    """As records have it: of an object of another class than that of the directory, with the class in front."""
    doing: str
    """What was done: "call", "read", "told", "alarm", "load" or "state"."""
    method: str
    action: int
    """The index of the action, or that it would have had."""
    at: str
    """When the next opening found it; ISO 8601, UTC."""
    start: str
    """Which opening of the directory has died so."""


class Watch:
    """What runs of which object, and which objects have ended their process. Guarded by the lock of the engine.

    ``page`` takes what runs, and ``keep`` writes down the deaths.
    """

    def __init__(self, page: Any, deaths: list[Death], keep: Callable[[list[Death]], None], name: str, last: int) -> None:
        """``last`` is the index of the last record that there is."""
        self._page = page
        self._keep = keep
        self._name = name
        self._key, self._method = b"", ""
        self._doing = 0
        self._runs = False
        self.deaths: dict[bytes, list[Death]] = {}
        """By key: of what the process has died, and nothing of the kind has ended well since."""
        for each in deaths:
            self.deaths.setdefault(each.key.encode(), []).append(each)
        found = _found(bytes(page[:PAGE_BYTES]), last)
        self.died: tuple[Death, int] | None = None
        """What the process has died of that had the directory before, and what `at` was told last."""
        if found is not None and found.start not in [each.start for each in deaths]:
            self.died = found, int.from_bytes(page[_INDEX], "little")
            self.deaths.setdefault(found.key.encode(), []).append(found)
            self._save()
        page[_RUNS] = 0
        page[:_RUNS] = _MAGIC + os.urandom(_START_BYTES)

    def begin(self, key: bytes, doing: int, method: str) -> tuple[bytes, int, str] | None:
        """Says that something of an object is about to run. Returns what ran around it, for `end`."""
        outer = (self._key, self._doing, self._method) if self._runs else None
        page = self._page
        if key is not self._key:
            page[_KEY : _KEY + len(key) + 1] = key + _END
            self._key = key
        if method is not self._method or doing != self._doing:
            name = method.encode("utf-8", "replace")[: _KEY - _METHOD - 1] + _END
            page[_METHOD : _METHOD + len(name)] = name
            page[_DOING] = self._doing = doing
            self._method = method
        self._runs = True
        page[_RUNS] = 1
        return outer

    def end(self, outer: tuple[bytes, int, str] | None = None) -> None:
        """Says that it has ended, and the process has not."""
        self._page[_RUNS] = 0
        self._runs = False
        if self.deaths:
            self._survived()
        if outer is not None:
            self.begin(*outer)

    def at(self, index: int) -> None:
        """Says which action is replayed; or which call of another process runs."""
        self._page[_INDEX] = index.to_bytes(8, "little")

    def has(self, key: bytes) -> bool:
        """Returns whether an object is quarantined."""
        return len(self.deaths.get(key, ())) >= DEATHS_MAX

    def refuse(self, key: bytes, shown: str) -> None:
        """Raises `Quarantined` if an object is. ``shown`` is its key for a person."""
        if self.has(key):
            raise self.refusal(key, shown)

    def refusal(self, key: bytes, shown: str) -> Quarantined:
        """Returns what is raised by calls of an object that is quarantined."""
        newest = self.deaths[key][-1]
        return Quarantined(self._name, shown, newest.method, newest.action, newest.doing, newest.at)

    def quarantined(self) -> list[bytes]:
        """Returns the keys of the objects that are quarantined."""
        return [key for key in self.deaths if self.has(key)]

    def release(self, key: bytes) -> bool:
        """Forgets what an object has done. Returns whether there was anything. Raises OSError."""
        found = self.deaths.pop(key, None)
        if found is not None:
            self._keep([each for those in self.deaths.values() for each in those])
        return found is not None

    def _survived(self) -> None:
        """Strikes out what was said of what has just ended well."""
        found = self.deaths.get(self._key, [])
        left = [each for each in found if (each.doing, each.method) != (_WORDS[self._doing], self._method)]
        if left == found:
            return
        if left:
            self.deaths[self._key] = left
        else:
            del self.deaths[self._key]
        self._save()

    def _save(self) -> None:
        try:
            self._keep([each for those in self.deaths.values() for each in those])
        except OSError as error:
            warn("%s: of what the process has died before can't be written down: %s", self._name, error)


def _found(page: bytes, last: int) -> Death | None:
    """Returns what a page tells of; None if nothing ran. ``last`` is the index of the last record that there is."""
    doing, index = page[_DOING], int.from_bytes(page[_INDEX], "little")
    if page[: len(_MAGIC)] != _MAGIC or page[_RUNS] != 1 or doing not in _WORDS:
        return None
    try:
        method = page[_METHOD:_KEY].partition(_END)[0].decode()
        key = page[_KEY:].partition(_END)[0].decode()
    except UnicodeDecodeError:
        return None
    at = datetime.now(timezone.utc).isoformat(timespec="seconds")
    action = index if doing in (LOAD, STATE) else last + (doing != READ)
    return Death(key, _WORDS[doing], method, action, at, page[_START].hex())


# -- its files


class _Written:
    """A page of a file that can't be written through a map. What the disk refuses is not known of afterwards, and no more."""

    def __init__(self, file: File) -> None:
        self._file = file

    def __getitem__(self, where: slice) -> bytes:
        return self._file.read(where.start or 0, where.stop)

    def __setitem__(self, where: slice | int, value: Any) -> None:
        with contextlib.suppress(OSError):
            self._file.note(*((where, bytes([value])) if isinstance(where, int) else (where.start or 0, value)))


def opened(calls: Calls, basedir: str) -> tuple[Any, File | None]:
    """Returns the page of a directory, and its file. If there can't be one, the page is forgotten with the process."""
    path = os.path.join(basedir, PAGE)
    file: File | None = None
    try:
        try:
            file = File(calls, path, write=True)
        except FileNotFoundError:
            file = File(calls, path, write=True, create=True)
        file.allocate(PAGE_BYTES)
        file.map()
    except OSError as error:
        warn("%s: it is not known of what the process dies, if it does: %s", path, error)
        if file is not None:
            file.close()
        return bytearray(PAGE_BYTES), None
    area = file.area()
    return (_Written(file) if area is None else area), file


def read(calls: Calls, basedir: str) -> list[Death]:
    """Returns the deaths that a directory tells of; none if its file can't be used. Raises OSError."""
    try:
        file = File(calls, os.path.join(basedir, DEATHS), write=False)
    except FileNotFoundError:
        return []
    try:
        data = file.read(0, file.size)
    finally:
        file.close()
    import json

    try:
        return [Death(**{name: kind(each[name]) for name, kind in _FIELDS.items()}) for each in json.loads(data)]
    except (ValueError, KeyError, TypeError):
        warn("%s is not what was written, and is passed over", os.path.join(basedir, DEATHS))
        return []


_FIELDS: dict[str, Any] = {name: int if name == "action" else str for name in Death._fields}


def write(calls: Calls, basedir: str, deaths: list[Death]) -> None:
    """Writes what a directory tells of. Raises OSError, with the old file or the new one there."""
    import json

    data = json.dumps([each._asdict() for each in deaths], indent=1).encode()
    directory.write_whole(calls, os.path.join(basedir, DEATHS), data)
    calls.sync_directory(basedir)
