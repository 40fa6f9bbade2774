"""Reads the methods of a domain class for what replay cannot repeat.

The rule: an action may depend on the state, on its arguments, on the clock and
on the env of its system, and on nothing else. A method that asks the machine
for the time, for chance or for an identifier is an *error*: it would give
another state on the next start. A method that touches files, the network,
processes, the environment or the order of a set is a *warning*: what it does
may be harmless, and only its author can know.

    code    severity  what is found
    CPY101  error     the time of the machine: datetime.now(), time.time()
    CPY102  error     chance: random, secrets, os.urandom()
    CPY103  error     identifiers: uuid1(), uuid4()
    CPY104  error     one of the three above, asked while the program starts: for the default of a parameter or
                      a field, or for an attribute of the class
    CPY105  error     a generator of random that is kept outside the system
    CPY106  error     an iterator, such as itertools.count(), that is kept outside the system
    CPY107  error     time, chance and identifiers of other libraries: numpy.random, uuid_utils
    CPY201  warning   files
    CPY202  warning   the network
    CPY203  warning   processes
    CPY204  warning   the environment
    CPY205  warning   the console
    CPY206  warning   the order of a set
    CPY207  warning   id() and hash()
    CPY208  warning   threads
    CPY209  warning   waiting: time.sleep()
    CPY210  warning   the time zone of the machine: datetime.fromtimestamp(), time.mktime()
    CPY211  warning   source that is not at hand
    CPY212  warning   state outside the system: a counter in a module or a class
    CPY213  warning   output that each start repeats: print(), logging
    CPY214  warning   a read that assigns: a @readonly method, a property, an operator
    CPY301  warning   a comment that ignores a code there is none of; told by `check` only
    CPY302  warning   a comment that ignores what is not found; told by `check` only

A code means the same in every release. A comment ``# coopy: ignore[CPY101]``, which may
name several, or ``# coopy: ignore`` for all, silences what is found on its line, or in the
statement that begins there. Of these comments only those in code that was read are
judged: those of other code may be needed when another class is checked.

What is read: the methods a class has today, in its own body and in its bases
outside the standard library; what they inherit through ``super()``; plain
functions and constructors of the user's own modules that they use, and what those
use: modules of the same package, and all others that are not installed. Methods marked @readonly are never replayed and so are read only where
another method uses them. Default values of parameters, of dataclass fields and of
attributes of the class that methods use count too: they are made anew by each start.

A name is judged by the object it stands for, not by how it is spelled: it is
looked up where the function would look it up, and compared with the tables
below. A local name, a parameter or an attribute of ``self`` that happens to be
called ``random`` stands for something else, and nothing is said about it. In
doubt nothing is said: a value that is known only when the method runs gives no finding.

Where the source is not at hand (a prompt, ``exec``, a frozen program, compiled files alone) the byte code is read
instead, by the same rules: see `coopy.determinism.decompile`. What that does not hold, comments and the
body of the class, is not read, so a warning says so.

What it does not do: it runs nothing and imports nothing. It does not follow
calls into packages that others have written, or methods of other objects. Of state
kept outside the system it sees names, counters and lists that methods change, not
a dict that may be a cache. It does not see ``eval``, nor modules written in C. What escapes it is caught later, if at all,
by comparing how actions ended.

What is passed to `on_commit` is called later, outside any action, and is not read. Output is none where
`replaying` was asked, and that of a logger with a `coopy.log.LiveOnly` is none either.

The sets that it warns about are those it can see being made, in the same
function or as attributes of ``self``: strings hash differently in each
process, so a set of them is walked in another order by replay.
"""

from __future__ import annotations

import ast
import builtins
import functools
import linecache
import os
import re
import sys
import tokenize
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FunctionType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
)
from typing import Any, NamedTuple, TypeVar, cast

from coopy.decorators import READONLY, READS
from coopy.determinism import decompile
from coopy.errors import PrevalentError, UsageError

_T = TypeVar("_T")

MODES = ("strict", "warn", "off")

# --- what replay cannot repeat -----------------------------------------------------------------------

TIME, CHANCE, IDENTIFIER, START, GENERATOR, ITERATOR, LIBRARY = ERROR_CODES = tuple(
    f"CPY{number}" for number in range(101, 108)
)
(
    FILES,
    NETWORK,
    PROCESSES,
    ENVIRONMENT,
    CONSOLE,
    SET_ORDER,
    IDENTITY,
    THREADS,
    WAITING,
    TIME_ZONE,
    NO_SOURCE,
    OUTSIDE,
    OUTPUT,
    READ,
) = WARNING_CODES = tuple(f"CPY{number}" for number in range(201, 215))
UNKNOWN_CODE, UNUSED_IGNORE = COMMENT_CODES = "CPY301", "CPY302"

ANSWERED = frozenset({TIME, CHANCE, IDENTIFIER})
"""What `coopy.determinism.install` answers from the action. A default is made where there is none, and a generator
kept outside goes on where the action before left it."""


class _Rule(NamedTuple):
    """One thing of a library, and what stands in for it.

    In ``instead``, {clock} and {env} are the ways to reach them from the place
    of the finding, {args} the arguments that are given there.
    """

    code: str
    name: str
    instead: str
    # With the argument at this position (or of this name), the answer depends on
    # nothing but it; ``given`` is the rule for that case, if there is one.
    argument: int | None = None
    keyword: str = ""
    given: _Rule | None = None
    # A class may be named freely, in isinstance say; only calling it counts.
    only_called: bool = False


_IN_STATE = "an attribute of self"
_LOCAL_TIME = "datetime.fromtimestamp(seconds, tz), with a time zone"
_NANOSECONDS = "int({clock}.%s() * 1_000_000_000)"

# module, name inside it, what stands in for it
_ERRORS: dict[str, list[tuple[str, str, str]]] = {
    TIME: [
        ("datetime", "datetime.now", "{clock}.now({args})"),
        ("datetime", "datetime.utcnow", "{clock}.utcnow()"),
        ("datetime", "datetime.today", "{clock}.now()"),
        ("datetime", "date.today", "{clock}.today()"),
        ("time", "time", "{clock}.time()"),
        ("time", "time_ns", _NANOSECONDS % "time"),
        ("time", "monotonic", "{clock}.monotonic()"),
        ("time", "monotonic_ns", _NANOSECONDS % "monotonic"),
        ("time", "perf_counter", "{clock}.monotonic()"),
        ("time", "perf_counter_ns", _NANOSECONDS % "monotonic"),
        ("time", "process_time", "{clock}.monotonic()"),
        ("time", "process_time_ns", _NANOSECONDS % "monotonic"),
        ("time", "thread_time", "{clock}.monotonic()"),
        ("time", "thread_time_ns", _NANOSECONDS % "monotonic"),
        ("time", "clock_gettime", "{clock}.time()"),
        ("time", "clock_gettime_ns", _NANOSECONDS % "time"),
        ("time", "localtime", "{clock}.now().timetuple()"),
        ("time", "gmtime", "{clock}.utcnow().timetuple()"),
        ("time", "ctime", "{clock}.now().ctime()"),
        ("time", "asctime", "{clock}.now().ctime()"),
        ("time", "strftime", "{clock}.now().strftime({args})"),
    ],
    CHANCE: [
        ("random", "Random", "{env}"),
        ("random", "SystemRandom", "{env}"),
        ("random", "seed", "{env}, which the system seeds"),
        ("random", "getstate", "{env}, which the system seeds"),
        ("random", "setstate", "{env}, which the system seeds"),
        ("os", "urandom", "{env}.token_bytes({args})"),
        ("os", "getrandom", "{env}.token_bytes({args})"),
        ("secrets", "SystemRandom", "{env}"),
        ("secrets", "choice", "{env}.choice({args})"),
        ("secrets", "randbelow", "{env}.randrange({args})"),
        ("secrets", "randbits", "{env}.getrandbits({args})"),
        ("secrets", "token_bytes", "{env}.token_bytes({args})"),
        ("secrets", "token_hex", "{env}.token_hex({args})"),
        ("secrets", "token_urlsafe", "{env}.token_urlsafe({args})"),
    ],
    IDENTIFIER: [
        ("uuid", "uuid1", "{env}.uuid4()"),
        ("uuid", "uuid4", "{env}.uuid4()"),
        ("uuid", "uuid6", "{env}.uuid4()"),
        ("uuid", "uuid7", "{env}.uuid4()"),
        ("uuid", "uuid8", "{env}.uuid4()"),
    ],
}
_CHANCE_OF_LIBRARIES = {
    "numpy.random": "Generator MT19937 PCG64 Philox RandomState SFC64 SeedSequence beta binomial bytes chisquare choice default_rng "
    "dirichlet exponential f gamma geometric get_state gumbel hypergeometric laplace logistic lognormal logseries multinomial "
    "multivariate_normal negative_binomial noncentral_chisquare noncentral_f normal pareto permutation poisson power rand "
    "randint randn random random_integers random_sample ranf rayleigh sample seed set_state shuffle standard_cauchy "
    "standard_exponential standard_gamma standard_normal standard_t triangular uniform vonmises wald weibull zipf",
    "torch": "bernoulli initial_seed manual_seed multinomial normal poisson rand rand_like randint randint_like randn "
    "randn_like randperm seed",
    "faker": "Faker",
    "nanoid": "generate non_secure_generate",
}
_IDENTIFIERS_OF_LIBRARIES = {
    "bson": "ObjectId",
    "bson.objectid": "ObjectId",
    "cuid2": "cuid_wrapper",
    "ksuid": "Ksuid ksuid",
    "shortuuid": "uuid random",
    "ulid": "ULID monotonic new ulid",
    "uuid6": "uuid1 uuid6 uuid7 uuid8",
    "uuid_extensions": "uuid7 uuid7str",
    "uuid_utils": "uuid1 uuid4 uuid6 uuid7",
    "uuid_utils.compat": "uuid1 uuid4 uuid6 uuid7",
}
_TIME_OF_LIBRARIES = {
    "arrow": "now utcnow",
    "django.utils.timezone": "localdate localtime now",
    "pandas": "Timestamp.now Timestamp.today Timestamp.utcnow",
    "pendulum": "now today tomorrow yesterday",
}
_ERRORS[LIBRARY] = [
    (module, name, use)
    for use, modules in (
        ("{env}", _CHANCE_OF_LIBRARIES),
        ("{env}.uuid4()", _IDENTIFIERS_OF_LIBRARIES),
        ("{clock}.now()", _TIME_OF_LIBRARIES),
    )
    for module, names in modules.items()
    for name in names.split()
]
_ERRORS[CHANCE] += [
    ("random", draw, f"{{env}}.{draw}({{args}})")
    for draw in (
        "betavariate binomialvariate choice choices expovariate gammavariate gauss getrandbits "
        "lognormvariate normalvariate paretovariate randbytes randint random randrange sample shuffle "
        "triangular uniform vonmisesvariate weibullvariate"
    ).split()
]

