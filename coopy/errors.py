"""Every exception that coopy raises, as a tree. It has more than 500 lines because all of them are here, each with what
its attributes hold.

    CoopyError
      UsageError              an argument of ours is wrong (also a ValueError)
        PrevalentError        the domain class does what replay cannot repeat
        PrunedPast            the state that is asked for is older than what is kept
        OnlyLooking           a system is not opened by a module that a tool imports
        NotHeld               a lock is released, or used, that is not held (also a RuntimeError)
      EncodingError           an argument or the state cannot be turned into bytes
      DecodingError           stored bytes name a class or a function that is no longer there
      CallInsideAction        an action has called another object, and would wait for it
      Quarantined             an object has ended its process twice, and is not run
      SystemClosed            the system is closed, or belongs to another process
      RemoteError             what a method has raised in another process and can't be had here
      DirectoryInUse          another process, or this one, has the directory open
      LockLost                a lock, or a place in its queue, is not this process's any more
      JournalError            the disk refused (also an OSError, with its errno)
      SnapshotError           a snapshot could not be taken; the system goes on
      CheckFailed           found by check=True
        StateChanged        the state was changed by what must not change it
        SharedArgument      an argument is an object of the system, or was changed after the call
        NotRepeatable       a second process replays the action and gets another state
      ClusterError            of replicated systems
        Unavailable           no majority answered in time; nothing was recorded
        OutcomeUnknown        it can't be known in time whether a call was recorded
        ReadOnlyNode          a replica runs @readonly methods only
        AuthenticationFailed  refused at the door
        DamagedLine           the messages of the line are not what was sent, or not all there
        Diverged              this node's state is not that of the others
        NotAMember            the cluster does not know this node
        ServerError           the Raft server can't be found, or does not start
      StorageError            what lies in the directory cannot be used
        ForeignDirectory      not a coopy directory, or a file of another system
        UnsupportedFormat     written by a newer coopy
        Unreadable            the operating system refuses to read it (also an OSError, with its errno)
        DamagedManifest       coopy.json does not read
        DamagedJournal        bytes of a segment are not what was written
        DamagedSnapshot       no snapshot that could be used is whole
        MissingActions        a segment, or the snapshot before it, is not there
      ReplayError             the stored actions do not fit today's code
        MissingMethod         an action names a method the class does not have
        ChangedSignature      an action has arguments its method does not take any more
        UndecodableAction     its arguments name what is not there any more, or are byte code of another Python (also a DecodingError)
        FailedUpgrade         an upgrade of coopy.migration raised
        InterruptedReplay     run again, an action lacks memory or room to recurse
        NewerVersion          a later version of the class recorded it
        ReplayDiverged        an action ended otherwise than it did when it was recorded
        StateDiverged         replay gives another state than the live system had

A message says what happened, where, what state things are in and what to do;
the attributes hold the same facts. Exceptions of the domain are never wrapped.
"""

from __future__ import annotations

import copy
import os
import re
from typing import Any, TypeVar


class CoopyError(Exception):
    """Base of every exception that coopy raises.

    See docs/guides/limits.md.
    """

    def __reduce__(self) -> Any:
        # As it is: most are made of other arguments than their text.
        return super().__reduce__() if isinstance(self, OSError) else (_again, (type(self), self.args, vars(self)))


class UsageError(CoopyError, ValueError):
    """An argument given to coopy is wrong. Nothing was opened or changed.

    See docs/guides/limits.md.
    """


class PrevalentError(UsageError):
    """The domain class does something that replay cannot repeat.

    ``findings`` holds one `coopy.determinism.rules.Finding` per place.

    See docs/guides/clock.md.
    """

    def __init__(self, message: str, findings: tuple[object, ...] = ()) -> None:
        super().__init__(message)
        self.findings = findings


