"""Reads the methods of a domain class for what replay cannot repeat. It has more than 500 lines because the table of its codes and
what is read for them stand in front of the survey that does it.

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
    CPY108  error     the block of a ``with`` that changes the object: it runs after the action that has opened it
    CPY109  error     a method with a cache of the process, such as functools.lru_cache, that changes the object
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
    CPY214  warning   a @readonly method that assigns; a note: an operator or a property that does, and so is recorded
    CPY215  warning   a part of the state, or what changes it, that is handed out; not told with check=True, which sees changes
    CPY216  warning   another system, or a queue, a store or a bus: each start would call it again
    CPY301  warning   a comment that ignores a code there is none of; told by `check` only
    CPY302  warning   a comment that ignores what is not found; told by `check` only

A code means the same in every release. A comment ``# coopy: ignore[CPY101]``, which may
name several, or ``# coopy: ignore`` for all, silences what is found on its line, or in the
statement that begins there. Of these comments only those in code that was read are
judged: those of other code may be needed when another class is checked.

What is read: the methods a class has today, in its own body and in its bases
outside the standard library; what they inherit through ``super()``; plain
functions and constructors of the user's own modules that they use, and what those
use: modules of the same package, and all others that are not installed; methods of the objects that these constructors make, if an
action looks up their name (`coopy.determinism.others`). Methods marked @readonly are never replayed and so are read only where
another method uses them. Default values of parameters, of dataclass fields and of
attributes of the class that methods use count too: they are made anew by each start.

A name is judged by the object it stands for, not by how it is spelled: it is
looked up where the function would look it up, and compared with the tables
of `coopy.determinism.rules`. A local name, a parameter or an attribute of ``self`` that happens to be
called ``random`` stands for something else, and nothing is said about it. In
doubt nothing is said: a value that is known only when the method runs gives no finding.

Where the source is not at hand (a prompt, ``exec``, a frozen program, compiled files alone) the byte code is read
instead, by the same rules: see `coopy.determinism.decompile`. What that does not hold, comments and the
body of the class, is not read, so a warning says so.

What it does not do: it runs nothing and imports nothing. It does not follow
calls into packages that others have written. Of state
kept outside the system it sees names, counters and lists that methods change, not
a dict that may be a cache. It does not see ``eval``, nor modules written in C. What escapes it is caught later, if at all,
by comparing how actions ended.

What is passed to `on_commit` is called later, outside any action, and is not read. Output is none where
`replaying` was asked, and that of a logger with a `coopy.LiveOnly` is none either.

The sets that it warns about are those it can see being made, in the same
function or as attributes of ``self``: strings hash differently in each
process, so a set of them is walked in another order by replay.
"""

from __future__ import annotations

import ast
import functools
import re
import sys
import warnings
from collections.abc import Iterable, Mapping
from types import (
    CodeType,
    FunctionType,
)

from coopy.decorators import READS
from coopy.determinism import decompile
from coopy.determinism.glance import Glance
from coopy.determinism.later import hands_out, opens_a_block
from coopy.determinism.modules import Home, is_installed, package_of, read_classes
from coopy.determinism.names import FunctionNode, Member, Names, Table, statically
from coopy.determinism.others import Others, annotated, descriptors_of, made_by, named_in
from coopy.determinism.parts import Parts, no_parts, note_parts
from coopy.determinism.reader import CONTAINERS, Reader, kept_outside
from coopy.determinism.rules import (
    ANSWERED,
    BLOCK,
    CACHE,
    ERROR_CODES,
    IDENTITY,
    ITERATOR,
    NO_SOURCE,
    OUTPUT,
    OUTSIDE,
    PART,
    READ,
    DeterminismWarning,
    Finding,
)
from coopy.determinism.source import Library, Source
from coopy.determinism.texts import (
    CONSTRUCTORS,
    Text,
    default_values,
    defaults_of,
    factories_of,
    field_sets,
    has_fields,
    is_compiled,
    methods_of,
    texts_of,
)
from coopy.determinism.writes import is_cached, kept_by, written_by, written_by_reading
from coopy.errors import PrevalentError, UsageError

