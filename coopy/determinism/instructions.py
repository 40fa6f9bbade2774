"""The instructions of a function, gone through once: the names it uses, and what stands beside what.

An instruction is one word of a few, and a name where it has one; those that stand for nothing by themselves are left out. It takes the
twentieth part of what `dis` does, and is the same for all versions of Python; what a version has that is not known here is the word "".
"""

from __future__ import annotations

import opcode
import sys
from functools import lru_cache
from types import CodeType
from typing import Any

GLOBAL, ATTRIBUTE, METHOD, SET_ATTRIBUTE, DELETE_ATTRIBUTE = (
    "global",
    "attribute",
    "method",
    "set attribute",
    "delete attribute",
)
LOCAL, CONSTANT, STORE, ITEM, SET_ITEM, CALL, RETURN = "local", "constant", "store", "item", "set item", "call", "return"
VALUE, CONTAINER, USE, MAKES_SET, SHUFFLE, BLOCK = "value", "container", "use", "makes set", "shuffle", "block"
IN, OTHERWISE = "in", "otherwise"
_LEFT_OUT = "left out"
_WORDS = {
    GLOBAL: "LOAD_GLOBAL LOAD_NAME",
    ATTRIBUTE: "LOAD_ATTR",
    METHOD: "LOAD_METHOD",
    SET_ATTRIBUTE: "STORE_ATTR",
    DELETE_ATTRIBUTE: "DELETE_ATTR",
    LOCAL: "LOAD_FAST LOAD_FAST_CHECK LOAD_FAST_BORROW LOAD_DEREF",
    CONSTANT: "LOAD_CONST LOAD_SMALL_INT",
    STORE: "STORE_FAST STORE_DEREF",
    ITEM: "BINARY_SUBSCR",
    SET_ITEM: "STORE_SUBSCR DELETE_SUBSCR STORE_SLICE",
    CALL: "CALL CALL_FUNCTION CALL_METHOD CALL_FUNCTION_KW CALL_KW CALL_FUNCTION_EX",
    RETURN: "RETURN_VALUE",
    CONTAINER: "BUILD_LIST BUILD_MAP BUILD_CONST_KEY_MAP LIST_EXTEND DICT_UPDATE DICT_MERGE LIST_APPEND MAP_ADD",
    VALUE: "BINARY_OP BINARY_ADD BINARY_SUBTRACT BINARY_MULTIPLY BINARY_TRUE_DIVIDE BINARY_FLOOR_DIVIDE BINARY_MODULO BINARY_POWER "
    "BINARY_AND BINARY_OR BINARY_XOR BINARY_LSHIFT BINARY_RSHIFT INPLACE_ADD INPLACE_SUBTRACT INPLACE_MULTIPLY "
    "INPLACE_TRUE_DIVIDE INPLACE_FLOOR_DIVIDE INPLACE_MODULO COMPARE_OP IS_OP UNARY_NOT UNARY_NEGATIVE UNARY_INVERT "
    "UNARY_POSITIVE BUILD_TUPLE BUILD_STRING BINARY_SLICE FORMAT_VALUE FORMAT_SIMPLE FORMAT_WITH_SPEC",
    IN: "CONTAINS_OP",
    USE: "GET_ITER POP_JUMP_IF_FALSE POP_JUMP_IF_TRUE POP_JUMP_FORWARD_IF_FALSE POP_JUMP_FORWARD_IF_TRUE POP_JUMP_IF_NONE "
    "POP_JUMP_IF_NOT_NONE POP_JUMP_FORWARD_IF_NONE POP_JUMP_FORWARD_IF_NOT_NONE RAISE_VARARGS CHECK_EXC_MATCH "
    "JUMP_IF_NOT_EXC_MATCH",
    MAKES_SET: "BUILD_SET SET_ADD SET_UPDATE",
    OTHERWISE: "LOAD_BUILD_CLASS",
    BLOCK: "SETUP_FINALLY SETUP_WITH SETUP_ASYNC_WITH",
    SHUFFLE: "SWAP ROT_TWO ROT_THREE",
    _LEFT_OUT: "NOP RESUME PRECALL CACHE PUSH_NULL KW_NAMES MAKE_CELL COPY_FREE_VARS TO_BOOL NOT_TAKEN GEN_START",
}
_NUMBERS = max(*opcode.opmap.values(), *opcode.hasname) + 1  # Of instructions; those of the compiler alone are over 255.
_PAIRS = {
    opcode.opmap[name]: tuple(STORE if part.startswith("STORE") else LOCAL for part in (name, name.split("FAST_", 1)[1]))
    for name in ("LOAD_FAST_LOAD_FAST", "LOAD_FAST_BORROW_LOAD_FAST_BORROW", "STORE_FAST_LOAD_FAST", "STORE_FAST_STORE_FAST")
    if name in opcode.opmap
}
"""Two instructions in one, of Python 3.13 and later."""
_EXTENDED = "extended"
_LOAD_GLOBAL = opcode.opmap["LOAD_GLOBAL"]
_WORD_BY_NUMBER: list[str | None] = ["" for _ in range(_NUMBERS)]
for _number in opcode.hasname:
    _WORD_BY_NUMBER[_number] = OTHERWISE
