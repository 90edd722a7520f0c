from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import asyncpg
import psycopg
import pytest

import hephaestus_pg
from hephaestus_pg import (
    migrate,
    migrations,
)
from hephaestus_pg.cli import options
from hephaestus_pg.errors import HephaestusError
from hephaestus_pg.migrations.files import shipped
from hephaestus_pg.migrations.state import read_state
from tests.support.catalog import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, dsn: str, schema: str
) -> Run:
    """Run the command on a schema of its own: exit code, standard output, standard error."""
    monkeypatch.setenv("HEPHAESTUS_PG_DSN", dsn)

    def command(*arguments: str, where: str | None = schema) -> tuple[int, str, str]:
        try:
            code: Any = migrate.main([*arguments, *(["--schema", where] if where else [])])
        except SystemExit as error:
            code = error.code
        out, err = capsys.readouterr()
        return code, out, err

    return command


def test_up_says_what_it_did_where_and_in_how_long(run: Run, schema: str) -> None:
    code, out, err = run("up", "--version", "2")
    assert (code, err) == (0, "")
    took = r"in \d+ ms"
    assert re.fullmatch(
        rf"schema {schema}: applied 1 \(create_workflow_instances\) {took}\n"
        rf"schema {schema}: applied 2 \(add_workflow_version\) {took}\n"
        rf"schema {schema}: from version 0 to 2 {took}\n",
        out,
    )
    code, out, _ = run("up", "--online")
    assert "applied 3 (widen_ids) online in" in out
    assert run("up") == (0, f"schema {schema}: nothing to do, it is at version 5\n", "")


def test_status_is_a_table_and_exits_1_while_something_is_pending(run: Run, schema: str) -> None:
    run("up", "--version", "3")
    code, out, err = run("status")
    assert (code, err) == (1, "")
    lines = out.splitlines()
    assert lines[:2] == [
        f"schema {schema} is at version 3, latest is 5",
        "version  name                       applied",
    ]
    assert re.fullmatch(r" +3  widen_ids +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", lines[4])
    assert lines[5].split() == ["4", "add_revision", "pending"]
    run("up")
    assert run("status")[0] == 0


def test_status_tells_a_file_that_changed_and_a_newer_release(
    run: Run, dsn: str, schema: str
) -> None:
    run("up")
    table = f"{schema}.hephaestus_pg_migrations"
    with psycopg.connect(dsn) as connection:
        connection.execute(f"INSERT INTO {table} VALUES (99, 'later', '')".encode())
    code, out, _ = run("status")
    assert code == 0
    assert out.splitlines()[-2].endswith("(by a newer release)")
    with psycopg.connect(dsn) as connection:
        connection.execute(f"UPDATE {table} SET checksum = '' WHERE version = 2".encode())
    code, out, _ = run("status")
    assert code == 1
    assert "(its file has changed since)" in out.splitlines()[3]
    code, out, err = run("up")
    assert (code, out) == (2, "")
    assert err.startswith("error: migration 2 (add_workflow_version) differs")


async def test_a_database_of_the_original_is_taken_over_in_words(
    run: Run, dsn: str, schema: str
) -> None:
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
    assert "took back 3 (widen_ids) in" in out
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


def test_what_was_done_is_printed_whatever_comes_after(
    run: Run, monkeypatch: pytest.MonkeyPatch, schema: str, dsn: str
) -> None:
    times = 0

    async def failing(*given: Any, **options: Any) -> Any:
        nonlocal times
        times += 1
        if times > 1:
            raise HephaestusError("the server has gone")
        return await read_state(*given, **options)

    monkeypatch.setattr("hephaestus_pg.migrations.engine.read_state", failing)
    code, out, err = run("up", "--version", "2")
    assert (code, err) == (2, "error: the server has gone\n")
    assert [line.split(" in ")[0] for line in out.splitlines()] == [
        f"schema {schema}: applied 1 (create_workflow_instances)",
        f"schema {schema}: applied 2 (add_workflow_version)",
    ]
    times = 0
    code, out, err = run("down", "--version", "1")
    assert (code, err) == (2, "error: the server has gone\n")
    assert out.startswith(f"schema {schema}: took back 2 (add_workflow_version) in ")


