from __future__ import annotations

import re
import shutil
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
import pytest

from hephaestus_pg import migrations
from hephaestus_pg.errors import InvalidTypeError, InvalidValueError
from hephaestus_pg.migrations.scripts import alembic_revision, numbered_files
from tests.support.catalog import assert_is_at, snapshot

if TYPE_CHECKING:
    from pathlib import Path


def run(dsn: str, script: str, *, with_psql: bool) -> None:
    if with_psql:
        command = ["psql", "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", dsn]
        subprocess.run(command, input=script, text=True, check=True, capture_output=True)
    else:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(script.encode())


@pytest.fixture(params=["psql", "driver"])
def with_psql(request: pytest.FixtureRequest) -> bool:
    if request.param == "psql" and not shutil.which("psql"):
        pytest.skip("psql is not installed")
    return bool(request.param == "psql")


async def test_the_script_makes_the_same_schema_as_the_engine(
    database: str, *, with_psql: bool
) -> None:
    await migrations.up(database, schema="engine")
    run(database, migrations.sql("up", schema="script"), with_psql=with_psql)
    assert await snapshot(database, "script") == await snapshot(database, "engine")
    status = await migrations.status(database, schema="script")
    assert {each.state for each in status.migrations} == {"applied"}
    assert (await migrations.up(database, schema="script")).steps == ()
    run(database, migrations.sql("up", schema="script"), with_psql=with_psql)
    assert await snapshot(database, "script") == await snapshot(database, "engine")


async def test_every_version_has_a_script_up_and_down(
    dsn: str, schema: str, *, with_psql: bool
) -> None:
    for version in range(1, migrations.LATEST + 1):
        up = migrations.sql("up", schema=schema, version=version, from_version=version - 1)
        run(dsn, up, with_psql=with_psql)
        await assert_is_at(dsn, schema, version)
        assert await migrations.migrated_version(dsn, schema=schema) == version
    for version in reversed(range(migrations.LATEST)):
        run(dsn, migrations.sql("down", schema=schema, version=version), with_psql=with_psql)
        await assert_is_at(dsn, schema, version)
        assert await migrations.migrated_version(dsn, schema=schema) == version
    assert (await snapshot(dsn, schema))["others"] == [("comment", None)]


async def test_a_script_has_the_guards_and_is_all_or_nothing(dsn: str, migrated: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(
        f"INSERT INTO {migrated}.workflow_instances (id, workflow, inserted_at, updated_at)"
        " VALUES ('order::1', 'Order', now(), now())"
    )
    with pytest.raises(asyncpg.PostgresError, match="would lose the instances") as caught:
        await connection.execute(migrations.sql("down", schema=migrated, version=0))
    assert caught.value.hint == "--allow-row-loss"
    await connection.execute("ROLLBACK")
    await assert_is_at(dsn, migrated, migrations.LATEST)
    allowed = migrations.sql("down", schema=migrated, version=0, allow=["row_loss"])
    await connection.execute(allowed)
    await assert_is_at(dsn, migrated, 0)
    await connection.close()


async def test_a_script_down_keeps_ectos_comment(
    database: str,
) -> None:
    connection = await asyncpg.connect(database)
    await connection.execute(migrations.sql("up", version=3))
    await connection.execute("DROP TABLE hephaestus_pg_migrations")
    await connection.execute("COMMENT ON TABLE workflow_instances IS '3'")
    await connection.execute(migrations.sql("down", version=2))
    assert await migrations.migrated_version(database) == 2
    await connection.execute(migrations.sql("up", version=3, from_version=2))
    status = await migrations.status(database)
    assert [each.state for each in status.migrations] == ["applied"] * 3 + ["pending"] * 3
    await connection.close()


def test_wrong_arguments_of_a_script_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="give 'up' or 'down'"):
        migrations.sql("sideways")  # type: ignore[arg-type]
    with pytest.raises(InvalidTypeError, match="version is None"):
        migrations.sql("down")
    with pytest.raises(InvalidValueError, match="allow is"):
        migrations.sql("down", version=0, allow=["everything"])
    with pytest.raises(InvalidTypeError, match="allow is 'row_loss': give a list of losses"):
        migrations.sql("down", version=0, allow="row_loss")
    with pytest.raises(InvalidValueError, match="schema is"):
        migrations.sql("up", schema='a"; DROP SCHEMA b; --')


