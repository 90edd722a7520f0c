"""The suite on every Python and PostgreSQL that is promised, as far as this machine has them.

::

    python -m tests.matrix                        # every pair: minutes for each
    python -m tests.matrix --quick                # only what is marked quick
    python -m tests.matrix --only 3.14 --only 15  # pairs of that Python, and of that PostgreSQL
    python -m tests.matrix --only 3.14/15         # that pair alone
    python -m tests.matrix --list                 # only says what there is, and what is not

Needs Python 3.11 or newer, and a package index: each Python gets an environment of its own in a
temporary folder. ``machine`` finds interpreters and servers, ``pairs`` chooses among them,
``environment`` runs the suite. The exit code is 1 if a pair failed, or if there was none.
"""