class PrunedPast(UsageError):
    """The past that is asked for was pruned. ``oldest``: index of the oldest state that there is.

    See docs/guides/retention.md.
    """

    def __init__(self, asked: str, oldest: int) -> None:
        self.oldest = oldest
        super().__init__(
            f"{asked} is not there any more: what was before action {oldest} was pruned (keep=, keep_for=, coopy prune). "
            f"The oldest state that can be shown is that after action {oldest}. Nothing was changed. Ask for a later one, or "
            f"look into a backup from before."
        )


class OnlyLooking(UsageError):
    """One of coopy's tools has imported the module for its class, and the module opens a system when it is imported.

    ``tool`` is the command, ``path`` and ``line`` the place that would have opened it.

    See docs/guides/tools.md.
    """

    def __init__(self, tool: str, door: str, path: str, line: int) -> None:
        self.tool = tool
        self.path = path
        self.line = line
        super().__init__(
            f"{path}, line {line}: {door}() opens a system when this file is imported. {tool} imports it for its class, and "
            f'only looks: nothing was opened, written or carried out. Put the opening under if __name__ == "__main__":, '
            f"into a function that the server calls when it starts, or into another file than the class."
        )


class NotHeld(UsageError, RuntimeError):
    """A lock is released, or is to be used, that nobody holds by this handle. Nothing has changed.

    See docs/guides/locks.md.
    """


class CallInsideAction(CoopyError):
    """An action has called an object of `coopy.objects`, and would wait for it: that is refused at once, and nothing was called.

    Two objects that wait for each other would wait for ever, and replay could not repeat what the other one answered then. Tell it
    instead: ``tell(Class, key).method(...)``.

    See docs/guides/objects.md.
    """


class Quarantined(CoopyError):
    """An object of `coopy.objects` has ended its process twice, so nothing of it is run. Nothing was called; all others are served.

    ``key`` is that of the object, ``method`` what ran when the process ended (empty if the object was loaded), and ``action`` the index
    of that action, or the one it would have had. ``doing`` is "call", "read", "told", "alarm", "load" or "state".

    See docs/guides/objects.md.
    """

    def __init__(self, path: str, key: str, method: str, action: int, doing: str, at: str) -> None:
        self.path, self.key, self.method, self.action, self.doing, self.at = path, key, method, action, doing, at
        from shlex import quote

        repair = f"`coopy repair {quote(path)} --key {quote(key)}"
        what, cure = {
            "call": (f"{method}(), which would have been action {action}", ""),
            "read": (f"{method}(), which reads", ""),
            "told": (
                f"{method}(), a call that waits in it and would have been action {action}",
                f"{repair} --withdraw {action}` drops that call. ",
            ),
            "alarm": (
                f"{method}(), an alarm of it that would have been action {action}",
                f"{repair} --withdraw {action}` drops that alarm. ",
            ),
            "load": (f"replaying action {action} of it", f"{repair} --withdraw {action}` leaves that action out. "),
            "state": ("pickling its state", ""),
        }.get(doing, (method, ""))
        super().__init__(
            f"{key!r} is quarantined: it has ended the process twice, the last time in {what} (found {at}). Nothing was called, and all "
            f"other objects are served. {cure}Once the code is mended, {repair} --release` has it called again."
        )


class EncodingError(CoopyError, TypeError):
    """A value cannot be encoded. Nothing was recorded and nothing has changed.

    ``argument`` is the name of the argument, or None for the state as a whole.

    See docs/guides/limits.md.
    """

    def __init__(self, message: str, argument: str | None = None) -> None:
        super().__init__(message)
        self.argument = argument


class DecodingError(CoopyError):
    """Stored bytes are whole but cannot be decoded by today's code. ``method``: what they call, if they are an action's.

    See docs/guides/migration.md.
    """

    def __init__(self, message: str, method: str = "?") -> None:
        super().__init__(message)
        self.method = method


class ChangedClass(DecodingError):
    """Objects of a class are stored, and its fields, or the values of an enum, are others today.

    ``name`` of the class, as module:QualifiedName; ``gone`` and ``new`` fields, or the members of an enum that have
    other values.

    See docs/guides/migration.md.
    """

    def __init__(self, message: str, name: str, gone: list[str], new: list[str]) -> None:
        super().__init__(message)
        self.name = name
        self.gone = gone
        self.new = new