def test_a_script_that_would_go_the_other_way_is_refused() -> None:
    """It would do nothing, and say nothing of it."""
    above = "^from_version is 5: up to version 3 begins at 3 or below"
    for write in (partial(migrations.sql, "up"), numbered_files, alembic_revision):
        with pytest.raises(InvalidValueError, match=above):
            write(from_version=5, version=3)
    with pytest.raises(InvalidValueError, match="^from_version is 2: down to version 4 begins at"):
        migrations.sql("down", from_version=2, version=4)
    assert numbered_files(from_version=3, version=3) == {}


async def test_numbered_files_in_order_make_the_same_schema_as_the_engine(database: str) -> None:
    await migrations.up(database, schema="engine")
    files = numbered_files(schema="files")
    assert list(files)[:2] == [
        "001_create_workflow_instances.up.sql",
        "001_create_workflow_instances.down.sql",
    ]
    with psycopg.connect(database) as connection:
        for name in (name for name in files if name.endswith(".up.sql")):
            connection.execute(files[name].encode())
            connection.commit()
        assert await snapshot(database, "engine") == await snapshot(database, "files")
        assert not (await migrations.status(database, schema="files")).pending
        for name in reversed([name for name in files if name.endswith(".down.sql")]):
            connection.execute(files[name].encode())
            connection.commit()
    assert (await snapshot(database, "files"))["others"] == [("comment", None)]
    assert list(numbered_files(version=4, from_version=3)) == [
        "004_add_revision.up.sql",
        "004_add_revision.down.sql",
    ]


ALEMBIC_INI = """
[alembic]
script_location = .
path_separator = os
sqlalchemy.url = {url}
"""
ALEMBIC_ENV = """
from alembic import context
from sqlalchemy import create_engine

url = context.config.get_main_option("sqlalchemy.url")
if context.is_offline_mode():
    context.configure(url=url, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    with create_engine(url).connect() as connection:
        context.configure(connection=connection)
        with context.begin_transaction():
            context.run_migrations()
"""


@pytest.fixture
def project(tmp_path: Path, database: str) -> Any:
    """A host application's Alembic project with one revision of its own; runs its command."""
    url = database.replace("postgresql://", "postgresql+psycopg://")
    versions = tmp_path / "versions"
    versions.mkdir()
    (tmp_path / "alembic.ini").write_text(ALEMBIC_INI.format(url=url))
    (tmp_path / "env.py").write_text(ALEMBIC_ENV)
    (versions / "host.py").write_text(
        'revision, down_revision = "host", None\ndef upgrade(): ...\ndef downgrade(): ...\n'
    )

    def alembic(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "alembic", *arguments],
            cwd=tmp_path,
            check=False,
            capture_output=True,
            text=True,
        )
        assert not done.returncode, done.stderr
        return done.stdout

    return versions, alembic


@pytest.mark.once
async def test_alembic_runs_the_revision_up_and_down(database: str, project: Any) -> None:
    versions, alembic = project
    await migrations.up(database, schema="engine")
    first, text = alembic_revision(schema="tenant", version=3, down_revision="host")
    (versions / first).write_text(text)
    second, text = alembic_revision(
        schema="tenant", from_version=3, down_revision=first.split("_")[0]
    )
    (versions / second).write_text(text)
    assert first != second

    alembic("upgrade", "head")
    assert await snapshot(database, "tenant") == await snapshot(database, "engine")
    assert not (await migrations.status(database, schema="tenant")).pending
    alembic("downgrade", "-1")
    await assert_is_at(database, "tenant", 3)
    assert await migrations.migrated_version(database, schema="tenant") == 3
    alembic("downgrade", "host")
    assert (await snapshot(database, "tenant"))["others"] == [("comment", None)]
    alembic("upgrade", "head")
    await assert_is_at(database, "tenant", migrations.LATEST)


@pytest.mark.once
async def test_alembic_prints_the_revision_without_a_connection(
    database: str, project: Any
) -> None:
    versions, alembic = project
    name, text = alembic_revision(schema="tenant", down_revision="host")
    (versions / name).write_text(text)
    run(database, alembic("upgrade", "head", "--sql"), with_psql=False)
    await assert_is_at(database, "tenant", migrations.LATEST)


def test_no_script_has_a_character_that_other_tools_take_for_their_own() -> None:
    # Drivers double %, and SQLAlchemy takes :name for a parameter.
    for direction in ("up", "down"):
        script = migrations.sql(direction, version=0 if direction == "down" else None)
        assert "%" not in script
        assert not re.search(r"(?<!:):\w", script.replace("::", ""))


def test_the_same_versions_give_the_same_revision() -> None:
    assert alembic_revision(schema="a") == alembic_revision(schema="a")
    assert alembic_revision(schema="a")[0] != alembic_revision(schema="b")[0]
