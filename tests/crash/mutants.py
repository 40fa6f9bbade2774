"""Faults planted in coopy, one at a time: the test that is named beside each must notice it.

    python tests/crash/mutants.py [--list] [--only NAME]...

Each row of MUTANTS takes one promise away. All happens in a copy of coopy/ and tests/, in a
temporary directory: first every named test runs there as things are, and must pass; then, mutant by
mutant, a text is replaced, the test runs in a process of its own, and must fail, by an assertion
or by an error of coopy. A test that only can't be imported, skips, or trips over something else
has noticed nothing.

The exit status is 1 if a mutant survived. What has survived once got a test in test_guards.py.
tests/crash/test_mutants_apply.py keeps the rows in step with the code.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 300
NOT_COPIED = shutil.ignore_patterns("__pycache__", ".*")


class Edit(NamedTuple):
    """A text that occurs once in a file, and what stands in its place."""

    file: str
    old: str
    new: str


class Mutant(NamedTuple):
    name: str
    file: str
    old: str
    new: str
    test: str
    """The node id of a test, or of a function with all its parameters."""
    more: tuple[Edit, ...] = ()
    """What else has to change so that the fault is one a programmer could have made."""

    @property
    def edits(self) -> list[Edit]:
        return [Edit(self.file, self.old, self.new), *self.more]


APPLY = "result = machine.apply(header, function, args, kwargs)"
APPEND = "index = log.append(header + call)"
LIVES = "tests/crash/test_power_cut.py::test_nothing_acknowledged_is_lost_in_the_lives_that_are_always_run"
ENGINE, JOURNAL, SNAPSHOTS = "coopy/spine/engine.py", "coopy/disk/journal.py", "coopy/disk/snapshots.py"
SECTION = "coopy/spine/section.py"
FRAME = "coopy/disk/frame.py"
ROOM_PY, ROOM = "coopy/network/room.py", "tests/cluster/test_room.py"
PARTS = "tests/cluster/test_parts.py"
LIMITS = "coopy/network/limits.py"
DESK_PY, DESK = "coopy/network/desk.py", "tests/network/test_desk.py"
STRANGERS = (
    "tests/simulation/test_strangers.py::"
    "test_two_users_replicas_and_strangers_execute_nothing_and_learn_nothing_at_a_node_that_goes_on"
)
SIM = "tests/sim/test_sim.py::test_whatever_befalls_a_cluster_what_was_answered_is_there_once_on_all_nodes"
DELIVERY, EFFECTS = "coopy/spine/delivery.py", "tests/effects/test_delivery.py"
FRAME, CHILD = "coopy/disk/frame.py", "coopy/disk/child.py"

# Without the index: each frame's is taken for zero, by who writes a checksum and by who compares it.
CRC_WITHOUT_INDEX = """\
def _crc32(data, begin):
    data, at = bytearray(data), 0
    while at + 22 <= len(data):
        data[at + 6 : at + 14] = bytes(8)
        at += 28 + int.from_bytes(data[at + 2 : at + 6], "little")
    return zlib.crc32(data, begin)
