"""The documented API of Metaparticle/Sync for Python, and each of its noted defects, at an elector of this process and at an imitation of the original."""

from __future__ import annotations

import http.client
import inspect
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from program import environment, free_port, run, write

pytest.importorskip("uvicorn", reason="the extra [elector] is not installed")

from sync.served import PATIENCE_S, Served

from coopy.compat import metaparticle
from coopy.compat.metaparticle import Election, Lock, LockLost
from coopy.sync import boot

S = 1_000_000_000
TTL_S = 1.2


@pytest.fixture
def served() -> Iterator[Served]:
    found = Served(ttl_ns=int(TTL_S * S))
    yield found
    found.end()


class Program:
    """Locks and elections of one sidecar, and what they have told."""

    def __init__(self, port: int) -> None:
        self.uri = f"http://localhost:{port}"
        self.told: list[str] = []
        self.locks: list[Lock] = []
        self.threads: list[threading.Thread] = []
        self.elections: list[Election] = []

    def lock(self, name: str = "x", tells: bool = True) -> Lock:
        who = f"{len(self.locks)}"
        callbacks: tuple[Callable[[], object], ...] = (lambda: self.told.append(f"{who} has it"),)
        if tells:
            callbacks = (*callbacks, lambda: self.told.append(f"{who} lost it"))
        self.locks.append(Lock(name, self.uri, *callbacks))
        return self.locks[-1]

    def stands(self, who: str, master: Callable[[], object] = lambda: None) -> Election:
        election = Election(
            "shard", lambda: (self.told.append(f"{who} is master"), master()), lambda: self.told.append(f"{who} lost"), self.uri
        )
        self.elections.append(election)
        self.runs(election.run)
        return election

    def runs(self, function: Callable[[], object]) -> threading.Thread:
        self.threads.append(threading.Thread(target=function))
        self.threads[-1].start()
        return self.threads[-1]

    def until(self, is_so: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not is_so():
            assert time.monotonic() < deadline, self.told
            time.sleep(0.005)

    def steal(self, lock: Lock) -> None:
        """Another takes a lock, whoever had it."""
        assert lock._hold is not None
        self.ask("DELETE", f"/locks/{lock.name}?owner={lock._owner}")
        assert self.ask("PUT", f"/locks/{lock.name}?owner=thief") == 200

    def ask(self, method: str, target: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", int(self.uri.rpartition(":")[2]), timeout=PATIENCE_S)
        try:
            connection.request(method, target)
            return connection.getresponse().status
        finally:
            connection.close()

    def end(self) -> None:
        for election in self.elections:
            election.shutdown()
        for lock in self.locks:
            lock.give_up()
            if lock.held:
                lock.release()
        for thread in self.threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


@pytest.fixture
def program(served: Served) -> Iterator[Program]:
    found = Program(served.port)
    yield found
    found.end()


def test_the_documented_arguments_have_their_names_and_defaults() -> None:
    lock, election = inspect.signature(Lock), inspect.signature(Election)
    assert str(lock).replace("'", "").startswith("(name: str, base_uri: str = http://localhost:13131, lock_callback:")
    assert [*lock.parameters] == ["name", "base_uri", "lock_callback", "lock_lost_callback"]
    assert [*election.parameters][:3] == ["name", "is_master_callback", "lost_master_callback"]
    assert str(inspect.signature(Lock.acquire)) == "(self, blocking: 'bool' = True) -> 'bool'"


def test_only_the_standard_library_is_loaded_by_a_client(tmp_path: Path) -> None:
    script = write(
        tmp_path / "loaded.py",
        """
        import sys
        import coopy.compat.metaparticle
        print(sorted({each.partition(".")[0] for each in sys.modules} - set(sys.stdlib_module_names) - {"coopy", "__main__"}))
        """,
    )
    assert [each for each in eval(run(script)) if each in ("uvicorn", "h11", "nats", "six", "dill", "click")] == []


def test_a_lock_is_acquired_and_released_and_says_so(program: Program) -> None:
    lock = program.lock()
    assert not lock.held and lock.token is None
    assert lock.acquire() is True
    assert lock.held and program.told == ["0 has it"]
    first = lock.token
    lock.release()
    assert not lock.held and program.told == ["0 has it", "0 lost it"]
    with lock:
        assert first is not None and lock.token is not None and lock.token > first


def test_release_frees_at_once_and_who_waits_has_it_then(program: Program) -> None:
    one, other = program.lock(), program.lock()
    one.acquire()
    assert other.acquire(blocking=False) is False
    thread = program.runs(other.acquire)
    waits_until = time.monotonic() + TTL_S  # A promise from before would be over.
    program.until(lambda: time.monotonic() > waits_until)
    began = time.monotonic()
    assert one.held
    one.release()
    thread.join(PATIENCE_S)
    assert other.held and time.monotonic() - began < TTL_S / 3
    held_until = time.monotonic() + TTL_S / 3
    program.until(lambda: time.monotonic() > held_until)
    assert other.held
    assert program.told == ["0 has it", "0 lost it", "1 has it"]


def test_a_lock_is_not_reentrant_and_not_released_twice(program: Program) -> None:
    lock = program.lock()
    with pytest.raises(RuntimeError, match="not held by this object"):
        lock.release()
    lock.acquire()
    for blocking in (True, False):
        with pytest.raises(RuntimeError, match="not reentrant"):
            lock.acquire(blocking)
    lock.release()
    with pytest.raises(RuntimeError, match="not held by this object"):
        lock.release()
    assert program.told == ["0 has it", "0 lost it"]


def test_heartbeats_keep_a_lock_longer_than_its_time(program: Program) -> None:
    one, other = program.lock(), program.lock()
    one.acquire()
    token = one.token
    ends = time.monotonic() + 1.5 * TTL_S
    while time.monotonic() < ends:
        assert one.held and not other.acquire(blocking=False)
    assert one.token == token


def test_a_loss_is_told_by_the_callback_and_the_lock_may_be_acquired_again(program: Program) -> None:
    lock = program.lock()
    lock.acquire()
    program.steal(lock)
    program.until(lambda: program.told[-1] == "0 lost it")
    assert not lock.held and lock.token is None
    with pytest.raises(RuntimeError, match="not held"):
        lock.release()
    program.ask("DELETE", "/locks/x?owner=thief")
    assert lock.acquire()


def test_a_loss_without_a_callback_is_raised_at_the_next_use(program: Program) -> None:
    lock = program.lock(tells=False)
    lock.acquire()
    program.steal(lock)
    program.until(lambda: not lock.held)
    with pytest.raises(LockLost, match="the lock 'x', held with token"):
        lock.release()
    program.ask("DELETE", "/locks/x?owner=thief")
    with pytest.raises(LockLost, match="another has it"), lock:
        program.steal(lock)
        program.until(lambda: not lock.held)
    program.ask("DELETE", "/locks/x?owner=thief")
    lock.acquire()
    program.steal(lock)
    program.until(lambda: not lock.held)
    with pytest.raises(LockLost):
        lock.acquire()


def test_what_is_raised_inside_is_not_hidden_by_the_loss(program: Program) -> None:
    lock = program.lock(tells=False)
    with pytest.raises(ZeroDivisionError), lock:
        program.steal(lock)
        program.until(lambda: not lock.held)
        raise ZeroDivisionError


def test_a_lock_that_came_free_for_a_while_is_lost_although_nobody_else_has_it(program: Program) -> None:
    lock = program.lock()
    lock.acquire()
    program.ask("DELETE", f"/locks/x?owner={lock._owner}")
    program.until(lambda: program.told[-1] == "0 lost it")
    program.until(lambda: program.ask("PUT", "/locks/x?owner=next") == 200)


def test_without_a_sidecar_the_holder_stops_before_others_may_have_the_lock() -> None:
    served = Served(ttl_ns=int(TTL_S * S))
    program = Program(served.port)
    lock = program.lock()
    lock.acquire()
    began = time.monotonic()
    served.end()
    program.until(lambda: program.told[-1] == "0 lost it")
    assert time.monotonic() - began < TTL_S and not lock.held


def test_who_was_paused_holds_nothing_any_more_before_anybody_is_asked(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = program.lock(tells=False)
    lock.acquire()
    now_ns = boot.now_ns
    monkeypatch.setattr(boot, "now_ns", lambda: now_ns() + int(TTL_S * S))
    assert not lock.held and lock.token is None
    with pytest.raises(LockLost, match="no heartbeat was answered within its time"):
        lock.release()


@pytest.mark.parametrize("blocking", [True, False])
def test_who_was_paused_for_longer_than_it_may_hold_what_was_answered_has_not_acquired_it(
    blocking: bool, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_ns, put, paused_ns = boot.now_ns, Lock._put, [0]

    def late(self: Lock, *args: Any) -> Any:
        answer = put(self, *args)
        if not paused_ns[0]:
            paused_ns[0] = int(TTL_S * S)
        return answer

    monkeypatch.setattr(boot, "now_ns", lambda: now_ns() + paused_ns[0])
    monkeypatch.setattr(Lock, "_put", late)
    lock, other = program.lock(), program.lock()
    assert lock.acquire(blocking) is blocking and lock.held is blocking
    assert other.acquire(blocking=False) is not blocking
    (lock if blocking else other).release()


def test_a_lock_callback_that_raises_leaves_the_lock_free(program: Program) -> None:
    lock = Lock("x", program.uri, lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        lock.acquire()
    assert program.lock().acquire(blocking=False)


def test_a_sidecar_may_start_after_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metaparticle, "RETRY_S", 0.02)
    program = Program(free_port())
    lock = program.lock()
    with pytest.raises(ConnectionError, match="no sidecar answers at .* was not acquired. Start one: coopy elector"):
        lock.acquire(blocking=False)
    thread = program.runs(lock.acquire)
    served = Served(port=int(program.uri.rpartition(":")[2]))
    thread.join(PATIENCE_S)
    assert lock.held
    lock.release()
    served.end()


def test_after_a_minute_without_a_sidecar_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metaparticle, "PATIENCE_S", 0.05)
    monkeypatch.setattr(metaparticle, "RETRY_S", 0.02)
    with pytest.raises(ConnectionError, match="no sidecar answers"):
        Program(free_port()).lock().acquire()


def test_who_waits_may_give_up(program: Program) -> None:
    one, other = program.lock(), program.lock()
    one.acquire()
    found: list[bool] = []
    thread = program.runs(lambda: found.append(other.acquire()))
    program.until(lambda: other._asking)
    other.give_up()
    thread.join(PATIENCE_S)
    assert found == [False]
    one.release()
    assert other.acquire(blocking=False)


SCRIPT = """
    import os, sys
    from coopy.compat.metaparticle import Lock

    lock = Lock("x", sys.argv[1])
    lock.acquire()
    if "fork" in sys.argv:
        child = os.fork()
        if not child:
            assert not lock.held and lock.token is None
            try:
                lock.release()
            except RuntimeError:
                os._exit(0 if not lock.acquire(blocking=False) else 2)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert lock.held
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_program_that_ends_frees_what_it_holds_and_its_child_holds_nothing(program: Program, tmp_path: Path) -> None:
    script = write(tmp_path / "holds.py", SCRIPT)
    process = subprocess.Popen(
        [sys.executable, str(script), program.uri, "fork"],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        assert program.lock().acquire(blocking=False) is False
        process.communicate("\n", PATIENCE_S)
        assert process.returncode == 0
        assert program.lock().acquire(blocking=False) is True
    finally:
        process.kill()
        process.communicate()


# -- elections


def test_one_is_master_and_another_after_it(program: Program) -> None:
    one = program.stands("one")
    program.until(lambda: program.told == ["one is master"])
    two = program.stands("two")
    assert one.is_master and not two.is_master
    one.shutdown()
    program.until(lambda: len(program.told) == 3)
    # The lock is freed first and its loss told then, by two threads.
    assert program.told[0] == "one is master" and sorted(program.told[1:]) == ["one lost", "two is master"]


def test_who_has_lost_stands_again(program: Program) -> None:
    election = program.stands("one")
    program.until(lambda: election.is_master)
    program.steal(election.lock)
    program.until(lambda: program.told == ["one is master", "one lost"])
    program.ask("DELETE", "/locks/shard?owner=thief")
    program.until(lambda: program.told == ["one is master", "one lost", "one is master"])


def test_shutdown_ends_the_one_who_waits_at_once_and_calls_nothing(program: Program) -> None:
    program.stands("one")
    program.until(lambda: program.told)
    two = program.stands("two")
    program.until(lambda: two.lock._asking)
    began = time.monotonic()
    two.shutdown()
    program.threads[-1].join(PATIENCE_S)
    assert time.monotonic() - began < metaparticle.POLL_S / 2
    assert program.told == ["one is master"]


def test_shutdown_before_run_has_run_return(program: Program) -> None:
    election = Election("shard", lambda: program.told.append("master"), lambda: program.told.append("lost"), program.uri)
    election.shutdown()
    election.run()
    assert program.told == []


def test_a_master_that_raises_resigns(program: Program) -> None:
    election = Election("shard", lambda: 1 // 0, lambda: program.told.append("lost"), program.uri)
    with pytest.raises(ZeroDivisionError):
        election.run()
    assert program.told == ["lost"]
    program.stands("two")
    program.until(lambda: program.told == ["lost", "two is master"])


def test_a_master_that_works_for_long_is_told_of_the_loss_while_it_does(program: Program) -> None:
    lost = threading.Event()
    election = Election("shard", lambda: (program.told.append("master"), lost.wait(PATIENCE_S)), lost.set, program.uri)
    program.elections.append(election)
    program.runs(election.run)
    program.until(lambda: program.told)
    program.steal(election.lock)
    assert lost.wait(PATIENCE_S)


# -- the original sidecar


class Original(BaseHTTPRequestHandler):
    """The sidecar of Metaparticle, as far as one client sees it: it knows no query, and never answers DELETE."""

    owners: dict[str, str] = {}
    asked: list[str] = []

    def do_PUT(self) -> None:
        name = self.path.partition("?")[0]
        self.asked.append(name)
        held = self.owners.setdefault(name, "pod") == "pod"
        body = json.dumps({"metadata": {"name": name}, "spec": {"owner": self.owners[name], "expiry": "2026"}}).encode()
        self.send_response(200 if held else 409)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_DELETE(self) -> None:
        raise AssertionError("it would not be answered")

    def log_message(self, *_: Any) -> None:
        pass


def test_the_original_sidecar_will_do_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metaparticle, "ORIGINAL_TTL_S", 3.0)
    monkeypatch.setattr(metaparticle, "POLL_S", 0.05)
    monkeypatch.setattr(Original, "owners", {"/locks/y": "another pod"})
    monkeypatch.setattr(Original, "asked", [])
    with ThreadingHTTPServer(("127.0.0.1", 0), Original) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        try:
            program = Program(server.server_port)
            lock = program.lock()
            lock.acquire()
            assert lock.token is None
            program.until(lambda: len(Original.asked) >= 3)  # Which are two heartbeats.
            assert lock.held
            lock.release()
            assert program.lock("y").acquire(blocking=False) is False
            waiting = program.lock("y")
            thread = program.runs(waiting.acquire)
            Original.owners.clear()
            thread.join(PATIENCE_S)
            assert waiting.held
            Original.owners["/locks/y"] = "another pod"
            program.until(lambda: program.told[-1] == "2 lost it")
        finally:
            server.shutdown()
