"""What docs/guides/tools.md shows is what the commands print."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("click", reason="the extra [cli] is not installed")

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "tools.md"
PLACE = "/srv/wiki"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    block = re.search(r"^```python\n(.*?)^```", GUIDE.read_text(), re.S | re.M)
    assert block is not None
    (tmp_path / "wiki.py").write_text(block[1])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "118")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    sys.modules.pop("wiki", None)
    importlib.import_module("wiki").fill()
    yield tmp_path
    sys.modules.pop("wiki", None)


def run(line: str, here: Path, capfd: pytest.CaptureFixture[str]) -> str:
    """What a line of a shell prints."""
    import shlex

    from coopy.cli.app import app

    capfd.readouterr()
    if not line.startswith("coopy "):
        subprocess.run(line, shell=True, cwd=here, check=True, timeout=60)
    else:
        with pytest.raises(SystemExit):
            app(shlex.split(line)[1:], prog_name="coopy")
    out, err = capfd.readouterr()
    # In a terminal what is said of the directory comes first, and what went wrong last.
    before = "".join(each + "\n" for each in err.splitlines() if not each.startswith("coopy:"))
    after = "".join(each + "\n" for each in err.splitlines() if each.startswith("coopy:"))
    return before + out + after


def likeness(text: str, here: str) -> str:
    """The text without what is another each time: numbers, ids, the owner, and how wide a column is."""
    text = text.replace(here, PLACE)
    for pattern, same in ((r"\b[0-9a-f]{32}\b", "ID"), (r"owned by \S+", "owned by X,"), (r"\d+", "0"), (r"[ \t]+", " ")):
        text = re.sub(pattern, same, text)
    return text.strip()


def test_every_command_of_the_guide_prints_what_it_shows(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shown = 0
    for block in re.findall(r"^```console\n(.*?)^```", GUIDE.read_text(), re.S | re.M):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            line, _, printed = part.partition("\n")
            assert likeness(run(line, here, capfd), str(here)) == likeness(printed, PLACE), line
            shown += line.startswith("coopy ")
    assert shown > 10


def test_the_guide_has_a_section_for_every_command() -> None:
    from coopy.cli.app import app

    assert set(re.findall(r"^## (\w+):", GUIDE.read_text(), re.M)) == set(app.list_commands(None))
