"""Writes the golden directories of the coopy that is here: NAME, NAME-node, NAME-fields, NAME-shared, NAME-rich, NAME-objects, and what each must be when it is opened.

    cd tests && python golden/make.py NAME [system] [node] [fields] [shared] [rich] [objects]

What is there already is not written again.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
# Not that of any machine that reads them.
os.environ["TZ"] = "Asia/Kathmandu"
time.tzset()

from golden import orders, rich  # noqa: E402
from golden import shop as golden  # noqa: E402
from golden.shop import First, Shop, ends, local, state  # noqa: E402
from program import free_port  # noqa: E402

import coopy  # noqa: E402
import coopy.aio  # noqa: E402
from coopy.disk import journal

OF_THE_SERVER = ("secret", "kind")
"""What coopy itself writes into the folder of its Raft server and needs again."""


def refused(function: Callable[..., Any], *args: Any) -> None:
    try:
        function(*args)
    except LookupError:
        return
    raise AssertionError("it was to raise")


def system(path: Path) -> dict[str, Any]:
    # Smaller files than anybody has; their size is no part of the format.
    journal.FIRST_BYTES = 4 * 32 * 1024
    options: dict[str, Any] = {"validation": "off", "deterministic": False, "segment_bytes": journal.FIRST_BYTES}

    shop = coopy.init_system(First, path, **options)
    shop.take_in("tea", 300, stock=20)
    shop.take_in("milk", 100, 3)
    shop.sell(shop.articles["tea"], 2)
    refused(shop.sell, shop.articles["milk"], 4)  # Raised, as the frame after it says.
    refused(shop.reserve, shop.articles["milk"], 4)  # Withdrawn, by an amendment.
    refused(shop.sell_all, [shop.articles["tea"], shop.articles["milk"]] * 4)  # Withdrawn, and put back.
    shop.raise_prices(10)
    shop.note_all(local(door="open", till="full"))
    coopy.control(shop).close()

    shop = coopy.init_system(Shop, path, **options)
    golden.is_shut = False
    shop.order(shop.articles["tea"], "anna@example.org")
    shop.discount(5)
    shop.guard()
    coopy.control(shop).take_snapshot()
    coopy.control(shop).set_code_version(1)
    shop.discount(percent=5)
    shop.note("x" * 100_000)  # Longer than a block.
    for number in range(30):
        shop.note(f"{number} " + "y" * 9_000)
    coopy.control(shop).close()

    async def at_once() -> None:
        async with coopy.aio.open(Shop, path, **options) as shop:
            await asyncio.gather(*(shop.note(f"at once {number}") for number in range(150)))
            articles = await shop.articles
            calls = [shop.sell(articles["milk"], 1 + number % 2) for number in range(4)]
            await asyncio.gather(*calls, shop.take_in("salt", 50), return_exceptions=True)
            await asyncio.gather(*(shop.note(f"{number} " + "z" * 3_000) for number in range(60)))

    asyncio.run(at_once())
    shop = coopy.init_system(Shop, path, **options)
    coopy.control(shop).take_snapshot()
    golden.is_shut = True
    shop.order(shop.articles["tea"], "berta@example.org")
    shop.order(shop.articles["tea"], "carl@example.org")
    refused(shop.sell, shop.articles["milk"], 9)  # Raised, as the amendment of the end says.
    control = coopy.control(shop)
    found = {"index": control.index, "code": control.code_version, "effects": control.effects, "state": state(shop)}
    control.close()
    return found


def node(path: Path) -> dict[str, Any]:
    port = free_port()

    def opened() -> Any:
        return coopy.init_system(Shop, path, master=True, port=port, password="secret", validation="off")

    shop = opened()
    shop.take_in("tea", 300, 20)
    shop.sell(shop.articles["tea"])
    refused(shop.sell, shop.articles["tea"], 99)
    refused(shop.reserve, shop.articles["tea"], 99)
    shop.discount(5)
    coopy.control(shop).close()

    shop = opened()
    shop.guard()
    coopy.control(shop).take_snapshot()

    async def at_once() -> None:
        async with coopy.aio.open(shop) as many:
            await asyncio.gather(*(many.note(f"at once {number}") for number in range(100)))

    asyncio.run(at_once())
    shop = opened()
    shop.note_all(local(door="shut"))
    shop.discount(5)
    control = coopy.control(shop)
    found = {"index": control.index, "code": control.code_version, "effects": control.effects, "state": state(shop)}
    control.close()
    return found


def fields(path: Path) -> dict[str, Any]:
    """Each kind of class in a snapshot, and as an argument after it."""
    journal.FIRST_BYTES = 4 * 32 * 1024
    desk = coopy.init_system(orders.Desk, path, validation="off", deterministic=False, segment_bytes=journal.FIRST_BYTES)
    for number in range(2):
        desk.put(orders.Order("ink", 500 + number, 0), orders.Point(1, 2 + number), orders.Colour.RED)
        desk.title(f"Home {number}")
        desk.fill(number)
        if number == 0:
            coopy.control(desk).take_snapshot()
    control = coopy.control(desk)
    found = {"index": control.index, "state": [orders.plain(thing) for thing in desk.things]}
    control.close()
    return found


def shared(path: Path) -> dict[str, Any]:
    """Calls of another process, which have an id behind them, between those of the process that writes."""
    journal.FIRST_BYTES = 4 * 32 * 1024
    options: dict[str, Any] = {
        "validation": "off",
        "deterministic": False,
        "segment_bytes": journal.FIRST_BYTES,
        "shared": True,
    }
    writer = coopy.init_system(Shop, path, **options)
    follower = coopy.init_system(Shop, path, **options)
    follower.take_in("tea", 300, stock=20)
    writer.take_in("milk", 100, 3)
    follower.sell(follower.articles["tea"], 2)
    refused(follower.sell, follower.articles["milk"], 4)
    refused(follower.reserve, follower.articles["milk"], 4)
    follower.note("of another process")

    async def at_once() -> None:
        async with coopy.aio.open(follower) as many:
            await asyncio.gather(*(many.note(f"at once {number}") for number in range(100)))

    asyncio.run(at_once())
    writer.note("of this one")
    control = coopy.control(writer)
    found = {"index": control.index, "code": control.code_version, "effects": control.effects, "state": state(writer)}
    control.close()
    return found


def objects(path: Path) -> dict[str, Any]:
    """Many objects of two classes; states that were written, actions after them, an alarm that waits and a call that does."""
    from golden.keyed import Guest, Room, state

    from coopy.objects import opening

    journal.FIRST_BYTES = 4 * 32 * 1024
    options: dict[str, Any] = {"validation": "off", "segment_bytes": journal.FIRST_BYTES}
    # Without its thread, so that what is due waits.
    directory = opening.opened(Room, path, options=options)
    rooms: Any = directory.of(Room)
    directory.of(Guest)
    for key in ("a", "b", "\u00fc" * 9, "gone"):
        for number in range(3):
            rooms[key].say(number)
        rooms[key].draw()
    rooms["a"].greet("ann")
    while not directory.engine.do_what_is_due():
        pass
    refused(rooms["a"].fail, "failed")
    refused(rooms["b"].undo, "undone")
    refused(rooms["new"].undo, "undone")
    rooms["b"].say([1, {"two": rooms["a"]}])
    rooms.passivate()
    del rooms["gone"]
    for number in range(120):
        rooms["b"].say(f"{number} " + "y" * 2_000)
    directory.engine.keep_table()
    rooms["a"].draw()
    rooms["a"].close_later(100)
    rooms["gone"].say("here again")
    refused(rooms["gone"].fail, "failed")
    rooms["b"].greet("bob")
    found = {"last": rooms.status()["last"], **state(rooms)}
    directory._closing.set()
    directory.engine.store.abandon()
    return found


def arguments(path: Path) -> dict[str, Any]:
    """Each kind of argument, by place, by name and beside another."""
    journal.FIRST_BYTES = 4 * 32 * 1024
    shelf = coopy.init_system(rich.Shelf, path, validation="off", deterministic=False, segment_bytes=journal.FIRST_BYTES)
    for value in rich.VALUES:
        shelf.put(value)
        shelf.put("named", value=value)
        shelf.put(1, value, (value,))
    control = coopy.control(shelf)
    found = {"index": control.index, "state": list(shelf.held)}
    control.close()
    return found


def main(name: str, *kinds: str) -> None:
    makers = {
        "system": (HERE / name, system),
        "node": (HERE / f"{name}-node", node),
        "fields": (HERE / f"{name}-fields", fields),
    }
    makers["shared"] = HERE / f"{name}-shared", shared
    makers["objects"] = HERE / f"{name}-objects", objects
    makers["rich"] = HERE / f"{name}-rich", arguments
    for directory, write in [makers[kind] for kind in kinds or makers]:
        if directory.exists():
            raise SystemExit(f"{directory} is there. Nothing was written. What was released is never written again.")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, directory.name)
            found = write(path)
            (path / "lock").unlink(missing_ok=True)
            if (path / "server").exists():
                for each in os.scandir(path / "server"):
                    if each.name not in OF_THE_SERVER:
                        shutil.rmtree(each) if each.is_dir() else os.unlink(each)
            shutil.copytree(path, directory)
        if write is not objects:
            found["actions"] = ends(directory)
        HERE.joinpath(f"{directory.name}.expected.json").write_text(json.dumps(found, indent=0, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
