"""A state for people to look at: drawn as a tree, and two of them compared. It has more than 500 lines because drawing and
comparing share what a part of a state is.

Objects are their attributes, of slots and of dictionaries, without the ``_clock``
and ``_env`` that every domain is given; containers are what they hold; everything
else is its repr. Neither walk recurses, so how deep a state is does not matter.
Both call the domain's ``__repr__`` and ``__eq__`` only for what has no parts.
"""

from __future__ import annotations

import ast
import difflib
import enum
import math
import operator
import reprlib
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from coopy import UsageError
from coopy.clock import Clock
from coopy.env import Env
from coopy.ground import words
from coopy.ground.raised import or_none
from coopy.past.history import Action
from coopy.values import bound, deep

GIVEN = (Clock, Env)
_LEAVES = (int, float, complex, str, bytes, bytearray, memoryview, type(None), type, enum.Enum)
_SCALARS = frozenset({int, float, complex, bool, str, bytes, type(None)})
_CONTAINERS: tuple[tuple[Any, str, str], ...] = (
    (dict, "entry", "entries"),
    (list, "item", "items"),
    (tuple, "item", "items"),
    (deque, "item", "items"),
    (set, "member", "members"),
    (frozenset, "member", "members"),
)
_NO_REPR: Any = object.__repr__
_KEY_CHARS = 60  # A key is a part of a line; it is told from others by its beginning.
_LEAST_CHARS = 20  # In a narrower column nothing could be read.
_SHORT_ITEMS = 8  # Collections of more are drawn as branches, not in one line.
_LEVELS_MAX = 100  # The JSON of the standard library recurses.
_ALIKE_PARTS = 32
_ALIKE_ITEMS_MAX = 20_000
_MATCH_ITEMS_MAX = 2_000
_NOTHING = object()

Paint = Callable[[str, str], str]
"""Given a kind ("name", "type", "value" or "note") and a text; returns the text as it is to be shown."""

Pair = tuple[str, object]


def _plain(kind: str, text: str) -> str:
    return text


# -- what a value consists of


def attributes(value: object) -> dict[str, object]:
    """The attributes of an object by name, those of slots first; without those that every domain is given."""
    found: dict[str, object] = {}
    for base in reversed(type(value).__mro__):
        slots = vars(base).get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            name = f"_{base.__name__.lstrip('_')}{slot}" if slot.startswith("__") and not slot.endswith("__") else slot
            if name not in ("__dict__", "__weakref__"):
                try:
                    found[name] = object.__getattribute__(value, name)
                except AttributeError:
                    continue  # Not set.
    try:
        own = object.__getattribute__(value, "__dict__")
    except AttributeError:
        own = {}
    found.update(own)
    return {name: each for name, each in found.items() if not isinstance(each, GIVEN)}


def is_leaf(value: object) -> bool:
    """Whether it is one thing to a reader, whatever it is made of."""
    if isinstance(value, _LEAVES) or _is_lock(value):
        return True
    if isinstance(value, (dict, list, tuple, set, frozenset, deque, BaseException)):
        return False
    if type(value).__module__.partition(".")[0] in sys.stdlib_module_names:
        return callable(value) or not hasattr(value, "__dict__")  # A UUID, a path, a fraction have slots.
    # An array, a subclass of a date: nothing can be seen of it but its repr.
    return type(value).__repr__ is not _NO_REPR and not attributes(value)


def _is_lock(value: object) -> bool:
    """Whether it is a lock, of which a state has no more than that it is there."""
    return bound.lock_reducer(type(value)) is not None


