"""The tests that take long: all the others are those of `make quick`.

A file, or a test of one. What takes more than about a tenth of a second, or is one of several cases that take a third of a second
together, belongs here; what needs servers or other programs mostly does.
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
        "cli/test_wrong_input.py",
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
        "docs/test_tutorial.py",
        "engine/test_aside.py",
        "evolution/test_fields.py",
        "failing/test_slice.py",
        "fuzz/test_slice.py",
        "messaging/test_bus_contract.py",
        "messaging/test_bus_original.py",
        "messaging/test_bus_server.py",
        "messaging/test_events_doctests.py",
        "messaging/test_events_follow.py",
        "messaging/test_events_keeping.py",
        "messaging/test_events_table.py",
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
        "objects/test_interrupted_objects.py",
        "objects/test_kill_objects.py",
        "objects/test_kill_shards.py",
        "objects/test_moving_objects.py",
        "objects/test_objects_over_processes.py",
        "objects/test_power_cut_objects.py",
        "objects/test_random_lives.py",
        "objects/test_tools_for_shards.py",
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
        "sync/test_aio_cancelled.py",
        "sync/test_cluster_kill.py",
        "sync/test_contracts.py",
        "sync/test_elector_clients.py",
        "sync/test_elector_leader.py",
        "test_memory.py",
        "test_typing.py",
        "testing/test_fresh_project.py",
        "tools/test_offsite.py",
        "tools/test_verify.py",
        "tools/test_withdraw.py",
        "values/test_deep.py",
        "web/test_things.py",
        "web/test_write.py",
    }
)
TESTS: dict[str, frozenset[str]] = {
    "aio/test_as_the_object.py": frozenset(
        {
            "test_they_are_recorded",
            "test_what_is_not_awaited_is_neither_true_nor_equal_to_anything",
        }
    ),
    "aio/test_doctests.py": frozenset(
        {
            "test_the_example_of_a_name_shows_what_happens",
        }
    ),
    "aio/test_marks.py": frozenset(
        {
            "test_a_checked_system_looks_at_calls_and_at_reads",
        }
    ),
    "architecture/test_imports_point_one_way.py": frozenset(
        {
            "test_an_organ_knows_nothing_of_the_spine",
            "test_the_house_is_small_enough_to_be_held_in_the_head",
            "test_who_knows_where_bytes_are_kept_is_a_closed_list",
            "test_words_that_the_project_does_not_use_are_not_in_its_names",
        }
    ),
    "architecture/test_walks.py": frozenset(
        {
            "test_a_step_into_a_higher_row_is_a_climb_and_a_second_beginning_too",
            "test_each_step_of_a_walk_is_one_that_the_imports_bear_out",
        }
    ),
    "batteries/test_members.py": frozenset(
        {
            "test_a_structure_passes_the_strictest_validation_and_is_opened_with_check",
        }
    ),
    "batteries/test_others.py": frozenset(
        {
            "test_a_structure_that_was_restored_goes_on_where_it_was",
        }
    ),
    "batteries/test_queues.py": frozenset(
        {
            "test_handles_wait_in_an_event_loop",
        }
    ),
    "batteries/test_values.py": frozenset(
        {
            "test_an_edit_inside_an_action_of_another_class_is_part_of_it",
            "test_an_edit_is_one_action",
            "test_frozen_values_and_objects_survive_a_snapshot_and_a_replay",
        }
    ),
    "batteries/test_waiting.py": frozenset(
        {
            "test_an_action_between_the_question_and_the_waiting_is_not_missed",
        }
    ),
    "checking/test_check.py": frozenset(
        {
            "test_a_change_outside_any_action_is_found_at_the_next_call",
            "test_a_read_that_writes_is_found",
            "test_an_argument_that_was_kept_and_then_changed_by_the_caller_is_found",
            "test_an_argument_that_was_not_kept_may_be_changed",
            "test_an_entity_passed_back_in_is_as_it_should_be",
            "test_an_object_of_the_system_passed_back_in_is_refused",
            "test_what_another_process_replays_otherwise_is_found",
            "test_what_is_right_goes_on_as_without",
        }
    ),
    "cli/test_check.py": frozenset(
        {
            "test_a_class_that_cannot_be_had_is_wrong_use",
            "test_errors_make_the_exit_code_and_with_strict_warnings_do",
            "test_findings_are_lines_as_linters_write_them_and_then_counted",
        }
    ),
    "cli/test_other_class.py": frozenset(
        {
            "test_a_class_of_python_itself_is_none_of_a_domain",
            "test_a_class_that_has_another_name_now_is_taken",
            "test_a_class_that_the_one_of_the_state_is_derived_from_is_taken",
            "test_another_class_is_refused_by_every_command_with_both_names",
        }
    ),
    "cli/test_past.py": frozenset(
        {
            "test_a_directory_is_made_as_it_was_and_goes_on_from_there",
            "test_a_stop_at_every_action_of_a_long_journal_costs_each_about_the_same",
        }
    ),
    "cli/test_pruned.py": frozenset(
        {
            "test_a_program_is_told_the_same_and_which_state_is_the_oldest",
            "test_a_snapshot_that_is_lost_and_not_pruned_is_missing",
            "test_a_state_that_was_pruned_is_refused_as_such",
            "test_inspect_says_where_the_past_begins",
            "test_log_is_silent_where_nothing_is_left_out",
            "test_log_says_that_what_came_before_was_pruned",
        }
    ),
    "cli/test_trail.py": frozenset(
        {
            "test_a_frame_of_several_that_is_being_written_is_given_when_it_is_whole",
            "test_a_time_begins_in_the_segment_in_which_it_lies",
            "test_damage_that_need_not_be_read_is_not_met",
            "test_every_time_is_found_as_the_index_of_its_action_is",
            "test_many_roll_overs_between_two_looks_are_followed_one_by_one",
            "test_the_first_action_is_there_before_the_rest_is_read",
            "test_what_was_pruned_is_passed_over",
            "test_who_is_left_behind_by_pruning_is_told",
        }
    ),
    "cluster/test_aio.py": frozenset(
        {
            "test_a_thousand_tasks_on_a_real_node_have_each_its_own_and_a_replica_sees_all",
            "test_each_call_is_told_that_no_majority_took_it",
        }
    ),
    "cluster/test_divergence.py": frozenset(
        {
            "test_a_node_whose_replay_gives_another_state_says_so_or_does_not_start",
        }
    ),
    "cluster/test_follower.py": frozenset(
        {
            "test_a_node_goes_on_with_what_another_has",
            "test_after_an_outage_in_which_only_a_read_was_tried_calls_are_taken",
            "test_calls_of_all_nodes_are_applied_in_one_order_on_each",
            "test_what_is_lost_on_the_way_is_sent_again_in_its_turn",
            "test_who_is_not_heard_may_call_again",
        }
    ),
    "cluster/test_line.py": frozenset(
        {
            "test_a_hole_in_the_stream_stops_who_comes_to_it",
            "test_messages_of_many_threads_and_ends_come_to_all_in_one_order",
            "test_the_largest_message_arrives",
            "test_what_is_not_received_yet_is_bounded_and_comes_when_there_is_room",
            "test_what_is_told_unreliably_is_received_in_order_and_once",
        }
    ),
    "cluster/test_nodes_in_memory.py": frozenset(
        {
            "test_a_node_that_lacks_what_the_line_has_forgotten_begins_anew_with_a_snapshot_of_another",
            "test_an_attribute_that_one_node_gives_to_the_object_hides_a_method_on_all",
            "test_calls_and_reads_do_in_each_state_what_its_row_says",
            "test_three_nodes_and_a_replica_agree_and_one_that_was_away_catches_up",
        }
    ),
    "cluster/test_room.py": frozenset(
        {
            "test_replicas_that_are_gone_make_room_for_others",
        }
    ),
    "cluster/test_withdrawal.py": frozenset(
        {
            "test_a_node_that_is_killed_before_its_message_arrived_asks_again",
            "test_all_nodes_are_killed_while_they_wait_and_come_back",
            "test_nodes_that_lack_memory_for_different_actions_come_to_the_same",
            "test_what_every_node_fails_at_is_withdrawn_and_all_go_on",
            "test_what_one_node_fails_at_is_withdrawn_on_all",
        }
    ),
    "compat/test_pydistributed_rows.py": frozenset(
        {
            "test_row_KeyValueStore_keeps_what_was_set_when_its_process_is_killed",
        }
    ),
    "compat/test_pysyncobj_beside.py": frozenset(
        {
            "test_a_program_sees_what_it_saw_of_PySyncObj",
        }
    ),
    "compat/test_pysyncobj_conf.py": frozenset(
        {
            "test_an_option_without_effect_is_told_of_once_and_why",
            "test_commandsWaitLeader_says_whether_a_command_waits_for_a_leader",
        }
    ),
    "compat/test_pysyncobj_locks.py": frozenset(
        {
            "test_a_holder_that_is_gone_frees_its_lock_and_one_that_is_there_keeps_it",
            "test_locks_beside_other_consumers_are_found_again",
            "test_many_threads_of_many_nodes_never_hold_one_lock_at_once",
            "test_tryAcquire_and_release_on_three_nodes",
            "test_what_is_asked_for_before_the_node_is_ready_waits",
        }
    ),
    "contract/test_calling.py": frozenset(
        {
            "test_many_calls_come_to_what_they_come_to_one_by_one",
        }
    ),
    "contract/test_place.py": frozenset(
        {
            "test_a_directory_is_one_systems_until_it_is_let_go",
            "test_a_directory_waits_for_another_process_no_longer_than_it_was_told",
        }
    ),
    "contract/test_seam.py": frozenset(
        {
            "test_a_journal_of_records_taken_together_holds_what_one_of_one_by_one_does_in_fewer_bytes",
            "test_a_reader_reads_what_was_there_while_others_append",
            "test_states_of_every_size_come_back",
            "test_the_newest_snapshot_at_or_before_an_index_is_found",
        }
    ),
    "contract/test_servers.py": frozenset(
        {
            "test_a_fact_is_written_by_who_has_read_it_and_read_by_all",
            "test_a_question_that_nobody_answers_fails_in_time",
            "test_the_state_says_where_the_line_begins_and_ends",
            "test_three_nodes_in_one_process_agree_and_one_that_ends_comes_back",
        }
    ),
    "determinism/test_check.py": frozenset(
        {
            "test_each_thing_a_deterministic_system_may_ask_is_answered_at_replay_as_it_was_live",
            "test_the_byte_code_gives_the_findings_of_the_source",
        }
    ),
    "determinism/test_glance.py": frozenset(
        {
            "test_what_is_found_is_the_same_with_a_glance_and_without",
        }
    ),
    "determinism/test_holders.py": frozenset(
        {
            "test_who_took_hold_before_is_answered_too",
        }
    ),
    "determinism/test_systems.py": frozenset(
        {
            "test_each_python_that_is_here_can",
            "test_the_state_is_the_same_in_another_process_place_and_time",
            "test_with_check_an_action_that_opens_a_file_is_refused_and_taken_back",
        }
    ),
    "determinism/test_watch.py": frozenset(
        {
            "test_warned_says_it_once_for_a_method_and_kind",
            "test_without_a_watcher_python_is_not_asked_for_events",
        }
    ),
    "disk/test_chunks.py": frozenset(
        {
            "test_a_damaged_large_state_is_passed_over_before_any_of_it_is_loaded",
            "test_a_large_buffer_is_written_and_read_without_a_copy_of_it",
            "test_a_large_state_is_loaded_while_it_is_read",
            "test_what_is_written_in_pieces_of_any_size_is_read_in_parts_of_any_size",
        }
    ),
    "disk/test_commit.py": frozenset(
        {
            "test_a_caller_that_is_interrupted_in_its_sleep_leaves_nobody_asleep",
        }
    ),
    "disk/test_descriptor.py": frozenset(
        {
            "test_a_file_in_a_cycle_that_nobody_has_any_more_is_closed_by_the_collector",
        }
    ),
    "disk/test_dirlock.py": frozenset(
        {
            "test_a_directory_whose_lock_file_was_removed_is_still_locked",
            "test_a_system_of_which_somebody_removed_the_lock_keeps_a_second_process_out",
            "test_a_system_puts_no_file_into_another_directory_and_takes_none_away",
            "test_an_interrupt_at_any_moment_of_taking_it_keeps_nothing",
            "test_of_two_processes_that_race_for_a_directory_and_remove_its_lock_one_is_inside",
        }
    ),
    "disk/test_frames.py": frozenset(
        {
            "test_an_amendment_behind_records_together_is_the_last_of_its_block_or_the_first_of_the_next",
            "test_records_that_are_appended_together_go_on_in_the_next_segment",
            "test_records_that_are_appended_together_lie_in_as_few_frames_as_may_be",
        }
    ),
    "disk/test_refusals.py": frozenset(
        {
            "test_a_log_that_is_followed_does_not_stand_still_where_the_next_segment_can_not_be_seen",
            "test_a_segment_that_is_to_be_set_aside_and_can_not_be_seen_is_set_aside_once_it_can",
            "test_what_a_pruning_that_failed_has_left_of_the_journal_goes_with_the_next",
        }
    ),
    "disk/test_segments.py": frozenset(
        {
            "test_a_whole_block_that_is_not_what_was_written_is_damage",
            "test_frames_longer_than_a_block_or_a_segment_find_room",
            "test_keeping_two_snapshots_deletes_what_only_older_ones_need",
            "test_the_lock_names_its_holder_and_a_left_file_means_nothing",
        }
    ),
    "docs/test_docstrings.py": frozenset(
        {
            "test_an_example_of_metrics_shows_what_happens",
            "test_an_example_shows_what_happens",
        }
    ),
    "docs/test_kubernetes.py": frozenset(
        {
            "test_a_manifest_is_valid",
            "test_the_command_has_the_options_that_a_manifest_gives",
        }
    ),
    "docs/test_reference.py": frozenset(
        {
            "test_a_link_of_the_reference_leads_to_a_page_of_it_or_to_one_of_the_documentation",
            "test_every_page_shows_how_a_name_is_used_or_leads_to_where_that_is_shown",
            "test_every_public_name_has_a_page_that_says_what_it_is",
        }
    ),
    "effects/test_delivery.py": frozenset(
        {
            "test_an_effect_that_could_not_be_recorded_is_recorded_when_the_majority_is_back_and_not_carried_out_again",
            "test_what_still_can_not_be_recorded_when_the_system_is_closed_is_said",
            "test_what_was_carried_out_and_not_recorded_is_recorded_when_the_system_is_closed",
        }
    ),
    "effects/test_on_commit.py": frozenset(
        {
            "test_an_effect_during_which_the_process_is_killed_is_carried_out_again_with_its_id",
        }
    ),
    "engine/test_batches.py": frozenset(
        {
            "test_a_killed_process_leaves_the_first_actions_of_a_batch_as_many_as_were_written_together",
            "test_with_check_each_call_of_a_batch_is_looked_at",
        }
    ),
    "engine/test_failures.py": frozenset(
        {
            "test_a_reader_does_not_learn_of_what_a_power_cut_could_take_back",
            "test_with_check_a_method_that_changed_state_before_it_aborted_is_refused",
        }
    ),
    "engine/test_interrupts.py": frozenset(
        {
            "test_two_interrupts_in_a_call_that_raises_leave_the_lock_free",
            "test_two_interrupts_leave_the_collector_on_and_nothing_hidden_from_it",
            "test_two_systems_are_compared_as_they_are_on_the_disk",
        }
    ),
    "engine/test_loadable.py": frozenset(
        {
            "test_a_snapshot_that_an_opening_has_loaded_is_enough",
            "test_a_snapshot_that_cannot_be_loaded_is_not_kept_and_the_part_is_named",
            "test_a_state_that_waits_while_it_is_loaded_is_given_up",
            "test_opening_goes_back_to_a_snapshot_that_can_be_loaded",
            "test_parts_that_cannot_be_loaded_are_put_back_by_the_journal",
            "test_what_a_command_prunes_has_been_loaded_once",
            "test_what_has_not_been_loaded_is_not_all_that_stays",
            "test_where_the_way_back_is_gone_the_snapshot_is_what_is_to_be_mended",
        }
    ),
    "engine/test_replay.py": frozenset(
        {
            "test_live_state_and_restored_state_and_a_plain_object_agree_whatever_happens",
        }
    ),
    "engine/test_reserved.py": frozenset(
        {
            "test_a_record_with_a_key_is_refused_by_a_release_that_knows_none",
        }
    ),
    "engine/test_tap.py": frozenset(
        {
            "test_a_system_that_is_dropped_is_not_kept_by_its_subscribers",
            "test_actions_that_can_not_be_read_any_more_are_an_error_of_ours",
            "test_closing_a_system_tells_of_the_last_actions_and_ends_its_subscriptions",
            "test_nothing_is_told_before_the_disk_has_it",
        }
    ),
    "engine/test_withdrawn.py": frozenset(
        {
            "test_a_call_at_the_end_of_the_stack_leaves_the_lock_free",
            "test_a_call_that_is_interrupted_from_outside_is_withdrawn",
            "test_a_call_that_recursed_almost_to_the_limit_and_returned_is_run_again",
            "test_threads_that_restore_at_once_leave_the_limit_as_it_was",
            "test_whatever_the_method_does_with_it_the_directory_opens",
        }
    ),
    "evolution/test_migration.py": frozenset(
        {
            "test_a_class_that_moved_is_found_where_it_is_now",
            "test_a_new_attribute_is_given_to_what_was_kept_without_it",
            "test_objects_of_every_kind_are_upgraded",
            "test_the_past_before_an_upgrade_is_seen_with_todays_code",
        }
    ),
    "fuzz/test_shapes.py": frozenset(
        {
            "test_plain_live_reopened_and_asyncio_give_the_same_answers_and_have_the_same_digests",
        }
    ),
    "golden/test_golden.py": frozenset(
        {
            "test_a_node_goes_on_where_it_ended_and_is_no_system_of_its_own",
            "test_reading_gives_the_state_and_the_outcomes_and_changes_nothing",
        }
    ),
    "ground/test_decimals.py": frozenset(
        {
            "test_a_domain_that_does_not_name_decimal_is_given_decimals",
            "test_replay_calculates_what_was_calculated_live",
        }
    ),
    "ground/test_paths.py": frozenset(
        {
            "test_a_call_that_fails_while_a_past_is_read_is_an_error_of_ours",
            "test_a_lock_that_may_not_be_written_keeps_who_writes_out_and_nobody_else",
            "test_what_is_no_file_where_one_must_be_is_an_error_of_ours_or_passed_over",
        }
    ),
    "ground/test_words.py": frozenset(
        {
            "test_states_with_huge_numbers_have_digests_and_places",
        }
    ),
    "legacy/test_import.py": frozenset(
        {
            "test_a_golden_directory_is_restored_to_the_state_that_its_program_had",
            "test_an_imported_directory_is_a_system_that_goes_on",
            "test_the_old_directory_is_only_read",
            "test_wrong_arguments_are_named",
        }
    ),
    "messaging/test_events.py": frozenset(
        {
            "test_an_id_that_stands_for_other_events_is_refused",
            "test_events_that_were_pruned_by_hand_are_said_to_be_missing",
            "test_strict_validation_finds_nothing_in_the_state_of_an_event_source",
            "test_what_is_no_offset_is_refused",
            "test_what_is_read_is_what_was_appended_whatever_came_together",
        }
    ),
    "messaging/test_events_seed.py": frozenset(
        {
            "test_a_torn_end_of_the_newest_file_is_left_out",
            "test_row_exceptions_what_is_no_offset_is_refused",
            "test_row_files_removed_events_leave_their_offsets_in_the_export",
            "test_row_files_what_export_writes_is_read_by_the_table_alone",
        }
    ),
    "messaging/test_names.py": frozenset(
        {
            "test_only_what_is_asked_for_is_loaded",
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
            "test_a_key_that_is_to_live_for_a_time_goes_by_itself",
            "test_a_set_of_keys_is_deleted_in_an_order_that_depends_on_no_hash",
            "test_a_store_serves_from_its_constructor_on_and_survives",
            "test_a_store_whose_directory_another_process_has_for_itself_is_refused",
            "test_a_subscription_ends_when_it_is_closed_and_that_of_a_store_with_the_store",
            "test_a_subscription_that_nobody_has_any_more_is_gone",
            "test_clients_lose_nothing_that_was_acknowledged_when_the_process_that_writes_is_killed",
            "test_no_time_is_counted_where_no_key_has_an_end",
            "test_snapshots_time_travel_and_options_are_those_of_a_system",
            "test_the_json_file_of_the_original_is_taken_over_once_and_stays_as_it_is",
            "test_two_clients_of_one_process_share_what_they_have_open",
            "test_two_processes_may_serve_one_directory_and_two_directories_not_at_the_same_ports",
        }
    ),
    "messaging/test_store_state.py": frozenset(
        {
            "test_a_store_survives_replays_and_goes_back_in_time",
            "test_keys_that_come_and_go_do_not_make_a_store_grow",
            "test_strict_validation_finds_nothing_in_the_state_of_a_store",
            "test_the_examples_of_a_module_show_what_happens",
        }
    ),
    "messaging/test_task_cron.py": frozenset(
        {
            "test_a_schedule_is_kept_over_restarts_and_one_that_was_missed_is_made_up_for_once",
        }
    ),
    "messaging/test_task_state.py": frozenset(
        {
            "test_every_task_is_in_one_place_and_none_is_lost_whatever_happens",
        }
    ),
    "messaging/test_task_typing.py": frozenset(
        {
            "test_arguments_and_results_have_the_types_of_the_function",
        }
    ),
    "messaging/test_tasks.py": frozenset(
        {
            "test_a_queue_is_used_by_name_of_its_functions_in_whatever_way_they_are_given",
            "test_a_queue_of_a_node_that_writes_is_read_on_one_that_follows",
            "test_a_task_that_is_unique_is_sent_once_while_it_is_not_over",
            "test_an_action_sends_a_task_with_what_was_said_of_its_function_or_not_at_all",
            "test_an_interrupt_ends_the_worker_and_the_queue_is_whole_and_its_task_runs_again",
            "test_as_many_tasks_of_a_key_run_together_as_may",
            "test_results_that_were_read_are_noted_together_and_as_the_queue_is_closed",
            "test_what_an_action_says_of_a_task_is_what_its_handle_gives",
        }
    ),
    "network/test_configuration.py": frozenset(
        {
            "test_a_password_may_hold_any_characters",
            "test_a_server_with_another_password_is_not_let_into_the_cluster",
            "test_three_servers_find_one_another_with_a_password_of_any_characters_and_with_certificates",
        }
    ),
    "network/test_connection.py": frozenset(
        {
            "test_only_a_password_that_was_refused_is_called_a_wrong_one",
            "test_who_finds_nobody_is_told_while_it_is_tried_on",
        }
    ),
    "network/test_constants.py": frozenset(
        {
            "test_each_number_has_its_reason",
            "test_no_function_is_longer_than_a_page_and_no_module_than_one_can_read",
        }
    ),
    "network/test_desk.py": frozenset(
        {
            "test_a_connection_can_not_pass_for_many_whatever_headers_it_sends",
            "test_a_desk_finds_another_connection_when_it_loses_its_own",
            "test_a_question_is_answered_with_what_is_found_for_it",
            "test_one_connection_that_asks_without_end_is_told_to_ask_again_and_the_others_are_answered",
            "test_the_server_delivers_no_more_than_the_node_gives_credit_for",
            "test_two_connections_are_not_taken_for_one",
            "test_who_is_told_all_the_time_that_nobody_responds_gives_up",
        }
    ),
    "network/test_elections.py": frozenset(
        {
            "test_a_connection_that_is_lost_is_made_again_and_nothing_is_begun_meanwhile",
            "test_a_majority_that_finds_the_leader_silent_begins_an_election",
            "test_a_node_that_is_asked_says_what_it_sees",
            "test_a_server_that_refuses_or_says_something_else_is_asked_on_and_no_election_is_begun",
            "test_what_another_says_that_can_not_be_read_is_dropped",
        }
    ),
    "network/test_subjects.py": frozenset(
        {
            "test_no_other_module_makes_names",
        }
    ),
    "network/test_vigil.py": frozenset(
        {
            "test_a_leader_that_a_majority_can_hear_is_not_deposed_whatever_the_others_suffer",
        }
    ),
    "network/test_wire.py": frozenset(
        {
            "test_a_bell_rings_until_it_was_heard_and_never_fails",
            "test_a_first_line_that_says_nothing_is_an_error_that_shows_it",
            "test_a_greeting_that_failed_leaves_no_descriptor",
            "test_a_line_that_is_closed_leaves_no_descriptor",
            "test_a_server_that_gives_no_sign_of_life_is_given_up",
            "test_a_server_that_is_killed_and_comes_back_on_the_same_port_is_found_again",
            "test_a_server_that_speaks_tls_is_spoken_to",
            "test_a_wire_that_broke_leaves_no_descriptor",
            "test_a_wrong_password_is_said",
            "test_closing_while_another_thread_receives_ends_it_with_nothing_but_that",
            "test_messages_that_come_byte_by_byte_are_put_together",
            "test_nothing_is_closed_while_somebody_sends_to_it",
            "test_nothing_that_is_sent_while_the_connection_breaks_stays_without_an_answer",
            "test_openssl_is_not_asked_while_another_thread_sends",
            "test_what_the_socket_does_not_take_is_sent_by_who_reads_and_nothing_is_mixed_up",
            "test_what_was_not_answered_when_the_connection_broke_is_not_known_and_the_line_goes_on",
            "test_where_the_first_server_is_gone_the_line_goes_to_the_next",
            "test_who_greets_as_no_server_does_is_left",
            "test_who_never_comes_to_the_end_of_its_greeting_is_not_waited_for",
        }
    ),
    "objects/test_alarms_and_tells.py": frozenset(
        {
            "test_everything_told_in_a_random_life_is_done_once",
            "test_many_calls_at_once_that_tell_an_object_whose_state_is_written_meanwhile",
            "test_what_an_object_is_told_is_done_once_and_in_order",
        }
    ),
    "objects/test_calls_of_objects.py": frozenset(
        {
            "test_a_directory_that_was_refused_can_be_opened_by_others",
        }
    ),
    "objects/test_compaction.py": frozenset(
        {
            "test_old_files_go_and_each_object_is_what_it_was",
            "test_what_waits_stays",
        }
    ),
    "objects/test_guide_of_objects.py": frozenset(
        {
            "test_chat_rooms_remember_what_was_said",
        }
    ),
    "objects/test_inspector_of_objects.py": frozenset(
        {
            "test_a_quarantined_object_is_marked_and_still_shown",
            "test_an_object_is_shown_with_its_calls_now_and_then",
        }
    ),
    "objects/test_memory_and_disks.py": frozenset(
        {
            "test_what_waits_in_memory_takes_little",
        }
    ),
    "objects/test_metrics_of_objects.py": frozenset(
        {
            "test_objects_are_not_well_while_one_is_quarantined",
        }
    ),
    "objects/test_objects_in_a_loop.py": frozenset(
        {
            "test_objects_that_are_closed_refuse_calls_and_leave_their_directory",
        }
    ),
    "objects/test_poison.py": frozenset(
        {
            "test_a_state_that_ends_the_process_when_it_is_written_is_known",
            "test_a_told_call_that_ends_the_process_does_not_end_every_start",
            "test_an_action_that_ends_the_process_when_it_is_replayed_is_named",
            "test_an_alarm_that_ends_the_process_does_not_end_every_start",
            "test_an_object_that_ends_its_process_twice_is_quarantined_alone",
            "test_an_object_that_is_released_is_called_again_and_its_alarm_runs",
            "test_compaction_leaves_what_a_quarantined_object_needs",
            "test_files_that_are_garbled_are_as_if_they_were_not_there",
            "test_good_calls_in_between_strike_out_no_bad_ones",
            "test_once_may_be_chance",
            "test_one_death_is_counted_once_however_often_the_directory_is_opened",
            "test_the_error_says_key_method_and_action",
            "test_two_methods_of_an_object_that_each_end_the_process_once_are_two",
            "test_what_ends_well_in_between_strikes_out_what_was_before",
            "test_whatever_runs_of_an_object_is_known_when_the_process_dies",
            "test_who_tells_an_object_that_is_quarantined_is_served_and_it_hears_of_it_when_it_is_released",
        }
    ),
    "objects/test_tools_for_objects.py": frozenset(
        {
            "test_an_action_that_is_the_last_of_its_object_is_withdrawn_as_well",
            "test_an_object_is_released_by_the_command",
            "test_an_open_directory_is_not_mended",
            "test_one_of_another_class_is_released",
            "test_what_ends_the_process_is_withdrawn_and_taken_back",
        }
    ),
    "past/test_lookup.py": frozenset(
        {
            "test_actions_of_several_lives_are_found",
            "test_an_action_is_found_wherever_it_lies",
            "test_what_is_recorded_later_is_found_too",
            "test_what_was_pruned_is_said_to_be_missing",
        }
    ),
    "proof/test_hooks.py": frozenset(
        {
            "test_what_a_value_raises_does_not_keep_a_system_from_being_closed",
            "test_what_a_value_raises_is_told_by_who_asks_for_a_digest",
            "test_what_a_value_raises_is_told_by_who_takes_a_snapshot",
        }
    ),
    "proof/test_proof.py": frozenset(
        {
            "test_a_close_does_not_hang_with_code_of_the_domain",
            "test_a_system_that_is_repeatable_checks_itself_and_tells_nothing",
            "test_the_status_says_why_no_snapshot_was_taken",
            "test_what_is_torn_or_garbled_is_passed_over",
        }
    ),
    "proof/test_twelve_ways.py": frozenset(
        {
            "test_what_replay_can_repeat_is_not_accused",
            "test_what_replay_cannot_repeat_is_told_at_the_first_restart",
            "test_what_was_told_once_is_not_told_again",
        }
    ),
    "proxy/test_attributes_that_write.py": frozenset(
        {
            "test_a_callable_that_reaches_the_state_is_recorded_by_its_name",
            "test_a_callable_with_the_object_as_a_keyword_is_recorded",
            "test_one_that_is_given_to_the_system_is_called_from_then_on",
            "test_what_a_look_keeps_is_kept_by_the_next_start",
            "test_what_raises_in_a_callable_is_raised_and_recorded",
        }
    ),
    "proxy/test_exits_and_equality.py": frozenset(
        {
            "test_a_system_is_equal_to_a_plain_object_with_its_state",
            "test_init_called_again_is_recorded",
        }
    ),
    "proxy/test_own_state.py": frozenset(
        {
            "test_the_object_has_what_its_class_has_and_still_a_clock_and_an_env",
        }
    ),
    "proxy/test_own_system_as_argument.py": frozenset(
        {
            "test_the_own_system_is_self_in_a_method_now_and_after_each_way_to_start_again",
        }
    ),
    "proxy/test_reads_that_write.py": frozenset(
        {
            "test_the_recipes_of_caches_live_on_as_they_were",
        }
    ),
    "proxy/test_uses.py": frozenset(
        {
            "test_a_domain_may_name_its_methods_and_parameters_like_our_own",
            "test_a_list_subclass_is_used_like_a_list",
            "test_calls_of_any_kind_of_class_survive_and_reads_are_not_recorded",
            "test_setting_and_deleting_attributes_are_actions",
        }
    ),
    "proxy/test_what_stays.py": frozenset(
        {
            "test_an_iteration_is_run_to_its_end_and_a_method_returns_the_first",
            "test_the_class_is_another_one_and_isinstance_holds",
        }
    ),
    "shared/test_aio_connect.py": frozenset(
        {
            "test_tasks_call_and_read_over_one_connection",
            "test_the_loop_goes_on_while_nobody_answers",
        }
    ),
    "shared/test_connect.py": frozenset(
        {
            "test_a_copy_of_the_state_is_whole_while_others_change_it",
            "test_a_server_that_hangs_is_unavailable_and_nothing_is_sent",
            "test_a_server_that_is_not_there_is_said_to_be_unavailable",
            "test_another_process_writes_and_the_connection_goes_on_when_it_is_killed",
            "test_calls_go_on_after_a_connection_has_ended_and_none_is_recorded_twice",
            "test_many_threads_call_over_one_connection",
            "test_the_controls_of_a_connection_take_snapshots_and_tell_how_it_is",
            "test_what_was_called_before_the_server_ended_is_answered",
        }
    ),
    "shared/test_forgotten.py": frozenset(
        {
            "test_another_writes_once_the_one_that_writes_is_forgotten",
            "test_one_that_is_not_forgotten_serves_on",
            "test_what_it_holds_is_gone_with_it",
        }
    ),
    "shared/test_forks.py": frozenset(
        {
            "test_a_child_outlives_its_parent_and_writes",
            "test_a_child_that_sleeps_keeps_nobody_from_writing",
            "test_threads_of_parent_and_child_call_at_once",
        }
    ),
    "shared/test_shared.py": frozenset(
        {
            "test_a_directory_that_is_open_and_not_shared_is_refused",
            "test_a_directory_that_is_shared_is_refused_to_who_does_not_share",
            "test_a_process_that_is_opened_leaves_the_writing_to_one_that_has_the_state",
            "test_a_writer_that_hangs_is_waited_for_and_then_given_up",
            "test_from_the_second_process_on_a_killed_writer_is_followed_by_another",
            "test_what_is_old_is_pruned_by_the_writer_whoever_asks",
            "test_when_the_writer_closes_a_follower_writes_and_no_call_fails",
        }
    ),
    "shared/test_without_a_copy.py": frozenset(
        {
            "test_after_the_death_of_the_writer_another_answers",
            "test_the_past_and_the_actions_are_to_be_had",
        }
    ),
    "simulation/test_checker.py": frozenset(
        {
            "test_the_search_agrees_with_trying_every_order",
            "test_two_thousand_operations_on_one_key_by_ten_callers_are_decided",
        }
    ),
    "sync/test_aio_contracts.py": frozenset(
        {
            "test_a_twin_passes_tests_of_the_lock_of_asyncio_that_it_is_named_after",
        }
    ),
    "sync/test_aio_locks.py": frozenset(
        {
            "test_the_examples_show_what_happens",
        }
    ),
    "sync/test_barrier.py": frozenset(
        {
            "test_a_barrier_has_at_least_one_party_and_can_not_be_used_inside_an_action",
            "test_a_party_that_dies_breaks_the_barrier_when_its_lease_is_over_and_not_before",
            "test_parties_on_the_nodes_of_a_cluster_meet",
            "test_who_waited_is_gone_after_a_restart_and_what_was_broken_is_broken",
        }
    ),
    "sync/test_elector_protocol.py": frozenset(
        {
            "test_a_path_that_is_not_below_locks_is_unknown",
            "test_what_names_no_lock_or_says_something_odd_is_400_and_changes_nothing",
        }
    ),
    "sync/test_elector_server.py": frozenset(
        {
            "test_a_body_that_is_too_large_is_413_and_not_read_to_its_end",
            "test_a_client_of_http_1_0_is_answered_and_its_connection_closed",
            "test_a_connection_is_kept_or_closed_as_the_client_says",
            "test_a_connection_that_is_kept_for_nothing_is_closed",
            "test_a_put_that_waits_gets_the_lock_at_the_moment_it_is_freed",
            "test_a_request_that_does_not_come_to_its_end_is_cut_off",
            "test_a_system_that_is_closed_is_not_healthy",
            "test_a_web_page_gets_no_lock",
            "test_an_answer_is_sent_at_once_and_not_when_the_client_has_said_that_it_has_the_head",
            "test_an_upgrade_is_not_made",
            "test_at_the_end_who_waits_for_the_storage_is_told_that_it_is_not_known",
            "test_at_the_end_who_waits_is_answered_and_the_system_closed",
            "test_every_answer_is_json_with_its_length",
            "test_localhost_is_ipv4_and_ipv6",
            "test_many_connections_make_room_for_one_more",
            "test_requests_that_come_before_the_answer_of_the_one_before_are_answered_in_order",
            "test_the_body_of_a_put_is_read_over_and_that_of_a_post_names_the_lock",
            "test_the_port_of_the_probes_answers_nothing_else",
            "test_what_is_no_http_is_400_in_json",
            "test_what_opening_raises_ends_the_server_and_is_raised",
            "test_who_comes_before_the_elector_is_open_is_answered_when_it_is",
            "test_who_comes_long_before_is_told_so",
            "test_who_waits_and_goes_away_gets_no_lock",
        }
    ),
    "sync/test_ends.py": frozenset(
        {
            "test_a_node_that_is_closed_gives_its_locks_back_at_once",
            "test_a_node_without_a_majority_knows_that_it_has_lost_before_another_gets_the_lock",
            "test_a_process_that_ends_gives_its_locks_back",
            "test_a_process_that_is_killed_holds_its_lock_for_its_time_and_no_longer_than_a_tick_more",
            "test_all_nodes_take_turns_and_agree_who_has_the_lock",
            "test_where_the_leading_node_goes_with_the_lock_another_has_it_after_its_time",
        }
    ),
    "sync/test_gates.py": frozenset(
        {
            "test_a_permit_of_a_process_that_is_gone_is_free_after_its_time",
            "test_what_is_lost_before_who_waits_for_it_has_heard_is_an_error_and_no_answer",
        }
    ),
    "sync/test_lock.py": frozenset(
        {
            "test_a_lock_is_not_used_inside_an_action",
            "test_a_lock_with_a_delay_is_given_to_nobody_for_that_time_after_its_holder_has_lost_it",
            "test_after_a_crash_of_the_holder_the_next_has_it_and_not_before_its_time",
            "test_closing_a_handle_gives_the_lock_back_and_so_does_forgetting_it",
            "test_with_the_last_handle_the_threads_end",
        }
    ),
    "sync/test_locks.py": frozenset(
        {
            "test_a_restart_has_the_same_holders_and_tokens",
            "test_locks_may_be_an_attribute_of_another_class",
            "test_nothing_depends_on_the_order_of_a_hash",
            "test_the_examples_of_a_module_show_what_happens",
            "test_what_makes_no_sense_is_refused_and_changes_nothing",
        }
    ),
    "sync/test_party.py": frozenset(
        {
            "test_each_shard_is_there_once",
            "test_the_shards_of_a_member_that_is_gone_are_led_by_the_others_after_its_time",
        }
    ),
    "sync/test_ticks.py": frozenset(
        {
            "test_the_small_world_notices_each_rule_that_is_left_out",
            "test_whatever_happens_no_lease_ends_before_its_time",
        }
    ),
    "sync/test_timekeeper.py": frozenset(
        {
            "test_its_thread_writes_and_tries_again_what_fails",
        }
    ),
    "test_code_versions.py": frozenset(
        {
            "test_checking_goes_on_over_a_switch",
            "test_code_that_lacks_the_version_is_refused_before_anything_is_applied",
            "test_each_body_has_its_own_marks",
            "test_every_action_is_replayed_with_the_body_of_its_day",
            "test_old_actions_are_upgraded_and_run_with_the_body_of_their_day",
        }
    ),
    "test_growth.py": frozenset(
        {
            "test_a_thread_looks_and_takes_them",
            "test_every_byte_of_a_record_counts_whatever_its_size",
        }
    ),
    "test_import.py": frozenset(
        {
            "test_a_module_does_not_take_the_name_of_what_the_package_offers",
            "test_dill_is_loaded_by_what_pickle_cannot_and_by_nothing_else",
            "test_what_opens_a_system_loads_nothing_heavy",
        }
    ),
    "test_log.py": frozenset(
        {
            "test_a_restore_in_a_terminal_draws_on_the_standard_error_and_one_in_a_pipe_does_not",
        }
    ),
    "test_metrics.py": frozenset(
        {
            "test_structlog_hears_nothing_of_replay",
        }
    ),
    "test_one_process.py": frozenset(
        {
            "test_nobody_waits_for_himself",
            "test_who_is_started_by_the_process_that_has_it_is_told_of_reloaders",
        }
    ),
    "test_seed_rows.py": frozenset(
        {
            "test_row_07_log_files_rotate_by_size",
            "test_row_08_a_snapshot_is_a_serialized_copy_and_older_logs_may_be_deleted",
            "test_row_11_a_clock_is_injected_and_restore_uses_the_recorded_values",
            "test_row_16_take_snapshot_keeps_one_state_of_a_domain_in_use",
            "test_row_20_an_xmlrpc_server_delegates_to_the_proxy",
            "test_row_20_any_server_delegates_to_the_proxy_itself",
            "test_rows_04_and_21_a_slave_receives_all_data_and_then_follows_its_master",
        }
    ),
    "test_system.py": frozenset(
        {
            "test_a_forked_child_has_a_closed_system_and_the_parent_goes_on",
            "test_a_second_opening_from_this_process_is_refused_and_says_so",
            "test_a_second_process_is_refused_with_the_pid_and_opens_after_kill_9",
            "test_a_snapshot_taken_while_eight_threads_write_is_a_state_between_two_calls",
            "test_a_system_that_is_dropped_lets_its_directory_go",
            "test_a_time_is_taken_as_local_if_naive_and_as_it_says_if_aware",
            "test_another_process_is_told_the_pid_of_this_one",
            "test_any_index_can_be_looked_at",
            "test_everything_is_kept_unless_keep_says_otherwise",
            "test_keep_deletes_older_snapshots_and_the_journal_that_only_they_need",
            "test_neither_a_snapshot_nor_a_restore_leaves_anything_frozen",
            "test_snapshots_are_taken_by_growth_of_the_journal",
            "test_snapshots_are_taken_by_time",
            "test_the_oldest_snapshot_kept_can_stand_in_for_a_damaged_newer_one",
            "test_the_past_can_be_looked_at_while_the_system_is_open_and_written_to",
            "test_what_is_no_point_of_the_system_is_refused",
        }
    ),
    "test_time_and_chance.py": frozenset(
        {
            "test_a_nested_object_and_the_method_agree_on_the_time",
            "test_times_across_a_change_of_the_clocks_are_the_same_in_every_zone_later",
        }
    ),
    "testing/test_clock.py": frozenset(
        {
            "test_reads_are_answered_by_the_clock_of_their_own_system",
            "test_what_asks_the_standard_library_is_answered_by_the_clock_if_the_system_is_deterministic",
            "test_what_is_kept_for_a_time_goes_when_the_clock_says_so",
        }
    ),
    "testing/test_plugin.py": frozenset(
        {
            "test_a_directory_that_was_there_keeps_its_seed",
            "test_check_is_switched_on_for_all_by_an_option",
            "test_every_run_draws_the_same_and_each_system_something_else",
            "test_systems_that_failed_are_closed_as_well",
            "test_the_example_of_the_guide_passes",
            "test_the_fixture_opens_moves_crashes_and_fails",
            "test_what_does_not_replay_is_found_in_the_end_unless_switched_off",
            "test_who_does_not_use_the_fixture_loads_neither_the_tools_for_tests_nor_anything_of_the_standard_library",
        }
    ),
    "testing/test_systems.py": frozenset(
        {
            "test_a_crash_opens_with_the_same_options",
            "test_a_directory_that_is_called_memory_has_nothing_to_do_with_it",
            "test_a_power_cut_over_several_segments_takes_what_came_after_the_last_sync",
            "test_a_snapshot_that_fails_is_reported_and_the_system_goes_on",
            "test_a_system_that_replays_passes_whatever_its_calls_did",
            "test_check_looks_at_the_state_in_memory_as_well",
        }
    ),
    "tools/test_backup.py": frozenset(
        {
            "test_a_torn_frame_of_several_is_left_out_with_all_of_its_actions",
            "test_every_backup_of_a_busy_system_opens_and_has_what_was_acknowledged",
            "test_the_copy_of_a_closed_directory_has_everything",
            "test_to_any_action_of_a_frame_of_several_one_can_go_back_also_in_the_copy",
            "test_what_is_written_rolled_over_and_pruned_meanwhile_makes_no_gap",
        }
    ),
    "tools/test_contents.py": frozenset(
        {
            "test_a_damaged_directory_is_described_and_the_damage_named",
            "test_a_damaged_manifest_leaves_the_id_to_the_other_files",
            "test_a_torn_end_is_no_damage",
            "test_a_whole_directory_is_described_from_its_headers",
            "test_nothing_is_unpickled",
            "test_the_holder_is_named_while_there_is_one_and_keeps_its_lock",
            "test_the_place_of_the_damage_is_told",
            "test_what_as_dict_gives_is_what_json_gives_back",
            "test_what_is_left_over_is_listed",
            "test_what_is_pruned_while_it_is_read_is_not_missing",
            "test_where_there_is_no_system_it_is_said",
        }
    ),
    "tools/test_digest.py": frozenset(
        {
            "test_a_digest_leaves_nothing_for_the_collector",
            "test_a_large_part_of_a_state_is_not_walked_where_there_is_no_time",
            "test_a_set_has_the_digest_of_a_set_filled_the_other_way_round",
            "test_copies_have_the_digest_of_what_they_are_copies_of",
            "test_no_copy_is_made_of_what_is_large",
            "test_nothing_is_nested_too_deeply",
            "test_other_processes_have_the_same_digests_whatever_their_hashes",
        }
    ),
    "tools/test_reclock.py": frozenset(
        {
            "test_a_look_by_time_finds_the_state_that_was_then",
            "test_the_command_says_what_it_would_do_and_does_it_when_told",
        }
    ),
    "tools/test_repair.py": frozenset(
        {
            "test_a_crash_at_any_step_leaves_what_a_new_plan_mends",
            "test_a_crash_at_any_step_leaves_what_a_new_plan_mends_of_frames_of_several",
            "test_a_disk_that_refuses_leaves_the_directory_as_it_was",
            "test_a_gap_that_a_snapshot_has_filled_costs_nothing_when_something_else_is_repaired",
            "test_a_newer_snapshot_makes_up_for_damage_in_the_same_segment",
            "test_a_power_cut_at_any_moment_leaves_what_a_new_plan_mends",
            "test_a_segment_that_begins_behind_damage_begins_where_the_frame_of_the_snapshot_does",
            "test_behind_a_rest_of_a_block_that_is_zeros_the_whole_next_block_is_used",
            "test_behind_damage_at_the_head_of_a_block_the_rest_of_the_block_is_used",
            "test_between_two_damages_a_snapshot_inside_of_a_frame_leads_to_the_second",
            "test_damage_is_cut_off_behind_the_last_intact_action",
            "test_of_a_damaged_frame_what_the_snapshot_inside_of_it_does_not_have_is_lost",
            "test_two_repairs_in_the_same_second_have_two_directories",
            "test_what_opening_deals_with_is_no_damage",
            "test_what_was_damaged_opens_again_with_all_that_can_be_had",
            "test_wherever_a_frame_of_several_is_damaged_all_before_it_is_kept",
            "test_with_the_last_action_of_a_segment_in_a_snapshot_nothing_of_it_is_written_anew",
        }
    ),
    "tools/test_tree.py": frozenset(
        {
            "test_a_very_deep_state_is_drawn_and_compared_without_recursion",
        }
    ),
    "transparency/test_slice.py": frozenset(
        {
            "test_a_system_passes_the_tests_of_the_type_as_it_did",
        }
    ),
    "values/test_attributes_of_subclasses.py": frozenset(
        {
            "test_the_attributes_of_a_part_are_there_after_a_snapshot",
        }
    ),
    "values/test_bound.py": frozenset(
        {
            "test_a_domain_with_locks_lives_through_snapshots_restarts_and_replay",
            "test_what_belongs_to_a_process_is_no_argument",
            "test_what_belongs_to_a_process_is_refused_in_a_closure_too",
        }
    ),
    "values/test_codec.py": frozenset(
        {
            "test_a_script_finds_what_another_program_wrote_with_its_classes",
            "test_a_script_that_defines_its_domain_finds_its_data_when_it_runs_again",
            "test_a_state_that_cannot_be_encoded_is_refused_and_the_system_goes_on",
            "test_a_state_that_is_nested_deeper_than_there_is_memory_for_is_refused",
            "test_any_calls_joined_are_decoded_as_they_were_encoded",
            "test_plain_calls_encoded_together_are_decoded_as_they_were_encoded",
            "test_the_caller_and_replay_see_equal_arguments",
            "test_what_a_script_defines_itself_beside_a_domain_that_it_imports_is_found_again",
            "test_what_a_script_wrote_can_be_replayed_by_another_program",
        }
    ),
    "values/test_copies.py": frozenset(
        {
            "test_a_system_that_is_opened_again_has_what_it_had",
            "test_replay_comes_to_the_state_that_was_live",
        }
    ),
    "values/test_entities.py": frozenset(
        {
            "test_a_snapshot_holds_the_objects_themselves",
        }
    ),
    "web/test_guard.py": frozenset(
        {
            "test_a_form_gives_a_link_for_another_browser",
            "test_a_link_is_good_once_and_its_cookie_is_for_this_site_alone",
            "test_nothing_is_shown_without_the_link",
        }
    ),
    "web/test_pages.py": frozenset(
        {
            "test_a_page_is_shown_and_nothing_of_the_state_is_html",
            "test_a_path_runs_nothing",
            "test_a_state_is_found_by_time",
            "test_a_value_has_the_actions_that_changed_it_the_newest_first",
            "test_what_differs_from_another_state_is_marked",
        }
    ),
    "web/test_states.py": frozenset(
        {
            "test_a_look_that_raises_is_told_and_hurts_no_other",
            "test_a_method_that_fits_no_more_ends_what_can_be_shown",
            "test_copies_hold_no_more_than_they_may",
            "test_states_before_damage_are_shown_and_those_after_it_are_told",
            "test_the_past_before_each_snapshot_and_what_is_written_meanwhile_are_shown",
            "test_what_was_pruned_is_said_to_be",
        }
    ),
}
