"""What replay cannot repeat is found, by file, line and replacement; nothing else is."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import linecache
import py_compile
import re
import sys
import textwrap
import time
import warnings
from pathlib import Path
from types import ModuleType

import pytest
from determinism import domains
from program import run, write

import coopy
from coopy.determinism import check, rules
from coopy.determinism.check import findings, validate
from coopy.determinism.rules import DeterminismWarning, Finding
from coopy.errors import PrevalentError, UsageError

_numbers = itertools.count()


@pytest.fixture
def domain(tmp_path):
    """Makes a class Wiki whose method create() has the body, in a module of its own."""

    def load(body: str, head: str = "") -> type:
        source = f"{head}\nclass Wiki:\n    def create(self, name='', seconds=0, **more):\n"
        return module(source + textwrap.indent(textwrap.dedent(body), " " * 8) + "\n").Wiki

    def module(source: str) -> ModuleType:
        path = tmp_path / f"domain{next(_numbers)}.py"
        path.write_text(source)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None and spec.loader is not None
        made = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(made)
        loaded.append(path.stem)
        return made

    loaded: list[str] = []
    load.module = module
    yield load
    for name in loaded:
        del sys.modules[name]


def line_of(mark: str) -> int:
    """The line of the domains that ends with the mark."""
    lines = Path(domains.__file__).read_text().splitlines()
    (line,) = (number for number, text in enumerate(lines, 1) if text.endswith(f"  # {mark}"))
    return line


def codes(cls: type) -> dict[str, str]:
    """The code of each finding, by the mark of its line."""
    lines = Path(domains.__file__).read_text().splitlines()
    return {lines[finding.line - 1].rpartition("  # ")[2]: finding.code for finding in findings(cls)}


def told(cls: type) -> list[tuple[int, str, str, str]]:
    assert {finding.file for finding in findings(cls)} <= {domains.__file__}
    return [(finding.line, finding.method, finding.what, finding.instead) for finding in findings(cls)]


CLOCK = "(from coopy import clock)"
NS = "int(self._clock.%s() * 1_000_000_000)"
ZONE = "datetime.fromtimestamp(seconds, tz), with a time zone"

# head of the module, the statement, what is found in it, what stands in for it
ERRORS = [
    ("import datetime", "datetime.datetime.now()", "datetime.now()", "self._clock.now()"),
    ("import datetime as dt", "dt.datetime.now()", "datetime.now()", "self._clock.now()"),
    (
        "import datetime as dt",
        "dt.datetime.now(dt.timezone.utc)",
        "datetime.now()",
        "self._clock.now(dt.timezone.utc)",
    ),
    ("from datetime import datetime", "datetime.utcnow()", "datetime.utcnow()", "self._clock.utcnow()"),
    ("from datetime import datetime as D", "D.now()", "datetime.now()", "self._clock.now()"),
    (
        "from datetime import datetime as D",
        "D.now().date().isoformat()",
        "datetime.now()",
        "self._clock.now()",
    ),
    ("from datetime import datetime", "datetime.today()", "datetime.today()", "self._clock.now()"),
    ("from datetime import datetime", "datetime(2020, 1, 1).now()", "datetime.now()", "self._clock.now()"),
    ("import datetime", "datetime.date.today()", "date.today()", "self._clock.today()"),
    ("from datetime import date", "date.today().year", "date.today()", "self._clock.today()"),
    ("from datetime import datetime; now = datetime.now", "now()", "datetime.now()", "self._clock.now()"),
    ("from datetime import datetime; D = datetime", "D.now()", "datetime.now()", "self._clock.now()"),
    ("", "import datetime; datetime.datetime.now()", "datetime.now()", "self._clock.now()"),
    ("", "import datetime as d; d.date.today()", "date.today()", "self._clock.today()"),
    ("", "from datetime import datetime as D; D.now()", "datetime.now()", "self._clock.now()"),
    ("import datetime", "d = datetime; D = d.datetime; D.now()", "datetime.now()", "self._clock.now()"),
    ("from datetime import datetime", "now = datetime.now; now(); now()", "datetime.now", "self._clock.now"),
    ("from datetime import datetime", "dict(make=datetime.now)", "datetime.now", "self._clock.now"),
    ("from datetime import datetime", "f'{datetime.now()}'", "datetime.now()", "self._clock.now()"),
    ("from datetime import datetime", "lambda: datetime.now()", "datetime.now()", "self._clock.now()"),
    (
        "from datetime import datetime",
        "[datetime.now() for _ in name]",
        "datetime.now()",
        "self._clock.now()",
    ),
    (
        "from datetime import datetime\nclass Later(datetime): pass",
        "Later.now()",
        "datetime.now()",
        "self._clock.now()",
    ),
    ("import time", "time.time()", "time.time()", "self._clock.time()"),
    ("import time", "global time; time.time()", "time.time()", "self._clock.time()"),
    ("import time", "for self.at in [time.time()]: pass", "time.time()", "self._clock.time()"),
    ("import time", "self.seconds += time.time()", "time.time()", "self._clock.time()"),
    ("import time", "self.at, self.by = time.time(), name", "time.time()", "self._clock.time()"),
    ("import time", "more[0](time.time())", "time.time()", "self._clock.time()"),
    ("import time", "def f(at=time.time()): pass", "time.time()", "self._clock.time()"),
    ("import time", "class C(dict, at=time.time()): pass", "time.time()", "self._clock.time()"),
    (
        "import time, functools",
        "@functools.partial(max, time.time())\ndef f(): pass",
        "time.time()",
        "self._clock.time()",
    ),
    ("from time import time", "time()", "time.time()", "self._clock.time()"),
    ("from time import *", "time()", "time.time()", "self._clock.time()"),
    ("import time", "time.time_ns()", "time.time_ns()", NS % "time"),
    ("import time", "time.monotonic()", "time.monotonic()", "self._clock.monotonic()"),
    ("import time", "time.monotonic_ns()", "time.monotonic_ns()", NS % "monotonic"),
    ("import time", "time.perf_counter()", "time.perf_counter()", "self._clock.monotonic()"),
    ("import time", "time.perf_counter_ns()", "time.perf_counter_ns()", NS % "monotonic"),
    ("import time", "time.localtime()", "time.localtime()", "self._clock.now().timetuple()"),
    ("import time", "time.localtime(None)", "time.localtime()", "self._clock.now().timetuple()"),
    ("import time", "time.gmtime()", "time.gmtime()", "self._clock.utcnow().timetuple()"),
    ("import time", "time.ctime()", "time.ctime()", "self._clock.now().ctime()"),
    ("import time", "time.asctime()", "time.asctime()", "self._clock.now().ctime()"),
    ("import time", "time.strftime('%Y')", "time.strftime()", "self._clock.now().strftime('%Y')"),
    ("import random", "random.random()", "random.random()", "self._env.random()"),
    ("import random", "random.choice(name)", "random.choice()", "self._env.choice(name)"),
    ("from random import choice as pick", "pick(name)", "random.choice()", "self._env.choice(name)"),
    ("import random", "map(random.choice, name)", "random.choice", "self._env.choice"),
    ("import random", "random.sample(name, k=2)", "random.sample()", "self._env.sample(name, k=2)"),
    ("import random", f"random.choice([{'name, ' * 20}])", "random.choice()", "self._env.choice(...)"),
    ("import random", "random.seed(1)", "random.seed()", "self._env, which the system seeds"),
    ("import random", "random.Random()", "random.Random()", "self._env"),
    ("import random", "random.Random(None).choice(name)", "random.Random()", "self._env"),
    ("import random", "rng = random.Random(); rng.choice(name)", "random.Random()", "self._env"),
    ("import random", "random.SystemRandom()", "random.SystemRandom()", "self._env"),
    (
        "import random; pick = random.Random(1).choice",
        "pick(name)",
        "pick, a generator outside the system",
        "self._env",
    ),
    ("import uuid", "uuid.uuid1()", "uuid.uuid1()", "self._env.uuid4()"),
    ("from uuid import uuid4", "str(uuid4())", "uuid.uuid4()", "self._env.uuid4()"),
    ("import os", "os.urandom(8)", "os.urandom()", "self._env.token_bytes(8)"),
    ("import secrets", "secrets.token_hex()", "secrets.token_hex()", "self._env.token_hex()"),
    ("import secrets", "secrets.token_urlsafe(9)", "secrets.token_urlsafe()", "self._env.token_urlsafe(9)"),
    ("import secrets", "secrets.token_bytes(9)", "secrets.token_bytes()", "self._env.token_bytes(9)"),
    ("import secrets", "secrets.choice(name)", "secrets.choice()", "self._env.choice(name)"),
    ("import secrets", "secrets.randbelow(9)", "secrets.randbelow()", "self._env.randrange(9)"),
    ("import secrets", "secrets.randbits(9)", "secrets.randbits()", "self._env.getrandbits(9)"),
]

# head of the module, the statement, code, what is found in it
WARNINGS = [
    ("import time", "time.sleep(1)", rules.WAITING, "time.sleep()"),
    ("import time", "time.localtime(seconds)", rules.TIME_ZONE, "time.localtime()"),
    ("import time", "map(time.localtime, more)", rules.TIME_ZONE, "time.localtime"),
    ("import time", "time.ctime(seconds)", rules.TIME_ZONE, "time.ctime()"),
    ("import time", "time.mktime(more)", rules.TIME_ZONE, "time.mktime()"),
    (
        "from datetime import datetime",
        "datetime.fromtimestamp(seconds)",
        rules.TIME_ZONE,
        "datetime.fromtimestamp()",
    ),
    ("", "open(name)", rules.FILES, "open()"),
    ("import io", "io.open(name)", rules.FILES, "open()"),
    ("import os", "os.listdir(name)", rules.FILES, "os.listdir()"),
    ("import os", "os.path.exists(name)", rules.FILES, "os.path.exists()"),
    ("from os.path import getsize", "getsize(name)", rules.FILES, "os.path.getsize()"),
    ("from pathlib import Path", "Path(name).read_text()", rules.FILES, "Path.read_text()"),
    ("from pathlib import Path", "(Path(name) / 'x').write_text('')", rules.FILES, "Path.write_text()"),
    (
        "from pathlib import Path; ROOT = Path('x')",
        "(ROOT / name).touch()",
        rules.FILES,
        "Path.touch()",
    ),
    ("import pathlib", "p = pathlib.Path(name); p.unlink()", rules.FILES, "Path.unlink()"),
    ("import pathlib", "pathlib.Path.cwd()", rules.FILES, "Path.cwd()"),
    ("import shutil", "shutil.rmtree(name)", rules.FILES, "shutil.rmtree()"),
    ("import socket", "socket.socket()", rules.NETWORK, "socket.socket()"),
    ("import socket", "socket.gethostname()", rules.NETWORK, "socket.gethostname()"),
    (
        "import urllib.request",
        "urllib.request.urlopen(name)",
        rules.NETWORK,
        "urllib.request.urlopen()",
    ),
    (
        "import http.client",
        "http.client.HTTPConnection(name)",
        rules.NETWORK,
        "http.client.HTTPConnection()",
    ),
    ("", "import requests; requests.get(name)", rules.NETWORK, "requests.get()"),
    ("", "from requests import get; get(name)", rules.NETWORK, "requests.get()"),
    ("import subprocess", "subprocess.run([name])", rules.PROCESSES, "subprocess.run()"),
    ("import subprocess", "subprocess.Popen([name])", rules.PROCESSES, "subprocess.Popen()"),
    ("import os", "os.system(name)", rules.PROCESSES, "os.system()"),
    ("import os", "os.environ['HOME']", rules.ENVIRONMENT, "os.environ"),
    ("import os", "os.environ.get(name)", rules.ENVIRONMENT, "os.environ"),
    ("from os import environ as e", "e.get(name)", rules.ENVIRONMENT, "os.environ"),
    ("import os", "os.getenv(name)", rules.ENVIRONMENT, "os.getenv()"),
    ("import os", "os.getpid()", rules.ENVIRONMENT, "os.getpid()"),
    ("", "input()", rules.CONSOLE, "input()"),
    ("", "id(name)", rules.IDENTITY, "id()"),
    ("", "hash(name)", rules.IDENTITY, "hash()"),
    ("", "sorted(name, key=hash)", rules.IDENTITY, "hash"),
    ("import threading", "threading.Thread(target=repr).start()", rules.THREADS, "threading.Thread()"),
    (
        "import concurrent.futures",
        "concurrent.futures.ThreadPoolExecutor()",
        rules.THREADS,
        "concurrent.futures.ThreadPoolExecutor()",
    ),
    ("", "yield from set(name)", rules.SET_ORDER, "set(name), a set"),
    ("", "for x in set(name).copy(): repr(x)", rules.SET_ORDER, "set(name).copy(), a set"),
    ("", "for x in {'a', 'b'}: repr(x)", rules.SET_ORDER, "{'a', 'b'}, a set"),
    ("", "list(set(name))", rules.SET_ORDER, "set(name), a set"),
    ("", "[x for x in frozenset(name)]", rules.SET_ORDER, "frozenset(name), a set"),
    ("", "for x in {y for y in name}: repr(x)", rules.SET_ORDER, "{y for y in name}, a set"),
    ("", "for i, x in enumerate(set(name)): repr(x)", rules.SET_ORDER, "set(name), a set"),
    ("", "self.more.extend(set(name))", rules.SET_ORDER, "set(name), a set"),
    ("", "self.more.extendleft(set(name))", rules.SET_ORDER, "set(name), a set"),
    ("", "self.more += set(name)", rules.SET_ORDER, "set(name), a set"),
    ("", "self.more[:] = frozenset(name)", rules.SET_ORDER, "frozenset(name), a set"),
    ("import itertools", "self.more = list(itertools.chain('a', set(name)))", rules.SET_ORDER, "set(name), a set"),
    ("from itertools import islice", "[*islice(set(name), 1)]", rules.SET_ORDER, "set(name), a set"),
    ("import sys", "self.more = sys.argv[1:]", rules.ENVIRONMENT, "sys.argv"),
    ("import sys", "sys._getframe(1).f_code", rules.ENVIRONMENT, "sys._getframe()"),
    ("import inspect", "inspect.stack()", rules.ENVIRONMENT, "inspect.stack()"),
    ("import threading", "threading.current_thread().name", rules.ENVIRONMENT, "threading.current_thread()"),
    ("from threading import get_ident", "get_ident()", rules.ENVIRONMENT, "threading.get_ident()"),
]

# head of the module, statements in which nothing is to be found
FALSE_ALARMS = [
    ("import datetime, time, random", "self._clock.now(); self._clock.time(); self._env.choice(name)"),
    ("from determinism.domains import clock", "clock.now()"),
    ("", "from determinism.domains import clock; clock.now()"),
    ("from coopy.clock import clock", "clock.now(); clock.today(); clock.time(); clock.utcnow()"),
    ("from coopy.env import env", "env.choice(name); env.uuid4(); env.random(); pick = env.choice"),
    ("", "from coopy.clock import clock; from coopy.env import env; clock.now(); env.choice(name)"),
    ("", "''.join(name); ', '.join(sorted(set(name)))"),
    ("import itertools", "sorted(itertools.chain(set(name), 'a')); set(itertools.chain(set(name)))"),
    (
        "",
        "self.more.extend(sorted(set(name))); self.more += sorted(set(name)); self.more |= set(name); self.more[0] = set(name)",
    ),
    ("", "name.now(); self.other.now(); self.random.choice(); self.datetime.now(); more['time'].time()"),
    ("", "'datetime.now()'  # datetime.now()"),
    ("import random", "random = self.rng; random.choice(name)"),
    ("import datetime", "def inner(datetime): return datetime.now()"),
    ("import datetime", "(lambda datetime: datetime.now())(name)"),
    ("import datetime", "[datetime.now() for datetime in name]"),
    ("import datetime", "{datetime.now(): random for datetime, random in name}"),
    ("import time", "for time in name: time.time()"),
    ("import time", "with self.lock as time: time.time()"),
    ("import time", "try: pass\nexcept Exception as time: time.time()"),
    ("import time", "(time := self.clock) and time.time()"),
    ("import time", "[time := x for x in name]; time.time()"),
    ("import time", "match name:\n    case [time, *random]: time.time()"),
    ("import time", "match name:\n    case {'a': 1, **time}: time.time()"),
    ("import time", "import determinism.domains as time; time.time()"),
    ("import time", "time, rest = name; time.time()"),
    ("import time", "if name: time = self.clock\nelse: import time\ntime.time()"),
    ("import time", "def outer():\n    time = self\n    def inner(): return time.time()\n    return inner"),
    ("import time", "def inner():\n    nonlocal name\n    name = time\n    return name.time()"),
    ("import time", "class time:\n    def time(): pass\ntime.time()"),
    ("import time", "def time(): pass\ntime()"),
    ("import time", "class Local:\n    time = self\n    now = time.time()"),
    ("now = None", "def f():\n    x = y\n    y = x\n    return x.now()"),
    (
        "from datetime import datetime, date, timedelta",
        "datetime(2020, 1, 1) - timedelta(1); date(2020, 1, 1)",
    ),
    ("from datetime import datetime, timezone", "datetime.fromisoformat(name); datetime.min"),
    ("from datetime import datetime, timezone", "datetime.fromtimestamp(seconds, timezone.utc)"),
    ("from datetime import datetime, timezone", "datetime.fromtimestamp(seconds, tz=timezone.utc)"),
    (
        "from datetime import datetime",
        "datetime.strptime(name, '%Y'); datetime.combine; isinstance(name, datetime)",
    ),
    ("from datetime import datetime", "at: datetime.now = name"),
    (
        "from datetime import datetime\n\nclass D(datetime):\n    @classmethod\n    def now(cls): return 1",
        "D.now()",
    ),
    (
        "import time",
        "time.gmtime(seconds); time.strftime('%Y', more); time.asctime(more); map(time.gmtime, more)",
    ),
    ("import time", "time.strptime(name); time.struct_time(name)"),
    (
        "import random",
        "random.Random(42).choice(name); random.Random(x=name); isinstance(name, random.Random)",
    ),
    ("import random", "rng = random.Random(42); rng.shuffle(name); rng.random()"),
    ("import uuid", "uuid.UUID(name); uuid.uuid5(uuid.NAMESPACE_DNS, name); uuid.uuid3"),
    ("import os", "os.path.join(name, 'x'); os.path.basename(name); os.sep; os.fspath(name)"),
    (
        "from pathlib import Path, PurePath",
        "Path(name).parent / 'x'; Path(name).name; PurePath(name).with_suffix('')",
    ),
    (
        "import secrets, socket, subprocess",
        "secrets.compare_digest(name, name); socket.AF_INET; subprocess.PIPE",
    ),
    ("import threading", "threading.Lock(); isinstance(name, threading.Thread)"),
    ("import urllib.parse", "urllib.parse.quote(name)"),
    ("", "open = self.open; open(name); self.input(); self.id(name); hash = name"),
    ("", "import not_there; not_there.now()"),
    ("", "from . import not_there; not_there.now()"),
    ("", "undefined.now()"),
]


def _one(cls: type) -> Finding:
    (finding,) = findings(cls)
    return finding


def _shown(case: tuple[str, ...]) -> str:
    return f"{case[0]}; {case[1]}".replace("\n", "; ")[:70]


@pytest.mark.parametrize("head, statement, what, instead", ERRORS, ids=map(_shown, ERRORS))
def test_what_replay_cannot_repeat_is_an_error(domain, head, statement, what, instead):
    wiki = domain(f"self.before = 1\n{statement}", head)
    line = head.count("\n") + 5
    file = sys.modules[wiki.__module__].__file__
    finding = _one(wiki)
    assert finding == Finding(finding.code, "error", file, line, finding.column, "Wiki.create", what, instead)
    assert finding.code in (rules.TIME, rules.CHANCE, rules.IDENTIFIER, rules.GENERATOR)


@pytest.mark.parametrize("head, statement, code, what", WARNINGS, ids=map(_shown, WARNINGS))
def test_what_replay_may_not_repeat_is_a_warning(domain, head, statement, code, what):
    wiki = domain(f"self.before = 1\n{statement}", head)
    file = sys.modules[wiki.__module__].__file__
    finding = _one(wiki)
    assert finding == Finding(code, "warning", file, 5, finding.column, "Wiki.create", what, finding.instead)
    assert finding.instead


def test_the_column_is_counted_in_characters_from_one(domain):
    (finding,) = findings(domain("self.names = ['ä', '€', open(name)]"))
    assert finding.column == len("        self.names = ['ä', '€', ") + 1


@pytest.mark.parametrize("head, body", FALSE_ALARMS, ids=map(_shown, FALSE_ALARMS))
def test_nothing_is_said_about_what_only_looks_like_it(domain, head, body):
    assert findings(domain(body, head)) == []


def test_a_parameter_hides_what_the_module_imports(domain):
    source = "import datetime, random\nclass Wiki:\n    def at(self, datetime, *random, **time):\n        "
    assert findings(domain.module(source + "return datetime.now(), random.choice(), time.time()").Wiki) == []


def test_a_finding_reads_as_a_sentence_with_the_place_first():
    assert [str(finding) for finding in findings(domains.UsesAlias)] == [
        f"{domains.__file__}:{line_of('alias')}:19: CPY101 UsesAlias.create calls datetime.now(); use self._clock.now()"
    ]
    assert " uses uuid.uuid4 as the default of make; use " in str(findings(domains.WithDefault)[1])
    assert " iterates over self.tags, a set; use sorted(self.tags)" in str(findings(domains.Diary)[1])


def test_helpers_of_the_module_are_followed_and_each_place_is_named_once():
    at = (line_of("stamp"), "datetime.now() in helper stamp()", f"clock.now() {CLOCK}")
    assert told(domains.UsesHelper) == [(at[0], "UsesHelper.create", *at[1:])]
    assert told(domains.UsesHelperAsValue) == [(at[0], "UsesHelperAsValue.create", *at[1:])]


def test_the_way_to_a_helper_of_a_helper_is_told():
    what = "datetime.now() in helper stamp(), called by touch()"
    assert told(domains.UsesHelperOfHelper) == [(line_of("stamp"), "UsesHelperOfHelper.create", what, f"clock.now() {CLOCK}")]


def test_a_cached_helper_is_followed():
    (finding,) = findings(domains.UsesCachedHelper)
    assert (finding.line, finding.what) == (line_of("cached_stamp"), "time.time() in helper cached_stamp()")


def test_helpers_that_call_each_other_end():
    assert findings(domains.UsesCircle) == []


def test_helpers_and_constructors_of_other_modules_of_the_user_are_followed(domain):
    found = findings(domain("stamp(); Page(name)", "from determinism.domains import Page, stamp"))
    assert [(each.file, each.line, each.what) for each in found] == [
        (domains.__file__, line_of("stamp"), "datetime.now() in helper stamp()"),
        (domains.__file__, line_of("page"), "datetime.now() in helper Page.__init__()"),
    ]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Makes a package, below any folder, of modules that are given by name, and imports its module ``domain``."""

    def make(folder: str = ".", **modules: str) -> type:
        home = tmp_path / folder / "acme"
        home.mkdir(parents=True)
        (home / "__init__.py").touch()
        for name, source in modules.items():
            path = home.joinpath(*name.split("__")).with_suffix(".py")
            path.parent.mkdir(exist_ok=True)
            path.write_text(textwrap.dedent(source))
        monkeypatch.syspath_prepend(str(tmp_path / folder))
        importlib.invalidate_caches()
        return importlib.import_module("acme.domain").Wiki

    yield make
    for name in [name for name in sys.modules if name.partition(".")[0] == "acme"]:
        del sys.modules[name]


