from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hephaestus_pg import (
    AsyncStorage,
    Context,
    Instance,
    InvalidTypeError,
    InvalidValueError,
    Names,
    OperationTimeoutError,
    SerializationError,
    Status,
    migrations,
)
from hephaestus_pg.verbs import filters

if TYPE_CHECKING:
    import asyncpg

    from tests.support.faults import Faults

pytestmark = pytest.mark.quick

NOW = datetime(2026, 4, 6, 12, tzinfo=UTC)


async def filled(storage: AsyncStorage, *instances: Instance) -> AsyncStorage:
    for instance in instances:
        await storage.put(instance)
    return storage


async def ids(storage: AsyncStorage, **given: Any) -> list[str]:
    return sorted(instance.id for instance in await storage.query(**given))


def instance(id: str, workflow: str = "W", **fields: Any) -> Instance:
    return Instance(id, workflow, **fields)


class TestQuery:
    async def test_without_a_filter_every_instance_is_found(self, storage: AsyncStorage) -> None:
        assert await storage.query() == []
        stored = [await storage.put(instance(f"x::{n}")) for n in range(3)]

        assert sorted(await storage.query(), key=lambda i: i.id) == stored

    async def test_each_filter_narrows_by_its_column(self, storage: AsyncStorage) -> None:
        await filled(
            storage,
            instance("a", "One.V1", status=Status.RUNNING),
            instance("b", "One.V2", status=Status.WAITING, workflow_version=2),
            instance("c", "Two.V1", status=Status.FAILED, workflow_version=2),
        )

        assert await ids(storage, id="b") == ["b"]
        assert await ids(storage, id="nobody") == []
        assert await ids(storage, status="running") == ["a"]
        assert await ids(storage, status=Status.COMPLETED) == []
        assert await ids(storage, status_in=[Status.RUNNING, "failed"]) == ["a", "c"]
        assert await ids(storage, status_in=Status.ACTIVE) == ["a", "b"]
        assert await ids(storage, workflow="One.V2") == ["b"]
        assert await ids(storage, workflow="One") == []
        assert await ids(storage, workflow_version=2) == ["b", "c"]
        assert await ids(storage, workflow_family="One.") == ["a", "b"]
        assert await ids(storage, workflow_family="Nothing") == []

    async def test_filters_are_joined_by_and(self, storage: AsyncStorage) -> None:
        await filled(
            storage,
            instance("a", "One.V1", status=Status.RUNNING),
            instance("b", "One.V1", status=Status.WAITING),
            instance("c", "Two.V1", status=Status.RUNNING, context=Context({"n": 1})),
        )

        assert await ids(storage, status="running", workflow="One.V1") == ["a"]
        assert await ids(storage, id="a", status="waiting") == []
        assert await ids(storage, status="running", status_in=["waiting"]) == []
        assert await ids(storage, status="running", status_in=["waiting", "running"]) == ["a", "c"]
        assert await ids(storage, workflow="One.V1", workflow_family="Two") == []
        contains = {"context": {"initial": {"n": 1}}}
        assert await ids(storage, contains=contains, status="running") == ["c"]
        assert await ids(storage, contains=contains, workflow_family="One") == []

    async def test_owners_and_due_moments_are_filters(
        self, storage: AsyncStorage, pool: asyncpg.Pool[asyncpg.Record]
    ) -> None:
        second = timedelta(seconds=1)
        await filled(
            storage,
            instance("a"),
            instance("b", due_at=NOW),
            instance("c", due_at=NOW + second, status=Status.WAITING),
        )
        token = UUID("0191e0a4-5b0c-7d3e-8f00-000000000001")
        table = f"{storage.schema}.workflow_instances"
        await pool.execute(f"UPDATE {table} SET runner = $1 WHERE id <> 'c'", token)
        await pool.execute(f"UPDATE {table} SET due_at = 'infinity' WHERE id = 'a'")

        assert await ids(storage, runner=token) == ["a", "b"]
        assert await ids(storage, runner=None) == ["c"]
        assert await ids(storage, runner=UUID(int=1)) == []
        assert await ids(storage, runner=token, id="c") == []
        assert await ids(storage, runner=None, status="waiting") == ["c"]
        assert await ids(storage, due_before=NOW) == []
        assert await ids(storage, due_before=NOW + second) == ["b"]
        assert await ids(storage, due_before=NOW + 2 * second) == ["b", "c"]
        assert await ids(storage, due_before=NOW + 2 * second, runner=token) == ["b"]
        assert await storage.count(due_before=NOW + 2 * second, status="waiting") == 1
        assert [page.id for page in await storage.query(runner=token, limit=1)] == ["a"]
        [found] = await storage.query(id="a")
        assert (found.runner, found.due_at) == (token, None)

    async def test_no_status_at_all_matches_nothing(self, storage: AsyncStorage) -> None:
        await filled(storage, instance("a"))

        assert await storage.query(status_in=[]) == []

    async def test_a_family_is_literal(self, storage: AsyncStorage) -> None:
        names = ["a%b", "axb", "a_b", "a\\b", "a\\\\b", "A%b", "a", "ä%b", "a%\U0010ffff"]
        await filled(storage, *(instance(name, name) for name in names))

        for prefix in ["a%", "a_", "a\\", "a\\\\", "A", "a", "ä", "a%\U0010ffff", "%", "_"]:
            found = await ids(storage, workflow_family=prefix)
            assert found == sorted(name for name in names if name.startswith(prefix))

    async def test_containment_finds_parts_of_the_state(self, storage: AsyncStorage) -> None:
        await filled(
            storage,
            instance("a", context=Context({"order": {"id": 1, "tags": ["x", "y"]}})),
            instance("b", context=Context({"order": {"id": 10**25}}), current_step="Charge"),
            instance("c", context=Context({"order": {"id": None}}), runtime_metadata={"n": 1e25}),
        )

        def order(**fields: Any) -> dict[str, Any]:
            return {"context": {"initial": {"order": fields}}}

        assert await ids(storage, contains=order(id=1)) == ["a"]
        assert await ids(storage, contains=order(tags=["y"])) == ["a"]
        assert await ids(storage, contains=order(id=10**25)) == ["b"]
        assert await ids(storage, contains=order(id=None)) == ["c"]
        assert await ids(storage, contains={"current_step": "Charge"}) == ["b"]
        assert await ids(storage, contains={"runtime_metadata": {"n": 1e25}}) == ["c"]
        assert await ids(storage, contains=order(id="1")) == []

    async def test_bounds_of_time_are_exclusive(
        self, storage: AsyncStorage, pool: asyncpg.Pool[asyncpg.Record]
    ) -> None:
        for second in range(3):
            stored = await storage.put(instance(f"{second}"))
            await pool.execute(
                f"UPDATE {storage.schema}.workflow_instances"
                " SET inserted_at = $1, updated_at = $1 WHERE id = $2",
                (NOW + timedelta(seconds=second)).replace(tzinfo=None),
                stored.id,
            )
        middle = NOW + timedelta(seconds=1)

        for column in ("inserted", "updated"):
            assert await ids(storage, **{f"{column}_before": middle}) == ["0"]
            assert await ids(storage, **{f"{column}_after": middle}) == ["2"]
            half = timedelta(milliseconds=500)
            assert await ids(storage, **{f"{column}_after": middle - half}) == ["1", "2"]
        assert await ids(storage, inserted_after=NOW, updated_before=middle) == []

    @pytest.mark.parametrize(
        "pattern", ({}, {"context": {}}, {"context": {"initial": {"a": [[], {}]}}})
    )
    async def test_a_pattern_without_a_value_needs_leave_to_scan(
        self, storage: AsyncStorage, pattern: dict[str, Any]
    ) -> None:
        await filled(storage, instance("a"))

        with pytest.raises(InvalidValueError, match="allow_scan=True"):
            await storage.query(contains=pattern)
        expected = [] if pattern.get("context") else ["a"]
        assert await ids(storage, contains=pattern, allow_scan=True) == expected


