"""The pages of the inspector: what is on them is what the system says, and nothing of it is taken for HTML."""

from __future__ import annotations

from typing import Any

import pytest
from web.conftest import LAST, TestClient
from web.shops import QUOTE, SCRIPT, Shop

import coopy
from coopy.tools import web_journal
from coopy.tools.web_journal import nanoseconds
from coopy.tools.web_pages import Page, compared, steps

ADDRESSES = [
    *[f"/{name}" for name in Page.names],
    "/state?at=9&vs=4&open=.stock%0A.notes%0A.odd",
    "/state?root=.notes&from=1",
    "/state?at=0",
    "/state?part=1&at=9",
    "/journal?part=1&after=3",
    "/journal?internal=1",
    "/action?index=5",
    "/action?index=6",
    "/action?index=7",
    "/action?index=9",
    "/diff?a=0&b=14",
    "/search?q=script",
    "/search?q=img&where=values",
    "/value?path=.notes",
    "/value?path=.notes[0]&part=1",
    "/status",
]


def found(pages: TestClient, address: str) -> Any:
    answer = pages.get(address)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_page_is_shown_and_nothing_of_the_state_is_html(pages: TestClient, address: str) -> None:
    answer = pages.get(address)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/html")
    assert SCRIPT not in answer.text and "<img" not in answer.text and "<b>" not in answer.text
    # No text of the state ends an attribute, either.
    assert "onerror=alert(2)>" not in answer.text
    assert "<style" not in answer.text and " style=" not in answer.text and " onclick" not in answer.text


def test_what_is_shown_is_there_as_text(pages: TestClient) -> None:
    text = pages.get("/state?open=.stock%0A.notes").text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text and "onerror=alert(2)&gt;" in text


@pytest.mark.parametrize("name", [*Page.names, *(each for each in Page.more if each != "whole")])
def test_a_page_is_there_as_json(pages: TestClient, name: str) -> None:
    given = {"action": "?index=3", "value": "?path=.sold", "search": "?q=tea"}.get(name, "")
    answer = pages.get(f"/{name}.json{given}")
    assert answer.status_code == 200, answer.text
    assert isinstance(answer.json(), dict)


def rows(pages: TestClient, address: str) -> dict[str, Any]:
    return {each["path"]: each for each in found(pages, address)["rows"] if "more" not in each}


@pytest.mark.parametrize("at", [0, 1, 5, 7, 8, LAST])
def test_a_state_of_the_past_is_what_replay_gives(pages: TestClient, shop: Any, at: int) -> None:
    state = coopy.replay(Shop, shop[0].basedir, until=at)
    shown = rows(pages, f"/state.json?at={at}&open=.stock%0A.notes")
    assert shown[".sold"]["text"] == str(state.sold)
    stock = {path: row["text"] for path, row in shown.items() if path and path.startswith(".stock[")}
    assert stock == {f".stock[{name!r}]": str(number) for name, number in state.stock.items()}


def test_what_differs_from_another_state_is_marked(pages: TestClient) -> None:
    shown = rows(pages, "/state.json?at=11&vs=9&open=.stock")
    changes = {path: row["change"] for path, row in shown.items() if row["change"]}
    assert changes == {".stock": "changed", ".sold": "changed", ".stock['tea']": "changed", ".stock['bread']": "added"}
    assert shown[".stock['tea']"]["was"] == "2"
    shown = rows(pages, "/state.json?at=12&vs=11&open=.stock")
    assert shown[".stock['bread']"]["change"] == "removed"
    # Without another state, that before the action is compared.
    assert found(pages, "/state.json?at=3")["vs"] == 2


def test_a_state_is_found_by_time(pages: TestClient) -> None:
    when = found(pages, "/action.json?index=5")["time"]
    assert found(pages, "/state.json?when=" + when.replace("+", "%2B"))["index"] in (5, 6)  # Of a microsecond, all.
    assert found(pages, "/state.json?when=2001-01-01T00:00:00")["index"] == 0
    assert found(pages, "/state.json?when=0001-01-01T00:00:00%2B23:59")["index"] == 0
    assert found(pages, "/state.json?when=4102444800000")["index"] == LAST