STAMPING = "import datetime, random, uuid\ndef stamp():\n    return datetime.datetime.now()\n"


@pytest.mark.parametrize(
    "head, statement",
    [
        ("from acme.times import stamp", "stamp()"),
        ("from .times import stamp as now", "now()"),
        ("from acme import times", "times.stamp()"),
        ("import acme.times", "acme.times.stamp()"),
        ("", "from .times import stamp; stamp()"),
        ("import functools; from . import times", "sorted('ab', key=lambda _: times.stamp())"),
    ],
)
def test_helpers_of_other_modules_of_the_package_are_followed(package, head, statement):
    code = f"{head}\nfrom acme import times as _\nclass Wiki:\n    def create(self):\n        {statement}\n"
    (finding,) = findings(package(domain=code, times=STAMPING))
    assert (finding.code, finding.line, Path(finding.file).name) == ("CPY101", 3, "times.py")


def test_a_chain_of_modules_of_the_package_is_followed_to_its_end(package):
    cls = package(
        domain="from acme.pages.page import Page\nclass Wiki:\n    def create(self):\n        self.page = Page()\n",
        pages__page="from acme.keys import key\nclass Page:\n    def __init__(self):\n        self.key = key()\n",
        keys="import uuid\ndef key():\n    return uuid.uuid4()\n",
    )
    (finding,) = findings(cls)
    assert finding.what == "uuid.uuid4() in helper key(), called by Page.__init__()"


