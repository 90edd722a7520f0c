import os
import subprocess
import sys
from abc import ABCMeta
from types import ModuleType
from typing import Any

import pytest

from hephaestus_pg import (
    InvalidTypeError,
    InvalidValueError,
    LoadedClasses,
    NamedClasses,
    Names,
    UnknownReferenceError,
)


class Charge:
    class Inner:
        pass


class Notify:
    pass


HERE = Charge.__module__

NOT_CLASSES = [
    "os.system",
    "builtins.eval",
    "builtins.exec",
    "os.environ",
    "os.path",
    "sys.modules",
    "os",
    "",
    ".",
    "..",
    "builtins.",
    ".int",
    "builtins.int.__add__",
    "builtins.int.__class__",
    "no_such_module.Thing",
    "__main__",
]


@pytest.fixture
def module() -> Any:
    """An imported module whose namespace is set up to be abused."""
    module = ModuleType("a_module_for_references")
    sys.modules[module.__name__] = module
    yield module
    del sys.modules[module.__name__]


@pytest.mark.parametrize("cls", (Charge, Charge.Inner, dict, subprocess.Popen))
def test_a_loaded_class_and_its_name_lead_to_each_other(cls: type) -> None:
    references = LoadedClasses()

    name = references.to_name(cls)

    assert name == f"{cls.__module__}.{cls.__qualname__}"
    assert references.to_reference(name) is cls


@pytest.mark.parametrize("name", NOT_CLASSES)
def test_a_name_of_anything_but_a_class_is_unknown(name: str) -> None:
    for references in (LoadedClasses(), NamedClasses({"Charge": Charge})):
        with pytest.raises(UnknownReferenceError) as caught:
            references.to_reference(name)
        assert caught.value.name == name


def test_a_module_is_never_imported_for_a_name() -> None:
    name = "antigravity"
    assert name not in sys.modules

    with pytest.raises(UnknownReferenceError, match="import the module"):
        LoadedClasses().to_reference(f"{name}.Anything")

    assert name not in sys.modules


def test_nothing_in_a_module_is_run_for_a_name(module: Any) -> None:
    def answer(_: str) -> object:
        raise AssertionError("a module's __getattr__ ran")

    class Pretender:
        @property  # type: ignore[misc]
        def __class__(self) -> Any:
            raise AssertionError("an object was asked for its class")

    class Meta(type):
        def __getattribute__(cls, name: str) -> object:
            raise AssertionError("a metaclass was asked for an attribute")

    class Guarded(metaclass=Meta):
        pass

    module.__getattr__ = answer
    module.instance = Pretender()
    module.Guarded = Guarded
    references = LoadedClasses()

    for name in ("missing", "instance", "Guarded.missing"):
        with pytest.raises(UnknownReferenceError):
            references.to_reference(f"{module.__name__}.{name}")


def test_a_class_is_looked_up_anew_each_time(module: Any) -> None:
    references, name = LoadedClasses(), f"{module.__name__}.Thing"
    for _ in range(2):
        module.Thing = type("Thing", (), {"__module__": module.__name__})
        assert references.to_reference(name) is module.Thing

    reloaded: Any = ModuleType(module.__name__)
    reloaded.Thing = type("Thing", (), {})
    sys.modules[module.__name__] = reloaded
    assert references.to_reference(name) is reloaded.Thing

    reloaded.Thing = "no class"
    with pytest.raises(UnknownReferenceError):
        references.to_reference(name)
    sys.modules[module.__name__] = module
    assert references.to_reference(name) is module.Thing
    del module.Thing
    with pytest.raises(UnknownReferenceError):
        references.to_reference(name)


def test_a_class_of_a_metaclass_and_one_in_a_class_are_found(module: Any) -> None:
    module.Abstract = ABCMeta("Abstract", (), {"Inner": Charge})

    for name, cls in (("Abstract", module.Abstract), ("Abstract.Inner", Charge)):
        assert LoadedClasses().to_reference(f"{module.__name__}.{name}") is cls


