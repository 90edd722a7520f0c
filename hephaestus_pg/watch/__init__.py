"""Waiting for what others write: a notification if one comes, a look of its own if none does.

``notifier`` tells other processes what was written here, after the answers, and only while one of
them listens. ``listener`` hears them, on a connection of its own. ``watchers`` are those who wait,
for all of whom one statement looks, or with ``keyed`` for those who may share it; ``watching`` is
what a user calls. The room sends statements through an executor; it knows neither storages nor
runners.
"""
