"""Runners in processes that are killed, frozen and stopped while their server breaks, and a check.

``worker`` is such a process, ``processes`` starts and breaks them, and ``witness`` is a table in
which a trigger writes down each version of each row. ``history`` compares that with what the
processes were told, ``waits`` looks how long instances are without an owner, and ``run`` holds
these together.
"""