def parts(value: object, key_chars: int = _KEY_CHARS) -> Iterator[Pair]:
    """What a value consists of, each with the step that leads to it: ``.text``, ``[3]``, or "" in a set.

    Keys are cut to about ``key_chars`` characters.
    """
    if is_leaf(value):
        return
    fields: tuple[str, ...] = getattr(type(value), "_fields", ()) if isinstance(value, tuple) else ()
    for name, each in attributes(value).items():
        yield f".{name}", each
    if isinstance(value, BaseException):
        yield ".args", value.args
    if isinstance(value, dict):
        for key, each in dict.items(value):
            yield f"[{shown(key, key_chars)}]", each
    elif fields:
        for name, each in zip(fields, tuple.__iter__(value), strict=False):  # type: ignore[arg-type]
            yield f".{name}", each
    elif isinstance(value, (list, tuple, deque)):
        for place, each in enumerate(_items(value)):
            yield f"[{place}]", each
    elif isinstance(value, (set, frozenset)):
        for each in _in_order(value):
            yield "", each


def _items(value: Any) -> Iterator[Any]:
    """The items of a list, a tuple or a deque, whatever its class makes of iteration."""
    kind: Any = next(kind for kind in (list, tuple, deque) if isinstance(value, kind))
    return iter(kind.__iter__(value))


def _in_order(value: set[Any] | frozenset[Any]) -> Iterable[Any]:
    """The members of a set in an order that is the same each time, if there are not too many for that."""
    return sorted(value, key=words.whole) if len(value) <= _ALIKE_ITEMS_MAX else value


def length_of(value: object) -> tuple[int, str] | None:
    """How many items a container has, and what they are called."""
    for kind, one, more in _CONTAINERS:
        if isinstance(value, kind):
            number = kind.__len__(value)
            return number, one if number == 1 else more
    return None


def shown(value: object, width: int) -> str:
    """The repr of a value on one line, cut to about ``width`` characters."""
    width = max(width, _LEAST_CHARS)
    if _is_lock(value):
        return f"<{type(value).__qualname__}>"  # Its repr says where in memory it is, and who holds it.
    if isinstance(value, (str, bytes, bytearray)) and len(value) > width:
        unit = "characters" if isinstance(value, str) else "bytes"
        size = f"… ({len(value):,} {unit})"
        room = max(width - len(size), 10)
        end = room
        while len(start := repr(value[:end])) > room and end > 1:
            end = end * room // len(start)
        return start + size
    text = words.whole(value, repr if is_leaf(value) else _Brief(width).repr)
    if "\n" in text:
        text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 1] + "…"


