"""CPython's own tests of its types, from the interpreter's ``test`` package, with systems in the place of the objects."""

from __future__ import annotations

import array
import collections
import importlib
import os
import types
import unittest
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from transparency.opened import Outcome, opened, outcome, outcome_opened, watch


@dataclass
class Case:
    """Classes of one module of tests, and what these are given."""

    row: str
    module: str
    classes: str
    given: dict[str, Any] = field(default_factory=dict)
    replaced: dict[str, Any] = field(default_factory=dict)


def _in(module: Any, *names: str) -> types.SimpleNamespace:
    """A module in which classes open systems."""
    return types.SimpleNamespace(**{**vars(module), **{name: opened(getattr(module, name)) for name in names}})


_SETS = (
    "TestBasicOpsEmpty TestBasicOpsSingleton TestBasicOpsTuple TestBasicOpsTriple TestBasicOpsString TestBasicOpsBytes "
    "TestBasicOpsMixedStringBytes TestExceptionPropagation TestSetOfSets TestBinaryOps TestUpdateOps TestMutate TestSubsetEqualEmpty "
    "TestSubsetEqualNonEmpty TestSubsetEmptyNonEmpty TestSubsetPartial TestSubsetNonOverlap TestOnlySetsNumeric TestOnlySetsDict "
    "TestOnlySetsOperator TestOnlySetsTuple TestOnlySetsString TestOnlySetsGenerator TestCopyingEmpty TestCopyingSingleton "
    "TestCopyingTriple TestCopyingTuple TestCopyingNested TestIdentities TestVariousIteratorArgs TestWeirdBugs TestGraphs"
)
_ARRAYS = "UnicodeTest ByteTest DoubleTest MiscTest"
"""One of each kind: the other sizes of integers have the same tests."""


def cases() -> list[Case]:
    """All of them, in the order of the table."""
    of_set = opened(set)
    return [
        Case("list", "test.list_tests", "CommonTest", {"type2test": opened(list)}),
        Case("list", "test.test_list", "ListTest", {"type2test": opened(list)}, {"list": opened(list)}),
        Case("dict", "test.mapping_tests", "TestMappingProtocol TestHashMappingProtocol", {"type2test": opened(dict)}),
        Case("dict", "test.test_dict", "DictTest GeneralMappingTests", {"type2test": opened(dict)}, {"dict": opened(dict)}),
        Case("set", "test.test_set", "TestSet", {"thetype": of_set, "basetype": of_set}),
        Case("set", "test.test_set", _SETS, {}, {"set": of_set}),
        Case(
            "deque",
            "test.test_deque",
            "TestBasic TestVariousIteratorArgs TestSubclass",
            {},
            {"deque": opened(collections.deque)},
        ),
        Case("deque", "test.test_deque", "TestSequence", {"type2test": opened(collections.deque)}),
        Case("Counter", "test.test_collections", "TestCounter", {}, {"Counter": opened(collections.Counter)}),
        Case("ChainMap", "test.test_collections", "TestChainMap", {}, {"ChainMap": opened(collections.ChainMap)}),
        Case(
            "OrderedDict",
            "test.test_ordered_dict",
            "CPythonOrderedDictTests CPythonOrderedDictSubclassTests CPythonOrderedDictWithSlotsCopyingTests",
            {"OrderedDict": opened(collections.OrderedDict)},
        ),
        Case(
            "OrderedDict",
            "test.test_ordered_dict",
            "CPythonGeneralMappingTests",
            {"type2test": opened(collections.OrderedDict), "setUpClass": None},
        ),
        Case("defaultdict", "test.test_defaultdict", "TestDefaultDict", {}, {"defaultdict": opened(collections.defaultdict)}),
        Case("array", "test.test_array", _ARRAYS, {}, {"array": _in(array, "array")}),
        Case(
            "bytearray", "test.test_bytes", "ByteArrayTest", {"type2test": opened(bytearray)}, {"bytearray": opened(bytearray)}
        ),
        Case("bytearray", "test.test_bytes", "ByteArrayAsStringTest", {"type2test": opened(bytearray)}),
        Case("UserList", "test.test_userlist", "UserListTest", {"type2test": opened(collections.UserList)}),
        Case(
            "UserDict",
            "test.test_userdict",
            "UserDictTest",
            {"type2test": opened(collections.UserDict)},
            {"collections": _in(collections, "UserDict")},
        ),
        Case("UserString", "test.test_userstring", "UserStringTest", {"type2test": opened(collections.UserString)}),
    ]


def tests(case: Case) -> Iterator[tuple[str, Any]]:
    """Yields each test of a case: its name, and what makes it. Raises ImportError where the interpreter has no such module."""
    module = importlib.import_module(case.module)
    watch.roots = (os.path.dirname(importlib.import_module("test").__file__ or "") + os.sep,)
    for name in case.classes.split():
        found = getattr(module, name, None)
        if found is None:
            continue
        bases = (found,) if issubclass(found, unittest.TestCase) else (found, unittest.TestCase)
        given = {key: value for key, value in case.given.items() if value is not None}
        if "setUpClass" in case.given:
            given["setUpClass"] = classmethod(lambda cls: None)
        cls = type(name, bases, {**given, "__module__": case.module})
        for test in unittest.defaultTestLoader.getTestCaseNames(cls):
            yield f"{name}.{test}", lambda cls=cls, test=test: cls(test)


def outcomes(case: Case, only: Iterable[str] | None = None) -> dict[str, Outcome]:
    """Returns what became of the tests of a case, without those that fail, or are skipped, on the plain class as well."""
    found: dict[str, Outcome] = {}
    module = importlib.import_module(case.module)
    wanted = None if only is None else set(only)
    with mock.patch.dict(vars(module), case.replaced), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, make in tests(case):
            if wanted is not None and name not in wanted:
                continue
            if outcome(make()).how != "pass":
                continue
            found[name] = outcome_opened(make)
    return found
