from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

import hephaestus_pg
from hephaestus_pg import (
    migrate,
    migrations,
)
from hephaestus_pg.cli import options
from hephaestus_pg.errors import HephaestusError
from hephaestus_pg.migrations.state import read_state
from tests.support.catalog import WAIT_SECONDS

if TYPE_CHECKING:
    import pytest

    from tests.support.commands import Run

SOURCES = str(Path(hephaestus_pg.__file__).parents[1])


def test_down_needs_a_version_and_names_the_flag_for_a_loss(
    run: Run, dsn: str, schema: str
) -> None:
    run("up")
    code, out, err = run("down")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "--version" in err
    with psycopg.connect(dsn) as connection:
        connection.execute(
            f"INSERT INTO {schema}.workflow_instances "
            "(id, workflow, workflow_version, inserted_at, updated_at) "
            "VALUES ('order::1', 'Order', 2, now(), now())".encode()
        )
    code, out, err = run("down", "--version", "2")
    assert code == 0
    assert "reverted 3 (widen_ids) in" in out
    assert "  note: ids stay varchar(255): not all of them are UUIDs\n" in out
    for flags, missing in (
        ((), "--allow-version-loss"),
        (("--allow-version-loss",), "--allow-row-loss"),
    ):
        code, _, err = run("down", "--version", "0", *flags)
        assert code == 2
        assert err.endswith(f"; {missing} allows it\n")
    assert run("down", "--version", "0", "--allow-row-loss")[0] == 0
    assert run("version")[1] == "0\n"


def test_steps_that_were_done_are_printed_before_an_error(
    run: Run, monkeypatch: pytest.MonkeyPatch, schema: str, dsn: str
) -> None:
    times = 0

    async def failing(*given: Any, **options: Any) -> Any:
        nonlocal times
        times += 1
        if times > 1:
            raise HephaestusError("the server has gone")
        return await read_state(*given, **options)

    monkeypatch.setattr("hephaestus_pg.migrations.session.read_state", failing)
    code, out, err = run("up", "--version", "2")
    assert (code, err) == (2, "error: the server has gone\n")
    assert [line.split(" in ")[0] for line in out.splitlines()] == [
        f"schema {schema}: applied 1 (create_workflow_instances)",
        f"schema {schema}: applied 2 (add_workflow_version)",
    ]
    times = 0
    code, out, err = run("down", "--version", "1")
    assert (code, err) == (2, "error: the server has gone\n")
    assert out.startswith(f"schema {schema}: reverted 2 (add_workflow_version) in ")


def test_a_refused_down_says_that_nothing_was_taken_back(run: Run, dsn: str, schema: str) -> None:
    run("up")
    with psycopg.connect(dsn) as connection:
        connection.execute(
            f"INSERT INTO {schema}.workflow_instances (id, workflow, inserted_at, updated_at) "
            "VALUES ('order::1', 'Order', now(), now())".encode()
        )
    for _ in range(2):
        code, out, err = run("down", "--version", "0")
        assert (code, out) == (2, "")
        assert err == (
            "error: nothing is taken back: dropping workflow_instances would lose the instances in "
            "it; --allow-row-loss allows it\n"
        )
        assert run("version")[1] == f"{migrations.LATEST}\n"
    assert run("status")[0] == 0


def test_a_long_wait_is_reported_on_stderr(
    run: Run,
    dsn: str,
    schema: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("hephaestus_pg.migrations.waits.WARN_AFTER", 0.0)
    run("up", "--version", "2")
    err = ""
    with psycopg.connect(dsn) as connection, ThreadPoolExecutor(1) as thread:
        connection.execute(f"SELECT count(*) FROM {schema}.workflow_instances".encode())
        code = thread.submit(migrate.main, ["up", "--schema", schema])
        until = time.monotonic() + WAIT_SECONDS
        while not err.endswith("UTC\n") and time.monotonic() < until:
            err += capsys.readouterr().err
            time.sleep(0.01)
        connection.rollback()
        assert code.result() == 0
    assert err.startswith(f"schema {schema}: waiting for its tables: process ")


def test_sql_prints_a_script_without_a_connection(
    run: Run, monkeypatch: pytest.MonkeyPatch, dsn: str, schema: str
) -> None:
    monkeypatch.setenv("HEPHAESTUS_PG_DSN", "postgresql://127.0.0.1:1/none")
    code, up, err = run("sql")
    assert (code, err) == (0, "")
    assert up == migrations.sql("up", schema=schema)
    down = run("sql", "down", "--version", "0", "--allow-row-loss")[1]
    monkeypatch.setenv("HEPHAESTUS_PG_DSN", dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(up.encode())
        assert run("status")[0] == 0
        connection.execute(down.encode())
    assert run("version")[1] == "0\n"


def test_gen_writes_files_and_prints_their_paths(run: Run, tmp_path: Path) -> None:
    output = tmp_path / "new" / "folder"
    code, out, err = run("gen", "--format", "sql", "--output", str(output))
    assert (code, err) == (0, "")
    assert sorted(out.splitlines()) == sorted(str(path) for path in output.iterdir())
    assert len(out.splitlines()) == 2 * migrations.LATEST
    code, out, err = run(
        "gen", "--format", "alembic", "--output", str(output), "--down-revision", "abc"
    )
    assert code == 0
    assert "down_revision = 'abc'" in Path(out.strip()).read_text()
    code, out, err = run("gen", "--format", "sql", "--output", str(output))
    assert (code, out) == (2, "")
    assert "001_create_workflow_instances.up.sql is there already" in err
    assert err.endswith("; for what is newer give --from-version, or give another --output\n")


def test_one_who_is_told_to_end_says_what_is_done_and_stops_the_server(
    database: str,
) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("""
            CREATE FUNCTION public.long() RETURNS event_trigger LANGUAGE plpgsql AS
                'BEGIN PERFORM pg_sleep(600); END';
            CREATE EVENT TRIGGER long ON ddl_command_end WHEN TAG IN ('CREATE FUNCTION')
                EXECUTE FUNCTION public.long();
        """)
        sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        sleeping += " AND datname = current_database()"

        def wait_for(count: int) -> None:
            while connection.execute(sleeping).fetchone() != (count,):
                time.sleep(0.01)

        process = subprocess.Popen(
            [sys.executable, "-m", "hephaestus_pg.migrate", "up"],
            env={**os.environ, "HEPHAESTUS_PG_DSN": database, "PYTHONPATH": SOURCES},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_for(1)
        process.terminate()
        out, err = process.communicate()
        wait_for(0)
    assert (process.returncode, err) == (130, "interrupted\n")
    assert "applied 4 (add_revision) in" in out
    assert "applied 5" not in out


def test_an_interruption_is_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    def failing() -> int:
        raise HephaestusError("two\nlines of postgresql://user:secret@host/x")

    assert options.exit_code(interrupted) == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert options.exit_code(failing) == 2
    assert capsys.readouterr().err == "error: two lines of postgresql://user:***@host/x\n"
