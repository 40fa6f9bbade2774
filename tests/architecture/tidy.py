"""What is untidy in `coopy/`, as far as a program can see it: unused names, long functions and modules, numbers without a reason, and
handlers that catch everything.

    python tests/architecture/tidy.py

Each function yields places as ``file:line: what``. Nothing here decides how much is allowed; `test_tidy.py` does.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from architecture.trees import nodes_of, tree_of

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "coopy"
FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 500
# The way of a call and the loop of replay: what they do is written out in them, as a method more would cost each action 3 %. So are their
# handlers, which say what holds at each moment at which an interrupt may come (docs/design/014-interrupted-actions.md).
WRITTEN_OUT = (("coopy/spine/engine.py", "call"), ("coopy/spine/machine.py", "replay"))
BROAD = ("Exception", "BaseException")
HANDLERS = ROOT / "docs/internals/handlers.md"

Function = (ast.FunctionDef, ast.AsyncFunctionDef)


def modules() -> list[Path]:
    """Returns the modules of the package."""
    return sorted(PACKAGE.rglob("*.py"))


@cache
def comments_of(path: Path) -> dict[int, str]:
    """Returns the comments of a module, by line."""
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline)
    return {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}


def place(path: Path, node: ast.AST, what: str) -> str:
    """Returns a place, as a compiler would write it."""
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}: {what}"


def long_functions(path: Path) -> Iterator[str]:
    """Yields the functions that are longer than a screen, docstring and all."""
    for node in nodes_of(path):
        if isinstance(node, Function):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX and (path.relative_to(ROOT).as_posix(), node.name) not in WRITTEN_OUT:
                yield place(path, node, f"{node.name} has {lines} lines")


def long_modules(path: Path) -> Iterator[str]:
    """Yields a module that is long and does not say why in the first paragraph of its docstring."""
    lines = len(path.read_text(encoding="utf-8").splitlines())
    said = " ".join((ast.get_docstring(tree_of(path)) or "").split("\n\n")[0].split())
    if lines > MODULE_LINES_MAX and "more than 500 lines because" not in said:
        yield place(path, tree_of(path), f"{lines} lines, and no reason for it")


Handler = ast.ExceptHandler | ast.Call | ast.FunctionDef | ast.AsyncFunctionDef


def broad_handlers(path: Path) -> Iterator[Handler]:
    """Yields what catches everything: handlers, `suppress`, and the ``__exit__`` of what deals with whatever its block raises."""
    for node in nodes_of(path):
        if isinstance(node, ast.ExceptHandler):
            kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            if any(kind is None or _is_broad(kind) for kind in kinds):
                yield node
        elif isinstance(node, ast.Call):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called == "suppress" and any(map(_is_broad, node.args)):
                yield node
        elif isinstance(node, Function) and node.name in ("__exit__", "__aexit__") and _deals_with_what_is_raised(node):
            yield node


def _is_broad(kind: ast.expr) -> bool:
    return getattr(kind, "attr", getattr(kind, "id", "")) in BROAD


def _deals_with_what_is_raised(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether an ``__exit__`` looks at the exception, or does something where there is one. Many only close."""
    kind, error = [each.arg for each in (*function.args.args, *[ast.arg("")] * 3)][1:3]
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and node.id == error and isinstance(node.ctx, ast.Load):
            return True
        if isinstance(node, ast.Compare) and isinstance(node.left, ast.Name) and node.left.id == kind:
            return isinstance(node.ops[0], ast.IsNot)
    return False


def place_of(path: Path, handler: Handler) -> str:
    """Returns in which function a handler stands, as in ``coopy/system.py System.close``."""
    # What is further in comes later.
    around = [each for each in nodes_of(path) if isinstance(each, (*Function, ast.ClassDef))]
    names = [each.name for each in around if each.lineno <= handler.lineno <= (each.end_lineno or 0)]
    return " ".join((path.relative_to(ROOT).as_posix(), ".".join(names)))


@cache
def handlers_listed() -> dict[str, tuple[int, str]]:
    """Returns the rows of docs/internals/handlers.md: by place, how many handlers there are, and their group."""
    rows = re.findall(r"^\| `(.+?)` \| `(.+?)` \| (\d+) \| (.+?) \|", HANDLERS.read_text(encoding="utf-8"), re.M)
    return {f"{module} {function}": (int(number), group) for module, function, number, group in rows}


def handlers_without_a_group(path: Path) -> Iterator[str]:
    """Yields what catches everything and is not in docs/internals/handlers.md, and rows there of a module that are right no more."""
    there = Counter(place_of(path, node) for node in broad_handlers(path))
    module = path.relative_to(ROOT).as_posix()
    listed = {at: number for at, (number, _) in handlers_listed().items() if at.split(" ")[0] == module}
    for at in sorted({*there, *listed}):
        if there[at] != listed.get(at, 0):
            yield f"{at}: {there[at]} handlers catch everything, and {HANDLERS.name} lists {listed.get(at, 0)}"


