from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hephaestus_pg import (
    AsyncStorage,
    Instance,
    InvalidTypeError,
    InvalidValueError,
)
from hephaestus_pg.verbs import keyset
from tests.support.strategies import texts

pytestmark = pytest.mark.quick

MOMENT = datetime(2026, 4, 6, 12, 0, 1, tzinfo=UTC)
STORED = replace(Instance("x::1", "W"), inserted_at=MOMENT, updated_at=MOMENT)


@given(texts.filter(lambda text: 0 < len(text) < 256))
def test_a_cursor_is_plain_text_and_keeps_its_place(id: str) -> None:
    cursor = keyset.cursor(replace(STORED, id=id), "updated_at")

    assert cursor.isascii()
    assert cursor.isprintable()
    assert keyset.parameters("updated_at", cursor, 3) == ("2026-04-06 12:00:01", id, "3")
    assert keyset.parameters("id", keyset.cursor(STORED, "id"), None) == ("x::1", None)


def test_a_number_of_rows_may_be_the_member_of_an_enum_of_numbers() -> None:
    class PageSize(int, Enum):
        SMALL = 10

    assert keyset.parameters("id", None, PageSize.SMALL) == (None, "10")


@pytest.mark.parametrize("made", ("id", "inserted_at", "updated_at"))
@pytest.mark.parametrize("used", ("id", "inserted_at", "updated_at"))
def test_a_cursor_of_another_order_is_refused(made: Any, used: Any) -> None:
    cursor = AsyncStorage.cursor(STORED, order_by=made)

    if made == used:
        assert keyset.parameters(used, cursor, None)
    else:
        with pytest.raises(InvalidValueError, match=f"cursor by {made}, not by {used}"):
            keyset.parameters(used, cursor, None)


@given(st.text() | st.binary().map(lambda data: data.hex()))
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidValueError, match="not a cursor"):
        keyset.parameters("id", text, None)


@pytest.mark.parametrize(
    "place",
    (
        b"{}",
        b"[]",
        b"1",
        b'{"order_by":"id","moment":null}',
        b'{"order_by":"id","moment":null,"id":""}',
        b'{"order_by":"id","moment":null,"id":3}',
        b'{"order_by":"updated_at","moment":"x","id":"a"}',
        b'{"order_by":"updated_at","moment":7,"id":"a"}',
        b'{"order_by":"updated_at","moment":"2026-04-06T12:00:00","id":"a"}',
        b'{"order_by":"updated_at","moment":"9999-12-31T23:59:59-10:00","id":"a"}',
        b'{"order_by":"updated_at","moment":"0001-01-01T00:00:00+10:00","id":"a"}',
        b'{"order_by":"id","moment":null,"id":"a","more":' + b"9" * 10**6 + b"}",
    ),
)
def test_a_forged_cursor_is_refused(place: bytes) -> None:
    from base64 import urlsafe_b64encode

    with pytest.raises(InvalidValueError, match="^after is "):
        keyset.parameters("updated_at", urlsafe_b64encode(place).decode(), None)


def test_a_cursor_must_be_text_and_of_a_stored_instance() -> None:
    with pytest.raises(InvalidTypeError, match="after"):
        keyset.parameters("id", STORED, None)  # type: ignore[arg-type]
    with pytest.raises(InvalidTypeError, match="instance is 'x'"):
        keyset.cursor("x", "id")  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="it has no updated_at"):
        keyset.cursor(Instance("x", "W"), "updated_at")


@pytest.mark.parametrize("order_by", ("revision", "id; DROP TABLE x", "", None, 1, "ID"))
async def test_an_unknown_order_is_refused(storage: AsyncStorage, order_by: Any) -> None:
    with pytest.raises(InvalidValueError, match="order_by"):
        storage.cursor(STORED, order_by=order_by)
    if order_by is not None:
        with pytest.raises(InvalidValueError, match="order_by"):
            await storage.query(order_by=order_by)


@pytest.mark.parametrize("rows", (0, -1, True, 1.5, "3", 2**63, 2**70))
async def test_a_number_of_rows_is_a_whole_one_from_one_that_a_bigint_holds(
    storage: AsyncStorage, rows: Any
) -> None:
    with pytest.raises(InvalidValueError, match="^limit is "):
        await storage.query(limit=rows)
    with pytest.raises(InvalidValueError, match="^batch_size is "):
        await storage.prune(finished_before=MOMENT, batch_size=rows)
    assert await storage.query(limit=2**63 - 1) == []
    assert await storage.prune(finished_before=MOMENT, batch_size=2**63 - 1) == 0
