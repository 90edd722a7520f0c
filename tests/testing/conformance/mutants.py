"""Storages with one seeded bug each, of kinds that adapters have had; test_mutants.py runs them.

``capability`` is the suite that has to catch it.
"""

from __future__ import annotations

import asyncio
import math
import re
import unicodedata
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, ClassVar

from hephaestus_pg import (
    AsyncStorage,
    DatabaseError,
    Filters,
    Instance,
    InstanceExistsError,
    InstanceNotFoundError,
    InvalidValueError,
    RunnerInfo,
    StaleInstanceError,
    Status,
)
from hephaestus_pg.execution.statements import Statement, Statements

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable


class Mutant(AsyncStorage):
    """A storage whose statements are not as they should be, or, in a class below, its verbs."""

    capability: ClassVar[str]
    texts: ClassVar[dict[str, tuple[str, str]]] = {}
    """A part of a statement's text, and what takes its place, by the statement."""
    kinds: ClassVar[dict[str, Any]] = {}
    """Another kind of a statement, which decides whether it is tried again."""

    async def _check_schema(self) -> None:
        await super()._check_schema()
        statements = Statements(self.schema, ())
        for name, (part, instead) in self.texts.items():
            setattr(statements, name, rewritten(getattr(statements, name), part, instead))
        for name, kind in self.kinds.items():
            setattr(statements, name, replace(getattr(statements, name), kind=kind, asking=None))
        self._pool_executor.statements = self._statements = statements


def rewritten(statement: Statement, part: str, instead: str) -> Statement:
    assert part in statement.text, f"{part!r} is not in {statement.text}"
    return replace(statement, text=statement.text.replace(part, instead), asking=None, many=None)


class ChangesWhatIsGiven(Mutant):
    """One that stores something else than what it is given."""

    def given(self, instance: Instance) -> Instance:
        raise NotImplementedError

    async def put(self, instance: Instance, **options: Any) -> Instance:
        return await super().put(self.given(instance), **options)

    async def insert(self, instance: Instance, **options: Any) -> Instance:
        return await super().insert(self.given(instance), **options)

    async def update(self, instance: Instance, **options: Any) -> Instance:
        return await super().update(self.given(instance), **options)

    async def put_many(self, instances: Iterable[Instance], **options: Any) -> list[Instance]:
        return await super().put_many(list(map(self.given, instances)), **options)


class ChangesWhatIsRead(Mutant):
    """One that gives something else than what is stored."""

    def read(self, instance: Instance) -> Instance:
        raise NotImplementedError

    async def get(self, id: str, **options: Any) -> Instance | None:
        found = await super().get(id, **options)
        return None if found is None else self.read(found)

    async def query(self, **filters: Any) -> list[Instance]:
        return list(map(self.read, await super().query(**filters)))


def mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """``value`` with each number, text or other leaf changed."""
    if isinstance(value, dict):
        return {key: mapped(each, change) for key, each in value.items()}
    if isinstance(value, list):
        return [mapped(each, change) for each in value]
    return change(value)


def with_initial(instance: Instance, change: Callable[[Any], Any]) -> Instance:
    initial = mapped(dict(instance.context.initial), change)
    return replace(instance, context=replace(instance.context, initial=initial))


# Values


class LosesMicroseconds(ChangesWhatIsGiven):
    capability = "values"

    def given(self, instance: Instance) -> Instance:
        due = instance.due_at
        return replace(instance, due_at=due and due.replace(microsecond=0))


class LosesTheMicrosecondsOfTheHistory(ChangesWhatIsGiven):
    capability = "values"

    def given(self, instance: Instance) -> Instance:
        history = [
            replace(each, timestamp=each.timestamp.replace(microsecond=0))
            for each in instance.execution_history
        ]
        return replace(instance, execution_history=tuple(history))