@cache
def never_returning() -> frozenset[str]:
    """Returns the names of the functions that always raise."""
    functions = [node for path in modules() for node in nodes_of(path) if isinstance(node, Function)]
    return frozenset(each.name for each in functions if isinstance(each.returns, ast.Name) and each.returns.id == "NoReturn")


def raises(node: Handler) -> bool:
    """Whether a handler ends by raising, so that it undoes something, or raises one exception in place of another."""
    if isinstance(node, ast.Call):
        return False
    if isinstance(node, Function):
        return not (isinstance(node.returns, ast.Name) and node.returns.id == "bool")
    last = node.body[-1]
    if isinstance(last, ast.Expr) and isinstance(last.value, ast.Call):
        called = last.value.func
        return getattr(called, "attr", getattr(called, "id", "")) in never_returning()
    return isinstance(last, ast.Raise)


def swallowing_handlers(path: Path) -> Iterator[Handler]:
    """Yields the handlers that catch everything and may go on without raising."""
    return (node for node in broad_handlers(path) if not raises(node))


def handlers_without_a_reason(path: Path) -> Iterator[str]:
    """Yields the handlers that catch everything, do not raise at their end, and do not say why."""
    for node in swallowing_handlers(path):
        # A class that does nothing else says so at its head.
        if not isinstance(node, Function) and not any(
            line in comments_of(path) for line in range(node.lineno - 1, (node.end_lineno or node.lineno) + 1)
        ):
            yield place(path, node, "catches everything, and does not say why")


def _is_number(node: ast.expr | None) -> bool:
    if isinstance(node, ast.BinOp):
        return _is_number(node.left) and _is_number(node.right)
    if isinstance(node, ast.UnaryOp):
        return _is_number(node.operand)
    return isinstance(node, ast.Constant) and type(node.value) in (int, float)


def numbers_without_a_reason(path: Path) -> Iterator[str]:
    """Yields the constants of a module that are numbers and have no sentence above them, beside them or below them."""
    body = tree_of(path).body
    source = path.read_text(encoding="utf-8").splitlines()
    for number, node in enumerate(body):
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target if isinstance(node, ast.AnnAssign) else None
        if not isinstance(target, ast.Name) or not isinstance(node, (ast.Assign, ast.AnnAssign)) or not _is_number(node.value):
            continue
        comments = comments_of(path)
        following = body[number + 1] if number + 1 < len(body) else None
        below = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
        # A comment speaks for the lines below it, up to the next blank one.
        line = node.lineno - 1
        while line > 1 and source[line - 1].strip() and line not in comments:
            line -= 1
        said = comments.get(node.lineno, "") or comments.get(line, "")
        if not below and len(said.split()) < 3:
            yield place(path, node, f"{target.id} has no reason")


@cache
def words_used() -> Counter[str]:
    """Returns how often each word occurs in the repository's sources, tests and pages."""
    found: Counter[str] = Counter()
    for folder in ("coopy", "tests", "docs", "benchmarks", "examples"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".md", ".txt") and path.is_file() and "golden/coopy-" not in str(path):
                found.update(re.findall(r"[A-Za-z_][A-Za-z0-9_]*", path.read_text(encoding="utf-8", errors="replace")))
    return found


def unused_names(path: Path) -> Iterator[str]:
    """Yields what is defined and occurs nowhere else: names of a module, and the methods of its classes."""
    words = words_used()
    for node in tree_of(path).body:
        inside = [each for each in ast.walk(node) if isinstance(each, Function)]
        for each in [node, *inside] if isinstance(node, ast.ClassDef) else [node]:
            names = []
            if isinstance(each, (*Function, ast.ClassDef)):
                names = [each.name]
            elif isinstance(each, ast.Assign):
                names = [found.id for target in each.targets for found in ast.walk(target) if isinstance(found, ast.Name)]
            elif isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
                names = [each.target.id]
            for name in names:
                is_special = name.startswith("__") or name.startswith(("visit_", "repr_", "pytest_", "format_"))
                if words[name] < 2 and not is_special and not _is_command(each):
                    yield place(path, each, f"{name} is not used")


def _is_command(node: ast.AST) -> bool:
    """Whether a function is known by its decorator: a command, a fixture."""
    return any(isinstance(each, ast.Call) for each in getattr(node, "decorator_list", ()))


CHECKS = (
    long_functions,
    long_modules,
    handlers_without_a_reason,
    handlers_without_a_group,
    numbers_without_a_reason,
    unused_names,
)

if __name__ == "__main__":
    for check in CHECKS:
        found = [each for path in modules() for each in check(path)]
        print(f"{check.__name__}: {len(found)}")
        print("".join(f"  {each}\n" for each in found), end="")
    broad, kept = (sum(1 for path in modules() for _ in of(path)) for of in (broad_handlers, swallowing_handlers))
    print(f"{broad} handlers catch everything, of which {broad - kept} raise at their end and {kept} do not")
    sys.exit()
