from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from hephaestus_pg import (
    AsyncStorage,
    CorruptInstanceError,
    ExecutionEntry,
    Instance,
    InvalidTypeError,
    InvalidValueError,
    Names,
    Serializer,
    Status,
    UnknownReferenceError,
)

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from tests.support.starting import Start

UNFIT = r"1 to 255 characters|U\+0000|lone surrogate"


class Charge:
    pass


class Notify:
    pass


class Own:
    """References as somebody writes them, with a dict for each direction."""

    classes: ClassVar = {"charge": Charge}
    names: ClassVar = {cls: name for name, cls in classes.items()}

    def __repr__(self) -> str:
        return "Own()"

    def to_name(self, reference: Any) -> Any:
        return self.names.get(reference)

    def to_reference(self, name: str) -> Any:
        return self.classes[name]


class Lenient(Own):
    def to_reference(self, name: str) -> Any:
        return self.classes.get(name)


class TestOnesOfTheUsersOwn:
    async def test_a_class_to_which_they_give_no_name_is_refused_by_every_verb(
        self, start: Start
    ) -> None:
        """A filter without a name would let all rows through, and prune delete them."""
        storage = await start(references=Own())
        kept = await storage.put(Instance("x", Charge, status=Status.COMPLETED))
        soon = datetime.now(UTC) + timedelta(hours=1)
        written: dict[str, Any] = {
            "workflow": Notify,
            "current_step": Notify,
            "active_steps": frozenset({Notify}),
            "execution_history": (ExecutionEntry(Notify, "done", soon),),
        }
        calls: list[tuple[str, Coroutine[Any, Any, object]]] = [
            (name, storage.put(replace(kept, **{name: it}))) for name, it in written.items()
        ]
        calls += [
            ("workflow", storage.query(workflow=Notify)),
            ("workflow", storage.count(workflow=Notify)),
            ("workflow", storage.prune(workflow=Notify, finished_before=soon)),
            ("workflow", storage.prune(workflow=Notify, finished_before=soon, dry_run=True)),
        ]
        for field, call in calls:
            with pytest.raises(InvalidTypeError, match=r"to_name of Own\(\) gave None") as caught:
                await call
            assert caught.value.field.removesuffix("[0].step_ref") == field
            assert caught.value.value is Notify
        assert await storage.query() == [kept]

    @pytest.mark.parametrize("name", ("", "x" * 256, "a\0b", "a\ud800"))
    def test_a_name_that_the_column_cannot_hold_is_refused(self, name: str) -> None:
        class Unfit(Own):
            names: ClassVar = {Charge: name}

        with pytest.raises(InvalidValueError, match=UNFIT):
            Serializer(Unfit()).to_db(Instance("x", Charge))

    @pytest.mark.parametrize(
        ("own", "reason"), ((Own(), "raised KeyError: 'notify'"), (Lenient(), "gave None"))
    )
    async def test_a_name_that_they_do_not_know_is_an_error_of_its_row_alone(
        self, start: Start, own: Own, reason: str
    ) -> None:
        storage = await start(references=own)
        text = await AsyncStorage.start(
            share=storage, name="text", schema=storage.schema, references=Names()
        )
        for number, step in enumerate(("charge", "notify", None)):
            await text.put(Instance(f"x{number}", "charge", current_step=step))
        await text.close()

        with pytest.raises(CorruptInstanceError, match=f"x1.*Own.*{reason}"):
            await storage.get("x1")
        found = [each.id async for each in storage.stream(on_error="skip")]
        assert found == ["x0", "x2"]
        claimed = []
        async with storage.runner(workflows=[Charge]) as runner:
            async for claim in runner.claims():
                async with claim as instance:
                    await storage.update(replace(instance, status=Status.COMPLETED))
                claimed.append(claim.id)
                if len(claimed) == 2:
                    break
        assert sorted(claimed) == ["x0", "x2"]

    def test_their_own_errors_are_left_as_they_are(self) -> None:
        class Raising(Own):
            def to_name(self, reference: Any) -> Any:
                raise ZeroDivisionError

            def to_reference(self, name: str) -> Any:
                raise UnknownReferenceError(name, "ask us")

        with pytest.raises(ZeroDivisionError):
            Serializer(Raising()).to_db(Instance("x", Charge))
        with pytest.raises(CorruptInstanceError, match="ask us"):
            Serializer(Raising()).from_db("x", "charge", "pending", 1, {})
