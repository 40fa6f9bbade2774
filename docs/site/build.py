"""Builds the site: `make docs`. Lays out a copy of docs/, makes the pages of the reference and of the command line, and runs Sphinx on it.

A warning is an error: a link inside the site that leads nowhere, a heading that is not there, a page that nothing leads to.
"""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parent)]

import commands
import names

ROOT = names.ROOT
BUILD = ROOT / "build" / "docs"
ABOUT = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
_LINK = re.compile(r"(!?\[(?:[^\]\[]|\[[^\]]*\])*\])\(([^)#\s]+)(#[^)\s]*)?\)")
_FENCE = re.compile(r"(^ *```.*?^ *```[ ]*$)", re.M | re.S)
_NOT_AT_THE_SIDE = "---\norphan: true\n---\n\n"
"""Above the page of a name: the page of its module lists it. At the side of every page stands a list of all others, and with 250 names in it, the
theme spent two thirds of the time of the whole site on making it."""
_HOME = """
```{toctree}
:hidden:
:caption: Begin

about/README
tutorial
guides/limits
```

```{toctree}
:hidden:
:glob:
:caption: Guides

guides/[!l]*
guides/l[!i]*
```

```{toctree}
:hidden:
:caption: Reference

reference/index
reference/commands
```

```{toctree}
:hidden:
:glob:
:caption: For developers

about/[!R]*
internals/*
design/*
```
"""


def lay_out(source: Path) -> None:
    """Writes all pages of the site below ``source``, with their links leading to where they are there."""
    for page in sorted((ROOT / "docs").rglob("*")):
        inside = page.relative_to(ROOT / "docs")
        if inside.parts[0] in ("site", "requirements.txt") or page.is_dir() or page.suffix in (".py", ".pyc"):
            continue
        (source / inside).parent.mkdir(parents=True, exist_ok=True)
        if page.suffix == ".md":
            _write(source / inside, _text(page, inside))
        else:
            shutil.copyfile(page, source / inside)
    for name in ABOUT:
        _write(source / "about" / name, _text(ROOT / name, Path("about") / name))
    for module in names.MODULES:
        _write(source / "reference" / f"{module}.md", names.index_of(module))
    for name in names.all_names():
        _write(source / name.page, _NOT_AT_THE_SIDE + names.page_of(name))
    _write(source / "reference" / "commands.md", commands.page())
    _write(source / "reference" / "index.md", _reference())
    with (source / "index.md").open("a", encoding="utf-8") as index:
        index.write(_HOME)


def _reference() -> str:
    listed = "\n".join(names.MODULES)
    links = "\n".join(f"* [{module}]({module}.md)" for module in names.MODULES)
    return (
        "# Reference\n\nA page for each public name, made of what the code says of itself, with an example of the guides; "
        f"[all errors and what to do](../guides/errors.md); [every command](commands.md).\n\n{links}\n\n```{{toctree}}\n:hidden:\n\n{listed}\n```\n"
    )


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _text(page: Path, inside: Path) -> str:
    """Returns the text of a page, each link leading to where that file is in the site; what is not in the site is named without one."""
    parts = _FENCE.split(page.read_text(encoding="utf-8"))
    return "".join(
        part if _FENCE.fullmatch(part) else _LINK.sub(lambda found: _link(found, page, inside), part) for part in parts
    )


def _link(found: re.Match[str], page: Path, inside: Path) -> str:
    if re.match(r"[a-z]+:", found[2]):
        return found[0]
    target = Path(os.path.normpath(page.parent / found[2])).relative_to(ROOT)
    if target.parts[0] == "docs" and (ROOT / target).is_file():
        there = Path(*target.parts[1:])
    elif str(target) in ABOUT:
        there = Path("about") / target
    else:
        return f"{found[1][1:-1]} (`{target}`)"
    return f"{found[1]}({posixpath.relpath(there.as_posix(), inside.parent.as_posix())}{found[3] or ''})"


def main() -> int:
    """Builds the site into build/docs/html. Returns the exit code of Sphinx."""
    from sphinx.cmd.build import main as sphinx

    shutil.rmtree(BUILD, ignore_errors=True)
    source = BUILD / "source"
    lay_out(source)
    failed = sphinx(
        [
            "-q",
            "-W",
            "--keep-going",
            "-n",
            "-j",
            "auto",
            "-c",
            str(Path(__file__).parent),
            "-b",
            "html",
            str(source),
            str(BUILD / "html"),
        ]
    )
    print(f"build/docs/html/index.html: {'NOT ' if failed else ''}built")
    return failed


if __name__ == "__main__":
    sys.exit(main())
