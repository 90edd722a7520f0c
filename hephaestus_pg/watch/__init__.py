"""Waiting for what others write: a notification if one comes, a look of its own if none does.

``notifier`` tells other processes what was written here, after the answers, as far as one of them
needs to hear of it; ``recorders`` keep it until a transaction has ended. ``listener`` hears them on
a connection of its own, for the ``subscription`` of each storage. ``watchers`` are those who wait,
for all of whom one statement looks, or with ``keyed`` for those who may share it; ``watching`` is
what a user calls. The room sends statements through an executor; it knows neither storages nor
runners.
"""
