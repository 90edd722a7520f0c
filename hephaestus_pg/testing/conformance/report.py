"""The report of what holds: hooks of pytest, which the plug-in registers where the suite is used.

What a test is about travels with its report, from the workers of pytest-xdist too.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus_pg.testing.conformance.all import CAPABILITIES
from hephaestus_pg.testing.conformance.suite import Suite

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

_TESTS = {
    capability: [name for name in vars(suite) if name.startswith("test_")]
    for capability, suite in CAPABILITIES.items()
}
_MOST_UNTRIED = 5
"""Of more, which an option of pytest has left out, the number says enough."""

_HERE = __name__.rpartition(".")[0]

_variants = pytest.StashKey[Counter[tuple[str, str]]]()


@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makeitem(
    collector: pytest.Module | pytest.Class, name: str, obj: object
) -> Generator[None, Any, Any]:
    """Warns of a class that inherits the suite, and whose tests would never run."""
    made = yield
    if made is None and _is_left_out(obj):
        collector.warn(
            pytest.PytestCollectionWarning(
                f"{name} inherits the conformance suite, but none of it runs, since pytest "
                f"collects no class of that name: call it Test{name}"
            )
        )
    return made


def _is_left_out(obj: object) -> bool:
    return (
        isinstance(obj, type)
        and issubclass(obj, Suite)
        and not obj.__module__.startswith(_HERE)
        and not obj.__subclasses__()
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Counts the variants of each test, before any of them is deselected."""
    config.stash[_variants] = Counter(
        _place(each) for each in items if isinstance(each, pytest.Function)
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Says in the report of a test what it is about."""
    report = yield
    if isinstance(item, pytest.Function) and (about := _about(item)):
        report.hephaestus_conformance = about  # type: ignore[attr-defined] # it takes and sends whatever it has
    return report


def _place(item: pytest.Function) -> tuple[str, str]:
    """The class of a test, and its name without that of a variant."""
    assert item.parent is not None
    return item.parent.nodeid, item.originalname


def _about(item: pytest.Function) -> dict[str, Any] | None:
    cls: type | None = item.cls
    for capability, suite in CAPABILITIES.items():
        test = item.originalname
        if cls is not None and issubclass(cls, suite) and test in _TESTS[capability]:
            return {
                "class": _place(item)[0],
                "test": test,
                "variants": item.config.stash[_variants][_place(item)],
                "is_own": _code(getattr(cls, test)) is not _code(getattr(suite, test)),
            }
    return None


def _code(test: object) -> object:
    # Not the function, of which each class has a copy.
    return getattr(test, "__code__", test)


def write(terminal: pytest.TerminalReporter) -> None:
    """Writes what holds, by class and capability, if any test of the suite was run."""
    by_class: dict[str, dict[str, list[pytest.TestReport]]] = {}
    for some in terminal.stats.values():
        for each in some:
            if about := getattr(each, "hephaestus_conformance", None):
                of_class = by_class.setdefault(about["class"], {})
                of_class.setdefault(about["test"], []).append(each)
    if by_class:
        terminal.section("conformance of storages")
    for name, reports in sorted(by_class.items()):
        terminal.write_line(name)
        for capability, tests in _TESTS.items():
            outcomes = {test: _outcome(reports.get(test, [])) for test in tests}
            for line, colour in _lines(capability, outcomes):
                terminal.write_line(line, **{colour: True})


def _outcome(reports: list[pytest.TestReport]) -> str:
    """What became of a test, all of its variants together."""
    failed = [each for each in reports if each.failed or hasattr(each, "wasxfail")]
    if any(each.when != "setup" for each in failed):
        return "does not hold"
    if failed:
        return "not tried: its set-up failed"
    for each in reports:
        if each.skipped:
            reason = each.longrepr[2] if isinstance(each.longrepr, tuple) else ""
            return f"not tried: {reason.removeprefix('Skipped: ')}"
    passed = {each.nodeid for each in reports if each.when == "call" and each.passed}
    if not passed or len(passed) < reports[0].hephaestus_conformance["variants"]:
        return "not tried"
    if reports[0].hephaestus_conformance["is_own"]:
        return "replaced by a test of its own"
    return "holds"


def _lines(capability: str, outcomes: dict[str, str]) -> Iterable[tuple[str, str]]:
    """The line of a capability, and one for each test that does not hold, with their colours."""
    total, held = len(outcomes), list(outcomes.values()).count("holds")
    kinds = set(outcomes.values())
    label = f"  {capability:<12} "
    if len(kinds) == 1 and (kind := kinds.pop()).startswith("not tried"):
        yield f"{label}{kind}", "yellow"
        return
    is_broken = "does not hold" in outcomes.values()
    yield (
        f"{label}holds {held} of {total}",
        "red" if is_broken else "green" if held == total else "yellow",
    )
    untried = list(outcomes.values()).count("not tried")
    for test, outcome in outcomes.items():
        if outcome != "holds" and (outcome != "not tried" or untried <= _MOST_UNTRIED):
            name = test.removeprefix("test_").replace("_", " ")
            kind, _, reason = outcome.partition(": ")
            line = f"    {kind}: {name}" + (f" ({reason})" if reason else "")
            yield line, "red" if outcome == "does not hold" else "yellow"
    if untried > _MOST_UNTRIED:
        yield f"    not tried: {untried} others", "yellow"
