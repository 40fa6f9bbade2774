"""What the tools found, in words."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from coopy.cli.text import Painter, action_line, count, moment, size, table, width
from coopy.tools import tree

if TYPE_CHECKING:
    from coopy.tools.blaming import Blamed, Change
    from coopy.tools.contents import Contents
    from coopy.tools.offsite import Sent
    from coopy.tools.rehearse import Misfit
    from coopy.tools.verify import Verified


def contents(found: Contents, paint: Painter) -> list[str]:
    """A directory, its files and what is wrong with them."""
    made = f", made {moment(datetime.fromisoformat(found.created), 'seconds')}" if found.created else ""
    lines = [paint("strong", f"{found.basedir}: {found.domain or 'nobody knows of what class'}{made}")]
    lines.append("  not open" if found.holder is None else f"  open in process {found.holder}")
    if found.first is None or found.begins is None or found.ends is None:
        lines.append(f"  no actions in the journal; the state is that after action {found.last:,}")
    else:
        lines.append(f"  actions {found.first:,} to {found.last:,}, {moment(found.begins)} to {moment(found.ends)}")
    if found.oldest:
        lines.append(f"  the past begins with the state after action {found.oldest:,}; what was before it was pruned")
    files = len(found.segments) + len(found.snapshots) + len(found.others)
    lines.append(f"  {size(found.size)}; format {found.format}, system {found.system}" if files else "  empty")
    rows: list[tuple[str, ...]] = []
    for each in found.segments:
        actions = "no action" if each.last is None else f"{each.first:,} to {each.last:,}"
        state = each.state if each.offset is None else f"{each.state} at byte {each.offset:,}"
        rows.append((f"  {each.name}", size(each.size), actions, state))
    for copy in found.snapshots:
        when = "" if copy.time is None else f", {moment(copy.time)}"
        rows.append((f"  {copy.name}", size(copy.size), f"after {copy.index:,}{when}", copy.state))
    rows += [(f"  {other.name}", size(other.size), "", "") for other in found.others]
    if rows:
        lines += ["", *table(rows, frozenset({1}))]
    if found.damages:
        lines += ["", *(paint("bad", str(damage)) for damage in found.damages)]
    return lines


def verified(found: Verified, paint: Painter) -> list[str]:
    """What was checked, and every problem."""
    lines = []
    for each in found.problems:
        place = "" if each.index is None or f"action {each.index}" in each.text else f"action {each.index}"
        if place and each.method and f"{each.method}(" not in each.text:
            place += f", {each.method}()"
        lines.append(f"{paint('bad', each.kind)}: {paint('strong', place)}{': ' if place else ''}{each.text}")
    lines.append(_checked(found))
    lines.append(paint("bad", count(len(found.problems), "problem")) if found.problems else paint("good", "no problem"))
    return lines


def verified_json(found: Verified) -> dict[str, object]:
    """The same in the types of JSON."""
    return {
        "basedir": found.basedir,
        "segments": found.segments,
        "snapshots": found.snapshots,
        "bytes": found.bytes,
        "actions": found.actions,
        "problems": [
            {name: getattr(each, name) for name in ("kind", "index", "method", "where", "text")} for each in found.problems
        ],
    }


def _checked(found: Verified) -> str:
    return (
        f"read {count(found.segments, 'segment')}, {count(found.snapshots, 'snapshot')}, {size(found.bytes)}; "
        f"replayed {count(found.actions, 'action')}"
    )


def misfits(found: list[Misfit], paint: Painter) -> list[str]:
    """The actions that do not fit, and what to do."""
    if not found:
        return [paint("good", "every action fits")]
    return [
        *(each.text for each in found),
        f"{count(len(found), 'action does', 'actions do')} not fit; what comes after the first may be its consequence",
    ]


def blamed(found: Blamed, paint: Painter) -> list[str]:
    """The changes of a value, the newest first, and how far back they go."""
    digits = len(str(found.at))
    columns = width()
    lines = []
    for each in found.changes:
        lines.append(action_line(each.action, columns, digits, paint))
        lines.append(f"{' ' * digits}  {_change(each, columns - digits - 6, paint)}")
    begin = f"the oldest state there is, after action {found.oldest:,}" if found.oldest else "the state before the first action"
    if found.problem:
        lines.append(paint("bad", f"how it came to be before action {found.searched + 1:,} can't be read: {found.problem}"))
    elif not found.is_complete:
        lines.append(paint("note", f"older changes were not asked for; the search ended with action {found.searched:,}"))
    elif not found.changes:
        lines.append(f"no action has changed it: it is what it was in {begin}")
    elif found.changes[-1].before is not None:
        lines.append(paint("note", f"before that it was what it was in {begin}"))
    return lines


def _change(each: Change, room: int, paint: Painter) -> str:
    if each.before is None:
        return f"{paint('good', '+')} {_cut(each.after, room)}"
    if each.after is None:
        return f"{paint('bad', '-')} {_cut(each.before, room)}"
    return f"{paint('odd', '~')} {_cut(each.before, room // 2)} → {_cut(each.after, room // 2)}"


def _cut(text: str | None, room: int) -> str:
    text = text or ""
    return text if len(text) <= room else text[: room - 1] + "…"


def blamed_json(found: Blamed) -> dict[str, object]:
    """The same in the types of JSON."""
    return {
        "path": found.path,
        "at": found.at,
        "changes": [{**tree.action_as_json(each.action), "before": each.before, "after": each.after} for each in found.changes],
        "searched": found.searched,
        "complete": found.is_complete,
        "oldest": found.oldest,
        "problem": found.problem,
    }


def sent(found: Sent) -> str:
    """What a backup in an object store has, and what was sent for it."""
    news = f"{size(found.bytes)} sent" if found.is_new else "nothing new"
    line = f"{found.url}: up to action {found.index:,}, {count(found.files, 'file')}, {size(found.total)}; {news}"
    return (
        f"{line}. The directory has another history than the backup before, which stays there as well"
        if found.is_another
        else line
    )


def sent_json(found: Sent) -> dict[str, object]:
    """The same in the types of JSON."""
    return {
        "basedir": found.basedir,
        "url": found.url,
        "index": found.index,
        "files": found.files,
        "bytes": found.total,
        "sent": found.bytes,
        "new": found.is_new,
        "another_history": found.is_another,
    }
