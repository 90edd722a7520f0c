"""Instances to rows and back, exactly.

The only place that knows orjson and the shape of the stored state. It knows no connection, and
no verb.
"""
