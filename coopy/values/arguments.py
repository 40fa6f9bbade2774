"""What an argument becomes that pickle can't keep, though all that it is about can be kept.

An iterator is run to its end before its call is recorded, and the method gets an iterator over what came out of it. A view of a dict
becomes a list: a method may keep what it is given, and a state that holds a view can't be written. A traceback belongs to the frames of a process, and becomes None. An exception whose class
has an ``__init__`` of its own gets its args and attributes back without a call of that.

Records name no function of this module: what is here may move.
"""

from __future__ import annotations

import collections
import copyreg
import itertools
from collections.abc import Callable, Iterable
from types import GeneratorType, TracebackType
from typing import Any

from coopy.errors import EncodingError

ITEMS_MAX = 10_000_000
"""Of an iterator of an argument. One that never ends is refused then, a second later, and not waited for."""

_ENDLESS = frozenset({itertools.count, itertools.cycle, itertools.repeat})
_dict: dict[Any, Any] = {}
_deque: Any = collections.deque()
_ITERATED: list[Any] = [
    [],
    (),
    set(),
    "",
    "\u00e9",
    b"",
    bytearray(),
    range(0),
    range(1 << 70),
    _deque,
    collections.OrderedDict(),
]
_ITERATED += [_dict, _dict.values(), _dict.items()]
_REVERSED: list[Any] = [[], range(0), _deque, collections.OrderedDict(), _dict, _dict.values(), _dict.items()]
_NAMED: tuple[type, ...] = (GeneratorType, map, filter, zip, enumerate, reversed, type(iter(int, 0)))
ITERATORS: frozenset[type] = (
    frozenset(_NAMED)
    | frozenset(type(iter(each)) for each in _ITERATED)
    | frozenset(type(reversed(each)) for each in _REVERSED)
    | frozenset(each for each in vars(itertools).values() if isinstance(each, type) and hasattr(each, "__next__"))
) - _ENDLESS
"""The types of Python's own iterators. An iterator of another class may be a part of somebody's state, and is kept as one."""


OTHERS = ITERATORS | {TracebackType}
"""The types of arguments in the place of which `run_to_the_end` has others."""


def run_to_the_end(args: Iterable[Any]) -> tuple[Any, ...]:
    """Returns arguments with an iterator over what it yields in the place of each iterator, and None in that of a traceback.

    Raises `EncodingError` if one has no end, and what an iterator raises.
    """
    return tuple(map(_otherwise, args))


def _otherwise(value: Any) -> Any:
    if type(value) is TracebackType:
        return None
    return iter(_all_of(value)) if type(value) in ITERATORS else value


def _all_of(iterator: Any) -> list[Any]:
    found = list(itertools.islice(iterator, ITEMS_MAX + 1))
    if len(found) > ITEMS_MAX:
        raise EncodingError(
            f"an argument is an iterator ({type(iterator).__qualname__}) with more than {ITEMS_MAX:,} items. An iterator is run to its end "
            f"before its call is recorded. Nothing was recorded and nothing has changed. Pass what the method needs of it, such as "
            f"list(itertools.islice(iterator, n))."
        )
    return found


def _list_of(view: Iterable[Any]) -> Any:
    return list, (list(view),)


REDUCERS: dict[type, Callable[[Any], Any]] = {}
_mappings: list[Any] = [{}, collections.OrderedDict()]
for _of in _mappings:
    REDUCERS |= dict.fromkeys((type(_of.keys()), type(_of.values()), type(_of.items())), _list_of)


def reducers() -> dict[type, Callable[[Any], Any]]:
    """Returns the table of a pickler: what is registered with `copyreg`, and what is said here."""
    return {**copyreg.dispatch_table, **REDUCERS}


def reduced_exception(error: BaseException) -> Any:
    """Returns what a pickler's ``reducer_override`` says of an exception: it is restored without its ``__init__``, as other objects are."""
    return copyreg.__newobj__, (type(error), *error.args), error.__dict__ or None  # type: ignore[attr-defined]
