"""Not a command: ``python -m hephaestus_pg.migrate`` is."""

raise SystemExit("error: run python -m hephaestus_pg.migrate")
