"""``python -m hephaestus_pg.migrate``: the commands that a person types to migrate a schema.

Arguments, commands and printing. It decides nothing about a schema: :mod:`hephaestus_pg.migrations`
does, and gives results, which are printed here.
"""

from hephaestus_pg.migrate.commands import main

__all__ = ["main"]
