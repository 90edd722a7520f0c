from __future__ import annotations

import asyncio
import math
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg
import pytest

from hephaestus_pg import (
    Instance,
    InvalidTypeError,
    InvalidValueError,
    LifecycleError,
    Status,
    _sql,
    migrations,
)
from hephaestus_pg.testing import Clock, clock
from tests.testing.conftest import start_moved

if TYPE_CHECKING:
    from hephaestus_pg import AsyncStorage, Claim, Runner

DAY = timedelta(days=1)
QUERIES = {path.stem: path for path in (_sql.root() / "queries").rglob("*.sql")}


async def next_claim(runner: Runner) -> Claim:
    async with asyncio.timeout(30):
        return await anext(runner.claims())


async def fail(claim: Claim) -> None:
    with pytest.raises(ArithmeticError):
        async with claim:
            raise ArithmeticError


async def asked(storage: AsyncStorage, query: str, *arguments: Any) -> Any:
    async with storage.transaction() as transaction:
        return await transaction.connection.fetchval(query, *arguments)


async def owned_by_another(storage: AsyncStorage, id: str, *, lease: int) -> str:
    """Has a runner of a process that will not beat own the instance; gives its token."""
    token = str(uuid4())
    async with storage.transaction() as transaction:
        execute = transaction.connection.execute
        await execute(_sql.statement("register", "public"), token, "other", ["Order"], str(lease))
        await execute(
            "UPDATE workflow_instances SET runner = $1, revision = revision + 1 WHERE id = $2",
            token,
            id,
        )
    return token


# The statements


@pytest.mark.quick
@pytest.mark.parametrize("name", sorted(QUERIES))
def test_every_moment_that_a_statement_reads_is_moved(name: str) -> None:
    text = re.sub(r"--[^\n]*", "", QUERIES[name].read_text(encoding="ascii")).lower()

    assert not re.search(r"\b(current_|local)(time|timestamp|date)\b", text)
    assert not re.search(r"(?<!'pg_catalog)\.(now|\w+_timestamp)\(|\btimeofday\(|'now'", text)
    # One compares it with the start of a backend, which is never moved; one looks for its name.
    assert ("clock_timestamp(" in text) is (name in {"terminate_backend", "migrations_found"})


async def test_claims_read_their_index_up_to_the_moved_moment(moved: AsyncStorage) -> None:
    async with moved.transaction() as transaction:
        execute, fetch = transaction.connection.execute, transaction.connection.fetch
        await execute(
            "SET LOCAL enable_seqscan = off; SET LOCAL plan_cache_mode = force_generic_plan"
        )
        text = _sql.statement("claim", "public", "batched")
        given = (str(uuid4()), ["Order"], "5", "20", "true")
        plan = "\n".join(row[0] for row in await fetch(f"EXPLAIN {text}", *given))

    assert re.search(r"workflow_instances_due_index.*\n.*Index Cond:.*due_at <= \S*timestamp", plan)
    assert "Seq Scan on workflow_instances" not in plan


# Moving it


async def test_now_is_moved_by_as_much(moved: AsyncStorage) -> None:
    moved_clock = Clock(moved)
    before = await moved_clock.now()

    await moved_clock.advance(1.5)
    await moved_clock.advance(DAY)
    after = await moved_clock.now()

    assert before.tzinfo is not None
    assert DAY + timedelta(seconds=1.5) <= after - before < DAY + timedelta(hours=1)


async def test_a_due_time_comes_for_claims_that_wait(moved: AsyncStorage) -> None:
    moved_clock = Clock(moved)
    due = await moved_clock.now() + DAY
    await moved.insert(Instance("order::1", "Order", status=Status.WAITING, due_at=due))

    async with moved.runner(workflows=["Order"]) as runner:
        waiting = asyncio.create_task(next_claim(runner))
        assert await moved.query(due_before=await moved_clock.now()) == []
        await moved_clock.advance(DAY)
        async with await waiting as order:
            assert order.due_at == due
            await moved.update(replace(order, status=Status.COMPLETED))


