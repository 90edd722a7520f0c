import json
from collections import UserDict
from dataclasses import replace
from datetime import UTC, datetime
from enum import Enum
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
    UnknownReferenceError,
)
from tests.support.rows import (
    CLASSES,
    COLUMNS,
    ROWS,
    Charge,
    Payment,
    Validate,
)

pytestmark = pytest.mark.quick


@pytest.mark.parametrize("references", (CLASSES, Names()), ids=["classes", "names"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_a_row_of_the_original_is_written_back_equal(row: dict[str, Any], references: Any) -> None:
    serializer = Serializer(references)
    columns = tuple(row[column] for column in COLUMNS)

    instance = serializer.from_db(*columns)

    assert serializer.to_db(instance) == columns
    assert json.loads(serializer.encode(instance).state) == row["state"]


def test_a_row_of_the_original_is_read_as_classes_and_moments() -> None:
    row = next(row for row in ROWS if row["status"] == "waiting")

    instance = Serializer(CLASSES).from_db(*(row[column] for column in COLUMNS))

    assert instance.workflow is Payment
    assert instance.workflow_version == 2
    assert instance.current_step is Charge
    assert instance.active_steps == {Charge}
    assert instance.completed_steps == {Validate}
    assert instance.context == Context({"amount": 99}, {"validate": {"score": 0.75, "valid": True}})
    assert instance.runtime_metadata == {"retries": 3, "trace_id": "abc-123"}
    assert instance.execution_history[1] == ExecutionEntry(
        Charge, "payment_confirmed", datetime(2026, 4, 6, 12, 0, 1, 500_000, UTC), {}
    )


def test_an_unknown_reference_is_an_error_with_the_id_and_its_cause() -> None:
    with pytest.raises(CorruptInstanceError, match=r"os\.system.*add it") as caught:
        Serializer(CLASSES).from_db("x", "os.system", "pending", 1, {})
    assert isinstance(caught.value.__cause__, UnknownReferenceError)


def test_members_of_enums_of_texts_and_numbers_are_stored_as_those() -> None:
    class Id(str, Enum):  # noqa: UP042 - of which str() and f"{}" are not the text
        ONE = "order::1"

    class Version(int, Enum):
        TWO = 2

    instance = Instance(Id.ONE, "W", workflow_version=Version.TWO)

    assert repr(Serializer(Names()).encode(instance).columns) == repr(
        ("order::1", "W", "pending", "2", None)
    )


def test_what_cannot_be_stored_names_its_path_in_the_instance() -> None:
    cases: list[tuple[str, Any, str]] = [
        ("context", Context({"customer": {"name": {1, object()}}}), "context.initial.customer"),
        ("context", Context({}, {"charge": {"at": b""}}), "context.steps.charge.at"),
        ("runtime_metadata", {"a": float("nan")}, "runtime_metadata.a"),
        ("step_configs", {"S": {"t": object}}, "step_configs.S.t"),
    ]
    for field, value, path in cases:
        with pytest.raises(SerializationError) as caught:
            Serializer(Names()).to_db(replace(Instance("x", "W"), **{field: value}))
        assert caught.value.path.startswith(path)


class Refusing(UserDict[Any, Any]):
    def __iter__(self) -> Any:
        raise RuntimeError("no")

    __len__ = __getitem__ = keys = items = __iter__  # type: ignore[assignment]


def test_a_mapping_that_cannot_be_read_is_refused_with_its_path() -> None:
    instance = Instance("x", "W", runtime_metadata=Refusing())

    with pytest.raises(SerializationError, match=r"^runtime_metadata: .*RuntimeError") as caught:
        Serializer(Names()).to_db(instance)
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_state_over_the_limit_is_refused_with_both_sizes() -> None:
    instance = Instance.new("W", {"text": "x" * 1000}, id="x")

    assert len(Serializer(Names(), max_state_bytes=2000).encode(instance).state) > 1000
    with pytest.raises(SerializationError, match=r"1,\d\d\d bytes as JSON, 1,000 at most"):
        Serializer(Names(), max_state_bytes=1000).encode(instance)


@pytest.mark.parametrize("limit", (0, -1, 2**28, "1"))
def test_a_limit_beyond_what_the_column_holds_is_refused(limit: Any) -> None:
    with pytest.raises(InvalidValueError, match="max_state_bytes"):
        Serializer(max_state_bytes=limit)


def test_only_instances_are_written() -> None:
    with pytest.raises(InvalidTypeError, match="instance"):
        Serializer().to_db({"id": "x"})  # type: ignore[arg-type]
