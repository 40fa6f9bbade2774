"""A digest of a state: equal states have equal digests, in whatever process they are. It has more than 500 lines because
it takes apart every kind of object that pickle does.

`digest` walks everything a state is made of, as pickle would (``__reduce_ex__``, ``__getstate__``,
``__slots__``, ``copyreg``), and hashes what it meets. What is a difference:

* the type of a value: 1, True and 1.0 are three; -0.0 is not 0.0; one nan is like another
* the order of a dict and of all that has an order; not that of a set, nor that of attributes
* whether two places hold one list, dict, set or instance, or two that are equal: a change to one
  would show that. Not so for what can't change (texts, numbers, tuples, frozensets, dates,
  members of an enum ...), which the interpreter shares or copies as it likes
* for an object that says what is to be kept of it, that and no more, and of a buffer that it gives the bytes; what a class that is made from set or
  frozenset keeps of its elements has no order either

Classes and functions count by their name, a lambda or a closure by its code and what it holds; the
system's own proxy is the proxy. The clock and the env that a domain is equipped with are left out.

Elements of a set that can change are told apart by what they hold and not by being the same
object: there is no order by which they could be numbered.

How. A pickle can't be hashed: what its memo refers back to depends on which equal texts happen
to be one object, a set comes in the order of its hashes, and a long list of linked nodes exhausts
the stack. So the state is made a flat list of scalars and marks, breadth first, which is encoded
by `marshal` (as fast as pickle; in format 2 it has no memo) some thousand at a time; large texts are hashed as they lie, which gives the same. An object is
numbered where it is first met. What can't change is hashed bottom up instead, and so are the
elements of sets; where those form cycles, by rounds in which each takes in what its neighbours
were in the round before. Nothing here recurses.

Digests are compared between processes of one version of Python and one FORMAT; where they are stored, both are stored with them.
"""

from __future__ import annotations

import copyreg
import marshal
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from operator import itemgetter, ne
from pickle import PickleBuffer
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple, NoReturn

from coopy.errors import EncodingError
from coopy.ground import words
from coopy.ground.interruption import is_of_the_code
from coopy.ground.program import imported_name
from coopy.ground.raised import told_as
from coopy.values import bound

DIGEST_BYTES = 16  # 128 bits: two states that differ have the same digest about never.
FORMAT = 3
"""Goes up when equal states get other digests than before."""
_FORMAT = 2  # That of marshal without references: what is equal must be the same bytes.
_CHUNK = 8192  # Tokens are hashed in pieces of this many: fewer calls, and no list as long as the state.
_ROUNDS_MAX = 32
"""Each round tells more objects that refer to one another apart; what is alike after this many is taken for equal."""
_HEAVY_BYTES = 1024 * 1024  # Tokens with more texts than this are hashed one after the other, and not as a copy of all of them.
_LARGE_BYTES = 64 * 1024  # A text of more than this is hashed as it lies.
_BULK_MIN = 8  # Below this many the quick way for many of a kind costs more than it saves.

_SCALARS = frozenset({int, float, bool, str, bytes, type(None)})
_TEXTS = frozenset({str, bytes})
_SIZED = frozenset({list, dict, set})
_PROTOCOL = 5  # Of pickle, as in snapshots: arrays give it their buffers.
_VALUES_PER_S, _BYTES_PER_VALUE = 2_000_000, 250
"""What is walked of a state in a second where that is fast: values, or so many bytes of texts for each."""
_SORTABLE = (frozenset({str}), frozenset({int}), frozenset({bytes}))
_EQUIPPED = {"_clock": "coopy.clock", "_env": "coopy.env"}
_NEW = ...  # Stands for an object that is met for the first time.
_NAN = ("nan",)
_HEAP_TYPE = 1 << 9
_HEAD_OF_LIST = 5  # "[" and how many there are.
_HEAD_OF_BYTEARRAY = marshal.dumps(("bytearray", b""), _FORMAT)[:-4]  # Up to the size of the bytes.

_blake2b: Any = None


class OutOfTime(Exception):
    """The digest of a state takes longer than it may."""


class OwnCode(Exception):
    """To digest a state, code of the domain's own classes would have to run."""


