import re
from enum import Enum

import pytest

from hephaestus_pg import (
    InvalidTypeError,
    InvalidValueError,
    business_key,
)

pytestmark = pytest.mark.quick

UUID = "550e8400-e29b-41d4-a716-446655440000"


@pytest.mark.parametrize("value", ("abc123", "1", UUID))
def test_an_id_is_built_from_a_key_and_a_value_which_it_gives_back(value: str) -> None:
    built = business_key.build("orderid", value)

    assert built == f"orderid::{value}"
    assert business_key.extract_value(built) == value


def test_the_members_of_an_enum_of_texts_are_the_texts_that_they_are() -> None:
    class Key(str, Enum):  # noqa: UP042 - of which f"{Key.ORDER}" is not the text
        ORDER = "order"
        VALUE = "abc123"

    assert business_key.build(Key.ORDER, Key.VALUE) == "order::abc123"
    assert business_key.build_unique(Key.ORDER, "1").startswith("order::1::")


def test_unique_ids_of_one_value_differ_and_give_it_back() -> None:
    built = {business_key.build_unique("orderid", "abc") for _ in range(100)}

    assert len(built) == 100
    assert all(re.fullmatch(r"orderid::abc::[0-9a-f]{8}", id) for id in built)
    assert {business_key.extract_value(id) for id in built} == {"abc"}


@pytest.mark.parametrize(
    "key", ("", "Order", "order_id", "order id", "order::x", "ordér", "order\n", "१२")
)
def test_a_key_of_another_form_is_refused_by_name(key: str) -> None:
    with pytest.raises(InvalidValueError, match="^key is ") as caught:
        business_key.build(key, "1")
    assert (caught.value.field, caught.value.value) == ("key", key)


@pytest.mark.parametrize("value", ("", "Abc", "a-b", "a::b", UUID.upper(), UUID[:-1], "a\n", "ä"))
def test_a_value_of_another_form_is_refused_by_name(value: str) -> None:
    with pytest.raises(InvalidValueError, match="^value is "):
        business_key.build("orderid", value)


def test_text_is_asked_for_where_something_else_is_given() -> None:
    with pytest.raises(InvalidTypeError):
        business_key.build("orderid", 7)  # type: ignore[arg-type]
    with pytest.raises(InvalidTypeError):
        business_key.extract_value(7)  # type: ignore[arg-type]


def test_an_id_that_would_not_fit_the_column_is_refused() -> None:
    assert len(business_key.build("k", "v" * 252)) == 255
    with pytest.raises(InvalidValueError, match="256 characters, 255 at most"):
        business_key.build("k", "v" * 253)
    with pytest.raises(InvalidValueError):
        business_key.build_unique("k", "v" * 252)


@pytest.mark.parametrize("id", (UUID, "orderid", "orderid::", ""))
def test_an_id_that_is_no_business_key_has_no_value(id: str) -> None:
    with pytest.raises(InvalidValueError, match="key::value"):
        business_key.extract_value(id)