class SystemClosed(CoopyError):
    """The system was closed, or was opened by the process this one was forked from.

    See docs/guides/limits.md.
    """


class RemoteError(CoopyError):
    """A method that another process ran has raised what can't be had here. ``kind`` names its class, ``traceback`` is text.

    The call counts as it does where it was run. See docs/guides/many-processes.md.
    """

    def __init__(self, kind: str, text: str, traceback: str) -> None:
        super().__init__(kind, text, traceback)
        self.kind = kind
        self.text = text
        self.traceback = traceback

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}\n\nIn the process that ran it:\n{self.traceback}\n{self.kind}: {self.text}"


class LockLost(CoopyError):
    """A lock was lost while it was held, or a place in its queue while it was waited for; others may have the lock by now.

    ``name`` of the lock, ``token`` with which it was held (0 for a place in the queue), ``why`` it was lost.

    See docs/guides/locks.md.
    """

    def __init__(self, name: str, token: int, why: str) -> None:
        self.name = name
        self.token = token
        self.why = why
        what = f"the lock {name!r}, held with token {token}," if token else f"the place in the queue of the lock {name!r}"
        super().__init__(
            f"{what} is lost: {why}. Others may hold it by now: stop what needed it, and acquire it again. What was done "
            f"with a token that is smaller than that of a later holder is refused where a Fenced is asked."
        )


class DirectoryInUse(CoopyError):
    """The directory is open already. ``path``, and ``pid`` of the holder if it is known.

    ``was_forked``: this process was forked from the holder while that had it open.

    See docs/guides/deployment.md.
    """

    def __init__(self, path: str, pid: int | None, was_forked: bool = False) -> None:
        self.path = path
        self.pid = pid
        holder = "a process of unknown id" if pid is None else f"process {pid}"
        if pid == os.getpid():
            holder = f"this process ({pid})"
            advice = "Close the system that holds it first: coopy.opened() has what is open here, coopy.close_all() closes it."
        elif was_forked:
            holder += ", from which this one was forked while it was open"
            advice = (
                f"What was opened before a fork stays with the process that opened it. Open it after the fork, in the one process "
                f"that is to use it, and not in process {pid} (gunicorn: in the worker, without preload_app; multiprocessing: "
                f"in the function of the process). Opened with shared=True, it would go on in the fork."
            )
        elif pid == os.getppid():
            holder += ", which has started this one"
            advice = (
                "If that is a reloader (flask --debug, manage.py runserver), it has imported the module, too: open the system "
                'only in the process that serves (WERKZEUG_RUN_MAIN or RUN_MAIN is "true" in its environment), or when the server '
                "starts, not when the module is imported. Otherwise open it in one of the two, or with shared=True in both."
            )
        else:
            advice = (
                "One process writes at a time; stop that one first, give wait= seconds if it is about to end, or open it with "
                "shared=True in both."
            )
        super().__init__(f"{path} is open in {holder}. Nothing was changed. {advice}")


def _place_first(error: OSError) -> str:
    """Returns the file and what was said of it: OSError itself has the file after the last full stop."""
    return f"{error.filename}: {error.strerror}" if error.filename is not None else str(error.strerror)


class JournalError(CoopyError, OSError):
    """The disk refused: an append, a sync, or whatever else was to be read or written. ``errno`` and ``filename`` as in OSError.

    See docs/guides/deployment.md.
    """

    def __init__(self, errno: int | None, message: str, path: str) -> None:
        super().__init__(errno, message, path)

    __str__ = _place_first


class SnapshotError(CoopyError):
    """A snapshot could not be taken. The system goes on; its journal holds every action.

    See docs/guides/snapshots.md.
    """


class UnloadableState(SnapshotError):
    """A state can be written and not be loaded again. It was not kept. ``path`` leads to the part that does not load."""

    def __init__(self, path: str, cls: str, problem: str) -> None:
        super().__init__(
            f"{path}, a {cls}, can be written, but not loaded again: {problem}. Such a snapshot would open nothing, and was not "
            f"kept. Give {cls} a __reduce__ or a __setstate__ with which it can be loaded"
        )
        self.path = path