def test_a_module_that_would_load_itself_when_asked_is_not_asked(module: Any) -> None:
    class Lazy(ModuleType):
        def __getattribute__(self, name: str) -> object:
            raise AssertionError("the module loaded itself")

    sys.modules[module.__name__] = Lazy(module.__name__)

    with pytest.raises(UnknownReferenceError):
        LoadedClasses().to_reference(f"{module.__name__}.Thing")


def test_what_stands_for_a_module_without_being_one_is_passed_over(module: Any) -> None:
    class Pretender:
        @property  # type: ignore[misc]
        def __class__(self) -> Any:
            raise AssertionError("an object was asked for its class")

    for pretender in (object(), Pretender(), None):
        sys.modules[module.__name__] = pretender  # type: ignore[assignment]

        with pytest.raises(UnknownReferenceError):
            LoadedClasses().to_reference(f"{module.__name__}.Thing")


def test_an_instance_held_under_a_name_is_unknown(module: Any) -> None:
    module.thing = Charge()

    with pytest.raises(UnknownReferenceError):
        LoadedClasses().to_reference(f"{module.__name__}.thing")


def test_a_class_that_its_name_would_not_find_again_is_refused_when_written() -> None:
    class Local:
        pass

    impostor = type("Charge", (), {"__module__": HERE})

    for cls in (Local, impostor):
        with pytest.raises(InvalidValueError, match="does not lead back"):
            LoadedClasses().to_name(cls)


def test_text_is_no_reference_where_classes_are_expected() -> None:
    for references in (LoadedClasses(), NamedClasses({"Charge": Charge})):
        with pytest.raises(TypeError, match=r"give the class itself.*Names\(\)"):
            references.to_name("Charge")


def test_named_classes_know_exactly_their_names() -> None:
    references = NamedClasses({"Elixir.MyApp.Steps.Charge": Charge})

    assert references.to_name(Charge) == "Elixir.MyApp.Steps.Charge"
    assert references.to_reference("Elixir.MyApp.Steps.Charge") is Charge
    with pytest.raises(UnknownReferenceError, match="add it"):
        references.to_reference(f"{HERE}.Charge")
    with pytest.raises(InvalidValueError, match="it has no name"):
        references.to_name(Notify)


def test_named_classes_are_checked_when_made() -> None:
    with pytest.raises(InvalidValueError, match="named 'a' already"):
        NamedClasses({"a": Charge, "b": Charge})
    with pytest.raises(InvalidTypeError):
        NamedClasses({"a": os.system})  # type: ignore[dict-item]
    with pytest.raises(InvalidTypeError):
        NamedClasses({1: Charge})  # type: ignore[dict-item]
    with pytest.raises(InvalidValueError):
        NamedClasses({"": Charge})


def test_named_classes_do_not_follow_later_changes_of_the_mapping() -> None:
    names: dict[str, type] = {"a": Charge}
    references = NamedClasses(names)
    names["b"] = Notify

    with pytest.raises(UnknownReferenceError):
        references.to_reference("b")


def test_names_stay_text() -> None:
    references = Names()

    assert references.to_name("Elixir.A.B") == "Elixir.A.B"
    assert references.to_reference("os.system") == "os.system"
    with pytest.raises(InvalidTypeError, match="NamedClasses"):
        references.to_name(Charge)


@pytest.mark.parametrize("name", ("", "x" * 256, "a\0b", "a\ud800"))
def test_a_name_that_the_column_cannot_hold_is_refused(name: str) -> None:
    for _ in range(2):
        with pytest.raises(InvalidValueError, match="1 to 255 characters|lone surrogate") as caught:
            Names().to_name(name)
        assert (caught.value.field, caught.value.value) == ("reference", name)
    with pytest.raises(InvalidValueError):
        NamedClasses({name: Charge})


def test_what_answers_for_its_class_by_raising_is_no_reference() -> None:
    unbound = type("Unbound", (), {"__class__": property(lambda _: 1 / 0)})()

    for references in (LoadedClasses(), NamedClasses({"Charge": Charge}), Names()):
        with pytest.raises(InvalidTypeError, match="reference is"):
            references.to_name(unbound)
