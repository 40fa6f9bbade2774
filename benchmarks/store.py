"""The key-value store beside diskcache, SQLite and redis-server, in one run and in turn.

    python -m benchmarks.store [--calls N] [--keys N] [--rounds N] [--dir DIR] [--json FILE]

Each measurement is a process of its own, one thread, and a store of 10,000 keys, unless it says otherwise; the figures are medians of the rounds, in
microseconds a call. "buffered" survives the end of the process: coopy's durability="buffered", SQLite's WAL with synchronous=NORMAL, which diskcache has
by itself, redis with appendfsync=everysec. "sync" survives a power cut: durability="sync", synchronous=FULL, appendfsync=always. "client" is a
KeyValueClient of coopy, in another process than the store. Values are numbers and short texts; SQLite has them as pickles, as diskcache has what is
neither. diskcache and redis-py are in a venv of their own (`.bench-venvs/store`, made on the first run). What is not to be had is left out, with the reason.

A watch is measured as the time from before a set until the change is heard by another thread that waits for it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import pickle
import queue
import random
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

VENV = os.path.abspath(os.path.join(".bench-venvs", "store"))
PACKAGES = ["diskcache==5.6.3", "redis>=5"]
OPERATIONS = ("set", "set new", "get", "scan 100", "3 keys at once", "watch")
SYSTEMS = (
    "coopy buffered",
    "coopy sync",
    "coopy client",
    "diskcache",
    "sqlite buffered",
    "sqlite sync",
    "redis buffered",
    "redis sync",
)
SLOW = {"coopy sync": 10, "sqlite sync": 10, "redis sync": 10, "coopy client": 5, "diskcache": 5}
"""Of these fewer calls are made: one in so many."""
WARM = 200
PORTS = (17559, 17560)

Call = Callable[[int], object]


class NotToBeHad(Exception):
    """What is to be measured is not there, and why."""


def key_of(number: int) -> str:
    return f"sensor/{number // 100:05}/{number % 100:02}"


class Coopy:
    """A store, and a client of it or the store itself."""

    def __init__(self, directory: str, keys: int, kind: str, ended: ExitStack) -> None:
        from coopy.messaging import KeyValueClient, KeyValueStore

        path = os.path.join(directory, "keys")
        if kind == "client":
            served = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.store", "--serve", path, "--keys", str(keys)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            assert served.stdin is not None and served.stdout is not None
            ended.callback(served.wait)
            ended.callback(served.stdin.close)
            served.stdout.readline()
            self.store: Any = ended.enter_context(KeyValueClient("localhost", *PORTS))
        else:
            ports = {"publisher_port": PORTS[0], "subscriber_port": PORTS[1]}
            self.store = ended.enter_context(
                KeyValueStore(db_file_path=path, auto_backup=kind == "sync", self_check=False, **ports)
            )
            self.store.put_many({key_of(number): number for number in range(keys)})

    def set(self, key: str, value: Any) -> object:
        return self.store.set(key, value)

    def get(self, key: str) -> object:
        return self.store.get(key)

    def scan(self, prefix: str) -> int:
        return len(self.store.scan(prefix, limit=100))

    def several(self, values: dict[str, Any]) -> object:
        return self.store.put_many(values)

    def watch(self) -> Iterator[object]:
        return iter(self.store.subscribe(prefix="watched"))


class Diskcache:
    def __init__(self, directory: str, keys: int, kind: str, ended: ExitStack) -> None:
        try:
            import diskcache  # type: ignore[import-not-found]
        except ImportError as error:
            raise NotToBeHad(f"diskcache is not installed: {error}") from None
        self._cache = ended.enter_context(diskcache.Cache(directory, eviction_policy="none"))
        with self._cache.transact():
            for number in range(keys):
                self._cache[key_of(number)] = number

    def set(self, key: str, value: Any) -> object:
        return self._cache.set(key, value)

    def get(self, key: str) -> object:
        return self._cache[key]

    def scan(self, prefix: str) -> int:
        raise NotToBeHad("diskcache finds no keys by a beginning")

    def several(self, values: dict[str, Any]) -> object:
        with self._cache.transact():
            for key, value in values.items():
                self._cache.set(key, value)
        return None

    def watch(self) -> Iterator[object]:
        raise NotToBeHad("diskcache tells of no changes")


class Sqlite:
    def __init__(self, directory: str, keys: int, kind: str, ended: ExitStack) -> None:
        self._base = sqlite3.connect(os.path.join(directory, "keys.sqlite"), isolation_level=None)
        ended.callback(self._base.close)
        self._base.execute("PRAGMA journal_mode=WAL")
        self._base.execute(f"PRAGMA synchronous={'FULL' if kind == 'sync' else 'NORMAL'}")
        self._base.execute("CREATE TABLE keys (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID")
        self.several({key_of(number): number for number in range(keys)})

    def set(self, key: str, value: Any) -> object:
        return self._base.execute("INSERT OR REPLACE INTO keys VALUES (?, ?)", (key, pickle.dumps(value, 5)))

    def get(self, key: str) -> object:
        return pickle.loads(self._base.execute("SELECT value FROM keys WHERE key = ?", (key,)).fetchone()[0])

    def scan(self, prefix: str) -> int:
        found = self._base.execute(
            "SELECT key, value FROM keys WHERE key >= ? AND key < ? ORDER BY key LIMIT 100", (prefix, prefix + "\U0010ffff")
        )
        return len([(key, pickle.loads(value)) for key, value in found])

    def several(self, values: dict[str, Any]) -> object:
        with self._base:
            self._base.execute("BEGIN")
            for key, value in values.items():
                self.set(key, value)
        return None

    def watch(self) -> Iterator[object]:
        raise NotToBeHad("SQLite tells no other process of changes")


class Redis:
    def __init__(self, directory: str, keys: int, kind: str, ended: ExitStack) -> None:
        server = shutil.which("redis-server")
        if server is None:
            raise NotToBeHad("there is no redis-server")
        path = os.path.join(directory, "redis.sock")
        options = [
            "--appendonly",
            "yes",
            "--appendfsync",
            "always" if kind == "sync" else "everysec",
            "--notify-keyspace-events",
            "KA",
        ]
        started = subprocess.Popen(
            [server, "--port", "0", "--unixsocket", path, "--dir", directory, "--save", "", *options], stdout=subprocess.DEVNULL
        )
        ended.callback(started.wait)
        ended.callback(started.terminate)
        while not os.path.exists(path):
            time.sleep(0.01)
        try:
            import redis  # type: ignore[import-not-found]
        except ImportError as error:
            raise NotToBeHad(f"redis-py is not installed: {error}") from None
        self._server = redis.Redis(unix_socket_path=path)
        self.several({key_of(number): number for number in range(keys)})

    def set(self, key: str, value: Any) -> object:
        return self._server.set(key, pickle.dumps(value, 5))

    def get(self, key: str) -> object:
        return pickle.loads(self._server.get(key))

    def scan(self, prefix: str) -> int:
        raise NotToBeHad("redis finds keys by a beginning by a look at all of them, and in no order")

    def several(self, values: dict[str, Any]) -> object:
        with self._server.pipeline(transaction=True) as pipe:
            for key, value in values.items():
                pipe.set(key, pickle.dumps(value, 5))
            return pipe.execute()

    def watch(self) -> Iterator[object]:
        heard = self._server.pubsub()
        heard.psubscribe("__keyspace@0__:watched*")
        next(heard.listen())
        return heard.listen()  # type: ignore[no-any-return]


KINDS: dict[str, Any] = {"coopy": Coopy, "diskcache": Diskcache, "sqlite": Sqlite, "redis": Redis}


def call_of(system: Any, operation: str, keys: int) -> Call:
    """Returns what makes one call of an operation."""
    chance = random.Random(1)
    numbers = itertools.cycle([chance.randrange(keys) for _ in range(5000)])
    if operation == "set":
        return lambda number: system.set(key_of(next(numbers)), number)
    if operation == "set new":
        return lambda number: system.set(f"new/{next(numbers):07}/{number}", number)
    if operation == "get":
        return lambda number: system.get(key_of(next(numbers)))
    if operation == "scan 100":
        return lambda number: system.scan(f"sensor/{next(numbers) // 100:05}/")
    return lambda number: system.several({key_of(next(numbers)): number for _ in range(3)})


def microseconds(name: str, operation: str, calls: int, keys: int, directory: str) -> float:
    """Returns what a call takes. Raises `NotToBeHad`."""
    kind, _, durability = name.partition(" ")
    with ExitStack() as ended:
        system = KINDS[kind](directory, keys, durability, ended)
        if operation == "watch":
            return _heard_after(system, min(calls, 500))
        call = call_of(system, operation, keys)
        if operation == "scan 100":
            calls = max(1, calls // 10)
        for number in range(WARM):
            call(number)
        began = time.perf_counter()
        for number in range(calls):
            call(number)
        return (time.perf_counter() - began) / calls * 1e6


def _heard_after(system: Any, calls: int) -> float:
    changes, heard = system.watch(), queue.SimpleQueue[float]()
    threading.Thread(target=lambda: [heard.put(time.perf_counter()) for _ in changes], daemon=True).start()
    times = []
    for number in range(calls):
        began = time.perf_counter()
        system.set("watched", number)
        times.append(heard.get() - began)
    return statistics.median(times) * 1e6


# -- the run


def serve(path: str, keys: int) -> None:
    """Serves a store of so many keys until the end of the input."""
    from coopy.messaging import KeyValueStore

    with KeyValueStore({}, path, False, "localhost", *PORTS, self_check=False) as store:
        store.put_many({key_of(number): number for number in range(keys)})
        print("serves", flush=True)
        sys.stdin.read()


def python() -> str:
    """Returns the interpreter of the venv, which is made if it is not there."""
    found = os.path.join(VENV, "bin", "python")
    if not os.path.exists(found):
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        subprocess.run([found, "-m", "pip", "install", "-q", *PACKAGES, "dill"], check=True)
    return found


@contextmanager
def directory_in(base: str | None) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="coopy-bench-", dir=base, ignore_cleanup_errors=True) as found:
        yield found


def measured(name: str, operation: str, options: argparse.Namespace) -> float | str:
    """Returns the microseconds of a call, measured in a process of its own, or why there are none."""
    calls = max(100, options.calls // SLOW.get(name, 1))
    with directory_in(options.dir) as directory:
        command = [python(), "-m", "benchmarks.store", "--one", name, operation, directory]
        environment = {**os.environ, "XDG_RUNTIME_DIR": directory}
        ran = subprocess.run(
            [*command, "--calls", str(calls), "--keys", str(options.keys)],
            capture_output=True,
            text=True,
            env=environment,
            timeout=300,
        )
    if ran.returncode:
        raise RuntimeError(ran.stderr)
    found: float | str = json.loads(ran.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--keys", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--dir")
    parser.add_argument("--json")
    parser.add_argument("--one", nargs=3)
    parser.add_argument("--serve")
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.keys)
        return
    if options.one:
        name, operation, directory = options.one
        try:
            print(json.dumps(microseconds(name, operation, options.calls, options.keys, directory)))
        except NotToBeHad as error:
            print(json.dumps(str(error)))
        return
    found: dict[str, dict[str, float | str]] = {}
    reasons: dict[str, None] = {}
    print(f"{'µs a call':18}" + "".join(f"{operation:>16}" for operation in OPERATIONS))
    for name in SYSTEMS:
        found[name] = {}
        for operation in OPERATIONS:
            rounds = [measured(name, operation, options) for _ in range(options.rounds)]
            numbers = [each for each in rounds if isinstance(each, float)]
            found[name][operation] = statistics.median(numbers) if numbers else rounds[0]
            reasons.update({each: None for each in rounds if isinstance(each, str)})
        cells = [f"{each:16,.1f}" if isinstance(each, float) else f"{'-':>16}" for each in found[name].values()]
        print(f"{name:18}{''.join(cells)}", flush=True)
    for reason in reasons:
        print(f"-: {reason}")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(found, file, indent=1)


if __name__ == "__main__":
    main()
