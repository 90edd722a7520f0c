"""Claims, writes, give-backs, deaths and timers at random, against a model of one page."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from hephaestus_pg import (
    AsyncStorage,
    ClaimLostError,
    Instance,
    Names,
    StaleInstanceError,
    Status,
    migrations,
)
from hephaestus_pg.runners import runner as runners
from tests.runners.model import ATTEMPTS, Held, Place, Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hephaestus_pg import Runner

IDS = ["a", "b", "c"]
WHO = st.sampled_from(["one", "two"])
ids = st.sampled_from(IDS)
# The first is what hypothesis likes best, and what most of the rules need.
statuses = st.sampled_from(
    [
        Status.RUNNING,
        Status.PENDING,
        Status.RUNNING,
        Status.WAITING,
        Status.COMPLETED,
        Status.FAILED,
    ]
)
dues = st.sampled_from([None, "past", None, "future"])


class Machine(RuleBasedStateMachine):
    place: Place

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, Row] = {}
        self.held: list[Held] = []
        self.run(self.place.storages["one"].delete_many(IDS))
        self.runners = {who: self.started(who) for who in self.place.storages}
        for id in IDS:
            self.put(id, Status.PENDING, None, "one")

    def run(self, call: Any) -> Any:
        return self.place.loop.run(call)

    def started(self, who: str) -> Runner:
        async def start() -> Runner:
            return await self.place.storages[who].runner(
                workflows=["W"],
                name=who,
                lease=100,
                max_attempts=ATTEMPTS,
                retry_after=lambda _: 1000.0,
            )

        runner: Runner = self.run(start())
        return runner

    def teardown(self) -> None:
        for runner in self.runners.values():
            self.run(runner.stop())

    @rule(id=ids, status=statuses, due=dues, who=WHO)
    def put(self, id: str, status: Status, due: str | None, who: str) -> None:
        """By anybody; it wins."""
        self.run(self.place.storages[who].put(Instance(id, "W", status=status, due_at=moment(due))))
        row = self.rows.setdefault(id, Row(status, due))
        owner = row.owner
        row.write(status, due)
        self.ends(id, row, owner, by=who)
        for held in self.held:
            held.was_put = held.was_put or (held.id, held.who) == (id, who)

    @precondition(lambda self: any(row.is_claimable for row in self.rows.values()))
    @rule(data=st.data(), who=WHO)
    def claim_what_can_be(self, data: st.DataObject, who: str) -> None:
        claimable = [id for id, row in self.rows.items() if row.is_claimable]
        self.claim(data.draw(st.sampled_from(claimable)), who)

    @rule(id=ids, who=WHO)
    def claim(self, id: str, who: str) -> None:
        row = self.rows.get(id)
        claim = self.run(self.runners[who].claim(id))
        runner = self.runners[who]
        is_open = any(held.id == id and held.claim._owner is runner for held in self.held)
        assert (claim is not None) is (row is not None and row.is_claimable and not is_open)
        if claim is not None and row is not None:
            row.owner = who
            row.forget_backoff()
            self.held.append(Held(id, who, claim, self.run(claim.__aenter__())))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), status=statuses, due=dues)
    def update(self, data: st.DataObject, status: Status, due: str | None) -> None:
        """By a body, from what it read when it began or wrote last."""
        held = data.draw(st.sampled_from(self.held))
        new = replace(held.instance, status=status, due_at=moment(due))
        row = self.rows[held.id]
        real = self.run(self.place.storages[held.who].get(held.id))
        if real.revision != held.instance.revision:
            with pytest.raises(StaleInstanceError):
                self.run(self.place.storages[held.who].update(new))
            if row.owner != held.who and not held.ended:
                held.lost = True
            return
        owner = row.owner
        assert owner in {held.who, None}  # none, if the last write has given the claim up
        held.instance = self.run(self.place.storages[held.who].update(new))
        row.write(status, due)
        self.ends(held.id, row, owner, by=held.who)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), fails=st.sampled_from([True, False]))
    def leave(self, data: st.DataObject, fails: bool) -> None:
        held = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        row = self.rows[held.id]
        owns = row.owner == held.who and not held.ended and not held.lost
        error = KeyError() if fails else None
        call = held.claim.__aexit__(type(error) if error else None, error, None)
        if owns or (held.ended and not held.lost):
            assert self.run(call) is False
        else:
            with suppress(ClaimLostError):
                self.run(call)
                assert held.was_put
        if owns and fails:
            row.fail()
        elif owns:
            row.owner = None

    @rule(id=ids)
    def release(self, id: str) -> None:
        row = self.rows.get(id)
        found = self.run(self.place.storages["one"].release(id))
        assert found is (row is not None and (row.owner is not None or row.attempts > 0))
        if row is not None and found:
            row.forget_backoff()
            if row.attempts and row.due is not None:
                row.due = "past"
            owner, row.owner, row.attempts = row.owner, None, 0
            self.lose(id, owner)

    @precondition(lambda self: any(row.due == "future" for row in self.rows.values()))
    @rule()
    def time_passes(self) -> None:
        for row in self.rows.values():
            row.due = "past" if row.due == "future" else row.due
        self.run(
            self.place.link.execute(
                "UPDATE workflow_instances SET due_at = now() - interval '1 hour',"
                " revision = revision + 1 WHERE due_at > now() AND due_at < 'infinity'"
            )
        )

    @rule(who=WHO)
    def die(self, who: str) -> None:
        """A runner's lease ends, another takes over, and it starts anew."""
        dead = self.runners[who]
        self.run(
            self.place.link.execute(
                "UPDATE workflow_runners SET expires_at = now() - interval '1 hour'"
                " WHERE token = $1",
                dead.token,
            )
        )
        other = self.runners["two" if who == "one" else "one"]

        async def take_over() -> None:
            other._claiming._takeover.look_soon()
            await other._claiming._takeover.look()
            dead._die("the model says so")

        self.run(take_over())
        for id, row in self.rows.items():
            if row.owner == who:
                row.fail()
                self.lose(id, who)
        for held in self.held:
            held.lost = held.lost or (held.who == who and not held.ended)
        self.run(dead.stop())
        self.runners[who] = self.started(who)

    def ends(self, id: str, row: Row, owner: str | None, *, by: str) -> None:
        """Note that a write has given up the claim of ``owner``: by its own process, or not."""
        if owner is None or row.owner is not None:
            return
        for held in self.held:
            if held.id == id and held.who == owner and not held.lost and not held.ended:
                held.ended, held.lost = by == owner, by != owner

    def lose(self, id: str, owner: str | None) -> None:
        for held in self.held:
            if held.id == id and held.who == owner and not held.ended:
                held.lost = True

    @invariant()
    def the_rows_are_as_the_model_says(self) -> None:
        found = self.run(
            self.place.link.fetch(
                "SELECT id, status, runner, attempts, CASE WHEN due_at IS NULL THEN NULL"
                " WHEN due_at = 'infinity' THEN 'never' WHEN due_at > now() THEN 'future'"
                " ELSE 'past' END AS due FROM workflow_instances"
            )
        )
        tokens = {runner.token: who for who, runner in self.runners.items()}
        assert {
            id: Row(Status(status), due, runner and tokens[runner], attempts)
            for id, status, runner, attempts, due in found
        } == self.rows


def moment(due: str | None) -> datetime | None:
    hours = {"past": -1, "future": 1}
    return None if due is None else datetime.now(UTC) + timedelta(hours=hours[due])


@pytest.fixture
def place(database: str) -> Iterator[Place]:
    with asyncio.Runner() as loop:
        made = loop.run(_opened(database, loop))
        yield made
        loop.run(_close(made))


async def _opened(database: str, loop: asyncio.Runner) -> Place:
    await migrations.up(database)
    storages = {
        who: await AsyncStorage.start(database, name=f"model {who}", references=Names())
        for who in ("one", "two")
    }
    return Place(loop, storages, await asyncpg.connect(database))


async def _close(place: Place) -> None:
    for storage in place.storages.values():
        await storage.close()
    await place.link.close()


def test_runners_do_what_a_page_says(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runners, "UNWIND_SECONDS", 0.0)  # no body here runs by itself
    machine: Any = type("Machine", (Machine,), {"place": place})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=min(30, settings().max_examples // 3),
            stateful_step_count=40,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
