"""Pickles what lies deeper in one another than the pickler of the standard library can call: chains, trees, results of a parser.

`pickle` calls itself for each object inside another, and gives up at a depth that the process sets (a chain of some 330 objects
with Python's default), or that nobody can set (Python 3.12 and 3.13). This one keeps what it has begun in a list: an object
that holds others is a generator that yields each in its turn. It writes the same opcodes. Loading needs nothing of the kind:
pickle loads without calling itself.

It takes some ten times as long, so it is asked after the other has given up. It needs no thread with
a large stack, which would have had other locks and other locals than the caller's, and no other limit of recursion, which all threads share:
a method of the domain that calls itself for ever still ends as it does elsewhere. What makes
new objects for ever, each inside the one before, ends at DEPTH_MAX.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterable, Iterator
from copyreg import dispatch_table
from itertools import islice
from types import FunctionType
from typing import Any, ClassVar

PROTOCOL = 5  # As in `codec`; it is not imported from there, which is above.
DEPTH_MAX = 500_000
"""At most this many objects inside one another: each takes a kilobyte while it is pickled. An object of a class counts twice, as
it is a dict of attributes as well; one with slots three times."""

_BATCH = 1000  # As many items between two marks as pickle has.

Saving = Iterator[Any]


class Deep:
    """What makes a pickler in Python one that does not call itself."""

    # Of `pickle._Pickler`, with which this is mixed.
    write: Callable[[bytes], object]
    memo: dict[int, tuple[int, Any]]
    memoize: Callable[[Any], None]
    get: Callable[[int], bytes]
    framer: Any
    dispatch: ClassVar[Any]
    persistent_id: Callable[[Any], Any]
    save_pers: Callable[[Any], None]
    save_global: Callable[..., None]
    dispatch_table: Any = dispatch_table

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        """Saves an object and all that it holds."""
        begin = self._begin
        first = begin(obj, save_persistent_id)
        begun = [] if first is None else [first]
        while begun:
            # Goes on where it has stopped: at the child that came last.
            for child in begun[-1]:
                following = begin(child)
                if following is not None:
                    if len(begun) >= DEPTH_MAX:
                        raise RecursionError(f"there are more than {DEPTH_MAX} objects inside one another")
                    begun.append(following)
                    break
            else:
                begun.pop()

    def _begin(self, obj: Any, persistent: bool = True) -> Saving | None:
        """Saves an object that holds no others; of another, yields what is to be saved in its turn."""
        self.framer.commit_frame()
        if persistent:
            name = self.persistent_id(obj)
            if name is not None:
                self.save_pers(name)
                return None
        known = self.memo.get(id(obj))
        if known is not None:
            self.write(self.get(known[0]))
            return None
        kind = type(obj)
        container = CONTAINERS.get(kind)
        if container is not None:
            return container(self, obj)
        save = self.dispatch.get(kind)
        if save is not None:
            save(self, obj)
            return None
        return self._reduced(obj, kind)

    def _reduced(self, obj: Any, kind: type) -> Saving | None:
        reduce = self.dispatch_table.get(kind)
        if reduce is not None:
            found: Any = reduce(obj)
        elif issubclass(kind, type):
            found = obj.__qualname__
        else:
            found = obj.__reduce_ex__(PROTOCOL)
        if isinstance(found, str):
            self.save_global(obj, found)
            return None
        if not isinstance(found, tuple) or not 2 <= len(found) <= 6:
            raise pickle.PicklingError(f"what reduces a {kind.__qualname__} must return a text, or a tuple of 2 to 6")
        return self._rebuilt(obj, *found)

    # -- what holds others, as `pickle._Pickler` saves it

    def _rebuilt(
        self,
        obj: Any,
        make: Any,
        args: Any,
        state: Any = None,
        items: Iterable[Any] | None = None,
        pairs: Iterable[tuple[Any, Any]] | None = None,
        setter: Any = None,
    ) -> Saving:
        if not isinstance(args, tuple) or not callable(make):
            raise pickle.PicklingError(f"what reduces a {type(obj).__qualname__} must return something to call and a tuple")
        name = getattr(make, "__name__", "")
        if name in ("__newobj__", "__newobj_ex__"):
            if args[0] is not obj.__class__:
                raise pickle.PicklingError(f"what reduces a {type(obj).__qualname__} makes one of another class")
            yield args[0]
            yield args[1:] if name == "__newobj__" else args[1]
            if name == "__newobj_ex__":
                yield args[2]
            self.write(pickle.NEWOBJ if name == "__newobj__" else pickle.NEWOBJ_EX)
        else:
            yield make
            yield args
            self.write(pickle.REDUCE)
        if id(obj) in self.memo:  # Its arguments held it.
            self.write(pickle.POP + self.get(self.memo[id(obj)][0]))
        else:
            self.memoize(obj)
        if items is not None:
            yield from self._appended(items)
        if pairs is not None:
            yield from self._set(pairs)
        if state is not None and setter is None:
            yield state
            self.write(pickle.BUILD)
        elif state is not None:
            yield setter
            yield obj
            yield state
            self.write(pickle.TUPLE2 + pickle.REDUCE + pickle.POP)

    def _tuple(self, obj: tuple[Any, ...]) -> Saving:
        size = len(obj)
        if size > 3:
            self.write(pickle.MARK)
        yield from obj
        if size and id(obj) in self.memo:  # It holds itself.
            self.write((pickle.POP_MARK if size > 3 else pickle.POP * size) + self.get(self.memo[id(obj)][0]))
            return
        self.write((pickle.EMPTY_TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.TUPLE)[min(size, 4)])
        if size:
            self.memoize(obj)

    def _list(self, obj: list[Any]) -> Saving:
        self.write(pickle.EMPTY_LIST)
        self.memoize(obj)
        yield from self._appended(obj)

    def _dict(self, obj: dict[Any, Any]) -> Saving:
        self.write(pickle.EMPTY_DICT)
        self.memoize(obj)
        yield from self._set(obj.items())

    def _set_of(self, obj: set[Any]) -> Saving:
        self.write(pickle.EMPTY_SET)
        self.memoize(obj)
        for batch in _batches(obj):
            self.write(pickle.MARK)
            yield from batch
            self.write(pickle.ADDITEMS)

    def _frozenset(self, obj: frozenset[Any]) -> Saving:
        self.write(pickle.MARK)
        yield from obj
        if id(obj) in self.memo:  # It holds itself.
            self.write(pickle.POP_MARK + self.get(self.memo[id(obj)][0]))
            return
        self.write(pickle.FROZENSET)
        self.memoize(obj)

    def _appended(self, items: Iterable[Any]) -> Saving:
        for batch in _batches(items):
            if len(batch) == 1:
                yield batch[0]
                self.write(pickle.APPEND)
            else:
                self.write(pickle.MARK)
                yield from batch
                self.write(pickle.APPENDS)

    def _set(self, pairs: Iterable[tuple[Any, Any]]) -> Saving:
        for batch in _batches(pairs):
            if len(batch) > 1:
                self.write(pickle.MARK)
            for key, value in batch:
                yield key
                yield value
            self.write(pickle.SETITEM if len(batch) == 1 else pickle.SETITEMS)


CONTAINERS: dict[type, Callable[[Any, Any], Saving]] = {
    tuple: Deep._tuple,
    list: Deep._list,
    dict: Deep._dict,
    set: Deep._set_of,
    frozenset: Deep._frozenset,
}


def _batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    rest = iter(items)
    while batch := list(islice(rest, _BATCH)):
        yield batch


# dill, when it is imported, adds to the pickler of the standard library what opens files again, copies modules and more.
DISPATCH: dict[type, Callable[..., None]] = {
    **{cls: save for cls, save in pickle._Pickler.dispatch.items() if save.__module__ == pickle.__name__},
    FunctionType: pickle._Pickler.save_global,  # type: ignore[attr-defined]
    type: pickle._Pickler.save_type,  # type: ignore[attr-defined]
    dict: pickle._Pickler.save_dict,  # type: ignore[attr-defined]
}


class Pickler(Deep, pickle._Pickler):
    """As `pickle.Pickler`, at any depth up to DEPTH_MAX, where it raises RecursionError."""

    dispatch = DISPATCH


def dumps(value: object) -> bytes:
    """As `pickle.dumps`, at any depth."""
    try:
        return pickle.dumps(value, PROTOCOL)
    except RecursionError:
        file = io.BytesIO()
        Pickler(file, PROTOCOL).dump(value)
        return file.getvalue()
