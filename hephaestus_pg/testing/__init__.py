"""For tests of workflow runners: a storage of their own each, a clock to move, faults to order.

The pytest plug-in gives them as fixtures. Nothing here is imported unless it is asked for.
"""

from hephaestus_pg.testing.clock import Clock
from hephaestus_pg.testing.drain import drain
from hephaestus_pg.testing.faults import Delay, Faults

__all__ = ["Clock", "Delay", "Faults", "drain"]
