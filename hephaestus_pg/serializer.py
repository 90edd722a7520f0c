"""Instances to rows of ``workflow_instances`` and back.

The shape of ``state`` is HephaestusEcto 0.3's: a row written here is read there, and one written
there comes back equal when it is written here again, keys unknown to this version included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hephaestus_pg import _json
from hephaestus_pg.errors import (
    CorruptInstanceError,
    HephaestusError,
    InvalidTypeError,
    InvalidValueError,
    SerializationError,
)
from hephaestus_pg.instance import Context, ExecutionEntry, Instance, Status
from hephaestus_pg.references import LoadedClasses, References

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asyncpg import Record

MAX_STATE_BYTES = 16 * 2**20
"""The default limit of a state's JSON text: 16 MiB."""

MAX_JSONB_BYTES = 2**28 - 1
"""Where PostgreSQL's ``jsonb`` itself ends."""

_STATE_KEYS = frozenset(
    {
        "current_step",
        "context",
        "step_configs",
        "active_steps",
        "completed_steps",
        "execution_history",
        "runtime_metadata",
    }
)
_CONTEXT_KEYS = frozenset({"initial", "steps"})
_ENTRY_KEYS = frozenset({"step_ref", "event", "timestamp", "context_updates"})


@dataclass(frozen=True, slots=True)
class EncodedInstance:
    """An instance as it goes into its row; ``stored`` is what a read will give back."""

    id: str
    workflow: str
    status: str
    workflow_version: int
    state: str
    stored: Instance


