from dataclasses import FrozenInstanceError, dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest

from hephaestus_pg import (
    Context,
    ExecutionEntry,
    Instance,
    InvalidTypeError,
    InvalidValueError,
    Status,
)

pytestmark = pytest.mark.quick

NOW = datetime(2026, 4, 6, 12, tzinfo=UTC)


def test_a_new_instance_is_pending_and_has_not_been_stored() -> None:
    instance = Instance.new("Order", {"order_id": 1}, id="orderid::1")

    assert instance == Instance(
        id="orderid::1", workflow="Order", context=Context({"order_id": 1}, {})
    )
    assert instance.status is Status.PENDING
    assert instance.workflow_version == 1
    assert instance.current_step is None
    assert instance.active_steps == instance.completed_steps == frozenset()
    assert instance.execution_history == ()
    assert [instance.revision, instance.inserted_at, instance.updated_at] == [None] * 3


def test_a_new_instance_may_have_a_version_and_a_whole_context() -> None:
    context = Context({"a": 1}, {"first": {"b": 2}})

    instance = Instance.new("Order", context, id="x", version=3)

    assert instance.context is context
    assert instance.workflow_version == 3


def test_every_status_is_either_active_or_finished() -> None:
    assert set(Status) == Status.ACTIVE | Status.FINISHED
    assert not Status.ACTIVE & Status.FINISHED
    assert {"completed", "failed"} == Status.FINISHED


def test_what_the_row_says_of_itself_does_not_count_in_a_comparison() -> None:
    instance = Instance.new("Order", {}, id="x")
    stored = replace(
        instance, revision=7, inserted_at=NOW, updated_at=NOW, unknown_state={"later": 1}
    )

    assert replace(stored, runner=UUID(int=1)) == instance
    assert replace(stored, status=Status.RUNNING) != instance
    assert replace(stored, due_at=NOW) != instance


def test_values_are_frozen_and_changed_by_replacing() -> None:
    instance = Instance.new("Order", {}, id="x")

    with pytest.raises(FrozenInstanceError):
        instance.status = Status.RUNNING  # type: ignore[misc]
    assert replace(instance, status="running").status is Status.RUNNING  # type: ignore[arg-type]


def test_a_steps_result_is_put_into_a_new_context() -> None:
    before = Context({"a": 1}, {"first": {"x": 1}})

    after = before.put_step_result("second", {"y": 2}).put_step_result("first", {"x": 3})

    assert before.steps == {"first": {"x": 1}}
    assert after == Context({"a": 1}, {"first": {"x": 3}, "second": {"y": 2}})


def test_sets_and_lists_are_taken_as_the_frozen_kinds() -> None:
    entry = ExecutionEntry("Charge", "done", NOW)
    instance = Instance("x", "Order", active_steps={"a"}, execution_history=[entry])  # type: ignore[arg-type]

    assert instance.active_steps == frozenset({"a"})
    assert instance.execution_history == (entry,)


