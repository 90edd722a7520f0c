import os
import re
import runpy
import subprocess
import sys
from abc import ABCMeta
from dataclasses import dataclass, replace
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

import pytest

from hephaestus_pg import (
    AsyncStorage,
    Instance,
    InvalidTypeError,
    InvalidValueError,
    LoadedClasses,
    NamedClasses,
    Names,
    UnknownReferenceError,
)

T = TypeVar("T")


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

    in_no_module: dict[str, type] = {}
    exec("class Charge: ...", in_no_module)

    for cls in (Local, in_no_module["Charge"]):
        with pytest.raises(InvalidValueError, match=r"does not lead back .*; define it at the top"):
            LoadedClasses().to_name(cls)


def test_a_class_of_a_file_that_was_run_but_not_imported_is_refused(tmp_path: Path) -> None:
    plugin = tmp_path / "plugin.py"
    plugin.write_text("class Charge: ...")
    spec = spec_from_file_location("plugin", plugin)
    assert spec is not None
    assert spec.loader is not None
    loaded = module_from_spec(spec)
    spec.loader.exec_module(loaded)

    for cls in (loaded.Charge, runpy.run_path(str(plugin))["Charge"]):
        with pytest.raises(InvalidValueError, match=r"its module '.*' is not imported"):
            LoadedClasses().to_name(cls)


def test_a_class_in_whose_place_another_stands_is_refused_when_written(module: Any) -> None:
    def define() -> type:
        return type("Thing", (), {"__module__": module.__name__, "__annotations__": {"a": int}})

    before_the_reload = define()
    module.Thing = define()
    undecorated = define()
    module.Thing = dataclass(slots=True)(undecorated)
    impostor = type("Charge", (), {"__module__": HERE})

    assert module.Thing is not undecorated
    assert LoadedClasses().to_reference(LoadedClasses().to_name(module.Thing)) is module.Thing
    for cls in (before_the_reload, undecorated, impostor):
        with pytest.raises(InvalidValueError, match=r"but to another: .*loaded again.*decorator"):
            LoadedClasses().to_name(cls)


def test_a_class_is_named_by_where_it_was_defined_or_says_it_was(module: Any) -> None:
    module.Other = Charge
    module.Public = type("Public", (), {"__module__": "somewhere._private"})
    module.Public.__module__ = module.__name__  # as packages do for what they re-export
    references = LoadedClasses()

    assert references.to_name(module.Other) == f"{HERE}.Charge"
    assert references.to_reference(f"{module.__name__}.Other") is Charge
    assert references.to_name(module.Public) == f"{module.__name__}.Public"


class Typed(Generic[T]):
    pass


@pytest.mark.parametrize("alias", (Typed[int], list[int], Charge(), os.system, Charge | Notify))
def test_what_is_no_class_but_looks_like_one_is_refused(alias: Any) -> None:
    for references in (LoadedClasses(), NamedClasses({"Typed": Typed})):
        with pytest.raises(InvalidTypeError, match="give the class itself"):
            references.to_name(alias)
    assert LoadedClasses().to_name(Typed) == f"{HERE}.Typed"


ADVICE = r"__main__.*move it to a module.*NamedClasses.*LoadedClasses\(allow_main=True\)"


@pytest.fixture(params=["__main__", "__mp_main__"])
def of_main(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type:
    """A class of the script, in a process that it is or that multiprocessing spawned."""
    cls = type("ScriptsOwn", (), {"__module__": request.param})
    monkeypatch.setattr(sys.modules["__main__"], "ScriptsOwn", cls, raising=False)
    return cls


async def test_a_class_of_the_script_is_refused_and_nothing_is_written(
    of_main: type, dsn: str, migrated: str
) -> None:
    async with AsyncStorage.start(dsn, schema=migrated) as storage:
        good = await storage.put(Instance("x", dict))
        for put in (
            storage.put(Instance("y", of_main)),
            storage.insert(Instance("y", of_main)),
            storage.update(replace(good, workflow=of_main)),
            storage.update(replace(good, current_step=of_main)),
            storage.put_many([Instance("z", dict, active_steps=frozenset({of_main}))]),
        ):
            with pytest.raises(InvalidValueError, match=ADVICE):
                await put
        assert await storage.query() == [good]


async def test_a_class_of_the_script_is_stored_if_that_is_allowed(
    of_main: type, dsn: str, migrated: str
) -> None:
    async with AsyncStorage.start(
        dsn, schema=migrated, references=LoadedClasses(allow_main=True)
    ) as storage:
        put = await storage.put(Instance("x", of_main))
        assert put == await storage.get("x")
        assert put.workflow is of_main
        assert await storage.query(workflow=of_main) == [put]


def test_the_scripts_classes_have_one_name_in_what_it_spawns(of_main: type) -> None:
    assert LoadedClasses(allow_main=True).to_name(of_main) == "__main__.ScriptsOwn"


def test_a_class_of_another_script_says_so_when_it_is_read() -> None:
    for name in ("__main__.NotHere", "__main__.Not.Here", "__mp_main__.NotHere"):
        with pytest.raises(UnknownReferenceError, match="another program's own script.*move it"):
            LoadedClasses(allow_main=True).to_reference(name)


@pytest.mark.parametrize("flag", (1, None, "yes"))
def test_whether_main_is_allowed_is_a_bool(flag: Any) -> None:
    with pytest.raises(InvalidTypeError, match="allow_main"):
        LoadedClasses(allow_main=flag)


SCRIPT = """
from multiprocessing import get_context
from hephaestus_pg import (
    InvalidValueError,
    LoadedClasses,
)

class Order: ...

def named(cls):
    try:
        return LoadedClasses().to_name(cls)
    except InvalidValueError as error:
        assert "allow_main" in str(error)
    references = LoadedClasses(allow_main=True)
    assert references.to_reference("__main__.Order") is Order is cls
    return cls.__module__, references.to_name(cls)

if __name__ == "__main__":
    with get_context("spawn").Pool(1) as pool:
        print(named(Order), pool.apply(named, [Order]))
"""


@pytest.mark.parametrize(
    "arguments", (["script.py"], ["-m", "package.script"], ["-i", "-q"]), ids=" ".join
)
def test_a_script_is_told_however_it_is_run(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "package").mkdir()
    for script in (tmp_path / "script.py", tmp_path / "package" / "script.py"):
        script.write_text(SCRIPT)
    typed = "class Order: ...\n\nfrom hephaestus_pg import *\nLoadedClasses().to_name(Order)\n"

    done = subprocess.run(
        [sys.executable, *arguments],
        input=typed if "-i" in arguments else "",
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )

    if "-i" in arguments:
        assert re.search(ADVICE, done.stderr)
    else:
        assert done.stdout == ("('__main__', '__main__.Order') ('__mp_main__', '__main__.Order')\n")


def test_a_module_that_runs_as_the_script_is_named(
    of_main: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = ModuleSpec("package.script", None)
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", spec)

    with pytest.raises(InvalidValueError, match=r"\(python -m package\.script\)"):
        LoadedClasses().to_name(of_main)


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
        with pytest.raises(
            InvalidValueError, match=r"1 to 255 characters|U\+0000|lone surrogate"
        ) as caught:
            Names().to_name(name)
        assert (caught.value.field, caught.value.value) == ("reference", name)
    with pytest.raises(InvalidValueError):
        NamedClasses({name: Charge})
