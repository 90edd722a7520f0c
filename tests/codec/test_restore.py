from dataclasses import FrozenInstanceError, astuple, fields, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from hephaestus_pg import Context, ExecutionEntry, Instance
from hephaestus_pg.codec.restore import restore_context, restore_entry, restore_instance

pytestmark = pytest.mark.quick

NOW = datetime(2026, 4, 6, 12, tzinfo=UTC)
CONTEXT = Context({"a": 1}, {"charge": {"b": 2}})
ENTRY = ExecutionEntry("Charge", "done", NOW, {"b": 2}, {"node": "n"})
INSTANCE = Instance("x", "Order", context=CONTEXT, execution_history=(ENTRY,), revision=7)


def values(of: Any) -> list[Any]:
    return [getattr(of, field.name) for field in fields(of)]


@pytest.mark.parametrize(
    ("restored", "made"),
    (
        (restore_context(*values(CONTEXT)), CONTEXT),
        (restore_entry(*values(ENTRY), "2026-04-06T12:00:00Z"), ENTRY),
        (restore_instance(*values(INSTANCE)), INSTANCE),
    ),
    ids=("context", "entry", "instance"),
)
def test_a_restored_value_is_as_one_that_was_made(restored: Any, made: Any) -> None:
    assert type(restored) is type(made)
    assert (restored, repr(restored), astuple(restored)) == (made, repr(made), astuple(made))
    assert replace(restored) == made
    with pytest.raises(FrozenInstanceError):
        setattr(restored, fields(made)[0].name, None)
