"""Plain values as every layer takes them."""

from __future__ import annotations

from enum import Enum, IntEnum

import pytest

from hephaestus_pg._checks import is_int, is_number, plain_text

pytestmark = pytest.mark.quick


class Number(IntEnum):
    ONE = 1


class Shade(str, Enum):  # noqa: UP042 - whose str() is Shade.DARK
    DARK = "dark"


@pytest.mark.parametrize("value", (0, -1, 2**70, Number.ONE))
def test_a_whole_number_is_an_int(value: object) -> None:
    assert is_int(value)


@pytest.mark.parametrize("value", (True, False, 1.0, "1", None))
def test_a_bool_and_what_is_no_whole_number_is_none(value: object) -> None:
    assert not is_int(value)


def test_a_number_is_an_int_or_a_float_and_no_bool() -> None:
    assert all(map(is_number, (0, -1, 2**70, 0.5, float("nan"), Number.ONE)))
    assert not any(map(is_number, (True, False, "1", None, 1j)))


def test_a_member_of_a_text_enum_becomes_its_text() -> None:
    assert type(plain_text(Shade.DARK)) is str
    assert plain_text(Shade.DARK) == "dark"
