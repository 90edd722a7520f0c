"""PgBouncer itself, in transaction mode, before a real server: Debian's package ``pgbouncer``.

It has fewer connections than we have callers, so that each statement may come to another session.
Every verb works there. What needs a session are migrations, which hold a lock: those are refused,
and go to the server itself.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import asyncpg
import pytest

from hephaestus_pg import (
    AsyncStorage,
    ConnectionLostError,
    Context,
    Instance,
    InstanceExistsError,
    InvalidValueError,
    MigrationError,
    RejectedError,
    StaleInstanceError,
    Status,
    migrations,
)
from hephaestus_pg.__main__ import main
from hephaestus_pg.driver import errors
from tests.support.catalog import WAIT_SECONDS
from tests.support.commands import ran
from tests.support.embedded import wait_until_gone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from tests.support.commands import Run
    from tests.support.databases import Owner
    from tests.support.starting import Start

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="pgbouncer is not installed: apt-get install pgbouncer"
)

LOCKS = """
    SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
SESSIONS = 3
CALLERS = 30
CONFIGURATION = """
[databases]
{name} = host={host} port={port} user={user}{password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {sessions}
max_client_conn = 200
{statements}
"""


class Bouncer(NamedTuple):
    dsn: str
    process: subprocess.Popen[bytes]
    log: Path


@pytest.fixture
def bouncer(started: Bouncer) -> str:
    """The DSN of the shared database by way of a PgBouncer of this test's own."""
    return started.dsn


@pytest.fixture
def started(dsn: str) -> Iterator[Bouncer]:
    with running(dsn) as bouncer:
        yield bouncer


