"""Who is let in to the inspector, and what a browser may do with its pages.

A state is somebody's data, and other pages in the same browser, other users of this machine and names that point to it must not get at it:

* The link on the terminal has a token, which is good once. It is exchanged for a cookie that no script can read and that no other site
  can have sent.
* The Host must be this machine by a name that nobody else can give it, so that no foreign name can be pointed here; where
  a browser says what page a request comes from, that must be one of these.
* Pages load scripts and styles from here alone, and none that stand in the page; they are shown in no frame, and tell nobody where they were.
* What changes anything is a POST, with a token that stands in the form.

An ASGI application around another.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Any, Send], Awaitable[None]]

TOKEN_BYTES = 24
"""192 bits: not to be guessed by anybody who asks as fast as this machine answers."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]
ENTERED = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>coopy web</title>'
    '<meta http-equiv="refresh" content="0; url=/"><p><a href="/">Go on to the inspector</a></p></html>'
)
"""Not a redirect: a browser that came from elsewhere would not send the cookie with it."""


class Guard:
    """Lets in who has the link, and asks for what it promises."""

    def __init__(self, app: App, port: int) -> None:
        self._app = app
        self._hosts = frozenset(f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]"))
        self._origins = frozenset(f"http://{host}" for host in self._hosts)
        self._cookie = f"coopy_web_{port}"  # Cookies are of all ports of a machine.
        self._session = secrets.token_urlsafe(TOKEN_BYTES)
        self._tokens: set[str] = set()
        self._form_token = secrets.token_urlsafe(TOKEN_BYTES)
        """What a form must have, so that its POST comes from a page of ours."""
        self._port = port

    def link(self) -> str:
        """Returns an address that lets in one browser, once."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        self._tokens.add(token)
        return f"http://127.0.0.1:{self._port}/?token={token}"

    async def __call__(self, scope: Scope, receive: Any, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                ours = {name for name, _ in HEADERS}
                message["headers"] = [each for each in message.get("headers", ()) if each[0].lower() not in ours] + HEADERS
            await send(message)

        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal:
            await _say(with_headers, 403, refusal)
            return
        given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [""])[0]
        if scope["path"] == "/" and given:
            await self._enter(with_headers, given, headers)
            return
        if not self._has_cookie(headers):
            await _say(with_headers, 403, "Open the link that `coopy web` has printed. It is good for one browser, once.")
            return
        scope["coopy.form_token"] = self._form_token
        scope["coopy.new_link"] = self.link
        await self._app(scope, receive, with_headers)

    async def _enter(self, send: Send, given: str, headers: dict[bytes, str]) -> None:
        known = next((each for each in tuple(self._tokens) if hmac.compare_digest(each.encode(), given.encode())), None)
        if known is not None:
            self._tokens.discard(known)
            cookie = f"{self._cookie}={self._session}; HttpOnly; SameSite=Strict; Path=/"
            await _say(send, 200, ENTERED, b"text/html; charset=utf-8", [(b"set-cookie", cookie.encode())])
        elif self._has_cookie(headers):
            await _say(send, 200, ENTERED, b"text/html; charset=utf-8")
        else:
            await _say(send, 403, "This link was used, or is not one of ours. Stop `coopy web` and start it again for another.")

    def _refusal(self, scope: Scope, headers: dict[bytes, str]) -> str:
        if headers.get(b"host", "").lower() not in self._hosts:
            return "Refused: this is the inspector of coopy, and it answers under 127.0.0.1 and localhost alone."
        origin, site = headers.get(b"origin"), headers.get(b"sec-fetch-site", "none")
        # A browser that is to tell nobody where it was says "null" of a form, and beside it whose page that stands in.
        is_ours = origin is None or origin.lower() in self._origins or (origin == "null" and site == "same-origin")
        if not is_ours or (site not in ("none", "same-origin") and not self._is_a_visit(scope, headers)):
            return "Refused: the request comes from a page of another site."
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return "Refused: pages are read with GET."
        if scope["method"] == "POST" and origin is None:
            return "Refused: a form must say what page it stands in."
        return ""

    def _is_a_visit(self, scope: Scope, headers: dict[bytes, str]) -> bool:
        """Whether somebody follows the link from elsewhere, a mail, say: then the token decides."""
        return scope["method"] == "GET" and scope["path"] == "/" and headers.get(b"sec-fetch-mode") == "navigate"

    def _has_cookie(self, headers: dict[bytes, str]) -> bool:
        try:
            jar = SimpleCookie(headers.get(b"cookie", ""))
        except CookieError:
            return False
        found = jar.get(self._cookie)
        return found is not None and hmac.compare_digest(found.value.encode(), self._session.encode())


async def _say(
    send: Send,
    status: int,
    text: str,
    kind: bytes = b"text/plain; charset=utf-8",
    headers: list[tuple[bytes, bytes]] | None = None,
) -> None:
    body = text.encode()
    named = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), *(headers or [])]
    await send({"type": "http.response.start", "status": status, "headers": named})
    await send({"type": "http.response.body", "body": body})
