"""Brings in data directories that coopy 0.4 and 0.7 wrote: one way, once. It has more than 500 lines because two old
formats and their replay are here, and nowhere else.

An old directory holds files that count on from 2, both kinds in one row:

    snapshot_<15 digits>.dat     one pickle, the state
    transaction_<15 digits>.log  pickles of Action objects one behind the other, from one pickler: a later
                                 record refers to what an earlier one of the file holds
    coopy.json                   0.7 only: "format_version", "serializer", "signed"

* 0.4 (and what else has no coopy.json) goes on in the same log after a snapshot, so nobody knows how much of
  that log the snapshot holds already. Replay begins at the newest snapshot that is older than every log. A
  program that was started again goes on in the last log with a new pickler, whose first record refers to
  nothing: such a record begins a new pickle stream.
* 0.7 begins a log with every snapshot: replay begins at the newest one.

Old records hold what the domain was told by ``_clock`` (values in order; in 0.7 with the method's name) and
``_env``; while they run again, the domain is told the same. 0.7 also recorded whether a call raised, and a call
that now ends otherwise stops the import; 0.4 did not, and every ending is taken as it comes.

Old coopy wrote without sync, so the last record of the last log may be torn. It is dropped, with a warning. A
record that is not whole and has others behind it is damage.

A pickle may run anything when it is loaded: import only what you trust.
"""

from __future__ import annotations

import copy
import io
import os
import pickle
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, time, tzinfo
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from coopy import (
    CoopyError,
    DecodingError,
    DirectoryInUse,
    ForeignDirectory,
    MissingMethod,
    ReplayError,
    StorageError,
    UnsupportedFormat,
    UsageError,
)
from coopy.clock import clock
from coopy.disk.older import OldFile, files, head, manifest, recognize
from coopy.env import env
from coopy.ground import action, log, paths
from coopy.ground.raised import attempted, told_as
from coopy.ground.running import current
from coopy.ground.words import shown
from coopy.spine.machine import equip
from coopy.spine.replay import Progress

if TYPE_CHECKING:
    import uuid

T = TypeVar("T")

_FIRST_NUMBER = 2  # coopy 0.4.6 began to number with it.
_FORMAT_MAX = 2  # of coopy.json, that of 0.7.0
_ENVELOPES = {b"COOPY-HMAC-1\0": "signed", b"COOPY-COMPRESSED-1\0": "compressed"}
_CONVERT = "Nothing was changed. Write it anew with coopy.convert() of 0.7.0, unsigned, with pickle, uncompressed."


class Imported(NamedTuple):
    """What was brought in."""

    version: str
    """Release that wrote the directory: "0.7.0", or "0.4.6" for all before it."""
    actions: int
    """How many recorded actions ran again, "raised" or not."""
    raised: int
    """How many of them raised."""
    index: int  # type: ignore[assignment]  # a field here, not the method of tuples
    """Index of the state in a new directory, where its time travel begins: 0."""
    snapshot: str
    """Name of the old snapshot that replay began at."""
    dropped: int
    """Bytes of a torn record at the end of the last log that were left out."""


def restore_legacy(cls: type[T], path: str | os.PathLike[str], progress: Progress | None = None) -> tuple[T, Imported]:
    """The plain domain object at the end of an old directory, and what was run to get there. Writes nothing.

    Args:
        cls: the domain class of today; its module and those of its neighbours may have moved, its name not.
        path: the old directory, which no program has open.
        progress: called with the actions done and the actions in all.

    Raises:
        UsageError: an argument cannot be used, or the directory holds another class.
        ForeignDirectory: it is not a directory of old coopy.
        StorageError: a file is missing, damaged, or of a kind that is not read.
        DecodingError: a pickle names a class that cannot be found.
        ReplayError: an action does not fit today's code.
    """
    if not isinstance(cls, type):
        raise UsageError(f"cls={shown(cls)}: must be the domain class")
    if progress is not None and not callable(progress):
        raise UsageError(f"progress={shown(progress)}: must be callable with the actions done and the actions in all")
    path = paths.absolute(path, "path")
    version = recognize(path)
    if version is None:
        raise ForeignDirectory(
            f"{path} is not a data directory of coopy 0.4 or 0.7. Nothing was changed. Give the directory that "
            f"holds its snapshot_*.dat files; one of this release is opened with init_system()."
        )
    with paths.reads(path), _not_in_use(path):
        return _restore(cls, path, version, progress)


