"""A wiki behind FastAPI: no database, one system for all workers and all requests, which share the syncs of the disk.

    pip install fastapi uvicorn
    uvicorn --app-dir examples fastapi_wiki:app --workers 4

    curl -X PUT localhost:8000/pages/Home -H 'content-type: application/json' -d '{"text": "Welcome"}'
    curl localhost:8000/pages/Home

The data is in the directory that WIKI_DATA names, or in ./wiki. One worker writes, the
others send it their calls; one alone (the default) serves thousands of requests at once.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel

import coopy.aio
from coopy import abort_exception, clock, readonly


@dataclass(frozen=True)
class Page:
    """A text, and when it was written."""

    text: str
    written: datetime


class Wiki:
    """The domain: plain Python, without a word of the web or of asyncio."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}

    @abort_exception
    def write(self, name: str, text: str) -> Page:
        """Writes a page. Raises ValueError for an empty text."""
        if not text:
            raise ValueError("a page has a text")
        self.pages[name] = Page(text, clock.now())
        return self.pages[name]

    @abort_exception
    def delete(self, name: str) -> None:
        """Deletes a page. Raises KeyError."""
        del self.pages[name]

    @readonly
    def page(self, name: str) -> Page:
        """A page. Raises KeyError."""
        return self.pages[name]

    @readonly
    def names(self) -> list[str]:
        """The names of all pages, in order."""
        return sorted(self.pages)


class Text(BaseModel):
    """The body of a request that writes."""

    text: str


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    """Opens the system before the first request, and closes it after the last."""
    async with coopy.aio.open(Wiki, os.environ.get("WIKI_DATA", "wiki"), shared=True) as wiki:
        yield {"wiki": wiki}


app = FastAPI(title="Wiki", lifespan=lifespan)


@app.get("/pages")
async def names(request: Request) -> list[str]:
    """The names of all pages."""
    return await coopy.aio.call(request.state.wiki, Wiki.names)


@app.get("/pages/{name}")
async def page(name: str, request: Request) -> Page:
    """One page."""
    try:
        return await coopy.aio.call(request.state.wiki, Wiki.page, name)
    except KeyError:
        raise HTTPException(404, f"there is no page {name}") from None


@app.put("/pages/{name}")
async def write(name: str, body: Text, request: Request) -> Page:
    """Writes a page. When this is answered, it is on the disk."""
    try:
        return await coopy.aio.call(request.state.wiki, Wiki.write, name, body.text)
    except ValueError as error:
        raise HTTPException(422, str(error)) from None


@app.delete("/pages/{name}", status_code=204)
async def delete(name: str, request: Request) -> None:
    """Deletes a page."""
    try:
        await coopy.aio.call(request.state.wiki, Wiki.delete, name)
    except KeyError:
        raise HTTPException(404, f"there is no page {name}") from None
