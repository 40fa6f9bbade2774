"""One measurement in a process of its own; prints the seconds."""

from __future__ import annotations

import gc
import pickle
import sys
import time
from typing import Any

import coopy
from benchmarks import raw, workload


def _open(name: str, directory: str) -> None:
    coopy.init_system(getattr(workload, name), directory, durability="buffered", validation="off")


def _unpickle(path: str) -> object:
    gc.disable()
    with open(path, "rb") as file:
        return pickle.load(file)


def _make_store(directory: str, pickled: str, count: str) -> None:
    store = workload.Store(int(count))
    with open(pickled, "wb") as file:
        pickle.dump(store, file, 5)
    coopy.init_system(store, directory, validation="off").close()


def main(verb: str, *arguments: str) -> None:
    verbs: dict[str, Any] = {
        "open": _open,
        "unpickle": _unpickle,
        "batches": raw.replay_batches,
        "make-store": _make_store,
    }
    began = time.perf_counter()
    kept = verbs[verb](*arguments)
    print(time.perf_counter() - began)
    del kept


if __name__ == "__main__":
    main(*sys.argv[1:])