def digest(state: object, until: float | None = None, runs_code: bool = True) -> bytes:
    """16 bytes. Raises `EncodingError`, which names the place of what cannot be digested.

    ``until``: raises `OutOfTime` at about that moment of time.thread_time(), so that a machine that is busy is not taken for a large
    state. ``runs_code``: without it, raises `OwnCode` if objects say by a method of their class what is to be kept of them.
    """
    return _Walk(state, until, runs_code).run()


def survey(state: object) -> tuple[bytes, list[Any]]:
    """The digest of a state, and the objects in it that can change. Raises `EncodingError`."""
    walk = _Walk(state)
    found = walk.run()
    return found, walk.objects()


def digests(state: object) -> dict[str, bytes]:
    """The digest of each member of a state by its place, such as ``.pages``. Raises `EncodingError`."""
    return {place: digest(value) for place, value in members(state)}


def differing(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    """Returns the places in which two states differ, given the `digests` of both."""
    return sorted(place for place in {*one, *other} if one.get(place) != other.get(place))


def listed(places: list[str]) -> str:
    """Returns some places in words: the first five."""
    return ", ".join(places[:5]) or "some place"


def members(state: object) -> Iterator[tuple[str, Any]]:
    """The attributes, items and values that a state holds, each with its place in it. Raises `EncodingError`."""
    walk = _Walk(state)
    try:
        if type(state) in _SCALARS or walk.leaf(state) is not None:
            return
        with told_as(walk._refused, of=BaseException):
            apart = walk.apart(state)
        if not apart.unordered:
            yield from ((place, value) for place, value in zip(walk.places(apart), apart.children, strict=True) if place)
    finally:
        walk.end()


class _Apart(NamedTuple):
    """What an object is made of."""

    head: Any
    """What `marshal` takes: all that the object is beside its children, and how many they are."""
    children: Collection[Any]
    unordered: bool = False


def load() -> None:
    """Imports what digests need, and what is too much to come with this module."""
    global _blake2b
    if _blake2b is None:
        try:
            # hashlib takes it from there, too, and loads OpenSSL besides, which takes a tenth of the time that opening does.
            from _blake2 import blake2b as _blake2b
        except ImportError:
            from hashlib import blake2b as _blake2b


class _Large:
    """Stands in the list for a large bytearray, of which no copy is made."""

    __slots__ = ("data",)

    def __init__(self, data: bytearray) -> None:
        self.data = data


class _Unordered(list[Any]):
    """The elements of a set whose class is made from set or frozenset."""

    __slots__ = ()


class _Walk:
    def __init__(self, state: object, until: float | None = None, runs_code: bool = True) -> None:
        load()
        self._state = state
        self._until = until
        self._room = 0.0 if until is None else (until - time.thread_time()) * _VALUES_PER_S
        self._runs_code = runs_code
        self._out: list[Any] = []
        self._floats = False
        self._heavy = 0
        """Bytes of texts in the list, as far as they are counted."""
        self._hash = _blake2b(digest_size=DIGEST_BYTES)
        self._numbers: dict[int, int] = {}
        self._queue: list[Any] = []
        # What was made for us: an id means its object only as long as that lives.
        self._kept: list[Any] = []
        self._mutable: set[type] = {list, dict, set, _Unordered}
        self._apart: dict[type, Callable[[Any], _Apart]] = dict(_APART)
        self._leaves: dict[type, Callable[[Any], Any]] = {
            tuple: _leaf_of_tuple,
            frozenset: self._leaf_of_frozenset,
            FunctionType: _leaf_of_function,
            CodeType: _no_leaf,
            PickleBuffer: self._leaf_of_buffer,
        }
        self._plain: dict[type, dict[tuple[str, ...], _Shape]] = {}
        self._shapes: dict[bytes, tuple[str, ...]] = {}
        self._values: dict[int, Any] = {}
        self._colours: dict[int, Any] = {}

    def run(self) -> bytes:
        try:
            with told_as(self._refused, of=BaseException):
                self._take((self._state,))
                self._walk()
        finally:
            self.end()
        return bytes(self._hash.digest())

    def end(self) -> None:
        """Drops what holds methods of this: a cycle would keep the state, and while a log is replayed no collector runs."""
        self._apart.clear()
        self._leaves.clear()

    def objects(self) -> list[Any]:
        """What was numbered: what can change and is reached otherwise than through a set."""
        return self._queue

    # -- the list

    def _walk(self) -> None:
        out, plain, state = self._out, self._plain, self._state
        is_limited = self._until is not None
        for obj in self._queue:
            kind = type(obj)
            if is_limited and kind in _SIZED:
                self._pay(len(obj))  # Before it is copied.
            if len(out) > _CHUNK:
                self._flush()
            if obj is state:
                head, children, _ = self.apart(obj)
                out.append(head)
                if kind is set:
                    children = self._sorted(children)
                    out.extend(children)
                    continue
            elif kind is list:
                out += ("list", len(obj))
                children = obj
            elif kind is dict:
                out += ("dict", len(obj))
                children = [*obj, *obj.values()]
            elif kind is set or kind is _Unordered:
                out += ("set", len(obj), *self._sorted(obj))
                continue
            elif kind is bytearray and len(obj) > _LARGE_BYTES:
                self._pay(len(obj) // _BYTES_PER_VALUE)
                out.append(_Large(obj))
                self._heavy += _HEAVY_BYTES
                continue
            elif kind in plain:
                attributes = obj.__dict__
                shape = plain[kind].get(tuple(attributes)) or self._shape_of(kind, plain[kind], attributes)
                out.append(shape.head)
                children = shape.values(attributes)
            else:
                head, children, _ = self.apart(obj)
                out.append(head)
            # As `_take` begins, without the call: most objects hold nothing but scalars.
            kinds = set(map(type, children))
            if (is_limited and not kinds.isdisjoint(_TEXTS)) or bytes in kinds:
                size = sum([len(each) for each in children if type(each) in _TEXTS])
                self._heavy += size
                self._pay(size // _BYTES_PER_VALUE)
            if kinds <= _SCALARS:
                if float in kinds:
                    self._floats = True
                out += children
            else:
                self._take(children)
        self._flush()

    def _pay(self, values: int) -> None:
        """Counts what is yet to be walked. Raises `OutOfTime` once that is more than there is time for on a fast machine."""
        self._room -= values
        if self._room < 0 and self._until is not None:
            raise OutOfTime

    def _take(self, values: Collection[Any]) -> None:
        """Adds values to the list; objects in it that are new are in the queue then."""
        kinds = set(map(type, values))
        if kinds <= _SCALARS:
            self._floats |= float in kinds
            self._out.extend(values)
            return
        if len(values) >= _BULK_MIN and kinds <= self._mutable and self._number_all(values):
            return
        out, leaves = self._out, self._leaves
        for value in values:
            kind = type(value)
            if kind in _SCALARS:
                out.append(value)
                self._floats |= kind is float
            elif kind in leaves:
                token = leaves[kind](value)
                out.append(self._value(value) if token is None else token)
            elif self._is_mutable(kind, value):
                out.append(self._number(value))
            else:
                out.append(self._value(value))

    def _number(self, value: Any) -> Any:
        """The token of an object: that it is new, or which one it is."""
        number = self._numbers.get(id(value))
        if number is not None:
            return (number,)
        self._numbers[id(value)] = len(self._queue)
        self._queue.append(value)
        return _NEW

    def _number_all(self, values: Collection[Any]) -> bool:
        """Numbers objects if all of them are new and none is there twice."""
        numbers = self._numbers
        first = len(numbers)
        fresh = dict(zip(map(id, values), range(first, first + len(values)), strict=True))
        if len(fresh) < len(values) or not numbers.keys().isdisjoint(fresh):
            return False
        numbers.update(fresh)
        self._queue.extend(values)
        self._out.extend([_NEW] * len(values))
        return True

    def _flush(self) -> None:
        out = self._out
        if self._floats and any(map(ne, out, out)):
            out[:] = [_NAN if value != value else value for value in out]
        self._floats = False
        if self._heavy < _HEAVY_BYTES:
            self._hash.update(marshal.dumps(out, _FORMAT))
        else:
            self._hash_in_pieces(out)
        self._heavy = 0
        out.clear()
        if self._until is not None and time.thread_time() > self._until:
            raise OutOfTime

    def _hash_in_pieces(self, out: list[Any]) -> None:
        """Hashes what `marshal` would make of all of it, without that: in format 2 a list is a head, and its elements each by itself."""
        update = self._hash.update
        update(b"[" + len(out).to_bytes(4, "little"))
        begun = 0
        for place, token in enumerate(out):
            kind = type(token)
            if kind is _Large or (kind in _TEXTS and len(token) > _LARGE_BYTES):
                update(marshal.dumps(out[begun:place], _FORMAT)[_HEAD_OF_LIST:])
                begun = place + 1
                if kind is str:
                    update(marshal.dumps(token, _FORMAT))
                    continue
                data, head = (token.data, _HEAD_OF_BYTEARRAY) if kind is _Large else (token, b"s")
                update(head + len(data).to_bytes(4, "little"))
                update(data)
        update(marshal.dumps(out[begun:], _FORMAT)[_HEAD_OF_LIST:])

    # -- what can't change

    def _leaf_of_buffer(self, value: PickleBuffer) -> Any:
        # As an array gives it to pickle: it is not copied here, and is as large as the array.
        data = value.raw()
        self._pay(len(data) // _BYTES_PER_VALUE)
        return ("buffer", len(data), bytes(_blake2b(data, digest_size=DIGEST_BYTES).digest()))

    def leaf(self, value: Any) -> Any:
        """The token of what can't change and holds nothing that can; None if it is not known to be so."""
        kind = type(value)
        if self._is_mutable(kind, value):
            return None
        return self._leaves[kind](value)

    def _value(self, value: Any) -> Any:
        """The token of what can't change; objects that it holds are numbered."""
        token = self._leaves[type(value)](value)
        if token is not None:
            return token
        known = self._values
        if id(value) in known:
            return known[id(value)]
        frames: list[tuple[int, list[Any], Iterator[Any]]] = []
        while True:
            if token is None:
                head, children, unordered = self.apart(value)
                if unordered:
                    token = _hashed([head, *self._sorted(children)])
                    known[id(value)] = token
                else:
                    frames.append((id(value), [head], iter(children)))
            if token is not None:
                if not frames:
                    return token
                frames[-1][1].append(token)
            key, tokens, rest = frames[-1]
            token = None
            for value in rest:
                kind = type(value)
                if kind in _SCALARS:
                    tokens.append(_plain_scalar(value))
                elif self._is_mutable(kind, value):
                    self._number(value)
                    # By its number even if it is new: a tuple met twice has been hashed but once.
                    tokens.append((self._numbers[id(value)],))
                else:
                    found = self._leaves[kind](value)
                    if found is None:
                        found = known.get(id(value))
                    if found is None:
                        break
                    tokens.append(found)
            else:
                frames.pop()
                token = known[key] = _hashed(tokens)

    # -- sets

    def _leaf_of_frozenset(self, value: frozenset[Any]) -> Any:
        for element in value:
            # One in another is no leaf: they may be nested deeper than we can call.
            if type(element) not in _SCALARS and (type(element) is frozenset or self.leaf(element) is None):
                return None
        return ("frozenset", *self._sorted(value))

    def _sorted(self, elements: Collection[Any]) -> list[Any]:
        """The tokens of the elements of a set, in an order that they alone decide."""
        kinds = frozenset(map(type, elements))
        if kinds in _SORTABLE:
            return sorted(elements)
        self._colour(elements)
        return sorted(map(self._token, elements), key=_encoded)

    def _token(self, value: Any) -> Any:
        """The token of what stands in a set or below one."""
        if type(value) in _SCALARS:
            return _plain_scalar(value)
        found = self._colours.get(id(value))
        return found if found is not None else self.leaf(value)

    def _tokens(self, apart: _Apart) -> list[Any]:
        tokens = list(map(self._token, apart.children))
        return sorted(tokens, key=_encoded) if apart.unordered else tokens

    def _needs_colour(self, value: Any) -> bool:
        return type(value) not in _SCALARS and id(value) not in self._colours and self.leaf(value) is None

    def _colour(self, elements: Collection[Any]) -> None:
        """Gives what stands in a set or below one its token: groups of objects that lead to one another, innermost first.

        This is how Tarjan finds strongly connected components, with a stack of its own.
        """
        order: dict[int, int] = {}
        low: dict[int, int] = {}
        group: list[tuple[int, _Apart]] = []
        frames: list[tuple[int, Iterator[Any]]] = [(0, iter(elements))]
        while frames:
            key, rest = frames[-1]
            for value in rest:
                if not self._needs_colour(value):
                    continue
                child = id(value)
                if child in order:
                    low[key] = min(low[key], order[child])
                    continue
                apart = self.apart(value)
                self._kept.append((value, apart.children))
                order[child] = low[child] = len(order)
                group.append((child, apart))
                frames.append((child, iter(apart.children)))
                break
            else:
                frames.pop()
                if not frames:
                    return
                if low[key] == order[key]:
                    place = next(i for i in range(len(group) - 1, -1, -1) if group[i][0] == key)
                    self._colour_group(group[place:])
                    del group[place:]
                above = frames[-1][0]
                if len(frames) > 1:
                    low[above] = min(low[above], low[key])

    def _colour_group(self, group: list[tuple[int, _Apart]]) -> None:
        colours = self._colours
        keys = [key for key, _ in group]
        colours.update((key, _hashed([apart.head])) for key, apart in group)
        count = 0
        for _ in range(_ROUNDS_MAX):
            colours.update([(key, _hashed([apart.head, *self._tokens(apart)])) for key, apart in group])
            found = len({colours[key] for key in keys})
            if found <= count:
                break
            count = found
        if len(group) > 1:
            # Of two groups, each may have told its own apart as well as can be and yet look like the other.
            everyone = _hashed(sorted(colours[key] for key in keys))
            colours.update([(key, _hashed([colours[key], everyone])) for key in keys])

    # -- what things are made of

    def apart(self, value: Any) -> _Apart:
        """What an object is made of. Raises whatever its own code does."""
        kind = type(value)
        take = self._apart.get(kind)
        if take is None:
            self._is_mutable(kind, value)
            take = self._apart[kind]
        apart = take(value)
        if value is self._state:
            apart = self._unequipped(apart)
        return apart

    def _is_mutable(self, kind: type, value: Any) -> bool:
        """Whether objects of a class can change, and count as what they are and not only as what they hold."""
        if kind in self._mutable:
            return True
        if kind not in self._leaves:
            self._learn(kind, value)
        return kind in self._mutable

    def _learn(self, kind: type, value: Any) -> None:
        leaf = _leaf_for(kind)
        if leaf is not None:
            self._leaves[kind] = leaf
            return
        if _is_value(kind):
            self._leaves[kind] = _no_leaf
            self._apart[kind] = self._reduced
            return
        self._mutable.add(kind)
        if kind in self._apart:
            return
        if hasattr(kind, "_coopy_engine"):
            self._apart[kind] = _proxy
        elif kind.__base__ is tuple and hasattr(kind, "_fields") and _is_reduced_by_default(kind, 1):
            self._apart[kind] = _named_tuple
        elif bound.lock_reducer(kind) is not None:
            self._apart[kind] = self._reduced
        elif _is_reduced_by_default(kind, 0):
            # What it can't keep, a lock say, raises here.
            value.__reduce_ex__(_PROTOCOL)
            self._apart[kind] = self._attributes_of
            if kind.__dictoffset__ and not _slots(kind):
                self._plain[kind] = {}
        else:
            self._apart[kind] = self._reduced

    def _attributes_of(self, value: Any) -> _Apart:
        attributes = dict(getattr(value, "__dict__", ()))
        for name in _slots(type(value)):
            try:
                attributes[name] = getattr(value, name)
            except AttributeError:
                continue
        shape = self._shape_of(type(value), {}, attributes)
        return _Apart(shape.head, shape.values(attributes))

    def _shape_of(self, kind: type, shapes: dict[tuple[str, ...], _Shape], attributes: dict[str, Any]) -> _Shape:
        shape = shapes[tuple(attributes)] = _Shape(_name_of(kind), attributes)
        self._shapes[shape.head] = shape.names
        return shape

    def _reduced(self, value: Any) -> _Apart:
        kind = type(value)
        if not self._runs_code and kind.__module__.partition(".")[0] not in sys.stdlib_module_names:
            raise OwnCode(_name_of(kind))
        reducer = bound.lock_reducer(kind) or copyreg.dispatch_table.get(kind)
        found: Any = reducer(value) if reducer is not None else value.__reduce_ex__(_PROTOCOL)
        if isinstance(found, str):
            return _Apart(("global", imported_name(getattr(value, "__module__", None) or kind.__module__), found), ())
        make, args, state, items, pairs, setter = (*found, None, None, None, None)[:6]
        if len(args) == 1 and type(args[0]) is list and kind.__reduce__ in _REDUCED_SETS:
            args = (_Unordered(args[0]),)
        items = list(items or ())
        pairs = list(pairs or ())
        names: tuple[str, ...] | None
        if state is None or (type(state) is dict and all(type(name) is str for name in state)):
            # No attributes yet, and none any more, are kept as None or as an empty dict, as it happens.
            names = tuple(sorted(state or ()))
            state = [state[name] for name in names] if state else []
        else:
            names, state = None, [state]
        children = [make, setter, *args, *state, *items, *(key for key, _ in pairs), *(each for _, each in pairs)]
        self._kept.append((found, children))
        return _Apart(("reduced", len(args), names, len(items), len(pairs)), children)

    def _unequipped(self, apart: _Apart) -> _Apart:
        """The same without the clock and the env of a domain."""
        head, children, _ = apart
        names, before = self._shapes.get(head) if isinstance(head, bytes) else None, 0
        if names is None and type(head) is tuple and head[0] == "reduced" and head[2] is not None:
            names, before = head[2], 2 + head[1]
        if names is None:
            return apart
        children = list(children)
        gone = [
            place
            for place, name in enumerate(names)
            if name in _EQUIPPED and type(children[before + place]).__module__ == _EQUIPPED[name]
        ]
        if not gone:
            return apart
        for place in reversed(gone):
            del children[before + place]
        left = tuple(name for place, name in enumerate(names) if place not in gone)
        if isinstance(head, bytes):
            head = self._shape_of(type(self._state), {}, dict.fromkeys(left)).head
        else:
            head = (*head[:2], left, *head[3:])
        return _Apart(head, children)

    # -- places

    def places(self, apart: _Apart) -> list[str]:
        """Where each child is, as one would write it; empty for what nobody would."""
        head, children, unordered = apart
        if isinstance(head, bytes):
            return [f".{name}" for name in self._shapes[head]]
        word, *rest = head
        if word in ("list", "tuple", "named tuple"):
            return [f"[{place}]" for place in range(len(children))]
        if word == "dict":
            return ["" for _ in range(rest[0])] + _places_of_keys(list(children)[: rest[0]])
        if word == "reduced":
            args, names, items, pairs = rest
            keys = list(children)[len(children) - 2 * pairs : len(children) - pairs]
            places = ["", "", *(f".<argument {number + 1}>" for number in range(args))]
            places += [f".{name}" for name in names] if names is not None else [".<state>"]
            return [*places, *(f"[{place}]" for place in range(items)), *("" for _ in keys), *_places_of_keys(keys)]
        return ["{...}" if unordered else ".<closure>" for _ in children]

    def _refused(self, error: BaseException) -> BaseException:
        is_told = isinstance(error, (EncodingError, OutOfTime, OwnCode)) or not is_of_the_code(error)
        return error if is_told else self.refuse(error)

    def refuse(self, error: BaseException) -> NoReturn:
        """Raises `EncodingError`: looks again, now with places, for what can't be taken apart."""
        walk = _Walk(self._state)
        try:
            walk._refuse_undigestible()
        finally:
            walk.end()
        raise EncodingError(f"the state cannot be digested: {error}") from error

    def _refuse_undigestible(self) -> None:
        seen: set[int] = set()
        queue: list[tuple[Any, int, str]] = [(self._state, -1, "")]
        for number, (value, _, _) in enumerate(queue):
            if type(value) in _SCALARS or id(value) in seen:
                continue
            seen.add(id(value))
            with told_as(_undigestible, queue, number, of=BaseException):
                if self.leaf(value) is not None:
                    continue
                apart = self.apart(value)
            self._kept.append(apart.children)
            for label, child in zip(self.places(apart), apart.children, strict=True):
                queue.append((child, number, label or ".<key>"))


def _undigestible(error: BaseException, queue: list[tuple[Any, int, str]], number: int) -> BaseException:
    """The error for a value that can't be taken apart. The queue has each value with the number of the one that holds it, and where."""
    if not is_of_the_code(error):
        return error
    value, (place, step) = queue[number][0], ("", number)
    while step >= 0:
        _, step, label = queue[step]
        place = label + place
    return EncodingError(
        f"{place or 'the state'}: {type(value).__qualname__} cannot be digested: {str(error) or type(error).__name__}. Nothing was "
        f"changed. Keep what can be pickled in the state, or leave it out in __getstate__."
    )


class _Shape:
    """The attributes of a class's objects: the token of their names, and their values in the order of those."""

    __slots__ = ("head", "names", "values")

    def __init__(self, cls: str, attributes: dict[str, Any]) -> None:
        self.names = tuple(sorted(attributes))
        self.head: bytes = _hashed([cls, *self.names])[0]
        self.values: Callable[[dict[str, Any]], Sequence[Any]]
        if len(self.names) > 1:
            self.values = itemgetter(*self.names)
        else:
            self.values = lambda attributes: tuple(attributes.values())


def _encoded(token: Any) -> bytes:
    return marshal.dumps(token, _FORMAT)


def _hashed(tokens: list[Any]) -> tuple[bytes, str]:
    return bytes(_blake2b(marshal.dumps(tokens, _FORMAT), digest_size=DIGEST_BYTES).digest()), "hash"


def _plain_scalar(value: Any) -> Any:
    return value if value == value else _NAN


def _name_of(kind: type) -> str:
    return f"{imported_name(kind.__module__)}:{kind.__qualname__}"


def _places_of_keys(keys: list[Any]) -> list[str]:
    return [f"[{_written(key) or f'<key {number}>'}]" for number, key in enumerate(keys)]


def _written(key: Any) -> str:
    """A key as one would write it, all of it, as no two must be taken for one; "" if nobody would."""
    if type(key) is int:
        return words.number(key)
    try:
        return repr(key) if type(key) in _SCALARS or (type(key) is tuple and _leaf_of_tuple(key)) else ""
    except ValueError:
        return ""  # A tuple with a very large number.


# -- one function for each thing that is not an object of its own class


def _list(value: list[Any]) -> _Apart:
    return _Apart(("list", len(value)), value)


def _dict(value: dict[Any, Any]) -> _Apart:
    return _Apart(("dict", len(value)), [*value, *value.values()])


def _tuple(value: tuple[Any, ...]) -> _Apart:
    return _Apart(("tuple", len(value)), value)


def _named_tuple(value: tuple[Any, ...]) -> _Apart:
    return _Apart(("named tuple", _name_of(type(value)), len(value)), tuple(value))


def _set(value: Collection[Any]) -> _Apart:
    return _Apart((type(value).__name__, len(value)), value, True)


def _bytearray(value: bytearray) -> _Apart:
    return _Apart(("bytearray", bytes(value)), ())


def _proxy(value: object) -> _Apart:
    return _Apart(("proxy",), ())


def _function(value: FunctionType) -> _Apart:
    held = value.__closure__ or ()
    head = ("function", imported_name(value.__module__), value.__qualname__, len(held))
    return _Apart(head, [value.__code__, value.__defaults__, value.__kwdefaults__, *held])


def _cell(value: CellType) -> _Apart:
    try:
        return _Apart(("cell", 1), (value.cell_contents,))
    except ValueError:  # Not bound yet.
        return _Apart(("cell", 0), ())


def _code(value: CodeType) -> _Apart:
    # Without its lines: where code stands is not what it does.
    head = (
        "code",
        value.co_name,
        value.co_code,
        value.co_argcount,
        value.co_posonlyargcount,
        value.co_kwonlyargcount,
        value.co_flags,
        value.co_names,
        value.co_varnames,
        value.co_freevars,
        value.co_cellvars,
    )
    return _Apart(head, value.co_consts)


def _elements(value: _Unordered) -> _Apart:
    return _Apart(("set", len(value)), value, True)


_REDUCED_SETS: tuple[Any, ...] = (set.__reduce__, frozenset.__reduce__)
_APART: dict[type, Callable[[Any], _Apart]] = {
    _Unordered: _elements,
    list: _list,
    dict: _dict,
    tuple: _tuple,
    set: _set,
    frozenset: _set,
    bytearray: _bytearray,
    FunctionType: _function,
    CodeType: _code,
    CellType: _cell,
}


def _no_leaf(value: Any) -> None:
    return None


def _leaf_of_tuple(value: tuple[Any, ...]) -> Any:
    kinds = set(map(type, value))
    if not kinds <= _SCALARS:
        return None
    if float in kinds and any(map(ne, value, value)):
        value = tuple(map(_plain_scalar, value))
    return ("tuple", value)


def _leaf_of_function(value: FunctionType) -> Any:
    if "<" in value.__qualname__:
        return None
    return ("function", imported_name(value.__module__), value.__qualname__)


def _leaf_of_class(value: type) -> Any:
    return ("class", _name_of(value))


def _leaf_of_member(value: Any) -> Any:
    name = value._name_
    return ("enum", _name_of(type(value)), name if name is not None else words.whole(value._value_))


_LEAVES: dict[str, Callable[[Any], Any]] = {
    "decimal:Decimal": lambda value: ("decimal", *value.as_tuple()),
    "uuid:UUID": lambda value: ("uuid", value.int),
    "builtins:complex": lambda value: ("complex", _plain_scalar(value.real), _plain_scalar(value.imag)),
    "builtins:ellipsis": lambda value: ("ellipsis",),
    "builtins:NotImplementedType": lambda value: ("not implemented",),
}
_PATHS = frozenset({"PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath"})
_VALUES = frozenset(
    "datetime:datetime datetime:date datetime:time datetime:timedelta datetime:timezone fractions:Fraction builtins:range "
    "builtins:slice".split()
)


def _leaf_for(kind: type) -> Callable[[Any], Any] | None:
    """What makes a token of objects of a class that can't change and hold nothing."""
    if issubclass(kind, type):
        return _leaf_of_class
    enum = sys.modules.get("enum")
    if enum is not None and isinstance(kind, enum.EnumMeta):
        return _leaf_of_member
    if kind.__module__.partition(".")[0] == "pathlib" and kind.__name__ in _PATHS:
        return lambda value: (kind.__name__, str(value))
    if kind is ModuleType:
        return lambda value: ("module", value.__name__)
    return _LEAVES.get(_name_of(kind))


def _is_value(kind: type) -> bool:
    """Whether objects of a class can't change but may hold others."""
    datetime = sys.modules.get("datetime")
    return _name_of(kind) in _VALUES or (datetime is not None and issubclass(kind, datetime.tzinfo))


def _is_reduced_by_default(kind: type, bases: int) -> bool:
    """Whether all there is to objects of a class is their attributes (and items, of so many bases beside `object`)."""
    default: Any = object
    return (
        kind.__reduce_ex__ is default.__reduce_ex__
        and kind.__reduce__ is default.__reduce__
        and kind not in copyreg.dispatch_table
        and getattr(kind, "__getstate__", None) is getattr(default, "__getstate__", None)
        and (bases == 1 or not (hasattr(kind, "__getnewargs__") or hasattr(kind, "__getnewargs_ex__")))
        and all(base.__flags__ & _HEAP_TYPE for base in kind.__mro__[: -1 - bases])
        and (bases == 0 or not kind.__dictoffset__)
    )


def _slots(kind: type) -> list[str]:
    names: list[str] = copyreg._slotnames(kind)  # type: ignore[attr-defined]
    return names
