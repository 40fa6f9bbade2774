"""Who is let in to the inspector: whoever has the link, from this machine, and from no other page."""

from __future__ import annotations

from typing import Any

import pytest
from web.conftest import HERE, PORT, TestClient, browser


@pytest.fixture
def outside(shop: Any) -> TestClient:
    return browser(shop[1], enters=False)


@pytest.mark.parametrize("address", ["/", "/state", "/state.json", "/static/app.js", "/nothing", "/journal?part=1"])
def test_nothing_is_shown_without_the_link(outside: TestClient, address: str) -> None:
    assert outside.get(address).status_code == 403


@pytest.mark.parametrize("token", ["x", "", "ä", "a" * 10_000])
def test_a_token_that_is_not_ours_is_refused(outside: TestClient, token: str) -> None:
    answer = outside.get("/", params={"token": token})
    assert answer.status_code == 403 and "set-cookie" not in answer.headers


def test_a_link_is_good_once_and_its_cookie_is_for_this_site_alone(shop: Any) -> None:
    link = shop[1].link()
    first = browser(shop[1], enters=False)
    answer = first.get(link)
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and str(PORT) in cookie
    assert link.partition("token=")[2] not in cookie
    assert first.get("/state").status_code == 200
    # Whoever is in already may come by the same link.
    assert first.get(link).status_code == 200
    second = browser(shop[1], enters=False)
    assert second.get(link).status_code == 403
    assert second.get("/state").status_code == 403


@pytest.mark.parametrize("cookie", ["x", "", "coopy_web_8123=x", "coopy_web_8123", '="', "a=b; coopy_web_8123=ä"])
def test_a_cookie_that_is_not_ours_is_refused(outside: TestClient, cookie: str) -> None:
    assert outside.get("/state", headers={"cookie": cookie.encode()}).status_code == 403


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8123", "127.0.0.1", "127.0.0.1:80", "localhost:8124", "", "127.0.0.1.evil.example:8123"],
)
def test_another_host_is_refused(pages: TestClient, host: str) -> None:
    assert pages.get("/state", headers={"host": host}).status_code == 403


@pytest.mark.parametrize("host", [f"127.0.0.1:{PORT}", f"localhost:{PORT}", f"LOCALHOST:{PORT}", f"[::1]:{PORT}"])
def test_this_machine_is_let_in_by_its_names(pages: TestClient, host: str) -> None:
    cookie = f"coopy_web_{PORT}={pages.cookies[f'coopy_web_{PORT}']}"
    assert pages.get("/state", headers={"host": host, "cookie": cookie}).status_code == 200


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "https://127.0.0.1:8123", "http://127.0.0.1:9", "http://127.0.0.1:8123.evil.example"],
)
def test_another_origin_is_refused(pages: TestClient, origin: str) -> None:
    assert pages.get("/state.json", headers={"origin": origin}).status_code == 403
    assert pages.post("/call", headers={"origin": origin}).status_code == 403


@pytest.mark.parametrize(("site", "status"), [("same-origin", 200), ("cross-site", 403), ("same-site", 403), ("none", 403)])
def test_a_form_without_an_origin_must_stand_in_a_page_of_ours(pages: TestClient, site: str, status: int) -> None:
    token = pages.get("/state").text.partition('name="form_token" value="')[2].partition('"')[0]
    answer = pages.post("/link", data={"form_token": token}, headers={"origin": "null", "sec-fetch-site": site})
    assert answer.status_code == status


def test_our_own_origin_is_let_in(pages: TestClient) -> None:
    assert pages.get("/state.json", headers={"origin": HERE, "sec-fetch-site": "same-origin"}).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_request_of_another_site_is_refused(pages: TestClient, site: str) -> None:
    assert pages.get("/state", headers={"sec-fetch-site": site, "sec-fetch-mode": "navigate"}).status_code == 403
    assert pages.get("/static/app.js", headers={"sec-fetch-site": site, "sec-fetch-mode": "no-cors"}).status_code == 403


def test_the_link_may_be_followed_from_a_mail(shop: Any, outside: TestClient) -> None:
    answer = outside.get(shop[1].link(), headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"})
    # No redirect: the cookie would not be sent with it.
    assert answer.status_code == 200 and "set-cookie" in answer.headers


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_methods_are_refused(pages: TestClient, method: str) -> None:
    assert pages.request(method, "/state").status_code == 403


@pytest.mark.parametrize("address", ["/state", "/state.json", "/static/app.js", "/nothing", "/action?index=99", "/?token=x"])
def test_every_answer_has_what_keeps_a_page_to_itself(pages: TestClient, outside: TestClient, address: str) -> None:
    for each in (pages, outside):
        headers = each.get(address).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize(
    "address",
    [
        "/static/../web_app.py",
        "/static/%2e%2e/web_app.py",
        "/static/..%2fweb_app.py",
        "/static/%2e%2e%2f%2e%2e%2f%2e%2e%2fpyproject.toml",
        "/static/base.html",
        "/static//etc/passwd",
        "/static/app.js/",
        "/static/",
    ],
)
def test_only_the_files_of_the_pages_are_given(pages: TestClient, address: str) -> None:
    assert pages.get(address).status_code == 404


@pytest.mark.parametrize("address", ["/call", "/branch"])
def test_nothing_is_written_unless_that_was_allowed(pages: TestClient, address: str) -> None:
    answer = pages.post(address, data={"method": "sell", "arguments": "'tea'"}, headers={"origin": HERE})
    assert answer.status_code == 400 and "only reads" in answer.text


@pytest.mark.parametrize("address", ["/call", "/branch", "/link"])
def test_a_form_must_say_where_it_stands(pages: TestClient, address: str) -> None:
    assert pages.post(address).status_code == 403


@pytest.mark.parametrize("token", [None, "", "x", "ä"])
def test_a_form_needs_its_token(pages: TestClient, token: str | None) -> None:
    answer = pages.post("/link", data={} if token is None else {"form_token": token}, headers={"origin": HERE})
    assert answer.status_code == 400 and "token=" not in answer.text


def test_a_form_gives_a_link_for_another_browser(shop: Any, pages: TestClient, outside: TestClient) -> None:
    token = pages.get("/state").text.partition('name="form_token" value="')[2].partition('"')[0]
    answer = pages.post("/link", data={"form_token": token}, headers={"origin": HERE})
    link = answer.text.partition("/?token=")[2].partition("<")[0].strip()
    assert outside.get("/", params={"token": link}).status_code == 200
    assert outside.get("/state").status_code == 200
