from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import asyncpg
import psycopg
import pytest

from hephaestus_pg import (
    migrations,
)
from hephaestus_pg.migrate.printing import print_move, print_move_plan, print_status
from hephaestus_pg.migrations import Difference, Distribution, DistributionResult, SchemaStatus
from hephaestus_pg.migrations.files import shipped
from hephaestus_pg.migrations.planning import planned_move
from tests.support.commands import set_terminal

if TYPE_CHECKING:
    from tests.support.commands import Run

pytestmark = pytest.mark.quick

TOOK = r"in [\d.]+ m?s"


def test_up_prints_each_step_with_schema_and_duration(run: Run, schema: str) -> None:
    code, out, err = run("up", "--version", "2")
    assert (code, err) == (0, "")
    assert re.fullmatch(
        rf"schema {schema}: applied 1 \(create_workflow_instances\) {TOOK}\n"
        rf"schema {schema}: applied 2 \(add_workflow_version\) {TOOK}\n"
        rf"schema {schema}: from version 0 to 2 {TOOK}\n",
        out,
    )
    code, out, _ = run("up", "--online")
    assert "applied 3 (widen_ids) online in" in out
    assert run("up") == (
        0,
        f"schema {schema}: nothing to do, it is at version {migrations.LATEST}\n",
        "",
    )


def test_status_is_a_table_and_exits_1_while_something_is_pending(run: Run, schema: str) -> None:
    run("up", "--version", "3")
    code, out, err = run("status")
    assert (code, err) == (1, "")
    lines = out.splitlines()
    assert lines[:2] == [
        f"schema {schema} is at version 3, latest is {migrations.LATEST}",
        "version  name                       applied",
    ]
    assert re.fullmatch(r" +3  widen_ids +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", lines[4])
    assert lines[5].split() == ["4", "add_revision", "pending"]
    run("up")
    assert run("status")[0] == 0


def test_status_marks_a_changed_file_and_a_newer_release(run: Run, dsn: str, schema: str) -> None:
    run("up")
    table = f"{schema}.hephaestus_pg_migrations"
    with psycopg.connect(dsn) as connection:
        connection.execute(f"INSERT INTO {table} VALUES (99, E'later\\x1b[2J', '')".encode())
    code, out, _ = run("status")
    assert code == 0
    assert r"     99  later\x1b[2J " in out
    assert out.splitlines()[-2].endswith("(by a newer release)")
    with psycopg.connect(dsn) as connection:
        connection.execute(f"UPDATE {table} SET checksum = '' WHERE version = 2".encode())
    code, out, _ = run("status")
    assert code == 1
    assert "(its file has changed since)" in out.splitlines()[3]
    code, out, err = run("up")
    assert (code, out) == (2, "")
    assert err.startswith("error: migration 2 (add_workflow_version) differs")


async def test_taking_over_ectos_database_is_printed(run: Run, dsn: str, schema: str) -> None:
    connection = await asyncpg.connect(dsn)
    for each in shipped()[:3]:
        await connection.execute(each.up.replace("/* schema */", f"{schema}."))
    await connection.execute(f"COMMENT ON TABLE {schema}.workflow_instances IS '3'")
    await connection.close()

    def words() -> None:
        assert "by HephaestusEcto" in run("status")[1].splitlines()[2]
        out = run("up")[1].splitlines()
        assert out[0] == f"schema {schema}: took over HephaestusEcto's version 3"
        out = run("down", "--version", "2")[1].splitlines()
        assert out[-1].startswith("  note: the table's comment still says 3")

    await asyncio.to_thread(words)


def test_index_prints_the_change_and_status_the_index(
    run: Run, monkeypatch: pytest.MonkeyPatch, schema: str
) -> None:
    run("up")
    assert run("status")[1].splitlines()[-1] == "index over states: full"
    code, out, err = run("index", "initial")
    assert (code, err) == (0, "")
    assert re.fullmatch(
        rf"schema {schema}: index initial, before full, {TOOK}\n"
        r"  note: the table \(0 MiB\) was rewritten\n"
        r"  note: HephaestusEcto's up\(\).*: COMMENT ON TABLE .*\.workflow_instances IS '3'\n",
        out,
    )
    assert run("status")[1].splitlines()[-1] == "index over states: initial"
    assert "index none, before initial" in run("index", "none")[1]
    monkeypatch.setattr("hephaestus_pg.migrations.profiles.REWRITE_UP_TO", 1)
    code, out, err = run("index", "initial")
    assert (code, out) == (2, "")
    assert err.endswith("; --rewrite allows it\n")
    assert run("index", "initial", "--rewrite")[0] == 0


def test_version_is_a_number_and_nothing_else(run: Run) -> None:
    assert run("version") == (0, "0\n", "")
    run("up")
    assert run("version") == (0, f"{migrations.LATEST}\n", "")