def given_parameters(**given_filters: Any) -> tuple[Any, ...]:
    return filters.matching(given_filters, Names()).parameters


def test_an_unknown_filter_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(InvalidValueError, match=r"'statsu': the filters are id, status,") as caught:
        given_parameters(statsu="running")
    assert caught.value.value == "statsu"


@pytest.mark.parametrize("name", sorted(set(filters.Filters.__annotations__) - {"runner"}))
def test_none_is_no_filter(name: str) -> None:
    with pytest.raises(InvalidTypeError, match=f"^{name} is None"):
        given_parameters(**{name: None})


@pytest.mark.parametrize(
    ("name", "value"),
    (
        ("id", 7),
        ("id", ""),
        ("status", "done"),
        ("status", 1),
        ("status_in", "running"),
        ("status_in", ["done"]),
        ("status_in", 1),
        ("workflow", 7),
        ("workflow_version", "1"),
        ("workflow_version", 0),
        ("workflow_version", 2**31),
        ("workflow_family", ""),
        ("workflow_family", 7),
        ("workflow_family", "a\0"),
        ("workflow_family", "\ud800"),
        ("workflow_family", "\U0010ffff"),
        ("contains", []),
        ("contains", "{}"),
        ("inserted_before", "2026-04-06"),
        ("updated_after", NOW.replace(tzinfo=None)),
        ("updated_after", datetime.min.replace(tzinfo=timezone(timedelta(hours=1)))),
        ("inserted_before", datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))),
        ("allow_scan", "no"),
        ("allow_scan", 1),
    ),
)
def test_a_wrong_value_is_refused(name: str, value: Any) -> None:
    with pytest.raises(InvalidValueError, match=" is ") as caught:
        given_parameters(**{name: value})
    assert caught.value.field in {name, "status"}