class TakesWallClocksForUtc(ChangesWhatIsGiven):
    capability = "values"

    def given(self, instance: Instance) -> Instance:
        due = instance.due_at
        return replace(instance, due_at=due and due.replace(tzinfo=UTC))


class DropsUnknownState(ChangesWhatIsGiven):
    capability = "values"

    def given(self, instance: Instance) -> Instance:
        return replace(instance, unknown_state={})


class SortsTheHistory(ChangesWhatIsRead):
    capability = "values"

    def read(self, instance: Instance) -> Instance:
        history = sorted(instance.execution_history, key=lambda each: each.timestamp)
        return replace(instance, execution_history=tuple(history))


class ReadsWholeFloatsAsIntegers(ChangesWhatIsRead):
    capability = "values"

    def read(self, instance: Instance) -> Instance:
        def change(leaf: Any) -> Any:
            return int(leaf) if isinstance(leaf, float) and leaf.is_integer() else leaf

        return with_initial(instance, change)


class ReadsLargeIntegersAsFloats(ChangesWhatIsRead):
    capability = "values"

    def read(self, instance: Instance) -> Instance:
        def change(leaf: Any) -> Any:
            return float(leaf) if isinstance(leaf, int) and abs(leaf) > 2**63 else leaf

        return with_initial(instance, change)


class NormalisesTexts(ChangesWhatIsGiven):
    capability = "values"

    def given(self, instance: Instance) -> Instance:
        def change(leaf: Any) -> Any:
            return unicodedata.normalize("NFC", leaf) if isinstance(leaf, str) else leaf

        return with_initial(instance, change)


class WritesNullForNaN(ChangesWhatIsGiven):
    capability = "values"

    def given(self, instance: Instance) -> Instance:
        def change(leaf: Any) -> Any:
            return None if isinstance(leaf, float) and not math.isfinite(leaf) else leaf

        return with_initial(instance, change)


class StripsIds(ChangesWhatIsGiven):
    capability = "values"

    def given(self, instance: Instance) -> Instance:
        return replace(instance, id=instance.id.strip())


class KeepsWhatItIsGiven(Mutant):
    """As a double in memory does that copies nothing."""

    capability = "values"

    async def put(self, instance: Instance, **options: Any) -> Instance:
        stored = await super().put(instance, **options)
        self.kept = replace(stored, context=instance.context)
        return stored

    async def get(self, id: str, **options: Any) -> Instance | None:
        found = await super().get(id, **options)
        kept: Instance | None = getattr(self, "kept", None)
        if found is None or kept is None or (kept.id, kept.revision) != (id, found.revision):
            return found
        return kept


class ReadsWaitingAsRunning(ChangesWhatIsRead):
    capability = "values"

    def read(self, instance: Instance) -> Instance:
        is_waiting = instance.status is Status.WAITING
        return replace(instance, status=Status.RUNNING) if is_waiting else instance


class GivesMomentsInItsOwnZone(Mutant):
    capability = "values"

    async def insert(self, instance: Instance, **options: Any) -> Instance:
        stored = await super().insert(instance, **options)
        assert stored.inserted_at is not None
        return replace(
            stored, inserted_at=stored.inserted_at.astimezone(timezone(timedelta(hours=2)))
        )


# On one instance


class GetRaisesForNone(Mutant):
    capability = "single"

    async def get(self, id: str, **options: Any) -> Instance | None:
        found = await super().get(id, **options)
        if found is None:
            raise InstanceNotFoundError(id)
        return found


class NoRowHasAWrongId(Mutant):
    capability = "single"

    async def get(self, id: str, **options: Any) -> Instance | None:
        try:
            return await super().get(id, **options)
        except InvalidValueError:
            return None


class PutGivesWhatItWasGiven(Mutant):
    capability = "single"

    async def put(self, instance: Instance, **options: Any) -> Instance:
        await super().put(instance, **options)
        return instance


