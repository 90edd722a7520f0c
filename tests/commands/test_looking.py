"""What the commands that look have in common."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import Mock
from uuid import uuid4

import psycopg
import pytest

import hephaestus_pg
from hephaestus_pg import (
    Context,
    ExecutionEntry,
    Instance,
    Status,
    UnavailableError,
    migrations,
)
from tests.support.catalog import WAIT_SECONDS
from tests.support.instances import order

if TYPE_CHECKING:
    from collections.abc import Callable

    from hephaestus_pg import AsyncStorage
    from tests.commands.conftest import Do
    from tests.support.commands import Run

pytestmark = pytest.mark.once

LOOKS = (["list"], ["stats"], ["stuck", "--older-than", "0s"], ["show", "order::1"])
BEGAN = datetime(2026, 1, 31, 12, tzinfo=UTC)
CODE = Path(hephaestus_pg.__file__).parents[1]


def process(
    dsn: str, schema: str | None, *arguments: str, **environment: str
) -> subprocess.Popen[bytes]:
    where = ["--schema", schema] if schema else []
    return subprocess.Popen(
        [sys.executable, "-m", "hephaestus_pg", *arguments, *where],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "HEPHAESTUS_PG_DSN": dsn, **environment},
        cwd=CODE,
        # A shell's background jobs, such as these tests may be, have it ignored.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )


@pytest.fixture
def tenants(database: str) -> str:
    """A database of two tenants with an instance each, and a third whose schema is too old."""
    with psycopg.connect(database, autocommit=True) as connection:
        for schema in ("acme", "globex"):
            connection.execute(f"CREATE SCHEMA {schema}".encode())
            connection.execute(migrations.sql("up", schema=schema).encode())
            connection.execute(
                f"INSERT INTO {schema}.workflow_instances (id, workflow, inserted_at, updated_at) "
                "SELECT 'order::1', 'Order', yesterday, yesterday "
                "FROM (SELECT now() - interval '1 day' AS yesterday) AS given".encode()
            )
        connection.execute(b'CREATE SCHEMA initech; CREATE SCHEMA "Odd Name"')
        connection.execute(b'CREATE TABLE "Odd Name".workflow_instances ()')
    return database


@pytest.mark.parametrize("arguments", LOOKS, ids=lambda each: each[0])
def test_all_schemas_are_told_apart(run: Run, tenants: str, arguments: list[str]) -> None:
    given = [*arguments, "--all-schemas", "--dsn", tenants]
    code, out, err = run(*given, where=None)
    assert (code, err) == (0, "")
    assert out.count("acme") == out.count("globex") == (2 if arguments == ["stats"] else 1)
    if arguments[0] == "show":
        assert [block.split()[:2] for block in out.split("\n\n")] == [
            ["schema", "acme"],
            ["schema", "globex"],
        ]
    rows = [json.loads(line) for line in run(*given, "--json", where=None)[1].splitlines()]
    assert [row["schema"] for row in rows] == ["acme", "globex"]


def test_a_schema_that_cannot_be_looked_at_does_not_hide_the_others(run: Run, tenants: str) -> None:
    asyncio.run(migrations.up(tenants, schema="initech", version=3))
    code, out, err = run("list", "--all-schemas", "--dsn", tenants, where=None)
    assert code == 2
    assert out.count("order::1") == 2
    assert err == (
        "error: schema initech: schema 'initech' is at version 3, version 6 is needed; run: "
        "python -m hephaestus_pg.migrate up --schema initech\n"
    )


def test_a_schema_that_the_role_may_not_read_is_named(run: Run, tenants: str) -> None:
    role = f"role_{uuid4().hex[:12]}"
    with psycopg.connect(tenants, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role}; GRANT USAGE ON SCHEMA acme TO {role}".encode())
        connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA acme TO {role}".encode())
        as_role = f"{tenants}?options=-c%20role%3D{role}"
        code, out, err = run("list", "--all-schemas", "--dsn", as_role, where=None)
        connection.execute(f"REVOKE ALL ON SCHEMA acme FROM {role}".encode())
        without = run("stuck", "--all-schemas", "--dsn", as_role, where=None)
        connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())
    assert (code, out.count("order::1")) == (0, 1)
    assert err == "left out, as this role may not read it: globex\n"
    problem = "this role may read the table workflow_instances in none of acme, globex"
    assert without == (2, "", f"error: {problem}; look at --dsn\n")


def test_a_server_that_has_gone_is_said_once_and_not_of_each_schema(
    run: Run, tenants: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = Mock(side_effect=UnavailableError("no connection", applied="no", retryable=True))
    monkeypatch.setattr("hephaestus_pg.commands.looking.started", gone)
    found = run("list", "--all-schemas", "--dsn", tenants, where=None)
    assert found == (2, "", "error: no connection\n")


def test_each_look_of_a_watch_is_at_the_schemas_that_there_are_then(tenants: str) -> None:
    asyncio.run(migrations.up(tenants, schema="initech", version=3))
    watching = process(tenants, None, "stats", "--all-schemas", "--json", "--watch", "0.1")
    assert watching.stdout
    assert watching.stderr
    for _ in range(2):  # in each look, as a terminal is drawn over
        assert watching.stderr.readline().startswith(b"error: schema initech: ")
    asyncio.run(migrations.up(tenants, schema="initech"))
    with psycopg.connect(tenants, autocommit=True) as connection:
        connection.execute(
            b"INSERT INTO initech.workflow_instances (id, workflow, inserted_at, updated_at) "
            b"VALUES ('order::1', 'Order', now(), now()); DROP SCHEMA acme CASCADE"
        )
    seen = ""
    while seen != "initech":
        seen = json.loads(watching.stdout.readline())["schema"]
    rest = {json.loads(watching.stdout.readline())["schema"] for _ in range(4)}
    watching.send_signal(signal.SIGINT)
    watching.communicate(timeout=WAIT_SECONDS)
    assert rest == {"globex", "initech"}


def test_a_corrupt_row_in_one_schema_does_not_hide_the_others(run: Run, tenants: str) -> None:
    with psycopg.connect(tenants, autocommit=True) as connection:
        connection.execute(b"UPDATE acme.workflow_instances SET status = 'odd'")
    code, out, err = run("show", "order::1", "--all-schemas", "--dsn", tenants, where=None)
    assert code == 2
    assert "globex" in out
    assert err.startswith("error: schema acme: instance 'order::1' cannot be read: ")


def test_a_database_without_a_table_is_not_one_in_which_nothing_is_stuck(
    run: Run, database: str
) -> None:
    found = run("stuck", "--all-schemas", "--dsn", database, where=None)
    error = "error: no schema has a table workflow_instances; look at --dsn\n"
    assert found == (2, "", error)


HOSTILE = "x\x1b[2J\x1b]0;title\x07\x9b31m\u202egpj.exe\u2066\r\n\t\x7f\u2028"


@pytest.fixture
def hostile(do: Do) -> None:
    entry = ExecutionEntry(HOSTILE, HOSTILE, BEGAN, {HOSTILE: {HOSTILE: HOSTILE}})
    instance = Instance(
        HOSTILE,
        HOSTILE,
        status=Status.RUNNING,
        current_step=HOSTILE,
        context=Context({HOSTILE: {"x": 1}}),
        active_steps=frozenset({HOSTILE}),
        completed_steps=frozenset({HOSTILE}),
        execution_history=(entry, entry),
    )

    async def fill(storage: AsyncStorage) -> None:
        await storage.put_many([instance, order("y")])

    do(fill)


@pytest.mark.quick
@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize("form", ("pipe", "terminal", "json"))
def test_hostile_texts_do_not_reach_the_terminal(
    run: Run, terminal: Callable[[int], None], form: str
) -> None:
    missing = ["show", HOSTILE * 2]
    for arguments in (*LOOKS[:3], ["show", HOSTILE, "--diff"], ["list", "--limit", "1"], missing):
        if form == "terminal":
            terminal(80)
        code, out, err = run(*arguments, *(["--json"] if form == "json" else []))
        assert code == int(arguments is missing)
        assert out or code
        # Nothing but lines of printable characters, and our own colours.
        plain = re.sub(r"\x1b\[(?:0|1|3[123])m", "", out) if form == "terminal" else out
        assert [line for line in (plain + err).split("\n") if not line.isprintable()] == []
        assert (plain + err).count("\n") <= 20


def test_watching_prints_block_after_block_into_a_pipe_until_ctrl_c(
    do: Do, dsn: str, migrated: str
) -> None:
    do(lambda storage: storage.put(order("order::1")))
    watching = process(dsn, migrated, "list", "--watch", "0.1")
    assert watching.stdout
    lines = [watching.stdout.readline().decode() for _ in range(8)]
    watching.send_signal(signal.SIGINT)
    _, err = watching.communicate(timeout=WAIT_SECONDS)
    assert (watching.returncode, err) == (130, b"interrupted\n")
    for first in (0, 4):
        title, head, row, end = lines[first : first + 4]
        assert title.startswith(f"schema {migrated}, every 0.1s: 2")
        assert head.split()[0] == "id"
        assert row.startswith("order::1  Order  ")
        assert end == "\n"


def test_watching_as_json_is_an_object_a_line(do: Do, dsn: str, migrated: str) -> None:
    do(lambda storage: storage.put(order("order::1")))
    watching = process(dsn, migrated, "list", "--watch", "0.1", "--json")
    assert watching.stdout
    first, second = (watching.stdout.readline().decode() for _ in range(2))
    watching.send_signal(signal.SIGINT)
    watching.communicate(timeout=WAIT_SECONDS)
    assert json.loads(first)["id"] == json.loads(second)["id"] == "order::1"


def test_a_reader_that_goes_is_no_error(do: Do, dsn: str, migrated: str) -> None:
    do(lambda storage: storage.put_many(order(f"order::{'x' * 200}{n}") for n in range(2000)))
    listing = process(dsn, migrated, "list", "--limit", "0")
    assert listing.stdout
    listing.stdout.readline()
    listing.stdout.close()
    listing.stdout = None
    _, err = listing.communicate(timeout=WAIT_SECONDS)
    assert (listing.returncode, err) == (141, b"")


@pytest.mark.parametrize("encoding", ("ascii", "latin-1"))
def test_a_locale_that_lacks_letters_gets_them_escaped(
    do: Do, dsn: str, migrated: str, encoding: str
) -> None:
    do(lambda storage: storage.put(order("order::\N{SMILING FACE WITH SUNGLASSES}é")))
    listing = process(dsn, migrated, "list", PYTHONIOENCODING=encoding, LANG="C", LC_ALL="C")
    out, err = listing.communicate(timeout=WAIT_SECONDS)
    assert (listing.returncode, err) == (0, b"")
    row = out.decode(encoding).splitlines()[1]
    accent = "é" if encoding == "latin-1" else r"\xe9"
    assert row.startswith(rf"order::\U0001f60e{accent}  Order     pending")


def test_a_terminal_that_lacks_the_ellipsis_gets_dots(
    run: Run,
    do: Do,
    terminal: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    do(lambda storage: storage.put(order(f"order::{'x' * 200}é")))
    terminal(60)
    sys.stdout.reconfigure(encoding="ascii")  # type: ignore[union-attr]
    code, out, _ = run("list")
    assert code == 0
    assert r"order::x...xxxx\xe9  Order " in out
    assert out.isascii()