def test_a_domain_that_is_installed_is_read_with_its_package(package):
    cls = package(
        "lib/site-packages",
        domain="from .times import stamp\nclass Wiki:\n    def create(self):\n        stamp()\n",
        times=STAMPING,
    )
    assert [each.code for each in findings(cls)] == ["CPY101"]


def test_a_package_that_others_have_written_is_not_followed(domain, package):
    package("lib/site-packages", domain="class Wiki: pass\n", times=STAMPING)
    importlib.import_module("acme.times")
    assert findings(domain("stamp()", "from acme.times import stamp")) == []


def test_constructors_of_the_module_are_followed():
    assert told(domains.MakesPage) == [
        (
            line_of("page"),
            "MakesPage.create",
            "datetime.now() in helper Page.__init__()",
            f"clock.now() {CLOCK}",
        )
    ]
    (finding,) = findings(domains.MakesPageByClassMethod)
    assert (finding.line, finding.what) == (line_of("blank"), "time.time_ns() in helper Page.blank()")


def test_fields_of_a_dataclass_that_is_made_are_read():
    create = "MakesComment.create"
    assert told(domains.MakesComment) == [
        (line_of("written"), create, "datetime.now in the field Comment.written", f"clock.now {CLOCK}"),
        (
            line_of("key"),
            create,
            "uuid.uuid4() in the field Comment.key",
            "env.uuid4() (from coopy import env)",
        ),
        (
            line_of("chance"),
            create,
            "random.Random() in the field Comment.chance",
            "env (from coopy import env)",
        ),
    ]


def test_fields_of_a_domain_that_is_a_dataclass_are_read():
    assert told(domains.Diary) == [
        (
            line_of("started"),
            "Diary.__init__",
            "date.today in the field Diary.started",
            f"clock.today {CLOCK}",
        ),
        (line_of("tags"), "Diary.lines", "self.tags, a set", "sorted(self.tags)"),
    ]


def test_what_other_objects_do_is_told_if_an_action_uses_it():
    assert told(domains.OnlyAsksAboutPage) == [
        (line_of("age of page"), "OnlyAsksAboutPage.create", "time.time() in helper Page.age()", f"clock.time() {CLOCK}")
    ]
    assert findings(domains.UsesClock) == []


def test_a_generator_kept_outside_the_system_is_an_error_even_when_seeded():
    assert told(domains.UsesGenerator) == [
        (
            line_of("generator"),
            "UsesGenerator.create",
            "generator, a generator outside the system",
            "self._env",
        )
    ]
    assert told(domains.HasGenerator) == [
        (
            line_of("has generator"),
            "HasGenerator.roll",
            "self.dice, a generator outside the system",
            "self._env",
        )
    ]


def test_an_attribute_of_the_class_is_known_unless_the_object_has_its_own():
    assert told(domains.HasAlias) == [
        (line_of("has alias"), "HasAlias.create", "datetime.now()", "self._clock.now()"),
        (line_of("has static alias"), "HasAlias.create", "time.time()", "self._clock.time()"),
    ]


def test_readonly_methods_are_never_replayed_and_not_read():
    assert findings(domains.Reads) == []


