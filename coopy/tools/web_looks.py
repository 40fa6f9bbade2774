"""What can be asked of a state of the past: its tree, what it holds, how large its parts are, what an action changed.

A look is a generator. It yields the indexes of the states that it wants to see, in ascending order, is sent the machine at each, and returns
an answer in the types of JSON. The process that it runs in is its own and ends with it (`coopy.tools.web_replay`), so it may change
what it is given. Nothing here writes HTML: what is a text here is a text there.
"""

from __future__ import annotations

import ast
import copyreg
import hashlib
import io
import pickle
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any

from coopy.clock import Clock
from coopy.control import control
from coopy.env import Env
from coopy.errors import UsageError
from coopy.ground import action
from coopy.ground.raised import or_none
from coopy.opening import in_directory, open_for_tool
from coopy.spine import versions
from coopy.spine.machine import Machine
from coopy.tools import tree
from coopy.values import deep

Look = Generator[int, Machine, Any]

ITEMS = 100
"""So many parts of a container are on a page; the rest is on others."""
ROWS_MAX = 2000  # More than anybody has opened by hand; a browser draws them at once.
SHORT_ITEMS = 12  # More do not fit into a line.
WIDTH = 160  # A line of a large screen.
KEY_CHARS = 2000  # A key is a part of a path, so it is whole unless it is a document.
MARK_BYTES_MAX = 256 * 1024
"""A part that is pickled larger is compared by what can be seen of it: a drag must not wait."""
MARKS_BYTES_MAX = 4 * 1024 * 1024
"""The same for all parts of a page: some 20 ms."""
FOUND_MAX = 200  # Whoever sees so many searches for more of the word.
SEARCH_S = 2.0
"""A search ends after so many seconds, and says how far it came."""
SIZES_S = 2.0  # The same for sizes: what is left is estimated.
SAMPLE = 400
"""Of a larger container so many parts are measured, evenly spread, and the rest is taken to be like them."""
DIFFERENCES_MAX = 300  # A page that a person reads.
TASKS = 50  # A page; `coopy tasks` has all.
OURS = ("coopy.sync.", "coopy.batteries.", "coopy.messaging.")
"""Where the classes of structures are."""
_TEXT_MAX = 100_000  # Characters of one value that a page shows whole.


def look(name: str, about: dict[str, Any]) -> Look:
    """Returns the look of a name. Raises `UsageError`."""
    if name not in LOOKS:
        raise UsageError(f"{name}: nothing of the kind can be asked")
    return LOOKS[name](**about)


def _when(machine: Machine) -> dict[str, Any]:
    time_ = action.aware_time(machine.header) if machine.applied else None
    return {
        "index": machine.applied,
        "time": None if time_ is None else time_.isoformat(),
        "class": f"{type(machine.domain).__module__}:{type(machine.domain).__qualname__}",
        "version": machine.version,
    }


# -- the tree


def rows(at: int, root: str = "", start: int = 0, opened: Sequence[str] = ()) -> Look:
    """The lines of a tree: the parts of ``root``, from the ``start``-th on, and those of what is opened below it."""
    machine = yield at
    value = _reached(machine.domain, root)
    found: list[dict[str, Any]] = []
    if value is not tree.MISSING:
        _draw(found, value, root, start, 1, frozenset(opened), _Marks())
    length = tree.length_of(value)
    return {
        **_when(machine),
        "root": root,
        "there": value is not tree.MISSING,
        "kind": tree.kind_of(value),
        "text": _brief(value),
        "items": length[0] if length else 0,
        "start": start,
        "rows": found,
    }


def _reached(domain: object, path: str) -> object:
    """The part that a path leads to; `MISSING` if there is none."""
    try:
        return tree.at(domain, path)
    except UsageError:
        return tree.MISSING