# -- which files


def _refuse_kinds_not_read(path: str) -> None:
    members = manifest(path) or {}
    if members.get("format_version", 0) > _FORMAT_MAX:
        raise UnsupportedFormat(
            f"{path} has format {members['format_version']} of old coopy; up to {_FORMAT_MAX} is read. Nothing was changed."
        )
    if members.get("serializer", "pickle") != "pickle":
        raise StorageError(f"{path} was written with the serializer {members['serializer']!r}. {_CONVERT}")
    for file in files(path):
        for envelope, what in _ENVELOPES.items():
            if head(file.path).startswith(envelope):
                raise StorageError(f"{file.path} is {what}. {_CONVERT}")


def _starting_point(path: str, version: str) -> tuple[OldFile, list[OldFile]]:
    """The snapshot to begin with, and the logs behind it."""
    there = files(path)
    snapshots = [file for file in there if not file.is_log]
    logs = [file for file in there if file.is_log]
    if version == "0.4.6" and logs:
        snapshots = [file for file in snapshots if file.number < logs[0].number]
    if not snapshots:
        before = f" before {os.path.basename(logs[0].path)}" if logs else ""
        raise StorageError(
            f"{path}: there is no snapshot{before} to begin with. Nothing was changed. Put it back from a backup."
        )
    start = snapshots[-1]
    first = _FIRST_NUMBER if version == "0.4.6" else start.number
    gone = sorted(set(range(first, there[-1].number)) - {file.number for file in there})
    if gone:
        log.warn(
            "%s: of the files numbered %d to %d, %d are not there. What calls they held behind %s are not imported.",
            path,
            first,
            there[-1].number,
            len(gone),
            os.path.basename(start.path),
        )
    return start, [file for file in logs if file.number > start.number]


@contextmanager
def _not_in_use(path: str) -> Iterator[None]:
    """Holds off, and is held off by, a program of coopy 0.7 that has the directory open; 0.4 has no lock."""
    import fcntl

    try:
        file = open(os.path.join(path, "coopy.lock"), "rb")
    except FileNotFoundError:
        yield
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = file.read(32).strip()
            raise DirectoryInUse(path, int(pid) if pid.isdigit() else None) from None
        yield


# -- what the files hold


class _Action:
    """Stands for coopy.foundation.Action."""

    action: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    results: list[Any] | None
    timestamp: datetime
    raised: bool | None = None
    record_version = 1


class _VersionedState:
    """Stands for coopy.foundation.VersionedState."""

    version: int
    state: Any


class _Names:
    """What the names in old pickles mean today; the same for all files of a directory."""

    def __init__(self, cls: type) -> None:
        self._cls = cls
        self._home: str | None = None

    def find(self, as_usual: Callable[[str, str], Any], module: str, name: str) -> Any:
        if (module, name) in _OLD:
            return _OLD[module, name]
        last = name.rpartition(".")[2]
        # The class of a state is the first that its pickle names.
        if self._home is None and last == self._cls.__name__:
            self._home = module
        if module == self._home:
            if last == self._cls.__name__:
                return self._cls
            try:
                return as_usual(self._cls.__module__, name)
            except (ImportError, AttributeError):
                pass
        return as_usual(module, name)


