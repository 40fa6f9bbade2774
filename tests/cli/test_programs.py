"""The class of a program that defines it in its own file is found again by the commands: coopy.json names the file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import warm
from program import environment, write

from coopy.disk import manifest
from coopy.disk.fs import Calls
from coopy.errors import UsageError
from coopy.tools import domain

pytest.importorskip("click", reason="the extra [cli] is not installed")

TODO = """
    import sys
    from coopy import init_system
    import colours

    class Task:
        def __init__(self, name):
            self.name = name

    class Todo:
        def __init__(self):
            self.tasks = []

        def add(self, name):
            self.tasks.append(Task(colours.painted(name)))

    if __name__ == "__main__":
        with init_system(Todo, "data") as todo:
            todo.add(sys.argv[1])
            print([task.name for task in todo.tasks])
"""
COMMANDS = [
    "show data --depth 4",
    "log data",
    "verify data",
    "verify data --twice",
    "diff data 0 1",
    "snapshot data",
    "inspect data",
]


def run(here: Path, *words: str) -> subprocess.CompletedProcess[str]:
    if words[:2] == ("-m", "coopy"):
        return warm.run(here, *words, env=environment())
    return subprocess.run(
        [sys.executable, *words], cwd=here, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("program", ["todo.py", "my-todo.py", "my.todo.py", "todo", "programs/todo.py"])
def test_the_file_of_the_program_is_imported_whatever_its_name_is(tmp_path: Path, program: str) -> None:
    path = write(tmp_path / program, TODO)
    write(path.parent / "colours.py", "def painted(name): return 'green ' + name")
    assert run(tmp_path, program, "water").returncode == 0
    for command in COMMANDS if program == "my.todo.py" else COMMANDS[:2]:
        ran = run(tmp_path, "-m", "coopy", *command.split())
        assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "'green water'" in run(tmp_path, "-m", "coopy", "show", "data", "--depth", "4").stdout
    # What a command has kept is what the program finds.
    assert run(tmp_path, program, "feed").stdout.strip() == "['green water', 'green feed']"


def test_a_program_that_is_run_as_a_module_is_imported_as_one(tmp_path: Path) -> None:
    write(tmp_path / "house" / "__init__.py", "")
    write(tmp_path / "house" / "colours.py", "def painted(name): return name")
    write(tmp_path / "house" / "todo.py", TODO.replace("import colours", "from . import colours"))
    write(tmp_path / "house" / "__main__.py", TODO.replace("import colours", "from . import colours"))
    for module in ("house.todo", "house"):
        assert run(tmp_path, "-m", module, "water").returncode == 0
        found = manifest.read(Calls(), str(tmp_path / "data"))
        assert found is not None and (found.domain, found.program) == (f"{module}{'.__main__' * (module == 'house')}:Todo", "")
        for command in COMMANDS[:2]:
            ran = run(tmp_path, "-m", "coopy", *command.split())
            assert ran.returncode == 0, ran.stdout + ran.stderr
        assert "water" in run(tmp_path, "-m", "coopy", "show", "data", "--depth", "4").stdout
        (tmp_path / "data").rename(tmp_path / f"data of {module}")


def test_a_process_that_was_spawned_remembers_the_file_of_its_program(tmp_path: Path) -> None:
    program = """
        import multiprocessing
        from coopy import init_system

        class Todo:
            def __init__(self): self.tasks = []
            def add(self, name): self.tasks.append(name)

        def work():
            with init_system(Todo, "data") as todo:
                todo.add("water")

        if __name__ == "__main__":
            process = multiprocessing.get_context("spawn").Process(target=work)
            process.start()
            process.join()
            with init_system(Todo, "data") as todo:
                print(todo.tasks)
    """
    path = write(tmp_path / "spawner.py", program)
    assert run(tmp_path, "spawner.py").stdout.strip() == "['water']"
    shown = run(tmp_path, "-m", "coopy", "show", "data")
    assert (shown.returncode, "water" in shown.stdout) == (0, True), shown.stderr
    assert f"{path}" in (tmp_path / "data" / "coopy.json").read_text()


def test_a_program_that_is_called_as_a_module_that_is_in_use_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "json.py", TODO)
    with pytest.raises(UsageError, match="another module of that name is in use here. Rename the file"):
        domain.load(f"{path}:Todo")


@pytest.mark.parametrize("how", ["-c", "-"])
def test_a_prompt_has_no_file_and_that_is_said(tmp_path: Path, how: str) -> None:
    source = "from coopy import init_system\nclass Todo: pass\ninit_system(Todo, 'data')\n"
    words = [sys.executable, "-c", source] if how == "-c" else [sys.executable, "-"]
    subprocess.run(words, input=source, cwd=tmp_path, env=environment(), text=True, check=True, timeout=60)
    shown = run(tmp_path, "-m", "coopy", "show", "data")
    assert (shown.returncode, "--class program.py:Todo" in shown.stderr) == (2, True), shown.stderr


def test_a_file_that_is_gone_is_named_and_another_can_be_given(tmp_path: Path) -> None:
    path = write(tmp_path / "todo.py", TODO)
    write(tmp_path / "colours.py", "def painted(name): return name")
    assert run(tmp_path, "todo.py", "water").returncode == 0
    path.rename(tmp_path / "new name.py")
    shown = run(tmp_path, "-m", "coopy", "show", "data")
    assert (shown.returncode, f"{path}, which defined Todo" in shown.stderr) == (2, True), shown.stderr
    shown = run(tmp_path, "-m", "coopy", "show", "data", "-c", "new name.py:Todo")
    assert (shown.returncode, "tasks" in shown.stdout) == (0, True), shown.stderr
    missing = run(tmp_path, "-m", "coopy", "show", "data", "-c", "other.py:Todo")
    assert (missing.returncode, "there is no such file" in missing.stderr) == (2, True), missing.stderr


def test_a_program_that_opens_its_system_unguarded_is_refused_with_its_line(tmp_path: Path) -> None:
    write(tmp_path / "colours.py", "def painted(name): return name")
    write(tmp_path / "todo.py", TODO.replace('if __name__ == "__main__":', "if True:"))
    assert run(tmp_path, "todo.py", "water").returncode == 0
    shown = run(tmp_path, "-m", "coopy", "show", "data")
    assert (shown.returncode, "todo.py, line 18" in shown.stderr) == (2, True), shown.stderr


@pytest.mark.parametrize("words", [["todo.py"], ["-m", "todo"], ["my-todo.py"]], ids=" ".join)
def test_a_state_is_the_same_to_the_program_and_to_who_imports_it(tmp_path: Path, words: list[str]) -> None:
    write(tmp_path / "colours.py", "def painted(name): return name")
    write(tmp_path / (f"{words[-1]}.py" if "-m" in words else words[-1]), TODO)
    said = [run(tmp_path, *words, "water"), run(tmp_path, "-m", "coopy", "snapshot", "data")]
    if "todo" in words[-1][:4]:
        other = (
            "from coopy import init_system\nfrom todo import Todo\nwith init_system(Todo, 'data') as todo: todo.add('feed')\n"
        )
        said.append(run(tmp_path, "-c", other))
    said.append(run(tmp_path, *words, "weed"))
    assert [(each.returncode, each.stderr) for each in said if each.returncode or "another state" in each.stderr] == []