def _draw(
    found: list[dict[str, Any]], value: object, path: str, start: int, depth: int, opened: frozenset[str], marks: _Marks
) -> None:
    # It calls itself as deep as a person has opened.
    parts = tree.parts(value, KEY_CHARS)
    for step, child in islice(parts, start, start + ITEMS):
        if len(found) >= ROWS_MAX:
            return
        whole = f"{path}{step}" if step and _leads(step) else None
        opens = whole is not None and not tree.is_leaf(child) and next(tree.parts(child), None) is not None
        is_open = opens and whole in opened
        found.append(
            {
                "path": whole,
                "step": step or "∈",
                "depth": depth,
                "kind": tree.kind_of(child),
                "leaf": tree.is_leaf(child),
                "text": _brief(child),
                "opens": opens,
                "open": is_open,
                "mark": marks.of(child),
            }
        )
        if is_open and whole is not None:
            _draw(found, child, whole, 0, depth + 1, opened, marks)
    length = tree.length_of(value)
    more = (length[0] if length else 0) + len(tree.attributes(value)) - start - ITEMS
    if more > 0:
        found.append({"path": path, "more": more, "next": start + ITEMS, "depth": depth, "mark": ""})


def _brief(value: object) -> str:
    """A value in a line; of a container that is not short, nothing: to show it all of it is put in order, and it may be large."""
    length = tree.length_of(value)
    return "" if length is not None and length[0] > SHORT_ITEMS else tree.shown(value, WIDTH)


def _said(value: object) -> str:
    return _brief(value) or tree.kind_of(value)


