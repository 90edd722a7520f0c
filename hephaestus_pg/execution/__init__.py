"""Runs statements, on a pool or on one connection, in time, and again where that is safe.

It decides about retries, fencing, and the life of a storage. It knows no verb and no instance.
"""
