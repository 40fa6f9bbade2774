"""A command that imports a user's module opens nothing, writes nothing, and carries nothing out."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import warm
from program import environment, write

import coopy
from coopy.errors import OnlyLooking
from coopy.ground import looking

pytest.importorskip("click", reason="the extra [cli] is not installed")

SHOP = """
    import os
    import coopy
    from coopy import init_system, on_commit

    def mail(to):
        if not os.path.exists("smtp is up"):
            raise OSError("smtp is down")
        open("sent", "a").write(to)

    class Shop:
        def __init__(self):
            self.orders = []

        def order(self, to):
            self.orders.append(to)
            on_commit(mail, to)

"""
GUARDED = 'if __name__ == "__main__":\n    '
OPENINGS = {
    "at the module's end": "shop = init_system(Shop, 'data')\nshop.order('by import')",
    "in a with statement": "with init_system(Shop, 'data') as shop:\n    shop.order('by import')",
    "by its other name": "shop = coopy.open(Shop, 'data')\nshop.order('by import')",
    "with an instance": "shop = coopy.init_persistent_system(Shop(), 'data')\nshop.order('by import')",
    "in another directory": "shop = init_system(Shop, 'other')\nshop.order('by import')",
    "for tests": "import coopy.testing\nshop = coopy.testing.open_system(Shop, 'data')",
    "as a master": "shop = init_system(Shop, 'data', master=True)",
    "as a replica": "shop = init_system(Shop, 'other', replication=True)",
    "as a node": "shop = init_system(Shop, 'other', cluster=['127.0.0.1:7001'], node='127.0.0.1:7001')",
    "in a loop": (
        "import asyncio, coopy.aio\n"
        "async def main():\n    return await coopy.aio.open(Shop, 'data')\n"
        "shop = asyncio.run(main())"
    ),
    "in a thread that is waited for": (
        "import threading\n"
        "def work():\n    init_system(Shop, 'data').order('by import')\n"
        "thread = threading.Thread(target=work)\nthread.start()\nthread.join()"
    ),
    "in a thread that goes on": (
        "import threading\n"
        "def work():\n    threading.main_thread().join()\n    init_system(Shop, 'data').order('by import')\n"
        "threading.Thread(target=work).start()"
    ),
    "at the end of the process": "import atexit\natexit.register(lambda: init_system(Shop, 'data').order('by import'))",
    "and goes on without": "try:\n    shop = init_system(Shop, 'data')\nexcept Exception:\n    shop = None",
}


def run(here: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return warm.run(here, *arguments, env=environment(HOME=str(here / "home")))


def tree(here: Path) -> dict[str, bytes]:
    return {
        str(each): each.read_bytes() for each in sorted(here.rglob("*")) if each.is_file() and "__pycache__" not in each.parts
    }


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory with a system that has one action, and an effect that waits and could be carried out by now."""
    write(tmp_path / "app.py", SHOP)
    done = run(tmp_path, "-c", "import app, coopy\nwith coopy.init_system(app.Shop, 'data') as shop: shop.order('ann')")
    assert (done.returncode, (tmp_path / "sent").exists()) == (0, False), done.stderr
    (tmp_path / "smtp is up").touch()
    return tmp_path


@pytest.mark.parametrize("opening", OPENINGS)
def test_what_a_module_would_open_is_refused_wherever_and_nothing_is_written_or_carried_out(here: Path, opening: str) -> None:
    write(here / "app.py", SHOP)
    with open(here / "app.py", "a") as file:
        file.write(OPENINGS[opening])
    before = tree(here)
    shown = run(here, "-m", "coopy", "show", "data")
    assert tree(here) == before
    if opening == "and goes on without":
        assert (shown.returncode, "['ann']" in shown.stdout) == (0, True), shown.stderr
    else:
        assert "`coopy show` imports it for its class, and only looks" in shown.stderr, shown.stderr
        assert f"{here / 'app.py'}, line" in shown.stderr
        assert 'if __name__ == "__main__"' in shown.stderr


@pytest.mark.parametrize(
    "command",
    [
        "log data --class app:Shop",
        "verify data",
        "verify data --twice",
        "show data",
        "diff data 0 1",
        "rehearse data app:Shop",
        "check app:Shop",
        "stub app:Shop",
        "snapshot data",
        "import data new --class app:Shop",
    ],
)
def test_every_command_that_imports_a_module_refuses_and_names_itself(here: Path, command: str) -> None:
    write(here / "app.py", SHOP)
    with open(here / "app.py", "a") as file:
        file.write(OPENINGS["at the module's end"])
    before = tree(here)
    ran = run(here, "-m", "coopy", *command.split())
    assert (ran.returncode, tree(here)) == (2, before)
    assert f"`coopy {command.split()[0]}` imports it for its class" in ran.stderr, ran.stderr


def test_a_module_that_is_imported_for_what_is_stored_is_refused_as_well(here: Path) -> None:
    """Not that of the class: one that the state refers to."""
    write(here / "things.py", "class Thing:\n    pass\n")
    run(here, "-c", "import app, coopy, things\nwith coopy.init_system(app.Shop, 'more') as shop: shop.order(things.Thing())")
    with open(here / "things.py", "a") as file:
        file.write("import app, coopy\ncoopy.init_system(app.Shop, 'more').order('by import')\n")
    before = tree(here)
    shown = run(here, "-m", "coopy", "show", "more")
    assert (shown.returncode != 0, tree(here)) == (True, before), shown.stderr
    assert "only looks" in shown.stderr


def test_a_snapshot_of_a_command_carries_out_no_effect(here: Path) -> None:
    kept = run(here, "-m", "coopy", "snapshot", "data")
    assert (kept.returncode, (here / "sent").exists()) == (0, False), kept.stderr
    assert run(here, "-c", "import app, coopy\ncoopy.control(coopy.init_system(app.Shop, 'data')).close()").returncode == 0
    assert (here / "sent").read_text() == "ann"


def test_a_module_that_guards_its_opening_is_shown(here: Path) -> None:
    write(here / "app.py", SHOP)
    with open(here / "app.py", "a") as file:
        file.write(GUARDED + "shop = init_system(Shop, 'data')\n")
    shown = run(here, "-m", "coopy", "show", "data")
    assert (shown.returncode, "'ann'" in shown.stdout) == (0, True), shown.stderr


def test_a_function_of_a_module_names_the_line_that_would_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "_tool", "`coopy show`")
    with pytest.raises(OnlyLooking) as refusal:
        coopy.init_system(dict)
    assert (refusal.value.path, refusal.value.tool) == (__file__, "`coopy show`")
