"""The reference has a page for each public name, for each command, and says of each exception what to do."""

from __future__ import annotations

import importlib.util
import inspect
import os
import re
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

import coopy.errors

ROOT = Path(__file__).resolve().parents[2]
SPHINX = next((python for python in (ROOT / ".venv-docs" / "bin" / "python",) if python.exists()), None)


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"site_{name}", ROOT / "docs" / "site" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


names = loaded("names")
SOMEWHERE = names.Name("coopy", "somewhere", None)


def test_the_modules_of_the_reference_are_those_that_users_import() -> None:
    of_users = "batteries messaging metrics objects sync aio testing migration errors".split()
    assert {"coopy", *(f"coopy.{name}" for name in of_users)} == {*names.MODULES}


@pytest.mark.parametrize("module", names.MODULES)
def test_every_public_name_has_a_page_that_says_what_it_is(module: str) -> None:
    offered = getattr(importlib.import_module(module), "__all__", ())
    found = {name.name: name for name in names.public_names(module)}
    assert found.keys() == set(offered) or (module == "coopy.errors" and found)
    index = names.index_of(module)
    for name in found.values():
        title, what, *rest = names.page_of(name).split("\n\n")
        assert title == f"# {module}.{name.name}" and name.kind in what
        assert any(part.strip() and not part.startswith("```") for part in rest), f"{name.full} says nothing of itself"
        assert f"({Path(name.page).relative_to('reference')})" in index


@pytest.mark.parametrize("module", names.MODULES)
def test_every_page_shows_how_a_name_is_used_or_leads_to_where_that_is_shown(module: str) -> None:
    for name in names.public_names(module):
        page = names.page_of(name)
        assert "```pycon" in page or "## Example" in page or re.search(r"\]\(\.\./\.\./guides/", page), name.full


def test_every_exception_of_coopy_has_a_page() -> None:
    pages = {name.value for name in names.all_names() if name.kind == "exception"}
    of_coopy = {value for value in vars(coopy.errors).values() if inspect.isclass(value) and issubclass(value, BaseException)}
    assert of_coopy - pages == set()


def test_no_two_pages_are_one_file_where_case_is_not_told_apart() -> None:
    pages = [name.page.lower() for name in names.all_names()]
    assert len(set(pages)) == len(pages)


def test_a_link_of_the_reference_leads_to_a_page_of_it_or_to_one_of_the_documentation() -> None:
    pages = {name.page: names.page_of(name) for name in names.all_names()}
    pages |= {f"reference/{module}.md": names.index_of(module) for module in names.MODULES}
    for page, text in pages.items():
        for target in re.findall(r"\]\((?![a-z]+:)([^)#]+)", re.sub(r"```.*?```", "", text, flags=re.S)):
            there = os.path.normpath(Path(page).parent / target)
            assert there in pages or (ROOT / "docs" / there).is_file(), f"{page}: {target}"


def test_every_exception_is_in_the_guide_with_what_to_do() -> None:
    told = names.advice()
    of_coopy = [name for name, value in vars(coopy.errors).items() if inspect.isclass(value) and issubclass(value, Exception)]
    offered = [name.name for name in names.all_names() if name.kind == "exception"]
    assert [name for name in {*of_coopy, *offered} if not told.get(name)] == []
    assert "**What to do.**" in names.page_of(next(name for name in names.all_names() if name.full == "coopy.DirectoryInUse"))


def test_what_the_guide_of_errors_names_is_an_exception() -> None:
    there = {*vars(coopy.errors), *(name.name for name in names.all_names() if name.kind == "exception")}
    assert set(names.advice()) <= there


@pytest.mark.parametrize(
    ("docstring", "page"),
    [
        ("Says.\n\n>>> 1 + 1\n2\n\nMore.", "Says.\n\n```pycon\n>>> 1 + 1\n2\n```\n\nMore."),
        ("Says.\n\n    x = 1\n    y = 2", "Says.\n\n```python\nx = 1\ny = 2\n```"),
        (
            "A table:\n\n    line 1  the pid\n    line 2  the boot",
            "A table:\n\n```text\nline 1  the pid\nline 2  the boot\n```",
        ),
        (
            "Does.\n\nArgs:\n    name: of it,\n        and more.\n    at: when.",
            "Does.\n\n**Args**\n\n* `name`: of it, and more.\n* `at`: when.",
        ),
        ("Raises:\n    ValueError: never.", "**Raises**\n\n* `ValueError`: never."),
        ("See docs/guides/tools.md.", "See [tools](../../guides/tools.md)."),
        ("As `replay` does.", "As [`replay`](../../reference/coopy/replay-function.md) does."),
        ("As `coopy.sync.Lock` is.", "As [`coopy.sync.Lock`](../../reference/coopy.sync/Lock-class.md) is."),
        ("Not ``replay`` and `nothing_of_ours`.", "Not ``replay`` and `nothing_of_ours`."),
    ],
)
def test_a_docstring_becomes_markdown(docstring: str, page: str) -> None:
    assert names.markdown(docstring, SOMEWHERE) == page


def test_a_name_that_a_guide_uses_has_its_example_and_leads_there() -> None:
    page = names.page_of(next(name for name in names.all_names() if name.full == "coopy.entity"))
    assert "## Example" in page and "(../../guides/passing-objects.md)" in page


def test_the_page_of_commands_has_the_help_of_each() -> None:
    pytest.importorskip("click")
    page = loaded("commands").page()
    for command in ("coopy inspect", "coopy repair", "coopy tasks", "coopy cluster status", "coopy web"):
        assert f"# {command}\n" in page
    assert page.count("Usage: ") == page.count("```text")


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(SPHINX is None, reason="the tools of the site are not installed here: make docs installs them")
def test_the_site_is_built_without_a_warning() -> None:
    built = subprocess.run([str(SPHINX), "docs/site/build.py"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
