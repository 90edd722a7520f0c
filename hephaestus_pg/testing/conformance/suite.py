"""What the suites share: the fixtures, and names that no other test has."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from inspect import isfunction
from types import FunctionType
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

import pytest

from hephaestus_pg.values.instance import Instance

if TYPE_CHECKING:
    from hephaestus_pg.protocol import Storage
    from hephaestus_pg.runners.claim import Claim
    from hephaestus_pg.runners.runner import Runner

_LOOKS = 200
_LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class Own:
    """Ids and a workflow of one test alone, so that it may share a table with anybody."""

    mark: str = field(default_factory=lambda: uuid4().hex)

    @property
    def workflow(self) -> str:
        """The name of its workflow."""
        return f"Conformance.{self.mark}"

    def id(self, name: str = "a") -> str:
        """The id of its instance with that name."""
        return f"conformance::{self.mark}::{name}"

    def instance(self, name: str = "a", **fields: Any) -> Instance:
        """A new instance, pending unless the fields say otherwise."""
        return Instance(**{"id": self.id(name), "workflow": self.workflow, **fields})

    def instances(self, number: int, **fields: Any) -> list[Instance]:
        """So many new instances, in the order of their ids."""
        return [self.instance(f"{each:05}", **fields) for each in range(number)]


class Breaks(Protocol):
    """Faults of the storage under test, to order: :class:`hephaestus_pg.testing.Faults` has them.

    Each is one of the next call of a verb. ``of`` is its name, but ``query`` for a ``stream``, and
    ``transaction`` for a ``put_many`` or a ``delete_many``.
    """

    @property
    def planned(self) -> int:
        """The number of faults that have not happened yet."""

    def lose_answer(self, of: str) -> object:
        """Has it carried out, and its answer lost with its connection."""

    def break_connection(self, of: str) -> object:
        """Has the connection break before the server heard of it."""

    def refuse(self, of: str) -> object:
        """Has the server refuse it."""

    async def expire_lease(self, runner: Runner) -> object:
        """Has the lease of a runner end, whose process does not know, so that others take over."""


class Suite:
    """The fixtures of a suite. A class that inherits it defines ``storage`` anew."""

    def __init_subclass__(cls) -> None:
        # A plug-in may mark a function itself, as anyio's does: that would be every class's.
        for name in dir(cls):
            test = getattr(cls, name)
            if name.startswith("test_") and name not in vars(cls) and isfunction(test):
                setattr(cls, name, _copied(test))

    @pytest.fixture
    def storage(self, request: pytest.FixtureRequest) -> Storage:
        """The storage under test. It takes workflows and steps as text: ``references=Names()``."""
        # Not left out: the tests would take a fixture of that name from elsewhere, such as ours.
        pytest.fail(
            f"{request.cls.__name__} has no storage: define a fixture named storage in the class",
            pytrace=False,
        )

    @pytest.fixture
    def another(self, storage: Storage) -> Storage:
        """A second storage on the same table, as another process has one; by default the same."""
        return storage

    @pytest.fixture
    def faults(self, request: pytest.FixtureRequest) -> Breaks:
        """Faults of the storage under test. Without them the tests that need them are not tried."""
        pytest.skip(f"{request.cls.__name__} has no fixture named faults")

    @pytest.fixture
    def own(self) -> Own:
        """Ids and a workflow of this test alone."""
        return Own()


def _copied(function: FunctionType) -> FunctionType:
    copy = FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__qualname__ = function.__qualname__
    marks = [*function.__dict__.get("pytestmark", ())]
    copy.__dict__.update(function.__dict__, pytestmark=marks)
    return copy


async def held(storage: Storage, id: str) -> Instance:
    """What the storage gives for an id that it must know."""
    found = await storage.get(id)
    assert found is not None, f"get({id!r}) gave None"
    return found


async def inserted_after(storage: Storage, instance: Instance, earlier: Instance) -> Instance:
    """Inserts it, again until its moment is a later one: a storage may keep whole seconds."""
    assert earlier.inserted_at is not None
    for _ in range(_LOOKS):
        written = await storage.insert(instance)
        assert written.inserted_at is not None
        if written.inserted_at > earlier.inserted_at:
            return written
        await storage.delete(instance.id)
        await asyncio.sleep(_LOOK_SECONDS)
    raise AssertionError(f"inserted_at stays at {earlier.inserted_at}")


async def claimed(runner: Runner, id: str) -> Claim:
    """The claim of an instance that must be claimable."""
    claim = await runner.claim(id)
    assert claim is not None, f"claim({id!r}) gave None"
    return claim
