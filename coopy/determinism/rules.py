"""What replay cannot repeat, as tables: each thing of a library by its name, its code, and what to use instead; and the answer, `Finding`.

How a class is read for these things is not here: see `coopy.determinism.reader`. What the codes mean is a table in
`coopy.determinism.check`.
"""

from __future__ import annotations

from typing import NamedTuple

TIME, CHANCE, IDENTIFIER, START, GENERATOR, ITERATOR, LIBRARY, BLOCK, CACHE = ERROR_CODES = tuple(
    f"CPY{number}" for number in range(101, 110)
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
    PART,
    SYSTEM,
) = WARNING_CODES = tuple(f"CPY{number}" for number in range(201, 217))
UNKNOWN_CODE, UNUSED_IGNORE = COMMENT_CODES = "CPY301", "CPY302"
ANSWERED = frozenset({TIME, CHANCE, IDENTIFIER})
"""What `coopy.determinism.install` answers from the action. A default is made where there is none, and a generator
kept outside goes on where the action before left it."""


class Rule(NamedTuple):
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
    given: Rule | None = None
    # A class may be named freely, in isinstance say; only calling it counts.
    only_called: bool = False


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
    "email.utils": "make_msgid",
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
    "email.utils": "formatdate",
    "pandas": "Timestamp.now Timestamp.today Timestamp.utcnow",
    "pendulum": "now today tomorrow yesterday",
    "timeit": "default_timer",
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
WARNINGS: list[tuple[str, str, dict[str, str]]] = [
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
            "sqlite3": "connect",
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
            "locale": "atof atoi currency delocalize format_string getdefaultlocale getlocale getpreferredencoding localeconv "
            "localize setlocale strcoll strxfrm",
            "os": "cpu_count environ environb getenv getenvb getlogin getpid getppid getuid putenv uname unsetenv",
            "os.path": "expanduser expandvars",
            "pathlib": "Path.expanduser Path.home",
            "platform": "node platform release system uname version",
            "resource": "getrusage",
            "shutil": "get_terminal_size",
            "sys": "_getframe argv getrefcount",
            "inspect": "currentframe stack",
            "threading": "active_count current_thread get_ident get_native_id",
            "gc": "get_count get_objects get_referents get_referrers get_stats",
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
        "on_commit(), or ask coopy.replaying() before, or coopy.LiveOnly for the logger",
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
            "asyncio": "run",
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
    "email.utils.formatdate": (0, "timeval"),
    **{f"numpy.random.{name}": (0, "seed") for name in "Generator MT19937 PCG64 Philox RandomState SFC64 default_rng".split()},
    "numpy.random.SeedSequence": (0, "entropy"),
    "bson.ObjectId": (0, "oid"),
    "bson.objectid.ObjectId": (0, "oid"),
    "ulid.ULID": (0, "value"),
    "datetime.datetime.fromtimestamp": (1, "tz"),
}
_LOCAL_WITH_ARGUMENT = ("time.localtime", "time.ctime")
_CLASSES = frozenset({"socket.socket"})  # those not spelled as classes are


def _rules() -> dict[str, Rule]:
    """Every rule by the full dotted name of what it is about."""
    rows = [(code, module, name, use) for code, lines in _ERRORS.items() for module, name, use in lines]
    for code, use, modules in WARNINGS:
        rows += [(code, module, name, use) for module, names in modules.items() for name in names.split()]
    rules = {}
    for code, module, name, use in rows:
        dotted = f"{module}.{name}"
        shown = name if module in ("builtins", "datetime", "pathlib") else dotted
        argument, keyword = _ARGUMENTS.get(dotted, (None, ""))
        given = Rule(TIME_ZONE, shown, _LOCAL_TIME) if dotted in _LOCAL_WITH_ARGUMENT else None
        only_called = name[0].isupper() and "." not in name or dotted in _CLASSES
        rules[dotted] = Rule(code, shown, use, argument, keyword, given, only_called)
    return rules


RULES = _rules()


OF_SYSTEMS = ("compat", "control", "messaging", "objects", "sync")
"""The rooms of coopy whose objects stand for a system, or a part of one."""
OF_ANOTHER = "on_commit(), or let the caller call it after the action: each start would repeat it"

_OF_RETURNS = {BLOCK: "opens", CACHE: "changes", PART: "hands out"}


class Finding(NamedTuple):
    """One place in a domain class, or in what it uses, that replay may not repeat."""

    code: str
    """One of `ERROR_CODES`, `WARNING_CODES` or `COMMENT_CODES`."""
    severity: str
    """``"error"``, ``"warning"``, or ``"note"``: nothing is wrong, and `check` tells it where `validate` does not."""
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
        if self.code in _OF_RETURNS:
            return _OF_RETURNS[self.code]
        head = self.what.partition(" ")[0]
        if head.endswith("()") and self.code != READ:
            return "calls"
        return {SET_ORDER: "iterates over", OUTSIDE: "changes", READ: "changes"}.get(self.code, "uses")


class DeterminismWarning(UserWarning):
    """A domain class does something that replay may not repeat."""
