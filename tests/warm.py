"""Programs for tests in processes of their own that need not load anything first: each is forked from one that has loaded it.

To start Python and load the command line takes a quarter of a second of processor time; a fork takes some milliseconds. What
runs is what ``python script.py``, ``python -c`` or ``python -m module`` would run, as ``__main__``, with its own
directory, environment and ends of the streams; its hashes are those of the process it was forked from. A test of how a
process starts, of what it loads, or of its hash seed or time zone starts it itself.
"""

from __future__ import annotations

import atexit
import functools
import gc
import importlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from program import environment

HERE = Path(__file__).resolve().parent
LOADED = (
    "click.shell_completion",
    "coopy.cli.app",
    "coopy.disk.journal",
    "coopy.opening",
    "coopy.tools.contents",
    "coopy.tools.verify",
    "dill",
    "rich.console",
    "rich.table",
)
_lock = threading.Lock()


def run(here: Path, *words: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs ``python WORDS`` in a directory to its end, and returns its exit code and what it wrote."""
    with tempfile.NamedTemporaryFile("r", encoding="utf-8") as out, tempfile.NamedTemporaryFile("r", encoding="utf-8") as err:
        asked = {"cwd": str(here), "env": dict(env), "words": words, "ends": [out.name, err.name]}
        with _lock:
            # Asked for in here: of two threads, one starts it.
            server = _server(os.getpid())
            assert server.stdin is not None and server.stdout is not None
            try:
                server.stdin.write(json.dumps(asked) + "\n")
                server.stdin.flush()
                code = int(server.stdout.readline())
            except BaseException:
                # The test was given up while it waited: the next one must not wait for the same program.
                _end(server)
                _server.cache_clear()
                raise
        return subprocess.CompletedProcess(words, code, out.read(), err.read())


def script(path: Path, *arguments: object, code: int = 0) -> str:
    """Runs a script where it lies, as `program.run` does: checks its exit code, and returns what it printed."""
    done = run(path.parent, str(path), *map(str, arguments), env=environment())
    assert done.returncode == code, f"{path.name} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


@functools.cache
def _server(pid: int) -> subprocess.Popen[str]:
    """The process that has loaded it, one for each process of tests."""
    program = [sys.executable, "-c", "import warm; warm._serve()"]
    server = subprocess.Popen(
        program,
        env=environment(PYTHONPATH=os.pathsep.join((str(HERE), str(HERE.parent)))),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(_end, server)
    return server


def _end(server: subprocess.Popen[str]) -> None:
    server.kill()
    server.wait()


def _serve() -> None:
    for name in LOADED:
        with suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()
    for line in sys.stdin:
        asked = json.loads(line)
        pid = os.fork()
        if not pid:
            _end_with(_code(asked))
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
    os._exit(0)


def _code(asked: dict[str, object]) -> int:
    try:
        _become(asked)
    except SystemExit as ended:
        if isinstance(ended.code, int):
            return ended.code
        if ended.code is not None:
            print(ended.code, file=sys.stderr)
        return ended.code is not None
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def _end_with(code: int) -> None:
    """Ends as a process of Python does, except that its modules are not taken apart, which takes longer than all the rest."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(code)


def _become(asked: dict[str, object]) -> None:
    """Runs the program in this process."""
    import builtins
    import runpy

    ends, words, cwd = asked["ends"], asked["words"], str(asked["cwd"])
    assert isinstance(ends, list) and isinstance(words, list)
    for end, wanted in zip((1, 2), ends, strict=True):
        os.dup2(os.open(wanted, os.O_WRONLY | os.O_APPEND), end)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(asked["env"])  # type: ignore[call-overload]
    main = vars(sys.modules["__main__"])
    main.clear()
    main.update(__name__="__main__", __builtins__=builtins, __spec__=None, __doc__=None, __package__=None, __loader__=None)
    how, *rest = words
    if how == "-m":
        sys.argv, sys.path[0] = rest, cwd
        runpy._run_module_as_main(rest[0])
    elif how == "-c":
        sys.argv, sys.path[0] = ["-c", *rest[1:]], ""
        exec(compile(rest[0], "<string>", "exec"), main)
    else:
        sys.argv, sys.path[0] = words, os.path.dirname(os.path.abspath(how))
        main["__file__"] = how
        exec(compile(Path(how).read_text(encoding="utf-8"), how, "exec"), main)
