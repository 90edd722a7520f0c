from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

import hephaestus_pg
from hephaestus_pg import prune
from tests.support.catalog import WAIT_SECONDS
from tests.support.commands import ran

if TYPE_CHECKING:
    from tests.support.commands import Run

FILL = """
    INSERT INTO {}.workflow_instances (id, workflow, status, inserted_at, updated_at)
    SELECT status || '::' || n, 'Order', status, moment, moment
    FROM unnest('{{completed,failed,waiting}}'::text[]) AS status, generate_series(1, 30) AS n,
        make_interval(days => n, hours => 1) AS age, timezone('UTC', now() - age) AS moment
"""


@pytest.fixture
def filled(dsn: str, migrated: str) -> str:
    """A schema with an instance of each of three statuses from each of the last thirty days."""
    execute(dsn, FILL.format(migrated))
    return migrated


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, dsn: str, filled: str
) -> Run:
    """Run the command on ``filled``: exit code, standard output, standard error."""
    monkeypatch.setenv("HEPHAESTUS_PG_DSN", dsn)

    def command(*arguments: str) -> tuple[int, str, str]:
        return ran(prune.main, capsys, "--schema", filled, *arguments)

    return command


def execute(dsn: str, statement: str) -> Any:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else None


def left(dsn: str, schema: str) -> dict[str, int]:
    rows = execute(dsn, f"SELECT status, count(*) FROM {schema}.workflow_instances GROUP BY 1")
    return dict(rows)


def test_it_deletes_what_finished_before_and_nothing_else(run: Run, dsn: str, filled: str) -> None:
    code, out, err = run("--finished-before", "20d", "--yes", "--batch-size", "4")

    assert (code, err) == (0, "")
    first, *lines, last = out.splitlines()
    assert first.startswith(f"schema {filled}: 22 instances finished and last written before 20")
    assert lines[-1] == "    22 of 22 instances; deleted"
    assert last == f"schema {filled}: 22 instances deleted"
    assert left(dsn, filled) == {"completed": 19, "failed": 19, "waiting": 30}


def test_it_goes_on_from_row_to_row_whatever_their_moments(run: Run, dsn: str, filled: str) -> None:
    oldest = "'completed::1', 'failed::1', 'failed::2'"
    execute(
        dsn,
        f"UPDATE {filled}.workflow_instances SET inserted_at = '-infinity', "
        f"updated_at = '-infinity' WHERE id IN ({oldest})",
    )
    code, out, _ = run("--finished-before", "20d", "--yes", "--batch-size", "1")
    assert code == 0
    assert out.endswith("25 instances deleted\n")
    assert left(dsn, filled) == {"completed": 18, "failed": 17, "waiting": 30}


def test_one_that_was_written_before_it_was_inserted_is_left_to_a_later_prune(
    run: Run, dsn: str, filled: str
) -> None:
    execute(
        dsn,
        f"UPDATE {filled}.workflow_instances SET updated_at = now() - interval '25 days' "
        "WHERE id = 'completed::1'",
    )
    code, out, _ = run("--finished-before", "20d", "--yes")
    assert code == 0
    assert "22 instances finished" in out
    assert out.endswith("22 instances deleted\n")
    assert left(dsn, filled)["completed"] == 19


def test_a_dry_run_only_counts(run: Run, dsn: str, filled: str) -> None:
    code, out, err = run("--finished-before", "29d", "--dry-run")
    assert (code, err) == (0, "")
    assert out.count("\n") == 1
    assert "4 instances finished" in out
    assert sum(left(dsn, filled).values()) == 90


