"""The inspector as an ASGI application: which address shows which page, as HTML and as JSON, and what a form may do.

Needs the extra `[web]`. What is on a page is said by `coopy.tools.web_pages`, how it looks by the templates in the folder pages, and who is
let in by `coopy.tools.web_guard`.
"""

from __future__ import annotations

import hmac
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from coopy.errors import CoopyError, UsageError
from coopy.tools.web_guard import Guard
from coopy.tools.web_keyed import KeyedPage
from coopy.tools.web_pages import Page, local
from coopy.tools.web_states import NotYet

FOLDER = Path(__file__).with_name("pages")
STATIC = {"style.css": "text/css", "app.js": "text/javascript", "icon.svg": "image/svg+xml"}
FORM_BYTES_MAX = 1_000_000
"""A call is written by hand."""
CALL_S = 60
"""A call from a form is ended after so many seconds."""
CALL = "from coopy.tools.web_call import main; main()"
_KIB = 1024  # How many of a unit make the next.
UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def application(page: Page | KeyedPage, port: int) -> Guard:
    """Returns the application for the pages of a directory, let in by the port that it answers at."""
    return Guard(Inspector(page).app, port)


class Inspector:
    """The addresses, and what answers there."""

    def __init__(self, page: Page | KeyedPage) -> None:
        self._page: Any = page
        self._home = next(iter(page.names))
        self._templates = Environment(
            loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        self._templates.filters.update(local=local, size=size, number=number, link=link)
        pages = [*page.names, *page.more]
        self.app = Starlette(
            routes=[
                Route("/", lambda _: RedirectResponse(f"/{self._home}", 303)),
                *[Route(f"/{name}", self._html(name)) for name in pages if name != "whole"],
                *[Route(f"/{name}.json", self._json(name)) for name in pages],
                Route("/static/{name}", self._static),
                Route("/write", self._write_page),
                Route("/call", self._call, methods=["POST"]),
                Route("/branch", self._branch, methods=["POST"]),
                Route("/link", self._link, methods=["POST"]),
            ],
            exception_handlers={404: self._missing},
        )
        # Nobody is sent from one address to another by what he has typed.
        self.app.router.redirect_slashes = False

    # -- pages

    def _html(self, name: str) -> Callable[[Request], Any]:
        def answer(request: Request) -> Response:
            given = dict(request.query_params)
            try:
                shown = getattr(self._page, name)(given)
            except (CoopyError, OSError) as error:
                return self._problem(request, name, error)
            part = given.get("part")
            template = f"{name}_part.html" if part else f"{name}.html"
            return self._render(request, template, name, shown, given)

        return answer

    def _json(self, name: str) -> Callable[[Request], Any]:
        def answer(request: Request) -> Response:
            try:
                shown = getattr(self._page, name)(dict(request.query_params))
            except (CoopyError, OSError) as error:
                said = {"error": str(error), **({"done": error.done, "last": error.last} if isinstance(error, NotYet) else {})}
                return JSONResponse(said, _status_of(error), {"retry-after": "1"} if isinstance(error, NotYet) else None)
            headers = (
                {"content-disposition": f'attachment; filename="state-{shown["index"]}.json"'} if name == "whole" else None
            )
            return JSONResponse(shown, headers=headers)

        return answer

    def _render(
        self, request: Request, template: str, name: str, shown: dict[str, Any], given: dict[str, str], status: int = 200
    ) -> Response:
        query = urlencode({key: text for key, text in given.items() if key != "part"})
        text = self._templates.get_template(template).render(
            page=name,
            pages=self._page.names,
            home=self._home,
            found=shown,
            given=given,
            directory=self._page.basedir,
            domain=self._page.domain,
            write=self._page.write,
            form_token=request.scope["coopy.form_token"],
            as_json=f"/{name}.json" + (f"?{query}" if query else ""),
        )
        return HTMLResponse(text, status)

    def _problem(self, request: Request, name: str, error: Exception) -> Response:
        waits = isinstance(error, NotYet)
        shown = {"text": str(error), "waits": waits, "done": getattr(error, "done", 0), "last": getattr(error, "last", 0)}
        template = "problem_part.html" if request.query_params.get("part") else "problem.html"
        answer = self._render(request, template, name, shown, dict(request.query_params), _status_of(error))
        if waits:
            answer.headers["retry-after"] = "1"
        return answer

    def _missing(self, request: Request, error: Exception) -> Response:
        answer = self._problem(request, self._home, UsageError("there is no such page"))
        answer.status_code = 404
        return answer

    def _static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in STATIC:
            return Response("there is no such file", 404)
        return FileResponse(FOLDER / name, media_type=STATIC[name])

    # -- forms

    async def _form(self, request: Request) -> dict[str, str]:
        """What a form says. Raises `UsageError` if it is not one of ours."""
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > FORM_BYTES_MAX:
                raise UsageError("the form is too large")
        form = {name: texts[0] for name, texts in parse_qs(body.decode(errors="replace"), keep_blank_values=True).items()}
        if not hmac.compare_digest(form.get("form_token", "").encode(), request.scope["coopy.form_token"].encode()):
            raise UsageError("the form has no token of ours, or an old one. Load the page again. Nothing was changed.")
        return form

    async def _write_form(self, request: Request) -> dict[str, str]:
        if not self._page.write:
            raise UsageError("this inspector only reads. `coopy web --write` allows calls and branches. Nothing was changed.")
        return await self._form(request)

    def _write_page(self, request: Request) -> Response:
        if not self._page.write:
            return self._problem(request, "write", UsageError("this inspector only reads. `coopy web --write` allows calls."))
        return self._render(request, "write.html", "write", {"said": None, "method": "", "arguments": ""}, {})

    async def _call(self, request: Request) -> Response:
        try:
            form = await self._write_form(request)
            said = await run_in_threadpool(self._called, form.get("method", ""), form.get("arguments", ""))
        except CoopyError as error:
            return self._problem(request, "write", error)
        shown = {"said": said, "method": form.get("method", ""), "arguments": form.get("arguments", "")}
        return self._render(request, "write.html", "write", shown, {})

    def _called(self, method: str, arguments: str) -> dict[str, Any]:
        """Calls a method in a process of its own: whatever it does, it does there."""
        job = {"basedir": self._page.basedir, "class": self._page.spec, "method": method, "arguments": arguments.splitlines()}
        try:
            ended = subprocess.run(
                [sys.executable, "-c", CALL], input=json.dumps(job), capture_output=True, text=True, timeout=CALL_S, check=False
            )
        except subprocess.TimeoutExpired:
            return {"error": f"the call has not ended after {CALL_S} seconds, and was given up; look at the journal."}
        lines = ended.stdout.splitlines()
        if ended.returncode or not lines:
            return {"error": f"the process that made the call has ended (exit code {ended.returncode}); look at the journal."}
        said: dict[str, Any] = json.loads(lines[-1])
        return said

    async def _branch(self, request: Request) -> Response:
        try:
            form = await self._write_form(request)
            at = form.get("at", "")
            if not at.isdigit():
                raise UsageError(f"at={at[:40]}: must be the index of an action")
            said = await run_in_threadpool(self._page.branch, int(at), form.get("name", ""))
        except CoopyError as error:
            return self._problem(request, self._home, error)
        text = f"{said['directory']} holds the state after action {said['index']:,}, as a system of its own."
        return self._render(request, "write.html", "write", {"said": {"value": text}, "method": "", "arguments": ""}, {})

    async def _link(self, request: Request) -> Response:
        try:
            await self._form(request)
        except CoopyError as error:
            return self._problem(request, self._home, error)
        return self._render(request, "link.html", "link", {"link": request.scope["coopy.new_link"]()}, {})


def _status_of(error: Exception) -> int:
    return 503 if isinstance(error, NotYet) else 400


def size(number_: int | float | None) -> str:
    """Bytes as a person reads them."""
    if number_ is None:
        return "not known"
    left, unit = float(number_), 0
    while left >= _KIB and unit < len(UNITS) - 1:
        left, unit = left / _KIB, unit + 1
    return f"{left:,.{min(unit, 1)}f} {UNITS[unit]}"


def number(value: int | float | None) -> str:
    """A number with its thousands apart."""
    return "?" if value is None else f"{value:,}"


def link(address: str, **given: Any) -> str:
    """An address with what is given to it; what is empty is left out."""
    query = urlencode({name: text for name, text in given.items() if text not in ("", None)})
    return f"{address}?{query}" if query else address
