"""References of a user's own, and the check of what a storage is given as its references."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hephaestus_pg.errors import HephaestusError, InvalidTypeError, UnknownReferenceError, shown
from hephaestus_pg.values.references import (
    LoadedClasses,
    NamedClasses,
    Names,
    References,
    checked_name,
)


def checked_references(references: Any) -> References:
    """Returns ``references``, or :class:`LoadedClasses` for ``None``.

    A user's own are asked by way of :class:`OwnReferences`.

    Raises:
        InvalidTypeError: They lack the methods of :class:`References`.
    """
    if references is None:
        return LoadedClasses()
    if type(references) in {LoadedClasses, NamedClasses, Names, OwnReferences}:
        known: References = references
        return known
    advice = "give LoadedClasses(), NamedClasses({...}), Names(), or an object with their methods"
    if isinstance(references, type):
        advice = f"make one of it: {references.__qualname__}(...)"
    elif isinstance(references, Mapping):
        advice = "wrap it: NamedClasses({...})"
    elif all(callable(getattr(references, name, None)) for name in ("to_name", "to_reference")):
        return OwnReferences(references)
    raise InvalidTypeError("references", references, advice)


class OwnReferences:
    """References of a user's own, whose answers are checked.

    A filter without a name would let every row through, and a step without one be lost. An error
    about one name is that of its row, not of whoever reads others too.
    """

    def __init__(self, given: References) -> None:
        self._given = given

    def __repr__(self) -> str:
        return repr(self._given)

    def to_name(self, reference: Any) -> str:
        """Returns the name; see :meth:`References.to_name`."""
        name: Any = self._given.to_name(reference)
        if not isinstance(name, str):
            raise InvalidTypeError(
                "reference",
                reference,
                f"to_name of {self._given!r} gave {shown(name)}; let it give a name, or raise",
            )
        return checked_name(name)

    def to_reference(self, name: str) -> Any:
        """Returns the reference; see :meth:`References.to_reference`."""
        try:
            reference = self._given.to_reference(name)
        except HephaestusError:
            raise
        except Exception as error:
            advice = f"to_reference of {self._given!r} raised {type(error).__name__}: {error}"
            raise UnknownReferenceError(name, advice) from error
        if reference is None:
            raise UnknownReferenceError(name, f"to_reference of {self._given!r} gave None")
        return reference