class CheckFailed(CoopyError):
    """A system opened with ``check=True`` found something that would go wrong one day."""


class StateChanged(CheckFailed):
    """The state was changed by something that must not change it. It was put back as the journal has it.

    By a caller outside any action, by a @readonly method, by an @abort_exception method before it
    raised, or by a @transactional one outside its parts.

    See docs/guides/checking.md.
    """


class SharedArgument(CheckFailed):
    """An argument is recorded, and so is copied; the caller goes on as if it were shared. Nothing was recorded.

    It is an object of the system, of which the method would get a copy; or the system has kept the
    copy and the caller has changed the original since.
    """


class NotRepeatable(CheckFailed):
    """A second process replayed the action and came to another state. ``index``, ``method``, ``places``."""

    def __init__(self, message: str, index: int, method: str, places: tuple[str, ...]) -> None:
        super().__init__(message)
        self.index = index
        self.method = method
        self.places = places


class ClusterError(CoopyError):
    """Base of what goes wrong between the nodes of a replicated system.

    See docs/guides/replication.md.
    """


class Unavailable(ClusterError):
    """No majority of the nodes answered in time. Nothing was recorded; call again.

    See docs/guides/replication.md.
    """


class OutcomeUnknown(ClusterError):
    """A call was sent, and it can't be known in time whether it was recorded. It may still be applied, once.

    See docs/guides/replication.md.
    """


class ReadOnlyNode(ClusterError):
    """A replica runs methods marked @readonly only. Nothing was recorded.

    See docs/guides/replication.md.
    """


class AuthenticationFailed(ClusterError):
    """The other side refused the password or the certificate.

    See docs/guides/replication.md.
    """


class DamagedLine(ClusterError):
    """A message of the line is not what was sent, or is missing. This node has stopped before it.

    See docs/guides/replication.md.
    """


class Diverged(ClusterError):
    """This node applied the same actions as the others and has another state. ``index`` of the first that differs.

    See docs/guides/replication.md.
    """

    def __init__(self, message: str, index: int | None = None) -> None:
        super().__init__(message)
        self.index = index


class NotAMember(ClusterError):
    """The cluster does not know this node, or has removed it.

    See docs/guides/replication.md.
    """