def test_readonly_methods_are_read_where_an_action_uses_them():
    create = "UsesItsReads.create"
    assert told(domains.UsesItsReads) == [
        (line_of("age"), create, "time.time() in helper UsesItsReads.age()", "self._clock.time()"),
        (
            line_of("seconds"),
            create,
            "time.monotonic() in helper UsesItsReads.seconds()",
            "self._clock.monotonic()",
        ),
    ]


def test_every_kind_of_method_is_read_and_told_what_it_can_reach():
    by_self, by_import = "self._clock.time()", f"clock.time() {CLOCK}"
    expected = {
        "__init__": by_import,
        "__len__": by_self,
        "getter": by_self,
        "setter": by_self,
        "deleter": by_self,
        "cached": by_self,
        "static": by_import,
        "of_class": by_import,
        "decorated": "this._clock.time()",
        "decorated_silently": by_self,
        "assigned": by_self,
        "generated": by_self,
        "nested": by_self,
        "nested_self": by_import,
    }
    assert told(domains.EveryKindOfMethod) == [
        (
            line_of(mark),
            "EveryKindOfMethod." + ("getter" if mark in ("setter", "deleter") else mark),
            "time.time()",
            instead,
        )
        for mark, instead in expected.items()
    ]


def test_inherited_methods_are_read_and_replaced_ones_only_through_super():
    assert told(domains.Derived) == [
        (line_of("kept"), "Base.kept", "time.time()", "self._clock.time()"),
        (
            line_of("extended"),
            "Derived.extended",
            "time.time() in helper Base.extended()",
            "self._clock.time()",
        ),
    ]


def test_methods_inherited_from_another_module_are_read_with_its_helpers(domain):
    wiki = domain.module("from determinism.domains import UsesHelper\nclass Wiki(UsesHelper): pass\n").Wiki
    (finding,) = findings(wiki)
    assert (finding.file, finding.line, finding.method) == (
        domains.__file__,
        line_of("stamp"),
        "UsesHelper.create",
    )


def test_a_super_method_of_the_standard_library_is_left_alone(domain):
    source = "class Wiki(dict):\n    def pop(self):\n        super().pop()\n        super().not_there()\n"
    assert findings(domain.module(source).Wiki) == []


def test_a_name_in_a_class_body_is_not_seen_by_its_methods(domain):
    wiki = domain("class Local:\n    time = self\n    def at(self): return time.time()", "import time")
    assert [finding.what for finding in findings(wiki)] == ["time.time()"]


def test_fields_of_an_attrs_class_are_read(domain):
    pytest.importorskip("attr")
    source = (
        "import attr, datetime\n@attr.s(auto_attribs=True)\nclass Wiki:\n"
        "    at: datetime.datetime = attr.ib(factory=datetime.datetime.now)\n"
    )
    (finding,) = findings(domain.module(source).Wiki)
    assert (finding.line, finding.what) == (4, "datetime.now in the field Wiki.at")


def test_methods_of_builtin_and_standard_bases_are_not_read():
    (finding,) = findings(domains.DictDomain)
    assert finding.line == line_of("dict domain")


def test_defaults_of_parameters_are_made_anew_by_each_start():
    line, method = line_of("default"), "WithDefault.create"
    assert told(domains.WithDefault) == [
        (
            line,
            method,
            "datetime.now() as the default of at",
            f"at=None, and in the body clock.now() {CLOCK}",
        ),
        (
            line,
            method,
            "uuid.uuid4 as the default of make",
            "env.uuid4 (from coopy import env)",
        ),
    ]


def test_what_is_made_while_the_program_starts_has_a_code_of_its_own():
    assert codes(domains.MadeAtStart) == {
        "field made at start": "CPY104",
        "field made by helper": "CPY103",
        "parameter made at start": "CPY104",
        "parameter made by helper": "CPY104",
        "parameter made later": "CPY101",
        "parameter called later": "CPY103",
        "parameter of files": "CPY201",
        "attribute made at start": "CPY104",
        "attribute of another": "CPY104",
        "early": "CPY104",
        "later": "CPY103",
    }


@pytest.mark.parametrize(
    "mark, what, instead",
    [
        ("field made at start", "in the field MadeAtStart.at", "default_factory=lambda: clock.now()"),
        ("attribute made at start", "in the attribute HasStart.since", "self.since = clock.time()"),
        ("parameter made at start", "as the default of a", "a=None, and in the body clock.now()"),
        ("parameter made later", "as the default of c", "clock.now()"),
    ],
)
def test_what_stands_in_for_it_is_written_as_it_has_to_be_made(mark, what, instead):
    (finding,) = [finding for finding in findings(domains.MadeAtStart) if finding.line == line_of(mark)]
    assert finding.what.endswith(what)
    assert finding.instead.startswith(f"{instead} (from coopy import clock)")


def test_an_attribute_of_the_class_is_read_only_where_a_method_uses_it():
    assert codes(domains.HasUnusedStart) == {}


def test_a_helper_that_runs_both_early_and_in_an_action_is_found_for_both():
    found = [finding.code for finding in findings(domains.RunsBoth)]
    assert found == ["CPY101", "CPY104"]


def test_the_order_of_a_set_is_found_where_it_shows_and_only_there():
    assert [(finding.line, finding.what, finding.instead) for finding in findings(domains.Tags)] == [
        (line_of("for"), "self.tags, a set", "sorted(self.tags)"),
        (line_of("list comprehension"), "self.tags, a set", "sorted(self.tags)"),
        (line_of("dict comprehension"), "self.tags, a set", "sorted(self.tags)"),
        (line_of("join"), "self.tags, a set", "sorted(self.tags)"),
        (line_of("iter"), "self.tags, a set", "sorted(self.tags)"),
        (line_of("pop"), "self.tags.pop()", "min(self.tags), and remove that one"),
        (line_of("star"), "self.tags, a set", "sorted(self.tags)"),
        (line_of("union"), "self.tags | set(names), a set", "sorted(self.tags | set(names))"),
        (line_of("local"), "unique, a set", "sorted(unique)"),
    ]


def test_id_and_hash_are_at_home_in_hash_and_repr():
    assert findings(domains.TellsIdentity) == []


def test_a_local_class_is_read_and_sees_what_is_around_it():
    import datetime as moments

    class Wiki:
        def create(self) -> object:
            return moments.datetime.now()

    assert [(finding.method, finding.what) for finding in findings(Wiki)] == [("Wiki.create", "datetime.now()")]


def test_a_variable_that_is_not_assigned_yet_says_nothing():
    class Wiki:
        def create(self) -> object:
            return later.now()

    assert findings(Wiki) == []
    later = Wiki()


def test_an_attribute_that_answers_every_question_with_an_error_is_left_alone():
    class Placeholder:
        __slots__ = ()

        def __getattr__(self, name: str) -> object:
            raise RuntimeError(name)

    class Wiki:
        held = Placeholder()

        def create(self) -> object:
            return self.held, time.time()

    assert [finding.what for finding in findings(Wiki)] == ["time.time()"]


def test_a_class_without_source_has_no_findings():
    space: dict[str, type] = {}
    exec("import time\nclass Wiki:\n    def create(self): return time.time()\n", space)
    assert findings(space["Wiki"]) == []
    assert findings(dict) == []


def test_of_a_file_that_does_not_parse_the_byte_code_is_read(domain):
    wiki = domain("import time; time.time()")
    path = Path(sys.modules[wiki.__module__].__file__)
    path.write_text("class Wiki(:\n" * 9)
    assert [each.code for each in findings(wiki)] == ["CPY211", "CPY101"]


def test_of_two_functions_that_cannot_be_told_apart_the_byte_code_is_read(domain):
    source = "import time\nclass Wiki:\n    a, b = (lambda self: time.time()), (lambda self: 1)\n"
    assert [each.what for each in findings(domain.module(source).Wiki)] == ["time.time()"]


# -- state outside the system, output, and what is called after the action

