"""A conformance suite for whatever has the verbs of a storage: tests to inherit, by capability.

::

    from hephaestus_pg.testing import conformance

    class TestMine(conformance.Values, conformance.Single, conformance.Search):
        @pytest.fixture
        async def storage(self):
            yield MyStorage(references=Names())

``Values``, ``Single``, ``Bulk``, ``Search``, ``Concurrency``, ``Scheduling``, ``Claims`` and
``Faults``, or ``All`` of them. Inherit what yours can have: a transaction has none of the last
four. ``another`` is a second storage on the same table, as another process has one, and by
default the same; ``faults`` orders faults (:class:`Breaks`, as ``hephaestus_pg.testing.Faults``),
and without it ``Faults`` is not tried.

The tests are coroutines without marks: pytest-asyncio in its mode ``auto`` runs them, and so does a
mark of the class, ``pytest.mark.asyncio`` or ``pytest.mark.anyio``. Each uses ids and a workflow of
its own, leaves its rows behind, and looks at no others. At the end of pytest's output the plug-in
reports what holds.
"""

import pytest

# Before they are imported, so that a failed assertion shows its values.
pytest.register_assert_rewrite(
    *(
        f"{__name__}.{each}"
        for each in (
            "suite",
            "values",
            "single",
            "bulk",
            "search",
            "concurrency",
            "scheduling",
            "claims",
            "faults",
        )
    )
)

from hephaestus_pg.testing.conformance.all import CAPABILITIES, All  # noqa: E402
from hephaestus_pg.testing.conformance.bulk import Bulk  # noqa: E402
from hephaestus_pg.testing.conformance.claims import Claims  # noqa: E402
from hephaestus_pg.testing.conformance.concurrency import Concurrency  # noqa: E402
from hephaestus_pg.testing.conformance.faults import Faults  # noqa: E402
from hephaestus_pg.testing.conformance.scheduling import Scheduling  # noqa: E402
from hephaestus_pg.testing.conformance.search import Search  # noqa: E402
from hephaestus_pg.testing.conformance.single import Single  # noqa: E402
from hephaestus_pg.testing.conformance.suite import Breaks, Own, Suite  # noqa: E402
from hephaestus_pg.testing.conformance.values import Values  # noqa: E402

__all__ = [
    "CAPABILITIES",
    "All",
    "Breaks",
    "Bulk",
    "Claims",
    "Concurrency",
    "Faults",
    "Own",
    "Scheduling",
    "Search",
    "Single",
    "Suite",
    "Values",
]
