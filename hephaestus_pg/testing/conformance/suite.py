"""What the suites share: the fixtures, and names that no other test has."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from hephaestus_pg.values.instance import Instance

if TYPE_CHECKING:
    from hephaestus_pg.protocol import Storage


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


class Suite:
    """The fixtures of a suite. A class that inherits it defines ``storage`` anew."""

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
    def own(self) -> Own:
        """Ids and a workflow of this test alone."""
        return Own()


async def held(storage: Storage, id: str) -> Instance:
    """What the storage gives for an id that it must know."""
    found = await storage.get(id)
    assert found is not None, f"get({id!r}) gave None"
    return found
