"""Patterns that no state contains are refused, and told what was probably meant."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hephaestus_pg import (
    AsyncStorage,
    Context,
    Instance,
    InvalidValueError,
    SerializationError,
)
from tests.support.instances import shown

pytestmark = pytest.mark.quick

ORDER = Instance.new("Order", {"amount": 99}, id="1")


@pytest.fixture
async def filled(storage: AsyncStorage) -> AsyncStorage:
    await storage.put_many([replace(ORDER, id=id) for id in ("1", "2", "12")])
    return storage


class TestContains:
    @pytest.mark.parametrize(
        ("pattern", "said"),
        (
            ({"amount": 99}, r"'amount'.*\{'context': \{'initial': \{'amount': 99\}\}\}"),
            ({"initial": {"amount": 99}}, r"\{'context': \{'initial': \{'amount': 99\}\}\}"),
            ({"steps": {"a": {}}}, r"\{'context': \{'steps': \{'a': \{\}\}\}\}"),
            ({"context": {"amount": 99}}, r"\{'context': \{'initial': \{'amount': 99\}\}\}"),
            ({"status": "running"}, "'status' is a filter of its own"),
            ({"workflow": "Order"}, "'workflow' is a filter of its own"),
            ({"active_steps": "Ship"}, r"is a list; probably .*\['Ship'\]"),
            ({"completed_steps": {"Ship": 1}}, "is a list"),
            ({"execution_history": {"event": "x"}}, r"\[\{'event': 'x'\}\]"),
            ({"context": ["a"]}, "'context' of a state is a dict"),
            ({"context": {"initial": 5}}, "'context.initial' of a state is a dict"),
            ({"runtime_metadata": "x"}, "is a dict"),
            ({"current_step": ["Ship"]}, "is a str"),
            ({"Context": {"initial": {"a": 1}}}, "'Context', only current_step, context, "),
        ),
        ids=shown,
    )
    @pytest.mark.parametrize("allowed", (True, False))
    async def test_what_no_state_contains_is_refused(
        self, filled: AsyncStorage, pattern: Any, said: str, allowed: bool
    ) -> None:
        for call in (filled.query, filled.count):
            with pytest.raises(InvalidValueError, match=f"^contains is .*{said}") as caught:
                await call(contains=pattern, allow_scan=allowed)
            assert caught.value.value == pattern
        with pytest.raises(InvalidValueError):
            [_ async for _ in filled.stream(contains=pattern)]

    async def test_every_key_of_a_state_is_searched(self, filled: AsyncStorage) -> None:
        found = await filled.put(
            replace(
                ORDER,
                id="found",
                current_step="ship",
                context=Context({"n": 1}, {"charge": {"ok": True}}),
                step_configs={"ship": {"by": "air"}},
                active_steps=frozenset({"ship"}),
                completed_steps=frozenset({"charge"}),
                runtime_metadata={"runner": "a"},
            )
        )
        for pattern in (
            {"current_step": "ship"},
            {"context": {"initial": {"n": 1}}},
            {"context": {"steps": {"charge": {"ok": True}}}},
            {"step_configs": {"ship": {"by": "air"}}},
            {"active_steps": ["ship"]},
            {"completed_steps": ["charge"]},
            {"runtime_metadata": {"runner": "a"}},
        ):
            assert await filled.query(contains=pattern) == [found]
        assert len(await filled.query(contains={"current_step": None})) == 3
        assert await filled.query(contains={"execution_history": [{"event": "x"}]}) == []

    @pytest.mark.parametrize(
        ("pattern", "path"),
        (
            ({1: 2}, "contains"),
            ({"context": {"initial": {"n": float("nan")}}}, "contains.context.initial.n"),
            ({"a b": object()}, "contains['a b']"),
        ),
        ids=shown,
    )
    async def test_what_json_cannot_hold_is_named_by_its_path(
        self, filled: AsyncStorage, pattern: Any, path: str
    ) -> None:
        with pytest.raises(SerializationError) as caught:
            await filled.query(contains=pattern)
        assert caught.value.path == path
        assert str(caught.value).startswith(f"{path}: ")