# code, what stands in for all of these, module and names inside it
_WARNINGS: list[tuple[str, str, dict[str, str]]] = [
    (WAITING, "a delay outside the domain, before or after the call", {"time": "sleep"}),
    (
        TIME_ZONE,
        _LOCAL_TIME,
        {"datetime": "datetime.fromtimestamp date.fromtimestamp", "time": "mktime tzset"},
    ),
    (
        FILES,
        "an argument: let the caller work with files, and pass what the method needs",
        {
            "builtins": "open",
            "codecs": "open",
            "glob": "glob iglob",
            "os": "access chdir chmod chown close fdopen fsync getcwd link listdir lstat makedirs mkdir open "
            "read readlink remove removedirs rename renames replace rmdir scandir stat symlink sync "
            "truncate unlink utime walk write",
            "os.path": "abspath exists getatime getctime getmtime getsize isdir isfile islink ismount "
            "lexists realpath samefile",
            "pathlib": "Path.absolute Path.chmod Path.cwd Path.exists Path.glob Path.hardlink_to Path.is_dir "
            "Path.is_file Path.iterdir Path.lstat Path.mkdir Path.open Path.read_bytes Path.read_text "
            "Path.rename Path.replace Path.resolve Path.rglob Path.rmdir Path.stat Path.symlink_to "
            "Path.touch Path.unlink Path.walk Path.write_bytes Path.write_text",
            "shutil": "copy copy2 copyfile copyfileobj copytree disk_usage move rmtree which",
            "tempfile": "NamedTemporaryFile SpooledTemporaryFile TemporaryDirectory TemporaryFile gettempdir "
            "mkdtemp mkstemp mktemp",
        },
    ),
    (
        NETWORK,
        "an argument: let the caller talk to the network, and pass the answer",
        {
            "http.client": "HTTPConnection HTTPSConnection",
            "httpx": "AsyncClient Client delete get head options patch post put request stream",
            "requests": "Session delete get head options patch post put request session",
            "smtplib": "SMTP SMTP_SSL",
            "socket": "create_connection create_server fromfd getaddrinfo getfqdn gethostbyaddr "
            "gethostbyname gethostbyname_ex gethostname getnameinfo socket socketpair",
            "urllib.request": "build_opener urlopen urlretrieve",
            "urllib3": "PoolManager request",
        },
    ),
    (
        PROCESSES,
        "an argument: let the caller run it, and pass the result",
        {
            "multiprocessing": "Pool Process",
            "os": "abort execl execle execlp execlpe execv execve execvp execvpe fork forkpty kill killpg "
            "popen posix_spawn posix_spawnp spawnl spawnle spawnlp spawnlpe spawnv spawnve spawnvp "
            "spawnvpe startfile system wait waitpid",
            "subprocess": "Popen call check_call check_output getoutput getstatusoutput run",
        },
    ),
    (
        ENVIRONMENT,
        "an argument: let the caller look it up, and pass it",
        {
            "getpass": "getuser",
            "os": "cpu_count environ environb getenv getenvb getlogin getpid getppid getuid putenv uname unsetenv",
            "os.path": "expanduser expandvars",
            "pathlib": "Path.expanduser Path.home",
            "platform": "node platform release system uname version",
            "uuid": "getnode",
        },
    ),
    (
        CONSOLE,
        "an argument: let the caller ask, and pass the answer",
        {"builtins": "input", "getpass": "getpass"},
    ),
    (
        OUTPUT,
        "on_commit(), or ask coopy.replaying() before, or coopy.log.LiveOnly for the logger",
        {
            "builtins": "print",
            "logging": "critical debug error exception fatal info log warn warning Logger.critical Logger.debug Logger.error "
            "Logger.exception Logger.fatal Logger.info Logger.log Logger.warn Logger.warning LoggerAdapter.critical "
            "LoggerAdapter.debug LoggerAdapter.error LoggerAdapter.exception LoggerAdapter.info LoggerAdapter.log "
            "LoggerAdapter.warning",
            "pprint": "pp pprint",
            "syslog": "syslog",
            "traceback": "print_exc print_exception print_last print_stack print_tb",
            "warnings": "warn warn_explicit",
        },
    ),
    (
        IDENTITY,
        "a key that is part of the state: this number is another one in each process",
        {"builtins": "hash id"},
    ),
    (OUTSIDE, "an attribute of self, or an argument", {"contextvars": "ContextVar.get ContextVar.reset ContextVar.set"}),
    (
        THREADS,
        "a thread outside the domain, which calls the system: what this one does is not recorded",
        {
            "_thread": "start_new_thread",
            "concurrent.futures": "ProcessPoolExecutor ThreadPoolExecutor",
            "threading": "Thread Timer",
        },
    ),
]

# What depends on nothing but its argument, once that is given: its position and its name.
_ARGUMENTS = {
    "time.localtime": (0, ""),
    "time.gmtime": (0, ""),
    "time.ctime": (0, ""),
    "time.asctime": (0, ""),
    "time.strftime": (1, ""),
    "random.Random": (0, "x"),
    **{f"numpy.random.{name}": (0, "seed") for name in "Generator MT19937 PCG64 Philox RandomState SFC64 default_rng".split()},
    "numpy.random.SeedSequence": (0, "entropy"),
    "bson.ObjectId": (0, "oid"),
    "bson.objectid.ObjectId": (0, "oid"),
    "ulid.ULID": (0, "value"),
    "datetime.datetime.fromtimestamp": (1, "tz"),
}
_LOCAL_WITH_ARGUMENT = ("time.localtime", "time.ctime")
_CLASSES = frozenset({"socket.socket"})  # those not spelled as classes are


def _rules() -> dict[str, _Rule]:
    """Every rule by the full dotted name of what it is about."""
    rows = [(code, module, name, use) for code, lines in _ERRORS.items() for module, name, use in lines]
    for code, use, modules in _WARNINGS:
        rows += [(code, module, name, use) for module, names in modules.items() for name in names.split()]
    rules = {}
    for code, module, name, use in rows:
        dotted = f"{module}.{name}"
        shown = name if module in ("builtins", "datetime", "pathlib") else dotted
        argument, keyword = _ARGUMENTS.get(dotted, (None, ""))
        given = _Rule(TIME_ZONE, shown, _LOCAL_TIME) if dotted in _LOCAL_WITH_ARGUMENT else None
        only_called = name[0].isupper() and "." not in name or dotted in _CLASSES
        rules[dotted] = _Rule(code, shown, use, argument, keyword, given, only_called)
    return rules


_RULES = _rules()

_SET_MAKERS = frozenset({"set", "frozenset"})
_SET_METHODS = frozenset({"union", "intersection", "difference", "symmetric_difference", "copy"})
_SET_CHANGERS = _SET_METHODS | {
    "difference_update",
    "intersection_update",
    "isdisjoint",
    "issubset",
    "issuperset",
    "symmetric_difference_update",
    "update",
}
_SET_OPERATORS = (ast.BitOr, ast.BitAnd, ast.Sub, ast.BitXor)
# Builtins whose answer shows the order of what they are given, and those whose answer does not.
_ORDERED = frozenset({"list", "tuple", "iter", "enumerate", "zip", "map", "filter"})
_UNORDERED = frozenset({"sorted", "len", "sum", "min", "max", "any", "all", "set", "frozenset"})
_NUMBER_SETS = frozenset(
    f"{name}[{number}]"
    for name in ("set", "frozenset", "Set", "FrozenSet", "typing.Set", "typing.FrozenSet")
    for number in ("int", "float", "bool")
)

# Made before the system can give the object its clock; they reach it by import.
_CONSTRUCTORS = ("__new__", "__init__", "__post_init__", "__attrs_post_init__")
# What these give is not part of the state, and id() and hash() are what they are there for.
_IDENTITY_METHODS = frozenset({"__hash__", "__repr__", "__str__"})
_WHILE_CLASSES_ARE_MADE = frozenset({"__init_subclass__", "__set_name__", "__class_getitem__", "__prepare__"})
_FACTORIES = frozenset({"default_factory", "factory"})
_ARGUMENTS_SHOWN_MAX = 60
_DEPTH_MAX = 10
_KEPT_OUTSIDE = {
    GENERATOR: ("a generator outside the system", "{env}"),
    ITERATOR: ("an iterator outside the system", _IN_STATE),
}
_LOG_METHODS = frozenset("critical debug error exception fatal info log success trace warn warning".split())
_CONTAINERS = (list, dict, set, deque)
_ADDERS = frozenset("append appendleft extend extendleft insert".split())
_CHANGERS = _ADDERS | frozenset(
    "__delitem__ __setitem__ add clear difference_update discard intersection_update move_to_end pop popitem popleft remove "
    "reverse rotate setdefault sort subtract symmetric_difference_update update".split()
)

# --- the answer --------------------------------------------------------------------------------------


class Finding(NamedTuple):
    """One place in a domain class, or in what it uses, that replay may not repeat."""

    code: str
    """One of `ERROR_CODES`, `WARNING_CODES` or `COMMENT_CODES`."""
    severity: str
    """``"error"`` or ``"warning"``."""
    file: str
    line: int
    """From 1."""
    column: int
    """In characters, from 1."""
    method: str
    what: str
    instead: str
    """What may stand there; empty where it is enough to take something away."""

    @property
    def message(self) -> str:
        """What is done, and by whom."""
        return f"{self.method} {self._verb()} {self.what}"

    def __str__(self) -> str:
        use = f"; use {self.instead}" if self.instead else ""
        return f"{self.file}:{self.line}:{self.column}: {self.code} {self.message}{use}"

    def _verb(self) -> str:
        if self.code in COMMENT_CODES:
            return "names" if self.code == UNKNOWN_CODE else "ignores"
        if self.code == NO_SOURCE:
            return "is"
        head = self.what.partition(" ")[0]
        if head.endswith("()") and self.code != READ:
            return "calls"
        return {SET_ORDER: "iterates over", OUTSIDE: "changes", READ: "changes"}.get(self.code, "uses")


class DeterminismWarning(UserWarning):
    """A domain class does something that replay may not repeat."""


def findings(cls: type) -> list[Finding]:
    """What in ``cls`` replay cannot repeat, by file and line. A place is named once, one that is ignored not at all."""
    return _Survey(cls, _Library()).findings()


def check(classes: Iterable[type], deterministic: bool = False) -> list[Finding]:
    """As `findings`, of several classes, with what is wrong with the comments that ignore findings.

    ``deterministic``: without `ANSWERED`, as for systems that are opened with deterministic=True.
    """
    library = _Library()
    found: dict[object, Finding] = {}
    for cls in classes:
        survey = _Survey(cls, library)
        survey.judge_comments()
        for finding in survey.findings():
            found.setdefault(_by_place(finding), finding)
    kept = [finding for finding in found.values() if not (deterministic and finding.code in ANSWERED)]
    return sorted([*kept, *library.comments()], key=_by_place)


