"""Instances to rows of ``workflow_instances`` and back.

The shape of ``state`` is HephaestusEcto 0.3's: a row written here is read there, and one written
there comes back equal when it is written here again, keys unknown to this version included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hephaestus_pg.codec import exact_json
from hephaestus_pg.codec.elixir import KnownAtoms
from hephaestus_pg.codec.encoded import EncodedInstance
from hephaestus_pg.codec.shape import (
    add,
    as_list,
    as_map,
    as_text,
    of_context,
    of_entry,
    of_state,
)
from hephaestus_pg.codec.timestamps import moment_at, moment_of
from hephaestus_pg.errors import (
    CorruptInstanceError,
    HephaestusError,
    InvalidValueError,
    SerializationError,
)
from hephaestus_pg.values.instance import (
    ExecutionEntry,
    Instance,
    Status,
    checked_id,
    checked_version,
    require_kind,
    restored_context,
    restored_entry,
    restored_instance,
    timestamp_text,
)
from hephaestus_pg.values.references import References, checked_references

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from asyncpg import Record

MAX_STATE_BYTES = 16 * 2**20
"""The default limit of a state's JSON text, as the server prints it: 16 MiB."""

MAX_JSONB_BYTES = 2**28 - 1
"""Where PostgreSQL's ``jsonb`` itself ends."""

_STATUSES = {str(status): status for status in Status}
_NO_STEPS: frozenset[Any] = frozenset()


