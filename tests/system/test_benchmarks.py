"""The benchmarks' arithmetic, and that one runs from end to end; they are judged nowhere."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from random import Random
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg
import pytest

# The tests run on the built wheel too, where there are none.
pytest.importorskip("benchmarks")

from benchmarks import kept
from benchmarks.claimable import CLAIM, REGISTER, WORKFLOWS
from benchmarks.claiming import claims
from benchmarks.filling import TEMPLATE, fill
from benchmarks.listening import CHANNEL, listening
from benchmarks.load import Load, PacedLoad, Sample, percentile
from benchmarks.planning import STATE_INDEX, Plan, plan_lines
from benchmarks.reporting.summary import medians
from benchmarks.scenarios.claim_shapes import ONE_SCAN
from benchmarks.scenarios.claim_shapes import fill as fill_claimable
from benchmarks.states import HALFWAY, STAGES, order, text
from hephaestus_pg import AsyncStorage, Names, Status, migrations
from tests.support.catalog import WAIT_SECONDS

if TYPE_CHECKING:
    from pathlib import Path

CITUS = os.environ.get("HEPHAESTUS_PG_TEST_CITUS_DSN", "")


def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed() -> None:
    hundred = [float(number) for number in range(1, 101)]
    assert [percentile(hundred, part) for part in (0.5, 0.99, 0.999, 1)] == [50, 99, 100, 100]
    assert [percentile([7.0], part) for part in (0.5, 1)] == [7, 7]
    assert percentile([1.0, 2.0, 3.0], 0.5) == 2


def test_figures_are_rates_of_instances_and_milliseconds_of_calls() -> None:
    sample = Sample(instances=400, seconds=2.0, cpu=0.1, latencies=[0.004, 0.001, 0.002, 0.003])
    figures = sample.figures()
    assert figures["throughput"] == 200
    assert (figures["p50"], figures["worst"]) == (2.0, 4.0)
    assert figures["client_cpu"] == pytest.approx(0.25)


def _record(round_number: int, contender: str, throughput: float) -> dict[str, Any]:
    return {
        "round": round_number,
        "operation": "put",
        "contender": contender,
        "throughput": throughput,
        "p99": 1000 / throughput,
    }


def test_ratios_are_taken_within_a_round_before_their_median() -> None:
    # The machine was ten times slower in the second round, and the third was not: by the medians
    # of the figures the ratio would be 3,000 to 900.
    speeds = {"asyncpg": (1000.0, 100.0, 900.0), "ours": (4000.0, 300.0, 3000.0)}
    records = [
        _record(number, name, speed)
        for name, each in speeds.items()
        for number, speed in enumerate(each)
    ]
    base, ours = medians(records, ("operation",))
    assert base["throughput_ratio"] == 1
    assert (ours["throughput"], ours["throughput_ratio"]) == (3000, pytest.approx(3000 / 900))
    assert ours["p99_ratio"] == pytest.approx(900 / 3000)
    assert "round" not in ours


def test_without_the_base_there_are_no_ratios() -> None:
    [line] = medians([_record(0, "ours", 1.0)], ("operation",))
    assert "throughput_ratio" not in line


@pytest.mark.parametrize(("size", "expected"), (("1kb", 1300), ("10kb", 10_000), ("50kb", 50_000)))
def test_a_state_is_about_as_large_as_its_size_says(size: str, expected: int) -> None:
    assert len(text(order(5, HALFWAY, size))) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(
    ("size", "expected"),
    (("1kb", 5), ("no-history", 0), ("history-20", 20), ("history-200", 200)),
)
def test_a_state_has_the_history_that_its_size_says(size: str, expected: int) -> None:
    history = order(5, HALFWAY, size).execution_history
    assert len(history) == expected
    changes = [entry for entry in history if entry.context_updates]
    assert expected // 3 <= len(changes) <= 2 * expected // 3
    assert history == tuple(sorted(history, key=lambda entry: entry.timestamp))
    # Another order's moments are others: what is read is not what was parsed before.
    others = {entry.timestamp for entry in order(6, HALFWAY, size).execution_history}
    assert others.isdisjoint(entry.timestamp for entry in history)


def test_a_history_grows_by_an_entry_at_each_stage() -> None:
    histories = [order(5, stage, "1kb").execution_history for stage in range(STAGES)]
    assert [len(history) for history in histories] == [3, 4, 5, 6]


async def test_rows_that_the_server_makes_have_moments_of_their_own(database: str) -> None:
    await migrations.up(database)
    await fill(database, 4, 7, order(TEMPLATE, HALFWAY, "1kb"))
    async with AsyncStorage.start(database, references=Names()) as storage:
        found = await storage.query()
    assert [each.context.initial["order"] for each in found] == [4, 5, 6]
    moments = {entry.timestamp for each in found for entry in each.execution_history}
    assert len(moments) == 15


async def test_a_table_is_kept_as_the_numbers_of_its_rows_say(database: str) -> None:
    await migrations.up(database)
    for start, end in ((0, 800), (800, 8000)):
        await fill(database, start, end, order(TEMPLATE, HALFWAY, "1kb"), rows=kept.ROWS)
    chosen = Random(1)
    async with AsyncStorage.start(database, references=Names()) as storage:
        for number in (0, 7, kept.any_of(8000, chosen), kept.active_of(8000, chosen)):
            held = await storage.get(kept.id(number))
            assert held is not None
            assert held.workflow == kept.workflow(number)
            assert held.inserted_at == kept.inserted_at(number)
            assert held.context.initial["order"] == number
            assert (held.status in Status.ACTIVE) is (number >= 7928)
        by_status = await storage.count_by("status")
        # The newest hundredth of each of the two fills is active.
        active = [*range(792, 800), *range(7928, 8000)]
        assert sum(by_status.get(status, 0) for status in Status.ACTIVE) == len(active)
        assert by_status["waiting"] == sum(number // 40 % 4 == 2 for number in active)
        assert await storage.get(kept.new(0).id) is None


async def test_claims_are_finished_once_each_and_leave_nothing(database: str) -> None:
    await migrations.up(database)
    async with AsyncStorage.start(database, references=Names()) as storage:
        alone, together = await claims(storage, 80)
        assert (alone["callers"], alone["instances"]) == (1, 4)
        assert (together["callers"], together["instances"]) == (64, 76)
        assert await storage.count() == 0


def _grown(rows: int, times: float) -> list[dict[str, Any]]:
    """What a growth measures of a table of so many rows, each of which costs ``times`` as much."""
    each = {"wal": 100.0 * times, "images": 50.0 * times, "transactions": 0.5}
    about = {"rows": rows, "profile": "none"}
    pages = {"seconds": 0.36 * rows * times, "paused": 0.0, **each}
    return [
        {"rows": rows, "part": "fill", "built": {"pkey": 1.0, STATE_INDEX: 2.0}},
        {**about, "part": "bytes", "heap": 1000.0 * rows, "indexes": {"pkey": 10 * rows}},
        *(
            {**about, "part": "wal", "operation": name, **each}
            for name in ("insert", "update again", "finish")
        ),
        {**about, "part": "prune", "throughput": 100.0, **each},
        {**about, "part": "vacuum", **pages},
        {**about, "part": "freeze", **pages},
        {"rows": rows, "part": "dump", "dump": 1.0} | ({"restore": 2.0} if rows < 1000 else {}),
    ]


def test_a_plan_is_the_largest_table_times_the_rows_that_there_are_to_be() -> None:
    plan = Plan(instances=100_000, days=1, updates=2, profile="none")
    lines = {each.name: each for each in plan_lines([*_grown(1000, 2.0), *_grown(100, 1.0)], plan)}
    expected = {
        "heap": 0.1,
        "all of it": 0.101,
        "vacuum": 20.0,
        # An insert, two updates, a finish and a prune, of the largest table.
        "WAL of an instance's life": 1000.0,
        "WAL a month": 3.0,
        "with images, at the most": 4.5,
        "freezes are forced each": 800.0,
        # The largest table whose dump was restored has a tenth of the rows.
        "restore": 2 * 1000 / 3600,
        "build of pkey": 100 / 3600,
    }
    assert {name: lines[name].value for name in expected} == pytest.approx(expected)
    # Twice as slow a row, with ten times the rows.
    assert lines["heap"].grown == 10
    assert lines["vacuum"].grown == pytest.approx(20)
    # Without the index over states nobody builds it.
    assert f"build of {STATE_INDEX}" not in lines


async def test_every_caller_goes_on_with_its_own_turns() -> None:
    seen: dict[int, list[int]] = {0: [], 1: []}

    async def call(caller: int, turn: int) -> int:
        seen[caller].append(turn)
        return 3

    load = Load(call, 2)
    first, second = await load.run(0), await load.run(0)
    assert seen == {0: [0, 1], 1: [0, 1]}
    assert first.instances == second.instances == 6


async def test_paced_callers_wait_until_a_call_is_due() -> None:
    seen: list[tuple[int, int]] = []

    async def call(caller: int, turn: int) -> None:
        seen.append((caller, turn))

    load = PacedLoad(call, 2, rate=0.001)
    running = asyncio.create_task(load.run())
    for _ in range(100):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait({running})
    assert seen == [(0, 0)]  # the next one is due after a thousand seconds
    assert load.calls == 1


async def test_paced_callers_that_are_late_go_on_with_their_next_turn() -> None:
    seen: dict[int, list[int]] = {0: [], 1: []}

    async def call(caller: int, turn: int) -> None:
        seen[caller].append(turn)
        if min(map(len, seen.values())) == 3:
            raise ValueError(turn)

    with pytest.raises(ExceptionGroup):
        await PacedLoad(call, 2, rate=1e9).run()
    assert seen[0][:3] == seen[1][:3] == [0, 1, 2]


async def test_those_who_listen_are_registered_and_read_what_comes(database: str) -> None:
    await migrations.up(database)
    connection = await asyncpg.connect(database)
    registered = "SELECT count(*) FROM workflow_runners WHERE expires_at > now()"
    # More than a connection holds on its way: who did not read would keep it on the server.
    much = "SELECT pg_notify($1, lpad(number::text, 7000)) FROM generate_series(1, 2000) AS number"
    with listening(database, 2):
        assert await connection.fetchval(registered) == 2
        await connection.execute(much, CHANNEL)
        async with asyncio.timeout(WAIT_SECONDS):
            while await connection.fetchval("SELECT pg_notification_queue_usage()"):
                await asyncio.sleep(0.01)
    assert await connection.fetchval(registered) == 0
    await connection.close()


async def test_both_shapes_of_a_claim_take_the_same(database: str) -> None:
    await migrations.up(database)
    connection = await asyncpg.connect(database)
    await fill_claimable(connection, 100)
    token = str(uuid4())
    await connection.execute(REGISTER, token)
    taken = []
    for statement in (CLAIM, ONE_SCAN):
        transaction = connection.transaction()
        await transaction.start()
        rows = await connection.fetch(statement, token, WORKFLOWS, "20", "20", "true")
        taken.append({row["id"] for row in rows})
        await transaction.rollback()
    await connection.close()
    assert CLAIM != ONE_SCAN
    assert taken[0] == taken[1] == {f"free::{number}" for number in range(1, 21)}


def measured(output: Path, only: str, *flags: str) -> dict[str, Any]:
    """The results of a quick run of these scenarios."""
    pytest.importorskip("psutil")
    pytest.importorskip("matplotlib")
    command = [sys.executable, "-m", "benchmarks", "--quick", "--only", only, *flags]
    subprocess.run([*command, "--output", output], check=True, stdout=subprocess.DEVNULL)
    results: dict[str, Any] = json.loads((output / "results.json").read_text())
    return results


# Each takes ten seconds; `.ci/run benchmarks` runs every scenario anyway.
@pytest.mark.long
def test_runners_are_measured_beside_queues(tmp_path: Path) -> None:
    results = measured(tmp_path, "runners,empty_claims", "--queues", "ours")
    throughput, first, drawn = results["records"]
    assert throughput["throughput"] > 0
    assert throughput["statements"] > 0
    assert 0 <= drawn["empty"] < 1
    assert first["claims"] >= 40
    assert "| 2 | hephaestus_pg |" in (tmp_path / "README.md").read_text()


@pytest.mark.long
def test_the_time_to_start_is_measured_idle_and_beside_other_writes(tmp_path: Path) -> None:
    records = measured(tmp_path, "wake_ups", "--queues", "ours")["records"]
    assert [each["case"] for each in records] == [
        "by its own process",
        "by another",
        "by another, seldom",
        "by another, beside 5,000 writes/s",
        "by another, beside 5,000 writes/s, 50 a call",
    ]
    assert all(0 < each["p50"] <= each["p99"] <= each["worst"] for each in records)
    assert [each["writes"] > 0 for each in records] == [False, False, False, True, True]
    assert "| by another, seldom | hephaestus_pg |" in (tmp_path / "README.md").read_text()


@pytest.mark.long
def test_what_notifications_cost_is_measured_for_server_and_writer(tmp_path: Path) -> None:
    records = measured(tmp_path, "notifications")["records"]
    quiet, one, many, each_commit = records[:4]
    assert quiet["notified"] == 0
    assert min(one["notified"], many["notified"]) > 0
    assert each_commit["notified"] == each_commit["throughput"]
    assert {(each["operation"], each["callers"], each["contender"]) for each in records[4:]} == {
        (operation, callers, case)
        for operation in ("put", "update")
        for callers in (1, 64)
        for case in ("nobody listens", "one listens")
    }
    assert all(each["throughput"] > 0 for each in records)
    assert "| 32 listen |" in (tmp_path / "README.md").read_text()


@pytest.mark.long
def test_what_fixtures_cost_is_measured_beside_truncating(tmp_path: Path) -> None:
    records = measured(tmp_path, "fixtures")["records"]
    assert {each["contender"] for each in records} == {
        "hephaestus_storage",
        "hephaestus_storage, anyio",
        "truncate",
        "create database from template",
    }
    assert all(0 < each["p50"] <= each["p99"] for each in records)
    assert "| 2 | nothing | hephaestus_storage |" in (tmp_path / "README.md").read_text()


@pytest.mark.long
def test_a_table_that_grows_is_measured_with_the_index_over_states_and_without(
    tmp_path: Path,
) -> None:
    records = measured(tmp_path, "growth")["records"]
    vacuums = [each for each in records if each["part"] == "vacuum"]
    prunes = [each for each in records if each["part"] == "prune"]
    assert [(each["rows"], each["profile"]) for each in vacuums] == [
        (500, "full"),
        (500, "none"),
        (2000, "full"),
        (2000, "none"),
    ]
    # What was pruned, and one row in twenty that was updated.
    assert [each["removed"] for each in vacuums] == [
        each["instances"] + each["rows"] // 20 for each in prunes
    ]
    written = [each for each in records if each["part"] == "wal"]
    assert all(min(each["wal"], each["images"], each["throughput"]) > 0 for each in written)
    assert all(0 < each["p50"] <= each["p99"] for each in records if each["part"] == "calls")
    assert "| get of an active one |" in (tmp_path / "README.md").read_text()


@pytest.mark.long
@pytest.mark.skipif(not CITUS, reason="HEPHAESTUS_PG_TEST_CITUS_DSN names no cluster")
def test_a_table_in_shards_is_measured_beside_one(tmp_path: Path) -> None:
    records = measured(tmp_path, "sharded", "--citus", CITUS)["records"]
    assert {each.get("kind") for each in records[1:]} == {"one table", "8 shards"}
    claimed = [each for each in records if each.get("operation") == "claim and finish"]
    assert len(claimed) == 8
    assert all(each["throughput"] > 0 for each in claimed)
    assert "500: 8 shards" in (tmp_path / "README.md").read_text()


def test_it_runs_and_writes_tables_and_plots(tmp_path: Path) -> None:
    results = measured(tmp_path, "put", "--contenders", "ours,asyncpg,server")
    assert {each["contender"] for each in results["records"]} == {"ours", "asyncpg", "server"}
    assert all(each["wal"] > 0 and each["throughput"] > 0 for each in results["records"])
    assert {"machine", "versions", "commit", "settings", "scale"} <= results["about"].keys()
    assert "| 8 | hephaestus_pg |" in (tmp_path / "README.md").read_text()
    assert (tmp_path / "put.svg").read_text().lstrip().startswith("<?xml")