def validate(cls: type, mode: str, deterministic: bool = False, check: bool = False) -> None:
    """Refuse a class that replay cannot repeat, as strictly as ``mode`` says.

    ``"warn"`` refuses errors and warns about warnings, ``"strict"`` refuses
    both, ``"off"`` does not look. ``deterministic``: what is `ANSWERED` may be asked. ``check``: for a system
    that is opened with check=True, where a warning is refused, too. Raises `PrevalentError`; `UsageError` for another mode.
    """
    if mode not in MODES:
        raise UsageError(f"validation={mode!r} must be 'strict', 'warn' or 'off'. Nothing was opened.")
    if mode == "off":
        return
    found = [finding for finding in findings(cls) if not (deterministic and finding.code in ANSWERED)]
    if any(check or mode == "strict" or finding.severity == "error" for finding in found):
        raise PrevalentError(_refusal(cls, found, mode, check), tuple(found))
    for finding in found:
        warnings.warn(DeterminismWarning(str(finding)), stacklevel=_stacklevel_of_caller())


def _by_place(finding: Finding) -> tuple[str, int, int, str]:
    return finding.file, finding.line, finding.column, finding.code


def _refusal(cls: type, found: list[Finding], mode: str, check: bool) -> str:
    lines = [f"{cls.__name__} does what replay cannot repeat. Nothing was opened."]
    lines += [f"  {finding}" + (" (warning)" if finding.severity == "warning" else "") for finding in found]
    ways = [
        "Change these lines, or mark a method that changes nothing @readonly",
        "or end a line that does no harm with a comment: # coopy: ignore[CODE]",
    ]
    if all(finding.severity == "warning" for finding in found):
        asked = ['with validation="warn"'] * (mode == "strict") + ["without check=True"] * check
        ways.append(f"or open the system {' and '.join(asked)} to be warned only")
    ways.append('or open the system with validation="off" if each start may give another state')
    return "\n".join([*lines, ", ".join(ways) + "."])


def _stacklevel_of_caller() -> int:
    """How far up the first frame outside coopy is, counted from who asks."""
    level = 1
    frame = sys._getframe(1)
    while frame.f_back is not None and _package(frame.f_globals.get("__name__", "")) == "coopy":
        frame = frame.f_back
        level += 1
    return level


# --- what a name stands for --------------------------------------------------------------------------


class _Member(NamedTuple):
    """An attribute of a class, reached through ``cls`` and found in the body of ``owner``."""

    cls: type
    owner: type
    name: str
    raw: object


class _Instance(NamedTuple):
    """Some object of this class of the standard library."""

    cls: type


class _NotLoaded(NamedTuple):
    """What a name would stand for once its module is imported."""

    dotted: str


class _Unknown:
    """A value that only running the method would tell."""


_UNKNOWN = _Unknown()


def _package(module_name: object) -> str:
    return module_name.partition(".")[0] if isinstance(module_name, str) else ""


def _from_stdlib(module_name: object) -> bool:
    package = _package(module_name)
    if package not in sys.stdlib_module_names:
        return False
    # A module of the user's may have the name of one in the standard library.
    file = getattr(sys.modules.get(package), "__file__", None)
    return file is None or file.startswith(os.path.dirname(os.__file__))


class _Home:
    """The modules whose code is read: those of a class and its bases, of its package, and all that are not installed."""

    def __init__(self, cls: type) -> None:
        self._packages = {_package(cls.__module__)} - {"__main__"}
        self._known: dict[object, bool] = {owner.__module__: True for owner in _read_classes(cls)}

    def __contains__(self, module_name: object) -> bool:
        found = self._known.get(module_name)
        if found is None:
            found = self._known[module_name] = self._is_own(module_name)
        return found

    def _is_own(self, module_name: object) -> bool:
        package = _package(module_name)
        if not package or _from_stdlib(module_name):
            return False
        if package in self._packages:
            return True
        file = getattr(sys.modules.get(str(module_name)), "__file__", None)
        return package != "coopy" and file is not None and not _INSTALLED & set(file.split(os.sep))


_INSTALLED = frozenset({"site-packages", "dist-packages"})


def _statically(cls: type, name: str) -> _Member | None:
    """The attribute as it lies in the class, with no descriptor run."""
    for owner in cls.__mro__:
        if name in vars(owner):
            return _Member(cls, owner, name, vars(owner)[name])
    return None


def _attribute(value: object, name: str) -> object:
    if isinstance(value, _NotLoaded):
        return _NotLoaded(f"{value.dotted}.{name}")
    if isinstance(value, _Unknown):
        return _UNKNOWN
    if isinstance(value, ModuleType):
        dotted = f"{value.__name__}.{name}"
        # Some modules make their names when they are asked for; asking would run code.
        return vars(value).get(name, sys.modules.get(dotted, _NotLoaded(dotted)))
    if isinstance(value, type):
        member = _statically(value, name)
    else:
        cls = value.cls if isinstance(value, _Instance) else type(value)
        member = _statically(cls, name) if _from_stdlib(cls.__module__) else None
    return _UNKNOWN if member is None else _unbound(member)


def _unbound(member: _Member) -> object:
    """The function or class itself where a member is one, else the member."""
    raw = member.raw.__func__ if isinstance(member.raw, staticmethod) else member.raw
    if isinstance(raw, (FunctionType, BuiltinFunctionType, MethodType, type)):
        return raw
    return member


class _Table:
    """The rules, by the objects they are about. Only modules that are loaded have any."""

    def __init__(self) -> None:
        self._by_object: dict[object, _Rule] = {}
        self._by_member: dict[tuple[type, str], _Rule] = {}
        for dotted, rule in _RULES.items():
            value = self._named(dotted)
            if isinstance(value, _Member):
                self._by_member.setdefault((value.cls, value.name), rule)
            elif not isinstance(value, (_NotLoaded, _Unknown)):
                self._by_object.setdefault(self._key(value), rule)

    def rule(self, value: object) -> _Rule | None:
        """The rule about this value, whatever it is called where it is used."""
        if isinstance(value, _NotLoaded):
            return _RULES.get(value.dotted)
        if isinstance(value, (BuiltinFunctionType, MethodType)) and isinstance(value.__self__, type):
            # A class method that was looked up already: now = datetime.now.
            bound = _statically(value.__self__, value.__name__)
            value = value if bound is None else _unbound(bound)
        if not isinstance(value, _Member):
            return self._by_object.get(self._key(value))
        for cls in value.cls.__mro__:
            if (cls, value.name) in self._by_member:
                return self._by_member[cls, value.name]
            if cls is value.owner:
                break
        return None

    @staticmethod
    def _named(dotted: str) -> object:
        """The object of that name, if its module is loaded."""
        module, _, rest = dotted.rpartition(".")
        while module and module not in sys.modules:
            module, _, name = module.rpartition(".")
            rest = f"{name}.{rest}"
        value: object = sys.modules.get(module, _UNKNOWN)
        for name in rest.split("."):
            value = _attribute(value, name)
        return value

    @staticmethod
    def _key(value: object) -> object:
        # Other objects may compare and hash as they like, or not at all.
        plain = isinstance(value, (FunctionType, BuiltinFunctionType, MethodType))
        return value if plain else id(value)


class _Local(NamedTuple):
    """A value that a local name is given by an assignment, or by an import in the function."""

    value: ast.expr | _NotLoaded | None


class _Scope:
    """The names that one function, class body or comprehension binds."""

    def __init__(self, outer: _Scope | None, is_class: bool = False) -> None:
        self.outer = outer
        self.is_class = is_class
        self.names: dict[str, list[_Local]] = {}
        self.of_module: set[str] = set()
        self.of_outer: set[str] = set()

    def bind(self, name: str, value: ast.expr | _NotLoaded | None = None) -> None:
        self.names.setdefault(name, []).append(_Local(value))

    def home(self, name: str) -> _Scope | None:
        """The scope that binds the name for code in this one; None: outside the function."""
        scope: _Scope | None = self
        while scope is not None:
            if name in scope.of_module:
                return None
            seen = scope is self or not scope.is_class
            if seen and name in scope.names and name not in scope.of_outer:
                return scope
            scope = scope.outer
        return None


_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