class InsertForgetsTheDueTime(Mutant):
    capability = "single"
    texts: ClassVar = {"insert": ("$5::text::timestamptz", "nullif($5::text, $5)::timestamptz")}


class UpdateTakesWhatWasNeverRead(Mutant):
    capability = "single"

    async def update(self, instance: Instance, **options: Any) -> Instance:
        if instance.revision is None:
            return await self.put(instance, **options)
        return await super().update(instance, **options)


class UpdateSetsTheClockBack(Mutant):
    capability = "single"
    texts: ClassVar = {"update": ("updated_at = ", "updated_at = - interval '1 hour' + ")}


class DeleteTakesTheWholeWorkflow(Mutant):
    capability = "single"

    async def delete(self, id: str, **options: Any) -> bool:
        if (held := await self.get(id)) is not None and not options:
            for each in await self.query(workflow=held.workflow):
                await super().delete(each.id)
            return True
        return await super().delete(id, **options)


class ModifyChangesWhatItRemembers(Mutant):
    capability = "single"

    async def insert(self, instance: Instance, **options: Any) -> Instance:
        self.remembered = await super().insert(instance, **options)
        return self.remembered

    async def modify(self, id: str, change: Any, **options: Any) -> Instance:
        def changed(held: Instance) -> Any:
            return change(replace(self.remembered, id=id, revision=held.revision))

        return await super().modify(id, changed, **options)


class ModifyMakesWhatIsMissing(Mutant):
    capability = "single"

    async def modify(self, id: str, change: Any, **options: Any) -> Instance:
        if await self.get(id) is None:
            await self.insert(Instance(id, "W"))
        return await super().modify(id, change, **options)


class PutReplacesTheVersion(Mutant):
    capability = "single"
    texts: ClassVar = {
        "put": (
            "status = EXCLUDED.status,",
            "status = EXCLUDED.status, workflow_version = EXCLUDED.workflow_version,",
        )
    }


class PutBeginsAnew(Mutant):
    capability = "single"
    texts: ClassVar = {
        "put": (
            "status = EXCLUDED.status,",
            "status = EXCLUDED.status, inserted_at = EXCLUDED.inserted_at - interval '1 hour',",
        )
    }


class PutKeepsTheDueTime(Mutant):
    capability = "single"
    texts: ClassVar = {"put": ("due_at = EXCLUDED.due_at,", "")}


class PutComparesRevisions(Mutant):
    capability = "single"

    async def put(self, instance: Instance, **options: Any) -> Instance:
        if instance.revision is None:
            return await super().put(instance, **options)
        return await self.update(instance, **options)


class InsertOverwrites(Mutant):
    capability = "single"
    texts: ClassVar = {"insert": ("WHERE $6::text::boolean AND", "WHERE $6::text IS NOT NULL AND")}


class InsertReplacesActiveOnes(Mutant):
    capability = "single"
    texts: ClassVar = {"insert": ("AND held.status IN ('completed', 'failed')", "")}

    @staticmethod
    def _require_free(id: str, held: Any, *, replace_finished: bool) -> None:
        if held is not None and not replace_finished:
            raise InstanceExistsError(id, status=held["status"], workflow=held["workflow"])


class InsertKeepsTheVersionOfWhatItReplaces(Mutant):
    capability = "single"
    texts: ClassVar = {"insert": ("workflow_version = EXCLUDED.workflow_version,", "")}


class UpdateIgnoresTheRevision(Mutant):
    capability = "single"
    texts: ClassVar = {
        "update": ("AND revision = $6::text::bigint", "AND $6::text::bigint IS NOT NULL")
    }


class UpdateKeepsTheVersion(Mutant):
    capability = "single"
    texts: ClassVar = {
        "update": (
            "workflow_version = $4::text::integer,",
            "workflow_version = coalesce(workflow_version, $4::text::integer),",
        )
    }


