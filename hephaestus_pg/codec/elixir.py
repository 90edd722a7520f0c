"""The check that HephaestusEcto, on the Elixir side of a shared table, can read a row.

It turns names into atoms by ``String.to_existing_atom``. A name whose atom does not exist there
makes not only that row unreadable: every query that finds the row raises.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hephaestus_pg.codec.plain import Path, refused
from hephaestus_pg.errors import InvalidTypeError

MAX_INTEGER_DIGITS = 1024
"""Digits of an integer that Elixir can read: a longer one kills its connection."""

_MODULE = "Elixir."
_TOO_LARGE = 10**MAX_INTEGER_DIGITS


class KnownAtoms:
    """The atoms that exist on the Elixir side, and the check that a row needs no others.

    Raises:
        InvalidTypeError: They are not several ``str``.
    """

    def __init__(self, names: Iterable[str]) -> None:
        if isinstance(names, str) or not isinstance(names, Iterable):
            raise InvalidTypeError("elixir", names, 'give the atoms\' names: {"amount", "done"}')
        self._names = frozenset(names)
        for name in self._names:
            if not isinstance(name, str):
                raise InvalidTypeError("elixir", name, "give each atom's name as a str")

    def check(self, workflow: str, state: dict[str, Any]) -> None:
        """Refuses a row that Elixir could not read.

        Raises:
            SerializationError: It names the path of the first thing that is in the way.
        """
        root = "state"
        self._check_module(workflow, "workflow")
        if state["current_step"] is not None:
            self._check_module(state["current_step"], (root, "current_step"))
        for field in ("active_steps", "completed_steps"):
            for at, step in enumerate(state[field]):
                self._check_module(step, ((root, field), at))
        for step in state["step_configs"]:
            self._check_module(step, ((root, "step_configs"), step))
        for at, entry in enumerate(state["execution_history"]):
            self._check_entry(entry, ((root, "execution_history"), at))
        for part in ("initial", "steps"):
            self._check_keys(state["context"][part], ((root, "context"), part))
        _check_integers(state, root)

    def _check_entry(self, entry: dict[str, Any], path: Path) -> None:
        self._check_module(entry["step_ref"], (path, "step_ref"))
        self._check_atom(entry["event"], (path, "event"))
        self._check_keys(entry["context_updates"], (path, "context_updates"))
        if not entry["timestamp"].endswith(("Z", "+00:00")):
            raise refused(
                (path, "timestamp"),
                "Elixir reads moments in UTC; give timestamp.astimezone(UTC)",
            )

    def _check_module(self, name: str, path: Path) -> None:
        if not name.startswith(_MODULE) and name not in self._names:
            raise refused(
                path,
                f"{name!r} is no module of Elixir's; give it its name there, {_MODULE}…, with "
                "NamedClasses",
            )

    def _check_atom(self, name: str, path: Path) -> None:
        if name not in self._names:
            raise refused(
                path,
                f"{name!r} is not among the atoms given as elixir=; without that atom Elixir can't "
                "read the row: once it exists there, add it",
            )

    def _check_keys(self, value: Any, path: Path) -> None:
        match value:
            case dict():
                for key, item in value.items():
                    self._check_atom(key, (path, key))
                    self._check_keys(item, (path, key))
            case list():
                for at, item in enumerate(value):
                    self._check_keys(item, (path, at))


def _check_integers(value: Any, path: Path) -> None:
    match value:
        case dict():
            for key, item in value.items():
                _check_integers(item, (path, key))
        case list():
            for at, item in enumerate(value):
                _check_integers(item, (path, at))
        case int():
            if not -_TOO_LARGE < value < _TOO_LARGE:
                raise refused(
                    path, f"it has more than the {MAX_INTEGER_DIGITS:,} digits that Elixir can read"
                )
