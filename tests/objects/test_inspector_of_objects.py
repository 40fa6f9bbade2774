"""The inspector of a directory of many objects."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="the extra [web] is not installed")

from objects.lives import Lives
from objects.rooms import Device, Room

import coopy
from coopy.tools.web_app import application
from coopy.tools.web_keyed import KeyedPage

with warnings.catch_warnings():
    # It asks for another release of httpx, which is the same to us.
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient

PORT = 8124


def browser(basedir: Path) -> Any:
    app = application(KeyedPage(str(basedir), None), PORT)
    found = TestClient(app, base_url=f"http://127.0.0.1:{PORT}")
    found.get(app.link().removeprefix(f"http://127.0.0.1:{PORT}"))
    return found


@pytest.fixture
def rooms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    with coopy.objects(Room, tmp_path / "data") as rooms:
        rooms["user/42"].say("<ann>", "hi")
        rooms["user/42"].say("bob")
        rooms["shop"].say("cid")
        rooms.of(Device)["d"].heard("x")
    return tmp_path / "data"


def test_keys_are_listed_and_searched(rooms: Path) -> None:
    with browser(rooms) as web:
        page = web.get("/")
        assert page.status_code == 200 and "user/42" in page.text and "shop" in page.text
        keys = lambda **given: [each["key"] for each in web.get("/objects.json", params=given).json()["keys"]]  # noqa: E731
        assert keys() == ["shop", "user/42"] and keys(q="42") == ["user/42"] and keys(q="us*") == ["user/42"]
        assert keys(q="hop*") == [] and keys(of="objects.rooms:Device") == ["d"]


def test_an_object_is_shown_with_its_calls_now_and_then(rooms: Path) -> None:
    with browser(rooms) as web:
        found = web.get("/object.json", params={"key": "user/42"}).json()
        assert found["state"]["said"][1] == ["bob", ""] and [each["method"] for each in found["calls"]] == ["say", "say"]
        page = web.get("/object", params={"key": "user/42", "at": "1"}).text
        assert "&lt;ann&gt;" in page and "<ann>" not in page
        assert json.loads(web.get("/object.json", params={"key": "user/42", "at": "1"}).text)["state"]["said"] == [
            ["<ann>", "hi"]
        ]
        for given in ({}, {"key": "nobody"}, {"key": "shop", "at": "x"}):
            assert web.get("/object", params=given).status_code == 400


def test_a_quarantined_object_is_marked_and_still_shown(in_memory: Path) -> None:
    lives = Lives(in_memory / "data")
    lives.live("mortals['bad'].do('well')", "mortals['bad'].die('exit')", "mortals['bad'].die('exit')")
    lives.open().close()
    with browser(lives.path) as web:
        assert web.get("/objects.json").json()["keys"] == [{"key": "bad", "quarantined": True}]
        found = web.get("/object.json", params={"key": "bad"}).json()
        assert found["state"]["done"] == ["well"] and len(found["deaths"]) == 2