class UpdateInsertsWhatIsGone(Mutant):
    capability = "single"

    async def update(self, instance: Instance, **options: Any) -> Instance:
        if await self.get(instance.id) is None:
            return await self.insert(instance, **options)
        return await super().update(instance, **options)


class DeleteIsAlwaysTrue(Mutant):
    capability = "single"

    async def delete(self, id: str, **options: Any) -> bool:
        await super().delete(id, **options)
        return True


class DeleteIgnoresTheRevision(Mutant):
    capability = "single"

    async def delete(self, id: str, **options: Any) -> bool:
        return await super().delete(id)


class RevisionsBeginAtOne(Mutant):
    """As they did before the column had its default."""

    capability = "single"
    texts: ClassVar = {"insert": ("\n    runner\n)", "\n    runner, revision\n)")}

    async def _check_schema(self) -> None:
        await super()._check_schema()
        insert = self._statements.insert
        self._statements.insert = rewritten(insert, "$7::text::uuid\n)", "$7::text::uuid, 1\n)")


class ModifyStoresOverWhatFailed(Mutant):
    capability = "single"

    async def modify(self, id: str, change: Any, **options: Any) -> Instance:
        held = await self.get(id)
        try:
            return await super().modify(id, change, **options)
        except ZeroDivisionError:
            assert held is not None
            await self.put(held)
            raise


# On many


class PutManyIsNotAtomic(Mutant):
    capability = "bulk"

    async def put_many(self, instances: Iterable[Instance], **options: Any) -> list[Instance]:
        return [await self.put(each, **options) for each in instances]


class PutManyIsAtomicByChunks(Mutant):
    capability = "bulk"

    async def put_many(self, instances: Iterable[Instance], **options: Any) -> list[Instance]:
        rest, stored = list(instances), list[Instance]()
        while rest:
            stored += await super().put_many(rest[:1000], **options)
            rest = rest[1000:]
        return stored


class PutManySortsWhatItGives(Mutant):
    capability = "bulk"

    async def put_many(self, instances: Iterable[Instance], **options: Any) -> list[Instance]:
        stored = await super().put_many(instances, **options)
        return sorted(stored, key=lambda each: each.id)


class PutManyTakesTheLastOfEqualIds(Mutant):
    capability = "bulk"

    async def put_many(self, instances: Iterable[Instance], **options: Any) -> list[Instance]:
        by_id = {each.id: each for each in instances}
        return await super().put_many(by_id.values(), **options)


class GetManyDropsWhatIsAskedTwice(Mutant):
    capability = "bulk"

    async def get_many(self, ids: Iterable[str], **options: Any) -> dict[str, Instance]:
        asked = list(ids)
        return await super().get_many([id for id in asked if asked.count(id) == 1], **options)


class GetManyReadsOneChunk(Mutant):
    capability = "bulk"

    async def get_many(self, ids: Iterable[str], **options: Any) -> dict[str, Instance]:
        return await super().get_many(list(ids)[:1000], **options)


class DeleteManyGivesWhatItWasAsked(Mutant):
    capability = "bulk"

    async def delete_many(self, ids: Iterable[str], **options: Any) -> set[str]:
        asked = list(ids)
        await super().delete_many(asked, **options)
        return set(asked)


class PruneTakesWhatWaits(Mutant):
    capability = "bulk"
    texts: ClassVar = {"prune": ("('completed', 'failed')", "('completed', 'failed', 'waiting')")}


class PruneTakesEveryWorkflow(Mutant):
    capability = "bulk"
    texts: ClassVar = {
        "prune": ("workflow = $4::text", "workflow LIKE $4::text || '%'"),
    }


class PruneIncludesTheMoment(Mutant):
    capability = "bulk"
    texts: ClassVar = {"prune": ("updated_at <", "updated_at <=")}


class ADryRunDeletes(Mutant):
    capability = "bulk"

    async def prune(self, *, dry_run: bool = False, **options: Any) -> int:
        return await super().prune(**options)