def test_a_refusal_on_the_way_down_says_that_nothing_was_taken(
    run: Run, dsn: str, schema: str
) -> None:
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


def test_a_wait_is_said_on_stderr(
    run: Run,
    dsn: str,
    schema: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("hephaestus_pg.migrations.waits.SAY_AFTER", 0.0)
    run("up", "--version", "2")
    err = ""
    with psycopg.connect(dsn) as connection, ThreadPoolExecutor(1) as thread:
        connection.execute(f"SELECT count(*) FROM {schema}.workflow_instances".encode())
        code = thread.submit(migrate.main, ["up", "--schema", schema])
        until = time.monotonic() + PATIENCE
        while not err.endswith("UTC\n") and time.monotonic() < until:
            err += capsys.readouterr().err
            time.sleep(0.01)
        connection.rollback()
        assert code.result() == 0
    assert err.startswith(f"schema {schema}: waiting for its tables: process ")


def test_index_says_what_it_did_and_status_what_is(
    run: Run, monkeypatch: pytest.MonkeyPatch, schema: str
) -> None:
    run("up")
    assert run("status")[1].splitlines()[-1] == "index over states: full"
    code, out, err = run("index", "initial")
    assert (code, err) == (0, "")
    assert re.fullmatch(
        rf"schema {schema}: index initial, before full, in \d+ ms\n"
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
    assert "File exists" in err


@pytest.mark.parametrize(
    "arguments",
    (
        ("up", "--dsn", "postgresql://user:secret@127.0.0.1:1/none"),
        ("status", "--dsn", "postgresql://127.0.0.1:1/none?user=user&password=secret"),
        ("version", "--dsn", "postgresql://user:secret@[bad/none"),
        ("version", "--dsn", "postgresql://user:secret@host:port/none"),
        ("version", "--dsn", "mysql://user:secret@host/none"),
        ("up", "--version", "99"),
        ("up", "--version", "two"),
        ("sql", "down"),
        ("gen", "--format", "cobol"),
        ("index", "some"),
        ("sideways",),
        (),
    ),
)
def test_an_error_is_one_line_without_a_password(run: Run, arguments: tuple[str, ...]) -> None:
    code, out, err = run(*arguments, where=None)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "secret" not in err
    assert "Traceback" not in err


def test_an_interruption_is_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    def failing() -> int:
        raise HephaestusError("two\nlines of postgresql://user:secret@host/x")

    assert options.exit_code(interrupted) == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert options.exit_code(failing) == 2
    assert capsys.readouterr().err == "error: two lines of postgresql://user:***@host/x\n"


@pytest.mark.parametrize(
    ("seconds", "text"), ((0.0123, "12 ms"), (3.44, "3.4 s"), (310.0, "5 min 10 s"))
)
def test_durations_are_for_readers(seconds: float, text: str) -> None:
    assert options.duration(seconds) == text


def test_without_an_installation_there_is_no_release_to_tell(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(options, "version", Mock(side_effect=PackageNotFoundError))
    with pytest.raises(SystemExit):
        migrate.main(["-V"])
    assert capsys.readouterr().out == "hephaestus_pg (not installed)\n"


@pytest.mark.parametrize("module", ("prune", "demo"))
def test_a_command_runs_as_a_module_too(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", f"hephaestus_pg.{module}", "--dsn"],
        cwd=Path(hephaestus_pg.__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: argument --dsn: expected one argument (see python -m ")


def test_a_module_that_is_taken_for_the_command_says_what_to_type() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hephaestus_pg.migrations", "up"],
        cwd=Path(hephaestus_pg.__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "run python -m hephaestus_pg.migrate" in done.stderr


def test_it_runs_as_a_module_without_a_warning() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "hephaestus_pg.migrate", "-V"],
        cwd=Path(hephaestus_pg.__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"hephaestus_pg \S.*\n", done.stdout)
