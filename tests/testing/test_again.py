"""What failed runs once more, if it is little: see tests/again.py."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import again
import pytest


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was run, each of which fails."""
    made: list[Any] = []
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: (made.append(args), SimpleNamespace(returncode=1))[1])
    return made


def has_failed(results: Path, group: str, names: Iterable[str]) -> None:
    path = results / group / "v" / "cache" / "lastfailed"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(dict.fromkeys(names, True)))


def test_a_run_that_left_no_word_of_what_failed_is_a_failure(runs: list[Any], tmp_path: Path) -> None:
    assert again.main(tmp_path) == 1 and not runs


def test_a_group_that_ended_otherwise_is_a_failure(runs: list[Any], tmp_path: Path) -> None:
    has_failed(tmp_path, "one", "a")
    (tmp_path / "broken").touch()
    assert again.main(tmp_path) == 1 and not runs


@pytest.mark.parametrize("failed", [0, 4, 100])
def test_nothing_and_more_than_three_are_not_run_again(runs: list[Any], failed: int, tmp_path: Path) -> None:
    has_failed(tmp_path, "one", map(str, range(failed // 2)))
    has_failed(tmp_path, "other", map(str, range(failed // 2, failed)))
    assert again.main(tmp_path) == 1 and not runs


@pytest.mark.parametrize("code", [0, 1])
def test_up_to_three_of_all_groups_are_run_again_and_that_run_decides(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    has_failed(tmp_path, "one", "ab")
    has_failed(tmp_path, "other", "c")
    asked: list[Any] = []
    monkeypatch.setattr(subprocess, "run", lambda words, **_: (asked.append(words), SimpleNamespace(returncode=code))[1])
    assert again.main(tmp_path) == code and asked[0][-3:] == ["a", "b", "c"]
    assert ("PASSED ONLY THE SECOND TIME: a, b, c" in capsys.readouterr().out) is (code == 0)
