"""Translations between workflows and steps, which are classes in memory, and their stored names.

A stored name is data that somebody else may have written. Nothing is imported, called or made
because of a name: it stands for a known class, or is an error.

Use :class:`NamedClasses` where others can write to the table, or where a name must outlive the
class's place in the code. It knows exactly the names that you give it. :class:`LoadedClasses` finds
*any* class of an imported module, ``subprocess.Popen`` included.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

from hephaestus_pg._checks import plain_text
from hephaestus_pg.errors import InvalidTypeError, InvalidValueError, UnknownReferenceError
from hephaestus_pg.values.arguments import checked_flag, unstorable

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_NAME_LENGTH = 255
"""The most characters that the stored name of a workflow may have."""

_MAINS = frozenset({"__main__", "__mp_main__"})
"""The module names of a program's script, by itself and in processes of multiprocessing."""

_MOVE_IT = "move it to a module that is imported, or name it with NamedClasses"


class References(Protocol):
    """Translates between the references in an :class:`Instance` and their stored names."""

    def to_name(self, reference: Any) -> str:
        """Returns the name under which ``reference`` is stored.

        Raises:
            InvalidTypeError: It is of another kind than this translates.
            InvalidValueError: No name would lead back to it.
        """
        ...

    def to_reference(self, name: str) -> Any:
        """Returns the reference that is stored as ``name``.

        Raises:
            UnknownReferenceError: There is none.
        """
        ...


def named(references: References, field: str, reference: Any) -> str:
    """Returns the name of a reference that stands in ``field``, by which an error calls it."""
    try:
        return references.to_name(reference)
    except InvalidValueError as error:
        if error.field != "reference":
            raise
        kind = InvalidTypeError if isinstance(error, InvalidTypeError) else InvalidValueError
        raise kind(field, error.value, error.expected) from error


class LoadedClasses:
    """Names any class of an imported module ``package.module.QualName``.

    A name never imports anything, as Elixir's ``String.to_existing_atom`` never makes an atom. A
    class that its name would not find again is refused when it is written: a local one
    (``<locals>`` in its name), one that its module does not hold under its own name, and one of
    ``__main__``, which is another module in every program. ``allow_main`` allows classes of
    ``__main__``, for a table that only one script and the processes it spawns ever read.
    """

    def __init__(self, *, allow_main: bool = False) -> None:
        checked_flag("allow_main", allow_main)
        self._allow_main = allow_main
        self._names: WeakKeyDictionary[type, str] = WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"LoadedClasses({'allow_main=True' if self._allow_main else ''})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._allow_main == self._allow_main

    def __hash__(self) -> int:
        return hash((type(self), self._allow_main))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_names": None}  # it can't be copied, and fills itself again

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _names=WeakKeyDictionary())

    def to_name(self, reference: Any) -> str:
        """Returns the name; see :meth:`References.to_name`."""
        cls = reference if type(reference) is type else _checked_class(reference)
        name = self._names.get(cls)
        if name is None:
            name = self._names[cls] = checked_name(self._name(cls))
        return name

    def to_reference(self, name: str) -> type:
        """Returns the reference; see :meth:`References.to_reference`."""
        # The usual case of _find(): a class at the top of a plain module. Nothing is cached, so
        # that a class that is defined again is seen at once.
        before, _, last = name.rpartition(".")
        module = sys.modules.get(before)
        if type(module) is ModuleType:
            held = module.__dict__.get(last)
            if type(held) is type or issubclass(type(held), type):
                return held  # type: ignore[return-value]
        found = self._find(name)
        if found is None:
            advice = "import the module that defines it before reading, or name it in NamedClasses"
            if name.partition(".")[0] in _MAINS:
                advice = "a class of another program's own script has that name; " + _MOVE_IT
            raise UnknownReferenceError(name, advice)
        return found

    def _name(self, cls: type) -> str:
        """Returns the name that leads to the class.

        Raises:
            InvalidValueError: No name does, or not in another process.
        """
        module = cls.__module__
        if module in _MAINS:
            if not self._allow_main:
                raise InvalidValueError(
                    "reference",
                    cls,
                    f"it is defined in {_script()}, where no other program finds it; {_MOVE_IT}, "
                    "or, where this script is all there is, start the storage with "
                    "references=LoadedClasses(allow_main=True)",
                )
            module = "__main__"  # as which a process spawned by multiprocessing has it too
        name = f"{module}.{cls.__qualname__}"
        found = self._find(name)
        if found is not cls:
            if found is not None:
                advice = (
                    " but to another: its module was loaded again, or it was replaced, as a "
                    "decorator does; give the one that is there now"
                )
            elif module in sys.modules:
                advice = "; define it at the top of a module or in a class"
            else:
                advice = f"; its module {module!r} is not imported (not in sys.modules)"
            raise InvalidValueError(
                "reference",
                cls,
                f"{name!r} does not lead back to this class{advice}, or name it with NamedClasses",
            )
        return name

    @staticmethod
    def _find(name: str) -> type | None:
        """Finds a class by looking into namespaces: no import, no ``__getattr__``."""
        parts = name.split(".")
        for split in range(len(parts) - 1, 0, -1):
            module = sys.modules.get(".".join(parts[:split]))
            # isinstance() would run a proxy's __class__, which loads what it stands for.
            if not issubclass(type(module), ModuleType):
                continue
            # vars() would run a lazy module's __getattribute__, which imports it.
            namespace: Mapping[str, Any] = object.__getattribute__(module, "__dict__")
            for part in parts[split:]:
                held = namespace.get(part)
                if not issubclass(type(held), type):
                    return None
                namespace = type.__getattribute__(held, "__dict__")
            return held
        return None