class GetManyReadsItsArgumentTwice(Mutant):
    capability = "bulk"

    async def get_many(self, ids: Iterable[str], **options: Any) -> dict[str, Instance]:
        return await super().get_many(ids, **options) if any(map(len, ids)) else {}


class NoInstancesAreAnError(Mutant):
    capability = "bulk"

    async def put_many(self, instances: Iterable[Instance], **options: Any) -> list[Instance]:
        stored = await super().put_many(instances, **options)
        if not stored:
            raise ValueError
        return stored


class PruneTakesAMomentForUtc(Mutant):
    capability = "bulk"

    async def prune(self, *, finished_before: datetime, **options: Any) -> int:
        moment = finished_before.astimezone(UTC)
        return await super().prune(finished_before=moment, **options)


# Search


class Searches(Mutant):
    """One that changes the filters, or what they let through."""

    def changed(self, filters: dict[str, Any]) -> dict[str, Any]:
        return filters

    def lets_through(self, filters: dict[str, Any], instance: Instance) -> bool:
        return True

    async def query(self, **filters: Any) -> list[Instance]:
        found = await super().query(**self.changed(filters))
        return [each for each in found if self.lets_through(filters, each)]

    async def stream(self, **filters: Any) -> AsyncIterator[Instance]:
        async for each in super().stream(**self.changed(filters)):
            if self.lets_through(filters, each):
                yield each

    async def count(self, **filters: Any) -> int:
        return len(await self.query(**filters))


class TakesAFamilyForAPattern(Searches):
    capability = "search"

    def changed(self, filters: dict[str, Any]) -> dict[str, Any]:
        if "workflow_family" not in filters:
            return filters
        literal = re.split("[%_]", filters["workflow_family"])[0]
        return {**filters, "workflow_family": literal}

    def lets_through(self, filters: dict[str, Any], instance: Instance) -> bool:
        pattern = re.escape(filters.get("workflow_family", ""))
        pattern = pattern.replace("%", ".*").replace("_", ".")
        return re.match(pattern, instance.workflow, re.DOTALL) is not None


class IgnoresTheCaseOfAFamily(Searches):
    capability = "search"

    def changed(self, filters: dict[str, Any]) -> dict[str, Any]:
        if "workflow_family" not in filters:
            return filters
        mark = filters["workflow_family"][: len("Conformance.") + 32]
        return {**filters, "workflow_family": mark}

    def lets_through(self, filters: dict[str, Any], instance: Instance) -> bool:
        family: str = filters.get("workflow_family", "")
        return bool(instance.workflow.lower().startswith(family.lower()))


class IgnoresUnknownFilters(Searches):
    capability = "search"

    def changed(self, filters: dict[str, Any]) -> dict[str, Any]:
        options = ("order_by", "limit", "after", "on_error", "timeout")
        known = {*Filters.__annotations__, *options}
        return {name: value for name, value in filters.items() if name in known}


class IgnoresFiltersThatAreNone(Searches):
    capability = "search"

    def changed(self, filters: dict[str, Any]) -> dict[str, Any]:
        return {
            name: value
            for name, value in filters.items()
            if value is not None or name in {"runner", "after"}
        }


class TakesNoStatusForAnyStatus(Searches):
    capability = "search"

    def changed(self, filters: dict[str, Any]) -> dict[str, Any]:
        if "status_in" in filters and not filters["status_in"]:
            return {name: value for name, value in filters.items() if name != "status_in"}
        return filters


class BoundsAreInclusive(Searches):
    capability = "search"

    def changed(self, filters: dict[str, Any]) -> dict[str, Any]:
        if "due_before" not in filters:
            return filters
        due = filters["due_before"]
        return {**filters, "due_before": due.replace(microsecond=due.microsecond + 1)}


class CountIgnoresContains(Searches):
    capability = "search"

    async def count(self, **filters: Any) -> int:
        filters.pop("contains", None)
        return await super().count(**filters)