def test_a_long_list_is_shown_in_parts() -> None:
    assert compared([{"path": "", "more": 3}], [{"path": "", "more": 5}])[0]["change"] == ""


def test_parts_that_are_gone_stand_where_they_were() -> None:
    def row(name: str, mark: str = "") -> dict[str, Any]:
        return {"path": name, "step": name, "depth": 1, "mark": mark, "text": mark, "open": False, "opens": False}

    now, then = [row("a"), row("d", "2"), row("e")], [row("a"), row("b"), row("c"), row("d", "1"), row("f")]
    assert [(each["path"], each["change"]) for each in compared(now, then)] == [
        ("a", ""),
        ("b", "removed"),
        ("c", "removed"),
        ("d", "changed"),
        ("e", "added"),
        ("f", "removed"),
    ]


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("", []),
        (".a", [".a"]),
        (".a['b.c'][0].d", [".a", "['b.c']", "[0]", ".d"]),
        ("[(1, 'x')]", ["[(1, 'x')]"]),
        ("][", ["]["]),
    ],
)
def test_the_way_to_a_part_has_its_steps(path: str, parts: list[str]) -> None:
    assert [each["step"] for each in steps(path)] == parts
    assert not parts or steps(path)[-1]["path"] == path


# -- search, blame, differences


def test_search_finds_names_and_values(pages: TestClient) -> None:
    assert [each["path"] for each in found(pages, "/search.json?q=TEA")["found"]] == [".stock['tea']"]
    assert [each["path"] for each in found(pages, "/search.json?q=onerror")["found"]] == [".notes[0]"]
    assert found(pages, "/search.json?q=onerror&where=names")["found"] == []
    assert found(pages, "/search.json?q=tea&where=values")["found"] == []
    assert found(pages, "/search.json?q=last&at=13")["found"] == []


def test_a_value_has_the_actions_that_changed_it_the_newest_first(pages: TestClient) -> None:
    blamed = found(pages, "/value.json?path=.stock['tea']")
    assert [(each["index"], each["before"], each["after"]) for each in blamed["changes"]] == [
        (10, "2", "1"),
        (3, "3", "2"),
        (1, None, "3"),
    ]
    assert blamed["complete"] and blamed["changes"][1]["action"]["call"] == "sell('tea')"
    # Action 13 has put nothing: it set the value, and did not change it.
    assert [each["index"] for each in found(pages, "/value.json?path=.stock['tea']&at=9")["changes"]] == [3, 1]
    gone = found(pages, "/value.json?path=.stock['bread']")["changes"]
    assert [(each["index"], each["after"]) for each in gone] == [(12, None), (11, "9")]
    # A container changes with what is in it.
    assert [each["index"] for each in found(pages, "/value.json?path=.stock")["changes"]] == [12, 11, 10, 4, 3, 2, 1]


@pytest.mark.parametrize(("index", "paths"), [(3, [".stock['tea']", ".sold"]), (5, [".notes[0]"]), (6, []), (7, []), (13, [])])
def test_an_action_has_what_it_changed(pages: TestClient, index: int, paths: list[str]) -> None:
    assert [each["path"] for each in found(pages, f"/action.json?index={index}")["diff"]] == paths


def test_what_cannot_be_shown_is_shown_as_that(pages: TestClient) -> None:
    shown = rows(pages, "/state.json?open=.odd")
    assert "Refuses" in shown[".odd['mirror']"]["text"] + shown[".odd['mirror']"]["kind"]


# -- the journal


def indexes(pages: TestClient, given: str) -> list[int]:
    return [row["index"] for row in found(pages, f"/journal.json?{given}")["rows"]]


