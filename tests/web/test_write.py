"""What a form may do with `--write`, and how `coopy web` begins."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from web.conftest import HERE, TestClient, browser, fill, inspected
from web.shops import Shop

import coopy
from coopy import init_system
from coopy.cli.app import app
from coopy.tools import web_top


def form(pages: TestClient, address: str, **given: str) -> str:
    token = pages.get("/write").text.partition('name="form_token" value="')[2].partition('"')[0]
    assert token
    return pages.post(address, data={"form_token": token, **given}, headers={"origin": HERE}).text


def test_a_call_from_a_form_is_recorded_and_a_branch_is_a_system_of_its_own(tmp_path: Path) -> None:
    basedir = tmp_path / "data"
    fill(basedir)
    with inspected(basedir, write=True) as (page, guard):
        pages = browser(guard)
        assert "<pre" in form(pages, "/call", method="sell", arguments="'tea'")
        assert "KeyError" in form(pages, "/call", method="sell", arguments="'nothing'")
        assert "has no method" in form(pages, "/call", method="nobody", arguments="1")
        assert "no literal" in form(pages, "/call", method="put", arguments="[1")
        assert "&lt;img" in form(pages, "/call", method="<img src=x>", arguments="")
        form(pages, "/call", method="put", arguments="name='tea'\n5")
        assert page.state({})["index"] == 16
        for name in ("", "..", ".hidden", "../x", "a/b", "/tmp/x", "data", "a\0b"):
            text = form(pages, "/branch", at="5", name=name)
            assert "must be the name" in text or "there already" in text, name
        assert "must be the index" in form(pages, "/branch", at="x", name="early")
        assert "early holds" in form(pages, "/branch", at="5", name="early")
        assert sorted(os.listdir(tmp_path)) == ["data", "early"]
        # A form without its token does nothing, whatever else is right.
        answer = pages.post("/call", data={"method": "sell", "arguments": "'tea'"}, headers={"origin": HERE})
        assert answer.status_code == 400 and page.state({})["index"] == 16
    then = coopy.replay(Shop, str(basedir), until=5)
    with init_system(Shop, str(tmp_path / "early")) as early:
        assert early.stock == then.stock and early.notes == then.notes
        early.sell("tea")
    assert coopy.replay(Shop, str(basedir)).sold == 3


def test_a_call_is_refused_while_another_has_the_directory_for_itself(tmp_path: Path) -> None:
    with init_system(Shop, str(tmp_path / "data")) as shop:
        shop.put("tea", 1)
        with inspected(tmp_path / "data", write=True) as (_, guard):
            assert "is open" in form(browser(guard), "/call", method="sell", arguments="'tea'")
        assert shop.sold == 0


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        app(words, prog_name="coopy")
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_another_users_directory_is_not_loaded_unless_it_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path / "data")
    monkeypatch.setattr(os, "getuid", lambda: 4321)
    said = refused(["web", str(tmp_path / "data")], capsys)
    assert "another user" in said and "--trust" in said and "Nothing was loaded" in said


@pytest.mark.parametrize("words", [["no-such-directory"], ["."], [""]])
def test_what_is_no_system_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert refused(["web", *words], capsys)


def test_a_port_that_is_taken_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import socket

    fill(tmp_path / "data")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        said = refused(["web", str(tmp_path / "data"), "--port", str(taken.getsockname()[1])], capsys)
    assert "Choose another" in said


def test_top_shows_who_is_called_and_nothing_of_it_is_markup(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with init_system(Shop, str(tmp_path / "data")) as shop:
        shop.put("[red]tea[/red]", 3)
        shop.sell("[red]tea[/red]")
        with pytest.raises(SystemExit) as ended:
            app(["top", str(tmp_path / "data"), "--once"], prog_name="coopy")
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "[red]tea[/red]" in said and "sell" in said and f"process {os.getpid()}" in said and "action 2" in said


def test_top_has_the_rates_of_the_last_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(web_top, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with init_system(Shop, str(tmp_path / "data")) as shop:
        shop.put("tea", 100)
        watch = web_top.Watch(str(tmp_path / "data"), "web.shops:Shop")
        assert watch.glance().rate == 0
        for _ in range(20):
            shop.sell("tea")
        now[0] = 5.0
        seen = watch.glance()
        assert seen.rate == 4.0 and seen.methods[0] == ("sell", 20, 4.0) and seen.newest[0]["index"] == 21
        now[0] = 12.0
        assert watch.glance().rate == 0
        watch.close()
