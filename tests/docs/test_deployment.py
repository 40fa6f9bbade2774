"""Every file of the deployment guide does what the guide says, with the server that it is for."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
from pathlib import Path
from typing import Any
from xmlrpc.client import ServerProxy

import pytest
import warm
from program import ROOT, environment, free_port
from services import PATIENCE_S, served

GUIDE = Path(ROOT, "docs", "guides", "deployment.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```(?:py|ini|dockerfile)\n# (\S+)\n(.*?)^```", GUIDE, re.S | re.M))
GUNICORN = ["gunicorn", "-c", "gunicorn.conf.py", "--bind", "127.0.0.1:{port}"]
SERVERS = {
    "uvicorn": ["uvicorn", "--port", "{port}", "wiki_fastapi:app"],
    "uvicorn --reload": ["uvicorn", "--port", "{port}", "--reload", "wiki_fastapi:app"],
    "gunicorn and Flask": [*GUNICORN, "wiki_flask:app"],
    "gunicorn and Flask, preloaded": [*GUNICORN, "--preload", "wiki_flask:app"],
    "gunicorn and uvicorn": [*GUNICORN, "-k", "uvicorn.workers.UvicornWorker", "wiki_fastapi:app"],
    "gunicorn and Django": [*GUNICORN, "wiki_django:application"],
    "flask run --debug": ["flask", "--app", "wiki_flask", "run", "--debug", "--port", "{port}"],
    "manage.py runserver": ["wiki_django.py", "runserver", "{port}"],
}
CLOSES = [name for name in SERVERS if name.startswith(("uvicorn", "gunicorn"))]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def needs(server: str) -> None:
    modules = {
        "gunicorn": ["gunicorn"],
        "uvicorn": ["fastapi", "uvicorn"],
        "lask": ["flask"],
        "Django": ["django"],
        "manage": ["django"],
    }
    for module in [each for name, found in modules.items() if name in server for each in found]:
        pytest.importorskip(module, reason=f"{module} is not installed")


def pages(here: Path) -> dict[str, str]:
    asked = "import coopy, json, wiki; print(json.dumps(coopy.replay(wiki.Wiki, 'data').pages))"
    ran = warm.run(here, "-c", asked, env=environment())
    assert ran.returncode == 0, ran.stderr
    found: dict[str, str] = json.loads(ran.stdout)
    return found


def outcome(here: Path) -> str:
    """How the last action ended, as far as the journal says: only who closes says so."""
    ran = warm.run(here, "-m", "coopy", "log", "data", "--json", env=environment())
    assert ran.returncode == 0, ran.stderr
    return str(json.loads(ran.stdout.splitlines()[-1])["outcome"])


@pytest.mark.parametrize("server", SERVERS)
def test_a_server_keeps_what_was_written_and_at_sigterm_it_ends_as_the_guide_says(here: Path, server: str) -> None:
    needs(server)
    with served(here, SERVERS[server]) as service:
        assert service.ask("Home", "Welcome") == 1
        assert service.ask("Home") == "Welcome"
    if server in CLOSES:
        assert outcome(here) == "returned", service.said()
    assert pages(here) == {"Home": "Welcome"}
    assert "Traceback" not in service.said(), service.said()
    with served(here, SERVERS[server]) as service:
        assert (service.ask("Home"), service.ask("News", "None")) == ("Welcome", 2)


def test_a_reload_of_uvicorn_goes_on_with_the_same_system(here: Path) -> None:
    needs("uvicorn")
    with served(here, SERVERS["uvicorn --reload"]) as service:
        assert service.ask("Home", "Welcome") == 1
        (here / "wiki_fastapi.py").write_text(
            FILES["wiki_fastapi.py"] + "\n@app.get('/new/route')\ndef new(): return 'reloaded'\n"
        )
        assert service.until(lambda: service.ask("new/route") == "reloaded")
        assert (service.ask("Home"), service.ask("News", "None")) == ("Welcome", 2)
    assert "DirectoryInUse" not in service.said()


def test_a_new_worker_of_gunicorn_waits_for_the_old_one_to_leave(here: Path) -> None:
    needs("gunicorn and Flask")
    with served(here, SERVERS["gunicorn and Flask"]) as service:
        assert service.ask("Home", "Welcome") == 1
        service.process.send_signal(signal.SIGHUP)
        service.until(lambda: service.said().count("Booting worker") == 2)
        assert service.until(lambda: service.ask("News", "None") == 2)
    assert "DirectoryInUse" not in service.said() and pages(here) == {"Home": "Welcome", "News": "None"}


def test_a_service_that_is_killed_keeps_what_it_answered(here: Path) -> None:
    needs("gunicorn and Flask")
    with served(here, SERVERS["gunicorn and Flask"]) as service:
        assert service.ask("Home", "Welcome") == 1
        os.killpg(service.process.pid, signal.SIGKILL)
    assert pages(here) == {"Home": "Welcome"}


@pytest.mark.parametrize("ended", [signal.SIGTERM, signal.SIGINT])
def test_a_service_of_ones_own_closes_in_order(here: Path, ended: int) -> None:
    process = subprocess.Popen([sys.executable, "service.py"], cwd=here, env=environment(), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = process.stdout.readline().split()[-1]
        with ServerProxy(f"http://127.0.0.1:{port}") as wiki:
            assert wiki.write("Home", "by the service") == 1
        process.send_signal(ended)
        assert (process.stdout.read(), process.wait(PATIENCE_S)) == ("closed\n", 0)
    finally:
        process.kill()
        process.wait()
    assert (outcome(here), pages(here)) == ("returned", {"Home": "by the service"})


def test_a_nightly_script_waits_for_another_and_begins_no_system(here: Path) -> None:
    def begin() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "nightly.py"],
            cwd=here,
            env=environment(WIKI_DATA="data"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    refused = begin()
    assert "there is no system, and create=False" in refused.communicate(timeout=PATIENCE_S)[1]
    assert not (here / "data").exists()
    subprocess.run(
        [sys.executable, "-c", "import coopy, wiki; coopy.control(coopy.init_system(wiki.Wiki, 'data')).close()"],
        cwd=here,
        env=environment(),
        check=True,
        timeout=PATIENCE_S,
    )
    both = [begin(), begin()]
    assert [each.communicate(timeout=PATIENCE_S)[0] for each in both] == ["1\n", "1\n"]


def test_a_cell_may_be_run_again(here: Path) -> None:
    program = (
        "import code\n"
        "console = code.InteractiveConsole()\n"
        "cell = open('cell.py').read() + 'print(wiki.write(str(len(wiki.pages)), \"by hand\"))\\n'\n"
        "for _ in range(3):\n    assert not console.runsource(cell, symbol='exec')\n"
        "import coopy\nprint([each.index for each in coopy.opened()])\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=here,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (ran.stdout, ran.stderr) == ("1\n2\n3\n[3]\n", "")


def test_the_unit_of_systemd_ends_the_service_in_order(here: Path) -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(here / "wiki.service")
    service = unit["Service"]
    settings: dict[str, Any] = {}
    exec(FILES["gunicorn.conf.py"], settings)
    assert (service["KillSignal"], service["KillMode"], service["Type"]) == ("SIGTERM", "mixed", "notify")
    assert int(service["TimeoutStopSec"]) > settings["graceful_timeout"]
    assert (settings["workers"], settings["preload_app"]) == (1, False)
    assert service["Environment"].startswith("WIKI_DATA=/var/lib/" + service["StateDirectory"] + "/")
    assert (
        service["ExecStart"].split()[0].startswith("/") and service["ExecStart"].split()[-1].partition(":")[0] + ".py" in FILES
    )
    if shutil.which("systemd-analyze"):
        ran = subprocess.run(
            ["systemd-analyze", "verify", "wiki.service"],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert not re.search(r"Unknown|Failed to parse|Invalid", ran.stderr), ran.stderr


def test_the_image_gets_the_signal_and_keeps_the_data_in_a_volume() -> None:
    lines = dict(line.partition(" ")[::2] for line in FILES["Dockerfile"].splitlines())
    command = json.loads(lines["CMD"])
    assert lines["STOPSIGNAL"] == "SIGTERM" and command[0] == "gunicorn"
    assert command[-1].partition(":")[0] + ".py" in FILES
    assert lines["ENV"].partition("=")[2].startswith(lines["VOLUME"] + "/")


NAIVE = """
from flask import Flask, request
from coopy import init_system
from wiki import Wiki

