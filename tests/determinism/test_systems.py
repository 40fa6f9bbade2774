"""Systems opened with deterministic=True: what replay gives, and what the directory remembers."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
import uuid
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from determinism.domain import Shop
from determinism.ledger import Entry
from faults import Faulty
from program import environment, run

import coopy
from coopy import abort_exception, control, env, init_system, transactional
from coopy.disk import manifest
from coopy.disk.fs import Calls
from coopy.errors import DamagedManifest, JournalError, PrevalentError, UsageError
from coopy.place.directory import DirectoryPlace
from coopy.place.options import Settings
from coopy.system import System

PROGRAM = Path(__file__).parent / "program_of_shop.py"
ELSEWHERE = [{"TZ": "JST-9", "PYTHONHASHSEED": "7"}, {"TZ": "CET-1CEST,M3.5.0,M10.5.0/3", "PYTHONHASHSEED": "8"}]


def without_snapshots(directory: Path) -> None:
    for snapshot in sorted(directory.glob("snapshot_*"))[1:]:
        snapshot.unlink()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A directory, and the state that its program had in the end."""
    directory = tmp_path_factory.mktemp("shop") / "data"
    return directory, run(PROGRAM, "write", directory, TZ="EST5EDT", PYTHONHASHSEED="1")


@pytest.mark.parametrize("place", ELSEWHERE, ids=lambda place: place["TZ"])
@pytest.mark.parametrize("verb", ["open", "replay"])
@pytest.mark.parametrize("snapshots", [True, False], ids=["from the snapshot", "from the beginning"])
def test_the_state_is_the_same_in_another_process_place_and_time(
    verb: str, place: dict[str, str], snapshots: bool, written: tuple[Path, str], tmp_path: Path
) -> None:
    directory, state = written
    shutil.copytree(directory, tmp_path / "data")
    if not snapshots:
        without_snapshots(tmp_path / "data")
    assert run(PROGRAM, verb, tmp_path / "data", **place) == state


