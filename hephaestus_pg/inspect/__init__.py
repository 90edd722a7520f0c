"""Looking at the table without reading states: summaries, counts, what is stuck.

Every look is bounded or reads an index, so that an operator may look at any time. The room sends
statements through an executor; it writes nothing, and knows neither storages nor a terminal.
"""