class _Brief(reprlib.Repr):
    """Does not spell out what will be cut off anyway, and shows an object that has no repr by its attributes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.maxlevel = 6
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = self.maxfrozenset = self.maxdeque = width // 2
        self.maxstring = self.maxlong = self.maxother = width

    def repr_instance(self, x: object, level: int) -> str:
        return words.shown(x, self.maxother)

    def repr_int(self, x: int, level: int) -> str:
        return words.shown(x, self.maxlong)

    def repr1(self, x: Any, level: int) -> str:
        if type(x).__repr__ is not _NO_REPR:
            return super().repr1(x, level)
        if level <= 0:
            return f"{type(x).__qualname__}(…)"
        own = islice(attributes(x).items(), self.maxlist)
        return f"{type(x).__qualname__}({', '.join(f'{name}={self.repr1(each, level - 1)}' for name, each in own)})"


def _is_short(value: object, width: int) -> bool:
    """Whether it says more on one line than on several: few items, all of them scalars."""
    length = length_of(value)
    if length is None or length[0] > _SHORT_ITEMS or attributes(value):
        return False
    plain = all(type(each) in _SCALARS for _, each in parts(value))
    return plain and len(shown(value, 2 * width)) <= width


def kind_of(value: object) -> str:
    length = length_of(value)
    return type(value).__qualname__ + (f", {length[0]:,} {length[1]}" if length else "")


# -- drawn


def tree(value: object, depth: int = 3, *, items: int = 20, width: int = 100, paint: Paint = _plain) -> Iterator[str]:
    """The lines of a drawing of a state.

    Args:
        depth: levels below the value itself that are drawn; what lies deeper is only counted.
        items: of a longer container that many are drawn, and the rest counted.
        width: characters, about, that a line is cut to.
        paint: colours a part of a line.
    """
    first_seen: dict[int, tuple[int, str]] = {id(value): (0, "")}
    yield _line("", value, width, paint)
    stack = [(_shortened(value, items), "", id(value))] if depth > 0 else []
    while stack:
        children, indent, holder = stack[-1]
        found = next(children, None)
        if found is None:
            stack.pop()
            continue
        step, child, is_last, more = found
        lead = indent + ("└─ " if is_last else "├─ ")
        if more:
            yield lead + paint("note", f"… {more:,} more")
            continue
        room = width - len(lead)
        drawn = not is_leaf(child) and not _is_short(child, room - len(step))
        if drawn and id(child) in first_seen and (not isinstance(child, (tuple, frozenset)) or _is_open(child, stack)):
            where = _where(first_seen, id(child)) or "the whole"
            word = "cycle: " if _is_open(child, stack) else ""
            head = f"{paint('name', step)}: " if step else ""
            yield f"{lead}{head}{paint('note', f'({word}the same as {where})')}"
            continue
        yield lead + _line(step, child, room, paint)
        if drawn and len(stack) < depth:
            first_seen[id(child)] = (holder, step)
            stack.append((_shortened(child, items), indent + ("   " if is_last else "│  "), id(child)))


Step = tuple[str, object, bool, int]


def _shortened(value: object, items: int) -> Iterator[Step]:
    """The parts of a value, with whether each is the last; beyond ``items``, how many there are."""
    length = length_of(value)
    total = len(attributes(value)) + isinstance(value, BaseException) + (length[0] if length else 0)
    # A line that says "1 more" takes the place of the one.
    count = total if total <= items + 1 else items
    for place, (step, child) in enumerate(islice(parts(value), count)):
        yield step, child, place == total - 1, 0
    if count < total:
        yield "", None, True, total - count


def _line(step: str, value: object, width: int, paint: Paint) -> str:
    head = f"{paint('name', step)}: " if step else ""
    if is_leaf(value) or _is_short(value, width - len(step)):
        return head + paint("value", shown(value, width - len(step) - 2))
    return head + paint("type", kind_of(value))


def _is_open(value: object, stack: list[tuple[Iterator[Step], str, int]]) -> bool:
    return any(holder == id(value) for _, _, holder in stack)


def _where(first_seen: dict[int, tuple[int, str]], wanted: int) -> str:
    steps = []
    while wanted:
        wanted, step = first_seen[wanted]
        steps.append(step or ("{}" if wanted else ""))
    return "".join(reversed(steps))


def at(value: object, path: str) -> object:
    """The part of a state that a path leads to: ``.pages['Home'][0]``. Raises `UsageError`.

    A key that is not written as a literal is looked for by its repr.
    """
    walked = ""
    for each in steps_of(path):
        if isinstance(each, ast.Attribute):
            step = f".{each.attr}"
            found = _reached(getattr, value, each.attr)
        else:
            step = f"[{_written(each.slice)}]"
            found = _item(value, each.slice)
        if not found:
            place = walked or "the state"
            raise UsageError(f"path {words.shown(path)}: there is no {step} in {place}, which is a {kind_of(value)}")
        value, walked = found[0], walked + step
    return value


def steps_of(path: str) -> list[ast.Attribute | ast.Subscript]:
    """The steps of a path, from the state on. Raises `UsageError` for what is no path."""
    text = path if path.startswith((".", "[")) or not path else f".{path}"
    try:
        node = ast.parse(f"_{text}", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise UsageError(f"path {words.shown(path)}: must be attributes and items, as in .pages['Home'].text") from None
    steps: list[ast.Attribute | ast.Subscript] = []
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        steps.append(node)
        node = node.value
    if not isinstance(node, ast.Name):
        raise UsageError(f"path {words.shown(path)}: must be attributes and items, as in .pages['Home'].text")
    return steps[::-1]


def _written(node: ast.expr) -> str:
    try:
        return ast.unparse(node)
    except ValueError:
        return "…"  # A number of thousands of digits in it.


def _item(value: Any, node: ast.expr) -> list[object]:
    """One item, or none."""
    try:
        key = ast.literal_eval(node)
    except ValueError:
        wanted = _written(node)
        return [each for step, each in parts(value) if step == f"[{wanted}]"][:1]
    # Of a dict not by way of a __missing__, which may add it.
    found = _reached(dict.get, value, key, _NOTHING) if isinstance(value, dict) else _reached(operator.getitem, value, key)
    return [each for each in found if each is not _NOTHING]


def _reached(reach: Callable[..., object], *args: object) -> list[object]:
    """What a function that looks into the state returns, or none."""
    # A property of the domain's may raise anything, and so may a __getitem__.
    found = or_none(_in_a_list, reach, *args)
    return [] if found is None else found


def _in_a_list(reach: Callable[..., object], *args: object) -> list[object]:
    return [reach(*args)]


# -- as JSON


def as_json(value: object, depth: int | None = None) -> Any:
    """A value in the types that JSON has.

    Dictionaries whose keys are texts, and lists, tuples and sets stay what they are to JSON; an object is its
    attributes, with its class as ``"(type)"``; an int of thousands of digits is a text, in hexadecimal; all else is
    its repr. Below ``depth`` levels, and in a cycle, only the kind is said.
    """
    return _as_json(value, _LEVELS_MAX if depth is None else min(depth, _LEVELS_MAX), [])


def action_as_json(each: Action) -> dict[str, Any]:
    """Returns an action in the types of JSON: ``index``, ``time``, ``method``, ``args``, ``kwargs``, ``outcome``; ``problem`` if it can't be decoded."""
    said: dict[str, Any] = {"index": each.index, "time": each.time.isoformat(), "method": each.method}
    if each.method is None:
        said["problem"] = each.problem
    else:
        said["args"] = [as_json(value) for value in each.args]
        said["kwargs"] = {name: as_json(value) for name, value in each.kwargs.items()}
    said["outcome"] = each.ended
    return said


