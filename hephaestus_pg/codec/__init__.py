"""Instances to rows and back, exactly.

Only this folder knows orjson and the shape of the stored state. It knows no connection and no verb.
"""
