"""Rows of the original, the classes that they name, and instances of a state."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hephaestus_pg import (
    Instance,
    NamedClasses,
    Names,
    Serializer,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "hephaestus_ecto_0.3.0.jsonl"
ROWS = [json.loads(line) for line in GOLDEN.read_text(encoding="utf-8").splitlines()]
COLUMNS = ("id", "workflow", "status", "workflow_version", "state")


class Order:
    pass


class Payment:
    pass


class Validate:
    pass


class Charge:
    pass


class Notify:
    pass


CLASSES = NamedClasses(
    {
        "Elixir.MyApp.Workflows.Order.V1": Order,
        "Elixir.MyApp.Workflows.Payment.V2": Payment,
        "Elixir.MyApp.Steps.Validate": Validate,
        "Elixir.MyApp.Steps.Charge": Charge,
        "Elixir.MyApp.Steps.Notify": Notify,
    }
)
EMPTY_STATE: dict[str, Any] = {
    "current_step": None,
    "context": {"initial": {}, "steps": {}},
    "step_configs": {},
    "active_steps": [],
    "completed_steps": [],
    "execution_history": [],
    "runtime_metadata": {},
}


def from_state(state: Any, **columns: Any) -> Instance:
    row = {"id": "x", "workflow": "W", "status": "pending", "workflow_version": 1, **columns}
    return Serializer(Names()).from_db(**row, state=state)
