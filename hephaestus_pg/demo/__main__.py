"""``python -m hephaestus_pg.demo``, the same as ``python -m hephaestus_pg demo``."""

import sys

from hephaestus_pg.demo.command import main

sys.exit(main())
