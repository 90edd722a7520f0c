"""A storage under load while everything that it needs breaks, and a check of what its callers saw.

::

    python -m tests.chaos                      # a minute
    python -m tests.chaos --faults 1000        # the long one, half an hour
    python -m tests.chaos --seconds 600        # ten minutes, in which memory has to stay flat
    python -m tests.chaos --long               # an hour of it
    python -m tests.chaos --seed 7 …           # the same faults in the same order
    python -m tests.chaos --only drop …        # one kind of fault; any number of times
    python -m tests.chaos --runners …          # processes with runners, which break too

``load`` calls, from a process of its own, through a ``proxy``, a server of the run's own, to which
the ``schedule`` does its faults; ``history`` checks each call, and ``wakeups`` that those who watch
are told in time. The exit code is 1 if anything that the storage promises did not hold. By how much
the load's event loop was late, as on a machine that has other things to do, is measured, subtracted
from what each call took, and told.

The server writes its log to the system at each commit (``synchronous_commit``), but the system not
to the disk (``fsync``), since it is processes that are killed here, and not machines.
"""
