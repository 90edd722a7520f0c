"""Storages with one seeded bug each, of kinds that adapters have had; test_mutants.py runs them."""

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

    caught_by: ClassVar[tuple[str, ...]]
    """The tests of the suite that have to fail."""
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
    caught_by = (
        "test_moments_keep_their_microseconds_and_their_zone",
        "test_every_write_stores_and_gives_the_same",
    )

    def given(self, instance: Instance) -> Instance:
        due = instance.due_at
        return replace(instance, due_at=due and due.replace(microsecond=0))


class LosesTheMicrosecondsOfTheHistory(ChangesWhatIsGiven):
    caught_by = (
        "test_moments_keep_their_microseconds_and_their_zone",
        "test_every_field_comes_back",
    )

    def given(self, instance: Instance) -> Instance:
        history = [
            replace(each, timestamp=each.timestamp.replace(microsecond=0))
            for each in instance.execution_history
        ]
        return replace(instance, execution_history=tuple(history))


class TakesWallClocksForUtc(ChangesWhatIsGiven):
    caught_by = ("test_moments_keep_their_microseconds_and_their_zone",)

    def given(self, instance: Instance) -> Instance:
        due = instance.due_at
        return replace(instance, due_at=due and due.replace(tzinfo=UTC))


class DropsUnknownState(ChangesWhatIsGiven):
    caught_by = ("test_state_that_this_version_does_not_know_is_kept",)

    def given(self, instance: Instance) -> Instance:
        return replace(instance, unknown_state={})


class SortsTheHistory(ChangesWhatIsRead):
    caught_by = ("test_the_history_keeps_its_order",)

    def read(self, instance: Instance) -> Instance:
        history = sorted(instance.execution_history, key=lambda each: each.timestamp)
        return replace(instance, execution_history=tuple(history))


class ReadsWholeFloatsAsIntegers(ChangesWhatIsRead):
    caught_by = ("test_json_comes_back_to_the_last_digit",)

    def read(self, instance: Instance) -> Instance:
        def change(leaf: Any) -> Any:
            return int(leaf) if isinstance(leaf, float) and leaf.is_integer() else leaf

        return with_initial(instance, change)


class ReadsLargeIntegersAsFloats(ChangesWhatIsRead):
    caught_by = ("test_json_comes_back_to_the_last_digit", "test_every_read_gives_the_same")

    def read(self, instance: Instance) -> Instance:
        def change(leaf: Any) -> Any:
            return float(leaf) if isinstance(leaf, int) and abs(leaf) > 2**63 else leaf

        return with_initial(instance, change)


class NormalisesTexts(ChangesWhatIsGiven):
    caught_by = ("test_json_comes_back_to_the_last_digit",)

    def given(self, instance: Instance) -> Instance:
        def change(leaf: Any) -> Any:
            return unicodedata.normalize("NFC", leaf) if isinstance(leaf, str) else leaf

        return with_initial(instance, change)


class WritesNullForNaN(ChangesWhatIsGiven):
    caught_by = ("test_what_cannot_be_stored_exactly_is_refused_with_its_path",)

    def given(self, instance: Instance) -> Instance:
        def change(leaf: Any) -> Any:
            return None if isinstance(leaf, float) and not math.isfinite(leaf) else leaf

        return with_initial(instance, change)


class StripsIds(ChangesWhatIsGiven):
    caught_by = ("test_ids_that_look_alike_are_different_rows",)

    def given(self, instance: Instance) -> Instance:
        return replace(instance, id=instance.id.strip())


class KeepsWhatItIsGiven(Mutant):
    """As a double in memory does that copies nothing."""

    caught_by = (
        "test_other_values_are_stored_as_their_text_or_list",
        "test_what_the_caller_changes_later_is_not_stored",
    )

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


class QueriesGiveWhatTheyKeep(Mutant):
    """As a double in memory does that copies in ``get`` and ``put`` only."""

    caught_by = ("test_what_the_caller_changes_later_is_not_stored",)

    async def query(self, **filters: Any) -> list[Instance]:
        kept: dict[tuple[str, int | None], Instance] = self.__dict__.setdefault("kept", {})
        found = await super().query(**filters)
        return [kept.setdefault((each.id, each.revision), each) for each in found]


class TakesTheOwnerItIsGiven(Mutant):
    caught_by = ("test_no_write_sets_an_owner_or_the_moments_of_the_row",)

    async def insert(self, instance: Instance, **options: Any) -> Instance:
        return replace(await super().insert(instance, **options), runner=instance.runner)


