"""coopy installed from this checkout, and a project of ten lines in an empty directory: its test passes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SETUPTOOLS = 77
"""The first release that reads our pyproject.toml."""
TEST = """\
class Counter:
    def __init__(self):
        self.count = 0

    def add(self, number):
        self.count += number

def test_a_counter_survives(coopy):
    counter = coopy.open(Counter)
    counter.add(2)
    assert coopy.crash(counter).count == 2
"""


def installed(folder: Path) -> Path:
    """A folder with coopy in it, as pip installs it."""
    source, target = folder / "source", folder / "installed"
    # A build leaves files where it is done.
    source.mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "coopy", source / "coopy", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target)]
    offline = int(metadata.version("setuptools").partition(".")[0]) >= SETUPTOOLS
    if offline:
        command += ["--no-build-isolation", "--no-index"]
    ran = subprocess.run([*command, str(source)], capture_output=True, text=True, timeout=60)
    if "No module named pip" in ran.stderr:
        pytest.skip("there is no pip")
    if ran.returncode and not offline:
        pytest.skip(f"setuptools is older than {SETUPTOOLS}, and pip could not get another: {ran.stderr.splitlines()[-1:]}")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return target


def test_a_test_in_an_empty_directory_passes_with_the_fixture(tmp_path: Path) -> None:
    target, project = installed(tmp_path), tmp_path / "project"
    project.mkdir()
    (project / "test_counter.py").write_text(TEST)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["PYTHONPATH"] = str(target)

    def run(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        ran = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=60)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    assert run("-c", "import coopy; print(coopy.__file__)").startswith(str(target)), "not the checkout"
    assert "1 passed" in run("-m", "pytest", "-p", "no:cacheprovider")
