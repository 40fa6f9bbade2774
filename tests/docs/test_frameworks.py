"""Every file of the guide to web frameworks shares its directory with other processes, with the server that it is for."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from program import ROOT, environment
from services import PATIENCE_S, Service, children, served

from coopy.replication import local

GUIDE = Path(ROOT, "docs", "guides", "frameworks.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```py\n# (\S+)\n(.*?)^```", GUIDE, re.S | re.M))
GUNICORN = ["gunicorn", "--bind", "127.0.0.1:{port}", "-w", "2"]
GUNICORN_4 = [*GUNICORN[:-1], "4"]
UVICORN = ["uvicorn", "--port", "{port}"]
# Two workers, where four are not another matter: each takes its time to begin.
SERVERS = {
    "FastAPI": [*UVICORN, "--workers", "4", "app_fastapi:app"],
    "FastAPI, gunicorn": [*GUNICORN, "-k", "uvicorn.workers.UvicornWorker", "app_fastapi:app"],
    "Starlette": [*UVICORN, "--workers", "2", "app_starlette:app"],
    "Flask": [*GUNICORN_4, "app_flask:app"],
    "Flask, threads": [*GUNICORN, "-k", "gthread", "--threads", "8", "app_flask:app"],
    "Flask, preloaded": [*GUNICORN_4, "--preload", "app_preloaded:app"],
    "Django": [*GUNICORN, "manage:application"],
}
NEEDED = {
    "FastAPI": ("fastapi", "uvicorn"),
    "Starlette": ("starlette", "uvicorn"),
    "Flask": ("flask",),
    "Django": ("django",),
}
CELERY = ["celery", "-A", "tasks", "worker", "--concurrency", "2"]
AT_ONCE = 8


def needs(*modules: str) -> None:
    for module in modules:
        pytest.importorskip(module, reason=f"{module} is not installed")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def write(service: Service, name: str) -> int:
    """Writes a page, and returns the pid of the worker that was asked."""
    return int(service.answer(name, name)["by"])


def write_with_several(service: Service) -> list[str]:
    """Writes pages until more than one worker has been asked. Returns their names."""
    names: list[str] = []
    workers: set[int] = set()

    def more() -> bool:
        new = [f"page-{number}" for number in range(len(names), len(names) + AT_ONCE)]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            workers.update(pool.map(lambda name: write(service, name), new))
        names.extend(new)
        return len(workers) > 1

    service.until(more)
    return names


def told(here: Path) -> list[tuple[int, str]]:
    """Which effects have been carried out, and by which process."""
    found = here / "told"
    return [(int(pid), name) for pid, name in map(str.split, found.read_text().splitlines())] if found.exists() else []


def written(here: Path) -> dict[str, str]:
    program = "import coopy, wiki; print(coopy.replay(wiki.Wiki, 'data').pages)"
    pages: dict[str, str] = eval(run(here, ["-c", program]))
    return pages


def run(here: Path, words: list[str], **more: str) -> str:
    """What another program says, that runs beside the server."""
    ran = subprocess.run(
        [sys.executable, *words],
        cwd=here,
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def writer(here: Path) -> int:
    found = local.published(str(here / "data"))
    assert found is not None
    return found.pid


@pytest.mark.parametrize("server", SERVERS)
def test_all_workers_write_one_wiki_and_its_effects_run_once_in_one_process(here: Path, server: str) -> None:
    needs(*NEEDED[server.partition(",")[0]], "gunicorn" if "gunicorn" in SERVERS[server] else "uvicorn")
    with served(here, SERVERS[server]) as service:
        names = write_with_several(service)
        service.until(lambda: len(told(here)) >= len(names))
        assert sorted(name for _, name in told(here)) == sorted(names)
        assert {pid for pid, _ in told(here)} == {writer(here)}
        is_parent = writer(here) == service.process.pid
        assert is_parent == ("preloaded" in server) and (is_parent or writer(here) in children(service.process.pid))
        for name in names:
            assert service.until(lambda: service.ask(name)) == name
    assert len(told(here)) == len(names)
    assert "Traceback" not in service.said(), service.said()


def test_a_worker_that_writes_and_is_killed_is_followed_by_another_which_carries_out_what_waits(here: Path) -> None:
    needs("flask", "gunicorn")
    with served(here, SERVERS["Flask"]) as service:
        names = write_with_several(service)
        service.until(lambda: len(told(here)) >= len(names))
        before = writer(here)
        os.kill(before, signal.SIGKILL)
        service.until(lambda: write(service, "After"))
        service.until(lambda: (writer(here), "After") in told(here))
        assert writer(here) != before
    assert written(here) == {name: name for name in [*names, "After"]}
    assert sorted(name for _, name in told(here)) == sorted([*names, "After"])


def test_a_script_a_shell_and_a_notebook_work_beside_a_server(here: Path) -> None:
    needs("django", "gunicorn")
    with served(here, SERVERS["Django"]) as service:
        assert service.answer("Home", "Welcome")["pages"] == 1
        assert run(here, ["nightly.py"], WIKI_DATA=str(here / "data")) == "2\n"
        shell = re.findall(r"^python manage.py shell -c '(.*)'$", GUIDE, re.M)[0]
        assert run(here, ["manage.py", "shell", "-c", shell]).splitlines()[-1] == "3"
        cell = 'cell = open(\'cell.py\').read() + \'print(wiki.page("Home"), wiki.write("Cell", "run again"))\'\n'
        assert run(here, ["-c", cell + "exec(cell)\nexec(cell)"]) == "Welcome 4\nWelcome 4\n"
        assert [service.until(lambda: service.ask(name)) for name in ("Report", "Shell", "Cell")] == [
            "of the night",
            "by hand",
            "run again",
        ]
        service.until(lambda: len(told(here)) == 5)
        assert {pid for pid, _ in told(here)} == {writer(here)}
    assert run(here, ["nightly.py"], WIKI_DATA=str(here / "data")) == "4\n"


def test_a_script_with_a_wrong_path_begins_no_system(here: Path) -> None:
    with pytest.raises(AssertionError, match="create=False"):
        run(here, ["nightly.py"], WIKI_DATA=str(here / "elsewhere"))
    assert not (here / "elsewhere").exists()


RELOADERS: dict[str, tuple[list[str], str, str, Callable[[str], str]]] = {
    "uvicorn --reload": (
        [*UVICORN, "--reload", "app_fastapi:app"],
        "app_fastapi.py",
        "fastapi",
        lambda text: text + "\n@app.get('/new/route')\ndef new(): return 'reloaded'\n",
    ),
    "flask run --debug": (
        ["flask", "--app", "app_flask", "run", "--debug", "--port", "{port}"],
        "app_flask.py",
        "flask",
        lambda text: text + "\n@app.get('/new/route')\ndef new(): return {'text': 'reloaded'}\n",
    ),
    "manage.py runserver": (
        ["manage.py", "runserver", "{port}"],
        "pages.py",
        "django",
        lambda text: text.replace(
            "urlpatterns = [", "urlpatterns = [path('new/route', lambda _: JsonResponse({'text': 'reloaded'})), "
        ),
    ),
}


@pytest.mark.parametrize("server", RELOADERS)
def test_a_reloader_goes_on_with_a_system_that_others_have_open(here: Path, server: str) -> None:
    words, changed, needed, change = RELOADERS[server]
    needs(needed)
    with served(here, words) as service:
        assert service.answer("Home", "Welcome")["pages"] == 1
        assert writer(here) != service.process.pid  # Which has the code of before.
        (here / changed).write_text(change(FILES[changed]))
        beside = run(here, ["nightly.py"], WIKI_DATA=str(here / "data"))
        assert service.until(lambda: service.ask("new/route") == "reloaded")
        assert (beside, service.ask("Home"), service.answer("News", "None")["pages"]) == ("2\n", "Welcome", 3)
    assert "DirectoryInUse" not in service.said()


def test_forked_and_spawned_processes_of_a_pool_share_the_system_of_their_parent(here: Path) -> None:
    assert run(here, ["indexer.py"]) == "[2, 3, 4, 5]\n[6, 7, 8, 9]\n"
    assert len(told(here)) == len({name for _, name in told(here)}) == 9 and len({pid for pid, _ in told(here)}) == 1


@pytest.fixture
def celery(here: Path) -> Iterator[subprocess.Popen[bytes]]:
    needs("celery")
    (here / "queue").mkdir()
    with open(here / "celery", "wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", *CELERY],
            cwd=here,
            env=environment(),
            stdout=said,
            stderr=said,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
        )
    yield process
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_tasks_of_celery_use_the_system_of_the_web_server_beside_them(here: Path, celery: Any) -> None:
    needs("flask", "gunicorn")
    with served(here, SERVERS["Flask"]) as service:
        assert service.answer("Home", "Welcome")["pages"] == 1
        run(here, ["-c", "import tasks\nfor number in range(4): tasks.write.delay(f'Task-{number}', 'by celery')"])
        for number in range(4):
            assert service.until(lambda: service.ask(f"Task-{number}")) == "by celery"
        service.until(lambda: len(told(here)) == 5)
        assert {pid for pid, _ in told(here)} == {writer(here)}
    assert len(written(here)) == 5


def test_the_guide_has_a_test_for_each_of_its_commands() -> None:
    said = re.findall(r"^(?:uvicorn|gunicorn|flask|python manage.py|celery) .*$", GUIDE, re.M)
    where = {"--port", "--bind", "{port}", "127.0.0.1:{port}"}
    numbers = {"2", "4"}
    tested = [{*words} - where - numbers for words in [*SERVERS.values(), *(each[0] for each in RELOADERS.values()), CELERY]]
    for command in said:
        words = {*command.removeprefix("python ").split()} - numbers
        assert words in tested or {"manage.py", "shell"} <= words, command