@cache
def pythons() -> dict[str, str]:
    """The interpreters of other versions that are on this machine."""
    found = {}
    for version in ("3.10", "3.11", "3.12", "3.13", "3.14"):
        root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
        candidates = [shutil.which(f"python{version}"), *map(str, root.glob(f"versions/{version}.*/bin/python"))]
        for python in filter(None, candidates):
            question = [python, "-c", "import sys; print(*sys.version_info[:2], sep='.')"]
            asked = subprocess.run(question, capture_output=True, text=True, timeout=60)
            if asked.stdout.strip() == version:
                found[version] = python
                break
    return found


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13", "3.14"])
def test_each_python_that_is_here_can(version: str, tmp_path: Path) -> None:
    python = pythons().get(version)
    if python is None:
        pytest.skip(f"there is no Python {version} on this machine")
    if version not in (min(pythons()), max(pythons())) and not os.environ.get("COOPY_EACH_PYTHON"):
        pytest.skip("the oldest and the newest Python that are here are tried; make test-all tries each")

    def said(verb: str, zone: str) -> str:
        ran = subprocess.run(
            [python, str(PROGRAM), verb, str(tmp_path / "data")],
            env=environment(TZ=zone, PYTHONPYCACHEPREFIX=str(tmp_path / "cache")),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    live = said("write", "EST5EDT")
    without_snapshots(tmp_path / "data")
    assert said("open", "JST-9") == live


# --- in one process ----------------------------------------------------------------------------------


def opened(directory: Path, cls: Any = Shop, deterministic: bool | None = True, **more: Any) -> Any:
    return init_system(cls, directory, deterministic=deterministic, **more)


def test_two_actions_draw_differently_and_the_first_state_is_as_an_action(tmp_path: Path) -> None:
    with opened(tmp_path) as shop:
        keys = [shop.sell("tea") for _ in range(3)]
        assert len({*keys, shop.id}) == 4 and abs((shop.opened - datetime.now()).total_seconds()) < 60
        state = shop.state()
        assert control(shop).replay().state() == state
        assert control(shop).replay(1).entries == shop.entries[:1]
    assert coopy.replay(Shop, tmp_path).state() == state


def test_a_look_at_the_past_does_not_disturb_an_action(tmp_path: Path) -> None:
    with opened(tmp_path / "a") as shop:
        shop.sell("tea")
        before = shop.state()
        random.seed(9)
        expected = random.Random(9).random()
        control(shop).replay()
        assert random.random() == expected, "nor the generator of the process"
        assert shop.state() == before


class Outer:
    inner: Any = None

    def __init__(self) -> None:
        self.drawn: list[Any] = []

    def draw(self) -> None:
        self.drawn.append((random.random(), uuid.uuid4(), env.random()))
        if self.inner is not None:
            self.inner.sell("from another")
        self.drawn.append((random.random(), uuid.uuid4(), env.random()))


@pytest.mark.parametrize("inner_too", [True, False])
def test_an_action_that_calls_another_system_goes_on_with_its_own_draws(
    inner_too: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    validation = "warn" if inner_too else "off"
    with opened(tmp_path / "a", Outer) as outer, opened(tmp_path / "b", deterministic=inner_too, validation=validation) as shop:
        monkeypatch.setattr(Outer, "inner", shop)
        outer.draw()
        drawn, state = list(outer.drawn), shop.state()
        monkeypatch.setattr(Outer, "inner", None)
    with opened(tmp_path / "a", Outer) as outer:
        assert outer.drawn == drawn
    with opened(tmp_path / "b", deterministic=None, validation="off") as shop:
        assert (shop.state() == state) is inner_too


class Fragile:
    def __init__(self) -> None:
        self.drawn: list[float] = []

    def draw(self) -> None:
        self.drawn.append(random.random())

    @transactional
    def put_back(self) -> None:
        self.draw()
        raise ValueError

    @abort_exception
    def refuse(self) -> None:
        random.random()
        raise ValueError

    def interrupt(self) -> None:
        self.draw()
        if time.time() and not Fragile.spared:
            raise MemoryError

    spared = False


@pytest.mark.parametrize("method", ["put_back", "refuse", "interrupt"])
def test_what_an_action_drew_that_failed_is_not_drawn_again(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path, Fragile) as fragile:
        fragile.draw()
        with pytest.raises((ValueError, MemoryError)):
            getattr(fragile, method)()
        monkeypatch.setattr(Fragile, "spared", True)
        fragile.draw()
        drawn = list(fragile.drawn)
        assert len(set(drawn)) == len(drawn) == 2
    with opened(tmp_path, Fragile) as fragile:
        assert fragile.drawn == drawn


def test_an_instance_keeps_what_it_has_and_goes_on_deterministic(tmp_path: Path) -> None:
    shop = Shop()
    shop.entries.append(Entry("before"))
    with opened(tmp_path, shop) as system:
        assert system.id == shop.id and system.entries == shop.entries
        system.look()
        state = system.state()
    assert coopy.replay(Shop, tmp_path).state() == state


class Reader:
    def __init__(self) -> None:
        self.written: list[float] = []

    @coopy.readonly
    def now(self) -> float:
        return time.time()

    def write(self) -> float:
        self.written.append(self.now())
        return self.written[-1]


def test_a_read_asks_the_machine_unless_an_action_makes_it(tmp_path: Path) -> None:
    with opened(tmp_path, Reader) as reader:
        assert reader.now() != reader.now()
        written = reader.write()
    with opened(tmp_path, Reader) as reader:
        assert reader.written == [written]


# --- what the directory remembers --------------------------------------------------------------------


def said(directory: Path) -> bool:
    found = manifest.read(Calls(), str(directory))
    assert found is not None
    return found.deterministic


def test_a_directory_that_was_written_so_is_opened_so(tmp_path: Path) -> None:
    with opened(tmp_path) as shop:
        shop.look()
        state = shop.state()
    for asked in (None, True):
        with opened(tmp_path, deterministic=asked) as shop:
            assert shop.state() == state and said(tmp_path)
    with pytest.raises(UsageError, match=r"deterministic=False: .*recorded with deterministic=True.*Nothing was opened"):
        opened(tmp_path, deterministic=False)
    with opened(tmp_path, deterministic=None) as shop:
        assert shop.state() == state


@pytest.mark.parametrize("asked", [None, False])
def test_without_being_asked_for_nothing_changes(asked: bool | None, tmp_path: Path) -> None:
    with opened(tmp_path, deterministic=asked, validation="off") as shop:
        shop.sell("tea")
        state = shop.state()
        assert not said(tmp_path) and '"deterministic":' not in (tmp_path / "coopy.json").read_text()
    assert coopy.replay(Shop, tmp_path).state() != state


def test_it_can_be_turned_on_and_stays_on(tmp_path: Path) -> None:
    with opened(tmp_path, deterministic=None, validation="off") as shop:
        shop.sell("tea")
        control(shop).take_snapshot()
        before = (tmp_path / "coopy.json").read_text()
        found = manifest.read(Calls(), str(tmp_path))
    with opened(tmp_path) as shop:
        shop.sell("milk")
        state = shop.state()
    assert found is not None and not found.deterministic
    assert manifest.read(Calls(), str(tmp_path)) == found._replace(deterministic=True)
    assert coopy.replay(Shop, tmp_path).state() == state
    assert not list(tmp_path.glob("*.tmp")) and before != (tmp_path / "coopy.json").read_text()
    assert (tmp_path / "coopy.json").stat().st_mode & 0o777 == 0o600


def test_a_directory_that_could_not_be_opened_is_not_turned(tmp_path: Path) -> None:
    opened(tmp_path / "a", Reader, None, validation="off").close()
    before = (tmp_path / "a" / "coopy.json").read_bytes()
    with pytest.raises(UsageError, match="holds a system of Reader, not of Shop"):
        opened(tmp_path / "a", Shop)
    disk = Faulty()
    disk.failing = "rename"
    with pytest.raises(JournalError, match="The system was not opened"):
        settings = Settings.of("System", {"fork": False, "segment_bytes": 4096, "deterministic": True})
        System(Reader, DirectoryPlace(str(tmp_path / "a"), Reader, settings, calls=disk), settings).start(None)
    assert (tmp_path / "a" / "coopy.json").read_bytes() == before
    with opened(tmp_path / "a", Reader, None, validation="off"):
        assert not said(tmp_path / "a")


def test_the_checksum_covers_it(tmp_path: Path) -> None:
    opened(tmp_path).close()
    text = (tmp_path / "coopy.json").read_text()
    (tmp_path / "coopy.json").write_text(text.replace('"deterministic": true', '"deterministic": false'))
    assert text != (tmp_path / "coopy.json").read_text()
    with pytest.raises(DamagedManifest):
        opened(tmp_path)


# --- validation --------------------------------------------------------------------------------------

GENERATOR = random.Random()


class Global:
    def draw(self) -> float:
        return GENERATOR.random()


def test_what_is_answered_is_not_refused_and_is_elsewhere(tmp_path: Path) -> None:
    opened(tmp_path / "a", validation="strict").close()
    with pytest.raises(PrevalentError, match=r"uuid4"):
        opened(tmp_path / "b", deterministic=None)
    opened(tmp_path / "a", deterministic=None).close()


def test_a_generator_outside_the_system_is_refused_all_the_same(tmp_path: Path) -> None:
    with pytest.raises(PrevalentError, match="GENERATOR, a generator outside the system"):
        opened(tmp_path, Global)
    assert not list(tmp_path.iterdir())


# --- check=True --------------------------------------------------------------------------------------


class Importer:
    def __init__(self) -> None:
        self.texts: list[str] = []

    def load(self, path: str) -> None:
        self.texts.append(path)
        with open(path) as file:
            self.texts.append(file.read())

    def load_quietly(self, *, path: str) -> None:
        self.load(path)


@pytest.mark.parametrize("deterministic", [True, None])
def test_with_check_an_action_that_opens_a_file_is_refused_and_taken_back(deterministic: bool | None, tmp_path: Path) -> None:
    with opened(tmp_path / "a", Importer, deterministic, check=True, validation="off") as importer:
        for call in (lambda: importer.load(__file__), lambda: importer.load_quietly(path=__file__)):
            with pytest.raises(PrevalentError, match=r"Importer\.load(_quietly)?\(\) uses files .* It was not done"):
                call()
        assert importer.texts == []
    with opened(tmp_path / "a", Importer, None, validation="off") as importer:
        assert importer.texts == []
        importer.load(os.devnull)
        importer.load_quietly(path=os.devnull)
    with opened(tmp_path / "a", Importer, None, check=True, validation="off") as importer:
        assert len(importer.texts) == 4, "what was recorded without is replayed"
        with pytest.raises(PrevalentError):
            importer.load(os.devnull)
        assert len(importer.texts) == 4, "also where the state is put back"
    with opened(tmp_path / "b", Importer, None, validation="off") as importer:
        importer.load(os.devnull)
