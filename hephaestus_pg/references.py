"""How workflows and steps, classes in memory, become names in the table and back.

A stored name is data that somebody else may have written. None of these imports, calls or makes
anything because of a name: a name either stands for a class that is known, or is an error.

Where others can write to the table, or where a name must outlive the class's place in the code,
use :class:`NamedClasses`: it knows exactly the names that you give it, while :class:`LoadedClasses`
will hand out *any* class of a module that happens to be imported, ``subprocess.Popen`` included.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import lru_cache
from types import ModuleType
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from hephaestus_pg.errors import (
    InvalidTypeError,
    InvalidValueError,
    UnknownReferenceError,
    is_a,
)

MAX_NAME_LENGTH = 255
"""Characters that a stored workflow's name may have."""


class References(Protocol):
    """Translates between what stands in an :class:`Instance` and the name that is stored."""

    def to_name(self, reference: Any) -> str:
        """The name under which ``reference`` is stored.

        Raises:
            InvalidTypeError: It is not the kind of reference that this translates.
            InvalidValueError: It could not be found again by a name.
        """
        ...

    def to_reference(self, name: str) -> Any:
        """What the stored ``name`` stands for.

        Raises:
            UnknownReferenceError: Nothing that is known.
        """
        ...


def checked_references(references: Any) -> References:
    """The ``references``, when they translate; :class:`LoadedClasses` where they are ``None``.

    Raises:
        InvalidTypeError: They do not translate.
    """
    if references is None:
        return LoadedClasses()
    advice = "give LoadedClasses(), NamedClasses({...}), Names(), or an object with their methods"
    if isinstance(references, type):
        advice = f"make one of it: {references.__qualname__}(...)"
    elif isinstance(references, Mapping):
        advice = "wrap it: NamedClasses({...})"
    elif all(callable(getattr(references, name, None)) for name in ("to_name", "to_reference")):
        found: References = references
        return found
    raise InvalidTypeError("references", references, advice)


class LoadedClasses:
    """``package.module.QualName``, for any class of a module that is imported already.

    The meaning of Elixir's ``String.to_existing_atom``. A local class (``<locals>`` in its name)
    and one that its module does not hold under its own name are refused when they are written,
    since they could not be found again.
    """

    def __init__(self) -> None:
        self._names: WeakKeyDictionary[type, str] = WeakKeyDictionary()

    def to_name(self, reference: Any) -> str:
        """See :meth:`References.to_name`."""
        cls = reference if type(reference) is type else _checked_class(reference)
        name = self._names.get(cls)
        if name is None:
            name = f"{cls.__module__}.{cls.__qualname__}"
            if self._find(name) is not cls:
                raise InvalidValueError(
                    "reference",
                    cls,
                    f"{name!r} does not lead back to this class; define it at the top of a module "
                    "or in a class, or name it with NamedClasses",
                )
            self._names[cls] = _checked_name(name)
        return name

    def to_reference(self, name: str) -> type:
        """See :meth:`References.to_reference`."""
        # The usual case of what :meth:`_find` does: a class at the top of a plain module.
        # Nothing is kept from one look to the next, so that a class made anew is seen at once.
        before, _, last = name.rpartition(".")
        module = sys.modules.get(before)
        if type(module) is ModuleType:
            held = module.__dict__.get(last)
            if type(held) is type or issubclass(type(held), type):
                return held  # type: ignore[return-value]
        found = self._find(name)
        if found is None:
            raise UnknownReferenceError(
                name, "import the module that defines it before reading, or name it in NamedClasses"
            )
        return found

    @staticmethod
    def _find(name: str) -> type | None:
        """The class of that name, by a look into namespaces: no import, no ``__getattr__``."""
        parts = name.split(".")
        for split in range(len(parts) - 1, 0, -1):
            module = sys.modules.get(".".join(parts[:split]))
            if not issubclass(type(module), ModuleType):  # not isinstance, which it can answer
                continue
            # The plain attribute: a lazily loading module imports itself when asked for its own.
            namespace: Mapping[str, Any] = object.__getattribute__(module, "__dict__")
            for part in parts[split:]:
                held = namespace.get(part)
                if not issubclass(type(held), type):
                    return None
                namespace = type.__getattribute__(held, "__dict__")
            return held
        return None


class NamedClasses:
    """Exactly the names that you give, each for one class.

    ``NamedClasses({"Elixir.MyApp.Steps.Charge": Charge})`` shares a table with an Elixir
    application, or keeps names stable while classes move.

    Raises:
        InvalidTypeError: A key is not a ``str``, or a value is not a class.
        InvalidValueError: A name is empty or too long, or one class has two names.
    """

    def __init__(self, classes: Mapping[str, type]) -> None:
        self._classes = dict(classes)
        self._names: dict[type, str] = {}
        for name, cls in self._classes.items():
            if _checked_class(cls) in self._names:
                raise InvalidValueError(
                    "classes", name, f"{cls.__qualname__} is named {self._names[cls]!r} already"
                )
            self._names[cls] = _checked_name(name)

    def to_name(self, reference: Any) -> str:
        """See :meth:`References.to_name`."""
        try:
            return self._names[_checked_class(reference)]
        except KeyError:
            raise InvalidValueError(
                "reference", reference, "it has no name; add it to the storage's NamedClasses"
            ) from None

    def to_reference(self, name: str) -> type:
        """See :meth:`References.to_reference`."""
        try:
            return self._classes[name]
        except KeyError:
            raise UnknownReferenceError(name, "add it to the storage's NamedClasses") from None


class Names:
    """Text stays text: for tools, dashboards, and engines with a map of their own."""

    def to_name(self, reference: Any) -> str:
        """See :meth:`References.to_name`."""
        return _checked_text(reference) if type(reference) is str else _checked_name(reference)

    def to_reference(self, name: str) -> str:
        """See :meth:`References.to_reference`."""
        return name


def _checked_class(reference: Any) -> type:
    if not is_a(reference, type):
        raise InvalidTypeError(
            "reference",
            reference,
            "give the class itself, or start the storage with references=Names() to use text",
        )
    return reference  # type: ignore[no-any-return]


def _checked_name(name: Any) -> str:
    if not is_a(name, str):
        raise InvalidTypeError("reference", name, "give its name as a str, or use NamedClasses")
    if not 0 < len(name) <= MAX_NAME_LENGTH or "\0" in name:
        raise InvalidValueError(
            "reference", name, f"a name has 1 to {MAX_NAME_LENGTH} characters and no U+0000"
        )
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InvalidValueError("reference", name, "it holds a lone surrogate") from None
    return str.__str__(name)  # of an enum, its text alone


# The same few names stand in every instance, several times each.
_checked_text = lru_cache(maxsize=10_000)(_checked_name)
