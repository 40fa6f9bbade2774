"""What pages name is there: links, files, targets of make; and each word of the glossary has one home."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "tests" / "golden" / "README.md"])
INTERNALS = ROOT / "docs" / "internals"
ROW = re.compile(r"^\| (?!---)([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.M)


def files_named(text: str) -> list[str]:
    """Returns the files and folders of the repository that a text names in backticks."""
    return re.findall(r"`((?:coopy|tests|docs|examples|benchmarks)/[\w/.-]+)`", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)", page.read_text(encoding="utf-8")):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("name", ["words.md", "cpython.md", "errands.md"])
def test_a_file_that_a_page_of_the_internals_names_is_there(name: str) -> None:
    for line in (INTERNALS / name).read_text(encoding="utf-8").splitlines():
        for path in files_named(line):
            assert (ROOT / path).exists(), f"{name}: {path}"


def test_every_word_has_one_meaning_and_one_home() -> None:
    rows = [row for row in ROW.findall((INTERNALS / "words.md").read_text(encoding="utf-8")) if row[0] != "word"]
    words = [word for word, _, _ in rows]
    assert len(words) > 40 and len(set(words)) == len(words)
    for word, _, home in rows:
        assert len(files_named(home)) == 1, word


def test_eleven_errands_have_a_file_to_begin_in() -> None:
    rows = re.findall(r"^\| (?!errand|---)([^|]+) \| ([^|]+) \|$", (INTERNALS / "errands.md").read_text(encoding="utf-8"), re.M)
    assert len(rows) == 11
    assert all(files_named(where) for _, where in rows)


def test_what_we_rely_on_of_python_is_guarded_by_a_test() -> None:
    rows = ROW.findall((INTERNALS / "cpython.md").read_text(encoding="utf-8"))[1:]
    assert len(rows) >= 8
    for what, where, guard in rows:
        assert files_named(where) and all(each.startswith("tests/") for each in files_named(guard)), what


def test_every_target_of_make_that_a_page_names_is_one() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z0-9-]+):", makefile, re.M))
    for page in PAGES:
        for target in re.findall(r"`make ([a-z0-9-]+)", page.read_text(encoding="utf-8")):
            assert target in targets, f"{page.name}: make {target}"
