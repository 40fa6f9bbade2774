"""The examples of the guide of objects do what the guide says."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from program import ROOT, environment, free_port

from coopy.objects import opening

GUIDE = Path(ROOT, "docs", "guides", "objects.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```py\n# (\S+)\n(.*?)^```", GUIDE, re.S | re.M))


@pytest.fixture
def module(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    path = tmp_path / f"{name}.py"
    path.write_text(FILES[path.name])
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, found)
    spec.loader.exec_module(found)
    return found


def done(directory: Any) -> None:
    while not directory.engine.do_what_is_due():
        pass


def test_the_guide_begins_with_what_people_search_for() -> None:
    assert GUIDE.startswith("# Durable objects")
    assert sorted(FILES) == ["carts.py", "chat.py", "devices.py"]


def test_what_the_guide_begins_with_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = re.findall(r"^```python\n(.*?)^```", GUIDE, re.S | re.M)
    monkeypatch.setitem(sys.modules, "guide", type(sys)("guide"))
    for source in (first, second):
        names = vars(sys.modules["guide"])
        exec(source, names)
    rooms: Any = names["rooms"]
    assert rooms["42"].last() == [("ann", "hi")]
    rooms.close()


@pytest.mark.parametrize("name", ["carts"])
def test_an_order_is_placed_once_and_the_stock_is_told_once(
    tmp_path: Path, module: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    module.main(str(tmp_path / "data"))
    assert capsys.readouterr().out == "{'tea': 2, 'cup': 1} {'tea': 2, 'cup': 1}\n"
    directory = opening.opened(module.Cart, tmp_path / "data")
    carts, stocks = directory.of(module.Cart), directory.of(module.Stock)
    done(directory)
    with pytest.raises(ValueError, match="empty"):
        carts["bob"].order("request 1")
    assert carts["ann"].order("request 1") == {"tea": 2, "cup": 1}
    done(directory)
    assert (stocks["tea"].sold_in_all(), stocks["cup"].sold_to, "bob" in carts) == (2, [("ann", 1)], False)
    directory.close()


@pytest.mark.parametrize("name", ["devices"])
def test_a_device_that_is_silent_is_offline_after_its_time(
    tmp_path: Path, module: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    module.main(str(tmp_path / "data"))
    assert capsys.readouterr().out == "True\n"
    directory = opening.opened(module.Device, tmp_path / "data")
    devices, sites, now = directory.of(module.Device), directory.of(module.Site), directory.engine.clock()
    directory.engine.clock = lambda: now
    done(directory)
    devices["berlin/8"].measure(20.0)
    done(directory)
    assert sites["berlin"].devices() == ["berlin/7", "berlin/8"]
    now += 59 * 10**9
    devices["berlin/8"].measure(20.5)
    done(directory)
    now += 2 * 10**9
    done(directory)
    assert (sites["berlin"].devices(), devices["berlin/7"].is_online) == (["berlin/8"], False)
    directory.close()


def test_chat_rooms_remember_what_was_said(tmp_path: Path) -> None:
    client = pytest.importorskip("websockets.asyncio.client")
    (tmp_path / "chat.py").write_text(FILES["chat.py"])
    port = free_port()

    async def heard(room: str, say: list[str] | None, count: int) -> list[Any]:
        async with client.connect(f"ws://127.0.0.1:{port}/{room}") as connection:
            if say is not None:
                await connection.send(json.dumps(say))
            return [json.loads(await connection.recv()) for _ in range(count)]

    for number in range(2):
        server = subprocess.Popen(
            [sys.executable, str(tmp_path / "chat.py"), str(tmp_path / "data"), str(port)],
            stdout=subprocess.PIPE,
            env=environment(),
            text=True,
        )
        try:
            assert server.stdout is not None and server.stdout.readline() == "ready\n"
            if number == 0:
                assert asyncio.run(heard("a", ["ann", "hi"], 1)) == [["ann", "hi"]]
                assert asyncio.run(heard("b", ["bob", "ho"], 1)) == [["bob", "ho"]]
            else:
                assert asyncio.run(heard("a", None, 1)) == [["ann", "hi"]]
        finally:
            server.kill()
            server.wait()
