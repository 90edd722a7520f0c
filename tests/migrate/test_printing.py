from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import asyncpg
import psycopg
import pytest

from hephaestus_pg import (
    migrations,
)
from hephaestus_pg.migrations.files import shipped
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