# head of the module, what the class has, the body of a method, the code
KEPT_OUTSIDE = [
    ("import itertools; ids = itertools.count()", "", "self.id = next(ids)", "CPY106"),
    ("import itertools", "ids = itertools.count(1)", "self.id = next(self.ids)", "CPY106"),
    ("import itertools", "ids = itertools.count(1)", "self.id = next(Wiki.ids)", "CPY106"),
    ("import itertools", "ids = itertools.count(1)", "self.id = next(type(self).ids)", "CPY106"),
    ("import itertools", "ids = itertools.count(1)", "self.id = self.ids.__next__()", "CPY106"),
    ("import itertools; new_id = itertools.count().__next__", "", "self.id = new_id()", "CPY106"),
    ("import functools, itertools; new_id = functools.partial(next, itertools.count())", "", "self.id = new_id()", "CPY106"),
    ("import itertools; turns = itertools.cycle('ab')", "", "self.turn = next(turns)", "CPY106"),
    ("turns = iter('abc')", "", "self.turn = next(turns, None)", "CPY106"),
    ("names = (name for name in 'abc')", "", "for name in names: self.name = name", "CPY106"),
    ("def ids():\n    yield 1\nnew = ids()", "", "self.id = next(new)", "CPY106"),
    ("numbers = enumerate('ab')", "", "self.n = list(numbers)", "CPY106"),
    ("import itertools\ndef new(ids=itertools.count()): return next(ids)", "", "self.id = new()", "CPY106"),
    ("count = 0", "", "global count; count += 1", "CPY212"),
    ("count = 0\ndef new():\n    global count\n    count = count + 1\n    return count", "", "self.id = new()", "CPY212"),
    ("last = None", "", "global last\nfor last in name: pass", "CPY212"),
    ("", "count = 0", "Wiki.count += 1", "CPY212"),
    ("", "count = 0", "type(self).count += 1", "CPY212"),
    ("", "count = 0", "self.__class__.count = 5", "CPY212"),
    ("class Ids: last = 0", "", "Ids.last += 1; self.id = Ids.last", "CPY212"),
    ("class Ids: last = 0\nids = Ids()", "", "ids.last += 1", "CPY212"),
    ("import sys", "", "sys.last_id = 4", "CPY212"),
    ("def new(): pass\nnew.calls = 0", "", "new.calls += 1", "CPY212"),
    ("counts = {'ids': 0}", "", "counts['ids'] += 1", "CPY212"),
    ("import collections; counts = collections.Counter()", "", "counts[name] += 1", "CPY212"),
    ("made = []", "", "made.append(name); self.id = len(made)", "CPY212"),
    ("import collections; made = collections.deque()", "", "made.appendleft(name)", "CPY212"),
    ("", "pages = []", "self.pages.append(name)", "CPY212"),
    ("", "pages = {}", "self.pages[name] = 1", "CPY212"),
    ("", "pages = {}", "del self.pages[name]", "CPY212"),
    ("", "tags = set()", "self.tags.add(name)", "CPY212"),
    ("", "tags = set()", "Wiki.tags.discard(name)", "CPY212"),
    ("import contextvars; user = contextvars.ContextVar('user')", "", "self.by = user.get()", "CPY212"),
]


@pytest.mark.parametrize("head, member, body, code", KEPT_OUTSIDE, ids=map(_shown, KEPT_OUTSIDE))
def test_what_goes_on_outside_the_system_is_told(domain, sourceless, head, member, body, code):
    source = f"{head}\nclass Wiki:\n    {member or 'pass'}\n    def create(self, name=''):\n{textwrap.indent(body, ' ' * 8)}\n"
    assert code in [each.code for each in findings(domain.module(source).Wiki)]
    assert code in [each.code for each in findings(sourceless(source))]


STATE_AND_CACHES = [
    ("", "count = 0", "self.count += 1"),
    ("", "pages = {}", "self.pages = dict(self.pages); self.pages[name] = 1"),
    ("", "pages = ()", "self.pages += (name,)"),
    ("cache = {}", "", "if name not in cache: cache[name] = len(name)\nself.size = cache[name]"),
    ("import itertools", "", "for number, each in zip(itertools.count(), name): self.last = number"),
    ("import itertools", "", "ids = itertools.count(); self.id = next(ids)"),
    ("import itertools", "", "self.ids = itertools.count(); self.id = next(self.ids)"),
    ("count = 0", "", "count = 1; count += 1"),
    ("NAMES = ['a', 'b']", "", "self.name = NAMES[0]; NAMES.index('a')"),
    ("", "", "made = []; made.append(name); self.made = made"),
    ("", "def __init_subclass__(cls): cls.registry = []", "pass"),
]


@pytest.mark.parametrize("head, member, body", STATE_AND_CACHES, ids=map(_shown, STATE_AND_CACHES))
def test_nothing_is_said_of_the_state_and_of_what_may_be_a_cache(domain, head, member, body):
    source = f"{head}\nclass Wiki:\n    {member or 'pass'}\n    def create(self, name=''):\n{textwrap.indent(body, ' ' * 8)}\n"
    assert findings(domain.module(source).Wiki) == []


# The libraries are not there: a name is enough, as nothing of them is loaded.
LIBRARIES = [
    "import numpy as np; np.random.rand(3)",
    "import numpy; numpy.random.shuffle(name)",
    "import numpy as np; np.random.default_rng().integers(9)",
    "from numpy.random import default_rng; default_rng()",
    "from numpy import random; random.choice(name)",
    "import torch; torch.randn(2)",
    "import uuid_utils; uuid_utils.uuid7()",
    "from uuid6 import uuid7; uuid7()",
    "from bson import ObjectId; ObjectId()",
    "import pendulum; pendulum.now()",
    "import arrow; arrow.utcnow()",
    "import pandas as pd; pd.Timestamp.now()",
    "from django.utils import timezone; timezone.now()",
    "from ulid import ULID; ULID()",
    "from faker import Faker; Faker().name()",
]


@pytest.mark.parametrize("body", LIBRARIES)
def test_time_chance_and_identifiers_of_other_libraries_are_errors(domain, sourceless, body):
    for cls in (domain(body), sourceless(_in_a_method("", body))):
        (finding,) = [each for each in findings(cls) if each.code != "CPY211"]
        assert (finding.code, finding.severity) == ("CPY107", "error")
        with pytest.raises(PrevalentError, match="CPY107"):
            validate(cls, "warn", deterministic=True)  # They do not ask the standard library.


@pytest.mark.parametrize(
    "body",
    [
        "import numpy as np; np.random.default_rng(42)",
        "import numpy as np; np.random.RandomState(seed=seconds)",
        "import numpy as np; np.array([1]); np.random",
        "from bson import ObjectId; ObjectId(name); isinstance(name, ObjectId)",
    ],
)
def test_what_other_libraries_make_of_an_argument_is_repeatable(domain, body):
    assert findings(domain(body)) == []


def test_a_generator_of_numpy_outside_the_system_is_found(domain, monkeypatch):
    numpy, chance = ModuleType("numpy"), ModuleType("numpy.random")
    chance.Generator = type("Generator", (), {"integers": lambda self: 1, "__module__": "numpy.random._generator"})
    numpy.random = chance
    monkeypatch.setitem(sys.modules, "numpy", numpy)
    monkeypatch.setitem(sys.modules, "numpy.random", chance)
    wiki = domain("self.n = rng.integers()", "import numpy as np; rng = np.random.Generator()")
    assert [(each.code, each.what) for each in findings(wiki)] == [("CPY105", "rng, a generator outside the system")]


SAID = [
    ("", "print(name)"),
    ("", "print(name, file=self.file)"),
    ("", "[print(each) for each in name]"),
    ("import sys", "sys.stdout.write(name)"),
    ("import sys", "sys.stderr.writelines(name)"),
    ("import logging", "logging.info('created %s', name)"),
    ("import logging", "logging.getLogger(__name__).warning(name)"),
    ("import logging; log = logging.getLogger('wiki')", "log.exception(name)"),
    ("import logging; log = logging.LoggerAdapter(logging.getLogger('wiki'), {})", "log.info(name)"),
    ("from logging import getLogger", "log = getLogger(); log.debug(name)"),
    ("class BoundLogger:\n    def info(self, text): pass\nlog = BoundLogger()", "log.info(name)"),
    ("import warnings", "warnings.warn('old')"),
    ("from pprint import pprint", "pprint(name)"),
    ("import traceback", "traceback.print_exc()"),
    ("def tell(name): print(name)", "tell(name)"),
]


@pytest.mark.parametrize("head, body", SAID, ids=map(_shown, SAID))
def test_what_each_start_says_again_is_a_warning(domain, sourceless, head, body):
    for cls in (domain(body, head), sourceless(_in_a_method(head, body))):
        (finding,) = [each for each in findings(cls) if each.code != "CPY211"]
        assert (finding.code, finding.severity) == ("CPY213", "warning")
        assert "coopy.LiveOnly" in (finding.instead or "") and hasattr(coopy, "LiveOnly"), "the name by which it is had"


def test_a_logger_that_the_class_has_says_things_again(domain):
    source = "import logging\nclass Wiki:\n    log = logging.getLogger('x')\n    def create(self): self.log.info('created')\n"
    assert [each.code for each in findings(domain.module(source).Wiki)] == ["CPY213"]


@pytest.mark.parametrize("place", ["log", "log.handlers[0]", "logging.getLogger('quiet').handlers[0]"])
def test_a_logger_that_is_live_only_is_no_finding(domain, place):
    parts = (
        "import logging; from coopy.ground.log import LiveOnly\nlog = logging.getLogger('quiet.inner'); log.propagate = True\n"
    )
    parts += "for each in (log, log.parent): each.handlers = [logging.NullHandler()]; each.filters = []\nlog.parent.propagate = False\n"
    wanted = [place] if place == "log" else ["log.handlers[0]", "log.parent.handlers[0]"]
    head = parts + "".join(f"{each}.addFilter(LiveOnly())\n" for each in wanted)
    assert findings(domain("log.info(name)", head)) == []
    assert [each.code for each in findings(domain("log.info(name)", parts))] == ["CPY213"]


@pytest.mark.parametrize(
    "body",
    [
        "if not replaying(): print(name)",
        "if replaying():\n    return\nprint(name)",
        "if name and not replaying():\n    log.info(name)",
        "print(name) if not replaying() else None",
        "replaying() or print(name)",
        "live = not replaying()\nif live: print(name)",
    ],
)
def test_a_function_that_asks_whether_it_is_replayed_may_say_things(domain, sourceless, body):
    head = "import logging; from coopy import replaying; log = logging.getLogger('wiki')"
    assert findings(domain(body, head)) == []
    assert [each.code for each in findings(sourceless(_in_a_method(head, body)))] == ["CPY211"]


LATER = "import functools, smtplib, time\nfrom coopy import on_commit\ndef send(to): time.sleep(time.time())\n"


