"""Tables that do something else than they are told: triggers, rules, views, policies, partitions.

A row that does not come back, or that of another id, is an error at once, in every verb.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg
import pytest

from hephaestus_pg import (
    AccessDeniedError,
    AsyncStorage,
    Instance,
    InstanceExistsError,
    InstanceNotFoundError,
    RejectedError,
    Status,
    UnexpectedRowError,
)
from hephaestus_pg.migrations.scripts import grants

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from hephaestus_pg.verbs.pruning import Verbs
    from tests.support.starting import Start

    Pool = asyncpg.Pool[asyncpg.Record]

SOON = datetime.now(UTC) + timedelta(days=1)

# How soon is "at once", by a deadline that a call which goes on trying would meet.
AT_ONCE = 20.0

# Some versions of the server refuse a row that it hides, others say nothing.
REFUSED = (AccessDeniedError, RejectedError, UnexpectedRowError)

KINDS = ("batched", "alone", "transaction", "using", "using in a transaction")


def order(id: str, **fields: Any) -> Instance:
    return replace(Instance.new("Order", {"order_id": 1}, id=id), **fields)


@asynccontextmanager
async def opened(kind: str, storage: AsyncStorage, start: Start, dsn: str) -> AsyncIterator[Verbs]:
    """The verbs of the storage, as they are used in this way."""
    match kind:
        case "batched":
            yield storage
        case "alone":
            async with start(batching=False) as alone:
                yield alone
        case "transaction":
            async with storage.transaction() as transaction:
                yield transaction
        case _:
            connection = await asyncpg.connect(dsn)
            try:
                if kind == "using":
                    yield storage.using(connection)
                else:
                    async with connection.transaction():
                        yield storage.using(connection)
            finally:
                await connection.close()


@pytest.fixture(params=KINDS)
async def verbs(
    request: pytest.FixtureRequest, storage: AsyncStorage, start: Start, dsn: str
) -> AsyncIterator[Verbs]:
    await storage.put_many([order(id) for id in ("kept::1", "kept::2", "free::1", "free::2")])
    async with opened(request.param, storage, start, dsn) as verbs, asyncio.timeout(AT_ONCE):
        yield verbs


async def execute(verbs: Verbs, statements: str) -> None:
    """Run them; where the verbs are on one connection, on this, whose locks it has."""
    if isinstance(verbs, AsyncStorage):
        async with verbs.transaction() as transaction:
            await transaction.connection.execute(statements)
    else:
        await verbs.connection.execute(statements)  # type: ignore[attr-defined]


@pytest.fixture
def trigger(verbs: Verbs) -> Callable[..., Any]:
    """Give the table a trigger ``when`` (BEFORE INSERT, …) with this body."""

    async def create(when: str, body: str) -> None:
        name = f"{verbs.schema}.{when.lower().replace(' ', '_')}"
        await execute(
            verbs,
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$"
            f"BEGIN {body} END $$;"
            f"CREATE TRIGGER vetoes {when} ON {verbs.schema}.workflow_instances"
            f" FOR EACH ROW EXECUTE FUNCTION {name}()",
        )

    return create


VETO = "IF {row}.id LIKE 'kept%' THEN RETURN NULL; END IF; RETURN {row};"
RENAME = "IF NEW.id LIKE 'kept%' THEN NEW.id := 'other' || NEW.id; END IF; RETURN NEW;"


async def together(verbs: Verbs, call: Callable[[str], Any], *ids: str) -> list[Any]:
    """What the calls give: all at once where they can be, so that they share a statement."""
    if isinstance(verbs, AsyncStorage):
        return await asyncio.gather(*map(call, ids), return_exceptions=True)
    return [(await asyncio.gather(call(id), return_exceptions=True))[0] for id in ids]


IDS = ("free::1", "kept::1", "free::2", "kept::2")


def assert_only_the_kept_failed(results: list[Any], verb: str, found: str | None = None) -> None:
    for id, result in zip(IDS, results, strict=True):
        if id.startswith("free"):
            assert not isinstance(result, Exception), result
        else:
            assert isinstance(result, UnexpectedRowError), result
            assert (result.verb, result.id, result.retryable) == (verb, id, False)
            assert result.applied == "unknown"
            assert "triggers, rules and policies" in str(result)
            assert (result.found is None) == (found is None)


class TestVetoes:
    async def test_a_put_fails_alone(self, verbs: Verbs, trigger: Any) -> None:
        await trigger("BEFORE INSERT", VETO.format(row="NEW"))
        results = await together(verbs, lambda each: verbs.put(order(each)), *IDS)
        assert_only_the_kept_failed(results, "put")

    async def test_an_insert_fails_alone(self, verbs: Verbs, trigger: Any) -> None:
        await trigger("BEFORE INSERT", VETO.format(row="NEW"))
        for id in IDS:
            await verbs.delete(id)
        results = await together(verbs, lambda each: verbs.insert(order(each)), *IDS)
        assert_only_the_kept_failed(results, "insert")
        with pytest.raises(InstanceExistsError):
            await verbs.insert(order("free::1"))

    async def test_an_insert_in_the_place_of_a_finished_one_fails_alone(
        self, verbs: Verbs, trigger: Any
    ) -> None:
        for id in IDS:
            await verbs.put(order(id, status=Status.COMPLETED))
        await trigger("BEFORE UPDATE", VETO.format(row="NEW"))
        results = await together(
            verbs, lambda each: verbs.insert(order(each), replace_finished=True), *IDS
        )
        assert_only_the_kept_failed(results, "insert")

    async def test_an_update_fails_alone(self, verbs: Verbs, trigger: Any) -> None:
        await trigger("BEFORE UPDATE", VETO.format(row="NEW"))
        held = await verbs.get_many(IDS)
        results = await together(verbs, lambda each: verbs.update(held[each]), *IDS)
        assert_only_the_kept_failed(results, "update")

    async def test_a_delete_fails_alone(self, verbs: Verbs, trigger: Any) -> None:
        await trigger("BEFORE DELETE", VETO.format(row="OLD"))
        results = await together(verbs, verbs.delete, *IDS)
        assert_only_the_kept_failed(results, "delete")
        assert await verbs.delete("free::1") is False

    async def test_a_delete_of_a_revision_fails_alone(self, verbs: Verbs, trigger: Any) -> None:
        await trigger("BEFORE DELETE", VETO.format(row="OLD"))
        held = await verbs.get_many(IDS)
        results = await together(
            verbs, lambda each: verbs.delete(each, revision=held[each].revision), *IDS
        )
        assert_only_the_kept_failed(results, "delete")

    async def test_put_many_stores_none(self, verbs: Verbs, trigger: Any) -> None:
        await trigger("BEFORE INSERT", VETO.format(row="NEW"))
        with pytest.raises(UnexpectedRowError, match="put_many of 'kept::1' gave no row") as caught:
            await verbs.put_many([order(id, workflow="New") for id in IDS])
        assert caught.value.applied == "no"
        assert await verbs.count(workflow="New") == 0

    async def test_delete_many_deletes_none(self, verbs: Verbs, trigger: Any) -> None:
        await trigger("BEFORE DELETE", VETO.format(row="OLD"))
        with pytest.raises(UnexpectedRowError, match="delete_many of 'kept::") as caught:
            await verbs.delete_many([*IDS, "none"])
        assert caught.value.applied == "no"
        assert await verbs.count() == 4

    async def test_prune_goes_on_to_the_end(
        self, verbs: Verbs, trigger: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        done = [order(f"{kind}::{n:02}", status=Status.FAILED) for n in range(9) for kind in "xy"]
        await verbs.put_many([*done, order("kept::0", status=Status.FAILED)])
        await trigger(
            "BEFORE DELETE",
            "RETURN CASE WHEN OLD.id IN ('x::03', 'kept::0') THEN NULL ELSE OLD END;",
        )
        seen: list[int] = []
        with caplog.at_level(logging.WARNING, "hephaestus_pg"):
            assert await verbs.prune(finished_before=SOON, batch_size=4, progress=seen.append) == 17
        assert seen[-1] == 17
        assert "found 19 instances and deleted 17 of them" in caplog.text
        assert await verbs.count(status="failed") == 2

    async def test_prune_ends_where_none_may_go(self, verbs: Verbs, trigger: Any) -> None:
        await verbs.put_many([order(f"x::{n}", status=Status.FAILED) for n in range(7)])
        await trigger("BEFORE DELETE", "RETURN NULL;")
        assert await verbs.prune(finished_before=SOON, batch_size=2) == 0


class TestOtherIds:
    async def test_a_put_fails_alone(self, verbs: Verbs, trigger: Any) -> None:
        await trigger("BEFORE INSERT", RENAME)
        results = await together(verbs, lambda each: verbs.put(order(each)), *IDS)
        assert_only_the_kept_failed(results, "put", "other")

    async def test_an_insert_fails_alone(self, verbs: Verbs, trigger: Any) -> None:
        await trigger("BEFORE INSERT", RENAME)
        for id in IDS:
            await verbs.delete(id)
        results = await together(verbs, lambda each: verbs.insert(order(each)), *IDS)
        assert_only_the_kept_failed(results, "insert", "other")

    async def test_an_update_fails_alone(self, verbs: Verbs, trigger: Any) -> None:
        await trigger("BEFORE UPDATE", RENAME)
        held = await verbs.get_many(IDS)
        results = await together(verbs, lambda each: verbs.update(held[each]), *IDS)
        assert_only_the_kept_failed(results, "update", "other")

    async def test_put_many_stores_none(self, verbs: Verbs, trigger: Any) -> None:
        await trigger("BEFORE INSERT", RENAME)
        with pytest.raises(UnexpectedRowError, match="gave the row 'otherkept::1' instead"):
            await verbs.put_many([order(id, workflow="New") for id in IDS])
        assert await verbs.count(workflow="New") == 0


async def test_an_id_that_a_collation_takes_for_another_is_not_mixed_up(
    verbs: Verbs,
) -> None:
    table = f"{verbs.schema}.workflow_instances"
    try:
        await in_savepoint(
            verbs,
            lambda: execute(
                verbs,
                f"CREATE COLLATION {verbs.schema}.anycase"
                " (provider = icu, locale = 'und-u-ks-level2', deterministic = false);"
                f"ALTER TABLE {table} ALTER id TYPE varchar(255) COLLATE {verbs.schema}.anycase",
            ),
        )
    except asyncpg.FeatureNotSupportedError:
        pytest.skip("this server is built without ICU")
    results = await together(verbs, verbs.get, "free::1", "KEPT::1", "none")
    assert isinstance(results[0], Instance)
    assert isinstance(results[1], UnexpectedRowError)
    assert results[1].found == "kept::1"
    with pytest.raises(UnexpectedRowError):
        await verbs.get_many(["free::1", "KEPT::1"])


@pytest.mark.parametrize("event", ("INSERT", "UPDATE", "DELETE"))
async def test_what_a_rule_does_instead_is_refused_by_the_server(verbs: Verbs, event: str) -> None:
    held = await verbs.get("kept::1")
    assert held is not None
    await execute(
        verbs,
        f"CREATE RULE nothing AS ON {event} TO {verbs.schema}.workflow_instances"
        " DO INSTEAD NOTHING",
    )
    calls: dict[str, list[Callable[[], Any]]] = {
        "INSERT": [
            lambda: verbs.put(order("kept::1")),
            lambda: verbs.insert(order("new")),
            lambda: verbs.put_many([order("kept::1")]),
        ],
        "UPDATE": [lambda: verbs.update(held)],
        "DELETE": [
            lambda: verbs.delete("kept::1"),
            lambda: verbs.delete_many(["kept::1"]),
            lambda: verbs.prune(finished_before=SOON),
        ],
    }
    for call in calls[event]:
        with pytest.raises(RejectedError) as caught:
            await in_savepoint(verbs, call)
        assert not caught.value.retryable


async def in_savepoint(verbs: Verbs, call: Callable[[], Any]) -> Any:
    """The call, in a savepoint where its error would end a transaction."""
    connection = getattr(verbs, "connection", None)
    if connection is None or not connection.is_in_transaction():
        return await call()
    async with connection.transaction():
        return await call()


class TestViews:
    @pytest.fixture
    async def view(self, storage: AsyncStorage, pool: Pool) -> str:
        """The table moved aside, and a view of it in its place."""
        await pool.execute(
            f"ALTER TABLE {storage.schema}.workflow_instances RENAME TO behind;"
            f"CREATE VIEW {storage.schema}.workflow_instances AS"
            f" SELECT * FROM {storage.schema}.behind WHERE id NOT LIKE 'kept%'"
        )
        return storage.schema

    async def test_a_plain_view_works_and_does_not_lose_what_it_hides(
        self, storage: AsyncStorage, view: str
    ) -> None:
        async with asyncio.timeout(AT_ONCE):
            held = await storage.insert(order("free::1"))
            assert await storage.get(held.id) == held
            held = await storage.update(await storage.put(held))
            assert await storage.delete(held.id)
            await storage.put(order("kept::1"))
            assert await storage.get("kept::1") is None
            with pytest.raises(REFUSED):
                await storage.insert(order("kept::1"))

    async def test_triggers_of_a_view_are_refused_at_once(
        self, storage: AsyncStorage, view: str, pool: Pool
    ) -> None:
        await pool.execute(
            f"CREATE FUNCTION {view}.nothing() RETURNS trigger LANGUAGE plpgsql AS"
            " $$BEGIN RETURN NULL; END$$;"
            f"INSERT INTO {view}.behind (id, workflow, inserted_at, updated_at)"
            " VALUES ('there', 'Order', now(), now());"
            f"CREATE TRIGGER instead INSTEAD OF INSERT OR UPDATE OR DELETE"
            f" ON {view}.workflow_instances FOR EACH ROW EXECUTE FUNCTION {view}.nothing()"
        )
        held = await storage.get("there")
        assert held is not None
        async with asyncio.timeout(AT_ONCE):
            with pytest.raises(REFUSED):
                await storage.put(held)
            with pytest.raises(REFUSED):
                await storage.insert(order("new"))
            with pytest.raises(REFUSED):
                await storage.update(held)
            with pytest.raises(REFUSED):
                await storage.delete("there")
            with pytest.raises(REFUSED):
                await storage.put_many([held])
            with pytest.raises(REFUSED):
                await storage.delete_many(["there"])


@pytest.fixture
async def tenant(start: Start, storage: AsyncStorage, pool: Pool) -> AsyncIterator[AsyncStorage]:
    """A storage whose role is subject to the table's policies, of which there are none yet."""
    role = f"role_{uuid4().hex[:12]}"
    try:
        await pool.execute(f"CREATE ROLE {role}")
    except asyncpg.InsufficientPrivilegeError:
        pytest.skip("the tests' role may not create roles")
    try:
        await pool.execute(grants(role, schema=storage.schema))
        await pool.execute(
            f"ALTER TABLE {storage.schema}.workflow_instances ENABLE ROW LEVEL SECURITY"
        )
        async with (
            start(server_settings={"role": role}) as tenant,
            asyncio.timeout(AT_ONCE),
        ):
            yield tenant
    finally:
        await pool.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def policy(storage: AsyncStorage, command: str, condition: str) -> Any:
    what = "WITH CHECK" if command == "INSERT" else "USING"
    return execute(
        storage,
        f"CREATE POLICY may_{command.lower()} ON {storage.schema}.workflow_instances"
        f" FOR {command} {what} ({condition})",
    )


