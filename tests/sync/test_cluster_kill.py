"""Three real nodes, of which the one that holds the lock is killed."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from network.servers import until
from program import free_port, start, write

TTL_S = 2.0
NODE = """
    import sys, time
    from coopy import init_system
    from coopy.sync import Lock, Locks, boot
    directory, node, ttl, *nodes = sys.argv[1:]
    locks = init_system(Locks, directory, cluster=nodes, node=node)
    lock = Lock("stock", system=locks, ttl=float(ttl))
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip() == "acquire":
            asked = boot.now_ns()
            lock.acquire()
            print(lock.token, asked, boot.now_ns(), flush=True)
        elif line.strip() == "waiting":
            print(len(lock.contenders()), flush=True)
    """


def ask(process: subprocess.Popen[str], what: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{what}\n")
    process.stdin.flush()


def told(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_waiter_on_another_node_has_the_lock_after_the_holder_was_killed(tmp_path: Path) -> None:
    first = free_port(3)
    nodes = [f"127.0.0.1:{first + number}" for number in range(3)]
    script = write(tmp_path / "node.py", NODE)
    running = [start(script, tmp_path / f"n{number}", node, TTL_S, *nodes) for number, node in enumerate(nodes)]
    try:
        assert [told(each) for each in running] == ["ready"] * 3
        holder, waiter, other = running
        ask(holder, "acquire")
        token, asked, _ = map(int, told(holder).split())
        ask(waiter, "acquire")
        until(lambda: [ask(other, "waiting"), told(other)][1] == "2")
        holder.send_signal(signal.SIGKILL)
        holder.wait(30)
        later, _, moment = map(int, told(waiter).split())
        assert later > token and moment - asked >= TTL_S * 1e9
    finally:
        for each in running:
            each.kill()
            each.communicate()
