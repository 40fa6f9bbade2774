"""Each structure passes the tests of the built-in that it is named after: CPython's own, imported from the interpreter.

Where the interpreter does not ship its ``test`` package (Debian's), they are skipped. ``NOT_PASSED`` says which tests can't pass, and why.
A test of the list that passes all the same is an error, so that the list stays true.
"""

from __future__ import annotations

import queue
import sys
from pathlib import Path
from typing import Any

import pytest
from batteries.opened import memory_system
from cpython import EVERY, SHORTER_BARRIER, module_of, outcomes

from coopy.batteries import Barrier, Deque, Dict, List, PriorityQueue, Queue, Set, handle
from coopy.batteries.waiting import QueueHandle


class _Opened:
    """Makes what a program holds of a queue: a handle of a system, whose class some tests ask for by its name."""

    def __init__(self, kind: type) -> None:
        self._handle = type(kind.__name__, (QueueHandle,), {})
        self._kind = kind

    def __call__(self, *args: Any) -> Any:
        return self._handle(memory_system(self._kind(*args)))


def open_barrier(parties: int, action: Any = None, timeout: Any = None) -> Any:
    """Returns what a program holds of a barrier."""
    return handle(memory_system(Barrier(parties)))


LONG = (
    "test_references",
    "test_gc_doesnt_blowup",
    "test_long_steadystate_queue_popleft",
    "test_long_steadystate_queue_popright",
)
"""Tests that take seconds each, and are run with COOPY_CONTRACTS=1."""

COPY = "what is read out is a copy, or frozen, and never the very object that was put in"
SIZE = "it measures the C structure of the built-in"
REVERSED = "it makes an object of the type of reversed(), which has no constructor of that kind here"
NOT_PASSED: dict[str, dict[str, str]] = {
    "List": {"test_remove": COPY},
    "Dict": {"test_setdefault": "it changes in place what setdefault() returned, which is frozen"},
    "Set": {
        "test_cyclical_repr": "it takes the name of the class from repr(), which is that of a plain set here",
        "test_deepcopy": COPY,
        "test_do_not_rehash_dict_keys": "it counts how often C code asks for a hash",
    },
    "Barrier": {
        "test_action": "the last to arrive lets the others go in the same action, so nothing can be done before they go",
        "test_repr": "it is the repr() of threading.Barrier",
    },
    "Deque": {
        "test_deepcopy": COPY,
        "test_pickle_recursive": COPY,
        "test_remove": COPY,
        "test_sizeof": SIZE,
        "test_reversed_new": REVERSED,
    },
}

NOT_RUN = ("test_shutdown", "test_default_timeout")
"""How the names begin of tests that would wait, for ever or for half a minute: those of `queue.Queue.shutdown` of Python 3.13, which of a system is
the control that closes it, and that of a time limit of the barrier itself, which its handle has with each `wait`."""

