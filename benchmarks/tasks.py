"""Task queues: coopy's beside RQ, Huey, Dramatiq and Celery on a redis-server, in one run and in turn: `python -m benchmarks.tasks`.

Each has four worker processes with one task at a time in each, keeps results, and does not lose the task of a worker that is killed where it can be told not to
(Huey can't). A task notes the time and its process in a file. Printed are:

    send     tasks a second that one process sends, one after the other
    work     tasks a second that the workers do of those that wait, from when the last of them has begun
    idle     milliseconds from sending a task to workers that wait until it runs: median, and 95 of 100

redis-server, from Debian, listens at a socket of its own, with `appendfsync always`, which is what "sync" is here, and once more without an append-only file,
which is its default: then what was sent in the last seconds or minutes is gone with a power cut, or with the server. The others come from PyPI, into a venv of
their own. What is not to be had is left out. Figures of a run say how fast they are beside each other on this machine, and no more.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

TASKS = 2000
IDLE = 100
WORKERS = 4
VENV = Path(".bench-venvs/tasks")
PEERS = ("rq", "huey", "dramatiq", "celery", "redis", "packaging")
NOTE = struct.Struct("=dq")
READY_S = 60.0
"""Workers have begun by then, or a system is left out."""
ROOT = Path(__file__).resolve().parents[1]

EFFECT = """
import os, struct, sys, time
NOTE = struct.Struct("=dq")
HERE = os.path.dirname(os.path.abspath(__file__))
_file = []

def note():
    if not _file:
        _file.append(os.open(os.path.join(HERE, "notes"), os.O_WRONLY | os.O_APPEND | os.O_CREAT))
    os.write(_file[0], NOTE.pack(time.monotonic(), os.getpid()))

def main(send, finish=lambda: None):
    # Asked by lines: "send N" sends so many, and says how long it took.
    for line in sys.stdin:
        number = int(line.split()[1])
        began = time.monotonic()
        for _ in range(number):
            send()
        print(began, time.monotonic() - began, flush=True)
    finish()
"""

MODULES = {
    "coopy": """
        from effect import HERE, main, note
        from coopy.messaging import TaskQueue
        queue = TaskQueue(os.path.join(HERE, "tasks"), durability={durability!r})

        @queue.task
        def work():
            note()

        if __name__ == "__main__":
            import subject
            if len(sys.argv) > 1:
                subject.queue.worker(prefetch={prefetch}).run()
            else:
                main(subject.work.send, subject.queue.close)
    """,
    "rq": """
        from effect import HERE, main, note
        import redis, rq
        connection = redis.Redis(unix_socket_path=os.path.join(HERE, "redis.sock"))
        queue = rq.Queue(connection=connection)

        def work():
            note()

        if __name__ == "__main__":
            import subject
            if len(sys.argv) > 1:
                rq.SimpleWorker([queue], connection=connection).work(logging_level="ERROR")
            else:
                main(lambda: queue.enqueue(subject.work))
    """,
    "huey": """
        from effect import HERE, main, note
        import huey as its
        huey = its.RedisHuey("tasks", url="unix://" + os.path.join(HERE, "redis.sock"))

        @huey.task()
        def work():
            note()
            return 1

        if __name__ == "__main__":
            import subject
            main(subject.work)
    """,
    "dramatiq": """
        from effect import HERE, main, note
        import dramatiq
        from dramatiq.brokers.redis import RedisBroker
        from dramatiq.results import Results
        from dramatiq.results.backends import RedisBackend
        url = "unix://" + os.path.join(HERE, "redis.sock")
        broker = RedisBroker(url=url)
        broker.add_middleware(Results(backend=RedisBackend(url=url)))
        dramatiq.set_broker(broker)

        @dramatiq.actor(store_results=True)
        def work():
            note()
            return 1

        if __name__ == "__main__":
            import subject
            main(subject.work.send)
    """,
    "celery": """
        from effect import HERE, main, note
        import celery
        url = "redis+socket://" + os.path.join(HERE, "redis.sock")
        app = celery.Celery("subject", broker=url, backend=url)
        app.conf.update(task_acks_late=True, task_reject_on_worker_lost=True)

        @app.task
        def work():
            note()

        if __name__ == "__main__":
            import subject
            main(subject.work.delay)
    """,
}
BIN = VENV / "bin"
COMMANDS: dict[str, list[list[str]]] = {
    "coopy": [["{python}", "subject.py", "worker"]] * WORKERS,
    "rq": [["{python}", "subject.py", "worker"]] * WORKERS,
    "huey": [["{bin}/huey_consumer", "subject.huey", "-w", str(WORKERS), "-k", "process", "-q"]],
    "dramatiq": [["{bin}/dramatiq", "subject", "--processes", str(WORKERS), "--threads", "1", "--path", "."]],
    "celery": [["{python}", "-m", "celery", "-q", "-A", "subject", "worker", "-c", str(WORKERS), "-l", "ERROR"]],
}
SYSTEMS: dict[str, tuple[str, dict[str, object]]] = {
    "coopy": ("coopy", {"durability": "sync", "prefetch": 1}),
    "coopy, prefetch=16": ("coopy", {"durability": "sync", "prefetch": 16}),
    "RQ": ("rq", {}),
    "Huey": ("huey", {}),
    "Dramatiq": ("dramatiq", {}),
    "Celery": ("celery", {}),
}


class NotToBeHad(Exception):
    """A system can't be measured here, and why."""


