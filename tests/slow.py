"""The tests that take long: all the others are those of `make quick`.

A file, or a test of one. What takes more than about a third of a second, or is one of many cases that take a second together,
belongs here; what needs servers or other programs mostly does.
"""

from __future__ import annotations

FILES = frozenset(
    {
        "aio/test_aio_typing.py",
        "aio/test_endings.py",
        "aio/test_fastapi_example.py",
        "architecture/test_slow_tests_are_there.py",
        "architecture/test_tidy.py",
        "batteries/test_complaints.py",
        "batteries/test_contracts.py",
        "batteries/test_doctests.py",
        "batteries/test_on_nodes.py",
        "batteries/test_replicated.py",
        "batteries/test_same_everywhere.py",
        "batteries/test_watch.py",
        "cli/test_call.py",
        "cli/test_cluster.py",
        "cli/test_commands.py",
        "cli/test_elector.py",
        "cli/test_guide.py",
        "cli/test_only_looks.py",
        "cli/test_processes.py",
        "cli/test_programs.py",
        "cli/test_tasks.py",
        "cluster/test_demo.py",
        "cluster/test_full_disk.py",
        "cluster/test_membership.py",
        "cluster/test_nodes.py",
        "cluster/test_two_users.py",
        "cluster/test_watching.py",
        "cluster/test_withdrawal_on_servers.py",
        "compat/test_metaparticle.py",
        "compat/test_pydistributed_examples.py",
        "compat/test_pysyncobj_admin.py",
        "compat/test_pysyncobj_batteries.py",
        "compat/test_pysyncobj_calls.py",
        "compat/test_pysyncobj_examples.py",
        "compat/test_pysyncobj_object.py",
        "crash/test_kill.py",
        "crash/test_mutants_apply.py",
        "crash/test_power_cut.py",
        "disk/test_child.py",
        "disk/test_cutting.py",
        "disk/test_damage.py",
        "disk/test_every_byte.py",
        "disk/test_failed_sync.py",
        "disk/test_full_disk.py",
        "disk/test_fuzz.py",
        "disk/test_interrupted.py",
        "docs/test_deployment.py",
        "docs/test_examples_run.py",
        "docs/test_format_is_generated.py",
        "docs/test_frameworks.py",
        "evolution/test_fields.py",
        "failing/test_slice.py",
        "fuzz/test_slice.py",
        "messaging/test_bus_original.py",
        "messaging/test_bus_server.py",
        "messaging/test_store_replicated.py",
        "messaging/test_store_served.py",
        "messaging/test_task_deaths.py",
        "messaging/test_task_workers.py",
        "model/test_model.py",
        "moments/test_campaign.py",
        "moments/test_moments.py",
        "network/test_hostile.py",
        "network/test_loopback.py",
        "network/test_proof.py",
        "network/test_supervisor.py",
        "network/test_tls.py",
        "past/test_retention.py",
        "shared/test_beside.py",
        "shared/test_deaths.py",
        "shared/test_linear.py",
        "shared/test_serve.py",
        "shared/test_suites.py",
        "shared/test_web.py",
        "sim/test_locks.py",
        "sim/test_sim.py",
        "simulation/test_campaign.py",
        "simulation/test_faults.py",
        "simulation/test_network.py",
        "simulation/test_strangers.py",
        "messaging/test_events_keeping.py",
        "messaging/test_events_table.py",
        "messaging/test_events_doctests.py",
        "messaging/test_events_follow.py",
        "messaging/test_bus_contract.py",
        "sync/test_aio_cancelled.py",
        "sync/test_cluster_kill.py",
        "sync/test_contracts.py",
        "sync/test_elector_clients.py",
        "sync/test_elector_leader.py",
        "test_memory.py",
        "test_typing.py",
        "testing/test_fresh_project.py",
        "tools/test_verify.py",
        "tools/test_withdraw.py",
        "values/test_deep.py",
    }
)
TESTS: dict[str, frozenset[str]] = {
    "proof/test_hooks.py": frozenset(
        {
            "test_what_a_value_raises_does_not_keep_a_system_from_being_closed",
            "test_what_a_value_raises_is_told_by_who_asks_for_a_digest",
            "test_what_a_value_raises_is_told_by_who_takes_a_snapshot",
        }
    ),
    "sync/test_ticks.py": frozenset(
        {
            "test_the_small_world_notices_each_rule_that_is_left_out",
            "test_whatever_happens_no_lease_ends_before_its_time",
        }
    ),
    "test_time_and_chance.py": frozenset(
        {
            "test_times_across_a_change_of_the_clocks_are_the_same_in_every_zone_later",
        }
    ),
    "contract/test_place.py": frozenset(
        {
            "test_a_directory_is_one_systems_until_it_is_let_go",
        }
    ),
    "compat/test_pysyncobj_conf.py": frozenset(
        {
            "test_an_option_without_effect_is_told_of_once_and_why",
            "test_commandsWaitLeader_says_whether_a_command_waits_for_a_leader",
        }
    ),
    "compat/test_pydistributed_rows.py": frozenset(
        {
            "test_row_KeyValueStore_keeps_what_was_set_when_its_process_is_killed",
        }
    ),
    "messaging/test_queues.py": frozenset(
        {
            "test_a_message_of_a_worker_that_is_killed_goes_to_another",
            "test_a_worker_and_a_client_wait_for_a_broker_that_is_not_there_yet",
            "test_a_worker_goes_on_with_a_broker_that_comes_again",
        }
    ),
    "messaging/test_store.py": frozenset(
        {
            "test_a_client_goes_on_with_the_store_that_comes_after_one_that_was_killed",
            "test_a_client_in_another_process_finds_the_store_by_its_ports_alone",
            "test_a_store_whose_directory_another_process_has_for_itself_is_refused",
            "test_a_set_of_keys_is_deleted_in_an_order_that_depends_on_no_hash",
            "test_clients_lose_nothing_that_was_acknowledged_when_the_process_that_writes_is_killed",
            "test_no_time_is_counted_where_no_key_has_an_end",
            "test_two_clients_of_one_process_share_what_they_have_open",
            "test_two_processes_may_serve_one_directory_and_two_directories_not_at_the_same_ports",
        }
    ),
    "batteries/test_values.py": frozenset(
        {
            "test_an_edit_is_one_action",
            "test_frozen_values_and_objects_survive_a_snapshot_and_a_replay",
        }
    ),
    "batteries/test_others.py": frozenset(
        {
            "test_a_structure_that_was_restored_goes_on_where_it_was",
        }
    ),
    "batteries/test_members.py": frozenset(
        {
            "test_a_structure_is_opened_with_the_strictest_validation_and_with_check",
        }
    ),
    "sync/test_ends.py": frozenset(
        {
            "test_a_node_without_a_majority_knows_that_it_has_lost_before_another_gets_the_lock",
            "test_a_process_that_ends_gives_its_locks_back",
            "test_a_process_that_is_killed_holds_its_lock_for_its_time_and_no_longer_than_a_tick_more",
            "test_where_the_leading_node_goes_with_the_lock_another_has_it_after_its_time",
        }
    ),
    "checking/test_check.py": frozenset(
        {
            "test_a_change_outside_any_action_is_found_at_the_next_call",
            "test_what_is_right_goes_on_as_without",
        }
    ),
    "cli/test_other_class.py": frozenset(
        {
            "test_another_class_is_refused_by_every_command_with_both_names",
        }
    ),
    "cli/test_pruned.py": frozenset(
        {
            "test_a_state_that_was_pruned_is_refused_as_such",
            "test_log_says_that_what_came_before_was_pruned",
        }
    ),
    "cluster/test_line.py": frozenset(
        {
            "test_messages_of_many_threads_and_ends_come_to_all_in_one_order",
            "test_what_is_told_unreliably_is_received_in_order_and_once",
        }
    ),
    "cluster/test_withdrawal.py": frozenset(
        {
            "test_nodes_that_lack_memory_for_different_actions_come_to_the_same",
        }
    ),
    "contract/test_seam.py": frozenset(
        {
            "test_a_reader_reads_what_was_there_while_others_append",
        }
    ),
    "determinism/test_systems.py": frozenset(
        {
            "test_each_python_that_is_here_can",
            "test_the_state_is_the_same_in_another_process_place_and_time",
            "test_with_check_an_action_that_opens_a_file_is_refused_and_taken_back",
        }
    ),
    "disk/test_commit.py": frozenset(
        {
            "test_a_caller_that_is_interrupted_in_its_sleep_leaves_nobody_asleep",
        }
    ),
    "disk/test_dirlock.py": frozenset(
        {
            "test_a_system_of_which_somebody_removed_the_lock_keeps_a_second_process_out",
            "test_of_two_processes_that_race_for_a_directory_and_remove_its_lock_one_is_inside",
            "test_a_system_puts_no_file_into_another_directory_and_takes_none_away",
        }
    ),
    "disk/test_frames.py": frozenset(
        {
            "test_records_that_are_appended_together_go_on_in_the_next_segment",
        }
    ),
    "disk/test_segments.py": frozenset(
        {
            "test_a_whole_block_that_is_not_what_was_written_is_damage",
            "test_keeping_two_snapshots_deletes_what_only_older_ones_need",
        }
    ),
    "engine/test_aside.py": frozenset(
        {
            "test_a_call_in_between_that_fails_is_said_in_the_log",
            "test_a_call_that_comes_in_between_of_an_action_is_recorded_after_it",
            "test_a_close_that_comes_in_between_of_an_action_closes_after_it",
        }
    ),
    "engine/test_interrupts.py": frozenset(
        {
            "test_two_interrupts_leave_the_collector_on_and_nothing_hidden_from_it",
        }
    ),
    "engine/test_loadable.py": frozenset(
        {
            "test_a_snapshot_that_cannot_be_loaded_is_not_kept_and_the_part_is_named",
            "test_what_has_not_been_loaded_is_not_all_that_stays",
        }
    ),
    "engine/test_replay.py": frozenset(
        {
            "test_live_state_and_restored_state_and_a_plain_object_agree_whatever_happens",
        }
    ),
    "engine/test_withdrawn.py": frozenset(
        {
            "test_a_call_at_the_end_of_the_stack_leaves_the_lock_free",
            "test_a_call_that_is_interrupted_from_outside_is_withdrawn",
        }
    ),
    "evolution/test_migration.py": frozenset(
        {
            "test_a_class_that_moved_is_found_where_it_is_now",
            "test_a_new_attribute_is_given_to_what_was_kept_without_it",
            "test_objects_of_every_kind_are_upgraded",
        }
    ),
    "golden/test_golden.py": frozenset(
        {
            "test_a_node_goes_on_where_it_ended_and_is_no_system_of_its_own",
            "test_reading_gives_the_state_and_the_outcomes_and_changes_nothing",
        }
    ),
    "network/test_configuration.py": frozenset(
        {
            "test_a_password_may_hold_any_characters",
            "test_three_servers_find_one_another_with_a_password_of_any_characters_and_with_certificates",
        }
    ),
    "network/test_wire.py": frozenset(
        {
            "test_a_first_line_that_says_nothing_is_an_error_that_shows_it",
            "test_a_greeting_that_failed_leaves_no_descriptor",
            "test_a_line_that_is_closed_leaves_no_descriptor",
            "test_a_wire_that_broke_leaves_no_descriptor",
            "test_nothing_that_is_sent_while_the_connection_breaks_stays_without_an_answer",
            "test_who_greets_as_no_server_does_is_left",
        }
    ),
    "proof/test_proof.py": frozenset(
        {
            "test_a_close_does_not_hang_with_code_of_the_domain",
            "test_a_system_that_is_repeatable_checks_itself_and_tells_nothing",
            "test_the_status_says_why_no_snapshot_was_taken",
        }
    ),
    "proof/test_twelve_ways.py": frozenset(
        {
            "test_what_was_told_once_is_not_told_again",
            "test_what_replay_can_repeat_is_not_accused",
            "test_what_replay_cannot_repeat_is_told_at_the_first_restart",
        }
    ),
    "proxy/test_uses.py": frozenset(
        {
            "test_calls_of_any_kind_of_class_survive_and_reads_are_not_recorded",
        }
    ),
    "shared/test_connect.py": frozenset(
        {
            "test_another_process_writes_and_the_connection_goes_on_when_it_is_killed",
            "test_calls_go_on_after_a_connection_has_ended_and_none_is_recorded_twice",
            "test_a_server_that_hangs_is_unavailable_and_nothing_is_sent",
        }
    ),
    "simulation/test_checker.py": frozenset(
        {
            "test_the_search_agrees_with_trying_every_order",
            "test_two_thousand_operations_on_one_key_by_ten_callers_are_decided",
        }
    ),
    "values/test_bound.py": frozenset(
        {
            "test_what_belongs_to_a_process_is_no_argument",
            "test_what_belongs_to_a_process_is_refused_in_a_closure_too",
        }
    ),
    "test_code_versions.py": frozenset(
        {
            "test_each_body_has_its_own_marks",
        }
    ),
    "values/test_codec.py": frozenset(
        {
            "test_a_script_finds_what_another_program_wrote_with_its_classes",
            "test_a_script_that_defines_its_domain_finds_its_data_when_it_runs_again",
            "test_any_calls_joined_are_decoded_as_they_were_encoded",
            "test_plain_calls_encoded_together_are_decoded_as_they_were_encoded",
            "test_the_caller_and_replay_see_equal_arguments",
            "test_what_a_script_wrote_can_be_replayed_by_another_program",
        }
    ),
    "determinism/test_check.py": frozenset(
        {
            "test_each_thing_a_deterministic_system_may_ask_is_answered_at_replay_as_it_was_live",
        }
    ),
    "test_one_process.py": frozenset(
        {
            "test_nobody_waits_for_himself",
        }
    ),
    "ground/test_paths.py": frozenset(
        {
            "test_what_is_no_file_where_one_must_be_is_an_error_of_ours_or_passed_over",
        }
    ),
    "test_seed_rows.py": frozenset(
        {
            "test_row_16_take_snapshot_keeps_one_state_of_a_domain_in_use",
            "test_row_20_any_server_delegates_to_the_proxy_itself",
            "test_rows_04_and_21_a_slave_receives_all_data_and_then_follows_its_master",
        }
    ),
    "test_system.py": frozenset(
        {
            "test_a_forked_child_has_a_closed_system_and_the_parent_goes_on",
            "test_a_second_process_is_refused_with_the_pid_and_opens_after_kill_9",
            "test_a_snapshot_taken_while_eight_threads_write_is_a_state_between_two_calls",
            "test_a_system_that_is_dropped_lets_its_directory_go",
            "test_any_index_can_be_looked_at",
            "test_everything_is_kept_unless_keep_says_otherwise",
            "test_keep_deletes_older_snapshots_and_the_journal_that_only_they_need",
            "test_the_past_can_be_looked_at_while_the_system_is_open_and_written_to",
            "test_what_is_no_point_of_the_system_is_refused",
        }
    ),
    "testing/test_plugin.py": frozenset(
        {
            "test_who_does_not_use_the_fixture_loads_neither_the_tools_for_tests_nor_anything_of_the_standard_library",
        }
    ),
    "tools/test_backup.py": frozenset(
        {
            "test_every_backup_of_a_busy_system_opens_and_has_what_was_acknowledged",
            "test_what_is_written_rolled_over_and_pruned_meanwhile_makes_no_gap",
        }
    ),
    "tools/test_contents.py": frozenset(
        {
            "test_a_damaged_directory_is_described_and_the_damage_named",
            "test_where_there_is_no_system_it_is_said",
        }
    ),
    "tools/test_digest.py": frozenset(
        {
            "test_a_digest_leaves_nothing_for_the_collector",
            "test_a_set_has_the_digest_of_a_set_filled_the_other_way_round",
            "test_copies_have_the_digest_of_what_they_are_copies_of",
            "test_nothing_is_nested_too_deeply",
            "test_other_processes_have_the_same_digests_whatever_their_hashes",
        }
    ),
    "tools/test_reclock.py": frozenset(
        {
            "test_a_look_by_time_finds_the_state_that_was_then",
        }
    ),
    "tools/test_repair.py": frozenset(
        {
            "test_a_crash_at_any_step_leaves_what_a_new_plan_mends",
            "test_a_crash_at_any_step_leaves_what_a_new_plan_mends_of_frames_of_several",
            "test_a_power_cut_at_any_moment_leaves_what_a_new_plan_mends",
            "test_behind_a_rest_of_a_block_that_is_zeros_the_whole_next_block_is_used",
            "test_behind_damage_at_the_head_of_a_block_the_rest_of_the_block_is_used",
            "test_what_was_damaged_opens_again_with_all_that_can_be_had",
            "test_wherever_a_frame_of_several_is_damaged_all_before_it_is_kept",
        }
    ),
    "tools/test_tree.py": frozenset(
        {
            "test_a_very_deep_state_is_drawn_and_compared_without_recursion",
        }
    ),
}