"""

MUTANTS = [
    # -- the event source
    Mutant(
        "a-foreign-name-for-this-machine-reaches-the-inspector",
        "coopy/tools/web_guard.py",
        'if headers.get(b"host", "").lower() not in self._hosts:',
        "if False:",
        "tests/web/test_guard.py::test_another_host_is_refused",
    ),
    Mutant(
        "a-link-to-the-inspector-is-good-for-ever",
        "coopy/tools/web_guard.py",
        "            self._tokens.discard(known)\n",
        "",
        "tests/web/test_guard.py::test_a_link_is_good_once_and_its_cookie_is_for_this_site_alone",
    ),
    Mutant(
        "a-form-without-a-token-is-one-of-ours",
        "coopy/tools/web_app.py",
        'if not hmac.compare_digest(form.get("form_token", "").encode(), request.scope["coopy.form_token"].encode()):',
        "if False:",
        "tests/web/test_guard.py::test_a_form_needs_its_token",
    ),
    Mutant(
        "a-question-about-what-came-later-ends-with-the-journal-as-it-was",
        "coopy/tools/web_replay.py",
        "        if self._look is not None:\n            return self._tail.news() or None\n",
        "        if self._look is not None:\n            return None\n",
        "tests/web/test_states.py::test_the_past_before_each_snapshot_and_what_is_written_meanwhile_are_shown",
    ),
    Mutant(
        "the-first-of-a-block-is-the-action-whose-amendment-begins-it",
        "coopy/past/lookup.py",
        "return block.first + head.is_amendment",
        "return block.first",
        "tests/past/test_lookup.py::test_actions_of_several_lives_are_found",
    ),
    Mutant(
        "an-acknowledgement-is-not-fenced",
        "coopy/messaging/events_log.py",
        "self.locks.fence(name, token)",
        "pass",
        "tests/messaging/test_events_follow.py::test_whoever_has_lost_the_name_is_refused_by_the_action_itself",
    ),
    Mutant(
        "a-projection-takes-what-it-has-taken",
        "coopy/messaging/events_projection.py",
        "if self._position not in (None, begin):",
        "if self._position is end:",
        "tests/messaging/test_events_follow.py::test_a_projection_takes_each_event_once_whoever_feeds_it",
    ),
    Mutant(
        "an-id-stands-for-any-events",
        "coopy/messaging/events_log.py",
        "if said == digest else",
        "if said else",
        "tests/messaging/test_events.py::test_an_id_that_stands_for_other_events_is_refused",
    ),
    Mutant(
        "pruning-counts-one-snapshot-less",
        "coopy/messaging/events_keeping.py",
        "len(snapshots) - len(older) + 1",
        "len(snapshots) - len(older)",
        "tests/messaging/test_events_keeping.py::test_nothing_that_is_kept_goes_with_the_journal_even_if_the_clock_was_put_back",
    ),
    Mutant(
        "retention-waits-for-nobody",
        "coopy/messaging/events_log.py",
        "return max(min([found, *held]), self._from(bound) if held else 0)",
        "return found",
        "tests/messaging/test_events_table.py::test_retention_waits_for_consumers_that_are_named_up_to_a_bound",
    ),
    Mutant(
        "a-pickle-is-read-whoever-has-signed-it",
        "coopy/messaging/bus_payload.py",
        "        if not hmac.compare_digest(signature, self._signature(subject, data)):",
        "        if len(signature) < _MAC_BYTES:",
        "tests/messaging/test_bus_server.py::test_a_pickle_of_a_stranger_at_the_same_server_is_never_read",
    ),
    Mutant(
        "a-subscription-that-is-full-forgets-what-it-lost",
        "coopy/messaging/bus_subscription.py",
        "                    self._lose(key, number if key[0] else 0, 1)\n",
        "",
        "tests/messaging/test_bus_contract.py::test_what_is_lost_is_told_between_the_messages_where_it_is_missing",
    ),
    Mutant(
        "who-was-away-does-not-ask-what-it-missed",
        "coopy/messaging/bus_core.py",
        "            if patterns:\n",
        "            if not patterns:\n",
        "tests/messaging/test_bus_server.py::test_what_a_lost_connection_has_lost_is_told_though_nothing_more_is_published",
    ),
    Mutant(
        "a-child-keeps-the-lock-of-the-bus-of-its-parent",
        "coopy/messaging/bus_server.py",
        "        self._lock = threading.Lock()\n        with contextlib.suppress(OSError):\n            self._give_back()\n",
        "        self._lock = threading.Lock()\n",
        "tests/messaging/test_bus_server.py::test_a_forked_child_has_no_part_in_the_bus_of_its_parent",
    ),
    Mutant(
        "messages-of-a-file-of-another-user-are-read",
        "coopy/messaging/bus_files.py",
        "    if about.st_uid != os.geteuid():",
        "    if about.st_uid < 0:",
        "tests/messaging/test_bus_original.py::test_stream_from_file_refuses_a_file_of_another_user",
    ),
    # -- what writes while it is read
    Mutant(
        "what-has-the-name-of-a-read-is-one",
        "coopy/spine/methods.py",
        'return "action" if what_is_written(cls, name, vars(home).get(name)) else "read"',
        'return "read"',
        "tests/proxy/test_reads_that_write.py::test_the_recipes_of_caches_live_on_as_they_were",
    ),
    Mutant(
        "what-a-getter-keeps-is-not-recorded",
        "coopy/spine/attributes.py",
        "        if held.put_back():\n            raise Unrecorded(name)",
        "        held.put_back()",
        "tests/proxy/test_attributes_that_write.py::test_what_a_look_keeps_is_kept_by_the_next_start",
    ),
    Mutant(
        "a-callable-of-the-object-is-called-as-it-is",
        "coopy/spine/attributes.py",
        "return Bound(name, kind, value) if kind else value",
        "return value",
        "tests/proxy/test_attributes_that_write.py::test_a_callable_that_reaches_the_state_is_recorded_by_its_name",
    ),
    Mutant(
        "a-block-is-called-as-an-action",
        "coopy/spine/methods.py",
        "    if opens_a_block(cls, name, function):",
        "    if opens_a_block is None:",
        "tests/proxy/test_what_comes_later.py::test_a_block_that_changes_the_object_is_refused_at_opening_and_at_the_call",
    ),
    # -- what belongs to a process
    Mutant(
        "news-that-come-with-a-welcome-are-lost",
        "coopy/replication/caller.py",
        "            self.welcome, *self._early = self.receive()",
        "            self.welcome = self.receive()[0]",
        "tests/shared/test_channel.py::test_news_that_come_with_the_welcome_are_received_after_it",
    ),
    Mutant(
        "a-control-is-behind-its-own-calls",
        "coopy/replication/shared.py",
        "        if self.engine.stopped is None:\n            self.engine.catch_up()\n",
        "",
        "tests/shared/test_shared.py::test_a_control_knows_of_the_calls_that_its_process_has_made",
    ),
    Mutant(
        "before-a-follower-is-closed-it-takes-no-calls",
        "coopy/replication/shared.py",
        "                self._tell_of_closing()  # While calls are still taken.\n",
        "                pass\n",
        "tests/shared/test_shared.py::test_what_is_called_before_closing_may_call",
    ),
    Mutant(
        "what-is-edited-by-value-is-lost",
        "coopy/batteries/battery.py",
        '        raise TypeError(\n            "edit() is for',
        '        return vars(self)  # type: ignore[return-value]\n        raise TypeError(\n            "edit() is for',
        "tests/shared/test_without_a_copy.py::test_what_can_not_be_edited_by_value_is_refused_and_not_lost",
    ),
    Mutant(
        "what-pickle-writes-is-an-argument",
        "coopy/values/codec.py",
        "        if not isinstance(found, type) or _kind_of(found) is not None:\n            bound.refuse(found, module, name)\n",
        "",
        "tests/values/test_bound.py::test_what_belongs_to_a_process_is_no_argument",
    ),
    Mutant(
        "dill-keeps-whatever-it-can",
        "coopy/values/bytecode.py",
        "if cls in parts() or cls is dict}",
        "}",
        "tests/values/test_bound.py::test_what_belongs_to_a_process_is_refused_in_a_closure_too",
    ),
    Mutant(
        "dill-changes-the-deep-pickler",
        "coopy/values/deep.py",
        "if save.__module__ == pickle.__name__}",
        "}",
        "tests/values/test_bound.py::test_dill_that_was_imported_before_gives_nothing_away",
    ),
    Mutant(
        "byte-code-of-any-python-is-read",
        "coopy/values/bytecode.py",
        "    if python == PYTHON:\n",
        "    if True:\n",
        "tests/values/test_bound.py::test_byte_code_of_another_python_is_refused_by_name",
    ),
    Mutant(
        "a-file-that-was-recorded-is-opened-again",
        "coopy/values/codec.py",
        "            bound.refuse_to_open(module, name)\n",
        "",
        "tests/values/test_bound.py::test_a_file_that_an_earlier_coopy_took_is_not_opened_again",
    ),
    Mutant(
        "a-state-is-not-looked-through",
        "coopy/values/bound.py",
        "if kind.is_lock else _refused\n",
        "if kind.is_lock else _plainly\n",
        "tests/values/test_bound.py::test_every_kind_is_found_in_a_state_unless_it_is_a_lock",
    ),
    Mutant(
        "those-who-wait-at-a-condition-are-kept",
        "coopy/values/bound.py",
        "    threading.Condition: _reduced_condition,\n",
        "",
        "tests/values/test_bound.py::test_those_who_wait_are_not_kept",
    ),
    Mutant(
        "a-semaphore-that-is-used-up-stays-so",
        "coopy/values/bound.py",
        "max(1, semaphore._value)",
        "semaphore._value",
        "tests/values/test_bound.py::test_a_semaphore_that_is_used_up_has_one_left_and_a_barrier_is_whole",
    ),
    # -- one call
    Mutant(
        "a-look-by-time-does-not-know-where-the-clock-was-put-back",
        "coopy/spine/replay.py",
        "if action.instant_of(header) > instant and index >= clock_from:",
        "if action.instant_of(header) > instant:",
        "tests/tools/test_reclock.py::test_a_look_by_time_finds_the_state_that_was_then",
    ),
    Mutant(
        "growth-is-forgotten-with-the-process",
        "coopy/place/directory.py",
        "self._grown(journal.bytes_since(newest))",
        "pass",
        "tests/test_growth.py::test_what_a_snapshot_holds_does_not_count_at_the_next_opening",
    ),
    Mutant(
        "a-state-of-another-class-is-taken",
        "coopy/spine/replay.py",
        "        refuse_other(state, codec.domain_class)\n",
        "",
        "tests/cli/test_other_class.py::test_another_class_is_refused_by_every_command_with_both_names",
    ),
    Mutant(
        "a-module-opens-its-system-while-a-tool-imports-it",
        "coopy/opening.py",
        'looking.refuse("init_system")',
        "pass",
        "tests/cli/test_only_looks.py::test_what_a_module_would_open_is_refused_wherever_and_nothing_is_written_or_carried_out",
        (Edit("coopy/aio/opening.py", "looking.refuse(self._door)", "pass"),),
    ),
    Mutant(
        "applied-before-it-is-appended",
        ENGINE,
        APPEND,
        "index = log.last + 1",
        "tests/crash/test_guards.py::test_a_call_for_which_there_is_no_room_is_refused_and_has_changed_nothing",
        more=(Edit(ENGINE, APPLY, f"{APPLY}\n                        log.append(header + call)"),),
    ),
    Mutant(
        "acknowledged-before-the-sync",
        JOURNAL,
        "            self._commit.wait(index)\n",
        "            pass\n",
        "tests/engine/test_failures.py::test_after_a_failed_sync_everything_is_refused_until_the_directory_is_opened_again",
    ),
    Mutant(
        "settled-before-the-sync",
        JOURNAL,
        "        last = self.last\n        segment = self._segment\n",
        "        last = self.settled = self.last\n        segment = self._segment\n",
        "tests/crash/test_guards.py::test_nobody_is_told_of_an_action_while_its_sync_is_under_way",
    ),
    Mutant(
        "settled-when-it-is-appended",
        JOURNAL,
        "        if self._buffered:\n            self.settled = index",
        "        self.settled = index",
        LIVES,
    ),
    Mutant(
        "a-reader-does-not-wait",
        ENGINE,
        "        if not nested and wait:\n            self.settle(seen)\n",
        "        if False:\n            self.settle(seen)\n",
        "tests/crash/test_guards.py::test_a_reader_waits_for_what_it_has_seen",
    ),
    Mutant(
        "a-sync-covers-what-was-written-meanwhile",
        JOURNAL,
        "        return last\n",
        "        return self.last\n",
        "tests/crash/test_guards.py::test_a_sync_covers_nothing_that_was_written_after_it_began",
    ),
    Mutant(
        "a-failed-sync-is-no-failure",
        "coopy/disk/commit.py",
        "            self._failure = copy_of(error)  # Without what was being done: that holds a state, and this stays.\n",
        "            self.durable = 1 << 62\n",
        "tests/disk/test_commit.py::test_a_sync_that_fails_is_raised_in_everyone_who_waits",
    ),
    Mutant(
        "who-waits-does-not-hear-of-a-failed-sync",
        "coopy/disk/commit.py",
        "                raise copy_of(self._failure)\n",
        "                return\n",
        "tests/engine/test_failures.py::test_a_failed_sync_fails_for_everyone_who_waited",
    ),
    Mutant(
        "a-failed-sync-is-tried-again",
        JOURNAL,
        "        self._failure = copy_of(error)  # Without what was being done: that holds a state, and this stays.\n        self._stop()\n",
        "        pass\n",
        "tests/engine/test_failures.py::test_after_a_failed_sync_everything_is_refused_until_the_directory_is_opened_again",
        (Edit("coopy/disk/commit.py", "            self._failure = copy_of(error)", "            raise"),),
    ),
    Mutant(
        "an-interrupted-action-is-not-withdrawn",
        ENGINE,
        "            self._withdraw()\n            self.log.settle()\n",
        "            pass\n",
        "tests/engine/test_withdrawn.py::test_a_call_that_is_interrupted_from_outside_is_withdrawn",
    ),
    Mutant(
        "a-withdrawal-is-not-synced-before-the-caller-has-its-exception",
        ENGINE,
        "            self._withdraw()\n            self.log.settle()\n",
        "            self._withdraw()\n",
        "tests/engine/test_withdrawn.py::test_with_sync_the_withdrawal_is_on_the_disk_before_the_caller_gets_the_exception",
    ),
    Mutant(
        "a-handler-in-the-traceback-is-overlooked",
        "coopy/ground/interruption.py",
        "            if _was_given_what_it_interrupts(at.tb_frame) or _handles_a_signal(at.tb_frame):",
        "            if False:",
        "tests/engine/test_withdrawn.py::test_a_call_that_is_interrupted_from_outside_is_withdrawn",
    ),
    Mutant(
        "what-another-thread-asks-for-is-taken-for-the-methods-own",
        "coopy/ground/interruption.py",
        "        return OWN if is_raised else DOUBTFUL",
        "        return OWN",
        "tests/engine/test_withdrawn.py::test_a_call_that_is_interrupted_from_outside_is_withdrawn",
    ),
    Mutant(
        "what-can-not-be-made-is-taken-for-the-methods-own",
        "coopy/ground/interruption.py",
        "return DOUBTFUL if made or (not is_raised and _may_be_for_another(error)) else OWN",
        "return OWN",
        "tests/engine/test_withdrawn.py::test_a_call_that_is_interrupted_from_outside_is_withdrawn",
    ),
    Mutant(
        "a-call-at-the-end-of-the-stack-keeps-the-lock",
        ENGINE,
        "                if _coopy_holds:\n                    if header is not None:\n",
        "                if False:\n                    if header is not None:\n",
        "tests/engine/test_withdrawn.py::test_a_call_at_the_end_of_the_stack_leaves_the_lock_free",
    ),
    Mutant(
        "a-replay-has-less-room-to-recurse-than-the-call-had",
        "coopy/ground/recursion.py",
        "_rooms[key] = depth + OWN_FRAMES",
        "_rooms[key] = 0",
        "tests/engine/test_withdrawn.py::test_a_call_that_recursed_almost_to_the_limit_and_returned_is_run_again",
        (Edit("coopy/spine/replay.py", "WIDER = (2_000, 10_000)", "WIDER = ()"),),
    ),
    Mutant(
        "a-call-of-a-handler-is-taken-for-a-part-of-the-action",
        ENGINE,
        "        return aside(sys._getframe(1).f_back, _ACTIONS) if running else NOT_ASIDE",
        "        return NOT_ASIDE",
        "tests/engine/test_aside.py::test_a_call_that_comes_in_between_of_an_action_is_recorded_after_it",
    ),
    Mutant(
        "what-a-finalizer-has-recorded-is-done-again-at-replay",
        ENGINE,
        "        if is_of_finalizer and self.machine.replaying:\n            return  #",
        "        if False:\n            return  #",
        "tests/engine/test_aside.py::test_what_a_finalizer_has_recorded_is_not_done_twice_at_replay",
    ),
    Mutant(
        "a-snapshot-is-kept-whether-it-loads-or-not",
        ENGINE,
        "        self._snapshots.write(machine.applied, write, tries)\n",
        "        self._snapshots.write(machine.applied, write)\n",
        "tests/engine/test_loadable.py::test_a_snapshot_that_cannot_be_loaded_is_not_kept_and_the_part_is_named",
    ),
    Mutant(
        "opening-does-not-go-back-to-a-snapshot-that-can-be-loaded",
        "coopy/spine/replay.py",
        "            if version not in (None, codec.migration.version) or index == min(",
        "            if True or index == min(",
        "tests/engine/test_loadable.py::test_opening_goes_back_to_a_snapshot_that_can_be_loaded",
    ),
    Mutant(
        "all-that-was-loaded-once-is-pruned",
        "coopy/past/retention.py",
        "    oldest = min(*wanted, max(snapshots.newest_loaded, indexes[0]))\n",
        "    oldest = min(wanted)\n",
        "tests/engine/test_loadable.py::test_what_has_not_been_loaded_is_not_all_that_stays",
    ),
    Mutant(
        "a-child-that-does-nothing-is-waited-for",
        CHILD,
        "        while time.monotonic() < until:\n            poll",
        "        while True:\n            poll",
        "tests/disk/test_child.py::test_a_child_that_waits_for_a_lock_that_nobody_lets_go_is_given_up",
    ),
    Mutant(
        "a-child-goes-on-without-its-parent",
        CHILD,
        "    while os.getppid() == owner:\n",
        "    while True:\n",
        "tests/disk/test_child.py::test_a_child_ends_with_its_parent",
    ),
    Mutant(
        "a-second-interrupt-in-a-call-that-raises-keeps-the-lock",
        ENGINE,
        "                # One may have come while another was dealt with.\n                self.unwind()\n                raise\n",
        "                raise\n",
        "tests/engine/test_interrupts.py::test_two_interrupts_in_a_call_that_raises_leave_the_lock_free",
    ),
    Mutant(
        "a-second-interrupt-leaves-the-collector-off",
        "coopy/ground/collector.py",
        "        # And another meanwhile.\n        if hidden:\n            gc.unfreeze()\n        if enabled:\n            gc.enable()\n",
        "        pass\n",
        "tests/engine/test_interrupts.py::test_two_interrupts_leave_the_collector_on_and_nothing_hidden_from_it",
    ),
    Mutant(
        "an-interrupted-machine-is-used-as-it-is",
        ENGINE,
        "                        log = self.log\n                        if machine.applied != log.last:\n",
        "                        log = self.log\n                        if False:\n",
        "tests/crash/test_guards.py::test_an_action_right_behind_an_interrupted_one_finds_the_state_that_replay_will_give_it",
        more=(
            Edit(
                ENGINE,
                "                        machine = self.machine\n                        if machine.applied != log.last:\n",
                "                        machine = self.machine\n                        if False:\n",
            ),
        ),
    ),
    Mutant(
        "instants-go-back-with-the-wall-clock",
        ENGINE,
        "                    if instant < self.instant:\n",
        "                    if False:\n",
        "tests/engine/test_replay.py::test_stamps_never_go_back_when_the_wall_clock_does",
    ),
    Mutant(
        "a-withdrawal-is-not-recorded",
        ENGINE,
        "        self.log.amend(action.amendment(self.instant, self._offset, action.WITHDRAWN))\n",
        "        pass\n",
        "tests/crash/test_guards.py::test_a_withdrawn_call_does_not_come_back_when_its_code_does_something_else",
    ),
    Mutant(
        "what-a-transactional-method-did-is-left",
        ENGINE,
        "        elif method.transactional",
        "        elif False",
        "tests/engine/test_failures.py::test_a_call_that_raises_under_transactional_leaves_no_trace",
    ),
    Mutant(
        "the-last-outcome-is-not-recorded-at-closing",
        ENGINE,
        "        log.close(amendment)\n",
        "        log.close(None)\n",
        "tests/engine/test_replay.py::test_the_very_last_call_before_a_clean_close_is_compared_too",
    ),
    Mutant(
        "a-snapshot-does-not-say-how-the-last-action-ended",
        ENGINE,
        "action.head(machine.header, machine.outcome,",
        "action.head(machine.header, action.UNKNOWN,",
        "tests/crash/test_guards.py::test_the_outcome_of_the_action_before_a_snapshot_is_not_forgotten_by_a_kill",
    ),
    Mutant(
        "the-last-outcome-is-recorded-at-every-closing",
        JOURNAL,
        "_ends_amended(final, end.earlier))\n",
        "False)\n",
        "tests/crash/test_guards.py::test_opening_and_closing_writes_nothing_new",
    ),
    # -- calls in batches
    Mutant(
        "the-lock-is-free-before-a-batch-is-written",
        ENGINE,
        "        self._section = None\n        section.write()\n",
        "        self._section = None\n        self.release()\n        section.write()\n        self.acquire()\n",
        "tests/engine/test_batches.py::test_nobody_gets_the_lock_before_what_was_applied_is_written",
    ),
    Mutant(
        "an-unlocked-read-sees-what-is-not-in-the-log",
        SECTION,
        "owner.log.append if at_once else self._records.append",
        "self._records.append",
        "tests/engine/test_batches.py::test_an_action_that_an_unlocked_read_can_see_is_in_the_log_before_it_runs",
    ),
    Mutant(
        "an-unlocked-read-sees-what-is-taken-together-and-not-in-the-log",
        ENGINE,
        "        if self._is_seen_at_once or not section.is_in_step():\n",
        "        if not section.is_in_step():\n",
        "tests/engine/test_batches.py::test_an_action_that_an_unlocked_read_can_see_is_in_the_log_before_it_runs",
    ),
    Mutant(
        "a-call-that-nobody-waits-for-any-more-is-applied",
        ENGINE,
        "        if call.what is None:\n            return\n",
        "",
        "tests/engine/test_batches.py::test_a_call_that_nobody_waits_for_any_more_is_not_applied",
    ),
    Mutant(
        "a-call-that-raised-among-others-is-not-withdrawn",
        ENGINE,
        "                section.failed(methods[done], cast(BaseException, calls[done].error), None)\n",
        "                pass\n",
        "tests/engine/test_batches.py::test_plain_calls_that_are_taken_together_come_to_what_they_come_to_one_by_one",
    ),
    Mutant(
        "a-rebuild-in-a-batch-loses-what-was-not-written",
        SECTION,
        "            self.write()\n            if self.problem is not None:\n",
        "            if self.problem is not None:\n",
        "tests/engine/test_batches.py::test_a_batch_comes_to_what_its_calls_come_to_one_by_one",
    ),
    Mutant(
        "a-call-that-was-not-written-is-answered",
        SECTION,
        "            for call in self._calls[written:]:\n",
        "            for call in self._calls[written + 1 :]:\n",
        "tests/engine/test_batches.py::test_a_batch_that_cannot_be_written_has_not_happened",
    ),
    Mutant(
        "a-read-of-what-was-not-written-is-answered",
        SECTION,
        "                if seen > written:\n",
        "                if False:\n",
        "tests/engine/test_batches.py::test_a_batch_that_cannot_be_written_has_not_happened",
    ),
    # -- what a batch in the line is to a state
    Mutant(
        "numbers-of-an-earlier-process-are-taken-for-those-of-a-node-that-has-begun-anew",
        "coopy/ground/batch.py",
        "            number = 0  # The node has begun anew.\n",
        "            number = 0 if batch.number == 1 else number\n",
        "tests/cluster/test_follower.py::test_a_batch_of_a_node_that_has_begun_anew_is_sent_again_if_the_one_before_it_was_lost",
    ),
    # -- who is told of actions
    Mutant(
        "a-subscriber-is-told-before-the-disk-has-it",
        "coopy/spine/tap.py",
        "            engine.log.wait(upto)\n",
        "            pass\n",
        "tests/engine/test_tap.py::test_nothing_is_told_before_the_disk_has_it",
    ),
    Mutant(
        "a-subscriber-is-told-of-what-has-come-meanwhile-and-not-of-what-was-before",
        "coopy/spine/tap.py",
        "            self._told(self.last + 1, upto)\n",
        "            self._told(upto, upto)\n",
        "tests/engine/test_tap.py::test_a_slow_callback_holds_up_neither_calls_nor_others_and_is_told_of_a_longer_range",
    ),
    Mutant(
        "one-who-was-woken-and-leaves-wakes-nobody",
        "coopy/ground/bell.py",
        "        self._waiting.pop(waiter, None)\n        self.pass_on(waiter)\n",
        "        self._waiting.pop(waiter, None)\n",
        "tests/batteries/test_waiting.py::test_one_who_leaves_after_it_was_woken_wakes_the_next",
    ),
    Mutant(
        "the-bell-is-hung-up-after-the-question",
        "coopy/spine/tap.py",
        "        self._bell.register(waiter)\n        self.asleep = True\n",
        "        self.asleep = True\n",
        "tests/batteries/test_waiting.py::test_an_action_between_the_question_and_the_waiting_is_not_missed",
    ),
    Mutant(
        "what-was-withdrawn-is-told-as-done",
        "coopy/spine/engine.py",
        "            self.tap.withdraw(self.log.last)\n",
        "            pass\n",
        "tests/batteries/test_watch.py::test_what_was_withdrawn_is_not_told_as_done",
    ),
    # -- what lies deep
    Mutant(
        "a-call-shares-its-nan-with-its-caller",
        "coopy/values/codec.py",
        "not in EQUAL_TO_THEMSELVES and (type(each) is not float or each != each)",
        "not in SCALARS",
        "tests/values/test_nan.py::test_a_live_call_finds_what_replay_finds",
    ),
    Mutant(
        "what-is-said-of-classes-is-not-compared",
        "coopy/values/codec.py",
        "            if change is not None:\n",
        "            if change is not None and change.is_enum:\n",
        "tests/evolution/test_fields.py::test_a_field_that_is_gone_stops_the_opening_and_its_upgrade_is_printed",
    ),
    Mutant(
        "an-enum-is-taken-for-the-handler-of-a-signal",
        "coopy/ground/interruption.py",
        "            if handler is None or isinstance(handler, signal.Handlers):\n",
        "            if handler is None:\n",
        "tests/engine/test_withdrawn.py::test_what_the_method_raises_by_itself_counts",
    ),
    Mutant(
        "calls-say-nothing-of-classes",
        "coopy/values/codec.py",
        "        if met:\n",
        "        if not met:\n",
        "tests/evolution/test_fields.py::test_a_field_that_is_gone_stops_the_opening_and_its_upgrade_is_printed",
    ),
    Mutant(
        "calls-that-leave-all-to-pickle-say-nothing-of-classes",
        "coopy/values/codec.py",
        """        said = (self._said.get(classes) or self._said_of(classes)) if classes else b""\n""",
        """        said = b""\n""",
        "tests/evolution/test_fields.py::test_the_changed_value_of_an_enum_stops_the_opening_and_can_be_upgraded",
    ),
    Mutant(
        "what-an-action-sets-for-decimals-outlives-it",
        "coopy/ground/decimals.py",
        "        if spoiled or get() is not context:\n",
        "        if spoiled:\n",
        "tests/ground/test_decimals.py::test_replay_calculates_what_was_calculated_live",
    ),
    Mutant(
        "a-replay-is-taken-for-live",
        "coopy/spine/machine.py",
        "            self.replaying = not is_live\n",
        "            self.replaying = False\n",
        "tests/ground/test_replaying.py::test_a_call_is_live_and_a_start_replays_it",
    ),
    Mutant(
        "the-package-of-a-class-is-not-its-own",
        "coopy/determinism/modules.py",
        "        if package in self._packages:\n            return True\n",
        "",
        "tests/determinism/test_check.py::test_a_domain_that_is_installed_is_read_with_its_package",
    ),
    Mutant(
        "a-deep-state-is-refused",
        "coopy/values/codec.py",
        "                        _with(classes, make_deep(self, file, None)).dump(state)\n",
        "                        raise\n",
        "tests/values/test_deep.py::test_a_hundred_thousand_lists_in_one_another_are_kept",
    ),
    Mutant(
        "the-deep-pickler-forgets-what-it-has-begun",
        "coopy/values/deep.py",
        "                    begun.append(following)\n",
        "                    begun[-1] = following\n",
        "tests/values/test_deep.py::test_the_deep_pickler_writes_what_the_other_writes",
    ),
    Mutant(
        "what-has-no-end-is-pickled-until-memory-has",
        "coopy/values/deep.py",
        "                    if len(begun) >= DEPTH_MAX:\n",
        "                    if len(begun) >= 10 * DEPTH_MAX:\n",
        "tests/values/test_codec.py::test_a_state_that_is_nested_deeper_than_there_is_memory_for_is_refused",
    ),
    Mutant(
        "what-lies-deep-is-not-checked",
        "coopy/proof/checked.py",
        "        pickler.dump(value)\n    except RecursionError:\n",
        "        pickler.dump(value)\n    except ZeroDivisionError:\n",
        "tests/values/test_deep.py::test_what_lies_deep_is_checked",
    ),
    # -- what is dropped is gone
    Mutant(
        "methods-hold-their-machine",
        "coopy/spine/machine.py",
        "        myself: Any = weakref.proxy(self)\n",
        "        myself: Any = self\n",
        "tests/test_memory.py::test_a_past_that_is_dropped_is_gone",
    ),
    Mutant(
        "a-past-holds-its-domain",
        "coopy/past/proxy.py",
        "            self._domain = weakref.ref(domain)\n",
        "            self._domain = lambda: domain\n",
        "tests/test_memory.py::test_a_past_that_holds_its_own_proxy_is_gone",
    ),
    Mutant(
        "an-error-holds-the-frame-that-raised-it",
        ENGINE,
        "failure = None  # Its traceback has this frame, which has the machine.\n        return result if",
        "pass\n        return result if",
        "tests/test_memory.py::test_a_call_that_raises_leaves_nothing",
    ),
    Mutant(
        "a-closed-system-keeps-its-state",
        ENGINE,
        "            self.machine = machine.emptied()\n",
        "            pass\n",
        "tests/test_memory.py::test_who_keeps_a_closed_system_does_not_keep_its_state",
    ),
    Mutant(
        "a-failed-sync-keeps-what-was-being-done",
        JOURNAL,
        "        self._failure = copy_of(error)  # Without what was being done: that holds a state, and this stays.\n",
        "        self._failure = error\n",
        "tests/test_memory.py::test_a_system_whose_disk_failed_leaves_nothing",
    ),
    Mutant(
        "the-collector-is-not-told",
        "coopy/ground/collector.py",
        "                    look_if_grown()\n",
        "                    pass\n",
        "tests/test_memory.py::test_the_collector_is_told_of_pasts_that_are_cycles",
    ),
    Mutant(
        "an-effect-is-numbered-by-a-look-at-those-before-it",
        "coopy/spine/machine.py",
        '        name = f"{index}.{number}"\n',
        '        number = next(n for n in range(number + 1) if f"{index}.{n}" not in self.effects)\n        name = f"{index}.{number}"\n',
        "tests/effects/test_on_commit.py::test_an_effect_is_numbered_without_a_look_at_those_before_it",
    ),
    Mutant(
        "an-effect-is-asked-for-before-its-action-is-written",
        ENGINE,
        "        if self._section is None:\n            self.asked(name)\n",
        "        if True:\n            self.asked(name)\n",
        "tests/engine/test_batches.py::test_an_effect_is_asked_for_when_its_action_is_in_the_log",
    ),
    Mutant(
        "half-a-block-of-a-batch-is-left",
        JOURNAL,
        "            self._undo(offset, len(data), block_end, error)\n\n",
        "            self._block_end = block_end\n            raise self._refused(error) from error\n\n",
        "tests/engine/test_batches.py::test_frames_that_were_written_whole_before_the_disk_refused_the_others_are_taken_back",
    ),
    # -- a full disk
    Mutant(
        "no-room-for-a-frame-is-no-error",
        JOURNAL,
        "            self._undo(offset, len(data), block_end, error)\n        self.last = index\n",
        "            self._erase(offset, len(data))\n        self.last = index\n",
        "tests/crash/test_guards.py::test_a_call_for_which_there_is_no_room_is_refused_and_has_changed_nothing",
    ),
    Mutant(
        "no-room-for-a-block-is-no-error",
        JOURNAL,
        "            raise self._refused(error) from error\n        return start\n",
        "            return self._tail\n        return start\n",
        "tests/crash/test_guards.py::test_a_call_for_which_there_is_no_room_is_refused_and_has_changed_nothing",
    ),
    Mutant(
        "half-a-frame-is-left",
        JOURNAL,
        "        if self._erase(offset, size):\n",
        "        if True:\n",
        "tests/engine/test_failures.py::test_an_append_that_fails_changes_nothing_and_the_next_call_succeeds",
    ),
    Mutant(
        "an-end-that-could-not-be-cut-off-is-trusted",
        JOURNAL,
        "            self._fail(error)\n        return self._failure is None\n",
        "            pass\n        return True\n",
        "tests/engine/test_failures.py::test_an_append_that_fails_changes_nothing_and_the_next_call_succeeds",
    ),
    Mutant(
        "a-part-of-the-room-is-kept",
        "coopy/disk/fs.py",
        "            with contextlib.suppress(OSError):\n                self.calls.truncate(self._fd, self.size)\n            raise\n",
        "            raise\n",
        "tests/crash/test_guards.py::test_room_that_was_only_partly_there_is_given_back",
    ),
    # -- what the operating system refuses
    Mutant(
        "a-file-of-unknown-size-stays-open",
        "coopy/disk/fs.py",
        "        with on_failure(self.close):\n",
        "        if True:\n",
        "tests/disk/test_refusals.py::test_a_file_whose_size_can_not_be_asked_for_is_closed",
    ),
    Mutant(
        "a-file-whose-finalizer-is-interrupted-stays-open",
        "coopy/disk/fs.py",
        "        self._end = weakref.ref(self, partial(countOf, map(calls.close, self._held)))\n",
        "",
        "tests/disk/test_descriptor.py::test_an_interrupt_at_any_instruction_leaves_no_file_open",
    ),
    Mutant(
        "a-close-that-fails-is-a-failure",
        "coopy/disk/fs.py",
        "        if error.errno == errno.EBADF:\n",
        "        if True:\n",
        "tests/disk/test_refusals.py::test_a_close_that_fails_is_no_failure_as_the_number_is_free",
    ),
    Mutant(
        "why-there-was-no-room-is-hidden",
        "coopy/disk/fs.py",
        "            with contextlib.suppress(OSError):\n                self.calls.truncate(self._fd, self.size)\n",
        "            self.calls.truncate(self._fd, self.size)\n",
        "tests/disk/test_refusals.py::test_space_that_can_not_be_given_back_does_not_hide_why_it_was_not_taken",
    ),
    Mutant(
        "no-map-is-a-failure",
        "coopy/disk/fs.py",
        "        except (OSError, MemoryError):\n            pass\n",
        "        except MemoryError:\n            pass\n",
        "tests/disk/test_refusals.py::test_a_file_that_can_not_be_mapped_is_written_as_others_are",
    ),
    Mutant(
        "a-directory-that-may-not-last-is-left",
        "coopy/disk/directory.py",
        "                calls.remove_directory(each)\n",
        "                pass\n",
        "tests/disk/test_refusals.py::test_a_directory_whose_name_may_not_last_is_not_left",
    ),
    Mutant(
        "the-name-of-a-directory-that-was-there-is-not-synced",
        "coopy/place/directory.py",
        "        directory.sync_above(calls, basedir)\n",
        "",
        "tests/disk/test_refusals.py::test_the_name_of_a_directory_that_was_there_is_made_to_last_as_a_system_is_begun",
    ),
    Mutant(
        "names-of-a-process-before-are-not-synced",
        "coopy/place/directory.py",
        "        self.calls.sync_directory(self.name)\n",
        "",
        "tests/disk/test_refusals.py::test_the_name_of_a_directory_that_was_there_is_made_to_last_as_a_system_is_begun",
    ),
    Mutant(
        "a-manifest-that-may-not-last-is-left",
        "coopy/disk/manifest.py",
        "    with on_failure(_remove_if_possible, calls, path):\n",
        "    if True:\n",
        "tests/disk/test_refusals.py::test_a_system_that_was_not_begun_has_no_manifest",
    ),
    Mutant(
        "a-manifest-is-replaced",
        "coopy/disk/manifest.py",
        "        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)\n",
        "        pass\n",
        "tests/disk/test_refusals.py::test_a_manifest_that_can_not_be_seen_is_not_replaced",
    ),
    Mutant(
        "a-snapshot-that-was-not-taken-is-left",
        "coopy/disk/snapshots.py",
        "[temporary, path] if is_new else [temporary]",
        "[temporary]",
        "tests/disk/test_refusals.py::test_a_snapshot_that_was_not_taken_is_not_there",
    ),
    Mutant(
        "a-snapshot-that-was-there-goes",
        "coopy/disk/snapshots.py",
        "[temporary, path] if is_new else [temporary]",
        "[temporary, path]",
        "tests/disk/test_refusals.py::test_a_snapshot_that_was_not_taken_is_not_there",
    ),
    Mutant(
        "what-can-not-be-seen-is-no-file",
        "coopy/ground/paths.py",
        "st_mode)\n    except OSError as error:\n        if error.errno == errno.ELOOP:\n            return False\n        raise\n\n\ndef is_directory",
        "st_mode)\n    except OSError:\n        return False\n\n\ndef is_directory",
        "tests/disk/test_refusals.py::test_a_snapshot_that_can_not_be_seen_is_not_called_damaged",
    ),
    Mutant(
        "what-lies-where-the-directory-was-is-pruned",
        "coopy/place/directory.py",
        "        if self._lock is not None:\n            self._lock.check()\n",
        "",
        "tests/disk/test_dirlock.py::test_a_system_puts_no_file_into_another_directory_and_takes_none_away",
    ),
    Mutant(
        "a-segment-that-can-not-be-seen-is-not-there",
        JOURNAL,
        "        if self._segment.first <= self.last and exists(path):\n",
        "        if self._segment.first <= self.last and os.path.exists(path):\n",
        "tests/disk/test_refusals.py::test_a_segment_that_got_its_name_and_can_not_be_seen_is_gone_on_in_once_it_can",
    ),
    Mutant(
        "what-a-pruning-has-left-stays",
        "coopy/past/retention.py",
        "            log.forget(indexes[0])\n",
        "            pass\n",
        "tests/disk/test_refusals.py::test_what_a_pruning_that_failed_has_left_of_the_journal_goes_with_the_next",
    ),
    Mutant(
        "an-effect-without-a-thread-fails-its-action",
        "coopy/spine/delivery.py",
        "            except RuntimeError:\n                return False\n",
        "            except KeyError:\n                return False\n",
        "tests/test_no_threads.py::test_a_call_whose_effect_finds_no_thread_is_acknowledged_and_the_effect_is_carried_out_later",
    ),
    Mutant(
        "an-effect-without-a-thread-is-not-carried-out",
        "coopy/spine/delivery.py",
        "        if not self._start():\n            self._run()\n",
        "        if not self._start():\n            self._new.clear()\n",
        "tests/test_no_threads.py::test_a_call_whose_effect_finds_no_thread_is_acknowledged_and_the_effect_is_carried_out_later",
    ),
    Mutant(
        "a-system-without-its-thread-raises-an-error-of-pythons",
        "coopy/past/keeping.py",
        "            except RuntimeError as error:  # There can't be one more.\n",
        "            except KeyError as error:\n",
        "tests/test_no_threads.py::test_a_system_without_the_thread_for_its_snapshots_is_not_opened",
    ),
    Mutant(
        "a-name-that-can-not-be-written-is-written",
        "coopy/spine/proxy.py",
        "    if not name.isidentifier():\n",
        "    if False:\n",
        "tests/proxy/test_uses.py::test_a_method_whose_name_can_not_be_written_is_refused_with_what_to_do",
    ),
    Mutant(
        "tasks-need-a-second-thread",
        "coopy/aio/worker.py",
        "                    except RuntimeError:\n                        pass  # One",
        "                    except KeyError:\n                        pass  # One",
        "tests/test_no_threads.py::test_tasks_do_without_a_second_thread_and_can_not_without_the_first",
    ),
    Mutant(
        "a-backup-that-may-not-last-is-left",
        "coopy/tools/backup.py",
        "            with on_failure(_take_back, calls, dest, temporary, paths.exists(dest)):\n",
        "            if True:\n",
        "tests/disk/test_refusals.py::test_a_backup_that_may_not_last_is_taken_back",
    ),
    Mutant(
        "a-place-that-can-not-be-seen-is-taken-for-free",
        "coopy/tools/backup.py",
        "        mode = os.lstat(dest).st_mode\n    except (FileNotFoundError, NotADirectoryError):\n",
        "        mode = os.lstat(dest).st_mode\n    except OSError:\n",
        "tests/disk/test_refusals.py::test_a_place_for_a_backup_that_can_not_be_seen_is_not_said_to_be_taken",
    ),
    # -- frames and segments
    Mutant(
        "the-checksum-does-not-cover-the-index",
        FRAME,
        "_crc32 = zlib.crc32\n",
        CRC_WITHOUT_INDEX,
        "tests/crash/test_guards.py::test_a_frame_that_was_changed_is_named_wherever_in_a_block_it_lies",
        more=(Edit(JOURNAL, "from zlib import crc32 as _crc32\n", "from coopy.disk.frame import _crc32\n"),),
    ),
    Mutant(
        "indexes-may-have-gaps",
        "coopy/disk/segment.py",
        "                if not found.follows(following - 1):\n",
        "                if False:\n",
        "tests/crash/test_guards.py::test_a_block_that_is_not_the_next_one_is_damage_and_the_actions_before_it_are_intact",
    ),
    Mutant(
        "the-sizes-of-records-together-need-not-add-up",
        FRAME,
        "found.index > found.first and sum(sizes_of(",
        "found.first < 0 and sum(sizes_of(",
        "tests/disk/test_frames.py::test_fields_that_do_not_fit_each_other_are_not_whole_whatever_the_checksum_says",
    ),
    Mutant(
        "the-fields-of-records-together-need-not-fit-their-count",
        FRAME,
        " or fields != MANY_HEAD.size - MANY_MARK_AT + 4 * count + PREFIX_BYTES:",
        ":",
        "tests/disk/test_frames.py::test_what_no_writer_writes_is_no_head_whatever_the_checksum_says",
    ),
    Mutant(
        "more-records-than-so-many-come-together",
        JOURNAL,
        "            upto = min(at + frame.TOGETHER_MAX, len(sizes))\n",
        "            upto = len(sizes)\n",
        "tests/disk/test_frames.py::test_records_that_are_appended_together_lie_in_as_few_frames_as_may_be",
    ),
    Mutant(
        "records-together-do-not-say-what-was-synced",
        JOURNAL,
        "        synced = self._commit.durable\n",
        "        synced = 0\n",
        "tests/disk/test_frames.py::test_records_together_say_of_those_before_that_they_were_synced",
    ),
    Mutant(
        "what-records-together-say-was-synced-is-not-found",
        FRAME,
        "    single, many = data.find(MARK), data.find(MANY_MARK, MANY_MARK_AT)\n",
        "    single, many = data.find(MARK), -1\n",
        "tests/disk/test_frames.py::test_records_together_say_of_those_before_that_they_were_synced",
    ),
    Mutant(
        "who-reads-behind-a-record-gets-all-that-came-together-with-it",
        "coopy/disk/segment.py",
        "found.records(frames, skipped)[index + 1 - found.first :]",
        "found.records(frames, skipped)",
        "tests/disk/test_frames.py::test_the_records_behind_an_index_are_those_of_its_frame_and_of_all_that_follow",
    ),
    Mutant(
        "the-end-of-records-together-is-taken-for-an-amendment",
        JOURNAL,
        "    if first is not None and before + first.length < len(final.frames):\n",
        "    if first is not None and before + frame.OVERHEAD + first.size < len(final.frames):\n",
        "tests/crash/test_guards.py::test_how_the_last_action_of_a_batch_ended_is_recorded_by_who_closes_first_and_by_nobody_else",
    ),
    Mutant(
        "an-action-is-said-to-be-where-its-amendment-is",
        JOURNAL,
        "                if block.last >= index:\n",
        "                if block.first > index:\n",
        "tests/disk/test_frames.py::test_an_amendment_behind_records_together_is_the_last_of_its_block_or_the_first_of_the_next",
    ),
    Mutant(
        "no-frame-says-what-was-synced",
        JOURNAL,
        "len(record), index, self._commit.durable)",
        "len(record), index, 0)",
        "tests/crash/test_guards.py::test_every_action_but_the_last_is_known_to_have_been_synced",
    ),
    Mutant(
        "what-frames-say-was-synced-is-ignored",
        "coopy/disk/segment.py",
        "            if found is not None and (found.synced >= index or ",
        "            if found is not None and (found.synced < 0 or ",
        "tests/crash/test_guards.py::test_every_action_but_the_last_is_known_to_have_been_synced",
    ),
    Mutant(
        "a-closed-journal-does-not-say-that-all-is-synced",
        JOURNAL,
        "                self._commit.exclusive(self._finish)\n                if amendment",
        "                if amendment",
        "tests/crash/test_guards.py::test_every_action_of_a_closed_journal_is_known_to_have_been_synced",
    ),
    Mutant(
        "damage-is-cut-off-as-a-torn-end",
        JOURNAL,
        "            if segment.proves(problem.offset, problem.index, self._same_boot):\n",
        "            if False:\n",
        "tests/disk/test_segments.py::test_a_whole_block_that_is_not_what_was_written_is_damage",
    ),
    Mutant(
        "a-torn-end-is-left",
        JOURNAL,
        "            old.file.cut(self._tail)\n",
        "            pass\n",
        "tests/crash/test_guards.py::test_a_torn_end_is_gone_for_good_before_anything_is_written_in_its_place",
    ),
    Mutant(
        "a-cut-is-not-synced-before-the-first-append",
        JOURNAL,
        "        old.file.allocate(self._whole_blocks())\n        self._made_durable(old.file.sync)\n",
        "        old.file.allocate(self._whole_blocks())\n",
        "tests/crash/test_guards.py::test_a_torn_end_is_gone_for_good_before_anything_is_written_in_its_place",
    ),
    Mutant(
        "what-a-killed-process-left-is-not-synced",
        JOURNAL,
        "        self._segment.file.sync()\n        self._is_ahead = ",
        "        self._is_ahead = ",
        "tests/crash/test_guards.py::test_what_a_killed_process_left_is_synced_before_it_counts_as_durable",
    ),
    Mutant(
        "the-full-segments-of-a-killed-process-are-not-synced",
        JOURNAL,
        "                each.segment.file.sync()\n",
        "                pass\n",
        "tests/crash/test_guards.py::test_what_a_killed_process_left_is_synced_before_it_counts_as_durable",
    ),
    Mutant(
        "the-segment-before-is-not-looked-at",
        JOURNAL,
        "            if max(end.synced for end in ends) >= first - 1:\n",
        "            if True:\n",
        LIVES,
    ),
    Mutant(
        "the-name-of-a-segment-is-not-durable",
        "coopy/disk/segment.py",
        "        calls.sync_directory(os.path.dirname(path))\n",
        "",
        "tests/disk/test_segments.py::test_a_new_segment_is_durable_by_name_before_it_is_used_and_the_old_one_before_that",
    ),
    Mutant(
        "a-segment-has-its-name-before-it-is-synced",
        "coopy/disk/segment.py",
        "            file.sync()\n        return segment\n",
        "        return segment\n",
        "tests/disk/test_segments.py::test_a_new_segment_is_durable_by_name_before_it_is_used_and_the_old_one_before_that",
    ),
    Mutant(
        "a-full-segment-is-not-synced-before-the-next",
        JOURNAL,
        "        if not self._buffered:\n            self._made_durable(self._segment.file.sync)\n",
        "        if not self._buffered:\n",
        "tests/disk/test_segments.py::test_a_new_segment_is_durable_by_name_before_it_is_used_and_the_old_one_before_that",
    ),
    Mutant(
        "a-new-segment-does-not-say-that-the-old-one-is-synced",
        JOURNAL,
        "            self._commit.durable = max(self._commit.durable, self.last)\n\n    def _appear(",
        "            pass\n\n    def _appear(",
        "tests/crash/test_guards.py::test_the_end_of_a_full_segment_is_damage_as_soon_as_there_is_an_action_behind_it",
    ),
    Mutant(
        "an-empty-segment-is-full",
        JOURNAL,
        " and self.last >= self._segment.first:\n            self._roll_over",
        ":\n            self._roll_over",
        "tests/crash/test_guards.py::test_an_action_larger_than_a_segment_does_not_make_an_empty_one_begin_anew",
    ),
    Mutant(
        "buffered-a-full-segment-is-never-synced",
        JOURNAL,
        "                self._full[0].file.sync()\n                del self._full[0]\n            if self._failure is None:\n",
        "                del self._full[0]\n            if False:\n",
        "tests/crash/test_guards.py::test_a_full_segment_of_a_buffered_journal_is_synced_behind_its_back",
    ),
    Mutant(
        "one-action-too-many-is-forgotten",
        JOURNAL,
        "self.firsts[1] <= upto + 1:",
        "self.firsts[1] <= upto + 2:",
        "tests/crash/test_guards.py::test_a_segment_goes_when_none_of_its_actions_is_needed_and_not_before",
    ),
    Mutant(
        "a-journal-does-not-go-on-behind-a-snapshot",
        JOURNAL,
        "        self.last = max(end.last, floor)\n",
        "        self.last = end.last\n",
        "tests/disk/test_segments.py::test_a_journal_that_ends_before_the_newest_snapshot_goes_on_behind_it",
    ),
    # -- snapshots, and what they replace
    Mutant(
        "a-snapshot-has-its-name-before-it-is-synced",
        SNAPSHOTS,
        "            file.sync()\n            file.close()\n            self._calls.rename(temporary, path)\n",
        "            self._calls.rename(temporary, path)\n            file.sync()\n            file.close()\n",
        "tests/disk/test_segments.py::test_a_snapshot_is_synced_before_it_has_its_name_and_its_name_before_it_counts",
    ),
    Mutant(
        "the-name-of-a-snapshot-is-not-durable",
        SNAPSHOTS,
        "        self._calls.sync_directory(self._basedir)\n",
        "        pass\n",
        "tests/disk/test_segments.py::test_a_snapshot_is_synced_before_it_has_its_name_and_its_name_before_it_counts",
    ),
    Mutant(
        "the-checksums-of-a-snapshot-are-not-compared",
        "coopy/disk/chunks.py",
        "if len(chunk) < size or zlib.crc32(chunk) != self._checksums[number]:",
        "if False:",
        "tests/disk/test_every_byte.py::test_any_bit_of_the_newest_snapshot_flipped_falls_back_to_the_one_before",
    ),
    Mutant(
        "the-child-keeps-the-programs-handlers",
        CHILD,
        "                signal.signal(number, signal.SIG_DFL)\n",
        "                pass\n",
        "tests/disk/test_child.py::test_a_signal_to_the_group_ends_the_child_without_a_word_and_the_parent_says_which",
    ),
    Mutant(
        "the-child-comes-back-into-the-program",
        CHILD,
        "        self._pids.extend(chain(map(os._exit, map(len, map(_Life, zip(born, repeat(self))))), forked))\n",
        "        self._pids.extend(forked)\n        if self._pids == [0]:\n            self.live()\n",
        "tests/disk/test_child.py::test_an_exception_at_any_moment_of_the_child_ends_it_and_does_not_come_back_into_the_program",
    ),
    Mutant(
        "signals-stay-blocked",
        CHILD,
        "            signal.pthread_sigmask(signal.SIG_SETMASK, self._masks[0])\n",
        "            pass\n",
        "tests/disk/test_child.py::test_signals_are_blocked_only_around_the_fork",
    ),
    Mutant(
        "an-interrupted-wait-leaves-its-child",
        CHILD,
        "                        self._end()\n",
        "                        pass\n",
        "tests/disk/test_child.py::test_who_is_interrupted_while_he_waits_ends_the_child",
    ),
    Mutant(
        "what-the-child-could-not-say-has-failed",
        CHILD,
        "        elif reason or not (message or status):\n",
        "        elif False:\n",
        "tests/disk/test_child.py::test_a_child_that_could_not_say_that_it_is_done_is_not_said_to_have_failed",
    ),
    Mutant(
        "the-filters-of-warnings-are-exchanged",
        CHILD,
        "        forked, again = tee(starmap(os.fork, ((),)))\n",
        "        warnings.filters = list(warnings.filters)\n        forked, again = tee(starmap(os.fork, ((),)))\n",
        "tests/disk/test_child.py::test_the_filters_of_warnings_are_those_of_the_program",
    ),
    Mutant(
        "what-a-killed-child-began-to-write-stays",
        "coopy/past/keeping.py",
        "        return child.start(save, self._place.sweep_after)\n",
        "        return child.start(save)\n",
        "tests/disk/test_child.py::test_a_snapshot_whose_child_was_killed_leaves_no_file",
    ),
    Mutant(
        "what-a-failed-sync-has-left-is-only-synced-again",
        JOURNAL,
        "        while offset < end and (data := file.read(offset, min(_AGAIN_BYTES, end - offset))):\n",
        "        while False and (data := file.read(offset, min(_AGAIN_BYTES, end - offset))):\n",
        "tests/disk/test_failed_sync.py::test_what_is_found_after_a_sync_that_failed_lasts_once_the_next_has_succeeded",
    ),
    Mutant(
        "of-the-segments-before-the-last-nothing-is-written-again",
        JOURNAL,
        "                each.write_again(synced)\n",
        "",
        "tests/disk/test_failed_sync.py::test_a_segment_that_was_full_and_could_not_be_synced_is_written_again",
    ),
    Mutant(
        "pruned-before-the-snapshot-is-durable",
        "coopy/past/keeping.py",
        "        return self.engine.take_snapshot(self._in_a_child if self._fork else _inline)\n",
        "        if self._kept.keep is not None:\n"
        "            self._place.snapshots.forget(self._place.log.last)\n"
        "            self._place.log.forget(self._place.log.last)\n"
        "        return self.engine.take_snapshot(self._in_a_child if self._fork else _inline)\n",
        LIVES,
    ),
    Mutant(
        "pruned-without-a-look-at-what-stays",
        "coopy/past/retention.py",
        "    found = snapshots.latest(oldest)\n    return found[0] if found is not None else None\n",
        "    return oldest\n",
        "tests/past/test_retention.py::test_nothing_goes_while_the_oldest_that_would_stay_is_damaged",
    ),
    Mutant(
        "records-go-before-the-snapshots-that-need-them",
        "coopy/past/retention.py",
        "    snapshots.forget(oldest)\n    log.forget(oldest)\n",
        "    log.forget(oldest)\n    snapshots.forget(oldest)\n",
        "tests/crash/test_guards.py::test_a_crash_while_pruning_leaves_no_snapshot_without_its_journal",
    ),
    # -- the directory
    Mutant(
        "the-manifest-has-its-name-before-it-is-synced",
        "coopy/disk/manifest.py",
        "        file.sync()\n    finally:\n        file.close()\n    calls.rename(temporary, path)\n",
        "        calls.rename(temporary, path)\n        file.sync()\n    finally:\n        file.close()\n",
        "tests/crash/test_guards.py::test_whatever_gets_a_name_is_synced_before_and_its_name_after",
    ),
    Mutant(
        "the-name-of-the-manifest-is-not-durable",
        "coopy/disk/manifest.py",
        "    calls.sync_directory(directory)\n",
        "",
        "tests/crash/test_guards.py::test_a_manifest_that_is_written_anew_is_synced_before_it_gets_its_name_and_its_name_after",
    ),
    Mutant(
        "the-checksum-of-the-manifest-is-not-compared",
        "coopy/disk/manifest.py",
        '    if members.get("checksum") != _checksum(members):\n',
        "    if False:\n",
        "tests/disk/test_every_byte.py::test_any_bit_of_the_manifest_flipped_is_refused",
    ),
    Mutant(
        "the-lock-is-not-taken",
        "coopy/disk/dirlock.py",
        "            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "            pass\n",
        "tests/test_system.py::test_a_second_opening_from_this_process_is_refused_and_says_so",
    ),
    Mutant(
        "the-file-alone-is-locked",
        "coopy/disk/dirlock.py",
        "            self._locks_directory = self._lock(self._directory)\n",
        "            self._locks_directory = True\n",
        "tests/disk/test_dirlock.py::test_a_directory_whose_lock_file_was_removed_is_still_locked",
    ),
    Mutant(
        "the-directory-alone-is-locked",
        "coopy/disk/dirlock.py",
        "            if not self._lock(self._file) and not self._locks_directory:\n",
        "            if not self._locks_directory:\n",
        "tests/disk/test_dirlock.py::test_a_process_that_locks_the_file_alone_is_kept_out_and_keeps_out",
    ),
    Mutant(
        "a-copy-in-the-place-of-the-directory-is-taken-for-it",
        "coopy/disk/dirlock.py",
        "        return held.is_open and os.path.samestat(found, os.fstat(held.fileno()))\n",
        "        return True\n",
        "tests/disk/test_dirlock.py::test_a_copy_in_the_place_of_a_directory_is_another",
    ),
    Mutant(
        "a-copy-says-what-was-said-of-the-original",
        "coopy/disk/dirlock.py",
        "        self.earlier_boot = boot if place == self._place else None\n",
        "        self.earlier_boot = boot\n",
        "tests/disk/test_dirlock.py::test_a_copy_in_the_place_of_a_directory_is_another",
    ),
    Mutant(
        "a-torn-end-is-said-to-be-whole",
        "coopy/place/directory.py",
        "        if journal.is_whole and self._lock is not None:\n",
        "        if True:\n",
        "tests/disk/test_dirlock.py::test_an_end_that_is_torn_is_not_said_to_be_whole",
    ),
    Mutant(
        "a-failed-opening-keeps-the-lock",
        "coopy/disk/dirlock.py",
        "        or_undone(self._take, self.release)\n",
        "        self._take()\n",
        "tests/disk/test_dirlock.py::test_a_call_that_fails_is_our_error_and_keeps_no_lock",
    ),
    Mutant(
        "a-lock-is-known-when-it-is-handed-over",
        "coopy/place/directory.py",
        "                DirectoryLock(self.name, self._know)\n",
        "                self._lock = DirectoryLock(self.name)\n",
        "tests/contract/test_place.py::test_a_lock_that_was_taken_and_not_handed_over_is_let_go",
    ),
    Mutant(
        "a-taking-that-is-interrupted-twice-keeps-the-lock",
        "coopy/ground/holding.py",
        "            undo()\n            raise\n    except BaseException:\n        undo()\n        raise\n",
        "            undo()\n            raise\n    except BaseException:\n        raise\n",
        "tests/disk/test_dirlock.py::test_a_taking_that_is_interrupted_twice_leaves_the_directory_to_others",
    ),
    Mutant(
        "a-path-with-a-nul-is-tried",
        "coopy/ground/paths.py",
        '        if b"\\0" in os.fsencode(path):\n',
        "        if False:\n",
        "tests/ground/test_paths.py::test_what_is_no_path_is_wrong_use_everywhere",
    ),
    Mutant(
        "a-directory-that-may-not-be-entered-has-no-manifest",
        "coopy/disk/manifest.py",
        "    except (FileNotFoundError, NotADirectoryError):\n        return None\n",
        "    except OSError:\n        return None\n",
        "tests/ground/test_paths.py::test_what_cannot_be_a_data_directory_is_an_error_of_ours_everywhere",
    ),
    Mutant(
        "what-may-not-be-read-is-damage",
        "coopy/tools/verify.py",
        "        except Unreadable:\n            raise  # Nobody knows whether that is damaged.\n",
        "",
        "tests/ground/test_paths.py::test_a_file_that_may_not_be_read_is_named_and_is_no_damage",
    ),
    Mutant(
        "a-closing-that-is-interrupted-looks-at-the-state-again",
        ENGINE,
        "            last_look, self.last_look = self.last_look, say_nothing\n            last_look(machine)\n",
        "            self.last_look(machine)\n",
        "tests/proof/test_hooks.py::test_what_interrupts_the_last_look_at_the_state_is_raised_once_all_is_closed",
    ),
    Mutant(
        "what-a-value-raises-is-taken-for-an-interrupt",
        "coopy/values/digest.py",
        "            with told_as(self._refused, of=BaseException):\n",
        "            with told_as(self._refused):\n",
        "tests/proof/test_hooks.py::test_what_a_value_raises_does_not_keep_a_system_from_being_closed",
    ),
    Mutant(
        "a-time-limit-of-a-job-is-taken-for-a-failing-disk",
        "coopy/disk/commit.py",
        "            if origin(error) == OUTSIDE:\n",
        "            if False:\n",
        "tests/engine/test_interrupts.py::test_a_time_limit_while_a_call_waits_for_the_disk_is_no_failing_disk",
    ),
    Mutant(
        "who-follows-does-not-see-that-the-directory-has-gone",
        "coopy/past/trail.py",
        "            elif rolled or not (is_looked_at or self._is_where_it_was()):\n",
        "            elif rolled:\n",
        "tests/cli/test_trail.py::test_who_follows_a_directory_that_is_not_there_any_more_is_told",
    ),
    Mutant(
        "a-past-that-cannot-be-read-raises-errors-of-python",
        "coopy/system.py",
        "        with paths.reads(self.basedir):\n            domain = ",
        "        if True:\n            domain = ",
        "tests/ground/test_paths.py::test_a_call_that_fails_while_a_past_is_read_is_an_error_of_ours",
    ),
    Mutant(
        "a-number-of-thousands-of-digits-is-cut",
        "coopy/ground/words.py",
        "    return hex(value)\n",
        "    return hex(value)[:100]\n",
        "tests/ground/test_words.py::test_an_int_is_written_in_decimal_up_to_some_thousand_digits_and_exactly_beyond",
    ),
    Mutant(
        "an-error-of-ours-fails-on-a-large-number",
        "coopy/place/options.py",
        '        raise UsageError(f"{name}={shown(value)}: must be a whole',
        '        raise UsageError(f"{name}={value!r}: must be a whole',
        "tests/ground/test_words.py::test_wrong_use_is_told_whatever_the_value",
    ),
    Mutant(
        "who-only-reads-syncs",
        "coopy/disk/journal.py",
        "        if not self._writes:\n            # Who only looks",
        "        if False:\n            # Who only looks",
        "tests/engine/test_failures.py::test_who_only_reads_a_directory_asks_nothing_of_the_disk",
    ),
    Mutant(
        "a-past-that-the-disk-has-not-is-handed-out",
        "coopy/spine/engine.py",
        "        self.log.wait(found.applied)\n",
        "",
        "tests/engine/test_failures.py::test_a_past_is_handed_out_once_the_disk_has_it",
    ),
    # -- the small files of a node
    Mutant(
        "a-small-file-has-its-name-before-its-bytes-are-on-disk",
        "coopy/network/server/folder.py",
        "        _sync(file.fileno())\n",
        "",
        "tests/network/test_folder.py::test_the_bytes_are_on_disk_before_the_name_and_the_name_before_it_returns",
    ),
    Mutant(
        "an-empty-file-is-a-word",
        "coopy/network/server/folder.py",
        "            return file.read() or None\n",
        "            return file.read()\n",
        "tests/network/test_folder.py::test_a_file_that_a_power_cut_left_empty_is_none",
    ),
    Mutant(
        "the-word-for-the-store-is-on-disk-before-the-store-is-moved",
        "coopy/network/server/folder.py",
        "        sync(place)\n",
        "",
        "tests/network/test_folder.py::test_the_store_of_another_kind_is_moved_and_that_is_on_disk_before_the_word",
    ),
    # -- passwords, and who is told them
    Mutant(
        "the-documented-password-is-taken-as-it-is",
        "coopy/replication/role.py",
        "        if password == PASSWORD:\n",
        "        if False:\n",
        "tests/cluster/test_two_users.py::test_the_documented_password_opens_nothing",
    ),
    Mutant(
        "a-server-without-tls-is-told-the-password",
        "coopy/network/connection.py",
        '                if initial_connection and not said.get("tls_required"):\n',
        "                if False:\n",
        "tests/network/test_proof.py::test_who_listens_where_a_node_should_be_is_told_no_password",
    ),
    Mutant(
        "routes-speak-no-tls",
        "coopy/network/server/configuration.py",
        '        *_tls(settings.tls, "  ", verify=True),\n',
        "",
        "tests/network/test_proof.py::test_who_listens_where_a_server_of_the_cluster_should_be_is_told_no_password",
    ),
    Mutant(
        "the-password-of-a-user-may-be-read-by-others",
        "coopy/network/server/loopback.py",
        "or about.st_mode & 0o077:\n            raise",
        "or False:\n            raise",
        "tests/network/test_loopback.py::test_a_file_that_others_have_a_part_in_is_refused",
    ),
    Mutant(
        "who-comes-second-makes-another-password",
        "coopy/network/server/loopback.py",
        "            found = find()\n            if found is None:\n",
        "            if True:\n",
        "tests/network/test_loopback.py::test_processes_that_ask_at_once_make_one",
    ),
    # -- a whole cluster: see tests/sim/campaign.py --planted
    Mutant(
        "a-caller-is-answered-before-a-majority-has-the-call",
        "coopy/replication/outbox.py",
        "        future.add_done_callback(lambda found: self._answered(sent, found))\n",
        "        future.add_done_callback(lambda found: self._answered(sent, found))\n"
        "        for each in sent.groups:\n"
        "            if sent.kind == batch.ACTIONS and each.done.locked():\n"
        "                each.done.release()\n",
        SIM,
        (
            Edit(
                "coopy/replication/outbox.py",
                "        self.done.release()\n",
                "        if self.done.locked():\n            self.done.release()\n",
            ),
        ),
    ),
    Mutant(
        "the-table-of-applied-batches-is-forgotten",
        "coopy/ground/batch.py",
        "        if batch.number <= number:\n            return OLD\n        return NEW if batch.number == number + 1 else PASSED\n",
        "        return NEW\n",
        "tests/sim/test_sim.py::test_what_stands_in_the_line_twice_counts_once",
    ),
    Mutant(
        "messages-are-applied-out-of-order",
        "coopy/replication/follower.py",
        "                for sequence, data in receive(TICK_S):\n",
        "                for sequence, data in reversed(receive(TICK_S)):\n",
        SIM,
        (Edit("coopy/replication/follower.py", "        if sequence > self.position + 1:\n", "        if False:\n"),),
    ),
    Mutant(
        "the-place-in-the-line-is-lost-at-a-restart",
        "coopy/replication/follower.py",
        "        self.position = machine.batches.sequence - bool(machine.batches.left(machine.applied))\n",
        "        self.position = max(machine.batches.sequence, self.line.last())\n",
        SIM,
    ),
    Mutant(
        "two-processes-send-as-one-incarnation",
        "coopy/replication/follower.py",
        "        self.outbox.begin(max(incarnation + 1, time.time_ns()))\n",
        "        self.outbox.begin(max(incarnation, 1))\n",
        SIM,
    ),
    Mutant(
        "a-disk-that-fails-again-stops-a-node",
        "coopy/replication/mending.py",
        "                if self._node.is_closing:\n                    raise\n",
        "                if True:\n                    raise\n",
        "tests/sim/test_sim.py::test_a_node_whose_disk_fails_for_some_seconds_waits_and_goes_on",
    ),
    Mutant(
        "what-was-interrupted-is-said-to-have-come-to-something-else",
        "coopy/replication/applier.py",
        " and not self._was_interrupted:\n",
        ":\n",
        "tests/cluster/test_follower.py::"
        "test_an_action_that_was_interrupted_and_applied_again_is_not_said_to_have_come_to_something_else",
    ),
    Mutant(
        "what-a-snapshot-has-skipped-is-sent-under-the-name-that-is-known",
        "coopy/replication/outbox.py",
        "                    # Under the name that it has the servers would drop it.\n                    sent.attempt += 1\n",
        "",
        "tests/cluster/test_outbox.py::test_what_another_state_may_have_skipped_is_sent_again_under_another_name",
    ),
    Mutant(
        "a-batch-that-was-passed-over-is-compared-with-an-older-incarnation-s",
        "coopy/ground/batch.py",
        "            number = 0  # The node has begun anew.\n",
        "            pass\n",
        "tests/cluster/test_follower.py::"
        "test_who_sent_a_batch_is_told_that_it_was_passed_over_whatever_an_older_incarnation_has_sent",
    ),
    Mutant(
        "a-stranger-at-an-absent-node-s-address-stops-who-starts",
        "coopy/replication/jetstream.py",
        "                if isinstance(error.__cause__, NoTLS):\n",
        "                if False:\n",
        "tests/network/test_proof.py::test_a_node_asks_the_others_for_the_members_though_a_stranger_has_the_address_of_one",
    ),
    # -- effects
    Mutant(
        "an-effect-is-carried-out-again-because-it-was-not-recorded",
        DELIVERY,
        "if effect is not None and name not in self._called:",
        "if effect is not None:",
        f"{EFFECTS}::test_whatever_keeps_an_effect_from_being_recorded_the_function_is_called_once",
    ),
    Mutant(
        "an-effect-that-was-not-recorded-is-forgotten",
        DELIVERY,
        "            except SystemClosed as error:\n",
        "            except SystemClosed.__base__ as error:\n",
        f"{EFFECTS}::test_an_effect_that_could_not_be_recorded_is_recorded_when_the_majority_is_back_and_not_carried_out_again",
    ),
    Mutant(
        "a-node-that-does-not-lead-keeps-effects",
        DELIVERY,
        "if name in self._known or self._closing or not self._is_ours():",
        "if name in self._known or self._closing:",
        f"{EFFECTS}::test_a_node_that_does_not_lead_keeps_nothing_and_runs_nothing_until_it_does",
    ),
    # -- nodes
    Mutant(
        "a-turn-goes-by-the-clock-of-another-machine",
        ROOM_PY,
        "        now = self._clock()\n        if self._seen[0] != revision:\n            self._seen = revision, now\n"
        "        return now - self._seen[1] < self._limit_s\n",
        '        return time.time() - facts["at"] < self._limit_s\n',
        f"{ROOM}::test_a_turn_is_taken_over_after_its_time_by_who_waits_however_the_clocks_differ",
    ),
    Mutant(
        "a-turn-that-is-renewed-is-taken-over",
        ROOM_PY,
        "if self._seen[0] != revision:",
        "if self._seen[0] < 0:",
        f"{ROOM}::test_a_turn_that_is_renewed_is_not_taken_over",
    ),
    Mutant(
        "a-bug-of-a-node-that-begins-is-taken-for-disagreement",
        "coopy/replication/founding.py",
        "                except ClusterError as error:\n                    # Right after a start",
        "                except Exception as error:\n                    # Right after a start",
        f"{PARTS}::test_what_is_wrong_in_a_node_that_begins_is_raised_at_once_and_not_taken_for_disagreement",
    ),
    Mutant(
        "a-node-that-has-stopped-becomes-ready",
        "coopy/replication/states.py",
        "            if state not in TABLE[before].follow:\n",
        "            if False:\n",
        f"{PARTS}::test_a_state_that_is_said_too_late_changes_nothing_and_tells_nobody",
    ),
    Mutant(
        "a-minority-that-differs-is-believed",
        "coopy/replication/comparing.py",
        "are_most = max(map(wrong.count, wrong)) > number // 2",
        "are_most = len(wrong) > 0",
        f"{PARTS}::test_it_is_this_node_that_is_wrong_if_a_majority_or_all_others_came_to_something_else",
    ),
    Mutant(
        "a-node-without-a-state-does-not-stand-back",
        "coopy/replication/founding.py",
        " or self._stands_back(local is not None)",
        "",
        f"{PARTS}::test_a_node_that_has_a_state_founds_and_those_that_have_none_stand_back",
    ),
    Mutant(
        "the-line-forgets-what-a-node-that-is-away-lacks",
        "coopy/replication/watching.py",
        '.get("safe", 0)',
        '.get("safe", 10**9)',
        f"{PARTS}::test_the_line_forgets_what_all_have_and_what_is_too_much",
    ),
    # -- bounds
    Mutant(
        "what-strangers-provoke-is-said-without-end",
        LIMITS,
        "            if found is not None and now - found.at < self._line_s:\n                found.left_out += 1\n",
        "            if False:\n                found.left_out += 1\n",
        "tests/network/test_supervisor.py::test_a_stranger_who_is_refused_again_and_again_has_one_line_for_each_cause",
    ),
    Mutant(
        "causes-without-end-have-lines-without-end",
        LIMITS,
        "            if found is None and len(self._said) >= self._causes_max:\n",
        "            if False:\n",
        "tests/network/test_limits.py::test_causes_without_end_have_no_more_lines_than_there_is_room_for_and_take_no_memory",
    ),
    Mutant(
        "the-words-of-a-stranger-are-a-cause",
        "coopy/network/server/supervisor.py",
        '_QUOTED.sub("", text)',
        "text",
        "tests/network/test_supervisor.py::test_words_that_a_stranger_chooses_make_no_cause_of_their_own",
    ),
    Mutant(
        "strangers-leave-out-what-the-server-says-of-itself",
        "coopy/network/server/supervisor.py",
        "        if peer is not None:\n",
        "        if False:\n",
        "tests/network/test_supervisor.py::"
        "test_strangers_who_find_causes_without_end_leave_out_nothing_that_the_server_says_of_itself",
    ),
    Mutant(
        "a-bucket-for-each-of-peers-without-end",
        LIMITS,
        "if len(self._of) >= self._peers_max and not self._forget_one():",
        "if False:",
        "tests/network/test_limits.py::test_peers_without_end_take_no_memory_without_end_and_share_one_bucket",
    ),
    Mutant(
        "a-server-that-is-busy-is-taken-for-a-wrong-password",
        "coopy/network/connection.py",
        'problem.lower().replace("authentication timeout", "")',
        "problem.lower()",
        "tests/network/test_connection.py::test_only_a_password_that_was_refused_is_called_a_wrong_one",
    ),
    Mutant(
        "idle-strangers-take-all-connections",
        "coopy/network/server/configuration.py",
        "CONNECTIONS_MAX = 16384\n",
        "CONNECTIONS_MAX = 2048\n",
        "tests/network/test_hostile.py::test_three_thousand_who_connect_and_say_nothing_are_sent_away_while_others_are_served",
        more=(
            Edit(
                "tests/network/test_hostile.py",
                "    if connections_max() <= 3000:\n",
                "    if connections_max() <= 2000:\n",
            ),
        ),
    ),
    Mutant(
        "connections-take-the-descriptors-of-the-servers-files",
        "coopy/network/server/configuration.py",
        "descriptors // 2",
        "descriptors",
        "tests/network/test_hostile.py::test_all_who_may_connect_leave_the_server_as_many_descriptors_for_its_files",
    ),
    Mutant(
        "a-replica-may-take-memory-without-end",
        "coopy/network/server/configuration.py",
        'f"      max_subscriptions: {REPLICA_SUBSCRIPTIONS_MAX}",',
        "",
        "tests/network/test_hostile.py::test_replicas_can_not_take_all_connections_nor_one_of_them_memory_without_end",
    ),
    Mutant(
        "a-node-has-delivered-whatever-is-asked",
        DESK_PY,
        "            if not kind.credit.take(CREDIT):\n",
        "            if False:\n",
        f"{DESK}::test_the_server_delivers_no_more_than_the_node_gives_credit_for",
    ),
    Mutant(
        "one-connection-is-answered-without-end",
        DESK_PY,
        "        if not kind.peers.take(peer):\n",
        "        if False:\n",
        f"{DESK}::test_one_connection_that_asks_without_end_is_told_to_ask_again_and_the_others_are_answered",
    ),
    Mutant(
        "one-connection-passes-for-many",
        DESK_PY,
        "at = message.headers.rfind(_ASKED_BY)",
        "at = message.headers.find(b'Nats-Request-Info: ')",
        f"{DESK}::test_a_connection_can_not_pass_for_many_whatever_headers_it_sends",
    ),
    Mutant(
        "who-is-told-that-nobody-responds-gives-up-at-once",
        ROOM_PY,
        "if isinstance(error, _Nobody) and time.monotonic() > began + NOBODY_S:",
        "if isinstance(error, _Nobody):",
        f"{DESK}::test_who_is_told_that_nobody_responds_or_to_ask_again_asks_again",
    ),
    Mutant(
        "each-who-asks-has-a-message-put-into-the-line",
        "coopy/replication/answering.py",
        "        while not self._rounds.take():\n",
        "        while False:\n",
        f"{PARTS}::test_whoever_asks_how_far_the_line_goes_without_end_makes_it_grow_slowly",
    ),
    Mutant(
        "each-who-asks-has-a-snapshot-made",
        "coopy/replication/sharing.py",
        "            if not (self._needed if is_needed else self._wanted).take():\n",
        "            if False:\n",
        f"{PARTS}::test_whoever_asks_for_snapshots_without_end_has_few_made",
    ),
    Mutant(
        "an-older-snapshot-does-as-well",
        "coopy/replication/sharing.py",
        "return found if found is not None and found[0] == index else None",
        "return found",
        f"{PARTS}::test_a_server_that_is_behind_gives_no_older_snapshot_for_the_one_that_was_asked_for",
    ),
    Mutant(
        "what-a-replica-asks-is-unpickled",
        DESK_PY,
        'found = json.loads(data or b"{}")',
        'found = __import__("pickle").loads(data) if data[:1] != b"{" else json.loads(data)',
        STRANGERS,
    ),
    Mutant(
        "a-replica-may-send-into-the-line",
        "coopy/network/subjects.py",
        'return [*asked, (self.ask(">"),) * 2]',
        'return [*asked, (self.ask(">"),) * 2, (self.line,) * 2]',
        STRANGERS,
    ),
    Mutant(
        "the-keeper-passes-on-whatever-strangers-provoke",
        "coopy/network/server/keeper.py",
        "                    if about_peers > PEER_LINES_MAX:\n                        continue\n",
        "                    pass\n",
        "tests/network/test_supervisor.py::"
        "test_lines_about_other_sides_are_not_all_passed_on_to_the_process_that_the_server_works_for",
    ),
    Mutant(
        "a-replica-says-more-than-it-may",
        "coopy/replication/node.py",
        "        if not self._role.writes:\n            return facts  #",
        "        if False:\n            return facts  #",
        f"{PARTS}::test_what_a_replica_says_of_itself_is_short_however_much_it_has_applied",
    ),
    Mutant(
        "a-replica-may-fill-the-queue-in-which-nodes-are-answered",
        "coopy/network/subjects.py",
        'return [*asked, (self.ask(">"),) * 2]',
        'return [(STREAM_NAMES, f"{self.replica_api}.STREAM.NAMES"), *asked, (self.ask(">"),) * 2]',
        "tests/network/test_hostile.py::test_no_subject_that_a_replica_sends_to_changes_or_tells_anything_it_may_not",
    ),
    Mutant(
        "each-who-asks-of-the-line-has-its-leader-asked",
        "coopy/replication/answering.py",
        "if self._looks.take() else None",
        "if True else None",
        f"{PARTS}::test_whoever_asks_of_the_line_without_end_has_the_leader_asked_seldom",
    ),
    # -- interrupts, and failures in the middle of a step
    Mutant(
        "half-an-action-looks-like-none",
        "coopy/spine/machine.py",
        "                self.applied = UNSURE\n                self.outcome = _UNKNOWN\n                self.header = header\n",
        "                self.outcome = _UNKNOWN\n                self.header = header\n",
        "tests/engine/test_interrupts.py::test_nobody_sees_half_of_an_action_whose_interruption_was_interrupted",
    ),
    Mutant(
        "an-interrupted-wait-keeps-the-gate",
        "coopy/ground/holding.py",
        "            if not held and lock._is_owned():\n                lock.release()\n            raise\n    except",
        "            raise\n    except",
        "tests/disk/test_interrupted.py::test_a_wait_that_is_interrupted_twice_leaves_nobody_waiting",
        more=(
            Edit(
                "coopy/ground/holding.py",
                "    except BaseException:\n        if not held and lock._is_owned():\n            lock.release()\n        raise\n",
                "    except BaseException:\n        raise\n",
            ),
        ),
    ),
    Mutant(
        "a-segment-that-has-got-its-name-is-forgotten",
        JOURNAL,
        "        if self._segment.first <= self.last and exists(path):\n",
        "        if False:\n",
        "tests/disk/test_interrupted.py::test_a_roll_over_that_ends_anywhere_loses_nothing",
    ),
    Mutant(
        "a-map-that-is-not-to-be-had-is-an-error",
        "coopy/disk/fs.py",
        "        except (OSError, MemoryError):\n            pass\n",
        "        except (KeyError, MemoryError):\n            pass\n",
        "tests/disk/test_interrupted.py::test_without_address_space_for_a_map_calls_go_on_as_before",
    ),
    Mutant(
        "a-thread-that-is-not-to-be-had-is-an-error",
        JOURNAL,
        "            except (RuntimeError, MemoryError):  # There are no more threads to be had.\n",
        "            except MemoryError:\n",
        "tests/disk/test_interrupted.py::test_without_a_thread_to_be_had_a_full_segment_is_synced_at_once",
    ),
    Mutant(
        "what-a-flipped-bit-hides-is-cut-off",
        "coopy/disk/segment.py",
        " or (all_kept and found.index >= index)):",
        "):",
        "tests/disk/test_interrupted.py::test_after_a_kill_a_flipped_bit_is_damage_and_never_the_end",
    ),
    Mutant(
        "what-is-cut-off-is-destroyed",
        JOURNAL,
        "        if self._aside or not old.is_blank_from(self._tail):\n            self._put_aside()\n",
        "        if self._aside:\n            self._put_aside()\n",
        "tests/disk/test_damage.py::test_a_torn_end_is_kept_aside_before_it_is_cut_off",
    ),
    Mutant(
        "an-instant-is-taken-before-the-call-is-encoded",
        ENGINE,
        "                        call, args, kwargs = self._codec.encode_call(method.name, args, kwargs, method.parameters, machine)\n"
        "                        # Encoding runs",
        "                        began = _time_ns()\n"
        "                        call, args, kwargs = self._codec.encode_call(method.name, args, kwargs, method.parameters, machine)\n"
        "                        # Encoding runs",
        "tests/engine/test_interrupts.py::test_instants_never_go_back_though_an_argument_calls_the_system_as_it_is_encoded",
        more=(
            Edit(
                ENGINE,
                "                        instant = _time_ns()\n                        if instant >= self._offset_until:\n"
                "                            instant = self._stamp(instant, method.name not in _ASSIGNING)\n                        if instant < self.instant:\n"
                "                            instant = self._not_before(instant)\n",
                "                        instant = began\n",
            ),
        ),
    ),
    Mutant(
        "a-read-hands-out-a-generator-over-the-live-state",
        "coopy/spine/proxy.py",
        "                if _coopy_type(_coopy_result) is _coopy_generator:\n",
        "                if False:\n",
        "tests/engine/test_interrupts.py::test_a_read_that_returns_a_generator_gives_what_was_there_when_it_was_called",
    ),
    Mutant(
        "two-systems-are-compared-whatever-the-disk-has-of-the-other",
        "coopy/spine/proxy.py",
        "        theirs = other._coopy_engine if is_proxy(other) else mine\n",
        "        theirs = mine\n",
        "tests/engine/test_interrupts.py::test_two_systems_are_compared_as_they_are_on_the_disk",
    ),
    Mutant(
        "an-interrupted-closing-keeps-the-directory",
        "coopy/system.py",
        "                self.engine.close()\n                self._end()\n                raise\n",
        "                raise\n",
        "tests/disk/test_interrupted.py::test_a_closing_that_is_interrupted_lets_the_directory_go",
    ),
    Mutant(
        "withdrawing-takes-the-next-action-for-what-says-the-outcome",
        "coopy/tools/withdrawing.py",
        "    if each.first == index + 1 or (each.is_amendment and each.index == index):\n",
        "    if each.first == index + 1:\n",
        "tests/tools/test_withdraw.py::test_an_action_is_left_out_wherever_it_lies_and_comes_back",
    ),
    Mutant(
        "what-is-reinstated-keeps-its-amendment",
        "coopy/tools/withdrawing.py",
        "    if becomes == action.UNKNOWN and said.frame.is_amendment and plan.index == plan.last_index:\n",
        "    if False:\n",
        "tests/tools/test_withdraw.py::test_a_last_action_that_is_reinstated_is_as_it_was_before_and_may_be_interrupted_again",
    ),
    Mutant(
        "a-withdrawal-is-recorded-before-the-line-says-so",
        "coopy/replication/follower.py",
        "        if self.unapplied is None:  # Not before the line says so.\n",
        "        if True:\n",
        "tests/cluster/test_withdrawal.py::test_a_node_that_is_killed_before_its_message_arrived_may_come_back_with_more_memory",
    ),
    Mutant(
        "who-has-applied-what-is-withdrawn-goes-on",
        "coopy/replication/follower.py",
        "            raise Superseded(index, sequence)\n",
        "            pass\n",
        "tests/cluster/test_withdrawal.py::test_what_one_node_fails_at_is_withdrawn_on_all",
    ),
    Mutant(
        "a-snapshot-does-not-say-what-it-is-without",
        "coopy/replication/applier.py",
        "        machine.batches = machine.batches.without(index)\n",
        "        pass\n",
        "tests/cluster/test_withdrawal.py::test_a_snapshot_of_a_node_that_has_left_it_out_says_so",
    ),
    Mutant(
        "segments-are-moved-aside-without-a-sync-in-between",
        "coopy/disk/cutting.py",
        "        calls.sync_directory(aside)\n        calls.sync_directory(basedir)\n    if last not",
        "        pass\n    calls.sync_directory(aside)\n    calls.sync_directory(basedir)\n    if last not",
        "tests/disk/test_cutting.py::test_what_is_moved_aside_is_durable_there_before_the_next_is_moved",
    ),
    Mutant(
        "a-node-that-waits-takes-a-snapshot",
        "coopy/replication/follower.py",
        "        if self.unapplied is not None:\n            raise Unavailable(",
        "        if False:\n            raise Unavailable(",
        "tests/cluster/test_withdrawal.py::test_what_came_after_it_is_applied_without_it",
    ),
    Mutant(
        "results-from-before-a-withdrawal-are-compared",
        "coopy/replication/applier.py",
        "        if not done and sequence > self._compared_after and not self._was_interrupted:\n",
        "        if not done and not self._was_interrupted:\n",
        "tests/cluster/test_withdrawal.py::test_what_is_told_of_results_before_it_is_not_compared_with_those_after",
    ),
    # -- what replay is compared with
    Mutant(
        "what-was-said-of-lost-actions-is-compared",
        "coopy/spine/agreement.py",
        " or said.at != action.instant_of(machine.header):",
        ":",
        "tests/proof/test_proof.py::test_of_actions_that_are_lost_nothing_is_said",
        (
            Edit("coopy/proof/proving.py", "        entries = [each for each in entries if each.action <= last]\n", ""),
            Edit(
                "coopy/proof/proving.py",
                "                self._trying(lambda: self._entries.keep(0, last))\n",
                "                pass\n",
            ),
        ),
    ),
    Mutant(
        "code-of-the-domain-runs-between-two-calls",
        "coopy/proof/proving.py",
        "        text = agreement.say_plainly(machine, LOOK_S)\n",
        "        text = agreement.say(machine, LOOK_S)\n",
        "tests/proof/test_proof.py::test_no_code_of_the_domain_runs_between_two_calls",
    ),
    Mutant(
        "a-withdrawal-by-hand-leaves-what-was-said",
        "coopy/tools/withdrawing.py",
        "        digests.set_aside(calls, basedir, aside)\n",
        "",
        "tests/proof/test_proof.py::test_what_was_said_goes_with_an_action_that_is_withdrawn_by_hand",
    ),
    # -- the elector, and who asks it
    Mutant(
        "a-lock-of-an-elector-is-renewed-whenever-asked",
        "coopy/sync/elector.py",
        "        if seen.sure_ns < lock.ttl_ns // 2:\n",
        "        if seen.sure_ns < lock.ttl_ns:\n",
        "tests/sync/test_elector_state.py::test_the_owner_renews_a_lock_in_the_second_half_of_its_time_only",
    ),
    Mutant(
        "anybody-frees-a-lock-of-an-elector",
        "coopy/sync/elector.py",
        "            if lock.owner != owner or token not in (None, lock.token):\n",
        "            if token not in (None, lock.token):\n",
        "tests/sync/test_elector_state.py::test_a_lock_is_not_freed_by_another_nor_by_a_token_of_before",
    ),
    Mutant(
        "a-promise-counts-from-the-answer",
        "coopy/compat/metaparticle.py",
        "        from_s = sent_s + answer.waited_s\n",
        "        from_s = _now_s()\n",
        "tests/compat/test_metaparticle.py::test_who_was_paused_for_longer_than_it_may_hold_what_was_answered_has_not_acquired_it",
    ),
    Mutant(
        "a-web-page-takes-locks",
        "coopy/sync/elector_server.py",
        '        if any(name == b"origin" for name, _ in scope["headers"]):\n',
        "        if False:\n",
        "tests/sync/test_elector_server.py::test_a_web_page_gets_no_lock",
    ),
    Mutant(
        "an-answer-waits-for-the-acknowledgement-of-its-head",
        "coopy/sync/elector_server.py",
        '            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)\n',
        "",
        "tests/sync/test_elector_server.py::test_an_answer_is_sent_at_once_and_not_when_the_client_has_said_that_it_has_the_head",
    ),
    Mutant(
        "an-old-answer-takes-a-lock-away",
        "coopy/sync/presence.py",
        "                elif place == GONE:  # Another",
        "                elif place != claim.token:  # Another",
        "tests/sync/test_lock.py::test_an_answer_that_was_overtaken_by_what_came_of_it_takes_nothing_away",
    ),
    Mutant(
        "a-renewal-takes-out-whom-it-does-not-name",
        "coopy/sync/presence.py",
        "            gone, lost = sorted(session.gone), sorted(session.lost)\n",
        "            named, lost = set(session.claims), []\n",
        "tests/sync/test_lock.py::test_a_lock_that_is_taken_while_a_renewal_is_on_its_way_stays_with_who_has_it",
        (
            Edit(
                "coopy/sync/presence.py",
                '        found = self.change("renew", session.id, gone, *[lost] * bool(lost))\n',
                '        gone = [each for each in self.change("renew", session.id) or () if each not in named]\n'
                '        found = self.change("renew", session.id, gone, *[lost] * bool(lost))\n',
            ),
        ),
    ),
    Mutant(
        "what-was-given-and-lost-is-an-answer",
        "coopy/sync/presence.py",
        "        if claim.state == LOST:\n            raise LockLost(claim.name, claim.token, claim.why)\n",
        "        if claim.state == LOST and not claim.token:\n            raise LockLost(claim.name, claim.token, claim.why)\n",
        "tests/sync/test_gates.py::test_what_is_lost_before_who_waits_for_it_has_heard_is_an_error_and_no_answer",
    ),
    Mutant(
        "who-leads-takes-over-and-gives-leases-more-time",
        "coopy/sync/timekeeper.py",
        "self._write(self._system.claim, count.beat, not counts)",
        "self._write(self._system.claim, count.beat, True)",
        "tests/sync/test_timekeeper.py::test_the_node_that_leads_takes_over_from_one_that_counts_and_gives_no_lease_more_time",
    ),
    Mutant(
        "a beat that comes while a claim is on its way is seen after the answer",
        "coopy/sync/timekeeper.py",
        "        if self._writes:\n",
        "        if self._closed:\n",
        "tests/sync/test_timekeeper.py::test_a_beat_that_comes_while_a_claim_is_on_its_way_is_seen_then",
    ),
    Mutant(
        "a restored state is shown to nobody",
        "coopy/spine/engine.py",
        "        self.renewed(self.machine)\n        return self.machine\n",
        "        return self.machine\n",
        "tests/compat/test_pysyncobj_object.py::test_a_call_that_is_interrupted_leaves_the_attributes_as_before_it",
    ),
    Mutant(
        "a replica may have a node enable a version",
        "coopy/network/subjects.py",
        """return f"{self.subject}.{'order' if what in ORDERS else 'ask'}.{what}\"""",
        'return f"{self.subject}.ask.{what}"',
        "tests/network/test_subjects.py::test_what_has_a_node_do_something_is_none_of_the_questions_that_a_replica_may_ask",
    ),
    Mutant(
        "a new system begins with the newest methods",
        "coopy/spine/versions.py",
        "return int(getattr(cls, FIRST, own(cls)))",
        "return own(cls)",
        "tests/compat/test_pysyncobj_calls.py::test_a_new_system_runs_version_0_until_another_is_enabled_for_all",
    ),
    Mutant(
        "what is said of a task with an old token is heard",
        "coopy/messaging/task_state.py",
        "job.state == RUNNING and job.token == token else None",
        "job.state == RUNNING else None",
        "tests/messaging/test_task_state.py::test_what_is_said_with_an_old_token_is_dropped",
    ),
    Mutant(
        "a key is not free again after its task",
        "coopy/messaging/task_state.py",
        "            gate.running -= 1\n",
        "",
        "tests/messaging/test_task_state.py::test_a_key_is_free_again_however_the_task_has_ended",
    ),
    Mutant(
        "a schedule is sent by each worker",
        "coopy/messaging/task_state.py",
        "found.next_ns != round(planned * NS) or ",
        "",
        "tests/messaging/test_task_state.py::test_a_schedule_sends_one_task_for_a_time_however_many_workers_say_so",
    ),
    Mutant(
        "a task that has crashed a worker is given with others",
        "coopy/messaging/task_state.py",
        "            if job.crashes:\n                break\n",
        "",
        "tests/messaging/test_task_state.py::test_a_task_that_has_crashed_its_worker_is_given_alone",
    ),
    Mutant(
        "a coroutine that was cancelled before its first step ends its worker",
        "coopy/messaging/task_worker.py",
        "return cancelled(run.claim, run) if task.cancelled() else task.result()",
        "return task.result()",
        "tests/messaging/test_task_workers.py::test_a_coroutine_that_is_cancelled_before_its_first_step_harms_no_other",
    ),
    Mutant(
        "nobody is told that a worker has ended",
        "coopy/messaging/task_member.py",
        '            self.queue.change("end", session, True)\n',
        "            pass\n",
        "tests/messaging/test_task_deaths.py::test_the_task_of_a_worker_that_was_killed_is_another_ones_at_once",
    ),
    Mutant(
        "a key ends by a tick that was measured from before it came",
        "coopy/messaging/store_time.py",
        "deadline = self.now + ttl_ns + step_ns(ttl_ns)",
        "deadline = self.now + ttl_ns",
        "tests/messaging/test_store_state.py::test_no_key_ends_early_whatever_ticks_are_on_their_way",
    ),
    Mutant(
        "a draft is recorded though what it has read is another by now",
        "coopy/messaging/store_draft.py",
        "self._read.setdefault(key, 0 if found is None else found.revision)",
        "pass",
        "tests/messaging/test_store.py::test_a_block_that_has_read_what_is_another_by_now_changes_nothing",
    ),
    Mutant(
        "whoever has missed changes of a store is not told",
        "coopy/messaging/store_state.py",
        "self._forgotten = changes[0][0]",
        "pass",
        "tests/messaging/test_store.py::test_a_client_that_has_missed_changes_is_told_so",
    ),
    Mutant(
        "a set of keys is deleted in the order of its hashes",
        "coopy/messaging/store_state.py",
        "deletes = [*in_order(deletes)]",
        "deletes = [*deletes]",
        "tests/messaging/test_store.py::test_a_set_of_keys_is_deleted_in_an_order_that_depends_on_no_hash",
    ),
    Mutant(
        "a folder of links that others may enter is believed",
        "coopy/messaging/store_finding.py",
        "    if not _is_private(folder):\n",
        "    if False:\n",
        "tests/messaging/test_store.py::test_a_folder_that_others_may_enter_is_not_believed",
    ),
    Mutant(
        "a worker of a queue is given a message while another one may wait for it",
        "coopy/messaging/queue_turns.py",
        "min(number, 1)",
        "number",
        "tests/messaging/test_queues.py::test_a_worker_has_one_message_at_a_time_and_one_that_does_not_ask_keeps_nobody_waiting",
    ),
    Mutant(
        "one node alone has an election begun",
        "coopy/network/server/vigil.py",
        "            if len(agreeing) <= group.size // 2:\n",
        "            if not agreeing:\n",
        "tests/network/test_vigil.py::test_one_node_alone_begins_nothing",
    ),
    Mutant(
        "a node that has had no answer of its own finds the leader silent",
        "coopy/network/server/vigil.py",
        "        if member == group.own:\n",
        "        if member != group.leader:\n",
        "tests/network/test_vigil.py::test_a_node_whose_own_server_does_not_answer_finds_nobody_silent",
    ),
    Mutant(
        "what another node saw long ago counts as if it saw it now",
        "coopy/network/server/vigil.py",
        "            if member in group.names and group.name in view and now - at <= FRESH_S:\n",
        "            if member in group.names and group.name in view:\n",
        "tests/network/test_vigil.py::test_what_another_node_saw_long_ago_is_not_counted",
    ),
    Mutant(
        "a slow leader has no more time than another",
        "coopy/network/server/vigil.py",
        "        return min(SILENT_S_MAX, SILENT_S + SLOW * (self.took[0][1] if self.took else 0.0))\n",
        "        return SILENT_S\n",
        "tests/network/test_vigil.py::test_a_leader_that_is_slow_is_given_more_time",
    ),
    Mutant(
        "a server that is no member counts among those that agree",
        "coopy/network/server/vigil.py",
        "            if member in group.names and group.name in view and now - at <= FRESH_S:\n",
        "            if group.name in view and now - at <= FRESH_S:\n",
        "tests/network/test_vigil.py::test_only_another_member_is_counted",
    ),
    Mutant(
        "after an election that was begun the next node begins another at once",
        "coopy/network/server/vigil.py",
        "        watched.not_before = max(watched.not_before, now + wait_s)\n",
        "        pass\n",
        "tests/network/test_vigil.py::test_the_second_of_those_that_agree_waits_and_sees_that_the_term_has_risen",
    ),
    Mutant(
        "time in which a node was stopped counts as silence",
        "coopy/network/server/elections.py",
        "        self.now += min(passed, LOOKED_S_MAX)\n",
        "        self.now += passed\n",
        "tests/network/test_vigil.py::test_time_in_which_a_node_did_not_look_does_not_count",
    ),
    Mutant(
        "a release of nats-server that nobody has tried is taken for known",
        "coopy/network/server/votes.py",
        "    return patch >= KNOWN.get((major, minor), patch + 1)\n",
        "    return patch >= KNOWN.get((major, minor), 0)\n",
        "tests/network/test_votes.py::test_any_other_release_is_not",
    ),
    Mutant(
        "a-part-that-a-callable-holds-is-overlooked",
        "coopy/spine/attributes.py",
        "any(_reaches(each, domain) or _is_part(each) for each in (*value.args",
        "any(_reaches(each, domain) for each in (*value.args",
        "tests/proxy/test_attributes_that_write.py::test_a_callable_that_reaches_the_state_is_recorded_by_its_name",
    ),
    Mutant(
        "attributes-that-pickle-leaves-out-are-lost",
        "coopy/values/bound.py",
        "        plainly = _with_attributes if _drops_attributes(cls) else _plainly\n",
        "        plainly = _plainly\n",
        "tests/values/test_attributes_of_subclasses.py::test_the_attributes_of_a_part_are_there_after_a_snapshot",
    ),
    Mutant(
        "what-a-view-shows-is-given-live",
        "coopy/spine/results.py",
        "        return _view(value, self)\n",
        "        return value\n",
        "tests/proxy/test_results.py::test_a_view_refuses_to_be_changed_and_says_what_to_do",
    ),
    Mutant(
        "an object draws on where it has stopped",
        "coopy/objects/kind.py",
        "        # What an action of the same number has drawn before is not drawn on.\n        self.stage.draws = self.stage.chance = None\n",
        "",
        "tests/objects/test_calls_of_objects.py::test_an_object_that_is_loaded_again_draws_what_it_drew",
        (Edit("coopy/objects/kind.py", "            stage.draws = stage.chance = None\n", "            pass\n"),),
    ),
    Mutant(
        "what is due is run and not written",
        "coopy/objects/engine.py",
        "        more_s = self._run_due(count)\n        self._flush()\n",
        "        more_s = self._run_due(count)\n",
        "tests/objects/test_alarms_and_tells.py::test_an_alarm_is_run_once_and_not_before_its_time",
    ),
    Mutant(
        "an object is deleted and its place stays",
        "coopy/objects/engine.py",
        "table.put(cell.place, 0 if cell.domain is _DELETED else index, offset)",
        "table.put(cell.place, index, offset)",
        "tests/objects/test_calls_of_objects.py::test_an_object_that_was_deleted_is_gone_and_may_begin_again",
    ),
]