@contextmanager
def running(dsn: str) -> Iterator[Bouncer]:
    """A PgBouncer before that database; it ends with the block, or with this process."""
    assert PROGRAM is not None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        own = probe.getsockname()[1]
    parts = urlsplit(dsn)
    with TemporaryDirectory(prefix="hephaestus_pg-") as folder:
        file = Path(folder) / "pgbouncer.ini"
        file.write_text(
            CONFIGURATION.format(
                own=own,
                statements=_no_statements(PROGRAM),
                name=parts.path[1:],
                sessions=SESSIONS,
                host=parts.hostname,
                port=parts.port or 5432,
                user=parts.username,
                password=f" password={parts.password}" if parts.password else "",
            )
        )
        account: dict[str, Any] = {}
        if os.geteuid() == 0:  # as whom it refuses to run
            nobody = pwd.getpwnam("nobody")
            account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            for path in (file.parent, file):
                os.chown(path, nobody.pw_uid, nobody.pw_gid)
        log = Path(folder) / "log"
        with log.open("w") as said:
            process = subprocess.Popen(
                [PROGRAM, file], cwd=folder, stdout=said, stderr=said, **account
            )
        # Should this process be killed, the kernel closes the pipe to the one who reads it.
        guard = subprocess.Popen(
            ["/bin/sh", "-c", 'read -r _; kill -KILL "$0"; rm -rf "$1"', str(process.pid), folder],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            _await_listening(process, own, log)
            reached = parts._replace(netloc=f"{parts.username}@127.0.0.1:{own}").geturl()
            yield Bouncer(reached, process, log)
        finally:
            guard.kill()
            guard.communicate()
            process.kill()
            process.wait()


def _no_statements(program: str) -> str:
    """The setting with which one from 1.21 on keeps no prepared statements, as none did before."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    version = [int(part) for part in said.split()[1].split(".")]
    return "max_prepared_statements = 0" if version >= [1, 21] else ""


def _await_listening(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"PgBouncer does not listen: {log.read_text()}")
            time.sleep(0.01)
        else:
            return


KILLED = """
import os, signal, sys
from tests.system.test_pgbouncer import running

with running(sys.argv[1]) as bouncer:
    print(bouncer.process.pid, bouncer.log.parent, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_it_does_not_outlive_its_tests(dsn: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, dsn],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    pid, folder = done.stdout.split()
    wait_until_gone(int(pid), Path(folder))


@pytest.fixture(params=[True, False], ids=["batching", "one by one"])
async def pooled(
    request: pytest.FixtureRequest, bouncer: str, start: Start
) -> AsyncIterator[AsyncStorage]:
    async with start(
        bouncer, pgbouncer=True, batching=request.param, max_size=4 * SESSIONS, timeout=WAIT_SECONDS
    ) as storage:
        yield storage


async def test_every_verb_works_for_many_callers_on_few_sessions(pooled: AsyncStorage) -> None:
    async def live(caller: int) -> None:
        ids = [f"x::{caller}::{half}" for half in "ab"]
        new = Instance(ids[0], f"W.{caller}", context=Context({"caller": caller}))
        inserted = await pooled.insert(new)
        with pytest.raises(InstanceExistsError):
            await pooled.insert(new)
        updated = await pooled.update(replace(inserted, status=Status.RUNNING))
        with pytest.raises(StaleInstanceError):
            await pooled.update(inserted)
        assert await pooled.get(ids[0]) == updated
        put = await pooled.put(replace(updated, current_step="Step"))
        both = await pooled.put_many([put, replace(put, id=ids[1])])
        assert await pooled.get_many(ids) == dict(zip(ids, both, strict=True))
        assert await pooled.query(workflow=f"W.{caller}", order_by="id") == both
        assert await pooled.query(contains={"context": {"initial": {"caller": caller}}}, limit=1)
        assert [each async for each in pooled.stream(workflow=f"W.{caller}")] == both
        assert await pooled.count(workflow_family=f"W.{caller}", status="running") >= 2
        async with pooled.transaction() as transaction:
            await transaction.put(replace(put, status=Status.COMPLETED))
        with pytest.raises(ZeroDivisionError):
            async with pooled.transaction() as transaction:
                await transaction.delete_many(ids)
                1 / 0  # noqa: B018
        async with pooled.transaction() as transaction:
            mine = pooled.using(transaction.connection)
            assert (await mine.get_many(ids)).keys() == set(ids)
        again = await pooled.insert(new, replace_finished=True)
        assert await pooled.delete(ids[0], revision=again.revision)
        assert await pooled.delete_many(ids) == {ids[1]}

    async with asyncio.TaskGroup() as group:
        for caller in range(CALLERS):
            group.create_task(live(caller))
    assert await pooled.count() == 0
    later = datetime.now(UTC) + timedelta(days=1)
    assert await pooled.prune(finished_before=later) == 0
    assert await pooled.migrated_version() == migrations.LATEST


async def test_a_caller_who_gives_up_leaves_the_session_to_others(
    pooled: AsyncStorage, started: Bouncer
) -> None:
    for number in range(50):
        calls = [asyncio.create_task(pooled.put(Instance(f"x::{n}", "W"))) for n in range(10)]
        await asyncio.sleep(0.0005 * (number % 5))
        for task in calls[::2]:
            task.cancel()
        results = await asyncio.gather(*calls, return_exceptions=True)
        if started.process.poll() is not None:
            # A cancel request may end PgBouncer 1.18 itself: pgbouncer/pgbouncer#801.
            assert "bad client state" in started.log.read_text()
            pytest.skip("this PgBouncer ended itself: pgbouncer/pgbouncer#801")
        assert all(isinstance(each, (Instance, asyncio.CancelledError)) for each in results)
        assert all(isinstance(each, Instance) for each in results[1::2])


async def test_a_write_that_may_have_been_applied_is_not_tried_again(
    pooled: AsyncStorage, pool: asyncpg.Pool[asyncpg.Record]
) -> None:
    """PgBouncer makes up the process id that a client sees: no process may be ended for it."""
    async with pool.acquire() as other, other.transaction():
        await other.execute(f"LOCK {pooled.schema}.workflow_instances")
        put = asyncio.create_task(pooled.put(Instance("x", "W")))
        async with asyncio.timeout(WAIT_SECONDS):
            while not await pool.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE NOT granted"
                " AND relation = $1::text::regclass",
                f"{pooled.schema}.workflow_instances",
            ):
                await asyncio.sleep(0.01)
        with pytest.raises(ConnectionLostError) as caught:
            await put
    assert caught.value.applied == "unknown"
    assert not caught.value.retryable
    assert await pooled.get("x") is None


async def test_migrations_are_refused_and_leave_nothing_in_a_shared_session(
    bouncer: str, schema: str, migrated: str, pool: asyncpg.Pool[asyncpg.Record]
) -> None:
    connection = await asyncpg.connect(bouncer, statement_cache_size=0)
    try:
        changes: tuple[Callable[[], Awaitable[object]], ...] = (
            lambda: migrations.up(bouncer, schema=schema),
            lambda: migrations.up(connection=connection, schema=schema),
            lambda: migrations.down(bouncer, schema=schema, version=0),
            lambda: migrations.index(bouncer, schema=schema, profile="none"),
        )
        for change in changes:
            with pytest.raises(MigrationError, match="connect to the server itself") as caught:
                await change()
            assert caught.value.schema == schema
    finally:
        await connection.close()
    # What only reads needs no session of its own.
    assert await migrations.migrated_version(bouncer, schema=schema) == migrations.LATEST
    assert await pool.fetchval(LOCKS) == 0


class TestCommands:
    @pytest.fixture
    def command(self, bouncer: str, migrated: str, capsys: pytest.CaptureFixture[str]) -> Run:
        def command(*arguments: str) -> tuple[int, str, str]:
            return ran(main, capsys, *arguments, "--dsn", bouncer, "--schema", migrated)

        return command

    def test_they_say_what_to_type_without_the_flag(self, command: Run) -> None:
        code, _, err = command("stats")
        assert (code, "or --pgbouncer" in err) == (2, True)

    @pytest.mark.parametrize("name", ("list", "stats", "stuck", "show x", "runners"))
    def test_they_look_from_behind_it(self, command: Run, name: str) -> None:
        code, _, err = command(*name.split(), "--pgbouncer")
        assert (code, "error" in err) == (1, False)

    def test_they_release_and_prune(self, command: Run, owner: Owner, migrated: str) -> None:
        owner.execute(
            f"INSERT INTO {migrated}.workflow_instances "
            "(id, workflow, status, inserted_at, updated_at, attempts) VALUES "
            "('a', 'Order', 'running', '2026-01-01', '2026-01-01', 3), "
            "('b', 'Order', 'failed', '2026-01-01', '2026-01-01', 0)"
        )
        assert command("release", "a", "--yes", "--pgbouncer")[0] == 0
        done = command("prune", "--finished-before", "0s", "--yes", "--pgbouncer")
        assert (done[0], "1 instance deleted" in done[1]) == (0, True)

    def test_they_serve_the_page(self, bouncer: str, migrated: str) -> None:
        pytest.importorskip("jinja2", reason="the group test is not installed")
        from tests.web.test_command import served, status

        with served("--dsn", bouncer, "--schema", migrated, "--pgbouncer") as (url, _):
            for path in ("", "instances"):
                assert status(url + path) == 200


class TestWithoutTheFlag:
    async def test_a_start_says_what_to_type(self, bouncer: str) -> None:
        with pytest.raises(RejectedError, match=r"start with pgbouncer=True") as caught:
            await AsyncStorage.start(bouncer)
        assert not caught.value.retryable

    async def test_a_pool_that_prepares_statements_says_it(
        self, bouncer: str, start: Start
    ) -> None:
        async with asyncpg.create_pool(bouncer, min_size=0, max_size=8) as theirs:
            storage = await start(pool=theirs, batching=False)
            try:
                with pytest.raises(RejectedError, match=r"pgbouncer=True.*statement_cache_size=0"):
                    async with asyncio.timeout(30):
                        while True:
                            await asyncio.gather(*(storage.get(f"x::{n}") for n in range(20)))
            finally:
                await storage.close()

    async def test_two_processes_whose_statements_have_one_name(self, bouncer: str) -> None:
        """As asyncpg names them in each: 42P05."""
        error = asyncpg.DuplicatePreparedStatementError(
            'prepared statement "__asyncpg_stmt_1__" already exists'
        )
        assert "pgbouncer=True" in str(errors.translate(error))


class TestParameters:
    async def test_a_setting_that_it_does_not_take_is_named(self, bouncer: str) -> None:
        with pytest.raises(InvalidValueError, match="^statement_timeout is '5s'.*ALTER ROLE"):
            await AsyncStorage.start(f"{bouncer}?statement_timeout=5s", pgbouncer=True)

    async def test_a_parameter_that_nobody_knows_is_named(self, bouncer: str) -> None:
        with pytest.raises(InvalidValueError, match="^sslmod is .*did you mean sslmode"):
            await AsyncStorage.start(f"{bouncer}?sslmod=require", pgbouncer=True)

    async def test_what_libpq_knows_is_taken(self, bouncer: str, start: Start) -> None:
        query = (
            "connect_timeout=5&keepalives=1&gssencmode=disable&application_name=x&sslmode=prefer"
        )
        async with start(f"{bouncer}?{query}", pgbouncer=True) as storage:
            assert await storage.count() == 0

    async def test_a_database_that_it_does_not_have(self, bouncer: str) -> None:
        other = urlsplit(bouncer)._replace(path="/nope").geturl()
        with pytest.raises(RejectedError, match=r"under \[databases\]") as caught:
            await AsyncStorage.start(other, pgbouncer=True)
        assert not caught.value.retryable
