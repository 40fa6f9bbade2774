"""The one line: opens a system on this machine, or a node of a replicated one."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, overload

from coopy import migration
from coopy.errors import UsageError
from coopy.ground import looking, paths
from coopy.ground.holding import or_undone
from coopy.place.directory import DirectoryPlace, is_deterministic, refuse_absent
from coopy.place.options import PASSWORD, PORT, TABLE, Settings, show
from coopy.spine import methods, proxy
from coopy.system import System, give_up

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from coopy.place.options import Options

T = TypeVar("T")
Kind = Callable[[Any, str, Settings], System]
"""Makes a system of an object or its class, a directory and the settings; `open_as` starts it."""


@overload
def init_system(
    obj: type[T],
    basedir: str | os.PathLike[str] | None = None,
    snapshot_time: float = 0,
    master: bool = False,
    replication: bool = False,
    port: int = PORT,
    host: str = "127.0.0.1",
    password: str = PASSWORD,
    **options: Unpack[Options],
) -> T: ...


@overload
def init_system(
    obj: T,
    basedir: str | os.PathLike[str] | None = None,
    snapshot_time: float = 0,
    master: bool = False,
    replication: bool = False,
    port: int = PORT,
    host: str = "127.0.0.1",
    password: str = PASSWORD,
    **options: Unpack[Options],
) -> T: ...


def init_system(
    obj: Any,
    basedir: str | os.PathLike[str] | None = None,
    snapshot_time: float = 0,
    master: bool = False,
    replication: bool = False,
    port: int = PORT,
    host: str = "127.0.0.1",
    password: str = PASSWORD,
    **options: Any,
) -> Any:
    """Makes an object survive, and returns what to use in its place.

        wiki = init_system(Wiki, "data", snapshot_time=3600, keep=3)
        wiki.create_page("Home")

    Args:
        obj: the domain class, or an instance of it. In a directory that has a state already,
            that state is used; otherwise the instance's, or that of a new instance.
        basedir: the data directory, made if it is not there; by default the lower-cased name
            of the class, in the current directory.
        {options}

    Raises:
        UsageError, PrevalentError: an argument, or the class, cannot be used.
        OnlyLooking: one of coopy's own commands imports the module that calls this.
        DirectoryInUse: another process, or this one, has the directory open.
        StorageError: what is in the directory cannot be used, and why.
        ReplayError, DecodingError: the stored actions do not fit today's code.
        JournalError: the disk refused.
    """
    looking.refuse("init_system")
    given = {
        "snapshot_time": snapshot_time,
        "master": master,
        "replication": replication,
        "port": port,
        "host": host,
        "password": password,
    }
    settings = Settings.of("init_system", {**given, **options})
    kind: Kind = in_directory
    if settings.is_replicated:
        # The extra [cluster] may not be there, and few need it.
        from coopy.replication.node import ReplicatedSystem
        from coopy.replication.role import role

        found = role(settings, paths.absolute(_name_of(obj) if basedir is None else basedir))
        kind = partial(ReplicatedSystem, role=found)
    elif settings.shared:
        from coopy.replication.shared import kind_of

        kind = kind_of(settings)
    return open_as(kind, obj, basedir, settings)


show(init_system, TABLE)


def connect(
    url: str,
    cls: type[T],
    *,
    key: str | os.PathLike[str] | bytes | None = None,
    tls: str | os.PathLike[str] | bool | None = None,
    timeout: float = 30.0,
) -> T:
    """Connects to a system that `coopy serve` serves, and returns what to use in its place.

    >>> wiki = coopy.connect("tcp://127.0.0.1:7070", Wiki, key="data/serve.key")
    >>> wiki.create_page("Home")

    Calls and reads go to the server; nothing of the state is kept here, and every value is a copy. All threads may use it at
    once, over one connection, which is made again when it ends. The server may run code here, as this process may there:
    connect to servers that you trust.

    Args:
        url: "unix:PATH" or "tcp://HOST:PORT".
        cls: the domain class.
        key: the file that `coopy serve` has made, or the key itself; for tcp.
        tls: the PEM file of the authority that has signed the server's certificate, or True for
            those of this machine; needed where the host is not this machine.
        timeout: so many seconds a call, and connecting, wait for an answer.

    Raises:
        UsageError, PrevalentError: an argument, or the class, cannot be used.
        AuthenticationFailed: one of the two sides does not have the key, or the certificate is not accepted.
        Unavailable: nobody has answered in time.
    """
    looking.refuse("coopy.connect")
    try:
        # The extra [serve] may not be there, and few need it.
        from coopy.replication.connecting import connected
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "websockets":
            raise
        raise UsageError("connect() needs: pip install 'coopy[serve]'. Nothing was opened.") from None
    found: T = connected(url, cls, key, tls, timeout)
    return found


def in_directory(obj: Any, basedir: str, settings: Settings, *, kind: type[System] = System, is_quiet: bool = False) -> System:
    """Returns a system of this machine that lives in a directory, and is not started yet.

    With ``is_quiet`` effects that wait are not carried out: they wait for the program whose they are.
    """
    cls = obj if isinstance(obj, type) else type(obj)
    return kind(obj, DirectoryPlace(basedir, cls, settings, is_quiet=is_quiet), settings)


def open_for_tool(tool: str, kind: Kind, obj: Any, basedir: str, **options: Any) -> Any:
    """Opens a system as a tool does, of a class that its program has validated; see `open_as`."""
    return open_as(kind, obj, basedir, Settings.of(tool, {"validation": "off", **options}))


def open_as(kind: Kind, obj: Any, basedir: str | os.PathLike[str] | None, settings: Settings) -> Any:
    """Opens a system of that kind, and returns its proxy; see `coopy.init_system`."""
    cls = _class_of(obj)
    proxy.build(cls)
    migration.of(cls).check()
    basedir = paths.absolute(cls.__name__.lower() if basedir is None else basedir)
    if not settings.create:
        refuse_absent(basedir)
    deterministic = is_deterministic(basedir, settings.deterministic)
    _validate(cls, settings, deterministic)
    # An import that is interrupted can leave its module locked for ever, and a child that is forked meanwhile waits for it: what
    # snapshots and closing need is there before the first call.
    from coopy.values.digest import load

    load()
    settings = settings.but(deterministic=deterministic)
    return or_undone(partial(_opened, kind, obj, basedir, settings), partial(give_up, basedir))


def _opened(kind: Kind, obj: Any, basedir: str, settings: Settings) -> Any:
    """Opens a system, and returns its proxy. What fails, or is interrupted, leaves it to be given up."""
    system = kind(obj, basedir, settings)
    system.start(settings.progress)
    system.keeping.by_itself(system, settings.snapshot_time)
    found = system.proxy
    system.is_opened = True
    return found


def _validate(cls: type, settings: Settings, deterministic: bool) -> None:
    """Refuses a class that replay cannot repeat; see `coopy.determinism.check.validate`."""
    from coopy.determinism.modules import package_of

    if settings.validation == "off" or package_of(cls.__module__) == "coopy":
        # A class of coopy's own is validated by its tests, once; a class that is derived from it is looked at with all its bases.
        return
    from coopy.determinism.glance import Glance

    glance = Glance(cls)
    if not glance.is_settled():
        # Reading source takes more modules than all the rest.
        from coopy.determinism.check import validate

        validate(cls, settings.validation, deterministic, settings.check, glance)


def _name_of(obj: Any) -> str:
    return (obj if isinstance(obj, type) else type(obj)).__name__.lower()


def init_persistent_system(obj: Any, basedir: str | os.PathLike[str] | None = None) -> Any:
    """As `init_system`, with the documented two arguments.

    >>> wiki = init_persistent_system(Wiki(), "data")
    >>> wiki.create_page("Home", "Welcome")
    1
    """
    return init_system(obj, basedir)


def _class_of(obj: Any) -> type:
    if methods.is_proxy(obj):
        raise UsageError("init_system() takes a domain class or a plain instance; this is a system already")
    cls = obj if isinstance(obj, type) else type(obj)
    if type(obj) is str:
        raise UsageError(
            f"init_system() takes a domain class or an instance of one, not its name: give the class, not {obj[:80]!r}."
        )
    if cls.__module__ == "builtins":
        what = "the class" if isinstance(obj, type) else "an object of"
        base = f"({cls.__qualname__})" if issubclass(cls, (bytearray, dict, list, set)) else ""
        raise UsageError(
            f"init_system() takes a domain class or an instance of one, not {what} {cls.__qualname__}. A class of "
            f"your own is needed, so that its methods can be called: class Store{base}: ..."
        )
    return cls
