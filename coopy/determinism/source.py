"""Files, parsed once each: their functions by where they begin, and the comments that silence findings.

What a function does is not looked at here.
"""

from __future__ import annotations

import ast
import functools
import linecache
import re
import tokenize
from collections.abc import Iterator
from types import (
    CodeType,
)
from typing import Any

from coopy.determinism.names import FunctionNode, parameters_of
from coopy.determinism.rules import ERROR_CODES, UNKNOWN_CODE, UNUSED_IGNORE, WARNING_CODES, Finding

_IGNORE = re.compile(r"#\s*coopy:\s*ignore(?![\w-])(?:\s*\[([^\]]*))?")


class _Ignore:
    """A comment that silences what is found in its line."""

    def __init__(self, line: int, column: int, codes: str | None) -> None:
        self._line = line
        self._column = column
        self._codes = None if codes is None else list(filter(None, map(str.strip, codes.split(","))))
        self._used: set[str] = set()

    def silences(self, code: str) -> bool:
        if self._codes is not None and code not in self._codes:
            return False
        self._used.add(code)
        return True

    def findings(self, file: str) -> Iterator[Finding]:
        """What is wrong with it, once all that is found was asked about."""
        if self._codes is None and not self._used:
            yield self._finding(UNUSED_IGNORE, file, "what is not found here: remove it")
        if self._codes == []:
            yield self._finding(UNKNOWN_CODE, file, "no code between its brackets", _KNOWN)
        for code in self._codes or []:
            if code not in _CODES:
                yield self._finding(UNKNOWN_CODE, file, f"{code}, which is no code", _KNOWN)
            elif code not in self._used:
                yield self._finding(UNUSED_IGNORE, file, f"{code}, which is not found here: remove it")

    def _finding(self, code: str, file: str, what: str, instead: str = "") -> Finding:
        return Finding(code, "warning", file, self._line, self._column, "the comment", what, instead)


_CODES = ERROR_CODES + WARNING_CODES
_KNOWN = " or ".join(f"one from {codes[0]} to {codes[-1]}" for codes in (ERROR_CODES, WARNING_CODES))


def _ignores(lines: list[str]) -> dict[int, _Ignore]:
    """The comments that silence, by line."""
    if not any("coopy:" in line for line in lines):
        return {}
    found = {}
    for token in tokenize.generate_tokens(iter(lines).__next__):
        said = _IGNORE.search(token.string) if token.type == tokenize.COMMENT else None
        if said is not None:
            line, column = token.start
            found[line] = _Ignore(line, column + said.start() + 1, said[1])
    return found


def parsed(text: str) -> ast.Module:
    """The tree of a text, which nobody changes. It is not kept: a program opens its systems once, and a tree is large."""
    return ast.parse(text)


def _statements_in(node: ast.AST) -> Iterator[ast.AST]:
    """The statements right inside one, and its `except` and `case`, which hold further statements.

    Most of a tree are expressions, and to walk them takes longer than to parse the file.
    """
    for field in _HOLD_STATEMENTS:
        yield from getattr(node, field, ())


_HOLD_STATEMENTS = ("body", "handlers", "orelse", "finalbody", "cases")