def _as_json(value: object, depth: int, above: list[int]) -> Any:
    if type(value) is int:
        text = words.number(value)
        return value if not text.startswith(("0x", "-0x")) else text
    if value is None or type(value) in (bool, str):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else repr(value)
    if is_leaf(value):
        return words.whole(value)
    if id(value) in above:
        return f"({kind_of(value)}, a cycle)"
    if depth < 1 and not _is_short(value, _KEY_CHARS):
        return f"({kind_of(value)})"
    above.append(id(value))
    try:
        own = attributes(value)
        if isinstance(value, dict) and not own:
            texts = all(type(key) is str for key in value)
            return {key if texts else words.whole(key): _as_json(each, depth - 1, above) for key, each in dict.items(value)}
        if length_of(value) is not None and not own and not hasattr(type(value), "_fields"):
            return [_as_json(each, depth - 1, above) for _, each in parts(value)]
        steps = {step.removeprefix("."): _as_json(each, depth - 1, above) for step, each in parts(value)}
        return {"(type)": type(value).__qualname__, **steps}
    finally:
        above.pop()


# -- compared


class _Missing:
    def __repr__(self) -> str:
        return "(not there)"


MISSING = _Missing()
"""Stands for what one of two states does not have."""


class Difference(NamedTuple):
    """Where two states differ, and what each of them has there; `MISSING` for nothing."""

    path: str
    before: object
    after: object

    @property
    def kind(self) -> str:
        """ "added", "removed" or "changed"."""
        if self.before is MISSING:
            return "added"
        return "removed" if self.after is MISSING else "changed"


class _Place:
    """A path that is spelled out only when it is asked for: a state may be very deep."""

    __slots__ = ("above", "step")

    def __init__(self, above: _Place | None, step: str) -> None:
        self.above = above
        self.step = step

    def __str__(self) -> str:
        steps = []
        place: _Place | None = self
        while place is not None:
            steps.append(place.step)
            place = place.above
        return "".join(reversed(steps))


