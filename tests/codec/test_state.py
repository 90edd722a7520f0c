from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from hephaestus_pg import (
    Context,
    CorruptInstanceError,
    ExecutionEntry,
    Instance,
    InvalidTypeError,
    InvalidValueError,
    Names,
    SerializationError,
    Serializer,
)
from tests.support.rows import CLASSES, EMPTY_STATE, Charge, Notify, Order, Validate, from_state

pytestmark = pytest.mark.quick


def test_a_new_instance_is_written_with_every_key() -> None:
    row = Serializer(CLASSES).to_db(Instance.new(Order, {"order_id": 123}, id="x"))

    assert row == (
        "x",
        "Elixir.MyApp.Workflows.Order.V1",
        "pending",
        1,
        {**EMPTY_STATE, "context": {"initial": {"order_id": 123}, "steps": {}}},
    )


def test_sets_of_steps_are_written_as_sorted_names() -> None:
    instance = Instance("x", Order, active_steps=frozenset({Notify, Charge, Validate}))

    assert Serializer(CLASSES).to_db(instance)[-1]["active_steps"] == [
        "Elixir.MyApp.Steps.Charge",
        "Elixir.MyApp.Steps.Notify",
        "Elixir.MyApp.Steps.Validate",
    ]


def test_a_full_instance_comes_back_equal() -> None:
    instance = Instance(
        "x",
        Order,
        workflow_version=2,
        status="running",  # type: ignore[arg-type]
        current_step=Charge,
        context=Context({"order_id": 123}, {"validate": {"result": True}}),
        step_configs={Charge: {"key": "val"}},
        active_steps=frozenset({Charge}),
        completed_steps=frozenset({Validate}),
        runtime_metadata={"user": "test@example.com"},
        execution_history=(
            ExecutionEntry(Validate, "done", datetime(2026, 1, 1, tzinfo=UTC), None),
            ExecutionEntry(Charge, "started", datetime(2026, 1, 1, 0, 0, 0, 7, UTC), {"n": 1}),
        ),
    )
    serializer = Serializer(CLASSES)

    assert serializer.from_db(*serializer.to_db(instance)) == instance


def test_any_key_that_a_state_lacks_gets_its_default() -> None:
    assert from_state({}) == Instance("x", "W")
    assert from_state(dict.fromkeys(EMPTY_STATE)) == Instance("x", "W")
    for missing in EMPTY_STATE:
        state = {key: value for key, value in EMPTY_STATE.items() if key != missing}
        assert from_state(state) == Instance("x", "W")
    assert from_state({"context": {"initial": {"a": 1}}}).context == Context({"a": 1}, {})


def test_keys_that_are_unknown_are_kept_and_written_back() -> None:
    state = {
        **EMPTY_STATE,
        "context": {"initial": {}, "steps": {}, "shared": {"a": 1}},
        "execution_history": [
            {
                "step_ref": "S",
                "event": "done",
                "timestamp": "2026-04-06T12:00:00Z",
                "context_updates": None,
                "node": "a@b",
            }
        ],
        "later": [1, 2],
    }

    instance = from_state(state)

    assert instance.unknown_state == {"later": [1, 2], "context": {"shared": {"a": 1}}}
    assert Serializer(Names()).to_db(instance)[-1] == state


@pytest.mark.parametrize(
    "unknown", ({"active_steps": []}, {"context": {"steps": {}}}, {"context": 1})
)
def test_an_unknown_key_cannot_stand_for_a_known_one(unknown: Any) -> None:
    instance = replace(Instance("x", "W"), unknown_state=unknown)

    with pytest.raises(SerializationError):
        Serializer(Names()).to_db(instance)


def test_a_broken_column_is_an_error_with_the_id() -> None:
    for columns in ({"status": "paused"}, {"workflow_version": 0}):
        with pytest.raises(CorruptInstanceError, match="'x'") as caught:
            from_state({}, **columns)
        assert caught.value.id == "x"


def test_two_steps_of_one_name_are_refused() -> None:
    class Same(Names):
        def to_name(self, reference: Any) -> str:
            del reference
            return "same"

    instance = Instance("x", "W", step_configs={"a": {}, "b": {}})
    with pytest.raises(SerializationError, match="two steps have the same name"):
        Serializer(Same()).to_db(instance)


MOMENT = datetime(2026, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("field", "fields"),
    (
        ("workflow", {"workflow": ""}),
        ("current_step", {"current_step": ""}),
        ("step_configs", {"step_configs": {"a": {}, "": {}}}),
        ("active_steps", {"active_steps": {"a", ""}}),
        ("completed_steps", {"completed_steps": {""}}),
        (
            "execution_history[1].step_ref",
            {"execution_history": [ExecutionEntry(step, "done", MOMENT) for step in ("a", "")]},
        ),
    ),
)
def test_a_reference_without_a_name_is_called_by_its_field(
    field: str, fields: dict[str, Any]
) -> None:
    with pytest.raises(InvalidValueError, match="1 to 255 characters") as caught:
        Serializer(Names()).encode(Instance("x", **{"workflow": "W", **fields}))
    assert (caught.value.field, caught.value.value) == (field, "")


def test_a_reference_of_another_type_is_called_by_its_field() -> None:
    with pytest.raises(InvalidTypeError, match="use NamedClasses") as caught:
        Serializer(Names()).encode(Instance("x", "W", current_step=Charge))
    assert (caught.value.field, caught.value.value) == ("current_step", Charge)


def test_an_error_of_their_own_keeps_its_field() -> None:
    class Own(Names):
        def to_name(self, reference: Any) -> str:
            raise InvalidValueError("country", reference, "give another")

    with pytest.raises(InvalidValueError) as caught:
        Serializer(Own()).encode(Instance("x", "W"))
    assert caught.value.field == "country"