class ServerError(ClusterError):
    """The Raft server of this node can't be found or does not start. ``output``: the last lines that it wrote.

    See docs/guides/replication.md.
    """

    def __init__(self, message: str, output: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.output = output


class StorageError(CoopyError):
    """What lies in the data directory cannot be used. Nothing in it was changed.

    See docs/guides/tools.md.
    """


class ForeignDirectory(StorageError):
    """The directory, or a file in it, belongs to something else.

    See docs/guides/deployment.md.
    """


class UnsupportedFormat(StorageError):
    """The file was written by a newer release of coopy.

    See docs/guides/migration.md.
    """


class KeyedRecord(UnsupportedFormat):
    """A record says of which of many objects in one log it is (`coopy.objects`), and must not be taken for an action of one system.

    Its place in the journal is part of the message.
    """

    def __init__(self, where: str) -> None:
        super().__init__(
            f"{where}: the record there has a key: it is of one of many objects in one log, or a later release of coopy wrote it. Nothing was "
            f"changed. Open the directory with coopy.objects(), or with that release."
        )


class Unreadable(StorageError, OSError):
    """The operating system refuses to read the directory, or a file in it. ``errno`` and ``filename`` as in OSError.

    Nothing is known of what is there: it may be whole.

    See docs/guides/deployment.md.
    """

    def __init__(self, errno: int | None, message: str, path: str) -> None:
        super().__init__(errno, message, path)

    __str__ = _place_first


class DamagedManifest(StorageError):
    """coopy.json does not read, or its checksum does not match.

    See docs/guides/tools.md.
    """


class DamagedJournal(StorageError):
    """Bytes of the journal are not what was written.

    ``path`` and ``offset`` (bytes) of the first wrong frame, ``index`` of the
    action that should be there. Every action before it is intact.

    See docs/guides/tools.md.
    """

    def __init__(self, path: str, offset: int, index: int, problem: str) -> None:
        self.path = path
        self.offset = offset
        self.index = index
        intact = f"Actions up to {index - 1} are intact." if index > 1 else "No action before it."
        super().__init__(
            f"{path}, byte {offset}: {problem} (action {index}). {intact} Nothing was changed. "
            f"Put the file back from a backup, or look at the state before the damage with "
            f"coopy.replay(cls, basedir, until={index - 1})."
        )


class DamagedSnapshot(StorageError):
    """A snapshot is not what was written, and no older one can stand in. ``path``, ``index``.

    See docs/guides/tools.md.
    """

    def __init__(self, path: str, index: int, problem: str) -> None:
        self.path = path
        self.index = index
        super().__init__(
            f"{path}: {problem}. Nothing was changed, and no older snapshot can stand in for it. "
            f"Put the file back from a backup."
        )


class MissingActions(StorageError):
    """The journal does not reach from the snapshot to its own end.

    ``first`` and ``last`` index of what is missing.

    See docs/guides/replication.md.
    """

    def __init__(self, path: str, first: int, last: int | None, advice: str) -> None:
        self.path = path
        self.first = first
        self.last = last
        what = f"action {first}" if last == first else f"actions {first} to {last or 'the end'}"
        super().__init__(f"{path}: {what} missing. Nothing was changed. {advice}")


class ReplayError(CoopyError):
    """The stored actions do not fit today's code. Nothing was changed.

    ``index`` and ``method`` of the action, ``where`` it lies (file and byte).

    See docs/guides/migration.md.
    """

    def __init__(self, message: str, index: int, method: str, where: str) -> None:
        super().__init__(message)
        self.index = index
        self.method = method
        self.where = where


_PLACE = re.compile(r"(?s)(.+), byte [0-9]+\Z")
"""Where an action lies in a segment, as `coopy.ground.storage.Log.where` says it of one on disk."""


def _ways_out(cure: str, where: str, index: int, stub: str = "") -> str:
    """What can be done about an action that replay can't get past: the cure, and what helps with any of them."""
    found = _PLACE.match(where)
    if found is not None:
        import shlex

        basedir = shlex.quote(os.path.dirname(found[1]) or os.curdir)
        cure += f" Or withdraw the action, so that it is left out from now on: `coopy repair {basedir} --withdraw {index}`."
    return f"{cure} Or write an upgrade:{stub}" if stub else cure


class MissingMethod(ReplayError):
    """An action names a method that the class no longer has.

    See docs/guides/migration.md.
    """

    def __init__(self, index: int, method: str, where: str, cls: str, stub: str = "") -> None:
        cure = _ways_out("Give the class a method of that name again.", where, index, stub)
        super().__init__(
            f"action {index} ({where}) calls {method}(), which {cls} does not have. Nothing was changed. {cure}",
            index,
            method,
            where,
        )


class ChangedSignature(ReplayError):
    """An action has arguments that its method does not take any more."""

    def __init__(self, index: int, method: str, where: str, problem: str, stub: str) -> None:
        cure = _ways_out("Let the method take the old arguments too.", where, index, stub)
        super().__init__(
            f"action {index} ({where}) does not fit {method}() any more: {problem}. Nothing was changed. {cure}",
            index,
            method,
            where,
        )


class UndecodableAction(DecodingError, ReplayError):
    """The arguments of an action cannot be decoded by today's code."""

    def __init__(self, index: int, where: str, error: DecodingError) -> None:
        said, upgrade_follows, upgrade = str(error).partition("\n\n")
        if upgrade_follows:
            # The upgrade to write comes last, after the sentence that names it.
            told, _, names_it = said.rpartition(". ")
            said = f"{_ways_out(told + '.', where, index)} {names_it}"
        else:
            said = _ways_out(said, where, index)
        said += upgrade_follows + upgrade
        ReplayError.__init__(self, f"action {index} ({where}): {said}", index, error.method, where)


class FailedUpgrade(ReplayError):
    """The upgrade of an old action raised."""

    def __init__(self, index: int, method: str, where: str, version: int, error: Exception) -> None:
        cure = _ways_out("Let the upgrade take the action as it was recorded.", where, index)
        super().__init__(
            f"action {index} ({where}): its upgrade, that of {method}() from version {version}, raised "
            f"{type(error).__name__}: {error}. Nothing was changed. {cure}",
            index,
            method,
            where,
        )


class NewerVersion(ReplayError):
    """A later version of the domain class recorded it. ``recorded``, ``version`` of today's class."""

    def __init__(self, index: int, method: str, where: str, cls: str, recorded: int, version: int) -> None:
        super().__init__(
            f"action {index} ({where}): version {recorded} of {cls} recorded what comes here, and this code has "
            f"version {version}. Nothing was changed. Open the directory with the newer code.",
            index,
            method,
            where,
        )
        self.recorded = recorded
        self.version = version


class InterruptedReplay(ReplayError):
    """An action that is run again lacks memory, or room to recurse: ``lacks_room``. ``recorded`` says how it ended in its day."""

    def __init__(self, index: int, method: str, where: str, recorded: str, error: BaseException) -> None:
        if isinstance(error, RecursionError):
            cure = "Open it where sys.getrecursionlimit() is as high as where the action was recorded."
        else:
            cure = "Open it where there is more memory."
        super().__init__(
            f"action {index} ({where}), {method}(): recorded as {recorded!r}, but run again it raises "
            f"{type(error).__name__}{f': {error}' if str(error) else ''}. Replay stopped there and nothing was changed. "
            f"{_ways_out(cure, where, index)}",
            index,
            method,
            where,
        )
        self.recorded = recorded
        self.lacks_room = isinstance(error, RecursionError)


class ReplayDiverged(ReplayError):
    """An action ended otherwise than when it was recorded. ``recorded``, ``replayed``.

    See docs/guides/migration.md.
    """

    def __init__(self, index: int, method: str, where: str, recorded: str, replayed: str, detail: str = "") -> None:
        cure = f"The state before it can be looked at with coopy.replay(cls, basedir, until={index - 1})."
        super().__init__(
            f"action {index} ({where}), {method}(): recorded as {recorded!r}, but replay {replayed!r}"
            f"{detail}. Replay stopped there and nothing was changed. The method depends on something "
            f"that is not in its arguments, its clock or its env, or its code has changed. {_ways_out(cure, where, index)}",
            index,
            method,
            where,
        )
        self.recorded = recorded
        self.replayed = replayed


class StateDiverged(ReplayError):
    """Replay gives another state than the live system had, and that is to be refused.

    ``index`` at which they differ, ``after`` at which they were the same, ``path`` inside the state; ``method`` of the first action
    in between, or "" if the snapshot itself brings back another state.

    See docs/guides/checking.md.
    """

    def __init__(self, index: int, method: str, where: str, after: int, path: str, what: str) -> None:
        super().__init__(
            f"replay gives another state than the live system had after action {index} ({where}), at {path}: {what}. Nothing was "
            f"changed. The method depends on something that is not in its arguments, its clock or its env (the order of a set, id(), a "
            f"variable of a module, a file), the state was changed outside any action, or its code is not what it was. See what is "
            f'there with coopy.replay(cls, basedir); to go on with that, open it with on_divergence="report".',
            index,
            method,
            where,
        )
        self.after = after
        self.path = path


def _again(cls: type[BaseException], args: tuple[Any, ...], attributes: dict[str, Any]) -> BaseException:
    found = cls.__new__(cls, *args)
    vars(found).update(attributes)
    return found


Error = TypeVar("Error", bound=BaseException)


def copy_of(error: Error) -> Error:
    """An exception for one more caller: one that is raised again and again keeps what each of them was doing."""
    found = copy.copy(error)
    found.__cause__ = error.__cause__
    return found
