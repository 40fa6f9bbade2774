"""A directory that several processes share: calls, reads, exceptions, and who writes next."""

from __future__ import annotations

import os
import signal
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shared.domain import Own, Process, Wiki, opened

import coopy
from coopy import DirectoryInUse, EncodingError, RemoteError, SystemClosed, Unavailable, UsageError, control, init_system
from coopy.replication.copying import Forwarded
from coopy.replication.parcels import with_id
from coopy.values.alone import decoded_by


@pytest.fixture(autouse=True)
def nothing_is_left_open() -> Iterator[None]:
    yield
    coopy.close_all()


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Any, Any]:
    """One that writes and one that follows, of one process: they share nothing but the directory."""
    return opened(tmp_path / "data", durability="buffered"), opened(tmp_path / "data", durability="buffered")


def role(system: Any) -> Any:
    return control(system).status()["role"]


def test_the_first_that_opens_writes_and_the_others_follow(pair: tuple[Any, Any]) -> None:
    assert [role(each) for each in pair] == ["writer", "follower"]
    assert control(pair[1]).status()["writer"] == os.getpid()


def test_a_call_of_a_follower_is_recorded_by_the_writer_and_read_by_both(pair: tuple[Any, Any]) -> None:
    writer, follower = pair
    assert follower.put("Home", "Welcome") == 1
    assert follower.page("Home") == writer.page("Home") == "Welcome"
    assert [each.method for each in control(writer).actions()] == ["put"]


def test_a_follower_sees_its_own_calls_at_once_and_those_of_others_with_latest(pair: tuple[Any, Any]) -> None:
    writer, follower = pair
    for number in range(100):
        assert follower.add(number) == follower.count() == 2 * number + 1
        writer.add(number)
        with control(follower).latest() as latest:
            assert latest.count() == 2 * number + 2


def test_what_a_call_returns_is_what_it_returns_in_one_process(pair: tuple[Any, Any]) -> None:
    _, follower = pair
    follower.add([1, {"a": (2.5, None)}])
    assert list(follower.each()) == [[1, {"a": (2.5, None)}]]
    assert follower.itself() is follower
    seconds, chance = follower.at()
    assert seconds > 1e9 and 0 <= chance < 1


def test_the_writer_stamps_and_seeds(pair: tuple[Any, Any], tmp_path: Path) -> None:
    writer, follower = pair
    said = follower.at()
    (recorded,) = control(writer).actions()
    assert int(said[0] * 1000) == int(recorded.time.timestamp() * 1000)


SAID_OF_THE_LAST_CALL = {
    "index": lambda controls: controls.index == 1,
    "durable": lambda controls: controls.durable == 1,
    "status": lambda controls: controls.status()["last_applied"] == 1,
    "actions": lambda controls: [each.method for each in controls.actions()] == ["add"],
    "replay": lambda controls: controls.replay().calls == ["a"],
    "state_digest": lambda controls: controls.state_digest()[0] == 1,
    "subscribe": lambda controls: controls.subscribe(print, after=1) is not None,
}


@pytest.mark.parametrize("what", SAID_OF_THE_LAST_CALL)
def test_a_control_knows_of_the_calls_that_its_process_has_made(what: str, pair: tuple[Any, Any]) -> None:
    _, follower = pair
    # No news come in between: the copy is behind until somebody looks.
    control(follower)._system.hear = lambda parcel: None  # type: ignore[attr-defined]
    follower.add("a")
    assert SAID_OF_THE_LAST_CALL[what](control(follower))


def test_subscribers_are_told_of_the_calls_of_their_process_without_news(pair: tuple[Any, Any]) -> None:
    _, follower = pair
    control(follower)._system.hear = lambda parcel: None  # type: ignore[attr-defined]
    told = threading.Event()
    with control(follower).subscribe(lambda first, last: told.set()):
        follower.add("a")
        assert told.wait(60)


def test_what_is_called_before_closing_may_call(pair: tuple[Any, Any]) -> None:
    writer, follower = pair
    control(follower).before_closing(lambda: follower.add("last"))
    control(follower).close()
    assert writer.all() == ["last"]


def test_what_is_old_is_pruned_by_the_writer_whoever_asks(pair: tuple[Any, Any]) -> None:
    writer, follower = pair
    for each in "ab":
        follower.add(each)
        control(follower).take_snapshot()
    assert control(follower).prune(keep=1) == [0, 1]
    assert control(writer).replay().calls == ["a", "b"]