class NamedClasses:
    """Knows exactly the names that you give, each for one class.

    ``NamedClasses({"Elixir.MyApp.Steps.Charge": Charge})`` shares a table with an Elixir
    application. It also keeps names stable while classes move.

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
            self._names[cls] = checked_name(name)

    def __repr__(self) -> str:
        return f"NamedClasses({self._classes!r})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._classes == self._classes

    def __hash__(self) -> int:
        return hash((type(self), *sorted(self._classes)))

    def to_name(self, reference: Any) -> str:
        """Returns the name; see :meth:`References.to_name`."""
        try:
            return self._names[_checked_class(reference)]
        except KeyError:
            raise InvalidValueError(
                "reference", reference, "it has no name; add it to the storage's NamedClasses"
            ) from None

    def to_reference(self, name: str) -> type:
        """Returns the reference; see :meth:`References.to_reference`."""
        try:
            return self._classes[name]
        except KeyError:
            raise UnknownReferenceError(name, "add it to the storage's NamedClasses") from None


class Names:
    """Leaves text as it is: for tools, dashboards, and engines with a map of their own."""

    def __repr__(self) -> str:
        return "Names()"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    def __hash__(self) -> int:
        return hash(type(self))

    def to_name(self, reference: Any) -> str:
        """Returns the name; see :meth:`References.to_name`."""
        return _checked_text(reference) if type(reference) is str else checked_name(reference)

    def to_reference(self, name: str) -> str:
        """Returns the reference; see :meth:`References.to_reference`."""
        return name


def _script() -> str:
    """Describes the script that runs as ``__main__``."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return f"__main__ (python -m {spec.name.removesuffix('.__main__')})" if spec else "__main__"


def _checked_class(reference: Any) -> type:
    if not isinstance(reference, type):
        raise InvalidTypeError(
            "reference",
            reference,
            "give the class itself, or start the storage with references=Names() to use text",
        )
    return reference


def checked_name(name: Any) -> str:
    """Returns a ``name`` that the table can hold, as a plain ``str``."""
    if not isinstance(name, str):
        raise InvalidTypeError("reference", name, "give its name as a str, or use NamedClasses")
    if not 0 < len(name) <= MAX_NAME_LENGTH:
        raise InvalidValueError("reference", name, f"a name has 1 to {MAX_NAME_LENGTH} characters")
    if reason := unstorable(name):
        raise InvalidValueError("reference", name, reason)
    return plain_text(name)


# The same few names stand in every instance, several times each.
_checked_text = lru_cache(maxsize=10_000)(checked_name)