class Misfit(Exception):
    """A row does not fit the code."""


def mutated(source: str, edit: Edit, name: str) -> str:
    """The source with an edit in it. Raises `Misfit`."""
    found = source.count(edit.old)
    if found != 1:
        raise Misfit(f"{name}: the text to replace occurs {found} times in {edit.file}, not once:\n{edit.old}")
    return source.replace(edit.old, edit.new)


@contextmanager
def planted(mutant: Mutant, root: Path) -> Iterator[None]:
    """The code below ``root`` with a mutant in it."""
    before: dict[Path, str] = {}
    try:
        for edit in mutant.edits:
            path = root / edit.file
            source = path.read_text(encoding="utf-8")
            before.setdefault(path, source)
            path.write_text(mutated(source, edit, mutant.name), encoding="utf-8")
        yield
    finally:
        for path, source in before.items():
            path.write_text(source, encoding="utf-8")


class Outcome(NamedTuple):
    """What became of some tests."""

    passed: list[str] = []
    """Those of which something passed."""
    raised: list[str] = []
    """What the others raised that says something of coopy."""
    unnoticed: list[str] = []
    """Failures that don't."""
    said: str = ""


def run(tests: Sequence[str], root: Path, timeout_s: float = 2 * TIMEOUT_S) -> Outcome:
    """Runs tests of the copy below ``root``, with all their parameters, up to the first failure."""
    report = root / "report.json"
    report.unlink(missing_ok=True)
    here = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(root), str(root / "tests"))),
        # Mutants come and go within the second by which compiled code is told to be old.
        "PYTHONDONTWRITEBYTECODE": "1",
        "COOPY_POWER_FIXED": "20",
    }
    try:
        done = subprocess.run(
            [sys.executable, str(root / "tests" / "crash" / "mutants.py"), "--report", str(report), *tests],
            cwd=root,
            env=here,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Outcome(unnoticed=[f"it did not end in {timeout_s} s"])
    if not report.exists():
        return Outcome(unnoticed=[f"it ended with status {done.returncode}"], said=done.stdout)
    outcome = Outcome(**json.loads(report.read_text(encoding="utf-8")), said=done.stdout)
    if done.returncode not in (0, 1):
        # 1 is a test that failed; all else says that tests could not be run.
        return outcome._replace(raised=[], unnoticed=[f"it ended with status {done.returncode}"])
    return outcome


def run_here(report: str, tests: Sequence[str]) -> int:
    """In the process that `run` starts: runs pytest, and writes what became of the tests."""
    # What lies beside this script goes by its full name.
    sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != Path(__file__).parent]
    try:
        import pytest

        import coopy
    except ImportError as error:
        print(error)
        return 3
    if not Path(coopy.__file__).is_relative_to(ROOT):
        print(f"{coopy.__file__} was imported, not the copy in {ROOT}")
        return 3

    found: dict[str, list[str]] = {"passed": [], "raised": [], "unnoticed": []}

    class Plugin:
        def pytest_runtest_makereport(self, item: Any, call: Any) -> None:
            error = None if call.excinfo is None else call.excinfo.value
            if error is not None and not isinstance(error, pytest.skip.Exception):
                told = f"{type(error).__name__}: {error}".splitlines()[0][:200]
                found["raised" if tells(error) else "unnoticed"].append(told)
            elif error is None and call.when == "call":
                found["passed"].append(item.nodeid.partition("[")[0])

    def tells(error: BaseException) -> bool:
        """Whether it says something of coopy: a test's own assertion, or an error of coopy's."""
        if hasattr(error, "exceptions"):
            return any(map(tells, error.exceptions))
        if isinstance(error, pytest.fail.Exception):
            return not str(error).startswith("Timeout")
        return isinstance(error, (AssertionError, coopy.CoopyError))

    code = pytest.main(
        ["-x", f"--timeout={TIMEOUT_S}", "-p", "no:cacheprovider", f"--basetemp={report}.tmp", *tests], plugins=[Plugin()]
    )
    with open(report, "w", encoding="utf-8") as file:
        json.dump(found, file)
    return int(code)