def test_the_journal_is_filtered(pages: TestClient) -> None:
    assert indexes(pages, "") == list(range(LAST, 0, -1))
    assert indexes(pages, "method=sell") == [10, 3]
    assert indexes(pages, "method=nobody") == []
    assert indexes(pages, "outcome=raised") == [6]
    assert indexes(pages, "outcome=withdrawn") == [7]
    assert indexes(pages, "argument=MILK") == [2]
    assert indexes(pages, "method=put&argument=tea") == [13, 1]
    assert indexes(pages, "before=4") == [3, 2, 1]
    assert indexes(pages, "after=12") == [13, 14]
    times = {row["index"]: row["time"].replace("+", "%2B") for row in found(pages, "/journal.json")["rows"]}
    assert indexes(pages, "since=2099-01-01") == [] and indexes(pages, "until=2001-01-01") == []
    assert 4 in indexes(pages, f"since={times[3]}") and 1 in indexes(pages, f"until={times[3]}")


def test_a_search_that_takes_long_goes_on_from_where_it_was(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_journal, "BUDGET_S", 0.0)
    journal = web_journal.Journal(shop[0].basedir, "web.shops:Shop")
    journal.scan(60)
    met, before = [], None
    while True:
        seen = journal.rows(before=before, argument="tea")
        met += [row["index"] for row in seen["rows"]]
        assert seen["searching"] == (seen["next"] is not None)
        if seen["next"] is None:
            break
        assert before is None or seen["next"] < before
        before = seen["next"]
        # Each look gets on by an action at least.
        monkeypatch.setattr(web_journal, "BUDGET_S", 60.0 if before < 3 else 0.0)
    journal.close()
    assert met == [13, 10, 3, 1]


def test_outcomes_are_those_of_the_actions(pages: TestClient) -> None:
    outcomes = {row["index"]: row["outcome"] for row in found(pages, "/journal.json")["rows"]}
    assert outcomes[6] == "raised" and outcomes[7] == "withdrawn"
    assert {outcomes[index] for index in range(1, LAST + 1)} == {"returned", "raised", "withdrawn"}


def test_rates_count_calls(pages: TestClient) -> None:
    counted = found(pages, "/rates.json")
    calls = {each["method"]: (each["calls"], each["raised"], each["withdrawn"]) for each in counted["methods"]}
    assert calls["put"] == (5, 0, 0) and calls["fail"] == (1, 1, 0) and calls["refuse"] == (1, 0, 1)
    assert sum(counted["buckets"]) == LAST == counted["timed"]


# -- what is asked wrongly


@pytest.mark.parametrize(
    "address",
    [
        "/state?at=abc",
        "/state?at=-1",
        "/state?at=99",
        "/state?at=" + "9" * 400,
        "/state?at=1&vs=x",
        "/state?when=yesterday",
        "/value",
        "/action?index=99",
        "/action?index=0",
        "/journal?since=soon",
        "/memory?root=.nothing",
        "/diff?a=1&b=99",
    ],
)
def test_wrong_use_is_told(pages: TestClient, address: str) -> None:
    answer = pages.get(address)
    assert answer.status_code == 400 and "can&#39;t be shown" in answer.text or "can't be shown" in answer.text
    name, _, query = address.partition("?")
    said = pages.get(f"{name}.json?{query}")
    assert said.status_code == 400 and said.json()["error"]


@pytest.mark.parametrize("path", ["__import__('os')", ".stock['no']", "].[", "(" * 5000, QUOTE, ".__class__.__init__"])
def test_a_path_runs_nothing(pages: TestClient, path: str) -> None:
    answer = pages.get("/value.json", params={"path": path})
    assert answer.status_code in (200, 400)
    if answer.status_code == 200:
        assert answer.json()["kind"] in ("not there", "function", "wrapper_descriptor")
    assert pages.get("/state", params={"root": path}).status_code == 200


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("2026-01-31T08:15:00Z", "2026-01-31T08:15:00+00:00"),
        ("2026-01-31T08:15:00 02:00", "2026-01-31T06:15:00Z"),
        ("2026-01-31 08:15", "2026-01-31T08:15:00"),
    ],
)
def test_a_time_is_understood_in_each_way_to_write_it(text: str, other: str) -> None:
    assert nanoseconds(text) == nanoseconds(other) is not None


@pytest.mark.parametrize("text", ["", "soon", "2026-13-01", "9" * 500])
def test_what_is_no_time_is_none(text: str) -> None:
    assert nanoseconds(text) is None