class Serializer:
    """Translates instances by ``references``, and refuses a state over ``max_state_bytes``.

    Raises:
        InvalidValueError: ``max_state_bytes`` is not within 1 and what ``jsonb`` can hold.
    """

    def __init__(
        self, references: References | None = None, *, max_state_bytes: int = MAX_STATE_BYTES
    ) -> None:
        if not isinstance(max_state_bytes, int) or not 0 < max_state_bytes <= MAX_JSONB_BYTES:
            raise InvalidValueError(
                "max_state_bytes", max_state_bytes, f"give 1 to {MAX_JSONB_BYTES:,}"
            )
        self.references: References = LoadedClasses() if references is None else references
        self._max_state_bytes = max_state_bytes

    def to_db(self, instance: Instance) -> tuple[str, str, str, int, dict[str, Any]]:
        """The row: ``(id, workflow, status, workflow_version, state)``, the state of plain types.

        Raises:
            SerializationError: The state cannot be stored exactly; it names the path.
            InvalidTypeError: A workflow or a step is not what the references translate.
            InvalidValueError: One of them has no name by which it could be found again.
        """
        row, _, state = self._row(instance)
        return (*row, state)

    def from_db(
        self,
        id: str,
        workflow: str,
        status: str,
        workflow_version: int,
        state: Mapping[str, Any],
    ) -> Instance:
        """The instance of a row. Keys that ``state`` lacks get what a new instance has.

        Raises:
            CorruptInstanceError: The row cannot be read; it names the id and says why.
        """
        try:
            return self._instance(id, workflow, status, workflow_version, state)
        except (HephaestusError, ValueError) as error:
            raise CorruptInstanceError(id, str(error)) from error

    def encode(self, instance: Instance) -> EncodedInstance:
        """What :meth:`to_db` gives, with the state as JSON text.

        Raises:
            SerializationError: The state cannot be stored exactly, or is over the limit.
        """
        row, text, state = self._row(instance)
        stored = replace(
            self._instance(*row, state),
            revision=instance.revision,
            inserted_at=instance.inserted_at,
            updated_at=instance.updated_at,
        )
        return EncodedInstance(*row, text.decode(), stored)

    def decode(self, record: Record) -> Instance:
        """The instance of a whole row, its ``state`` as JSON text.

        Raises:
            CorruptInstanceError: The row cannot be read; it names the id and says why.
        """
        try:
            state = _json.loads(record["state"])
        except ValueError as error:
            raise CorruptInstanceError(record["id"], f"state: {error}") from error
        instance = self.from_db(
            record["id"], record["workflow"], record["status"], record["workflow_version"], state
        )
        return replace(
            instance,
            revision=record["revision"],
            inserted_at=record["inserted_at"].replace(tzinfo=UTC),
            updated_at=record["updated_at"].replace(tzinfo=UTC),
        )

    def _row(self, instance: Instance) -> tuple[tuple[str, str, str, int], bytes, dict[str, Any]]:
        if not isinstance(instance, Instance):
            raise InvalidTypeError("instance", instance, "give an Instance")
        text, state = _json.dumps(self._state(instance))
        if len(text) > self._max_state_bytes:
            raise SerializationError(
                "state",
                f"it takes {len(text):,} bytes as JSON, {self._max_state_bytes:,} at most; keep "
                "large data elsewhere and its name here, or raise max_state_bytes",
            )
        row = (
            instance.id,
            self.references.to_name(instance.workflow),
            str(instance.status),
            instance.workflow_version,
        )
        return row, text, state

    def _state(self, instance: Instance) -> dict[str, Any]:
        unknown = instance.unknown_state
        known = {
            "current_step": self._name_or_none(instance.current_step),
            "context": {
                **_extra(unknown.get("context", {}), _CONTEXT_KEYS, "context"),
                "initial": instance.context.initial,
                "steps": instance.context.steps,
            },
            "step_configs": self._named(instance.step_configs),
            "active_steps": self._names(instance.active_steps),
            "completed_steps": self._names(instance.completed_steps),
            "execution_history": [self._entry_state(e) for e in instance.execution_history],
            "runtime_metadata": instance.runtime_metadata,
        }
        return {**_extra(unknown, _STATE_KEYS - {"context"}, "unknown_state"), **known}

    def _name_or_none(self, reference: Any) -> str | None:
        return None if reference is None else self.references.to_name(reference)

    def _names(self, references: Iterable[Any]) -> list[str]:
        return sorted(map(self.references.to_name, references))

    def _named(self, configs: Mapping[Any, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
        named = {self.references.to_name(step): config for step, config in configs.items()}
        if len(named) < len(configs):
            raise SerializationError("step_configs", "two steps have the same name")
        return named

    def _entry_state(self, entry: ExecutionEntry) -> dict[str, Any]:
        return {
            **_extra(entry.unknown, _ENTRY_KEYS, "execution_history"),
            "step_ref": self.references.to_name(entry.step_ref),
            "event": entry.event,
            "timestamp": _timestamp_text(entry.timestamp),
            "context_updates": entry.context_updates,
        }

    def _instance(
        self, id: str, workflow: str, status: str, workflow_version: int, state: Mapping[str, Any]
    ) -> Instance:
        of_name = self.references.to_reference
        _require_mapping(state, "state")
        context = _mapping(state, "context")
        unknown = {key: state[key] for key in state if key not in _STATE_KEYS}
        if context_extra := {key: context[key] for key in context if key not in _CONTEXT_KEYS}:
            unknown["context"] = context_extra
        current_step = state.get("current_step")
        return Instance(
            id=id,
            workflow=of_name(workflow),
            workflow_version=workflow_version,
            status=Status(status),
            current_step=None if current_step is None else of_name(_str(current_step)),
            context=Context(_mapping(context, "initial"), _mapping(context, "steps")),
            step_configs={
                of_name(step): config for step, config in _mapping(state, "step_configs").items()
            },
            active_steps=frozenset(of_name(_str(s)) for s in _list(state, "active_steps")),
            completed_steps=frozenset(of_name(_str(s)) for s in _list(state, "completed_steps")),
            runtime_metadata=_mapping(state, "runtime_metadata"),
            execution_history=tuple(map(self._entry, _list(state, "execution_history"))),
            unknown_state=unknown,
        )

    def _entry(self, state: Any) -> ExecutionEntry:
        _require_mapping(state, "execution_history")
        return ExecutionEntry(
            step_ref=self.references.to_reference(_str(state.get("step_ref"))),
            event=_str(state.get("event")),
            timestamp=_timestamp(_str(state.get("timestamp"))),
            context_updates=state.get("context_updates"),
            unknown={key: state[key] for key in state if key not in _ENTRY_KEYS},
        )


class _StoredTimestamp(datetime):
    """A moment with the text it was read from: ``.500Z`` and ``.500000Z`` are one moment only."""

    text: str


def _timestamp(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is not None and _timestamp_text(moment) != text:
        moment = _StoredTimestamp.fromisoformat(text)
        moment.text = text
    return moment


def _timestamp_text(moment: datetime) -> str:
    if isinstance(moment, _StoredTimestamp) and hasattr(moment, "text"):
        return moment.text
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat()}Z"


def _extra(unknown: Mapping[str, Any], known: frozenset[str], path: str) -> Mapping[str, Any]:
    """Keys to write beside the known ones, none of which they may replace."""
    if not isinstance(unknown, Mapping):
        raise SerializationError(path, "it is not a mapping")
    if taken := sorted(known & unknown.keys()):
        raise SerializationError(path, f"{', '.join(taken)} has a field of its own; set that")
    return unknown


def _mapping(state: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = state.get(key)
    return {} if value is None else _require_mapping(value, key)


def _list(state: Mapping[str, Any], key: str) -> list[Any]:
    value = state.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError(f"{key} is a {type(value).__name__}, not a list")
    return value


def _require_mapping(value: Any, key: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{key} is a {type(value).__name__}, not a map")
    return value


def _str(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"a {type(value).__name__} stands where a text should")
    return value
