"""The media and the faces of a bus for tests: each test of the contract runs on all of them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from coopy.messaging import Bus
from coopy.messaging.bus_aio import AsyncBus, AsyncSubscription

PATIENCE_S = 30.0
"""Nothing here takes a second; a busy machine may."""


class Threads:
    """A member of a bus as threads use it."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.publish, self.subscribe, self.request, self.call = bus.publish, bus.subscribe, bus.request, bus.call
        self.flush, self.wait_for_subscribers = bus.flush, bus.wait_for_subscribers

    @contextlib.contextmanager
    def serving(self, subject: str, function: Callable[[Any], Any]) -> Iterator[None]:
        name, _, endpoint = subject.partition(".")
        with self.bus.service(name, "1.2.3") as service:
            service.endpoint(endpoint)(function)
            yield

    def close(self) -> None:
        self.bus.close()


class _Subscription:
    """A subscription of asyncio, taken from a thread."""

    def __init__(self, run: Callable[[Any], Any], subscription: AsyncSubscription[Any]) -> None:
        self._run, self._of = run, subscription

    def get(self, timeout: float | None = None) -> Any:
        return self._run(self._of.get(timeout))

    def __iter__(self) -> Iterator[Any]:
        messages = self._of.__aiter__()
        with contextlib.suppress(StopAsyncIteration):
            while True:
                yield self._run(messages.__anext__())

    @property
    def missed(self) -> int:
        return self._of.missed

    def close(self) -> None:
        self._run(self._of.close())

    def __enter__(self) -> _Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Asyncio:
    """A member of a bus as coroutines use it; what is called here is awaited in a loop of its own."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._face = AsyncBus(bus)

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)

    def publish(self, *args: Any, **options: Any) -> None:
        self.run(self._face.publish(*args, **options))

    def subscribe(self, *args: Any, **options: Any) -> _Subscription:
        return _Subscription(self.run, self.run(self._face.subscribe(*args, **options)))

    def request(self, *args: Any, **options: Any) -> Any:
        return self.run(self._face.request(*args, **options))

    def call(self, *args: Any, **options: Any) -> Any:
        return self.run(self._face.call(*args, **options))

    def flush(self) -> None:
        self.run(self._face.flush())

    def wait_for_subscribers(self, *args: Any, **options: Any) -> None:
        self.run(self._face.wait_for_subscribers(*args, **options))

    @contextlib.contextmanager
    def serving(self, subject: str, function: Callable[[Any], Any]) -> Iterator[None]:
        name, _, endpoint = subject.partition(".")

        async def answer(value: Any) -> Any:
            return function(value)

        service = self.run(self._face.service(name, "1.2.3"))
        service.endpoint(endpoint)(answer)
        self.flush()
        try:
            yield
        finally:
            self.run(service.close())

    def close(self) -> None:
        self.run(self._face.close())
        self.bus.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


FACES = {"threads": Threads, "asyncio": Asyncio}


@pytest.fixture(scope="session")
def on_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bus]:
    """A bus with a real nats-server."""
    pytest.importorskip("cryptography", reason="the extra [cluster] is not installed")
    with Bus(tmp_path_factory.mktemp("bus"), timeout=PATIENCE_S) as bus:
        yield bus


@pytest.fixture(params=["in process", "server"])
def first(request: pytest.FixtureRequest) -> Iterator[Bus]:
    """A member of a bus on each of the media."""
    with Bus() if request.param == "in process" else request.getfixturevalue("on_server").another() as bus:
        yield bus


@pytest.fixture(params=FACES)
def member(request: pytest.FixtureRequest, first: Bus) -> Iterator[Callable[[], Any]]:
    """Makes members of one bus, on each of the media and with each of the faces."""
    members: list[Any] = []

    def make() -> Any:
        members.append(FACES[request.param](first.another()))
        return members[-1]

    yield make
    for each in members:
        each.close()


def directory(path: Path) -> str:
    return str(path / "bus")