class _Reader(pickle.Unpickler):
    """Loads the pickles of one pickler."""

    def __init__(self, stream: io.BytesIO, names: _Names, path: str, python_2: bool) -> None:
        # What Python 2 called a text was bytes, mostly of UTF-8; this way none are lost.
        super().__init__(stream, encoding="utf-8", errors="surrogateescape")
        self._names = names
        self._path = path
        self._python_2 = python_2

    def find_class(self, module: str, name: str) -> Any:
        with told_as(_not_found, self._path, f"{module}.{name}"):
            found = self._names.find(super().find_class, module, name)
        return _from_python_2(found) if self._python_2 and found in (datetime, date, time) else found


def _not_found(error: Exception, path: str, name: str) -> DecodingError:
    return DecodingError(
        f"{path} names {name}, which cannot be found: {error}. Nothing was changed. Put the class back under that name."
    )


def _from_python_2(cls: type) -> Callable[..., Any]:
    """Makes the dates of a pickle of Python 2, which hold their bytes as a text."""

    def make(packed: Any, *rest: Any) -> Any:
        return cls(packed.encode("utf-8", "surrogateescape") if isinstance(packed, str) else packed, *rest)

    return make


def _load_state(cls: type[T], file: OldFile, names: _Names) -> T:
    data = _read(file.path)
    stream = io.BytesIO(data)
    with told_as(_not_loaded, file, data):
        state = _Reader(stream, names, file.path, _is_python_2(data, 0)).load()
    if stream.tell() != len(data):
        raise _damaged(file, f"there is something behind its pickle, which ends at byte {stream.tell()}")
    if isinstance(state, _VersionedState):
        declared = getattr(cls, "__coopy_version__", 1)
        if state.version != declared:
            raise StorageError(
                f"{file.path} holds version {state.version} of {cls.__qualname__}, whose __coopy_version__ is "
                f"{declared}. Nothing was changed. Bring it up to date with 0.7.0 and take a snapshot there."
            )
        state = state.state
    if not isinstance(state, cls):
        raise UsageError(
            f"{file.path} holds a {type(state).__qualname__}, not a {cls.__qualname__}. Nothing was changed. "
            f"Import it with that class; one that has another name today must be given its old one for the import."
        )
    return state


def _damaged(snapshot: OldFile, problem: str) -> StorageError:
    return StorageError(
        f"{snapshot.path}: {problem}. Nothing was changed. Put it back from a backup; where there is an older "
        f"snapshot, a copy of the directory without this one can be imported."
    )


class _Extent(NamedTuple):
    """A log, as far as it is whole."""

    path: str
    size: int
    records: int
    dropped: int


def _survey(file: OldFile, names: _Names, *, before: int, is_last: bool, snapshots_later: bool) -> _Extent:
    """Loads every record once, so that what cannot be read shows before anything runs."""
    data = _read(file.path)
    records = size = 0
    try:
        for record, offset, anew in _records(data, file.path, names):
            _check(record, file.path, offset)
            if anew and records and snapshots_later:
                snapshots_later = False  # Said once.
                log.warn(
                    "%s, byte %d: the program was started again here. Coopy 0.4 forgot at its start what this log "
                    "holds behind the last snapshot; all of it is imported.",
                    file.path,
                    offset,
                )
            records += 1
        size = len(data)
    except _Unreadable as unreadable:
        size, error = unreadable.offset, unreadable.error
        if _is_whole(data, size):
            raise error from error.__cause__
        if not is_last or _BEHIND.search(data, size):
            raise StorageError(
                f"{file.path}, byte {size}: action {before + records + 1} is not whole, and others come behind it. "
                f"Nothing was changed. Put the file back from a backup, or import what comes before: a copy of the "
                f"directory in which this log is cut at that byte and is the last."
            ) from error
        log.warn(
            "%s: its last record, from byte %d, is not whole. %d bytes are dropped; actions up to %d are imported.",
            file.path,
            size,
            len(data) - size,
            before + records,
        )
    return _Extent(file.path, size, records, len(data) - size)


class _Unreadable(DecodingError):
    """What lies at a place of a log cannot be loaded, for whatever reason."""

    def __init__(self, offset: int, error: CoopyError) -> None:
        super().__init__(str(error))
        self.offset = offset
        self.error = error


