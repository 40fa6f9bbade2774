"""`coopy elector` as it is called: its options, what it says, and how it ends. What it serves is tested in tests/sync."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from program import free_port
from sync.sidecars import PATIENCE_S, Sidecar

pytest.importorskip("click", reason="the extra [cli] is not installed")
pytest.importorskip("uvicorn", reason="the extra [elector] is not installed")


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[Sidecar]:
    found = Sidecar(tmp_path / "elector")
    yield found
    found.end()


@pytest.fixture
def refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Runs the command, which makes nothing, and returns its exit code and what it said."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    port = str(free_port())

    def run(*words: str) -> tuple[int, str]:
        from coopy.cli.app import app

        with pytest.raises(SystemExit) as ended:
            app(["elector", "--port", port, "--also", "0", *words], prog_name="coopy")
        assert list(here.iterdir()) == []
        assert isinstance(ended.value.code, int)
        return ended.value.code, capsys.readouterr().err

    return run


def test_the_second_port_may_be_taken_and_the_first_may_not(sidecar: Sidecar, refused: Callable[..., tuple[int, str]]) -> None:
    with socket.create_server(("127.0.0.1", sidecar.also)):
        sidecar.start()
        sidecar.until_ready()
        assert sidecar.ask("PUT", "/locks/x")[1]["spec"]["owner"] == socket.gethostname()
        code, said = refused("--port", str(sidecar.port))
        assert code == 1 and f"port {sidecar.port} of 127.0.0.1 is taken" in said and "give another --port" in said
        assert sidecar.process is not None
        sidecar.process.send_signal(signal.SIGINT)
        assert sidecar.process.wait(PATIENCE_S) == 130
    said = sidecar.log.read_text()
    assert f"warning: port {sidecar.also} of 127.0.0.1 is taken" in said and "It goes on without it." in said
    assert said.endswith("the locks are open\nended; the locks are as they were\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--node", "a:5466"), "--node and --tls are for one of a --cluster"),
        (("--tls",), "--node and --tls are for one of a --cluster"),
        (("--owner", "a/b"), "--owner 'a/b': must be characters"),
        (("--ttl", "0"), "--ttl"),
        (("--port", "0"), "--port"),
        (("--probes", "nowhere:port"), "nowhere"),
        (("--cluster", "a:5466,b:5466,c:5466", "--node", "d:5466"), "is not among the nodes"),
        (("--cluster", "a:5466,b:5466,c:5466"), "which of a:5466, b:5466, c:5466 this one is must be said"),
        (("--cluster", "a:5466,b:5466,c:5466", "--node", "a:5466"), "can be reached"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, tuple) else None,
)
def test_options_that_make_no_elector_are_refused_before_anything_is_made(
    refused: Callable[..., tuple[int, str]], words: tuple[str, ...], says: str
) -> None:
    code, said = refused(*words)
    assert code == 2 and says in said


def test_without_the_extra_it_says_what_to_install(
    refused: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import coopy.sync

    monkeypatch.delattr(coopy.sync, "elector_server", raising=False)
    monkeypatch.delitem(sys.modules, "coopy.sync.elector_server", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert refused() == (2, "coopy: an elector needs: pip install 'coopy[elector]'. Nothing was opened.\n")


def test_electors_of_one_machine_are_owners_of_their_own() -> None:
    from coopy.cli.elector import _owner

    host = socket.gethostname()
    assert _owner("", "") == host and _owner("", "10.1.2.3:5466") == host
    assert _owner("", "127.0.0.1:5468") == f"{host}:5468" and _owner("me", "127.0.0.1:5468") == "me"