async def test_the_backoff_after_a_failed_attempt_passes(moved: AsyncStorage) -> None:
    moved_clock = Clock(moved)
    await moved.insert(Instance("order::1", "Order"))

    async with moved.runner(workflows=["Order"], max_attempts=3) as runner:
        await fail(await next_claim(runner))
        assert await runner.claim("order::1") is None
        await moved_clock.advance(2)
        await fail(await next_claim(runner))
        await moved_clock.advance(2)
        assert await runner.claim("order::1") is None
        await moved_clock.advance(2)
        await fail(await next_claim(runner))
        await moved_clock.advance(DAY)
        [stuck] = await moved.stuck()

    assert stuck.reason == "exhausted"
    assert stuck.since == (await moved.get("order::1")).updated_at  # type: ignore[union-attr]


async def test_writes_and_prune_are_of_the_moved_moment(moved: AsyncStorage) -> None:
    moved_clock = Clock(moved)
    await moved.put(Instance("old", "Order", status=Status.COMPLETED))
    await moved_clock.advance(timedelta(days=30))
    new = await moved.put(Instance("new", "Order", status=Status.COMPLETED))

    assert new.updated_at is not None
    assert new.updated_at > datetime.now(UTC) + timedelta(days=29)
    assert await moved.prune(finished_before=await moved_clock.now() - DAY) == 1
    assert await moved.get("old") is None


# Leases


async def test_a_runner_of_this_process_lives_on_and_that_of_another_does_not(
    moved: AsyncStorage,
) -> None:
    moved_clock = Clock(moved)
    await moved.insert(Instance("mine", "Order"))
    await moved.insert(Instance("theirs", "Order", due_at=await moved_clock.now() + DAY))

    async with moved.runner(workflows=["Order"]) as runner, await next_claim(runner) as mine:
        await owned_by_another(moved, "theirs", lease=30)
        waiting = asyncio.create_task(next_claim(runner))
        await moved_clock.advance(2 * DAY)
        async with await waiting as theirs:
            assert theirs.id == "theirs"
        assert [each.token for each in await moved.runners()] == [runner.token]
        await moved.update(replace(mine, current_step="charge"))


async def test_a_lease_that_has_not_ended_by_the_moved_clock_goes_on(moved: AsyncStorage) -> None:
    await moved.insert(Instance("theirs", "Order"))
    token = await owned_by_another(moved, "theirs", lease=300)

    await Clock(moved).advance(200)

    assert [str(each.token) for each in await moved.runners()] == [token]


async def test_a_heartbeat_that_meets_the_step_counts_from_after_it(
    moved: AsyncStorage, moved_dsn: str
) -> None:
    beat = _sql.statement("beat", "public")
    others = [await asyncpg.connect(moved_dsn) for _ in range(2)]
    async with moved.runner(workflows=["Order"]) as runner:
        async with others[0].transaction():
            await others[0].execute("SELECT FROM hephaestus_clock.clock FOR UPDATE")
            moving = asyncio.create_task(Clock(moved).advance(DAY))
            await waits_for_lock(moved, 1)
            beating = asyncio.create_task(others[1].fetch(beat, str(runner.token), "30"))
            await waits_for_lock(moved, 2)
        await moving

        assert await beating != []
        assert [each.token for each in await moved.runners()] == [runner.token]
    for other in others:
        await other.close()


async def waits_for_lock(storage: AsyncStorage, number: int) -> None:
    async with asyncio.timeout(30):
        while number > await asked(
            storage,
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'",
        ):
            await asyncio.sleep(0.005)


async def test_who_waits_for_an_instance_is_told_of_it_still(moved: AsyncStorage) -> None:
    async with moved.transaction() as transaction:
        register = _sql.statement("register", "public")
        await transaction.connection.execute(register, str(uuid4()), "listener", [], "20")

    await Clock(moved).advance(DAY)

    assert await asked(moved, "SELECT bool_and(expires_at > now()) FROM workflow_runners")


async def test_a_runner_of_another_schema_of_this_process_lives_on_too(
    moved: AsyncStorage, moved_dsn: str
) -> None:
    await migrations.up(moved_dsn, schema="tenant")
    async with (
        start_moved(moved_dsn, schema="tenant") as tenant,
        tenant.runner(workflows=["Order"]) as runner,
    ):
        await Clock(moved).advance(DAY)
        assert [each.token for each in await tenant.runners()] == [runner.token]


