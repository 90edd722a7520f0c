from __future__ import annotations

import pytest

from hephaestus_pg.runners.draining import Draining

pytestmark = pytest.mark.quick


def test_as_many_are_handed_out_as_the_limit_says() -> None:
    draining = Draining("tenant_a", 2)

    assert [draining.takes_one() for _ in range(2)] == [True, True]
    assert not draining.is_over_limit
    assert not draining.takes_one()
    assert draining.is_over_limit
    assert draining.handed_out == 2


def test_its_error_says_what_to_give() -> None:
    assert "handed out 1,000 claims" in str(Draining("tenant_a", 1000).error())
    assert "higher limit=" in str(Draining("tenant_a", 1).error())
    assert Draining("tenant_a", 1).error().name == "tenant_a"