class _Binder(ast.NodeVisitor):
    """Fills in the names of one scope, without entering those inside it."""

    def __init__(self, scope: _Scope, package: str) -> None:
        self._scope = scope
        self._package = package

    def parameters(self, arguments: ast.arguments) -> None:
        for parameter in _parameters(arguments):
            self._scope.bind(parameter.arg)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        self._scope.bind(node.name)

    visit_AsyncFunctionDef = visit_FunctionDef
    visit_ClassDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        pass

    def _comprehension(self, node: ast.AST) -> None:
        # Its own names stay inside; what := binds does not.
        for inner in ast.walk(node):
            if isinstance(inner, ast.NamedExpr):
                self._scope.bind(inner.target.id)

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension

    def visit_Assign(self, node: ast.Assign) -> None:
        self._assign(node.targets, node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._assign([node.target], node.value)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self._assign([node.target], node.value)

    def _assign(self, targets: list[ast.expr], value: ast.expr | None) -> None:
        for target in targets:
            if isinstance(target, ast.Name):
                self._scope.bind(target.id, value)
            else:
                self.visit(target)
        if value is not None:
            self.visit(value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        # s |= t makes the name local, and leaves a set a set.
        if isinstance(node.target, ast.Name):
            self._scope.names.setdefault(node.target.id, [])
        else:
            self.visit(node.target)
        self.visit(node.value)

    def visit_Name(self, node: ast.Name) -> None:
        if not isinstance(node.ctx, ast.Load):
            self._scope.bind(node.id)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            root = alias.name if alias.asname else _package(alias.name)
            self._scope.bind(alias.asname or root, _NotLoaded(root))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = node.module or ""
        if node.level:
            parts = self._package.split(".")
            base = ".".join(parts[: len(parts) - node.level + 1])
            module = f"{base}.{module}" if module else base
        for alias in node.names:
            self._scope.bind(alias.asname or alias.name, _NotLoaded(f"{module}.{alias.name}"))

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self._scope.bind(node.name)
        self.generic_visit(node)

    def _pattern(self, node: ast.MatchAs | ast.MatchStar) -> None:
        if node.name:
            self._scope.bind(node.name)
        self.generic_visit(node)

    visit_MatchAs = visit_MatchStar = _pattern

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        if node.rest:
            self._scope.bind(node.rest)
        self.generic_visit(node)

    def visit_Global(self, node: ast.Global) -> None:
        self._scope.of_module.update(node.names)

    def visit_Nonlocal(self, node: ast.Nonlocal) -> None:
        self._scope.of_outer.update(node.names)


def _parameters(arguments: ast.arguments) -> Iterator[ast.arg]:
    yield from arguments.posonlyargs
    yield from arguments.args
    yield from arguments.kwonlyargs
    if arguments.vararg:
        yield arguments.vararg
    if arguments.kwarg:
        yield arguments.kwarg


# --- source ------------------------------------------------------------------------------------------

_IGNORE = re.compile(r"#\s*coopy:\s*ignore(?![\w-])(?:\s*\[([^\]]*))?")


class _Ignore:
    """A comment that silences what is found in its line."""

    def __init__(self, line: int, column: int, codes: str | None) -> None:
        self._line = line
        self._column = column
        self._codes = None if codes is None else list(filter(None, map(str.strip, codes.split(","))))
        self._used: set[str] = set()

    def silences(self, code: str) -> bool:
        if self._codes is not None and code not in self._codes:
            return False
        self._used.add(code)
        return True

    def findings(self, file: str) -> Iterator[Finding]:
        """What is wrong with it, once all that is found was asked about."""
        if self._codes is None and not self._used:
            yield self._finding(UNUSED_IGNORE, file, "what is not found here: remove it")
        if self._codes == []:
            yield self._finding(UNKNOWN_CODE, file, "no code between its brackets", _KNOWN)
        for code in self._codes or []:
            if code not in _CODES:
                yield self._finding(UNKNOWN_CODE, file, f"{code}, which is no code", _KNOWN)
            elif code not in self._used:
                yield self._finding(UNUSED_IGNORE, file, f"{code}, which is not found here: remove it")

    def _finding(self, code: str, file: str, what: str, instead: str = "") -> Finding:
        return Finding(code, "warning", file, self._line, self._column, "the comment", what, instead)


_CODES = ERROR_CODES + WARNING_CODES
_KNOWN = " or ".join(f"one from {codes[0]} to {codes[-1]}" for codes in (ERROR_CODES, WARNING_CODES))


def _ignores(lines: list[str]) -> dict[int, _Ignore]:
    """The comments that silence, by line."""
    if not any("coopy:" in line for line in lines):
        return {}
    found = {}
    for token in tokenize.generate_tokens(iter(lines).__next__):
        said = _IGNORE.search(token.string) if token.type == tokenize.COMMENT else None
        if said is not None:
            line, column = token.start
            found[line] = _Ignore(line, column + said.start() + 1, said[1])
    return found


class _Source:
    """One file, parsed: its functions by where they begin, its classes by name, and what it says is to be ignored."""

    def __init__(self, lines: list[str]) -> None:
        tree = ast.parse("".join(lines))
        self.functions: dict[tuple[int, str], list[_Function]] = {}
        self.classes: dict[str, list[ast.ClassDef]] = {}
        self._lines = lines
        self._ignores = _ignores(lines)
        self._begins = _begins(tree) if self._ignores else {}
        self._read: set[int] = set()
        self._index(tree, "")

    def column(self, node: ast.expr | ast.stmt) -> int:
        """In characters, from 1; the parser counts bytes."""
        if node.lineno > len(self._lines):
            return node.col_offset + 1  # Of byte code, and the file is another one since.
        return len(self._lines[node.lineno - 1].encode()[: node.col_offset].decode(errors="replace")) + 1

    def silences(self, line: int, code: str) -> bool:
        """Whether a comment there, or where the statement begins, says that it is to be ignored."""
        places = {line, self._begins.get(line, line)}
        return any(self._ignores[place].silences(code) for place in places if place in self._ignores)

    def reads(self, node: ast.AST) -> None:
        """Notes that this is read, so that the comments in it can be judged."""
        if self._ignores and isinstance(node, (ast.stmt, ast.expr)):
            self._read.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))

    def comments(self, file: str) -> Iterator[Finding]:
        """What is wrong with the comments of what was read."""
        for line, ignore in self._ignores.items():
            if line in self._read:
                yield from ignore.findings(file)

    def _index(self, parent: ast.AST, path: str) -> None:
        for node in ast.iter_child_nodes(parent):
            below = path
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                # A code object begins at its first decorator.
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                self.functions.setdefault((first, node.name), []).append(node)
                below = f"{path}{node.name}.<locals>."
            elif isinstance(node, ast.Lambda):
                self.functions.setdefault((node.lineno, "<lambda>"), []).append(node)
                below = f"{path}<lambda>.<locals>."
            elif isinstance(node, ast.ClassDef):
                self.classes.setdefault(path + node.name, []).append(node)
                below = f"{path}{node.name}."
            self._index(node, below)

    def function(self, code: CodeType) -> _Function | None:
        """The function that this code was made from; None in doubt."""
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        alike = [
            node
            for node in self.functions.get((code.co_firstlineno, code.co_name), [])
            if tuple(parameter.arg for parameter in _parameters(node.args))[: len(names)] == names
        ]
        return alike[0] if len(alike) == 1 else None

    def body(self, path: str) -> ast.ClassDef | None:
        """The class of that name; None in doubt."""
        bodies = self.classes.get(path, [])
        return bodies[0] if len(bodies) == 1 else None

    def assignments(self, path: str) -> Iterator[tuple[str, ast.expr]]:
        """The names that the body of a class gives values to; none in doubt."""
        body = self.body(path)
        for statement in [] if body is None else body.body:
            if isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value is not None:
                target = statement.target if isinstance(statement, ast.AnnAssign) else statement.targets[0]
                if isinstance(target, ast.Name):
                    yield target.id, statement.value


class _ByteCode:
    """Stands in for the source of functions that have none: there is nothing to be ignored in it."""

    def column(self, node: ast.expr | ast.stmt) -> int:
        return node.col_offset + 1

    def silences(self, line: int, code: str) -> bool:
        return False


_BYTE_CODE = _ByteCode()


def _begins(tree: ast.Module) -> dict[int, int]:
    """Of each line, the first of the innermost statement, or decorator, that it is in."""
    found = {}
    for node in ast.walk(tree):
        # What is inside comes after what is around it.
        for part in (node, *getattr(node, "decorator_list", ())):
            if isinstance(part, ast.stmt) or part is not node:
                found.update(dict.fromkeys(range(part.lineno, (part.end_lineno or part.lineno) + 1), part.lineno))
    return found


class _Library:
    """Parses each file once."""

    def __init__(self) -> None:
        self._sources: dict[str, _Source | None] = {}

    def source(self, file: str, module: dict[str, Any]) -> _Source | None:
        if file not in self._sources:
            self._sources[file] = self._parse(file, module)
        return self._sources[file]

    @staticmethod
    def _parse(file: str, module: dict[str, Any]) -> _Source | None:
        linecache.checkcache(file)
        lines = linecache.getlines(file, module)
        try:
            return _Source(lines) if lines else None
        except (SyntaxError, ValueError, RecursionError, tokenize.TokenError):
            return None

    def parsed(self, file: str) -> _Source | _ByteCode:
        """The source of what is found in a file; what stands in for it if the file can't be read."""
        return self._sources.get(file) or _BYTE_CODE

    def comments(self) -> Iterator[Finding]:
        """What is wrong with the comments of what was read."""
        for file, source in self._sources.items():
            if source is not None:
                yield from source.comments(file)


# --- reading -----------------------------------------------------------------------------------------


_FIRST_LINE = ast.Pass(lineno=1, col_offset=0)
# The methods that Cython, Nuitka and mypyc make, besides those of C.
_COMPILED = frozenset({"cython_function_or_method", "compiled_function"})


def _is_compiled(owner: type, raw: object) -> bool:
    own = isinstance(raw, MethodDescriptorType) and raw.__objclass__ is owner
    return own or type(raw).__name__ in _COMPILED