class TakesTheMomentsItIsGiven(Mutant):
    caught_by = ("test_no_write_sets_an_owner_or_the_moments_of_the_row",)

    async def update(self, instance: Instance, **options: Any) -> Instance:
        stored = await super().update(instance, **options)
        return replace(stored, inserted_at=instance.inserted_at)


class ReadsWaitingAsRunning(ChangesWhatIsRead):
    caught_by = ("test_every_status_comes_back",)

    def read(self, instance: Instance) -> Instance:
        is_waiting = instance.status is Status.WAITING
        return replace(instance, status=Status.RUNNING) if is_waiting else instance


class GivesMomentsInItsOwnZone(Mutant):
    caught_by = ("test_the_row_has_moments_in_utc",)

    async def insert(self, instance: Instance, **options: Any) -> Instance:
        stored = await super().insert(instance, **options)
        assert stored.inserted_at is not None
        return replace(
            stored, inserted_at=stored.inserted_at.astimezone(timezone(timedelta(hours=2)))
        )


class UpdateKeepsTheWorkflow(Mutant):
    caught_by = ("test_every_write_stores_and_gives_the_same",)
    texts: ClassVar = {
        "update": ("workflow = $2::text,", "workflow = coalesce(workflow, $2::text),")
    }


# On one instance


class GetRaisesForNone(Mutant):
    caught_by = ("test_get_gives_none_for_an_id_that_is_not_there",)

    async def get(self, id: str, **options: Any) -> Instance | None:
        found = await super().get(id, **options)
        if found is None:
            raise InstanceNotFoundError(id)
        return found


class NoRowHasAWrongId(Mutant):
    caught_by = ("test_an_id_that_no_row_can_have_is_refused",)

    async def get(self, id: str, **options: Any) -> Instance | None:
        try:
            return await super().get(id, **options)
        except InvalidValueError:
            return None


class PutGivesWhatItWasGiven(Mutant):
    caught_by = ("test_put_stores_what_is_not_there",)

    async def put(self, instance: Instance, **options: Any) -> Instance:
        await super().put(instance, **options)
        return instance


class InsertForgetsTheDueTime(Mutant):
    caught_by = ("test_insert_stores_what_is_not_there",)
    texts: ClassVar = {"insert": ("$5::text::timestamptz", "nullif($5::text, $5)::timestamptz")}


class UpdateTakesWhatWasNeverRead(Mutant):
    caught_by = ("test_update_refuses_what_was_never_read",)

    async def update(self, instance: Instance, **options: Any) -> Instance:
        if instance.revision is None:
            return await self.put(instance, **options)
        return await super().update(instance, **options)


class UpdateSetsTheClockBack(Mutant):
    caught_by = ("test_updated_at_never_goes_back",)
    texts: ClassVar = {"update": ("updated_at = ", "updated_at = - interval '1 hour' + ")}


class DeleteTakesTheWholeWorkflow(Mutant):
    caught_by = ("test_no_verb_touches_another_row",)

    async def delete(self, id: str, **options: Any) -> bool:
        if (held := await self.get(id)) is not None and not options:
            for each in await self.query(workflow=held.workflow):
                await super().delete(each.id)
            return True
        return await super().delete(id, **options)


class ModifyChangesWhatItRemembers(Mutant):
    caught_by = ("test_modify_changes_what_is_stored_now",)

    async def insert(self, instance: Instance, **options: Any) -> Instance:
        self.remembered = await super().insert(instance, **options)
        return self.remembered

    async def modify(self, id: str, change: Any, **options: Any) -> Instance:
        def changed(held: Instance) -> Any:
            return change(replace(self.remembered, id=id, revision=held.revision))

        return await super().modify(id, changed, **options)


class ModifyMakesWhatIsMissing(Mutant):
    caught_by = ("test_modify_of_a_row_that_is_not_there_says_so",)

    async def modify(self, id: str, change: Any, **options: Any) -> Instance:
        if await self.get(id) is None:
            await self.insert(Instance(id, "W"))
        return await super().modify(id, change, **options)


class PutReplacesTheVersion(Mutant):
    caught_by = ("test_put_replaces_everything_but_version_and_inserted_at",)
    texts: ClassVar = {
        "put": (
            "status = EXCLUDED.status,",
            "status = EXCLUDED.status, workflow_version = EXCLUDED.workflow_version,",
        )
    }


class PutBeginsAnew(Mutant):
    caught_by = ("test_put_replaces_everything_but_version_and_inserted_at",)
    texts: ClassVar = {
        "put": (
            "status = EXCLUDED.status,",
            "status = EXCLUDED.status, inserted_at = EXCLUDED.inserted_at - interval '1 hour',",
        )
    }


class PutKeepsTheDueTime(Mutant):
    caught_by = ("test_put_replaces_everything_but_version_and_inserted_at",)
    texts: ClassVar = {"put": ("due_at = EXCLUDED.due_at,", "")}