def test_at_closing_subscribers_are_told_of_the_calls_that_their_process_has_made(pair: tuple[Any, Any]) -> None:
    _, follower = pair
    control(follower)._system.hear = lambda parcel: None  # type: ignore[attr-defined]
    told, ended = list[int](), threading.Event()
    control(follower).subscribe(lambda first, last: told.extend(range(first, last + 1)), ended=ended.set)
    follower.add("a")
    control(follower).close()
    assert ended.wait(60) and told == [1]


def test_an_exception_arrives_with_its_arguments_notes_and_cause(pair: tuple[Any, Any]) -> None:
    _, follower = pair
    with pytest.raises(KeyError) as missing:
        follower.fail("Home")
    assert missing.value.args == ("Home",) and follower.all() == ["Home"]
    with pytest.raises(ValueError) as found:
        follower.caused()
    assert found.value.args == ("wrong", 7)
    assert list(getattr(found.value, "__notes__", ["said of it"])) == ["said of it"]
    assert isinstance(found.value.__cause__, LookupError) and found.value.__cause__.args == ("no such page",)


def test_an_exception_with_an_init_of_its_own_arrives_as_itself(pair: tuple[Any, Any]) -> None:
    with pytest.raises(Own, match="1 and 2"):
        pair[1].own()


def test_an_exception_that_cannot_be_made_again_is_named_and_has_its_traceback(pair: tuple[Any, Any]) -> None:
    with pytest.raises(RemoteError, match=r"Odd: 1 and 2") as found:
        pair[1].odd()
    assert found.value.kind.endswith("domain.Odd") and "in odd" in found.value.traceback


def test_what_is_withdrawn_is_withdrawn_for_all(pair: tuple[Any, Any]) -> None:
    writer, follower = pair
    for each in ("aborted", "undone"):
        with pytest.raises(KeyError):
            getattr(follower, each)("x")
        with pytest.raises(KeyError):
            getattr(writer, each)("x")
    follower.add("last")
    assert follower.all() == writer.all() == ["last"]
    assert control(follower).state_digest() == control(writer).state_digest()


def test_a_value_that_cannot_be_sent_says_that_the_call_counts(pair: tuple[Any, Any]) -> None:
    with pytest.raises(EncodingError, match="is recorded, and counts") as found:
        pair[1].unsendable()
    assert "Nothing was recorded" not in str(found.value)
    assert control(pair[0]).index == 1


def test_what_cannot_be_encoded_is_not_sent(pair: tuple[Any, Any]) -> None:
    with pytest.raises(EncodingError):
        pair[1].add(threading.Lock())
    assert control(pair[0]).index == 0


def test_a_snapshot_is_taken_by_the_writer_whoever_asks(pair: tuple[Any, Any]) -> None:
    _, follower = pair
    follower.add(1)
    assert control(follower).take_snapshot() == 1
    assert control(follower).status()["snapshot"]["index"] == 1


def test_a_follower_is_told_of_actions(pair: tuple[Any, Any]) -> None:
    writer, follower = pair
    told = []
    with control(follower).subscribe(lambda first, last: told.extend(range(first, last + 1))) as subscription:
        writer.add(1)
        follower.add(2)
        control(follower).sync()
        assert follower.count() == 2
        subscription.wait()
    assert told == [1, 2]


def test_the_past_is_to_be_had_from_a_follower(pair: tuple[Any, Any]) -> None:
    writer, follower = pair
    writer.add(1)
    follower.add(2)
    assert follower.count() == 2
    assert control(follower).replay(1).calls == [1]
    assert [each.args for each in control(follower).actions()] == [(1,), (2,)]


def test_when_the_writer_closes_a_follower_writes_and_no_call_fails(pair: tuple[Any, Any]) -> None:
    writer, follower = pair
    follower.add(0)
    done, failed = threading.Event(), []

    def call() -> None:
        for number in range(1, 200):
            try:
                follower.add(number)
            except Exception as error:
                failed.append(error)
        done.set()

    threading.Thread(target=call).start()
    while writer.count() < 20:
        pass
    writer.close()
    assert done.wait(60) and not failed
    assert role(follower) == "writer" and follower.all() == list(range(200))


def test_a_follower_that_closes_leaves_the_writer_alone(pair: tuple[Any, Any]) -> None:
    writer, follower = pair
    follower.add(1)
    follower.close()
    with pytest.raises(SystemClosed):
        follower.add(2)
    with pytest.raises(SystemClosed):
        follower.count()
    assert writer.add(2) == 2


def test_the_files_of_the_socket_are_ours_alone_and_go_with_the_last(tmp_path: Path) -> None:
    path = tmp_path / "data"
    with opened(path):
        (socket,) = path.glob("writer-*.sock")
        assert stat.S_IMODE(socket.stat().st_mode) == 0o600
    assert not list(path.glob("writer*"))


