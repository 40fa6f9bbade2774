from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True, scope="session")
def interruptible() -> None:
    """A program that a test starts can be interrupted, even if the tests run in the background of a script, which can't."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def elsewhere_than_at_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The password of nodes that are given none is kept in a place of the tests', for programs that they start, too."""
    found = tmp_path_factory.mktemp("run")
    found.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(found))
        yield found
