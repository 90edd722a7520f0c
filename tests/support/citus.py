"""The tests on a Citus cluster: its tables, and the tests that cannot apply there.

``HEPHAESTUS_PG_TEST_CITUS=schema`` distributes each test's schema, ``id`` its table of instances by
id; ``HEPHAESTUS_PG_TEST_CITUS_DSN`` leads to the coordinator.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.support.databases import Owner

DSN = os.environ.get("HEPHAESTUS_PG_TEST_CITUS_DSN", "")
KIND = os.environ.get("HEPHAESTUS_PG_TEST_CITUS", "")

# Without it the driver looks at every type for most of a second on each new connection.
SETTINGS = {"citus.override_table_visibility": "off"}

_NO_TRIGGER = "DROP TRIGGER hephaestus_pg_raise_revision ON {}.workflow_instances"
_KINDS = {
    "": [],
    "schema": [_NO_TRIGGER, "SELECT citus_schema_distribute('{}')"],
    "id": [
        _NO_TRIGGER,
        "SELECT create_distributed_table('{}.workflow_instances', 'id', shard_count => 4)",
        "SELECT citus_add_local_table_to_metadata('{}.workflow_runners')",
    ],
}


# Citus's own definitions of tables lock each other out, and some deadlock, between nodes too.
ONE_BY_ONE = "SELECT pg_advisory_lock(6700417)", "SELECT pg_advisory_unlock(6700417)"
_TRIES = 5


def distributing(schema: str, kind: str = KIND) -> list[str]:
    """The statements, each to be sent by itself, that distribute a migrated schema."""
    return [statement.format(schema) for statement in _KINDS[kind]]


def distribute(owner: Owner, schema: str) -> None:
    """Distributes a migrated schema, if ``HEPHAESTUS_PG_TEST_CITUS`` says how."""
    if KIND:
        _define(owner, *distributing(schema))


def drop(owner: Owner, schema: str) -> None:
    """Drops a schema, which on a cluster takes turns."""
    statement = f"DROP SCHEMA {schema} CASCADE"
    if KIND:
        _define(owner, statement)
    else:
        owner.execute(statement)


async def drop_schema(connection: asyncpg.Connection[Any], schema: str) -> None:
    """Drops a schema, if it is there, and gives way to a table that is copied online meanwhile.

    Copying waits for every transaction in the cluster, this one's on the workers too, and this one
    for what copying holds: of that Citus sees no deadlock.
    """
    await connection.execute("SET lock_timeout = '2s'")
    for _ in range(30):
        with suppress(asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            await connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
            return
    raise TimeoutError(f"schema {schema} could not be dropped")


def _define(owner: Owner, *statements: str) -> None:
    lock, unlock = ONE_BY_ONE
    owner.execute("SET lock_timeout = 0")
    owner.execute(lock)
    try:
        owner.execute("SET lock_timeout = '60s'")
        for statement in statements:
            for tries in range(_TRIES):
                try:
                    owner.execute(statement)
                    break
                except psycopg.errors.DeadlockDetected:
                    if tries + 1 == _TRIES:
                        raise
    finally:
        owner.execute(unlock)


def coordinator() -> str:
    """The DSN of the cluster that the tests run on."""
    options = "%20".join(f"-c%20{name}%3D{value}" for name, value in SETTINGS.items())
    return f"{DSN}?options={options}"


_OF_ITS_OWN = {"database", "own_server"}

_ANYWHERE = {
    "what moves tables or splits shards waits for all the cluster: run it without these": (
        "system/test_citus_migrations.py",
        "test_shards_that_were_split_are_read_again",
    ),
    "migrations of such tables are tried in system/test_citus_migrations.py": (
        "tests/migrate/",
        "tests/migrations/",
    ),
    "it is about the driver, whatever a table holds": ("tests/driver/",),
    "what is reported depends on what shares a statement, which is a shard's": ("tests/otel/",),
    "no trigger, so that who does not know of revision does not raise it": (
        "test_a_writer_that_does_not_know_the_columns_leaves_them",
        "test_a_corrupt_row_is_named_by_every_verb_that_reads",
        "test_a_row_that_cannot_be_read_is_shown_as_far_as_it_can_be",
        "test_a_row_that_becomes_unreadable_is_an_error_and_can_be_watched_again",
        "test_all_are_looked_at_however_often_one_of_them_is_told_of",
        "test_by_a_program_of_another_kind",
        "test_its_statements_go_on_working_beside_ours",
        "test_what_others_have_parked_or_ended_is_given_no_moment",
        "system/test_revisions.py",
    ),
    "it makes a trigger, or takes ours away": (
        "test_what_a_trigger_keeps_is_said",
        "test_a_clock_of_the_server_that_",
        "test_each_bug_is_caught_by_the_tests_that_it_names",
        "test_what_the_server_ends_for_many_is_done_for_each",
        "test_nor_is_an_error_of_a_verb",
        "test_a_statement_that_somebody_cancels_ends_one_call_at_the_most",
        "test_what_may_pass_keeps_nobody_but_its_own_caller",
        "test_a_statement_too_slow_for_the_role_is_divided",
        "test_a_call_that_is_too_slow_alone_is_told_so",
    ),
    "the bound on waiting for a row does not reach the workers, who alone know who waits": (
        "test_a_locked_row_holds_up_no_neighbour_in_its_statement",
        "test_a_statement_that_waits_for_a_row_has_locked_none_behind_it",
    ),
    "the demo keeps tables of its own beside the instances": ("tests/demo/",),
    "it changes the table in a way that Citus refuses": (
        "test_what_an_owner_does_to_the_table_is_no_error",
        "test_an_index_of_the_users_refuses_at_once_and_its_neighbours_not",
        "test_unexpected_rows.py::TestVetoes",
        "test_unexpected_rows.py::TestOtherIds",
        "test_unexpected_rows.py::TestOtherTriggers",
        "test_unexpected_rows.py::TestViews",
        "test_unexpected_rows.py::TestPolicies",
        "test_unexpected_rows.py::TestConstraintsOfTheUsersOwn",
        "test_partitions_are_one_table",
        "test_an_id_that_a_collation_takes_for_another_is_not_mixed_up",
    ),
    "the index over states is chosen before the table is distributed": ("TestIndexProfiles",),
    "it makes policies, which takes several commands in one text": (
        "test_a_pool_that_sets_the_tenant_shares_no_statement",
        "test_a_setup_of_our_own_pool_shares_no_statement",
        "test_batch_by_decides_which_calls_share_a_statement",
        "watch/test_keyed.py",
        "test_what_a_hook_sets_is_each_callers_own",
        "test_it_claims_and_gives_back_what_who_started_it_may_see",
        "test_it_gives_back_at_the_end_of_a_scope_what_who_works_on_it_may_not_see",
        "test_who_is_cancelled_as_he_is_given_what_he_may_not_see_gives_it_back",
    ),
    "writes do not ask who listens: the notifier does, in a statement of its own": (
        "test_a_write_asks_now_and_then_who_listens_and_each_in_a_transaction",
        "test_a_call_sets_no_timer_of_its_own",
        "test_without_batching_no_call_is_queued",
        "test_a_runner_is_told_of_work_and_of_nothing_else",
        "test_who_begins_to_listen_sees_what_one_wrote_that_had_just_asked",
        "test_unused_it_costs_nothing",
        "test_nothing_is_sent_while_nobody_listens",
        "test_a_version_is_seen_in_a_row_whose_answer_was_lost",
        "test_a_thousand_short_waits_are_one_connection_and_cancel_nothing",
        "test_what_goes_wrong_for_callers_at_once_goes_right_in_the_end",
        "test_what_may_happen_twice_is_tried_again_together_too",
        "test_calls_of_one_are_gathered_and_counted_for_itself",
    ),
    "it counts the connections to a database that nobody else uses": (
        "test_a_thousand_who_wait_are_one_connection_and_one_look",
    ),
    "neither PgBouncer nor SQLAlchemy takes the options in the DSN": (
        "TestSQLAlchemy",
        "test_a_pool_that_leads_to_pgbouncer_unbeknown_to_us",
        "system/test_pgbouncer.py",
        "TestThroughPgBouncer",
    ),
}

_IN_SHARDS = {
    "rows of several shards cannot be skipped while somebody holds them": (
        "test_one_that_is_started_again_meanwhile_stays",
        "test_what_its_frozen_owner_has_locked_keeps_nobody_from_the_rest",
        "test_what_somebody_has_locked_for_long_keeps_nobody_from_the_rest",
        "test_what_somebody_has_locked_keeps_a_stop_from_nothing_else",
    ),
    "shards count the hours of all that they have, or estimate them": (
        "test_an_hour_of_many_is_estimated",
        "test_few_failures_among_many_instances_are_counted",
        "test_of_an_hour_of_many_few_are_read_from_the_index",
    ),
    "each shard's calls wait for a connection by themselves": (
        "test_none_starves_beside_one_with_many_callers",
    ),
    "each shard has a caller who is the first, and gives its connection back itself": (
        "test_an_exception_at_any_place_leaves_nothing_held",
    ),
    "ids change their type on the way down, which they cannot in shards": (
        "test_the_role_may_use_the_table_and_nothing_else",
    ),
    "who reads several shards has no snapshot of all of them": (
        "test_nobody_sees_half_of_a_put_many",
    ),
    "it locks rows of several shards": ("test_an_id_that_is_held_in_one_is_free_in_the_others",),
    "of what nobody claims it looks at all workflows together": (
        "test_of_those_that_come_next_the_ones_that_wait_for_longest_come_first",
    ),
}


def _reasons() -> dict[str, str]:
    """The reason by the part of a test's path or name."""
    kinds = [_ANYWHERE, _IN_SHARDS] if KIND == "id" else [_ANYWHERE]
    return {part: reason for kind in kinds for reason, parts in kind.items() for part in parts}


def skip_what_cannot_apply(items: Iterable[pytest.Item]) -> None:
    """Skips the tests that cannot apply to a cluster, each with its reason."""
    reasons = _reasons()
    for item in items:
        reason = next((reasons[part] for part in reasons if part in item.nodeid), None)
        if reason is None and _OF_ITS_OWN & {*getattr(item, "fixturenames", ())}:
            reason = "it has a database of its own, which is no cluster"
        if reason is not None:
            item.add_marker(pytest.mark.skip(reason=f"on Citus: {reason}"))