class PutComparesRevisions(Mutant):
    caught_by = ("test_put_wins_whatever_revision_it_has_seen",)

    async def put(self, instance: Instance, **options: Any) -> Instance:
        if instance.revision is None:
            return await super().put(instance, **options)
        return await self.update(instance, **options)


class InsertOverwrites(Mutant):
    caught_by = ("test_insert_refuses_a_taken_id_and_says_by_what",)
    texts: ClassVar = {"insert": ("WHERE $6::text::boolean AND", "WHERE $6::text IS NOT NULL AND")}


class InsertReplacesActiveOnes(Mutant):
    caught_by = ("test_insert_never_replaces_an_active_one",)
    texts: ClassVar = {"insert": ("AND held.status IN ('completed', 'failed')", "")}

    @staticmethod
    def _require_free(id: str, held: Any, *, replace_finished: bool) -> None:
        if held is not None and not replace_finished:
            raise InstanceExistsError(id, status=held["status"], workflow=held["workflow"])


class InsertKeepsTheVersionOfWhatItReplaces(Mutant):
    caught_by = ("test_insert_may_replace_a_finished_one_entirely",)
    texts: ClassVar = {"insert": ("workflow_version = EXCLUDED.workflow_version,", "")}


class InsertKeepsTheMomentOfWhatItReplaces(Mutant):
    caught_by = ("test_insert_may_replace_a_finished_one_entirely",)
    texts: ClassVar = {"insert": ("inserted_at = EXCLUDED.inserted_at,", "")}


class UpdateIgnoresTheRevision(Mutant):
    caught_by = ("test_update_is_refused_where_another_writer_was_first",)
    texts: ClassVar = {
        "update": ("AND revision = $6::text::bigint", "AND $6::text::bigint IS NOT NULL")
    }


class InsertReplacesOnlyWhatThereIs(Mutant):
    caught_by = ("test_insert_stores_what_is_not_there",)

    async def insert(
        self, instance: Instance, *, replace_finished: bool = False, **options: Any
    ) -> Instance:
        if replace_finished and await self.get(instance.id) is None:
            raise InstanceNotFoundError(instance.id)
        return await super().insert(instance, replace_finished=replace_finished, **options)


class UpdateKeepsTheVersion(Mutant):
    caught_by = ("test_update_stores_and_raises_the_revision_by_one",)
    texts: ClassVar = {
        "update": (
            "workflow_version = $4::text::integer,",
            "workflow_version = coalesce(workflow_version, $4::text::integer),",
        )
    }


class UpdateInsertsWhatIsGone(Mutant):
    caught_by = ("test_update_of_a_row_that_is_gone_says_so",)

    async def update(self, instance: Instance, **options: Any) -> Instance:
        if await self.get(instance.id) is None:
            return await self.insert(instance, **options)
        return await super().update(instance, **options)


class DeleteIsAlwaysTrue(Mutant):
    caught_by = ("test_delete_says_whether_there_was_a_row",)

    async def delete(self, id: str, **options: Any) -> bool:
        await super().delete(id, **options)
        return True


class DeleteIgnoresTheRevision(Mutant):
    caught_by = ("test_delete_with_a_revision_spares_what_has_changed",)

    async def delete(self, id: str, **options: Any) -> bool:
        return await super().delete(id)


class RevisionsBeginAtOne(Mutant):
    """As they did before the column had its default."""

    caught_by = ("test_a_revision_never_comes_again_after_a_delete",)
    texts: ClassVar = {"insert": ("\n    runner\n)", "\n    runner, revision\n)")}

    async def _check_schema(self) -> None:
        await super()._check_schema()
        insert = self._statements.insert
        self._statements.insert = rewritten(insert, "$7::text::uuid\n)", "$7::text::uuid, 1\n)")


class InsertGoesOnWithTheRevisionItIsGiven(Mutant):
    """As it may once what had it was deleted."""

    caught_by = ("test_a_revision_never_comes_again_after_a_delete",)

    async def insert(self, instance: Instance, **options: Any) -> Instance:
        stored = await super().insert(instance, **options)
        return replace(stored, revision=instance.revision or stored.revision)


class ModifyChangesWhatIsStored(Mutant):
    """As a double in memory does that gives its own object to be changed."""

    caught_by = ("test_modify_changes_nothing_where_the_function_fails",)

    async def modify(self, id: str, change: Any, **options: Any) -> Instance:
        held = await self.get(id)
        assert held is not None
        try:
            return await self.update(change(held), **options)
        except ZeroDivisionError:
            await self.put(held)
            raise