for _word, _names in _WORDS.items():
    for _name in _names.split():
        if _name in opcode.opmap:
            _WORD_BY_NUMBER[opcode.opmap[_name]] = None if _word == _LEFT_OUT else _word
_WORD_BY_NUMBER[opcode.opmap["EXTENDED_ARG"]] = _EXTENDED
if sys.version_info >= (3, 14):
    _WORD_BY_NUMBER[opcode.opmap["BINARY_OP"]] = ""  # It takes items, too.
_NAMED = frozenset({GLOBAL, ATTRIBUTE, METHOD, SET_ATTRIBUTE, DELETE_ATTRIBUTE})
_GLOBALS_HALVED = sys.version_info >= (3, 11)
"""Whether the last bit of an argument says something else than which name it is."""
_ATTRIBUTES_HALVED = sys.version_info >= (3, 12)
_CODES_MAX = 4_000
"""The instructions of so many functions are kept: of what was looked at for one class, another has much too."""
_CODE_UNIT = 2  # Bytes of an instruction and of its argument.
_BITS = 8  # Of an argument; a larger one is told by the instructions before.

Step = tuple[str, Any]
"""One instruction: its word, and its name, or the value of a constant; else None."""


class Instructions:
    """Those of one function, without the functions inside of it."""

    __slots__ = ("steps", "names", "inner", "is_odd", "has_blocks")

    def __init__(self, code: CodeType) -> None:
        self.steps = _steps(code)
        self.names: dict[str, set[str]] = {word: set() for word in _NAMED}
        """Names by word."""
        for word, name in self.steps:
            if word in _NAMED:
                self.names[word].add(name)
        self.inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
        """The code of the functions inside."""
        self.is_odd = any(word == OTHERWISE for word, _ in self.steps)
        """Whether names are used in other ways: imports, globals that are assigned, super()."""
        self.has_blocks = bool(getattr(code, "co_exceptiontable", b"")) or any(word == BLOCK for word, _ in self.steps)
        """Whether it has a ``try`` or a ``with``, whose end comes between a value and its return."""


@lru_cache(_CODES_MAX)
def instructions(code: CodeType) -> Instructions:
    """Returns the instructions of a function."""
    return Instructions(code)


def _steps(code: CodeType) -> list[Step]:
    found: list[Step] = []
    names, constants, data, words = code.co_names, code.co_consts, code.co_code, _WORD_BY_NUMBER
    extended = 0
    for number, argument in zip(data[::_CODE_UNIT], data[1::_CODE_UNIT], strict=True):
        word = words[number]
        if word is None:
            continue
        argument |= extended
        extended = 0
        if word == _EXTENDED:
            extended = argument << _BITS
        elif word == CONSTANT:
            found.append((word, constants[argument] if argument < len(constants) else None))
        elif word in _NAMED:
            if word == ATTRIBUTE and _ATTRIBUTES_HALVED:
                word = METHOD if argument & 1 else ATTRIBUTE
                argument >>= 1
            elif word == GLOBAL and _GLOBALS_HALVED and number == _LOAD_GLOBAL:
                argument >>= 1
            found.append((word, names[argument]))
        elif number in _PAIRS:
            found += [(each, None) for each in _PAIRS[number]]
        else:
            found.append((word, None))
    return found
