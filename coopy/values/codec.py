"""Values to bytes and back: the call of a record, and the state of a snapshot. It has more than 500 lines because both
directions are here: what one writes the other reads, byte for byte.

A call is two objects, as pickle opcodes:

* *inline*, name and args, if they hold nothing by reference: plain scalars; dates, decimals, UUIDs and what else of the standard library
  can't change; and lists, dicts and sets of these alone (`coopy.values.copies`). It is the pickle of ``(name, args)`` without
  PROTO and FRAME at its head and TUPLE2, MEMOIZE and STOP at its end. Such a body refers to no memo and so means the same wherever it
  stands: records of this kind are decoded many at a time. Where nothing is memoized, MEMOIZE is missing, and an object may be there twice.
* *by name*, None and ``(name, args, kwargs)``: the same of a call with arguments by name: opcode NONE, and the pickle of the three without
  PROTO and FRAME at its head and STOP at its end.
* *opaque*, None and bytes: opcode NONE, opcode BINBYTES, 4 bytes of size, a tag and a
  pickle of its own, of ``(name, args)`` or ``(name, args, kwargs)``. A state is a tag and
  a pickle, too. Where an argument is an object of a class with fields there is first ``F``, 2 bytes of size, and so
  many of a pickle of what is said of those classes, see `coopy.ground.fields`. The tags:

    ``C``  a simple pickle of pickle's, of a call: no class in it has a say in how its objects are loaded, it names nothing of a
           main file, and has no persistent ids. Pickle loads it alone, and before the turn of its call has come
    ``P``  a pickle of pickle's
    ``B``  one of dill's, of functions and classes that no module has (`coopy.values.bytecode`):
           1 byte, the size of a name; the name of the Python that wrote it, ASCII, as
           "cpython 3.11"; the pickle. If there is byte code in it, no other Python reads it
    ``D``  one of dill's without that name, as development versions wrote: read if there is no byte code in
           it, and not written

A call that another process has sent to the one that writes has an id behind its two objects, which leaves nothing there:
SHORT_BINBYTES and 16, the process (8 bytes), its number of the call (8 bytes, little-endian), POP.

In a pickle of ours the system's own proxy and its domain class stand as
persistent ids, so that a domain may hold its proxy, and a class may be local;
in that of a call so do the objects of the system that are marked `coopy.entity`, and the domain object, where the own system is an argument.

A state is a tag, ``P`` or ``D``, and a pickle. Where it has objects of classes with fields, a pickle of what is said of these
follows, 4 bytes with the size of that, and ``FLDS``.

States of `__main__` are stored by name like any other, so a script that defines
its domain finds its data when it runs again; read from another program, the
name is looked up in the module of the class that is being restored.
"""

from __future__ import annotations

import io
import itertools
import operator
import pickle
import struct
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from types import FunctionType
from typing import IO, Any, NoReturn, Protocol, cast

from coopy import migration
from coopy.errors import ChangedClass, CoopyError, DecodingError, EncodingError
from coopy.ground import decimals, fields
from coopy.ground.interruption import is_of_the_code
from coopy.ground.program import imported_name, module_of_program
from coopy.ground.raised import or_none, told_as
from coopy.ground.record import PREFIX_BYTES
from coopy.ground.storage import Stored
from coopy.migration import Old
from coopy.values import arguments, bound, bytecode, deep, entities
from coopy.values.copies import (
    COPIED,
    DEEP,
    EQUAL_TO_THEMSELVES,
    FLAT,
    LOADED,
    NAMED,
    SCALARS,
    UNKNOWN,
    Looks,
    Notes,
    NotSimple,
)

Call = tuple[Any, ...]

PROTOCOL = 5  # The newest that every supported Python writes; part of the format.
INLINE_BYTES_MAX = 60_000  # What pickle writes below 64 KiB is one frame, so that its head can be cut off.
RECORD_BYTES_MAX = 1 << 31  # The size of a frame is a field of 32 bits; half of that leaves room for what is around a record.
_TEXTS = frozenset({str, bytes})
_OPAQUE = struct.Struct("<2sI")
_NONE_BINBYTES = b"NB"
_HEAD_BYTES = 11  # PROTO 5 and FRAME with its size
_TAIL = b"\x86\x94."  # TUPLE2, MEMOIZE, STOP
_BODY = slice(_HEAD_BYTES, -2)  # Where nothing is memoized.
_WHOLE_BODY = slice(_HEAD_BYTES, -1)
_BETWEEN = b"\0coopy\xff"
_BETWEEN_OPCODES = b"C%c%b" % (len(_BETWEEN), _BETWEEN)
assert _BETWEEN_OPCODES.rfind(b"C") == 0, "no two overlap: each that is found is one that was written, or there are more"
_LARGE_BYTES = 16 * 1024 * 1024
"""A state that may take long to load, and is read while it is."""
_PART_BYTES = 256 * 1024  # A large buffer is filled with parts of this size.
_BYTE_CODE = b"B%c%b" % (len(bytecode.PYTHON), bytecode.PYTHON.encode("ascii"))
_MEMOIZE, _BINGET, _LONG_BINGET = 0x94, 0x68, 0x6A
_LONG_BINGET_BYTES_MIN = 256 * 3  # Only behind 256 memoized texts does pickle refer by LONG_BINGET.
_JOIN_HEAD = b"\x80\x05("
_JOIN_TAIL = b"l."
_ONE_HEAD, _ONE_TAIL = b"\x80\x05", b"\x86."  # PROTO 5; TUPLE2, STOP
_NONE = b"N"
_SIMPLE = b"C"
_DECIMAL = b"Decimal"
_STACK_GLOBAL = b"\x93"  # The opcode before which pickle has named a class or a function.
_OF_MAIN = b"_main__"  # A part of the name of a main file, also of that which multiprocessing has given one.
_PICKLERS_MAX = 8  # So many are kept for the calls to come; a thread that encodes takes one.

_SAID = struct.Struct("<cH")
_SAID_OF_STATE = struct.Struct("<I4s")
_MARK_OF_STATE = b"FLDS"  # No pickle ends so.
_MOVED = {"coopy.bound": "coopy.values.bound"}  # Snapshots name what makes the locks of a state.

_dumps = pickle.dumps
_loads = pickle.loads
_chained = itertools.chain.from_iterable