def copied(to: Path) -> None:
    for name in ("coopy", "tests"):
        shutil.copytree(ROOT / name, to / name, ignore=NOT_COPIED)
    shutil.copy(ROOT / "pyproject.toml", to)


def check_unmutated(mutants: Sequence[Mutant], root: Path) -> str:
    """What keeps the named tests from passing as things are; "" if nothing does."""
    named = sorted({mutant.test for mutant in mutants})
    print(f"unmutated: {len(named)} tests must pass ...", flush=True)
    outcome = run(named, root, 10 * TIMEOUT_S)
    missing = set(named) - set(outcome.passed)
    if not missing and not outcome.raised and not outcome.unnoticed:
        return ""
    return f"{outcome.said}\nNo mutant was planted. Without one, these do not pass:\n" + "\n".join(
        sorted(missing) + outcome.raised + outcome.unnoticed
    )


def table(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def hunt(mutants: Sequence[Mutant]) -> int:
    """Plants them one after another. The number that survived."""
    rows = [("mutant", "file", "test", "outcome", "seconds")]
    survived = []
    with tempfile.TemporaryDirectory(prefix="coopy-mutants-") as place:
        root = Path(place).resolve()
        copied(root)
        for mutant in mutants:
            with planted(mutant, root):
                pass  # A row that does not fit is known before anything has run.
        problem = check_unmutated(mutants, root)
        if problem:
            print(problem)
            return 1
        for number, mutant in enumerate(mutants, 1):
            begun = time.monotonic()
            with planted(mutant, root):
                outcome = run([mutant.test], root)
            killed = bool(outcome.raised)
            seconds = f"{time.monotonic() - begun:.1f}"
            why = "; ".join(outcome.raised or outcome.unnoticed) or f"{len(outcome.passed)} passed"
            print(
                f"{number}/{len(mutants)} {mutant.name}: {'killed' if killed else 'SURVIVED'}, {seconds} s: {why}", flush=True
            )
            rows.append((mutant.name, mutant.file, mutant.test.partition("::")[2], "killed" if killed else "SURVIVED", seconds))
            if not killed:
                survived.append(f"{mutant.name} SURVIVED\n{outcome.said}")
    print("", table(rows), *survived, f"\n{len(mutants)} mutants, {len(survived)} survived", sep="\n")
    return len(survived)


def main() -> int:
    if sys.argv[1:2] == ["--report"]:
        return run_here(sys.argv[2], sys.argv[3:])
    parser = argparse.ArgumentParser(description="Plants faults in a copy of coopy, and looks whether its tests notice.")
    parser.add_argument("--list", action="store_true", help="show the mutants, and plant none")
    parser.add_argument("--only", action="append", metavar="NAME", help="plant this one; may be given several times")
    asked = parser.parse_args()
    unknown = set(asked.only or ()) - {mutant.name for mutant in MUTANTS}
    if unknown:
        parser.error(f"no mutant is called {', '.join(sorted(unknown))}; see --list")
    mutants = [mutant for mutant in MUTANTS if not asked.only or mutant.name in asked.only]
    if asked.list:
        print(table([("mutant", "file", "test"), *((each.name, each.file, each.test) for each in mutants)]))
        return 0
    try:
        return min(hunt(mutants), 1)
    except Misfit as problem:
        print(problem)
        return 1


if __name__ == "__main__":
    sys.exit(main())