@pytest.mark.parametrize(
    "body",
    [
        "on_commit(send, name)",
        "coopy.on_commit(send, name)",
        "on_commit(functools.partial(send, name))",
        "on_commit(send if name else time.sleep, 3)",
        "mail = send; on_commit(mail, name)",
        "from coopy import on_commit as later; later(print, name)",
        "on_commit(smtplib.SMTP, name)",
        "on_commit(time.sleep, 1)",
        "on_commit(open, name)",
        "on_commit(self.send, name)",
        "def later(): time.sleep(time.time())\non_commit(later)",
        "on_commit(lambda: time.sleep(time.time()))",
    ],
)
def test_a_function_that_is_passed_to_on_commit_is_not_the_actions(domain, sourceless, body):
    head = LATER + "import coopy\n"
    assert findings(domain(body, head)) == []
    if " if " not in body:  # Byte code does not say that either is passed.
        assert [each.code for each in findings(sourceless(_in_a_method(head, body)))] == ["CPY211"]


@pytest.mark.parametrize(
    "body",
    [
        "on_commit(send, time.time())",
        "on_commit(functools.partial(send, time.time()))",
        "on_commit(send, at=time.time())",
        "on_commit(send if time.time() else None)",
        "send(name); on_commit(send, name)",
        "mail = send; mail(name); on_commit(mail, name)",
        "def now(): return time.time()\nnow(); on_commit(now)",
    ],
)
def test_what_on_commit_is_given_besides_is_the_actions(domain, body):
    head = LATER
    assert "CPY101" in [each.code for each in findings(domain(body, head))]


# -- reads that assign

READING = """
import collections, functools
from coopy import readonly
class Wiki:
    def __init__(self):
        self.pages = {}
        self.log = []
        self.seen = collections.Counter()
        self.hits = 0
    def create(self, name):
        self.pages[name] = name
    def _touch(self, name):
        self.hits += 1
    def _remember(self):
        self._touch("")
%s
"""
READS_THAT_ASSIGN = [
    "@readonly\ndef read(self): self.hits += 1",
    "@readonly\ndef read(self): self.hits = self.hits + 1; return 1",
    "@readonly\ndef read(self): self.last, other = 1, 2",
    "@readonly\ndef read(self): del self.hits",
    "@readonly\ndef read(self): self.pages['a'] = 1",
    "@readonly\ndef read(self): self.pages['a'].views = 1",
    "@readonly\ndef read(self):\n    page = self.pages['a']\n    page.views = 1",
    "@readonly\ndef read(self):\n    page = self.pages.get('a')\n    page.views += 1",
    "@readonly\ndef read(self):\n    for page in self.pages.values():\n        page.seen = True",
    "@readonly\ndef read(self):\n    for name, page in sorted(self.pages.items()):\n        page.seen = True",
    "@readonly\ndef read(self): self.log.append(1)",
    "@readonly\ndef read(self):\n    log = self.log\n    log.sort()",
    "@readonly\ndef read(self): return self.pages.setdefault('a', [])",
    "@readonly\ndef read(self): return self.pages.pop('a')",
    "@readonly\ndef read(self): self.seen.update('a')",
    "@readonly\ndef read(self): setattr(self, 'hits', 1)",
    "@readonly\ndef read(self): object.__setattr__(self, 'hits', 1)",
    "@readonly\ndef read(self): self.__dict__['hits'] = 1",
    "@readonly\ndef read(self): self._touch('a')",
    "@readonly\ndef read(self): self._remember()",
    "@readonly\ndef read(self): self.create('a')",
    "@property\ndef read(self):\n    if self._all is None:\n        self._all = list(self.pages)\n    return self._all",
    "read = property(lambda self: self.log.append(1))",
    "@functools.cached_property\ndef read(self): return len(self.pages)",
    "def __len__(self):\n    self.hits += 1\n    return 1",
    "def __getitem__(self, name):\n    self.seen[name] += 1\n    return self.pages[name]",
    "def __contains__(self, name):\n    self.last = name\n    return True",
    "def __iter__(self):\n    self.hits += 1\n    return iter(self.pages)",
    "def __str__(self):\n    self.shown = True\n    return ''",
]


@pytest.mark.parametrize("member", READS_THAT_ASSIGN)
def test_a_read_that_assigns_is_a_warning_if_it_is_marked_and_a_note_if_it_is_recorded(domain, member):
    found = findings(domain.module(READING % textwrap.indent(member, "    ")).Wiki)
    (finding,) = [each for each in found if each.code != "CPY215"]
    assert (finding.code, finding.severity) == ("CPY214", "warning" if "@readonly" in member else "note")
    assert ("so is recorded" in finding.message) == ("@readonly" not in member)


# What a loop goes over is not known there.
@pytest.mark.parametrize("member", [each for each in READS_THAT_ASSIGN if "for " not in each])
def test_a_read_that_assigns_is_seen_in_byte_code(sourceless, member):
    found = findings(sourceless(READING % textwrap.indent(member, "    ")))
    assert "CPY214" in [each.code for each in found]


READS = [
    "@readonly\ndef read(self): return self.pages['a']",
    "@readonly\ndef read(self):\n    found = {}\n    found['a'] = self.hits\n    return found",
    "@readonly\ndef read(self):\n    log = list(self.log)\n    log.append(1)\n    log[0] = 2\n    return log",
    "@readonly\ndef read(self):\n    log = self.log[1:]\n    log[0] = 2\n    return log",
    "@readonly\ndef read(self):\n    pages = self.pages.copy()\n    pages['a'] = 1\n    return pages",
    "@readonly\ndef read(self):\n    hits = self.hits\n    hits += 1\n    return hits",
    "@readonly\ndef read(self, name):\n    name.x = 1\n    return [page for page in self.pages]",
    "@readonly\ndef read(self):\n    pages = self.pages\n    pages = {}\n    pages['a'] = 1\n    return pages",
    "@readonly\ndef read(self): return self.words.pop('a', 1)",
    "@readonly\ndef read(self):\n    both = self.log + [1]\n    both.append(2)\n    return both",
    "@property\ndef read(self): return self.hits\n@read.setter\ndef read(self, hits): self.hits = hits",
    "@readonly\ndef read(self): return self.get()\n@readonly\ndef get(self): return 1",
    "def __getitem__(self, name):\n    self.hits += 1\ndef __missing__(self, name): return 1",
    "def __setitem__(self, name, page): self.pages[name] = page",
    "def __iadd__(self, name):\n    self.log.append(name)\n    return self",
]


@pytest.mark.parametrize("member", READS)
def test_nothing_is_said_of_a_read_that_changes_what_it_has_made(domain, member):
    assert findings(domain.module(READING % textwrap.indent(member, "    ")).Wiki) == []


def test_a_read_that_assigns_is_named_with_the_helper_that_does_it(domain):
    wiki = domain.module(READING % "    @readonly\n    def read(self): self._remember()").Wiki
    (finding,) = findings(wiki)
    assert finding.message == "Wiki.read changes self.hits in Wiki._touch(), called by Wiki._remember()"


# -- classes whose source is not at hand


@pytest.fixture
def sourceless():
    """Makes the class Wiki of a module whose source is not at hand, as exec and a prompt do."""

    def load(source: str, file: str = "<stdin>") -> type:
        made = sys.modules["sourceless"] = ModuleType("sourceless")
        exec(compile(source, file, "exec"), made.__dict__)
        return made.Wiki

    yield load
    sys.modules.pop("sourceless", None)


def _in_a_method(head: str, body: str) -> str:
    return f"{head}\nclass Wiki:\n    def create(self, name='', seconds=0, **more):\n" + textwrap.indent(body, " " * 8) + "\n"


# A set comprehension that a loop goes over is a function called in between; it is not seen.
BYTE_CODE = [row[:2] for row in [*ERRORS, *WARNINGS, *FALSE_ALARMS] if "in {y for y" not in row[1]]


@pytest.mark.parametrize("head, body", BYTE_CODE, ids=map(_shown, BYTE_CODE))
def test_the_byte_code_gives_the_findings_of_the_source(domain, sourceless, head, body):
    def places(cls: type) -> set[tuple[object, ...]]:
        # Python 3.10 does not know the columns of byte code.
        found = [each for each in findings(cls) if each.code != "CPY211"]
        return {(each.line, each.code, each.what) for each in found}

    assert places(sourceless(_in_a_method(head, body))) == places(domain(body, head))


@pytest.mark.parametrize("file", ["<stdin>", "<string>", "<frozen wiki>", "/not/there/wiki.py", "<ipython-input-1-0>"])
def test_a_class_whose_source_is_not_at_hand_is_told_so_once(sourceless, file):
    wiki = sourceless("class Wiki:\n    def add(self): pass\n    def put(self): pass\n", file)
    (finding,) = findings(wiki)
    assert str(finding) == (
        f"{file}:2:1: CPY211 Wiki.add is code whose source is not at hand: its byte code was read, without comments and "
        f"what the class holds; use a module with its source"
    )
    with pytest.warns(DeterminismWarning, match="CPY211"):
        validate(wiki, "warn")
    with pytest.raises(PrevalentError, match="CPY211"):
        validate(wiki, "strict")


def test_a_class_that_was_compiled_and_left_without_its_source_is_read(tmp_path, monkeypatch):
    source = tmp_path / "compiled_wiki.py"
    source.write_text("import uuid\nclass Wiki:\n    def add(self):\n        self.key = uuid.uuid4()\n")
    py_compile.compile(str(source), str(tmp_path / "compiled_wiki.pyc"))
    source.unlink()
    monkeypatch.syspath_prepend(str(tmp_path))
    wiki = importlib.import_module("compiled_wiki").Wiki
    monkeypatch.delitem(sys.modules, "compiled_wiki")
    assert [each.code for each in findings(wiki)] == ["CPY211", "CPY103"]


