"""docs/tutorial.md typed as it is printed, one thing after the other in one folder, and then once more."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

for package in ("click", "fastapi", "uvicorn", "jinja2"):
    pytest.importorskip(package, reason=f"{package} is not installed")

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
PORT = "8000"
PLACE = "/srv/first-hour"
TRIES = 600
"""Of a server that starts: it is asked ten times a second."""


class Typist:
    """Somebody who saves the files and types the lines, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        bin_ = folder / "bin"
        bin_.mkdir(exist_ok=True)
        for name, words in (("coopy", "-m coopy"), ("python", ""), ("uvicorn", "-m uvicorn")):
            (bin_ / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
            (bin_ / name).chmod(0o755)
        self.environment = {
            **os.environ,
            "PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "118",
            "PYTHONDONTWRITEBYTECODE": "1",  # A file that is saved again within the second is another one.
        }
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = str(free.getsockname()[1])
        self.servers: list[subprocess.Popen[str]] = []

    def save(self, block: str) -> None:
        name = re.match(r"# (\S+\.py)\n", block)
        assert name is not None, block
        (self.folder / name[1]).write_text(block)

    def type(self, line: str) -> str:
        """What a line prints."""
        line = line.replace(PORT, self.port)
        if line.endswith(" &") or line.startswith("coopy web"):
            self.serve(line.removesuffix(" &"))
            return ""
        ran = subprocess.run(
            line, shell=True, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=300
        )
        assert "Traceback" not in ran.stderr, f"{line}: {ran.stderr}"
        return ran.stdout + "".join(each for each in ran.stderr.splitlines(True) if each.startswith("coopy:"))

    def serve(self, line: str) -> None:
        """Starts a server, and waits until it answers; it runs until the end of the page."""
        # What is said of the work goes to stderr, the link of the inspector too.
        server = subprocess.Popen(
            ["sh", "-c", f"exec {line}"],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.servers.append(server)
        assert server.stderr is not None
        place = f"http://127.0.0.1:{self.port}/Home"
        if line.startswith("coopy web"):
            place = next(found[0] for said in server.stderr if (found := re.search(r"http://\S+", said)))
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        for _ in range(TRIES):
            try:
                with opener.open(place, timeout=60) as answer:
                    assert answer.status == 200
                return
            except OSError:
                # It is named before it is there.
                assert server.poll() is None, line
                time.sleep(0.1)
        raise AssertionError(f"{line}: no answer")

    def leave(self) -> None:
        for server in self.servers:
            server.send_signal(signal.SIGINT)
            try:
                server.communicate(timeout=60)
            finally:
                server.kill()


@contextmanager
def typist(folder: Path) -> Iterator[Typist]:
    made = Typist(folder)
    try:
        yield made
    finally:
        made.leave()


def likeness(text: str, here: str) -> str:
    """The text without what is another each time: numbers in times and sizes, and how wide a column is."""
    text = text.replace(here, PLACE)
    for pattern, same in (
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+", "TIME"),
        (r"\d+ files, [\d.]+ (?:[KM]i)?B|[\d.]+ (?:[KM]i)?B", "SIZE"),
        (r"in [\d.]+s(?: \([\d:]+\))?", "in X"),
        (r"[ \t]+", " "),
    ):
        text = re.sub(pattern, same, text)
    return text.strip()


@pytest.mark.timeout(900)  # Some fifty programs are started.
def test_the_first_hour_prints_what_it_shows_the_first_time_and_again(tmp_path: Path) -> None:
    blocks = re.findall(r"^```(py|console)\n(.*?)^```", TEXT, re.S | re.M)
    assert len(blocks) > 12
    for _ in range(2):
        with typist(tmp_path) as somebody:
            for kind, block in blocks:
                if kind == "py":
                    somebody.save(block)
                    continue
                for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
                    line, _, printed = part.partition("\n")
                    found = likeness(somebody.type(line), str(tmp_path.resolve()))
                    assert found == likeness(printed, PLACE), line