class ModifyStoresOverWhatFailed(Mutant):
    caught_by = ("test_modify_changes_nothing_where_the_function_fails",)

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
    caught_by = ("test_put_many_stores_all_or_none",)

    async def put_many(self, instances: Iterable[Instance], **options: Any) -> list[Instance]:
        return [await self.put(each, **options) for each in instances]


class PutManyIsAtomicByChunks(Mutant):
    caught_by = ("test_put_many_stores_all_or_none",)

    async def put_many(self, instances: Iterable[Instance], **options: Any) -> list[Instance]:
        rest, stored = list(instances), list[Instance]()
        while rest:
            stored += await super().put_many(rest[:1000], **options)
            rest = rest[1000:]
        return stored


class PutManySortsWhatItGives(Mutant):
    caught_by = ("test_put_many_stores_each_as_put_does_in_their_order",)

    async def put_many(self, instances: Iterable[Instance], **options: Any) -> list[Instance]:
        stored = await super().put_many(instances, **options)
        return sorted(stored, key=lambda each: each.id)


class PutManyKeepsTheWorkflow(Mutant):
    caught_by = ("test_put_many_stores_each_as_put_does_in_their_order",)
    texts: ClassVar = {"put_many": ("workflow = EXCLUDED.workflow,", "")}


class PutManyTakesTheLastOfEqualIds(Mutant):
    caught_by = ("test_put_many_refuses_the_same_id_twice",)

    async def put_many(self, instances: Iterable[Instance], **options: Any) -> list[Instance]:
        by_id = {each.id: each for each in instances}
        return await super().put_many(by_id.values(), **options)


class GetManyDropsWhatIsAskedTwice(Mutant):
    caught_by = ("test_get_many_gives_what_there_is_whatever_is_asked_twice",)

    async def get_many(self, ids: Iterable[str], **options: Any) -> dict[str, Instance]:
        asked = list(ids)
        return await super().get_many([id for id in asked if asked.count(id) == 1], **options)


class GetManyReadsOneChunk(Mutant):
    caught_by = (
        "test_many_are_put_read_and_deleted_completely",
        "test_one_text_is_not_taken_for_many_ids",
    )

    async def get_many(self, ids: Iterable[str], **options: Any) -> dict[str, Instance]:
        return await super().get_many(list(ids)[:1000], **options)


class DeleteManyGivesWhatItWasAsked(Mutant):
    caught_by = ("test_delete_many_gives_the_ids_of_those_that_there_were",)

    async def delete_many(self, ids: Iterable[str], **options: Any) -> set[str]:
        asked = list(ids)
        await super().delete_many(asked, **options)
        return set(asked)


class PruneTakesWhatWaits(Mutant):
    caught_by = ("test_prune_deletes_what_is_finished_and_nothing_active",)
    texts: ClassVar = {"prune": ("('completed', 'failed')", "('completed', 'failed', 'waiting')")}


class PruneTakesEveryWorkflow(Mutant):
    caught_by = ("test_prune_deletes_what_is_finished_and_nothing_active",)
    texts: ClassVar = {
        "prune": ("workflow = $4::text", "workflow LIKE $4::text || '%'"),
    }


class PruneIncludesTheMoment(Mutant):
    caught_by = ("test_prune_spares_what_was_written_since",)
    texts: ClassVar = {"prune": ("_at < $2", "_at <= $2")}


class PruneTakesWhatIsOld(Mutant):
    caught_by = ("test_prune_spares_what_is_old_but_was_written_since",)
    texts: ClassVar = {"prune": ("AND updated_at < $2::text::timestamp", "")}


class RevisionsOfManyBeginAtOne(Mutant):
    caught_by = ("test_no_revision_comes_again_after_many_were_deleted",)
    texts: ClassVar = {"put_many": ("updated_at\n)\nSELECT", "updated_at, revision\n)\nSELECT")}

    async def _check_schema(self) -> None:
        await super()._check_schema()
        put_many = self._statements.put_many
        self._statements.put_many = rewritten(put_many, "\nFROM unnest", ", 1\nFROM unnest")


class ADryRunDeletes(Mutant):
    caught_by = ("test_a_dry_run_of_prune_only_counts",)

    async def prune(self, *, dry_run: bool = False, **options: Any) -> int:
        return await super().prune(**options)


class GetManyReadsItsArgumentTwice(Mutant):
    caught_by = ("test_any_iterable_is_read_once",)

    async def get_many(self, ids: Iterable[str], **options: Any) -> dict[str, Instance]:
        return await super().get_many(ids, **options) if any(map(len, ids)) else {}


