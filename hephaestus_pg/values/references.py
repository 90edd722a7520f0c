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

from hephaestus_pg.errors import InvalidTypeError, InvalidValueError, UnknownReferenceError
from hephaestus_pg.values.arguments import checked_flag, unstorable

MAX_NAME_LENGTH = 255
"""Characters that a stored workflow's name may have."""

_MAINS = frozenset({"__main__", "__mp_main__"})
"""The script that a program was started with, and its name in what multiprocessing spawns."""

_MOVE_IT = "move it to a module that is imported, or name it with NamedClasses"


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

    The meaning of Elixir's ``String.to_existing_atom``. A class that could not be found again is
    refused when it is written: a local one (``<locals>`` in its name), one that its module does not
    hold under its own name, and one of ``__main__``, which is another module in every program.
    Where one script, with the processes that it spawns, is all that ever reads the table,
    ``allow_main`` allows that.
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
        """See :meth:`References.to_name`."""
        cls = reference if type(reference) is type else _checked_class(reference)
        name = self._names.get(cls)
        if name is None:
            name = self._names[cls] = _checked_name(self._name(cls))
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
            advice = "import the module that defines it before reading, or name it in NamedClasses"
            if name.partition(".")[0] in _MAINS:
                advice = "a class of another program's own script has that name; " + _MOVE_IT
            raise UnknownReferenceError(name, advice)
        return found

    def _name(self, cls: type) -> str:
        """The name that leads to the class.

        Raises:
            InvalidValueError: None does, or none in another process.
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

    def __repr__(self) -> str:
        return f"NamedClasses({self._classes!r})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._classes == self._classes

    def __hash__(self) -> int:
        return hash((type(self), *sorted(self._classes)))

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

    def __repr__(self) -> str:
        return "Names()"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    def __hash__(self) -> int:
        return hash(type(self))

    def to_name(self, reference: Any) -> str:
        """See :meth:`References.to_name`."""
        return _checked_text(reference) if type(reference) is str else _checked_name(reference)

    def to_reference(self, name: str) -> str:
        """See :meth:`References.to_reference`."""
        return name


def _script() -> str:
    """What runs as ``__main__``, in words."""
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


def _checked_name(name: Any) -> str:
    if not isinstance(name, str):
        raise InvalidTypeError("reference", name, "give its name as a str, or use NamedClasses")
    if not 0 < len(name) <= MAX_NAME_LENGTH:
        raise InvalidValueError("reference", name, f"a name has 1 to {MAX_NAME_LENGTH} characters")
    if reason := unstorable(name):
        raise InvalidValueError("reference", name, reason)
    return str.__str__(name)  # str() of a text that is an enum too would be Class.MEMBER


# The same few names stand in every instance, several times each.
_checked_text = lru_cache(maxsize=10_000)(_checked_name)
