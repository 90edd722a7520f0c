"""The target of a DSN, as a test asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hephaestus_pg.dsn.target import checked_dsn, resolve

if TYPE_CHECKING:
    from hephaestus_pg.dsn.target import Target


def read(dsn: Any, **options: Any) -> Target:
    return resolve(checked_dsn(dsn), options)


def settings(found: Target) -> dict[str, str]:
    return {name: parameter.value for name, parameter in found.settings.items()}