@pytest.mark.parametrize(
    ("field", "value"),
    (
        ("id", 1),
        ("id", None),
        ("workflow", None),
        ("workflow_version", "1"),
        ("workflow_version", True),
        ("workflow_version", 1.0),
        ("status", None),
        ("status", 3),
        ("context", {"a": 1}),
        ("step_configs", []),
        ("active_steps", ["a"]),
        ("completed_steps", "a"),
        ("runtime_metadata", None),
        ("execution_history", {}),
        ("execution_history", ({"event": "done"},)),
        ("unknown_state", []),
        ("revision", "1"),
        ("revision", True),
        ("inserted_at", "2026-04-06"),
        ("due_at", "2026-04-06"),
        ("runner", "0191e0a4-5b0c-7d3e-8f00-000000000001"),
    ),
)
def test_a_field_of_the_wrong_type_is_named(field: str, value: Any) -> None:
    with pytest.raises(InvalidTypeError, match=f"^{field} is ") as caught:
        Instance(**{"id": "x", "workflow": "Order", field: value})
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("field", "value"),
    (
        ("id", ""),
        ("id", "x" * 256),
        ("id", "a\0b"),
        ("id", "a\ud800"),
        ("workflow_version", 0),
        ("workflow_version", -1),
        ("workflow_version", 2**31),
        ("status", "done"),
        ("status", ""),
        ("revision", 0),
        ("revision", 2**63),
        ("inserted_at", NOW.replace(tzinfo=None)),
        ("updated_at", NOW.replace(tzinfo=None)),
        ("due_at", NOW.replace(tzinfo=None)),
    ),
)
def test_a_field_out_of_its_range_is_named_with_its_value(field: str, value: Any) -> None:
    with pytest.raises(InvalidValueError, match=f"^{field} is ") as caught:
        Instance(**{"id": "x", "workflow": "Order", field: value})
    assert (caught.value.field, caught.value.value) == (field, value)


@pytest.mark.parametrize(
    "moment",
    (
        datetime.min.replace(tzinfo=timezone(timedelta(hours=1))),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))),
    ),
    ids=datetime.isoformat,
)
def test_a_moment_that_has_no_place_in_utc_is_refused(moment: datetime) -> None:
    with pytest.raises(
        InvalidValueError, match="^timestamp is .*outside the years 1 to 9999 in UTC"
    ) as caught:
        ExecutionEntry("Charge", "done", moment)
    assert caught.value.value is moment
    with pytest.raises(InvalidValueError, match="^updated_at is "):
        Instance("x", "Order", updated_at=moment)


def test_a_context_and_an_entry_check_themselves_too() -> None:
    with pytest.raises(InvalidTypeError, match=r"^context\.initial is "):
        Context(1)  # type: ignore[arg-type]
    with pytest.raises(InvalidTypeError, match=r"^context\.steps is "):
        Context({}, [])  # type: ignore[arg-type]
    with pytest.raises(InvalidTypeError, match="^step is "):
        Context().put_step_result(1, {})  # type: ignore[arg-type]
    with pytest.raises(InvalidTypeError, match="^result is "):
        Context().put_step_result("a", None)  # type: ignore[arg-type]
    with pytest.raises(InvalidTypeError, match="^event is "):
        ExecutionEntry("Charge", None, NOW)  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="^timestamp is "):
        ExecutionEntry("Charge", "done", NOW.replace(tzinfo=None))
    with pytest.raises(InvalidTypeError, match="^context_updates is "):
        ExecutionEntry("Charge", "done", NOW, [])  # type: ignore[arg-type]


def test_ids_of_any_other_form_are_taken() -> None:
    for id in ("x" * 255, "550e8400-e29b-41d4-a716-446655440000", " ", "ä𝄞", "a'b;--"):
        assert Instance.new("Order", {}, id=id).id == id


@dataclass(frozen=True, slots=True)
class NamedContext(Context):
    name: str = "Ada"


@dataclass(frozen=True, slots=True)
class NotedEntry(ExecutionEntry):
    note: str = "by hand"


class PlainContext(Context):
    def amount(self) -> Any:
        return self.initial["amount"]


def test_a_field_of_a_subclass_which_would_not_be_stored_is_refused() -> None:
    entry = NotedEntry("Charge", "done", NOW)

    with pytest.raises(InvalidTypeError, match="name of NamedContext would not be stored"):
        Instance.new("Order", NamedContext({"a": 1}), id="x")
    with pytest.raises(InvalidTypeError, match="note of NotedEntry would not be stored"):
        Instance("x", "Order", execution_history=(entry,))


def test_a_subclass_that_only_adds_methods_is_taken() -> None:
    instance = Instance.new("Order", PlainContext({"amount": 1}), id="x")

    assert instance.context.amount() == 1  # type: ignore[attr-defined]
