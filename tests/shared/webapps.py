"""The applications of the campaign of web servers: one line for each key that was added, behind Flask and behind FastAPI.

Each is opened as OPENED says: "import", when the module is imported (before the workers are forked, under --preload); "lifespan", in the worker.

    PUT /<key>   adds to a key, and reads it in the same request, as any page does after a change
    GET /<key>   reads a key as all answers before have left it, whichever process they came from

Each answers with what it has read, its pid, how long the calls of the system have taken in this request, and how long its opening has: the rest is the
web server's.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import coopy.aio
from coopy import control, init_system, readonly

OPENED = os.environ.get("OPENED", "")


class Ledger:
    def __init__(self) -> None:
        self.lines: dict[str, int] = {}

    def add(self, key: str) -> int:
        self.lines[key] = self.lines.get(key, 0) + 1
        return self.lines[key]

    @readonly
    def times(self, key: str) -> int:
        return self.lines.get(key, 0)


opening_s = 0.0


def opened() -> Any:
    global opening_s
    began = time.perf_counter()
    found = init_system(Ledger, "data", shared=True)
    opening_s = time.perf_counter() - began
    # A worker that is told to end lets the directory go; one that is killed need not.
    atexit.register(control(found).close)
    return found


system: Any = opened() if OPENED == "import" else None


def answer(key: str, **said: Any) -> dict[str, Any]:
    return {"key": key, "pid": os.getpid(), "opening": opening_s, **said}


def added(key: str) -> dict[str, Any]:
    began = time.perf_counter()
    times = system.add(key)
    return answer(key, times=times, seen=system.times(key), seconds=time.perf_counter() - began)


def looked(key: str) -> dict[str, Any]:
    began = time.perf_counter()
    with control(system).latest():
        times = system.times(key)
    return answer(key, seen=times, seconds=time.perf_counter() - began)


def for_flask() -> Any:
    from flask import Flask

    app = Flask(__name__)
    app.add_url_rule("/<key>", "add", added, methods=["PUT"])
    app.add_url_rule("/<key>", "look", looked, methods=["GET"])
    return app


def for_fastapi() -> Any:
    from fastapi import FastAPI

    ledger: Any = None

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        nonlocal ledger
        global opening_s
        began = time.perf_counter()
        async with coopy.aio.open(Ledger, "data", shared=True) if system is None else coopy.aio.open(system) as ledger:
            opening_s = time.perf_counter() - began
            yield

    app = FastAPI(lifespan=lifespan)

    @app.put("/{key}")
    async def add(key: str) -> dict[str, Any]:
        began = time.perf_counter()
        times = await ledger.add(key)
        return answer(key, times=times, seen=await ledger.times(key), seconds=time.perf_counter() - began)

    @app.get("/{key}")
    async def look(key: str) -> dict[str, Any]:
        began = time.perf_counter()
        await asyncio.to_thread(control(coopy.aio.system_of(ledger)).sync)
        return answer(key, seen=await ledger.times(key), seconds=time.perf_counter() - began)

    return app
