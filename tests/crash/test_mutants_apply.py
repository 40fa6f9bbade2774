"""The rows of mutants.py fit the code and the tests, so that the list can't rot."""

from __future__ import annotations

import re

import pytest
from crash.mutants import MUTANTS, ROOT, Misfit, Mutant, mutated


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_what_a_mutant_replaces_occurs_exactly_once_and_what_it_leaves_is_code(mutant: Mutant) -> None:
    sources: dict[str, str] = {}
    for edit in mutant.edits:
        before = sources.get(edit.file) or (ROOT / edit.file).read_text(encoding="utf-8")
        assert edit.old != edit.new
        sources[edit.file] = mutated(before, edit, mutant.name)
    for file, source in sources.items():
        compile(source, file, "exec")


def test_a_text_that_is_not_there_once_is_an_error_that_names_the_mutant_and_the_file() -> None:
    mutant = MUTANTS[0]
    for source in ("", mutant.old * 2):
        with pytest.raises(Misfit) as misfit:
            mutated(source, mutant.edits[0], mutant.name)
        assert mutant.name in str(misfit.value) and mutant.file in str(misfit.value)


def test_each_mutant_has_a_name_of_its_own() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


def test_every_test_that_is_to_notice_one_is_there() -> None:
    # By the names of functions: to collect fifty files takes half a minute on a machine under load.
    there: dict[str, set[str]] = {}
    for mutant in MUTANTS:
        file, _, name = mutant.test.partition("::")
        if file not in there:
            there[file] = set(re.findall(r"^ *def (test_\w+)", (ROOT / file).read_text(encoding="utf-8"), re.M))
        assert name in there[file], mutant.test