class NoInstancesAreAnError(Mutant):
    caught_by = ("test_nothing_is_done_for_no_instances",)

    async def put_many(self, instances: Iterable[Instance], **options: Any) -> list[Instance]:
        stored = await super().put_many(instances, **options)
        if not stored:
            raise ValueError
        return stored


class PruneTakesAMomentForUtc(Mutant):
    caught_by = ("test_prune_refuses_a_moment_without_a_zone",)

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
    caught_by = ("test_a_family_is_a_literal_prefix",)

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
    caught_by = ("test_a_family_is_a_literal_prefix",)

    def changed(self, filters: dict[str, Any]) -> dict[str, Any]:
        if "workflow_family" not in filters:
            return filters
        mark = filters["workflow_family"][: len("Conformance.") + 32]
        return {**filters, "workflow_family": mark}

    def lets_through(self, filters: dict[str, Any], instance: Instance) -> bool:
        family: str = filters.get("workflow_family", "")
        return bool(instance.workflow.lower().startswith(family.lower()))


class IgnoresUnknownFilters(Searches):
    caught_by = ("test_a_wrong_filter_is_refused",)

    def changed(self, filters: dict[str, Any]) -> dict[str, Any]:
        options = ("order_by", "limit", "after", "on_error", "timeout")
        known = {*Filters.__annotations__, *options}
        return {name: value for name, value in filters.items() if name in known}


class IgnoresFiltersThatAreNone(Searches):
    caught_by = ("test_a_wrong_filter_is_refused",)

    def changed(self, filters: dict[str, Any]) -> dict[str, Any]:
        return {
            name: value
            for name, value in filters.items()
            if value is not None or name in {"runner", "after"}
        }


class TakesTruthForOne(Searches):
    """As Python does."""

    caught_by = ("test_a_filter_lets_through_what_it_says",)

    def changed(self, filters: dict[str, Any]) -> dict[str, Any]:
        if "contains" not in filters:
            return filters
        contains = mapped(filters["contains"], lambda leaf: 1 if leaf is True else leaf)
        return {**filters, "contains": contains}


class IgnoresTheCaseOfAWorkflow(Mutant):
    caught_by = ("test_a_filter_lets_through_what_it_says",)

    async def query(self, **filters: Any) -> list[Instance]:
        upper = {**filters, "workflow": filters["workflow"].upper()}
        return await super().query(**filters) + await super().query(**upper)


class TakesUpdatedForInserted(Searches):
    caught_by = ("test_when_a_row_was_inserted_is_not_when_it_was_updated",)

    def changed(self, filters: dict[str, Any]) -> dict[str, Any]:
        return {name.replace("updated", "inserted"): each for name, each in filters.items()}


class OrdersByTheOtherMoment(Mutant):
    caught_by = ("test_when_a_row_was_inserted_is_not_when_it_was_updated",)

    async def query(self, *, order_by: Any = None, **filters: Any) -> list[Instance]:
        order = order_by and order_by.replace("inserted", "updated")
        return await super().query(order_by=order, **filters)


class TakesNoStatusForAnyStatus(Searches):
    caught_by = ("test_a_filter_lets_through_what_it_says",)

    def changed(self, filters: dict[str, Any]) -> dict[str, Any]:
        if "status_in" in filters and not filters["status_in"]:
            return {name: value for name, value in filters.items() if name != "status_in"}
        return filters


class ADueTimeIsDueBeforeItself(Searches):
    caught_by = ("test_a_filter_lets_through_what_it_says",)

    def changed(self, filters: dict[str, Any]) -> dict[str, Any]:
        if "due_before" not in filters:
            return filters
        due = filters["due_before"]
        return {**filters, "due_before": due.replace(microsecond=due.microsecond + 1)}


class AnIdIsEnough(Searches):
    caught_by = ("test_an_id_finds_its_row_if_the_other_filters_let_it_through",)

    def changed(self, filters: dict[str, Any]) -> dict[str, Any]:
        return {"id": filters["id"]} if "id" in filters else filters


class BoundsOfTimeAreInclusive(Searches):
    caught_by = ("test_bounds_of_time_are_exclusive",)

    def changed(self, filters: dict[str, Any]) -> dict[str, Any]:
        before = {name: filters[name] for name in filters if name.endswith("ted_before")}
        return filters | {name: moment + timedelta(seconds=1) for name, moment in before.items()}


class CountIgnoresContains(Searches):
    caught_by = ("test_a_filter_lets_through_what_it_says",)

    async def count(self, **filters: Any) -> int:
        filters.pop("contains", None)
        return await super().count(**filters)


