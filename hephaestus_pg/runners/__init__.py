"""Runners own instances: they claim them, keep them by heartbeats, and give them back.

``ownership`` is what a user calls, ``runner`` what that gives. ``heartbeat`` keeps a runner alive,
``claiming`` takes instances for all who wait, as many as ``reach`` says, and ``takeover`` frees
those of the dead. ``claim`` is the scope in which one instance is worked on, ``giving_back`` its
end, and ``holdings`` lists what a runner owns. The room sends statements through an executor; it
knows no storage.
"""
