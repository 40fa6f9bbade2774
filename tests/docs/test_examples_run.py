"""Every Python example in the README and in docs/ runs, and so does every program in examples/."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import warm
from program import run, start

ROOT = Path(__file__).resolve().parents[2]
TEXTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = ROOT / "examples"
INDEX = (ROOT / "docs" / "index.md").read_text()
WITH_EXAMPLES = sorted(
    (text for text in TEXTS if "```python" in text.read_text()),
    key=lambda text: (
        text.name != "README.md",
        place if (place := INDEX.find(f"{text.name})")) >= 0 else len(INDEX),
        text.name,
    ),
)
"""In the order in which docs/index.md names them."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one folder in which somebody types everything, page after page, and then once more."""
    return tmp_path_factory.mktemp("typed")


@pytest.mark.parametrize("turn", ["first", "again"])
@pytest.mark.parametrize("text", WITH_EXAMPLES, ids=lambda text: str(text.relative_to(ROOT)))
def test_the_examples_of_a_text_run_in_order(turn: str, text: Path, folder: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", text.read_text(), re.S | re.M)
    program = folder / "example.py"
    program.write_text("\n".join(blocks))
    ran = warm.run(folder, str(program), env=os.environ)
    assert ran.returncode == 0, ran.stderr


def test_the_demo_finds_everything_and_says_so(tmp_path: Path) -> None:
    demo = [sys.executable, str(ROOT / "examples" / "demo.py"), "40"]
    ran = subprocess.run(demo, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "every acknowledged call is there" in ran.stdout


def test_the_todo_of_the_readme_remembers_its_first_run(tmp_path: Path) -> None:
    block = next(
        b for b in re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.S | re.M) if "class Todo" in b
    )
    (tmp_path / "todo.py").write_text(block)
    for expected in (1, 2):
        ran = subprocess.run([sys.executable, "todo.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert ran.stdout.count("water the plants") == expected, ran.stderr


def test_every_link_between_texts_leads_somewhere() -> None:
    for text in TEXTS:
        for target in re.findall(r"\]\(([^)#:]+)\)", text.read_text()):
            assert (text.parent / target).exists(), f"{text.name} links to {target}"


def test_every_program_in_examples_is_spoken_of() -> None:
    said = "".join(text.read_text() for text in TEXTS) + (ROOT / "Makefile").read_text()
    for example in EXAMPLES.glob("*.py"):
        assert f"examples/{example.name}" in said


def test_the_tutorial_finds_what_its_first_run_wrote(tmp_path: Path) -> None:
    assert "nothing" in run(EXAMPLES / "tutorial.py", tmp_path / "data")
    first = run(EXAMPLES / "tutorial.py", tmp_path / "data").splitlines()
    second = run(EXAMPLES / "tutorial.py", tmp_path / "data").splitlines()
    assert "2 revisions" in second[0]
    assert second[1:3] == first[1:3], "with the times at which they were written"


@contextmanager
def served(example: str, *arguments: object) -> Iterator[str]:
    """Runs a server, and gives what it says of where it serves. It ends by SIGINT, as by Ctrl-C."""
    server = start(EXAMPLES / example, *arguments)
    try:
        assert server.stdout is not None
        yield server.stdout.readline()
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=60) == 0
    finally:
        server.kill()
        server.communicate()


def test_the_xmlrpc_server_keeps_what_its_clients_put(tmp_path: Path) -> None:
    def client(said: str, *arguments: str, code: int = 0) -> str:
        port = said.strip().rpartition(":")[2]
        return run(EXAMPLES / "xmlrpc_server.py", *arguments, "--port", port, code=code)

    serving = "xmlrpc_server.py", "serve", "--data", tmp_path / "data", "--port", 0
    with served(*serving) as said:
        assert client(said, "put", "Home", "Welcome") == "1"
        client(said, "put", "", "a page without a name", code=1)
        client(said, "get", "Nowhere", code=1)
    with served(*serving) as said:
        assert client(said, "get", "Home") == "Welcome"
        assert client(said, "names") == "['Home']"
    client(said, "names", code=1)


def test_the_pyro_server_answers_its_client(tmp_path: Path) -> None:
    pytest.importorskip("Pyro5", reason="Pyro5 is not installed")
    with served("pyro_server.py", tmp_path / "data", 0) as said:
        assert run(EXAMPLES / "pyro_client.py", said.split()[-1]).splitlines() == ["pages: 1", "Home: Welcome"]


@pytest.mark.parametrize("example", ["pyro_server.py", "pyro_client.py"])
def test_without_pyro_its_examples_say_what_to_install(example: str, tmp_path: Path) -> None:
    (tmp_path / "Pyro5.py").write_text("raise ImportError")
    path = os.pathsep.join((str(tmp_path), str(ROOT)))
    ran = subprocess.run(
        [sys.executable, str(EXAMPLES / example)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 1
    assert "pip install Pyro5" in ran.stderr


def test_make_without_a_target_lists_every_target() -> None:
    if shutil.which("make") is None:
        pytest.skip("there is no make")
    # Not the flags of the make that runs these tests.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    ran = subprocess.run(["make"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    phony = re.search(r"^\.PHONY: (.*)", (ROOT / "Makefile").read_text(), re.M)
    assert phony is not None
    for target in phony[1].split():
        assert re.search(rf"^ +make {target} +\S", ran.stdout, re.M), f"make says nothing of {target}"


def test_the_demo_installs_what_the_package_needs_and_nothing_else() -> None:
    if shutil.which("make") is None:
        pytest.skip("there is no make")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    asked = ["make", "--dry-run", "demo", "DEMO_VENV=not-there"]
    ran = subprocess.run(asked, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    (installs,) = [line for line in ran.stdout.splitlines() if "pip install" in line]
    needed = re.search(r"^dependencies = \[(.*)\]$", (ROOT / "pyproject.toml").read_text(), re.M)
    assert needed is not None
    assert installs.split("--disable-pip-version-check ")[1] == needed[1]
    assert "requirements.txt" not in ran.stdout
