"""Byte code back to a syntax tree, as far as `coopy.determinism.check` needs one: for functions whose source is not at hand.
It has more than 500 lines because each kind of instruction of five versions of Python has a method.

The tree says which names and attributes a function uses, what it calls, and what it assigns. It does not say under which
condition: the statements stand in the order of the byte code, and a value that depends on a jump is ``a or b or ...``: each that it
may be, and an unknown one, which stands as ``...``. Functions inside the function are functions inside the tree; to a comprehension
that is one, what it goes over is given as ``.0``.

It is made by running the byte code on a stack of expressions instead of values. An operation that is not known here drops
what it may have taken and leaves unknown values, so that a later Python gives a poorer tree and no wrong one.
"""

from __future__ import annotations

import ast
import dis
from types import CodeType
from typing import Any, NamedTuple

_VARARGS, _VARKEYWORDS = 0x04, 0x08  # In co_flags.


class _Null:
    """What stands on the stack where a call has no object to be bound to, or has it beside the method."""


class _Import(NamedTuple):
    """A module, or a name in one, that is about to get a name."""

    module: str
    level: int
    name: str = ""


GIVEN = ".0"
"""The parameter of a comprehension that is a function."""
_ORDERED = frozenset({"<listcomp>", "<dictcomp>"})
"""What shows the order of what it goes over."""
_INSIDE = _ORDERED | {"<setcomp>", "<genexpr>"}
_NULL = _Null()
_Item = ast.expr | CodeType | _Import | _Null | None

_NAMES = frozenset(
    "LOAD_FAST LOAD_FAST_CHECK LOAD_FAST_BORROW LOAD_DEREF LOAD_CLASSDEREF LOAD_GLOBAL LOAD_NAME LOAD_FROM_DICT_OR_DEREF "
    "LOAD_FROM_DICT_OR_GLOBALS".split()
)
_NOTHING = frozenset(
    "NOP RESUME PRECALL CACHE EXTENDED_ARG COPY_FREE_VARS MAKE_CELL SETUP_ANNOTATIONS GEN_START NOT_TAKEN POP_BLOCK".split()
)
_STORES = frozenset("STORE_FAST STORE_DEREF STORE_NAME STORE_GLOBAL".split())
_SHUFFLES = frozenset(
    {"COPY", "DUP_TOP", "SWAP", "ROT_TWO", "ROT_THREE", "ROT_FOUR", "ROT_N", "DUP_TOP_TWO", "SET_FUNCTION_ATTRIBUTE"}
)
# How many values these take, and that they leave none.
_TAKERS = {
    "POP_TOP": 1,
    "RETURN_GENERATOR": 0,
    "MAP_ADD": 2,
    "LIST_EXTEND": 1,
    "DICT_UPDATE": 1,
    "DICT_MERGE": 1,
    "POP_ITER": 1,
    "DELETE_FAST": 0,
    "DELETE_NAME": 0,
    "DELETE_GLOBAL": 0,
    "DELETE_DEREF": 0,
}
_TUPLES = {"BUILD_TUPLE": ast.Tuple, "BUILD_LIST": ast.List, "BUILD_SET": ast.Set}
_OPERATORS: dict[str, type[ast.operator]] = {
    "|": ast.BitOr,
    "&": ast.BitAnd,
    "-": ast.Sub,
    "^": ast.BitXor,
    "/": ast.Div,
    "OR": ast.BitOr,
    "AND": ast.BitAnd,
    "SUBTRACT": ast.Sub,
    "XOR": ast.BitXor,
    "TRUE_DIVIDE": ast.Div,
}
_ENDS = frozenset(
    "RETURN_VALUE RETURN_CONST RAISE_VARARGS RERAISE JUMP_FORWARD JUMP_ABSOLUTE JUMP_BACKWARD "
    "JUMP_BACKWARD_NO_INTERRUPT".split()
)


def function(code: CodeType) -> ast.FunctionDef:
    """The tree of a function."""
    return _Decompiler(code).function()