class StreamRepeatsARowAtThePagesEdge(Mutant):
    capability = "search"

    async def stream(self, **filters: Any) -> AsyncIterator[Instance]:
        after = None
        while page := await self.query(order_by="id", limit=50, after=after, **filters):
            for each in page:
                yield each
            if len(page) < 50:
                return
            after = self.cursor(page[-2])


class StreamPagesByOffset(Mutant):
    capability = "search"

    async def stream(self, **filters: Any) -> AsyncIterator[Instance]:
        offset = 0
        while page := (await self.query(order_by="id", **filters))[offset : offset + 10]:
            for each in page:
                yield each
            offset += 10


class StreamIsInTheOrderOfTheTable(Mutant):
    capability = "search"

    async def stream(self, **filters: Any) -> AsyncIterator[Instance]:
        for each in await self.query(**filters):
            yield each


class PagesLoseWhatHasTheSameMoment(Mutant):
    """As ``WHERE inserted_at > $1`` does."""

    capability = "search"

    async def query(self, *, after: str | None = None, **filters: Any) -> list[Instance]:
        if after is None or "_at" not in filters.get("order_by", "id"):
            return await super().query(after=after, **filters)
        column = filters["order_by"].removeprefix("-")
        whole = await super().query(**{**filters, "limit": None})
        last = next(
            each for each in whole if self.cursor(each, order_by=filters["order_by"]) == after
        )
        rest = whole[whole.index(last) + 1 :]
        found = [each for each in rest if getattr(each, column) != getattr(last, column)]
        return found[: filters["limit"]]


class TheOrderIsAlwaysAscending(Mutant):
    capability = "search"

    async def query(self, *, order_by: Any = None, **filters: Any) -> list[Instance]:
        order = order_by and order_by.removeprefix("-")
        if filters.get("after") is not None:
            return await super().query(order_by=order_by, **filters)
        return await super().query(order_by=order, **filters)


class AnyCursorWillDo(Mutant):
    capability = "search"

    async def query(self, *, after: str | None = None, **filters: Any) -> list[Instance]:
        try:
            return await super().query(after=after, **filters)
        except InvalidValueError as error:
            if error.field != "after":
                raise
            return await super().query(**filters)


class AnOrderThatThereIsNotIsIgnored(Mutant):
    capability = "search"

    async def query(self, *, order_by: Any = None, **filters: Any) -> list[Instance]:
        try:
            return await super().query(order_by=order_by, **filters)
        except InvalidValueError as error:
            if error.field != "order_by":
                raise
            return await super().query(**filters)


class ALimitCountsBeforeTheOrder(Mutant):
    capability = "search"

    async def query(self, *, order_by: Any = None, **filters: Any) -> list[Instance]:
        found = await super().query(**filters)
        return found[::-1] if order_by == "-id" else found


class AStreamThatIsLeftStaysOpen(Mutant):
    capability = "search"

    async def stream(self, **filters: Any) -> AsyncIterator[Instance]:
        self.is_open = True
        async for each in super().stream(**filters):
            yield each
        self.is_open = False

    async def count(self, **filters: Any) -> int:
        assert not getattr(self, "is_open", False), "another statement is under way"
        return await super().count(**filters)


# Concurrency: each of them passes where there is one caller.


class InsertLooksFirst(Mutant):
    capability = "concurrency"

    async def insert(
        self, instance: Instance, *, replace_finished: bool = False, **options: Any
    ) -> Instance:
        held = await self.get(instance.id)
        if held is not None and not (replace_finished and held.status in Status.FINISHED):
            raise InstanceExistsError(instance.id, status=held.status, workflow=held.workflow)
        return await self.put(instance, **options)


class UpdateLooksFirst(Mutant):
    capability = "concurrency"

    async def update(self, instance: Instance, **options: Any) -> Instance:
        held = await self.get(instance.id)
        if held is None or instance.revision is None or held.revision != instance.revision:
            return await super().update(instance, **options)
        return await self.put(instance, **options)