class _Sink:
    """What a pickler writes to."""

    __slots__ = ("write",)

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self.write = write


def _pickler_of_scalars(write: Callable[[bytes], object]) -> pickle.Pickler:
    """Without a memo, which only others need."""
    pickler = pickle.Pickler(_Sink(write), PROTOCOL)
    pickler.fast = True
    return pickler


def _dumps_each(names: Iterable[str], arguments: Iterable[tuple[Any, ...]]) -> list[bytes]:
    """The opcodes of each call. What is large is written in parts: then they are more than the calls."""
    found: list[bytes] = []
    pickler = _pickler_of_scalars(found.append)
    for call in zip(names, arguments, strict=True):
        pickler.dump(call)
    return [each[_BODY] for each in found]


def _dumps_together(names: Iterable[str], arguments: Iterable[tuple[Any, ...]]) -> list[bytes]:
    """The same by one pickle, cut at what stands between them. If one of them holds that, they are more; none if it is large."""
    written: list[bytes] = []
    calls = _chained(zip(names, arguments, itertools.repeat(_BETWEEN)))
    _pickler_of_scalars(written.append).dump((_BETWEEN, *calls))
    return [] if len(written) > 1 else written[0].split(_BETWEEN_OPCODES)[1:-1]


_sample = _dumps(("a", ()), PROTOCOL)
assert (
    _sample[0] == 0x80
    and _sample[2] == 0x95
    and _sample[-3:] == _TAIL
    and _dumps_each(["a"], [()]) == _dumps_together(["a"], [()]) == [b"\x8c\x01a)"]
), "an inline call is a pickle without its head and its tail; this Python writes pickles otherwise"


_fast: list[tuple[pickle.Pickler, list[bytes]]] = []
"""Picklers without a memo that nobody uses now. What one has written is in the list beside it."""