class _Decompiler:
    def __init__(self, code: CodeType) -> None:
        self._code = code
        self._stack: list[_Item] = []
        self._statements: list[ast.stmt] = []
        self._waiting: dict[int, list[_Item]] = {}
        self._place = {"lineno": code.co_firstlineno, "col_offset": 0}
        self._keywords: tuple[str, ...] = ()
        self._in_place: list[_Item] = []
        self._functions: list[_Item] = []
        self._loops: list[ast.expr] = []

    def function(self) -> ast.FunctionDef:
        instructions = list(dis.get_instructions(self._code))
        line = self._code.co_firstlineno
        ended = False
        for number, here in enumerate(instructions):
            line, column = _position(here, line)
            self._place = {"lineno": line, "col_offset": column}
            self._meet(here.offset, ended)
            if here.opcode in dis.hasjrel or here.opcode in dis.hasjabs:
                self._waiting.setdefault(here.argval, self._after_jump(here))
            self._run(here, _following(instructions[number + 1 : number + 8]))
            ended = here.opname in _ENDS
            if ended:
                self._drop(len(self._stack))
        self._drop(len(self._stack))
        self._place = {"lineno": self._code.co_firstlineno, "col_offset": 0}
        stored = sorted(stored_outside(self._code))
        outside = [self._made(ast.Nonlocal, names=stored)] if stored else []
        body = [*outside, *self._statements] or [self._made(ast.Pass)]
        made: ast.FunctionDef = self._made(
            ast.FunctionDef, name=self._code.co_name, args=_arguments(self._code), body=body, decorator_list=[], returns=None
        )
        made.end_lineno = line
        return made

    # -- the stack

    def _meet(self, offset: int, ended: bool) -> None:
        """Joins what is on the stack with what was there where a jump to this place began."""
        if offset not in self._waiting:
            return
        there = self._waiting.pop(offset)
        if ended:
            self._stack = there
        elif self._stack and there and self._stack[-1] is not there[-1]:
            either = there[-1], self._stack[-1]
            self._drop(1)
            self._stack.append(self._either(*either))

    def _either(self, *items: _Item) -> ast.expr | None:
        """One of two values, which one depends on a jump."""
        values = [each for each in items if isinstance(each, ast.expr) and not isinstance(each, ast.Constant)]
        return self._made(ast.BoolOp, op=ast.Or(), values=[*values, self._as_expression(None)]) if values else None

    def _after_jump(self, instruction: dis.Instruction) -> list[_Item]:
        effect = dis.stack_effect(instruction.opcode, instruction.arg, jump=True)
        if effect < 0:
            return self._stack[:effect]
        return self._stack + [None] * effect

    def _pop(self) -> _Item:
        return self._stack.pop() if self._stack else None

    def _popped(self, count: int) -> list[_Item]:
        found = [self._pop() for _ in range(count)]
        return found[::-1]

    def _expression(self) -> ast.expr:
        return self._as_expression(self._pop())

    def _expressions(self, count: int) -> list[ast.expr]:
        return [self._as_expression(each) for each in self._popped(count)]

    def _as_expression(self, item: _Item) -> ast.expr:
        return item if isinstance(item, ast.expr) else self._made(ast.Constant, value=...)

    def _drop(self, count: int) -> None:
        """Takes values from the stack. What is used and goes nowhere is a statement."""
        for each in self._popped(count):
            if isinstance(each, ast.expr) and not isinstance(each, ast.Constant):
                self._add(ast.Expr, value=each)

    def _made(self, kind: Any, **fields: Any) -> Any:
        made = kind(**fields, **self._place)
        made.end_lineno = self._place["lineno"]
        return made

    def _add(self, kind: Any, **fields: Any) -> None:
        self._statements.append(self._made(kind, **fields))

    def _push(self, kind: Any, **fields: Any) -> None:
        self._stack.append(self._made(kind, **fields))

    # -- the operations

    def _run(self, each: dis.Instruction, following: str) -> None:
        name, arg, value = each.opname, each.arg or 0, each.argval
        if name in _NOTHING:
            return
        if name in _NAMES:
            self._load(name, value, each)
        elif name in ("LOAD_FAST_LOAD_FAST", "LOAD_FAST_BORROW_LOAD_FAST_BORROW"):
            for one in value:
                self._push(ast.Name, id=one, ctx=ast.Load())
        elif name == "STORE_FAST_LOAD_FAST":
            self._store("STORE_FAST", value[0])
            self._push(ast.Name, id=value[1], ctx=ast.Load())
        elif name == "STORE_FAST_STORE_FAST":
            for one in value:
                self._store("STORE_FAST", one)
        elif name in ("LOAD_CONST", "LOAD_SMALL_INT"):
            self._stack.append(value if isinstance(value, CodeType) else self._made(ast.Constant, value=value))
        elif name == "PUSH_NULL":
            self._stack.append(_NULL)
        elif name in ("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR"):
            self._attribute(name, value, each.argrepr)
        elif name in _STORES:
            self._store(name, value)
        elif name in ("STORE_ATTR", "DELETE_ATTR", "STORE_SUBSCR", "DELETE_SUBSCR"):
            self._change(name, value)
        elif name in ("IMPORT_NAME", "IMPORT_FROM"):
            self._import(name, value)
        elif name == "KW_NAMES":
            self._keywords = self._code.co_consts[arg]
        elif name in ("CALL", "CALL_KW", "CALL_METHOD", "CALL_FUNCTION", "CALL_FUNCTION_KW"):
            self._call(name, arg)
        elif name == "CALL_FUNCTION_EX":
            self._call_with_stars(arg)
        elif name == "MAKE_FUNCTION":
            self._make_function(arg)
        elif name in _TUPLES:
            elements = self._expressions(arg)
            more = {} if name == "BUILD_SET" else {"ctx": ast.Load()}
            self._push(_TUPLES[name], elts=elements, **more)
        elif name == "BUILD_MAP":
            both = self._expressions(2 * arg)
            self._push(ast.Dict, keys=both[::2], values=both[1::2])
        elif name == "BUILD_CONST_KEY_MAP":
            self._pop()
            values = self._expressions(arg)
            self._push(ast.Dict, keys=[self._as_expression(None)] * arg, values=values)
        else:
            self._run_rarer(each, following)

    def _run_rarer(self, each: dis.Instruction, following: str) -> None:
        name, arg = each.opname, each.arg or 0
        if name == "SET_UPDATE":
            self._update_set()
        elif name.startswith(("BINARY_", "INPLACE_")) and name not in ("BINARY_SUBSCR", "BINARY_SLICE"):
            self._operate(each.argrepr.rstrip("=") if name == "BINARY_OP" else name.partition("_")[2])
            if name.startswith("INPLACE_") or each.argrepr.endswith("="):
                self._in_place.append(self._stack[-1])
        elif name == "BINARY_SUBSCR":
            owner, key = self._expressions(2)
            self._push(ast.Subscript, value=owner, slice=key, ctx=ast.Load())
        elif name == "CONTAINS_OP":
            left, right = self._expressions(2)
            self._push(ast.Compare, left=left, ops=[ast.NotIn() if arg else ast.In()], comparators=[right])
        elif name == "YIELD_VALUE":
            self._add(ast.Expr, value=self._made(ast.Yield, value=self._expression()))
            self._stack.append(None)
        elif name == "BUILD_SLICE":
            first, last, *step = self._expressions(arg)
            self._push(ast.Slice, lower=first, upper=last, step=step[0] if step else None)
        elif name == "UNPACK_SEQUENCE":
            self._unpack(arg)
        elif name == "UNPACK_EX":
            before, after = arg & 0xFF, arg >> 8
            item = self._pop()
            elements = [self._element_of(item) if isinstance(item, ast.expr) else None for _ in range(before + after)]
            self._stack += [*elements[before:], None, *elements[:before]]
        elif name == "STORE_SLICE":
            owner, first, last = self._expressions(3)
            part = self._made(ast.Slice, lower=first, upper=last, step=None)
            self._assign(self._made(ast.Subscript, value=owner, slice=part, ctx=ast.Store()), self._expression())
        elif name == "GET_ITER" and (following == "FOR_ITER" or self._calls(_INSIDE)):
            self._iterate(following == "FOR_ITER")
        elif name == "FOR_ITER" and (self._loops or self._code.co_name in _INSIDE):
            # The element that the loop is at; what the loop goes over stays below it.
            given = self._made(ast.Name, id=GIVEN, ctx=ast.Load())
            self._stack.append(self._element_of(self._loops[-1] if self._loops else given))
        elif name == "GET_YIELD_FROM_ITER":
            self._push(ast.YieldFrom, value=self._iterated())
        elif name == "RETURN_VALUE":
            value_returned = self._pop()
            if isinstance(value_returned, ast.expr) and not isinstance(value_returned, ast.Constant):
                self._add(ast.Return, value=value_returned)
        elif name in ("LIST_APPEND", "SET_ADD"):
            self._add_element(arg)
        elif name in _TAKERS:
            self._drop(_TAKERS[name])
        elif name in _SHUFFLES:
            self._shuffle(name, arg)
        else:
            self._unknown(each)

    def _unpack(self, count: int) -> None:
        """Puts the elements of a tuple, or of anything else, on the stack, the first on top."""
        item = self._pop()
        elements: list[_Item] = [None] * count
        if isinstance(item, ast.Tuple) and len(item.elts) == count:
            elements = [*item.elts]
        elif isinstance(item, ast.expr) and not isinstance(item, ast.Constant):
            elements = [self._element_of(item) for _ in range(count)]
        self._stack += elements[::-1]

    def _element_of(self, node: ast.expr) -> ast.expr:
        found: ast.expr = self._made(ast.Subscript, value=node, slice=self._made(ast.Constant, value=...), ctx=ast.Load())
        return found

    def _shuffle(self, name: str, arg: int) -> None:
        """Puts what is on the stack in another order, or there twice; a function goes above what it is given."""
        if name in ("COPY", "DUP_TOP"):
            place = arg if name == "COPY" else 1
            self._stack.append(self._stack[-place] if place <= len(self._stack) else None)
        elif name in ("SWAP", "ROT_TWO"):
            place = arg if name == "SWAP" else 2
            self._stack[:0] = [None] * (place - len(self._stack))
            self._stack[-1], self._stack[-place] = self._stack[-place], self._stack[-1]
        elif name in ("ROT_THREE", "ROT_FOUR", "ROT_N"):
            place = {"ROT_THREE": 3, "ROT_FOUR": 4}.get(name, arg)
            self._stack[:0] = [None] * (place - len(self._stack))
            self._stack.insert(-place + 1 or len(self._stack), self._stack.pop())
        elif name == "SET_FUNCTION_ATTRIBUTE":
            made = self._pop()
            self._drop(1)
            self._stack.append(made)
        else:
            self._stack[:0] = [None] * (2 - len(self._stack))
            self._stack += self._stack[-2:]

    def _unknown(self, each: dis.Instruction) -> None:
        effect = dis.stack_effect(each.opcode, each.arg, jump=False)
        if effect > 0:
            self._stack += [None] * effect
            return
        takes = -effect if each.opcode in dis.hasjrel or each.opcode in dis.hasjabs else 1 - effect
        self._drop(takes)
        self._stack += [None] * (takes + effect)

    def _iterated(self) -> ast.expr:
        found = self._expression()
        if isinstance(found, ast.Constant) and isinstance(found.value, frozenset):
            # A set display that a loop goes over.
            return ast.Set(elts=[self._made(ast.Constant, value=each) for each in sorted(found.value, key=repr)], **self._place)
        return found

    def _calls(self, names: frozenset[str]) -> bool:
        """Whether what is on the stack is given to a comprehension of these."""
        return any(isinstance(each, ast.Name) and each.id in names for each in self._stack[-3:-1])

    def _iterate(self, is_loop: bool) -> None:
        """Begins to go over what is on the stack: here, or in a comprehension that is a function, to which it is given."""
        is_given = not is_loop and self._calls(_INSIDE)
        shows_order = is_loop or self._calls(_ORDERED)
        iterated = self._iterated()
        if shows_order:
            target = self._made(ast.Name, id="_coopy_each", ctx=ast.Store())
            self._add(ast.For, target=target, iter=iterated, body=[self._made(ast.Pass)], orelse=[])
        if is_given:
            self._assign(self._made(ast.Name, id=GIVEN, ctx=ast.Store()), iterated)
        else:
            self._loops.append(iterated)
        self._stack.append(None)

    def _load(self, name: str, value: Any, each: dis.Instruction) -> None:
        if name == "LOAD_FROM_DICT_OR_DEREF" or name == "LOAD_FROM_DICT_OR_GLOBALS":
            self._drop(1)
        first, last = each.argrepr.startswith("NULL +"), each.argrepr.endswith("+ NULL")
        self._stack += [_NULL] * first
        self._push(ast.Name, id=value, ctx=ast.Load())
        self._stack += [_NULL] * last

    def _attribute(self, name: str, value: str, shown: str) -> None:
        if name == "LOAD_SUPER_ATTR":
            self._popped(3)
            owner = self._made(ast.Call, func=self._made(ast.Name, id="super", ctx=ast.Load()), args=[], keywords=[])
        else:
            owner = self._expression()
        self._push(ast.Attribute, value=owner, attr=value, ctx=ast.Load())
        if name == "LOAD_METHOD" or "NULL|self" in shown:
            self._stack.append(_NULL)

    def _store(self, name: str, variable: str) -> None:
        item = self._pop()
        if isinstance(item, ast.Name) and item.id == variable and any(each is item for each in self._functions):
            return  # Its definition gives it this name.
        if name == "STORE_GLOBAL":
            self._add(ast.Global, names=[variable])
        if isinstance(item, _Import) and item.name:
            alias = ast.alias(name=item.name, asname=variable)
            self._add(ast.ImportFrom, module=item.module, names=[alias], level=item.level)
        elif isinstance(item, _Import):
            is_root = item.module.partition(".")[0] == variable
            self._add(ast.Import, names=[ast.alias(name=item.module, asname=None if is_root else variable)])
        else:
            self._assign(self._made(ast.Name, id=variable, ctx=ast.Store()), self._as_expression(item))

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(value, ast.BinOp) and any(each is value for each in self._in_place):
            self._add(ast.AugAssign, target=target, op=value.op, value=value.right)
        else:
            self._add(ast.Assign, targets=[target], value=value)

    def _change(self, name: str, attribute: str) -> None:
        context: ast.expr_context = ast.Store() if name.startswith("STORE") else ast.Del()
        target: ast.expr
        if name.endswith("ATTR"):
            target = self._made(ast.Attribute, value=self._expression(), attr=attribute, ctx=context)
        else:
            owner, key = self._expressions(2)
            target = self._made(ast.Subscript, value=owner, slice=key, ctx=context)
        if isinstance(context, ast.Store):
            self._assign(target, self._expression())
        else:
            self._add(ast.Delete, targets=[target])

    def _import(self, name: str, value: str) -> None:
        if name == "IMPORT_NAME":
            level, _ = self._popped(2)
            found = level.value if isinstance(level, ast.Constant) and isinstance(level.value, int) else 0
            self._stack.append(_Import(value, found))
            return
        around = self._stack[-1] if self._stack else None
        if isinstance(around, _Import):
            module = f"{around.module}.{around.name}" if around.name else around.module
            self._stack.append(_Import(module, around.level, value))
        else:
            self._stack.append(None)

    def _call(self, name: str, count: int) -> None:
        names = self._keywords
        self._keywords = ()
        if name in ("CALL_KW", "CALL_FUNCTION_KW"):
            given = self._pop()
            names = given.value if isinstance(given, ast.Constant) and isinstance(given.value, tuple) else ()
        values = self._expressions(count)
        found = self._popped(1 if name.startswith("CALL_FUNCTION") else 2)
        positional = values[: count - len(names)]
        keywords = [ast.keyword(arg=each, value=value) for each, value in zip(names, values[count - len(names) :], strict=True)]
        self._push(ast.Call, func=self._callee(found), args=positional, keywords=keywords)

    def _callee(self, found: list[_Item]) -> ast.expr:
        expressions = [each for each in found if isinstance(each, ast.expr)]
        return expressions[0] if expressions else self._as_expression(None)

    def _call_with_stars(self, flags: int) -> None:
        keywords = [ast.keyword(arg=None, value=self._expression())] if flags & 1 else []
        starred = self._made(ast.Starred, value=self._made(ast.Constant, value=...), ctx=ast.Load())
        self._drop(1)
        found = self._popped(1)
        if self._stack and self._stack[-1] is _NULL:
            self._pop()
        elif found == [_NULL]:
            found = self._popped(1)
        self._push(ast.Call, func=self._callee(found), args=[starred], keywords=keywords)

    def _make_function(self, flags: int) -> None:
        code = self._pop()
        if isinstance(code, ast.Constant):
            code = self._pop()  # Above it was the name, in Python 3.10.
        self._drop(bin(flags & 0x0F).count("1"))
        if not isinstance(code, CodeType):
            self._stack.append(None)
            return
        self._statements.append(function(code))
        for variable in sorted(stored_outside(code) - set(self._code.co_freevars)):
            # The function inside gives it a value, so what it stands for cannot be told.
            target = self._made(ast.Name, id=variable, ctx=ast.Store())
            self._add(ast.Assign, targets=[target], value=self._as_expression(None))
        self._push(ast.Name, id=code.co_name, ctx=ast.Load())
        self._functions.append(self._stack[-1])

    def _add_element(self, place: int) -> None:
        """Adds to the list or set that a comprehension makes."""
        made = self._stack[-place - 1] if place < len(self._stack) else None
        if isinstance(made, (ast.List, ast.Set)):
            made.elts.append(self._expression())
        else:
            self._drop(1)

    def _update_set(self) -> None:
        added = self._pop()
        target = self._stack[-1] if self._stack else None
        if isinstance(target, ast.Set) and isinstance(added, ast.Constant) and isinstance(added.value, frozenset):
            target.elts += [self._made(ast.Constant, value=each) for each in sorted(added.value, key=repr)]
        elif isinstance(added, ast.expr):
            self._stack.append(added)
            self._drop(1)

    def _operate(self, operator: str) -> None:
        left, right = self._expressions(2)
        # What the others do makes no difference here.
        self._push(ast.BinOp, left=left, op=_OPERATORS.get(operator, ast.Add)(), right=right)