class UpdateComparesUnderALockOfItsProcess(Mutant):
    capability = "concurrency"

    async def update(self, instance: Instance, **options: Any) -> Instance:
        self.__dict__.setdefault("lock", asyncio.Lock())
        async with self.__dict__["lock"]:
            held = await self.get(instance.id)
            if held is None or instance.revision is None:
                return await super().update(instance, **options)
            if held.revision != instance.revision:
                assert held.revision is not None
                raise StaleInstanceError(
                    instance.id, expected=instance.revision, found=held.revision
                )
            return await self.put(instance, **options)


class ModifyPuts(Mutant):
    capability = "concurrency"

    async def modify(self, id: str, change: Any, **options: Any) -> Instance:
        held = await self.get(id)
        assert held is not None
        return await self.put(change(held), **options)


class DeleteLooksFirst(Mutant):
    capability = "concurrency"

    async def delete(self, id: str, **options: Any) -> bool:
        is_there = await self.get(id) is not None
        await super().delete(id, **options)
        return is_there


class PutManyShowsHalf(Mutant):
    capability = "concurrency"

    async def put_many(self, instances: Iterable[Instance], **options: Any) -> list[Instance]:
        return [await self.put(each, **options) for each in instances]


class PutsGuessTheirRevision(Mutant):
    capability = "concurrency"

    async def put(self, instance: Instance, **options: Any) -> Instance:
        held = await self.get(instance.id)
        stored = await super().put(instance, **options)
        if held is None or held.revision is None:
            return stored
        return replace(stored, revision=held.revision + 1)


class RevisionsComeAgain(RevisionsBeginAtOne):
    capability = "concurrency"


class PutManyLocksInTheGivenOrder(Mutant):
    capability = "concurrency"

    async def put_many(self, instances: Iterable[Instance], **options: Any) -> list[Instance]:
        if getattr(self, "is_caught", False):  # the first deadlock will do: each takes a second
            raise ConnectionError
        try:
            async with self.transaction() as transaction:
                return [await transaction.put(each) for each in instances]
        except DatabaseError:
            self.is_caught = True
            raise


class ACancelledCallEndsTheOthers(Mutant):
    """As where they share one connection."""

    capability = "concurrency"

    async def put(self, instance: Instance, **options: Any) -> Instance:
        try:
            stored = await super().put(instance, **options)
        except asyncio.CancelledError:
            self.is_cut = True
            raise
        if getattr(self, "is_cut", False):
            raise ConnectionError
        return stored


# Claims


class ClaimsWhatIsOwned(Mutant):
    capability = "claims"
    texts: ClassVar = {"claim_one": ("runner IS NULL\n", "TRUE\n")}


class ClaimsGivesWhatIsOwned(Mutant):
    capability = "claims"
    texts: ClassVar = {"claim": ("held.runner IS NULL", "TRUE")}

    async def _check_schema(self) -> None:
        await super()._check_schema()
        self._statements.claim = rewritten(self._statements.claim, "runner IS NULL\n", "TRUE\n")


class ClaimDoesNotRaiseTheRevision(Mutant):
    capability = "claims"
    texts: ClassVar = {"claim_one": ("revision = revision + 1", "revision = revision")}


class ReleaseDoesNotRaiseTheRevision(Mutant):
    capability = "claims"
    texts: ClassVar = {"release": ("revision = revision + 1", "revision = revision")}


class ATakeoverDoesNotRaiseTheRevision(Mutant):
    """Nor does a claim, so that who was thought dead may still write."""

    capability = "claims"
    texts: ClassVar = {
        "take_over": ("revision = revision + 1", "revision = revision"),
        "claim_one": ("revision = revision + 1", "revision = revision"),
    }


