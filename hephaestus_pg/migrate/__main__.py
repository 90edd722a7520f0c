"""``python -m hephaestus_pg.migrate``."""

import sys

from hephaestus_pg.migrate.commands import main

sys.exit(main())