app = Flask(__name__)
opened = init_system(Wiki, "data")

@app.get("/<name>")
def read(name):
    return {"text": ""}

@app.put("/<name>")
def write(name):
    return {"pages": opened.write(name, request.json)}
"""


def test_a_module_that_opens_when_it_is_imported_is_told_of_the_reloader_that_has_done_so_before(here: Path) -> None:
    needs("Flask")
    (here / "naive.py").write_text(NAIVE)
    program = [sys.executable, "-m", "flask", "--app", "naive", "run", "--debug", "--port", str(free_port())]
    process = subprocess.Popen(program, cwd=here, env=environment(), stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert process.stderr is not None
        said = next(line for line in process.stderr if "is open in process" in line)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert f"process {process.pid}, which has started this one" in said and "WERKZEUG_RUN_MAIN" in said


def test_a_worker_that_was_forked_after_the_opening_is_told_of_the_fork(here: Path) -> None:
    needs("gunicorn and Flask")
    (here / "naive.py").write_text(NAIVE)
    with served(here, [*GUNICORN, "--preload", "naive:app"]) as service:
        with pytest.raises(urllib.error.HTTPError):
            service.ask("Home", "Welcome")
        found = service.until(lambda: re.search(r"is open in process (\d+), from which this one was forked", service.said()))
        assert int(found[1]) == service.process.pid