class ReleaseIsAlwaysTrue(Mutant):
    capability = "claims"

    async def release(self, id: str, **options: Any) -> bool:
        await super().release(id, **options)
        return True


class RunnersDoNotSayWhatTheyOwn(Mutant):
    capability = "claims"

    async def runners(self, **options: Any) -> list[RunnerInfo]:
        return [replace(each, owned=0) for each in await super().runners(**options)]


class ClaimsWhatIsNotDue(Mutant):
    capability = "claims"
    texts: ClassVar = {"claim_one": ("<= statement_timestamp()", "IS NOT NULL")}


class ClaimsEveryWorkflow(Mutant):
    capability = "claims"
    texts: ClassVar = {"claim_one": ("workflow = ANY (", "'' <> ANY (")}


class AttemptsAreNotCounted(Mutant):
    capability = "claims"
    texts: ClassVar = {"fail": ("attempts = attempts + 1", "attempts = attempts")}


class AWriteDoesNotForgetAttempts(Mutant):
    capability = "claims"
    texts: ClassVar = {"update": ("attempts = 0,", "")}


class APutTakesTheClaim(Mutant):
    capability = "claims"
    texts: ClassVar = {
        "put": (
            "runner = CASE WHEN EXCLUDED.status IN ('pending', 'running') THEN held.runner END,",
            "runner = NULL,",
        )
    }


class AFinishedOneKeepsItsOwner(Mutant):
    capability = "claims"
    texts: ClassVar = {
        "update": (
            "runner = CASE WHEN $3::text IN ('pending', 'running') THEN runner END,",
            "",
        )
    }


class AStoppedRunnerKeepsWhatItOwns(Mutant):
    capability = "claims"
    texts: ClassVar = {"end_runner": ("WHERE runner = $1", "WHERE FALSE AND runner = $1")}


class ABodyThatEndsKeepsTheInstance(Mutant):
    capability = "claims"
    texts: ClassVar = {"give_back": ("SET runner = NULL,", "SET")}


# Faults


class InsertIsTriedAgainBlindly(Mutant):
    """It finds itself in its way."""

    capability = "faults"
    kinds: ClassVar = {"insert": "idempotent"}


class UpdateIsTriedAgainBlindly(Mutant):
    """It finds itself stale, and ``modify`` then applies its change a second time."""

    capability = "faults"
    kinds: ClassVar = {"update": "idempotent"}


class DeleteIsTriedAgainBlindly(Mutant):
    capability = "faults"
    kinds: ClassVar = {"delete": "idempotent"}


class ReadsAreNotTriedAgain(Mutant):
    capability = "faults"
    kinds: ClassVar = {"get": "non_idempotent"}


class PutIsNotTriedAgain(Mutant):
    capability = "faults"
    kinds: ClassVar = {"put": "non_idempotent"}


class AnInsertTakesWhateverIsThereForItsOwn(Mutant):
    capability = "faults"

    def _equals(self, held: Any, new: Any) -> bool:
        return held is not None


class ErrorsAreSwallowed(Mutant):
    capability = "faults"

    async def put(self, instance: Instance, **options: Any) -> Instance:
        try:
            return await super().put(instance, **options)
        except DatabaseError:
            return instance


class ARefusedReadIsEmpty(Mutant):
    capability = "faults"

    async def query(self, **filters: Any) -> list[Instance]:
        try:
            return await super().query(**filters)
        except DatabaseError:
            return []


class ARefusalMayHaveBeenApplied(Mutant):
    capability = "faults"

    async def insert(self, instance: Instance, **options: Any) -> Instance:
        try:
            return await super().insert(instance, **options)
        except DatabaseError as error:
            error.applied = "unknown"
            raise


def mutants(kind: type[Mutant] = Mutant) -> list[type[Mutant]]:
    """Those of them that have a bug."""
    found = [kind] if "capability" in vars(kind) else []
    return found + [each for below in kind.__subclasses__() for each in mutants(below)]