async def test_back_at_the_machines_time_a_runner_lives_on_for_its_lease(
    moved: AsyncStorage,
) -> None:
    moved_clock = Clock(moved)
    async with moved.runner(workflows=["Order"], lease=60):
        await moved_clock.advance(DAY)
        await moved_clock.reset()
        [info] = await moved.runners()

        assert info.expires_at - await moved_clock.now() <= timedelta(seconds=60)
    assert abs(await moved_clock.now() - datetime.now(UTC)) < timedelta(hours=1)


async def test_a_storage_of_another_database_is_left_alone(
    moved: AsyncStorage, storage: AsyncStorage
) -> None:
    async with storage.runner(workflows=["Order"]) as runner:
        await Clock(moved).advance(DAY)
        assert [each.token for each in await storage.runners()] == [runner.token]


# What is not moved


@pytest.mark.parametrize("step", (-1, -0.5, math.nan, math.inf, 1e12, timedelta(days=-1)))
async def test_a_step_that_is_none_is_refused(moved: AsyncStorage, step: Any) -> None:
    with pytest.raises(InvalidValueError, match="seconds is .*forward only"):
        await Clock(moved).advance(step)


@pytest.mark.parametrize("step", (True, "1", None, datetime.now(UTC)))
async def test_a_step_of_the_wrong_type_is_refused(moved: AsyncStorage, step: Any) -> None:
    with pytest.raises(InvalidTypeError, match="seconds is .*timedelta"):
        await Clock(moved).advance(step)


@pytest.mark.quick
def test_a_clock_is_that_of_a_storage() -> None:
    with pytest.raises(InvalidTypeError, match="give a started storage"):
        Clock("postgresql://")  # type: ignore[arg-type]


async def test_a_clock_that_is_not_installed_says_how_to_install_it(storage: AsyncStorage) -> None:
    for call in (Clock(storage).now(), Clock(storage).advance(1), Clock(storage).reset()):
        with pytest.raises(LifecycleError, match=r"run `await clock\.install\(connection\)`"):
            await call


async def test_sessions_that_do_not_see_it_are_not_taken_for_moved(moved_dsn: str) -> None:
    async with start_moved(moved_dsn, server_settings={"search_path": "public"}) as elsewhere:
        with pytest.raises(LifecycleError, match="end that with hephaestus_clock, pg_catalog"):
            await Clock(elsewhere).advance(1)


async def test_only_a_connection_of_asyncpg_installs_it() -> None:
    with pytest.raises(InvalidTypeError, match="give a connection of asyncpg"):
        await clock.install("postgresql://")  # type: ignore[arg-type]


async def test_the_path_of_the_role_stays_before_it(moved: AsyncStorage, database: str) -> None:
    role = f"role_{uuid4().hex[:8]}"
    owner = await asyncpg.connect(database)
    name = await owner.fetchval("SELECT current_database()")
    await owner.execute(
        f"CREATE ROLE {role} LOGIN PASSWORD 'secret'; GRANT CREATE ON DATABASE {name} TO {role};"
        f"ALTER ROLE {role} SET search_path = app, pg_catalog"
    )
    try:
        first = await asyncpg.connect(database, user=role, password="secret")
        await first.execute("CREATE SCHEMA app")
        await clock.install(first)
        await clock.install(first)
        await first.close()
        second = await asyncpg.connect(database, user=role, password="secret")
        assert await second.fetchval("SHOW search_path") == "app, hephaestus_clock, pg_catalog"
        await second.execute("CREATE TABLE mine (at timestamptz DEFAULT now())")
        assert await second.fetchval("SELECT to_regclass('app.mine') IS NOT NULL")
        await second.close()
    finally:
        await owner.execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")
        await owner.close()


async def test_a_schema_that_is_migrated_under_it_is_as_any_other(
    moved: AsyncStorage, moved_dsn: str
) -> None:
    await Clock(moved).advance(DAY)
    await migrations.up(moved_dsn, schema="later")

    assert (await migrations.status(moved_dsn, schema="later")).differences == ()
    async with start_moved(moved_dsn, schema="later") as later:
        held = await later.insert(Instance("x", "Order"))
        assert held.revision is not None
        assert held.revision < (datetime.now(UTC) + DAY / 2).timestamp() * 1_000_000