def test_a_directory_that_is_open_and_not_shared_is_refused(tmp_path: Path) -> None:
    with init_system(Wiki, tmp_path / "data", validation="off"), pytest.raises(DirectoryInUse):
        opened(tmp_path / "data")


def test_a_directory_that_is_shared_is_refused_to_who_does_not_share(pair: tuple[Any, Any], tmp_path: Path) -> None:
    with pytest.raises(DirectoryInUse):
        init_system(Wiki, tmp_path / "data", validation="off")


def test_check_is_of_one_process(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="shared"):
        opened(tmp_path / "data", check=True)


@pytest.mark.parametrize("length", [60, 130, 230])
def test_a_long_path_is_no_matter(tmp_path: Path, length: int) -> None:
    path = tmp_path / "d".ljust(length, "d")
    with opened(path), opened(path) as follower:
        assert follower.add(1) == 1


def test_from_the_second_process_on_a_killed_writer_is_followed_by_another(tmp_path: Path) -> None:
    path = tmp_path / "data"
    with Process(path) as writer, Process(path) as follower, opened(path) as third:
        assert writer.do("control(wiki).status()['role']") in ("writer", "follower")
        first = control(third).status()["writer"]
        assert third.add("a") == 1
        assert writer.do("wiki.add('b')") == 2 and follower.do("wiki.add('c')") == 3
        by_pid = {writer.pid: writer, follower.pid: follower}
        if first in by_pid:
            by_pid.pop(first).kill()
        assert [each.do("wiki.add('d')") for each in by_pid.values()] == list(range(4, 4 + len(by_pid)))
        control(third).sync()
        assert third.all()[:4] == ["a", "b", "c", "d"]


def test_a_writer_that_hangs_is_waited_for_and_then_given_up(tmp_path: Path) -> None:
    path = tmp_path / "data"
    with Process(path) as writer:
        writer.do("wiki.add('a')")
        with opened(path, timeout=0.3) as follower:
            assert follower.add("b") == 2
            writer.kill(signal.SIGSTOP)
            try:
                with pytest.raises((Unavailable, coopy.OutcomeUnknown)):
                    follower.add("c")
                with pytest.raises(Unavailable, match="Nothing was recorded"):
                    follower.add("d")
                assert follower.count() == 2
            finally:
                writer.kill(signal.SIGCONT)
            assert "d" not in writer.do("wiki.all()")


def test_a_call_that_comes_while_the_writer_closes_goes_to_the_next(pair: tuple[Any, Any]) -> None:
    writer, follower = pair
    follower.add("a")
    # Closed, but for letting the directory go: this is what a call meets that comes in between.
    writer._coopy_engine.close()
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(follower.add("b")))
    thread.start()
    thread.join(0.05)
    assert thread.is_alive() and not answers
    writer.close()
    thread.join(60)
    assert answers == [2] and follower.all() == ["a", "b"]


def test_a_process_that_is_opened_leaves_the_writing_to_one_that_has_the_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data"
    with Process(path) as writer, Process(path) as follower:
        writer.do("wiki.add('a')")
        follower.do("control(wiki).sync()")
        monkeypatch.setattr("coopy.replication.shared_place.WARM_S", 60.0)
        writer.kill()
        third = opened(path)
        assert control(third).status()["writer"] == follower.pid
        assert third.add("b") == 2


def test_callers_of_the_writer_wait_while_those_of_others_have_their_turn(pair: tuple[Any, Any]) -> None:
    writer, _ = pair
    done: list[int] = []
    thread = threading.Thread(target=lambda: done.append(writer.add("later")))

    def turn() -> None:
        thread.start()
        thread.join(0.05)
        assert not done

    writer._coopy_engine.guests.take_turn(turn)
    thread.join(60)
    assert done == [1]


def test_inside_an_action_nobody_waits_for_others_to_have_their_turn(pair: tuple[Any, Any]) -> None:
    writer, _ = pair
    engine = writer._coopy_engine
    engine.guests.have_the_turn = True
    try:
        engine.run(lambda: engine.guests.let_pass())
    finally:
        engine.guests.have_the_turn = False
    assert writer.add(1) == 1


def test_what_a_forwarded_call_returns_is_what_it_was_when_the_call_ended(tmp_path: Path) -> None:
    """It may be a part of the state, which goes on while the answer waits for the disk."""
    with opened(tmp_path) as wiki:
        engine = control(wiki)._system.engine
        call = Forwarded(None, 1, with_id(engine._codec.encode_call("listed", ("a",), {}, ("call",))[0], bytes(8), 1))
        engine.take([call])
        wiki.add("b")
        assert decoded_by(engine._codec, call.value)[1][0] == ["a"]