MODES = ("strict", "warn", "off")


def findings(cls: type, glance: Glance | None = None) -> list[Finding]:
    """What in ``cls`` replay cannot repeat, by file and line. A place is named once, one that is ignored not at all.

    What ``glance`` has settled is not read.
    """
    return _Survey(cls, Library(), glance).findings()


def check(classes: Iterable[type], deterministic: bool = False) -> list[Finding]:
    """As `findings`, of several classes, with what is wrong with the comments that ignore findings.

    ``deterministic``: without `ANSWERED`, as for systems that are opened with deterministic=True.
    """
    library = Library()
    found: dict[object, Finding] = {}
    for cls in classes:
        survey = _Survey(cls, library, None)  # What the comments say is known when all is read.
        survey.judge_comments()
        for finding in survey.findings():
            found.setdefault(_by_place(finding), finding)
    kept = [finding for finding in found.values() if not (deterministic and finding.code in ANSWERED)]
    return sorted([*kept, *library.comments()], key=_by_place)


def validate(cls: type, mode: str, deterministic: bool = False, check: bool = False, glance: Glance | None = None) -> None:
    """Refuse a class that replay cannot repeat, as strictly as ``mode`` says.

    ``"warn"`` refuses errors and warns about warnings, ``"strict"`` refuses
    both, ``"off"`` does not look. ``deterministic``: what is `ANSWERED` may be asked. ``check``: for a system
    that is opened with check=True, where a warning is refused, too. Raises `PrevalentError`; `UsageError` for another mode.
    """
    if mode not in MODES:
        raise UsageError(f"validation={mode!r} must be 'strict', 'warn' or 'off'. Nothing was opened.")
    if mode == "off":
        return
    found = [
        each for each in findings(cls, glance) if each.severity != "note" and not (deterministic and each.code in ANSWERED)
    ]
    if check:
        found = [each for each in found if each.code != PART]  # Changes are seen when they are made.
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
    while frame.f_back is not None and package_of(frame.f_globals.get("__name__", "")) == "coopy":
        frame = frame.f_back
        level += 1
    return level


_OF_MACHINERY = re.compile(r"[\w.()]+\.__\w+__[,.\[]")
_FIRST_LINE = ast.Pass(lineno=1, col_offset=0)