class _Survey:
    """One domain class, everything it reaches, and what was found there."""

    def __init__(self, cls: type, library: _Library) -> None:
        self.cls = cls
        self.table = _Table()
        self.modules = _Home(cls)
        self._library = library
        self._found: dict[tuple[str, int, int, str], Finding] = {}
        self._seen: set[object] = set()
        self._methods: dict[type, list[_Text]] = {}
        self._sets: dict[type, frozenset[str]] = {}
        self._assigned: dict[type, frozenset[str]] = {}
        self._containers: dict[type, frozenset[str]] = {}
        self._decompiled: dict[CodeType, ast.FunctionDef] = {}
        self._unreadable: set[str] = set()

    def findings(self) -> list[Finding]:
        actions = [text for text in self.methods(self.cls) if not text.is_readonly]
        self._seen.update((text.function, False) for text in actions)
        # The fields first: a generated constructor holds their factories too, and knows them by no name.
        self._read_fields(self.cls, f"{self.cls.__name__}.__init__", "")
        for text in actions:
            self._read(text, text.shown, "")
        for text in self.methods(self.cls):
            if text.is_read:
                self.judge_read(text, text.shown, "", set())
        for owner in _read_classes(self.cls):
            compiled = next((name for name, raw in vars(owner).items() if _is_compiled(owner, raw)), None)
            if compiled is not None:
                what = "compiled code, which was not read"
                self.report(
                    f"<{owner.__module__}>", _FIRST_LINE, NO_SOURCE, f"{owner.__name__}.{compiled}", what, "a class in Python"
                )
        return sorted(self._found.values(), key=_by_place)

    def judge_read(self, text: _Text, method: str, trail: str, seen: set[FunctionType]) -> None:
        """Look at a method that is not recorded, and at those it calls, for what they change."""
        node = self._node(text)
        if node is None or text.function in seen:
            return
        seen.add(text.function)
        source = self._library.parsed(text.file)
        if isinstance(source, _Source):
            source.reads(node)
        reader = self._reader(text, method, trail)
        if text.is_kept:
            reader.report_read(node, f"the state: it is a cached_property, which keeps what it returns{trail}")
        for name in reader.judge_read(node):
            member = None if text.cls is None else _statically(text.cls, name)
            for called in [] if member is None else _texts(member, self.modules):
                if not called.is_read:
                    self.judge_read(called, method, f" in {called.shown}(){trail.replace(' in', ', called by')}", seen)

    def container_attributes(self, cls: type) -> frozenset[str]:
        """Attributes that the methods of ``cls`` make lists, dicts and sets."""
        if cls not in self._containers:
            found = {name for name, value in _factories(cls).items() if value in _CONTAINERS}
            for text in self.methods(cls):
                node = self._node(text)
                if node is not None:
                    found.update(self._reader(text, "", "").containers_assigned(node))
            self._containers[cls] = frozenset(found)
        return self._containers[cls]

    def judge_comments(self) -> None:
        """Has all comments in the body of the class judged, also those of methods that are not read."""
        source = self._source_of(self.cls)
        body = None if source is None else source.body(self.cls.__qualname__)
        if source is not None and body is not None:
            source.reads(body)

    def methods(self, cls: type) -> list[_Text]:
        """Every method of the class that can be read, by file and line."""
        if cls not in self._methods:
            found = _methods(cls, self.modules)
            self._methods[cls] = sorted(found, key=lambda text: (text.file, text.code.co_firstlineno))
        return self._methods[cls]

    def report(self, file: str, node: ast.expr | ast.stmt, code: str, method: str, what: str, instead: str) -> None:
        source = self._library.parsed(file)
        if source.silences(node.lineno, code):
            return
        severity = "error" if code in ERROR_CODES else "warning"
        finding = Finding(code, severity, file, node.lineno, source.column(node), method, what, instead)
        # The first method that reaches a place is named; repairing it repairs it for all.
        self._found.setdefault(_by_place(finding), finding)

    def follow(self, text: _Text, method: str, trail: str, early: bool) -> None:
        """Read a function that a method uses, once; ``early``: one that runs while the program starts."""
        if text.module in self.modules and (text.function, early) not in self._seen:
            self._seen.add((text.function, early))
            helper = f" in helper {text.shown}()"
            if trail:
                helper += "," + trail.replace(" in helper", " called by")
            self._read(text, method, helper, early)

    def follow_constructor(self, cls: type, method: str, trail: str, early: bool) -> None:
        """Read what making an object of a class in these modules runs."""
        if cls.__module__ not in self.modules or (cls, early) in self._seen:
            return
        self._seen.add((cls, early))
        self._read_fields(cls, method, trail)
        for name in _CONSTRUCTORS:
            member = _statically(cls, name)
            for text in [] if member is None else _texts(member, self.modules):
                self.follow(text, method, trail, early)

    def follow_attribute(self, member: _Member, method: str, trail: str) -> None:
        """Read how the body of a class in these modules makes an attribute that a method uses."""
        owner, name = member.owner, member.name
        if owner.__module__ not in self.modules or (owner, name) in self._seen:
            return
        self._seen.add((owner, name))
        if not _texts(member, self.modules) and not self.assigned_on_self(member.cls, name):
            self._read_values(owner, f"self.{name} = %s in __init__", method, "the attribute", trail, name)

    def set_attributes(self, cls: type) -> frozenset[str]:
        """Attributes that every assignment in the methods of ``cls`` makes a set of what may be strings."""
        if cls not in self._sets:
            self._sets[cls] = frozenset()  # an attribute made from another one is not looked into twice
            assigned = dict(_field_sets(cls))
            for text in self.methods(cls):
                node = self._node(text)
                if node is not None:
                    for name, is_set in self._reader(text, "", "").attributes_assigned(node):
                        assigned[name] = assigned.get(name, True) and is_set
            self._sets[cls] = frozenset(name for name, is_set in assigned.items() if is_set)
        return self._sets[cls]

    def assigned_on_self(self, cls: type, name: str) -> bool:
        """Whether a method gives its object an attribute of this name, over that of the class."""
        if cls not in self._assigned:
            nodes = [self._node(text) for text in self.methods(cls)]
            self._assigned[cls] = frozenset(
                inner.attr
                for node in nodes
                if node is not None
                for inner in ast.walk(node)
                if isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store)
            )
        return name in self._assigned[cls]

    def _read(self, text: _Text, method: str, trail: str, early: bool = False) -> None:
        node = self._node(text)
        if node is None:
            return
        source = self._library.parsed(text.file)
        if isinstance(source, _Source):
            source.reads(node)
        # Python 3.13 knows a source for the name "<string>", which is that of `python -c`.
        is_source = isinstance(source, _Source) and not (text.file.startswith("<") and text.code in self._decompiled)
        if not is_source and text.file not in self._unreadable:
            self._unreadable.add(text.file)
            what = "code whose source is not at hand: its byte code was read, without comments and what the class holds"
            place = ast.Pass(lineno=text.code.co_firstlineno, col_offset=0)
            self.report(text.file, place, NO_SOURCE, method, what + trail, "a module with its source")
        defaults = _default_values(text.function)
        if is_source:
            # How others were made the source says.
            defaults = {name: value for name, value in defaults.items() if _kept_outside(value) == ITERATOR}
        self._judge_values(text.file, node.lineno, defaults, method, "the default of", trail)
        # What a function inside a function saw by a name when it was made cannot be told from here.
        if is_source and "<locals>" not in text.function.__qualname__:
            names = _Names(text.function.__globals__, vars(text.owner) if text.owner else {})
            for parameter, value in _defaults(node.args):
                reader = _Reader(self, names, text.file, method, f" as the default of {parameter}{trail}")
                reader.read_early(value, f"{parameter}=None, and in the body %s")
        self._reader(text, method, trail, early).read(node)

    def _judge_values(self, file: str, line: int, values: Mapping[str, object], method: str, kind: str, trail: str) -> None:
        """Judge values that are called later, where no source says how they were made."""
        names = _Names({}, values)
        for name in values:
            node = ast.Name(name, ast.Load(), lineno=line, col_offset=0)
            _Reader(self, names, file, method, f" as {kind} {name}{trail}").read_early(node, "%s, in the method")

    def _read_fields(self, cls: type, method: str, trail: str) -> None:
        """Read the defaults of the fields of a dataclass or an attrs class."""
        for owner in _read_classes(cls):
            if _has_fields(owner) and not self._has_source(owner):
                self._judge_values(f"<{owner.__module__}>", 1, _factories(owner), method, "the default of the field", trail)
            elif _has_fields(owner):
                self._read_values(owner, "default_factory=lambda: %s", method, "the field", trail)

    def _read_values(self, owner: type, instead: str, method: str, kind: str, trail: str, only: str = "") -> None:
        """Read what the body of a class gives its names."""
        source, module = self._source_of(owner), sys.modules.get(owner.__module__)
        if source is None or module is None or "<locals>" in owner.__qualname__:
            return
        names = _Names(vars(module), vars(owner))
        for name, value in source.assignments(owner.__qualname__):
            if not only or name == only:
                source.reads(value)
                place = f" in {kind} {owner.__name__}.{name}"
                _Reader(self, names, str(module.__file__), method, place + trail).read_early(value, instead)

    def _source_of(self, cls: type) -> _Source | None:
        """The file that a class is defined in."""
        module = sys.modules.get(cls.__module__)
        file = getattr(module, "__file__", None)
        return None if module is None or file is None else self._library.source(file, vars(module))

    def _node(self, text: _Text) -> _Function | None:
        """The tree of a function; None if it was written by a library for a class whose source is at hand."""
        source = self._library.source(text.file, text.function.__globals__)
        found = None if source is None else source.function(text.code)
        is_written = text.file.startswith("<") and text.owner is not None and self._has_source(text.owner)
        if found is not None or is_written:
            return found
        if text.code not in self._decompiled:
            self._decompiled[text.code] = decompile.function(text.code)
        return self._decompiled[text.code]

    def _has_source(self, cls: type) -> bool:
        source = self._source_of(cls)
        return source is not None and source.body(cls.__qualname__) is not None

    def _reader(self, text: _Text, method: str, trail: str, early: bool = False) -> _Reader:
        names = _Names(text.function.__globals__, text.enclosed())
        return _Reader(self, names, text.file, method, trail, text, early)


class _Text:
    """A function to be read, and what it is to the class it is read for."""

    def __init__(self, function: FunctionType, member: _Member | None = None, is_readonly: bool = False) -> None:
        self.function = function
        self.code: CodeType = function.__code__
        self.file = self.code.co_filename
        self.cls = None if member is None else member.cls
        self.owner = None if member is None else member.owner
        self.is_readonly = is_readonly
        raw = None if member is None else member.raw
        self.has_self = member is not None and not isinstance(raw, staticmethod)
        self.is_of_class = isinstance(raw, classmethod)
        self.is_kept = isinstance(raw, functools.cached_property)
        # Looking up in what makes what is missing is an action, as in a defaultdict.
        adds = member is not None and member.name == "__getitem__" and hasattr(member.cls, "__missing__")
        self.is_read = is_readonly or self.is_kept or (member is not None and member.name in READS and not adds)
        # Whether its object has its clock and env already: neither a class nor one being made has.
        self.has_services = (
            member is not None and not isinstance(raw, (staticmethod, classmethod)) and member.name not in _CONSTRUCTORS
        )
        self.name = function.__name__
        if member is not None and self.name == "<lambda>":
            self.name = member.name

    @property
    def module(self) -> object:
        # functools.wraps copies __module__; the globals cannot be borrowed.
        return self.function.__globals__.get("__name__")

    @property
    def shown(self) -> str:
        if self.owner is not None:
            return f"{self.owner.__name__}.{self.name}"
        return self.function.__qualname__.rpartition("<locals>.")[2]

    def enclosed(self) -> dict[str, object]:
        """The variables it takes from the functions around it."""
        cells = zip(self.code.co_freevars, self.function.__closure__ or (), strict=True)
        return {name: _content(cell) for name, cell in cells}


def _read_classes(cls: type) -> list[type]:
    """The class and its bases, without those of the standard library."""
    return [owner for owner in cls.__mro__ if not _from_stdlib(owner.__module__)]


def _methods(cls: type, modules: _Home) -> Iterator[_Text]:
    """Every method an object of the class has, those a subclass replaced left out."""
    readable = _read_classes(cls)
    replaced: set[str] = set()
    for owner in cls.__mro__:
        if owner in readable:
            for name, raw in vars(owner).items():
                if name not in replaced:
                    yield from _texts(_Member(cls, owner, name, raw), modules)
        replaced.update(vars(owner))


def _texts(member: _Member, modules: _Home) -> list[_Text]:
    """The functions behind an attribute: a method, what decorators wrapped, the parts of a property."""
    raw = member.raw
    if isinstance(raw, property):
        parts = [part for part in (raw.fget, raw.fset, raw.fdel) if part is not None]
        found = [text for part in parts for text in _texts(member._replace(raw=part), modules)]
        for text in found:
            text.is_read = text.function is raw.fget
        return found
    functions = _wrapped(raw, f"{member.owner.__qualname__}.", modules)
    is_readonly = any(READONLY in _attributes_of(thing) for thing in (raw, *functions))
    texts = [_Text(function, member, is_readonly) for function in functions]
    # The methods that attrs writes hold what the fields say, which is read there.
    return [text for text in texts if text.module in modules and not text.file.startswith("<attrs generated")]


def _wrapped(raw: object, path: str, modules: _Home) -> list[FunctionType]:
    """A function, and those that decorators put inside it; ``path`` is how the names of those begin."""
    found: list[FunctionType] = []
    pending = [raw]
    while pending:
        thing = pending.pop()
        if isinstance(thing, FunctionType):
            if thing in found:
                continue
            found.append(thing)
            pending.append(getattr(thing, "__wrapped__", None))
            # A decorator that does not name what it wraps still holds it.
            foreign = thing.__globals__.get("__name__") not in modules
            for held in map(_content, thing.__closure__ or ()):
                if isinstance(held, FunctionType) and (foreign or held.__qualname__.startswith(path)):
                    pending.append(held)
        elif isinstance(thing, (staticmethod, classmethod)):
            pending.append(thing.__func__)
        elif not isinstance(thing, type) and hasattr(type(thing), "__get__"):
            # functools.cached_property, partialmethod, lru_cache and their like.
            pending += [value for value in _attributes_of(thing).values() if isinstance(value, FunctionType)]
    return found


def _attributes_of(thing: object) -> Mapping[str, object]:
    # Asked in any other way, an object may answer what it likes, or raise.
    try:
        attributes = object.__getattribute__(thing, "__dict__")
    except AttributeError:
        return {}
    return attributes if isinstance(attributes, Mapping) else {}