MINE = "workflow = 'Mine'"


class TestPolicies:
    async def test_rows_that_may_be_seen_and_not_changed(
        self, storage: AsyncStorage, tenant: AsyncStorage
    ) -> None:
        await storage.put_many([order(id) for id in IDS])
        await storage.put(order("done", status=Status.COMPLETED))
        await policy(storage, "SELECT", "true")
        await policy(storage, "INSERT", "true")
        held = await tenant.get_many(IDS)
        assert len(held) == 4

        writes: list[tuple[str, Callable[[str], Any]]] = [
            ("update", lambda each: tenant.update(held[each])),
            ("delete", tenant.delete),
            ("delete", lambda each: tenant.delete(each, revision=held[each].revision)),
        ]
        for verb, write in writes:
            for result in [
                *await together(tenant, write, *IDS),
                *await asyncio.gather(write("free::1"), return_exceptions=True),
            ]:
                assert isinstance(result, UnexpectedRowError), result
                assert result.verb == verb
        with pytest.raises(UnexpectedRowError):
            await tenant.delete_many(IDS)
        with pytest.raises(AccessDeniedError, match="row-level security"):
            await tenant.put(order("free::1"))
        with pytest.raises(AccessDeniedError, match="row-level security"):
            await tenant.put_many([order("free::1")])
        assert await tenant.delete("none") is False
        with pytest.raises(AccessDeniedError, match="row-level security"):
            await tenant.insert(order("done"), replace_finished=True)
        # What it may not lock it does not find; the others are left to who may.
        assert await tenant.prune(finished_before=SOON) == 0
        assert await storage.count() == 5

    async def test_rows_that_may_be_deleted_only_by_others(
        self, storage: AsyncStorage, tenant: AsyncStorage, caplog: pytest.LogCaptureFixture
    ) -> None:
        done = [order(id, status=Status.FAILED) for id in (*IDS, "x::1")]
        await storage.put_many([*done[:4], replace(done[4], workflow="Mine")])
        for command in ("SELECT", "INSERT", "UPDATE"):
            await policy(storage, command, "true")
        await policy(storage, "DELETE", MINE)

        with pytest.raises(UnexpectedRowError):
            await tenant.delete("free::1")
        results = await together(tenant, tenant.delete, "free::1", "none", "free::2")
        assert [type(result) for result in results] == [
            UnexpectedRowError,
            bool,
            UnexpectedRowError,
        ]
        with pytest.raises(UnexpectedRowError):
            await tenant.delete_many([*IDS, "x::1"])
        assert await tenant.prune(finished_before=SOON, batch_size=2) == 1
        assert "found 5 instances and deleted 1 of them" in caplog.text
        assert await storage.count() == 4

    async def test_rows_of_others_are_as_good_as_none_but_their_ids_are_taken(
        self, storage: AsyncStorage, tenant: AsyncStorage
    ) -> None:
        await storage.put_many([order(id) for id in IDS])
        for command in ("SELECT", "INSERT", "UPDATE", "DELETE"):
            await policy(storage, command, MINE)
        mine = await tenant.insert(order("mine", workflow="Mine"))
        theirs = order("free::1", workflow="Mine")

        assert await tenant.query() == [mine]
        assert await tenant.delete("free::1") is False
        assert await tenant.delete_many(IDS) == set()
        with pytest.raises(InstanceNotFoundError):
            await tenant.update(replace(theirs, revision=1))
        with pytest.raises(AccessDeniedError):
            await tenant.put(theirs)
        with pytest.raises(REFUSED, match="polic"):
            await tenant.insert(theirs)
        results = await together(
            tenant, lambda each: tenant.insert(order(each, workflow="Mine")), "free::1", "new"
        )
        assert isinstance(results[0], REFUSED)
        assert isinstance(results[1], Instance)
        with pytest.raises(AccessDeniedError):
            await tenant.update(replace(mine, workflow="Theirs"))
        assert await tenant.delete("mine")


