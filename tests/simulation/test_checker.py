"""The checker itself: what it must accept, what it must refuse, and that it agrees with trying every order."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulation import checker
from simulation.checker import COUNTER, MODELS, REGISTER, Operation, Undecided, exactly_once, linearizable


def told(*lines: str) -> list[Operation]:
    """A history in words: "who from to op args... -> result"; to "?" is unknown."""
    history = []
    for line in lines:
        asked, _, answer = line.partition("->")
        who, start, end, op, *args = asked.split()
        values = tuple(None if each == "None" else int(each) for each in args)
        words: dict[str, object] = {"": None, "None": None, "True": True, "False": False}
        result = words[answer.strip()] if answer.strip() in words else int(answer)
        ended = None if end == "?" else int(end)
        history.append(Operation(int(who), op, ("k", *values), int(start), ended, result))
    return history


FINE = {
    "an empty history": (),
    "one after the other": ("0 0 1 write 1", "1 2 3 read -> 1", "0 4 5 compare_and_set 1 2 -> True", "1 6 7 read -> 2"),
    "overlapping reads that see old and new": ("0 0 9 write 1", "1 1 2 read -> None", "2 3 4 read -> 1"),
    "two writes under way, read either way": ("0 0 9 write 1", "1 0 9 write 2", "2 1 2 read -> 2", "2 3 4 read -> 1"),
    "a read that answers before the write it sees": ("0 0 9 write 1", "1 1 2 read -> 1"),
    "an unknown write that took effect late": (
        "0 0 ? write 1",
        "1 2 3 write 2",
        "1 4 5 read -> 2",
        "1 6 7 read -> 1",
    ),
    "an unknown write that never did": ("0 0 ? write 1", "1 2 3 read -> None"),
    "an unknown swap that did": ("0 0 1 write 1", "0 2 ? compare_and_set 1 2", "1 5 6 read -> 2"),
    "a swap refused because of an unknown write that nobody read": (
        "0 0 1 write 1",
        "0 2 ? write 7",
        "1 5 6 compare_and_set 1 2 -> False",
    ),
    "an unknown read": ("0 0 1 write 1", "1 2 ? read", "0 3 4 read -> 1"),
    "adds under way": ("0 0 9 add 1 -> 3", "1 0 9 add 2 -> 2", "2 1 2 get -> 2", "2 10 11 get -> 3"),
    "an unknown add that took effect late": ("0 0 ? add 5", "1 1 2 get -> 0", "1 3 4 add 1 -> 1", "1 5 6 get -> 6"),
    "adds whose totals nobody learned": ("0 0 9 add 1", "1 0 9 add 2", "2 10 11 get -> 3"),
    "touching at one instant": ("0 0 5 write 1", "1 5 6 read -> None"),
}
WRONG = {
    "a stale read": ("0 0 1 write 1", "0 2 3 write 2", "1 4 5 read -> 1"),
    "a read that goes back": ("0 0 9 write 1", "1 1 2 read -> 1", "2 3 4 read -> None"),
    "a value nobody wrote": ("0 0 1 write 1", "1 2 3 read -> 3"),
    "two swaps of one value": (
        "0 0 1 write 1",
        "1 2 9 compare_and_set 1 2 -> True",
        "2 2 9 compare_and_set 1 3 -> True",
    ),
    "a swap refused for no reason": ("0 0 1 write 1", "1 2 3 compare_and_set 1 2 -> False"),
    "an unknown write that took effect twice": (
        "0 0 ? write 1",
        "1 2 3 read -> 1",
        "1 4 5 write 2",
        "1 6 7 read -> 2",
        "1 8 9 read -> 1",
    ),
    "an unknown write seen before it was asked for": ("1 0 1 read -> 1", "0 2 ? write 1"),
    "a lost update": ("0 0 1 add 1 -> 1", "1 2 3 add 1 -> 1", "0 4 5 get -> 1"),
    "a lost acknowledged add": ("0 0 1 add 1", "1 2 3 get -> 0"),
    "a doubled add": ("0 0 1 add 5 -> 5", "1 2 3 get -> 10"),
    "a doubled unknown add": ("0 0 ? add 5", "1 2 3 get -> 5", "1 4 5 get -> 10"),
    "a lone get that sees half": ("0 0 1 add 2 -> 2", "1 2 3 add 4 -> 6", "0 4 5 get -> 4"),
}


@pytest.mark.parametrize("lines", FINE.values(), ids=FINE)
def test_a_history_that_an_order_explains_is_accepted(lines: Sequence[str]) -> None:
    assert linearizable(told(*lines)) == []


@pytest.mark.parametrize("lines", WRONG.values(), ids=WRONG)
def test_a_history_that_no_order_explains_is_refused(lines: Sequence[str]) -> None:
    assert len(linearizable(told(*lines))) == 1


def test_the_answer_that_nothing_explains_is_named() -> None:
    (text,) = linearizable(told("0 0 1 write 1", "0 2 3 write 2", "1 4 5 read -> 1", "1 6 7 read -> 2"))
    assert "register 'k' is not linearizable" in text
    assert "process 1: read('k') at 0.000000 s -> 1" in text.splitlines()[1]


def test_keys_are_objects_of_their_own() -> None:
    history = [
        Operation(0, "write", ("a", 1), 0, 1),
        Operation(0, "read", ("b",), 2, 3, None),
        Operation(0, "get", ("a",), 4, 5, 0),
        Operation(0, "read", ("b",), 6, 7, 1),
    ]
    (text,) = linearizable(history)
    assert "register 'b'" in text


def any_order_explains(history: Sequence[Operation]) -> bool:
    """By the definition: every subset of the unknown, in every order."""
    model = MODELS[history[0].op] if history else REGISTER
    known = [each for each in history if each.response_ns is not None]
    unknown = [each for each in history if each.response_ns is None and not model.reads(each)]
    for count in range(len(unknown) + 1):
        for some in itertools.combinations(unknown, count):
            for order in itertools.permutations([*known, *some]):
                if _fits(order, model):
                    return True
    return False


def _fits(order: Sequence[Operation], model: checker.Model) -> bool:
    state, latest = model.first, -1
    for operation in order:
        latest = max(latest, operation.invoke_ns)
        if operation.response_ns is not None and operation.response_ns < latest:
            return False
        fits, state = model.step(state, operation)
        if not fits:
            return False
    return True


@st.composite
def histories(draw: st.DrawFn, ops: Sequence[str]) -> list[Operation]:
    history = []
    value = st.integers(1, 3)
    for process in range(draw(st.integers(1, 6))):
        op = draw(st.sampled_from(ops))
        start = draw(st.integers(0, 12))
        end = draw(st.one_of(st.none(), st.integers(start, start + 8)))
        count = {"read": 0, "get": 0, "write": 1, "add": 1, "compare_and_set": 2}[op]
        args = tuple(draw(value) for _ in range(count))
        result: object = None
        if end is not None:
            result = draw(
                {
                    "read": st.one_of(st.none(), value),
                    "get": st.integers(0, 6),
                    "write": st.none(),
                    "compare_and_set": st.booleans(),
                    "add": st.one_of(st.none(), st.integers(1, 6)),
                }[op]
            )
        history.append(Operation(process, op, ("k", *args), start, end, result))
    return history


@pytest.mark.parametrize("ops", [("read", "write", "compare_and_set"), ("get", "add")], ids=["register", "counter"])
def test_the_search_agrees_with_trying_every_order(ops: Sequence[str]) -> None:
    verdicts = set()

    @settings(max_examples=400, deadline=None, derandomize=True, database=None)
    @given(histories(ops))
    def agree(history: list[Operation]) -> None:
        verdict = any_order_explains(history)
        verdicts.add(verdict)
        assert (linearizable(history) == []) == verdict

    agree()
    assert verdicts == {True, False}


def a_long_history(chance: random.Random, model: checker.Model, count: int, processes: int = 10) -> list[Operation]:
    """What an object really answers to that many callers at once, some of whom never learn the outcome."""
    state = model.first
    history = []
    free = [0] * processes
    for _ in range(count):
        process = free.index(min(free))
        invoke = free[process] + chance.randrange(1, 20)
        instant = invoke + chance.randrange(0, 100)
        history.append((instant, process, invoke, instant + chance.randrange(0, 100), chance.random() < 0.02))
        free[process] = history[-1][3]
    seen: list[Operation] = []
    for number, (_, process, invoke, response, unknown) in enumerate(sorted(history)):
        op: str
        args: tuple[object, ...]
        if model is COUNTER:
            op, args = chance.choice([("get", ()), ("add", (chance.randrange(1, 9),))])
        else:
            expected = state if chance.random() < 0.7 else number - 3
            op, args = chance.choice([("read", ()), ("write", (number,)), ("compare_and_set", (expected, number))])
        asked = Operation(process, op, ("k", *args), invoke, None)
        result: object = state
        if op == "compare_and_set":
            result = state == args[0]
        happened = not unknown or chance.random() < 0.5
        if happened and op not in ("read", "get"):
            fits, following = model.step(state, asked)
            state = following if fits else state
            result = state if op == "add" else None if op == "write" else result
        seen.append(asked if unknown else asked._replace(response_ns=response, result=result))
    return seen


@pytest.mark.parametrize("model", [REGISTER, COUNTER], ids=lambda model: model.name)
def test_two_thousand_operations_on_one_key_by_ten_callers_are_decided(model: checker.Model) -> None:
    history = a_long_history(random.Random(5), model, 2000)
    assert sum(each.response_ns is None for each in history) > 20
    assert linearizable(history) == []
    reads = [number for number, each in enumerate(history) if each.op in ("read", "get") and each.response_ns]
    spoilt = reads[len(reads) // 4]
    history[spoilt] = history[spoilt]._replace(result=-1)
    assert len(linearizable(history)) == 1


def test_a_search_that_grows_too_large_is_given_up_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checker, "CONFIGURATIONS_MAX", 5)
    with pytest.raises(Undecided, match="12 operations of register 'k'"):
        linearizable([*told(*(f"{n} 0 9 write {n}" for n in range(11))), *told("0 10 11 read -> 77")])


def deposit(name: str, invoke: int, response: int | None) -> Operation:
    return Operation(0, "add", ("k", 1, name), invoke, response)


MADE = [deposit("a", 0, 1), deposit("b", 2, None), deposit("c", 3, 4), Operation(1, "get", ("k",), 0, 9, 3)]


@pytest.mark.parametrize("applied", [["a", "c"], ["a", "b", "c"], ["a", "c", "b"]], ids="".join)
def test_deposits_that_are_there_as_promised_are_accepted(applied: list[str]) -> None:
    assert exactly_once(MADE, applied) == []


@pytest.mark.parametrize(
    ("applied", "words"),
    [
        (["a"], "acknowledged deposit is missing"),
        (["a", "c", "c"], "applied 2 times"),
        (["a", "b", "c", "b"], "applied 2 times"),
        (["a", "c", "d"], "nobody made it"),
        (["c", "a"], "out of order"),
        (["b", "c", "a"], "out of order"),
    ],
    ids=lambda value: "".join(value),
)
def test_deposits_that_are_not_as_promised_are_named(applied: list[str], words: str) -> None:
    wrong = exactly_once(MADE, applied)
    assert wrong and words in wrong[0]


if __name__ == "__main__":
    for seed in range(10):
        for each in (REGISTER, COUNTER):
            long = a_long_history(random.Random(seed), each, 2000)
            began = time.perf_counter()
            linearizable(long)
            print(each.name, seed, f"{time.perf_counter() - began:.3f} s")