def test_a_pattern_that_json_cannot_hold_is_refused() -> None:
    with pytest.raises(SerializationError, match=r"context\.x"):
        given_parameters(contains={"context": {"x": float("nan")}})


@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.text(st.characters(exclude_categories=["Cs"])),
)
def test_exactly_the_texts_with_a_prefix_lie_within_its_bounds(
    prefix: str, rest: str, other: str
) -> None:
    if not prefix.strip("\U0010ffff"):
        return
    bounds = given_parameters(workflow_family=prefix)[5:7]
    lower, upper = (bound.encode() for bound in bounds)

    for text in (prefix, prefix + rest, other, prefix[:-1] + other):
        assert (lower <= text.encode() < upper) == text.startswith(prefix)


def test_the_bounds_step_over_the_surrogates() -> None:
    assert given_parameters(workflow_family="a\ud7ff")[5:7] == ("a\ud7ff", "a\ue000")


def test_replacing_a_field_does_not_change_what_was_filtered() -> None:
    wanted = [Status.RUNNING, Status.WAITING]
    made = given_parameters(status_in=wanted)
    wanted.append(Status.FAILED)

    assert made[2] == ["running", "waiting"]
    assert replace(instance("a"), status=Status.RUNNING).status in made[2]


@pytest.mark.parametrize(
    ("given", "driver"),
    (
        ({}, "none"),
        ({"id": "a", "contains": {"current_step": "x"}, "status": "failed"}, "id"),
        ({"runner": UUID(int=1), "workflow": "W"}, "runner"),
        ({"runner": None}, "none"),
        ({"runner": None, "workflow_version": 1}, "version"),
        ({"contains": {"current_step": "x"}, "workflow": "W"}, "contains"),
        ({"workflow": "W", "workflow_family": "W"}, "workflow"),
        ({"workflow_family": "W", "due_before": NOW}, "family"),
        ({"due_before": NOW, "status": "failed"}, "due"),
        ({"status": "failed", "workflow_version": 1}, "status"),
        ({"status_in": ["failed"]}, "status"),
        ({"status_in": ["failed", "running"], "status": "failed"}, "status"),
        ({"status_in": ["failed", "running"], "workflow_version": 1}, "statuses"),
        ({"status_in": []}, "none"),
        ({"workflow_version": 1, "updated_before": NOW}, "version"),
        ({"inserted_before": NOW}, "none"),
    ),
)
def test_the_filter_that_leaves_fewest_rows_drives(given: dict[str, Any], driver: str) -> None:
    assert filters.matching(given, Names()).driver == driver