def _records(data: bytes, path: str, names: _Names) -> Iterator[tuple[_Action, int, bool]]:
    """Records of a log: each, where it begins, and whether a new pickler wrote it. Raises `_Unreadable`."""
    stream = io.BytesIO(data)
    reader = None
    while stream.tell() < len(data):
        offset = stream.tell()
        anew = not _refers_back(data, offset)
        if reader is None or anew:
            reader = _Reader(stream, names, path, _is_python_2(data, offset))
        with told_as(_unreadable, path, offset):
            record = reader.load()
        yield record, offset, anew


def _check(record: object, path: str, offset: int) -> None:
    if not (
        isinstance(record, _Action)
        and {"action", "args", "kwargs", "results", "timestamp"} <= vars(record).keys()
        and isinstance(record.action, str)
        and isinstance(record.args, (tuple, list))
        and isinstance(record.kwargs, dict)
        and isinstance(record.timestamp, datetime)
    ):
        raise StorageError(f"{path}, byte {offset}: what lies there is not an action of coopy 0.4 or 0.7. Nothing was changed.")


# The end of a pickle and the beginning of the next.
_BEHIND = re.compile(rb"\.\x80[\x02-\x05]")
_PROTO_BYTES = 2
_FRAME_BYTES = 9


def _refers_back(data: bytes, offset: int) -> bool:
    """Whether the first thing in a pickle is taken from the memo. It is the class, so it was met before."""
    offset += _PROTO_BYTES
    if data[offset : offset + 1] == pickle.FRAME:
        offset += _FRAME_BYTES
    return data[offset : offset + 1] == pickle.BINGET


def _is_python_2(data: bytes, offset: int) -> bool:
    # Both wrote the highest protocol they had: Python 2 had 2.
    return data[offset + 1 : offset + 2] == b"\x02"


def _is_whole(data: bytes, offset: int) -> bool:
    """Whether the opcodes at ``offset`` come to the end of a pickle."""
    import pickletools

    stream = io.BytesIO(data)
    stream.seek(offset)
    try:
        for _ in pickletools.genops(stream):
            pass
    except ValueError:  # What bytes that are no pickle come to.
        return False
    return True


def _not_loaded(error: Exception, file: OldFile, data: bytes) -> CoopyError:
    return _undecodable(file.path, 0, error) if _is_whole(data, 0) else _damaged(file, f"its pickle is not whole ({error})")


def _unreadable(error: Exception, path: str, offset: int) -> _Unreadable:
    return _Unreadable(offset, _undecodable(path, offset, error))


def _undecodable(path: str, offset: int, error: Exception) -> CoopyError:
    if isinstance(error, CoopyError):
        return error
    return DecodingError(
        f"{path}, byte {offset}: today's code cannot decode what lies there: {type(error).__name__}: {error}. "
        f"Nothing was changed."
    )


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


# -- what the domain was told


class _Diverged(Exception):
    pass


class _Told:
    """What an action was told when it was recorded: the moment in which it runs again.

    The old names for clock and env are answered from the record. What asks today's, `coopy.clock` and
    `coopy.env`, which no old domain could, is told the time of the call.
    """

    __slots__ = ("header", "index", "secret", "draws", "problem", "_told", "_next")

    deterministic = False
    chance: object | None = None
    replaying = True

    def __init__(self, record: _Action, index: int) -> None:
        local = record.timestamp.astimezone()
        offset = local.utcoffset()
        assert offset is not None, "astimezone() gives an aware datetime"
        self.header = action.header(action.nanoseconds(local), int(offset.total_seconds()), action.UNKNOWN)
        self.index = index
        self.secret = bytes(32)
        self.draws: object | None = None
        self.problem: str | None = None
        """Why the action is not the one that was recorded; kept, as the domain may swallow the exception."""
        self._told = record.results or []
        self._next = 0

    def ask(self, effect: bytes) -> None:
        """What an old action asked for was carried out in its day."""

    def take(self, asked: str, *kinds: type) -> Any:
        """The next answer, if it was given to the same question."""
        if self.problem is None:
            if self._next == len(self._told):
                self.problem = f"it asks for {asked}(), and was told no more than {len(self._told)} values"
            else:
                name, value = _answer(self._told[self._next])
                # 0.4 did not record what was asked for; only the kind of the value tells.
                if name == asked or (name is None and isinstance(value, kinds)):
                    self._next += 1
                    return value
                self.problem = f"it asks for {asked}(), and was told {name or type(value).__name__} at that place"
        raise _Diverged(self.problem)

    def finish(self) -> None:
        """Notes what was not asked for."""
        if self.problem is None and self._next < len(self._told):
            name, _ = _answer(self._told[self._next])
            # In 0.4 a thread of the domain's own could add to what an action was told.
            if name is not None:
                self.problem = f"it does not ask for {name}(), as it did"


