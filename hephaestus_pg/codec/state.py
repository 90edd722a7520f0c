"""The shape of a stored ``state``, which is HephaestusEcto 0.3's, and instances in that shape.

A row written here is read there. One written there is written back equal, keys that this version
does not know included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hephaestus_pg._checks import plain_text
from hephaestus_pg.codec import history, timestamps
from hephaestus_pg.codec.restore import restore_context, restore_instance
from hephaestus_pg.codec.shape import (
    merge_unknown,
    require_list,
    require_mapping,
    require_text,
    unpack_context,
    unpack_state,
)
from hephaestus_pg.errors import InvalidValueError, SerializationError
from hephaestus_pg.values.instance import ExecutionEntry, Instance, Status
from hephaestus_pg.values.references import named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime
    from uuid import UUID

    from hephaestus_pg.values.references import References

_STATUSES = {str(status): status for status in Status}
_NO_STEPS: frozenset[Any] = frozenset()


@dataclass(frozen=True, slots=True)
class StateMapper:
    """Maps instances to states and back, with steps and workflows named by ``references``."""

    references: References

    def pack(self, instance: Instance) -> tuple[dict[str, Any], dict[Any, Any]]:
        """Returns the state, and the ``step_configs`` as they were when it was made.

        The state shares the instance's maps; their values are not plain yet.
        """
        to_name = self.references.to_name
        context, step = instance.context, instance.current_step
        # A copy, because another thread may change the map meanwhile.
        configs = dict(instance.step_configs) if instance.step_configs else {}
        state: dict[str, Any] = {
            "current_step": None if step is None else to_name(step),
            "context": {"initial": context.initial, "steps": context.steps},
            "step_configs": self._pack_configs(configs) if configs else configs,
            "active_steps": self._pack_steps(instance.active_steps),
            "completed_steps": self._pack_steps(instance.completed_steps),
            "execution_history": [
                _pack_entry(entry, to_name) for entry in instance.execution_history
            ],
            "runtime_metadata": instance.runtime_metadata,
        }
        if instance.unknown_state:
            unknown = dict(instance.unknown_state)
            merge_unknown(state["context"], unknown.pop("context", {}), "context")
            merge_unknown(state, unknown, "unknown_state")
        return state, configs

    def require_names(self, instance: Instance) -> None:
        """Raises the error about the first reference that has no name, by its field."""
        for field, reference in _references(instance):
            named(self.references, field, reference)

    def unpack(  # noqa: PLR0913, PLR0917 - the columns
        self,
        id: str,
        workflow: str,
        status: str,
        workflow_version: int,
        state: Any,
        revision: int | None = None,
        inserted_at: str | None = None,
        updated_at: str | None = None,
        due_at: datetime | None = None,
        runner: UUID | None = None,
    ) -> Instance:
        """Returns the instance of a row. A key that ``state`` lacks gets a new instance's value.

        Raises:
            ValueError: Something in the row is of another shape than it should be.
            UnknownReferenceError: A name in it stands for nothing that is known.
        """
        to_reference = self.references.to_reference
        known, unknown = unpack_state(state)
        step, context, configs, active, completed, entries, metadata = known
        (initial, steps), beside = unpack_context({} if context is None else context)
        if beside:
            unknown = {**unknown, "context": beside}
        known_status = _STATUSES.get(status)
        if known_status is None:
            raise InvalidValueError("status", status, f"known are {', '.join(_STATUSES)}")
        if not type(initial) is type(steps) is type(configs) is type(metadata) is dict:
            initial = require_mapping(initial, "initial")
            steps = require_mapping(steps, "steps")
            configs = require_mapping(configs, "step_configs")
            metadata = require_mapping(metadata, "runtime_metadata")
        if not type(active) is type(completed) is type(entries) is list:
            active = require_list(active, "active_steps")
            completed = require_list(completed, "completed_steps")
            entries = require_list(entries, "execution_history")
        return restore_instance(
            id,
            to_reference(workflow),
            workflow_version,
            known_status,
            None if step is None else to_reference(require_text(step)),
            restore_context(initial, steps),
            self._unpack_configs(configs) if configs else configs,
            self._unpack_steps(active) if active else _NO_STEPS,
            self._unpack_steps(completed) if completed else _NO_STEPS,
            metadata,
            history.unpack(entries, to_reference) if entries else (),
            due_at,
            revision,
            runner,
            timestamps.from_epoch(inserted_at),
            timestamps.from_epoch(updated_at),
            unknown,
        )

    def _pack_configs(self, configs: dict[Any, Any]) -> dict[str, Any]:
        to_name = self.references.to_name
        named = {to_name(step): config for step, config in configs.items()}
        if len(named) < len(configs):
            raise SerializationError("step_configs", "two steps have the same name")
        return named

    def _pack_steps(self, steps: frozenset[Any]) -> list[str]:
        return sorted(map(self.references.to_name, steps)) if steps else []

    def _unpack_configs(self, configs: Mapping[str, Any]) -> Mapping[Any, Mapping[str, Any]]:
        to_reference = self.references.to_reference
        return {to_reference(name): given for name, given in configs.items()}

    def _unpack_steps(self, names: list[Any]) -> frozenset[Any]:
        return frozenset(map(self.references.to_reference, map(require_text, names)))


def _references(instance: Instance) -> Iterator[tuple[str, Any]]:
    yield "workflow", instance.workflow
    if instance.current_step is not None:
        yield "current_step", instance.current_step
    for field in ("step_configs", "active_steps", "completed_steps"):
        for step in [*getattr(instance, field)]:
            yield field, step
    for place, entry in enumerate(instance.execution_history):
        yield f"execution_history[{place}].step_ref", entry.step_ref


def _pack_entry(entry: ExecutionEntry, to_name: Callable[[Any], str]) -> dict[str, Any]:
    text: str | None = getattr(entry, "_text", None)
    if text is None:
        text = timestamps.format(entry.timestamp)
        object.__setattr__(entry, "_text", text)
    state = {
        "step_ref": to_name(entry.step_ref),
        "event": entry.event if type(entry.event) is str else plain_text(entry.event),
        "timestamp": text,
        "context_updates": entry.context_updates,
    }
    if entry.unknown:
        merge_unknown(state, entry.unknown, "execution_history")
    return state
