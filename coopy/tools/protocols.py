"""Writes, for a domain class, the source of a protocol whose methods are those of the class, to be awaited.

    async with coopy.aio.open(Wiki, "data", protocol=AsyncWiki) as wiki:
        ...

A type checker then knows the methods that `coopy.aio.open` makes. Names in
annotations are imported from where the module of the class has them: what is
imported there is imported in the same way, what is defined there comes from
there. Where an annotation can't be written down, the type is Any.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import sys
import textwrap
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from coopy import UsageError
from coopy.decorators import OUTSIDE
from coopy.ground.words import shown

CONTROLS = {
    "take_snapshot": "async def take_snapshot(self) -> int: ...",
    "close": "async def close(self) -> None: ...",
    "shutdown": "async def shutdown(self) -> None: ...",
    "basedir_abspath": "async def basedir_abspath(self) -> list[str]: ...",
}
"""As `coopy.aio.open` offers them, unless the class has something of that name."""


def protocol_of(cls: type, name: str | None = None) -> str:
    """The source of a module with the protocol of a domain class; called Async<Class> unless ``name`` says otherwise.

    Raises `UsageError` for a class that no module can import: one of a function.
    """
    if not isinstance(cls, type):
        raise UsageError(f"protocol_of() takes a domain class, not {shown(cls)}")
    if "<locals>" in cls.__qualname__:
        raise UsageError(f"{cls.__qualname__} is defined in a function: no other module can import it. Move it to a module.")
    writer = _Writer(cls)
    members = "".join(f"    {line}\n" for line in writer.members())
    return (
        f'"""{cls.__module__}.{cls.__qualname__} from asyncio, for type checkers. Written by coopy stub."""\n\n'
        f"from __future__ import annotations\n\n{writer.imports()}\n\n"
        f"class {name or 'Async' + cls.__name__}(coopy.aio.System[{cls.__qualname__}], Protocol):\n"
        f'    """Its methods, to be awaited."""\n\n{members}'
    )


class _Writer:
    """The lines of one protocol, and the imports that they need."""

    def __init__(self, cls: type) -> None:
        self._cls = cls
        own = f"from {cls.__module__} import {cls.__qualname__.partition('.')[0]}"
        self._imports = {"import coopy.aio", "from typing import Protocol", own}
        self._known: dict[str, dict[str, str]] = {}

    def imports(self) -> str:
        """The lines: those of `import`, then one for each module that something is imported from."""
        lines = sorted(line for line in self._imports if line.startswith("import"))
        modules: dict[str, list[str]] = {}
        for line in sorted(self._imports - set(lines)):
            module, _, name = line.removeprefix("from ").partition(" import ")
            modules.setdefault(module, []).append(name)
        lines += [f"from {module} import {', '.join(names)}" for module, names in modules.items()]
        return "".join(f"{line}\n" for line in lines)

    def members(self) -> Iterator[str]:
        taken: set[str] = set()
        for name, member, home in _members(self._cls):
            line = None if name.startswith("_") else self._member(name, member, home)
            if line is not None:
                taken.add(name)
                yield line
        for name, annotation, home in _attributes(self._cls):
            if name not in taken and not name.startswith("_"):
                taken.add(name)
                yield self._value(name, annotation, home)
        yield from (line for name, line in CONTROLS.items() if name not in taken)

    def _member(self, name: str, member: Any, home: str) -> str | None:
        """The lines of a method or a property; None for a value."""
        if isinstance(member, (staticmethod, classmethod)):
            decorator = "staticmethod" if isinstance(member, staticmethod) else "classmethod"
            return f"@{decorator}\n    def {self._signature(name, member.__func__, home)}"
        if isinstance(member, (property, cached_property)):
            getter = member.fget if isinstance(member, property) else member.func
            return self._value(name, getattr(getter, "__annotations__", {}).get("return", inspect.Parameter.empty), home)
        if isinstance(member, type) or not callable(member):
            return None
        return f"{'' if hasattr(member, OUTSIDE) else 'async '}def {self._signature(name, member, home)}"

    def _signature(self, name: str, function: Any, home: str) -> str:
        try:
            signature = inspect.signature(function)
        except ValueError:
            self._need_any()
            return f"{name}(self, *args: Any, **kwargs: Any) -> Any: ..."
        home = getattr(inspect.unwrap(function), "__module__", home) or home
        parameters: list[str] = []
        kinds = [each.kind for each in signature.parameters.values()]
        for number, each in enumerate(signature.parameters.values()):
            if each.kind is each.KEYWORD_ONLY and each.KEYWORD_ONLY not in kinds[:number] and each.VAR_POSITIONAL not in kinds:
                parameters.append("*")
            stars = "*" if each.kind is each.VAR_POSITIONAL else "**" if each.kind is each.VAR_KEYWORD else ""
            own = number == 0 and each.annotation is each.empty and each.name in ("self", "cls")
            text = f"{stars}{each.name}" if own else f"{stars}{each.name}: {self._type(each.annotation, home)}"
            parameters.append(text if each.default is each.empty else f"{text} = ...")
            if each.kind is each.POSITIONAL_ONLY and kinds[number + 1 : number + 2] != [each.POSITIONAL_ONLY]:
                parameters.append("/")
        return f"{name}({', '.join(parameters)}) -> {self._type(signature.return_annotation, home)}: ..."

    def _value(self, name: str, annotation: object, home: str) -> str:
        self._imports.add("from collections.abc import Awaitable")
        return f"@property\n    def {name}(self) -> Awaitable[{self._type(annotation, home)}]: ..."

    # -- types, as text that means the same in another module

    def _type(self, annotation: object, home: str) -> str:
        if annotation is inspect.Parameter.empty:
            self._need_any()
            return "Any"
        text = _text(annotation)
        try:
            tree = ast.parse(text, mode="eval")
        except SyntaxError:
            self._need_any()
            return "Any"
        if isinstance(annotation, str):
            needed = {line for each in ast.walk(tree) if isinstance(each, ast.Name) for line in self._import_of(each.id, home)}
        else:
            needed = set(_imports_of_dotted(tree))
        self._imports |= needed
        return text

    def _import_of(self, name: str, home: str) -> Iterator[str]:
        found = self._names(home)
        if name in found:
            yield found[name]
        elif not hasattr(builtins, name) or name in getattr(sys.modules.get(home), "__dict__", ()):
            yield f"from {home} import {name}"

    def _names(self, home: str) -> dict[str, str]:
        """What a module imports, by name, as lines; for type checkers only, too."""
        if home not in self._known:
            try:
                tree: ast.AST = ast.parse(inspect.getsource(sys.modules[home]))
            except (KeyError, OSError, TypeError, SyntaxError):
                tree = ast.Module([], [])
            self._known[home] = dict(_imported(tree, home))
        return self._known[home]

    def _need_any(self) -> None:
        self._imports.add("from typing import Any")


def _members(cls: type) -> Iterator[tuple[str, Any, str]]:
    """Names, members and modules, as the method resolution order gives them; bases first."""
    found: dict[str, tuple[Any, str]] = {}
    for base in reversed(cls.__mro__[:-1]):
        for name, member in vars(base).items():
            found[name] = (member, base.__module__)
    for name, (member, home) in found.items():
        yield name, member, home


def _attributes(cls: type) -> Iterator[tuple[str, object, str]]:
    """Annotated attributes of the class and its bases, and those that an __init__ annotates."""
    for base in reversed(cls.__mro__[:-1]):
        for name, annotation in inspect.get_annotations(base).items():
            if "ClassVar" not in str(annotation):
                yield name, annotation, base.__module__
        try:
            source = inspect.getsource(base)
        except (OSError, TypeError):
            continue
        for name, text in _annotated_in_init(textwrap.dedent(source)):
            yield name, text, base.__module__


def _annotated_in_init(source: str) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name == "__init__" and node.args.args:
            own = node.args.args[0].arg
            for each in ast.walk(node):
                if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Attribute):
                    if isinstance(each.target.value, ast.Name) and each.target.value.id == own:
                        yield each.target.attr, ast.unparse(each.annotation)


def _text(annotation: object) -> str:
    if isinstance(annotation, str):
        return annotation
    if annotation is None or annotation is type(None):
        return "None"
    if isinstance(annotation, type) and not hasattr(annotation, "__origin__"):
        home = "" if annotation.__module__ == "builtins" else f"{annotation.__module__}."
        return f"{home}{annotation.__qualname__}"
    return repr(annotation)


def _imports_of_dotted(tree: ast.AST) -> Iterator[str]:
    """An import for each dotted name: of the longest module that it begins with."""
    for each in ast.walk(tree):
        if isinstance(each, ast.Attribute):
            parts = ast.unparse(each).split(".")
            modules = [".".join(parts[:size]) for size in range(len(parts) - 1, 0, -1)]
            yield from (f"import {module}" for module in modules[:1] if module in sys.modules)


def _imported(tree: ast.AST, home: str) -> Iterator[tuple[str, str]]:
    package = home.split(".")
    if not hasattr(sys.modules.get(home), "__path__"):
        package = package[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname:
                    yield alias.asname, f"import {alias.name} as {alias.asname}"
                else:
                    yield alias.name.partition(".")[0], f"import {alias.name}"
        elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                renamed = f" as {alias.asname}" if alias.asname else ""
                yield alias.asname or alias.name, f"from {module} import {alias.name}{renamed}"