def _inline(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes | None:
    """The opcodes of a call that holds nothing by reference; None if it is large. Raises what pickle raises."""
    try:
        pickler, written = _fast.pop()
    except IndexError:
        written = []
        pickler = _pickler_of_scalars(written.append)
    pickler.dump((name, args, kwargs) if kwargs else (name, args))
    data = written[0]
    is_small = len(written) == 1 and len(data) < INLINE_BYTES_MAX
    written.clear()
    if len(_fast) < _PICKLERS_MAX:
        _fast.append((pickler, written))
    if not is_small:
        return None
    return _NONE + data[_WHOLE_BODY] if kwargs else data[_BODY]


def _globals_in(data: bytes) -> int:
    """How many classes and functions a pickle names, or more: the opcode stands after a text that is memoized, or comes from the memo."""
    count, place = 0, data.find(_STACK_GLOBAL)
    while place >= 0:
        count += data[place - 1] == _MEMOIZE or data[place - 2] == _BINGET or data[place - 5] == _LONG_BINGET
        place = data.find(_STACK_GLOBAL, place + 1)
    return count


def _loaded(data: bytes, kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of what `_inline` has written."""
    _, args = _loads(b"".join((_ONE_HEAD, data, _ONE_TAIL)))
    return args[1:] if kwargs else (args, kwargs)


class StateFile(Protocol):
    """Where a state is written to; it can begin again."""

    def write(self, data: bytes, /) -> object: ...

    def restart(self) -> None: ...


class _Watched:
    """The file of a state, with what it has raised: that is no fault of the state."""

    __slots__ = ("_file", "refused", "restart")

    def __init__(self, file: StateFile) -> None:
        self._file = file
        self.restart = file.restart
        self.refused: OSError | None = None

    def write(self, data: bytes, /) -> object:
        try:
            return self._file.write(data)
        except OSError as error:
            self.refused = error
            raise


class Owner(Protocol):
    """What has a domain: a machine."""

    @property
    def domain(self) -> Any: ...


def decode_joined(data: bytes | memoryview) -> tuple[list[bytes], list[str | None], list[Any]]:
    """Headers, names and arguments of joined records.

    The name of an opaque call is None, its arguments are bytes for `Codec.decode_call`; an
    amendment's are None. Raises `DecodingError`.
    """
    try:
        whole = b"".join((_JOIN_HEAD, data, _JOIN_TAIL))
        objects = _loads(whole)
        _look_for_decimals(whole)
        if not objects or len(objects) % 3:
            raise ValueError("records are three objects each")
        return objects[::3], objects[1::3], objects[2::3]
    except Exception as error:
        raise _decoding_error(error) from error


def _look_for_decimals(data: bytes) -> None:
    """Says so if there is a decimal in what was loaded. To search it costs a plain replay 3 %, so that others are not asked."""
    if not decimals.used.here and "decimal" in sys.modules and _DECIMAL in data:
        decimals.met()


def decode_one(data: bytes) -> tuple[str | None, Any]:
    """Name and arguments of one call, as `decode_joined` returns them. Raises `DecodingError`."""
    with told_as(_decoding_error):
        name, args = _loads(b"".join((_ONE_HEAD, data, _ONE_TAIL)))
        _look_for_decimals(data)
        return name, args


def joined_headers(headers: list[bytes], arguments: list[Any]) -> bytes:
    """The headers of records in one, all of one size. Raises `DecodingError` if the records are not three objects each."""
    try:
        if len(set(map(len, headers))) > 1:
            # A log has put more in front of some than of others.
            headers = [header[-PREFIX_BYTES:] for header in headers]
        joined = b"".join(headers)
        # One record of other than three objects moves all behind it: then a header is no header.
        if len(arguments) * len(headers[0]) != len(joined):
            raise ValueError("a record is not three objects")
    except (LookupError, TypeError, ValueError) as error:
        raise _decoding_error(error) from error
    return joined


def is_plain(value: object) -> bool:
    """Whether a value needs no copy: an immutable scalar, or a tuple of them, and none of them NaN."""
    if type(value) is not tuple:
        return type(value) in EQUAL_TO_THEMSELVES or (type(value) is float and value == value)
    seen = {id(value)}
    left: list[tuple[Any, ...]] = [value]
    while left:
        for each in left.pop():
            if type(each) is tuple:
                if id(each) not in seen:
                    seen.add(id(each))
                    left.append(each)
            elif type(each) not in EQUAL_TO_THEMSELVES and (type(each) is not float or each != each):
                return False
    return True


class _Own:
    """Stands for the domain object among the arguments of its own method, where no domain object is at hand."""

    def __repr__(self) -> str:
        return "<the system itself>"

    def __reduce__(self) -> NoReturn:
        raise pickle.PicklingError("it has a persistent id, and nothing else of it is stored")


OWN = _Own()


class Codec:
    """Encodes and decodes for one system."""

    def __init__(self, domain_class: type) -> None:
        self.domain_class = domain_class
        self.proxy: object | None = None
        self.received: entities.Received | None = None
        """What has come from another process that has the system; None if no entity has."""
        self.migration = migration.of(domain_class)
        self._todays = Old(self.migration, self.migration.version)
        self._modules = _module_aliases(domain_class)
        self._importable = _is_importable(domain_class)
        self._plain = self._importable and domain_class.__module__ != "__main__"
        self._of_main = domain_class.__module__ == "__main__"
        self._rewrites = self.migration.rewrites(self.migration.version)
        self._looks = Looks()
        self._picklers: list[tuple[pickle.Pickler, list[bytes], Notes]] = []
        """Those of simple calls that nobody uses now. Whoever needs one takes it out: code of an argument may call the system."""
        self._said: dict[frozenset[type], bytes] = {}
        self._fitting: set[tuple[bytes, int]] = set()
        """What was said of classes, by what version, and is as today."""

    def encode_call(
        self,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        parameters: Sequence[str] = (),
        owner: Owner | None = None,
    ) -> tuple[bytes, tuple[Any, ...], dict[str, Any]]:
        """The opcodes of a call, and the arguments as replay will see them.

        Entities of the owner's domain are encoded as references. Raises `EncodingError`, which names the
        argument by ``parameters``.
        """
        if not kwargs:
            for value in args:
                if type(value) not in EQUAL_TO_THEMSELVES and (type(value) is not float or value != value):
                    break
            else:
                data = _dumps((name, args), PROTOCOL)
                size = len(data)
                if (
                    (size < _LONG_BINGET_BYTES_MIN and _BINGET not in data)
                    or (size < INLINE_BYTES_MAX and len({id(name), *map(id, args)}) > len(args))
                    or (size < INLINE_BYTES_MAX and _all_distinct(name, args))
                ):
                    return data[_HEAD_BYTES:-3], args, kwargs
                return _opaque(b"P" + data), args, kwargs
        known = or_none(self._encode_known, name, args, kwargs)  # What pickle refuses may be kept in another way, or is named.
        if known is not None:
            return known
        if not arguments.OTHERS.isdisjoint(map(type, (*args, *kwargs.values()) if kwargs else args)):
            args, kwargs = (
                arguments.run_to_the_end(args),
                dict(zip(kwargs, arguments.run_to_the_end(kwargs.values()), strict=True)),
            )
        domain = None if owner is None else owner.domain
        # What has no name is a value that is told, and no call.
        if name and any(each is not None and (each is self.proxy or each is domain) for each in (*args, *kwargs.values())):
            args = tuple([self._own_or_itself(value, domain) for value in args])
            kwargs = {key: self._own_or_itself(value, domain) for key, value in kwargs.items()}
        call = (name, args, kwargs) if kwargs else (name, args)
        met: set[type] = set()
        try:
            data = self._encoded(call, domain)
            if len(data) <= RECORD_BYTES_MAX and not (is_plain(args) and is_plain(tuple(kwargs.values()))):
                _, args, *rest = self._read_back(data, call, domain, met)
                kwargs = rest[0] if rest else {}
        except Exception:  # An exception may be kept otherwise; else the argument that is to blame is named.
            found = or_none(self._with_exceptions, call, domain, met)
            if found is None:
                self._blame(call, parameters, domain)
            data, (_, args, *rest) = found
            kwargs = rest[0] if rest else {}
        if len(data) > RECORD_BYTES_MAX:
            raise _too_large(name, len(data))
        if met:
            data = self._said_of(frozenset(met)) + data
        return _opaque(data), args, kwargs

    def _own_or_itself(self, value: object, domain: object) -> object:
        """What stands for the domain object, in the place of the system itself; any other argument as it is."""
        return OWN if value is not None and (value is self.proxy or value is domain) else value

    def _encode_known(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[bytes, tuple[Any, ...], dict[str, Any]] | None:
        """As `encode_call`, of what pickle can be left alone with; None if that is not known. Raises what pickle raises."""
        values = (*args, *kwargs.values()) if kwargs else args
        found, looks = 0, self._looks
        for value in values:
            look = looks[type(value)]
            if look is not None:
                found |= look(value)
        is_by_value = not found & (NAMED | UNKNOWN) and (
            found < FLAT or len(values) == 1 or len(set(map(id, values))) == len(values)
        )
        data = _inline(name, args, kwargs) if is_by_value else None
        if data is None:
            return self._encode_simple(name, args, kwargs, found)
        if found & LOADED:
            args, kwargs = _loaded(data, kwargs)
        elif found & FLAT:
            if len(values) == 1 and args:
                return data, (args[0].copy(),), kwargs
            args = tuple([value.copy() if type(value) in COPIED else value for value in args])
            if kwargs:
                kwargs = {key: value.copy() if type(value) in COPIED else value for key, value in kwargs.items()}
        return data, args, kwargs

    def _encode_simple(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], found: int
    ) -> tuple[bytes, tuple[Any, ...], dict[str, Any]] | None:
        """The same, of objects of classes that leave it all to pickle."""
        if self._rewrites:
            return None  # What is read back may be of another class than what was passed.
        call = (name, args, kwargs) if kwargs else (name, args)
        marked = entities.known.marked
        try:
            pickler, written, notes = self._picklers.pop()
        except IndexError:
            notes = None
        if notes is None or notes.marked != marked:
            written, notes = [], Notes(marked)
            pickler = pickle.Pickler(_Sink(written.append), PROTOCOL)
            pickler.dispatch_table = notes
        try:
            pickler.dump(call)
            data = written[0] if len(written) == 1 else b"".join(written)
            classes = frozenset(notes.met)
        except NotSimple:
            data, classes = b"", frozenset()
        # One that is emptied can be used again. In the middle of a pickle another call may have come, and taken another one.
        pickler.clear_memo()
        written.clear()
        notes.met.clear()
        if len(self._picklers) < _PICKLERS_MAX:
            self._picklers.append((pickler, written, notes))
        if not data or _OF_MAIN in data:
            return None
        # What was named and not met is a function, or a class by itself.
        if data.count(_STACK_GLOBAL) != len(classes) and _globals_in(data) != len(classes):
            return None
        if self._of_main and any(each.encode() in data for each in self._modules):
            return None
        if len(data) > RECORD_BYTES_MAX:
            return None
        _look_for_decimals(data)
        if found >= FLAT and not (found & DEEP and is_plain((*args, *kwargs.values()))):
            loaded = _loads(data)
            args = loaded[1]
            if kwargs:
                kwargs = loaded[2]
        said = (self._said.get(classes) or self._said_of(classes)) if classes else b""
        return b"".join((_OPAQUE.pack(_NONE_BINBYTES, len(said) + 1 + len(data)), said, _SIMPLE, data)), args, kwargs

    def _said_of(self, classes: frozenset[type]) -> bytes:
        """What is to be said of classes, in front of a call."""
        found = self._said.get(classes)
        if found is None:
            said = fields.layouts(classes)
            pickled = _dumps(said, PROTOCOL)
            is_one = said and len(pickled) < 1 << 16
            found = self._said[classes] = _SAID.pack(b"F", len(pickled)) + pickled if is_one else b""
        return found

    def encode_plain(self, names: Sequence[str], arguments: Sequence[tuple[Any, ...]]) -> list[bytes] | None:
        """The opcodes of small calls that hold plain scalars alone, in half the time; None if they are not all such."""
        if not EQUAL_TO_THEMSELVES.issuperset(map(type, _chained(arguments))):
            if not SCALARS.issuperset(map(type, _chained(arguments))):
                return None
            if any(map(operator.ne, _chained(arguments), _chained(arguments))):
                return None  # One is NaN.
        try:
            found = _dumps_together(names, arguments)
            if len(found) != len(names):
                found = _dumps_each(names, arguments)
        except Exception:
            return None  # `encode_call` says which, and why.
        return found if len(found) == len(names) else None

    def decode_call(self, data: bytes | Call, version: int | None = None, domain: object = None) -> Call:
        """The call of a record without a name, recorded by today's version of the class or by ``version``.

        References are to entities of ``domain``; without one, they stay references. Raises `DecodingError`.
        """
        if type(data) is tuple:
            return data
        data = cast(bytes, data)
        try:
            if version is None or version == self.migration.version:
                head = self._head_of_simple(data)
                if head is not None:
                    with suppress(AttributeError, ImportError):  # What is not there any more is told of below.
                        found = cast(Call, _loads(data[len(head) :]))
                        _look_for_decimals(data)
                        return found
            return cast(Call, self._decode(data, version, domain))
        except Exception as error:
            if isinstance(error, CoopyError) and type(error) is not DecodingError:
                raise
            problem = str(error) if isinstance(error, DecodingError) else _undecodable(error)
            method = _name_in(data)
            raise DecodingError(f"{method}(): {problem}", method) from error

    def decode_simple(self, calls: Sequence[Any]) -> list[Call | None]:
        """The calls of records without a name, as far as no class has a say in how they are loaded; None in the place of the others.

        Recorded by today's version of the class. One that can't be decoded is left to `decode_call`, when its turn has come.
        """
        return or_none(self._decoded_together, calls) or [None] * len(calls)

    def _decoded_together(self, calls: Sequence[Any]) -> list[Call | None]:
        head = self._head_of_simple(calls[0]) if calls and type(calls[0]) is bytes else None
        if head is not None:
            # Most blocks hold calls of one kind.
            start = len(head)
            bodies = [each[start:] for each in calls if type(each) is bytes and each.startswith(head)]
            if len(bodies) == len(calls):
                return list(map(_loads, bodies))
        return list(self._decoded_if_simple(calls))

    def _decoded_if_simple(self, calls: Sequence[Any]) -> Iterator[Call | None]:
        head: bytes | None = None
        for each in calls:
            if type(each) is tuple:
                yield each
                continue
            if head is None or not each.startswith(head):
                head = self._head_of_simple(each)
            yield None if head is None else cast(Call, _loads(each[len(head) :]))

    def _head_of_simple(self, data: bytes) -> bytes | None:
        """What stands before the pickle of a simple call. None if it is another one, or what is stored may be of other classes today."""
        if self._of_main or self._rewrites:
            return None
        start = 0
        if data.startswith(b"F"):
            _, size = _SAID.unpack_from(data)
            start = _SAID.size + size
        if not data.startswith(_SIMPLE, start):
            return None
        if start:
            self._compare(data[_SAID.size : start], self.migration.version)
        return data[: start + 1]

    def dump_state(self, state: object, file: StateFile) -> None:
        """Writes a whole state. Raises `EncodingError`, and what writing to the file raises."""
        watched = _Watched(file)
        try:
            self._dump_state(state, watched)
        except EncodingError:
            if watched.refused is None:
                raise
            raise watched.refused from None

    def _dump_state(self, state: object, file: _Watched) -> None:
        # Persistent ids cost a call for every object; they are used only where they are needed.
        ways = _WAYS if self._importable else _WAYS[1:]
        reducers = bound.Reducers()
        what = f"the state of {self.domain_class.__qualname__}"
        with told_as(lambda error: self._unkept(what, state, "state", error)):
            for number, (tag, make, make_deep) in enumerate(ways, 1):
                try:
                    classes = fields.Classes(reducers)
                    file.write(tag)
                    try:
                        _with(classes, make(self, file, None)).dump(state)
                    except RecursionError:
                        file.restart()
                        file.write(tag)
                        _with(classes, make_deep(self, file, None)).dump(state)
                    said = fields.layouts(classes)
                    if said:
                        pickled = _dumps(said, PROTOCOL)
                        file.write(pickled + _SAID_OF_STATE.pack(len(pickled), _MARK_OF_STATE))
                    return
                except Exception as error:  # The next way may keep it; the last one raises.
                    is_last = number == len(ways) or isinstance(error, (RecursionError, MemoryError, bound.BelongsToProcess))
                    if is_last or file.refused is not None:
                        raise
                    file.restart()

    def load_state(
        self, data: Stored, version: int | None = None, loading: Callable[[int, int], object] | None = None, start: int = 0
    ) -> Any:
        """The state that `dump_state` wrote with ``version`` of the class, or today's. It begins at ``start`` of the data.

        Tells ``loading`` of bytes done and in all. Raises `DecodingError`, and what reading the data raises.
        """
        with told_as(_as_undecodable, of=BaseException):
            end, said = _parted(data, start)
            if said:
                self._compare(said, self._or_todays(version))
                if decimals.NAME.encode() in said:
                    decimals.met()
            is_plain = bytes(data[start : start + 1]) == b"P" and self._plain
            if is_plain and not self.migration.rewrites(self._or_todays(version)):
                try:
                    if end - start > _LARGE_BYTES:
                        return pickle.load(_Reader(data, start + 1, end, loading))
                    return _loads(data[start + 1 : end])
                except (pickle.UnpicklingError, AttributeError, ImportError):
                    pass  # It holds a persistent id, was written by a main file, or names what is not there.
            return self._decode(data, version, None, said, start=start, end=end, loading=loading)

    def _compare(self, said: bytes, version: int) -> None:
        """Raises `ChangedClass` if a class is not as stored bytes say, and nothing says what became of it."""
        if (said, version) in self._fitting:
            return
        for name, stored in _loads(said).items():
            module, _, qualname = name.partition(":")
            today = self.migration.todays_name(module, qualname)
            cls = None if today is None else self._class_of_today(*today)
            if cls is None or today is None or self._is_upgraded((module, qualname), today, version):
                continue  # What is not there any more is told when it is looked for.
            change = fields.change(stored, cls)
            if change is not None:
                raise self._changed(name, stored, cls, change, version)
        self._fitting.add((said, version))

    def _class_of_today(self, module: str, name: str) -> Any:
        """The class that has this name today; None if there is none."""
        found = (fields.todays(each, name) for each in self._modules.get(module, (module,)))
        return next((each for each in found if each is not None), None)

    def _is_upgraded(self, stored: tuple[str, str], today: tuple[str, str], version: int) -> bool:
        return any(self.migration.upgrades_of(*name, version) for name in (stored, today))

    def _changed(self, name: str, stored: fields.Layout, cls: type, change: fields.Change, version: int) -> ChangedClass:
        if change.is_enum:
            what = f"{', '.join(change.gone)} had another value, or is gone"
        elif change.gone or change.new:
            parts = [("without", change.gone), ("with", change.new)]
            what = "today it is " + " and ".join(f"{word} {', '.join(names)}" for word, names in parts if names)
        else:
            what = "today its fields stand in another order, or are kept in another way"
        stub = migration.stub_of_state(self.domain_class.__qualname__, name, change, cls, stored, self.migration.version)
        return ChangedClass(
            f"objects of {name} are stored, and the class has changed: {what}. Nothing was changed. Say what becomes of them:{stub}",
            name,
            change.gone,
            change.new,
        )

    def dump_parts(self, domain: object, names: Sequence[str]) -> bytes:
        """Those attributes of the domain that it has. Raises `EncodingError`."""
        try:
            values = {name: getattr(domain, name) for name in names if hasattr(domain, name)}
            try:
                return _bytes_of(_PartsPickler, _DeepPartsPickler, self, values, domain)
            except TypeError:
                # Most have no lock in them, and those that have none are pickled faster without this.
                return _bytes_of(_locked_parts_pickler, _deep_locked_parts_pickler, self, values, domain)
        except Exception as error:
            what = f"the parts {', '.join(names)} of {self.domain_class.__qualname__}"
            raise self._unkept(what, values, "parts", error, domain) from error

    def load_parts(self, domain: object, names: Sequence[str], data: bytes) -> None:
        """Gives the domain its attributes as they were when they were dumped. Raises `DecodingError`."""
        with told_as(_as_undecodable, of=BaseException):
            values = _PartsUnpickler(self, io.BytesIO(data), self._todays, domain, set()).load()
        for name in names:
            if name in values:
                object.__setattr__(domain, name, values[name])
            elif hasattr(domain, name):
                object.__delattr__(domain, name)

    def _encoded(self, value: object, domain: object) -> bytes:
        """A value, by the first way that can. Raises what the last one raises."""
        if not entities.known.any:
            try:
                return b"P" + deep.dumps(value)
            except RecursionError:
                raise
            except Exception:
                pass  # What can't be pickled as it is goes the long way below.
        try:
            return b"P" + _bytes_of(_Pickler, _DeepPickler, self, value, domain)
        except RecursionError:
            raise
        except Exception:  # What pickle can't keep, dill may.
            return _BYTE_CODE + _bytes_of(_dill_pickler, _deep_dill_pickler, self, value, domain)

    def _with_exceptions(self, value: object, domain: object, met: set[type] | None = None) -> tuple[bytes, Any]:
        """A value whose exceptions are kept without asking their classes, and what replay will see. Raises what pickle raises."""
        data = b"P" + _bytes_of(_PicklerOfExceptions, _DeepPickler, self, value, domain)
        return data, self._read_back(data, value, domain, met)

    def _blame(self, call: Call, parameters: Sequence[str], domain: object) -> NoReturn:
        name, args = call[0], call[1]
        kwargs: Mapping[str, Any] = call[2] if len(call) > 2 else {}
        labels = [parameters[i] if i < len(parameters) else f"#{i + 1}" for i in range(len(args))]
        for label, value in [*zip(labels, args, strict=False), *kwargs.items()]:
            if isinstance(value, BaseException) and or_none(self._with_exceptions, value, domain) is not None:
                continue
            with told_as(self._blamed, name, label, value, domain):
                self._read_back(self._encoded(value, domain), value, domain)
        raise EncodingError(f"the arguments of {name}() cannot be encoded together")

    def _blamed(self, error: Exception, name: str, label: str, value: object, domain: object) -> EncodingError:
        """The error for an argument that can't be encoded."""
        found = self._found(value, label, error, domain)
        why, instead = (
            _first_line(error),
            "Pass what can be pickled (a name or an id, say) and look the rest up inside the method.",
        )
        if found is not None:
            why, instead = str(found), instead if found.kind is None else found.kind.instead
        if not name:
            return EncodingError(
                f"{why}, and cannot be sent to another process", label
            )  # No argument of a call: whoever sends it says what is recorded.
        return EncodingError(
            f"argument {label!r} of {self.domain_class.__qualname__}.{name}() cannot be encoded: "
            f"{why}. Nothing was recorded and nothing has changed. {instead}",
            label,
        )

    def _unkept(self, what: str, value: object, path: str, error: Exception, domain: object = None) -> EncodingError:
        """The error for a state, or for parts of it, that can't be pickled."""
        if isinstance(error, MemoryError):
            said = f" ({_first_line(error)})" if error.args else ""
            return EncodingError(f"{what} could not be pickled: there was not enough memory{said}")
        found = self._found(value, path, error, domain, in_state=True)
        if found is None:
            return EncodingError(f"{what} cannot be pickled: {_first_line(error)}")
        kind = found.kind
        instead = (
            "Leave it out in __getstate__, or keep what it can be made of." if kind is None else kind.in_state or kind.instead
        )
        return EncodingError(f"{what} cannot be pickled: {found}. {instead}")

    def _found(self, value: object, path: str, error: Exception, domain: object, in_state: bool = False) -> bound.Found | None:
        """What in a value can't be kept, and where. None if that is nowhere, or if it lies deeper than can be pickled."""
        if isinstance(error, RecursionError):
            return None

        def is_known(each: object) -> bool:
            if type(each) in arguments.REDUCERS:
                return not in_state
            return each is domain or self._persistent_id_in_dill(each, domain) is not None

        # Methods of the value may raise, as pickle has said.
        return or_none(bound.find, value, path, is_known, bytecode.parts(), in_state)

    def _read_back(self, data: bytes, value: object, domain: object, met: set[type] | None = None) -> Any:
        """What was encoded, as replay will see it. Raises `BelongsToProcess`."""
        try:
            return self._decode(data, None, domain, met=met, checks=True)
        except bound.BelongsToProcess as error:
            if self._found(value, "", error, domain) is not None:
                raise
        # It holds the class alone.
        return self._decode(data, None, domain, met=met)

    def _decode(
        self,
        data: bytes | Stored,
        version: int | None = None,
        domain: object = None,
        said: bytes = b"",
        met: set[type] | None = None,
        checks: bool = False,
        start: int = 0,
        end: int | None = None,
        loading: Callable[[int, int], object] | None = None,
    ) -> Any:
        """The value. Adds to ``met`` the classes that the pickle names; ``checks`` that it holds nothing of the process."""
        version = self._or_todays(version)
        if data[start : start + 1] == b"F":
            _, size = _SAID.unpack(data[start : start + _SAID.size])
            start += _SAID.size + size
            said = bytes(data[start - size : start])
            self._compare(said, version)
        tag, start = bytes(data[start : start + 1]), start + 1
        make: Any = _CheckedUnpickler if checks else _Unpickler
        if tag == b"B":
            size = data[start : start + 1][0]
            start += 1 + size
            make = _dill_unpickler(bytes(data[start - size : start]).decode("ascii"), checks)
        elif tag == b"D":
            make = _dill_unpickler(None, checks)
        elif tag not in (b"P", _SIMPLE):
            raise DecodingError(f"unknown encoding {tag!r}")
        if version == self.migration.version:
            old = self._todays
        else:
            old = Old(self.migration, version, _loads(said) if said else None)
        try:
            end = len(data) if end is None else end
            file: Any = io.BytesIO(data[start:end]) if end - start <= _LARGE_BYTES else _Reader(data, start, end, loading)
            found = make(self, file, old, domain, set() if met is None else met).load()
            old.finish()
        finally:
            old.forget()
        return found

    def refuse_newer(self, version: int, what: str) -> None:
        """Raises `DecodingError` if a later version of the class wrote it."""
        if version > self.migration.version:
            raise DecodingError(
                f"{what} was written by version {version} of {self.domain_class.__qualname__}, and this code has version "
                f"{self.migration.version}. Nothing was changed. Open the directory with the newer code."
            )

    def _or_todays(self, version: int | None) -> int:
        return self.migration.version if version is None else version

    def _find_class(self, find: Callable[[str, str], Any], old: Old, met: set[type], module: str, name: str) -> Any:
        names = self.migration.todays_name(_MOVED.get(module, module), name)
        if names is None:
            return old.removed(module, name)
        for other in self._modules.get(names[0], ()):
            try:
                found = find(other, names[1])
                if isinstance(found, type):
                    met.add(found)
                return old.wrapped(module, name, found)
            except (ImportError, AttributeError):
                pass
        try:
            found = find(*names)
        except (ImportError, AttributeError) as error:
            cls = self.domain_class.__qualname__
            raise DecodingError(
                f"{_undecodable(error)} Or say what it is called today:"
                f"{migration.stub_of_class(cls, module, name, self.migration.version)}"
            ) from error
        if isinstance(found, type):
            met.add(found)
            if name == "Decimal" and fields.name_of(found) == decimals.NAME:
                decimals.met()
        return old.wrapped(module, name, found)

    # -- what stands for itself in our pickles

    def _persistent_id(self, value: object, domain: object) -> object:
        if value is self.domain_class:
            return "class"
        if value is OWN:
            return "own"
        if value is self.proxy and value is not None:
            return "proxy"
        if type(domain) is entities.Showing:
            domain.look(value)
            return None
        if domain is not None and (key := entities.key_in(domain, value)) is not None:
            return ("entity", *key)
        if self.received is not None and (key := self.received.key_of(value)) is not None:
            return ("entity", *key)
        return None

    def _persistent_id_in_dill(self, value: object, domain: object) -> object:
        # What a main file defines dill would copy; by name, it is what the file defines today.
        main = sys.modules["__main__"]
        if isinstance(value, (type, FunctionType)) and value.__module__ == "__main__":
            if value is not self.domain_class and _found(main, value.__qualname__) is value:
                return ("main", value.__qualname__, *self._program())
        if value is main.__dict__ and not self._of_main:
            return ("globals", *self._program())
        return self._persistent_id(value, domain)

    def _program(self) -> tuple[str, ...]:
        """What is written of the main file besides what it defines: its name, unless it is the one that defines the domain class."""
        return () if self._of_main else (imported_name("__main__"),)

    def _main_of(self, *program: str) -> Iterator[Any]:
        """The modules that a main file may be today which had this name, or defined the domain class: the likely one first."""
        main = sys.modules["__main__"]
        if program:
            yield main if imported_name("__main__") == program[0] else sys.modules.get(*program)
        yield sys.modules.get(self.domain_class.__module__, main)

    def _persistent_load(self, unpickler: Any, old: Old, domain: object, met: set[type], name: object) -> object:
        if name == "class":
            return old.wrapped(self.domain_class.__module__, self.domain_class.__qualname__, self.domain_class)
        if isinstance(name, tuple) and name[0] == "entity":
            _, module, qualname, key = name
            if domain is None:
                return entities.Reference(qualname, key)
            before = set(met)
            cls = unpickler.find_class(module, qualname)
            met.intersection_update(before)  # Of an entity the key is stored, and none of its fields.
            return entities.found_in(domain, cls, key)
        if isinstance(name, tuple) and name[0] == "globals":
            return next(module for module in self._main_of(name[1]) if module is not None).__dict__
        if isinstance(name, tuple):
            found = (_found(module, name[1]) for module in self._main_of(*name[2:]))
            value = next((each for each in found if each is not None), None)
            if value is None:
                raise AttributeError(f"module {name[2] if name[2:] else self.domain_class.__module__} has no {name[1]}")
            return value
        if name == "own":
            return OWN if domain is None else domain
        if name == "proxy" and self.proxy is not None:
            return self.proxy
        raise pickle.UnpicklingError(f"it refers to the system's own {name}, which is not there")


class _Reader:
    """A file over a part of a state, which pickle reads in frames of 64 KiB, and large buffers into the place where they are to be."""

    def __init__(self, data: bytes | Stored, start: int, end: int, tell: Callable[[int, int], object] | None) -> None:
        self._data = data
        self._place = start
        self._end = end
        self._tell = tell

    def read(self, size: int, /) -> bytes:
        if size <= _PART_BYTES:
            return bytes(self._part(size))
        found = bytearray(min(size, self._end - self._place))
        self.readinto(memoryview(found))
        return bytes(found)

    def readinto(self, buffer: memoryview, /) -> int:
        done = 0
        while done < len(buffer):
            part = self._part(min(len(buffer) - done, _PART_BYTES))
            if not part:
                break
            buffer[done : done + len(part)] = part
            done += len(part)
        return done

    def readline(self) -> bytes:
        end = self._place
        while end < self._end and self._data[end : end + 1] != b"\n":
            end += 1
        return self.read(end + 1 - self._place)

    def _part(self, size: int) -> bytes | memoryview:
        part = self._data[self._place : min(self._place + size, self._end)]
        self._place += len(part)
        if self._tell is not None:
            self._tell(self._place, self._end)
        return part


class _Pickler(pickle.Pickler):
    def __init__(self, codec: Codec, file: Any, domain: object) -> None:
        super().__init__(file, PROTOCOL)
        self._codec = codec
        self._domain = domain
        self.dispatch_table = arguments.reducers()

    def persistent_id(self, obj: object) -> Any:
        return self._codec._persistent_id(obj, self._domain)


class _PicklerOfExceptions(_Pickler):
    def reducer_override(self, obj: Any) -> Any:
        return arguments.reduced_exception(obj) if isinstance(obj, BaseException) else NotImplemented


class _DeepPickler(deep.Pickler):
    def __init__(self, codec: Codec, file: Any, domain: object) -> None:
        super().__init__(file, PROTOCOL)
        self._codec = codec
        self._domain = domain
        self.dispatch_table = arguments.reducers()

    def persistent_id(self, obj: object) -> Any:
        return self._codec._persistent_id(obj, self._domain)


class _Unpickler(pickle.Unpickler):
    def __init__(self, codec: Codec, file: IO[bytes], old: Old, domain: object, met: set[type]) -> None:
        super().__init__(file)
        self._codec = codec
        self._old = old
        self._domain = domain
        self._met = met

    def persistent_load(self, pid: object) -> object:
        return self._codec._persistent_load(self, self._old, self._domain, self._met, pid)

    def find_class(self, module: str, name: str) -> Any:
        return self._codec._find_class(super().find_class, self._old, self._met, module, name)


_kind_of: Any = bound.kind_of


class _CheckedUnpickler(_Unpickler):
    """Reads at once what was encoded, and refuses what belongs to the process though pickle has written it."""

    def find_class(self, module: str, name: str) -> Any:
        found = self._codec._find_class(super(_Unpickler, self).find_class, self._old, self._met, module, name)
        if not isinstance(found, type) or _kind_of(found) is not None:
            bound.refuse(found, module, name)
        return found


class _PartsPickler(_Pickler):
    def persistent_id(self, obj: object) -> Any:
        return "domain" if obj is self._domain else self._codec._persistent_id(obj, None)


class _DeepPartsPickler(_DeepPickler):
    def persistent_id(self, obj: object) -> Any:
        return "domain" if obj is self._domain else self._codec._persistent_id(obj, None)


def _locked_parts_pickler(codec: Codec, file: Any, domain: object) -> Any:
    return _with(bound.Reducers(), _PartsPickler(codec, file, domain))


def _deep_locked_parts_pickler(codec: Codec, file: Any, domain: object) -> Any:
    return _with(bound.Reducers(), _DeepPartsPickler(codec, file, domain))


def _with(reducers: Mapping[type, bound.Reducer], pickler: Any) -> Any:
    pickler.dispatch_table = reducers
    return pickler


class _PartsUnpickler(_Unpickler):
    def persistent_load(self, pid: object) -> object:
        return self._domain if pid == "domain" else super().persistent_load(pid)


def _plain_pickler(codec: Codec, file: Any, domain: object) -> pickle.Pickler:
    return pickle.Pickler(file, PROTOCOL)


def _deep_plain_pickler(codec: Codec, file: Any, domain: object) -> deep.Pickler:
    return deep.Pickler(file, PROTOCOL)


def _dill_pickler(codec: Codec, file: Any, domain: object) -> Any:
    return _in_dill(bytecode.pickler(), codec, file, domain)


def _deep_dill_pickler(codec: Codec, file: Any, domain: object) -> Any:
    return _in_dill(bytecode.deep_pickler(), codec, file, domain)


def _in_dill(make: Any, codec: Codec, file: Any, domain: object) -> Any:
    pickler = make(file, protocol=PROTOCOL)
    pickler.persistent_id = lambda value: codec._persistent_id_in_dill(value, domain)
    return pickler


Make = Callable[[Codec, Any, object], Any]

_WAYS: tuple[tuple[bytes, Make, Make], ...] = (
    (b"P", _plain_pickler, _deep_plain_pickler),
    (b"P", _Pickler, _DeepPickler),
    (_BYTE_CODE, _dill_pickler, _deep_dill_pickler),
)
"""The ways to pickle, in the order in which they are tried: each with the tag it leaves, and what is asked where it finds no end."""


def _dill_unpickler(python: str | None, checks: bool) -> Any:
    """What makes an unpickler for what dill wrote in ``python``."""

    def make(codec: Codec, file: IO[bytes], old: Old, domain: object, met: set[type]) -> Any:
        import dill  # type: ignore[import-untyped, unused-ignore]

        unpickler = dill.Unpickler(file, ignore=True)
        # What it holds must not hold it: it has all that it has loaded.
        myself = weakref.ref(unpickler)

        def find(module: str, name: str) -> Any:
            return dill.Unpickler.find_class(myself(), module, name)

        def find_class(module: str, name: str) -> Any:
            if (module, name) == bytecode.CODE and (problem := bytecode.of_another(python)) is not None:
                raise DecodingError(problem)
            bound.refuse_to_open(module, name)
            found = codec._find_class(find, old, met, module, name)
            if checks:
                bound.refuse(found, module, name)
            return found

        unpickler.persistent_load = lambda name: codec._persistent_load(myself(), old, domain, met, name)
        # A function of a main file has that file's globals: those of the domain class.
        unpickler._main = sys.modules.get(codec.domain_class.__module__, sys.modules["__main__"])
        unpickler.find_class = find_class
        return unpickler

    return make


def _bytes_of(make: Make, make_deep: Make, codec: Codec, value: object, domain: object) -> bytes:
    file = io.BytesIO()
    try:
        make(codec, file, domain).dump(value)
    except RecursionError:
        file = io.BytesIO()
        make_deep(codec, file, domain).dump(value)
    return file.getvalue()


def _parted(data: Stored, start: int) -> tuple[int, bytes]:
    """Where the pickle of a state ends that begins at ``start``, and what is said of classes after it."""
    end = len(data)
    last = max(start, end - _SAID_OF_STATE.size)
    if last == start or data[end - len(_MARK_OF_STATE) : end] != _MARK_OF_STATE:
        return end, b""
    size, _ = _SAID_OF_STATE.unpack(data[last:end])
    return last - size, bytes(data[last - size : last])


def _opaque(data: bytes) -> bytes:
    return _OPAQUE.pack(_NONE_BINBYTES, len(data)) + data


def _all_distinct(name: str, args: tuple[Any, ...]) -> bool:
    # Of what an inline call holds, pickle memoizes texts only, and refers back to one it meets again.
    texts = [id(value) for value in (name, *args) if type(value) in _TEXTS]
    return len(set(texts)) == len(texts)


def _is_importable(cls: type) -> bool:
    return or_none(_dumps, cls, PROTOCOL) is not None  # A metaclass may raise anything; then it is pickled in another way.


def _module_aliases(cls: type) -> dict[str, tuple[str, ...]]:
    """Module names in stored pickles that may mean another module today: that of ``cls``, or the main file of this program."""
    if cls.__module__ != "__main__":
        # A main file that does not define the class: this program's; or it was the one that defined it.
        return dict.fromkeys(("__main__", "__mp_main__"), ("__main__", cls.__module__))
    main = sys.modules.get("__main__")
    path = getattr(main, "__file__", None)
    spec = getattr(main, "__spec__", None)
    # A process that multiprocessing has spawned has imported the main file as __mp_main__.
    names = {"__mp_main__", *([module_of_program(path)] if path else [])}
    if spec is not None:
        names.add(spec.name)
    return dict.fromkeys(sorted(names), ("__main__",))


def _found(module: object, qualname: str) -> object:
    """What a module calls by a (dotted) name, or None."""
    for name in qualname.split("."):
        module = getattr(module, name, None)
    return module


def pickle_of(data: bytes) -> bytes:
    """The pickle in an opaque call, without its tag and what is said in front of it."""
    if data[:1] == b"F":
        _, size = _SAID.unpack_from(data)
        data = data[_SAID.size + size :]
    return data[2 + data[1] :] if data[:1] == b"B" else data[1:]


def _name_in(data: bytes) -> str:
    """The name of the method that an opaque call calls, which is the first text in it; read without decoding the arguments."""
    import pickletools

    try:
        for _, arg, _ in pickletools.genops(pickle_of(data)):
            if isinstance(arg, str):
                return arg
    except (ValueError, IndexError, struct.error):
        pass  # It is no pickle at all.
    return "?"


def _first_line(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return f"{error}; it is deeper than {deep.DEPTH_MAX} objects, or a method that pickling calls never comes to its end"
    return (str(error).splitlines() or [type(error).__name__])[0]


def _too_large(name: str, size: int) -> EncodingError:
    return EncodingError(
        f"the arguments of {name}() take {size} bytes; {RECORD_BYTES_MAX} are the most. "
        f"Nothing was recorded and nothing has changed."
    )


def _as_undecodable(error: BaseException) -> BaseException:
    """Returns what is raised in place of what loading has raised, unless that came from outside, as Ctrl-C does."""
    if isinstance(error, CoopyError) or not (isinstance(error, Exception) or is_of_the_code(error)):
        return error
    return DecodingError(_undecodable(error))


def _decoding_error(error: BaseException) -> DecodingError:
    return DecodingError(_undecodable(error))


def _undecodable(error: BaseException) -> str:
    if isinstance(error, bound.BelongsToProcess):
        return (
            f"what is stored holds {error.kind.what} of the process that wrote it, as an earlier coopy let it, and no other process can have that. "
            f"Nothing was changed. Such an action can only be withdrawn: coopy repair DIR --withdraw INDEX."
        )
    return (
        f"stored bytes are whole, but today's code cannot decode them: {type(error).__name__}: "
        f"{_first_line(error)}. Nothing was changed. Put back the class or function they name, under that name."
    )