Work = tuple[_Place, object, object]


def differences(before: object, after: object) -> Iterator[Difference]:
    """What is added, removed or changed between two states, in the order of their parts.

    Dictionaries are compared by key, their order aside; sets by membership; objects by attribute; lists by
    position, where items that moved because others came or went are recognized by what they hold (in lists of
    up to 20,000 objects; beyond that only by position).
    """
    stack: list[Work] = [(_Place(None, ""), before, after)]
    seen: set[tuple[int, int]] = set()
    while stack:
        place, old, new = stack.pop()
        if old is new:
            continue
        if old is MISSING or new is MISSING or type(old) is not type(new):
            yield Difference(str(place), old, new)
        elif is_leaf(old):
            if not _equal(old, new):
                yield Difference(str(place), old, new)
        elif (id(old), id(new)) not in seen:
            seen.add((id(old), id(new)))
            work = _compared(place, old, new)
            if work is None:
                if not _equal(old, new):
                    yield Difference(str(place), old, new)
            else:
                stack.extend(reversed(work))


def _compared(place: _Place, old: Any, new: Any) -> list[Work] | None:
    """What is left to compare of two values of one class; None if they have no parts."""
    work: list[Work] = []
    olds, news = attributes(old), attributes(new)
    if isinstance(old, BaseException):
        olds["args"], news["args"] = old.args, new.args
    _by_key(work, place, olds, news, lambda name: f".{name}")
    if isinstance(old, dict):
        _by_key(work, place, dict(dict.items(old)), dict(dict.items(new)), lambda key: f"[{shown(key, _KEY_CHARS)}]")
    elif isinstance(old, (set, frozenset)):
        _by_key(work, place, dict.fromkeys(_in_order(old)), dict.fromkeys(_in_order(new)), None)
    elif isinstance(old, (list, tuple, deque)):
        fields = getattr(type(old), "_fields", ()) if isinstance(old, tuple) else ()
        if fields:
            _by_key(
                work, place, dict(zip(fields, old, strict=False)), dict(zip(fields, new, strict=False)), lambda name: f".{name}"
            )
        else:
            _by_position(work, place, list(_items(old)), list(_items(new)))
    elif not olds and not news and not hasattr(old, "__dict__"):
        return None
    return work


def _by_key(
    work: list[Work], place: _Place, olds: dict[Any, Any], news: dict[Any, Any], step: Callable[[Any], str] | None
) -> None:
    """Entries by their key; a key that has no equal is the one that holds the same. Without ``step``, keys alone."""
    matched = {key: key for key in olds if key in news}
    gone = [key for key in olds if key not in matched]
    come = [key for key in news if key not in olds]
    alike: dict[object, list[Any]] = {}
    for key in come:
        if not is_leaf(key):
            alike.setdefault(_alike(key), []).append(key)
    for key in gone:
        twins = alike.get(_alike(key)) if alike else None
        if twins:
            matched[key] = twins.pop()
    partners = set(map(id, matched.values()))
    for key, value in olds.items():
        if step is None:
            if key not in matched:
                work.append((_Place(place, "{…}"), key, MISSING))
        elif key not in matched:
            work.append((_Place(place, step(key)), value, MISSING))
        elif not _same_scalar(value, news[matched[key]]):
            work.append((_Place(place, step(key)), value, news[matched[key]]))
    for key in come:
        if id(key) not in partners:
            work.append((_Place(place, "{…}" if step is None else step(key)), MISSING, key if step is None else news[key]))


def _by_position(work: list[Work], place: _Place, olds: list[Any], news: list[Any]) -> None:
    for kind, start, end, begin, stop in _blocks(olds, news):
        common = 0 if kind in ("insert", "delete") else min(end - start, stop - begin)
        for offset in range(common):
            old, new = olds[start + offset], news[begin + offset]
            if not _same_scalar(old, new):
                work.append((_Place(place, f"[{begin + offset}]"), old, new))
        work.extend((_Place(place, f"[{index}]"), olds[index], MISSING) for index in range(start + common, end))
        work.extend((_Place(place, f"[{index}]"), MISSING, news[index]) for index in range(begin + common, stop))