def test_a_file_that_is_shorter_since_is_no_matter(domain):
    wiki = domain("import time\n" + "\n" * 20 + "time.time()")
    Path(sys.modules[wiki.__module__].__file__).write_text("short = 1\n")
    assert [(each.code, each.line) for each in findings(wiki)] == [("CPY101", 25)]


def test_a_source_of_another_program_under_the_same_name_is_no_matter(domain, sourceless, monkeypatch):
    # As Python 3.13 has one for `python -c`.
    lines = ["import execnet\n", "run()\n"]
    monkeypatch.setitem(linecache.cache, "<string>", (20, None, lines, "<string>"))
    source = "import dataclasses, time\n@dataclasses.dataclass\nclass Wiki:\n    name: str = ''\n    def now(self): return time.time()\n"
    assert [each.code for each in findings(domain.module(source).Wiki)] == ["CPY101"]
    assert sorted(each.code for each in findings(sourceless(source, "<string>"))) == ["CPY101", "CPY211"]


@pytest.mark.parametrize(
    "member",
    [
        "    @property\n    def now(self): return time.time()",
        "    @staticmethod\n    def now(): return time.time()",
        "    @classmethod\n    def now(cls): return time.time()",
        "    now = lambda self: time.time()",
        "    def now(self, at=time.time): return at()",
        "    def now(self, *, at=time.time): return at()",
        "    def now(self): return helper()",
        "    def now(self): return [each for each in [0] if time.time() > each]",
        "    def now(self):\n        def inner():\n            return time.time()\n        return inner()",
        "    def now(self):\n        try:\n            raise KeyError\n        except KeyError:\n            return time.time()",
        "    def now(self):\n        with self.lock:\n            return self.x if self.y else time.time()",
    ],
)
def test_every_kind_of_method_is_read_without_its_source(sourceless, member):
    wiki = sourceless(f"import time\ndef helper(): return time.time()\nclass Wiki:\n{member}\n")
    assert [each.code for each in findings(wiki)].count("CPY101") == 1


@pytest.mark.parametrize(
    "field",
    [
        "@dataclasses.dataclass\nclass Wiki:\n    at: object = dataclasses.field(default_factory=time.time)",
        "@dataclasses.dataclass(slots=True)\nclass Wiki:\n    at: object = dataclasses.field(default_factory=time.time)",
        "@attrs.define\nclass Wiki:\n    at: object = attrs.field(factory=time.time)",
    ],
)
def test_the_fields_of_a_class_without_source_are_judged_by_their_values(sourceless, field):
    wiki = sourceless(f"import attrs, dataclasses, time\n{field}\n    def put(self): pass\n")
    assert "CPY101" in [each.code for each in findings(wiki)]


def test_a_class_of_compiled_code_is_told_not_to_have_been_read():
    (finding,) = findings(pytest.importorskip("pydantic_core").SchemaValidator)
    assert (finding.code, finding.severity) == ("CPY211", "warning")
    assert finding.message.endswith("is compiled code, which was not read")


def test_methods_that_a_decorator_has_written_for_a_class_with_source_are_not_told(domain):
    source = "import dataclasses\n@dataclasses.dataclass\nclass Wiki:\n    name: str = ''\n    def put(self): pass\n"
    assert findings(domain.module(source).Wiki) == []


def test_findings_are_ordered_by_file_and_line_however_often_they_are_asked_for():
    found = findings(domains.EveryKindOfMethod)
    assert found == sorted(found, key=lambda finding: (finding.file, finding.line))
    assert found == findings(domains.EveryKindOfMethod)


# -- comments that ignore findings

# what is between the brackets, and whether it silences time.time()
BRACKETS = [
    ("", True),
    ("[CPY101]", True),
    ("[CPY101,CPY206]", True),
    ("[ CPY206 , CPY101 ]", True),
    (" [CPY101]  made once", True),
    ("[CPY102]", False),
    ("[]", False),
    ("[cpy101]", False),
    ("[CPY102", False),
    ("d", False),
    ("-not", False),
]


@pytest.mark.parametrize("rest, silenced", BRACKETS, ids=str)
def test_a_comment_silences_the_codes_it_names_or_all(domain, rest, silenced):
    wiki = domain(f"self.at = time.time()  # noqa  # coopy: ignore{rest}", "import time")
    assert [finding.code for finding in findings(wiki)] == ([] if silenced else ["CPY101"])


@pytest.mark.parametrize("before", ["  #coopy:ignore", "  #  coopy:  ignore"])
def test_spaces_in_the_comment_do_not_matter(domain, before):
    assert findings(domain(f"self.at = time.time(){before}", "import time")) == []


# a body with time.time() in it, and whether the comment is where it silences that
PLACES = [
    ("self.at = [  # coopy: ignore\n    name,\n    time.time(),\n]", True),
    ("self.at = [\n    name,\n    time.time(),  # coopy: ignore\n]", True),
    ("self.at = [\n    name,  # coopy: ignore\n    time.time(),\n]", False),
    ("# coopy: ignore\nself.at = time.time()", False),
    ("self.at = time.time(), '# coopy: ignore'", False),
    ("if name:  # coopy: ignore\n    self.at = time.time()", False),
    ("if (  # coopy: ignore\n    time.time()\n):\n    pass", True),
    ("@repr  # coopy: ignore\n@functools.partial(\n    max, time.time()\n)\ndef f(): pass", False),
    ("@functools.partial(  # coopy: ignore\n    max, time.time()\n)\ndef f(): pass", True),
    ("def f(  # coopy: ignore\n    at=time.time(),\n): pass", True),
]


@pytest.mark.parametrize("body, silenced", PLACES)
def test_it_silences_its_line_and_the_statement_that_begins_there(domain, body, silenced):
    assert [finding.code for finding in findings(domain(body, "import functools, time"))] == ([] if silenced else ["CPY101"])


def test_it_silences_defaults_fields_attributes_and_helpers_where_they_stand():
    assert findings(domains.Ignores) == []


def test_what_is_ignored_is_neither_refused_nor_warned_about(domain):
    wiki = domain("open(name), time.time()  # coopy: ignore[CPY101, CPY201]", "import time")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        validate(wiki, "strict")


COMMENTS = [
    ("time.time()", "[CPY999]", ["CPY101", "CPY301 names CPY999, which is no code"]),
    ("time.time()", "[CPY101, C1]", ["CPY301 names C1, which is no code"]),
    ("time.time()", "[]", ["CPY101", "CPY301 names no code between its brackets"]),
    ("time.time()", "[CPY301, CPY101]", ["CPY301 names CPY301, which is no code"]),
    ("time.time()", "[CPY101, CPY206]", ["CPY302 ignores CPY206, which is not found here: remove it"]),
    ("len(name)", "[CPY101]", ["CPY302 ignores CPY101, which is not found here: remove it"]),
    ("len(name)", "", ["CPY302 ignores what is not found here: remove it"]),
    ("time.time()", "", []),
]


@pytest.mark.parametrize("statement, rest, said", COMMENTS)
def test_a_comment_that_names_no_code_or_silences_nothing_is_found_by_check_alone(domain, statement, rest, said):
    wiki = domain(f"{statement}  # coopy: ignore{rest}", "import time")
    found = check.check([wiki])
    of_comments = [each for each in found if each.code in rules.COMMENT_CODES]
    told = [f"{each.code} {each.message}".replace("the comment ", "") if each in of_comments else each.code for each in found]
    assert told == said
    assert {each.column for each in of_comments} <= {len(f"        {statement}  ") + 1}
    assert {(each.severity, each.line) for each in of_comments} <= {("warning", 4)}
    assert not {each.code for each in findings(wiki)} & set(rules.COMMENT_CODES)


SYSTEMS = """
import coopy
from coopy import control, init_system, objects, on_commit, replaying
from coopy.messaging import Bus, EventSource, KeyValueClient, TaskQueue
from coopy.sync import Locks


class Other:
    def add(self, number): pass


other = init_system(Other, {folder!r} + "/other", validation="off")
controls = control(other)
queue = TaskQueue({folder!r} + "/tasks")
rooms = objects(Other, {folder!r} + "/rooms")


@queue.task
def mail(to): pass


def helper(name):
    mail.send(name)
"""


@pytest.mark.parametrize(
    "statement, what",
    [
        ("other.add(1)", "other.add()"),
        ("mail.send(name)", "mail.send()"),
        ("return mail.options(delay=1).send(name)", "mail.options()"),
        ("queue.enqueue(len, name)", "queue.enqueue()"),
        ("helper(name)", "mail.send()"),
        ("controls.take_snapshot()", "controls.take_snapshot()"),
        ("rooms.keys()", "rooms.keys()"),
    ],
)
def test_a_call_of_another_system_is_told(domain, tmp_path, statement, what):
    cls = domain(statement, SYSTEMS.format(folder=str(tmp_path)))
    (finding,) = findings(cls)
    assert (finding.code, finding.severity) == ("CPY216", "warning")
    assert f"{what}, which is not of this system" in str(finding) and "on_commit()" in finding.instead
    with pytest.raises(PrevalentError, match="CPY216"):
        validate(cls, "strict")
    coopy.close_all()