def _leads(step: str) -> bool:
    """Whether a step can be read again."""
    try:
        ast.parse(f"_{step}", mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return "…" not in step[-40:] or step[1:2] in ("'", '"')


class _Full(Exception):
    """More bytes than are looked at."""


class _Hashing(io.RawIOBase):
    def __init__(self, most: int) -> None:
        self.hash = hashlib.blake2b(digest_size=12)
        self.left = most

    def write(self, data: Any, /) -> int:
        size = memoryview(data).nbytes
        self.left -= size
        if self.left < 0:
            raise _Full
        self.hash.update(data)
        return size


class _Marks:
    """Short texts that are the same for parts that are the same, in states that one replay has made."""

    def __init__(self, each: int = MARK_BYTES_MAX, all_: int = MARKS_BYTES_MAX) -> None:
        self._each = each
        self._left = all_

    def of(self, value: object) -> str:
        """Returns the mark of a value; one that begins with "~" says no more than what can be seen at once."""
        if tree.is_leaf(value) and not isinstance(value, (str, bytes, bytearray)):
            return f"{type(value).__qualname__} {tree.shown(value, WIDTH)}"
        file = _Hashing(min(self._each, self._left))
        before = file.left
        is_whole = or_none(_pickled, value, file)
        self._left -= before - max(file.left, 0)
        return file.hash.hexdigest() if is_whole else f"~{tree.kind_of(value)} {_brief(value)}"


_REDUCERS: dict[Any, Callable[..., Any]] = {**copyreg.dispatch_table, Clock: lambda _: "Clock", Env: lambda _: "Env"}


def _pickled(value: object, file: _Hashing) -> bool:
    pickler = pickle.Pickler(file, deep.PROTOCOL)
    pickler.dispatch_table = _REDUCERS
    pickler.dump(value)
    return True


def value(at: int, path: str) -> Look:
    """One part, whole: as a text and as JSON."""
    machine = yield at
    found = tree.at(machine.domain, path)
    text = tree.shown(found, _TEXT_MAX)
    return {**_when(machine), "path": path, "kind": tree.kind_of(found), "text": text, "value": tree.as_json(found)}


# -- looked for


def search(at: int, text: str, root: str = "", names: bool = True, values: bool = True) -> Look:
    """The parts whose name or value has a text in it, whatever the case."""
    machine = yield at
    wanted = text.lower()
    found: list[dict[str, Any]] = []
    until = time.monotonic() + SEARCH_S
    looked = 0
    stack: list[tuple[Iterator[tree.Pair], str]] = [(tree.parts(tree.at(machine.domain, root), KEY_CHARS), root)]
    seen: set[int] = set()
    while stack and len(found) < FOUND_MAX and time.monotonic() < until:
        steps, above = stack[-1]
        pair = next(steps, None)
        if pair is None:
            stack.pop()
            continue
        looked += 1
        step, child = pair
        path = above + step
        leaf = tree.is_leaf(child)
        if (names and wanted in step.lower()) or (values and leaf and wanted in _searched(child)):
            found.append({"path": path, "above": above, "kind": tree.kind_of(child), "text": _brief(child)})
        if not leaf and id(child) not in seen:
            seen.add(id(child))
            stack.append((tree.parts(child, KEY_CHARS), path))
    return {**_when(machine), "text": text, "found": found, "looked": looked, "complete": not stack}


def _searched(leaf: object) -> str:
    return leaf.lower() if isinstance(leaf, str) else tree.shown(leaf, WIDTH).lower()


# -- how large


def sizes(at: int, root: str = "") -> Look:
    """How many bytes of memory each part of ``root`` takes, the largest first."""
    machine = yield at
    value_ = tree.at(machine.domain, root)
    until = time.monotonic() + SIZES_S
    seen: set[int] = {id(value_)}
    found: list[dict[str, Any]] = []
    pairs = list(islice(tree.parts(value_, KEY_CHARS), ROWS_MAX))
    length = tree.length_of(value_)
    for step, child in pairs:
        size, about = _size(child, seen, until)
        opens = not tree.is_leaf(child) and _leads(step)
        found.append(
            {"path": root + step, "step": step, "bytes": size, "about": about, "kind": tree.kind_of(child), "opens": opens}
        )
    found.sort(key=lambda each: -each["bytes"])
    left = (length[0] if length else len(pairs)) - len(pairs)
    return {**_when(machine), "root": root, "parts": found, "left": max(left, 0), "total": sum(each["bytes"] for each in found)}


def _size(whole: object, seen: set[int], until: float) -> tuple[int, bool]:
    """Bytes of a value and of all it holds that was not met before, and whether a part of that is estimated."""
    total, about = 0.0, False
    stack: list[tuple[object, float]] = [(whole, 1.0)]
    while stack:
        each, times = stack.pop()
        # Numbers are shared by chance, and nobody looks for them.
        if not isinstance(each, (int, float)):
            if id(each) in seen:
                continue
            seen.add(id(each))
        total += (or_none(sys.getsizeof, each) or 0) * times
        if tree.is_leaf(each):
            continue
        own = getattr(each, "__dict__", None)
        total += sys.getsizeof(own) * times if own else 0
        length = tree.length_of(each)
        number = length[0] if length else 0
        if number > SAMPLE or time.monotonic() > until:
            about = True
            parts = [part for _, part in islice(tree.parts(each), 0, None, max(number // SAMPLE, 1))]
            times *= max(number, 1) / max(len(parts), 1)
        else:
            parts = [part for _, part in tree.parts(each)]
        if isinstance(each, dict):
            some = list(islice(dict.keys(each), SAMPLE))
            total += sum(or_none(sys.getsizeof, key) or 0 for key in some) * times * number / max(len(some), 1) / max(times, 1)
        stack.extend((part, times) for part in parts)
    return int(total), about


# -- what changed


def diff(before: int, after: int) -> Look:
    """What is added, removed and changed between two states."""
    machine = yield before
    # The codec that has loaded the state is not at hand, and need not be: this copy is only looked at.
    old = _copied(machine.domain)
    machine = yield after
    found: list[dict[str, Any]] = []
    complete = True
    for each in tree.differences(old, machine.domain):
        if len(found) >= DIFFERENCES_MAX:
            complete = False
            break
        found.append(
            {
                "path": each.path,
                "kind": each.kind,
                "before": None if each.before is tree.MISSING else _said(each.before),
                "after": None if each.after is tree.MISSING else _said(each.after),
            }
        )
    return {**_when(machine), "before": before, "after": after, "differences": found, "complete": complete}


def _copied(domain: Any) -> Any:
    file = io.BytesIO()
    pickler = pickle.Pickler(file, deep.PROTOCOL)
    pickler.dispatch_table = {**copyreg.dispatch_table, Clock: lambda _: (Clock, ()), Env: lambda _: (Env, ())}
    pickler.dump(domain)
    return pickle.loads(file.getbuffer())


def blame(first: int, last: int, path: str) -> Look:
    """The actions after ``first``, up to ``last``, that changed a value, with what it was before and after."""
    found: list[dict[str, Any]] = []
    held, mark = _marked((yield first).domain, path)
    for index in range(first + 1, last + 1):
        machine = yield index
        now = _reached(machine.domain, path)
        if now is held and tree.is_leaf(now):
            continue
        following = "" if now is tree.MISSING else _Marks(MARK_BYTES_MAX, MARKS_BYTES_MAX).of(now)
        if following != mark:
            text = None if held is tree.MISSING else held if isinstance(held, _Shown) else _said(held)
            found.append(
                {
                    "index": index,
                    "before": text,
                    "after": None if now is tree.MISSING else _said(now),
                }
            )
        mark = following
        held = now if now is tree.MISSING or tree.is_leaf(now) else _Shown(_said(now))
    return {"path": path, "first": first, "last": last, "changes": found}


class _Shown(str):
    """What a container looked like: the container itself has changed since."""

    __slots__ = ()


def _marked(domain: object, path: str) -> tuple[object, str]:
    found = _reached(domain, path)
    if found is tree.MISSING:
        return found, ""
    mark = _Marks().of(found)
    return (found if tree.is_leaf(found) else _Shown(_said(found))), mark


def timings(first: int, last: int) -> Look:
    """How many microseconds of the processor each action took when it ran again here."""
    yield first
    took = []
    began = time.thread_time_ns()
    for index in range(first + 1, last + 1):
        yield index
        now = time.thread_time_ns()
        took.append((now - began) // 1000)
        began = time.thread_time_ns()
    return {"first": first + 1, "last": last, "us": took}


# -- tasks and locks


def things(at: int) -> Look:
    """The tasks of a queue, the locks, and the other structures of coopy's that are in a state."""
    machine = yield at
    domain = machine.domain
    tasks: list[dict[str, Any]] = []
    counts = None
    if hasattr(domain, "see_tasks"):
        counts = dict(domain.see_tasks("counts"))
        for each in domain.see_tasks("listed", "", TASKS, ""):
            error = f"{each.error[0].rpartition('.')[2]}: {each.error[1]}" if each.error else None
            tasks.append({"id": each.id, "state": each.state, "name": each.name, "error": error})
    locks: list[dict[str, Any]] = []
    structures = []
    for path, each in _structures(domain):
        if hasattr(each, "contenders") and hasattr(each, "held"):
            locks += _locks(path, each)
        structures.append({"path": path, "kind": tree.kind_of(each), "text": _said(each)})
    return {**_when(machine), "counts": counts, "tasks": tasks, "locks": locks, "structures": structures}


def _structures(domain: object) -> Iterator[tuple[str, object]]:
    until = time.monotonic() + SEARCH_S
    stack: list[tuple[str, object]] = [("", domain)]
    seen: set[int] = set()
    number = 0
    while stack and number < FOUND_MAX and time.monotonic() < until:
        path, each = stack.pop()
        if id(each) in seen or tree.is_leaf(each):
            continue
        seen.add(id(each))
        if type(each).__module__.startswith(OURS):
            number += 1
            yield path, each
            continue
        stack += [(path + step, child) for step, child in tree.parts(each, KEY_CHARS)]


def _locks(path: str, locks: Any) -> Iterator[dict[str, Any]]:
    for name, holders in islice(locks.held().items(), FOUND_MAX):
        waits = [owner for owner in locks.contenders(name) if owner not in holders]
        yield {"path": path, "name": name, "holders": list(holders), "waits": waits}


# -- taken out


def whole(at: int) -> Look:
    """The whole state as JSON."""
    machine = yield at
    return {**_when(machine), "state": tree.as_json(machine.domain)}


def branch(at: int, dest: str) -> Look:
    """Makes a new system of the state, in a directory that is not there yet."""
    machine = yield at
    said = _when(machine)
    versions.leave(machine.domain)
    control(open_for_tool("coopy web", partial(in_directory, is_quiet=True), machine.domain, dest)).close()
    return {**said, "directory": dest}


LOOKS: dict[str, Callable[..., Look]] = {
    each.__name__: each for each in (rows, value, search, sizes, diff, blame, timings, things, whole, branch)
}
