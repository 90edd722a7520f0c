"""The measurements, a module each: they load a server and yield records.

They know nothing of how their records are shown.
"""