class Serializer:
    """Translates instances by ``references``, and refuses a state over ``max_state_bytes``.

    With ``elixir``, the names of the atoms that exist in an Elixir application which reads the same
    table, a row is refused that it could not read: keys in a context and in an entry's
    ``context_updates``, events and the names in ``context.steps`` have to be among them.

    Raises:
        InvalidValueError: ``max_state_bytes`` is not within 1 and what ``jsonb`` can hold.
        InvalidTypeError: ``elixir`` is not several ``str``.
    """

    def __init__(
        self,
        references: References | None = None,
        *,
        max_state_bytes: int = MAX_STATE_BYTES,
        elixir: Collection[str] | None = None,
    ) -> None:
        if not isinstance(max_state_bytes, int) or not 0 < max_state_bytes <= MAX_JSONB_BYTES:
            raise InvalidValueError(
                "max_state_bytes", max_state_bytes, f"give 1 to {MAX_JSONB_BYTES:,}"
            )
        self.references = checked_references(references)
        self._max_state_bytes = max_state_bytes
        self._elixir = None if elixir is None else KnownAtoms(elixir)

    def to_db(self, instance: Instance) -> tuple[str, str, str, int, dict[str, Any]]:
        """The row: ``(id, workflow, status, workflow_version, state)``, the state of plain types.

        Raises:
            SerializationError: The state cannot be stored exactly; it names the path.
            InvalidTypeError: A workflow or a step is not what the references translate.
            InvalidValueError: One of them has no name by which it could be found again.
        """
        row, _, state, _ = self._row(instance)
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
        row, text, state, steps = self._row(instance)
        if steps is None or instance.unknown_state:
            instance = self._instance(*row, state)
            steps = instance.step_configs
        if steps:
            configs = zip(steps, state["step_configs"].values(), strict=True)
            state["step_configs"] = dict(configs)
        return EncodedInstance(*row, text.decode(), (instance, state))

    def decode(self, row: Record) -> Instance:
        """The instance of a row, its columns those of ``get.sql``: text, and a version.

        Raises:
            CorruptInstanceError: The row cannot be read; it names the id and says why.
        """
        id, workflow, status, version, text, revision, inserted_at, updated_at = row
        try:
            state = exact_json.loads(text)
            return self._instance(
                id, workflow, status, version, state, int(revision), inserted_at, updated_at
            )
        except (HephaestusError, ValueError) as error:
            raise CorruptInstanceError(id, str(error)) from error

    def _row(
        self, instance: Instance
    ) -> tuple[tuple[str, str, str, int], bytes, dict[str, Any], Collection[Any] | None]:
        """The columns, the state as text and as plain types, and the steps that have a config.

        Instead of the steps ``None``, if those plain types are not the instance's own.
        """
        if type(instance) is not Instance:
            require_kind(instance, Instance, "instance", "give an Instance")
        try:
            given, steps = self._state(instance)
        except HephaestusError:
            raise
        except Exception as error:  # of a mapping or a time zone of the caller's own
            raise SerializationError(
                "state", f"reading it raised {type(error).__name__}"
            ) from error
        text, state, same = exact_json.dumps(given)
        size, limit = len(text), self._max_state_bytes
        if (
            size * exact_json.MOST_GROWTH > limit
            and (size := exact_json.printed_size(text, limit)) > limit
        ):
            raise SerializationError(
                "state",
                f"it takes {size:,} bytes as JSON, {self._max_state_bytes:,} at most; keep "
                "large data elsewhere and its name here, or raise max_state_bytes",
            )
        row = (
            instance.id,
            self.references.to_name(instance.workflow),
            instance.status._value_,  # without the enum's own property, three times as fast
            instance.workflow_version,
        )
        if self._elixir is not None:
            self._elixir.check(row[1], state)
        return row, text, state, steps if same else None

    def _state(self, instance: Instance) -> tuple[dict[str, Any], Collection[Any]]:
        """The state, and the steps that have a config, in the order of these."""
        name_of = self.references.to_name
        context, step = instance.context, instance.current_step
        # Of one moment, as another thread may change the map.
        configs = dict(instance.step_configs) if instance.step_configs else {}
        state: dict[str, Any] = {
            "current_step": None if step is None else name_of(step),
            "context": {"initial": context.initial, "steps": context.steps},
            "step_configs": self._named(configs) if configs else configs,
            "active_steps": sorted(map(name_of, instance.active_steps)),
            "completed_steps": sorted(map(name_of, instance.completed_steps)),
            "execution_history": list(map(self._entry_state, instance.execution_history)),
            "runtime_metadata": instance.runtime_metadata,
        }
        if instance.unknown_state:
            unknown = dict(instance.unknown_state)
            add(state["context"], unknown.pop("context", {}), "context")
            add(state, unknown, "unknown_state")
        return state, configs

    def _named(self, configs: Mapping[Any, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
        named = {self.references.to_name(step): config for step, config in configs.items()}
        if len(named) < len(configs):
            raise SerializationError("step_configs", "two steps have the same name")
        return named

    def _entry_state(self, entry: ExecutionEntry) -> dict[str, Any]:
        state = {
            "step_ref": self.references.to_name(entry.step_ref),
            "event": entry.event if type(entry.event) is str else str.__str__(entry.event),
            "timestamp": timestamp_text(entry),
            "context_updates": entry.context_updates,
        }
        if entry.unknown:
            add(state, entry.unknown, "execution_history")
        return state

    def _instance(  # noqa: PLR0913, PLR0917 - the columns
        self,
        id: str,
        workflow: str,
        status: str,
        workflow_version: int,
        state: Any,
        revision: int | None = None,
        inserted_at: str | None = None,
        updated_at: str | None = None,
    ) -> Instance:
        of_name = self.references.to_reference
        known, unknown = of_state(state)
        step, context, configs, active, completed, history, metadata = known
        (initial, steps), beside = of_context({} if context is None else context)
        if beside:
            unknown = {**unknown, "context": beside}
        known_status = _STATUSES.get(status)
        if known_status is None:
            raise InvalidValueError("status", status, f"known are {', '.join(_STATUSES)}")
        return restored_instance(
            checked_id(id),
            of_name(workflow),
            checked_version(workflow_version),
            known_status,
            None if step is None else of_name(as_text(step)),
            restored_context(as_map(initial, "initial"), as_map(steps, "steps")),
            self._configs(as_map(configs, "step_configs")),
            self._steps(as_list(active, "active_steps")),
            self._steps(as_list(completed, "completed_steps")),
            as_map(metadata, "runtime_metadata"),
            self._entries(as_list(history, "execution_history")),
            revision,
            moment_at(inserted_at),
            moment_at(updated_at),
            unknown,
        )

    def _configs(self, configs: Mapping[str, Any]) -> Mapping[Any, Mapping[str, Any]]:
        of_name = self.references.to_reference
        return {of_name(name): given for name, given in configs.items()} if configs else configs

    def _steps(self, names: list[Any]) -> frozenset[Any]:
        of_name = self.references.to_reference
        return frozenset(map(of_name, map(as_text, names))) if names else _NO_STEPS

    def _entries(self, history: list[Any]) -> tuple[ExecutionEntry, ...]:
        of_name = self.references.to_reference
        entries: list[ExecutionEntry] = []
        try:
            for stored in history:
                (step, event, moment, updates), unknown = of_entry(stored)
                if not type(step) is type(event) is type(moment) is str:
                    step, event, moment = map(as_text, (step, event, moment))
                entries.append(
                    restored_entry(
                        of_name(step),
                        event,
                        moment_of(moment),
                        None if updates is None else as_map(updates, "context_updates"),
                        unknown,
                        moment,
                    )
                )
        except ValueError as error:
            raise ValueError(f"execution_history[{len(entries)}]: {error}") from None
        return tuple(entries)