class TestIndexProfiles:
    IN_INITIAL: tuple[dict[str, Any], ...] = (
        {"context": {"initial": {"n": 1}}},
        {"context": {"initial": {"items": [{"sku": "a"}]}}},
        {"context": {"initial": {"n": 1}, "steps": {"Charge": {"ok": True}}}},
        {"context": {"initial": {"n": 1}}, "active_steps": ["Ship"]},
    )
    ELSEWHERE: tuple[dict[str, Any], ...] = (
        {"context": {"steps": {"Charge": {"ok": True}}}},
        {"active_steps": ["Ship"]},
        {"context": {"initial": {"items": [{}]}, "steps": {"Charge": {"ok": True}}}},
    )

    @pytest.fixture
    async def searched(self, storage: AsyncStorage) -> AsyncStorage:
        context = Context({"n": 1, "items": [{"sku": "a"}, {"sku": "b"}]}, {"Charge": {"ok": True}})
        found = instance("found", context=context, active_steps=frozenset({"Ship"}))
        return await filled(storage, found, instance("other", context=Context({"n": 2})))

    @pytest.mark.parametrize("profile", ("full", "initial", "none"))
    async def test_a_search_finds_the_same_under_each(
        self, searched: AsyncStorage, dsn: str, profile: Any
    ) -> None:
        await migrations.index(dsn, schema=searched.schema, profile=profile)
        for pattern in (*self.IN_INITIAL, *self.ELSEWHERE):
            given: dict[str, Any] = {"contains": pattern, "allow_scan": True}
            assert await ids(searched, **given) == ["found"]
            assert await ids(searched, id="found", **given) == ["found"]
            assert await ids(searched, id="other", **given) == []
            assert await ids(searched, limit=9, order_by="inserted_at", **given) == ["found"]
            assert [found.id async for found in searched.stream(**given)] == ["found"]
            assert await searched.count(**given) == 1
            async with searched.transaction() as transaction:
                assert len(await transaction.query(**given)) == 1

    async def test_what_the_index_does_not_hold_is_refused_with_the_command(
        self, searched: AsyncStorage, dsn: str
    ) -> None:
        command = f"python -m hephaestus_pg.migrate index full --schema {searched.schema}"
        await migrations.index(dsn, schema=searched.schema, profile="initial")
        for pattern in self.IN_INITIAL:
            assert await ids(searched, contains=pattern) == ["found"]
        for pattern in self.ELSEWHERE:
            with pytest.raises(InvalidValueError, match=command) as caught:
                await searched.query(contains=pattern)
            assert caught.value.field == "contains"
            assert caught.value.value == pattern

        await migrations.index(dsn, schema=searched.schema, profile="none")
        for pattern in (*self.IN_INITIAL, *self.ELSEWHERE):
            for call in (searched.query, searched.count):
                with pytest.raises(InvalidValueError, match=command):
                    await call(contains=pattern)
        assert await ids(searched, status="pending") == ["found", "other"]

        await migrations.index(dsn, schema=searched.schema, profile="full")
        for pattern in (*self.IN_INITIAL, *self.ELSEWHERE):
            assert await ids(searched, contains=pattern) == ["found"]

    async def test_a_profile_that_changes_between_two_statements_is_noticed(
        self, searched: AsyncStorage, faults: Faults, dsn: str
    ) -> None:
        await migrations.index(dsn, schema=searched.schema, profile="initial")
        changes = partial(migrations.index, dsn, schema=searched.schema, profile="full")
        faults.before("query", changes)  # the profile is known by then
        assert await ids(searched, contains=self.IN_INITIAL[0]) == ["found"]
        assert faults.tried.count("query") == 2

    async def test_an_error_that_another_index_does_not_mend_is_the_callers_as_it_is(
        self, searched: AsyncStorage, faults: Faults
    ) -> None:
        late = OperationTimeoutError("late", applied="no", retryable=True)
        faults.refuse("query", error=late)
        with pytest.raises(OperationTimeoutError) as caught:
            await searched.query(contains=self.IN_INITIAL[0])
        assert caught.value.retryable is True
        assert faults.tried.count("query") == 1
