"""What the report says of classes that keep some promises, and of what was not tried."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hephaestus_pg.testing import conformance

if TYPE_CHECKING:
    from tests.testing.conftest import RunSuite

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.quick

# It needs no server: it knows no instance, and takes none.
EMPTY = """
from hephaestus_pg.testing import conformance

class Empty:
    async def get(self, id):
        return None

class TestEmpty(conformance.Single):
    @pytest.fixture
    async def storage(self):
        return Empty()
"""
AUTO = "asyncio_mode = auto\n"
SINGLE = len([name for name in vars(conformance.Single) if name.startswith("test_")])


def test_it_says_by_class_and_capability_what_holds(run_suite: RunSuite) -> None:
    found = run_suite(EMPTY, "-k", "get_gives or modify_of or put_stores", settings=AUTO)
    found.assert_outcomes(passed=1, failed=2, deselected=21)
    found.stdout.fnmatch_lines(
        [
            "*= conformance of storages =*",
            "*::TestEmpty",
            "  values       not tried",
            f"  single       holds 1 of {SINGLE}",
            "    does not hold: put stores what is not there",
            "    not tried: put replaces everything but version and inserted at",
            "    does not hold: modify of a row that is not there says so",
            "  bulk         not tried",
            "  faults       not tried",
        ]
    )


def test_it_says_nothing_where_the_suite_is_not_used(run_suite: RunSuite) -> None:
    found = run_suite("from hephaestus_pg.testing import conformance\ndef test_a(): pass")
    found.assert_outcomes(passed=1)
    found.stdout.no_fnmatch_line("*conformance*")


def test_a_test_that_is_left_out_replaced_or_expected_to_fail_does_not_hold(
    run_suite: RunSuite,
) -> None:
    found = run_suite(
        EMPTY
        + """
    test_put_stores_what_is_not_there = None

    async def test_get_gives_none_for_an_id_that_is_not_there(self):
        pass

    @pytest.mark.xfail(reason="it never will")
    async def test_insert_stores_what_is_not_there(self, storage, own):
        await super().test_insert_stores_what_is_not_there(storage, own)
""",
        *("-k", "stores_what_is_not_there or get_gives"),
        settings=AUTO,
    )
    found.assert_outcomes(passed=1, xfailed=1, deselected=21)
    found.stdout.fnmatch_lines(
        [
            f"  single       holds 0 of {SINGLE}",
            "    replaced by a test of its own: get gives none for an id that is not there",
            "    not tried: put stores what is not there",
            "    does not hold: insert stores what is not there",
        ]
    )


def test_a_test_holds_in_all_its_variants_or_not_at_all(run_suite: RunSuite) -> None:
    tests = EMPTY.replace("Single", "Values").replace(
        "        return None", "        raise conformance.All"
    )
    found = run_suite(tests, "-k", "cannot_be_stored and not cycle", settings=AUTO)
    found.stdout.fnmatch_lines(["    does not hold: what cannot be stored exactly *"])
    variants = """
class TestVariants(conformance.Search):
    test_a_wrong_filter_is_refused = pytest.mark.parametrize("error", "ab")(lambda self, error: None)
"""
    found = run_suite(EMPTY + variants, "-k", "refused and a", settings=AUTO)
    found.stdout.fnmatch_lines(["    replaced by a test of its own: a wrong filter is refused"])
    found = run_suite(EMPTY + variants, "-k", "TestVariants and wrong_filter and b]", settings=AUTO)
    found.stdout.fnmatch_lines(["  search       not tried"])


def test_a_class_without_a_storage_takes_none_from_elsewhere(run_suite: RunSuite) -> None:
    found = run_suite(
        """
from hephaestus_pg.testing import conformance

@pytest.fixture
def storage():
    pass

class TestMine(conformance.Search):
    pass
""",
        "-k",
        "early",
        settings=AUTO,
    )
    found.assert_outcomes(errors=1, deselected=55)
    found.stdout.fnmatch_lines(
        [
            "*TestMine has no storage: define a fixture named storage in the class*",
            "  search       not tried: its set-up failed",
        ]
    )


def test_faults_that_cannot_be_ordered_are_not_tried(run_suite: RunSuite) -> None:
    found = run_suite(EMPTY.replace("Single", "Faults"), "-k", "update", settings=AUTO)
    assert found.parseoutcomes()["skipped"] > 0
    found.stdout.fnmatch_lines(
        [
            "  values       not tried",
            "  faults       not tried: TestEmpty has no fixture named faults",
        ]
    )


def test_a_class_that_pytest_does_not_collect_is_an_error(run_suite: RunSuite) -> None:
    found = run_suite(EMPTY.replace("TestEmpty", "EmptyConforms"), settings=AUTO)
    found.assert_outcomes(errors=1)
    found.stdout.fnmatch_lines(
        ["*EmptyConforms inherits the conformance suite, but*TestEmptyConf*"]
    )
    inherited = EMPTY.replace("TestEmpty", "Base") + "\nclass TestIt(Base): pass\n"
    run_suite(inherited, "-k", "get_gives", settings=AUTO).assert_outcomes(passed=1, deselected=23)


@pytest.mark.parametrize(
    ("mark", "settings"),
    (
        ("asyncio", "asyncio_mode = strict\n"),
        ("anyio", "asyncio_mode = strict\n"),
    ),
)
def test_a_mark_of_the_class_runs_it(run_suite: RunSuite, mark: str, settings: str) -> None:
    fixture = "pytest_asyncio.fixture" if mark == "asyncio" else "pytest.fixture"
    tests = EMPTY.replace("class TestE", f"import pytest_asyncio\n@pytest.mark.{mark}\nclass TestE")
    tests = tests.replace("@pytest.fixture\n    async", f"@{fixture}\n    async")
    tests += "\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n"
    found = run_suite(tests, "-k", "get_gives", settings=settings)
    found.assert_outcomes(passed=1, deselected=23)


@pytest.mark.once
def test_it_comes_from_the_workers_of_xdist_too(run_suite: RunSuite) -> None:
    found = run_suite(
        EMPTY, "-p", "xdist", "-n", "1", "-k", "get_gives or modify_of", settings=AUTO, apart=True
    )
    found.stdout.fnmatch_lines(
        [
            "*::TestEmpty",
            f"  single       holds 1 of {SINGLE}",
            "    does not hold: modify of a row that is not there says so",
        ]
    )
