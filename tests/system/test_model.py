"""All verbs at random, against a dictionary that keeps the same rules.

Hypothesis shrinks a failure to the shortest run that shows it, and prints how to repeat it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from hephaestus_pg import (
    Context,
    Instance,
    InstanceExistsError,
    InstanceNotFoundError,
    StaleInstanceError,
    Status,
    migrations,
)
from tests.support.model import Rows
from tests.support.strategies import maps
from tests.support.verbs import opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from hephaestus_pg.verbs.pruning import Verbs

ids = st.sampled_from([f"x::{n}" for n in range(5)])
statuses = st.sampled_from(Status)
workflows = st.sampled_from(["A", "A.V1", "A.V2", "B%", "B_"])
instances = st.builds(
    Instance,
    id=ids,
    workflow=workflows,
    workflow_version=st.integers(1, 3),
    status=statuses,
    current_step=st.none() | workflows,
    context=st.builds(Context, initial=maps, steps=st.dictionaries(workflows, maps, max_size=2)),
    active_steps=st.frozensets(workflows, max_size=3),
)


@dataclass
class Place:
    """Where the verbs under test are, and the loop that they live in."""

    runner: asyncio.Runner
    verbs: Verbs

    def run(self, call: Any) -> Any:
        return self.runner.run(call)


class Machine(Rows, RuleBasedStateMachine):
    """The real rows beside the model's; ``place`` is set by the test."""

    place: Place

    def __init__(self) -> None:
        super().__init__()
        self.run(self.verbs.delete_many([f"x::{n}" for n in range(5)]))

    @property
    def verbs(self) -> Verbs:
        return self.place.verbs

    def run(self, call: Any) -> Any:
        return self.place.run(call)

    @rule(instance=instances)
    def put(self, instance: Instance) -> None:
        self.wrote(self.run(self.verbs.put(instance)), self.upserted(instance))

    @rule(given=st.lists(instances, max_size=5, unique_by=lambda instance: instance.id))
    def put_many(self, given: list[Instance]) -> None:
        for actual, instance in zip(self.run(self.verbs.put_many(given)), given, strict=True):
            self.wrote(actual, self.upserted(instance))

    @rule(instance=instances, replace_finished=st.booleans())
    def insert(self, instance: Instance, replace_finished: bool) -> None:
        held = self.rows.get(instance.id)
        call = self.verbs.insert(instance, replace_finished=replace_finished)
        if held is None or (replace_finished and held.status in Status.FINISHED):
            revision = None if held is None else (held.revision or 0) + 1
            self.wrote(self.run(call), replace(instance, revision=revision))
            return
        with pytest.raises(InstanceExistsError) as caught:
            self.run(call)
        assert (caught.value.status, caught.value.workflow) == (held.status, held.workflow)

    @rule(data=st.data(), status=statuses, initial=maps)
    def update(self, data: st.DataObject, status: Status, initial: dict[str, Any]) -> None:
        if not self.seen:
            return
        seen = data.draw(st.sampled_from(self.seen))
        held = self.rows.get(seen.id)
        changed = replace(seen, status=status, context=Context(initial))
        call = self.verbs.update(changed)
        if held is None:
            with pytest.raises(InstanceNotFoundError):
                self.run(call)
        elif held.revision != seen.revision:
            with pytest.raises(StaleInstanceError) as caught:
                self.run(call)
            assert (caught.value.expected, caught.value.found) == (seen.revision, held.revision)
        else:
            self.wrote(self.run(call), replace(changed, revision=(held.revision or 0) + 1))

    @rule(id=ids)
    def delete(self, id: str) -> None:
        assert self.run(self.verbs.delete(id)) == (self.rows.pop(id, None) is not None)

    @rule(id=ids, step=st.integers(-2, 0))
    def delete_at(self, id: str, step: int) -> None:
        held = self.rows.get(id)
        revision = 5 if held is None else (held.revision or 0) + step
        if held is not None and held.revision != revision:
            with pytest.raises(StaleInstanceError):
                self.run(self.verbs.delete(id, revision=revision))
        else:
            self.rows.pop(id, None)
            assert self.run(self.verbs.delete(id, revision=revision)) == (held is not None)

    @rule(given=st.lists(ids, max_size=4))
    def delete_many(self, given: list[str]) -> None:
        expected = self.rows.keys() & set(given)
        assert self.run(self.verbs.delete_many(given)) == expected
        for id in expected:
            del self.rows[id]

    @rule(id=ids)
    def get(self, id: str) -> None:
        actual = self.run(self.verbs.get(id))
        assert actual == self.rows.get(id)
        if actual is not None:
            self.seen.append(actual)

    @rule(given=st.lists(ids, max_size=6))
    def get_many(self, given: list[str]) -> None:
        expected = {id: self.rows[id] for id in given if id in self.rows}
        assert self.run(self.verbs.get_many(given)) == expected

    @rule(data=st.data())
    def filter(self, data: st.DataObject) -> None:
        given: dict[str, Any] = data.draw(
            st.fixed_dictionaries(
                {},
                optional={
                    "id": ids,
                    "status": statuses,
                    "status_in": st.sets(statuses),
                    "workflow": workflows,
                    "workflow_version": st.integers(1, 3),
                    "workflow_family": st.sampled_from(["A", "A.", "B", "B%", "B_", "%"]),
                },
            )
        )
        found = sorted(filter(lambda row: matches(row, given), self.rows.values()), key=by_id)
        assert sorted(self.run(self.verbs.query(**given)), key=by_id) == found
        assert self.run(self.verbs.count(**given)) == len(found)
        limit = data.draw(st.integers(1, 6))
        for order in ("id", "inserted_at", "updated_at"):
            assert sorted(self.run(self.pages(order, limit, given)), key=by_id) == found

    async def pages(self, order: Any, limit: int, given: dict[str, Any]) -> list[Instance]:
        seen: list[Instance] = []
        after = None
        while page := await self.verbs.query(order_by=order, limit=limit, after=after, **given):
            seen += page
            after = self.verbs.cursor(page[-1], order_by=order)
        return seen

    @rule(dry_run=st.booleans(), batch_size=st.integers(1, 3))
    def prune(self, dry_run: bool, batch_size: int) -> None:
        finished = [id for id, row in self.rows.items() if row.status in Status.FINISHED]
        pruned = self.verbs.prune(
            finished_before=datetime.now(UTC) + timedelta(hours=1),
            dry_run=dry_run,
            batch_size=batch_size,
        )
        assert self.run(pruned) == len(finished)
        for id in finished if not dry_run else ():
            del self.rows[id]

    @invariant()
    def streamed(self) -> None:
        async def everything() -> list[Instance]:
            return [instance async for instance in self.verbs.stream()]

        held = self.run(everything())
        assert held == sorted(self.rows.values(), key=by_id)
        assert [row.revision for row in held] == [self.rows[row.id].revision for row in held]


def by_id(instance: Instance) -> str:
    return instance.id


def matches(row: Instance, given: dict[str, Any]) -> bool:
    tests: dict[str, Callable[[Any], bool]] = {
        "id": lambda value: row.id == value,
        "status": lambda value: row.status == value,
        "status_in": lambda value: row.status in value,
        "workflow": lambda value: row.workflow == value,
        "workflow_version": lambda value: row.workflow_version == value,
        "workflow_family": row.workflow.startswith,
    }
    return all(tests[name](value) for name, value in given.items())


@pytest.fixture(params=("storage", "unbatched", "pool", "transaction", "savepoint"))
def place(request: pytest.FixtureRequest, dsn: str, schema: str) -> Iterator[Place]:
    with asyncio.Runner() as runner:
        runner.run(migrations.up(dsn, schema=schema))
        manager: AbstractAsyncContextManager[Verbs] = opened(request.param, dsn, schema)
        verbs = runner.run(manager.__aenter__())
        yield Place(runner, verbs)
        runner.run(manager.__aexit__(None, None, None))


def test_the_verbs_do_what_a_dictionary_would(place: Place) -> None:
    machine: Any = type("Machine", (Machine,), {"place": place})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=min(10, settings().max_examples // 5),
            stateful_step_count=25,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
