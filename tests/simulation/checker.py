"""Whether a recorded history has an explanation: linearizability, and exactly once.

A history is what callers saw: for each operation who asked for what, when, and when which answer
came. It is linearizable if each operation can be given one instant between its call and its
answer so that a single object, obeying in the order of those instants, gives the answers that
were seen. An operation without a known outcome may have taken effect at any time after its call,
or never.

The search is Wing and Gong's with Lowe's memory of configurations. It walks along the calls and
answers in time order; an answer is passed only by configurations in which its operation has been
given its instant, and instants are given as late as possible: when an answer asks for one. A
configuration is the place, the operations under way that have had their instant, and the object's
state; none is looked at twice. Some things keep their number small, and none costs completeness:

* an operation that changes nothing gets its instant as soon as its answer is right, for it can't
  be in anybody's way;
* of operations under way with the same effect, the one that answers first goes first, for the
  others can do later whatever it could; one with unknown outcome has all the time there is;
* values of which no answer says anything are one value;
* a configuration is passed over if one was looked at that differs only in having used fewer of the
  operations with unknown outcome: these need never be used;
* reads with unknown outcome are left out: they say nothing and do nothing.

A key is an object of its own, so each has a search of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

CONFIGURATIONS_MAX = 3_000_000
SHOWN = 12
_UNSPOKEN = "a value of which no answer speaks"


class Operation(NamedTuple):
    """One call as its caller saw it; the first of args is the key.

    response_ns is None when the outcome is unknown. Times are of one monotonic clock, in ns.
    """

    process: int
    op: str
    args: tuple[Any, ...]
    invoke_ns: int
    response_ns: int | None
    result: Any = None

    def __str__(self) -> str:
        arguments = ", ".join(map(repr, self.args))
        answered = "unknown" if self.response_ns is None else f"{self.result!r} at {self.response_ns / 1e9:.6f} s"
        return f"process {self.process}: {self.op}({arguments}) at {self.invoke_ns / 1e9:.6f} s -> {answered}"


State = Hashable
Step = Callable[[State, Operation], "tuple[bool, State]"]


class Model(NamedTuple):
    """An object: what it is at first, and what an operation does to it."""

    name: str
    first: State
    step: Step
    """(state, operation) -> (whether the answer that was seen fits, the state afterwards)."""
    reads: Callable[[Operation], bool]
    """Whether the operation, if its answer fits, leaves every state as it is."""
    plain: Callable[[Sequence[Operation]], list[Operation]]
    """The same history, with values that no answer speaks of made one."""


def _register_step(state: State, operation: Operation) -> tuple[bool, State]:
    if operation.op == "read":
        return operation.result == state, state
    if operation.op == "write":
        return True, operation.args[1]
    _, expected, value = operation.args[:3]
    swaps = state == expected
    if operation.response_ns is None:
        # That it failed explains nothing that its never having happened does not.
        return swaps, value
    return swaps == operation.result, value if swaps else state


def _register_plain(operations: Sequence[Operation]) -> list[Operation]:
    spoken_of: set[Any] = set()
    for operation in operations:
        if operation.op == "compare_and_set":
            spoken_of.add(operation.args[1])
        elif operation.op == "read" and operation.response_ns is not None:
            spoken_of.add(operation.result)
    plain = []
    for operation in operations:
        if operation.op != "read" and operation.args[-1] not in spoken_of:
            operation = operation._replace(args=(*operation.args[:-1], _UNSPOKEN))
        plain.append(operation)
    return plain


def _counter_step(state: State, operation: Operation) -> tuple[bool, State]:
    assert isinstance(state, int)
    if operation.op == "get":
        return operation.result == state, state
    total = state + operation.args[1]
    return operation.response_ns is None or operation.result is None or operation.result == total, total


REGISTER = Model(
    "register",
    None,
    _register_step,
    lambda operation: operation.op == "read" or (operation.op == "compare_and_set" and operation.result is False),
    _register_plain,
)
"""read(key), write(key, value), compare_and_set(key, expected, value) -> bool; None at first."""

COUNTER = Model(
    "counter",
    0,
    _counter_step,
    lambda operation: operation.op == "get",
    list,
)
"""get(key), add(key, amount, ...) -> the new total (None: not known); 0 at first."""

MODELS = {"read": REGISTER, "write": REGISTER, "compare_and_set": REGISTER, "get": COUNTER, "add": COUNTER}


class Undecided(Exception):
    """The search was given up: the history is too entangled for CONFIGURATIONS_MAX configurations."""


def linearizable(history: Iterable[Operation]) -> list[str]:
    """What is wrong with a history: for each key that no order explains, a text; [] if all is well.

    Raises:
        Undecided: a key's search was given up.
    """
    keys: dict[tuple[str, Any], list[Operation]] = {}
    for operation in history:
        keys.setdefault((MODELS[operation.op].name, operation.args[0]), []).append(operation)
    wrong = []
    for (name, key), operations in keys.items():
        stuck = _search(operations, REGISTER if name == REGISTER.name else COUNTER)
        if stuck is not None:
            wrong.append(f"{name} {key!r} is not linearizable: no order of its operations explains\n" + stuck)
    return wrong


class _Event(NamedTuple):
    told: Operation
    operation: Operation
    """The same, made plain."""
    effect: Hashable
    """Operations of equal effect can stand for each other."""
    slot: int
    """A bit that no other operation under way has."""
    answer: bool


def _events(operations: Sequence[Operation], model: Model) -> tuple[list[_Event], int]:
    """Calls and answers in time order, and how many of the lowest bits are of operations with unknown outcome.

    At equal times calls come first: the operations then overlap.
    """
    moments: list[tuple[int, int, int]] = []
    for number, operation in enumerate(operations):
        if operation.response_ns is None:
            if not model.reads(operation):
                moments.append((operation.invoke_ns, 0, number))
            continue
        assert operation.invoke_ns <= operation.response_ns, "an answer does not come before its question"
        moments += [(operation.invoke_ns, 0, number), (operation.response_ns, 1, number)]
    moments.sort()
    plain = model.plain(operations)
    events = []
    slots: dict[int, int] = {}
    free: list[int] = []
    unknown = sum(operation.response_ns is None for operation in operations)
    of_unknown = iter(range(unknown))
    for _, answer, number in moments:
        if answer:
            slot = slots.pop(number)
            free.append(slot)
        elif operations[number].response_ns is None:
            slot = 1 << next(of_unknown)
        else:
            slot = slots[number] = free.pop() if free else 1 << unknown + len(slots)
        effect = plain[number].op, plain[number].args[1:], plain[number].result
        events.append(_Event(operations[number], plain[number], effect, slot, bool(answer)))
    return events, unknown


def _search(operations: Sequence[Operation], model: Model) -> str | None:
    """None if an order explains the operations, otherwise a text about the first that none explains."""
    events, bits = _events(operations, model)
    # For each answer, those under way when it comes: what answers soonest is tried first, the unknown last.
    under_way: list[tuple[_Event, ...]] = []
    now: list[_Event] = []
    for event in events:
        if event.answer:
            order = sorted(now, key=lambda each: _or_never(each.operation.response_ns))
            under_way.append(tuple(order))
            now = [each for each in now if each.slot != event.slot]
        else:
            now.append(event)
            under_way.append(())
    visited: dict[tuple[int, int, State], list[int]] = {}
    looked_at = 0
    furthest = 0
    stack: list[Iterator[tuple[int, int, State]]] = [iter([(0, 0, model.first)])]
    while stack:
        following = next(stack[-1], None)
        if following is None:
            stack.pop()
            continue
        place, done, state = following
        while place < len(events):
            event = events[place]
            if event.answer:
                if not done & event.slot:
                    for other in under_way[place]:
                        operation = other.operation
                        if not done & other.slot and operation.response_ns is not None and model.reads(operation):
                            if model.step(state, operation)[0]:
                                done |= other.slot
                    if not done & event.slot:
                        break
                done &= ~event.slot
            place += 1
        else:
            return None
        furthest = max(furthest, place)
        used = done & (1 << bits) - 1
        known = visited.setdefault((place, done >> bits, state), [])
        if any(fewer & used == fewer for fewer in known):
            continue
        looked_at += 1
        if looked_at > CONFIGURATIONS_MAX:
            raise Undecided(f"{len(operations)} operations of {model.name} {operations[0].args[0]!r}: search given up")
        known[:] = [other for other in known if other & used != used]
        known.append(used)
        stack.append(_choices(under_way[place], place, done, state, model))
    return _text(events, furthest)


def _choices(
    under_way: Iterable[_Event], place: int, done: int, state: State, model: Model
) -> Iterator[tuple[int, int, State]]:
    tried: set[Hashable] = set()
    for event in under_way:
        if done & event.slot or event.effect in tried:
            continue
        tried.add(event.effect)
        if event.operation.response_ns is not None and model.reads(event.operation):
            # The walk has given it its instant if its answer is right.
            continue
        fits, following = model.step(state, event.operation)
        if fits:
            yield place, done | event.slot, following


def _or_never(response_ns: int | None) -> float:
    return math.inf if response_ns is None else response_ns


def _text(events: Sequence[_Event], furthest: int) -> str:
    stuck = events[furthest].told
    # What answered just before says most about the state that the answer does not fit.
    before = [event.told for event in events[:furthest] if event.answer][-SHOWN:]
    unknown = [event.told for event in events[:furthest] if event.told.response_ns is None][-SHOWN:]
    lines = [f"  {stuck}", "answered before it:", *(f"  {each}" for each in before)]
    return "\n".join([*lines, "unknown by then:", *(f"  {each}" for each in unknown)] if unknown else lines)


def exactly_once(history: Iterable[Operation], applied: Sequence[str], op: str = "add") -> list[str]:
    """What is wrong with the deposits a node has, by the last argument of each, which is its own.

    One acknowledged is there once, one of unknown outcome at most once, nothing else is there, and
    one that was acknowledged before another was asked for stands before it.

    Args:
        history: operations; those that are not `op` are passed over.
        applied: the deposits in the order in which the node applied them.
    """
    asked = {operation.args[-1]: operation for operation in history if operation.op == op}
    wrong = []
    times: dict[str, int] = {}
    latest: Operation | None = None
    for deposit in applied:
        times[deposit] = times.get(deposit, 0) + 1
        operation = asked.get(deposit)
        if operation is None:
            wrong.append(f"deposit {deposit!r} is there and nobody made it")
            continue
        if latest is not None and operation.response_ns is not None and operation.response_ns < latest.invoke_ns:
            wrong.append(f"deposit out of order: {operation}\n  stands after {latest}")
        if latest is None or operation.invoke_ns > latest.invoke_ns:
            latest = operation
    for deposit, operation in asked.items():
        found = times.get(deposit, 0)
        if found > 1:
            wrong.append(f"deposit applied {found} times: {operation}")
        elif not found and operation.response_ns is not None:
            wrong.append(f"acknowledged deposit is missing: {operation}")
    return wrong
