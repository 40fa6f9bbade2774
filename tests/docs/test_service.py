"""The image, the compose file and the unit of examples/service: in keeping with one another, and their command lines serve."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from program import ROOT, environment
from services import PATIENCE_S

FOLDER = Path(ROOT, "examples", "service")
IMAGE = [line for line in (FOLDER / "Dockerfile").read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
WORDS = [line.split(" ", 1) for line in IMAGE]


def said(word: str) -> list[str]:
    """Returns what each instruction of that name says."""
    return [rest for name, rest in WORDS if name == word]


def unit() -> configparser.ConfigParser:
    found = configparser.ConfigParser(interpolation=None, strict=True)
    found.optionxform = str  # type: ignore[assignment, method-assign]
    found.read(FOLDER / "wiki.service", encoding="utf-8")
    return found


COMMANDS = {"Dockerfile": json.loads(said("CMD")[0]), "wiki.service": shlex.split(unit()["Service"]["ExecStart"])}


def health(data: str) -> list[str]:
    """Returns the check of health in the compose file, of another directory."""
    [line] = re.findall(r"^ +test: \[(.*)\]$", (FOLDER / "compose.yaml").read_text(encoding="utf-8"), re.M)
    first, *words = json.loads(f"[{line}]")
    assert first == "CMD"
    return [data if each == COMMANDS["Dockerfile"][3] else each for each in words]


@pytest.fixture
def run() -> Iterator[Path]:
    # A path of a socket has at most 104 bytes on macOS: that of tmp_path is too long.
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_serves_a_client_ends_at_sigterm_and_finds_its_data_again(name: str, run: Path) -> None:
    pytest.importorskip("click")
    pytest.importorskip("websockets")
    command = [re.sub(r"^(unix:)?(/data|/var/lib/wiki|/run/wiki)/", rf"\g<1>{run}/", each) for each in COMMANDS[name]]
    assert command[0].endswith("coopy")
    here = {**environment(), "PYTHONPATH": f"{ROOT}:{FOLDER}"}
    for _ in range(2):
        served = subprocess.Popen([sys.executable, "-m", "coopy", *command[1:]], env=here, stderr=subprocess.PIPE, text=True)
        try:
            deadline = time.monotonic() + PATIENCE_S
            while not (run / "wiki.sock").exists() and served.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            asked = [sys.executable, str(FOLDER / "client.py"), str(run / "wiki.sock")]
            answer = subprocess.run(asked, env=here, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
            assert answer.stdout == "1 pages; Welcome\n", answer.stderr
            asked = [sys.executable, "-m", *health(command[3])]
            healthy = subprocess.run(asked, env=here, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
            assert healthy.returncode == 0 and str(served.pid) in healthy.stdout, healthy.stderr
            served.send_signal(signal.SIGTERM)
            _, told = served.communicate(timeout=PATIENCE_S)
            assert served.returncode == 0 and "ended" in told
        finally:
            served.kill()
            served.wait()


def test_the_image_is_no_root_keeps_its_data_in_a_volume_and_copies_files_that_are_there() -> None:
    assert WORDS[0] == ["FROM", "python:3.13-slim"]
    assert {name for name, _ in WORDS} <= {"FROM", "COPY", "RUN", "USER", "WORKDIR", "ENV", "VOLUME", "STOPSIGNAL", "CMD"}
    assert said("USER") == ["10001"] and said("STOPSIGNAL") == ["SIGTERM"]
    volumes = said("VOLUME")[0].split()
    assert COMMANDS["Dockerfile"][3].startswith(volumes[0] + "/") and COMMANDS["Dockerfile"][5].startswith(
        f"unix:{volumes[1]}/"
    )
    for copied in said("COPY"):
        assert all(Path(ROOT, each).exists() for each in copied.split()[:-1])


def test_compose_starts_that_image_with_those_volumes() -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML, which kubernetes-validate brings, is not installed")
    found = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
    assert found.keys() == {"services", "volumes"}
    wiki, client = found["services"]["wiki"], found["services"]["client"]
    known = {"image", "build", "command", "volumes", "restart", "stop_grace_period", "healthcheck", "depends_on", "profiles"}
    assert wiki.keys() | client.keys() <= known and wiki["image"] == client["image"]
    assert (FOLDER / wiki["build"]["context"] / wiki["build"]["dockerfile"]).samefile(FOLDER / "Dockerfile")
    mounted = dict(each.split(":") for each in wiki["volumes"])
    assert mounted.keys() == found["volumes"].keys() and [*mounted.values()] == said("VOLUME")[0].split()
    assert {each.split(":")[0] for each in client["volumes"]} <= mounted.keys()
    assert wiki["healthcheck"]["test"] == ["CMD", "coopy", "ps", COMMANDS["Dockerfile"][3]]
    assert (FOLDER / client["command"][1]).is_file()


def test_the_unit_is_one_of_systemd_and_its_directories_are_those_of_its_command(tmp_path: Path) -> None:
    service = unit()["Service"]
    # Type=notify would wait for a word that `coopy serve` does not say.
    assert service["Type"] == "exec" and service["KillSignal"] == "SIGTERM"
    assert COMMANDS["wiki.service"][3].startswith(f"/var/lib/{service['StateDirectory']}/")
    assert COMMANDS["wiki.service"][5].startswith(f"unix:/run/{service['RuntimeDirectory']}/")
    if shutil.which("systemd-analyze"):
        shutil.copy(FOLDER / "wiki.service", tmp_path)
        checked = subprocess.run(
            ["systemd-analyze", "verify", "wiki.service"], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert not re.search(r"Unknown|Failed to parse|Invalid", checked.stderr), checked.stderr