@pytest.mark.parametrize(
    "statement",
    [
        "on_commit(mail.send, name)",
        "on_commit(lambda: other.add(1))",
        "mail(name)",
        "self.other = 1; self.other.add(1)",
        "if not replaying(): other.add(1)",
        "coopy.clock.now()",
    ],
)
def test_what_calls_no_other_system_in_the_action_is_not_told(domain, tmp_path, statement):
    assert "CPY216" not in {each.code for each in findings(domain(statement, SYSTEMS.format(folder=str(tmp_path))))}
    coopy.close_all()


def test_an_unknown_code_is_told_with_the_codes_there_are(domain):
    (finding,) = check.check([domain("pass  # coopy: ignore[CPY9]")])
    assert str(finding).endswith(
        ":4:15: CPY301 the comment names CPY9, which is no code; use one from CPY101 to CPY109 or one from CPY201 to CPY216"
    )
    (finding,) = check.check([domain("pass  # coopy: ignore")])
    assert str(finding).endswith(":4:15: CPY302 the comment ignores what is not found here: remove it")


def test_a_comment_in_code_that_was_not_read_may_be_needed_by_another_class(domain):
    module = domain.module(
        "import time\ndef helper(): return time.time()  # coopy: ignore\n"
        "class Base:\n    def at(self): return time.time()  # coopy: ignore\n"
        "class Wiki(Base):\n    def at(self): return 0\n"
        "class Other:\n    def at(self): return helper()\n"
    )
    assert check.check([module.Wiki]) == []
    assert check.check([module.Wiki, module.Other, module.Base]) == []


def test_comments_in_helpers_and_fields_that_were_read_are_judged(domain):
    wiki = domain.module(
        "from dataclasses import dataclass\n"
        "def helper(): return 1  # coopy: ignore\n"
        "@dataclass\nclass Page:\n    at: int = 0  # coopy: ignore\n"
        "class Wiki:\n    def create(self): return Page(), helper()\n"
    ).Wiki
    assert [(finding.code, finding.line) for finding in check.check([wiki])] == [("CPY302", 2), ("CPY302", 5)]


def test_a_comment_in_a_method_that_is_not_read_silences_nothing_in_that_class(domain):
    wiki = domain.module(
        "import time\nfrom coopy import readonly\n"
        "class Wiki:\n    @readonly\n    def age(self): return time.time()  # coopy: ignore[CPY101]\n"
    ).Wiki
    assert [(finding.code, finding.line) for finding in check.check([wiki])] == [("CPY302", 5)]


def test_several_classes_name_a_place_they_share_once_by_file_and_line():
    found = check.check([domains.UsesHelperOfHelper, domains.UsesHelper, domains.Diary])
    assert [(finding.line, finding.method) for finding in found] == [
        (line_of("stamp"), "UsesHelperOfHelper.create"),
        (line_of("started"), "Diary.__init__"),
        (line_of("tags"), "Diary.lines"),
    ]


# -- codes


def test_each_code_has_its_line_in_the_table_of_the_module_and_in_that_of_the_guide():
    known = [*rules.ERROR_CODES, *rules.WARNING_CODES, *rules.COMMENT_CODES]
    severities = {"1": "error", "2": "warning", "3": "warning"}
    rows = [(code, severities[code[3]]) for code in known]
    assert re.findall(r"^    (CPY\d+)  (\w+) ", str(check.__doc__), re.M) == rows
    guide = Path(__file__).parents[2] / "docs" / "guides" / "clock.md"
    assert re.findall(r"^\| `(CPY\d+)` \| (\w+) \|", guide.read_text(), re.M) == rows


def test_a_code_is_the_same_in_every_release():
    kinds = "TIME CHANCE IDENTIFIER START GENERATOR".split()
    kinds += "FILES NETWORK PROCESSES ENVIRONMENT CONSOLE SET_ORDER IDENTITY THREADS WAITING TIME_ZONE".split()
    numbers = [*range(101, 106), *range(201, 211)]
    assert [getattr(rules, kind) for kind in kinds] == [f"CPY{number}" for number in numbers]


# -- validation


@pytest.mark.parametrize("cls", [domains.UsesAlias, domains.MakesComment, domains.UsesHelperOfHelper])
def test_a_deterministic_system_may_ask_the_machine_in_its_actions(cls):
    assert findings(cls) and check.check([cls], deterministic=True) == []
    validate(cls, "strict", deterministic=True)


def test_what_a_deterministic_system_is_not_answered_is_refused_still():
    with pytest.raises(PrevalentError) as refused:
        validate(domains.MadeAtStart, "warn", deterministic=True)
    assert {finding.code for finding in refused.value.findings} == {"CPY104", "CPY201"}
    assert len(refused.value.findings) == 7
    with pytest.raises(PrevalentError, match="CPY105"):
        validate(domains.UsesGenerator, "warn", deterministic=True)
    with pytest.warns(DeterminismWarning, match="CPY206"):
        validate(domains.Tags, "warn", deterministic=True)


def test_a_comment_that_is_needed_without_deterministic_is_not_found_with_it(domain):
    wiki = domain("time.time()  # coopy: ignore[CPY101]", "import time")
    assert check.check([wiki], deterministic=True) == []


# What has to be given to be asked; the others are asked without an argument.
GIVEN = {
    "time.clock_gettime": "0",
    "time.clock_gettime_ns": "0",
    "time.strftime": "'%c %f'",
    "random.betavariate": "1, 2",
    "random.binomialvariate": "9, 0.5",
    "random.choice": "range(99)",
    "random.choices": "range(99)",
    "random.expovariate": "1.0",
    "random.gammavariate": "1, 2",
    "random.gauss": "0, 1",
    "random.getrandbits": "64",
    "random.lognormvariate": "0, 1",
    "random.normalvariate": "0, 1",
    "random.paretovariate": "1",
    "random.randbytes": "8",
    "random.randint": "0, 99",
    "random.randrange": "99",
    "random.sample": "range(99), 3",
    "random.setstate": "random.getstate()",
    "random.shuffle": "[1, 2, 3]",
    "random.uniform": "0, 1",
    "random.vonmisesvariate": "0, 1",
    "random.weibullvariate": "1, 1",
    "os.urandom": "8",
    "os.getrandom": "8",
    "secrets.choice": "range(99)",
    "secrets.randbelow": "99",
    "secrets.randbits": "64",
}
ASKS = """
    import datetime, os, random, secrets, sys, time, uuid
    from coopy import init_system

    class Asks:
        def __init__(self):
            self.answers = {}

        def ask(self, question):
            self.answers[question] = repr(eval(question))

    with init_system(Asks, "data", durability="buffered", deterministic=True) as asks:
        if not asks.answers:
            for question in sys.argv[1:]:
                asks.ask(question)
        for question, answer in asks.answers.items():
            print(question, answer, sep="\t")
"""


def test_each_thing_a_deterministic_system_may_ask_is_answered_at_replay_as_it_was_live(tmp_path):
    script = write(tmp_path / "asks.py", ASKS)
    questions = []
    for dotted, rule in rules.RULES.items():
        module, _, name = dotted.partition(".")
        # Later versions of Python have more of them.
        if rule.code in rules.ANSWERED and hasattr(importlib.import_module(module), name.partition(".")[0]):
            made = ".random()" if name.endswith("Random") else ""
            questions.append(f"{dotted}({GIVEN.get(dotted, '')}){made}")
    live = run(script, *questions).splitlines()
    assert len(live) == len(questions) > 50
    assert run(script).splitlines() == live


def test_off_does_not_look():
    validate(domains.UsesHelper, "off")


@pytest.mark.parametrize("mode", ["", "Strict", "on", None])
def test_another_mode_is_wrong_use(mode):
    with pytest.raises(UsageError, match="'strict', 'warn' or 'off'"):
        validate(domains.UsesHelper, mode)


@pytest.mark.parametrize("mode", ["warn", "strict"])
def test_errors_are_refused_and_the_refusal_lists_every_finding(mode):
    with pytest.raises(PrevalentError) as refused:
        validate(domains.Diary, mode)
    found = findings(domains.Diary)
    assert refused.value.findings == tuple(found)
    lines = str(refused.value).splitlines()
    assert lines[0] == "Diary does what replay cannot repeat. Nothing was opened."
    assert lines[1:-1] == [f"  {found[0]}", f"  {found[1]} (warning)"]
    assert "@readonly" in lines[-1] and lines[-1].endswith(
        'or open the system with validation="off" if each start may give another state.'
    )


def test_warnings_are_warned_about_and_point_to_who_opens_the_system():
    with pytest.warns(DeterminismWarning) as warned:
        validate(domains.Tags, "warn")
    assert [str(warning.message) for warning in warned] == [str(finding) for finding in findings(domains.Tags)]
    assert {warning.filename for warning in warned} == {__file__}


def test_strict_refuses_warnings_too_and_says_how_to_be_warned_only():
    with pytest.raises(PrevalentError, match='validation="warn" to be warned only'):
        validate(domains.Tags, "strict")


@pytest.mark.parametrize("mode", ["warn", "strict"])
def test_a_class_that_replay_can_repeat_passes_in_silence(mode):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        validate(domains.UsesClock, mode)


def test_reading_a_class_imports_nothing_that_its_methods_would(domain):
    wiki = domain("import this, secrets_of_nobody, wsgiref.util\nfrom requests import get\nget(name)")
    before = set(sys.modules)
    assert [finding.what for finding in findings(wiki)] == ["requests.get()"]
    assert not {"this", "requests", "wsgiref.util"} & (sys.modules.keys() - before)
