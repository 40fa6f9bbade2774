"""A system that another process serves: calls, reads, exceptions, and what is true after a connection ends."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("websockets", reason="the extra [serve] is not installed")

from shared.domain import Process, Wiki
from shared.gates import Served, Serving, served

import coopy
from coopy import (
    AuthenticationFailed,
    EncodingError,
    OutcomeUnknown,
    RemoteError,
    SystemClosed,
    Unavailable,
    UsageError,
    control,
)
from coopy.replication import keys
from coopy.spine.attributes import Hidden
from coopy.spine.proxy import look_for_hidden


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("served")) as found:
        yield found


@pytest.fixture(params=["tcp", "unix"])
def wiki(place: Served, request: pytest.FixtureRequest) -> Iterator[Any]:
    with place.connect(request.param) as found:
        found.clear()
        yield found


def test_the_class_that_stands_for_the_object_hides_none_of_its_own_methods(wiki: Any) -> None:
    asked = type(wiki)
    look_for_hidden(wiki)
    assert type(wiki) is asked and not [name for name, each in vars(asked).items() if isinstance(each, Hidden)]


def test_a_call_is_recorded_where_the_system_is_and_read_by_both(place: Served, wiki: Any) -> None:
    assert wiki.put("Home", "Welcome") == 1
    assert wiki.page("Home") == place.wiki.page("Home") == "Welcome"
    place.wiki.put("Home", "Changed there")
    assert wiki.page("Home") == "Changed there"


def test_what_a_call_returns_is_what_it_returns_in_one_process(wiki: Any) -> None:
    wiki.add([1, {"a": (2.5, None)}])
    assert list(wiki.each()) == [[1, {"a": (2.5, None)}]]
    assert wiki.itself() is wiki
    assert isinstance(wiki, Wiki)
    seconds, chance = wiki.at()
    assert seconds > 1e9 and 0 <= chance < 1


def test_an_attribute_is_a_copy_and_setting_one_is_a_call(place: Served, wiki: Any) -> None:
    wiki.put("Home", [1])
    found = wiki.pages
    found["Home"].append(2)
    assert wiki.pages == place.wiki.pages == {"Home": [1]}
    wiki.title = "Ours"
    assert wiki.title == place.wiki.title == "Ours"
    del wiki.title
    with pytest.raises(AttributeError):
        _ = wiki.title


def test_a_copy_of_the_state_is_whole_while_others_change_it(place: Served, wiki: Any) -> None:
    ended = threading.Event()

    def change() -> None:
        number = 0
        while not ended.is_set():
            place.wiki.put(number % 500, [number])
            number += 1
            if number % 500 == 0:
                place.wiki.clear()

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(12):
            assert isinstance(wiki.pages, dict)
    finally:
        ended.set()
        thread.join()


def test_operators_and_special_methods_are_read_there(tmp_path: Path, place: Served, wiki: Any) -> None:
    wiki.put("a", 1)
    assert wiki == wiki and not wiki != wiki
    assert len(wiki) == 1 and list(wiki) == ["a"] and "a" in wiki and wiki["a"] == 1
    wiki["b"] = 2
    assert place.wiki["b"] == 2
    del wiki["a"]
    assert list(wiki) == ["b"] and "put" in dir(wiki)


def test_a_wrong_call_fails_before_it_is_sent(place: Served, wiki: Any) -> None:
    before = control(place.wiki).index
    with pytest.raises(TypeError, match="missing"):
        wiki.put()
    with pytest.raises(EncodingError, match="name"):
        wiki.put(threading.Lock())
    assert control(place.wiki).index == before


def test_an_exception_arrives_with_its_arguments_notes_and_cause(wiki: Any) -> None:
    with pytest.raises(KeyError) as missing:
        wiki.fail("Home")
    assert missing.value.args == ("Home",) and wiki.all() == ["Home"]
    with pytest.raises(ValueError) as found:
        wiki.caused()
    assert isinstance(found.value.__cause__, LookupError)
    with pytest.raises(RemoteError, match="Odd"):
        wiki.odd()
    with pytest.raises(EncodingError):
        wiki.unsendable()


def test_many_threads_call_over_one_connection(place: Served, wiki: Any) -> None:
    def call(number: int) -> None:
        for each in range(50):
            wiki.add((number, each))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(wiki.all()) == sorted((number, each) for number in range(8) for each in range(50))
    assert len(place.gate._sessions) == 1


def test_values_are_larger_than_a_message(wiki: Any) -> None:
    large = os.urandom(3 * keys.PIECE_BYTES + 1)
    wiki.put("large", large)
    assert wiki.page("large") == large


def test_a_large_call_does_not_come_between_the_pieces_of_another(wiki: Any) -> None:
    large = [os.urandom(5 * keys.PIECE_BYTES) for _ in range(4)]
    threads = [threading.Thread(target=wiki.put, args=(number, each)) for number, each in enumerate(large)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert [wiki.page(number) for number in range(4)] == large


def test_the_controls_of_a_connection_take_snapshots_and_tell_how_it_is(place: Served, wiki: Any) -> None:
    wiki.add(1)
    controls = control(wiki)
    assert controls.take_snapshot() == wiki.take_snapshot() == control(place.wiki).index
    assert controls.status()["last_applied"] == control(place.wiki).index
    assert controls.code_version == 0 and not controls.closed
    with controls.latest() as latest:
        assert latest.count() == 1
    for refused in (
        lambda: controls.replay(),
        lambda: list(controls.actions()),
        lambda: controls.effects,
        lambda: controls.prune(1),
    ):
        with pytest.raises(UsageError, match="this is a connection"):
            refused()


def test_a_connection_that_is_closed_takes_no_calls_and_the_system_goes_on(place: Served, wiki: Any) -> None:
    wiki.close()
    wiki.close()
    for use in (lambda: wiki.add(1), lambda: wiki.count(), lambda: wiki.pages):
        with pytest.raises(SystemClosed, match="connection"):
            use()
    assert place.wiki.add(1) == 1


def test_a_forked_child_connects_by_itself(wiki: Any) -> None:
    wiki.add("before")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if wiki.add("child") == 2 else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert wiki.add("after") == 3 and wiki.all() == ["before", "child", "after"]


def test_what_the_guide_shows_works(place: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "guides" / "serve.md").read_text(encoding="utf-8")
    block = re.search(r"^```py\n(.*?)^```", text, re.S | re.M)
    assert block is not None
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "serve.key").write_bytes(place.key.read_bytes())
    (tmp_path / "data" / "serve.key").chmod(0o600)
    lines = block[1].replace("from wiki import", "from shared.domain import").replace("create_page", "put")
    lines = lines.replace("unix:/run/wiki.sock", place.unix).replace("tcp://127.0.0.1:7070", place.tcp)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec("async def main():\n" + textwrap.indent(lines, "    "), names)
    asyncio.run(names["main"]())
    assert place.wiki.page("Home") == "Welcome"


# -- who is let in


def test_who_has_another_key_is_refused(place: Served, tmp_path: Path) -> None:
    keys.make_key(str(tmp_path / "other"))
    with pytest.raises(AuthenticationFailed, match="refused the key"):
        place.connect(key=tmp_path / "other")


def test_a_key_that_others_can_read_is_refused(place: Served, tmp_path: Path) -> None:
    other = tmp_path / "other"
    keys.make_key(str(other))
    assert os.stat(other).st_mode & 0o777 == 0o600
    other.chmod(0o640)
    with pytest.raises(UsageError, match="chmod 600"):
        place.connect(key=other)
    other.chmod(0o600)
    other.write_text("no key")
    with pytest.raises(UsageError, match="is no key"):
        place.connect(key=other)


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("http://x", {}, "unix:PATH or tcp://HOST:PORT"),
        ("tcp://127.0.0.1", {}, "unix:PATH or tcp://HOST:PORT"),
        ("unix:", {}, "unix:PATH or tcp://HOST:PORT"),
        (7, {}, "unix:PATH or tcp://HOST:PORT"),
        ("tcp://127.0.0.1:7070", {}, "give key="),
        ("tcp://wiki.example.com:7070", {"key": b"x" * 32}, "other machines"),
        ("tcp://0.0.0.0:7070", {"key": b"x" * 32}, "other machines"),
        ("tcp://127.0.0.1:7070", {"key": b"short"}, "at least 32 bytes"),
        ("unix:/tmp/x", {"key": b"x" * 32}, "are for tcp"),
        ("unix:/tmp/x", {"timeout": 0}, "timeout"),
        ("unix:/tmp/x", {"timeout": float("nan")}, "timeout"),
    ],
)
def test_what_can_not_be_meant_is_refused_before_anything_is_sent(url: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        coopy.connect(url, Wiki, **options)


def test_a_class_of_another_name_is_refused(place: Served) -> None:
    class Other:
        pass

    for cls, said in ((Other, "serves a system of Wiki"), (Wiki(), "takes the domain class"), (dict, "takes the domain class")):
        with pytest.raises(UsageError, match=said):
            coopy.connect(place.unix, cls)


# -- connections that end


def cut(place: Served) -> None:
    """Ends all connections as a network does."""

    def abort() -> None:
        for session in list(place.gate._sessions.values()):
            session.peer.transport.abort()

    place.loop.call_soon_threadsafe(abort)


def test_calls_go_on_after_a_connection_has_ended_and_none_is_recorded_twice(place: Served, wiki: Any) -> None:
    raised: list[BaseException] = []

    def call(number: int) -> None:
        try:
            for each in range(40):
                if each % 10 == number:
                    cut(place)  # While the others are in the middle of a call.
                assert wiki.add((number, each)) and wiki.count()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not raised
    assert sorted(wiki.all()) == sorted((number, each) for number in range(4) for each in range(40))


def test_a_server_that_is_started_again_is_found(tmp_path: Path) -> None:
    with served(tmp_path) as place:
        connections = [place.connect(how) for how in ("tcp", "unix")]
        tcp = place.tcp
        place.close()
        place.open(tcp)
        for number, each in enumerate(connections):
            assert each.add(number) == number + 1
            each.close()


def test_a_client_may_be_there_before_the_server(tmp_path: Path) -> None:
    with served(tmp_path) as place:
        place.close()
        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.append(place.connect("unix")))
        thread.start()
        place.open(place.tcp)
        thread.join()
        assert found[0].add(1) == 1


def test_a_server_that_is_not_there_is_said_to_be_unavailable(tmp_path: Path) -> None:
    for url in ("tcp://127.0.0.1:9", f"unix:{tmp_path}/none"):
        with pytest.raises(Unavailable, match="Nothing was recorded"):
            coopy.connect(url, Wiki, key=b"x" * 32 if url.startswith("tcp") else None, timeout=0.2)


def test_what_was_called_before_the_server_ended_is_answered(tmp_path: Path) -> None:
    with served(tmp_path) as place:
        wiki = place.connect()
        answered: list[Any] = []
        thread = threading.Thread(target=lambda: answered.append(wiki.slow(0.5, "slow")))
        thread.start()
        while not place.wiki._coopy_engine.machine.running:
            pass
        place.close()
        thread.join()
        assert answered == [1]
        wiki.close()


def test_another_process_writes_and_the_connection_goes_on_when_it_is_killed(tmp_path: Path) -> None:
    with Process(tmp_path / "data", durability="buffered") as writer, served(tmp_path) as place:
        assert control(place.wiki).status()["writer"] == writer.pid
        wiki = place.connect()
        assert wiki.add(1) == 1
        writer.kill()
        assert wiki.add(2) == 2 and wiki.all() == [1, 2]
        assert control(place.wiki).status()["writer"] == os.getpid()
        wiki.close()


def test_a_server_that_hangs_is_unavailable_and_nothing_is_sent(tmp_path: Path) -> None:
    with Serving(tmp_path, "--listen", f"unix:{tmp_path}/s") as process:
        wiki = coopy.connect(process.where(), Wiki, timeout=0.5)
        wiki.add(1)
        process.signal(signal.SIGSTOP)
        with pytest.raises((Unavailable, OutcomeUnknown)):
            wiki.add(2)
        process.signal(signal.SIGCONT)
        assert wiki.count() in (1, 2)
        wiki.close()