def stored_outside(code: CodeType) -> set[str]:
    """The variables of functions around it that a function, or one inside it, gives values to."""
    found = {each.argval for each in dis.get_instructions(code) if each.opname == "STORE_DEREF"}
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            found |= stored_outside(inner)
    return found & set(code.co_freevars)


def _following(instructions: list[dis.Instruction]) -> str:
    """The operation that comes next; FOR_ITER where a list or dict comprehension begins that is no function of its own."""
    names = [each.opname for each in instructions]
    if names[:1] == ["LOAD_FAST_AND_CLEAR"] and not {"BUILD_LIST", "BUILD_MAP"}.isdisjoint(names):
        return "FOR_ITER"
    return names[0] if names else ""


def _position(instruction: dis.Instruction, line: int) -> tuple[int, int]:
    """The line, and the bytes before it in that line. Python 3.10 knows the line alone, of the first of several."""
    positions = getattr(instruction, "positions", None)
    if positions is not None and positions.lineno is not None:
        return positions.lineno, positions.col_offset or 0
    starts: Any = instruction.starts_line
    return (starts if isinstance(starts, int) and not isinstance(starts, bool) else line), 0


def _arguments(code: CodeType) -> ast.arguments:
    names = list(code.co_varnames)
    count, only = code.co_argcount, code.co_kwonlyargcount
    positional = [ast.arg(arg=name) for name in names[:count]]
    rest = names[count + only :]
    return ast.arguments(
        posonlyargs=positional[: code.co_posonlyargcount],
        args=positional[code.co_posonlyargcount :],
        kwonlyargs=[ast.arg(arg=name) for name in names[count : count + only]],
        kw_defaults=[None] * only,
        defaults=[],
        vararg=ast.arg(arg=rest.pop(0)) if code.co_flags & _VARARGS and rest else None,
        kwarg=ast.arg(arg=rest.pop(0)) if code.co_flags & _VARKEYWORDS and rest else None,
    )
