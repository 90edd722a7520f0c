"""No command: it names the one that is, for those who type ``hephaestus_pg.migrations``."""

raise SystemExit("error: run python -m hephaestus_pg.migrate")