def _answer(entry: Any) -> tuple[str | None, Any]:
    if type(entry) is tuple and len(entry) == 2 and isinstance(entry[0], str):
        return entry
    return None, entry


def _running() -> _Told | None:
    machine = current.machine
    return machine if isinstance(machine, _Told) else None


class _OldClock:
    """Stands for every clock of old coopy, in a state or in the domain; in a new snapshot, for `coopy.clock`."""

    __slots__ = ()

    def now(self, tz: tzinfo | None = None) -> datetime:
        told = _running()
        return clock.now(tz) if told is None else cast(datetime, told.take("now", datetime))

    def utcnow(self) -> datetime:
        told = _running()
        return clock.utcnow() if told is None else cast(datetime, told.take("utcnow", datetime))

    def today(self) -> date:
        told = _running()
        return clock.today() if told is None else cast(date, told.take("today", date))

    def time(self) -> float:
        told = _running()
        return clock.time() if told is None else cast(float, told.take("time", float))

    def monotonic(self) -> float:
        told = _running()
        return clock.monotonic() if told is None else cast(float, told.take("monotonic", float))

    def __setstate__(self, state: object) -> None:
        """Forgets what the old one had recorded."""

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy of the clock is the clock: new snapshots need not know this module.
        return copy.copy, (clock,)


def _draw(name: str, meaning: Callable[..., Any] = lambda value, *_args, **_kwargs: value) -> Callable[..., Any]:
    """A method that gives what was recorded its meaning."""

    def draw(_self: object, *args: Any, **kwargs: Any) -> Any:
        told = _running()
        return getattr(env, name)(*args, **kwargs) if told is None else meaning(told.take(name), *args, **kwargs)

    return draw


def _choice(place: int, seq: Any) -> Any:
    return seq[place]


def _shuffle(places: list[int], items: Any) -> None:
    items[:] = [items[place] for place in places]


def _uuid4(text: str) -> uuid.UUID:
    import uuid

    return uuid.UUID(text)


def _sample(places: list[int], population: Any, k: int) -> list[Any]:
    return [population[place] for place in places]


class _OldEnv:
    """Stands for every env of 0.7, which recorded places where elements were drawn, and UUIDs as texts."""

    __slots__ = ()

    random = _draw("random")
    uniform = _draw("uniform")
    randint = _draw("randint")
    token_bytes = _draw("token_bytes")
    token_hex = _draw("token_hex")
    token_urlsafe = _draw("token_urlsafe")
    uuid4 = _draw("uuid4", _uuid4)
    sample = _draw("sample", _sample)
    shuffle = _draw("shuffle", _shuffle)

    def choice(self, seq: Any) -> Any:
        if not seq:
            raise IndexError("Cannot choose from an empty sequence")  # Nothing was drawn or recorded.
        return _drawn_choice(self, seq)

    def __getattr__(self, name: str) -> Any:
        # What 0.7 did not have.
        if name.startswith("__"):
            raise AttributeError(name)
        told = _running()
        return getattr(env, name) if told is None else told.take(name)

    def __setstate__(self, state: object) -> None:
        """Forgets which clock the old one recorded into."""

    def __reduce__(self) -> tuple[Any, ...]:
        return copy.copy, (env,)


