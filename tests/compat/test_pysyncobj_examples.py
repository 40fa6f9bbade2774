"""PySyncObj's four examples, as programs of ours of the same shape: three processes each, which know PySyncObj's names alone.

`programs/counter.py`, `kvstorage.py`, `kvstorage_http.py` and `lock.py` correspond to the examples of those names; with ``from pysyncobj
import`` in the place of ``from coopy.compat.pysyncobj import`` they run on PySyncObj 0.3.17.
"""

from __future__ import annotations

import contextlib
import queue
import subprocess
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from network.servers import until
from program import free_port, start

pytest.importorskip("nats", reason="the extra [cluster] is not installed")
PROGRAMS = Path(__file__).parent / "programs"
PATIENCE_S = 60.0


class Program:
    """One node: a process, and the lines that it prints."""

    def __init__(self, name: str, *arguments: object) -> None:
        # What a process that is killed leaves is removed with the rest.
        self.process: subprocess.Popen[str] = start(PROGRAMS / f"{name}.py", *arguments, TMPDIR=TEMPORARY.name)
        self.lines: list[str] = []
        self._answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.strip())
            self._answers.put(line.strip())

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        print(line, file=self.process.stdin, flush=True)

    def ask(self, line: str) -> str:
        self.say(line)
        return self._answers.get(timeout=PATIENCE_S)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def programs(*each: tuple[Any, ...]) -> Iterator[list[Program]]:
    running = [Program(*arguments) for arguments in each]
    try:
        yield running
    finally:
        for one in running:
            one.kill()


def addresses(number: int = 3) -> list[str]:
    port = free_port(number)
    return [f"localhost:{port + each}" for each in range(number)]


def others(own: str, all_of_them: list[str]) -> list[str]:
    return [each for each in all_of_them if each != own]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[Program]]]:
    """Three nodes of each example, all started at once: most of what a start takes is waiting."""
    path, trios = (
        tmp_path_factory.mktemp("dumps"),
        {name: addresses() for name in ("counter", "kvstorage", "kvstorage_http", "lock")},
    )
    ports = [each.rpartition(":")[2] for each in trios["counter"]]
    with contextlib.ExitStack() as stack:
        yield {
            "counter": stack.enter_context(programs(*(("counter", own, *others(own, ports), 5) for own in ports))),
            **{
                name: stack.enter_context(programs(*((name, own, *others(own, trios[name])) for own in trios[name])))
                for name in ("kvstorage", "lock")
            },
            "kvstorage_http": stack.enter_context(
                programs(
                    *(
                        ("kvstorage_http", HTTP + number, path / f"dump{number}", own, *others(own, trios["kvstorage_http"]))
                        for number, own in enumerate(trios["kvstorage_http"])
                    )
                )
            ),
        }


HTTP = free_port(3)
TEMPORARY = tempfile.TemporaryDirectory(prefix="coopy-examples-", ignore_cleanup_errors=True)


def test_counter(nodes: dict[str, list[Program]]) -> None:
    def told(node: Program) -> list[list[str]]:
        return [line.split() for line in node.lines if line.startswith("added")]

    until(lambda: all("counter 150" in each.lines and len(told(each)) == 5 for each in nodes["counter"]), PATIENCE_S)
    for each in nodes["counter"]:
        assert [(words[1], words[-1]) for words in told(each)] == [(str(number), "0") for number in range(5)]


def test_kvstorage_goes_on_when_a_node_is_killed(nodes: dict[str, list[Program]]) -> None:
    one, other, third = nodes["kvstorage"]
    one.say("set a 1")
    until(lambda: [each.ask("get a") for each in (one, other, third)] == ["1"] * 3, PATIENCE_S)
    assert other.ask("pop a") == "None"
    until(lambda: [each.ask("get a") for each in (one, other, third)] == ["None"] * 3, PATIENCE_S)
    third.kill()
    other.say("set b 2")
    until(lambda: [each.ask("get b") for each in (one, other)] == ["2", "2"], PATIENCE_S)
    until(lambda: one.ask("leader").startswith("localhost:"), PATIENCE_S)


def test_kvstorage_alone() -> None:
    (own,) = addresses(1)
    with programs(("kvstorage", own)) as (one,):
        one.say("set a 1")
        until(lambda: one.ask("get a") == "1", PATIENCE_S)
        assert one.process.stdin is not None
        one.process.stdin.close()
        assert one.process.wait(PATIENCE_S) == 0


def ask(port: int, path: str, value: str | None = None) -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", None if value is None else value.encode())
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


def test_kvstorage_http(nodes: dict[str, list[Program]]) -> None:
    until(lambda: all(each.lines == ["serving"] for each in nodes["kvstorage_http"]), PATIENCE_S)
    assert ask(HTTP, "/a", "one") == (201, "true")
    until(lambda: [ask(HTTP + number, "/a") for number in range(3)] == [(200, "one")] * 3, PATIENCE_S)
    assert ask(HTTP + 1, "/b")[0] == 404


def test_kvstorage_http_alone_has_its_dump_again(tmp_path: Path) -> None:
    (own,), http = addresses(1), free_port()
    for expected in ((404, ""), (200, "one")):
        with programs(("kvstorage_http", http, tmp_path / "dump", own)) as (one,):
            until(lambda one=one: one.lines == ["serving"], PATIENCE_S)  # type: ignore[misc]
            assert ask(http, "/a") == expected
            assert ask(http, "/a", "one") == (201, "true")


def test_lock_has_one_holder(nodes: dict[str, list[Program]]) -> None:
    one, other, third = nodes["lock"]
    assert one.ask("acquire door") == "acquired"
    assert (one.ask("check door"), other.ask("acquire door"), third.ask("check door")) == ("acquired", "failed", "not acquired")
    assert one.ask("release door") == "released"
    assert (third.ask("acquire door"), other.ask("acquire window")) == ("acquired", "acquired")