def test_a_dry_run_prints_the_steps_and_exits_1_while_there_are_any(
    run: Run, dsn: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("up", "--version", "2")
    with psycopg.connect(dsn) as connection:
        connection.execute(
            f"INSERT INTO {schema}.workflow_instances (id, workflow, inserted_at, updated_at) "
            "VALUES (gen_random_uuid(), 'Order', now(), now())".encode()
        )
    code, out, err = run("up", "--dry-run", "--online")
    assert (code, err) == (1, "")
    assert [re.split("  +", line.strip()) for line in out.splitlines()[:4]] == [
        [f"schema {schema} is at version 2; up would apply"],
        ["version", "name", "lock", "held", "rewrites", "about"],
        ["3", "widen_ids online", "ACCESS EXCLUSIVE", "moments", "yes", "under 1 s"],
        ["4", "add_revision online", "ACCESS EXCLUSIVE", "moments", "no", "under 1 s"],
    ]
    assert re.search(r"\n  note: the table has about \d+ rows, 0 MiB\n  note: the times are ", out)
    assert run("version")[1] == "2\n"
    assert run("up", "--dry-run", "--version", "2") == (
        0,
        f"schema {schema}: nothing to do, it is at version 2\n",
        "",
    )
    set_terminal(monkeypatch, 80)
    code, out, _ = run("up", "--dry-run", "--online", where="not_there")
    assert code == 1
    assert out.endswith("  note: there is no schema not_there\n")
    assert max(map(len, re.sub(r"\x1b\[\d+m", "", out).splitlines())) == 80


BY_ID, BY_SCHEMA = Distribution("id", 4), Distribution("schema", 1)


def test_a_move_is_printed_with_its_way(capsys: pytest.CaptureFixture[str]) -> None:
    moves = {
        DistributionResult("a", None, BY_ID, 2.0, online=True, notes=("a note",)): (
            "schema a: distributed by id, in 4 shards, online, in 2.0 s\n  note: a note\n"
        ),
        DistributionResult("a", None, BY_SCHEMA, 0.2): (
            "schema a: distributed by schema, in one shard, in 200 ms\n"
        ),
        DistributionResult("a", BY_ID, None, 0.2): (
            "schema a: undistributed, before by id, in 4 shards, in 200 ms\n"
        ),
        DistributionResult("a", BY_ID, BY_ID, 0.2): (
            "schema a: nothing to do, it is distributed by id, in 4 shards\n"
        ),
        DistributionResult("a", None, None, 0.2): (
            "schema a: nothing to do, it is not distributed\n"
        ),
    }
    for result, words in moves.items():
        print_move(result)
        assert capsys.readouterr().out == words


def test_a_planned_move_is_printed_with_the_wait_and_the_obstacles(
    capsys: pytest.CaptureFixture[str],
) -> None:
    large = {"rows": 100_000, "size": 2**27}
    print_move_plan(planned_move("a", None, BY_SCHEMA, **large, online=True))
    assert capsys.readouterr().out == (
        "schema a is not distributed; distribute would move it by schema, in one shard\n"
        "  note: about 3.0 s, in which nobody can read or write the tables\n"
        "  note: above 64 MiB it needs --rewrite\n"
        "  note: the table has about 100,000 rows, 128 MiB\n"
        "  note: the time is of two busy cores, without waits for locks\n"
    )
    plan = planned_move("a", None, BY_ID, **large, online=True)
    print_move_plan(replace(plan, obstacles=(Difference("a trigger", "drop it"),)))
    assert capsys.readouterr().out == (
        "schema a is not distributed; distribute would move it by id, in 4 shards, online\n"
        "  note: about 11.0 s, in which readers and writers wait for moments\n"
        "  note: the table has about 100,000 rows, 128 MiB\n"
        "  note: the time is of two busy cores, without waits for locks\n"
        "problem: a trigger; drop it\n"
    )
    print_move_plan(planned_move("a", BY_ID, None, rows=9, size=8192, online=False))
    assert capsys.readouterr().out.splitlines()[:2] == [
        "schema a is distributed by id, in 4 shards; undistribute would end that",
        "  note: under 1 s, in which nobody can read or write the tables",
    ]
    print_move_plan(planned_move("a", BY_ID, BY_ID, rows=9, size=8192, online=False))
    assert capsys.readouterr().out == (
        "schema a: nothing to do, it is distributed by id, in 4 shards\n"
    )


def test_status_prints_how_the_table_is_distributed(capsys: pytest.CaptureFixture[str]) -> None:
    for distribution, words in (
        (BY_ID, "distributed: by id, in 4 shards"),
        (BY_SCHEMA, "distributed: by schema, in one shard"),
        (Distribution("another column", 32), "distributed: by another column, in 32 shards"),
        (Distribution("reference", 1), "distributed: as a reference table, on every node"),
        (Distribution("local", 1), "distributed: not, but known to Citus (a local table)"),
    ):
        print_status(SchemaStatus("a", 6, (), index="full", distribution=distribution))
        assert capsys.readouterr().out.splitlines()[-1] == words


def test_moves_on_a_server_without_citus_are_refused_in_a_line(run: Run) -> None:
    run("up")
    for command in (
        ("distribute", "--by", "schema"),
        ("distribute", "--by", "id"),
        ("undistribute",),
    ):
        for flags in ((), ("--dry-run",)):
            code, out, err = run(*command, *flags)
            assert (code, out) == (2, "")
            assert err.startswith("error: there is no extension citus in the database ")
            assert err.endswith(" run CREATE EXTENSION citus on every node\n")
