"""What of a directory's past today's code can't repeat: before a deploy, not after it."""

from __future__ import annotations

from typing import NamedTuple

from coopy import ReplayError
from coopy.past.reading import Reading
from coopy.spine.replay import Progress


class Misfit(NamedTuple):
    """An action that does not fit. ``kind`` is the name of the error that opening would stop with."""

    action: int
    method: str
    kind: str
    where: str
    text: str

    def as_dict(self) -> dict[str, object]:
        """The same for JSON."""
        return self._asdict()


def rehearse(basedir: str, cls: type, progress: Progress | None = None) -> list[Misfit]:
    """Every action behind the newest snapshot that does not fit ``cls``; the directory is only read.

    An action that does not fit is left out, and what comes after it may fail for that alone: the first
    is always true. Raises `UsageError`, `StorageError`, and `DecodingError` if the snapshot does not fit.
    """
    found: dict[int, Misfit] = {}

    def note(error: ReplayError) -> None:
        found[error.index] = Misfit(error.index, error.method, type(error).__name__, error.where, str(error))

    with Reading(basedir, cls) as reading:
        reading.machine(progress=progress, misfit=note)
    return [found[index] for index in sorted(found)]