class StreamRepeatsARowAtThePagesEdge(Mutant):
    caught_by = ("test_a_stream_gives_each_row_once_by_id",)

    async def stream(self, **filters: Any) -> AsyncIterator[Instance]:
        after = None
        while page := await self.query(order_by="id", limit=50, after=after, **filters):
            for each in page:
                yield each
            if len(page) < 50:
                return
            after = self.cursor(page[-2])


class StreamPagesByOffset(Mutant):
    caught_by = ("test_a_stream_gives_what_stays_once_while_rows_change",)

    async def stream(self, **filters: Any) -> AsyncIterator[Instance]:
        offset = 0
        while page := (await self.query(order_by="id", **filters))[offset : offset + 10]:
            for each in page:
                yield each
            offset += 10


class StreamIsInTheOrderOfWrites(Mutant):
    caught_by = ("test_a_stream_gives_each_row_once_by_id",)

    async def stream(self, **filters: Any) -> AsyncIterator[Instance]:
        for each in sorted(await self.query(**filters), key=lambda each: each.revision or 0):
            yield each


class PagesLoseWhatHasTheSameMoment(Mutant):
    """As ``WHERE inserted_at > $1`` does."""

    caught_by = (
        "test_pages_are_complete_and_without_repeats",
        "test_pages_hold_what_stays_once_while_rows_change",
    )

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
    caught_by = ("test_an_order_is_kept_and_the_id_decides_between_equals",)

    async def query(self, *, order_by: Any = None, **filters: Any) -> list[Instance]:
        order = order_by and order_by.removeprefix("-")
        if filters.get("after") is not None:
            return await super().query(order_by=order_by, **filters)
        return await super().query(order_by=order, **filters)


class AnyCursorWillDo(Mutant):
    caught_by = ("test_a_cursor_of_another_order_is_refused",)

    async def query(self, *, after: str | None = None, **filters: Any) -> list[Instance]:
        try:
            return await super().query(after=after, **filters)
        except InvalidValueError as error:
            if error.field != "after":
                raise
            return await super().query(**filters)


class AnOrderThatThereIsNotIsIgnored(Mutant):
    caught_by = ("test_a_wrong_order_or_limit_is_refused",)

    async def query(self, *, order_by: Any = None, **filters: Any) -> list[Instance]:
        try:
            return await super().query(order_by=order_by, **filters)
        except InvalidValueError as error:
            if error.field != "order_by":
                raise
            return await super().query(**filters)


class ALimitCountsBeforeTheFilters(Mutant):
    """In the rows of one test, as a double in memory has no others."""

    caught_by = ("test_a_limit_gives_the_first_in_that_order",)

    async def query(self, *, limit: int | None = None, **filters: Any) -> list[Instance]:
        family = await super().query(workflow_family=filters["workflow"], order_by="id")
        found = await super().query(**filters)
        return [each for each in family[:limit] if each in found]


class ALimitCountsBeforeTheOrder(Mutant):
    caught_by = ("test_a_limit_gives_the_first_in_that_order",)

    async def query(self, *, order_by: Any = None, **filters: Any) -> list[Instance]:
        found = await super().query(**filters)
        return found[::-1] if order_by == "-id" else found


class AStreamThatIsLeftStaysOpen(Mutant):
    caught_by = ("test_a_stream_may_be_left_early",)

    async def stream(self, **filters: Any) -> AsyncIterator[Instance]:
        self.is_open = True
        async for each in super().stream(**filters):
            yield each
        self.is_open = False

    async def count(self, **filters: Any) -> int:
        assert not getattr(self, "is_open", False), "another statement is under way"
        return await super().count(**filters)


# Concurrency: each of them passes where there is one caller.


class KeepsWhatItHasRead(Mutant):
    """As a cache does that only this process's writes clear."""

    caught_by = ("test_what_another_writes_is_seen_by_the_next_read",)

    async def get(self, id: str, **options: Any) -> Instance | None:
        kept: dict[str, Instance | None] = self.__dict__.setdefault("kept", {})
        if id not in kept:
            kept[id] = await super().get(id, **options)
        return kept[id]


class InsertLooksFirst(Mutant):
    caught_by = (
        "test_of_many_inserts_exactly_one_succeeds",
        "test_of_many_who_replace_a_finished_one_exactly_one_succeeds",
    )

    async def insert(
        self, instance: Instance, *, replace_finished: bool = False, **options: Any
    ) -> Instance:
        held = await self.get(instance.id)
        if held is not None and not (replace_finished and held.status in Status.FINISHED):
            raise InstanceExistsError(instance.id, status=held.status, workflow=held.workflow)
        return await self.put(instance, **options)


class UpdateLooksFirst(Mutant):
    caught_by = ("test_of_many_updates_of_one_revision_exactly_one_succeeds",)

    async def update(self, instance: Instance, **options: Any) -> Instance:
        held = await self.get(instance.id)
        if held is None or instance.revision is None or held.revision != instance.revision:
            return await super().update(instance, **options)
        return await self.put(instance, **options)


