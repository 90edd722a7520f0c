"""Every suite at once."""

from __future__ import annotations

from hephaestus_pg.testing.conformance.bulk import Bulk
from hephaestus_pg.testing.conformance.claims import Claims
from hephaestus_pg.testing.conformance.concurrency import Concurrency
from hephaestus_pg.testing.conformance.faults import Faults
from hephaestus_pg.testing.conformance.scheduling import Scheduling
from hephaestus_pg.testing.conformance.search import Search
from hephaestus_pg.testing.conformance.single import Single
from hephaestus_pg.testing.conformance.values import Values


class All(Values, Single, Bulk, Search, Concurrency, Scheduling, Claims, Faults):
    """Every suite: for what has all that :class:`AsyncStorage` has."""


CAPABILITIES = {each.__name__.lower(): each for each in All.__bases__}
"""The suites by the name of their capability, in the order of the report."""
