"""Kills, takeovers and forks, many times: `make shared`.

    python tests/shared/campaign.py kills --seconds 60
    python tests/shared/campaign.py takeovers --runs 100
    python tests/shared/campaign.py forks --runs 20

kills: four processes with four threads each call as fast as they are answered; every half second one of them is killed, each third time the one that writes,
and another is started. Each writes what it is acknowledged into a file of its own, so a kill loses none of it. At the end all that was acknowledged must be there,
nothing twice, and each value that was returned must be the place of its call.

takeovers: the writer is killed while another process calls without a pause; the longest call is how long nobody wrote.

forks: parents with and without threads, that write or follow, fork children that call; children fork, too. No call may be lost, or be there twice.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[1])]

from coopy import control, init_system, readonly  # noqa: E402

THREADS = 4
PROCESSES = 4
PAUSE_S = 0.002
"""Between two calls of a thread: what is looked for are kills, and they come late on a machine that has no processor left."""


class Ledger:
    def __init__(self) -> None:
        self.calls: list[Any] = []

    def add(self, call: Any) -> int:
        self.calls.append(call)
        return len(self.calls)

    @readonly
    def has(self, place: int, call: Any) -> bool:
        return len(self.calls) >= place and self.calls[place - 1] == call

    @readonly
    def all(self) -> list[Any]:
        return list(self.calls)


def opened(path: str, **options: Any) -> Any:
    return init_system(Ledger, path, shared=True, **options)


# -- what a process does


def calls(path: str, name: str, durability: str) -> None:
    """Calls until it is killed. A line of the file ``name`` is what one call came to."""
    ledger = opened(path, durability=durability)
    acknowledged = os.open(f"{path}.{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def run(thread: int) -> None:
        number = 0
        while True:
            number += 1
            call = (name, thread, number)
            began = time.monotonic()
            try:
                place = ledger.add(call)
            except Exception as error:
                os.write(acknowledged, f"{json.dumps(['failed', call, repr(error)])}\n".encode())
                continue
            took = time.monotonic() - began
            seen = ledger.has(place, call)
            os.write(acknowledged, f"{json.dumps(['done', call, place, seen, took])}\n".encode())
            time.sleep(PAUSE_S)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for each in threads:
        each.start()
    print(control(ledger).status()["writer"], flush=True)
    for _ in sys.stdin:
        print(control(ledger).status()["writer"], flush=True)


def start(path: str, name: str, durability: str) -> subprocess.Popen[str]:
    found = subprocess.Popen(
        [sys.executable, __file__, "calls", path, name, durability], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert found.stdout is not None
    found.stdout.readline()
    return found


def writer_of(process: subprocess.Popen[str]) -> int:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return int(process.stdout.readline() or 0)


# -- kills


def kills(folder: Path, seconds: float, durability: str, seed: int) -> bool:
    chance, path = random.Random(seed), str(folder / "data")
    number, killed = 0, {"writer": 0, "follower": 0}
    running: list[subprocess.Popen[str]] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        while len(running) < PROCESSES:
            number += 1
            running.append(start(path, f"p{number}", durability))
        time.sleep(0.5)
        writer = writer_of(chance.choice(running))
        kind = "writer" if chance.random() < 0.34 else "follower"
        chosen = [each for each in running if (each.pid == writer) == (kind == "writer")]
        if chosen:
            victim = chance.choice(chosen)
            victim.kill()
            victim.wait()
            running.remove(victim)
            killed[kind] += 1
    time.sleep(0.5)
    for each in running:
        each.kill()
        each.wait()
    return told(path, number, killed, durability, seed)


def told(path: str, number: int, killed: dict[str, int], durability: str, seed: int) -> bool:
    with opened(path) as ledger:
        recorded = [tuple(each) for each in ledger.all()]
    places = {call: place for place, call in enumerate(recorded, 1)}
    done, lost, wrong, unseen, failed, longest = 0, 0, 0, 0, {}, 0.0
    for each in range(1, number + 1):
        for line in Path(f"{path}.p{each}").read_text().splitlines():
            if not line.endswith("]"):
                continue  # Its process was killed as it wrote.
            said = json.loads(line)
            call = tuple(said[1])
            if said[0] == "failed":
                failed[said[2][:60]] = failed.get(said[2][:60], 0) + 1
                continue
            done += 1
            lost += call not in places
            wrong += places.get(call) != said[2]
            unseen += not said[3]
            longest = max(longest, said[4])
    twice = len(recorded) - len(places)
    print(
        f"seed {seed}, {durability}: {done} acknowledged, {lost} lost, {twice} twice, {wrong} with another value, {unseen} not read by "
        f"their caller, {failed or 'none'} failed, longest call {longest:.3f} s; killed {killed}"
    )
    return not (lost or twice or wrong or unseen or failed)


# -- takeovers


def takeovers(folder: Path, runs: int, how: str) -> bool:
    path, pauses = str(folder / "data"), []
    failed: list[Exception] = []
    writer = start_quiet(path)
    ledger = opened(path)
    for run in range(runs):
        heard: list[float] = []
        ends = threading.Event()

        def call(heard: list[float] = heard, ends: threading.Event = ends, run: int = run) -> None:
            while not ends.is_set():
                began = time.monotonic()
                try:
                    ledger.add((run, len(heard)))
                except Exception as error:
                    failed.append(error)
                heard.append(time.monotonic() - began)

        third = start_quiet(path)
        thread = threading.Thread(target=call)
        thread.start()
        time.sleep(0.1)
        pid = control(ledger).status()["writer"]
        if pid == os.getpid():
            # This process has come to write: it closes, and follows the next one.
            ends.set()
            thread.join()
            ledger.close()
            writer.kill()
            writer.wait()
            writer = third
            ledger = opened(path)
            continue
        dying = writer if writer.pid == pid else third
        if how == "kill":
            dying.send_signal(signal.SIGKILL)
        else:
            assert dying.stdin is not None
            dying.stdin.close()
        dying.wait()
        time.sleep(0.3)
        ends.set()
        thread.join()
        pauses.append(max(heard))
        writer = third if dying is writer else writer
    writer.kill()
    writer.wait()
    ledger.close()
    pauses.sort()
    print(
        f"{how}: {len(pauses)} takeovers, longest call median {pauses[len(pauses) // 2] * 1000:.1f} ms, worst {pauses[-1] * 1000:.1f} ms; {failed or 'none'} failed"
    )
    return not failed


def quiet(path: str) -> None:
    with opened(path):
        print("opened", flush=True)
        sys.stdin.read()


def start_quiet(path: str) -> subprocess.Popen[str]:
    found = subprocess.Popen(
        [sys.executable, __file__, "quiet", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert found.stdout is not None
    assert found.stdout.readline()
    return found


# -- forks


def forks(folder: Path, runs: int, seed: int) -> bool:
    chance, fine = random.Random(seed), True
    for run in range(runs):
        path = str(folder / f"data{run}")
        follows, threads, depth = chance.random() < 0.5, chance.choice([0, 1, 4]), chance.choice([1, 2])
        said = subprocess.run(
            [sys.executable, __file__, "family", path, str(int(follows)), str(threads), str(depth)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if said.returncode:
            fine = False
            print(f"run {run} of seed {seed}: follows={follows} threads={threads} depth={depth}:\n{said.stdout}{said.stderr}")
        shutil.rmtree(path, ignore_errors=True)
    print(f"seed {seed}: {runs} families, {'all' if fine else 'not all'} as they must be")
    return fine


def family(path: str, follows: bool, threads: int, depth: int) -> None:
    other = start_quiet(path) if follows else None
    ledger = opened(path, durability="buffered")
    expected = 0

    def work(who: str) -> None:
        for number in range(30):
            place = ledger.add((who, number))
            assert ledger.has(place, (who, number)), (who, number)

    running = [threading.Thread(target=work, args=(f"thread {number}",)) for number in range(threads)]
    for each in running:
        each.start()
    expected += 30 * threads

    def beget(name: str, generations: int) -> int:
        """Forks three children that call, and have children, too. Returns how many calls they make."""
        pids = []
        for number in range(3):
            pid = os.fork()
            if not pid:
                code = 1
                try:
                    if generations > 1:
                        beget(f"{name}.{number}", generations - 1)
                    work(f"{name}.{number}")
                    code = 0
                except BaseException:
                    traceback.print_exc()
                finally:
                    os._exit(code)
            pids.append(pid)
        for pid in pids:
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        return 3 * 30 * (1 if generations == 1 else 1 + 3)

    expected += beget("child", depth)
    for each in running:
        each.join()
    control(ledger).sync()
    found = ledger.all()
    assert len(found) == len(set(found)) == expected, (len(found), len(set(found)), expected)
    ledger.close()
    if other is not None:
        other.kill()
        other.wait()


def main() -> int:
    if sys.argv[1] in ("calls", "quiet"):
        {"calls": calls, "quiet": quiet}[sys.argv[1]](*sys.argv[2:])
        return 0
    if sys.argv[1] == "family":
        family(sys.argv[2], *map(int, sys.argv[3:]))  # type: ignore[arg-type]
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["kills", "takeovers", "forks"])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--durability", default="buffered", choices=["sync", "buffered"])
    parser.add_argument("--how", default="kill", choices=["kill", "close"])
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="coopy-shared-", ignore_cleanup_errors=True) as folder:
        if given.what == "kills":
            return not kills(Path(folder), given.seconds, given.durability, given.seed)
        if given.what == "takeovers":
            return not takeovers(Path(folder), given.runs, given.how)
        return not forks(Path(folder), given.runs, given.seed)


if __name__ == "__main__":
    from shared import campaign  # The class has the same name in every process.

    sys.exit(campaign.main())
