"""The pages of what coopy itself keeps in a state: tasks, locks, structures; and of who has a directory open."""

from __future__ import annotations

import os
from pathlib import Path

from web.conftest import browser, inspected
from web.shops import Shelf, Shop

import coopy
from coopy import init_system
from coopy.messaging import TaskQueue
from coopy.sync.locks import Locks


def test_the_tasks_of_a_queue_are_counted_and_listed(tmp_path: Path) -> None:
    queue = TaskQueue(tmp_path / "data", durability="buffered")
    queue.enqueue(divmod, 7, 2)
    queue.enqueue(divmod, 1, 0)
    queue.drain()
    queue.enqueue(divmod, 8, 2)
    queue.close()
    coopy.close_all()
    with inspected(tmp_path / "data", spec=None) as (page, guard):
        seen = page.tasks({})
        assert (seen["counts"]["done"], seen["counts"]["dead"], seen["counts"]["waiting"]) == (1, 1, 1)
        assert [(each["state"], each["name"]) for each in seen["tasks"]][1] == ("dead", "builtins:divmod")
        assert "ZeroDivisionError" in seen["tasks"][1]["error"]
        text = browser(guard).get("/tasks").text
        assert "builtins:divmod" in text and "ZeroDivisionError" in text
        # As it was before: no task had been sent.
        assert page.tasks({"at": "0"})["counts"].get("done", 0) == 0


def test_locks_have_who_holds_them_and_who_waits(tmp_path: Path) -> None:
    with init_system(Locks, str(tmp_path / "data")) as locks:
        locks.acquire("stock", "ann")
        locks.acquire("stock", "bob", wait=True)
        locks.acquire("till", "<b>eve")
    with inspected(tmp_path / "data", spec=None) as (page, guard):
        seen = {each["name"]: (each["holders"], each["waits"]) for each in page.tasks({})["locks"]}
        assert seen == {"stock": (["ann"], ["bob"]), "till": (["<b>eve"], [])}
        text = browser(guard).get("/tasks").text
        assert "bob" in text and "&lt;b&gt;eve" in text


def test_structures_are_found_wherever_they_are(tmp_path: Path) -> None:
    with init_system(Shelf, str(tmp_path / "data")) as shelf:
        shelf.add("tea")
    with inspected(tmp_path / "data", spec="web.shops:Shelf") as (page, _):
        seen = page.tasks({})["structures"]
        assert {each["path"] for each in seen} == {".counter", ".deep['locks'][0]"}


def test_who_has_the_directory_open_is_on_the_page_of_the_cluster(tmp_path: Path) -> None:
    with init_system(Shop, str(tmp_path / "data")) as shop:
        shop.put("tea", 1)
        with inspected(tmp_path / "data") as (page, _):
            seen = page.cluster({})
    assert [each["pid"] for each in seen["processes"]] == [os.getpid()]
    assert "not the directory of a node" in seen["problem"] and seen["nodes"] == []
