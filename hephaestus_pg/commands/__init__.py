"""The commands that an operator looks with: a module for each, and what they take and show.

Each takes its looks through a storage's public verbs, and prints. It knows no SQL, and none of them
writes but ``release``, which asks.
"""