class UpdateComparesUnderALockOfItsProcess(Mutant):
    caught_by = ("test_no_change_of_many_modifies_is_lost",)
    both_have_looked: ClassVar = asyncio.Barrier(2)

    async def _update(self, instance: Instance, **options: Any) -> Instance:
        is_first = "lock" not in self.__dict__
        async with self.__dict__.setdefault("lock", asyncio.Lock()):
            held = await self.get(instance.id)
            if is_first:  # so that the two processes do not happen to take turns
                await self.both_have_looked.wait()
            if held is None or instance.revision is None:
                return await super()._update(instance, **options)
            if held.revision != instance.revision:
                assert held.revision is not None
                raise StaleInstanceError(
                    instance.id, expected=instance.revision, found=held.revision
                )
            return await self.put(instance, timeout=options["timeout"])


class ModifyPuts(Mutant):
    caught_by = ("test_no_change_of_many_modifies_is_lost",)

    async def modify(self, id: str, change: Any, **options: Any) -> Instance:
        held = await self.get(id)
        assert held is not None
        return await self.put(change(held), **options)


class DeleteLooksFirst(Mutant):
    caught_by = ("test_of_many_deletes_exactly_one_says_that_there_was_a_row",)

    async def delete(self, id: str, **options: Any) -> bool:
        is_there = await self.get(id) is not None
        await super().delete(id, **options)
        return is_there


class PutManyShowsHalf(Mutant):
    caught_by = ("test_nobody_sees_half_of_a_put_many",)

    async def put_many(self, instances: Iterable[Instance], **options: Any) -> list[Instance]:
        return [await self.put(each, **options) for each in instances]


class PutsGuessTheirRevision(Mutant):
    caught_by = ("test_revisions_of_many_puts_grow_by_one_and_none_comes_twice",)

    async def put(self, instance: Instance, **options: Any) -> Instance:
        held = await self.get(instance.id)
        stored = await super().put(instance, **options)
        if held is None or held.revision is None:
            return stored
        return replace(stored, revision=held.revision + 1)


class RevisionsComeAgain(RevisionsBeginAtOne):
    caught_by = ("test_no_revision_comes_twice_while_a_row_comes_and_goes",)


class PutManyLocksInTheGivenOrder(Mutant):
    caught_by = ("test_put_many_in_opposite_orders_does_not_deadlock",)

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

    caught_by = ("test_a_cancelled_call_disturbs_no_other",)

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
    caught_by = (
        "test_a_runner_owns_what_it_inserts",
        "test_of_many_who_claim_one_instance_exactly_one_has_it",
    )
    texts: ClassVar = {"claim_one": ("runner IS NULL\n", "TRUE\n")}


class ClaimsGivesWhatIsOwned(Mutant):
    caught_by = ("test_claims_gives_nobody_what_another_has",)
    texts: ClassVar = {"claim": ("held.runner IS NULL", "TRUE")}

    async def _check_schema(self) -> None:
        await super()._check_schema()
        self._statements.claim = rewritten(self._statements.claim, "runner IS NULL\n", "TRUE\n")


class ClaimDoesNotRaiseTheRevision(Mutant):
    caught_by = ("test_a_claim_raises_the_revision_so_that_older_readers_are_stale",)
    texts: ClassVar = {"claim_one": ("revision = revision + 1", "revision = revision")}


class ReleaseDoesNotRaiseTheRevision(Mutant):
    caught_by = ("test_whose_claim_is_released_cannot_write_any_more",)
    texts: ClassVar = {"release": ("revision = revision + 1", "revision = revision")}


class ATakeoverDoesNotRaiseTheRevision(Mutant):
    """Nor does a claim, so that who was thought dead may still write."""

    caught_by = ("test_who_outlives_its_lease_cannot_write_any_more",)
    texts: ClassVar = {
        "take_over": ("revision = revision + 1", "revision = revision"),
        "claim_one": ("revision = revision + 1", "revision = revision"),
    }


class ReleaseIsAlwaysTrue(Mutant):
    caught_by = ("test_release_takes_only_what_somebody_has",)

    async def release(self, id: str, **options: Any) -> bool:
        await super().release(id, **options)
        return True


class RunnersDoNotSayWhatTheyOwn(Mutant):
    caught_by = ("test_a_runner_is_listed_while_it_lives",)

    async def runners(self, **options: Any) -> list[RunnerInfo]:
        return [replace(each, owned=0) for each in await super().runners(**options)]


