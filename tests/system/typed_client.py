"""A client that uses every public name, for test_typing.py; it is checked, and never run."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import assert_type

import hephaestus_pg as pg


class Order: ...


REFERENCES: tuple[pg.References, ...] = (
    pg.NamedClasses({"order": Order}),
    pg.LoadedClasses(allow_main=True),
    pg.Names(),
)
SERIALIZER = pg.Serializer(REFERENCES[0], elixir=["amount"])


def advice(error: pg.HephaestusError) -> str | int | bool | None:  # noqa: C901, PLR0912 - all of them
    match error:
        case pg.SerializationError():
            return f"{error.path}: {error.reason}"
        case pg.InvalidTypeError() | pg.InvalidValueError():
            return error.field
        case pg.UnknownReferenceError() | pg.NotStartedError() | pg.AlreadyStartedError():
            return error.name
        case pg.WrongEventLoopError() | pg.StorageClosedError() | pg.TransactionEndedError():
            return str(error)
        case pg.RunnerEndedError():
            return error.runner
        case pg.ClaimLostError():
            return error.reason
        case pg.LifecycleError() | pg.EmbeddedServerError() | pg.MigrationLockError():
            return str(error)
        case pg.InstanceExistsError():
            return f"{error.status} {error.workflow}"
        case pg.StaleInstanceError():
            return error.found - error.expected
        case pg.CorruptInstanceError() | pg.InstanceNotFoundError() | pg.InstanceError():
            return error.id
        case pg.SchemaOutdatedError():
            return error.command
        case pg.DataLossError() | pg.RewriteRefusedError():
            return error.flag
        case pg.MigrationChangedError():
            return error.version
        case pg.UnrecognizedSchemaError() | pg.MigrationFileError() | pg.MigrationError():
            return error.schema
        case pg.OperationTimeoutError():
            return f"{error.verb} {error.id} {error.timeout}"
        case pg.HookError():
            return error.hook
        case pg.UnexpectedRowError():
            return error.found
        case pg.UnavailableError() | pg.ConnectionLostError() | pg.ConflictError():
            return error.retryable
        case pg.ConcurrentUseError() | pg.AccessDeniedError() | pg.RejectedError():
            return error.applied
        case pg.OperationInterruptedError() | pg.CodecError() | pg.DatabaseError():
            return error.applied == "no"
        case _:
            return None


async def work(storage: pg.AsyncStorage, runner: pg.Runner) -> None:
    async for claim in runner.claims():
        assert_type(claim, pg.Claim)
        async with claim as order:
            assert_type(order, pg.Instance)
            assert_type(claim.token, int)
            await storage.modify(order.id, lambda it: replace(it, status=pg.Status.COMPLETED))


async def every_verb(storage: pg.Storage, order: pg.Instance, filters: pg.Filters) -> None:
    assert_type(await storage.insert(order, replace_finished=True), pg.Instance)
    assert_type(await storage.get(order.id, timeout=1.5), pg.Instance | None)
    assert_type(await storage.modify(order.id, lambda it: it), pg.Instance)
    assert_type(await storage.update(await storage.put(order)), pg.Instance)
    assert_type(await storage.put_many(each for each in [order]), list[pg.Instance])
    assert_type(await storage.get_many({order.id}), dict[str, pg.Instance])
    found = await storage.query(order_by="-id", limit=10, status="pending")
    assert_type(found, list[pg.Instance])
    await storage.query(after=storage.cursor(found[-1], order_by="-id"), order_by="-id", **filters)
    assert_type([each async for each in storage.stream(**filters)], list[pg.Instance])
    assert_type(await storage.count(workflow=Order), int)
    assert_type(await storage.prune(finished_before=datetime.now(UTC), dry_run=True), int)
    assert_type(await storage.delete_many([order.id]), set[str])
    assert_type(await storage.delete(order.id, revision=1), bool)


async def run(filters: pg.Filters) -> None:
    migrated = await pg.migrations.up("postgresql://host/name", schema="orders")
    assert_type(migrated.to_version, int)
    async with pg.AsyncStorage.start(schema="orders", references=REFERENCES[0]) as storage:
        order = pg.Instance.new(Order, {"amount": 99}, id=pg.business_key.build("order", "1"))
        order = await storage.insert(replace(order, context=pg.Context({"amount": 99}, {})))
        entry = pg.ExecutionEntry(Order, "completed", datetime.now(UTC))
        order = replace(order, status=pg.Status.RUNNING, execution_history=(entry,))
        assert_type(await storage.update(order), pg.Instance)
        assert_type(await storage.get(order.id), pg.Instance | None)
        assert_type(await storage.query(**filters), list[pg.Instance])
        assert_type(await storage.put_many([order]), list[pg.Instance])
        assert_type(await storage.get_many([order.id]), dict[str, pg.Instance])
        stats: pg.Stats = await storage.stats()
        assert_type(stats.instances, tuple[pg.InstanceCount, ...])
        assert_type(stats.process, pg.ProcessStats)
        assert_type(await storage.count_by("status", **filters), dict[str, int])
        assert_type(await storage.stuck(limit=10), list[pg.Stuck])
        assert_type([each async for each in storage.summaries(limit=10)], list[pg.Summary])
        assert_type(await storage.delete(order.id, revision=order.revision), bool)
        async with storage.transaction() as transaction:
            assert_type(await transaction.put(order), pg.Instance)
            await every_verb(transaction, order, filters)
        await every_verb(storage, order, filters)
        async with storage.runner(workflows=[Order], lease=30) as runner:
            assert_type(runner, pg.Runner)
            assert_type(await runner.claim("order::2"), pg.Claim | None)
            assert_type(await runner.insert(order), pg.Claim)
            assert_type(await storage.runners(), list[pg.RunnerInfo])
            assert_type(await storage.release("order::2"), bool)
            await work(storage, runner)
        async for each in storage.stream(status_in=pg.Status.ACTIVE):
            assert_type(SERIALIZER.from_db(*SERIALIZER.to_db(each)), pg.Instance)
