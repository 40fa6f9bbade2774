"""The FastAPI example, served by a real uvicorn and asked by a real client."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from program import ROOT, environment

import coopy

for needed in ("fastapi", "uvicorn", "httpx"):
    pytest.importorskip(needed, reason=f"{needed} is not installed")

import httpx  # noqa: E402


@contextmanager
def served(data: Path, ended: int = signal.SIGTERM) -> Iterator[httpx.Client]:
    """A server in a process of its own, on a free port; a client of it. It ends by a signal."""
    server = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "--app-dir", f"{ROOT}/examples", "--port", "0", "fastapi_wiki:app"],
        env=environment(WIKI_DATA=str(data)),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert server.stderr is not None
        said = []
        for line in server.stderr:
            said.append(line)
            running = re.search(r"running on (http://\S+)", line)
            if running:
                break
        else:
            raise AssertionError("".join(said))
        with httpx.Client(base_url=running[1], timeout=30) as client:
            yield client
        server.send_signal(ended)
        server.communicate(timeout=30)
    finally:
        server.kill()
        server.communicate()


def test_pages_that_were_written_are_there_after_the_server_ended(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with served(data) as client:
        assert client.get("/pages").json() == []
        written = client.put("/pages/Home", json={"text": "Welcome"}).json()
        assert client.get("/pages/Home").json() == written
        assert client.put("/pages/Empty", json={"text": ""}).status_code == 422
        assert client.get("/pages/Nowhere").status_code == 404
        assert client.delete("/pages/Nowhere").status_code == 404
    with served(data, ended=signal.SIGKILL) as client:
        assert client.get("/pages/Home").json() == written
        with ThreadPoolExecutor(16) as pool:
            texts = [{"text": f"page {number}"} for number in range(100)]
            answers = list(pool.map(lambda text: client.put(f"/pages/{text['text']}", json=text), texts))
        assert {answer.status_code for answer in answers} == {200}
        assert client.delete("/pages/Home").status_code == 204
    with served(data) as client:
        assert client.get("/pages").json() == sorted(text["text"] for text in texts)
        assert client.get("/pages/Home").status_code == 404


def test_the_server_lets_the_directory_go_when_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(tmp_path / "data") as client:
        client.put("/pages/Home", json={"text": "Welcome"})
    monkeypatch.syspath_prepend(f"{ROOT}/examples")
    from fastapi_wiki import Wiki

    with coopy.init_system(Wiki, tmp_path / "data") as wiki:
        assert wiki.names() == ["Home"]