def python_of_peers() -> str:
    """Returns the interpreter of a venv with the others; made on the first call."""
    python = BIN.absolute() / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True, capture_output=True)
        found = subprocess.run([str(python), "-m", "pip", "install", "-q", *PEERS], capture_output=True, text=True, check=False)
        if found.returncode:
            shutil.rmtree(VENV)
            raise NotToBeHad(f"pip has not installed them: {found.stderr.strip().splitlines()[-1:]}")
    return str(python)


@contextlib.contextmanager
def redis(folder: Path, is_durable: bool) -> Iterator[None]:
    """A redis-server in a folder."""
    if shutil.which("redis-server") is None:
        raise NotToBeHad("redis-server is not on this machine")
    options = [
        "--port",
        "0",
        "--unixsocket",
        str(folder / "redis.sock"),
        "--dir",
        str(folder),
        "--save",
        "" if is_durable else "60 1000",
    ]
    if is_durable:
        options += ["--appendonly", "yes", "--appendfsync", "always"]
    server = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
    try:
        until(lambda: (folder / "redis.sock").exists(), "redis-server")
        yield
    finally:
        server.terminate()
        server.wait()


def until(question: Callable[[], object], what: str, seconds: float = READY_S) -> None:
    """Waits until a question is answered. Raises `NotToBeHad`."""
    end = time.monotonic() + seconds
    while not question():
        if time.monotonic() > end:
            raise NotToBeHad(f"{what} was not ready within {seconds:g} s")
        time.sleep(0.001)


