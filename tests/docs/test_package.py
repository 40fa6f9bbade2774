"""What is published: a description without dead links, an sdist with everything, install lines that give this package, locked requirements."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "guides").glob("*.md")]
LEFT_OUT = shutil.ignore_patterns(
    ".venv*", ".git", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis", ".nats-servers"
)
INSTALL = re.compile(r"(?:pip|install)\s+(?:-e )?('?)([\w./]*\[[\w,]+\])('?)")


@pytest.fixture(scope="module")
def publishing() -> ModuleType:
    spec = importlib.util.spec_from_file_location("coopy_setup", ROOT / "setup.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_without_an_address_the_description_has_no_link_to_a_file(publishing: ModuleType) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = publishing.description(readme, None)
    assert not re.search(r"\]\((?!https?:)", shown)
    assert "More on each in limits." in shown


def test_with_an_address_each_link_leads_there(publishing: ModuleType) -> None:
    shown = publishing.description(
        "See [limits](docs/guides/limits.md) and [it](https://example.org/x).", "https://example.org/coopy"
    )
    assert shown == "See [limits](https://example.org/coopy/blob/main/docs/guides/limits.md) and [it](https://example.org/x)."


@pytest.mark.parametrize(
    ("pyproject", "address"),
    [
        ('[project.urls]\nSource = "https://example.org/coopy/"\n', "https://example.org/coopy"),
        ('[project.urls]\nDocumentation = "https://d"\nSource = "https://s"\n', "https://s"),
        ('[project.urls]\nDocumentation = "https://d"\n\n[tool.x]\nSource = "https://s"\n', None),
        ('[project]\nname = "coopy"\n', None),
    ],
)
def test_the_address_is_what_pyproject_says(publishing: ModuleType, pyproject: str, address: str | None) -> None:
    assert publishing.address(pyproject) == address


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_an_install_line_is_quoted_and_gives_this_package(page: Path) -> None:
    for before, what, after in INSTALL.findall(page.read_text(encoding="utf-8")):
        assert before == after == "'", f"{page.name}: {what} is not quoted, and zsh would look for files"
        assert what.startswith("."), f"{page.name}: {what} would be what the index has under that name, which is 0.7.0"


def test_what_the_code_says_to_install_is_quoted() -> None:
    for module in (ROOT / "coopy").rglob("*.py"):
        for before, what, after in INSTALL.findall(module.read_text(encoding="utf-8")):
            assert before == after == "'", f"{module}: {what}"


def test_without_fcntl_one_sentence_says_where_coopy_runs(tmp_path: Path) -> None:
    program = "import sys\nsys.modules['fcntl'] = None\nimport coopy\ncoopy.init_system(type('Plain', (), {}), 'data')\n"
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stderr.strip().splitlines()[-1].startswith("ImportError: coopy runs on Linux and macOS")
    assert "No module named" not in ran.stderr


@pytest.mark.slow
def test_the_sdist_has_tests_docs_examples_and_the_changelog(tmp_path: Path) -> None:
    copy = shutil.copytree(ROOT, tmp_path / "checkout", ignore=LEFT_OUT)
    build = "import sys; from setuptools import build_meta; print(build_meta.build_sdist(sys.argv[1]))"
    made = subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=copy, capture_output=True, text=True, check=True)
    with tarfile.open(tmp_path / made.stdout.splitlines()[-1]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
        info = next(name for name in sdist.getnames() if name.count("/") == 1 and name.endswith("PKG-INFO"))
        member = sdist.extractfile(info)
        assert member is not None
        metadata = member.read().decode()
    wanted = {
        "CHANGELOG.md",
        "LICENSE",
        "Makefile",
        "docs/index.md",
        "docs/guides/limits.md",
        "docs/site/build.py",
        "examples/demo.py",
    }
    assert wanted <= names
    tests = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("*")
        if path.is_file() and path.suffix in (".py", ".dat", ".log", ".json")
    }
    assert {name for name in tests if "__pycache__" not in name} <= names
    assert not any(name.endswith(".pyc") for name in names)
    body = metadata.partition("\n\n")[2]
    assert "coopy makes a plain Python object survive" in body and not re.search(r"\]\((?!https?:)", body)


def test_the_requirements_of_the_tests_are_locked_and_are_those_of_the_extras() -> None:
    """Each package that the tests ask for has one version; where an older Python can't have it, the marker says so."""
    locked = (ROOT / "tests" / "constraints.txt").read_text(encoding="utf-8")
    found = re.findall(r"^([a-z0-9-]+)==([\w.]+)(?: ; python_version >= \"3\.\d+\")?$", locked, re.M)
    lines = [line for line in locked.splitlines() if not line.startswith("#")]
    assert len(found) == len(lines) > 50
    extra = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("\ntest = [")[2].partition("\n]")[0]
    asked = {re.split(r"[>\[]", name)[0] for name in re.findall(r'"([^"]+)"', extra)} - {"coopy", "setuptools"}
    assert asked <= {name for name, _ in found}
    assert "-c tests/constraints.txt" in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()


def test_the_site_needs_of_coopy_what_its_commands_need() -> None:
    """Nothing of coopy is installed for it, so that a change of pyproject.toml does not have it installed anew."""
    said = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    needed = {
        name for line in re.findall(r"^(?:dependencies|cli) = \[(.*)\]", said, re.M) for name in re.findall(r'"([^"]+)"', line)
    }
    there = set((ROOT / "docs" / "requirements.txt").read_text(encoding="utf-8").splitlines())
    assert len(needed) == 2 and needed <= there