def _content(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return _UNKNOWN


def _has_fields(cls: type) -> bool:
    return "__dataclass_fields__" in vars(cls) or "__attrs_attrs__" in vars(cls)


def _defaults(arguments: ast.arguments) -> Iterator[tuple[str, ast.expr]]:
    positional = [*arguments.posonlyargs, *arguments.args]
    with_default = positional[len(positional) - len(arguments.defaults) :]
    for parameter, value in zip(with_default, arguments.defaults, strict=True):
        yield parameter.arg, value
    for parameter, keyword_value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if keyword_value is not None:
            yield parameter.arg, keyword_value


def _default_values(function: FunctionType) -> dict[str, object]:
    code, values = function.__code__, function.__defaults__ or ()
    positional = code.co_varnames[: code.co_argcount]
    return {**dict(zip(positional[len(positional) - len(values) :], values, strict=True)), **(function.__kwdefaults__ or {})}


def _factories(cls: type) -> dict[str, object]:
    """What is called for the defaults of the fields of a dataclass or an attrs class."""
    found = {}
    for name, field in vars(cls).get("__dataclass_fields__", {}).items():
        found[name] = getattr(field, "default_factory", None)
    for field in vars(cls).get("__attrs_attrs__", ()):
        found[field.name] = getattr(field.default, "factory", None)
    return {name: value for name, value in found.items() if callable(value)}


def _field_sets(cls: type) -> Iterator[tuple[str, bool]]:
    for name, field in getattr(cls, "__dataclass_fields__", {}).items():
        if getattr(field, "default_factory", None) in (set, frozenset):
            kind = field.type if isinstance(field.type, str) else repr(field.type)
            yield name, kind not in _NUMBER_SETS


class _Names:
    """What a name stands for outside the text being read: around it, in its module, in Python."""

    def __init__(self, module: Mapping[str, Any], around: Mapping[str, Any]) -> None:
        self.module = module
        self._spaces = (around, module, vars(builtins))

    def __getitem__(self, name: str) -> object:
        for space in self._spaces:
            if name in space:
                return space[name]
        return _UNKNOWN

    @property
    def package(self) -> str:
        package = self.module.get("__package__")
        return package if isinstance(package, str) else ""


class _Reader(ast.NodeVisitor):
    """Reads one function, or one expression, and reports what it finds.

    ``trail`` says how the place is reached from ``method``, in words; ``early`` that it runs while the
    program starts, in no action.
    """

    def __init__(
        self, survey: _Survey, names: _Names, file: str, method: str, trail: str, text: _Text | None = None, early: bool = False
    ) -> None:
        self._survey = survey
        self._names = names
        self._file = file
        self._method = method
        self._trail = trail
        self._text = text
        self._cls = None if text is None else text.cls
        self._root = self._scope = _Scope(None)
        self._self_name = ""
        self._early = early
        self._made_by = "%s"  # how what stands in for something early is to be written
        self._unordered: set[ast.AST] = set()  # what is given to something that ignores order
        self._depth = 0
        self._asks: bool | None = None
        self._node: _Function | None = None

    def read(self, node: _Function) -> None:
        self._begin(node)
        self._node = node
        for statement in _body(node):
            self.visit(statement)

    def read_early(self, value: ast.expr, made_by: str) -> None:
        """Read what is made while the program starts."""
        self._early, self._made_by = True, made_by
        self.visit(value)

    def attributes_assigned(self, node: _Function) -> Iterator[tuple[str, bool]]:
        """Each assignment to an attribute of self, and whether it is a set of what may be strings."""
        self._begin(node)
        sets: dict[ast.expr, bool] = {}
        unchanged: set[ast.expr] = set()
        for inner in ast.walk(node):
            if isinstance(inner, ast.Assign):
                sets.update((target, self._is_set(inner.value)) for target in inner.targets)
            elif isinstance(inner, ast.AnnAssign) and inner.value is not None:
                numbers = ast.unparse(inner.annotation).strip("'\"") in _NUMBER_SETS
                sets[inner.target] = not numbers and self._is_set(inner.value)
            elif isinstance(inner, ast.AugAssign):
                unchanged.add(inner.target)  # What it was before, it stays.
        for inner in ast.walk(node):
            if isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store):
                if self._is_self(inner.value) and inner not in unchanged:
                    yield inner.attr, sets.get(inner, False)

    def containers_assigned(self, node: _Function) -> Iterator[str]:
        """The attributes of self that are given a new list, dict or set."""
        self._begin(node)
        for inner in ast.walk(node):
            if not isinstance(inner, (ast.Assign, ast.AnnAssign)) or inner.value is None:
                continue
            made = inner.value.func if isinstance(inner.value, ast.Call) else None
            displays = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
            cls = None if made is None else self._resolve(made)
            if isinstance(inner.value, displays) or (isinstance(cls, type) and issubclass(cls, _CONTAINERS)):
                for target in inner.targets if isinstance(inner, ast.Assign) else [inner.target]:
                    if isinstance(target, ast.Attribute) and self._is_self(target.value):
                        yield target.attr

    def judge_read(self, node: _Function) -> list[str]:
        """Report what a function changes in the state. Returns the methods of self that it calls."""
        self._begin(node)
        state = _State(self, node)
        called = []
        for inner in ast.walk(node):
            for target in _assigned(inner):
                if isinstance(target, (ast.Attribute, ast.Subscript)) and state.holds(target.value):
                    self.report_read(target, ast.unparse(target) + self._trail)
            if isinstance(inner, ast.Call):
                changed = self._changed_in_state(inner, state)
                if changed is not None:
                    self.report_read(inner, ast.unparse(changed) + self._trail)
                elif isinstance(inner.func, ast.Attribute) and self._is_self(inner.func.value):
                    called.append(inner.func.attr)
        return called

    def _changed_in_state(self, node: ast.Call, state: _State) -> ast.expr | None:
        """What of the state a call changes, if that is known."""
        if node.args and state.holds(node.args[0]):
            is_setter = isinstance(node.func, ast.Attribute) and node.func.attr in ("__setattr__", "__delattr__")
            if is_setter or self._builtin(node.func) in ("setattr", "delattr", "next"):
                return node.args[0]
        if not isinstance(node.func, ast.Attribute) or self._cls is None:
            return None
        owner = state.meant(node.func.value)
        if isinstance(owner, ast.Attribute) and self._is_self(owner.value):
            known = owner.attr == "__dict__" or owner.attr in self._survey.container_attributes(self._cls)
            return owner if known and node.func.attr in _CHANGERS else None
        return None

    def report_read(self, node: ast.expr | ast.stmt, what: str) -> None:
        instead = "a method without @readonly, which is recorded"
        self._survey.report(self._file, node, READ, self._method, what, instead)

    def _begin(self, node: _Function) -> None:
        arguments = [*node.args.posonlyargs, *node.args.args]
        if self._text is not None and self._text.has_self and arguments:
            self._self_name = arguments[0].arg
        self._root = self._scope = self._function_scope(node, None)

    # --- scopes

    def _function_scope(self, node: _Function, outer: _Scope | None) -> _Scope:
        scope = _Scope(outer)
        binder = _Binder(scope, self._names.package)
        binder.parameters(node.args)
        for statement in _body(node):
            binder.visit(statement)
        return scope

    def _visit_inside(self, scope: _Scope, nodes: Iterable[ast.AST]) -> None:
        outside, self._scope = self._scope, scope
        for node in nodes:
            self.visit(node)
        self._scope = outside

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for expression in node.decorator_list:
            self.visit(expression)
        if not self._is_given_later(node.name):
            self._inner_function(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._inner_function(node)

    def _inner_function(self, node: _Function) -> None:
        for _, value in _defaults(node.args):
            self.visit(value)
        with self._later():
            self._visit_inside(self._function_scope(node, self._scope), _body(node))

    @contextmanager
    def _later(self) -> Iterator[None]:
        """For what does not run where it stands."""
        early, self._early = self._early, False
        yield
        self._early = early

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for expression in [*node.decorator_list, *node.bases, *(keyword.value for keyword in node.keywords)]:
            self.visit(expression)
        scope = _Scope(self._scope, is_class=True)
        binder = _Binder(scope, self._names.package)
        for statement in node.body:
            binder.visit(statement)
        self._visit_inside(scope, node.body)

    def _visit_comprehension(self, node: _Comprehension) -> None:
        scope = _Scope(self._scope)
        for generator in node.generators:
            for target in ast.walk(generator.target):
                if isinstance(target, ast.Name):
                    scope.bind(target.id)
        ordered = not isinstance(node, ast.SetComp) and node not in self._unordered
        for place, generator in enumerate(node.generators):
            # The first is evaluated outside.
            inside = scope if place else self._scope
            if ordered:
                outside, self._scope = self._scope, inside
                self._iterated(generator.iter)
                self._scope = outside
            self._visit_inside(inside, [generator.iter])
            self._visit_inside(scope, generator.ifs)
        results = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        self._visit_inside(scope, results)

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _visit_comprehension

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        # Without its annotation: nothing there is used by the call.
        self.visit(node.target)
        if node.value is not None:
            self.visit(node.value)

    # --- names

    def _resolve(self, node: ast.expr | _NotLoaded) -> object:
        """What an expression stands for, as far as that can be told without running it."""
        if isinstance(node, _NotLoaded):
            return _imported(node.dotted)
        if isinstance(node, ast.Name):
            return self._resolve_name(node.id)
        if isinstance(node, ast.Attribute):
            logger = self._logger_of_class(node)
            return _attribute(self._resolve(node.value), node.attr) if logger is None else logger
        if isinstance(node, ast.NamedExpr):
            return self._resolve(node.value)
        if isinstance(node, ast.Call):
            made = self._resolve(node.func)
            if _is_of(made, "logging", "getLogger"):
                return _Instance(sys.modules["logging"].Logger)
            return _Instance(made) if isinstance(made, type) and _from_stdlib(made.__module__) else _UNKNOWN
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            folder = self._resolve(node.left)
            cls = folder.cls if isinstance(folder, _Instance) else type(folder)
            return _Instance(cls) if cls.__module__.startswith("pathlib") else _UNKNOWN
        return _UNKNOWN

    def _resolve_name(self, name: str) -> object:
        home = self._scope.home(name)
        if home is None:
            return self._names[name]
        value = self._assigned_once(home, name)
        if value is None:
            return _UNKNOWN
        resolved = self._standing_in(home, lambda: self._resolve(value), cast(object, _UNKNOWN))
        # now = time.time is found where it stands; what is done with now is no second finding.
        banned = isinstance(value, ast.expr) and self._survey.table.rule(resolved) is not None
        return _UNKNOWN if banned else resolved

    @staticmethod
    def _assigned_once(home: _Scope, name: str) -> ast.expr | _NotLoaded | None:
        values = {local.value for local in home.names[name]}
        return values.pop() if len(values) == 1 else None

    def _standing_in(self, scope: _Scope, question: Callable[[], _T], otherwise: _T) -> _T:
        """Ask about a node of another scope. Names that go round in a circle get the answer otherwise."""
        if self._depth > _DEPTH_MAX:
            return otherwise
        inside, self._scope = self._scope, scope
        self._depth += 1
        try:
            return question()
        finally:
            self._depth -= 1
            self._scope = inside

    def _is_self(self, node: ast.expr) -> bool:
        if not isinstance(node, ast.Name) or not self._self_name or node.id != self._self_name:
            return False
        return self._scope.home(node.id) is self._root and len(self._root.names[node.id]) == 1

    def _builtin(self, node: ast.expr) -> str:
        """The name of the builtin that the node stands for, or nothing."""
        if not isinstance(node, ast.Name):
            return ""
        value = self._resolve(node)
        return node.id if value is not _UNKNOWN and value is vars(builtins).get(node.id) else ""

    def _logger_of_class(self, node: ast.Attribute) -> object:
        """The logger that is an attribute of the class; None if the expression is no such thing."""
        logging = sys.modules.get("logging")
        if logging is None or self._cls is None or not self._is_self(node.value):
            return None
        member = _statically(self._cls, node.attr)
        found = None if member is None else member.raw
        return found if isinstance(found, (logging.Logger, logging.LoggerAdapter)) else None

    # --- state outside the system

    def _outside(self, node: ast.expr) -> object:
        """What an expression stands for, if that is made once for the program; else `_UNKNOWN`."""
        if self._is_class_of_self(node):
            return self._cls or _UNKNOWN
        if self._is_self(node):
            return self._cls or _UNKNOWN if self._text is not None and self._text.is_of_class else _UNKNOWN
        found = self._of_the_class(node)
        found = self._resolve(node) if found is _UNKNOWN else found
        if isinstance(found, _Member):
            found = found.raw
        return _UNKNOWN if isinstance(found, (_NotLoaded, _Instance)) else found

    def _is_class_of_self(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Attribute):
            return node.attr == "__class__" and self._is_self(node.value)
        is_asked = isinstance(node, ast.Call) and len(node.args) == 1 and self._is_self(node.args[0])
        return is_asked and self._builtin(node.func) == "type"  # type: ignore[attr-defined]

    def _of_the_class(self, node: ast.expr) -> object:
        """The list, dict or set that is an attribute of the class and of none of its objects."""
        if not isinstance(node, ast.Attribute):
            return _UNKNOWN
        owner = self._cls if self._is_self(node.value) else self._outside(node.value)
        member = _statically(owner, node.attr) if isinstance(owner, type) else None
        if member is None or not isinstance(member.raw, _CONTAINERS) or _from_stdlib(member.owner.__module__):
            return _UNKNOWN
        return _UNKNOWN if self._is_given_to_objects(member) else member.raw

    def _is_given_to_objects(self, member: _Member) -> bool:
        return self._survey.assigned_on_self(self._cls or member.cls, member.name)

    def _changed(self, node: ast.expr, augmented: bool = False) -> None:
        """Judge an assignment to what it is made to."""
        if isinstance(node, (ast.Tuple, ast.List)):
            for each in node.elts:
                self._changed(each, augmented)
        elif isinstance(node, ast.Starred):
            self._changed(node.value, augmented)
        elif isinstance(node, ast.Attribute):
            if self._outside(node.value) is not _UNKNOWN and not self._is_self_of_object(node.value):
                self._report_outside(node, f"{ast.unparse(node)}, which is outside the system")
        elif isinstance(node, ast.Subscript):
            of_class = self._of_the_class(node.value) is not _UNKNOWN
            # A dict of a module may be a cache, which does no harm; what is counted in it does.
            if of_class or (augmented and self._outside(node.value) is not _UNKNOWN):
                self._report_outside(node, f"{ast.unparse(node.value)}, which is outside the system")

    def _is_self_of_object(self, node: ast.expr) -> bool:
        return self._is_self(node) and (self._text is None or not self._text.is_of_class)

    def _is_global(self, name: str) -> bool:
        scope: _Scope | None = self._scope
        while scope is not None:
            if name in scope.of_module:
                return True
            scope = None if name in scope.names else scope.outer
        return False

    def _report_outside(self, node: ast.expr, what: str) -> None:
        if self._text is not None and self._text.name in _WHILE_CLASSES_ARE_MADE:
            return
        self._report(node, OUTSIDE, what, _IN_STATE, None)

    def _changed_by_call(self, node: ast.Call) -> None:
        """Judge a call of a method that changes a container."""
        if not isinstance(node.func, ast.Attribute) or node.func.attr not in _CHANGERS:
            return
        owner = node.func.value
        of_class = self._of_the_class(owner) is not _UNKNOWN
        of_module = node.func.attr in _ADDERS and isinstance(self._outside(owner), (list, deque))
        if of_class or of_module:
            self._report_outside(owner, f"{ast.unparse(owner)}, which is outside the system")

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._changed(target)
            self.visit(target)
        if not self._is_for_later(node):
            self.visit(node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._changed(node.target, augmented=True)
        self.generic_visit(node)

    def visit_Delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            self._changed(target)
        self.generic_visit(node)

    # --- what is called after the action

    def _is_for_later(self, node: ast.Assign) -> bool:
        """Whether a name is given a function for nothing but `on_commit`."""
        if len(node.targets) != 1 or not isinstance(node.targets[0], ast.Name):
            return False
        return isinstance(node.value, (ast.Name, ast.Attribute, ast.Lambda)) and self._is_given_later(node.targets[0].id)

    def _is_given_later(self, name: str) -> bool:
        """Whether a name of the function is used for nothing but `on_commit`."""
        if self._node is None:
            return False
        used = [each for each in ast.walk(self._node) if isinstance(each, ast.Name) and each.id == name]
        given = [each.args[0] for each in ast.walk(self._node) if self._is_on_commit(each) and each.args]  # type: ignore[attr-defined]
        return bool(given) and all(each in given or isinstance(each.ctx, ast.Store) for each in used)

    def _is_on_commit(self, node: ast.AST) -> bool:
        return isinstance(node, ast.Call) and _is_of(self._resolve(node.func), "coopy.effects", "on_commit")

    def _visit_for_later(self, node: ast.expr) -> None:
        """Visit what is called after the action: of it, what is done now to come by it."""
        if isinstance(node, ast.IfExp):
            self.visit(node.test)
            self._visit_for_later(node.body)
            self._visit_for_later(node.orelse)
        elif isinstance(node, ast.Call) and self._resolve(node.func) is functools.partial and node.args:
            self._visit_for_later(node.args[0])
            for argument in [*node.args[1:], *node.keywords]:
                self.visit(argument)
        elif isinstance(node, ast.Attribute):
            self._visit_for_later(node.value)
        elif not isinstance(node, (ast.Name, ast.Lambda)):
            self.visit(node)

    # --- output

    def _asks_replaying(self) -> bool:
        """Whether the function asks if it is being replayed: it knows then what it says."""
        if self._asks is None:
            calls = [] if self._node is None else [each for each in ast.walk(self._node) if isinstance(each, ast.Call)]
            self._asks = any(_is_of(self._resolve(each.func), "coopy.ground.running", "replaying") for each in calls)
        return self._asks

    def _is_quiet(self, node: ast.expr) -> bool:
        """Whether output is live alone."""
        owner = self._resolve(node.value) if isinstance(node, ast.Attribute) else None
        if isinstance(owner, ModuleType) and owner.__name__ == "logging":
            owner = vars(owner).get("root")
        return self._asks_replaying() or (owner is not None and _is_live_only(owner))

    def _says(self, node: ast.Call) -> None:
        """Judge a call of what is not in the tables, and is output all the same."""
        if not isinstance(node.func, ast.Attribute):
            return
        owner = self._resolve(node.func.value)
        streams = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
        is_stream = node.func.attr in ("write", "writelines") and any(owner is each for each in streams)
        is_logger = (
            node.func.attr in _LOG_METHODS and "Logger" in type(owner).__name__ and not _from_stdlib(type(owner).__module__)
        )
        if (is_stream or is_logger) and not self._is_quiet(node.func):
            instead = next(use for code, use, _ in _WARNINGS if code == OUTPUT)
            self._report(node.func, OUTPUT, f"{ast.unparse(node.func)}()", instead, node)

    # --- uses

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._used(node, self._resolve(node), None)
        elif self._is_global(node.id):
            self._report_outside(node, f"{node.id}, a name of the module")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        judged = isinstance(node.ctx, ast.Load) and self._used(node, self._value(node), None)
        self._visit_below(node, judged)

    def visit_Call(self, node: ast.Call) -> None:
        self._order_shown(node)
        self._changed_by_call(node)
        self._says(node)
        if isinstance(node.func, (ast.Name, ast.Attribute)):
            judged = self._used(node.func, self._value(node.func), node)
            self._visit_below(node.func, judged)
        else:
            self.visit(node.func)
        for number, argument in enumerate(node.args):
            if number == 0 and self._is_on_commit(node):
                self._visit_for_later(argument)
            else:
                self.visit(argument)
        for keyword in node.keywords:
            made = self._resolve(keyword.value) if keyword.arg in _FACTORIES else None
            if isinstance(made, type):
                # A factory is called later, without arguments.
                with self._later():
                    self._used(keyword.value, made, ast.Call(func=keyword.value, args=[], keywords=[]))
            else:
                self.visit(keyword.value)

    def _visit_below(self, node: ast.expr, judged: bool) -> None:
        """Visit what an attribute is taken from; of a chain that was judged, only what it begins with."""
        while isinstance(node, ast.Attribute):
            node = node.value
            if not judged or not isinstance(node, (ast.Name, ast.Attribute)):
                self.visit(node)
                return

    def _value(self, node: ast.expr) -> object:
        """As _resolve; of self and super(), what the class has by that name."""
        if not isinstance(node, ast.Attribute) or self._cls is None:
            return self._resolve(node)
        if self._is_self(node.value) or self._is_class_of_self(node.value):
            return self._of_class(_statically(self._cls, node.attr))
        if isinstance(node.value, ast.Call) and self._builtin(node.value.func) == "super":
            return self._of_class(self._inherited(node.attr))
        return self._resolve(node)

    def _inherited(self, name: str) -> _Member | None:
        assert self._cls is not None and self._text is not None and self._text.owner is not None
        later = self._cls.__mro__[self._cls.__mro__.index(self._text.owner) + 1 :]
        owner = next((base for base in later if name in vars(base)), None)
        return None if owner is None else _Member(self._cls, owner, name, vars(owner)[name])

    def _of_class(self, member: _Member | None) -> object:
        if member is None or _from_stdlib(member.owner.__module__):
            return _UNKNOWN
        for text in _texts(member, self._survey.modules):
            self._survey.follow(text, self._method, self._trail, self._early)
        value = _unbound(member)
        value = member.raw if _kept_outside(member.raw) else value
        named = self._survey.table.rule(value) is not None or bool(_kept_outside(value))
        if not named:
            self._survey.follow_attribute(member, self._method, self._trail)
        return value if named and not self._survey.assigned_on_self(member.cls, member.name) else _UNKNOWN

    def _used(self, node: ast.expr, value: object, call: ast.Call | None) -> bool:
        """Judge one use of a value, and follow it where it leads. Whether there is nothing more to say."""
        if value is _UNKNOWN:
            return False
        if isinstance(value, _Member) and _kept_outside(value.raw) and not self._survey.assigned_on_self(value.cls, value.name):
            value = value.raw
        rule = self._survey.table.rule(value)
        if rule is not None:
            self._judge(node, rule, call)
            return True
        # Named without being called, it is called later.
        early = self._early and call is not None
        if isinstance(value, (FunctionType, functools._lru_cache_wrapper)):
            for function in _wrapped(value, value.__qualname__, self._survey.modules):
                self._survey.follow(_Text(function), self._method, self._trail, early)
        elif isinstance(value, _Member) and isinstance(value.raw, classmethod):
            for text in _texts(value, self._survey.modules):
                self._survey.follow(text, self._method, self._trail, early)
        elif isinstance(value, type) and call is not None:
            self._survey.follow_constructor(value, self._method, self._trail, early)
        elif _kept_outside(value) and not self._is_alias(node):
            code = _kept_outside(value)
            what, instead = _KEPT_OUTSIDE[code]
            self._report(node, code, f"{ast.unparse(node)}, {what}", instead, None)
            return True
        elif isinstance(value, _Member):
            self._survey.follow_attribute(value, self._method, self._trail)
        return False

    def _is_alias(self, node: ast.expr) -> bool:
        # rng = GENERATOR is found where it stands.
        return isinstance(node, ast.Name) and self._scope.home(node.id) is not None

    def _judge(self, node: ast.expr, rule: _Rule, call: ast.Call | None) -> None:
        if call is None and rule.only_called:
            return
        if rule.argument is not None and (call is None or _given(call, rule.argument, rule.keyword)):
            # Named without being called, it will be given its argument later.
            if rule.given is not None:
                self._judge(node, rule.given, call)
            return
        if rule.code == OUTPUT and self._is_quiet(node):
            return
        if rule.code == IDENTITY and self._text is not None and self._text.name in _IDENTITY_METHODS:
            return
        early = self._early and call is not None and rule.code in ANSWERED
        self._report(node, START if early else rule.code, rule.name + "()" * (call is not None), rule.instead, call)

    def _report(self, node: ast.expr, code: str, what: str, instead: str, call: ast.Call | None) -> None:
        if call is None:
            instead = instead.removesuffix("({args})").removesuffix("()")
        elif "{args}" in instead:
            given = [*map(ast.unparse, call.args), *map(ast.unparse, call.keywords)]
            shown = ", ".join(given)
            instead = instead.replace("{args}", shown if len(shown) <= _ARGUMENTS_SHOWN_MAX else "...")
        for service in ("clock", "env"):
            if f"{{{service}}}" in instead:
                instead = self._reached(service, instead)
        if code == START:
            instead = self._made_by.replace("%s", instead)
        self._survey.report(self._file, node, code, self._method, what + self._trail, instead)

    def _reached(self, service: str, instead: str) -> str:
        text = self._text
        if text is not None and text.has_services and text.cls is self._survey.cls:
            if self._is_self(ast.Name(self._self_name, ast.Load())):
                return instead.replace(f"{{{service}}}", f"{self._self_name}._{service}")
        return instead.replace(f"{{{service}}}", service) + f" (from coopy import {service})"

    # --- sets

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        self._iterated(node.iter)
        self.generic_visit(node)

    visit_AsyncFor = visit_For

    def visit_Starred(self, node: ast.Starred) -> None:
        if isinstance(node.ctx, ast.Load) and node not in self._unordered:
            self._iterated(node.value)
        self.generic_visit(node)

    def visit_Set(self, node: ast.Set) -> None:
        for element in node.elts:
            self.visit(element.value if isinstance(element, ast.Starred) else element)

    def visit_YieldFrom(self, node: ast.YieldFrom) -> None:
        self._iterated(node.value)
        self.generic_visit(node)

    def _iterated(self, node: ast.expr) -> None:
        if node not in self._unordered and self._is_set(node):
            shown = ast.unparse(node)
            self._report(node, SET_ORDER, f"{shown}, a set", f"sorted({shown})", None)

    def _order_shown(self, node: ast.Call) -> None:
        """Judge a call by what it does with the order of what it is given."""
        builtin = self._builtin(node.func)
        if builtin in _UNORDERED or self._changes_set(node.func):
            self._unordered.update(node.args)
        elif builtin in _ORDERED:
            if node in self._unordered:
                self._unordered.update(node.args)
            for argument in node.args:
                self._iterated(argument)
        elif isinstance(node.func, ast.Attribute):
            owner, name = node.func.value, node.func.attr
            if name == "join" and isinstance(owner, ast.Constant):
                for argument in node.args:
                    self._iterated(argument)
            elif name == "pop" and not node.args and self._is_set(owner):
                shown = ast.unparse(owner)
                self._report(node, SET_ORDER, f"{shown}.pop()", f"min({shown}), and remove that one", node)

    def _changes_set(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Attribute) and node.attr in _SET_CHANGERS and self._is_set(node.value)

    def _is_set(self, node: ast.expr) -> bool:
        """Whether the value is seen to be a set, of what may be strings."""
        if isinstance(node, ast.Set):
            return not all(_is_number(element) for element in node.elts)
        if isinstance(node, ast.SetComp):
            return True
        if isinstance(node, ast.BinOp):
            return isinstance(node.op, _SET_OPERATORS) and any(map(self._is_set, (node.left, node.right)))
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute):
                return node.func.attr in _SET_METHODS and self._is_set(node.func.value)
            if self._builtin(node.func) not in _SET_MAKERS:
                return False
            made_of = node.args[0] if node.args else None
            return not (isinstance(made_of, ast.Call) and self._builtin(made_of.func) == "range")
        if isinstance(node, ast.Attribute):
            if self._cls is None or not self._is_self(node.value):
                return False
            return node.attr in self._survey.set_attributes(self._cls)
        return isinstance(node, ast.Name) and self._is_local_set(node.id)

    def _is_local_set(self, name: str) -> bool:
        home = self._scope.home(name)
        value = None if home is None else self._assigned_once(home, name)
        if home is None or not isinstance(value, ast.expr):
            return False
        made_of = value
        return self._standing_in(home, lambda: self._is_set(made_of), False)


_PASSED_ON = frozenset({"enumerate", "iter", "list", "reversed", "sorted", "tuple", "zip"})


class _State:
    """Which expressions of a function stand for a part of the state of self."""

    def __init__(self, reader: _Reader, node: _Function) -> None:
        self._reader = reader
        self._values: dict[str, list[ast.expr | None]] = {each.arg: [None] for each in _parameters(node.args)}
        for inner in ast.walk(node):
            if isinstance(inner, (ast.For, ast.AsyncFor, ast.comprehension)):
                self._bind(inner.target, _elements_of(inner.iter))
            elif isinstance(inner, ast.Assign):
                for target in inner.targets:
                    self._bind(target, inner.value)
            elif isinstance(inner, (ast.AnnAssign, ast.NamedExpr)):
                self._bind(inner.target, inner.value)
            elif isinstance(inner, (ast.AugAssign, ast.withitem)):
                made = inner.target if isinstance(inner, ast.AugAssign) else inner.optional_vars
                if made is not None:
                    self._bind(made, None)

    def _bind(self, target: ast.expr, value: ast.expr | None) -> None:
        for each in ast.walk(target):
            if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
                self._values.setdefault(each.id, []).append(value)

    def meant(self, node: ast.expr) -> ast.expr:
        """What a name is given, if that is one thing."""
        for _ in range(_DEPTH_MAX):
            found = self._values.get(node.id, []) if isinstance(node, ast.Name) else []
            if len(found) != 1 or found[0] is None:
                break
            node = found[0]
        return node

    def holds(self, node: ast.expr, depth: int = 0) -> bool:
        """Whether the value is self, or a part of its state."""
        if depth > _DEPTH_MAX:
            return False
        if isinstance(node, ast.Name):
            if self._reader._is_self(node):
                return True
            values = self._values.get(node.id, [None])
            return all(value is not None and self.holds(value, depth + 1) for value in values)
        if isinstance(node, ast.Attribute):
            return self.holds(node.value, depth + 1)
        if isinstance(node, ast.Subscript):
            # A slice is a copy.
            return not isinstance(node.slice, ast.Slice) and self.holds(node.value, depth + 1)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            is_element = node.func.attr in ("get", "items", "values") and not self._reader._is_self(owner)
            return is_element and self.holds(owner, depth + 1)
        return isinstance(node, ast.NamedExpr) and self.holds(node.value, depth + 1)


def _elements_of(node: ast.expr) -> ast.expr:
    """What holds the elements that a loop goes over."""
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _PASSED_ON and node.args:
        node = node.args[0]
    return node


def _assigned(node: ast.AST) -> Iterator[ast.expr]:
    """What a statement assigns to, or deletes."""
    if isinstance(node, (ast.Assign, ast.Delete)):
        targets = node.targets
    elif isinstance(node, (ast.AugAssign, ast.For, ast.AsyncFor)) or (
        isinstance(node, ast.AnnAssign) and node.value is not None
    ):
        targets = [node.target]
    else:
        return
    while targets:
        target = targets[0]
        inside = target.elts if isinstance(target, (ast.Tuple, ast.List)) else []
        targets = [*inside, *targets[1:]]
        if not inside:
            yield target.value if isinstance(target, ast.Starred) else target


def _body(node: _Function) -> list[ast.AST]:
    return [node.body] if isinstance(node, ast.Lambda) else [*node.body]


def _imported(dotted: str) -> object:
    """What an import in the function would give; by its name alone if that is not loaded."""
    if dotted in sys.modules:
        return sys.modules[dotted]
    module, _, name = dotted.rpartition(".")
    if module in sys.modules:
        return _attribute(sys.modules[module], name)
    return _NotLoaded(dotted)


_GENERATORS_OF_CHANCE = ("random.Random", "random.SystemRandom", "numpy.random.Generator", "numpy.random.RandomState")


def _kept_outside(value: object) -> str:
    """The code of what goes on from where it was left, and is not in the state; empty for anything else."""
    if isinstance(value, functools.partial):
        return next(filter(None, map(_kept_outside, (value.func, *value.args))), "")
    owner = value.__self__ if isinstance(value, (MethodType, BuiltinFunctionType, MethodWrapperType)) else value
    kind = type(owner)
    # Subclasses may be anything; coopy's own env is one.
    for dotted in _GENERATORS_OF_CHANCE:
        module, _, name = dotted.rpartition(".")
        if kind is getattr(sys.modules.get(module), name, None):
            return GENERATOR
    return ITERATOR if kind.__module__ in ("builtins", "itertools") and hasattr(kind, "__next__") else ""


def _is_of(value: object, module: str, name: str) -> bool:
    """Whether a function is that of this module."""
    return isinstance(value, FunctionType) and (value.__module__, value.__name__) == (module, name)


def _is_live_only(logger: Any) -> bool:
    """Whether what a logger is told while actions are replayed goes nowhere."""
    kind = getattr(sys.modules.get("coopy.log"), "LiveOnly", None)
    if kind is None:
        return False
    logger = getattr(logger, "logger", logger)  # Of an adapter.
    handlers: list[Any] = []
    found = logger
    while found is not None:
        handlers += getattr(found, "handlers", ())
        found = getattr(found, "parent", None) if getattr(found, "propagate", False) else None
    asked = [[logger], *([handler] for handler in handlers)]
    says = [any(isinstance(each, kind) for each in getattr(one, "filters", ())) for (one,) in asked]
    return says[0] or (len(says) > 1 and all(says[1:]))


def _given(call: ast.Call, position: int, keyword: str) -> bool:
    """Whether the call has the argument. What * and ** hold cannot be told, and counts."""
    if any(isinstance(argument, ast.Starred) for argument in call.args):
        return True
    values = call.args[position : position + 1]
    values += [given.value for given in call.keywords if given.arg in (None, keyword)]
    return any(not (isinstance(value, ast.Constant) and value.value is None) for value in values)


def _is_number(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, (int, float, complex))
