"""What the report says of classes that keep some promises, and of what was not tried."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hephaestus_pg.testing import conformance
from tests.system.test_readme import GUIDE, blocks

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


def test_no_suite_hides_a_test_of_another() -> None:
    names = [name for suite in conformance.CAPABILITIES.values() for name in vars(suite)]
    tests = [name for name in names if name.startswith("test_")]
    assert len(tests) == len(set(tests))


def test_it_says_by_class_and_capability_what_holds(run_suite: RunSuite) -> None:
    found = run_suite(EMPTY, "-k", "get_gives or modify_of or put_stores", settings=AUTO)
    found.assert_outcomes(passed=1, failed=2)
    found.stdout.fnmatch_lines(
        [
            "*= conformance of storages =*",
            "*::TestEmpty",
            "  values       not tried",
            f"  single       holds 1 of {SINGLE}",
            "    does not hold: put stores what is not there",
            "    does not hold: modify of a row that is not there says so",
            f"    not tried: {SINGLE - 3} others",
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
        EMPTY.replace("Single", "Bulk")
        + """
    test_put_many_stores_all_or_none = None
    test_get_many_gives_what_there_is_whatever_is_asked_twice = None

    async def test_nothing_is_done_for_no_instances(self):
        pass

    @pytest.mark.xfail(reason="it never will")
    async def test_any_iterable_is_read_once(self, storage, own):
        await super().test_any_iterable_is_read_once(storage, own)
""",
        settings=AUTO,
    )
    found.assert_outcomes(passed=1, xfailed=1, failed=12)
    found.stdout.fnmatch_lines(
        [
            "  bulk         holds 0 of *",
            "    not tried: put many stores all or none",
            "    replaced by a test of its own: nothing is done for no instances",
            "    does not hold: any iterable is read once",
            "    not tried: get many gives what there is whatever is asked twice",
        ]
    )


def test_a_test_holds_in_all_its_variants_or_not_at_all(run_suite: RunSuite) -> None:
    tests = (
        EMPTY.replace("Single", "Faults")
        + """
    @pytest.fixture
    def faults(self):
        class Faults:
            planned = 0
            def __getattr__(self, name):
                return lambda *_: None
        return Faults()

    @pytest.fixture
    async def storage(self):
        class Stored:
            async def insert(self, instance):
                self.held = dataclasses.replace(instance, revision=1)
                return self.held
            async def update(self, instance):
                self.held = dataclasses.replace(instance, revision=1 + getattr(self, "more", 1))
                return self.held
            async def get(self, id):
                return self.held
        return Stored()
"""
    )
    tests = f"import dataclasses\n{tests}"
    run = ("-k", "an_update_happens_once")
    found = run_suite(tests, *run, settings=AUTO)
    found.stdout.fnmatch_lines(["  faults       holds 1 of *"])
    found = run_suite(tests, "-k", "an_update_happens_once and lose", settings=AUTO)
    found.assert_outcomes(passed=1)
    found.stdout.fnmatch_lines(["  faults       not tried"])
    wrong = tests.replace("faults(self)", "faults(self, request, storage)").replace(
        "planned = 0", "planned = 0; storage.more = len(request.node.name) % 2"
    )
    found = run_suite(wrong, *run, settings=AUTO)
    found.assert_outcomes(passed=1, failed=1)
    found.stdout.fnmatch_lines(
        ["E *where *Instance(*", "    does not hold: an update happens once"]
    )


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
        settings=AUTO,
    )
    assert found.parseoutcomes().keys() == {"errors"}
    found.stdout.fnmatch_lines(
        [
            "*TestMine has no storage: define a fixture named storage in the class*",
            "  search       not tried: its set-up failed",
        ]
    )


def test_faults_that_cannot_be_ordered_are_not_tried(run_suite: RunSuite) -> None:
    found = run_suite(EMPTY.replace("Single", "Faults"), settings=AUTO)
    assert found.parseoutcomes().keys() == {"skipped"}
    found.stdout.fnmatch_lines(
        [
            "  values       not tried",
            "  faults       not tried: TestEmpty has no fixture named faults",
        ]
    )
    found = run_suite(EMPTY.replace("Single", "Claims"), "-k", "outlives", settings=AUTO)
    found.stdout.fnmatch_lines(
        ["    not tried: who outlives * any more (TestEmpty has no fixture named faults)"]
    )


def test_a_class_that_pytest_does_not_collect_is_an_error(run_suite: RunSuite) -> None:
    found = run_suite(EMPTY.replace("TestEmpty", "EmptyConforms"), settings=AUTO)
    found.assert_outcomes(errors=1)
    found.stdout.fnmatch_lines(
        ["*EmptyConforms inherits the conformance suite, but*TestEmptyConf*"]
    )
    inherited = EMPTY.replace("TestEmpty", "Base") + "\nclass TestIt(Base): pass\n"
    run_suite(inherited, "-k", "get_gives", settings=AUTO).assert_outcomes(passed=1)


def test_a_mark_of_the_class_runs_it_and_no_other(run_suite: RunSuite) -> None:
    by_anyio = EMPTY.replace("class TestE", "@pytest.mark.anyio\nclass TestE")
    by_asyncio = """
import pytest_asyncio

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.asyncio
class TestByAsyncio(conformance.Single):
    @pytest_asyncio.fixture
    async def storage(self, request):
        assert "anyio_backend" not in request.fixturenames
        return Empty()
"""
    found = run_suite(by_anyio + by_asyncio, "-k", "get_gives", settings="asyncio_mode = strict\n")
    found.assert_outcomes(passed=2)
    found.stdout.fnmatch_lines(
        [
            *("*::TestByAsyncio", f"  single       holds 1 of {SINGLE}"),
            *("*::TestEmpty", f"  single       holds 1 of {SINGLE}"),
        ]
    )


@pytest.mark.skipif(not GUIDE.exists(), reason="there is no guide beside these tests")
def test_the_class_in_the_guide_passes(run_suite: RunSuite) -> None:
    [suite] = [block for block in blocks(GUIDE, "python") if "conformance.All" in block]
    kept = "an_update_happens_once or put_stores or exactly_one_has_it"
    found = run_suite(suite, "-k", kept, beginning="")
    assert found.parseoutcomes().keys() == {"passed", "deselected"}
    found.stdout.fnmatch_lines(["  single       holds 1 of *", "  claims       holds 1 of *"])