async def test_partitions_are_one_table(verbs: Verbs) -> None:
    table = f"{verbs.schema}.workflow_instances"
    await execute(
        verbs,
        f"ALTER TABLE {table} RENAME TO plain;"
        f"CREATE TABLE {table} (LIKE {verbs.schema}.plain INCLUDING DEFAULTS, PRIMARY KEY (id))"
        " PARTITION BY HASH (id);"
        + "".join(
            f"CREATE TABLE {table}_{n} PARTITION OF {table}"
            f" FOR VALUES WITH (MODULUS 3, REMAINDER {n});"
            for n in range(3)
        ),
    )
    stored = await verbs.put_many([order(f"x::{n}") for n in range(20)])
    updated = await together(verbs, verbs.get, *(i.id for i in stored))
    assert updated == stored
    done = [await verbs.update(replace(i, status=Status.COMPLETED)) for i in stored]
    assert await verbs.insert(order("x::0"), replace_finished=True) == order("x::0")
    assert await verbs.delete("x::1")
    assert await verbs.delete_many([i.id for i in done[2:5]]) == {i.id for i in done[2:5]}
    assert await verbs.prune(finished_before=SOON, batch_size=4) == 15
    assert await verbs.count() == 1


class TestConstraintsOfTheUsersOwn:
    async def test_each_is_an_error_at_once_that_names_it(
        self, storage: AsyncStorage, pool: Pool
    ) -> None:
        table = f"{storage.schema}.workflow_instances"
        await storage.put_many([order("a"), order("b", workflow="B")])
        await pool.execute(
            f"CREATE UNIQUE INDEX one_of_a_kind ON {table} (workflow);"
            f"ALTER TABLE {table} ADD CONSTRAINT no_c CHECK (workflow <> 'C');"
            f"CREATE TABLE {storage.schema}.parcels (owner varchar(255)"
            f" CONSTRAINT owned REFERENCES {table})"
        )
        await pool.execute(f"INSERT INTO {storage.schema}.parcels VALUES ('a')")
        calls: dict[str, list[Callable[[], Any]]] = {
            "one_of_a_kind": [
                lambda: storage.put(order("b")),
                lambda: storage.insert(order("new")),
                lambda: storage.put_many([order("new"), order("x", workflow="X")]),
            ],
            "no_c": [lambda: storage.put(order("a", workflow="C"))],
            "owned": [
                lambda: storage.delete("a"),
                lambda: storage.delete_many(["a", "b"]),
            ],
        }
        async with asyncio.timeout(AT_ONCE):
            for name, tried in calls.items():
                for call in tried:
                    with pytest.raises(RejectedError, match=name) as caught:
                        await call()
                    assert not caught.value.retryable
                    assert caught.value.applied == "no"
            results = await asyncio.gather(
                storage.delete("a"), storage.delete("b"), return_exceptions=True
            )
        assert isinstance(results[0], RejectedError)
        assert results[1] is True

    async def test_one_that_is_checked_at_the_commit_fails_its_call_alone(
        self, storage: AsyncStorage, pool: Pool
    ) -> None:
        """porsager/postgres#1117, rust-postgres#832: such a write was said to be done, and was not.

        The server has answered with a row by then.
        """
        await pool.execute(
            f"CREATE TABLE {storage.schema}.customers (id text PRIMARY KEY);"
            f"INSERT INTO {storage.schema}.customers VALUES ('a'), ('b');"
            f"ALTER TABLE {storage.schema}.workflow_instances ADD CONSTRAINT known FOREIGN KEY (id)"
            f" REFERENCES {storage.schema}.customers DEFERRABLE INITIALLY DEFERRED"
        )

        async def in_a_transaction() -> None:
            async with storage.transaction() as tx:
                await tx.put(order("b"))
                await tx.put(order("nobody"))

        calls: list[Any] = [storage.put(order(id)) for id in ("x", "a", "y", "b")]
        calls += [storage.insert(order("new")), storage.put_many([order("a"), order("new")])]
        results = await asyncio.gather(*calls, in_a_transaction(), return_exceptions=True)
        refused = [each for each in results if isinstance(each, RejectedError)]
        assert [each.id for each in results if isinstance(each, Instance)] == ["a", "b"]
        assert len(refused) == len(results) - 2
        assert all("known" in str(each) and each.applied == "no" for each in refused)
        assert sorted([each.id for each in await storage.query()]) == ["a", "b"]

    async def test_a_table_without_its_key_is_not_waited_for(
        self, storage: AsyncStorage, pool: Pool
    ) -> None:
        await pool.execute(
            f"ALTER TABLE {storage.schema}.workflow_instances"
            " DROP CONSTRAINT workflow_instances_pkey"
        )
        async with asyncio.timeout(AT_ONCE):
            with pytest.raises(RejectedError, match="ON CONFLICT"):
                await storage.put(order("a"))


