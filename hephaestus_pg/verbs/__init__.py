"""The verbs on instances: on one, on many, and by search.

Each verb says which statement runs and what its rows mean. It knows neither how a statement is
sent nor when it is sent again.
"""