_SETS = (
    "TestBasicOpsEmpty TestBasicOpsSingleton TestBasicOpsTuple TestBasicOpsTriple TestBasicOpsString TestBasicOpsBytes "
    "TestBasicOpsMixedStringBytes TestExceptionPropagation TestSetOfSets TestBinaryOps TestUpdateOps TestMutate TestSubsetEqualEmpty "
    "TestSubsetEqualNonEmpty TestSubsetEmptyNonEmpty TestSubsetPartial TestSubsetNonOverlap TestOnlySetsNumeric TestOnlySetsDict "
    "TestOnlySetsOperator TestOnlySetsTuple TestOnlySetsString TestOnlySetsGenerator TestCopyingEmpty TestCopyingSingleton "
    "TestCopyingTriple TestCopyingTuple TestCopyingNested TestIdentities TestVariousIteratorArgs TestGraphs"
).split()
_MUTATING = {
    "TestMethodsMutating_Set_Dict": {"constructor1": Set, "constructor2": dict.fromkeys},
    "TestMethodsMutating_Set_Set": {"constructor1": Set, "constructor2": Set},
    "TestMethodsMutating_Set_List": {"constructor1": Set, "constructor2": list},
}
Case = tuple[str, str, str, dict[str, Any], dict[str, Any]]
CASES: list[Case] = [
    # The structure, the module, the class, what the class is given, and what the module is given in the place of its globals.
    ("List", "test.list_tests", "CommonTest", {"type2test": List}, {}),
    ("Dict", "test.mapping_tests", "BasicTestMappingProtocol", {"type2test": Dict}, {}),
    ("Dict", "test.mapping_tests", "TestMappingProtocol", {"type2test": Dict}, {}),
    ("Dict", "test.mapping_tests", "TestHashMappingProtocol", {"type2test": Dict}, {}),
    ("Set", "test.test_set", "TestSet", {"thetype": Set, "basetype": Set}, {}),
    *(("Set", "test.test_set", name, {}, {"set": Set}) for name in _SETS),
    *(("Set", "test.test_set", name, given, {"set": Set}) for name, given in _MUTATING.items()),
    ("Deque", "test.test_deque", "TestBasic", {}, {"deque": Deque}),
    ("Deque", "test.test_deque", "TestVariousIteratorArgs", {}, {"deque": Deque}),
    ("Deque", "test.test_deque", "TestSequence", {"type2test": Deque}, {}),
    ("Queue", "test.test_queue", "BaseQueueTestMixin", {"type2test": _Opened(Queue), "queue": queue}, {}),
    ("Queue", "test.test_queue", "BaseSimpleQueueTest", {"type2test": _Opened(Queue), "queue": queue}, {}),
    ("Barrier", "test.lock_tests", "BarrierTests", {"barriertype": staticmethod(open_barrier), **SHORTER_BARRIER}, {}),
    ("PriorityQueue", "test.test_queue", "BaseQueueTestMixin", {"type2test": _Opened(PriorityQueue), "queue": queue}, {}),
]


_known: dict[int, dict[str, str]] = {}


def said_by(case: Case) -> dict[str, str]:
    """Returns, by test of one class, what it says: nothing if it passed. They are run once."""
    number = CASES.index(case)
    if number not in _known:
        _known[number] = outcomes(*case[1:], left_out=NOT_RUN if EVERY else NOT_RUN + LONG)
    return _known[number]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[2]}")
def test_a_structure_passes_the_tests_of_the_builtin_it_is_named_after(case: Case) -> None:
    known = NOT_PASSED.get(case[0], {})
    for test, text in said_by(case).items():
        if test in known and (text or case[2] in FIRST):
            assert text, f"{test} passes by now: take it from NOT_PASSED"
        else:
            assert not text, f"{case[2]}.{test}\n{text}"


FIRST = {"TestSet", "TestBasic", "TestMappingProtocol"}
"""The classes whose tests must not pass if they are on the list: elsewhere a test may have the same name as one that can't."""


def test_the_guide_names_each_test_that_can_not_pass() -> None:
    guide = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "batteries.md").read_text()
    for tests in NOT_PASSED.values():
        for test in tests:
            assert f"`{test}`" in guide, test
    assert "`test_shutdown_...`" in guide and "`test_default_timeout`" in guide


# -- the list in the guide


def table() -> list[str]:
    """Returns the lines of the guide: for each structure and module, how many tests passed, and which did not. Classes that are not there are left out."""
    found: dict[tuple[str, str], list[tuple[str, bool]]] = {}
    classes: dict[tuple[str, str], set[str]] = {}
    for case in CASES:
        try:
            said = said_by(case)
        except pytest.skip.Exception:
            continue
        found.setdefault(case[:2], []).extend((test, not text) for test, text in said.items())
        classes.setdefault(case[:2], set()).add(case[2])
    lines = ["| of | tests | passed | not passed |", "| --- | --- | --: | --- |"]
    for (name, module), tests in found.items():
        several = sorted(classes[name, module])
        which = f"`{several[0]}`" if len(several) == 1 else f"{len(several)} classes"
        failed = ", ".join(f"`{test}`" for test in sorted({test for test, is_passed in tests if not is_passed}))
        lines.append(f"| `{name}` | `{module}`, {which} | {sum(passed for _, passed in tests)} | {failed} |")
    return lines


MADE_WITH = (3, 11)
"""The Python that the list in the guide was made with; others have more tests, or fewer."""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(
    sys.version_info[:2] != MADE_WITH or EVERY, reason="the list was made with another Python, or without the long ones"
)
def test_the_guide_has_the_list_of_what_passed() -> None:
    module_of("test.list_tests")
    guide = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "batteries.md").read_text()
    assert "\n".join(table()) in guide, "\n".join(table())
