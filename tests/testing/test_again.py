"""What failed runs once more, if it is little: see tests/again.py."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import again
import pytest


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """What was run, each of which fails."""
    made: list[Any] = []
    monkeypatch.setattr(again, "FAILED", tmp_path / "lastfailed")
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: (made.append(args), SimpleNamespace(returncode=1))[1])
    return made


def test_a_run_that_left_no_word_of_what_failed_is_a_failure(runs: list[Any]) -> None:
    assert again.main() == 1 and not runs


@pytest.mark.parametrize("failed", [0, 4, 100])
def test_nothing_and_more_than_three_are_not_run_again(runs: list[Any], failed: int) -> None:
    again.FAILED.write_text(json.dumps(dict.fromkeys(map(str, range(failed)), True)))
    assert again.main() == 1 and not runs


@pytest.mark.parametrize("code", [0, 1])
def test_up_to_three_are_run_again_and_that_run_decides(
    runs: list[Any], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    again.FAILED.write_text(json.dumps(dict.fromkeys("abc", True)))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=code))
    assert again.main() == code
    assert ("PASSED ONLY THE SECOND TIME: a, b, c" in capsys.readouterr().out) is (code == 0)
