"""The pages of the reference: one for each public name, in Markdown, made of what the code says of itself.

A page has the signature, the docstring, the public members of a class, and the shortest example in the guides that uses the name; the
guides' examples are run by the tests. Nothing is kept: `build.py` writes the pages when the site is built, so they can not be out of date.
Only the standard library is needed, so that a test can ask for the text of a page without building the site.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import keyword
import re
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
MODULES = (
    "coopy",
    "coopy.aio",
    "coopy.testing",
    "coopy.batteries",
    "coopy.sync",
    "coopy.messaging",
    "coopy.metrics",
    "coopy.objects",
    "coopy.migration",
    "coopy.errors",
)
SIGNATURE_COLUMNS = 88
EXAMPLE_LINES_MAX = 40
GUIDES_NAMED_MAX = 4
_SECTION = re.compile(r"(Args|Arguments|Raises|Returns|Yields|Attributes|Example|Examples|Note|Notes):")
_BLOCK = re.compile(r"^```py(?:thon)?\n(.*?)^```$", re.M | re.S)


class Name(NamedTuple):
    """A public name: the module that offers it, and what it is."""

    module: str
    name: str
    value: Any

    @property
    def full(self) -> str:
        return f"{self.module}.{self.name}"

    @property
    def kind(self) -> str:
        if inspect.isclass(self.value):
            return "exception" if issubclass(self.value, BaseException) else "class"
        return "function" if callable(self.value) and hasattr(self.value, "__name__") else "value"

    @property
    def page(self) -> str:
        """The path of its page. The kind is part of it: ``Control`` and ``control`` are one file where case is not told apart."""
        return f"reference/{self.module}/{self.name}-{self.kind}.md"


def public_names(module: str) -> list[Name]:
    """Returns what a module offers in its ``__all__``, in the order of the alphabet; of exceptions, those that `coopy` does not offer."""
    found = importlib.import_module(module)
    offered = getattr(found, "__all__", None) or _other_exceptions(found)
    return [Name(module, name, getattr(found, name)) for name in sorted(offered, key=lambda name: (name.lower(), name))]


def _other_exceptions(module: Any) -> list[str]:
    of_coopy = importlib.import_module("coopy").__all__
    return [
        name
        for name, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, BaseException) and name not in of_coopy and not name.startswith("_")
    ]


@cache
def all_names() -> tuple[Name, ...]:
    """Returns the public names of all modules of the reference."""
    return tuple(name for module in MODULES for name in public_names(module))


def page_of(name: Name) -> str:
    """Returns the page of a name, in Markdown."""
    parts = [f"# {name.full}", f"A{'n' if name.kind == 'exception' else ''} {name.kind}{_also(name)}."]
    if name.kind != "value":
        parts.append(_fence("python", _signature(name.name, name.value)))
    if name.kind in ("class", "exception"):
        bases = [_linked(f"`{base.__name__}`", name) for base in name.value.__bases__ if base is not object]
        if bases:
            parts.append(f"Bases: {', '.join(bases)}.")
    parts.append(markdown(_words(name), name))
    if name.kind == "exception":
        parts.append(_what_to_do(name))
    parts += [text for member in _members(name.value) for text in _member(name, *member)]
    parts += _examples(name)
    return "\n\n".join(part for part in parts if part) + "\n"


def index_of(module: str) -> str:
    """Returns the page of a module: what it says of itself, and a line for each of its names."""
    names = public_names(module)
    about = inspect.cleandoc(importlib.import_module(module).__doc__ or "")
    rows = [
        f"| [`{name.name}`]({Path(name.page).relative_to('reference')}) | {name.kind} | {_first_line(name)} |" for name in names
    ]
    table = "\n".join(["| name | | |", "| --- | --- | --- |", *rows])
    return f"# {module}\n\n{markdown(about, Name(module, '', None))}\n\n{table}\n"


def _first_line(name: Name) -> str:
    first = _words(name).strip().split("\n\n")[0]
    sentence = re.split(r"(?<=[.:]) ", " ".join(first.split()), maxsplit=1)[0]
    return _linked(sentence.rstrip(":"), Name(name.module, "", None)).replace("|", "\\|")


def _also(name: Name) -> str:
    others = [other for other in all_names() if other.value is name.value and other.full != name.full and name.kind != "value"]
    links = ", ".join(f"[`{other.full}`](../../{other.page})" for other in others)
    return f", also {links}" if links else ""


def _words(name: Name) -> str:
    """Returns the docstring of a name; of a value, the string below its assignment, or what its class says."""
    value = name.value
    if name.kind == "value":
        return _below_assignment(name) or inspect.getdoc(type(value)) or f"The value `{value!r}`."
    found = vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__
    if not found and inspect.isclass(value):
        found = next((vars(base)["__doc__"] for base in value.__mro__[1:-1] if vars(base).get("__doc__")), "")
    return inspect.cleandoc(found or "")


def _below_assignment(name: Name) -> str:
    tree = ast.parse(_source(name.module))
    home = name.module
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and name.name in [each.asname or each.name for each in node.names]:
            home = node.module
    body = ast.parse(_source(home)).body
    return _attributes(body).get(name.name, "")


def _source(module: str) -> str:
    return inspect.getsource(importlib.import_module(module))


def _attributes(body: list[ast.stmt]) -> dict[str, str]:
    """Returns the strings that stand below assignments, by the name that is assigned to."""
    found = {}
    for node, below in zip(body, body[1:], strict=False):
        if (
            not isinstance(below, ast.Expr)
            or not isinstance(below.value, ast.Constant)
            or not isinstance(below.value.value, str)
        ):
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        found.update({target.id: inspect.cleandoc(below.value.value) for target in targets if isinstance(target, ast.Name)})
    return found


def _signature(title: str, value: Any) -> str:
    """Returns a call as code; its parameters on lines of their own where it would be long."""
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return f"{title}(...)"
    parameters, kinds = [], set()
    for each in signature.parameters.values():
        if each.name == "self" and not parameters:
            continue
        if each.kind is each.KEYWORD_ONLY and not kinds & {each.KEYWORD_ONLY, each.VAR_POSITIONAL}:
            parameters.append("*")
        kinds.add(each.kind)
        stars = {each.VAR_POSITIONAL: "*", each.VAR_KEYWORD: "**"}.get(each.kind, "")
        text = stars + each.name + (f": {_annotation(each.annotation)}" if each.annotation is not each.empty else "")
        parameters.append(text + (f" = {_default(each.default)}" if each.default is not each.empty else ""))
    returned = signature.return_annotation
    answer = "" if returned is signature.empty or inspect.isclass(value) else f" -> {_annotation(returned)}"
    line = f"{title}({', '.join(parameters)}){answer}"
    if len(line) <= SIGNATURE_COLUMNS:
        return line
    return "\n".join([f"{title}(", *(f"    {each}," for each in parameters), f"){answer}"])


def _annotation(found: Any) -> str:
    return found if isinstance(found, str) else inspect.formatannotation(found)


def _default(value: Any) -> str:
    if callable(value) and hasattr(value, "__name__"):
        return str(value.__name__)
    text = repr(value)
    return "..." if " at 0x" in text or len(text) > SIGNATURE_COLUMNS else text


def _members(value: Any) -> Iterator[tuple[str, Any]]:
    """The public members of a class that coopy defines, its own first, as they stand in the source."""
    if not inspect.isclass(value):
        return
    seen: set[str] = set()
    for base in value.__mro__:
        if not base.__module__.startswith("coopy"):
            continue
        for name, member in vars(base).items():
            if name.startswith("_") or name in seen or keyword.iskeyword(name):
                continue
            seen.add(name)
            if inspect.isfunction(member) or isinstance(member, (property, classmethod, staticmethod)):
                yield name, getattr(value, name) if not isinstance(member, property) else member


def _member(name: Name, called: str, member: Any) -> list[str]:
    if isinstance(member, property):
        returned = getattr(member.fget, "__annotations__", {}).get("return", "")
        head = _fence("python", f"{called}: {_annotation(returned)}" if returned else called)
    else:
        head = _fence("python", _signature(called, member))
    return [f"## {called}", head, markdown(inspect.getdoc(member) or "", name)]


def markdown(docstring: str, name: Name) -> str:
    """Returns a docstring as Markdown: examples and indented blocks fenced, sections as lists, names of pages and of the reference linked."""
    done = [""]
    lines = docstring.splitlines()
    at = 0
    while at < len(lines):
        line = lines[at]
        if line.startswith(">>> "):
            end = next((i for i in range(at, len(lines)) if not lines[i].strip()), len(lines))
            done += ["", _fence("pycon", "\n".join(lines[at:end])), ""]
        elif line.startswith("    ") and (not done[-1].strip() or done[-1].rstrip().endswith(":") or done[-1] in _HEADS):
            end = next((i for i in range(at, len(lines)) if lines[i].strip() and not lines[i].startswith("    ")), len(lines))
            block = textwrap.dedent("\n".join(lines[at:end])).strip("\n")
            is_section = next((text for text in reversed(done) if text.strip()), "") in _HEADS
            done += ["", _list(block, name) if is_section else _fence(_language(block), block), ""]
        else:
            end = at + 1
            done.append(_HEADS_OF.get(line, "") if _SECTION.fullmatch(line) else _linked(line, name))
        at = end
    return re.sub(r"\n{3,}", "\n\n", "\n".join(done)).strip()


_HEADS_OF = {f"{head}:": f"**{head}**" for head in _SECTION.pattern[1:-2].split("|")}
_HEADS = frozenset(_HEADS_OF.values())


def _list(block: str, name: Name) -> str:
    """Returns the entries of a section, ``name: what it is``, as a list."""
    items: list[str] = []
    for line in block.splitlines():
        if line.startswith(" ") and items:
            items[-1] += " " + line.strip()
        elif line.strip():
            items.append(line)
    return "\n".join("* " + _linked(re.sub(r"^([\w*, ]+):", r"`\1`:", item), name) for item in items)


def _language(block: str) -> str:
    try:
        ast.parse(block)
    except (SyntaxError, ValueError):
        return "text"
    return "python"


def _fence(language: str, block: str) -> str:
    return f"```{language}\n{block}\n```"


def _linked(line: str, name: Name) -> str:
    """Returns a line in which the guides and the public names that it mentions are links."""
    above = "../../" if name.name else "../"  # The page of a module is one folder higher.
    line = re.sub(
        r"(?<![\w`/(])docs/([\w/-]+\.md)(#[\w-]+)?",
        lambda found: f"[{Path(found[1]).stem}]({above}{found[1]}{found[2] or ''})",
        line,
    )

    def link(found: re.Match[str]) -> str:
        target = _target(found[1].removesuffix("()"), name)
        return f"[`{found[1]}`]({above}{target.page})" if target is not None and target.full != name.full else found[0]

    return re.sub(r"(?<![`\[])`([\w.]+(?:\(\))?)`(?!`|\])", link, line)


def _target(text: str, near: Name) -> Name | None:
    """Returns the public name that a text means: the whole of it, or a name of the same module, or of coopy."""
    for wanted in (text, f"{near.module}.{text}", f"coopy.{text}"):
        if wanted in _by_full():
            return _by_full()[wanted]
    return None


@cache
def _by_full() -> dict[str, Name]:
    return {name.full: name for name in all_names()}


def _what_to_do(name: Name) -> str:
    told = re.sub(r"\]\((?=[\w-]+\.md)", "](../../guides/", advice().get(name.name, ""))
    return f"**What to do.** {told} See [all errors](../../guides/errors.md)." if told else ""


@cache
def advice() -> dict[str, str]:
    """Returns what docs/guides/errors.md says is to be done, by the name of the exception."""
    text = (ROOT / "docs" / "guides" / "errors.md").read_text(encoding="utf-8")
    return {row[1]: row[2].strip() for row in re.finditer(r"^\| `(\w+)` \|[^|]*\| ([^|]*) \|$", text, re.M)}


@cache
def _guides() -> dict[str, tuple[str, tuple[str, ...]]]:
    pages = [ROOT / "docs" / "tutorial.md", *sorted((ROOT / "docs" / "guides").glob("*.md"))]
    texts = {str(page.relative_to(ROOT / "docs")): page.read_text(encoding="utf-8") for page in pages}
    return {page: (text, tuple(_BLOCK.findall(text))) for page, text in texts.items()}


def _uses(name: Name, text: str) -> bool:
    """Whether a guide means this name by it: it imports it from its module, or asks its module for it."""
    if name.name not in text:
        return False  # Few guides have the name at all, and to look for words takes most of the time of a page.
    called = re.escape(name.name)
    imported = re.search(rf"from {re.escape(name.module)} import [^\n]*\b{called}\b", text)
    return bool(imported or (name.full in text and re.search(rf"\b{re.escape(name.full)}\b", text)))


def _examples(name: Name) -> list[str]:
    """Returns the shortest example that uses a name, and the guides that speak of it."""
    word = re.compile(rf"(?<![\w.]){re.escape(name.name)}\b|\b{re.escape(name.full)}\b")
    found, named = [], []
    for page, (text, blocks) in _guides().items():
        if not _uses(name, text):
            continue
        named.append(page)
        used = [
            block
            for block in blocks
            if any(word.search(line) and not line.startswith(("from ", "import ")) for line in block.splitlines())
        ]
        found += [(len(block.splitlines()), page, block.rstrip()) for block in used]
    parts = []
    if found and (shortest := min(found))[0] <= EXAMPLE_LINES_MAX:
        parts = [
            "## Example",
            f"From [{Path(shortest[1]).stem}](../../{shortest[1]}), whose examples are run one after the other:",
            _fence("python", shortest[2]),
        ]
    if named:
        links = ", ".join(f"[{Path(page).stem}](../../{page})" for page in named[:GUIDES_NAMED_MAX])
        parts.append(f"In the guides: {links}.")
    return parts