class Source:
    """One file, parsed: its functions by where they begin, its classes by name, and what it says is to be ignored."""

    def __init__(self, lines: list[str]) -> None:
        self._tree = parsed("".join(lines))
        self.functions: dict[tuple[int, str], list[ast.FunctionDef | ast.AsyncFunctionDef]] = {}
        self.classes: dict[str, list[ast.ClassDef]] = {}
        self._lines = lines
        self._ignores = _ignores(lines)
        self._begins = _begins(self._tree) if self._ignores else {}
        self._read: set[int] = set()
        self._index(self._tree, "")

    def column(self, node: ast.expr | ast.stmt) -> int:
        """In characters, from 1; the parser counts bytes."""
        if node.lineno > len(self._lines):
            return node.col_offset + 1  # Of byte code, and the file is another one since.
        return len(self._lines[node.lineno - 1].encode()[: node.col_offset].decode(errors="replace")) + 1

    def silences(self, line: int, code: str) -> bool:
        """Whether a comment there, or where the statement begins, says that it is to be ignored."""
        places = {line, self._begins.get(line, line)}
        return any([self._ignores[place].silences(code) for place in places if place in self._ignores])  # noqa: C419 - asks all

    def reads(self, node: ast.AST) -> None:
        """Notes that this is read, so that the comments in it can be judged."""
        if self._ignores and isinstance(node, (ast.stmt, ast.expr)):
            self._read.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))

    def comments(self, file: str) -> Iterator[Finding]:
        """What is wrong with the comments of what was read."""
        for line, ignore in self._ignores.items():
            if line in self._read:
                yield from ignore.findings(file)

    def _index(self, parent: ast.AST, path: str) -> None:
        for node in _statements_in(parent):
            below = path
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                # A code object begins at its first decorator.
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                self.functions.setdefault((first, node.name), []).append(node)
                below = f"{path}{node.name}.<locals>."
            elif isinstance(node, ast.ClassDef):
                self.classes.setdefault(path + node.name, []).append(node)
                below = f"{path}{node.name}."
            self._index(node, below)

    @functools.cached_property
    def _lambdas(self) -> dict[int, list[ast.Lambda]]:
        """By line. They may be anywhere in an expression, so all of the tree is walked, and only if one is asked for."""
        found: dict[int, list[ast.Lambda]] = {}
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Lambda):
                found.setdefault(node.lineno, []).append(node)
        return found

    def function(self, code: CodeType) -> FunctionNode | None:
        """The function that this code was made from; None in doubt."""
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        place = code.co_firstlineno
        found = self._lambdas.get(place, []) if code.co_name == "<lambda>" else self.functions.get((place, code.co_name), [])
        alike = [
            node for node in found if tuple(parameter.arg for parameter in parameters_of(node.args))[: len(names)] == names
        ]
        return alike[0] if len(alike) == 1 else None

    def body(self, path: str) -> ast.ClassDef | None:
        """The class of that name; None in doubt."""
        bodies = self.classes.get(path, [])
        return bodies[0] if len(bodies) == 1 else None

    def assignments(self, path: str) -> Iterator[tuple[str, ast.expr]]:
        """The names that the body of a class gives values to; none in doubt."""
        body = self.body(path)
        for statement in [] if body is None else body.body:
            if isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value is not None:
                target = statement.target if isinstance(statement, ast.AnnAssign) else statement.targets[0]
                if isinstance(target, ast.Name):
                    yield target.id, statement.value


class _ByteCode:
    """Stands in for the source of functions that have none: there is nothing to be ignored in it."""

    def column(self, node: ast.expr | ast.stmt) -> int:
        return node.col_offset + 1

    def silences(self, line: int, code: str) -> bool:
        return False


_BYTE_CODE = _ByteCode()


def _begins(parent: ast.AST) -> dict[int, int]:
    """Of each line, the first of the innermost statement, or decorator, that it is in."""
    found = {}
    for node in _statements_in(parent):
        # What is inside comes after what is around it.
        for part in (node, *getattr(node, "decorator_list", ())):
            if isinstance(part, (ast.stmt, ast.expr)):
                found.update(dict.fromkeys(range(part.lineno, (part.end_lineno or part.lineno) + 1), part.lineno))
        found.update(_begins(node))
    return found


class Library:
    """Parses each file once."""

    def __init__(self) -> None:
        self._sources: dict[str, Source | None] = {}

    def source(self, file: str, module: dict[str, Any]) -> Source | None:
        if file not in self._sources:
            self._sources[file] = self._parse(file, module)
        return self._sources[file]

    @staticmethod
    def _parse(file: str, module: dict[str, Any]) -> Source | None:
        linecache.checkcache(file)
        lines = linecache.getlines(file, module)
        try:
            return Source(lines) if lines else None
        except (SyntaxError, ValueError, RecursionError, tokenize.TokenError):
            return None

    def parsed(self, file: str) -> Source | _ByteCode:
        """The source of what is found in a file; what stands in for it if the file can't be read."""
        return self._sources.get(file) or _BYTE_CODE

    def comments(self) -> Iterator[Finding]:
        """What is wrong with the comments of what was read."""
        for file, source in self._sources.items():
            if source is not None:
                yield from source.comments(file)
