"""``Storage`` is what a storage and a transaction share, and stays so."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from hephaestus_pg import AsyncStorage, Storage
from hephaestus_pg.verbs.pruning import Verbs
from hephaestus_pg.verbs.transaction import Transaction

pytestmark = pytest.mark.quick

VERBS = sorted(name for name in vars(Storage) if not name.startswith("_"))


def signature(owner: type, verb: str) -> tuple[Any, ...]:
    """What a verb takes and gives, without ``self``, which a static method has not."""
    found = inspect.signature(getattr(owner, verb))
    taken = [each for each in found.parameters.values() if each.name != "self"]
    return taken, found.return_annotation


@pytest.mark.parametrize("owner", (AsyncStorage, Transaction))
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_is_declared_as_it_is(owner: type, verb: str) -> None:
    assert signature(Storage, verb) == signature(owner, verb)


def test_every_verb_that_both_have_is_declared() -> None:
    shared = {name for name, each in inspect.getmembers(Verbs, callable) if name[0] != "_"}
    assert shared == set(VERBS)