class TestOtherTriggers:
    async def test_one_that_raises_is_an_error_at_once_of_its_call_alone(
        self, verbs: Verbs, trigger: Any
    ) -> None:
        await trigger(
            "BEFORE INSERT",
            "IF NEW.id LIKE 'kept%' THEN RAISE 'not today' USING ERRCODE = 'unique_violation';"
            " END IF; RETURN NEW;",
        )
        results = await together(
            verbs, lambda each: in_savepoint(verbs, lambda: verbs.put(order(each))), *IDS
        )
        for id, result in zip(IDS, results, strict=True):
            if id.startswith("free"):
                assert isinstance(result, Instance)
            else:
                assert isinstance(result, RejectedError)
                assert "not today" in str(result)
                assert not result.retryable

    async def test_notices_after_triggers_and_generated_columns_change_nothing(
        self, verbs: Verbs, trigger: Any
    ) -> None:
        await execute(
            verbs,
            f"ALTER TABLE {verbs.schema}.workflow_instances"
            " ADD owner text GENERATED ALWAYS AS (state #>> '{context,initial,owner}') STORED",
        )
        await trigger(
            "AFTER INSERT OR UPDATE OR DELETE",
            "FOR n IN 1..300 LOOP RAISE NOTICE 'line %', n; END LOOP; RETURN NULL;",
        )
        results = await together(verbs, lambda each: verbs.put(order(each)), *IDS)
        assert results == [order(each) for each in IDS]
        assert await verbs.delete_many(IDS) == set(IDS)