def test_nothing_to_delete_is_no_question(
    run: Run, monkeypatch: pytest.MonkeyPatch, filled: str
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    code, out, _ = run("--finished-before", "52w")
    assert code == 0
    assert out.startswith(f"schema {filled}: 0 instances finished")


def test_without_a_terminal_it_does_not_guess_the_answer(run: Run, dsn: str, filled: str) -> None:
    code, out, err = run("--finished-before", "1d")
    assert (code, out) == (2, "")
    assert err.startswith("error: there is no terminal to ask on; give --yes, or --dry-run")
    assert sum(left(dsn, filled).values()) == 90


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    (
        ("y\n", 0, "2 instances deleted"),
        ("n\n", 1, "nothing is deleted"),
        ("\n", 1, "nothing is deleted"),
        ("\x04", 1, "nothing is deleted"),  # the end of the input
    ),
)
def test_on_a_terminal_it_asks(dsn: str, filled: str, answer: str, code: int, said: str) -> None:
    ours, theirs = pty.openpty()
    command = ["-m", "hephaestus_pg", "prune", "--schema", filled, "--finished-before", "30d"]
    process = subprocess.Popen(
        [sys.executable, *command],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "HEPHAESTUS_PG_DSN": dsn},
        cwd=Path(hephaestus_pg.__file__).parents[1],
    )
    os.close(theirs)
    shown = read_until(ours, "[y/N] ")
    assert "2 instances finished" in shown
    assert sum(left(dsn, filled).values()) == 90
    os.write(ours, answer.encode())
    shown = read_until(ours, said)
    assert process.wait(WAIT_SECONDS) == code
    os.close(ours)
    assert sum(left(dsn, filled).values()) == (90 if code else 88)


def read_until(terminal: int, text: str) -> str:
    shown = b""
    until = time.monotonic() + WAIT_SECONDS
    while text.encode() not in shown:
        assert select.select([terminal], [], [], until - time.monotonic())[0], shown
        shown += os.read(terminal, 10_000)
    return shown.decode()


def test_of_one_workflow_alone(run: Run, dsn: str, filled: str) -> None:
    execute(
        dsn,
        f"UPDATE {filled}.workflow_instances SET workflow = 'Refund' WHERE id = 'completed::30'",
    )
    asked = ("--finished-before", "20d", "--workflow", "Refund")
    code, out, _ = run(*asked, "--dry-run")
    assert code == 0
    assert out.startswith(f"schema {filled}: 1 instance of Refund finished and last written before")
    assert run(*asked, "--yes")[1].endswith(": 1 instance deleted\n")
    assert left(dsn, filled) == {"completed": 29, "failed": 30, "waiting": 30}
    assert run("--finished-before", "0s", "--workflow", "x\x1b[2J", "--yes")[1].startswith(
        rf"schema {filled}: 0 instances of x\x1b[2J finished"
    )


def test_what_a_trigger_keeps_is_said(run: Run, dsn: str, filled: str) -> None:
    execute(
        dsn,
        f"CREATE FUNCTION {filled}.keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; "
        f"END'; CREATE TRIGGER keep BEFORE DELETE ON {filled}.workflow_instances "
        f"FOR EACH ROW WHEN (OLD.status = 'failed') EXECUTE FUNCTION {filled}.keep()",
    )
    code, out, err = run("--finished-before", "29d", "--yes")
    assert (code, out.splitlines()[-1]) == (0, f"schema {filled}: 2 instances deleted")
    assert err.startswith("prune found 4 instances and deleted 2 of them: ")
    assert err.count("\n") == 1


def test_a_count_of_many_may_be_given_more_time_or_less(run: Run, dsn: str, filled: str) -> None:
    lock = f"LOCK TABLE {filled}.workflow_instances IN ACCESS EXCLUSIVE MODE"
    with psycopg.connect(dsn) as holder:
        holder.execute(lock.encode())
        code, out, err = run("--finished-before", "1d", "--yes", "--timeout", "0.3")
    assert (code, out) == (2, "")
    assert "did not end within 0.3 s" in err


def test_a_moment_that_is_none_is_refused(run: Run) -> None:
    code, out, err = run("--finished-before=soon", "--yes")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1


def test_an_error_is_one_line(run: Run) -> None:
    for arguments in (
        ("--yes",),
        ("--finished-before", "1d", "--batch-size", "0", "--yes"),
        ("--finished-before", "1d", "--yes", "--dsn", "postgresql://u:secret@127.0.0.1:1/none"),
        ("--finished-before", "1d", "--yes", "--schema", "nowhere"),
    ):
        code, out, err = run(*arguments)
        assert (code, out) == (2, "")
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert "secret" not in err
