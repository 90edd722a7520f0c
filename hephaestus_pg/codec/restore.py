"""Values made from what a row holds, without the checks of their constructors.

What is stored passed those checks before. Readers make these values by the thousand, and setting
the fields of a frozen dataclass costs a call for each.
"""

from __future__ import annotations

from dataclasses import fields, make_dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from hephaestus_pg.values.instance import Context, ExecutionEntry, Instance

if TYPE_CHECKING:
    from collections.abc import Callable

Value = TypeVar("Value")


def _unchecked(cls: type[Value]) -> Callable[..., Value]:
    """Makes a constructor of ``cls`` that takes all fields in order and checks none.

    It builds an instance of a mutable class with the same slots, then sets its ``__class__``: eight
    times as fast as the constructor. Slots that ``cls`` inherits are filled by arguments behind the
    fields.
    """

    def freeze(self: Any) -> None:
        self.__class__ = cls

    base = cls.__base__
    assert base is not None
    names = [each.name for each in fields(cls)]  # type: ignore[arg-type]
    return make_dataclass(
        f"Mutable{cls.__name__}",
        [*names, *getattr(base, "__slots__", ())],
        bases=(base,),
        slots=True,
        namespace={"__post_init__": freeze},
    )


parse_token = lru_cache(maxsize=1000)(UUID)
"""Reads the token of a runner, of which there are few."""

restore_context = _unchecked(Context)
restore_entry = _unchecked(ExecutionEntry)  # the timestamp's text is its last argument
restore_instance = _unchecked(Instance)
