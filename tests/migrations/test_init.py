from __future__ import annotations

from pkgutil import iter_modules

import pytest

from hephaestus_pg import migrations

pytestmark = pytest.mark.quick


def test_every_public_name_is_there() -> None:
    assert all(getattr(migrations, name) is not None for name in migrations.__all__)


def test_no_module_hides_a_public_function() -> None:
    """A module that is imported takes its name in the package."""
    modules = {module.name for module in iter_modules(migrations.__path__)}
    assert modules & set(migrations.__all__) == set()