_drawn_choice = _draw("choice", _choice)

_OLD: dict[tuple[str, str], type] = {
    ("coopy.foundation", "Action"): _Action,
    ("coopy.foundation", "VersionedState"): _VersionedState,
    **{("coopy.foundation", name): _OldClock for name in ("RecordClock", "RestoreClock", "CallClock")},
    **{("coopy.environment", name): _OldEnv for name in ("RecordEnv", "RestoreEnv", "CallEnv", "SystemEnv")},
}


# -- replay


def _restore(cls: type[T], path: str, version: str, progress: Progress | None) -> tuple[T, Imported]:
    _refuse_kinds_not_read(path)
    start, logs = _starting_point(path, version)
    names = _Names(cls)
    domain = _load_state(cls, start, names)
    last_snapshot = max(file.number for file in files(path) if not file.is_log)
    extents: list[_Extent] = []
    total = 0
    for file in logs:
        extent = _survey(
            file,
            names,
            before=total,
            is_last=file is logs[-1],
            snapshots_later=version == "0.4.6" and last_snapshot > file.number,
        )
        extents.append(extent)
        total += extent.records
    raised = _run(domain, extents, names, total, progress)
    dropped = sum(extent.dropped for extent in extents)
    return domain, Imported(version, total, raised, 0, os.path.basename(start.path), dropped)


def _run(domain: Any, extents: list[_Extent], names: _Names, total: int, progress: Progress | None) -> int:
    """Runs every action; returns how many raised."""
    index = raised = 0
    _lend(domain)
    try:
        for extent in extents:
            data = _read(extent.path)[: extent.size]
            for record, offset, _ in _records(data, extent.path, names):
                index += 1
                raised += _run_one(domain, record, index, f"{extent.path}, at byte {offset}")
                if progress is not None:
                    progress(index, total)
    finally:
        _take_back(domain)
        equip(domain)
    return raised


def _run_one(domain: Any, record: _Action, index: int, where: str) -> bool:
    """Runs an action; returns whether it raised."""
    method = getattr(domain, record.action, None)
    if not callable(method):
        raise MissingMethod(index, record.action, where, type(domain).__qualname__)
    told = _Told(record, index)
    before, current.machine = current.machine, told
    try:
        # What it raises is the domain's own, as when it was recorded; the outcome is compared.
        _, failure = attempted(method, *record.args, **record.kwargs)
    finally:
        current.machine = before
    if isinstance(failure, MemoryError):
        raise failure
    told.finish()
    problem = told.problem
    if problem is None and record.raised is not None and record.raised is not (failure is not None):
        ended = f"raised {type(failure).__name__}: {failure}" if failure is not None else "returned"
        problem = f"it was recorded as {'raised' if record.raised else 'returned'}, and now it {ended}"
    if problem is not None:
        raise ReplayError(
            f"action {index} ({where}), {record.action}(), does not run as it did: {problem}. Nothing was changed. "
            f"Import with the code that wrote the directory, and change the code afterwards.",
            index,
            record.action,
            where,
        ) from failure
    return failure is not None


def _lend(domain: Any) -> None:
    """Gives the domain the old clock and env, and takes what else old coopy put on it."""
    for name, value in (("_clock", _OldClock()), ("_env", _OldEnv())):
        try:
            object.__setattr__(domain, name, value)
        except (AttributeError, TypeError):
            setattr(type(domain), name, value)
    getattr(domain, "__dict__", {}).pop("_system_data_path", None)


def _take_back(domain: Any) -> None:
    """Takes the old clock and env from the domain again, or from its class."""
    for name in ("_clock", "_env"):
        try:
            object.__delattr__(domain, name)
        except AttributeError:
            delattr(type(domain), name)


# -- the new directory
