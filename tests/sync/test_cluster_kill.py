"""Three real nodes, of which the one that holds the lock, and waits at the barrier, is killed."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator

import pytest
from network.servers import until
from program import free_port, start, write

TTL_S = 5.0
NODE = """
    import sys, threading
    from coopy import init_system
    from coopy.sync import Barrier, Lock, Locks, boot
    directory, node, ttl, *nodes = sys.argv[1:]
    locks = init_system(Locks, directory, cluster=nodes, node=node)
    lock, barrier = (kind(*words, system=locks, ttl=float(ttl)) for kind, *words in ((Lock, "stock"), (Barrier, "start", 3)))
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip() == "acquire":
            asked = boot.now_ns()
            lock.acquire()
            print(lock.token, asked, boot.now_ns(), flush=True)
        elif line.strip() == "waiting":
            print(len(lock.contenders()), flush=True)
        elif line.strip() == "meet":
            try:
                print(barrier.wait(), flush=True)
            except threading.BrokenBarrierError:
                print("broken", flush=True)
        elif line.strip() == "meeting":
            print(barrier.n_waiting, flush=True)
    """


def ask(process: subprocess.Popen[str], what: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{what}\n")
    process.stdin.flush()


def told(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[subprocess.Popen[str]]]:
    here = tmp_path_factory.mktemp("three")
    first = free_port(3)
    nodes = [f"127.0.0.1:{first + number}" for number in range(3)]
    script = write(here / "node.py", NODE)
    found = [start(script, here / f"n{number}", node, TTL_S, *nodes) for number, node in enumerate(nodes)]
    try:
        assert [told(each) for each in found] == ["ready"] * 3
        yield found
    finally:
        for each in found:
            each.kill()
            each.communicate()


def test_processes_meet_at_a_barrier(running: list[subprocess.Popen[str]]) -> None:
    for _ in range(2):
        for each in running:
            ask(each, "meet")
        assert sorted(map(told, running)) == ["0", "1", "2"]


def test_those_who_wait_are_told_after_the_one_that_holds_and_waits_was_killed(running: list[subprocess.Popen[str]]) -> None:
    holder, waiter, other = running
    ask(holder, "acquire")
    token, asked, _ = map(int, told(holder).split())
    ask(holder, "meet")
    ask(waiter, "acquire")
    until(lambda: [ask(other, "waiting"), told(other), ask(other, "meeting"), told(other)][1::2] == ["2", "1"])
    ask(other, "meet")
    holder.send_signal(signal.SIGKILL)
    holder.wait(30)
    later, _, moment = map(int, told(waiter).split())
    assert later > token and moment - asked >= TTL_S * 1e9
    assert told(other) == "broken"
    ask(waiter, "meet")
    assert told(waiter) == "broken"
