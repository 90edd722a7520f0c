"""The verbs on instances: on one, on many, and by search.

Each verb says which statement runs and what its rows mean. It does not know how a
statement is sent, and decides about sending again only where that takes a look at the table.
"""
