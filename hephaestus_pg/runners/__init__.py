"""Runners own instances: they claim them, keep them by heartbeats, and give them back.

``settings`` checks what a runner is given, ``heartbeat`` keeps it alive, ``claiming`` takes
instances for all who wait, ``claim`` is the scope in which one of them is worked on,
``giving_back`` ends that, and ``runner`` holds these together. The room sends statements through an
executor; it knows no storage.
"""