def _blocks(olds: list[Any], news: list[Any]) -> Iterator[tuple[str, int, int, int, int]]:
    """Which items stand for which, as `difflib.SequenceMatcher.get_opcodes` says it."""
    size, length = len(olds), len(news)
    if size == length and (pair := _only_pair(olds, news)) is not None:
        # Nothing to choose from. Lists that lie deep in one another are looked at once, and not once for each that they lie in.
        yield "replace", pair, pair + 1, pair, pair + 1
        return
    scalars = all(type(each) in _SCALARS for each in olds) and all(type(each) in _SCALARS for each in news)
    if not scalars and max(size, length) > _ALIKE_ITEMS_MAX:
        yield "replace", 0, size, 0, length
        return
    old_keys, new_keys = list(map(_alike, olds)), list(map(_alike, news))
    start = 0
    while start < min(size, length) and old_keys[start] == new_keys[start]:
        start += 1
    end = 0
    while end < min(size, length) - start and old_keys[size - 1 - end] == new_keys[length - 1 - end]:
        end += 1
    yield "equal", 0, start, 0, start
    between, amid = old_keys[start : size - end], new_keys[start : length - end]
    if between and amid and max(len(between), len(amid)) <= _MATCH_ITEMS_MAX:
        found = difflib.SequenceMatcher(None, between, amid, autojunk=False).get_opcodes()
        moved = sum(last - first + stop - begin for kind, first, last, begin, stop in found if kind != "equal")
        if len(between) == len(amid) and moved >= sum(old != new for old, new in zip(between, amid, strict=True)):
            found = [("replace", 0, len(between), 0, len(amid))]  # Nothing came or went: they were changed in place.
        for kind, first, last, begin, stop in found:
            yield kind, start + first, start + last, start + begin, start + stop
    else:
        yield "replace", start, size - end, start, length - end
    yield "equal", size - end, size, length - end, length


def _only_pair(olds: list[Any], news: list[Any]) -> int | None:
    """The place of the only items that are not the same scalar, in two lists of one length; None if there are more, or none."""
    found = None
    for place, (old, new) in enumerate(zip(olds, news, strict=False)):
        if not _same_scalar(old, new):
            if found is not None:
                return None
            found = place
    return found


def _alike(value: object) -> object:
    """A key that values of two states share if they hold much the same; looks at a few of their parts only."""
    if type(value) in _SCALARS:
        return type(value), repr(value) if type(value) is float else value
    found: list[object] = []
    left = [value]
    while left and len(found) < _ALIKE_PARTS:
        each = left.pop()
        if type(each) in _SCALARS:
            found.append((type(each), repr(each) if type(each) is float else each))
        elif is_leaf(each):
            found.append(shown(each, 200))
        else:
            found.append(kind_of(each))
            if not isinstance(each, (set, frozenset)):
                left.extend(reversed([part for _, part in islice(parts(each), _ALIKE_PARTS)]))
    return tuple(found)


def _same_scalar(old: object, new: object) -> bool:
    kind = type(old)
    return kind is type(new) and kind in _SCALARS and kind is not float and old == new


def _equal(old: object, new: object) -> bool:
    """Whether two values of one class, that are not looked into, are the same."""
    if isinstance(old, float):
        return repr(old) == repr(new)
    if _is_lock(old):
        return True
    # An array, say, answers with an array, which is neither true nor false; what can't be pickled is shown as changed.
    return bool(or_none(_says_it_is_equal, old, new) or or_none(_is_pickled_alike, old, new))


def _says_it_is_equal(old: object, new: object) -> bool:
    return bool(old == new)


def _is_pickled_alike(old: object, new: object) -> bool:
    return deep.dumps(old) == deep.dumps(new)