class _Survey:
    """One domain class, everything it reaches, and what was found there."""

    def __init__(self, cls: type, library: Library, glance: Glance | None) -> None:
        self.cls = cls
        self._glance = glance
        self.modules = Home(cls)
        self._library = library
        self._found: dict[tuple[str, int, int, str], Finding] = {}
        self._seen: set[object] = set()
        self._methods: dict[type, list[Text]] = {}
        self._sets: dict[type, frozenset[str]] = {}
        self._assigned: dict[type, frozenset[str]] = {}
        self._containers: dict[type, frozenset[str]] = {}
        self._decompiled: dict[CodeType, ast.FunctionDef] = {}
        self._unreadable: set[str] = set()
        self._made: Parts | None = None
        self._others = Others(cls, self.modules, functools.partial(self.follow, early=False))
        self.met = self._others.met
        self.used = self._others.used

    def findings(self) -> list[Finding]:
        actions = [text for text in self.methods(self.cls) if not text.is_readonly]
        self._seen.update((text.function, False) for text in actions)
        # The fields first: a generated constructor holds their factories too, and knows them by no name.
        self._read_fields(self.cls, f"{self.cls.__name__}.__init__", "")
        glance = self._glance
        looked_at = [text for text in self.methods(self.cls) if glance is None or not glance.settles_text(text)]
        for text in looked_at:
            if not text.is_readonly:
                self._read(text, text.shown, "")
        self._meet_others()
        self._others.read_all()
        for text in looked_at:
            if text.is_read and not self._is_recorded(text):
                self.judge_read(text, text.shown, "", set())
                self._judge_lookups(text)
        for text in looked_at:
            self._judge_what_comes_later(text)
        for owner in read_classes(self.cls):
            compiled = next((name for name, raw in vars(owner).items() if is_compiled(owner, raw)), None)
            if compiled is not None:
                what = "compiled code, which was not read"
                self.report(
                    f"<{owner.__module__}>", _FIRST_LINE, NO_SOURCE, f"{owner.__name__}.{compiled}", what, "a class in Python"
                )
        return sorted(self._found.values(), key=_by_place)

    def _meet_others(self) -> None:
        """Notes the classes that the body of the class names: in the annotations of its fields, and its descriptors."""
        place = f"{self.cls.__name__}.__init__", ""
        for owner in read_classes(self.cls):
            module = sys.modules.get(owner.__module__)
            for annotation in vars(owner).get("__annotations__", {}).values():
                for cls in named_in(annotation, {} if module is None else vars(module)):
                    self.met(cls, *place)
        for kind in descriptors_of(self.cls, self.modules):
            self.met(kind, *place)

    @functools.cached_property
    def table(self) -> Table:
        """The rules, by the objects they are about."""
        return Table()

    def _is_recorded(self, text: Text) -> bool:
        """Whether what has the name of a read is recorded, as it writes. Says so, for `check` to tell."""
        member, node = text.member, self._node(text)
        if text.is_readonly or member is None:
            return False
        is_method = member.name in READS and not isinstance(member.raw, property)
        written = (written_by if is_method else written_by_reading)(member.cls, member.name, member.raw)
        if written and node is not None:
            instead = "@coopy.action to say so, or @readonly if it does no harm"
            self.report(text.file, node, READ, text.shown, f"{written}, and so is recorded", instead, "note")
        return bool(written)

    def _judge_lookups(self, text: Text) -> None:
        """Look at what a method that is not recorded looks up, and what is made thereby."""
        node = self._node(text)
        kept = "" if text.cls is None or node is None or text.is_kept else kept_by(text.function, text.cls, text.owner)
        if kept and node is not None:
            self._reader(text, text.shown, "").report_read(node, kept)

    def _judge_what_comes_later(self, text: Text) -> None:
        """Look at what a method hands out that changes the object when the action is over, or keeps where replay has nothing."""
        member, node = text.member, self._node(text)
        if member is None or node is None or text.name in CONSTRUCTORS:
            return
        place = (text.file, node, text.shown)
        block = opens_a_block(member.cls, member.name, member.raw)
        part = hands_out(member.cls, member.name, member.raw, node, self._parts())
        cached = is_cached(member.raw) and written_by(member.cls, member.name, member.raw)
        if block:
            instead = (
                "@coopy.outside, so that each method that the block calls is recorded; or two methods, to begin and to end"
            )
            self._report_at(place, BLOCK, f"{block} after the action, where nothing is recorded", instead)
        elif part:
            self._report_at(
                place, PART, f"{part}: what is changed there is not recorded", "a copy, and a method that changes it"
            )
        if cached:
            instead = "a dict of the object"
            self._report_at(place, CACHE, f"{cached}, and not again for what its cache has, which replay has not", instead)

    def _parts(self) -> Parts:
        """What the methods of the class make attributes of its objects."""
        if self._made is None:
            self._made = no_parts()
            for text in self.methods(self.cls):
                node = self._node(text)
                if node is not None and text.has_self and text.code.co_argcount:
                    names = Names(text.function.__globals__, text.enclosed())
                    note_parts(node, names, text.code.co_varnames[0], self._made)
        return self._made

    def _report_at(self, place: tuple[str, FunctionNode, str], code: str, what: str, instead: str) -> None:
        file, node, method = place
        self.report(file, node, code, method, what, instead)

    def judge_read(self, text: Text, method: str, trail: str, seen: set[FunctionType]) -> None:
        """Look at a method that is not recorded, and at those it calls, for what they change."""
        node = self._node(text)
        if node is None or text.function in seen:
            return
        seen.add(text.function)
        source = self._library.parsed(text.file)
        if isinstance(source, Source):
            source.reads(node)
        reader = self._reader(text, method, trail)
        if text.is_kept:
            reader.report_read(node, f"the state: it is a cached_property, which keeps what it returns{trail}")
        for name in reader.judge_read(node):
            member = None if text.cls is None else statically(text.cls, name)
            for called in [] if member is None else texts_of(member, self.modules):
                if not called.is_read:
                    self.judge_read(called, method, f" in {called.shown}(){trail.replace(' in', ', called by')}", seen)

    def container_attributes(self, cls: type) -> frozenset[str]:
        """Attributes that the methods of ``cls`` make lists, dicts and sets."""
        if cls not in self._containers:
            found = {name for name, value in factories_of(cls).items() if value in CONTAINERS}
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

    def methods(self, cls: type) -> list[Text]:
        """Every method of the class that can be read, by file and line."""
        if cls not in self._methods:
            found = methods_of(cls, self.modules)
            self._methods[cls] = sorted(found, key=lambda text: (text.file, text.code.co_firstlineno))
        return self._methods[cls]

    def report(
        self, file: str, node: ast.expr | ast.stmt, code: str, method: str, what: str, instead: str, severity: str = "warning"
    ) -> None:
        source = self._library.parsed(file)
        if source.silences(node.lineno, code) or self._is_of_a_library(file, code, what):
            return
        severity = "error" if code in ERROR_CODES else severity
        finding = Finding(code, severity, file, node.lineno, source.column(node), method, what, instead)
        # The first method that reaches a place is named; repairing it repairs it for all.
        self._found.setdefault(_by_place(finding), finding)

    def _is_of_a_library(self, file: str, code: str, what: str) -> bool:
        """Whether a base that others have written does what is its own affair: it says something, or keeps what it knows of its classes."""
        own = getattr(sys.modules.get(self.cls.__module__), "__file__", None) or ""
        is_own_affair = code in (IDENTITY, OUTPUT) or (code == OUTSIDE and _OF_MACHINERY.match(what) is not None)
        return is_own_affair and is_installed(file) and not is_installed(own)

    def follow(self, text: Text, method: str, trail: str, early: bool) -> None:
        """Read a function that a method uses, once; ``early``: one that runs while the program starts."""
        if text.module in self.modules and (text.function, early) not in self._seen:
            self._seen.add((text.function, early))
            helper = f" in helper {text.shown}()"
            if trail:
                helper += "," + trail.replace(" in helper", " called by")
            kept = decompile.stored_outside(text.code)
            if kept and not early:
                place = ast.Pass(lineno=text.code.co_firstlineno, col_offset=0)
                what = f"{', '.join(sorted(kept))}, which a function around it keeps{helper}"
                self.report(text.file, place, OUTSIDE, method, what, "an attribute of self")
            self._read(text, method, helper, early)

    def follow_constructor(self, cls: type, method: str, trail: str, early: bool) -> None:
        """Read what making an object of a class in these modules runs."""
        if cls.__module__ not in self.modules or (cls, early) in self._seen:
            return
        self._seen.add((cls, early))
        if not early:
            self.met(cls, method, trail)
        self._read_fields(cls, method, trail)
        members = [*filter(None, (statically(cls, name) for name in CONSTRUCTORS)), *made_by(cls)]
        for text in [text for member in members for text in texts_of(member, self.modules)]:
            self.follow(text, method, trail, early)

    def follow_attribute(self, member: Member, method: str, trail: str) -> None:
        """Read how the body of a class in these modules makes an attribute that a method uses."""
        owner, name = member.owner, member.name
        if owner.__module__ not in self.modules or (owner, name) in self._seen:
            return
        self._seen.add((owner, name))
        if not texts_of(member, self.modules) and not self.assigned_on_self(member.cls, name):
            self._read_values(owner, f"self.{name} = %s in __init__", method, "the attribute", trail, name)

    def set_attributes(self, cls: type) -> frozenset[str]:
        """Attributes that every assignment in the methods of ``cls`` makes a set of what may be strings."""
        if cls not in self._sets:
            self._sets[cls] = frozenset()  # an attribute made from another one is not looked into twice
            assigned = dict(field_sets(cls))
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

    def _read(self, text: Text, method: str, trail: str, early: bool = False) -> None:
        node = self._node(text)
        if node is None:
            return
        source = self._library.parsed(text.file)
        if isinstance(source, Source):
            source.reads(node)
        # Python 3.13 knows a source for the name "<string>", which is that of `python -c`.
        is_source = isinstance(source, Source) and not (text.file.startswith("<") and text.code in self._decompiled)
        if not is_source and text.file not in self._unreadable:
            self._unreadable.add(text.file)
            what = "code whose source is not at hand: its byte code was read, without comments and what the class holds"
            place = ast.Pass(lineno=text.code.co_firstlineno, col_offset=0)
            self.report(text.file, place, NO_SOURCE, method, what + trail, "a module with its source")
        defaults = default_values(text.function)
        if is_source:
            # How others were made the source says.
            defaults = {name: value for name, value in defaults.items() if kept_outside(value) == ITERATOR}
        self._judge_values(text.file, node.lineno, defaults, method, "the default of", trail)
        # What a function inside a function saw by a name when it was made cannot be told from here.
        if is_source and "<locals>" not in text.function.__qualname__:
            names = Names(text.function.__globals__, vars(text.owner) if text.owner else {})
            for parameter, value in defaults_of(node.args):
                reader = Reader(self, names, text.file, method, f" as the default of {parameter}{trail}")
                reader.read_early(value, f"{parameter}=None, and in the body %s")
        if not early:
            for cls in annotated(text.function, text.function.__globals__):
                self.met(cls, method, trail)
        self._reader(text, method, trail, early).read(node)

    def _judge_values(self, file: str, line: int, values: Mapping[str, object], method: str, kind: str, trail: str) -> None:
        """Judge values that are called later, where no source says how they were made."""
        names = Names({}, values)
        for name in values:
            node = ast.Name(name, ast.Load(), lineno=line, col_offset=0)
            Reader(self, names, file, method, f" as {kind} {name}{trail}").read_early(node, "%s, in the method")

    def _read_fields(self, cls: type, method: str, trail: str) -> None:
        """Read the defaults of the fields of a dataclass or an attrs class."""
        for owner in read_classes(cls):
            if has_fields(owner) and not self._has_source(owner):
                self._judge_values(f"<{owner.__module__}>", 1, factories_of(owner), method, "the default of the field", trail)
            elif has_fields(owner):
                self._read_values(owner, "default_factory=lambda: %s", method, "the field", trail)

    def _read_values(self, owner: type, instead: str, method: str, kind: str, trail: str, only: str = "") -> None:
        """Read what the body of a class gives its names."""
        source, module = self._source_of(owner), sys.modules.get(owner.__module__)
        if source is None or module is None or "<locals>" in owner.__qualname__:
            return
        names = Names(vars(module), vars(owner))
        for name, value in source.assignments(owner.__qualname__):
            if not only or name == only:
                source.reads(value)
                place = f" in {kind} {owner.__name__}.{name}"
                Reader(self, names, str(module.__file__), method, place + trail).read_early(value, instead)

    def _source_of(self, cls: type) -> Source | None:
        """The file that a class is defined in."""
        module = sys.modules.get(cls.__module__)
        file = getattr(module, "__file__", None)
        return None if module is None or file is None else self._library.source(file, vars(module))

    def _node(self, text: Text) -> FunctionNode | None:
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

    def _reader(self, text: Text, method: str, trail: str, early: bool = False) -> Reader:
        names = Names(text.function.__globals__, text.enclosed())
        return Reader(self, names, text.file, method, trail, text, early)
