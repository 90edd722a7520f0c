"""Instances to rows of ``workflow_instances`` and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hephaestus_pg._checks import plain_text
from hephaestus_pg.codec import exact_json
from hephaestus_pg.codec.elixir import KnownAtoms
from hephaestus_pg.codec.encoded import EncodedInstance
from hephaestus_pg.codec.restore import parse_token
from hephaestus_pg.codec.state import StateMapper
from hephaestus_pg.codec.timestamps import format_due, parse_due
from hephaestus_pg.errors import (
    CorruptInstanceError,
    HephaestusError,
    InvalidValueError,
    SerializationError,
)
from hephaestus_pg.values.arguments import whole_number
from hephaestus_pg.values.instance import (
    MAX_VERSION,
    Instance,
    checked_id,
    checked_version,
    require_kind,
)
from hephaestus_pg.values.own_references import checked_references

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from asyncpg import Record

    from hephaestus_pg.values.references import References

MAX_STATE_BYTES = 16 * 2**20
"""The default limit of a state's JSON text, as the server prints it: 16 MiB."""

MAX_JSONB_BYTES = 2**28 - 1
"""The limit of PostgreSQL's ``jsonb`` itself."""


class Serializer:
    """Translates instances by ``references``, and refuses a state over ``max_state_bytes``.

    ``elixir`` names the atoms that exist in an Elixir application which reads the same table. With
    it, a row that the application could not read is refused: keys in a context and in an entry's
    ``context_updates``, events and the names in ``context.steps`` have to be among those atoms.

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
        self._max_state_bytes = whole_number(
            "max_state_bytes", max_state_bytes, MAX_JSONB_BYTES, f"give 1 to {MAX_JSONB_BYTES:,}"
        )
        self.references = checked_references(references)
        self._states = StateMapper(self.references)
        self._elixir = None if elixir is None else KnownAtoms(elixir)

    def to_db(self, instance: Instance) -> tuple[str, str, str, int, dict[str, Any]]:
        """Returns ``(id, workflow, status, workflow_version, state)``, the state in plain types.

        Raises:
            SerializationError: The state cannot be stored exactly; it names the path.
            InvalidTypeError: A workflow or a step is not what the references translate.
            InvalidValueError: One of them has no name by which it could be found again.
        """
        columns, _, state, _, _ = self._pack(instance)
        return (*columns, state)

    def from_db(
        self,
        id: str,
        workflow: str,
        status: str,
        workflow_version: int,
        state: Mapping[str, Any],
    ) -> Instance:
        """Returns the instance of a row. A key that ``state`` lacks gets a new instance's value.

        Raises:
            CorruptInstanceError: The row cannot be read; it names the id and says why.
        """
        try:
            checked_id(id)
            checked_version(workflow_version)
            return self._states.unpack(id, workflow, status, workflow_version, state)
        except (HephaestusError, ValueError) as error:
            raise CorruptInstanceError(id, str(error)) from error

    def encode(self, instance: Instance) -> EncodedInstance:
        """Returns what :meth:`to_db` does, with the state as JSON text.

        Raises:
            SerializationError: The state cannot be stored exactly, or is over the limit.
        """
        (id, workflow, status, version), text, state, steps, is_exact = self._pack(instance)
        due_at = instance.due_at
        # What a read gives differs from what was given, or has unknown keys in it: so read it.
        if not is_exact or instance.unknown_state:
            instance = self._states.unpack(id, workflow, status, version, state, due_at=due_at)
            steps = instance.step_configs
        if steps:
            configs = zip(steps, state["step_configs"].values(), strict=True)
            state["step_configs"] = dict(configs)
        columns = id, workflow, status, str(version), None if due_at is None else format_due(due_at)
        return EncodedInstance(columns, text.decode(), instance, state)

    def decode(self, row: Record) -> Instance:
        """Returns the instance of a row with the columns of ``get.sql``: text, and a version.

        Raises:
            CorruptInstanceError: The row cannot be read; it names the id and says why.
        """
        (
            id, workflow, status, version, text, revision, inserted_at, updated_at, due_at, runner
        ) = row  # fmt: skip
        try:
            if not (id and 0 < version <= MAX_VERSION):  # all that their columns let through
                checked_id(id)
                checked_version(version)
            return self._states.unpack(
                id,
                workflow,
                status,
                version,
                exact_json.loads(text),
                int(revision),
                inserted_at,
                updated_at,
                None if due_at is None else parse_due(due_at),
                None if runner is None else parse_token(runner),
            )
        except (HephaestusError, ValueError) as error:
            raise CorruptInstanceError(id, str(error)) from error

    def _pack(
        self, instance: Instance
    ) -> tuple[tuple[str, str, str, int], bytes, dict[str, Any], Collection[Any], bool]:
        """Returns the columns, and the state: as JSON, and as a read gives it.

        Then the steps of the instance's ``step_configs``, in the order of the state's, and whether
        the state equals the instance's own, with no value turned into another.
        """
        if type(instance) is not Instance:
            require_kind(instance, Instance, "instance", "give an Instance")
        try:
            workflow = self.references.to_name(instance.workflow)
            given, steps = self._states.pack(instance)
        except InvalidValueError:
            self._states.require_names(instance)
            raise
        text, state, is_exact = exact_json.dumps(given)
        if len(text) * exact_json.MAX_GROWTH > self._max_state_bytes:
            self._check_size(text)
        id = instance.id
        columns = (
            id if type(id) is str else plain_text(id),
            workflow,
            instance.status._value_,  # three times as fast as the enum's property
            int(instance.workflow_version),
        )
        if self._elixir is not None:
            self._elixir.check(workflow, state)
        return columns, text, state, steps, is_exact

    def _check_size(self, text: bytes) -> None:
        limit = self._max_state_bytes
        if (size := exact_json.printed_size(text, limit)) > limit:
            raise SerializationError(
                "state",
                f"it takes {size:,} bytes as JSON, {limit:,} at most; keep "
                "large data elsewhere and its name here, or raise max_state_bytes",
            )
