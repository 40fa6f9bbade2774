"""Every Python example in the README and in docs/ runs, and so does every program in examples/."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
WITH_EXAMPLES = [text for text in TEXTS if "```python" in text.read_text()]


@pytest.mark.parametrize("text", WITH_EXAMPLES, ids=lambda text: str(text.relative_to(ROOT)))
def test_the_examples_of_a_text_run_in_order(text: Path, tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", text.read_text(), re.S | re.M)
    program = tmp_path / "example.py"
    program.write_text("\n".join(blocks))
    ran = subprocess.run([sys.executable, str(program)], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr


def test_the_demo_finds_everything_and_says_so(tmp_path: Path) -> None:
    demo = [sys.executable, str(ROOT / "examples" / "demo.py"), "40"]
    ran = subprocess.run(demo, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "every acknowledged call is there" in ran.stdout


def test_the_todo_of_the_readme_remembers_its_first_run(tmp_path: Path) -> None:
    block = next(b for b in re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.S | re.M) if "class Todo" in b)
    (tmp_path / "todo.py").write_text(block)
    for expected in (1, 2):
        ran = subprocess.run([sys.executable, "todo.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert ran.stdout.count("water the plants") == expected, ran.stderr


def test_every_link_between_texts_leads_somewhere() -> None:
    for text in TEXTS:
        for target in re.findall(r"\]\(([^)#:]+)\)", text.read_text()):
            assert (text.parent / target).exists(), f"{text.name} links to {target}"