class Subject:
    """One system, in a folder of its own."""

    def __init__(self, folder: Path, kind: str, options: dict[str, object]) -> None:
        self.folder = folder
        self.python = sys.executable if kind == "coopy" else python_of_peers()
        (folder / "effect.py").write_text(EFFECT)
        head = "import os, sys\nsys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))\n"
        (folder / "subject.py").write_text(head + textwrap.dedent(MODULES[kind]).format(**options))
        self.kind = kind
        self.workers: list[subprocess.Popen[bytes]] = []
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(folder)))}
        self.start = lambda command, **more: subprocess.Popen(
            command, cwd=folder, env=environment, start_new_session=True, **more
        )
        self.producer = self.start(
            [self.python, "subject.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL
        )

    def send(self, number: int) -> tuple[float, float]:
        """Sends tasks. Returns when it has begun, and how many seconds it took."""
        self.producer.stdin.write(f"send {number}\n")
        self.producer.stdin.flush()
        said = self.producer.stdout.readline().split()
        if len(said) < 2:
            raise NotToBeHad("who sends has ended")
        began, taken = said
        return float(began), float(taken)

    def start_workers(self) -> None:
        """Starts the workers."""
        for command in COMMANDS[self.kind]:
            command = [each.format(python=self.python, bin=BIN.absolute()) for each in command]
            self.workers.append(self.start(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    def notes(self) -> list[tuple[float, int]]:
        """Returns what tasks have noted, in order of time."""
        path = self.folder / "notes"
        data = path.read_bytes() if path.exists() else b""
        return sorted(NOTE.iter_unpack(data[: len(data) // NOTE.size * NOTE.size]))

    def done(self, number: int) -> bool:
        """Whether so many tasks have run."""
        path = self.folder / "notes"
        return path.exists() and path.stat().st_size >= number * NOTE.size

    def close(self) -> None:
        """Ends all."""
        self.producer.stdin.close()
        for each in (self.producer, *self.workers):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(each.pid, signal.SIGKILL)
            each.wait()


def measured(subject: Subject, tasks: int, idle: int) -> tuple[float, float, float, float]:
    """Returns tasks sent a second, tasks done a second, and the milliseconds of idle workers: median, and 95 of 100."""
    subject.send(10)
    _, taken = subject.send(tasks - 10)
    subject.start_workers()
    until(lambda: subject.done(tasks), "all work")
    notes = subject.notes()
    first: dict[int, float] = {}
    for moment, process in notes:
        first.setdefault(process, moment)
    begun = max(first.values())
    inside = [moment for moment, _ in notes if moment > begun]
    work = len(inside) / (notes[-1][0] - begun) if len(inside) > tasks / 10 else tasks / (notes[-1][0] - notes[0][0])
    time.sleep(0.5)
    waits = []
    for number in range(idle):
        began, _ = subject.send(1)
        until(lambda number=number: subject.done(tasks + number + 1), "a task")
        waits.append((subject.notes()[-1][0] - began) * 1000)
        time.sleep(0.005)
    waits.sort()
    return (tasks - 10) / taken, work, statistics.median(waits), waits[int(len(waits) * 0.95)]


def run(name: str, tasks: int, idle: int, is_durable: bool) -> tuple[float, float, float, float]:
    """Measures one system."""
    kind, options = SYSTEMS[name]
    with tempfile.TemporaryDirectory(prefix=".bench-data-", dir=".") as path, contextlib.ExitStack() as stack:
        folder = Path(path).absolute()
        if kind == "coopy":
            options = {**options, "durability": "sync" if is_durable else "buffered"}
        else:
            stack.enter_context(redis(folder, is_durable))
        subject = Subject(folder, kind, options)
        stack.callback(subject.close)
        return measured(subject, tasks, idle)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=TASKS)
    parser.add_argument("--idle", type=int, default=IDLE)
    parser.add_argument("--only", nargs="*", default=list(SYSTEMS))
    parser.add_argument("--durable", choices=("yes", "no", "both"), default="both")
    asked = parser.parse_args()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    print(f"{asked.tasks} tasks, {WORKERS} worker processes; load at the beginning {load:.1f}")
    for is_durable in [each for each, name in ((True, "yes"), (False, "no")) if asked.durable in (name, "both")]:
        said = "durable: sync; appendfsync always" if is_durable else "not durable: buffered; redis-server's default"
        print(f"\n{said}\n{'':22}{'send/s':>10}{'work/s':>10}{'idle ms':>10}{'95 %':>10}")
        for name in asked.only:
            try:
                send, work, median, most = run(name, asked.tasks, asked.idle, is_durable)
                print(f"{name:22}{send:>10,.0f}{work:>10,.0f}{median:>10.1f}{most:>10.1f}", flush=True)
            except NotToBeHad as error:
                print(f"{name:22} left out: {error}", flush=True)


if __name__ == "__main__":
    main()