class ClaimsWhatIsNotDue(Mutant):
    caught_by = ("test_the_next_attempt_waits", "test_what_is_due_and_has_work_left_can_be_claimed")
    texts: ClassVar = {"claim_one": ("<= statement_timestamp()", "IS NOT NULL")}


class ClaimsEveryWorkflow(Mutant):
    caught_by = ("test_a_runner_is_given_only_the_workflows_that_it_names",)
    texts: ClassVar = {"claim_one": ("workflow = ANY (", "'' <> ANY (")}


class AttemptsAreNotCounted(Mutant):
    caught_by = ("test_a_failed_attempt_counts_and_after_the_last_nobody_is_given_it",)
    texts: ClassVar = {"fail": ("attempts = attempts + 1", "attempts = attempts")}


class AWriteDoesNotForgetAttempts(Mutant):
    caught_by = ("test_a_write_begins_the_count_of_attempts_anew",)
    texts: ClassVar = {"update": ("attempts = 0,", "")}


class APutTakesTheClaim(Mutant):
    caught_by = ("test_a_put_by_somebody_else_wins_and_takes_no_claim",)
    texts: ClassVar = {
        "put": (
            "runner = CASE WHEN EXCLUDED.status IN ('pending', 'running') THEN held.runner END,",
            "runner = NULL,",
        )
    }


class AFinishedOneKeepsItsOwner(Mutant):
    caught_by = ("test_a_write_that_leaves_no_work_gives_the_claim_up",)
    texts: ClassVar = {
        "update": (
            "runner = CASE WHEN $3::text IN ('pending', 'running') THEN runner END,",
            "",
        )
    }


class AStoppedRunnerKeepsWhatItOwns(Mutant):
    caught_by = ("test_a_runner_that_stops_gives_back_at_once",)
    texts: ClassVar = dict.fromkeys(
        ("free_owned", "end_runner"), ("WHERE runner = $1", "WHERE FALSE AND runner = $1")
    )


class ABodyThatEndsKeepsTheInstance(Mutant):
    caught_by = ("test_a_body_that_ends_gives_the_instance_back",)
    texts: ClassVar = {"give_back": ("SET runner = NULL,", "SET")}


# Faults


class InsertIsTriedAgainBlindly(Mutant):
    """It finds itself in its way."""

    caught_by = ("test_an_insert_whose_answer_is_lost_does_not_find_itself_in_its_way",)
    kinds: ClassVar = {"insert": "idempotent"}


class UpdateIsTriedAgainBlindly(Mutant):
    """It finds itself stale, and ``modify`` then applies its change a second time."""

    caught_by = ("test_a_change_by_modify_happens_once", "test_an_update_happens_once")
    kinds: ClassVar = {"update": "idempotent"}


class DeleteIsTriedAgainBlindly(Mutant):
    caught_by = ("test_a_write_is_done_though_its_connection_is_lost_before_or_after",)
    kinds: ClassVar = {"delete": "idempotent"}


class ReadsAreNotTriedAgain(Mutant):
    caught_by = ("test_a_read_is_tried_again",)
    kinds: ClassVar = {"get": "non_idempotent"}


class PutIsNotTriedAgain(Mutant):
    caught_by = ("test_a_write_is_done_though_its_connection_is_lost_before_or_after",)
    kinds: ClassVar = {"put": "non_idempotent"}


class AnInsertTakesWhateverIsThereForItsOwn(Mutant):
    caught_by = ("test_an_insert_of_a_taken_id_is_never_taken_for_done",)

    def _equals(self, held: Any, new: Any) -> bool:
        return held is not None


class ErrorsAreSwallowed(Mutant):
    caught_by = ("test_a_refused_write_says_that_nothing_was_written",)

    async def put(self, instance: Instance, **options: Any) -> Instance:
        try:
            return await super().put(instance, **options)
        except DatabaseError:
            return instance


class ARefusedReadIsEmpty(Mutant):
    caught_by = ("test_a_refused_read_is_an_error_and_the_next_works",)

    async def query(self, **filters: Any) -> list[Instance]:
        try:
            return await super().query(**filters)
        except DatabaseError:
            return []


class ARefusalMayHaveBeenApplied(Mutant):
    caught_by = ("test_a_refused_write_says_that_nothing_was_written",)

    async def insert(self, instance: Instance, **options: Any) -> Instance:
        try:
            return await super().insert(instance, **options)
        except DatabaseError as error:
            error.applied = "unknown"
            raise


def mutants(kind: type[Mutant] = Mutant) -> list[type[Mutant]]:
    """Those of them that have a bug."""
    found = [kind] if "caught_by" in vars(kind) else []
    return found + [each for below in kind.__subclasses__() for each in mutants(below)]
